"""Forms of arguments: arrays in lists, tuples, dicts and classes, taken apart into leaves and put together again.

A leaf is an array, a number, a list of numbers, or anything else. A branch is a list, tuple, dict, named tuple or dataclass.
torch and JAX are never imported: a caller who hands over their arrays has imported them.
"""

import copy
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import numpy as np

from ...core.describe import kind_of, short
from ...core.errors import InvalidType, InvalidValue

__all__ = [
    "Branch",
    "Leaf",
    "Node",
    "copied",
    "is_dict",
    "is_number",
    "is_numbers",
    "is_record",
    "is_sequence",
    "is_sparse",
    "items_of",
    "keys_of",
    "kind",
    "leaves_of",
    "library",
    "look",
    "part_of",
    "put_together",
    "roots",
    "same",
    "take_apart",
    "to_numpy",
    "written",
]

DEEPEST = 16  # levels of lists within lists
MOST = 10_000  # leaves: beyond, a list is a mistake, or holds itself many times over
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


def take_apart(value: Any, *, whole: bool) -> Node:
    """The tree of a value.

    Parameters
    ----------
    whole : bool
        Whether a list or tuple of numbers is one leaf (an array) at the top; it always is further down.

    Raises
    ------
    TypeError, ValueError
        A list that contains itself, or lists nested too deep; too many leaves; a part that cannot be read.
    """
    count = 0

    def node_of(value: Any, name: str, within: tuple[int, ...]) -> Node:
        nonlocal count
        if id(value) in within:
            raise InvalidValue("x contains itself; expected arrays, in lists, tuples or dicts that end somewhere.")
        if len(within) > DEEPEST:
            raise InvalidValue(f"x is nested deeper than {DEEPEST} levels; expected fewer.")
        if not _is_container(value) or ((whole or within) and is_numbers(value)):
            count += 1
            if count > MOST:
                raise InvalidValue(
                    f"x holds more than {MOST} arrays; expected fewer. Put them together in larger ones."
                )
            return Leaf(name or "x", value)
        keys, inside = keys_of(value), (*within, id(value))
        parts = [node_of(part_of(value, key), _named(name, value, key), inside) for key in keys]
        return Branch(name or "x", value, keys, tuple(parts))

    return node_of(value, "", ())


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
    if isinstance(given, list):
        items: list[Any] = []
        for index, part in enumerate(node.parts):
            items.append(put_together(part, made, items, index))
        return items
    if isinstance(given, tuple):
        parts = [put_together(part, made) for part in node.parts]
        return tuple.__new__(type(given), parts) if is_record(given) else tuple(parts)
    new = copy.copy(given)
    for key, part in zip(node.keys, node.parts, strict=True):
        made_part = put_together(part, made, new, key)
        if is_dict(given):
            new[key] = made_part
        else:
            object.__setattr__(new, key, made_part)  # frozen or not
    return new


def is_sequence(value: Any) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether a value is a list or tuple by its type, whatever it says of itself."""
    return issubclass(type(value), (list, tuple))


def is_dict(value: Any) -> TypeGuard[dict[Any, Any]]:
    """Whether a value is a dict by its type."""
    return issubclass(type(value), dict)


def is_record(value: Any) -> bool:
    """Whether a value has parts by name: a named tuple, or an instance of a dataclass."""
    kind = type(value)
    return (issubclass(kind, tuple) and hasattr(kind, "_fields")) or dataclasses.is_dataclass(kind)


def _is_container(value: Any) -> bool:
    return issubclass(type(value), (list, tuple, dict)) or is_record(value)


def keys_of(value: Any) -> tuple[Any, ...]:
    """Keys of a dict, fields of a record, indices of a list or tuple."""
    if is_dict(value):
        return tuple(dict.keys(value))
    if isinstance(value, tuple) and is_record(value):
        return tuple(type(value)._fields)  # type: ignore[attr-defined]
    if is_record(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return tuple(range(len(items_of(value))))


def part_of(value: Any, key: Any) -> Any:
    """The part of a container under one of its keys."""
    if is_dict(value):
        return dict.__getitem__(value, key)
    if is_sequence(value):
        return items_of(value)[keys_of(value).index(key) if is_record(value) else key]
    try:
        return getattr(value, key)
    except Exception as error:
        raise InvalidType(f"a {kind(value)} has a field {key} that cannot be read ({kind(error)}).") from None


def items_of(value: Any) -> list[Any]:
    """The items of a list or tuple, of a subclass with ways of its own, too."""
    return list(list.__iter__(value) if isinstance(value, list) else tuple.__iter__(value))


def _named(name: str, value: Any, key: Any) -> str:
    if isinstance(key, str) and key and not isinstance(value, list):
        return f"{name}.{key}" if name else key
    return f"{name or 'x'}[{written(key)}]"


def is_number(value: Any) -> bool:
    """Whether a value is a number of Python's or NumPy's: a bool, an integer, a float, complex."""
    return issubclass(type(value), NUMBERS) and not issubclass(type(value), np.timedelta64)


def is_numbers(value: Any, level: int = 0) -> bool:
    """Whether a value is a list or tuple of numbers, or of such lists; not one that is empty, nor a named tuple."""
    if not is_sequence(value) or is_record(value) or level > DEEPEST:
        return False
    items = items_of(value)
    return bool(items) and all(is_number(item) or is_numbers(item, level + 1) for item in items)


def library(value: Any) -> str:
    """ "numpy", "torch" or "jax" for an array of theirs, otherwise ""."""
    if issubclass(type(value), np.ndarray):
        return "numpy"
    for root in roots(value):
        if root == "torch" and "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor):
            return "torch"
        if root in ("jax", "jaxlib") and "jax" in sys.modules and isinstance(value, sys.modules["jax"].Array):
            return "jax"
    return ""


def roots(value: Any) -> set[str]:
    """The packages that a value's class and its bases come from."""
    modules = [base.__dict__.get("__module__") for base in type(value).__mro__]
    return {module.partition(".")[0] for module in modules if isinstance(module, str)}


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
        array = array.astype(np.float64)
    return array


def copied(value: Any) -> Any:
    """A copy of what is not differentiated, if it is an array or a list of numbers; otherwise itself."""
    if library(value) == "numpy":
        return value.copy(order="K")
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
    if is_dict(value):
        keys = list(dict.keys(value))
        named = ", ".join(map(written, keys[:6])) + (", ..." if len(keys) > 6 else "")
        return f"a dict with the key{'s' * (len(keys) > 1)} {named}" if keys else "an empty dict"
    if is_sequence(value):
        what = "list" if isinstance(value, list) else "named tuple" if is_record(value) else "tuple"
        count = len(items_of(value))
        return f"a {what} of {count}" if count else f"an empty {what}"
    if value is None or issubclass(type(value), (str, bytes, *NUMBERS)):
        return written(value)
    name = kind(value)
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def written(value: Any) -> str:
    """A value as Python writes it, shortened; its type, where its class cannot write it."""
    try:
        return short(value)
    except Exception:
        return f"a {kind(value)}"
