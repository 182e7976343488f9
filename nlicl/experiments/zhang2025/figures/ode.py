"""Time courses in closed form beside gradient descent on the population: an aligned head, merged heads on white inputs."""

import math
from functools import cache

import numpy as np

from ....papers.zhang2025 import dynamics, population, reduced
from ....papers.zhang2025.reduced import Merged, Separate
from ... import style
from ...claims import Claim
from ...experiment import Found, Measured, Options, Runs, Seeds, no_runs
from ...figure import Figure, Recipe
from ...series import Series
from ...settings import set_here
from .common import DETERMINISTIC, N, close, curve, within

__all__ = ["RECIPES"]

FALLING = (0.4, 0.3, 0.2, 0.1)
START, QUICK_START = 0.05, 0.2  # v_0 of aligned heads
STEP = 0.001  # of the loss at lambda = 0.4; others so that lambda^2 step is the same
HEADS, W_0 = 8, 0.01
TAU, END = 0.001, 6.0  # step and end in the flow's time, merged
HALVES = {0.4: 120.93895}  # time to half from 0.05, by which the closed form was checked
POINTS = 60


def aligned(v_0: float, d: int) -> Separate:
    """One head on the d-th axis, v = k.e = q.e = v_0."""
    k = np.zeros((1, 1, len(FALLING)))
    k[0, 0, d] = v_0
    return Separate(np.array([v_0]), k, k.copy())


def white(D: int) -> Merged:
    """Balanced merged heads: U_h = v_h I / sqrt(D), ||v|| = w_0."""
    v = np.linspace(-1, 2, HEADS)
    v *= W_0 / np.linalg.norm(v)
    return Merged(v, v[:, None, None] * np.eye(D) / math.sqrt(D))


@cache
def computed(quick: bool) -> Measured:
    Lambda, found = np.diag(FALLING), {}
    v_0 = QUICK_START if quick else START
    a = population.amplitudes(FALLING, N)
    for d, lam in enumerate(FALLING):
        limit, eta = a[d] ** (1 / 3), STEP * (FALLING[0] / lam) ** 2
        end = float(dynamics.aligned_time(0.995 * limit, v_0, lam, a[d]))
        steps = math.ceil(end / (2 * eta))
        at = np.unique(np.linspace(0, steps, POINTS).astype(int))
        run = reduced.descend(aligned(v_0, d), Lambda, N, learning_rate=eta, steps=steps, keep=at)
        v = np.array([weights.v[0] for weights in run.kept])
        t = dynamics.flow_time("separate", at, eta, N)
        half = float(dynamics.aligned_time((a[d] / 2) ** (1 / 3), v_0, lam, a[d]))
        found[f"lambda = {lam:g}"] = {
            "t": t,
            "v": v / limit,
            "closed": dynamics.aligned_course(t, v_0, lam, a[d]) / limit,
            "half": half,
            "limit": limit,
            "apart": max(np.abs(part[..., np.arange(4) != d]).max() for w in run.kept for part in w[1:]),
        }
    for tau in (TAU, TAU / 2):
        steps = round(END / tau)
        at = np.linspace(0, steps, POINTS + 1).astype(int)
        run = reduced.descend(white(4), np.eye(4), N, learning_rate=tau / 2, steps=steps, keep=at)
        Mbar = np.array([reduced.effective(weights) for weights in run.kept])
        sigma = np.trace(Mbar, axis1=1, axis2=2) / 4
        t = dynamics.flow_time("merged", at, tau / 2, N)
        found[f"white, step {tau:g}"] = {
            "t": t,
            "v": sigma,
            "closed": dynamics.white_course(t, 4, N, W_0),
            "apart": np.abs(Mbar - sigma[:, None, None] * np.eye(4)).max(),
        }
    return found


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    return computed(options["quick"])


def claims(options: Options, one: Measured) -> list[Claim]:
    heads = {name: run for name, run in one.items() if name.startswith("lambda")}
    whites = {name: run for name, run in one.items() if name.startswith("white")}
    v_0 = QUICK_START if options["quick"] else START
    off = {name: np.abs(run["v"] - run["closed"]).max() for name, run in one.items()}
    rows = [
        within(
            f"aligned head, {name}: v over its limit, against the closed form, any time (derived)", off[name], high=1e-3
        )
        for name in heads
    ]
    rows += [within("aligned heads: k and q off their axis (derived: 0)", [h["apart"] for h in heads.values()], high=0)]
    if not options["quick"]:
        rows.append(
            close(
                "aligned head, lambda = 0.4: time to half from v_0 = 0.05 (derived)",
                heads["lambda = 0.4"]["half"],
                HALVES[0.4],
                1e-5,
            )
        )
    scaled = [run["half"] * float(name[9:]) ** 2 * v_0 for name, run in heads.items()]
    rows.append(within("times to half, over 1/(lambda^2 v_0) (derived: 1 for small v_0)", scaled, 0.8, 1.2))
    coarse, fine = whites
    rows += [
        within(f"merged, {coarse}: sigma against the closed form, any time (summary)", off[coarse], high=2e-3),
        within(
            "merged: distance from the closed form at half the step, over it (derived: first order)",
            off[fine] / off[coarse],
            0.45,
            0.55,
        ),
        within("merged: Mbar - sigma I (derived: 0)", [run["apart"] for run in whites.values()], high=1e-14),
        close("merged: sigma at the end, against Mbar* (derived)", whites[fine]["v"][-1], 1 / (1 + 5 / N), 1e-4),
    ]
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    one, series = found[0], list[Series]()
    for name, run in one.items():
        t = run["t"] / (run.get("half", 1))
        series += [curve(name, t, run["v"]), curve(f"{name}: closed form", t, run["closed"])]
    settings = set_here(
        {
            "N": N,
            "D": 4,
            "eigenvalues": FALLING,
            "v_0": QUICK_START if options["quick"] else START,
            "steps of the loss": STEP,
            "H of merged heads": HEADS,
            "w_0": W_0,
            "steps of the flow's time, merged": (TAU, TAU / 2),
        }
    )
    notes = [
        "The paper has these two time courses [summary: formulas, checked]. The closed form of the aligned head's "
        "time, and lambda other than 1 in sigma, are [derived]. That the paper draws them is not known.",
        "Time is that of tau dW/dt = -(1/2) dL/dW with tau = 1 [summary]: t = 2 eta n. An aligned head's is over "
        "its time to half, v^3 = a/2.",
        "Gradient descent lags behind the flow by an amount in proportion to its step: for merged heads the "
        "distance halves with it.",
        DETERMINISTIC,
    ]
    title = "Time courses in closed form, and gradient descent on the population"
    return Figure(title, settings, seeds, series, claims(options, one), notes=notes)


def draw(figure: Figure) -> style.Canvas:
    canvas, (left, right) = style.new(columns=2, width=3.3)
    names = [one.name for one in figure.series if "closed" not in one.name]
    for i, name in enumerate(name for name in names if name.startswith("lambda")):
        style.curve(left, figure[name], i, label=name.replace("lambda", r"$\lambda$"), every=(2 * i, 8))
    name = next(name for name in names if name.startswith("white"))
    style.curve(right, figure[name], 0, label="gradient descent", every=3)
    for axes, shown in ((left, "lambda = 0.4"), (right, name)):
        exact = figure[f"{shown}: closed form"]
        axes.plot(exact.x, exact.y, color=style.PAPER, linewidth=2.5, zorder=1, label="closed form")
        style.legend(axes)
    left.set(xlabel="time over the time to half", ylabel="$v$ over its limit", title="one aligned head", xlim=(0, 1.3))
    right.set(xlabel="time", ylabel=r"$\sigma$", title="merged heads, white inputs")
    return canvas


RECIPES = [Recipe("ode", "time courses in closed form against gradient descent", no_runs, measure, assemble, draw=draw)]
