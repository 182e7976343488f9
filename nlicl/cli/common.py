"""What the commands share: errors in one line, a progress bar on a terminal, settings given as KEY=VALUE."""

import argparse
import ast
import difflib
import importlib.util
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "Bar",
    "CannotRun",
    "check_files",
    "check_folder",
    "folder_name",
    "load_paper",
    "meant",
    "needs",
    "progress_bar",
    "settings",
    "split_name",
]


# The papers' letters, and the names they have here.
NOTATION = {"eta": "learning_rate", "T": "steps", "B": "batch", "N": "length", "l": "length", "lambda": "weight_decay"}
NOTATION |= {"L": "length", "gamma": "step_offset", "K1": "concepts", "K": "dictionary", "d_X": "d_x", "d_Y": "d_y"}


class CannotRun(Exception):
    """A reason, in one line, why a command cannot run: exit status 2."""


def check_files(files):
    """CannotRun unless each file, by the option that names it, can be written: before the work, not after."""
    for option, path in files.items():
        if path is not None and not path.absolute().parent.is_dir():
            raise CannotRun(f"{option} {path}: there is no folder {path.parent}; make it first")
        if path is not None and path.is_dir():
            raise CannotRun(f"{option} {path}: is a folder; expected the name of a file")
        if path is not None and not os.access(path.absolute().parent, os.W_OK):
            raise CannotRun(f"{option} {path}: the folder {path.parent} cannot be written")


def check_folder(option, folder):
    """CannotRun unless `folder` is there or can be made, and can be written to: before the work, not after."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise CannotRun(f"{option} {folder}: {there} is no folder; expected the name of a folder")
    try:
        tempfile.TemporaryDirectory(dir=there).cleanup()
    except OSError as error:
        raise CannotRun(
            f"{option} {folder}: {there} cannot be written ({error.strerror}); expected one that can"
        ) from None


def folder_name(text):
    """A Path, of an option that names a folder."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; expected the name of a folder")
    return Path(text)


class Bar:
    """A line on standard error that says how far the work is, and how long it will take yet, on a terminal only."""

    def __init__(self):
        self.terminal = sys.stderr.isatty()
        self.began = None  # when, and how far it was

    def __call__(self, done, total, text):
        if self.terminal:
            bar = "#" * (20 * done // max(total, 1))
            text += self._left(done, total)
            print(f"\r\x1b[K[{bar:<20}] {done}/{total} {text}", end="", file=sys.stderr, flush=True)

    def _left(self, done, total):
        """The time it will take yet at the pace so far, in words; nothing below two minutes."""
        now = time.monotonic()
        self.began = self.began or (now, done)
        since, first = self.began
        seconds = (now - since) * (total - done) / (done - first) if done > first else 0
        if seconds < 120:
            return ""
        return f", {seconds / 60:.0f} minutes left" if seconds < 7200 else f", {seconds / 3600:.0f} hours left"

    def clear(self):
        """Take the line away, before something else is printed."""
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextmanager
def progress_bar():
    """A `Bar` for the work inside. Wrong settings, found there as ValueError or TypeError, end the command in one line, and so
    does a GPU that is not there."""
    from ..devices import Unavailable

    bar = Bar()
    try:
        yield bar
    except (ValueError, TypeError, Unavailable) as error:
        raise CannotRun(" ".join(str(error).split())) from None
    except OverflowError as error:
        raise CannotRun(f"a setting is too large: {error}") from None
    finally:
        bar.clear()


def needs(module, extra):
    """CannotRun, with what to install, unless `module` is there."""
    if importlib.util.find_spec(module) is None:
        raise CannotRun(
            f"this needs {module}, which is not installed: pip install '.[{extra}]' in a clone, or {module} itself"
        )


def split_name(text):
    """PAPER or PAPER:NAME as (paper, name or None)."""
    paper, colon, name = text.partition(":")
    if colon and not name:
        raise CannotRun(f"{text}: expected PAPER or PAPER:NAME")
    return paper, name or None


def load_paper(name):
    """The paper's module; CannotRun with the names there are."""
    from ..papers import load

    try:
        return load(name)
    except ValueError as error:
        raise CannotRun(str(error)) from None


def meant(key, known):
    """What an unknown setting may have meant, for its error, in brackets; nothing if it is like none of the known ones."""
    name = NOTATION.get(key)
    if name in known:
        return f" ({key} is called {name})"
    close = difflib.get_close_matches(key, known, 1, cutoff=0.75)
    return f" (did you mean {close[0]}?)" if close else ""


def settings(pairs):
    """A dict of the options --set KEY=VALUE: numbers, tuples, True, None as in Python; anything else is a text."""
    found = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise CannotRun(f"--set {pair}: expected KEY=VALUE, for example --set length=30")
        if key in found:
            raise CannotRun(f"--set {key} is given twice")
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[key] = text
    return found
