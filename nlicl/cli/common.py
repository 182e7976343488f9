"""What the commands share: errors in one line, a progress bar on a terminal, settings given as KEY=VALUE."""

import argparse
import ast
import importlib.util
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import describe
from ..core.text import one_line
from .screen import erase_line

if TYPE_CHECKING:
    from ..papers.paper import Paper

__all__ = [
    "Bar",
    "CannotRun",
    "check_files",
    "check_folder",
    "examples",
    "folder_name",
    "load_paper",
    "meant",
    "needs",
    "progress_bar",
    "settings",
    "split_name",
]


class CannotRun(Exception):
    """Why a command cannot run, in one line: exit status 2."""


def check_files(files: Mapping[str, Path | None]) -> None:
    """CannotRun unless each file, by the option that names it, can be written: before the work, not after.

    A named pipe may have no reader yet. It must have one when the work is done.
    """
    from ..core.files import plain_file

    for option, path in files.items():
        if path is None:
            continue
        try:
            target = plain_file(path.absolute())
            if target is not None and not target.parent.is_dir():
                there = path.parent if target == path.absolute() else target.parent
                raise CannotRun(f"{option} {path}: there is no folder {there}; make it first")
            if target is not None and not os.access(target.parent, os.W_OK):
                raise CannotRun(f"{option} {path}: the folder {path.parent} cannot be written; choose another one")
            if target is None and not os.access(path, os.W_OK):
                raise CannotRun(f"{option} {path}: cannot be written; choose another one")
        except IsADirectoryError:
            raise CannotRun(f"{option} {path}: is a folder; expected the name of a file") from None
        except OSError as error:  # a name that is too long, a folder that may not be looked into
            raise CannotRun(f"{option} {path}: {error.strerror}; expected a file that can be written") from None


def check_folder(option: str, folder: Path) -> None:
    """CannotRun unless `folder` is there or can be made, and can be written to: before the work, not after."""
    try:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    except OSError as error:
        raise CannotRun(f"{option} {folder}: {error.strerror}; expected the name of a folder") from None
    if not there.is_dir():
        raise CannotRun(f"{option} {folder}: {there} is no folder; expected the name of a folder")
    try:
        tempfile.TemporaryDirectory(dir=there).cleanup()
    except OSError as error:
        raise CannotRun(
            f"{option} {folder}: {there} cannot be written ({error.strerror}); expected one that can"
        ) from None


def folder_name(text: str) -> Path:
    """A Path, of an option that names a folder."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; expected the name of a folder")
    return Path(text)


class Bar:
    """A line on standard error, on a terminal only: how far the work is, and how long the rest of it takes."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.began: tuple[float, int] | None = None  # when, and how far it was

    def __call__(self, done: int, total: int, text: str) -> None:
        if self.terminal:
            bar = "#" * (20 * done // max(total, 1))
            text += self._left(done, total)
            erase_line()
            print(f"[{bar:<20}] {done}/{total} {one_line(text)}", end="", file=sys.stderr, flush=True)

    def _left(self, done: int, total: int) -> str:
        """The time that the rest takes at the pace so far, in words; nothing below two minutes."""
        now = time.monotonic()
        self.began = self.began or (now, done)
        since, first = self.began
        seconds = (now - since) * (total - done) / (done - first) if done > first else 0
        if seconds < 120:
            return ""
        return f", {seconds / 60:.0f} minutes left" if seconds < 7200 else f", {seconds / 3600:.0f} hours left"

    def clear(self) -> None:
        """Take the line away, before something else is printed."""
        if self.terminal:
            erase_line()
            sys.stderr.flush()


@contextmanager
def progress_bar() -> Iterator[Bar]:
    """A `Bar` for the work inside, taken away at its end, however it ends."""
    bar = Bar()
    try:
        yield bar
    finally:
        bar.clear()


def needs(module: str, extra: str) -> None:
    """CannotRun, with what to install, unless `module` is there."""
    if importlib.util.find_spec(module) is None:
        raise CannotRun(
            f"this needs {module}, which is not installed: pip install '.[{extra}]' in a clone, or {module} itself"
        )


def examples(*lines: tuple[str, str]) -> dict[str, Any]:
    """The end of a command's help, for `add_parser`: commands, and what each does."""
    width = max(len(command) for command, _ in lines)
    text = "\n".join(f"  {command:{width}}  {what}" for command, what in lines)
    return {"epilog": f"for example:\n{text}", "formatter_class": _Help}


class _Help(argparse.HelpFormatter):
    """Help whose lines are wrapped, but for those that begin with spaces."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(
            line if line.startswith(" ") else super(_Help, self)._fill_text(line, width, indent)
            for line in text.splitlines()
        )


def split_name(text: str) -> tuple[str, str | None]:
    """PAPER or PAPER:NAME as (paper, name or None)."""
    paper, colon, name = text.partition(":")
    if colon and not name:
        raise CannotRun(f"{text}: expected PAPER or PAPER:NAME")
    return paper, name or None


def load_paper(name: str) -> "Paper":
    """The paper of that name; InvalidValue, with the names there are, for any other."""
    from ..papers import load

    return load(name)


def meant(key: str, known: Iterable[str], notation: Mapping[str, str]) -> str:
    """What an unknown setting may have meant, for its error, in brackets; nothing if it is like none of the known ones.

    `notation` has the paper's letters, and the names they have here.
    """
    known = list(known)
    name = notation.get(key)
    return f" ({key} is called {name})" if name in known else describe.meant(key, known)


def settings(pairs: Iterable[str] | None) -> dict[str, Any]:
    """The options --set KEY=VALUE as a dict: numbers, tuples, True, None as in Python; anything else is a text."""
    found: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise CannotRun(f"--set {pair[:80]}: expected KEY=VALUE, for example --set length=30")
        if key in found:
            raise CannotRun(f"--set {key} is given twice")
        found[key] = _value(text)
    return found


def _value(text: str) -> Any:
    """What a text means as a Python literal; the text itself where it is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Python has against a text is said nowhere
        try:
            return ast.literal_eval(text)
        except Exception:  # no literal, or one that is nested too deep
            return text
