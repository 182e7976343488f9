"""`nlicl audit`: hold gradient formulas against independent witnesses."""

import argparse
import importlib.util
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .common import CannotRun, check_files, load_paper, progress_bar

__all__ = ["add"]


def add(commands: Any) -> None:
    """The command's arguments."""
    audit = commands.add_parser(
        "audit",
        help="hold a paper's gradient formulas, or your own, against independent witnesses",
        description="Without --formula: every formula of the paper, the library's own gradients, and a negative control. "
        "With --formula FILE.py:FUNCTION --wrt NAME: your function f(params, prompt) -> array.",
    )
    audit.add_argument(
        "paper",
        nargs="?",
        default="li2024",
        metavar="PAPER",
        help="%(default)s, the default, or another of nlicl papers",
    )
    audit.add_argument("--wrt", metavar="NAME", help="only this parameter of the paper's; nlicl papers lists them")
    audit.add_argument("--formula", metavar="FILE.py:FUNCTION", help="a formula of your own; needs --wrt")
    audit.add_argument("--draws", type=int, default=20, metavar="N", help="places to judge at (default %(default)s)")
    audit.add_argument("--seed", type=int, default=0, metavar="S", help="of the draws (default %(default)s)")
    audit.add_argument(
        "--query-attends",
        action=argparse.BooleanOptionalAction,
        help="judge against the model with (l+1 terms) or without (l terms) the query among the keys; "
        "default: what each formula asks for",
    )
    audit.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="for a formula of your own on all draws together (default %(default)g)",
    )
    audit.add_argument(
        "--backend",
        choices=("cpu", "cuda"),
        default="cpu",
        help="whose gradients are the library's: its CPU kernels' (the default) or its GPU kernels'",
    )
    audit.add_argument("--only-wrong", action="store_true", help="show only what is wrong, with the wrong entries")
    audit.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the report there as well; -: to standard output, without the table",
    )
    audit.add_argument("--html", type=Path, metavar="FILE", help="write it as a page, to read or to attach; - as above")
    audit.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Audit, and write what was asked for.

    Returns
    -------
    int
        0 if every verdict is the expected one, otherwise 1.

    Raises
    ------
    CannotRun
        Options that do not go together, a formula's file that does not import, a formula without a value.
    """
    from ..core.checks import seconds

    seconds("--timeout", options.timeout)
    files = {"--json": options.json, "--html": options.html}
    piped = [option for option in files if files[option] == Path("-")]  # to standard output, without the table
    if len(piped) == 2:
        raise CannotRun("--json - and --html - both ask for standard output; name a file for one of them")
    check_files({option: path for option, path in files.items() if option not in piped})
    if options.formula and options.wrt is None:
        known = ", ".join(load_paper(options.paper).subject.parameters)
        first = known.split(", ")[0]
        raise CannotRun(
            f"--formula needs --wrt NAME, the parameter it differentiates by, of {options.paper} one of {known}; for example "
            f"--wrt {first}"
        )
    if options.formula and options.backend != "cpu":
        raise CannotRun(
            "--backend is whose gradients are the library's, and --formula judges yours; give one of the two"
        )
    formula = _load_formula(options.formula, options.timeout) if options.formula else None
    from ..audit import audit_formula, audit_paper
    from ..audit.report.html import page
    from ..audit.report.table import table
    from ..core.files import to_json

    settings = {"draws": options.draws, "seed": options.seed, "query_attends": options.query_attends}
    with progress_bar() as bar:

        def progress(done: int, total: int, name: str) -> None:
            note = "  (the first run compiles the kernels: about a quarter of a minute)" if done == 0 else ""
            bar(done, total, name + note)

        if formula is not None:
            report = audit_formula(formula, paper=options.paper, wrt=options.wrt, timeout=options.timeout, **settings)
        else:
            report = audit_paper(options.paper, wrt=options.wrt, backend=options.backend, progress=progress, **settings)
    if piped:
        print(to_json(report.to_dict()) if piped == ["--json"] else page(report), end="")
    else:
        print(table(report, only_wrong=options.only_wrong))
    for option, path in files.items():
        if path is not None and option not in piped:
            try:
                (report.to_json if option == "--json" else report.to_html)(path)
            except OSError as error:
                raise CannotRun(f"{option} {path}: {error.strerror or error}") from None
    errors = [entry.error for entry in report.formulas if entry.error]
    if errors:
        raise CannotRun(errors[0])
    return 0 if report.ok else 1


def _load_formula(where: str, timeout: float) -> Callable[..., Any]:
    """The function FILE.py:FUNCTION; CannotRun with the reason if there is none."""
    file, colon, name = where.rpartition(":")
    if not colon or not file or not name:
        raise CannotRun(f"--formula {where}: expected FILE.py:FUNCTION, for example appendix.py:grad")
    path = Path(file)
    try:
        there = path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise CannotRun(f"--formula {where}: {error.strerror}; expected FILE.py:FUNCTION") from None
    if not there:
        raise CannotRun(f"--formula {where}: there is no file {file}")
    spec = importlib.util.spec_from_file_location("nlicl_formula_file", path)
    if spec is None or spec.loader is None:
        raise CannotRun(f"--formula {where}: {file} is not a Python file; expected FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.absolute().parent))  # it may import its neighbours
    try:
        with _time_limit(timeout):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        text = str(error).splitlines()[0] if str(error) else "no message"
        raise CannotRun(f"--formula {where}: {file} does not import: {type(error).__name__}: {text}") from None
    finally:
        sys.path.pop(0)
    function: Any = getattr(module, name, None)
    if not callable(function):
        offers = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise CannotRun(f"--formula {where}: {file} has no function {name}; it has {', '.join(offers) or 'none'}")
    return function


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what runs inside after so many seconds, by TimeoutError; without limit where there is no such signal."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise TimeoutError(f"does not finish within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
