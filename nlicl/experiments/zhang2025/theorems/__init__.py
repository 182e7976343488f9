"""Statements of Zhang et al. 2025 and of the classifier as experiments; the paper's numbers for them are not known."""

from ...experiment import by_name
from . import classifier, conservation, courses, merged, saddles

__all__ = ["THEOREMS"]

THEOREMS = by_name([saddles.SADDLES, merged.MERGED, courses.COURSES, conservation.CONSERVATION, classifier.CLASSIFIER])
