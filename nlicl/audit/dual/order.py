"""What follows from the order of numbers: by value, and by tangent where values are equal."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .array import Dual, as_array, carries, dual
from .record import note_comparison
from .rules import FUNCTIONS, NotCarried, rule

__all__: list[str] = []

LARGEST_TABLE = 10**7  # of comparisons that searchsorted may make at once


def _on(keepdims: Any) -> bool:
    return keepdims is not np._NoValue and bool(keepdims)


# ----- the largest
def _place_of_largest(a: Any, axis: int) -> Any:
    """argmax along an axis, the first of equals; the comparisons with the largest are recorded."""
    value, tangent = a._value, a._tangent
    top = value.max(axis, keepdims=True)
    tie = value == top
    if np.count_nonzero(tie) == top.size:
        place = tie.argmax(axis)
    else:
        place = np.where(tie & ~np.isnan(tangent), tangent, -np.inf).argmax(axis)
        odd = ~np.take_along_axis(tie, np.expand_dims(place, axis), axis).squeeze(axis)  # NaN, whose place NumPy gives
        place = np.where(odd, value.argmax(axis), place)
    note_comparison(value, tangent, top, np.take_along_axis(tangent, np.expand_dims(place, axis), axis))
    return place


def _lines(a: Any, axis: Any) -> tuple[Any, tuple[int, ...]]:
    """`a` with the axes of a reduction made one, the last; and which they were."""
    axes = np.lib.array_utils.normalize_axis_tuple(range(a.ndim) if axis is None else axis, a.ndim)
    kept = [n for n in range(a.ndim) if n not in axes]
    shape, order = (*(a.shape[n] for n in kept), -1), [*kept, *axes]
    return dual(*(np.transpose(part, order).reshape(shape) for part in (a._value, a._tangent))), axes


def _extreme(function: Any, sign: int) -> Callable[..., Any]:
    """The rule of max (sign = 1) or min (-1)."""

    def extreme(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = None, where: Any = True
    ) -> Any:
        if out is not None or not isinstance(a, Dual) or carries(where):
            raise NotCarried(f"numpy.{function.__name__} has no rule for out")
        if where is not True and where is not np._NoValue:
            a = np.where(where, a, -sign * np.inf)
        y = function(a._value, axis, keepdims=_on(keepdims))
        lines, _ = _lines(a if sign > 0 else np.negative(a), axis)
        place = np.expand_dims(_place_of_largest(lines, -1), -1)
        dy = sign * np.take_along_axis(lines._tangent, place, -1)
        y = dual(y, dy.reshape(y.shape))
        if initial is None or initial is np._NoValue:
            return y
        return np.maximum(y, initial) if sign > 0 else np.minimum(y, initial)

    return extreme


FUNCTIONS[np.max] = FUNCTIONS[np.amax] = _extreme(np.max, 1)
FUNCTIONS[np.min] = FUNCTIONS[np.amin] = _extreme(np.min, -1)
FUNCTIONS[np.nanmax] = lambda a, *args, **options: np.max(np.where(np.isnan(a), -np.inf, a), *args, **options)
FUNCTIONS[np.nanmin] = lambda a, *args, **options: np.min(np.where(np.isnan(a), np.inf, a), *args, **options)


@rule(np.argmax)
def argmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Any:
    if out is not None:
        raise NotCarried("numpy.argmax has no rule for out")
    line = np.ravel(a) if axis is None else a
    place = _place_of_largest(line, 0 if axis is None else axis)
    if _on(keepdims):
        return np.reshape(place, (1,) * a.ndim) if axis is None else np.expand_dims(place, axis)
    return place


@rule(np.argmin)
def argmin(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Any:
    return argmax(-a, axis, out, keepdims=keepdims)


@rule(np.ptp)
def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    return np.max(a, axis, out, keepdims=keepdims) - np.min(a, axis, out, keepdims=keepdims)


# ----- sorting
def _along(a: Any, axis: Any) -> tuple[Any, int]:
    return (np.ravel(a), 0) if axis is None else (a, axis)


def _places(a: Any, axis: int) -> Any:
    """The stable order along an axis."""
    value, tangent = np.moveaxis(a._value, axis, -1), np.moveaxis(a._tangent, axis, -1)
    return np.moveaxis(np.lexsort((tangent, value), -1), -1, axis)


def _taken(a: Any, places: Any, axis: int) -> Any:
    """The entries at these places, in the memory layout of `a`, as NumPy's sort has them."""
    out = np.empty_like(a._value)
    out[...] = np.take_along_axis(a._value, places, axis)
    return dual(out, np.take_along_axis(a._tangent, places, axis))


def _note_against(a: Any, axis: int, picked: Any) -> None:
    """Record the comparisons of all entries along an axis with each of those at `picked` in the sorted array `a`."""
    value, tangent = np.moveaxis(a._value, axis, -1), np.moveaxis(a._tangent, axis, -1)
    for k in np.unique(picked).tolist():
        note_comparison(value, tangent, value[..., k, None], tangent[..., k, None])


@rule(np.argsort)
def argsort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    """The comparisons of neighbours are recorded; of more than two equal numbers, those of their second neighbours, too."""
    if order is not None:
        raise NotCarried("numpy.argsort has no rule for order")
    a, axis = _along(a, axis)
    places = _places(a, axis)
    v, t = (np.moveaxis(np.take_along_axis(part, places, axis), axis, -1) for part in (a._value, a._tangent))
    note_comparison(v[..., 1:], t[..., 1:], v[..., :-1], t[..., :-1])
    if np.equal(v[..., 2:], v[..., :-2]).any():
        note_comparison(v[..., 2:], t[..., 2:], v[..., :-2], t[..., :-2])
    return places


@rule(np.sort)
def sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    a, axis = _along(a, axis)
    return _taken(a, argsort(a, axis, kind, order), axis)


@rule(np.argpartition)
def argpartition(a: Any, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None) -> Any:
    """The whole order; recorded are the comparisons with the entries number `kth`, on which the two sides depend."""
    if order is not None:
        raise NotCarried("numpy.argpartition has no rule for order")
    a, axis = _along(a, axis)
    places = _places(a, axis)
    _note_against(np.take_along_axis(a, places, axis), axis, kth)
    return places


@rule(np.partition)
def partition(a: Any, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None) -> Any:
    a, axis = _along(a, axis)
    return _taken(a, argpartition(a, kth, axis, kind, order), axis)


@rule(np.median)
def median(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False) -> Any:
    if out is not None or overwrite_input:
        raise NotCarried("numpy.median has no rule for out or overwrite_input")
    return quantile(a, 0.5, axis, keepdims=keepdims)


@rule(np.quantile)
def quantile(
    a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, method: str = "linear",
    keepdims: Any = False, *, weights: Any = None,
) -> Any:  # fmt: skip
    """Between the two entries around the place q (n - 1) of the sorted ones."""
    if carries(q) or out is not None or overwrite_input or method != "linear" or weights is not None:
        raise NotCarried("numpy.quantile has no rule for a Dual as q, out, overwrite_input, weights, or another method")
    lines, axes = _lines(a, axis)
    lines = np.take_along_axis(lines, _places(lines, -1), -1)
    q = np.asarray(q, float)
    place = q * (lines.shape[-1] - 1)
    low = np.floor(place).astype(int)
    high, part = np.minimum(low + 1, lines.shape[-1] - 1), (place - low).astype(a._value.dtype)
    _note_against(lines, -1, [low, np.where(part > 0, high, low)])
    ends = lines[..., low], lines[..., high]
    y = np.where(part > 0, ends[0] + part * (ends[1] - ends[0]), ends[0])
    y = np.where(np.expand_dims(np.isnan(lines[..., -1]), tuple(range(-q.ndim, 0))), np.nan, y)
    y = np.moveaxis(y, range(-q.ndim, 0), range(q.ndim)) if q.ndim else y
    return np.expand_dims(y, tuple(q.ndim + n for n in axes)) if _on(keepdims) else y[()]


@rule(np.percentile)
def percentile(a: Any, q: Any, *args: Any, **options: Any) -> Any:
    return quantile(a, np.true_divide(q, 100), *args, **options)


@rule(np.searchsorted)
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    """How many entries of `a`, in order, are below v (left) or not above it (right)."""
    if sorter is not None or np.size(a) * np.size(v) > LARGEST_TABLE:
        raise NotCarried("numpy.searchsorted has no rule for sorter, or for this many comparisons")
    v = as_array(v)
    compare = np.less if side == "left" else np.less_equal
    return compare(as_array(a), v[..., None]).sum(-1)


@rule(np.interp)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    if period is not None:
        raise NotCarried("numpy.interp has no rule for period")
    x, xp, fp = map(as_array, (x, xp, fp))
    k = np.clip(searchsorted(xp, x, "right") - 1, 0, len(xp) - 2)
    y = fp[k] + (fp[k + 1] - fp[k]) / (xp[k + 1] - xp[k]) * (x - xp[k])
    y = np.where(x > xp[-1], fp[-1] if right is None else right, y)
    return np.where(x < xp[0], fp[0] if left is None else left, y)[()]


@rule(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, **bounds: Any) -> Any:
    """min(max(a, a_min), a_max)."""
    low, high = (
        bounds.pop(name, None) if given is None or given is np._NoValue else given
        for name, given in (("min", a_min), ("max", a_max))
    )
    if bounds:
        raise NotCarried(f"numpy.clip has no rule for {', '.join(bounds)}")
    y = a if low is None else np.maximum(a, low)
    y = y if high is None else np.minimum(y, high)
    if out is None:
        return y if y is not a else a.copy()
    if not isinstance(out, Dual):
        raise NotCarried("numpy.clip has no rule for a plain array as out: it cannot hold a derivative")
    out[...] = y
    return out


@rule(np.fix)
def fix(x: Any, out: Any = None) -> Any:
    return np.trunc(x) if out is None else np.trunc(x, out=out)
