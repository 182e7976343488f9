"""The definition: model and losses of Huang et al. 2023 in plain NumPy, in any floating or complex dtype.

It shares no code with the kernels and is what everything else is judged by. Three losses, each of one *prompt*:

| prompt       | parameter | loss                                                                             |
|--------------|-----------|----------------------------------------------------------------------------------|
| `Prompt`     | Q (d, d)  | (yhat - y_query)^2 / 2                                                           |
| `Counted`    | S (K, K)  | its mean over the task w, the inputs given: ||a - e_k||^2 / 2 [derived]          |
| `Population` | AB (K, K) | its mean over task, contexts and query: L, summed over all K^N K prompts         |

S and AB are both V^T Q V, row key, column query: A_k on the diagonal, B_{k,n} in row n of column k.
"""

import itertools
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import check_finite, real_array
from ...core.checks import LARGEST, boolean, instance, integer, integers
from ...core.describe import short
from ...core.errors import InvalidValue
from ...models.regression.prompts import Params, Prompt
from ...models.regression.reference import forward, loss, softmax
from .theory import check_p

__all__ = [
    "Counted",
    "Population",
    "PopulationWeights",
    "Weights",
    "forward",
    "loss",
    "population_loss",
    "task_averaged_loss",
    "transformer",
]


MOST = 1_000_000  # sequences of contexts summed over


class Weights(NamedTuple):
    """S (K, K), the bilinear attention weights: S[n,k] = v_n^T Q v_k."""

    S: np.ndarray


class PopulationWeights(NamedTuple):
    """AB (K, K), the same where they are the population's parameter: AB[k,k] = A_k, AB[n,k] = B_{k,n}."""

    AB: np.ndarray


class Counted(NamedTuple):
    """The inputs of a prompt, its task open: counts (K,) of the contexts' features, the query's feature, from 0."""

    counts: np.ndarray
    query: int
    query_attends: bool = False


class Population(NamedTuple):
    """The law of prompts: frequencies p (K,) of the features, for contexts and query alike, and length N."""

    p: np.ndarray
    length: int
    query_attends: bool = False


# ---- One prompt, through the full transformer


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def transformer(params: Params, prompt: Prompt) -> Any:
    """The prediction of the full transformer, matrices of size d+1, mask and all [recalled]: forward's yhat.

    F_SA(E; W^K, W^Q, W^V) = W^V M(E) softmax(M(W^K E)^T W^Q E), W^K^T W^Q = [Q 0; 0 0], W^V = [0 0; 0 1], the softmax over
    columns; yhat is its last entry.
    """
    forward(params, prompt)  # which checks both
    Q = np.asarray(params.Q)
    E = prompt.P
    d = len(E) - 1
    W_KQ, W_V = np.zeros((d + 1, d + 1), Q.dtype), np.zeros((d + 1, d + 1))
    W_KQ[:d, :d], W_V[d, d] = Q, 1
    scores = prompt.keys.T @ W_KQ @ E
    attn = np.stack([softmax(column) for column in scores.T], axis=1)
    return (W_V @ prompt.keys @ attn)[-1, -1]


# ---- Averages


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def task_averaged_loss(weights: Weights, counted: Counted) -> Any:
    """||a - e_k||^2 / 2 with a_m = Attn_m, the sum of attn_i over the contexts of feature m [form recalled].

    It is the mean of (yhat - y_query)^2 / 2 over tasks w of mean 0 and covariance I [derived].
    """
    counts, k, attends = instance("counted", counted, Counted)
    counts, K = integers("counted.counts", counts, 0, LARGEST), len(counts)
    k, S = (
        integer("counted.query", k, 0, max(K - 1, 0)),
        _square(instance("weights", weights, Weights).S, "weights.S", K),
    )
    if not counts.sum():
        raise InvalidValue("counted.counts holds zeros only; expected at least one context.")
    features = np.repeat(np.arange(len(counts)), counts)  # of the contexts, in some order
    a = _feature_scores(S[:, k], features, k, K, boolean("counted.query_attends", attends))
    a[k] = a[k] - 1
    return (a * a).sum() / 2


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def population_loss(weights: PopulationWeights, population: Population) -> Any:
    """L = E (yhat - y_query)^2 / 2, the sum over all sequences of contexts, all queries and the 2K tasks
    w = +- sqrt(K) v_j, whose mean is 0 and whose covariance on the features is I: exact for every such law."""
    p, N, attends = instance("population", population, Population)
    p, N = check_p(p), integer("population.length", N, 1)
    K = len(p)
    AB = _square(instance("weights", weights, PopulationWeights).AB, "weights.AB", K)
    attends = boolean("population.query_attends", attends)
    if K**N > MOST:
        raise InvalidValue(f"length is {N} with K = {K}: {short(K**N)} sequences of contexts; expected at most {MOST}.")
    sequences = _sequences(K, N)
    probability = p[sequences].prod(axis=1)
    total: Any = 0
    for k in range(K):
        column = AB[:, k]
        scores = column[sequences]
        if attends:
            scores = np.concatenate([scores, np.full((len(sequences), 1), column[k])], axis=1)
        exps = np.exp(scores - scores.real.max(axis=1, keepdims=True))
        attn = exps / exps.sum(axis=1, keepdims=True)
        for j in range(K):
            for sign in (1, -1):
                y = np.where(sequences == j, sign * np.sqrt(K), 0)
                yhat = (attn[:, :N] * y).sum(axis=1)
                y_query = sign * np.sqrt(K) if j == k else 0
                total = total + p[k] / (2 * K) * (probability * (yhat - y_query) ** 2).sum() / 2
    return total


def _square(array: Any, name: str, K: int) -> np.ndarray:
    """A floating or complex array (K, K); TypeError, ValueError for anything else."""
    array = real_array(array, name, "(K, K)", complex_too=True)
    if array.shape != (K, K):
        raise InvalidValue(f"{name} has shape {array.shape}; expected ({K}, {K}), for {K} features.")
    check_finite(array, name)
    return array


@lru_cache(8)
def _sequences(K: int, N: int) -> np.ndarray:
    return np.array(list(itertools.product(range(K), repeat=N)))


def _feature_scores(column: np.ndarray, features: np.ndarray, k: int, K: int, attends: bool) -> np.ndarray:
    """Attn_m (K,) for scores column[m] of contexts with these features."""
    scores = column[features]
    attn = softmax(np.append(scores, column[k]) if attends else scores)
    return np.array([attn[: len(features)][features == m].sum() for m in range(K)])
