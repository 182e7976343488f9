"""The audit report as one self-contained HTML page: no network, no scripts; fit to attach to a referee's report."""

import math
from typing import Any

from ...core.text import visible
from .findings import Findings, FormulaReport, both_values
from .mathml import mathml
from .sides import STYLE, as_html, sides

__all__ = ["page"]

_STYLE = """
:root { --ink: #1c1f23; --soft: #5b636d; --line: #d5dae0; --paper: #fff; --good: #17663a; --bad: #a4161a; --open: #7a5a00; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 60rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 Charter, Georgia, "Times New Roman", serif; }
h1 { font-size: 1.5rem; margin: .2rem 0; } h2 { font-size: 1.15rem; margin: 0; }
p { margin: .4rem 0; } .soft { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; width: 100%; }
th, td { padding: .25rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
section { border-top: 2px solid var(--line); margin-top: 1.4rem; padding-top: .8rem; }
.agree { color: var(--good); } .disagree { color: var(--bad); } .undetermined { color: var(--open); }
.verdict { font-weight: bold; } .known { font-weight: normal; color: var(--soft); }
ul { margin: .4rem 0; padding-left: 1.2rem; } .kind { font-family: ui-monospace, monospace; font-size: .85em; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start; }
pre { font: .82rem/1.45 ui-monospace, monospace; background: #f5f6f8; padding: .6rem .8rem; }
figure { margin: .6rem 0; max-width: 100%; } figcaption { font-size: .85rem; color: var(--soft); max-width: 22rem; }
svg { max-width: 100%; height: auto; } svg text { font: 11px ui-sans-serif, sans-serif; fill: var(--soft); }
math { font-size: 1.05em; } .math { overflow-x: auto; overflow-y: hidden; padding: .2rem 0; }
a { color: inherit; } @media print { section { break-inside: avoid; } body { max-width: none; } }
"""


def page(report: Findings) -> str:
    """The page as text.

    Parameters
    ----------
    report : Findings

    Returns
    -------
    str
        HTML.
    """
    from ... import __version__

    title = f"Gradient audit: {report.paper}"
    activity = next((formula.activity for formula in report.formulas if formula.activity), {})
    shares = [
        f"{name.removesuffix('_active')} active on {share:.0%}"
        for name, share in activity.items()
        if name != "kink_margin"
    ]
    before = ["", *(formula.code for formula in report.formulas)]  # one gradient of several arguments is shown once
    codes = [formula.code * (formula.code != last) for formula, last in zip(report.formulas, before, strict=False)]
    setting = f"nlicl {__version__}; {report.setting}" + (f"; {', '.join(shares)}" if shares else "")
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{as_html(title)}</title><style>{_STYLE}{STYLE}</style></head><body>",
            f"<h1>{as_html(title)}</h1>",
            f"<p>{as_html(report.conclusion)}</p>",
            f'<p class="soft">{as_html(setting)}. {as_html(report.legend)}</p>',
            _summary(report),
            *(f"<p>{as_html(text)}</p>" for text in report.further),
            *(_section(n, formula, code) for n, (formula, code) in enumerate(zip(report.formulas, codes, strict=True))),
            *(sides(n, report, search) for n, search in enumerate(report.searches)),
            "</body></html>\n",
        ]
    )


def _summary(report: Findings) -> str:
    names = (report.judged, "verdict", "digits", *(column.long for column in report.columns), report.counted)
    head = "".join(f"<th>{as_html(name)}</th>" for name in names)
    rows = []
    for n, f in enumerate(report.formulas):
        keys = ("digits", *(column.key for column in report.columns))
        cells = [f'<a href="#f{n}">{as_html(f.name)}</a>', _verdict(f), *(_cell(f, key) for key in keys)]
        cells.append(f"{len(f.wrong_draws)} of {f.draws}")
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _verdict(formula: FormulaReport) -> str:
    note = ' <span class="known">(known erratum)</span>' if formula.expected == "disagree" and formula.ok else ""
    return f'<span class="verdict {formula.verdict}">{formula.verdict}</span>{note}'


def _cell(formula: FormulaReport, key: str) -> str:
    value = formula.digits if key == "digits" else formula.witnesses.get(key)
    if value is None:
        return "linear" if key == "taylor_slope" and formula.taylor else "–"
    return f"{value:.2f}" if key == "taylor_slope" else f"{value:.1f}" if key == "digits" else f"{value:.1e}"


def _section(n: int, f: FormulaReport, code: str) -> str:
    parts = [f'<section id="f{n}"><h2>{as_html(f.name)}: ∂ loss / ∂ {as_html(f.wrt)} — {_verdict(f)}</h2>']
    parts.append(f'<div class="math">{mathml(visible(f.equation))}</div>')
    if code:
        parts.append(f'<pre class="scroll">{as_html(code)}</pre>')
    parts.append(f'<p class="soft">{as_html(f.about)}</p>')
    if f.erratum:
        parts.append(f"<p>Known erratum: {as_html(f.erratum)}.</p>")
    items = [f'<span class="kind">{as_html(d["kind"])}</span>: {as_html(d["detail"])}' for d in f.diagnosis]
    if f.verdict == "disagree" and f.worst:
        w = f.worst
        items.append(
            f"worst entry {as_html(f.entry(w))} {as_html(f.where(w['draw']))}: {both_values(w)}{as_html(f.by)}"
        )
    said = any(d["kind"] in ("shape", "transpose") for d in f.diagnosis)  # then the error says the same again
    items += [as_html(text) for text in (None if said else f.error, f.reason, f.note) if text]
    if items:
        parts.append("<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>")
    plots = [_taylor_plot(f.taylor) if f.taylor else "", _heat_map(f, f.heat_map) if f.heat_map else ""]
    if any(plots):
        parts.append(f'<div class="plots">{"".join(plots)}</div>')
    return "".join(parts) + "</section>"


def _taylor_plot(taylor: dict[str, list[float]]) -> str:
    """Remainder against step, both logarithmic, with lines of slope 1 and 2 through the largest step's point."""
    points = [
        (math.log10(t), math.log10(r)) for t, r in zip(taylor["steps"], taylor["remainders"], strict=True) if r > 0
    ]
    if len(points) < 2:
        return ""
    (x1, y1), x0 = max(points), min(points)[0]
    guides = {slope: y1 - slope * (x1 - x0) for slope in (1, 2)}  # their heights at the smallest step
    low = min([y for _, y in points] + list(guides.values()))
    high = max(y for _, y in points)
    width, height, left, right, top, bottom = 300, 200, 70, 20, 12, 34

    def at(x: float, y: float) -> tuple[float, float]:
        u = left + (x - x0) / (x1 - x0) * (width - left - right)
        v = top + (high - y) / (high - low or 1) * (height - top - bottom)
        return round(u, 1), round(v, 1)

    parts = []
    for slope, y in guides.items():
        (u0, v0), (u1, v1) = at(x0, y), at(x1, y1)
        parts.append(f'<path d="M{u0} {v0}L{u1} {v1}" stroke="#8a929c" stroke-dasharray="4 3"/>')
        parts.append(f'<text x="{u0 - 6}" y="{v0 + 4}" text-anchor="end">slope {slope}</text>')
    parts += ['<circle cx="{}" cy="{}" r="3.2" fill="#1c1f23"/>'.format(*at(*point)) for point in points]
    for x, anchor in ((x0, "middle"), (x1, "end")):
        parts.append(f'<text x="{at(x, low)[0]}" y="{height - 8}" text-anchor="{anchor}">t = {10**x:.0e}</text>')
    caption = "Taylor remainder |f(x + tv) − f(x) − t⟨g, v⟩| against t, all draws together."
    return _figure(width, height, "Taylor remainder", parts, caption)


def _heat_map(f: FormulaReport, heat_map: dict[str, Any]) -> str:
    """Relative error of every entry on the worst draw, dark is wrong."""
    rows = heat_map["errors"]
    rows = rows if isinstance(rows[0], list) else [[value] for value in rows]
    size = max(8, min(22, 280 // len(rows[0])))
    parts = []
    for i, row in enumerate(rows):
        for j, error in enumerate(row):
            shade = 0.0 if error <= 1e-16 else min(1.0, math.log10(min(error, 1.0)) / 16 + 1)
            grey = round(250 - 220 * shade)
            place = f"{i}, {j}" if len(row) > 1 else f"{i}"
            parts.append(
                f'<rect x="{j * size}" y="{i * size}" width="{size - 1}" height="{size - 1}" stroke="#b8bec6" '
                f'fill="rgb({grey},{grey},{grey})"><title>[{place}] {error:.1e}</title></rect>'
            )
    where = f.where(heat_map["draw"]).replace("of draw", "on draw")
    caption = f"Relative error of each entry of {f.wrt} {where}: white 1e-16 or less, black 1 or more."
    return _figure(len(rows[0]) * size, len(rows) * size, "errors by entry", parts, caption)


def _figure(width: int, height: int, label: str, parts: list[str], caption: str) -> str:
    drawing = (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )
    return f"<figure>{drawing}<figcaption>{as_html(caption)}</figcaption></figure>"
