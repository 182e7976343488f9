"""From evidence to a verdict: the same steps whatever was judged, a paper's formula on draws or any function at points."""

from dataclasses import dataclass, field

__all__ = ["Evidence", "decide"]


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    Attributes
    ----------
    failed : bool
        There is no array to judge, somewhere.
    conflict : str
        How the witnesses contradict each other, if they do: they are at fault then.
    wrong : bool
        Some entry is off by more than the tolerance.
    doubt : str
        Why some entry could not be told right from wrong.
    idle : str
        Why nothing was tested: the gradient is zero.
    late : list of str
        Witnesses that object although every entry agrees.
    control_caught : bool or None
        Whether the same comparison catches a copy that is broken on purpose; None where there was nothing to break.
    """

    failed: bool = False
    conflict: str = ""
    wrong: bool = False
    doubt: str = ""
    idle: str = ""
    late: list[str] = field(default_factory=list)
    control_caught: bool | None = None


def decide(evidence: Evidence, exact: str = "the complex step") -> tuple[str, str]:
    """(verdict, the reason of an `undetermined`); `exact` is the witness that entries agree with."""
    if evidence.failed:
        return "disagree", ""
    if evidence.conflict:
        return "undetermined", evidence.conflict
    if evidence.wrong:
        return "disagree", ""
    if evidence.idle:
        return "undetermined", evidence.idle
    if evidence.doubt:
        return "undetermined", evidence.doubt
    if evidence.late:
        return "undetermined", f"it agrees with {exact}, but not with {' and '.join(evidence.late)}"
    if evidence.control_caught is False:
        return "undetermined", "the negative control was not caught"
    return "agree", ""
