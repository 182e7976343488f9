"""The forms that a wrong gradient may have: given = base + c direction, with one number c for all entries and points."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from math import lgamma, log, prod

import numpy as np

from .pattern_fit import Arrays, Fit, Points

__all__ = ["Form", "factors", "instead", "moved", "of_norms", "of_others", "of_values", "projections", "rearranged", "stale",
           "symmetric", "terms", "times"]  # fmt: skip

Move = Callable[[np.ndarray], np.ndarray]
_FACTORIZATIONS = 40  # of the length of a vector: shapes that may have been flattened


@dataclass(frozen=True)
class Form:
    """given = base + c direction.

    Attributes
    ----------
    kind : str
        The kind of the item; "term" is `extra-term` or `missing-term` by the sign of c.
    text, plain : str
        What to say, with {c} for the number; and for c = 1, if that needs no number. Without `plain`, c = 1 says that
        nothing is wrong.
    direction, base, slack : callable
        Arrays by number of the point; no base is zero. `slack` is the error of `direction`.
    cost : float
        Complexity: of the forms that fit, the cheapest are reported.
    spent : float
        Digits of the given array that went into the choice of this form.
    points : tuple of int
        The points of which it speaks; all if None.
    """

    kind: str
    text: str
    direction: Arrays
    base: Arrays | None = None
    slack: Arrays | None = None
    plain: str = ""
    cost: float = 0.0
    spent: float = 0.0
    points: tuple[int, ...] | None = None

    def fit(self, p: Points) -> Fit | None:
        """The numbers c that fit the arrays for which this form was made."""
        return p.fit(self.direction, self.base, slack=self.slack, points=self.points)


def factors(p: Points) -> Iterator[Form]:
    """A multiple of the expected gradient, or its absolute value."""
    yield Form("scale", "given = {c} x expected", _expected(p), slack=_error(p))
    signs = {bool(sign) for k in range(len(p)) for sign in np.unique(p.expected[k][p.known[k] & ~p.dead[k]] > 0)}
    if len(signs) == 2:
        text = "the absolute value of expected"
        yield Form(
            "sign", f"given = {{c}} x {text}", lambda k: abs(p.expected[k]), slack=_error(p), plain=f"given is {text}"
        )


def terms(p: Points, name: str) -> Iterator[Form]:
    """A term that one of the two has and the other has not."""
    yield Form("term", f"given - expected = {{c}} {name}: an L2 term (weight decay), lambda = {{c}}, that one of loss and gradient has "
               "and the other has not", lambda k: p.x[k], _expected(p), cost=0.5)  # fmt: skip
    if not all((np.sign(x) == x).all() for x in p.x):  # else the same as above
        yield Form("term", f"given - expected = {{c}} sign({name}): an L1 term that one of loss and gradient has and the other has not",
                   lambda k: np.sign(p.x[k]), _expected(p), cost=0.5)  # fmt: skip
    yield Form("constant-term", "given - expected = {c}, one number", lambda k: np.ones(p.shape), _expected(p), cost=0.5,
               plain="given - expected = 1, one number")  # fmt: skip


def projections(p: Points, name: str) -> Iterator[Form]:
    """A mean, or the part along x, that is subtracted in one of the two and not in the other."""
    yield from _means(p)
    yield from _projected(p, name)


def _means(p: Points) -> Iterator[Form]:
    """A mean that is subtracted once too often, or not at all."""
    if prod(p.shape) < 2 or not all(known.all() for known in p.known):
        return
    axes: list[tuple[tuple[int, ...], str]] = [(tuple(range(len(p.shape))), "")]
    if len(p.shape) > 1:
        axes += [((axis,), f" along axis {axis}") for axis in range(len(p.shape)) if p.shape[axis] > 1]
    for axis, along in axes:

        def centred(k: int, axis: tuple[int, ...] = axis) -> np.ndarray:
            return np.asarray(p.expected[k].mean(axis=axis, keepdims=True))

        def not_centred(k: int, axis: tuple[int, ...] = axis) -> np.ndarray:
            return np.asarray(p.given[k].mean(axis=axis, keepdims=True))

        def slack(k: int, axis: tuple[int, ...] = axis) -> np.ndarray:
            return np.asarray(p.error[k].mean(axis=axis, keepdims=True))

        yield Form("constant-term", f"given = expected - {{c}} x mean(expected){along}", lambda k, f=centred: -f(k), _expected(p),
                   slack, f"given = expected - mean(expected){along}: the mean is subtracted once too often in the gradient, or is not "
                   "taken into account in the loss", 1.0)  # fmt: skip
        yield Form("constant-term", f"expected = given - {{c}} x mean(given){along}", not_centred, _expected(p),
                   slack, f"expected = given - mean(given){along}: a mean is not subtracted in the gradient", 1.0)  # fmt: skip


def _projected(p: Points, name: str) -> Iterator[Form]:
    """The part of the gradient along x is left out."""
    if not all(known.all() for known in p.known) or prod(p.shape) < 2:
        return
    tangent = f"a Riemannian gradient on the sphere? If so, audit loss({name} / |{name}|)"
    axes: list[tuple[tuple[int, ...], str]] = [(tuple(range(len(p.shape))), "")]
    if len(p.shape) > 1:
        axes += [((axis,), f" along axis {axis}") for axis in range(len(p.shape)) if p.shape[axis] > 1]
    for axis, along in axes:
        for over, text in ((False, ""), (True, f" / |{name}|^2")):

            def direction(k: int, axis: tuple[int, ...] = axis, over: bool = over) -> np.ndarray:
                x = p.x[k]
                part = -(p.expected[k] * x).sum(axis=axis, keepdims=True) * x
                return np.asarray(part / (x * x).sum(axis=axis, keepdims=True) if over else part)

            def slack(k: int, axis: tuple[int, ...] = axis, over: bool = over) -> np.ndarray:
                x = abs(p.x[k])
                part = (p.error[k] * x).sum(axis=axis, keepdims=True) * x
                return np.asarray(part / (x * x).sum(axis=axis, keepdims=True) if over else part)

            formula = f"<expected, {name}> {name}{text}{along}"
            yield Form("normal", f"given = expected - {{c}} x {formula}, a multiple of {name}", direction, _expected(p), slack,
                       f"given = expected - {formula}: the part along {name} is left out; {tangent}", 0.5 + 0.2 * over)  # fmt: skip


def moved(p: Points) -> Iterator[Form]:
    """The right numbers at other places, by a rule."""
    for kind, what, move in _moves(p.shape):
        yield _rearrangement(p, kind, what, move)


def _rearrangement(p: Points, kind: str, what: str, move: Move, spent: float = 0.0) -> Form:
    return Form(kind, f"given = {{c}} x {what}", lambda k: move(p.expected[k]), None, lambda k: move(p.error[k]),
                f"given is {what}", spent=spent)  # fmt: skip


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
            yield "permutation", f"expected shifted by {step}{along}, the end put at the front" if step == 1 else (
                f"expected shifted by {step}{along}, the front put at the end"), _roll(step, axis)  # fmt: skip


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
        yield _rearrangement(
            p, "permutation", what, lambda array, order=order, axis=axis: array.take(order, axis), spent
        )


def of_others(p: Points, name: str) -> Iterator[Form]:
    """The gradient by another argument, instead of the right one or added to it."""
    for other in p.others[0]:
        if any(np.size(others[other][0]) != prod(p.shape) for others in p.others):
            continue

        def gradient(k: int, other: str = other) -> np.ndarray:
            return np.asarray(p.others[k][other][0], float).reshape(p.shape)

        def slack(k: int, gradient: Arrays = gradient) -> np.ndarray:
            size = abs(gradient(k))
            return np.full(p.shape, p.relative[k] * size[np.isfinite(size)].max(initial=0.0))

        same = all(np.shape(others[other][0]) == p.shape for others in p.others)
        text = f"the gradient with respect to {other}" + ("" if same else ", reshaped")
        yield Form("wrong-parameter", f"given = {{c}} x {text}", gradient, None, slack,
                   f"{name} holds what belongs to {other}: given is {text}")  # fmt: skip
        yield Form("term", f"given - expected = {{c}} x {text}", gradient, _expected(p), slack,
                   f"given = expected + {text}", cost=1.0)  # fmt: skip


def stale(p: Points) -> Iterator[Form]:
    """The gradient at another of the points."""
    if len(p) < 2:
        return
    later = tuple(range(1, len(p)))
    if any(p.wrong[k].any() for k in later) and all(_differ(p, k, k - 1) for k in later):
        yield Form("stale", "given = {c} x expected at the point before", lambda k: p.expected[k - 1], None,
                   lambda k: p.error[k - 1], "given at every point but the first is expected at the point before", points=later)  # fmt: skip
        if len(p) > 2:
            yield Form("stale", "given = {c} x expected at the first point", lambda k: p.expected[0], None,
                       lambda k: p.error[0], "given at every point is expected at the first point", points=later)  # fmt: skip


def _differ(p: Points, one: int, other: int) -> bool:
    both = p.known[one] & p.known[other]
    return bool((abs(p.expected[one] - p.expected[other])[both] > 4 * (p.error[one] + p.error[other])[both]).any())


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
        yield Form("symmetric", f"given = {{c}} x (G + G^T) of the expected G{reads}", lambda k: p.expected[k] + p.expected[k].T, None,
                   lambda k: p.error[k] + p.error[k].T,
                   f"given = G + G^T of the expected G{reads}. Half of it agrees with G along symmetric directions", 0.5)  # fmt: skip
        yield Form("symmetric", f"given = {{c}} x (G + G^T)/2 of the expected G{reads}",
                   lambda k: (p.expected[k] + p.expected[k].T) / 2, None, lambda k: (p.error[k] + p.error[k].T) / 2,
                   f"given = (G + G^T)/2 of the expected G{reads}. Along symmetric directions the two agree", 0.0)  # fmt: skip
        yield Form("transpose", "given = expected + {c} x expected transposed", lambda k: p.expected[k].T, _expected(p),
                   lambda k: p.error[k].T, cost=1.0)  # fmt: skip
    yield Form("symmetric", f"given = {{c}} x ({form})", lambda k: p.expected[k] + p.expected[k].T - np.diag(np.diag(p.expected[k])),
               None, lambda k: p.error[k] + p.error[k].T,
               f"given = {form}: the derivative by the independent entries of a symmetric {name}", 0.5)  # fmt: skip


def _same(p: Points, k: int, array: np.ndarray) -> bool:
    both = p.known[k] & np.isfinite(array)
    return bool((abs(array - p.expected[k])[both] <= 2 * p.error[k][both]).all())


def times(p: Points, name: str) -> Iterator[Form]:
    """Expected times a function of x, or a function of expected, entry by entry."""
    for text, of_x in _of_x(p, name):
        yield _product(p, text, of_x)
    e, t = p.expected, p.error
    for text, power, slack in (
        ("expected squared", lambda k: e[k] ** 2, lambda k: 2 * abs(e[k]) * t[k]),
        ("expected times |expected|", lambda k: e[k] * abs(e[k]), lambda k: 2 * abs(e[k]) * t[k]),
        ("the square root of |expected|", lambda k: np.sqrt(abs(e[k])), lambda k: t[k] / np.sqrt(abs(e[k]) + 1e-300)),
        ("the square root of |expected|, with its sign", lambda k: np.sign(e[k]) * np.sqrt(abs(e[k])),
         lambda k: t[k] / np.sqrt(abs(e[k]) + 1e-300)),
        ("1 / expected", lambda k: 1 / e[k], lambda k: t[k] / e[k] ** 2),
        ("the sign of expected", lambda k: np.where(abs(e[k]) > t[k], np.sign(e[k]), np.nan), lambda k: np.zeros(p.shape)),
    ):  # fmt: skip
        yield Form("wrong-factor", f"given = {{c}} x {text}", power, None, slack, f"given is {text}", 1.0)


def _of_x(p: Points, name: str) -> Iterator[tuple[str, Arrays]]:
    x = p.x
    yield from (
        (name, lambda k: x[k]),
        (f"1 / {name}", lambda k: 1 / x[k]),
        (f"{name}^2", lambda k: x[k] ** 2),
        (f"1 / {name}^2", lambda k: x[k] ** -2.0),
        (f"|{name}|", lambda k: abs(x[k])),
        (f"sign({name})", lambda k: np.sign(x[k])),
        (f"sqrt({name})", lambda k: np.sqrt(x[k])),
        (f"1 / sqrt({name})", lambda k: 1 / np.sqrt(x[k])),
        (f"exp({name})", lambda k: np.exp(x[k])),
        (f"exp(-{name})", lambda k: np.exp(-x[k])),
        (f"(1 - {name})", lambda k: 1 - x[k]),
        (f"(1 - {name}^2)", lambda k: 1 - x[k] ** 2),
        (f"{name} (1 - {name})", lambda k: x[k] * (1 - x[k])),
    )


def of_norms(p: Points, name: str) -> Iterator[Form]:
    """Expected times a norm of x or of expected, or over it."""
    axes: list[tuple[str, tuple[int, ...]]] = [("", tuple(range(len(p.shape))))]
    if len(p.shape) > 1:
        axes += [(f" along axis {axis}", (axis,)) for axis in range(len(p.shape)) if p.shape[axis] > 1]
    for along, axis in axes if prod(p.shape) > 1 else []:
        for of, arrays in ((name, p.x), ("expected", p.expected)):
            for power, text in (
                (1, "the norm"),
                (-1, "1 / the norm"),
                (2, "the squared norm"),
                (-2, "1 / the squared norm"),
            ):

                def norm(
                    k: int, arrays: list[np.ndarray] = arrays, axis: tuple[int, ...] = axis, power: float = power
                ) -> np.ndarray:
                    return np.asarray((arrays[k] ** 2).sum(axis=axis, keepdims=True) ** (power / 2))

                yield _product(p, f"{text} of {of}{along}", norm)


def of_values(p: Points) -> Iterator[Form]:
    """Expected times another argument's value, or over it; the value may stand beside every row or column."""
    for other in p.others[0]:
        for spread in _spread(p, other):

            def value(k: int, other: str = other, spread: Move = spread) -> np.ndarray:
                return spread(np.asarray(p.others[k][other][1], float))

            yield _product(p, other, value)
            yield _product(p, f"1 / {other}", lambda k, value=value: 1 / value(k))


def _product(p: Points, text: str, factor: Arrays) -> Form:
    return Form("wrong-factor", f"given = {{c}} x (expected times {text})", lambda k: p.expected[k] * factor(k), None,
                lambda k: p.error[k] * abs(factor(k)), f"given = expected times {text}", 1.0)  # fmt: skip


def _spread(p: Points, other: str) -> Iterator[Move]:
    """Ways in which another argument's value may stand beside every entry."""
    shape = np.shape(p.others[0][other][1])
    if any(np.shape(others[other][1]) != shape for others in p.others):
        return
    if shape == p.shape or prod(shape) == 1:
        yield lambda value: value.reshape(p.shape if shape == p.shape else ())
    elif len(shape) == 1:
        for axis in range(len(p.shape)):
            if p.shape[axis] == shape[0]:
                full = [1] * len(p.shape)
                full[axis] = -1
                yield lambda value, full=tuple(full): value.reshape(full)


def instead(p: Points, name: str) -> Iterator[Form]:
    """Something else than the gradient."""
    yield Form("wrong-factor", f"given = {{c}} x {name}: a multiple of {name} itself", lambda k: p.x[k], plain=f"given is {name} itself",
               cost=1.0)  # fmt: skip
    yield Form("wrong-factor", "given is one number, {c}", lambda k: np.ones(p.shape), plain="given is 1", cost=1.0)


def _expected(p: Points) -> Arrays:
    return lambda k: p.expected[k]


def _error(p: Points) -> Arrays:
    return lambda k: p.error[k]
