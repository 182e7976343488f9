"""In how many digits loss and gradient compute, from the numbers that they give."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .function import Function
from .points import like, unit

__all__ = ["eps_of"]

PLACES = 3  # beside x, where what looks like float32 is looked at again
REACH = 0.01  # how far off, in sizes of an entry
SINGLE, DOUBLE = float(np.finfo(np.float32).eps), float(np.finfo(np.float64).eps)


def eps_of(function: Function, x: Sequence[np.ndarray], value: Any, given: Sequence[np.ndarray]) -> float:
    """The rounding of loss and gradient: float32's if either shows signs of it.

    What is computed in float32 and returned as a float64 is a number of float32 wherever one looks. Whole numbers make such
    ones in float64, too, at x, and not beside it.

    Parameters
    ----------
    function : Function
    x : sequence of ndarray
        The arguments.
    value : number
        The loss there.
    given : sequence of ndarray
        The gradient there; none, to ask for the loss alone.

    Returns
    -------
    float
        The eps of float32 or of float64.
    """
    if np.asarray(value).dtype == np.float32 or any(array.dtype == np.float32 for array in given):
        return SINGLE
    loss, gradient = _looks_single(np.asarray(value, float).ravel(), 1), _looks_single(_joined(given), 4)
    rng = np.random.default_rng(0)
    for _ in range(PLACES):
        if not (loss or gradient):
            return DOUBLE
        place = [like(array, array + REACH * unit(array) * rng.standard_normal(array.shape)) for array in x]
        there = function.real(place) if loss else np.nan
        if np.isfinite(there):
            loss = there != float(value) and _looks_single(np.array([there]), 1)
        slopes = function.gradient_or_none(place) if gradient else None
        if slopes is not None:
            gradient = not np.array_equal(_joined(slopes), _joined(given)) and _looks_single(_joined(slopes), 4)
    return SINGLE if loss or gradient else DOUBLE


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel().astype(float) for array in arrays]) if arrays else np.zeros(0)


def _looks_single(numbers: np.ndarray, least: int) -> bool:
    """Whether all numbers are float32 numbers, and some, at least so many, use its last bits."""
    numbers = numbers[np.isfinite(numbers) & (numbers != 0)]
    mantissas = np.frexp(numbers)[0]
    return bool((mantissas * 2.0**24 % 1 == 0).all() and (mantissas * 2.0**16 % 1 != 0).sum() >= least)
