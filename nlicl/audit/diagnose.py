"""What is wrong with a formula, decided from all draws.

Hypotheses are tried in order of complexity: none is reported unless it turns the expected gradient into the given one on
every draw, and where several of the same complexity do, all are listed. Where none fits, the kind is `unknown`.
"""

from collections.abc import Collection
from functools import cached_property
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from .answer import Answer
from .comparison import FITS, Comparison, item, numbered, with_factor
from .conditions import Separator, conditions, enough, separators
from .facts import NAMELESS, Judged
from .fallback import patterns
from .mistakes import MISFITS, Edit, Mark, edits
from .subject import Formula, Subject
from .witnesses import Case

__all__ = ["diagnose"]


def diagnose(
    formula: Formula,
    cases: list[Case],
    answer: Answer,
    subject: Subject,
    certain: Collection[int],
    judged: Judged | None = None,
) -> tuple[list[dict[str, str]], int]:
    """Items {"kind", "detail"}, the most telling first, and how many mistakes are made at once: 0 if none is named.

    An item of a second explanation of the same has "explanation": 2 besides, and so on.

    `answer` holds the given arrays by number of case. Those that are not among `certain` have lost digits: they are looked at
    only if nothing else is wrong. `judged` knows on which draws the formula is wrong.
    """
    found = _undefined(formula, cases, answer, subject)
    if answer.arrays and not answer.shapes:
        precise = {n: array for n, array in answer.arrays.items() if n in certain}
        search = _Search(formula.wrt, cases, precise or answer.arrays, subject, judged)
        if len(search.numbers) < len(answer.arrays) and search.all_right():
            search = _Search(formula.wrt, cases, answer.arrays, subject, judged)
        if not (found and search.all_right()):
            explained = search.run()
            return found + explained, search.count or _count(explained)
    return found, _count(found)


def _count(items: list[dict[str, str]]) -> int:
    """How many mistakes a diagnosis names that tried no edits: the factor that stands in brackets counts."""
    first = next((one for one in items if one["kind"] not in NAMELESS), None)
    if first is None:
        return 0
    return 1 + (first["kind"] in ("transpose", "wrong-parameter") and first["detail"].endswith(")"))


def _undefined(formula: Formula, cases: list[Case], answer: Answer, subject: Subject) -> list[dict[str, str]]:
    """What to say of the draws on which the formula has no array, or one of another shape."""
    if not answer.problems or not (answer.arrays or answer.shapes):  # it raises everywhere: nothing to say of it
        return []
    if answer.shapes:
        given = answer.arrays | {n: value for n, (value, _) in answer.shapes.items() if value.dtype.kind == "f"}
        if len(given) == len(cases):
            for explained in (_transposed, _of_another_shape, _mistaken):
                found = explained(formula.wrt, cases, given, subject)
                if found:
                    return found
    first = min(answer.shapes or answer.problems)
    domain = _domain(cases, answer, subject)
    apart = [] if domain else _apart(cases, answer, subject)
    where = domain or (f"those where {apart[0].one}" if apart else f"such as {cases[first].label}")
    kind = "shape" if answer.shapes or domain else "unknown"
    return [item(kind, f"it {answer.problems[first]}, on {len(answer.problems)} of {len(cases)} draws, {where}")]


def _transposed(wrt: str, cases: list[Case], given: dict[int, np.ndarray], subject: Subject) -> list[dict[str, str]]:
    """The item if every array is the transposed gradient, up to a factor; [] if not."""
    if any(array.shape != getattr(case.params, wrt).shape[::-1] for array, case in _paired(given, cases)):
        return []
    search = _Search(wrt, cases, {n: array.T for n, array in given.items()}, subject)
    factor = search.factor(search.gradients(wrt), allow_one=True)
    text = f"the given array is the transpose of the gradient; return its .T, {wrt}'s shape"
    return [item("transpose", text + with_factor(factor))] if factor else []


def _of_another_shape(
    wrt: str, cases: list[Case], given: dict[int, np.ndarray], subject: Subject
) -> list[dict[str, str]]:
    """The item if every array is the gradient by a parameter of another shape, up to a factor; [] if not."""
    for name in cases[0].params._asdict():
        if name != wrt and all(
            array.shape == getattr(case.params, name).shape for array, case in _paired(given, cases)
        ):
            search = _Search(name, cases, given, subject)
            factor = search.factor(search.gradients(name), allow_one=True)
            if factor:
                return [item("wrong-parameter", _ANOTHER.format(name) + with_factor(factor))]
    return []


def _mistaken(wrt: str, cases: list[Case], given: dict[int, np.ndarray], subject: Subject) -> list[dict[str, str]]:
    """The items of the wrong forms that have these arrays, in these shapes: a sum along the wrong axis gives another one."""
    marked = subject.marked.get(wrt)
    if marked is None:
        return []

    def fits(edit: Edit, array: np.ndarray, case: Case) -> bool:
        try:
            with np.errstate(all="ignore"):
                arrays = [marked(case.params, prompt, Mark([edit])) for prompt in case.each]
                made: Any = np.asarray(sum(arrays) / len(arrays))
        except MISFITS:
            return False
        scale = max(abs(made).max(initial=0.0), abs(case.complex_step(wrt)[0]).max())
        return made.shape == array.shape and bool(np.all(abs(made - array) <= FITS * scale))

    pairs = _paired(given, cases)
    wrong = edits(marked, [(case.params, prompt) for case in cases for prompt in case.each])
    return [item(edit.kind, edit.detail) for edit in wrong if all(fits(edit, array, case) for array, case in pairs)]


def _paired(given: dict[int, np.ndarray], cases: list[Case]) -> list[tuple[np.ndarray, Case]]:
    return [(array, cases[n]) for n, array in given.items()]


def _domain(cases: list[Case], answer: Answer, subject: Subject) -> str | None:
    """The sizes that must be equal for the formula to be defined, if that explains all its failures."""
    if len(answer.problems) == len(cases):  # sizes that differ everywhere explain nothing
        return None
    sizes = [subject.sizes(case.params, case.each[0]) for case in cases]
    for one, other in combinations(sizes[0], 2):
        if all((size[one] == size[other]) == (n not in answer.problems) for n, size in enumerate(sizes)):
            return f"wherever {one} and {other} differ"
    return None


def _apart(cases: list[Case], answer: Answer, subject: Subject) -> list[Separator]:
    """The conditions under which the formula has no array of the right shape, that never hold where it has one."""
    bad, good = ([n for n in range(len(cases)) if (n in answer.problems) == fails] for fails in (True, False))
    if not enough(bad, good):
        return []
    return separators([conditions(case, subject) for case in cases], [id(case.params) for case in cases], bad, good)


_COARSE = "wrong by no more than rounding in float32: it returns that on some draws, not on all"  # tolerance: float64's
_ON_KINKS = "wrong only in entries that sit on a kink, outside of their one-sided derivatives"
_ANOTHER = "the given array is the gradient with respect to {}"
# Number of mistakes, and whether a constant factor may come on top. Three cost seconds, so they come after all that is
# simpler; of a long list of wrong forms they would cost minutes.
_ONE = ((1, False), (1, True))
_TWO = ((2, False), (2, True))
_THREE = ((3, False),)
_MOST = 20_000  # combinations to try


class _Search(Comparison):
    """The hypotheses, from the simplest."""

    def __init__(
        self, wrt: str, cases: list[Case], given: dict[int, np.ndarray], subject: Subject, judged: Judged | None = None
    ) -> None:
        super().__init__(wrt, cases, given, subject)
        self.judged = judged
        self.count = 0  # of mistakes at once, where edits are found

    def run(self) -> list[dict[str, str]]:
        expected = self.gradients(self.wrt)
        if any(not np.isfinite(given).all() for given in self.given):
            return self._not_finite()
        if not any(given.any() for given in self.given):
            return [item("unknown", "the given array is zero on every draw")]
        if self.all_right():
            return [item("precision", _COARSE) if all(map(np.all, self.smooth)) else item("entries", _ON_KINKS)]
        if all(self.close(k, e) for k, e in enumerate(expected)):  # too near for a mistake of one factor
            found = self._some_entries(expected)
        else:
            found = numbered([[one] for one in self.factor(expected) or self._elsewhere(expected)])
            found = found or self._decay(expected)
            found = found or self._mistakes(_ONE) or self._signs(expected) or self._assumption(expected)
            found = found or self._mistakes(_TWO) or self._some_entries(expected)
            found = found or self._mistakes(_THREE) or self._parallel(expected) or patterns(self, expected)
        return found or [item("unknown", self._summary(expected))]

    # -- the same numbers in other places

    def _elsewhere(self, expected: list[np.ndarray]) -> list[dict[str, str]]:
        return self._transposed(expected) + self._other_parameter()

    def _transposed(self, expected: list[np.ndarray]) -> list[dict[str, str]]:
        if any(array.ndim != 2 or array.shape[0] != array.shape[1] for array in expected):
            return []
        factor = self.factor([array.T for array in expected], allow_one=True)
        if factor:
            return [item("transpose", "the given array is the transpose of the gradient" + with_factor(factor))]
        return []

    def _other_parameter(self) -> list[dict[str, str]]:
        found = []
        for name, array in self.cases[0].params._asdict().items():
            if name == self.wrt or array.shape != getattr(self.cases[0].params, self.wrt).shape:
                continue
            if all(getattr(c.params, name).shape == getattr(c.params, self.wrt).shape for c in self.cases):
                factor = self.factor(self.gradients(name), allow_one=True)
                if factor:
                    found.append(item("wrong-parameter", _ANOTHER.format(name) + with_factor(factor)))
        return found

    def _decay(self, expected: list[np.ndarray]) -> list[dict[str, str]]:
        """Whether lambda times the parameter is added, with one lambda on all draws."""
        weights = [getattr(case.params, self.wrt) * s for case, s in zip(self.cases, self.smooth, strict=True)]
        residuals = [given - e for given, e in zip(self.given, expected, strict=True)]
        norm = sum((W * W).sum() for W in weights)
        strength = sum((r * W).sum() for r, W in zip(residuals, weights, strict=True)) / norm if norm > 0 else 0.0
        if not strength or not all(self.close(k, e + strength * weights[k]) for k, e in enumerate(expected)):
            return []
        detail = (
            f"the L2 term is there, lambda {self.wrt} with lambda = {strength:.6g}: it is not part of a prompt's loss"
        )
        return [item("extra-term", detail)]

    # -- one to three mistakes in the paper's own formula

    @cached_property
    def _wrong_forms(self) -> list[Edit]:
        """The edits of the paper's marked formula; none if it has none."""
        marked = self.subject.marked.get(self.wrt)
        places = [(case.params, prompt) for case in self.cases for prompt in case.each]
        return edits(marked, places) if marked else []

    def _mistakes(self, complexities: tuple[tuple[int, bool], ...]) -> list[dict[str, str]]:
        wrong = self._wrong_forms
        order = sorted(range(len(self.cases)), key=lambda k: -abs(self.given[k]).max() / self.scales[k])
        for count, factor_too in complexities:
            if comb(len(wrong), count) > _MOST:
                return []
            found: list[list[dict[str, str]]] = []
            for chosen in combinations(wrong, count):
                if len({edit.slot for edit in chosen}) < count:
                    continue
                factor = self._fits(Mark(chosen), order, factor_too)
                if factor is not None:
                    named = _unique([item(edit.kind, edit.detail) for edit in chosen])
                    found += [[*named, one] for one in factor] if factor else [named]
            if found:
                self.count = len(found[0])
                return numbered(found)
        return []

    def _fits(self, mark: Mark, order: list[int], factor_too: bool) -> list[dict[str, str]] | None:
        """The factor's items if the wrong form is the given array, None if not. The first misfit ends it."""
        marked = self.subject.marked[self.wrt]
        candidate: list[Any] = [None] * len(self.cases)
        for k in order:
            case = self.cases[k]
            try:
                with np.errstate(all="ignore"):
                    arrays = [marked(case.params, prompt, mark) for prompt in case.each]
                    array: Any = np.asarray(sum(arrays) / len(arrays))
                    fits = array.shape == self.given[k].shape and np.isfinite(array).all()
            except MISFITS:  # an alternative that does not fit here
                return None
            if not fits:
                return None
            array = array * self.smooth[k]
            norm = (array * array).sum()
            ratio = (self.given[k] * array).sum() / norm if factor_too and norm > 0 else 1.0
            if not self.close(k, ratio * array):
                return None
            candidate[k] = array
        if not any(array.any() for array in candidate):
            return None
        if not factor_too:
            return []
        return self.factor(candidate) or None

    def _signs(self, expected: list[np.ndarray]) -> list[dict[str, str]]:
        """The item if it is right up to its sign, minus the expected array on some draws."""
        ratios = self.ratios(expected)
        if ratios is None or np.isnan(ratios).all() or not np.allclose(abs(ratios[~np.isnan(ratios)]), 1, rtol=1e-6):
            return []
        minus = [n for n, ratio in zip(self.numbers, ratios, strict=True) if ratio < 0]
        plus = [n for n, ratio in zip(self.numbers, ratios, strict=True) if ratio > 0]
        apart = self.judged.apart(minus, plus) if self.judged else []
        where = (f" where {apart[0].one}", f" where {apart[0].other}") if apart else ("", "")
        return [item("sign", f"right up to the sign: minus the expected gradient on {len(minus)} draws{where[0]}, and the "
                             f"expected one on {len(plus)}{where[1]}")]  # fmt: skip

    # -- right but for some places

    def all_right(self) -> bool:
        """Whether every entry is right that does not sit on a kink."""
        return not any(mask.any() for mask in self.wrong_entries(self.gradients(self.wrt)))

    def _alive(self, expected: list[np.ndarray]) -> list[np.ndarray]:
        """Where expected and given are not both zero. Where they are, nothing was told, as behind a gate that is closed:
        being right there is no merit."""
        return [(e != 0) | (g != 0) for g, e in zip(self.given, expected, strict=True)]

    def _places(self, chosen: list[int]) -> str:
        """Cases by number in the report, and what they are."""
        numbers = ", ".join(str(self.numbers[k]) for k in chosen[:6]) + (", ..." if len(chosen) > 6 else "")
        return f"{numbers}: {'; '.join(sorted({self.cases[k].label for k in chosen})[:3])}"

    def _assumption(self, expected: list[np.ndarray]) -> list[dict[str, str]]:
        """The item if the formula is right wherever some assumption of the paper holds, and wrong only where not."""
        bad = {k for k, mask in enumerate(self.wrong_entries(expected)) if mask.any()}
        alive = {k for k, mask in enumerate(self._alive(expected)) if mask.any()}
        found = []
        for what in dict.fromkeys(what for case in self.cases for what in case.holds):
            inside = {k for k, case in enumerate(self.cases) if what in case.holds}
            if not bad & inside and alive & inside and 2 * len(bad) >= len(alive - inside):
                wrong = f"wrong on {len(bad)} of the {len(alive - inside)} that do not, {self._places(sorted(bad))}"
                detail = (
                    f"it rests on an assumption, {what}: right on all {len(alive & inside)} draws that meet it, {wrong}"
                )
                found.append(item("entries", detail))
        return found

    def _some_entries(self, expected: list[np.ndarray]) -> list[dict[str, str]]:
        wrong, alive = self.wrong_entries(expected), self._alive(expected)
        bad = [k for k, mask in enumerate(wrong) if mask.any()]
        good = [k for k, mask in enumerate(alive) if mask.any() and k not in bad]
        if good and min(wrong[k].sum() / alive[k].sum() for k in bad) > 0.5:
            told = len(good) + len(bad)
            if self.judged and self.judged.separator:
                detail = self.judged.separator
            elif len(good) < len(bad):
                detail = f"right on only {len(good)} of the {told} draws that are not zero, {self._places(good)}"
                detail += self._only_there(good, bad)
            else:
                detail = f"wrong on {len(bad)} of the {told} draws that are not zero, right on the others; wrong on "
                detail += self._places(bad) + self._only_there(bad, good)
            return [item("entries", detail)]
        for axis, name in enumerate((self._row(), "column")):
            if expected[0].ndim <= axis:
                continue
            for from_end in (False, True):
                common = _lines([wrong[k] for k in bad], axis, from_end)
                least = min(wrong[k].shape[axis] for k in bad) // 2
                if len(common) <= max(1, least) and common < _lines([alive[k] for k in bad], axis, from_end):
                    numbers = ", ".join(map(str, sorted(common)))
                    return [item("entries", f"wrong in {name} {numbers} only, on {len(bad)} of {len(wrong)} draws")]
        share = sum(mask.sum() for mask in wrong) / sum(mask.sum() for mask in alive)
        if share < 0.25 or max(mask.sum() for mask in wrong) == 1 < max(mask.sum() for mask in alive):
            return [item("entries", f"wrong in {share:.0%} of the entries only; see the worst one")]
        return []

    def _only_there(self, chosen: list[int], others: list[int]) -> str:
        """What holds on the chosen cases only, to stand behind them."""
        if self.judged is None:
            return ""
        words = self.judged.there([self.numbers[k] for k in chosen], [self.numbers[k] for k in others])
        return f"; only there {words}" if words else ""

    def _parallel(self, expected: list[np.ndarray]) -> list[dict[str, str]]:
        """The item if the given array is the expected one times a number that changes from draw to draw."""
        ratios = self.ratios(expected)
        if ratios is None or np.isnan(ratios).all():
            return []
        low, high = np.nanmin(ratios), np.nanmax(ratios)
        return [item("scale", "the given gradient is a number times the expected one, another number on each draw, "
                               f"from {low:.4g} to {high:.4g}")]  # fmt: skip

    def _row(self) -> str:
        name = self.subject.rows.get(self.wrt)
        return f"{name} (row)" if name else "row"

    def _not_finite(self) -> list[dict[str, str]]:
        k = next(k for k, given in enumerate(self.given) if not np.isfinite(given).all())
        index = [int(i) for i in np.argwhere(~np.isfinite(self.given[k]))[0]]
        count = sum(not np.isfinite(given).all() for given in self.given)
        bad = [n for n, given in zip(self.numbers, self.given, strict=True) if not np.isfinite(given).all()]
        apart = self.judged.apart(bad, [n for n in self.numbers if n not in bad]) if self.judged else []
        where = f": on those where {apart[0].one}" if apart else ""
        return [item("entries", f"it returns {self.given[k][tuple(index)]} at {index} of draw {self.numbers[k]}, "
                                 f"and NaN or infinity on {count} of {len(self.given)} draws{where}")]  # fmt: skip

    def _summary(self, expected: list[np.ndarray]) -> str:
        dots = [(g * e).sum() / np.sqrt((g * g).sum() * (e * e).sum()) for g, e in zip(self.given, expected, strict=True)
                if g.any() and e.any()]  # fmt: skip
        angle = (
            f"its cosine with the expected gradient is {min(dots):.3f} to {max(dots):.3f}"
            if dots
            else "one of the two is zero"
        )
        return f"none of the known mistakes gives these numbers; {angle}"


def _lines(masks: list[np.ndarray], axis: int, from_end: bool) -> set[int]:
    """Rows or columns in which some mask has an entry, counted from the end as -1, -2 ... if asked."""
    return {int(i) - mask.shape[axis] * from_end for mask in masks for i in np.argwhere(mask)[:, axis]}


def _unique(items: list[dict[str, str]]) -> list[dict[str, str]]:
    return [item for n, item in enumerate(items) if item not in items[:n]]
