"""What a finite number N of examples changes: times of the phases and floors against N, K = 20, eta = 5, gradient descent.

They are exact, by the reduction. Beside them are those of 2000 sampled count vectors a seed, which follow all K weights.
"""

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ....papers.huang2023 import population, reduced, theory
from ....papers.huang2023.phases import phases
from ....papers.huang2023.trajectory import Trajectory
from ... import style
from ...claims import Claim, every, fact
from ...experiment import Found, Measured, Options, Runs, Seeds, no_runs
from ...figure import Figure, Recipe
from ...series import Series
from ...settings import set_here
from .common import EPS, MARKS, NO_CURVE, OURS, STOP, agree, curve

__all__ = ["RECIPES"]

K, ETA, P_1, STEPS = 20, 5.0, 0.5, 3000
TABLE = {  # N: T_dom; balanced T_1, T_2; under-represented T_1 .. T_4, nan: never. Our reference runs
    100: (25, 121, 760, 170, 183, 273, np.nan),
    200: (25, 118, 391, 167, 179, 261, 1253),
    400: (25, 117, 375, 165, 177, 256, 776),
    2000: (25, 116, 368, 164, 175, 253, 740),
}
BETWEEN = (140, 280, 560, 800, 1200)
NAMES = ("T_dom", "balanced T_1", "balanced T_2", "T_1", "T_2", "T_3", "T_4")
LATE = ("balanced T_2", "T_4")  # within one step or 0.5%
KINDS = ("dominant", "balanced", "under-represented")
SAMPLED = {  # name, N: the range that every sampled run must lie in, about the exact value
    ("T_dom", 400): (24, 26),
    ("balanced T_2", 400): (368, 382),
    ("balanced T_2", 2000): (364, 372),
    ("T_4", 400): (760, 850),
    ("T_4", 2000): (726, 754),
}


def query(kind: str, N: int) -> reduced.Query:
    if kind == "dominant":
        return reduced.dominant(K, P_1, N)
    return reduced.balanced(K, N) if kind == "balanced" else reduced.under_represented(K, P_1, N)


def lengths(options: Options) -> tuple[int, ...]:
    return (100, 200, 400) if options["quick"] else tuple(sorted({*TABLE, *BETWEEN}))


def sampled_lengths(options: Options) -> tuple[int, ...]:
    return (200, 400) if options["quick"] else tuple(TABLE)


def count_vectors(options: Options) -> int:
    """How many count vectors are drawn for a seed."""
    return 500 if options["quick"] else 2000


def _steps(runs: Iterable[Trajectory]) -> NDArray:
    """Steps of all times (7,) of the runs of the three kinds; nan: not reached."""
    found = [phases(run, EPS) for run in runs]
    dominant, balanced, rare = found
    return np.array(
        [dominant["T_dom"].step, balanced["T_1"].step, balanced["T_2"].step]
        + [rare[name].step for name in ("T_1", "T_2", "T_3", "T_4")]
    )


@cache
def exact(ns: tuple[int, ...]) -> dict[int, dict[str, NDArray]]:
    """N -> steps (7,), and floors (3,) of the three kinds."""
    found = {}
    for N in ns:
        queries = [query(kind, N) for kind in KINDS]
        runs = [reduced.descend(one, eta=ETA, steps=STEPS, eps=EPS) for one in queries]
        found[N] = {"steps": _steps(runs), "floors": np.array([reduced.floor(one) for one in queries])}
    return found


def sampled(ns: tuple[int, ...], seed: int, M: int) -> dict[int, NDArray]:
    """N -> steps (7,) on M count vectors of that seed."""
    imbalanced = np.r_[P_1, np.full(K - 1, (1 - P_1) / (K - 1))]
    cases = ((0, imbalanced), (1, np.full(K, 1 / K)), (1, imbalanced))
    found = {}
    for N in ns:
        sources = [population.sampled(p, N, M, (seed, N, i)) for i, (_, p) in enumerate(cases)]
        found[N] = _steps([
            population.descend(k, p, source, eta=ETA, steps=STEPS, eps=EPS)
            for (k, p), source in zip(cases, sources, strict=True)
        ])  # fmt: skip
    return found


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    return {
        "exact": exact(lengths(options)),
        "sampled": sampled(sampled_lengths(options), seed, count_vectors(options)),
    }


def claims(options: Options, found: Found) -> list[Claim]:
    one = found[0]["exact"]
    rows = []
    for N, expected in TABLE.items():
        if N not in one:
            continue
        steps = dict(zip(NAMES, one[N]["steps"], strict=True))
        for name, value in zip(NAMES, expected, strict=True):
            claim = f"{name} at N = {N}, exact, steps"
            if np.isnan(value):
                reached = "not reached" if np.isnan(steps[name]) else f"{steps[name]:g}"
                text = f"{claim}: never within {STEPS} ({OURS})"
                rows.append(fact(text, np.isnan(steps[name]), reached, "not reached", [steps[name]]))
            else:
                share = 0.005 if name in LATE else 0
                rows.append(agree(claim, steps[name], value, OURS, slack=1, share=share))
    for i, kind in enumerate(KINDS):
        bounds = [theory.floor_bounds(query(kind, N).p_k, N, K) for N in one]
        floors = [one[N]["floors"][i] for N in one]
        holds = all(low <= floor <= high for (low, high), floor in zip(bounds, floors, strict=True))
        text = f"floor, {kind}, any N: from (1-p_k)^N (1 + 1/(K-1))/2 to (1-p_k)^N (derived bound)"
        (low, high), N = bounds[0], next(iter(one))
        rows.append(fact(text, holds, f"{floors[0]:.3g} at N = {N}", f"{low:.3g} to {high:.3g} there", floors))
    if not options["quick"]:
        for (name, N), (low, high) in SAMPLED.items():
            values = [each["sampled"][N][NAMES.index(name)] for each in found]
            rows.append(
                every(
                    f"{name} at N = {N}, 2000 sampled count vectors, steps (our range about the exact one)",
                    values,
                    low,
                    high,
                )
            )
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    one = found[0]["exact"]
    ns, drawn = list(one), list(found[0]["sampled"])
    series = []
    for i, name in enumerate(NAMES):
        series.append(curve(f"{name}, exact", ns, [one[N]["steps"][i] for N in ns]))
        values = np.array([[each["sampled"][N][i] for N in drawn] for each in found])
        values = np.where(np.isnan(values), np.inf, values)  # not reached: later than any that was
        middle = np.sort(values, axis=0)[(len(values) - 1) // 2]
        series.append(
            Series(f"{name}, sampled", np.array(drawn, float), middle, values.min(axis=0), values.max(axis=0))
        )
    for i, kind in enumerate(KINDS):
        series.append(curve(f"floor, {kind}", ns, [one[N]["floors"][i] for N in ns]))
        bounds = np.transpose([theory.floor_bounds(query(kind, N).p_k, N, K) for N in ns])
        series += [
            curve(f"{side} bound, {kind}", ns, bound) for side, bound in zip(("lower", "upper"), bounds, strict=True)
        ]
    settings = set_here({"K": K, "p_1": P_1, "eta": ETA, "eps": EPS, "steps at most": STEPS})
    settings |= set_here({"count vectors a seed": count_vectors(options)})
    notes = [
        NO_CURVE,
        MARKS,
        STOP,
        f"nan: not reached within {STEPS} steps. Sampled: the middle one of the seeds, between the earliest and the latest; "
        "inf: not reached, drawn as a bar up to the last step. Where (1-p_k)^N is near eps or above it, the last phase ends "
        "late or never, and sampled runs scatter [derived]: below N of about 200 for an under-represented query, 100 for a "
        "balanced one.",
        "Exact curves do not depend on seeds; sampled counts do.",
    ]
    title = f"Finite N: times and floors, K = {K}"
    return Figure(title, settings, seeds, series, claims(options, found), notes=notes)


_DRAWN = {"T_dom": "$T_{dom}$", "balanced T_2": "balanced $T_2$", "T_1": "$T_1$", "T_3": "$T_3$", "T_4": "$T_4$"}


def draw(figure: Figure) -> style.Canvas:
    canvas, (left, right) = style.new(columns=2, width=3.6, height=3.0)
    for i, (name, label) in enumerate(_DRAWN.items()):
        style.curve(left, figure[f"{name}, exact"], i, label=label)
        series = figure[f"{name}, sampled"]
        low, high = (np.where(np.isfinite(end), end, STEPS) for end in series.ends)
        left.errorbar(
            series.x, low, [0 * low, high - low], fmt="none", ecolor=style.COLOURS[i], capsize=2, linewidth=0.8
        )
    left.set(xscale="log", yscale="log", xlabel="$N$", ylabel=r"step, $\eta = 5$", title="exact; bars: sampled counts")
    for i, kind in enumerate(KINDS[1:]):
        style.curve(right, figure[f"floor, {kind}"], i, label=f"floor, {kind}")
        lower, upper = (figure[f"{side} bound, {kind}"] for side in ("lower", "upper"))
        style.band(right, lower.x, lower.y, upper.y, style.COLOURS[i])
    right.axhline(EPS, color=style.PAPER, linewidth=0.8, label=r"$\epsilon$")
    right.set(
        xscale="log", yscale="log", ylim=(1e-12, 1), xlabel="$N$", ylabel="loss", title="floors between their bounds"
    )
    style.legend(left, loc="lower right", bbox_to_anchor=(1.0, 0.1), ncols=2)
    style.legend(right, loc="upper right")
    return canvas


RECIPES = [Recipe("finite", "times and floors against N, exact and sampled", no_runs, measure, assemble, draw=draw)]
