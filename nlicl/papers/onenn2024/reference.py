"""The definitions: losses as functions of W, of (xi1, xi2) and of traces, in NumPy of any floating or complex dtype.

| prompt    | parameter         | loss                                                                                   |
|-----------|-------------------|----------------------------------------------------------------------------------------|
| `Prompt`  | W (E, E)          | ||l - u||^2 / 2, the papers'                                                           |
| `Prompt`  | W_mixture (E, E)  | (1-c) squared + c cross-entropy, c of the prompt; cross-entropy where c = 1            |
| `Prompt`  | W_squentropy (E, E) | squentropy                                                                           |
| `Inputs`  | W_labels (E, E)   | the squared loss, its mean over all label vectors, the inputs given                    |
| `Cosines` | xi (2,)           | the same at W = diag(xi1 I, 0, -xi2), for inputs with these cosines                    |
| `Cosines` | traces (2,)       | the same, by (tr W_11, -W_33) = (d xi1, xi2)                                           |

A step of gradient descent in W changes xi1 by -eta times the derivative by tr W_11, which is partial_1 / d.
Labels are averaged by summing over all of their vectors: nothing is derived.
"""

import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import real_array
from ...core.checks import instance, integer
from ...core.describe import kind_of, short
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_memory
from ...models.nearest.prompts import Params, Prompt, Prompts, codes
from ...models.nearest.reference import forward, loss
from ...models.overflow import finite
from .family import width

__all__ = [
    "Averaged",
    "Cosines",
    "Inputs",
    "Mixture",
    "Squentropy",
    "Traces",
    "Xi",
    "embedded",
    "forward",
    "label_averaged_loss",
    "labelled",
    "loss",
    "member",
    "reduced_loss",
]

MOST = 100_000  # label vectors summed over


class Mixture(NamedTuple):
    """W (E, E) where the loss is the mixture of squared loss and cross-entropy."""

    W_mixture: np.ndarray


class Squentropy(NamedTuple):
    """W (E, E) where the loss is squentropy."""

    W_squentropy: np.ndarray


class Averaged(NamedTuple):
    """W (E, E) where labels are averaged over."""

    W_labels: np.ndarray


class Xi(NamedTuple):
    """(xi1, xi2), of W = diag(xi1 I, 0, -xi2)."""

    xi: np.ndarray


class Traces(NamedTuple):
    """(tr W_11, -W_33) = (d xi1, xi2)."""

    traces: np.ndarray


class Inputs(NamedTuple):
    """The inputs of a prompt, its labels open: X (d, N+1), the query x_0 last; K classes, None for binary labels."""

    X: np.ndarray
    K: int | None

    @property
    def nearest(self) -> int:
        """i*, the context nearest to the query, from 0."""
        X = np.asarray(self.X)
        return int(((X[:, :-1] - X[:, -1:]) ** 2).sum(axis=0).argmin())

    @property
    def kappa(self) -> float:
        """(K-1)/K, or 1 for binary labels."""
        return 1.0 if self.K is None else (self.K - 1) / self.K


class Cosines(NamedTuple):
    """What the family's loss knows of a prompt: t (N,), t_j = <x_j, x_0>; dimension d, classes K, None for binary labels."""

    t: np.ndarray
    d: int
    K: int | None

    @property
    def nearest(self) -> int:
        """i*, the context with the largest cosine, from 0."""
        return int(self.t.argmax())

    @property
    def kappa(self) -> float:
        """(K-1)/K, or 1 for binary labels."""
        return 1.0 if self.K is None else (self.K - 1) / self.K


@lru_cache(16)
def _label_vectors(N: int, K: int | None) -> np.ndarray:
    """All vectors of N labels (K^N, N)."""
    each = (-1, 1) if K is None else range(K)
    if len(each) ** N > MOST:
        raise InvalidValue(f"there are {len(each)}^{N} label vectors; expected at most {MOST}. Take fewer contexts.")
    return np.array(list(itertools.product(each, repeat=N)))


def _checked_inputs(inputs: Inputs) -> np.ndarray:
    """X (d, N+1), floating; TypeError, ValueError for anything else."""
    X = real_array(instance("inputs", inputs, Inputs).X, "inputs.X", "(d, N+1)")
    if X.shape[0] < 1 or X.shape[1] < 2:
        raise InvalidValue(f"inputs.X has shape {X.shape}; expected (d, N+1) with d, N >= 1.")
    if inputs.K is not None:
        integer("inputs.K", inputs.K, 2)
    return X


def _checked_cosines(cosines: Cosines) -> np.ndarray:
    """t (N,), from -1 to 1; TypeError, ValueError for anything else."""
    t = real_array(instance("cosines", cosines, Cosines).t, "cosines.t", "(N,)")
    if len(t) < 1 or not np.all(abs(t) <= 1):
        raise InvalidValue(f"cosines.t is {short(t.tolist())}; expected at least one number, from -1 to 1.")
    return t


def labelled(inputs: Inputs) -> Prompts:
    """The prompts with these inputs and every label vector, whose mean loss is the label-averaged one."""
    X = _checked_inputs(inputs)
    classes = _label_vectors(X.shape[1] - 1, inputs.K)
    check_memory("so many label vectors", 24 * len(classes) * X.size, "Take fewer contexts.")
    return Prompts(np.broadcast_to(X.T, (len(classes), *X.T.shape)), classes, inputs.K)


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def label_averaged_loss(weights: Averaged, inputs: Inputs) -> Any:
    """The mean of ||l - u||^2 / 2 over all label vectors: the one-prompt loss, summed over K^N prompts."""
    X, K = _checked_inputs(inputs), inputs.K
    d, rows = X.shape
    L = width(K)
    W = real_array(instance("weights", weights, Averaged).W_labels, "weights.W_labels", "(E, E)", complex_too=True)
    if W.shape != (d + L + 1, d + L + 1):
        raise InvalidValue(f"weights.W_labels has shape {W.shape}; expected ({d + L + 1}, {d + L + 1}).")
    V = codes(_label_vectors(rows - 1, K), K)  # (M, N, L)
    u = W @ np.concatenate([X[:, -1], np.zeros(L), [1.0]])  # W h_0
    scores = np.broadcast_to(X.T @ u[:d], (len(V), rows)).copy()
    scores[:, :-1] += V @ u[d:-1]
    scores[:, -1] += u[-1]
    exps = np.exp(finite("a score", scores) - scores.real.max(axis=1, keepdims=True))
    q = exps / exps.sum(axis=1, keepdims=True)
    errors = np.einsum("mj,mjc->mc", q[:, :-1], V) - V[:, inputs.nearest]
    return finite("the loss", (errors * errors).sum() / (2 * len(V)))


def member(xi1: Any, xi2: Any, d: int, K: int | None) -> np.ndarray:
    """W = diag(xi1 I, 0, -xi2) in the dtype of the two numbers."""
    zeros = np.zeros(width(K))
    return np.diag(np.concatenate([xi1 * np.ones(d), zeros * xi1, [-xi2]]))


def embedded(cosines: Cosines) -> Inputs:
    """Inputs on the sphere with these cosines: x_0 = e_1, x_j = t_j e_1 + sqrt(1 - t_j^2) e_2."""
    t, d, K = _checked_cosines(cosines), integer("cosines.d", cosines.d, 2), cosines.K
    X = np.zeros((d, len(t) + 1))
    X[0, :-1], X[1, :-1], X[0, -1] = t, np.sqrt(1 - t * t), 1
    return Inputs(X, K)


def reduced_loss(weights: Xi | Traces, cosines: Cosines) -> Any:
    """The label-averaged loss at a W of the family, by (xi1, xi2), or by (tr W_11, -W_33)."""
    _checked_cosines(cosines)
    d, K = integer("cosines.d", cosines.d, 2), cosines.K
    if not isinstance(weights, (Xi, Traces)):
        raise InvalidType(f"weights is a {kind_of(weights)}; expected Xi or Traces.")
    (name,) = weights._fields
    given = real_array(weights[0], f"weights.{name}", "(2,)", complex_too=True)
    if given.shape != (2,):
        raise InvalidValue(f"weights.{name} has shape {given.shape}; expected (2,).")
    xi1, xi2 = given
    if isinstance(weights, Traces):
        xi1 = xi1 / d
    return label_averaged_loss(Averaged(member(xi1, xi2, d, K)), embedded(cosines))


def of_loss(name: str) -> Callable[[Any, Prompt], tuple[Any, np.ndarray]]:
    """The definition of one prompt's loss, of parameters that are one matrix of any name; it has no kinks."""
    return lambda params, prompt: (loss(Params(params[0]), prompt, name), np.empty(0))
