"""The forms that a wrong gradient may have: given = base + c direction, with one number c for all entries and points."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from ..comparison import item
from .fit import ENOUGH, Arrays, Fit, Points, number

__all__ = ["Form", "best", "factors", "instead", "of_norms", "of_others", "of_values", "projections", "terms", "times"]

_LISTED = 4  # forms of the same complexity that are reported
_AXIS = 0.7  # complexity of a sum along one axis, where the sum of all entries would do
_ALIKE = 0.6  # forms whose complexities differ by less are reported together


@dataclass(frozen=True)
class Form:
    """given = base + c direction.

    Attributes
    ----------
    kind : str
        The kind of the item; "term" is `extra-term` or `missing-term` by the sign of c.
    text, plain : str
        What to say, with {c} for the number; and for c = 1, if that needs no number. Without it and without
        `base`, c = 1 says that nothing is wrong.
    direction, base, slack : callable
        Arrays by number of the point; no base is zero. `slack` is the error of `direction`.
    cost : float
        Complexity: of the forms that fit, the cheapest are reported.
    spent : float
        Digits of the given array that went into the choice of this form.
    points : tuple of int
        The points of which it speaks; all if None.
    named : bool
        Whether only a c with a name counts, such as 1 or 1/2.
    partial : bool
        Whether `direction` may be NaN where something is unknown.
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
    named: bool = False
    partial: bool = False

    def fit(self, p: Points) -> Fit | None:
        """The numbers c that fit the arrays for which this form was made."""
        return p.fit(self.direction, self.base, slack=self.slack, points=self.points, partial=self.partial)


def best(p: Points, tried: list[Form], sizes: dict[str, float], everywhere: str = "") -> list[dict[str, str]]:
    """The items of the forms that fit, those of the least complexity; `everywhere` stands behind a constant factor."""
    found: list[tuple[float, dict[str, str]]] = []
    for form in tried:
        fit = form.fit(p)
        if fit is None or not np.isfinite(fit.low).all():
            continue
        c = number(float(fit.low[0]), float(fit.high[0]), sizes)
        if (
            c.value == 0
            or c.worth(fit) - form.spent < ENOUGH
            or (c.text == "1" and not form.plain and form.base is None)
            or (form.named and (c.cost > 1 or c.value < 0))
        ):
            continue
        kind = "sign" if form.kind == "scale" and c.text == "-1" else form.kind
        if kind == "term":
            kind = "missing-term" if c.value < 0 else "extra-term"
        plain = c.text == "1" and form.plain
        text = form.plain if plain else form.text.format(c=c.text) + c.remark()
        cost = form.cost + c.cost + (0.0 if plain or not form.plain else 1.0)
        found.append((cost, item(kind, text + (everywhere if form.kind == "scale" else ""))))
    least = min((cost for cost, _ in found), default=0.0)
    chosen = [one for cost, one in sorted(found, key=lambda pair: pair[0]) if cost < least + _ALIKE]
    return [one for n, one in enumerate(chosen) if one not in chosen[:n]][:_LISTED]


def factors(p: Points) -> Iterator[Form]:
    """A multiple of the expected gradient, or its absolute value."""
    yield Form("scale", "given = {c} times expected", _expected(p), slack=_noise(p))
    signs = {bool(sign) for k in range(len(p)) for sign in np.unique(p.expected[k][p.known[k] & ~p.dead[k]] > 0)}
    if len(signs) == 2:
        text = "the absolute value of expected"
        yield Form(
            "sign",
            f"given = {{c}} times {text}",
            lambda k: abs(p.expected[k]),
            slack=_noise(p),
            plain=f"given is {text}",
            named=True,
        )


def terms(p: Points, name: str) -> Iterator[Form]:
    """A term that one of the two has and the other has not."""
    yield Form(
        "term",
        f"given - expected = {{c}} {name}: an L2 term (weight decay), lambda = {{c}}, that only one of loss and gradient has, "
        "or has more of",
        lambda k: p.x[k],
        _expected(p),
        cost=0.5,
    )
    signs = [np.sign(x) for x in p.x]
    one_sign, kept = len(np.unique(signs)) == 1, all(np.array_equal(sign, signs[0]) for sign in signs)
    if not one_sign and not all((np.sign(x) == x).all() for x in p.x):  # else the same as the one above, or below
        yield Form(
            "term",
            f"given - expected = {{c}} sign({name}): an L1 term that only one of loss and gradient has, or has more of"
            + ("; or constants, of these signs" if kept else ""),
            lambda k: signs[k],
            _expected(p),
            cost=0.5,
        )
    number = "given - expected = {c}, one number" + ("; or an L1 term, of entries of one sign" if one_sign else "")
    yield Form("constant-term", number, lambda k: np.ones(p.shape), _expected(p), cost=0.5)


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
            return np.asarray(-p.expected[k].mean(axis=axis, keepdims=True))

        def not_centred(k: int, axis: tuple[int, ...] = axis) -> np.ndarray:
            return np.asarray(p.given[k].mean(axis=axis, keepdims=True))

        def slack(k: int, axis: tuple[int, ...] = axis) -> np.ndarray:
            return np.asarray(p.noise[k].mean(axis=axis, keepdims=True))

        yield Form(
            "constant-term",
            f"given = expected - {{c}} x mean(expected){along}",
            centred,
            _expected(p),
            slack,
            f"given = expected - mean(expected){along}: the mean is subtracted once too often in the gradient, or is not "
            "taken into account in the loss",
            1.0 + _AXIS * bool(along),
            named=True,
        )
        yield Form(
            "constant-term",
            f"expected = given - {{c}} x mean(given){along}",
            not_centred,
            _expected(p),
            slack,
            f"expected = given - mean(given){along}: a mean is not subtracted in the gradient",
            1.0 + _AXIS * bool(along),
            named=True,
        )

        def mean(k: int, centred: Arrays = centred) -> np.ndarray:
            return -centred(k)

        yield Form(
            "constant-term",
            f"given = {{c}} x mean(expected){along}, the same in every entry",
            mean,
            None,
            slack,
            f"given is mean(expected){along}, the same in every entry",
            1.0 + _AXIS * bool(along),
        )


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
                part = (p.noise[k] * x).sum(axis=axis, keepdims=True) * x
                return np.asarray(part / (x * x).sum(axis=axis, keepdims=True) if over else part)

            formula = f"<expected, {name}> {name}{text}{along}"
            yield Form(
                "normal",
                f"given = expected - {{c}} times {formula}, a multiple of {name}",
                direction,
                _expected(p),
                slack,
                f"given = expected - {formula}: the part along {name} is left out; {tangent}",
                0.5 + 0.2 * over + _AXIS * bool(along),
                named=True,
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
        yield Form(
            "wrong-parameter",
            f"given = {{c}} times {text}",
            gradient,
            None,
            slack,
            f"{name} holds what belongs to {other}: given is {text}",
            partial=True,
        )
        yield Form(
            "term",
            f"given - expected = {{c}} times {text}",
            gradient,
            _expected(p),
            slack,
            f"given = expected + {text}",
            cost=1.0,
            partial=True,
        )


def times(p: Points, name: str) -> Iterator[Form]:
    """Expected times a function of x, or with one added; or a function of expected: entry by entry."""
    for text, of_x in _of_x(p, name):
        if text not in (name, f"sign({name})"):
            yield Form("term", f"given - expected = {{c}} {_bracketed(text)}", of_x, _expected(p), cost=1.5)
        yield _product(p, text, of_x)
    e, t = p.expected, p.noise
    for text, power, slack in (
        ("expected squared", lambda k: e[k] ** 2, lambda k: 2 * abs(e[k]) * t[k]),
        ("expected times |expected|", lambda k: e[k] * abs(e[k]), lambda k: 2 * abs(e[k]) * t[k]),
        ("the square root of |expected|", lambda k: np.sqrt(abs(e[k])), lambda k: t[k] / np.sqrt(abs(e[k]) + 1e-300)),
        (
            "the square root of |expected|, with its sign",
            lambda k: np.sign(e[k]) * np.sqrt(abs(e[k])),
            lambda k: t[k] / np.sqrt(abs(e[k]) + 1e-300),
        ),
        ("1 / expected", lambda k: 1 / e[k], lambda k: t[k] / e[k] ** 2),
        (
            "the sign of expected",
            lambda k: np.where(abs(e[k]) > t[k], np.sign(e[k]), np.nan),
            lambda k: np.zeros(p.shape),
        ),
    ):
        yield Form(
            "wrong-factor", f"given = {{c}} times {text}", power, None, slack, f"given is {text}", 1.0, partial=True
        )


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


def _bracketed(text: str) -> str:
    return f"({text})" if " " in text and not text.startswith("(") else text


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
    """Expected times another argument's value, over it or with a multiple added; values of rows or columns count too."""
    for other in p.others[0]:
        for spread in _spread(p, other):

            def value(k: int, other: str = other, spread: Callable[[np.ndarray], np.ndarray] = spread) -> np.ndarray:
                return spread(np.asarray(p.others[k][other][1], float))

            def inverse(k: int, value: Arrays = value) -> np.ndarray:
                return 1 / value(k)

            yield _product(p, other, value)
            yield _product(p, f"1 / {other}", inverse)
            yield Form("term", f"given - expected = {{c}} {other}", value, _expected(p), cost=1.0)


def _product(p: Points, text: str, factor: Arrays) -> Form:
    return Form(
        "wrong-factor",
        f"given = {{c}} x (expected times {text})",
        lambda k: p.expected[k] * factor(k),
        None,
        lambda k: p.noise[k] * abs(factor(k)),
        f"given = expected times {text}",
        1.0,
    )


def _spread(p: Points, other: str) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Ways in which another argument's value may stand beside every entry."""
    shape = np.shape(p.others[0][other][1])
    if any(np.shape(others[other][1]) != shape for others in p.others):
        return
    if shape == p.shape or prod(shape) == 1:
        yield _reshaping(p.shape if shape == p.shape else ())
    elif len(shape) == 1:
        for axis in range(len(p.shape)):
            if p.shape[axis] == shape[0]:
                full = [1] * len(p.shape)
                full[axis] = -1
                yield _reshaping(tuple(full))


def _reshaping(shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda value: value.reshape(shape)


def instead(p: Points, name: str) -> Iterator[Form]:
    """Something else than the gradient."""
    yield Form(
        "wrong-factor",
        f"given = {{c}} times {name}: a multiple of {name} itself",
        lambda k: p.x[k],
        plain=f"given is {name} itself",
        cost=1.0,
    )
    yield Form("wrong-factor", "given is one number, {c}", lambda k: np.ones(p.shape), plain="given is 1", cost=1.0)


def _expected(p: Points) -> Arrays:
    return lambda k: p.expected[k]


def _noise(p: Points) -> Arrays:
    return lambda k: p.noise[k]
