"""Multi-head linear attention of Zhang et al. 2025, merged or separate keys and queries; softmax as a switch.

    a_h  = X^T W_h xt_query   or its softmax over all tokens        W_h = K_h^T Q_h where they are separate
    yhat = s sum_h v_h^T X a_h                                      v_h the last row of W^V_h
    loss = (yhat - y)^2, without 1/2, or the logistic one; e its slope by yhat, over B

A token is (x_n, y_n), the query (x_query, 0), one of the keys: only D columns of W_h act. Two ways lead to the same numbers:

*By the Gram matrix*, linear attention on few coordinates. yhat is linear in the tensor m_kij = sum_h v_hi W_hjk, whatever the
number of heads, and a prompt is its Gram matrix G = X X^T and its query. As G is symmetric, m is folded to pairs i <= j:

    yhat = s sum_k,i<=j m_kij G_ij x_query,k       m_kij = sum_h v_hi W_hjk + (i < j) v_hj W_hik
    dm_kij = s e G_ij x_query,k                    dv_hi = sum_jk dm_kij W_hjk       dW_hjk = sum_i dm_kij v_hi

*By tokens*, all heads of a prompt at once: scores S = U X, with probes U_h = W_h xt_query, and values Y = v X, both (H, T):

    yhat = s sum_ht S_ht Y_ht,  or softmax(S)_ht     dv = s e S X^T     dU = s e dS X^T     dW_h = dU_h x_query^T
    dS = Y,  or of the softmax A: A (Y - sum_t A Y)

Prompts are split into chunks as in `dense`: the same bits on any number of threads.

Legend   B prompts, T = N + 1 tokens of width E = D + 1, H heads, R rank;   v (H, E), W (H, E, E), K and Q (H, R, E)

Derivation and numbers: docs/zhang2025.md.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compile import kernel, launch
from ..costs import Costs
from ..layers import attention
from ..layers import loss as losses
from ..memory import empty
from ..partials import add_partials
from ..products import add_large_product, add_product, transpose

__all__ = ["by_gram", "costs", "forward", "merge", "of_tensor", "pairs_of", "separate_step", "step", "tensor"]

_WORTH_A_THREAD = 1_000_000  # multiply-adds: some hundred microseconds
_PARTIALS_SHARE = 0.03  # of the prompts' size, at most, goes into the chunks' partial sums
_MAX_CHUNKS = 64
_BLOCK = 32  # prompts whose small products are done together
_WIDEST = 32  # E for which a tensor m of E^2 D numbers is made


def by_gram(T: int, E: int, H: int, softmax: bool) -> bool:
    """Whether a step goes by the Gram matrix: a function of the sizes alone."""
    return not softmax and E <= _WIDEST and E * (T + 2 * E) <= 4 * H * (2 * T + E) + 16 * T


def costs(B: int, T: int, E: int, H: int, softmax: bool, itemsize: int) -> Costs:
    """The `Costs` of `step`, of merged keys and queries."""
    D = E - 1
    if by_gram(T, E, H, softmax):
        pairs = E * (E + 1) // 2
        merged, prompt, exponentials = 3 * H * E * E * D, T * E * E + 2 * D * pairs + pairs + D + 2, 0
    else:
        merged, prompt = 0, 2 * H * E * D + 4 * H * T * E + 3 * H * T + 2
        prompt += 2 * H * T * softmax
        exponentials = B * H * T * softmax
    parameters = H * (E + E * D)
    return Costs(
        bytes=itemsize * (B * (T * E + 1) + 2 * parameters),
        multiply_adds=merged + B * prompt,
        exponentials=exponentials,
        look_ups=0,
    )


def plan(B: int, prompt: int, partial: int, size: int) -> tuple[int, int]:
    """(n_chunks, block) of B prompts of `size` numbers, each taking `prompt` multiply-adds, with so large partial sums."""
    n_chunks = 1
    while (
        2 * n_chunks <= min(_MAX_CHUNKS, B)
        and B * prompt // (2 * n_chunks) >= _WORTH_A_THREAD // 2
        and 2 * n_chunks * partial <= _PARTIALS_SHARE * B * size
    ):
        n_chunks *= 2
    return n_chunks, min(_BLOCK, -(-B // n_chunks))


def forward(tokens: NDArray, scale: float, softmax: bool, v: NDArray, W: NDArray) -> tuple[NDArray, NDArray]:
    """Predictions of a batch, and the weights that lead to them.

    Parameters
    ----------
    tokens : ndarray (B, T, E)
        The query last, its label 0. All arrays are packed and of one dtype: float32, float64, or complex.
    scale : float
        s.
    softmax : bool
    v, W : ndarray (H, E), (H, E, E)

    Returns
    -------
    yhat, weights : ndarray (B,), (B, H, T)
        Scores where attention is linear, or else their softmax.
    """
    B, T, E = tokens.shape
    H = len(v)
    n_chunks, block = plan(B, 2 * H * T * E, 0, T * E)
    yhat = np.empty(B, tokens.dtype)
    weights = np.empty((B, H, T), tokens.dtype)
    s = tokens.dtype.type(scale)
    launch(forward_chunks, n_chunks, yhat, weights, tokens, s, int(softmax), v, probing(W), n_chunks, block)
    return yhat, weights


def step(
    tokens: NDArray, labels: NDArray, scale: float, softmax: bool, v: NDArray, W: NDArray, kind: int
) -> tuple[Any, NDArray, NDArray]:
    """Mean loss over the batch and its gradients: loss, dv (H, E), dW (H, E, E), whose last column is 0.

    labels (B,) are the queries'; `kind` is a value of `layers.loss.NAMES`, of which the squared loss is taken without its 1/2;
    the others as in `forward`.
    """
    B, T, E = tokens.shape
    H, D, dtype = len(v), E - 1, tokens.dtype
    s, times = dtype.type(scale), dtype.type(2 if kind == losses.SQUARED else 1)
    if by_gram(T, E, H, softmax):
        pairs = E * (E + 1) // 2
        n_chunks, block = plan(B, T * E * E + 2 * D * pairs, D * pairs, T * E)
        loss = np.zeros(n_chunks, dtype)
        dm = np.zeros((n_chunks, D, pairs), dtype)
        launch(gram_chunks, n_chunks, loss, dm, tokens, labels, s, tensor(v, W), kind, times, block)
        dv, dW = of_tensor(add_partials(dm), v, W)
    else:
        n_chunks, block = plan(B, 4 * H * T * E + 2 * H * E * D, H * E * E, T * E)
        loss = np.zeros(n_chunks, dtype)
        partial_v = np.zeros((n_chunks, H, E), dtype)
        partial_W = np.zeros((n_chunks, H * E, D), dtype)
        launch(
            token_chunks, n_chunks, loss, partial_v, partial_W, tokens, labels, s, int(softmax), v, probing(W), kind, times,
            block,
        )  # fmt: skip
        dv, dW = add_partials(partial_v).copy(), widened(add_partials(partial_W), H, D)
    return loss.sum() / B, dv, dW


def separate_step(
    tokens: NDArray, labels: NDArray, scale: float, softmax: bool, v: NDArray, K: NDArray, Q: NDArray, kind: int
) -> tuple[Any, NDArray, NDArray, NDArray]:
    """Mean loss and its gradients by separate keys and queries: loss, dv (H, E), dK, dQ (H, R, E); as `step`."""
    loss, dv, dW = step(tokens, labels, scale, softmax, v, merge(K, Q), kind)
    return loss, dv, *merge_backward(dW, K, Q)


# ---- Heads outside of prompts


def merge(K: NDArray, Q: NDArray) -> NDArray:
    """W_h = K_h^T Q_h (H, E, E)."""
    W = np.zeros((len(K), K.shape[2], K.shape[2]), K.dtype)
    for h in range(len(K)):
        add_large_product(W[h], K[h].T, Q[h])
    return W


def merge_backward(dW: NDArray, K: NDArray, Q: NDArray) -> tuple[NDArray, NDArray]:
    """dK, dQ (H, R, E) from dW (H, E, E)."""
    dK, dQ = np.zeros_like(K), np.zeros_like(Q)
    for h in range(len(K)):
        add_large_product(dK[h], Q[h], dW[h].T)  # W = K^T Q  =>  dK = Q dW^T
        add_large_product(dQ[h], K[h], dW[h])  #                  dQ = K dW
    return dK, dQ


def tensor(v: NDArray, W: NDArray) -> NDArray:
    """m_kij, folded: (D, E (E + 1)/2), by pairs i <= j."""
    _H, E = v.shape
    m = np.zeros((E, E * (E - 1)), v.dtype)
    add_large_product(m, v.T, flat(W))
    m = m.reshape(E, E, E - 1)
    rows, columns = pairs_of(E)
    folded = m[rows, columns] + m[columns, rows]
    folded[rows == columns] = m[range(E), range(E)]
    return np.ascontiguousarray(folded.T)


def of_tensor(dm: NDArray, v: NDArray, W: NDArray) -> tuple[NDArray, NDArray]:
    """dv (H, E) and dW (H, E, E), its last column 0, from dm (D, E (E + 1)/2) by pairs."""
    H, E = v.shape
    rows, columns = pairs_of(E)
    by_i = np.empty((E, E, E - 1), v.dtype)
    by_i[rows, columns] = by_i[columns, rows] = dm.T
    by_i = by_i.reshape(E, E * (E - 1))
    dv, dW = np.zeros_like(v), np.zeros((H, E * (E - 1)), v.dtype)
    add_large_product(dv, flat(W), by_i.T)  # m_kij = sum_h v_hi W_hjk  =>  dv_hi = sum_jk dm_kij W_hjk
    add_large_product(dW, v, by_i)  #                                       dW_hjk = sum_i dm_kij v_hi
    return dv, widened(dW, H, E - 1)


@lru_cache(32)
def pairs_of(E: int) -> tuple[NDArray, NDArray]:
    """i and j of all pairs i <= j, of E coordinates; not to be written to."""
    rows, columns = np.triu_indices(E)
    return rows, columns


def flat(W: NDArray) -> NDArray:
    """The columns of W that act, as (H, E D)."""
    return np.ascontiguousarray(W[:, :, :-1]).reshape(len(W), -1)


def widened(W: NDArray, H: int, D: int) -> NDArray:
    """(H, E, E) with a last column of zeros, from the columns that act."""
    whole = np.zeros((H, D + 1, D + 1), W.dtype)
    whole[:, :, :D] = W.reshape(H, D + 1, D)
    return whole


def probing(W: NDArray) -> NDArray:
    """The columns of W that act, as (D, H E): a query's probes of all heads are its product with it."""
    H, E, _ = W.shape
    return np.ascontiguousarray(W[:, :, :-1].reshape(H * E, E - 1).T)


# ---- Chunks


@kernel
def gram_chunks(first, last, loss, dm, tokens, labels, s, m, kind, times, block):
    """Chunks first .. last - 1: a chunk adds its sum of losses to its entry of loss (n_chunks,), and its share of the mean's
    gradient to its partial sums in dm (n_chunks, D, E (E + 1)/2)."""
    B, _, E = tokens.shape
    n_chunks = loss.shape[0]
    pairs = m.shape[1]
    gram = empty((E, E), tokens.dtype)
    G = empty((block, pairs), tokens.dtype)
    M = empty((block, pairs), tokens.dtype)
    queries = empty((block, E - 1), tokens.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            hi = min(lo + block, end)
            b = hi - lo
            take_queries(queries[:b], tokens[lo:hi])
            M[:b] = 0
            add_product(M[:b], queries[:b], m)  # M_ij = sum_k m_kij x_query,k
            for n in range(b):
                gram[:] = 0
                add_product(gram, tokens[lo + n].T, tokens[lo + n])  # G = sum_t xt_t xt_t^T
                yhat = s * 0
                pair = 0
                for i in range(E):
                    total = s * 0  # a sum for each row: one long sum waits for each addition
                    for j in range(i, E):
                        G[n, pair] = gram[i, j]
                        total += gram[i, j] * M[n, pair]
                        pair += 1
                    yhat += total
                yhat = s * yhat  # yhat = s sum_i<=j G_ij M_ij
                loss[chunk] += times * losses.value(kind, yhat, labels[lo + n])
                g = s * times * losses.slope(kind, yhat, labels[lo + n]) / B
                for k in range(E - 1):
                    queries[n, k] = g * queries[n, k]
            add_product(dm[chunk], queries[:b].T, G[:b])  # dm_kij = s e x_query,k G_ij


@kernel
def token_chunks(first, last, loss, dv, dW, tokens, labels, s, softmax, v, W_T, kind, times, block):
    """Chunks first .. last - 1: a chunk adds its sum of losses to its entry of loss (n_chunks,), and its share of the mean's
    gradients to its partial sums in dv (n_chunks, H, E) and dW (n_chunks, H E, D)."""
    B, T, E = tokens.shape
    H = v.shape[0]
    n_chunks = loss.shape[0]
    X_T = empty((E, T), tokens.dtype)
    A = empty((H, T), tokens.dtype)
    Y = empty((H, T), tokens.dtype)
    queries = empty((block, E - 1), tokens.dtype)
    U = empty((block, H * E), tokens.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            hi = min(lo + block, end)
            b = hi - lo
            probe(U[:b], queries[:b], tokens[lo:hi], W_T)
            for n in range(b):
                u = U[n].reshape(H, E)
                yhat = s * attend(A, Y, X_T, tokens[lo + n], u, v, softmax)
                loss[chunk] += times * losses.value(kind, yhat, labels[lo + n])
                g = s * times * losses.slope(kind, yhat, labels[lo + n]) / B
                for h in range(H):
                    mean = g * 0
                    if softmax:
                        for t in range(T):
                            mean += A[h, t] * Y[h, t]  # sum_t a_ht (v_h . xt_t) = v_h . m_h
                    for t in range(T):
                        a = A[h, t]
                        A[h, t] = g * a
                        if softmax:
                            Y[h, t] = g * a * (Y[h, t] - mean)  # ds_t = a_t (v . xt_t - v . m)
                        else:
                            Y[h, t] = g * Y[h, t]
                add_product(dv[chunk], A, tokens[lo + n])  # dv_h = s e sum_t a_ht xt_t
                for h in range(H):
                    for j in range(E):
                        u[h, j] = 0
                add_product(u, Y, tokens[lo + n])  # du_h = s e sum_t ds_ht xt_t
            add_product(dW[chunk], U[:b].T, queries[:b])  # u_h = W_h xt_query  =>  dW_h = du_h xt_query^T


@kernel
def forward_chunks(first, last, yhat, weights, tokens, s, softmax, v, W_T, n_chunks, block):
    """yhat (B,) and weights (B, H, T) of the prompts in chunks first .. last - 1."""
    B, T, E = tokens.shape
    H = v.shape[0]
    X_T = empty((E, T), tokens.dtype)
    Y = empty((H, T), tokens.dtype)
    queries = empty((block, E - 1), tokens.dtype)
    U = empty((block, H * E), tokens.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            hi = min(lo + block, end)
            b = hi - lo
            probe(U[:b], queries[:b], tokens[lo:hi], W_T)
            for n in range(b):
                yhat[lo + n] = s * attend(weights[lo + n], Y, X_T, tokens[lo + n], U[n].reshape(H, E), v, softmax)


@kernel
def take_queries(queries, tokens):
    """The inputs of a block of queries (b, D)."""
    for n in range(queries.shape[0]):
        for k in range(queries.shape[1]):
            queries[n, k] = tokens[n, -1, k]


@kernel
def probe(U, queries, tokens, W_T):
    """Queries (b, D) of a block of prompts and their probes U (b, H E), W_h xt_query for each head."""
    take_queries(queries, tokens)
    U[:] = 0
    add_product(U, queries, W_T)


@kernel
def attend(A, Y, X_T, tokens, u, v, softmax):
    """Weights A and values Y = v X (H, T) of a prompt from its probes u (H, E); returns sum_ht A_ht Y_ht. X_T (E, T): room."""
    transpose(X_T, tokens)
    A[:] = 0
    add_product(A, u, X_T)  # scores u_h . xt_t
    Y[:] = 0
    add_product(Y, v, X_T)  # v_h . xt_t
    total = A[0, 0] * 0
    for h in range(A.shape[0]):
        if softmax:
            attention.softmax(A[h])
        for t in range(A.shape[1]):
            total += A[h, t] * Y[h, t]
    return total
