"""Checks of arguments: one family for the whole library.

Each takes the argument's name first and returns its value in one type. An error states four things: which argument, what was
given, what was expected, and, where that is not plain, what to do. `condition` says in words what `holds` asks for; it follows
"a finite number", for example "greater than 0".
"""

import functools
import math
import os
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from .arrays import as_array
from .arrays import given as _given
from .describe import kind_of, meant, name_of, short
from .errors import InvalidType, InvalidValue, NotFinite

__all__ = [
    "LARGEST",
    "boolean",
    "choice",
    "floating",
    "function",
    "inexact",
    "instance",
    "integer",
    "integers",
    "magnitude",
    "numbers",
    "path",
    "real",
    "seconds",
    "sound",
    "text",
]

P = ParamSpec("P")
R = TypeVar("R")

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
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, (int, np.integer)):
        raise InvalidType(f"{name} is {short(value)}; expected an integer, at least {least}.")
    value = int(value)
    if value < least:
        raise InvalidValue(f"{name} is {short(value)}; expected at least {least}.")
    if most is not None and value > most:
        raise InvalidValue(f"{name} is {short(value)}; expected at most {short(most)}.")
    return value


def real(name: str, value: object, condition: str, holds: Callable[[float], bool]) -> float:
    """A finite number with `holds(value)`.

    Raises
    ------
    TypeError
        Not a real number; True and False are none.
    ValueError
        NaN, infinity, beyond float64, or not as `condition` says.
    """
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidType(f"{name} is {short(value)}; expected a number {condition}.")
    try:
        with np.errstate(over="ignore"):  # a long double beyond float64
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


def seconds(name: str, value: object, instead: str = "", *, zero: bool = False) -> float:
    """A time limit: a number of seconds greater than 0 that the system can wait for; `instead` says what else would do.

    0 is one where `zero` says so.

    Raises
    ------
    TypeError, ValueError
        Anything else.
    """
    wanted = f"of seconds {'at least 0' if zero else 'greater than 0'}, at most 10**9{instead}"
    return real(name, value, wanted, lambda x: 0 < x <= 1e9 or (zero and x == 0))


def boolean(name: str, value: object) -> bool:
    """True or False; TypeError for anything else, 0 and 1 too."""
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidType(f"{name} is {short(value)}; expected True or False.")
    return bool(value)


def choice(name: str, value: object, options: Iterable[str]) -> str:
    """One of some words; ValueError, with the words there are, for anything else."""
    options = tuple(options)
    if not isinstance(value, str) or value not in options:
        expected = ", ".join(map(repr, options))
        raise InvalidValue(f"{name} is {short(value)}{meant(value, options)}; expected one of {expected}.")
    return str(value)


def instance(name: str, value: object, kind: type, where: str = "") -> Any:
    """`value` itself; TypeError unless it is of this kind. `where` says in the error where there are some."""
    if not isinstance(value, kind):
        if isinstance(value, type):
            raise InvalidType(
                f"{name} is the class {name_of(value)}; expected a {name_of(kind)}{where and ', '}{where}."
            )
        raise InvalidType(f"{name} is a {kind_of(value)}; expected a {name_of(kind)}{where and ', '}{where}.")
    return value


def function(name: str, value: object, takes: str = "") -> Any:
    """`value` itself; TypeError unless it can be called. `takes` says in the error what with."""
    if not callable(value):
        raise InvalidType(f"{name} is {short(value)}; expected a function{takes and f' of {takes}'}.")
    return value


def text(name: str, value: object) -> str:
    """A text as str; TypeError for anything else."""
    if not isinstance(value, str):
        raise InvalidType(f"{name} is {short(value)}; expected a text.")
    return str(value)


def sound(function: Callable[P, R]) -> Callable[P, R]:
    """A function of finite arguments that raises `NotFinite` where its result, an array or a tuple of some, is not finite."""

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(all="ignore"):
            found = function(*args, **kwargs)
        for part in found if isinstance(found, tuple) else (found,):
            if part is not None and not np.isfinite(np.asarray(part)).all():
                raise NotFinite(
                    f"{function.__name__} comes to what is not finite although its arguments are: products of them overflow. "
                    "Scale them down."
                )
        return found

    return checked


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
        raise InvalidType(
            f"{name} {_given(value, array)}; expected {wanted if shape is None else f'an array {shape} of numbers'}."
        )
    if shape is not None and array.ndim != len([axis for axis in shape.strip("()").split(",") if axis]):
        raise InvalidValue(f"{name} has shape {array.shape}; expected {shape}.")
    with np.errstate(all="ignore"):  # of a long double
        array = array.astype(float, order="C")  # products of the same numbers in another order round otherwise
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
    if array.ndim == 1 and array.size == 0 and array.dtype.kind in "fiub":
        return array.astype(np.intp)
    wanted = f"from {least} to {meaning and f'{meaning} = '}{most}"
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidValue(
            f"{name} has shape {array.shape} and dtype {short(str(array.dtype))[1:-1]}; expected a list of integers {wanted}."
        )
    if array.min() < least or array.max() > most:
        raise InvalidValue(f"{name} holds integers from {array.min()} to {array.max()}; expected them {wanted}.")
    return array.astype(np.intp)


def floating(name: str, value: object) -> np.dtype[Any]:
    """float64 or float32, given as NumPy takes a dtype; TypeError for anything else."""
    found = _dtype(value)
    if found is None or found.name not in ("float32", "float64"):
        given = short(value) if found is None else short(found.name)[1:-1]
        raise InvalidType(f"{name} is {given}; expected numpy.float64 or numpy.float32.")
    return found


def inexact(name: str, value: object) -> np.dtype[Any]:
    """A real floating dtype, given as NumPy takes one, in native byte order; TypeError for anything else."""
    found = (
        np.dtype(value) if value is np.float64 or value is np.float32 else _dtype(value)
    )  # as a rule, in a microsecond
    if found is None or found.kind != "f":
        given = short(value) if found is None else short(found.name)[1:-1]
        raise InvalidType(f"{name} is {given}; expected a floating dtype, for example numpy.float64.")
    return found.newbyteorder("=")


def _dtype(value: object) -> np.dtype[Any] | None:
    """The dtype that a text, a type or a dtype says; None for anything else."""
    if isinstance(value, (str, type, np.dtype)):
        with warnings.catch_warnings(), suppress(Exception):  # a type of the caller's may raise anything
            warnings.simplefilter("ignore")  # what NumPy has against a name is said by who asks
            return np.dtype(value)
    return None


def path(name: str, value: object, expected: str) -> Path:
    """A path that is not empty; TypeError for anything but a text or a path-like object. `expected` says what it is for."""
    given = None
    with suppress(Exception):  # a path-like object of the caller's may raise anything
        given = os.fspath(value)  # type: ignore[call-overload]
    if not isinstance(given, str) or not given:
        raise InvalidType(f"{name} is {short(value)}; expected {expected}.")
    try:
        named = b"\0" not in os.fsencode(given)
    except UnicodeError:
        named = False
    if not named:
        raise InvalidValue(f"{name} is {short(given)}; expected {expected}, without null bytes and lone surrogates.")
    return Path(given)
