"""What a checkpoint holds: the settings and arrays that a run leaves behind, and no others."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.describe import short
from .npz import Arrays, Damaged
from .optimizers import Adam, AdamW, OptimizerState
from .runs import History

__all__ = ["check_settings", "checked_history", "checked_memory", "checked_params"]


def _is_count(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_positive_count(value: Any) -> bool:
    return _is_count(value, 1)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(type(value) is type(one) and value == one for one in values)


def _or(*conditions: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: any(condition(value) for condition in conditions)


def _is_none(value: Any) -> bool:
    return value is None


def _is_described(value: Any) -> bool:
    """What `describe` gives."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("type"), str)
        and set(value) <= {"type", "fields"}
        and isinstance(value.get("fields", {}), dict)
    )


def _is_list_of(condition: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(condition, value))


def _is_mask(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_are_flags, value.values()))


def _are_flags(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list) and all(map(_are_flags, value)))


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str)


_SETTINGS: dict[str, Callable[[Any], bool]] = {
    "problem": _is_described,
    "steps": _is_count,
    "learning_rate": _is_number,
    "prompts": _or(_is_one_of("fresh", "population", "given"), _is_positive_count),
    "batch": _or(_is_none, _is_positive_count),
    "seed": _is_count,
    "loss": _is_text,
    "trained": _is_list_of(_is_text),
    "optimizer": _is_optimizer,
    "weight_decay": _is_number,
    "mask": _or(_is_none, _is_mask),
    "schedule": _or(_is_none, _is_described),
    "params": _is_one_of(None, "given"),
    "model": _is_text,
    "dtype": _is_one_of("float64", "float32"),
    "backend": _is_one_of("cpu", "cuda"),
    "measure": _or(_is_none, _is_positive_count, _is_list_of(_is_count)),
    "checkpoint": _is_positive_count,
}
_LATER = {"model"}  # runs had no choice of it at first


def check_settings(settings: Any, step: Any) -> None:
    """`Damaged` unless these are a plan's settings, of a run that has reached this step."""
    if not isinstance(settings, dict):
        raise Damaged(f"its settings are {short(settings)}")
    for name in (*_SETTINGS, *settings):
        if name not in _SETTINGS:
            raise Damaged(f"it holds the setting {short(name)}, which this nlicl does not know")
        if name not in settings:
            if name not in _LATER:
                raise Damaged(f"it holds no setting {name!r}")
        elif not _SETTINGS[name](settings[name]):
            raise Damaged(f"its setting {name!r} is {short(settings[name])}, which no run has")
    if not _is_count(step) or step > settings["steps"]:
        raise Damaged(f"its step is {short(step)}, of {settings['steps']} steps")


def checked_params(arrays: Arrays, settings: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The parameters: finite, of the run's dtype, and those that train among them."""
    if not arrays:
        raise Damaged("it holds no parameters")
    for name, array in arrays.items():
        _check(f"parameter {name}", array, settings["dtype"])
    missing = [name for name in settings["trained"] if name not in arrays]
    if missing or not settings["trained"]:
        raise Damaged(f"it does not hold the trained parameter {(missing or [''])[0]}")
    return dict(arrays)


def checked_history(arrays: Arrays, measured: Arrays, step: int) -> History:
    """The history of so many steps, from the arrays of its names."""
    loss, eta, steps = (arrays[name] for name in ("loss", "learning_rate", "steps"))
    for name, array in (("loss", loss), ("learning_rate", eta)):
        _check(name, array, "float64", (step,))
    if (eta < 0).any():
        raise Damaged("its learning_rate is less than 0")
    if steps.dtype != np.int64 or steps.ndim != 1:
        raise Damaged(f"its steps have shape {steps.shape} and dtype {steps.dtype}")
    if len(steps) and (steps[0] < 0 or steps[-1] > step or (np.diff(steps) <= 0).any()):
        raise Damaged(f"its measurements are not in the order of steps from 0 to {step}")
    for name, values in measured.items():
        if values.shape[:1] != steps.shape or values.dtype.kind not in "biufc" or not len(steps):
            raise Damaged(f"its measurements {short(name)} have shape {values.shape} and dtype {values.dtype}")
    return History(loss, eta, steps, dict(measured))


def checked_memory(arrays: Arrays, params: Arrays, settings: Mapping[str, Any]) -> OptimizerState:
    """What the optimizer remembers, from its arrays: the number of updates, and moments of each block that trains."""
    remembered = dict(arrays)
    if remembered and "updates" not in remembered:
        raise Damaged("its optimizer remembers, and has no number of updates")
    count = remembered.pop("updates", np.array(0))
    if count.shape != () or count.dtype.kind not in "iu":
        raise Damaged(f"its optimizer's updates have shape {count.shape} and dtype {count.dtype}")
    updates = int(count)
    if updates < 0:
        raise Damaged(f"its optimizer made {updates} updates")
    moments: dict[str, dict[str, NDArray[Any]]] = {}
    for place, array in remembered.items():
        kind, _, block = place.rpartition("/")
        if block not in settings["trained"]:
            raise Damaged(f"its optimizer remembers {short(place)}, which is of no trained parameter")
        _check(f"optimizer's {place}", array, settings["dtype"], params[block].shape)
        moments.setdefault(kind, {})[block] = array
    for kind, blocks in moments.items():
        if set(blocks) != set(settings["trained"]):
            raise Damaged(f"its optimizer's {kind} is not of every trained parameter")
    for block, array in moments.get("v", {}).items():
        if settings["optimizer"]["name"] in (Adam.name, AdamW.name) and (array < 0).any():
            raise Damaged(f"its moments v of {block}, means of squares, are less than 0")
    return OptimizerState(updates, moments)


def _check(name: str, array: NDArray[Any], dtype: str, shape: tuple[int, ...] | None = None) -> None:
    """`Damaged` unless an array has this dtype and shape, and is finite."""
    if array.dtype != np.dtype(dtype) or (shape is not None and array.shape != shape):
        wanted = dtype if shape is None else f"{shape} and {dtype}"
        raise Damaged(f"its {name} has shape {array.shape} and dtype {array.dtype}; expected {wanted}")
    if not np.isfinite(array).all():
        raise Damaged(f"its {name} is not finite")
