"""The binary classifier of Frei and Vardi: its 300 steps are one, and what that step is."""

import math

import numpy as np

from ....core.checks import integer
from ....core.seeds import generator
from ....papers.zhang2025.seeds import Purpose
from ...claims import Claim, every
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, no_runs
from ...summary import stacked
from ...theorem import Condition, Theorem
from ..classifier import RATE, TRAINED, accuracies, descend, drawn, first_step, gradient
from .common import MARKS, positive, settings, small

__all__ = ["CLASSIFIER"]

OPTIONS = {"d": 50, "learning_rate": RATE}
STEPS = 300
AVERAGED, QUICK_AVERAGED = 40_000, 8_000  # tasks of the population gradient
STATEMENT = (
    "Linear attention with one merged head, W^V = e_{D+1} e_{D+1}^T fixed, u = 0, s = 1/N and the logistic loss is z = p^T W x_query, p "
    "= (1/N) sum_n y_n x_n, with the gradient (sigmoid(z) - yb) p x_query^T [derived]. Training as in the authors' code: B = d tasks, "
    "R = 5 sqrt(d), rate eta, W = 0 at first [source]. (a) At W = 0 the population gradient is -(1/2) (R^2/d) I. (b) The 300 steps "
    "are one: afterwards the loss is nil, and W = (eta/(2B)) sum over tasks of y_query p x_query^T. (c) tr W/d = (eta/2) R^2/d, and "
    "||W - (tr W/d) I||_F / sqrt(d) = (eta/2) (R^2/d) sqrt(d/B): noise as large as the signal at B = d. All [derived]."
)
NOTES = [
    MARKS,
    "Frei and Vardi 2024; settings are their code's [source]. The paper's text was not read.",
    "The published accuracies stand beside ours in the figure zhang2025:classifier.",
    "The gradient of a sample of tasks at W = 0 has entries of standard error R^2 / (2 d sqrt(n)), about: (a) is judged by its mean over the "
    "diagonal, and by the root mean square of what is left.",
    "Loss (b): how small it is depends on the least margin of B tasks, and varies by many orders between seeds.",
]


def check(options: Options) -> None:
    integer("d", options["d"], 2, 2000)
    positive(options, "learning_rate", most=10.0)


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    d, eta = options["d"], options["learning_rate"]
    R = 5 * math.sqrt(d)
    n = QUICK_AVERAGED if options["quick"] else AVERAGED
    rng = generator(Purpose.CLASSES, (seed, d))
    tasks = drawn(rng, d, TRAINED, d, R)
    W, losses = descend(tasks, STEPS, eta)
    total, parts = np.zeros((d, d)), max(1, n * d // 2_000_000)
    for _ in range(parts):
        total += gradient(np.zeros((d, d)), drawn(rng, n // parts, 10, d, R))[1] / parts
    one = first_step(tasks, eta)
    diagonal = np.trace(one) / d
    expected = eta / 2 * R**2 / d
    other = gradient(0.5 * (W + one.T), tasks)[0]
    middle = gradient(0.25 * (W + one.T) + 0.25 * np.eye(d), tasks)[0]
    far = gradient(0.5 * np.eye(d), tasks)[0]
    return {
        "diagonal": np.trace(total) / d / (-(R**2) / d / 2),
        "rest": np.sqrt(np.mean((total - np.trace(total) / d * np.eye(d)) ** 2)) / (R**2 / d / 2) * math.sqrt(n),
        "same": np.abs(W - one).max() / np.abs(one).max(),
        "left": losses[1],
        "trace": diagonal / expected,
        "noise": np.linalg.norm(one - diagonal * np.eye(d)) / math.sqrt(d) / expected,
        "convex": middle - (other + far) / 2,
        "blind": accuracies(one, 0.0, seed, flipped=0.0, n=1000)[0],
        "memory": accuracies(np.eye(d), 0.0, seed, flipped=0.2, n=200, N=max(1, d // 30))[1],
    }


def assemble(options: Options, seeds: Seeds, found: Found) -> Theorem:
    of, d = stacked(found), options["d"]
    loose = 0.03 if d >= 50 else 0.25
    usual = options["learning_rate"] == RATE
    claims: list[Claim] = [
        every("(a) gradient at W = 0: mean of its diagonal, over -(1/2) R^2/d", of["diagonal"], 0.95, 1.05),
        every("(a) the rest of it: root mean square, in standard errors (R^2/d)/(2 sqrt(n))", of["rest"], 0.5, 2.0),
        every("(c) tr W/d over (eta/2) R^2/d, mean over seeds", of["trace"].mean(), 1 - loose, 1 + loose),
        every(
            "(c) ||W - (tr W/d) I||_F/sqrt(d), over the same, at B = d",
            of["noise"].mean(),
            1 - 2 * loose,
            1 + 2 * loose,
        ),
        every("convexity: loss half way between two W, less the mean of both", of["convex"], high=1e-15),
        every("radius 0: test accuracy (nothing to see: 0.5)", of["blind"], 0.42, 0.58),
    ]
    if usual:
        claims[2:2] = [
            small("(b) 300 explicit steps against the first: W, over its largest entry", of["same"]),
            every("(b) training loss after the first step", of["left"], high=1e-9 if d < 50 else 1e-30),
        ]
    if d >= 100:
        claims.append(
            every(f"W = I memorises {d // 30} contexts with flipped labels: in-context accuracy", of["memory"], 0.95)
        )
    conditions = [
        Condition("y = +-1 alike, x = y mu + N(0, I), ||mu|| = R, mu uniform [source]", "drawn so", True),
        Condition("W = 0 at first, full batch, B = d tasks of 40 contexts [source]", f"B = {d}, N = {TRAINED}", True),
        Condition("(b) R^2 so large that one step classifies with a large margin: eta = 0.01 at R = 5 sqrt(d) [source]",
                  f"eta = {options['learning_rate']:g}", usual or None),
    ]  # fmt: skip
    return Theorem(
        "The binary linear-attention classifier", STATEMENT, settings(options), seeds, conditions, claims, NOTES
    )


CLASSIFIER = Experiment(
    "classifier", "the binary classifier: its 300 steps are one", no_runs, measure, assemble, OPTIONS, check
)
