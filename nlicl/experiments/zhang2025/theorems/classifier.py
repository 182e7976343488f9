"""The binary classifier of Frei and Vardi: its 300 steps are one, and what that step is."""

import math

import numpy as np
from numpy.typing import NDArray

from ....core.checks import integer
from ....core.seeds import Part
from ....models.front import loss_and_grad
from ....papers.zhang2025.classifier import Classifier, accuracies
from ....training.loop import train
from ...claims import Claim, every
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, no_runs
from ...summary import stacked
from ...theorem import Condition, Theorem
from ..classifier import first_step
from .common import MARKS, positive, settings, small

__all__ = ["CLASSIFIER"]

RATE = Classifier.learning_rate
OPTIONS = {"d": 50, "learning_rate": RATE}
AVERAGED, QUICK_AVERAGED = 40_000, 8_000  # tasks of the population gradient
STATEMENT = (
    "Linear attention with one merged head, W^V = e_{D+1} e_{D+1}^T fixed, u = 0, s = 1/N and the logistic loss is "
    "z = p^T W x_query, p = (1/N) sum_n y_n x_n, with the gradient (sigmoid(z) - yb) p x_query^T [derived]. "
    "Training as in the authors' code: B = d tasks, R = 5 sqrt(d), rate eta, W = 0 at first [source]. (a) At W = 0 "
    "the population gradient is -(1/2) (R^2/d) I. (b) The 300 steps are one: afterwards the loss is nil, and W = "
    "(eta/(2B)) sum over tasks of y_query p x_query^T. (c) tr W/d = (eta/2) R^2/d, and ||W - (tr W/d) I||_F / "
    "sqrt(d) = (eta/2) (R^2/d) sqrt(d/B): noise as large as the signal at B = d. All [derived]."
)
NOTES = [
    MARKS,
    "Frei and Vardi 2024; settings are their code's [source]. The paper's text was not read.",
    "The published accuracies stand beside ours in the figure zhang2025:classifier.",
    "The gradient of a sample of tasks at W = 0 has entries of standard error R^2 / (2 d sqrt(n)), about: (a) is "
    "judged by its mean over the diagonal, and by the root mean square of what is left.",
    "Loss (b): how small it is depends on the least margin of B tasks, and varies by many orders between seeds.",
]


def check(options: Options) -> None:
    integer("d", options["d"], 2, 500)
    positive(options, "learning_rate", most=10.0)


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    d, eta = options["d"], options["learning_rate"]
    problem = Classifier(d, learning_rate=eta)
    prompts, start, R = problem.sample(d, seed=seed), problem.initialize(), 5 * math.sqrt(d)
    run = train(problem, prompts=prompts, measure=None, seed=seed)
    one, expected = first_step(prompts, eta), eta / 2 * R**2 / d
    diagonal = np.trace(one) / d

    def loss(W: NDArray[np.float64]) -> float:
        weights = start.W.copy()
        weights[0, :-1, :-1] = W
        return float(loss_and_grad(start._replace(W=weights), prompts, "logistic")[0])

    n, total = QUICK_AVERAGED if options["quick"] else AVERAGED, np.zeros((d, d))
    parts = max(1, n * d // 2_000_000)
    for part in range(parts):
        drawn = problem.sample(n // parts, 10, (seed, Part.TESTS, 100 + part))
        total += loss_and_grad(start, drawn, "logistic")[1].W[0, :-1, :-1] / parts
    off = total - np.trace(total) / d * np.eye(d)
    nothing = Classifier(d, test_radius=0.0, test_flip=0.0, test_tasks=1000).test_prompts(seed)
    few = Classifier(d, test_radius=0.0, test_length=max(1, d // 30), test_tasks=200).test_prompts(seed)
    return {
        "diagonal": np.trace(total) / d / (-(R**2) / d / 2),
        "rest": np.sqrt(np.mean(off**2)) / (R**2 / d / 2) * math.sqrt(n),
        "same": np.abs(run.params.W[0, :-1, :-1] - one).max() / np.abs(one).max(),
        "left": run.history.loss[1],
        "trace": diagonal / expected,
        "noise": np.linalg.norm(one - diagonal * np.eye(d)) / math.sqrt(d) / expected,
        "convex": loss((one.T - 3 * one) / 8) - (loss(one.T / 4) + loss(-3 * one / 4)) / 2,
        "blind": accuracies(one, nothing)[0],
        "memory": accuracies(np.eye(d), few)[1],
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
        Condition(
            "W = 0 at first, full batch, B = d tasks of 40 contexts [source]", f"B = {d}, N = {Classifier.length}", True
        ),
        Condition(
            "(b) R^2 so large that one step classifies with a large margin: eta = 0.01 at R = 5 sqrt(d) [source]",
            f"eta = {options['learning_rate']:g}",
            usual or None,
        ),
    ]
    return Theorem(
        "The binary linear-attention classifier", STATEMENT, settings(options), seeds, conditions, claims, NOTES
    )


CLASSIFIER = Experiment(
    "classifier", "the binary classifier: its 300 steps are one", no_runs, measure, assemble, OPTIONS, check
)
