"""The balanced and the imbalanced theorem: convergence in finite time, by exact gradient descent on the population loss.

The statements are [recalled]: their wording, numbers and constants are unverified. What is measured is exact in the counts of
features (`nlicl.papers.huang2023.reduced`); only the prompts that attention is looked at on are drawn, a fresh set a seed.
"""

import math
from functools import cache

import numpy as np

from ...checks import integer, real
from ...experiment import Experiment, every
from ...papers.huang2023 import reduced, theory
from ...papers.huang2023.phases import phases
from .. import Condition, Theorem

OPTIONS = {"K": 20, "N": 2000, "eta": 5.0, "eps": 0.01, "C": 10.0}
PROMPTS = 2000

STATEMENT = {
    "balanced": (
        "p_k = Theta(1/K), N >= poly(K), polylog(K) >> log(1/eps), Q = 0 at first. 1. After at most T^* = O(K^2 log(K)/eta + "
        "K log(K eps^(-1/2))/(eps eta)) steps of gradient descent on the population loss, the loss is at most L^* + eps. "
        "2. Then, with probability at least 1 - e^(-Omega(poly(K))) over the prompt, x_query = v_k implies (1 - Attn_k)^2 <= "
        "O(eps). There are two phases [paper: the content; recalled: the statement, thresholds and rates]."
    ),
    "imbalanced": (
        "p_1 = Theta(1), p_k = Theta(1/K) for k >= 2, the rest as in the balanced theorem. 1. Dominant: after T_1 = "
        "O(log(eps^(-1/2))/(eps eta)) steps L_1 is at most L_1^* + eps (here T_dom). 2. Under-represented, k >= 2: after T_k = "
        "O(K^2 log(K)/eta + K log(K eps^(-1/2))/(eps eta)) steps L_k is at most L_k^* + eps, in four phases (here T_1 to T_4, "
        "T_4 = T_k). 3. Then, with probability at least 1 - e^(-Omega(poly(K))), (1 - Attn_k)^2 <= O(eps) [paper: the "
        "content; recalled: the statement, thresholds and rates]."
    ),
}


def no_runs(options):
    """Gradient descent here is not `nlicl.train`: no runs are needed."""
    return {}


def queries(options):
    """Names and `Query`s that the theorem speaks of."""
    K, N = options["K"], options["N"]
    if "p_1" not in options:
        return {"balanced": reduced.balanced(K, N)}
    p_1 = options["p_1"]
    return {"dominant": reduced.dominant(K, p_1, N), "under-represented": reduced.under_represented(K, p_1, N)}


def check(options):
    """Refuse settings that make no instance, or of which the theorem promises nothing."""
    integer("K", options["K"], 3)
    integer("N", options["N"], 1)
    eps = real("eps", options["eps"], "between 0 and 1", lambda x: 0 < x < 1)
    real("C", options["C"], "greater than 0", lambda x: x > 0)
    of = queries(options)
    theory.check_step_size(options["eta"], max(query.largest for query in of.values()))
    for name, query in of.items():
        missing = theory.missing_probability(query.p_k, options["N"])
        if missing >= eps / 100:
            raise ValueError(
                f"N is {options['N']}: a prompt lacks the feature of the {name} query with probability (1-p_k)^N = "
                f"{missing:.3g}; the theorem asks for N >= poly(K) [recalled], and (1-p_k)^N < eps/100 = {eps / 100:.3g} is what "
                f"it takes here [derived]. Expected N of at least {math.ceil(math.log(eps / 100) / math.log1p(-query.p_k))}."
            )


@cache
def descended(query, eta, eps, C):
    """Steps of the phases, the first step with the loss within eps of its floor, and what is there at the last step."""
    bound = theory.phase_bounds(query.kind, query.K, eps, eta=eta, C=C)
    run = reduced.descend(query, eta=eta, steps=math.ceil(sum(bound.values())), eps=eps)
    floor = reduced.floor(query)
    near = np.flatnonzero(run.L_k <= floor + eps)
    return {
        **{name: moment.step for name, moment in phases(run, eps).items()},
        "near": float(near[0]) if len(near) else np.nan,
        "rise": float(np.max(np.diff(run.L_k), initial=-np.inf)),
        "gap": float(run.L_k[-1] - floor),
        "weights": (run.A[-1], run.B_1[-1] if query.p_1 else 0.0, run.B_o[-1]),
    }


def share(query, weights, level, seed, M):
    """Of M sampled prompts, those with (1 - Attn_k)^2 of at most `level`."""
    rng = np.random.default_rng([seed, query.K, len(query.kind)])
    counts = rng.multinomial(query.N, [query.p_k, query.p_1, 1 - query.p_k - query.p_1], size=M)
    e = counts * np.exp(np.array(weights) - max(weights))
    missed = 1 - e[:, 0] / e.sum(axis=1)
    return float(np.mean(missed**2 <= level))


def measure(options, seed, runs):
    eta, eps, C = (options[name] for name in ("eta", "eps", "C"))
    M = PROMPTS // 4 if options["quick"] else PROMPTS
    found = {}
    for name, query in queries(options).items():
        one = descended(query, eta, eps, C)
        found[name] = {**one, "share": share(query, one["weights"], C * eps, seed, M)}
    return found


def assemble(options, seeds, found):
    kind = "imbalanced" if "p_1" in options else "balanced"
    K, N, eta, eps, C = (options[name] for name in ("K", "N", "eta", "eps", "C"))
    claims = []
    for name, query in queries(options).items():
        of = lambda key, name=name: np.array([one[name][key] for one in found])  # noqa: E731
        bound = theory.phase_bounds(name, K, eps, eta=eta, C=C)
        last = next(reversed(bound))
        whole = sum(bound.values()) if name == "dominant" else theory.under_represented_bound(K, eps, eta=eta, C=C)
        claims += [
            every(f"{name}: steps until L_k <= L_k^* + eps", of("near"), high=whole),
            every(f"{name}: steps until the mean of (1 - Attn_k)^2 is eps, {last}", of(last), high=whole),
            every(f"{name}: L_k - L_k^* at {last}", of("gap"), high=eps),
            every(f"{name}: largest rise of L_k in a step", of("rise"), high=0),
        ]
        if len(bound) > 1:
            before = 0.0
            for phase, (end, limit) in enumerate(bound.items(), 1):
                claims.append(
                    every(f"{name}: phase {'I' * phase if phase < 4 else 'IV'}, steps", of(end) - before, 0, limit)
                )
                before = of(end)
        text = (
            f"{name}: share of prompts with (1 - Attn_k)^2 <= C eps = {C * eps:g} at {last} (at least .99: our choice)"
        )
        claims.append(every(text, of("share"), 0.99))
    if kind == "imbalanced":
        late = np.array([one["under-represented"]["T_1"] - one["dominant"]["T_dom"] for one in found])
        claims.append(every("the dominant query converges before phase I of the others ends, by steps", late, 1))
    settings = {name: [value, "set here"] for name, value in options.items() if name != "quick" or value}
    name = f"The {kind} theorem of Huang et al. 2023"
    return Theorem(name, STATEMENT[kind], settings, seeds, conditions(options), claims, NOTES)


NOTES = [
    "Bounds are the theorem's with the constant C in front [recalled; that C = 10 suffices, and the bound on phase III, derived]. "
    "A time is a number of steps of exact gradient descent on the population loss, N finite [derived].",
    "L_k^* is the infimum of L_k, from prompts without v_k alone [derived].",
    "Gradient descent does not depend on the seed; the prompts that attention is looked at on do.",
]


def conditions(options):
    """The theorem's conditions as they are met here."""
    K, N, eps = options["K"], options["N"], options["eps"]
    largest = max(query.largest for query in queries(options).values())
    held = theory.concentration_probability(K, N)
    if "p_1" in options:
        asked, here = "p_1 = Theta(1), p_k = Theta(1/K) for k >= 2 [paper]", f"p_1 = {options['p_1']:g}, the rest equal"
    else:
        asked, here = "p_k = Theta(1/K) for all k [paper]", f"p_k = 1/K = {1 / K:g}"
    return [
        Condition("v_1 .. v_K orthonormal; y_i = <w, x_i>, no noise [paper]; E w = 0, E w w^T = I [recalled]", "exactly", True),
        Condition(asked, here, True),
        Condition(
            "N >= poly(K) [recalled]; K^3 for the counts to concentrate [derived]",
            f"N = {N}; K^2 = {K**2}, K^3 = {K**3}; counts within N/K of their means with probability at least {held:.3g}",
            None,
        ),
        Condition(
            "polylog(K) >> log(1/eps) [recalled]", f"log K = {math.log(K):.3g}, log(1/eps) = {math.log(1 / eps):.3g}", None
        ),
        Condition(
            "Q = 0 at first, constant step size [recalled], eta <= 6.49/max p [derived]",
            f"eta = {options['eta']:g}, 6.49/max p = {2 * theory.step_size(largest):.3g}",
            True,
        ),
    ]  # fmt: skip


BALANCED = Experiment(
    "balanced", "balanced features: convergence in two phases", no_runs, measure, assemble, OPTIONS, check
)
IMBALANCED = Experiment(
    "imbalanced", "one dominant feature: its query first, the others in four phases", no_runs, measure, assemble,
    OPTIONS | {"p_1": 0.5}, check,
)  # fmt: skip
