"""What Adam can move, in one-hot and in dense features: why the paper's experiment depends on them. All is [derived].

Adam works entry by entry, so that it is not invariant under rotations of the features, as gradient descent is. With
g_t the gradient of an entry, m_t and v_t its decaying means with beta_1 = 0.9 and beta_2 = 0.999, an entry moves by

    eta |m_t / (1 - beta_1^t)| / sqrt(v_t / (1 - beta_2^t))     at step t:

by eta while its gradient is constant. In one-hot features an entry of Q is a weight A_k or B_{k,n}. In dense ones every weight
is a sum over all d^2 entries, each of about 1/d of the two features' product, and they move together.
"""

import math

import numpy as np

from ...core.checks import integer, real, sound
from ...core.errors import InvalidValue
from ...core.memory import check_memory

__all__ = ["BETA_1", "BETA_2", "dense_gap", "largest_move", "one_hot_attention", "one_hot_gap"]

BETA_1, BETA_2 = 0.9, 0.999
"""Adam's usual settings."""


@sound
def largest_move(eta: float, steps: int) -> float:
    """A bound on |Q_ij| after `steps` steps of Adam from Q = 0, whatever the gradients are [derived].

    The Cauchy-Schwarz inequality on m_t = (1 - beta_1) sum_s beta_1^s g_{t-s} and v_t = (1 - beta_2) sum_s beta_2^s g_{t-s}^2
    gives |m_t| <= (1 - beta_1) / sqrt(1 - beta_2) sqrt( sum_{s<t} (beta_1^2 / beta_2)^s ) sqrt(v_t). The bound is the sum over
    t. It is 2.34 for the paper's 400 steps at 0.002. A gradient that stays constant moves an entry by eta steps = 0.8.

    Parameters
    ----------
    eta : float, greater than 0
    steps : int

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        Arguments out of range, named.
    """
    eta, steps = _eta(eta), integer("steps", steps, 0)
    check_memory(f"steps is {steps}: so many numbers", 64 * steps, "Lower it.")
    t, ratio = np.arange(1, steps + 1), BETA_1**2 / BETA_2
    first = (1 - BETA_1) / (1 - BETA_1**t)
    second = np.sqrt((1 - BETA_2**t) / (1 - BETA_2))
    return float(eta * np.sum(first * second * np.sqrt((1 - ratio**t) / (1 - ratio))))


def one_hot_attention(p_k: float, move: float) -> float:
    """A bound on the mean Attn_k where no entry of Q exceeds `move` and features are one-hot [derived].

    Every weight of the query is then an entry of Q, so that Attn_k <= c_k e^{2 move} / (c_k e^{2 move} + N - c_k). That is
    concave in c_k, whose mean is N p_k.

    Parameters
    ----------
    p_k : float in (0, 1)
        Probability of the query's feature.
    move : float, at least 0

    Returns
    -------
    float
        p_k e^{2 move} / (p_k e^{2 move} + 1 - p_k).
    """
    p_k = real("p_k", p_k, "between 0 and 1, a probability of at least 1e-101", lambda p: 1e-101 <= p < 1)
    move = real("move", move, "from 0 to 300", lambda x: 0 <= x <= 300)
    return 1 / (1 + (1 - p_k) / p_k * math.exp(-2 * move))


@sound
def one_hot_gap(eta: float, steps: int) -> float:
    """A_k - B_{k,n} of one-hot features while gradients stay constant: 2 eta steps [derived]."""
    return 2 * _eta(eta) * integer("steps", steps, 0)


@sound
def dense_gap(eta: float, steps: int, d: int, K: int) -> float:
    """A_k - B_{k,n} of dense features while gradients stay constant: eta steps d sqrt(2/pi) / sqrt(K - 1) [derived].

    In the balanced case, d well above K. The gradient is -V D V^T with D proportional to I - 1 1^T / K, and its d^2 entries
    are nearly normal. So a step Q = eta sign(V D V^T) has <V^T Q V, D> = eta |V D V^T|_1, about eta d sqrt(2/pi) ||D||. The
    first step has 0.96 to 0.97 of it at K = 10, and 0.92 to 0.93 at K = 4. An entry whose gradient shrinks moves less.

    Parameters
    ----------
    eta : float, greater than 0
    steps, d, K : int

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        Arguments out of range, named.
    """
    eta, steps, K, d = _eta(eta), integer("steps", steps, 0), integer("K", K, 2), integer("d", d, 1)
    if d < K:
        raise InvalidValue(f"d is {d} with K = {K}; expected d >= K. Raise d or lower K.")
    return eta * steps * d * math.sqrt(2 / math.pi / (K - 1))


def _eta(eta: float) -> float:
    return real("eta", eta, "greater than 0, from 1e-100 to 1e100", lambda x: 1e-100 <= x <= 1e100)
