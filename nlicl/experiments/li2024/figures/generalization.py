"""Figure 3 of Li et al. 2024, done for the one-layer model: errors in and out of domain against the test length.

The paper's Figure 3 is a 3-layer GPT-2's; its curves are drawn as a reference, and are another model's. A prompt in which no
context carries the query's pattern cannot be answered by copying labels: the share of such prompts, (1 - alpha'/2)^l, is
most of the 0-1 error at short lengths, and is drawn beside it.

| name      | what                                                                      |
|-----------|---------------------------------------------------------------------------|
| l, alpha' | contexts in a test prompt, share of them with one of the task's patterns  |
| S_1       | sum of the coefficients of an ODR pattern in the IDR basis                |
| match     | a context with the query's pattern                                        |
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....core.seeds import Li2024Part
from ....models.front import forward
from ....models.transformer.prompts import CodedPrompts, Prompts
from ....papers import li2024
from ....papers.li2024 import mechanism
from ....papers.li2024.theory import no_match_probability
from ... import style
from ...claims import Claim, every, fact, published
from ...experiment import Found, Measured, Options, Runs, Seeds, Training
from ...figure import Figure
from ...series import Series, compare, spread
from ...summary import stacked
from .published import published as their_curves
from .starts import ANY, one_layer, others_notes, problem_of, setting, titled

__all__ = [
    "ALPHAS",
    "DOMAINS",
    "OOD",
    "PROBLEM",
    "PUBLISHED",
    "RECIPES",
    "half_an_error",
    "named",
    "no_match",
    "tested",
    "trained",
]

PROBLEM = li2024.sibling
PUBLISHED = (0.5, 0.7, 0.9, 1.1, 1.3)  # S_1 of Figure 3a [paper]
S_1 = (-1.0, -0.5, 0.0, 0.3, 0.5, 0.7, 0.9, 1.0, 1.1, 1.3)
CURVES = (-0.5, 0.0, *PUBLISHED)  # those measured at every length
LONG = 40
ALPHAS = (1.0, 0.9, 0.8)  # alpha' of Figure 3b [paper]
OOD = 1.2  # S_1 of 3b, ours
DOMAINS = ("in-domain", "out-of-domain")
# What is expected of each start [measured, 20 seeds]: of hinge at l = 40 by S_1, of perfect attention at S_1 = -0.5, of the
# vote, of the 0-1 error beyond 1.1 times no match, and of prompts with a match and yet an error, in domain and out of domain.
LEVELS = {
    "sibling": {"-0.5": 0.4, "0": 0.15, "to 1.1": 0.01, "1.3": 0.02, "perfect": 0.3, "vote": 0.995,
                "excess": 0.005, "in": 0.002, "out": 0.01},
    "calibrated": {"-0.5": 0.2, "0": 0.05, "to 1.1": 0.01, "1.3": 0.02, "perfect": 0.15, "vote": 0.99,
                   "excess": 0.005, "in": 0.002, "out": 0.012},
    "stated": {"-0.5": 0.35, "0": 0.09, "to 1.1": 0.03, "1.3": 0.03, "perfect": 0.25, "vote": 0.98,
               "excess": 0.015, "in": 0.002, "out": 0.015},
}  # fmt: skip
ANOTHER = (
    "Grey: the paper's curves [digitised], of a 3-layer GPT-2 [paper]. Ours: the one-layer model of its theory, {} steps of "
    "SGD on 6 tasks. Bands: lowest and highest seed, for hinge. Where a 0-1 error has no point, no test prompt failed."
)
WHY = (
    "The published errors stay up at long l; ours do not. As far as we checked, the cause is another model, trained in an "
    "unknown way. In fig3a and fig3b a GPT-2 of these sizes has errors between none and the published ones at l = 20, by "
    "its seed and by settings that the paper leaves open [measured]. kappa' is not the cause: at K' = 3 the one-layer "
    "model fails on at most 0.001 at l = 20 [measured]."
)


def trained(options: Options) -> dict[str, Training]:
    return {"trained": Training(problem_of(options))}


class Tested(NamedTuple):
    """What one set of test prompts shows: means over its prompts."""

    hinge: float
    error: float  # Pr[sign F != z], by `li2024.wrong`: F = 0 is an error
    no_match: float  # share of prompts without a match
    matched_error: float  # share of prompts with a match and an error
    vote: float  # share of prompts whose sign F is that of sum_i attn_i f(x_i)


def tested(params: li2024.Params, prompts: CodedPrompts) -> Tested:
    """One forward pass over `prompts`."""
    out = forward(params, prompts)
    margin = prompts.labels * out.score
    wrong = li2024.wrong(margin)
    contexts = slice(prompts.length)
    match = np.any(prompts.relevant[:, contexts] == prompts.relevant[:, -1:], axis=1)
    vote = np.sum(out.attention[:, contexts] * prompts.sign[:, contexts], axis=1)
    hinge = np.maximum(0, 1 - margin)
    return Tested(*(float(np.mean(x)) for x in (hinge, wrong, ~match, wrong & match, vote * out.score > 0)))


def _table(rows: list) -> dict[str, NDArray]:
    """Nested lists of `Tested` as one array for each field, by its name."""
    values = np.array(rows, float)
    return {name: values[..., i] for i, name in enumerate(Tested._fields)}


def _size(options: Options) -> int:
    return 1000 if options["quick"] else 2000  # 2000 is the paper's test size [derived]


def perfect_attention(params: li2024.Params, problem: li2024.Problem) -> float:
    """Hinge loss if all attention were on matches, and these had no irrelevant part: F of (mu_j; +-q) alone."""
    tokens = np.zeros((2 * problem.M1, 2, problem.d))
    tokens[:, :, : problem.d_X] = np.repeat(problem.mu, 2, axis=0)[:, None]
    z = np.tile([1.0, -1.0], problem.M1)
    tokens[:, 0, problem.d_X :] = z[:, None] * problem.q
    return float(np.mean(np.maximum(0, 1 - z * forward(params, Prompts(tokens, z)).score)))


def match_weight(params: li2024.Params, problem: li2024.Problem) -> float:
    """exp of a match's logit less another pattern's, at kappa = 0: how many other contexts weigh as much as one match."""
    logits = problem.beta**2 * mechanism.pattern_block(params.W_K.T @ params.W_Q, problem.mu)
    others = logits[~np.eye(problem.M1, dtype=bool)]
    return float(np.exp(np.mean(np.diag(logits)) - np.mean(others)))


# ---- 3a


def lengths_3a(options: Options) -> tuple[int, ...]:
    return (4, 8, 12, 20, LONG) if options["quick"] else (*range(4, 21, 2), 30, LONG)


def measure_3a(options: Options, seed: int, runs: Runs) -> Measured:
    params, base = runs["trained"].params, problem_of(options)

    def test(S: float, length: int, alpha: float) -> Tested:  # the same draws for every S_1 and alpha'
        problem = base.out_of_domain(S_1=S)
        return tested(params, problem.sample(_size(options), length, alpha, seed=(seed, Li2024Part.LENGTHS, length)))

    curves = _table([[test(S, length, 1.0) for length in lengths_3a(options)] for S in CURVES])
    long = _table([[test(S, LONG, alpha) for S in S_1] for alpha in (1.0, 0.8)])
    problems = [base.out_of_domain(S_1=S) for S in S_1]
    return curves | {f"long {name}": values for name, values in long.items()} | {
        "perfect": np.array([perfect_attention(params, problem) for problem in problems]),
        "weight": np.array([match_weight(params, problem) for problem in problems]),
    }  # fmt: skip


def assemble_3a(options: Options, seeds: Seeds, found: Found) -> Figure:
    x = np.array(lengths_3a(options))
    # arrays (seeds, S_1, l); those called long (seeds, alpha', S_1); perfect and weight (seeds, S_1)
    values = stacked(found)
    long = lambda S: values["long hinge"][:, :, S_1.index(S)].ravel()  # noqa: E731
    curve = lambda S: values["error"][:, CURVES.index(S)].mean(axis=0)  # noqa: E731
    worse = (curve(0.5) - curve(1.1)).max()
    at, levels = f"hinge at l = {LONG}, alpha' = 0.8 and 1", LEVELS[options["start"]]
    claims = [
        every(f"{at}, S_1 = -0.5", long(-0.5), low=levels["-0.5"]),
        every(f"{at}, S_1 = 0", long(0.0), low=levels["0"]),
        every(
            f"{at}, S_1 = 0.7 to 1.1", np.concatenate([long(S) for S in (0.7, 0.9, 1.0, 1.1)]), high=levels["to 1.1"]
        ),
        every(f"{at}, S_1 = 1.3", long(1.3), high=levels["1.3"]),
    ]
    perfect = lambda S: values["perfect"][:, S_1.index(S)]  # noqa: E731
    claims += [
        every("hinge if all attention were on matches, S_1 = 1 to 1.3",
              [*perfect(1.0), *perfect(1.1), *perfect(1.3)], high=0.001),
        every("hinge if all attention were on matches, S_1 = -0.5", perfect(-0.5), low=levels["perfect"]),
        fact("0-1 error is no larger at S_1 = 0.5 than at 1.1 (in the paper's GPT-2 it is): difference at any l",
             worse <= 0.002, f"largest {worse:.4g}", "at most 0.002, means over seeds", curve(0.5) - curve(1.1)),
        every("sign F is the vote of the contexts' labels weighed by attention: share of prompts, any S_1 and l",
              values["vote"].reshape(len(seeds), -1).min(axis=1), low=levels["vote"]),
    ]  # fmt: skip
    reference = their_curves("fig3a")
    series = [
        spread(f"{kind}, S_1={S:g}", x, values[key][:, i])
        for key, kind in (("error", "0-1 error"), ("hinge", "hinge"))
        for i, S in enumerate(CURVES)
    ]
    series += [
        spread(f"hinge at l={LONG} against S_1, alpha'=1", S_1, values["long hinge"][:, 0]),
        spread(f"hinge at l={LONG} against S_1, alpha'=0.8", S_1, values["long hinge"][:, 1]),
        spread("hinge with all attention on matches, against S_1", S_1, values["perfect"]),
        spread("weight of a match against S_1", S_1, values["weight"]),
        Series("no match", x.astype(float), no_match_probability(1.0, x)),
    ]  # fmt: skip
    settings = (
        problem_of(options).settings()
        | setting(options)
        | {
            "S_1": [list(S_1), "paper: 0.5 to 1.3 in steps of 0.2; others set here"],
            "alpha'": [[1.0, 0.8], "derived: near 1, by the published errors at l = 6; 0.8 at l = 40, as in training"],
            "test prompts": [_size(options), "derived" if _size(options) == 2000 else "set here"],
        }
    )
    weight = dict(zip(S_1, values["weight"].mean(axis=0).round(1), strict=True))
    return Figure(
        titled("Out of domain, one-layer analogue (the paper's is GPT-2)", options),
        settings,
        seeds,
        series,
        claims,
        reference,
        [c for s in series for r in reference if s.name == f"0-1 error, {r.name}" and (c := compare(s, r))],
        [
            *others_notes(options, "sibling"),
            ANOTHER.format(problem_of(options).steps),
            "Up to l = 8 our 0-1 error is the no-match probability at every S_1 [measured]: 0.0625, 0.0156, 0.0039 at l = "
            "4, 6, 8. The published errors are 0.8 to 1.3 times that at l = 4 and 0.9 to 2.4 times at l = 6 [digitised].",
            WHY,
            "Theorem 3.4's condition S_1 >= 1 shows in hinge, not in the 0-1 error, and is sufficient, not necessary. Below 1 "
            "the MLP loses the feature part of its input: with perfect attention (all of it on matches, kappa = 0) the hinge "
            "rises in the same way [measured].",
            "Above 1 attention spreads [measured]. sign F is a vote, in which a match weighs "
            f"{weight[0.5]}, {weight[0.9]}, {weight[1.1]}, {weight[1.3]} other contexts at S_1 = 0.5, 0.9, 1.1, 1.3: a "
            "single match is outvoted by 9 others if it weighs less than they do. This causes the rise at l = 10. It comes "
            "with these pairs: each ODR pattern joins two patterns of one training task, which training drives apart. With "
            "the opposite pairs (1,4), (2,5), (3,6) no matched prompt fails at S_1 = 1.3, and 0.03 of them do at S_1 = "
            "0.5, l = 6 (3 seeds, 10000 prompts) [measured].",
        ],
    )


def draw_3a(figure: Figure) -> style.Canvas:
    canvas, (left, middle, right) = style.new(columns=3, width=2.4, height=2.9)
    for i, S in enumerate(PUBLISHED):
        style.curve(left, figure[f"0-1 error, S_1={S:g}"].above_zero(), i, label=f"$S_1 = {S:g}$")
    for i, S in enumerate((*PUBLISHED, 0.0)):
        style.curve(middle, figure[f"hinge, S_1={S:g}"], i, label=f"$S_1 = {S:g}$", floor=1e-5)
    for i, S in enumerate(PUBLISHED):
        style.theirs(left, named(figure.reference, f"S_1={S:g}"), i, label="_" if i else "paper: GPT-2")
    no_match(left, figure["no match"])
    left.set(xlim=(3, 21), ylim=(half_an_error(figure), 0.2), title=r"0-1 error, $\alpha' = 1$")
    middle.set(ylim=(1e-5, 2), title=r"hinge loss, $\alpha' = 1$")
    for axes, ticks in ((left, range(4, 21, 4)), (middle, range(0, 41, 10))):
        axes.set(xlabel="test length $l$", yscale="log", xticks=ticks)
    for i, alpha in enumerate(("1", "0.8")):
        series = figure[f"hinge at l={LONG} against S_1, alpha'={alpha}"]
        style.curve(right, series, i, label=rf"$\alpha' = {alpha}$", floor=1e-5)
    ideal = figure["hinge with all attention on matches, against S_1"]
    right.plot(ideal.x, np.maximum(ideal.y, 1e-9), color="#555555", linestyle=":", label="perfect attention")
    right.axvline(1, color="#999999", linewidth=0.8, zorder=0)
    right.text(0.96, 1.1, r"Theorem 3.4: $S_1 \geq 1$", ha="right", va="center", fontsize=6, color="#555555")
    right.set(xlabel="$S_1$", yscale="log", ylim=(1e-5, 2), title=f"hinge loss at $l = {LONG}$")
    style.legend(right, loc=(0.02, 0.2))
    style.legend_below(canvas, middle, left, columns=4)
    canvas.suptitle(f"3A  {figure.title}", x=0.01, ha="left", fontsize=8.5)
    return canvas


def named(curves: Iterable[Series], name: str) -> Series:
    return next(series for series in curves if series.name == name)


def half_an_error(figure: Figure) -> float:
    """The lower end of a log axis of 0-1 errors: half of one error in all test prompts."""
    return 0.5 / (len(figure.seeds) * figure.settings["test prompts"][0])


def no_match(axes: style.Axes, series: Series) -> None:
    axes.plot(series.x, series.y, color="#555555", linewidth=0.7, label="no match", zorder=2)


# ---- 3b


def lengths_3b(options: Options) -> tuple[int, ...]:
    return (2, 4, 8, 12, 20) if options["quick"] else tuple(range(2, 21, 2))


def measure_3b(options: Options, seed: int, runs: Runs) -> Measured:
    params, base = runs["trained"].params, problem_of(options)
    problems = ((base, "unseen"), (base.out_of_domain(S_1=OOD), "all"))

    def test(
        problem: li2024.Problem, tasks: str, alpha: float, length: int
    ) -> Tested:  # the same draws for every alpha'
        return tested(
            params, problem.sample(_size(options), length, alpha, seed=(seed, Li2024Part.TASKS, length), tasks=tasks)
        )

    return _table([
        [[test(problem, tasks, alpha, length) for length in lengths_3b(options)] for alpha in ALPHAS]
        for problem, tasks in problems
    ])  # fmt: skip


def assemble_3b(options: Options, seeds: Seeds, found: Found) -> Figure:
    x = np.array(lengths_3b(options))
    values = stacked(found)  # (seeds, domain, alpha', l)
    error, hinge = values["error"].mean(axis=0), values["hinge"].mean(axis=0)
    short, levels = x <= 8, LEVELS[options["start"]]
    excess = values["error"] - 1.1 * values["no_match"]
    mean_excess = excess.mean(axis=0)
    worst = float(mean_excess.max())
    matched = values["matched_error"].max(axis=(2, 3))  # (seeds, domain)
    claims = [
        every("0-1 error less 1.1 times the share of prompts without a match, l up to 8, any alpha' and domain",
              excess[..., short].max(axis=(1, 2, 3)), high=levels["excess"]),
        fact("the same at any l drawn, mean over seeds", worst <= 0.005, f"largest {worst:.4g}", "at most 0.005", mean_excess),
        every("in-domain prompts with a match and yet an error: share, any l and alpha'", matched[:, 0], high=levels["in"]),
        every("out-of-domain prompts with a match and yet an error: share, any l and alpha'", matched[:, 1],
              high=levels["out"]),
        published(_falls("0-1 error falls with l, l = 2 to 8", error[..., short]), "order"),
        _falls("hinge falls with l, l = 2 to 20", hinge),
        published(
            _falls("0-1 error falls as alpha' grows, l = 2 to 8", np.moveaxis(error[:, ::-1, short], 1, -1)), "order"
        ),
        _falls("hinge falls as alpha' grows, l = 2 to 20", np.moveaxis(hinge[:, ::-1], 1, -1)),
    ]  # fmt: skip
    reference = their_curves("fig3b")
    series = [
        spread(f"{prefix}alpha'={alpha:.1f} {domain}", x, values[key][:, d, a])
        for key, prefix in (("error", ""), ("hinge", "hinge, "))
        for d, domain in enumerate(DOMAINS)
        for a, alpha in enumerate(ALPHAS)
    ]
    series += [
        Series(f"no match, alpha'={alpha:.1f}", x.astype(float), no_match_probability(alpha, x)) for alpha in ALPHAS
    ]
    settings = (
        problem_of(options).settings()
        | setting(options)
        | {
            "alpha'": [list(ALPHAS), "paper"],
            "S_1": [OOD, "set here"],
            "test prompts": [_size(options), "derived" if _size(options) == 2000 else "set here"],
        }
    )
    return Figure(
        titled("Error against length, one-layer analogue (the paper's is GPT-2)", options),
        settings,
        seeds,
        series,
        claims,
        reference,
        [c for s in series for r in reference if s.name == r.name and (c := compare(s, r))],
        [
            *others_notes(options, "sibling"),
            ANOTHER.format(problem_of(options).steps),
            "At l = 2 and 4 the published errors are within a factor of 2 of ours [digitised]. Most of both is the share "
            "of prompts without a match, (1 - alpha'/2)^l [derived]. Ours fails on 0.83 to 1 of those [measured]. The "
            "paper's point at l = 0 is a coin's 0.5.",
            WHY,
            "Out of domain the 0-1 error need not fall with l beyond 8: one match among 11 or 12 contexts is outvoted by the "
            "others (see fig3a-one-layer). Between the lengths drawn the excess over 1.1 times no match comes to 0.005, at "
            "l = 11, alpha' = 1 (10 seeds, 10000 prompts); at S_1 = 1 it stays below 0.001 [measured].",
        ],
    )


def _falls(claim: str, means: NDArray) -> Claim:
    """A claim about means over seeds: along the last axis, each is below the one before it."""
    with np.errstate(divide="ignore", invalid="ignore"):  # no error at all twice running is no fall
        ratios = means[..., 1:] / means[..., :-1]
    worst = float(ratios.max())
    expected = "each below 1 times the one before, means over seeds"
    return fact(claim, worst < 1, f"at most {worst:.3g} times the one before", expected, ratios)


def draw_3b(figure: Figure) -> style.Canvas:
    canvas, (left, middle, right) = style.new(columns=3, width=2.4, height=2.9)
    for axes, domain in ((left, DOMAINS[0]), (middle, DOMAINS[1])):
        for i, alpha in enumerate(ALPHAS):
            name = f"alpha'={alpha:.1f} {domain}"
            style.curve(axes, figure[name].above_zero(), i, label=rf"$\alpha' = {alpha:g}$")
        for i, alpha in enumerate(ALPHAS):
            theirs = named(figure.reference, f"alpha'={alpha:.1f} {domain}")
            style.theirs(axes, theirs, i, label="_" if i else "paper: GPT-2")
            no_match(axes, figure[f"no match, alpha'={alpha:.1f}"])
        axes.set(ylim=(half_an_error(figure), 1), title=f"0-1 error, {domain}")
    for k, domain in enumerate(DOMAINS):
        for i, alpha in enumerate(ALPHAS):
            series = figure[f"hinge, alpha'={alpha:.1f} {domain}"]
            style.curve(right, series, i, label=f"_{domain}")
            if k == 0:
                right.lines[-1].set(markerfacecolor="white")
    right.set(ylim=(1e-4, 2), title="hinge loss (hollow: in-domain)")
    for axes in (left, middle, right):
        axes.set(xlabel="test length $l$", yscale="log", xticks=range(0, 21, 4))
    style.legend_below(canvas, left)
    canvas.suptitle(f"3B  {figure.title}", x=0.01, ha="left", fontsize=8.5)
    return canvas


RECIPES = [
    one_layer("fig3a-one-layer", "errors by S_1 and length, one layer", trained, measure_3a, assemble_3a, draw_3a, ANY),
    one_layer("fig3b-one-layer", "errors by alpha' and length, one layer", trained, measure_3b, assemble_3b, draw_3b, ANY),
]  # fmt: skip
