"""Figures of Li et al. 2024 for the one-layer model, and what the paper shows for a 3-layer GPT-2, done for it."""

from . import generalisation, scaling, training

FIGURES = {recipe.name: recipe for module in (training, generalisation, scaling) for recipe in module.RECIPES}
