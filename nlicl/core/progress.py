"""How far the work is: a line that is written over, in a notebook or on a terminal, and nothing anywhere else."""

import importlib
import sys
import threading
import time
from typing import Any, Self

from .describe import short
from .markup import Markup, box
from .text import one_line

__all__ = ["COMPILING", "Progress", "compiling", "in_notebook", "progress"]

COMPILING = "nlicl compiles its kernels: once on this machine, from a few seconds to a minute"
_PAUSE = 0.1  # seconds between two drawings at least
_shown: list["Progress"] = []  # those that are open, the innermost last
_said = threading.Event()  # in this process: that kernels are compiled


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class Progress:
    """A line that says how far the work is. See `progress`."""

    def __init__(self) -> None:
        self._handle: Any = None  # of the notebook's output
        self._line, self._share, self._when = "", 0.0, 0.0
        self._notebook = in_notebook()
        self._terminal = not self._notebook and sys.stderr is not None and sys.stderr.isatty()

    def __call__(self, done: int, total: int, what: object = "") -> None:
        """Say that `done` of `total` are done. `what` is a text, or a loss."""
        text = (
            one_line(what) if isinstance(what, str) else f"loss {what:.4g}" if isinstance(what, float) else short(what)
        )
        self._line, self._share = f"{done} of {total}{': ' * bool(text)}{text}", done / max(total, 1)
        now = time.monotonic()
        if now - self._when >= _PAUSE or done >= total:
            self._when = now
            self._draw()

    def __enter__(self) -> Self:
        _shown.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _shown.remove(self)
        if self._terminal and self._line:
            self._write("")
        elif error[0] is None and self._line:
            self._share = 1.0
            self._draw()

    def note(self, text: str) -> None:
        """Show a text until there is something new."""
        self._line = text
        self._draw()

    def _draw(self) -> None:
        if self._terminal:
            self._write(self._line)
        elif self._notebook:
            self._show()

    def _write(self, text: str) -> None:
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def _show(self) -> None:
        """Draw in the notebook, over what was drawn before."""
        width = f"{100 * min(self._share, 1.0):.0f}%"
        bar = Markup(
            '<div style="width:20em;height:.6em;border:1px solid #8888">'
            f'<div style="width:{width};height:100%;background:#2a78c2"></div></div>'
        )
        bundle = {"text/plain": self._line, "text/html": str(box("", bar, self._line))}
        if self._handle is None:
            display = importlib.import_module("IPython.display").display
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def progress() -> Progress:
    """A function that shows how far the work is, for every argument `progress=`.

    In a notebook it draws a bar below the cell, on a terminal a line on standard error. Elsewhere, in a test or in a pipe, it
    shows nothing. With `with`, the line says as well when kernels are compiled, and a terminal's line is taken away at the
    end.

    Returns
    -------
    Progress
        A function of (done, total, what), as `nlicl.train`, `nlicl.sweep` and the audits call it.

    Examples
    --------
    >>> import nlicl
    >>> from nlicl.papers import li2024
    >>> with nlicl.progress() as bar:
    ...     run = nlicl.train(li2024.Problem(steps=10), progress=bar)
    """
    return Progress()


def compiling() -> None:
    """Say once in this process that kernels are compiled, in an open line or in a notebook. It never fails."""
    if _said.is_set():
        return
    try:
        if _shown:
            _said.set()
            _shown[-1].note(COMPILING)
        elif in_notebook():
            _said.set()
            print(COMPILING, file=sys.stderr, flush=True)
    except Exception:  # of a stream that is closed: what is compiled matters more
        return
