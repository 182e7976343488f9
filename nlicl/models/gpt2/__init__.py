"""GPT-2 for prompts of vectors: the decoder of Radford et al. 2019 between a linear read-in and a linear read-out."""
