"""Sweeps of Athreya and Wang: how long gradient descent takes as N, d, K, the step size and the loss that is asked for vary.

All are exact gradient descent on the population's closed system, with cosines that are drawn once [derived]. sigma is 48, so
large that the query has no weight up to the end: there xi1 = (3 A tau/d)^(1/3) and the loss is kappa A/xi1 [derived].
"""

from dataclasses import replace

from ...papers import onenn2024
from ..experiment import by_name
from ..sweeps.laws import Theory
from ..sweeps.named import NamedSweep

__all__ = ["SWEEPS"]

PROBLEM = replace(
    onenn2024.problems["theorem"], prompts="population", draws=500, learning_rate=80.0, steps=0
)  # so large a step changes times by less than a per cent [measured]
MANY = replace(PROBLEM, draws=2000)  # where each setting has cosines of its own
LIMIT = {"steps": 20_000, "measure": None}
UNTIL = "steps until training_loss < 0.05"

THEOREM_1 = (
    "Theorem 1: L(t) <= O((K-1)/K poly(N, d)/log t) [paper]. It does not say how fast the loss falls; the population's flow "
    "has L = kappa A/xi1 with xi1 = (3 A tau/d)^(1/3), hence t = d kappa^2 A^2/(3 eta L^3) [derived]."
)
SMALLER_N = "Figure 1: smaller N is faster [paper]. The steps to a loss are proportional to A^2, A = A(N, d) [derived]."
ONLY_TIME = (
    "Lemma 2: the multiclass loss is (K-1)/K times the binary one [paper], so that K changes time only, by K/(K-1) to the "
    "same xi [derived]."
)
ROWS = "Cosines are sampled, 500 rows or 2000, others for each seed. A loss of 0.05 is reached at xi1 of about 14."
SEEDS = 3

SWEEPS = by_name(
    [
        NamedSweep(
            name="scaling-eps",
            title="steps until the population loss is below eps",
            claim=THEOREM_1,
            problem=PROBLEM,
            over={"eps": [0.06, 0.045, 0.034, 0.026, 0.0195, 0.0147]},
            measure="steps until training_loss < eps",
            seeds=SEEDS,
            training=LIMIT,
            quick={"over": {"eps": [0.1, 0.07, 0.049]}, "seeds": 1},
            theory={"eps": Theory(-3.0, "t = d kappa^2 A^2/(3 eta eps^3), the law of large xi1 [derived]")},
            notes=(
                "Found: -2.87, with an interval from -3.00 to -2.75 [measured].",
                "Upper bounds of the theorem allow exp(1/eps) steps: the law is far below.",
                "Theory is of small eps: where the loss is 0.1, the slope is -2.2 [measured].",
                ROWS,
            ),
        ),
        NamedSweep(
            name="scaling-eta",
            title="steps until the population loss is below 0.05, against the step size",
            claim=ONLY_TIME,
            problem=PROBLEM,
            over={"learning_rate": [10.0, 15.0, 22.0, 34.0, 52.0, 80.0]},
            measure=UNTIL,
            seeds=SEEDS,
            training=LIMIT,
            quick={"over": {"learning_rate": [20.0, 40.0, 80.0]}, "seeds": 1},
            theory={"learning_rate": Theory(-1.0, "tau = eta kappa t [derived]")},
            notes=("Found: -0.999 [measured].", "Gradient descent is the flow, up to steps of this size.", ROWS),
        ),
        NamedSweep(
            name="scaling-N",
            title="steps until the population loss is below 0.05, against the length of prompts",
            claim=SMALLER_N,
            problem=MANY,
            over={"length": [8, 12, 16, 24, 32, 48]},
            measure=UNTIL,
            seeds=SEEDS,
            training=LIMIT,
            quick={"over": {"length": [6, 10, 16]}, "seeds": 1},
            theory={"length": Theory(0.83, "A^2 at d = 8, its slope from N = 8 to 48 [derived]")},
            notes=(
                "Found: 0.81, with an interval from 0.74 to 0.88 [measured].",
                "Not a pure power of N: the slope of A^2 falls slowly as N grows [derived].",
                ROWS,
            ),
        ),
        NamedSweep(
            name="scaling-d",
            title="steps until the population loss is below 0.05, against the dimension of inputs",
            claim=THEOREM_1,
            problem=MANY,
            over={"d": [5, 7, 10, 14, 20, 28]},
            measure=UNTIL,
            seeds=SEEDS,
            training=LIMIT,
            quick={"over": {"d": [5, 8, 13]}, "seeds": 1},
            theory={"d": Theory(1.69, "d A^2 at N = 16, its slope from d = 5 to 28 [derived]")},
            notes=(
                "Found: 1.69, with an interval from 1.49 to 1.89 [measured].",
                "Not a pure power of d: the slope of d A^2 goes on changing [derived].",
                ROWS,
            ),
        ),
        NamedSweep(
            name="scaling-K",
            title="steps until the population loss is below 0.05, against the number of classes",
            claim=ONLY_TIME,
            problem=PROBLEM,
            over={"K": [8, 12, 18, 27, 40, 60]},
            measure=UNTIL,
            seeds=SEEDS,
            training=LIMIT,
            quick={"over": {"K": [8, 16, 32]}, "seeds": 1},
            theory={"K": Theory(0.0, "kappa^2, kappa = (K-1)/K, which goes to 1 [derived]")},
            notes=(
                "Found: 0.10 [measured].",
                "At an equal loss, not an equal xi, steps are proportional to kappa^2: of slope 0.1 over these values, and "
                "0 as K grows [derived].",
                ROWS,
            ),
        ),
    ]
)
