"""The command line, thin: arguments in, one call, text out.

| exit status | when                                                                                                      |
|-------------|-----------------------------------------------------------------------------------------------------------|
| 0           | all is well: every verdict is the expected one, every claim holds                                          |
| 1           | something disagrees, does not hold or is undetermined; a training run diverged; the doctor found a problem |
| 2           | the command could not run or be completed: one line on standard error says why, and what to do            |
| 70          | a bug of nlicl: its traceback on standard error                                                            |
| 130         | interrupted, by Ctrl-C; 143 by SIGTERM                                                                     |

What is refused, and what went wrong without being a bug, has an exception type of its own. `outcome.py` knows them, in one
place. Any other exception is taken for a bug. Where standard output is closed, or its reader leaves early, the work goes on
without one, and the status is that of the work.
"""

import argparse
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.describe import meant
from ..core.interruption import as_interruption
from ..core.text import message
from . import audit, compare, completion, papers, reproduce, sweep, train
from .common import CannotRun, examples
from .lines import command_line, line, short_warnings
from .outcome import outcome
from .screen import Screen, screens

__all__ = ["main"]

BUG = 70  # EX_SOFTWARE of sysexits.h
_FIRST = """\
to begin with:
  nlicl audit li2024                                        is every gradient formula of the paper right?
  nlicl audit li2024 --formula appendix.py:grad --wrt W_K   is yours?
  nlicl audit losses.py:loss --gradient grad --at x0        and that of any other function?
  nlicl train li2024                                        train the paper's model
  nlicl reproduce li2024 --quick                            draw its figures
"""
_STATUSES = """\
exit status, of every command:
  0    all is well: every verdict is the expected one, every claim holds
  1    something disagrees, does not hold or is undetermined; a training run diverged; the doctor found a problem
  2    the command could not run or be completed: one line on standard error says why
  70   a bug of nlicl: its traceback is printed
  130  interrupted by Ctrl-C; 143 by SIGTERM
"""


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

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but an unknown option may be told which one was meant."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            known = [
                option for parser in (self, *self._commands().values()) for option in parser._option_string_actions
            ]
            near = next((found for each in unknown if (found := meant(each.partition("=")[0], known))), "")
            self.error(f"unrecognized arguments: {' '.join(unknown)}{near}")
        return options

    def _commands(self) -> dict[str, argparse.ArgumentParser]:
        actions = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return dict(actions[0].choices) if actions else {}

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = "/".join(action.option_strings) or action.metavar or action.dest
            known = list(map(str, action.choices))
            self.error(f"{name} is {value!r}{meant(value, known)}; expected one of {', '.join(map(repr, known))}")


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
    parser = _parser()
    if not arguments:
        parser.print_help()
        return 0
    options = parser.parse_args(arguments)
    options.words = list(arguments)
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
        found = None
        with suppress(Exception):  # whose it is cannot be found out: then its traceback is shown
            found = outcome(error)
        if found is None:
            return _bug(error, arguments)
        status, text = found
        _say(line(text, arguments))
        return status
    except BaseException:  # no memory to say it, for instance
        with suppress(OSError):
            os.write(2, b"nlicl: this is a bug of nlicl: what went wrong cannot be said.\n")
        return BUG


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
        epilog=f"{_FIRST}\n{_STATUSES}",
    )
    parser.add_argument("--version", action="version", version=f"nlicl {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    for command in (audit, train, sweep, reproduce, compare, papers):
        command.add(commands)
    completion.add(commands, parser)

    doctor = commands.add_parser(
        "doctor",
        help="check the installation: versions, threads, cache, BLAS, CUDA",
        description="Checks versions, threads, the cache, extras and one gradient, and says how to repair what fails.",
        **examples(
            ("nlicl doctor", "checks, and how to repair what fails"),
            ("nlicl doctor --clear-cache", "delete compiled kernels"),
        ),
    )
    doctor.add_argument(
        "--clear-cache", action="store_true", help="delete the stored compiled kernels of all versions of nlicl"
    )
    doctor.set_defaults(run=_doctor)
    return parser


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
