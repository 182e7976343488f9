"""Lemmas 16 to 19: cosines of uniform points on the sphere."""

import math

import numpy as np

from ....papers.onenn2024 import population, theory
from ...claims import every
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, no_runs
from ...settings import set_here
from ...summary import stacked
from ...theorem import Condition, Theorem
from .common import DERIVED, MARKS

__all__ = ["GEOMETRY"]

N, D = 16, 8
XI = (50.0, 200.0)
ROWS, QUICK_ROWS = 200_000, 50_000

STATEMENT = (
    "Lemma 16: the density of <x, x'> is k_d (1 - t^2)^((d-3)/2), k_d = 2 Gamma(d/2)/(sqrt(pi) Gamma((d-1)/2)). Lemma 17: N "
    ">= O(sqrt(d) log d) implies E t_{i*} >= 2/(N+1)^2. Lemma 18: P(1 - t_{i*} >= (2 N k_d)^(-2/(d-3))) >= 1/e, "
    "equivalently with "
    "a_{N,d} = (2 N sqrt(d))^(-2/(d-3)). Lemma 19: E exp(-xi (t_(1) - t_(2))) is O(N^2 k_d^2/xi) and Omega(1/xi), t_(1) and "
    "t_(2) the two largest cosines [paper]."
)


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    t = np.cos(np.linspace(0, np.pi, 4001))[::-1]
    printed = theory.printed_density_constant(D) / theory.density_constant(D) * np.asarray(theory.density(t, D))
    rows = population.sampled(N, D, QUICK_ROWS if options["quick"] else ROWS, seed).cosines
    gaps = rows[:, 0] - rows[:, 1:].max(axis=1)
    law = theory.loss_constant(N, D) / (math.log(2) - 0.5)  # density of the distance of the two largest at 0
    r = (2 * N * theory.printed_density_constant(D)) ** (-2 / (D - 3))
    return {
        "integral": np.trapezoid(printed, t), "mean": theory.nearest_mean(N, D), "small": theory.nearest_mean(2, 32),
        "k": float(theory.gap_survival(r, N, D)), "a": float(theory.gap_survival(theory.a(N, D), N, D)),
        "19": [xi * np.exp(-xi * gaps).mean() / law for xi in XI],
    }  # fmt: skip


def assemble(options: Options, seeds: Seeds, found: Found) -> Theorem:
    of = stacked(found)
    rows = [
        every(f"Lemma 16: integral of the printed density, 2 and not 1, d = 8 ({DERIVED})", of["integral"], 1.999, 2.001),
        every("Lemma 17: E t_{i*} over 2/(N+1)^2, N = 16, d = 8", of["mean"] * (N + 1) ** 2 / 2, 1),
        every(f"Lemma 17: the same at N = 2, d = 32, which its condition excludes: below 1 ({DERIVED})", of["small"] * 9 / 2,
              high=1),
        every("Lemma 18: the probability with k_d as printed, N = 16, d = 8", of["k"], 1 / math.e),
        every("Lemma 18: the same with a_{N,d}", of["a"], 1 / math.e),
        every(f"Lemma 19: xi E exp(-xi (t_(1) - t_(2))) over N(N-1) int f^2 F^(N-2), xi = 50, 200: near 1 ({DERIVED})",
              of["19"], 0.7, 1.1),
    ]  # fmt: skip
    conditions = [
        Condition("N >= O(sqrt(d) log d) of Lemma 17 [paper]",
                  f"N = {N}; sqrt(d) log d = {math.sqrt(D) * math.log(D):.3g}", None),
        Condition("d > 3 [derived; not in Lemma 18]", f"d = {D}", True),
    ]  # fmt: skip
    notes = [
        MARKS,
        "The factor of 2 in k_d changes nothing under an O. Lemma 19 is right, and contradicts Lemma 9: without weight on "
        "the query the loss is of order 1/xi1, while Lemma 9 would make it exponentially small [derived].",
    ]
    name = "Lemmas 16 to 19 of Athreya and Wang: 17 to 19 confirmed, the density of 16 twice too large"
    return Theorem(name, STATEMENT, set_here({"N": N, "d": D}), seeds, conditions, rows, notes)


GEOMETRY = Experiment("lemmas-16-19", "cosines of uniform points on the sphere", no_runs, measure, assemble)
