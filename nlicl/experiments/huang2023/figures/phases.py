"""Weights and scores along the gradient flow of the population loss, N infinite, K = 100: the phases of training.

Balanced features; the dominant query; an under-represented query at p_1 = 0.5, where target and dominant feature change
roles within phase I, and at 0.8, where they do within phase II.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....papers.huang2023 import reduced, theory
from ....papers.huang2023.trajectory import Point
from ... import style
from ...claims import Claim, published
from ...experiment import Found, Measured, Options, Runs, Seeds, no_runs
from ...figure import Figure, Recipe
from ...settings import set_here
from .common import (
    DETERMINISTIC,
    EPS,
    IDENTITY,
    LAW,
    MARKS,
    NO_CURVE,
    OURS,
    STOP,
    agree,
    at_most,
    curve,
    increasing,
    recorded,
    time,
)

__all__ = ["RECIPES"]

K = 100
P_1 = (0.5, 0.8)
SHARES = {  # A_k / log K, B_{k,1} / log K, Attn_k, Attn_1 at T_1 .. T_4: our reference runs
    0.5: ((0.217, 0.464, 1, 1.477), (-0.490, -0.546, -0.594, -0.624),
          (0.0242, 0.0738, 0.494, 0.900), (0.0923, 0.0698, 0.0317, 0.00561)),
    0.8: ((0.027, 0.226, 1, 1.480), (-0.490, -0.784, -0.888, -0.919),
          (0.00792, 0.0248, 0.490, 0.900), (0.290, 0.0939, 0.0325, 0.00568)),
}  # fmt: skip
TIMES = {  # T_dom; T_1, cross, T_2, T_3 over K^2; (T_4 - T_3) / K: our reference runs
    0.5: (140.1, (1.511, 0.953, 2.108, 2.535), 138.5),
    0.8: (61.34, (0.967, 2.794, 4.133, 6.629), 346.6),
}
FOUR = ("T_1", "T_2", "T_3", "T_4")


def dominant(p_1: float) -> str:
    return f"dominant, p_1 = {p_1:g}"


def rare(p_1: float) -> str:
    return f"under-represented, p_1 = {p_1:g}"


@cache
def computed() -> dict[str, dict[str, Any]]:
    queries = {"balanced": reduced.balanced(K)}
    queries |= {dominant(p_1): reduced.dominant(K, p_1) for p_1 in P_1}
    queries |= {rare(p_1): reduced.under_represented(K, p_1) for p_1 in P_1}
    found = {}
    for name, query in queries.items():
        run = reduced.flow(query, eps=EPS)
        end = run.tau[-1]
        found[name] = recorded(run, np.union1d(np.geomspace(1e-4 * end, end, 150), np.linspace(0, end, 150)))
    return found


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    return computed()


def _sum_of_weights(name: str, points: Point) -> NDArray:
    others = K - 2 if name.startswith("under") else K - 1
    return points.A + np.nan_to_num(points.B_1) + others * points.B_o


def claims(found: Measured) -> list[Claim]:
    log_K, balanced = np.log(K), found["balanced"]
    T_1, T_2 = (time(balanced, name) for name in ("T_1", "T_2"))
    ends = [balanced["times"][name].point for name in ("T_1", "T_2")]
    rows = [
        agree("balanced: T_1 / K^2, (T_2 - T_1) / K", (T_1 / K**2, (T_2 - T_1) / K), (1.134, 69.61), OURS, share=0.005),
        agree("balanced: Attn_k at T_1", ends[0].Attn_k, 0.514, OURS, share=0.01),
        agree("balanced: A_k / log K at T_1, T_2", [e.A / log_K for e in ends], (1, 6.724 / log_K), OURS, slack=0.005),
        agree("balanced: T_1, T_2, exactly", (T_1, T_2), theory.balanced_times(K, EPS), LAW, share=1e-4),
    ]
    for p_1, (T_dom, first, last) in TIMES.items():
        end = time(found[dominant(p_1)], "T_dom")
        one = found[rare(p_1)]
        T = {name: moment.tau for name, moment in one["times"].items()}
        points = [one["times"][name].point for name in FOUR]
        scaled = [T[name] / K**2 for name in ("T_1", "cross", "T_2", "T_3")]
        rows += [
            agree(f"T_dom, p_1 = {p_1:g}", end, T_dom, OURS, share=0.005),
            agree(f"T_dom, p_1 = {p_1:g}, exactly", end, theory.dominant_time(K, p_1, EPS), LAW, share=1e-4),
            agree(f"{rare(p_1)}: T_1, cross, T_2, T_3 over K^2", scaled, first, OURS, share=0.005),
            agree(f"{rare(p_1)}: (T_4 - T_3) / K", (T["T_4"] - T["T_3"]) / K, last, OURS, share=0.005),
        ]
        for label, values, expected in zip(
            ("A_k / log K", "B_{k,1} / log K", "Attn_k", "Attn_1"),
            ([p.A / log_K for p in points], [p.B_1 / log_K for p in points],
             [p.Attn_k for p in points], [p.Attn_1 for p in points]),
            SHARES[p_1], strict=True,
        ):  # fmt: skip
            tolerance = {"slack": 0.005} if "log" in label else {"share": 0.01}
            rows.append(agree(f"{rare(p_1)}: {label} at T_1 .. T_4", values, expected, OURS, **tolerance))
        ordered = increasing(f"{rare(p_1)}: order of T_1, T_2, T_3, T_4", [T[name] for name in FOUR], OURS)
        rows.append(published(ordered, "phases"))
    T = {name: moment.tau for name, moment in found[rare(0.8)]["times"].items()}
    order = [T[name] for name in ("T_1", "cross", "T_2")]
    rows.append(increasing("p_1 = 0.8, where alpha_k = |beta_{k,1}|: order of T_1, cross, T_2", order, OURS))
    rows.append(at_most("A_k never decreases: its largest fall, any query",
                        [np.max(-np.diff(one["points"].A)) for one in found.values()], 0, IDENTITY))  # fmt: skip
    sums = [np.abs(_sum_of_weights(name, one["points"])).max() for name, one in found.items()]
    rows.append(at_most("A_k + sum of B_{k,n} is 0, any query", sums, 1e-9, IDENTITY))
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    one = found[0]
    series = []
    for name, run in one.items():
        x, points, log_K = run["tau"] / K**2, run["points"], np.log(K)
        series.append(curve(f"A_k / log K, {name}", x, points.A / log_K))
        if name.startswith("under"):
            series.append(curve(f"B_k1 / log K, {name}", x, points.B_1 / log_K))
            series.append(curve(f"Attn_1, {name}", x, points.Attn_1))
        series.append(curve(f"B_kn / log K, {name}", x, points.B_o / log_K))
        series.append(curve(f"Attn_k, {name}", x, points.Attn_k))
        series.append(curve(f"Attn of the rest, {name}", x, 1 - points.Attn_k - np.nan_to_num(points.Attn_1)))
        moments = sorted(run["times"].items(), key=lambda item: item[1].tau)
        x = [moment.tau / K**2 for _, moment in moments]
        series.append(curve(f"{', '.join(key for key, _ in moments)}, {name}", x, np.ones(len(x))))
    settings = set_here({"K": K, "p_1": P_1, "N": "infinite", "eps": EPS, "dynamics": "gradient flow"})
    notes = [
        NO_CURVE,
        MARKS,
        STOP,
        "Thresholds of the phases are [recalled]; cross is where alpha_k = |beta_{k,1}| [derived]. At p_1 = 0.5 it comes "
        "before T_1: |beta_{k,1}| >> alpha_k all through phase I is asymptotic [derived].",
        DETERMINISTIC,
    ]
    title = f"Phases of training, K = {K}, population gradient flow"
    return Figure(title, settings, seeds, series, claims(one), notes=notes)


_CURVES = (  # weight, score, label of both
    ("A_k / log K", "Attn_k", r"$A_k$; $\mathrm{Attn}_k$"),
    ("B_k1 / log K", "Attn_1", r"$B_{k,1}$; $\mathrm{Attn}_1$"),
    ("B_kn / log K", "Attn of the rest", r"$B_{k,n}$; attention on the rest"),
)
_TIMES = {"cross": r"$\alpha_k = |\beta_{k,1}|$", "T_dom": r"$T_{dom}$"}


def draw(figure: Figure) -> style.Canvas:
    names = ("balanced", dominant(0.5), rare(0.5), rare(0.8))
    canvas, panels = style.new(columns=len(names), width=2.4, height=2.2, rows=2, sharey="row", sharex="col")
    series = {one.name: one for one in figure.series}
    for column, name in zip(panels.T, names, strict=True):
        for i, (*keys, label) in enumerate(_CURVES):
            for axes, key in zip(column, keys, strict=True):
                if f"{key}, {name}" in series:
                    style.curve(axes, series[f"{key}, {name}"], i, label=label, every=(20 * i + 150, 30))
        marks = next(
            one for text, one in series.items() if text.endswith(f", {name}") and text.startswith(("T_", "cross"))
        )
        for i, (key, x) in enumerate(zip(marks.name.removesuffix(f", {name}").split(", "), marks.x, strict=True)):
            for axes in column:
                axes.axvline(x, color=style.PAPER, linewidth=0.7, linestyle=":" if key == "cross" else "-", zorder=0)
            column[0].annotate(
                _TIMES.get(key, f"$T_{key[-1]}$"), (x, 1.0), (0, 2 + 7 * (i % 2)), fontsize=5.5, ha="center",
                xycoords=("data", "axes fraction"), textcoords="offset points", annotation_clip=False,
            )  # fmt: skip
        column[0].set_title(name.replace("p_1", "$p_1$"), pad=17)
        column[1].locator_params(axis="x", nbins=5)
        column[1].set(xlabel=r"$\tau / K^2$", xlim=(0, None), ylim=(0, 1.02))
    panels[0, 0].set(ylabel=r"weight / $\log K$")
    panels[1, 0].set(ylabel="attention on a feature")
    canvas.suptitle(figure.title, fontsize=8.5)
    style.legend_below(canvas, panels[0, -1], columns=3)
    return canvas


RECIPES = [Recipe("phases", "weights and attention through the phases", no_runs, measure, assemble, draw=draw)]
