"""Figures of Bu et al. 2024: training, prompts out of distribution, how fast the 0-1 error falls, which starts learn.

No curve of the paper is known: all of them are ours.
"""

from ...experiment import by_name
from . import dynamics, law, ood, success

__all__ = ["FIGURES"]

_MODULES = (dynamics, ood, law, success)
FIGURES = by_name(recipe for module in _MODULES for recipe in module.RECIPES)
