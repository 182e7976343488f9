"""Figures of Bu et al. 2024: training, prompts out of distribution, the 0-1 loss. No curve of the paper is known."""

from . import dynamics, ood

_MODULES = (dynamics, ood)
FIGURES = {recipe.name: recipe for module in _MODULES for recipe in module.RECIPES}
