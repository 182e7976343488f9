"""Ctrl-C, at a moment when it does no harm.

Python raises KeyboardInterrupt wherever a process happens to be: within compiled code, where numba makes a SystemError of it,
in the midst of an import, or between two halves of a change. So

* `held` keeps a signal until the work says, between two steps, that it may come;
* `as_interruption` turns what became of a KeyboardInterrupt on its way back into one;
* `unheard` starts a process that Ctrl-C does not reach before it can see to its signals;
* `Ending` handles the signals of a process that is one command of the command line: they end it with one line.

Signals reach the main thread only. A handler of the user's own is left as it is.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

__all__ = ["Ending", "Held", "Interrupted", "as_interruption", "hear", "held", "is_interruption", "unheard"]

_LONGEST_CHAIN = 20  # causes and contexts of an exception that are looked at


class Interrupted(KeyboardInterrupt):
    """A signal ended the command. `status` is the exit status by the custom of shells: 130 after Ctrl-C, 143 after SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


class Ending:
    """The handler of Ctrl-C and SIGTERM in a process that is one command.

    The first signal is raised as `Interrupted`. A second one ends the process where it is.
    """

    def __init__(self) -> None:
        self.received: Interrupted | None = None

    def begin(self) -> None:
        """Handle both signals from now on, where nobody else does: a shell's background has Ctrl-C ignored."""
        for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            if signal.getsignal(number) == usual:
                signal.signal(number, self)
        sys.unraisablehook = self._raise_again
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_as_usual)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise `Interrupted`; at the second time, end the process."""
        if self.received is not None:
            self.end_now(number)
        self.received = Interrupted(number)
        raise self.received

    def _raise_again(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """An interruption that Python cannot raise, as within a destructor, comes once more a moment later."""
        lost = unraisable.exc_value
        if not isinstance(lost, Interrupted):
            sys.__unraisablehook__(unraisable)
            return
        self.received = None
        threading.Timer(0.01, _to_main_thread, [lost.status - 128]).start()

    def end_now(self, number: int) -> NoReturn:
        """End the process with one line. What its workers do ends as well, when the system closes their pipe."""
        with suppress(OSError):
            os.write(2, b"nlicl: interrupted\n")
        os._exit(128 + number)

    def finish(self, status: int) -> NoReturn:
        """End the process with this status. After an interruption nothing that is still under way is waited for."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is self:
                signal.signal(number, signal.SIG_IGN)
        if self.received is None:
            sys.exit(status)
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # none, on a full disk, or closed
                stream.flush()
        processes: Any = sys.modules.get("multiprocessing.util")
        if processes is not None:
            with suppress(Exception):
                processes._run_finalizers(0)  # private: gives semaphores back, of which Python would warn otherwise
        os._exit(status)


def _to_main_thread(number: int) -> None:
    """Send a signal to this process, so that the main thread wakes where it waits."""
    if sys.platform == "win32":
        signal.raise_signal(number)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def _as_usual() -> None:
    """In a process that was forked off a command: the signals do what they do in any process."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if isinstance(signal.getsignal(number), (Ending, Held)):
            signal.signal(number, usual)


class Held:
    """Signals that wait until `look` lets them come. A second one does not wait, or else a long step could not be ended.

    Attributes
    ----------
    shut : bool
        While it is set, no signal breaks off what is done: a second one waits as well. Python handles signals at calls, so
        that none comes between the beginning of a `finally` and an assignment to this.
    """

    def __init__(self) -> None:
        self.shut = False
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._waiting: int | None = None

    def begin(self) -> None:
        """Hold the signals whose handler is Python's own, or that of a command."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            if before is signal.default_int_handler or isinstance(before, Ending):
                self._before[number] = before
                signal.signal(number, self)

    def end(self) -> None:
        """Put the handlers back, but for those that somebody has replaced meanwhile."""
        for number, before in self._before.items():
            if signal.getsignal(number) is self:
                signal.signal(number, before)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """What the system calls."""
        again, self._waiting = self._waiting is not None, number
        if again and not self.shut:
            self.look()

    def look(self) -> None:
        """Raise KeyboardInterrupt, or `Interrupted`, if a signal waits."""
        if self._waiting is not None:
            number, self._waiting = self._waiting, None
            self._before[number](number, None)


@contextmanager
def held() -> Iterator[Held]:
    """Hold signals during the work inside, up to the calls of `look`; one that waits at the end comes then.

    In another thread than the main one, and where the user has a handler, nothing is held. A KeyboardInterrupt that compiled
    code made a SystemError of leaves as KeyboardInterrupt.
    """
    signals = Held()
    try:
        signals.begin()
        with as_interruption():
            yield signals
    except KeyboardInterrupt:
        signals.end()  # one that waits is this one once more
        raise
    except BaseException:
        signals.end()
        signals.look()
        raise
    signals.end()
    signals.look()


@contextmanager
def unheard() -> Iterator[None]:
    """Block Ctrl-C in this thread, and in processes that are started meanwhile, until each calls `hear`.

    A new process imports for a second before it can see to its signals. Here, one that came meanwhile comes at the end.
    """
    if sys.platform == "win32":
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # a helper of multiprocessing, at whose start Python lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hear() -> None:
    """Let Ctrl-C come again, in a process that was started while it was blocked."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def as_interruption() -> Iterator[None]:
    """Raise KeyboardInterrupt where an error is what became of one: numba's SystemError, or an import that it broke off."""
    try:
        yield
    except (SystemError, ImportError, RuntimeError) as error:
        found = _interruption(error)
        if found is None:
            raise
        raise found from None


def is_interruption(error: BaseException) -> bool:
    """Whether this is a KeyboardInterrupt, or what compiled code made of one."""
    return isinstance(error, KeyboardInterrupt) or _interruption(error) is not None


def _interruption(error: BaseException) -> KeyboardInterrupt | None:
    """The KeyboardInterrupt that led to an error; None if none did."""
    link: BaseException | None = error if isinstance(error, SystemError) else None
    for _ in range(_LONGEST_CHAIN):
        if isinstance(link, KeyboardInterrupt):
            return link
        link = link and (link.__cause__ or link.__context__)
    handler = signal.getsignal(signal.SIGINT)  # of a command, which knows what it has raised
    return handler.received if isinstance(handler, Ending) else None
