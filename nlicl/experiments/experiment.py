"""Numerical experiments over seeds: what to train, what to measure, and what it comes to.

An `Experiment` is three plain functions of a dict of options. `runs` names the training runs that it needs. `measure` looks at
those of one seed. `assemble` puts the seeds together into a result with claims. Experiments that need the same run share it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from ..core.checks import boolean, choice, integer
from ..core.describe import kind_of, short
from ..core.errors import InvalidType, InvalidValue
from ..core.interruption import held
from ..core.memory import check_count
from ..core.registry import MODELS
from ..core.seeds import checked
from ..training.loop import train
from ..training.many import Job, side_by_side
from ..training.optimizers import Optimizer
from ..training.plan import Plan, make_plan
from ..training.problem import Observer
from ..training.runs import Diverged, Run
from .pool import check_known, check_sendable, warn, workers
from .sweeps.executors import opened, submitter

__all__ = ["Experiment", "Found", "Measured", "Options", "Runs", "Seeds", "Training", "by_name", "execute", "no_runs"]

Options = Mapping[str, Any]  # the experiment's options, and `quick`
Runs = Mapping[str, Run]  # the runs of one seed, by the names that `Experiment.runs` gave them
Seeds = Sequence[int]
Measured = Mapping[str, Any]  # what `Experiment.measure` returns for one seed
Found = Sequence[Measured]  # the same for all seeds


@dataclass(frozen=True)
class Training:
    """A training run to be made for every seed. Equal ones are made once. The fields are arguments of `nlicl.train`.

    One differs: `observe`, if given, takes (problem, seed) and returns what `nlicl.train` calls `observe`.
    """

    problem: Any
    steps: int | None = None
    learning_rate: float | None = None
    batch: int | None = None
    measure: int | tuple[int, ...] | None = 20
    observe: Callable[[Any, int], Callable[[Any], Mapping[str, Any]]] | None = None
    until: Callable[[Any], bool] | None = None
    loss: str | None = None
    model: str | None = None
    optimizer: Optimizer | None = None
    dtype: DTypeLike = np.float64
    prompts: str | int | None = None

    def run(self, seed: int) -> Run:
        """Train with this seed."""
        observe = None if self.observe is None else self.observe(self.problem, seed)
        return train(self.problem, seed=seed, observe=observe, until=self.until, **self._options)

    def job(self, seed: int, name: str) -> Job:
        """The same run, to be made beside others."""
        observe = None if self.observe is None else partial(_observer, self.observe, seed)
        return Job(name, partial(make_plan, self.problem, seed=seed, **self._options), observe, self.until)

    @property
    def _options(self) -> dict[str, Any]:
        """What goes into the plan of a run, but for problem and seed."""
        apart = ("problem", "observe", "until")
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in apart}


def _observer(make: Callable[[Any, int], Callable[[Any], Mapping[str, Any]]], seed: int, plan: Plan) -> Observer:
    """The observer of a run."""
    return make(plan.problem, seed)


@dataclass(frozen=True)
class Experiment:
    """A computation over seeds: which runs it needs, what it measures, how it sums up.

    All functions stand at the top level of a module, so that other processes find them.

    Attributes
    ----------
    name, title : str
        The name is what the command line asks for: PAPER:NAME.
    runs : callable
        options -> dict of name to `Training`.
    measure : callable
        (options, seed, runs: dict of name to `Run`) -> dict of name to number or array.
    assemble : callable
        (options, seeds, found: list of what `measure` returned, one a seed) -> a result with `.claims`.
    options : dict
        Names and defaults of what a user may set. The functions also find `quick` (bool) among their options.
    check : callable, optional
        Takes the options, and raises `nlicl.core.errors.InvalidValue` or `InvalidType`, with the reason, if the experiment
        makes no sense with them.
    needs : tuple of (str, str)
        Modules beyond the library's own requirements, each with the extra that installs it: ("sklearn", "baselines").
    """

    name: str
    title: str
    runs: Callable[[Options], Mapping[str, Training]]
    measure: Callable[[Options, int, Runs], Measured]
    assemble: Callable[[Options, Seeds, Found], Any]
    options: Options = field(default_factory=dict)
    check: Callable[[Options], object] | None = None
    needs: tuple[tuple[str, str], ...] = ()

    def result(self, options: Options, seeds: Seeds, found: Found) -> Any:
        """The experiment's result, from what `measure` returned for each seed."""
        return self.assemble(options, seeds, found)

    def chosen(self, options: Options | None, quick: bool) -> Options:
        """The defaults, with those replaced that are given; ValueError or TypeError if the experiment refuses them."""
        if options is not None and not isinstance(options, Mapping):
            raise InvalidType(f"options is {short(options)}; expected a dict of names to values, or None.")
        unknown = set(options or ()) - set(self.options)
        if unknown:
            raise InvalidValue(
                f"{self.name} has no setting {sorted(unknown)[0]!r}; it has {', '.join(self.options) or 'none'}."
            )
        found = {**self.options, **(options or {}), "quick": quick}
        if self.check is not None:
            self.check(found)
        return found

    def needed(self, options: Options) -> Mapping[str, Training]:
        """What `runs` says; TypeError or ValueError if that is no dict of names to runs that can be told apart."""
        runs, where = self.runs(options), f"runs of the experiment {self.name}"
        if not isinstance(runs, Mapping):
            raise InvalidType(f"{where} returns {short(runs)}; expected a dict of names to Training.")
        for name, run in runs.items():
            if not isinstance(run, Training):
                raise InvalidType(f"{where} says that {name!r} is {short(run)}; expected a Training.")
            try:
                hash(run)
            except TypeError as error:
                raise InvalidType(
                    f"{where} names {name!r}, a Training with a field that has no hash ({error}); expected fields by which "
                    "runs are told apart: a tuple for a list, a frozen dataclass for an optimizer or a problem."
                ) from None
            if isinstance(run.model, str):
                choice("model", run.model, MODELS.names())
        return runs


def no_runs(options: Options) -> dict[str, Training]:
    """`runs` of an experiment that needs no training runs, or makes them when it measures."""
    return {}


E = TypeVar("E", bound=Experiment)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def by_name(experiments: Iterable[N]) -> dict[str, N]:
    """Experiments as `FIGURES`, `THEOREMS` and `SWEEPS` hold them, by their names; ValueError if two have the same."""
    found: dict[str, N] = {}
    for experiment in experiments:
        if found.setdefault(experiment.name, experiment) is not experiment:
            raise InvalidValue(
                f"two experiments are called {experiment.name!r}; expected another name for one of them."
            )
    return found


def execute(
    experiments: Sequence[E],
    seeds: Seeds,
    *,
    options: Options | None = None,
    quick: bool = False,
    jobs: int | None = None,
    executor: Any = None,
    progress: Callable[[int, int, str], object] | None = None,
    tell: Callable[[str], object] | None = None,
) -> Iterator[tuple[E, Any]]:
    """Do experiments over seeds, and yield each result as soon as it is there.

    Parameters
    ----------
    experiments : list of Experiment
    seeds : list of int
    options : dict, optional
        Values that replace the experiments' defaults.
    quick : bool
        A rough version of everything.
    jobs : int, optional
        Processes, at least 1; 1, as if not given: this one, where runs are trained side by side in threads.
    executor : object with submit, or str, optional
        Who trains and measures instead, as of `nlicl.sweep`. It is not shut down. The results depend on neither.
    progress : callable, optional
        (done, total, name) -> None.
    tell : callable, optional
        (text) -> None, called with what a reader should know: that a worker process was ended from outside, and its work is
        done again. A RuntimeWarning if not given.

    Yields
    ------
    (Experiment, result)

    Raises
    ------
    ValueError, TypeError
        Before any work: an argument is none of these, an option is unknown, or an experiment refuses it; its runs are no
        `Training`; with several processes, something that cannot be sent there, or a model that is not found there. A model
        that is neither the library's nor declared by an entry point is found if the module of its class registers it.
        What is refused in a worker process is raised here with the same type.
    nlicl.experiments.pool.WorkerLost
        A worker process was ended from outside again and again; the seed is named.
    nlicl.experiments.pool.ExecutorLost
        The executor is gone.
    """
    quick = boolean("quick", quick)
    if executor is not None and jobs is not None:
        raise InvalidValue("jobs and executor are both given; expected one of them.")
    jobs = 1 if jobs is None else integer("jobs", jobs, 1)
    seeds = _checked_seeds(seeds)
    if not isinstance(experiments, Iterable):
        raise InvalidType(f"experiments is {short(experiments)}; expected a list of Experiment.")
    experiments = list(experiments)
    for experiment in experiments:
        if not isinstance(experiment, Experiment):
            raise InvalidType(f"experiments holds a {kind_of(experiment)}; expected Experiment.")
    choices = [experiment.chosen(options, quick) for experiment in experiments]
    needed = [experiment.needed(choice) for experiment, choice in zip(experiments, choices, strict=True)]
    here = executor is None and jobs == 1
    if not here and not isinstance(executor, ThreadPoolExecutor):
        for experiment, choice, runs in zip(experiments, choices, needed, strict=True):
            check_sendable(f"measure of the experiment {experiment.name}", experiment.measure)
            check_sendable(f"the dict of options of the experiment {experiment.name}", choice)
            for name, run in runs.items():
                check_sendable(f"the run {name!r} of the experiment {experiment.name}", run)
    total = len({(run, seed) for runs in needed for run in runs.values() for seed in seeds}) + len(seeds) * len(needed)
    done = 0
    finished: dict[tuple[Training, int], Run] = {}

    def step(name: str) -> None:
        if progress is not None:
            progress(done, total, name)

    def trained(name: str, *_: int) -> None:
        nonlocal done
        done += 1
        step(f"{name}: training")

    at_once = len(seeds) * max((len(runs) for runs in needed), default=1) or len(seeds)
    with _submitting(jobs, executor, at_once, tell) as submit:
        named = {run.model for runs in needed for run in runs.values() if isinstance(run.model, str)}
        if not here and named:
            submit("the search for models", check_known, named)()
        for experiment, choice, runs in zip(experiments, choices, needed, strict=True):
            step(experiment.name)
            missing = dict.fromkeys(
                (run, seed) for seed in seeds for run in runs.values() if (run, seed) not in finished
            )
            trainings = f"seed {{}} of {experiment.name}, training"
            if here:
                made = [run.job(seed, trainings.format(seed)) for run, seed in missing]
                finished |= zip(missing, _made(made, partial(trained, experiment.name)), strict=True)
            else:
                sent = [submit(trainings.format(key[1]), Training.run, *key) for key in missing]
                for key, result in zip(missing, sent, strict=True):
                    finished[key] = result()
                    trained(experiment.name)
            found = []
            for result in [
                submit(
                    f"seed {seed} of {experiment.name}",
                    experiment.measure,
                    choice,
                    seed,
                    {name: finished[run, seed] for name, run in runs.items()},
                )
                for seed in seeds
            ]:
                found.append(result())
                done += 1
                step(f"{experiment.name}: measuring")
            yield experiment, experiment.result(choice, seeds, found)


@contextmanager
def _submitting(
    jobs: int, executor: Any, at_once: int, tell: Callable[[str], object] | None
) -> Iterator[Callable[..., Callable[[], Any]]]:
    """(name, f, *arguments) -> a function without arguments, which returns f(*arguments): by jobs, or by an executor."""
    if executor is None:
        with workers(jobs, dict.fromkeys(type(model).__module__ for model in MODELS), at_once, tell) as submit:
            yield submit
    else:
        tell = tell or warn
        with opened(executor, tell=tell) as crew:
            yield submitter(crew, tell)


def _made(jobs: Sequence[Job], finished: Callable[[int], object]) -> list[Run]:
    """The runs of all jobs, made side by side in this process; if some diverged, the first of them is raised at the end."""
    with held() as signals:
        found = side_by_side(jobs, signals, finished=finished)
    runs = [each for each in found if isinstance(each, Run)]
    if len(runs) < len(found):
        raise next(each for each in found if isinstance(each, Diverged))
    return runs


def _checked_seeds(seeds: Any) -> list[int]:
    """The seeds as a list of integers; TypeError or ValueError unless there is at least one."""
    if not isinstance(seeds, Iterable) or isinstance(seeds, (str, bytes)):
        raise InvalidType(f"seeds is {short(seeds)}; expected a list of integers.")
    check_count("seeds", seeds, 50)
    found = checked(list(seeds))
    if not found:
        raise InvalidValue("seeds is empty; expected at least one.")
    return found
