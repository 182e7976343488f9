"""The convergence theorems of Huang et al. 2023 as experiments; their numbers in the paper are not known for sure."""

from ...experiment import by_name
from . import convergence

__all__ = ["THEOREMS"]

THEOREMS = by_name([convergence.BALANCED, convergence.IMBALANCED])
