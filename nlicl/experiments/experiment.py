"""Numerical experiments over seeds: what to train, what to measure, and what it comes to.

An `Experiment` is three plain functions of a dict of options. `runs` names the training runs that it needs. `measure` looks at
those of one seed. `assemble` puts the seeds together into a result with claims. Experiments that need the same run share it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..core.errors import InvalidValue
from ..training.loop import train
from ..training.optimizers import Optimizer
from ..training.runs import Run
from .pool import workers

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

    def run(self, seed: int) -> Run:
        """Train with this seed."""
        return train(
            self.problem,
            steps=self.steps,
            learning_rate=self.learning_rate,
            batch=self.batch,
            seed=seed,
            measure=self.measure,
            observe=None if self.observe is None else self.observe(self.problem, seed),
            until=self.until,
            loss=self.loss,
            model=self.model,
            optimizer=self.optimizer,
        )


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
        unknown = set(options or ()) - set(self.options)
        if unknown:
            raise InvalidValue(
                f"{self.name} has no setting {sorted(unknown)[0]!r}; it has {', '.join(self.options) or 'none'}."
            )
        found = {**self.options, **(options or {}), "quick": quick}
        if self.check is not None:
            self.check(found)
        return found


def no_runs(options: Options) -> dict[str, Training]:
    """`runs` of an experiment that needs no training runs, or makes them when it measures."""
    return {}


E = TypeVar("E", bound=Experiment)


def by_name(experiments: Iterable[E]) -> dict[str, E]:
    """Experiments as `FIGURES` and `THEOREMS` hold them, by their names; ValueError if two have the same."""
    found: dict[str, E] = {}
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
    jobs: int = 1,
    progress: Callable[[int, int, str], object] | None = None,
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
    jobs : int
        Processes; 1: this one. The results do not depend on it.
    progress : callable, optional
        (done, total, name) -> None.

    Yields
    ------
    (Experiment, result)

    Raises
    ------
    ValueError, TypeError
        An option is unknown, or an experiment refuses it: before any work. What is refused in a worker process is raised here
        with the same type.
    """
    choices = [experiment.chosen(options, quick) for experiment in experiments]
    needed = [experiment.runs(choice) for experiment, choice in zip(experiments, choices, strict=True)]
    total = len({(run, seed) for runs in needed for run in runs.values() for seed in seeds}) + len(seeds) * len(needed)
    done = 0
    finished: dict[tuple[Training, int], Run] = {}

    def tell(name: str) -> None:
        if progress is not None:
            progress(done, total, name)

    with workers(jobs) as submit:
        for experiment, choice, runs in zip(experiments, choices, needed, strict=True):
            tell(experiment.name)
            missing = dict.fromkeys(
                (run, seed) for seed in seeds for run in runs.values() if (run, seed) not in finished
            )
            for key, result in [(key, submit(Training.run, *key)) for key in missing]:
                finished[key] = result()
                done += 1
                tell(f"{experiment.name}: training")
            found = []
            for result in [
                submit(experiment.measure, choice, seed, {name: finished[run, seed] for name, run in runs.items()})
                for seed in seeds
            ]:
                found.append(result())
                done += 1
                tell(f"{experiment.name}: measuring")
            yield experiment, experiment.result(choice, seeds, found)
