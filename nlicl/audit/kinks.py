"""Kinks: where a loss with ReLU or another maximum is not smooth, and how far one may step without crossing one.

A loss hands out its margins (none if it is smooth everywhere): it is smooth as long as none of them changes sign. With
the margins' own derivatives along a direction, the first crossing is known to first order; a step that stays within a
quarter of that distance is then certified by looking at the signs at its ends.
"""

from collections.abc import Callable

import numpy as np

__all__ = ["certified", "crossing", "on_kink"]

ON_KINK = 1e-13  # a margin of this share of the largest one is zero up to rounding


def on_kink(margins: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Whether some margin is zero and moves: `slopes` (n, ...) are derivatives of `margins` (n,); bool of shape (...)."""
    zero = abs(margins) <= ON_KINK * abs(margins).max(initial=1.0)
    return (zero.reshape(zero.shape + (1,) * (slopes.ndim - 1)) & (abs(slopes) > 0)).any(axis=0)


def crossing(margins: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Distance to the first zero of a margin, to first order; inf where none moves. Shapes as in `on_kink`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = abs(margins.reshape(margins.shape + (1,) * (slopes.ndim - 1)) / slopes)
    return np.where(slopes == 0, np.inf, distance).min(axis=0, initial=np.inf)


def certified(margins: np.ndarray, margins_at: Callable[[float], np.ndarray], step: float) -> bool:
    """Whether the margins keep their signs at both ends of a step; margins_at(t) gives them at distance t."""
    signs = np.sign(margins)
    return all(np.array_equal(np.sign(margins_at(t)), signs) for t in (step, -step))
