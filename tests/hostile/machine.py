"""Processes that a case starts: limits on them, and what is left of them. Linux: what is left is looked for in /proc."""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

__all__ = ["ROOT", "Ended", "adopt_orphans", "descendants", "end_all", "limited", "listing", "run"]

ROOT = Path(__file__).resolve().parents[2]
_GIB = 2**30
_SET_CHILD_SUBREAPER = 36  # of prctl
_SHOWN = 1 << 20  # bytes of each output that are kept


class Ended(NamedTuple):
    """How a process ended: status as of subprocess, its output, seconds, whether it was in time, and who it left behind."""

    status: int
    out: str
    err: str
    seconds: float
    in_time: bool
    left: list[str]


def adopt_orphans() -> None:
    """From now on whatever a child of this process leaves behind becomes a child of this process, whatever it calls itself."""
    with contextlib.suppress(OSError, AttributeError):  # no Linux
        ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def limited(memory: float = 6) -> Callable[[], None]:
    """What a child does first: so many GiB of memory, files of at most one, no core."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (int(memory * _GIB),) * 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (_GIB, _GIB))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return limit


def descendants(of: int | None = None) -> dict[int, str]:
    """The processes below one, by number, with their command lines; what has ended and waits to be asked is none."""
    parents, words = {}, {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            stat = Path("/proc", entry, "stat").read_bytes()
            state, parent = stat[stat.rindex(b")") + 2 :].split()[:2]
            parents[int(entry)] = int(parent)
            if state != b"Z":
                command = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ")
                words[int(entry)] = command.decode(errors="replace")[:200]
    found: dict[int, str] = {}
    below = {os.getpid() if of is None else of}
    while below:
        below = {child for child, parent in parents.items() if parent in below} - set(found)
        found |= {child: words.get(child, "") for child in below}
    return {child: found[child] for child in found if child in words}


def end_all(keep: Sequence[int] = ()) -> None:
    """End every process below this one, but those in `keep`, and forget those that have ended."""
    for _ in range(50):
        alive = [child for child in descendants() if child not in keep]
        for child in alive:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        with contextlib.suppress(OSError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not alive:
            return
        time.sleep(0.01)


def run(
    command: Sequence[str | bytes | Path],
    seconds: float,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    memory: float = 6,
    during: Callable[["subprocess.Popen[bytes]"], None] | None = None,
    first: Callable[[], None] | None = None,
    guarded: bool = False,
    **pipes: Any,
) -> Ended:
    """Run a process, in a group of its own, to its end or that of its time; then see what it left behind, and end that.

    `during` is called with the process once it runs, to do something to it. `adopt_orphans` was called before. With `guarded`
    a shell stands between: a process that kills its parent does not kill the suite.
    """
    limit = limited(memory)

    def begin() -> None:
        limit()
        if first is not None:
            first()

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        # Files, not pipes: who is left behind keeps a pipe open.
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err, **pipes}
        words = [str(word) if isinstance(word, Path) else word for word in command]
        process = subprocess.Popen(
            ["/bin/sh", "-c", '"$@"; exit $?', "sh", *words] if guarded else words,
            **streams,
            cwd=cwd or ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            start_new_session=True,
            preexec_fn=begin,
        )
        in_time = True
        try:
            if during is not None:
                during(process)
            process.wait(max(0.1, seconds - (time.monotonic() - began)))
        except subprocess.TimeoutExpired:
            in_time = False
        took = time.monotonic() - began
        left: list[str] = []
        if in_time:
            for _ in range(30):  # what was told to end a moment ago may take one
                left = list(descendants().values())
                if not left:
                    break
                time.sleep(0.02)
        end_all()
        process.wait()
        code = process.returncode
        status = 128 - code if guarded and 128 < code < 128 + 65 and code != 130 else code  # as the shell says it
        return Ended(status, _read(out), _read(err), took, in_time, left)


def _read(file: IO[bytes]) -> str:
    """What was written: all, or the two ends of it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    data = file.read(_SHOWN)
    if size > 2 * _SHOWN:
        file.seek(-_SHOWN, os.SEEK_END)
    return (data + file.read()).decode(errors="replace")


def listing(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with what is in it, and every folder with None."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() and not path.is_symlink() else None
    return found
