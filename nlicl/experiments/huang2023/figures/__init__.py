"""Figures of Huang et al. 2023: the population's dynamics. No curve of the paper is known: all of them are ours."""

from ...experiment import by_name
from . import fig2, fig3, finite, loss, phases, times

__all__ = ["FIGURES"]

_MODULES = (phases, loss, times, finite, fig2, fig3)
FIGURES = by_name(recipe for module in _MODULES for recipe in module.RECIPES)
