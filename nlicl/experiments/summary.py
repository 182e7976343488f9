"""What was measured, over seeds: arrays of all seeds, extremes of what may be empty, and numbers in words."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .experiment import Found

__all__ = ["greatest", "least", "listed", "mean", "span", "stacked"]


def stacked(found: Found) -> dict[str, NDArray]:
    """What `measure` returned for each seed, as name -> array (seeds, ...)."""
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def mean(values: ArrayLike) -> float:
    """The mean; nan if there are no values, so that a claim about it fails."""
    return float(np.mean(np.asarray(values, float))) if np.size(values) else np.nan


def least(values: ArrayLike) -> float:
    """The smallest; nan if there are no values."""
    return float(np.min(values)) if np.size(values) else np.nan


def greatest(values: ArrayLike) -> float:
    """The largest; nan if there are no values."""
    return float(np.max(values)) if np.size(values) else np.nan


def span(values: ArrayLike) -> str:
    """Lowest to highest finite value, in three digits; "none" if there is no such value."""
    finite = np.ravel(values)[np.isfinite(np.ravel(values))]
    if not len(finite):
        return "none"
    low, high = (f"{value:.3g}" for value in (finite.min(), finite.max()))
    return low if low == high else f"{low} to {high}"


def listed(values: ArrayLike) -> str:
    """Numbers in a row, in four digits."""
    return ", ".join(f"{value:.4g}" for value in np.ravel(values))
