"""What the searches for mends found, as text for the terminal."""

from collections.abc import Iterator

from ...core.text import one_line, visible
from ..mend.found import Change, Mending, Repair
from .diff import body
from .findings import Findings
from .search import Search

__all__ = ["CAUTION", "MOST", "is_short", "mends", "more", "name", "no_mend", "place"]

MOST = 3  # mends shown
CAUTION = (
    "A mend is what makes the code agree with the loss; whether the loss is the one that was meant, it cannot tell."
)


def mends(report: Findings) -> str:
    """The mends of a report, after its table; empty if there is nothing to say. It searches if that is yet to be done."""
    lines: list[str] = []
    for search in report.searches:
        lines += _found(search.mending(), name(report, search))
    if any(search.mending().repairs for search in report.searches):
        lines.append(CAUTION)
    return "\n".join(lines)


def name(report: Findings, search: Search) -> str:
    """Which formulas a search is about, as an addition to its heading; empty where there is no other search."""
    several = len(report.searches) > 1
    return " of " + ", ".join(report.formulas[number].name for number in search.of) if several else ""


def _found(mending: Mending, of: str) -> Iterator[str]:
    """The lines of one search."""
    for number, repair in enumerate(mending.repairs[:MOST]):
        yield from _repair(repair, "or" if number else f"mend{of}")
    yield from filter(None, (more(mending), no_mend(mending, of)))


def _repair(repair: Repair, first: str) -> Iterator[str]:
    """The lines of one mend."""
    changes = [one_line(_change(change)) for change in repair.changes]
    plain = all(map(is_short, repair.changes))
    if len(changes) > 1:
        yield one_line(f"{first} in {len(changes)} places:")
    elif plain:
        yield one_line(f"{first}, {changes[0]}")
    else:
        yield one_line(f"{first}, {place(repair.changes[0])}:")
    if not plain:
        yield from (f"    {visible(line)}" for line in body(repair.diff))
    elif len(changes) > 1:
        yield from (f"    {change}" for change in changes)
    yield one_line(f"    agrees {repair.agrees}")


def _change(change: Change) -> str:
    return f"{place(change)}:  {change.before}  ->  {change.after}"


def is_short(change: Change) -> bool:
    """Whether both texts are one line. What is put in or taken out is seen in the diff alone."""
    texts = (change.before, change.after)
    return all(text.strip() and "\n" not in text and "\r" not in text for text in texts)


def place(change: Change) -> str:
    """Where an edit stands, in words."""
    return f"line {change.line}" + (f" of {change.file}" if change.file else "")


def more(mending: Mending) -> str:
    """How many mends are not shown, in a sentence; empty if none."""
    others = mending.others + len(mending.repairs[MOST:])
    return f"{others} other edit{'s agree' if others > 1 else ' agrees'} as well." if others else ""


def no_mend(mending: Mending, of: str) -> str:
    """What else is to be said of a search, in a line: why it found nothing, or ended early."""
    if not mending.note:
        return ""
    text = one_line(mending.note).strip()
    text = text if text.endswith((".", "?", "!")) else text + "."
    return text[:1].upper() + text[1:] if mending.repairs else f"no mend{one_line(of)}: {text}"
