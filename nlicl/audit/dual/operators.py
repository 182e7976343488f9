"""The methods of ufuncs that act entry by entry, and Python's operators."""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import kinks, ufuncs  # noqa: F401  (they fill the table)
from .array import Dual, as_array, carries, split
from .rules import METHODS, UFUNCS, NotCarried

__all__: list[str] = []


# ----- methods of ufuncs
def _outer(ufunc: Any) -> Callable[..., Any]:
    def outer(a: Any, b: Any) -> Any:
        a, b = as_array(a), as_array(b)
        return ufunc(np.reshape(a, (*a.shape, *(1,) * b.ndim)), b)

    return outer


def _at(ufunc: Any) -> Callable[..., Any]:
    """target[index] = f(target[index], b), one entry after another where an index comes twice."""

    def at(target: Any, index: Any, b: Any = None) -> None:
        if not isinstance(target, Dual) or carries(index):
            raise NotCarried(f"numpy.{ufunc.__name__}.at has no rule for a plain target: it cannot hold a derivative")
        places = np.arange(target.size).reshape(target.shape)[index]
        every = [None] * places.size if b is None else np.ravel(np.broadcast_to(b, places.shape))
        flat = target.flat
        for n, place in enumerate(places.ravel().tolist()):
            flat[place] = ufunc(flat[place]) if b is None else ufunc(flat[place], every[n])

    return at


def _at_sum(sign: Any) -> Callable[..., Any]:
    def at(target: Any, index: Any, b: Any) -> None:
        if not isinstance(target, Dual) or carries(index):
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
