"""Checks of the arguments of the theory: numbers, or arrays of them that broadcast."""

from typing import Any, TypeAlias

import numpy as np

from ....core.checks import numbers, real
from ....core.errors import InvalidValue

__all__ = ["Numbers", "finite", "fraction", "not_negative", "positive", "together"]

Numbers: TypeAlias = float | np.ndarray
"""A number, or an array of them."""
_LEAST, _MOST = 1e-100, 1e100


def finite(name: str, value: object) -> Any:
    """Any finite numbers, as float64."""
    return numbers(name, value)


def positive(name: str, value: object) -> Any:
    """Numbers above 0, as float64: products of three of them neither overflow nor vanish."""
    return numbers(name, value, "above 0, from 1e-100 to 1e100", lambda x: (x >= _LEAST) & (x <= _MOST))


def not_negative(name: str, value: object) -> Any:
    """Finite numbers of at least 0, as float64."""
    return numbers(name, value, "of at least 0, at most 1e100", lambda x: (x >= 0) & (x <= _MOST))


def together(**arrays: Any) -> tuple[int, ...]:
    """The shape that these arrays broadcast to; ValueError, with their shapes, if they do not."""
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InvalidValue(f"shapes do not go together: {told}; expected one number, or one a run, of each.") from None


def fraction(name: str, value: object) -> float:
    """One number between 0 and 1."""
    return real(name, value, "between 0 and 1", lambda x: 0 < x < 1)
