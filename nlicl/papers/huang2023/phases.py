"""When the phases of training end. Thresholds [recalled]; that the times come out as they do [derived].

The function has its module's name: `from nlicl.papers.huang2023.phases import phases`, or `huang2023.phases.phases(run)`.

| query             | time  | first tau at which                     | phase that ends                             |
|-------------------|-------|----------------------------------------|---------------------------------------------|
| balanced          | T_1   | A_k = log K                            | I, growth of the target weight              |
|                   | T_2   | mean (1 - Attn_k)^2 = eps              | II, convergence                             |
| dominant          | T_dom | mean (1 - Attn_k)^2 = eps              | the only one                                |
| under-represented | T_1   | B_{k,1} = -0.49 log K                  | I, decrease of the dominant feature         |
|                   | T_2   | A_k - B_{k,1} = 1.01 log K             | II, switching of the leading influence      |
|                   | T_3   | A_k = log K                            | III, growth of the target feature           |
|                   | T_4   | mean (1 - Attn_k)^2 = eps              | IV, convergence                             |
|                   | cross | alpha_k = abs(beta_{k,1})              | none: the target begins to lead             |

Each is the first time of its own condition: at small K, T_1 < T_2 may fail. "Loss within eps of its floor" is another stop
than ours, (1 - Attn_k)^2 <= eps, which leaves L_k near eps/2.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...core.checks import instance, real
from .trajectory import Point, Trajectory

__all__ = ["NEVER", "Moment", "phases"]


class Moment(NamedTuple):
    """The end of a phase; all of it nan where it was not reached.

    Attributes
    ----------
    tau : float
        Flow time; eta times the step for gradient descent.
    step : float
        The first step past the threshold; nan for gradient flow.
    point : Point
        Weights, scores and loss there.
    """

    tau: float
    step: float
    point: Point


NEVER = Moment(math.nan, math.nan, Point(*[math.nan] * len(Point._fields)))


def phases(trajectory: Trajectory, eps: float = 0.01) -> dict[str, Moment]:
    """The times at which phases end: located exactly on a flow, the first step past the threshold for gradient descent.

    Parameters
    ----------
    trajectory : Trajectory
    eps : float in (0, 1)
        Of the last phase; at least the one a flow was stopped at.

    Returns
    -------
    dict of str to Moment
        "T_1", "T_2"; "T_dom"; or "T_1" to "T_4" and "cross". A time that was not reached is nan, not an error; that
        of a condition met at the start is 0.

    Raises
    ------
    ValueError, TypeError
        eps out of range; something that is no trajectory.
    """
    instance("trajectory", trajectory, Trajectory, "as reduced.flow, reduced.descend and population.descend make it")
    eps = real("eps", eps, "between 0 and 1, at least 1e-300", lambda x: 1e-300 <= x < 1)
    log_K = math.log(trajectory.K)
    # Each is below 0 before its time and at least 0 at it.
    grown = lambda at: at.A / log_K - 1  # noqa: E731
    converged = lambda at: 1 - at.missed / eps  # noqa: E731
    table = {
        "balanced": {"T_1": grown, "T_2": converged},
        "dominant": {"T_dom": converged},
        "under-represented": {
            "T_1": lambda at: -at.B_1 / (0.49 * log_K) - 1,
            "cross": lambda at: at.alpha + at.beta_1,
            "T_2": lambda at: (at.A - at.B_1) / (1.01 * log_K) - 1,
            "T_3": grown,
            "T_4": converged,
        },
    }
    return {name: _first(trajectory, past) for name, past in table[trajectory.kind].items()}


def _first(trajectory: Trajectory, past: Callable[[Point], Any]) -> Moment:
    """The first moment at which `past` is at least 0."""
    reached = np.flatnonzero(past(trajectory.points) >= 0)
    if not len(reached):
        return NEVER
    i = int(reached[0])
    tau = float(trajectory.tau[i])
    point = Point(*(float(values[i]) for values in trajectory.points))
    if trajectory.interpolant is None:
        return Moment(tau, float(i), point)
    before = float(trajectory.tau[max(i - 1, 0)])
    # Where the threshold falls on a point, the interpolant may differ from it in its last digits.
    if past(trajectory.at(before)) < 0 < past(trajectory.at(tau)):
        tau = _located(lambda at: past(trajectory.at(at)), before, tau)
        point = trajectory.at(tau)
    return Moment(tau, math.nan, point)


def _located(value: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(value, low, high, xtol=1e-14 * high, rtol=1e-14))
