"""Arrays that a function has not named: scores X @ w, predictions of them, residuals, and what is handed back."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np

from .made import FUNCTIONS, Made, fixed, made_of, matmul, matmul_transposed, product_shape

__all__ = ["biased", "differences", "labels", "margins", "predictions", "products", "signals"]

_CLASSES = 64  # of labels
_PREDICTIONS = ("exp({})", "sigmoid({})", "tanh({})", "max({}, 0)", "softmax({})")

Pairs = Sequence[Made]


def labels(held: Sequence[dict[str, np.ndarray]], bases: Pairs) -> Iterator[Made]:
    """Labels of classes as indicators, for the numbers of classes that occur as sizes."""
    sizes = {n for made in bases for n in made.shape}
    for name, first in held[0].items():
        if first.dtype.kind == "i" and first.ndim == 1 and first.min() >= 0 and 1 <= first.max() < _CLASSES:
            for classes in sorted(n for n in sizes if first.max() < n <= _CLASSES):
                if all(name in one and one[name].max() < classes for one in held):
                    yield fixed(f"onehot({name})", [np.eye(classes)[one[name]] for one in held], 0.3)


def products(left: Pairs, right: Pairs, points: int) -> Iterator[Made]:
    """Matrices times vectors and matrices: X @ w, D @ W^T."""
    for one, other in product(left, right):
        if len(one.shape) == 2 and len(other.shape) in (1, 2) and one is not other:
            for text, function in (("{} @ {}", matmul), ("{} @ {}^T", matmul_transposed)):
                if product_shape(function, one.shape, other.shape) is not None:
                    arrays = [function(one.at(k), other.at(k)) for k in range(points)]
                    yield fixed(text.format(one.bracketed, other.bracketed), arrays, one.cost + other.cost + 0.4)


def biased(scores: Pairs, arguments: Pairs, points: int) -> Iterator[Made]:
    """X @ W + b."""
    for score, bias in product(scores, arguments):
        if bias.shape == score.shape[1:] or bias.shape in ((1,), ()):
            arrays = [score.at(k) + bias.at(k) for k in range(points)]
            yield fixed(f"({score.text} + {bias.text})", arrays, score.cost + bias.cost + 0.3)


def predictions(scores: Pairs, points: int) -> Iterator[Made]:
    """The usual functions of scores."""
    for text, function, cost in FUNCTIONS:
        if text in _PREDICTIONS:
            for score in scores:
                yield made_of(score, text, function, cost, points)


def differences(left: Pairs, right: Pairs, points: int) -> Iterator[Made]:
    """Residuals: predictions less what they should be."""
    for one, other in product(left, right):
        if one.shape and one.shape == other.shape and one is not other:
            arrays = [one.at(k) - other.at(k) for k in range(points)]
            yield fixed(f"({one.text} - {other.text})", arrays, one.cost + other.cost + 0.4)


def margins(scores: Pairs, others: Pairs, points: int) -> Iterator[Made]:
    """Labels times scores."""
    for one, other in product(others, scores):
        if one.shape and one.shape == other.shape and one is not other:
            arrays = [one.at(k) * other.at(k) for k in range(points)]
            yield fixed(f"{one.bracketed} * {other.bracketed}", arrays, one.cost + other.cost + 0.4)


def signals(vectors: Pairs, shapes: set[tuple[int, ...]], points: int, new: Callable[[Made], bool]) -> Iterator[Made]:
    """outer(e, v), if it is of the shape of a layer."""
    for one, other in product(vectors, repeat=2):
        if len(one.shape) == len(other.shape) == 1 and one is not other and one.shape + other.shape in shapes:
            arrays = [np.multiply.outer(one.at(k), other.at(k)) for k in range(points)]
            made = fixed(f"outer({one.text}, {other.text})", arrays, one.cost + other.cost + 0.4)
            if new(made):
                yield made
