"""Gives the cases of one part to its process, one at a time, and counts what they come to."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from .machine import ROOT, descendants, limited

__all__ = ["Failure", "Runner"]

_BEFORE = 20  # cases that are tried once more, one by one, after a crash that the last one alone does not repeat
_START = 240.0  # seconds in which a part must have begun: it may compile kernels
_MANY = 3000  # cases of one process: then a fresh one


class Failure(NamedTuple):
    """What failed: the number of the case, the kind, what was seen, and the case as text."""

    case: int
    kind: str
    text: str
    shown: str


class Runner:
    """One part at work. Attributes: inputs, good and counts (by kind), failures, seconds."""

    def __init__(self, name: str, seed: int, folder: Path, first: int, count: int | None, verbose: bool) -> None:
        self.name, self.seed, self.verbose = name, seed, verbose
        self.folder, self.temporary = folder / name, folder / f"{name}-temporary"
        for path in (self.folder, self.temporary):
            path.mkdir()
        self.next, self.end = first, None if count is None else first + count
        self.begun = first  # of the process that is at work
        self.inputs, self.seconds = 0, 0.0
        self.good: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.buffer, self.limit = b"", 0.0
        self.starts = 0
        self.why = self._start()

    def more(self) -> bool:
        """Whether a case is left."""
        return self.end is None or self.next < self.end

    def work(self, until: float) -> None:
        """Try cases until the time is over."""
        began = time.monotonic()
        while time.monotonic() < until and self.more():
            case, self.next = self.next, self.next + 1
            before, since = len(self.failures), time.monotonic()
            self._try(case)
            if self.verbose:
                kinds = " ".join(failure.kind for failure in self.failures[before:])
                print(f"{self.name} {case}: {time.monotonic() - since:.2f} s {kinds}", file=sys.stderr)
        self.seconds += time.monotonic() - began
        self._look_for_left(self.next - 1)

    def _try(self, case: int) -> None:
        if self.process is not None and case - self.begun >= _MANY:
            self.close()
        self.inputs += 1
        answer, how = self._ask(case)
        if answer is None:
            kind, text = how
            if kind == "crash":
                text = self._who_crashed(case, text)
            self._failed(case, kind, text, self._shown(case))
            return
        good, failures, shown = answer
        if good:
            self.good[good] += 1
        for kind, text in failures:
            self._failed(case, kind, text, shown)
        left = os.listdir(self.temporary)
        if left:
            self._failed(case, "files", f"in the temporary folder: {', '.join(left[:20])}", shown or self._shown(case))
            self._empty()

    def _failed(self, case: int, kind: str, text: str, shown: str) -> None:
        self.counts[kind] += 1
        self.failures.append(Failure(case, kind, text, shown))

    def _who_crashed(self, case: int, text: str) -> str:
        """The text with whether the case alone crashes, and if not, which of those before it does."""
        if self._ask(case)[0] is None:
            return f"{text}; so does it alone"
        for other in range(case - 1, max(self.begun, case - _BEFORE) - 1, -1):
            self.close()
            if self._ask(other)[0] is None:
                return f"{text}; in fact case {other} crashes"
        self.close()
        return f"{text}; not alone: after the cases from {self.begun} in one process"

    def _shown(self, case: int) -> str:
        """The case as text, from a process that does not try it."""
        code = "import sys, pathlib; from tests.hostile.part import load; sys.stdout.reconfigure(errors='backslashreplace'); "
        code += "print(load(sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])).describe(int(sys.argv[4])))"
        fresh = self.folder.with_name(f"{self.name}-shown-{case}")
        fresh.mkdir(exist_ok=True)
        words = [sys.executable, "-c", code, self.name, str(self.seed), str(fresh), str(case)]
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(words, cwd=ROOT, env=self._environment(), capture_output=True, timeout=_START)
            return done.stdout.decode(errors="replace").strip()
        return ""

    # ---- The process

    def _ask(self, case: int) -> tuple[tuple[str, list[tuple[str, str]], str] | None, tuple[str, str]]:
        """(outcome, nothing), or (None, why there is none)."""
        if self.process is None:
            self.why = self.why or self._start()
            self.begun = case
        if self.why:
            self.end = self.next  # it will not start for another case
            return None, ("crash", self.why)
        process = self.process
        assert process is not None and process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"%d\n" % case)
            process.stdin.flush()
        line = self._line(self.limit + 20)
        if line is None:
            ended = process.poll()
            self.close()
            if ended is None:
                return None, ("hang", f"no answer within {self.limit + 20:g} s")
            return None, ("crash", f"the process that tried it ended with status {ended}")
        good, failures, shown = json.loads(line)
        return (good, failures, shown), ("", "")

    def _start(self) -> str:
        """Start a process; returns why there is none, or nothing."""
        self.starts += 1
        fresh = self.folder / str(self.starts)
        fresh.mkdir()
        with (self.folder.with_name(f"{self.name}-errors.txt")).open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.hostile.worker", self.name, str(self.seed), str(fresh)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env=self._environment(),
                start_new_session=True,
                preexec_fn=limited(8),
            )
        self.buffer = b""
        line = self._line(_START)
        if line is None:
            self.close()
            return "the part does not start: " + Path(errors.name).read_text(errors="replace")[-2000:]
        self.limit = float(json.loads(line))
        return ""

    def _environment(self) -> dict[str, str]:
        helpers = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
        return {**os.environ, "PYTHONPATH": helpers, "TMPDIR": str(self.temporary), "PYTHONFAULTHANDLER": "1",
                "NUMBA_NUM_THREADS": os.environ.get("NUMBA_NUM_THREADS", "2"), "OPENBLAS_NUM_THREADS": "1"}  # fmt: skip

    def _line(self, seconds: float) -> bytes | None:
        """The next line that comes; None if none does."""
        assert self.process is not None and self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        until = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                return None
            part = os.read(pipe, 1 << 16)
            if not part:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(5)
                return None
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def _look_for_left(self, case: int) -> None:
        """Whom the part's process left behind in this slice of time, it apart."""
        if self.process is None or self.process.poll() is not None:
            return
        left = descendants(self.process.pid)
        if left:
            self._failed(case, "processes", f"by a case up to this one: {list(left.values())}", "")
            self.close()

    def close(self) -> None:
        """End the process, and all below it."""
        process, self.process = self.process, None
        if process is None:
            return
        for child in [process.pid, *descendants(process.pid)]:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._empty()

    def _empty(self) -> None:
        for path in sorted(self.temporary.rglob("*"), reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
