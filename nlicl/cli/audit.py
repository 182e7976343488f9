"""`nlicl audit`: hold gradient formulas, or the gradient of any function, against independent witnesses."""

import argparse
import contextlib
import functools
import operator
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import CannotRun, check_files, load_paper, progress_bar

if TYPE_CHECKING:
    from ..audit import AuditReport, Subject

__all__ = ["add"]

DRAWS = 20
OF_PAPERS = ("formula", "draws", "query_attends", "backend")
SOURCES = ("paper", "formula", "gradient", "at", "points", "hessian_vector", "hessian")  # options that name code
OF_FUNCTIONS = ("gradient", "at", "points", "names", "entries", "tolerance", "hessian_vector", "hessian")
EXAMPLE = """\
for example:
  nlicl audit li2024                                             every formula of the paper
  nlicl audit li2024 --formula appendix.py:grad --wrt W_K        yours
  nlicl audit li2024 --formula a.py:dWQ=W_Q --formula b.py:dWK=W_K --html page.html
  nlicl audit mypaper.py:subject                                 every formula of a paper of your own

any function: let losses.py define a loss, its gradient and a point,

    x0 = np.random.default_rng(0).standard_normal(6)

    def loss(x):
        return np.log(np.sum(np.exp(x)))

    def grad(x):
        return np.exp(x) / np.sum(np.exp(x))

and nlicl audit losses.py:loss --gradient grad --at x0 audits them.

exit status: 0 every verdict is the expected one; 1 something disagrees or is undetermined; 2 the command could not run, or
a formula raises or returns a wrong shape; nlicl --help lists the others.
"""


def add(commands: Any) -> None:
    """The command's arguments."""
    audit = commands.add_parser(
        "audit",
        help="tell whether a paper's gradient formulas, your own, or the gradient of any function, are right",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="PAPER: every formula of the paper, the library's own gradients, and a negative control.\n"
        "PAPER with --formula FILE.py:FUNCTION --wrt NAME: your function f(params, prompt) -> array.\n"
        "FILE.py:SUBJECT: the same for a paper of your own, an nlicl.audit.Subject or a Paper in your file.\n"
        "FILE.py:LOSS with --at: the gradient of any function of yours.",
        epilog=EXAMPLE,
    )
    audit.add_argument(
        "paper",
        nargs="?",
        default="li2024",
        metavar="PAPER or FILE.py:NAME",
        help="%(default)s, the default, or another of nlicl papers; or a subject, a paper or a loss of your own",
    )
    audit.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of all random draws (default %(default)s)"
    )
    audit.add_argument(
        "--wrt",
        metavar="NAME",
        help="only this parameter of the paper (nlicl papers lists them); for a function, these arguments: W,b or 0,1",
    )
    audit.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="time limit for a formula or a function of your own, at all places together (default %(default)g)",
    )
    audit.add_argument(
        "--mend",
        type=float,
        metavar="SECONDS",
        help="time limit of the search for mends, which follows the table (default 5; 0: no search)",
    )
    audit.add_argument(
        "--only-wrong", action="store_true", help="show only wrong formulas or arguments, with their wrong entries"
    )
    audit.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the report there as well; -: to standard output, without the table",
    )
    audit.add_argument(
        "--html", type=Path, metavar="FILE", help="write it as a page, to read or to attach; -: as for --json"
    )
    audit.set_defaults(run=run)
    _of_papers(audit.add_argument_group("of a paper"))
    _of_functions(audit.add_argument_group("of any function; a NAME without a file is looked up in the file of LOSS"))


def _of_papers(group: Any) -> None:
    group.add_argument(
        "--formula",
        action="append",
        metavar="FILE.py:FUNCTION[=NAME]",
        help="a formula of your own; NAME is its parameter, unless --wrt gives it; may be repeated",
    )
    group.add_argument(
        "--draws",
        type=int,
        metavar="N",
        help=f"number of draws, each one set of parameters and one prompt (default {DRAWS})",
    )
    group.add_argument(
        "--query-attends",
        action=argparse.BooleanOptionalAction,
        help="whether the query attends to itself in the model (l+1 terms) or not (l terms); "
        "default: as each formula asks",
    )
    group.add_argument(
        "--backend",
        choices=("cpu", "cuda"),
        help="the kernels that compute the library's own gradients (default cpu)",
    )


def _of_functions(group: Any) -> None:
    group.add_argument(
        "--at",
        metavar="[FILE.py:]POINT",
        help="the point: an array, a number, a tuple, list or dict of arrays, or a function of no arguments that returns one",
    )
    group.add_argument(
        "--gradient",
        metavar="[FILE.py:]GRADIENT",
        help="the gradient; without it, LOSS returns a pair (loss, gradient)",
    )
    group.add_argument("--points", metavar="[FILE.py:]NAME", help="a list of more places; default: two near POINT")
    group.add_argument("--names", metavar="W,b", help="names of the arguments")
    group.add_argument(
        "--entries",
        type=int,
        metavar="N",
        help="judge larger arguments by samples and directions (default 500)",
    )
    group.add_argument(
        "--tolerance", type=float, metavar="T", help="relative error that an entry may have, at most 1e-3"
    )
    group.add_argument(
        "--hessian-vector", metavar="[FILE.py:]NAME", help="h(x, v), the Hessian times v, judged as well"
    )
    group.add_argument("--hessian", metavar="[FILE.py:]NAME", help="h(x), the Hessian or its diagonal, judged as well")


def run(options: argparse.Namespace) -> int:
    """Audit, and write what was asked for.

    Returns
    -------
    int
        0 if every verdict is the expected one, otherwise 1.

    Raises
    ------
    CannotRun
        Options that do not go together, a file that does not import, a formula or a function without a value.
    """
    from ..core.checks import seconds

    seconds("--timeout", options.timeout)
    if options.mend is not None:
        seconds("--mend", options.mend, zero=True)
    files = {"--json": options.json, "--html": options.html}
    piped = [option for option in files if files[option] == Path("-")]  # to standard output, without the table
    if len(piped) == 2:
        raise CannotRun("--json - and --html - both ask for standard output; name a file for one of them")
    check_files({option: path for option, path in files.items() if option not in piped})
    in_a_file = ".py:" in options.paper or options.paper.endswith(".py")
    with contextlib.redirect_stdout(sys.stderr):  # what the reader's code prints, where it has no process of its own
        subject = None
        if in_a_file and all(getattr(options, name) is None for name in OF_FUNCTIONS):
            from .own import own_subject

            subject = own_subject(options.paper)
        of_function = in_a_file and subject is None
        _check_kind(options, of_function)
        _check_apart(options, {option: path for option, path in files.items() if option not in piped})
        if of_function:
            from .function import audited

            report: AuditReport = audited(options)
        else:
            report = _audited(options, subject)
    report.call = _repeated(options.words)
    _write(report, files, piped, options.only_wrong)
    errors = [entry.error for entry in report.formulas if entry.error]
    if errors:
        raise CannotRun(errors[0])
    return 0 if report.ok else 1


def _repeated(words: list[str]) -> str:
    """The command that repeats the audit, quoted for a shell: without the files that it wrote."""
    found, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if word in ("--json", "--html"):
            del rest[:1]
        elif not word.startswith(("--json=", "--html=")):
            found.append(word)
    return shlex.join(["nlicl", *found])


def _check_kind(options: argparse.Namespace, of_function: bool) -> None:
    """CannotRun if an option belongs to the other kind of audit."""
    for name in OF_PAPERS if of_function else OF_FUNCTIONS:
        if getattr(options, name) is None:
            continue
        option = "--" + name.replace("_", "-")
        if of_function:
            raise CannotRun(f"{option} belongs to a paper's formulas, and {options.paper} is a function; leave it out")
        raise CannotRun(
            f"{option} belongs to the audit of a function, and {options.paper} is a paper; expected a function first: "
            f"nlicl audit FILE.py:LOSS --gradient GRADIENT --at POINT"
        )


def _check_apart(options: argparse.Namespace, files: Mapping[str, Path | None]) -> None:
    """CannotRun if a report would be written over the other one, or over the code that is judged."""
    from ..core.files import plain_file

    given = {option: path for option, path in files.items() if path is not None}
    places = {option: os.path.realpath(path) for option, path in given.items() if plain_file(path.absolute())}
    if len(set(places.values())) < len(places):
        both = " and ".join(f"{option} {path}" for option, path in given.items())
        raise CannotRun(f"{both} name the same file; choose another for one of them")
    named = [getattr(options, name, None) for name in SOURCES]
    texts = [text for entry in named for text in (entry if isinstance(entry, list) else [entry])]
    sources = {f"{text.partition('.py')[0]}.py" for text in texts if isinstance(text, str) and ".py" in text}
    for option, place in places.items():
        for source in sources:
            if os.path.exists(place) and os.path.exists(source) and os.path.samefile(place, source):
                raise CannotRun(f"{option} {given[option]}: is the code that is judged; name another file")


def _audited(options: argparse.Namespace, subject: "Subject | None") -> "AuditReport":
    """The audit of a paper, of a subject of the reader's own, or of formulas held against either."""
    paper, colon, settings_of = options.paper.partition(":")
    if subject is None and colon and settings_of in load_paper(paper).problems:
        raise CannotRun(
            f"{options.paper}: a paper's formulas are judged at places of all sizes, not at named settings: nlicl audit "
            f"{paper}. At a place of your own, such as a trained one: nlicl audit FILE.py:LOSS --gradient GRADIENT --at POINT"
        )
    judged = subject or load_paper(options.paper).subject
    own = _own_formulas(options, judged)
    if options.formula and options.backend == "cuda":
        raise CannotRun(
            "--backend is whose gradients are the library's, and --formula judges yours; give one of the two"
        )
    draws = DRAWS if options.draws is None else options.draws
    settings = {"draws": draws, "seed": options.seed, "query_attends": options.query_attends, "mend": options.mend}
    with progress_bar() as bar:
        from ..audit import audit_formula, audit_paper
        from ..audit.process import find

        if own:
            reports = []
            for done, (text, wrt) in enumerate(own):
                formula = find({}, "--formula", text, "FILE.py:FUNCTION", "appendix.py:grad")
                bar(done, len(own), text)
                reports.append(audit_formula(formula, paper=judged, wrt=wrt, timeout=options.timeout, **settings))
            return functools.reduce(operator.add, reports)

        def progress(done: int, total: int, name: str) -> None:
            note = "  (the first run compiles the kernels: about a quarter of a minute)" if done == 0 else ""
            bar(done, total, name + note)

        backend = options.backend or "cpu"
        return audit_paper(judged, wrt=options.wrt, backend=backend, progress=progress, **settings)


def _own_formulas(options: argparse.Namespace, subject: "Subject") -> list[tuple[str, str]]:
    """What each --formula names, FILE.py:FUNCTION, and the parameter that it differentiates by."""
    given: list[str] = options.formula or []
    pairs = []
    for text in given:
        where, equals, name = text.rpartition("=")
        named = bool(equals) and not name.endswith(".py") and ":" not in name
        wrt = name if named else options.wrt
        if not wrt:
            known = ", ".join(subject.parameters)
            first = known.split(", ")[0]
            raise CannotRun(
                f"--formula needs --wrt NAME, the parameter it differentiates by, of {options.paper} one of {known}; for "
                f"example --wrt {first}, or --formula {where if named else text}={first}"
            )
        if named and options.wrt not in (None, name):
            raise CannotRun(f"--formula {text} is by {name}, and --wrt says {options.wrt}; leave one of them out")
        pairs.append((where if named else text, wrt))
    if len(set(pairs)) < len(pairs):
        raise CannotRun(f"--formula {next(text for text in given if given.count(text) > 1)} is given twice")
    return pairs


def _write(report: "AuditReport", files: Mapping[str, Path | None], piped: list[str], only_wrong: bool) -> None:
    """The table, then the mends, which are searched for now; then the files, and what stands on standard output instead."""
    from ..audit.report.mends import mends
    from ..audit.report.table import table

    if not piped:
        print(table(report, only_wrong=only_wrong))
    try:
        sys.stdout.flush()
        with progress_bar() as bar:
            report.search(bar)
    except BaseException:  # Ctrl-C above all: the verdict stands, and is written
        report.searches = [search for search in report.searches if search.done]
        _write_files(report, files, piped)
        raise
    found = mends(report)
    if found and not piped:
        print(f"\n{found}")
    _write_files(report, files, piped)


def _write_files(report: "AuditReport", files: Mapping[str, Path | None], piped: list[str]) -> None:
    """The files, one of them to standard output where that is asked for."""
    from ..audit.report.html import page
    from ..core.files import to_json

    if piped:
        print(to_json(report.to_dict()) if piped == ["--json"] else page(report), end="")
    for option, path in files.items():
        if path is not None and option not in piped:
            try:
                (report.to_json if option == "--json" else report.to_html)(path)
            except OSError as error:
                raise CannotRun(f"{option} {path}: {error.strerror or error}") from None
