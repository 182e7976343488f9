"""Checks of the arguments of the theory: numbers, or arrays of them that broadcast."""

from typing import Any, TypeAlias

import numpy as np

from ....core.checks import numbers, real

__all__ = ["Numbers", "finite", "fraction", "not_negative", "positive"]

Numbers: TypeAlias = float | np.ndarray
"""A number, or an array of them."""


def finite(name: str, value: object) -> Any:
    """Any finite numbers, as float64."""
    return numbers(name, value)


def positive(name: str, value: object) -> Any:
    """Finite numbers above 0, as float64."""
    return numbers(name, value, "above 0", lambda x: x > 0)


def not_negative(name: str, value: object) -> Any:
    """Finite numbers of at least 0, as float64."""
    return numbers(name, value, "of at least 0", lambda x: x >= 0)


def fraction(name: str, value: object) -> float:
    """One number between 0 and 1."""
    return real(name, value, "between 0 and 1", lambda x: 0 < x < 1)
