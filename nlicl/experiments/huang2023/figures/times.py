"""How long the phases take as K grows and as eps falls: gradient flow, N infinite, p_1 = 0.5, K up to 1e8."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....papers.huang2023 import reduced, theory
from ....papers.huang2023.phases import phases
from ... import style
from ...claims import Claim, fact
from ...experiment import Found, Measured, Options, Runs, Seeds, no_runs
from ...figure import Figure, Recipe
from ...settings import set_here
from .common import BOUND, DETERMINISTIC, EPS, LAW, MARKS, NO_CURVE, OURS, STOP, agree, curve

__all__ = ["RECIPES"]

P_1, C = 0.5, 10.0
SIZES = (10**3, 10**4, 10**5, 10**6, 10**8)
STRICT = (1e-3, 1e-4, 1e-5)  # eps, at K = 1000

EXPONENTS = {  # in K: of our reference runs, and in theory
    "T_dom": (0.000, 0.0),
    "T_1": (1.965, 1.98),
    "T_2": (1.999, 2.0),
    "T_2 - T_1": (2.024, 2.0),
    "T_3 - T_2": (1.468, 1.49),
    "T_4 - T_3": (1.000, 1.0),
    "balanced T_1": (1.999, 2.0),
    "balanced T_2 - T_1": (1.000, 1.0),
}
IN_EPS = {"T_dom": (0.975, 1.0), "balanced T_2 - T_1": (0.975, 1.0)}  # in 1/eps


@cache
def computed() -> dict[str, dict[str, NDArray]]:
    """Names of times -> (sizes,) against K, and (eps,) against 1/eps."""
    rows = []
    for K in SIZES:
        T, B = (
            {name: moment.tau for name, moment in phases(reduced.flow(query, eps=EPS), EPS).items()}
            for query in (reduced.under_represented(K, P_1), reduced.balanced(K))
        )
        rows.append({
            "T_dom": phases(reduced.flow(reduced.dominant(K, P_1), eps=EPS), EPS)["T_dom"].tau,
            "T_1": T["T_1"], "T_2": T["T_2"], "T_2 - T_1": T["T_2"] - T["T_1"],
            "T_3 - T_2": T["T_3"] - T["T_2"], "T_4 - T_3": T["T_4"] - T["T_3"], "T_4": T["T_4"],
            "balanced T_1": B["T_1"], "balanced T_2 - T_1": B["T_2"] - B["T_1"], "balanced T_2": B["T_2"],
        })  # fmt: skip
    balanced = reduced.flow(reduced.balanced(SIZES[0]), eps=STRICT[-1])
    dominant = reduced.flow(reduced.dominant(SIZES[0], P_1), eps=STRICT[-1])
    ends = [phases(balanced, eps) for eps in STRICT]
    return {
        "K": {name: np.array([row[name] for row in rows]) for name in rows[0]},
        "eps": {
            "T_dom": np.array([phases(dominant, eps)["T_dom"].tau for eps in STRICT]),
            "balanced T_2 - T_1": np.array([end["T_2"].tau - end["T_1"].tau for end in ends]),
        },
    }


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    return computed()


def exponent(x: ArrayLike, y: ArrayLike) -> float:
    """Slope of the straight line through log y against log x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def bounds(K: int, eps: float) -> dict[str, float]:
    """The bound of each time, by its name, with C = 10. T_2 and T_2 - T_1 have that of phase II in common."""
    bound = theory.phase_bounds("under-represented", K, eps, C=C)
    balanced = theory.phase_bounds("balanced", K, eps, C=C)
    whole = theory.under_represented_bound(K, eps, C=C)
    return {
        "T_dom": theory.dominant_bound(eps, C=C),
        "T_1": bound["T_1"], "T_2": bound["T_1"] + bound["T_2"], "T_2 - T_1": bound["T_2"],
        "T_3 - T_2": bound["T_3"], "T_4 - T_3": bound["T_4"], "T_4": whole,
        "balanced T_1": balanced["T_1"], "balanced T_2 - T_1": balanced["T_2"], "balanced T_2": whole,
    }  # fmt: skip


def claims(found: Measured) -> list[Claim]:
    rows = []
    for x, key, table, against in ((SIZES, "K", EXPONENTS, "K"), (1 / np.array(STRICT), "eps", IN_EPS, "1/eps")):
        slopes = {name: exponent(x, found[key][name]) for name in table}
        for name, (ours, theory_says) in table.items():
            text = f"exponent of {name} in {against}"
            rows.append(agree(text, slopes[name], ours, OURS, slack=0.005))
            rows.append(agree(f"{text}, against theory", slopes[name], theory_says, LAW, slack=0.04))
    for name, values in found["K"].items():
        shares = [value / bounds(K, EPS)[name] for K, value in zip(SIZES, values, strict=True)]
        rows.append(_below(f"{name} over its bound with C = 10, any K", shares))
    for name, values in found["eps"].items():
        shares = [value / bounds(SIZES[0], eps)[name] for eps, value in zip(STRICT, values, strict=True)]
        rows.append(_below(f"{name} over its bound with C = 10, eps = 1e-3 to 1e-5", shares))
    return rows


def _below(claim: str, shares: ArrayLike) -> Claim:
    holds = np.all(np.array(shares) < 1)
    source = "derived bound" if claim.startswith("T_3 - T_2") else BOUND
    return fact(f"{claim} ({source})", holds, f"at most {np.max(shares):.3g}", "below 1", shares)


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    one = found[0]
    series = [curve(name, SIZES, values) for name, values in one["K"].items()]
    series += [curve(f"{name} against 1/eps", 1 / np.array(STRICT), values) for name, values in one["eps"].items()]
    settings = set_here({"K": SIZES, "p_1": P_1, "N": "infinite", "eps": EPS, "eps of the last panel": STRICT})
    notes = [
        NO_CURVE,
        MARKS,
        STOP,
        "Exponents are slopes of least squares over all K (against 1/eps: K = 1000). Theory is that of the derived laws; 1.98 "
        "is the exponent of the recalled bound as well. The logarithms of the bounds do not show in the flow [derived]. The "
        "bound on T_3 - T_2, K^1.5 log K, is [derived].",
        DETERMINISTIC,
    ]
    title = "Times of the phases, population gradient flow"
    return Figure(title, settings | {"C": [C, "derived"]}, seeds, series, claims(one), notes=notes)


_LABELS = {
    "T_dom": "$T_{dom}$", "T_1": "$T_1$", "T_2": "$T_2$", "T_3 - T_2": "$T_3 - T_2$", "T_4 - T_3": "$T_4 - T_3$",
    "balanced T_2 - T_1": "balanced $T_2 - T_1$",
}  # fmt: skip


def draw(figure: Figure) -> style.Canvas:
    canvas, (left, right) = style.new(columns=2, width=3.6, height=3.0)
    for i, (name, label) in enumerate(_LABELS.items()):
        series = figure[name]
        style.curve(left, series, i, label=f"{label}: {exponent(series.x, series.y):.3f}")
    for name in IN_EPS:
        series = figure[f"{name} against 1/eps"]
        label = f"{_LABELS[name]}: {exponent(series.x, series.y):.3f}"
        style.curve(right, series, list(_LABELS).index(name), label=label)
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", ylabel=r"flow time $\tau$")
    left.set(xlabel="$K$", title=r"$\epsilon = 0.01$; with exponents")
    right.set(xlabel=r"$1/\epsilon$", title="$K = 1000$; with exponents")
    style.legend(left, loc="upper left")
    style.legend(right, loc="upper left")
    return canvas


RECIPES = [
    Recipe("times", "times of the phases against K and eps, with exponents", no_runs, measure, assemble, draw=draw)
]
