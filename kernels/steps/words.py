"""The model of Bu et al. where words and labels go apart: W_Q = [W_Q^x 0], W_K = [W_K^x 0], W_V = [0 I], W_O = W_O^y.

    s_l = (W_K^x x_l)^T W_Q^x x_q,      v = sum_l attn_l y_l,      h = W_O v,      F = r^T relu(h)

Nothing is multiplied by a block that is 0 or I, and no matrix by another one. In reverse, for one prompt,

    u = W_K^xT k      =>  dW_K^x = k du^T,   dk = W_K^x du,       k = W_Q^x x_q  =>  dW_Q^x = dk x_q^T
    v = sum attn y    =>  dattn_l = y_l . dv                      h = W_O v      =>  dW_O = dh v^T,   dv = W_O^T dh

so that the gradient of a batch is a product of two thin factors, of rank B at most. `factors` gives these, and `descend` takes
the step of SGD with them,

    W <- W - eta (A B + lambda W) = (1 - eta lambda) W - eta A B,

in one pass over W: neither the gradient nor the decayed matrix is ever made. Derivation and numbers: docs/words.md.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..compile import kernel, launch
from ..layers import attention, mlp
from ..memory import empty
from ..products import add_large_product, add_product, add_rows, row_products, transposed
from .unmerged import losses_of

__all__ = ["Factors", "descend", "factors", "forward", "forward_pays", "pays"]

_WIDE = 128  # d_x from which on a step is 1.5 times as fast [measured]: below, it takes some hundred microseconds either way
_TILE = 8  # rows that a product takes at a time
_WORTH_A_THREAD = 200_000  # entries of a matrix, or numbers of tokens
_MAX_CHUNKS = 64
_PROMPTS = 256  # whose words and labels are copied at once


class Factors(NamedTuple):
    """The gradient of the mean loss over a batch of B prompts, each block as a product of two factors.

    Attributes
    ----------
    W_Q, W_K : (ndarray (d_x, B), ndarray (B, d_x))
        Of the word blocks.
    W_O : (ndarray (m, B), ndarray (B, d_y))
    """

    W_Q: tuple[NDArray, NDArray]
    W_K: tuple[NDArray, NDArray]
    W_O: tuple[NDArray, NDArray]


def pays(d_x: int, B: int) -> bool:
    """Whether matrices are so wide, and prompts of a step so few, that `factors` and `descend` are faster [measured]."""
    return d_x >= _WIDE and d_x >= B


def forward_pays(d_x: int, d_y: int, B: int) -> bool:
    """Whether `forward` is worth it: 2 d_x^2 operations a prompt, in place of (d_x + d_y)^2 after matrices are merged."""
    return d_x >= _WIDE and (d_x >= B or 2 * d_y >= d_x)


def forward(tokens: NDArray, d_x: int, W_Q: NDArray, W_K: NDArray, W_O: NDArray, r: NDArray) -> tuple[NDArray, ...]:
    """Scores of a batch, and what leads to them.

    Parameters
    ----------
    tokens : ndarray (B, L+1, d_x + d_y)
        (x_l; y_l), the query (x_q; 0) last. All arrays are packed and of one dtype, float32 or float64.
    d_x : int
    W_Q, W_K, W_O, r : ndarray (d_x, d_x), (d_x, d_x), (m, d_y), (m,)

    Returns
    -------
    F, attn, C, U : ndarray (B,), (B, L), (B, d_x + d_y), (B, m)
        Scores, attention, contexts, pre-activations.
    """
    (B, rows, d), dtype = tokens.shape, tokens.dtype
    F, attn = np.empty(B, dtype), np.empty((B, rows - 1), dtype)
    C, U = np.empty((B, d), dtype), np.empty((B, len(r)), dtype)
    for lo in range(0, B, _PROMPTS):
        some = slice(lo, lo + _PROMPTS)
        X, Y, Q = _apart(tokens[some], d_x)
        F[some], attn[some], V, U[some], _ = _forward(X, Y, Q, W_Q, W_K, W_O, r)
        contexts(C[some], attn[some], X, V)
    return F, attn, C, U


def factors(
    tokens: NDArray, labels: NDArray, d_x: int, W_Q: NDArray, W_K: NDArray, W_O: NDArray, r: NDArray, kind: int
) -> tuple[NDArray, Factors]:
    """Mean loss over the batch, and the factors of its gradients.

    Parameters
    ----------
    labels : ndarray (B,)
        y_S.
    kind : int
        Which loss: a value of `layers.loss.NAMES`.
    tokens, d_x, W_Q, W_K, W_O, r
        As in `forward`. Nothing is checked here: NaN and infinity pass through.
    """
    X, Y, Q = _apart(tokens, d_x)
    F, attn, V, U, k = _forward(X, Y, Q, W_Q, W_K, W_O, r)
    loss, g, _ = losses_of(kind, F, labels)
    dV, du, dk, dr = np.zeros_like(V), np.zeros_like(Q), np.zeros_like(k), np.zeros_like(r)
    mlp.backward(dr, dV, g, U, W_O, r)  # h = W_O v  =>  dv = W_O^T dh; U holds dh now
    n_chunks = _chunks(X)
    launch(attend_backward, n_chunks, du, attn, V, dV, X, Y, n_chunks)
    add_large_product(dk, W_K, transposed(du))  # u = W_K^T k  =>  dk = W_K du
    return r.dtype.type(loss), Factors((dk, Q), (k, du), (transposed(U), V))


def descend(W: NDArray, A: NDArray, B: NDArray, eta: float, weight_decay: float) -> None:
    """W <- (1 - eta lambda) W - eta A B in place, for W (rows, n), A (rows, k), B (k, n): the same bits on any threads."""
    dtype = W.dtype.type
    parts = max(1, min(len(W) // _TILE, W.size // _WORTH_A_THREAD))
    launch(descend_rows, parts, W, A * dtype(-eta), B, dtype(1 - eta * weight_decay), parts)


def _apart(tokens: NDArray, d_x: int) -> tuple[NDArray, NDArray, NDArray]:
    """Words X (B, L, d_x) and labels Y (B, L, d_y) of the demonstrations, and the query's words Q (B, d_x)."""
    words, labels = tokens[:, :, :d_x], tokens[:, :-1, d_x:]
    return words[:, :-1].copy(), labels.copy(), words[:, -1].copy()


def _chunks(X: NDArray) -> int:
    """Into how many chunks prompts are split where their tokens are read: a function of the sizes alone."""
    return max(1, min(len(X), _MAX_CHUNKS, X.size // _WORTH_A_THREAD))


def _forward(
    X: NDArray, Y: NDArray, Q: NDArray, W_Q: NDArray, W_K: NDArray, W_O: NDArray, r: NDArray
) -> tuple[NDArray, ...]:
    """F (B,), attn (B, L), V (B, d_y), U (B, m), k = W_Q x_q (d_x, B)."""
    (B, L, d_x), dtype = X.shape, X.dtype
    F, attn = np.empty(B, dtype), np.empty((B, L), dtype)
    V, U = np.empty((B, Y.shape[2]), dtype), np.empty((B, len(r)), dtype)
    k, u = np.zeros((len(W_Q), B), dtype), np.zeros((B, d_x), dtype)
    add_large_product(k, W_Q, transposed(Q))  # k = W_Q x_q
    add_large_product(u, k.T, W_K)  # u = W_K^T k
    n_chunks = _chunks(X)
    launch(attend, n_chunks, attn, V, X, Y, u, n_chunks)
    mlp.forward(U, F, V, transposed(W_O), r)  # h = W_O v, F = r^T relu(h)
    return F, attn, V, U, k


@kernel
def attend(first, last, attn, V, X, Y, u, n_chunks):
    """attn (B, L), V (B, d_y) of the prompts in chunks first .. last - 1, from the probes u (B, d_x)."""
    B = X.shape[0]
    for n in range(first * B // n_chunks, last * B // n_chunks):
        row_products(attn[n], X[n], u[n])  # s_l = x_l . u
        attention.softmax(attn[n])  # attn = softmax(s)
        V[n] = 0
        add_rows(V[n], attn[n], Y[n])  # v = sum_l attn_l y_l


@kernel
def contexts(C, attn, X, V):
    """C (B, d_x + d_y): sum_l attn_l (x_l; y_l), whose second part is V (B, d_y)."""
    d_x = X.shape[2]
    for n in range(X.shape[0]):
        C[n] = 0
        add_rows(C[n, :d_x], attn[n], X[n])
        for j in range(V.shape[1]):
            C[n, d_x + j] = V[n, j]


@kernel
def attend_backward(first, last, du, attn, V, dV, X, Y, n_chunks):
    """du (B, d_x) of the prompts in chunks first .. last - 1, from dV = dL/dv (B, d_y) and what `attend` left."""
    B, L, _ = X.shape
    phi = empty(L, attn.dtype)
    for n in range(first * B // n_chunks, last * B // n_chunks):
        mean = dV.dtype.type(0)
        for j in range(V.shape[1]):
            mean += V[n, j] * dV[n, j]  # phibar = sum_l attn_l phi_l = v . dv
        row_products(phi, Y[n], dV[n])  # v = sum_l attn_l y_l  =>  phi_l = y_l . dv
        if L == 1:
            mean = phi[0]  # one demonstration: its softmax is constant
        for i in range(L):
            phi[i] = attn[n, i] * (phi[i] - mean)  # attn = softmax(s)  =>  ds_l = attn_l (phi_l - phibar)
        du[n] = 0
        add_rows(du[n], phi, X[n])  # s_l = x_l . u  =>  du = sum_l ds_l x_l


@kernel
def descend_rows(first, last, W, A, B, keep, parts):
    """W <- keep W + A B, of the rows of W cut into so many parts between tiles, those of the parts first .. last - 1."""
    rows, n = W.shape
    lo = first * rows // (parts * _TILE) * _TILE
    hi = last * rows // (parts * _TILE) * _TILE if last < parts else rows
    for i in range(lo, hi, _TILE):  # a tile is in the first-level cache from its decay to its update
        j = min(i + _TILE, hi)
        for p in range(i, j):
            for q in range(n):
                W[p, q] *= keep  # (1 - eta lambda) W
        add_product(W[i:j], A[i:j], B)  # - eta A B
