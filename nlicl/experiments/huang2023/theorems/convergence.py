"""The balanced and the imbalanced theorem: convergence in finite time, by exact gradient descent on the population loss.

The statements are [recalled]: their wording, numbers and constants are unverified. What is measured is exact in the counts of
features (`nlicl.papers.huang2023.reduced`); only the prompts that attention is looked at on are drawn, fresh ones a seed.

The theorems speak of large K and hide constants; `.promises` works out what they come to at the settings given. A claim that
does not hold fails where it is promised, and is undetermined where it is not.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.checks import integer, real
from ....core.errors import InvalidInput, InvalidValue
from ....papers.huang2023 import reduced, theory
from ....papers.huang2023.phases import phases
from ...claims import Claim, every, if_promised
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, no_runs
from ...settings import set_here
from ...summary import stacked
from ...theorem import Condition, Theorem
from .promises import (
    LARGE,
    RARE,
    SPARE,
    bounds,
    converged,
    flow_shares,
    flow_times,
    in_phases,
    is_large,
    promises,
    queries,
    shortfall,
)

__all__ = ["BALANCED", "IMBALANCED"]

OPTIONS = {"K": 20, "length": 2000, "learning_rate": 5.0, "eps": 0.01, "C": 10.0}
PROMPTS = 2000
SHARE = 0.99  # of prompts, "with high probability"
SMALL = 0.1  # eps, of exponents: thresholds come before it is reached
LONGEST = 100_000  # steps of gradient descent, about a minute

MARKS = (
    "Marks: [paper] is seen in public text of or about the paper, here that there is convergence in two phases, in stages, "
    "and in four, and T^* quadratic in K; [recalled] is from memory, here the statement's wording, thresholds and rates; "
    "[derived] is ours, checked numerically; [set here] is a setting of this run."
)
STATEMENT = {
    "balanced": (
        "p_k = Theta(1/K), N >= poly(K), polylog(K) >> log(1/eps), Q = 0 at first. 1. After at most T^* = O(K^2 log(K)/eta + "
        "K log(K eps^(-1/2))/(eps eta)) steps of gradient descent on the population loss, the loss is at most L^* + eps. "
        "2. Then, with probability at least 1 - e^(-Omega(poly(K))) over the prompt, x_query = v_k implies (1 - Attn_k)^2 <= "
        "O(eps). There are two phases, which end at T_1 and T_2. All [recalled]; that it converges, in two phases, is [paper]."
    ),
    "imbalanced": (
        "p_1 = Theta(1), p_k = Theta(1/K) for k >= 2, the rest as in the balanced theorem. 1. Dominant: after T_dom = "
        "O(log(eps^(-1/2))/(eps eta)) steps L_1 is at most L_1^* + eps. 2. Under-represented, k >= 2: after T_k = O(K^2 "
        "log(K)/eta + K log(K eps^(-1/2))/(eps eta)) steps L_k is at most L_k^* + eps, in four phases, which end at T_1 to "
        "T_4 = T_k. 3. Then, with probability at least 1 - e^(-Omega(poly(K))), (1 - Attn_k)^2 <= O(eps). The dominant query "
        "comes first, T_dom before T_k. All [recalled]; that it converges, in these stages and phases, is [paper]."
    ),
}
NOTES = [
    MARKS,
    "Bounds are the theorem's with the constant C in front [recalled]; that C = 10 suffices, and the bound on phase III, are "
    "[derived]. A time is a number of steps of exact gradient descent on the population loss, N finite [derived].",
    "The last phase ends where the mean of (1 - Attn_k)^2 is eps. L_k^* is the infimum of L_k, from prompts without v_k alone "
    "[derived].",
    "Exponents are not of this run: they are of the gradient flow's times, N infinite, from K = 1e6 to 1e8, at this p_1 "
    "[derived].",
    "'?' beside a claim: it does not hold, and by the conditions above it is not promised at these settings.",
    "Gradient descent does not depend on the seed; the prompts that attention is looked at on do.",
]


# ---- Settings


def check(options: Options) -> None:
    """ValueError or TypeError for settings that are none, for which the theorem promises nothing, or that take too long."""
    K, N = integer("K", options["K"], 3), integer("length", options["length"], 1)
    if N > reduced.LONGEST:
        raise InvalidValue(f"length is {N}; expected at most {reduced.LONGEST}.")
    eps = real("eps", options["eps"], "between 0 and 1, at least 1e-100", lambda x: 1e-100 <= x < 1)
    real("C", options["C"], "greater than 0", lambda x: x > 0)
    if "p_1" in options:
        real("p_1", options["p_1"], "between 1/K and 1: p_1 is dominant", lambda x: 1 / K < x < 1)
    of = queries(options)
    largest = max(query.largest for query in of.values())
    try:
        eta = theory.check_step_size(options["learning_rate"], largest)
    except InvalidInput as error:
        raise type(error)(f"learning_rate: {error}") from None
    for query in of.values():
        _check_length(query, eps)
        start = replace(query, N=math.inf).point(0.0, 0.0, 0.0).missed
        if start <= eps:
            raise InvalidValue(
                f"eps is {eps:g}: the {query.kind} query starts within it, (1 - Attn_k)^2 = {start:.3g} at Q = 0, and there "
                f"is no time to measure. Expected eps below {start:.3g}."
            )
    steps, slowest = max((converged(query, eps) / eta, kind) for kind, query in of.items())
    if steps > LONGEST:
        raise InvalidValue(
            f"eps is {eps:g}, learning_rate {eta:g}, K {K}: the {slowest} query takes about {steps:.2g} steps of gradient "
            f"descent to converge [derived]; expected at most {LONGEST}. Raise eps, raise learning_rate (at most "
            f"6.49/max p = {2 * theory.step_size(largest):.4g}), or lower K. reduced.flow takes a second up to K = 10^12."
        )


def _check_length(query: reduced.Query, eps: float) -> None:
    missing, needed = theory.missing_probability(query.p_k, query.N), math.log(eps / 100) / math.log1p(-query.p_k)
    if missing >= eps / 100:
        article = "an" if query.kind == "under-represented" else "a"
        raise InvalidValue(
            f"length is {query.N}: a prompt lacks the feature of {article} {query.kind} query with probability (1-p_k)^N = "
            f"{missing:.3g}, which puts eps = {eps:g} out of reach or nearly. The theorem asks for N >= poly(K) [recalled]; "
            f"expected (1-p_k)^N < eps/100 [derived], length of at least {math.ceil(needed)}."
        )


# ---- Measuring


@cache
def descended(query: reduced.Query, eta: float, eps: float) -> tuple[dict[str, float], tuple[float, float, float]]:
    """Gradient descent on one query: what it comes to, by name, and the last weights A_k, B_{k,1}, B_{k,n}.

    Steps at which the phases end; the first step with the loss within eps of its floor; what must hold at every step.
    """
    steps = math.ceil(SPARE * converged(query, eps) / eta) + 10
    run = reduced.descend(query, eta=eta, steps=steps, eps=eps)
    floor = reduced.floor(query)
    near = np.flatnonzero(run.L_k <= floor + eps)
    B_1 = run.B_1 if query.p_1 else np.zeros(len(run.tau))
    found = {name: moment.step for name, moment in phases(run, eps).items() if name != "cross"}
    found |= {
        "near": float(near[0]) if len(near) else np.nan,
        "loss above floor": float(run.L_k[-1] - floor),
        "loss rises": float(np.max(np.diff(run.L_k), initial=-np.inf)),
        "A falls": float(np.max(-np.diff(run.A), initial=-np.inf)),
        "sum": float(np.max(np.abs(run.A + B_1 + query.G * run.B_o))),
    }
    return found, (run.A[-1], B_1[-1], run.B_o[-1])


@cache
def exponents(few: reduced.Query, many: reduced.Query, eps: float) -> dict[str, float]:
    """Exponents of the flow's times in K: slopes of log time against log K, from two queries."""
    T, U = (flow_times(query, eps) for query in (few, many))
    return {f"exponent {name}": math.log(U[name] / T[name]) / math.log(many.K / few.K) for name in T}


def share(query: reduced.Query, weights: tuple[float, float, float], level: float, seed: int, M: int) -> float:
    """The share of M sampled prompts with (1 - Attn_k)^2 of at most `level`."""
    rng = np.random.default_rng([seed, query.K, len(query.kind)])
    counts = rng.multinomial(int(query.N), [query.p_k, query.p_1, 1 - query.p_k - query.p_1], size=M)
    e = counts * np.exp(np.array(weights) - max(weights))
    missed = (e[:, 1] + e[:, 2]) / e.sum(axis=1)
    return float(np.mean(missed**2 <= level))


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    eta, eps, C = (options[name] for name in ("learning_rate", "eps", "C"))
    M = PROMPTS // 4 if options["quick"] else PROMPTS
    few, many = (queries(options, K, math.inf) for K in LARGE)
    found: dict[str, float] = {}
    for kind, query in queries(options).items():
        one, weights = descended(query, eta, eps)
        slopes = exponents(few[kind], many[kind], eps if kind == "dominant" else min(eps, SMALL))
        one = one | {"share": share(query, weights, C * eps, seed, M)} | slopes
        found |= {f"{kind} {name}": value for name, value in one.items()}
    return found


# ---- Claims

SYMBOL = {"balanced": "L", "dominant": "L_1", "under-represented": "L_k"}
WHOLE = {"balanced": "T^*", "dominant": "its bound", "under-represented": "T_k"}
EXPONENTS: dict[str, dict[str, float]] = {
    "balanced": {"T_1": 2},
    "dominant": {"T_dom": 0},
    "under-represented": {"T_1": 1.98, "T_2": 2, "T_3": 2},
}


def claimed(text: str, values: ArrayLike, low: float = -np.inf, high: float = np.inf, promised: bool = True) -> Claim:
    """A claim about every seed. It is undetermined if it neither holds nor is promised."""
    claim = every(text, values, low, high)
    if not np.all(np.isfinite(values)):
        claim = replace(claim, measured="not reached")
    return if_promised(claim, promised)


def claims(options: Options, kind: str, query: reduced.Query, of: Mapping[str, NDArray]) -> list[Claim]:
    """What the theorem says of one kind of query; `of`: what was measured, name -> (seeds,)."""
    eps, C = options["eps"], options["C"]
    bound, L = bounds(kind, options), SYMBOL[kind]
    covered = {name: SPARE * taken <= 1 for name, taken in flow_shares(kind, query, options).items()}
    phases_come, whole = in_phases(query, options), bound.pop("whole")
    last = list(bound)[-1]
    text = f"{kind} query: steps to converge, {last}, over {WHOLE[kind]} with constant C"
    rows = [
        claimed(text, of[last] / whole, 0, 1, covered["whole"]),
        claimed(
            f"{kind} query: steps until {L} - {L}^* <= eps, over the same", of["near"] / whole, 0, 1, covered["whole"]
        ),
        claimed(f"{kind} query: {L} - {L}^* at {last}", of["loss above floor"], 0, eps),
    ]
    if len(bound) > 1:
        lengths = np.diff([0 * of[last], *(of[name] for name in bound)], axis=0)
        for phase, length, (name, limit) in zip(("I", "II", "III", "IV"), lengths, bound.items(), strict=False):
            text = f"{kind} query: length of phase {phase} over its bound with C"
            rows.append(claimed(text, length / limit, 0, 1, phases_come and covered[name]))
        number = {2: "two", 4: "four"}[len(bound)]
        text = f"{kind} query: shortest of its {number} phases, steps"
        rows.append(claimed(text, lengths.min(axis=0), 1, promised=phases_come))
    large = kind != "under-represented" or is_large(options["p_1"], eps)
    for name, exponent in EXPONENTS[kind].items():
        text = f"{kind} query: exponent of {name} in K, of the flow, K = 1e6 to 1e8"
        rows.append(claimed(text, of[f"exponent {name}"], exponent - 0.05, exponent + 0.05, large))
    return [
        *rows,
        claimed(
            f"{kind} query: share of prompts with (1 - Attn_k)^2 <= C eps = {C * eps:g} at {last} ({SHARE:g}: our choice)",
            of["share"], SHARE, promised=shortfall(query, eps, C) <= RARE,
        ),
        claimed(f"{kind} query: largest rise of the loss in a step", of["loss rises"], high=0),
        claimed(f"{kind} query: largest fall of A_k in a step", of["A falls"], high=0),
        claimed(f"{kind} query: |A_k + sum_n B_{{k,n}}|, any step", of["sum"], high=1e-9),
    ]  # fmt: skip


def assemble(options: Options, seeds: Seeds, found: Found) -> Theorem:
    kind = "imbalanced" if "p_1" in options else "balanced"
    of, all_queries = stacked(found), queries(options)
    rows = []
    for name, query in all_queries.items():
        begin = f"{name} "
        own = {what.removeprefix(begin): values for what, values in of.items() if what.startswith(begin)}
        rows += claims(options, name, query, own)
    if kind == "imbalanced":
        T_dom, T_k = (converged(query, options["eps"]) for query in all_queries.values())
        rows.append(
            claimed(
                "the dominant query is first: steps from T_dom to T_4 = T_k",
                of["under-represented T_4"] - of["dominant T_dom"], 1,
                promised=T_k - T_dom >= SPARE * options["learning_rate"],
            )
        )  # fmt: skip
    settings = set_here({name: value for name, value in options.items() if name != "quick" or value})
    name = f"The {kind} theorem of Huang et al. 2023"
    return Theorem(name, STATEMENT[kind], settings, seeds, conditions(options), rows, NOTES)


def _near_one(probability: float) -> str:
    """A probability in words: 1 - 6e-09 where six digits would round it to 1."""
    short = f"{probability:.6g}"
    return short if short != "1" else f"1 - {max(1 - probability, float(np.finfo(float).eps)):.0e}"


def conditions(options: Options) -> list[Condition]:
    """The theorem's conditions at these settings, then those that say which of its claims are promised there."""
    K, N, eps = (options[name] for name in ("K", "length", "eps"))
    largest = max(query.largest for query in queries(options).values())
    if "p_1" in options:
        asked, here = "p_1 = Theta(1), p_k = Theta(1/K) for k >= 2 [paper]", f"p_1 = {options['p_1']:g}, the rest equal"
    else:
        asked, here = "p_k = Theta(1/K) for all k [paper]", f"p_k = 1/K = {1 / K:g}"
    held = theory.concentration_probability(K, N)
    tail = f"at least {_near_one(held)}" if held else "not bounded"
    return [
        Condition(
            "v_1 .. v_K orthonormal; y_i = <w, x_i>, no noise [paper]; E w = 0, E w w^T = I_d [recalled]",
            "exactly",
            True,
        ),
        Condition(asked, here, True),
        Condition("N >= poly(K) [recalled]", f"N = {N}; K^2 = {K**2}, K^3 = {K**3}", None),
        Condition(
            "counts within N/K of their means, the event of the proof [recalled]",
            f"probability {tail}, by a tail that needs N >= 20 K^3 = {20 * K**3} [derived]",
            True if held >= SHARE else None,
        ),
        Condition(
            "polylog(K) >> log(1/eps) [recalled]",
            f"log K = {math.log(K):.3g}, log(1/eps) = {math.log(1 / eps):.3g}",
            None,
        ),
        Condition(
            "Q = 0 at first, constant step size [recalled], eta <= 6.49/max p [derived]",
            f"eta = {options['learning_rate']:g}, 6.49/max p = {2 * theory.step_size(largest):.3g}",
            True,
        ),
        *promises(options),
    ]


BALANCED = Experiment(
    "balanced", "balanced features: convergence in two phases", no_runs, measure, assemble, OPTIONS, check
)
IMBALANCED = Experiment(
    "imbalanced", "one dominant feature: its query first, the others in four phases", no_runs, measure, assemble,
    OPTIONS | {"p_1": 0.5}, check,
)  # fmt: skip
