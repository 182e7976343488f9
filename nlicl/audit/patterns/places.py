"""The right numbers at other places: transposed, flattened, reversed, exchanged, made symmetric, of another point."""

from collections.abc import Callable, Iterator
from itertools import permutations
from math import lgamma, log, prod

import numpy as np

from .fit import Points
from .form import Form

__all__ = ["moved", "rearranged", "stale", "symmetric"]

Move = Callable[[np.ndarray], np.ndarray]
_FACTORIZATIONS = 40  # of the length of a vector: shapes that may have been flattened


def moved(p: Points) -> Iterator[Form]:
    """The right numbers at other places, by a rule."""
    for kind, what, move in _moves(p.shape):
        yield _rearrangement(p, kind, what, move)


def _rearrangement(p: Points, kind: str, what: str, move: Move, spent: float = 0.0) -> Form:
    return Form(
        kind,
        f"given = {{c}} times {what}",
        lambda k: move(p.expected[k]),
        None,
        lambda k: move(p.noise[k]),
        f"given is {what}",
        spent=spent,
        partial=True,
    )


def _moves(shape: tuple[int, ...]) -> Iterator[tuple[str, str, Move]]:
    """Kind, words and function of every rearrangement that keeps the shape."""
    ndim, n = len(shape), prod(shape)
    if n < 2:
        return
    square = ndim == 2 and shape[0] == shape[1]
    for axes in permutations(range(ndim)) if 1 < ndim <= 4 else ():
        swapped = tuple(shape[a] for a in axes) == shape
        if (
            swapped
            and axes != tuple(range(ndim))
            and [a for a in axes if shape[a] > 1] != [a for a in range(ndim) if shape[a] > 1]
        ):
            yield "transpose", "expected transposed" + ("" if ndim == 2 else f", axes {axes}"), _transposition(axes)
    if ndim == 1:
        rows = [r for r in range(2, n // 2 + 1) if n % r == 0]
        for r in rows[:_FACTORIZATIONS]:
            what = f"expected with its entries in the order of reshape({r}, {n // r}) in order 'F'"
            yield "permutation", what, _flattening(r, n // r)
    elif not square and min(shape) > 1:
        yield (
            "permutation",
            "expected flattened in order 'F' and reshaped in order 'C'",
            lambda a: a.ravel(order="F").reshape(shape),
        )
        yield (
            "permutation",
            "expected flattened in order 'C' and reshaped in order 'F'",
            lambda a: a.ravel().reshape(shape, order="F"),
        )
    for axis in range(ndim):
        along = "" if ndim == 1 else f" along axis {axis}"
        if shape[axis] > 1:
            yield "permutation", f"expected reversed{along}", _flip(axis)
        for step in (1, -1) if shape[axis] > 2 else ():
            yield (
                "permutation",
                f"expected shifted by {step}{along}, the end put at the front"
                if step == 1
                else (f"expected shifted by {step}{along}, the front put at the end"),
                _roll(step, axis),
            )


def _taking(order: np.ndarray, axis: int) -> Move:
    return lambda array: array.take(order, axis)


def _transposition(axes: tuple[int, ...]) -> Move:
    return lambda array: array.transpose(axes)


def _flattening(rows: int, columns: int) -> Move:
    return lambda array: array.reshape(rows, columns).ravel(order="F")


def _flip(axis: int) -> Move:
    return lambda array: np.flip(array, axis)


def _roll(step: int, axis: int) -> Move:
    return lambda array: np.roll(array, step, axis)


def rearranged(p: Points) -> Iterator[Form]:
    """The right numbers at other places without a rule: the order is that of the first point."""
    if not all(known.all() for known in p.known):
        return
    for axis in range(len(p.shape)):
        n = p.shape[axis]
        if n < 2:
            continue
        given, expected = (np.moveaxis(array[0], axis, 0).reshape(n, -1) for array in (p.given, p.expected))
        key = np.cos(np.arange(given.shape[1]))  # the lines are told apart by a fixed combination of their entries
        order = np.empty(n, int)
        order[np.argsort(given @ key, kind="stable")] = np.argsort(expected @ key, kind="stable")
        differ = np.flatnonzero(order != np.arange(n))
        lines = (
            "entries"
            if len(p.shape) == 1
            else f"lines along axis {axis}"
            if len(p.shape) > 2
            else ("rows", "columns")[axis]
        )
        what = f"expected with its {lines} in another order"
        if len(differ) == 2:
            what = f"expected with {lines} {differ[0]} and {differ[1]} exchanged"
        spent = lgamma(n + 1) / log(10) if len(differ) != 2 else 2 * log(n) / log(10)
        yield _rearrangement(p, "permutation", what, _taking(order, axis), spent)


def stale(p: Points) -> Iterator[Form]:
    """The gradient at another of the points."""
    if len(p) < 2:
        return
    later = tuple(range(1, len(p)))
    if any(p.wrong[k].any() for k in later) and all(_differ(p, k, k - 1) for k in later):
        yield Form(
            "stale",
            "given = {c} times expected at the point before",
            lambda k: p.expected[k - 1],
            None,
            lambda k: p.noise[k - 1],
            "given at every point but the first is expected at the point before",
            points=later,
            named=True,
            partial=True,
        )
        if len(p) > 2:
            yield Form(
                "stale",
                "given = {c} times expected at the first point",
                lambda k: p.expected[0],
                None,
                lambda k: p.noise[0],
                "given at every point is expected at the first point",
                points=later,
                named=True,
                partial=True,
            )


def _differ(p: Points, one: int, other: int) -> bool:
    both = p.known[one] & p.known[other]
    return bool((abs(p.expected[one] - p.expected[other])[both] > 4 * (p.noise[one] + p.noise[other])[both]).any())


def symmetric(p: Points, name: str) -> Iterator[Form]:
    """What is done with the gradient by a symmetric matrix."""
    if len(p.shape) != 2 or p.shape[0] != p.shape[1] or p.shape[0] < 2:
        return
    if all(_same(p, k, p.expected[k].T) for k in range(len(p))):
        form = "2 G - diag(G) of the expected G"
    else:
        form = "G + G^T - diag(G) of the expected G"
        reads = ""
        if all(np.allclose(x, x.T) for x in p.x[:1]):
            reads = f": {name} is symmetric"
            if any(
                all(not tri(e, d)[np.isfinite(e)].any() for e in p.expected) for tri, d in ((np.triu, 1), (np.tril, -1))
            ):
                reads += " and the loss reads one triangle of it"
        yield Form(
            "symmetric",
            f"given = {{c}} x (G + G^T) of the expected G{reads}",
            lambda k: p.expected[k] + p.expected[k].T,
            None,
            lambda k: p.noise[k] + p.noise[k].T,
            f"given = G + G^T of the expected G{reads}. Half of it agrees with G along symmetric directions",
            0.5,
            partial=True,
        )
        yield Form(
            "symmetric",
            f"given = {{c}} x (G + G^T)/2 of the expected G{reads}",
            lambda k: (p.expected[k] + p.expected[k].T) / 2,
            None,
            lambda k: (p.noise[k] + p.noise[k].T) / 2,
            f"given = (G + G^T)/2 of the expected G{reads}. Along symmetric directions the two agree",
            0.0,
            partial=True,
        )
        yield Form(
            "transpose",
            "given = expected + {c} times expected transposed",
            lambda k: p.expected[k].T,
            lambda k: p.expected[k],
            lambda k: p.noise[k].T,
            cost=1.0,
            partial=True,
        )
    yield Form(
        "symmetric",
        f"given = {{c}} x ({form})",
        lambda k: p.expected[k] + p.expected[k].T - np.diag(np.diag(p.expected[k])),
        None,
        lambda k: p.noise[k] + p.noise[k].T,
        f"given = {form}: the derivative by the independent entries of a symmetric {name}",
        0.5,
        partial=True,
    )


def _same(p: Points, k: int, array: np.ndarray) -> bool:
    both = p.known[k] & np.isfinite(array)
    return bool((abs(array - p.expected[k])[both] <= 2 * p.noise[k][both]).all())
