"""What each ufunc does to the tangent: a table of derivatives, and the kinks, whose sides follow from comparisons.

Legend: a, b = the inputs' values; y = f(a) or f(a, b); da, db, dy = tangents.
An order of numbers is that of x + eps v: by value, and by tangent where values are equal.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .array import carries, dual, split
from .rules import FUNCTIONS, UFUNCS, NotCarried, name_of

__all__ = ["product", "smooth"]

LOG2 = float(np.log(2))
DEGREE = float(np.pi / 180)
_quiet = np.errstate


def slope_of_tanh(a: Any) -> Any:
    """1 / cosh(a)^2, which falls to 0 without overflow."""
    e = np.exp(-2 * np.abs(a))
    return 4 * e / (1 + e) ** 2


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
    np.tanh: lambda a, y: slope_of_tanh(a),
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


def binary(table: Mapping[Any, tuple[Callable[..., Any], ...]]) -> dict[Any, Callable[..., Any]]:
    """Rules from a table of (df/da, df/db)."""
    return {ufunc: smooth(ufunc, derivatives) for ufunc, derivatives in table.items()}


UFUNCS.update(unary(UNARY))
UFUNCS.update(binary(BINARY))


# ----- products of arrays
def product(function: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of a function that is linear in each of two arrays: dy = f(da, b) + f(a, db)."""

    def apply(a: Any, b: Any, *args: Any, **options: Any) -> Any:
        if any(map(carries, (*args, *options.values()))):
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


# functions of NumPy that act entry by entry without being ufuncs
def slope_of_sinc(a: Any, y: Any) -> Any:
    """(cos(pi a) - y) / a; near 0, where that cancels, its series."""
    near = np.abs(a) < 0.1
    s = np.where(near, np.pi * a, 0.0) ** 2
    series = -np.pi * np.pi / 3 * a * (1 - s / 10 * (1 - s / 28 * (1 - s / 54 * (1 - s / 88 * (1 - s / 130)))))
    return np.where(near, series, (np.cos(np.pi * a) - y) / np.where(near, 1, a))


FUNCTIONS[np.sinc] = smooth(np.sinc, (slope_of_sinc,))
