"""The same step on prompts that are sparse codes over a dictionary E: token p = E_r + kappa E_i + sign E_q.

    s_t = (W_K p_t)^T W_Q p_query = code_query^T G code_t,       G = (W_Q E)^T (W_K E)  (K, K)
    F   = a^T relu(W_O sum_t attn_t W_V p_t) = a^T relu(H c),    H = W_O W_V E          (m, K)

A token's code has three entries, so a score is three look-ups in a row of G that is made once a prompt, and the context's
code c takes three additions a token: O(l) a prompt where tokens cost O(l d). Exact for any dictionary, orthogonal or not.
In reverse, with dG and dH summed over the batch:

    G = A^T B,  A = W_Q E,  B = W_K E   =>   dA = B dG^T,  dB = A dG,    dW_Q = dA E^T,  dW_K = dB E^T
    H = W_O V,  V = W_V E               =>   dW_O = dH V^T, dV = W_O^T dH,  dW_V = dV E^T

Legend   K columns of the dictionary, filled up with zero columns to a multiple of eight, which products go by; column q is the
         label embedding;   relevant, irrelevant (B, l+1) columns of E;   kappa (B, l+1);   sign (B, l+1), 0 for the query

Derivation and numbers: docs/coded.md.
"""

import numpy as np

from . import loss as losses
from . import mlp
from ._jit import kernel, launch
from .attention import softmax
from .dense import add_slabs
from .products import add_product, transpose

_BLOCK = 32  # prompts worked on together: their codes of the context stay in a first-level cache
_WORTH_A_THREAD = 2_000_000  # multiply-adds: half a millisecond, five times what it takes to wake a thread
_SLAB_SHARE = 0.25  # of the codes' size, at most, goes into the chunks' gradients
_MOST_CHUNKS = 64


def plan(shape, m, K, itemsize):
    """Into how many chunks a batch is split: a function of the sizes alone, so that results do not depend on threads."""
    B, rows = shape
    work = B * (3 * m * K + 2 * K + 20 * rows)
    codes = B * rows * (9 + itemsize)
    chunks = 1
    while (
        2 * chunks <= min(_MOST_CHUNKS, B)
        and work // (2 * chunks) >= _WORTH_A_THREAD // 2
        and 2 * chunks * (K * K + m * K + m) * itemsize <= _SLAB_SHARE * codes
    ):
        chunks *= 2
    return chunks


def forward(E, relevant, irrelevant, kappa, sign, keys, W_Q, W_K, W_V, W_O, a):
    """Scores F (B,), attention (B, keys), contexts (B, d), pre-activations u (B, m)."""
    B = len(relevant)
    q = E.shape[1] - 1
    E, E_T = padded(E)
    K, m = E.shape[1], len(a)
    chunks = plan(relevant.shape, m, K, a.itemsize)
    _, _, G, _, _, H_T = merge(E, W_Q, W_K, W_V, W_O)
    F = np.empty(B, a.dtype)
    attn = np.empty((B, keys), a.dtype)
    C = np.empty((B, K), a.dtype)
    U = np.empty((B, m), a.dtype)
    launch(forward_chunks, chunks, F, attn, C, U, relevant, irrelevant, kappa, sign, q, G, H_T, a, chunks)
    contexts = np.zeros((B, E.shape[0]), a.dtype)
    add_product(contexts, C, E_T)  # sum_t attn_t p_t = E c
    return F, attn, contexts, U


def step(E, relevant, irrelevant, kappa, sign, labels, keys, W_Q, W_K, W_V, W_O, a, kind):
    """Mean loss over the batch and its gradients: loss, dW_Q, dW_K, dW_V, dW_O, da."""
    q = E.shape[1] - 1
    E, E_T = padded(E)
    K, m = E.shape[1], len(a)
    chunks = plan(relevant.shape, m, K, a.itemsize)
    A, B, G, V, H, H_T = merge(E, W_Q, W_K, W_V, W_O)
    loss = np.zeros(chunks, a.dtype)
    dG = np.zeros((chunks, K, K), a.dtype)
    dH = np.zeros((chunks, m, K), a.dtype)
    da = np.zeros((chunks, m), a.dtype)
    codes = (relevant, irrelevant, kappa, sign, q, labels, keys)
    launch(step_chunks, chunks, loss, dG, dH, da, *codes, G, H, H_T, a, kind)
    dW_Q, dW_K, dW_V, dW_O = split(add_slabs(dG), add_slabs(dH), E_T, A, B, V, W_O)
    return loss.sum() / len(labels), dW_Q, dW_K, dW_V, dW_O, add_slabs(da[:, None])[0].copy()


@kernel
def forward_chunks(first, last, F, attn, C, U, relevant, irrelevant, kappa, sign, q, G, H_T, a, chunks):
    """F (B,), attn (B, keys), C (B, K), U (B, m) of the prompts in chunks first .. last - 1."""
    B = relevant.shape[0]
    g = np.empty(G.shape[0], G.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // chunks
        for lo in range(chunk * B // chunks, end, _BLOCK):
            hi = min(lo + _BLOCK, end)
            for n in range(lo, hi):
                attend(attn[n], C[n], g, relevant[n], irrelevant[n], kappa[n], sign[n], q, G)
            mlp.forward(U[lo:hi], F[lo:hi], C[lo:hi], H_T, a)


@kernel
def step_chunks(first, last, loss, dG, dH, da, relevant, irrelevant, kappa, sign, q, labels, keys, G, H, H_T, a, kind):
    """Chunks first .. last - 1: loss (chunks,) gets the sum of a chunk's losses; its share of the mean's gradients is
    added to its slab of dG (chunks, K, K), dH (chunks, m, K), da (chunks, m)."""
    B = labels.shape[0]
    K = G.shape[0]
    m = a.shape[0]
    chunks = loss.shape[0]
    attn = np.empty((_BLOCK, keys), a.dtype)
    C = np.empty((_BLOCK, K), a.dtype)
    dC = np.empty((_BLOCK, K), a.dtype)
    U = np.empty((_BLOCK, m), a.dtype)
    F = np.empty(_BLOCK, a.dtype)
    slope = np.empty(_BLOCK, a.dtype)
    g = np.empty(K, a.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // chunks
        for lo in range(chunk * B // chunks, end, _BLOCK):
            b = min(_BLOCK, end - lo)
            for n in range(b):
                attend(attn[n], C[n], g, relevant[lo + n], irrelevant[lo + n], kappa[lo + n], sign[lo + n], q, G)
            mlp.forward(U[:b], F[:b], C[:b], H_T, a)
            for n in range(b):
                loss[chunk] += losses.value(kind, F[n], labels[lo + n])
                slope[n] = losses.slope(kind, F[n], labels[lo + n]) / B
            mlp.backward(dH[chunk], da[chunk], dC[:b], slope[:b], U[:b], C[:b], H, a)
            for n in range(b):
                r, i, k, s = relevant[lo + n], irrelevant[lo + n], kappa[lo + n], sign[lo + n]
                attend_backward(dG[chunk], g, attn[n], C[n], dC[n], r, i, k, s, q)


@kernel
def attend(attn, c, g, relevant, irrelevant, kappa, sign, q, G):
    """attn (keys,) and the context's code c (K,) of one prompt; g (K,): scores of the dictionary's columns."""
    K = G.shape[0]
    r, i, k = relevant[-1], irrelevant[-1], kappa[-1]
    for j in range(K):
        g[j] = G[r, j] + k * G[i, j]  # g = code_query^T G; the query carries no label
    for t in range(attn.shape[0]):
        attn[t] = g[relevant[t]] + kappa[t] * g[irrelevant[t]] + a_sign(sign[t], g[q])  # s_t = g^T code_t
    softmax(attn)  # attn_t = exp(s_t) / sum_r exp(s_r)
    c[:] = 0
    for t in range(attn.shape[0]):  # c = sum_t attn_t code_t
        c[relevant[t]] += attn[t]
        c[irrelevant[t]] += kappa[t] * attn[t]
        c[q] += a_sign(sign[t], attn[t])


@kernel
def attend_backward(dG, dg, attn, c, dc, relevant, irrelevant, kappa, sign, q):
    """Adds to dG (K, K) from dc = dL/dc (K,) and what `attend` left in attn and c."""
    K = dG.shape[0]
    mean = dc.dtype.type(0)
    for j in range(K):
        mean += c[j] * dc[j]  # sum_r attn_r dattn_r = c . dc
    dg[:] = 0
    for t in range(attn.shape[0]):
        dattn = dc[relevant[t]] + kappa[t] * dc[irrelevant[t]] + a_sign(sign[t], dc[q])  # c = sum_t attn_t code_t
        ds = attn[t] * (dattn - mean)  # attn = softmax(s)  =>  ds_t = attn_t (dattn_t - sum_r attn_r dattn_r)
        dg[relevant[t]] += ds  # s_t = g^T code_t  =>  dg = sum_t ds_t code_t
        dg[irrelevant[t]] += kappa[t] * ds
        dg[q] += a_sign(sign[t], ds)
    r, i, k = relevant[-1], irrelevant[-1], kappa[-1]
    for j in range(K):
        dG[r, j] += dg[j]  # g = code_query^T G  =>  dG = code_query dg^T
        dG[i, j] += k * dg[j]


@kernel
def a_sign(sign, x):
    """sign x for a sign of -1, 0 or 1, in the dtype of x."""
    if sign == 0:
        return x * 0
    return x if sign > 0 else -x


def padded(E):
    """E (d, K) and its transpose, with zero columns added: K a multiple of eight."""
    d, K = E.shape
    wide = np.zeros((d, -(-K // 8) * 8), E.dtype)
    wide[:, :K] = E
    return wide, np.ascontiguousarray(wide.T)


def merge(E, W_Q, W_K, W_V, W_O):
    """A = W_Q E, B = W_K E, G = A^T B (K, K), V = W_V E, H = W_O V (m, K) and its transpose."""
    K, m = E.shape[1], W_O.shape[0]
    A, B = np.zeros((W_Q.shape[0], K), E.dtype), np.zeros((W_K.shape[0], K), E.dtype)
    V, H = np.zeros((W_V.shape[0], K), E.dtype), np.zeros((m, K), E.dtype)
    G, H_T = np.zeros((K, K), E.dtype), np.empty((K, m), E.dtype)
    add_product(A, W_Q, E)
    add_product(B, W_K, E)
    add_product(G, A.T, B)
    add_product(V, W_V, E)
    add_product(H, W_O, V)
    transpose(H_T, H)
    return A, B, G, V, H, H_T


def split(dG, dH, E_T, A, B, V, W_O):
    """dW_Q, dW_K, dW_V, dW_O from dG (K, K) and dH (m, K): `merge` in reverse."""
    K, d = E_T.shape
    m_a, m_b = len(A), len(V)
    V_T, dG_T = np.empty((K, m_b), V.dtype), np.empty_like(dG)
    transpose(V_T, V)
    transpose(dG_T, dG)
    dA, dB, dV = np.zeros_like(A), np.zeros_like(B), np.zeros_like(V)
    dW_Q, dW_K = np.zeros((m_a, d), A.dtype), np.zeros((m_a, d), A.dtype)
    dW_V, dW_O = np.zeros((m_b, d), A.dtype), np.zeros_like(W_O)
    add_product(dW_O, dH, V_T)  # H = W_O V   =>  dW_O = dH V^T
    add_product(dV, W_O.T, dH)  #                 dV = W_O^T dH
    add_product(dW_V, dV, E_T)  # V = W_V E   =>  dW_V = dV E^T
    add_product(dB, A, dG)  #     G = A^T B   =>  dB = A dG
    add_product(dA, B, dG_T)  #                   dA = B dG^T
    add_product(dW_K, dB, E_T)  # B = W_K E   =>  dW_K = dB E^T
    add_product(dW_Q, dA, E_T)  # A = W_Q E   =>  dW_Q = dA E^T
    return dW_Q, dW_K, dW_V, dW_O
