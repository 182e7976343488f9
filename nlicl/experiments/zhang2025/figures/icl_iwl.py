"""In-weight against in-context learning: prompts of which a share c has tasks of their own, the others one and the same."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.seeds import Part
from ....models.linear_attention.statistics import Statistics
from ....papers.zhang2025.problem import Problem
from ....papers.zhang2025.seeds import Test
from ... import style
from ...claims import Claim, published
from ...experiment import Found, Measured, Options, Runs, Seeds, no_runs
from ...figure import Figure, Original, Recipe
from ...series import Series, spread
from ...settings import set_here
from ..descent import follow
from .common import DRAWN, SEEDS, average, comparisons, curve, within

__all__ = ["RECIPES"]

PROBLEM = Problem(covariance="white", learning_rate=5e-4, steps=4001, icl=0.0)
SHARES, QUICK_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), (0.0, 0.2, 0.4)
STEPS, QUICK_STEPS, EVERY, TESTS = 5000, 2000, 10, 5000
IN_WEIGHT, IN_CONTEXT, TRAINING = "in-weight test", "in-context test", "training"
LEAST, WHEN, DROP = (
    "least in-weight loss",
    "step of the least in-weight loss",
    "step at which the training loss has halved",
)
SEEN = {
    0.2: (900, 0.25),
    0.4: (1200, 0.35),
    0.6: (1680, 0.46),
    0.8: (2250, 0.64),
}  # step and loss of the minimum [digitised]
PUBLISHED = [
    curve(LEAST, list(SEEN), [loss for _, loss in SEEN.values()]),
    curve(WHEN, list(SEEN), [step for step, _ in SEEN.values()]),
    curve(DROP, [0.0, 1.0], [770, 2950]),
]
ORIGINAL = Original(
    "the figure on in-weight against in-context learning",
    "merged, H = 8, white inputs, init 1e-6, rate 5e-4, 5000 prompts of which a share c has tasks of their own, "
    "test sets c = 0 and c = 1 of 5000 [source]; c = 0: the drop is near 770, the in-context loss rises to 2.2; c = "
    "0.2, 0.4, 0.6, 0.8: the in-weight loss is least, 0.25, 0.35, 0.46, 0.64, near steps 900, 1200, 1680, 2250; c = "
    "0.2: the in-context loss ends at 0.25; c = 1: the drop is near 2950; 5000 steps are drawn [digitised]",
    "its number in the paper; seeds; which curves share axes",
)


def shares(options: Options) -> tuple[float, ...]:
    return QUICK_SHARES if options["quick"] else SHARES


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    steps = QUICK_STEPS if options["quick"] else STEPS
    found: dict[str, Any] = {}
    tests = {
        name: Statistics.of(PROBLEM.sample(TESTS, seed=(seed, Part.TESTS, number), icl=c))
        for name, number, c in ((IN_WEIGHT, Test.IN_WEIGHT, 0.0), (IN_CONTEXT, Test.IN_CONTEXT, 1.0))
    }
    for c in shares(options):
        problem = replace(PROBLEM, icl=c)
        run = follow(
            problem.initialize(seed=seed),
            Statistics.of(problem.sample(int(problem.P), seed=seed)),
            learning_rate=problem.learning_rate,
            steps=steps,
            tests=tests,
            every=EVERY,
        )
        halved = run.losses < (run.losses[0] + run.losses.min()) / 2
        found |= {f"{c:g}, {name}": values for name, values in run.tests.items()}
        found |= {f"{c:g}, {TRAINING}": run.losses[::EVERY], f"{c:g}, half": float(halved.argmax())}
    return found


def of(found: Found, c: float, name: str) -> NDArray:
    """What each seed has, (seeds, ...)."""
    return np.array([one[f"{c:g}, {name}"] for one in found])


def minimum(found: Found, c: float) -> tuple[NDArray, NDArray]:
    """The step and the value of the least in-weight loss, (seeds,) each."""
    losses = of(found, c, IN_WEIGHT)
    return EVERY * losses.argmin(axis=1).astype(float), losses.min(axis=1)


def claims(options: Options, found: Found) -> list[Claim]:
    rows = [
        published(
            average(
                "c = 0: step at which the training loss has halved (near 770, digitised)",
                of(found, 0.0, "half"),
                620,
                920,
            ),
            "value",
        ),
        published(
            within(
                "c = 0: in-context loss at the end (2.2, digitised: it rises)", of(found, 0.0, IN_CONTEXT)[:, -1], 2
            ),
            "value",
        ),
    ]
    for c in shares(options):
        if c in SEEN:
            step, least = SEEN[c]
            at, value = minimum(found, c)
            rows += [
                published(
                    average(
                        f"c = {c:g}: least in-weight loss ({least:g}, digitised)", value, least - 0.08, least + 0.08
                    ),
                    "value",
                ),
                published(average(f"c = {c:g}: its step ({step}, digitised)", at, step - 150, step + 150), "value"),
            ]
    if options["quick"]:
        return rows
    ends = np.array([of(found, c, IN_CONTEXT)[:, -1] for c in SHARES[1:]])
    again = np.array([of(found, c, IN_WEIGHT)[:, -1] - minimum(found, c)[1] for c in SEEN])
    rows += [
        published(
            within("c = 0.2 and more: in-context loss at the end (0.25 at 0.2, digitised)", ends, high=0.3), "value"
        ),
        published(
            within(
                "c = 0.2 to 0.8: rise of the in-weight loss after its minimum (phases: in weights first, then in "
                "context)",
                again,
                0.1,
            ),
            "phases",
        ),
        published(
            average(
                "c = 1: step at which the training loss has halved (near 2950, digitised)",
                of(found, 1.0, "half"),
                2800,
                3300,
            ),
            "value",
        ),
    ]
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    steps, series, those = QUICK_STEPS if options["quick"] else STEPS, list[Series](), shares(options)
    for c in those:
        for name in (TRAINING, IN_WEIGHT, IN_CONTEXT):
            values = of(found, c, name)
            series.append(spread(f"c = {c:g}, {name}", EVERY * np.arange(values.shape[1]), values))
    between = [c for c in those if c in SEEN]
    at, least = zip(*(minimum(found, c) for c in between), strict=True)
    series += [spread(LEAST, between, np.transpose(least)), spread(WHEN, between, np.transpose(at))]
    ends = [c for c in (0.0, 1.0) if c in those]
    series.append(spread(DROP, ends, np.transpose([of(found, c, "half") for c in ends])))
    notes = [
        "Of P prompts the first floor(c P) have tasks of their own, the others share one task of norm sqrt(D), "
        "which weights can learn. c = 0: context labels are noise, and only the query's label comes from the shared task "
        "[source].",
        "The in-weight test has prompts as c = 0, the in-context test as c = 1.",
        "The drop is timed where the training loss has come down half of its way.",
        SEEDS,
        DRAWN,
    ]
    title = "In-weight and in-context learning, merged keys and queries, white inputs"
    settings = PROBLEM.settings() | {"icl": [those, "source"]} | set_here({"steps run": steps, "test prompts": TESTS})
    return Figure(
        title, settings, seeds, series, claims(options, found), PUBLISHED, comparisons(series, PUBLISHED), notes
    )


def draw(figure: Figure) -> style.Canvas:
    canvas, panels = style.new(columns=3, width=2.6, height=2.5, sharey=True)
    for axes, name in zip(panels, (TRAINING, IN_WEIGHT, IN_CONTEXT), strict=True):
        mine = [one for one in figure.series if one.name.endswith(f", {name}")]
        for i, one in enumerate(mine):
            style.curve(axes, one, i, label=f"${one.name.split(',')[0]}$", every=(10 * i, 80))
        axes.set(xlabel="step", title=name, ylim=(0, 2.8))
    seen, when = figure.reference[0], figure.reference[1]
    panels[1].plot(
        when.y, seen.y, "o", color=style.PAPER, markerfacecolor="none", label="authors' minimum, by eye", zorder=4
    )
    panels[0].set_ylabel("loss")
    style.legend_below(canvas, panels[0], panels[1])
    return canvas


RECIPES = [
    Recipe("icl-iwl", "in-weight against in-context learning", no_runs, measure, assemble, draw=draw, original=ORIGINAL)
]
