"""Calls made in this process, or in worker processes of one thread each."""

import importlib
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from ..core.describe import short
from ..core.errors import InvalidType
from ..core.interruption import hear, unheard

__all__ = ["check_sendable", "workers"]

Submit = Callable[..., Callable[[], Any]]  # (f, *arguments) -> () -> f(*arguments)

_ONE_THREAD = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def check_sendable(name: str, value: object) -> None:
    """TypeError if a value cannot be sent to another process, such as a lambda, or a function inside of another one."""
    try:
        ForkingPickler.dumps(value)
    except Exception as error:
        raise InvalidType(
            f"{name} is {short(value)}, which cannot be sent to another process ({error}); expected functions and classes at "
            "the top level of a module. Or take jobs=1."
        ) from None


@contextmanager
def workers(jobs: int, modules: Iterable[str] = ()) -> Iterator[Submit]:
    """A function `submit`: submit(f, *arguments) returns a function without arguments, which returns f(*arguments).

    With one job the call is made when its result is asked for, in this process. With more jobs it is made in one of as many
    processes, and what it raises is raised where its result is asked for. `f` must then stand at the top level of a module.

    Workers live as long as this process holds one end of a pipe open. The end is closed when the work is interrupted, and by
    the operating system when this process ends in whatever way. So no worker is left behind, and none is waited for.

    Parameters
    ----------
    jobs : int
        Processes; 1: this one.
    modules : list of str
        What workers import before anything else, if they can: modules that register something.
    """
    if jobs == 1:
        yield lambda function, *arguments: lambda: function(*arguments)
        return
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)  # workers read it when they start
    context = get_context("spawn")
    watched, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(watched, tuple(modules)))
    try:

        def submit(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
            with unheard():  # it starts a worker, and Ctrl-C is heard there once `_begin` is through
                return pool.submit(function, *arguments).result

        yield submit
    except BaseException:
        held.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for end in (watched, held):
            end.close()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin(watched: Connection, modules: tuple[str, ...]) -> None:
    """In a worker: end with the work, and without a traceback; and know what the parent's modules register."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the workers as well
    hear()
    threading.Thread(target=_end_with, args=(watched,), daemon=True).start()
    for module in modules:
        with suppress(Exception):  # what is missing is named where it is asked for
            importlib.import_module(module)


def _end_with(watched: Connection) -> None:
    """End this process, in the midst of what it does, when the other end of the pipe is closed."""
    with suppress(OSError):
        watched.poll(None)
    os._exit(1)
