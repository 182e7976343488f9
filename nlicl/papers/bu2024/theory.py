"""Norms, schedules, laws of the match rules, and the theory of the early phase for Bu et al. 2024, each with its mark.

[recalled] is from memory of the paper, [derived] is ours, checked numerically; neither is a quotation. The early phase is for
balanced, noise-free, one-concept prompts and small norms: attention and scores are linear in what is trained. There, with
tau = sum eta, ||b|| = norm_b, ||d|| = norm_d and K1 = concepts,

    k_0 = ||d|| ||b||^2/(2 K1)        R = sum_i r_i 1[o_c,i > 0] o_d,i        X = sqrt(m_+) beta/m,  beta^2 = beta_Q beta_K
    dbeta/dtau = (k_0 R - lambda) beta                    dR/dtau = k_0 X^2 - lambda R

with o_c = W_O c/||c||, o_d = W_O d/||d||. Numbers may be arrays, which broadcast: one entry a run.
"""

import math
from typing import NamedTuple

import numpy as np

from ...core.checks import integer, real
from ...core.errors import InvalidType, InvalidValue
from .closed import sigmoid

__all__ = [
    "RULES",
    "Early",
    "Norms",
    "attention_law",
    "check_numbers",
    "decay",
    "early_flow",
    "early_quantities",
    "early_rate",
    "early_source",
    "escape_step",
    "escape_time",
    "failure_probability",
    "floor_error",
    "initial_attention",
    "invariant",
    "lambda_star",
    "match_law",
    "needed_step_offset",
    "norms",
    "step_sizes",
    "succeeds",
    "sufficient_sigma_0",
]

RULES = ("at-least-one", "balanced", "iid", "conditioned")
"""What decides n_+, the number of demonstrations that have the query's sign: see `match_law`."""
_SATURATED = 1e300  # a product beyond which attention does not change any more


# ---- Geometry and schedule


class Norms(NamedTuple):
    """||a||, ||b||, ||c||, ||d||, where mu^+- = a +- b and q^+- = c +- d."""

    a: float
    b: float
    c: float
    d: float


def norms(norm_x, norm_y, kappa_x, kappa_y):
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
    lengths = (_positive("norm_x", norm_x), _positive("norm_y", norm_y))
    cosines = (_fraction("kappa_x", kappa_x), _fraction("kappa_y", kappa_y))
    return Norms(
        *(
            length * np.sqrt((1 + sign * cosine) / 2)
            for length, cosine in zip(lengths, cosines, strict=True)
            for sign in (1, -1)
        )
    )


def step_sizes(steps, weight_decay, step_offset):
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
    weight_decay, step_offset = _positive("weight_decay", weight_decay), _positive("step_offset", step_offset)
    return 2 / np.multiply.outer(step_offset + np.arange(steps), weight_decay)


def decay(steps, step_offset):
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
    T = check_numbers("steps", steps, "of at least 0", lambda x: x >= 0)
    gamma = check_numbers("step_offset", step_offset, "above 2: below it a step overshoots 0", lambda x: x > 2)
    return (gamma - 1) / (gamma + T - 1) * ((gamma - 2) / (gamma + T - 2))


def needed_step_offset(norm_c, weight_decay, width, sigma_1):
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
    lengths = _positive("norm_c", norm_c) / _positive("sigma_1", sigma_1)
    return lengths / (_positive("weight_decay", weight_decay) * integer("width", width, 1))


# ---- Match rules


def match_law(length, match):
    """P(n_+ = j), j = 0 .. L, of the number of demonstrations with the query's sign [derived].

    Parameters
    ----------
    length : int
        L, at least 1.
    match : {"at-least-one", "balanced", "iid", "conditioned"}
        "iid": independent fair signs. "at-least-one": the same, and if none matches, one of them drawn uniformly is turned:
        P(n_+ = 1) = (L+1)/2^L. "conditioned": independent signs given that one matches. "balanced": n_+ = L/2, L even.

    Returns
    -------
    ndarray (L+1,)
    """
    L = integer("length", length, 1)
    if match == "balanced":
        if L % 2:
            raise InvalidValue(
                f"length is {L} with match 'balanced'; expected an even number: half of the signs are +1."
            )
        return (np.arange(L + 1) == L // 2).astype(float)
    law = np.array([math.comb(L, j) / 2**L for j in range(L + 1)])
    if match == "at-least-one":
        law[1] += law[0]
        law[0] = 0
    elif match == "conditioned":
        law[0] = 0
        law /= law.sum()
    elif match != "iid":
        raise InvalidValue(f"match is {match!r}; expected one of {', '.join(map(repr, RULES))}.")
    return law


def attention_law(length, match, product=0.0):
    """attn_+ for n_+ = 0 .. L and its law: n_+/(n_+ + n_- exp(-2 product)) [derived].

    Parameters
    ----------
    length, match
        As `match_law`.
    product : float
        b^T W b, which is beta_Q beta_K ||b||^2, if a^T W b and b^T W a are 0.

    Returns
    -------
    attn_plus, probabilities : ndarray (L+1,)
    """
    probabilities = match_law(length, match)
    product = real("product", product, "b^T W b", lambda x: True)
    with np.errstate(divide="ignore"):
        log_n = np.log(np.arange(len(probabilities)))
    gap = 2 * min(max(product, -_SATURATED), _SATURATED)  # finite: with n_+ = 0 or L the log-odds are infinite
    return sigmoid(log_n - log_n[::-1] + gap), probabilities


def initial_attention(length, match, product):
    """E[attn_+] for product = b^T W b, which is sigma_0^2 ||b||^2 at the start [derived]; arguments as `attention_law`."""
    attn_plus, probabilities = attention_law(length, match, product)
    return float(probabilities @ attn_plus)


def floor_error(length):
    """2^-L: the least 0-1 error of any parameters with independent signs, one concept, no noise [derived].

    With all signs equal the score is the same for both signs of the query.
    """
    return 0.5 ** integer("length", length, 1)


# ---- Early phase


class Early(NamedTuple):
    """R, m_+ and X of the early phase: numbers, or arrays (...)."""

    R: np.ndarray
    m_plus: np.ndarray
    X: np.ndarray


def early_quantities(r, o_c, o_d, beta):
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
    r, o_c, o_d = map(np.atleast_1d, (_finite("r", r), _finite("o_c", o_c), _finite("o_d", o_d)))
    if len({x.shape[-1] for x in (r, o_c, o_d)}) > 1:
        raise InvalidValue(
            f"r, o_c and o_d have shapes {r.shape}, {o_c.shape} and {o_d.shape}; expected (..., m), one m for all."
        )
    beta = _finite("beta", beta)
    active = o_c > 0
    zeta = r * active
    return Early(np.vecdot(zeta, o_d), np.sum(active, axis=-1), beta * np.sqrt(np.vecdot(zeta, zeta)))


def early_rate(norm_b, norm_d, concepts, length=None, match="balanced"):
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
    rate = _positive("norm_d", norm_d) * _positive("norm_b", norm_b) ** 2 / (2 * integer("concepts", concepts, 1))
    return rate * _moments(length, match)[0]


def early_source(m_plus, width, norm_d, concepts, length, match):
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
    share = _active_share(m_plus, width) * _positive("norm_d", norm_d) / (2 * integer("concepts", concepts, 1))
    return share * _moments(length, match)[1]


def early_flow(R, X, etas, k_0, weight_decay=0.0, source=0.0):
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
    R, X, source = (_finite(name, x) for name, x in (("R", R), ("X", X), ("source", source)))
    etas, k_0 = np.asarray(_positive("etas", etas)), _positive("k_0", k_0)
    if etas.ndim == 0:
        raise InvalidValue(
            f"etas is {etas}; expected one step size a step, (T,). For constant ones: numpy.full(T, {etas})."
        )
    lam = _weight_decay(weight_decay)
    shape = np.broadcast_shapes(*map(np.shape, (R, X, k_0, lam, source)), etas.shape[1:])
    path = np.empty((2, len(etas) + 1, *shape))
    path[0, 0], path[1, 0] = R, X
    with np.errstate(over="ignore", invalid="ignore"):
        for t, eta in enumerate(etas):
            R, X = path[:, t]
            path[0, t + 1] = R + eta * (k_0 * X**2 - lam * R + source)
            path[1, t + 1] = X + eta * (k_0 * R - lam) * X
    path[np.isnan(path)] = np.inf
    return path[0], path[1]


def invariant(R, X, decayed=1.0):
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
    R, X = _finite("R", R), _finite("X", X)
    return (R - X) * (R + X) / _positive("decayed", decayed) ** 2


def escape_time(R_0, X_0, k_0):
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
    R_0, X_0 = _finite("R_0", R_0), check_numbers("X_0", X_0, "of at least 0", lambda x: x >= 0)
    R_0, X_0, k_0 = np.broadcast_arrays(R_0, X_0, _positive("k_0", k_0))
    c = np.sqrt(np.abs(invariant(R_0, X_0)))
    T_b = np.full(c.shape, np.inf)
    circular = np.abs(R_0) < X_0
    T_b[circular] = np.arctan2(c, R_0)[circular] / c[circular]  # pi/2 - arctan(R_0/c)
    equal = (R_0 == X_0) & (X_0 > 0)
    T_b[equal] = 1 / R_0[equal]
    above = (R_0 > X_0) & (X_0 > 0)
    R, X, c = R_0[above], X_0[above], c[above]
    T_b[above] = np.log1p((R - X + c) / X) / c  # artanh(c/R_0), also for c/R_0 = 1 in rounding
    return (T_b / k_0)[()]


def succeeds(R_0, X_0, k_0, weight_decay=0.0):
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
    weight_decay = np.asarray(_weight_decay(weight_decay))
    horizon = np.divide(1.0, weight_decay, out=np.full(weight_decay.shape, np.inf), where=weight_decay > 0)
    return escape_time(R_0, X_0, k_0) < horizon


def lambda_star(sigma_0, norm_b, norm_d, concepts, width, m_plus=None):
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
    X_0 = _positive("sigma_0", sigma_0) * np.sqrt(_active_share(width / 2 if m_plus is None else m_plus, width))
    return 2 * early_rate(norm_b, norm_d, concepts) * X_0 / np.pi


def failure_probability(sigma_0, sigma_1):
    """Phi(-sigma_0/sigma_1): the chance that one concept fails at lambda = 0, over W_O at the start [derived].

    Parameters
    ----------
    sigma_0, sigma_1 : float or array
        Above 0.

    Returns
    -------
    float or ndarray
    """
    with np.errstate(over="ignore"):
        sigmas = np.divide(_positive("sigma_0", sigma_0), _positive("sigma_1", sigma_1))
    return 0.5 * np.vectorize(math.erfc, otypes=[float])(sigmas / math.sqrt(2))[()]


def sufficient_sigma_0(sigma_1, concepts, delta):
    """sigma_1 sqrt(2 log(2 K1/delta)): at least this, no concept fails with probability 1 - delta, at lambda = 0 [derived]."""
    concepts = integer("concepts", concepts, 1)
    return _positive("sigma_1", sigma_1) * math.sqrt(2 * math.log(2 * concepts / _fraction("delta", delta)))


def escape_step(T_b, weight_decay, step_offset):
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
    T_b = np.asarray(T_b, float)
    if not (T_b > 0).all():
        raise InvalidValue(f"T_b is {T_b}; expected numbers above 0, inf for never, as escape_time gives.")
    left = 1 - _positive("weight_decay", weight_decay) * T_b
    with np.errstate(divide="ignore"):
        return (_positive("step_offset", step_offset) * (np.maximum(left, 0) ** -0.5 - 1))[()]


# ---- Checks and parts


def check_numbers(name, value, condition, holds):
    """`value`, a number or an array of them, as float64, finite and with `holds(value)`, which `condition` says in words.

    Raises
    ------
    TypeError
        Not numbers.
    ValueError
        An entry is not finite or not as `condition` says; it is named.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise InvalidType(f"{name} is {value!r}; expected finite numbers{condition and ' '}{condition}.")
    array = array.astype(float)
    wrong = ~(np.isfinite(array) & holds(array))
    if wrong.any():
        index = tuple(map(int, np.argwhere(wrong)[0]))
        where = f"{name}{list(index)}" if index else name
        raise InvalidValue(f"{where} is {array[index]:g}; expected a finite number{condition and ' '}{condition}.")
    return array[()]


def _finite(name, value):
    return check_numbers(name, value, "", lambda x: True)


def _positive(name, value):
    return check_numbers(name, value, "above 0", lambda x: x > 0)


def _weight_decay(value):
    return check_numbers("weight_decay", value, "of at least 0", lambda x: x >= 0)


def _fraction(name, value):
    return real(name, value, "between 0 and 1", lambda x: 0 < x < 1)


def _active_share(m_plus, width):
    """m_+/m^2."""
    width = integer("width", width, 1)
    return check_numbers("m_plus", m_plus, f"from 0 to m = {width}", lambda x: (x >= 0) & (x <= width)) / width**2


def _moments(length, match):
    """E[4 attn_+ attn_-] and E[2 attn_+ - 1] at W = 0."""
    if match == "balanced" and length is None:
        return 1.0, 0.0
    attn_plus, probabilities = attention_law(length, match)
    return float(probabilities @ (4 * attn_plus * (1 - attn_plus))), float(probabilities @ (2 * attn_plus - 1))
