"""What a training run of Huang et al. 2023 records: bilinear attention weights, attention and loss of every feature."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.checks import instance, integer
from ...core.errors import InvalidValue
from ...core.memory import check_memory
from ...core.seeds import Huang2023Uncounted
from ...models.overflow import finite
from ...models.regression.prompts import Params
from ...models.regression.steps import check_params
from . import population

if TYPE_CHECKING:
    from .problem import Problem

__all__ = ["Observer"]

_ARRAYS = 8  # of the counts' size, while something is measured
_AT_ONCE = 1_000_000  # feature scores held in memory
_WIDE = 300  # a spread of weights beyond which squared exponentials underflow


class Observer:
    """Measures parameters on prompts that no run trains on: counts that are drawn once, all tasks averaged over exactly.

    Parameters
    ----------
    problem : Problem
    n : int
        Count vectors; each serves every query.
    seed : int
        Independent of the training prompts of the same seed.

    Notes
    -----
    A call with parameters returns a dict. k is the query's feature; B_k1 and Attn_k1 leave out k = 1, the dominant one.

    | name              | what                                                                           |
    |-------------------|--------------------------------------------------------------------------------|
    | A_1, Attn_1, loss_1 | of the dominant feature; in the balanced case, of any                        |
    | A_2, B_21, Attn_2, Attn_21, loss_2 | of feature 2, an under-represented one; none if balanced      |
    | A (K,)            | A_k = v_k^T Q v_k                                                              |
    | B_k1 (K-1,)       | B_{k,1} = v_1^T Q v_k, k >= 2                                                  |
    | Attn_k (K,)       | mean attention on the query's own feature                                      |
    | Attn_k1 (K-1,)    | mean attention on feature 1, k >= 2                                            |
    | miss_k (K,)       | mean of (1 - Attn_k)^2, whose end at eps is the end of the last phase          |
    | loss_k (K,)       | L_k, the prediction error: the mean of (yhat - y_query)^2 / 2, over all tasks  |
    | population_loss   | sum_k p_k L_k                                                                  |
    """

    def __init__(self, problem: "Problem", n: int = 1000, seed: int = 0) -> None:
        from .problem import Problem  # which has this observer

        instance("problem", problem, Problem)
        self.p, self.V, self.case = problem.frequencies, problem.V, problem.case
        n = integer("n", n, 1)
        check_memory(
            f"n is {n}: {_ARRAYS} arrays of n count vectors of {len(self.p)} numbers are held at once",
            8 * _ARRAYS * n * len(self.p),
            "Lower it.",
        )
        self.counts = population.sampled(self.p, problem.length, n, seed=(Huang2023Uncounted.TESTS, seed)).counts

    def __call__(self, params: Params) -> dict[str, Any]:
        Q = check_params(params).Q.astype(float)
        d = len(self.V)
        if Q.shape != (d, d):
            raise InvalidValue(
                f"params.Q has shape {Q.shape}; expected ({d}, {d}), as the features of the problem have d = {d}."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            S = finite("a weight v_n^T Q v_k", self.V.T @ Q @ self.V)
            measure = _by_products if np.ptp(S, axis=0).max() < _WIDE else _by_scores
        own, first, rest, squares = measure(S, self.counts)
        A, B_k1, Attn_k, Attn_k1 = np.diag(S).copy(), S[0, 1:].copy(), own.mean(axis=0), first[:, 1:].mean(axis=0)
        loss_k = (rest**2 + squares).mean(axis=0) / 2
        scalars = {"A_1": A[0], "Attn_1": Attn_k[0], "loss_1": loss_k[0]}
        if self.case != "balanced":
            scalars |= {"A_2": A[1], "B_21": B_k1[0], "Attn_2": Attn_k[1], "Attn_21": Attn_k1[0]}
            scalars["loss_2"] = loss_k[1]
        return {
            **scalars,
            "population_loss": self.p @ loss_k,
            "A": A,
            "B_k1": B_k1,
            "Attn_k": Attn_k,
            "Attn_k1": Attn_k1,
            "miss_k": (rest**2).mean(axis=0),
            "loss_k": loss_k,
        }


def _by_products(S: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Attn_k, Attn_1, 1 - Attn_k and the sum of Attn_m^2 over m != k, each (n, K), for every count vector and query k.

    A sum over features is a matrix product: of counts, and of e^S or, without what is the query's own, e^S off its diagonal.
    """
    E = np.exp(S - S.max(axis=0))
    own = counts * np.diag(E)
    first = counts[:, :1] * E[0]
    np.fill_diagonal(E, 0)
    rest = counts @ E  # 1 - Attn_k without cancellation, once divided
    Z = own + rest
    return own / Z, first / Z, rest / Z, (counts**2 @ E**2) / Z**2


def _by_scores(S: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The same from all scores, which takes K times the memory and time, for weights whose exponentials underflow."""
    n, K = counts.shape
    found = np.empty((4, n, K))
    block = max(1, _AT_ONCE // K**2)
    for lo in range(0, n, block):
        part = slice(lo, lo + block)
        some = counts[part]
        a = population.attention(S, population.Source(some, np.full(len(some), 1 / len(some))))
        found[0, part], found[1, part] = np.einsum("ikk->ik", a), a[:, 0]
        np.einsum("ikk->ik", a)[:] = 0  # what is left is attention on the wrong features
        found[2, part], found[3, part] = a.sum(axis=1), (a * a).sum(axis=1)
    return found
