"""What a search for mends found, as a part of the page: the text before and after, side by side."""

import html

from ...core.text import visible
from ..mend.found import Change, Repair
from .diff import Row, rows
from .findings import Findings
from .mends import CAUTION, MOST, is_short, more, name, no_mend, place
from .search import Search

__all__ = ["STYLE", "as_html", "sides"]

STYLE = """
.sides { display: flex; flex-wrap: wrap; gap: .4rem 1rem; } .sides > div { flex: 1 1 24rem; min-width: 0; max-width: 100%; }
.sides pre { overflow-x: auto; margin: .2rem 0; } .sides span, .sides del, .sides ins { display: block; text-decoration: none;
  width: max-content; min-width: 100%; } .sides del { background: #fbe3e4; } .sides ins { background: #dff2e4; }
.sides b { font-weight: normal; color: var(--soft); user-select: none; }
"""


def as_html(text: str) -> str:
    """A text as HTML: it is no markup, and what cannot be seen, or turns other text round, is shown as its escape."""
    return html.escape(visible(text))


def sides(n: int, report: Findings, search: Search) -> str:
    """The section on search number n; empty if there is nothing to say. It searches if that is yet to be done."""
    mending = search.mending()
    parts = ["<p>or</p>" * bool(number) + _repair(repair) for number, repair in enumerate(mending.repairs[:MOST])]
    said = [more(mending), no_mend(mending, ""), CAUTION if mending.repairs else ""]
    parts += [f"<p>{as_html(text)}</p>" for text in said if text]
    heading = f"Mend{name(report, search)}"
    return f'<section id="m{n}"><h2>{as_html(heading)}</h2>{"".join(parts)}</section>' if parts else ""


def _repair(repair: Repair) -> str:
    """One mend: what is changed, both texts, where it agrees."""
    changes = "".join(map(_change, repair.changes))
    hunks = rows(repair.diff)
    before = "<span> ⋮</span>".join("".join(map(_before, hunk)) for hunk in hunks)
    after = "<span> ⋮</span>".join("".join(map(_after, hunk)) for hunk in hunks)
    both = f"<div>before<pre>{before}</pre></div><div>after<pre>{after}</pre></div>"
    agrees = f"<p>It agrees {as_html(repair.agrees)}.</p>"
    return changes + (f'<div class="sides">{both}</div>' if hunks else "") + agrees


def _change(change: Change) -> str:
    """An edit in a line; where it stands alone, if it is longer."""
    where, short = as_html(place(change)), is_short(change)
    edit = f": <code>{as_html(change.before)}</code> → <code>{as_html(change.after)}</code>" * short
    return f"<p>{where[:1].upper()}{where[1:]}{edit}</p>"


def _before(row: Row) -> str:
    return _line("del" if row.changed else "span", "-" if row.changed else " ", row.number, row.before)


def _after(row: Row) -> str:
    return _line("ins" if row.changed else "span", "+" if row.changed else " ", row.new_number, row.after)


def _line(tag: str, sign: str, number: int | None, text: str | None) -> str:
    """A line of one side; an empty one where only the other side has one."""
    if text is None:
        return "<span> </span>"
    return f"<{tag}><b>{number:>4} {sign} </b>{as_html(text)}</{tag}>"
