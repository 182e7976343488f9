"""The files of compiled kernels: what was written is read back whole, or it counts as not there.

Numba links what it finds in a file of its cache into the process: a changed byte there ends it, or computes something else.
So each file begins with a SHA-256 of its contents and of its place below the cache's base. A file that was cut, changed, or
put in another's place is found out before its contents are looked at. It is written under another name and then renamed: two
processes at once, or one that is killed, leave a whole file or none.

The layout, below NUMBA_CACHE_DIR or the user's cache folder: `<digest of nlicl's kernels>/<kernel>-<digest>.nbc`; another
package's kernels one folder deeper, which is named by a digest, too. Numba's own, `<name>_<40 digits>`, are for the GPU.
"""

import errno
import hashlib
import os
import re
import shutil
import stat
import struct
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "Cleared",
    "Damaged",
    "clear",
    "folders",
    "kept",
    "read",
    "remove",
    "total",
    "trouble",
    "try_writing",
    "write",
]

_MAGIC = b"nlicl-k1"
_HEADER = struct.Struct("<8sQ32s")  # _MAGIC, the number of bytes that follow, their checksum
_FOLDER = re.compile(r"[0-9a-f]{16}")
_NUMBAS = re.compile(r".*_[0-9a-f]{40}", re.DOTALL)
_KERNEL = re.compile(r".*-[0-9a-f]{16}\.nbc", re.DOTALL)
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.tmp")
_OF_NUMBA = re.compile(r".*\.(nbi|nbc|lcs|nb[ic]\.tmp\.[0-9a-f]+)", re.DOTALL)
_STALE = 3600.0  # seconds after which an unfinished file is one that a killed process has left


class Damaged(Exception):
    """What is wrong with a file: it is not what was written."""


def read(path: Path, base: Path) -> bytes | None:
    """The contents of a file below `base`; None where there is none.

    Raises
    ------
    Damaged
        What is there is not what was written.
    OSError
        It cannot be read, which may be different the next time.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a FIFO would wait for a writer
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        if error.errno == errno.ELOOP:
            raise Damaged("a circle of links stands in its place") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Damaged("what stands in its place is no file")
        with open(descriptor, "rb", closefd=False) as file:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size or not header.startswith(_MAGIC):
                raise Damaged("it does not begin as such a file does" if header else "it is empty")
            _, length, checksum = _HEADER.unpack(header)
            if status.st_size != _HEADER.size + length:
                raise Damaged(f"it has {status.st_size} bytes; expected {_HEADER.size + length}")
            contents = file.read(length)
    finally:
        os.close(descriptor)
    if _checksum(path, base, contents) != checksum:
        raise Damaged("its checksum does not hold")
    return contents


def write(path: Path, base: Path, contents: bytes) -> None:
    """Write a file below `base`, whole or not at all; OSError where that is not possible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    unfinished = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        with open(unfinished, "wb") as file:
            file.write(_HEADER.pack(_MAGIC, len(contents), _checksum(path, base, contents)))
            file.write(contents)
        os.replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise


def _checksum(path: Path, base: Path, contents: bytes) -> bytes:
    digest = hashlib.sha256(os.fsencode(path.relative_to(base).as_posix()) + b"\0")
    digest.update(contents)
    return digest.digest()


def _sweep(folder: Path) -> None:
    with suppress(OSError):
        for path in folder.glob(".*.tmp"):
            if _UNFINISHED.fullmatch(path.name) and time.time() - path.lstat().st_mtime > _STALE:
                path.unlink()


def remove(path: Path) -> None:
    """Delete what has a kernel's name, be it a folder; OSError where that is not possible."""
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# ---- For the doctor


def folders(base: Path) -> list[Path]:
    """The folders that are named as nlicl's are, one for each version of the kernels; [] where there is no `base`."""
    if not base.is_dir():
        return []
    return sorted(path for path in base.iterdir() if _FOLDER.fullmatch(path.name) and _is_folder(path))


def try_writing(folder: Path) -> None:
    """OSError if no file of a kernel's size can be written there."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(2**17))


def kept(folder: Path) -> list[Path]:
    """What has a kernel's name, in one of nlicl's folders and in those of other packages' kernels inside."""
    return [path for path, kind in _walk(folder) if kind == "kernel"]


def trouble(path: Path, base: Path) -> str | None:
    """Why a file would not be loaded; None if it would be, or is gone by now."""
    try:
        read(path, base)
    except Damaged as reason:
        return str(reason)
    except OSError as error:
        return error.strerror or str(error)
    return None


def total(folder: Path) -> int:
    """Bytes of all that is kept in one of nlicl's folders."""
    return sum(_size(path) for path, kind in _walk(folder) if kind in ("kernel", "other"))


class Cleared(NamedTuple):
    """What `clear` did."""

    files: int  # deleted
    bytes: int  # they had
    foreign: int  # left, since they have no name that nlicl gives
    failed: list[tuple[Path, str]]  # left, each with the reason


def clear(base: Path) -> Cleared:
    """Delete what nlicl keeps below `base`, of any version: what has the names of its folders and files, and nothing else.

    Links are not followed.
    """
    files = freed = foreign = 0
    failed: list[tuple[Path, str]] = []
    for path, kind in (found for folder in folders(base) for found in _walk(folder)):
        if kind == "foreign":
            foreign += 1
            continue
        if kind == "closed":
            failed.append((path, "it cannot be looked into"))
            continue
        n_bytes = _size(path)
        try:
            if kind == "folder":
                path.rmdir()
                continue
            remove(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # what is left inside was noted
                failed.append((path, error.strerror or str(error)))
        else:
            files, freed = files + 1, freed + n_bytes
    return Cleared(files, freed, foreign, failed)


def _walk(folder: Path, numbas: bool = False) -> Iterator[tuple[Path, str]]:
    """What is in one of nlicl's folders, each with its kind: a "kernel", "other" files of nlicl's, "foreign" ones; at last
    the "folder" itself, or that it is "closed"."""
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        yield folder, "closed"
        return
    for path in inside:
        name = path.name
        if not numbas and _is_folder(path) and (_FOLDER.fullmatch(name) or _NUMBAS.fullmatch(name)):
            yield from _walk(path, numbas=_NUMBAS.fullmatch(name) is not None)
        elif numbas:
            yield path, "other" if _OF_NUMBA.fullmatch(name) else "foreign"
        elif _KERNEL.fullmatch(name):
            yield path, "kernel"
        else:
            yield path, "other" if _UNFINISHED.fullmatch(name) else "foreign"
    yield folder, "folder"


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
