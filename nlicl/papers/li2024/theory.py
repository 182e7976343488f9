"""Constants of the theorems of Li et al. 2024, each with its mark. Where a theorem has an unknown constant, it is 1."""

import math
from typing import Any, TypeVar

import numpy as np

from ...core.checks import integer, magnitude, numbers, real
from ...core.errors import InvalidValue

__all__ = ["batch_size", "context_length", "no_match_probability", "number_of_neurons", "number_of_steps"]


Number = TypeVar("Number", float, np.ndarray)


def no_match_probability(alpha: float, length: Number) -> Number:
    """(1 - alpha/2)^l: the chance that no context carries the query's pattern; l a number or an array [derived]."""
    contexts: Any = numbers("length", length, "of at least 0, a number of contexts", lambda l: l >= 0)
    return (1 - _share(alpha) / 2) ** contexts


def number_of_neurons(M1: int) -> float:
    """M1^2 log M1: Theorem 3.3 asks for m = Omega of it [paper]; 64.5 at M1 = 6."""
    M1 = integer("M1", M1, 1)
    return M1**2 * math.log(M1)


def batch_size(M1: int, epsilon: float) -> float:
    """max(epsilon^-2, M1) log M1: Theorem 3.3 asks for B > Omega of it [paper]."""
    M1 = integer("M1", M1, 1)
    return max(magnitude("epsilon", epsilon) ** -2, M1) * math.log(M1)


def context_length(alpha: float) -> float:
    """1/alpha: Theorem 3.3 asks for l_tr = Omega of it and l_ts >= 1/alpha' [paper]; log factors are [recalled]."""
    return 1 / _share(alpha)


def number_of_steps(alpha: float, *, M1: int, beta: float, learning_rate: float, C: float = 1.0) -> float:
    """C eta^-1 M1 alpha^(-2/3) beta^(-2/3) sqrt(log M1): T of Theorem 3.3; alpha^(-2/3) [paper], the rest [summary]."""
    alpha, M1 = _share(alpha), integer("M1", M1, 1)
    beta, learning_rate, C = magnitude("beta", beta), magnitude("learning_rate", learning_rate), magnitude("C", C)
    steps = C / learning_rate * M1 * alpha ** (-2 / 3) * beta ** (-2 / 3) * math.sqrt(math.log(M1))
    if not math.isfinite(steps):
        raise InvalidValue(f"C is {C:g} and learning_rate {learning_rate:g}: the number of steps overflows. Lower C.")
    return steps


def _share(alpha: float) -> float:
    return magnitude("alpha", real("alpha", alpha, "in (0, 1], a share of contexts", lambda x: 0 < x <= 1))
