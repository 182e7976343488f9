"""What else is known of a wrong formula, in plain sentences: what separates its wrong draws from the right ones, and what is
true of its arrays on every draw. None is a guess: a sentence is said only if it holds on all draws that were judged.
"""

from collections.abc import Collection, Iterator
from functools import cached_property
from itertools import pairwise

import numpy as np

from .comparison import Comparison
from .conditions import ENOUGH, FEWEST, Separator, conditions, separators
from .subject import Subject
from .witnesses import Case

__all__ = ["NAMELESS", "Judged", "plain_facts"]

NAMELESS = {
    "unknown", "entries", "shape", "structure", "rank-one", "low-rank", "precision", "no-gradient", "other-function",
}  # fmt: skip
"""Kinds of a diagnosis that name no mistake."""

_MOST = 4  # sentences
_ZERO = 1e-12  # of a typical entry: a smaller one is nothing but rounding
_CLEARLY = 1e3  # times the tolerance
_ROUGHLY = 1e-2  # of the largest entry: below it, signs are no news
_SHOWN = 3  # conditions that are named beside the first


class Judged(Comparison):
    """A formula on all draws that were judged: which are wrong, which right, and what holds there.

    Parameters
    ----------
    wrt : str
    cases : list of Case
        All of them.
    given : dict of int to ndarray
        The arrays of those that tell something.
    bad : collection of int
        The draws on which the formula is wrong.
    subject : Subject
    """

    def __init__(
        self, wrt: str, cases: list[Case], given: dict[int, np.ndarray], bad: Collection[int], subject: Subject
    ) -> None:
        super().__init__(wrt, cases, given, subject)
        self.every, self.bad = cases, [n for n in self.numbers if n in bad]
        self.expected = self.gradients(wrt)
        self.place = {n: k for k, n in enumerate(self.numbers)}
        sizes = [float(abs(e).max()) for e in self.expected]  # the given array may be out of all proportion
        tiny = _ZERO * float(np.median([size for size in sizes if size > 0] or [1.0]))
        small = [n for n, g in zip(self.numbers, self.given, strict=True) if not (abs(g) > tiny).any()]
        none = [n for n, e in zip(self.numbers, self.expected, strict=True) if not (abs(e) > tiny).any()]
        both = {n for n in small if n in none}  # wrong by so little, they are no zeros
        self.silent = [n for n in self.numbers if n in both and n not in self.bad]
        self.zero, self.nothing = ([n for n in some if n not in both or n in self.silent] for some in (none, small))
        self.good = [n for n in self.numbers if n not in self.bad and n not in self.silent]
        self.wrong = self.wrong_entries(self.expected)

    @cached_property
    def off(self) -> float:
        """The largest error of all draws, relative to the largest entry of its draw."""
        differences = [abs(g - e).max() for g, e in zip(self.given, self.expected, strict=True)]
        return max(float(d / scale) for d, scale in zip(differences, self.scales, strict=True))

    @property
    def row(self) -> str:
        """What a row of the parameter is called."""
        return self.subject.rows.get(self.wrt, "row")

    @cached_property
    def known(self) -> list[dict[str, str]]:
        """The conditions of all cases."""
        return [conditions(case, self.subject) for case in self.every]

    @cached_property
    def points(self) -> list[int]:
        """For all cases, a number that is the same for the same parameters."""
        return [id(case.params) for case in self.every]

    def apart(self, first: Collection[int], second: Collection[int], more: Collection[int] = ()) -> list[Separator]:
        """The conditions that separate two sets of draws."""
        return separators(self.known, self.points, first, second, more)

    @cached_property
    def separators(self) -> list[Separator]:
        """The conditions that separate the wrong draws from the right ones."""
        return self.apart(self.bad, self.good, self.silent)

    @cached_property
    def separator(self) -> str:
        """The sentence that says so; empty if nothing does."""
        found = self.separators
        if not found:
            return ""
        first, wrong, right = found[0], len(self.bad), len(self.good)
        aside = "" if first.in_one == wrong else " (on the others both gradients are zero)"
        if all(n in self.zero for n in self.bad):
            aside = " (the right gradient is zero there)"
        of = f"the {wrong} draws" if first.in_one == wrong else f"{wrong} of the {first.in_one} draws"
        text = f"wrong on {of} where {first.one}{aside}, right on the {first.in_other} where {_again(first)}"
        if first.in_other > right:
            text += f" ({first.in_other - right} of them zero)"
        same = [one.one for one in found[1:] if (one.in_one, one.in_other) == (first.in_one, first.in_other)]
        if same:
            text += f"; on the same draws, and no others, {_listed(same[:_SHOWN])}"
        few = len(self.every) - len(self.numbers)
        return text + (f" (of the {len(self.numbers)} draws that could be judged)" if few else "")

    def there(self, chosen: Collection[int], others: Collection[int]) -> str:
        """What holds on all chosen draws and on none of the others, however few they are; empty if nothing does."""
        found = []
        for topic, words in self.known[next(iter(chosen))].items():
            if all(self.known[n].get(topic) == words for n in chosen) and not any(
                self.known[n].get(topic) == words for n in others
            ):
                found.append(words)
        return _listed(found[:_SHOWN])


def plain_facts(judged: Judged, diagnosis: list[dict[str, str]]) -> list[str]:
    """The sentences for a report, that of the separator first; none that the diagnosis says.

    Parameters
    ----------
    judged : Judged
    diagnosis : list of dict
        kind and detail.
    """
    said = " ".join(item["detail"] for item in diagnosis)
    apart = judged.separators
    found = [judged.separator] if apart and f"where {apart[0].one}" not in said else []
    if not judged.bad or not all(np.isfinite(given).all() for given in judged.given):
        return found
    if all(item["kind"] in NAMELESS for item in diagnosis):
        with np.errstate(all="ignore"):
            rows = any(f"wrong in {line}" in said for line in ("row", "column", judged.row))
            for sentences in (_of_zeros, _of_factors, _of_regions, _of_lines, _of_entries, _of_numbers):
                if not (rows and sentences is _of_lines):
                    found += sentences(judged)
    else:
        found += _of_regions(judged, generic=False)
    return [text for text in dict.fromkeys(found) if text not in said][:_MOST]


def _of_zeros(j: Judged) -> Iterator[str]:
    """Where one of the two is zero and the other is not."""
    live = [n for n in j.numbers if n not in j.zero]
    for chosen, others, what in (
        ([n for n in j.zero if n not in j.nothing], live, "not zero on {} where the right gradient is"),
        ([n for n in j.nothing if n not in j.zero], [n for n in live if n not in j.nothing],
         "zero on {} where the right gradient is not"),
    ):  # fmt: skip
        if not chosen or not others:
            continue
        found = j.apart(chosen, others)
        exact = [one for one in found if one.in_one == len(chosen)]
        where = f": on those where {exact[0].one}" if exact else ""
        if where and exact[0].one in j.separator:
            continue
        yield what.format(_draws(len(chosen))) + where


def _of_factors(j: Judged) -> Iterator[str]:
    """Whether it is a multiple of the right gradient: on the draws where it is wrong, by one factor or by several."""
    bad = [j.place[n] for n in j.bad if n not in j.zero]
    if not bad or not all(_parallel(j, k) and j.given[k].size > 1 for k in bad):
        return
    ratios = sorted(_ratio(j, k) for k in bad)
    near = 10 * j.fits
    if max(abs(ratio - 1) for ratio in ratios) < near:  # too near for a factor
        return
    if ratios[-1] - ratios[0] <= near * abs(ratios[0]) and ratios[0]:
        times = "minus" if abs(ratios[0] + 1) < near else f"{ratios[0]:.6g} times"
        yield f"{times} the right gradient {_every(len(bad))} where it is wrong and should not be zero"
    elif len(bad) >= FEWEST and all(ratios):
        positive = "positive " if ratios[0] > 0 else "negative " if ratios[-1] < 0 else ""
        new = all(b - a > near * max(abs(a), abs(b)) for a, b in pairwise(ratios))
        factor = f"another {positive}factor on each" if new else f"a {positive}factor that is not always the same"
        where = f"{_every(len(bad))} where it is wrong and should not be zero"
        yield f"a multiple of the right gradient {where}, by {factor}, {ratios[0]:.4g} to {ratios[-1]:.4g}"


def _ratio(j: Judged, k: int) -> float:
    g, e = j.given[k], j.expected[k]
    return float((g * e).sum() / (e * e).sum())


def _every(count: int) -> str:
    return {1: "on the one draw", 2: "on both draws"}.get(count, f"on all {count} draws")


def _of_regions(j: Judged, generic: bool = True) -> Iterator[str]:
    """The smallest region that holds all wrong entries, if others are right there."""
    bad = [j.place[n] for n in j.bad]
    if len(bad) < FEWEST or any(len(j.cases[k].each) != 1 for k in bad):
        return
    regions = {k: _regions(j, k, generic) for k in bad}
    found: list[tuple[float, str]] = []
    for words in regions[bad[0]]:
        share, right = [], 0
        for k in bad:
            mask = regions[k].get(words)
            wrong, alive = j.wrong[k], (j.given[k] != 0) | (j.expected[k] != 0)
            if mask is None or mask.shape != wrong.shape or (wrong & ~mask).any():
                break
            right += bool((alive & ~mask).any())
            share.append(mask.mean())
        else:
            if right >= FEWEST:
                found.append((float(np.mean(share)), words))
    if found:
        yield f"wrong in {min(found)[1]} only, on all {len(bad)} draws where it is wrong"


def _regions(j: Judged, k: int, generic: bool) -> dict[str, np.ndarray]:
    """Entries that belong together on a draw, by what they are called."""
    case = j.cases[k]
    own = j.subject.regions(case.params, case.each[0]).get(j.wrt, {})
    found = {words: np.asarray(mask, bool) for words, mask in own.items()}
    shape = j.given[k].shape
    if generic and len(shape) == 2 and shape[0] == shape[1] > 2:
        ones = np.ones(shape, bool)
        found |= {
            "the diagonal": np.eye(len(ones), dtype=bool),
            "entries off the diagonal": ~np.eye(len(ones), dtype=bool),
            "the upper triangle, without the diagonal": np.triu(ones, 1),
            "the lower triangle, without the diagonal": np.tril(ones, -1),
        }
    return found


def _of_lines(j: Judged) -> Iterator[str]:
    """Whether its rows, or its columns, are multiples of the right ones."""
    bad = [j.place[n] for n in j.bad if n not in j.zero]
    if len(bad) < FEWEST or any(j.given[k].ndim != 2 or min(j.given[k].shape) < 2 for k in bad):
        return
    every = f"on all {len(bad)} draws where it is wrong and should not be zero"
    told = [line for axis, line in enumerate(("row", "column")) if all(_lines_parallel(j, k, axis) for k in bad)]
    one = all(_rank_one(j.expected[k], j.fits) for k in bad)
    if len(told) == 1 and one and all(_rank_one(j.given[k], j.fits) for k in bad):
        right, wrong = ("second", "first") if told[0] == "row" else ("first", "second")
        yield f"both are outer products u v^T; the {right} vector is the right one, the {wrong} is wrong, {every}"
    elif len(told) == 1:
        yield f"each {told[0]} is a multiple of the right gradient's {told[0]}, {every}"
    elif not told and all(_rank_one(j.given[k] - j.expected[k], j.fits) for k in bad) and not one:
        yield f"given - expected is an outer product of two vectors, {every}"


def _lines_parallel(j: Judged, k: int, axis: int) -> bool:
    """Whether each row (axis 0) or column of the given array is a multiple of the expected one."""
    g, e = (array if axis == 0 else array.T for array in (j.given[k], j.expected[k]))
    norm = (e * e).sum(axis=1, keepdims=True)
    ratio = np.where(norm > 0, (g * e).sum(axis=1, keepdims=True) / np.where(norm > 0, norm, 1.0), 0.0)
    if _rank_one(
        e, j.fits
    ):  # all rows are multiples of one: where the expected row is zero, any multiple of that will do
        v = np.linalg.svd(e)[2][0]
        return bool(np.all(abs(g - np.outer(g @ v, v)) <= j.fits * abs(g).max()))
    return bool(np.all(abs(g - ratio * e) <= j.fits * abs(g).max()))


def _rank_one(array: np.ndarray, fits: float) -> bool:
    """Whether an array has rank one."""
    largest, second = np.linalg.svd(array, compute_uv=False)[:2]
    return bool(largest > 0 and second <= fits * largest)


def _of_entries(j: Judged) -> Iterator[str]:
    """What is true of every entry, on the draws where it is wrong."""
    bad = [j.place[n] for n in j.bad]
    live = [k for k in bad if j.numbers[k] not in j.zero]
    if len(live) < FEWEST or any(j.given[k].size < 2 for k in live):
        return
    here = f"on all {len(bad)} draws where it is wrong"

    def is_small(arrays: list[np.ndarray], where: list[np.ndarray] | None = None) -> bool:
        """Whether arrays are zero on all wrong draws, up to rounding."""
        return all(
            (abs(arrays[k])[... if where is None else where[k]] <= j.telling * 1e-3 * j.scales[k]).all() for k in bad
        )

    sizes = [abs(g) - abs(e) for g, e in zip(j.given, j.expected, strict=True)]
    against = [np.minimum(g * np.sign(e), 0) for g, e in zip(j.given, j.expected, strict=True)]
    sorted_ = [np.sort(g, axis=None) - np.sort(e, axis=None) for g, e in zip(j.given, j.expected, strict=True)]
    if all(_parallel(j, k) for k in live) and len(live) == len(bad):  # that is said
        return
    if is_small(sizes):
        yield f"every entry has the right size, and some have the wrong sign, {here}"
    elif is_small(j.given, j.wrong) and not is_small(j.given):
        yield f"every wrong entry is zero, {here}"
    elif all((abs(j.expected[k])[j.wrong[k]] <= j.telling * 1e-3 * abs(j.expected[k]).max()).all() for k in bad):
        yield f"every wrong entry should be zero, {here}"
    elif is_small(sorted_):
        yield f"the right numbers at other places, {here}"
    elif text := _from_a_size_on(j, bad):
        yield f"{text}, {here}"
    elif is_small(against) and not is_small(j.given) and j.off >= _ROUGHLY:
        yield f"no entry has the wrong sign, {here}"


def _from_a_size_on(j: Judged, bad: list[int]) -> str:
    """The sentence if just the largest entries are wrong, or just the smallest; empty if not."""
    wrong = np.concatenate([abs(j.expected[k])[j.wrong[k]] for k in bad])
    seen = [abs(e) > j.fits * scale for e, scale in zip(j.expected, j.scales, strict=True)]  # others may be rounding
    right = np.concatenate([abs(e)[~mask & s] for e, mask, s in zip(j.expected, j.wrong, seen, strict=True)])
    off = np.concatenate([abs(j.given[k] - j.expected[k])[j.wrong[k]] for k in bad])
    if (
        min(wrong.size, right.size) < ENOUGH or (off < _CLEARLY * j.telling * wrong).any()
    ):  # or it is tolerance that ends there
        return ""
    sizes = np.concatenate([abs(j.given[k])[j.wrong[k]] for k in bad])
    cut = f"; all of these are {sizes[0]:.4g} in size" if np.allclose(sizes, sizes[0], rtol=10 * j.fits, atol=0) else ""
    if wrong.min() > right.max():
        return f"wrong in just the entries that should be larger than {right.max():.4g} in size{cut}"
    if wrong.max() < right.min():
        return f"wrong in just the entries that should be smaller than {right.min():.4g} in size{cut}"
    return ""


def _parallel(j: Judged, k: int) -> bool:
    """Whether the given array of a draw is a multiple of the expected one, which is not zero."""
    return j.parallel(k, _ratio(j, k) * j.expected[k])


def _of_numbers(j: Judged) -> Iterator[str]:
    """Angles, precision, and whether it changes at all."""
    live = [j.place[n] for n in j.numbers if n not in j.zero and n not in j.nothing]
    if len(live) < FEWEST:
        return
    yield from _of_differences(j, [k for k in live if j.numbers[k] in j.bad])
    shapes: dict[tuple[int, ...], list[int]] = {}
    for k in live:
        shapes.setdefault(j.given[k].shape, []).append(k)
    often = [same for same in shapes.values() if len(same) > 1 and np.ptp([j.expected[k] for k in same], axis=0).any()]
    if sum(map(len, often)) >= FEWEST and all(
        np.array_equal(j.given[k], j.given[same[0]]) for same in often for k in same
    ):
        yield "the same array on all draws of one size, whatever parameters and prompt are"
    if all(j.given[k].size > 1 for k in live) and all(
        abs((j.given[k] * j.expected[k]).sum()) <= 1e-6 * np.linalg.norm(j.given[k]) * np.linalg.norm(j.expected[k])
        for k in live
    ):
        yield f"orthogonal to the right gradient on all {len(live)} draws where neither is zero"


def _of_differences(j: Judged, live: list[int]) -> Iterator[str]:
    """Whether given - expected is one number, or a multiple of the parameter."""
    ones, weights = (
        [make(j.cases[k]) for k in live] for make in (lambda case: 1.0, lambda case: getattr(case.params, j.wrt))
    )
    for what, arrays in (("one number", ones), (f"a multiple of {j.wrt}", weights)):
        factors = []
        for k, array in zip(live, arrays, strict=True):
            unit = np.broadcast_to(array, j.given[k].shape) * j.smooth[k]
            norm = (unit * unit).sum()
            off = j.given[k] - j.expected[k]
            factors.append((off * unit).sum() / norm if norm else 0.0)
            fits = (abs(off - factors[-1] * unit) <= j.fits * j.scales[k]).all()
            if off.size < 2 or not norm or not fits or not (abs(off) > j.fits * j.scales[k]).any():
                break
        else:
            if len(live) >= FEWEST:
                same = np.allclose(factors, factors[0], rtol=1e-5, atol=0)
                span = f"not always the same, {min(factors):.4g} to {max(factors):.4g}"
                number = f"{factors[0]:.6g}" if same else span
                yield f"given - expected is {what} on all {len(live)} draws where it is wrong and neither is zero: {number}"


def _again(words: Separator) -> str:
    """What holds on the second set, with "it" for the subject of the first: "the hinge is inactive", "it is active"."""
    one, other = (side.partition(" is ") for side in (words.one, words.other))
    same = one[0] == other[0] and one[2] and " or " not in words.other
    return f"it is {other[2]}" if same else words.other


def _draws(count: int) -> str:
    return "1 draw" if count == 1 else f"{count} draws"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
