"""`nlicl reproduce` and `nlicl theorem`: figures and theorems of a paper as experiments over seeds."""

import argparse
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..core.text import one_line
from .common import (
    CannotRun,
    check_files,
    check_folder,
    examples,
    folder_name,
    load_paper,
    meant,
    needs,
    progress_bar,
    settings,
    split_name,
)
from .executors import add_executor_options, chosen_executor, count

if TYPE_CHECKING:
    from ..experiments.claims import Claim
    from ..experiments.experiment import Experiment
    from ..experiments.figure import Figure

__all__ = ["add"]

SEEDS, QUICK_SEEDS = 10, 3
WORKER = 150 * 2**20  # bytes that a process holds [measured]
MOST_SEEDS = 100_000


def add(commands: Any) -> None:
    """The commands' arguments."""
    reproduce = commands.add_parser(
        "reproduce",
        help="reproduce a paper's figures, draw them beside its curves, and check their claims",
        description="Trains, measures and draws. Each figure gives a picture, its data as CSV and JSON, and its claims with "
        "the measurements. Exit status 1 if a claim does not hold.",
        **examples(
            ("nlicl reproduce li2024", "all figures, ten minutes on two cores"),
            ("nlicl reproduce li2024 --quick", "roughly, in two"),
            ("nlicl reproduce li2024:fig2b li2024:fig4a --seeds 3", "two figures, three seeds"),
            ("nlicl reproduce huang2023:phases --format pdf --out figures", "for print"),
        ),
    )
    reproduce.add_argument(
        "paper", nargs="+", metavar="PAPER[:FIGURE]", help="for example li2024, or huang2023:phases; several of them"
    )
    reproduce.add_argument(
        "--out",
        type=folder_name,
        default=Path("reproduced"),
        metavar="DIR",
        help="folder for the results (default %(default)s); made if it does not exist",
    )
    reproduce.add_argument(
        "--format",
        metavar="KIND[,KIND]",
        help="format of the pictures: png, pdf or svg (default png, if matplotlib is installed)",
    )
    reproduce.add_argument("--set", action="append", metavar="KEY=VALUE", help="a setting of that figure")
    _shared(reproduce)
    reproduce.set_defaults(run=run_figures)

    theorem = commands.add_parser(
        "theorem",
        help="test a paper's theorems: condition, prediction, measurement, verdict",
        description="Exit status 1 if a claim does not hold. Settings under which a theorem promises nothing are refused.",
        **examples(
            ("nlicl theorem li2024", "all of them"),
            ("nlicl theorem li2024:3.4 --set S_1=1.3 --quick", "one, at another setting"),
            ("nlicl theorem huang2023 --json theorems.json", "as data as well"),
        ),
    )
    theorem.add_argument(
        "paper", nargs="+", metavar="PAPER[:NUMBER]", help="for example li2024:3.4, or huang2023; several of them"
    )
    theorem.add_argument("--set", action="append", metavar="KEY=VALUE", help="a setting of that theorem")
    theorem.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the results there as well; -: to standard output, without the reports",
    )
    _shared(theorem)
    theorem.set_defaults(run=run_theorems)


def _shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seeds", type=count(MOST_SEEDS), metavar="N", help=f"seeds 0 .. N-1 (default {SEEDS}; quick: {QUICK_SEEDS})"
    )
    add_executor_options(parser, "one a core")
    parser.add_argument("--quick", action="store_true", help="a rough version of everything")


Chosen: TypeAlias = "dict[str, dict[str, Experiment]]"


def _chosen(
    options: argparse.Namespace,
    table: Callable[[str], "Mapping[str, Experiment]"],
    given: Mapping[str, Any],
) -> Chosen:
    """What each PAPER[:NAME] asks for, in their order and once each: by the paper's name, and by its own."""
    found: Chosen = {}
    what = "figure" if options.command == "reproduce" else "theorem"
    for text in options.paper:
        paper, name = split_name(text)
        notation = load_paper(paper).notation
        known = table(paper)
        if not known:
            raise CannotRun(f"{paper} has no {what}s; nlicl papers {paper} lists what it has")
        if name is not None and name not in known:
            raise CannotRun(f"{text}: {paper} has no {name!r}{meant(name, known, {})}; it has {', '.join(known)}")
        if given and (name is None or len(options.paper) > 1):
            raise CannotRun(f"--set belongs to one {what}: say which, for example {paper}:{name or next(iter(known))}")
        of_paper = found.setdefault(paper, {})
        of_paper.update(known if name is None else {name: known[name]})
        for key in given:
            there = known[str(name)].options
            if key not in there:
                raise CannotRun(
                    f"{name} has no setting {key!r}{meant(key, there, notation)}; it has {', '.join(there) or 'none'}"
                )
    return found


def _execute(
    options: argparse.Namespace, chosen: "list[Experiment]", given: Mapping[str, Any]
) -> Iterator[tuple[Any, Any]]:
    """(experiment, result) of what was chosen of a paper, one by one."""
    from ..core.memory import check_memory, fitting_processes
    from ..experiments.experiment import execute

    for experiment in chosen:
        for module, extra in experiment.needs:
            needs(module, extra)
    seeds = range(options.seeds or (QUICK_SEEDS if options.quick else SEEDS))
    with progress_bar() as bar:
        who = chosen_executor(options, bar)
        if who["executor"] is None:
            jobs = who["jobs"] or min(len(seeds), os.cpu_count() or 1, fitting_processes(WORKER))
            if options.jobs is not None:
                check_memory(
                    f"--jobs is {jobs}: a process holds some {WORKER >> 20} MiB",
                    WORKER * min(jobs, len(seeds)),
                    "Give fewer.",
                )
            who["jobs"] = jobs
        for found in execute(chosen, list(seeds), options=given, quick=options.quick, progress=bar, **who):
            bar.clear()
            yield found


def run_figures(options: argparse.Namespace) -> int:
    """Compute, draw and write figures, and print their claims. Returns 0 if every claim holds, otherwise 1."""
    from ..experiments.registry import figures as known_figures

    given = settings(options.set)
    chosen = _chosen(options, known_figures, given)
    kinds = _kinds(options.format)
    check_folder("--out", options.out)
    figures: list[Figure] = []
    for name, recipes in chosen.items():
        of_paper: list[Figure] = []
        for recipe, figure in _execute(options, list(recipes.values()), given):
            of_paper.append(figure)
            files = _written(options, name, recipe, of_paper, kinds)
            print(f"{figure.name}: {one_line(figure.title)}", flush=True)
            print_claims(figure.claims)
            for note in figure.notes:
                print(f"  note   {one_line(note)}")
            print(f"  files  {', '.join(map(str, files))}\n", flush=True)
        figures += of_paper
    claims = [claim for figure in figures for claim in figure.claims]
    ok = all(claim.holds for claim in claims)
    print(f"All {len(claims)} claims hold." if ok else not_every(claims))
    pages = [str(options.out / f"{name}.md") for name, recipes in chosen.items() if len(recipes) > 1]
    if pages:
        print(f"All of it on a page: {', '.join(pages)}")
    if not kinds:
        print(
            "No pictures were drawn: matplotlib is not installed. pip install '.[plot]' in a clone, or matplotlib itself."
        )
    return 0 if ok else 1


def _kinds(text: str | None) -> list[str]:
    """The kinds of pictures that are asked for; none where matplotlib is not installed and nobody asks."""
    if text is None:
        return ["png"] if importlib.util.find_spec("matplotlib") else []
    kinds = text.split(",")
    if not set(kinds) <= {"png", "pdf", "svg"}:
        raise CannotRun(f"--format {text}: expected png, pdf or svg, several of them separated by commas")
    needs("matplotlib", "plot")
    return list(dict.fromkeys(["png", *kinds]))


def _written(
    options: argparse.Namespace, name: str, recipe: Any, figures: "list[Figure]", kinds: list[str]
) -> list[Path]:
    """Write the last of a paper's figures, and the page of all so far if there are several. The files of the last."""
    from ..core.files import write_whole
    from ..experiments.page import page

    try:
        options.out.mkdir(parents=True, exist_ok=True)
        files = figures[-1].write(options.out, recipe.draw, kinds)
        if len(figures) > 1:
            write_whole(
                options.out / f"{name}.md",
                page(name, load_paper(name).title, figures, options.quick, pictures=bool(kinds)),
            )
    except OSError as error:
        raise CannotRun(
            f"--out {options.out}: {error.strerror or error}; expected a folder that can be written"
        ) from None
    return files


def run_theorems(options: argparse.Namespace) -> int:
    """Test theorems, and print their reports. Returns 0 if every claim holds, otherwise 1."""
    from ..core.files import to_json, write_whole
    from ..experiments.registry import theorems as known_theorems
    from ..experiments.theorem import report

    given = settings(options.set)
    chosen = _chosen(options, known_theorems, given)
    piped = options.json == Path("-")  # to standard output, without the reports
    if not piped:
        check_files({"--json": options.json})
    results = []
    for experiments in chosen.values():
        for _, theorem in _execute(options, list(experiments.values()), given):
            results.append(theorem)
            if not piped:
                print(report(theorem) + "\n", flush=True)
            if options.json is not None and not piped:
                try:
                    write_whole(options.json, to_json([result.to_dict() for result in results]))
                except OSError as error:
                    raise CannotRun(f"--json {options.json}: {error.strerror or error}") from None
    ok = all(theorem.ok for theorem in results)
    if piped:
        print(to_json([result.to_dict() for result in results]), end="")
        return 0 if ok else 1
    print("Every claim holds." if ok else not_every([claim for theorem in results for claim in theorem.claims]))
    return 0 if ok else 1


def print_claims(claims: "Iterable[Claim]") -> None:
    """Claims as lines: verdict, claim, what was expected, what was measured."""
    for claim in claims:
        print(f"  {claim.verdict:5}  {one_line(claim.claim)}")
        print(f"         {one_line(f'expected {claim.expected}; measured {claim.measured}')}")


def not_every(claims: "Iterable[Claim]") -> str:
    """What is said at the end where a claim does not hold: which verdicts to look for."""
    verdicts = {claim.holds for claim in claims}
    seen = " and ".join(word for state, word in ((False, "FAILS"), (None, "? (undetermined)")) if state in verdicts)
    return f"Not every claim holds: see {seen} above."
