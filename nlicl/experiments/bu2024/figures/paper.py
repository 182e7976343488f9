"""The paper's own problem, as a third party quotes it: training beside the quick default's, and what an epoch may be.

The settings are quoted; of the paper's figures no number is known. 100 epochs are quoted, steps in an epoch are not: 1, 10 and
100 of them are tried, with fresh prompts and with training sets of so many batches of 16.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....papers import bu2024
from ....papers.bu2024 import recursion, theory
from ... import style
from ...claims import Claim, every, published
from ...experiment import Found, Measured, Options, Runs, Seeds, Training
from ...figure import Figure, Recipe
from ...series import Series, spread
from ...settings import set_here
from . import dynamics
from .common import DERIVED, FIGURE_2, MARKS, PAPER_CURVE, label_ends, mean_from, mean_near

__all__ = ["PAPER", "RECIPES"]

PAPER = bu2024.problems["paper"]
EPOCHS = 100  # quoted
RECORD = (0, 10, 20, 30, 40, 50, 60, 80, 100, 130, 160, 200, 300, 400, 600, 800, 1000)
RECORD_LONG = (*RECORD, 1500, 2000, 3000, 4000, 6000, 8000, 10_000)
PROMPTS = 5000  # quoted
PROMPTS_QUICK = 500
LEARNT = 0.01  # a 0-1 error
ATTENDS = 0.9  # attn_+
SETS = {1: 16, 10: 160, 100: 1600}  # steps in an epoch: prompts of a training set, of which a step takes 16
ATTENTION = ("specific", "cross", "mixed", "shared", "nu", "xi")
NEVER = 0.1  # a mean error that is far from learnt


def watch(problem: bu2024.Problem, seed: int) -> bu2024.Observer:
    return bu2024.Observer(problem, n=PROMPTS, seed=seed)


def watch_quick(problem: bu2024.Problem, seed: int) -> bu2024.Observer:
    return bu2024.Observer(problem, n=PROMPTS_QUICK, seed=seed)


def recorded(last: int) -> tuple[int, ...]:
    """The steps at which a run of so many steps is measured."""
    return tuple(step for step in RECORD_LONG if step <= last)


def fresh(options: Options) -> Training:
    """The run on fresh prompts: its first 100, 1000 and 10,000 steps are 100 epochs of 1, 10 and 100 steps."""
    steps = 200 if options["quick"] else 10_000
    observe = watch_quick if options["quick"] else watch
    return Training(PAPER, steps=steps, measure=recorded(steps), observe=observe)


def first(steps: NDArray, reached: NDArray) -> float:
    """The first of these steps at which it is so; NaN if it never is."""
    return float(steps[np.argmax(reached)]) if reached.any() else np.nan


def crossing(steps: NDArray, values: NDArray, level: float) -> float:
    """The step at which a curve first reaches a level, between two measurements in a straight line; NaN if it never does."""
    above = values >= level
    if not above.any():
        return np.nan
    i = int(np.argmax(above))
    return float(steps[0]) if i == 0 else float(np.interp(level, values[i - 1 : i + 1], steps[i - 1 : i + 1]))


def predicted(problem: bu2024.Problem, seed: int) -> NDArray:
    """When the reduced recursion, from the run's own start, attends to the right demonstrations: a step a concept, (K1,)."""
    start = problem.initialize(seed=seed)
    norms = theory.norms(problem.norm_x, problem.norm_y, problem.kappa_x, problem.kappa_y)
    setting = recursion.Setting(problem.concepts, norms.a, norms.b, norms.c, norms.d, problem.weight_decay)
    etas = theory.step_sizes(1000, problem.weight_decay, problem.step_offset)
    found = []
    for k in range(problem.concepts):
        state = recursion.project(start, problem.semantics, k)
        run = recursion.run(state, start.a, setting, etas, range(1001))
        found.append(crossing(run.steps, run.observed.attn_plus.mean(axis=-1), ATTENDS))
    return np.array(found)


# ---- paper-dynamics


def runs_dynamics(options: Options) -> dict[str, Training]:
    return {"paper": fresh(options), "default": dynamics.runs(options)["run"]}


def measure_dynamics(options: Options, seed: int, runs: Runs) -> Measured:
    run = runs["paper"]
    history = run.history
    attends = [crossing(history.steps, row, ATTENDS) for row in history["attention_k"].T]
    names = (*dynamics.SEEN, *dynamics.ATTENTION, *dynamics.MLP)
    return {
        "steps": history.steps,
        **{name: history[name] for name in names},
        "attends": np.array(attends),
        "predicted": predicted(PAPER, seed),
        "default": dynamics.measure(options, seed, {"run": runs["default"]}),
    }


def claims_dynamics(found: Found) -> list[Claim]:
    steps = found[0]["steps"]

    def at(step: int, name: str) -> list[float]:
        return [one[name][steps == step][0] for one in found]

    norm_a, norm_b = (float(np.linalg.norm(of[:, 0])) for of in (PAPER.semantics.a, PAPER.semantics.b))
    start = theory.initial_attention(PAPER.length, PAPER.match, (PAPER.sigma_0 * norm_b) ** 2)
    learnt = [first(steps, one["error"] <= LEARNT) for one in found]
    losses = [one["loss"][steps == step][0] if step >= 0 else np.nan for one, step in zip(found, learnt, strict=True)]
    largest = [
        min(one["specific"][i] / max(one[name][i] for name in ATTENTION[1:]) for i in np.flatnonzero(steps >= 100))
        for one in found
    ]
    noise = [max(one["mlp_noise"][steps >= 100] / one["mlp_specific"][steps >= 100]) for one in found]
    ratio = np.array([one["attends"] / one["predicted"] for one in found])
    end = min(1000, int(steps[-1]))  # later, other concepts in a token move it too
    decayed = float((PAPER.sigma_0 * norm_a * theory.decay(end, PAPER.step_offset)) ** 2)
    return [
        mean_near("0-1 error at t = 0: chance", at(0, "error"), 0.5, 0.08, DERIVED),
        mean_near("attn_+ at t = 0: its law without noise", at(0, "attention"), start, 0.008, DERIVED),
        published(every("step of the first 0-1 error of at most 1%", learnt, high=200), "phases"),
        every("loss at that step: the 0-1 error falls first, the loss later (measured)", losses, low=0.4),
        published(every("attn_+ at t = 100", at(100, "attention"), low=0.95), "phases"),
        published(
            every("b_k^T W b_k over the largest other product of attention, from t = 100 on", largest, low=1), "order"
        ),
        published(every("|<w_i, xi>| over |<w_i, d_k>|, from t = 100 on", noise, high=0.05), "order"),
        mean_near(f"max |a_j^T W a_k| at t = {end}: decay alone", at(end, "shared"), decayed, 0.15 * decayed, DERIVED),
        every(
            f"step at which attn_+ of a concept reaches {ATTENDS:g}, over the reduced recursion's (derived)", ratio, 0.67, 1.5
        ),
    ]  # fmt: skip


def assemble_dynamics(options: Options, seeds: Seeds, found: Found) -> Figure:
    steps = found[0]["steps"]
    names = (*dynamics.SEEN, *dynamics.ATTENTION, *dynamics.MLP)
    series = [spread(name, steps, [one[name] for one in found]) for name in names]
    default = [one["default"] for one in found]
    series += [spread(f"default: {name}", default[0]["steps"], [one[name] for one in default]) for name in names]
    early = np.array([one["predicted"] for one in found])
    attends = np.array([one["attends"] for one in found])
    within = sum(bool(np.any(one["error"][steps <= EPOCHS] <= LEARNT)) for one in found)
    small = ", the small setting," if options["quick"] else ""
    notes = [
        PAPER_CURVE,
        "Steps in an epoch are not quoted. Prompts are fresh at every step, so that one run has all readings: its first 100, "
        f"1000 and 10,000 steps are the {EPOCHS} epochs [quoted] of 1, 10 and 100 steps. Within the first {EPOCHS} steps "
        f"{within} of {len(found)} seeds have a 0-1 error of at most 1%.",
        f"The reduced recursion, from each run's own start, says that attn_+ of a concept reaches {ATTENDS:g} at step "
        f"{early.min():.0f} to {early.max():.0f}, mean {early.mean():.1f}; the runs reach it at {np.nanmin(attends):.0f} to "
        f"{np.nanmax(attends):.0f}, mean {np.nanmean(attends):.1f}. The recursion is of balanced signs, one concept a prompt "
        "and no noise [derived].",
        f"Right: the quick default{small} whose norms are half as large and whose training is ten times as slow. Its own "
        "figure is dynamics.",
        f"{PROMPTS_QUICK if options['quick'] else PROMPTS} test prompts a seed [5000: quoted]; bands from the lowest to the "
        "highest seed. W = W_K^T W_Q on words; products are maxima over all indices, j != k where both stand, xi of 200 noise "
        "vectors. What the paper's concept-specific, complement and noise products are exactly is not known.",
        "c and d grow together in the MLP, as ReLU is one-sided: what is specific stands out in attention alone.",
        MARKS,
    ]
    settings = PAPER.settings() | {"steps": [int(steps[-1]), "set here"]} | {"test prompts": [PROMPTS, "quoted"]}
    return Figure(
        "Training, the paper's problem and the quick default",
        settings,
        seeds,
        series,
        claims_dynamics(found),
        notes=notes,
    )


_LABELS: dict[str, dict[str, str]] = {
    "loss and 0-1 error": {"loss": "test loss", "error": "0-1 error"},
    "correct attention weight": {"attention": r"attn$_+$"},
    "attention, largest products": dynamics.ATTENTION,
    "MLP, largest products": dynamics.MLP,
}


def draw_dynamics(figure: Figure) -> style.Canvas:
    canvas, panels = style.new(columns=2, rows=4, width=3.6, height=1.95, sharex="col")
    for row, (title, names) in zip(panels, _LABELS.items(), strict=True):
        for axes, prefix in zip(row, ("", "default: "), strict=True):
            shown = {name: label for name, label in names.items() if figure[prefix + name].y.any()}
            for i, (name, label) in enumerate(shown.items()):
                style.curve(axes, _from_ten(figure[prefix + name]), i, label=label, every=(i, 5))
            axes.set_title(title)
    for axes in panels[0]:
        axes.set_ylim(0, 0.75)
    for axes in panels[1]:
        axes.set_ylim(0.45, 1.02)
    for axes in panels[2]:
        axes.set(yscale="log", ylim=(1e-3, 12))
    for axes in panels[3]:
        axes.set_ylim(0, None)
    for column, (prefix, title) in enumerate((("", "the paper's problem"), ("default: ", "the quick default"))):
        last = figure[f"{prefix}loss"].x[-1]
        for axes in panels[:, column]:
            axes.set(xscale="log", xlim=(10, last))
            if not prefix:
                for step in (100, 1000):
                    if step < last:
                        axes.axvline(step, color=style.PAPER, linewidth=0.8, zorder=1)
        panels[-1, column].set_xlabel(f"SGD step $t$, {title}")
    for row, names in zip(panels, _LABELS.values(), strict=True):
        for axes, prefix in zip(row, ("", "default: "), strict=True):
            shown = {name: label for name, label in names.items() if figure[prefix + name].y.any()}
            label_ends(axes, [(figure[prefix + name], label) for name, label in shown.items()], gap=0.11)
    canvas.suptitle(f"{figure.title}. Grey: 100 epochs of 1 and of 10 steps", fontsize=8.5)
    return canvas


def _from_ten(series: Series) -> Series:
    """A series from step 10 on, for a log axis."""
    kept = series.x >= 10
    low, high = series.ends
    return Series(series.name, series.x[kept], series.y[kept], low[kept], high[kept])


# ---- paper-epochs


def readings(options: Options) -> dict[str, tuple[int, Training]]:
    """For each reading its steps in an epoch, and its run."""
    observe = watch_quick if options["quick"] else watch
    found = {}
    for steps, prompts in SETS.items():
        last = min(EPOCHS * steps, 200 if options["quick"] else EPOCHS * steps)
        name = f"{steps} step{'s' * (steps > 1)}, a set of {prompts}"
        found[name] = (steps, Training(PAPER, steps=last, measure=recorded(last), observe=observe, prompts=prompts))
    return found


def runs_epochs(options: Options) -> dict[str, Training]:
    return {name: run for name, (_, run) in readings(options).items()} | {"fresh": fresh(options)}


def measure_epochs(options: Options, seed: int, runs: Runs) -> Measured:
    found: dict[str, Any] = {}
    for name, run in runs.items():
        history = run.history
        found[name] = {key: history[key] for key in ("error", "attention", "loss")} | {"steps": history.steps}
        found[name]["training loss"] = float(history.loss[-16:].mean())
        found[name]["first"] = first(history.steps, history["error"] <= LEARNT)
    return found


def assemble_epochs(options: Options, seeds: Seeds, found: Found) -> Figure:
    series, claims, said = [], [], []
    known = readings(options)
    for name in found[0]:
        steps = found[0][name]["steps"]
        series += [spread(f"{key}, {name}", steps, [one[name][key] for one in found]) for key in ("error", "attention")]
        ends = np.array([one[name]["error"][-1] for one in found])
        when = np.array([one[name]["first"] for one in found])
        losses = np.array([one[name]["training loss"] for one in found])
        in_epoch = known[name][0] if name in known else 1
        if np.isnan(when).all():
            text = f"no seed has an error of 1% at the end, its training loss is {losses.mean():.2f}"
        else:
            text = (
                f"an error of 1% from step {np.nanmin(when):.0f} to {np.nanmax(when):.0f} on, epoch "
                f"{np.nanmin(when) / in_epoch:.3g} to {np.nanmax(when) / in_epoch:.3g}, in {np.sum(~np.isnan(when))} of "
                f"{len(when)} seeds"
            )
        said.append(f"{name}: {text}, test error at the end {ends.mean():.2g}")
        if name.startswith("1 step,"):
            text = f"test error after {EPOCHS} epochs, {name}: not every seed learns"
            claims.append(mean_from(text, ends, "measured", low=NEVER))
        else:
            claims.append(every(f"test error at the end, {name}: it learns (measured)", ends, high=LEARNT))
            claims.append(every(f"first step with an error of at most 1%, {name} (measured)", when, 20, 150))
    notes = [
        PAPER_CURVE,
        "Steps in an epoch and the size of the training set are not quoted. With B = 16 [quoted], an epoch of 1, 10 or 100 "
        "steps goes through 16, 160 or 1600 prompts. A step takes 16 of them, drawn anew. "
        + ("A quick run stops at step 200." if options["quick"] else ""),
        "; ".join(said) + ".",
        "A set of 16 is learnt by heart in most seeds. So if the paper's runs learn, and an epoch is one step, it does not go "
        "through the same 16 prompts each time. With 10 or 100 steps an epoch, all happens in the first seventh of a plot of "
        "100 epochs [measured; an inference].",
        MARKS,
    ]
    settings = PAPER.settings() | set_here(
        {"epochs": EPOCHS, "steps in an epoch": list(SETS), "training sets": list(SETS.values())}
    )
    return Figure(
        "What an epoch may be: the paper's problem on training sets", settings, seeds, series, claims, notes=notes
    )


def draw_epochs(figure: Figure) -> style.Canvas:
    canvas, panels = style.new(columns=2, width=3.4, height=2.5)
    for axes, key, title in zip(
        panels, ("error", "attention"), ("test 0-1 error", "correct attention weight"), strict=True
    ):
        for i, series in enumerate(one for one in figure.series if one.name.startswith(f"{key}, ")):
            style.curve(axes, _from_ten(series), i, label=series.name.partition(", ")[2], every=(i, 5))
        axes.set(xscale="log", xlabel="SGD step $t$", title=title)
        for step in (100, 1000):
            axes.axvline(step, color=style.PAPER, linewidth=0.8, zorder=1)
    panels[0].set_ylim(0, 0.55)
    panels[1].set_ylim(0.55, 1.02)
    style.legend_below(canvas, panels[0], columns=2)
    canvas.suptitle(f"{figure.title}. Grey: 100 epochs of 1 and of 10 steps", fontsize=8.5)
    return canvas


RECIPES = [
    Recipe("paper-dynamics", "the paper's problem: training, beside the quick default", runs_dynamics, measure_dynamics,
           assemble_dynamics, draw=draw_dynamics, original=FIGURE_2),
    Recipe("paper-epochs", "the paper's problem: what an epoch may be", runs_epochs, measure_epochs, assemble_epochs,
           draw=draw_epochs, original=FIGURE_2),
]  # fmt: skip
