"""What the theorems come to at given settings: they speak of large K, and hide constants.

The gradient flow with N infinite, a second up to K = 10^12, and the leading-order laws say beforehand whether the phases come
in their order, what constant C the bounds need, and where the exponents are to be seen; the binomial law of c_k says whether
prompts are long enough. All of it is [derived].
"""

import math
from dataclasses import replace
from functools import cache

import numpy as np

from ....papers.huang2023 import reduced, theory
from ....papers.huang2023.phases import phases
from ...experiment import Options
from ...theorem import Condition

__all__ = [
    "LARGE",
    "RARE",
    "SPARE",
    "bounds",
    "converged",
    "flow_shares",
    "flow_times",
    "in_phases",
    "is_large",
    "promises",
    "queries",
    "shortfall",
]

LARGE = (10**6, 10**8)  # K, of the exponents
SPARE = 2.0  # what finite N and finite steps may cost, as a factor on the times of the flow with N infinite
RARE = 0.001  # a share of prompts too small to be seen where 99% are asked for


def queries(options: Options, K: int | None = None, N: float | None = None) -> dict[str, reduced.Query]:
    """The queries that the theorem speaks of, by name. K and N are the options' if they are not given."""
    K, N = (options["K"] if K is None else K), (options["length"] if N is None else N)
    if "p_1" not in options:
        return {"balanced": reduced.balanced(K, N)}
    p_1 = options["p_1"]
    return {"dominant": reduced.dominant(K, p_1, N), "under-represented": reduced.under_represented(K, p_1, N)}


@cache
def flow_times(query: reduced.Query, eps: float) -> dict[str, float]:
    """Flow times at which the phases end, N infinite; nan if a threshold is not reached before (1 - Attn_k)^2 = eps."""
    run = reduced.flow(replace(query, N=math.inf), eps=eps)
    return {name: moment.tau for name, moment in phases(run, eps).items() if name != "cross"}


def converged(query: reduced.Query, eps: float) -> float:
    """Flow time at which (1 - Attn_k)^2 = eps, N infinite."""
    return list(flow_times(query, eps).values())[-1]


def bounds(kind: str, options: Options, eta: float | None = None) -> dict[str, float]:
    """The theorem's bounds: on the length of each phase, by the name of its end, and on the "whole"."""
    K, eps, C = (options[name] for name in ("K", "eps", "C"))
    eta = options["learning_rate"] if eta is None else eta
    found = theory.phase_bounds(kind, K, eps, eta=eta, C=C)
    whole = found["T_dom"] if kind == "dominant" else theory.under_represented_bound(K, eps, eta=eta, C=C)
    return {**found, "whole": whole}


def flow_shares(kind: str, query: reduced.Query, options: Options) -> dict[str, float]:
    """The flow's times as shares of the theorem's `bounds`."""
    times = flow_times(query, options["eps"])
    took = {**dict(zip(times, np.diff([0.0, *times.values()]), strict=True)), "whole": converged(query, options["eps"])}
    return {name: took[name] / bound for name, bound in bounds(kind, options, eta=1.0).items()}


def shortfall(query: reduced.Query, eps: float, C: float) -> float:
    """The probability that c_k is so small that (1 - Attn_k)^2 exceeds C eps. At the mean of c_k it is eps."""
    from scipy.stats import binom

    if C * eps >= 1:
        return 0.0
    odds = theory.attention_ratio(C * eps) / theory.attention_ratio(eps) * query.p_k / (1 - query.p_k)
    return float(binom.cdf(math.ceil(query.N * odds / (1 + odds)) - 1, query.N, query.p_k))


def in_phases(query: reduced.Query, options: Options) -> bool:
    """Whether the flow reaches its thresholds one after another, each at least two steps of descent after the last."""
    lengths = np.diff([0.0, *flow_times(query, options["eps"]).values()])
    return bool(np.all(lengths >= SPARE * options["learning_rate"]))


def is_large(p_1: float, eps: float) -> bool:
    """Whether K = 1e6 is large for this p_1: the leading-order law has T_1 < T_2, and phase III short."""
    law = theory.leading_times(LARGE[0], p_1, eps)
    return law["T_1"] < 0.9 * law["T_2"] and law["T_3 - T_2"] < 0.2 * law["T_2"]


# ---- As conditions


def promises(options: Options) -> list[Condition]:
    """Whether K, C and N are large enough at these settings for the claims that need it."""
    eps, C = options["eps"], options["C"]
    rows = []
    for kind, query in queries(options).items():
        times = {name: tau / options["learning_rate"] for name, tau in flow_times(query, eps).items()}
        if len(times) > 1:
            shown = ", ".join(f"{name} = {step:.4g}" for name, step in times.items() if step == step)
            lost = [name for name, step in times.items() if step != step]
            rows.append(
                Condition(
                    f"K large, eps small: phases of the {kind} query one after another, of two steps or more [derived]",
                    f"steps of the flow: {shown}" + f"; not reached: {', '.join(lost)}" * bool(lost),
                    in_phases(query, options),
                )
            )
        taken = float(np.nanmax(list(flow_shares(kind, query, options).values())))
        short = shortfall(query, eps, C)
        rows += [
            Condition(
                f"C at least twice what the {kind} query's flow takes; a constant under O depends on p_1 [derived]",
                f"C = {C:g}; the flow needs {C * taken:.3g}",
                SPARE * taken <= 1,
            ),
            Condition(
                f"N long: c_k of the {kind} query seldom so small that (1 - Attn_k)^2 > C eps [derived]",
                f"probability about {short:.2g}; expected at most {RARE:g}",
                short <= RARE,
            ),
        ]
    if "p_1" in options:
        rows.append(
            Condition(
                "exponents: K = 1e6 large for p_1, by the leading-order law [derived]",
                f"p_1 = {options['p_1']:g}",
                is_large(options["p_1"], eps),
            )
        )
    return rows
