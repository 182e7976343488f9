"""What is wrong, told by arrays that the function has: a term made of them, a factor, or what the gradient should be.

Thousands of arrays are compared. A few entries decide which may fit; those are held against all entries of all points.
How many were tried counts against what fits.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import lgamma, log, log10

import numpy as np

from ..comparison import item
from .arrays import two_numbers
from .fit import ENOUGH, Arrays, Fit, Number, Points, Seen, number
from .made import Made
from .pool import Pool, spread

__all__ = ["factors_held", "gates", "terms_held"]

_PROBES = 24  # entries of a point
_LEAST = 8  # entries that decide which may fit
_CHUNK = 512
_FILL = re.compile(r"\[:, None\]|the sum of|over axis|times expected")
_WORDS = re.compile(r"[A-Za-z_]\w*")
_ROUNDING = 1e-13  # of the largest entry of an array that is made
_MOST = 40  # that are held against all entries
_BESIDE = 6  # arrays of the gradient's shape that may be a term besides
_SIMPLE = 1.5  # complexity of a number with a name
_FAR = 3.0  # complexity of a number without a name
_ALIKE = 0.3  # complexities that differ by less are reported together
_TERM = "a term that one of the two has, or more of it, and the other has not"
_GATE = "what differs stands where the indicator is 1"


def factors_held(pool: Pool, sizes: dict[str, float]) -> list[dict[str, str]]:
    """Given is expected times an array of the function, or expected is given times one."""
    p = pool.p
    turned = _turned(p)
    candidates = list(pool.of_shape())
    found: list[tuple[float, dict[str, str]]] = []
    spent = log10(2 * len(candidates) + 1)
    for points, names in ((p, ("given", "expected")), (turned, ("expected", "given"))):
        rows = _Rows(points, partial(_times, points))
        for made in rows.parallel(candidates, points.given):
            fit = points.fit(_times(points, made), slack=_noise_times(points, made))
            if fit is None or fit.digits - spent < ENOUGH:
                continue
            c = number(float(fit.low[0]), float(fit.high[0]), sizes)
            if c.value == 0:
                continue
            factor = "" if c.text == "1" else f"{c.text} * "
            text = f"{names[0]} = {factor}{names[1]} times {made.text}{c.remark()}"
            found.append((made.cost + _cost(c.cost), item("gate" if made.gate else "wrong-factor", text)))
    return _cheapest(found, 2)


def terms_held(pool: Pool, sizes: dict[str, float]) -> list[dict[str, str]]:
    """Given is expected and a term made of arrays of the function; or what expected is made of, and given is not."""
    p = pool.p
    beside = [made for made in pool.bases if made.shape == p.shape][:_BESIDE]
    rows = _Rows(p, lambda made: made.at)
    search = _Terms(p, beside, sizes)
    for level in pool.levels():
        hopeful = rows.telling(level, beside)
        search.spent = log10((3 + 2 * len(beside)) * pool.tried + 1)
        for made in hopeful[:_MOST]:
            search.hold(made)
        if search.differ or search.whole:
            break
    return _cheapest(search.differ, 2) + _cheapest(search.whole, 1)


class _Terms:
    """Arrays that may be a term, held against all entries of all points."""

    def __init__(self, p: Points, beside: list[Made], sizes: dict[str, float]) -> None:
        self.p, self.turned, self.beside, self.sizes = p, _turned(p), beside, sizes
        self.spent = 0.0  # digits that went into the choice
        self.differ: list[tuple[float, dict[str, str]]] = []
        self.whole: list[tuple[float, dict[str, str]]] = []

    def hold(self, made: Made) -> None:
        """All ways in which it may be a term, the simplest first; the first that fits is kept."""
        p, slack = self.p, _rounding(made)
        if p.fit(made.at, slack=slack) is not None:  # it is given itself: what the code computes explains nothing
            return
        kind = "gate" if made.gate else "term"
        meaning = _GATE if made.gate else _TERM
        c = self._number(p.fit(made.at, lambda k: p.expected[k], slack=slack))
        if c is not None:
            text = f"given - expected = {_written(c.text, made)}: {meaning}{c.remark()}"
            self.differ.append((made.cost + _cost(c.cost), item(kind, text)))
            return
        c = self._number(self.turned.fit(made.at, slack=slack))
        if c is not None:
            text = f"expected = {_written(c.text, made)}; given is no multiple of it{c.remark()}"
            self.whole.append((made.cost + _cost(c.cost), item("formula", text)))
            return
        pair = self._pair(p.given, Made(lambda: "expected", lambda k: p.expected[k], p.shape, 0.0), made)
        if pair is not None and pair[0].cost <= _SIMPLE:
            text = f"given = {pair[2]}"
            self.differ.append((made.cost + 1 + _cost(pair[0].cost) + _cost(pair[1].cost), item(kind, text)))
            return
        for other in self.beside:
            for found, aim, words in (
                (self.whole, p.expected, "expected"),
                (self.differ, [g - e for g, e in zip(p.given, p.expected, strict=True)], "given - expected"),
            ):
                pair = self._pair(aim, other, made)
                if pair is not None:
                    cost = made.cost + other.cost + 0.5 + _cost(pair[0].cost) + _cost(pair[1].cost)
                    found.append((cost, item("formula" if found is self.whole else kind, f"{words} = {pair[2]}")))

    def _number(self, fit: Fit | None) -> Number | None:
        if fit is None or fit.digits - self.spent < ENOUGH:
            return None
        c = number(float(fit.low[0]), float(fit.high[0]), self.sizes)
        return c if c.value else None

    def _pair(self, aim: list[np.ndarray], one: Made, other: Made) -> tuple[Number, Number, str] | None:
        """The numbers of aim = c one + d other, and that in words; None if there are none."""
        p = self.p
        seen = [Seen(p.x[k], aim[k], np.broadcast_to(one.at(k), p.shape), p.error[k], {}) for k in range(len(p))]
        arrays = [np.broadcast_to(other.at(k), p.shape) for k in range(len(p))]
        two = two_numbers(Points(seen), arrays, self.spent)
        if two is None:
            return None
        c, d = (number(middle - width, middle + width, self.sizes) for middle, width in two)
        if not c.value or not d.value:
            return None
        first = f"{c.text} times expected" if one.text == "expected" else _written(c.text, one)
        second = _written(d.text.removeprefix("-"), other)
        return c, d, f"{first} {'-' if d.value < 0 else '+'} {second}"


def gates(p: Points, bases: Iterable[Made], tried: int) -> str:
    """A condition on an array of the function that holds in the wrong entries and in no other; "" if there is none."""
    alive, wrong = (np.concatenate([mask.ravel() for mask in masks]) for masks in (p.alive, p.wrong))
    wrong = wrong[alive]
    bad, count = int(wrong.sum()), wrong.size
    if not 0 < bad < count or _log_binomial(count, bad) < log10(4 * tried + 1) + 2:
        return ""
    found = []
    for made in bases:
        for one in spread(made, p.shape):
            values = np.concatenate([np.broadcast_to(one.at(k), p.shape).ravel() for k in range(len(p))])[alive]
            for text, mask in (
                ("> 0", values > 0),
                ("<= 0", values <= 0),
                ("= 0", values == 0),
                ("not 0", values != 0),
            ):
                if (mask == wrong).all():
                    found.append(f"{one.text} {text}")
    return f"{bad} of {count} entries: those with {' and also '.join(found[:2])}" if found else ""


class _Rows:
    """Arrays at a few entries, one in each row, beside the given and expected ones there."""

    def __init__(self, p: Points, array: Callable[[Made], Arrays]) -> None:
        self.p, self._array = p, array
        self._places: list[tuple[int, tuple[np.ndarray, ...]]] = []
        count = 0
        for k in sorted(range(len(p)), key=lambda k: -int(p.wrong[k].sum())):
            if count < _LEAST:
                chosen = _some(p, k)
                self._places.append((k, chosen))
                count += len(chosen[0])
        self.error = self._taken(p.error)

    def _taken(self, arrays: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([arrays[k][places] for k, places in self._places])

    def _chunks(self, candidates: Iterable[Made]) -> Iterator[tuple[list[Made], np.ndarray, np.ndarray]]:
        made: list[Made] = []
        rows: list[np.ndarray] = []
        for one in candidates:
            row = [np.broadcast_to(self._array(one)(k), self.p.shape)[places] for k, places in self._places]
            made.append(one)
            rows.append(np.concatenate(row))
            if len(rows) == _CHUNK:
                yield self._chunk(made, rows)
                made, rows = [], []
        if rows:
            yield self._chunk(made, rows)

    def _chunk(self, made: list[Made], rows: list[np.ndarray]) -> tuple[list[Made], np.ndarray, np.ndarray]:
        array = np.array(rows)
        good = np.isfinite(array).all(1) & array.any(1)
        array = array[good]
        rounding = _ROUNDING * abs(array).max(1, keepdims=True, initial=0.0) / self.error
        return [one for one, ok in zip(made, good, strict=True) if ok], array / self.error, rounding

    def parallel(self, candidates: Iterable[Made], to: list[np.ndarray]) -> list[Made]:
        """Those that are a multiple of the array `to`."""
        aim = self._taken(to) / self.error
        found = []
        for made, rows, rounding in self._chunks(candidates):
            found += [one for one, ok in zip(made, _along(rows, aim, rounding), strict=True) if ok]
        return sorted(found, key=lambda made: made.cost)

    def telling(self, candidates: Iterable[Made], beside: list[Made]) -> list[Made]:
        """Those of which expected or the difference is made, alone or with one `beside` it; or given, with expected.

        The simplest come first.
        """
        given, expected = self._taken(self.p.given) / self.error, self._taken(self.p.expected) / self.error
        aims = [(None, expected), (None, given - expected), (expected, given)]
        for one in beside:
            other = self._taken([np.broadcast_to(one.at(k), self.p.shape) for k in range(len(self.p))]) / self.error
            aims += [(other, expected), (other, given - expected)]
        found = []
        for made, rows, rounding in self._chunks(candidates):
            fits = np.zeros(len(rows), bool)
            for other, aim in aims:
                fits |= _along(rows, aim, rounding) if other is None else _along_two(rows, aim, other, rounding)
            found += [one for one, ok in zip(made, fits, strict=True) if ok]
        return sorted(found, key=lambda made: made.cost)


def _along_two(rows: np.ndarray, aim: np.ndarray, other: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """Which rows make an array together with another one."""
    size = np.sqrt(other @ other)
    if len(aim) < 3 or not size:
        return np.zeros(len(rows), bool)
    unit = other / size
    across = rows - (rows @ unit)[:, None] * unit
    free = (across * across).sum(1) > 1e-12 * (rows * rows).sum(1)
    slack = rounding * (1 + abs(aim @ unit) / size)
    return np.asarray(free & _along(across, aim - (aim @ unit) * unit, slack))


def _along(rows: np.ndarray, aim: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """Which rows are multiples of an array, in units of the allowed error."""
    square = (rows * rows).sum(1)
    c = (rows @ aim) / np.where(square > 0, square, 1.0)
    off = abs(aim - c[:, None] * rows) - abs(c)[:, None] * rounding
    return np.asarray((off.max(1, initial=0.0) <= 4.0) & (c != 0))


def _some(p: Points, k: int) -> tuple[np.ndarray, ...]:
    """A few known entries of a point, wrong ones among them."""
    known, wrong = np.flatnonzero(p.known[k]), np.flatnonzero(p.wrong[k])
    chosen = [places[:: max(1, places.size // (_PROBES // 2))][:_PROBES] for places in (known, wrong)]
    return np.unravel_index(np.unique(np.concatenate(chosen)), p.shape)


def _turned(p: Points) -> Points:
    """Given and expected exchanged."""
    seen = zip(p.x, p.expected, p.given, p.error, strict=True)
    return Points([Seen(x, expected, given, error, {}) for x, expected, given, error in seen])


def _times(p: Points, made: Made) -> Arrays:
    return lambda k: p.expected[k] * made.at(k)


def _noise_times(p: Points, made: Made) -> Arrays:
    return lambda k: p.noise[k] * abs(made.at(k))


def _rounding(made: Made) -> Arrays:
    def slack(k: int) -> np.ndarray:
        array = made.at(k)
        return np.full(array.shape, _ROUNDING * abs(array).max(initial=0.0))

    return slack


def _written(number_: str, made: Made) -> str:
    if number_ in ("1", "-1"):
        return number_.removesuffix("1") + (made.bracketed if number_ == "-1" else made.text)
    return f"{number_} * {made.bracketed}"


def _cost(cost: float) -> float:
    return cost if cost <= 2 else _FAR


def _cheapest(found: list[tuple[float, dict[str, str]]], most: int) -> list[dict[str, str]]:
    """Those of the least complexity; of several that are made of the same, the first."""
    found = sorted(found, key=lambda pair: pair[0])
    kept: dict[tuple[str, ...], dict[str, str]] = {}
    for cost, one in found:
        if cost <= found[0][0] + _ALIKE:
            formula = _FILL.sub("", one["detail"].partition(" = ")[2]).partition(":")[0].partition(";")[0]
            kept.setdefault(tuple(sorted({*_WORDS.findall(formula)})), one)
    return list(kept.values())[:most]


def _log_binomial(n: int, k: int) -> float:
    return (lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)) / log(10)
