"""Figures of Huang et al. 2023: the population's dynamics. No curve of the paper is known: all of them are ours."""

from . import finite, loss, phases, times

_MODULES = (phases, loss, times, finite)
FIGURES = {recipe.name: recipe for module in _MODULES for recipe in module.RECIPES}
