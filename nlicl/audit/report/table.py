"""What an audit found: as data (JSON), and as a table for the terminal."""

from dataclasses import dataclass, field

from ...core.files import plain, to_json, write_whole

__all__ = ["AuditReport", "FormulaReport"]


FEW = 15  # draws: with fewer, a paper's list of places (random ones, the initialisation, a trained point ...) is cut short
WITNESSES = ("complex_step", "complex_step_reference", "finite_difference", "extended", "taylor_slope")


@dataclass
class FormulaReport:
    """The audit of one formula. `to_dict` gives the fields of the JSON.

    Attributes
    ----------
    name, wrt, equation, source : str
    verdict, expected : {"agree", "disagree", "undetermined"}
    erratum : str or None
    max_relative_error : float or None
        Largest |given - expected| relative to the largest expected entry of its draw.
    digits : float or None
        -log10 of it.
    cosine : float or None
        Between given and expected gradients, all draws together.
    worst : dict or None
        index, given, expected, draw of the entry that is worst relative to its own size.
    witnesses : dict
        Largest relative difference to each witness; the Taylor slope, None where the loss is exactly linear.
    activity : dict
        Shares of what is active, as the paper counts it; the smallest margin that is not zero, if the loss has any.
    control_caught : bool
        Whether a copy with one entry off by a part in a million was caught.
    diagnosis : list of dict
        kind and detail; empty on agreement.
    error : str or None
        Why the formula could not be evaluated, if it could not.
    reason : str
        Why the verdict is `undetermined`, or what else the verdict rests on.
    code : str
        The source text of a reader's own formula.
    wrong_entries : list of dict
        The worst of the wrong entries, at most 20: draw, index, given, expected.
    taylor : dict or None
        "steps" and "remainders" behind the Taylor slope.
    heat_map : dict or None
        "draw", the worst one, and "errors", each entry's |given - expected| relative to the largest expected entry.
    """

    name: str
    wrt: str
    equation: str
    source: str
    expected: str
    erratum: str | None
    draws: int
    query_attends: bool = False
    note: str = ""
    verdict: str = "undetermined"
    max_relative_error: float | None = None
    digits: float | None = None
    cosine: float | None = None
    worst: dict | None = None
    wrong_draws: list = field(default_factory=list)
    witnesses: dict = field(default_factory=lambda: dict.fromkeys(WITNESSES))
    activity: dict = field(default_factory=dict)
    control_caught: bool | None = None
    diagnosis: list = field(default_factory=list)
    error: str | None = None
    reason: str = ""
    code: str = ""
    wrong_entries: list = field(default_factory=list)
    taylor: dict | None = None
    heat_map: dict | None = None

    @classmethod
    def of(cls, formula, draws, note):
        """An empty report on `formula`."""
        return cls(formula.name, formula.wrt, formula.equation, formula.source, formula.expected, formula.erratum, draws,
                   note=note, code=formula.code)  # fmt: skip

    @property
    def ok(self):
        """Whether the verdict is the expected one and nothing failed."""
        return self.verdict == self.expected and self.error is None

    def to_dict(self):
        """The formula's part of the JSON; no NaN or infinity in it."""
        return plain(dict(vars(self)))


@dataclass
class AuditReport:
    """The audit of one or more formulas of one paper.

    Attributes
    ----------
    paper : str
    seed, draws : int
    formulas : list of FormulaReport
    """

    paper: str
    seed: int
    draws: int
    formulas: list

    @property
    def ok(self):
        """Whether every verdict is the expected one."""
        return all(report.ok for report in self.formulas)

    def __bool__(self):
        return self.ok

    def check(self):
        """Raise AssertionError, with the report as its message, unless every verdict is the expected one."""
        if not self:
            raise AssertionError(str(self))
        return self

    @property
    def verdict(self):
        """The worst of the formulas' verdicts: disagree, undetermined, agree."""
        verdicts = {report.verdict for report in self.formulas}
        return next(verdict for verdict in ("disagree", "undetermined", "agree") if verdict in verdicts)

    def to_dict(self):
        """The JSON of `nlicl audit --json`."""
        from ... import __version__

        formulas = [report.to_dict() for report in self.formulas]
        return {"nlicl": __version__, "paper": self.paper, "seed": self.seed, "draws": self.draws, "formulas": formulas}

    def to_json(self, path):
        """Write the JSON to a file: whole or not at all."""
        write_whole(path, to_json(self.to_dict()))

    def to_html(self, path):
        """Write the report as one self-contained page: whole or not at all."""
        from .html import write_page

        write_page(self, path)

    def __str__(self):
        return table(self)

    def __repr__(self):
        verdicts = ", ".join(f"{report.name}: {report.verdict}" for report in self.formulas)
        return f"AuditReport({self.paper!r}, draws={self.draws}, seed={self.seed}: {verdicts})"


# ---- The table

_HEADER = ("formula", "verdict", "digits", "cplx kernel", "cplx ref.", "differences", "extended", "Taylor", "wrong")


def table(report, only_wrong=False):
    """The report as text: a line a formula, what is wrong below it.

    Parameters
    ----------
    report : AuditReport
    only_wrong : bool
        Leave out formulas that agree, and list the wrong entries of the others.

    Returns
    -------
    str
    """
    shown = [formula for formula in report.formulas if not only_wrong or formula.verdict != "agree"]
    rows = [_row(formula) for formula in shown]
    widths = [max(len(row[k]) for row in [_HEADER, *rows]) for k in range(len(_HEADER))]
    lines = [
        f"nlicl audit {report.paper}: {report.draws} draws, seed {report.seed}, float64",
        _activity(report.formulas),
        "",
    ]
    if not shown:
        lines.append("nothing is wrong")
    else:
        lines += [_line(_HEADER, widths), "-" * (sum(widths) + 2 * len(widths) - 2)]
    for formula, row in zip(shown, rows, strict=True):
        lines.append(_line(row, widths))
        lines += [f"    {text}" for text in _remarks(formula)]
        if only_wrong:
            lines += [f"    {text}" for text in _entries(formula)]
    return "\n".join([*lines, "", conclusion(report)])


def _entries(formula):
    """The worst of the wrong entries, a line each."""
    width = max((len(str(entry["index"])) for entry in formula.wrong_entries), default=0)
    for entry in formula.wrong_entries:
        given, expected = entry["given"], entry["expected"]
        off = f"  relative error {abs(given - expected) / abs(expected):.1e}" if expected else ""
        place = f"draw {entry['draw']:>3}  {formula.wrt}{entry['index']!s:{width}}"
        yield f"{place}  given {given: .12g}  expected {expected: .12g}{off}"


def _row(formula):
    w = formula.witnesses
    verdict = formula.verdict if formula.verdict == formula.expected else formula.verdict.upper()
    verdict += " (known)" if formula.expected == "disagree" and formula.ok else ""
    slope = "-" if formula.taylor is None else "linear" if w["taylor_slope"] is None else f"{w['taylor_slope']:.2f}"
    numbers = [_number(w.get(k)) for k in ("complex_step", "complex_step_reference", "finite_difference", "extended")]
    digits = "-" if formula.digits is None else f"{formula.digits:.1f}"
    wrong = "-" if formula.digits is None else f"{len(formula.wrong_draws)}/{formula.draws}"
    return (formula.name, verdict, digits, *numbers, slope, wrong)


def _number(value):
    return "-" if value is None else f"{value:.1e}"


def _line(cells, widths):
    left = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
    return "  ".join(left + right).rstrip()


def _remarks(formula):
    remarks = []
    if formula.error and not any(item["kind"] in ("shape", "transpose") for item in formula.diagnosis):
        remarks.append(f"error: {formula.error}")
    remarks += [f"{item['kind']}: {item['detail']}" for item in formula.diagnosis]
    if formula.verdict == "disagree" and formula.worst:
        w = formula.worst
        remarks.append(
            f"worst entry {formula.wrt}{w['index']} of draw {w['draw']}: given {w['given']:.9g}, expected {w['expected']:.9g}"
        )
    if formula.reason:
        remarks.append(formula.reason)
    if formula.note and formula.verdict != "agree":
        remarks.append(formula.note)
    return remarks


def _activity(formulas):
    known = next((formula.activity for formula in formulas if formula.activity), {})
    words = [
        f"{name.removesuffix('_active')} active on {share:.0%}"
        for name, share in known.items()
        if name != "kink_margin"
    ]
    if "kink_margin" in known:
        words.append(f"nearest kink at {known['kink_margin']:.1e}")
    return ", ".join(words)


def conclusion(report):
    """The whole report in a sentence or two."""
    bad = [formula for formula in report.formulas if not formula.ok]
    if bad:
        return "Not as expected: " + ", ".join(f"{formula.name} ({formula.verdict})" for formula in bad) + "."
    caught, n = sum(bool(formula.control_caught) for formula in report.formulas), len(report.formulas)
    if n == 1:
        text = "The verdict is as expected; " + (
            "the negative control was caught." if caught else "no negative control."
        )
    else:
        text = f"All {n} verdicts are as expected; {caught} of {n} negative controls caught."
    if report.draws < FEW:
        text += f" So few draws as {report.draws} leave out whole kinds of places and prove little: take {FEW} or more."
    return text
