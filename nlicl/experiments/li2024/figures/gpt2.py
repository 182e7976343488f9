"""Figure 3 of Li et al. 2024: errors of GPT-2, 3 layers and 2 heads, against the test length, beside the one-layer model's.

3a: out of domain, by S_1. 3b: by alpha', in domain (unseen tasks) and out of domain. The paper does not say how its GPT-2 is
fed and trained: `OURS` says what is ours, and `CHANGED` what changing it does.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.seeds import Li2024Part
from ....models.front import forward
from ....models.gpt2.prompts import Params
from ....models.transformer.prompts import CodedPrompts
from ....papers import li2024
from ....papers.li2024.theory import no_match_probability
from ... import style
from ...claims import Claim, every, fact, if_promised, published
from ...experiment import Found, Measured, Options, Runs, Seeds, Training
from ...figure import Figure, Recipe
from ...series import Comparison, Series, compare, spread
from ...summary import stacked
from . import generalization as one_layer
from .originals import ORIGINALS
from .published import published as their_curves

__all__ = ["OPTIONS", "OURS", "RECIPES", "S_1_OOD", "problem_of", "settings_of", "trained", "undetermined"]

USUAL = li2024.GPT2(shortest=1, steps=2000)
QUICK = {"steps": 300, "batch": 128}
OPTIONS: dict[str, Any] = {
    "layout": USUAL.layout,
    "read": USUAL.read,
    "causal": USUAL.causal,
    "learned_positions": USUAL.learned_positions,
    "loss": USUAL.loss,
    "shortest": USUAL.shortest,
    "shifts": 1,  # training tasks: the cyclic ones of so many shifts
    "learning_rate": USUAL.learning_rate,
    "batch": None,
    "steps": None,
}
S_1 = one_layer.PUBLISHED
S_1_OOD = one_layer.OOD
ALPHAS, DOMAINS = one_layer.ALPHAS, one_layer.DOMAINS
LINE = 0.01  # the dashed line of Figure 3a [paper]


def problem_of(options: Options) -> li2024.GPT2:
    """What is trained, by a recipe's options."""
    fields = {name: options[name] for name in OPTIONS if name != "shifts" and options[name] is not None}
    fields["shortest"] = options["shortest"]
    quick = QUICK if options["quick"] else {}
    tasks = li2024.cyclic_tasks(USUAL.M1, shifts=options["shifts"])
    return replace(USUAL, training_tasks=tasks, **(quick | fields))


def undetermined(claims: Sequence[Claim], options: Options) -> list[Claim]:
    """The claims; those that do not hold are undetermined where the options are others than those they were made for."""
    usual = all(options[name] == value for name, value in OPTIONS.items())
    return [if_promised(claim, usual) for claim in claims]


def trained(options: Options) -> dict[str, Training]:
    problem = problem_of(options)
    return {"gpt2": Training(problem, measure=problem.steps // 25 or 1, dtype="float32")}


def with_one_layer(options: Options) -> dict[str, Training]:
    return trained(options) | {"sibling": Training(one_layer.PROBLEM)}


def settings_of(options: Options) -> dict[str, Any]:
    """The settings that a figure lists."""
    return problem_of(options).settings() | {"optimizer": ["Adam", "set here"], "dtype": ["float32", "set here"]}


def error(params: Params, problem: li2024.GPT2, codes: CodedPrompts, length: int) -> float:
    """0-1 error of the predictions at the query, from so many contexts: Pr[sign F != z], where F = 0 is an error."""
    prompts = problem.prompts_of(codes, length).cast(params.W_in.dtype)
    score = forward(params, prompts).score[:, -1]
    return float(np.mean(li2024.wrong(prompts.labels[:, -1] * score)))


def _size(options: Options) -> int:
    return 1000 if options["quick"] else 2000  # 2000 is the paper's test size [derived]


OURS = (
    "GPT-2, 3 layers, 2 heads and the values of S_1 and alpha' are the paper's [paper]; l = 20 and alpha = 0.8 in "
    "training, and the framework of Garg et al. 2022 [quoted]. Ours: width 64 (that of the configuration with 3 layers and 2 "
    "heads in the code of Garg et al. [source]), tokens (x; y) with y = 0 for the query, a causal mask, learned positions, "
    "read at the query alone, hinge loss, Adam at rate 1e-3, batches of fresh prompts, each batch with a number of "
    "contexts from 1 to 20."
)
CHANGED = (
    "What other settings do, one of them changed, seed 1 alone [measured]. Errors at l = 20: in-domain at alpha' = 1 and "
    "0.8; out of domain, alpha' = 1, at S_1 = 0.5, 0.9 and 1.3. As here: 0.039, 0.080; 0.006, 0.017, 0.093. No positions: "
    "0, 0.001; 0, 0, 0.003. No mask: 0, 0.009; 0, 0, 0.002. Logistic loss: 0, 0.001; 0, 0, 0.084. Rate 1e-4: 0.001, "
    "0.001; 0, 0, 0.001. Batches of 64: 0.055, 0.111; 0.117, 0.067, 0.140. Always 20 contexts: 0.012, 0.026; 0.003, "
    "0.010, 0.020, and at l = 4 0.16 to 0.24 out of domain. x and y as tokens of their own: 0.201, 0.167; 0.079, 0.105, "
    "0.119. The same, always 20 contexts, read at every x, 1000 batches: 0.133, 0.123; 0.084, 0.033, 0.030. 18 training "
    "tasks, 1000 batches: none at l = 20."
)
NEAREST = (
    "The setting of Garg et al., x and y as tokens of their own, always 20 contexts in training, read at every x (1000 "
    "batches of 256), comes nearest to the published order. Errors at l = 20, alpha' = 1, for S_1 = 0.5, 0.9, 1.1, 1.3: "
    "0.040, 0.014, 0.009, 0.012 with seed 0; 0.084, 0.033, 0.024, 0.030 with seed 1; 0.111, 0.114, 0.115, 0.078 with seed "
    "2. In each the error at S_1 = 0.5 rises from l = 8 to 20, as the published one does (0.038 to 0.046 [digitised]) "
    "[measured]."
)
FOUND_3A = (
    "Over seeds 0 to 9 the mean falls from S_1 = 0.5 to 1.1, as in the paper's figure, and is about as high or higher; at "
    "1.3 it rises again, where the paper's is lowest. That order is not a seed's: a settled seed has no error at any S_1 "
    "from l = 12 on, and in the others the order differs, though no prompt of a training task fails. Which of them the "
    "published runs are is not known [measured]."
)
FOUND_3B = (
    "In-domain: unseen tasks. Where a seed is unsettled (see fig3a) its error stays up at long l, as the published errors "
    "do; the means over seeds 0 to 9 come within a factor of about 5 of these. At l = 2 GPT-2 is better in-domain than a "
    "model that copies labels can be: it has learned that the two patterns of a task have opposite labels [measured]."
)


# ---- 3a


def lengths_3a(options: Options) -> tuple[int, ...]:
    return (4, 8, 12, 20) if options["quick"] else tuple(range(4, 21, 2))


def measure_3a(options: Options, seed: int, runs: Runs) -> Measured:
    problem, params, sibling = problem_of(options), runs["gpt2"].params, runs["sibling"].params
    found: dict[str, list] = {"gpt2": [], "one layer": []}
    for S in S_1:  # the same draws for every S_1 and for both models
        ours, analogue = problem.out_of_domain(S_1=S), one_layer.PROBLEM.out_of_domain(S_1=S)
        seeds = [(length, (seed, Li2024Part.LENGTHS, length)) for length in lengths_3a(options)]
        found["gpt2"].append([error(params, ours, ours.codes(_size(options), l, 1.0, seed=s), l) for l, s in seeds])
        found["one layer"].append(
            [one_layer.tested(sibling, analogue.sample(_size(options), l, 1.0, seed=s)).error for l, s in seeds]
        )
    return {name: np.array(rows) for name, rows in found.items()}


def assemble_3a(options: Options, seeds: Seeds, found: Found) -> Figure:
    x = np.array(lengths_3a(options))
    values = stacked(found)  # gpt2 and one layer: (seeds, S_1, l)
    gpt2 = values["gpt2"]
    series = [
        spread(f"{name}, S_1={S:g}", x, values[key][:, i])
        for key, name in (("gpt2", "GPT-2"), ("one layer", "one layer"))
        for i, S in enumerate(S_1)
    ]
    series.append(Series("no match", x.astype(float), no_match_probability(1.0, x)))
    reference = their_curves("fig3a")
    return Figure(
        "Error of GPT-2 out of domain, by the sum S_1 of coefficients",
        settings_of(options) | {
            "S_1": [list(S_1), "paper"],
            "alpha'": [1.0, "derived"],
            "test prompts": [_size(options), "derived" if _size(options) == 2000 else "set here"],
        },
        seeds,
        series,
        _claims_3a(options, x, gpt2),
        reference,
        _compared(series, reference),
        [OURS, _found_3a(seeds, gpt2), FOUND_3A, CHANGED, NEAREST],
    )  # fmt: skip


def _compared(series: Sequence[Series], reference: Sequence[Series]) -> list[Comparison]:
    """GPT-2's curves against those of the paper."""
    return [c for s in series for r in reference if s.name == f"GPT-2, {r.name}" and (c := compare(s, r))]


def draw_3a(figure: Figure) -> style.Canvas:
    canvas, panels = style.new(columns=2, width=3.2, height=2.9)
    for axes, name in zip(panels, ("GPT-2", "one layer"), strict=True):
        for i, S in enumerate(S_1):
            style.curve(axes, figure[f"{name}, S_1={S:g}"].above_zero(), i, label=f"$S_1 = {S:g}$")
        if name == "GPT-2":
            for i, S in enumerate(S_1):
                theirs = one_layer.named(figure.reference, f"S_1={S:g}")
                style.theirs(axes, theirs, i, label="_" if i else "paper: GPT-2")
        one_layer.no_match(axes, figure["no match"])
        axes.axhline(LINE, color="#999999", linestyle="--", linewidth=0.8, zorder=0)
        axes.set(xlabel="test length $l$", yscale="log", xlim=(3, 21), xticks=range(4, 21, 4), title=TITLES[name])
        axes.set(ylim=(one_layer.half_an_error(figure), 0.3))
    panels[0].set(ylabel=r"0-1 error, $\alpha' = 1$")
    style.legend_below(canvas, panels[0], columns=4)
    canvas.suptitle(f"3A  {figure.title}", x=0.01, ha="left", fontsize=8.5)
    return canvas


TITLES = {"GPT-2": "GPT-2, 3 layers and 2 heads", "one layer": "the one-layer model"}


# ---- 3b


def lengths_3b(options: Options) -> tuple[int, ...]:
    return (0, 2, 4, 8, 20) if options["quick"] else tuple(range(0, 21, 2))


def measure_3b(options: Options, seed: int, runs: Runs) -> Measured:
    params = {"gpt2": runs["gpt2"].params, "one layer": runs["sibling"].params}
    problem = problem_of(options)
    domains = {
        "gpt2": ((problem, "unseen"), (problem.out_of_domain(S_1=S_1_OOD), "all")),
        "one layer": ((one_layer.PROBLEM, "unseen"), (one_layer.PROBLEM.out_of_domain(S_1=S_1_OOD), "all")),
    }
    found: dict[str, Any] = {}
    for model, problems in domains.items():
        rows = [
            [[_tested(params[model], tested, length, alpha, (seed, Li2024Part.TASKS, length), tasks, _size(options))
              for length in lengths_3b(options)] for alpha in ALPHAS]
            for tested, tasks in problems
        ]  # fmt: skip
        found[model] = np.array(rows)
    return found


def _tested(params: Any, problem: Any, length: int, alpha: float, seed: tuple, tasks: str, size: int) -> float:
    """0-1 error of either model; nan for the one-layer model without contexts, which has nothing to attend to."""
    if isinstance(problem, li2024.GPT2):
        return error(params, problem, problem.codes(size, max(length, 1), alpha, seed=seed, tasks=tasks), length)
    if length == 0:
        return np.nan
    return one_layer.tested(params, problem.sample(size, length, alpha, seed=seed, tasks=tasks)).error


def assemble_3b(options: Options, seeds: Seeds, found: Found) -> Figure:
    x = np.array(lengths_3b(options))
    values = stacked(found)  # gpt2 and one layer: (seeds, domain, alpha', l)
    prefixes = {"gpt2": "", "one layer": "one layer, "}
    series = [
        spread(f"{prefix}alpha'={alpha:.1f} {domain}", x[keep], values[model][:, d, a][:, keep])
        for model, prefix in prefixes.items()
        for d, domain in enumerate(DOMAINS)
        for a, alpha in enumerate(ALPHAS)
        for keep in [x > 0 if model == "one layer" else x >= 0]
    ]
    series += [Series(f"no match, alpha'={a:.1f}", x.astype(float), no_match_probability(a, x)) for a in ALPHAS]
    reference = their_curves("fig3b")
    return Figure(
        "Error of GPT-2 against length, by alpha'",
        settings_of(options) | {
            "alpha'": [list(ALPHAS), "paper"],
            "S_1": [S_1_OOD, "set here"],
            "test prompts": [_size(options), "derived" if _size(options) == 2000 else "set here"],
        },
        seeds,
        series,
        _claims_3b(options, x, values["gpt2"]),
        reference,
        [c for s in series for r in reference if s.name == r.name and (c := compare(s, r))],
        [OURS, FOUND_3B, CHANGED],
    )  # fmt: skip


def draw_3b(figure: Figure) -> style.Canvas:
    canvas, panels = style.new(columns=3, width=2.4, height=2.9)
    shown = [(DOMAINS[0], ""), (DOMAINS[1], ""), (DOMAINS[1], "one layer, ")]
    for axes, (domain, prefix) in zip(panels, shown, strict=True):
        for i, alpha in enumerate(ALPHAS):
            name = f"alpha'={alpha:.1f} {domain}"
            style.curve(axes, figure[prefix + name].above_zero(), i, label=rf"$\alpha' = {alpha:g}$")
            if not prefix:
                theirs = one_layer.named(figure.reference, name)
                style.theirs(axes, theirs, i, label="_" if i else "paper: GPT-2")
            one_layer.no_match(axes, figure[f"no match, alpha'={alpha:.1f}"])
        axes.set(xlabel="test length $l$", yscale="log", xlim=(-1, 21), xticks=range(0, 21, 4))
        axes.set(ylim=(one_layer.half_an_error(figure), 1), title=f"{'one layer' if prefix else 'GPT-2'}, {domain}")
    panels[0].set(ylabel="0-1 error")
    style.legend_below(canvas, *panels)
    canvas.suptitle(f"3B  {figure.title}", x=0.01, ha="left", fontsize=8.5)
    return canvas


def _claims_3a(options: Options, x: NDArray, gpt2: NDArray) -> list[Claim]:
    """Claims about errors (seeds, S_1, l)."""
    excess = np.median(gpt2, axis=0)[:4] - 1.1 * no_match_probability(1.0, x)
    reached = (gpt2.min(axis=2) <= LINE).mean(axis=0)  # (S_1,): the share of seeds
    shares = ", ".join(f"{share:.2g} at S_1 = {S:g}" for S, share in zip(S_1, reached, strict=True))
    most, least = 0.2 if options["quick"] else 0.02, 0.3
    return [
        fact("error less 1.1 times the no-match probability, S_1 = 0.5 to 1.1, any l, median over seeds",
             bool(excess.max() <= most), f"at most {excess.max():.3g}", f"at most {most:g}", excess),
        fact(f"S_1 >= 1 is not needed: share of seeds whose error comes down to {LINE:g} at some l, S_1 = 0.5 to 0.9 (in the "
             "paper's figure 0.9 alone does)", bool(reached[:3].min() >= least), shares, f"at least {least:g} at each",
             reached),
    ]  # fmt: skip


def _found_3a(seeds: Seeds, gpt2: NDArray) -> str:
    """How the seeds differ, from errors (seeds, S_1, l)."""
    last = gpt2[:, :, -1]
    means = ", ".join(f"{mean:.3g} at S_1 = {S:g}" for S, mean in zip(S_1, last.mean(axis=0), strict=True))
    settled = int((last[:, :-1].max(axis=1) <= LINE).sum())
    return (
        f"Errors at the longest prompts, means over seeds: {means}. {settled} of {len(seeds)} seeds have at most {LINE:g} "
        "there for every S_1 up to 1.1 [measured]."
    )


def _claims_3b(options: Options, x: NDArray, gpt2: NDArray) -> list[Claim]:
    """Claims about errors (seeds, domain, alpha', l)."""
    quick = options["quick"]
    with_contexts = gpt2[..., x > 0].mean(axis=3)  # (seeds, domain, alpha')
    means = with_contexts.mean(axis=0, keepdims=True) if quick else with_contexts
    steps = np.diff(means, axis=2)  # alpha' falls from 1 to 0.8
    of = "means over seeds" if quick else "every seed"
    mean = gpt2.mean(axis=0)
    ratio = mean[..., x == 20] / mean[..., x == 2]
    most = 1.0 if quick else 0.5
    return [
        published(every("without contexts a prediction is a coin: error at l = 0, either domain",
                        gpt2[:, :, 0, 0].ravel(), 0.44, 0.56), "value"),
        published(fact(f"error falls as alpha' grows, mean over l = 2 to 20, either domain, {of}: its least step",
                       bool(steps.min() > 0), f"{steps.min():.3g} to {steps.max():.3g}", "above 0", steps), "order"),
        published(fact("error at l = 20 over that at l = 2, any alpha' and domain, means over seeds",
                       bool(ratio.max() <= most), f"at most {ratio.max():.3g}", f"at most {most:g}", ratio), "order"),
    ]  # fmt: skip


RECIPES = [
    Recipe("fig3a", "errors by S_1 and length, GPT-2", with_one_layer, measure_3a, assemble_3a, OPTIONS, draw=draw_3a,
           original=ORIGINALS["fig3a"]),
    Recipe("fig3b", "errors by alpha' and length, GPT-2", with_one_layer, measure_3b, assemble_3b, OPTIONS, draw=draw_3b,
           original=ORIGINALS["fig3b"]),
]  # fmt: skip
