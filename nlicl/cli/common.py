"""What the commands share: errors in one line, a progress bar on a terminal, settings given as KEY=VALUE."""

import argparse
import ast
import importlib.util
import os
import sys
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "Bar",
    "CannotRun",
    "check_files",
    "folder_name",
    "load_paper",
    "needs",
    "progress_bar",
    "settings",
    "split_name",
]


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


def folder_name(text):
    """A Path, of an option that names a folder."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; expected the name of a folder")
    return Path(text)


class Bar:
    """A line on standard error that says how far the work is, on a terminal only."""

    def __init__(self):
        self.terminal = sys.stderr.isatty()

    def __call__(self, done, total, text):
        if self.terminal:
            bar = "#" * (20 * done // max(total, 1))
            print(f"\r\x1b[K[{bar:<20}] {done}/{total} {text}", end="", file=sys.stderr, flush=True)

    def clear(self):
        """Take the line away, before something else is printed."""
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextmanager
def progress_bar():
    """A `Bar` for the work inside. Wrong settings, found there as ValueError or TypeError, end the command in one line."""
    bar = Bar()
    try:
        yield bar
    except (ValueError, TypeError) as error:
        raise CannotRun(" ".join(str(error).split())) from None
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


def settings(pairs):
    """A dict of the options --set KEY=VALUE: numbers, tuples, True, None as in Python; anything else is a text."""
    found = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise CannotRun(f"--set {pair}: expected KEY=VALUE, for example --set alpha=0.6")
        if key in found:
            raise CannotRun(f"--set {key} is given twice")
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[key] = text
    return found
