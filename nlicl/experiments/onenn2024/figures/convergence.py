"""Figures 1 and 4: accuracy on separated prompts through SGD in all of W, for several N and K, and the population's flow."""

from dataclasses import replace
from typing import Any

import numpy as np

from ....papers.onenn2024 import family, theory
from ... import style
from ...claims import Claim, every, fact, published
from ...experiment import Found, Measured, Options, Runs, Seeds, Training
from ...figure import Figure, Original, Recipe
from ...series import Series, spread
from ...settings import of_problem, set_here
from ...summary import listed
from .common import DERIVED, MARKS, ONE, OURS, SIGMA, TEST_SET, beside, mean_close, observe, on_population, training

__all__ = ["RECIPES", "runs_of_K"]

LENGTHS, CLASSES = (16, 32, 64), (2, 3, 5, 10)
STEPS = {2: 50_000, 3: 100_000, 5: 60_000, 10: 50_000}  # by K, N = 16
AT = (500, 1000, 2000, 4000, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 80_000)
COMPARED = (10_000, 40_000, 100_000)  # steps at which SGD is held against the population
LATE = 100_000  # steps of every N, K = 3
TABLE = {16: 0.0795, 32: 0.1031, 64: 0.1435}  # our reference run: the population loss at step 1e5, K = 3
ROWS = {16: 40_000, 32: 20_000, 64: 10_000}  # of cosines, by N
QUICK_ROWS = 2000

ORIGINAL = Original(
    "Figures 1 and 4",
    "Figure 1: K = 3, N = 16, 32, 64, 1e5 steps, 8 seeds; accuracy on a separated test set goes from 1/3 to 1, sooner for "
    "smaller N. Figure 4: K = 2, 3, 5, 10, 5e4 steps, 4 seeds; accuracy comes to 1 for every K [paper]",
    "the test set's law, for which that of Li et al. was taken; other numbers on its curves; seeds. K = 5 is trained for "
    "6e4 steps [ours]",
)


def name_of(length: int, K: int) -> str:
    return f"N = {length}, K = {K}"


def runs_of_K(options: Options, K: int) -> Training:
    """The run of so many classes, N = 16, that other figures share."""
    return training(replace(ONE, K=K), STEPS[K], options, AT)


def runs(options: Options) -> dict[str, Training]:
    found = {name_of(16, K): runs_of_K(options, K) for K in CLASSES}
    return found | {
        name_of(length, 3): training(replace(ONE, length=length), LATE, options, AT) for length in LENGTHS[1:]
    }


def population(options: Options, length: int, K: int) -> dict[str, Any]:
    """The flow at the steps that are measured, of K classes: xi1, xi2 and the loss, which is K's."""
    steps = (*AT, LATE)
    kappa = (K - 1) / K
    tau = tuple(ONE.learning_rate * kappa * step for step in steps)
    rows = QUICK_ROWS if options["quick"] else ROWS[length]
    run = on_population(length, ONE.d, ONE.sigma, tau, 0, rows)
    return {"steps": np.array(steps), "xi1": run.xi1, "xi2": run.xi2, "loss": kappa * run.loss}


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    found: dict[str, Any] = {}
    for name, run in runs.items():
        history = run.history
        found[name] = {"steps": history.steps} | {
            each: history[each] for each in ("separated_accuracy", "separated_error", "accuracy", "loss", "xi1", "xi2")
        }
    one, law = runs[name_of(16, 3)], population(options, 16, 3)
    look = observe(ONE, seed)
    compared = [step for step in COMPARED if step in one.history.steps]
    apart = []
    for step in compared:
        i, j = np.searchsorted(one.history.steps, step), np.searchsorted(law["steps"], step)
        there = family.member(law["xi1"][j], law["xi2"][j], ONE.d, ONE.K)  # measured on the same prompts
        pairs = [(one.history[each][i], law[each][j]) for each in ("xi1", "xi2")]
        pairs.append((one.history["loss"][i], look(there)["loss"]))
        apart.append([ours / theirs for ours, theirs in pairs])
    found["over the flow"] = np.array(apart).reshape(-1, 3)
    return found


def ends(found: Found, name: str, what: str) -> list[float]:
    """The last value of each seed."""
    return [float(one[name][what][-1]) for one in found]


def claims(options: Options, found: Found) -> list[Claim]:
    names = [name for name in found[0] if name != "over the flow"]
    rows = []
    if not options["quick"]:
        rows = [
            published(
                every(f"{name}: accuracy on separated prompts at the end is 1 (the paper's figure)",
                      ends(found, name, "separated_accuracy"), 0.999),
                "value",
            )
            for name in names
        ]  # fmt: skip
    losses = np.array([
        [one[name_of(length, 3)]["loss"][list(found[0][name_of(64, 3)]["steps"]).index(step)] for length in LENGTHS]
        for one in found for step in found[0][name_of(64, 3)]["steps"][-2:]
    ])  # fmt: skip
    rows.append(
        published(
            fact("K = 3: the loss at equal steps, at the last two that all N have (the paper's order: smaller N is faster)",
                 np.all(np.diff(losses, axis=1) > 0), listed(losses.mean(axis=0)), "increasing with N, in every seed", losses),
            "order",
        )
    )  # fmt: skip
    for K in CLASSES:
        start = theory.start_accuracy(16, K)
        values = [one[name_of(16, K)]["separated_accuracy"][0] for one in found]
        claim = f"{name_of(16, K)}: separated accuracy at the start is that of the commonest label"
        rows.append(mean_close(claim, values, start, DERIVED, 0.02))
    late = {length: population(options, length, 3)["loss"][-1] for length in LENGTHS}
    rows.append(
        mean_close("K = 3: population loss at step 1e5, N = 16, 32, 64", [list(late.values())], list(TABLE.values()), OURS,
                   0, 0.06 if options["quick"] else 0.02)
    )  # fmt: skip
    over = np.array([one["over the flow"] for one in found])
    if over.shape[1]:
        for i, what in enumerate(("xi1", "xi2", "loss on the same prompts")):
            steps = ", ".join(f"{step:g}" for step in COMPARED)
            rows.append(
                mean_close(f"N = 16, K = 3: {what} over the population's at {steps} steps", over[:, :, i],
                           np.ones(over.shape[1]), DERIVED, 0.02)
            )  # fmt: skip
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    names = [name for name in found[0] if name != "over the flow"]
    series, reference, comparisons = [], [], []
    for name in names:
        steps = found[0][name]["steps"]
        for what, label in (
            ("separated_accuracy", "separated accuracy"),
            ("loss", "loss"),
            ("xi1", "xi1"),
            ("xi2", "xi2"),
        ):
            series.append(spread(f"{name}: {label}", steps, [one[name][what] for one in found]))
        ours = series[-4]
        K = int(name.rpartition(" ")[2])
        x, y = ([0, steps[-1]], [1 / 3, 1]) if K == 3 else ([steps[-1]], [1])
        if not options["quick"]:
            theirs, compared = beside(ours, x, y)
            reference.append(theirs)
            comparisons += compared
    for length in LENGTHS:
        law = population(options, length, 3)
        series += [
            Series(f"{name_of(length, 3)}: population {each}", law["steps"], law[each])
            for each in ("loss", "xi1", "xi2")
        ]
    settings = of_problem(ONE, {}) | set_here({"length": LENGTHS, "K": CLASSES, "steps": tuple(STEPS.values())})
    notes = [
        MARKS,
        SIGMA,
        TEST_SET,
        "At the start attention is uniform, and the answer is the commonest label. So accuracy begins at the share of this "
        "label, for all inputs, if labels are independent and uniform [derived]. The paper's curves begin at 1/3 for K = "
        "3; no test set with such labels does.",
        "The population's curves are the flow of (xi1, xi2) on cosines that are drawn once. Loss over loss is on the same "
        "test prompts: W of SGD, and the member of the family where the flow is.",
    ]
    return Figure("Accuracy on separated prompts, and the loss, through training", settings, seeds, series,
                  claims(options, found), reference, comparisons, notes)  # fmt: skip


def draw(figure: Figure) -> Any:
    canvas, panels = style.new(columns=3, width=2.9, height=2.5)
    accuracy, of_N, of_xi = panels
    for i, K in enumerate(CLASSES):
        style.curve(accuracy, figure[f"{name_of(16, K)}: separated accuracy"], i, label=f"$K = {K}$")
    for one in figure.reference:
        if one.name.startswith(name_of(16, 3)):
            style.theirs(accuracy, one, 1, label="paper, $K = 3$: start, end")
    accuracy.set(xlabel="step", ylabel="accuracy, separated prompts", title="$N = 16$")
    accuracy.set_xscale("symlog", linthresh=500)
    for i, length in enumerate(LENGTHS):
        style.curve(of_N, figure[f"{name_of(length, 3)}: loss"], i, label=f"$N = {length}$")
        law = figure[f"{name_of(length, 3)}: population loss"]
        of_N.plot(law.x, law.y, color=style.PAPER, linewidth=0.8, label="" if i else "population's flow")
    of_N.set(xlabel="step", ylabel="loss, uniform prompts", title="$K = 3$", xscale="log", yscale="log")
    for i, which in enumerate(("xi1", "xi2")):
        style.curve(of_xi, figure[f"{name_of(16, 3)}: {which}"], i, label=rf"$\xi_{which[-1]}$, SGD in all of $W$")
        law = figure[f"{name_of(16, 3)}: population {which}"]
        of_xi.plot(law.x, law.y, color=style.PAPER, linewidth=0.8, label="" if i else "population's flow")
    of_xi.set(xlabel="step", title="$N = 16$, $K = 3$", xscale="log")
    for axes in panels:
        style.legend(axes)
    return canvas


RECIPES = [
    Recipe("convergence", "accuracy on separated prompts through training, for several N and K", runs, measure, assemble,
           draw=draw, original=ORIGINAL)
]  # fmt: skip
