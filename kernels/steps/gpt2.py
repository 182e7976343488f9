"""GPT-2 on a batch of prompts: scores, and one training step.

    x   = W_in p_t + b_in + wpe_t
    in each block:   x <- x + W_o attention(LN_1(x)) + b_o,      x <- x + W_pr gelu(W_fc LN_2(x) + b_fc) + b_pr
    F   = w_out . LN_f(x_t) + b_out at the tokens that are read

Few tokens are read, as a rule the query alone. In the last block only these need queries and all that follows: keys and values
of every token are enough. That is exact, and saves most of the block, forward and backward.

Prompts are split into chunks, by their sizes alone and never by the number of threads. Each chunk has partial sums of its own
for the gradients, and these are added in order: the same bits on any number of threads. A chunk takes some prompts at a time,
their tokens as rows of one matrix, forward and backward, while what they need lies in a cache.

    C   width of the residual stream      T   tokens of a prompt        n    rows of a block of prompts: T of each
    H   heads                             R   of them read              n_q  of them, those with queries: T or R of each
    M   hidden width of the MLP           L   blocks

Derivation and numbers: docs/gpt2.md.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..address import apart
from ..compile import kernel, launch
from ..costs import Costs
from ..layers import causal_attention, embedding, gelu, layernorm, linear, readout
from ..layers import loss as losses
from ..memory import empty

__all__ = ["Parameters", "costs", "forward", "plan", "step"]

_ROWS = 168  # of a block of prompts, about: what it needs stays in a cache, and matrices are read by many rows
_CHUNK_ROWS = 512  # at least, of a chunk: its partial sums cost as much as some rows
_MAX_CHUNKS = 64


class Parameters(NamedTuple):
    """The parameters, as kernels take them: matrices of all blocks in one array, W_qkv (L, 3 C, C), b_qkv (L, 3 C)."""

    W_in: NDArray
    b_in: NDArray
    wpe: NDArray
    gamma_1: NDArray
    beta_1: NDArray
    W_qkv: NDArray
    b_qkv: NDArray
    W_o: NDArray
    b_o: NDArray
    gamma_2: NDArray
    beta_2: NDArray
    W_fc: NDArray
    b_fc: NDArray
    W_pr: NDArray
    b_pr: NDArray
    gamma_f: NDArray
    beta_f: NDArray
    w_out: NDArray
    b_out: NDArray


class Transposed(NamedTuple):
    """Matrices as (in, out), which products with rows take: W_q (L, C, C), W_kv (L, C, 2 C) and the others."""

    W_in: NDArray
    W_q: NDArray
    W_kv: NDArray
    W_o: NDArray
    W_fc: NDArray
    W_pr: NDArray


class Saved(NamedTuple):
    """What forward leaves for backward, of one block of prompts.

    Attributes
    ----------
    X : ndarray (L+1, n, C)
        The residual stream before each block, and behind the last one.
    N1, KV, Nq, Q : ndarray (L, n, C), (L, n, 2 C), (L, n, C), (L, n, C)
        LN_1(x) of all rows, and of those with queries; keys and values, queries.
    A, O : ndarray (L, b, H, T, T), (L, n, C)
        Attention, and the heads' outputs side by side.
    Xm, N2 : ndarray (L, n, C)
        The residual stream between attention and MLP, and LN_2 of it.
    U, G : ndarray (L, n, M)
        Pre-activations, and gelu of them.
    Y : ndarray (n, C)
        LN_f of the rows that are read.
    mean, r : ndarray (2 L + 1, n)
        Of each LayerNorm.
    """

    X: NDArray
    N1: NDArray
    KV: NDArray
    Nq: NDArray
    Q: NDArray
    A: NDArray
    O: NDArray
    Xm: NDArray
    N2: NDArray
    U: NDArray
    G: NDArray
    Y: NDArray
    mean: NDArray
    r: NDArray


def plan(tokens_shape: tuple[int, int, int]) -> tuple[int, int]:
    """(n_chunks, block): how a batch of tokens (B, T, d) is split up, and how many prompts of a chunk are taken at a time."""
    B, T, _ = tokens_shape
    n_chunks = 1
    while 2 * n_chunks <= min(_MAX_CHUNKS, B) and 2 * n_chunks * _CHUNK_ROWS <= B * T:
        n_chunks *= 2
    return n_chunks, min(max(1, _ROWS // T), -(-B // n_chunks))


def costs(B: int, T: int, R: int, d: int, C: int, L: int, H: int, M: int, itemsize: int) -> Costs:
    """The `Costs` of `step`, with causal attention."""
    layer = 4 * C * C + 2 * C * M
    parameters = C * d + C + T * C + L * (layer + 9 * C + M) + 3 * C + 1
    pairs = T * (T + 1) // 2
    whole, last = T * layer + 2 * C * pairs, T * 2 * C * C + R * (2 * C * C + 2 * C * M + 2 * C * T)
    return Costs(
        bytes=itemsize * (B * (T * d + R) + 2 * parameters),
        multiply_adds=B * (2 * T * C * d + 3 * ((L - 1) * whole + last)),  # read-in has no gradient of its input
        exponentials=B * ((L - 1) * (H * pairs + 2 * T * M) + R * (H * T + 2 * M)),
        look_ups=0,
    )


def forward(
    tokens: NDArray, reads: NDArray, causal: bool, heads: int, params: Parameters
) -> tuple[NDArray, NDArray, NDArray]:
    """Scores of a batch, and what leads to them.

    Parameters
    ----------
    tokens : ndarray (B, T, d)
        The query last. All arrays are packed and of one dtype: float32, float64, or complex.
    reads : ndarray of int (R,)
        The tokens that are read, in ascending order.
    causal : bool
    heads : int
        H.
    params : Parameters

    Returns
    -------
    F, attn, U : ndarray (B, R), (B, L, H, T), (B, L, M)
        Scores; attention and pre-activations of the last token that is read.
    """
    B, T, _ = tokens.shape
    L, M, _ = params.W_fc.shape
    n_chunks, block = plan(tokens.shape)
    turned = _transposed(params)
    F = np.empty((B, len(reads)), tokens.dtype)
    attn = np.empty((B, L, heads, T), tokens.dtype)
    U = np.empty((B, L, M), tokens.dtype)
    launch(forward_chunks, n_chunks, F, attn, U, tokens, reads, causal, params, turned, n_chunks, block)
    return F, attn, U


def step(
    tokens: NDArray, labels: NDArray, reads: NDArray, causal: bool, heads: int, params: Parameters, kind: int
) -> tuple[Any, Parameters]:
    """Mean loss over the batch, and over the tokens that are read, and its gradients.

    Parameters
    ----------
    labels : ndarray (B, R)
        z.
    kind : int
        Which loss: a value of `layers.loss.NAMES`.
    tokens, reads, causal, heads, params
        As in `forward`. Nothing is checked here: NaN and infinity pass through.

    Returns
    -------
    loss, gradients
        A number and `Parameters`, of their dtype.
    """
    n_chunks, block = plan(tokens.shape)
    loss = np.zeros(n_chunks, tokens.dtype)
    d = Parameters(*(np.zeros((n_chunks, *array.shape), tokens.dtype) for array in params))  # partial sums
    turned = _transposed(params)
    launch(step_chunks, n_chunks, loss, d, tokens, labels, reads, causal, heads, params, turned, kind, block)
    return loss.sum() / len(tokens), Parameters(*(np.add.reduce(array, axis=0) for array in d))


def _transposed(params: Parameters) -> Transposed:
    C = params.W_o.shape[1]
    W_qkv, *others = (params.W_qkv, params.W_o, params.W_fc, params.W_pr)
    turned = [np.ascontiguousarray(W.transpose(0, 2, 1)) for W in (W_qkv[:, :C], W_qkv[:, C:], *others)]
    return Transposed(np.ascontiguousarray(params.W_in.T), *turned)


@kernel
def forward_chunks(first, last, F, attn, U, tokens, reads, causal, W, W_T, n_chunks, block):
    """F (B, R), attn (B, L, H, T) and U (B, L, M) of the prompts in chunks first .. last - 1."""
    B, T, _ = tokens.shape
    L, heads, R = attn.shape[1], attn.shape[2], reads.shape[0]
    everywhere = np.arange(T)
    saved = room(tokens, W, heads, block)
    scores = empty(block * R, tokens.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            hi = min(lo + block, end)
            through(scores, saved, tokens[lo:hi], reads, everywhere, causal, W, W_T)
            for p in range(hi - lo):
                for i in range(R):
                    F[lo + p, i] = scores[p * R + i]
                for l in range(L):
                    rows = R if l == L - 1 else T  # of a prompt; the last one that is read is
                    k = R - 1 if l == L - 1 else reads[-1]
                    attn[lo + p, l] = saved.A[l, p, :, k]
                    U[lo + p, l] = saved.U[l, p * rows + k]


@kernel
def step_chunks(first, last, loss, d, tokens, labels, reads, causal, heads, W, W_T, kind, block):
    """Chunks first .. last - 1: a chunk adds its sum of losses to its entry of loss (n_chunks,), and its share of the
    mean's gradients to its partial sums, the arrays (n_chunks, ...) of d."""
    B, T, _ = tokens.shape
    n_chunks, R = loss.shape[0], reads.shape[0]
    everywhere = np.arange(T)
    saved = room(tokens, W, heads, block)
    F = empty(block * R, tokens.dtype)
    g = empty(block * R, tokens.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            hi = min(lo + block, end)
            through(F, saved, tokens[lo:hi], reads, everywhere, causal, W, W_T)
            for p in range(hi - lo):
                for i in range(R):
                    z = labels[lo + p, i]
                    loss[chunk] += losses.value(kind, F[p * R + i], z) / R
                    g[p * R + i] = losses.slope(kind, F[p * R + i], z) / (B * R)
            back(d, chunk, g, saved, tokens[lo:hi], reads, everywhere, W)


@kernel
def room(tokens, W, heads, block):
    """Arrays for what a block of prompts leaves: see `Saved`."""
    T, dtype = tokens.shape[1], tokens.dtype
    L, M, C = W.W_fc.shape
    n = block * T
    return Saved(
        empty((L + 1, n, C), dtype),
        empty((L, n, C), dtype),
        empty((L, n, 2 * C), dtype),
        empty((L, n, C), dtype),
        empty((L, n, C), dtype),
        empty((L, block, heads, T, T), dtype),
        empty((L, n, C), dtype),
        empty((L, n, C), dtype),
        empty((L, n, C), dtype),
        empty((L, n, M), dtype),
        empty((L, n, M), dtype),
        empty((n, C), dtype),
        empty((2 * L + 1, n), dtype),
        empty((2 * L + 1, n), dtype),
    )


@apart
@kernel
def through(F, s, tokens, reads, everywhere, causal, W, W_T):
    """F (b R or more,) of a block of prompts (b, T, d), and what backward needs of them in s."""
    b, T, d = tokens.shape
    n, (L, _, C) = b * T, W.W_o.shape
    embedding.forward(s.X[0, :n], tokens.reshape(n, d), W_T.W_in, W.b_in, W.wpe, T)  # x = W_in p_t + b_in + wpe_t
    for l in range(L):
        rows = reads if l == L - 1 else everywhere  # those with queries: keys and values are of all
        R = rows.shape[0]
        q, x, after = b * R, s.X[l, :n], s.X[l + 1, : b * R]
        layernorm.forward(s.N1[l, :n], s.mean[2 * l, :n], s.r[2 * l, :n], x, W.gamma_1[l], W.beta_1[l])  # n = LN_1(x)
        linear.forward(s.KV[l, :n], s.N1[l, :n], W_T.W_kv[l], W.b_qkv[l, C:])
        gather(s.Nq[l, :q], s.N1[l, :n], rows, T)
        linear.forward(s.Q[l, :q], s.Nq[l, :q], W_T.W_q[l], W.b_qkv[l, :C])  # [q k v] = W_qkv n + b_qkv
        for p in range(b):
            Q, KV, o = s.Q[l, p * R : (p + 1) * R], s.KV[l, p * T : (p + 1) * T], s.O[l, p * R : (p + 1) * R]
            causal_attention.forward(o, s.A[l, p], Q, KV, rows, causal)
        linear.forward(s.Xm[l, :q], s.O[l, :q], W_T.W_o[l], W.b_o[l])
        add_gathered(s.Xm[l, :q], x, rows, T)  # x <- x + W_o o + b_o
        mean, r = s.mean[2 * l + 1, :q], s.r[2 * l + 1, :q]
        layernorm.forward(s.N2[l, :q], mean, r, s.Xm[l, :q], W.gamma_2[l], W.beta_2[l])  # n = LN_2(x)
        linear.forward(s.U[l, :q], s.N2[l, :q], W_T.W_fc[l], W.b_fc[l])
        gelu.forward(s.G[l, :q], s.U[l, :q])  # h = gelu(W_fc n + b_fc)
        linear.forward(after, s.G[l, :q], W_T.W_pr[l], W.b_pr[l])
        for i in range(q):
            for c in range(C):
                after[i, c] += s.Xm[l, i, c]  # x <- x + W_pr h + b_pr
    q = b * reads.shape[0]
    layernorm.forward(s.Y[:q], s.mean[2 * L, :q], s.r[2 * L, :q], s.X[L, :q], W.gamma_f, W.beta_f)  # y = LN_f(x)
    readout.forward(F[:q], s.Y[:q], W.w_out, W.b_out)  # F = w_out . y + b_out


@apart
@kernel
def back(d, chunk, g, s, tokens, reads, everywhere, W):
    """Gradients of a block of prompts, added to the partial sums of a chunk, from g (b R or more,) = dloss/dF.

    `through` in reverse: each line is the derivative of one of its lines.
    """
    b, T, width = tokens.shape
    n, (L, _, C), M = b * T, W.W_o.shape, W.W_fc.shape[1]
    dtype = tokens.dtype
    dX, dXm, dN = empty((n, C), dtype), empty((n, C), dtype), empty((n, C), dtype)
    dO, dQ, dKV, dU = (
        empty((n, C), dtype),
        empty((n, C), dtype),
        empty((n, 2 * C), dtype),
        empty((n, M), dtype),
    )
    q = b * reads.shape[0]
    readout.backward(dN[:q], d.w_out[chunk], d.b_out[chunk], g[:q], s.Y[:q], W.w_out)
    dX[:q] = 0
    layernorm.backward(
        dX[:q], d.gamma_f[chunk], d.beta_f[chunk], dN[:q], s.X[L, :q], s.mean[2 * L, :q], s.r[2 * L, :q], W.gamma_f
    )
    for l in range(L - 1, -1, -1):
        rows = reads if l == L - 1 else everywhere
        R = rows.shape[0]
        q = b * R
        linear.backward(dU[:q], d.W_pr[chunk, l], d.b_pr[chunk, l], dX[:q], s.G[l, :q], W.W_pr[l])
        gelu.backward(dU[:q], s.U[l, :q], dU[:q])
        linear.backward(dN[:q], d.W_fc[chunk, l], d.b_fc[chunk, l], dU[:q], s.N2[l, :q], W.W_fc[l])
        for i in range(q):  # loops, for they compile in a fraction of the time that rows take
            for j in range(dX.shape[1]):
                dXm[i, j] = dX[i, j]  # x <- x + W_pr h + b_pr: both branches
        mean, r = s.mean[2 * l + 1, :q], s.r[2 * l + 1, :q]
        layernorm.backward(dXm[:q], d.gamma_2[chunk, l], d.beta_2[chunk, l], dN[:q], s.Xm[l, :q], mean, r, W.gamma_2[l])
        linear.backward(dO[:q], d.W_o[chunk, l], d.b_o[chunk, l], dXm[:q], s.O[l, :q], W.W_o[l])
        for p in range(b):
            own, keys = slice(p * R, (p + 1) * R), slice(p * T, (p + 1) * T)
            causal_attention.backward(dQ[own], dKV[keys], dO[own], s.A[l, p], s.Q[l, own], s.KV[l, keys])
        dW, db, W_qkv = d.W_qkv[chunk, l], d.b_qkv[chunk, l], W.W_qkv[l]
        linear.backward(dO[:q], dW[:C], db[:C], dQ[:q], s.Nq[l, :q], W_qkv[:C])
        linear.backward(dN, dW[C:], db[C:], dKV, s.N1[l, :n], W_qkv[C:])
        scatter_add(dN, dO[:q], rows, T)  # keys and values, and queries
        dX[:] = 0
        scatter_add(dX, dXm[:q], rows, T)  # x <- x + W_o o + b_o: both branches
        mean, r = s.mean[2 * l, :n], s.r[2 * l, :n]
        layernorm.backward(dX, d.gamma_1[chunk, l], d.beta_1[chunk, l], dN, s.X[l, :n], mean, r, W.gamma_1[l])
    embedding.backward(d.W_in[chunk], d.b_in[chunk], d.wpe[chunk], dX, tokens.reshape(n, width), T)


@kernel
def gather(Y, X, rows, T):
    """Y (b R, C): of each T rows of X (b T, C) those whose numbers stand in rows (R,)."""
    R = rows.shape[0]
    for i in range(Y.shape[0]):
        for c in range(Y.shape[1]):
            Y[i, c] = X[i // R * T + rows[i % R], c]


@kernel
def add_gathered(Y, X, rows, T):
    """Y += what `gather` takes."""
    R = rows.shape[0]
    for i in range(Y.shape[0]):
        for c in range(Y.shape[1]):
            Y[i, c] += X[i // R * T + rows[i % R], c]


@kernel
def scatter_add(X, Y, rows, T):
    """The reverse of `gather`: each row of Y (b R, C) is added to the row of X (b T, C) that it came from."""
    R = rows.shape[0]
    for i in range(Y.shape[0]):
        for c in range(Y.shape[1]):
            X[i // R * T + rows[i % R], c] += Y[i, c]
