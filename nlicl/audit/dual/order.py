"""What follows from the order of numbers: by value, and by tangent where values are equal."""

from typing import Any

import numpy as np

from .array import FUNCTIONS, METHODS, Dual, NotCarried, dual, rule, split
from .record import note_comparison

__all__ = ["largest", "place_of_largest"]


def place_of_largest(a: Dual, axis: int) -> Any:
    """argmax along an axis, the first of equals; the comparisons with the largest are recorded."""
    value, tangent = a._value, a._tangent
    top = value.max(axis, keepdims=True)
    tie = (value == top) & ~np.isnan(tangent)
    place = np.where(tie, tangent, -np.inf).argmax(axis)
    wrong = np.isnan(top).squeeze(axis)  # NumPy gives the place of the first NaN
    if np.any(wrong):
        place = np.where(wrong, value.argmax(axis), place)
    at = np.expand_dims(place, axis)
    note_comparison(value, tangent, top, np.take_along_axis(tangent, at, axis))
    return place


def _flat_axes(a: Dual, axis: Any) -> tuple[Dual, tuple[int, ...]]:
    """The axes of a reduction moved to the end and made one, and which they were."""
    axes = np.lib.array_utils.normalize_axis_tuple(range(a.ndim) if axis is None else axis, a.ndim)
    kept = [n for n in range(a.ndim) if n not in axes]
    return np.transpose(a, [*kept, *axes]).reshape(*(a.shape[n] for n in kept), -1), axes


def largest(a: Any, axis: Any, keepdims: Any, initial: Any = None, where: Any = True) -> Any:
    """max, with the tangent of the entry that is largest."""
    if initial is not None or where is not True or not isinstance(a, Dual):
        raise NotCarried("numpy.max has no rule for initial or where")
    lines, axes = _flat_axes(a, axis)
    place = np.expand_dims(place_of_largest(lines, -1), -1)
    value, tangent = (np.take_along_axis(part, place, -1)[..., 0] for part in (lines._value, lines._tangent))
    if keepdims:
        value, tangent = (np.expand_dims(part, axes) for part in (value, tangent))
    return dual(value, tangent)


@rule(np.max, np.amax)
def maximum_of(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, **rest: Any) -> Any:
    if out is not None:
        raise NotCarried("numpy.max has no rule for out")
    return largest(a, axis, keepdims, **rest)


@rule(np.min, np.amin)
def minimum_of(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, **rest: Any) -> Any:
    if out is not None:
        raise NotCarried("numpy.min has no rule for out")
    return -largest(-a, axis, keepdims, **rest)
