"""A query of a canonical instance, reduced to three weights, as equally likely features keep equal ones [derived].

A query v_k is followed through them: A_k of its own feature, B_1 of the dominant feature where that is another one,
and B_o of each of the G others. With counts c_k, c_1 and R = N - c_k - c_1, everything is linear in the others' sum of c_m^2,
whose mean given R is R + R(R-1)/G. So a step costs a sum over (c_k, c_1), one term if N is infinite, a few thousand at most
however long the prompt is (see `binomial`), whatever K is.

| query              | p_k                | G     | counts averaged over                |
|--------------------|--------------------|-------|-------------------------------------|
| balanced           | 1/K                | K - 1 | c_k binomial; c_1 = 0               |
| dominant, k = 1    | p_1                | K - 1 | c_k binomial; c_1 = 0               |
| under-represented  | (1 - p_1)/(K - 1)  | K - 2 | (c_k, c_1) trinomial                |
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...core.checks import choice, integer, real
from ...core.errors import InvalidValue
from ..problem import keep
from .theory import MOST, check_length
from .trajectory import KINDS, Point

__all__ = ["LONGEST", "Query", "balanced", "binomial", "dominant", "under_represented"]

NEGLIGIBLE = 1e-20  # terms of less weight are dropped
LONGEST = 10**10  # prompts that are not infinite


def balanced(K: int, N: float = math.inf) -> "Query":
    """Any query of the balanced instance, p_k = 1/K."""
    K = _features("K", K, 2)
    return Query("balanced", K, 1 / K, 0.0, K - 1, N)


def dominant(K: int, p_1: float, N: float = math.inf) -> "Query":
    """The query v_1 of the imbalanced instance: probability p_1, the others equally likely."""
    K, p_1 = _imbalanced(K, p_1, 2)
    return Query("dominant", K, p_1, 0.0, K - 1, N)


def under_represented(K: int, p_1: float, N: float = math.inf) -> "Query":
    """A query v_k, k >= 2, of the imbalanced instance: p_k = (1 - p_1)/(K - 1)."""
    K, p_1 = _imbalanced(K, p_1, 3)
    return Query("under-represented", K, (1 - p_1) / (K - 1), p_1, K - 2, N)


@dataclass(frozen=True)
class Query:
    """A query of a canonical instance; made by `balanced`, `dominant` and `under_represented`.

    Attributes
    ----------
    kind : {"balanced", "dominant", "under-represented"}
    K : int
        Number of features, at most 10**100 (10**12 for `flow`): no cost depends on it if N is infinite.
    p_k, p_1 : float
        Probability of its feature, and of the dominant feature if that is another one (else 0).
    G : int
        Number of the other features.
    N : int or inf
        Length of a prompt, at most 10**10 if it is not inf.

    Raises
    ------
    ValueError, TypeError
        Settings out of range, named.
    """

    kind: str
    K: int
    p_k: float
    p_1: float
    G: int
    N: float = math.inf

    def __post_init__(self) -> None:
        keep(self, "kind", choice("kind", self.kind, KINDS))
        for name, least in {"K": 2, "G": 1}.items():
            keep(self, name, _features(name, getattr(self, name), least))
        keep(self, "p_k", real("p_k", self.p_k, "between 0 and 1, a probability", lambda x: 0 < x < 1))
        below = "from 0 to below 1 - p_k, a probability"
        keep(self, "p_1", real("p_1", self.p_1, below, lambda x: 0 <= x < 1 - self.p_k))
        keep(self, "N", check_length(self.N))
        if check_length(self.N) > LONGEST and not math.isinf(self.N):
            raise InvalidValue(
                f"N is {self.N}; expected at most {LONGEST}, or math.inf, from which longer prompts differ by a relative "
                "1/(N p_k)."
            )

    @property
    def largest(self) -> float:
        """max_k p_k of the instance."""
        return max(self.p_k, self.p_1)

    @cached_property
    def _terms(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Counts c_k, c_1, R as rows (3, terms), the mean of sum c_m^2 / R^2 over the others, and weights, each (terms,)."""
        if math.isinf(self.N):
            c_k, c_1, weights = (np.array([x]) for x in (self.p_k, self.p_1, 1.0))
            R = 1 - c_k - c_1
            return np.stack([c_k, c_1, R]), np.full(1, 1 / self.G), weights
        if self.p_1 == 0:
            c_k, weights = binomial(int(self.N), self.p_k)
            c_1 = np.zeros(len(c_k))
        else:
            rows = []
            for c_1, weight in zip(*binomial(int(self.N), self.p_1), strict=True):
                c_k, given = binomial(int(self.N) - int(c_1), self.p_k / (1 - self.p_1))
                rows.append(np.stack([c_k, np.full(len(c_k), c_1), weight * given]))
            c_k, c_1, weights = np.hstack(rows)
        kept = weights >= NEGLIGIBLE
        c_k, c_1, weights = c_k[kept], c_1[kept], weights[kept]
        R = self.N - c_k - c_1
        share = 1 / np.maximum(R, 1)
        return np.stack([c_k, c_1, R]), share + (1 - share) / self.G, weights / weights.sum()

    def point(self, A: float, B_1: float, B_o: float) -> Point:
        """Scores, loss and increments at given weights.

        Parameters
        ----------
        A, B_1, B_o : float
            B_1 is of no effect where there is no separate dominant feature, and may be nan there, as in a `Point`.

        Returns
        -------
        Point
        """
        counts, spread, weights = self._terms
        A, B_o = _weight("A", A), _weight("B_o", B_o)
        if self.p_1 or not (isinstance(B_1, float) and math.isnan(B_1)):
            B_1 = _weight("B_1", B_1)
        B_1 = B_1 if self.p_1 else A
        scores = np.array([A, B_1, B_o])
        scores -= scores.max()
        if scores.min() > -500:  # no exponential underflows: the largest score need not be that of a present feature
            e = counts * np.exp(scores)[:, None]
        else:
            z = np.where(counts > 0, scores[:, None], -np.inf)
            e = counts * np.exp(z - z.max(axis=0))
        a_k, a_1, a_o = e / e.sum(axis=0)  # a_o of all others together
        rest = a_1 + a_o  # 1 - a_k
        others = a_o**2 * spread
        squares = a_1**2 + others
        r = squares - a_k * rest
        alpha = self.p_k * (weights @ (a_k * (squares + rest**2)))
        # a_1 (r - a_1), where a_1 may be close to 1
        beta_1 = self.p_k * (weights @ (a_1 * (others - a_k * rest - a_1 * (a_k + a_o))))
        beta_o = self.p_k * (weights @ (a_o * r - others)) / self.G
        Attn_1 = weights @ a_1
        if self.p_1 == 0:
            B_1 = Attn_1 = beta_1 = np.nan
        missed, error = weights @ rest**2, weights @ (rest**2 + squares) / 2
        return Point(*map(float, (A, B_1, B_o, weights @ a_k, Attn_1, missed, error, alpha, beta_1, beta_o)))


# ---- Counts


def binomial(N: int, p: float) -> tuple[np.ndarray, np.ndarray]:
    """Values of a binomial count and their weights in a mean: those that matter, and of many of them only every s-th.

    They are ratios outward from the mode. By Bernstein's inequality the probability to be further from the mean than
    10 sigma + 31 is below 1e-20. A mean over every s-th value differs from the whole one by the characteristic function at
    the multiples of 2 pi/s, which is below exp(-8 (sigma/s)^2) there; with s <= sigma/4 that is e^-128: nothing.
    """
    N, p = integer("N", N, 0, LONGEST), real("p", p, "between 0 and 1, a probability", lambda x: 0 < x < 1)
    if N == 0:
        return np.zeros(1), np.ones(1)
    mode, sigma = min(int((N + 1) * p), N), math.sqrt(N * p * (1 - p))
    reach, stride = int(10 * sigma) + 33, max(1, int(sigma / 4))
    low = max(mode - reach, 0)
    c, m = np.arange(low, min(mode + reach, N) + 1.0), mode - low
    odds = p / (1 - p)
    up = np.cumprod((N - c[m:-1]) / c[m + 1 :] * odds)
    down = np.cumprod((c[m:0:-1] / (N - c[m:0:-1] + 1)) / odds)
    weights = np.concatenate([down[::-1], [1.0], up])
    c, weights = c[m % stride :: stride], weights[m % stride :: stride]
    weights /= weights.sum()
    kept = weights >= NEGLIGIBLE
    return c[kept], weights[kept]


# ---- Checks


def _weight(name: str, value: float) -> float:
    """A bilinear weight: a number whose differences are finite."""
    return real(name, value, "from -1e300 to 1e300", lambda x: abs(x) <= 1e300)


def _imbalanced(K: int, p_1: float, least: int) -> tuple[int, float]:
    return _features("K", K, least), real("p_1", p_1, "between 0 and 1, a probability", lambda x: 0 < x < 1)


def _features(name: str, value: int, least: int) -> int:
    value = integer(name, value, least, most=None)
    if value > MOST:
        raise InvalidValue(
            f"{name} is above 2**{value.bit_length() - 1}; expected at most 10**100: the weights' increments, of order "
            "K^-3, are no doubles beyond it. Lower K."
        )
    return value
