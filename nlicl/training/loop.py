"""Training by gradient descent, stochastic or on the population, with history, checkpoints and exact resumption.

    W <- W - eta_t ( (1/B) sum_n d ell_n / dW + lambda W )        for each trained block W, or what of it trains, all at once

That is SGD; other optimizers are in `optimizers`. The sum is over a batch, or it is the mean over the population.

The prompts of step t depend on (seed, t) alone, so a run is settled by its plan, its parameters, what the optimizer remembers,
and t: continued from a checkpoint it takes bitwise the way it would have taken. `train` serves every paper by what its problem
offers: see `problem`.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..core.arrays import frozen
from ..core.checks import boolean, path
from ..core.describe import short
from ..core.errors import InvalidType, InvalidValue, NotFinite
from ..core.interruption import Held, held, is_interruption
from ..models.model import Batch, Model
from .checkpoint import restore
from .descent import OnCpu, OnGpu
from .folder import RunFolder
from .optimizers import Optimizer
from .plan import Plan, make_plan
from .problem import Observer, Problem, Schedule
from .runs import Diverged, Run, State, diverged

__all__ = ["train"]

Until = Callable[[Any], bool]
Progress = Callable[[int, int, float], None]


def train(
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
    mask: Mapping[str, ArrayLike] | None = None,
    prompts: str | int | Batch | None = None,
    params: Any = None,
    model: Model | str | None = None,
    dtype: DTypeLike = np.float64,
    backend: str = "auto",
    measure: int | Sequence[int] | None = 20,
    observe: Observer | None = None,
    until: Until | None = None,
    out: str | os.PathLike[str] | None = None,
    checkpoint: int = 100,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
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
    optimizer : Optimizer, optional
        `SGD()`, `Adam()` or `AdamW()` of `nlicl.training`, or one of your own; the problem's, or `SGD()`, if not given. On a
        GPU, SGD only.
    weight_decay : float, optional
        lambda >= 0, on trained parameters; the problem's, or 0, if not given. The optimizer says what it does with it.
    schedule : callable, optional
        t -> factor of the learning rate, for example `InverseTime(1e4)`; the problem's, or constant, if not given.
    mask : dict of str to array of bool, optional
        What trains within a parameter, of its shape or of its last axis; the rest of it stays, and does not decay. The
        problem's, or everything, if not given.
    prompts : {"fresh", "population"} or int or Prompts or CodedPrompts, optional
        "fresh": new ones every step. "population": all prompts at once, if the problem has a `population`; this is gradient
        descent, not SGD. Prompts, or a number of them to draw: a fixed training set. Each step uses `batch` of its prompts,
        drawn without replacement; all of them if `batch` is at least their number, or the problem has none. If not
        given: the problem's `prompts`, or "fresh".
    params : NamedTuple of ndarray, optional
        Where to start; the problem's initialisation if not given.
    model : Model or str, optional
        The model to train, or its name, as in `nlicl.loss_and_grad`: one with the parameters and prompts of the problem. The
        one that such parameters belong to, if not given.
    dtype : {numpy.float64, numpy.float32}
        To train in.
    backend : {"auto", "cpu", "cuda"}
        Where: on a GPU, where prompts are drawn if the problem can, and parameters and losses stay until a measurement, a
        checkpoint or `until` asks for them; on the CPU; or, "auto", on a GPU only if `params` or `prompts` lie there.
    measure : int, sequence of int, or None
        When to measure: every so many steps and at the end, at these steps, or never.
    observe : callable, optional
        params -> dict of numbers and arrays of fixed shapes; the problem's observer if not given. The parameters that it gets
        are read-only.
    until : callable, optional
        Losses so far (t,) -> bool: whether to stop now, before T. On a GPU it has them brought to the host every step.
    out : path, optional
        Folder for checkpoints (`checkpoint.npz`) and the measurements (`history.csv`); made if it is not there.
    checkpoint : int
        Steps between checkpoints: what a killed run loses at most.
    resume : bool
        Go on from the checkpoint in `out`, if there is one. Settings must be the same; `steps` may be larger.
    progress : callable, optional
        (t, T, loss) -> None, called after every step; every 100 where a model descends itself, on a GPU whenever losses come
        to the host.

    Returns
    -------
    Run

    Raises
    ------
    Diverged
        The loss, a gradient, a parameter or a moment is not finite, or the loss is a million times what it was.
    ValueError, TypeError
        Settings out of range, named; parameters or prompts of another model; a checkpoint of another run, or a damaged one;
        `out` is a folder where another run trains.
    FileExistsError
        `out` holds a checkpoint and `resume` is not set: nothing is overwritten.
    KeyboardInterrupt
        Ctrl-C, once the step is made and what was done is kept in `out`. A second Ctrl-C does not wait for the step: this one
        is not kept, nor are up to 99 before it where a model descends itself.
    nlicl.devices.Unavailable
        backend="cuda" without a GPU, or without the package numba-cuda.
    """
    with held() as signals:
        plan = make_plan(
            problem,
            steps=steps,
            learning_rate=learning_rate,
            batch=batch,
            seed=seed,
            loss=loss,
            trained=trained,
            optimizer=optimizer,
            weight_decay=weight_decay,
            schedule=schedule,
            mask=mask,
            prompts=prompts,
            params=params,
            model=model,
            dtype=dtype,
            backend=backend,
            measure=measure,
            checkpoint=checkpoint,
        )
        for name, given in {"observe": observe, "until": until, "progress": progress}.items():
            if given is not None and not callable(given):
                raise InvalidType(f"{name} is {short(given)}; expected a function.")
        folder = _folder(out, resume)
        if folder is not None:
            plan.check_stores()
        if plan.times and observe is None:
            observe = plan.observer()
        signals.look()
        with nullcontext() if folder is None else RunFolder(folder) as kept:
            state = plan.begin() if folder is None else restore(folder, plan, resume)
            descent = OnGpu(plan, state) if plan.device == "cuda" else OnCpu(plan, state)
            told = _Told(observe, until, progress, kept, signals)
            try:
                _descend(plan, state, descent, told)
            except NotFinite as error:  # a loss, a gradient, or a score of the tests
                told.save(state)
                raise diverged(state, error) from None
            except (KeyboardInterrupt, SystemError) as error:
                if not is_interruption(error):
                    raise
                with suppress(Diverged):  # then that is where it stopped
                    descent.catch_up()
                told.save(state)
                raise
            except Diverged:
                told.save(state)
                raise
            told.save(state)
            return state.run()


def _folder(out: Any, resume: bool) -> Path | None:
    """The folder of the run, if it has one."""
    resume = boolean("resume", resume)
    if out is None:
        if resume:
            raise InvalidValue("resume is set but out is None; expected the folder of the run to continue.")
        return None
    folder = path("out", out, "the path of a folder, or None to keep nothing")
    there = next((each for each in (folder, *folder.parents) if each.exists()), None)
    if there is not None and not there.is_dir():
        which = f"out is {folder}, which" if there == folder else f"out is {folder}, and {there}"
        raise InvalidValue(f"{which} is a file; expected the path of a folder.")
    return folder


def _says_stop(until: Until, losses: NDArray[np.floating]) -> bool:
    """What `until` answers; TypeError for an array, which is neither True nor False."""
    stop = until(frozen(losses))
    if not isinstance(stop, (bool, np.bool_, int)):
        raise InvalidType(f"until returns {short(stop)} at step {len(losses)}; expected True or False.")
    return bool(stop)


def _read_only(params: Any) -> Any:
    """The parameters as an observer sees them: it does not change the run."""
    return params._replace(**{name: frozen(array) for name, array in params._asdict().items()})


class _Told(NamedTuple):
    """Who is told of a run under way."""

    observe: Observer | None
    until: Until | None
    progress: Progress | None
    folder: RunFolder | None
    signals: Held

    def save(self, state: State) -> None:
        """Keep what was reached, if it is to be kept. Ctrl-C waits until it is written."""
        if self.folder is not None:
            self.signals.shut(self.folder.save, state.run())


def _descend(plan: Plan, state: State, descent: OnCpu | OnGpu, told: _Told) -> None:
    """Every step from where the state is, with measurements, checkpoints and what is told on the way."""
    observe, until, progress, folder, signals = told
    steps, times, t = plan.steps, plan.times, state.t
    marks = sorted(times) if observe is not None else []  # where a call of several steps ends
    while t < steps:
        signals.look()
        if observe is not None and t in times:
            descent.catch_up()
            state.record(t, observe(_read_only(state.params)))
        end = t + 1
        if progress is None and until is None:  # who are told of every step
            end = min(steps, t + descent.at_once, *marks[bisect_right(marks, t) :][:1])
            if folder is not None:
                end = min(end, t + plan.checkpoint - t % plan.checkpoint)
        for each in range(t, end):
            state.eta[each] = plan.eta(each)
        t = descent.steps(t, end)
        saving = folder is not None and t % plan.checkpoint == 0 and t < steps
        telling = progress is not None and (t % descent.every == 0 or t in times or t == steps)
        if saving or telling or until is not None:
            descent.catch_up()
        if progress is not None and state.t == t:
            progress(t, steps, state.loss[t - 1])
        if until is not None and _says_stop(until, state.loss[:t]):
            break
        if saving:
            told.save(state)
    descent.catch_up()
    if observe is not None and times and (state.t in times or state.t < steps):
        state.record(state.t, observe(_read_only(state.params)))
