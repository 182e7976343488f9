"""Theorem 3.7 of Li et al. 2024: removing small neurons costs nothing, removing a share R of the large ones Omega(R)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.describe import short
from ....core.errors import InvalidType
from ....core.seeds import Li2024Test, Li2024Uncounted, for_test, uncounted
from ....models.front import forward
from ....models.transformer.prompts import Prompts
from ....papers import li2024
from ....papers.li2024 import pruning
from ...claims import every, fact
from ...experiment import Experiment, Found, Measured, Options, Runs, Seeds, Training
from ...settings import of_problem
from ...summary import greatest, span, stacked
from ...theorem import Condition, Theorem
from . import setting
from .setting import reached, unmeasured

__all__ = ["PRUNING"]

STATEMENT = (
    "(1) A constant fraction of the rows of W_O^(T) is large, the rest small [paper]: there is L subset [m], |L| = Omega(m), "
    "with norm Omega(1) on L and O(1/sqrt(M2)) off it [recalled]. (2) Pruning all small neurons leaves the error at O(eps + "
    "M1^(-1/2)) [paper: April 2024 slides]; the October 2024 and 2025 slides print M2^(-1/2) [paper]. (3) Pruning an R "
    "fraction of the large ones gives an error of at least Omega(R) [paper]. Pruning sets rows of the trained W_O to zero, "
    "without retraining; small and large go by ||W_O(i,.)|| [paper]."
)
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
TESTS = ("ood", "in", "more")  # out of domain, unseen tasks; out of domain with three times as many training tasks
ORDERS = ("largest first", "random", "smallest of the large first")
FEW_BOUND, FEW_FROM = 0.25, 0.3  # hinge >= bound R from this R on, M1 training tasks, by measurement
MANY_BOUND, MANY_FROM = 0.5, 0.5  # the same with three times as many
INSTEAD = 0.2  # hinge >= this x share, when as many large neurons go as there are small ones, by measurement
HARMLESS = 0.2  # up to this R no order moves the 0-1 error


def runs(options: Options) -> dict[str, Training]:
    six = setting.problem(options)
    return {
        "main": setting.watched(options, six),
        "more tasks": setting.watched(options, setting.problem(options, shifts=setting.more_shifts(six.M1))),
        "half m": unmeasured(replace(six, m=max(1, six.m // 2))),
        "double m": unmeasured(replace(six, m=2 * six.m)),
    }


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    trained = setting.problem(options)
    n = 1000 if options["quick"] else 4000
    l, alpha = options["length_test"], options["alpha_test"]
    outside = setting.outside(options, trained, options["S_1"]).sample(
        n, length=l, alpha=alpha, seed=for_test(seed, Li2024Test.THEOREM_3_7_OOD)
    )
    more = runs["more tasks"].params
    unseen = trained.sample(
        n, length=l, alpha=alpha, seed=for_test(seed, Li2024Test.THEOREM_3_7_UNSEEN), tasks="unseen"
    )
    main = runs["main"].params
    small = pruning.small_neurons(main)
    norm, initial = (np.linalg.norm(psi.W_O, axis=1) for psi in (main, trained.initialize(seed=seed)))
    largest_small = greatest(norm[small])
    tests = {"ood": (main, outside), "in": (main, unseen), "more": (more, outside)}
    found = {name: pruned(params, prompts.dense(), seed) for name, (params, prompts) in tests.items()}
    return {
        **{f"{key}, {name}": value for name, values in found.items() for key, value in values.items()},
        "large": np.mean(~small),
        "small over large": np.sum(small) / np.sum(~small),
        **{f"large, {name}": np.mean(~pruning.small_neurons(runs[name].params)) for name in ("half m", "double m")},
        "gap": norm[~small].min() / largest_small,
        "small norm": largest_small,
        "large norm": np.median(norm[~small]),
        "growth of small": greatest(norm[small] / initial[small]),
        "steps": reached(runs["main"], setting.level(trained, options["eps"])),
    }


def pruned(params: li2024.Params, prompts: Prompts, seed: int) -> dict[str, Any]:
    """Hinge and 0-1 error without the small neurons, without as many large ones, and without shares of the large ones.

    The large ones are removed in three orders.
    """
    small = np.flatnonzero(pruning.small_neurons(params))
    upwards = pruning.order(params)
    large = upwards[~np.isin(upwards, small)]
    random = uncounted(Li2024Uncounted.LARGE, seed).permutation(large)
    orders = dict(zip(ORDERS, (large[::-1], random, large), strict=True))
    counts = [pruning.number_removed(R, len(large)) for R in SHARES]
    curves = {name: pruning.curve(params, prompts, np.r_[order, small], counts) for name, order in orders.items()}
    kept, gone = pruning.curve(params, prompts, upwards, [0, len(small)]).hinge
    instead = pruning.curve(params, prompts, pruning.order(params, "largest"), [len(small)]).hinge[0]
    return {
        "whole": kept,
        "without small": gone,
        "as many large": instead,
        "shares": np.array(counts) / len(large),
        **{name: curve.hinge for name, curve in curves.items()},
        "0-1": max(curve.error[: SHARES.index(HARMLESS) + 1].max() for curve in curves.values()),
        "0-1, last": curves[ORDERS[0]].error[-1],
        "margin": np.mean(prompts.labels * forward(params, prompts).score),
    }


def least_ratio(of: Mapping[str, NDArray], test: str) -> NDArray:
    """The least hinge / R of the three orders (seeds, shares); nan if a share R is not even one neuron."""
    return np.min([of[f"{order}, {test}"] / positive(of[f"shares, {test}"]) for order in ORDERS], axis=0)


def positive(values: NDArray) -> NDArray:
    """`values`, nan in place of 0."""
    return np.where(values > 0, values, np.nan)


def assemble(options: Options, seeds: Seeds, found: Found) -> Theorem:
    trained, eps = setting.problem(options), options["eps"]
    of = stacked(found)
    tested = {FEW_FROM: np.array(SHARES) >= FEW_FROM, MANY_FROM: np.array(SHARES) >= MANY_FROM}
    slack = {test: of[f"largest first, {test}"] - of[f"shares, {test}"] for test in TESTS}
    left = {test: (1 - of[f"shares, {test}"]) * of[f"margin, {test}"][:, None] for test in TESTS}
    above = {test: of[f"largest first, {test}"] - (1 - left[test]) for test in TESTS}
    share = {test: least_ratio(of, test) for test in TESTS}
    change = {test: of[f"without small, {test}"] - of[f"whole, {test}"] for test in TESTS}
    instead = of["as many large, ood"] - of["whole, ood"]
    mean_shares = [of[name].mean() for name in ("large, half m", "large", "large, double m")]
    few = setting.problem(options).training_tasks
    many = setting.problem(options, shifts=setting.more_shifts(trained.M1)).training_tasks
    claims = [
        every("(1) share of large rows, ||W_O(i,.)|| above half the median", of["large"], 0.5),
        every(f"(1) the same, m = {trained.m // 2}", of["large, half m"], 0.5),
        every(f"(1) the same, m = {2 * trained.m}", of["large, double m"], 0.5),
        fact(
            f"(1) a constant share: means over seeds, m = {trained.m // 2}, {trained.m}, {2 * trained.m}",
            np.ptp(mean_shares) <= 0.1, ", ".join(f"{share:.3f}" for share in mean_shares), "within 0.1 of each other",
        ),
        every("(1) large and small are apart: smallest large norm over largest small one", of["gap"], 1.2),
        every("(1) small rows are as at the start: ||W_O(i,.)|| over its initial value", of["growth of small"], 0.7, 1.4),
        every("(2) removing all small neurons changes the hinge by, out of domain", change["ood"], -0.003, 0.003),
        every("(2) the same on unseen tasks", change["in"], -0.003, 0.003),
        every(
            "(2) as many of the largest instead: growth of the hinge / their share of the large ones",
            instead / positive(of["small over large"]), INSTEAD,
        ),
        *(
            every(f"(3) largest first: hinge - (1 - (1 - R) mean zF), {where}, R = 0.1 .. 0.9", above[test].ravel(), 0)
            for test, where in zip(TESTS, ("out of domain", "unseen tasks", f"{len(many)} training tasks"), strict=True)
        ),
        *(
            every(f"(3) any order: hinge / R, {where}, R = {start:g} .. 0.9", share[test][:, tested[start]].ravel(), bound)
            for test, where, start, bound in (
                ("ood", "out of domain", FEW_FROM, FEW_BOUND), ("in", "unseen tasks", FEW_FROM, FEW_BOUND),
                ("more", f"{len(many)} training tasks, out of domain", MANY_FROM, MANY_BOUND),
            )
        ),
        every(f"0-1 error out of domain, up to R = {HARMLESS:g}, any order", of["0-1, ood"], high=0.01),
    ]  # fmt: skip
    small_R = share["ood"][:, 0], share["more"][:, 0]
    notes = [
        setting.CONSTANTS,
        "All errors but the last row are hinge, which the theorem is about. The 0-1 error does not show (3): pruning scales F "
        "and leaves its sign. It jumps to 1/2 when the neurons of one sign of a_i are all gone; those of the rarer sign have "
        f"the larger rows, so largest first comes to that early (0-1 error at R = 0.9: {span(of['0-1, last, ood'])}) "
        "[measured].",
        f"(2), in numbers: without the small ones the hinge is {span(of['without small, ood'])} out of domain; with as many "
        f"of the largest gone it grows by {span(instead)}. Small neurons fire, if at all, where the hinge is inactive: they "
        "add nothing to it, and training leaves them alone [measured].",
        f"M1^(-1/2) = {trained.M1**-0.5:.2g} and M2^(-1/2) = {trained.M2**-0.5:.2g} cannot be told apart: the change is below "
        "both by two orders of magnitude [measured]. Which of the two the paper has is open.",
        f"Norms: small rows up to {span(of['small norm'])}, large ones {span(of['large norm'])} (median); 1/sqrt(M2) = "
        f"{trained.M2**-0.5:.2g}, xi sqrt(m_b) = {trained.xi * (trained.m_b or trained.d) ** 0.5:.2g}. Small rows have the "
        "norm of the start, so their size is xi's, not M2's [measured].",
        "(3) does not say which of the large ones; tested are the largest, random ones, the smallest of the large. At R = 0.1 "
        f"the least hinge / R is {span(small_R[0])}, with {len(many)} tasks {span(small_R[1])}: no constant of Omega(R) "
        "serves all small R [measured]. Margins zF above 1 absorb the loss of a few neurons: what an average choice costs is "
        "hinge >= 1 - (1 - R) mean zF, by convexity [derived], and that is positive from R = 1 - 1 / mean zF on. Mean zF is "
        f"{span(of['margin, ood'])}, with {len(many)} tasks {span(of['margin, more'])} [measured].",
        f"Largest first, hinge - R is {span(slack['ood'])} out of domain with {len(few)} tasks, {span(slack['in'])} on unseen "
        f"tasks, {span(slack['more'])} with {len(many)} tasks [measured].",
    ]
    conditions = [
        *setting.conditions(options, trained, of["steps"], tests=True),
        Condition("out of domain: S_1 >= 1 [paper]", f"S_1 = {options['S_1']:g}", options["S_1"] >= 1),
        Condition(
            "error O(eps) before pruning: Theorem 3.4 [paper]",
            f"hinge {span(of['whole, ood'])} out of domain, {span(of['whole, in'])} on unseen tasks",
            bool(of["whole, ood"].max() <= eps and of["whole, in"].max() <= eps),
        ),
    ]
    return Theorem(
        "Theorem 3.7, magnitude pruning",
        STATEMENT,
        of_problem(trained, options),
        seeds,
        conditions,
        claims,
        notes,
    )


def check(options: Options) -> None:
    if not isinstance(options["S_1"], (int, float)):
        raise InvalidType(f"S_1 is {short(options['S_1'])}; expected one number.")
    found = setting.check(options, theorem="Theorem 3.7")
    setting.check_tests(options, found, "Theorem 3.7", ood=True)


PRUNING = Experiment(
    "3.7", "magnitude pruning: small neurons cost nothing, a share R of the large ones Omega(R)",
    runs, measure, assemble, setting.options(**setting.TESTS, **setting.OUT_OF_DOMAIN), check,
)  # fmt: skip
