"""Witnesses of the derivative along a direction, for a function of which only its values are known.

dual numbers   the function is called on arrays that carry the derivative through NumPy's functions. Exact to rounding, on
               a kink as well (there the derivatives from both sides), or not to be had: `NotCarried`.
complex step   Im f(x + ihv)/h, exact where every step of the function is analytic. `abs` and the like lose the derivative
               without a word, so it is trusted as far as differences confirm it.
differences    extrapolated from values; always there, and as good as the values' rounding allows.

The first that a function takes is its witness, argument by argument.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from ..answer import first_line
from . import differences
from .function import Function, OutOfTime
from .points import like, scattered, unit

__all__ = ["Differences", "Slope", "Witness", "along", "chosen", "contradicts", "only", "step_length", "tried"]

SURE = 1e-6  # a complex step that differences do not confirm to this is none


@dataclass(frozen=True)
class Slope:
    """The derivative along a direction: from the right (`up`), from the left (`down`), and the error of both.

    `ties` counts the pairs of equal numbers that the direction parts: pieces of the function that meet at x; -1 if unknown.
    """

    up: float
    down: float
    error: float
    ties: int = 0

    @property
    def middle(self) -> float:
        return (self.up + self.down) / 2

    @property
    def known(self) -> bool:
        return bool(np.isfinite(self.up) and np.isfinite(self.down) and np.isfinite(self.error))

    def has_kink(self, size: float) -> bool:
        """Whether the two sides differ; `size` is that of a derivative here."""
        return abs(self.up - self.down) > 1e-9 * max(abs(self.up), abs(self.down), 1e-3 * size) + 2 * self.error


class Witness(Protocol):
    """A way to find derivatives of a function.

    `exact` if to rounding, `sound` if it cannot err; `why` says why the ones before it are none. `threshold` is the largest
    small constant that the function compares a number with, if known: an iteration may stop there, its derivative with it.
    """

    name: str
    exact: bool
    sound: bool
    why: str
    threshold: float
    decisions: int
    stops: int

    def __call__(self, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray]) -> Slope: ...

    def condition(self, leaves: Sequence[np.ndarray]) -> float: ...


class Dual:
    """Dual numbers, in all arguments, or in one, the `carrier`: the function may take them there alone."""

    name, exact, sound, why = "dual numbers", True, True, ""

    def __init__(self, function: Function, carrier: int | None = None) -> None:
        self.function, self.carrier = function, carrier
        self.threshold, self.decisions, self.stops = 0.0, 0, 0
        self._condition = 1.0
        self.noise = 0.0  # of a value
        self.checking = True  # whether the value is the plain loss's; once is enough

    def __call__(self, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray]) -> Slope:
        up, ties = self.side(leaves, v)
        if not ties:
            return Slope(up, up, 0.0)
        down, more = self.side(leaves, [-array for array in v])
        return Slope(up, -down, 0.0, max(ties, more))

    def condition(self, leaves: Sequence[np.ndarray]) -> float:
        """The largest condition number of a matrix that the function inverts, as far as it is seen."""
        self.side(leaves, [np.zeros(leaf.shape) for leaf in leaves], conditions=True)
        return self._condition

    def side(
        self, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray], conditions: bool = False
    ) -> tuple[float, int]:
        """(derivative on the side of +v, pairs of equal numbers that v parts)."""
        found = self.function.dual(leaves, v, self.carrier, conditions)
        if self.checking:
            plain = self.function.real(leaves)
            digits = 1e-4 if np.asarray(found.value).dtype == np.float32 else 1e-12
            if not abs(float(found.value) - plain) <= digits * abs(plain) + 10 * self.noise + 1e-300:
                raise ValueError("the loss takes another way for them: it asks for the type of its arguments?")
        self.threshold, self._condition = max(self.threshold, found.threshold), found.condition
        self.decisions, self.stops = max(self.decisions, found.decisions), max(self.stops, found.stops)
        return found.slope, found.ties


class Complex:
    """The complex step, in all arguments or in one; `trust` is the relative error to which differences confirm it."""

    name, exact, sound, threshold, decisions, stops = "complex step", True, False, 0.0, 0, 0

    def __init__(self, function: Function, why: str, carrier: int | None = None) -> None:
        self.function, self.why, self.carrier, self.trust = function, why, carrier, 0.0

    def condition(self, leaves: Sequence[np.ndarray]) -> float:
        """Not known."""
        return 1.0

    def __call__(self, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray]) -> Slope:
        up, down = self.side(leaves, v), -self.side(leaves, [-array for array in v])
        return Slope(up, down, self.trust * max(abs(up), abs(down)), -1 if up != down else 0)

    def side(self, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray]) -> float:
        """The derivative on the side of +v: where two numbers are equal, NumPy compares imaginary parts."""
        return self.function.complex_step(leaves, v, self.carrier)

    def confirmed(self, leaves: Sequence[np.ndarray], directions: list[list[np.ndarray]], by: "Differences") -> bool:
        """Whether differences say the same along some directions; sets `trust`."""
        for v in directions:
            mine, theirs = self(leaves, v), by(leaves, v)
            off = abs(mine.middle - theirs.middle)
            size = max(abs(mine.middle), 1e-300)
            if theirs.up != theirs.down or mine.up != mine.down:
                return False  # on a kink, which hides from a central difference what was lost
            if not off <= 3 * theirs.error + 1e-13 * size or theirs.error > SURE * size:
                return False
            self.trust = max(self.trust, (off + theirs.error) / size)
        return True


class Differences:
    """Extrapolated differences of the loss."""

    name, exact, sound, threshold, decisions, stops = "differences", False, False, 0.0, 0, 0

    def __init__(self, function: Function, why: str, repeated: float, eps: float) -> None:
        self.function, self.why, self.repeated, self.eps = function, why, repeated, eps
        self._measured: tuple[float, float] | None = None  # rounding of a value, and beside it, once it is measured

    def condition(self, leaves: Sequence[np.ndarray]) -> float:
        """Not known."""
        return 1.0

    def __call__(self, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray], first: float = 0.25) -> Slope:
        length = step_length(leaves, v)
        if length == 0.0:
            return Slope(0.0, 0.0, 0.0)
        f = along(self.function, leaves, [length * array for array in v])
        found = differences.estimate(f, f(0.0), self.noise(leaves), first)
        return Slope(found.up / length, found.down / length, found.error / length, -1 if found.up != found.down else 0)

    def short(self, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray]) -> float:
        """One quotient at a short step; NaN where there is none."""
        length = step_length(leaves, v)
        if length == 0.0:
            return 0.0
        f, h = along(self.function, leaves, v), length * differences.NEAR
        return (f(h) - f(-h)) / (2 * h)

    def relative_noise(self, leaves: Sequence[np.ndarray]) -> float:
        """The same relative to the value."""
        return self.noise(leaves) / max(abs(self.function.real(leaves)), 1e-300)

    def noise(self, leaves: Sequence[np.ndarray]) -> float:
        """The rounding of a value of the loss near a place.

        It is measured at the first place, along a fixed direction; elsewhere it is as large, or as large beside the value.
        """
        base = abs(self.function.real(leaves))
        if self._measured is None:
            rng = np.random.default_rng(0)
            v = [unit(leaf) * rng.choice([-1.0, 1.0], leaf.shape) for leaf in leaves]
            measured = differences.noise(along(self.function, leaves, v), self.function.real(leaves))
            self._measured = max(measured, self.repeated), max(0.3 * self.eps, measured / base if base > 0 else 0.0)
        absolute, relative = self._measured
        return max(absolute, relative * base)


def step_length(leaves: Sequence[np.ndarray], v: Sequence[np.ndarray]) -> float:
    """How many times v is a step of the size of what it moves: 0 if it moves nothing."""
    pairs = [(unit(leaf)[step != 0], abs(step[step != 0])) for leaf, step in zip(leaves, v, strict=True) if step.any()]
    return min((float(np.min(size / step)) for size, step in pairs), default=0.0)


def along(function: Function, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray]) -> Callable[[float], float]:
    """t -> loss(x + t v), NaN where it is not defined."""
    return partial(_at, function, leaves, v)


def _at(function: Function, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray], t: float) -> float:
    return function.real([like(leaf, leaf + t * step) for leaf, step in zip(leaves, v, strict=True)])


def only(leaves: Sequence[np.ndarray], k: int, step: np.ndarray) -> list[np.ndarray]:
    """A direction that moves argument k alone."""
    return [step if j == k else np.zeros(leaf.shape) for j, leaf in enumerate(leaves)]


def tried(witness: Witness, leaves: Sequence[np.ndarray], v: list[np.ndarray]) -> tuple[Slope | None, str]:
    """(the slope along v, "") or (None, why there is none)."""
    try:
        slope = witness(leaves, v)
    except OutOfTime:
        raise
    except (Exception, SystemExit) as error:
        text = first_line(error)
        if "[" in text or len(text) > 100:  # an array's numbers, as torch and JAX show them
            text = f"the loss's functions do not take them ({type(error).__name__})"
        return None, text
    return (slope, "") if slope.known else (None, "the derivative is NaN there")


def chosen(
    function: Function, places: list[list[np.ndarray]], differences: Differences, rng: np.random.Generator
) -> list[Witness]:
    """A witness for each argument: the first that takes the function, tried at the first of some places."""
    x = places[0]
    steps = [unit(leaf) * scattered(rng, leaf.shape) for leaf in x]
    dual = Dual(function)
    dual.noise = differences.noise(x)
    slope, why = tried(dual, x, steps)
    if slope is not None and not contradicted(slope, differences, x, steps):
        dual.checking = False
        return [dual for _ in x]
    found: list[Witness] = []
    for k, step in enumerate(steps):
        one = Dual(function, k)
        one.noise = dual.noise
        v = only(x, k, step)
        slope, why = tried(one, x, v)
        if slope is not None and contradicted(slope, differences, x, v):
            slope, why = None, "differences of the loss contradict them: it asks for the type of its arguments?"
        one.checking = False
        found.append(one if slope is not None else _complex_or_differences(function, places, k, why, differences, rng))
    return found


def contradicts(theirs: Slope, mine: Slope) -> bool:
    """Whether differences say for sure something else than a witness, off every kink."""
    if not theirs.known or theirs.up != theirs.down or mine.has_kink(abs(mine.middle)):
        return False
    off, size = abs(mine.middle - theirs.middle), max(abs(mine.middle), abs(theirs.middle))
    return theirs.error <= 1e-3 * size and off > 10 * theirs.error + SURE * size


def contradicted(slope: Slope, differences: "Differences", leaves: list[np.ndarray], v: list[np.ndarray]) -> bool:
    """Whether differences say something else, off every kink, and one of a short step does not side with the slope.

    Long steps see the trend of a function that has fast waves, too.
    """
    by = differences(leaves, v)
    if not by.known or slope.has_kink(abs(slope.middle)) or by.up != by.down:
        return False
    off = abs(slope.middle - by.middle)
    if off <= 10 * by.error + 1e-3 * max(abs(slope.middle), abs(by.middle)) or by.error >= 1e-3 * abs(by.middle):
        return False
    return not 10 * abs(differences.short(leaves, v) - slope.middle) < off


def _complex_or_differences(
    function: Function,
    places: list[list[np.ndarray]],
    k: int,
    why: str,
    differences: Differences,
    rng: np.random.Generator,
) -> Witness:
    for place in places:  # a kink near x spoils the differences there
        directions = [only(place, k, unit(place[k]) * rng.standard_normal(place[k].shape)) for _ in range(2)]
        for carrier in (None, k):
            witness = Complex(function, why, carrier)
            slope, _ = tried(witness, place, directions[0])
            if slope is None:
                continue
            if witness.confirmed(place, directions, differences):
                return witness
    return Differences(function, why, differences.repeated, differences.eps)
