"""What GPU there is, and what is in the way of using it."""

from typing import Any

import numpy as np

from .compile import SIMULATED, cuda
from .memory import all_finite, empty

__all__ = ["device_name", "event", "runtime_version", "synchronize", "trouble"]


def trouble(install: str) -> tuple[str, str] | None:
    """Why kernels cannot run here, and what to do about it, such as to `install` something; None if they can."""
    if SIMULATED:
        return None
    try:
        if not cuda.is_available():
            why = cuda.cuda_error()
            if why is None:  # the driver is well: what is missing is the compiler
                return "numba-cuda's compiler cannot be found", install
            mend = "install the driver of an NVIDIA GPU; nvidia-smi lists it, and CUDA_VISIBLE_DEVICES must not hide it"
            return _one_line(why), mend
        cuda.current_context()
    except Exception as error:  # of the driver, or of finding its parts: whatever it is, it is in the way
        return _one_line(error), "see nvidia-smi, and whether another program has taken the GPU"
    try:
        all_finite(empty(1, np.float32))
    except Exception as error:  # of the compiler, or of a driver that is older than what it makes
        return f"a kernel does not run on it ({_one_line(error)})", install
    return None


def _one_line(error: object) -> str:
    return " ".join(str(error).split()).rstrip(" .:")


def device_name() -> str:
    """What runs the kernels."""
    if SIMULATED:
        return "numba's simulator"
    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else name


def runtime_version() -> str:
    """The version of CUDA that kernels are compiled with."""
    return ".".join(map(str, cuda.runtime.get_version()))


def event() -> Any:
    """A mark among what the GPU is given to do: `record()` sets it, `a.elapsed_time(b)` is in milliseconds."""
    return cuda.event()


def synchronize() -> None:
    """Wait until the GPU has done what it was given to do."""
    cuda.synchronize()
