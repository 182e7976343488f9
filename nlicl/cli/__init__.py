"""The command line, thin: arguments in, one call, text out.

| exit status | when                                                                                                      |
|-------------|-----------------------------------------------------------------------------------------------------------|
| 0           | all is well: every verdict is the expected one, every claim holds                                          |
| 1           | something disagrees, does not hold or is undetermined; a training run diverged; the doctor found a problem |
| 2           | the command could not run, or not to its end: one line on standard error says why, and what to do          |
| 70          | a bug of nlicl: its traceback on standard error                                                            |
| 130         | interrupted, by Ctrl-C; 143 by SIGTERM                                                                     |

What is refused, and what went wrong without being a bug, has an exception type of its own. `main` knows them, in one place. It
takes any other exception for a bug. Where standard output is closed, or its reader leaves early, the work goes on without one,
and the status is that of the work.
"""

import argparse
import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.interruption import as_interruption
from ..core.text import message, one_line
from . import audit, reproduce, train
from .common import CannotRun, load_paper
from .lines import command_line, culprit, line, short_warnings
from .screen import OutputLost, Screen, screens

__all__ = ["main"]

BUG = 70  # EX_SOFTWARE of sysexits.h
_STATUSES = """\
exit status, of every command:
  0    all is well: every verdict is the expected one, every claim holds
  1    something disagrees, does not hold or is undetermined; a training run diverged; the doctor found a problem
  2    the command could not run, or not to its end: one line on standard error says why
  70   a bug of nlicl: its traceback is printed
  130  interrupted by Ctrl-C; 143 by SIGTERM
"""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # no room on the disk, or no more allowed


class _Helped(SystemExit):
    """Help or the version was asked for, and is printed."""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)  # half an option is a slip, and --clear-cach would delete

    def error(self, message: str) -> None:  # type: ignore[override]
        raise CannotRun(f"{message} (see `{self.prog} --help`)")

    def exit(self, status: int = 0, message: str | None = None) -> None:  # type: ignore[override]
        sys.stdout.flush()
        raise _Helped(status)


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
    given = [str(argument) for argument in (sys.argv[1:] if arguments is None else arguments)]
    with screens() as out, short_warnings():
        try:
            return _run(given, out)
        except _Helped:
            raise
        except KeyboardInterrupt as reason:
            _say(line("interrupted" + (f"; {message(reason)}" if message(reason) else ""), given))
            return getattr(reason, "status", 130)
        except BaseException as error:
            return _ended(error, given)


def _run(arguments: Sequence[str], out: Screen) -> int:
    for argument in arguments:
        _check(argument)
    options = _parser().parse_args(arguments)
    _check_working_folder()
    _check_threads()
    for option in ("json", "html"):
        if out.closed_before and getattr(options, option, None) == Path("-"):
            raise CannotRun(f"--{option} - asks for standard output, which is closed; name a file instead")
    with as_interruption():
        status: int = options.run(options)
    out.flush()
    return status


def _check(argument: str) -> None:
    """CannotRun if an argument is one that no shell hands on, or that argparse loses."""
    try:
        whole = b"\0" not in os.fsencode(argument)
    except UnicodeEncodeError:
        whole = False
    if not whole:
        raise CannotRun(f"{argument}: holds a character that no argument can have, as code 0; leave it out")
    if re.fullmatch(r"--[\w-]+=--", argument):
        raise CannotRun(f"{argument}: -- is no value; expected one")


def _check_working_folder() -> None:
    """CannotRun where the folder that this process works in is gone: numba does not even import there."""
    try:
        os.getcwd()
    except OSError as error:
        reason = f"the working folder cannot be used: {error.strerror or error}"
        raise CannotRun(f"{reason}; change to a folder that is there, for example by cd") from None


def _check_threads() -> None:
    """CannotRun where NUMBA_NUM_THREADS is no number of threads: numba does not even import there."""
    given = os.environ.get("NUMBA_NUM_THREADS", "1")
    try:
        good = int(given) > 0
    except ValueError:
        good = False
    if not good:
        raise CannotRun(
            f"NUMBA_NUM_THREADS is {given!r}; expected a number of threads, at least 1. Set one, or unset it"
        )


def _say(text: str) -> None:
    print(f"nlicl: {text}", file=sys.stderr)


def _ended(error: BaseException, arguments: Sequence[str]) -> int:
    """Say what ended a command; its exit status. What goes wrong while that is said is a bug as well."""
    try:
        outcome = None
        with suppress(Exception):  # whose it is cannot be found out: then its traceback is shown
            outcome = _outcome(error)
        if outcome is None:
            return _bug(error, arguments)
        status, text = outcome
        _say(line(text, arguments))
        return status
    except BaseException:  # no memory to say it, for instance
        with suppress(OSError):
            os.write(2, b"nlicl: this is a bug of nlicl: what went wrong cannot be said.\n")
        return BUG


def _outcome(error: BaseException) -> tuple[int, str] | None:
    """Exit status and reason of an error that is no bug; None for a bug."""
    from ..core.errors import InvalidInput

    if isinstance(error, (CannotRun, InvalidInput)):
        return 2, message(error)
    if isinstance(error, MemoryError):
        return 2, f"there is not enough memory: {message(error) or 'it is used up'}; lower the sizes"
    if isinstance(error, OutputLost):
        return 2, f"the output cannot be written: {message(error)}"
    if isinstance(error, OSError) and error.errno in _FULL:
        return 2, f"the output cannot be written: {error.strerror}"
    if isinstance(error, ImportError) and (error.name or "nlicl").partition(".")[0] != "nlicl":
        text = message(error)
        return 2, f"a library that nlicl needs cannot be imported: {text}. `nlicl doctor` says what is missing"

    from concurrent.futures.process import BrokenProcessPool

    if isinstance(error, BrokenProcessPool) and error.__cause__ is None:
        what = "a process was ended from outside, as the system does where memory runs out"
        return 2, f"{what}; expected it to finish. Give a smaller --jobs, or lower the sizes"

    from ..devices import Unavailable
    from ..experiments.pool import WorkerLost
    from ..training.runs import Diverged

    if isinstance(error, (Unavailable, WorkerLost)):
        return 2, message(error)
    if isinstance(error, Diverged):
        return 1, message(error)
    theirs = culprit(error)
    if theirs is not None:
        return 2, theirs
    if isinstance(error, SystemExit):
        return 2, f"code that is not nlicl's ended the process, by SystemExit: {message(error)}; expected it to return"
    return None


def _bug(error: BaseException, arguments: Sequence[str]) -> int:
    lines = "".join(traceback.format_exception(error)).splitlines()
    print("\n".join(each if len(each) < 2000 else f"{each[:1000]}...{each[-500:]}" for each in lines), file=sys.stderr)
    _say(
        f"this is a bug of nlicl {__version__}, not a mistake of yours. Please report it, with the lines above and the "
        f"command: {command_line(arguments)}"
    )
    return BUG


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="nlicl",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Nonlinear in-context learning: definitions, gradients, and their audit.",
        epilog=_STATUSES,
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
    doctor.add_argument(
        "--clear-cache", action="store_true", help="delete the compiled kernels that are kept, of any version of nlicl"
    )
    doctor.set_defaults(run=_doctor)
    return parser


def _papers(options: argparse.Namespace) -> int:
    from ..papers import names

    if options.paper is not None:
        _about(options.paper)
        return 0
    status = 0
    for name in names():
        try:
            _about(name)
        except BaseException as error:  # somebody else's paper that cannot be loaded hides no other
            ours = isinstance(error, (KeyboardInterrupt, MemoryError, OutputLost))
            outcome = None if ours else _outcome(error)
            if outcome is None:
                raise
            status = 2
            _say(line(outcome[1], ()))
    return status


def _about(name: str) -> None:
    """Print what there is of a paper."""
    from ..experiments.registry import figures as load_figures
    from ..experiments.registry import theorems as load_theorems

    paper = load_paper(name)
    lines = [f"{name}: {paper.title}"]
    for formula in paper.formulas.values():
        lines += ["", f"  {formula.name:12} d loss / d {formula.wrt}, expected to {formula.expected}"]
        lines.append(f"               {formula.equation}")
        lines.append(f"               {formula.source}" + (f"; defined for {formula.domain}" if formula.domain else ""))
        if formula.erratum:
            lines.append(f"               erratum: {formula.erratum}")
    lines += ["", f"  Audit them: nlicl audit {name}"]
    for what, verb, entries in (
        ("Figures", "reproduce", load_figures(name)),
        ("Theorems", "theorem", load_theorems(name)),
    ):
        if entries:
            lines += ["", f"  {what}, by nlicl {verb} {name}:NAME, all by nlicl {verb} {name}"]
            lines += [f"    {entry.name:12} {entry.title}" for entry in entries.values()]
    settings = (
        which if type(problem) is paper.Problem else f"{which} (a {type(problem).__name__})"
        for which, problem in paper.problems.items()
    )
    lines += ["", f"  Settings, by nlicl train {name}:NAME: {', '.join(settings)}"]
    print("\n".join(map(one_line, lines)))


def _doctor(options: argparse.Namespace) -> int:
    from ..doctor import clear_cache, examine

    if options.clear_cache:
        text, done = clear_cache()
        print(text)
        return 0 if done else 1

    findings = examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{finding.state:7}  {finding.what:{width}}  {finding.found}")
        if finding.fix:
            print(f"{'':7}  {'':{width}}  -> {finding.fix}")
    bad = [finding for finding in findings if finding.state == "PROBLEM"]
    print("\n" + ("All is as it should be." if not bad else f"{len(bad)} to mend: {', '.join(f.what for f in bad)}."))
    return 1 if bad else 0
