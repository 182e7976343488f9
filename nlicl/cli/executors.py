"""Who makes the runs of a command: --jobs processes, or Dask."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from .common import Bar, needs

__all__ = ["add_executor_options", "chosen_executor", "count"]

MOST_JOBS = 1_000


def add_executor_options(parser: argparse.ArgumentParser, usual: str = "threads of this process, one a core") -> None:
    """The options --jobs and --dask. `usual` says what is done without them."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--jobs", type=count(MOST_JOBS), metavar="N", help=f"processes (default: {usual}); results are the same"
    )
    group.add_argument(
        "--dask",
        type=_told,
        metavar="WHERE",
        help="let Dask make the runs: 'local', the address of a scheduler (tcp://host:8786), or the path of its file",
    )


def chosen_executor(options: argparse.Namespace, bar: Bar) -> dict[str, Any]:
    """What the options say, as arguments of `nlicl.sweep` and of `execute`: jobs, executor, tell.

    Raises
    ------
    CannotRun
        Dask is asked for and not installed.
    """
    if options.dask is not None:
        needs("distributed", "dask")

    def tell(text: str) -> None:
        bar.clear()
        print(f"nlicl: {text}", file=sys.stderr)

    return {"jobs": options.jobs, "executor": options.dask, "tell": tell}


def count(most: int) -> Callable[[str], int]:
    """What reads an option's text as an integer from 1 to `most`."""

    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > 30 or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text[:40]!r}; expected an integer, at least 1 and at most {most}")
        return int(text)

    return read


def _told(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("is empty; expected 'local', an address or a file")
    return text
