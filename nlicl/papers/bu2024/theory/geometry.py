"""Norms of the directions, step sizes, and what weight decay leaves of an entry."""

from typing import NamedTuple

import numpy as np

from ....core.checks import integer, real
from ....core.memory import check_memory
from .checks import Numbers, fraction, not_negative, positive, together

__all__ = ["Norms", "decay", "needed_step_offset", "norms", "step_sizes"]


class Norms(NamedTuple):
    """||a||, ||b||, ||c||, ||d||, where mu^+- = a +- b and q^+- = c +- d."""

    a: float
    b: float
    c: float
    d: float


def norms(norm_x: float, norm_y: float, kappa_x: float, kappa_y: float) -> Norms:
    """||a||^2 = (1 + kappa_x)/2 ||u||^2, ||b||^2 = (1 - kappa_x)/2 ||u||^2, and c, d from ||q||, kappa_y [derived].

    Parameters
    ----------
    norm_x, norm_y : float
        ||u|| and ||q||, the norms of every word and label vector; above 0.
    kappa_x, kappa_y : float
        <mu^+, mu^-> = kappa_x ||u||^2, <q^+, q^-> = kappa_y ||q||^2 [form recalled]; between 0 and 1.

    Returns
    -------
    Norms
    """
    lengths = (_length("norm_x", norm_x), _length("norm_y", norm_y))
    cosines = (fraction("kappa_x", kappa_x), fraction("kappa_y", kappa_y))
    return Norms(
        *(
            length * np.sqrt((1 + sign * cosine) / 2)
            for length, cosine in zip(lengths, cosines, strict=True)
            for sign in (1, -1)
        )
    )


def _length(name: str, value: float) -> float:
    return real(name, value, "above 0, from 1e-150 to 1e300", lambda x: 1e-150 <= x <= 1e300)


def step_sizes(steps: int, weight_decay: Numbers, step_offset: float) -> np.ndarray:
    """eta_t = 2/(lambda (gamma + t)) for t = 0 .. steps-1 [recalled].

    Parameters
    ----------
    steps : int
    weight_decay : float or array
        lambda, above 0.
    step_offset : float
        gamma, above 0.

    Returns
    -------
    ndarray (steps, ...)
        Time first, then the axes of `weight_decay`.
    """
    steps = integer("steps", steps, 0)
    weight_decay = positive("weight_decay", weight_decay)
    step_offset = real("step_offset", step_offset, "above 0, from 1e-100 to 1e100", lambda x: 1e-100 <= x <= 1e100)
    size = steps * np.size(weight_decay)
    check_memory(f"steps is {steps}: there are {size} step sizes", 16 * (size + steps), "Lower it.")
    return 2 / np.multiply.outer(step_offset + np.arange(steps), weight_decay)


def decay(steps: Numbers, step_offset: float) -> Numbers:
    """prod_{t < T} (1 - lambda eta_t) = (gamma-1)(gamma-2)/((gamma+T-1)(gamma+T-2)) for eta_t of `step_sizes` [derived].

    What T steps of pure weight decay leave of an entry.

    Parameters
    ----------
    steps : int or array of int
        T, at least 0.
    step_offset : float
        gamma, above 2: every factor is then above 0.

    Returns
    -------
    float or ndarray
    """
    T = not_negative("steps", steps)
    gamma = real(
        "step_offset", step_offset, "above 2, at most 1e100: below 2 a step overshoots 0", lambda x: 2 < x <= 1e100
    )
    return (gamma - 1) / (gamma + T - 1) * ((gamma - 2) / (gamma + T - 2))


def needed_step_offset(norm_c: Numbers, weight_decay: Numbers, width: int, sigma_1: Numbers) -> Numbers:
    """||c||/(lambda m sigma_1): gamma must be much larger, or neurons die for a concept by the noise of SGD [derived].

    Parameters
    ----------
    norm_c, weight_decay, sigma_1 : float or array
        ||c||, lambda, and the scale of W_O at the start; above 0.
    width : int
        m.

    Returns
    -------
    float or ndarray
    """
    norm_c, sigma_1, weight_decay = (
        positive(name, x) for name, x in (("norm_c", norm_c), ("sigma_1", sigma_1), ("weight_decay", weight_decay))
    )
    together(norm_c=norm_c, sigma_1=sigma_1, weight_decay=weight_decay)
    return norm_c / sigma_1 / (weight_decay * integer("width", width, 1))
