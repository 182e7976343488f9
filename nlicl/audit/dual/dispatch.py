"""How NumPy hands its functions over to a Dual: each to its rule in the tables, or to `NotCarried`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .array import Dual, carries, split, truth
from .rules import FUNCTIONS, METHODS, UFUNCS, NotCarried, name_of

__all__: list[str] = []


def _array_ufunc(self: Dual, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    call = method == "__call__"
    found = (UFUNCS.get(ufunc) or _late_rule(ufunc)) if call else METHODS.get((ufunc, method))
    if found is None:
        raise NotCarried(f"{name_of(ufunc)}{'' if call else '.' + method} has no rule")
    if call and kwargs:
        return _into(found, ufunc, inputs, **kwargs)
    return _applied(found, name_of(ufunc), inputs, kwargs)


def _array_function(self: Dual, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    found = FUNCTIONS.get(function)
    if found is None:
        raise NotCarried(f"{name_of(function)} has no rule")
    with np.errstate(all="ignore"):  # a rule computes more than the function does
        return _applied(found, name_of(function), args, kwargs)


def _applied(found: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """found(*args, **kwargs); arguments that the rule does not have are NotCarried."""
    try:
        return found(*args, **kwargs)
    except NotCarried:
        raise
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:  # raised by the call itself
            raise NotCarried(f"{name} has no rule for these arguments: {error}") from None
        raise


def _into(
    found: Callable[..., Any],
    ufunc: np.ufunc,
    inputs: Any,
    out: Any = None,
    where: Any = True,
    dtype: Any = None,
    **rest: Any,
) -> Any:
    """A ufunc with out=, where= or dtype=."""
    if dtype is not None and np.dtype(dtype) != np.result_type(*(split(x)[0] for x in inputs)):
        rest["dtype"] = dtype
    if rest:
        raise NotCarried(f"{name_of(ufunc)} has no rule for {', '.join(rest)}")
    where = truth(where) if carries(where) else where
    (out,) = out if isinstance(out, tuple) else (out,)
    if out is None:
        if where is not True:
            raise NotCarried(f"{name_of(ufunc)} has no rule for where without out: entries would have no value")
        return found(*inputs)
    with np.errstate(all=None if where is True else "ignore"):
        result = found(*inputs)
    if not isinstance(out, Dual) and isinstance(result, Dual):
        raise NotCarried(f"{name_of(ufunc)} has no rule for a plain array as out: it cannot hold a derivative")
    if np.shape(result) != out.shape:
        result = np.broadcast_to(result, out.shape)
    if where is True:
        out[...] = result
    else:
        mask = np.broadcast_to(where, out.shape)
        out[mask] = result[mask]
    return out


def _late_rule(ufunc: np.ufunc) -> Any:
    """The rule of one of scipy.special's ufuncs, whose table is read when one is first met."""
    from .special import special_rules

    UFUNCS.update(special_rules())
    return UFUNCS.get(ufunc)


Dual.__array_ufunc__ = _array_ufunc  # type: ignore[attr-defined]
Dual.__array_function__ = _array_function  # type: ignore[attr-defined]
