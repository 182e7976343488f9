"""What really happens: the population's flow at sigma = 48, where Lemma 12 is claimed, against its laws; and Lemma 9's bound.

The loss falls as tau^(-1/3), xi1 crosses 7/15 of xi2, and xi2/xi1 tends to what the quasi-equilibrium says.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....papers.onenn2024 import population, theory
from ....papers.onenn2024.population import Trajectory
from ... import style
from ...claims import Claim, every, fact, located
from ...experiment import Found, Measured, Options, Runs, Seeds, no_runs
from ...figure import Figure, Recipe
from ...series import Series, spread
from ...settings import set_here
from .common import DERIVED, DRAWS, OURS, QUICK_DRAWS

__all__ = ["RECIPES", "crossing", "lemma_9_crossing", "small"]

N, D, SIGMA = 16, 8, 48.0
SMALL_N, SMALL_D, SMALL_SIGMA = 3, 5, 28.0
FIRST, LAST, QUICK_LAST = 1e2, 1e8, 1e6
EACH_DECADE = 20
CROSSED, SMALL_CROSSED, LEMMA_9 = 2.44e4, 10743.0, 19.9
LATE = 1e5  # tau from which laws of large xi1 are claimed


def times(options: Options) -> NDArray:
    last = QUICK_LAST if options["quick"] else LAST
    return np.geomspace(FIRST, last, round(EACH_DECADE * np.log10(last / FIRST)) + 1)


def crossing(run: Trajectory) -> float:
    """The time at which xi1/xi2 first exceeds 7/15, between two points by the logarithm of time; nan: never."""
    share = run.xi1 / run.xi2
    above = np.flatnonzero(share > theory.LIMIT)
    if not len(above) or not above[0]:
        return np.nan
    there = slice(above[0] - 1, above[0] + 1)
    return float(np.exp(np.interp(theory.LIMIT, share[there], np.log(run.tau[there]))))


@cache
def small(quick: bool) -> Trajectory:
    """The exact flow of N = 3, d = 5, sigma = 28, by quadrature, about its crossing and up to 1e5."""
    source = population.exact(SMALL_N, SMALL_D, 24 if quick else 40)
    near = np.linspace(0.99 * SMALL_CROSSED, 1.01 * SMALL_CROSSED, 9)
    return population.flow(source, SMALL_SIGMA, [*near, *([] if quick else [LATE])], tolerance=1e-9)


@cache
def lemma_9_crossing() -> float:
    """The xi1 from which -partial_1/d exceeds Lemma 9's bound at xi2 = (15/7) xi1, N = 2, d = 5, by quadrature."""
    from scipy.optimize import brentq

    source = population.exact(2, 5, 64)

    def excess(xi1: float) -> float:
        found = population.moments(xi1, xi1 / theory.LIMIT, source)
        return float(np.log(-found.partial_1 / 5) - np.log(theory.lemma_9(xi1, xi1 / theory.LIMIT, 2, 5)))

    return float(brentq(excess, 10, 30, xtol=1e-6))


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    draws = QUICK_DRAWS if options["quick"] else DRAWS
    run = population.flow(population.sampled(N, D, draws, seed), SIGMA, times(options), tolerance=1e-6)
    return {"run": run, "small": small(options["quick"]), "lemma 9": lemma_9_crossing()}


def slopes(run: Trajectory) -> NDArray:
    """The exponent of the loss against time between points of the flow."""
    return np.diff(np.log(run.loss)) / np.diff(np.log(run.tau))


def claims(options: Options, found: Found) -> list[Claim]:
    A = theory.loss_constant(N, D)
    share, spare = (0.04, 0.16) if options["quick"] else (0.02, 0.08)  # what sampled cosines scatter by
    runs: list[Trajectory] = [one["run"] for one in found]
    late = runs[0].tau >= LATE * (1 - 1e-9)
    conditions = [theory.sigma_conditions(N, D), theory.sigma_conditions(SMALL_N, SMALL_D)]
    needed = [one["Lemma 12: 3 log(2 N^4 d/a)"] for one in conditions]
    one, small_run = found[0], found[0]["small"]
    end = 1.0 if options["quick"] else float(small_run.xi1[-1] / small_run.xi2[-1])
    middle = [slopes(run)[late[1:]].mean() for run in runs]
    products = np.array([(run.xi1 * run.loss)[late] / A for run in runs])
    predicted = np.asarray(theory.slow_growth(runs[0].tau[late], N, D))
    rows = [
        fact(
            "sigma is above Lemma 12's condition in both runs (the paper's condition)",
            needed[0] < SIGMA and needed[1] < SMALL_SIGMA,
            f"{SIGMA:g} and {SMALL_SIGMA:g}",
            f"above {needed[0]:.1f} and {needed[1]:.1f}",
        ),
        every(
            f"N = 16, d = 8: tau at which xi1 crosses (7/15) xi2, against Lemma 12 ({OURS}: {CROSSED:g})",
            [crossing(run) for run in runs], CROSSED * (1 - share), CROSSED * (1 + share),
        ),
        every(
            f"N = 3, d = 5, exact: tau of the same ({OURS}: {SMALL_CROSSED:g})",
            [crossing(small_run)], SMALL_CROSSED * 0.999, SMALL_CROSSED * 1.001,
        ),
        every(f"N = 16, d = 8: xi1/xi2 at the end, above 7/15 ({DERIVED})", [r.xi1[-1] / r.xi2[-1] for r in runs], 1.0),
        located(
            every(f"exponent of the loss against tau from 1e5 on: -1/3 ({DERIVED})", middle, -1 / 3 - 0.02, -1 / 3 + 0.02),
            -1 / 3, "-1/3",
        ),
        every(f"xi1 L / A from 1e5 on: 1 ({DERIVED})", products, 1 - spare, 1 + spare),
        every(
            f"xi1 over (3 A tau/d)^(1/3), frozen xi2's law, at 1e5 ({DERIVED})",
            [run.xi1[late][0] / predicted[0] for run in runs], 0.9, 1.1,
        ),
        every(
            f"xi1 from which Lemma 9's bound fails, N = 2, d = 5, exact ({OURS}: {LEMMA_9:g})",
            [one["lemma 9"]], LEMMA_9 * 0.99, LEMMA_9 * 1.01,
        ),
    ]  # fmt: skip
    if not options["quick"]:
        rows.append(every(f"N = 3, d = 5, exact: xi1/xi2 at tau = 1e5 ({OURS}: 0.61)", [end], 0.605, 0.615))
        rho = np.array([run.xi2[-1] / run.xi1[-1] for run in runs])
        limit = theory.ratio(float(np.mean([run.xi1[-1] for run in runs])), N, D)
        rows.append(
            every(f"xi2/xi1 at the end, over what quasi-equilibrium predicts ({DERIVED})", rho / limit, 0.93, 1.07)
        )
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    runs: list[Trajectory] = [one["run"] for one in found]
    tau, A = runs[0].tau, theory.loss_constant(N, D)
    xi1 = np.mean([run.xi1 for run in runs], axis=0)
    some = slice(None, None, EACH_DECADE // 4)
    rho = np.array([theory.ratio(max(each, 1.0), N, D) for each in xi1[some]])
    series = [
        spread("loss", tau, [run.loss for run in runs]),
        spread("xi1", tau, [run.xi1 for run in runs]),
        spread("xi2", tau, [run.xi2 for run in runs]),
        spread("xi1/xi2", tau, [run.xi1 / run.xi2 for run in runs]),
        Series("A/xi1", tau, A / xi1),
        Series("xi1, frozen xi2", tau, np.asarray(theory.slow_growth(tau, N, D))),
        Series("xi1/xi2, quasi-equilibrium", tau[some], 1 / rho),
        Series("7/15", tau[[0, -1]], np.full(2, theory.LIMIT)),
    ]
    settings = set_here({
        "N": N, "d": D, "sigma": SIGMA, "kappa": 1.0, "rows of cosines": QUICK_DRAWS if options["quick"] else DRAWS,
        "exact": "N = 3, d = 5, sigma = 28; Lemma 9: N = 2, d = 5",
    })  # fmt: skip
    notes = [
        "A figure of ours: the population's gradient flow at sigma = 48, above the condition of Lemma 12, which Athreya and "
        "Wang restate of Li et al. [paper]. tau = eta kappa t: the number of classes and the step size only rescale time.",
        "Lemma 12 says xi1 <= (7/15) xi2 for all t. It is refuted numerically: the exact case has no sampling in it. If xi1 "
        "stayed below c xi2 with c < 1/2, xi2 could grow like log t only, and so could xi1; but xi1 grows at a rate of "
        "order 1/xi1^2, as the cube root of time [derived].",
        "The loss falls as tau^(-1/3). Theorem 1's O(1/log t) is an upper bound, and this is below it.",
        "Sampled rows of cosines cap xi2/xi1 at the largest sampled gap; times and losses shift by a few per cent "
        "[derived].",
        "Not logarithms of time, but its cube root: xi1 = (3 A tau/(d + rho^2))^(1/3), rho = xi2/xi1 [derived].",
    ]
    return Figure(
        "The population's flow at sigma = 48: N = 16, d = 8",
        settings,
        seeds,
        series,
        claims(options, found),
        notes=notes,
    )


def draw(figure: Figure) -> Any:
    canvas, (left, right) = style.new(columns=2, width=3.5, height=2.8)
    loglog = {"xscale": "log", "yscale": "log", "xlabel": r"$\tau = \eta\kappa t$"}
    labels = {"loss": r"$L/\kappa$", "A/xi1": r"$A/\xi_1$"}
    for i, (name, label) in enumerate(labels.items()):
        style.curve(left, figure[name], i, label=label, every=(7 * i, 20))
    xi1 = figure["xi1"]
    left.plot(xi1.x, figure["loss"].y[-1] * (xi1.x / xi1.x[-1]) ** (-1 / 3), color=style.PAPER, linewidth=0.8,
              label=r"$\tau^{-1/3}$")  # fmt: skip
    left.set(ylabel=r"loss, $\kappa = 1$", title="the loss falls as a cube root", **loglog)
    names = {"xi1": r"$\xi_1$", "xi2": r"$\xi_2$", "xi1, frozen xi2": r"$(3A\tau/d)^{1/3}$"}
    for i, (name, label) in enumerate(names.items()):
        style.curve(right, figure[name], i, label=label, every=(7 * i, 20))
    share = figure["7/15"].y[0] * figure["xi2"].y
    right.plot(xi1.x, share, color=style.PAPER, linewidth=0.8, label=r"$(7/15)\,\xi_2$")
    right.set(ylim=(0.3, None), title=r"$\xi_1$ crosses $(7/15)\,\xi_2$", **loglog)
    for axes in (left, right):
        style.legend(axes)
    return canvas


RECIPES = [
    Recipe("rates", "the population's flow at sigma = 48 against its laws; Lemmas 9 and 12", no_runs, measure, assemble,
           draw=draw)
]  # fmt: skip
