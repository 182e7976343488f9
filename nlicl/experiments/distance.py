"""The page "How close are we?": each figure of a paper, what is known of it, and how far our stored result is from it."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..core.describe import short
from ..core.errors import InvalidValue
from ..core.files import plain
from ..core.registry import PAPERS
from ..core.text import one_line
from ..papers import load
from ..papers.provenance import MEANINGS
from .claims import ABOUT, Claim
from .figure import Figure, Original, Recipe
from .page import legend, row, verdict
from .registry import figures as recipes_of
from .series import Comparison

__all__ = ["distances", "of_the_paper"]

_INTRODUCTION = """\
# How close are we?

For each figure of each paper: what is known of it, what we ran, how far the two are apart, and what is not known.
`nlicl compare` made this page from the results that `nlicl reproduce` stored. No result on it is typed by hand.

**How to read the numbers.** Where points of the paper's curve are known, the *factor* at a point is the larger of
ours / theirs and theirs / ours: 1 where the two are equal, 2 where one is twice the other, infinite where one of them is 0.
Ours is the mean over seeds. Claims about the paper's figure stand beside the factors, or alone where no point is known. They
are about an *order* (which curve lies above which), about *phases* (what happens, and what happens first), or about a *value*
(a number that the paper states, or that something is small or large). The bounds in them are ours unless a mark says
otherwise. A claim holds, fails, or is undetermined (?).

**A factor is not an error bar.** The settings of a published figure are known in part only, and its axis may count something
else than ours: epochs of unknown length, not steps. The column *unknown* says what was taken in their place. A factor near 1
may be luck with these choices, and a large one may come from them alone. Marks in brackets say where a statement or a value
comes from; they are explained at the end."""


def distances(figures: Iterable[Figure]) -> str:
    """The page, from results of `nlicl reproduce`.

    Parameters
    ----------
    figures : list of Figure
        In any order, of any papers. What is known of a paper's figure is taken from the recipe, as it stands today.

    Returns
    -------
    str
        Markdown. The library's own papers are on it with or without results, others with results only.

    Raises
    ------
    ValueError
        A figure that no paper has, or that is there twice.
    """
    found: dict[str, Figure] = {}
    for figure in figures:
        if figure.name in found:
            raise InvalidValue(f"{short(figure.name)} is there twice; expected one result of each figure.")
        found[figure.name] = figure
    parts = [_INTRODUCTION, ""]
    for paper in _papers(found):
        recipes = list(recipes_of(paper).values())
        parts += _of_paper(
            paper, recipes, {recipe.name: found.pop(f"{paper}-{recipe.name}", None) for recipe in recipes}
        )
    if found:
        raise InvalidValue(
            f"{short(next(iter(found)))} is a figure of no paper; nlicl papers lists the figures there are."
        )
    marks = legend("\n".join(parts))
    return "\n".join([*parts, "## Marks", "", *marks, ""])


def of_the_paper(figure: Figure) -> list[Claim]:
    """The claims of a figure that test the paper's own figure or text."""
    return [claim for claim in figure.claims if claim.about]


def _papers(found: Mapping[str, Figure]) -> list[str]:
    """The library's papers, and others that a result may be of. Those of other packages are loaded in this case only."""
    own = PAPERS.own()
    return [name for name in PAPERS.names() if name in own or any(figure.startswith(f"{name}-") for figure in found)]


def _of_paper(paper: str, recipes: Sequence[Recipe], results: Mapping[str, Figure | None]) -> Iterator[str]:
    """A paper's lines: the table, what is ours alone, the numbers of each figure."""
    if not recipes:
        return
    beside = [(recipe, recipe.original) for recipe in recipes if recipe.original is not None]
    yield from (f"## {paper}", "", one_line(f"{load(paper).title}."), "")
    if beside:
        yield row("the paper's figure", "what is known of it", "what we ran", "how far apart", "unknown")
        yield "|---|---|---|---|---|"
        first: dict[str, str] = {}  # long text -> the figure where it stood first
        for recipe, original in beside:
            said = [
                text if (where := first.setdefault(text, recipe.name)) == recipe.name else f"as for `{paper}:{where}`"
                for text in (original.known, original.unknown)
            ]
            yield _summary(paper, recipe, replace(original, known=said[0], unknown=said[1]), results[recipe.name])
        yield ""
    alone = [f"`{recipe.name}`" for recipe in recipes if recipe.original is None]
    if alone:
        yield from (one_line(f"Figures of ours that stand beside none of the paper's: {', '.join(alone)}."), "")
    for recipe in recipes:
        result = results[recipe.name]
        if result is not None and (recipe.original is not None or of_the_paper(result)):
            yield from _details(recipe, result)


def _summary(paper: str, recipe: Recipe, original: Original, result: Figure | None) -> str:
    """A figure's row in its paper's table."""
    name = f"`{paper}:{recipe.name}`"
    if result is None:
        return row(f"{original.name}, {name}", original.known, "not run", "-", original.unknown)
    linked = f"{original.name}, [{name}](#{_anchor(result)})"
    return row(linked, original.known, _ran(result), _apart(result), original.unknown)


def _anchor(result: Figure) -> str:
    """What a link to a figure's heading ends with."""
    return result.name.lower().replace(".", "")


def _ran(result: Figure) -> str:
    """Seeds, what was asked for, and how many settings come from where."""
    seeds = list(result.seeds)
    whole = len(seeds) > 2 and seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    named = f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))
    asked = [f"{name} = {plain(value)}" for name, value in result.options.items() if name != "quick"]
    counts = Counter(_family(mark) for _, mark in result.settings.values())
    parts = [
        "a quick run" if result.options.get("quick") else "",
        f"seed{'s' * (len(seeds) != 1)} {named}",
        f"asked for: {', '.join(asked)}" if asked else "",
        "settings: " + (", ".join(f"{counts[mark]} [{mark}]" for mark in _ordered(counts)) or "none"),
    ]
    return "; ".join(filter(None, parts))


def _apart(result: Figure) -> str:
    """The factor between the curves, and what became of the claims about the paper's figure."""
    parts = []
    claims = of_the_paper(result)
    if result.comparisons:
        parts.append(_factors(result.comparisons))
    elif claims:
        parts.append("no factor: no curve of it can be compared point by point")
    for about in ABOUT:
        those = [claim for claim in claims if claim.about == about]
        if those:
            fail = [f"{verdict(claim)}: {claim.claim}: {claim.measured}" for claim in those if not claim.holds]
            text = f"{about}: {sum(claim.holds is True for claim in those)} of {len(those)} claims hold"
            parts.append("; ".join([text, *fail]))
    return ". ".join(parts) or "nothing of it that could be compared"


def _factors(comparisons: Sequence[Comparison]) -> str:
    """The factors of a figure at all points of all curves, in a sentence."""
    points = [(factor, x, one.series) for one in comparisons for x, factor in one.points]
    finite = [point for point in points if np.isfinite(point[0])]
    texts = [f"factor: median {_number(float(np.median([factor for factor, *_ in points])))}"]
    if finite:
        factor, x, series = max(finite)
        texts.append(f"largest {_number(factor)} ({series}, at {x:g})")
    if len(finite) < len(points):
        texts.append(f"infinite at {len(points) - len(finite)} of {len(points)} points")
    return ", ".join(texts)


def _details(recipe: Recipe, result: Figure) -> Iterator[str]:
    """The numbers of one figure: claims about the paper's, factors, settings."""
    beside = "A figure of ours, with claims about the paper's text"
    if recipe.original is not None:
        beside = f"Beside {recipe.original.name}"
    yield from (one_line(f"### {result.name}"), "", one_line(f"{beside}: {recipe.title}."), "")
    claims = of_the_paper(result)
    if claims:
        yield row("", "about", "claim", "expected", "measured")
        yield "|---|---|---|---|---|"
        yield from (row(verdict(c), c.about, c.claim, c.expected, c.measured) for c in claims)
        yield ""
    if result.comparisons:
        yield row("our curve", "the paper's", "points", "median factor", "largest", "at", "ours", "the paper's")
        yield "|---|---|---|---|---|---|---|---|"
        for c in result.comparisons:
            numbers = (c.median, c.factor, c.at, c.ours, c.theirs)
            yield row(c.series, c.reference, str(len(c.points)), *map(_number, numbers))
        yield ""
        yield from _folded("The factor at each point", map(_each_point, result.comparisons))
    yield from _folded("Notes: what differs from the paper's figure, and why", result.notes)
    yield from _folded("Settings", _settings(result))


def _folded(title: str, entries: Iterable[str]) -> Iterator[str]:
    """A list that a reader unfolds; nothing if it has no entries."""
    lines = [one_line(f"- {entry}") for entry in entries]
    if lines:
        yield from (f"<details><summary>{title}</summary>", "", *lines, "", "</details>", "")


def _each_point(comparison: Comparison) -> str:
    """The factor at each point of two curves."""
    each = ", ".join(f"{x:g}: {_number(factor)}" for x, factor in comparison.points)
    return f"{comparison.series}, against {comparison.reference}: {each}"


def _settings(result: Figure) -> Iterator[str]:
    """The settings of a figure, a text for each mark."""
    families = {name: _family(mark) for name, (_, mark) in result.settings.items()}
    for family in _ordered(families.values()):
        said = []
        for name, (value, mark) in result.settings.items():
            if families[name] == family:
                said.append(f"{name} = {plain(value)}" + (f" ({mark})" if mark != family else ""))
        yield f"[{family}] {', '.join(said)}"


def _family(mark: str) -> str:
    """The mark that a longer one begins with, "derived" of "derived: near 1"; itself if it begins with none."""
    return next((known for known in MEANINGS if re.match(rf"{known}\b", mark)), mark)


def _ordered(marks: Iterable[str]) -> list[str]:
    """Marks in the order in which they are defined, then others."""
    there = dict.fromkeys(marks)
    return [mark for mark in MEANINGS if mark in there] + [mark for mark in there if mark not in MEANINGS]


def _number(value: float) -> str:
    return "infinite" if np.isinf(value) else f"{value:.3g}"
