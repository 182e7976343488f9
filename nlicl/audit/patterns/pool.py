"""Arrays that may stand in a gradient: what the function has, functions of them, their products and sums.

They are made in order of complexity, at one point after the other, and only up to a number of operations.
"""

from collections.abc import Callable, Iterator
from itertools import chain, combinations, product
from math import prod

import numpy as np

from .fit import Points
from .made import Made, fixed
from .rules import rules

__all__ = ["Pool", "spread"]

Arrays = Callable[[int], np.ndarray]
Product = Callable[[np.ndarray, np.ndarray], np.ndarray]

_BASES = 24  # arrays of the function
_DERIVED = 24  # products of two of them, such as X @ w
_DIFFERENCES = 30
_CLASSES = 64  # of labels
_WORK = 6e7  # multiplications at one point
_STEP = 4000  # what making an array costs besides, in multiplications


Finish = Callable[[Made], Made]


def _positive(a: np.ndarray) -> np.ndarray:
    return np.asarray(a > 0, float)


def _closed(a: np.ndarray) -> np.ndarray:
    return np.asarray(a <= 0, float)


def _sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-a)))


def _softmax(a: np.ndarray) -> np.ndarray:
    e = np.exp(a - a.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


_FUNCTIONS: tuple[tuple[str, Callable[[np.ndarray], np.ndarray], float], ...] = (
    ("[{} > 0]", _positive, 0.5),
    ("[{} <= 0]", _closed, 0.6),
    ("(1 - {})", lambda a: 1 - a, 0.6),
    ("(1 - {}^2)", lambda a: 1 - a * a, 0.7),
    ("{} (1 - {})", lambda a: a * (1 - a), 0.7),
    ("{}^2", lambda a: a * a, 0.6),
    ("1/{}", lambda a: 1 / a, 0.6),
    ("exp({})", np.exp, 0.7),
    ("sigmoid({})", _sigmoid, 0.8),
    ("sigmoid(-{})", lambda a: _sigmoid(-a), 0.8),
    ("tanh({})", np.tanh, 0.8),
    ("(1 - tanh({})^2)", lambda a: 1 - np.tanh(a) ** 2, 0.9),
    ("sign({})", np.sign, 0.7),
    ("|{}|", abs, 0.7),
    ("max({}, 0)", lambda a: np.maximum(a, 0), 0.7),
    ("1/{}^2", lambda a: 1 / (a * a), 0.9),
    ("sqrt({})", np.sqrt, 0.9),
    ("log({})", np.log, 0.9),
    ("softmax({})", _softmax, 0.8),
)


class Pool:
    """What can be made of the arrays that the function has where `p` was seen.

    Parameters
    ----------
    p : Points
    name : str
        The argument whose gradient is looked at.
    """

    def __init__(self, p: Points, name: str) -> None:
        self.p, self.target = p, p.shape
        self.constants: dict[str, float] = {}
        self._keys: set[tuple[bytes, ...]] = set()
        self._plans: dict[tuple[int, ...], list[Finish]] = {}
        self.bases = [made for made in self._given(name) if self._new(made)][:_BASES]
        self.bases += [made for made in chain(self._labels(), rules(self.bases, len(p))) if self._new(made)][:_DERIVED]
        self.bases += [made for made in self._products() if self._new(made)][:_DERIVED]
        self.simple = list(self.bases)
        for made in self.bases:
            for text, function, cost in _FUNCTIONS:
                if made.shape or "softmax" not in text:
                    self.simple += filter(self._new, [self._of(made, text, function, cost)])
        differences = [made for made in self._differences() if self._new(made)]
        self.simple += differences[:_DIFFERENCES]
        self.tried = 0

    # -- what there is

    def _given(self, name: str) -> Iterator[Made]:
        """The arguments and what else the function has; numbers that are the same everywhere are kept apart."""
        p = self.p
        yield fixed(name, p.x, 0.0)
        for other in p.others[0]:
            yield fixed(other, [np.asarray(others[other][1], float) for others in p.others], 0.0)
        for held in p.held[0]:
            arrays = [np.asarray(one[held], float) for one in p.held if held in one]
            if len(arrays) < len(p) or any(array.shape != arrays[0].shape for array in arrays):
                continue
            if arrays[0].size == 1 and all(array.item() == arrays[0].item() for array in arrays):
                self.constants.setdefault(held, float(arrays[0].item()))
            elif not self._is_given(arrays):
                yield fixed(held, arrays, 0.1)
                if arrays[0].ndim == 3 and p.given[0].ndim < 3:  # batches of sequences, say
                    wide = arrays[0].shape[-1]
                    flat = [array.reshape(-1, wide) for array in arrays]
                    yield fixed(f"{held}.reshape(-1, {wide})", flat, 0.2)

    def _is_given(self, arrays: list[np.ndarray]) -> bool:
        """Whether it is the gradient itself, up to a factor: that explains nothing."""
        for array, given in zip(arrays, self.p.given, strict=True):
            if array.size != given.size or array.size < 2:
                return array.size == given.size == 1
            one, other = array.ravel(), given.ravel()
            if abs(one @ other) < (1 - 1e-9) * np.sqrt((one @ one) * (other @ other)):
                return False
        return True

    def _new(self, made: Made) -> bool:
        """Whether no array before it has these values, it is finite and it is not one number."""
        try:
            arrays = [np.asarray(made.at(k), float) for k in range(len(self.p))]
        except (ValueError, IndexError):
            return False
        if not all(np.isfinite(array).all() for array in arrays):
            return False
        if all((array == array.flat[0]).all() for array in arrays) and (arrays[0].ndim or made.gate):
            return False
        key = tuple(array.tobytes() + str(array.shape).encode() for array in arrays)
        if key in self._keys:
            return False
        self._keys.add(key)
        return True

    def _labels(self) -> Iterator[Made]:
        """Labels of classes as indicators."""
        for held, first in self.p.held[0].items():
            if first.dtype.kind == "i" and first.ndim == 1 and 0 <= first.min() and 1 <= first.max() < _CLASSES:
                for classes in {n for made in self.bases for n in made.shape if first.max() < n <= _CLASSES}:
                    eye = np.eye(classes)
                    arrays = [eye[one[held]] for one in self.p.held]
                    yield fixed(f"onehot({held})", arrays, 0.3)

    def _products(self) -> Iterator[Made]:
        """Matrices of the function times arguments and others: X @ w."""
        for one, other in product(self.bases, repeat=2):
            if len(one.shape) == 2 and len(other.shape) in (1, 2) and one is not other:
                for text, function in (("{} @ {}", _matmul), ("{} @ {}^T", _matmul_transposed)):
                    if _shape(function, one.shape, other.shape) is not None:
                        arrays = [function(one.at(k), other.at(k)) for k in range(len(self.p))]
                        yield fixed(text.format(one.bracketed, other.bracketed), arrays, one.cost + other.cost + 0.6)

    def _differences(self) -> Iterator[Made]:
        for one, other in combinations([made for made in self.bases if made.shape], 2):
            if one.shape == other.shape:
                arrays = [one.at(k) - other.at(k) for k in range(len(self.p))]
                yield fixed(f"({one.text} - {other.text})", arrays, one.cost + other.cost + 0.8)

    def _of(self, made: Made, text: str, function: Callable[[np.ndarray], np.ndarray], cost: float) -> Made:
        arrays = [np.asarray(function(made.at(k)), float) for k in range(len(self.p))]
        gate = "> 0" in text or "<= 0" in text
        return fixed(text.format(*[made.bracketed] * 2), arrays, made.cost + cost, gate)

    # -- what is made of it

    def of_shape(self) -> Iterator[Made]:
        """Arrays of the gradient's shape, and those of one row or column, which stand beside every entry."""
        for made in self.simple:
            yield from spread(made, self.target)

    def terms(self) -> Iterator[Made]:
        """Arrays of the gradient's shape: a product of up to three, summed where the shapes ask for it."""
        work = 0.0
        for made in chain(self.simple, self._pairs()):
            for finish in self._ways(made.shape):
                work += _STEP + prod(made.shape) + prod(self.target) * max([1, *made.shape]) / 4
                if work > _WORK:
                    return
                self.tried += 1
                yield finish(made)

    def _pairs(self) -> Iterator[Made]:
        """Products entry by entry of an array and another, or a function of it, of which a gradient can be made."""
        for n, one in enumerate(self.bases):
            for m, other in enumerate(self.simple):
                if m > n or m >= len(self.bases):
                    yield from _entrywise(one, other, lambda shape: bool(self._ways(shape)))

    def _ways(self, shape: tuple[int, ...]) -> list[Finish]:
        """How an array of the gradient's shape is made of one of this shape."""
        if shape not in self._plans:
            self._plans[shape] = list(self._finishes(shape))
        return self._plans[shape]

    def _finishes(self, shape: tuple[int, ...]) -> Iterator[Finish]:
        target = self.target
        if shape == target:
            yield lambda made: made
        elif prod(shape) == prod(target) == 1 or (len(shape) == 1 and len(target) == 2):
            for n in range(len(list(spread(fixed("", [np.zeros(shape)], 0.0), target)))):
                yield lambda made, n=n: list(spread(made, target))[n]  # type: ignore[misc]
        if len(shape) == 2 and shape[::-1] == target:
            yield lambda made: _changed(made, f"{made.bracketed}^T", np.transpose, target)
        for axis in range(len(shape)):
            if len(shape) > 1 and shape[:axis] + shape[axis + 1 :] == target:
                yield lambda made, axis=axis: _changed(  # type: ignore[misc]
                    made, f"the sum of {made.text} over axis {axis}", lambda a: a.sum(axis), target
                )
        if prod(target) == 1 and prod(shape) > 1:
            yield lambda made: _changed(made, f"the sum of {made.text}", lambda a: a.sum().reshape(target), target)
        if len(shape) in (1, 2) and len(target) in (1, 2):
            for other in self.bases:
                yield from _contractions(other, shape, target)


def spread(made: Made, target: tuple[int, ...]) -> Iterator[Made]:
    """An array as it may stand beside every entry of an array of shape `target`."""
    if made.shape == target or prod(made.shape) == 1:
        full = target if made.shape == target else (1,) * len(target)
        yield Made(made.text, lambda k: made.at(k).reshape(full), full, made.cost, made.gate)
    elif len(made.shape) == 1:
        for axis in range(len(target)):
            if target[axis] == made.shape[0]:
                full = tuple(-1 if a == axis else 1 for a in range(len(target)))
                where = f" by {('row', 'column')[axis]}" if len(target) == 2 else f" along axis {axis}"
                text = made.text + where
                yield Made(text, _reshaped(made, full), target, made.cost + 0.2, made.gate)


def _changed(made: Made, text: str, function: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> Made:
    return Made(text, lambda k: np.asarray(function(made.at(k))), shape, made.cost + 0.4, made.gate)


def _matmul(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(one @ other)


def _matmul_transposed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(one @ other.T)


def _transposed_matmul(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(one.T @ other)


def _outer(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.multiply.outer(one, other)


_MATMULS = (("{} @ {}", _matmul), ("{}^T @ {}", _transposed_matmul), ("{} @ {}^T", _matmul_transposed))


def _shape(function: Product, rows: tuple[int, ...], columns: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of a matrix product; None if there is none. A vector has no transpose."""
    turned = rows if function is _transposed_matmul else columns if function is _matmul_transposed else (1, 1)
    if not rows or not columns or len(turned) < 2 or len(rows) < len(columns):  # v @ X is X^T @ v
        return None
    rows = rows[::-1] if function is _transposed_matmul else rows
    columns = columns[::-1] if function is _matmul_transposed else columns
    return rows[:-1] + columns[1:] if rows[-1] == columns[0] else None


def _contractions(one: Made, shape: tuple[int, ...], target: tuple[int, ...]) -> Iterator[Finish]:
    """Products with one array, in either order, that have the shape `target`."""
    for first in (True, False):
        pair = (one.shape, shape) if first else (shape, one.shape)
        if len(one.shape) == len(shape) == 1 and one.shape + shape == target:
            yield _multiplying("outer({}, {})", _outer, one, first, target)
        for text, function in _MATMULS:
            found = _shape(function, *pair)
            if found == target or (found == () and prod(target) == 1 and first):
                yield _multiplying(text, function, one, first, target)


def _multiplying(text: str, function: Product, one: Made, first: bool, target: tuple[int, ...]) -> Finish:
    def finish(other: Made) -> Made:
        a, b = (one, other) if first else (other, one)
        words = text.format(a.text, b.text) if function is _outer else text.format(a.bracketed, b.bracketed)
        cost = a.cost + b.cost + 0.6
        return Made(words, lambda k: function(a.at(k), b.at(k)).reshape(target), target, cost, a.gate or b.gate)

    return finish


def _entrywise(one: Made, other: Made, useful: Callable[[tuple[int, ...]], bool]) -> Iterator[Made]:
    """Products entry by entry, of a useful shape, along rows or columns too."""
    cost, gate = one.cost + other.cost + 0.5, one.gate or other.gate
    if one.shape == other.shape or not one.shape or not other.shape:
        shape = one.shape or other.shape
        if shape and useful(shape):
            text = f"{one.bracketed} * {other.bracketed}"
            yield Made(text, lambda k: one.at(k) * other.at(k), shape, cost, gate)
        return
    for wide, narrow in ((one, other), (other, one)):
        if len(wide.shape) == 2 and len(narrow.shape) == 1 and useful(wide.shape):
            text = f"{wide.bracketed} * {narrow.bracketed}"
            if wide.shape[0] == narrow.shape[0]:
                yield Made(f"{text}[:, None]", _by_rows(wide, narrow), wide.shape, cost, gate)
            if wide.shape[1] == narrow.shape[0]:
                yield Made(text, _by_columns(wide, narrow), wide.shape, cost, gate)


def _by_rows(wide: Made, narrow: Made) -> Arrays:
    return lambda k: wide.at(k) * narrow.at(k)[:, None]


def _by_columns(wide: Made, narrow: Made) -> Arrays:
    return lambda k: wide.at(k) * narrow.at(k)


def _reshaped(made: Made, full: tuple[int, ...]) -> Arrays:
    return lambda k: made.at(k).reshape(full)
