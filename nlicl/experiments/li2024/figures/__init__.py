"""Figures of Li et al. 2024 for the one-layer model, and what the paper shows for a 3-layer GPT-2, done for it."""

from ...experiment import by_name
from . import classical, generalization, pruning, scaling, training

__all__ = ["FIGURES"]

_MODULES = (training, generalization, classical, pruning, scaling)
FIGURES = by_name(recipe for module in _MODULES for recipe in module.RECIPES)
