"""Figures of Li et al. 2024 for the one-layer model, and what the paper shows for a 3-layer GPT-2, done for it."""

from . import classical, generalisation, pruning, scaling, training

_MODULES = (training, generalisation, classical, pruning, scaling)
FIGURES = {recipe.name: recipe for module in _MODULES for recipe in module.RECIPES}
