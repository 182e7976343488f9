"""Figure 5: training from a W off the family, with Gaussian noise of several sizes in all of its entries."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from ....papers.onenn2024 import Params, Problem, family
from ... import style
from ...claims import Claim, every, fact, located, published
from ...experiment import Found, Measured, Options, Runs, Seeds, Training
from ...figure import Figure, Original, Recipe
from ...series import Series, spread
from ...settings import of_problem, set_here
from ...summary import listed
from .common import DERIVED, MARKS, ONE, QUICK_STEPS, SIGMA, TEST_SET, beside, training

__all__ = ["RECIPES"]

NOISE, QUICK_NOISE = (0.1, 1.0, 2.0, 3.0), (0.1, 3.0)
STEPS, SHORT = 40_000, 1000
PUBLISHED = {0.1: (1.056, 0.343), 1.0: (10.558, 3.449), 3.0: (31.673, 25.145)}  # distance before and after [paper]
ACCURACY = {0.1: 1.0, 1.0: 1.0, 2.0: 0.78, 3.0: 0.44}  # on the separated set, after [paper]
PRINTED = {"eps = 2": "0.78 +- 0.28", "eps = 3": "0.44 +- 0.07"}
KEPT = 0.48  # of the square of W_31 [measured]

ORIGINAL = Original(
    "Figure 5",
    "distance from the family in the blocks that enter the scores, before and after 4e4 steps: 1.056 and 0.343 for noise 0.1, "
    "10.558 and 3.449 for 1, 31.673 and 25.145 for 3; idle blocks 5.400 and 5.400 for 1; accuracy 1.000 up to 1, 0.78 +- 0.28 "
    "at 2, 0.44 +- 0.07 at 3; 3 seeds [paper]",
    "K, 3 here: the norms 10.56 and 5.40 fit it (10.30, 6.00) better than K = 2 (9.85, 4.69); the separated set's law; seeds, "
    "on which ratios, and accuracies at 2 and 3, depend",
)


def problem(noise: float, where: str = "all") -> Problem:
    return replace(ONE, init_noise=noise, noise_in=where)


def noises(options: Options) -> tuple[float, ...]:
    return QUICK_NOISE if options["quick"] else NOISE


def runs(options: Options) -> dict[str, Training]:
    found = {f"eps = {noise:g}": training(problem(noise), STEPS, options) for noise in noises(options)}
    short = min(SHORT, QUICK_STEPS) if options["quick"] else SHORT
    return found | {
        "idle": training(problem(3.0, "idle"), short, options),
        "none": training(problem(0.0), short, options),
    }


def parts(params: Params) -> dict[str, Any]:
    """Norms of what makes up the distance, and the parts whose gradient is 0."""
    W = family.blocks(params, ONE.K)
    here = family.place(params, ONE.K)
    sums = np.concatenate([W["21"].sum(axis=0), W["23"].sum(axis=0)]) / np.sqrt(len(W["21"]))
    marks = float(np.linalg.norm(W["31"]))
    rest = float(np.sqrt(max(here.distance**2 - sums @ sums - marks**2, 0)))
    return {
        "distance": here.distance, "sums": sums, "W_31": marks, "rest": rest,
        "idle": np.concatenate([W["12"].ravel(), W["22"].ravel(), W["32"].ravel()]),
    }  # fmt: skip


def measure(options: Options, seed: int, runs: Runs) -> Measured:
    found: dict[str, Any] = {}
    for name, run in runs.items():
        if name.startswith("eps"):
            start = problem(float(name.rpartition(" ")[2])).initialize(seed=seed)
            found[name] = {
                "before": parts(start), "after": parts(run.params), "accuracy": run.history["separated_accuracy"][-1],
            }  # fmt: skip
    idle, none = runs["idle"].params.W, runs["none"].params.W
    apart = np.ones(len(idle), bool)
    apart[ONE.d : -1] = False
    found["same bits"] = bool(np.array_equal(idle[:, apart], none[:, apart]))
    return found


def ratio(found: Found, name: str, part: str = "distance") -> list[float]:
    """After over before, of each seed."""
    return [one[name]["after"][part] / one[name]["before"][part] for one in found]


def changed(found: Found, names: list[str], part: str) -> float:
    """The largest change of an entry of a part."""
    return max(
        float(np.abs(one[name]["after"][part] - one[name]["before"][part]).max()) for one in found for name in names
    )


def near(claim: str, values: list[float], expected: float, slack: float) -> Claim:
    """A claim: the mean over seeds is a number of the paper's, up to `slack`."""
    mean = float(np.mean(values))
    measured = f"{listed(values)}; mean {mean:.3g}"
    return fact(claim, abs(mean - expected) <= slack, measured, f"mean {expected:g} +-{slack:g}", values)


def predicted(one: Any) -> float:
    """The ratio of a seed if of its noise the idle sums stay, 0.69 of W_31, and nothing else."""
    before = one["before"]
    return float(np.sqrt(before["sums"] @ before["sums"] + KEPT * before["W_31"] ** 2) / before["distance"])


@cache
def law_of_ratio() -> tuple[float, float]:
    """What 99% of the predicted ratios lie between, over noise: of 106 normal numbers 9 stay and 8 stay in part."""
    sums, marks, rest = np.random.default_rng(0).chisquare((ONE.d + 1, ONE.d, 106 - 2 * ONE.d - 1), (20_000, 3)).T
    low, high = np.quantile(np.sqrt((sums + KEPT * marks) / (sums + marks + rest)), [0.005, 0.995])
    return float(low), float(high)


def claims(options: Options, found: Found) -> list[Claim]:
    names = [name for name in found[0] if name.startswith("eps")]
    rows = [
        published(
            fact("idle blocks, the label's columns: largest change of an entry (the paper: unchanged)",
                 changed(found, names, "idle") == 0, f"{changed(found, names, 'idle'):g}", "0 exactly, for every noise"),
            "value",
        ),
        fact(f"1_K^T W_21 and 1_K^T W_23, d + 1 numbers more: largest change ({DERIVED})",
             changed(found, names, "sums") <= 1e-11, f"{changed(found, names, 'sums'):.2g}", "at most 1e-11, rounding"),
        fact(f"noise of 3 in idle blocks only: the rest of W, beside that without noise ({DERIVED})",
             all(one["same bits"] for one in found), "the same bits" if all(one["same bits"] for one in found) else "others",
             f"the same bits after {min(SHORT, QUICK_STEPS) if options['quick'] else SHORT} steps"),
    ]  # fmt: skip
    if options["quick"]:
        return rows
    low, high = law_of_ratio()
    for name in ("eps = 0.1", "eps = 1"):
        claim = f"{name}: distance after over before (0.325 to 0.327 in the paper; bounds: 99% of the derived law)"
        row = located(every(claim, ratio(found, name), low, high), 0.326, "the paper's value")
        rows.append(published(row, "value"))
    claim = "eps = 3: distance after over before, mean over seeds (0.79 in the paper)"
    rows.append(published(near(claim, ratio(found, "eps = 3"), 0.79, 0.1), "value"))
    for name in ("eps = 0.1", "eps = 1"):
        row = every(f"{name}: separated accuracy (1.000 in the paper)", [one[name]["accuracy"] for one in found], 0.999)
        rows.append(published(row, "value"))
    for name, value, theirs, slack in (("eps = 2", 0.78, 0.28, 0.28), ("eps = 3", 0.44, 0.07, 0.2)):
        accuracies = [one[name]["accuracy"] for one in found]
        claim = f"{name}: separated accuracy, mean over seeds ({PRINTED[name]} in the paper)"
        row = near(claim, accuracies, value, slack)
        where = "inside" if abs(np.mean(accuracies) - value) <= theirs else "outside"
        rows.append(published(replace(row, measured=f"{row.measured}, {where} {PRINTED[name]}"), "value"))
    for name in ("eps = 0.1", "eps = 1"):
        off = [one[name]["after"]["distance"] / one[name]["before"]["distance"] - predicted(one[name]) for one in found]
        claim = f"{name}: ratio less sqrt(sums^2 + {KEPT:g} W_31^2)/distance, of each seed's own noise ({DERIVED})"
        rows.append(every(claim, off, -0.02, 0.03))
    rows += [
        every(f"eps = 0.1: what else there is of the distance, after over before ({DERIVED})",
              ratio(found, "eps = 0.1", "rest"), high=0.2),
        every(f"eps = 0.1: W_31, felt through the query's weight only, after over before ({DERIVED})",
              ratio(found, "eps = 0.1", "W_31"), 0.6, 0.8),
    ]  # fmt: skip
    return rows


def assemble(options: Options, seeds: Seeds, found: Found) -> Figure:
    names = [name for name in found[0] if name.startswith("eps")]
    noise = [float(name.rpartition(" ")[2]) for name in names]

    def of(when: str, part: str) -> Series:
        values = [[np.linalg.norm(one[name][when][part]) for name in names] for one in found]
        return spread(f"{part} {when}", noise, values)

    series = [of(when, part) for part in ("distance", "idle", "sums", "W_31", "rest") for when in ("before", "after")]
    series.append(spread("separated accuracy", noise, [[one[name]["accuracy"] for name in names] for one in found]))
    reference, comparisons = [], []
    if not options["quick"]:
        known = [
            (series[0], list(PUBLISHED), [before for before, _ in PUBLISHED.values()]),
            (series[1], list(PUBLISHED), [after for _, after in PUBLISHED.values()]),
            (series[2], [1.0], [5.400]),
            (series[3], [1.0], [5.400]),
            (series[-1], list(ACCURACY), list(ACCURACY.values())),
        ]
        for ours, x, y in known:
            theirs, compared = beside(ours, x, y)
            reference.append(theirs)
            comparisons += compared
    settings = of_problem(ONE, {}) | set_here({"steps": STEPS, "init_noise": noises(options)})
    notes = [
        MARKS,
        SIGMA,
        TEST_SET,
        "The distance leaves out the label's columns, the idle blocks. Of the rest, d + 1 numbers are idle as well: 1_K^T "
        "W_21 and 1_K^T W_23, as label codes are orthogonal to 1_K; the paper's Lemma 1 does not list them [derived].",
        "What stays of small noise is those d + 1 numbers, unchanged, and 0.69 of W_31, which is felt through the query's "
        "small weight only. All else contracts to the noise floor of SGD: the family attracts more strongly than a "
        "ratio of a third "
        "says [derived].",
        "So the ratio depends on the seed: its law has a mean of 0.35. Sums of squares of the 9 idle numbers are 17, 20 and "
        "15 for seeds 0, 1 and 2, where 9 are to be expected: hence our 0.45 beside the paper's 0.33.",
        "At eps = 2 some starts are led to the right rule and some are not, as in the paper (0.78 +- 0.28).",
    ]
    return Figure("Training from noise in all of W: distance from the family", settings, seeds, series, claims(options, found),
                  reference, comparisons, notes)  # fmt: skip


def draw(figure: Figure) -> Any:
    canvas, (left, right) = style.new(columns=2, width=3.2, height=2.6)
    for i, name in enumerate(("distance before", "distance after", "sums after", "W_31 after", "rest after")):
        style.curve(left, figure[name], i, label=name.replace("W_31", "$W_{31}$"))
    for one in figure.reference[:2]:
        style.theirs(left, one, 0 if "before" in one.name else 1)
    left.set(xlabel=r"noise $\epsilon$", ylabel="norm", xscale="log", yscale="log")
    style.curve(right, figure["separated accuracy"], 0, label="ours")
    for one in figure.reference[-1:]:
        style.theirs(right, one, 0, label="paper")
    right.set(xlabel=r"noise $\epsilon$", ylabel="accuracy, separated prompts", ylim=(0, 1.05))
    style.legend(left, loc="lower right", fontsize=5.5)
    style.legend(right, loc="lower left")
    return canvas


RECIPES = [
    Recipe("perturbed", "training from noise in all of W", runs, measure, assemble, draw=draw, original=ORIGINAL)
]
