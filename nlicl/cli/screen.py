"""Standard output and standard error while a command runs.

Whatever is printed, by whomever, goes through here: nothing raw reaches a terminal, and a reader who has seen enough ends no
work.
"""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import IO, Any

from ..core.text import visible

__all__ = ["OutputLost", "Screen", "erase_line", "screens"]


class OutputLost(Exception):
    """Standard output cannot be written, on a full disk for instance."""


class Screen(io.TextIOBase):
    """A text stream before another one. What passes is made visible: see `nlicl.core.text.visible`.

    Parameters
    ----------
    stream : text stream or None
        Where the text goes; None for one that was closed before the process began, on which everything is lost.
    must : bool
        Raise `OutputLost` where the stream cannot be written, and forget the text otherwise. Whatever it is, a reader who has
        gone is no error: the work goes on without one.
    """

    def __init__(self, stream: IO[str] | None, must: bool) -> None:
        self.closed_before = stream is None
        self.stream = open(os.devnull, "w", encoding="utf-8") if stream is None else stream  # noqa: SIM115
        self.must = must
        self.lost: str | None = None
        if isinstance(self.stream, io.TextIOWrapper):  # an encoding without Greek letters must not end the work
            self.stream.reconfigure(errors=_ESCAPES)

    def write(self, text: str) -> int:
        """Write a text, made visible."""
        self.raw(visible(str(text)))
        return len(text)

    def raw(self, text: str) -> None:
        """Write a text as it is."""
        try:
            self.stream.write(text)
        except (OSError, ValueError) as error:
            self._drop(error)

    def flush(self) -> None:
        """Hand on what was written; `OutputLost` if some of it could not be."""
        try:
            self.stream.flush()
        except (OSError, ValueError) as error:
            self._drop(error)
        if self.lost is not None:
            raise OutputLost(self.lost)

    def _drop(self, error: Exception) -> None:
        """Nothing more is written, not even at the interpreter's end."""
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)
        if self.must and not isinstance(error, BrokenPipeError):
            self.lost = getattr(error, "strerror", None) or str(error)
            raise OutputLost(self.lost)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.stream.isatty()

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor of the stream behind."""
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream behind."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    @property
    def buffer(self) -> Any:
        """The bytes of the stream behind."""
        return self.stream.buffer  # type: ignore[attr-defined]


def erase_line() -> None:
    """Take away the last line of standard error, on a terminal."""
    stream: Any = sys.stderr
    (stream.raw if isinstance(stream, Screen) else stream.write)("\r\x1b[K")


@contextmanager
def screens() -> Iterator[Screen]:
    """Both streams as a `Screen` for the time of a command; yields standard output's."""
    with ExitStack() as stack:
        for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
            if stream is None and not _is_open(number):  # or the next file that is opened would take its place
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        out, err = Screen(sys.stdout, must=True), Screen(sys.stderr, must=False)
        for screen in (out, err):
            if screen.closed_before:
                stack.callback(screen.stream.close)
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        yield out


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _escape(error: UnicodeError) -> tuple[str, int]:
    """What an encoding has not, as the escape that Python and JSON share."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs), error.end


_ESCAPES = "nlicl.escapes"
codecs.register_error(_ESCAPES, _escape)
