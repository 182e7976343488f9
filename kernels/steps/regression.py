"""In-context regression of Huang et al. 2023: softmax attention with one trained matrix Q, labels of linear functions.

    u = (Q x_query, 0)      attn_i = softmax_i(p_i . u)      c = sum_i attn_i p_i      yhat = the last entry of c
    loss = (yhat - y_query)^2 / 2

A token is p_i = (x_i, y_i), the query (x_query, 0) with label y_query. So this is `attention` with a probe that is blind to
labels and dc = (0, .., 0, yhat - y_query); rows of Q belong to keys, columns to the query. Prompts are split into chunks as in
`dense`.

Where inputs are columns v_1 .. v_K of a matrix V, a prompt is how often each occurs, c_m, its label omega_m, and the query's
column k (`coded_step`). Scores are look-ups in S = V^T Q V (K, K), row key, column query, and a prompt costs O(K), whatever
its length:

    Attn_m = c_m exp(S[m,k]) / sum_r c_r exp(S[r,k])         yhat = sum_m Attn_m omega_m         dQ = V dS V^T

Exact for any V, orthonormal or not.

Legend   d width of an input, a token has d + 1;   D = d + 1;   K columns of V;   counts, omega (B, K);   query (B,)
         S_T the transpose of S: a query's scores lie in a row;   attends 1 if the query is one of its keys, label 0; else 0

Derivation and numbers: docs/regression.md.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compile import kernel, launch
from ..costs import Costs
from ..layers import attention
from ..layers import loss as losses
from ..memory import empty, zeros
from ..partials import add_partials
from ..products import add_large_product, add_product, transposed
from . import dense
from .dense import attend, probe

__all__ = ["coded_costs", "coded_forward", "coded_step", "costs", "forward", "step"]

_WORTH_A_THREAD = 1_000_000  # multiply-adds with their look-ups and exponentials: half a millisecond
_PARTIALS_SHARE = 0.4  # of the counts' size, at most, goes into the chunks' partial sums
_MAX_CHUNKS = 64


# ---- Tokens


def costs(B: int, n_keys: int, d: int, itemsize: int) -> Costs:
    """The `Costs` of `step`. Half of its multiply-adds would do, since only the last entries of c and dc matter; but to read
    the tokens takes longer than either."""
    D = d + 1
    prompt = 2 * D * D + 4 * n_keys * D  # probe and its outer product, attention
    prompt += n_keys + D + 1  # element by element
    return Costs(
        bytes=itemsize * (B * ((n_keys + 1) * D + 1) + 2 * d * d),
        multiply_adds=B * prompt,
        exponentials=B * n_keys,
        look_ups=0,
    )


def forward(tokens: NDArray, n_keys: int, Q: NDArray) -> tuple[NDArray, NDArray]:
    """Predictions of a batch, and the attention that leads to them.

    Parameters
    ----------
    tokens : ndarray (B, N+1, d+1)
        The query last, its label 0. All arrays are packed and of one dtype: float32, float64, or complex.
    n_keys : int
        The first `n_keys` tokens are attended to: N, or N+1 with the query.
    Q : ndarray (d, d)

    Returns
    -------
    yhat, attn : ndarray (B,), (B, n_keys)
    """
    B = len(tokens)
    n_chunks, block, _ = dense.plan(tokens.shape, 0, tokens.itemsize)
    yhat = np.empty(B, tokens.dtype)
    attn = np.empty((B, n_keys), tokens.dtype)
    launch(forward_chunks, n_chunks, yhat, attn, tokens, padded_transpose(Q), n_chunks, block)
    return yhat, attn


def step(tokens: NDArray, labels: NDArray, n_keys: int, Q: NDArray) -> tuple[Any, NDArray]:
    """Mean loss over the batch and its gradient: loss, dQ (d, d). labels (B,) are y_query; the others as in `forward`."""
    B, _, D = tokens.shape
    n_chunks, block, n_cached = dense.plan(tokens.shape, 0, tokens.itemsize)
    loss = np.zeros(n_chunks, tokens.dtype)
    dQ_T = np.zeros((n_chunks, D, D), tokens.dtype)
    launch(step_chunks, n_chunks, loss, dQ_T, tokens, labels, n_keys, padded_transpose(Q), block, n_cached)
    return loss.sum() / B, np.ascontiguousarray(add_partials(dQ_T)[:-1, :-1].T)


def padded_transpose(Q: NDArray) -> NDArray:
    """Q^T (d, d) with a row and a column of zeros (D, D): (x, y) -> (Q x, 0) for tokens as rows."""
    d = len(Q)
    Q_T = np.zeros((d + 1, d + 1), Q.dtype)
    Q_T[:d, :d] = Q.T
    return Q_T


@kernel
def forward_chunks(first, last, yhat, attn, tokens, Q_T, n_chunks, block):
    """yhat (B,) and attn (B, n_keys) of the prompts in chunks first .. last - 1."""
    B, _, D = tokens.shape
    queries = empty((block, D), tokens.dtype)
    probes = empty((block, D), tokens.dtype)
    C = empty((block, D), tokens.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            hi = min(lo + block, end)
            b = hi - lo
            probe(probes[:b], queries[:b], tokens[lo:hi], Q_T)  # u = (Q x_query, 0)
            attend(attn[lo:hi], C[:b], tokens[lo:hi], probes[:b])  # c = sum_i attn_i p_i
            for n in range(b):
                yhat[lo + n] = C[n, -1]


@kernel
def step_chunks(first, last, loss, dQ_T, tokens, labels, n_keys, Q_T, block, n_cached):
    """Chunks first .. last - 1: a chunk adds its sum of losses to its entry of loss (n_chunks,), and its share of the mean's
    gradient to its partial sums in dQ_T (n_chunks, D, D)."""
    B, _, D = tokens.shape
    n_chunks = loss.shape[0]
    attn = empty((n_cached, n_keys), tokens.dtype)
    ds = empty(n_keys, tokens.dtype)
    queries = empty((block, D), tokens.dtype)
    probes = empty((block, D), tokens.dtype)
    C = empty((n_cached, D), tokens.dtype)
    dc = zeros(D, tokens.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            hi = min(lo + block, end)
            b = hi - lo
            probe(probes[:b], queries[:b], tokens[lo:hi], Q_T)
            dprobes = probes
            for i in range(0, b, n_cached):  # forward and backward while their tokens are in the cache
                j = min(i + n_cached, b)
                n = j - i
                attend(attn[:n], C[:n], tokens[lo + i : lo + j], probes[i:j])
                for p in range(n):
                    y = labels[lo + i + p]
                    loss[chunk] += losses.value(losses.SQUARED, C[p, -1], y)  # yhat = the last entry of c
                    dc[-1] = losses.slope(losses.SQUARED, C[p, -1], y) / B  #  =>  dc = (0, .., 0, yhat - y_query)
                    attention.backward(dprobes[i + p], ds, attn[p], C[p], dc, tokens[lo + i + p, :n_keys])
            add_product(dQ_T[chunk], queries[:b].T, dprobes[:b])  # u = Q x_query  =>  dQ = du x_query^T


# ---- Counts of features


def coded_costs(B: int, K: int, d: int, itemsize: int, *, present: float | None = None) -> Costs:
    """The `Costs` of `coded_step`, of features that have been counted, where the query is not a key; a prompt has `present`
    of the K features, all where it is not given."""
    present = K if present is None else present
    merged = 2 * d * d * K + 2 * d * K * K  # merge, forward and backward
    prompt = present + 5 * K + 5  # element by element
    return Costs(
        bytes=B * (2 * K * itemsize + 4) + itemsize * (d * K + 2 * d * d),
        multiply_adds=merged + B * prompt,
        exponentials=B * present,
        look_ups=0,
    )


def coded_plan(B: int, K: int, itemsize: int) -> int:
    """Into how many chunks a batch is split: a function of the sizes alone."""
    work = B * K * 20
    n_chunks = 1
    while (
        2 * n_chunks <= min(_MAX_CHUNKS, B)
        and work // (2 * n_chunks) >= _WORTH_A_THREAD // 2
        and 2 * n_chunks * K <= _PARTIALS_SHARE * 2 * B
    ):
        n_chunks *= 2
    return n_chunks


def coded_forward(
    counts: NDArray, omega: NDArray, query: NDArray, attends: int, V: NDArray, Q: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Predictions of a batch, and the attention that leads to them.

    Parameters
    ----------
    counts, omega : ndarray (B, K)
        How often each feature occurs, and its label; in the dtype of Q.
    query : ndarray of int32 (B,)
        The query's feature, from 0 to K - 1: it is not checked.
    attends : {0, 1}
        Whether the query is among its keys.
    V, Q : ndarray (d, K), (d, d)

    Returns
    -------
    yhat : ndarray (B,)
    attn : ndarray (B, K)
        Attention on one token of each feature: Attn_m is c_m times that.
    attn_query : ndarray (B,)
        Attention on the query token; 0 unless it is a key.
    """
    B, K = counts.shape
    n_chunks = coded_plan(B, K, counts.itemsize)
    yhat, attn_query = np.empty(B, Q.dtype), np.empty(B, Q.dtype)
    attn = np.empty((B, K), Q.dtype)
    launch(coded_forward_chunks, n_chunks, yhat, attn, attn_query, counts, omega, query, attends, merge(V, Q), n_chunks)
    return yhat, attn, attn_query


def coded_step(
    counts: NDArray, omega: NDArray, query: NDArray, attends: int, V: NDArray, Q: NDArray
) -> tuple[Any, NDArray]:
    """Mean loss over the batch and its gradient: loss, dQ (d, d); arguments as in `coded_forward`."""
    B, K = counts.shape
    n_chunks = coded_plan(B, K, counts.itemsize)
    loss = np.zeros(n_chunks, Q.dtype)
    dS_T = np.zeros((n_chunks, K, K), Q.dtype)
    launch(coded_step_chunks, n_chunks, loss, dS_T, counts, omega, query, attends, merge(V, Q))
    return loss.sum() / B, merge_backward(add_partials(dS_T), V)


@kernel
def coded_forward_chunks(first, last, yhat, attn, attn_query, counts, omega, query, attends, S_T, n_chunks):
    """yhat (B,), attn (B, K), attn_query (B,) of the prompts in chunks first .. last - 1."""
    B, K = counts.shape
    s = empty(K + 1, attn.dtype)
    for chunk in range(first, last):
        for n in range(chunk * B // n_chunks, (chunk + 1) * B // n_chunks):
            attn_query[n] = attend_features(attn[n], s, S_T[query[n]], counts[n], query[n], attends)
            yhat[n] = omega[n, query[n]] + residual(attn[n], attn_query[n], counts[n], omega[n], query[n])


@kernel
def coded_step_chunks(first, last, loss, dS_T, counts, omega, query, attends, S_T):
    """Chunks first .. last - 1: a chunk adds its sum of losses to its entry of loss (n_chunks,), and its share of the mean's
    gradient to its partial sums in dS_T (n_chunks, K, K)."""
    B, K = counts.shape
    n_chunks = loss.shape[0]
    s = empty(K + 1, S_T.dtype)
    attn = empty(K, S_T.dtype)
    one = S_T.dtype.type(1)
    for chunk in range(first, last):
        dS = dS_T[chunk]
        for n in range(chunk * B // n_chunks, (chunk + 1) * B // n_chunks):
            k = query[n]
            y = omega[n, k]
            attn_query = attend_features(attn, s, S_T[k], counts[n], k, attends)  # Attn_m = c_m attn_m
            res = residual(attn, attn_query, counts[n], omega[n], k)  # yhat - y_query
            loss[chunk] += res * res / 2
            g = res * (one / S_T.dtype.type(B))
            for m in range(K):  # dS[m,k] = res Attn_m (omega_m - yhat)
                dS[k, m] += g * counts[n, m] * attn[m] * (omega[n, m] - y - res)
            dS[k, k] -= g * attn_query * (y + res)  # the query token's label is 0: its summand is res attn (0 - yhat)


@kernel
def attend_features(attn, s, row, counts, k, attends):
    """attn (K,), attention on one token of a feature, 0 where it has none; returns that on the query token, 0 unless it is a
    key. row (K,): scores of the features for query k; s (K+1,): room."""
    n = 0
    for m in range(row.shape[0]):
        if counts[m].real > 0:
            s[n] = row[m]
            n += 1
    if attends:
        s[n] = row[k]
        n += 1
    attention.softmax(s[:n])  # subtracts the largest score of those that are there: others may be larger, and overflow
    attn_query = s.dtype.type(0)
    if attends:
        attn_query = s[n - 1]
    total = attn_query
    n = 0
    for m in range(row.shape[0]):
        if counts[m].real > 0:
            attn[m] = s[n]
            total += counts[m] * s[n]  # sum_r c_r exp(S[r,k]), up to the softmax's factor
            n += 1
        else:
            attn[m] = 0
    for m in range(row.shape[0]):
        attn[m] = attn[m] / total
    return attn_query / total


@kernel
def residual(attn, attn_query, counts, omega, k):
    """yhat - omega_k = sum_m Attn_m (omega_m - omega_k), since attention sums to 1: small when attention is right, without
    cancellation. The query token's label is 0."""
    y = omega[k]
    total = -attn_query * y
    for m in range(attn.shape[0]):
        total += counts[m] * attn[m] * (omega[m] - y)
    return total


def merge(V: NDArray, Q: NDArray) -> NDArray:
    """S^T = V^T Q^T V (K, K)."""
    A = np.zeros((len(Q), V.shape[1]), Q.dtype)
    S_T = np.zeros((V.shape[1], V.shape[1]), Q.dtype)
    add_large_product(A, Q, V)
    add_large_product(S_T, A.T, V)
    return S_T


def merge_backward(dS_T: NDArray, V: NDArray) -> NDArray:
    """dQ (d, d) from dS^T (K, K)."""
    right = np.zeros((V.shape[1], len(V)), dS_T.dtype)
    dQ = np.zeros((len(V), len(V)), dS_T.dtype)
    add_large_product(right, dS_T.T, transposed(V))
    add_large_product(dQ, V, right)  # S = V^T Q V  =>  dQ = V dS V^T
    return dQ
