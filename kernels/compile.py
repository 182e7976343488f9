"""How every kernel is compiled, cached and launched: the one place for such policy, for nlicl and for others.

* ``kernel`` decorates every compiled function. Kernels themselves have no annotations: their docstrings say shapes, and a line
  of theirs is to be read beside its formula.
* ``launch`` spreads a kernel over threads; ``source`` gives a kernel back as plain Python.

A model or a paper of another package, in any folder, may have kernels of its own, which call nlicl's:

    from nlicl.kernels.compile import kernel, launch, source
    from nlicl.kernels.layers import attention

What is compiled is kept in a cache, and an edit must never give an old number. Numba's own cache looks at the file of the
function that is called: edit what it calls, in another file, and it would go on returning the old numbers. So

* kernels of nlicl lie in a folder named after the *contents* of all their sources: any edit gives a new folder;
* another package's kernel lies in a folder below, named after its code, the code of every kernel that it reaches, and every
  number that these name (`reach.digest`). Where it names something else, such as a plain Python function or an object, or
  where its module cannot be imported again by its name, as `__main__` cannot, it is compiled anew in every process. So is
  a kernel made inside a function that has another kernel, or any function, from there: numba would keep it under a number
  that is another one in every process, and never find it again. Give it its callee as a global name of the module. One
  thing is not seen: what a package teaches numba by `numba.extending.overload` about functions of NumPy or of nlicl.

Private to numba is how a function gets another cache: `_cache` of a compiled function. What that has to offer is in `cache`.
So are the events of its compiler. What a call of a kernel in another one compiles to is in `inside` and in `address`.
"""

import gc
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread, local
from types import FunctionType
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import numba
import numpy as np
from numba.core import config
from numba.core.caching import NullCache
from numba.core.event import Listener, register
from numba.extending import is_jitted

from ..core.checks import integer
from ..core.describe import short
from ..core.errors import InvalidType
from . import reach
from .cache import KernelCache, warn_in_one_line
from .inside import inside
from .source import source

__all__ = [
    "THREADS",
    "cache_base",
    "cache_folder",
    "cached_in",
    "kernel",
    "launch",
    "source",
    "source_digest",
    "threads_at_most",
]

P = ParamSpec("P")
R = TypeVar("R")

# `contract` and `reassoc` let LLVM use fused multiply-adds and vectorised sums: a factor 3 to 5 on every dot
# product. `nnan` and `ninf` stay out: with them isnan() is constant False and NaN may vanish silently.
FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
# `forceinline`: what a kernel computes must not depend on what else was compiled or loaded before it. A callee that is
# not inlined lies in its own library and, optimised once more, in that of each caller; which copy is called is settled
# by the order of loading, and the copies differ in their last bits. Inlined, there is one.
_OPTIONS: dict[str, Any] = {"fastmath": FASTMATH, "error_model": "numpy", "nogil": True, "forceinline": True}
_OWN = __name__.rpartition(".")[0]  # nlicl.kernels
_config: Any = config  # its settings come to be when it is imported


# ---- Compiling and keeping


def source_digest(folder: str | Path | None = None) -> str:
    """SHA-256 of all Python files in the kernels' folder and below, names included (hexadecimal, 64 digits)."""
    digest = hashlib.sha256()
    folder = Path(folder or Path(__file__).parent)
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _user_cache() -> Path:
    """The user's cache folder by the platform's custom; raises RuntimeError where there is no home."""
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def cache_base() -> Path:
    """NUMBA_CACHE_DIR, or nlicl's folder in the user's cache; OSError or RuntimeError where there is no such place."""
    return (Path(_config.CACHE_DIR) if _config.CACHE_DIR else _user_cache() / "nlicl").absolute()


def _made_cache() -> Path | None:
    """The folder for these kernels, named after their sources; None, with a warning, if there is none and none can be made."""
    try:
        folder = cache_base() / source_digest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    except (OSError, RuntimeError) as error:
        warn_in_one_line(
            f"nlicl cannot keep its compiled kernels: no writable cache folder ({_reason(error)}). "
            "They are compiled anew in every process; set NUMBA_CACHE_DIR to a writable folder to avoid it."
        )
        return None


def _reason(error: Exception) -> str:
    """What an error says, without the whole of a long path."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {short(error.filename)}" if error.filename else error.strerror
    return str(error)


_cache = _made_cache()


def cache_folder() -> Path | None:
    """Where compiled kernels are kept, or None when they are not kept."""
    return _cache


@contextmanager
def cached_in(folder: Path) -> Iterator[None]:
    """What is decorated meanwhile is kept in this folder; the user's own setting is put back afterwards."""
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        _config.CACHE_DIR = before


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function on first call, once for each combination of argument types.

    Parameters
    ----------
    function : function
        Of arrays and numbers, in the part of Python that numba compiles. Of any package.

    Returns
    -------
    compiled function
        Releases Python's lock while it runs. With NUMBA_DISABLE_JIT=1 the function itself. Kept in the cache unless it has
        a kernel, or any function, from the function that it is made in.

    Raises
    ------
    TypeError
        No function that `def` or `lambda` gives, or one that is compiled already.
    """
    if not isinstance(function, FunctionType):
        given = "compiled already" if is_jitted(function) else short(function)
        raise InvalidType(f"function is {given}; expected a Python function, as def gives.")
    njit: Any = numba.njit
    own = function.__module__.startswith(f"{_OWN}.")
    compiled = njit(function, **_OPTIONS, no_cfunc_wrapper=own)  # which serves kernels in variables; ours are in none
    if is_jitted(compiled):
        if own:
            inside(compiled)
        if _cache is not None:
            compiled._cache = KernelCache(function, _cache, _cache.parent) if own else _LateCache(compiled, _cache)
    return compiled


class _Undisturbed(Listener):
    """While numba compiles, Python's collector rests: it would look through numba's many objects over and over, a tenth of the
    time. Compilations are one inside the other, under numba's lock."""

    depth, enabled = 0, False

    def on_start(self, event: Any) -> None:
        if self.depth == 0:
            self.enabled = gc.isenabled()
            gc.disable()
        self.depth += 1

    def on_end(self, event: Any) -> None:
        self.depth -= 1
        if self.depth == 0 and self.enabled:
            gc.enable()


register("numba:compile", _Undisturbed())


class _LateCache(NullCache):
    """Stands in for the cache of another package's kernel until it is first compiled, when all that it calls is there."""

    def __init__(self, compiled: Any, folder: Path) -> None:
        self.compiled, self.folder = compiled, folder

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What numba asks for before it compiles; held under its lock."""
        compiled = self.compiled
        compiled._cache = NullCache()
        digest = reach.digest(compiled, covered=_OWN)
        if digest is not None:
            with suppress(OSError):  # its file is gone
                path = Path(compiled.py_func.__code__.co_filename).absolute()
                file = (os.fspath(path), hashlib.sha256(path.read_bytes()).hexdigest())
                compiled._cache = KernelCache(compiled.py_func, self.folder / digest[:16], self.folder.parent, file)
        return compiled._cache.load_overload(sig, target_context)


# ---- Launching. Compiled kernels release Python's lock, so ordinary threads run them side by side. To wake a thread takes 8
# to 40 us, so that one that has helped looks out for the next call for 20 us before it goes to sleep, without the lock.
# Numba's `prange` compiles a kernel three times over, and its layers do not survive a fork (OpenMP) or two callers at once
# (workqueue).
THREADS = _config.NUMBA_NUM_THREADS
_PIECES = 2  # ranges for each thread: whoever wakes late takes fewer


class _Limit(local):
    threads = 2**31  # none


_limit = _Limit()


@contextmanager
def threads_at_most(n: int) -> Iterator[None]:
    """Kernels that this thread launches meanwhile run on at most `n` threads; 1: all in the thread that calls.

    Other threads have limits of their own, and none to begin with: whoever runs several jobs side by side gives each its
    share. What kernels compute does not depend on it.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        `n` is no integer, or less than 1.
    """
    before = _limit.threads
    _limit.threads = integer("n", n, 1)
    try:
        yield
    finally:
        _limit.threads = before


def threads() -> int:
    """On how many threads a kernel that this thread launches may run."""
    return min(THREADS, _limit.threads)


class _Helpers:
    """Threads that help the caller's. A queue of our own: an executor's takes longer than they need to wake."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self.count, self.lock = 0, Lock()
        self.calls = np.zeros(3, np.int64)  # of `call`; for the other two see `atomics.await_call`
        self.last, self.asleep = 0.0, 0  # when a team's work ended; how many wait for a job without looking out for it

    def call(self, job: Callable[[], object], wanted: int, enters: bool = False) -> None:
        """Let up to `wanted` helpers call `job`, which raises nothing; start them if need be, and if they can be had.

        enters: the caller is about to run a kernel that says so by `atomics.enter`.
        """
        if self.count < wanted:
            with self.lock, suppress(RuntimeError):
                while self.count < wanted:
                    Thread(target=self._serve, name=f"nlicl-{self.count}", daemon=True).start()
                    self.count += 1
        wanted = min(wanted, self.count)
        for _ in range(wanted):
            self.jobs.put(job)
        self.calls[2] = enters
        self.calls[0] += wanted

    def _serve(self) -> None:
        from .atomics import await_call

        spins = is_jitted(await_call)
        while True:
            seen = self.calls[0]
            try:
                job = self.jobs.get_nowait()
            except Empty:
                if spins and await_call(self.calls, seen):
                    continue
                self.asleep += 1
                job = self.jobs.get()
                self.asleep -= 1
            job()


_helpers = _Helpers()


def _forget_helpers() -> None:
    global _helpers
    _helpers = _Helpers()  # after a fork: the others are the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)


_met: WeakKeyDictionary[Callable[..., object], set[tuple[object, ...]]] = WeakKeyDictionary()  # with which dtypes


def _is_new(function: Callable[..., object], arguments: tuple[Any, ...]) -> bool:
    """Whether a kernel was not launched before with arguments of such dtypes."""
    kinds = tuple([getattr(argument, "dtype", None) for argument in arguments])
    met = _met.setdefault(function, set())
    new = kinds not in met
    met.add(kinds)
    return new


def _let_end(done: SimpleQueue[BaseException | None], pieces: int) -> None:
    """Look out for the end of what others have begun, for some hundred microseconds: to sleep and to wake takes longer."""
    if done.qsize() < pieces:
        from .atomics import pause

        if is_jitted(pause):
            for _ in range(40):
                pause(_helpers.calls)
                if done.qsize() == pieces:
                    return


def launch(function: Callable[..., object], n_chunks: int, *arguments: Any) -> None:
    """Call `function(first, last, *arguments)` on ranges that cover the chunks 0 .. n_chunks - 1, each of them once.

    What a chunk computes must depend on its number alone, and it must write where no other chunk does: then the result
    is the same for any number of threads, and whoever takes which range.

    The caller waits for ranges that others have begun, never for others to begin: what is left it takes itself. So it
    gets there, too, where no thread can be had: at the interpreter's end, or at a limit of the system.

    Parameters
    ----------
    function : kernel
        Of any package. A plain Python function is called once, for all chunks: threads would only take turns.
    n_chunks : int
        At least 1; a function of the sizes alone.
    *arguments
        Arrays and numbers, handed on.

    Raises
    ------
    TypeError, ValueError
        No function; a number of chunks that is no integer, or less than 1.
    Exception
        What a call raised first, once no other is at work any more.
    """
    if not callable(function):
        raise InvalidType(f"function is {short(function)}; expected a kernel, or a Python function.")
    n_chunks = integer("n_chunks", n_chunks, 1)
    at_work = min(threads(), n_chunks)
    if at_work == 1 or not is_jitted(function):
        function(0, n_chunks, *arguments)
        return
    if _is_new(function, arguments):
        function(0, 0, *arguments)  # compiles, if need be, before others come: in one thread, and open to Ctrl-C
    pieces = min(n_chunks, _PIECES * at_work)
    ranges = [(n_chunks * i // pieces, n_chunks * (i + 1) // pieces) for i in range(pieces)]
    done: SimpleQueue[BaseException | None] = SimpleQueue()  # for each range None, or what was raised

    def work() -> None:
        with suppress(IndexError):  # none is left
            while True:
                first, last = ranges.pop()
                error = None
                try:
                    function(first, last, *arguments)
                except BaseException as raised:
                    error = raised
                done.put(error)

    _helpers.call(work, at_work - 1)
    work()
    _let_end(done, pieces)
    errors = [error for error in [done.get() for _ in range(pieces)] if error is not None]
    if errors:
        raise errors[0]
