"""Arrays in one .npz file, without pickle and uncompressed, and a hash of them: written as NumPy does, read with mistrust.

What a file claims of itself is believed once the file is seen to have it: no part is larger than the file, and no header says
more than its part holds.
"""

import hashlib
import io
import math
import re
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.describe import short

__all__ = ["Arrays", "Damaged", "Unreadable", "check_plain_file", "digest", "pack_arrays", "read_arrays"]

Arrays = Mapping[str, NDArray[Any]]

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([<>|][biufcU]\d{1,9})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,19}, ?)*(?:\d{1,19})?)\), \} *\n"
)


class Damaged(Exception):
    """Why a file has changed since it was written, in a few words."""


class Unreadable(Exception):
    """Why there is no file to read, as the end of a sentence that begins with its name."""


def check_plain_file(path: Path) -> None:
    """`Unreadable` unless `path` is a file or a link to one: it may be a folder, a pipe, or a circle of links."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from None
    if not stat.S_ISREG(mode):
        raise Unreadable("is a folder" if stat.S_ISDIR(mode) else "is no plain file")


def pack_arrays(arrays: Arrays) -> bytes:
    """Arrays as the bytes of an .npz file. The same arrays give the same bytes."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def digest(arrays: Arrays) -> str:
    """SHA-256 over every array: its name, dtype, shape and contents (hexadecimal, 64 digits)."""
    content = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        content.update(f"{len(name)} {name} {array.dtype.str} {array.shape}\n".encode())
        content.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return content.hexdigest()


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays in a file that `pack_arrays` made.

    Raises
    ------
    Unreadable
        It cannot be read.
    Damaged
        It is no such file.
    """
    check_plain_file(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            return _parts(archive, path.stat().st_size)
    except Damaged:
        raise
    except MemoryError:
        raise Unreadable("does not fit into memory") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from None
    except Exception:  # zipfile and NumPy have errors of many kinds for what they cannot read
        raise Damaged("no whole .npz file of arrays") from None


def _parts(archive: zipfile.ZipFile, size: int) -> dict[str, NDArray[Any]]:
    """Every array of an open .npz file, which has so many bytes."""
    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > size:
        raise Damaged("its parts claim to be larger than the file")
    arrays: dict[str, NDArray[Any]] = {}
    for entry in entries:
        name = entry.filename.removesuffix(".npy")
        if name == entry.filename:
            raise Damaged(f"it holds {short(name)}, which is no array")
        if name in arrays:
            raise Damaged(f"it holds {short(name)} twice")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise Damaged(f"its {short(name)} is compressed or encrypted")
        try:
            content = archive.read(entry)
        except zipfile.BadZipFile:
            raise Damaged(f"its {short(name)} has changed since it was written") from None
        array = _array(content)
        if array is None:
            raise Damaged(f"its {short(name)} is no array of numbers or text, or is cut")
        arrays[name] = array
    return arrays


def _array(content: bytes) -> NDArray[Any] | None:
    """An array from the bytes of an .npy file as NumPy writes it; None if they are none."""
    start = len(_MAGIC) + 2
    end = start + int.from_bytes(content[len(_MAGIC) : start], "little")
    header = _HEADER.fullmatch(content, start, end)
    if not content.startswith(_MAGIC) or header is None:
        return None
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(size) for size in header[3].split(b",") if size.strip())
    if dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize != len(content) - end:
        return None
    order = "F" if header[2] == b"True" else "C"
    return np.frombuffer(content, dtype, offset=end).reshape(shape, order=order).copy(order="K")  # type: ignore[call-overload]
