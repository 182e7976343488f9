"""Training by gradient descent, stochastic or on the population, with history, checkpoints and exact resumption.

    W <- W - eta_t ( (1/B) sum_n d ell_n / dW + lambda W )        for each trained block W, or what of it trains, all at once

The sum is over a batch, or it is the mean over the population.

The prompts of step t depend on (seed, t) alone and the update has no memory, so a run is settled by its parameters and t:
continued from a checkpoint it takes bitwise the way it would have taken. `train` serves every paper by what its problem
offers:

| of the problem                     | what                                                                       |
|------------------------------------|----------------------------------------------------------------------------|
| `initialize(seed=)`                | parameters, a NamedTuple of arrays                                         |
| `sample(n, seed=)`                 | prompts that `nlicl.loss_and_grad` takes; seed an int or several           |
| `observer(seed=)`                  | a callable, params -> dict of numbers and arrays, for the history          |
| `loss`, `trained`                  | name of the loss, names of the parameters that train                       |
| `learning_rate`, `batch`, `steps`  | eta, B, T                                                                  |
| `prompts`, if there is one         | "fresh" (so if there is none) or "population": what it trains on           |
| `population(seed=)`, if any        | the population itself, in the place of prompts: with `loss_and_grad`       |
| `check_descent(learning_rate)`, if any | refuses what is too large a step for descent on the population         |
| `weight_decay`, `schedule`, `mask`, if any | lambda; t -> eta_t / eta; what trains within a block, name to bool array |
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import devices
from ..core.arrays import kind_of, short
from ..core.checks import integer, real
from ..core.errors import InvalidType, InvalidValue, NotFinite
from ..core.files import write_whole
from ..models.model import Batch
from .descent import OnCpu, OnGpu, draws
from .runs import CHECKPOINT, Diverged, State, describe, diverged, pack, unpack

__all__ = ["InverseTime", "train"]

_POSITIVE = ("greater than 0", lambda x: x > 0)
_NOT_NEGATIVE = ("at least 0", lambda x: x >= 0)
_MAY_DIFFER = ("checkpoint", "steps")  # settings that a resumed run may have otherwise


@dataclass(frozen=True)
class InverseTime:
    """A step-size schedule: eta_t = eta_0 offset / (offset + t).

    With eta_0 = 2 / (lambda gamma) and offset = gamma it is Bu et al.'s eta_t = 2 / (lambda (gamma + t)).
    """

    offset: float

    def __post_init__(self):
        real("offset", self.offset, *_POSITIVE)

    def __call__(self, t):
        return self.offset / (self.offset + t)


def train(
    problem,
    *,
    steps=None,
    learning_rate=None,
    batch=None,
    seed=0,
    loss=None,
    trained=None,
    weight_decay=None,
    schedule=None,
    mask=None,
    prompts=None,
    params=None,
    dtype=np.float64,
    backend="auto",
    measure=20,
    observe=None,
    until=None,
    out=None,
    checkpoint=100,
    resume=False,
    progress=None,
):
    """Train by gradient descent on a paper's problem.

    Parameters
    ----------
    problem : a paper's Problem
        What is not given below is taken from it.
    steps, learning_rate, batch : int, float, int, optional
        T, eta > 0, B. The population has no batches: B is then not to be given.
    seed : int
        Of initialisation, prompts and tests. The same seed gives the same bits on any number of threads.
    loss : str, optional
        "hinge", "logistic" or "squared", of which a model may have some only; the problem's if not given.
    trained : sequence of str, optional
        The parameters that train, for example ("W_Q", "W_K"); the others stay as they are.
    weight_decay : float, optional
        lambda >= 0, on trained parameters; the problem's, or 0, if not given.
    schedule : callable, optional
        t -> factor of the learning rate, for example `InverseTime(1e4)`; the problem's, or constant, if not given.
    mask : dict of str to array of bool, optional
        What trains within a parameter, of its shape or of its last axis; the rest of it stays, and does not decay. The
        problem's, or everything, if not given.
    prompts : {"fresh", "population"} or int or Prompts or CodedPrompts, optional
        New ones every step; the population itself, if the problem has a `population`: gradient descent and no SGD; or a
        finite training set, or the size of one to draw, of which each step takes `batch` without repetition, or all where
        `batch` is not smaller. The problem's `prompts`, or fresh ones, if not given.
    params : NamedTuple of ndarray, optional
        Where to start; the problem's initialisation if not given.
    dtype : {numpy.float64, numpy.float32}
        To train in.
    backend : {"auto", "cpu", "cuda"}
        Where: on a GPU, where prompts are drawn if the problem can, and parameters and losses stay until a measurement, a
        checkpoint or `until` asks for them; on the CPU; or, "auto", on a GPU only if `params` or `prompts` lie there.
    measure : int, sequence of int, or None
        When to measure: every so many steps and at the end, at these steps, or never.
    observe : callable, optional
        params -> dict of numbers and arrays of fixed shapes; the problem's observer if not given.
    until : callable, optional
        Losses so far (t,) -> bool: whether to stop now, before T. On a GPU it has them brought to the host every step.
    out : path, optional
        Folder for checkpoints (`checkpoint.npz`) and the measurements (`history.csv`); made if it is not there.
    checkpoint : int
        Steps between checkpoints: what a killed run loses at most.
    resume : bool
        Go on from the checkpoint in `out`, if there is one. Settings must be the same; `steps` may be larger.
    progress : callable, optional
        (t, T, loss) -> None, called after every step; on a GPU whenever losses come to the host.

    Returns
    -------
    Run

    Raises
    ------
    Diverged
        The loss, a gradient or a parameter is not finite, or the loss is a million times what it was.
    ValueError, TypeError
        Settings out of range, named; parameters or prompts of another model; a checkpoint of another run, or an unreadable
        one.
    FileExistsError
        `out` holds a checkpoint and `resume` is not set: nothing is overwritten.
    nlicl.devices.Unavailable
        backend="cuda" without a GPU, or without the package numba-cuda.
    """
    _check_problem(problem)
    on_gpu = (
        devices.choose(
            backend, () if params is None else params, prompts.arrays if isinstance(prompts, Batch) else {}
        ).device
        == "cuda"
    )
    if resume and out is None:
        raise InvalidValue("resume is set but out is None; expected the folder of the run to continue.")
    if out is not None and (not isinstance(out, (str, os.PathLike)) or not os.fspath(out)):
        raise InvalidType(f"out is {short(out)}; expected the path of a folder, or None to keep nothing.")
    seed = integer("seed", seed, 0)
    steps = integer("steps", problem.steps if steps is None else steps, 0)
    prompts = getattr(problem, "prompts", "fresh") if prompts is None else prompts
    whole = isinstance(prompts, str) and prompts == "population"
    if whole and batch is not None:
        raise InvalidValue(
            f"batch is {batch!r} with prompts = 'population', which every step takes whole; expected no batch. Leave it out, "
            "or train on prompts='fresh'."
        )
    batch = None if whole else integer("batch", problem.batch if batch is None else batch, 1)
    checkpoint = integer("checkpoint", checkpoint, 1)
    learning_rate = real("learning_rate", problem.learning_rate if learning_rate is None else learning_rate, *_POSITIVE)
    weight_decay = getattr(problem, "weight_decay", 0.0) if weight_decay is None else weight_decay
    weight_decay = real("weight_decay", weight_decay, *_NOT_NEGATIVE)
    loss = problem.loss if loss is None else loss
    if whole and hasattr(problem, "check_descent"):
        problem.check_descent(learning_rate)
    for name, given in {"schedule": schedule, "observe": observe, "until": until, "progress": progress}.items():
        if given is not None and not callable(given):
            raise InvalidType(f"{name} is {short(given)}; expected a function.")
    start = devices.to_host(_start(problem, params, seed)) if on_gpu else _start(problem, params, seed)
    start = _cast(start, dtype)
    trained = _names(problem.trained if trained is None else trained, start)
    given = "params" if mask is None and params is not None else "mask"
    masks = _masks(getattr(problem, "mask", {}) if mask is None else mask, start, given)
    draw = draws(problem, prompts, batch, seed, start, on_gpu)
    times = _times(measure, steps)
    settings = {
        "problem": describe(problem),
        "steps": steps,
        "learning_rate": learning_rate,
        "prompts": prompts if isinstance(prompts, (str, int)) else "given",  # before batch, of which it decides
        "batch": batch,
        "seed": seed,
        "loss": loss,
        "trained": list(trained),
        "weight_decay": weight_decay,
        "mask": None if mask is None else {name: np.asarray(flags).tolist() for name, flags in mask.items()},
        "schedule": None if schedule is None else describe(schedule),
        "params": None if params is None else "given",
        "dtype": start[0].dtype.name,
        "backend": "cuda" if on_gpu else "cpu",
        "measure": measure if measure is None or isinstance(measure, int) else list(times),
        "checkpoint": checkpoint,
    }
    if schedule is None:
        schedule = getattr(problem, "schedule", None)
    state = State(start, steps, settings)
    if out is not None:
        out = Path(out)
        state = _open(out, state, resume, times)
    if times and observe is None:
        observe = problem.observer(seed=seed)

    def save():
        if out is not None:
            run = state.run()
            write_whole(out / CHECKPOINT, pack(run))
            run.history.to_csv(out / "history.csv")

    descent = (OnGpu if on_gpu else OnCpu)(state, draw, loss, trained, weight_decay, masks)
    try:
        for t in range(state.t, steps):
            if t in times:
                descent.catch_up()
                state.record(t, observe(state.params))
            state.eta[t] = learning_rate * (
                1.0 if schedule is None else real(f"schedule({t})", schedule(t), *_NOT_NEGATIVE)
            )
            descent.step(t)
            saving = (t + 1) % checkpoint == 0 and t + 1 < steps and out is not None
            telling = progress is not None and ((t + 1) % descent.every == 0 or t + 1 in times or t + 1 == steps)
            if saving or telling or until is not None:
                descent.catch_up()
            if progress is not None and state.t == t + 1:
                progress(t + 1, steps, state.loss[t])
            if until is not None and until(state.loss[: t + 1]):
                break
            if saving:
                save()
        descent.catch_up()
        if times and (state.t in times or state.t < steps):
            state.record(state.t, observe(state.params))
    except NotFinite as error:  # a loss, a gradient, or a score of the tests
        save()
        raise diverged(state, error) from None
    except KeyboardInterrupt:
        with suppress(Diverged):  # then that is where it stopped
            descent.catch_up()
        save()
        raise
    except Diverged:
        save()
        raise
    save()
    return state.run()


# ---- Settings


def _check_problem(problem):
    missing = [
        name
        for name in ("initialize", "sample", "loss", "trained", "learning_rate", "batch", "steps")
        if not hasattr(problem, name)
    ]
    if missing or isinstance(problem, type):
        lacks = f" (it has no {missing[0]})" if missing else ""
        raise InvalidType(
            f"problem is {short(problem)}{lacks}; expected a paper's Problem, for example nlicl.papers.li2024.Problem()."
        )


def _start(problem, params, seed):
    """The parameters to start from: the given ones, if they are of the problem's model, or its initialisation."""
    usual = problem.initialize(seed=seed)
    if not hasattr(usual, "_fields"):
        raise InvalidType(f"problem.initialize() returns {short(usual)}; expected a NamedTuple of arrays.")
    if params is not None and not isinstance(params, type(usual)):
        raise InvalidType(
            f"params is a {kind_of(params)}; expected a {kind_of(usual)}({', '.join(usual._fields)}), as "
            "problem.initialize() gives."
        )
    return usual if params is None else params


def _cast(params, dtype):
    try:
        known = np.dtype(dtype).name
    except TypeError:
        known = repr(dtype)
    if known not in ("float32", "float64"):
        raise InvalidType(f"dtype is {known}; expected numpy.float64 or numpy.float32.")
    arrays = {}
    for name, array in params._asdict().items():
        try:
            arrays[name] = np.array(array, dtype)
        except (TypeError, ValueError) as error:
            raise InvalidType(f"params.{name} is {short(array)}; expected an array of numbers ({error}).") from None
    return params._replace(**arrays)


def _names(trained, params):
    names = (trained,) if isinstance(trained, str) or not np.iterable(trained) else tuple(trained)
    unknown = [name for name in names if name not in params._fields]
    if unknown or not names:
        raise InvalidValue(f"trained is {names}; expected at least one of {', '.join(params._fields)}.")
    return tuple(name for name in params._fields if name in names)


def _masks(mask, params, given):
    """The masks as numbers, 1 where a block trains and 0 where it stays; errors are about what was `given`, mask or params."""
    if not isinstance(mask, dict):
        raise InvalidType(f"mask is {short(mask)}; expected a dict of names to arrays of bool.")
    masks = {}
    for name, flags in mask.items():
        flags = np.asarray(flags)
        shape = getattr(params, name).shape if name in params._fields else None
        if given == "params" and shape is not None and flags.ndim and flags.shape not in (shape, shape[-1:]):
            expected = f"a last axis of {len(flags)}" if flags.ndim == 1 else f"shape {flags.shape}"
            raise InvalidValue(
                f"params.{name} has shape {shape}; expected {expected}, the problem's. Give parameters of this problem, as "
                "problem.initialize() does."
            )
        if shape is None or flags.dtype != bool or flags.shape not in (shape, shape[-1:]):
            raise InvalidValue(
                f"mask holds {name!r}, of shape {flags.shape} and dtype {flags.dtype}; expected the name of a parameter, one "
                f"of {', '.join(params._fields)}, with an array of bool of its shape or of its last axis."
            )
        masks[name] = flags.astype(params[0].dtype)
    return masks


def _times(measure, steps):
    """The steps to measure at, in order."""
    if measure is None:
        return ()
    if isinstance(measure, str) or not np.iterable(measure):
        every = integer("measure", measure, 1)
        return tuple(sorted({*range(0, steps + 1, every), steps}))
    return tuple(sorted({integer("measure", t, 0) for t in measure}))


def _open(out, state, resume, times):
    """The state to go on from: that of the checkpoint in `out`, or the given one in a fresh folder."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / CHECKPOINT
    if not path.exists():
        return state
    if not resume:
        raise FileExistsError(
            f"{out} holds the checkpoint of a run; resume it (resume=True), or choose another folder."
        )
    fields, history, step, settings = unpack(path)
    wanted = json.loads(json.dumps(state.settings))
    differing = [name for name in wanted if wanted[name] != settings.get(name) and name not in _MAY_DIFFER]
    if differing:
        name = differing[0]
        there, here = settings.get(name), wanted[name]
        if name == "problem" and there["type"] != here["type"]:
            there, here = there["type"], here["type"]
        elif name == "problem":  # say which of its fields
            name = next(key for key in here["fields"] if here["fields"][key] != there["fields"].get(key))
            there, here = there["fields"].get(name), here["fields"][name]
        raise InvalidValue(
            f"{path} is of a run with other settings: {name} is {there!r} there and {here!r} here. "
            "Resume with the settings it was started with, or choose another folder."
        )
    if step > len(state.loss):
        raise InvalidValue(f"{path} is at step {step} already; expected steps of at least that, got {len(state.loss)}.")
    state.params, state.t = state.params._replace(**fields), step
    state.loss[:step], state.eta[:step] = history.loss, history.learning_rate
    for i, t in enumerate(history.steps.tolist()):
        # a last measurement that was made at the end of a shorter run is made again, or not
        if t < step and t in times:
            state.record(t, {name: values[i] for name, values in history.measured.items()})
    return state
