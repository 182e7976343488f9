"""Separate keys and queries of rank one: 2^D stationary functions, their losses, training from one to the next."""

from itertools import pairwise

import numpy as np

from ....core.errors import InvalidValue
from ....core.seeds import uncounted
from ....papers.zhang2025 import dynamics, population, reduced
from ....papers.zhang2025.reduced import Separate
from ....papers.zhang2025.seeds import Statement
from ...claims import Claim, every
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, no_runs
from ...summary import stacked
from ...theorem import Condition, Theorem
from .common import DATA, MARKS, NUMBERS, check_sizes, falling, positive, rotated, settings, small

__all__ = ["SADDLES"]

OPTIONS = {"D": 4, "N": 31, "heads": 5, "init": 0.01, "learning_rate": 0.02}
STEPS, QUICK_STEPS, MOST_STEPS = 8.0, 3.0, 200_000
STATEMENT = (
    "With separate keys and queries of rank one the loss has exponentially many fixed points [paper]: for each set "
    "S of principal components the function Mbar_S = sum over S of a_d e_d e_d^T, a_d = ((1 + 1/N) lambda_d + tr "
    "Lambda/N)^-1, is stationary [derived], with the loss L(S) = tr Lambda - sum over S of lambda_d (1 + (1 + tr "
    "Lambda/lambda_d)/N)^-1 [source, for the m largest]. Training from small weights goes from saddle to saddle, "
    "learning one component after another [paper]; with fewer heads than components it ends where all heads are "
    "used [derived]."
)
NOTES = [
    MARKS,
    NUMBERS,
    "A head is on each learnt component, v = a^(1/3) = |k| = |q|, and one of zeros beside them.",
    "Training is by gradient descent on the exact population, in the code's units, s = 1, from normal entries. A "
    "flat stretch has 150 steps or more with a change below 2e-5 each; the loss in its middle is compared with that "
    "of the fixed point whose components are learnt there by more than half.",
]


def check(options: Options) -> None:
    check_sizes(options)
    positive(options, "init", "learning_rate")
    if _steps(options) > MOST_STEPS:
        raise InvalidValue(
            f"init is {options['init']:g} with learning_rate {options['learning_rate']:g}, N = {options['N']}: "
            f"plateaus last as 1/(2 learning_rate N lambda^2 init), some {_steps(options):.2g} steps for half of the "
            f"components; expected at most {MOST_STEPS}. Raise init or learning_rate."
        )


def _steps(options: Options) -> int:
    """Steps that let the larger half of the components come: some multiple of 1/(2 eta N lambda^2 v_0)."""
    D, N = options["D"], options["N"]
    lam = falling(D)[(D - 1) // 2]
    factor = QUICK_STEPS if options["quick"] else STEPS
    return int(factor / (2 * options["learning_rate"] * N * lam**2 * options["init"]))


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    D, N, H = (options[name] for name in ("D", "N", "heads"))
    Lambda = rotated(falling(D), seed)
    values, vectors = population.spectrum(Lambda)
    a, points = population.amplitudes(values, N), population.fixed_points(Lambda, N)
    moved, off = [], []
    for point in points:
        learnt = list(point.components)
        v, k = np.zeros(D + 1), np.zeros((D + 1, 1, D))
        v[: len(learnt)] = a[learnt] ** (1 / 3)
        k[: len(learnt), 0] = (vectors[:, learnt] * v[: len(learnt)]).T
        heads = Separate(v, k, k.copy())
        moved.append(max(np.abs(part).max() for part in reduced.head_gradients(heads, Lambda, N)))
        off.append(population.loss(reduced.effective(heads), Lambda, N) - point.loss)
    golden = population.saddle_losses(Lambda, N)
    largest = [point.loss for point in points if point.components == tuple(range(len(point.components)))]
    return {
        "points": len({point.components for point in points}),
        "gradient": max(moved),
        "loss": np.max(np.abs(off)),
        "golden": np.max(np.abs(np.array(largest) - golden)),
        "sizes": min(
            point.loss - golden[len(point.components)] for point in points
        ),  # from the m largest, at equal numbers of components
        **_trained(options, Lambda, H, seed),
        "fewer": _fewer(options, Lambda, seed),
    }


def _start(options: Options, H: int, seed: int) -> Separate:
    rng, D = uncounted(Statement.SADDLES, seed), options["D"]
    return Separate(*(options["init"] * rng.standard_normal(shape) for shape in ((H,), (H, 1, D), (H, 1, D))))


def _trained(options: Options, Lambda: np.ndarray, H: int, seed: int) -> dict[str, float]:
    """A run: its plateaus' losses against those of the fixed points they are at, and how the loss falls."""
    N, steps = options["N"], _steps(options)
    at = np.unique(np.linspace(0, steps, 1500).astype(int))
    run = reduced.descend(
        _start(options, H, seed), Lambda, N, learning_rate=options["learning_rate"], steps=steps, scale=1.0, keep=at
    )
    values, axes = population.spectrum(Lambda)
    a = population.amplitudes(values, N)
    losses = {point.components: point.loss for point in population.fixed_points(Lambda, N)}
    apart, sets = [], []
    for first, last in dynamics.flat_stretches(run.losses):
        i = int(np.abs(at - (first + last) / 2).argmin())
        share = np.einsum("id,ij,jd->d", axes, N * reduced.effective(run.kept[i]), axes) / a
        sets.append(frozenset(np.flatnonzero(share > 0.5).tolist()))
        apart.append(run.losses[at[i]] - losses[tuple(sorted(sets[-1]))])
    grown = all(one < other for one, other in pairwise(sets) if one != other)
    return {
        "plateaus": len(set(sets)),
        "apart": np.max(np.abs(apart)),
        "grown": grown,
        "rises": np.diff(run.losses).max(),
    }


def _fewer(options: Options, Lambda: np.ndarray, seed: int) -> float:
    """The loss where one head is used up, over L(M_1): 1."""
    D, N = options["D"], options["N"]
    rng = uncounted(Statement.FEWER, seed)
    start = Separate(np.array([0.5]), *(0.5 * rng.standard_normal((2, 1, 1, D)) / np.sqrt(D)))
    run = reduced.descend(start, Lambda, N, learning_rate=0.1, steps=8000)
    losses = [point.loss for point in population.fixed_points(Lambda, N) if len(point.components) <= 1]
    return float(np.abs(np.array(losses) - run.losses[-1]).min())


def assemble(options: Options, seeds: Seeds, found: Found) -> Theorem:
    of, D = stacked(found), options["D"]
    claims: list[Claim] = [
        every(f"stationary functions with different learnt components (2^{D})", of["points"], 2**D, 2**D),
        small("largest gradient by v, k or q at any of them, a head of zeros among the heads", of["gradient"]),
        small("loss of each, against the closed form", of["loss"]),
        small("loss with the m largest learnt, against L(M_m)", of["golden"]),
        every("loss of any m components, above that of the m largest", of["sizes"], -1e-12),
        every("training: different plateaus (saddles) visited", of["plateaus"], min(2, D)),
        every("training: the same, mean over seeds", of["plateaus"].mean(), min(2 if options["quick"] else 3, D)),
        every(
            "training: loss in the middle of a flat stretch, from that of the fixed point there", of["apart"], high=4e-3
        ),
        every("training: components that are learnt stay learnt (1: yes)", of["grown"], 1),
        every("training: largest rise of the loss in a step (none but rounding)", of["rises"], high=1e-12),
        small("one head: loss at its end, from that of the nearest fixed point of one component", of["fewer"], 1e-6),
    ]
    conditions = [
        DATA,
        Condition("rank one, separate keys and queries [paper]", "R = 1", True),
        Condition(
            "at least as many heads as components, for the last saddle to be left [derived]",
            f"H = {options['heads']}, D = {D}",
            options["heads"] >= D,
        ),
        Condition("small weights at first [summary]", f"standard deviation {options['init']:g}, code's units", None),
    ]
    return Theorem(
        "Saddles of separate keys and queries", STATEMENT, settings(options), seeds, conditions, claims, NOTES
    )


SADDLES = Experiment(
    "saddles",
    "2^D stationary functions, their losses, and training from saddle to saddle",
    no_runs,
    measure,
    assemble,
    OPTIONS,
    check,
)
