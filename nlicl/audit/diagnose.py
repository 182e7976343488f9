"""What is wrong with a formula, decided from all draws.

Hypotheses are tried in order of complexity: none is reported unless it turns the expected gradient into the given one on
every draw, and where several of the same complexity do, all are listed. Where none fits, the kind is `unknown`.
"""

from collections.abc import Collection
from itertools import combinations
from typing import Any

import numpy as np

from .answer import Answer
from .comparison import FITS, item, with_factor
from .conditions import Separator, conditions, enough, separators
from .facts import NAMELESS, Judged
from .hypotheses import ANOTHER, Hypotheses
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
        search = Hypotheses(formula.wrt, cases, precise or answer.arrays, subject, judged)
        if len(search.numbers) < len(answer.arrays) and search.all_right():
            search = Hypotheses(formula.wrt, cases, answer.arrays, subject, judged)
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
    search = Hypotheses(wrt, cases, {n: array.T for n, array in given.items()}, subject)
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
            search = Hypotheses(name, cases, given, subject)
            factor = search.factor(search.gradients(name), allow_one=True)
            if factor:
                return [item("wrong-parameter", ANOTHER.format(name) + with_factor(factor))]
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
