"""NumPy's functions that move entries about, make arrays or fill them: they act on the tangent as on the value.

A plain array has the tangent 0.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .array import MOST_OBJECTS, Dual, carries, dual, parts, split, truth
from .record import note_write
from .rules import FUNCTIONS, NotCarried, named, rule

__all__ = ["linear", "tangent_of"]


def tangent_of(x: Any) -> Any:
    """The tangent of an operand, 0 of its shape if it has none."""
    value, tangent = split(x)
    return np.zeros(np.shape(value), np.result_type(value, np.float32)) if tangent is None else tangent


def linear(function: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of a function that is linear in its first argument, whatever the others: dy = f(da)."""

    def apply(a: Any, *args: Any, **options: Any) -> Any:
        if any(map(carries, (*args, *options.values()))) or options.get("out") is not None:
            raise NotCarried(f"numpy.{function.__name__} has no rule for a Dual or out among its options")
        a, da = split(a)
        y = function(a, *args, **options)
        if da is None:
            return y
        with np.errstate(all="ignore"):
            dy = function(da, *args, **options)
        if y is dy:  # an output array among the arguments
            raise NotCarried(f"numpy.{function.__name__} has no rule for out")
        return [dual(v, t) for v, t in zip(y, dy, strict=True)] if isinstance(y, list | tuple) else dual(y, dy)

    return apply


for _function in named(
    """reshape ravel transpose matrix_transpose permute_dims moveaxis rollaxis swapaxes squeeze expand_dims repeat tile roll
    flip fliplr flipud rot90 broadcast_to diag diagonal diagflat tril triu trace take take_along_axis resize split
    array_split hsplit vsplit dsplit unstack delete copy ascontiguousarray asfortranarray linalg.diagonal linalg.trace
    linalg.matrix_transpose cumsum cumulative_sum gradient"""
):
    FUNCTIONS[_function] = linear(_function)
FUNCTIONS[np.lib.stride_tricks.sliding_window_view] = linear(np.lib.stride_tricks.sliding_window_view)


def joined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of a function that joins the arrays of a sequence."""

    def apply(arrays: Any, *args: Any, **options: Any) -> Any:
        if any(map(carries, (*args, *options.values()))) or len(args) > 1 or options.get("out") is not None:
            raise NotCarried(f"numpy.{function.__name__} has no rule for out")
        arrays = list(arrays)
        y = function([split(array)[0] for array in arrays], *args, **options)
        return dual(y, function([tangent_of(array) for array in arrays], *args, **options))

    return apply


for _function in named("concatenate stack vstack hstack dstack column_stack"):
    FUNCTIONS[_function] = joined(_function)


@rule(np.block)
def block(arrays: Any) -> Any:
    def part(tree: Any, of: Callable[[Any], Any]) -> Any:
        return [part(branch, of) for branch in tree] if isinstance(tree, list) else of(tree)

    return dual(np.block(part(arrays, lambda x: split(x)[0])), np.block(part(arrays, tangent_of)))


@rule(np.append)
def append(arr: Any, values: Any, axis: Any = None) -> Any:
    return dual(np.append(split(arr)[0], split(values)[0], axis), np.append(tangent_of(arr), tangent_of(values), axis))


@rule(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    y = np.insert(split(arr)[0], obj, split(values)[0], axis)
    return dual(y, np.insert(tangent_of(arr), obj, tangent_of(values), axis))


@rule(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    a, da = split(array)
    if (
        mode not in ("constant", "edge", "reflect", "symmetric", "wrap")
        or options.get("reflect_type", "even") != "even"
    ):
        raise NotCarried(f"numpy.pad has no rule for mode={mode!r}")
    y = np.pad(a, pad_width, mode, **options)
    options.pop("constant_values", None)
    return dual(y, np.pad(da, pad_width, mode, **options))


@rule(np.compress)
def compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Any:
    if out is not None:
        raise NotCarried("numpy.compress has no rule for out")
    condition = truth(condition)
    y = np.compress(condition, split(a)[0], axis)
    return dual(y, np.compress(condition, tangent_of(a), axis)) if carries(a) else y


@rule(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    return np.ravel(arr)[np.ravel(truth(condition))]


def _each(function: Any) -> Callable[..., Any]:
    def apply(*arrays: Any) -> Any:
        out = tuple(dual(function(split(x)[0]), function(tangent_of(x))) if carries(x) else function(x) for x in arrays)
        return out if len(out) != 1 else out[0]

    return apply


for _function in named("atleast_1d atleast_2d atleast_3d"):
    FUNCTIONS[_function] = _each(_function)


@rule(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    shape = np.broadcast_shapes(*(np.shape(x) for x in args))
    return tuple(np.broadcast_to(x, shape) for x in args)


@rule(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: Any = "xy") -> Any:
    options = {"sparse": sparse, "indexing": indexing}
    values, tangents = (np.meshgrid(*(part(x) for x in xi), **options) for part in (lambda x: split(x)[0], tangent_of))
    return tuple(dual(v, t) if carries(x) else v for x, v, t in zip(xi, values, tangents, strict=True))


# ----- choices
@rule(np.where)
def where(condition: Any, *choices: Any) -> Any:
    condition = truth(condition) if carries(condition) else condition
    if not choices:
        return np.nonzero(condition)
    x, y = choices
    (x, dx), (y, dy) = split(x), split(y)
    out = np.where(condition, x, y)
    if dx is None and dy is None:
        return out
    return dual(out, np.where(condition, 0 if dx is None else dx, 0 if dy is None else dy))


@rule(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    out = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        out = where(condition, choice, out)
    return out


@rule(np.choose)
def choose(a: Any, choices: Any, out: Any = None, mode: Any = "raise") -> Any:
    if carries(a) or out is not None:
        raise NotCarried("numpy.choose has no rule for a Dual as index, or for out")
    choices = list(choices)
    y = np.choose(a, [split(x)[0] for x in choices], mode=mode)
    return dual(y, np.choose(a, [tangent_of(x) for x in choices], mode=mode))


@rule(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    condlist = [condlist] if isinstance(condlist, np.ndarray) and condlist.ndim == x.ndim else list(condlist)
    conditions = [np.broadcast_to(truth(c), x.shape) for c in condlist]
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.any(conditions, axis=0))
    y = np.zeros_like(x)
    for condition, function in zip(conditions, funclist, strict=True):
        y[condition] = function(x[condition], *args, **kw) if callable(function) else function
    return y


# ----- new arrays: of tangent 0, to be filled in place
def _made(y: Any) -> Any:
    return dual(y, np.zeros_like(y)) if y.dtype.kind == "f" else y


def _like(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(a: Any, *args: Any, **options: Any) -> Any:
        return _made(function(split(a)[0], *args, **options))

    return apply


for _function in (np.zeros_like, np.ones_like, np.empty_like):
    FUNCTIONS[_function] = _like(_function)
for _function in (np.zeros, np.ones, np.empty, np.eye, np.identity, np.arange, np.tri):  # called with like=
    FUNCTIONS[_function] = lambda *args, function=_function, **options: _made(function(*args, **options))


@rule(np.full_like)
def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None
) -> Any:
    out = _made(np.empty_like(split(a)[0], dtype, order, True, shape))
    out[...] = fill_value
    return out


@rule(np.full)
def full(shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C") -> Any:
    value, tangent = split(fill_value)
    y = np.full(shape, value, dtype, order)
    return _made(y) if tangent is None else dual(y, np.broadcast_to(tangent, y.shape))


@rule(np.array, np.asarray, np.asanyarray, np.require)
def array(a: Any, dtype: Any = None, *, copy: Any = None, order: Any = None, ndmin: int = 0) -> Any:
    """np.array(..., like=Dual)."""
    if isinstance(a, Dual) and not copy and dtype in (None, a.dtype):
        out = a
    else:
        value, tangent = parts(a)
        y = np.array(value, dtype)
        out = _made(y) if tangent is None else dual(y, tangent)
    return out.reshape((1,) * (ndmin - out.ndim) + out.shape) if ndmin > out.ndim else out


@rule(np.linspace)
def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None, axis: int = 0
) -> Any:
    if retstep or dtype is not None or axis != 0:
        raise NotCarried("numpy.linspace has no rule for retstep, dtype or axis")
    span = np.subtract(stop, start)
    steps = (np.arange(num) / max(num - 1 if endpoint else num, 1)).reshape(-1, *(1,) * span.ndim)
    return start + steps * span


# ----- written in place
def _written(function: Callable[..., Any], source: int, source_name: str) -> Callable[..., Any]:
    """The rule of a function that writes its argument number `source` into its first."""

    def apply(*args: Any, **options: Any) -> None:
        inputs = list(args) + ([options.pop(source_name)] if len(args) <= source else [])
        target, item = inputs[0], inputs[source]
        if any(carries(x) for n, x in enumerate(inputs) if n not in (0, source)) or len(inputs) <= source:
            raise NotCarried(f"numpy.{function.__name__} has no rule for a Dual that says where")
        if (
            isinstance(target, np.ndarray)
            and target.dtype == object
            and isinstance(item, Dual)
            and item.size <= MOST_OBJECTS
        ):
            function(target, *inputs[1:source], np.asarray(item), *inputs[source + 1 :], **options)
            return
        if not isinstance(target, Dual) or isinstance(target._value, np.generic):
            raise NotCarried(f"numpy.{function.__name__} has no rule for a plain array: it cannot hold a derivative")
        value, tangent = split(item)
        for part, new in (
            (target._value, value),
            (target._tangent, np.zeros_like(value, float) if tangent is None else tangent),
        ):
            function(part, *inputs[1:source], new, *inputs[source + 1 :], **options)
        note_write(target._value)

    return apply


for _function, _source, _name in (
    (np.put, 2, "v"),
    (np.putmask, 2, "values"),
    (np.place, 2, "vals"),
    (np.put_along_axis, 2, "values"),
    (np.fill_diagonal, 1, "val"),
):
    FUNCTIONS[_function] = _written(_function, _source, _name)


@rule(np.copyto)
def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    _written(np.copyto, 1, "src")(dst, src, casting=casting, where=truth(where) if carries(where) else where)
