"""Many runs side by side, each in one thread: seeds of a problem, or runs of different ones.

Kernels release Python's lock, so that runs whose work is in kernels keep all cores busy. A run's bits do not depend on who
runs beside it.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, overload

import numpy as np

from ..core.checks import integer
from ..core.describe import short
from ..core.errors import InvalidKey, InvalidValue
from ..core.interruption import Held
from ..core.memory import check_count
from ..kernels.compile import THREADS, threads_at_most
from .checkpoint import CHECKPOINT
from .columns import LOSS, frame_of_seeds, plot_of_seeds
from .course import Progress, Stopped, Told, Until, follow
from .notebook import runs_html
from .plan import Plan
from .problem import Observer
from .runs import Diverged, Run

__all__ = ["Job", "Runs", "checked_seeds", "of_seeds", "side_by_side"]

_POLL = 0.05  # seconds after which the caller's thread looks whether a signal came


class Runs(Sequence[Run]):
    """Runs of one problem that differ in their seeds, in the order of these.

    Attributes
    ----------
    seeds : tuple of int
    diverged : dict of int to Diverged
        By seed, what `nlicl.train` would have raised for that seed alone. The run of such a seed ends there.
    """

    __module__ = "nlicl.training"

    def __init__(self, seeds: Sequence[int], runs: Sequence[Run], diverged: Mapping[int, Diverged]) -> None:
        self.seeds, self._runs, self.diverged = tuple(seeds), tuple(runs), dict(diverged)

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> "Runs": ...

    def __getitem__(self, index: Any) -> Any:
        """`runs[i]` is the run of `runs.seeds[i]`; a slice gives fewer `Runs`."""
        if not isinstance(index, slice):
            return self._runs[index]
        seeds = self.seeds[index]
        return Runs(seeds, self._runs[index], {seed: self.diverged[seed] for seed in seeds if seed in self.diverged})

    def __len__(self) -> int:
        return len(self._runs)

    def at(self, step: int, name: str) -> np.ndarray:
        """`name` as measured after `step` updates: one entry a run (n, ...).

        Raises
        ------
        KeyError
            A run has no such measurement; its seed is told.
        """
        found = []
        for seed, run in zip(self.seeds, self._runs, strict=True):
            try:
                found.append(run.history.at(step, name))
            except InvalidKey as error:
                raise InvalidKey(f"seed {seed}: {error.args[0]}") from None
        return np.array(found)

    def to_pandas(self) -> Any:
        """What all runs recorded, as a pandas.DataFrame with the index (seed, step); columns as of `History.to_pandas`.

        Raises
        ------
        ModuleNotFoundError
            pandas is not installed.
        """
        return frame_of_seeds({seed: run.history for seed, run in zip(self.seeds, self._runs, strict=True)})

    def plot(self, name: str = LOSS, *, axes: Any = None) -> Any:
        """Draw the median over seeds against the step, with a band from the lowest to the highest seed.

        Seeds that diverged are left out, and so are steps that not all of the others have.

        Parameters
        ----------
        name, axes
            As of `Run.plot`.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ModuleNotFoundError
            matplotlib is not installed.
        KeyError, ValueError
            It was not measured, or is an array at each step; every seed diverged.
        """
        kept = [run.history for seed, run in zip(self.seeds, self._runs, strict=True) if seed not in self.diverged]
        if not kept:
            raise InvalidValue(f"all {len(self)} seeds diverged; expected one that did not, to draw. See .diverged.")
        return plot_of_seeds(kept, name, axes)

    def _repr_html_(self) -> str | None:
        return runs_html(self)

    def __repr__(self) -> str:
        lost = f", {len(self.diverged)} of them diverged" if self.diverged else ""
        return f"Runs({len(self)} seeds, {short(list(self.seeds))}{lost})"


def checked_seeds(seed: Any) -> int | tuple[int, ...]:
    """A seed, or several: TypeError or ValueError unless it is an integer of at least 0, or such integers, each once."""
    several = isinstance(seed, (list, tuple, range)) or (isinstance(seed, np.ndarray) and seed.ndim == 1)
    if not several:
        return integer("seed", seed, 0, most=None)
    check_count("seed", seed, 5000)
    seeds = tuple(integer(f"seed[{i}]", each, 0, most=None) for i, each in enumerate(seed))
    if not seeds:
        raise InvalidValue("seed is empty; expected an integer, or at least one of them.")
    if len(set(seeds)) < len(seeds):
        twice = next(each for i, each in enumerate(seeds) if each in seeds[:i])
        raise InvalidValue(f"seed holds {twice} twice; expected each seed once: the same seed gives the same run.")
    return seeds


class Job(NamedTuple):
    """A run to be made.

    Attributes
    ----------
    name : str
        For errors that are no divergence.
    plan : callable
        () -> Plan, called in the thread of the run.
    observe : callable or None
        Plan -> Observer; the problem's if not given.
    until : callable or None
    folder, resume
        As `follow` takes them.
    """

    name: str
    plan: Callable[[], Plan]
    observe: Callable[[Plan], Observer] | None = None
    until: Until | None = None
    folder: Path | None = None
    resume: bool = False

    def run(self, tell: Progress | None, signals: Any) -> Run:
        """Make it."""
        plan = self.plan()
        observe = None if self.observe is None or not plan.times else self.observe(plan)
        return follow(plan, self.folder, self.resume, Told(observe, self.until, tell, each_step=False), signals)


class _Stop(Held):
    """What ends runs in other threads: they look, and nothing breaks them off."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def look(self) -> None:
        if self.asked.is_set():
            raise Stopped


def side_by_side(
    jobs: Sequence[Job],
    signals: Held,
    tell: Callable[[int, int, float], object] | None = None,
    finished: Callable[[int], object] | None = None,
    threads: int = THREADS,
) -> list[Run | Diverged]:
    """Make all runs, so many at a time as there are threads; what each of them came to, in their order.

    Nobody waits for a run that diverged. Any other error ends all runs, and so does Ctrl-C: each keeps what it has reached, if
    it has a folder, and the error is raised.

    Parameters
    ----------
    jobs : sequence of Job
    signals : Held
        Of the thread that calls.
    tell : callable, optional
        (number of the job, t, loss) -> None, called in the caller's thread when some steps of it were made.
    finished : callable, optional
        (number of the job) -> None, called in the caller's thread.
    threads : int
        At most so many runs at a time.
    """
    found: list[Run | Diverged | None] = [None] * len(jobs)
    if min(threads, len(jobs)) <= 1:
        for i, job in enumerate(jobs):
            found[i] = _outcome(job, None if tell is None else _numbered(tell, i), signals)
            if finished is not None:
                finished(i)
        return found  # type: ignore[return-value]  # none is left
    at_work = min(threads, len(jobs))
    share = max(1, THREADS // at_work)
    stop, waiting = _Stop(), iter(range(len(jobs)))
    heard: SimpleQueue[tuple[int, Any]] = (
        SimpleQueue()
    )  # (number, steps and loss, or what it came to); -1: a thread ends
    taking = threading.Lock()

    def work() -> None:
        with threads_at_most(share):
            while not stop.asked.is_set():
                with taking:
                    i = next(waiting, -1)
                if i < 0:
                    break
                try:
                    put = None if tell is None else _numbered(lambda i, *made: heard.put((i, made)), i)
                    heard.put((i, _outcome(jobs[i], put, stop)))
                except BaseException as error:
                    heard.put((i, error))  # before the others hear of it, and end
                    stop.asked.set()
        heard.put((-1, None))

    for n in range(at_work):
        threading.Thread(target=work, name=f"nlicl-run-{n}", daemon=True).start()
    error: BaseException | None = None
    while at_work:
        try:
            signals.look()
            i, what = heard.get(timeout=_POLL)
            if i < 0:
                at_work -= 1
            elif isinstance(what, (Run, Diverged)):
                found[i] = what
                if finished is not None and error is None:
                    finished(i)
            elif isinstance(what, tuple):
                if tell is not None and error is None:
                    tell(i, *what)
            else:
                error = error or what
        except Empty:
            pass
        except BaseException as raised:  # of `look`, `tell` or `finished`
            if stop.asked.is_set() and isinstance(raised, KeyboardInterrupt):
                raise  # a second Ctrl-C does not wait
            error = raised
            stop.asked.set()
    if error is not None:
        raise error
    return found  # type: ignore[return-value]  # none is left


def _numbered(tell: Callable[[int, int, float], object], i: int) -> Progress:
    """What a run tells, with its number."""
    return lambda t, steps, loss: tell(i, t, loss)


def _outcome(job: Job, tell: Progress | None, signals: Any) -> Run | Diverged:
    """The run, or that it diverged; another error gets a note that says in which run it came."""
    try:
        return job.run(tell, signals)
    except Diverged as error:
        return error
    except Exception as error:
        error.add_note(f"in the run of {job.name}")
        raise


# ---- Seeds


def of_seeds(
    seeds: Sequence[int],
    first: Plan,
    make: Callable[[int], Plan],
    folder: Path | None,
    resume: bool,
    told: Told,
    signals: Held,
) -> Runs:
    """`nlicl.train` with several seeds: see there. `make` gives the plan of a seed, `first` is that of the first."""
    folders = [None if folder is None else folder / f"seed-{seed}" for seed in seeds]
    if folder is not None:
        first.check_stores()
        if not resume:
            _check_free(folders)
    one = threading.Lock()
    observe = None if told.observe is None else _one_at_a_time(told.observe, one)
    jobs = [
        Job(
            f"seed {seed}",
            lambda seed=seed: make(seed),  # type: ignore[misc]
            None if observe is None else lambda plan: observe,
            None if told.until is None else _one_at_a_time(told.until, one),
            each,
            resume,
        )
        for seed, each in zip(seeds, folders, strict=True)
    ]
    tell = None if told.progress is None else _Sum(told.progress, first.steps, len(seeds))
    with _kept(folder):
        found = side_by_side(jobs, signals, tell, threads=1 if first.device == "cuda" else THREADS)
    lost = {seed: each for seed, each in zip(seeds, found, strict=True) if isinstance(each, Diverged)}
    runs = Runs(seeds, [each.run if isinstance(each, Diverged) else each for each in found], lost)
    if lost:
        seed, error = next(iter(lost.items()))
        raise Diverged(
            f"{len(lost)} of {len(seeds)} seeds diverged: {short(list(lost))}. Of seed {seed}: {error} The runs of all seeds "
            "are in .runs.",
            error.run,
            runs,
        )
    return runs


def _check_free(folders: Sequence[Path | None]) -> None:
    """FileExistsError if one of the folders holds a run."""
    for folder in folders:
        if folder is not None and os.path.lexists(folder / CHECKPOINT):
            raise FileExistsError(
                f"{folder} holds the checkpoint of a run; resume it (resume=True), or choose another folder."
            )


@contextmanager
def _kept(folder: Path | None) -> Iterator[None]:
    """The folder of the runs' folders is there meanwhile; afterwards, if it is empty and was not there before, it is not."""
    made = [] if folder is None else [each for each in (folder, *folder.parents) if not each.exists()]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for each in made:
            with suppress(OSError):  # it is not empty
                each.rmdir()


def _one_at_a_time(function: Callable[[Any], Any], lock: threading.Lock) -> Callable[[Any], Any]:
    """A function that several threads may call, none while another does."""

    def call(argument: Any) -> Any:
        with lock:
            return function(argument)

    return call


class _Sum:
    """Progress of all runs together: steps that were made, of all that there are, and the mean of the runs' last losses."""

    def __init__(self, progress: Progress, steps: int, runs: int) -> None:
        self.progress, self.steps = progress, steps * runs
        self.made: dict[int, tuple[int, float]] = {}

    def __call__(self, i: int, t: int, loss: float) -> None:
        self.made[i] = t, float(loss)
        made, losses = zip(*self.made.values(), strict=True)
        self.progress(sum(made), self.steps, sum(losses) / len(losses))
