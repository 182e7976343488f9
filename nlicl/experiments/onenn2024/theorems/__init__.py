"""Theorems and lemmas of Athreya and Wang as experiments; some restate Li et al. 2024."""

from ...experiment import by_name
from . import errors, geometry, growth, labels

__all__ = ["THEOREMS"]

THEOREMS = by_name(
    [
        growth.THEOREM_1,
        errors.THEOREM_2,
        labels.LEMMA_1,
        labels.LEMMA_2,
        growth.LEMMA_8,
        growth.LEMMAS_9_TO_11,
        growth.LEMMA_12,
        errors.LEMMA_14,
        geometry.GEOMETRY,
    ]
)
