"""Layers: each a forward pass and its backward pass, beside each other."""

from . import attention, causal_attention, code_attention, embedding, gelu, layernorm, linear, loss, mlp, readout

__all__ = [
    "attention",
    "causal_attention",
    "code_attention",
    "embedding",
    "gelu",
    "layernorm",
    "linear",
    "loss",
    "mlp",
    "readout",
]
