"""The binary linear-attention classifier of Frei and Vardi 2024, the special case of one merged head with fixed values.

W^V = e_{D+1} e_{D+1}^T stays, W = U is trained by the logistic loss of z = p^T W x_query, p = (1/N) sum_n y_n x_n [derived]. A
task has mu uniform on the sphere of radius R, labels +-1 alike, x = y mu + N(0, I); labels are flipped with a probability
[source]. In evaluation both accuracies count flipped labels; the in-context one predicts the contexts, with inputs scaled to
norm 1 and all contexts in p [source].
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.seeds import Part, generator
from ...papers.zhang2025.seeds import Purpose, Test

__all__ = [
    "CONTEXTS",
    "RATE",
    "TRAINED",
    "Tasks",
    "accuracies",
    "descend",
    "drawn",
    "first_step",
    "gradient",
    "trained",
]

Array = NDArray[np.float64]
RATE, TRAINED, CONTEXTS = 0.01, 40, 19  # eta; contexts in training and in evaluation, "sequence length 20" [source]
_AT_ONCE = 250  # tasks that are held in evaluation


class Tasks(NamedTuple):
    """Tasks of the classifier: inputs x (B, N, d), labels y (B, N) of the contexts; query (B, d) and its label (B,)."""

    x: Array
    y: Array
    query: Array
    label: Array

    @property
    def p(self) -> Array:
        """(1/N) sum_n y_n x_n, (B, d)."""
        found: Array = np.einsum("bn,bnd->bd", self.y, self.x) / self.y.shape[1]
        return found


def drawn(rng: np.random.Generator, B: int, N: int, d: int, R: float, flipped: float = 0.0) -> Tasks:
    """B tasks with N contexts and a query in d dimensions; labels are flipped with probability `flipped`."""
    mu = rng.standard_normal((B, 1, d))
    mu *= R / np.linalg.norm(mu, axis=2, keepdims=True)
    y = rng.choice([-1.0, 1.0], (B, N + 1))
    x = y[:, :, None] * mu + rng.standard_normal((B, N + 1, d))
    y = np.where(rng.random((B, N + 1)) < flipped, -y, y)
    return Tasks(x[:, :-1], y[:, :-1], x[:, -1], y[:, -1])


def first_step(tasks: Tasks, rate: float = RATE) -> Array:
    """W after the first step from 0: (rate / (2B)) sum over tasks of y_query p x_query^T [derived]."""
    return rate / (2 * len(tasks.label)) * (tasks.label[:, None] * tasks.p).T @ tasks.query


def gradient(W: Array, tasks: Tasks) -> tuple[float, Array]:
    """The mean logistic loss at W, and its gradient: the mean of (sigmoid(z) - yb) p x_query^T, yb = (1 + y_query)/2."""
    p = tasks.p
    margin = tasks.label * np.einsum("bi,ij,bj->b", p, W, tasks.query)
    weight = -tasks.label * np.exp(-np.logaddexp(0, margin))  # sigmoid(z) - yb
    return float(np.logaddexp(0, -margin).mean()), (weight[:, None] * p).T @ tasks.query / len(margin)


def descend(tasks: Tasks, steps: int, rate: float = RATE) -> tuple[Array, Array]:
    """Full-batch gradient descent from W = 0: W at the end, and the loss before each step."""
    W, losses = np.zeros((tasks.query.shape[1],) * 2), np.empty(steps)
    for t in range(steps):
        losses[t], grad = gradient(W, tasks)
        W -= rate * grad
    return W, losses


def trained(d: int, seed: int) -> Array:
    """W after training on B = d tasks with R = 5 sqrt(d), which is its first step."""
    return first_step(drawn(generator(Purpose.CLASSES, (seed, d)), d, TRAINED, d, 5 * np.sqrt(d)))


def accuracies(
    W: Array, R: float, seed: int, *, flipped: float = 0.2, n: int = 2500, N: int = CONTEXTS
) -> tuple[float, float]:
    """The test and the in-context accuracy of W on n tasks of radius R.

    Returns
    -------
    (float, float)
        Shares of queries, and of contexts, whose flipped label is predicted.
    """
    right, remembered = [], []
    for tasks in _in_parts(n, N, len(W), R, seed, flipped):
        z = np.einsum("bi,bi->b", tasks.p @ W, tasks.query)
        right.append(z * tasks.label > 0)
        unit = tasks._replace(x=tasks.x / np.linalg.norm(tasks.x, axis=2, keepdims=True))
        remembered.append(np.einsum("bi,bni->bn", unit.p @ W, unit.x) * unit.y > 0)
    return float(np.concatenate(right).mean()), float(np.concatenate(remembered).mean())


def _in_parts(n: int, N: int, d: int, R: float, seed: int, flipped: float) -> Iterator[Tasks]:
    rng = generator(Purpose.CLASSES, (seed, Part.TESTS, Test.CLASSES, d))
    for begin in range(0, n, _AT_ONCE):
        yield drawn(rng, min(_AT_ONCE, n - begin), N, d, R, flipped)
