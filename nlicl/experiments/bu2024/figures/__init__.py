"""Figures of Bu et al. 2024: training, prompts out of distribution, how fast the 0-1 error falls, which starts learn.

No curve of the paper is known. The figures whose names begin with "paper" have its settings as a third party quotes them.
"""

from ...experiment import by_name
from . import dynamics, law, ood, paper, paper_ood, success

__all__ = ["FIGURES"]

_MODULES = (dynamics, ood, law, success, paper, paper_ood)
FIGURES = by_name(recipe for module in _MODULES for recipe in module.RECIPES)
