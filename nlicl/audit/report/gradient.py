"""What the audit of any function found."""

from dataclasses import dataclass, field
from typing import Any

from ...core.files import plain
from . import AuditReport
from .columns import Column
from .findings import FormulaReport, both_values

__all__ = ["ArgumentReport", "GradientReport", "ProductReport"]

COLUMNS = (
    Column(
        "dual_numbers",
        "dual nrs",
        "dual numbers",
        "Dual numbers carry the derivative through NumPy's functions, exact to rounding.",
    ),
    Column(
        "complex_step",
        "cplx step",
        "complex step",
        "The complex step is Im f(x + ihv)/h, exact to rounding where every step of the function is analytic.",
    ),
    Column("finite_difference", "differences", "differences", "Differences are extrapolated from values of the loss."),
    Column("direction", "direction", "direction", "Direction: all entries together, along random directions."),
)


@dataclass(repr=False)
class ArgumentReport(FormulaReport):
    """The audit of the gradient by one argument: a `FormulaReport`, and what only any function has.

    Attributes
    ----------
    shape : tuple of int
    witness : {"dual numbers", "complex step", "differences"}
        What its entries were held against.
    why : str
        Why that one: what was in the way of those before it.
    entries : int
        How many entries were looked at one by one, of `size`; all of them were looked at along directions.
    size : int
    wrong : int
        Wrong ones among them, at the worst point.
    kinks : list of index
        Entries of x at which the loss has two derivatives.
    tolerance : float
        The widest, relative to the largest entry.
    points : list of str
        Where it was judged; the numbers in `worst` and `wrong_draws` are places in this list.
    rests_on : str
        What x is, in words, if it is right only where x is that: "symmetric".
    elsewhere : list of int
        The places where x is not that, and the gradient wrong; they are not among `wrong_draws`.
    """

    shape: tuple[int, ...] = ()
    witness: str = ""
    why: str = ""
    entries: int = 0
    size: int = 0
    wrong: int = 0
    kinks: list[list[int]] = field(default_factory=list)
    tolerance: float = 0.0
    points: list[str] = field(default_factory=lambda: ["x"])
    rests_on: str = ""
    elsewhere: list[int] = field(default_factory=list)

    @property
    def called(self) -> str:
        return "the given gradient"

    @property
    def target(self) -> str:
        return self.equation

    def on(self, n: int) -> str:
        if len(self.points) == 1:
            return self.where(0)
        return f"at all {n} points" if n == self.draws else f"at {n} of {self.draws} points"

    def where(self, draw: int) -> str:
        """A point, in words."""
        point = self.points[draw]
        return point if point.startswith("near") else f"at {point}"

    @property
    def right_on(self) -> str:
        if not self.rests_on:
            return super().right_on
        return f"{self.on(self.draws - len(self.elsewhere))}, just those where {self.name} is {self.rests_on}"

    @property
    def by(self) -> str:
        return f", by {self.witness}" if self.witness else ""

    @property
    def about(self) -> str:
        looked = f"{self.entries} of {self.size} entries looked at one by one" if self.entries < self.size else ""
        witness = f"held against {self.witness}" + (f" (before them: {self.why})" if self.why else "")
        tolerance = f"tolerance {self.tolerance:.0e}" if self.tolerance else ""
        parts = [self.source, f"shape {self.shape}", witness if self.witness else "not judged", tolerance, looked]
        return "; ".join(part for part in parts if part) + "."


@dataclass
class ProductReport:
    """The audit of a Hessian, or of its products with vectors.

    Attributes
    ----------
    verdict : {"agree", "disagree", "undetermined"}
    reason : str
    error : float or None
        The largest error, relative to the largest entry of the product's part.
    witness : str
        Through what the expected product was found.
    worst : dict or None
        argument, index, given, expected.
    diagnosis : list of dict
        kind and detail.
    """

    verdict: str
    reason: str = ""
    error: float | None = None
    witness: str = ""
    worst: dict[str, Any] | None = None
    diagnosis: list[dict[str, str]] = field(default_factory=list)


class GradientReport(AuditReport):
    """The audit of one gradient, of any function. True in a condition if and only if the verdict is "agree".

    Attributes
    ----------
    verdict : {"agree", "disagree", "undetermined"}
    reason : str
        What the verdict rests on, in a sentence.
    arguments : list of ArgumentReport
        One for each differentiated argument; `formulas` is the same list.
    remarks : list of str
        What else was seen: arguments altered in place, a loss that does not use an argument ...
    taylor_slope : float or None
        Exponent of |f(x + tv) - f(x) - t <g, v>|; None where it is all rounding, or was not taken.
    hessian : ProductReport or None
        If a Hessian was given.
    points : list of str
        Where it was judged.
    calls : dict
        How often loss and gradient were called.
    mending : Mending
    repairs : list of Repair
        Edits of the gradient's code that make it agree. They are searched for when they are asked for, or shown.
    """

    def __init__(
        self,
        name: str,
        seed: int,
        points: list[str],
        arguments: list[ArgumentReport],
        verdict: str,
        reason: str,
        remarks: list[str],
        *,
        taylor_slope: float | None = None,
        taylor_taken: bool = False,
        hessian: ProductReport | None = None,
        calls: dict[str, int] | None = None,
    ) -> None:
        super().__init__(name, seed, len(points), list(arguments))
        if verdict == "undetermined" and all(argument.verdict == "agree" for argument in arguments):
            for argument in arguments:  # what is open of the whole is open of its parts
                argument.verdict = verdict
        self.arguments, self.points, self.remarks = arguments, points, remarks
        self._verdict, self.reason = verdict, reason
        self.taylor_slope, self.taylor_taken, self.hessian, self.calls = (
            taylor_slope,
            taylor_taken,
            hessian,
            calls or {},
        )

    @property
    def columns(self) -> tuple[Column, ...]:
        """The witnesses that were there."""
        return tuple(
            column for column in COLUMNS if any(a.witnesses.get(column.key) is not None for a in self.arguments)
        )

    @property
    def verdict(self) -> str:
        return self._verdict

    @property
    def ok(self) -> bool:
        """Whether the verdict is "agree"."""
        return self._verdict == "agree"

    def _failure(self) -> str:
        return str(self)  # its first line is the verdict with its reason

    @property
    def hessian_error(self) -> float | None:
        """Largest relative error of the Hessian's products; None if none was given, or none could be judged."""
        return None if self.hessian is None else self.hessian.error

    judged, counted = "argument", "points wrong"
    adds = False

    @property
    def headings(self) -> list[str]:
        return [self.conclusion, self.setting]

    @property
    def setting(self) -> str:
        calls = self.calls.get("loss", 0)
        return f"at {', '.join(self.points)}; seed {self.seed}; {calls} call{'s' * (calls != 1)} of the loss"

    @property
    def conclusion(self) -> str:
        return f"gradient: {self.verdict}. {self._sentence(self.reason)}"

    @property
    def legend(self) -> str:
        return (
            "Numbers are the largest differences to a witness, relative to the largest entry of the gradient at its "
            "point."
        )

    @property
    def introduction(self) -> str:
        return (
            "nlicl is a program that checks gradients derived by hand. It held every entry of this one against derivatives of "
            "the loss that are found without deriving anything."
        )

    @property
    def further(self) -> list[str]:
        return [line.strip() for line in self.closing]

    @property
    def closing(self) -> list[str]:
        lines = [self._sentence(remark) for remark in [*self._witnesses(), *self.remarks]] + [self._taylor()]
        if self.hessian is not None:
            error = (
                "" if self.hessian.error is None else f", error {self.hessian.error:.1e} against {self.hessian.witness}"
            )
            lines.append(f"Hessian: {self.hessian.verdict}{error}.")
            lines += [f"    {item['kind']}: {item['detail']}" for item in self.hessian.diagnosis]
            named = any("worst" in item["detail"] for item in self.hessian.diagnosis)
            if self.hessian.verdict == "disagree" and self.hessian.worst and not named:
                w = self.hessian.worst
                lines.append(f"    worst entry {w['argument']}{w['index'] or ''} of a product: {both_values(w)}")
            if not self.hessian.diagnosis and self.hessian.reason not in self.reason:
                lines.append(f"    {self._sentence(self.hessian.reason)}")
        return lines

    def _witnesses(self) -> list[str]:
        """Which witness judged which argument, where it was not dual numbers, and why."""
        found = []
        for witness, words in (("complex step", "the complex step"), ("differences", "differences of the loss")):
            held = [argument for argument in self.arguments if argument.witness == witness]
            if held:
                names = ", ".join(argument.name for argument in held) + (" is" if len(held) == 1 else " are")
                why = next((argument.why for argument in held if argument.why and "[" not in argument.why), "")
                because = f" ({why})" if why else ""
                found.append(f"{names} held against {words}, since dual numbers do not go through the loss{because}")
        return found

    def _taylor(self) -> str:
        """The Taylor slope in a sentence."""
        if any(argument.kinks for argument in self.arguments):
            return "Taylor slope: not taken on a kink."
        if not self.taylor_taken:
            return "Taylor slope: not taken."
        if self.taylor_slope is None:
            return "Taylor slope: none, the remainder is all rounding."
        note = (
            "" if self.verdict == "disagree" and self.taylor_slope > 1.5 else " (2 for a gradient, 1 for anything else)"
        )
        at_x = " at x" if not note else ""
        return f"Taylor slope{at_x}: {self.taylor_slope:.2f}{note}."

    def _sentence(self, text: str) -> str:
        """A text that begins with a capital letter, unless with a name, and ends with a full stop."""
        first = text.split(" ", 1)[0]
        if first.isalpha() and first.islower() and first not in ("x", *(argument.name for argument in self.arguments)):
            text = text[0].upper() + text[1:]
        return text if text.endswith((".", "?", "!")) or not text else text + "."

    def with_product(self, found: ProductReport) -> "GradientReport":
        """The report with the verdict on second derivatives: it counts where the gradient is right."""
        self.hessian = found
        if self._verdict == "agree" and found.verdict != "agree":
            word = "does not" if found.verdict == "disagree" else "is undetermined"
            self._verdict, self.reason = found.verdict, f"the gradient agrees; the Hessian {word}: {found.reason}."
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for JSON: the JSON of any audit, and what only any function has."""
        data = super().to_dict()
        rest = {
            "function": self.paper,
            "verdict": self.verdict,
            "reason": self.reason,
            "remarks": self.remarks,
            "points": self.points,
            "calls": self.calls,
            "taylor_slope": self.taylor_slope,
            "hessian_error": self.hessian_error,
            "hessian": None if self.hessian is None else vars(self.hessian),
        }
        return {**data, **plain(rest), "arguments": data["formulas"]}

    def __repr__(self) -> str:
        verdicts = ", ".join(argument.in_short for argument in self.arguments)
        return f"GradientReport({self.paper!r}: {self.verdict}; {verdicts})"
