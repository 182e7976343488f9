"""Checkpoints of short runs, damaged.

`load_run` and a run that goes on refuse them in one line, or give the true bits.
"""

import io
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import nlicl
from nlicl.core.errors import InvalidInput
from nlicl.papers import bu2024, huang2023, li2024
from nlicl.training import Adam
from nlicl.training.checkpoint import CHECKPOINT

from .outcome import ACCEPTED, LONGEST, REFUSED, Outcome, failed
from .part import generator

__all__ = ["Part"]

_STEPS, _ALL = 4, 7
_LI = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6)
_HUANG = huang2023.Problem(K=4, length=6, d=5, draws=20)
_BU = bu2024.Problem(concepts=2, dictionary=6, d_x=8, d_y=6, length=4, m=6, batch=8, sigma_xi=0.1, p_z=0.2)
_RUNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "li2024": (_LI, {"measure": 2}),
    "li2024, Adam": (_LI, {"optimizer": Adam(), "measure": 2, "trained": ("W_Q", "W_V")}),
    "huang2023": (_HUANG, {"measure": 2}),
    "bu2024, float32": (_BU, {"dtype": np.float32, "measure": None}),
}
_NO_TEXT = ("nlicl",)  # of `about`: only said, and not looked at


class Part:
    """Case by case: a run, a kind of damage."""

    limit = 30.0

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        self.short: dict[str, bytes] = {}
        self.old: dict[str, bytes] = {}
        self.read: dict[str, Any] = {}
        self.whole: dict[str, Any] = {}
        for name, (problem, options) in _RUNS.items():
            where = folder / name
            nlicl.train(problem, steps=_STEPS, out=where, **options)
            self.short[name] = (where / CHECKPOINT).read_bytes()
            self.read[name] = _bits(nlicl.load_run(where))
            self.whole[name] = _bits(nlicl.train(problem, steps=_ALL, out=where, resume=True, **options))
            self.old[name] = _as_before(self.short[name])

    def _damaged(self, case: int) -> tuple[str, str, bytes]:
        rng = generator(self.seed, case)
        run = list(_RUNS)[rng.integers(len(_RUNS))]
        old = rng.random() < 0.25
        damages = _OF_OLD if old else _DAMAGES
        kind = list(damages)[rng.integers(len(damages))]
        data = damages[kind]((self.old if old else self.short)[run], rng)
        return run, f"{kind}, of before there was a hash" if old else kind, data

    def describe(self, case: int) -> str:
        run, kind, data = self._damaged(case)
        return f"a checkpoint of {run}: {kind}; {len(data)} bytes, it had {len(self.short[run])}"

    def judge(self, case: int) -> Outcome:
        run, kind, data = self._damaged(case)
        if data == self.short[run]:
            return Outcome(ACCEPTED)
        problem, options = _RUNS[run]
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            (folder / CHECKPOINT).write_bytes(data)
            goods = []
            for what, act, true in (
                ("load_run", lambda: nlicl.load_run(folder), self.read[run]),
                (
                    "resume",
                    lambda: nlicl.train(problem, steps=_ALL, out=folder, resume=True, **options),
                    self.whole[run],
                ),
            ):
                outcome = _tried(what, act, true)
                if outcome.failures and what == "load_run" and "before there was a hash" in kind:
                    outcome = Outcome(REFUSED)  # it cannot know the shapes; resuming does
                if outcome.failures:
                    return outcome
                goods.append(outcome.good)
                if what == "load_run" and (folder / CHECKPOINT).read_bytes() != data:
                    return failed("files", "load_run changed the file")
            if goods[1] == REFUSED and (folder / CHECKPOINT).read_bytes() != data:
                return failed("files", "a refused resume changed the file")
            left = {path.name for path in folder.iterdir()} - {CHECKPOINT, "history.csv"}
            if left and not all(name.endswith(".lock") or "lock" in name for name in left):
                return failed("files", f"left beside it: {left}")
            return Outcome(ACCEPTED if ACCEPTED in goods else REFUSED)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _tried(what: str, act: Callable[[], Any], true: Any) -> Outcome:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = _bits(act())
    except InvalidInput as error:
        text = str(error)
        if "\n" in text or len(text) > LONGEST:
            return failed("within", f"{what}: {text[:1000]}")
        return Outcome(REFUSED)
    except OSError as error:
        return (
            Outcome(REFUSED)
            if "checkpoint" in str(error)
            else failed("bug", f"{what}: {type(error).__name__}: {error}")
        )
    except BaseException as error:
        return failed("bug", f"{what}: {type(error).__name__}: {error}")
    if found != true:
        parts = [name for name in {*true, *found} if true.get(name) != found.get(name)]
        return failed("silent", f"{what} gives another run: {', '.join(sorted(parts)[:8])}")
    return Outcome(ACCEPTED)


def _bits(run: Any) -> dict[str, Any]:
    """A run to the bit."""
    arrays = {f"params/{name}": array for name, array in run.params._asdict().items()}
    history = run.history
    arrays |= {"loss": history.loss, "learning_rate": history.learning_rate, "steps": history.steps}
    arrays |= {f"measured/{name}": values for name, values in history.measured.items()}
    for kind, blocks in run.optimizer.moments.items():
        arrays |= {f"optimizer/{kind}/{name}": array for name, array in blocks.items()}
    found: dict[str, Any] = {name: _frozen(array) for name, array in arrays.items()}
    found |= {"step": run.step, "updates": run.optimizer.updates}
    return found | {"settings": json.dumps(run.settings, sort_keys=True, default=str)}


def _frozen(array: Any) -> Any:
    array = np.asarray(array)
    return (array.dtype.str, array.shape, array.tobytes() if not array.dtype.hasobject else repr(array))


# ---- Damage to the bytes

_Rng = np.random.Generator


def _cut(data: bytes, rng: _Rng) -> bytes:
    return data[: rng.integers(len(data))]


def _flip(data: bytes, rng: _Rng, count: int = 1) -> bytes:
    found = bytearray(data)
    for place in rng.integers(len(found), size=count):
        found[place] ^= 1 << rng.integers(8)
    return bytes(found)


def _over(data: bytes, rng: _Rng) -> bytes:
    """Some bytes of another value, or of none."""
    found = bytearray(data)
    first, length = rng.integers(len(found)), int(rng.integers(1, 64))
    found[first : first + length] = rng.bytes(length) if rng.random() < 0.5 else bytes(length)
    return bytes(found)


def _swap(data: bytes, rng: _Rng) -> bytes:
    """Two blocks in each other's place."""
    found, size = bytearray(data), 32
    a, b = (int(place) for place in rng.integers(len(found) - size, size=2))
    found[a : a + size], found[b : b + size] = found[b : b + size], found[a : a + size]
    return bytes(found[: len(data)])


def _odd_file(data: bytes, rng: _Rng) -> bytes:
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    files = (
        b"",
        b"\0" * 100,
        b"PK\3\4",
        array.getvalue(),
        empty.getvalue(),
        b"{}",
        data[::-1],
        data * 2,
        b"x" + data,
        data[1:],
    )
    return files[rng.integers(len(files))]


def _as_before(data: bytes) -> bytes:
    """A checkpoint as it was written before there was a hash in it."""
    arrays = _arrays(data)
    about = json.loads(str(arrays["about"]))
    about.pop("digest", None)
    arrays.pop("digest", None)
    arrays["about"] = np.array(json.dumps(about))
    return _saved(arrays)


# ---- Damage to the zip file


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def _zipped(members: list[tuple[str, bytes]], how: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name twice
        with zipfile.ZipFile(file, "w", how) as into:
            for name, content in members:
                into.writestr(name, content)
    return file.getvalue()


def _structure(data: bytes, rng: _Rng) -> bytes:
    members = list(_members(data).items())
    i, j = (int(place) for place in rng.integers(len(members), size=2))
    kind = rng.integers(7)
    if kind == 0:
        del members[i]
    elif kind == 1:
        members.append((members[i][0], members[j][1]))  # a name twice
    elif kind == 2:
        members[i], members[j] = (members[i][0], members[j][1]), (members[j][0], members[i][1])
    elif kind == 3:
        members[i] = (members[i][0] + "x", members[i][1])
    elif kind == 4:
        members.append(
            (
                ("../x.npy", "params/new.npy", "measured/new.npy", "x", "about", "optimizer/x/y.npy")[rng.integers(6)],
                members[j][1],
            )
        )
    elif kind == 5:
        members[i] = (members[i][0], _odd_file(members[i][1], rng))
    else:
        members[i] = (members[i][0], _flip(members[i][1], rng))
    return _zipped(members, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)[rng.integers(3)])


# ---- Damage to the content


def _arrays(data: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return dict(file)


def _saved(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _content(data: bytes, rng: _Rng) -> bytes:
    """One array is another one: other entries, another dtype, another shape, another name."""
    arrays = _arrays(data)
    name = list(arrays)[rng.integers(len(arrays))]
    array = arrays[name]
    if name == "about":
        return _settings(data, rng)
    kind = rng.integers(14)
    with np.errstate(all="ignore"):
        if kind == 0:
            del arrays[name]
        elif kind == 1:
            arrays[name + "_"] = arrays.pop(name)
        elif kind == 2:
            kinds = (np.float32, np.float16, np.longdouble, np.int64, complex, bool, "S8", "U8")
            kind = kinds[rng.integers(len(kinds))]
            try:
                arrays[name] = array.astype(kind)
            except ValueError:  # the hash is a text that is no number
                arrays[name] = np.zeros(array.shape, kind)
        elif kind == 3:
            arrays[name] = np.full(array.shape, (np.nan, np.inf, -1.0, 0.0, 1e300, -0.0)[rng.integers(6)])
        elif kind == 4:
            arrays[name] = array[..., None]
        elif kind == 5:
            arrays[name] = array.ravel()
        elif kind == 6:
            arrays[name] = array[:0] if array.ndim else np.zeros(0)
        elif kind == 7:
            arrays[name] = np.concatenate([array, array]) if array.ndim else np.array([array, array])
        elif kind == 8:
            arrays[name] = np.array(("text", b"bytes", 1, 1.5, True, None)[rng.integers(5)])
        elif kind == 9:
            arrays[name] = array.T
        elif kind == 10:
            arrays[name] = np.asarray(array).astype(array.dtype.newbyteorder(">"))
        elif kind == 11:
            other = list(arrays)[rng.integers(len(arrays))]
            arrays[name], arrays[other] = arrays[other], arrays[name]
        elif kind == 12:
            arrays[("params/new", "measured/new", "optimizer/m/new", "new", "loss2")[rng.integers(5)]] = array
        else:
            changed = np.array(array)
            if changed.size and changed.dtype.kind in "fi":
                changed.flat[rng.integers(changed.size)] += changed.dtype.type(1)
            arrays[name] = changed
    return _saved(arrays)


def _old_content(data: bytes, rng: _Rng) -> bytes:
    """An array is missing, or of another kind or shape: what can be seen without a hash."""
    arrays = _arrays(data)
    names = [name for name in arrays if name.startswith("params/") or name in ("loss", "learning_rate", "steps")]
    name = names[rng.integers(len(names))]
    array = arrays.pop(name)
    kind = rng.integers(5)
    with np.errstate(all="ignore"):
        if kind == 1:
            arrays[name + "_"] = array
        elif kind == 2:
            arrays[name] = array.astype((np.float16, complex, bool, "S8", "U8", np.longdouble)[rng.integers(6)])
        elif kind == 3:
            arrays[name] = array[..., None]
        elif kind == 4:
            arrays[name] = array[:0]
    return _saved(arrays)


_ODD: tuple[Any, ...] = (
    None,
    "",
    "x",
    -1,
    0,
    1,
    10**30,
    1.5,
    True,
    [],
    [1],
    {},
    {"x": 1},
    float("nan"),
    "\u202e",
    "x" * 5000,
    [[1]],
)


def _settings(data: bytes, rng: _Rng) -> bytes:
    """One value of the text `about` is another one, or gone, or there is one more."""
    arrays = _arrays(data)
    about = json.loads(str(arrays["about"]))
    place, key = about, list(about)[rng.integers(len(about))]
    while isinstance(place[key], dict) and place[key] and rng.random() < 0.85:
        place = place[key]
        key = list(place)[rng.integers(len(place))]
    kind = rng.integers(4)
    if key in _NO_TEXT:
        place, key, kind = about, "format", 0
    if kind == 0:
        place[key] = _ODD[rng.integers(len(_ODD))]
    elif kind == 1:
        del place[key]
    elif kind == 2:
        place["new"] = _ODD[rng.integers(len(_ODD))]
    else:
        place[key], place[key + "_"] = None, place[key]
    arrays["about"] = np.array(json.dumps(about))
    return _saved(arrays)


def _about(data: bytes, rng: _Rng) -> bytes:
    """The text `about` is no such text."""
    arrays = _arrays(data)
    text = str(arrays["about"])
    texts = (
        "",
        "{",
        "[]",
        "null",
        "1",
        '"x"',
        "[" * 5000,
        text[:-1],
        text + text,
        text.replace(":", ",", 1),
        "NaN",
        '{"format": 1}',
    )
    arrays["about"] = np.array(texts[rng.integers(len(texts))])
    return _saved(arrays)


_DAMAGES: dict[str, Callable[[bytes, _Rng], bytes]] = {
    "cut off": _cut,
    "a bit is flipped": _flip,
    "ten bits are flipped": lambda data, rng: _flip(data, rng, 10),
    "bytes are written over": _over,
    "blocks are swapped": _swap,
    "another file": _odd_file,
    "more bytes at the end": lambda data, rng: data + rng.bytes(int(rng.integers(1, 200))),
    "another zip file": _structure,
    "other arrays": _content,
    "other settings": _settings,
    "other text": _about,
}
_OF_OLD = {name: damage for name, damage in _DAMAGES.items() if damage not in (_structure, _content, _settings)} | {
    "whole": lambda data, rng: data,
    "an array that is none": _old_content,
}
