"""What the figures of Huang et al. 2023 share: recorded runs, claims with where their numbers come from, notes.

They need no training runs: `measure` computes the dynamics, once in each process. Only sampled counts depend on the seed.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....papers.huang2023.phases import phases
from ....papers.huang2023.trajectory import Point, Trajectory
from ...claims import Claim, fact
from ...experiment import Measured
from ...series import Series
from ...summary import listed

__all__ = [
    "BOUND",
    "DETERMINISTIC",
    "EPS",
    "IDENTITY",
    "LAW",
    "MARKS",
    "NO_CURVE",
    "OURS",
    "STOP",
    "agree",
    "at_most",
    "curve",
    "increasing",
    "recorded",
    "step",
    "time",
]

OURS = "our reference run"
LAW = "derived law"
IDENTITY = "derived identity"
BOUND = "recalled bound"
EPS = 0.01

NO_CURVE = (
    "The paper has no such figure, as far as is known: this one and its settings are ours, about its theory. The one figure "
    "of arXiv v1 is a schematic of the four phases [recalled]. Figures 2 and 3 of the ICML version, whose curves are not "
    "known, are those of an experiment [quoted]: huang2023-fig2 and huang2023-fig3."
)
MARKS = (
    "A claim names the source of its number: 'our reference run', which we computed before this code and independently of it; "
    "'derived', ours and checked numerically; 'recalled', from memory of the paper's theorems, the numbers uncertain. None of "
    "them is a quotation."
)
DETERMINISTIC = "Nothing is drawn at random: every seed gives the same."
STOP = (
    "The last phase ends where the mean of (1 - Attn_k)^2 is eps = 0.01, not where the loss is within eps of its floor."
)


def recorded(run: Trajectory, tau: NDArray | None = None, eps: float = EPS) -> dict[str, Any]:
    """A trajectory as plain numbers: times, the `Point` of arrays at these times, and its `Moment`s by name.

    The times are `tau`; by default, the trajectory's own, which are the steps of gradient descent.
    """
    points = run.points if tau is None else Point(*np.transpose([run.at(each) for each in tau]))
    return {"tau": run.tau if tau is None else tau, "points": points, "times": phases(run, eps)}


def time(one: Measured, name: str) -> float:
    """The flow time of that name in what `recorded` returned."""
    return one["times"][name].tau


def step(one: Measured, name: str) -> float:
    """The step of that name in what `recorded` returned."""
    return one["times"][name].step


def curve(name: str, x: ArrayLike, y: ArrayLike) -> Series:
    """A series of numbers without spread."""
    return Series(name, np.asarray(x, float), np.asarray(y, float))


def agree(
    claim: str, values: ArrayLike, expected: ArrayLike, source: str, *, share: float = 0.0, slack: float = 0.0
) -> Claim:
    """A claim: each value is the expected one, up to a share of it or up to `slack`, whichever is larger.

    Its text names the source of the expected values.
    """
    values, expected = np.atleast_1d(np.asarray(values, float)), np.atleast_1d(np.asarray(expected, float))
    holds = np.all(np.abs(values - expected) <= np.maximum(share * np.abs(expected), slack))
    allowed = " or ".join([f"{slack:g}"] * (slack > 0) + [f"{100 * share:g}%"] * (share > 0))
    return fact(
        f"{claim} ({source})",
        holds,
        listed(values),
        f"{listed(expected)}{',' * (len(expected) > 1)} +-{allowed}",
        values,
    )


def at_most(claim: str, values: ArrayLike, bound: float, source: str) -> Claim:
    """A claim: no value exceeds `bound`. It shows the largest."""
    largest = np.max(values)
    return fact(f"{claim} ({source})", largest <= bound, f"{largest:.3g}", f"at most {bound:g}", values)


def increasing(claim: str, values: ArrayLike, source: str) -> Claim:
    """A claim: the values increase strictly."""
    return fact(f"{claim} ({source})", np.all(np.diff(values) > 0), listed(values), "increasing", values)
