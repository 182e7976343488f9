"""A number beside an expression, as one writes it."""

from collections.abc import Iterator

import numpy as np

from .atoms import Coefficient
from .templates import HERE

__all__ = ["additions", "scalings"]

_NAMES = 6  # of one number that are tried


def scalings(factor: float, table: np.ndarray, named: list[Coefficient]) -> Iterator[tuple[str, float]]:
    """An expression times a number, as one writes it: (template, cost)."""
    if abs(factor) < 1e-9:
        yield f"0 * {HERE}", 2.5
    for number in _near(abs(factor), table, named):
        text = f"{number.above} * {HERE}" if number.above else HERE
        text = f"{text} / {number.below}" if number.below else text
        if text != HERE or factor < 0:
            yield (f"-{text}" if factor < 0 else text), 1.0 + number.cost


def additions(text: str, factor: float, table: np.ndarray, named: list[Coefficient]) -> Iterator[tuple[str, float]]:
    """An expression plus a number times a term, as one writes it: (template, further cost)."""
    sign = "-" if factor < 0 else "+"
    for number in _near(abs(factor), table, named):
        parts = [part for part in (number.above, text) if part and (text != "1" or part != "1" or not number.above)]
        inner = " * ".join(parts)
        inner = f"{inner} / {number.below}" if number.below else inner
        yield f"{HERE} {sign} {inner}", number.cost


def _near(value: float, table: np.ndarray, named: list[Coefficient]) -> list[Coefficient]:
    """The numbers with a name that are this one, to seven digits."""
    low, high = np.searchsorted(table, [value * (1 - 1e-7), value * (1 + 1e-7)])
    return sorted(named[low:high], key=lambda one: one.cost)[:_NAMES]
