"""The loss of each kind of query along gradient descent, K = 20, N = 400, eta = 5, by the exact reduction."""

from functools import cache
from typing import Any

import numpy as np

from ....papers.huang2023 import reduced, theory
from ... import style
from ...claims import Claim, fact
from ...experiment import Found, Measured, Options, Runs, Seeds, no_runs
from ...figure import Figure, Recipe
from ...settings import set_here
from ...summary import listed
from .common import DETERMINISTIC, EPS, MARKS, NO_CURVE, OURS, STOP, agree, at_most, curve, recorded, step

__all__ = ["RECIPES"]

K, N, ETA, P_1, STEPS = 20, 400, 5.0, 0.5, 1200
QUERIES = {
    "L_1, dominant": reduced.dominant(K, P_1, N),
    "L_k, under-represented": reduced.under_represented(K, P_1, N),
    "L, balanced": reduced.balanced(K, N),
}
STARTS = {"L_1, dominant": 0.1325, "L_k, under-represented": 0.6062, "L, balanced": 0.4762}  # our reference runs


@cache
def computed() -> dict[str, dict[str, Any]]:
    found = {}
    for name, query in QUERIES.items():
        found[name] = recorded(reduced.descend(query, eta=ETA, steps=STEPS)) | {"floor": reduced.floor(query)}
    return found


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    return computed()


def claims(found: Measured) -> list[Claim]:
    dominant, rare, balanced = found.values()
    rows = [
        at_most(f"{name} never increases: its largest rise", np.diff(one["points"].L_k), 0, "derived step size")
        for name, one in found.items()
    ]
    rows += [
        agree(f"{name} at step 0", one["points"].L_k[0], STARTS[name], OURS, slack=1e-4) for name, one in found.items()
    ]
    early = [step(rare, name) for name in ("T_1", "T_2", "T_3")]
    rows += [
        agree("T_dom, steps", step(dominant, "T_dom"), 25, OURS, slack=1),
        agree("under-represented: T_1, T_2, T_3, steps", early, (165, 177, 256), OURS, slack=1),
        agree("under-represented: T_4, steps", step(rare, "T_4"), 776, OURS, slack=4),
        agree("balanced: T_2, steps", step(balanced, "T_2"), 375, OURS, slack=2),
    ]
    for (name, one), T in zip(found.items(), ("T_dom", "T_4", "T_2"), strict=True):
        point = one["times"][T].point
        low, high = point.missed * (1 + 1 / (K - 1)) / 2, point.missed
        text = f"{name} at {T}: from m/2 (1 + 1/(K-1)) to m, m the mean of (1 - Attn_k)^2 (derived identity)"
        rows.append(fact(text, low <= point.L_k <= high, f"{point.L_k:.5g}", f"{low:.5g} to {high:.5g}", [point.L_k]))
    for name, query in QUERIES.items():
        low, high = theory.floor_bounds(query.p_k, N, K)
        floor, least = found[name]["floor"], found[name]["points"].L_k.min()
        text = f"{name}: its floor, above (1-p_k)^N (1 + 1/(K-1))/2, below (1-p_k)^N and the loss (derived bound)"
        rows.append(
            fact(text, low <= floor <= high and floor < least, f"{floor:.3g}", f"{low:.3g} to {high:.3g}", [floor])
        )
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    one = found[0]
    series = []
    for name, run in one.items():
        steps = np.arange(len(run["tau"]))
        series.append(curve(name, steps, run["points"].L_k))
        query = QUERIES[name]
        bounds = theory.floor_bounds(query.p_k, N, K)
        for label, level in (("floor", run["floor"]), *zip(("lower bound", "upper bound"), bounds, strict=True)):
            series.append(curve(f"{label} of {name}", steps[[0, -1]], [level, level]))
        reached = {key: moment for key, moment in run["times"].items() if key != "cross" and np.isfinite(moment.step)}
        x, y = [m.step for m in reached.values()], [m.point.L_k for m in reached.values()]
        series.append(curve(f"{name}: {', '.join(reached)}", x, y))
    settings = set_here({"K": K, "N": N, "p_1": P_1, "eta": ETA, "eps": EPS})
    floors = listed([one[name]["floor"] for name in QUERIES])
    notes = [
        NO_CURVE,
        MARKS,
        STOP,
        f"Floors, the infimum of each loss for prompts without the query's feature [derived]: {floors}, in the order of the "
        "curves. The lowest two lie far below what is drawn.",
        DETERMINISTIC,
    ]
    title = f"Loss of each query under gradient descent, K = {K}, N = {N}"
    return Figure(title, settings, seeds, series, claims(one), notes=notes)


def draw(figure: Figure) -> style.Canvas:
    canvas, axes = style.new(width=4.4, height=3.0)
    for i, name in enumerate(QUERIES):
        label = name.replace("L_1", "$L_1$").replace("L_k", "$L_k$").replace("L,", "$L$,")
        style.curve(axes, figure[name], i, label=label, every=(60 * i, 200))
        floor = figure[f"floor of {name}"]
        if floor.y[0] > 1e-6:
            low, high = (figure[f"{side} bound of {name}"].y for side in ("lower", "upper"))
            style.band(axes, floor.x, low, high, style.COLOURS[i])
            axes.plot(floor.x, floor.y, color=style.COLOURS[i], linewidth=0.8, linestyle=":", label=f"floor of {label}")
        marks = next(one for one in figure.series if one.name.startswith(f"{name}: "))
        axes.plot(marks.x, marks.y, "o", color=style.COLOURS[i], markerfacecolor="white", zorder=4)
        for j, (key, x, y) in enumerate(zip(marks.name.partition(": ")[2].split(", "), marks.x, marks.y, strict=True)):
            text = r"$T_{dom}$" if key == "T_dom" else f"$T_{key[-1]}$"
            axes.annotate(text, (x, y), (-7, -9) if j == 0 and i else (4, 3), textcoords="offset points", fontsize=6)
    axes.set(xlabel=r"step, $\eta = 5$", ylabel="loss", yscale="log", ylim=(3e-6, 1.5), xlim=(0, STEPS))
    axes.set_title(figure.title)
    style.legend(axes, loc="upper right")
    return canvas


RECIPES = [Recipe("loss", "loss of each query against steps, with its floor", no_runs, measure, assemble, draw=draw)]
