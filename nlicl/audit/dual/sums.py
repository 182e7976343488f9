"""Sums, products and means of the entries of an array."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .array import Dual, as_array, carries, dual, split
from .record import note_comparison
from .rules import FUNCTIONS, METHODS, NotCarried, named, rule
from .structure import linear, tangent_of

__all__: list[str] = []


def _no_out(function: str, out: Any, *plain: Any) -> None:
    if out is not None or any(map(carries, plain)):
        raise NotCarried(f"numpy.{function} has no rule for out, or for a Dual among its options")


@rule(np.sum)
def sum_of(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = 0,
    where: Any = True,
) -> Any:
    _no_out("sum", out, where)
    y = np.sum(split(a)[0], axis, dtype, None, keepdims, split(initial)[0], where)
    return dual(y, np.sum(tangent_of(a), axis, dtype, None, keepdims, tangent_of(initial), where))


@rule(np.mean)
def mean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True
) -> Any:
    _no_out("mean", out, where)
    a, da = split(a)
    return dual(*(np.mean(part, axis, dtype, None, keepdims, where=where) for part in (a, da)))


@rule(np.average)
def average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False) -> Any:
    if returned:
        raise NotCarried("numpy.average has no rule for returned")
    if weights is None:
        return np.mean(a, axis, keepdims=keepdims)
    weights = as_array(weights)
    if np.shape(weights) != np.shape(a):
        if not isinstance(axis, int):
            raise NotCarried("numpy.average has no rule for weights of several axes")
        weights = np.reshape(weights, [-1 if n == axis % np.ndim(a) else 1 for n in range(np.ndim(a))])
    weights = np.broadcast_to(weights, np.shape(a))
    return np.sum(np.multiply(a, weights), axis, keepdims=keepdims) / np.sum(weights, axis, keepdims=keepdims)


# ----- spread
@rule(np.var)
def variance(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = False, *, where: Any = True,
    correction: Any = None,
) -> Any:  # fmt: skip
    """sum (a - mean a)^2 / (n - ddof)."""
    _no_out("var", out, where)
    a, da = split(a)
    ddof = ddof if correction is None else correction
    y = np.var(a, axis, dtype, None, ddof, keepdims, where=where)
    with np.errstate(all="ignore"):
        off = a - np.mean(a, axis, dtype, keepdims=True, where=where)
        count = np.sum(np.broadcast_to(where, a.shape), axis, keepdims=keepdims)
        return dual(y, 2 * np.sum(off * da, axis, dtype, None, keepdims, where=where) / np.maximum(count - ddof, 0))


@rule(np.std)
def deviation(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = False, *, where: Any = True,
    correction: Any = None,
) -> Any:  # fmt: skip
    """sqrt(var); of equal entries, the deviation of the tangent."""
    _no_out("std", out, where)
    ddof = ddof if correction is None else correction
    square = variance(a, axis, dtype, None, ddof, keepdims, where=where)
    a, da = split(a)
    y = np.std(a, axis, dtype, None, ddof, keepdims, where=where)
    with np.errstate(all="ignore"):
        dy = np.where(y == 0, np.std(da, axis, dtype, None, ddof, keepdims, where=where), square._tangent / (2 * y))
    note_comparison(y, dy, 0, None)
    return dual(y, dy)


# ----- products
def _product_tangent(a: Any, da: Any) -> Any:
    """Of the product along the last axis: sum_i da_i prod_{j != i} a_j, at zeros too."""
    one = np.ones_like(a[..., :1])
    before = np.cumprod(np.concatenate([one, a[..., :-1]], -1), -1)
    after = np.cumprod(np.concatenate([one, a[..., :0:-1]], -1), -1)[..., ::-1]
    return (da * before * after).sum(-1)


@rule(np.prod)
def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = 1,
    where: Any = True,
) -> Any:
    _no_out("prod", out, where)
    if not isinstance(a, Dual):
        return np.prod(a, axis, dtype, None, keepdims, 1, where) * initial
    y = np.prod(a._value, axis, dtype, None, keepdims, 1, where)
    axes = np.lib.array_utils.normalize_axis_tuple(range(a.ndim) if axis is None else axis, a.ndim)
    kept = [n for n in range(a.ndim) if n not in axes]
    lines = [
        np.transpose(np.where(where, part, rest), [*kept, *axes]).reshape(*(a.shape[n] for n in kept), -1)
        for part, rest in ((a._value, 1), (a._tangent, 0))
    ]
    with np.errstate(all="ignore"):
        dy = _product_tangent(*lines) if lines[0].shape[-1] else np.zeros(lines[0].shape[:-1])
    product = dual(y, dy.reshape(y.shape))
    return product if initial is np._NoValue or (type(initial) is int and initial == 1) else product * initial


@rule(np.cumprod)
def cumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """y_k = y_{k-1} a_k."""
    _no_out("cumprod", out)
    a, axis = (np.ravel(a), 0) if axis is None else (a, axis)
    y = np.cumprod(a._value, axis, dtype)
    value, tangent, line, dy = (np.moveaxis(part, axis, 0) for part in (a._value, a._tangent, y, np.zeros_like(y)))
    last = np.zeros_like(tangent[0]) if len(tangent) else None
    with np.errstate(all="ignore"):
        for k in range(len(line)):
            last = last * value[k] + (line[k - 1] if k else 1) * tangent[k]
            dy[k] = last
    return dual(y, np.moveaxis(dy, 0, axis))


# ----- NaN aside
def _nan_aside(function: Any, fill: Any) -> Any:
    def apply(a: Any, *args: Any, **options: Any) -> Any:
        return function(np.where(np.isnan(a), fill, a), *args, **options)

    return apply


def _nan_out(function: Any) -> Any:
    return lambda a, *args, **options: function(a, *args, where=~np.isnan(a), **options)


FUNCTIONS[np.nansum], FUNCTIONS[np.nanprod] = _nan_aside(np.sum, 0), _nan_aside(np.prod, 1)
FUNCTIONS[np.nancumsum], FUNCTIONS[np.nancumprod] = _nan_aside(np.cumsum, 0), _nan_aside(np.cumprod, 1)
FUNCTIONS[np.nanmean], FUNCTIONS[np.nanvar], FUNCTIONS[np.nanstd] = map(_nan_out, (np.mean, np.var, np.std))


# ----- differences
@rule(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    def line(x: Any) -> Any:
        shape = [1 if k == axis % np.ndim(a) else size for k, size in enumerate(np.shape(a))]
        return np.broadcast_to(x, shape) if np.ndim(x) == 0 else x

    prepend, append = (None if x is np._NoValue else x for x in (prepend, append))
    if prepend is not None or append is not None:
        a = np.concatenate(
            [*([] if prepend is None else [line(prepend)]), a, *([] if append is None else [line(append)])], axis
        )
    return linear(np.diff)(a, n, axis)


@rule(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    pieces = [np.ravel(x) for x in (to_begin, np.diff(np.ravel(ary)), to_end) if x is not None]
    return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]


@rule(*named("trapezoid trapz"))
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """sum (y_k + y_{k+1})/2 (x_{k+1} - x_k)."""
    if x is None:
        steps = dx
    elif np.ndim(x) == 1:
        steps = np.reshape(np.diff(x), [-1 if k == axis % np.ndim(y) else 1 for k in range(np.ndim(y))])
    else:
        steps = np.diff(x, axis=axis)
    y = np.moveaxis(as_array(y), axis, -1)
    steps = np.moveaxis(steps, axis, -1) if np.ndim(steps) else steps
    return np.sum((y[..., 1:] + y[..., :-1]) / 2 * steps, -1)


@rule(np.cov)
def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: Any = None) -> Any:
    if y is not None:
        raise NotCarried("numpy.cov has no rule for y")
    rows = np.atleast_2d(m) if rowvar or np.ndim(m) < 2 else np.transpose(m)
    rows = rows - np.mean(rows, 1, keepdims=True)
    return np.squeeze(rows @ rows.T / (rows.shape[1] - (ddof if ddof is not None else 0 if bias else 1)))


@rule(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Any:
    c = cov(x, y, rowvar)
    size = np.sqrt(np.diag(c))
    return c / size[:, None] / size


@rule(np.bincount)
def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    if isinstance(x, Dual):
        raise NotCarried("numpy.bincount has no rule for a Dual as index")
    return dual(np.bincount(x, weights._value, minlength), np.bincount(x, weights._tangent, minlength))


# ----- methods of ufuncs
def _of_first_axis(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction whose axis is 0 unless it is given, as ufunc.reduce."""

    def reduce(a: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: Any = False, **options: Any) -> Any:
        if dtype is not None:
            options["dtype"] = dtype
        _no_out(f"{function.__name__} of a ufunc", out)
        return function(a, axis, keepdims=keepdims, **options)

    return reduce


_reductions: dict[Any, Any] = {
    np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min, np.logical_and: np.all,
    np.logical_or: np.any,
}  # fmt: skip
for _ufunc, _function in _reductions.items():
    METHODS[_ufunc, "reduce"] = _of_first_axis(_function)


def _log_sum_exp(a: Any, axis: Any = None, keepdims: Any = False) -> Any:
    """log sum exp a, whose derivative is the softmax."""
    value, tangent = split(a)
    y = np.logaddexp.reduce(value, axis, keepdims=True)
    with np.errstate(all="ignore"):
        out = dual(y, np.sum(np.exp(value - y) * tangent, axis, keepdims=True))
    return out if keepdims else np.squeeze(out, tuple(range(np.ndim(a))) if axis is None else axis)[()]


METHODS[np.logaddexp, "reduce"] = _of_first_axis(_log_sum_exp)
METHODS[np.add, "reduceat"] = lambda a, indices, axis=0: dual(
    *(np.add.reduceat(part, indices, axis) for part in (a._value, a._tangent))
)
METHODS[np.add, "accumulate"] = lambda a, axis=0: np.cumsum(a, axis)
METHODS[np.multiply, "accumulate"] = lambda a, axis=0: np.cumprod(a, axis)


def _accumulated(ufunc: Any) -> Callable[..., Any]:
    def accumulate(a: Any, axis: int = 0) -> Any:
        out = a.copy("K")
        lines = np.moveaxis(out, axis, 0)
        for k in range(1, len(lines)):
            lines[k] = ufunc(lines[k - 1], lines[k])
        return out

    return accumulate


for _ufunc in (np.maximum, np.minimum, np.logaddexp):
    METHODS[_ufunc, "accumulate"] = _accumulated(_ufunc)
