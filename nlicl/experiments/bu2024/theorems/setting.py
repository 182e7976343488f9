"""What the theorems of Bu et al. 2024 share: options, what is refused, conditions, for which ours stand in."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.checks import real
from ....core.errors import InvalidValue
from ....core.seeds import Bu2024Test, for_test
from ....models.front import forward
from ....papers import bu2024
from ....papers.bu2024 import mechanism, predict, theory
from ...claims import Claim, every, if_promised
from ...experiment import Measured, Options, Seeds, Training
from ...theorem import Condition

__all__ = [
    "UNDETERMINED",
    "UNKNOWN",
    "check",
    "compared",
    "conditions",
    "early",
    "escape_steps",
    "late_condition",
    "late_note",
    "of_seeds",
    "options",
    "problem",
    "promised",
    "run",
    "unlearnt_is_low",
]

SIZES = (
    "concepts", "dictionary", "d_x", "d_y", "norm_x", "norm_y", "kappa_x", "kappa_y", "sigma_xi", "p_z", "length", "match",
    "m", "sigma_0", "sigma_1", "weight_decay", "step_offset", "batch", "steps",
)  # fmt: skip
DELTA = 0.05  # the probability of failure that conditions are shown for
MUCH = 10  # what "much larger" means
WELL_BEFORE = 0.75  # of T: a seed is early if the rule has all its concepts escape by then
LEVEL = 0.05  # of the binomial tests of shares of seeds
LOW = 0.6  # attention that is not learnt, with room below 0.65

UNKNOWN = (
    "The paper's conditions are known by kind only: suitable initialisation, small noise, a wide network [paper, "
    "second-hand]. The inequalities in the table are ours [derived], stand-ins for what is not known."
)


def options(base: bu2024.Problem, **more: object) -> dict[str, Any]:
    """Names and defaults of what a user may set: sizes of the problem, and `more`."""
    return {name: getattr(base, name) for name in SIZES} | more


def problem(options: Options, base: bu2024.Problem, **changes: Any) -> bu2024.Problem:
    """The problem that options describe; its learning rate follows from lambda and gamma."""
    sizes: dict[str, Any] = {name: options[name] for name in SIZES} | {"learning_rate": None}
    return replace(base, **sizes, **changes)


def check(options: Options, base: bu2024.Problem) -> bu2024.Problem:
    """The problem that options describe.

    ValueError or TypeError for settings that break the data model, or for which the theorem promises nothing.
    """
    eps = real("eps", options["eps"], "between 0 and 1/2: chance is 1/2", lambda x: 0 < x < 0.5)
    real("weight_decay", options["weight_decay"], "greater than 0: eta_t = 2/(lambda (gamma + t))", lambda x: x > 0)
    found = problem(options, base)
    floor = theory.floor_error(found.length)
    if found.match == "iid" and floor >= eps:
        raise InvalidValue(
            f"eps is {eps:g} with match 'iid' and length {found.length}: no parameters have an error below 2^-L = {floor:g} "
            "[derived]. Expected a larger eps or length, or match 'at-least-one' or 'balanced'."
        )
    return found


def run(problem: bu2024.Problem, every: int, n: int = 2000) -> Training:
    """A training run that measures loss, error and attention on n test prompts."""
    return Training(problem, measure=every, observe=Watch(n))


@dataclass(frozen=True)
class Watch:
    """What `Training.observe` takes: (problem, seed) -> (params -> error, attention and loss on n test prompts)."""

    n: int

    def __call__(self, problem: bu2024.Problem, seed: int) -> Callable[[bu2024.Params], Measured]:
        prompts = problem.sample(self.n, seed=for_test(seed, Bu2024Test.THEOREMS))
        return lambda params: mechanism.answers(forward(params, prompts), prompts)._asdict()


def conditions(problem: bu2024.Problem) -> list[Condition]:
    """Conditions on initialisation, decay, step sizes, noise, width and match. Their kinds are the paper's, the inequalities
    ours."""
    p = problem
    norms = theory.norms(p.norm_x, p.norm_y, p.kappa_x, p.kappa_y)
    needed = theory.sufficient_sigma_0(p.sigma_1, p.concepts, DELTA)
    star = theory.lambda_star(p.sigma_0, norms.b, norms.d, p.concepts, p.m) if p.sigma_0 > 0 else 0.0
    rows = [
        Condition(
            "initialisation well-behaved [paper, second-hand]: sigma_0 >= sigma_1 sqrt(2 log(2 K1/delta)) [derived]",
            f"sigma_0 = {p.sigma_0:g}; {needed:.3g} at delta = {DELTA:g}", bool(p.sigma_0 >= needed),
        ),
        Condition(
            "lambda small [recalled]: below lambda* = ||d|| ||b||^2 sigma_0 sqrt(m_+)/(pi K1 m), m_+ = m/2 [derived]",
            f"lambda = {p.weight_decay:g}; lambda* = {star:.3g}", bool(p.weight_decay < star),
        ),
    ]  # fmt: skip
    if p.weight_decay > 0 and p.sigma_1 > 0:
        dead = theory.needed_step_offset(norms.c, p.weight_decay, p.m, p.sigma_1)
        # between once and ten times as large nothing can be said
        holds = True if p.step_offset >= MUCH * dead else False if p.step_offset < dead else None
        rows.append(
            Condition(
                "gamma large [recalled]: much larger than ||c||/(lambda m sigma_1), or neurons die [derived]",
                f"gamma = {p.step_offset:g}; {dead:.4g}", holds,
            )
        )  # fmt: skip
    rows += [
        Condition(
            "noise not too large [paper, second-hand]",
            f"sigma_xi = {p.sigma_xi:g}; ||u|| = {p.norm_x:g}, ||q|| = {p.norm_y:g}",
            True if p.sigma_xi == 0 else None,
        ),
        Condition(
            "network wide enough [paper, second-hand]: m >= C log(K1/delta) [recalled]",
            f"m = {p.m}; log(K1/delta) = {math.log(p.concepts / DELTA):.3g}", None,
        ),
        Condition(
            "a demonstration has the query's sign, or the error has the floor 2^-L [derived]; the paper's rule is not known",
            f"match = {p.match}, L = {p.length}", p.match != "iid",
        ),
    ]  # fmt: skip
    return rows


# ---- Seeds that the rule has escape well before T, and claims about them


def escape_steps(problem: bu2024.Problem, seed: int) -> NDArray:
    """The step (K1,) at which each concept escapes by the rule, from the parameters that a seed starts from; inf for never."""
    return predict(problem, problem.initialize(seed=seed)).step


def early(problem: bu2024.Problem, escape: NDArray) -> NDArray:
    """Which seeds are early (seeds,): by the rule all concepts escape well before T. `escape` is (seeds, K1)."""
    return np.max(escape, axis=1) <= WELL_BEFORE * problem.steps


def promised(problem: bu2024.Problem) -> bool:
    """Whether no condition is known to be broken."""
    return all(condition.holds is not False for condition in conditions(problem))


def unlearnt_is_low(problem: bu2024.Problem) -> bool:
    """Whether weight decay alone leaves the correct attention weight near 1/2 after T steps."""
    p = problem
    if p.step_offset <= 2:
        return False  # the first steps overshoot 0
    norm_b = theory.norms(p.norm_x, p.norm_y, p.kappa_x, p.kappa_y).b
    left = (p.sigma_0 * norm_b * theory.decay(p.steps, p.step_offset)) ** 2
    return bool(theory.initial_attention(p.length, p.match, float(left)) <= LOW)


def of_seeds(
    claim: str,
    values: ArrayLike,
    chosen: NDArray,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    which: str = "early",
    promised: bool = True,
) -> Claim:
    """A claim about the chosen seeds. It is undetermined if there are none, and if it neither holds nor is promised.

    `values` is (seeds, ...), `chosen` a mask (seeds,), `which` what such seeds are called.
    """
    n = int(np.sum(chosen))
    if n == 0:
        return Claim(claim, f"of {which} seeds", f"no {which} seed", None)
    found = every(claim, np.ravel(np.asarray(values)[chosen]), low, high)
    whom = "every seed" if n == len(chosen) else f"each of the {n} {which} seed{'s' * (n > 1)}"
    return if_promised(replace(found, expected=found.expected.replace("every seed", whom)), promised)


def compared(count: int, n: int, share: float) -> bool | None:
    """Whether `count` of n seeds is less than `share` of them, by a binomial test at 5%; None if n is too small to tell."""
    from scipy.stats import binomtest

    for side, verdict in (("less", True), ("greater", False)):
        if binomtest(count, n, share, side).pvalue < LEVEL:
            return verdict
    return None


def late_condition(problem: bu2024.Problem, escape: NDArray) -> Condition:
    """The condition "with high probability": at most a share delta of the seeds is late."""
    late, n = int(np.sum(~early(problem, escape))), len(escape)
    return Condition(
        f"T long: with probability 1 - delta a seed is early, the rule's escape step of all concepts at most {WELL_BEFORE:g} "
        "T [derived]",
        f"{late} of {n} seed{'s' * (n > 1)} late; delta = {DELTA:g}, T = {problem.steps}", compared(late, n, DELTA),
    )  # fmt: skip


def late_note(problem: bu2024.Problem, seeds: Seeds, escape: NDArray) -> str:
    """A note on which seeds are late, and on the steps that the rule gives them."""
    steps, on_time = np.max(escape, axis=1), early(problem, escape)
    late = [
        f"{seed} ({f'step {step:.0f}' if np.isfinite(step) else 'never'})"
        for seed, step, ok in zip(seeds, steps, on_time, strict=True)
        if not ok
    ]
    return (
        f"Seeds leave the saddle at different steps. The rule `theory.escape_step` gives them from the initial parameters; "
        f"early seeds, {int(on_time.sum())} of {len(seeds)}, do so in all concepts by {WELL_BEFORE:g} T = "
        f"{WELL_BEFORE * problem.steps:g}, and claims about T are about them [derived]. Late: {', '.join(late) or 'none'}."
    )


UNDETERMINED = (
    "'?' beside a claim: there is no seed to claim it of, or too few, or it does not hold and, a condition being broken, is "
    "not promised."
)
