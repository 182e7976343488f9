"""What went wrong, in one line that can be read: whose fault it is, and the line itself."""

import re
import shlex
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from ..core.text import message, one_line

__all__ = ["command_line", "culprit", "line", "short_warnings"]

LONGEST = 400  # characters of a line
WORD = 200  # characters of a word
PARTS = (120, 60)  # characters of what the user typed, where the line is too long


def line(reason: str, arguments: Sequence[str]) -> str:
    """A reason as one line of at most 400 characters.

    What is too long in it is shortened in its middle: first what the user typed, then words, such as a number of 400 digits,
    then the line. Advice stands at its end, and stays.

    Parameters
    ----------
    reason : str
    arguments : list of str
        Those of the command line, which reasons quote.
    """
    text = one_line(reason).strip(" ")
    for most in PARTS:
        for part in _typed(arguments) if len(text) > LONGEST else ():
            for form in (one_line(part), one_line(repr(part)[1:-1])):
                if len(form) > most:
                    text = text.replace(form, _cut(form, most))
    text = " ".join(word if len(word) <= WORD else _cut(word, PARTS[0]) for word in text.split(" ") if word)
    return text if len(text) <= LONGEST else _cut(text, LONGEST)


def command_line(arguments: Sequence[str]) -> str:
    """A command line as one can type it, its very long arguments shortened."""
    return shlex.join(["nlicl", *(one_line(str(part)) if len(part) < 200 else _cut(part, 200) for part in arguments)])


@contextmanager
def short_warnings() -> Iterator[None]:
    """Warnings that are printed meanwhile are one line each, without a line of source, and without a traceback inside."""
    before = warnings.formatwarning
    warnings.formatwarning = _warning  # type: ignore[assignment]  # its last argument is `line`, a function here
    try:
        yield
    finally:
        warnings.formatwarning = before


def _warning(
    warning: Warning | str, category: type[Warning], filename: str, lineno: int, source: str | None = None
) -> str:
    text, found, inside = str(warning).partition("\nTraceback (most recent call last):\n")
    if found:  # numba's, of a variable of the environment: the error itself is the last line
        text = f"{text} {inside.strip().rpartition(chr(10))[2]}"
    place = re.split(r"[/\\\\]", filename)[-1]
    return line(f"{place}:{lineno}: {category.__name__}: {text}", ()) + "\n"


def _typed(arguments: Sequence[str]) -> list[str]:
    """Arguments and the parts that commands take them apart into, the longest first."""
    parts = {part for argument in arguments for part in (argument, *re.split(r"[=:,\s]+", argument)) if len(part) > 10}
    return sorted(parts, key=len, reverse=True)


def _cut(text: str, most: int) -> str:
    """A text without its middle; it says how much was there."""
    text = one_line(text)
    gap = f"...({len(text)} characters)..."
    first = (most - len(gap)) * 2 // 3
    return text[:first] + gap + text[len(text) - (most - len(gap) - first) :]


def culprit(error: BaseException) -> str | None:
    """Who raised an error, in a line, if it was not nlicl; otherwise None.

    It is somebody else's where code of a registered paper or model, or of a file of the reader's, was under way: the innermost
    line of the traceback that is nlicl's or theirs is theirs. Errors of worker processes bring their traceback as text.
    """
    from ..audit.process import is_readers
    from ..core.describe import kind_of

    for file, number in reversed(_places(error)):
        home = _home(file)
        if home == "nlicl":
            return None
        owner = file.rsplit("/", 1)[-1] if is_readers(file) else _owners().get(home)
        if owner:
            where = f"line {number} of {file.rsplit('/', 1)[-1]}"
            return (
                f"{owner} raises {kind_of(error)}: {message(error) or 'no message'} ({where}); expected its code to run"
            )
    return None


def _places(error: BaseException) -> list[tuple[str, str]]:
    """(file, line) of an error's traceback, the innermost last."""
    with suppress(Exception):
        there = type(error.__cause__).__name__ == "_RemoteTraceback"  # in a worker; here it was only asked for
        text = str(error.__cause__) if there else "".join(traceback.format_exception(error))
        return re.findall(r'^ *File "(.+?)", line (\d+), in ', text, re.MULTILINE)
    return []


def _home(file: str) -> str:
    """The top package of a source file; nothing if no module that is loaded has it."""
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) == file:
            return name.partition(".")[0]
    return ""


def _owners() -> dict[str, str]:
    """Top package -> what it registers, of papers and models that are not the library's."""
    from ..core.registry import MODELS, PAPERS

    found = {}
    for model in MODELS:
        found[str(type(model).__module__).partition(".")[0]] = f"the model {model.name}"
    for paper in PAPERS:
        for place in (paper.Problem.__module__, paper.Params.__module__, paper.figures, paper.theorems):
            found[str(place).partition(".")[0]] = f"the paper {paper.name}"
    return {home: owner for home, owner in found.items() if home not in ("", "nlicl", *sys.stdlib_module_names)}
