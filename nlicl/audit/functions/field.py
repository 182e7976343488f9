"""What can be said of a wrong gradient as a function: on which arguments it depends, and whether it is a gradient at all."""

from functools import partial

import numpy as np

from ..comparison import item
from .function import Function, OutOfTime
from .points import unit
from .slopes import Witness

__all__ = ["described"]

_DIRECTIONS = 4
_STEP = 1e-5  # in units of the entries
_MOVED = 0.1  # of an argument, to see what depends on it
_SAME = 1e-6  # relative: symmetric
_CLOSE = 1e-5  # how well differences at two steps have to agree
_APART = 1e-4  # not symmetric
_MOST = 4000  # entries of an argument


def described(
    function: Function, witness: Witness, x: list[np.ndarray], k: int, rng: np.random.Generator
) -> list[dict[str, str]]:
    """Items on the gradient by argument k; [] if nothing can be said. It calls the gradient about twenty times.

    Parameters
    ----------
    function : Function
    witness : Witness
        Of the derivatives by argument k.
    x : list of ndarray
        Where, float64.
    k : int
    rng : Generator
        Of the directions.
    """
    if x[k].size > _MOST or any(array.dtype != np.float64 for array in x):
        return []
    alone = [[k]] if x[k].size > 1 else []
    together = [list(range(len(x)))] if len(x) > 1 else []
    tried = [partial(_dependence, function, witness, x, k, rng)]
    tried += [partial(_symmetry, function, x, k, moving, rng) for moving in alone + together]
    for one in tried:
        try:
            found = one()
        except OutOfTime:
            return []
        except Exception:  # the loss or the gradient raises there
            continue
        if found:
            return found
    return []


def _dependence(
    function: Function, witness: Witness, x: list[np.ndarray], k: int, rng: np.random.Generator
) -> list[dict[str, str]]:
    """The arguments on which only one of the two depends."""
    u = [rng.standard_normal(array.shape) if j == k else np.zeros(array.shape) for j, array in enumerate(x)]
    given, slope = function.gradient(x)[k], witness(x, u)
    lacking, idle = [], []
    for j, name in enumerate(function.names):
        moved = list(x)
        moved[j] = x[j] + _MOVED * unit(x[j]) * rng.uniform(-1, 1, x[j].shape)
        there, expected = function.gradient(moved)[k], witness(moved, u)
        if not np.isfinite(there).all() or not expected.known:
            continue
        change, error = abs(expected.middle - slope.middle), 10 * (expected.error + slope.error)
        if change > _SAME * abs(slope.middle) + error and np.array_equal(there, given):
            lacking.append(name)
        if change == 0 and witness.exact and abs(there - given).max() > _SAME * abs(given).max():
            idle.append(name)
    texts = []
    if lacking:
        texts.append(f"given stays the same where {' or '.join(lacking)} moves by a tenth, and expected does not")
    if idle:
        texts.append(f"expected stays the same where {' or '.join(idle)} moves by a tenth, and given does not")
    return [item("structure", "; ".join(texts))] if texts else []


def _symmetry(
    function: Function, x: list[np.ndarray], k: int, moving: list[int], rng: np.random.Generator
) -> list[dict[str, str]]:
    """Whether the derivative of the given gradient by some arguments is symmetric, as that of a gradient is."""
    of = f"of {function.names[k]}" if moving == [k] else "of all arguments together"
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
    if not np.isfinite(fine).all() or not size > 0 or abs(fine - coarse).max() > _CLOSE * size:
        return []
    fine = fine + (fine - coarse) / 15  # their error is of second order
    off = abs(fine - fine.T).max() / size
    if off > _APART:
        return [
            item(
                "no-gradient",
                f"given is not the gradient of any function {of}: its derivative is not symmetric ({100 * off:.2g}% off). "
                "A step of the derivation is wrong",
            )
        ]
    if off < _SAME:
        return [
            item(
                "other-function",
                f"given is the gradient of another function {of}, as far as {_DIRECTIONS} directions tell: its derivative is "
                "symmetric. Loss and gradient do not share a term, a factor within a sum, a constant or data; or the loss is "
                "what a solver makes of it, to its tolerance, and the gradient is exact",
            )
        ]
    return []
