"""Figures 6 and 7 of Li et al. 2024: what the layers of GPT-2 attend to, and what becomes of their neurons, in training.

6: attention of the query on contexts with its pattern and on others, by layer. 7: magnitudes and angles of the feature and
label parts of neurons, by layer. `nlicl.papers.li2024.GPT2Observer` says how both are defined.
"""

import numpy as np
from numpy.typing import NDArray

from ....core.seeds import Li2024Part
from ....models.front import forward
from ....papers.li2024.gpt2_observer import attention_mass
from ... import style
from ...claims import every, fact, published
from ...experiment import Found, Measured, Options, Runs, Seeds
from ...figure import Figure, Recipe
from ...series import Series, spread
from ...summary import listed, stacked
from .gpt2 import OPTIONS, OURS, S_1_OOD, problem_of, settings_of, trained, undetermined
from .originals import ORIGINALS

__all__ = ["RECIPES"]

KINDS = ("same", "other", "query")
DOMAINS = ("in-domain", "out-of-domain")
LARGE = 16  # neurons of a layer, the largest at the end, whose mean stands for the large ones
GROWN = 2.0  # times its magnitude at the start: a neuron has grown
EPOCHS = (
    "The paper's axis counts epochs of unknown length, 0 to 1600 [digitised], ours steps of Adam. No curve of the published "
    "figure is known to us; what it shows is taken from its description [paper]."
)


def _layers(options: Options) -> range:
    return range(1, problem_of(options).layers + 1)


# ---- 6


def measure_6(options: Options, seed: int, runs: Runs) -> Measured:
    run, problem = runs["gpt2"], problem_of(options)
    ends = []
    for tested in (problem, problem.out_of_domain(S_1=S_1_OOD)):
        codes = tested.codes(500 if options["quick"] else 2000, seed=(seed, Li2024Part.LENGTHS, problem.length))
        prompts = problem.prompts_of(codes).cast(run.params.W_in.dtype)
        ends.append(np.array(attention_mass(forward(run.params, prompts).attention, codes)[:2]))
    curves = {kind: np.stack([run.history[f"{kind}_{layer}"] for layer in _layers(options)]) for kind in KINDS}
    return {"steps": run.history.steps, "end": np.array(ends), **curves}


def assemble_6(options: Options, seeds: Seeds, found: Found) -> Figure:
    values = stacked(found)  # same, other, query (seeds, layer, step); end (seeds, domain, same or other, layer)
    same, other = values["end"][:, :, 0], values["end"][:, :, 1]
    share = same / (same + other)  # (seeds, domain, layer)
    even = problem_of(options).alpha / 2
    start = values["same"][..., 0] / (values["same"] + values["other"])[..., 0]
    claims = [
        every(
            "share of the attention on contexts that falls on the query's pattern, any layer, at step 0",
            start.ravel(),
            even - 0.03,
            even + 0.03,
        )
    ]
    if options["quick"]:
        moved = np.abs(share - even).max(axis=(1, 2))
        claims.append(every("the same at the end: farthest from even attention, any layer and domain", moved, low=0.05))
    else:
        largest = share.max(axis=2)  # (seeds, domain)
        for d, name in enumerate(DOMAINS):
            mean = largest[:, d].mean()
            what = f"the same at the end in the layer where it is largest, {name}, mean over seeds"
            claims.append(fact(what, mean >= 0.5, f"{mean:.3g}", "at least 0.5", largest[:, d]))
        claims.append(every("the same, out-of-domain: above that of even attention", largest[:, 1], low=even))
    series = [
        spread(f"{kind}, layer {layer}", found[0]["steps"], values[kind][:, i])
        for i, layer in enumerate(_layers(options))
        for kind in KINDS
    ]
    ends = [f"{name}: " + "; ".join(listed(np.round(one, 2)) for one in share[:, d]) for d, name in enumerate(DOMAINS)]
    return Figure(
        "Attention of GPT-2's query, by layer",
        settings_of(options) | {"S_1": [S_1_OOD, "set here"]},
        seeds,
        series,
        undetermined(claims, options),
        notes=[
            EPOCHS,
            OURS,
            "Means over heads and 500 prompts of the training tasks. Bands: lowest and highest seed. The three add up to 1.",
            f"The share at the end in layers 1, 2, 3, a seed after the other [measured]. {'. '.join(ends)}.",
            SELECTION,
        ],
    )  # fmt: skip


SELECTION = (
    "The paper: each layer comes to select contexts with the query's pattern [paper]. Here one layer does as a rule. Which "
    "one differs with the seed, and others may look away from them [measured], to the task's other pattern: on training tasks "
    "its label tells as much [derived]."
)


def draw_6(figure: Figure) -> style.Canvas:
    layers = sum(series.name.startswith("same") for series in figure.series)
    canvas, panels = style.new(columns=layers, width=2.4, height=2.6, squeeze=False, sharey=True)
    labels = {"same": "same pattern", "other": "other patterns", "query": "the query itself"}
    for layer, axes in enumerate(panels[0], start=1):
        for i, kind in enumerate(KINDS):
            series = figure[f"{kind}, layer {layer}"]
            style.curve(axes, series, i, label=labels[kind], every=(2 * i, max(1, len(series.x) // 8)))
        axes.set(xlabel="step of Adam", ylim=(0, 1), title=f"layer {layer}")
    panels[0, 0].set(ylabel="attention of the query")
    style.legend_below(canvas, panels[0, 0])
    canvas.suptitle(f"6  {figure.title}", x=0.01, ha="left", fontsize=8.5)
    return canvas


# ---- 7


def measure_7(options: Options, seed: int, runs: Runs) -> Measured:
    history = runs["gpt2"].history
    return {"steps": history.steps, **{name: history[name] for name in PARTS}}


PARTS = ("feature", "label", "feature_angle", "label_angle")


def _large(one: Measured, part: str, layer: int) -> NDArray:
    """The neurons of a layer whose part is largest at the end."""
    return np.argsort(-one[part][-1, layer], kind="stable")[:LARGE]


def _turned(one: Measured, part: str, layer: int) -> NDArray:
    """Mean angle of the large neurons to the nearer of +- the direction, by step."""
    angle = one[f"{part}_angle"][:, layer, _large(one, part, layer)]
    return np.minimum(angle, np.pi - angle).mean(axis=1)


def assemble_7(options: Options, seeds: Seeds, found: Found) -> Figure:
    steps, layers = found[0]["steps"], list(_layers(options))
    # (seeds, step, layer, neuron) each
    values = stacked([{name: one[name] for name in ("feature", "label")} for one in found])
    series, claims = [], []
    # (seeds, layer) each
    grown = {part: (array[:, -1] > GROWN * array[:, 0]).mean(axis=2) for part, array in values.items()}
    for part, direction in (("feature", "mu-bar"), ("label", "q")):
        # (seeds, layer, step)
        turned = np.array([[_turned(one, part, layer - 1) for layer in layers] for one in found])
        for i, layer in enumerate(layers):
            series.append(spread(f"mean {part} magnitude, layer {layer}", steps, values[part][:, :, i].mean(axis=2)))
            series.append(
                spread(f"angle / pi to +-{direction}, {LARGE} largest, layer {layer}", steps, turned[:, i] / np.pi)
            )
            series += [
                Series(f"{part}, layer {layer}, neuron {n}", one[f"{part}_angle"][:, i, n] / np.pi, one[part][:, i, n])
                for one in found[:1]
                for n in _large(one, part, i)[:5].tolist()
            ]
        grew = every(
            f"share of neurons whose {part} part is more than {GROWN:g} times that at the start, any layer",
            grown[part].min(axis=1),
            low=0.5,
        )
        claims.append(published(grew, "phases"))
        end, what = turned[:, :, -1], f"mean angle of the {LARGE} largest {part} parts to +-{direction} at the end, rad"
        if part == "label":  # Figure 2D's picture
            most = 1.0 if options["quick"] else 0.6
            least = every(f"{what}, in the layer where it is smallest", end.min(axis=1), high=most)
            claims.append(published(least, "order"))
        else:  # not Figure 2C's
            claims.append(every(f"{what}, in any layer", end.ravel(), low=0.9))
    return Figure(
        "Neurons of GPT-2, by layer",
        settings_of(options),
        seeds,
        series,
        undetermined(claims, options),
        notes=[EPOCHS, OURS, ROWS, SHOWN, PICTURE],
    )


ROWS = (
    "A neuron is a row of W_fc diag(gamma_2) P W_o W_v diag(gamma_1) P W_in, where P subtracts means. Up to a positive "
    "factor, it is what the MLP's first layer computes from a token that its block gets by attention. For the one-layer "
    "model this is a row of W_O W_V [derived]. We do not know how the paper defines it."
)
SHOWN = (
    "Drawn: the five neurons of each layer that are largest at the end, first seed, a point each time that is measured."
)
PICTURE = (
    "The paper: most neurons grow, and the angle picture of Figures 2C and 2D holds in one layer [paper]. Here nearly all "
    "grow. The label parts turn to +q or -q in all layers, about as far as in Figure 2D (0.52 rad [digitised]): q is the one "
    "label direction in the tokens. The feature parts turn to mu-bar in no layer [measured]."
)


def draw_7(figure: Figure) -> style.Canvas:
    layers = sum(series.name.startswith("mean feature") for series in figure.series)
    canvas, panels = style.new(rows=2, columns=layers, width=2.4, height=2.3, squeeze=False)
    for row, (part, direction) in zip(panels, (("feature", r"$\bar\mu$"), ("label", "$q$")), strict=True):
        for layer, axes in enumerate(row, start=1):
            for series in (s for s in figure.series if s.name.startswith(f"{part}, layer {layer}, ")):
                axes.plot(series.x, series.y, color="#bbbbbb", linewidth=0.5, zorder=1)
                age = np.linspace(0, 1, len(series.x))
                axes.scatter(series.x, series.y, c=age, cmap="cividis", s=9, linewidths=0, zorder=3)
            axes.set(
                xlim=(0, 1), ylim=(0, None), xlabel=rf"angle to {direction}, in units of $\pi$", title=f"layer {layer}"
            )
        row[0].set(ylabel=f"{part} magnitude")
    canvas.suptitle(
        f"7  {figure.title}: the five largest, dark to light from start to end", x=0.01, ha="left", fontsize=8.5
    )
    return canvas


RECIPES = [
    Recipe("fig6", "attention by layer, GPT-2", trained, measure_6, assemble_6, OPTIONS, draw=draw_6,
           original=ORIGINALS["fig6"]),
    Recipe("fig7", "magnitudes and angles of neurons by layer, GPT-2", trained, measure_7, assemble_7, OPTIONS, draw=draw_7,
           original=ORIGINALS["fig7"]),
]  # fmt: skip
