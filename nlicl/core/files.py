"""Writing files so that a reader never sees half of one, and JSON that every reader accepts."""

import json
import math
import os
import tempfile
from pathlib import Path

__all__ = ["plain", "to_json", "write_whole"]


def write_whole(path, content):
    """Write text or bytes to `path` under a temporary name in the same folder, then rename.

    Whatever happens, the file is the old one or the new one. The contents are on the disk before the name is.
    """
    path = Path(path)
    if isinstance(content, str):
        content = content.encode("utf-8")
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


def to_json(value):
    """JSON text of plain values, ended by a newline. NaN and infinities become text, which JSON has no numbers for."""
    return json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def plain(value):
    """Plain JSON values: lists for tuples and arrays, text for NaN and infinities."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
