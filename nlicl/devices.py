"""Where arrays lie: on the host, or on a GPU.

On a GPU are arrays with `__cuda_array_interface__`: those of numba.cuda, CuPy, PyTorch (detached) or JAX. They are used where
they lie. `nlicl.kernels.cuda` is imported when a GPU is asked for, and never before. Docs: docs/cuda.md.
"""

import importlib.util
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple, Protocol, get_args, get_type_hints, runtime_checkable

import numpy as np

from .core import arrays as host
from .core.describe import kind_of, name_of, short
from .core.errors import InvalidType, InvalidValue

__all__ = [
    "BACKENDS",
    "INSTALL",
    "Movable",
    "Place",
    "Unavailable",
    "all_finite",
    "check_finite",
    "choose",
    "fetch",
    "kernels",
    "on_device",
    "place",
    "shape_of",
    "to_device",
    "to_host",
    "unavailable",
]

BACKENDS = ("auto", "cpu", "cuda")
INSTALL = "python -m pip install --upgrade 'numba-cuda[cu13]', which is nlicl's extra cuda; [cu12] for a driver older than 580"


@runtime_checkable
class Movable(Protocol):
    """A batch of prompts: its arrays by name, and the same batch with each of them moved elsewhere."""

    @property
    def arrays(self) -> Mapping[str, Any]: ...

    def moved(self, move: Callable[[Any], Any]) -> Any: ...


class Unavailable(RuntimeError):
    """A GPU was asked for, and cannot be had here; the message says why, and what to do."""


def unavailable() -> tuple[str, str] | None:
    """Why nothing can run on a GPU here, and what to do about it; None if all is there.

    Returns
    -------
    (str, str) or None
    """
    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
    if importlib.util.find_spec("numba_cuda") is None and not simulated:
        return "the package numba-cuda is not installed", INSTALL
    try:
        from .kernels import cuda
    except ImportError as error:
        return f"numba.cuda cannot be imported ({error})", INSTALL
    return cuda.trouble(INSTALL)


_kernels = None  # the module, once it was found to run here


def kernels() -> ModuleType:
    """The module `nlicl.kernels.cuda`; `Unavailable` if it cannot run here."""
    global _kernels
    if _kernels is None:
        found = unavailable()
        if found is not None:
            why, fix = found
            raise Unavailable(f"there is no GPU to use: {why}. To mend it: {fix}. Or stay on the CPU: backend='cpu'.")
        from .kernels import cuda

        _kernels = cuda
    return _kernels


def on_device(array: Any) -> bool:
    """Whether an array lies on a GPU. TypeError for one that does not show where, as a tensor that records gradients."""
    if isinstance(array, (np.ndarray, type)):
        return False
    try:
        return hasattr(array, "__cuda_array_interface__") or getattr(
            array, "__cuda_ndarray__", False
        )  # the simulator's
    except Exception as error:
        raise InvalidType(f"a {kind_of(array)} cannot be used where it is: {error} Give array.detach().") from None


class Place(NamedTuple):
    """Where something is computed: "cpu" or "cuda"; and whether what comes out stays on the GPU."""

    device: str
    stays: bool


_HOST = Place("cpu", False)


def choose(backend: str, params: Any = (), arrays: Mapping[str, Any] = MappingProxyType({})) -> Place:
    """Where a backend means, for parameters and for the arrays of prompts by name: "auto" is on the GPU if any lies there.

    Raises
    ------
    ValueError
        No such backend.
    TypeError
        "cpu" with arrays that lie on a GPU.
    """
    params = params if isinstance(params, tuple) else ()  # anything else is refused by whoever takes it
    if not isinstance(backend, str):
        raise InvalidValue(f"backend is {short(backend)}; expected one of {', '.join(map(repr, BACKENDS))}.")
    if not isinstance(arrays, Mapping):
        raise InvalidType(f"arrays is {short(arrays)}; expected a dict of names to arrays.")
    here = all(type(array) is np.ndarray for group in (params, arrays.values()) for array in group)
    if here and backend in ("auto", "cpu"):  # as a rule, in a microsecond
        return _HOST
    if backend not in BACKENDS:
        raise InvalidValue(f"backend is {short(backend)}; expected one of {', '.join(map(repr, BACKENDS))}.")
    named = {f"params.{name}": array for name, array in zip(getattr(params, "_fields", ()), params, strict=False)}
    named |= {f"prompts.{name}": array for name, array in arrays.items()}
    there = next((name for name, array in named.items() if on_device(array)), "")
    if there and backend == "cpu":
        raise InvalidType(
            f"backend is 'cpu', but {there} lies on a GPU; expected arrays of the host. Bring it there by nlicl.to_host."
        )
    return Place("cuda" if there or backend == "cuda" else "cpu", bool(there))


def place(array: Any) -> Any:
    """An array on the GPU: itself if it is there, else a copy."""
    return kernels().place(array)


def fetch(array: Any) -> Any:
    """An array on the host: itself if it is there, else a copy."""
    return place(array).copy_to_host() if on_device(array) else array


def shape_of(array: Any) -> np.ndarray:
    """Zeros of the shape and dtype of an array on the GPU, which take no memory: to check both as if it were here."""
    there = place(array)
    return np.broadcast_to(np.zeros((), there.dtype), there.shape)


def all_finite(array: Any) -> bool:
    """Whether an array on the GPU holds neither NaN nor infinity."""
    return kernels().all_finite(place(array))


def check_finite(array: Any, name: str) -> None:
    """Raise ValueError, with the first offending index, if an array on the GPU holds NaN or infinity."""
    if not all_finite(array):
        host.check_finite(fetch(array), name)


def to_device(thing: Any) -> Any:
    """Copy parameters, prompts or an array to the GPU.

    Parameters
    ----------
    thing : Params, Prompts, CodedPrompts or ndarray
        Of Li et al. or Bu et al., whose coded prompts become `Prompts`.

    Returns
    -------
    Params, Prompts, CodedPrompts or device array
        A copy of the same kind and dtypes. Arrays that are on a GPU already are not copied.

    Raises
    ------
    nlicl.devices.Unavailable
        No GPU, or no package numba-cuda.
    TypeError
        Prompts of another model, for which there are no GPU kernels, or something else.
    """
    kernels()
    return _moved(thing, place)


def to_host(thing: Any) -> Any:
    """Copy parameters, prompts, an array, or a result of `nlicl.forward` from the GPU: the reverse of `to_device`.

    Parameters
    ----------
    thing : Params, Forward, Prompts, CodedPrompts or array

    Returns
    -------
    The same with NumPy arrays. Arrays that are on the host already are not copied, and None stays None.
    """
    return _moved(thing, fetch)


def _is_left_out(thing: Any, name: str) -> bool:
    """Whether a field is None, and its type says that it may be."""
    return getattr(thing, name) is None and type(None) in get_args(get_type_hints(type(thing)).get(name))


def _moved(thing: Any, move: Callable[[Any], Any]) -> Any:
    if not isinstance(thing, type):
        if hasattr(thing, "_fields"):
            for name, value in zip(thing._fields, thing, strict=True):
                if not isinstance(value, np.ndarray) and not on_device(value) and not _is_left_out(thing, name):
                    raise InvalidType(
                        f"{name} of these {type(thing).__name__} is a {kind_of(value)}; expected an array."
                    )
            return type(thing)(*(value if value is None else move(value) for value in thing))
        if isinstance(thing, Movable):
            return thing.moved(move)
        if isinstance(thing, np.ndarray) or on_device(thing):
            return move(thing)
    what = f"the class {name_of(thing)}" if isinstance(thing, type) else f"a {kind_of(thing)}"
    raise InvalidType(
        f"{what} cannot be moved to or from a GPU; expected parameters, what nlicl.forward gives, an "
        "array, or prompts of Li et al. or Bu et al."
    )
