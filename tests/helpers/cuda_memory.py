"""Memory of a GPU that holds nonsense until it is written."""

import numpy as np


def spoil(monkeypatch, cuda):
    """Let what the kernels' module asks for, new or used before, be NaN, and 85 where it is of integers."""
    scratch, empty = cuda._Scratch.__call__, cuda.empty

    def spoilt(array):
        array.copy_to_device(np.full(array.shape, np.nan if array.dtype.kind == "f" else 85, array.dtype))
        return array

    monkeypatch.setattr(cuda, "empty", lambda shape, dtype: spoilt(empty(shape, dtype)))
    monkeypatch.setattr(cuda._Scratch, "__call__", lambda *arguments: spoilt(scratch(*arguments)))
