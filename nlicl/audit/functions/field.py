"""What can be said of a wrong gradient as a function: on which arguments it depends, and whether it is a gradient at all."""

from collections.abc import Callable

import numpy as np

from ..comparison import item
from .function import Function, OutOfTime
from .points import unit

__all__ = ["described"]

_DIRECTIONS = 4
_STEP = 1e-5  # in units of the entries
_MOVED = 0.1  # of an argument, to see what depends on it
_SAME = 1e-6  # relative: symmetric, and how well differences have to agree
_APART = 1e-3  # relative: not symmetric
_MOST = 4000  # entries of an argument

Field = Callable[[list[np.ndarray]], np.ndarray]


def described(function: Function, x: list[np.ndarray], k: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """Items on the gradient by argument k; [] if nothing can be said. It calls the gradient about twenty times.

    Parameters
    ----------
    function : Function
    x : list of ndarray
        Where, float64.
    k : int
    rng : Generator
        Of the directions.
    """
    if x[k].size > _MOST or any(array.dtype != np.float64 for array in x):
        return []
    try:
        return _dependence(function, x, k, rng) or _symmetry(function, x, k, rng)
    except OutOfTime:
        return []
    except Exception:  # the loss or the gradient raises there
        return []


def _dependence(function: Function, x: list[np.ndarray], k: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """The arguments on which only one of the two depends."""
    u = [rng.standard_normal(array.shape) if j == k else np.zeros(array.shape) for j, array in enumerate(x)]
    given, slope = function.gradient(x)[k], function.dual(x, u).slope
    lacking, idle = [], []
    for j, name in enumerate(function.names):
        moved = list(x)
        moved[j] = x[j] + _MOVED * unit(x[j]) * rng.uniform(-1, 1, x[j].shape)
        there = function.gradient(moved)[k]
        if not np.isfinite(there).all():
            continue
        changes = abs(there - given).max() > _SAME * abs(given).max()
        should = abs(function.dual(moved, u).slope - slope) > _SAME * abs(slope)
        if should and np.array_equal(there, given):
            lacking.append(name)
        if changes and function.dual(moved, u).slope == slope:
            idle.append(name)
    texts = []
    if lacking:
        texts.append(f"given does not depend on {' and '.join(lacking)}, and expected does")
    if idle:
        texts.append(f"given depends on {' and '.join(idle)}, and expected does not")
    return [item("structure", "; ".join(texts))] if texts else []


def _symmetry(function: Function, x: list[np.ndarray], k: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """Whether the derivative of the given gradient is symmetric, as that of a gradient is."""
    name = function.names[k]
    if x[k].size > 1:
        moving, of = [k], f"of {name}"
    elif len(x) > 1:
        moving, of = list(range(len(x))), "of all arguments together"
    else:
        return []
    directions = []
    for _ in range(_DIRECTIONS):
        directions.append([unit(a) * rng.standard_normal(a.shape) * (j in moving) for j, a in enumerate(x)])

    def products(step: float) -> np.ndarray:
        columns = []
        for v in directions:
            up, down = (
                function.gradient([a + sign * step * d for a, d in zip(x, v, strict=True)]) for sign in (1.0, -1.0)
            )
            change = [(a - b) / (2 * step) for a, b in zip(up, down, strict=True)]
            columns.append([sum(float((d * c).sum()) for d, c in zip(u, change, strict=True)) for u in directions])
        return np.array(columns)

    fine, coarse = products(_STEP), products(4 * _STEP)
    size = abs(fine).max()
    if not np.isfinite(fine).all() or not size > 0 or abs(fine - coarse).max() > _SAME * size:
        return []
    off = abs(fine - fine.T).max() / size
    if off > _APART:
        return [
            item(
                "no-gradient",
                f"given is not the gradient of any function {of}: its derivative is not symmetric ({off:.0%} off). A step of "
                "the derivation is wrong",
            )
        ]
    if off < _SAME:
        return [
            item(
                "other-function",
                f"given is the gradient of another function {of}, as far as {_DIRECTIONS} directions tell: its derivative is "
                "symmetric. Loss and gradient do not share a term, a factor within a sum, a constant or data",
            )
        ]
    return []
