"""Writing files so that a reader never sees half of one, and JSON that every reader accepts."""

import errno
import json
import math
import os
import re
import socket
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .describe import short
from .text import INVISIBLE

__all__ = ["plain", "plain_file", "to_json", "write_whole"]

_LINKS = 40  # symbolic links that lead to one another, as many as Linux follows
_DESCRIPTORS = re.compile(r"/proc/(\d+|self|thread-self)(/task/\d+)?/fd|/dev/fd")  # folders of open files
_ESCAPED = re.compile(f"[{INVISIBLE}]")


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file under a temporary name in the same folder, then rename it.

    Whatever happens, the file is the old one or the new one. The contents are on the disk before the name is. A file that was
    there hands on its permissions. A symbolic link stays, and the file that it leads to is written.

    What is no plain file stays what it is, and is written into: a pipe, a terminal, a device such as /dev/null, a socket, and
    what is open already, as /dev/stdout. A named pipe must have a reader by then: none is waited for.

    Parameters
    ----------
    path : path
        Its folder must be there.
    content : str or bytes
        Text is written as UTF-8. What UTF-8 has not, bytes of a file's name for instance, is written as its escape, which is
        JSON's as well.

    Raises
    ------
    OSError
        The folder is not there or cannot be written, or the disk is full; links that lead in a circle; a folder or a disk; a
        named pipe without a reader.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    target = plain_file(path)
    if target is None:
        _write_into(Path(path), content)
        return
    before = _status(target)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if before is not None and hasattr(os, "chown"):
            with suppress(OSError):  # root's privilege
                os.chown(name, before.st_uid, before.st_gid)
        os.chmod(name, 0o666 & ~_umask() if before is None else stat.S_IMODE(before.st_mode))
        os.replace(name, target)
    except BaseException:
        with suppress(FileNotFoundError):  # it has its name already: Ctrl-C came right after
            os.unlink(name)
        raise


def plain_file(path: str | os.PathLike[str]) -> Path | None:
    """Where `write_whole` puts a plain file, behind all symbolic links, whether it is there yet or not.

    Returns
    -------
    Path or None
        None for what is there and is no plain file, or is open already: it is written into.

    Raises
    ------
    OSError
        A folder, a disk, links in a circle, or a name that the system refuses.
    """
    path = Path(path)
    if "\0" in os.fspath(path):
        raise OSError(errno.EINVAL, "holds a character of code 0, which no name of a file has")
    found = _status(path)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if found is not None and stat.S_ISBLK(found.st_mode):
        raise OSError(errno.EINVAL, "is a disk, which a report would destroy", str(path))
    if found is not None and not stat.S_ISREG(found.st_mode):
        return None
    for _ in range(_LINKS):
        if not path.is_symlink():
            return path
        if _DESCRIPTORS.fullmatch(os.path.realpath(path.parent)):
            return None
        path = path.parent / os.readlink(path)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:  # a link that leads nowhere, too
        return None


def _write_into(path: Path, content: bytes) -> None:
    """Write to what is there, from where it stands."""
    for stream in (sys.stdout, sys.stderr):  # what was printed before comes before
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    if stat.S_ISSOCK(os.stat(path).st_mode) and _descriptor(path) is None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.fspath(path))
            connection.sendall(content)
        return
    with os.fdopen(_opened(path), "wb") as file:
        file.write(content)


def _opened(path: Path) -> int:
    """A descriptor to write to. One that this process has is taken as it is: a file opened anew begins at its beginning."""
    own = _descriptor(path)
    if own is not None:
        return os.dup(own)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:  # what the system says is "No such device or address"
            raise OSError(errno.ENXIO, "nothing reads from this pipe; start its reader first", str(path)) from None
        raise
    os.set_blocking(handle, True)
    return handle


def _descriptor(path: Path) -> int | None:
    """The number N of this process's own open file, if `path` leads to /dev/fd/N; otherwise None."""
    for _ in range(_LINKS):
        if not path.is_symlink():
            return None
        folder = os.path.realpath(path.parent)
        if folder in (f"/proc/{os.getpid()}/fd", "/dev/fd") and path.name.isdecimal():
            return int(path.name)
        path = path.parent / os.readlink(path)
    return None


def to_json(value: Any) -> str:
    """JSON text of plain values, ended by a newline. NaN and infinities become text, which JSON has no numbers for.

    Letters stand as they are. Characters that cannot be seen, or that turn others round, are written as JSON's escapes: who
    reads the JSON gets them, a terminal does not.
    """
    text = json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    return _ESCAPED.sub(lambda found: json.dumps(found[0])[1:-1], text) + "\n"


def plain(value: Any) -> Any:
    """Plain JSON values: lists for tuples and arrays, text for NaN, infinities and integers that Python does not write."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > 10_000:  # Python refuses to write 4,300 digits
        return short(value)
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
