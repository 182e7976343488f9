"""Figures of Li et al. 2024 for the one-layer model, and what the paper shows for a 3-layer GPT-2, done for it."""

from . import training

FIGURES = {recipe.name: recipe for module in (training,) for recipe in module.RECIPES}
