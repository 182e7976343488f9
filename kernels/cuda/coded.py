"""The step of `kernels/steps/coded.py` on a GPU: token = E_r + kappa E_i + sign E_q, a block of threads a prompt.

As in `dense`, but of codes. Where the CPU adds a token's weight to the entries that its code names, here every thread looks
through the tokens for the entry that is its own: no two threads write to one place.

Legend   relevant, irrelevant, kappa, sign (B, l+1);   G (K, K), H (m, K) and other matrices: all flat
"""

from typing import Any

from . import block
from .block import i32, u32
from .compile import THREADS, cuda, device, kernel, launch
from .memory import empty, flat, scratch, shared_bytes
from .products import Matrix, column_sums, matrix, product, ranges_of

__all__ = ["forward", "step"]


@device
def _gather(s, x, relevant, irrelevant, kappa, sign, n_keys, K):
    """s_t = x^T code_t for s (n_keys,), x (K,)."""
    for t in range(cuda.threadIdx.x, n_keys, THREADS):
        s[t] = x[u32(relevant[t])] + kappa[t] * x[u32(irrelevant[t])] + x.dtype.type(sign[t]) * x[K - 1]
    cuda.syncthreads()


@device
def _coefficient(w, j, first, step, relevant, irrelevant, kappa, sign, n_keys, K):
    """Entry j of sum_t w_t code_t over the tokens first, first + step, .."""
    total = w.dtype.type(0)
    of_label = j == K - 1
    t, n_keys, j = i32(first), i32(n_keys), i32(j)
    while t < n_keys:
        at = u32(t)
        if relevant[at] == j:
            total += w[at]
        if irrelevant[at] == j:
            total += kappa[at] * w[at]
        if of_label:
            total += w.dtype.type(sign[at]) * w[at]
        t = i32(t + step)
    return total


@device
def _scatter_add(y, w, relevant, irrelevant, kappa, sign, n_keys, K, partial):
    """y = sum_t w_t code_t for y (K,), w (n_keys,). Each thread looks through tokens for its column: additions in order."""
    me = cuda.threadIdx.x
    parts = THREADS // K
    if parts < 2:
        for j in range(me, K, THREADS):
            y[j] = _coefficient(w, j, 0, 1, relevant, irrelevant, kappa, sign, n_keys, K)
    else:
        part = me // K
        total = partial.dtype.type(0)
        if part < parts:
            total = _coefficient(w, me - part * K, part, parts, relevant, irrelevant, kappa, sign, n_keys, K)
        partial[me] = total
        cuda.syncthreads()
        if me < K:
            for other in range(1, parts):
                total += partial[other * K + me]
            y[me] = total
    cuda.syncthreads()


@device
def _attend(attn, c, g, relevant, irrelevant, kappa, sign, last, G, n_keys, K, partial):
    """attn (n_keys,), the context's code c (K,) and g (K,), the scores of the dictionary's columns."""
    r, i, k = relevant[last], irrelevant[last], kappa[last]
    for j in range(cuda.threadIdx.x, K, THREADS):
        g[j] = G[r * K + j] + k * G[i * K + j]  # g = code_query^T G; the query carries no label
    cuda.syncthreads()
    _gather(attn, g, relevant, irrelevant, kappa, sign, n_keys, K)  # s_t = g^T code_t
    block.softmax(attn, n_keys, partial)  # attn_t = exp(s_t) / sum_r exp(s_r)
    _scatter_add(c, attn, relevant, irrelevant, kappa, sign, n_keys, K, partial)  # c = sum_t attn_t code_t


@kernel
def forward_block(F, attn, C, U, relevant, irrelevant, kappa, sign, rows, n_keys, G, H_T, a, K):
    """F (B,), attn (B, n_keys), the contexts' codes C (B, K), U (B, m); rows = l+1."""
    m = a.shape[0]
    shared = cuda.shared.array(0, a.dtype)
    partial, s, rest = shared[:THREADS], shared[THREADS : THREADS + n_keys], shared[THREADS + n_keys :]
    c, g, u = rest[:K], rest[K : 2 * K], rest[2 * K :]
    n = cuda.blockIdx.x
    r, i, k, z = relevant[n * rows :], irrelevant[n * rows :], kappa[n * rows :], sign[n * rows :]
    _attend(s, c, g, r, i, k, z, rows - 1, G, n_keys, K, partial)
    score = block.mlp(u, c, H_T, a, K, m, partial)
    block.copy(attn[n * n_keys :], s, n_keys)
    block.copy(C[n * K :], c, K)
    block.copy(U[n * m :], u, m)
    if cuda.threadIdx.x == 0:
        F[n] = score


@kernel
def step_block(
    each, dU, C, dg, queries, relevant, irrelevant, kappa, sign, labels, rows, n_keys, G, H, H_T, a, K, kind
):
    """each (B, m+1) and dU (B, m) as in `dense.step_block`; C, dg and the queries' codes (B, K)."""
    B, m = labels.shape[0], a.shape[0]
    shared = cuda.shared.array(0, a.dtype)
    partial, attn, rest = shared[:THREADS], shared[THREADS : THREADS + n_keys], shared[THREADS + n_keys :]
    ds, c, dc, u = rest[:n_keys], rest[n_keys : n_keys + K], rest[n_keys + K : n_keys + 2 * K], rest[n_keys + 2 * K :]
    n = cuda.blockIdx.x
    r, i, k, z = relevant[n * rows :], irrelevant[n * rows :], kappa[n * rows :], sign[n * rows :]
    _attend(attn, c, dc, r, i, k, z, rows - 1, G, n_keys, K, partial)
    F = block.mlp(u, c, H_T, a, K, m, partial)
    if cuda.threadIdx.x == 0:
        each[n * (m + 1) + m] = block.loss_value(kind, F, labels[n]) / B
    g = block.loss_slope(kind, F, labels[n]) / B
    block.mlp_backward(dc, each[n * (m + 1) :], dU[n * m :], a.dtype.type(g), u, H, a, K, m, partial)
    block.copy(C[n * K :], c, K)
    mean = block.dot(c, dc, K, partial)  # sum_r attn_r dattn_r = c . dc
    _gather(ds, dc, r, i, k, z, n_keys, K)  #         c = sum_t attn_t code_t  =>  dattn_t
    block.softmax_backward(ds, attn, mean, n_keys)  # attn = softmax(s)        =>  ds_t = attn_t (dattn_t - mean)
    _scatter_add(c, ds, r, i, k, z, n_keys, K, partial)  # s_t = g^T code_t     =>  dg = sum_t ds_t code_t
    block.copy(dg[n * K :], c, K)
    for j in range(cuda.threadIdx.x, K, THREADS):
        total = a.dtype.type(0)
        if r[rows - 1] == j:
            total += a.dtype.type(1)
        if i[rows - 1] == j:
            total += k[rows - 1]
        queries[n * K + j] = total  # g = code_query^T G  =>  dG = code_query dg^T


def forward(
    E: Any,
    relevant: Any,
    irrelevant: Any,
    kappa: Any,
    sign: Any,
    n_keys: int,
    W_Q: Any,
    W_K: Any,
    W_V: Any,
    W_O: Any,
    a: Any,
) -> tuple[Any, Any, Any, Any]:
    """F (B,), attn (B, n_keys), contexts (B, d), U (B, m), on the GPU; arguments as those of the CPU's `coded.forward`."""
    B, rows = relevant.shape
    (d, K), m, dtype = E.shape, a.size, a.dtype
    F, attn, contexts, U = (empty(shape, dtype) for shape in (B, (B, n_keys), (B, d), (B, m)))
    with scratch:
        E, C = matrix(E), scratch(B * K, dtype)
        _, _, G, _, _, H_T = _merge(E, W_Q, W_K, W_V, W_O, backward=False)
        codes = map(flat, (relevant, irrelevant, kappa, sign))
        arguments = (F, flat(attn), C, flat(U), *codes, rows, n_keys, G.array, H_T.array, a, K)
        launch(forward_block, B, *arguments, shared=shared_bytes(n_keys, K, m, dtype.itemsize))
        product(Matrix(C, (B, K)), E.T, flat(contexts))  # sum_t attn_t p_t = E c
    return F, attn, contexts, U


def step(
    parts: list[Any],
    E: Any,
    relevant: Any,
    irrelevant: Any,
    kappa: Any,
    sign: Any,
    labels: Any,
    n_keys: int,
    W_Q: Any,
    W_K: Any,
    W_V: Any,
    W_O: Any,
    a: Any,
    kind: int,
) -> None:
    """As `dense.step`, of codes over the dictionary E (d, K); arguments as those of the CPU's `coded.step`."""
    dW_Q, dW_K, dW_V, dW_O, _, da_and_loss = parts
    with scratch:
        B, rows = relevant.shape
        K, m, dtype = E.shape[1], a.size, a.dtype
        E = matrix(E)
        left, right, G, V, H, H_T = _merge(E, W_Q, W_K, W_V, W_O)
        each, dU, C, dg, queries = (scratch(B * size, dtype) for size in (m + 1, m, K, K, K))
        codes = map(flat, (relevant, irrelevant, kappa, sign))
        arguments = (*codes, labels, rows, n_keys, G.array, H.array, H_T.array, a, K, kind)
        room = shared_bytes(n_keys, K, m, dtype.itemsize)
        launch(step_block, B, each, dU, C, dg, queries, *arguments, shared=room)
        dH = product(Matrix(dU, (B, m)).T, Matrix(C, (B, K)), n_ranges=ranges_of(B))  # u = H c  =>  dH = du c^T
        dG = product(Matrix(queries, (B, K)).T, Matrix(dg, (B, K)), n_ranges=ranges_of(B))  # dG = code_query dg^T
        column_sums(da_and_loss, each, B, m + 1)
        W_O = matrix(W_O)
        product(dH, V.T, dW_O)  # H = W_O V   =>  dW_O = dH V^T
        product(product(W_O.T, dH), E.T, dW_V)  # dV = W_O^T dH,  V = W_V E  =>  dW_V = dV E^T
        product(product(left, dG), E.T, dW_K)  #  G = A^T B: dB = A dG,      B = W_K E  =>  dW_K = dB E^T
        product(product(right, dG.T), E.T, dW_Q)  #          dA = B dG^T,    A = W_Q E  =>  dW_Q = dA E^T


def _merge(E: Matrix, W_Q: Any, W_K: Any, W_V: Any, W_O: Any, backward: bool = True) -> tuple[Any, ...]:
    """A = W_Q E, B = W_K E, G = A^T B (K, K), V = W_V E, H = W_O V (m, K) unless only forward, and H^T."""
    W_Q, W_K, W_V, W_O = map(matrix, (W_Q, W_K, W_V, W_O))
    A, B, V = product(W_Q, E), product(W_K, E), product(W_V, E)
    return A, B, product(A.T, B), V, product(W_O, V) if backward else None, product(V.T, W_O.T)
