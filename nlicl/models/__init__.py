"""The models: parameters, prompts, a definition, and a table of steps by kind of batch and device."""
