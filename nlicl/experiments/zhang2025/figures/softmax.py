"""Softmax in the place of linear attention: merged keys and queries have one drop, separate ones go in steps, softer."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....papers.zhang2025.problem import Problem
from ....training.loop import train
from ... import style
from ...claims import Claim, published
from ...experiment import Found, Measured, Options, Runs, Seeds, no_runs
from ...figure import Figure, Original, Recipe
from ...series import Series, spread
from ...settings import set_here
from .common import GOLDEN, SEEDS, curve, thinned, within

__all__ = ["RECIPES"]

MERGED = Problem(softmax=True, heads=8, init=0.01, P=1000, learning_rate=0.1, steps=600)
SEPARATE = Problem(softmax=True, heads=5, rank=1, init=0.01, P=2000, learning_rate=0.2, steps=3000)
KINDS = {"merged": MERGED, "separate": SEPARATE}
QUICK_P, QUICK_STEPS = 200, {"merged": 250, "separate": 1200}
WIDTH, SLOWER = 40, 2.0  # steps of a speed; by how much a pause is slower than what comes before and after it
NEAR = 0.09
PAUSES = "losses of pauses, separate, all seeds"
ORIGINAL = Original(
    "Figures 5 and 6",
    "softmax attention: one drop with merged keys and queries, several with separate ones; initialisation scales "
    "[summary]",
    "its curves, rates, scales, heads, prompts and steps, of which the repository has none: H = 8 and 5, init 0.01, "
    "rates 0.1 and 0.2, 1000 and 2000 prompts were taken [ours]",
)


def pauses(losses: NDArray) -> NDArray:
    """The losses over the first one where training slows down to a half and speeds up again: between 0.95 and 0.2 of it."""
    from scipy.signal import find_peaks

    speed = np.maximum(losses[:-WIDTH] - losses[WIDTH:], 1e-9) / WIDTH
    slow, _ = find_peaks(-np.log(speed), prominence=np.log(SLOWER))
    found = losses[slow + WIDTH // 2] / losses[0]
    return found[(found < 0.95) & (found > 0.2)]


def problem(kind: str, options: Options) -> Problem:
    return replace(KINDS[kind], P=QUICK_P, steps=QUICK_STEPS[kind]) if options["quick"] else KINDS[kind]


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    found: dict[str, Any] = {}
    for kind in KINDS:
        losses = train(problem(kind, options), seed=seed, measure=None).history.loss
        found[f"losses {kind}"] = losses[thinned(len(losses))]
        found[f"pauses {kind}"] = pauses(losses)
        reached = [
            float(np.argmax(losses < share * losses[0])) if losses.min() < share * losses[0] else np.nan
            for share in (0.9, 0.3)
        ]
        found[f"first {kind}"], found[f"last {kind}"] = reached
    return found


def claims(options: Options, found: Found) -> list[Claim]:
    rows = [
        published(
            within(
                "merged: pauses between the first loss and the drop's end (one drop)",
                [len(one["pauses merged"]) for one in found],
                high=0,
            ),
            "phases",
        ),
        published(
            within(
                "separate: steps of the first plateau, to a loss of 0.9 of the first, over merged's (ours: at these "
                "rates)",
                [one["first separate"] / one["first merged"] for one in found],
                2,
            ),
            "order",
        ),
    ]
    if options["quick"]:
        return rows
    apart = [np.abs(np.subtract.outer(one["pauses separate"], GOLDEN)).min(axis=1).max(initial=0) for one in found]
    return [
        *rows,
        published(
            within("separate: pauses between drops (several drops)", [len(one["pauses separate"]) for one in found], 2),
            "phases",
        ),
        within(
            "separate: loss of a pause over the first, from the nearest golden loss of linear attention (measured: "
            "near)",
            apart,
            high=NEAR,
        ),
    ]


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    series = list[Series]()
    for kind in KINDS:
        steps = problem(kind, options).steps
        series.append(spread(f"{kind}, all seeds", thinned(steps), [one[f"losses {kind}"] for one in found]))
        series += [
            curve(f"{kind}, seed {seed}", thinned(steps), one[f"losses {kind}"])
            for seed, one in zip(seeds, found, strict=True)
        ]
    losses = np.sort(np.concatenate([one["pauses separate"] for one in found]))[::-1]
    series.append(curve(PAUSES, np.arange(len(losses)), losses))
    notes = [
        "At small weights softmax attention is linear attention of scale 1/(N+1) on centred scores [derived]: hence "
        "the likeness, softened as scores grow.",
        "A pause is where the speed of training, over 40 steps, is half of that before and after it, or less. "
        "Truly flat it is seldom.",
        "No claim is made about the loss at the end: softmax attention is no linear model, and may come below 0.136 "
        "on so few prompts.",
        "With merged keys and queries from a smaller start there is a pause near 0.7 in some seeds, the longer the smaller "
        "the start: at init 1e-6 it lasts 400 steps at rate 0.1 with 4 heads [measured]. We do not know why. From 0.01 "
        "there is none. At rate 0.2 the loss oscillates after the drop [measured].",
        SEEDS,
    ]
    settings = {
        f"{kind}: {name}": value
        for kind in KINDS
        for name, value in problem(kind, options).settings().items()
        if name in ("heads", "rank", "init", "P", "learning_rate", "steps")
    }
    settings |= {
        name: value
        for name, value in MERGED.settings().items()
        if name in ("d", "length", "scale", "covariance", "softmax")
    }
    title = "Softmax attention: merged and separate keys and queries, D = 4, N = 31"
    return Figure(
        title, settings | set_here({"width of a speed": WIDTH}), seeds, series, claims(options, found), notes=notes
    )


def draw(figure: Figure) -> style.Canvas:
    canvas, panels = style.new(columns=2, width=3.3, sharey=True)
    for axes, kind in zip(panels, KINDS, strict=True):
        for level in GOLDEN[1:]:
            axes.axhline(level, color=style.PAPER, linewidth=0.8, linestyle=":", zorder=1)
        for i, one in enumerate(one for one in figure.series if one.name.startswith(f"{kind}, seed")):
            k = i % len(style.COLOURS)
            axes.plot(one.x, one.y, color=style.COLOURS[k], linestyle=style.STYLES[k], linewidth=0.9)
        axes.set(xlabel="step", title=f"{kind}, one curve a seed")
    panels[0].set(ylabel="loss", ylim=(0, 1.15))
    return canvas


RECIPES = [
    Recipe(
        "softmax", "softmax attention, merged and separate", no_runs, measure, assemble, draw=draw, original=ORIGINAL
    )
]
