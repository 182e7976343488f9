"""Checks of arguments: one family for the whole library.

Each takes the argument's name first and returns its value in one type. An error states four things: which argument, what was
given, what was expected, and, where that is not plain, what to do. `condition` says in words what `holds` asks for; it follows
"a finite number", for example "greater than 0".
"""

import math
import os
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import as_array
from .describe import short
from .errors import InvalidType, InvalidValue

__all__ = [
    "LARGEST",
    "boolean",
    "choice",
    "floating",
    "integer",
    "integers",
    "magnitude",
    "numbers",
    "path",
    "real",
    "seconds",
]

LARGEST = 2**63 - 1
"""The largest integer that NumPy's sizes and counts hold."""


def integer(name: str, value: object, least: int, most: int | None = LARGEST) -> int:
    """An integer from `least` to `most`; no upper end if `most` is None.

    Raises
    ------
    TypeError
        Not an integer; True and False are none.
    ValueError
        Smaller or larger.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InvalidType(f"{name} is {short(value)}; expected an integer, at least {least}.")
    if value < least:
        raise InvalidValue(f"{name} is {short(value)}; expected at least {least}.")
    if most is not None and value > most:
        raise InvalidValue(f"{name} is {short(value)}; expected at most {short(most)}.")
    return int(value)


def real(name: str, value: object, condition: str, holds: Callable[[float], bool]) -> float:
    """A finite number with `holds(value)`.

    Raises
    ------
    TypeError
        Not a real number; True and False are none.
    ValueError
        NaN, infinity, beyond float64, or not as `condition` says.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidType(f"{name} is {short(value)}; expected a number {condition}.")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond float64
        number = math.inf
    if not (math.isfinite(number) and holds(number)):
        raise InvalidValue(f"{name} is {short(value)}; expected a finite number {condition}.")
    return number


def magnitude(name: str, value: object, *, zero: bool = False) -> float:
    """A number that other numbers are multiplied by: from 1e-150 to 1e300, or 0 where `zero` says so.

    A number beyond is a slip. Within, products may still overflow: the step that comes upon it says so.

    Raises
    ------
    TypeError, ValueError
        Anything else.
    """
    condition = "at least 0" if zero else "greater than 0"
    wanted = f"{condition}, from 1e-150 to 1e300"
    return real(name, value, wanted, lambda x: 1e-150 <= x <= 1e300 or (zero and x == 0))


def seconds(name: str, value: object, instead: str = "") -> float:
    """A time limit: a number of seconds greater than 0 that the system can wait for; `instead` says what else would do.

    Raises
    ------
    TypeError, ValueError
        Anything else.
    """
    return real(name, value, f"of seconds greater than 0, at most 10**9{instead}", lambda x: 0 < x <= 1e9)


def boolean(name: str, value: object) -> bool:
    """True or False; TypeError for anything else, 0 and 1 too."""
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidType(f"{name} is {short(value)}; expected True or False.")
    return bool(value)


def choice(name: str, value: object, options: Iterable[str]) -> str:
    """One of some words; ValueError, with the words there are, for anything else."""
    options = tuple(options)
    if not isinstance(value, str) or value not in options:
        raise InvalidValue(f"{name} is {short(value)}; expected one of {', '.join(map(repr, options))}.")
    return value


def numbers(
    name: str,
    value: object,
    condition: str = "",
    holds: Callable[[NDArray[np.float64]], Any] | None = None,
    *,
    shape: str | None = None,
) -> NDArray[np.float64]:
    """A number or an array of numbers as float64: finite, and with `holds` for each of them.

    Parameters
    ----------
    name, value
        The argument. Integers, real numbers, or nested lists or arrays of them; no booleans, no text, no complex numbers.
    condition, holds : str, callable, optional
        What each number must be, in words and as a function of the array; finite is enough if not given.
    shape : str, optional
        The axes, "(K, K)": their number is checked. Any shape if not given.

    Returns
    -------
    ndarray of float64
        Of the shape of `value`; a number where that is one.

    Raises
    ------
    TypeError
        Not numbers; a masked array.
    ValueError
        Rows of unequal lengths, another number of axes, an entry that is not finite or not as `condition` says; it is named.
    """
    array = as_array(value, name)
    wanted = f"finite number{'s' * (shape is None)}{condition and ' '}{condition}"
    if array.dtype.kind not in "fiu":
        given = f"has dtype {array.dtype}" if isinstance(value, np.ndarray) else f"is {short(value)}"
        raise InvalidType(f"{name} {given}; expected {wanted if shape is None else f'an array {shape} of numbers'}.")
    if shape is not None and array.ndim != len([axis for axis in shape.strip("()").split(",") if axis]):
        raise InvalidValue(f"{name} has shape {array.shape}; expected {shape}.")
    array = array.astype(float)
    right = np.isfinite(array)
    if holds is not None:
        with np.errstate(invalid="ignore"):
            right = right & holds(array)
    if not right.all():
        index = tuple(map(int, np.argwhere(~right)[0]))
        where = f"{name}{list(index)}" if index else name
        raise InvalidValue(f"{where} is {array[index]:g}; expected a finite number{condition and ' '}{condition}.")
    return array[()]


def integers(name: str, value: object, least: int, most: int, meaning: str = "") -> NDArray[np.intp]:
    """A list of integers from `least` to `most` as a vector; `meaning` says in the error what `most` is, "m - 1".

    Raises
    ------
    TypeError
        A masked array.
    ValueError
        Not a list of integers, or one of them is out of range.
    """
    array = as_array(value, name)
    if array.ndim == 1 and array.size == 0:
        return array.astype(np.intp)
    wanted = f"from {least} to {meaning and f'{meaning} = '}{most}"
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidValue(
            f"{name} has shape {array.shape} and dtype {array.dtype}; expected a list of integers {wanted}."
        )
    if array.min() < least or array.max() > most:
        raise InvalidValue(f"{name} holds integers from {array.min()} to {array.max()}; expected them {wanted}.")
    return array


def floating(name: str, value: object) -> np.dtype[Any]:
    """float64 or float32, given as NumPy takes a dtype; TypeError for anything else."""
    found = None
    if isinstance(value, (str, type, np.dtype)):
        with warnings.catch_warnings(), suppress(TypeError, ValueError, SyntaxError):
            warnings.simplefilter("ignore")  # what NumPy has against a name is said below
            found = np.dtype(value)
    if found is None or found.name not in ("float32", "float64"):
        given = short(value) if found is None else found.name
        raise InvalidType(f"{name} is {given}; expected numpy.float64 or numpy.float32.")
    return found


def path(name: str, value: object, expected: str) -> Path:
    """A path that is not empty; TypeError for anything but a text or a path-like object. `expected` says what it is for."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise InvalidType(f"{name} is {short(value)}; expected {expected}.")
    return Path(value)
