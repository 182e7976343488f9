"""Values that nobody should give to a function, and other forms of values that one may give.

`VALUES` holds them by name, each as a function that makes it anew: a generator, for example, can be used once. `HUGE` holds
sizes that no machine has room for; call with them in a process whose memory is limited. `INDICES` are for `prompts[...]`.
`hostile_forms` are wrong forms of one right value, `same_forms` right forms of it, whose results must be equal.
"""

import array
import contextlib
import ctypes
import enum
import pathlib
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["HUGE", "INDICES", "VALUES", "hostile_forms", "same_forms"]


class Unwilling:
    """An object that raises whatever is asked of it."""

    def _refuse(self, *arguments: Any) -> Any:
        raise RuntimeError("an object of the caller's refuses")

    __array__ = __float__ = __int__ = __index__ = __complex__ = __bool__ = __len__ = __iter__ = __repr__ = __str__ = (
        _refuse
    )
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __getitem__ = __hash__ = __call__ = _refuse  # type: ignore[assignment]


class Impostor:
    """An object that says that it is an array, and gives none."""

    dtype, shape, ndim, size = np.dtype(float), (3,), 1, 3

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return "no array"

    def __len__(self) -> int:
        return 3


class Vector(np.ndarray):
    """A subclass of an array that does nothing else."""


class Number(float):
    """A subclass of float."""


class Whole(int):
    """A subclass of int."""


class Text(str):
    """A subclass of str."""


class Level(enum.IntEnum):
    """A member is an int."""

    TWO = 2


def _recursive_list() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def _deep_list(depth: int) -> list[Any]:
    found: list[Any] = [1.0]
    for _ in range(depth):
        found = [found]
    return found


def _recursive_dict() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["self"] = found
    return found


def _objects() -> np.ndarray:
    found = np.empty(3, object)
    found[:] = [1.0, "two", None]
    return found


def _masked(kind: type) -> Any:
    return np.ma.masked_array(np.ones(3, kind), mask=[False, True, False])


def _structured() -> np.ndarray:
    return np.zeros(3, [("x", float), ("y", "i4")])


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


_PLAIN: dict[str, Any] = {
    "None": None,
    "True": True,
    "False": False,
    "0": 0,
    "1": 1,
    "2": 2,
    "3": 3,
    "-1": -1,
    "2**64": 2**64,
    "-2**63-1": -(2**63) - 1,
    "10**400": 10**400,
    "10**5000": 10**5000,
    "0.0": 0.0,
    "-0.0": -0.0,
    "1.0": 1.0,
    "0.5": 0.5,
    "-0.5": -0.5,
    "2.5": 2.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "1e308": 1e308,
    "-1e308": -1e308,
    "1e-320": 1e-320,
    "complex": 1 + 2j,
    "empty text": "",
    "text": "abc",
    "digit": "1",
    "nan text": "nan",
    "surrogate": "\ud800",
    "null": "a\0b",
    "long text": "x" * 5000,
    "bytes": b"1",
    "bytearray": bytearray(b"12345678"),
    "numpy bool": np.True_,
    "float16": np.float16(0.5),
    "float32": np.float32(0.5),
    "longdouble": np.longdouble("0.5"),
    "huge longdouble": np.longdouble("1e4000"),
    "int8": np.int8(1),
    "uint64": np.uint64(2**64 - 1),
    "complex64": np.complex64(1),
    "datetime64": np.datetime64("2024-01-01"),
    "timedelta64": np.timedelta64(1, "s"),
    "not a time": np.timedelta64("NaT"),
    "numpy str": np.str_("1"),
    "numpy bytes": np.bytes_(b"1"),
    "void": np.void(b"12345678"),
    "Decimal": Decimal("0.5"),
    "Decimal nan": Decimal("NaN"),
    "Fraction": Fraction(1, 2),
    "Level": Level.TWO,
    "Whole": Whole(2),
    "Number": Number(0.5),
    "Text": Text("abc"),
    "Path": pathlib.PurePosixPath("nowhere"),
    "class int": int,
    "class ndarray": np.ndarray,
    "class of ours": Vector,
    "module": np,
    "ufunc": np.exp,
    "dtype": np.dtype(float),
    "Ellipsis": ...,
    "NotImplemented": NotImplemented,
    "slice": slice(None),
    "slice of text": slice("a", "b"),
    "masked": np.ma.masked,
    "exception": ValueError("given"),
    "empty tuple": (),
    "empty list": [],
    "empty dict": {},
    "empty set": set(),
    "tuple": (1, 2),
    "tuple of text": ("a", "b"),
    "list of None": [None, None],
    "list of bool": [True, False],
    "list of complex": [1j, 2j],
    "list of bytes": [b"a", b"b"],
    "list of huge": [2**70, 1],
    "list of sets": [{1}, {2}],
    "ragged": [[1.0, 2.0], [3.0]],
    "ragged arrays": [np.zeros(2), np.zeros(3)],
    "list with masked": [np.ma.masked, 1.0],
    "list of masked": [np.ma.masked_array([1.0, 2.0], [True, False])],
    "dict": {"a": 1.0},
    "dict of int": {1: 2},
    "set": {1, 2},
    "frozenset": frozenset({1.0}),
    "range": range(3),
    "namespace": SimpleNamespace(tokens=np.zeros(3), labels=None),
}

VALUES: Mapping[str, Callable[[], Any]] = {name: _constant(value) for name, value in _PLAIN.items()} | {
    "lambda": lambda: lambda *a, **k: None,
    "lambda that raises": lambda: lambda *a, **k: 1 // 0,
    "object": object,
    "Unwilling": Unwilling,
    "Impostor": Impostor,
    "generator": lambda: (x for x in (1, 2, 3)),
    "iterator": lambda: iter([1.0, 2.0]),
    "recursive list": _recursive_list,
    "recursive dict": _recursive_dict,
    "deep list": lambda: _deep_list(70),
    "very deep list": lambda: _deep_list(5000),
    "memoryview": lambda: memoryview(b"12345678"),
    "memoryview of float": lambda: memoryview(np.ones(3)),
    "array.array": lambda: array.array("d", [1.0, 2.0]),
    "ctypes array": lambda: (ctypes.c_double * 3)(1, 2, 3),
    "0-d float": lambda: np.array(0.5),
    "0-d int": lambda: np.array(2),
    "0-d bool": lambda: np.array(True),
    "0-d text": lambda: np.array("abc"),
    "0-d object": lambda: np.array(None, object),
    "0-d nan": lambda: np.array(np.nan),
    "empty array": lambda: np.zeros(0),
    "empty array of int": lambda: np.zeros(0, int),
    "empty (0, 3)": lambda: np.zeros((0, 3)),
    "empty (3, 0)": lambda: np.zeros((3, 0)),
    "array (1,)": lambda: np.ones(1),
    "array (3,)": lambda: np.array([0.1, 0.2, 0.7]),
    "array (1, 1)": lambda: np.ones((1, 1)),
    "array (2, 3)": lambda: np.ones((2, 3)),
    "array (3, 3)": lambda: np.eye(3),
    "array (2, 3, 4)": lambda: np.ones((2, 3, 4)),
    "array of 6 axes": lambda: np.ones((1, 2, 1, 2, 1, 2)),
    "array of nan": lambda: np.full(3, np.nan),
    "array of inf": lambda: np.full((3, 3), np.inf),
    "array of int": lambda: np.arange(3),
    "array of uint64": lambda: np.full(3, 2**64 - 1, np.uint64),
    "array of bool": lambda: np.array([True, False, True]),
    "array of complex": lambda: np.full(3, 1j),
    "array of float16": lambda: np.ones(3, np.float16),
    "array of longdouble": lambda: np.ones(3, np.longdouble),
    "array of timedelta": lambda: np.ones(3, "m8[s]"),
    "array of datetime": lambda: np.zeros(3, "M8[s]"),
    "array of bytes": lambda: np.array([b"a", b"bc"]),
    "array of text": lambda: np.array(["a", "bc"]),
    "array of StringDType": lambda: np.array(["a", "bc"], np.dtypes.StringDType()),
    "array of objects": _objects,
    "array of object floats": lambda: np.array([0.5, 0.5], object),
    "array of void": lambda: np.zeros(3, "V8"),
    "structured": _structured,
    "recarray": lambda: _structured().view(np.recarray),
    "masked floats": lambda: _masked(float),
    "masked ints": lambda: _masked(int),
    "masked without a mask": lambda: np.ma.masked_array(np.ones(3)),
    "matrix": lambda: np.eye(3).view(np.matrix),
    "Vector": lambda: np.ones(3).view(Vector),
    "big-endian": lambda: np.array([0.1, 0.2, 0.7], ">f8"),
    "broadcast": lambda: np.broadcast_to(np.ones(()), (3, 3)),
    "negative strides": lambda: np.arange(3.0)[::-1],
    "Generator": lambda: np.random.default_rng(0),
}
"""By name, a function of no arguments that makes it."""

HUGE: Mapping[str, Callable[[], Any]] = {
    "10**9": _constant(10**9),
    "10**12": _constant(10**12),
    "2**62": _constant(2**62),
    "2**63-1": _constant(2**63 - 1),
    "broadcast (10**9,)": lambda: np.broadcast_to(np.ones(()), (10**9,)),
}
"""Sizes that ask for more than there is, or nearly."""

INDICES: Mapping[str, Callable[[], Any]] = {
    name: _constant(index)
    for name, index in {
        "0": 0,
        "-1": -1,
        "10**9": 10**9,
        "-10**9": -(10**9),
        "10**30": 10**30,
        "int8": np.int8(-1),
        "uint64": np.uint64(1),
        "True": True,
        "numpy bool": np.True_,
        "1.0": 1.0,
        "float64": np.float64(1),
        "nan": float("nan"),
        "None": None,
        "Ellipsis": ...,
        "text": "labels",
        "slice": slice(1, 3),
        "step": slice(None, None, 2),
        "reversed": slice(None, None, -1),
        "step 0": slice(None, None, 0),
        "no prompts": slice(3, 3),
        "beyond": slice(10**9, 10**10),
        "slice of floats": slice(0.0, 2.0),
        "slice of text": slice("a", None),
        "slice of numpy": slice(np.int64(0), np.int64(2)),
        "tuple": (0, 1),
        "tuple of slices": (slice(None), slice(None)),
        "tuple with None": (None, 0),
        "tuple with Ellipsis": (..., 0),
        "empty tuple": (),
        "list": [0, 1],
        "negative list": [-1, 0],
        "repeated": [0, 0, 0],
        "beyond in a list": [0, 10**9],
        "empty list": [],
        "list of float": [0.0, 1.0],
        "list of text": ["a"],
        "list of None": [None],
        "list of huge": [10**30],
        "nested list": [[0, 1]],
        "ragged": [[0], [1, 2]],
        "set": {0},
        "dict": {0: 1},
        "bytes": b"0",
        "Decimal": Decimal(1),
        "complex": 1j,
        "class": int,
    }.items()
} | {
    "0-d": lambda: np.array(1),
    "0-d bool": lambda: np.array(True),
    "array": lambda: np.array([1, 0]),
    "array of int8": lambda: np.array([1, 0], np.int8),
    "array of uint64": lambda: np.array([1, 0], np.uint64),
    "big-endian": lambda: np.array([1, 0], ">i4"),
    "array of float": lambda: np.array([1.0, 0.0]),
    "array of object": lambda: np.array([1, 0], object),
    "short mask": lambda: np.array([True]),
    "mask of two axes": lambda: np.ones((2, 2), bool),
    "masked": lambda: np.ma.masked_array([0, 1], [True, False]),
    "matrix": lambda: np.array([[0, 1]]).view(np.matrix),
    "Vector": lambda: np.array([1, 0]).view(Vector),
    "timedelta": lambda: np.ones(1, "m8[s]"),
    "structured": _structured,
    "generator": lambda: (i for i in (0, 1)),
    "range": lambda: range(2),
    "Unwilling": Unwilling,
    "very deep list": lambda: _deep_list(5000),
    "recursive list": _recursive_list,
}
"""For a batch of at least three prompts, some of them right."""


def _replaced(record: Any, field: str, form: Any) -> Iterator[Any]:
    """The record with another value of one field, unless its type refuses that."""
    with contextlib.suppress(TypeError, ValueError):
        yield type(record)._make(form if f == field else part for f, part in record._asdict().items())


def hostile_forms(value: Any) -> Iterator[tuple[str, Any]]:
    """Wrong forms of one right value, with their names: other dtypes, masks, axes, entries; within tuples and dicts, too."""
    if isinstance(value, np.ndarray):
        yield from _of_array(value)
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for field, part in zip(value._fields, value, strict=True):
            for name, form in [*hostile_forms(part), ("None", None), ("text", "abc"), ("object", object())]:
                for record in _replaced(value, field, form):
                    yield f"{field}: {name}", record
        yield "a plain tuple", tuple(value)
        yield "a dict", value._asdict()
        yield "its class", type(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield "text", str(value)
        yield "complex", complex(value)
        yield "list", [value]
        yield "array (1,)", np.array([value])
        yield "array (2, 1)", np.array([[value], [value]])
        yield "masked", np.ma.masked_array(value, True)
        yield "object", np.array(value, object)
        yield "Decimal", Decimal(value)
        yield "timedelta", np.timedelta64(1, "s")
        yield "negative", -value
    elif isinstance(value, str):
        yield "bytes", value.encode()
        yield "upper", value.upper()
        yield "longer", value + " "
        yield "list", [value]
        yield "array", np.array(value)
        yield "array (1,)", np.array([value])
    elif isinstance(value, (list, range, tuple)):
        items = list(value)
        yield "with None", [*items, None]
        yield "with text", [*items, "abc"]
        yield "with nan", [*items, float("nan")]
        yield "nested", [items]
        yield "dict", dict.fromkeys(map(str, items))
        yield "set of names", set(map(str, items))
        yield "text", str(items)
    elif isinstance(value, dict):
        yield "pairs", list(value.items())
        yield "keys", list(value)
        yield "other names", {f"{key}?": each for key, each in value.items()}
        yield "numbered", dict(enumerate(value.values()))
        yield "of None", dict.fromkeys(value)
    elif not callable(value) and not isinstance(value, bool) and value is not None:
        yield "its class", type(value)


def _of_array(value: np.ndarray) -> Iterator[tuple[str, Any]]:
    for name, kind in {
        "complex": complex,
        "float16": np.float16,
        "longdouble": np.longdouble,
        "int": int,
        "uint8": np.uint8,
        "bool": bool,
        "object": object,
        "text": str,
        "timedelta": "m8[s]",
        "datetime": "M8[s]",
    }.items():
        with np.errstate(all="ignore"):
            if value.dtype != np.dtype(kind):
                yield (
                    name,
                    value.astype(float).astype(np.int64).astype(kind)
                    if name.endswith("ime") or name == "timedelta"
                    else (value.astype(kind)),
                )
    yield "bytes", value.astype("S8")
    yield "void", np.zeros(value.shape, "V8")
    yield "structured", np.zeros(value.shape, [("x", float)])
    yield "masked", np.ma.masked_array(value, np.arange(value.size).reshape(value.shape) % 2 == 0)
    yield "list of masked", [np.ma.masked_array(row, True) for row in np.atleast_1d(value)]
    yield "another axis", value[..., None]
    yield "another axis first", value[None]
    yield "flat", value.ravel()
    yield "no axis", np.array(value.flat[0]) if value.size else np.array(0.0)
    yield "a number", value.flat[0].item() if value.size else 0.0
    yield "repeated", np.concatenate([value, value]) if value.ndim else value
    yield "shorter", value[:-1] if value.ndim else value
    yield "narrower", value[..., :-1] if value.ndim else value
    yield "empty", value[:0] if value.ndim else np.zeros(0)
    yield "transposed", value.T[..., None] if value.ndim < 2 else value.T
    yield "ragged", [*np.atleast_1d(value).tolist(), [[1.0]]]
    yield "a set of its entries", set(value.ravel().tolist())
    yield "a generator", (row for row in np.atleast_1d(value))
    yield "a dict", dict(enumerate(np.atleast_1d(value)))
    yield "text of it", str(value)
    if value.dtype.kind == "f" and value.size:
        for name, entry in {
            "nan": np.nan,
            "inf": np.inf,
            "huge": 1e300,
            "negative huge": -1e300,
            "tiny": 1e-310,
        }.items():
            changed = value.copy()
            with np.errstate(over="ignore"):
                changed.flat[-1] = entry
            yield f"an entry {name}", changed
    if value.dtype.kind == "i" and value.size:
        for name, entry in {
            "-1": -1,
            "100": 100,
            "min": np.iinfo(value.dtype).min,
            "max": np.iinfo(value.dtype).max,
        }.items():
            changed = value.copy()
            changed.flat[-1] = entry
            yield f"an entry {name}", changed


def same_forms(value: Any) -> Iterator[tuple[str, Any]]:
    """Other forms of one right value, with their names: what takes one of them must do with it as with the value."""
    if isinstance(value, np.ndarray):
        read_only = value.copy()
        read_only.flags.writeable = False
        yield "read-only", read_only
        yield "big-endian", value.astype(value.dtype.newbyteorder(">"))
        yield "Fortran order", np.asfortranarray(value)
        if value.ndim:
            yield "every other row", np.repeat(value, 2, axis=0)[::2]
            yield "negative strides", value[::-1].copy()[::-1]
        yield "Vector", value.copy().view(Vector)
        unaligned = np.frombuffer(b"\0" + value.tobytes(), np.uint8)[1:].view(value.dtype) if value.size else value
        yield "unaligned", unaligned.reshape(value.shape)
        yield "list", value.tolist()
        if value.ndim == 2:
            yield "matrix", value.view(np.matrix)
        if value.ndim == 1 and value.dtype.isnative:
            yield "memoryview", memoryview(np.ascontiguousarray(value))
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for field, part in zip(value._fields, value, strict=True):
            for name, form in same_forms(part):
                for record in _replaced(value, field, form):
                    yield f"{field}: {name}", record
    elif isinstance(value, bool):
        yield "numpy bool", np.bool_(value)
    elif isinstance(value, int):
        yield "int64", np.int64(value)
        yield "Whole", Whole(value)
        yield "0-d", np.array(value)
        yield "float", float(value)
    elif isinstance(value, float):
        yield "float64", np.float64(value)
        yield "Number", Number(value)
        yield "longdouble", np.longdouble(value)
        yield "Fraction", Fraction(value)
        yield "Decimal", Decimal(value)
        yield "0-d", np.array(value)
    elif isinstance(value, str):
        yield "Text", Text(value)
        yield "numpy str", np.str_(value)
    elif isinstance(value, (list, tuple, range)):
        yield "list", list(value)
        yield "tuple", tuple(value)
        if all(isinstance(each, (int, float)) for each in value):
            yield "array", np.array(list(value))
