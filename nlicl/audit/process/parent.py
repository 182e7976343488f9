"""The parent's end: starts guard and child, asks, waits no longer than it is told, and leaves nothing behind."""

import codecs
import os
import re
import secrets
import selectors
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from ...core.errors import InvalidValue
from ...core.text import visible
from .channel import HEAD, Garbled, Link, pack, unpack
from .guard import TOO_MANY, guard

__all__ = ["Ended", "Late", "Process", "available"]

SHOWN = 10_000  # characters of what the reader's code prints that are shown
PATIENCE = 2.0  # seconds for the guard to end all
CHUNK = 1 << 20  # bytes that are read at once
BEYOND = 0.5  # seconds after the deadline for what has come by then
_NUMBER = re.compile(rb"[0-9]{1,9}")


class Late(Exception):
    """No answer in time."""


class Ended(Exception):
    """The child has ended; the text says how: "ends the process by signal 9"."""


def available() -> bool:
    """Whether this system can fork, which it takes; Windows cannot."""
    return hasattr(os, "fork")


class Process:
    """A child that runs `serve`; a context manager, at whose end nothing of it is left.

    What the child prints, on standard output or standard error, appears on the parent's standard error, the first
    characters of it.

    Parameters
    ----------
    serve : callable
        serve(link), run in the child, which ends when it returns.
    """

    def __init__(self, serve: Callable[[Link], None]) -> None:
        for stream in (sys.stdout, sys.stderr):  # or the child would print what waits in their buffers once more
            with suppress(AttributeError, OSError, ValueError):  # there is none, or it is closed
                stream.flush()
        token = secrets.token_bytes(16)
        pipes: list[tuple[int, int]] = []
        try:
            while len(pipes) < 5:
                pipes.append(os.pipe())
        except OSError as error:
            for pipe in pipes:
                os.close(pipe[0])
                os.close(pipe[1])
            raise _cannot_start(error) from None
        (asked, self._asks), (self._answers, answer), (self._output, output), (lifeline, self._lifeline), ends = pipes
        self._status, status = ends
        ours = [self._asks, self._answers, self._output, self._lifeline, self._status]
        theirs = [asked, answer, output, lifeline, status]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a BLAS's threads in the parent do no harm: the child does without
                self._guard = os.fork()
            if self._guard == 0:
                guard(serve, token, ours, asked, answer, output, lifeline, status)
        except BaseException as error:
            for descriptor in ours:
                os.close(descriptor)
            if isinstance(error, OSError):
                raise _cannot_start(error) from None
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        os.set_blocking(self._asks, False)
        for descriptor in (self._asks, self._answers):
            _widen(descriptor)
        self._token, self._left, self._child = token, SHOWN, 0
        self._incoming, self._said = bytearray(), b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._select = selectors.DefaultSelector()
        for descriptor in (self._answers, self._output, self._status):
            self._select.register(descriptor, selectors.EVENT_READ)

    def __enter__(self) -> "Process":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def send(self, value: Any, deadline: float) -> None:
        """Ask: a value for the child, by a time of time.monotonic().

        Raises
        ------
        Late, Ended
        """
        data = memoryview(HEAD.pack(self._token, len(body := pack(value))) + body)
        self._select.register(self._asks, selectors.EVENT_WRITE)
        try:
            while data:
                try:
                    data = data[os.write(self._asks, data) :]
                except BlockingIOError:
                    self._look(deadline)
                    if len(self._incoming) > CHUNK:
                        raise Ended("answers before it is asked") from None
        except BrokenPipeError:
            raise Ended(self._how(deadline)) from None
        finally:
            self._select.unregister(self._asks)

    def receive(self, deadline: float, most: int) -> Any:
        """The next answer of at most so many bytes.

        Raises
        ------
        Late, Ended
        Garbled
            What comes is no answer, or is larger.
        """
        while True:
            if len(self._incoming) >= HEAD.size:
                token, length = HEAD.unpack_from(self._incoming)
                if token != self._token:
                    raise Garbled("it writes into the descriptor through which its answers come")
                if length > most:
                    raise Garbled(f"it answers with {length} bytes; expected at most {most}")
                if len(self._incoming) >= HEAD.size + length:
                    body = bytes(self._incoming[HEAD.size : HEAD.size + length])
                    del self._incoming[: HEAD.size + length]
                    return unpack(body)
            if self._answers not in self._select.get_map():
                raise Ended(self._how(deadline))
            self._look(deadline)

    def _look(self, deadline: float) -> None:
        """Take in what comes first, or come back when a request can go on; Late if nothing happens by the deadline."""
        ready = self._select.select(max(0.0, deadline - time.monotonic()))
        if time.monotonic() >= deadline + (BEYOND if ready else 0.0):  # a child that prints on and on is always ready
            raise Late
        descriptors = [key.fd for key, _ in ready]
        if self._output in descriptors:
            self._show()
        if self._status in descriptors and not self._take_status():
            self._drain()
        elif self._answers in descriptors:
            self._take_answers()

    def _take_answers(self) -> bool:
        """Whether the descriptor is still open."""
        part = os.read(self._answers, CHUNK)
        self._incoming += part
        if not part:
            self._select.unregister(self._answers)
        return bool(part)

    def _take_status(self) -> bool:
        """Take in what the guard says; False when the child has ended."""
        part = os.read(self._status, 4096)
        self._said = (self._said + part)[:4096]
        if not self._child and b"\n" in self._said:
            first, _, self._said = self._said.partition(b"\n")
            self._child = int(first) if _NUMBER.fullmatch(first) else 0
        if not part:
            self._select.unregister(self._status)
        return bool(part) and b"\n" not in self._said

    def _drain(self) -> None:
        """The child has ended: what lies in the pipe is all that comes."""
        os.set_blocking(self._answers, False)
        with suppress(BlockingIOError):
            while self._answers in self._select.get_map():
                self._take_answers()
        with suppress(KeyError):
            self._select.unregister(self._answers)

    def _how(self, deadline: float) -> str:
        """How the child ended; where it has only closed its descriptor, that."""
        until = min(deadline, time.monotonic() + 0.5)
        while self._status in self._select.get_map() and b"\n" not in self._said and time.monotonic() < until:
            with suppress(Late):
                self._look(until)
        said = self._said.strip()
        if not said:
            alone = self._status in self._select.get_map()
            return "closes the descriptor through which its answers go" if alone else "ends the process that watches it"
        if said == TOO_MANY:
            return "starts too many processes"
        if not _NUMBER.fullmatch(said):
            return "writes into the descriptor of the process that watches it"
        code = _exit_code(int(said))
        return f"ends the process by signal {-code}" if code < 0 else f"ends the process with status {code}"

    def _show(self) -> None:
        """What the reader's code prints."""
        part = os.read(self._output, 1 << 16)
        if not part:
            self._select.unregister(self._output)
        text = self._decoder.decode(part)
        if self._left > 0 and text:
            shown = visible(text[: self._left])
            self._left -= len(text)
            cut = "\n... (nothing more of what it prints is shown)\n" if self._left <= 0 else ""
            with suppress(AttributeError, OSError, ValueError):  # there is no standard error, or it is closed
                sys.stderr.write(shown + cut)
                sys.stderr.flush()

    def end(self) -> None:
        """End the child and all that it has started."""
        if self._guard == 0:
            return
        with suppress(BrokenPipeError):  # it is gone already
            os.write(self._lifeline, b".")  # to close it would not do: a child forked since then may have it open, too
        os.close(self._lifeline)
        guard, self._guard = self._guard, 0
        with suppress(ProcessLookupError):
            os.kill(guard, signal.SIGCONT)
        deadline = time.monotonic() + PATIENCE
        while not _is_gone(guard):
            if time.monotonic() > deadline:  # it does not move: the child has stopped it
                for kill, which in ((os.kill, guard), (os.killpg, self._child)):
                    with suppress(ProcessLookupError, PermissionError):
                        if which:
                            kill(which, signal.SIGKILL)
                deadline += PATIENCE
            time.sleep(0.001)
        os.set_blocking(self._output, False)
        with suppress(BlockingIOError):
            while self._output in self._select.get_map() and self._left > 0:
                self._show()
        self._select.close()
        for descriptor in (self._asks, self._answers, self._output, self._status):
            os.close(descriptor)


def _cannot_start(error: OSError) -> InvalidValue:
    return InvalidValue(
        f"a process for the reader's code cannot be started: {error.strerror}; expected room for one process more and ten "
        "open files. Raise the limits (ulimit -u, ulimit -n), or end other processes."
    )


def _exit_code(status: int) -> int:
    """What the system's status of an ended process means; negative: the signal."""
    try:
        return os.waitstatus_to_exitcode(status)
    except (ValueError, OverflowError):  # somebody else has written it
        return 255


def _widen(descriptor: int) -> None:
    """Let a pipe hold a megabyte, where that can be had."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, CHUNK)


def _is_gone(process: int) -> bool:
    """Whether a child of ours has ended; then it is waited for."""
    try:
        return os.waitpid(process, os.WNOHANG)[0] != 0
    except ChildProcessError:  # somebody else has waited for it
        return True
