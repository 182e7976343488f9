"""Kinks: where a loss with ReLU and hinge is not smooth, and how far one may step without crossing one.

A loss hands out its margins: it is smooth as long as none of them changes sign. With the margins' own derivatives
along a direction, the first crossing is known to first order; a step well inside it is then certified by looking at the
signs at its ends and half-way.
"""

import numpy as np

ON_KINK = 1e-13  # a margin of this share of the largest one is zero up to rounding


def on_kink(margins, slopes):
    """Whether some margin is zero and moves: `slopes` (n, ...) are derivatives of `margins` (n,); bool of shape (...)."""
    zero = abs(margins) <= ON_KINK * max(1.0, abs(margins).max())
    return (zero.reshape(zero.shape + (1,) * (slopes.ndim - 1)) & (abs(slopes) > 0)).any(axis=0)


def crossing(margins, slopes):
    """Distance to the first zero of a margin, to first order; inf where none moves. Shapes as in `on_kink`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = abs(margins.reshape(margins.shape + (1,) * (slopes.ndim - 1)) / slopes)
    return np.where(slopes == 0, np.inf, distance).min(axis=0)


def certified(margins_at, steps):
    """Whether the margins keep their signs at +-`steps`: margins_at(t) gives them at distance t along the direction."""
    signs = np.sign(margins_at(0.0))
    return all(np.array_equal(np.sign(margins_at(side * t)), signs) for t in steps for side in (1, -1))
