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

import csv
import dataclasses
import importlib
import io
import json
import os
import re
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import __version__, devices
from .checks import integer, real
from .files import write_whole
from .model import NotFinite, are_finite, check_batch, inputs_on_gpu, kind_of_loss, loss_and_grad, placed
from .types import CodedPrompts, Params, Prompts, kind_of, name_of

__all__ = ["Diverged", "History", "InverseTime", "Run", "load_run", "train"]

CHECKPOINT = "checkpoint.npz"
_FORMAT = 1
_POSITIVE = ("greater than 0", lambda x: x > 0)
_NOT_NEGATIVE = ("at least 0", lambda x: x >= 0)
_MAY_DIFFER = ("checkpoint", "steps")  # settings that a resumed run may have otherwise
_LOOK = 100  # steps after which a run on a GPU looks whether all is well
_EXPLODED = 1e6  # times the first loss, or 1: beyond that a run only waits for the overflow


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


@dataclass(frozen=True, eq=False)
class History:
    """What a run recorded.

    Attributes
    ----------
    loss : ndarray (T,)
        Mean loss of step t's batch, before its update.
    learning_rate : ndarray (T,)
        eta_t.
    steps : ndarray of int (k,)
        When measurements were made: after that many updates.
    measured : dict of str to ndarray (k, ...)
        What the problem's observer found then; `history["hinge_unseen"]` is `history.measured["hinge_unseen"]`.
    """

    loss: np.ndarray
    learning_rate: np.ndarray
    steps: np.ndarray
    measured: dict = field(repr=False)

    def __getitem__(self, name):
        if name not in self.measured:
            raise KeyError(f"{name!r} was not measured; there are {', '.join(self.measured) or 'no measurements'}")
        return self.measured[name]

    def at(self, step, name):
        """`name` as measured after `step` updates."""
        found = np.flatnonzero(self.steps == step)
        if not len(found):
            raise KeyError(f"nothing was measured at step {step}; measured were {self.steps.tolist()}")
        return self[name][found[0]]

    def to_csv(self, path):
        """One row a measurement: step, and every measurement that is one number."""
        names = [name for name, values in self.measured.items() if values.ndim == 1]
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["step", *names])
        columns = [self.measured[name].tolist() for name in names]
        rows.writerows([step, *row] for step, *row in zip(self.steps.tolist(), *columns, strict=True))
        write_whole(path, text.getvalue())


@dataclass(frozen=True, eq=False)
class Run:
    """A training run, finished or not.

    Attributes
    ----------
    params : NamedTuple of ndarray
        After `step` updates.
    history : History
    step : int
    settings : dict
        What the run depends on: problem, seed, batch, learning rate and so on, as plain values.
    """

    params: tuple
    history: History
    step: int
    settings: dict = field(repr=False)

    def __repr__(self):
        loss = f", loss {self.history.loss[-1]:.4g}" if len(self.history.loss) else ""
        return f"Run(step={self.step}{loss}, {self.params!r})"


class Diverged(ArithmeticError):
    """Training left the finite numbers. `.run` holds the last finite parameters and the history up to there."""

    def __init__(self, message, run):
        super().__init__(message)
        self.run = run


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
    on_gpu = devices.choose(backend, params, prompts) == "cuda"
    if resume and out is None:
        raise ValueError("resume is set but out is None; expected the folder of the run to continue.")
    if out is not None and (not isinstance(out, (str, os.PathLike)) or not os.fspath(out)):
        raise TypeError(f"out is {_short(out)}; expected the path of a folder, or None to keep nothing.")
    seed = integer("seed", seed, 0)
    steps = integer("steps", problem.steps if steps is None else steps, 0)
    prompts = getattr(problem, "prompts", "fresh") if prompts is None else prompts
    whole = isinstance(prompts, str) and prompts == "population"
    if whole and batch is not None:
        raise ValueError(
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
            raise TypeError(f"{name} is {_short(given)}; expected a function.")
    start = devices.to_host(_start(problem, params, seed)) if on_gpu else _start(problem, params, seed)
    start = _cast(start, dtype)
    trained = _names(problem.trained if trained is None else trained, start)
    given = "params" if mask is None and params is not None else "mask"
    masks = _masks(getattr(problem, "mask", {}) if mask is None else mask, start, given)
    draw = _prompts(problem, prompts, batch, seed, start, on_gpu)
    times = _times(measure, steps)
    settings = {
        "problem": _describe(problem),
        "steps": steps,
        "learning_rate": learning_rate,
        "prompts": prompts if isinstance(prompts, (str, int)) else "given",  # before batch, of which it decides
        "batch": batch,
        "seed": seed,
        "loss": loss,
        "trained": list(trained),
        "weight_decay": weight_decay,
        "mask": None if mask is None else {name: np.asarray(flags).tolist() for name, flags in mask.items()},
        "schedule": None if schedule is None else _describe(schedule),
        "params": None if params is None else "given",
        "dtype": start[0].dtype.name,
        "backend": "cuda" if on_gpu else "cpu",
        "measure": measure if measure is None or isinstance(measure, int) else list(times),
        "checkpoint": checkpoint,
    }
    if schedule is None:
        schedule = getattr(problem, "schedule", None)
    state = _State(start, steps, settings)
    if out is not None:
        out = Path(out)
        state = _open(out, state, resume, times)
    if times and observe is None:
        observe = problem.observer(seed=seed)

    def save():
        if out is not None:
            run = state.run()
            write_whole(out / CHECKPOINT, _pack(run))
            run.history.to_csv(out / "history.csv")

    descent = (_OnGpu if on_gpu else _OnCpu)(state, draw, loss, trained, weight_decay, masks)
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
            if saving or until is not None or (progress is not None and (t + 1) % _LOOK == 0):
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
        raise _diverged(state, error) from None
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


class _OnCpu:
    """Steps of a run on the CPU: `state` is always what was reached."""

    def __init__(self, state, draw, loss, trained, weight_decay, masks):
        self.state, self.draw, self.loss = state, draw, loss
        self.trained, self.weight_decay, self.masks = trained, weight_decay, masks

    def step(self, t):
        state = self.state
        state.loss[t], grads = loss_and_grad(state.params, self.draw(t), self.loss)
        with np.errstate(all="ignore"):  # overflow is looked for below
            updated = _update(state.params, grads, self.trained, state.eta[t], self.weight_decay, self.masks)
        if not are_finite(*(getattr(updated, name) for name in self.trained)):
            raise _diverged(state, "a parameter is not finite after the update")
        state.params, state.t = updated, t + 1
        if state.loss[t] > _EXPLODED * max(1.0, abs(state.loss[0])):
            raise _exploded(state)

    def catch_up(self):
        """Bring `state` up to what was reached."""


class _OnGpu:
    """Steps of a run on a GPU: `state` is what was reached when it last caught up."""

    def __init__(self, state, draw, loss, trained, weight_decay, masks):
        self.state, self.draw, self.kind, self.kernels = state, draw, kind_of_loss(loss), devices.kernels()
        if state.t < len(state.loss):
            placed(state.params, draw(state.t))  # checks both
        flags = [
            np.broadcast_to(
                masks.get(name, array.dtype.type(1)) if name in trained else array.dtype.type(0), array.shape
            )
            for name, array in state.params._asdict().items()
        ]
        self.descent = self.kernels.Descent(state.params, flags, weight_decay, state.loss, state.t, _EXPLODED)

    def step(self, t):
        dtype = self.descent.dtype
        kernel, inputs, labels, keys = inputs_on_gpu(self.draw(t), dtype)
        step = getattr(self.kernels, f"{kernel}_step")
        self.descent.step(t, self.state.eta[t], step, inputs, labels, keys, self.kind)
        if (t + 1) % _LOOK == 0 and not self.descent.well():
            self.catch_up()

    def catch_up(self):
        state = self.state
        state.t, wrong, params, state.loss[:] = self.descent.fetch()
        state.params = state.params._replace(**dict(zip(state.params._fields, params, strict=True)))
        if wrong == 1:
            raise _diverged(state, "the loss, a gradient or a parameter is not finite")
        if wrong == 2:
            raise _exploded(state)


def _update(params, grads, trained, eta, weight_decay, masks):
    """One step of SGD on the trained blocks."""
    changed = {}
    for name in trained:
        W = getattr(params, name)
        change = W.dtype.type(weight_decay) * W
        change += getattr(grads, name)
        if name in masks:
            change *= masks[name]
        change *= W.dtype.type(eta)
        changed[name] = W - change  # W <- W - eta ( dW + lambda W )
    return params._replace(**changed)


class _State:
    """A run under way: parameters after t updates, losses of the steps before, measurements so far."""

    def __init__(self, params, steps, settings):
        self.params, self.t, self.settings = params, 0, settings
        self.loss, self.eta = np.full(steps, np.nan), np.full(steps, np.nan)
        self.steps, self.rows = [], []

    def record(self, t, measured):
        if not isinstance(measured, dict):
            raise TypeError(f"observe returns {_short(measured)}; expected a dict of numbers and arrays.")
        if self.rows:
            shapes, usual = ({name: np.shape(value) for name, value in row.items()} for row in (measured, self.rows[0]))
            if shapes != usual:
                odd = next(name for name in [*usual, *shapes] if shapes.get(name) != usual.get(name))
                raise ValueError(
                    f"observe returns {odd!r} of shape {shapes.get(odd, 'none')} at step {t} and {usual.get(odd, 'none')} "
                    "before; expected the same names and shapes each time."
                )
        self.steps.append(t)
        self.rows.append(measured)

    def run(self):
        names = self.rows[0] if self.rows else ()
        measured = {name: np.array([row[name] for row in self.rows]) for name in names}
        history = History(self.loss[: self.t].copy(), self.eta[: self.t].copy(), np.array(self.steps, int), measured)
        return Run(self.params, history, self.t, self.settings)


def _diverged(state, reason):
    advice = f"The learning rate was {state.settings['learning_rate']:g}; try a tenth of it."
    if state.t == 0 and isinstance(reason, NotFinite):  # which says what to scale down
        advice = "No step was taken yet: the learning rate is not the cause."
    return Diverged(
        f"training diverged at step {state.t}: {str(reason).rstrip('.')}. {advice} History and the last finite parameters are "
        "kept.",
        state.run(),
    )


def _exploded(state):
    return _diverged(state, f"the loss is {state.loss[state.t - 1]:.3g}, and was {state.loss[0]:.3g} at the start")


# ---- Settings


def _check_problem(problem):
    missing = [
        name
        for name in ("initialize", "sample", "loss", "trained", "learning_rate", "batch", "steps")
        if not hasattr(problem, name)
    ]
    if missing or isinstance(problem, type):
        lacks = f" (it has no {missing[0]})" if missing else ""
        raise TypeError(
            f"problem is {_short(problem)}{lacks}; expected a paper's Problem, for example nlicl.papers.li2024.Problem()."
        )


def _start(problem, params, seed):
    """The parameters to start from: the given ones, if they are of the problem's model, or its initialisation."""
    usual = problem.initialize(seed=seed)
    if not hasattr(usual, "_fields"):
        raise TypeError(f"problem.initialize() returns {_short(usual)}; expected a NamedTuple of arrays.")
    if params is not None and not isinstance(params, type(usual)):
        raise TypeError(
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
        raise TypeError(f"dtype is {known}; expected numpy.float64 or numpy.float32.")
    arrays = {}
    for name, array in params._asdict().items():
        try:
            arrays[name] = np.array(array, dtype)
        except (TypeError, ValueError) as error:
            raise TypeError(f"params.{name} is {_short(array)}; expected an array of numbers ({error}).") from None
    return params._replace(**arrays)


def _names(trained, params):
    names = (trained,) if isinstance(trained, str) or not np.iterable(trained) else tuple(trained)
    unknown = [name for name in names if name not in params._fields]
    if unknown or not names:
        raise ValueError(f"trained is {names}; expected at least one of {', '.join(params._fields)}.")
    return tuple(name for name in params._fields if name in names)


def _masks(mask, params, given):
    """The masks as numbers, 1 where a block trains and 0 where it stays; errors are about what was `given`, mask or params."""
    if not isinstance(mask, dict):
        raise TypeError(f"mask is {_short(mask)}; expected a dict of names to arrays of bool.")
    masks = {}
    for name, flags in mask.items():
        flags = np.asarray(flags)
        shape = getattr(params, name).shape if name in params._fields else None
        if given == "params" and shape is not None and flags.ndim and flags.shape not in (shape, shape[-1:]):
            expected = f"a last axis of {len(flags)}" if flags.ndim == 1 else f"shape {flags.shape}"
            raise ValueError(
                f"params.{name} has shape {shape}; expected {expected}, the problem's. Give parameters of this problem, as "
                "problem.initialize() does."
            )
        if shape is None or flags.dtype != bool or flags.shape not in (shape, shape[-1:]):
            raise ValueError(
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


def _prompts(problem, prompts, batch, seed, start, on_gpu):
    """step -> prompts of that step, on the GPU if they are to be there."""
    if on_gpu and (not isinstance(start, Params) or (isinstance(prompts, str) and prompts == "population")):
        what = f"the model of {_describe(problem)['type']}" if not isinstance(start, Params) else "prompts='population'"
        raise TypeError(f"backend is 'cuda', and there are no GPU kernels for {what}. Take backend='cpu'.")
    if isinstance(prompts, str):
        if prompts not in ("fresh", "population"):
            raise ValueError(f"prompts is {prompts!r}; expected 'fresh', 'population', a number, or prompts.")
        if prompts == "fresh":
            if on_gpu and hasattr(problem, "device_sampler"):
                sampler = problem.device_sampler(batch, start[0].dtype)
                return lambda t: sampler((seed, t))
            return _moving(lambda t: problem.sample(batch, seed=(seed, t)), start, on_gpu)
        if not hasattr(problem, "population"):
            raise ValueError(
                f"prompts is 'population': {_describe(problem)['type']} has none to compute with. Expected 'fresh', a "
                "number, or prompts."
            )
        prompts = problem.population(seed=(seed, 1, 0))
        return lambda t: prompts
    if isinstance(prompts, (int, np.integer)):
        prompts = problem.sample(integer("prompts", prompts, 1), seed=(seed, 1, 0))
    check_batch(prompts)
    takes = getattr(prompts, "takes", type(start))
    if not isinstance(start, takes):
        raise TypeError(
            f"prompts is a {kind_of(prompts)}, which goes with {name_of(takes)}; expected prompts for a {kind_of(start)}, as "
            "problem.sample() draws them."
        )
    if batch >= len(prompts):
        whole = _moving(lambda t: prompts, start, on_gpu)(0)
        return lambda t: whole
    if on_gpu:
        prompts = devices.to_host(prompts)  # whence the chosen ones are brought back
    chosen = lambda t: np.random.default_rng([4, seed, t]).choice(len(prompts), batch, replace=False)  # noqa: E731
    return _moving(lambda t: prompts[chosen(t)], start, on_gpu)


def _moving(draw, start, on_gpu):
    """The same draws, brought to the GPU if they are to be there, codes without a kernel as tokens of the run's dtype."""
    if not on_gpu:
        return draw

    def moved(t):
        prompts = draw(t)
        return devices.to_device(
            prompts if isinstance(prompts, (Prompts, CodedPrompts)) else prompts.dense(start[0].dtype)
        )

    return moved


def _describe(thing):
    """What identifies a problem or a schedule in a file: its type and fields, or a function's name."""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        kind = type(thing)
        given = {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}
        fields = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        return {"type": f"{kind.__module__}.{kind.__qualname__}", "fields": fields}
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return {"type": f"{kind.__module__}.{kind.__qualname__}"}


def _short(value):
    """A value for an error: itself if that is short, or its type."""
    text = repr(value)
    return text if len(text) <= 80 and "\n" not in text else f"a {kind_of(value)}"


# ---- Checkpoints: one .npz, no pickle


def _pack(run):
    """A run as the bytes of an .npz file."""
    history = run.history
    arrays = {f"params/{name}": array for name, array in run.params._asdict().items()}
    arrays |= {"loss": history.loss, "learning_rate": history.learning_rate, "steps": history.steps}
    arrays |= {f"measured/{name}": values for name, values in history.measured.items()}
    about = {"format": _FORMAT, "nlicl": __version__, "step": run.step, "settings": run.settings}
    arrays |= {"about": np.array(json.dumps(about))}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def load_run(path, params=None):
    """Read a run from its folder or its checkpoint file.

    Parameters
    ----------
    path : path
        The folder given as `out`, or the `checkpoint.npz` in it.
    params : type, optional
        NamedTuple of the parameters, for a run of a problem of your own; that of the paper whose problem it is, or
        `nlicl.Params`, if not given.

    Returns
    -------
    Run

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; a file that is not a checkpoint of nlicl, or damaged; parameters with other names than in `params`.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path is {_short(path)}; expected a run's folder, or its checkpoint file.")
    path = Path(path)
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}; expected one that nlicl train --out wrote.")
    fields, history, step, settings = _unpack(path)
    kind = _params_of(settings) if params is None else params
    if set(fields) != set(getattr(kind, "_fields", ())):
        wanted = f"{name_of(kind)}({', '.join(kind._fields)})" if hasattr(kind, "_fields") else "a NamedTuple of them"
        raise ValueError(
            f"{path} holds the parameters {', '.join(fields)}, of a run of {settings['problem']['type']}; expected {wanted}. "
            "Give the type that goes with them, nlicl.load_run(path, params=TYPE)."
        )
    return Run(kind(**fields), history, step, settings)


def paper_of(settings):
    """The name of the paper whose problem a run's settings describe; None if it is of no paper of the library."""
    found = re.match(r"nlicl\.papers\.(\w+)\.", settings["problem"]["type"])
    return found and found[1]


def _params_of(settings):
    """The type of a run's parameters. Only modules of the library are ever imported because a file names them."""
    name = paper_of(settings)
    try:
        return importlib.import_module(f"nlicl.papers.{name}").Params if name else Params
    except ImportError:
        return Params


def _unpack(path):
    """Parameters by name, history, step and settings, as `_pack` put them into a file; ValueError if it is no such file."""
    anew = "Delete it, or choose another folder, and start anew."
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a checkpoint of nlicl, or is damaged: not an .npz file. {anew}")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = dict(file)
        about = json.loads(str(arrays["about"]))
        settings, step, version = about["settings"], about["step"], about["format"]
        fields = {name.removeprefix("params/"): a for name, a in arrays.items() if name.startswith("params/")}
        measured = {name.removeprefix("measured/"): a for name, a in arrays.items() if name.startswith("measured/")}
        history = History(arrays["loss"], arrays["learning_rate"], arrays["steps"], measured)
        settings["problem"]["type"]  # what every run has
        settings.setdefault("backend", "cpu")  # of runs from before there was another
    except (KeyError, TypeError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a checkpoint of nlicl, or is damaged ({error}). {anew}") from None
    if version != _FORMAT:
        raise ValueError(
            f"{path} has format {version}; this nlicl reads {_FORMAT}. Continue it with the nlicl that wrote it."
        )
    return fields, history, step, settings


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
    fields, history, step, settings = _unpack(path)
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
        raise ValueError(
            f"{path} is of a run with other settings: {name} is {there!r} there and {here!r} here. "
            "Resume with the settings it was started with, or choose another folder."
        )
    if step > len(state.loss):
        raise ValueError(f"{path} is at step {step} already; expected steps of at least that, got {len(state.loss)}.")
    state.params, state.t = state.params._replace(**fields), step
    state.loss[:step], state.eta[:step] = history.loss, history.learning_rate
    for i, t in enumerate(history.steps.tolist()):
        # a last measurement that was made at the end of a shorter run is made again, or not
        if t < step and t in times:
            state.record(t, {name: values[i] for name, values in history.measured.items()})
    return state
