"""Layers: each a forward pass and its backward pass, beside each other."""

from . import attention, loss, mlp

__all__ = ["attention", "loss", "mlp"]
