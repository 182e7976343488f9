"""Full-batch gradient descent of linear attention on sufficient statistics, many cheap steps: what `nlicl.train` makes.

The mean loss of prompts is c - 2 b.m + m^T S m in m_ijk = sum_h vt_hi W_hjk, vt_h the last row of W^V_h, and j a key. A step
is four products of small matrices: tests hold it against `nlicl.train`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InvalidValue, NotFinite
from ...models.linear_attention.prompts import Params, Prompts, SeparateParams
from ...models.linear_attention.statistics import Statistics

__all__ = ["Course", "follow", "follow_network"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Course:
    """A run of full-batch gradient descent.

    Attributes
    ----------
    losses : ndarray (steps,)
        The mean training loss before each step.
    params : Params or SeparateParams
        At the end.
    at : ndarray (k,)
        The steps at which tests were looked at.
    tests : dict of str to ndarray (k,)
        Mean losses on them.
    """

    losses: Array
    params: Any
    at: NDArray[np.intp] = field(default_factory=lambda: np.arange(0))
    tests: Mapping[str, Array] = field(default_factory=dict)


def follow(
    params: Params | SeparateParams,
    statistics: Statistics,
    *,
    learning_rate: float,
    steps: int,
    frozen: bool = False,
    tests: Mapping[str, Statistics] | None = None,
    every: int = 10,
) -> Course:
    """Gradient descent on the mean loss of the prompts of `statistics`, from `params`.

    Parameters
    ----------
    params : Params or SeparateParams
    statistics : Statistics
    learning_rate : float
    steps : int
    frozen : bool
        Keep u and v_x as they are.
    tests : dict of str to Statistics, optional
        Other prompts, whose mean loss is looked at every `every` steps.
    every : int

    Returns
    -------
    Course

    Raises
    ------
    NotFinite
        It diverges.
    """
    tests = tests or {}
    E, D = statistics.E, statistics.E - 1
    S, b, c = _unfolded(statistics)
    others = {name: _unfolded(one) for name, one in tests.items()}
    vt = params.V[:, -1].astype(float)
    H = len(vt)
    K = Q = np.empty((H, 0, E))
    if isinstance(params, Params):
        W, rest = params.W[:, :, :D].astype(float), params.W[:, :, D:]
    else:
        W, rest = np.empty((H, E, D)), params.Q[:, :, D:]
        K, Q = params.K.astype(float), params.Q[:, :, :D].astype(float)
    merged = isinstance(params, Params)
    losses = np.empty(steps)
    looks: dict[str, list[float]] = {name: [] for name in tests}
    for t in range(steps + 1):
        if not merged:
            W = np.matmul(K.transpose(0, 2, 1), Q)
        flat = W.reshape(H, E * D)
        m = (vt.T @ flat).ravel()
        if t % every == 0:
            for name, (S_, b_, c_) in others.items():
                looks[name].append(c_ + m @ (S_ @ m - 2 * b_))
        if t == steps:
            break
        half = S @ m - b
        losses[t] = c + m @ (half - b)
        if not np.isfinite(losses[t]):
            raise NotFinite(f"the loss is {losses[t]:g} at step {t}: gradient descent diverges. Lower learning_rate.")
        move = (2 * learning_rate * half).reshape(E, E * D)
        by_v = flat @ move.T
        by_W = (vt @ move).reshape(H, E, D)
        if frozen:
            by_v[:, :-1] = 0
        if merged:
            if frozen:
                by_W[:, -1] = 0
            W -= by_W
        else:
            by_K, by_Q = Q @ by_W.transpose(0, 2, 1), K @ by_W
            if frozen:
                by_K[:, :, -1] = 0
            K -= by_K
            Q -= by_Q
        vt -= by_v
    V = params.V.copy()
    V[:, -1] = vt
    whole = np.concatenate([W if merged else Q, rest], axis=2)
    ends = Params(V, whole) if merged else SeparateParams(V, K, whole)
    at = np.arange(0, steps + 1, every) if tests else np.arange(0)
    return Course(losses, ends, at, {name: np.array(values) for name, values in looks.items()})


def follow_network(v: Array, U: Array, prompts: Prompts, *, learning_rate: float, steps: int) -> Array:
    """The same for the two-layer linear network on the cubic features s N vec(beta x_query^T): losses (steps,).

    Parameters
    ----------
    v : ndarray (H,)
        Its second layer.
    U : ndarray (H, D, D)
        The rows of its first layer, as matrices.
    prompts : Prompts
        s is theirs.
    learning_rate : float
    steps : int

    Returns
    -------
    ndarray (steps,)
    """
    if len(v) != len(U):
        raise InvalidValue(f"v has {len(v)} heads, U {len(U)}; expected the same number.")
    tokens = prompts.tokens
    p = np.einsum("bt,bti->bi", tokens[:, :-1, -1], tokens[:, :-1, :-1])
    z = (prompts.s * p[:, :, None] * tokens[:, -1, None, :-1]).reshape(len(tokens), -1)
    S, b, c = z.T @ z / len(z), z.T @ prompts.labels / len(z), float(np.mean(prompts.labels**2))
    second, first = v.astype(float), U.reshape(len(v), -1).astype(float)
    losses = np.empty(steps)
    for t in range(steps):
        m = second @ first
        half = S @ m - b
        losses[t] = c + m @ (half - b)
        move = 2 * learning_rate * half
        by_second = first @ move
        first -= np.outer(second, move)
        second -= by_second
    return losses


def _unfolded(statistics: Statistics) -> tuple[Array, Array, float]:
    """S, b and c by the entries of m (E, E, D), whose pairs i, j are one feature: G_ij is symmetric."""
    E, D = statistics.E, statistics.E - 1
    rows, columns = np.triu_indices(E)
    pair = np.empty((E, E), int)
    pair[rows, columns] = pair[columns, rows] = np.arange(len(rows))
    feature = (pair[:, :, None] + len(rows) * np.arange(D)).ravel()
    return statistics.S[np.ix_(feature, feature)].copy(), statistics.b[feature].copy(), statistics.c
