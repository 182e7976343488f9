"""What the figures of Athreya and Wang share: training runs, what is measured in them, the population beside them, notes.

Training is by SGD on fresh prompts, in all of W. The population is the closed system in (xi1, xi2), by its flow on
cosines that are drawn once: only those depend on the seed there.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....papers.onenn2024 import Observer, Problem, population
from ...claims import Claim, fact
from ...experiment import Options, Training
from ...series import Comparison, Series, compare
from ...summary import listed

__all__ = [
    "DERIVED",
    "MARKS",
    "ONE",
    "OURS",
    "SIGMA",
    "TEST_SET",
    "beside",
    "mean_close",
    "observe",
    "on_population",
    "training",
]

ONE = Problem()
"""The usual problem: K = 3, N = 16, d = 8, sigma = 3, eta = 0.05, batch 128."""
OURS = "our reference run"
DERIVED = "derived"
PROMPTS = 4000  # that a run is measured on
QUICK_STEPS = 400
DRAWS, QUICK_DRAWS = 20_000, 2000  # rows of cosines

MARKS = (
    "Settings are those of Athreya and Wang [paper]: d, N, K, sigma, eta, the batch and the numbers of steps; seeds and "
    "test prompts are ours. Values called 'our reference run' were computed by us before this code and apart from it. "
    "None but those marked as the paper's is a quotation."
)
SIGMA = (
    "sigma = 3 is outside of the theorems, which ask for sigma > 2 log(N d) = 9.7 and, for Lemma 12, for 47 here [paper]: "
    "the figure cannot validate them."
)
TEST_SET = (
    "The separated test set of Athreya and Wang has no formula [paper]. Ours is the construction of Li et al. with class "
    "labels: the query is one of the contexts, and others within delta = 0.1 of it are reflected [quoted; the reflection "
    "and the labels ours]. Accuracy on it saturates early, so that the logit error is shown, too."
)


def observe(problem: Problem, seed: int) -> Observer:
    """What a run is measured by."""
    return Observer(problem, PROMPTS, seed=seed)


def training(problem: Problem, steps: int, options: Options, at: tuple[int, ...] = ()) -> Training:
    """A run of so many steps, measured at the start, `at` some steps, and at the end; a quick one is short."""
    steps = min(steps, QUICK_STEPS) if options["quick"] else steps
    return Training(
        problem, steps=steps, measure=tuple(sorted({0, *at, steps} & set(range(steps + 1)))), observe=observe
    )


@cache
def on_population(length: int, d: int, sigma: float, tau: tuple[float, ...], seed: int, draws: int) -> Any:
    """The population's `Trajectory` at increasing times of the flow, computed once in a process."""
    return population.flow(population.sampled(length, d, draws, seed), sigma, tau, tolerance=1e-7)


def beside(ours: Series, x: ArrayLike, y: ArrayLike) -> tuple[Series, list[Comparison]]:
    """What the paper publishes of a curve, as a series of its name, and ours against it."""
    theirs = Series(ours.name, np.asarray(x, float), np.asarray(y, float))
    found = compare(ours, theirs)
    return theirs, [] if found is None else [found]


def mean_close(
    claim: str, values: ArrayLike, expected: ArrayLike, source: str, slack: float, share: float = 0
) -> Claim:
    """A claim: means over seeds of values (seeds, ...) are the expected ones up to `slack`, or a share of them."""
    found: NDArray = np.asarray(values, float).mean(axis=0)
    expected = np.asarray(expected, float)
    holds = np.all(np.abs(found - expected) <= np.maximum(slack, share * np.abs(expected)))
    allowed = f"{slack:g}" if slack else f"{100 * share:g}%"
    many = "means over seeds" if np.ndim(found) else "mean over seeds"
    return fact(f"{claim} ({source})", holds, listed(found), f"{many} {listed(expected)}, +-{allowed}", values)
