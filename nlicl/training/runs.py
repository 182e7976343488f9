"""Training runs: what they record, where they are, and where they diverge."""

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.arrays import as_array
from ..core.checks import integer
from ..core.checks import path as checked_path
from ..core.describe import short
from ..core.errors import InvalidKey, InvalidType, InvalidValue, NotFinite
from ..core.files import write_whole
from .columns import LOSS, frame, plot, scalars
from .notebook import history_html, run_html
from .optimizers import OptimizerState

__all__ = ["Diverged", "History", "Run", "State", "diverged"]


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

    loss: NDArray[np.floating]
    learning_rate: NDArray[np.floating]
    steps: NDArray[np.integer]
    measured: dict[str, NDArray[Any]] = field(repr=False)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if not isinstance(name, str) or name not in self.measured:
            raise InvalidKey(
                f"{short(name)} was not measured; expected one of {', '.join(map(repr, self.measured)) or 'no measurements'}."
            )
        return self.measured[name]

    def at(self, step: int, name: str) -> Any:
        """`name` as measured after `step` updates."""
        step = integer("step", step, 0)
        found = np.flatnonzero(self.steps == step)
        if not len(found):
            raise InvalidKey(f"nothing was measured at step {step}; measured was at {short(self.steps.tolist())}.")
        return self[name][found[0]]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """One row a measurement: step, and every measurement that is one number."""
        names = scalars(self)
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["step", *names])
        columns = [self.measured[name].tolist() for name in names]
        rows.writerows([step, *row] for step, *row in zip(self.steps.tolist(), *columns, strict=True))
        write_whole(checked_path("path", path, "the path of a file"), text.getvalue())

    def to_pandas(self) -> Any:
        """What was recorded, as a pandas.DataFrame with one row a step.

        The columns are "training_loss", "learning_rate", and every measurement that is one number. A measurement is NaN at
        the steps where it was not made: `frame["hinge_unseen"].dropna()` has the others. The last row is the end of the run,
        where there is no further step and no loss.

        Returns
        -------
        pandas.DataFrame
            Its index is `step`.

        Raises
        ------
        ModuleNotFoundError
            pandas is not installed.
        """
        return frame(self)

    def _repr_html_(self) -> str | None:
        return history_html(self)


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
    optimizer : OptimizerState
        What the optimizer remembers after `step` updates; nothing for SGD.
    """

    params: Any
    history: History
    step: int
    settings: dict[str, Any] = field(repr=False)
    optimizer: OptimizerState = field(default=OptimizerState(), repr=False)

    def __repr__(self) -> str:
        loss = f", loss {self.history.loss[-1]:.4g}" if len(self.history.loss) else ""
        return f"Run(step={self.step}{loss}, {self.params!r})"

    def plot(self, name: str = LOSS, *, axes: Any = None) -> Any:
        """Draw the training loss, or a measurement, against the step.

        Parameters
        ----------
        name : str
            "training_loss", or a measurement that is one number, "hinge_unseen" for instance.
        axes : matplotlib Axes, optional
            Where to draw; new ones if not given. A second curve on the same axes adds a legend.

        Returns
        -------
        matplotlib Axes
            `axes.figure.savefig("loss.png")` keeps the picture.

        Raises
        ------
        ModuleNotFoundError
            matplotlib is not installed.
        KeyError, ValueError
            It was not measured, or is an array at each step.
        """
        return plot(self.history, name, axes)

    def _repr_html_(self) -> str | None:
        return run_html(self)


class Diverged(ArithmeticError):
    """A number in training is no longer finite. `.run` has the last finite parameters and the history up to there.

    With several seeds, `.run` is that of the first seed that diverged, and `.runs` has the runs of all seeds. Otherwise
    `.runs` is None.
    """

    def __init__(self, message: str, run: Run, runs: Any = None) -> None:
        super().__init__(message)
        self.run, self.runs = run, runs

    def __reduce__(self) -> tuple[type, tuple[str, Run, Any]]:
        """What a process sends of it to another: an exception goes as its message alone, and this one has runs as well."""
        return type(self), (str(self), self.run, self.runs)


def diverged(state: "State", reason: str | NotFinite, advice: str | None = None) -> Diverged:
    """The error for a run that diverged at the state it reached, for this reason; what to do about it, if that is known."""
    if advice is None and state.t == 0 and isinstance(reason, NotFinite):  # which says what to scale down
        advice = "No step was taken yet: the learning rate is not the cause."
    elif advice is None:
        advice = f"The learning rate was {state.settings['learning_rate']:g}; try a tenth of it."
    return Diverged(
        f"training diverged at step {state.t}: {str(reason).rstrip('.')}. {advice} History and the last finite parameters are "
        "kept.",
        state.run(),
    )


class State:
    """A run under way: parameters and optimizer after t updates, losses of the steps before, measurements so far.

    Parameters
    ----------
    params : NamedTuple of ndarray
        To start from.
    optimizer : OptimizerState
        Before the first update.
    steps : int
        T, which the losses have room for.
    settings : dict
        Of the run's plan.
    """

    def __init__(self, params: Any, optimizer: OptimizerState, steps: int, settings: dict[str, Any]) -> None:
        self.params, self.optimizer, self.t, self.settings = params, optimizer, 0, settings
        self.loss, self.eta = np.full(steps, np.nan), np.full(steps, np.nan)
        self.rows: list[
            tuple[int, Mapping[str, NDArray[Any]]]
        ] = []  # one list: an interruption leaves no half of a row

    def record(self, t: int, measured: Any) -> None:
        """Keep what was measured after t updates; TypeError or ValueError unless it is as it was before."""
        if not isinstance(measured, dict):
            raise InvalidType(f"observe returns {short(measured)}; expected a dict of numbers and arrays.")
        row = {}
        for name, value in measured.items():
            if not isinstance(name, str):
                raise InvalidType(f"observe returns a dict with the name {short(name)}; expected names of type str.")
            if not name.isprintable():
                raise InvalidValue(
                    f"observe returns a dict with the name {short(name)}; expected printable characters."
                )
            row[name] = as_array(value, f"observe's {name!r}").copy()  # the observer may use its own again
            if row[name].dtype.kind not in "biufc":
                raise InvalidType(
                    f"observe returns {name!r} as {short(value)}, of dtype {row[name].dtype}; expected a number or an array "
                    "of numbers."
                )
        if self.rows:
            shapes, usual = ({name: array.shape for name, array in of.items()} for of in (row, self.rows[0][1]))
            if shapes != usual:
                odd = next(name for name in [*usual, *shapes] if shapes.get(name) != usual.get(name))
                raise InvalidValue(
                    f"observe returns {odd!r} of shape {shapes.get(odd, 'none')} at step {t} and {usual.get(odd, 'none')} "
                    "before; expected the same names and shapes each time."
                )
        self.rows.append((t, row))

    def run(self) -> Run:
        """The run as far as it got. Its arrays are the run's own."""
        names = self.rows[0][1] if self.rows else ()
        measured = {name: np.array([row[name] for _, row in self.rows]) for name in names}
        steps = np.array([t for t, _ in self.rows], np.int64)
        history = History(self.loss[: self.t].copy(), self.eta[: self.t].copy(), steps, measured)
        return Run(self.params, history, self.t, self.settings, self.optimizer)
