"""Merged keys and queries: two stationary functions, one abrupt drop, and the law of its time."""

import numpy as np

from ....core.errors import InvalidValue
from ....core.seeds import uncounted
from ....papers.zhang2025 import dynamics, population, reduced
from ....papers.zhang2025.reduced import Merged
from ....papers.zhang2025.seeds import Statement
from ...claims import Claim, every
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, no_runs
from ...summary import stacked
from ...theorem import Condition, Theorem
from .common import DATA, MARKS, NUMBERS, check_sizes, falling, positive, rotated, settings, small

__all__ = ["MERGED"]

OPTIONS = {"D": 4, "N": 31, "heads": 8, "init": 1e-6, "learning_rate": 0.001}
MOST_STEPS = 200_000
STATEMENT = (
    "With merged keys and queries the loss has two fixed points [paper]: the zero function, where all v_h are 0 and "
    "all <Lambda^2, U_h> are 0, and the optimum Mbar* = ((1 + 1/N) Lambda + (tr Lambda/N) I)^-1 [derived]. From "
    "small weights there is one abrupt drop of the loss [paper]. Early on the product along Lambda^2/||Lambda^2|| "
    "grows as m_0 e^(2 ||Lambda^2|| t) with m_0 = sum_h (v_h + <U_h, Lambda^2/||Lambda^2||>)^2/4 [derived]."
)
NOTES = [
    MARKS,
    NUMBERS,
    "Two fixed points are two functions: a whole manifold of weights has the zero function and no gradient.",
    "The drop is timed where the loss is half way between the first, tr Lambda, and the last, L*; where the loss "
    "along Lambda^2 does not come down so far, where it is half way to the least along it. The law follows the "
    "growth along Lambda^2 alone.",
    "The functions that are stationary for separate keys and queries are none for merged ones: with merged heads "
    "that have such a function, but for the first and the last, the gradient is not 0.",
]


def check(options: Options) -> None:
    check_sizes(options)
    positive(options, "init", "learning_rate")
    if options["init"] > 1e-2:
        raise InvalidValue(
            f"init is {options['init']:g}; expected at most 0.01: the statement is about small weights. Lower it."
        )
    if _steps(options) > MOST_STEPS:
        raise InvalidValue(
            f"learning_rate is {options['learning_rate']:g} with N = {options['N']}: a run takes some "
            f"{_steps(options):.2g} steps; expected at most {MOST_STEPS}. Raise learning_rate."
        )


def _steps(options: Options) -> int:
    """Steps of a run to its end: the drop, and the slowest decay behind it."""
    rate = options["learning_rate"] * options["N"] * np.linalg.norm(falling(options["D"]) ** 2)
    tail = 1.0 if options["quick"] else 6.0
    return int((1 + tail) * np.log(1 / options["init"] ** 2) / (4 * rate))


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    D, N, H = (options[name] for name in ("D", "N", "heads"))
    Lambda, rng = rotated(falling(D), seed), uncounted(Statement.MERGED, seed)
    direction = Lambda @ Lambda / dynamics.early_rate(Lambda)
    U = rng.standard_normal((H, D, D))
    U -= np.tensordot(U, direction, 2)[:, None, None] * direction
    zero = Merged(np.zeros(H), U)
    best = Merged(rng.standard_normal(H), rng.standard_normal((H, D, D)))
    best.U[0] += (population.optimum(Lambda, N) - reduced.effective(best)) / best.v[0]
    between = [  # balanced weights with the functions of other saddles
        np.linalg.norm(population.gradient(point.Mbar, Lambda, N)) for point in population.fixed_points(Lambda, N)[1:-1]
    ]
    start = Merged(options["init"] * rng.standard_normal(H), options["init"] * rng.standard_normal((H, D, D)))
    run = reduced.descend(start, Lambda, N, learning_rate=options["learning_rate"], steps=_steps(options), scale=1.0)
    golden = population.saddle_losses(Lambda, N)
    least = golden[0] - dynamics.early_rate(Lambda) ** 2 / float(
        np.sum(direction * (population.second_moment(Lambda, N) @ direction @ Lambda))
    )
    level = (golden[0] + max(golden[-1], least + 0.1 * (golden[0] - least))) / 2
    law = dynamics.merged_half_steps(start, Lambda, N, level=level, learning_rate=options["learning_rate"], scale=1.0)
    below = run.losses < level
    levels = [golden[0] - share * (golden[0] - golden[-1]) for share in (0.1, 0.8)]
    reached = [float(np.argmax(run.losses < one)) if run.losses.min() < one else np.nan for one in levels]
    return {
        "zero": max(np.abs(part).max() for part in reduced.head_gradients(zero, Lambda, N)),
        "zero loss": population.loss(reduced.effective(zero), Lambda, N) - golden[0],
        "best": max(np.abs(part).max() for part in reduced.head_gradients(best, Lambda, N)),
        "best loss": population.loss(reduced.effective(best), Lambda, N) - golden[-1],
        "between": min(between) if between else np.nan,
        "half": float(below.argmax()) / law if below.any() else np.nan,
        "abrupt": (reached[1] - reached[0]) / reached[0],
        "plateaus": sum(
            run.losses[(first + last) // 2] < golden[0] - 0.05 * (golden[0] - golden[-1])
            and run.losses[(first + last) // 2] > golden[-1] + 0.1 * (golden[0] - golden[-1])
            for first, last in dynamics.flat_stretches(run.losses)
        ),
        "end": run.losses[-1] - golden[-1],
        "rises": np.diff(run.losses).max(),
    }


def assemble(options: Options, seeds: Seeds, found: Found) -> Theorem:
    of = stacked(found)
    claims: list[Claim] = [
        small("v = 0, U_h orthogonal to Lambda^2: largest gradient", of["zero"]),
        small("the same: loss, from tr Lambda", of["zero loss"]),
        small("any weights with Mbar = Mbar*: largest gradient", of["best"], 1e-10),
        small("the same: loss, from L*", of["best loss"], 1e-10),
        every("training: steps to half of the drop, over the law's", of["half"], 0.95, 1.06),
        every(
            "training: steps from a tenth to 80% of the drop, over those to a tenth (abrupt)", of["abrupt"], high=0.5
        ),
        every("training: plateaus between the first and the last loss", of["plateaus"], high=0),
        every("training: largest rise of the loss in a step (none but rounding)", of["rises"], high=1e-12),
        every("training: loss at the end, from L*", of["end"], -1e-12, 0.1 if options["quick"] else 5e-3),
    ]
    if options["D"] > 1:
        claims.insert(
            4, every("functions of other saddles: least norm of dL/dMbar (not stationary)", of["between"], 1e-4)
        )
    conditions = [
        DATA,
        Condition("merged keys and queries, any number of heads [paper]", f"H = {options['heads']}", True),
        Condition("small weights at first [paper]", f"standard deviation {options['init']:g}, code's units", None),
    ]
    return Theorem(
        "The fixed points of merged keys and queries", STATEMENT, settings(options), seeds, conditions, claims, NOTES
    )


MERGED = Experiment(
    "merged", "two fixed points, one abrupt drop, and its time", no_runs, measure, assemble, OPTIONS, check
)
