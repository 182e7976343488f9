"""Checkpoints: a run as one .npz file, without pickle.

Its arrays are `params/NAME`, `loss`, `learning_rate`, `steps`, `measured/NAME`, `optimizer/updates`, `optimizer/MOMENT/NAME`,
and `about`, a JSON text with the format, the version of nlicl, the step and the settings.

Format 1 is read by every nlicl. A run of format 2 has an optimizer that remembers, or goes through another model than its
parameters usually do: an nlicl of before would go on by SGD, through the usual model, and must refuse it.
"""

import io
import json
import os
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..core.describe import name_of, short
from ..core.errors import InvalidType, InvalidValue
from ..core.files import write_whole
from ..core.registry import MODELS, PAPERS
from .optimizers import SGD, Adam, AdamW, Blocks, OptimizerState
from .plan import Plan, usual_model
from .runs import History, Run, State

__all__ = ["CHECKPOINT", "load_run", "pack", "paper_of", "restore", "write"]

CHECKPOINT = "checkpoint.npz"
_FORMATS = (1, 2)
_SGD = {"name": SGD.name}
# What reading a damaged file may raise: json, NumPy, and zipfile with its decompressor, its encryption and its methods.
_UNREADABLE = (
    *(KeyError, TypeError, ValueError, SyntaxError, tokenize.TokenError, struct.error, EOFError, OSError),
    *(RuntimeError, NotImplementedError, RecursionError, zipfile.BadZipFile, zlib.error),
)
_BEFORE = {"backend": "cpu", "optimizer": _SGD}  # settings of runs from before there was a choice


def write(folder: Path, run: Run) -> None:
    """A run's checkpoint and its measurements into a folder that is there."""
    write_whole(folder / CHECKPOINT, pack(run))
    run.history.to_csv(folder / "history.csv")


def restore(folder: Path, plan: Plan, resume: bool) -> State:
    """The state to go on from: that of the checkpoint in `folder`, or the plan's start. The folder is made if need be.

    Raises
    ------
    FileExistsError
        There is a checkpoint, and `resume` is not set.
    ValueError
        The checkpoint is of another run, or unreadable.
    """
    state = plan.begin()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CHECKPOINT
    if not path.exists():
        return state
    if not resume:
        raise FileExistsError(
            f"{folder} holds the checkpoint of a run; resume it (resume=True), or choose another folder."
        )
    stored = _unpack(path)
    plan.check_resumes(path, stored.settings, stored.step)
    for what, there, here in (
        ("the run's parameters", stored.params, state.params._asdict()),
        (f"what {plan.optimizer.name} remembers", _flat(stored.optimizer.moments), _flat(state.optimizer.moments)),
    ):
        if _shapes(there) != _shapes(here):
            raise InvalidValue(
                f"{path} is damaged: it does not hold {what}. Delete it, or choose another folder, and start anew."
            )
    state.params, state.optimizer, state.t = state.params._replace(**stored.params), stored.optimizer, stored.step
    state.loss[: stored.step], state.eta[: stored.step] = stored.history.loss, stored.history.learning_rate
    for i, t in enumerate(stored.history.steps.tolist()):
        # a last measurement that was made at the end of a shorter run is made again, or not
        if t < stored.step and t in plan.times:
            state.record(t, {name: values[i] for name, values in stored.history.measured.items()})
    return state


def _shapes(arrays: Blocks) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _flat(moments: Mapping[str, Blocks]) -> dict[str, NDArray[np.floating]]:
    """The moments by names such as "m/W_Q"."""
    return {f"{kind}/{name}": array for kind, blocks in moments.items() for name, array in blocks.items()}


def pack(run: Run) -> bytes:
    """A run as the bytes of an .npz file."""
    history = run.history
    arrays = {f"params/{name}": array for name, array in run.params._asdict().items()}
    arrays |= {"loss": history.loss, "learning_rate": history.learning_rate, "steps": history.steps}
    arrays |= {f"measured/{name}": values for name, values in history.measured.items()}
    arrays |= {"optimizer/updates": np.array(run.optimizer.updates)}
    arrays |= {f"optimizer/{name}": array for name, array in _flat(run.optimizer.moments).items()}
    about = {"format": _format_of(run), "nlicl": __version__, "step": run.step, "settings": run.settings}
    arrays |= {"about": np.array(json.dumps(about))}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _format_of(run: Run) -> int:
    usual = usual_model(run.params)
    as_before = run.settings.get("optimizer", _SGD) == _SGD and run.settings.get("model", usual) == usual
    return 1 if as_before else 2


def load_run(path: str | os.PathLike[str], params: type | None = None) -> Run:
    """Read a run from its folder or its checkpoint file.

    Parameters
    ----------
    path : path
        The folder given as `out`, or the `checkpoint.npz` in it.
    params : type, optional
        NamedTuple of the parameters, for a run of a problem and a model of your own. If not given: that of the paper whose
        problem it is, or of its model; else that of the first model whose parameters have these names.

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
    if params is not None and not isinstance(params, type):
        raise InvalidType(f"params is {short(params)}; expected the type of a NamedTuple, or None.")
    path = Path(path)
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}; expected one that nlicl train --out wrote.")
    stored = _unpack(path)
    kind = _params_of(stored.settings, set(stored.params)) if params is None else params
    if set(stored.params) != set(getattr(kind, "_fields", ())):
        wanted = f"{name_of(kind)}({', '.join(kind._fields)})" if hasattr(kind, "_fields") else "a NamedTuple of them"
        raise InvalidValue(
            f"{path} holds the parameters {', '.join(stored.params)}, of a run of {stored.settings['problem']['type']}; "
            f"expected {wanted}. Give the type that goes with them, nlicl.load_run(path, params=TYPE)."
        )
    return Run(kind(**stored.params), stored.history, stored.step, stored.settings, stored.optimizer)


def paper_of(settings: Mapping[str, Any]) -> str | None:
    """The name of the paper whose problem a run's settings describe: the library's, or registered. None if there is none."""
    kind = settings["problem"]["type"]
    if found := re.match(r"nlicl\.papers\.(\w+)\.", kind):
        return found[1]
    PAPERS.load_declared()
    return next(
        (paper.name for paper in PAPERS if f"{paper.Problem.__module__}.{paper.Problem.__qualname__}" == kind), None
    )


def _params_of(settings: Mapping[str, Any], names: set[str]) -> Any:
    """The type of a run's parameters, which have these names; None if no register knows it.

    What a file names is looked up in the registers, and nothing but theirs is imported.
    """
    for register, name in ((PAPERS, paper_of(settings)), (MODELS, settings.get("model"))):
        if name in register.names():
            return register.load(name).Params
    kinds = (MODELS.load(name).Params for name in MODELS.names())
    return next((kind for kind in kinds if set(kind._fields) == names), None)


class _Stored(NamedTuple):
    """What a file holds: parameters by name, and the rest as in a `Run`."""

    params: dict[str, NDArray[np.floating]]
    history: History
    step: int
    settings: dict[str, Any]
    optimizer: OptimizerState


def _unpack(path: Path) -> _Stored:
    """What `pack` put into a file; ValueError if it is no such file."""
    anew = "Delete it, or choose another folder, and start anew."
    if not zipfile.is_zipfile(path):
        raise InvalidValue(f"{path} is not a checkpoint of nlicl, or is damaged: not an .npz file. {anew}")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = dict(file)
        about = json.loads(str(arrays["about"]))
        settings, step, version = about["settings"], about["step"], about["format"]
        history = History(arrays["loss"], arrays["learning_rate"], arrays["steps"], _under("measured", arrays))
        _check_lengths(history, step)
        if not isinstance(settings["problem"]["type"], str):
            raise InvalidType("its problem has no type")
        if not isinstance(settings["problem"].get("fields", {}), dict):
            raise InvalidType("its problem's fields have no names")
        for name, value in _BEFORE.items():
            settings.setdefault(name, value)
        if not isinstance(settings["optimizer"]["name"], str):
            raise InvalidType("its optimizer has no name")
        moments: dict[str, dict[str, Any]] = {}
        remembered = _under("optimizer", arrays)
        if remembered and "updates" not in remembered:
            raise InvalidValue("its optimizer remembers, and has no number of updates")
        updates = int(remembered.pop("updates", 0))
        if updates < 0:
            raise InvalidValue(f"its optimizer made {updates} updates")
        for name, array in remembered.items():
            kind, _, block = name.rpartition("/")
            moments.setdefault(kind, {})[block] = array
        if settings["optimizer"]["name"] in (Adam.name, AdamW.name):
            for block, array in moments.get("v", {}).items():
                if (array < 0).any():
                    raise InvalidValue(f"its moments v of {block}, means of squares, are less than 0")
    except _UNREADABLE as error:
        raise InvalidValue(f"{path} is not a checkpoint of nlicl, or is damaged ({error}). {anew}") from None
    if version not in _FORMATS:
        raise InvalidValue(
            f"{path} has format {version!r}; this nlicl reads {' and '.join(map(str, _FORMATS))}. Continue it with the nlicl "
            "that wrote it."
        )
    return _Stored(_under("params", arrays), history, step, settings, OptimizerState(updates, moments))


def _check_lengths(history: History, step: Any) -> None:
    """ValueError unless the arrays of a history go with each other and with the step it reached."""
    lengths = {"loss": (step,), "learning_rate": (step,), "steps": (len(history.steps),)}
    odd = [name for name, shape in lengths.items() if getattr(history, name).shape != shape]
    odd += [name for name, values in history.measured.items() if values.shape[:1] != lengths["steps"]]
    if odd or not isinstance(step, int):
        raise InvalidValue(f"{odd[0] if odd else 'step'} has another length than the history")


def _under(room: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays whose names begin with "room/", by the rest of their names."""
    return {name.removeprefix(f"{room}/"): array for name, array in arrays.items() if name.startswith(f"{room}/")}
