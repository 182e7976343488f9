"""The model of Li et al. and Bu et al. on arbitrary prompts: scores, and one fused training step.

    s_i = (W_K p_i)^T W_Q p_query = p_query^T QK p_i,          QK = W_Q^T W_K  (d, d)
    F   = a^T relu(W_O sum_i attn_i W_V p_i) = a^T relu(OV c), OV = W_O W_V    (m, d)

The two products are merged once a step; a prompt then costs four passes over its tokens and five products of
size d^2 or m d, done by the block of prompts. In reverse, with dQK and dOV summed over the batch:

    QK = W_Q^T W_K   =>   dW_Q = W_K dQK^T,   dW_K = W_Q dQK
    OV = W_O W_V     =>   dW_O = dOV W_V^T,   dW_V = W_O^T dOV

Prompts are split into chunks, by their sizes alone and never by the number of threads; each chunk sums its
gradients in a slab of its own, and the slabs are added in order: the same bits on any number of threads.
Derivation and numbers: docs/dense.md.
"""

import numpy as np

from ..compile import kernel, launch
from ..costs import Counts
from ..layers import attention, mlp
from ..layers import loss as losses
from ..products import add_large_product, add_product, transposed

_BLOCK = 32  # prompts whose small products are done together
_WORTH_A_THREAD = 32 * 2**20  # bytes of matrices read by all prompts: some hundred microseconds
_NEAR_BYTES = 512 * 1024  # tokens on which forward and backward are done together: a share of a second-level cache
_SLAB_SHARE = 0.12  # of the prompts' size, at most, goes into the chunks' gradients ...
_FEW, _LITTLE = 4, 4 * 2**20  # ... but so many chunks are always allowed so many bytes
_MOST_CHUNKS = 64


def plan(tokens_shape, m, itemsize):
    """(chunks, block, near): into how many chunks a batch is split, and how many prompts are worked on together.

    A function of the problem's sizes alone, so that results do not depend on the machine's threads.
    """
    B, rows, d = tokens_shape
    chunks, slab = 1, (d * d + m * d + m) * itemsize
    while 2 * chunks <= min(_MOST_CHUNKS, B) and (
        2 * chunks * slab <= _SLAB_SHARE * B * rows * d * itemsize
        or (2 * chunks <= _FEW and 2 * chunks * slab <= _LITTLE and B * slab // chunks >= _WORTH_A_THREAD)
    ):
        chunks *= 2
    block = min(_BLOCK, -(-B // chunks))
    near = max(1, _NEAR_BYTES // (rows * d * itemsize))
    return chunks, block, min(block, near - near % 8 if near > 8 else near)  # products go by eight rows


def counts(B, keys, d, m, itemsize, *, m_a=None, m_b=None):
    """What `step` does, as `Counts`; m_a = m_b = d where they are not given."""
    m_a, m_b = m_a or d, m_b or d
    parameters = 2 * m_a * d + m_b * d + m * m_b + m
    merged = 3 * m_a * d * d + 3 * m * m_b * d  # merge and split
    prompt = 2 * d * d + 4 * keys * d + 3 * m * d  # probe and its outer product, attention, MLP
    prompt += keys + d + 3 * m  # element by element
    return Counts(
        bytes=itemsize * (B * ((keys + 1) * d + 1) + 2 * parameters),
        multiply_adds=merged + B * prompt,
        exponentials=B * keys,
        look_ups=0,
    )


def forward(tokens, keys, W_Q, W_K, W_V, W_O, a):
    """Scores F (B,), attention (B, keys), contexts c (B, d), pre-activations u (B, m).

    tokens (B, l+1, d), the query last; the first `keys` tokens are attended to: l, or l+1 with the query.
    """
    B, _, d = tokens.shape
    m = len(a)
    chunks, block, near = plan(tokens.shape, m, tokens.itemsize)
    QK, _, OV_T = merge(W_Q, W_K, W_V, W_O)
    F = np.empty(B, tokens.dtype)
    attn = np.empty((B, keys), tokens.dtype)
    C = np.empty((B, d), tokens.dtype)
    U = np.empty((B, m), tokens.dtype)
    launch(forward_chunks, chunks, F, attn, C, U, tokens, QK, OV_T, a, chunks, block, near)
    return F, attn, C, U


def step(tokens, labels, keys, W_Q, W_K, W_V, W_O, a, kind):
    """Mean loss over the batch and its gradients: loss, dW_Q, dW_K, dW_V, dW_O, da."""
    _, _, d = tokens.shape
    m = len(a)
    chunks, block, near = plan(tokens.shape, m, tokens.itemsize)
    QK, OV, OV_T = merge(W_Q, W_K, W_V, W_O)
    loss = np.zeros(chunks, tokens.dtype)
    dQK = np.zeros((chunks, d, d), tokens.dtype)
    dOV = np.zeros((chunks, m, d), tokens.dtype)
    da = np.zeros((chunks, m), tokens.dtype)
    launch(step_chunks, chunks, loss, dQK, dOV, da, tokens, labels, keys, QK, OV, OV_T, a, kind, block, near)
    dW_Q, dW_K, dW_V, dW_O = split(add_slabs(dQK), add_slabs(dOV), W_Q, W_K, W_V, W_O)
    return loss.sum() / len(tokens), dW_Q, dW_K, dW_V, dW_O, add_slabs(da[:, None])[0].copy()


@kernel
def forward_chunks(first, last, F, attn, C, U, tokens, QK, OV_T, a, chunks, block, near):
    """F (B,), attn (B, keys), C (B, d), U (B, m) of the prompts in chunks first .. last - 1."""
    B, _, d = tokens.shape
    Q = np.empty((block, d), tokens.dtype)
    probes = np.empty((block, d), tokens.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // chunks
        for lo in range(chunk * B // chunks, end, block):
            hi = min(lo + block, end)
            probe(probes[: hi - lo], Q[: hi - lo], tokens[lo:hi], QK)
            for i in range(lo, hi, near):
                j = min(i + near, hi)
                attend(attn[i:j], C[i:j], tokens[i:j], probes[i - lo : j - lo])
                mlp.forward(U[i:j], F[i:j], C[i:j], OV_T, a)


@kernel
def step_chunks(first, last, loss, dQK, dOV, da, tokens, labels, keys, QK, OV, OV_T, a, kind, block, near):
    """Chunks first .. last - 1: a chunk adds its sum of losses to its entry of loss (chunks,), and its share of the
    mean's gradients to its slab of dQK (chunks, d, d), dOV (chunks, m, d), da (chunks, m)."""
    B, _, d = tokens.shape
    m = a.shape[0]
    chunks = loss.shape[0]
    attn = np.empty((near, keys), tokens.dtype)
    ds = np.empty(keys, tokens.dtype)
    dC = np.empty((near, d), tokens.dtype)
    F = np.empty(near, tokens.dtype)
    g = np.empty(near, tokens.dtype)
    Q = np.empty((block, d), tokens.dtype)
    probes = np.empty((block, d), tokens.dtype)
    C = np.empty((block, d), tokens.dtype)
    U = np.empty((block, m), tokens.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // chunks
        for lo in range(chunk * B // chunks, end, block):
            hi = min(lo + block, end)
            b = hi - lo
            probe(probes[:b], Q[:b], tokens[lo:hi], QK)
            for i in range(0, b, near):  # forward and backward while their tokens are in the cache
                j = min(i + near, b)
                n = j - i
                attend(attn[:n], C[i:j], tokens[lo + i : lo + j], probes[i:j])
                mlp.forward(U[i:j], F[:n], C[i:j], OV_T, a)
                for p in range(n):
                    loss[chunk] += losses.value(kind, F[p], labels[lo + i + p])
                    g[p] = losses.slope(kind, F[p], labels[lo + i + p]) / B
                mlp.backward(da[chunk], dC[:n], g[:n], U[i:j], OV, a)
                dprobes = probes
                for p in range(n):
                    attention.backward(dprobes[i + p], ds, attn[p], C[i + p], dC[p], tokens[lo + i + p, :keys])
            add_product(dOV[chunk], U[:b].T, C[:b])  # u = OV c  =>  dOV = du c^T
            add_product(dQK[chunk], Q[:b].T, dprobes[:b])  # s_i = p_query^T QK p_i  =>  dQK = p_query dprobe^T


@kernel
def probe(probes, Q, tokens, QK):
    """Queries Q and their probes (b, d) of a block of prompts."""
    for n in range(tokens.shape[0]):
        for j in range(tokens.shape[2]):
            Q[n, j] = tokens[n, -1, j]
    probes[:] = 0
    add_product(probes, Q, QK)  # u = QK^T p_query = W_K^T W_Q p_query


@kernel
def attend(attn, C, tokens, probes):
    """attn (b, keys) and C (b, d) of a block of prompts."""
    for n in range(tokens.shape[0]):
        attention.forward(attn[n], C[n], tokens[n, : attn.shape[1]], probes[n])


def merge(W_Q, W_K, W_V, W_O):
    """QK = W_Q^T W_K (d, d), OV = W_O W_V (m, d) and its transpose."""
    m, d = W_O.shape[0], W_V.shape[1]
    QK = np.zeros((d, d), W_Q.dtype)
    OV = np.zeros((m, d), W_Q.dtype)
    add_large_product(QK, W_Q.T, W_K)
    add_large_product(OV, W_O, W_V)
    return QK, OV, transposed(OV)


def split(dQK, dOV, W_Q, W_K, W_V, W_O):
    """dW_Q, dW_K, dW_V, dW_O from the gradients of the merged matrices: `merge` in reverse."""
    dW_Q, dW_K = np.zeros_like(W_Q), np.zeros_like(W_K)
    dW_V, dW_O = np.zeros_like(W_V), np.zeros_like(W_O)
    dQK_T, W_V_T = transposed(dQK), transposed(W_V)
    add_large_product(dW_O, dOV, W_V_T)  # OV = W_O W_V    =>  dW_O = dOV W_V^T
    add_large_product(dW_V, W_O.T, dOV)  #                     dW_V = W_O^T dOV
    add_large_product(dW_K, W_Q, dQK)  #   QK = W_Q^T W_K  =>  dW_K = W_Q dQK
    add_large_product(dW_Q, W_K, dQK_T)  #                     dW_Q = W_K dQK^T
    return dW_Q, dW_K, dW_V, dW_O


@kernel
def add_slabs(slabs):
    """The chunks' slabs (chunks, rows, columns), added into the first in order; returns the first."""
    for chunk in range(1, slabs.shape[0]):
        for i in range(slabs.shape[1]):
            for j in range(slabs.shape[2]):
                slabs[0, i, j] += slabs[chunk, i, j]
    return slabs[0]
