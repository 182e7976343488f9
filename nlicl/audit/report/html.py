"""The audit report as one self-contained HTML page: no network, no scripts; fit to attach to a referee's report.

Its reader has not heard of nlicl. So it says in words what was found, what the model and its loss are, what the right gradient
is, how it was judged, and how to repeat that. It fits a wide screen, a telephone and paper.
"""

import platform
from datetime import date
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

from .findings import Findings, FormulaReport
from .headline import headline, sentences
from .search import Search
from .section import badge, erratum, found, section
from .sides import sides
from .tex import as_html, display, equation, inline, prose

__all__ = ["page"]


def page(report: Findings, made: date | None = None) -> str:
    """The page as text.

    Parameters
    ----------
    report : Findings
    made : date, optional
        The day that the page names; today if not given.

    Returns
    -------
    str
        HTML.
    """
    formulas = report.formulas
    full = [n for n, f in enumerate(formulas) if f.background.role == "own" or not f.ok]
    errata = [n for n, f in enumerate(formulas) if n not in full and f.verdict != "agree"]
    alone = len(formulas) == 1
    body = [
        _header(report, alone),
        "" if alone else _summary(report),
        _models(report),
        *_sections(report, full, alone),
        _errata(report, errata),
        _witnesses(report) if alone else _legend(report),
        _repeat(report, made or date.today()),
    ]
    title = as_html(f"Gradient audit: {report.paper}")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title><style>{_style()}</style></head>\n<body><main>\n"
        + "\n".join(filter(None, body))
        + "\n</main></body></html>\n"
    )


@cache
def _style() -> str:
    return files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def _header(report: Findings, alone: bool) -> str:
    """The headline, and what was done, for a reader who has not heard of nlicl."""
    first, *rest = sentences(report)
    title = next((f.background.title for f in report.formulas if f.background.title), "")
    kicker = f"Gradient audit: {report.paper}" + (f" · {title}" if title else "")
    parts = [f'<header><p class="kicker">{as_html(kicker)}</p><h1>{as_html(first)}</h1>']
    if rest:
        parts.append(f'<p class="lead">{as_html(" ".join(rest))}</p>')
    reason = getattr(report, "reason", "")
    if reason and reason.rstrip(".") not in headline(report):
        conclusion = report.conclusion
        for item in (item for f in report.formulas for item in f.diagnosis):  # which is said below
            conclusion = conclusion.replace(f": {item['detail']}", "")
        parts.append(f"<p>{as_html(conclusion)}</p>")
    parts.append(f"<p>{as_html(report.introduction)}</p></header>")
    items = found(report.formulas[0]) if alone else ""
    if items:
        heading = "What is wrong" if report.formulas[0].verdict == "disagree" else "What was seen"
        parts.append(f'<section id="found"><h2>{heading}</h2>{items}</section>')
    return "".join(parts)


# ---- The formulas


def _summary(report: Findings) -> str:
    """All formulas in a table, a line each; on a narrow screen a card each."""
    names = [report.judged, "verdict", "digits", *(column.long for column in report.columns), report.counted]
    left = ' class="words"'
    head = "".join(
        f'<th scope="col" role="columnheader"{left * (k < 2)}>{as_html(name)}</th>' for k, name in enumerate(names)
    )
    rows = []
    for n, f in enumerate(report.formulas):
        name = as_html(f.name)
        linked = f.background.role == "own" or f.verdict != "agree" or not f.ok
        link = f'<a href="#f{n}">{name}</a>' if linked else name
        cells = [f'<th scope="row" role="rowheader">{link}</th>', f'<td role="cell" class="words">{badge(f)}</td>']
        values = [_cell(f, "digits"), *(_cell(f, column.key) for column in report.columns), _wrong(f)]
        cells += [
            f'<td role="cell" class="number" data-name="{as_html(label)}">{value}</td>'
            for label, value in zip(names[2:], values, strict=True)
        ]
        rows.append(f'<tr role="row">{"".join(cells)}</tr>')
    table = _table(head, rows)
    return f'<section id="all"><h2>What was judged</h2>{table}<p class="soft">{as_html(report.legend)}</p></section>'


def _table(head: str, rows: list[str]) -> str:
    """A table whose lines are cards on a narrow screen. Its roles are written out, since cards would lose them."""
    start = f'<table class="cards" role="table"><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
    return f'{start}<tbody role="rowgroup">{"".join(rows)}</tbody></table>'


def _cell(f: FormulaReport, key: str) -> str:
    value = f.digits if key == "digits" else f.witnesses.get(key)
    if value is None:
        return "linear" if key == "taylor_slope" and f.taylor else "–"
    return f"{value:.2f}" if key == "taylor_slope" else f"{value:.1f}" if key == "digits" else f"{value:.1e}"


def _wrong(f: FormulaReport) -> str:
    return f"{len(f.wrong_draws)} of {f.draws}"


def _sections(report: Findings, numbers: list[int], alone: bool) -> list[str]:
    """The sections on these formulas, and on the searches for mends that concern several of them."""
    parts, shown = [], ""
    searches = list(enumerate(report.searches))
    for n in numbers:
        f = report.formulas[n]
        mine = [(k, search) for k, search in searches if search.of == (n,)]
        parts.append(section(n, report, f.code * (f.code != shown), mine, alone))
        shown = f.code  # one gradient of several arguments is shown once
    own = {(n,) for n in numbers}
    rest: list[tuple[int, Search]] = [(k, search) for k, search in searches if search.of not in own]
    return parts + [sides(k, report, search) for k, search in rest]


def _errata(report: Findings, numbers: list[int]) -> str:
    """Formulas that are known to be wrong, and are."""
    if not numbers:
        return ""
    text = "These formulas are registered as wrong. The audit is not told what is wrong with them: it finds that by itself."
    parts = [erratum(n, report) for n in numbers if report.formulas[n].background.role != "control"]
    parts[:0] = [f"<h2>Known errors</h2><p>{text}</p>" if parts else "<h2>Negative control</h2>"]
    control = "The negative control is a right formula with one entry changed by a part in a million."
    for n in numbers:
        if report.formulas[n].background.role == "control":
            parts.append(f'<p id="f{n}">{control} It has to be found wrong, and is.</p>')
    return f'<section id="known">{"".join(parts)}</section>'


# ---- The models


def _models(report: Findings) -> str:
    """Each model with its loss and what the symbols mean; below it the formulas of a paper that are right."""
    groups: dict[object, list[FormulaReport]] = {}
    for f in report.formulas:
        groups.setdefault(f.background.statement, []).append(f)
    several = len(groups) > 1
    parts = [text for f in groups.items() if (text := _model(*f, several))]
    heading = "The model and its loss" if any(groups) else "The loss"
    return f'<section id="model"><h2>{heading}</h2>{"".join(parts)}</section>' if parts else ""


def _model(statement: object, formulas: list[FormulaReport], several: bool) -> str:
    from ..subject import Statement

    parts = []
    if isinstance(statement, Statement):
        about = statement.about
        parts += [f"<h3>{prose(about).removeprefix('<p>').removesuffix('</p>')}</h3>"] * bool(several and about)
        parts += map(display, statement.model)
        parts.append(f"<p>The loss that is differentiated is</p>{display(statement.loss)}")
        if statement.symbols:
            items = (f"<dt>{inline(tex)}</dt><dd>{_words(words)}</dd>" for tex, words in statement.symbols)
            parts.append(f'<dl class="symbols">{"".join(items)}</dl>')
    losses = dict.fromkeys(f.background.loss for f in formulas if f.background.loss)
    parts += [f"<pre>{as_html(code)}</pre>" for code in losses]
    right = [f for f in formulas if f.background.role == "formula" and f.ok and f.verdict == "agree"]
    if right:
        items = (f"<dt>{as_html(f.target)}</dt><dd>{_listed(f)}</dd>" for f in right)
        parts.append(f'<p>Gradients of it that are right:</p><dl class="formulas left">{"".join(items)}</dl>')
        sources = dict.fromkeys(f.source[:1].upper() + f.source[1:] for f in right)
        parts.append(f'<p class="soft">{as_html(". ".join(sources))}.</p>')
    return "".join(parts)


def _listed(f: FormulaReport) -> str:
    """A formula that is right, in a list of them."""
    name = "" if f.name == f.wrt else f'<span class="kind">{as_html(f.name)}</span> '
    return name + equation(f.equation)


def _words(text: str) -> str:
    return prose(text).removeprefix("<p>").removesuffix("</p>")


# ---- How it was judged, and how to repeat it


def _witnesses(report: Findings) -> str:
    """The table of one formula: each witness, the largest difference to it, and what it is."""
    f = report.formulas[0]
    rows = [
        f'<tr role="row"><th scope="row" role="rowheader">{as_html(column.long)}</th>'
        f'<td role="cell" class="number" data-name="difference">{_cell(f, column.key)}</td>'
        f'<td role="cell" class="words">{as_html(column.what)}</td></tr>'
        for column in report.columns
    ]
    named = (("witness", ""), ("difference", ""), ("what it is", ' class="words"'))
    head = "".join(f'<th scope="col" role="columnheader"{kind}>{name}</th>' for name, kind in named)
    table = _table(head, rows) + f'<p class="soft">{as_html(report.legend)}</p>'
    digits = "" if f.digits is None else f"Digits that are right: {f.digits:.1f}. "
    counted = f"Wrong: {_wrong(f)} {'points' if report.counted.startswith('points') else 'inputs'}."
    return f'<section id="how"><h2>How it was judged</h2><p>{_setting(report)}</p>{table}<p>{digits}{counted}</p></section>'


def _legend(report: Findings) -> str:
    """What the columns of the table are."""
    entries = [("digits", "-log10 of the largest error: how many digits are right, relative to the largest entry.")]
    entries += [(column.long, column.what) for column in report.columns]
    items = "".join(f"<dt>{as_html(name)}</dt><dd>{as_html(text)}</dd>" for name, text in entries)
    return f'<section id="how"><h2>How it was judged</h2><p>{_setting(report)}</p><dl>{items}</dl></section>'


def _setting(report: Findings) -> str:
    """Where it was judged, and what was active there."""
    activity = next((formula.activity for formula in report.formulas if formula.activity), {})
    shares = [
        f"{name.removesuffix('_active')} active on {share:.0%}"
        for name, share in activity.items()
        if name != "kink_margin"
    ]
    text = report.setting[:1].upper() + report.setting[1:]
    text += (f"; {', '.join(shares)}" if shares else "") + "."
    reason = getattr(report, "reason", "")
    return as_html(" ".join([text, *[report.conclusion] * (report.ok and not reason), *report.further]))


def _repeat(report: Findings, made: date) -> str:
    """The command or the call, and what it ran on."""
    call = f"<p>This repeats the audit:</p><pre>{as_html(report.call)}</pre>" if report.call else ""
    versions = [f"{name} {_version(name)}" for name in ("nlicl", "numpy", "numba")] + [
        f"Python {platform.python_version()}"
    ]
    text = f"Made on {made.isoformat()} with {', '.join(versions)}. The seed decides everything that is random."
    return f'<section id="repeat"><h2>To repeat it</h2>{call}<p class="soft">{as_html(text)}</p></section>'


def _version(name: str) -> str:
    from ... import __version__

    if name == "nlicl":
        return __version__
    try:
        return version(name)
    except PackageNotFoundError:
        return "(version unknown)"
