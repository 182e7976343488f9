"""What a mend has to do: give these arrays at these places."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Task", "Value"]

Value = list[np.ndarray] | None  # the parts that a function gives at a place; None if it raises or gives something else


@dataclass
class Task:
    """Places, and what belongs there.

    Attributes
    ----------
    call : callable
        call(function, place) -> the parts of what a function of the reader's form returns at a place; whatever it raises.
    expected : list of list of ndarray
        By place and part; NaN where it is not known.
    allowed : list of list of ndarray
        The largest error of an entry, of the same shapes.
    given : list of list of ndarray
        What the reader's function gave.
    names : list of str
        Of the parts.
    limited : callable
        limited() -> a context in which a call that takes too long is ended.
    call_loss : callable or None
        call_loss(loss, place) -> the loss there, of a function of the form of the reader's loss.
    """

    call: Callable[[Callable[..., Any], int], list[np.ndarray]]
    expected: list[list[np.ndarray]]
    allowed: list[list[np.ndarray]]
    given: list[list[np.ndarray]]
    names: list[str]
    limited: Callable[[], AbstractContextManager[None]] = nullcontext
    call_loss: Callable[[Callable[..., Any], int], Any] | None = None

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Look at the places anew, after one was added."""
        self.known = [[~np.isnan(e) for e in place] for place in self.expected]
        self.right = np.array([[self.fits(p, k, self.given[p][k]) for k in range(self.parts)] for p in self.places])
        self.scale = [[_largest(e) for e in place] for place in self.expected]

    @property
    def places(self) -> range:
        return range(len(self.expected))

    @property
    def parts(self) -> int:
        return len(self.names)

    def fits(self, place: int, part: int, value: np.ndarray) -> bool:
        """Whether a part is right at a place."""
        known, expected = self.known[place][part], self.expected[place][part]
        if value.shape != expected.shape:
            return False
        with np.errstate(all="ignore"):
            off = abs(value - expected)
        return bool((off[known] <= self.allowed[place][part][known]).all())

    def same(self, place: int, part: int, value: np.ndarray) -> bool:
        """Whether a part is what the reader's function gave, to rounding."""
        given = self.given[place][part]
        if value.shape != given.shape:
            return False
        size = float(np.max(abs(given), initial=0.0, where=np.isfinite(given)))
        return bool(np.allclose(value, given, rtol=1e-9, atol=1e-12 * size, equal_nan=True))

    def value(self, function: Callable[..., Any], place: int) -> Value:
        """What a function gives at a place, as floating arrays of the right shapes, or None."""
        try:
            with self.limited():
                parts = self.call(function, place)
        except Stopped:
            raise
        except BaseException:  # an edit may do anything: SystemExit, KeyboardInterrupt of a timer
            return None
        for part, expected in zip(parts, self.expected[place], strict=True):
            if part.shape != expected.shape or part.dtype.kind != "f":
                return None
        return parts

    def rightness(
        self, function: Callable[..., Any], first: int = 0, before: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Which parts are right at which places; None if it gives nothing somewhere, or is worse than `before`."""
        right = np.zeros((len(self.expected), self.parts), bool)
        for place in sorted(self.places, key=lambda p: p != first):
            value = self.value(function, place)
            if value is None:
                return None
            right[place] = [self.fits(place, k, part) for k, part in enumerate(value)]
            if before is not None and not (right[place] >= before[place]).all():
                return None
        return right

    def size(self, place: int) -> int:
        """How many numbers are expected at a place."""
        return sum(part.size for part in self.expected[place])

    def all_zero(self, place: int) -> bool:
        """Whether zero is expected of every part of a place."""
        return all(not np.nan_to_num(part, nan=1.0).any() for part in self.expected[place])

    def alive(self, place: int) -> int:
        """How many entries are known and not zero at a place."""
        return sum(int(((part != 0) & ~np.isnan(part)).sum()) for part in self.expected[place])

    def closeness(self, place: int, value: list[np.ndarray]) -> list[float]:
        """How far each part is from right: 0 right, 1 parallel to it, 2 parallel by row or column ... 5 no relation."""
        return [self._closeness(place, k, part) for k, part in enumerate(value)]

    def _closeness(self, place: int, k: int, part: np.ndarray) -> float:
        if self.fits(place, k, part):
            return 0.0
        known, expected = self.known[place][k], self.expected[place][k]
        if not known.all() or not np.isfinite(part).all():
            return 5.0
        if _parallel(part.ravel(), expected.ravel()):
            return 1.0
        wrong = abs(part - expected) > self.allowed[place][k]
        if part.ndim == 2:
            if all(_parallel(a, b) for a, b in zip(part, expected, strict=True)):
                return 2.0
            if all(_parallel(a, b) for a, b in zip(part.T, expected.T, strict=True)):
                return 2.0
        if wrong.sum() <= 0.5 * wrong.size:
            return 2.5 + float(wrong.mean())
        off = part - expected
        scale = float(abs(off).max())
        for axis in range(off.ndim):
            if off.shape[axis] > 2 and np.ptp(off, axis=axis).max() <= 1e-9 * scale:
                return 3.0
        if off.ndim == 2 and min(off.shape) > 1:
            with np.errstate(all="ignore"):
                spectrum = np.linalg.svd(off, compute_uv=False)
            rank = int((spectrum > 1e-9 * spectrum[0]).sum())
            if rank < min(off.shape):
                return 3.0 + rank / min(off.shape)
        return 5.0


class Stopped(BaseException):
    """The budget is over."""


def _parallel(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two vectors are multiples of each other, and not by chance: they have two entries or more."""
    norm = np.sqrt((a @ a) * (b @ b))
    if a.size < 2 or not norm > 0:
        return not a.any() and not b.any() and a.size > 1
    return bool(abs(a @ b) >= (1 - 1e-12) * norm)


def _largest(array: np.ndarray) -> float:
    known = abs(array[~np.isnan(array)])
    return float(known.max(initial=0.0)) or 1.0
