"""The fixed points of heads of rank one: 2^D stationary functions, and the losses on which separate heads stay."""

import numpy as np

from ....papers.zhang2025 import population
from ... import style
from ...claims import Claim, published
from ...experiment import Found, Measured, Options, Runs, Seeds, no_runs
from ...figure import Figure, Original, Recipe
from ...settings import Settings
from .common import DETERMINISTIC, GOLDEN, N, close, comparisons, curve, within

__all__ = ["RECIPES"]

D = 4
LAMBDA = np.diag([0.4, 0.3, 0.2, 0.1])
EIGHT = (
    1,
    0.811263318113,
    0.648976993326,
    0.513012081046,
    0.403176480139,
    0.319165640030,
    0.260453518818,
    0.226009074374,
    0.213345675681,
)
LARGEST = "the m largest components"
PRINTED = curve(LARGEST, np.arange(D + 1), GOLDEN)
ORIGINAL = Original(
    "plateau losses, a cell of the notebook",
    "L(M_m) = tr Lambda - sum over the m largest of lambda_d (1 + (1 + tr Lambda/lambda_d)/N)^-1, and five numbers "
    "for D = 4, N = 31 [source]; they are the dotted lines of the loss figures [digitised]; exponentially many "
    "fixed points [paper]",
    "how the paper derives it",
)


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    points = population.fixed_points(LAMBDA, N)
    gradients = [population.gradient(point.Mbar, LAMBDA, N) for point in points]
    moves = [  # what the gradient moves of a head on a learnt component
        max(np.abs(point.Mbar @ grad).max(), np.abs(grad @ point.Mbar).max())
        for point, grad in zip(points, gradients, strict=True)
    ]
    return {
        "components": np.array([len(point.components) for point in points]),
        "largest": np.array([point.components == tuple(range(len(point.components))) for point in points]),
        "loss": np.array([point.loss for point in points]),
        "quadratic": np.array([population.loss(point.Mbar, LAMBDA, N) for point in points]),
        "moves": np.array(moves),
        "golden": population.saddle_losses(LAMBDA, N),
        "eight": population.saddle_losses(np.diag(np.arange(8, 0, -1) / 36), N),
    }


def claims(one: Measured) -> list[Claim]:
    smallest = [one["loss"][one["components"] == m].min() for m in range(D + 1)]
    return [
        published(
            within(
                "stationary functions of heads of rank one, D = 4 (2^D)",
                len(np.unique(np.round(one["loss"], 12))),
                16,
                16,
            ),
            "value",
        ),
        within("largest gradient of a head on a learnt component, any of them (derived: 0)", one["moves"], high=1e-15),
        close("loss of each by the closed form, against L(Mbar) (derived)", one["loss"] - one["quadratic"], 0, 1e-14),
        published(
            close("L(M_0) .. L(M_4), all digits that the notebook prints (source)", one["golden"], GOLDEN, 6e-9),
            "value",
        ),
        close("loss of the m largest, the smallest with m components (derived)", smallest, one["golden"], 1e-14),
        close("L(M_0) .. L(M_8) at D = 8 (derived)", one["eight"], EIGHT, 1e-12),
    ]


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    one = found[0]
    series = [curve(LARGEST, np.arange(D + 1), one["golden"])]
    series.append(curve("any components", one["components"], one["loss"]))
    settings: Settings = {"D": [D, "source"], "N": [N, "source"], "eigenvalues": [(0.4, 0.3, 0.2, 0.1), "source"]}
    notes = [
        "A fixed point is a function: components in S are learnt, Mbar_S = sum over S of a_d e_d e_d^T. Many "
        "weights have it.",
        "N is the number of contexts, 31 for the authors' 32 tokens [source].",
        "All at heads of rank one with separate keys and queries. Merged heads have two of these functions only, "
        "the first and the last [paper]: see `nlicl theorem zhang2025`.",
        DETERMINISTIC,
    ]
    title = "Fixed points of separate keys and queries, D = 4, N = 31"
    reference = [PRINTED]
    return Figure(title, settings, seeds, series, claims(one), reference, comparisons(series, reference), notes)


def draw(figure: Figure) -> style.Canvas:
    canvas, axes = style.new()
    every = figure["any components"]
    axes.plot(every.x, every.y, "o", color=style.COLOURS[5], markersize=4, label="any components")
    style.curve(axes, figure[LARGEST], 0, label="the $m$ largest components")
    style.theirs(axes, figure.reference[0], 1, label="printed by the authors' notebook")
    axes.set(xlabel="components learnt, $m$", ylabel="population loss", xticks=range(D + 1), ylim=(0, 1.05))
    style.legend(axes)
    return canvas


RECIPES = [
    Recipe(
        "landscape", "fixed points and the losses of plateaus", no_runs, measure, assemble, draw=draw, original=ORIGINAL
    )
]
