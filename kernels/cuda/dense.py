"""The step of `kernels/steps/dense.py` on a GPU: tokens (B, l+1, d), a block of threads a prompt.

    probes   = p_query QK                                    one product for all prompts
    each prompt, forward and backward, a block each:         du_n, c_n, dprobe_n, g_n relu(u_n), loss_n
    dOV      = sum_n du_n c_n^T,  dQK = sum_n p_query dprobe^T,  da = sum_n g_n relu(u_n)     products and sums over prompts

A block has scores, contexts and, where they fit, its prompt's tokens in shared memory (`stage`), so that tokens are read once
from the GPU's memory.
"""

from typing import Any

from . import block
from .compile import THREADS, cuda, device, kernel, launch
from .memory import empty, fits, flat, scratch, shared_bytes
from .products import Matrix, column_sums, matrix, product, ranges_of

__all__ = ["forward", "step"]


@device
def _attend(attn, c, P, u, n_keys, d, partial):
    """attn (n_keys,) and c (d,) from keys P (n_keys, d) flat and the probe u (d,)."""
    block.row_products(attn, P, u, n_keys, d, partial)  # s_i = p_i . u
    block.softmax(attn, n_keys, partial)  # attn_i = exp(s_i) / sum_r exp(s_r)
    block.sum_of_rows(c, attn, P, n_keys, d, partial)  # c = sum_i attn_i p_i


@kernel
def forward_block(F, attn, C, U, tokens, rows, n_keys, d, probes, OV_T, a, stage):
    """F (B,), attn (B, n_keys), C (B, d), U (B, m); rows = l+1; `stage`: with the tokens in shared memory."""
    m = a.shape[0]
    shared = cuda.shared.array(0, a.dtype)
    partial, s, rest = shared[:THREADS], shared[THREADS : THREADS + n_keys], shared[THREADS + n_keys :]
    c, u = rest[:d], rest[d : d + m]
    n = cuda.blockIdx.x
    P = tokens[n * rows * d : (n * rows + n_keys) * d]
    if stage:
        block.copy(rest[d + m :], P, n_keys * d)
        P = rest[d + m :]
    _attend(s, c, P, probes[n * d : (n + 1) * d], n_keys, d, partial)
    score = block.mlp(u, c, OV_T, a, d, m, partial)
    block.copy(attn[n * n_keys : (n + 1) * n_keys], s, n_keys)
    block.copy(C[n * d : (n + 1) * d], c, d)
    block.copy(U[n * m : (n + 1) * m], u, m)
    if cuda.threadIdx.x == 0:
        F[n] = score


@kernel
def step_block(each, dU, C, dprobes, tokens, labels, rows, n_keys, d, probes, OV, OV_T, a, kind, stage):
    """each (B, m+1): a prompt's shares of da and, last, of the mean loss; dU (B, m), C (B, d), dprobes (B, d)."""
    B, m = labels.shape[0], a.shape[0]
    shared = cuda.shared.array(0, a.dtype)
    partial, attn, rest = shared[:THREADS], shared[THREADS : THREADS + n_keys], shared[THREADS + n_keys :]
    ds, c, dc, u = rest[:n_keys], rest[n_keys : n_keys + d], rest[n_keys + d : n_keys + 2 * d], rest[n_keys + 2 * d :]
    n = cuda.blockIdx.x
    P = tokens[n * rows * d : (n * rows + n_keys) * d]
    if stage:
        block.copy(u[m:], P, n_keys * d)
        P = u[m:]
    block.copy(dc, probes[n * d :], d)
    _attend(attn, c, P, dc, n_keys, d, partial)
    F = block.mlp(u, c, OV_T, a, d, m, partial)
    if cuda.threadIdx.x == 0:
        each[n * (m + 1) + m] = block.loss_value(kind, F, labels[n]) / B
    g = block.loss_slope(kind, F, labels[n]) / B
    block.mlp_backward(dc, each[n * (m + 1) :], dU[n * m :], a.dtype.type(g), u, OV, a, d, m, partial)
    block.copy(C[n * d :], c, d)
    mean = block.dot(c, dc, d, partial)  # sum_r attn_r dattn_r = c . dc
    block.row_products(ds, P, dc, n_keys, d, partial)  # c = sum_i attn_i p_i  =>  dattn_i = p_i . dc
    block.softmax_backward(ds, attn, mean, n_keys)  #    attn = softmax(s)     =>  ds_i = attn_i (dattn_i - mean)
    block.sum_of_rows(c, ds, P, n_keys, d, partial)  #   s_i = p_i . u         =>  dprobe = sum_i ds_i p_i
    block.copy(dprobes[n * d :], c, d)


def stages(n_keys: int, d: int, m: int, itemsize: int) -> bool:
    """Whether a prompt's tokens fit into shared memory with the rest."""
    return fits(shared_bytes(n_keys, d, m, itemsize, stage=True))


def forward(tokens: Any, n_keys: int, W_Q: Any, W_K: Any, W_V: Any, W_O: Any, a: Any) -> tuple[Any, Any, Any, Any]:
    """F (B,), attn (B, n_keys), C (B, d), U (B, m), on the GPU; arguments as those of the CPU's `dense.forward`, there too."""
    B, rows, d = tokens.shape
    m, dtype = a.size, a.dtype
    F, attn, C, U = out = [empty(shape, dtype) for shape in (B, (B, n_keys), (B, d), (B, m))]
    stage = stages(n_keys, d, m, dtype.itemsize)
    with scratch:
        _, _, OV_T, probes = _merge(tokens, W_Q, W_K, W_V, W_O, backward=False)
        arguments = (*map(flat, out), flat(tokens), rows, n_keys, d, probes.array, OV_T.array, a, stage)
        launch(forward_block, B, *arguments, shared=shared_bytes(n_keys, d, m, dtype.itemsize, stage))
    return F, attn, C, U


def step(
    parts: list[Any],
    tokens: Any,
    labels: Any,
    n_keys: int,
    W_Q: Any,
    W_K: Any,
    W_V: Any,
    W_O: Any,
    a: Any,
    kind: int,
) -> None:
    """The gradients of the mean loss, and the loss, into the parts that `gradients_of` gives.

    The other arguments are those of the CPU's `dense.step`, on the GPU. Nothing is waited for.
    """
    dW_Q, dW_K, dW_V, dW_O, _, da_and_loss = parts
    with scratch:
        B, rows, d = tokens.shape
        m, dtype = a.size, a.dtype
        queries, OV, OV_T, probes = _merge(tokens, W_Q, W_K, W_V, W_O)
        each, dU, C, dprobes = (scratch(B * size, dtype) for size in (m + 1, m, d, d))
        stage = stages(n_keys, d, m, dtype.itemsize)
        arguments = (flat(tokens), labels, rows, n_keys, d, probes.array, OV.array, OV_T.array, a, kind, stage)
        room = shared_bytes(n_keys, d, m, dtype.itemsize, stage)
        launch(step_block, B, each, dU, C, dprobes, *arguments, shared=room)
        dOV = product(Matrix(dU, (B, m)).T, Matrix(C, (B, d)), n_ranges=ranges_of(B))  # u = OV c  =>  dOV = du c^T
        dQK = product(queries.T, Matrix(dprobes, (B, d)), n_ranges=ranges_of(B))  # s_i = p_query^T QK p_i  =>  dQK
        column_sums(da_and_loss, each, B, m + 1)
        W_Q, W_K, W_V, W_O = map(matrix, (W_Q, W_K, W_V, W_O))
        product(dOV, W_V.T, dW_O)  # OV = W_O W_V    =>  dW_O = dOV W_V^T
        product(W_O.T, dOV, dW_V)  #                     dW_V = W_O^T dOV
        product(W_Q, dQK, dW_K)  #   QK = W_Q^T W_K  =>  dW_K = W_Q dQK
        product(W_K, dQK.T, dW_Q)  #                     dW_Q = W_K dQK^T


def _merge(tokens: Any, W_Q: Any, W_K: Any, W_V: Any, W_O: Any, backward: bool = True) -> tuple[Any, ...]:
    """Queries (B, d), OV (m, d) unless only forward, OV^T (d, m) and probes (B, d)."""
    B, rows, d = tokens.shape
    W_Q, W_K, W_V, W_O = map(matrix, (W_Q, W_K, W_V, W_O))
    queries = Matrix(flat(tokens)[(rows - 1) * d :], (B, d), (rows * d, 1))
    OV = product(W_O, W_V) if backward else None
    return queries, OV, product(W_V.T, W_O.T), product(queries, product(W_Q.T, W_K))
