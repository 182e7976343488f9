"""What the audit of any function found."""

from dataclasses import dataclass, field
from typing import Any

from ...core.files import plain
from . import AuditReport
from .findings import Column, FormulaReport

__all__ = ["ArgumentReport", "GradientReport", "ProductReport"]

COLUMNS = (
    Column("dual_numbers", "dual nrs", "dual numbers"),
    Column("complex_step", "cplx step", "complex step"),
    Column("finite_difference", "differences", "differences"),
    Column("direction", "direction", "direction"),
)


@dataclass
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

    def where(self, draw: int) -> str:
        """A point, in words."""
        return f"at {self.points[draw]}"


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

    @property
    def hessian_error(self) -> float | None:
        """Largest relative error of the Hessian's products; None if none was given, or none could be judged."""
        return None if self.hessian is None else self.hessian.error

    @property
    def heading(self) -> str:
        looked = f"at {', '.join(self.points)}; seed {self.seed}; {self.calls.get('loss', 0)} calls of the loss"
        return f"{self.conclusion}\n{looked}"

    @property
    def conclusion(self) -> str:
        return f"gradient: {self.verdict}. {self.reason}"

    @property
    def closing(self) -> list[str]:
        lines = list(self.remarks)
        if any(argument.kinks for argument in self.arguments):
            lines.append("Taylor slope: not taken on a kink")
        elif not self.taylor_taken:
            lines.append("Taylor slope: not taken")
        elif self.taylor_slope is None:
            lines.append("Taylor slope: not measurable, the remainder is all rounding")
        else:
            lines.append(f"Taylor slope: {self.taylor_slope:.2f} (2 for a gradient, 1 for anything else)")
        if self.hessian is not None:
            error = (
                "" if self.hessian.error is None else f", error {self.hessian.error:.1e} against {self.hessian.witness}"
            )
            lines.append(f"Hessian: {self.hessian.verdict}{error}")
            lines += [f"    {item['kind']}: {item['detail']}" for item in self.hessian.diagnosis]
            if self.hessian.verdict == "disagree" and self.hessian.worst:
                w = self.hessian.worst
                lines.append(
                    f"    worst entry {w['argument']}{w['index']}: given {w['given']:.12g}, expected {w['expected']:.12g}"
                )
        return lines

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
        return str(self)
