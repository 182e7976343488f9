"""What the theorems of Li et al. 2024 share: their options, what they refuse, training runs, conditions, tests.

Options are fields of `nlicl.papers.li2024.Problem` with their defaults, and some more. `Problem` itself refuses a value that
breaks the data model. Here a value is refused for which a theorem promises nothing.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.checks import numbers, real
from ....core.errors import InvalidInput, InvalidType, InvalidValue
from ....core.memory import check_memory
from ....models.front import forward
from ....models.transformer.prompts import CodedPrompts
from ....papers import li2024
from ....training.runs import Run
from ...experiment import Options, Training
from ...summary import span
from ...theorem import Condition

__all__ = [
    "CONSTANTS",
    "MARGIN",
    "OUT_OF_DOMAIN",
    "TESTS",
    "Below",
    "check",
    "check_tests",
    "conditions",
    "errors",
    "level",
    "more_shifts",
    "options",
    "outside",
    "problem",
    "reached",
    "unmeasured",
    "watched",
]

SIZES = ("M1", "M2", "d_X", "K", "alpha", "beta", "length", "m", "learning_rate")
QUICK_TEST, TEST, TOKEN = 1000, 4000, 50  # prompts that a theorem is tested on at most, and bytes of a token of theirs
TESTS: dict[str, Any] = {"alpha_test": 0.8, "length_test": 20}
OUT_OF_DOMAIN: dict[str, Any] = {"S_1": 1.1, "K_test": 0.5, "M1_test": 3}
MARGIN = 2.0  # hinge of a wrong answer given with margin 1
LEAST_EPS = 1e-6
AVERAGED = 10  # steps the training hinge is averaged over

CONSTANTS = (
    "An Omega, Theta or O has an unknown constant: the table shows the formula with constant 1, undecided ('?')."
)


def options(base: li2024.Problem | None = None, **more: object) -> dict[str, Any]:
    """Names and defaults of what a user may set: sizes of the problem, T, eps, and `more`."""
    base = li2024.Problem() if base is None else base
    return {name: getattr(base, name) for name in SIZES} | {"steps": None, "eps": 0.1} | more


def problem(options: Options, base: li2024.Problem | None = None, shifts: int = 1, **changes: Any) -> li2024.Problem:
    """The problem that options describe, in domain, with T by Theorem 3.3 and B large enough for eps.

    At the defaults it equals `base`, so that runs are shared with the figures.

    Parameters
    ----------
    options : dict
    base : Problem, optional
        Where the rest comes from.
    shifts : int
        Cyclic shifts of the training tasks, M1 tasks each.
    changes
        Fields of Problem set otherwise, for a variant of the experiment.
    """
    base = li2024.Problem() if base is None else base
    sizes: dict[str, Any] = {name: options[name] for name in SIZES} | {"training_tasks": None}
    found = replace(base, **sizes)
    found = replace(found, training_tasks=li2024.cyclic_tasks(found.M1, shifts), **changes)
    steps = options["steps"]
    if steps is None:
        constant = base.steps / formula_of_T(base)
        steps = math.ceil(constant * formula_of_T(found) * (0.75 if options["quick"] else 1) - 1e-9)
    batch = 64 if options["quick"] else max(base.batch, math.floor(li2024.batch_size(found.M1, options["eps"])) + 1)
    return replace(found, steps=steps, batch=batch)


def more_shifts(M1: int) -> int:
    """Three cyclic shifts, which are 18 tasks at M1 = 6; fewer if no tasks would be left to test on."""
    return max(1, min(3, M1 - 2))


def formula_of_T(problem: li2024.Problem) -> float:
    """eta^-1 M1 alpha^(-2/3) beta^(-2/3) sqrt(log M1): Theorem 3.3 with constant 1."""
    return li2024.number_of_steps(problem.alpha, M1=problem.M1, beta=problem.beta, learning_rate=problem.learning_rate)


# ---- Refusals


def check(options: Options, base: li2024.Problem | None = None, theorem: str = "Theorem 3.3") -> li2024.Problem:
    """The problem that options describe.

    ValueError or TypeError for settings that break the data model, or for which the theorem promises nothing.
    """
    real(
        "eps",
        options["eps"],
        f"in (0, 1), at least {LEAST_EPS:g}: a batch has eps^-2 prompts",
        lambda x: LEAST_EPS <= x < 1,
    )
    found = problem(options, base)
    if found.K > 0.5:
        raise InvalidValue(
            f"K is {found.K}; {theorem} speaks of kappa ~ U(-K, K) with K <= 1/2 in domain [recalled]. "
            "Expected K of at most 0.5; K_test, where there is one, may be larger."
        )
    if found.learning_rate > 1:
        raise InvalidValue(f"learning_rate is {found.learning_rate}; {theorem} asks for eta <= 1 [paper].")
    if found.M1 == 2:
        raise InvalidValue(
            f"M1 is 2; {theorem} is about tasks not trained on, and the two tasks of two patterns are both in T_tr "
            "(Condition 3.2). Expected M1 of at least 3."
        )
    return found


def check_tests(options: Options, found: li2024.Problem, theorem: str = "Theorem 3.3", ood: bool = False) -> None:
    """ValueError or TypeError for wrong test prompts: for alpha' and l_ts, and with `ood` for S_1, K' and M1'."""
    for name in ("alpha_test", "length_test"):
        if options[name] is None:
            raise InvalidType(f"{name} is None; expected a number.")
    tested = found
    if ood:
        numbers("S_1", options["S_1"])
        for S_1 in np.atleast_1d(options["S_1"]).tolist():
            tested = outside(options, found, S_1)
            if S_1 < 1:
                raise InvalidValue(
                    f"S_1 is {S_1}; {theorem} promises a small error for S_1 >= 1 only [paper]. Expected S_1 from 1 to "
                    "sqrt(2). What happens below 1 is measured by Theorem 3.4 at any setting, without a promise."
                )
    try:
        tested.sample(1, length=options["length_test"], alpha=options["alpha_test"])
    except InvalidInput as error:
        raise type(error)(f"alpha_test, length_test: {error}") from None
    most = QUICK_TEST if options["quick"] else TEST
    tokens = most * (options["length_test"] + 1)
    check_memory(f"length_test is {options['length_test']}: {most} prompts to test on", TOKEN * tokens, "Lower it.")
    if options["length_test"] * options["alpha_test"] < 1:
        raise InvalidValue(
            f"length_test is {options['length_test']}; {theorem} asks for l_ts >= 1/alpha' = {1 / options['alpha_test']:g} "
            "[paper]."
        )


def outside(options: Options, found: li2024.Problem, S_1: float, K: float | None = None) -> li2024.Problem:
    """The out-of-domain problem of the options; if there is none, Problem's error, with the names of the options."""
    try:
        return found.out_of_domain(S_1=S_1, K=options["K_test"] if K is None else K, M1=options["M1_test"])
    except InvalidInput as error:
        raise type(error)(f"out of domain (S_1, K_test, M1_test): {error}") from None


# ---- Training


@dataclass(frozen=True)
class Below:
    """Whether to stop a run: the mean hinge of the last ten steps is below `level`."""

    level: float

    def __call__(self, losses: NDArray) -> bool:
        return len(losses) >= AVERAGED and np.mean(losses[-AVERAGED:]) < self.level


def level(problem: li2024.Problem, eps: float) -> float:
    """eps plus the hinge that no predictor can avoid, that of prompts without a context of the query's pattern [derived]."""
    return eps + MARGIN * li2024.no_match_probability(problem.alpha, problem.length)


def reached(run: Run, level: float) -> float:
    """The first step at which the mean hinge of ten batches of training prompts is below `level`; nan if there is none."""
    means = np.convolve(run.history.loss, np.ones(AVERAGED) / AVERAGED, "valid")
    below = np.flatnonzero(means < level)
    return float(below[0] + AVERAGED) if len(below) else np.nan


def watched(options: Options, problem: li2024.Problem) -> Training:
    """A run with the problem's own measurements: every 20 steps, as the figures have it."""
    return Training(problem, measure=50) if options["quick"] else Training(problem)


def unmeasured(problem: li2024.Problem, **more: Any) -> Training:
    """A run without measurements: only its end and its losses are looked at."""
    return Training(problem, measure=None, **more)


def errors(params: li2024.Params, prompts: CodedPrompts) -> tuple[float, float]:
    """Hinge and 0-1 error on prompts: the theorems are about the first [paper]."""
    margin = prompts.labels * forward(params, prompts).score
    return float(np.mean(np.maximum(0, 1 - margin))), float(np.mean(li2024.wrong(margin)))


# ---- Conditions


def conditions(
    options: Options, problem: li2024.Problem, steps_reached: ArrayLike, tests: bool = False
) -> list[Condition]:
    """The conditions of Theorem 3.3, and whether a training problem meets them.

    `steps_reached` (seeds,) are the steps at which the training hinge fell below eps. `tests` adds the condition on l_ts.
    """
    M1, alpha, eps = problem.M1, problem.alpha, options["eps"]
    tasks = problem.training_tasks
    complaints = li2024.condition_3_2(tasks, M1)
    unit = formula_of_T(problem)
    steps = np.asarray(steps_reached, float)
    found = (
        f"hinge below eps at step {span(steps)}: C = {span(steps / unit)}"
        if np.isfinite(steps).all()
        else f"the hinge did not fall below eps in {np.isnan(steps).sum()} of {len(steps)} seeds"
    )
    rows = [
        Condition(
            "Condition 3.2: training tasks cover all IDR patterns and both labels uniformly [paper]; precisely, each "
            "pattern gets each label in |T_tr|/M1 of them [recalled]",
            complaints[0]
            if complaints
            else f"{len(tasks)} of {M1 * (M1 - 1)} tasks; {len(tasks) // M1} for each pattern and label",
            not complaints,
        ),
        Condition(
            "x = mu_j + kappa nu_k, IDR and IDI patterns orthogonal [paper], kappa ~ U(-K, K), K <= 1/2 [recalled]",
            f"K = {problem.K:g}; all patterns orthogonal, of norm beta = {problem.beta:g}",
            problem.K <= 0.5,
        ),
        Condition(
            "(i) m >= Omega(M1^2 log M1) [paper]",
            f"m = {problem.m}; M1^2 log M1 = {li2024.number_of_neurons(M1):.4g}",
            None,
        ),
        Condition(
            "(ii) B > Omega(max{eps^-2, M1} log M1) [paper]",
            f"B = {problem.batch}; formula at eps = {eps:g}: {li2024.batch_size(M1, eps):.4g}"
            + (" (quick run: not met)" if options["quick"] else ""),
            None,
        ),
        Condition(
            "(iii) l_tr >= Omega(1/alpha) [paper], with factors log M1 [recalled]",
            f"l_tr = {problem.length}; 1/alpha = {li2024.context_length(alpha):.4g}",
            None,
        ),
        Condition(
            "(iv) T = Theta(alpha^(-2/3)) [paper], = Theta(eta^-1 M1 alpha^(-2/3) beta^(-2/3) sqrt(log M1)) [summary], "
            "eta <= 1 [paper]",
            f"T = {problem.steps} = {problem.steps / unit:.3g} x {unit:.3g}, eta = {problem.learning_rate:g}; {found}",
            None,
        ),
    ]
    if tests:
        a, l = options["alpha_test"], options["length_test"]
        rows.insert(
            5,
            Condition(
                "(iii) l_ts >= 1/alpha' [paper], at least alpha'/2 of the contexts with the query's pattern [paper]",
                f"l_ts = {l} and {math.ceil(1 / a)}; 1/alpha' = {1 / a:.4g}; drawn so, and independently",
                l * a >= 1,
            ),
        )
    return rows
