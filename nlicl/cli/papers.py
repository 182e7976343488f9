"""`nlicl papers`: what there is of each paper, and where each of its settings comes from."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core.text import one_line
from .common import CannotRun, check_files, examples, load_paper, meant, split_name
from .lines import line
from .outcome import outcome

__all__ = ["add"]

NO_SETTINGS = "no settings() of its own"
OTHER_MARK = "no mark of nlicl's: ask the paper's package"


def add(commands: Any) -> None:
    """The command's arguments."""
    papers = commands.add_parser(
        "papers",
        help="the papers, their formulas with sources and known errors, figures, theorems, sweeps and settings",
        description="Lists all papers. PAPER: this one only. PAPER:SETTINGS: every value of these settings, with a mark for "
        "its source.",
        **examples(
            ("nlicl papers", "all of them"),
            ("nlicl papers li2024", "one: formulas, figures, theorems, sweeps"),
            ("nlicl papers bu2024:reference", "each value of these settings with its source"),
        ),
    )
    papers.add_argument("paper", nargs="?", metavar="PAPER[:SETTINGS]", help="for example li2024, or bu2024:reference")
    papers.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write all of it there as well; -: to standard output, without the text",
    )
    papers.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List papers. Returns 0, or 2 where a paper of somebody else's cannot be loaded: the others are listed."""
    from ..core.files import to_json, write_whole
    from ..papers.provenance import MEANINGS

    piped = options.json == Path("-")
    if not piped:
        check_files({"--json": options.json})
    status, found = 0, {}
    for name, about in _chosen(options.paper):
        if isinstance(about, str):
            status = 2
            print(f"nlicl: {line(about, ())}", file=sys.stderr)
            continue
        found[name] = about
        if not piped:
            _, which = split_name(options.paper or name)
            lines = _settings(name, which, about) if which else _about(name, about)
            print("\n".join(map(one_line, lines)))
    if options.json is not None:
        text = to_json({"marks": MEANINGS, "papers": found})
        if piped:
            print(text, end="")
        else:
            try:
                write_whole(options.json, text)
            except OSError as error:
                raise CannotRun(f"--json {options.json}: {error.strerror or error}") from None
    return status


def _chosen(asked: str | None) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """(name, what there is of it) of the papers asked for; of all of them, why one cannot be loaded."""
    from ..papers import names

    if asked is not None:
        name, which = split_name(asked)
        yield name, _collected(name, which)
        return
    for name in names():
        try:
            about: dict[str, Any] | str = _collected(name, None)
        except BaseException as error:  # somebody else's paper that cannot be loaded hides no other
            ours = isinstance(error, (KeyboardInterrupt, MemoryError))
            found = None if ours else outcome(error)
            if found is None:
                raise
            about = found[1]
        yield name, about


def _collected(name: str, which: str | None) -> dict[str, Any]:
    """What there is of a paper, as the JSON has it; with `which` these settings alone."""
    from ..experiments.registry import figures, sweeps, theorems

    paper = load_paper(name)
    if which is not None and which not in paper.problems:
        raise CannotRun(
            f"{name} has no settings {which!r}{meant(which, paper.problems, {})}; it has {', '.join(paper.problems)}"
        )
    formulas = [
        {key: getattr(formula, key) for key in ("name", "wrt", "expected", "equation", "source", "domain", "erratum")}
        for formula in paper.formulas.values()
    ]
    return {
        "title": paper.title,
        "formulas": formulas,
        "figures": [
            {"name": recipe.name, "title": recipe.title, "original": _original(recipe.original)}
            for recipe in figures(name).values()
        ],
        "theorems": [{"name": theorem.name, "title": theorem.title} for theorem in theorems(name).values()],
        "sweeps": [
            {
                "name": sweep.name,
                "title": sweep.title,
                "claim": sweep.claim,
                "theory": {key: asdict(theory) for key, theory in sweep.theory.items()},
            }
            for sweep in sweeps(name).values()
        ],
        "problems": {
            each: {"type": type(problem).__name__, "settings": _marked(f"{name}:{each}", problem)}
            for each, problem in paper.problems.items()
            if which in (None, each)
        },
    }


def _original(original: Any) -> dict[str, str] | None:
    """The paper's figure beside ours, and what is known of it."""
    return None if original is None else asdict(original)


def _marked(where: str, problem: Any) -> dict[str, list[Any]] | None:
    """name -> [value, mark] as `problem.settings()` says; None if the problem, of another package, has no such method."""
    from ..core.describe import short
    from ..core.files import to_json
    from ..training.problem import extra

    if not callable(extra(problem, "settings")):
        return None
    found = problem.settings()
    marked = {}
    for key, pair in found.items() if isinstance(found, Mapping) else [("", found)]:
        if (
            not isinstance(key, str)
            or not isinstance(pair, (list, tuple))
            or len(pair) != 2
            or not isinstance(pair[1], str)
        ):
            raise CannotRun(f"settings() of {where} returns {short(found)}; expected a dict of name to [value, mark]")
        value, mark = pair
        try:
            to_json(value), str(value)
        except (TypeError, ValueError, RecursionError):  # a value that has no form in JSON, or none in text
            value = short(value)
        marked[key] = [value, mark]
    return marked


def _about(name: str, about: Mapping[str, Any]) -> Iterator[str]:
    """A paper as lines."""
    yield f"{name}: {about['title']}"
    for formula in about["formulas"]:
        yield ""
        yield f"  {formula['name']:12} d loss / d {formula['wrt']}, expected to {formula['expected']}"
        yield f"               {formula['equation']}"
        domain = f"; defined for {formula['domain']}" if formula["domain"] else ""
        yield f"               {formula['source']}{domain}"
        if formula["erratum"]:
            yield f"               erratum: {formula['erratum']}"
    yield ""
    yield f"  Audit them: nlicl audit {name}"
    for what, verb in (("figures", "reproduce"), ("theorems", "theorem"), ("sweeps", "sweep")):
        if about[what]:
            all_of_them = f", all by nlicl {verb} {name}" if what != "sweeps" else ", a rough version with --quick"
            yield ""
            yield f"  {what.capitalize()}, by nlicl {verb} {name}:NAME{all_of_them}"
        width = _width(entry["name"] for entry in about[what])
        for entry in about[what]:
            original = entry.get("original")
            yield f"    {entry['name']:{width}} {entry['title']}" + (f"; beside {original['name']}" if original else "")
    problems = about["problems"]
    usual = next(iter(problems.values()))["type"]
    articles = {each["type"]: "an" if each["type"][0] in "AEIOU" else "a" for each in problems.values()}
    kinds = (
        which if (kind := each["type"]) == usual else f"{which} ({articles[kind]} {kind})"
        for which, each in problems.items()
    )
    yield ""
    yield f"  Settings, by nlicl train {name}:NAME: {', '.join(kinds)}"
    width = _width(problems)
    for which, problem in problems.items():
        yield f"    {which:{width}} {_counted(problem['settings'])}"
    yield f"  Their values, and what the marks mean: nlicl papers {name}:NAME"


def _width(names: Iterable[str]) -> int:
    """Of the column in which these names stand: 12, or as wide as the longest of usual length."""
    return max([12, *(len(name) for name in names if len(name) < 40)])


def _counted(settings: Mapping[str, list[Any]] | None) -> str:
    """How many settings have which mark."""
    if settings is None:
        return NO_SETTINGS
    counts = Counter(mark for _, mark in settings.values())
    return ", ".join(f"{counts[mark]} [{mark}]" for mark in _ordered(counts)) or "none"


def _settings(name: str, which: str, about: Mapping[str, Any]) -> Iterator[str]:
    """The settings of one problem as lines, and a legend of their marks."""
    from ..papers.provenance import MEANINGS

    problem = about["problems"][which]
    settings = problem["settings"]
    yield f"{name}:{which}, {problem['type']}: {about['title']}"
    yield ""
    if settings is None:
        yield f"  It has {NO_SETTINGS}: where its values come from is not said."
        return
    rows = [(key, str(value), f"[{mark}]") for key, (value, mark) in settings.items()]
    widths = [max((len(row[i]) for row in rows if len(row[i]) < 40), default=0) for i in range(2)]
    for key, value, mark in rows:
        yield f"  {key:{widths[0]}}  {value:{widths[1]}}  {mark}"
    yield ""
    marks = _ordered({mark for _, mark in settings.values()})
    width = max(map(len, marks), default=0) + 2
    for mark in marks:
        yield f"  {f'[{mark}]':{width}}  {MEANINGS.get(mark, OTHER_MARK)}"


def _ordered(marks: Iterable[str]) -> list[str]:
    """Marks in the order in which they are defined, then those of others."""
    from ..papers.provenance import MEANINGS

    there = set(marks)
    return [mark for mark in MEANINGS if mark in there] + sorted(there - set(MEANINGS))
