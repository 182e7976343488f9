"""How an audit's report looks in a notebook: `_repr_html_` of its types."""

from collections.abc import Iterator

import numpy as np

from ...core.markup import Markup, box, details, join, matrix, note, safely, table
from ...core.text import one_line
from .findings import Findings, FormulaReport, both_values
from .mends import mends

__all__ = ["formula_html", "report_html"]

_COLOURS = {"agree": "#17803f", "disagree": "#c62828", "undetermined": "#a06a00"}
_SHOWN = 4  # formulas whose faults are shown in full


@safely
def report_html(report: Findings) -> str:
    """A report: its conclusion, a table of verdicts, what is wrong with each formula, and the mends, as `print` has them."""
    columns = report.columns
    heads = [report.judged, "verdict", "digits", *(column.long for column in columns), report.counted]
    rows = [_row(formula, report) for formula in report.formulas]
    faulty = [formula for formula in report.formulas if not formula.ok]
    parts = [join(*_fault(formula, named=len(report.formulas) > 1)) for formula in faulty[:_SHOWN]]
    if len(faulty) > _SHOWN:
        parts.append(note(f"{len(faulty) - _SHOWN} more are not as expected; print the report for all."))
    found = mends(report)
    mended = Markup(f'<pre style="white-space:pre-wrap">{join(found)}</pre>') if found else ""
    about = join(note(report.setting), *map(note, report.further), note(report.legend))
    return box(report.conclusion, table(heads, rows, most=24), *parts, mended, details("about these numbers", about))


@safely
def formula_html(formula: FormulaReport) -> str:
    """The report on one formula: its verdict, what is wrong, and a map of the errors on the worst draw."""
    digits = "" if formula.digits is None else f", {formula.digits:.1f} correct digits"
    wrong = f", wrong on {len(formula.wrong_draws)} of {formula.draws}" if formula.wrong_draws else ""
    title = join(one_line(formula.name), ": ", _verdict(formula), digits, wrong)
    return box(title, note(one_line(f"{formula.wrt}: {formula.equation}")), *_fault(formula, named=False))


def _row(formula: FormulaReport, report: Findings) -> list[object]:
    digits = "-" if formula.digits is None else f"{formula.digits:.1f}"
    numbers = []
    for column in report.columns:
        value = formula.witnesses.get(column.key)
        of_slope = column.key == "taylor_slope"
        nothing = "linear" if of_slope and formula.taylor else "-"
        numbers.append(nothing if value is None else f"{value:.2f}" if of_slope else f"{value:.1e}")
    wrong = "-" if formula.digits is None else f"{len(formula.wrong_draws)} of {formula.draws}"
    return [one_line(formula.name), _verdict(formula), digits, *numbers, wrong]


def _verdict(formula: FormulaReport) -> Markup:
    known = " (as expected)" if formula.expected != "agree" and formula.ok else ""
    colour = _COLOURS.get(formula.verdict, "inherit")
    return join(Markup(f'<span style="color:{colour};font-weight:bold">'), formula.verdict, Markup("</span>"), known)


def _fault(formula: FormulaReport, named: bool) -> Iterator[object]:
    """What is wrong with a formula, line by line, and where."""
    lines: list[object] = []
    if formula.mistakes > 1:
        lines.append(f"{formula.mistakes} mistakes are made at once.")
    for item in formula.diagnosis:
        lines.append(join(Markup("<b>"), item["kind"], Markup("</b>: "), one_line(item["detail"])))
    lines += map(one_line, formula.facts)
    if formula.verdict == "disagree" and formula.worst:
        worst = formula.worst
        where = formula.where(worst["draw"])
        lines.append(one_line(f"worst entry {formula.entry(worst)} {where}: {both_values(worst)}{formula.by}"))
    lines += [one_line(text) for text in (formula.error, formula.reason, formula.note) if text]
    if lines:
        yield join(Markup("<div><b>"), one_line(formula.name), Markup("</b></div>")) if named else ""
        yield Markup(f"<ul>{''.join(f'<li>{join(line)}</li>' for line in lines)}</ul>")
    yield from _errors(formula)


def _errors(formula: FormulaReport) -> Iterator[object]:
    """Where the errors are, on the worst draw: entry by entry, if the gradient is a matrix."""
    if formula.verdict != "disagree" or not formula.heat_map:
        return
    errors = np.array(formula.heat_map["errors"], float)
    if errors.size < 2 or not np.isfinite(errors).any():
        return
    where = formula.where(formula.heat_map["draw"]).replace("of draw", "on draw")
    drawn = matrix(errors, f"errors of {formula.wrt} by entry", 120)
    if drawn:
        yield note(
            f"Size of the error of each entry of {formula.wrt} {where}. White is right, the strongest red is worst."
        )
        yield drawn
