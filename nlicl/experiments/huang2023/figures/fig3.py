"""Figure 3, "attention score concentration": attention through training in the paper's experiment, and what Adam can move."""

import numpy as np
from numpy.typing import NDArray

from ....papers.huang2023 import Experiment, adam
from ... import style
from ...claims import Claim, published
from ...experiment import Found, Options, Seeds, no_runs
from ...figure import Figure, Original, Recipe
from .experiment import (
    BALANCED,
    CASES,
    DENSE,
    DERIVED,
    GD,
    GD_ONE_HOT,
    IMBALANCED,
    KNOWN,
    NOTES,
    ONE_HOT,
    POPULATION,
    UNKNOWN,
    WAYS,
    Curves,
    drawn,
    each,
    first_to,
    measure,
    settings,
    turned,
)

__all__ = ["RECIPES"]

ORIGINAL = Original(
    "Figure 3",
    "the title 'attention score concentration', and that it shows attention scores through training, balanced and imbalanced; "
    + KNOWN,
    UNKNOWN,
)
PROBLEM = Experiment()
RATE, STEPS = PROBLEM.learning_rate, PROBLEM.steps
EARLY = 20  # steps: gradients have hardly changed yet
OWN_1, OWN, OTHER = "Attn_1, query 1", "Attn_k, other queries", "Attn_1, other queries"


def claims(found: Found) -> list[Claim]:
    def of(case: str, way: str) -> list[Curves]:
        return [one[f"{case}, {way}"] for one in found]

    def ends(case: str, way: str, name: str = "own") -> NDArray:
        return np.array([getattr(run, name)[-1] for run in of(case, way)])

    dominant, rare, dense = (
        ends(IMBALANCED, DENSE)[:, 0],
        ends(IMBALANCED, DENSE)[:, 1:].mean(axis=1),
        ends(BALANCED, DENSE),
    )
    rows = [
        each(f"balanced, {DENSE}: attention of every query on its feature at step 400 (concentration)", dense, low=0.9),
        each(f"imbalanced, {DENSE}: that of the dominant query (concentration)", dominant, low=0.9),
        each(f"imbalanced, {DENSE}: that of the other queries, mean over them (concentration)", rare, low=0.85),
        each(
            f"imbalanced, {DENSE}: their attention on the dominant feature, 0.5 at first (concentration)",
            ends(IMBALANCED, DENSE, "first").mean(axis=1), high=0.1,
        ),
    ]  # fmt: skip
    rows = [published(row, "phases") for row in rows]
    waits = []
    for run in of(IMBALANCED, DENSE):
        reached = first_to(run.own >= 0.8, run.steps)
        waits.append(reached[1:].min() - reached[0])
    text = f"imbalanced, {DENSE}: steps from the dominant query's attention of 0.8 to the first other query's (order)"
    rows.append(published(each(text, waits, low=0), "order"))
    rows += [
        each(
            f"balanced, {ONE_HOT}: attention of every query on its feature at step 400 ({DERIVED})",
            ends(BALANCED, ONE_HOT),
            high=0.5,
        ),
        each(
            f"imbalanced, {ONE_HOT}: that of every query but the dominant one ({DERIVED})",
            ends(IMBALANCED, ONE_HOT)[:, 1:],
            high=0.3,
        ),
    ]
    move = adam.largest_move(RATE, STEPS)
    largest = [[run.largest for run in of(case, ONE_HOT)] for case in CASES]
    rows.append(
        each(
            f"{ONE_HOT}: the largest |Q_ij| at step 400; rate times steps is {RATE * STEPS:g} (derived bound)",
            largest,
            high=move,
        )
    )
    text = f"A_k at step {EARLY} over that of gradients that stay constant (derived law)"
    early = {
        way: np.array([run.A[run.steps == EARLY][0] for run in of(BALANCED, way)]).mean(axis=1)
        for way in (DENSE, ONE_HOT)
    }
    K, d = PROBLEM.K, PROBLEM.d or PROBLEM.K
    grown = adam.dense_gap(RATE, EARLY, d, K) * (K - 1) / K
    rows.append(each(f"balanced, {DENSE}: mean {text}", early[DENSE] / grown, low=0.7, high=1.05))
    rows.append(each(f"balanced, {ONE_HOT}: mean {text}", early[ONE_HOT] / (RATE * EARLY), low=0.95, high=1.05))
    for case in CASES:
        text = f"{case}, {POPULATION}: attention of every query on its feature at step 400 (concentration)"
        rows.append(each(text, ends(case, POPULATION), low=0.85))
    turn = "largest difference of attention between dense and one-hot features"
    rows.append(each(f"gradient descent: {turn} ({DERIVED})", turned(found, (GD, GD_ONE_HOT), "own"), high=1e-9))
    rows.append(each(f"Adam: {turn} ({DERIVED})", turned(found, (DENSE, ONE_HOT), "own"), low=0.3))
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    series = []
    for case in CASES:
        for way in WAYS:
            key = f"{case}, {way}"
            runs = [one[key] for one in found]
            if case == BALANCED:
                series.append(drawn(f"{key}: Attn_k, all queries", found, key, [run.own.mean(axis=1) for run in runs]))
                continue
            series.append(drawn(f"{key}: {OWN_1}", found, key, [run.own[:, 0] for run in runs]))
            series.append(drawn(f"{key}: {OWN}", found, key, [run.own[:, 1:].mean(axis=1) for run in runs]))
            series.append(drawn(f"{key}: {OTHER}", found, key, [run.first.mean(axis=1) for run in runs]))
    notes = [
        *NOTES,
        "'Other queries' and 'all queries' are means over features.",
        "Why one-hot features do not concentrate [derived]: an entry of Q moves by about the rate a step under Adam, 0.8 in "
        "400 steps, and at most 2.34 whatever the gradients are. In one-hot features an entry is a weight A_k or B_{k,n}. In "
        "dense ones a weight is a sum over d^2 entries that move together, and it grows about d sqrt(2/pi) / (2 sqrt(K - 1)) "
        "times as fast. Gradient descent takes both alike.",
        "If the paper's figure shows attention near 1, its features are dense with d well above K. This is our inference "
        "about the paper's setting, given Q = 0 at first and Adam's usual decay rates. It is not a statement of the "
        "paper. See huang2023-concentration.",
    ]
    title = "Attention score concentration, K = 10"
    return Figure(title, settings(), seeds, series, claims(found), notes=notes)


_LABELS = {
    OWN_1: r"$\mathrm{Attn}_1$ of query $v_1$",
    OWN: r"$\mathrm{Attn}_k$ of query $v_k$, mean over the others",
    OTHER: r"$\mathrm{Attn}_1$ of query $v_k$",
}


def draw(figure: Figure) -> style.Canvas:
    canvas, panels = style.new(columns=len(WAYS), width=2.2, height=2.0, rows=2, sharex=True, sharey=True)
    for row, case in zip(panels, CASES, strict=True):
        for axes, way in zip(row, WAYS, strict=True):
            if case == BALANCED:
                style.curve(axes, figure[f"{case}, {way}: Attn_k, all queries"], 1, label=_LABELS[OWN], every=4)
            else:
                for i, (name, label) in enumerate(_LABELS.items()):
                    style.curve(axes, figure[f"{case}, {way}: {name}"], i, label=label, every=4)
            axes.set(ylim=(0, 1.02))
            axes.set_title(way.replace(", ", ",\n") if case == IMBALANCED else "", fontsize=7)
        row[0].set_ylabel(f"{case}\nattention")
    for axes in panels[-1]:
        axes.set_xlabel("step")
    style.legend_below(canvas, panels[0, 0])
    return canvas


RECIPES = [
    Recipe(
        "fig3", "attention score concentration in the paper's experiment, balanced and imbalanced", no_runs, measure, assemble,
        draw=draw, original=ORIGINAL,
    )
]  # fmt: skip
