"""What each ufunc does to the tangent: a table of derivatives, and the kinks, whose sides follow from comparisons.

Legend: a, b = the inputs' values; y = f(a) or f(a, b); da, db, dy = tangents.
An order of numbers is that of x + eps v: by value, and by tangent where values are equal.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .array import FUNCTIONS, METHODS, UFUNCS, Dual, NotCarried, dual, name_of, split, truth
from .record import note_comparison

__all__ = ["product", "smooth"]

LOG2 = float(np.log(2))
DEGREE = float(np.pi / 180)
_quiet = np.errstate

# f'(a), given a and y = f(a)
UNARY: dict[Any, Callable[[Any, Any], Any]] = {
    np.positive: lambda a, y: 1,
    np.negative: lambda a, y: -1,
    np.conjugate: lambda a, y: 1,
    np.exp: lambda a, y: y,
    np.exp2: lambda a, y: LOG2 * y,
    np.expm1: lambda a, y: np.exp(a),
    np.log: lambda a, y: 1 / a,
    np.log2: lambda a, y: 1 / (LOG2 * a),
    np.log10: lambda a, y: 1 / (float(np.log(10)) * a),
    np.log1p: lambda a, y: 1 / (1 + a),
    np.sqrt: lambda a, y: 0.5 / y,
    np.cbrt: lambda a, y: y / (3 * a),
    np.square: lambda a, y: 2 * a,
    np.reciprocal: lambda a, y: -y * y,
    np.sin: lambda a, y: np.cos(a),
    np.cos: lambda a, y: -np.sin(a),
    np.tan: lambda a, y: 1 + y * y,
    np.arcsin: lambda a, y: 1 / np.sqrt((1 - a) * (1 + a)),
    np.arccos: lambda a, y: -1 / np.sqrt((1 - a) * (1 + a)),
    np.arctan: lambda a, y: 1 / (1 + a * a),
    np.sinh: lambda a, y: np.cosh(a),
    np.cosh: lambda a, y: np.sinh(a),
    np.tanh: lambda a, y: 1 / np.cosh(np.clip(a, -50, 50)) ** 2,
    np.arcsinh: lambda a, y: 1 / np.hypot(1, a),
    np.arccosh: lambda a, y: 1 / (np.sqrt(a - 1) * np.sqrt(a + 1)),
    np.arctanh: lambda a, y: 1 / ((1 - a) * (1 + a)),
    np.deg2rad: lambda a, y: DEGREE,
    np.radians: lambda a, y: DEGREE,
    np.rad2deg: lambda a, y: 1 / DEGREE,
    np.degrees: lambda a, y: 1 / DEGREE,
}


def power_by_base(a: Any, b: Any, y: Any) -> Any:
    """b a^(b-1), and 0 for b = 0 at every a."""
    return np.where(b == 0, 0, b * np.power(a, np.subtract(b, 1.0), dtype=np.result_type(y)))


def power_by_exponent(a: Any, b: Any, y: Any) -> Any:
    """a^b log a; it falls to 0 with a for b > 0."""
    return np.where((a == 0) & (np.asarray(b) > 0), 0, y * np.log(a))


# (df/da, df/db), given a, b and y = f(a, b)
BINARY: dict[Any, tuple[Callable[[Any, Any, Any], Any], Callable[[Any, Any, Any], Any]]] = {
    np.add: (lambda a, b, y: 1, lambda a, b, y: 1),
    np.subtract: (lambda a, b, y: 1, lambda a, b, y: -1),
    np.multiply: (lambda a, b, y: b, lambda a, b, y: a),
    np.divide: (lambda a, b, y: 1 / np.asarray(b, y.dtype), lambda a, b, y: -y / b),
    np.power: (power_by_base, power_by_exponent),
    np.float_power: (power_by_base, power_by_exponent),
    np.arctan2: (lambda a, b, y: b / (a * a + b * b), lambda a, b, y: -a / (a * a + b * b)),
    np.logaddexp: (lambda a, b, y: np.exp(a - y), lambda a, b, y: np.exp(b - y)),
    np.logaddexp2: (lambda a, b, y: np.exp2(a - y), lambda a, b, y: np.exp2(b - y)),
}


def smooth(ufunc: Any, derivatives: tuple[Callable[..., Any], ...]) -> Callable[..., Any]:
    """The rule of f from its partial derivatives: dy = f_a da + f_b db + ..."""

    def apply(*inputs: Any) -> Any:
        pairs = [split(x) for x in inputs]
        values = [value for value, _ in pairs]
        y, dy = ufunc(*values), None
        with _quiet(all="ignore"):
            for derivative, (_, tangent) in zip(derivatives, pairs, strict=True):
                if tangent is not None:
                    factor = derivative(*values, y)
                    term = +tangent if type(factor) is int and factor == 1 else factor * tangent
                    dy = term if dy is None else dy + term
        return y if dy is None else dual(y, dy)

    return apply


def unary(table: dict[Any, Callable[[Any, Any], Any]]) -> dict[Any, Callable[..., Any]]:
    """Rules from a table of f'(a)."""
    return {ufunc: smooth(ufunc, (derivative,)) for ufunc, derivative in table.items()}


def binary(table: dict[Any, tuple[Callable[..., Any], ...]]) -> dict[Any, Callable[..., Any]]:
    """Rules from a table of (df/da, df/db)."""
    return {ufunc: smooth(ufunc, derivatives) for ufunc, derivatives in table.items()}


UFUNCS.update(unary(UNARY))
UFUNCS.update(binary(BINARY))


# ----- products of arrays
def product(function: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of a function that is linear in each of two arrays: dy = f(da, b) + f(a, db)."""

    def apply(a: Any, b: Any, *args: Any, **options: Any) -> Any:
        if any(isinstance(x, Dual) for x in (*args, *options.values())):
            raise NotCarried(f"{name_of(function)} has no rule for a Dual among its options")
        (a, da), (b, db) = split(a), split(b)
        y, dy = function(a, b, *args, **options), None
        with _quiet(all="ignore"):
            if da is not None:
                dy = function(da, b, *args, **options)
            if db is not None:
                dy = function(a, db, *args, **options) + (0 if dy is None else dy)
        return y if dy is None else dual(y, dy)

    return apply


UFUNCS.update({f: product(f) for f in (getattr(np, n, None) for n in ("matmul", "vecdot", "matvec", "vecmat")) if f})


# ----- order
def above(a: Any, da: Any, b: Any, db: Any) -> Any:
    """Whether a + eps da > b + eps db; the comparison is recorded. A tangent may be None."""
    note_comparison(a, da, b, db)
    over, tie = np.greater(a, b), np.equal(a, b)
    if not tie.any():
        return over
    return over | (tie & np.greater(0 if da is None else da, 0 if db is None else db))


def _less(a: Any, b: Any) -> Any:
    return above(*split(b), *split(a))


def _equal(a: Any, b: Any) -> Any:
    (a, da), (b, db) = split(a), split(b)
    note_comparison(a, da, b, db)
    return np.equal(a, b) & np.equal(0 if da is None else da, 0 if db is None else db)


def _not_nan(a: Any, b: Any) -> Any:
    return ~(np.isnan(split(a)[0]) | np.isnan(split(b)[0]))


UFUNCS[np.greater] = lambda a, b: above(*split(a), *split(b))
UFUNCS[np.less] = _less
UFUNCS[np.less_equal] = lambda a, b: ~above(*split(a), *split(b)) & _not_nan(a, b)
UFUNCS[np.greater_equal] = lambda a, b: ~_less(a, b) & _not_nan(a, b)
UFUNCS[np.equal] = _equal
UFUNCS[np.not_equal] = lambda a, b: ~_equal(a, b)
UFUNCS[np.logical_not] = lambda a: ~truth(a)
UFUNCS[np.logical_and] = lambda a, b: truth(a) & truth(b)
UFUNCS[np.logical_or] = lambda a, b: truth(a) | truth(b)
UFUNCS[np.logical_xor] = lambda a, b: truth(a) ^ truth(b)
for _ask in (np.isnan, np.isinf, np.isfinite):
    UFUNCS[_ask] = lambda a, ask=_ask: ask(split(a)[0])


def chosen(a: Any, b: Any, first: Any, y: Any) -> Any:
    """y with the tangent of a where `first`, of b elsewhere."""
    da, db = split(a)[1], split(b)[1]
    return dual(y, np.where(first, 0 if da is None else da, 0 if db is None else db))


def _maximum(a: Any, b: Any) -> Any:
    first = above(*split(a), *split(b)) | np.isnan(split(a)[0])
    return chosen(a, b, first, np.maximum(split(a)[0], split(b)[0]))


def _minimum(a: Any, b: Any) -> Any:
    first = _less(a, b) | np.isnan(split(a)[0])
    return chosen(a, b, first, np.minimum(split(a)[0], split(b)[0]))


def _fmax(a: Any, b: Any) -> Any:
    first = above(*split(a), *split(b)) | np.isnan(split(b)[0])
    return chosen(a, b, first, np.fmax(split(a)[0], split(b)[0]))


def _fmin(a: Any, b: Any) -> Any:
    first = _less(a, b) | np.isnan(split(b)[0])
    return chosen(a, b, first, np.fmin(split(a)[0], split(b)[0]))


def _clip(a: Any, low: Any, high: Any) -> Any:
    return _minimum(_maximum(a, low), high)


UFUNCS.update({np.maximum: _maximum, np.minimum: _minimum, np.fmax: _fmax, np.fmin: _fmin})
if hasattr(np._core.umath, "clip"):
    UFUNCS[np._core.umath.clip] = _clip


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
    with _quiet(all="ignore"):
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
    with _quiet(all="ignore"):
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
    with _quiet(all="ignore"):
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
    if da is None or isinstance(n, Dual):
        raise NotCarried("numpy.ldexp has no rule by its exponent")
    return dual(np.ldexp(a, n), np.ldexp(da, n))


UFUNCS.update({np.hypot: _hypot, np.floor: _floor, np.ceil: _ceil, np.trunc: _trunc, np.ldexp: _ldexp})
UFUNCS.update({np.remainder: _remainder, np.mod: _remainder, np.fmod: _fmod})


# ----- methods of ufuncs
def _outer(ufunc: Any) -> Callable[..., Any]:
    def outer(a: Any, b: Any) -> Any:
        a, b = (x if isinstance(x, Dual) else np.asarray(x) for x in (a, b))
        return ufunc(np.reshape(a, (*a.shape, *(1,) * b.ndim)), b)

    return outer


def _at(ufunc: Any) -> Callable[..., Any]:
    """target[index] = f(target[index], b), one entry after another where an index comes twice."""

    def at(target: Any, index: Any, b: Any = None) -> None:
        if not isinstance(target, Dual) or isinstance(index, Dual):
            raise NotCarried(f"numpy.{ufunc.__name__}.at has no rule for a plain target: it cannot hold a derivative")
        places = np.arange(target.size).reshape(target.shape)[index]
        every = [None] * places.size if b is None else np.ravel(np.broadcast_to(b, places.shape))
        flat = target.flat
        for n, place in enumerate(places.ravel().tolist()):
            flat[place] = ufunc(flat[place]) if b is None else ufunc(flat[place], every[n])

    return at


def _at_sum(sign: Any) -> Callable[..., Any]:
    def at(target: Any, index: Any, b: Any) -> None:
        if not isinstance(target, Dual) or isinstance(index, Dual):
            raise NotCarried(f"numpy.{sign.__name__}.at has no rule for a plain target: it cannot hold a derivative")
        value, tangent = split(b)
        target[...] = target  # a write: recorded, or refused
        sign.at(target._value, index, value)
        if tangent is not None:
            sign.at(target._tangent, index, tangent)

    return at


for _ufunc in list(UFUNCS):
    if _ufunc.nin == 2 and _ufunc.signature is None:
        METHODS[_ufunc, "outer"] = _outer(_ufunc)
    if _ufunc.nin <= 2 and _ufunc.signature is None:
        METHODS[_ufunc, "at"] = _at(_ufunc)
METHODS[np.add, "at"], METHODS[np.subtract, "at"] = _at_sum(np.add), _at_sum(np.subtract)


# ----- operators
def _operators() -> None:
    def operator(ufunc: Any, swapped: bool) -> Callable[..., Any]:
        found = UFUNCS[ufunc]

        def forward(self: Dual, other: Any) -> Any:
            return found(self, other) if _known(other) else NotImplemented

        def reflected(self: Dual, other: Any) -> Any:
            return found(other, self) if _known(other) else NotImplemented

        return reflected if swapped else forward

    def in_place(ufunc: Any) -> Callable[..., Any]:
        found = UFUNCS[ufunc]

        def change(self: Dual, other: Any) -> Any:
            if not _known(other):
                return NotImplemented
            result = found(self, other)
            if isinstance(self._value, np.generic):
                return result
            if result.shape != self.shape:
                raise ValueError(f"a result of shape {result.shape} does not fit in place into shape {self.shape}")
            self[...] = result
            return self

        return change

    arithmetic = {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide,
        "pow": np.power, "mod": np.remainder, "matmul": np.matmul,
    }  # fmt: skip
    for name, ufunc in arithmetic.items():
        setattr(Dual, f"__{name}__", operator(ufunc, swapped=False))
        setattr(Dual, f"__r{name}__", operator(ufunc, swapped=True))
        setattr(Dual, f"__i{name}__", in_place(ufunc))
    order = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}
    for name, ufunc in (order | {"eq": np.equal, "ne": np.not_equal}).items():
        setattr(Dual, f"__{name}__", operator(ufunc, swapped=False))
    for name, ufunc in {"neg": np.negative, "pos": np.positive, "abs": np.absolute}.items():
        setattr(Dual, f"__{name}__", lambda self, found=UFUNCS[ufunc]: found(self))


def _known(other: Any) -> bool:
    return isinstance(other, Dual | int | float | complex | np.ndarray | np.generic | list | tuple)


_operators()

# functions of NumPy that act entry by entry without being ufuncs
FUNCTIONS[np.sinc] = smooth(
    np.sinc, (lambda a, y: np.where(a == 0, 0, (np.cos(np.pi * a) - y) / np.where(a == 0, 1, a)),)
)
