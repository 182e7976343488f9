"""The command line, thin: arguments in, one call, text out.

Exit status: 0 all is well (every verdict is the expected one, every claim holds); 1 something disagrees, does not hold or is
undetermined; 2 the command could not run, with one line on standard error.
"""

import argparse
import errno
import os
import sys

from .. import __version__
from . import audit, reproduce, train
from .common import CannotRun, load_paper

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise CannotRun(f"{message} (see `{self.prog} --help`)")


def main(arguments=None):
    """Run the command line; returns the exit status."""
    try:
        options = _parser().parse_args(arguments)
        status = options.run(options)
        sys.stdout.flush()
        return status
    except CannotRun as reason:
        print(f"nlicl: {reason}", file=sys.stderr)
        return 2
    except train.Failed as reason:
        print(f"nlicl: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as reason:
        print("nlicl: interrupted" + (f"; {reason}" if str(reason) else ""), file=sys.stderr)
        return 130
    except MemoryError as reason:
        print(f"nlicl: there is not enough memory: {reason or 'it is used up'}; lower the sizes", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has seen enough
        _drop_output()
        return 0
    except OSError as reason:
        if reason.errno != errno.ENOSPC:
            raise
        _drop_output()
        print(f"nlicl: the output cannot be written: {reason.strerror}", file=sys.stderr)
        return 2


def _drop_output():
    """Nothing more is written, not even at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser():
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


def _papers(options):
    from ..experiments.registry import figures as load_figures
    from ..experiments.registry import theorems as load_theorems
    from ..papers import names

    for name in names() if options.paper is None else [options.paper]:
        paper = load_paper(name)
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
    return 0


def _doctor(options):
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
