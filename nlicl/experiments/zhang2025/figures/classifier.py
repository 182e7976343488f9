"""The binary classifier of Frei and Vardi: accuracy against the dimension, beside what their picture shows."""

import numpy as np
from numpy.typing import NDArray

from ....papers.zhang2025.classifier import Classifier, accuracies
from ... import style
from ...claims import Claim, published
from ...experiment import Found, Measured, Options, Runs, Seeds, no_runs
from ...figure import Figure, Original, Recipe
from ...series import spread
from ...settings import set_here
from ..classifier import first_step
from .common import SEEDS, close, comparisons, curve, within

__all__ = ["RECIPES"]

SIZES, QUICK_SIZES = (10, 50, 100, 200, 400), (10, 50)
TEST, MEMORY = "test accuracy", "in-context accuracy"
IDENTITY = "W = I"
PUBLISHED = [
    curve(TEST, SIZES, (0.717, 0.768, 0.792, 0.778, 0.789)),
    curve(MEMORY, SIZES, (0.792, 0.844, 0.860, 0.883, 0.920)),
]
"""Read by eye off the picture, to 0.005 [digitised]."""
ORIGINAL = Original(
    "Frei and Vardi 2024, the stored picture of accuracies at R = d^0.3",
    "training on B = d tasks of 40 contexts, R = 5 sqrt(d), rate 0.01, 300 full-batch steps from W = 0; evaluation "
    "on 2500 tasks of 19 contexts and a query, labels flipped with probability 0.2, inputs scaled to norm 1 for the "
    "in-context accuracy [source]; accuracies at d = 10 to 400 to 0.005 [digitised]",
    "seeds, and how many were run; its larger d, to 2000, were not run",
)


def sizes(options: Options) -> tuple[int, ...]:
    return QUICK_SIZES if options["quick"] else SIZES


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    """Accuracies (2, d): test, in-context."""
    trained, plain = [], []
    for d in sizes(options):
        problem = Classifier(d)
        W, tests = first_step(problem.sample(d, seed=seed), problem.learning_rate), problem.test_prompts(seed)
        trained.append(accuracies(W, tests))
        plain.append(accuracies(np.eye(d), tests))
    return {"trained": np.transpose(trained), "identity": np.transpose(plain)}


def means(found: Found, key: str) -> NDArray:
    return np.mean([one[key] for one in found], axis=0)


def claims(options: Options, found: Found) -> list[Claim]:
    of, plain, count = means(found, "trained"), means(found, "identity"), len(sizes(options))
    rows = [
        published(
            close(
                f"{name}, mean over seeds, d = {', '.join(map(str, sizes(options)))} (digitised)",
                values,
                theirs.y[:count],
                slack,
            ),
            "value",
        )
        for name, values, theirs, slack in zip((TEST, MEMORY), of, PUBLISHED, (0.025, 0.01), strict=True)
    ]
    rows += [
        within("test accuracy, W = I, any d (flipped labels leave 0.8)", plain[0], 0.75, 0.815),
        within("test accuracy at d = 10: below that of W = I (measured)", plain[0, 0] - of[0, 0], 0.02, 0.1),
    ]
    if not options["quick"]:
        text = "in-context accuracy: how far from W = I for d of 200 and more (measured)"
        rows.append(within(text, np.abs(of[1] - plain[1])[3:], high=0.01))
    rows.append(
        published(
            within("in-context accuracy: growth from each d to the next (it memorises)", np.diff(of[1]), 0), "order"
        )
    )
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    those, series = sizes(options), []
    for key, label in (("trained", ""), ("identity", f", {IDENTITY}")):
        for i, name in enumerate((TEST, MEMORY)):
            series.append(spread(name + label, those, [one[key][i] for one in found]))
    settings = Classifier().settings() | set_here({"d": those}) | {"B": ["d", "source"]}
    notes = [
        "The classifier is linear attention with one merged head and fixed values, under the logistic loss "
        "[derived]: see `nlicl theorem zhang2025:classifier`.",
        "After the first of its 300 steps the training loss is so small that no later step moves W [derived]: W is "
        "the first step.",
        "Labels are flipped in evaluation, in contexts and for the query, and accuracies count flipped labels: 0.8 "
        "is the most that a test can have. Above it the in-context accuracy is memory.",
        "A point of ours has a standard error of 0.008 in the test accuracy and 0.002 in the other, for each seed "
        "[derived].",
        SEEDS,
        "[digitised] here is by eye, to 0.005.",
    ]
    title = "The binary classifier: accuracy against the dimension, R = d^0.3"
    return Figure(
        title, settings, seeds, series, claims(options, found), PUBLISHED, comparisons(series, PUBLISHED), notes
    )


def draw(figure: Figure) -> style.Canvas:
    canvas, axes = style.new()
    for i, one in enumerate(figure.series):
        style.curve(axes, one, i)
    for i, one in enumerate(figure.reference):
        style.theirs(axes, one, i, label=f"authors' picture: {one.name}")
    axes.axhline(0.8, color=style.PAPER, linewidth=0.8, linestyle=":")
    axes.set(xlabel="$d$", ylabel="accuracy", xscale="log", ylim=(0.68, 1.02))
    style.legend(axes, loc="upper left")
    return canvas


RECIPES = [
    Recipe(
        "classifier",
        "accuracy of the binary classifier against the dimension",
        no_runs,
        measure,
        assemble,
        draw=draw,
        original=ORIGINAL,
    )
]
