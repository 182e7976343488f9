"""Cells of a sweep: one run each, of one setting and one seed, and the record of what it came to.

A record depends on its setting and seed alone: not on who made it, beside what, or when.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from ... import __version__
from ...core.describe import kind_of
from ...core.errors import InvalidInput
from ...core.text import message, one_line
from ...kernels.compile import threads_at_most
from ...training.course import Interruptions, Stopped, Told, follow
from ...training.optimizers import Optimizer
from ...training.plan import make_plan
from ...training.problem import describe, numbers_plain, own_fields
from ...training.runs import Diverged, Run
from .measures import Measure, Named, Watch, bounds, ends_early

__all__ = ["FINAL", "Cell", "Record", "Stop", "Work", "lost", "overs", "run_cells", "written"]

FINAL = ("done", "diverged", "refused")
"""States of a cell that come out the same whenever it is run again. A cell in another state is run again."""
_USUAL_TIMES = 20  # steps between measurements, as of `nlicl.train`


class Cell(NamedTuple):
    """A run to be made.

    Attributes
    ----------
    changes : tuple of (str, value)
        What differs from the problem and the training of the sweep.
    seed : int
    """

    changes: tuple[tuple[str, Any], ...]
    seed: int


class Record(NamedTuple):
    """What a cell came to: plain values.

    Attributes
    ----------
    key : str
        The hash of its settings, seed, measures and the library's version.
    over : dict
        Its changes.
    seed : int
    state : {"done", "diverged", "refused", "failed", "lost"}
        "refused": the settings make no sense together. "failed": something else went wrong, such as too little memory.
        "lost": its worker was ended from outside, again and again.
    reason : str
        Of any state but "done".
    steps : int
        Steps that were made.
    values : dict of str to float
        By measure. NaN where there is none, infinity where a number of steps was not reached.
    """

    key: str
    over: dict[str, Any]
    seed: int
    state: str
    reason: str
    steps: int
    values: dict[str, float]


@dataclass(frozen=True, eq=False)
class Work:
    """What all cells of a sweep share. It can be sent to other processes if its problem and its measures can.

    Attributes
    ----------
    problem : a paper's Problem
    training : dict
        Arguments of `nlicl.train`.
    measures : tuple of Measure
    """

    problem: Any
    training: Mapping[str, Any]
    measures: tuple[Measure, ...]

    def key(self, cell: Cell) -> str:
        """The cell's hash (hexadecimal, 32 digits)."""
        return self.keys(cell.changes)(cell.seed)

    def keys(self, changes: Sequence[tuple[str, Any]]) -> Callable[[int], str]:
        """seed -> hash, of the cells of one setting."""
        names = {each.name for each in fields(self.problem)}
        usual = self._usual
        try:  # all fields as they come out: one may follow from another one that is swept over
            made = _fields_of(self.split(changes)[0])
        except Exception:  # refused; what was asked for tells it from others
            made = {**self.given, **{name: value for name, value in changes if name in names}}
        problem = {name: value for name, value in made.items() if not _same(value, usual[name])}
        training = {**self.training, **{name: value for name, value in changes if name not in names}}
        whole = {
            "nlicl": __version__,
            "problem": [
                describe(self.problem)["type"],
                {name: _number_as(written(each), usual[name]) for name, each in problem.items()},
            ],
            "training": {
                name: written(each) for name, each in training.items() if each is not None or name == "measure"
            },
            "measures": [each.described for each in self.measures],
        }
        digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode())

        def of(seed: int) -> str:
            found = digest.copy()
            found.update(str(seed).encode())
            return found.hexdigest()[:32]

        return of

    @cached_property
    def _usual(self) -> dict[str, Any]:
        return _fields_of(type(self.problem)())

    @cached_property
    def _own(self) -> dict[str, Any]:
        return own_fields(self.problem)

    @cached_property
    def given(self) -> dict[str, Any]:
        """The fields of the problem that are not what its type has by default."""
        return {name: value for name, value in _fields_of(self.problem).items() if not _same(value, self._usual[name])}

    def split(self, changes: Sequence[tuple[str, Any]]) -> tuple[Any, dict[str, Any]]:
        """The problem and the arguments of training of a setting; what the problem refuses is raised."""
        names = {each.name for each in fields(self.problem)}
        own = {name: value for name, value in changes if name in names}
        free = bounds(self.measures)
        others = {name: value for name, value in changes if name not in names and name not in free}
        problem = type(self.problem)(**{**self._own, **own}) if own else self.problem
        return problem, {**self.training, **others}

    def measures_in(self, changes: Sequence[tuple[str, Any]]) -> list[Measure]:
        """The measures in one setting, which may have bounds for them."""
        of = dict(changes)
        return [each.bound_in(of) if isinstance(each, Named) else each for each in self.measures]

    def times(self, steps: int, training: Mapping[str, Any]) -> Any:
        """When to measure, in a run of so many steps: as training says; if it does not, where the measures need it."""
        named = [each for each in self.measures if isinstance(each, Named)]
        measured = [each for each in named if not each.quantity.is_of_steps]
        ends = all(each.kind in ("last", "at") and each.quantity.over == 1 for each in measured)
        if "measure" in training:
            times = training["measure"]
        elif len(named) < len(self.measures) or not ends:
            times = _USUAL_TIMES
        else:
            times = tuple(steps for each in measured if each.kind == "last")
        more = tuple(each.at for each in measured if each.kind == "at" and each.at <= steps)
        if isinstance(times, int) and more:
            times = (*range(0, steps + 1, times), steps)
        return (*times, *more) or None if isinstance(times, tuple) else times


class Stop:
    """What ends runs in other threads: they look between steps. It is never asked for in a worker of another process."""

    def __init__(self) -> None:
        self.asked = False
        self.shut = False

    def look(self) -> None:
        """Raise `Stopped` if the runs are to end."""
        if self.asked:
            raise Stopped


def run_cells(work: Work, cells: Sequence[Cell], threads: int = 1, stop: Interruptions | None = None) -> list[Record]:
    """Make the runs of some cells: the task of a worker.

    Parameters
    ----------
    work : Work
    cells : list of Cell
    threads : int
        At most so many threads work at a time. A record does not depend on it.
    stop : Stop, optional
        Only where the caller's process is this one.

    Returns
    -------
    list of Record
        In the order of the cells.

    Raises
    ------
    Stopped
        `stop` was asked.
    """
    signals = Stop() if stop is None else stop
    at_once = min(threads, len(cells))
    share = max(1, threads // max(at_once, 1))

    def record(cell: Cell) -> Record:
        with threads_at_most(share):
            return _record(work, cell, signals)

    if at_once <= 1:
        return [record(cell) for cell in cells]
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(record, cells))


def lost(work: Work, cell: Cell, reason: str) -> Record:
    """The record of a cell that no worker could finish."""
    return _outcome(work, cell, "lost", reason, 0, None)


def overs(cell: Cell) -> dict[str, Any]:
    """A cell's changes as its record has them."""
    return {name: written(value) for name, value in cell.changes}


def written(value: Any) -> Any:
    """A setting as plain values: an optimizer by its name and settings, a schedule as checkpoints have it."""
    if isinstance(value, Optimizer):
        own = ", ".join(f"{name}={each}" for name, each in numbers_plain(dict(value.settings())).items())
        return f"{value.name}({own})"
    return describe(value) if callable(value) else numbers_plain(value)


def _record(work: Work, cell: Cell, signals: Interruptions) -> Record:
    try:
        measures = work.measures_in(cell.changes)
        run = _run(work, cell, measures, signals)
        values = {each.name: each.value(run) for each in measures}
    except Diverged as error:
        return _outcome(work, cell, "diverged", message(error), error.run.step, None)
    except InvalidInput as error:
        return _outcome(work, cell, "refused", message(error), 0, None)
    except Exception as error:  # whatever a problem or a measure of the caller's raises; and nothing ends the sweep
        return _outcome(work, cell, "failed", f"{kind_of(error)}: {message(error) or 'no message'}", 0, None)
    return _outcome(work, cell, "done", "", run.step, values)


def _run(work: Work, cell: Cell, measures: Sequence[Measure], signals: Interruptions) -> Run:
    """The run of a cell, ended as soon as its measures are there."""
    problem, training = work.split(cell.changes)
    steps = training.get("steps")
    times = work.times(problem.steps if steps is None else steps, training)
    plan = make_plan(problem, seed=cell.seed, **{**training, "measure": times})
    observe = plan.observer() if plan.times else None
    until = None
    if ends_early(measures):
        watch = Watch(measures, observe)
        observe, until = None if observe is None else watch.observe, watch.until
    return follow(plan, None, False, Told(observe, until, None, each_step=False), signals)


def _outcome(work: Work, cell: Cell, state: str, reason: str, steps: int, values: dict[str, float] | None) -> Record:
    found = dict.fromkeys((each.name for each in work.measures), math.nan) if values is None else values
    return Record(work.key(cell), overs(cell), cell.seed, state, one_line(reason), steps, found)


def _fields_of(problem: Any) -> dict[str, Any]:
    return {each.name: getattr(problem, each.name) for each in fields(problem)}


def _same(a: Any, b: Any) -> bool:
    """Whether two settings are the same: 1 and 1.0 are, True and 1 are not."""
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _number_as(value: Any, usual: Any) -> Any:
    """A setting as its usual value is written: 1.0 for 1 where that is a real number."""
    return float(value) if type(value) is int and isinstance(usual, float) else value
