"""Figures of Li et al. 2024: of its one-layer model, of its GPT-2, and Figure 3 done for the one-layer model."""

from ...experiment import by_name
from . import classical, generalization, gpt2, gpt2_layers, pruning, scaling, training

__all__ = ["FIGURES"]

_MODULES = (training, gpt2, generalization, classical, pruning, gpt2_layers, scaling)
FIGURES = by_name(recipe for module in _MODULES for recipe in module.RECIPES)
