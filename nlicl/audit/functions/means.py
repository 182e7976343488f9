"""What the comparisons of entries and of directions stand on: a function, its witnesses, and how precise all of it is."""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from . import differences
from .function import Function
from .points import like, scattered, unit
from .sight import CEILING, Place, Precision, Sight
from .slopes import Differences, Slope, Witness, along, contradicts, only, step_length, tried

__all__ = ["Means"]

COARSE = 1e-11  # rounding of the loss, relative, beyond which part of it computes in few digits
ROUNDING = 1e-6  # of the loss over the argument: a derivative that is larger is not nothing but rounding
CANCELLED = 1e4  # times the rounding of the loss, likewise: a loss near zero may be the difference of large terms
QUOTIENTS = (2.0**-4, 2.0**-6, 2.0**-8)  # steps of plain quotients, in sizes of an entry
NUDGES = 3
BESIDE = 2.0**-7  # how far beside a place rounding is measured, in sizes of an entry
DECIDES = 8  # comparisons of single numbers in a call


class Means:
    """A function, a witness for each of its arguments, and a generator of random numbers."""

    def __init__(
        self,
        function: Function,
        witnesses: Sequence[Witness],
        differences: Differences,
        precision: Precision,
        rng: np.random.Generator,
    ) -> None:
        self.function, self.witnesses, self.differences = function, witnesses, differences
        self.precision, self.rng = precision, rng
        self.projections: dict[int, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {}

    def place(self, label: str, own: list[np.ndarray], x: list[np.ndarray], given: list[np.ndarray]) -> Place:
        """A place, with the rounding of the gradient there: how far it moves when the arguments do, in their last bits.

        What it gives at x itself counts as far as it may be rounding: it may have a case of its own there.
        """
        noise = [np.zeros(array.shape) for array in given]
        found = [self.function.gradient_or_none(self.nudged(own)) for _ in range(NUDGES)]
        nudged = [gradient for gradient in found if gradient is not None]
        for one, other in combinations([given, *nudged], 2):
            for most, now, then in zip(noise, one, other, strict=True):
                with np.errstate(all="ignore"):
                    moved = np.abs(now.astype(float) - then.astype(float))
                    jumps = one is given and moved > self.precision.zero * np.max(abs(now), initial=0.0)
                np.maximum(most, np.where(np.isfinite(moved) & ~np.asarray(jumps), moved, 0.0), out=most)
        return Place(label, own, x, [array.astype(float) for array in given], noise, self.function.real(x))

    def nudged(self, x: Sequence[np.ndarray]) -> list[np.ndarray]:
        nudges = [4 * self.precision.eps * self.rng.choice([-1.0, 1.0], array.shape) for array in x]
        return [like(array, array * (1 + nudge)) for array, nudge in zip(x, nudges, strict=True)]

    def look(self, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> Slope | None:
        """The derivative by one entry."""
        v, h = self.step(place, k, index)
        slope, _ = tried(self.witness(place, k), place.x, v)
        sight.looked += 1
        if slope is None:
            sight.blind += 1
            return None
        slope = Slope(slope.up / h, slope.down / h, slope.error / h, slope.ties)
        if slope.has_kink(abs(slope.middle)):
            sight.kinks[index] = slope
        else:
            sight.expected[index], sight.allowed[index] = slope.middle, 3 * slope.error
            if slope.ties > 1:
                sight.tied.append(index)
        return slope

    def witness(self, place: Place, k: int) -> Witness:
        """The witness of an argument at a place."""
        return place.instead.get(k, self.witnesses[k])

    def sound(self, place: Place, k: int) -> bool:
        """Whether the witness of an argument cannot err: dual numbers, unless the loss decides by its values again and again,
        as a bisection does, whose steps have no derivative."""
        witness = self.witness(place, k)
        return witness.sound and witness.decisions < DECIDES

    def settle(self, place: Place, k: int) -> None:
        """Take differences at a place where a witness that was chosen at x gives nothing, or may err and differences
        contradict it: beside x the loss may be another function."""
        witness = self.witnesses[k]
        v = only(place.x, k, unit(place.x[k]) * scattered(self.rng, place.x[k].shape))
        if k in self.projections or not witness.exact or not any(part.any() for part in v):
            return
        slope, _ = tried(witness, place.x, v)
        if slope is None or (not self.sound(place, k) and contradicts(self.differences(place.x, v), slope)):
            place.instead[k] = self.differences

    def step(self, place: Place, k: int, index: tuple[int, ...]) -> tuple[list[np.ndarray], float]:
        """(a step at one entry, of its size; the step's length)."""
        step = np.zeros(place.x[k].shape)
        step[index] = h = float(unit(place.x[k])[index])
        return only(place.x, k, step), h

    def differences_by(self, place: Place, k: int, index: tuple[int, ...]) -> tuple[Slope, float]:
        """(the derivative along a step at one entry by differences, the step's length)."""
        v, h = self.step(place, k, index)
        return self.differences(place.x, v), h

    def too_noisy(self, place: Place, k: int) -> bool:
        """Whether an argument is held against differences of a loss with noise: they take long steps, across kinks."""
        return not self.witness(place, k).exact and self.differences.relative_noise(place.x) > COARSE

    def quotients(self, place: Place, k: int, index: tuple[int, ...]) -> tuple[float, float]:
        """The smallest and the largest difference quotient by one entry, to either side, with the rounding in them."""
        v, h = self.step(place, k, index)
        f = along(self.function, place.x, v)
        base, noise = f(0.0), 4 * self.differences.noise(place.x)
        sides = [(t, (f(t) - base) / t) for size in QUOTIENTS for t in (size, -size)]
        return min(q - noise / abs(t) for t, q in sides) / h, max(q + noise / abs(t) for t, q in sides) / h

    def nudged_slopes(self, place: Place, k: int, v: list[np.ndarray]) -> list[float]:
        """The witness's derivative along v where the arguments are moved in their last bits."""
        found = [tried(self.witness(place, k), self.nudged(place.x), v)[0] for _ in range(NUDGES)]
        return [slope.middle for slope in found if slope is not None]

    def imprecision(self, place: Place, k: int, v: list[np.ndarray], off: float) -> float:
        """What a difference along v may come to by rounding alone: how far it is off a smooth curve, beside the place; 0 where
        that is sure to explain no difference like `off`.

        Where the loss cancels, as (exp(x) - 1) / x near 0 does, what is carried through it loses digits. So may a gradient, as
        1 - tanh(x)^2 does. Nudges of x in its last bits need not show it: they may change nothing. The place itself is left
        out: the gradient may have a case of its own there.
        """
        if not self.witness(place, k).exact:
            return 0.0
        length = step_length(place.x, v)

        def difference(t: float) -> float:
            there, own = (
                [like(leaf, leaf + (BESIDE + t) * length * step) for leaf, step in zip(leaves, v, strict=True)]
                for leaves in (place.x, place.own)
            )
            found, _ = tried(self.witness(place, k), there, v)
            given = self.function.gradient_or_none(own)
            if found is None or given is None:
                return np.nan
            return found.middle - float(np.sum(given[k] * v[k], where=v[k] != 0))

        base = difference(0.0)
        if not np.isfinite(base) or length == 0.0:
            return 0.0
        if not differences.looks_rough(difference, base, off / (10 * self.precision.margin)):
            return 0.0
        return self.precision.margin * differences.lasting_noise(difference, base)

    def wobble(self, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> float:
        """How far the witness of an entry moves when the arguments do, in their last bits."""
        v, h = self.step(place, k, index)
        moved = max((abs(slope / h - sight.expected[index]) for slope in self.nudged_slopes(place, k, v)), default=0.0)
        if not self.witness(place, k).exact:  # another row of steps: an estimate of an error is an estimate
            again = self.differences(place.x, v, first=0.19)
            if again.known:
                return 3 * abs(again.middle / h - float(sight.expected[index])) + self.precision.margin * 0.1 * moved
        return self.precision.margin * moved

    def doubtful(self, place: Place, k: int, relative: float) -> bool:
        """Whether the loss is not as precise as a difference that was seen.

        It stops an iteration early, it has noise, or it solves an ill-conditioned system.
        """
        noise = self.differences.relative_noise(place.x)
        if relative < 1e3 * self.witness(place, k).threshold or (noise > COARSE and relative < max(1e-6, 1e3 * noise)):
            return True
        return relative < 100 * self.precision.eps * self.witness(place, k).condition(place.x)

    def stops_early(self, place: Place, k: int, relative: float) -> bool:
        """Whether the loss repeats something until a small number is reached, as it seems, and a difference, relative to the
        largest entry, may be what is left then."""
        witness = self.witness(place, k)
        return witness.stops > 0 and relative < min(CEILING, 1e3 * witness.threshold)

    def empty(self, place: Place, k: int) -> Sight:
        x, given = place.x[k], place.given[k]
        unseen = np.full(x.shape, np.nan)
        # A gradient that jumps when x is nudged has no rounding: it is bounded by what a loss of this size can have.
        size = (ROUNDING * abs(place.value) + CANCELLED * self.differences.noise(place.x)) / unit(x)
        rounding = np.minimum(self.precision.margin * place.noise[k] + place.least(k), size)
        wrong = np.asarray(~np.isfinite(given))  # of a number by itself it is no array
        return Sight(self.function.names[k], x.astype(float), given, unseen, unseen.copy(), wrong, rounding=rounding)
