"""What a search for mends found, as a part of the page: the text before and after, side by side."""

from ..mend.found import Change, Repair
from .diff import Row, rows
from .findings import Findings
from .mends import CAUTION, MOST, is_short, more, name, no_mend, place
from .search import Search
from .tex import as_html

__all__ = ["sides"]


def sides(n: int, report: Findings, search: Search, level: int = 2) -> str:
    """The section on search number n; empty if there is nothing to say. It searches if that is yet to be done.

    Parameters
    ----------
    n : int
    report : Findings
    search : Search
    level : int
        Of its heading: 3 inside the section of a formula.

    Returns
    -------
    str
        HTML.
    """
    mending = search.mending()
    parts = ["<p>or</p>" * bool(number) + _repair(repair) for number, repair in enumerate(mending.repairs[:MOST])]
    said = [more(mending), no_mend(mending, ""), CAUTION if mending.repairs else ""]
    parts += [f"<p>{as_html(text[0].upper() + text[1:])}</p>" for text in said if text]
    what = "What mends it" if mending.repairs else "A mend"
    heading = what if level > 2 else f"{what}{name(report, search)}"
    return f'<section id="m{n}"><h{level}>{as_html(heading)}</h{level}>{"".join(parts)}</section>' if parts else ""


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
