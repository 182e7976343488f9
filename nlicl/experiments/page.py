"""All figures of a run on one page of Markdown: pictures, claims, comparisons, notes, settings."""

from .. import __version__

__all__ = ["page"]


def page(paper, title, figures, quick=False):
    """The page, as text.

    Parameters
    ----------
    paper, title : str
        Its short name and its title.
    figures : list of Figure
        In the order they were made; their pictures lie beside the page, as NAME.png.
    quick : bool
        Whether it is the rough version.

    Returns
    -------
    str
    """
    claims = [claim for figure in figures for claim in figure.claims]
    seeds = ", ".join(map(str, figures[0].seeds))
    theirs = (
        "The paper's own curves, read off its published figures, are thin and grey; they are compared, never a claim."
    )
    known = any(figure.reference for figure in figures)
    lines = [
        f"# {paper}: figures",
        "",
        f"{title}. Made by `nlicl reproduce {paper}{' --quick' if quick else ''}`, nlicl {__version__}, seeds {seeds}. "
        f"{sum(claim.holds for claim in claims)} of {len(claims)} claims hold. Bands go from the lowest to the highest seed. "
        + (theirs if known else "No curve of the paper is known."),
        "",
    ]
    for figure in figures:
        lines += _section(figure)
    return "\n".join(lines)


def _section(figure):
    lines = [f"## {figure.name}: {figure.title}", "", f"![{figure.name}]({figure.name}.png)", ""]
    lines += ["| | claim | expected | measured |", "|---|---|---|---|"]
    for claim in figure.claims:
        cells = ("holds" if claim.holds else "**FAILS**", claim.claim, claim.expected, claim.measured)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines.append("")
    if figure.comparisons:
        lines += [
            "| curve | paper's curve | largest factor between them | at | ours | paper's |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {c.series} | {c.reference} | {c.factor:.3g} | {c.at:g} | {c.ours:.3g} | {c.theirs:.3g} |"
            for c in figure.comparisons
        ]
        lines.append("")
    lines += [f"- {note}" for note in figure.notes]
    if figure.notes:
        lines.append("")
    if figure.settings:
        said = ", ".join(f"{name} = {value} [{mark}]" for name, (value, mark) in figure.settings.items())
        lines += [f"<details><summary>Settings</summary>\n\n{said}\n\n</details>", ""]
    return lines
