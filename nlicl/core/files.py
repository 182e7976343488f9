"""Writing files so that a reader never sees half of one, and JSON that every reader accepts."""

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["plain", "to_json", "write_whole"]


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file under a temporary name in the same folder, then rename it.

    Whatever happens, the file is the old one or the new one. The contents are on the disk before the name is.

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
        The folder is not there or cannot be written, or the disk is full.
    """
    path = Path(path)
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def to_json(value: Any) -> str:
    """JSON text of plain values, ended by a newline. NaN and infinities become text, which JSON has no numbers for."""
    return json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Plain JSON values: lists for tuples and arrays, text for NaN and infinities."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
