"""The folder of a sweep: what it is of, and the records of its cells.

    DIR/sweep.json            the problem, the training, the measures, and the names that were swept over
    DIR/records/*.jsonl       one line a cell; each file is written whole, under a temporary name, and never changed
    DIR/table.csv             all records, in the order of their settings (and table.parquet, where pyarrow is installed)

Nothing else is kept: a sweep goes on where its records end. Any number of processes may write into one folder at once.
"""

import hashlib
import json
import math
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ... import __version__
from ...core.describe import short
from ...core.errors import InvalidValue
from ...core.files import plain, to_json, write_whole
from ...core.lock import NO_LOCKS, Lock
from ...training.problem import describe
from .cell import FINAL, Record, Work, written

__all__ = ["SWEEP", "Store", "is_store"]

SWEEP = "sweep.json"
_RECORDS = "records"
_FORMAT = 1
_USUAL = object()  # what is not given
_LOCK, _TURN = ".sweep.lock", ".turn-{}.lock"
_TURNS = 256  # processes that share a folder, beyond which some take the same turn
_PATIENCE = 30.0  # seconds to wait for who writes sweep.json
_LEFT_BEHIND = 3600.0  # seconds after which a temporary file has no writer any more
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.jsonl\.[a-z0-9_]{8}")  # see `write_whole`


def is_store(folder: Path) -> bool:
    """Whether a folder holds a sweep."""
    return os.path.isfile(folder / SWEEP)  # False for a name that the system refuses


class Store:
    """A sweep's folder.

    Attributes
    ----------
    folder : Path
    about : dict
        What sweep.json says.
    done : set of str
        Keys of the cells with a record that a further run would not change.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self.done: set[str] = set()
        self._read: set[str] = set()
        self._turn: Lock | None = None

    # ---- Opening

    @classmethod
    def opened(cls, folder: Path, work: Work, names: Sequence[str]) -> "Store":
        """The store of a sweep, made if it is not there; `names` are swept over.

        Raises
        ------
        ValueError
            The folder holds another sweep, or its sweep.json is damaged.
        OSError
            It cannot be made or written.
        """
        (folder / _RECORDS).mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            there = _read_about(folder) if is_store(folder) else None
            about = _about(work, names)
            if there is not None:
                _check_same(folder, there, about)
                about["over"] = list(dict.fromkeys([*there["over"], *names]))
                about["problem"] = there["problem"]
                about["training"] = there["training"]
            if about != there:
                write_whole(folder / SWEEP, to_json(about))
        store = cls(folder, about)
        store._clean()
        store.look()
        return store

    @classmethod
    def shown(cls, folder: Path) -> "Store":
        """The store in a folder, to be read. ValueError if it holds none, or sweep.json is damaged."""
        if not is_store(folder):
            raise InvalidValue(
                f"{folder} has no sweep: there is no {SWEEP}. Expected a folder that `nlicl sweep --out` made."
            )
        return cls(folder, _read_about(folder))

    def usual(self, name: str) -> Any:
        """The value of a setting in cells that were not swept over it."""
        fields = self.about["problem"].get("fields", {})
        return _untold(fields[name] if name in fields else self.about["training"].get(name))

    def turn(self) -> int:
        """A number that no other process at work in this folder has: 0 for the first."""
        for number in range(_TURNS):
            self._turn = Lock(self.folder / _TURN.format(number))
            try:
                if self._turn.take() is None:  # `close` gives it back, also when Ctrl-C comes here
                    return number
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                return os.getpid() % _TURNS
        return os.getpid() % _TURNS

    def close(self) -> None:
        """Give the turn back."""
        if self._turn is not None:
            self._turn.release()

    # ---- Records

    def add(self, records: Sequence[Record]) -> None:
        """Keep records, whole or not at all."""
        if not records:
            return
        text = "".join(_line(record) for record in records)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        write_whole(self.folder / _RECORDS / f"{name}.jsonl", text)
        self._read.add(f"{name}.jsonl")
        self.done.update(record.key for record in records if record.state in FINAL)

    def look(self) -> None:
        """Take notice of records that others have written meanwhile."""
        for record in self._records(self._read):
            if record.state in FINAL:
                self.done.add(record.key)

    def records(self) -> dict[str, Record]:
        """All records of this version of nlicl, by key. Of a cell that was run again, the one that is final."""
        found: dict[str, Record] = {}
        for record in self._records(set()):
            if record.key not in found or found[record.key].state not in FINAL:
                found[record.key] = record
        return found

    def _records(self, read: set[str]) -> Iterator[Record]:
        """The records of files that were not read yet, whose names are added."""
        with suppress(FileNotFoundError), os.scandir(self.folder / _RECORDS) as entries:
            new = sorted(entry.name for entry in entries if entry.name.endswith(".jsonl") and entry.name not in read)
            for name in new:
                yield from self._of_file(name)
                read.add(name)

    def _of_file(self, name: str) -> Iterator[Record]:
        damaged = 0
        with suppress(FileNotFoundError):
            text = (self.folder / _RECORDS / name).read_bytes().decode("utf-8", "replace")
            for line in text.splitlines():
                try:
                    version, record = _parsed(line)
                    if record.values.keys() != self.about["measures"].keys():
                        raise KeyError("measures")
                except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
                    damaged += 1
                    continue
                if version == self.about["nlicl"]:
                    yield record
        if damaged:
            warnings.warn(
                f"{self.folder / _RECORDS / name} holds {damaged} damaged lines; their cells are run again.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _clean(self) -> None:
        """Remove what killed processes left half written."""
        with os.scandir(self.folder / _RECORDS) as entries:
            for entry in entries:
                if _TEMPORARY.fullmatch(entry.name):
                    with suppress(OSError):
                        if time.time() - entry.stat().st_mtime > _LEFT_BEHIND:
                            os.unlink(entry.path)


# ---- Lines


def _line(record: Record) -> str:
    row = plain({"nlicl": __version__, **record._asdict()})
    return json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n"


def _parsed(line: str) -> tuple[str, Record]:
    """The version and the record of a line; ValueError, KeyError, TypeError or AttributeError for anything else."""
    row = json.loads(line)
    values = {name: float(value) for name, value in row["values"].items()}
    steps, seed = int(row["steps"]), int(row["seed"])
    kinds = {"key": str, "state": str, "reason": str, "over": dict, "nlicl": str}
    if not all(isinstance(row[name], kind) for name, kind in kinds.items()) or len(row["key"]) != 32:
        raise ValueError(line)
    over = {name: _untold(value) for name, value in row["over"].items()}
    return row["nlicl"], Record(row["key"], over, seed, row["state"], row["reason"], steps, values)


def _untold(value: Any) -> Any:
    """A setting as it was before it was written: JSON has lists for tuples, and text for infinities."""
    if isinstance(value, list):
        return tuple(_untold(each) for each in value)
    return math.inf if value == "inf" else -math.inf if value == "-inf" else value


# ---- sweep.json


def _about(work: Work, names: Sequence[str]) -> dict[str, Any]:
    """What is kept of a sweep, as JSON has it."""
    about = {
        "format": _FORMAT,
        "nlicl": __version__,
        "problem": {**describe(work.problem), "given": {name: written(value) for name, value in work.given.items()}},
        "training": {name: written(value) for name, value in work.training.items()},
        "measures": {each.name: each.described for each in work.measures},
        "over": list(names),
    }
    return json.loads(to_json(about))


def _read_about(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / SWEEP).read_bytes())
        kinds = {"nlicl": str, "problem": dict, "training": dict, "measures": dict, "over": list}
        if about["format"] != _FORMAT or not all(isinstance(about[name], kind) for name, kind in kinds.items()):
            raise ValueError("another format")
        kinds = {"type": str, "given": dict}
        names_are_text = all(isinstance(name, str) for name in about["over"])
        if not names_are_text or not all(isinstance(about["problem"][name], kind) for name, kind in kinds.items()):
            raise ValueError("another format")
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidValue(
            f"{folder / SWEEP} is damaged, or of another nlicl ({short(str(error))[1:-1]}); expected what `nlicl sweep --out` "
            "wrote. Choose another folder."
        ) from None
    return about


def _check_same(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """InvalidValue unless both are of one sweep, but for what is swept over."""
    pairs: list[tuple[str, Any, Any]] = [("the problem", there["problem"]["type"], here["problem"]["type"])]
    for part, kept, given in (
        ("", {**there["problem"]["given"], **there["training"]}, {**here["problem"]["given"], **here["training"]}),
        ("the measure ", there["measures"], here["measures"]),
    ):
        for name in dict.fromkeys([*kept, *given]):
            if part or name not in here["over"]:
                pairs.append((f"{part}{name}", kept.get(name, _USUAL), given.get(name, _USUAL)))
    fields, own = ({**each["problem"].get("fields", {})} for each in (there, here))
    for name in fields.keys() & own.keys() - there["problem"]["given"].keys() - here["problem"]["given"].keys():
        pairs.append((f"the default of {name}", fields[name], own[name]))
    for name, before, now in pairs:
        if before != now:
            there_is, here_is = ("not given" if each is _USUAL else short(each) for each in (before, now))
            raise InvalidValue(
                f"out is {folder}, the store of another sweep: {name} is {there_is} there and {here_is} here. Choose another "
                "folder, or sweep with the same settings and measures."
            )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else writes sweep.json meanwhile; where the file system has no locks, nobody is asked."""
    lock = Lock(folder / _LOCK)
    end = time.monotonic() + _PATIENCE
    try:
        try:
            while (holder := lock.take()) is not None:
                if time.monotonic() > end:
                    raise InvalidValue(
                        f"{lock.path} is held by {holder}; expected it to be free by now. Wait until it ends."
                    )
                time.sleep(0.02)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield
    finally:
        lock.release()
