"""What an audit found of one formula, as a section of the page."""

from .docstring import described
from .findings import Findings, FormulaReport, both_values
from .headline import claim
from .plots import error_map, taylor_plot
from .search import Search
from .sides import sides
from .tex import as_html, equation, prose

__all__ = ["badge", "erratum", "found", "section"]


def section(n: int, report: Findings, code: str, searches: list[tuple[int, Search]], alone: bool) -> str:
    """All that is known of formula number n.

    Parameters
    ----------
    n : int
    report : Findings
    code : str
        The source text to be shown; empty if it was shown before.
    searches : list of (int, Search)
        The searches for mends of this formula alone, with their numbers.
    alone : bool
        Whether the page is about this formula only: the claim and what was found stand at its top then.

    Returns
    -------
    str
        HTML.
    """
    f = report.formulas[n]
    parts = [f'<section id="f{n}"><h2>{_heading(f)}</h2>']
    if not alone:
        items = found(f)
        heading = "What is wrong" if f.verdict == "disagree" else "What was seen"
        parts.append(f"<p>{as_html(claim(f, report))}</p>" + (f"<h3>{heading}</h3>{items}" if items else ""))
    if f.erratum:
        parts.append(f"<p>Known error: {as_html(f.erratum)}.</p>")
    parts.append(_given_and_right(f, code))
    parts += [sides(number, report, search, level=3) for number, search in searches]
    drawings = taylor_plot(f) + error_map(f) if not f.ok or f.background.role == "own" else ""
    if drawings:
        parts.append(f'<div class="plots">{drawings}</div>')
    return "".join(parts) + "</section>"


def erratum(n: int, report: Findings) -> str:
    """What is known to be wrong, and was found, of formula number n: in short."""
    f = report.formulas[n]
    text = f"<p>{as_html(claim(f, report))} Known error: {as_html(f.erratum or 'see its source')}.</p>"
    heading = f"<h3>{_heading(f)}</h3>"
    return f'<section id="f{n}">{heading}{text}{found(f)}{_given_and_right(f, "", level=4)}</section>'


def _heading(f: FormulaReport) -> str:
    name = f.target if f.name == f.wrt else f"{f.name}, for {f.target}"
    return f"{as_html(name)}: {badge(f)}"


def badge(f: FormulaReport) -> str:
    """The verdict, as a word with its colour."""
    known = "broken on purpose" if f.background.role == "control" else "known erratum"
    note = f' <span class="known">({known})</span>' if f.expected == "disagree" and f.ok else ""
    return f'<span class="verdict {f.verdict}">{f.verdict}</span>{note}'


def found(f: FormulaReport) -> str:
    """Facts, then mistakes, then the worst entry with its sizes, then what else is to be said: a list; empty if nothing is."""
    items = [f"<li>{as_html(_capital(fact))}</li>" for fact in f.facts]
    for k, item in enumerate(f.diagnosis):
        several = f" {k + 1} of {f.mistakes}" if f.mistakes > 1 else ""
        other = "Another explanation of the same: " if f.mistakes else ""
        first = f"Mistake{several}: " if k < f.mistakes else other
        text = first + (item["detail"] if first else _capital(item["detail"]))
        items.append(f'<li class="mistake">{as_html(text)} <span class="kind">{as_html(item["kind"])}</span></li>')
    if f.worst and f.verdict != "agree":
        items.append(f"<li>{_worst(f)}</li>")
    said = any(
        item["kind"] in ("shape", "transpose") or item["detail"].startswith("it raises ") for item in f.diagnosis
    )  # then the error says the same again
    for more in filter(None, (None if said else f.error, f.reason, f.note)):
        items.append(f"<li>{as_html(more if more.startswith(f'{f.name} ') else _capital(more))}</li>")
    return f'<ul class="found">{"".join(items)}</ul>' if items else ""


def _worst(f: FormulaReport) -> str:
    """The worst entry: both values, and the place."""
    w = f.worst or {}
    text = f"worst entry {f.entry(w)} {f.where(w['draw'])}: {both_values(w)}{f.by}"
    if w.get("label"):
        text += f". Draw {w['draw']}: {w['label']}"
        sizes = [f"{name} = {value}" for name, value in w.get("sizes", {}).items() if f"{name}=" not in w["label"]]
        text += f"; {', '.join(sizes)}" if sizes else ""
    return as_html(_capital(text))


def _given_and_right(f: FormulaReport, code: str, level: int = 3) -> str:
    """The formula as it was given, beside the one that is right."""
    title, text = described(f.code) if code else ("", "")
    given = f"<p><strong>{as_html(title)}</strong></p>" if title else ""
    given += prose(text) if text else equation(f.equation) if f.equation not in (f.name, title) else ""
    source, shown = f'<p class="soft">{as_html(f.about)}</p>', f"<pre>{as_html(code)}</pre>" if code else ""
    boxes = [f"<h{level}>Given</h{level}>{given or shown}{source}"]
    if f.background.right:
        name, formula, origin = f.background.right
        heading = "The right gradient" if f.verdict != "agree" else "The gradient that it equals"
        of = f"Formula {name} of nlicl: {origin}."
        boxes.append(f'<h{level}>{heading}</h{level}>{equation(formula)}<p class="soft">{as_html(of)}</p>')
    both = "".join(f'<div class="box">{box}</div>' for box in boxes)
    if given and not code:
        both = f'<div class="two">{both}</div>'
    return both + (f"<h{level}>The code that was judged</h{level}>{shown}" if given and code else "")


def _capital(text: str) -> str:
    """With a capital letter at its beginning where an ordinary word stands there."""
    first = text.split(" ", 1)[0]
    if first in ("given", "expected"):  # they stand for arrays
        return text
    return text[0].upper() + text[1:] if first.isalpha() and first.islower() and len(first) > 1 else text
