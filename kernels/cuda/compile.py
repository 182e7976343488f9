"""How GPU kernels are compiled, cached and launched: `kernels/compile.py` for numba.cuda, and the one file that imports it.

* ``kernel`` decorates what is launched, ``device`` what kernels call.
* ``scalar`` makes a function of the GPU of a CPU kernel that takes real numbers.
* ``launch`` runs a kernel on blocks of threads.

Under NUMBA_ENABLE_CUDASIM=1 the same source runs as plain Python, a thread of Python for each of the GPU's: small blocks then.
All shared memory is asked for at launch, in one piece: what else there is, the simulator may hand out twice.
"""

import functools
import math
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FunctionType
from typing import Any

import numba.cuda
import numpy as np
from numba.core import config as numba_config

from ..compile import cache_folder, cached_in, source
from ..reach import names_in

__all__ = ["SIMULATED", "THREADS", "blocks", "cuda", "device", "kernel", "launch", "scalar"]

config: Any = numba_config  # whose settings come to be when it is imported
SIMULATED = bool(config.ENABLE_CUDASIM)
THREADS = 4 if SIMULATED else 128  # of a block; a power of 2


class _Simulated:
    """`numba.cuda` in the simulator: inside a kernel, what that kernel's launch has of it.

    Numba swaps one for the other in the module of each function that is called, and back when it returns. Functions of this
    package lie in several modules, and are called by several threads at once: one would take it away from the others.
    """

    def __getattr__(self, name: str) -> Any:
        launched = _get_kernel_context()
        return getattr(numba.cuda if launched is None else launched, name)


cuda: Any
if SIMULATED:
    from numba.cuda.simulator.kernel import _get_kernel_context

    cuda = _Simulated()
    sys.setswitchinterval(1e-4)  # seconds; its threads wait for each other by looking again and again
else:
    cuda = numba.cuda


def kernel(function: Callable[..., None]) -> Any:
    """Compile a function for the GPU on first call, and keep it with the CPU's kernels."""
    if SIMULATED:
        return cuda.jit(_quiet(function))
    folder = cache_folder()
    if folder is not None:
        with suppress(RuntimeError), cached_in(folder):  # numba finds no place for it
            compiled = cuda.jit(function, cache=True)
            if str(compiled.stats.cache_path).startswith(str(folder)):  # or another than this
                return compiled
    return cuda.jit(function)


def _quiet(function: Callable[..., None]) -> Callable[..., None]:
    """The simulator's NumPy warns of overflow; a GPU does not."""

    @functools.wraps(function)
    def quiet(*arguments: Any) -> None:
        with np.errstate(all="ignore"):
            function(*arguments)

    return quiet


def device(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels call."""
    return function if SIMULATED else cuda.jit(function, device=True)


def scalar(function: Callable[..., Any]) -> Any:
    """A CPU kernel of real scalars as a function of the GPU: the same source, with `math` in the place of NumPy, in the
    kernels that it calls, too."""
    return _scalar(source(function))


def _scalar(plain: Any) -> Any:
    names = plain.__globals__
    for name in names_in(plain.__code__).globals:
        if isinstance(names.get(name), FunctionType):
            names[name] = _scalar(names[name])
    names["np"] = math
    return device(plain)


def blocks(n: int, size: int = THREADS) -> int:
    """How many blocks of `size` threads have a thread for each of n things."""
    return -(-n // size)


_configuring = threading.Lock()


def launch(
    compiled: Any, n_blocks: int | tuple[int, ...], *arguments: Any, threads: int = THREADS, shared: int = 0
) -> None:
    """Run a kernel on so many blocks (a number, or three) with so many bytes of shared memory each.

    Numba would warn of few blocks; but they are as many as the problem has work for.
    """
    with _configuring:
        before, config.CUDA_LOW_OCCUPANCY_WARNINGS = config.CUDA_LOW_OCCUPANCY_WARNINGS, 0
        try:
            ready = compiled[n_blocks, threads, 0, shared]
        finally:
            config.CUDA_LOW_OCCUPANCY_WARNINGS = before
    ready(*arguments)
