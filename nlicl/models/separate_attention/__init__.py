"""Multi-head linear attention with separate keys and queries; prompts and definition are those of `linear_attention`."""
