"""What a caller's functions return, read as one number, as a pair, or as an array."""

import math
import numbers as abstract
from typing import Any

import numpy as np

from ...core.errors import InvalidType, InvalidValue
from .tree import (
    DEEPEST,
    is_number,
    is_numbers,
    is_sequence,
    is_sparse,
    items_of,
    kind,
    library,
    look,
    roots,
    to_numpy,
)

__all__ = ["array_of", "is_one", "number", "seen", "split_pair"]


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
    if is_sequence(value):
        return _number_of_sequence(value)
    if _is_real(value):
        return _scalar(value)
    if is_sparse(value):
        raise InvalidType(f"loss returns {seen(value)}; expected one real number. Give .sum().")
    if passes(value):
        size = math.prod(value.shape)
        if size != 1:
            raise InvalidValue(_many(size))
        return value
    array = array_of(value, "loss returns", "", "expected one real number")
    if array.size != 1:
        raise InvalidValue(_many(array.size))
    return _scalar(array.reshape(())[()])


def passes(value: Any) -> bool:
    """Whether a value is an array of the audit's own, which computes derivatives along."""
    if library(value) or ("nlicl" not in roots(value) and hasattr(type(value), "__array__")):
        return False
    try:
        shape = value.shape
    except Exception:
        return False
    return type(shape) is tuple and all(type(n) is int for n in shape)


def _is_real(value: Any) -> bool:
    """Whether a value is a number of Python's or NumPy's, a fraction among them."""
    return is_number(value) or (issubclass(type(value), abstract.Real) and not issubclass(type(value), np.generic))


def _many(size: int) -> str:
    if size == 0:
        return "loss returns an empty array; expected one real number."
    return f"loss returns {size} numbers, one a sample? expected one: give lambda x: loss(x).sum() (or .mean())."


def _number_of_sequence(value: Any) -> Any:
    items = items_of(value)
    if len(items) == 1 and not is_sequence(items[0]):
        return number(items[0])
    if len(items) == 2 and (isinstance(value, tuple) or not is_number(items[1])):
        raise InvalidType(
            f"loss returns a pair ({_word(items[0])}, {_word(items[1])}); expected one real number: give gradient=True if it "
            "returns (loss, gradient)."
        )
    if items and all(map(is_number, items)):
        raise InvalidValue(_many(len(items)).replace("loss(x).sum() (or .mean())", "sum(loss(x))"))
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
    items = items_of(value) if is_sequence(value) else []
    if len(items) != 2:
        mend = " Put the gradients in a tuple of their own." if len(items) > 2 else ""
        raise InvalidType(f"loss returns {seen(value)}; expected a pair (loss, gradient), since gradient=True.{mend}")
    first, second = items
    if is_one(second) and not is_one(first):
        raise InvalidType(
            f"loss returns a pair ({_word(first)}, {_word(second)}); expected (loss, gradient), in this order."
        )
    return first, second


def array_of(value: Any, says: str, of: str, expected: str) -> np.ndarray:
    """An array of bools, integers, floats or complex numbers, not yet copied.

    Raises
    ------
    TypeError, ValueError
        Anything else: "{says} ... {of}; {expected}."
    """
    if issubclass(type(value), (str, bytes, set, frozenset, dict, type)) or hasattr(type(value), "__next__"):
        raise InvalidType(f"{says} {seen(value)}{of}; {expected}.")
    if _is_masked(value):
        raise InvalidType(f"{says} a masked array{of}; {expected}, without a mask: give .filled(0).")
    try:
        array = to_numpy(_listed(value) if is_sequence(value) and not is_numbers(value) else value)
    except ValueError:
        raise InvalidValue(f"{says} {seen(value)} of unequal lengths{of}; {expected}.") from None
    except Exception as error:
        raise InvalidType(f"{says} {seen(value)} that NumPy cannot read ({kind(error)}){of}; {expected}.") from None
    if array.dtype.kind == "O":
        array = _from_objects(array, value, says, of, expected)
    if array.dtype.kind not in "biufc":
        raise InvalidType(f"{says} an array of dtype {array.dtype}{of}; {expected}, of real numbers.")
    return array


def _listed(value: Any, level: int = 0) -> list[Any]:
    """A list of lists of numbers and NumPy's arrays."""
    if level > DEEPEST:
        raise ValueError("nested too deep")
    return [
        _listed(item, level + 1) if is_sequence(item) else to_numpy(item) if library(item) else item
        for item in items_of(value)
    ]


def _is_masked(value: Any, level: int = 0) -> bool:
    if is_sequence(value) and level <= DEEPEST:
        return any(_is_masked(item, level + 1) for item in items_of(value))
    return issubclass(type(value), np.ma.MaskedArray)


def _from_objects(array: np.ndarray, value: Any, says: str, of: str, expected: str) -> np.ndarray:
    """An array of objects, if all of them are numbers, as float64 or complex128."""
    flat = [item.item() if library(item) and math.prod(item.shape) == 1 else item for item in array.ravel()]
    for item in flat:
        if not _is_real(item):
            held = f" of dtype object that holds {seen(item)}" if array.ndim else ""
            shown = f"an array{held}" if array.ndim else seen(value)
            raise InvalidType(f"{says} {shown}{of}; {expected}.")
    has_complex = any(issubclass(type(item), (complex, np.complexfloating)) for item in flat)
    try:
        return np.array(flat, np.complex128 if has_complex else np.float64).reshape(array.shape)
    except OverflowError:
        raise InvalidValue(f"{says} an integer beyond the range of float64{of}; {expected}.") from None
    except Exception as error:
        raise InvalidType(f"{says} {seen(value)} that NumPy cannot read ({kind(error)}){of}; {expected}.") from None


def is_one(value: Any) -> bool:
    """Whether a value is one number, or an array of size 1 and no axes."""
    return is_number(value) or (bool(library(value)) and len(value.shape) == 0)


def _word(value: Any) -> str:
    """A value in a word or two, as part of a pair."""
    if is_one(value):
        return "number"
    return "array" if library(value) else look(value)


def seen(value: Any) -> str:
    return "a sparse matrix" if is_sparse(value) else look(value)
