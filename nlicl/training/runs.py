"""Training runs: what they record, where they diverge, and their checkpoints. One .npz, no pickle."""

import csv
import dataclasses
import importlib
import io
import json
import os
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .. import __version__
from ..core.arrays import name_of, short
from ..core.errors import InvalidType, InvalidValue, NotFinite
from ..core.files import write_whole
from ..models.transformer.prompts import Params

__all__ = ["Diverged", "History", "Run", "load_run"]

CHECKPOINT = "checkpoint.npz"
_FORMAT = 1


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


def diverged(state, reason):
    advice = f"The learning rate was {state.settings['learning_rate']:g}; try a tenth of it."
    if state.t == 0 and isinstance(reason, NotFinite):  # which says what to scale down
        advice = "No step was taken yet: the learning rate is not the cause."
    return Diverged(
        f"training diverged at step {state.t}: {str(reason).rstrip('.')}. {advice} History and the last finite parameters are "
        "kept.",
        state.run(),
    )


class State:
    """A run under way: parameters after t updates, losses of the steps before, measurements so far."""

    def __init__(self, params, steps, settings):
        self.params, self.t, self.settings = params, 0, settings
        self.loss, self.eta = np.full(steps, np.nan), np.full(steps, np.nan)
        self.steps, self.rows = [], []

    def record(self, t, measured):
        if not isinstance(measured, dict):
            raise InvalidType(f"observe returns {short(measured)}; expected a dict of numbers and arrays.")
        if self.rows:
            shapes, usual = ({name: np.shape(value) for name, value in row.items()} for row in (measured, self.rows[0]))
            if shapes != usual:
                odd = next(name for name in [*usual, *shapes] if shapes.get(name) != usual.get(name))
                raise InvalidValue(
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


def describe(thing):
    """What identifies a problem or a schedule in a file: its type and fields, or a function's name."""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        kind = type(thing)
        given = {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}
        fields = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        return {"type": f"{kind.__module__}.{kind.__qualname__}", "fields": fields}
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return {"type": f"{kind.__module__}.{kind.__qualname__}"}


# ---- Checkpoints


def pack(run):
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
        raise InvalidType(f"path is {short(path)}; expected a run's folder, or its checkpoint file.")
    path = Path(path)
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}; expected one that nlicl train --out wrote.")
    fields, history, step, settings = unpack(path)
    kind = _params_of(settings) if params is None else params
    if set(fields) != set(getattr(kind, "_fields", ())):
        wanted = f"{name_of(kind)}({', '.join(kind._fields)})" if hasattr(kind, "_fields") else "a NamedTuple of them"
        raise InvalidValue(
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


def unpack(path):
    """Parameters by name, history, step and settings, as `pack` put them into a file; ValueError if it is no such file."""
    anew = "Delete it, or choose another folder, and start anew."
    if not zipfile.is_zipfile(path):
        raise InvalidValue(f"{path} is not a checkpoint of nlicl, or is damaged: not an .npz file. {anew}")
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
        raise InvalidValue(f"{path} is not a checkpoint of nlicl, or is damaged ({error}). {anew}") from None
    if version != _FORMAT:
        raise InvalidValue(
            f"{path} has format {version}; this nlicl reads {_FORMAT}. Continue it with the nlicl that wrote it."
        )
    return fields, history, step, settings
