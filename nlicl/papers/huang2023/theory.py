"""Bounds, floors, step sizes and laws of Huang, Cheng, Liang 2023, each with its mark.

[recalled] is from memory of the paper, its numbers uncertain; [derived] is ours, checked numerically; neither is a quotation.
Times are flow times tau = eta t where `eta` is left at 1, steps of gradient descent otherwise. A bound is the expression
under the O with a constant C in front; C = 10 covers all our runs [derived]. Arguments out of their range are refused, by
ValueError or TypeError.
"""

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ...core.checks import choice, integer, numbers, real, sound
from ...core.errors import InvalidValue

__all__ = [
    "F",
    "attention_ratio",
    "balanced_times",
    "check_length",
    "check_p",
    "check_step_size",
    "concentration_probability",
    "dominant_bound",
    "dominant_time",
    "dominant_weight_law",
    "end_of_growth",
    "floor_bounds",
    "flow_time",
    "initial_loss",
    "leading_times",
    "missing_probability",
    "phase_bounds",
    "step_size",
    "target_weight",
    "target_weight_law",
    "under_represented_bound",
]

Numbers: TypeAlias = float | np.ndarray
"""A number, or an array of them."""

MOST = 10**100
"""The largest K and N: increments of order K^-3 are then still ordinary doubles."""

SMOOTHNESS = 0.3082
"""Bound on the Hessian of 1/2 ||softmax(s + log c) - e_k||^2 in s, searched over 2 to 20 classes, not proved [derived]."""


# ---- Floors, initial loss, concentration


def missing_probability(p_k: float, N: float) -> float:
    """(1 - p_k)^N: the chance that no context carries the query's feature [derived]; 0 for N infinite."""
    p_k = _probability("p_k", p_k)
    return 0.0 if math.isinf(check_length(N)) else math.exp(N * math.log1p(-p_k))


def floor_bounds(p_k: float, N: float, K: int) -> tuple[float, float]:
    """Lower and upper bound on L_k^*, the infimum of L_k: (1-p_k)^N times (1 + 1/(K-1))/2 and 1 [derived].

    Parameters
    ----------
    p_k : float
        Probability of the query's feature.
    N : int or inf
        Length of a prompt.
    K : int
        Number of features.

    Returns
    -------
    (float, float)
    """
    K = integer("K", K, 2, MOST)
    missing = missing_probability(p_k, N)
    return missing * (1 + 1 / (K - 1)) / 2, missing


def initial_loss(p: ArrayLike, N: float) -> np.ndarray:
    """L_k at Q = 0 for every k: 1/2 [||p - e_k||^2 + (1 - ||p||^2)/N], shape (K,) [derived].

    Parameters
    ----------
    p : array_like (K,)
        Positive probabilities of the features.
    N : int or inf
    """
    p = check_p(p)
    square = p @ p
    return (square - 2 * p + 1 + (1 - square) / check_length(N)) / 2


def concentration_probability(K: int, N: float, c: float = 1.0) -> float:
    """Lower bound on P(|c_k - p_k N| <= c N/K for all k), the event of the proof [recalled].

    1 - 3 exp(-c^2 N/(25 K^2)) for N >= 20 K^3/c^2, by Devroye's multinomial tail (1983) [derived]; below that N the tail says
    nothing and the bound is 0.
    """
    K, N = integer("K", K, 2, MOST), check_length(N)
    c = _positive("c", c)
    long = N * c**2 >= 20 * K**3
    return max(0.0, 1 - 3 * math.exp(-(c**2) * N / (25 * K**2))) if long else 0.0


# ---- Step size


def step_size(largest: float) -> float:
    """1/(0.3082 max_k p_k) = 3.24/max_k p_k, a safe choice: half of what `check_step_size` allows; `largest` is max_k p_k."""
    return 1 / (SMOOTHNESS * _probability("largest", largest))


def check_step_size(eta: float, largest: float) -> float:
    """eta as a float; ValueError above 2/(0.3082 max_k p_k) = 6.49/max_k p_k, where a step may raise the loss [derived].

    L is 0.3082 max_k p_k-smooth in Q, hence every smaller step of gradient descent lowers it.
    """
    eta, largest = _positive("eta", eta), _probability("largest", largest)
    usual = step_size(largest)
    if eta > 2 * usual:
        raise InvalidValue(
            f"eta is {eta:g} with max p = {largest:g}; expected at most 6.49/max p = {2 * usual:.4g}: L is 0.3082 max "
            f"p-smooth [derived], and a longer step can raise it. Half of that, 3.24/max p = {usual:.4g}, is a safe choice."
        )
    return eta


# ---- Bounds of the theorems


@sound
def under_represented_bound(K: int, eps: float, eta: float = 1.0, C: float = 1.0) -> float:
    """C [K^2 log(K)/eta + K log(K eps^(-1/2))/(eps eta)] [recalled].

    T^* of the balanced theorem, and T_k, k >= 2, of the imbalanced one.
    """
    growth, convergence = phase_bounds("balanced", K, eps, eta, C).values()
    return growth + convergence


@sound
def dominant_bound(eps: float, eta: float = 1.0, C: float = 1.0) -> float:
    """C log(eps^(-1/2))/(eps eta): T_1 of the imbalanced theorem [recalled]; T_dom here."""
    eps = _checked_eps(eps)
    return _positive("C", C) * math.log(eps**-0.5) / (eps * _positive("eta", eta))


def phase_bounds(kind: str, K: int, eps: float, eta: float = 1.0, C: float = 1.0) -> dict[str, float]:
    """Bounds on the lengths of the phases, by the name of the time that ends them [recalled; T_3 - T_2 derived].

    Parameters
    ----------
    kind : {"balanced", "dominant", "under-represented"}
        The query.
    K : int
    eps : float in (0, 1)
    eta, C : float, greater than 0

    Returns
    -------
    dict of str to float
        "T_1", "T_2"; "T_dom"; "T_1" to "T_4". Each is a bound on the time since the one before.
    """
    K, eta, C = integer("K", K, 2, MOST), _positive("eta", eta), _positive("C", C)
    eps, kind = _checked_eps(eps), choice("kind", kind, ("balanced", "dominant", "under-represented"))
    convergence = C * K * math.log(K * eps**-0.5) / (eps * eta)
    growth = lambda exponent: C * K**exponent * math.log(K) / eta  # noqa: E731
    if kind == "balanced":
        return {"T_1": growth(2), "T_2": convergence}
    if kind == "dominant":
        return {"T_dom": dominant_bound(eps, eta, C)}
    return {"T_1": growth(1.98), "T_2": growth(2), "T_3": growth(1.5), "T_4": convergence}


# ---- Exact law of balanced and dominant queries: N infinite, gradient flow


def F(u: Numbers) -> Numbers:
    """u^2/2 + 3u + 3 log u - 1/u: the integral of (1 + u)^3/u^2, u greater than 0, a number or an array [derived]."""
    u = numbers("u", u, "greater than 0, from 1e-150 to 1e150", lambda u: (u >= 1e-150) & (u <= 1e150))
    return u**2 / 2 + 3 * u + 3 * np.log(u) - 1 / u


def flow_time(u: Numbers, K: int, p_k: float) -> Numbers:
    """tau at which Attn_k/(1 - Attn_k) is u: (1 - 1/K)^2/p_k [F(u) - F(p_k/(1-p_k))] [derived].

    For a query of probability p_k whose K - 1 other features are equally likely: balanced, p_k = 1/K, or dominant.

    Parameters
    ----------
    u : float or array_like
        At least p_k/(1 - p_k), where it starts: it only grows.
    K : int
    p_k : float in (0, 1)

    Returns
    -------
    float or ndarray
    """
    u, start = _grown(u, K, p_k)
    K, p_k = int(K), float(p_k)
    return (1 - 1 / K) ** 2 / p_k * (F(u) - F(start))


def target_weight(u: Numbers, K: int, p_k: float) -> Numbers:
    """A_k when Attn_k/(1 - Attn_k) is u: (1 - 1/K) log(u (1-p_k)/p_k) [derived]; B_{k,n} = -A_k/(K-1).

    Arguments as in `flow_time`.
    """
    u, start = _grown(u, K, p_k)
    return (1 - 1 / int(K)) * np.log(u / start)


def attention_ratio(eps: float) -> float:
    """u = Attn_k/(1 - Attn_k) at which (1 - Attn_k)^2 = eps: eps^(-1/2) - 1 [derived]."""
    return _checked_eps(eps) ** -0.5 - 1


def end_of_growth(K: int) -> float:
    """u = Attn_k/(1 - Attn_k) at which a balanced A_k = log K: K^(K/(K-1))/(K-1), K at least 2 [derived]."""
    K = integer("K", K, 2, MOST)
    return K ** (K / (K - 1)) / (K - 1)


def balanced_times(K: int, eps: float) -> tuple[float, float]:
    """T_1 and T_2 of the balanced flow, exactly [derived]; T_1 -> K^2, T_2 - T_1 -> K/(2 eps).

    T_2 is 0 where eps is reached at the start, (1 - 1/K)^2 <= eps, and comes before T_1 where eps is above
    1/(1 + end_of_growth(K))^2, about 1/4.
    """
    K = integer("K", K, 2, MOST)
    return float(flow_time(end_of_growth(K), K, 1 / K)), _converged(K, 1 / K, eps)


def dominant_time(K: int, p_1: float, eps: float) -> float:
    """T_dom of the flow, exactly [derived]; -> 1/(2 p_1 eps) as K -> infinity and eps -> 0; 0 where (1 - p_1)^2 <= eps."""
    return _converged(integer("K", K, 2, MOST), _probability("p_1", p_1), eps)


def _converged(K: int, p_k: float, eps: float) -> float:
    return float(flow_time(max(attention_ratio(eps), p_k / (1 - p_k)), K, p_k))


def _grown(u: Numbers, K: int, p_k: float) -> tuple[Any, float]:
    """u, and where it starts."""
    integer("K", K, 2, MOST)
    p_k = _probability("p_k", p_k)
    start = p_k / (1 - p_k)
    reachable = lambda u: (u >= start * (1 - 1e-9)) & (u <= 1e150)  # noqa: E731
    return numbers(
        "u", u, f"at least p_k/(1 - p_k) = {start:.6g}, where Attn_k/(1 - Attn_k) starts, at most 1e150", reachable
    ), start


# ---- Leading-order laws of an under-represented query: N infinite, gradient flow, K large


@sound
def dominant_weight_law(tau: Numbers, K: int, p_1: float) -> Numbers:
    """B_{k,1}(tau) = -1/2 log(1 + 2 p_1^2 tau/((1-p_1) K)) while Attn_1 << 1, before phase IV [derived].

    tau: at least 0, a number or an array.
    """
    K, p_1 = integer("K", K, 3, MOST), _probability("p_1", p_1)
    tau = numbers("tau", tau, "at least 0", lambda tau: tau >= 0)
    return -0.5 * np.log1p(2 * p_1**2 * tau / ((1 - p_1) * K))


def target_weight_law(tau: Numbers, K: int, p_1: float) -> Numbers:
    """A_k(tau) = -log(1 - (1-p_1) tau/K^2), for 0 <= tau < K^2/(1-p_1), where it diverges [derived].

    tau: a number or an array.
    """
    K, p_1 = integer("K", K, 3, MOST), _probability("p_1", p_1)
    end = K**2 / (1 - p_1)
    wanted = f"from 0 to below K^2/(1 - p_1) = {end:.6g}, where the law diverges"
    return -np.log1p(-numbers("tau", tau, wanted, lambda tau: (tau >= 0) & (tau < end)) / end)


def leading_times(K: int, p_1: float, eps: float) -> dict[str, float]:
    """Leading order in K of an under-represented query's times [derived].

    Parameters
    ----------
    K : int
    p_1 : float in (0, 1)
    eps : float in (0, 1)

    Returns
    -------
    dict of str to float
        "T_1" (1-a)/(2a^2) K^1.98, "cross" K^2/(3(1-a)), "T_2" and "T_3" K^2/(1-a), "T_3 - T_2" sqrt(2) a/(1-a)^2 K^1.49,
        "T_4 - T_3" K/(1-a) [F(eps^(-1/2)-1) - F(1)], with a = p_1; below 0 for eps above 1/4, reached before A_k = log K.
    """
    K, a = integer("K", K, 3, MOST), _probability("p_1", p_1)
    return {
        "T_1": (1 - a) / (2 * a**2) * K**1.98,
        "cross": K**2 / (3 * (1 - a)),
        "T_2": K**2 / (1 - a),
        "T_3": K**2 / (1 - a),
        "T_3 - T_2": math.sqrt(2) * a / (1 - a) ** 2 * K**1.49,
        "T_4 - T_3": float(K / (1 - a) * (F(attention_ratio(eps)) - F(1.0))),
    }


# ---- Checks


def _probability(name: str, value: float) -> float:
    return real(name, value, "between 0 and 1, a probability of at least 1e-101", lambda x: 1e-101 <= x < 1)


def _positive(name: str, value: float) -> float:
    return real(name, value, "greater than 0, from 1e-100 to 1e100", lambda x: 1e-100 <= x <= 1e100)


def _checked_eps(eps: float) -> float:
    return real("eps", eps, "between 0 and 1, at least 1e-100", lambda x: 1e-100 <= x < 1)


def check_length(N: float) -> float:
    """N as it is if infinite, otherwise an integer of at least 1; TypeError or ValueError for anything else."""
    return math.inf if isinstance(N, float) and math.inf == N else integer("N", N, 1, MOST)


def check_p(p: ArrayLike) -> np.ndarray:
    """`p` as an array (K,) of at least two positive probabilities of sum 1; TypeError or ValueError for anything else."""
    p = numbers("p", p, "greater than 0, a probability", lambda p: p > 0, shape="(K,)")
    if len(p) < 2:
        raise InvalidValue(f"p has shape {p.shape}; expected (K,) with K at least 2.")
    with np.errstate(over="ignore"):
        total = p.sum()
    if not abs(total - 1) <= 1e-9:
        raise InvalidValue(f"p sums to {total:.12g}; expected 1. Divide it by its sum.")
    return p
