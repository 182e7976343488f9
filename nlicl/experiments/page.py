"""All figures of a run on one page of Markdown: pictures, claims, comparisons, notes, settings."""

import re
from collections.abc import Sequence

from .. import __version__
from ..core.text import one_line, visible
from ..papers.provenance import MEANINGS
from .claims import Claim
from .figure import Figure

__all__ = ["legend", "page", "row", "verdict"]


def page(paper: str, title: str, figures: Sequence[Figure], quick: bool = False, *, pictures: bool = True) -> str:
    """The figures of a run as a page of Markdown.

    Parameters
    ----------
    paper, title : str
        The paper's name and its title.
    figures : list of Figure
        In the order they were made. Their pictures lie beside the page, as NAME.png.
    quick : bool
        Whether the run was a quick one.
    pictures : bool
        Whether they were drawn.

    Returns
    -------
    str
    """
    claims = [claim for figure in figures for claim in figure.claims]
    held = sum(claim.holds is True for claim in claims)
    seeds = ", ".join(map(str, figures[0].seeds))
    theirs = (
        "The paper's own curves, read off its published figures, are thin and grey; they are compared, never a claim."
    )
    known = any(figure.reference for figure in figures)
    lines = [
        f"# {paper}: figures",
        "",
        f"{title}. Made by `nlicl reproduce {paper}{' --quick' if quick else ''}`, nlicl {__version__}, seeds {seeds}. "
        f"{held} of {len(claims)} claims hold. Bands go from the lowest to the highest seed. "
        + (theirs if known else "No curve of the paper is known."),
        "",
    ]
    for figure in figures:
        lines += _section(figure, pictures)
    marks = legend("\n".join(lines))
    if marks:
        lines += ["## Marks", "", *marks, ""]
    return visible("\n".join(lines))


def legend(text: str) -> list[str]:
    """A table of the marks of provenance that occur in a text, each with its meaning, as lines; none if there are no marks."""
    brackets = " ".join(re.findall(r"\[[^][\n]*\](?!\()", text))  # those of links are none
    rows = [row(f"[{mark}]", meaning) for mark, meaning in MEANINGS.items() if re.search(rf"\b{mark}\b(?!')", brackets)]
    return ["| mark | means |", "|---|---|", *rows] if rows else []


def row(*cells: str) -> str:
    """A line of a table."""
    return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def verdict(claim: Claim) -> str:
    """The claim's verdict, in bold if it fails."""
    return f"**{claim.verdict}**" if claim.holds is False else claim.verdict


def _section(figure: Figure, pictures: bool) -> list[str]:
    lines = [f"## {figure.name}: {one_line(figure.title)}", ""]
    lines += [f"![{figure.name}]({figure.name}.png)", ""] if pictures else []
    lines += ["| | claim | expected | measured |", "|---|---|---|---|"]
    for claim in figure.claims:
        lines.append(row(verdict(claim), claim.claim, claim.expected, claim.measured))
    lines.append("")
    if figure.comparisons:
        lines += [
            "| curve | paper's curve | median factor between them | largest | at | ours | paper's |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            row(
                c.series,
                c.reference,
                f"{c.median:.3g}",
                f"{c.factor:.3g}",
                f"{c.at:g}",
                f"{c.ours:.3g}",
                f"{c.theirs:.3g}",
            )
            for c in figure.comparisons
        ]
        lines.append("")
    lines += [f"- {one_line(note)}" for note in figure.notes]
    if figure.notes:
        lines.append("")
    if figure.settings:
        said = ", ".join(f"{name} = {value} [{mark}]" for name, (value, mark) in figure.settings.items())
        lines += [f"<details><summary>Settings</summary>\n\n{one_line(said)}\n\n</details>", ""]
    return lines
