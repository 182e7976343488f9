"""The arguments of `nlicl.train` that take more than a range to check. Each function returns what the plan holds."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import devices
from ..core.arrays import as_array
from ..core.arrays import given as look
from ..core.checks import floating, integer
from ..core.describe import kind_of, short
from ..core.errors import InvalidType, InvalidValue
from ..core.memory import check_count
from ..models.front import check_batch
from ..models.model import Batch, Model, step_of
from .optimizers import SGD, Optimizer
from .problem import Problem, describe, extra

__all__ = ["block_names", "cast", "check_gpu", "checked_masks", "checked_measure", "checked_prompts", "starting_point"]


def starting_point(problem: Problem, params: Any, seed: int) -> Any:
    """The parameters to start from: the given ones, if they are of the problem's model, or its initialisation."""
    usual = problem.initialize(seed=seed)
    if not hasattr(usual, "_fields"):
        raise InvalidType(f"problem.initialize() returns {short(usual)}; expected a NamedTuple of arrays.")
    if params is not None and not isinstance(params, type(usual)):
        raise InvalidType(
            f"params is a {kind_of(params)}; expected a {kind_of(usual)}({', '.join(usual._fields)}), as "
            "problem.initialize() gives."
        )
    for name, like in usual._asdict().items() if params is not None else ():
        array = getattr(params, name)
        axes = 0 if isinstance(array, (int, float)) else getattr(array, "ndim", None)  # on a GPU, too
        if isinstance(axes, int) and axes != np.ndim(like):
            raise InvalidValue(
                f"params.{name} has {axes} axes; expected {np.ndim(like)}, as problem.initialize() gives."
            )
    return usual if params is None else params


def cast(params: Any, dtype: DTypeLike) -> Any:
    """A copy of the parameters in a dtype, float64 or float32 of the machine's own byte order.

    Raises
    ------
    TypeError
        Another dtype; a parameter that is no array of real numbers, or a masked one.
    ValueError
        Lists of unequal lengths.
    """
    dtype = floating("dtype", dtype).newbyteorder("=")
    arrays = {}
    for name, given in params._asdict().items():
        array = as_array(given, f"params.{name}")
        if array.dtype.kind not in "fiub":
            raise InvalidType(
                f"params.{name} {look(given, array)}; expected an array of numbers, real and none of them masked."
            )
        if array.size == 0:
            raise InvalidValue(f"params.{name} has shape {array.shape}; expected every size to be at least 1.")
        with np.errstate(over="ignore"):  # what is beyond float32 is infinite, which the first step says
            arrays[name] = np.array(array, dtype)
    return params._replace(**arrays)


def check_gpu(problem: Problem, model: Model, prompts: Any, optimizer: Optimizer) -> None:
    """TypeError where a GPU has no kernels for what is asked for; `Unavailable` where there is no GPU."""
    kernels = any(device == "cuda" for _, device in model.steps)
    if not kernels or (isinstance(prompts, str) and prompts == "population"):
        what = "prompts='population'" if kernels else f"the model of {describe(problem)['type']}"
        raise InvalidType(f"backend is 'cuda', and there are no GPU kernels for {what}. Take backend='cpu'.")
    if not isinstance(optimizer, SGD):
        raise InvalidType(
            f"optimizer is {optimizer.name}, and the run is on a GPU, where only SGD has kernels. Take backend='cpu', with "
            "parameters and prompts on the host, or optimizer=nlicl.training.SGD()."
        )
    devices.kernels()


def checked_prompts(prompts: Any, problem: Problem, model: Model, device: str) -> str | int | Batch:
    """What to train on; an error that says what is expected, or what the problem or the model does not have."""
    if isinstance(prompts, str):
        if prompts not in ("fresh", "population"):
            raise InvalidValue(f"prompts is {short(prompts)}; expected 'fresh', 'population', a number, or prompts.")
        if prompts == "population" and extra(problem, "population") is None:
            raise InvalidValue(
                f"prompts is 'population': {describe(problem)['type']} has none to compute with. Expected 'fresh', a number, "
                "or prompts."
            )
        return prompts
    if isinstance(prompts, (int, np.integer)) and not isinstance(prompts, np.timedelta64):
        return integer("prompts", prompts, 1)
    check_batch(prompts)
    step_of(model, prompts, device)
    return prompts


def block_names(trained: Any, params: Any) -> tuple[str, ...]:
    """The names of the parameters that train, in the order of the parameters."""
    try:
        names = (trained,) if isinstance(trained, str) else tuple(trained)
    except Exception:  # an iterator of the caller's may raise anything
        names = (trained,)
    unknown = [name for name in names if not isinstance(name, str) or name not in params._fields]
    if unknown or not names:
        raise InvalidValue(f"trained is {short(names)}; expected at least one of {', '.join(params._fields)}.")
    return tuple(name for name in params._fields if name in names)


def checked_masks(mask: Any, params: Any, given: str) -> dict[str, NDArray[np.bool_]]:
    """The masks as arrays, True where a block trains; errors are about what was `given`, mask or params."""
    if not isinstance(mask, dict):
        raise InvalidType(f"mask is {short(mask)}; expected a dict of names to arrays of bool.")
    masks = {}
    for name, flags in mask.items():
        flags = as_array(flags, f"mask[{short(name)}]")
        shape = getattr(params, name).shape if isinstance(name, str) and name in params._fields else None
        if given == "params" and shape is not None and flags.ndim and flags.shape not in (shape, shape[-1:]):
            expected = f"a last axis of {len(flags)}" if flags.ndim == 1 else f"shape {flags.shape}"
            raise InvalidValue(
                f"params.{name} has shape {shape}; expected {expected}, the problem's. Give parameters of this problem, as "
                "problem.initialize() does."
            )
        if shape is None or flags.dtype != bool or flags.shape not in (shape, shape[-1:]):
            raise InvalidValue(
                f"mask holds {short(name)}, of shape {flags.shape} and dtype {flags.dtype}; expected the name of a parameter, "
                f"one of {', '.join(params._fields)}, with an array of bool of its shape or of its last axis."
            )
        masks[name] = np.array(flags)  # the run's own
    return masks


def checked_measure(measure: Any) -> int | tuple[int, ...] | None:
    """When to measure: every so many steps, or at these, in order."""
    if measure is None:
        return None
    check_count("measure", measure, 200)
    try:
        times = None if isinstance(measure, str) or not np.iterable(measure) else list(measure)
    except Exception:  # an iterator of the caller's may raise anything
        times = None
    if times is None:
        return integer("measure", measure, 1)
    return tuple(sorted({integer("measure", t, 0) for t in times}))
