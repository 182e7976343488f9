"""The balanced and the imbalanced theorem: convergence in finite time, by exact gradient descent on the population loss.

The statements are [recalled]: their wording, numbers and constants are unverified. What is measured is exact in the counts of
features (`nlicl.papers.huang2023.reduced`); only the prompts that attention is looked at on are drawn, fresh ones a seed.
"""

import math
from functools import cache

import numpy as np

from ...checks import integer, real
from ...experiment import Experiment, every
from ...papers.huang2023 import reduced, theory
from ...papers.huang2023.phases import phases
from .. import Condition, Theorem

OPTIONS = {"K": 20, "length": 2000, "learning_rate": 5.0, "eps": 0.01, "C": 10.0}
PROMPTS = 2000
LARGE = (10**6, 10**8)  # K, of the exponents

STATEMENT = {
    "balanced": (
        "p_k = Theta(1/K), N >= poly(K), polylog(K) >> log(1/eps), Q = 0 at first. 1. After at most T^* = O(K^2 log(K)/eta + "
        "K log(K eps^(-1/2))/(eps eta)) steps of gradient descent on the population loss, the loss is at most L^* + eps. "
        "2. Then, with probability at least 1 - e^(-Omega(poly(K))) over the prompt, x_query = v_k implies (1 - Attn_k)^2 <= "
        "O(eps). There are two phases. Its content is [paper]; statement, thresholds and rates are [recalled]."
    ),
    "imbalanced": (
        "p_1 = Theta(1), p_k = Theta(1/K) for k >= 2, the rest as in the balanced theorem. 1. Dominant: after T_1 = "
        "O(log(eps^(-1/2))/(eps eta)) steps L_1 is at most L_1^* + eps (here T_dom). 2. Under-represented, k >= 2: after "
        "T_k = O(K^2 log(K)/eta + K log(K eps^(-1/2))/(eps eta)) steps L_k is at most L_k^* + eps, in four phases (here T_1 "
        "to T_4, T_4 = T_k). 3. Then, with probability at least 1 - e^(-Omega(poly(K))), (1 - Attn_k)^2 <= O(eps). Its "
        "content is [paper]; statement, thresholds and rates are [recalled]."
    ),
}
NOTES = [
    "Bounds are the theorem's with the constant C in front [recalled]; that C = 10 suffices, and the bound on phase III, are "
    "[derived]. A time is a number of steps of exact gradient descent on the population loss, N finite [derived].",
    "The last phase ends where the mean of (1 - Attn_k)^2 is eps. L_k^* is the infimum of L_k, from prompts without v_k alone "
    "[derived].",
    "Exponents: of the gradient flow's times, N infinite, from K = 1e6 to 1e8 [derived].",
    "Gradient descent does not depend on the seed; the prompts that attention is looked at on do.",
]


# ---- Settings


def no_runs(options):
    """Gradient descent here is exact, not `nlicl.train`: no runs are needed."""
    return {}


def queries(options, K=None, N=None):
    """Names and `Query`s that the theorem speaks of, at the options' K and N if not given."""
    K, N = (options["K"] if K is None else K), (options["length"] if N is None else N)
    if "p_1" not in options:
        return {"balanced": reduced.balanced(K, N)}
    p_1 = options["p_1"]
    return {"dominant": reduced.dominant(K, p_1, N), "under-represented": reduced.under_represented(K, p_1, N)}


def check(options):
    """Refuse settings that make no instance, or of which the theorem promises nothing."""
    K = integer("K", options["K"], 3)
    integer("length", options["length"], 1)
    eps = real("eps", options["eps"], "between 0 and 1", lambda x: 0 < x < 1)
    real("C", options["C"], "greater than 0", lambda x: x > 0)
    if "p_1" in options:
        real("p_1", options["p_1"], "between 1/K and 1: p_1 is dominant", lambda x: 1 / K < x < 1)
    of = queries(options)
    try:
        theory.check_step_size(options["learning_rate"], max(query.largest for query in of.values()))
    except (ValueError, TypeError) as error:
        raise type(error)(f"learning_rate: {error}") from None
    query = min(of.values(), key=lambda query: query.p_k)
    missing, needed = theory.missing_probability(query.p_k, query.N), math.log(eps / 100) / math.log1p(-query.p_k)
    if missing >= eps / 100:
        raise ValueError(
            f"length is {query.N}: a prompt lacks the feature of a {query.kind} query with probability (1-p_k)^N = "
            f"{missing:.3g}, which puts eps = {eps:g} out of reach or nearly. The theorem asks for N >= poly(K) [recalled]; "
            f"expected (1-p_k)^N < eps/100 [derived], length of at least {math.ceil(needed)}."
        )


# ---- Measuring


@cache
def descended(query, eta, eps, C):
    """Steps of the phases, the first one with the loss within eps of its floor, what holds on the way, the last weights."""
    bound = sum(theory.phase_bounds(query.kind, query.K, eps, eta=eta, C=C).values())
    run = reduced.descend(query, eta=eta, steps=math.ceil(bound), eps=eps)
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
def exponents(few, many, eps):
    """Two-point slopes of log time against log K, of the flow's times of two queries."""
    T, U = (phases(reduced.flow(query, eps=eps), eps) for query in (few, many))
    return {f"exponent {name}": math.log(U[name].tau / T[name].tau) / math.log(many.K / few.K) for name in T}


def share(query, weights, level, seed, M):
    """Of M sampled prompts, those with (1 - Attn_k)^2 of at most `level`."""
    rng = np.random.default_rng([seed, query.K, len(query.kind)])
    counts = rng.multinomial(query.N, [query.p_k, query.p_1, 1 - query.p_k - query.p_1], size=M)
    e = counts * np.exp(np.array(weights) - max(weights))
    missed = (e[:, 1] + e[:, 2]) / e.sum(axis=1)
    return float(np.mean(missed**2 <= level))


def measure(options, seed, runs):
    eta, eps, C = (options[name] for name in ("learning_rate", "eps", "C"))
    M = PROMPTS // 4 if options["quick"] else PROMPTS
    few, many = (queries(options, K, math.inf) for K in LARGE)
    found = {}
    for kind, query in queries(options).items():
        one, weights = descended(query, eta, eps, C)
        one = one | {"share": share(query, weights, C * eps, seed, M)} | exponents(few[kind], many[kind], eps)
        found |= {f"{kind} {name}": value for name, value in one.items()}
    return found


# ---- Claims

SYMBOL = {"balanced": "L", "dominant": "L_1", "under-represented": "L_k"}
TIME = {"balanced": "T^*", "dominant": "T_1", "under-represented": "T_k"}
EXPONENTS = {"balanced": {"T_1": 2}, "dominant": {"T_dom": 0}, "under-represented": {"T_1": 1.98, "T_2": 2, "T_3": 2}}


def claims(options, kind, of):
    """What the theorem says of one kind of query; `of`: name -> (seeds,)."""
    K, eta, eps, C = (options[name] for name in ("K", "learning_rate", "eps", "C"))
    bound = theory.phase_bounds(kind, K, eps, eta=eta, C=C)
    whole = sum(bound.values()) if kind == "dominant" else theory.under_represented_bound(K, eps, eta=eta, C=C)
    last, L = list(bound)[-1], SYMBOL[kind]
    text = f"{kind} query: steps to converge, {last}, over {TIME[kind]} with constant C"
    rows = [
        every(text, of(last) / whole, 0, 1),
        every(f"{kind} query: steps until {L} - {L}^* <= eps, over the same", of("near") / whole, 0, 1),
        every(f"{kind} query: {L} - {L}^* at {last}", of("loss above floor"), 0, eps),
    ]
    if len(bound) > 1:
        times = np.array([0 * of(last), *(of(name) for name in bound)])
        for phase, length, limit in zip(("I", "II", "III", "IV"), np.diff(times, axis=0), bound.values(), strict=False):
            rows.append(every(f"{kind} query: length of phase {phase} over its bound with C", length / limit, 0, 1))
        names = {2: "two", 4: "four"}[len(bound)]
        rows.append(
            every(f"{kind} query: shortest of its {names} phases, steps", np.diff(times, axis=0).min(axis=0), 1)
        )
    for name, exponent in EXPONENTS[kind].items():
        values = of(f"exponent {name}")
        rows.append(every(f"{kind} query: exponent of {name} in K", values, exponent - 0.05, exponent + 0.05))
    return [
        *rows,
        every(
            f"{kind} query: share of prompts with (1 - Attn_k)^2 <= C eps = {C * eps:g} at {last} (.99: our choice)",
            of("share"), 0.99,
        ),
        every(f"{kind} query: largest rise of the loss in a step", of("loss rises"), high=0),
        every(f"{kind} query: largest fall of A_k in a step", of("A falls"), high=0),
        every(f"{kind} query: |A_k + sum_n B_{{k,n}}|, any step", of("sum"), high=1e-9),
    ]  # fmt: skip


def assemble(options, seeds, found):
    kind = "imbalanced" if "p_1" in options else "balanced"
    of = lambda name: np.array([one[name] for one in found])  # noqa: E731
    rows = []
    for query in queries(options):
        rows += claims(options, query, lambda name, query=query: of(f"{query} {name}"))
    if kind == "imbalanced":
        late = of("under-represented T_1") - of("dominant T_dom")
        rows.append(
            every("steps from T_dom to the end of the other queries' phase I: the dominant one is first", late, 1)
        )
    settings = {name: [value, "set here"] for name, value in options.items() if name != "quick" or value}
    name = f"The {kind} theorem of Huang et al. 2023"
    return Theorem(name, STATEMENT[kind], settings, seeds, conditions(options), rows, NOTES)


def conditions(options):
    """The theorem's conditions as they are met here."""
    K, N, eps = options["K"], options["length"], options["eps"]
    largest = max(query.largest for query in queries(options).values())
    held = theory.concentration_probability(K, N)
    tail = f"with probability at least {held:.3g}" if held else "with a probability that the tail does not bound"
    if "p_1" in options:
        asked, here = "p_1 = Theta(1), p_k = Theta(1/K) for k >= 2 [paper]", f"p_1 = {options['p_1']:g}, the rest equal"
    else:
        asked, here = "p_k = Theta(1/K) for all k [paper]", f"p_k = 1/K = {1 / K:g}"
    return [
        Condition(
            "v_1 .. v_K orthonormal; y_i = <w, x_i>, no noise [paper]; E w = 0, E w w^T = I_d [recalled]",
            "exactly",
            True,
        ),
        Condition(asked, here, True),
        Condition(
            "N >= poly(K) [recalled]; well above K^3 for counts to concentrate [derived]",
            f"N = {N}; K^2 = {K**2}, K^3 = {K**3}; counts within N/K of their means {tail}",
            None,
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
    ]


BALANCED = Experiment(
    "balanced", "balanced features: convergence in two phases", no_runs, measure, assemble, OPTIONS, check
)
IMBALANCED = Experiment(
    "imbalanced", "one dominant feature: its query first, the others in four phases", no_runs, measure, assemble,
    OPTIONS | {"p_1": 0.5}, check,
)  # fmt: skip
