"""The guard: the child's parent. It ends the child and all that the child has started, and says how the child ended.

Processes whose parent has ended become the guard's on Linux, wherever they have moved to, so that it finds them all. On
other systems it ends the child's process group.
"""

import ctypes
import faulthandler
import gc
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from ...core.memory import shared_memory
from .channel import Link

__all__ = ["TOO_MANY", "guard"]

TOO_MANY = b"too many"
MOST = 256  # processes that a child may have
LOOKS = 0.2  # seconds between two counts of them
MEMORY = 8 * 2**30  # bytes that the child may take on top of what it starts with, or half of what there is
FILE = 2**30  # bytes of a file that it writes
_SUBREAPER, _DEATH_SIGNAL = 36, 1  # prctl's numbers


def guard(
    serve: Callable[[Link], None],
    token: bytes,
    parents: list[int],
    asked: int,
    answer: int,
    output: int,
    lifeline: int,
    status: int,
) -> NoReturn:
    """Run in a forked process: start the child, wait, end. Never returns.

    Parameters
    ----------
    serve, token
        For the child.
    parents : list of int
        The parent's descriptors, to close.
    asked, answer, output : int
        The child's descriptors.
    lifeline : int
        When it can be read the parent is gone, or wants the end.
    status : int
        Where to say the child's number, and how it ended.
    """
    try:
        parent = os.getppid()
        for descriptor in parents:
            os.close(descriptor)
        os.setsid()  # Ctrl-C on the terminal is for the parent
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)) or number == signal.SIGCHLD:
                signal.signal(number, signal.SIG_DFL)
        _control(_SUBREAPER, 1)
        before = os.getpid()
        child = os.fork()
        if child == 0:
            os.close(lifeline)
            os.close(status)
            _child(serve, Link(asked, answer, token), output, before)
        for descriptor in (asked, answer, output):
            os.close(descriptor)
        with suppress(OSError):
            os.setpgid(child, child)
        os.write(status, b"%d\n" % child)
        said = _wait(child, lifeline, parent)
        _end(child)
        with suppress(OSError):
            os.write(status, said + b"\n")
    finally:
        os._exit(0)


def _control(option: int, value: int) -> None:
    """prctl, where there is one."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _wait(child: int, lifeline: int, parent: int) -> bytes:
    """Until the child ends, or the parent wants its end: how it ended."""
    descriptors = [lifeline]
    with suppress(OSError, AttributeError):  # an older system
        descriptors.append(os.pidfd_open(child))
    pause = LOOKS if len(descriptors) > 1 else 0.01
    looked = time.monotonic()
    while True:
        ready, _, _ = select.select(descriptors, [], [], pause)
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            return b"%d" % code
        if lifeline in ready or os.getppid() != parent:  # another child of the parent's may hold its end open
            return b"%d" % signal.SIGKILL
        if time.monotonic() - looked > LOOKS:
            looked = time.monotonic()
            if len(_descendants()) > MOST:
                return TOO_MANY


def _end(child: int) -> None:
    """Kill the child's group and every process below the guard, until none is left."""
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        for process in _descendants():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:  # none is left
            return
        time.sleep(0.002)


def _descendants() -> list[int]:
    """The numbers of all processes below this one, where the system lists them; none elsewhere."""
    parents: dict[int, list[int]] = {}
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for name in names:
        with suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
            parents.setdefault(parent, []).append(int(name))
    found, left = [], [os.getpid()]
    while left:
        for process in parents.get(left.pop(), []):
            found.append(process)
            left.append(process)
    return found


def _child(serve: Callable[[Link], None], link: Link, output: int, guard_number: int) -> NoReturn:
    """The child: never returns."""
    try:
        os.setpgid(0, 0)
        _control(_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != guard_number:  # it was gone before
            os._exit(0)
        _limit()
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(nowhere)
        os.close(output)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
        faulthandler.disable()  # it may write where the parent does
        gc.freeze()  # what is the parent's is not looked at, which would copy its memory
        serve(link)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
    finally:
        os._exit(0)


def _limit() -> None:
    """Limits of the child's memory and of the files that it writes; no file of memory where it crashes."""
    import resource

    def at_most(what: int, most: int) -> None:
        soft, hard = resource.getrlimit(what)
        most = min([most, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)])
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (most, hard))

    at_most(resource.RLIMIT_CORE, 0)
    at_most(resource.RLIMIT_FSIZE, FILE)
    with suppress(OSError, ValueError, IndexError):
        with open("/proc/self/statm", "rb") as file:
            data = int(file.read().split()[5]) * resource.getpagesize()
        at_most(resource.RLIMIT_DATA, data + min(MEMORY, shared_memory() // 2))
