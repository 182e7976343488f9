"""The zoo: common losses as people write them, with right gradients by hand, and the mistakes that people make in them.

`LOSSES[name].make(rng, dtype)` gives (loss, gradient, x); `wrongs(LOSSES[name], seed, dtype)` the wrong gradients.
"""

from . import densities, nets, regression, sequences
from .mistakes import GENERIC, differs, wrongs
from .registry import LOSSES, Loss, each

__all__ = ["GENERIC", "LOSSES", "Loss", "densities", "differs", "each", "nets", "regression", "sequences", "wrongs"]
