"""The command line, thin: arguments in, one call, text out.

| exit status | when                                                                                                      |
|-------------|-----------------------------------------------------------------------------------------------------------|
| 0           | all is well: every verdict is the expected one, every claim holds                                          |
| 1           | something disagrees, does not hold or is undetermined; a training run diverged; the doctor found a problem |
| 2           | the command could not run as it was given: one line on standard error says why, and what to do             |
| 70          | a bug of nlicl: its traceback on standard error                                                            |
| 130         | interrupted, by Ctrl-C; 143 by SIGTERM                                                                     |

What is refused, and what went wrong without being a bug, has an exception type of its own. `main` knows them, in one place. It
takes any other exception for a bug.
"""

import argparse
import errno
import io
import os
import shlex
import sys
import traceback
from collections.abc import Sequence

from .. import __version__
from ..core.interruption import as_interruption
from . import audit, reproduce, train
from .common import CannotRun, load_paper

__all__ = ["main"]

BUG = 70  # EX_SOFTWARE of sysexits.h
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # no room on the disk, or no more allowed


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise CannotRun(f"{message} (see `{self.prog} --help`)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process if not given.

    Returns
    -------
    int
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):  # an encoding without Greek letters must not end the work
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    status = 0
    try:
        options = _parser().parse_args(arguments)
        with as_interruption():
            status = options.run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as reason:
        print("nlicl: interrupted" + (f"; {reason}" if str(reason) else ""), file=sys.stderr)
        return getattr(reason, "status", 130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        _drop_output()
        return status
    except Exception as error:
        outcome = _outcome(error)
        if outcome is None:
            return _bug(error, sys.argv[1:] if arguments is None else arguments)
        status, text = outcome
        print(f"nlicl: {_one_line(text)}", file=sys.stderr)
        return status


def _outcome(error: Exception) -> tuple[int, str] | None:
    """Exit status and reason of an error that is no bug; None for a bug."""
    from ..core.errors import InvalidInput

    if isinstance(error, (CannotRun, InvalidInput)):
        return 2, str(error)
    if isinstance(error, MemoryError):
        return 2, f"there is not enough memory: {str(error) or 'it is used up'}; lower the sizes"
    if isinstance(error, OSError) and error.errno in _FULL:
        _drop_output()
        return 2, f"the output cannot be written: {error.strerror}"
    if isinstance(error, ImportError) and (error.name or "nlicl").partition(".")[0] != "nlicl":
        return 2, f"a library that nlicl needs cannot be imported: {error}. `nlicl doctor` says what is missing"

    from concurrent.futures.process import BrokenProcessPool

    if isinstance(error, BrokenProcessPool) and error.__cause__ is None:
        what = "a process was ended from outside, as the system does where memory runs out"
        return 2, f"{what}; expected it to finish. Give a smaller --jobs, or lower the sizes"

    from ..devices import Unavailable
    from ..training.runs import Diverged

    if isinstance(error, Unavailable):
        return 2, str(error)
    return (1, str(error)) if isinstance(error, Diverged) else None


def _one_line(reason: str) -> str:
    """A reason as a line of words; the middle of a very long word, such as a number of 400 digits, is left out."""
    return " ".join(word if len(word) <= 200 else f"{word[:60]}...{word[-20:]}" for word in reason.split())


def _bug(error: Exception, arguments: Sequence[str]) -> int:
    traceback.print_exception(error)
    command = shlex.join(["nlicl", *map(str, arguments)])
    print(
        f"nlicl: this is a bug of nlicl {__version__}, not a mistake of yours. Please report it, with the lines above and the "
        f"command: {command}",
        file=sys.stderr,
    )
    return BUG


def _drop_output() -> None:
    """Nothing more is written, not even at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="nlicl", description="Nonlinear in-context learning: definitions, gradients, and their audit."
    )
    parser.add_argument("--version", action="version", version=f"nlicl {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    for command in (audit, train, reproduce):
        command.add(commands)

    papers = commands.add_parser(
        "papers", help="the papers, their formulas with sources and known errors, figures and theorems"
    )
    papers.add_argument("paper", nargs="?", metavar="PAPER", help="this one only")
    papers.set_defaults(run=_papers)

    doctor = commands.add_parser("doctor", help="versions, threads, cache, BLAS, CUDA: what is as it should be")
    doctor.set_defaults(run=_doctor)
    return parser


def _papers(options: argparse.Namespace) -> int:
    from ..experiments.registry import figures as load_figures
    from ..experiments.registry import theorems as load_theorems
    from ..papers import names

    status = 0
    for name in names() if options.paper is None else [options.paper]:
        try:
            paper = load_paper(name)
        except CannotRun as reason:  # somebody else's paper that cannot be loaded hides no other
            if options.paper is not None:
                raise
            print(f"nlicl: {reason}", file=sys.stderr)
            status = 2
            continue
        print(f"{name}: {paper.title}")
        for formula in paper.formulas.values():
            print(f"\n  {formula.name:12} d loss / d {formula.wrt}, expected to {formula.expected}")
            print(f"               {formula.equation}")
            print(f"               {formula.source}" + (f"; defined for {formula.domain}" if formula.domain else ""))
            if formula.erratum:
                print(f"               erratum: {formula.erratum}")
        print(f"\n  Audit them: nlicl audit {name}")
        for what, command, entries in (
            ("Figures", "reproduce", load_figures(name)),
            ("Theorems", "theorem", load_theorems(name)),
        ):
            if not entries:
                continue
            print(f"\n  {what}, by nlicl {command} {name}:NAME, all by nlicl {command} {name}")
            for entry in entries.values():
                print(f"    {entry.name:12} {entry.title}")
        print(f"\n  Settings, by nlicl train {name}:NAME: {', '.join(paper.problems)}")
    return status


def _doctor(options: argparse.Namespace) -> int:
    from ..doctor import examine

    findings = examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{finding.state:7}  {finding.what:{width}}  {finding.found}")
        if finding.fix:
            print(f"{'':7}  {'':{width}}  -> {finding.fix}")
    bad = [finding for finding in findings if finding.state == "PROBLEM"]
    print("\n" + ("All is as it should be." if not bad else f"{len(bad)} to mend: {', '.join(f.what for f in bad)}."))
    return 1 if bad else 0
