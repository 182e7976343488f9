"""Checkpoints: a run as one .npz file, without pickle.

Its arrays are `params/NAME`, `loss`, `learning_rate`, `steps`, `measured/NAME`, `optimizer/updates`, `optimizer/MOMENT/NAME`,
`about`, a JSON text with the format, the version of nlicl, the step and the settings, and `digest`, a hash of all the others.
`schema` says what each of them is. A file that holds else, or whose hash is another, is refused.

Format 1 is read by every nlicl. A run of format 2 has an optimizer that remembers, or goes through another model than its
parameters usually do: an nlicl of before would go on by SGD, through the usual model, and must refuse it. Files from before
there was a hash have none; `about` says so by having no `digest`.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..core.describe import name_of, short
from ..core.errors import InvalidInput, InvalidType, InvalidValue
from ..core.registry import MODELS, PAPERS
from .npz import Damaged, Unreadable, digest, pack_arrays, read_arrays
from .optimizers import SGD, Adam, AdamW, Blocks, OptimizerState
from .plan import Plan, usual_model
from .runs import History, Run, State
from .schema import check_settings, checked_history, checked_memory, checked_params

__all__ = ["CHECKPOINT", "load_run", "pack", "paper_of", "restore"]

CHECKPOINT = "checkpoint.npz"
_FORMATS = (1, 2)
_SGD = {"name": SGD.name}
_BEFORE = {"backend": "cpu", "optimizer": _SGD}  # settings of runs from before there was a choice


def restore(folder: Path, plan: Plan, resume: bool) -> State:
    """The state to go on from: that of the checkpoint in `folder`, or the plan's start where there is none.

    Raises
    ------
    FileExistsError
        There is a checkpoint, and `resume` is not set.
    ValueError
        The checkpoint is of another run, or unreadable.
    """
    state = plan.begin()
    path = folder / CHECKPOINT
    if not os.path.lexists(path):
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
            raise InvalidValue(_damaged(path, f"it does not hold {what}"))
    made = {SGD: 0, Adam: stored.step, AdamW: stored.step}.get(type(plan.optimizer), stored.optimizer.updates)
    if stored.optimizer.updates != made:
        raise InvalidValue(
            _damaged(path, f"its optimizer made {stored.optimizer.updates} updates in {stored.step} steps")
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
    arrays |= {"optimizer/updates": np.array(int(run.optimizer.updates))}
    arrays |= {f"optimizer/{name}": array for name, array in _flat(run.optimizer.moments).items()}
    about = {"format": _format_of(run), "nlicl": __version__, "step": run.step, "settings": run.settings}
    arrays |= {"about": np.array(json.dumps({**about, "digest": "sha256"}))}
    return pack_arrays({**arrays, "digest": np.array(digest(arrays))})


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
    if not os.path.lexists(path):
        raise FileNotFoundError(f"there is no checkpoint {path}; expected one that nlicl train --out wrote.")
    stored = _unpack(path)
    kind = _params_of(stored.settings, set(stored.params)) if params is None else params
    if set(stored.params) != set(getattr(kind, "_fields", ())):
        wanted = f"{name_of(kind)}({', '.join(kind._fields)})" if hasattr(kind, "_fields") else "a NamedTuple of them"
        raise InvalidValue(
            f"{path} holds the parameters {', '.join(stored.params)}, of a run of {stored.settings['problem']['type']}; "
            f"expected {wanted}. Give the type that goes with them, nlicl.load_run(path, params=TYPE)."
        )
    there = kind(**stored.params)
    _check_fit(path, there, stored.settings.get("model"))
    return Run(there, stored.history, stored.step, stored.settings, stored.optimizer)


def paper_of(settings: Mapping[str, Any]) -> str | None:
    """The name of the paper whose problem a run's settings describe: the library's, or registered. None if there is none."""
    kind = settings["problem"]["type"]
    if found := re.match(r"nlicl\.papers\.(\w+)\.", kind):
        return found[1]
    PAPERS.load_declared()
    return next((paper.name for paper in PAPERS if paper.kind(kind) is not None), None)


def _check_fit(path: Path, params: Any, model: str | None) -> None:
    """InvalidValue unless parameters fit together, where their model can say it: a file without a hash may have lost some."""
    name = model or usual_model(params)
    found = None if name is None or name not in MODELS.names() else MODELS.load(name)
    check = getattr(found, "check_params", None)
    if found is None or check is None or not isinstance(params, found.Params):
        return
    try:
        check(params)
    except InvalidInput as reason:
        raise InvalidValue(_damaged(path, str(reason).rstrip("."))) from None


def _params_of(settings: Mapping[str, Any], names: set[str]) -> Any:
    """The type of a run's parameters, which have these names; None if no register knows it.

    What a file names is looked up in the registers, and nothing but theirs is imported. A paper's `Params` are those of its
    `Problem`; for another problem of the paper the model decides.
    """
    name = paper_of(settings)
    paper = PAPERS.load(name) if name in PAPERS.names() else None
    if paper is not None and paper.kind(settings["problem"]["type"]) in (paper.Problem, None):
        return paper.Params
    if settings.get("model") in MODELS.names():
        return MODELS.load(settings["model"]).Params
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
    try:
        arrays = read_arrays(path)
        about = _about(arrays)
        version = about.get("format")
        if isinstance(version, bool) or version not in _FORMATS:
            raise InvalidValue(
                f"{path} has format {short(version)}; this nlicl reads {' and '.join(map(str, _FORMATS))}. Continue it with "
                "the nlicl that wrote it."
            )
        return _checked(arrays, about)
    except Unreadable as reason:
        raise InvalidValue(f"{path} {reason}; expected a checkpoint of nlicl. Choose another folder.") from None
    except Damaged as reason:
        raise InvalidValue(_damaged(path, str(reason))) from None


def _damaged(path: Path, reason: str) -> str:
    advice = "Delete it, or choose another folder, and start anew."
    return f"{path} is not a checkpoint of nlicl, or is damaged ({reason}). {advice}"


def _about(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """The JSON text of a file, read. The format of a later version is not looked into."""
    text = arrays.get("about")
    if text is None or text.shape != () or text.dtype.kind != "U":
        raise Damaged("it holds no text about itself")
    try:
        about = json.loads(text.item(), object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        raise Damaged("its text about itself cannot be read") from None
    if not isinstance(about, dict):
        raise Damaged("its text about itself has no names")
    return about


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _checked(arrays: dict[str, NDArray[Any]], about: dict[str, Any]) -> _Stored:
    """What the arrays of a file come to. `Damaged` unless they are those of a run, as it wrote them."""
    hashed = "digest" in about
    names = {"format", "nlicl", "step", "settings"} | ({"digest"} if hashed else set())
    if set(about) != names or not isinstance(about["nlicl"], str) or about.get("digest", "sha256") != "sha256":
        raise Damaged(f"its text about itself has not the names {', '.join(sorted(names))}, with what belongs there")
    written = arrays.pop("digest", None)
    if hashed != (written is not None) or (hashed and str(written) != digest(arrays)):
        raise Damaged("its contents are not as they were written: their hash is another")
    settings, step = about["settings"], about["step"]
    if isinstance(settings, dict):
        settings = {**settings, **{name: value for name, value in _BEFORE.items() if name not in settings}}
    check_settings(settings, step)
    rooms = {room: _under(room, arrays) for room in ("params", "measured", "optimizer")}
    own = ("about", "loss", "learning_rate", "steps")
    missing = [name for name in own if name not in arrays]
    odd = [name for name in arrays if name not in own and name.partition("/")[0] not in rooms]
    if missing or odd:
        raise Damaged(f"it does not hold {missing[0]}" if missing else f"it holds {short(odd[0])}, which no run has")
    params = checked_params(rooms["params"], settings)
    history = checked_history(arrays, rooms["measured"], step)
    return _Stored(params, history, step, settings, checked_memory(rooms["optimizer"], params, settings))


def _under(room: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays whose names begin with "room/", by the rest of their names."""
    return {name.removeprefix(f"{room}/"): array for name, array in arrays.items() if name.startswith(f"{room}/")}
