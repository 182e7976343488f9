"""Losses of one score F and one label z: value and derivative, scalar functions.

    HINGE      max(0, 1 - z F)              Li et al. 2024
    LOGISTIC   log(1 + exp(-z F))           Bu et al. 2024
    SQUARED    (F - z)^2 / 2                Huang et al. 2023, z any real number

At the hinge's kink, 1 - z F = 0, the derivative is 0. NaN scores give NaN losses; scores that are infinite, and so have
overflowed, losses that are NaN or infinite.
"""

import numpy as np

from ..compile import kernel

__all__ = ["HINGE", "LOGISTIC", "NAMES", "SQUARED", "has_gradient", "mean", "slope", "value"]

HINGE, LOGISTIC, SQUARED = 0, 1, 2
NAMES = {"hinge": HINGE, "logistic": LOGISTIC, "squared": SQUARED}


@kernel
def value(kind, F, z):
    """The loss of score F under label z, both of one floating or complex dtype."""
    if kind == HINGE:
        margin = 1 - z * F
        if margin.real <= 0:
            margin = margin * 0
        return margin
    if kind == LOGISTIC:
        t = z * F
        if t.real > 0:
            return np.log1p(np.exp(-t)) + t * 0  # which is NaN of infinity
        return np.log1p(np.exp(t)) - t  # the same, without overflow
    return (F - z) * (F - z) / 2


@kernel
def mean(kind, F, labels):
    """The mean loss of scores F (B,) under labels (B,)."""
    total = F.dtype.type(0)
    for n in range(F.shape[0]):
        total += value(kind, F[n], labels[n])
    return total / F.shape[0]


@kernel
def slope(kind, F, z):
    """g = dloss/dF."""
    if kind == HINGE:
        margin = 1 - z * F
        if margin.real <= 0:
            return z * 0
        return -z  # g = -z 1[1 - z F > 0]
    if kind == LOGISTIC:
        t = z * F
        if t.real > 0:
            e = np.exp(-t)
            return -z * e / (1 + e)  # g = -z sigmoid(-z F)
        return -z / (1 + np.exp(t))
    return F - z


@kernel
def has_gradient(F, g):
    """Whether anything comes back from a score F whose loss has the slope g. A score that is no finite number is not lost."""
    return g != 0 or F - F != 0
