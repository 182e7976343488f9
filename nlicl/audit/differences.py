"""Derivatives of a function of one number from its values, with an estimate of their error."""

from collections.abc import Callable

import numpy as np

__all__ = ["extrapolated", "one_sided"]


def extrapolated(
    f: Callable[[float], float], base: float, first: float = 1e-2, levels: int = 14
) -> tuple[float, float]:
    """f'(0) from central differences on halved steps, extrapolated (Romberg); (value, estimate of its error)."""
    return _romberg(lambda h: (f(h) - f(-h)) / (2 * h), base, first, levels, 4.0)


def one_sided(
    f: Callable[[float], float], base: float, side: int, first: float = 1e-3, levels: int = 14
) -> tuple[float, float]:
    """The derivative of f at 0 from one side, side = +1 or -1; (value, estimate of its error)."""
    return _romberg(lambda h: side * (f(side * h) - base) / h, base, first, levels, 2.0)


def _romberg(
    quotient: Callable[[float], float], base: float, first: float, levels: int, factor: float
) -> tuple[float, float]:
    """Limit of quotient(h) as h -> 0, whose error is a series in powers of h^(log2 factor)."""
    row: list[float] = []
    best, error = np.nan, np.inf
    for level in range(levels):
        h = first * 2.0**-level
        new = [float(quotient(h))]
        power = factor
        for previous in row:
            new.append(new[-1] + (new[-1] - previous) / (power - 1))
            power *= factor
        rounding = 2e-16 * abs(float(base)) / h
        for k in range(1, len(new)):
            estimate = max(abs(new[k] - new[k - 1]), abs(new[k] - row[k - 1]), rounding)
            if estimate < error:
                best, error = new[k], estimate
        row = new
    return best, error
