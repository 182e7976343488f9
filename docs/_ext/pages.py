"""The site's sections, from index.md; its landing page, from README.md; and pages that lie outside of docs.

index.md stays a page of plain Markdown: headings, and tables of links. Each heading of the second level becomes a section
of the site with a page of its own; its links, in their order, become the section's table of contents.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from made import DOCS, REPOSITORY, clear, write
from sphinx.application import Sphinx

OUTSIDE = {
    "README.md": "docs/index.md",
    "CITATION.cff": "docs/citing.md",
    "CONTRIBUTING.md": "docs/sections/contributing.md",
    "CHANGELOG.md": "docs/sections/changes.md",
    "bench/README.md": "docs/sections/benchmark.md",
}
"""Files outside of docs, and where the site has them."""
MADE = {
    "Reference": [
        ("Python", "reference/python.md", "every public name, from its docstring"),
        ("Commands", "reference/commands.md", "every option of every command, as `--help` says"),
    ]
}
"""Pages written by other extensions, at the head of a section's table."""
BUTTONS = """
:::{div} nlicl-buttons
[A first audit](first-audit.md) [Gallery](sections/gallery.md) [Find a page](#find-your-way)
:::
"""
ARXIV = re.compile(r"^ *```.*?^ *```|`[^`\n]*`|\[arXiv[^\]]*\]|\barXiv (\d{4}\.\d{5})\b", re.MULTILINE | re.DOTALL)
CODE_OR_LINK = re.compile(
    r"^ *```.*?^ *```|\[(?P<label>[^\][]*)\]\((?P<to>[^)#\s]+)(?P<at>#[^)\s]*)?\)|`[^`\n]*`", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\((?!https?:)(?P<to>[^)#\s]+\.(?:md|ipynb))(?:#[^)\s]*)?\)")


class Section(NamedTuple):
    """A heading of index.md with what stands under it."""

    title: str
    text: str

    @property
    def page(self) -> str:
        return re.sub(r"\W+", "-", self.title.lower()) + ".md"


def sections(index: str) -> list[Section]:
    """The sections of index.md."""
    parts = re.split(r"^## (.+)\n", index, flags=re.MULTILINE)[1:]
    return [Section(title, text.strip()) for title, text in zip(parts[::2], parts[1::2], strict=True)]


def moved(text: str, source: str, page: str) -> str:
    """A text whose relative links hold at `source` in the repository, with links that hold at `page` of the site.

    Links to what the site does not have, such as a folder of code, become plain text.
    """

    def link(found: re.Match[str]) -> str:
        to = found["to"]
        if to is None or re.match(r"https?:|mailto:", to):
            return found[0]
        there = os.path.normpath(PurePosixPath(source).parent / to)
        there = OUTSIDE.get(there, there)
        if (REPOSITORY / there).is_dir():
            return found["label"]
        return f"[{found['label']}]({os.path.relpath(there, PurePosixPath(page).parent)}{found['at'] or ''})"

    return CODE_OR_LINK.sub(link, text)


def contents(text: str) -> list[tuple[str, list[str]]]:
    """(caption, pages) of a section, in order: rows of a table that name a group and link to several pages are groups."""
    groups: list[tuple[str, list[str]]] = [("", [])]
    for line in text.splitlines():
        links = [found["to"] for found in LINK.finditer(line)]
        first = line.strip("| ").split("|")[0].strip() if line.startswith("|") else ""
        if first and "](" not in first and len(links) > 1:
            groups.append((first, links))
        elif groups[-1][0]:
            groups.append(("", links))
        else:
            groups[-1][1].extend(links)
    return [group for group in groups if group[1]]


def toctree(pages: Iterable[str], caption: str = "") -> str:
    said = f":caption: {caption}\n" if caption else ""
    entries = "\n".join(re.sub(r"\.(md|ipynb)$", "", page) for page in pages)
    return f"```{{toctree}}\n:hidden:\n{said}\n{entries}\n```\n"


def section_page(section: Section, taken: set[str], more: list[tuple[str, list[str]]]) -> str:
    """The page of a section. A page of the site has one place in its contents: `taken` are those that have one."""
    text = section.text
    for name, page, about in reversed(MADE.get(section.title, [])):
        text = re.sub(r"^(\|[-|]+\|)$", rf"\1\n| [{name}]({page}) | {about} |", text, count=1, flags=re.MULTILINE)
    trees = []
    for caption, pages in [*contents(text), *more]:
        here = [OUTSIDE.get(os.path.normpath(f"docs/{page}"), f"docs/{page}") for page in pages]
        here = [page for page in dict.fromkeys(here) if page not in taken]
        taken.update(here)
        if here:
            trees.append(toctree((f"/{page.removeprefix('docs/')}" for page in here), caption))
    return "\n".join(
        [f"# {section.title}\n", moved(text, "docs/index.md", f"docs/sections/{section.page}"), "", *trees]
    )


def landing(readme: str, found: list[Section]) -> str:
    """The landing page: README.md, and a card for each section in place of its last part, which lists pages."""
    head, _, rest = readme.partition("\n\n")
    rest = re.sub(r"^## Read on\n.*\Z", "", rest, flags=re.MULTILINE | re.DOTALL)
    first, heading, rest = rest.partition("\n## ")
    cards = [
        f":::{{grid-item-card}} {section.title}\n:link: sections/{section.page.removesuffix('.md')}\n:link-type: doc\n"
        f"{section.text.split('|')[0].strip()}\n:::\n"
        for section in found
    ]
    tree = [f"sections/{section.page}" for section in found]
    tree.insert(-1, "sections/gallery.md")
    return "\n".join(
        [
            head,
            moved(first, "README.md", "docs/index.md"),
            BUTTONS,
            moved(heading + rest, "README.md", "docs/index.md"),
            "## Find your way\n",
            "::::{grid} 1 2 2 3\n:gutter: 3\n",
            *cards,
            "::::\n",
            toctree(tree),
        ]
    )


def make(app: Sphinx) -> None:
    """Write the sections, and the pages from outside of docs."""
    found = sections((DOCS / "index.md").read_text(encoding="utf-8"))
    linked = {page for section in found for _, pages in contents(section.text) for page in pages}
    notebooks = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.glob("notebooks/*.ipynb"))
    unlinked = [path for path in notebooks if path not in linked]
    taken = {"docs/index.md"}
    pages = {}
    for section in found:
        more = [("Notebooks", unlinked)] if section.title == "How to" and unlinked else []
        pages[section.page] = section_page(section, taken, more)
    for source, page in OUTSIDE.items():
        if page.startswith("docs/sections/"):
            text = (REPOSITORY / source).read_text(encoding="utf-8")
            pages[Path(page).name] = moved(text, source, page)
    write("sections", pages)
    clear("sections", {**pages, "gallery.md": ""})


def on_read(app: Sphinx, docname: str, source: list[str]) -> None:
    """A page as the site has it: the landing page, and links that hold."""
    if docname == "index":
        app.env.note_dependency(str(REPOSITORY / "README.md"))
        readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
        source[0] = landing(readme, sections(source[0]))
    elif app.env.doc2path(docname).suffix == ".md" and not docname.startswith(("sections/", "reference/")):
        text = moved(source[0], f"docs/{docname}.md", f"docs/{docname}.md")
        source[0] = ARXIV.sub(
            lambda found: f"[{found[0]}](https://arxiv.org/abs/{found[1]})" if found[1] else found[0], text
        )


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", make, priority=600)  # after the others have written theirs
    app.connect("source-read", on_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
