"""Calls made in this process, or in worker processes of one thread each."""

import importlib
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import current_process, get_context
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from ..core.describe import short
from ..core.errors import InvalidType, InvalidValue
from ..core.interruption import hear, unheard
from ..core.memory import share_memory
from ..core.registry import MODELS
from ..core.text import message

__all__ = ["ExecutorLost", "Processes", "WorkerLost", "check_known", "check_sendable", "processes", "warn", "workers"]

Submit = Callable[..., Callable[[], Any]]  # (name, f, *arguments) -> () -> f(*arguments)

_ONE_THREAD = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class WorkerLost(RuntimeError):
    """A worker process was ended from outside, each time that its call was made."""


class ExecutorLost(RuntimeError):
    """Whoever makes the calls is gone, and nothing more can be asked of it."""


def check_sendable(name: str, value: object, advice: str = " Or take jobs=1.") -> None:
    """TypeError if a value cannot be sent to another process, such as a lambda, or a function inside of another one."""
    try:
        ForkingPickler.dumps(value)
    except Exception as error:
        raise InvalidType(
            f"{name} is {short(value)}, which cannot be sent to another process ({message(error)}); expected functions and "
            f"classes at the top level of a module.{advice}"
        ) from None


class Processes:
    """Worker processes of one thread each, and new ones in the place of those that were ended from outside."""

    def __init__(self, jobs: int, start: Callable[[int], ProcessPoolExecutor]) -> None:
        self.jobs, self._start = jobs, start
        self._pool = start(jobs)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """The future of a call; BrokenProcessPool if a worker was ended from outside."""
        with unheard():  # it may start a worker, and Ctrl-C is heard there once `_begin` is through
            return self._pool.submit(function, *arguments)

    def restart(self, jobs: int | None = None) -> None:
        """New workers, as many as before or `jobs`. What the old ones have not finished is lost."""
        self.end()
        self._pool = self._start(jobs or self.jobs)

    def end(self) -> None:
        """Wait for the workers to end. They finish their calls, but no others."""
        self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def processes(jobs: int, modules: Iterable[str] = (), at_once: int | None = None) -> Iterator[Processes]:
    """Worker processes, which end with the work inside.

    They live as long as this process holds one end of a pipe open. The end is closed when the work is interrupted, and by the
    operating system when this process ends in whatever way. So no worker is left behind, and none is waited for.

    Parameters
    ----------
    jobs : int
        How many.
    modules : list of str
        What workers import before anything else, if they can: modules that register something.
    at_once : int, optional
        How many calls there are at most at a time. Fewer than `jobs`, and a call may take more of the memory.
    """
    if getattr(current_process(), "_inheriting", False):  # a worker, which runs the caller's script before its calls
        raise SystemExit(
            f"nlicl: jobs is {jobs}, in a script that each process runs from its beginning; expected the call below "
            "`if __name__ == '__main__':`."
        )
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)  # workers read it when they start
    context = get_context("spawn")
    watched, held = context.Pipe(duplex=False)

    def start(jobs: int) -> ProcessPoolExecutor:
        arguments = (watched, tuple(modules), min(jobs, at_once or jobs))
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=arguments)
        with unheard(), suppress(BrokenProcessPool):
            for _ in range(
                jobs
            ):  # all workers start now: one that starts while another one is lost is a race in Python
                pool.submit(_nothing)
        return pool

    made = Processes(jobs, start)
    try:
        yield made
    except BaseException:
        held.close()
        raise
    finally:
        made.end()
        for end in (watched, held):
            end.close()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def workers(
    jobs: int,
    modules: Iterable[str] = (),
    at_once: int | None = None,
    tell: Callable[[str], object] | None = None,
) -> Iterator[Submit]:
    """A function `submit`: submit(name, f, *arguments) returns a function without arguments, which returns f(*arguments).

    With one job the call is made when its result is asked for, in this process. With more jobs it is made in one of as many
    processes, and what it raises is raised where its result is asked for. `f` must then stand at the top level of a module.

    A worker that is ended from outside takes its call with it. What is not finished is then done again by new workers. If that
    happens again, the rest is done one call after the other, so that each has the memory for itself. One whose worker is ended
    even then is lost.

    Parameters
    ----------
    jobs : int
        Processes; 1: this one.
    modules, at_once
        As of `processes`.
    tell : callable, optional
        (text) -> None, called when calls were done again. A warning if not given.

    Raises
    ------
    WorkerLost
        Where the result of a call is asked for whose worker was ended when it was alone.
    """
    if jobs == 1:
        yield lambda name, function, *arguments: lambda: function(*arguments)
        return
    with processes(jobs, modules, at_once) as made:
        yield _Crew(made, tell or warn).submit


def check_known(models: Iterable[str]) -> None:
    """In a worker: ValueError if a model is unknown there."""
    for name in sorted(models):
        if name not in MODELS.names():
            raise InvalidValue(
                f"model {name!r} was registered by hand, and other processes do not know it; expected a model that the module "
                "of its class registers when it is imported, or one that is declared by an entry point of the group "
                "'nlicl.models'. Or take jobs=1."
            )


def warn(text: str) -> None:
    """Tell somebody who has not said whom to tell."""
    warnings.warn(text, RuntimeWarning, stacklevel=2)


class _Call:
    """A call that was asked for, and the future of its result once it is sent to a worker."""

    def __init__(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.name, self.function, self.arguments = name, function, arguments
        self.future: Future[Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether its result is there, or what it raised."""
        done = self.future is not None and self.future.done() and not self.future.cancelled()
        return done and not isinstance(self.future.exception(), BrokenProcessPool)  # type: ignore[union-attr]


class _Crew:
    """Workers, the calls they have yet to finish, and how often they were lost."""

    def __init__(self, made: Processes, tell: Callable[[str], object]) -> None:
        self.made, self.tell = made, tell
        self.calls: dict[_Call, None] = {}  # in their order
        self.losses = 0
        self.again: dict[str, None] = {}  # names of calls that were under way when a worker was lost

    def submit(self, name: str, function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        """Have a call made; returns what waits for its result."""
        call = _Call(name, function, arguments)
        self.calls[call] = None
        self._send(call)
        return lambda: self._result(call)

    @property
    def alone(self) -> bool:
        """Whether one call is made after the other."""
        return self.losses > 1

    def _send(self, call: _Call) -> None:
        if not self.alone:
            with suppress(BrokenProcessPool):  # while nothing was asked of it; seen when the result is
                self._submit(call)

    def _submit(self, call: _Call) -> Future[Any]:
        call.future = self.made.submit(call.function, *call.arguments)
        return call.future

    def _result(self, call: _Call) -> Any:
        while True:
            try:
                found = (call.future or self._submit(call)).result()
            except BrokenProcessPool as error:
                if self.alone and error.__cause__ is not None:  # a worker sends what cannot be read
                    raise
                if self.alone:
                    raise WorkerLost(
                        f"{call.name} is lost: a process was ended from outside, and again when it was the only one, as the "
                        "system does where memory runs out; expected it to finish. Lower the sizes"
                    ) from None
                self._restart()
            else:
                del self.calls[call]
                self._say()
                return found

    def _restart(self) -> None:
        """New workers for what is not finished: as many as before, and the second time one."""
        left = [call for call in self.calls if not call.finished]
        self.again |= dict.fromkeys(call.name for call in left[: self.made.jobs])  # they are taken in their order
        self.losses += 1
        self.made.restart(1 if self.alone else None)
        for call in left:
            call.future = None
            self._send(call)

    def _say(self) -> None:
        """Tell of calls that were done again, when they are."""
        if self.again and not any(call.name in self.again for call in self.calls):
            how = ", one after the other" if self.alone else ""
            self.tell(
                "a worker process was ended from outside, as the system does where memory runs out; done again"
                f"{how}: {', '.join(self.again)}"
            )
            self.again = {}


def _begin(watched: Connection, modules: tuple[str, ...], processes: int) -> None:
    """In a worker: end with the work, and without a traceback; know what the parent's modules register, and that the memory
    is for so many processes."""
    share_memory(processes)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the workers as well
    hear()
    threading.Thread(target=_end_with, args=(watched,), daemon=True).start()
    for module in modules:
        with suppress(Exception):  # what is missing is named where it is asked for
            importlib.import_module(module)


def _nothing() -> None:
    pass


def _end_with(watched: Connection) -> None:
    """End this process, in the midst of what it does, when the other end of the pipe is closed."""
    with suppress(OSError):
        watched.poll(None)
    os._exit(1)
