"""The step on prompts whose tokens are sums of any number of a dictionary's columns: token = sum_{j in J_t} E_j.

    s_t = sum_{i in J_query} sum_{j in J_t} G_ij,    G = (W_Q E')^T (W_K E)  (K, K)
    h   = H sum_t attn_t code_t,                     H = W_O W_V E           (m, K)

E' is the query's dictionary: a query carries no label, so its columns have none. What comes before and after the sums over
columns is as in `coded`, whose codes have a fixed form. Exact for any dictionaries.

Legend   K columns;   indices (n,) of the columns of all tokens, tokens of a prompt in order, its query last;
         indptr (B (l+1) + 1,): token t of prompt p has indices[indptr[p (l+1) + t] : indptr[p (l+1) + t + 1]]

Derivation and numbers: docs/coded.md.
"""

import numpy as np
from numpy.typing import NDArray

from ..compile import kernel, launch
from ..costs import Costs
from ..layers import loss as losses
from ..layers import mlp
from ..layers.attention import softmax
from ..memory import empty
from ..partials import add_partials
from ..products import add_product, transposed
from .dense import Gradients, Scores

__all__ = ["add_tokens", "costs", "forward", "step"]

_MAX_BLOCK = 32  # prompts whose products are done together
_WORTH_A_THREAD = 2_000_000  # multiply-adds
_MAX_PARTIAL_BYTES = 4 * 2**20  # of all chunks' partial sums
_MAX_CHUNKS = 16


def plan(B: int, m: int, K: int, itemsize: int) -> tuple[int, int]:
    """(n_chunks, block): into how many chunks a batch is split, how many prompts a block has; of the sizes alone."""
    n_chunks, partial_bytes = 1, (K * K + m * K + m) * itemsize
    while (
        2 * n_chunks <= min(_MAX_CHUNKS, B)
        and B * (3 * m * K + 3 * K) // (2 * n_chunks) >= _WORTH_A_THREAD // 2
        and 2 * n_chunks * partial_bytes <= _MAX_PARTIAL_BYTES
    ):
        n_chunks *= 2
    return n_chunks, min(_MAX_BLOCK, -(-B // n_chunks))


def costs(
    B: int,
    n_keys: int,
    d: int,
    m: int,
    K: int,
    itemsize: int,
    *,
    m_a: int | None = None,
    m_b: int | None = None,
    columns: float = 1,
) -> Costs:
    """The `Costs` of `step` on tokens of so many columns on average; m_a = m_b = d where they are not given."""
    m_a, m_b = m_a or d, m_b or d
    parameters = 2 * m_a * d + m_b * d + m * m_b + m
    merged = (4 * m_a + 2 * m_b) * d * K + 3 * m_a * K * K + 3 * m * m_b * K  # merge, forward and backward
    prompt = 3 * m * K + K + n_keys + 3 * m  # MLP, element by element
    return Costs(
        bytes=int(B * ((n_keys + 1) * (8 + 4 * columns) + itemsize) + 2 * itemsize * (d * K + parameters)),
        multiply_adds=merged + B * prompt,
        exponentials=B * n_keys,
        look_ups=round(B * columns * (4 * n_keys + 2 * K)),
    )


def forward(
    E: NDArray,
    E_query: NDArray,
    indptr: NDArray,
    indices: NDArray,
    n_keys: int,
    W_Q: NDArray,
    W_K: NDArray,
    W_V: NDArray,
    W_O: NDArray,
    a: NDArray,
) -> Scores:
    """Scores of a batch, and what leads to them, as `dense.forward`.

    Parameters
    ----------
    E, E_query : ndarray (d, K)
        The dictionary of tokens, and that of queries. Floating numbers are all of one dtype.
    indptr : ndarray of int64 (B (l+1) + 1,)
    indices : ndarray of int32 (n,)
        Columns of E, from 0 to K - 1: they are not checked.
    n_keys : int
        l: the query is not among its keys.
    W_Q, W_K, W_V, W_O, a
        As in `dense.forward`.

    Returns
    -------
    F, attn, contexts, U : ndarray (B,), (B, n_keys), (B, d), (B, m)
    """
    B, K, m = (len(indptr) - 1) // (n_keys + 1), E.shape[1], len(a)
    n_chunks, block = plan(B, m, K, a.itemsize)
    _, _, G, _, _, H_T = merge(E, E_query, W_Q, W_K, W_V, W_O)
    F, attn = np.empty(B, a.dtype), np.empty((B, n_keys), a.dtype)
    C, U = np.empty((B, K), a.dtype), np.empty((B, m), a.dtype)
    launch(forward_chunks, n_chunks, F, attn, C, U, indptr, indices, G, H_T, a, n_chunks, block)
    contexts = np.zeros((B, E.shape[0]), a.dtype)
    add_product(contexts, C, transposed(E))  # sum_t attn_t p_t = E c
    return F, attn, contexts, U


def step(
    E: NDArray,
    E_query: NDArray,
    indptr: NDArray,
    indices: NDArray,
    labels: NDArray,
    n_keys: int,
    W_Q: NDArray,
    W_K: NDArray,
    W_V: NDArray,
    W_O: NDArray,
    a: NDArray,
    kind: int,
) -> Gradients:
    """Mean loss over the batch and its gradients: loss, dW_Q, dW_K, dW_V, dW_O, da.

    Codes as in `forward`, the other arguments as in `dense.step`.
    """
    B, K, m = len(labels), E.shape[1], len(a)
    n_chunks, block = plan(B, m, K, a.itemsize)
    A, B_, G, V, H, H_T = merge(E, E_query, W_Q, W_K, W_V, W_O)
    loss = np.zeros(n_chunks, a.dtype)
    dG, dH, da = (np.zeros((n_chunks, *shape), a.dtype) for shape in ((K, K), (m, K), (m,)))
    launch(step_chunks, n_chunks, loss, dG, dH, da, indptr, indices, labels, n_keys, G, H, H_T, a, kind, block)
    dW_Q, dW_K, dW_V, dW_O = merge_backward(add_partials(dG), add_partials(dH), E, E_query, A, B_, V, W_O)
    return loss.sum() / B, dW_Q, dW_K, dW_V, dW_O, add_partials(da[:, None])[0].copy()


@kernel
def add_tokens(tokens, indptr, indices, E_T, E_query_T):
    """Tokens (B, l+1, d) are added to: the sums of their columns, queries by their own dictionary; E_T = E^T (K, d)."""
    B, rows, d = tokens.shape
    for p in range(B):
        for t in range(rows):
            row = p * rows + t
            dictionary = E_T if t < rows - 1 else E_query_T
            for e in range(indptr[row], indptr[row + 1]):
                j = indices[e]
                for x in range(d):
                    tokens[p, t, x] += dictionary[j, x]


@kernel
def forward_chunks(first, last, F, attn, C, U, indptr, indices, G, H_T, a, n_chunks, block):
    """F (B,), attn (B, n_keys), C (B, K), U (B, m) of the prompts in chunks first .. last - 1."""
    B = F.shape[0]
    g = empty(G.shape[0], G.dtype)
    for lo in range(first * B // n_chunks, last * B // n_chunks, block):
        hi = min(lo + block, last * B // n_chunks)
        attend(attn[lo:hi], C[lo:hi], g, indptr, indices, lo, G)
        mlp.forward(U[lo:hi], F[lo:hi], C[lo:hi], H_T, a)


@kernel
def step_chunks(first, last, loss, dG, dH, da, indptr, indices, labels, n_keys, G, H, H_T, a, kind, block):
    """Chunks first .. last - 1: loss (n_chunks,) gets the sum of a chunk's losses; its share of the mean's gradients is
    added to its partial sums in dG (n_chunks, K, K), dH (n_chunks, m, K), da (n_chunks, m)."""
    B, K, m, n_chunks = labels.shape[0], G.shape[0], a.shape[0], loss.shape[0]
    attn, ds, g = empty((block, n_keys), a.dtype), empty(n_keys, a.dtype), empty(K, a.dtype)
    C, dC, U = empty((block, K), a.dtype), empty((block, K), a.dtype), empty((block, m), a.dtype)
    F, slope = empty(block, a.dtype), empty(block, a.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            b = min(block, end - lo)
            attend(attn[:b], C[:b], g, indptr, indices, lo, G)
            mlp.forward(U[:b], F[:b], C[:b], H_T, a)
            for n in range(b):
                loss[chunk] += losses.value(kind, F[n], labels[lo + n])
                slope[n] = losses.slope(kind, F[n], labels[lo + n]) / B
            mlp.backward(da[chunk], dC[:b], slope[:b], U[:b], H, a)
            add_product(dH[chunk], U[:b].T, C[:b])  # h = H c  =>  dH = dh c^T
            attend_backward(dG[chunk], g, ds, attn[:b], C[:b], dC[:b], indptr, indices, lo)


@kernel
def attend(attn, C, g, indptr, indices, lo, G):
    """attn (b, n_keys) and the contexts' codes C (b, K) of the prompts from lo on; g (K,) is for work."""
    n_keys = attn.shape[1]
    C[:] = 0
    for n in range(attn.shape[0]):
        row = (lo + n) * (n_keys + 1)
        g[:] = 0
        for e in range(indptr[row + n_keys], indptr[row + n_keys + 1]):
            for j in range(g.shape[0]):
                g[j] += G[indices[e], j]  # g = code_query^T G
        for t in range(n_keys):
            s = g.dtype.type(0)
            for e in range(indptr[row + t], indptr[row + t + 1]):
                s += g[indices[e]]  # s_t = g^T code_t
            attn[n, t] = s
        softmax(attn[n])  # attn_t = exp(s_t) / sum_r exp(s_r)
        for t in range(n_keys):
            for e in range(indptr[row + t], indptr[row + t + 1]):
                C[n, indices[e]] += attn[n, t]  # c = sum_t attn_t code_t


@kernel
def attend_backward(dG, dg, ds, attn, C, dC, indptr, indices, lo):
    """Adds to dG (K, K) from dC = dL/dC (b, K) and what `attend` left in attn and C; dg (K,), ds (n_keys,) are for work."""
    n_keys = attn.shape[1]
    for n in range(attn.shape[0]):
        row = (lo + n) * (n_keys + 1)
        mean = dC.dtype.type(0)
        for j in range(C.shape[1]):
            mean += C[n, j] * dC[n, j]  # sum_r attn_r dattn_r = c . dc
        dg[:] = 0
        for t in range(n_keys):
            dattn = dC.dtype.type(0)
            for e in range(indptr[row + t], indptr[row + t + 1]):
                dattn += dC[n, indices[e]]  # c = sum_t attn_t code_t  =>  dattn_t = code_t . dc
            if n_keys == 1:
                mean = dattn  # one token: its softmax is constant, and ds = 0 to the last bit
            ds[t] = attn[n, t] * (dattn - mean)  # attn = softmax(s)  =>  ds_t = attn_t (dattn_t - sum_r attn_r dattn_r)
            for e in range(indptr[row + t], indptr[row + t + 1]):
                dg[indices[e]] += ds[t]  # s_t = g^T code_t  =>  dg
        for e in range(indptr[row + n_keys], indptr[row + n_keys + 1]):
            for j in range(dg.shape[0]):
                dG[indices[e], j] += dg[j]  # g = code_query^T G  =>  dG = code_query dg^T


def merge(
    E: NDArray, E_query: NDArray, W_Q: NDArray, W_K: NDArray, W_V: NDArray, W_O: NDArray
) -> tuple[NDArray, NDArray, NDArray, NDArray, NDArray, NDArray]:
    """A = W_Q E', B = W_K E, G = A^T B (K, K), V = W_V E, H = W_O V (m, K) and its transpose."""
    K = E.shape[1]
    A, B, V, H = (np.zeros((len(W), K), E.dtype) for W in (W_Q, W_K, W_V, W_O))
    G = np.zeros((K, K), E.dtype)
    add_product(A, W_Q, E_query)
    add_product(B, W_K, E)
    add_product(G, A.T, B)
    add_product(V, W_V, E)
    add_product(H, W_O, V)
    return A, B, G, V, H, transposed(H)


def merge_backward(
    dG: NDArray, dH: NDArray, E: NDArray, E_query: NDArray, A: NDArray, B: NDArray, V: NDArray, W_O: NDArray
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """dW_Q, dW_K, dW_V, dW_O from dG (K, K) and dH (m, K), and what `merge` made on the way."""
    d = E.shape[0]
    dA, dB, dV, dW_O = (np.zeros_like(X) for X in (A, B, V, W_O))
    dW_Q, dW_K, dW_V = (np.zeros((len(X), d), E.dtype) for X in (A, B, V))
    add_product(dW_O, dH, transposed(V))  # H = W_O V   =>  dW_O = dH V^T
    add_product(dV, W_O.T, dH)  #                           dV = W_O^T dH
    add_product(dW_V, dV, transposed(E))  # V = W_V E   =>  dW_V = dV E^T
    add_product(dB, A, dG)  #               G = A^T B   =>  dB = A dG
    add_product(dA, B, transposed(dG))  #                   dA = B dG^T
    add_product(dW_K, dB, transposed(E))  # B = W_K E   =>  dW_K = dB E^T
    add_product(dW_Q, dA, transposed(E_query))  # A = W_Q E'  =>  dW_Q = dA E'^T
    return dW_Q, dW_K, dW_V, dW_O
