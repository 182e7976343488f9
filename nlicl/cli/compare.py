"""`nlicl compare`: stored results beside the papers' own figures, on a page."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import CannotRun, check_files, check_folder, examples, folder_name

if TYPE_CHECKING:
    from ..experiments.figure import Figure

__all__ = ["add"]


def add(commands: Any) -> None:
    """The command's arguments."""
    compare = commands.add_parser(
        "compare",
        help="write a page that compares stored figures with the papers' own",
        description="Reads every PAPER-FIGURE.json in the folders, and writes a page of Markdown: what is known of each "
        "paper's figure, what was run, how far the two are apart, and what is not known. Exit status 1 if a claim about a "
        "paper's figure or text does not hold.",
        **examples(
            ("nlicl compare reproduced", "what nlicl reproduce has written"),
            ("nlicl compare reproduced --out close.md --keep results", "write to a file, and store the numbers"),
        ),
    )
    compare.add_argument(
        "folders", nargs="+", type=folder_name, metavar="DIR", help="a folder that nlicl reproduce --out has written"
    )
    compare.add_argument("--out", type=Path, metavar="FILE", help="write the page there (default: standard output)")
    compare.add_argument(
        "--keep",
        type=folder_name,
        metavar="DIR",
        help="also write each result there without its curves, in a few kilobytes; this page needs no more",
    )
    compare.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read results, and write the page. Returns 0 if every claim about a paper's figure or text holds, otherwise 1."""
    from ..core.files import to_json, write_whole
    from ..experiments.distance import distances, of_the_paper
    from ..experiments.stored import figure_of, without_curves

    check_files({"--out": options.out})
    if options.keep is not None:
        check_folder("--keep", options.keep)
    stored = [result for folder in options.folders for result in _results(folder)]
    figures: list[Figure] = [figure_of(data) for data in stored]
    page = distances(figures)
    if options.keep is not None:
        try:
            options.keep.mkdir(parents=True, exist_ok=True)
            for data in stored:
                write_whole(options.keep / f"{data['figure']}.json", to_json(without_curves(data)))
        except OSError as error:
            raise CannotRun(f"--keep {options.keep}: {error.strerror or error}") from None
    claims = [claim for figure in figures for claim in of_the_paper(figure)]
    held = sum(claim.holds is True for claim in claims)
    if options.out is None:
        print(page, end="")
    else:
        try:
            write_whole(options.out, page)
        except OSError as error:
            raise CannotRun(f"--out {options.out}: {error.strerror or error}") from None
        count = f"{len(figures)} figure{'s' * (len(figures) != 1)}"
        print(f"{options.out}: {count}; {held} of {len(claims)} claims about the papers' own figures and texts hold.")
    return 0 if held == len(claims) else 1


def _results(folder: Path) -> list[dict[str, Any]]:
    """The results in a folder, in the order of their names; CannotRun if there is none."""
    from ..experiments.stored import read

    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except OSError as error:
        raise CannotRun(f"{folder}: {error.strerror or error}; expected a folder with results") from None
    if not files:
        raise CannotRun(f"{folder}: holds no results (*.json); make some by nlicl reproduce PAPER --out {folder}")
    return [read(path) for path in files]
