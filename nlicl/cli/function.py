"""`nlicl audit FILE.py:LOSS`: the gradient of any function, from the reader's file to the report."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .common import Bar, CannotRun, progress_bar
from .readers import Expired, Files, time_limit

if TYPE_CHECKING:
    from ..audit import GradientReport

__all__ = ["audited"]

GRACE = 5.0  # seconds beyond the limit for the call that is under way; one that takes longer is taken for endless
LONG = 3.0  # seconds of an audit whose cost is said beforehand
CALLS = 200  # of the loss, whatever the size of x
BY_DIFFERENCES = 15  # calls for one entry where nothing but differences can be had
SAMPLE = 64  # entries of a large argument that are looked at one by one


def audited(options: argparse.Namespace) -> "GradientReport":
    """The report on the function that `options.paper` names.

    Raises
    ------
    CannotRun
        --at is missing; a file or a name is not there; a call that does not end.
    InvalidInput
        What `audit_gradient` refuses.
    """
    where = options.paper
    if options.at is None:
        raise CannotRun(
            f"{where} needs --at POINT, where to judge it; for example --at x0, with x0 = np.array([0.3, -1.2]) in the file"
        )
    with Files(options.timeout) as files, progress_bar() as bar:
        loss = files.function("", where, "FILE.py:LOSS", "losses.py:loss")
        beside = where.rpartition(":")[0]

        def function(option: str, given: str | None) -> Callable[..., Any] | None:
            form, example = "FILE.py:NAME, or NAME", f"{beside}:grad"
            return None if given is None else files.function(option, given, form, example, beside)

        def made(option: str, given: str | None) -> Any:
            form, example = "FILE.py:NAME, or NAME", f"{beside}:x0"
            return None if given is None else files.made(option, given, form, example, beside)

        settings = {
            "hessian_vector": function("--hessian-vector", options.hessian_vector),
            "hessian": function("--hessian", options.hessian),
            "points": made("--points", options.points),
            "names": options.names and options.names.split(","),
            "wrt": options.wrt and [_index(name) for name in options.wrt.split(",")],
            "tolerance": options.tolerance,
        }
        if options.entries is not None:
            settings["entries"] = options.entries
        gradient = function("--gradient", options.gradient) or True
        x = made("--at", options.at)
        return _within(options, loss, gradient, x, settings, bar)


def _within(
    options: argparse.Namespace,
    loss: Callable[..., Any],
    gradient: Callable[..., Any] | bool,
    x: Any,
    settings: dict[str, Any],
    bar: Bar,
) -> "GradientReport":
    """The audit under its time limit."""
    from ..audit import audit_gradient
    from ..core.errors import InvalidInput, InvalidValue

    try:
        with time_limit(options.timeout + GRACE):
            _say_cost(loss, x, settings, options.timeout, bar)
            return audit_gradient(
                loss, gradient, x, timeout=options.timeout, progress=bar, seed=options.seed, **settings
            )
    except Expired:
        raise CannotRun(
            f"{options.paper} does not finish within {options.timeout:g} s (--timeout), and a call of the loss or of the "
            "gradient does not end; expected calls of fractions of a second. Is there a loop without end?"
        ) from None
    except SystemExit as error:
        raise CannotRun(f"{options.paper} ends the process by SystemExit: {error}; expected a number") from None
    except InvalidInput as error:  # in the words of the command line
        text = str(error).replace("since gradient=True", "since --gradient is left out")
        text = text.replace("give gradient=True", "leave --gradient out")
        raise InvalidValue(text) from error


def _index(name: str) -> str | int:
    return int(name) if name.lstrip("-").isdecimal() else name


def _say_cost(loss: Callable[..., Any], x: Any, settings: dict[str, Any], limit: float, bar: Bar) -> None:
    """Say on a terminal what a long audit takes, from one call of the loss."""
    if not bar.terminal:
        return
    from ..audit.forms import Arguments

    try:
        arguments = Arguments(x, settings["names"], settings["wrt"], loss=loss)
        began = time.perf_counter()
        arguments.call(loss, arguments.arrays)
        each = time.perf_counter() - began
    except Exception:  # the audit says what is wrong with it
        return
    sizes = [array.size for array in arguments.arrays]
    most = settings.get("entries", 500)
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
