"""Figure 3: logit error and accuracy on uniform and on separated prompts through training, K = 3 and 5."""

from typing import Any

import numpy as np

from ... import style
from ...claims import Claim, every, published
from ...experiment import Found, Measured, Options, Runs, Seeds, Training
from ...figure import Figure, Original, Recipe
from ...series import spread
from ...settings import of_problem, set_here
from .common import MARKS, ONE, OURS, SIGMA, TEST_SET, mean_close
from .convergence import runs_of_K

__all__ = ["RECIPES"]

CLASSES = (3, 5)
LAST = 60_000
ACCURACY = {10_000: 0.643, 20_000: 0.801, 40_000: 0.898, 60_000: 0.926}  # of uniform prompts, K = 3: our reference run
AT_LAST = {3: (0.203, 0.926), 5: (0.223, 0.940)}  # logit error and accuracy of the population: our reference run
NAMES = {
    "separated_error": "logit error, separated",
    "logit_error": "logit error, uniform",
    "separated_accuracy": "accuracy, separated",
    "accuracy": "accuracy, uniform",
}

ORIGINAL = Original(
    "Figure 3",
    "logit error and accuracy on test prompts, uniform and separated, K = 3 and 5, 6e4 steps, 6 seeds [paper]",
    "every number in it; the separated set's law, for which that of Li et al. was taken; seeds",
)


def runs(options: Options) -> dict[str, Training]:
    return {f"K = {K}": runs_of_K(options, K) for K in CLASSES}


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    found = {}
    for name, run in runs.items():
        shown = run.history.steps <= LAST
        found[name] = {each: run.history[each][shown] for each in NAMES} | {"steps": run.history.steps[shown]}
    return found


def claims(options: Options, found: Found) -> list[Claim]:
    rows = []
    low = 1.0 if options["quick"] else 0.06
    for name, one in found[0].items():
        errors = [each[name]["separated_error"] for each in found]
        row = every(f"{name}: separated logit error at the end, over that at the start (the paper's text: it falls)",
                    [each[-1] / each[0] for each in errors], high=low)  # fmt: skip
        rows.append(published(row, "value"))
        if options["quick"]:
            continue
        row = every(f"{name}: separated accuracy at the end is 1 (the paper's figure)",
                    [each[name]["separated_accuracy"][-1] for each in found], 0.999)  # fmt: skip
        rows.append(published(row, "value"))
        last = [[each[name]["logit_error"][-1], each[name]["accuracy"][-1]] for each in found]
        expected = AT_LAST[int(name.rpartition(" ")[2])]
        rows.append(mean_close(f"{name}: uniform logit error and accuracy at the end", last, expected, OURS, 0.01))
        if name == "K = 3":
            there = np.searchsorted(one["steps"], list(ACCURACY))
            values = [each[name]["accuracy"][there] for each in found]
            steps = ", ".join(f"{step:g}" for step in ACCURACY)
            rows.append(
                mean_close(f"{name}: uniform accuracy at {steps} steps", values, list(ACCURACY.values()), OURS, 0.01)
            )
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    series = [
        spread(f"{name}: {label}", one["steps"], [each[name][what] for each in found])
        for name, one in found[0].items()
        for what, label in NAMES.items()
    ]
    settings = of_problem(ONE, {}) | set_here({"K": CLASSES, "steps": LAST})
    notes = [
        MARKS,
        SIGMA,
        TEST_SET,
        "The logit error is the mean of ||l - u||^2, twice the loss. No number of the paper's figure is known: its curves "
        "are not among what we have.",
        "Runs are those of onenn2024-convergence.",
    ]
    return Figure("Uniform and separated prompts through training, N = 16", settings, seeds, series, claims(options, found),
                  notes=notes)  # fmt: skip


def draw(figure: Figure) -> Any:
    canvas, panels = style.new(columns=2, width=3.3, height=2.5)
    for axes, what in zip(panels, ("logit error", "accuracy"), strict=True):
        mine = [one for one in figure.series if what in one.name]
        for i, one in enumerate(mine):
            style.curve(axes, one, i, label=one.name.replace(f"{what}, ", ""))
        axes.set(xlabel="step", ylabel=what)
        axes.set_xscale("symlog", linthresh=500)
        style.legend(axes)
    panels[0].set_yscale("log")
    return canvas


RECIPES = [
    Recipe("shift", "logit error and accuracy on uniform and separated prompts", runs, measure, assemble, draw=draw,
           original=ORIGINAL)
]  # fmt: skip
