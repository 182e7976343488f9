"""How every kernel is compiled, cached and launched: the one place for such policy.

* ``kernel`` decorates serial functions, ``parallel_kernel`` functions that contain a ``prange``.
* Compiled code is cached in a folder named after the *contents* of all kernel sources. Numba's own cache
  looks at the caller's file only: edit a callee in another file and a cached caller would go on returning
  the old numbers. Here any edit of any kernel gives a new folder, hence a fresh compilation.
* ``launch`` is how Python code calls a parallel kernel; ``source`` gives a kernel back as plain Python.
"""

import hashlib
import os
import sys
import tempfile
import threading
import types
import warnings
from contextlib import contextmanager
from pathlib import Path

import numba
from numba import prange

__all__ = ["cache_directory", "kernel", "launch", "parallel_kernel", "prange", "source"]

# `contract` and `reassoc` let LLVM use fused multiply-adds and vectorised sums: a factor 3 to 5 on every dot
# product. `nnan` and `ninf` stay out: with them isnan() is constant False and NaN may vanish silently.
FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
_OPTIONS = {"fastmath": FASTMATH, "error_model": "numpy", "nogil": True}
# Of numba's parallel transformations only the explicit loop: the others turn every array expression into a
# parallel region of its own, which costs seconds of compilation and microseconds a call.
_OTHERS = ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion")
_PARALLEL = {"prange": True, **dict.fromkeys(_OTHERS, False)}


def source_digest(folder=None):
    """SHA-256 of all Python files of the kernels' folder, names included (hexadecimal, 64 digits)."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder or Path(__file__).parent).glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _user_cache():
    """The user's cache folder by the platform's custom; raises RuntimeError where there is no home."""
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _writable_cache():
    """``<NUMBA_CACHE_DIR or user cache/nlicl>/<digest>``, made and tried; None, with a warning, if it can't be."""
    try:
        base = Path(numba.config.CACHE_DIR) if numba.config.CACHE_DIR else _user_cache() / "nlicl"
        folder = base / source_digest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"nlicl cannot keep its compiled kernels: no writable cache folder ({error}). "
            "They are compiled anew in every process; set NUMBA_CACHE_DIR to a writable folder to avoid it.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


_cache = None  # set by cache_directory() while the package imports its kernels


def cache_folder():
    """Where compiled kernels are kept (a Path), or None when they are not kept."""
    return _cache


@contextmanager
def cache_directory():
    """Point numba at nlicl's cache while kernels are decorated, then put the user's setting back."""
    global _cache
    _cache = _writable_cache()
    before = numba.config.CACHE_DIR
    try:
        if _cache is not None:
            numba.config.CACHE_DIR = str(_cache)
        yield
    finally:
        numba.config.CACHE_DIR = before


def kernel(function):
    """Compile a serial function on first call, once for each combination of argument types."""
    return numba.njit(function, cache=_cache is not None, **_OPTIONS)


def parallel_kernel(function):
    """Compile a function whose ``prange`` loop runs over a fixed number of chunks, never over threads."""
    return numba.njit(function, cache=_cache is not None, parallel=_PARALLEL, **_OPTIONS)


# Launching. The `workqueue` threading layer aborts the process when two Python threads call parallel kernels
# at once: one lock for all launches. GNU OpenMP (`omp`) kills a forked child at its first parallel kernel: refuse
# before it happens.
_lock = threading.Lock()
_forked_under_omp = False


def _after_fork():
    global _lock, _forked_under_omp
    _lock = threading.Lock()
    try:
        _forked_under_omp = numba.threading_layer() == "omp"
    except ValueError:  # no parallel kernel has run in the parent: the child starts its own threads
        _forked_under_omp = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def launch(parallel, chunks, *arguments):
    """Call a parallel kernel, which works on so many chunks, from Python.

    A single chunk needs no threads, and complex arguments, which only the audit's complex step has, are small: both go
    through the same compiled chunks in a plain loop. That saves the seconds it takes to compile the parallel wrapper
    for a dtype, and milliseconds a call on a busy machine.

    Raises
    ------
    RuntimeError
        In a forked child of a process that has already run a parallel kernel under OpenMP.
    """
    if _forked_under_omp:
        raise RuntimeError(
            "nlicl: this process was forked from one that had already run a parallel kernel, and OpenMP does not "
            "survive a fork. Start workers with multiprocessing.get_context('spawn') (or 'forkserver')."
        )
    if chunks == 1 or arguments[0].dtype.kind == "c":
        return getattr(parallel, "py_func", parallel)(*arguments)
    with _lock:
        return parallel(*arguments)


def source(function):
    """The plain Python function behind a kernel, the kernels it calls replaced by theirs.

    It runs on any NumPy dtype, `numpy.longdouble` included: the audit's oracle of extended precision, and the
    tests' proof that the compiled code is what the source says.
    """
    return _source(function, {})


def _source(function, done):
    plain = getattr(function, "py_func", function)
    if plain not in done:
        names = dict(plain.__globals__)
        done[plain] = types.FunctionType(plain.__code__, names, plain.__name__, plain.__defaults__)
        for name in plain.__code__.co_names:
            value = names.get(name)
            if hasattr(value, "py_func") or _is_kernel_function(value):
                names[name] = _source(value, done)
            elif isinstance(value, types.ModuleType) and value.__name__.startswith(__package__ + "."):
                names[name] = _SourceModule(value, done)
    return done[plain]


def _is_kernel_function(value):
    return isinstance(value, types.FunctionType) and value.__module__.startswith(__package__ + ".")


class _SourceModule:
    """A kernel module whose attributes are read through `source`: `attention.forward` inside `dense`."""

    def __init__(self, module, done):
        self._module, self._done = module, done

    def __getattr__(self, name):
        value = getattr(self._module, name)
        return _source(value, self._done) if hasattr(value, "py_func") or _is_kernel_function(value) else value
