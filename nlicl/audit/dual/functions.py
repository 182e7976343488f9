"""NumPy's functions that move entries about, and those that sum: linear, so they act on the tangent as on the value."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .array import FUNCTIONS, METHODS, Dual, NotCarried, dual, rule, split, truth

__all__ = ["linear"]


def linear(function: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of a function that is linear in its first argument, whatever the others: dy = f(da)."""

    def apply(a: Any, *args: Any, **options: Any) -> Any:
        if any(isinstance(x, Dual) for x in (*args, *options.values())) or options.get("out") is not None:
            raise NotCarried(f"numpy.{function.__name__} has no rule for a Dual or out among its options")
        a, da = split(a)
        if da is None:
            return function(a, *args, **options)
        y = function(a, *args, **options)
        with np.errstate(all="ignore"):
            dy = function(da, *args, **options)
        return [dual(v, t) for v, t in zip(y, dy, strict=True)] if isinstance(y, list | tuple) else dual(y, dy)

    return apply


for (
    _name
) in """reshape ravel transpose matrix_transpose permute_dims moveaxis rollaxis swapaxes squeeze expand_dims repeat tile
    roll flip fliplr flipud rot90 broadcast_to diag diagonal diagflat tril triu trace take take_along_axis resize trim_zeros
    split array_split hsplit vsplit dsplit unstack atleast_1d atleast_2d atleast_3d delete copy
    ascontiguousarray asfortranarray""".split():
    if hasattr(np, _name):
        FUNCTIONS[getattr(np, _name)] = linear(getattr(np, _name))


def joined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of a function that joins the arrays of a sequence."""

    def apply(arrays: Any, *args: Any, **options: Any) -> Any:
        pairs = [split(array) for array in arrays]
        zeros = [np.zeros(np.shape(value)) if tangent is None else tangent for value, tangent in pairs]
        return dual(function([value for value, _ in pairs], *args, **options), function(zeros, *args, **options))

    return apply


for _name in "concatenate concat stack vstack row_stack hstack dstack column_stack".split():
    if hasattr(np, _name) and _name != "row_stack":
        FUNCTIONS[getattr(np, _name)] = joined(getattr(np, _name))


@rule(np.where)
def where(condition: Any, x: Any, y: Any) -> Any:
    condition = truth(condition) if isinstance(condition, Dual) else condition
    (x, dx), (y, dy) = split(x), split(y)
    out = np.where(condition, x, y)
    if dx is None and dy is None:
        return out
    return dual(out, np.where(condition, 0 if dx is None else dx, 0 if dy is None else dy))


def like(function: Callable[..., Any], fill: Any = 0) -> Callable[..., Any]:
    """The rule of zeros_like and its kin: a Dual of tangent 0, which can be filled in place."""

    def apply(a: Any, *args: Any, **options: Any) -> Any:
        y = function(split(a)[0], *args, **options)
        return dual(y, np.zeros_like(y)) if y.dtype.kind == "f" else y

    return apply


for _like in (np.zeros_like, np.ones_like, np.empty_like):
    FUNCTIONS[_like] = like(_like)


# ----- sums
def _reduced(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = False,
        initial: Any = 0,
        where: Any = True,
    ) -> Any:
        if out is not None or isinstance(where, Dual):
            raise NotCarried(f"numpy.{function.__name__} has no rule for out")
        (a, da), (first, dfirst) = split(a), split(initial)
        options = {"axis": axis, "dtype": dtype, "keepdims": keepdims, "where": where}
        y = np.sum(a, initial=first, **options)
        return dual(y, np.sum(da, initial=0 if dfirst is None else dfirst, **options))

    return apply


FUNCTIONS[np.sum] = METHODS[np.add, "reduce"] = _reduced(np.sum)


@rule(np.mean)
def mean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True
) -> Any:
    if out is not None or isinstance(where, Dual):
        raise NotCarried("numpy.mean has no rule for out")
    a, da = split(a)
    options = {"axis": axis, "dtype": dtype, "keepdims": keepdims, "where": where}
    return dual(np.mean(a, **options), np.mean(da, **options))


@rule(np.shape)
def shape(a: Any) -> Any:
    return a.shape


@rule(np.ndim)
def ndim(a: Any) -> Any:
    return a.ndim


@rule(np.size)
def size(a: Any, axis: Any = None) -> Any:
    return np.size(a._value, axis)


@rule(np.dot)
def dot(a: Any, b: Any, out: Any = None) -> Any:
    from .ufuncs import product

    if out is not None:
        raise NotCarried("numpy.dot has no rule for out")
    return product(np.dot)(a, b)
