"""`nlicl.sweep`: all cells of a grid, by whatever makes the runs, into a table."""

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ...core.checks import function, integer, path
from ...core.describe import short
from ...core.errors import InvalidInput, InvalidType, InvalidValue
from ...core.interruption import held
from ...training.plan import make_plan
from ...training.problem import extra as offers
from ...training.problem import not_stored
from .cell import Cell, Record, Work, overs
from .dispatch import records as made
from .executors import opened
from .grid import Grid, checked_training, grid_of
from .measures import COLUMNS, ByFunction, Measure, Named, bounds, measures_of, resolved
from .store import Store
from .table import Table, has_parquet

__all__ = ["SEEDS", "TABLE", "Plan", "planned", "sweep", "table_of", "write_table"]

SEEDS = 5
TABLE = "table.csv"
_LOOK = 1.0  # seconds between two looks at what others have written


class Plan:
    """A sweep before its first run: checked, and nothing made yet but the folder.

    Attributes
    ----------
    work : Work
    grid : Grid
    store : Store or None
    """

    def __init__(self, work: Work, grid: Grid, store: Store | None) -> None:
        self.work, self.grid, self.store = work, grid, store
        self._looked = time.monotonic()

    def keyed(self, turn: int = 0) -> Iterator[tuple[str, Cell]]:
        """Every cell with its key, one by one."""
        seeds = len(self.grid.seeds)
        setting, of = -1, None
        for number in self.grid.numbers(turn):
            if number // seeds != setting or of is None:
                setting = number // seeds
                of = self.work.keys(self.grid.setting(setting))
            cell = self.grid[number]
            yield of(cell.seed), cell

    def todo(self, turn: int = 0) -> Iterator[Cell]:
        """The cells that have no final record when their turn comes."""
        for key, cell in self.keyed(turn):
            if self.store is not None and time.monotonic() - self._looked > _LOOK:
                self.store.look()
                self._looked = time.monotonic()
            if self.store is None or key not in self.store.done:
                yield cell

    def count(self) -> int:
        """How many cells have no final record."""
        return sum(1 for _ in self.todo()) if self.store is not None and self.store.done else len(self.grid)


def planned(
    problem: Any,
    over: Any,
    *,
    seeds: Any = SEEDS,
    measure: Any,
    training: Mapping[str, Any] | None = None,
    out: Any = None,
) -> Plan:
    """A sweep from the arguments of `nlicl.sweep`, checked. Raises as it does."""
    measures = measures_of(measure)
    grid = grid_of(problem, over, seeds, bounds(measures))
    for name in grid.names:
        if name in COLUMNS or name in [each.name for each in measures]:
            raise InvalidValue(
                f"{short(name)} is swept over, and it is another column of the table as well; expected another name for the "
                "measure, or for the bound."
            )
    work = Work(problem, checked_training(problem, training), measures)
    for name in work.training:
        if name in grid.names:
            raise InvalidValue(f"training gives {name}, which is swept over; expected it in one of the two.")
    work = _with_known_measures(work, grid)
    folder = None if out is None else path("out", out, "the path of a folder, or None to keep nothing")
    if folder is not None:
        _check_kept(work)
        if folder.exists() and not folder.is_dir():
            raise InvalidValue(f"out is {folder}, which is a file; expected the path of a folder.")
    return Plan(work, grid, None if folder is None else Store.opened(folder, work, grid.names))


def _with_known_measures(work: Work, grid: Grid) -> Work:
    """The work, its measures held against what a run measures; InvalidValue if one does not exist."""
    first: InvalidInput | None = None
    for i in range(min(grid.settings, 20)):  # the first that makes sense
        try:
            problem, training = work.split(grid.setting(i))
            plan = make_plan(problem, seed=grid.seeds[0], **{**training, "measure": None})
        except InvalidInput as error:
            first = first or error
            continue
        measured: Mapping[str, Any] = {}
        if offers(problem, "observer") is not None:
            measured = plan.observer()(plan.start)
        measures = resolved(work.measures, measured)
        _check_times(measures, plan.steps, training)
        return Work(work.problem, work.training, measures)
    assert first is not None
    raise first


def _check_times(measures: Sequence[Measure], steps: int, training: Mapping[str, Any]) -> None:
    for each in measures:
        if isinstance(each, Named) and each.quantity.is_of_steps and each.quantity.over > steps:
            raise InvalidValue(
                f"measure is {short(each.text)}; expected a mean over at most {steps}, the steps of a run."
            )
        if isinstance(each, Named) and each.kind == "at" and each.at > steps:
            raise InvalidValue(f"measure is {short(each.text)}; expected a step of at most {steps}, which runs have.")
        if (
            isinstance(each, Named)
            and not each.quantity.is_of_steps
            and "measure" in training
            and training["measure"] is None
        ):
            raise InvalidValue(
                f"measure is {short(each.text)} and training['measure'] None; expected it to be left out."
            )


def _check_kept(work: Work) -> None:
    """TypeError where a store would not tell the problem or a measure from others."""
    odd = not_stored("problem", [getattr(work.problem, name) for name in work.given])
    if odd is not None:
        raise InvalidType(
            f"problem holds {short(odd[1])}, which a store does not hold; expected plain values, or out=None."
        )
    for each in work.measures:
        if isinstance(each, ByFunction) and not each.is_told:
            raise InvalidType(
                f"measure is {short(each.function)}, which a store does not tell from others; expected a function at the top "
                "level of a module, or out=None."
            )


def sweep(
    problem: Any,
    over: Any,
    *,
    seeds: Any = SEEDS,
    measure: Any,
    training: Mapping[str, Any] | None = None,
    executor: Any = None,
    jobs: int | None = None,
    threads: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int, str], object] | None = None,
    tell: Callable[[str], object] | None = None,
) -> Table:
    """Train at every setting of a grid with every seed, and measure each run.

    Parameters
    ----------
    problem : a paper's Problem
        It supplies the settings that are not swept over.
    over : dict of str to list, or list of dict
        {"alpha": [0.4, 0.8], "beta": [1, 2]}: all combinations. [{"alpha": 0.4, "beta": 2}, ...]: these settings. Names are
        fields of the problem, or arguments of `nlicl.train`: steps, learning_rate, batch, optimizer, ...
    seeds : int, or sequence of int
        A number n means the seeds 0 to n - 1; a sequence lists the seeds.
    measure : str, callable, list of them, or dict of str to them
        The result of each run: a number from its history, "steps until hinge_unseen < 0.1", "hinge_unseen" (the last value),
        "hinge_unseen at 200", "lowest training_loss", "training_loss over 10" (the mean of the last 10); or a function of the
        `Run`. A dict names the columns. If all measures are "steps until", a run ends as soon as all are reached.
    training : dict, optional
        Further arguments of `nlicl.train`, for all runs. "measure" is the number of steps between measurements. Default: 20.
    executor : object with submit, or str, optional
        Any executor with `submit(f, *args)` and futures with `.result()`, as of concurrent.futures, Dask, mpi4py.futures,
        submitit, executorlib; or a text for Dask: "local", the address of a scheduler, its file. Default: threads of this
        process, one run per core.
    jobs : int, optional
        Use this many processes of this machine instead.
    threads : int, optional
        Threads of a worker. Default: by the number of its cores.
    out : path, optional
        A folder for the records. Runs that it already has are not repeated: an interrupted sweep continues, and a larger grid
        adds to it. Several processes may sweep into one folder at once. Its `table.csv` has all records.
    progress : callable, optional
        (done, total, text) -> None.
    tell : callable, optional
        (text) -> None, called with messages for the reader, such as a lost worker. Default: a RuntimeWarning.

    Returns
    -------
    Table
        One record per run. A run that diverged, or a setting that the problem refuses, is a record with its reason. A record
        depends on its setting and seed alone, to the bit.

    Raises
    ------
    ValueError, TypeError
        An unknown setting, an empty grid, a measure that does not exist, the store of another sweep; every setting is refused.
    nlicl.experiments.pool.ExecutorLost
        The executor is gone, for example because a scheduler cannot be reached. `out` has the finished runs.
    OSError
        The folder cannot be written, or its contents were deleted during the sweep.
    KeyboardInterrupt
        Ctrl-C. `out` has the finished runs; the same call continues.
    """
    if jobs is not None:
        jobs = integer("jobs", jobs, 1)
        if executor is not None:
            raise InvalidValue("jobs and executor are both given; expected one of them.")
    if threads is not None:
        threads = integer("threads", threads, 1)
    for name, given in (("progress", progress), ("tell", tell)):
        if given is not None:
            function(name, given)
    with held() as signals:
        plan = planned(problem, over, seeds=seeds, measure=measure, training=training, out=out)
        return follow(plan, executor, jobs, threads, progress, tell, signals.look)


def follow(
    plan: Plan,
    executor: Any,
    jobs: int | None,
    threads: int | None,
    progress: Callable[[int, int, str], object] | None,
    tell: Callable[[str], object] | None,
    look: Callable[[], None],
) -> Table:
    """Make the runs of a plan, and keep their records."""
    found: dict[str, Record] = {}
    store, total = plan.store, len(plan.grid)
    todo = plan.count()
    done = total - todo
    text = ", ".join(plan.grid.names)
    if progress is not None:
        progress(done, total, text)
    try:
        if todo:
            turn = 0 if store is None else store.turn()
            with opened(executor, jobs=jobs, threads=threads, tell=tell) as crew:
                for records in made(plan.work, plan.todo(turn), crew, look, total=todo, tell=tell):
                    if store is None:
                        found |= {each.key: each for each in records}
                    else:
                        store.add(records)
                    done += len(records)
                    if progress is not None:
                        progress(min(done, total), total, text)
    except BaseException:
        if store is not None:
            with suppress(OSError):
                write_table(store)
        raise
    finally:
        if store is not None:
            store.close()
    if store is not None:
        found = store.records()
        write_table(store, found)
    asked = []
    for key, cell in plan.keyed():
        if key not in found:
            raise OSError(errno.ENOENT, "records are gone that were there; the same sweep makes them again")
        asked.append(found[key]._replace(over=overs(cell)))  # in the names of this call
    table = Table(plan.grid.names, [each.name for each in plan.work.measures], asked)
    _check_some(table)
    return table


def table_of(store: Store, found: Mapping[str, Record]) -> Table:
    """All records of a store, by key. Those of a sweep over fewer names have the usual value of the others."""
    names = store.about["over"]
    usual = {name: store.usual(name) for name in names}
    records = (each._replace(over={**usual, **each.over}) for each in found.values())
    return Table(names, list(store.about["measures"]), records)


def write_table(store: Store, found: Mapping[str, Record] | None = None) -> Table:
    """Write the table of a store: table.csv, and table.parquet where pyarrow is installed. `found`: its records, if read."""
    table = table_of(store, store.records() if found is None else found)
    table.to_csv(store.folder / TABLE)
    if has_parquet():
        table.to_parquet((store.folder / TABLE).with_suffix(".parquet"))
    return table


def _check_some(table: Table) -> None:
    """InvalidValue if every setting was refused, for one reason: it is what was asked for that is wrong."""
    reasons = {each.reason for each in table}
    if len(table) and len(reasons) == 1 and all(each.state == "refused" for each in table):
        raise InvalidValue(f"every setting is refused: {reasons.pop()}")
