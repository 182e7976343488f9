"""The search in a process of its own: it reads the reader's code, runs edits of it, and can write nothing.

An edit may do what no reader would write: loop for ever, fill the memory, open a file under another name. The process has a
limit for each call, for its memory and for its time, and Python refuses in it what would change a file, a process or a
connection. What was open before can be read only.
"""

import mmap
import os
import signal
import stat
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from ..process import Ended, Garbled, Late, Link, Process, available
from .found import Change, Mending, Repair
from .task import Task

__all__ = ["LOADING", "Slow", "Tell", "end_of", "limit_calls", "limited", "searched"]

Progress = Callable[[int, int, str], None]
Tell = Callable[[dict[str, Any]], None]

LONGEST = 1 << 24  # bytes of a message
MEMORY = 2 << 30  # bytes that edits may take on top of what there is
ENDING = 0.05  # seconds of the budget that the end of the process takes
LAST = 0.15  # seconds of the budget, at most a tenth of it, that are left for the last answer
LOADING = 10.0  # seconds that the reader's files may take to load, at most, beside the budget
LEAST, TIMES = 0.05, 20  # a call of an edited function has so many seconds, and so many times those of the reader's own
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_REFUSED = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "os.chmod", "os.chown",
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.kill", "os.killpg", "os.utime", "os.putenv",
    "subprocess.", "socket.", "shutil.", "ftplib.", "smtplib.", "urllib.", "webbrowser.", "pty.", "signal.pthread_kill",
    "os.setxattr", "os.removexattr", "sqlite3.connect", "dbm.",
)  # fmt: skip


class Slow(BaseException):
    """One call has taken too long."""


def end_of(seconds: float) -> float:
    """When a search that begins now is to end by itself, so that its last answer comes within so many seconds."""
    return time.monotonic() + seconds - min(LAST, 0.1 * seconds)


def searched(
    work: Callable[[Tell], dict[str, Any]], seconds: float, progress: Progress | None, loading: float = 0.0
) -> Mending:
    """Run a search in a child, and what it has found by the end of its time.

    Parameters
    ----------
    work : callable
        work(tell) -> {"others", "note", "late"}, in the child; tell({"repair": ...}) hands over each repair when it is found,
        tell({"tried": n}) says how many edits were tried.
    seconds : float
        The budget.
    progress : callable or None
        progress(done, total, text).
    loading : float
        Seconds that `work` may take beside the budget, before it begins.
    """
    began = time.monotonic()
    if not available():
        return Mending(note="edited code runs in a process of its own, which this system cannot start")

    def serve(link: Link) -> None:
        _confine()
        try:
            said = work(link.send)
        except MemoryError:
            said = {"note": "the search took too much memory"}
        except Exception as error:
            said = {"note": f"the search failed with {type(error).__name__}"}
        link.send({"done": said})

    repairs: list[Repair] = []
    tried, others, note = 0, 0, ""
    deadline = began + seconds + loading - min(ENDING, 0.1 * seconds)
    try:
        with Process(serve) as process:
            while True:
                said = process.receive(deadline, LONGEST)
                if not isinstance(said, dict):
                    raise Garbled("it is of another form")
                if "tried" in said:
                    tried = max(tried, int(said["tried"]))
                    if progress is not None:
                        part = min(time.monotonic() - began, seconds) / seconds
                        progress(round(100 * part), 100, f"mend: {tried} edits tried")
                if "repair" in said:
                    repairs.append(_repair(said["repair"]))
                if "done" in said:
                    others = int(said["done"].get("others", 0))
                    if said["done"].get("late"):
                        raise Late
                    note = "" if repairs else str(said["done"].get("note", ""))[:500]
                    break
    except Late:
        note = "" if repairs else f"none was found within {seconds:g} s, among {tried} edits"
    except Ended as error:
        note = "" if repairs else f"the search {error}"
    except (Garbled, KeyError, TypeError, ValueError, AttributeError):
        note = "" if repairs else "the search spoils its answer"
    return Mending(tuple(repairs), others, tried, round(time.monotonic() - began, 3), note)


def _repair(said: dict[str, Any]) -> Repair:
    changes = tuple(
        Change(int(line), str(before), str(after), str(said["file"])) for line, before, after in said["changes"]
    )
    return Repair(changes, str(said["diff"]), str(said["text"]), str(said["agrees"]))


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise Slow in the block after so many seconds. `_confine` has set the handler."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def limit_calls(task: Task, function: Callable[..., Any]) -> None:
    """Give each call of an edited function a limit, by what the reader's own takes at the task's places."""
    began = time.monotonic()
    for place in task.places:
        task.value(function, place)
    once = (time.monotonic() - began) / len(task.places)
    task.limited = lambda: limited(LEAST + TIMES * once)


def _confine() -> None:
    """Take from this process, a child, what could change anything outside."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    for part in (_open_files, _shared_memory):
        with suppress(OSError, ImportError, AttributeError):  # no Linux
            part()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")

    def slow(number: int, frame: Any) -> None:
        raise Slow

    signal.signal(signal.SIGALRM, slow)
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        with open("/proc/self/statm", "rb") as file:
            data = int(file.read().split()[5]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = data + MEMORY
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
    sys.addaudithook(_refuse)


def _open_files() -> None:
    """Files that are open can be read only, at a place of this process's own; connections lead nowhere."""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        with suppress(OSError):  # the listing's own
            kind = os.fstat(number).st_mode
            if stat.S_ISREG(kind):
                place = os.lseek(number, 0, os.SEEK_CUR)
                try:
                    again = os.open(f"/proc/self/fd/{name}", os.O_RDONLY)
                except OSError:  # it may not be read
                    again = os.open(os.devnull, os.O_RDONLY)
                os.lseek(again, place, os.SEEK_SET)
                os.dup2(again, number, inheritable=False)
                os.close(again)
            elif stat.S_ISSOCK(kind):
                os.dup2(1, number, inheritable=False)


def _shared_memory() -> None:
    """Memory that is a file's or another process's too, such as a memmap's: writing there ends this process."""
    import ctypes

    protect = ctypes.CDLL(None).mprotect
    with open("/proc/self/maps") as file:
        shared = [line.split()[0] for line in file if line.split()[1].startswith("rw") and line.split()[1][3] == "s"]
    for place in shared:
        first, last = (int(number, 16) for number in place.split("-"))
        protect(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.PROT_READ)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        mode, flags = arguments[1], arguments[2]
        writing = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        if writing or (isinstance(flags, int) and flags & _WRITING):
            raise PermissionError("a search for mends writes no files")
    elif event.startswith(_REFUSED):
        raise PermissionError(f"a search for mends does no {event}")
