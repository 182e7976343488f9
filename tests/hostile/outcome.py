"""What one hostile input came to: refused, accepted, or one of the kinds of failure."""

import re
from typing import NamedTuple

__all__ = ["ACCEPTED", "FAILURES", "REFUSED", "WITHIN", "Outcome", "failed", "of_command"]

REFUSED = "refused"  # by one sentence that says why
ACCEPTED = "accepted"  # and the result is right, as far as it can be told
FAILURES = {
    "silent": "a wrong number, a wrong verdict, or another result, without a word",
    "bug": "a traceback, or an exception that is none of the library's for refused input",
    "within": "a message from deep inside, more than one line, or a line that is too long",
    "crash": "the process ended by a signal, or without saying why",
    "hang": "not finished within the time limit",
    "processes": "a process is left behind",
    "files": "a temporary file is left behind, or a file was harmed",
}
LONGEST = 800  # characters of a line that says why a command cannot run

# What Python and NumPy say where a value was looked at too late. A message of the library's holds none of it, unless it shows
# what a reader's own file raises.
WITHIN = re.compile(
    r"unsupported operand|object has no attribute|is not subscriptable|object is not (callable|iterable)|"
    r"could not be broadcast|cannot reshape|invalid literal for|could not convert|ufunc '\w+' (did|not|output|cannot)|"
    r"out of range for|"
    r"list index|truth value of an array|Errno |unhashable type|missing \d+ required|<frozen|"
    r"positional argument|object cannot be interpreted|only (length-1|0-dimensional) arrays|setting an array element|"
    r"dtype\(\[|inhomogeneous|BrokenProcess|concurrent\.futures|RecursionError|maximum recursion|surrogates not allowed|"
    r"codec can't|embedded null|Unable to allocate"
)

_TRACE = "Traceback (most recent call last)"
_OWN = re.compile(r'File ".*nlicl/(cli|audit|core)/')


class Outcome(NamedTuple):
    """What a case came to: refused or accepted, and what failed, as pairs (kind, what was seen)."""

    good: str
    failures: tuple[tuple[str, str], ...] = ()


def failed(kind: str, text: str) -> Outcome:
    """An outcome with one failure."""
    assert kind in FAILURES, kind
    return Outcome("", ((kind, text),))


def of_command(status: int, out: str, err: str, theirs: bool = False) -> Outcome:
    """How a command ended, seen from outside: status, and what it printed.

    A command that cannot run says why in one line of readable length. No command shows a traceback. With `theirs`, the line
    may hold what a reader's own file raised, and its threads may print tracebacks of theirs.
    """
    said = f"status {status}\n{out[-300:]}\n{err[-1200:]}"
    if status < 0:
        return failed("crash", f"ended by signal {-status}\n{said}")
    if theirs and not _OWN.search(err):
        err = err.replace(_TRACE, "a traceback")
    if _TRACE in out + err or status == 70:
        return failed("bug", said)
    if status not in (0, 1, 2):
        return failed("crash", said)
    if status != 2:
        return Outcome(ACCEPTED) if theirs or not WITHIN.search(err) else failed("within", said)
    lines = [line for line in err.splitlines() if line.startswith("nlicl: ")]
    if len(lines) != 1:
        return failed("within", f"{len(lines)} lines that say why\n{said}")
    if len(lines[0]) > LONGEST:
        return failed("within", f"a line of {len(lines[0])} characters\n{said}")
    theirs = theirs or " raises " in lines[0]
    return Outcome(REFUSED) if theirs or not WITHIN.search(lines[0]) else failed("within", said)
