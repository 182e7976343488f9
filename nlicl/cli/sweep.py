"""`nlicl sweep`: a grid of settings, each with many seeds; what is measured in every run; and the law that comes out."""

import argparse
import os
import textwrap
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.text import one_line
from .common import CannotRun, check_files, check_folder, folder_name, load_paper, meant, progress_bar, split_name
from .executors import add_executor_options, chosen_executor
from .over import cases, over
from .problems import chosen_problem

if TYPE_CHECKING:
    from ..experiments.sweeps.laws import PowerLaw, Theory
    from ..experiments.sweeps.table import Table

__all__ = ["add"]

_SHOWN = 5  # reasons that are printed
_NOT_OF_NAMED = ("over", "cases", "measure", "set", "steps")


def add(commands: Any) -> None:
    """The command's arguments."""
    sweep = commands.add_parser(
        "sweep",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="train over a grid of settings and over seeds; print a table, and exponents with intervals",
        description="Trains at every setting with every seed, and measures each run. --out DIR stores every run; "
        "DIR/table.csv has all of them.\nAfter an interruption, the same command makes the missing runs. "
        "nlicl sweep DIR shows the stored runs.",
        epilog=_EXAMPLES,
    )
    sweep.add_argument(
        "paper",
        metavar="PAPER[:NAME]|DIR",
        help="a paper with its default or named settings, a named sweep (nlicl papers PAPER), or a sweep's folder",
    )
    sweep.add_argument(
        "--over",
        action="append",
        metavar="NAME=VALUES",
        help="a field of the problem, or an argument of training: 1,2,3 or LOW:HIGH:COUNT or LOW:HIGH:COUNT:log",
    )
    sweep.add_argument(
        "--cases", type=Path, metavar="FILE.csv", help="a list of settings: a line of names, then one setting per line"
    )
    sweep.add_argument(
        "--measure",
        action="append",
        metavar="TEXT",
        help="'steps until NAME < X', 'NAME' (at the end), 'NAME at STEP', 'lowest NAME', 'NAME over K' (the mean of the "
        "last K); NAME is training_loss, or what a run measures",
    )
    sweep.add_argument("--set", action="append", metavar="KEY=VALUE", help="a setting of all runs, as in nlicl train")
    sweep.add_argument(
        "--steps", type=int, metavar="N", help="largest number of updates in a run (default: the problem's)"
    )
    sweep.add_argument("--seeds", type=int, metavar="N", help="seeds 0 .. N-1 (default 5)")
    add_executor_options(sweep)
    sweep.add_argument(
        "--out", type=folder_name, metavar="DIR", help="a folder for the sweep; made if it does not exist"
    )
    sweep.add_argument("--fit", choices=("power",), help="fit a power law in what is swept over")
    sweep.add_argument("--quick", action="store_true", help="a rough version of a named sweep")
    sweep.add_argument("--plan", action="store_true", help="count the runs without making them")
    sweep.add_argument("--json", type=Path, metavar="FILE", help="write settings and laws there; -: to standard output")
    sweep.set_defaults(run=run)


_EXAMPLES = """\
for example:
  nlicl sweep li2024 --over alpha=0.2:1:8 --over beta=1,2,3 --seeds 20 --measure "steps until hinge_unseen < 0.1" --out DIR
  nlicl sweep li2024:scaling-alpha --quick
  nlicl sweep DIR --fit power
"""


def run(options: argparse.Namespace) -> int:
    """Sweep, or show a sweep's folder. Returns 0 if every cell came to its end, otherwise 1."""
    if options.json is not None and options.json != Path("-"):
        check_files({"--json": options.json})
    folder = _folder(options)
    if folder is not None:
        return _show(options, folder)
    arguments, named, theory = _arguments(options)
    if options.out is not None:
        check_folder("--out", options.out)
    if options.plan and options.json is not None:
        raise CannotRun("--plan and --json: a plan has no results; expected one of the two")
    if options.plan:
        return _plan(options, arguments)
    from ..experiments.sweeps.run import sweep

    with progress_bar() as bar:
        executor = chosen_executor(options, bar)
        try:
            table = sweep(**arguments, **executor, out=options.out, progress=bar if bar.terminal else None)
        except OSError as error:
            if options.out is None:
                raise
            raise CannotRun(
                f"--out {options.out}: {error.strerror or error}; expected a folder that can be written"
            ) from None
        except KeyboardInterrupt as interruption:
            if options.out is not None:
                interruption.args = ("finished runs are stored; the same command continues",)
            raise
    fit = options.fit is not None or named is not None
    if options.json == Path("-"):
        laws = _laws(table, theory) if fit else {}
        return _json(options, table, laws)
    if named is not None:
        print(f"{one_line(named.title)}\n{one_line(named.claim)}\n")
    status = _report(options, table, theory if fit else None, options.out)
    if named is not None and named.notes:
        print("\nTo know:")
        for note in named.notes:
            print(
                textwrap.fill(one_line(note), 118, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
            )
    return status


def _folder(options: argparse.Namespace) -> Path | None:
    """The sweep's folder that is to be shown; None if the argument names a paper."""
    from ..core.registry import PAPERS
    from ..experiments.sweeps.store import is_store

    name, _ = split_name(options.paper) if options.paper.count(":") == 1 else (options.paper, None)
    path = Path(options.paper)
    if name in PAPERS.names() or not (os.path.isdir(path) or "/" in options.paper):
        return None
    if not is_store(path):
        raise CannotRun(f"{options.paper}: has no sweep; expected a paper, or a folder that `nlicl sweep --out` made")
    given = [
        name for name in (*_NOT_OF_NAMED, "seeds", "out", "quick", "plan", "jobs", "dask") if getattr(options, name)
    ]
    if given:
        raise CannotRun(
            f"--{given[0]} does not go with a sweep's folder, which is shown; to go on, give the paper and --out"
        )
    return path


def _arguments(options: argparse.Namespace) -> "tuple[dict[str, Any], Any, Mapping[str, Theory]]":
    """Arguments of `nlicl.sweep`, the sweep by name if it is one, and the theory's exponents."""
    from ..experiments.registry import sweeps
    from ..experiments.sweeps.run import SEEDS

    paper, which = split_name(options.paper)
    found = load_paper(paper)
    if options.seeds is not None and options.seeds < 1:
        raise CannotRun(f"--seeds {options.seeds}: expected a number of seeds, at least 1")
    known = sweeps(paper)
    if which is not None and which in known:
        named = known[which]
        given = [name for name in _NOT_OF_NAMED if getattr(options, name)]
        if given:
            raise CannotRun(
                f"--{given[0]} does not go with {options.paper}, whose settings are its own; say {paper} instead"
            )
        arguments = named.arguments(options.quick)
        if options.seeds is not None:
            arguments["seeds"] = options.seeds
        return arguments, named, named.theory
    if which is not None and which not in found.problems:
        raise CannotRun(
            f"{options.paper}: {paper} has no sweep and no settings {which!r}"
            f"{meant(which, [*known, *found.problems], {})}; it has the sweeps "
            f"{', '.join(known) or 'none'}, and the settings {', '.join(found.problems)}"
        )
    if options.quick:
        raise CannotRun(f"--quick belongs to a sweep by name; {paper} has {', '.join(known) or 'none'}")
    if not options.measure:
        raise CannotRun("--measure is missing; expected for example --measure 'steps until training_loss < 0.1'")
    if bool(options.over) == (options.cases is not None):
        raise CannotRun("expected --over NAME=VALUES, once or more, or --cases FILE.csv")
    problem, training = chosen_problem(options.paper, options.set, options.steps)
    if options.steps is not None:
        training["steps"] = options.steps
    arguments = {
        "problem": problem,
        "over": cases(options.cases) if options.cases is not None else _over(options, problem, found.notation),
        "seeds": SEEDS if options.seeds is None else options.seeds,
        "measure": options.measure,
        "training": training,
    }
    if options.fit:
        _check_fit(arguments["over"])
    return arguments, None, _theory(type(problem), known) if all(map(_is_of_steps, options.measure)) else {}


def _check_fit(over: Any) -> None:
    """CannotRun unless everything that is swept over is a number greater than 0, of at least two values."""
    columns = over if isinstance(over, Mapping) else {name: [case.get(name) for case in over] for name in over[0]}
    for name, values in columns.items():
        for value in values:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise CannotRun(f"--fit power: {name} is swept over {value!r}; expected numbers greater than 0")
        if len(set(values)) < 2:
            raise CannotRun(f"--fit power: {name} has one value; expected at least two, or --set {name}={values[0]!r}")


def _is_of_steps(measure: Any) -> bool:
    """Whether a measure is a number of steps, as the theory's exponents are."""
    return isinstance(measure, str) and measure.startswith("steps until")


def _over(options: argparse.Namespace, problem: Any, notation: Mapping[str, str]) -> dict[str, list[Any]]:
    from ..experiments.sweeps.grid import TRAINING
    from ..experiments.sweeps.measures import bounds, measures_of

    own = [each.name for each in fields(problem) if each.init]
    known = [*own, *(name for name in TRAINING if name not in own), *bounds(measures_of(options.measure))]
    return over(options.over, problem, notation, known)


def _theory(kind: type, known: Mapping[str, Any]) -> "dict[str, Theory]":
    """Exponents of the paper's own sweeps of such problems, where they do not differ."""
    found: dict[str, Theory] = {}
    differing = set()
    for named in known.values():
        for name, theory in named.theory.items():
            if type(named.problem) is kind and found.setdefault(name, theory) != theory:
                differing.add(name)
    return {name: theory for name, theory in found.items() if name not in differing}


def _plan(options: argparse.Namespace, arguments: Mapping[str, Any]) -> int:
    from ..experiments.sweeps.run import planned

    plan = planned(**arguments, out=options.out)
    todo = plan.count()
    grid = plan.grid
    print(f"{len(grid)} runs: {grid.settings} settings of {', '.join(grid.names)}, seeds: {len(grid.seeds)}")
    print(f"{len(plan.grid) - todo} are done, {todo} are to be made")
    return 0


def _show(options: argparse.Namespace, folder: Path) -> int:
    """The table of a folder, printed and written anew."""
    from ..core.errors import InvalidValue
    from ..experiments.registry import sweeps
    from ..experiments.sweeps.run import write_table
    from ..experiments.sweeps.store import Store

    store = Store.shown(folder)
    try:
        table = write_table(store)
    except OSError as error:
        raise CannotRun(f"{folder}: {error.strerror or error}; expected a folder that can be written") from None
    theory: dict[str, Theory] = {}
    from ..core.registry import PAPERS

    for paper in PAPERS:
        kind = paper.kind(store.about["problem"]["type"])
        if kind is not None and all(map(_is_of_steps, store.about["measures"].values())):
            try:
                theory |= _theory(kind, sweeps(paper.name))
            except InvalidValue:  # somebody else's paper, whose sweeps cannot be had
                continue
    if options.json == Path("-"):
        return _json(options, table, _laws(table, theory) if options.fit else {})
    return _report(options, table, theory if options.fit else None, folder)


def _report(
    options: argparse.Namespace, table: "Table", theory: "Mapping[str, Theory] | None", folder: Path | None
) -> int:
    """Print a table, what went wrong in it, and its laws; write what belongs into the folder."""
    from ..experiments.sweeps.run import TABLE

    print(f"{len(table)} runs; median over seeds (least to largest)")
    for line in table.lines():
        print(line)
    lacking = table.lacking
    if lacking:
        print(f"\n{len(lacking)} of {len(table)} runs did not come to their end:")
        for each in lacking[:_SHOWN]:
            over = ", ".join(f"{name} = {each.over[name]}" for name in table.names)
            print(f"  {one_line(f'{each.state}: {over}, seed {each.seed}: {each.reason}')}")
        if len(lacking) > _SHOWN:
            print(f"  ... and {len(lacking) - _SHOWN} more; the table has all.")
    if folder is not None:
        print(f"\n{folder / TABLE}", flush=True)
    laws = {} if theory is None else _laws(table, theory)
    for name, law in laws.items():
        print(f"\n{name}:\n{law}")
    for path in [] if folder is None else _drawn(folder, table, laws):
        print(path)
    if options.json is not None:
        return _json(options, table, laws)
    return 0 if table.ok else 1


def _laws(table: "Table", theory: "Mapping[str, Theory]") -> "dict[str, PowerLaw]":
    """The law of every measure."""
    known = {name: theory[name] for name in table.names if name in theory}
    return {name: table.fit(name, theory=known) for name in table.measures}


def _drawn(folder: Path, table: "Table", laws: "Mapping[str, PowerLaw]") -> list[Path]:
    """The laws as pictures in the folder, where matplotlib is installed."""
    from importlib.util import find_spec

    if not laws or find_spec("matplotlib") is None:
        return []
    from ..core.files import write_whole
    from ..experiments.style import render

    written = []
    for number, (name, law) in enumerate(laws.items(), 1):
        for kind in ("png", "pdf"):
            path = folder / f"law{'' if len(laws) == 1 else f'-{number}'}.{kind}"
            write_whole(path, render(partial(table.draw, name), law, kind))
            written.append(path)
    return written


def _json(options: argparse.Namespace, table: "Table", laws: "Mapping[str, PowerLaw]") -> int:
    from ..core.files import to_json, write_whole

    text = to_json({**table.to_dict(), "laws": {name: law.to_dict() for name, law in laws.items()}})
    if options.json == Path("-"):
        print(text, end="")
    else:
        try:
            write_whole(options.json, text)
        except OSError as error:
            raise CannotRun(f"--json {options.json}: {error.strerror or error}") from None
    return 0 if table.ok else 1
