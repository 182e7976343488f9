"""The theory of the early phase: when a concept escapes the saddle, and whether it does [derived].

It is for balanced, noise-free, one-concept prompts and small norms: attention and scores are linear in what is trained. There,
with tau = sum eta, ||b|| = norm_b, ||d|| = norm_d and K1 = concepts,

    k_0 = ||d|| ||b||^2/(2 K1)        R = sum_i r_i 1[o_c,i > 0] o_d,i        X = sqrt(m_+) beta/m,  beta^2 = beta_Q beta_K
    dbeta/dtau = (k_0 R - lambda) beta                    dR/dtau = k_0 X^2 - lambda R

with o_c = W_O c/||c||, o_d = W_O d/||d||.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ....core.arrays import as_array, given
from ....core.checks import choice, integer, numbers, sound
from ....core.describe import short
from ....core.errors import InvalidType, InvalidValue, NotFinite
from ....core.memory import check_memory
from .checks import Numbers, finite, fraction, not_negative, positive, together
from .matching import RULES, attention_law

__all__ = [
    "Early",
    "early_flow",
    "early_quantities",
    "early_rate",
    "early_source",
    "escape_step",
    "escape_time",
    "failure_probability",
    "invariant",
    "lambda_star",
    "succeeds",
    "sufficient_sigma_0",
]


class Early(NamedTuple):
    """R, m_+ and X of the early phase: numbers, or arrays (...)."""

    R: np.ndarray
    m_plus: np.ndarray
    X: np.ndarray


def early_quantities(r: np.ndarray, o_c: np.ndarray, o_d: np.ndarray, beta: Numbers) -> Early:
    """R = sum_i r_i 1[o_c,i > 0] o_d,i, m_+ = #{o_c,i > 0}, X = sqrt(m_+) beta/m [derived].

    Parameters
    ----------
    r : ndarray (..., m)
        The output vector; for entries other than +-1/m, X = beta sqrt(sum_i r_i^2 1[o_c,i > 0]).
    o_c, o_d : ndarray (..., m)
        W_O c/||c|| and W_O d/||d||.
    beta : float or ndarray (...)
        sqrt(beta_Q beta_K); sigma_0 at the start.

    Returns
    -------
    Early
    """
    r, o_c, o_d = map(np.atleast_1d, (finite("r", r), finite("o_c", o_c), finite("o_d", o_d)))
    if len({x.shape[-1] for x in (r, o_c, o_d)}) > 1:
        raise InvalidValue(
            f"r, o_c and o_d have shapes {r.shape}, {o_c.shape} and {o_d.shape}; expected (..., m), one m for all."
        )
    beta = finite("beta", beta)
    if 0 in (r.size, o_c.size, o_d.size):
        raise InvalidValue(f"r has shape {r.shape} and o_c {o_c.shape}; expected (..., m) with every size at least 1.")
    together(r=r[..., 0], o_c=o_c[..., 0], o_d=o_d[..., 0], beta=beta)
    active = o_c > 0
    zeta = r * active
    with np.errstate(over="ignore", invalid="ignore"):
        return Early(np.vecdot(zeta, o_d), np.sum(active, axis=-1), beta * np.sqrt(np.vecdot(zeta, zeta)))


def early_rate(
    norm_b: Numbers, norm_d: Numbers, concepts: int, length: int | None = None, match: str = "balanced"
) -> Numbers:
    """k_0 = ||d|| ||b||^2/(2 K1), times E[4 attn_+ attn_-] at W = 0 for rules other than "balanced" [derived].

    The factor is 1 for "balanced" and 1 - 1/L for "iid". For rules other than "balanced" neurons are taken as active where
    o_c,i > 0: exact for |o_d,i| small against |o_c,i|, otherwise an approximation, as 2 attn_+ - 1 is not small then.

    Parameters
    ----------
    norm_b, norm_d : float
        ||b||, ||d||.
    concepts : int
        K1.
    length, match
        As `match_law`; "balanced" needs no length.

    Returns
    -------
    float
    """
    norm_b, norm_d = positive("norm_b", norm_b), positive("norm_d", norm_d)
    together(norm_b=norm_b, norm_d=norm_d)
    rate = norm_d * norm_b**2 / (2 * integer("concepts", concepts, 1))
    return rate * _moments(length, match)[0]


def early_source(
    m_plus: Numbers, width: int, norm_d: Numbers, concepts: int, length: int | None, match: str
) -> Numbers:
    """m_+ ||d||/(2 K1 m^2) E[2 attn_+ - 1] at W = 0, which is added to dR/dtau [derived].

    0 for "balanced" and "iid"; a match guarantee pushes R up even at beta = 0. Active neurons as in `early_rate`.

    Parameters
    ----------
    m_plus, width : int
        m_+ and m; m_+ may be an array.
    norm_d, concepts, length, match
        As `early_rate`.

    Returns
    -------
    float or ndarray
    """
    share, norm_d = _active_share(m_plus, width), positive("norm_d", norm_d)
    together(m_plus=share, norm_d=norm_d)
    share = share * norm_d / (2 * integer("concepts", concepts, 1))
    return share * _moments(length, match)[1]


def early_flow(
    R: Numbers,
    X: Numbers,
    etas: np.ndarray,
    k_0: Numbers,
    weight_decay: Numbers = 0.0,
    source: Numbers = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """The equations of the early phase by Euler steps [derived].

        R <- R + eta (k_0 X^2 - lambda R + source)        X <- X + eta (k_0 R - lambda) X

    Parameters
    ----------
    R, X : float or array (...)
        At the start, of `early_quantities`.
    etas : ndarray (T,) or (T, ...)
        Step sizes.
    k_0, source : float or array
        Of `early_rate`, `early_source`.
    weight_decay : float or array
        lambda, at least 0.

    Returns
    -------
    R, X : ndarray (T+1, ...)
        They grow without bound after the escape, where the equations no longer hold, to inf.
    """
    R, X, source = (finite(name, x) for name, x in (("R", R), ("X", X), ("source", source)))
    etas, k_0 = np.asarray(positive("etas", etas)), positive("k_0", k_0)
    if etas.ndim == 0:
        raise InvalidValue(
            f"etas is {etas}; expected one step size a step, (T,). For constant ones: numpy.full(T, {etas})."
        )
    lam = not_negative("weight_decay", weight_decay)
    each = etas[0] if len(etas) else np.zeros(etas.shape[1:])
    shape = together(R=R, X=X, k_0=k_0, weight_decay=lam, source=source, etas=each)
    T, runs = len(etas), math.prod(shape)
    check_memory(f"etas has {T} steps, of {runs} runs: R and X are kept", 18 * (T + 1) * runs, "Give fewer.")
    path = np.empty((2, len(etas) + 1, *shape))
    path[0, 0], path[1, 0] = R, X
    with np.errstate(over="ignore", invalid="ignore"):
        for t, eta in enumerate(etas):
            R, X = path[:, t]
            path[0, t + 1] = R + eta * (k_0 * X**2 - lam * R + source)
            path[1, t + 1] = X + eta * (k_0 * R - lam) * X
    path[np.isnan(path)] = np.inf
    return path[0], path[1]


def invariant(R: Numbers, X: Numbers, decayed: Numbers = 1.0) -> Numbers:
    """(R^2 - X^2)/decayed^2, which the early phase conserves [derived].

    Parameters
    ----------
    R, X : float or array
    decayed : float or array
        prod (1 - lambda eta) up to then, exp(-lambda tau) for small steps; 1 for lambda = 0. `decay` for `step_sizes`.

    Returns
    -------
    float or ndarray
    """
    R, X, decayed = finite("R", R), finite("X", X), positive("decayed", decayed)
    together(R=R, X=X, decayed=decayed)
    with np.errstate(over="ignore", invalid="ignore"):
        found = (R - X) * (R + X) / decayed**2
    if not np.isfinite(found).all():
        raise NotFinite("the invariant is not finite: R^2 or X^2, over decayed^2, overflows. Expected smaller numbers.")
    return found


def escape_time(R_0: Numbers, X_0: Numbers, k_0: Numbers) -> Numbers:
    """T_b: when beta diverges in the early phase, by the clock (1 - exp(-lambda tau))/lambda, tau if lambda = 0 [derived].

    With c = sqrt|X_0^2 - R_0^2|: (pi/2 - arctan(R_0/c))/(k_0 c) if X_0 > |R_0|; artanh(c/R_0)/(k_0 c) if R_0 >= X_0 > 0; never
    if R_0 <= -X_0. The clock stops at 1/lambda.

    Parameters
    ----------
    R_0, X_0 : float or array
        At the start, of `early_quantities`; X_0 at least 0 (0 never escapes).
    k_0 : float or array
        Of `early_rate`.

    Returns
    -------
    float or ndarray
        Above 0; inf for never.
    """
    R_0, X_0, k_0 = finite("R_0", R_0), not_negative("X_0", X_0), positive("k_0", k_0)
    together(R_0=R_0, X_0=X_0, k_0=k_0)
    R_0, X_0, k_0 = np.broadcast_arrays(R_0, X_0, k_0)
    with np.errstate(over="ignore", under="ignore"):  # later than any number is never
        square = np.abs(invariant(R_0, X_0))
        c = np.where(square > 1e-290, np.sqrt(square), np.sqrt(np.abs(R_0 - X_0)) * np.sqrt(np.abs(R_0 + X_0)))
        T_b = np.full(c.shape, np.inf)
        circular = np.abs(R_0) < X_0
        T_b[circular] = np.arctan2(c, R_0)[circular] / c[circular]  # pi/2 - arctan(R_0/c)
        equal = (R_0 == X_0) & (X_0 > 0)
        T_b[equal] = 1 / R_0[equal]
        above = (R_0 > X_0) & (X_0 > 0)
        R, X, c = R_0[above], X_0[above], c[above]
        T_b[above] = np.log1p((R - X + c) / X) / c  # artanh(c/R_0), also for c/R_0 = 1 in rounding
        return (T_b / k_0)[()]


def succeeds(R_0: Numbers, X_0: Numbers, k_0: Numbers, weight_decay: Numbers = 0.0) -> np.bool_ | np.ndarray:
    """The rule's prediction: T_b < 1/lambda; for lambda = 0, R_0 > 0 or X_0^2 > R_0^2 [derived].

    Success is correct attention, attn_+ near 1. A failing run goes to beta = 0, attn_+ = 1/2, first; later at lambda = 0 it
    may leave it with attn_+ near 0 and the readout turned around, and then classifies correctly.

    Parameters
    ----------
    R_0, X_0, k_0
        As `escape_time`.
    weight_decay : float or array
        lambda, at least 0.

    Returns
    -------
    bool or ndarray of bool
    """
    weight_decay = np.asarray(not_negative("weight_decay", weight_decay))
    with np.errstate(over="ignore"):
        horizon = np.divide(1.0, weight_decay, out=np.full(weight_decay.shape, np.inf), where=weight_decay > 0)
    T_b = escape_time(R_0, X_0, k_0)
    together(R_0=T_b, weight_decay=weight_decay)
    return T_b < horizon


def lambda_star(
    sigma_0: Numbers,
    norm_b: Numbers,
    norm_d: Numbers,
    concepts: int,
    width: int,
    m_plus: Numbers | None = None,
) -> Numbers:
    """||d|| ||b||^2 sigma_0 sqrt(m_+)/(pi K1 m): the lambda at which T_b = 1/lambda for R_0 = 0 [derived].

    Parameters
    ----------
    sigma_0, norm_b, norm_d : float or array
        Above 0.
    concepts, width : int
        K1, m.
    m_plus : int or array, optional
        m_+, m/2 if not given.

    Returns
    -------
    float or ndarray
    """
    width = integer("width", width, 1)
    sigma_0, share = positive("sigma_0", sigma_0), _active_share(width / 2 if m_plus is None else m_plus, width)
    rate = early_rate(norm_b, norm_d, concepts)
    together(sigma_0=sigma_0, m_plus=share, norms=rate)
    return 2 * rate * (sigma_0 * np.sqrt(share)) / np.pi


def failure_probability(sigma_0: Numbers, sigma_1: Numbers) -> Numbers:
    """Phi(-sigma_0/sigma_1): the chance that one concept fails at lambda = 0, over W_O at the start [derived].

    Parameters
    ----------
    sigma_0, sigma_1 : float or array
        Above 0.

    Returns
    -------
    float or ndarray
    """
    sigma_0, sigma_1 = (
        numbers(name, x, "above 0", lambda x: x > 0) for name, x in (("sigma_0", sigma_0), ("sigma_1", sigma_1))
    )
    together(sigma_0=sigma_0, sigma_1=sigma_1)
    with np.errstate(over="ignore"):
        sigmas = np.divide(sigma_0, sigma_1)
    return 0.5 * np.vectorize(math.erfc, otypes=[float])(sigmas / math.sqrt(2))[()]


@sound
def sufficient_sigma_0(sigma_1: Numbers, concepts: int, delta: float) -> Numbers:
    """sigma_1 sqrt(2 log(2 K1/delta)): at least this, no concept fails with probability 1 - delta, at lambda = 0 [derived]."""
    concepts = integer("concepts", concepts, 1)
    return positive("sigma_1", sigma_1) * math.sqrt(2 * math.log(2 * concepts / fraction("delta", delta)))


def escape_step(T_b: Numbers, weight_decay: Numbers, step_offset: Numbers) -> Numbers:
    """gamma ((1 - lambda T_b)^(-1/2) - 1): the step near which beta escapes under `step_sizes` [derived]; inf for never.

    Parameters
    ----------
    T_b : float or array
        Of `escape_time`, above 0, inf too.
    weight_decay, step_offset : float or array
        lambda, gamma; above 0.

    Returns
    -------
    float or ndarray
    """
    array = as_array(T_b, "T_b")
    if array.dtype.kind not in "fiu":
        raise InvalidType(f"T_b {given(T_b, array)}; expected numbers above 0, inf for never, as escape_time gives.")
    with np.errstate(over="ignore"):  # a long double
        T_b = array.astype(float)
    if not (T_b > 0).all():
        raise InvalidValue(
            f"T_b is {short(T_b.tolist())}; expected numbers above 0, inf for never, as escape_time gives."
        )
    weight_decay, step_offset = positive("weight_decay", weight_decay), positive("step_offset", step_offset)
    together(T_b=T_b, weight_decay=weight_decay, step_offset=step_offset)
    with np.errstate(divide="ignore", over="ignore"):
        left = 1 - weight_decay * T_b
        return (step_offset * (np.maximum(left, 0) ** -0.5 - 1))[()]


def _active_share(m_plus: Numbers, width: int) -> Any:
    """m_+/m^2."""
    width = integer("width", width, 1)
    return numbers("m_plus", m_plus, f"from 0 to m = {width}", lambda x: (x >= 0) & (x <= width)) / width**2


def _moments(length: int | None, match: str) -> tuple[float, float]:
    """E[4 attn_+ attn_-] and E[2 attn_+ - 1] at W = 0."""
    match = choice("match", match, RULES)
    if match == "balanced" and length is None:
        return 1.0, 0.0
    attn_plus, probabilities = attention_law(integer("length", length, 1), match)
    return float(probabilities @ (4 * attn_plus * (1 - attn_plus))), float(probabilities @ (2 * attn_plus - 1))
