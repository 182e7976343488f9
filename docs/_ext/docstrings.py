"""Docstrings of nlicl are plain text with numpydoc's sections. Here they become reStructuredText.

Nothing in them is markup but names in backticks, lists that begin with "- ", examples that begin with ">>>", and tables of
`|`. What is indented or set in columns stands as it is.
"""

import re
from collections.abc import Callable, Iterable, Iterator

Find = Callable[[str], str | None]
"""What a name links to: an address, the full name of something documented, or None for nothing."""

LISTS = {"Parameters", "Other Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns", "Methods"}
"""Sections of numpydoc whose lines are items, each with an indented description."""
BEFORE, AFTER = r"""\s"'(\[{</:\-""", r"""\s"')\]}>/\\:.,;!?\-"""
NAME = re.compile(r"(`{1,2})([^`\n]+)\1")
COLUMNS = re.compile(r"\S {2,}\S")
ROW = re.compile(r"\|[ -].*\|$")
RULE = re.compile(r"\|[-|: ]+\|$")
ITEM = re.compile(r"(?:[-*] |\d+\. )")


def converted(lines: Iterable[str], find: Find) -> list[str]:
    """A docstring, as numpydoc reads it, with reStructuredText in place of plain text."""
    found: list[str] = []
    for title, body in parts([line.rstrip() for line in lines]):
        if title:
            found += ["", title, "-" * len(title)]
        if title in LISTS:
            found += items(body, find)
        else:
            found += body if title == "See Also" else prose(body, find)
    return found


def parts(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """(title, lines) of the sections; the first one has no title."""
    title, body, at = "", [], 0
    while at < len(lines):
        if at + 1 < len(lines) and re.fullmatch(r"-{3,}|={3,}", lines[at + 1]) and lines[at].strip():
            yield title, body
            title, body, at = lines[at].strip(), [], at + 2
        else:
            body.append(lines[at])
            at += 1
    yield title, body


def items(lines: list[str], find: Find) -> Iterator[str]:
    """A section of items: `name : type`, each with an indented description."""
    described: list[str] = []
    for line in [*lines, "end"]:
        if not line or line[0] == " ":
            described.append(line)
            continue
        width = min((len(each) - len(each.lstrip()) for each in described if each), default=0)
        yield from (" " * width + each if each else "" for each in prose([each[width:] for each in described], find))
        described = []
        if line != "end":
            name, colon, kind = line.partition(" : ")
            yield f"{name}{colon}{text(types(kind, find), find)}"


def prose(lines: list[str], find: Find) -> list[str]:
    """Paragraphs, lists, tables and what stands as it is."""
    found: list[str] = []
    for block in blocks(lines):
        if found and found[-1]:
            found.append("")
        if block[0].startswith(">>>"):
            found += block
        elif ROW.match(block[0]):
            found += table(block, find)
        elif block[0].startswith(" ") or sum(map(bool, map(COLUMNS.search, block))) * 2 > len(block):
            found += ["::", "", *(f"    {line}" if line else "" for line in block)]
        else:
            found += text("\n".join(re.sub(r"^\* ", "- ", line) for line in block), find).split("\n")
    return [*found, ""] if found else found


def blocks(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines of one kind: a paragraph, a list with its indented lines, an indented run, a table, an example."""
    block: list[str] = []
    kind = ""
    for number, line in enumerate(lines):
        if not line:
            after = next((each for each in lines[number:] if each), "")
            if kind == "indented" and after.startswith(" "):
                block.append("")
                continue
            found = ""
        elif kind == "example":
            found = kind
        elif line.startswith(">>>"):
            found = "example"
        elif ROW.match(line):
            found = "table"
        elif ITEM.match(line):
            found = "list"
        elif line.startswith(" "):
            found = "list" if kind == "list" else "indented"
        else:
            found = "paragraph"
        if found != kind and block:
            yield block
            block = []
        kind = found
        if line:
            block.append(line)
    if block:
        yield block


def table(lines: list[str], find: Find) -> list[str]:
    """A table of Markdown as a list-table."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<=\s)\|(?=\s)", line.strip()[1:-1])]
        for line in lines
        if not RULE.match(line)
    ]
    ruled = len(rows) < len(lines)
    found = [".. list-table::", *(["    :header-rows: 1"] * ruled), ""]
    for row in rows:
        found += [f"    {'* -' if number == 0 else '  -'} {text(cell, find)}" for number, cell in enumerate(row)]
    return found


def text(plain: str, find: Find) -> str:
    """A run of plain text: names in backticks are names, and nothing else is markup."""
    found, at = [], 0
    for match in NAME.finditer(plain):
        before, after = plain[match.start() - 1 : match.start()], plain[match.end() : match.end() + 1]
        left = "" if not before or re.match(f"[{BEFORE}]", before) else "\\ "
        right = "" if not after or re.match(f"[{AFTER}]", after) else "\\ "
        found += [escaped(plain[at : match.start()]), f"{left}{linked(match[2], find(match[2]))}{right}"]
        at = match.end()
    return "".join([*found, escaped(plain[at:])])


def types(kind: str, find: Find) -> str:
    """A type in words, with those of them in backticks that link to something."""
    return re.sub(
        r"(?<![`\w.])(?:[A-Z]\w+|ndarray|array_like)(?![`\w])",
        lambda found: f"`{found[0]}`" if find(found[0]) else found[0],
        kind,
    )


def linked(name: str, target: str | None) -> str:
    if target is None:
        return f"``{name}``"
    return f"`{name} <{target}>`__" if target.startswith("https://") else f":py:obj:`{name} <{target}>`"


def escaped(plain: str) -> str:
    return re.sub(r"([*|\\`])|(?<=\w)(_)(?!\w)", lambda found: "\\" + found[0], plain)
