"""Products of arrays: linear in each factor, so dy is the sum of the products with one factor's tangent in its place."""

from typing import Any

import numpy as np

from .array import Dual, as_array, dual, split
from .rules import FUNCTIONS, NotCarried, named, rule
from .ufuncs import product

__all__: list[str] = []

for _function in named(
    "inner tensordot kron vdot cross convolve correlate linalg.outer linalg.cross linalg.tensordot linalg.vecdot linalg.matmul"
):
    FUNCTIONS[_function] = product(_function)


def _with_out(function: Any) -> Any:
    def apply(a: Any, b: Any, out: Any = None) -> Any:
        y = product(function)(a, b)
        if out is None:
            return y
        if not isinstance(out, Dual):
            raise NotCarried(
                f"numpy.{function.__name__} has no rule for a plain array as out: it cannot hold a derivative"
            )
        out[...] = y
        return out

    return apply


FUNCTIONS[np.dot], FUNCTIONS[np.outer] = _with_out(np.dot), _with_out(np.outer)


def _product_rule(function: Any, factors: Any) -> Any:
    """dy of function(list of factors)."""
    pairs = [split(factor) for factor in factors]
    values = [value for value, _ in pairs]
    y, dy = function(values), 0
    with np.errstate(all="ignore"):
        for n, (_, tangent) in enumerate(pairs):
            if tangent is not None:
                dy = dy + function([*values[:n], tangent, *values[n + 1 :]])
    return dual(y, dy)


@rule(np.einsum)
def einsum(subscripts: Any, *operands: Any, out: Any = None, optimize: Any = False, order: Any = "K") -> Any:
    if not isinstance(subscripts, str) or out is not None:
        raise NotCarried("numpy.einsum has no rule for out, or for subscripts that are lists")
    if len(operands) == 1:  # may be a view, as in NumPy
        return dual(*(np.einsum(subscripts, part) for part in split(operands[0])))
    return _product_rule(lambda factors: np.einsum(subscripts, *factors, optimize=optimize), operands)


@rule(np.linalg.multi_dot)
def multi_dot(arrays: Any, *, out: Any = None) -> Any:
    if out is not None:
        raise NotCarried("numpy.linalg.multi_dot has no rule for out")
    return _product_rule(np.linalg.multi_dot, list(arrays))


@rule(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    if n < 0:
        return matrix_power(np.linalg.inv(a), -n)
    y = np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape) if n != 1 else a.copy()
    if n == 0:
        return dual(y.copy(), np.zeros(a.shape))
    if n == 1:
        return y
    half = matrix_power(a, n // 2)
    return half @ half @ a if n % 2 else half @ half


@rule(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """Horner's rule."""
    x = as_array(x)
    y = np.zeros_like(x) if isinstance(x, Dual) else np.zeros(x.shape)
    for coefficient in p:
        y = y * x + coefficient
    return y


@rule(np.vander)
def vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    powers = np.arange(len(x) if N is None else N)
    return x[:, None] ** (powers if increasing else powers[::-1])
