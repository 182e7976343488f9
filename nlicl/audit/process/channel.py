"""Messages between two processes: plain values and arrays. Nothing that is read is ever run.

A message is a head (a token that only the two know, and the length of the rest) and the rest: the length of a JSON text, the
text, and the arrays' bytes one after the other. In the text an array is {"array": [dtype, shape]}, a NumPy scalar
{"scalar": [dtype]}.
"""

import json
import math
import os
import re
import struct
from typing import Any

import numpy as np

__all__ = ["HEAD", "Garbled", "Link", "pack", "unpack"]

HEAD = struct.Struct("<16sQ")
_LENGTH = struct.Struct("<Q")
LONGEST = 1 << 24  # bytes of a message's text: the values in it take far more
_DTYPE = re.compile(r"[<>|=]?[fciub]\d{1,2}")  # of numbers; NumPy would take much else


class Garbled(Exception):
    """What came is no message."""


class Link:
    """The child's end.

    Parameters
    ----------
    read, write : int
        Descriptors.
    token : bytes
        16 of them, at the head of each message.
    """

    def __init__(self, read: int, write: int, token: bytes) -> None:
        self._read, self._write, self._token = read, write, token

    def send(self, value: Any) -> None:
        """A value, whole.

        Raises
        ------
        OSError
            The descriptor is closed, or nobody reads.
        """
        data = memoryview(HEAD.pack(self._token, len(body := pack(value))) + body)
        while data:
            data = data[os.write(self._write, data) :]

    def receive(self) -> Any:
        """The next value; EOFError where no more comes."""
        token, length = HEAD.unpack(self._exactly(HEAD.size))
        if token != self._token:
            raise Garbled("the request is no message")
        return unpack(self._exactly(length))

    def _exactly(self, length: int) -> bytes:
        parts = []
        while length:
            part = os.read(self._read, min(length, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


def pack(value: Any) -> bytes:
    """A value as bytes: None, booleans, numbers, texts, arrays of numbers, lists and dicts of them."""
    arrays: list[bytes] = []

    def plain(part: Any) -> Any:
        if isinstance(part, (np.ndarray, np.generic)):
            array = np.asarray(part)
            array = array.astype(array.dtype.newbyteorder("="), copy=False)
            arrays.append(array.tobytes())
            scalar = isinstance(part, np.generic)
            return {"scalar": [array.dtype.str]} if scalar else {"array": [array.dtype.str, list(array.shape)]}
        if isinstance(part, dict):
            return {"dict": [[key, plain(item)] for key, item in part.items()]}
        return [plain(item) for item in part] if isinstance(part, (list, tuple)) else part

    text = json.dumps(plain(value)).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *arrays])


def unpack(data: bytes) -> Any:
    """The value that `pack` was given, tuples as lists; arrays are copies.

    Raises
    ------
    Garbled
        Anything else.
    """
    try:
        (length,) = _LENGTH.unpack_from(data)
        if length > LONGEST:
            raise Garbled(f"its text has {length} bytes; expected at most {LONGEST}")
        tree = json.loads(data[_LENGTH.size : _LENGTH.size + length].decode())
        place = _LENGTH.size + length

        def made(name: str, shape: list[int]) -> np.ndarray:
            nonlocal place
            if not _DTYPE.fullmatch(name) or any(type(axis) is not int or axis < 0 for axis in shape):
                raise Garbled(f"an array of {name} and shape {shape} is none of numbers")
            dtype = np.dtype(name)
            size = math.prod(shape) * dtype.itemsize
            part, place = data[place : place + size], place + size
            return np.frombuffer(part, dtype).reshape(shape).copy()

        def whole(part: Any) -> Any:
            if isinstance(part, list):
                return [whole(item) for item in part]
            if not isinstance(part, dict):
                return part
            ((kind, inner),) = part.items()
            if kind == "dict":
                return {str(key): whole(item) for key, item in inner}
            return made(inner[0], [])[()] if kind == "scalar" else made(*inner)

        value = whole(tree)
    except Garbled:
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        struct.error,
        RecursionError,
        MemoryError,
    ) as error:
        raise Garbled(f"{type(error).__name__}: {error}") from None
    if place != len(data):
        raise Garbled("its arrays have other sizes than it says")
    return value
