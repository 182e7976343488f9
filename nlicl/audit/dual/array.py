"""An array that carries a directional derivative: x + eps v, with eps > 0 infinitely small.

`Dual` holds a value and a tangent of one shape, one dtype and one memory layout. NumPy hands its functions over by
`__array_ufunc__` and `__array_function__`; the tables UFUNCS and FUNCTIONS say what each does to the tangent. A function that
is in no table raises `NotCarried`. Nothing else may turn a Dual into plain numbers, so no tangent is lost without a word.

As in NumPy, an operation on arrays of no dimension gives a scalar: then value and tangent are `np.generic`, and in-place
operators make a new number.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .record import note_comparison, note_float, note_tolerance, note_write
from .rules import UFUNCS, NotCarried, refusals

__all__ = ["MOST_OBJECTS", "Dual", "as_array", "carries", "dual", "lift", "parts", "split", "truth"]

SINGLE = 1e-8  # what a part in float32 leaves uncertain, a tenth of its rounding
MOST_OBJECTS = 4096  # entries of a Dual that may become an object array
_NUMBERS = frozenset({bool, int, float, np.float64, np.float32, np.int64, np.bool_})


class _NoAttribute(NotCarried, AttributeError):
    """An attribute of arrays that would lose the tangent."""


class Dual:
    """x + eps v; made by `lift`."""

    __slots__ = ("_tangent", "_value")
    _value: Any
    _tangent: Any
    __hash__ = None  # type: ignore[assignment]

    # ----- what it is
    @property
    def shape(self) -> tuple[int, ...]:
        return self._value.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        changed = self.reshape(shape)
        self._value, self._tangent = changed._value, changed._tangent

    @property
    def ndim(self) -> int:
        return self._value.ndim

    @property
    def size(self) -> int:
        return self._value.size

    @property
    def dtype(self) -> Any:
        return _ScalarDtype(self._value.dtype) if isinstance(self._value, np.generic) else self._value.dtype

    @property
    def itemsize(self) -> int:
        return self._value.itemsize

    @property
    def nbytes(self) -> int:
        return self._value.nbytes

    @property
    def flags(self) -> Any:
        return self._value.flags

    @property
    def T(self) -> "Dual":
        return dual(self._value.T, self._tangent.T)

    @property
    def mT(self) -> "Dual":
        return dual(self._value.mT, self._tangent.mT)

    @property
    def real(self) -> "Dual":
        return self

    @property
    def imag(self) -> Any:
        return np.zeros(self.shape, self.dtype)[()]

    @property
    def flat(self) -> "_Flat":
        return _Flat(self)

    @flat.setter
    def flat(self, item: Any) -> None:
        _Flat(self)[:] = item

    def __len__(self) -> int:
        return len(self._value)

    def __iter__(self) -> Iterator["Dual"]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[n] for n in range(len(self)))

    # A number may be read again from a text, or kept under it: a run that asked for one is not to be trusted.
    def __repr__(self) -> str:
        refusals[0] += 1
        return f"Dual({self._value!r}, {self._tangent!r})"

    def __str__(self) -> str:
        refusals[0] += 1
        return str(self._value)

    def __format__(self, spec: str) -> str:
        refusals[0] += 1
        return format(self._value[()], spec)

    # ----- entries
    def __getitem__(self, key: Any) -> "Dual":
        _check_key(key)
        return dual(self._value[key], self._tangent[key])

    def __setitem__(self, key: Any, item: Any) -> None:
        _check_key(key)
        if isinstance(self._value, np.generic):
            raise TypeError("a scalar Dual does not support item assignment")
        value, tangent = split(item)
        self._value[key] = value
        self._tangent[key] = 0 if tangent is None else tangent
        note_write(self._value)

    def item(self, *args: int) -> "Dual":
        """One entry, as a Dual scalar."""
        return dual(self._value.dtype.type(self._value.item(*args)), self._value.dtype.type(self._tangent.item(*args)))

    def tolist(self) -> Any:
        """Nested lists of Dual scalars."""
        return [row.tolist() for row in self] if self.ndim else self[()]

    def copy(self, order: str = "C") -> "Dual":
        return dual(self._value.copy(order), self._tangent.copy(order))

    def __copy__(self) -> "Dual":
        return self.copy("K")

    def __deepcopy__(self, memo: Any) -> "Dual":
        return self.copy("K")

    def astype(
        self, dtype: Any, order: str = "K", casting: str = "unsafe", subok: bool = True, copy: bool = True
    ) -> "Dual":
        """To another floating dtype."""
        if np.dtype(dtype).kind != "f":
            raise NotCarried(f"astype({np.dtype(dtype)}) has no rule")
        return dual(*(part.astype(dtype, copy=copy) for part in (self._value, self._tangent)))

    # ----- NumPy's protocols; for __array_ufunc__ and __array_function__ see `dispatch`
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if dtype is not None and np.dtype(dtype) != object:
            raise NotCarried(f"an array of {np.dtype(dtype)} cannot hold a derivative")
        if self.size > MOST_OBJECTS:
            raise NotCarried(f"a function of NumPy without a rule asked for an array of {self.size} entries")
        out = np.empty(self.size, object)
        for n, (value, tangent) in enumerate(zip(np.ravel(self._value), np.ravel(self._tangent), strict=True)):
            out[n] = dual(value, tangent)
        return out.reshape(self.shape)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            ufunc = getattr(np, name, None)
            if isinstance(ufunc, np.ufunc) and ufunc in UFUNCS and ufunc.signature is None and not self.ndim:
                return lambda *others: ufunc(self, *others)  # what NumPy's loops over object arrays call
            if hasattr(np.ndarray, name):
                raise _NoAttribute(f"{name} of an array has no rule")
        raise AttributeError(f"a Dual has no attribute {name!r}")

    # ----- numbers
    def __float__(self) -> float:
        return note_float(self, self._value)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                "The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()"
            )
        return bool(truth(self))


class _ScalarDtype:
    """The dtype of a Dual scalar. NumPy's mean and var of a list of scalars call its `type`, which leaves a Dual as it is."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = self.__numpy_dtype__ = dtype

    def type(self, x: Any) -> Any:
        return x if isinstance(x, Dual) else self.dtype.type(x)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dtype, name)

    def __eq__(self, other: Any) -> bool:
        return self.dtype == (other.dtype if isinstance(other, _ScalarDtype) else other)

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return repr(self.dtype)

    def __str__(self) -> str:
        return str(self.dtype)


class _Flat:
    """The entries of a Dual in C order, as `ndarray.flat`."""

    def __init__(self, of: Dual) -> None:
        self._of = of

    def __len__(self) -> int:
        return self._of.size

    def __iter__(self) -> Iterator[Dual]:
        return (self[n] for n in range(len(self)))

    def __getitem__(self, key: Any) -> Dual:
        _check_key(key)
        return dual(self._of._value.flat[key], self._of._tangent.flat[key])

    def __setitem__(self, key: Any, item: Any) -> None:
        _check_key(key)
        value, tangent = split(item)
        self._of._value.flat[key] = value
        self._of._tangent.flat[key] = 0 if tangent is None else tangent
        note_write(self._of._value)

    def copy(self) -> Dual:
        return self._of.reshape(-1).copy()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.copy().__array__(dtype)


def dual(value: Any, tangent: Any) -> Any:
    """A Dual of a value and a tangent that are its own; the tangent is brought to the value's shape, dtype and layout."""
    if value.dtype.kind != "f":
        raise NotCarried(f"a derivative of {value.dtype} numbers has no rule")
    if value.dtype.itemsize < 8:
        note_tolerance(SINGLE)
    new = Dual.__new__(Dual)
    new._value = value
    if isinstance(value, np.generic):
        new._tangent = tangent if type(tangent) is type(value) else value.dtype.type(np.reshape(tangent, ()))
    elif (
        type(tangent) is np.ndarray
        and tangent.dtype == value.dtype
        and tangent.shape == value.shape
        and tangent.strides == value.strides
    ):
        new._tangent = tangent
    else:
        new._tangent = np.empty_like(value)
        new._tangent[...] = np.broadcast_to(tangent, value.shape)
    return new


def split(x: Any) -> tuple[Any, Any]:
    """(value, tangent) of an operand; the tangent is None if it has none."""
    kind = type(x)
    if kind is Dual:
        return x._value, x._tangent
    if kind in _NUMBERS:
        return x, None
    if kind is np.ndarray or isinstance(x, np.generic | np.memmap):
        if x.dtype.kind in "biuf":
            return x, None
        if x.dtype.kind == "O":
            return parts(x)
        raise NotCarried(f"an operand of {x.dtype} beside a Dual has no rule")
    if isinstance(x, list | tuple | _Flat):
        value, tangent = parts(x)
        if tangent is None and value.dtype.kind not in "biuf":
            raise NotCarried(f"an operand of {value.dtype} beside a Dual has no rule")
        return value, tangent
    if isinstance(x, int | float):
        return x, None
    raise NotCarried(f"an operand of type {kind.__name__} beside a Dual has no rule")


def lift(value: np.ndarray, tangent: np.ndarray) -> Dual:
    """Copies of an array of float32 or float64 and of a direction of the same shape, as a Dual."""
    value, tangent = np.array(value), np.array(tangent)
    if value.dtype not in (np.float32, np.float64) or value.shape != tangent.shape or tangent.dtype.kind not in "biuf":
        raise NotCarried(
            f"lift takes a float array and a tangent of its shape, not {value.dtype}{value.shape} and "
            f"{tangent.dtype}{tangent.shape}"
        )
    return dual(value, tangent)


def parts(thing: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """(value, tangent) of anything a loss may return; the tangent is None if nothing in it is a Dual.

    Parameters
    ----------
    thing : Dual, array, number, or list or object array of numbers and 0-d Duals

    Raises
    ------
    NotCarried
        An object array holds something else.
    """
    if isinstance(thing, Dual):
        return np.asarray(thing._value), np.asarray(thing._tangent)
    if isinstance(thing, _Flat):
        return parts(thing.copy())
    if isinstance(thing, list | tuple) and _holds_dual(thing):
        pairs = [parts(item) for item in thing]
        values, shape = [value for value, _ in pairs], pairs[0][0].shape
        if any(value.shape != shape for value in values):
            raise NotCarried("a list of Duals of several shapes has no rule")
        if any(value.dtype.kind not in "biuf" for value in values):
            raise NotCarried("a list of Duals and other things than real numbers has no rule")
        dtype = np.result_type(*(v if t is not None else x for (v, t), x in zip(pairs, map(_weak, thing), strict=True)))
        zero = np.zeros(shape, dtype)
        return np.array(values, dtype), np.array([zero if t is None else t for _, t in pairs], dtype)
    if isinstance(thing, np.ndarray) and thing.dtype == object:
        items = thing.ravel().tolist()
        if any(isinstance(item, Dual) and item.ndim for item in items):
            raise NotCarried("an object array of Duals that are arrays has no rule")
        value, tangent = parts(items) if items else (np.zeros(0), None)
        if value.dtype == object or value.size != thing.size:
            raise NotCarried("an object array of other things than numbers has no rule")
        return value.reshape(thing.shape), None if tangent is None else tangent.reshape(thing.shape)
    return np.asarray(thing), None


def _weak(x: Any) -> Any:
    """A plain Python number as it is, which leaves float32 alone; an array for all else that is plain."""
    return (
        x if isinstance(x, int | float) and not isinstance(x, bool) else np.asarray(x) if not isinstance(x, Dual) else x
    )


def _holds_dual(items: Any) -> bool:
    items = items.ravel().tolist() if isinstance(items, np.ndarray) else items
    return any(
        isinstance(item, Dual)
        or (isinstance(item, list | tuple) and _holds_dual(item))
        or (isinstance(item, np.ndarray) and item.dtype == object and _holds_dual(item))
        for item in items
    )


def carries(x: Any) -> bool:
    """Whether x is a Dual, or holds one."""
    return isinstance(x, Dual | _Flat) or (
        (isinstance(x, list | tuple) or (isinstance(x, np.ndarray) and x.dtype == object)) and _holds_dual(x)
    )


def as_array(x: Any) -> Any:
    """x as a Dual if it is one or holds one, otherwise as a plain array."""
    if isinstance(x, Dual):
        return x
    value, tangent = split(x)
    return np.asarray(value) if tangent is None else dual(value, tangent)


def truth(x: Any) -> Any:
    """Whether x is not 0, entry by entry, as plain booleans."""
    value, tangent = split(x)
    if tangent is None:
        return np.not_equal(value, 0)
    note_comparison(value, tangent, 0, None)
    return np.not_equal(value, 0) | np.not_equal(tangent, 0)


def _lost(name: str) -> Callable[..., Any]:
    def lost(self: Dual, *args: Any) -> Any:
        raise NotCarried(f"{name} of a Dual has no rule: it would lose the derivative")

    return lost


_LOST = {
    "int": "int()", "index": "an index", "complex": "complex()", "round": "round()", "trunc": "math.trunc()",
    "floor": "math.floor()", "ceil": "math.ceil()", "floordiv": "//", "rfloordiv": "//", "ifloordiv": "//",
    "divmod": "divmod()", "rdivmod": "divmod()",
}  # fmt: skip
for _method, _said in _LOST.items():
    setattr(Dual, f"__{_method}__", _lost(_said))


def _check_key(key: Any) -> None:
    if not isinstance(key, int | slice) and carries(key):
        raise NotCarried("a Dual as an index has no rule")
