"""Where the paper's experiment concentrates attention: against d/K for dense features, against K for one-hot ones."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ....papers.huang2023 import Experiment, adam
from ....training import train
from ... import style
from ...claims import Claim, fact
from ...experiment import Found, Measured, Options, Runs, Seeds, no_runs
from ...figure import Figure, Recipe
from ...series import Series, spread
from ...settings import set_here
from ...summary import listed
from .experiment import DERIVED, NOTES, each, settings

__all__ = ["RECIPES"]

RATIOS = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
SIZES, SMALL = (5, 10, 20), (2, 3)
LENGTHS = (100, 400)


def grid(options: Options) -> tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...]]:
    """d/K, K, N."""
    return ((1.0, 3.0, 10.0), (5, 10), (100,)) if options["quick"] else (RATIOS, SIZES, LENGTHS)


def attention(problem: Experiment, seed: int) -> float:
    """Attention of a query on its own feature after training: the mean over test prompts and queries."""
    return float(train(problem, seed=seed, measure=(problem.steps,)).history["Attn_k"][-1].mean())


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    ratios, sizes, lengths = grid(options)
    dense, one_hot = {}, {}
    for N in lengths:
        for K in sizes:
            ds = [round(ratio * K) for ratio in ratios]
            dense[K, N] = np.array([attention(Experiment.balanced(K, length=N, d=d, V_seed=seed), seed) for d in ds])
        one_hot[N] = np.array([
            attention(Experiment.balanced(K, length=N, d=K, features="one-hot"), seed) for K in (*SMALL, *sizes)
        ])  # fmt: skip
    return {"dense": dense, "one-hot": one_hot}


def needed(ratios: NDArray, mean: NDArray, level: float = 0.9) -> float:
    """The first d/K of the grid at which the mean attention is at least `level`; nan: none."""
    reached = np.flatnonzero(mean >= level)
    return float(ratios[reached[0]]) if len(reached) else np.nan


def claims(options: Options, found: Found) -> list[Claim]:
    ratios, sizes, _ = grid(options)
    dense: Mapping[tuple[int, int], NDArray] = {
        key: np.array([one["dense"][key] for one in found]) for key in found[0]["dense"]
    }
    one_hot = np.array([list(one["one-hot"].values()) for one in found])  # (seeds, N, K)
    means = np.array([values.mean(axis=0) for values in dense.values()])
    least = [needed(np.array(ratios), mean) for mean in means]
    move = adam.largest_move(Experiment.learning_rate, Experiment.steps)
    bounds = np.array([adam.one_hot_attention(1 / K, move) for K in (*SMALL, *sizes)])
    small = len(SMALL)
    wide = one_hot[:, :, small + 1 :]
    return [
        each(f"one-hot, K = {sizes[0]}: attention at step 400, any N ({DERIVED})", one_hot[:, :, small], high=0.65),
        each(f"one-hot, K of at least {sizes[1]}: attention at step 400, any N ({DERIVED})", wide, high=0.5),
        each("one-hot, K = 2 and 3: attention at step 400, any N (measured)", one_hot[:, :, :small], high=0.9),
        each("one-hot: attention over its bound, any K and N (derived bound)", one_hot / bounds, high=1),
        each(f"dense, d = K: attention at step 400, any K and N ({DERIVED})", [v[:, 0] for v in dense.values()], high=0.65),
        each(f"dense, d = 10 K: attention at step 400, any K and N ({DERIVED})", [v[:, -1] for v in dense.values()], low=0.9),
        fact(
            "dense: mean attention at step 400 grows with d, any K and N (measured)",
            bool(np.all(np.diff(means, axis=1) > 0)), f"smallest growth {np.diff(means, axis=1).min():.3g}", "above 0",
        ),
        fact(
            f"dense: the first d/K of the grid with a mean attention of 0.9, any K and N ({DERIVED}: well above 1)",
            bool(np.all(np.array(least) >= 3)), listed(least), "at least 3", least,
        ),
    ]  # fmt: skip


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    ratios, sizes, lengths = grid(options)
    series: list[Series] = []
    for K, N in found[0]["dense"]:
        series.append(spread(f"dense, K = {K}, N = {N}", ratios, [one["dense"][K, N] for one in found]))
    for N in lengths:
        series.append(spread(f"one-hot, N = {N}", (*SMALL, *sizes), [one["one-hot"][N] for one in found]))
    notes = [
        *NOTES[:2],
        "Attention of a query on its own feature after 400 steps of Adam at 0.002, balanced: the mean over test prompts and "
        "queries. The first point of a curve against d/K is d = K.",
        "Why [derived]: see huang2023-fig3. A step of Adam moves A_k - B_{k,n} by 2 eta in one-hot features and by about "
        "eta d sqrt(2/pi) / sqrt(K - 1) in dense ones, while gradients stay constant.",
        "What it says about the paper's setting is our inference: an attention near 1 after these 400 steps needs dense "
        "features with d of several times K.",
    ]
    title = "Attention after the 400 steps of the paper's experiment"
    chosen = set_here(
        {"K": (*SMALL, *sizes), "length": lengths, "d over K": ratios, "features": ("dense", "one-hot"), "p_1": None}
    )
    own = {name: value for name, value in settings().items() if name not in ("d", "eta of gradient descent")}
    return Figure(title, own | chosen, seeds, series, claims(options, found), notes=notes)


def draw(figure: Figure) -> style.Canvas:
    canvas, (left, right) = style.new(columns=2, width=3.4, height=2.8, sharey=True)
    dense = [one for one in figure.series if one.name.startswith("dense")]
    for i, series in enumerate(dense):
        style.curve(left, series, i, label=series.name.removeprefix("dense, "))
    for i, series in enumerate(one for one in figure.series if one.name.startswith("one-hot")):
        style.curve(right, series, i, label=series.name.removeprefix("one-hot, "))
    right.plot(
        right.lines[0].get_xdata(),
        1 / right.lines[0].get_xdata(),
        color=style.PAPER,
        linewidth=0.8,
        label="at the start",
    )
    left.set(
        xscale="log", xlabel="$d/K$", ylabel="attention on the query's feature", ylim=(0, 1.02), title="dense features"
    )
    left.set_xticks([1, 2, 3, 5, 10], ["1", "2", "3", "5", "10"])
    left.minorticks_off()
    right.set(xscale="log", xlabel="$K$", title="one-hot features, any $d$")
    right.set_xticks([2, 3, 5, 10, 20], ["2", "3", "5", "10", "20"])
    right.minorticks_off()
    style.legend(left, loc="lower right")
    style.legend(right, loc="upper right")
    return canvas


RECIPES = [
    Recipe(
        "concentration",
        "attention after the paper's experiment against d/K and K",
        no_runs,
        measure,
        assemble,
        draw=draw,
    )
]
