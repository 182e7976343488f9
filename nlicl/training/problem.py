"""The members that a problem needs so that `nlicl.train` can train on it, and the optional ones.

`train` does not depend on any paper. It uses the members of `Problem`, which every problem has. It reads those of `Extras`
by `extra(problem, name)`. They are optional, because each of them has a default.
"""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.describe import short
from ..core.errors import InvalidType, NotFinite
from ..models.model import Batch

__all__ = [
    "Extras",
    "FreshDescent",
    "Observer",
    "Problem",
    "Schedule",
    "check_problem",
    "describe",
    "extra",
    "is_told",
    "not_stored",
    "numbers_plain",
    "own_fields",
    "own_fresh_descent",
    "with_fields",
]

Schedule = Callable[[int], float]
"""t -> eta_t / eta, what the learning rate is multiplied by at step t."""
Observer = Callable[[Any], Mapping[str, Any]]
"""Parameters -> a dict of numbers and arrays, the same names and shapes each time."""


class Problem(Protocol):
    """What every problem has. A frozen dataclass will do; what it inherits from does not matter."""

    @property
    def loss(self) -> str:
        """The name of the loss, one of the model's."""
        ...

    @property
    def trained(self) -> Sequence[str]:
        """The names of the parameters that train. The others stay as they are."""
        ...

    @property
    def learning_rate(self) -> float:
        """eta, the step size."""
        ...

    @property
    def batch(self) -> int | None:
        """B, the number of prompts in a step; None: all of a fixed training set."""
        ...

    @property
    def steps(self) -> int:
        """T, the number of steps."""
        ...

    def initialize(self, *, seed: int) -> Any:
        """The initial parameters, a NamedTuple of arrays. Its type says which model is trained."""
        ...

    def sample(self, n: int, *, seed: tuple[int, ...]) -> Batch:
        """Draw n prompts that the model takes. The prompts of step t have the seed (seed, t)."""
        ...


class FreshDescent(Protocol):
    """SGD on fresh prompts that a problem does itself, on the CPU: drawing, steps and updates, several steps a call.

    Its results must equal those of the usual way up to rounding: the prompts of step t are those of `sample(n, seed=(seed,
    t))`, where n is the batch. The bits must not depend on the number of threads, nor on how the steps are distributed over
    calls. The object of a run is called from one thread at a time.
    """

    def steps(
        self,
        params: Any,
        t: int,
        losses: NDArray[np.float64],
        etas: NDArray[np.float64],
        weight_decay: float,
        largest: float,
    ) -> tuple[Any, int, NotFinite | str | None]:
        """Steps t, t + 1, .., t + n - 1 of SGD, theta <- theta - eta_t (g_t + lambda theta) for what trains.

        It ends with a step whose loss is larger than `largest`, and before one whose loss, gradient or new parameters are not
        finite.

        Parameters
        ----------
        params : NamedTuple of ndarray
            The initial parameters: those returned for the steps before, or others of the same form. Do not write to them.
        losses : ndarray (n,)
            Output: the mean loss of each step's batch, before its update.
        etas : ndarray (n,)
        weight_decay, largest : float

        Returns
        -------
        params, made, why
            The parameters after the `made` steps, in arrays that nobody writes to again, and the reason why step t + made
            is impossible: `NotFinite`, for its loss or gradient, or a text. None if nothing is wrong.
        """
        ...


class Extras:
    """The optional members of a problem, and their defaults.

    Attributes
    ----------
    observer : callable or None
        `observer(seed=seed)` is an `Observer`, whose measurements go into the history. Without one, `train` must be given
        `observe`, or `measure=None`.
    prompts : {"fresh", "population"} or int
        What the problem trains on: new prompts every step, the population, or a fixed training set of so many prompts, drawn
        once from the run's seed. Each step uses `batch` of a fixed set; all of it if `batch` is None or at least its size.
    population : callable or None
        `population(seed=seed)` is a batch that stands for all prompts at once: its mean loss is the expected loss.
    check_descent : callable or None
        `check_descent(learning_rate)` raises ValueError where gradient descent on the population diverges at that step size.
    optimizer : Optimizer or str
        What trains it where no optimizer is named: an object of `nlicl.training`, or its name, "sgd", "adam" or "adamw", for
        its usual settings.
    weight_decay : float
        lambda, on what trains.
    schedule : Schedule or None
        None: the learning rate is constant.
    mask : dict of str to ndarray of bool
        What trains within a parameter, of the parameter's shape or of its last axis. A parameter without a mask trains whole.
    device_sampler : callable or None
        `device_sampler(n, dtype)` is a function, seed -> the prompts of `sample(n, seed=seed)`, drawn on a GPU.
    fresh_descent : callable or None
        `fresh_descent(params, batch=, seed=, loss=, trained=, masks=, step=)` is a `FreshDescent` from such parameters, or
        None where the usual way is to be taken: draw, loss and gradient by this `step` of the model, update. It is asked for
        once a run, if that is on the CPU, by SGD, and with fresh prompts. Whether it is None must depend on these arguments
        and on the shapes of the parameters alone. A subclass that draws otherwise, by a `sample` of its own, is not asked
        unless it has a `fresh_descent` of its own as well.
    case : str or None
        Which of several cases of its paper the problem is. The command line keeps named settings to their case.
    settings : callable or None
        `settings()` is every field with where its value comes from: name -> [value, mark]. Figures and theorems list it.
    """

    observer: Callable[..., Observer] | None = None
    prompts: str | int = "fresh"
    population: Callable[..., Batch] | None = None
    check_descent: Callable[[float], None] | None = None
    optimizer: Any = "sgd"
    weight_decay: float = 0.0
    schedule: Schedule | None = None
    mask: Mapping[str, NDArray[np.bool_]] = {}
    device_sampler: Callable[..., Callable[[tuple[int, ...]], Batch]] | None = None
    fresh_descent: Callable[..., FreshDescent | None] | None = None
    case: str | None = None
    settings: Callable[[], Mapping[str, Any]] | None = None


def extra(problem: Problem, name: str) -> Any:
    """What a problem offers under this name, or the default that `Extras` has for it."""
    return getattr(problem, name, getattr(Extras, name))


def own_fresh_descent(problem: Problem) -> Callable[..., FreshDescent | None] | None:
    """What the problem offers as `fresh_descent`, if it is made for the prompts that its `sample` draws; else None."""
    owners = (getattr(problem, "__dict__", {}), *map(vars, type(problem).__mro__))
    first = next((names for names in owners if "fresh_descent" in names or "sample" in names), {})
    return extra(problem, "fresh_descent") if "fresh_descent" in first else None


_METHODS = ("initialize", "sample")
_FUNCTIONS = ("observer", "population", "check_descent", "schedule", "device_sampler", "fresh_descent", "settings")
_REQUIRED = ("initialize", "sample", "loss", "trained", "learning_rate", "batch", "steps")


def check_problem(problem: Any) -> None:
    """TypeError, naming what is missing or no function, unless `problem` has everything that a `Problem` has."""
    missing = [name for name in _REQUIRED if not hasattr(problem, name)]
    if missing or isinstance(problem, type):
        lacks = f" (it has no {missing[0]})" if missing else ""
        raise InvalidType(
            f"problem is {short(problem)}{lacks}; expected a paper's Problem, for example nlicl.papers.li2024.Problem()."
        )
    for name in (*_METHODS, *_FUNCTIONS):
        member = extra(problem, name) if name in _FUNCTIONS else getattr(problem, name)
        if not callable(member) and (member is not None or name in _METHODS):
            wanted = "a function" if name in _METHODS else "a function, or None"
            raise InvalidType(f"problem.{name} is {short(member)}; expected {wanted}.")


def describe(thing: Any) -> dict[str, Any]:
    """What identifies a problem or a schedule in a file: its type and fields, or a function's name.

    A `functools.partial` has its function and its arguments as fields. `is_told` says whether this tells it from any other.
    """
    if isinstance(thing, functools.partial):
        fields = {
            "function": describe(thing.func),
            "args": numbers_plain(list(thing.args)),
            "keywords": numbers_plain(thing.keywords),
        }
        return {"type": "functools.partial", "fields": fields}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        kind = type(thing)
        fields = {f.name: numbers_plain(getattr(thing, f.name)) for f in dataclasses.fields(thing)}
        return {"type": f"{kind.__module__}.{kind.__qualname__}", "fields": fields}
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return {"type": f"{kind.__module__}.{kind.__qualname__}"}


def own_fields(problem: Any) -> dict[str, Any]:
    """The fields that make the problem, a dataclass: neither what it has by default, nor what follows from the others."""
    kind = type(problem)
    usual = kind()
    kept = {field.name: getattr(problem, field.name) for field in dataclasses.fields(kind) if field.init}
    own = {name: value for name, value in kept.items() if value != getattr(usual, name)}
    if not _makes(
        problem, own
    ):  # a field was given as it is by default, where another one would follow from the others
        own = kept if _makes(problem, kept) else own
    for name in list(own):
        others = {other: value for other, value in own.items() if other != name}
        if _makes(problem, others):
            own = others
    return own


def with_fields(problem: Any, changes: Mapping[str, Any]) -> Any:
    """The problem, a dataclass, with some fields changed. What it has by default is made anew: it may follow from those."""
    return type(problem)(**{**own_fields(problem), **changes})


def _makes(problem: Any, given: Mapping[str, Any]) -> bool:
    """Whether these fields alone make the problem. A problem of the caller's may raise anything."""
    with contextlib.suppress(Exception):
        return bool(type(problem)(**given) == problem)
    return False


def is_told(schedule: Schedule) -> bool:
    """Whether `describe` tells a schedule from any other: a dataclass by its fields, a function by where it is defined.

    A function within another one, a lambda, a method of an object and an object with attributes are not told apart: two of
    them with one name may hold different numbers.
    """
    if isinstance(schedule, functools.partial):
        return is_told(schedule.func)
    if dataclasses.is_dataclass(schedule) and not isinstance(schedule, type):
        return bool(dataclasses.fields(schedule)) or _is_at(type(schedule))
    return _is_at(schedule)


def _is_at(thing: Any) -> bool:
    """Whether a thing is what is found under its own name in its own module."""
    found: Any = sys.modules.get(getattr(thing, "__module__", None) or "")
    for part in getattr(thing, "__qualname__", "<no name>").split("."):
        found = getattr(found, part, None)
    return found is thing


def numbers_plain(value: Any) -> Any:
    """The same value with Python's numbers for those of NumPy, in lists, tuples and dicts too."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (list, tuple):
        return type(value)(map(numbers_plain, value))
    if type(value) is dict:
        return {key: numbers_plain(item) for key, item in value.items()}
    return value


def not_stored(name: str, value: Any) -> tuple[str, Any] | None:
    """The first value in `value`, of this name, that JSON does not hold, with the name of its place; None if there is none."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return None
    if isinstance(value, (list, tuple)):
        inner = [(f"{name}[{i}]", item) for i, item in enumerate(value)]
    elif isinstance(value, dict) and all(isinstance(key, str) for key in value):
        inner = [(f"{name}.{key}", item) for key, item in value.items()]
    else:
        return name, value
    return next((found for place, item in inner if (found := not_stored(place, item)) is not None), None)
