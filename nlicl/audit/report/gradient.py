"""What the audit of any NumPy function found."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["ArgumentReport", "GradientReport"]


@dataclass
class ArgumentReport:
    """What was found for one argument: errors, and the widest tolerance used, relative to the largest entry."""

    name: str
    shape: tuple[int, ...]
    witness: str
    entries: int
    max_relative_error: float | None = None
    worst: dict[str, Any] | None = None
    kinks: list[list[int]] = field(default_factory=list)
    tolerance: float = 0.0
    wrong: int = 0
    blurred: bool = False


@dataclass
class GradientReport:
    """The audit of one gradient. True in a condition if and only if the verdict is "agree".

    Attributes
    ----------
    verdict : {"agree", "disagree", "undetermined"}
    reason : str
        What the verdict rests on, in a sentence.
    arguments : list of ArgumentReport
    taylor_slope : float or None
        Exponent of |f(x + tv) - f(x) - t <g, v>|; None where it is all rounding.
    hessian_error : float or None
        Largest relative error of the Hessian-vector product; None if none was given, or the gradient has a kink there.
    """

    verdict: str
    reason: str
    arguments: list[ArgumentReport]
    taylor_slope: float | None = None
    hessian_error: float | None = None

    def __bool__(self) -> bool:
        return self.verdict == "agree"

    def check(self) -> "GradientReport":
        """Raise AssertionError, with the report as its message, unless the verdict is "agree"; returns the report."""
        if not self:
            raise AssertionError(str(self))
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for JSON."""
        return {**vars(self), "arguments": [dict(vars(argument)) for argument in self.arguments]}

    def __str__(self) -> str:
        lines = [f"gradient: {self.verdict}. {self.reason}"]
        for a in self.arguments:
            error = "-" if a.max_relative_error is None else f"{a.max_relative_error:.1e}"
            against = f"against {a.witness}, tolerance {a.tolerance:.0e}"
            lines.append(f"  {a.name} {a.shape}: error {error} {against}, {a.wrong} of {a.entries} entries wrong")
            if a.worst and a.wrong:
                w = a.worst
                lines.append(f"    worst entry {w['index']}: given {w['given']:.9g}, expected {w['expected']}")
            if a.kinks:
                more = ", ..." if len(a.kinks) > 4 else ""
                lines.append(f"    {len(a.kinks)} entries on a kink, judged by both sides: {a.kinks[:4]}{more}")
        if any(argument.kinks for argument in self.arguments):
            lines.append("  Taylor slope: not taken on a kink")
        else:
            slope = "linear" if self.taylor_slope is None else f"{self.taylor_slope:.2f}"
            lines.append(f"  Taylor slope: {slope} (2 for a gradient, 1 for anything else)")
        if self.hessian_error is not None:
            lines.append(f"  Hessian-vector product: error {self.hessian_error:.1e}")
        return "\n".join(lines)

    __repr__ = __str__
