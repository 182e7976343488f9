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

from . import attention, mlp
from . import loss as losses
from ._jit import kernel, launch
from .products import add_product, transpose

_BLOCK_BYTES = 512 * 1024  # tokens of a block: a share of a core's second-level cache
_SLAB_SHARE = 0.12  # of the prompts' size, at most, goes into the chunks' gradients
_MOST_CHUNKS = 64


def plan(tokens_shape, m, itemsize):
    """(chunks, block): into how many chunks a batch is split, and how many prompts are worked on together.

    A function of the problem's sizes alone, so that results do not depend on the machine's threads.
    """
    B, rows, d = tokens_shape
    chunks = 1
    while 2 * chunks <= min(_MOST_CHUNKS, B) and 2 * chunks * (d * d + m * d + m) <= _SLAB_SHARE * B * rows * d:
        chunks *= 2
    fitting = _BLOCK_BYTES // (rows * d * itemsize)
    return chunks, min(32, max(4, fitting - fitting % 4), -(-B // chunks))  # products go by four rows


def forward(tokens, keys, W_Q, W_K, W_V, W_O, a):
    """Scores F (B,), attention (B, keys), contexts c (B, d), pre-activations u (B, m).

    tokens (B, l+1, d), the query last; the first `keys` tokens are attended to: l, or l+1 with the query.
    """
    B, _, d = tokens.shape
    m = len(a)
    chunks, block = plan(tokens.shape, m, tokens.itemsize)
    QK, _, OV_T = merge(W_Q, W_K, W_V, W_O)
    F = np.empty(B, tokens.dtype)
    attn = np.empty((B, keys), tokens.dtype)
    C = np.empty((B, d), tokens.dtype)
    U = np.empty((B, m), tokens.dtype)
    launch(forward_chunks, chunks, F, attn, C, U, tokens, QK, OV_T, a, chunks, block)
    return F, attn, C, U


def step(tokens, labels, keys, W_Q, W_K, W_V, W_O, a, kind):
    """Mean loss over the batch and its gradients: loss, dW_Q, dW_K, dW_V, dW_O, da."""
    _, _, d = tokens.shape
    m = len(a)
    chunks, block = plan(tokens.shape, m, tokens.itemsize)
    QK, OV, OV_T = merge(W_Q, W_K, W_V, W_O)
    loss = np.zeros(chunks, tokens.dtype)
    dQK = np.zeros((chunks, d, d), tokens.dtype)
    dOV = np.zeros((chunks, m, d), tokens.dtype)
    da = np.zeros((chunks, m), tokens.dtype)
    launch(step_chunks, chunks, loss, dQK, dOV, da, tokens, labels, keys, QK, OV, OV_T, a, kind, block)
    dW_Q, dW_K, dW_V, dW_O = split(add_slabs(dQK), add_slabs(dOV), W_Q, W_K, W_V, W_O)
    return loss.sum() / len(tokens), dW_Q, dW_K, dW_V, dW_O, add_slabs(da[:, None])[0].copy()


@kernel
def forward_chunks(first, last, F, attn, C, U, tokens, QK, OV_T, a, chunks, block):
    """F (B,), attn (B, keys), C (B, d), U (B, m) of the prompts in chunks first .. last - 1."""
    B, _, d = tokens.shape
    Q = np.empty((block, d), tokens.dtype)
    probes = np.empty((block, d), tokens.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // chunks
        for lo in range(chunk * B // chunks, end, block):
            hi = min(lo + block, end)
            forward_block(F[lo:hi], attn[lo:hi], C[lo:hi], U[lo:hi], Q, probes, tokens[lo:hi], QK, OV_T, a)


@kernel
def step_chunks(first, last, loss, dQK, dOV, da, tokens, labels, keys, QK, OV, OV_T, a, kind, block):
    """Chunks first .. last - 1: a chunk adds its sum of losses to its entry of loss (chunks,), and its share of the
    mean's gradients to its slab of dQK (chunks, d, d), dOV (chunks, m, d), da (chunks, m)."""
    B, _, d = tokens.shape
    m = a.shape[0]
    chunks = loss.shape[0]
    attn = np.empty((block, keys), tokens.dtype)
    Q = np.empty((block, d), tokens.dtype)
    probes = np.empty((block, d), tokens.dtype)
    C = np.empty((block, d), tokens.dtype)
    dC = np.empty((block, d), tokens.dtype)
    U = np.empty((block, m), tokens.dtype)
    F = np.empty(block, tokens.dtype)
    g = np.empty(block, tokens.dtype)
    ds = np.empty(keys, tokens.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // chunks
        for lo in range(chunk * B // chunks, end, block):
            b = min(block, end - lo)
            forward_block(F[:b], attn[:b], C[:b], U[:b], Q, probes, tokens[lo : lo + b], QK, OV_T, a)
            for n in range(b):
                loss[chunk] += losses.value(kind, F[n], labels[lo + n])
                g[n] = losses.slope(kind, F[n], labels[lo + n]) / B
            mlp.backward(dOV[chunk], da[chunk], dC[:b], g[:b], U[:b], C[:b], OV, a)
            dprobes = probes
            for n in range(b):
                attention.backward(dprobes[n], ds, attn[n], C[n], dC[n], tokens[lo + n, :keys])
            add_product(dQK[chunk], Q[:b].T, dprobes[:b])  # s_i = p_query^T QK p_i  =>  dQK = p_query dprobe^T


@kernel
def forward_block(F, attn, C, U, Q, probes, tokens, QK, OV_T, a):
    """F (b,), attn (b, keys), C (b, d), U (b, m), queries Q and their probes (b, d) of a block of prompts."""
    b, _, d = tokens.shape
    keys = attn.shape[1]
    for n in range(b):
        for j in range(d):
            Q[n, j] = tokens[n, -1, j]
            probes[n, j] = 0
    add_product(probes[:b], Q[:b], QK)  # u = QK^T p_query = W_K^T W_Q p_query
    for n in range(b):
        attention.forward(attn[n], C[n], tokens[n, :keys], probes[n])
    mlp.forward(U, F, C, OV_T, a)


def merge(W_Q, W_K, W_V, W_O):
    """QK = W_Q^T W_K (d, d), OV = W_O W_V (m, d) and its transpose."""
    m, d = W_O.shape[0], W_V.shape[1]
    QK = np.zeros((d, d), W_Q.dtype)
    OV = np.zeros((m, d), W_Q.dtype)
    OV_T = np.empty((d, m), W_Q.dtype)
    add_product(QK, W_Q.T, W_K)
    add_product(OV, W_O, W_V)
    transpose(OV_T, OV)
    return QK, OV, OV_T


def split(dQK, dOV, W_Q, W_K, W_V, W_O):
    """dW_Q, dW_K, dW_V, dW_O from the gradients of the merged matrices: `merge` in reverse."""
    dW_Q, dW_K = np.zeros_like(W_Q), np.zeros_like(W_K)
    dW_V, dW_O = np.zeros_like(W_V), np.zeros_like(W_O)
    dQK_T = np.empty_like(dQK)
    W_V_T = np.empty((W_V.shape[1], W_V.shape[0]), W_V.dtype)
    transpose(dQK_T, dQK)
    transpose(W_V_T, W_V)
    add_product(dW_O, dOV, W_V_T)  # OV = W_O W_V    =>  dW_O = dOV W_V^T
    add_product(dW_V, W_O.T, dOV)  #                     dW_V = W_O^T dOV
    add_product(dW_K, W_Q, dQK)  #   QK = W_Q^T W_K  =>  dW_K = W_Q dQK
    add_product(dW_Q, W_K, dQK_T)  #                     dW_Q = W_K dQK^T
    return dW_Q, dW_K, dW_V, dW_O


@kernel
def add_slabs(slabs):
    """The chunks' slabs (chunks, rows, columns), added into the first in order; returns the first."""
    for chunk in range(1, slabs.shape[0]):
        for i in range(slabs.shape[1]):
            for j in range(slabs.shape[2]):
                slabs[0, i, j] += slabs[chunk, i, j]
    return slabs[0]
