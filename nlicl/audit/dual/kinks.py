"""The ufuncs with kinks and jumps: each side follows from the order of numbers, by value, then by tangent.

Legend as in `ufuncs`. Every comparison is recorded.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .array import carries, dual, split, truth
from .record import note_comparison, note_question
from .rules import UFUNCS, NotCarried

__all__: list[str] = []


# ----- order
def above(a: Any, da: Any, b: Any, db: Any) -> Any:
    """Whether a + eps da > b + eps db; the comparison is recorded. A tangent may be None."""
    note_comparison(a, da, b, db)
    over, tie = np.greater(a, b), np.equal(a, b)
    if not tie.any():
        return over
    return over | (tie & np.greater(0 if da is None else da, 0 if db is None else db))


def _greater(a: Any, b: Any) -> Any:
    (a, da), (b, db) = split(a), split(b)
    note_question(a, b)
    return above(a, da, b, db)


def _less(a: Any, b: Any) -> Any:
    return _greater(b, a)


def _equal(a: Any, b: Any) -> Any:
    (a, da), (b, db) = split(a), split(b)
    note_comparison(a, da, b, db)
    return np.equal(a, b) & np.equal(0 if da is None else da, 0 if db is None else db)


def _not_nan(a: Any, b: Any) -> Any:
    return ~(np.isnan(split(a)[0]) | np.isnan(split(b)[0]))


UFUNCS[np.greater] = _greater
UFUNCS[np.less] = _less
UFUNCS[np.less_equal] = lambda a, b: ~_greater(a, b) & _not_nan(a, b)
UFUNCS[np.greater_equal] = lambda a, b: ~_less(a, b) & _not_nan(a, b)
UFUNCS[np.equal] = _equal
UFUNCS[np.not_equal] = lambda a, b: ~_equal(a, b)
UFUNCS[np.logical_not] = lambda a: ~truth(a)
UFUNCS[np.logical_and] = lambda a, b: truth(a) & truth(b)
UFUNCS[np.logical_or] = lambda a, b: truth(a) | truth(b)
UFUNCS[np.logical_xor] = lambda a, b: truth(a) ^ truth(b)
for _ask in (np.isnan, np.isinf, np.isfinite):
    UFUNCS[_ask] = lambda a, ask=_ask: ask(split(a)[0])


def _larger(ufunc: Any, sign: int, passes_nan: bool) -> Callable[..., Any]:
    """The rule of a ufunc that picks the larger of two (sign = 1) or the smaller (-1); NaN is picked, or never."""

    def apply(a: Any, b: Any) -> Any:
        (a, da), (b, db) = split(a), split(b)
        first = above(a, da, b, db) if sign > 0 else above(b, db, a, da)
        first = first | np.isnan(a if passes_nan else b)
        return dual(ufunc(a, b), np.where(first, 0 if da is None else da, 0 if db is None else db))

    return apply


UFUNCS[np.maximum], UFUNCS[np.minimum] = _larger(np.maximum, 1, True), _larger(np.minimum, -1, True)
UFUNCS[np.fmax], UFUNCS[np.fmin] = _larger(np.fmax, 1, False), _larger(np.fmin, -1, False)


# ----- signs
def _side(a: Any, da: Any) -> Any:
    """The sign of a + eps da, of a's dtype; the comparison with 0 is recorded."""
    note_comparison(a, da, 0, None)
    return np.where(a == 0, np.sign(da), np.sign(a))


def _absolute(a: Any) -> Any:
    a, da = split(a)
    return dual(np.abs(a), _side(a, da) * da)


def _sign(a: Any) -> Any:
    a, da = split(a)
    side = _side(a, da)
    return dual(side[()], np.zeros_like(side))


def _signbit(a: Any) -> Any:
    return np.where(np.asarray(split(a)[0]) == 0, _side(*split(a)) < 0, np.signbit(split(a)[0]))[()]


def _copysign(a: Any, b: Any) -> Any:
    """|a| times the sign of b; b = -0.0 is negative if its tangent is 0."""
    (a, da), (b, db) = split(a), split(b)
    side = np.where(b == 0, 0, np.sign(b)) if db is None else _side(b, db)
    side = np.where(side == 0, np.copysign(1, b), side)
    y = np.copysign(a, side)
    return dual(y, np.zeros_like(y) if da is None else side * (_side(a, da) * da))


def _heaviside(a: Any, middle: Any) -> Any:
    (a, da), (middle, dmiddle) = split(a), split(middle)
    side = np.sign(a) if da is None else _side(a, da)
    y = np.heaviside(side, middle)
    return dual(y, np.zeros_like(y) if dmiddle is None else np.where(side == 0, dmiddle, 0))


UFUNCS.update({np.absolute: _absolute, np.fabs: _absolute, np.sign: _sign, np.signbit: _signbit})
UFUNCS.update({np.copysign: _copysign, np.heaviside: _heaviside})


def _hypot(a: Any, b: Any) -> Any:
    """sqrt(a^2 + b^2); at 0, the length of the tangent."""
    (a, da), (b, db) = split(a), split(b)
    da, db, y = 0 if da is None else da, 0 if db is None else db, np.hypot(a, b)
    note_comparison(y, np.hypot(da, db), 0, None)
    with np.errstate(all="ignore"):
        return dual(y, np.where(y == 0, np.hypot(da, db), (a / y) * da + (b / y) * db))


# ----- steps
def _jump(m: Any, dm: Any) -> None:
    """Record how far a + eps da is from the two whole numbers around it; m is above the lower one."""
    note_comparison(m, dm, 0, None)
    note_comparison(m, dm, 1, None)


def _floor(a: Any) -> Any:
    a, da = split(a)
    y = np.floor(a)
    _jump(a - y, da)
    y = y - ((a == y) & (da < 0))
    return dual(y, np.zeros_like(y))


def _ceil(a: Any) -> Any:
    return -_floor(-a)


def _trunc(a: Any) -> Any:
    value, tangent = split(a)
    y = np.where((value > 0) | ((value == 0) & (tangent > 0)), _floor(a)._value, _ceil(a)._value)[()]
    return dual(y, np.zeros_like(y))


def _remainder(a: Any, b: Any) -> Any:
    """a - floor(a/b) b."""
    (a, da), (b, db) = split(a), split(b)
    y = np.remainder(a, b)
    with np.errstate(all="ignore"):
        whole = np.round((a - y) / b)
        dy = (0 if da is None else da) - (0 if db is None else whole * db)
        note_comparison(y, dy, 0, None)
        note_comparison(y, dy, b, db)
        below = (y == 0) & (dy * b < 0)  # about to fall to the interval below
    return dual(
        np.where(below, b, y)[()].astype(y.dtype),
        np.where(below & (db is not None), dy + (0 if db is None else db), dy),
    )


def _fmod(a: Any, b: Any) -> Any:
    """a - trunc(a/b) b."""
    (a, da), (b, db) = split(a), split(b)
    y = np.fmod(a, b)
    with np.errstate(all="ignore"):
        whole = np.round((a - y) / b)
        dy = (0 if da is None else da) - (0 if db is None else whole * db)
        note_comparison(y, dy, 0, None)
        note_comparison(
            abs(np.asarray(y)), np.sign(y) * dy, abs(np.asarray(b)), None if db is None else np.sign(b) * db
        )
        if np.any((y == 0) & (np.asarray(a) != 0) & (dy != 0)):
            raise NotCarried("numpy.fmod has no rule at a multiple of the divisor, where it jumps")
    return dual(y, dy)


def _ldexp(a: Any, n: Any) -> Any:
    a, da = split(a)
    if da is None or carries(n):
        raise NotCarried("numpy.ldexp has no rule by its exponent")
    return dual(np.ldexp(a, n), np.ldexp(da, n))


UFUNCS.update({np.hypot: _hypot, np.floor: _floor, np.ceil: _ceil, np.trunc: _trunc, np.ldexp: _ldexp})
UFUNCS.update({np.remainder: _remainder, np.mod: _remainder, np.fmod: _fmod})
