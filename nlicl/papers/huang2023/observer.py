"""What a training run of Huang et al. 2023 records: bilinear attention weights, attention and loss of every feature."""

import numpy as np

from . import population

__all__ = ["Observer"]

_AT_ONCE = 1_000_000  # feature scores held in memory


class Observer:
    """Measures parameters on counts that are drawn once, all tasks averaged over exactly.

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
    | A (K,)            | A_k = v_k^T Q v_k                                                              |
    | B_k1 (K-1,)       | B_{k,1} = v_1^T Q v_k, k >= 2                                                  |
    | Attn_k (K,)       | mean attention on the query's own feature                                      |
    | Attn_k1 (K-1,)    | mean attention on feature 1, k >= 2                                            |
    | miss_k (K,)       | mean of (1 - Attn_k)^2, whose end at eps is the end of the last phase          |
    | loss_k (K,)       | L_k, the mean of ||Attn - e_k||^2 / 2                                          |
    | population_loss   | sum_k p_k L_k                                                                  |
    """

    def __init__(self, problem, n=1000, seed=0):
        self.p, self.V = problem.frequencies, problem.V
        self.counts = population.sampled(self.p, problem.length, n, seed=(3, seed)).counts

    def __call__(self, params):
        Q = np.asarray(params.Q, float)
        S = self.V.T @ Q @ self.V
        K, n = len(S), len(self.counts)
        own, first, miss, loss = np.zeros((4, K))
        block = max(1, _AT_ONCE // K**2)
        for lo in range(0, n, block):
            counts = self.counts[lo : lo + block]
            a = population.attention(S, population.Source(counts, np.full(len(counts), 1 / len(counts))))
            own += np.einsum("ikk->k", a)
            first += a[:, 0].sum(axis=0)
            np.einsum("ikk->ik", a)[:] = 0  # what is left is attention on the wrong features
            rest = a.sum(axis=1)  # 1 - Attn_k, without cancellation
            miss += (rest**2).sum(axis=0)
            loss += (rest**2 + (a * a).sum(axis=1)).sum(axis=0) / 2
        loss /= n
        return {
            "A": np.diag(S).copy(),
            "B_k1": S[0, 1:].copy(),
            "Attn_k": own / n,
            "Attn_k1": first[1:] / n,
            "miss_k": miss / n,
            "loss_k": loss,
            "population_loss": self.p @ loss,
        }
