"""Numerical experiments over seeds: what to train, what to measure, what is claimed, and a pool that does it.

An `Experiment` is three plain functions of a dict of options: `runs` names the training runs it needs, `measure` looks at
those of one seed, `assemble` puts the seeds together into a result with claims. Experiments that need the same run share it.
"""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context

import numpy as np

from ..core.errors import InvalidValue
from ..training.loop import train

__all__ = ["Claim", "Experiment", "Training", "every", "execute", "fact", "interval", "mean_within"]


# ---- Claims


@dataclass(frozen=True)
class Claim:
    """A statement with what it expects, what was found, and whether it holds.

    Attributes
    ----------
    claim, expected, measured : str
    holds : bool or None
        None: undetermined; it does not hold, and nothing promises it at these settings.
    values : list of float
        What was measured, one a seed where it is a claim about seeds.
    """

    claim: str
    expected: str
    measured: str
    holds: bool
    values: list = field(default_factory=list, repr=False)


def every(claim, values, low=-np.inf, high=np.inf):
    """A claim about every seed: each value lies from `low` to `high`."""
    values = np.asarray(values, float)
    holds = bool(np.all((values >= low) & (values <= high)))
    return Claim(claim, f"{_range(low, high)} for every seed", _spread(values), holds, values.tolist())


def mean_within(claim, values, low=-np.inf, high=np.inf):
    """A claim about the mean over seeds: its 95% interval lies from `low` to `high`. It takes at least two seeds."""
    values = np.asarray(values, float)
    mean, lowest, highest = interval(values)
    holds = bool(lowest >= low and highest <= high)
    measured = f"{mean:.4g} (95% interval {lowest:.4g} to {highest:.4g})"
    return Claim(claim, f"mean {_range(low, high)}", measured, holds, values.tolist())


def fact(claim, holds, measured, expected, values=()):
    """A claim of any other form."""
    return Claim(claim, expected, measured, bool(holds), np.asarray(values, float).ravel().tolist())


def interval(values):
    """Mean, and the ends of its 95% interval by Student's t; the whole line for a single value."""
    from scipy.stats import t

    values = np.asarray(values, float)
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return mean, -np.inf, np.inf
    half = float(t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def _range(low, high):
    if np.isinf(low):
        return f"at most {high:.4g}"
    return f"at least {low:.4g}" if np.isinf(high) else f"{low:.4g} to {high:.4g}"


def _spread(values):
    if np.isnan(values).any():
        return f"not reached in {np.isnan(values).sum()} of {values.size}"
    low, high = values.min(), values.max()
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}, mean {values.mean():.4g}"


# ---- Experiments


@dataclass(frozen=True)
class Training:
    """A training run to be made for every seed; equal ones are made once. Fields as in `nlicl.train`.

    `observe`, if given, is called with (problem, seed) and returns what `nlicl.train` calls `observe`.
    """

    problem: object
    steps: int | None = None
    learning_rate: float | None = None
    batch: int | None = None
    measure: int | None = 20
    observe: Callable | None = None
    until: Callable | None = None

    def run(self, seed):
        return train(
            self.problem,
            steps=self.steps,
            learning_rate=self.learning_rate,
            batch=self.batch,
            seed=seed,
            measure=self.measure,
            observe=None if self.observe is None else self.observe(self.problem, seed),
            until=self.until,
        )


@dataclass(frozen=True)
class Experiment:
    """A figure or a theorem, as what there is to do. All functions stand at the top level of a module.

    Attributes
    ----------
    name, title : str
    runs : callable
        options -> dict of name to `Training`.
    measure : callable
        (options, seed, runs: dict of name to `Run`) -> dict of name to number or array.
    assemble : callable
        (options, seeds, found: list of what `measure` returned, one a seed) -> a result with `.claims`.
    options : dict
        Names and defaults of what a user may set; `quick` (bool) is always there as well.
    check : callable, optional
        options -> None; raises ValueError where the experiment makes no sense, with the reason.
    needs : tuple of (str, str)
        Modules beyond the library's own requirements, each with the extra that installs it: ("sklearn", "baselines").
    """

    name: str
    title: str
    runs: Callable
    measure: Callable
    assemble: Callable
    options: dict = field(default_factory=dict)
    check: Callable | None = None
    needs: tuple = ()


def execute(experiments, seeds, *, options=None, quick=False, jobs=1, progress=None):
    """Do experiments over seeds, and hand out each result as soon as it is there.

    Parameters
    ----------
    experiments : list of Experiment
    seeds : list of int
    options : dict, optional
        In place of the experiments' defaults.
    quick : bool
        A rough version of everything.
    jobs : int
        Processes; 1: this one. The results do not depend on it.
    progress : callable, optional
        (done, total, name) -> None.

    Yields
    ------
    (Experiment, result)

    Raises
    ------
    ValueError
        Options that are unknown, or refused by an experiment: before any work.
    """
    chosen = []
    for experiment in experiments:
        unknown = set(options or ()) - set(experiment.options)
        if unknown:
            raise InvalidValue(
                f"{experiment.name} has no setting {sorted(unknown)[0]!r}; it has {', '.join(experiment.options) or 'none'}."
            )
        chosen.append({**experiment.options, **(options or {}), "quick": quick})
        if experiment.check is not None:
            experiment.check(chosen[-1])
    needed = [experiment.runs(choice) for experiment, choice in zip(experiments, chosen, strict=True)]
    total = len({(run, seed) for runs in needed for run in runs.values() for seed in seeds}) + len(seeds) * len(needed)
    done = 0
    finished = {}  # (Training, seed) -> Run
    with _workers(jobs) as submit:
        for experiment, choice, runs in zip(experiments, chosen, needed, strict=True):
            if progress is not None:
                progress(done, total, experiment.name)
            missing = list(dict.fromkeys((run, seed) for seed in seeds for run in runs.values()))
            missing = [key for key in missing if key not in finished]
            for key, result in zip(missing, [submit(Training.run, *key) for key in missing], strict=True):
                finished[key] = result()
                done += 1
                if progress is not None:
                    progress(done, total, f"{experiment.name}: training")
            found = []
            for result in [
                submit(experiment.measure, choice, seed, {name: finished[run, seed] for name, run in runs.items()})
                for seed in seeds
            ]:
                found.append(result())
                done += 1
                if progress is not None:
                    progress(done, total, f"{experiment.name}: measuring")
            yield experiment, experiment.assemble(choice, seeds, found)


@contextmanager
def _workers(jobs):
    """A function (f, *arguments) -> () -> f(*arguments): here and now, or in one of `jobs` processes of one thread each.

    Workers live as long as `alive` is open here: it is closed where the work is interrupted, and by the system if this process
    ends in whatever way. None is left behind, and none is waited for.
    """
    if jobs == 1:
        yield lambda function, *arguments: lambda: function(*arguments)
        return
    settings = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)  # workers read it when they start
    context = get_context("spawn")
    watched, alive = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(watched,))
    try:
        yield lambda function, *arguments: pool.submit(function, *arguments).result
    except BaseException:
        alive.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for end in (watched, alive):
            end.close()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin(watched):
    """In a worker: end with the work, and without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the workers as well
    threading.Thread(target=_end_with, args=(watched,), daemon=True).start()


def _end_with(watched):
    """End this process, in the midst of what it does, when the other end of the pipe is closed."""
    with suppress(OSError):
        watched.poll(None)
    os._exit(1)
