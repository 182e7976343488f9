"""Multi-head linear attention with merged keys and queries, and softmax as a switch; prompts and definition of both models."""
