"""How every kernel is compiled, cached and launched: the one place for such policy.

* ``kernel`` decorates every compiled function.
* Compiled code is cached in a folder named after the *contents* of all kernel sources. Numba's own cache
  looks at the caller's file only: edit a callee in another file and a cached caller would go on returning
  the old numbers. Here any edit of any kernel gives a new folder, hence a fresh compilation.
* ``launch`` spreads a kernel over threads; ``source`` gives a kernel back as plain Python.
"""

import hashlib
import os
import sys
import tempfile
import types
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

import numba

__all__ = ["THREADS", "cache_directory", "kernel", "launch", "source"]

# `contract` and `reassoc` let LLVM use fused multiply-adds and vectorised sums: a factor 3 to 5 on every dot
# product. `nnan` and `ninf` stay out: with them isnan() is constant False and NaN may vanish silently.
FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
# `forceinline`: what a kernel computes must not depend on what else was compiled or loaded before it. A callee that is
# not inlined lies in its own library and, optimised once more, in that of each caller; which copy is called is settled
# by the order of loading, and the copies differ in their last bits. Inlined, there is one.
_OPTIONS = {"fastmath": FASTMATH, "error_model": "numpy", "nogil": True, "forceinline": True}


def source_digest(folder=None):
    """SHA-256 of all Python files in the kernels' folder and below, names included (hexadecimal, 64 digits)."""
    digest = hashlib.sha256()
    folder = Path(folder or Path(__file__).parent)
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
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
    """Compile a function on first call, once for each combination of argument types."""
    return numba.njit(function, cache=_cache is not None, **_OPTIONS)


# Launching. Compiled kernels release Python's lock, so ordinary threads run them side by side; that they wake and report
# costs .06 ms a launch. Numba's `prange`, which need not wait for that, compiles a kernel three times over, and its layers
# do not survive a fork (OpenMP) or two callers at once (workqueue).
THREADS = numba.config.NUMBA_NUM_THREADS
_PIECES = 4  # ranges for each thread: whoever wakes late takes fewer


class _Helpers:
    """Threads that help the caller's. A queue of our own: an executor's takes longer than they need to wake."""

    def __init__(self):
        self.jobs, self.count, self.lock = SimpleQueue(), 0, Lock()

    def call(self, job, wanted):
        """Let up to `wanted` helpers call `job`, which raises nothing; start them if need be, and if they can be had."""
        with self.lock, suppress(RuntimeError):
            while self.count < wanted:
                Thread(target=self._serve, name=f"nlicl-{self.count}", daemon=True).start()
                self.count += 1
        for _ in range(min(wanted, self.count)):
            self.jobs.put(job)

    def _serve(self):
        while True:
            self.jobs.get()()


_helpers = _Helpers()


def _forget_helpers():
    global _helpers
    _helpers = _Helpers()  # after a fork: the others are the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)


def launch(function, chunks, *arguments):
    """Call `function(first, last, *arguments)` on ranges that cover the chunks 0 .. chunks - 1, each of them once.

    What a chunk computes must depend on its number alone, and it must write where no other chunk does: then the result
    is the same for any number of threads, and whoever takes which range.

    The caller waits for ranges that others have begun, never for others to begin: what is left it takes itself. So it
    gets there, too, where no thread can be had: at the interpreter's end, or at a limit of the system.
    """
    threads = min(THREADS, chunks)
    if threads == 1 or not hasattr(function, "py_func"):  # plain Python would only take turns
        function(0, chunks, *arguments)
        return
    function(0, 0, *arguments)  # compiles, if need be, before others come: in one thread, and open to Ctrl-C
    pieces = min(chunks, _PIECES * threads)
    ranges = [(chunks * i // pieces, chunks * (i + 1) // pieces) for i in range(pieces)]
    done = SimpleQueue()  # for each range None, or what was raised

    def work():
        with suppress(IndexError):  # none is left
            while True:
                first, last = ranges.pop()
                error = None
                try:
                    function(first, last, *arguments)
                except BaseException as raised:
                    error = raised
                done.put(error)

    _helpers.call(work, threads - 1)
    work()
    errors = [error for error in [done.get() for _ in range(pieces)] if error is not None]
    if errors:
        raise errors[0]


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
