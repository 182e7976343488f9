"""Laws of cosines on the sphere, closed forms, asymptotics, and the bounds of Athreya and Wang, each with its mark.

[paper] is Athreya and Wang's text, who restate lemmas of Li et al.; that was not read by us. [derived] is ours, checked
numerically. Constants that the text leaves open (poly(d), C_d, c_1 to c_4, O(.)) are not evaluated. Losses and derivatives are
those of binary labels, kappa = 1; for K classes all of them are (K-1)/K times as large.

| paper            | here                                                                                        |
|------------------|---------------------------------------------------------------------------------------------|
| t, t_{i*}        | cosine of a context and the query; the largest of N                                         |
| f, F             | `density`, `distribution` of one cosine                                                     |
| 1 - t_{i*}       | the gap; g is its density, `gap_density`                                                    |
| rho = xi2/xi1    | `ratio` is what it goes to in the long run                                                  |
| A                | `loss_constant`: the loss is A/xi1 in the long run                                          |
| a_{N,d}          | `a`                                                                                         |
"""

import math
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...core.checks import integer, numbers, real, sound
from .population import Moments

__all__ = [
    "LIMIT",
    "a",
    "at_zero",
    "crossing_time",
    "density",
    "density_constant",
    "distribution",
    "gap_density",
    "gap_survival",
    "lemma_9",
    "lemma_10",
    "lemma_11",
    "loss_constant",
    "nearest_mean",
    "printed_density_constant",
    "ratio",
    "sigma_conditions",
    "slow_growth",
    "start_accuracy",
]

Numbers: TypeAlias = float | NDArray[np.float64]
"""A number, or an array of them."""

MOST = 10**6
"""The largest N and d."""

LIMIT = 7 / 15
"""What xi1/xi2 never exceeds by Lemma 12 [paper]. It does [derived]."""

NODES = 200  # of a quadrature over the angle; the integrands are smooth
NEGLIGIBLE = 1e-20  # a probability


# ---- One cosine


def density_constant(d: int) -> float:
    """Gamma(d/2)/(sqrt(pi) Gamma((d-1)/2)), by which (1 - t^2)^((d-3)/2) is a density [derived]; d at least 2."""
    d = _checked_d(d)
    return math.exp(math.lgamma(d / 2) - math.lgamma((d - 1) / 2)) / math.sqrt(math.pi)


def printed_density_constant(d: int) -> float:
    """k_d of Lemma 16 as it is printed [paper]: twice `density_constant`, so that the printed density integrates to 2."""
    return 2 * density_constant(d)


@sound
def density(t: ArrayLike, d: int) -> Numbers:
    """f(t), the density of the cosine of two independent uniform points of the sphere in R^d; d at least 3 [derived].

    Parameters
    ----------
    t : array_like
        From -1 to 1.
    d : int
    """
    t, d = _checked_cosine(t), _checked_d(d, 3)
    return density_constant(d) * (1 - t**2) ** ((d - 3) / 2)


def distribution(t: ArrayLike, d: int) -> Numbers:
    """F(t): the probability of a cosine of at most t, from -1 to 1 [derived]."""
    from scipy.special import betainc

    t, half = _checked_cosine(t), (_checked_d(d) - 1) / 2
    return betainc(half, half, (1 + t) / 2)


# ---- The nearest context


@cache
def _rule() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights of Gauss and Legendre on [-1, 1]."""
    return np.polynomial.legendre.leggauss(NODES)


def _integral(power: int, d: int, weight: str) -> float:
    """The integral over t of f F^power times t, or times f."""
    from scipy.special import betainc, betaincinv

    half = (d - 1) / 2
    most = 1 - 2 * float(betaincinv(half, half, NEGLIGIBLE))  # beyond it, and below `least`, there is nothing
    least = 2 * float(betaincinv(half, half, NEGLIGIBLE ** (1 / max(power, 1)))) - 1
    nodes, weights = _rule()
    start, length = np.arccos(most), np.arccos(least) - np.arccos(most)
    angle = start + length * (1 + nodes) / 2
    t, sine = np.cos(angle), np.sin(angle)
    mass = length / 2 * weights * density_constant(d) * sine ** (d - 2)  # f(t) dt
    of = t if weight == "t" else density_constant(d) * sine ** (d - 3)
    return float(mass @ (of * betainc(half, half, (1 + t) / 2) ** power))


def nearest_mean(N: int, d: int) -> float:
    """m = E t_{i*} = N int t f F^{N-1} dt: the mean cosine of the nearest of N contexts and the query [derived]."""
    N, d = _checked_N(N), _checked_d(d)
    return N * _integral(N - 1, d, "t")


def gap_density(r: ArrayLike, N: int, d: int) -> Numbers:
    """g(r) = N f(1-r) F(1-r)^{N-1}, the density of the gap 1 - t_{i*} [derived].

    Parameters
    ----------
    r : array_like
        From 0 to 2.
    N, d : int
        d at least 3.
    """
    r, N = numbers("r", r, "between 0 and 2", lambda r: (r >= 0) & (r <= 2)), _checked_N(N)
    return N * density(1 - r, d) * distribution(1 - r, d) ** (N - 1)


def gap_survival(r: ArrayLike, N: int, d: int) -> Numbers:
    """P(1 - t_{i*} > r) = F(1-r)^N, for r from 0 to 2 [derived]."""
    r, N = numbers("r", r, "between 0 and 2", lambda r: (r >= 0) & (r <= 2)), _checked_N(N)
    return distribution(1 - r, d) ** N


def loss_constant(N: int, d: int) -> float:
    """A = (log 2 - 1/2) N(N-1) int f^2 F^{N-2} dt: for xi1 large and no weight on the query, the loss is A/xi1 [derived].

    N(N-1) int f^2 F^{N-2} dt is the density at 0 of the distance between the two largest cosines.

    Parameters
    ----------
    N, d : int
        N at least 2, d at least 3.
    """
    N, d = _checked_N(N, 2), _checked_d(d, 3)
    return (math.log(2) - 0.5) * N * (N - 1) * _integral(N - 2, d, "f")


def at_zero(N: int, d: int, sigma: float) -> Moments:
    """Loss and derivatives at xi1 = 0, xi2 = sigma, in closed form [derived].

    With w = 1/(N + e^-sigma), w_0 = e^-sigma w: L = (N w^2 - 2w + 1)/2, partial_1 = -w (m - w_0^2), partial_2 = -w w_0^2.

    Parameters
    ----------
    N, d : int
    sigma : float
        At least 0.
    """
    m, sigma = nearest_mean(N, d), _checked_sigma(sigma)
    w = 1 / (N + math.exp(-sigma))
    w_0 = math.exp(-sigma) * w
    return Moments((N * w**2 - 2 * w + 1) / 2, -w * (m - w_0**2), -w * w_0**2)


def start_accuracy(N: int, K: int) -> float:
    """The accuracy at xi1 = 0, where the commonest label wins: its mean share of N labels [derived].

    Labels are uniform and independent of the inputs, so that of the nearest context is any of them.

    Parameters
    ----------
    N, K : int
        N from 1 to 100, K from 2 to 1000.
    """
    N, K = integer("N", N, 1, 100), integer("K", K, 2, 1000)
    mean = 0.0
    for most in range(N):  # E max = sum of P(max > most); P(max <= most) is a coefficient of (sum x^c/c!)^K N!/K^N
        one = np.array([1 / math.factorial(c) / K**c if c <= most else 0.0 for c in range(N + 1)])
        power, base, left = np.eye(1, N + 1)[0], one, K
        while left:
            if left % 2:
                power = np.convolve(power, base)[: N + 1]
            base, left = np.convolve(base, base)[: N + 1], left // 2
        mean += 1 - power[N] * math.factorial(N)
    return mean / N


# ---- The long run


def ratio(xi1: float, N: int, d: int) -> float:
    """rho = xi2/xi1 at a large xi1, where g(rho) = 2 rho A/((d + rho^2) xi1): it creeps up towards 2 [derived].

    There xi2 grows as fast as xi1 does, by the flow's leading order

        dxi1/dtau = (A/xi1^2 - rho g(rho)/(2 xi1))/d,    dxi2/dtau = g(rho)/(2 xi1).

    Parameters
    ----------
    xi1 : float
        From 1 to 1e30; the law is for large ones.
    N, d : int
        N at least 2, d at least 4.

    Returns
    -------
    float
        Above the gap of the largest density, below 2.
    """
    from scipy.optimize import brentq

    xi1 = real("xi1", xi1, "from 1 to 1e30", lambda x: 1 <= x <= 1e30)
    A, d = loss_constant(N, d), _checked_d(d, 4)
    gaps = np.linspace(0, 2, 2001)[1:-1]
    peak = float(gaps[np.argmax(gap_density(gaps, N, d))])

    def excess(rho: float) -> float:
        return float(gap_density(rho, N, d)) - 2 * rho * A / ((d + rho**2) * xi1)

    return float(brentq(excess, peak, 2, xtol=1e-12)) if excess(peak) > 0 else peak


@sound
def slow_growth(tau: ArrayLike, N: int, d: int, rho: float = 0.0) -> Numbers:
    """xi1 = (3 A tau/(d + rho^2))^{1/3} after a long time tau [derived].

    Parameters
    ----------
    tau : array_like
        At least 0.
    N, d : int
        N at least 2, d at least 3.
    rho : float
        xi2/xi1, as `ratio` has it; 0 while xi2 stays at a large sigma.
    """
    tau, rho = numbers("tau", tau, "at least 0", lambda t: t >= 0), real("rho", rho, "at least 0", lambda x: x >= 0)
    return np.cbrt(3 * loss_constant(N, d) * tau / (d + rho * rho))


def crossing_time(N: int, d: int, sigma: float) -> float:
    """tau = d/(3A) (7 sigma/15)^3, about when xi1 comes to 7/15 of xi2, which is still sigma [derived].

    Parameters
    ----------
    N, d : int
        N at least 2, d at least 3.
    sigma : float
        Large; at least 0.
    """
    return d / (3 * loss_constant(N, d)) * (LIMIT * _checked_sigma(sigma)) ** 3


# ---- Conditions and bounds as Athreya and Wang print them


def a(N: int, d: int) -> float:
    """a_{N,d} = (2 N sqrt(d))^{-2/(d-3)}, d at least 4 [paper]."""
    N, d = _checked_N(N), _checked_d(d, 4)
    return (2 * N * math.sqrt(d)) ** (-2 / (d - 3))


def sigma_conditions(N: int, d: int) -> dict[str, float]:
    """What sigma must exceed, by the statement that asks for it [paper].

    C_d (1 - 1/(2N)), Theorem 1's third bound, is left out: C_d is not given.

    Parameters
    ----------
    N, d : int
        d at least 4.

    Returns
    -------
    dict of str to float
        "Theorem 1: 2 log(N d)", "Theorem 1: -2 log(1 - (N sqrt(d))^(-1/d))", "Lemma 12: 3 log(2 N^4 d/a)".
    """
    N, d = _checked_N(N), _checked_d(d, 4)
    return {
        "Theorem 1: 2 log(N d)": 2 * math.log(N * d),
        "Theorem 1: -2 log(1 - (N sqrt(d))^(-1/d))": -2 * math.log1p(-((N * math.sqrt(d)) ** (-1 / d))),
        "Lemma 12: 3 log(2 N^4 d/a)": 3 * math.log(2 * N**4 * d / a(N, d)),
    }


@sound
def lemma_9(xi1: float, xi2: float, N: int, d: int) -> float:
    """Lemma 9's upper bound on the growth of xi1, (xi1' - xi1)/(eta kappa) [paper]; it is false for large xi1 [derived].

    (2N/d) e^{-4 xi1/(N+1)^2} - a/(d N^3 e) e^{2(xi1 - xi2)}

    Parameters
    ----------
    xi1, xi2 : float
        At least 0.
    N, d : int
        d at least 4.
    """
    xi1, xi2 = _checked_xi(xi1, xi2)
    N, d = integer("N", N, 1), integer("d", d, 4)
    return 2 * N / d * np.exp(-4 * xi1 / (N + 1) ** 2) - a(N, d) / (d * N**3 * math.e) * np.exp(2 * (xi1 - xi2))


@sound
def lemma_10(xi1: float, xi2: float) -> float:
    """Lemma 10's lower bound on d (xi1' - xi1)/(eta kappa) without its first term, -2 e^{2 xi1 - 2 xi2} [paper].

    The first term, (1 - 1/(2N)) C_d e^{-6 xi1}, has an open constant C_d >= 0: no such constant helps where this one fails at
    a negative value [derived].
    """
    xi1, xi2 = _checked_xi(xi1, xi2)
    return -2 * np.exp(2 * (xi1 - xi2))


@sound
def lemma_11(xi1: float, xi2: float, N: int, d: int) -> float:
    """Lemma 11's lower bound on (xi2' - xi2)/(eta kappa), e^{2 a xi1 - 2 xi2}/((N+1)^3 e) [paper].

    It needs xi1 not much above xi2: q_0 <= q_{i*} [derived].

    Parameters
    ----------
    xi1, xi2 : float
        At least 0.
    N, d : int
        d at least 4.
    """
    xi1, xi2 = _checked_xi(xi1, xi2)
    return np.exp(2 * a(N, d) * xi1 - 2 * xi2) / ((N + 1) ** 3 * math.e)


# ---- Checks


def _checked_N(N: int, least: int = 1) -> int:
    return integer("N", N, least, MOST)


def _checked_d(d: int, least: int = 2) -> int:
    return integer("d", d, least, MOST)


def _checked_cosine(t: ArrayLike) -> NDArray[np.float64]:
    return numbers("t", t, "between -1 and 1", lambda t: abs(t) <= 1)


def _checked_sigma(sigma: float) -> float:
    return real("sigma", sigma, "from 0 to 1e6", lambda x: 0 <= x <= 1e6)


def _checked_xi(xi1: float, xi2: float) -> tuple[float, float]:
    return tuple(real(n, x, "at least 0", lambda x: x >= 0) for n, x in (("xi1", xi1), ("xi2", xi2)))  # type: ignore[return-value]
