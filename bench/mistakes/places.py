"""Places at which a gradient is held against the right one, and how."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .case import Case, WrongFormula

__all__ = ["call", "differs", "formula_places", "leaves", "like", "places"]

STEP = 1e-40  # of the complex step


def leaves(x: Any) -> list[np.ndarray]:
    """The arrays of a point, or of a gradient."""
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, tuple | list) else [x]
    return [np.asarray(part, float) for part in parts]


def like(x: Any, arrays: list[np.ndarray]) -> Any:
    """The arrays in the form of x."""
    if isinstance(x, dict):
        return dict(zip(x, arrays, strict=True))
    return tuple(arrays) if isinstance(x, tuple | list) else arrays[0]


def call(function: Callable[..., Any], x: Any) -> Any:
    """function(*x) of a tuple, function(x) of anything else, on copies."""
    copies = like(x, [part.copy() for part in leaves(x)])
    with np.errstate(all="ignore"):
        return function(*copies) if isinstance(x, tuple) else function(copies)


def places(case: Case, rng: np.random.Generator, count: int) -> Iterator[Any]:
    """Points near the case's, with signs flipped, far away and, where the loss allows it, of other sizes, by turns.

    Only those where the loss and the right gradient are finite; at most ten times as many are tried.
    """
    ways: list[Callable[[], Any]] = [lambda: _near(case, rng), lambda: _flipped(case, rng), lambda: _far(case, rng)]
    if case.draw is not None:
        ways.append(lambda: case.draw(rng))
    found = 0
    for tried in range(10 * count):
        x = ways[tried % len(ways)]()
        if np.isfinite(call(case.loss, x)) and all(np.isfinite(g).all() for g in leaves(call(case.right, x))):
            yield x
            found += 1
        if found == count:
            return


def _near(case: Case, rng: np.random.Generator) -> Any:
    return like(case.point, [a + 0.1 * (1 + abs(a)) * rng.standard_normal(a.shape) for a in leaves(case.point)])


def _flipped(case: Case, rng: np.random.Generator) -> Any:
    moved = leaves(_near(case, rng))
    return like(case.point, [np.asarray(a * rng.choice([-1.0, 1.0], a.shape)) for a in moved])


def _far(case: Case, rng: np.random.Generator) -> Any:
    scale = rng.choice([0.3, 1.0, 3.0])
    return like(case.point, [np.asarray(scale * rng.standard_normal(a.shape)) for a in leaves(case.point)])


def differs(given: Any, right: Any, tolerance: float = 1e-6) -> bool:
    """Whether a gradient differs from the right one by more than a share of the argument's largest entry, and 1e-9."""
    given, right = leaves(given), leaves(right)
    if [a.shape for a in given] != [a.shape for a in right]:
        return True
    pairs = zip(given, right, strict=True)
    with np.errstate(all="ignore"):
        return any(not (abs(a - b) <= tolerance * np.max(abs(b), initial=0) + 1e-9).all() for a, b in pairs)


def formula_places(wrong: WrongFormula, seed: int, draws: int) -> Iterator[tuple[Any, Any, np.ndarray]]:
    """(params, prompt, right gradient) of a paper's formula, by the complex step through the definition.

    Draws on a kink are left out, and those on which a registered formula is not judged.
    """
    paper = importlib.import_module(f"nlicl.papers.{wrong.paper}")
    subject = next(part for part in paper.subject.every if wrong.wrt in {f.wrt for f in part.formulas.values()})
    attends = bool(getattr(wrong.function, "query_attends", False))
    defined, domain = getattr(wrong.function, "defined", None), getattr(wrong.function, "domain", "")
    for point in subject.points(draws, seed, attends):
        inside = defined(point.params) if defined else not domain or domain in point.holds
        for n in range(len(point.prompts) if inside else 0):
            prompt, array = point.prompts[n], getattr(point.params, wrong.wrt)
            _, margins = subject.definition(point.params, prompt)
            if np.min(abs(np.asarray(margins)), initial=np.inf) < 1e-9:
                continue
            right = np.zeros(array.shape)
            for index in np.ndindex(*array.shape):
                moved = array.astype(complex)
                moved[index] += 1j * STEP
                loss, _ = subject.definition(point.params._replace(**{wrong.wrt: moved}), prompt)
                right[index] = np.imag(loss) / STEP
            yield point.params, prompt, right
