"""Figures of Athreya and Wang, with their published numbers, and one of ours on the rates of the population's flow."""

from ...experiment import by_name
from . import convergence, losses, perturbed, rates, scaling, shift

__all__ = ["FIGURES"]

_MODULES = (scaling, convergence, shift, perturbed, losses, rates)
FIGURES = by_name(recipe for module in _MODULES for recipe in module.RECIPES)
