"""Arrays that may stand in a gradient: what the function has, functions of them, their products and sums.

They are made in order of complexity, at one point after the other, and only up to a number of operations.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice, pairwise
from math import prod

import numpy as np

from .fit import Points
from .grown import biased, differences, labels, margins, predictions, products, signals
from .made import FUNCTIONS, Made, Product, fixed, made_of, matmul, matmul_transposed, product_shape, transposed_matmul
from .rules import rules

__all__ = ["Pool", "spread"]

Arrays = Callable[[int], np.ndarray]

_BASES = 24  # arrays of the function
_FEW = 24  # arrays of one kind that are made of them
_NAMED = 0.3  # complexity of what has a name
_CHANGE, _PRODUCT, _ENTRYWISE = 0.4, 0.6, 0.5  # complexity of a transposition or sum, and of products
_LEVELS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0)  # of complexity
_WORK = 3e7  # multiplications at one point
_STEP = 4000  # what making an array costs besides, in multiplications
_LOOK = 200  # and what it costs to find that none is made


Finish = Callable[[Made], Made]
Pair = tuple[float, tuple[int, ...], Callable[[], Made]]  # complexity, shape, and what makes it


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
        self._keys: set[tuple[bytes, ...]] = set()
        self._plans: dict[tuple[int, ...], tuple[list[float], list[Finish]]] = {}
        self.bases = self._grown(name)
        simple = list(self.bases)
        for made in self.bases:
            for text, function, cost in FUNCTIONS:
                if made.shape or "softmax" not in text:
                    simple += filter(self._new, [made_of(made, text, function, cost, len(p))])
        named = [made for made in self.bases if made.cost <= _NAMED]
        simple += self._first(differences(self.bases, named, len(p)), _FEW)
        self.simple = sorted(simple, key=lambda made: made.cost)
        self._by_shape: dict[tuple[int, ...], tuple[list[float], list[Made]]] = {}
        for made in self.simple:
            costs, alike = self._by_shape.setdefault(made.shape, ([], []))
            costs.append(made.cost)
            alike.append(made)
        self._numbers = {id(made): n for n, made in enumerate(self.bases)}
        self.tried = 0
        self._work = 0.0

    # -- what there is

    def _grown(self, name: str) -> list[Made]:
        """What the function has, and what it may have computed on the way: the simplest first."""
        points = len(self.p)
        given = self._first(self._given(name), _BASES)
        given += self._first(labels(self.p.held, given), _FEW)
        arguments = given[: 1 + len(self.p.others[0])]
        given += self._first(rules(given, points), _FEW)
        scores = self._first(products(given, given, points), _FEW)
        scores += self._first(biased(scores, arguments, points), _FEW)
        own = [made for made in scores if made.cost <= _NAMED + 0.8]
        values = self._first(predictions(own, points), _FEW)
        second = self._first(products(values, arguments, points), _FEW)
        rest = self._first(differences(values + scores + second, given, points), _FEW)
        rest += self._first(margins(own, given, points), _FEW)
        layers: set[tuple[int, ...]] = {made.shape for made in given + scores if len(made.shape) == 2}
        back = self._first(signals(given + rest, layers, points, self._new), _FEW, known=True)
        back += self._first(rules([*given, *scores, *values], points), _FEW)
        return sorted([*given, *scores, *values, *second, *rest, *back], key=lambda made: made.cost)

    def _first(self, made: Iterator[Made], most: int, known: bool = False) -> list[Made]:
        """The first new ones."""
        return list(islice(made if known else filter(self._new, made), most))

    def _given(self, name: str) -> Iterator[Made]:
        """The arguments and what else the function has, but numbers that are the same everywhere."""
        p = self.p
        yield fixed(name, p.x, 0.0)
        for other in p.others[0]:
            yield fixed(other, [np.asarray(others[other][1], float) for others in p.others], 0.0)
        for held in p.held[0]:
            arrays = [np.asarray(one[held], float) for one in p.held if held in one]
            if len(arrays) < len(p) or any(array.shape != arrays[0].shape for array in arrays):
                continue
            steady = arrays[0].size == 1 and all(array.item() == arrays[0].item() for array in arrays)
            if not steady and not self._is_given(arrays):
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

    # -- what is made of it

    def of_shape(self) -> Iterator[Made]:
        """Arrays of the gradient's shape, and those of one row or column, which stand beside every entry."""
        for made in self.simple:
            yield from spread(made, self.target)

    def levels(self) -> Iterator[Iterator[Made]]:
        """Arrays of the gradient's shape, level by level of complexity.

        They are products of up to three arrays, summed where the shapes ask for it.
        """
        for low, high in pairwise((-1.0, *_LEVELS)):
            if self._work <= _WORK:
                yield self._terms(low, high)

    def _terms(self, low: float, high: float) -> Iterator[Made]:
        singles = ((made.cost, made.shape, lambda made=made: made) for made in self.simple)
        for cost, shape, make in chain(singles, self._pairs(high)):
            costs, finishes = self._ways(shape)
            chosen = finishes[bisect_right(costs, low - cost) : bisect_right(costs, high - cost)]
            self._work += _LOOK
            made = make() if chosen else None
            for finish in chosen:
                self._work += _STEP + prod(shape) + prod(self.target) * max([1, *shape]) / 4
                if self._work > _WORK:
                    return
                self.tried += 1
                assert made is not None
                yield finish(made)

    def _pairs(self, most: float) -> Iterator[Pair]:
        """Products entry by entry of an array and another, or a function of it, of which a gradient can be made."""
        for n, one in enumerate(self.bases):
            for shape, (costs, others) in self._by_shape.items():
                found = [(full, way) for full, way in _entrywise(one.shape, shape) if self._ways(full)[0]]
                for other in others[: bisect_right(costs, most - one.cost - _ENTRYWISE)] if found else ():
                    if self._numbers.get(id(other), n) >= n:
                        for full, way in found:
                            yield one.cost + other.cost + _ENTRYWISE, full, partial(_paired, one, other, full, way)

    def _ways(self, shape: tuple[int, ...]) -> tuple[list[float], list[Finish]]:
        """How an array of the gradient's shape is made of one of this shape, with what that costs, the simplest first."""
        if shape not in self._plans:
            ways = sorted(self._finishes(shape), key=lambda way: way[0])
            self._plans[shape] = [cost for cost, _ in ways], [finish for _, finish in ways]
        return self._plans[shape]

    def _finishes(self, shape: tuple[int, ...]) -> Iterator[tuple[float, Finish]]:
        target = self.target
        if shape == target:
            yield 0.0, lambda made: made
        elif prod(shape) == prod(target) == 1 or (len(shape) == 1 and len(target) == 2):
            for n in range(len(list(spread(fixed("", [np.zeros(shape)], 0.0), target)))):
                yield 0.2, lambda made, n=n: list(spread(made, target))[n]  # type: ignore[misc]
        if len(shape) == 2 and shape[::-1] == target:
            yield _CHANGE, lambda made: _changed(made, lambda: f"{made.bracketed}^T", np.transpose, target)
        for axis in range(len(shape)):
            if len(shape) > 1 and shape[:axis] + shape[axis + 1 :] == target:
                yield (
                    _CHANGE,
                    lambda made, axis=axis: _changed(  # type: ignore[misc]
                        made, lambda: f"the sum of {made.text} over axis {axis}", lambda a: a.sum(axis), target
                    ),
                )
        if prod(target) == 1 and prod(shape) > 1:
            yield (
                _CHANGE,
                lambda made: _changed(
                    made, lambda: f"the sum of {made.text}", lambda a: a.sum().reshape(target), target
                ),
            )
        if len(shape) in (1, 2) and len(target) in (1, 2):
            for other in self.bases:
                yield from _contractions(other, shape, target)


def spread(made: Made, target: tuple[int, ...]) -> Iterator[Made]:
    """An array as it may stand beside every entry of an array of shape `target`."""
    if made.shape == target or prod(made.shape) == 1:
        full = target if made.shape == target else (1,) * len(target)
        yield Made(made.write, lambda k: made.at(k).reshape(full), full, made.cost, made.gate)
    elif len(made.shape) == 1:
        for axis in range(len(target)):
            if target[axis] == made.shape[0]:
                full = tuple(-1 if a == axis else 1 for a in range(len(target)))
                where = f" by {('row', 'column')[axis]}" if len(target) == 2 else f" along axis {axis}"
                yield Made(_behind(made, where), _reshaped(made, full), target, made.cost + 0.2, made.gate)


def _behind(made: Made, text: str) -> Callable[[], str]:
    return lambda: made.text + text


def _changed(
    made: Made, write: Callable[[], str], function: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]
) -> Made:
    return Made(write, lambda k: np.asarray(function(made.at(k))), shape, made.cost + _CHANGE, made.gate)


def _outer(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.multiply.outer(one, other)


_MATMULS = (("{} @ {}", matmul), ("{}^T @ {}", transposed_matmul), ("{} @ {}^T", matmul_transposed))


def _contractions(one: Made, shape: tuple[int, ...], target: tuple[int, ...]) -> Iterator[tuple[float, Finish]]:
    """Products with one array, in either order, that have the shape `target`."""
    for first in (True, False):
        pair = (one.shape, shape) if first else (shape, one.shape)
        if len(one.shape) == len(shape) == 1 and one.shape + shape == target:
            yield one.cost + _PRODUCT, _multiplying("outer({}, {})", _outer, one, first, target)
        for text, function in _MATMULS:
            found = product_shape(function, *pair)
            if found == target or (found == () and prod(target) == 1 and first):
                yield one.cost + _PRODUCT, _multiplying(text, function, one, first, target)


def _multiplying(text: str, function: Product, one: Made, first: bool, target: tuple[int, ...]) -> Finish:
    def finish(other: Made) -> Made:
        a, b = (one, other) if first else (other, one)

        def write() -> str:
            return text.format(a.text, b.text) if function is _outer else text.format(a.bracketed, b.bracketed)

        cost = a.cost + b.cost + _PRODUCT
        return Made(write, lambda k: function(a.at(k), b.at(k)).reshape(target), target, cost, a.gate or b.gate)

    return finish


def _entrywise(one: tuple[int, ...], other: tuple[int, ...]) -> list[tuple[tuple[int, ...], str]]:
    """The shapes of products entry by entry, and whether one of the two stands by rows."""
    if one == other or not one or not other:
        return [(one or other, "")] if one or other else []
    wide, narrow = (one, other) if len(one) > len(other) else (other, one)
    if len(wide) != 2 or len(narrow) != 1:
        return []
    ways = ["rows"] * (wide[0] == narrow[0]) + [""] * (wide[1] == narrow[0])
    return [(wide, way) for way in ways]


def _paired(one: Made, other: Made, shape: tuple[int, ...], way: str) -> Made:
    cost, gate = one.cost + other.cost + _ENTRYWISE, one.gate or other.gate
    if not way:
        return Made(
            lambda: f"{one.bracketed} * {other.bracketed}", lambda k: one.at(k) * other.at(k), shape, cost, gate
        )
    wide, narrow = (one, other) if len(one.shape) == 2 else (other, one)
    text = "{} * {}[:, None]"
    return Made(
        lambda: text.format(wide.bracketed, narrow.bracketed),
        lambda k: wide.at(k) * narrow.at(k)[:, None],
        shape,
        cost,
        gate,
    )


def _reshaped(made: Made, full: tuple[int, ...]) -> Arrays:
    return lambda k: made.at(k).reshape(full)
