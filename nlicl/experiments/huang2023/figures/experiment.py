"""Runs of the paper's experiment, as quoted by a third party, that Figures 2 and 3 share; and what is said of both.

Each seed has its own features, prompts and tests. The prompts of a seed are the same in every run on fixed prompts.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....papers.huang2023 import Experiment
from ....training import SGD, train
from ...claims import Claim, fact
from ...experiment import Found, Measured, Options, Runs
from ...series import Series, spread
from ...settings import Settings, set_here
from ...summary import span

__all__ = [
    "BALANCED",
    "CASES",
    "DENSE",
    "DERIVED",
    "GD",
    "GD_ONE_HOT",
    "IMBALANCED",
    "KNOWN",
    "NOTES",
    "ONE_HOT",
    "POPULATION",
    "RUNS",
    "UNKNOWN",
    "WAYS",
    "Curves",
    "curves",
    "drawn",
    "each",
    "first_to",
    "measure",
    "settings",
    "turned",
]

CASES = IMBALANCED, BALANCED = "imbalanced", "balanced"
WAYS = DENSE, ONE_HOT, GD, POPULATION = (
    "Adam, dense features",
    "Adam, one-hot features",
    "gradient descent, same prompts",
    "gradient descent, population",
)
"""What is drawn: the paper's optimizer with either kind of features, and the theory's. Gradient descent has dense features."""
GD_ONE_HOT = "gradient descent, same prompts, one-hot features"
RUNS = (*WAYS, GD_ONE_HOT)
ETA = 5.0  # of gradient descent
EVERY = 5
DERIVED = "derived prediction"

KNOWN = (
    "w ~ N(0, I_d), inputs v_k with probability p_k, 300 fixed prompts, the empirical objective, Adam with full batch at "
    "0.002 for 400 epochs [quoted]"
)
UNKNOWN = (
    "its curves; K, d, N, p, the kind of features (one-hot or dense) and the seeds: in their place K = 10, N = 100, p_1 = "
    "0.5, dense features with d = 100, and one-hot ones. Dense ones with d well above K were taken since attention "
    "concentrates there, and not in one-hot features [derived]: that claims of concentration hold says nothing about the "
    "paper's choice"
)
NOTES = [
    "The paper's experiment as quoted by a third party, not read in the paper by us: "
    + KNOWN
    + ". An epoch of a full batch is one step.",
    "Not quoted, and ours: K, d, N, p, the kind of features and the seeds. Claims are about order, stages and concentration, "
    "or about our derived predictions: none of them is about a value of the paper's.",
    "Errors and attention are means over test prompts: 1000 count vectors that no run trains on, all tasks averaged exactly. "
    "Whether the paper draws training prompts, one test prompt or a mean is not quoted.",
    f"Gradient descent is the theory's optimizer, with eta = {ETA:g}, ours: on the same 300 prompts, and on the population "
    "(500 count vectors, all tasks).",
]


class Curves(NamedTuple):
    """What one run measured at `steps` (T,), and what it ended with. k is the query's feature.

    Attributes
    ----------
    steps : ndarray (T,)
    error, own, A : ndarray (T, K)
        L_k, Attn_k and A_k.
    first : ndarray (T, K-1)
        Attention of the queries k >= 2 on feature 1.
    training : ndarray (steps,)
        The loss on the training prompts, before each step.
    largest : float
        The largest |Q_ij| at the end.
    """

    steps: NDArray
    error: NDArray
    own: NDArray
    A: NDArray
    first: NDArray
    training: NDArray
    largest: float


@cache
def curves(case: str, way: str, seed: int) -> Curves:
    """The run of a case and a way, computed once in a process."""
    problem = Experiment(V_seed=seed, features="one-hot" if way in (ONE_HOT, GD_ONE_HOT) else "dense")
    problem = replace(problem, p_1=None) if case == BALANCED else problem
    problem = replace(problem, prompts="population") if way == POPULATION else problem
    descent: dict[str, Any] = {} if way in (DENSE, ONE_HOT) else {"optimizer": SGD(), "learning_rate": ETA}
    run = train(problem, seed=seed, measure=EVERY, **descent)
    of = run.history
    largest = float(np.abs(run.params.Q).max())
    return Curves(of.steps, of["loss_k"], of["Attn_k"], of["A"], of["Attn_k1"], of.loss, largest)


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    return {f"{case}, {way}": curves(case, way, seed) for case in CASES for way in RUNS}


def settings() -> Settings:
    """The experiment's, with the marks of its values."""
    found: Settings = dict(Experiment().settings())
    found |= {"optimizer": ["adam", "quoted"], "law of w": ["N(0, I_d)", "quoted"]}
    return found | set_here({
        "features": ("dense", "one-hot"), "p_1": (0.5, None), "V_seed": "the seed", "eta of gradient descent": ETA,
    })  # fmt: skip


def first_to(values: NDArray, steps: NDArray) -> NDArray:
    """The first step at which each column of `values` (T, k), of bool, is true: (k,); infinity where it never is."""
    return np.where(values.any(axis=0), steps[values.argmax(axis=0)], np.inf)


def turned(found: Found, ways: Iterable[str], name: str) -> NDArray:
    """The largest difference of a field of `Curves` between two ways, for each seed and case: (seeds, cases)."""
    one, other = ways
    return np.array([
        [np.abs(getattr(of[f"{case}, {one}"], name) - getattr(of[f"{case}, {other}"], name)).max() for case in CASES]
        for of in found
    ])  # fmt: skip


def each(claim: str, values: ArrayLike, *, low: float = -np.inf, high: float = np.inf) -> Claim:
    """A claim: every value lies from `low` to `high`, strictly, in every seed. Infinity stands for never."""
    found = np.asarray(values, float)
    holds = bool(np.all((found > low) & (found < high)))
    never = "" if np.isfinite(found).all() else f"{'never' if np.isinf(found).all() else ', or never'}"
    measured = never if np.isinf(found).all() else span(found) + never
    expected = f"below {high:g}" if np.isinf(low) else f"above {low:g}" if np.isinf(high) else f"{low:g} to {high:g}"
    return fact(claim, holds, measured, f"{expected} for every seed", found)


def drawn(name: str, found: Found, key: str, values: Iterable[NDArray]) -> Series:
    """A series of what each seed has (T,), at the steps that show it: close together at first."""
    steps = found[0][key].steps
    shown = (steps <= 40) | (steps % 20 == 0)
    return spread(name, steps[shown], np.array([one[shown] for one in values]))
