"""One number that turns given arrays into others: the interval in which it must lie, its name, and what it is worth.

Every entry allows an interval of numbers c with |given - base - c direction| <= error. A hypothesis fits if these
intervals have a point in common. How much that says is counted in decimal digits: each entry beyond the first that fits
to one part in 10^k adds k. A fit of few digits could be a coincidence, and is not reported.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

__all__ = ["ENOUGH", "Fit", "Number", "Points", "Seen", "number"]

ENOUGH = 4.5  # digits: what chance would do more often than once in 30,000 times is not reported
_ALSO = 4  # other names of a number that are shown
_EPS = float(np.finfo(float).eps)
_PROBES = 64  # entries that are tried before all are

Arrays = Callable[[int], np.ndarray]  # number of the point -> an array of the argument's shape, or one that broadcasts


@dataclass(frozen=True)
class Seen:
    """One argument at one point.

    Attributes
    ----------
    x : ndarray
        The argument's value.
    given, expected : ndarray
        The two gradients, of the shape of x, float64. `expected` is NaN where it was not determined.
    error : ndarray
        The largest |given - expected| that an entry may have and be right.
    others : dict
        The other arguments: name -> (its expected gradient, NaN where unknown; its value).
    held : dict
        Arrays and numbers that the function has there, by name; of integers where they are.
    """

    x: np.ndarray
    given: np.ndarray
    expected: np.ndarray
    error: np.ndarray
    others: dict[str, tuple[np.ndarray, np.ndarray]]
    held: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Fit:
    """The numbers that fit, one interval for each group of entries, and how many digits the entries confirm."""

    low: np.ndarray
    high: np.ndarray
    digits: float

    @property
    def middle(self) -> np.ndarray:
        """The middle of each interval; NaN for a group that no entry restricts."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.low + self.high) / 2)


@dataclass(frozen=True)
class Number:
    """A number in an interval: its text, a simple value, the digits that its name costs, and what else it could be."""

    text: str
    value: float
    cost: float
    also: tuple[str, ...] = ()
    resolved: float = 0.0  # digits that the interval resolves

    def worth(self, fit: Fit) -> float:
        """Digits of evidence: those of the fit, and those by which the number is simpler than it had to be."""
        return fit.digits + max(0.0, self.resolved - self.cost)

    def remark(self) -> str:
        """What else the number is, to stand at the end of a sentence; or nothing."""
        return f"; {self.text.removeprefix('-')} is also {', '.join(self.also)}" if self.also else ""


class Points:
    """Given and expected gradients of one argument at every point."""

    def __init__(self, seen: Iterable[Seen]) -> None:
        seen = list(seen)
        self.x, self.given, self.expected, error = (
            [np.atleast_1d(np.asarray(getattr(s, part), float)) for s in seen]
            for part in ("x", "given", "expected", "error")
        )
        self.shape = self.x[0].shape  # a number is an array of one entry
        self.others = [
            {name: (np.atleast_1d(gradient), np.atleast_1d(value)) for name, (gradient, value) in s.others.items()}
            for s in seen
        ]
        self.held = [s.held for s in seen]
        self.known = [
            np.isfinite(e) & np.isfinite(g) & np.isfinite(t)
            for e, g, t in zip(self.expected, self.given, error, strict=True)
        ]
        self.relative = [0.0] * len(seen)  # the error of a typical entry, of the largest one
        self.noise = error  # of the expected array
        self.error = [self._error(k, t) for k, t in enumerate(error)]  # and of the given one
        with np.errstate(invalid="ignore"):
            self.wrong = [
                known & (abs(g - e) > t)
                for known, g, e, t in zip(self.known, self.given, self.expected, self.error, strict=True)
            ]
            worst = [
                np.where(wrong, abs(g - e) / t, 0.0)
                for wrong, g, e, t in zip(self.wrong, self.given, self.expected, self.error, strict=True)
            ]
            self.worst = [np.unravel_index(int(np.argmax(off)), self.shape) for off in worst]
            self.probes = [_probes(known, off) for known, off in zip(self.known, worst, strict=True)]
            self.dead = [  # both are zero: the entry tells nothing
                known & (abs(g) <= t) & (abs(e) <= t)
                for known, g, e, t in zip(self.known, self.given, self.expected, self.error, strict=True)
            ]
        self.alive = [known & ~dead for known, dead in zip(self.known, self.dead, strict=True)]
        self.count = sum(int(mask.sum()) for mask in self.alive)  # entries that are not zero in both
        self.bad = sum(int(mask.sum()) for mask in self.wrong)

    def pick(self, places: list[Any]) -> "Points":
        """Some entries of every point, masks or indices, put together as one point with one axis.

        Of the other arguments those stay that have the same shape, or one entry.
        """

        def together(arrays: list[np.ndarray]) -> np.ndarray:
            return np.concatenate([np.broadcast_to(a, self.shape)[p] for a, p in zip(arrays, places, strict=True)])

        others = {}
        for name in self.others[0]:
            sizes = {np.shape(array) for others in self.others for array in others[name]}
            if sizes in ({self.shape}, {(1,)}):
                gradients, values = zip(*(others[name] for others in self.others), strict=True)
                others[name] = (together(list(gradients)), together(list(values)))
        held = {}
        for name, first in self.held[0].items():
            if all(name in held and held[name].shape in (self.shape, ()) for held in self.held):
                held[name] = together([np.asarray(held[name], float) for held in self.held]) if first.ndim else first
        x, given, expected, error = map(together, (self.x, self.given, self.expected, self.error))
        return Points([Seen(x, given, expected, error, others, held)])

    def __len__(self) -> int:
        return len(self.x)

    def _error(self, k: int, error: np.ndarray) -> np.ndarray:
        """The allowed error and the rounding of the given number, which can be far larger than the expected one."""
        known, given = self.known[k], np.where(self.known[k], self.given[k], 0.0)
        scale = abs(self.expected[k][known]).max(initial=0.0)
        self.relative[k] = min(float(np.median(error[known])) / scale, 1e-3) if scale > 0 else 1e-9
        beyond = np.maximum(abs(given) - scale, 0.0)
        return np.asarray(error + beyond * self.relative[k] + 4 * _EPS * abs(given) + 1e-300)

    def fit(
        self,
        direction: Arrays,
        base: Arrays | None = None,
        by: str = "all",
        where: list[np.ndarray] | None = None,
        slack: Arrays | None = None,
        points: Iterable[int] | None = None,
        partial: bool = False,
    ) -> Fit | None:
        """Numbers c with given = base + c direction on every known entry; None if there are none.

        Parameters
        ----------
        direction, base : callable
            The arrays of point k; no base is zero.
        by : str
            For what there is a c of its own: "all" has one, "point" one a point, "0" and "1" one for every index of
            this axis, "0 point" one for each of them at each point.
        where : list of bool ndarray
            The entries to look at; all known ones if not given.
        slack : callable
            By how much the direction itself may be wrong.
        points : iterable of int
            The points to look at; all if not given.
        partial : bool
            Whether entries of `direction` that are not finite tell nothing, as where they come from unknown entries, if at
            least half of the wrong entries remain; else there is no fit if there are such.
        """
        parts = []
        groups = 0
        for k in range(len(self)) if points is None else points:
            d = np.broadcast_to(direction(k), self.shape)
            b = np.broadcast_to(base(k), self.shape) if base else np.zeros(self.shape)
            s = np.broadcast_to(slack(k), self.shape) if slack else np.zeros(self.shape)
            ids, groups = self._groups(by, groups)
            among = self.known[k] if where is None else self.known[k] & where[k]
            if by in ("all", "point"):
                probes = self.probes[k] if where is None else _spaced(among)
                if not _promising(*(array[probes] for array in (self.given[k], b, d, self.error[k], s))):
                    return None
            elif not _promising(
                *(self._line(array, k, int(by[0])) for array in (self.given[k], b, d, self.error[k], s))
            ):
                return None
            mask = among & np.isfinite(d) & np.isfinite(b) & np.isfinite(s)
            left, wrong = int((mask & self.wrong[k]).sum()), int((among & self.wrong[k]).sum())
            if (2 * left < wrong) if partial else (mask != among).any():
                return None
            if mask.any():
                parts.append([array[mask] for array in (self.given[k] - b, d, self.error[k], s, ids)])
        if not parts:
            return None
        rest, d, error, slack_of_d, ids = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return _intervals(rest, d, error, slack_of_d, ids, groups)

    def _line(self, array: np.ndarray, k: int, axis: int) -> np.ndarray:
        """Some entries of the row or column in which the worst entry of point k lies."""
        line = array.take(self.worst[k][axis], axis).ravel()
        return line[:: max(1, line.size // _PROBES)]

    def _groups(self, by: str, before: int) -> tuple[np.ndarray, int]:
        """The number of every entry's group, and how many groups there are with this point's."""
        if by == "all":
            return np.zeros(self.shape, int), 1
        if by == "point":
            return np.full(self.shape, before), before + 1
        axis, _, each = by.partition(" ")
        shape = [1] * len(self.shape)
        shape[int(axis)] = -1
        ids = np.broadcast_to(np.arange(self.shape[int(axis)]).reshape(shape), self.shape)
        return (ids + before, before + self.shape[int(axis)]) if each else (ids, self.shape[int(axis)])


def _probes(known: np.ndarray, off: np.ndarray) -> tuple[np.ndarray, ...]:
    """Indices of a few known entries: some of the worst, and others spread over the array."""
    count = min(off.size, _PROBES // 4)
    worst = np.argpartition(off, -count, axis=None)[-count:]
    places = np.concatenate([np.ravel_multi_index(_spaced(known), known.shape), worst])
    return np.unravel_index(places[known.ravel()[places]], known.shape)


def _spaced(mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Indices of a few entries of a mask."""
    places = np.flatnonzero(mask)
    return np.unravel_index(places[:: max(1, places.size // _PROBES)], mask.shape)


def _promising(given: np.ndarray, base: np.ndarray, d: np.ndarray, error: np.ndarray, slack: np.ndarray) -> bool:
    """Whether a few entries agree on a number: most hypotheses end here."""
    rest = given - base
    usable = np.isfinite(rest) & np.isfinite(d) & np.isfinite(error) & np.isfinite(slack)
    if not usable.any():
        return True
    rest, d, error, slack = rest[usable], d[usable], error[usable], slack[usable]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        best = int(np.argmax(abs(d) / (error + slack)))
        if d[best] == 0:
            return bool((abs(rest) <= error).all())
        c = rest[best] / d[best]
        allowed = np.maximum(error, abs(c) * slack)
        return not bool((abs(rest - c * d) > 2 * (allowed + abs(d / d[best]) * allowed[best])).any())


def _intervals(
    rest: np.ndarray, d: np.ndarray, error: np.ndarray, slack: np.ndarray, ids: np.ndarray, groups: int
) -> Fit | None:
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        weight = d / error
        weight = np.where(np.isfinite(weight), weight, 0.0)
        top = np.zeros(groups)
        np.maximum.at(top, ids, abs(weight))
        weight = weight / np.where(top > 0, top, 1.0)[ids]  # so that no square overflows
        below = np.bincount(ids, weight * weight, groups)
        ratio = np.where(weight != 0, rest / np.where(d == 0, 1.0, d), 0.0)
        c = np.bincount(ids, ratio * weight * weight, groups) / np.where(below > 0, below, 1.0)
        allowed = np.maximum(error, abs(c)[ids] * slack)
        live = d != 0
        if (abs(rest[~live]) > allowed[~live]).any():
            return None
        low, high = np.full(groups, -np.inf), np.full(groups, np.inf)
        width = allowed[live] / abs(d[live])
        np.maximum.at(low, ids[live], rest[live] / d[live] - width)
        np.minimum.at(high, ids[live], rest[live] / d[live] + width)
        if not (low <= high).all():
            return None
        digits = np.clip(np.log10(np.maximum(abs(c[ids] * d), 1e-300) / allowed), 0.0, 15.0)
    most = np.zeros(groups)
    np.maximum.at(most, ids, digits)
    return Fit(low, high, float(digits.sum() - most.sum()))


_NAMES = {
    1.0: "1",
    2.0: "2",
    3.0: "3",
    4.0: "4",
    0.5: "1/2",
    0.25: "1/4",
    1 / 3: "1/3",
    2 / 3: "2/3",
    1.5: "3/2",
    0.75: "3/4",
    np.sqrt(2): "sqrt(2)",
    np.sqrt(0.5): "1/sqrt(2)",
    np.log(2): "log(2)",
    1 / np.log(2): "1/log(2)",
    np.pi: "pi",
    2 * np.pi: "2 pi",
    np.pi / 180: "pi/180",
    180 / np.pi: "180/pi",
}


def number(low: float, high: float, sizes: dict[str, float]) -> Number:
    """The simplest number between `low` and `high`: with a name, of few digits, or the middle.

    `sizes` are sizes of arrays and constants: where the number is one of them, its inverse, square, root and so on, `also`
    says so.
    """
    middle = (low + high) / 2
    size = abs(middle)
    width = high - low
    if not np.isfinite(middle) or size == 0:
        return Number("0", 0.0, 0.0)
    resolved = float(np.clip(np.log10(size / max(width, 1e-15 * size)), 0.0, 15.0))
    sign = "-" if middle < 0 else ""
    if width > 1e-2 * size:
        return Number(f"about {middle:.2g}", middle, resolved, (), resolved)
    margin = 1e-14 * size

    def inside(value: float) -> bool:
        return low - margin <= np.copysign(value, middle) <= high + margin

    simple, others = _of_sizes(sizes)
    first = [text for text, value in simple if inside(value)]
    also = tuple((first + [text for text, value in others if inside(value)])[:_ALSO])
    named = 1.0 if first else 1.5
    for value, text in _NAMES.items():
        if inside(value):  # a size may explain it as well; a root of one, or half of one, is far-fetched
            named_by = tuple(first[:_ALSO])
            return Number(
                sign + text, float(np.copysign(value, middle)), 0.5 if value == 1 else 1.0, named_by, resolved
            )
    for digits in range(1, 7):
        value = float(f"{size:.{digits - 1}e}")
        if inside(value):
            cost = min(digits + 0.5, named) if also else digits + 0.5
            return Number(f"{sign}{value:.6g}", float(np.copysign(value, middle)), cost, also, resolved)
    cost = named if also else resolved
    return Number(f"{sign}{size:.6g}", middle, cost, also, resolved)


def _of_sizes(sizes: dict[str, float]) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """The sizes and their inverses, and other numbers made of them, the simplest first."""
    simple: list[tuple[str, float]] = []
    single: list[tuple[str, float]] = []
    pairs: list[tuple[str, float]] = []
    sizes = {name: n for name, n in sizes.items() if n > 0 and n != 1}
    for name, n in sizes.items():
        one = f"({name})" if " " in name else name
        simple += [(name, n), (f"1/{one}", 1 / n)]
        if n != int(n) or n < 2:  # a constant, no size
            others = [(f"{one}^2", n**2), (f"2 {one}", 2 * n), (f"{one}/2", n / 2), (f"1 - {one}", abs(1 - n))]
            single += [(text, value) for text, value in others if value > 0]
            continue
        single += [
            (f"{one}^2", n**2),
            (f"1/{one}^2", n**-2.0),
            (f"sqrt({name})", n**0.5),
            (f"1/sqrt({name})", n**-0.5),
            (f"2 {one}", 2 * n),
            (f"2/{one}", 2 / n),
            (f"{one}/2", n / 2),
            (f"1/(2 {one})", 1 / (2 * n)),
            (f"{one} - 1", n - 1),
            (f"1/({one} - 1)", 1 / (n - 1)),
            (f"{one} + 1", n + 1),
            (f"{one}/({one} - 1)", n / (n - 1)),
            (f"({one} - 1)/{one}", (n - 1) / n),
        ]
    for (name, n), (other, m) in combinations(sizes.items(), 2):
        if n != m:
            a, b = (f"({text})" if " " in text else text for text in (name, other))
            pairs += [(f"{a} {b}", n * m), (f"1/({a} {b})", 1 / (n * m)), (f"{a}/{b}", n / m), (f"{b}/{a}", m / n)]
    return simple, single + pairs
