"""What an audit found, as a table for the terminal."""

from collections.abc import Iterator

from ...core.checks import boolean
from ...core.text import one_line
from .findings import Findings, FormulaReport, both_values

__all__ = ["table"]


def table(report: Findings, only_wrong: bool = False) -> str:
    """The report as text: a line a formula, what is wrong below it.

    Parameters
    ----------
    report : Findings
    only_wrong : bool
        Leave out formulas that agree, and list the wrong entries of the others.

    Returns
    -------
    str
    """
    only_wrong = boolean("only_wrong", only_wrong)
    shown = [formula for formula in report.formulas if not only_wrong or formula.verdict != "agree"]
    header = (report.judged, "verdict", "digits", *(column.short for column in report.columns), report.counted)
    rows = [_row(formula, report) for formula in shown]
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    activity = _activity(report.formulas)
    lines = [*report.headings, *([activity] if activity else []), ""]
    if not shown:
        lines.append("nothing is wrong")
    else:
        lines += [_line(header, widths), "-" * (sum(widths) + 2 * len(widths) - 2)]
    for formula, row in zip(shown, rows, strict=True):
        lines.append(_line(row, widths))
        lines += [f"    {text}" for text in _remarks(formula, report)]
        if only_wrong:
            lines += [f"    {text}" for text in _entries(formula)]
    return "\n".join(
        map(one_line, [*lines, "", *report.closing])
    )  # what a formula or an error says makes no line of its own


def _entries(formula: FormulaReport) -> Iterator[str]:
    """The worst of the wrong entries, a line each."""
    width = max((len(formula.entry(entry)) for entry in formula.wrong_entries), default=0)
    for entry in formula.wrong_entries:
        given, expected = entry["given"], entry["expected"]
        off = (
            f"  relative error {abs(given - expected) / abs(expected):.1e}"
            if expected and "between" not in entry
            else ""
        )
        place = f"{formula.where(entry['draw']).removeprefix('of '):>8}  {formula.entry(entry):{width}}"
        yield f"{place}  given {given: .12g}  expected {expected: .12g}{off}"


def _row(formula: FormulaReport, report: Findings) -> tuple[str, ...]:
    w = formula.witnesses
    verdict = formula.verdict if formula.verdict == formula.expected else formula.verdict.upper()
    verdict += " (known)" if formula.expected == "disagree" and formula.ok else ""
    slope = "-" if formula.taylor is None else "linear" if w["taylor_slope"] is None else f"{w['taylor_slope']:.2f}"
    keys = [column.key for column in report.columns]
    numbers = [slope if key == "taylor_slope" else _number(w.get(key)) for key in keys]
    digits = "-" if formula.digits is None else f"{formula.digits:.1f}"
    wrong = "-" if formula.digits is None else f"{len(formula.wrong_draws)}/{formula.draws}"
    return (one_line(formula.name), verdict, digits, *numbers, wrong)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
    return "  ".join(left + right).rstrip()


def _remarks(formula: FormulaReport, report: Findings) -> list[str]:
    remarks = []
    said = any(
        item["kind"] in ("shape", "transpose") or item["detail"].startswith("it raises ") for item in formula.diagnosis
    )
    if formula.error and not said:
        remarks.append(f"error: {formula.error}")
    remarks += [*formula.said, *formula.facts]
    if formula.verdict == "disagree" and formula.worst:
        w = formula.worst
        remarks.append(f"worst entry {formula.entry(w)} {formula.where(w['draw'])}: {both_values(w)}{formula.by}")
    if formula.reason and formula.reason not in report.conclusion:
        remarks.append(formula.reason)
    if formula.note and formula.verdict != "agree":
        remarks.append(formula.note)
    return remarks


def _activity(formulas: list[FormulaReport]) -> str:
    known = next((formula.activity for formula in formulas if formula.activity), {})
    words = [
        f"{name.removesuffix('_active')} active on {share:.0%}"
        for name, share in known.items()
        if name != "kink_margin"
    ]
    if "kink_margin" in known:
        words.append(f"nearest kink at {known['kink_margin']:.1e}")
    return ", ".join(words)
