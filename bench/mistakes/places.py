"""Places at which a gradient is held against the right one, and how."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .case import Case, WrongFormula

__all__ = ["call", "differs", "formula_places", "leaves", "like", "loses_digits", "places"]

STEP = 1e-40  # of the complex step


def leaves(x: Any, dtype: Any = float) -> list[np.ndarray]:
    """The arrays of a point, or of a gradient."""
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, tuple | list) else [x]
    return [np.asarray(part, dtype) for part in parts]


def like(x: Any, arrays: list[np.ndarray]) -> Any:
    """The arrays in the form of x."""
    if isinstance(x, dict):
        return dict(zip(x, arrays, strict=True))
    return tuple(arrays) if isinstance(x, tuple | list) else arrays[0]


def call(function: Callable[..., Any], x: Any, dtype: Any = float) -> Any:
    """function(*x) of a tuple, function(x) of anything else, on copies."""
    copies = like(x, [part.copy() for part in leaves(x, dtype)])
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


def distance(given: Any, right: Any) -> float:
    """The largest difference of two gradients, in units of the argument's largest entry, of 1e-3 at least.

    Infinite where they have other shapes, or one is not finite.
    """
    given, right = leaves(given, np.longdouble), leaves(right, np.longdouble)
    if [a.shape for a in given] != [a.shape for a in right]:
        return np.inf
    with np.errstate(all="ignore"):
        pairs = zip(given, right, strict=True)
        errors = [np.max(abs(a - b), initial=0) / max(np.max(abs(b), initial=0), 1e-3) for a, b in pairs]
    return float(max(errors)) if np.isfinite(errors).all() else np.inf


def differs(given: Any, right: Any) -> bool:
    """Whether a gradient is not the right one, to six digits."""
    return distance(given, right) > 1e-6


def loses_digits(function: Callable[..., Any], case: Case, x: Any) -> bool:
    """Whether a function differs by rounding alone at x: by a hundredth or less in long double, where that is longer."""
    try:
        found = [distance(call(function, x, dtype), call(case.right, x, dtype)) for dtype in (float, np.longdouble)]
    except TypeError:  # linear algebra has no long double
        return False
    return found[1] < found[0] / 100


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
