"""An array that is made of what a function has."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Made", "fixed"]

Arrays = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Made:
    """An array at every point.

    Attributes
    ----------
    text : str
        What it is made of.
    at : callable
        The array by number of the point.
    shape : tuple of int
    cost : float
        Complexity.
    gate : bool
        Whether an indicator is a factor of it.
    """

    text: str
    at: Arrays
    shape: tuple[int, ...]
    cost: float
    gate: bool = False

    @property
    def bracketed(self) -> str:
        """Its text as a factor of a product."""
        bare = " " not in self.text or (self.text[0] + self.text[-1] in ("()", "[]") and self.text.count(self.text[0]) == 1)
        return self.text if bare else f"({self.text})"


def fixed(text: str, arrays: list[np.ndarray], cost: float, gate: bool = False) -> Made:
    return Made(text, lambda k: arrays[k], arrays[0].shape, cost, gate)
