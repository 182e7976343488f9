"""How runs and what they recorded look in a notebook: `_repr_html_` of their types."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.markup import Markup, arrays, box, curve, details, join, note, number, safely, spark, table
from ..core.text import one_line
from .columns import LOSS, column, of_seeds, scalars

if TYPE_CHECKING:
    from .many import Runs
    from .runs import History, Run

__all__ = ["history_html", "run_html", "runs_html"]


@safely
def history_html(history: "History") -> str:
    """The training loss as a curve, and what was measured, first and last."""
    return box(f"What was recorded in {len(history.loss)} steps", _curves(history))


@safely
def run_html(run: "Run") -> str:
    """A run: its problem, its loss as a curve, what was measured, and, on a click, settings and parameters."""
    loss = f", loss {number(run.history.loss[-1])}" if len(run.history.loss) else ""
    named = run.params._asdict() if hasattr(run.params, "_asdict") else {}
    return box(
        f"Training run: {run.step} steps{loss}",
        _settings(run.settings),
        _curves(run.history),
        details("parameters", arrays(named)),
    )


@safely
def runs_html(runs: "Runs") -> str:
    """Runs of several seeds: median and range over seeds, as a curve and as a table."""
    kept = [run for seed, run in zip(runs.seeds, runs, strict=True) if seed not in runs.diverged]
    lost = f"; {len(runs.diverged)} diverged: {number(list(runs.diverged))}" if runs.diverged else ""
    if not kept:
        return box(f"{len(runs)} training runs{lost}")
    histories, seeds = [run.history for run in kept], f"seeds {number(list(runs.seeds))}"
    return box(f"{len(runs)} training runs{lost}", _settings(kept[0].settings, seeds), _of_seeds(histories))


def _curves(history: "History") -> Markup:
    rows = []
    for name in scalars(history):
        values = history.measured[name]
        rows.append([name, number(values[0]), number(values[-1]), spark(history.steps, values)])
    wide = [name for name, values in history.measured.items() if values.ndim > 1]
    also = note(f"Arrays at each measurement: {', '.join(map(one_line, wide))}") if wide else ""
    measured = table(["measured", "first", "last", ""], rows) if rows else ""
    return join(_loss(*column(history, LOSS)), measured, also)


def _of_seeds(histories: "Sequence[History]") -> Markup:
    steps, losses = of_seeds(histories, LOSS)
    drawn: Any = ""
    if losses.size:
        drawn = join(
            curve(steps, np.median(losses, axis=0), "step", "loss", (losses.min(axis=0), losses.max(axis=0))),
            note("Loss of each step's batch: the median over seeds, and the lowest and the highest seed."),
        )
    rows = list(_last(histories)) if scalars(histories[0]) else []
    return join(drawn, table(["measured last", "median", "lowest", "highest"], rows) if rows else "")


def _last(histories: "Sequence[History]") -> Iterator[list[object]]:
    for name in scalars(histories[0]):
        with suppress(KeyError, ValueError):  # an observer that measures other things for other seeds
            last = [column(history, name)[1][-1] for history in histories]
            yield [name, *(number(found) for found in (np.median(last), min(last), max(last)))]


def _loss(steps: Any, losses: Any) -> Markup:
    drawn = curve(steps, losses, "step", "loss")
    return join(drawn, note("Loss of each step's batch, before its update.")) if drawn else drawn


def _settings(settings: Any, seeds: str = "") -> Markup:
    """The problem by name, and what a reader asks for first."""
    problem = settings.get("problem")
    named = problem.get("type", "") if isinstance(problem, dict) else ""
    fields = problem.get("fields") if isinstance(problem, dict) else None
    own = {name: value for name, value in settings.items() if name != "problem" and not (name == "seed" and seeds)}
    usual = [name for name in ("seed", "steps", "batch", "learning_rate", "optimizer", "dtype") if name in own]
    words = [f"{name} {_plainly(own[name])}" for name in usual] + [seeds] * bool(seeds)
    every = {**(fields if isinstance(fields, dict) else {}), **own}
    opened = table(["setting", "value"], [[name, _plainly(value)] for name, value in every.items()], most=60)
    return join(note(", ".join([one_line(str(named)), *words])), details("settings", opened))


def _plainly(value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get("name"), str):  # an optimizer
        return one_line(value["name"])
    return one_line(value) if isinstance(value, str) else number(value)
