"""What a run recorded as columns: for pictures, and for pandas."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.describe import meant, short
from ..core.errors import InvalidKey, InvalidValue
from ..core.extras import need

if TYPE_CHECKING:
    from .runs import History

__all__ = ["LOSS", "column", "frame", "frame_of_seeds", "of_seeds", "plot", "plot_of_seeds", "scalars"]

LOSS = "training_loss"
"""The name of the mean loss of each step's batch, as in `nlicl.sweep`."""


def scalars(history: "History") -> list[str]:
    """The names of measurements that are one number."""
    return [name for name, values in history.measured.items() if values.ndim == 1]


def column(history: "History", name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Steps and values of a measurement that is one number, or of "training_loss".

    Raises
    ------
    KeyError
        It was not measured.
    ValueError
        It is an array at each step.
    """
    if isinstance(name, str) and name == LOSS and LOSS not in history.measured:
        return np.arange(len(history.loss)), history.loss
    names = [LOSS, *scalars(history)]
    if not isinstance(name, str) or name not in history.measured:
        raise InvalidKey(
            f"{short(name)} was not measured{meant(name, names)}; expected one of {', '.join(map(repr, names))}."
        )
    values = history.measured[name]
    if values.ndim != 1:
        raise InvalidValue(
            f"{name!r} is an array of shape {values.shape[1:]} at each step; expected one of {', '.join(map(repr, names))}."
        )
    return history.steps, values


def of_seeds(histories: Sequence["History"], name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """The steps that all have, and the values there (seeds, k)."""
    found = [column(history, name) for history in histories]
    steps = found[0][0]
    for each, _ in found[1:]:
        steps = np.intersect1d(steps, each)
    return steps, np.array([values[np.isin(each, steps)] for each, values in found])


# ---- pandas


def frame(history: "History", what: str = "history.to_pandas") -> Any:
    """`History.to_pandas`: see there."""
    pandas = need("pandas", "notebook", what)
    return pandas.DataFrame(_columns(history), index=pandas.RangeIndex(_rows(history), name="step"))


def frame_of_seeds(histories: Mapping[int, "History"]) -> Any:
    """`Runs.to_pandas`: see there."""
    pandas = need("pandas", "notebook", "runs.to_pandas")
    return pandas.concat({seed: frame(history) for seed, history in histories.items()}, names=["seed", "step"])


def _rows(history: "History") -> int:
    return max(len(history.loss), int(history.steps.max(initial=-1)) + 1)


def _columns(history: "History") -> dict[str, NDArray[Any]]:
    """Name -> a value for every step, NaN where there is none."""
    rows = _rows(history)
    found = {}
    for name, values in ((LOSS, history.loss), ("learning_rate", history.learning_rate)):
        found[name] = np.full(rows, np.nan)
        found[name][: len(values)] = values
    for name in scalars(history):
        values = history.measured[name]
        found[name] = np.full(rows, np.nan, np.result_type(values.dtype, np.float32))
        found[name][history.steps] = values
    return found


# ---- matplotlib


def plot(history: "History", name: str, axes: Any) -> Any:
    """`Run.plot`: see there."""
    steps, values = column(history, name)
    axes = _axes(axes, "run.plot")
    axes.plot(steps, values, label=name)
    return _labelled(axes, name)


def plot_of_seeds(histories: Sequence["History"], name: str, axes: Any) -> Any:
    """`Runs.plot`: see there."""
    steps, values = of_seeds(histories, name)
    axes = _axes(axes, "runs.plot")
    (line,) = axes.plot(steps, np.median(values, axis=0), label=f"{name}, median of {len(values)} seeds")
    axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=line.get_color(), alpha=0.2, linewidth=0)
    return _labelled(axes, name)


def _axes(axes: Any, what: str) -> Any:
    """The axes that were given, or new ones."""
    pyplot = need("matplotlib.pyplot", "plot", what)
    return pyplot.subplots(figsize=(5, 3), layout="constrained")[1] if axes is None else axes


def _labelled(axes: Any, name: str) -> Any:
    axes.set_xlabel("step")
    if axes.get_ylabel():
        axes.legend()  # a second curve
    else:
        axes.set_ylabel(name)
    return axes
