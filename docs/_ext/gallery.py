"""The gallery: every figure of the papers' registers with its stored picture, the page on it, and the command that draws it.

Nothing is computed and nothing is drawn.
"""

import re
from pathlib import Path

from made import DOCS, write
from sphinx.application import Sphinx

from nlicl.experiments.figure import Recipe

INTRODUCTION = """\
# Gallery

Every figure that `nlicl reproduce` draws, from stored results. A picture leads to its claims and its settings.
"""


def page() -> str:
    """The page, as Markdown."""
    from nlicl import papers
    from nlicl.experiments.registry import figures

    lines = [INTRODUCTION]
    for paper in papers.names():
        cards = [card(paper, name, recipe) for name, recipe in figures(paper).items() if stored(paper, name).exists()]
        if cards:
            explained = f"[The model](../{paper}.md), [all figures with their claims](../figures/{paper}.md)"
            lines += [f"## {papers.load(paper).title}", "", f"{explained}. All of them: `nlicl reproduce {paper}`.", ""]
            lines += ["::::{grid} 1 2 3 3", ":gutter: 3", ":class-container: nlicl-gallery", "", *cards, "::::", ""]
    return "\n".join(lines)


def stored(paper: str, name: str) -> Path:
    """The picture of a figure."""
    return DOCS / "figures" / f"{paper}-{name}.png"


def card(paper: str, name: str, recipe: Recipe) -> str:
    """A picture with its title, which links to the part of a page that has its claims."""
    beside = f"Beside {recipe.original.name} of the paper." if recipe.original else "Not a figure of the paper: ours."
    title = recipe.title[:1].upper() + recipe.title[1:]
    return "\n".join(
        [
            ":::{grid-item-card}",
            f":img-top: ../figures/{paper}-{name}.png",
            f":img-alt: {recipe.title}",
            "",
            f"[{title}](../figures/{paper}.md#{anchor(paper, name)}){{.stretched-link}}",
            "",
            beside,
            "",
            f"`nlicl reproduce {paper}:{name}`",
            ":::",
            "",
        ]
    )


def anchor(paper: str, name: str) -> str:
    """What a link to a figure's heading says."""
    text = (DOCS / "figures" / f"{paper}.md").read_text(encoding="utf-8")
    (heading,) = re.findall(rf"^## ((?:{paper}-)?{re.escape(name)}(?:: .+)?)$", text, re.MULTILINE)
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def make(app: Sphinx) -> None:
    write("sections", {"gallery.md": page()})


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", make)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
