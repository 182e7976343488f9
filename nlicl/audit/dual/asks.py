"""Questions about arrays, whose answers carry no derivative: shapes, kinds, and comparisons of values."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .array import Dual, carries, dual, split, truth
from .record import note_tolerance
from .rules import FUNCTIONS, NotCarried, named, rule

__all__: list[str] = []


def _plain(x: Any) -> Any:
    return x._value if isinstance(x, Dual) else x


def _asked(function: Any) -> Callable[..., Any]:
    def apply(*args: Any, **options: Any) -> Any:
        return function(*(_plain(x) for x in args), **options)

    return apply


for _function in named(
    """shape ndim size result_type common_type iscomplexobj isrealobj shares_memory may_share_memory array_repr array_str
    array2string einsum_path iscomplex isreal diag_indices_from tril_indices_from triu_indices_from"""
):
    FUNCTIONS[_function] = _asked(_function)


@rule(np.can_cast)
def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    return np.can_cast(
        from_.dtype if isinstance(from_, Dual) else from_, to.dtype if isinstance(to, Dual) else to, casting
    )


@rule(np.real, np.real_if_close)
def real(val: Any) -> Any:
    return val


@rule(np.imag)
def imag(val: Any) -> Any:
    return val.imag


def _of_truth(function: Any) -> Callable[..., Any]:
    """The rule of a function that asks which entries are not 0."""

    def apply(a: Any, *args: Any, out: Any = None, **options: Any) -> Any:
        if out is not None or any(map(carries, (*args, *options.values()))):
            raise NotCarried(f"numpy.{function.__name__} has no rule for out")
        return function(truth(a), *args, **options)

    return apply


for _function in (np.any, np.all, np.nonzero, np.flatnonzero, np.argwhere, np.count_nonzero):
    FUNCTIONS[_function] = _of_truth(_function)


@rule(np.isclose)
def isclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    note_tolerance(max(rtol, atol))
    near = (np.abs(np.subtract(a, b)) <= atol + rtol * np.abs(b)) & np.isfinite(b) | (
        np.isinf(_plain(b)) & np.equal(a, b)
    )
    return near | (np.isnan(a) & np.isnan(b)) if equal_nan else near


@rule(np.allclose)
def allclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> bool:
    return bool(np.all(isclose(a, b, rtol, atol, equal_nan)))


@rule(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    if equal_nan:
        raise NotCarried("numpy.array_equal has no rule for equal_nan")
    return np.shape(a1) == np.shape(a2) and bool(np.all(np.equal(a1, a2)))


@rule(np.isneginf)
def isneginf(x: Any, out: Any = None) -> Any:
    return np.isneginf(split(x)[0], out)


@rule(np.isposinf)
def isposinf(x: Any, out: Any = None) -> Any:
    return np.isposinf(split(x)[0], out)


@rule(*named("astype"))
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    return x.astype(dtype, copy=copy)


@rule(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """x where it is finite, a constant elsewhere."""
    if not copy or any(map(carries, (nan, posinf, neginf))):
        raise NotCarried("numpy.nan_to_num has no rule for copy=False, or for a Dual as fill")
    value, tangent = split(x)
    return dual(np.nan_to_num(value, True, nan, posinf, neginf), np.where(np.isfinite(value), tangent, 0))
