"""Theorems 3.3 and 3.4 of Li et al. 2024: small hinge on tasks not trained on, in domain and out of domain."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ....core.seeds import Li2024Test, for_test
from ....models.front import forward
from ....models.transformer.prompts import CodedPrompts
from ....papers import li2024
from ....papers.li2024 import mechanism
from ...claims import Claim, every, fact, interval
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, Training
from ...settings import of_problem
from ...summary import least, span, stacked
from ...theorem import Condition, Theorem
from . import setting
from .setting import CONSTANTS, MARGIN, errors, reached, unmeasured

__all__ = ["IN_DOMAIN", "OUT_OF_DOMAIN"]

# ---- 3.3 In domain

STATEMENT_3_3 = (
    "Suppose Condition 3.2 holds. For any eps > 0, when (i) m >= Omega(M1^2 log M1) [paper]; (ii) B > Omega(max{eps^-2, "
    "M1} log M1) [paper]; (iii) l_tr >= Omega(alpha^-1), l_ts >= alpha'^-1 [paper], with factors log M1, or in full l_tr >= "
    "max{Omega(log M1 / alpha), Omega(1/(beta^2 alpha))} [recalled]; (iv) T = Theta(alpha^(-2/3)) [paper], in full T = "
    "Theta(eta^-1 M1 alpha^(-2/3) beta^(-2/3) sqrt(log M1)) [summary], with eta <= 1 and N = BT [paper]; then with high "
    "probability the in-domain error (hinge, on tasks of T without T_tr) of Psi^(T) is at most O(eps) [paper]."
)
FEW_NEURONS = 4
SMALL_BATCH, TINY_BATCH = 8, 2


def runs_3_3(options: Options) -> dict[str, Training]:
    trained = setting.problem(options)
    M1 = trained.M1
    half = setting.problem({**options, "alpha": trained.alpha / 2})
    escaped = setting.level(half, options["eps"])
    star = tuple((0, j) for j in range(1, M1))
    return {
        "main": setting.watched(options, trained),
        "half alpha": unmeasured(replace(half, steps=2 * trained.steps), until=setting.Below(escaped)),
        "one task missing": unmeasured(replace(trained, training_tasks=trained.training_tasks[:-1])),
        "one label a pattern": unmeasured(replace(trained, training_tasks=star)),
        "one context": unmeasured(replace(trained, length=1)),
        "few neurons": unmeasured(replace(trained, m=FEW_NEURONS)),
        "small batch": unmeasured(trained, batch=SMALL_BATCH),
        "tiny batch": unmeasured(trained, batch=TINY_BATCH),
    }


def measure_3_3(options: Options, seed: int, runs: Runs) -> Measured:
    trained = setting.problem(options)
    n = 1000 if options["quick"] else 4000
    alpha, l = options["alpha_test"], options["length_test"]
    shortest = math.ceil(1 / alpha)

    def hinge(name: str, problem: li2024.Problem = trained, length: int = l, sampling: str = "at-least") -> float:
        test = problem.sample(
            n,
            length=length,
            alpha=alpha,
            seed=for_test(seed, Li2024Test.THEOREM_3_3),
            tasks="unseen",
            sampling=sampling,
        )
        return errors(runs[name].params, test)[0]

    others = runs_3_3(options)
    half = setting.problem({**options, "alpha": trained.alpha / 2})
    return {
        "hinge": hinge("main"),
        "hinge, shortest": hinge("main", length=shortest),
        "hinge, independent": hinge("main", sampling="iid"),
        "hinge, shortest, independent": hinge("main", length=shortest, sampling="iid"),
        "steps": reached(runs["main"], setting.level(trained, options["eps"])),
        "steps, half alpha": reached(runs["half alpha"], setting.level(half, options["eps"])),
        "both signs": len(np.unique(runs["few neurons"].params.a)) == 2,
        **{name: hinge(name, others[name].problem) for name in ("one task missing", "one label a pattern")},
        **{name: hinge(name) for name in ("one context", "few neurons", "small batch", "tiny batch")},
    }


def assemble_3_3(options: Options, seeds: Seeds, found: Found) -> Theorem:
    trained, eps = setting.problem(options), options["eps"]
    of = stacked(found)
    alpha, l = options["alpha_test"], options["length_test"]
    shortest = math.ceil(1 / alpha)
    unavoidable = li2024.no_match_probability(alpha, l)
    right = (of["few neurons"] <= eps) == of["both signs"]
    claims = [
        every(f"hinge on unseen tasks, l_ts = {l}, a share alpha'/2 of contexts matches (bound eps)", of["hinge"], high=eps),
        every(f"the same at the shortest l_ts the theorem allows, {shortest} (bound eps)", of["hinge, shortest"], high=eps),
        every(
            f"independent contexts instead, l_ts = {l} (bound eps + {MARGIN:g} (1 - alpha'/2)^l_ts)",
            of["hinge, independent"],
            high=eps + MARGIN * unavoidable,
        ),
        exponent_of_alpha(np.log2(of["steps, half alpha"] / of["steps"])),
        every("Condition 3.2 broken, the last task left out: hinge on unseen tasks", of["one task missing"], 0.025),
        every(
            "Condition 3.2 broken, all patterns trained, but one always +1, the others always -1: hinge",
            of["one label a pattern"], 0.5,
        ),
        every("l_tr = 1: nothing can be learnt [derived]: hinge", of["one context"], 0.9),
        every(f"(ii) is not necessary: B = {SMALL_BATCH}", of["small batch"], high=eps),
        fact(
            f"m = {FEW_NEURONS}: hinge at most eps where both signs occur among the a_i, and only there [derived]",
            right.all(), f"in {right.sum()} of {len(seeds)} seeds; both signs in {of['both signs'].sum()}", "in every seed",
            of["few neurons"],
        ),
    ]  # fmt: skip
    notes = [
        CONSTANTS,
        "Condition (iii) on l_ts is about prompts in which a share alpha'/2 of the contexts matches the query. With "
        f"{shortest} independent contexts instead, the hinge is {span(of['hinge, shortest, independent'])}: prompts "
        f"without a match, a share {li2024.no_match_probability(alpha, shortest):.3g} of all, are answered wrongly "
        "[measured].",
        f"B: with batches of {TINY_BATCH} the hinge is above eps in {np.sum(of['tiny batch'] > eps)} of {len(seeds)} seeds "
        f"({span(of['tiny batch'])}), with {SMALL_BATCH} in {np.sum(of['small batch'] > eps)} [measured; at the defaults in "
        "13 and 0 of 40 seeds]. So B affects 'with high probability'. T determines how small the hinge gets, because "
        "fresh prompts in each step average over steps.",
        "m: the formula is sufficient, far from necessary here. Few neurons may all have the same sign. Then F cannot "
        f"take one of the labels, and the hinge is near 1/2. The chance is 2^(1-m), {2.0 ** (1 - FEW_NEURONS):g} at m = "
        f"{FEW_NEURONS}.",
        "l_tr = 1: attention on one context is 1. The context has the query's pattern as often as the other one, so its "
        "label says nothing about z. This holds at any alpha, also if l_tr >= 1/alpha. So the constant of (iii) is above "
        "1 [derived].",
        "The constant C of (iv) depends on quantities that the formula does not contain: |a_i|, delta, xi. Over alpha from "
        "0.1 to 1 the exponent of alpha is about -0.86, and no pure power fits; that of beta is -2.0 at fixed delta, not "
        "-2/3 [measured]: for smaller beta set steps.",
        "'With high probability' is tested as 'in every seed'. O(eps) is tested with constant 1.",
    ]
    return Theorem(
        "Theorem 3.3, in-domain generalization",
        STATEMENT_3_3,
        of_problem(trained, options),
        seeds,
        setting.conditions(options, trained, of["steps"], tests=True),
        claims,
        notes,
    )


def exponent_of_alpha(exponents: NDArray[np.float64]) -> Claim:
    """What the steps at alpha/2 and at alpha say of the exponent in (iv), and whether 2/3 is among the values they allow.

    Theta leaves logarithms and what is of lower order open: an exponent near 2/3 is no contradiction, and none is claimed.
    """
    mean, low, high = interval(exponents)
    missed = int(np.isnan(exponents).sum())
    told = (
        f"{mean:.3g} (95% interval {low:.3g} to {high:.3g}): 2/3 lies {'inside' if low <= 2 / 3 <= high else 'outside'}"
    )
    return fact(
        "training steps until hinge < eps grow like alpha^-p, from alpha to alpha/2; (iv) says p = 2/3",
        0.4 < mean < 1.1,
        f"not reached in {missed} of {len(exponents)}" if missed else f"p = {told}",
        "p from 0.4 to 1.1, what logarithms may make of 2/3 at such sizes [ours]",
        exponents,
    )


def check_3_3(options: Options) -> None:
    setting.check_tests(options, setting.check(options))


# ---- 3.4 Out of domain

STATEMENT_3_4 = (
    "Under the conditions of Theorem 3.3, if S_1 >= 1 for every ODR pattern and every ODI pattern lies in span{nu_k}, the "
    "out-of-domain error (hinge) is at most O(eps) [paper]. Set form: ODR patterns in {sum_i k_i mu_i : S_1 = sum_i k_i >= "
    "1}, S_1 of constant order, l_ts >= alpha'^-1 [recalled]. Why, by the October 2024 slides: W_O W_V (mu'; q) ~ mu-bar^T "
    "mu' + q^T q = sum_i c_i mu-bar^T mu_i + q^T q >= mu-bar^T mu_1 + q^T q iff sum_i c_i >= 1: the lucky neurons stay "
    "active [paper]."
)
UNPROMISED = (0.9, 0.7, 0.5, 0.0, -0.5)
WIDE = 2.0


def runs_3_4(options: Options) -> dict[str, Training]:
    return {"main": setting.watched(options, setting.problem(options, li2024.sibling))}


def measure_3_4(options: Options, seed: int, runs: Runs) -> Measured:
    trained, params = setting.problem(options, li2024.sibling), runs["main"].params
    n = 1000 if options["quick"] else 4000
    alpha, l = options["alpha_test"], options["length_test"]
    known = trained.sample(2000, seed=for_test(seed, Li2024Test.THEOREM_3_4_LUCKY))
    W, U = mechanism.lucky_neurons(params, forward(params, known).preactivation, known.labels)

    def test(S_1: float, K: float | None = None, length: int = l, sampling: str = "iid") -> CodedPrompts:
        problem = setting.outside(options, trained, S_1, K)
        return problem.sample(
            n, length=length, alpha=alpha, seed=for_test(seed, Li2024Test.THEOREM_3_4), sampling=sampling
        )

    def firing(S_1: float) -> float:
        prompts = test(S_1)
        on = forward(params, prompts).preactivation > 0
        return least(np.r_[on[prompts.labels > 0][:, W].mean(axis=0), on[prompts.labels < 0][:, U].mean(axis=0)])

    promised = np.atleast_1d(options["S_1"]).tolist()
    shortest = math.ceil(1 / alpha)
    below = np.array([errors(params, test(S_1)) for S_1 in UNPROMISED])
    return {
        "hinge": [errors(params, test(S_1))[0] for S_1 in promised],
        "hinge, shortest": [errors(params, test(S_1, None, shortest, "at-least"))[0] for S_1 in promised],
        "hinge, wide": [errors(params, test(S_1, WIDE))[0] for S_1 in promised],
        "hinge, below": below[:, 0],
        "error, below": below[:, 1],
        "firing": [firing(S_1) for S_1 in promised],
        "firing, below": [firing(S_1) for S_1 in UNPROMISED],
        "steps": reached(runs["main"], setting.level(trained, options["eps"])),
    }


def assemble_3_4(options: Options, seeds: Seeds, found: Found) -> Theorem:
    trained, eps = setting.problem(options, li2024.sibling), options["eps"]
    of = stacked(found)
    promised = np.atleast_1d(options["S_1"]).tolist()
    alpha, l = options["alpha_test"], options["length_test"]
    below = dict(zip(UNPROMISED, of["hinge, below"].T, strict=True))
    falling = np.diff(of["hinge, below"][:, [UNPROMISED.index(S_1) for S_1 in (0.7, 0.5, 0.0, -0.5)]], axis=1) > 0
    given = ", ".join(f"{S_1:g}" for S_1 in promised)
    claims = [
        every(
            f"hinge out of domain, independent contexts, l_ts = {l} (bound eps + {MARGIN:g} (1 - alpha'/2)^l_ts)",
            of["hinge"].ravel(), high=eps + MARGIN * li2024.no_match_probability(alpha, l),
        ),
        every(
            f"at the shortest l_ts allowed, {math.ceil(1 / alpha)}, a share alpha'/2 of contexts matches (bound eps)",
            of["hinge, shortest"].ravel(), high=eps,
        ),
        every(
            f"kappa' ~ U(-{WIDE:g}, {WIDE:g}), which the theorem leaves free: as in the first row",
            of["hinge, wide"].ravel(), high=eps + MARGIN * li2024.no_match_probability(alpha, l),
        ),
        every("lucky neurons stay active: share of prompts of its label on which the least of them fires",
              of["firing"].ravel(), 0.99),
        every("S_1 = -0.5, not promised: the hinge is no longer small", below[-0.5], 0.4),
        every("S_1 = 0, not promised: the hinge is no longer small", below[0.0], 0.15),
        fact(
            "the hinge grows as S_1 falls: 0.7, 0.5, 0, -0.5", falling.all(),
            f"in {falling.all(axis=1).sum()} of {len(seeds)} seeds", "in every seed",
        ),
        every("S_1 >= 1 is not necessary: hinge at S_1 = 0.9 and 0.7", [*below[0.9], *below[0.7]], high=eps),
        every("the 0-1 error does not rise: at S_1 = 0.9 .. -0.5", of["error, below"].ravel(), high=0.005),
    ]  # fmt: skip
    still = of["firing, below"][:, UNPROMISED.index(0.0)]
    notes = [
        CONSTANTS,
        f"Claims without an S_1 are about all of {given}, each seed.",
        "Below 1, by S_1: " + "; ".join(f"{S_1:g}: {span(below[S_1])}" for S_1 in UNPROMISED) + " (hinge) [measured].",
        "The reason on the slides is not what fails below 1: at S_1 = 0 lucky neurons still fire on prompts of their label "
        f"(the least of them on a share {span(still)}). What falls with mu-bar^T mu' is how far above 0 they are: zF drops "
        "below 1, the hinge grows, and the sign of F stays right [measured].",
        "That larger S_1 gives fewer wrong answers (Figure 3a) is a result on GPT-2 [paper]; this one-layer model does "
        "not show it [measured].",
        "ODR patterns are c mu_i + s mu_j on disjoint pairs, c + s = S_1, c^2 + s^2 = 1 [derived]: S_1 cannot exceed "
        "sqrt(2). The setting is `li2024.sibling`: |a_i| = 1/sqrt(m), beta = 3.",
    ]
    odr = trained.out_of_domain(S_1=promised[0], K=options["K_test"], M1=options["M1_test"])
    conditions = [
        *setting.conditions(options, trained, of["steps"], tests=True),
        Condition(
            "S_1 >= 1 for every ODR pattern [paper], of constant order [recalled]", f"S_1 = {given}", min(promised) >= 1
        ),
        Condition("every ODI pattern lies in span{nu_k} [paper]", "nu' = nu", True),
        Condition(
            "ODR patterns orthogonal [paper], of norm beta; kappa' ~ U(-K', K'), K' may exceed 1 [recalled]",
            f"{odr.M1} patterns of norm {trained.beta:g}; K' = {odr.K:g} and {WIDE:g}", True,
        ),
    ]  # fmt: skip
    return Theorem(
        "Theorem 3.4, out-of-domain generalization",
        STATEMENT_3_4,
        of_problem(trained, options),
        seeds,
        conditions,
        claims,
        notes,
    )


def check_3_4(options: Options) -> None:
    found = setting.check(options, li2024.sibling, "Theorem 3.4")
    setting.check_tests(options, found, "Theorem 3.4", ood=True)


IN_DOMAIN = Experiment(
    "3.3", "in-domain generalization: small hinge on unseen tasks, and what the conditions are for",
    runs_3_3, measure_3_3, assemble_3_3, setting.options(**setting.TESTS), check_3_3,
)  # fmt: skip
OUT_OF_DOMAIN = Experiment(
    "3.4", "out-of-domain generalization: S_1 >= 1 is enough, and what happens below",
    runs_3_4, measure_3_4, assemble_3_4,
    setting.options(
        li2024.sibling, alpha_test=0.8, length_test=40, S_1=(1.0, 1.1, 1.2, 1.3, 1.4), K_test=0.5, M1_test=3
    ), check_3_4,
)  # fmt: skip
