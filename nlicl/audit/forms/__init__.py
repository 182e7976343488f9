"""The forms in which people hand over points, losses and gradients, and the arrays in them."""

from .arguments import Arguments

__all__ = ["Arguments"]
