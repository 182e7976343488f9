"""Exact reductions of the population dynamics from Q = 0, where equally likely features keep equal weights [derived].

A query v_k is followed through three weights: A_k of its own feature, B_1 of the dominant feature where that is another one,
and B_o of each of the G others. With counts c_k, c_1 and R = N - c_k - c_1, everything is linear in the others' sum of c_m^2,
whose mean given R is R + R(R-1)/G. So a step costs a sum over (c_k, c_1), one term if N is infinite, a few thousand at most
however long the prompt is (see `_binomial`), whatever K is.

| query              | p_k                | G     | counts averaged over                |
|--------------------|--------------------|-------|-------------------------------------|
| balanced           | 1/K                | K - 1 | c_k binomial; c_1 = 0               |
| dominant, k = 1    | p_1                | K - 1 | c_k binomial; c_1 = 0               |
| under-represented  | (1 - p_1)/(K - 1)  | K - 2 | (c_k, c_1) trinomial                |

The zero sum A_k + B_1 + G B_o = 0 is not used: all three are integrated, so that it can be tested.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...core.checks import integer, real
from ...core.errors import InvalidType, InvalidValue
from .theory import check_length, check_step_size, missing_probability, step_size, under_represented_bound
from .trajectory import KINDS, Point, Trajectory

__all__ = ["Query", "balanced", "descend", "dominant", "floor", "flow", "under_represented"]

NEGLIGIBLE = 1e-20  # terms of less weight are dropped
LONGEST = 10**10  # prompts that are not infinite
MOST = 10**100  # features: increments of order K^-3 are then still ordinary doubles
MOST_OF_FLOW = 10**12  # features: the last phase of a flow is a share of about 1/K of its time, a double has 16 digits
LEAST = {
    "finite": 1e-16,
    "infinite": 1e-100,
}  # eps of a flow, by N: far above NEGLIGIBLE; checked against the exact law
ATTAINED = 1.02  # eps over the infimum of missed, at least: a flow ends 1% below eps


# ---- Queries


def balanced(K, N=math.inf):
    """Any query of the balanced instance, p_k = 1/K."""
    K = _features("K", K, 2)
    return Query("balanced", K, 1 / K, 0.0, K - 1, N)


def dominant(K, p_1, N=math.inf):
    """The query v_1 of the imbalanced instance: probability p_1, the others equally likely."""
    K, p_1 = _imbalanced(K, p_1, 2)
    return Query("dominant", K, p_1, 0.0, K - 1, N)


def under_represented(K, p_1, N=math.inf):
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

    def __post_init__(self):
        if self.kind not in KINDS:
            raise InvalidValue(f"kind is {self.kind!r}; expected one of {', '.join(map(repr, KINDS))}.")
        for name, least in {"K": 2, "G": 1}.items():
            _features(name, getattr(self, name), least)
        real("p_k", self.p_k, "between 0 and 1, a probability", lambda x: 0 < x < 1)
        real("p_1", self.p_1, "from 0 to below 1 - p_k, a probability", lambda x: 0 <= x < 1 - self.p_k)
        if check_length(self.N) > LONGEST and not math.isinf(self.N):
            raise InvalidValue(
                f"N is {self.N}; expected at most {LONGEST}, or math.inf, from which longer prompts differ by a relative "
                "1/(N p_k)."
            )

    @property
    def largest(self):
        """max_k p_k of the instance."""
        return max(self.p_k, self.p_1)

    @cached_property
    def _terms(self):
        """Counts c_k, c_1, R as rows (3, terms), the mean of sum c_m^2 / R^2 over the others, and weights, each (terms,)."""
        if math.isinf(self.N):
            c_k, c_1, weights = (np.array([x]) for x in (self.p_k, self.p_1, 1.0))
            R = 1 - c_k - c_1
            return np.stack([c_k, c_1, R]), np.full(1, 1 / self.G), weights
        if self.p_1 == 0:
            c_k, weights = _binomial(self.N, self.p_k)
            c_1 = np.zeros(len(c_k))
        else:
            rows = []
            for c_1, weight in zip(*_binomial(self.N, self.p_1), strict=True):
                c_k, given = _binomial(self.N - int(c_1), self.p_k / (1 - self.p_1))
                rows.append(np.stack([c_k, np.full(len(c_k), c_1), weight * given]))
            c_k, c_1, weights = np.hstack(rows)
        kept = weights >= NEGLIGIBLE
        c_k, c_1, weights = c_k[kept], c_1[kept], weights[kept]
        R = self.N - c_k - c_1
        share = 1 / np.maximum(R, 1)
        return np.stack([c_k, c_1, R]), share + (1 - share) / self.G, weights / weights.sum()

    def point(self, A, B_1, B_o):
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
        scores = np.array([A, B_1 if self.p_1 else A, B_o], float)
        if not np.isfinite(scores).all():
            raise InvalidValue(f"(A, B_1, B_o) is {(A, B_1, B_o)}; expected finite numbers.")
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


# ---- Dynamics


def descend(query, *, eta=None, steps, eps=None):
    """Gradient descent from Q = 0.

    Parameters
    ----------
    query : Query
    eta : float, optional
        Step size, 3.24/max p if not given, at most 6.49/max p (`theory.check_step_size`).
    steps : int
        Steps at most.
    eps : float in (0, 1), optional
        Stop as soon as the mean of (1 - Attn_k)^2 is at most eps.

    Returns
    -------
    Trajectory
        Every step; `.reached` is False if the steps ran out before eps. How many it takes to come to eps, about:
        `flow(query, eps=eps).tau[-1] / eta`.

    Raises
    ------
    ValueError, TypeError
        Settings out of range, named.
    """
    _check_query(query)
    eta = check_step_size(step_size(query.largest) if eta is None else eta, query.largest)
    steps = integer("steps", steps, 0)
    if eps is not None:
        _check_eps(eps)
    points = []
    A = B_1 = B_o = 0.0
    for step in range(steps + 1):
        point = query.point(A, B_1, B_o)
        points.append(point)
        reached = None if eps is None else point.missed <= eps
        if step == steps or reached:
            break
        A, B_o = A + eta * point.alpha, B_o + eta * point.beta_o
        if query.p_1:
            B_1 += eta * point.beta_1
    return Trajectory(
        query.kind, query.K, eta * np.arange(len(points)), Point(*np.array(points).T), eta, reached=reached
    )


def flow(query, *, eps=0.01, end=None):
    """Gradient flow from Q = 0 until the mean of (1 - Attn_k)^2 is below eps, by one percent of it.

    Runge-Kutta of order 8 (scipy's DOP853), relative tolerance 1e-12; a few hundred steps at any K it takes. Where it starts
    within eps, the start is all there is.

    K is at most 10**12. The last phase takes a share of about 1/K of the time before it, and tau is a double: at K = 10**12
    the length of phase IV (II if balanced) is right to 1e-3 for eps up to 0.1, at 10**10 to 1e-5 [derived]. `descend` has no
    such limit.

    Parameters
    ----------
    query : Query
    eps : float in (0, 1)
        At least 1e-100, or 1e-16 with N finite, where counts of probability below 1e-20 are left out. With N finite the mean
        of (1 - Attn_k)^2 stays above (1 - p_k)^N, the chance of a prompt without v_k: unless `end` is given, eps is at least
        1.02 times that.
    end : float, optional
        Flow time to stop at in any case; if not given, 100 times the recalled bound, and longer for p_k below 1/K. With N
        finite a late `end` takes long.

    Returns
    -------
    Trajectory
        At the integrator's own steps; `.at(tau)` anywhere up to its end; `.reached` is False if `end` came before eps.

    Raises
    ------
    ValueError, TypeError
        Settings out of range, named; eps that is never reached.
    ArithmeticError
        The integrator failed.
    """
    from scipy.integrate import solve_ivp

    _check_query(query)
    _check_eps(eps)
    _check_flow(query, eps, end)
    if end is None:
        end = 100 * under_represented_bound(query.K, eps) / min(1, query.K * query.p_k) ** 2
    else:
        end = real("end", end, "above 0", lambda x: x > 0)
    start = query.point(0.0, 0.0, 0.0)
    if start.missed <= eps:
        return Trajectory(
            query.kind, query.K, np.zeros(1), Point(*np.array([start]).T), interpolant=lambda tau: start, reached=True
        )

    def speed(tau, weights):
        point = query.point(*weights)
        return point.alpha, point.beta_1 if query.p_1 else 0.0, point.beta_o

    def converged(tau, weights):
        return query.point(*weights).missed / (0.99 * eps) - 1  # eps itself is then reached between two points

    converged.terminal = True
    # B_o is smaller than the others by a factor of G, and so is what may be wrong with it
    tolerance = 1e-13 * np.array([1, 1, 1 / query.G])
    found = solve_ivp(
        speed, (0, end), np.zeros(3), "DOP853", dense_output=True, events=converged, rtol=1e-12, atol=tolerance
    )
    if found.status < 0:
        raise ArithmeticError(
            f"the integrator gave up at tau = {found.t[-1]:.6g}, before eps = {eps:g} and end = {end:.6g}: "
            f"{found.message} The flow of {query} cannot be followed in doubles. Lower K, or raise eps."
        )
    return Trajectory(
        query.kind,
        query.K,
        found.t,
        Point(*np.array([query.point(*weights) for weights in found.y.T]).T),
        interpolant=lambda tau: query.point(*found.sol(tau)),
        reached=found.status == 1,
    )


def floor(query):
    """The infimum L_k^* of L_k, over weights that keep equally likely features equal; it is not attained [derived].

    As A_k -> infinity only prompts without v_k have an error; of its mean the smallest over B_{k,1} - B_o is left.

    Parameters
    ----------
    query : Query

    Returns
    -------
    float
        Within `theory.floor_bounds`; 0 for N infinite.
    """
    _check_query(query)
    N = query.N
    if math.isinf(N):
        return 0.0
    c_1, weights = _binomial(N, query.p_1 / (1 - query.p_k)) if query.p_1 else (np.zeros(1), np.ones(1))
    R = N - c_1
    share = 1 / np.maximum(R, 1)
    spread = share + (1 - share) / query.G

    def error(gap):
        a_1 = c_1 / (c_1 + R * np.exp(gap))  # gap = B_o - B_1
        return float(weights @ (1 + a_1**2 + (1 - a_1) ** 2 * spread)) / 2

    smallest = error(0.0)
    if query.p_1:
        from scipy.optimize import minimize_scalar

        smallest = minimize_scalar(error, bounds=(-30, 30), method="bounded", options={"xatol": 1e-9}).fun
    return missing_probability(query.p_k, N) * smallest


# ---- Counts


def _binomial(N, p):
    """Values of a binomial count and their weights in a mean: those that matter, and of many of them only every s-th.

    They are ratios outward from the mode. By Bernstein's inequality the probability to be further from the mean than
    10 sigma + 31 is below 1e-20. A mean over every s-th value differs from the whole one by the characteristic function at
    the multiples of 2 pi/s, which is below exp(-8 (sigma/s)^2) there; with s <= sigma/4 that is e^-128: nothing.
    """
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


def _imbalanced(K, p_1, least):
    return _features("K", K, least), real("p_1", p_1, "between 0 and 1, a probability", lambda x: 0 < x < 1)


def _features(name, value, least):
    value = integer(name, value, least)
    if value > MOST:
        raise InvalidValue(
            f"{name} is above 2**{value.bit_length() - 1}; expected at most 10**100: the weights' increments, of order "
            "K^-3, are no doubles beyond it. Lower K."
        )
    return value


def _check_query(query):
    if not isinstance(query, Query):
        raise InvalidType(
            f"query is a {type(query).__name__}; expected a Query, as balanced, dominant and under_represented make it."
        )


def _check_eps(eps):
    real("eps", eps, "between 0 and 1", lambda x: 0 < x < 1)


def _check_flow(query, eps, end):
    """ValueError for a flow that doubles cannot follow, or that has no end."""
    if query.K > MOST_OF_FLOW:
        raise InvalidValue(
            f"K is {query.K:.6g}; expected at most 10**12 for a flow: its last phase is a share of about 1/K of its time, "
            "which a double does not resolve beyond that. Lower K, or see the laws of `theory` (leading_times)."
        )
    length = "infinite" if math.isinf(query.N) else "finite"
    if eps < LEAST[length]:
        raise InvalidValue(
            f"eps is {eps:g}; expected at least {LEAST[length]:g} for a flow with N {length}: doubles do not resolve a "
            "smaller mean of (1 - Attn_k)^2 here. Raise eps."
        )
    missing = missing_probability(query.p_k, query.N)
    if end is None and eps < ATTAINED * missing:
        raise InvalidValue(
            f"eps is {eps:g}: a prompt lacks the query's feature with probability (1-p_k)^N = {missing:.3g}, and the mean of "
            f"(1 - Attn_k)^2 stays above that; expected eps of at least {ATTAINED} (1-p_k)^N = {ATTAINED * missing:.3g}. "
            "Raise eps, raise N, or give end, the flow time to stop at."
        )
