"""Figure 4 of Li et al. 2024: in-context learning against classical methods fitted on each prompt's own contexts.

0-1 error against the test length at alpha' = 0.8 (4A) and 0.6 (4B), of the one-layer model (ICL) and of logistic regression,
SVMs and nearest neighbours (`nlicl.papers.li2024.baselines`), on three kinds of test prompts:

| here                        | what                                                                                    |
|-----------------------------|-----------------------------------------------------------------------------------------|
| in domain                   | unseen tasks on the IDR patterns, kappa ~ U(-0.5, 0.5)                                    |
| out of domain               | three ODR patterns with S_1 = 1.1, kappa' ~ U(-0.5, 0.5)                                  |
| out of domain, wide kappa'  | S_1 = 1.3, kappa' ~ U(-1.5, 1.5): here every method comes near its published curve      |

A match is a context with the query's pattern. Without one the label of the query's pattern is not to be seen; the share of
such prompts is (1 - alpha'/2)^l.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.seeds import Li2024Part
from ....models.front import forward
from ....models.transformer.prompts import CodedPrompts
from ....papers import li2024
from ....papers.li2024 import baselines
from ....papers.li2024.theory import no_match_probability
from ... import style
from ...claims import Claim, every, fact, published
from ...experiment import Found, Measured, Options, Runs, Seeds
from ...figure import Figure
from ...series import Series, compare, spread
from ...summary import stacked
from .published import published as their_curves
from .starts import one_layer, others_notes, problem_of, setting, titled
from .training import six_tasks

__all__ = ["RECIPES"]

IN, OUT, WIDE = "in domain", "out of domain", "out of domain, wide kappa'"
DOMAINS: dict[str, dict[str, float]] = {IN: {}, OUT: {"S_1": 1.1, "K": 0.5}, WIDE: {"S_1": 1.3, "K": 1.5}}
METHODS = ("ICL", *baselines.METHODS)
WEAK = "Logistic, C = 3"  # a weaker penalty than scikit-learn's C = 1
CHEAP = ("ICL", "1-NN", "3-NN")  # tested on every prompt; the others on the first ones of each seed
SHORT = 12  # lengths up to here are what the claims call short
HALF_STEP = 1 / 4000  # published errors are multiples of 1/2000 [derived]
FLOOR = 1e-4  # of the drawing

MISSED = {(IN, 0.8): 0.002, (IN, 0.6): 0.002, (OUT, 0.8): 0.002, (OUT, 0.6): 0.004}
"""Bounds on ICL's error given a match. At alpha' = 0.6, out of domain, 5 to 10 seeds: 0.0014 to 0.0021 [measured]."""


def lengths(options: Options) -> tuple[int, ...]:
    return (6, 12, 20) if options["quick"] else tuple(range(6, 21, 2))


def sizes(options: Options) -> tuple[int, int]:
    """Test prompts of a point and a seed: for the cheap methods, and for the others."""
    return (1000, 250) if options["quick"] else (2000, 1000)


def problem_in(domain: str, options: Options) -> li2024.Problem:
    """The problem that the test prompts of a domain are drawn from."""
    trained, of = problem_of(options), DOMAINS[domain]
    return trained.out_of_domain(S_1=of["S_1"], K=of["K"]) if of else trained


def methods(domain: str) -> tuple[str, ...]:
    """The methods that are tested in a domain, in order."""
    return (*METHODS, WEAK) if domain == WIDE else METHODS


# ---- Measuring


def wrong(method: str, params: li2024.Params, problem: li2024.Problem, prompts: CodedPrompts) -> NDArray:
    """Whether a method errs (B,), for each prompt. An ICL score of 0 is an error."""
    if method == "ICL":
        return li2024.wrong(forward(params, prompts).score * prompts.labels)
    name, C = ("Logistic", 3.0) if method == WEAK else (method, 1.0)
    return baselines.predictions(name, prompts, problem.d_X, C=C) != prompts.labels


def tested(options: Options, seed: int, params: li2024.Params, domain: str, alpha: float, length: int) -> list[float]:
    """Errors of all methods, then those of ICL and of 1-NN given a match."""
    problem, (n, few) = problem_in(domain, options), sizes(options)
    draw: dict[str, Any] = {
        "seed": (seed, Li2024Part.TASKS, length, list(DOMAINS).index(domain)),
        "tasks": "unseen" if domain == IN else "all",
    }
    prompts = problem.sample(n, length=length, alpha=alpha, **draw)
    errs = {name: wrong(name, params, problem, prompts if name in CHEAP else prompts[:few]) for name in methods(domain)}
    match = np.any(prompts.relevant[:, :length] == prompts.relevant[:, length:], axis=1)
    return [*(np.mean(each) for each in errs.values()), *(np.mean(errs[name][match]) for name in ("ICL", "1-NN"))]


def measured(options: Options, seed: int, runs: Runs, alpha: float, up_to: float = np.inf) -> dict[str, NDArray]:
    """domain -> array (methods + 2, lengths)."""
    ls = [length for length in lengths(options) if length <= up_to]
    params = runs["6 tasks"].params
    return {
        domain: np.array([tested(options, seed, params, domain, alpha, length) for length in ls]).T
        for domain in DOMAINS
    }


def measure_4a(options: Options, seed: int, runs: Runs) -> Measured:
    return measured(options, seed, runs, 0.8)


def measure_4b(options: Options, seed: int, runs: Runs) -> Measured:
    easier = measured(options, seed, runs, 0.8, up_to=SHORT)
    return measured(options, seed, runs, 0.6) | {f"{domain}, alpha' = 0.8": rows for domain, rows in easier.items()}


# ---- Claims


def means(claim: str, values: NDArray, low: float = -np.inf, high: float = np.inf) -> Claim:
    """A claim about each of several means over seeds."""
    at_most = np.isinf(low)
    expected = f"at most {high:.4g}" if at_most else f"at least {low:.4g}"
    holds = np.all((values >= low) & (values <= high))
    return fact(
        f"{claim}, mean over seeds", holds, f"{np.max(values) if at_most else np.min(values):.4g}", expected, values
    )


def claims(ls: Sequence[int], alpha: float, errors: Mapping[str, NDArray]) -> list[Claim]:
    """What is claimed in and out of domain. Nothing is claimed of the wide kappa'.

    `errors` is domain -> array (seeds, methods + 2, l).
    """
    row = {name: i for i, name in enumerate(METHODS)}
    short = np.array(ls) <= SHORT
    found = []
    for domain in (IN, OUT):
        of = lambda name, domain=domain: errors[domain][:, row[name]]  # noqa: E731
        icl_missed, nn_missed = errors[domain][:, -2], errors[domain][:, -1]
        bound, given = MISSED[domain, alpha], f"given a match, any l, {domain}"
        found += [
            every(f"error of 1-NN {given}", nn_missed.max(axis=1), high=0),
            every(f"error of ICL {given}", icl_missed.max(axis=1), high=bound)
            if domain == IN
            else means(f"error of ICL {given}", icl_missed.mean(axis=0), high=bound),
            means(f"|ICL - 1-NN|, any l, {domain}", abs((of("ICL") - of("1-NN")).mean(axis=0)), high=0.03),
            means(
                f"ICL less 1.1 x the no-match probability, any l, {domain}",
                of("ICL").mean(axis=0) - 1.1 * no_match_probability(alpha, np.array(ls)),
                high=0.003,
            ),
            published(
                every(
                    f"3-NN less ICL, any l <= {SHORT}, {domain}", (of("3-NN") - of("ICL"))[:, short].min(axis=1), low=0
                ),
                "order",
            ),
        ]
    return found


# ---- Figures


def assembled(
    alpha: float, options: Options, seeds: Seeds, found: Found, reference: list[Series], notes: list[str]
) -> Figure:
    ls = lengths(options)
    errors = stacked(found)
    series = [
        spread(f"{method}, {domain}", ls, errors[domain][:, i])
        for domain in DOMAINS
        for i, method in enumerate(methods(domain))
    ]
    series.append(Series("no match", np.array(ls, float), no_match_probability(alpha, np.array(ls))))
    settings = (
        problem_of(options).settings()
        | setting(options)
        | {
            "alpha'": [alpha, "paper"],
            "S_1": [[DOMAINS[domain]["S_1"] for domain in (OUT, WIDE)], "set here"],
            "K'": [[DOMAINS[domain]["K"] for domain in (OUT, WIDE)], "set here"],
            "classical methods": ["defaults of scikit-learn", "set here"],
        }
    )
    comparisons = [
        compare(replace(ours, y=np.maximum(ours.y, HALF_STEP)), theirs)
        for ours in series
        for theirs in reference
        if ours.name.startswith(f"{theirs.name}, ")
    ]
    n, few = (size * len(seeds) for size in sizes(options))
    about = (
        f"Drawn: means over seeds. Test prompts a point, all seeds together: {n} for ICL and k-NN, {few} for the others, "
        "which take longer; 2000 in the paper [derived]. Grey band: no-match probability. Points on the lower edge: at most "
        "1e-4."
    )
    return Figure(
        titled(f"ICL against classical methods, alpha' = {alpha:g}", options),
        settings,
        seeds,
        series,
        claims(ls, alpha, errors),
        reference,
        [comparison for comparison in comparisons if comparison is not None],
        [about, *others_notes(options, "calibrated"), *notes],
    )


def factors(figure: Figure) -> str:
    """The largest factors between our curves and the published ones, in words."""
    found = {comparison.series: comparison.factor for comparison in figure.comparisons}
    rows = [
        f"{domain}: " + ", ".join(f"{method} {found[f'{method}, {domain}']:.2g}" for method in methods(domain))
        for domain in DOMAINS
    ]
    return "Largest factor between our error and the published one over all l [measured]. " + ". ".join(rows) + "."


WHY = [
    "In domain all errors but 3-NN's fall like the no-match probability, the published ones more slowly. Two causes "
    "together explain it, with the methods' defaults. Out of domain at S_1 = 1.3 a lone match is outvoted by contexts of "
    "the other label, and ICL fails given a match: this alone brings ICL within a factor of 2 at every l. With kappa' up "
    "to 1.5 a context of another pattern can be nearer than a match, and 1-NN, 3-NN and both SVMs fail given a match; ICL "
    "does not change [measured].",
    "What is left: logistic regression is worse than published by 3 to 4 at l = 8; with C = 3 it is within 3 at every l, "
    "and within 1.5 if its intercept is penalised as well. K' is sharp: 1-NN is off by 4.2 at K' = 1.4, by 3.4 at 1.6 "
    "[measured]. The paper's S_1, K' and settings of the methods are not known; S_1 = 1.3 is one of its values [paper], "
    "K' may exceed 1 [recalled].",
    "Checked, and not enough: alpha' = 0.6 or 0.7 (1-NN stays too good by 4 to 10 at l = 20), training with K = 1.5 as well "
    "(ICL as before), label noise of 0.3 to 1% (logistic regression and SVMs stay off by 9 and more), at K' = 0.5 an SVM "
    "with C = 10 (linear) or gamma = 1/30 (Gaussian): these come within 3, 1-NN does not [measured].",
]
OOD_MISSED = (
    "Out of domain ICL does fail given a match, at S_1 = 1.1 and l >= 14 on 0.1 to 0.2% of the prompts: all have only one "
    "match, and its attention (0.4 to 0.5 on average) is outvoted by contexts of the other label. The cause is training "
    "on 6 tasks. Trained on 18, the model makes no such error in 10000 prompts a point [measured]."
)


def assemble_4a(options: Options, seeds: Seeds, found: Found) -> Figure:
    figure = assembled(0.8, options, seeds, found, their_curves("fig4a"), WHY)
    return replace(figure, notes=[*figure.notes, factors(figure)])


def assemble_4b(options: Options, seeds: Seeds, found: Found) -> Figure:
    figure = assembled(0.6, options, seeds, found, [], [OOD_MISSED])
    short = np.array(lengths(options)) <= SHORT
    for domain in DOMAINS:
        harder = np.mean([one[domain] for one in found], axis=0)[: len(METHODS), short]
        easier = np.mean([one[f"{domain}, alpha' = 0.8"] for one in found], axis=0)[: len(METHODS)]
        name = f"error at alpha' = 0.6 less that at 0.8, any method, any l <= {SHORT}, {domain}"
        figure.claims.append(published(means(name, (harder - easier).ravel(), low=0), "order"))
    return figure


def draw(figure: Figure) -> style.Canvas:
    canvas, panels = style.new(columns=len(DOMAINS), width=2.45, height=3.0, sharey=True)
    no_match = figure["no match"]
    for axes, (domain, of) in zip(panels, DOMAINS.items(), strict=True):
        axes.plot(
            no_match.x, no_match.y, color="#dddddd", linewidth=5, solid_capstyle="butt", zorder=0, label="no match"
        )
        for i, method in enumerate(METHODS):
            series = figure[f"{method}, {domain}"].without_ends()
            style.curve(axes, series, i, floor=FLOOR, label=method)
        where = IN if domain == IN else f"{OUT}, $S_1$ = {of['S_1']:g}, $K'$ = {of['K']:g}"
        axes.set(xlabel="contexts $l$", yscale="log", ylim=(FLOOR / 1.25, 0.5), title=where, xticks=no_match.x)
    for series in figure.reference:
        style.theirs(
            panels[-1],
            series,
            METHODS.index(series.name),
            label="published, same markers" if series.name == "ICL" else "_",
        )
    panels[0].set(ylabel="error")
    ticks = [10.0**k for k in range(-4, 0)]
    panels[0].set_yticks(ticks, [r"$\leq 10^{-4}$", *(f"$10^{{{k}}}$" for k in range(-3, 0))])
    canvas.suptitle(f"{figure.name[-2:].upper()}  {figure.title}", fontsize=8.5)
    style.legend_below(canvas, panels[-1], columnspacing=1.2)
    return canvas


RECIPES = [
    one_layer("fig4a", "ICL and classical methods, alpha' = 0.8", six_tasks, measure_4a, assemble_4a, draw),
    one_layer("fig4b", "ICL and classical methods, alpha' = 0.6", six_tasks, measure_4b, assemble_4b, draw),
]
