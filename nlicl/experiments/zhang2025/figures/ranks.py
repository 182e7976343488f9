"""Ranks of keys and queries: where R divides the number of components learnt, plateaus are long; elsewhere they are short."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....papers.zhang2025 import dynamics, population, reduced
from ....papers.zhang2025.problem import Problem
from ... import style
from ...claims import Claim, published
from ...experiment import Found, Measured, Options, Runs, Seeds, no_runs
from ...figure import Figure, Original, Recipe
from ...series import Series, spread
from .common import DRAWN, SEEDS, N, curve, thinned, within

__all__ = ["RECIPES"]

RANKS = (1, 2, 4, 8)
STEPS, QUICK_STEPS = 40_001, 12_001
FACTOR, LEAST = 5.0, 2.0  # by which the plateau after R components is longer than any before it: usually, and at least
SHORT = 1500  # steps, for R = 8: any plateau between the first drop and the last but one
ORIGINAL = Original(
    "Figure 4",
    "loss curves at ranks 1, 2, 4 and 8, D = 8, N = 31, H = 9, with 8, 4, 2 and 1 long plateaus [summary]; init "
    "5e-3, 80000 prompts, rate 0.02, 20001 steps [source]",
    "its curves; which version of the initialisation: per head was taken, by the date of the command [derived]. We "
    "ran the exact population in the place of 80000 prompts, and 40001 steps",
)


def problem(rank: int) -> Problem:
    return Problem(
        d=8, heads=9, rank=rank, init=5e-3, init_version="per head", P="population", learning_rate=0.02, steps=20_001
    )


def ranks(options: Options) -> tuple[int, ...]:
    return (2, 8) if options["quick"] else RANKS


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    steps = QUICK_STEPS if options["quick"] else STEPS
    found: dict[str, Any] = {}
    for rank in ranks(options):
        one = problem(rank)
        start = reduced.reduced(one.initialize(seed=seed))
        at = thinned(steps + 1, 2000)
        run = reduced.descend(
            start, one.Lambda, N, learning_rate=one.learning_rate, steps=steps, scale=1.0, keep=at if rank == 1 else ()
        )
        found[f"losses {rank}"] = run.losses[thinned(steps + 1, 500)]
        found[f"drops {rank}"] = dynamics.drop_steps(run.losses, population.saddle_losses(one.Lambda, N))
        if rank == 1:
            sets, losses = learnt(one, run, at)
            found["apart"] = np.max(np.abs(losses[0] - losses[1]))
            found["golden"] = np.mean([tuple(range(len(S))) == S for S in sets])
    return found


def learnt(one: Problem, run: reduced.Descent, at: NDArray[np.intp]) -> tuple[list[tuple[int, ...]], NDArray]:
    """Which components are learnt in the middle of each flat stretch; its loss there, and that of the fixed point (2, k)."""
    a = population.amplitudes(one.eigenvalues, N)
    points = {point.components: point.loss for point in population.fixed_points(one.Lambda, N)}
    sets, losses = [], []
    for first, last in dynamics.flat_stretches(run.losses):
        i = int(np.abs(at - (first + last) / 2).argmin())
        if first <= at[i] <= last:
            Mbar = N * reduced.effective(run.kept[i])
            share = np.einsum("id,ij,jd->d", one.axes, Mbar, one.axes) / a
            sets.append(tuple(np.flatnonzero(share > 0.5).tolist()))
            losses.append([run.losses[at[i]], points[sets[-1]]])
    return sets, np.transpose(losses)


def claims(options: Options, found: Found) -> list[Claim]:
    """Gaps are between the steps of successive drops."""
    rows = []
    for rank in ranks(options):
        gaps = np.array([np.diff(one[f"drops {rank}"]) for one in found])
        first = np.array([one[f"drops {rank}"][0] for one in found])
        if 1 < rank < 8:
            text = f"R = {rank}: steps from drop {rank} to the next, over the longest plateau between drops before it (order)"
            long = np.where(np.isnan(gaps[:, rank - 1]), np.inf, gaps[:, rank - 1])
            factors = long / gaps[:, : rank - 1].max(axis=1)
            rows += [
                published(within(text, np.median(factors), FACTOR, who="in the median over seeds"), "order"),
                published(within(text, factors, LEAST), "order"),
            ]
        if rank > 1:
            text = f"R = {rank}: steps of the first plateau, over those from drop 1 to drop {min(rank, 7)} (order)"
            until = gaps[:, : min(rank, 7) - 1].sum(axis=1)
            rows.append(published(within(text, first / until, 1 if rank == 8 else FACTOR), "order"))
        if rank == 8:
            text = "R = 8: the longest plateau between drops but for the last, steps (ours)"
            rows.append(within(text, gaps[:, :-1].max(axis=1), high=SHORT))
    if 1 in ranks(options):
        shares = [np.nanmax(np.diff(one["drops 1"])) / one["drops 1"][0] for one in found]
        text = "R = 1: the longest plateau between drops, over the first plateau (order: long ones come)"
        rows.append(published(within(text, shares, 0.5), "order"))
        text = "R = 1: loss in the middle of a flat stretch, from that of the fixed point with the learnt components"
        rows.append(published(within(text, [one["apart"] for one in found], high=2e-3), "value"))
        text = "R = 1: share of flat stretches in which these are the m largest (measured)"
        rows.append(within(text, np.mean([one["golden"] for one in found]), 0.7))
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    steps, series = QUICK_STEPS if options["quick"] else STEPS, list[Series]()
    at = thinned(steps + 1, 500)
    for rank in ranks(options):
        series.append(curve(f"R = {rank}, seed {seeds[0]}", at, found[0][f"losses {rank}"]))
        drops = np.array([one[f"drops {rank}"] for one in found])
        series.append(spread(f"R = {rank}: step of each drop", np.arange(1, 9), drops))
    settings = replace(problem(1), rank=1).settings() | {
        "rank": [ranks(options), "summary"],
        "steps run": [steps, "set here"],
    }
    notes = [
        "A drop is where the loss passes the middle of two successive golden losses L(M_m). A plateau is what lies "
        "between two.",
        "Pairs of keys and queries of one head share its value v_h: once the first has grown, the others of the "
        "head follow quickly [summary]. So a long plateau comes where all R of each head in use are, with m "
        "divisible by R.",
        "The last drop, of the smallest eigenvalue 1/36, is late at every rank, and is not reached in every run: a "
        "plateau before it is not counted [measured]. Where the next drop is not reached, the plateau counts as "
        "infinitely long.",
        "At R = 1 the components are learnt from the largest on where heads start alike; one that starts small is "
        "overtaken by another head on a smaller component. So single plateaus are those of other fixed points "
        "[measured].",
        "At R = 8 plateaus between drops are short, not absent: up to 1210 steps of about 6000 of the first "
        "plateau, in three seeds [measured].",
        SEEDS,
        DRAWN,
    ]
    title = "Ranks of keys and queries, D = 8, N = 31, H = 9, exact population"
    return Figure(title, settings, seeds, series, claims(options, found), notes=notes)


def draw(figure: Figure) -> style.Canvas:
    there = [rank for rank in RANKS if any(one.name.startswith(f"R = {rank},") for one in figure.series)]
    canvas, panels = style.new(columns=len(there), width=2.3, height=2.2, sharey=True, squeeze=False)
    golden = population.saddle_losses(np.diag(np.arange(8, 0, -1) / 36), N)
    for i, (axes, rank) in enumerate(zip(panels[0], there, strict=True)):
        for m, level in enumerate(golden):
            axes.axhline(level, color=style.PAPER, linewidth=0.8 if m % rank == 0 else 0.3, linestyle=":", zorder=1)
        one = next(one for one in figure.series if one.name.startswith(f"R = {rank},"))
        style.curve(axes, one, i, every=50)
        axes.set(xlabel="step", title=f"$R = {rank}$", ylim=(0.15, 1.05))
    panels[0][0].set_ylabel("population loss")
    return canvas


RECIPES = [Recipe("ranks", "plateaus at ranks 1, 2, 4 and 8", no_runs, measure, assemble, draw=draw, original=ORIGINAL)]
