"""Sweeps of Li et al. 2024: how the number of steps depends on what Theorem 3.3 names.

Measured are SGD steps until the training hinge, the mean of 10 steps, is below 0.1, from one small start. Theorem 3.3 fixes an
order, in which constants, logarithms and the final accuracy are free.
"""

from dataclasses import replace

from ...papers import li2024
from ..experiment import by_name
from ..sweeps.laws import Theory
from ..sweeps.named import NamedSweep

__all__ = ["SWEEPS"]

STEPS_TO_LEARN = "steps until training_loss over 10 < 0.1"
LIMIT = {"steps": 4000}
SEEDS, QUICK_SEEDS = 20, 3
SMALL_START = li2024.Problem(xi=0.01, a_scale="1/sqrt(m)", batch=128, learning_rate=0.2)

ORDER = (
    "Theorem 3.3: T = Theta(eta^-1 M1 alpha^(-2/3) beta^(-2/3) sqrt(log M1)) suffices for an in-domain hinge of "
    "O(eps); alpha^(-2/3) [paper], the rest [summary]."
)
MEANING = (
    "An order leaves constants, logarithms and the final accuracy free. Measured is the time to one fixed loss, from "
    "one small start: an exponent here neither contradicts the theorem nor confirms it."
)
ESCAPE = (
    "What explains it [derived]: training first escapes from its small start, at the rate eta Delta, with Delta = r "
    "(e^x - 1) / (1 + r (e^x - 1)), r = alpha/2, x = delta^2 beta^2: T = C / (eta Delta) up to logarithms. The "
    "figure li2024:scaling draws this law."
)

SWEEPS = by_name(
    [
        NamedSweep(
            name="scaling-alpha",
            title="steps to learn against alpha, the share of contexts with the task's patterns",
            claim=ORDER,
            problem=replace(SMALL_START, length=100),
            over={"alpha": [0.1, 0.14, 0.2, 0.28, 0.4, 0.56, 0.8, 1.0]},
            measure=STEPS_TO_LEARN,
            seeds=SEEDS,
            training=LIMIT,
            quick={"over": {"alpha": [0.2, 0.4, 0.8]}, "seeds": QUICK_SEEDS},
            theory={"alpha": Theory(-2 / 3, "Theorem 3.3 [paper]")},
            notes=(
                "Found with 20 seeds: -0.86, but no pure power; -0.93 at the lower end, -0.66 at the upper one, near "
                "the theorem's -2/3 [measured].",
                MEANING,
                ESCAPE,
                "l = 100 keeps every alpha above condition (iii), l_tr >= Omega(1/alpha): prompts without a match "
                "are 0.6% at alpha = 0.1. At l = 40 they would keep the hinge of alpha = 0.1 near 0.1.",
            ),
        ),
        NamedSweep(
            name="scaling-beta",
            title="steps to learn against beta, the norm of the patterns",
            claim=ORDER,
            problem=replace(SMALL_START, learning_rate=0.1),
            over={"beta": [1.0, 1.3, 1.6, 2.0, 2.5, 3.2, 4.0]},
            measure=STEPS_TO_LEARN,
            seeds=SEEDS,
            training=LIMIT,
            quick={"over": {"beta": [1.5, 2.4, 4.0]}, "seeds": QUICK_SEEDS},
            theory={"beta": Theory(-2 / 3, "Theorem 3.3 [summary]")},
            notes=(
                "Found with 20 seeds: -1.98, from -2.16 at the lower end to -1.67 at the upper one; not the "
                "theorem's -2/3 [measured].",
                MEANING,
                ESCAPE,
                "By that law the exponent is one of delta beta, -2 where it is small. delta is fixed here, at 0.2; "
                "whether the theorem has delta depend on beta is not known.",
            ),
        ),
        NamedSweep(
            name="scaling-M1",
            title="steps to learn against M1, the number of relevant patterns",
            claim=ORDER,
            problem=replace(SMALL_START, d_X=60),
            over={"M1": [4, 6, 8, 12, 16, 24, 32]},
            measure=STEPS_TO_LEARN,
            seeds=SEEDS,
            training=LIMIT,
            quick={"over": {"M1": [4, 8, 16, 32]}, "seeds": QUICK_SEEDS},
            theory={
                "M1": Theory(
                    1.22,
                    "Theorem 3.3 [summary]: the slope of M1 sqrt(log M1) over these values; 1 without the logarithm",
                )
            },
            notes=(
                "Found with 20 seeds: 0.34, a power law over the whole range, and not the theorem's [measured].",
                MEANING,
                "Conditions (i) and (ii) grow with M1: M1^2 log M1 is 3549 at M1 = 32, where m is 64 here, and M1 "
                "log M1 is 111, where B is 128. Their constants are not known; li2024:scaling-m and "
                "li2024:scaling-batch show that neither m nor B decides the time at M1 = 6.",
                "Nearly all of the time, and of its growth, is that of the escape: a hinge of 0.9 is reached at 88% "
                "of it or later [measured]. Delta does not name M1, so that the law of the escape rate does not "
                "explain it; nor is it explained here why T grows so much slower than M1.",
            ),
        ),
        NamedSweep(
            name="scaling-m",
            title="steps to learn against m, the number of neurons",
            claim="Theorem 3.3 has m in a condition, m >= Omega(M1^2 log M1) [paper], and not in T [summary].",
            problem=SMALL_START,
            over={"m": [16, 32, 64, 128, 256, 512, 1024]},
            measure=STEPS_TO_LEARN,
            seeds=SEEDS,
            training=LIMIT,
            quick={"over": {"m": [16, 64, 256]}, "seeds": QUICK_SEEDS},
            theory={"m": Theory(0.0, "T of Theorem 3.3 does not name m, above its condition [summary]")},
            notes=(
                "Found with 20 seeds: 0.015. T changes by 7% over the range, which seeds can tell from 0 [measured].",
                "M1^2 log M1 is 64.5 here. Two values lie below it; the condition's constant is not known.",
                "Every m starts with |a_i| = 1/sqrt(m) [quoted] and the same xi. That T does not name m is read off "
                "the order; a dependence that constants hide is not excluded by it.",
            ),
        ),
        NamedSweep(
            name="scaling-batch",
            title="steps to learn against B, the prompts of a step",
            claim="Theorem 3.3 has B in a condition, B > Omega(max{eps^-2, M1} log M1) [paper], and not in T [summary].",
            problem=SMALL_START,
            over={"batch": [4, 8, 16, 32, 64, 128, 256, 512]},
            measure=STEPS_TO_LEARN,
            seeds=SEEDS,
            training=LIMIT,
            quick={"over": {"batch": [8, 32, 128]}, "seeds": QUICK_SEEDS},
            theory={"batch": Theory(0.0, "T of Theorem 3.3 does not name B, above its condition [summary]")},
            notes=(
                "Found with 20 seeds: -0.010. T changes by 7% over the range, which seeds can tell from 0 [measured].",
                "M1 log M1 is 10.8 here. The constant and the eps of the condition are not known, so that no value "
                "is known to satisfy it.",
                "Steps are counted, not prompts: N = B T grows with B.",
                "The hinge that ends a run is the mean of 10 batches. In small ones it scatters, and so does the time.",
            ),
        ),
        NamedSweep(
            name="scaling-learning-rate",
            title="steps to learn against eta, the learning rate",
            claim=ORDER,
            problem=SMALL_START,
            over={"learning_rate": [0.0125, 0.025, 0.05, 0.1, 0.2, 0.4]},
            measure=STEPS_TO_LEARN,
            seeds=SEEDS,
            training=LIMIT,
            quick={"over": {"learning_rate": [0.08, 0.2, 0.5]}, "seeds": QUICK_SEEDS},
            theory={"learning_rate": Theory(-1.0, "Theorem 3.3, with eta <= 1 [summary]")},
            notes=(
                "Found with 20 seeds: -0.97, and within 2% of -1 up to 0.1 [measured].",
                "SGD follows the gradient flow, whose time is eta T, the closer the smaller eta is. Long steps, and "
                "the mean of 10 batches that ends a run, add steps at large eta: there the exponent is above -1.",
            ),
        ),
    ]
)
