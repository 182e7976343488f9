"""Figure 2, "stage-wise convergence": the prediction error of each feature through training, in the paper's experiment."""

from typing import Any

import numpy as np

from ... import style
from ...claims import Claim, fact, published
from ...experiment import Found, Options, Seeds, no_runs
from ...figure import Figure, Original, Recipe
from ...summary import span
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
    "Figure 2",
    "the title 'stage-wise convergence', and that it shows the prediction error of each feature through training; "
    + KNOWN,
    "whether it is balanced or imbalanced: both were run; " + UNKNOWN,
)


def shares(run: Curves) -> Any:
    """The error of each feature over its own at the start, (T, K)."""
    return run.error / run.error[0]


def others_then(run: Curves) -> float:
    """The mean error of the other features, over that at the start, when feature 1's is first a tenth; nan: it never is."""
    [step] = first_to(shares(run)[:, :1] <= 0.1, run.steps)
    if np.isinf(step):
        return np.nan
    errors = run.error[:, 1:].mean(axis=1)
    return float(errors[run.steps == step][0] / errors[0])


def halved_first(way: str, found: Found) -> Claim:
    """A claim: the dominant feature's error halves before any other does."""
    halves = np.array(
        [first_to(shares(of[f"{IMBALANCED}, {way}"]) <= 0.5, of[f"{IMBALANCED}, {way}"].steps) for of in found]
    )
    dominant, others = halves[:, 0], halves[:, 1:]
    never = ", or never" if np.isinf(others).any() and np.isfinite(others).any() else ""
    measured = f"dominant: {span(dominant)}; others: {span(others) if np.isfinite(others).any() else 'never'}{never}"
    return fact(
        f"imbalanced, {way}: step at which each error is half of that at the start (order)",
        bool(np.all(dominant < others.min(axis=1))),
        measured,
        "the dominant feature's first, in every seed",
        dominant,
    )


def claims(found: Found) -> list[Claim]:
    def of(case: str, way: str) -> list[Curves]:
        return [one[f"{case}, {way}"] for one in found]

    rows = [published(halved_first(way, found), "order") for way in (DENSE, ONE_HOT)]
    rows += [halved_first(way, found) for way in (GD, POPULATION)]
    stage = (
        "imbalanced, {}: the others' mean error, over that at the start, when the dominant one's is a tenth (stages)"
    )
    for way in (DENSE, GD, POPULATION):
        row = each(stage.format(way), [others_then(run) for run in of(IMBALANCED, way)], low=0.75, high=np.inf)
        rows.append(published(row, "phases") if way == DENSE else row)
    last = "imbalanced, {}: the dominant error and the others' mean at step 400, over those at the start (convergence)"
    for way in (DENSE, POPULATION):
        ends = [[shares(run)[-1, 0], shares(run)[-1, 1:].mean()] for run in of(IMBALANCED, way)]
        row = each(last.format(way), ends, high=0.05)
        rows.append(published(row, "phases") if way == DENSE else row)
    together = "balanced, {}: the others' mean error, over that at the start, when feature 1's is a tenth (no stages)"
    for way in (DENSE, GD, POPULATION):
        rows.append(each(together.format(way), [others_then(run) for run in of(BALANCED, way)], high=0.5))
    for case in CASES:
        least = [shares(run)[-1].min() for run in of(case, ONE_HOT)]
        rows.append(
            each(
                f"{case}, {ONE_HOT}: the smallest error at step 400, over that at the start ({DERIVED})", least, low=0.1
            )
        )
    turn = "largest difference of an error between dense and one-hot features"
    rows.append(each(f"gradient descent: {turn} ({DERIVED})", turned(found, (GD, GD_ONE_HOT), "error"), high=1e-9))
    rows.append(each(f"Adam: {turn} ({DERIVED})", turned(found, (DENSE, ONE_HOT), "error"), low=0.2))
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    series = []
    for case in CASES:
        for way in WAYS:
            key = f"{case}, {way}"
            for k in range(found[0][key].error.shape[1]):
                series.append(drawn(f"{key}: feature {k + 1}", found, key, [one[key].error[:, k] for one in found]))
    notes = [
        *NOTES,
        "The prediction error of feature k is L_k, the mean of (yhat - y_query)^2 / 2 over prompts whose query is v_k. A "
        "curve is its mean over seeds. A thin curve is one of the features 2 to 10.",
        "A feature that few of the 300 prompts ask for is learnt late, in single seeds much later than the others.",
        "One-hot features end far from convergence after 400 steps of Adam: see huang2023-fig3, whose claims have the reason.",
    ]
    title = "Stage-wise convergence: the prediction error of each feature, K = 10"
    return Figure(title, settings(), seeds, series, claims(found), notes=notes)


def draw(figure: Figure) -> style.Canvas:
    canvas, panels = style.new(columns=len(WAYS), width=2.2, height=2.0, rows=2, sharex=True, sharey=True)
    for row, case in zip(panels, CASES, strict=True):
        for axes, way in zip(row, WAYS, strict=True):
            mine = [one for one in figure.series if one.name.startswith(f"{case}, {way}: ")]
            for one in mine[1:]:
                axes.plot(one.x, one.y, color=style.COLOURS[5], linewidth=0.8, label="another feature")
            label = "feature 1, the dominant one where imbalanced"
            style.curve(axes, mine[0], 0, label=label, every=4)
            axes.set(yscale="log")
            axes.set_title(way.replace(", ", ",\n") if case == IMBALANCED else "", fontsize=7)
        row[0].set_ylabel(f"{case}\nprediction error $L_k$")
    for axes in panels[-1]:
        axes.set_xlabel("step")
    style.legend_below(canvas, panels[0, 0])
    return canvas


RECIPES = [
    Recipe(
        "fig2", "stage-wise convergence: the prediction error of each feature in the paper's experiment", no_runs, measure,
        assemble, draw=draw, original=ORIGINAL,
    )
]  # fmt: skip
