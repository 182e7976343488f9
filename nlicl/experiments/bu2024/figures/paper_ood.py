"""Prompts out of distribution at the paper's own settings, as a third party quotes them, beside the quick default's."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.seeds import Bu2024Part
from ....papers import bu2024
from ... import style
from ...claims import Claim, published
from ...experiment import Found, Measured, Options, Runs, Seeds, Training
from ...figure import Figure, Recipe
from ...series import spread
from ...settings import set_here
from . import ood
from .common import DERIVED, FIGURE_3, MARKS, PAPER_CURVE, mean_from, mean_near
from .paper import PAPER

__all__ = ["RECIPES"]

RECORD = (0, 10, 20, 30, 40, 50, 60, 80, 100, 200, 400, 1000)
WATCHED, WATCHED_QUICK = 250, 80  # test prompts of a distribution while training
TESTED, TESTED_QUICK = 1000, 300  # at the end ...
TOKENS = 50_000  # ... with so many tokens at most
AT_ONCE = 5000  # tokens, 80 MB
ASKED = ("L* = 1", "L* = 2", "L* = 8", "L* = 32", "skewed 0.9/0.1", "skewed 0.99/0.01", "switched")  # the paper's cases
MOST = 0.01  # mean error where a shift succeeds


class Watch:
    """Tests on prompts of the panels' distributions while the model is trained. The prompts are drawn once."""

    def __init__(self, problem: bu2024.Problem, seed: int, n: int = WATCHED) -> None:
        shifts = ood.named_shifts(problem)
        self.prompts = {
            name: problem.sample(n, seed=(seed, Bu2024Part.WATCHED, i), **shifts[name].draw)
            for i, name in enumerate(ood.PANELS)
        }

    def __call__(self, params: bu2024.Params) -> dict[str, NDArray]:
        return {name: ood.tested(params, prompts) for name, prompts in self.prompts.items()}


def watch_quick(problem: bu2024.Problem, seed: int) -> Watch:
    return Watch(problem, seed, WATCHED_QUICK)


def final(params: bu2024.Params, seed: int, number: int, draw: Mapping[str, Any], n: int) -> NDArray:
    """0-1 error, mean attn_+ and mean loss of the trained model, (3,); prompts are drawn in chunks."""
    rows = draw.get("length", PAPER.length) + 1
    n = min(n, TOKENS // rows)
    sizes = [len(part) for part in np.array_split(np.arange(n), -(-n * rows // AT_ONCE))]
    parts = [
        ood.tested(params, PAPER.sample(size, seed=(seed, Bu2024Part.FINAL, number, i), **draw))
        for i, size in enumerate(sizes)
    ]
    return np.average(parts, axis=0, weights=sizes)


def runs(options: Options) -> dict[str, Training]:
    times = tuple(step for step in RECORD if step <= (200 if options["quick"] else 1000))
    observe = watch_quick if options["quick"] else Watch
    return {
        "paper": Training(PAPER, steps=times[-1], measure=times, observe=observe),
        "default": ood.runs(options)["run"],
    }


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    run, default = runs["paper"], runs["default"]
    shifts = ood.named_shifts(PAPER)
    chosen, n = (ood.PANELS, TESTED_QUICK) if options["quick"] else (shifts, TESTED)
    return {
        "steps": run.history.steps,
        "watched": {name: run.history[name] for name in ood.PANELS},
        "final": {
            name: final(run.params, seed, i, shifts[name].draw, n) for i, name in enumerate(shifts) if name in chosen
        },
        "default": {"steps": default.history.steps} | {name: default.history[name] for name in ood.PANELS},
    }


def claims(found: Found) -> list[Claim]:
    shifts = ood.named_shifts(PAPER)

    def at(name: str, quantity: str = "error") -> list[float]:
        return [one["final"][name][ood.QUANTITIES.index(quantity)] for one in found]

    rows = []
    for name in found[0]["final"]:
        shift = shifts[name]
        text = f"0-1 error, {name}" + (f": {shift.about}" if "semantics" in shift.draw else "")
        if shift.succeeds:
            claim = mean_from(f"{text}: small", at(name), "as the theory says", high=MOST)
            rows.append(published(claim, "value") if name in ASKED else claim)
    rows += [
        mean_from("0-1 error, labels flipped", at("flipped"), DERIVED, low=0.99),
        mean_near("0-1 error, a new orthogonal b: attention does not see it", at("new b"), 0.4, 0.15, "measured"),
        mean_from("attn_+, a new orthogonal b: near its start", at("new b", "attention"), DERIVED, high=0.75),
    ]  # fmt: skip
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    series = []
    for prefix, steps, rows in (
        ("", found[0]["steps"], [one["watched"] for one in found]),
        ("default: ", found[0]["default"]["steps"], [one["default"] for one in found]),
    ):
        series += [
            spread(f"{prefix}{quantity}, {name}", steps, [row[name][:, i] for row in rows])
            for name in ood.PANELS
            for i, quantity in enumerate(ood.QUANTITIES)
        ]
    last = int(found[0]["steps"][-1])
    watched, tested = (WATCHED_QUICK, TESTED_QUICK) if options["quick"] else (WATCHED, TESTED)
    series += [
        spread(f"{quantity} at the end, {name}", [last], [one["final"][name][[i]] for one in found])
        for name in found[0]["final"]
        for i, quantity in enumerate(ood.QUANTITIES)
    ]
    notes = [
        PAPER_CURVE,
        "Other lengths, skewed concepts and switched semantic features are the paper's cases [paper]. Their numbers are "
        "ours, as in the figure ood. So are all other cases, and every failing one.",
        f"Solid: the paper's problem, {last} steps, 100 epochs if an epoch has {last / 100:g}. Dashed: the quick default"
        + (", the small setting." if options["quick"] else "."),
        f"Curves: {watched} test prompts a seed, bands from the lowest to the highest seed. Claims: the parameters at the "
        f"end, {tested} test prompts a seed, fewer where there would be more than {TOKENS} tokens.",
        MARKS,
    ]
    settings = PAPER.settings() | {"steps": [last, "set here"]} | set_here({"test prompts a seed": tested})
    title = f"Out of distribution: the paper's problem, trained at L = {PAPER.length}"
    return Figure(title, settings, seeds, series, claims(found), notes=notes)


def draw(figure: Figure) -> style.Canvas:
    canvas, panels = style.new(columns=4, rows=3, width=1.8, height=1.55, sharex=True, sharey=True)
    for axes, (name, title) in zip(panels.flat, ood.PANELS.items(), strict=True):
        for i, (quantity, label) in enumerate((("error", "0-1 error"), ("attention", r"attn$_+$"))):
            mine, other = figure[f"{quantity}, {name}"], figure[f"default: {quantity}, {name}"]
            low, high = mine.ends
            axes.plot(mine.x + 1, mine.y, color=style.COLOURS[i], label=f"{label}, the paper's problem", zorder=3)
            style.band(axes, mine.x + 1, low, high, style.COLOURS[i])
            axes.plot(
                other.x + 1, other.y, color=style.COLOURS[i], linestyle="--", label=f"{label}, the default", zorder=2
            )
        error = figure[f"error at the end, {name}"].y[-1]
        axes.set_title(title, fontsize=7.5)
        axes.set_title(f"{error:.4f}" if error < 0.01 else f"{error:.2f}", fontsize=7.5, loc="right")
    panels[0, 0].set(xscale="log", ylim=(0, 1.05), xlim=(8, 1200))
    for axes in panels[-1]:
        axes.set_xlabel("1 + SGD step $t$")
    style.legend_below(canvas, panels[0, 0], columns=2)
    canvas.suptitle(f"{figure.title}. Right of a title: 0-1 error at the end", fontsize=8.5)
    return canvas


RECIPES = [
    Recipe("paper-ood", "the paper's problem: prompts out of distribution, beside the quick default", runs, measure, assemble,
           draw=draw, original=FIGURE_3),
]  # fmt: skip
