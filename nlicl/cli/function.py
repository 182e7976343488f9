"""`nlicl audit FILE.py:LOSS`: the gradient of any function, from the reader's file to the report."""

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .common import Bar, CannotRun, progress_bar

if TYPE_CHECKING:
    from ..audit import GradientReport
    from ..audit.functions.function import Function

__all__ = ["audited"]

LONG = 3.0  # seconds of an audit whose cost is said beforehand
CALLS = 200  # of the loss, whatever the size of x
BY_DIFFERENCES = 15  # calls for one entry where nothing but differences can be had
SAMPLE = 64  # entries of a large argument that are looked at one by one


def audited(options: argparse.Namespace) -> "GradientReport":
    """The report on the function that `options.paper` names.

    Raises
    ------
    CannotRun
        --at is missing.
    InvalidInput
        What `audit_files` refuses.
    """
    from ..audit.functions import Files, audit_files
    from ..audit.process import Source, find
    from ..core.errors import InvalidInput, InvalidValue

    where = options.paper
    if options.at is None:
        raise CannotRun(
            f"{where} needs --at POINT, where to judge it; for example --at x0, with x0 = np.array([0.3, -1.2]) in the file"
        )
    known: dict[Path, Source] = {}
    loss = find(known, "", where, "FILE.py:LOSS", "losses.py:loss")
    beside = where.rpartition(":")[0]
    named = {
        option: None
        if given is None
        else find(known, option, given, "FILE.py:NAME, or NAME", f"{beside}:{name}", beside)
        for option, given, name in (
            ("--hessian-vector", options.hessian_vector, "grad"),
            ("--hessian", options.hessian, "grad"),
            ("--points", options.points, "x0"),
            ("--gradient", options.gradient, "grad"),
            ("--at", options.at, "x0"),
        )
    }
    x = named["--at"]
    assert x is not None
    files = Files(loss, named["--gradient"], x, named["--points"], named["--hessian-vector"], named["--hessian"])
    settings = {} if options.entries is None else {"entries": options.entries}
    with progress_bar() as bar:
        try:
            return audit_files(
                files,
                timeout=options.timeout,
                names=options.names and options.names.split(","),
                wrt=options.wrt and [_index(name) for name in options.wrt.split(",")],
                tolerance=options.tolerance,
                progress=bar,
                seed=options.seed,
                mend=options.mend,
                begun=partial(_say_cost, settings.get("entries", 500), options.timeout, bar),
                **settings,
            )
        except InvalidInput as error:  # in the words of the command line
            text = str(error).replace("since gradient=True", "since --gradient is left out")
            text = text.replace("give gradient=True", "leave --gradient out")
            raise InvalidValue(text) from error


def _index(name: str) -> str | int:
    return int(name) if name.lstrip("-").isdecimal() else name


def _say_cost(most: int, limit: float, bar: Bar, function: "Function") -> None:
    """Say on a terminal what a long audit takes, from one call of the loss."""
    if not bar.terminal:
        return
    began = time.perf_counter()
    function.real(function.arrays)
    each = time.perf_counter() - began
    sizes = [array.size for array in function.arrays]
    exact = CALLS + sum(size if size <= most else SAMPLE for size in sizes)
    differences = CALLS + BY_DIFFERENCES * sum(min(size, SAMPLE) for size in sizes)
    if exact * each > LONG:
        rest = f"about {differences:,} ({_seconds(differences * each)}) if only differences can be had; more if it is wrong"
        text = f"about {exact:,} calls of the loss at {_seconds(each)}: {_seconds(exact * each)}; {rest}."
        print(f"{text} Limit: {_seconds(limit)} (--timeout).", file=sys.stderr)


def _seconds(seconds: float) -> str:
    """A time in words."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms" if seconds > 0.01 else f"{1000 * seconds:.2g} ms"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
