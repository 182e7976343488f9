"""An array that is made of what a function has."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = [
    "FUNCTIONS",
    "Made",
    "Product",
    "fixed",
    "made_of",
    "matmul",
    "matmul_transposed",
    "product_shape",
    "transposed_matmul",
]

Arrays = Callable[[int], np.ndarray]
Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Made:
    """An array at every point.

    Attributes
    ----------
    write : callable
        What it is made of, in words: of thousands, few are asked.
    at : callable
        The array by number of the point.
    shape : tuple of int
    cost : float
        Complexity.
    gate : bool
        Whether an indicator is a factor of it.
    """

    write: Callable[[], str]
    at: Arrays
    shape: tuple[int, ...]
    cost: float
    gate: bool = False

    @cached_property
    def text(self) -> str:
        """What it is made of."""
        return self.write()

    @property
    def bracketed(self) -> str:
        """Its text as a factor of a product."""
        return self.text if _is_one(self.text) else f"({self.text})"


def _is_one(text: str) -> bool:
    """Whether no space stands outside of brackets."""
    depth = 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == " " and not depth:
            return False
    return True


def fixed(text: str, arrays: list[np.ndarray], cost: float, gate: bool = False) -> Made:
    return Made(lambda: text, lambda k: arrays[k], arrays[0].shape, cost, gate)


def _positive(a: np.ndarray) -> np.ndarray:
    return np.asarray(a > 0, float)


def _closed(a: np.ndarray) -> np.ndarray:
    return np.asarray(a <= 0, float)


def _sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def _softmax(a: np.ndarray) -> np.ndarray:
    e = np.exp(a - a.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


FUNCTIONS: tuple[tuple[str, Callable[[np.ndarray], np.ndarray], float], ...] = (
    ("[{} > 0]", _positive, 0.5),
    ("[{} <= 0]", _closed, 0.6),
    ("[{} < 1]", lambda a: np.asarray(a < 1, float), 0.7),
    ("max(1 - {}, 0)", lambda a: np.maximum(1 - a, 0), 0.8),
    ("(1 - {})", lambda a: 1 - a, 0.6),
    ("(1 - {}^2)", lambda a: 1 - a * a, 0.7),
    ("{} (1 - {})", lambda a: a * (1 - a), 0.7),
    ("{}^2", lambda a: a * a, 0.6),
    ("1/{}", lambda a: 1 / a, 0.6),
    ("exp({})", np.exp, 0.7),
    ("sigmoid({})", _sigmoid, 0.8),
    ("sigmoid(-{})", lambda a: _sigmoid(-a), 0.8),
    ("tanh({})", np.tanh, 0.8),
    ("(1 - tanh({})^2)", lambda a: 1 - np.tanh(a) ** 2, 0.9),
    ("sign({})", np.sign, 0.7),
    ("|{}|", abs, 0.7),
    ("max({}, 0)", lambda a: np.maximum(a, 0), 0.7),
    ("1/{}^2", lambda a: 1 / (a * a), 0.9),
    ("sqrt({})", np.sqrt, 0.9),
    ("log({})", np.log, 0.9),
    ("softmax({})", _softmax, 0.8),
)


def made_of(made: Made, text: str, function: Callable[[np.ndarray], np.ndarray], cost: float, points: int) -> Made:
    """One of `FUNCTIONS` of an array."""
    arrays = [np.asarray(function(made.at(k)), float) for k in range(points)]
    inner = made.text if text.endswith(("({})", "({})^2)")) else made.bracketed  # a function's brackets are there
    return fixed(text.format(*[inner] * 2), arrays, made.cost + cost, made.gate or text[0] == "[")


def matmul(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(one @ other)


def matmul_transposed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(one @ other.T)


def transposed_matmul(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(one.T @ other)


def product_shape(function: Product, rows: tuple[int, ...], columns: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of a matrix product; None if there is none. A vector has no transpose."""
    turned = rows if function is transposed_matmul else columns if function is matmul_transposed else (1, 1)
    if not rows or not columns or len(turned) < 2 or len(rows) < len(columns):  # v @ X is X^T @ v
        return None
    rows = rows[::-1] if function is transposed_matmul else rows
    columns = columns[::-1] if function is matmul_transposed else columns
    return rows[:-1] + columns[1:] if rows[-1] == columns[0] else None
