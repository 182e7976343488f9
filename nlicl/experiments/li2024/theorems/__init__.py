"""The theorems of Li et al. 2024 as experiments."""

from ...experiment import by_name
from . import generalization, identities, mechanism, pruning

__all__ = ["THEOREMS"]

THEOREMS = by_name(
    [
        generalization.IN_DOMAIN,
        generalization.OUT_OF_DOMAIN,
        pruning.PRUNING,
        mechanism.PROJECTION,
        mechanism.CONCENTRATION,
        mechanism.ALIGNMENT,
        identities.IDENTITIES,
    ]
)
