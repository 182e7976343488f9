"""What an audit found, and the ways to show it: a table, data, a page."""

import os

from ...core.describe import short
from ...core.errors import InvalidType, InvalidValue
from ...core.files import to_json, write_whole
from .findings import Findings, FormulaReport
from .html import page
from .mends import mends
from .notebook import report_html
from .table import table

__all__ = ["AuditReport", "FormulaReport"]


class AuditReport(Findings):
    """The audit of one or more formulas of one paper. `print` it for the table, and the mends of what disagrees.

    Attributes
    ----------
    paper : str
    seed, draws : int
    formulas : list of FormulaReport
    ok : bool
        Whether every verdict is the expected one.
    verdict : {"agree", "disagree", "undetermined"}
        The worst of the formulas' verdicts.
    mending : Mending
    repairs : list of Repair
        Edits that make a formula that disagrees agree. They are searched for when they are asked for, or shown.
    """

    adds = True  # whether one may be added to another

    def check(self) -> "AuditReport":
        """Raise AssertionError, with the report as its message, unless every verdict is the expected one.

        The first line of the message says what is wrong, since a test's summary shows no more.
        """
        __tracebackhide__ = True  # pytest then shows the test's own line
        if not self:
            raise AssertionError(self._failure())
        return self

    def _failure(self) -> str:
        bad = "; ".join(formula.in_short for formula in self.formulas if not formula.ok)
        return f"{bad}\n\n{self}"

    def __add__(self, other: "AuditReport") -> "AuditReport":
        """Both in one report: on one page, in one table. They are of one paper, from one seed and as many draws.

        Raises
        ------
        ValueError
            They are not.
        TypeError
            One of them is on the gradient of any function: it has points, and perhaps a Hessian, of its own.
        """
        if not isinstance(other, AuditReport):
            return NotImplemented
        if not (self.adds and other.adds):
            raise InvalidType(
                "reports on the gradient of a function do not add up, since each has points of its own; expected two on "
                "formulas of one paper. Write a page of each."
            )
        for what in ("paper", "seed", "draws"):
            one, two = getattr(self, what), getattr(other, what)
            if one != two:
                raise InvalidValue(
                    f"{what} is {short(one)} in one report and {short(two)} in the other; expected the same."
                )
        searches = [*self.searches, *(search.moved(len(self.formulas)) for search in other.searches)]
        calls = "\n".join(dict.fromkeys(filter(None, (self.call, other.call))))
        return AuditReport(self.paper, self.seed, self.draws, [*self.formulas, *other.formulas], searches, calls)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON to a file: whole or not at all."""
        write_whole(path, to_json(self.to_dict()))

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write the report as one self-contained page: whole or not at all."""
        write_whole(path, page(self))

    def __str__(self) -> str:
        """The table, and below it the mends, which it searches if that is yet to be done."""
        return "\n\n".join(filter(None, (table(self), mends(self))))

    def _repr_html_(self) -> str | None:
        return report_html(self)

    def __repr__(self) -> str:
        verdicts = ", ".join(report.in_short for report in self.formulas)
        return f"AuditReport({self.paper!r}, draws={self.draws}, seed={self.seed}: {verdicts})"
