"""A lock on a file: one holder at a time, among processes and within one.

The system takes a lock away when the process that holds it ends, in whatever way. So one that was left behind does not block.
The file holds the number of the process and the name of its machine, for who finds it locked.
"""

import errno
import os
import platform
import re
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["NO_LOCKS", "Lock"]

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
"""Error numbers of a file system that has no locks, as some network file systems have none."""

_LOCKED_BYTE = 2**30  # on Windows a locked byte cannot be read: this one lies beyond what the file holds
_LONGEST = 300  # bytes of the file that are looked at


class Lock:
    """A lock on the file at `path`, which is made for it, and removed when the lock is released."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def take(self) -> str | None:
        """Take the lock; if somebody has it, say who, as "process 12 on NAME".

        Raises
        ------
        OSError
            The file cannot be made; or, with a number in `NO_LOCKS`, the file system has no locks.
        """
        while True:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if not _try(handle):
                    return _holder(handle)
                if self._is_at_path(handle):
                    self._handle = handle
                    with suppress(OSError):  # a full disk: then nobody is told who it is
                        os.ftruncate(handle, 0)
                        os.write(handle, f"{os.getpid()} {platform.node()}\n".encode())
                    return None
            finally:
                if self._handle is None:
                    os.close(handle)

    def _is_at_path(self, handle: int) -> bool:
        """Whether the open file is still the one at the path: whoever had the lock before may have removed it meanwhile."""
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self.path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Remove the file and let the lock go. Nothing happens if it is not held."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        with suppress(OSError):  # Windows does not remove a file that is open: the next one to take the lock does
            os.unlink(self.path)
        os.close(handle)


def _try(handle: int) -> bool:
    """Whether the lock on an open file could be taken."""
    try:
        if sys.platform == "win32":
            os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(handle, 0, os.SEEK_SET)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _holder(handle: int) -> str:
    """Who has the lock, as the file says."""
    found = None
    with suppress(OSError):
        found = re.fullmatch(r"(\d{1,20}) ([\w.-]{1,255})\n", os.read(handle, _LONGEST).decode("ascii", "replace"))
    if found is None:
        return "another process"
    number, machine = found.groups()
    if machine == platform.node():
        return "this process" if int(number) == os.getpid() else f"process {number}"
    return f"process {number} on {machine}"
