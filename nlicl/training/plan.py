"""The plan of a run: everything that its result depends on, made and checked once, before the first step.

A plan is stored in every checkpoint as `settings`, plain values. A run resumes only by a plan that is stored the same way.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import devices
from ..core.checks import integer, real
from ..core.describe import short
from ..core.errors import InvalidType, InvalidValue
from ..core.memory import check_memory
from ..core.registry import MODELS
from ..models.front import check_loss
from ..models.model import Batch, Model, find
from .arguments import block_names, cast, check_gpu, checked_masks, checked_measure, checked_prompts, starting_point
from .optimizers import SGD, Adam, AdamW, Optimizer, check_optimizer, named
from .problem import Observer, Problem, Schedule, check_problem, describe, extra, is_told, not_stored, numbers_plain
from .returned import check_state
from .runs import State

__all__ = ["Plan", "make_plan", "usual_model"]

_POSITIVE = ("greater than 0", lambda x: x > 0)
_NOT_NEGATIVE = ("at least 0", lambda x: x >= 0)
_COPIES, _MORE_COPIES = 4, 11  # of the parameters, at once, beside the first; with moments [measured]
_MAY_DIFFER = ("checkpoint", "steps")  # settings that a resumed run may have otherwise


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that a run's result depends on. Made by `make_plan`, which checks it.

    Attributes
    ----------
    problem : Problem
    steps : int
        T.
    learning_rate, weight_decay : float
        eta and lambda.
    prompts : {"fresh", "population"}, int or Batch
        What it trains on.
    batch : int or None
        B; None: every step takes all there is, the population or a fixed training set.
    seed : int
    loss : str
    trained : tuple of str
        In the order of the parameters.
    optimizer : Optimizer
    schedule, mask : Schedule, dict, or None
        As they were given; None: the problem's.
    masks : dict of str to ndarray of bool
        What trains within a block, of its shape or of its last axis, whoever said so. Other blocks train whole.
    start : NamedTuple of ndarray
        The parameters it starts from, on the host, in the dtype of the run.
    params : {"given"} or None
        Whether they were given; None: the problem's initialisation.
    model : Model
        What the parameters and the prompts go through.
    device : {"cpu", "cuda"}
    measure : int, tuple of int, or None
        Every so many steps and at the end, after so many steps, or never.
    checkpoint : int
        Steps between checkpoints.
    """

    problem: Problem
    steps: int
    learning_rate: float
    prompts: str | int | Batch
    batch: int | None
    seed: int
    loss: str
    trained: tuple[str, ...]
    optimizer: Optimizer
    weight_decay: float
    mask: Mapping[str, Any] | None
    masks: Mapping[str, NDArray[np.bool_]]
    schedule: Schedule | None
    start: Any
    params: str | None
    model: Model
    device: str
    measure: int | tuple[int, ...] | None
    checkpoint: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the parameters: float64 or float32."""
        return self.start[0].dtype

    @cached_property
    def times(self) -> frozenset[int]:
        """The steps to measure at."""
        if isinstance(self.measure, int):
            return frozenset({*range(0, self.steps + 1, self.measure), self.steps})
        return frozenset(self.measure or ())

    @cached_property
    def _factor(self) -> Schedule | None:
        return extra(self.problem, "schedule") if self.schedule is None else self.schedule

    def eta(self, t: int) -> float:
        """eta_t, the learning rate of step t. ValueError or TypeError where the schedule gives no number of at least 0."""
        if self._factor is None:
            return self.learning_rate
        return self.learning_rate * real(f"schedule({t})", self._factor(t), *_NOT_NEGATIVE)

    def begin(self) -> State:
        """The state of the run before its first step. TypeError or ValueError where the optimizer's `init` gives none."""
        blocks = {name: getattr(self.start, name) for name in self.trained}
        remembered = self.optimizer.init(blocks)
        check_state(self.optimizer, remembered, blocks)
        return State(self.start, remembered, self.steps, self.settings())

    def observer(self) -> Observer:
        """The problem's own observer; TypeError if it has none."""
        make = extra(self.problem, "observer")
        if make is None:
            raise InvalidType(
                f"observe is None, and {describe(self.problem)['type']} has no observer; expected one of them. Give observe, "
                "or measure=None."
            )
        return make(seed=self.seed)

    def settings(self) -> dict[str, Any]:
        """The plan as plain values, as a checkpoint stores it. Where two runs differ, the first of these names is told."""
        return {
            "problem": describe(self.problem),
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "prompts": self.prompts
            if isinstance(self.prompts, (str, int))
            else "given",  # before batch: it decides of that
            "batch": self.batch,
            "seed": self.seed,
            "loss": self.loss,
            "trained": list(self.trained),
            "optimizer": {"name": self.optimizer.name, **numbers_plain(dict(self.optimizer.settings()))},
            "weight_decay": self.weight_decay,
            "mask": None if self.mask is None else {name: np.asarray(of).tolist() for name, of in self.mask.items()},
            "schedule": None if self.schedule is None else describe(self.schedule),
            "params": self.params,
            "model": self.model.name,
            "dtype": self.dtype.name,
            "backend": self.device,
            "measure": list(self.measure) if isinstance(self.measure, tuple) else self.measure,
            "checkpoint": self.checkpoint,
        }

    def check_stores(self) -> None:
        """TypeError, naming the value, unless a checkpoint holds all of the settings. Asked before the first step."""
        for name, value in self.settings().items():
            found = not_stored(name, value)
            if found is not None:
                place, odd = found
                raise InvalidType(
                    f"{place.replace('.fields.', '.')} is {short(odd)}, which a checkpoint does not hold; expected numbers, "
                    "text, True, False, None, or lists and dicts of them. Give such values, or out=None to keep nothing."
                )

    def check_resumes(self, path: Path, stored: Mapping[str, Any], step: int) -> None:
        """ValueError unless the run in the checkpoint at `path`, at `step` of these settings, goes on by this plan."""
        if self.schedule is not None and not is_told(self.schedule):
            raise InvalidValue(
                f"{path} cannot be resumed with the schedule {short(self.schedule)}: a checkpoint does not tell it from "
                "others of its name. Resume with nlicl.training.InverseTime, a dataclass, or a function at the top level of a "
                "module, and start the run with it."
            )
        stored = {"model": usual_model(self.start), **stored}  # what runs went through before they had a choice
        stored["problem"] = self._with_newer_fields(stored.get("problem"))
        for name, here in json.loads(json.dumps(self.settings())).items():
            if here != stored.get(name) and name not in _MAY_DIFFER:
                name, there, here = _difference(name, stored.get(name), here)
                raise InvalidValue(
                    f"{path} is of a run with other settings: {name} is {there!r} there and {here!r} here. "
                    "Resume with the settings it was started with, or choose another folder."
                )
        if step > self.steps:
            raise InvalidValue(f"{path} is at step {step} already; expected steps of at least that, got {self.steps}.")

    def _with_newer_fields(self, stored: Any) -> Any:
        """The problem of a checkpoint, with the defaults of fields that it did not have when the checkpoint was written."""
        here: dict[str, Any] = describe(self.problem)
        kind: Any = type(self.problem)
        if not isinstance(stored, Mapping) or stored.get("type") != here["type"] or "fields" not in here:
            return stored
        given = stored.get("fields")
        if not isinstance(given, Mapping) or not given:
            return stored
        newer = {each.name: numbers_plain(each.default) for each in fields(kind) if each.name not in given}
        known = {name: usual for name, usual in newer.items() if usual is not MISSING and not not_stored(name, usual)}
        return {**stored, "fields": {**given, **json.loads(json.dumps(known))}}


def _difference(name: str, there: Any, here: Any) -> tuple[str, Any, Any]:
    """What two unequal settings of this name differ by: the name to tell, and both values."""
    if name == "problem":
        if there["type"] != here["type"]:
            return name, there["type"], here["type"]
        there, here = there.get("fields", {}), here.get("fields", {})
    elif name == "optimizer":
        if there["name"] != here["name"]:
            return name, there["name"], here["name"]
    else:
        return name, there, here
    nothing = object()
    key = next(key for key in {**here, **there} if here.get(key, nothing) != there.get(key, nothing))
    return key, there.get(key), here.get(key)


def usual_model(params: Any) -> str | None:
    """The name of the model that such parameters go through where none is named; None if there is none."""
    return next((model.name for model in MODELS if isinstance(params, model.Params)), None)


# ---- Making a plan


def make_plan(
    problem: Problem,
    *,
    steps: int | None = None,
    learning_rate: float | None = None,
    batch: int | None = None,
    seed: int = 0,
    loss: str | None = None,
    trained: Sequence[str] | None = None,
    optimizer: Optimizer | None = None,
    weight_decay: float | None = None,
    schedule: Schedule | None = None,
    mask: Mapping[str, Any] | None = None,
    prompts: str | int | Batch | None = None,
    params: Any = None,
    model: Model | str | None = None,
    dtype: DTypeLike = np.float64,
    backend: str = "auto",
    measure: int | Sequence[int] | None = 20,
    checkpoint: int = 100,
) -> Plan:
    """A plan from the arguments of `nlicl.train`, and from the problem where they are None.

    Raises
    ------
    ValueError, TypeError
        As `nlicl.train`.
    nlicl.devices.Unavailable
        backend="cuda" without a GPU, or without the package numba-cuda.
    """
    check_problem(problem)
    device = devices.choose(backend, params, prompts.arrays if isinstance(prompts, Batch) else {}).device
    seed = integer("seed", seed, 0, most=None)
    steps = integer("steps", problem.steps if steps is None else steps, 0)
    prompts = extra(problem, "prompts") if prompts is None else prompts
    whole = isinstance(prompts, str) and prompts == "population"
    if whole and batch is not None:
        raise InvalidValue(
            f"batch is {short(batch)} with prompts = 'population', and every step uses all of it; expected no batch. Leave it "
            "out, or train on prompts='fresh'."
        )
    batch = None if whole else _checked_batch(problem.batch if batch is None else batch, prompts)
    checkpoint = integer("checkpoint", checkpoint, 1)
    measure = checked_measure(measure)
    times = steps // measure if isinstance(measure, int) else 0
    history = 32 * steps + 200 * times
    check_memory(f"steps is {steps}: the history holds {history} bytes", history, "Lower it.")
    learning_rate = real("learning_rate", problem.learning_rate if learning_rate is None else learning_rate, *_POSITIVE)
    weight_decay = extra(problem, "weight_decay") if weight_decay is None else weight_decay
    weight_decay = real("weight_decay", weight_decay, *_NOT_NEGATIVE)
    optimizer = check_optimizer(_usual_optimizer(problem) if optimizer is None else optimizer)
    if whole and isinstance(optimizer, SGD) and (check_descent := extra(problem, "check_descent")) is not None:
        check_descent(learning_rate)
    if schedule is not None and not callable(schedule):
        raise InvalidType(f"schedule is {short(schedule)}; expected a function.")
    start = starting_point(problem, params, seed)
    start = cast(devices.to_host(start) if device == "cuda" else start, dtype)
    _check_memory(start, optimizer)
    chosen = find(start, model=model)
    if device == "cuda":
        check_gpu(problem, chosen, prompts, optimizer)
    own = mask is None and params is not None
    return Plan(
        problem=problem,
        steps=steps,
        learning_rate=learning_rate,
        prompts=checked_prompts(prompts, problem, chosen, device),
        batch=batch,
        seed=seed,
        loss=check_loss(chosen, Batch(), problem.loss if loss is None else loss),
        trained=block_names(problem.trained if trained is None else trained, start),
        optimizer=optimizer,
        weight_decay=weight_decay,
        mask=mask,
        masks=checked_masks(extra(problem, "mask") if mask is None else mask, start, "params" if own else "mask"),
        schedule=schedule,
        start=start,
        params=None if params is None else "given",
        model=chosen,
        device=device,
        measure=measure,
        checkpoint=checkpoint,
    )


def _checked_batch(batch: int | None, prompts: Any) -> int | None:
    """B; None, for every prompt in every step, goes with a fixed training set only."""
    if batch is None and isinstance(prompts, str):
        raise InvalidValue(
            f"batch is None with prompts = {short(prompts)}; expected a number of prompts a step, at least 1. Give batch: "
            "only a fixed training set can be taken whole."
        )
    return None if batch is None else integer("batch", batch, 1)


def _usual_optimizer(problem: Problem) -> Any:
    """What the problem names as its optimizer."""
    usual = extra(problem, "optimizer")
    return named(usual, {}) if isinstance(usual, str) else usual


def _check_memory(start: Any, optimizer: Optimizer) -> None:
    """ValueError if gradients, moments and new parameters do not fit into memory beside the ones to start from."""
    copies = _MORE_COPIES if isinstance(optimizer, (Adam, AdamW)) else _COPIES
    shapes = ", ".join(f"{name} {array.shape}" for name, array in start._asdict().items())
    check_memory(
        f"the parameters are {shapes}: training by {optimizer.name} holds some {copies} arrays of the size of each",
        copies * sum(array.nbytes for array in start),
        "Lower their sizes.",
    )
