"""Forms of arguments: arrays in lists, tuples, dicts and classes, taken apart into leaves and put together again.

A leaf is an array, a number, a list of numbers, or anything else. A branch is a list, tuple, dict, named tuple or dataclass.
torch and JAX are never imported: a caller who hands over their arrays has imported them.
"""

import copy
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..core.describe import kind_of, short
from ..core.errors import InvalidType, InvalidValue

__all__ = [
    "Branch",
    "Leaf",
    "Node",
    "copied",
    "is_number",
    "is_numbers",
    "is_record",
    "is_sparse",
    "kind",
    "leaves_of",
    "library",
    "look",
    "put_together",
    "same",
    "take_apart",
    "to_numpy",
]

DEEPEST = 40  # levels of lists within lists; NumPy's arrays end at 64 axes
NUMBERS = (bool, int, float, complex, np.number, np.bool_)


@dataclasses.dataclass(frozen=True, eq=False)
class Leaf:
    """What is not taken apart further."""

    name: str
    given: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Branch:
    """A container, the keys (indices, fields) of its parts, and the parts."""

    name: str
    given: Any
    keys: tuple[Any, ...]
    parts: tuple["Leaf | Branch", ...]


Node = Leaf | Branch


def take_apart(value: Any, name: str = "", within: tuple[int, ...] = (), *, whole: bool = True) -> Node:
    """The tree of a value; `name` is that of the value itself, "" at the top.

    Parameters
    ----------
    whole : bool
        Whether a list or tuple of numbers is one leaf (an array) at this level; it always is further down.

    Raises
    ------
    ValueError
        A list that contains itself, or lists nested too deep.
    """
    if id(value) in within:
        raise InvalidValue("x contains itself; expected arrays, in lists, tuples or dicts that end somewhere.")
    if len(within) > DEEPEST:
        raise InvalidValue(f"x is nested deeper than {DEEPEST} levels; expected fewer.")
    if not _is_container(value) or (whole and is_numbers(value)):
        return Leaf(name or "x", value)
    keys = _keys(value)
    within = (*within, id(value))
    parts = tuple(
        take_apart(part, _named(name, value, key), within) for key, part in zip(keys, _parts(value), strict=True)
    )
    return Branch(name or "x", value, keys, parts)


def leaves_of(node: Node) -> Iterator[Leaf]:
    """The leaves of a tree, in order."""
    if isinstance(node, Leaf):
        yield node
    else:
        for part in node.parts:
            yield from leaves_of(part)


def put_together(node: Node, made: Callable[[Leaf, Any, Any], Any], holder: Any = None, key: Any = None) -> Any:
    """A new container of the same form, of what `made(leaf, the new container around it, its key in there)` returns."""
    if isinstance(node, Leaf):
        return made(node, holder, key)
    given = node.given
    if is_record(given) and not isinstance(given, tuple):
        new = copy.copy(given)
        for field, part in zip(node.keys, node.parts, strict=True):
            object.__setattr__(new, field, put_together(part, made, new, field))
        return new
    if isinstance(given, dict):
        mapping = copy.copy(given)
        for field, part in zip(node.keys, node.parts, strict=True):
            mapping[field] = put_together(part, made, mapping, field)
        return mapping
    if isinstance(given, list):
        items: list[Any] = []
        items.extend(put_together(part, made, items, index) for index, part in enumerate(node.parts))
        return items
    parts = [put_together(part, made) for part in node.parts]
    return type(given)(*parts) if is_record(given) else tuple(parts)


def is_record(value: Any) -> bool:
    """Whether a value has parts by name: a named tuple, or an instance of a dataclass."""
    kind = type(value)
    return (issubclass(kind, tuple) and hasattr(kind, "_fields")) or dataclasses.is_dataclass(kind)


def _is_container(value: Any) -> bool:
    return issubclass(type(value), (list, tuple, dict)) or is_record(value)


def _keys(value: Any) -> tuple[Any, ...]:
    if isinstance(value, dict):
        return tuple(value)
    if isinstance(value, tuple) and is_record(value):
        return tuple(type(value)._fields)  # type: ignore[attr-defined]
    if is_record(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return tuple(range(len(value)))


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value[key] for key in value]
    if is_record(value) and not isinstance(value, tuple):
        return [getattr(value, key, None) for key in _keys(value)]
    return list(value)


def _named(name: str, value: Any, key: Any) -> str:
    if isinstance(key, str) and key and not isinstance(value, list):
        return f"{name}.{key}" if name else key
    return f"{name or 'x'}[{short(key)}]"


def is_number(value: Any) -> bool:
    """Whether a value is a number of Python's or NumPy's: a bool, an integer, a float, complex."""
    return issubclass(type(value), NUMBERS)


def is_numbers(value: Any, level: int = 0) -> bool:
    """Whether a value is a list or tuple of numbers, or of such lists; not one that is empty, nor a named tuple."""
    if not issubclass(type(value), (list, tuple)) or is_record(value) or not len(value) or level > DEEPEST:
        return False
    return all(is_number(item) or is_numbers(item, level + 1) for item in value)


def library(value: Any) -> str:
    """ "numpy", "torch" or "jax" for an array of theirs, otherwise ""."""
    if issubclass(type(value), np.ndarray):
        return "numpy"
    for root in {str(base.__module__).partition(".")[0] for base in type(value).__mro__}:
        if root == "torch" and "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor):
            return "torch"
        if root in ("jax", "jaxlib") and "jax" in sys.modules and isinstance(value, sys.modules["jax"].Array):
            return "jax"
    return ""


def is_sparse(value: Any) -> bool:
    """Whether a value is a sparse matrix or tensor."""
    if library(value) == "torch":
        return str(value.layout) != "torch.strided"
    return hasattr(type(value), "toarray") or hasattr(type(value), "todense")


def to_numpy(value: Any) -> np.ndarray:
    """An array of NumPy's, sharing memory where it can.

    Raises
    ------
    Exception
        Whatever the value's own class raises.
    """
    if library(value) == "torch":
        value = value.detach().cpu().resolve_conj().resolve_neg()
        try:
            return value.numpy()
        except TypeError:  # bfloat16
            return value.double().numpy()
    array = np.asarray(value)
    if array.dtype.kind == "V" and library(value) == "jax":  # bfloat16
        array = array.astype(np.float32)
    return array


def copied(value: Any) -> Any:
    """A copy of what is not differentiated, if it is an array or a list of numbers; otherwise itself."""
    if library(value) == "numpy":
        return value.copy()
    if library(value) == "torch":
        return value.detach().clone().requires_grad_(value.requires_grad)
    if is_numbers(value):
        return copy.deepcopy(value)
    return value


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are of one shape and hold the same, NaN equal to NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.hasobject:
        return all(a is b for a, b in zip(one.flat, other.flat, strict=True))
    return bool(np.array_equal(one, other)) or one.tobytes() == other.tobytes()


def kind(value: Any) -> str:
    """The name of a value's type, whatever the type."""
    try:
        return kind_of(value)
    except Exception:  # a class whose __module__ is no text
        return type.__getattribute__(type(value), "__name__")


def look(value: Any) -> str:
    """A value in a few words, for an error: "None", "an array of shape (3,)", "a dict with keys 'W', 'b'"."""
    shape = getattr(value, "shape", None) if library(value) else None
    if shape is not None:
        what = {"numpy": "an array", "torch": "a torch tensor", "jax": "a JAX array"}[library(value)]
        return f"{what} of shape {tuple(shape)}"
    if issubclass(type(value), dict):
        keys = list(dict.keys(value))
        named = ", ".join(_short(key) for key in keys[:6]) + (", ..." if len(keys) > 6 else "")
        return f"a dict with keys {named}" if keys else "an empty dict"
    if issubclass(type(value), (list, tuple)):
        what = "list" if issubclass(type(value), list) else "named tuple" if is_record(value) else "tuple"
        count = len(value)
        return f"a {what} of {count}" if count else f"an empty {what}"
    text = _short(value)
    return text


def _short(value: Any) -> str:
    if not issubclass(type(value), (str, bytes, *NUMBERS)) and value is not None:
        name = kind(value)
        return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
    return short(value)
