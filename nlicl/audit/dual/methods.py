"""The methods of arrays, each by the NumPy function of the same name."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .array import Dual, dual
from .rules import NotCarried

__all__: list[str] = []


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Dual, *args: Any, **options: Any) -> Any:
        return function(self, *args, **options)

    method.__name__ = function.__name__
    return method


for _name in [
    "ravel",
    "squeeze",
    "swapaxes",
    "repeat",
    "take",
    "diagonal",
    "trace",
    "sum",
    "prod",
    "cumsum",
    "cumprod",
    "mean",
    "var",
    "std",
    "max",
    "min",
    "argmax",
    "argmin",
    "argsort",
    "argpartition",
    "any",
    "all",
    "nonzero",
    "searchsorted",
    "clip",
    "dot",
    "conj",
    "conjugate",
    "put",
]:
    setattr(Dual, _name, _method(getattr(np, _name)))


def _reshape(self: Dual, *shape: Any, order: Any = "C", copy: Any = None) -> Any:
    shape = shape[0] if len(shape) == 1 else shape
    return np.reshape(self, shape, order) if copy is None else np.reshape(self, shape, order, copy=copy)


def _transpose(self: Dual, *axes: Any) -> Any:
    return np.transpose(self, *((axes[0],) if len(axes) == 1 else (axes,) if axes else ()))


def _flatten(self: Dual, order: Any = "C") -> Any:
    return dual(self._value.flatten(order), self._tangent.flatten(order))


def _compress(self: Dual, condition: Any, axis: Any = None, out: Any = None) -> Any:
    return np.compress(condition, self, axis, out)


def _fill(self: Dual, item: Any) -> None:
    self[...] = item


def _sort(self: Dual, axis: Any = -1, kind: Any = None) -> None:
    self[...] = np.sort(self, axis)


def _partition(self: Dual, kth: Any, axis: Any = -1, kind: Any = None) -> None:
    self[...] = np.partition(self, kth, axis)


def _resize(self: Dual, *args: Any, **options: Any) -> None:
    raise NotCarried("resize in place has no rule")


for _name, _function in {
    "reshape": _reshape, "transpose": _transpose, "flatten": _flatten, "compress": _compress, "fill": _fill, "sort": _sort,
    "partition": _partition, "resize": _resize,
}.items():  # fmt: skip
    setattr(Dual, _name, _function)
