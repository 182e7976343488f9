"""`nlicl completion`: what a shell needs to complete commands, options, papers and files."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .common import examples, folder_name, needs

__all__ = ["add"]

SHELLS = ("bash", "zsh", "tcsh")


def add(commands: Any, whole: argparse.ArgumentParser) -> None:
    """The command's arguments; `whole` is the parser of the whole command line."""
    completion = commands.add_parser(
        "completion",
        help="print what a shell needs to complete commands, options, papers and files",
        description="Prints a script for the shell. It needs shtab: pip install '.[completion]' in a clone, or shtab itself.",
        **examples(
            ('eval "$(nlicl completion bash)"', "in ~/.bashrc"),
            ("nlicl completion zsh > DIR/_nlicl", "DIR is a folder of $fpath"),
            ("nlicl completion tcsh > nlicl.csh", "then source nlicl.csh"),
        ),
    )
    completion.add_argument("shell", choices=SHELLS, help="of which the script is")
    completion.set_defaults(run=lambda options: run(options, whole))


def run(options: argparse.Namespace, whole: argparse.ArgumentParser) -> int:
    """Print the script. Returns 0.

    Raises
    ------
    CannotRun
        shtab is not installed.
    """
    needs("shtab", "completion")
    import shtab

    from ..papers import names

    papers = " ".join(names())
    chosen = {
        "bash": "_nlicl_papers",
        "zsh": f"_alternative 'papers:paper:({papers})' 'files:file:_files -g \"*.py\"'",
        "tcsh": f"({papers})",
    }
    bash = f'_nlicl_papers() {{ compgen -W "{papers}" -- "$1"; compgen -f -X "!*.py" -- "$1"; }}'
    for action in _arguments(whole):
        if action.type is folder_name:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif not action.option_strings and action.dest == "paper":
            action.complete = chosen  # type: ignore[attr-defined]
    print(shtab.complete(whole, options.shell, preamble=bash if options.shell == "bash" else ""))
    return 0


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _arguments(command)
