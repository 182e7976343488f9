"""Checks of the arguments of the theory: numbers, or arrays of them that broadcast."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ....core.checks import real
from ....core.errors import InvalidType, InvalidValue

__all__ = ["Numbers", "check_numbers", "finite", "fraction", "not_negative", "positive"]

Numbers: TypeAlias = float | np.ndarray
"""A number, or an array of them."""


def check_numbers(name: str, value: ArrayLike, condition: str, holds: Callable[[Any], Any]) -> Any:
    """`value`, a number or an array of them, as float64, finite and with `holds(value)`, which `condition` says in words.

    Raises
    ------
    TypeError
        Not numbers.
    ValueError
        An entry is not finite or not as `condition` says; it is named.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise InvalidType(f"{name} is {value!r}; expected finite numbers{condition and ' '}{condition}.")
    array = array.astype(float)
    wrong = ~(np.isfinite(array) & holds(array))
    if wrong.any():
        index = tuple(map(int, np.argwhere(wrong)[0]))
        where = f"{name}{list(index)}" if index else name
        raise InvalidValue(f"{where} is {array[index]:g}; expected a finite number{condition and ' '}{condition}.")
    return array[()]


def finite(name: str, value: ArrayLike) -> Any:
    """As `check_numbers`, of any finite numbers."""
    return check_numbers(name, value, "", lambda x: True)


def positive(name: str, value: ArrayLike) -> Any:
    """As `check_numbers`, of numbers above 0."""
    return check_numbers(name, value, "above 0", lambda x: x > 0)


def not_negative(name: str, value: ArrayLike) -> Any:
    """As `check_numbers`, of numbers of at least 0."""
    return check_numbers(name, value, "of at least 0", lambda x: x >= 0)


def fraction(name: str, value: float) -> float:
    """One number between 0 and 1."""
    return real(name, value, "between 0 and 1", lambda x: 0 < x < 1)
