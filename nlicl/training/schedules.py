"""Step-size schedules: t -> eta_t / eta."""

from dataclasses import dataclass

from ..core.checks import real

__all__ = ["InverseTime"]


@dataclass(frozen=True)
class InverseTime:
    """A step-size schedule: eta_t = eta offset / (offset + t).

    With eta = 2 / (lambda gamma) and offset = gamma it is Bu et al.'s eta_t = 2 / (lambda (gamma + t)).

    Parameters
    ----------
    offset : float
        Greater than 0.

    Raises
    ------
    TypeError, ValueError
        `offset` is not a finite number greater than 0.
    """

    __module__ = "nlicl.training"  # as a reader imports it; checkpoints name it so

    offset: float

    def __post_init__(self) -> None:
        offset = real("offset", self.offset, "greater than 0", lambda x: x > 0)
        if type(self.offset) not in (int, float):
            object.__setattr__(self, "offset", offset)

    def __call__(self, t: int) -> float:
        return self.offset / (self.offset + real("t", t, "of at least 0", lambda x: x >= 0))
