"""A unified diff, taken apart."""

import re
from itertools import zip_longest
from typing import NamedTuple

__all__ = ["Row", "body", "rows"]

_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")


class Row(NamedTuple):
    """A line before and after: its numbers and texts, None where the other side has a line more."""

    number: int | None
    before: str | None
    new_number: int | None
    after: str | None
    changed: bool


def body(diff: str) -> list[str]:
    """Its lines without the names of the files."""
    lines = diff.rstrip("\n").split("\n")
    return lines[2:] if lines[0].startswith("---") else lines


def rows(diff: str) -> list[list[Row]]:
    """Of each hunk, the lines side by side."""
    hunks: list[list[Row]] = []
    old = new = 0
    removed: list[str] = []
    added: list[str] = []

    def settle() -> None:
        """Put what was removed beside what was added in its place."""
        nonlocal old, new
        for before, after in zip_longest(removed, added):
            hunks[-1].append(Row(None if before is None else old, before, None if after is None else new, after, True))
            old, new = old + (before is not None), new + (after is not None)
        removed.clear()
        added.clear()

    for line in body(diff):
        head = _HUNK.match(line)
        if head:
            settle()
            old, new = int(head[1]), int(head[2])
            hunks.append([])
        elif not hunks or line.startswith("\\"):  # no hunk yet; "\ No newline at end of file"
            continue
        elif line.startswith("-"):
            removed.append(line[1:])
        elif line.startswith("+"):
            added.append(line[1:])
        else:
            settle()
            hunks[-1].append(Row(old, line[1:], new, line[1:], False))
            old, new = old + 1, new + 1
    settle()
    return hunks
