"""Whether the marked formulas of a subject are fit for a diagnosis."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from ..core.checks import boolean
from ..core.describe import short
from ..core.errors import InvalidType
from .mistakes import MISFITS, PLAIN, Edit, Mark, Marked, edits
from .subject import Subject

__all__ = ["check_marks"]

RIGHT = 1e-9  # how far a marked formula without mistakes may be off, relative to the largest entry of all gradients
SAME = 1e-6  # how far two wrong forms are apart that no formula tells apart, likewise


def check_marks(subject: Subject, draws: int = 12, seed: int = 0, query_attends: bool = False) -> list[str]:
    """What is wrong with the marked formulas of a subject and of its parts.

    Without mistakes a marked formula must be the gradient. A wrong form that changes nothing, or has no value anywhere, is
    never found. Of two wrong forms that are the same everywhere, the diagnosis names both.

    Parameters
    ----------
    subject : Subject
    draws, seed, query_attends
        The places to look at, as in `audit_paper`.

    Returns
    -------
    list of str
        A sentence for each fault; empty if there is none. An alternative that raises anything but ValueError is one.

    Raises
    ------
    TypeError
        No subject; `query_attends` neither True nor False.
    """
    if not isinstance(subject, Subject):
        raise InvalidType(f"subject is {short(subject)}; expected an nlicl.audit.subject.Subject.")
    boolean("query_attends", query_attends)
    return [fault for part in subject.every for fault in _faults(part, draws, seed, query_attends)]


def _faults(subject: Subject, draws: int, seed: int, query_attends: bool) -> Iterator[str]:
    points = subject.points(draws, seed, query_attends)
    places = [(point.params, point.prompts[n : n + 1]) for point in points for n in range(len(point.prompts))]
    gradients = [subject.gradient(params, prompts) for params, prompts in places]
    places = [(params, prompts[0]) for params, prompts in places]
    on_all = f"on all {len(places)} draws"
    for wrt, marked in subject.marked.items():
        right = [getattr(gradient, wrt) for gradient in gradients]
        scale = max(abs(array).max() for array in right)
        plain, slip = _values(marked, PLAIN, places, right)
        if slip:
            yield f"{wrt}: without mistakes, the marked formula raises {slip}"
            continue
        if not np.all(abs(plain - np.concatenate(right, axis=None)) <= RIGHT * scale):
            yield f"{wrt}: without mistakes, the marked formula is not the gradient"
        tried = {edit: _values(marked, Mark([edit]), places, right) for edit in edits(marked, places)}
        found = {edit: values for edit, (values, _) in tried.items()}
        for edit, (values, slip) in tried.items():
            if slip:
                yield f"{wrt}: raises {slip}; expected an array, or ValueError where it makes no sense: {_named(edit)}"
            elif np.isnan(values).all():
                yield f"{wrt}: without a value {on_all}: {_named(edit)}"
            elif _same(values, plain, scale):
                yield f"{wrt}: no change {on_all}: {_named(edit)}"
        for (edit, values), (other, others) in combinations(found.items(), 2):
            if _same(values, others, scale):
                yield f"{wrt}: the same {on_all}: {_named(edit)}; {_named(other)}"


def _values(marked: Marked, mark: Mark, places: list, right: list[np.ndarray]) -> tuple[np.ndarray, str]:
    """The gradients at all places, one after the other, NaN where there is none; and the first error but ValueError."""
    found, slip = [], ""
    for (params, prompt), like in zip(places, right, strict=True):
        try:
            with np.errstate(all="ignore"):
                array = np.asarray(marked(params, prompt, mark))
                fits = array.shape == like.shape and np.isfinite(array).all()
        except MISFITS as error:
            fits = False
            if not isinstance(error, ValueError):
                slip = slip or f"{type(error).__name__}: {error}"
        found.append(array if fits else np.full(like.shape, np.nan))
    return np.concatenate(found, axis=None), slip


def _same(one: np.ndarray, other: np.ndarray, scale: float) -> bool:
    """Whether the two are the same wherever both have a value, if they have one anywhere."""
    apart = abs(one - other)
    return bool(not np.isnan(apart).all() and np.nanmax(apart) <= SAME * scale)


def _named(edit: Edit) -> str:
    return f"{edit.kind}, {edit.detail}"
