"""The closed two-parameter system: the population loss on the family W = diag(xi1 I, 0, -xi2), and its dynamics.

All is [derived], but for the family itself and the loss [paper]. Labels are averaged exactly; of the inputs only the N cosines
t_j = <x_j, x_0> with the query matter, and they come from a `Source`: a quadrature, a sample, or cosines of the reader's own.

| paper                      | here                                                                              |
|----------------------------|-----------------------------------------------------------------------------------|
| i*, t_{i*}                 | context 0 of a `Source`: the largest cosine stands first                          |
| q_j, q_0                   | attention on context j, and on the query, whose label code is 0                   |
| kappa = (K-1)/K            | `kappa`; 1 for binary labels +-1                                                  |
| partial_1, partial_2       | dL/dxi1 and dL/dxi2. dL/dW_11 is (partial_1/d) I: hence 1/d in a step of xi1      |
| tau = eta kappa t          | the flow's time: the number of classes and the step size only rescale time        |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...core.arrays import frozen
from ...core.checks import instance, integer, numbers, real, sound
from ...core.errors import InvalidValue
from ...core.memory import check_memory
from ...core.seeds import Seed, checked

__all__ = ["LONGEST", "Moments", "Source", "Trajectory", "accuracy", "descend", "exact", "flow", "moments", "sampled"]

LONGEST = 4
"""N of a quadrature at most: it has points^N nodes."""

POINTS = {1: 64, 2: 64, 3: 48, 4: 32}  # Gauss points a dimension, by N: xi up to 5 is exact to 1e-14
BLOCK = 2048  # prompts at once: what they need stays in the cache


# ---- Sources of cosines


@dataclass(frozen=True, eq=False)
class Source:
    """A law of the cosines of contexts and query.

    Attributes
    ----------
    cosines : ndarray (M, N)
        Between -1 and 1; given in any order, kept with the largest of each row first. The first of equal ones is taken.
    weights : ndarray (M,)
        Their probabilities, which sum to 1.
    d : int
        Dimension of the inputs, at least 2: it divides the steps of xi1.

    Raises
    ------
    TypeError, ValueError
        Arrays that are none of this.
    """

    cosines: NDArray[np.float64]
    weights: NDArray[np.float64]
    d: int

    def __post_init__(self) -> None:
        cosines = numbers("cosines", self.cosines, "between -1 and 1", lambda t: abs(t) <= 1, shape="(M, N)")
        weights = numbers("weights", self.weights, "at least 0", lambda w: w >= 0, shape="(M,)")
        if not cosines.size or weights.shape != cosines.shape[:1]:
            raise InvalidValue(
                f"cosines has shape {cosines.shape}, weights {weights.shape}; expected (M, N) and (M,), M and N at least 1."
            )
        if abs(weights.sum() - 1) > 1e-9:
            raise InvalidValue(f"weights sums to {weights.sum():.12g}; expected 1. Divide it by its sum.")
        rows, nearest = np.arange(len(cosines)), cosines.argmax(axis=1)
        cosines[rows, nearest], cosines[:, 0] = cosines[:, 0].copy(), cosines[rows, nearest]
        object.__setattr__(self, "cosines", frozen(cosines))
        object.__setattr__(self, "weights", frozen(weights))
        object.__setattr__(self, "d", integer("d", self.d, 2))

    @cached_property
    def _blocks(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
        """For some prompts at a time: 1 - t_{i*} (m,), t_{i*} - t_j of the other contexts (N-1, m), weights (m,)."""
        t = self.cosines.T
        parts = [slice(i, i + BLOCK) for i in range(0, t.shape[1], BLOCK)]
        return [(1 - t[0, p], np.ascontiguousarray(t[0, p] - t[1:, p]), self.weights[p]) for p in parts]

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` make it from: checked arrays, as anybody's."""
        return type(self), (self.cosines, self.weights, self.d)

    def __repr__(self) -> str:
        M, N = self.cosines.shape
        return f"Source(N={N}, d={self.d}, {M} rows of cosines)"


def exact(N: int, d: int, points: int | None = None) -> Source:
    """The law of N cosines by Gauss-Legendre quadrature over the region where the first is the largest.

    Exact to 1e-14 for xi1, xi2 up to 5. For larger ones `points` must grow like xi1.

    Parameters
    ----------
    N : int
        Contexts, at most 4.
    d : int
        Dimension, odd, from 3 to 99: the density is then a polynomial.
    points : int, optional
        Gauss points a dimension, at least 2; 64, 64, 48, 32 for N = 1, 2, 3, 4 if not given.

    Returns
    -------
    Source
        With points^N rows.

    Raises
    ------
    TypeError, ValueError
        Another N; an even d; so many points that they do not fit into memory.
    """
    N, d = integer("N", N, 1), integer("d", d, 3, 99)
    if N > LONGEST:
        raise InvalidValue(f"N is {N}; expected at most {LONGEST} for a quadrature. Use sampled(N, d, M, seed).")
    if d % 2 == 0:
        raise InvalidValue(
            f"d is {d}; expected an odd number for a quadrature: the density of a cosine has square roots otherwise. Use "
            "sampled(N, d, M, seed)."
        )
    points = POINTS[N] if points is None else integer("points", points, 2)
    check_memory(f"points is {points}: the quadrature has points^N nodes", 80 * N * points**N, "Lower it.")
    nodes, weights = np.polynomial.legendre.leggauss(points)
    axes = np.meshgrid(*[nodes] * N, indexing="ij")
    t = np.stack([axis.ravel() for axis in axes], axis=1)
    mass = np.prod(np.stack(np.meshgrid(*[weights] * N, indexing="ij")), axis=0).ravel()
    half = (1 + t[:, 0]) / 2
    t[:, 1:] = -1 + half[:, None] * (1 + t[:, 1:])  # from -1 to t_1
    mass = mass * half ** (N - 1) * np.prod((1 - t**2) ** ((d - 3) // 2), axis=1)
    return Source(np.clip(t, -1, 1), mass / mass.sum(), d)


def sampled(N: int, d: int, M: int, seed: Seed = 0) -> Source:
    """M rows of N cosines drawn once, each of weight 1/M: with them fixed, the dynamics is deterministic.

    (1 + t)/2 is distributed as Beta((d-1)/2, (d-1)/2). The largest gap that was drawn bounds xi2/xi1 later on: times and
    losses of long runs shift by a few per cent, the ratio is wrong.

    Parameters
    ----------
    N, d, M : int
        Contexts, dimension, prompts.
    seed : int or sequence of int

    Returns
    -------
    Source
    """
    N, d, M = integer("N", N, 1), integer("d", d, 2), integer("M", M, 1)
    check_memory(f"M is {M}: so many rows of {N} cosines", 40 * M * N, "Lower it.")
    half = (d - 1) / 2
    t = 2 * np.random.default_rng(checked(seed)).beta(half, half, (M, N)) - 1
    return Source(t, np.full(M, 1 / M), d)


# ---- Loss and derivatives


class Moments(NamedTuple):
    """The loss at (xi1, xi2), and what goes with it.

    Attributes
    ----------
    loss : float
        kappa/2 E[ sum_{j<=N} q_j^2 - 2 q_{i*} + 1 ], half the mean squared logit error.
    partial_1, partial_2 : float
        Its derivatives by xi1 and xi2. partial_2 <= 0 where xi1 >= 0: under gradient descent xi2 never falls. -partial_2 is
        also the part of partial_1 that comes from the query's own token, which Athreya and Wang's (10) does not sum over.
    """

    loss: float
    partial_1: float
    partial_2: float


@sound
def moments(xi1: float, xi2: float, source: Source, kappa: float = 1.0) -> Moments:
    """The population loss and its derivatives, without cancellation.

    With D_j = t_{i*} - t_j and omega = q_{i*} q_0 + sum_{j<=N} q_j (q_{i*} - q_j) >= 0:

        partial_1 = -kappa E[ sum_{j<=N} q_j (q_j + omega) D_j - q_0 omega (1 - t_{i*}) ]
        partial_2 = -kappa E[ q_0 omega ]

    Parameters
    ----------
    xi1, xi2 : float
        Of any sign; omega is without cancellation for xi1 >= 0.
    source : Source
    kappa : float
        Above 0, at most 1: (K-1)/K, or 1 for binary labels.

    Returns
    -------
    Moments
    """
    source = instance("source", source, Source, "as exact and sampled make it")
    xi1, xi2 = (real(name, value, "of any sign", lambda _: True) for name, value in (("xi1", xi1), ("xi2", xi2)))
    return Moments(*(_checked_kappa(kappa) * _sums(xi1, xi2, source)).tolist())


@np.errstate(over="ignore", under="ignore")  # a score that is beyond a double has the exponential 0 once it is shifted
def _sums(xi1: float, xi2: float, source: Source) -> NDArray[np.float64]:
    """`Moments` at kappa = 1, (3,)."""
    found = np.zeros(3)
    for gap, D, weights in source._blocks:
        score = xi1 * gap - xi2  # of the query; that of the nearest context is 0
        top = np.maximum(score, 0)
        if xi1 < 0 and len(D):
            top = np.maximum(top, -xi1 * D.max(axis=0))
        if top.max() < 300:
            m = np.expm1(-xi1 * D)  # e_j - e_{i*}
            e, e_1, e_0 = 1 + m, np.ones(1), np.exp(score)
        else:
            e, e_1, e_0 = np.exp(-xi1 * D - top), np.exp(-top), np.exp(score - top)
            m = e - e_1
        squares = e * e
        Z = e_1 + e.sum(axis=0) + e_0
        q_0, rest = e_0 / Z, (e_0 + e.sum(axis=0)) / Z
        omega = (e_1 * e_0 - np.einsum("jm,jm->m", e, m)) / Z**2
        along = np.einsum("jm,jm->m", squares, D) / Z**2 + omega * np.einsum("jm,jm->m", e, D) / Z
        loss = (rest**2 + squares.sum(axis=0) / Z**2) / 2
        found += [weights @ loss, weights @ (q_0 * omega * gap - along), -weights @ (q_0 * omega)]
    return found


def accuracy(xi1: float, source: Source, K: int, seed: Seed = 0) -> float:
    """The share of prompts with random labels whose largest logit is that of the nearest context's class.

    The query's own weight scales all logits alike: xi2 plays no part.

    Parameters
    ----------
    xi1 : float
    source : Source
    K : int
        Classes, from 2 to 1000. Labels are uniform and independent; the first of equal logits counts.
    seed : int or sequence of int
        Of the labels, drawn once for each row of cosines.

    Returns
    -------
    float
        From 0 to 1.
    """
    source, K = instance("source", source, Source, "as exact and sampled make it"), integer("K", K, 2, 1000)
    xi1 = real("xi1", xi1, "of any sign", lambda _: True)
    labels = np.random.default_rng(checked(seed)).integers(K, size=source.cosines.shape)
    score = xi1 * (source.cosines - source.cosines[:, :1])
    e = np.exp(score - score.max(axis=1, keepdims=True))
    votes = np.stack([np.where(labels == c, e, 0).sum(axis=1) for c in range(K)])
    return 1 - float(source.weights @ (votes.argmax(axis=0) != labels[:, 0]))


# ---- Dynamics


class Trajectory(NamedTuple):
    """A run of the two parameters, at some times.

    Attributes
    ----------
    tau : ndarray (T,)
        Flow time, eta kappa times the step.
    xi1, xi2, loss : ndarray (T,)
        `loss` is at kappa = 1: that of binary labels; multiply it by kappa for K classes.
    """

    tau: NDArray[np.float64]
    xi1: NDArray[np.float64]
    xi2: NDArray[np.float64]
    loss: NDArray[np.float64]


@sound
def descend(source: Source, sigma: float, *, eta: float, steps: int, kappa: float = 1.0, every: int = 1) -> Trajectory:
    """Gradient descent from (0, sigma): exactly what gradient descent on the population loss does in W, from the start.

    xi1 <- xi1 - (eta/d) partial_1,    xi2 <- xi2 - eta partial_2

    Parameters
    ----------
    source : Source
    sigma : float
        xi2 at first, at least 0.
    eta : float
        Step size, above 0.
    steps : int
    kappa : float
        As in `moments`.
    every : int
        How many steps lie between two that are kept; the first and the last are kept in any case.

    Returns
    -------
    Trajectory

    Raises
    ------
    ValueError, TypeError
        Settings out of range, named.
    """
    source = instance("source", source, Source, "as exact and sampled make it")
    sigma = real("sigma", sigma, "at least 0", lambda x: x >= 0)
    eta = real("eta", eta, "greater than 0", lambda x: x > 0)
    steps, every, kappa = integer("steps", steps, 0), integer("every", every, 1), _checked_kappa(kappa)
    check_memory(f"steps is {steps}: those that are kept", 200 * (steps // every + 2), "Lower it, or raise every.")
    xi1, xi2, kept = 0.0, sigma, []
    for step in range(steps + 1):
        loss, partial_1, partial_2 = _sums(xi1, xi2, source)
        if step % every == 0 or step == steps:
            kept.append((eta * kappa * step, xi1, xi2, loss))
        xi1, xi2 = xi1 - eta * kappa * partial_1 / source.d, xi2 - eta * kappa * partial_2
    return Trajectory(*np.array(kept).T)


@sound
def flow(source: Source, sigma: float, tau: Sequence[float] | ArrayLike, *, tolerance: float = 1e-8) -> Trajectory:
    """The gradient flow from (0, sigma), at some times: dxi1/dtau = -partial_1/(d kappa), dxi2/dtau = -partial_2/kappa.

    By scipy's LSODA.

    Parameters
    ----------
    source : Source
    sigma : float
        xi2 at first, at least 0.
    tau : array_like (T,)
        Increasing, at least 0.
    tolerance : float
        Relative, of the integrator, from 1e-12 to 1e-2.

    Returns
    -------
    Trajectory

    Raises
    ------
    ValueError, TypeError
        Settings out of range, named.
    ArithmeticError
        The integrator failed.
    """
    from scipy.integrate import solve_ivp

    source = instance("source", source, Source, "as exact and sampled make it")
    sigma = real("sigma", sigma, "at least 0", lambda x: x >= 0)
    tolerance = real("tolerance", tolerance, "from 1e-12 to 0.01", lambda x: 1e-12 <= x <= 1e-2)
    times = numbers("tau", tau, "at least 0", lambda t: t >= 0, shape="(T,)")
    if not len(times) or np.any(np.diff(times) <= 0):
        raise InvalidValue(f"tau has {len(times)} times that do not increase; expected at least one, increasing.")

    def speed(_: float, xi: NDArray[np.float64]) -> tuple[float, float]:
        _, partial_1, partial_2 = _sums(xi[0], xi[1], source)
        return -partial_1 / source.d, -partial_2

    if times[-1] == 0:
        xi = np.array([[0.0], [sigma]])
    else:
        found = solve_ivp(
            speed, (0, times[-1]), (0.0, sigma), "LSODA", t_eval=times, rtol=tolerance, atol=tolerance / 100
        )
        if found.status < 0:
            raise ArithmeticError(
                f"the integrator gave up before tau = {times[-1]:g}: {found.message} Raise tolerance, or lower tau."
            )
        xi = found.y
    loss = np.array([_sums(xi1, xi2, source)[0] for xi1, xi2 in xi.T])
    return Trajectory(times, xi[0], xi[1], loss)


def _checked_kappa(kappa: float) -> float:
    return real("kappa", kappa, "above 0 and at most 1: (K-1)/K, or 1", lambda x: 0 < x <= 1)
