"""Exact reductions of the population dynamics from Q = 0: gradient descent, gradient flow, the floor of the loss [derived].

Equally likely features keep equal weights, so a query v_k is followed through three of them, whatever K is: see `.queries`,
whose `balanced`, `dominant` and `under_represented` make a query. The zero sum A_k + B_1 + G B_o = 0 is not used: all three
weights are integrated, so that it can be tested.
"""

import math

import numpy as np

from ...core.checks import instance, integer, real
from ...core.errors import InvalidValue
from ...core.memory import check_memory
from .queries import LONGEST, Query, balanced, binomial, dominant, under_represented
from .theory import check_step_size, missing_probability, step_size, under_represented_bound
from .trajectory import POINT, Point, Trajectory

__all__ = ["LONGEST", "Query", "balanced", "descend", "dominant", "floor", "flow", "under_represented"]

MOST_OF_FLOW = 10**12  # features: the last phase of a flow is a share of about 1/K of its time, a double has 16 digits
LEAST = {
    "finite": 1e-16,
    "infinite": 1e-100,
}  # eps of a flow, by N: far above counts left out; checked against the exact law
ATTAINED = 1.02  # eps over the infimum of missed, at least: a flow ends 1% below eps


# ---- Dynamics


def descend(query: Query, *, eta: float | None = None, steps: int, eps: float | None = None) -> Trajectory:
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
        eps = _checked_eps(eps)
    else:
        check_memory(
            f"steps is {steps}: a trajectory holds {POINT} bytes for each", POINT * steps, "Lower it, or give eps."
        )
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


def flow(query: Query, *, eps: float = 0.01, end: float | None = None) -> Trajectory:
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
    eps = _checked_eps(eps)
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

    def speed(tau: float, weights: np.ndarray) -> tuple[float, float, float]:
        point = query.point(*weights)
        return point.alpha, point.beta_1 if query.p_1 else 0.0, point.beta_o

    def converged(tau: float, weights: np.ndarray) -> float:
        return query.point(*weights).missed / (0.99 * eps) - 1  # eps itself is then reached between two points

    converged.terminal = True  # type: ignore[attr-defined]  # what solve_ivp reads
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


def floor(query: Query) -> float:
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
    c_1, weights = binomial(int(N), query.p_1 / (1 - query.p_k)) if query.p_1 else (np.zeros(1), np.ones(1))
    R = N - c_1
    share = 1 / np.maximum(R, 1)
    spread = share + (1 - share) / query.G

    def error(gap: float) -> float:
        a_1 = c_1 / (c_1 + R * np.exp(gap))  # gap = B_o - B_1
        return float(weights @ (1 + a_1**2 + (1 - a_1) ** 2 * spread)) / 2

    smallest = error(0.0)
    if query.p_1:
        from scipy.optimize import minimize_scalar

        smallest = minimize_scalar(error, bounds=(-30, 30), method="bounded", options={"xatol": 1e-9}).fun
    return missing_probability(query.p_k, N) * smallest


# ---- Checks


def _check_query(query: Query) -> None:
    instance("query", query, Query, "as balanced, dominant and under_represented make it")


def _checked_eps(eps: float) -> float:
    return real("eps", eps, "between 0 and 1", lambda x: 0 < x < 1)


def _check_flow(query: Query, eps: float, end: float | None) -> None:
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
