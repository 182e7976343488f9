"""Training by gradient descent, stochastic or on the population, with history, checkpoints and exact resumption.

    W <- W - eta_t ( (1/B) sum_n d ell_n / dW + lambda W )        for each trained block W, or what of it trains, all at once

That is SGD; other optimizers are in `optimizers`. The sum is over a batch, or it is the mean over the population.

The prompts of step t depend on (seed, t) alone, so a run is settled by its plan, its parameters, what the optimizer remembers,
and t: continued from a checkpoint it takes bitwise the way it would have taken. `train` serves every paper by what its problem
offers: see `problem`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..core.checks import boolean, path
from ..core.describe import short
from ..core.errors import InvalidType, InvalidValue
from ..core.interruption import held
from ..models.model import Batch, Model
from .course import Progress, Told, Until, follow
from .many import Runs, checked_seeds, of_seeds
from .optimizers import Optimizer
from .plan import Plan, make_plan
from .problem import Observer, Problem, Schedule
from .runs import Run

__all__ = ["train"]


@overload
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
) -> Run: ...


@overload
def train(
    problem: Problem,
    *,
    steps: int | None = None,
    learning_rate: float | None = None,
    batch: int | None = None,
    seed: Sequence[int] | NDArray[np.integer],
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
) -> Runs: ...


def train(
    problem: Problem,
    *,
    steps: int | None = None,
    learning_rate: float | None = None,
    batch: int | None = None,
    seed: int | Sequence[int] | NDArray[np.integer] = 0,
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
) -> Run | Runs:
    """Train by gradient descent on a paper's problem.

    Parameters
    ----------
    problem : a paper's Problem
        It supplies the arguments that are not given.
    steps, learning_rate, batch : int, float, int, optional
        T, eta > 0, B. On the population there are no batches; do not give B then.
    seed : int, or sequence of int
        The seed of initialisation, prompts and tests. The same seed gives the same bits on any number of threads. For several
        seeds, such as range(20), there is a run for each, on all cores. Each has the bits of a run of its seed alone.
    loss : str, optional
        "hinge", "logistic" or "squared"; some models have fewer. Default: the problem's.
    trained : sequence of str, optional
        The parameters that train, for example ("W_Q", "W_K"); the others do not change.
    optimizer : Optimizer, optional
        `SGD()`, `Adam()` or `AdamW()` of `nlicl.training`, or one of your own. Default: the problem's, or `SGD()`. On a
        GPU, SGD only.
    weight_decay : float, optional
        lambda >= 0, on trained parameters. Its meaning depends on the optimizer. Default: the problem's, or 0.
    schedule : callable, optional
        t -> factor of the learning rate, for example `InverseTime(1e4)`. Default: the problem's, or constant.
    mask : dict of str to array of bool, optional
        The entries of a parameter that train, in its shape or that of its last axis. The others do not change and do not
        decay. Default: the problem's, or all entries.
    prompts : {"fresh", "population"} or int or Prompts or CodedPrompts, optional
        "fresh": new ones every step. "population": all prompts at once, if the problem has a `population`; this is gradient
        descent, not SGD. Prompts, or a number of them to draw: a fixed training set. Each step uses `batch` of its prompts,
        drawn without replacement; all of them if `batch` is at least their number, or the problem has none. Default: the
        problem's `prompts`, or "fresh".
    params : NamedTuple of ndarray, optional
        The initial parameters. Default: the problem's initialisation.
    model : Model or str, optional
        The model to train, or its name, as in `nlicl.loss_and_grad`. It must take the parameters and prompts of the problem.
        Default: the model registered for the type of the parameters.
    dtype : {numpy.float64, numpy.float32}
        The dtype of the computation.
    backend : {"auto", "cpu", "cuda"}
        The device. "auto" is a GPU only if `params` or `prompts` are there. On a GPU, prompts are drawn there if the problem
        can do so. Parameters and losses stay there until a measurement, a checkpoint or `until` needs them.
    measure : int, sequence of int, or None
        An int n: measure every n steps and at the end. A sequence: at these steps. None: never.
    observe : callable, optional
        params -> dict of numbers and arrays of fixed shapes. Default: the problem's observer. The parameters that it gets
        are read-only. With several seeds, `observe` and `until` are called in the threads of the runs, one at a time. A
        problem, a schedule or an optimizer of your own are called in several threads at once.
    until : callable, optional
        Losses so far (t,) -> bool. True stops the run. On a GPU, the losses are then copied to the host every step.
    out : path, optional
        Folder for checkpoints (`checkpoint.npz`) and the measurements (`history.csv`); made if it does not exist. With several
        seeds it has a folder for each: seed-0, seed-1, ..
    checkpoint : int
        Steps between checkpoints. A killed run loses at most this many steps.
    resume : bool
        Continue from the checkpoint in `out`, if there is one. Settings must be the same; `steps` may be larger. With several
        seeds, the unfinished ones continue.
    progress : callable, optional
        (t, T, loss) -> None, called after every step. If a model updates its parameters itself, it is called every 100 steps;
        on a GPU, whenever losses are copied to the host. With several seeds it gets the steps made in all runs, the steps of
        all runs, and the mean of the runs' last losses, and is called in the caller's thread.

    Returns
    -------
    Run, or Runs
        `Runs`, a sequence in the order of the seeds, if there are several.

    Raises
    ------
    Diverged
        The loss, a gradient, a parameter or a moment is not finite, or the loss is a million times as large as before. With
        several seeds the others first train to their end. `.runs` of the error has the runs of all seeds.
    ValueError, TypeError
        A setting is out of range (it is named), parameters or prompts belong to another model, a checkpoint is damaged or of
        another run, or another run trains in the folder `out`.
    FileExistsError
        `out` has a checkpoint and `resume` is not set. Nothing is overwritten.
    KeyboardInterrupt
        Ctrl-C. It waits for the end of the step, and the steps made are kept in `out`. If a problem makes many steps in one
        call, it waits up to 0.05 seconds. A second Ctrl-C does not wait, and the step is lost. If a model updates its
        parameters itself, up to 99 steps before it are lost too.
    nlicl.devices.Unavailable
        backend="cuda" without a GPU, or without the package numba-cuda.
    """
    with held() as signals:
        seeds = checked_seeds(seed)

        def make(seed: int) -> Plan:
            return make_plan(
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

        plan = make(seeds if isinstance(seeds, int) else seeds[0])
        for name, given in {"observe": observe, "until": until, "progress": progress}.items():
            if given is not None and not callable(given):
                raise InvalidType(f"{name} is {short(given)}; expected a function.")
        folder, told = _folder(out, resume), Told(observe, until, progress)
        if isinstance(seeds, int):
            return follow(plan, folder, resume, told, signals)
        return of_seeds(seeds, plan, make, folder, resume, told, signals)


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
