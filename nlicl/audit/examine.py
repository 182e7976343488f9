"""One argument's gradient at one place, held against a witness: entry by entry, and all entries together along directions.

Along a direction v every entry counts: <given, v> is compared with the derivative of the loss along v. Where the witness is exact
one direction finds one wrong entry in a hundred thousand, and halving finds which. A direction is taken twice, once with
entries as they are, once with each divided by its size, so that small entries are not lost beside a large one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from .function import Function
from .points import unit
from .slopes import Differences, Slope, Witness, only, tried

__all__ = ["CEILING", "Examiner", "Place", "Precision", "Sight", "norm"]

CEILING = 1e-3  # no entry is called right that could be wrong by more
COARSE = 1e-11  # rounding of the loss, relative, beyond which part of it computes in few digits
SURELY = 100  # times its error, a difference that differences see is one where halving does not bring it to entries
SAMPLE = 64  # entries of a large argument that are looked at one by one
LOCATE = 12  # wrong entries that are searched for by halving
HALVINGS = 400  # slopes for it
NUDGES = 3


@dataclass(frozen=True)
class Precision:
    """What a comparison can ask for.

    Attributes
    ----------
    eps : float
        Of the dtype in which loss or gradient compute.
    relative : float
        Tolerance of an entry, relative to it.
    floor : float
        Entries below this share of the largest are held to the tolerance of one of that size.
    """

    eps: float
    relative: float
    floor: float

    @classmethod
    def of(cls, eps: float, tolerance: float | None) -> "Precision":
        single = eps > 1e-10
        if tolerance is not None:
            return cls(eps, tolerance, 1e-5)
        return cls(eps, 3e-4, 1e-3) if single else cls(eps, 1e-10, 0.0)

    @property
    def margin(self) -> float:
        """Times the largest change that nudges make: what rounding may do elsewhere. Of few digits less can be given away."""
        return 4.0 if self.eps > 1e-10 else 30.0

    @property
    def rounding(self) -> float:
        """What a right gradient may be off by, relative to the largest entry of its array: sums round so."""
        return 64 * self.eps if self.eps > 1e-10 else 0.0

    @property
    def zero(self) -> float:
        """Entries below this share of the largest are rounding."""
        return 1e3 * self.eps


@dataclass
class Place:
    """Where it is judged.

    Attributes
    ----------
    own : list of ndarray
        The arguments in their own dtype, for the gradient.
    x : list of ndarray
        The same for witnesses, in float64 if the loss takes that.
    given, noise : list of ndarray
        What the gradient gave there, and its rounding.
    value : float
        The loss there.
    """

    label: str
    own: list[np.ndarray]
    x: list[np.ndarray]
    given: list[np.ndarray]
    noise: list[np.ndarray]
    value: float

    def least(self, k: int) -> np.ndarray:
        """Derivatives by argument k below which the loss does not change in its last digit when an entry does by its own size."""
        return np.finfo(float).eps * abs(self.value) / unit(self.x[k])


@dataclass
class Sight:
    """What was seen of one argument at one place. Arrays have the argument's shape.

    Attributes
    ----------
    given, expected, allowed : ndarray
        NaN in `expected` and `allowed` where an entry was not looked at by itself.
    wrong : ndarray of bool
    kinks : dict of index to Slope
        Entries at which the loss has two derivatives, one to each side.
    disputed : list of index
        Entries on a kink of several pieces, outside of the two derivatives: conventions differ there.
    coarse : list of index
        Entries whose witness could not tell them from ones that are off by more than CEILING.
    grouped : int
        Coarse entries that were tested together instead.
    blind : int
        Entries at which there is no derivative to be had.
    unconfirmed : float or None
        A difference, relative to its entry, that only one witness sees.
    spread : float or None
        A difference along a direction, relative, that halving does not bring to single entries.
    direction : float or None
        The largest difference along a direction, relative to the root sum of squares of its terms.
    conflict : float or None
        The difference of the witnesses, relative, where they contradict each other.
    looked : int
        Entries looked at one by one.
    rounding : float
        What is nothing but rounding here.
    only_at_x : bool
        Entries that sit on a kink at x are wrong here, off it.
    """

    name: str
    x: np.ndarray
    given: np.ndarray
    expected: np.ndarray
    allowed: np.ndarray
    wrong: np.ndarray
    kinks: dict[tuple[int, ...], Slope] = field(default_factory=dict)
    disputed: list[tuple[int, ...]] = field(default_factory=list)
    coarse: list[tuple[int, ...]] = field(default_factory=list)
    grouped: int = 0
    blind: int = 0
    unconfirmed: float | None = None
    spread: float | None = None
    direction: float | None = None
    conflict: float | None = None
    differences: float | None = None
    looked: int = 0
    rounding: float = 0.0
    only_at_x: bool = False

    @property
    def scale(self) -> float:
        """The largest derivative that was seen."""
        sides = [max(abs(slope.up), abs(slope.down)) for slope in self.kinks.values()]
        return max([float(np.max(abs(self.expected), initial=0.0, where=~np.isnan(self.expected))), *sides])

    @property
    def is_zero(self) -> bool:
        """Whether both gradients are nothing but rounding here."""
        return self.scale <= self.rounding and not self.kinks and not self.wrong.any()

    @property
    def smooth(self) -> int:
        """Entries that were tested off every kink."""
        return self.looked - len(self.kinks) - self.blind

    @property
    def is_wrong(self) -> bool:
        return bool(self.wrong.any()) or self.spread is not None

    @property
    def on_middle(self) -> bool:
        """Whether on every kink the middle of both derivatives was given, as sign(0) = 0 has it."""
        return all(
            abs(self.given[index] - slope.middle) <= 1e-6 * max(abs(slope.up - slope.down), abs(slope.middle))
            for index, slope in self.kinks.items()
        )


class Examiner:
    """Holds arguments against their witnesses."""

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
        """A place, with the rounding of the gradient there: how far it moves when the arguments do, in their last bits."""
        noise = [np.zeros(array.shape) for array in given]
        for _ in range(NUDGES):
            nudged = self.function.gradient_or_none(self.nudged(own))
            for most, now, then in zip(noise, nudged or given, given, strict=True):
                with np.errstate(all="ignore"):
                    moved = np.abs(now.astype(float) - then.astype(float))
                np.maximum(most, np.where(np.isfinite(moved), moved, 0.0), out=most)
        return Place(label, own, x, [array.astype(float) for array in given], noise, self.function.real(x))

    def nudged(self, x: Sequence[np.ndarray]) -> list[np.ndarray]:
        nudges = [4 * self.precision.eps * self.rng.choice([-1.0, 0.0, 1.0], array.shape) for array in x]
        return [(array * (1 + nudge)).astype(array.dtype) for array, nudge in zip(x, nudges, strict=True)]

    # -- an argument

    def entries(self, place: Place, k: int, most: int, also: Sequence[tuple[int, ...]] = ()) -> Sight:
        """All that is seen of argument k: entries one by one, then along directions.

        `also` are entries that were wrong at another place: with some, no directions are needed.
        """
        sight = self.empty(place, k)
        size = sight.x.size
        few = min(most, SAMPLE)
        most = size if k in self.projections else most  # a projection mixes all entries
        most = most if self.witnesses[k].exact or k in self.projections else few  # a difference costs ten times as much
        chosen = np.arange(size) if size <= most else np.sort(self.rng.choice(size, few, replace=False))
        for flat in chosen:
            self.look(place, k, sight, tuple(int(i) for i in np.unravel_index(flat, sight.x.shape)))
        for index in also:
            if np.isnan(sight.expected[index]) and index not in sight.kinks:
                self.look(place, k, sight, index)
        if k in self.projections:
            self.project(place, k, sight)
        self.judge(place, k, sight)
        if also:
            return sight
        self.kinks_together(place, k, sight)
        self.directions(place, k, sight, everything=True)
        if not sight.is_wrong:
            self.guard(place, k, sight)
        return sight

    def directions_only(self, place: Place, k: int, most: int, kinks: Sequence[tuple[int, ...]] = ()) -> Sight:
        """What is seen of argument k along directions.

        `kinks` are entries that sit on a kink at x: there a gradient may be written for x alone. They are a remark.
        """
        sight = self.empty(place, k)
        if not np.isfinite(sight.given).all():
            return self.entries(place, k, most)
        aside = np.zeros(sight.x.shape, bool)
        for index in kinks:
            aside[index] = True
        if k in self.projections:
            return self.entries(place, k, most)
        self.directions(place, k, sight, everything=False, aside=aside)
        if kinks and not sight.is_wrong:
            weight = unit(place.x[k]) * self.rng.choice([-1.0, 1.0], aside.shape) * aside
            found = self.off(place, k, np.where(aside, sight.given, 0.0), weight)
            sight.only_at_x = found is not None and found.wrong
        return sight

    def empty(self, place: Place, k: int) -> Sight:
        x, given = place.x[k], place.given[k]
        unseen = np.full(x.shape, np.nan)
        rounding = float(np.max(self.precision.margin * place.noise[k] + place.least(k), initial=0.0))
        wrong = ~np.isfinite(given)
        return Sight(
            self.function.arguments.names[k], x.astype(float), given, unseen, unseen.copy(), wrong, rounding=rounding
        )

    def project(self, place: Place, k: int, sight: Sight) -> None:
        """Keep of gradient and derivative what lies along the directions in which the argument may move."""
        project = self.projections[k]
        if np.isnan(sight.expected).any():  # on a kink, say: no projection of what is not known
            return
        sight.expected = project(sight.x, sight.expected)
        if np.isfinite(sight.given).all():
            sight.given = project(sight.x, sight.given)
        sight.allowed[...] = float(np.max(sight.allowed))

    def look(self, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> Slope | None:
        """The derivative by one entry."""
        step = np.zeros(sight.x.shape)
        step[index] = unit(place.x[k])[index]
        slope, _ = tried(self.witnesses[k], place.x, only(place.x, k, step))
        sight.looked += 1
        if slope is None:
            sight.blind += 1
            return None
        h = step[index]
        slope = Slope(slope.up / h, slope.down / h, slope.error / h, slope.ties)
        if slope.has_kink(abs(slope.middle)):
            sight.kinks[index] = slope
        else:
            sight.expected[index], sight.allowed[index] = slope.middle, 3 * slope.error
        return slope

    def judge(self, place: Place, k: int, sight: Sight) -> None:
        """Entry by entry: right, wrong, or not to be told."""
        scale, p = sight.scale, self.precision
        seen = ~np.isnan(sight.expected)
        if sight.kinks:  # there the gradient may jump when x moves: that is no rounding
            noise = p.margin * place.noise[k] + place.least(k)
            sight.rounding = float(np.max(noise, initial=0.0, where=seen))
        with np.errstate(all="ignore"):
            size = np.maximum(abs(sight.expected), p.floor * scale)
            blur = sight.allowed + p.margin * place.noise[k] + place.least(k)
            sight.allowed = np.maximum(blur, p.relative * size)
            off = abs(sight.given - sight.expected)
            suspects = seen & ~(off <= sight.allowed) & np.isfinite(sight.given)
            slight = suspects & (off <= (1e-2 if p.eps > 1e-10 else 1e-6) * max(scale, 1e-300))
        for index in _few(slight, 50, off):
            sight.allowed[index] += self.wobble(place, k, sight, index)
        for index in _few(suspects & ~(off <= sight.allowed), 50, off):
            if self.hidden_kink(place, k, sight, index):
                seen[index] = False
        slightly = seen & (off > sight.allowed) & (off <= p.rounding * scale)  # a sum of large terms may round so
        sight.allowed[slightly] = blur[slightly] = off[slightly]
        sight.wrong |= seen & ~(off <= sight.allowed)
        with np.errstate(all="ignore"):
            larger = np.maximum(abs(sight.expected), abs(sight.given))
            coarse = seen & ~sight.wrong & (blur > CEILING * larger)
            # An exact zero that is given, and what is rounding beside the largest entry, has nothing to be told.
            coarse &= (abs(sight.given) > p.zero * scale) & (larger > sight.rounding)
        self.confirm(place, k, sight)
        for index, slope in sight.kinks.items():
            slack = 1e-5 * max(abs(slope.up), abs(slope.down)) + 3 * slope.error + self.precision.margin * float(place.noise[k][index])
            low, high = sorted((slope.up, slope.down))
            if not low - slack <= sight.given[index] <= high + slack and np.isfinite(sight.given[index]):
                if slope.ties in (0, 1):
                    sight.wrong[index] = True
                else:
                    sight.disputed.append(index)
        self.together(place, k, sight, coarse)

    def hidden_kink(self, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> bool:
        """Whether an entry sits on a kink that an exact witness does not see: by rounding it is a little to one side."""
        if not self.witnesses[k].exact:
            return False
        seen, h = self.differences_by(place, k, sight, index)
        if not seen.known or seen.up == seen.down:
            return False
        sight.kinks[index] = Slope(seen.up / h, seen.down / h, seen.error / h, seen.ties)
        sight.expected[index] = sight.allowed[index] = np.nan
        return True

    def wobble(self, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> float:
        """How far the witness of an entry moves when the arguments do, in their last bits."""
        step = np.zeros(sight.x.shape)
        h = float(unit(place.x[k])[index])
        step[index] = h
        moved = 0.0
        for n in range(NUDGES):
            slope, _ = tried(self.witnesses[k], self.nudged(place.x), only(place.x, k, step))
            if slope is not None:
                moved = max(moved, abs(slope.middle / h - sight.expected[index]))
        if not self.witnesses[k].exact:  # another row of steps: an estimate of an error is an estimate
            again = self.differences(place.x, only(place.x, k, step), first=0.19)
            if again.known:
                return 3 * abs(again.middle / h - float(sight.expected[index])) + self.precision.margin * 0.1 * moved
        return self.precision.margin * moved

    def confirm(self, place: Place, k: int, sight: Sight) -> None:
        """Doubt the witness where it may be at fault.

        A slight difference may be that of an iteration which stops early, whose derivative has not arrived; and a complex step is
        as good as differences have confirmed. A large one may be the witness's own error if differences side with the gradient.
        """
        witness = self.witnesses[k]
        if not witness.exact or not sight.wrong.any():
            return
        off = abs(sight.given - sight.expected)
        with np.errstate(all="ignore"):
            relative = off / np.maximum(np.maximum(abs(sight.expected), abs(sight.given)), 1e-3 * sight.scale)
        worst = _few(sight.wrong & ~np.isnan(relative), 3, relative)
        largest = float(np.max(np.nan_to_num(relative[sight.wrong], nan=np.inf)))
        if largest < CEILING:
            if self.doubtful(place, k, largest) or not (
                witness.sound or any(self.contradicted(place, k, sight, index) for index in worst)
            ):
                sight.unconfirmed = largest
                sight.wrong[:] = False
        elif worst and all(self.confirmed(place, k, sight, index) for index in worst):
            sight.conflict = float(relative[worst[0]])

    def doubtful(self, place: Place, k: int, relative: float) -> bool:
        """Whether the loss is not as precise as a difference that was seen: it stops an iteration early, or has noise."""
        noise = self.differences.relative_noise(place.x)
        return relative < 1e3 * self.witnesses[k].threshold or (noise > COARSE and relative < max(1e-6, 1e3 * noise))

    def contradicted(self, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> bool:
        """Whether differences of the loss contradict what was given, too."""
        seen, h = self.differences_by(place, k, sight, index)
        return abs(sight.given[index] * h - seen.middle) > 3 * seen.error

    def confirmed(self, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> bool:
        """Whether differences of the loss side with what was given, and against the witness."""
        seen, h = self.differences_by(place, k, sight, index)
        if not seen.known or seen.up != seen.down:
            return False
        with_given = abs(sight.given[index] * h - seen.middle)
        against = abs(sight.expected[index] * h - seen.middle)
        return with_given <= 10 * seen.error + 1e-6 * abs(seen.middle) and against > 100 * with_given + 100 * seen.error

    def differences_by(self, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> tuple[Slope, float]:
        """(the derivative along a step at one entry by differences, the step's length)."""
        step = np.zeros(sight.x.shape)
        step[index] = h = float(unit(place.x[k])[index])
        return self.differences(place.x, only(place.x, k, step)), h

    def together(self, place: Place, k: int, sight: Sight, coarse: np.ndarray) -> None:
        """Entries too small for the witness one by one, along the direction in which they say the loss rises."""
        indices = [tuple(int(i) for i in index) for index in np.argwhere(coarse)]
        if len(indices) > 1 and not np.any(sight.allowed[coarse] > CEILING * sight.scale):
            step = np.where(coarse, np.sign(sight.given) * unit(place.x[k]), 0.0)
            slope, _ = tried(self.witnesses[k], place.x, only(place.x, k, step))
            if slope is not None:
                said = float(np.sum(sight.given * step))
                error = 3 * slope.error + self.precision.margin * norm(place.noise[k] * step)
                error += self.precision.relative * abs(said)
                error += self.precision.rounding * sight.scale * norm(step)
                off = abs(said - slope.middle)
                if off > error * (1 if self.witnesses[k].exact else SURELY):
                    sight.spread = off / abs(said)
                    return
                if off <= error <= CEILING * abs(said):
                    sight.grouped = len(indices)
                    return
        sight.coarse = indices

    # -- along directions

    def kinks_together(self, place: Place, k: int, sight: Sight) -> None:
        """Entries on kinks along common directions: between both derivatives must lie what the gradient says of each."""
        if len(sight.kinks) < 2 or not self.witnesses[k].exact:
            return
        mask = np.zeros(sight.x.shape, bool)
        for index in sight.kinks:
            mask[index] = index not in sight.disputed and not sight.wrong[index]
        for _ in range(5):
            step = self.rng.standard_normal(sight.x.shape) * mask
            slope, _ = tried(self.witnesses[k], place.x, only(place.x, k, step))
            if slope is None:
                continue
            said = float(np.sum(np.where(mask, sight.given, 0.0) * step))
            low, high = sorted((slope.up, slope.down))
            slack = 1e-6 * float(np.sum(abs(np.where(mask, sight.given, 0.0) * step))) + 1e-6 * (high - low)
            if not low - slack <= said <= high + slack:
                if slope.ties in (0, 1):
                    sight.wrong |= mask
                else:
                    sight.disputed = list(sight.kinks)
                return

    def directions(self, place: Place, k: int, sight: Sight, everything: bool, aside: np.ndarray | None = None) -> None:
        """The given gradient along random directions, off the kinks; where it is wrong, which entries are."""
        free = np.isfinite(sight.given) if aside is None else np.isfinite(sight.given) & ~aside
        for index in sight.kinks:
            free[index] = False
        if not free.any() or (sight.wrong & free).any():
            return
        given = np.where(free, sight.given, 0.0)
        for weights in self.weights(place, k, given, everything):
            step = self.rng.choice([-1.0, 1.0], sight.x.shape) * weights * free
            if k in self.projections:
                step = self.projections[k](sight.x, step)
            if not step.any():
                continue
            found = self.off(place, k, given, step)
            if found is None:
                continue
            if found.kink:
                step = self.without_kinks(place, k, sight, step)
                found = self.off(place, k, given, step) if step.any() else None
                if found is None or found.kink:
                    continue
            sight.direction = max(sight.direction or 0.0, found.relative)
            if found.wrong:
                self.locate(place, k, sight, given, step, found)
                return

    def weights(self, place: Place, k: int, given: np.ndarray, everything: bool) -> Iterator[np.ndarray]:
        """Sizes of a direction's entries: such that each entry of the gradient counts alike; and as large as the argument."""
        if self.witnesses[k].exact:
            largest = float(np.max(abs(given), initial=0.0))
            yield 1 / np.maximum(abs(given), max(1e-6, self.precision.zero) * largest if largest > 0 else 1.0)
            if everything:
                yield np.ones(given.shape)
        else:
            size = unit(place.x[k])
            yield size
            terms = abs(given) * size
            if everything and terms.any():
                least = float(np.quantile(terms[terms > 0], 0.1))
                yield size * np.minimum(1.0, least / np.where(terms > 0, terms, least))

    def off(self, place: Place, k: int, given: np.ndarray, step: np.ndarray, again: bool = True) -> "_Off | None":
        """What the gradient says along a direction beside what the witness says."""
        slope, _ = tried(self.witnesses[k], place.x, only(place.x, k, step))
        if slope is None:
            return None
        terms = given * step
        said, size = float(np.sum(terms)), norm(terms)
        error = self.precision.relative * size + self.precision.margin * norm(place.noise[k] * step)
        error += 3 * slope.error + 8 * self.precision.eps * float(np.sum(abs(terms)))
        error += norm(place.least(k) * step)
        error += self.precision.rounding * float(np.max(abs(given))) * norm(step)
        off = abs(said - slope.middle)
        kink = slope.has_kink(size)
        if again and error < off < CEILING * max(size, abs(slope.middle)) and not kink:
            for _ in range(NUDGES):
                nudged, _ = tried(self.witnesses[k], self.nudged(place.x), only(place.x, k, step))
                if nudged is not None:
                    error += self.precision.margin * abs(nudged.middle - slope.middle)
        largest = max(size, abs(slope.middle), 1e-300)
        return _Off(said - slope.middle, error, off / largest, kink, not kink and off > error)

    def without_kinks(self, place: Place, k: int, sight: Sight, step: np.ndarray) -> np.ndarray:
        """The direction without the entries that sit on kinks, found by halving."""
        kept, parts, left = np.zeros(step.shape), [np.flatnonzero(step)], HALVINGS
        while parts and left > 0:
            part = parts.pop()
            left -= 1
            trial = np.zeros(step.shape)
            trial.flat[part] = step.flat[part]
            slope, _ = tried(self.witnesses[k], place.x, only(place.x, k, trial))
            size = norm(sight.given * trial)
            if slope is not None and not slope.has_kink(size):
                kept += trial
            elif len(part) > 1:
                parts += [part[: len(part) // 2], part[len(part) // 2 :]]
            elif slope is not None:
                index = tuple(int(i) for i in np.unravel_index(part[0], step.shape))
                h = step[index]
                ups = sorted((slope.up / h, slope.down / h))
                sight.kinks.setdefault(index, Slope(ups[1], ups[0], slope.error / abs(h), slope.ties))
        if parts:
            sight.blind += sum(len(part) for part in parts)
        return kept

    def locate(self, place: Place, k: int, sight: Sight, given: np.ndarray, step: np.ndarray, found: "_Off") -> None:
        """The entries to blame for a difference along a direction, by halving."""
        if self.witnesses[k].exact and found.relative < CEILING:
            witness = self.witnesses[k]
            seen = self.differences(place.x, only(place.x, k, step)) if not witness.sound else None
            unseen = seen is not None and not abs(float(np.sum(given * step)) - seen.middle) > 3 * seen.error
            if self.doubtful(place, k, found.relative) or unseen:
                sight.unconfirmed = found.relative
                return
        parts, left, named, single = [(np.flatnonzero(step), found.signed)], HALVINGS, 0, 0
        while parts and left > 0 and named < LOCATE:
            part, off = parts.pop()
            if len(part) == 1:
                index = tuple(int(i) for i in np.unravel_index(part[0], step.shape))
                single += 1
                self.look(place, k, sight, index)
                if not np.isnan(sight.expected[index]):
                    named += self.blame(place, k, sight, index)
                continue
            first, second = part[: len(part) // 2], part[len(part) // 2 :]
            trial = np.zeros(step.shape)
            trial.flat[first] = step.flat[first]
            left -= 1
            half = self.off(place, k, np.where(trial != 0, given, 0.0), trial, again=False)
            if half is None:
                continue
            if abs(off - half.signed) > 2 * found.error:  # what is not in one half is in the other
                parts.append((second, off - half.signed))
            if half.wrong:
                parts.append((first, half.signed))
        if sight.wrong.any() or single:  # entries that are right by themselves: the direction was rounding
            return
        if abs(found.signed) > SURELY * found.error:
            sight.spread = found.relative
        else:
            sight.unconfirmed = found.relative

    def blame(self, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> bool:
        """Whether an entry that halving has led to is wrong by itself."""
        relative = self.precision.relative * abs(float(sight.expected[index]))
        noise = self.precision.margin * float(place.noise[k][index]) + float(place.least(k)[index])
        sight.allowed[index] = max(relative, noise + float(sight.allowed[index]))
        sight.wrong[index] = not abs(sight.given[index] - sight.expected[index]) <= sight.allowed[index]
        return bool(sight.wrong[index])

    def guard(self, place: Place, k: int, sight: Sight) -> None:
        """The witness itself beside differences along one direction, where it is not differences."""
        if not self.witnesses[k].exact:
            return
        step = self.rng.choice([-1.0, 1.0], sight.x.shape) * unit(place.x[k])
        for index in sight.kinks:
            step[index] = 0.0
        if k in self.projections:
            step = self.projections[k](sight.x, step)
        if not step.any():
            return
        v = only(place.x, k, step)
        mine, _ = tried(self.witnesses[k], place.x, v)
        theirs = self.differences(place.x, v)
        if mine is None or not theirs.known or mine.has_kink(abs(mine.middle)):
            return
        size = max(
            norm(np.where(np.isnan(sight.given), 0, sight.given) * step), abs(mine.middle)
        )
        if size == 0:
            return
        sight.differences = abs(float(np.sum(sight.given * (step != 0) * step)) - theirs.middle) / size
        off = abs(mine.middle - theirs.middle)
        limit = 1e-2 if self.precision.eps > 1e-10 else 1e-6
        if theirs.error <= CEILING * size and off > 10 * theirs.error + limit * size:
            sight.conflict = off / size


@dataclass(frozen=True)
class _Off:
    """A difference along a direction, what is allowed of it, and whether that is too much or the direction crosses a kink."""

    signed: float
    error: float
    relative: float
    kink: bool
    wrong: bool


def norm(array: np.ndarray) -> float:
    """The root of the sum of squares, which do not overflow."""
    largest = float(np.max(abs(array), initial=0.0))
    return largest * float(np.sqrt(np.sum((array / largest) ** 2))) if 0 < largest < np.inf else largest


def _few(mask: np.ndarray, most: int, size: np.ndarray) -> list[tuple[int, ...]]:
    """The places where a mask is set, those with the largest size first."""
    found = [tuple(int(i) for i in index) for index in np.argwhere(mask)]
    return sorted(found, key=lambda index: -float(np.nan_to_num(size[index], nan=np.inf)))[:most]
