"""Figures of Huang et al. 2023: the population's dynamics, which are ours, and the paper's Figures 2 and 3 as quoted."""

from ...experiment import by_name
from . import concentration, fig2, fig3, finite, loss, phases, times

__all__ = ["FIGURES"]

_MODULES = (phases, loss, times, finite, fig2, fig3, concentration)
FIGURES = by_name(recipe for module in _MODULES for recipe in module.RECIPES)
