"""What may be done to an expression's value: E stands for the expression, V and W for names that it could use.

In the finished text the expression is `HERE`, a name that no reader uses.

A *change* gives another value; a *term* is something that is added with a factor, which is found from the numbers.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .atoms import Atom

__all__ = ["HERE", "Made", "beside", "changes", "softmaxes", "terms"]

HERE = "nlicl_here"
_SAME, _BESIDE = 7, 16  # names of E's shape, and names beside E, that are multiplied with each other
_ZERO = 0.4  # of the cost, on top for E / V where E is zero: V may be, too, and 0 / 0 is no gradient
_BACK = 12  # products that come back to one layer


@dataclass(frozen=True)
class Made:
    """A piece of code in which `HERE` stands for the expression, its value, and what it costs."""

    text: str
    value: np.ndarray
    cost: float


_UNARY: tuple[tuple[str, float, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("-E", 1.0, lambda e: -e),
    ("1 - E", 1.2, lambda e: 1 - e),
    ("1 - E ** 2", 1.2, lambda e: 1 - e**2),
    ("E * (1 - E)", 1.3, lambda e: e * (1 - e)),
    ("E > 0", 1.3, lambda e: (e > 0) + 0.0),
    ("E ** 2", 1.2, lambda e: e**2),
    ("np.sqrt(E)", 1.4, lambda e: np.sqrt(e)),
    ("1 / E", 1.4, lambda e: 1 / e),
    ("np.exp(E)", 1.6, lambda e: np.exp(e)),
    ("np.log(E)", 1.7, lambda e: np.log(e)),
    ("np.tanh(E)", 1.7, lambda e: np.tanh(e)),
    ("1 / (1 + np.exp(-E))", 1.8, lambda e: 1 / (1 + np.exp(-e))),
    ("np.abs(E)", 1.6, abs),
    ("np.sign(E)", 1.5, np.sign),
    ("np.maximum(E, 0)", 1.5, lambda e: np.maximum(e, 0)),
    ("2 * E", 1.1, lambda e: 2 * e),
    ("E / 2", 1.1, lambda e: e / 2),
    ("E + 1", 1.4, lambda e: e + 1),
    ("E - 1", 1.4, lambda e: e - 1),
    ("np.cos(E)", 1.8, np.cos),
    ("np.sin(E)", 1.8, np.sin),
    ("E[::-1]", 1.5, lambda e: e[::-1]),
    ("np.cumsum(E, axis=0)", 1.7, lambda e: np.cumsum(e, axis=0)),
    ("np.cumsum(E[::-1], axis=0)[::-1]", 1.8, lambda e: np.cumsum(e[::-1], axis=0)[::-1]),
)
_MATRIX: tuple[tuple[str, float, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("E.T", 1.0, lambda e: e.T),
    ("np.tril(E)", 1.5, np.tril),
    ("np.triu(E)", 1.5, np.triu),
    ("np.tril(E, -1)", 1.6, lambda e: np.tril(e, -1)),
    ("np.triu(E, 1)", 1.6, lambda e: np.triu(e, 1)),
    ("(E + E.T) / 2", 1.5, lambda e: (e + e.T) / 2),
    ("E + E.T", 1.4, lambda e: e + e.T),
    ("np.diag(np.diag(E))", 1.6, lambda e: np.diag(np.diag(e))),
    ("np.linalg.inv(E)", 1.6, lambda e: np.linalg.inv(e)),
)
_BINARY: tuple[tuple[str, float, Callable[[np.ndarray, np.ndarray], np.ndarray]], ...] = (
    ("E * V", 1.2, lambda e, v: e * v),
    ("E / V", 1.3, lambda e, v: e / v),
    ("E * (V > 0)", 1.3, lambda e, v: e * (v > 0)),
    ("E * (V < 0)", 1.6, lambda e, v: e * (v < 0)),
    ("E * (1 - V)", 1.4, lambda e, v: e * (1 - v)),
    ("E * (1 - V ** 2)", 1.4, lambda e, v: e * (1 - v**2)),
    ("E * V * (1 - V)", 1.4, lambda e, v: e * v * (1 - v)),
    ("E * V ** 2", 1.5, lambda e, v: e * v**2),
    ("E / V ** 2", 1.5, lambda e, v: e / v**2),
    ("E / np.sqrt(V)", 1.7, lambda e, v: e / np.sqrt(v)),
    ("E * np.sqrt(V)", 1.8, lambda e, v: e * np.sqrt(v)),
    ("E * np.exp(V)", 1.7, lambda e, v: e * np.exp(v)),
    ("E * np.exp(-V)", 1.8, lambda e, v: e * np.exp(-v)),
    ("E / (1 + np.exp(V))", 1.8, lambda e, v: e / (1 + np.exp(v))),
    ("E / (1 + np.exp(-V))", 1.8, lambda e, v: e / (1 + np.exp(-v))),
    ("E * np.cos(V)", 1.8, lambda e, v: e * np.cos(v)),
    ("E * np.sin(V)", 1.8, lambda e, v: e * np.sin(v)),
    ("E * (1 - np.tanh(V) ** 2)", 1.6, lambda e, v: e * (1 - np.tanh(v) ** 2)),
    ("E * np.sign(V)", 1.6, lambda e, v: e * np.sign(v)),
    ("E * np.abs(V)", 1.8, lambda e, v: e * abs(v)),
    ("E - V", 1.4, lambda e, v: e - v),
    ("E + V", 1.4, lambda e, v: e + v),
    ("V", 1.8, lambda e, v: v + 0 * e),
    ("V > 0", 1.8, lambda e, v: (v > 0) + 0 * e),
)
_PRODUCTS: tuple[tuple[str, float, Callable[[np.ndarray, np.ndarray], np.ndarray]], ...] = (
    ("E @ V", 1.5, lambda e, v: e @ v),
    ("V @ E", 1.5, lambda e, v: v @ e),
    ("E @ V.T", 1.5, lambda e, v: e @ v.T),
    ("V.T @ E", 1.5, lambda e, v: v.T @ e),
    ("np.outer(E, V)", 1.6, np.outer),
    ("np.outer(V, E)", 1.6, lambda e, v: np.outer(v, e)),
    ("np.linalg.solve(V, E)", 1.7, lambda e, v: np.linalg.solve(v, e)),
    ("np.linalg.solve(V.T, E)", 1.8, lambda e, v: np.linalg.solve(v.T, e)),
)


def _reductions(text: str, array: np.ndarray) -> Iterator[tuple[str, float, np.ndarray]]:
    """Sums and means of an array that still stand beside it: (text, cost, value)."""
    for name, way in (("sum", np.sum), ("mean", np.mean)):
        yield f"{text}.{name}()", 0.0, np.asarray(way(array))
        if array.ndim > 1:
            for axis in range(array.ndim):
                value = way(array, axis=axis, keepdims=True)
                if axis == 0 and array.ndim == 2:
                    yield f"{text}.{name}(axis=0)", 0.0, value
                else:
                    shown = -1 if axis == array.ndim - 1 else axis
                    yield f"{text}.{name}(axis={shown}, keepdims=True)", 0.0, value


def _like(value: np.ndarray, e: np.ndarray) -> np.ndarray | None:
    """The value if it stands for E without changing any shape, else None."""
    if value.shape == e.shape:
        return value
    try:
        if np.broadcast_shapes(value.shape, e.shape) != e.shape:
            return None
    except ValueError:
        return None
    return np.broadcast_to(value, e.shape)


def _spread(atom: Atom, e: np.ndarray) -> Iterator[Atom]:
    """An atom as it can stand beside E: as it is, or as a column."""
    if _like(atom.value, e) is not None:
        yield atom
    if atom.value.ndim == 1 and e.ndim == 2 and atom.value.shape[0] == e.shape[0]:
        yield Atom(f"{atom.text}[:, None]", atom.value[:, None], atom.cost + 0.1)


def beside(e: np.ndarray, given: list[Atom]) -> Iterator[Made]:
    """Other values for E by expressions of the loss: one of them in its place, as a factor or as a summand."""
    for atom in given:
        if atom.value.shape == e.shape:
            yield Made(atom.text, atom.value, 1.6 + atom.cost)
        for one in _spread(Atom(f"({atom.text})", atom.value, atom.cost), e):
            for text, cost, way in (
                ("E * V", 1.5, lambda e, v: e * v),
                ("E / V", 1.6, lambda e, v: e / v),
                ("E * (V > 0)", 1.5, lambda e, v: e * (v > 0)),
                ("E + V", 1.7, lambda e, v: e + v),
                ("E - V", 1.7, lambda e, v: e - v),
            ):
                yield Made(_filled(text, one.text), way(e, one.value), cost + one.cost)


def softmaxes(e: np.ndarray, atoms: list[Atom]) -> Iterator[Made]:
    """The softmax's backward pass V (W - sum V W) of two names that have E's shape, or of one and E."""
    same = [atom for atom in atoms if atom.value.shape == e.shape] if e.size > 1 else []
    for v in same:
        for w in [*(one for one in same if one is not v), Atom(HERE, e, -0.1)]:
            product = v.value * w.value
            for reduced, _, total in _reductions(f"({v.text} * {w.text})", product):
                if ".mean" in reduced or (e.ndim > 1 and total.ndim == 0):
                    continue
                yield Made(f"{v.text} * ({w.text} - {reduced})", v.value * (w.value - total), 1.6 + v.cost + w.cost)


def changes(e: np.ndarray, atoms: list[Atom], dearest: float = 9.0) -> Iterator[Made]:
    """Other values for E; of another shape, too. Templates that cost more than `dearest` are left out."""
    square = e.ndim == 2 and e.shape[0] == e.shape[1]
    for text, cost, way in (*_UNARY, *(_MATRIX if square else _MATRIX[:1] if e.ndim == 2 else ())):
        if cost > dearest:
            continue
        try:
            yield Made(_filled(text), np.asarray(way(e)), cost)
        except (np.linalg.LinAlgError, IndexError, ValueError):
            continue
    if e.ndim >= 1 and e.size > 1:
        for text, _, value in _reductions(HERE, e):
            yield Made(text, value, 1.3)
            if _like(value, e) is not None:
                yield Made(f"{HERE} - {text}", e - value, 1.3)
    for atom in atoms:
        for one in _spread(atom, e) if e.ndim else [atom]:
            for text, cost, both in _BINARY:
                if cost > dearest:
                    continue
                if atom.counts and ("+" in text or "-" in text):
                    continue
                if text[0] != "V" or one.value.shape == e.shape:
                    dear = _ZERO if "/ V" in text and not e.all() else 0.0
                    yield Made(_filled(text, one.text), both(e, one.value), cost + one.cost + dear)
        if e.ndim and atom.value.ndim and atom.value.ndim <= 2 and e.ndim <= 2:
            for text, cost, both in _PRODUCTS:
                if cost > dearest:
                    continue
                if "outer" in text and (e.ndim != 1 or atom.value.ndim != 1):
                    continue
                try:
                    yield Made(_filled(text, atom.text), both(e, atom.value), cost + atom.cost)
                except (ValueError, np.linalg.LinAlgError):
                    continue


def _filled(template: str, v: str = "") -> str:
    """A template's text with names in the place of E and V."""
    return template.replace("E", HERE).replace("V", v)


def terms(e: np.ndarray, atoms: list[Atom], loss: Iterable[Atom] = ()) -> Iterator[Made]:
    """What may be added to E, times a number; each of E's shape, or one that broadcasts to it."""
    for made in (*_all_terms(e, atoms), *_of_loss(e, loss)):
        value = _like(made.value, e)
        if value is not None and np.isfinite(value).all() and value.any():
            yield Made(made.text, value, made.cost)


def _of_loss(e: np.ndarray, loss: Iterable[Atom]) -> Iterator[Made]:
    for atom in loss:
        yield Made(f"({atom.text})", atom.value, 1.8 + atom.cost)
        yield Made(f"np.exp({atom.text})", np.exp(atom.value), 2.0 + atom.cost)


def _all_terms(e: np.ndarray, atoms: list[Atom]) -> Iterator[Made]:
    atoms = [atom for atom in atoms if not atom.counts]
    if e.size > 1:
        for text, _, value in _reductions(HERE, e):
            yield Made(text, value, 1.3)
    beside = [one for atom in atoms for one in _spread(atom, e)]
    for v in beside:
        yield Made(v.text, v.value, 1.4 + v.cost)
        yield Made(f"{v.text} ** 2", v.value**2, 1.7 + v.cost)
        yield Made(f"np.sign({v.text})", np.sign(v.value), 1.7 + v.cost)
    if e.ndim == 2 and e.shape[0] == e.shape[1] > 1:
        yield Made(_filled("np.eye(len(E))"), np.eye(len(e)), 1.7)
    yield Made("1", np.ones(()), 1.6)
    same = [v for v in beside if v.value.shape == e.shape][:_SAME]
    for v in same if e.size > 1 else []:
        yield from _weighted(v, HERE, e, 1.4)
        for w in same:
            yield from _weighted(v, w.text, w.value, 1.8)
    for n, v in enumerate(beside[:_BESIDE]):
        for w in beside[n:_BESIDE]:
            yield Made(f"{v.text} * {w.text}", v.value * w.value, 1.7 + v.cost + w.cost)
    for atom in atoms:
        if atom.value.ndim == e.ndim + 1 <= 3:
            for axis in range(atom.value.ndim):
                for way, name in ((np.sum, "sum"), (np.mean, "mean")):
                    value = way(atom.value, axis=axis)
                    if value.shape == e.shape:
                        yield Made(f"{atom.text}.{name}(axis={axis})", value, 1.6)
    flat = [atom for atom in atoms if atom.value.ndim in (1, 2)]
    for v in flat:
        for w in flat:
            yield from _multiplied(v, w, e)
    yield from _paths(e, flat)
    for v in same:
        for w in same:
            for u in same:
                if u.text >= w.text and e.size > 1:
                    yield from _centred(v, w, u)


def _weighted(v: Atom, text: str, w: np.ndarray, cost: float) -> Iterator[Made]:
    """The mean of W under the weights V, and V times it or a sum of W."""
    product = v.value * w
    for reduced, _, value in _reductions(f"({v.text} * {text})", product):
        yield Made(reduced, value, cost)
        yield Made(f"{v.text} * {reduced}", v.value * value, cost)
    for reduced, _, value in _reductions(text, w):
        yield Made(f"{v.text} * {reduced}", v.value * value, cost)


def _centred(v: Atom, w: Atom, u: Atom) -> Iterator[Made]:
    for reduced, _, value in _reductions(f"({w.text} * {u.text})", w.value * u.value):
        yield Made(f"{v.text} * {reduced}", v.value * value, 2.0)


def _paths(e: np.ndarray, flat: list[Atom]) -> Iterator[Made]:
    """What comes back through a layer of values U: X^T (B h'), with a product B, and h' = U (1 - U), 1 - U^2 or [U > 0]."""
    if e.ndim != 2:
        return
    layers = [atom for atom in flat if atom.value.ndim == 2][:6]
    for u in layers:
        back: list[tuple[str, np.ndarray]] = [
            (one.text, one.value) for one in layers if one.value.shape == u.value.shape
        ]
        for v in layers:
            for w in layers:
                for right, y in ((w.text, w.value), (f"{w.text}.T", w.value.T)):
                    if v.value.shape[1] == y.shape[0] and (v.value.shape[0], y.shape[1]) == u.value.shape:
                        back.append((f"({v.text} @ {right})", v.value @ y))
        slopes = (
            (f"{u.text} * (1 - {u.text})", u.value * (1 - u.value)),
            (f"(1 - {u.text} ** 2)", 1 - u.value**2),
            (f"({u.text} > 0)", (u.value > 0) + 0.0),
        )
        for text, value in back[:_BACK]:
            for slope, gate in slopes:
                for x in layers:
                    if x.value.shape[0] == u.value.shape[0] and (x.value.shape[1], u.value.shape[1]) == e.shape:
                        yield Made(f"{x.text}.T @ ({text} * {slope})", x.value.T @ (value * gate), 2.2)


def _multiplied(v: Atom, w: Atom, e: np.ndarray) -> Iterator[Made]:
    """Matrix and outer products of two names that have E's shape."""
    a, b = v.value, w.value
    if a.ndim == b.ndim == 1:
        if e.ndim == 2 and e.shape == (a.size, b.size):
            yield Made(f"np.outer({v.text}, {w.text})", np.outer(a, b), 1.6)
        return
    for left, x in ((v.text, a), (f"{v.text}.T", a.T)) if a.ndim == 2 else ((v.text, a),):
        for right, y in ((w.text, b), (f"{w.text}.T", b.T)) if b.ndim == 2 else ((w.text, b),):
            if x.shape[-1] == y.shape[0] and x.shape[:-1] + y.shape[1:] == e.shape:
                yield Made(f"{left} @ {right}", x @ y, 1.6)
