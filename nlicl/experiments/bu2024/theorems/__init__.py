"""The theorems of Bu et al. 2024 as experiments; of the paper's conditions and constants only the kinds are known."""

from ...experiment import by_name
from . import composition, convergence

__all__ = ["THEOREMS"]

THEOREMS = by_name([convergence.CONVERGENCE, composition.COMPOSITION])
