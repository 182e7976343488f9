"""What the comparisons of a run were: ties, the distance to the nearest kink, and how many were of single numbers.

A kink is where the outcome of a comparison changes. A record knows, for each comparison of a with b, the margin m = a - b and
its derivative dm along the direction. To first order the outcome changes at the step -m/dm.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from .rules import NotCarried, refusals

__all__ = [
    "Record",
    "note_comparison",
    "note_condition",
    "note_float",
    "note_question",
    "note_tolerance",
    "note_write",
    "recording",
]

SMALL = 1e-2  # a constant that may be the tolerance of an iteration
CLOSE = 1e-5  # of the largest difference of arrays that were compared in a call

_current: ContextVar["Record | None"] = ContextVar("record", default=None)
_begun: list["Record"] = []


class Record:
    """The comparisons and writes of one run.

    ties : int
        Number of comparisons of equal numbers that part along the direction.
    crossing : float
        The smallest step along the direction, to first order, at which a comparison changes; inf if none does.
    scalars : int
        Number of comparisons of two single numbers.
    questions : int
        Number of comparisons of arrays that the function asks for itself, by `<` and the like, and that are close.
    threshold : float
        The largest small constant that a single number was compared with: the tolerance of an iteration, perhaps. 0 if none.
    stops : int
        How many times a number fell below a small constant after it had been above it three times or more, each time closer:
        as in an iteration that stops there. 0 if one was below it otherwise.
    condition : float
        The largest condition number of a matrix that was inverted, or solved with; 1 unless it was asked for.
    refused : bool
        Whether the derivative could not be carried somewhere, known at the end of the block: a function that caught the
        exception may have gone another way.
    changed : list of ndarray
        The values of the Duals that were written into. Of a view, the array that owns the memory; each is listed once.
    """

    def __init__(self) -> None:
        self.ties, self.crossing, self.scalars, self.questions = 0, float("inf"), 0, 0
        self.threshold, self._stops, self._stray = 0.0, 0, False
        self._widest = 0.0  # difference of arrays that were compared
        self._above: dict[float, list[float]] = {}  # by small constant, numbers above it since the last below
        self.conditions, self.condition = False, 1.0
        self.refused = False
        self.changed: list[np.ndarray] = []
        self.may_float = False
        self._float: tuple[float, Any] | None = None

    def returned(self, result: Any) -> Any:
        """The result of a run under `recording(float_result=True)`: of a loss that returns float(d), the Dual d.

        Exactly one float() was allowed in the run. The result carries if it is that very number, whatever else the number
        was used for; a result without it does not carry, because the number may be hidden in it.

        Raises
        ------
        NotCarried
            float() was called, and the result is something else.
        """
        if self._float is None:
            return result
        number, source = self._float
        if result is not number:
            raise NotCarried("float() of a Dual has no rule: it would lose the derivative")
        return source

    @property
    def stops(self) -> int:
        return 0 if self._stray else self._stops

    @property
    def decisions(self) -> int:
        """How many comparisons of single numbers there were, and close ones of arrays: a bisection asks again and again, and
        closer and closer, of many numbers at once too. A network's layers do not."""
        return self.scalars + self.questions

    def __repr__(self) -> str:
        return f"Record(ties={self.ties}, crossing={self.crossing}, scalars={self.scalars})"


def _here() -> Record | None:
    """The record of this thread; in one that a loss has started, the last that was begun."""
    return _current.get() or (_begun[-1] if _begun else None)


@contextmanager
def recording(float_result: bool = False, conditions: bool = False) -> Iterator[Record]:
    """A new record of everything that happens inside the `with` block; condition numbers, which cost a lot, if asked for.

    With `float_result`, one float(d) is allowed, for losses that return it: `Record.returned` makes sure that they do.
    """
    record = Record()
    record.may_float, record.conditions = float_result, conditions
    token = _current.set(record)
    _begun.append(record)
    before = refusals[0]
    try:
        yield record
        record.refused = refusals[0] > before
    finally:
        _begun.remove(record)
        _current.reset(token)


def note_comparison(a: Any, da: Any, b: Any, db: Any) -> None:
    """Record the comparison of a with b, entry by entry; a tangent may be None."""
    record = _here()
    if record is None:
        return
    with np.errstate(all="ignore"):
        margin = np.subtract(a, b)
        slope = da if db is None else np.negative(db) if da is None else np.subtract(da, db)
        record.scalars += margin.ndim == 0
        note_threshold(record, a, da, b, db)
        steps = np.divide(margin, slope)  # minus the step to the crossing; NaN or infinite where the two never meet
        if not margin.all():
            record.ties += int(np.count_nonzero((margin == 0) & (np.asarray(slope) != 0)))
        nearest = np.max(steps, initial=-np.inf, where=steps < 0)
    record.crossing = min(record.crossing, -float(nearest))


def note_question(a: Any, b: Any) -> None:
    """Record that the function itself compares a with b, of which one is an array, if entries are close and not equal."""
    record = _here()
    if record is not None and max(np.ndim(a), np.ndim(b)) > 0:
        with np.errstate(all="ignore"):
            apart = np.abs(np.subtract(a, b))
            record._widest = float(np.nanmax(apart, initial=record._widest))
            record.questions += bool(np.any((apart > 0) & (apart <= CLOSE * record._widest)))


def note_threshold(record: Record, a: Any, da: Any, b: Any, db: Any) -> None:
    """Record what may be the tolerance of an iteration: a small constant, the square of one, or a small ratio."""
    if da is None or db is None:
        constant = b if db is None else a
        if np.ndim(constant) == 0 and 0 < abs(float(constant)) < SMALL:
            number, small = a if db is None else b, abs(float(constant))
            single = np.ndim(number) == 0  # it may be a square
            record.threshold = max(record.threshold, small ** (0.5 if single else 1.0))
            if single and abs(float(number)) > small:
                record._above.setdefault(small, []).append(abs(float(number)))
            elif single:
                before = record._above.pop(small, [])
                stops = len(before) >= 3 and bool(np.all(np.diff(before) < 0))
                record._stops, record._stray = record._stops + stops, record._stray or not stops
    elif np.ndim(a) == np.ndim(b) == 0 and a and b:
        ratio = min(abs(float(a)), abs(float(b))) / max(abs(float(a)), abs(float(b)))
        record.threshold = max(record.threshold, ratio if ratio < SMALL**2 else 0.0)


def note_tolerance(tolerance: float) -> None:
    """Record a tolerance, of `allclose` say, or of numbers that have few digits."""
    record = _here()
    if record is not None:
        record.threshold = max(record.threshold, float(tolerance))


def note_condition(matrix: Any) -> None:
    """Record the condition number of a matrix, or a stack of some, that is inverted."""
    record = _here()
    if record is not None and record.conditions and np.size(matrix):
        with np.errstate(all="ignore"):
            record.condition = max(record.condition, float(np.max(np.linalg.cond(matrix))))


def note_write(array: np.ndarray) -> None:
    """Record that an array has been written into."""
    record = _here()
    if record is None:
        return
    while isinstance(array.base, np.ndarray):
        array = array.base
    if not any(array is known for known in record.changed):
        record.changed.append(array)


def note_float(source: Any, value: Any) -> float:
    """float() of a Dual: allowed once, in a record that asks for it."""
    record = _here()
    if record is None or not record.may_float or record._float is not None:
        raise NotCarried("float() of a Dual has no rule: it would lose the derivative")
    number = float(value)
    record._float = number, source
    return number
