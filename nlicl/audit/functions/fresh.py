"""Points that an audit has not seen: near x, far from it, with other signs, and of other sizes where the loss takes them."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from .function import Function
from .points import kind_of, like, neighbours, unit
from .slopes import Differences, Witness, chosen, only, tried

__all__ = ["Fresh", "far", "longer", "other_sizes"]

POINTS = 200
LEAST = 8  # points at which something was told: fewer prove little
FIT = 1e-7  # of a direction's terms: a right gradient agrees to that where nothing is known of rounding
_WIDE = (-2.5, 3.5)  # powers of ten that all of x is multiplied by
_WIDELY = 30  # such places
_ROUGH = 1e-3  # of a direction's terms, there, where the reader's way to compute may lose digits
_FITTING = 1e-8  # of the largest entry, at a place that is learnt
_SIZED = 3  # points of each other size


def far(x: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """A place whose entries have other sizes, and of half of all places other signs; x's kind is kept."""
    place = []
    signs = rng.random() < 0.5
    for array in x:
        name, alike = kind_of(array)
        factor = np.exp(0.5 * rng.standard_normal(array.shape))
        if signs and name != "of sum 1":
            factor = factor * rng.choice([-1.0, 1.0], array.shape)
        moved = unit(array) * np.where(array == 0, rng.standard_normal(array.shape), np.sign(array) * factor)
        place.append(like(array, alike(moved)))
    return place


def other_sizes(function: Function, x: list[np.ndarray], rng: np.random.Generator) -> Iterator[Function]:
    """The same functions on arrays of other sizes: every axis of one length is one longer. Those that have a value there."""
    lengths = sorted({size for array in x for size in array.shape if size > 1})
    for length in lengths[:4]:
        larger = [longer(array, length, rng) for array in x]
        try:
            yield function.at_sizes(larger)
        except Exception:  # the loss's data have one size
            continue


def longer(array: np.ndarray, length: int, rng: np.random.Generator, count: int = 1) -> np.ndarray:
    """The same with so many more of what it has along every axis of a length; whole numbers are repeated."""
    for axis, size in enumerate(array.shape):
        if size == length:
            more = np.take(array, rng.integers(size, size=count), axis)
            if array.dtype.kind == "f":
                more = more * rng.uniform(0.5, 1.5)
            array = np.concatenate([array, more.astype(array.dtype)], axis)
    return np.ascontiguousarray(array)


class Fresh:
    """Tries a gradient at fresh points, along directions.

    Parameters
    ----------
    function : Function
        With the reader's own gradient.
    rng : Generator
    projections : mapping
        Of the arguments that may move in some directions only.

    Attributes
    ----------
    failed : (Function, list of ndarray, float) or None
        Where the last gradient that was tried is wrong, and how closely one that is right fits there.
    """

    def __init__(
        self,
        function: Function,
        rng: np.random.Generator,
        projections: dict[int, Callable[[np.ndarray, np.ndarray], np.ndarray]],
    ) -> None:
        self.function, self.rng, self.projections = function, rng, projections
        self.failed: tuple[Function, list[np.ndarray], float] | None = None

    def tried(
        self, mended: Callable[[Function], Function], sizes: Iterable[Function], late: Callable[[], bool]
    ) -> tuple[int, int] | None:
        """(points, points of other sizes) at which a mended gradient agrees; None if it does not at one, which is `failed`.

        `mended` makes of a Function the same with the mended gradient; `sizes` are the reader's functions at other sizes.
        `late` says when to stop.
        """
        sized = 0
        for other in sizes:
            there = ([*other.arrays] if n == 0 else far(other.arrays, self.rng) for n in range(_SIZED))
            found = self._points(other, mended, there, late, _SIZED)
            if found is None:
                return None
            sized += found
        points = self._points(self.function, mended, self._places(), late, POINTS)
        if points is not None and not self.projections:
            wide = self._points(self.function, mended, self._wide(), late, _WIDELY, self._typical(mended))
            points = None if wide is None else points
        return None if points is None else (points, sized)

    def _by_differences(
        self, function: Function, place: list[np.ndarray], k: int, step: np.ndarray, said: float, size: float
    ) -> bool:
        """Whether differences of the loss say the same of argument k, or nothing."""
        differences = Differences(function, "", 0.0, float(np.finfo(place[0].dtype).eps))
        slope, _ = tried(differences, place, only(place, k, step))
        if slope is None:
            return True
        return abs(said - slope.middle) <= 10 * _ROUGH * max(size, abs(slope.middle)) + 5 * slope.error

    def _typical(self, mended: Callable[[Function], Function]) -> list[float]:
        """The size of each argument's gradient at x, times a step of x's size."""
        x = self.function.arrays
        given = mended(self.function).gradient_or_none(x) or [np.zeros(array.shape) for array in x]
        return [float(np.sqrt(np.sum((g * unit(array)) ** 2))) for g, array in zip(given, x, strict=True)]

    def at(self, places: Iterator[list[np.ndarray]], late: Callable[[], bool], most: int) -> int | None:
        """At how many places the reader's own gradient agrees, up to so many; None if it does not at one."""
        return self._points(self.function, lambda function: function, places, late, most)

    def _places(self) -> Iterator[list[np.ndarray]]:
        x = self.function.arrays
        while True:
            yield from (place for place, lacks in neighbours(x, self._defined, 2, self.rng, range(len(x))) if not lacks)
            if not self.projections:
                yield far(x, self.rng)
                yield far(x, self.rng)

    def _wide(self) -> Iterator[list[np.ndarray]]:
        """Places at which all of x is far larger or smaller: a branch may end there that no other place leaves."""
        while True:
            place = far(self.function.arrays, self.rng)
            power = 10.0 ** self.rng.uniform(*_WIDE)
            yield [like(array, kind_of(array)[1](array * power)) for array in place]

    def _defined(self, place: list[np.ndarray]) -> bool:
        return bool(np.isfinite(self.function.real(place)))

    def _points(
        self,
        function: Function,
        mended: Callable[[Function], Function],
        places: Iterator[list[np.ndarray]],
        late: Callable[[], bool],
        most: int,
        typical: list[float] | None = None,
    ) -> int | None:
        """At how many places a mended gradient agrees; None if it does not at one.

        With `typical` sizes of the gradient, only what is roughly wrong there is wrong.
        """
        other = mended(function)
        told = 0
        witnesses: list[Witness] = []
        for number, place in enumerate(places):
            if told >= most or number > 3 * most or late():
                break
            value = function.real(place)
            if not np.isfinite(value):
                continue
            if not witnesses:
                differences = Differences(function, "", 0.0, float(np.finfo(place[0].dtype).eps))
                witnesses = chosen(function, [place], differences, self.rng)
            agrees = self._agrees(function, other, witnesses, place, value, typical)
            if agrees is False:
                self.failed = function, place, _ROUGH / 10 if typical else _FITTING
                return None
            told += bool(agrees)
        return told

    def _agrees(
        self,
        function: Function,
        other: Function,
        witnesses: list[Witness],
        place: list[np.ndarray],
        value: float,
        typical: list[float] | None,
    ) -> bool | None:
        """Whether the mended gradient is right along a direction in each argument; None if nothing was told."""
        given = other.gradient_or_none(place)
        if given is None or not all(np.isfinite(array).all() for array in given):
            theirs = None if typical else function.gradient_or_none(place)
            if theirs is None or not all(np.isfinite(array).all() for array in theirs):
                return None  # the reader's own has no value there, either
            return False
        if other.returns_both and typical is None and not abs(other.real(place) - value) <= 1e-12 * abs(value):
            return False
        told = None
        for k, array in enumerate(given):
            step = unit(place[k]) * self.rng.standard_normal(array.shape)
            if k in self.projections:
                step = self.projections[k](place[k], step)
            slope, _ = tried(witnesses[k], place, only(place, k, step))
            terms = np.asarray(array, float) * step
            size = float(np.sqrt(np.sum(terms**2)))
            if slope is None or slope.has_kink(max(size, abs(slope.middle))):
                continue
            single = place[k].dtype == np.float32 or array.dtype == np.float32
            fit = 1e-2 if single else FIT
            allowed = fit * max(size, abs(slope.middle)) + 5 * slope.error + 1e-13 * abs(value)
            if typical is not None:
                allowed += _ROUGH * max(size, abs(slope.middle)) + 1e-6 * typical[k] + 1e-9 * abs(value)
            if not witnesses[k].exact and slope.error > 1e-4 * max(size, abs(slope.middle)):
                continue
            if not abs(float(np.sum(terms)) - slope.middle) <= allowed:
                if typical is not None and self._by_differences(function, place, k, step, float(np.sum(terms)), size):
                    continue  # far away, an exact witness may overflow on its way
                return False
            told = True
        return told
