"""Memory of a GPU that holds nonsense until it is written."""

import cuda_modules
import numpy as np


def spoil(monkeypatch):
    """Let what the kernels' modules ask for, new or used before, be NaN, and 85 where it is of integers."""
    from nlicl.kernels.cuda import memory

    scratch, empty = memory.Scratch.__call__, memory.empty

    def spoilt(array):
        array.copy_to_device(np.full(array.shape, np.nan if array.dtype.kind == "f" else 85, array.dtype))
        return array

    cuda_modules.replace(monkeypatch, "empty", lambda shape, dtype: spoilt(empty(shape, dtype)))
    monkeypatch.setattr(memory.Scratch, "__call__", lambda *arguments: spoilt(scratch(*arguments)))
