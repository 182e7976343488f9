"""What a caller's gradient returns, read as an array for each differentiated leaf of x."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InvalidType, InvalidValue
from .returned import array_of, is_one, seen
from .tree import (
    Branch,
    Leaf,
    Node,
    is_dict,
    is_number,
    is_numbers,
    is_record,
    is_sequence,
    is_sparse,
    items_of,
    keys_of,
    leaves_of,
    library,
    look,
    part_of,
    written,
)

if TYPE_CHECKING:
    from .arguments import Arguments

__all__ = ["gradient"]

DATA = "Name what is differentiated by wrt= if the others are data."


def gradient(value: Any, arguments: "Arguments") -> list[np.ndarray]:
    """A real floating array for each differentiated leaf of x, of its shape, copied.

    Raises
    ------
    TypeError, ValueError
        Something else is returned, with the way to mend it.
    """
    return _Reader(arguments).read(value)


class _Reader:
    """Reads what a gradient returns, in the form of x or in a plainer one."""

    def __init__(self, arguments: "Arguments") -> None:
        self._of = arguments
        self._found: dict[int, np.ndarray] = {}

    def read(self, value: Any) -> list[np.ndarray]:
        if value is None:
            raise InvalidType(f"gradient returns None; is a return missing? Expected {self._expected()}.")
        only = self._only_leaf(value)
        if only is not None:
            return [only]
        if self._is_pair(value):
            raise InvalidType(
                f"gradient returns a {_sequence(value)} of 2, a number and {seen(items_of(value)[1])}: the gradient alone is "
                "expected; give gradient=True if `loss` returns both."
            )
        if isinstance(self._of.tree, Leaf) and is_sequence(value) and not is_numbers(value):
            items = items_of(value)
            if len(items) > 1 and all(library(item) and len(item.shape) for item in items):
                raise InvalidValue(
                    f"gradient returns a {_sequence(value)} of {len(items)} arrays; expected {self._expected()}."
                )
            value = items[0] if len(items) == 1 else value
        self._match(self._of.tree, value)
        return [self._found[k] for k in range(len(self._of.names))]

    def _expected(self) -> str:
        if len(self._of.names) == 1:
            return f"an array of shape {self._of.arrays[0].shape}"
        shown = ", ".join(self._of.names[:6]) + (", ..." if len(self._of.names) > 6 else "")
        return f"{len(self._of.names)} arrays, one for each of {shown}"

    def _only_leaf(self, value: Any) -> np.ndarray | None:
        """The array of the only leaf, bare or in a tuple or list of one; None if it is not so plain."""
        if len(self._of.names) != 1:
            return None
        name, shape = self._of.names[0], self._of.arrays[0].shape
        for _ in range(3):
            if _fits(value, shape):
                return _converted(value, name, shape)
            items = items_of(value) if is_sequence(value) else []
            if len(items) != 1:
                break
            value = items[0]
        return None

    def _is_pair(self, value: Any) -> bool:
        """Whether a value that does not fit is (loss, gradient)."""
        items = items_of(value) if is_sequence(value) and not is_record(value) else []
        if len(items) != 2 or not is_one(items[0]):
            return False
        tree = self._of.tree
        if isinstance(tree, Leaf):
            return not is_number(items[1]) or self._of.arrays[0].size == 1
        index = self._of.index_of(next(leaves_of(tree)))
        return is_dict(tree.given) or (index is not None and self._of.arrays[index].size != 1)

    def _match(self, node: Node, value: Any) -> None:
        if not self._of.differentiated(node):
            return
        if isinstance(node, Leaf):
            index = self._of.index_of(node)
            assert index is not None
            self._found[index] = _converted(value, self._of.names[index], self._of.arrays[index].shape)
        elif is_dict(node.given) or is_dict(value):
            self._match_keys(node, value)
        else:
            self._match_sequence(node, value)

    def _match_keys(self, node: Branch, value: Any) -> None:
        """The parts of a dict, by key; those of a list or tuple, by their names."""
        where = "" if node is self._of.tree else f" for {node.name}"
        wanted = list(zip(self._of.keys(node), node.parts, strict=True))
        keys = ", ".join(written(_key(node, names)) for names, part in wanted if self._of.differentiated(part))
        if not is_dict(value):
            raise InvalidType(f"gradient returns {seen(value)}{where}; expected a dict with the keys {keys}, as x has.")
        used = 0
        for names, part in wanted:
            found = [name for name in names if dict.__contains__(value, name)]
            used += bool(found)
            if found:
                self._match(part, dict.__getitem__(value, found[0]))
            elif self._of.differentiated(part):
                raise InvalidValue(f"gradient returns {look(value)}{where}; expected the keys {keys}. {DATA}")
        if used < dict.__len__(value):
            raise InvalidValue(f"gradient returns {look(value)}{where}; expected the keys {keys} and no others.")

    def _match_sequence(self, node: Branch, value: Any) -> None:
        """The parts of a list, tuple, named tuple or dataclass, in their order."""
        where = "" if node is self._of.tree else f" for {node.name}"
        parts = [part for part in node.parts if self._of.differentiated(part)]
        if value is None:
            raise InvalidType(f"gradient returns None{where}; expected {self._counted(node, parts)}. {DATA}")
        if is_record(value) and set(node.keys) <= set(keys_of(value)):
            values = [part_of(value, key) for key in node.keys]
        elif is_sequence(value):
            values = items_of(value)
        elif len(parts) > 1 and _counts(value) in (len(node.parts), len(parts)):
            values = list(value)
        elif len(parts) == 1:
            self._match(parts[0], value)
            return
        else:
            raise InvalidType(f"gradient returns {seen(value)}{where}; expected {self._counted(node, parts)}.")
        if len(values) == len(node.parts):
            parts = list(node.parts)
        elif len(values) != len(parts):
            if len(parts) == 1 and isinstance(parts[0], Branch):
                self._match(parts[0], value)
                return
            raise InvalidValue(
                f"gradient returns {_counted(values)}{where}; expected {self._counted(node, parts)}. {DATA}"
            )
        for part, item in zip(parts, values, strict=True):
            self._match(part, item)

    def _counted(self, node: Branch, parts: list[Node]) -> str:
        names = [self._of.name_of(part) if isinstance(part, Leaf) else part.name for part in parts]
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        if len(parts) == 1:
            return f"an array for {shown}" if isinstance(parts[0], Leaf) else f"a list for {shown}"
        return f"{len(parts)}, one for each of {shown}"


def _counts(value: Any) -> int | None:
    """The length of an array, by which it may hold an array for each of several; None for anything else."""
    return value.shape[0] if library(value) and not is_sparse(value) and len(value.shape) else None


def _counted(values: list[Any]) -> str:
    arrays = "array" if all(map(library, values)) else "part"
    return f"{len(values)} {arrays}{'s' * (len(values) != 1)}"


def _key(node: Branch, names: tuple[Any, ...]) -> Any:
    return names[0] if is_dict(node.given) or is_record(node.given) else names[-1]


def _fits(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether a value is an array of this shape, or could be one."""
    if value is None or issubclass(type(value), (dict, str, bytes)) or is_sparse(value):
        return False
    try:
        array = array_of(value, "", "", "")
    except (InvalidType, InvalidValue):
        return False
    return array.shape == shape or array.size == math.prod(shape) == 1


def _converted(value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A copy of an array, real and floating, of a shape."""
    expected = f"expected an array of shape {shape}"
    if value is None:
        raise InvalidType(f"gradient returns None for {name}; {expected}. {DATA}")
    if is_sparse(value):
        mend = ".to_dense()" if library(value) == "torch" else ".toarray()"
        raise InvalidType(f"gradient returns a sparse matrix for {name}; {expected}: give {mend}.")
    if is_dict(value):
        raise InvalidType(f"gradient returns {look(value)} for {name}; {expected}.")
    array = array_of(value, "gradient returns", f" for {name}", expected)
    if array.dtype.kind == "c":
        raise InvalidType(f"gradient returns {array.dtype} for {name}; expected real numbers.")
    if array.shape != shape:
        if not array.size == math.prod(shape) == 1:
            raise InvalidValue(
                f"gradient returns {_shape(array.shape)} for {name}; expected {shape}{_mend(array.shape, shape)}."
            )
        array = array.reshape(shape)
    dtype = array.dtype.newbyteorder("=") if array.dtype.kind == "f" else np.dtype(np.float64)
    return np.array(array, dtype, subok=False)


def _shape(shape: tuple[int, ...]) -> str:
    return f"shape {shape}" if shape else "one number"


def _mend(given: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """The way from one shape to another, where it is plain."""
    if given == shape[::-1] and len(shape) > 1 and 1 not in shape:
        return ": transposed? Give .T"
    if math.prod(given) == math.prod(shape):
        return ": give .ravel()" if len(shape) == 1 else f": give .reshape{shape}"
    if len(given) == len(shape) + 1 and given[1:] == shape:
        return ": one a sample? Give .sum(axis=0) (or .mean(axis=0))"
    return ""


def _sequence(value: Any) -> str:
    return "list" if issubclass(type(value), list) else "tuple"
