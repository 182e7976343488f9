"""Figures of Zhang et al. 2025: the authors' loss curves, with what their notebook prints and draws beside ours."""

from ...experiment import by_name
from . import classifier, icl_iwl, landscape, merged, ode, ranks, separate, softmax

__all__ = ["FIGURES"]

_MODULES = (merged, separate, landscape, ode, ranks, icl_iwl, softmax, classifier)
FIGURES = by_name(recipe for module in _MODULES for recipe in module.RECIPES)
