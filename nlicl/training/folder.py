"""A run's folder: one run at a time trains in it, and what it leaves there is whole."""

import os
import re
import warnings
from contextlib import suppress
from pathlib import Path

from ..core.errors import InvalidValue
from ..core.files import write_whole
from ..core.lock import NO_LOCKS, Lock
from .checkpoint import CHECKPOINT, pack
from .npz import Unreadable, check_plain_file
from .runs import Run

__all__ = ["RunFolder"]

_HISTORY = "history.csv"
_LOCK = ".train.lock"
_ON_ITS_WAY = re.compile(rf"\.({re.escape(CHECKPOINT)}|{re.escape(_HISTORY)})\.[a-z0-9_]{{8}}")  # see `write_whole`


class RunFolder:
    """A folder that a run is kept in. Once entered, it is there, and no other run trains in it.

    It is to be left in any case, also where `enter` failed or was broken off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[Path] = []
        self._lock = Lock(path / _LOCK)

    def enter(self) -> None:
        """Make the folder, lock it, and remove what a killed process left half written.

        Raises
        ------
        ValueError
            Another run trains in it, or something else is where its files should be.
        OSError
            It cannot be made or written.
        """
        self._made = [each for each in (self.path, *self.path.parents) if not each.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        for name in (CHECKPOINT, _HISTORY):
            try:
                if os.path.lexists(self.path / name):
                    check_plain_file(self.path / name)
            except Unreadable as reason:
                raise InvalidValue(
                    f"out is {self.path}, whose {name} {reason}; expected a run's folder, or an empty one. Choose another "
                    "folder."
                ) from None

    def leave(self) -> None:
        """Let the lock go, and remove folders that were made for the run if nothing was kept in them."""
        self._lock.release()
        for folder in self._made:
            with suppress(OSError):  # it is not empty, or was not made
                folder.rmdir()

    def save(self, run: Run) -> None:
        """Keep a run's checkpoint and its measurements."""
        write_whole(self.path / CHECKPOINT, pack(run))
        run.history.to_csv(self.path / _HISTORY)

    def _take_lock(self) -> None:
        try:
            holder = self._lock.take()
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            warnings.warn(
                f"{self.path} is on a file system without locks ({error.strerror}): whether another run trains there is not "
                "seen. Start no second one.",
                RuntimeWarning,
                stacklevel=4,
            )
            return
        if holder is not None:
            raise InvalidValue(
                f"out is {self.path}, where {holder} trains; expected a folder of this run's own. Wait until it ends, or "
                "choose another folder."
            )
        for name in filter(_ON_ITS_WAY.fullmatch, os.listdir(self.path)):
            (self.path / name).unlink(missing_ok=True)  # its writer had the lock, and is no more
