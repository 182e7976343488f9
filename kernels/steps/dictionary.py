"""The dictionary of coded prompts, and the matrices that are merged with it once a step: forward and backward.

    G = A^T B (K, K),   A = W_Q E,   B = W_K E;         H = W_O V (m, K),   V = W_V E

Derivation and numbers: docs/coded.md.
"""

import numpy as np

from ..address import apart
from ..compile import kernel
from ..memory import empty, empty_like, zeros, zeros_like
from ..products import add_product, transpose

__all__ = [
    "merge",
    "merge_scores",
    "merge_scores_backward",
    "merge_values",
    "merge_values_backward",
    "tokens_of",
    "without_zero_rows",
]


@kernel
def without_zero_rows(E):
    """The support (s,) of tokens, which are the rows of E that are not zero; E[support] (s, K); and its transpose.

    K is filled up to a multiple of eight, which products go by: zero columns, and last the label's column once more.
    Where patterns lie along axes, half of the work of `merge` and `merge_backward` is saved.
    """
    d, columns = E.shape
    support = zeros(d, np.int64)
    count = 0
    for i in range(d):
        some = 0
        for j in range(columns):
            some += E[i, j] != 0
        if some > 0:
            support[count] = i
            count += 1
    support = support[: max(1, count)]  # one of a dictionary of zeros, for there is no matrix of no rows
    K = (columns + 7) // 8 * 8
    wide = zeros((support.shape[0], K), E.dtype)
    tall = zeros((K, support.shape[0]), E.dtype)
    for i in range(count):
        for j in range(columns):
            wide[i, j] = E[support[i], j]
            tall[j, i] = E[support[i], j]
        wide[i, K - 1] = E[support[i], columns - 1]
        tall[K - 1, i] = E[support[i], columns - 1]
    return support, wide, tall


@kernel
def take_columns(W, support):
    """W[:, support] of W (r, d): the columns that tokens have anything to do with."""
    if support.shape[0] == W.shape[1]:
        return W
    out = empty((W.shape[0], support.shape[0]), W.dtype)
    for i in range(W.shape[0]):
        for j in range(support.shape[0]):
            out[i, j] = W[i, support[j]]
    return out


@kernel
def put_product(dW, X, E_T, support):
    """dW (r, d): the product X E_T (r, s) in the columns `support`, and zeros elsewhere."""
    dW[:] = 0
    if support.shape[0] == dW.shape[1]:
        add_product(dW, X, E_T)
        return
    product = zeros((X.shape[0], support.shape[0]), X.dtype)
    add_product(product, X, E_T)
    for i in range(X.shape[0]):
        for j in range(support.shape[0]):
            dW[i, support[j]] = product[i, j]


@kernel
def tokens_of(C, support, E_T, d):
    """Contexts (B, d) from their codes C (B, K): sum_t attn_t p_t = E c."""
    contexts = empty((C.shape[0], d), C.dtype)
    put_product(contexts, C, E_T, support)
    return contexts


@kernel
def merge(support, E, W_Q, W_K, W_V, W_O):
    """G (K, K), H (m, K) and its transpose, with A = W_Q E, B = W_K E, V = W_V E on the way: A, B, G, V, H, H_T."""
    K, m = E.shape[1], W_O.shape[0]
    A, B, V = (
        empty((W_Q.shape[0], K), E.dtype),
        empty((W_K.shape[0], K), E.dtype),
        empty((W_V.shape[0], K), E.dtype),
    )
    G, H, H_T = empty((K, K), E.dtype), empty((m, K), E.dtype), empty((K, m), E.dtype)
    merge_scores(A, B, G, support, E, W_Q, W_K)
    merge_values(V, H, H_T, support, E, W_V, W_O)
    return A, B, G, V, H, H_T


@apart
@kernel
def merge_scores(A, B, G, support, E, W_Q, W_K):
    """A = W_Q E, B = W_K E (m_a, K), G = A^T B (K, K)."""
    A[:], B[:], G[:] = 0, 0, 0
    add_product(A, take_columns(W_Q, support), E)
    add_product(B, take_columns(W_K, support), E)
    add_product(G, A.T, B)


@apart
@kernel
def merge_values(V, H, H_T, support, E, W_V, W_O):
    """V = W_V E (m_b, K), H = W_O V (m, K) and its transpose."""
    V[:], H[:] = 0, 0
    add_product(V, take_columns(W_V, support), E)
    add_product(H, W_O, V)
    transpose(H_T, H)


@apart
@kernel
def merge_scores_backward(dW_Q, dW_K, dG, support, E_T, A, B):
    """dW_Q and dW_K from dG (K, K) and what `merge_scores` made on the way."""
    if are_zero(dG):
        dW_Q[:], dW_K[:] = 0, 0
        return
    dG_T, dA, dB = empty_like(dG), zeros_like(A), zeros_like(B)
    transpose(dG_T, dG)
    add_product(dB, A, dG)  #     G = A^T B   =>  dB = A dG
    add_product(dA, B, dG_T)  #                   dA = B dG^T
    put_product(dW_K, dB, E_T, support)  # B = W_K E   =>  dW_K = dB E^T
    put_product(dW_Q, dA, E_T, support)  # A = W_Q E   =>  dW_Q = dA E^T


@apart
@kernel
def merge_values_backward(dW_V, dW_O, dH, support, E_T, V, W_O):
    """dW_V and dW_O from dH (m, K) and V of `merge_values`."""
    dW_O[:] = 0
    if are_zero(dH):
        dW_V[:] = 0
        return
    V_T, dV = empty((V.shape[1], V.shape[0]), V.dtype), zeros_like(V)
    transpose(V_T, V)
    add_product(dW_O, dH, V_T)  # H = W_O V   =>  dW_O = dH V^T
    add_product(dV, W_O.T, dH)  #                 dV = W_O^T dH
    put_product(dW_V, dV, E_T, support)  # V = W_V E   =>  dW_V = dV E^T


@kernel
def are_zero(X):
    """Whether all of X (r, n) is 0, as after a step whose hinges are all inactive. NaN is not."""
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            if X[i, j] != 0:
                return False
    return True
