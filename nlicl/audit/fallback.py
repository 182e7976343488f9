"""What is wrong with a formula where no wrong form fits: the patterns of any gradient, on draws of one size at a time."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .comparison import Comparison
from .mistakes import PLAIN
from .patterns import Seen, explain
from .scope import Scope, bounded, named

__all__ = ["patterns"]

_FOLDERS = [str(Path(__file__).parents[1] / folder) + os.sep for folder in ("models", "papers")]
_DRAWS = 3  # of one size that are compared
_SIZES = 3  # sizes that are compared
_LEAST = 1e-10  # error of an entry, relative to the largest of the draw


def patterns(c: Comparison, expected: list[np.ndarray]) -> list[dict[str, str]]:
    """What `nlicl.audit.patterns.explain` says on the draws of every size alike; [] if nothing.

    The arrays that are compared are parameters, what a prompt has, and what the definition of the loss and the paper's own
    gradient compute on the way. The reader's formula is not called.
    """
    groups = _groups(c, expected)
    if not groups:
        return []
    said: list[list[dict[str, str]]] = []
    for numbers in groups:
        found = explain(c.wrt, [_seen(c, k, expected[k]) for k in numbers], _sizes(c, numbers))
        found = [one for one in found if one["kind"] not in ("unknown", "entries", "formula")]
        said.append(found)
        if not _common(said):
            return []
    told = sum(len(numbers) for numbers in groups)
    where = f" (on {told} draws of {len(groups)} sizes)" if len(groups) > 1 else f" (on {told} draws)"
    return [{"kind": one["kind"], "detail": one["detail"] + where} for one in _common(said)]


def _groups(c: Comparison, expected: list[np.ndarray]) -> list[list[int]]:
    """Numbers of draws by the sizes of their arrays; of those on which something is wrong, one prompt each."""
    found: dict[Any, list[int]] = {}
    for k, case in enumerate(c.cases):
        if len(case.each) == 1 and not c.close(k, expected[k]):
            shapes = [array.shape for array in case.params]
            found.setdefault(
                (*shapes, len(case.each[0])) if hasattr(case.each[0], "__len__") else (*shapes,), []
            ).append(k)
    groups = sorted(found.values(), key=len, reverse=True)
    return [numbers[:_DRAWS] for numbers in groups[:_SIZES]]


def _seen(c: Comparison, k: int, expected: np.ndarray) -> Seen:
    case = c.cases[k]
    error = np.maximum(c.telling * abs(expected), _LEAST * c.scales[k])
    known = np.where(c.smooth[k], expected, np.nan)
    others = {
        name: (case.complex_step(name)[0], array)
        for name, array in case.params._asdict().items()
        if name != c.wrt and array.shape == expected.shape
    }
    return Seen(getattr(case.params, c.wrt), c.given[k], known, error, others, _held(c, k))


def _held(c: Comparison, k: int) -> dict[str, np.ndarray]:
    """The parameters, the prompt's arrays, and what the definition and the paper's gradient compute of them."""
    case = c.cases[k]
    prompt = case.each[0]
    marked = c.subject.marked.get(c.wrt)
    scope = Scope([function for function in (c.subject.definition, marked) if function is not None], _FOLDERS)
    with np.errstate(all="ignore"), scope.watching():
        c.subject.definition(case.params, prompt)
        if marked is not None:
            marked(case.params, prompt, PLAIN)
    known = dict(named({**case.params._asdict(), "prompt": prompt}))
    return bounded(_once(known | scope.own() | scope.called(), c.wrt))


def _once(arrays: dict[str, np.ndarray], wrt: str) -> dict[str, np.ndarray]:
    """Each array under its first name, without the parameter itself."""
    found: dict[tuple[bytes, tuple[int, ...]], tuple[str, np.ndarray]] = {}
    for name, array in arrays.items():
        key = np.asarray(array, float).tobytes(), array.shape
        found.setdefault(key, (name.replace("self.x.", "").replace("self.", "").partition(" of ")[0], array))
    named_once: dict[str, np.ndarray] = {}
    for name, array in found.values():
        named_once.setdefault(name, array)
    return {name: array for name, array in named_once.items() if name != wrt}


def _sizes(c: Comparison, numbers: list[int]) -> dict[str, float]:
    case = c.cases[numbers[0]]
    return {name: float(value) for name, value in c.subject.sizes(case.params, case.each[0]).items()}


def _common(said: Iterable[list[dict[str, str]]]) -> list[dict[str, str]]:
    """The items that all have."""
    first, *rest = said
    return [one for one in first if all(one in others for others in rest)]
