"""Theorem 1 of Bu et al. 2024: exponential convergence of the 0-1 loss, whatever the length and the batch."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import InvalidValue
from ....papers import bu2024
from ....papers.bu2024 import theory
from ....training.runs import Run
from ...claims import Claim, every
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, Training
from ...settings import of_problem
from ...summary import span, stacked
from ...theorem import Theorem
from . import setting

__all__ = ["CONVERGENCE"]

STATEMENT = (
    "For any eps there is T* = T_hat + O(log(1/eps)) such that the 0-1 loss is at most eps for T >= T*, with high probability "
    "over the initialisation; T_hat, when attention and MLP have the right margin, depends neither on eps nor on the length L "
    "nor on the batch B [content paper: exponential convergence without a requirement on L or B; shape recalled]."
)
BASE = replace(bu2024.small, steps=800)
EVERY = 10
LONGER, WIDER = 2, 4  # times the length, times the batch
OTHERS = ("longer", "larger batches")
TOO_MUCH = 4  # times lambda*


def variants(options: Options) -> dict[str, bu2024.Problem]:
    """The problem of the options, and problems that differ from it in one respect, by name."""
    main = setting.problem(options, BASE)
    norms = theory.norms(main.norm_x, main.norm_y, main.kappa_x, main.kappa_y)
    star = theory.lambda_star(main.sigma_0, norms.b, norms.d, main.concepts, main.m)
    decay = float(TOO_MUCH * star)
    # the same eta_0 = 2/(lambda gamma)
    decaying: dict[str, Any] = {"step_offset": 2 / (decay * main.learning_rate), "learning_rate": None}
    return {
        "main": main,
        "longer": replace(main, length=LONGER * main.length),
        "larger batches": replace(main, batch=WIDER * main.batch),
        "W_Q = W_K = 0": replace(main, sigma_0=0.0),
        "decay": replace(main, weight_decay=decay, **decaying),
    }


def runs(options: Options) -> dict[str, Training]:
    return {
        name: setting.run(problem, 5 * EVERY if options["quick"] else EVERY)
        for name, problem in variants(options).items()
    }


def reached(run: Run, level: float) -> float:
    """The first measured step from which on the error is at most `level`; nan if there is none."""
    above = np.flatnonzero(run.history["error"] > level)
    first = 0 if not len(above) else above[-1] + 1
    return float(run.history.steps[first]) if first < len(run.history.steps) else np.nan


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    eps, main = options["eps"], runs["main"].history
    first, problems = reached(runs["main"], eps), variants(options)
    loss = main["loss"][main.steps == first]
    return {
        "T": [reached(runs[name], eps) for name in ("main", *OTHERS)],
        "others": [[runs[name].history[key][-1] for key in ("error", "attention")] for name in OTHERS],
        "T, eps/4": reached(runs["main"], eps / 4),
        "error": main["error"][-1],
        "attention": main["attention"][-1],
        "loss at T": loss[0] if len(loss) else np.nan,
        "saddle": abs(runs["W_Q = W_K = 0"].history["attention"] - runs["W_Q = W_K = 0"].history["attention"][0]).max(),
        "saddle, error": runs["W_Q = W_K = 0"].history["error"][-1],
        "decay": runs["decay"].history["attention"][-1],
        "escape": setting.escape_steps(problems["main"], seed),
        "escape, decay": setting.escape_steps(problems["decay"], seed),
    }


def assemble(options: Options, seeds: Seeds, found: Found) -> Theorem:
    main, eps, of = setting.problem(options, BASE), options["eps"], stacked(found)
    T, escape = of["T"], of["escape"]
    early, promised = setting.early(main, escape), setting.promised(main)

    def claim(text: str, values: ArrayLike, low: float = -np.inf, high: float = np.inf) -> Claim:
        return setting.of_seeds(text, values, early, low, high, promised=promised)

    claims = [
        claim(f"0-1 error after T = {main.steps} steps (bound eps)", of["error"], high=eps),
        claim("correct attention weight then", of["attention"], 0.9),
        there_is(T[:, 0], main.steps, seeds, early, promised),
        claim("the error falls first: loss when the error gets to eps; log 2 = 0.693 is chance", of["loss at T"], 0.35),
        claim(f"no requirement on L: error at L = {LONGER * main.length} (bound eps)", of["others"][:, 0, 0], high=eps),
        claim(f"none on B: error at B = {WIDER * main.batch} (bound eps)", of["others"][:, 1, 0], high=eps),
        claim("correct attention weight in both", of["others"][..., 1], 0.9),
        claim("log(1/eps): the time from eps to eps/4, over T*", of["T, eps/4"] / T[:, 0] - 1, high=1.0),
        every("sigma_0 = 0, a saddle: attention does not move at all [derived]", of["saddle"], high=1e-12),
        setting.of_seeds(
            f"lambda = {TOO_MUCH} lambda*: attention is not learnt [derived]", of["decay"],
            np.isinf(of["escape, decay"]).all(axis=1), high=0.65, which="never escaping",
            promised=promised and setting.unlearnt_is_low(variants(options)["decay"]),
        ),
    ]  # fmt: skip
    notes = [
        setting.UNKNOWN,
        f"T* is the first of the steps measured, every {EVERY}, from which on the error on 2000 test prompts is at most eps: "
        f"{span(T[:, 0])}, at L = {LONGER * main.length} {span(T[:, 1])}, at B = {WIDER * main.batch} {span(T[:, 2])}.",
        setting.late_note(main, seeds, escape),
        setting.UNDETERMINED,
        f"At sigma_0 = 0 the gradients of W_Q and W_K vanish; the error stays {span(of['saddle, error'])}.",
        "The exponential law itself needs many seeds: `nlicl reproduce bu2024:exponential` fits it to 150, "
        "`bu2024:independence` has lengths and batches, `bu2024:success-map` the conditions on sigma_0, sigma_1 and lambda.",
        f"The setting is `bu2024.small` with T = 800, lambda* is at m_+ = m/2 [derived]; at lambda = {TOO_MUCH} lambda* "
        "gamma is such that eta_0 is the same.",
    ]
    return Theorem(
        "Theorem 1, exponential convergence of the 0-1 loss",
        STATEMENT,
        of_problem(main, options),
        seeds,
        [*setting.conditions(main), setting.late_condition(main, escape)],
        claims,
        notes,
    )


def there_is(T: NDArray, steps: int, seeds: Seeds, early: NDArray, promised: bool) -> Claim:
    """The claim that every early seed has a T*. It names those that have none."""
    text = "there is T*, from which on the error is at most eps"
    found = setting.of_seeds(text, T, early, high=steps, promised=promised)
    without = [str(seed) for seed, one, chosen in zip(seeds, T, early, strict=True) if chosen and np.isnan(one)]
    if without:
        found = replace(
            found, measured=f"{span(T[early])}; none for seed{'s' * (len(without) > 1)} {', '.join(without)}"
        )
    return found


def check(options: Options) -> None:
    found = setting.check(options, BASE)
    if found.sigma_0 == 0:
        raise InvalidValue(
            "sigma_0 is 0: W_Q = W_K = 0 is a saddle that training does not leave. Expected a number greater than 0."
        )
    if found.steps < EVERY:
        raise InvalidValue(f"steps is {found.steps}; expected at least {EVERY}, the distance of measurements.")


CONVERGENCE = Experiment(
    "convergence", "exponential convergence of the 0-1 loss, no requirement on length and batch",
    runs, measure, assemble, setting.options(BASE, eps=0.05), check,
)  # fmt: skip
