"""Memory of a GPU: arrays there, room that steps keep, and what fits into a block's shared memory.

Arrays are passed to kernels as they lie in memory, row by row in one dimension (`flat`), so that their types do not multiply.
"""

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ...core.errors import InvalidValue
from .compile import THREADS, blocks, cuda, kernel, launch

__all__ = [
    "all_finite",
    "check_room",
    "converted",
    "empty",
    "fits",
    "flat",
    "gradients_of",
    "place",
    "scratch",
    "shared_bytes",
]

SHARED_BYTES = 48 * 1024  # of a block, on every GPU; numba.cuda offers no way to ask for more


def flat(array: Any) -> Any:
    """An array of any number of axes as one of one, the same memory."""
    return array.reshape(array.size)


def empty(shape: int | tuple[int, ...], dtype: DTypeLike) -> Any:
    """An array on the GPU; MemoryError if there is no room for it."""
    return _in_memory(lambda: cuda.device_array(shape, dtype), math.prod(np.atleast_1d(shape).tolist()), dtype)


def _in_memory(make: Callable[[], Any], size: int, dtype: DTypeLike) -> Any:
    for _ in range(2):
        try:
            return make()
        except Exception as error:  # of the driver
            if "OUT_OF_MEMORY" not in str(error):
                raise
            scratch.spare.clear()
    raise MemoryError(f"{size * np.dtype(dtype).itemsize} bytes more do not fit into the GPU's memory")


class Scratch(threading.local):
    """Room for what a step needs on its way. Each thread keeps that of its last step for the next: to ask the GPU for memory
    and to give it back makes it wait. Kernels run in the order of their launches, so that nothing is overwritten too soon."""

    def __init__(self) -> None:
        self.spare: dict[tuple[int, np.dtype], list[Any]] = {}
        self.used: list[Any] = []

    def __enter__(self) -> None:
        self.used = []

    def __exit__(self, *_: object) -> None:
        self.spare = {}  # what this step did not need is let go
        for array in self.used:
            self.spare.setdefault((array.size, array.dtype), []).append(array)
        self.used = []

    def __call__(self, size: int, dtype: DTypeLike) -> Any:
        found = self.spare.get((size, np.dtype(dtype)))
        self.used.append(found.pop() if found else empty(size, dtype))
        return self.used[-1]


scratch = Scratch()


def place(array: Any) -> Any:
    """An array on the GPU: this one as it lies if it is there, else a copy. ValueError if it is there with gaps."""
    if isinstance(array, np.ndarray):
        whole = np.ascontiguousarray(array).reshape(-1)  # an axis of length 1 may have any stride, and would keep it
        return _in_memory(lambda: cuda.to_device(whole), array.size, array.dtype).reshape(array.shape)
    placed = array if hasattr(array, "copy_to_host") else cuda.as_cuda_array(array)
    if not placed.is_c_contiguous():
        raise InvalidValue(
            f"an array of shape {placed.shape} lies on the GPU transposed or with gaps; expected it row by row, without any. "
            "Give a contiguous copy of it."
        )
    return placed


def converted(array: Any, dtype: DTypeLike) -> Any:
    """The same array, or a copy of it in another dtype."""
    if array.dtype == dtype:
        return array
    out = empty(array.shape, dtype)
    launch(convert, blocks(array.size), flat(out), flat(array))
    return out


def all_finite(*arrays: Any) -> bool:
    """Whether these arrays hold neither NaN nor infinity."""
    wrong = cuda.to_device(np.zeros(1, np.int32))
    for array in arrays:
        launch(find_not_finite, blocks(array.size), wrong, flat(array))
    return bool(wrong.copy_to_host()[0] == 0)


@kernel
def find_not_finite(wrong, x):
    i = cuda.grid(1)
    if i < x.shape[0] and not math.isfinite(x[i]):
        wrong[0] = 1


@kernel
def convert(y, x):
    i = cuda.grid(1)
    if i < x.shape[0]:
        y[i] = x[i]


def shared_bytes(n_keys: int, width: int, m: int, itemsize: int, stage: bool = False) -> int:
    """Bytes of shared memory that a prompt takes; `width` is d, or K of codes; `stage`: with its tokens."""
    return itemsize * (THREADS + 2 * n_keys + 2 * width + m + (n_keys * width if stage else 0))


def check_room(n_keys: int, width: int, m: int, dtype: np.dtype) -> None:
    """ValueError if a prompt does not fit into a block's shared memory."""
    needed = shared_bytes(n_keys, width, m, dtype.itemsize)
    if not fits(needed):
        raise InvalidValue(
            f"prompts of {n_keys} keys of width {width}, with m = {m} neurons in {dtype}, take {needed} bytes of a GPU's "
            f"shared memory; expected at most {SHARED_BYTES}. Take backend='cpu', and bring what lies on a GPU to the host "
            "by nlicl.to_host."
        )


def fits(n_bytes: int) -> bool:
    """Whether a block has so much shared memory."""
    return n_bytes <= SHARED_BYTES


def gradients_of(params: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Room for gradients: one flat array, the loss its last entry; and parts of it, flat too: one for each of the parameters,
    and that of the last one, a, with the loss."""
    sizes = [array.size for array in params]
    whole = empty(sum(sizes) + 1, params[0].dtype)
    ends = np.cumsum(sizes).tolist()
    parts = [whole[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    return whole, [*parts, whole[ends[-2] :]]
