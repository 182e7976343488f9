"""What a caller's functions return, read as one number, or as an array for each differentiated leaf of x."""

import math
import numbers as abstract
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InvalidType, InvalidValue
from .forms import Branch, Leaf, Node, is_number, is_record, is_sparse, kind, leaves_of, library, look, to_numpy

if TYPE_CHECKING:
    from .arguments import Arguments

__all__ = ["gradient", "number", "split_pair"]

BOTH = "give gradient=True if `loss` returns both, the loss and its gradient"


def number(value: Any) -> Any:
    """The value of a loss as one scalar.

    Parameters
    ----------
    value : number, or array of size 1, of NumPy, torch or JAX
        An object with a shape that is no array passes as it is, if its size is 1.

    Returns
    -------
    numpy.floating or numpy.complexfloating
        In its own precision; float64 for integers and bools.

    Raises
    ------
    TypeError, ValueError
        More than one number, or none, with the way to mend it.
    """
    if value is None:
        raise InvalidType("loss returns None; is a return missing? Expected one real number.")
    if issubclass(type(value), (list, tuple)):
        return _number_of_sequence(value)
    if is_number(value) or issubclass(type(value), abstract.Real):
        return _scalar(value)
    if is_sparse(value):
        raise InvalidType(f"loss returns {_seen(value)}; expected one real number. Give .sum().")
    if passes(value):
        size = math.prod(value.shape)
        if size != 1:
            raise InvalidValue(_many(size))
        return value
    array = _array(value, "loss returns", "", "expected one real number")
    if array.size != 1:
        raise InvalidValue(_many(array.size))
    return _scalar(array.reshape(())[()])


def passes(value: Any) -> bool:
    """Whether a value is an array of the audit's own, which computes derivatives along."""
    own = str(type(value).__module__).startswith("nlicl.")
    shape = getattr(value, "shape", None) if own or not hasattr(type(value), "__array__") else None
    return not library(value) and isinstance(shape, tuple) and all(isinstance(n, int) for n in shape)


def _many(size: int) -> str:
    if size == 0:
        return "loss returns an empty array; expected one real number."
    return f"loss returns {size} numbers, one a sample? Expected one: give lambda x: loss(x).sum() (or .mean())."


def _number_of_sequence(value: Any) -> Any:
    if len(value) == 1 and not issubclass(type(value[0]), (list, tuple)):
        return number(value[0])
    if len(value) == 2 and (issubclass(type(value), tuple) or not is_number(value[1])):
        raise InvalidType(
            f"loss returns a pair ({_word(value[0])}, {_word(value[1])}); expected one real number: give gradient=True if it "
            "returns (loss, gradient)."
        )
    if issubclass(type(value), list) and len(value) and all(map(is_number, value)):
        raise InvalidValue(_many(len(value)).replace("loss(x).sum() (or .mean())", "sum(loss(x))"))
    raise InvalidType(f"loss returns {look(value)}; expected one real number.")


def _scalar(value: Any) -> Any:
    """A NumPy scalar of one number."""
    if issubclass(type(value), np.inexact):
        return value
    try:
        if issubclass(type(value), (complex, np.complexfloating)):
            return np.complex128(value)
        return np.float64(float(value))
    except OverflowError:
        raise InvalidValue("loss returns a number beyond the range of float64; expected a float.") from None
    except Exception as error:
        raise InvalidType(f"loss returns {look(value)} ({kind(error)}); expected one real number.") from None


def split_pair(value: Any) -> tuple[Any, Any]:
    """(loss, gradient) of a function that returns both.

    Raises
    ------
    TypeError
        No tuple or list of two; the gradient first.
    """
    if not issubclass(type(value), (list, tuple)) or len(value) != 2:
        mend = (
            " Give lambda *x: (loss, (the other parts))." if issubclass(type(value), tuple) and len(value) > 2 else ""
        )
        raise InvalidType(f"loss returns {_seen(value)}; expected a pair (loss, gradient), since gradient=True.{mend}")
    first, second = value
    if _is_one(second) and not _is_one(first):
        raise InvalidType(
            f"loss returns a pair ({_word(first)}, {_word(second)}); expected (loss, gradient), in this order."
        )
    return first, second


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
                f"gradient returns a {_sequence(value)} of 2, a number and {_seen(value[1])}: the gradient alone is "
                f"expected; {BOTH}."
            )
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
            if not issubclass(type(value), (list, tuple)) or len(value) != 1:
                break
            value = value[0]
        return None

    def _is_pair(self, value: Any) -> bool:
        if not issubclass(type(value), (list, tuple)) or is_record(value) or len(value) != 2 or not _is_one(value[0]):
            return False
        if isinstance(self._of.tree, Leaf):
            return not is_number(value[1])
        first = next(iter(leaves_of(self._of.tree)))
        index = self._of.index_of(first)
        return index is not None and self._of.arrays[index].size != 1

    def _match(self, node: Node, value: Any) -> None:
        if not self._of.differentiated(node):
            return
        if isinstance(node, Leaf):
            index = self._of.index_of(node)
            assert index is not None
            self._found[index] = _converted(value, self._of.names[index], self._of.arrays[index].shape)
        elif isinstance(node.given, dict) or issubclass(type(value), dict):
            self._match_keys(node, value)
        else:
            self._match_sequence(node, value)

    def _match_keys(self, node: Branch, value: Any) -> None:
        """The parts of a dict, by key; those of a sequence, by their names."""
        where = "" if node is self._of.tree else f" for {node.name}"
        wanted = [(keys, part) for keys, part in zip(self._of.keys(node), node.parts, strict=True)]
        keys = ", ".join(repr(_key(node, names)) for names, part in wanted if self._of.differentiated(part))
        if not issubclass(type(value), dict):
            raise InvalidType(
                f"gradient returns {_seen(value)}{where}; expected a dict with the keys {keys}, as x has."
            )
        left = list(dict.keys(value))
        for names, part in wanted:
            found = next((name for name in names if name in left), None)
            if found is not None:
                left.remove(found)
                self._match(part, dict.__getitem__(value, found))
            elif self._of.differentiated(part):
                raise InvalidValue(f"gradient returns {look(value)}{where}; expected the keys {keys}.")
        if left:
            raise InvalidValue(f"gradient returns {look(value)}{where}; expected only the keys {keys}.")

    def _match_sequence(self, node: Branch, value: Any) -> None:
        """The parts of a list, tuple, named tuple or dataclass, in their order."""
        where = "" if node is self._of.tree else f" for {node.name}"
        parts = [part for part in node.parts if self._of.differentiated(part)]
        if value is None:
            raise InvalidType(f"gradient returns None{where}; is a return missing?")
        if is_record(value) and not issubclass(type(value), tuple):
            values = [getattr(value, str(key), None) for key in node.keys]
        elif issubclass(type(value), (list, tuple)):
            values = list(value)
        elif (
            library(value)
            and not is_sparse(value)
            and len(value.shape)
            and value.shape[0] in (len(node.parts), len(parts))
        ):
            values = list(value)
        else:
            raise InvalidType(f"gradient returns {_seen(value)}{where}; expected {self._counted(node, parts)}.")
        if len(values) == len(node.parts):
            parts = list(node.parts)
        elif len(values) != len(parts):
            if len(parts) == 1:
                self._match(parts[0], value)
                return
            raise InvalidValue(
                f"gradient returns {len(values)} array{'s' * (len(values) != 1)}{where}; expected "
                f"{self._counted(node, parts)}."
            )
        for part, item in zip(parts, values, strict=True):
            self._match(part, item)

    def _counted(self, node: Branch, parts: list[Node]) -> str:
        names = [self._of.name_of(part) if isinstance(part, Leaf) else part.name for part in parts]
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        if len(parts) == 1:
            return f"an array for {shown}" if isinstance(parts[0], Leaf) else f"a list for {shown}"
        return f"{len(parts)}, one for each of {shown}"


def _key(node: Branch, names: tuple[Any, ...]) -> Any:
    return names[0] if isinstance(node.given, dict) or is_record(node.given) else names[-1]


def _fits(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether a value is an array of this shape, or could be one."""
    if value is None or issubclass(type(value), (dict, str, bytes)) or is_sparse(value):
        return False
    try:
        array = _array(value, "", "", "")
    except (InvalidType, InvalidValue):
        return False
    return array.shape == shape or array.size == math.prod(shape) == 1


def _converted(value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A copy of an array, real and floating, of a shape."""
    expected = f"expected an array of shape {shape}"
    if value is None:
        raise InvalidType(f"gradient returns None for {name}; {expected}.")
    if is_sparse(value):
        mend = ".to_dense()" if library(value) == "torch" else ".toarray()"
        raise InvalidType(f"gradient returns a sparse matrix for {name}; {expected}: give {mend}.")
    if issubclass(type(value), dict):
        raise InvalidType(f"gradient returns {look(value)} for {name}; {expected}.")
    array = _array(value, "gradient returns", f" for {name}", expected)
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


def _array(value: Any, says: str, of: str, expected: str) -> np.ndarray:
    """An array of bools, integers, floats or complex numbers, not yet copied.

    Raises
    ------
    TypeError, ValueError
        Anything else: "{says} ... {of}; {expected}."
    """
    if issubclass(type(value), (str, bytes, set, frozenset, dict, type)) or hasattr(type(value), "__next__"):
        raise InvalidType(f"{says} {_seen(value)}{of}; {expected}.")
    if _is_masked(value):
        raise InvalidType(f"{says} a masked array{of}; {expected}, without a mask: give .filled(0).")
    try:
        plain = _listed(value) if issubclass(type(value), (list, tuple)) else value
        array = to_numpy(plain)
    except ValueError:
        raise InvalidValue(f"{says} {_seen(value)} of unequal lengths{of}; {expected}.") from None
    except Exception as error:
        raise InvalidType(f"{says} {_seen(value)} that NumPy cannot read ({kind(error)}){of}; {expected}.") from None
    if array.dtype.kind == "O":
        array = _from_objects(array, value, says, of, expected)
    if array.dtype.kind not in "biufc":
        raise InvalidType(f"{says} an array of dtype {array.dtype}{of}; {expected}, of real numbers.")
    return array


def _listed(value: Any, level: int = 0) -> list[Any]:
    """A list of lists of numbers and NumPy's arrays."""
    if level > 64:
        raise ValueError("nested too deep")
    return [
        _listed(item, level + 1) if issubclass(type(item), (list, tuple)) else to_numpy(item) if library(item) else item
        for item in value
    ]


def _is_masked(value: Any, level: int = 0) -> bool:
    if issubclass(type(value), (list, tuple)) and level <= 64:
        return any(_is_masked(item, level + 1) for item in value)
    return issubclass(type(value), np.ma.MaskedArray)


def _from_objects(array: np.ndarray, value: Any, says: str, of: str, expected: str) -> np.ndarray:
    """An array of objects, if all of them are numbers, as float64 or complex128."""
    flat = [item.item() if library(item) and math.prod(item.shape) == 1 else item for item in array.ravel()]
    for item in flat:
        if not is_number(item) and not issubclass(type(item), abstract.Real):
            held = f" of dtype object that holds {_seen(item)}" if array.ndim else ""
            shown = f"an array{held}" if array.ndim else _seen(value)
            raise InvalidType(f"{says} {shown}{of}; {expected}.")
    has_complex = any(issubclass(type(item), (complex, np.complexfloating)) for item in flat)
    try:
        return np.array(flat, np.complex128 if has_complex else np.float64).reshape(array.shape)
    except OverflowError:
        raise InvalidValue(f"{says} an integer beyond the range of float64{of}; {expected}.") from None
    except Exception as error:
        raise InvalidType(f"{says} {_seen(value)} that NumPy cannot read ({kind(error)}){of}; {expected}.") from None


def _is_one(value: Any) -> bool:
    """Whether a value is one number, or an array of size 1 and no axes."""
    return is_number(value) or (bool(library(value)) and len(value.shape) == 0)


def _sequence(value: Any) -> str:
    return "list" if issubclass(type(value), list) else "tuple"


def _word(value: Any) -> str:
    """A value in a word or two, as part of a pair."""
    if _is_one(value):
        return "number"
    return "array" if library(value) else look(value)


def _seen(value: Any) -> str:
    return "a sparse matrix" if is_sparse(value) else look(value)
