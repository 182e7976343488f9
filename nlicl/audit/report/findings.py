"""What an audit found, as data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...core.checks import integer
from ...core.describe import short
from ...core.errors import InvalidType, InvalidValue
from ...core.files import plain
from ...core.text import one_line
from ..mend.found import Mending, Repair
from ..subject import Formula
from .columns import COLUMNS, Background, Column
from .search import Progress, Search

__all__ = ["Findings", "FormulaReport", "both_values"]

FEW = 15  # draws: with fewer, a paper's list of places (random ones, the initialisation, a trained point ...) is cut short


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
        index, given, expected, draw of the entry that is worst relative to its own size; of a paper's formula also the
        draw's label and its sizes.
    failed : list of int
        Draws on which there is no value of the right shape.
    left_out : list of int
        Draws that tell nothing, since rounding explains what is off there.
    witnesses : dict
        Largest relative difference to each witness; the Taylor slope, None where the loss is exactly linear.
    activity : dict
        Shares of what is active, as the paper counts it; the smallest margin that is not zero, if the loss has any.
    control_caught : bool
        Whether a copy with one entry off by a part in a million was caught.
    diagnosis : list of dict
        kind and detail; empty on agreement. Items of a second explanation of the same have besides "explanation": "2", and
        so on.
    mistakes : int
        How many mistakes the first explanation names that are made at once; 0 if it names none.
    facts : list of str
        What else is known of a formula that disagrees, a sentence each. If something separates the draws on which it is
        wrong from the others, the first sentence says it, unless the diagnosis does.
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
    background : Background
        What a page says besides. It is not in `to_dict`.
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
    worst: dict[str, Any] | None = None
    wrong_draws: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)
    witnesses: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(column.key for column in COLUMNS))
    activity: dict[str, float] = field(default_factory=dict)
    control_caught: bool | None = None
    diagnosis: list[dict[str, str]] = field(default_factory=list)
    mistakes: int = 0
    facts: list[str] = field(default_factory=list)
    error: str | None = None
    reason: str = ""
    code: str = ""
    wrong_entries: list[dict[str, Any]] = field(default_factory=list)
    taylor: dict[str, list[float]] | None = None
    heat_map: dict[str, Any] | None = None
    hand: Any = field(default=None, repr=False, compare=False)  # what `at` asks
    background: Background = field(default_factory=Background)

    @classmethod
    def of(cls, formula: Formula, draws: int, note: str) -> "FormulaReport":
        """An empty report on `formula`."""
        return cls(formula.name, formula.wrt, formula.equation, formula.source, formula.expected, formula.erratum, draws,
                   note=note, code=formula.code)  # fmt: skip

    @property
    def ok(self) -> bool:
        """Whether the verdict is the expected one and nothing failed."""
        return self.verdict == self.expected and self.error is None

    @property
    def said(self) -> list[str]:
        """The diagnosis in lines: how many mistakes there are at once, and which other explanations would do as well."""
        lines, before = [], "1"
        for item in self.diagnosis:
            number = item.get("explanation", "1")
            opening = "or " if number != before else "and " if number != "1" else ""
            lines.append(f"{opening}{item['kind']}: {item['detail']}")
            before = number
        several = {2: "two", 3: "three"}.get(self.mistakes)
        if several:
            first = next((n for n, item in enumerate(self.diagnosis) if item["kind"] != "shape"), 0)
            lines.insert(first, f"{several} mistakes at once:")
        return lines

    @property
    def in_short(self) -> str:
        """Name, verdict and diagnosis in one line: what a `repr` shows. Without a diagnosis, the error or the reason."""
        found = "; ".join(self.said).replace("at once:; ", "at once: ") or (self.error or self.reason)
        more = f"; {self.facts[0]}" if self.facts and not self.mistakes else ""
        shown = found if self.verdict != "agree" else ""
        return one_line(f"{self.name}: {self.verdict}" + (f" ({shown}{more})" if shown else ""))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_short})"

    def at(self, draw: int) -> Any:
        """One draw in hand: parameters, prompt, what was given and what was expected.

        Parameters
        ----------
        draw : int
            Its number, from 0; `worst["draw"]` and `wrong_draws` have some.

        Returns
        -------
        Draw
            A named tuple: number, label, params, prompt, given, expected, wrong, holds, remark. Of the audit of any function
            a `PlaceInHand`: number, label, x, given, expected, wrong.

        Raises
        ------
        TypeError, ValueError
            No number of a draw. The report was not made by an audit, or in a process with other papers.
        """
        if self.hand is None:
            raise InvalidValue(
                f"this report on {self.name} holds no draws, since it was made from data; expected one that an audit returns. "
                f"Audit the formula again."
            )
        if isinstance(draw, (bool, np.bool_)) or not isinstance(draw, (int, np.integer)):
            raise InvalidType(f"draw is {short(draw)}; expected an integer from 0 to {self.draws - 1}.")
        if not 0 <= draw < self.draws:
            raise InvalidValue(
                f"draw is {short(draw)}; expected one of the {self.draws} numbers from 0 to {self.draws - 1}."
            )
        return self.hand.at(int(draw))

    @property
    def called(self) -> str:
        """What to call it in a sentence."""
        return self.name

    @property
    def target(self) -> str:
        """The gradient that it should be."""
        return f"d loss / d {self.wrt}"

    def on(self, n: int) -> str:
        """So many of the places it was judged at, in words."""
        every = "both" if n == 2 else f"all {n}"
        return f"on {every} random inputs" if n == self.draws else f"on {n} of {self.draws} random inputs"

    @property
    def right_on(self) -> str:
        """Where it is right, if it is, in words."""
        return self.on(self.draws - len(self.left_out))

    def where(self, draw: int) -> str:
        """A draw, in words."""
        return f"of draw {draw}"

    def entry(self, entry: dict[str, Any]) -> str:
        """What to call an entry: W[1, 2], or the name alone of a single number."""
        return f"{self.wrt}{entry['index'] or ''}"

    @property
    def by(self) -> str:
        """The witness of an expected value, where a report has not said it."""
        return ""

    @property
    def about(self) -> str:
        """Where it comes from and what it was judged against, for a page."""
        keys = "the query among the keys" if self.query_attends else "the contexts alone as keys"
        return f"{self.source}. Judged against the model with {keys}."

    def to_dict(self) -> dict[str, Any]:
        """The formula's part of the JSON; no NaN or infinity in it."""
        return plain({name: value for name, value in vars(self).items() if name not in ("hand", "background")})

    def _repr_html_(self) -> str | None:
        from .notebook import formula_html

        return formula_html(self)


@dataclass
class Findings:
    """The audit of one or more formulas of one paper, or of any function: what `AuditReport` shows.

    Attributes
    ----------
    paper : str
        Or the function's name.
    seed, draws : int
    formulas : list of FormulaReport
    searches : list of Search
        For mends of what disagrees. They run when their result is asked for, by `str`, `to_dict` and `repairs` for example.
    call : str
        The command, or the call in Python, that repeats the audit.
    """

    paper: str
    seed: int
    draws: int
    formulas: list[FormulaReport]
    searches: list[Search] = field(default_factory=list, compare=False, repr=False)
    call: str = field(default="", compare=False, repr=False)

    @property
    def ok(self) -> bool:
        """Whether every verdict is the expected one."""
        return all(report.ok for report in self.formulas)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def verdict(self) -> str:
        """The worst of the formulas' verdicts: disagree, undetermined, agree."""
        verdicts = {report.verdict for report in self.formulas}
        return next(verdict for verdict in ("disagree", "undetermined", "agree") if verdict in verdicts)

    def search(self, progress: Progress | None = None) -> None:
        """Run the searches for mends that have not run.

        Parameters
        ----------
        progress : callable, optional
            progress(done, total, text), called now and then.
        """
        for search in self.searches:
            search.mending(progress)

    @property
    def mending(self) -> Mending:
        """What the first search found; an empty `Mending` where nothing was searched."""
        return self.searches[0].mending() if self.searches else Mending()

    @property
    def repairs(self) -> list[Repair]:
        """The mends of all searches, of each the best first."""
        return [repair for search in self.searches for repair in search.mending().repairs]

    def mended(self, formula: int | None = None) -> Callable[..., Any] | None:
        """The repaired function of the best mend, to be called as the one that was judged.

        Parameters
        ----------
        formula : int, optional
            The number of the formula, or of the argument, in `formulas`; the first that was searched if not given. One
            function returns the gradient by all arguments.

        Returns
        -------
        callable or None
            None if there is no mend: `mending.note` says why. None as well where the code ran in another process, and in
            a report that was pickled: `repairs[0].text` is the text of the repaired file.

        Raises
        ------
        TypeError, ValueError
            `formula` is no number of a formula.
        """
        if formula is not None:
            formula = integer("formula", formula, 0, len(self.formulas) - 1)
        for search in self.searches:
            if formula is None or formula in search.of:
                repairs = search.mending().repairs
                return repairs[0].function if repairs else None
        return None

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `nlicl audit --json`."""
        from ... import __version__

        formulas = [{**report.to_dict(), "repairs": [], "mend": None} for report in self.formulas]
        for search in self.searches:
            mending = search.mending()
            repairs = [plain(repair.to_dict()) for repair in mending.repairs]
            mend = {"others": mending.others, "tried": mending.tried, "seconds": mending.seconds, "note": mending.note}
            for number in search.of:
                formulas[number] |= {"repairs": repairs, "mend": plain(mend)}
        every = [plain(repair.to_dict()) for repair in self.repairs]
        about = {"nlicl": __version__, "paper": self.paper, "seed": self.seed, "draws": self.draws}
        return {**about, "formulas": formulas, "repairs": every}

    judged, counted = "formula", "wrong"  # what a table's lines are about, and the head of its last column

    @property
    def columns(self) -> tuple[Column, ...]:
        """The witnesses that a table shows."""
        return COLUMNS

    @property
    def setting(self) -> str:
        """Where and how it was judged, for a page."""
        return f"{self.draws} random inputs (draws), each of parameters and one prompt; seed {self.seed}; float64"

    @property
    def introduction(self) -> str:
        """What was done, for a reader who has not heard of it."""
        what = "each formula" if len(self.formulas) > 1 else "the formula"
        return (
            f"nlicl is a program that checks gradients derived by hand. It evaluated {what} on {self.draws} random inputs, "
            "and held every entry against derivatives of the loss that are found without deriving anything."
        )

    @property
    def legend(self) -> str:
        """What a table's numbers are, for a page."""
        return (
            "Numbers are the largest differences between a formula and a witness, relative to the largest entry of the "
            "gradient on the same input."
        )

    @property
    def further(self) -> list[str]:
        """Sentences for a page, below the table."""
        return []

    @property
    def headings(self) -> list[str]:
        """The lines above the table: what was audited."""
        return [f"nlicl audit {self.paper}: {self.draws} draws, seed {self.seed}, float64"]

    @property
    def conclusion(self) -> str:
        """The whole report in a sentence or two."""
        bad = [formula for formula in self.formulas if not formula.ok]
        if bad:
            return "Not as expected: " + ", ".join(f"{formula.name} ({formula.verdict})" for formula in bad) + "."
        caught, n = sum(bool(formula.control_caught) for formula in self.formulas), len(self.formulas)
        if n == 1:
            control = "the negative control was caught." if caught else "no negative control."
            text = f"The verdict is as expected; {control}"
        else:
            text = f"All {n} verdicts are as expected; {caught} of {n} negative controls caught."
        if self.draws < FEW:
            text += (
                f" So few draws as {self.draws} leave out whole kinds of places and prove little: take {FEW} or more."
            )
        return text

    @property
    def closing(self) -> list[str]:
        """The lines below the table."""
        return [self.conclusion]


def both_values(entry: dict[str, Any]) -> str:
    """Given and expected value of an entry, to as many digits as tell them apart; on a kink both derivatives."""
    given, expected = entry["given"], entry["expected"]
    if "between" in entry:
        low, high = entry["between"]
        return f"given {given:.9g}, expected between {low:.9g} and {high:.9g}, the derivatives to both sides of a kink"
    digits = 17 if abs(given - expected) < 1e-6 * abs(expected) else 9
    return f"given {given:.{digits}g}, expected {expected:.{digits}g}"
