"""What came of it all: a table of counts, and what failed, by kind, with the commands that repeat it."""

from collections.abc import Sequence

from .outcome import ACCEPTED, FAILURES, REFUSED
from .runner import Runner

__all__ = ["failures_text", "table"]

_EACH = 12  # failures of a kind and a part that are shown in full; of the others the numbers of the cases


def table(parts: Sequence[Runner], seconds: float) -> str:
    """A row for each part, and their sum."""
    heads = ["part", "inputs", REFUSED, ACCEPTED, *FAILURES, "seconds"]
    rows = [
        [
            part.name,
            part.inputs,
            part.good[REFUSED],
            part.good[ACCEPTED],
            *(part.counts[kind] for kind in FAILURES),
            round(part.seconds),
        ]
        for part in parts
    ]
    rows.append(["all", *(sum(column) for column in list(zip(*rows, strict=True))[1:-1]), round(seconds)])
    cells = [heads, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = ["  ".join(f"{cell:>{w}}" if i else f"{cell:<{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
             for row in cells]  # fmt: skip
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def failures_text(parts: Sequence[Runner], seed: int) -> str:
    """What failed; empty if nothing did."""
    blocks = []
    for part in parts:
        for kind, meaning in FAILURES.items():
            found = [failure for failure in part.failures if failure.kind == kind]
            if found:
                blocks.append(f"== {part.name}, {kind}: {meaning}: {len(found)}")
            for failure in found[:_EACH]:
                command = f"python -m tests.hostile --only {part.name} --seed {seed} --case {failure.case}"
                text = "\n".join("    " + line[:400] for line in failure.text.splitlines()[:40])
                blocks.append(f"-- {command}\n{failure.shown}\n{text}")
            if len(found) > _EACH:
                blocks.append("-- and the cases " + ", ".join(str(failure.case) for failure in found[_EACH:]))
    return "\n".join(blocks)
