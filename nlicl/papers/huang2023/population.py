"""The population loss and its gradient, averaged over task vectors exactly and over counts from a source.

All is [derived]; the increments alpha and beta have the form of the paper's [recalled].

| paper            | here                                                                             |
|------------------|----------------------------------------------------------------------------------|
| S = V^T Q V      | `S (K, K)`: S[k,k] = A_k, S[n,k] = B_{k,n}; row key, column query                |
| c, p             | `source`: count vectors with weights, or p itself for N infinite                 |
| Attn_m, query k  | a[:, m], over present features (c_m > 0) only                                    |
| alpha_k, beta    | `increments`: D[k,k] = alpha_k, D[n,k] = beta_{k,n}; grad_Q L = -V D V^T         |

The K queries are K independent systems, each of one column of S. Unmasked, the query token is among the keys, with label 0.
"""

import math
from collections.abc import Iterable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...core.arrays import frozen
from ...core.checks import boolean, instance, integer, numbers, real, sound
from ...core.describe import short
from ...core.errors import InvalidValue
from ...core.memory import check_memory
from ...core.seeds import Seed, checked
from .theory import check_p, check_step_size
from .trajectory import POINT, Point, Trajectory

__all__ = [
    "Source",
    "attention",
    "check_law",
    "descend",
    "enumerated",
    "gradient",
    "increments",
    "infinite",
    "loss",
    "loss_and_increments",
    "loss_k",
    "sampled",
]

MOST, LONGEST = 2_000_000, 170  # count vectors enumerated at most; 171! is no float64
_ENUMERATED, _SAMPLED, _STEP = 50, 26, 40  # bytes of a count: while all are listed, while drawn, more of it in a step


# ---- Sources of counts


class _Source(NamedTuple):
    counts: np.ndarray
    weights: np.ndarray


class Source(_Source):
    """A law of the counts (c_1, .., c_K) of features in a prompt.

    Attributes
    ----------
    counts : ndarray (M, K)
        Count vectors, not negative, none of them 0; p itself for N infinite: only their ratios matter.
    weights : ndarray (M,)
        Their probabilities, which sum to 1.

    Raises
    ------
    ValueError, TypeError
        Arrays that are none of this.
    """

    __slots__ = ()

    def __new__(cls, counts: ArrayLike, weights: ArrayLike) -> "Source":
        counts, weights = numbers("counts", counts, shape="(M, K)"), numbers("weights", weights, shape="(M,)")
        M, K = counts.shape
        if M < 1 or K < 2:
            raise InvalidValue(f"counts has shape {counts.shape}; expected (M, K), M >= 1 count vectors of K >= 2.")
        if np.any(counts < 0) or not np.all(counts.any(axis=1)):
            raise InvalidValue(
                "counts has negative entries, or a row of zeros; expected how often each feature is there."
            )
        with np.errstate(over="ignore"):
            totals, total = counts.sum(axis=1), weights.sum()
        if totals.min() < 1e-150 or totals.max() > 1e150:
            sums = f"{totals.min():g} to {totals.max():g}"
            raise InvalidValue(f"counts has rows of the sums {sums}; expected 1e-150 to 1e150. Divide each by its sum.")
        if weights.shape != (M,):
            raise InvalidValue(f"weights has shape {weights.shape}; expected ({M},), one for each row of counts.")
        if np.any(weights < 0) or abs(total - 1) > 1e-9:
            given = f"weights goes from {weights.min():g} to {weights.max():g} with the sum {total:.12g}"
            raise InvalidValue(f"{given}; expected probabilities of sum 1. Divide them by their sum.")
        return super().__new__(cls, frozen(counts), frozen(weights))

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> "Source":  # type: ignore[override]
        """What `_replace` makes one by: with the same checks."""
        return cls(*iterable)


def enumerated(p: ArrayLike, N: int) -> Source:
    """All C(N+K-1, K-1) count vectors with their multinomial probabilities.

    Parameters
    ----------
    p : array_like (K,)
        Positive probabilities of the features.
    N : int
        Length, at most 170.

    Returns
    -------
    Source

    Raises
    ------
    ValueError
        More than two million count vectors, or a longer prompt.
    """
    p, N = check_p(p), integer("N", N, 1)
    K = len(p)
    number = math.comb(N + K - 1, K - 1) if min(N, K - 1) <= LONGEST else 10**101
    if number > MOST or N > LONGEST:
        many = f"{short(number)}" if number < 10**101 else "more than 10**100"
        raise InvalidValue(
            f"N = {N} contexts of K = {K} features have {many} count vectors; expected at most {MOST}, and N at most "
            f"{LONGEST}. Use sampled(p, N, M, seed), or nlicl.papers.huang2023.reduced, which is exact at any size."
        )
    check_memory(f"N is {N} and K {K}: all {number} count vectors", _ENUMERATED * number * (K + 1), "Use sampled.")
    bars = np.array(list(combinations(range(N + K - 1), K - 1)), int).reshape(number, K - 1)
    edges = np.hstack([np.full((number, 1), -1), bars, np.full((number, 1), N + K - 1)])
    counts = np.diff(edges) - 1
    factorial = np.array([float(math.factorial(c)) for c in range(N + 1)])
    weights = factorial[N] / np.prod(factorial[counts], axis=1) * np.prod(p**counts, axis=1)
    return Source(counts.astype(float), weights)


def sampled(p: ArrayLike, N: int, M: int, seed: Seed = 0) -> Source:
    """M count vectors drawn once, each of weight 1/M: with them fixed, dynamics is deterministic (common random numbers).

    Parameters
    ----------
    p : array_like (K,)
    N, M : int
        Length of a prompt, number of prompts.
    seed : int or sequence of int

    Returns
    -------
    Source
    """
    p, N, M = check_p(p), integer("N", N, 1), integer("M", M, 1)
    check_memory(f"M is {M}: so many count vectors of {len(p)} numbers", _SAMPLED * M * len(p), "Lower it.")
    counts = np.random.default_rng(checked(seed)).multinomial(N, p / p.sum(), size=M)
    return Source(counts.astype(float), np.full(M, 1 / M))


def infinite(p: ArrayLike) -> Source:
    """N infinite: the counts are replaced by p."""
    return Source(check_p(p)[None], np.ones(1))


# ---- One query: a column of S


@np.errstate(over="ignore")  # a difference that overflows has the exponential 0
def _scores(s: np.ndarray, k: int, counts: np.ndarray, masked: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Feature scores a (M, K), that of the query token a_0 (M,), and 1 - a_k (M,) as the sum of what is not a_k."""
    if np.ptp(s) < 500:  # no exponential underflows: the largest score need not be that of a present feature
        e = counts * np.exp(s - s.max())
        e_0 = np.full(len(e), 0.0 if masked else np.exp(s[k] - s.max()))
    else:
        z = np.where(counts > 0, s, -np.inf)
        top = z.max(axis=1) if masked else np.maximum(z.max(axis=1), s[k])
        e = counts * np.exp(z - top[:, None])
        e_0 = np.zeros(len(e)) if masked else np.exp(s[k] - top)
    Z = e.sum(axis=1) + e_0
    a, a_0 = e / Z[:, None], e_0 / Z
    rest = a[:, :k].sum(axis=1) + a[:, k + 1 :].sum(axis=1) + a_0
    return a, a_0, rest


def _errors(a: np.ndarray, k: int, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """||a - e_k||^2 less its k-th term, and 1/2 ||a - e_k||^2, both (M,)."""
    squares = np.einsum("im,im->i", a[:, :k], a[:, :k]) + np.einsum("im,im->i", a[:, k + 1 :], a[:, k + 1 :])
    return squares, (rest**2 + squares) / 2


def _column(
    s: np.ndarray, k: int, source: Source, masked: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Column k of D without its factor p_k, and what it is made of."""
    a, a_0, rest = _scores(s, k, source.counts, masked)
    squares, error = _errors(a, k, rest)
    r = squares - a[:, k] * rest  # sum_m a_m^2 - a_k
    column = source.weights @ (a * (r[:, None] - a))
    column[k] = source.weights @ (a[:, k] * (squares + rest**2) + a_0 * r)
    return column, a, rest, error


# ---- All queries


def attention(S: ArrayLike, source: Source, masked: bool = True) -> np.ndarray:
    """Feature scores Attn_m given query v_k, for every count vector.

    Parameters
    ----------
    S : array_like (K, K)
        Finite.
    source : Source
    masked : bool
        Whether the query token is left out of the keys; if not, scores of a prompt sum to less than 1.

    Returns
    -------
    ndarray (M, K, K)
        Count vector, key feature m, query k.
    """
    S, masked = _checked_S(S, source), boolean("masked", masked)
    size = 16 * source.counts.size * len(S)
    check_memory(f"source has counts {source.counts.shape}: each has K^2 scores", size, "Give a part of it.")
    return np.stack([_scores(S[:, k], k, source.counts, masked)[0] for k in range(len(S))], axis=2)


def loss_k(S: ArrayLike, source: Source, masked: bool = True) -> np.ndarray:
    """L_k for every query k: the mean of 1/2 ||Attn - e_k||^2 [derived].

    Parameters
    ----------
    S, source, masked
        As in `attention`.

    Returns
    -------
    ndarray (K,)
    """
    S, masked = _checked_S(S, source), boolean("masked", masked)
    found = np.empty(len(S))
    for k in range(len(S)):
        a, _, rest = _scores(S[:, k], k, source.counts, masked)
        found[k] = source.weights @ _errors(a, k, rest)[1]
    return found


def loss(S: ArrayLike, p: ArrayLike, source: Source, masked: bool = True) -> float:
    """L = sum_k p_k L_k, the population loss (factor 1/2 [recalled])."""
    return float(check_law(p, source) @ loss_k(S, source, masked))


def increments(S: ArrayLike, p: ArrayLike, source: Source, masked: bool = True) -> np.ndarray:
    """The increments of A_k and B_{k,n} in a step of gradient descent, divided by eta [form recalled, content derived].

    Parameters
    ----------
    S : array_like (K, K)
    p : array_like (K,)
        Probabilities of the query.
    source : Source
        Of the counts.
    masked : bool
        As in `attention`.

    Returns
    -------
    ndarray (K, K)
        D[k,k] = alpha_k, D[n,k] = beta_{k,n}; columns sum to 0.
    """
    return loss_and_increments(S, p, source, masked)[1]


def loss_and_increments(S: ArrayLike, p: ArrayLike, source: Source, masked: bool = True) -> tuple[float, np.ndarray]:
    """`loss` and `increments` at the price of one.

    Parameters
    ----------
    S, p, source, masked
        As in `increments`.

    Returns
    -------
    loss : float
    D : ndarray (K, K)
    """
    S, p, masked = _checked_S(S, source), check_law(p, source), boolean("masked", masked)
    value, D = 0.0, np.empty_like(S)
    for k in range(len(S)):
        column, _, _, error = _column(S[:, k], k, source, masked)
        value += p[k] * (source.weights @ error)
        D[:, k] = p[k] * column
    return float(value), D


@sound
def gradient(Q: ArrayLike, V: ArrayLike, p: ArrayLike, source: Source, masked: bool = True) -> np.ndarray:
    """Gradient of the population loss in Q: -V D V^T, at S = V^T Q V [derived].

    Parameters
    ----------
    Q : array_like (d, d)
    V : array_like (d, K)
        Orthonormal columns v_1, .., v_K.
    p, source, masked
        As in `increments`.

    Returns
    -------
    ndarray (d, d)
    """
    Q, V = numbers("Q", Q, shape="(d, d)"), numbers("V", V, shape="(d, K)")
    if Q.shape != (len(V), len(V)):
        raise InvalidValue(f"Q has shape {Q.shape}, V {V.shape}; expected (d, d) and (d, K).")
    return -V @ increments(V.T @ Q @ V, p, source, masked) @ V.T


# ---- Gradient descent of one query, any p


def descend(
    k: int, p: ArrayLike, source: Source, *, eta: float, steps: int, eps: float | None = None, masked: bool = True
) -> Trajectory:
    """Gradient descent on column k of S from Q = 0: exactly what query v_k does while all of Q is trained.

    Parameters
    ----------
    k : int
        The query's feature, from 0; feature 0 is taken for the dominant one.
    p : array_like (K,)
    source : Source
    eta : float
        Step size, at most 6.49/max p (`theory.check_step_size`).
    steps : int
    eps : float in (0, 1), optional
        Stop as soon as the mean of (1 - Attn_k)^2 is at most eps.
    masked : bool

    Returns
    -------
    Trajectory
        B_o is the mean weight of the features other than v_k and v_1.

    Raises
    ------
    ValueError, TypeError
        Settings out of range, named.
    """
    p, masked = check_law(p, source), boolean("masked", masked)
    k, steps, K = integer("k", k, 0), integer("steps", steps, 0), len(p)
    if k >= K:
        raise InvalidValue(f"k is {k}; expected a feature from 0 to K - 1 = {K - 1}.")
    eta = check_step_size(eta, p.max())
    if eps is not None:
        eps = real("eps", eps, "between 0 and 1", lambda x: 0 < x < 1)
    else:
        check_memory(f"steps is {steps}: a trajectory holds {POINT} bytes for each", POINT * steps, "Lower it.")
    separate = k > 0 and not np.allclose(p, 1 / K)
    others = np.ones(K, bool)
    others[[0, k] if separate else [k]] = False
    if not others.any():
        raise InvalidValue("K is 2 with a dominant feature: there is no other feature. Expected K of at least 3.")
    s, points = np.zeros(K), []
    for step in range(steps + 1):
        column, a, rest, error = _column(s, k, source, masked)
        column *= p[k]
        w, nan = source.weights, np.nan
        points.append(Point(
            s[k], s[0] if separate else nan, s[others].mean(), w @ a[:, k], w @ a[:, 0] if separate else nan,
            w @ rest**2, w @ error, column[k], column[0] if separate else nan, column[others].mean(),
        ))  # fmt: skip
        if step == steps or (eps is not None and points[-1].missed <= eps):
            break
        s = s + eta * column
    kind = "under-represented" if separate else "balanced" if np.allclose(p, 1 / K) else "dominant"
    return Trajectory(kind, K, eta * np.arange(len(points)), Point(*np.array(points).T), eta)


# ---- Checks


def check_law(p: ArrayLike, source: Source) -> np.ndarray:
    """`p` as an array (K,) of probabilities, of as many features as the source has; TypeError or ValueError otherwise."""
    p, K = check_p(p), _checked_source(source).counts.shape[1]
    if len(p) != K:
        raise InvalidValue(f"p has {len(p)} features, source {K}; expected the same number.")
    return p


def _checked_source(source: Source) -> Source:
    return instance("source", source, Source, "as enumerated, sampled and infinite make it")


def _checked_S(S: ArrayLike, source: Source) -> np.ndarray:
    S, K = numbers("S", S, shape="(K, K)"), _checked_source(source).counts.shape[1]
    if S.shape != (K, K):
        raise InvalidValue(f"S has shape {S.shape}; expected ({K}, {K}), row key and column query, as source has {K}.")
    check_memory(f"source has counts {source.counts.shape}", _STEP * source.counts.size, "Give fewer of them.")
    return S
