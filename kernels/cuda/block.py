"""What a block of threads does together. All its threads call these, and what they write is there for all when they return.

Inner loops count in 32 bits and index without a sign: of a signed index numba asks whether it counts from the end, and a
`range` counts in 64 bits. Together that took two thirds of all instructions. A prompt fits into shared memory, so that no
index within it comes near 2^31.

Legend   partial (THREADS,) in shared memory, for a number of each thread;   the rest as in kernels/__init__.py, of one prompt
"""

import math

import numpy as np

from ..layers import loss as losses
from .compile import SIMULATED, THREADS, cuda, device, scalar

__all__ = [
    "copy",
    "dot",
    "i32",
    "loss_slope",
    "loss_value",
    "mlp",
    "mlp_backward",
    "row_products",
    "softmax",
    "softmax_backward",
    "sum_of_rows",
    "u32",
]

LANES = 2 if SIMULATED else 8  # threads that share a row
i32, u32 = np.int32, np.uint32
loss_value, loss_slope = scalar(losses.value), scalar(losses.slope)


@device
def _reduce(partial, largest):
    """The largest entry of partial (THREADS,), or the sum of all, by a tree; partial is overwritten."""
    me = cuda.threadIdx.x
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if me < half:
            other = partial[me + half]
            if not largest:
                partial[me] += other
            elif other > partial[me]:
                partial[me] = other
        cuda.syncthreads()
        half //= 2
    found = partial[0]
    cuda.syncthreads()
    return found


@device
def _sum(partial):
    """The sum of partial, as `_reduce`."""
    return _reduce(partial, False)


@device
def _largest(partial):
    """The largest entry of partial, as `_reduce`."""
    return _reduce(partial, True)


@device
def dot(x, y, n, partial):
    """x . y of the first n entries."""
    total = partial.dtype.type(0)
    j, n = i32(cuda.threadIdx.x), i32(n)
    while j < n:
        total += x[u32(j)] * y[u32(j)]
        j = i32(j + THREADS)
    partial[cuda.threadIdx.x] = total
    return _sum(partial)


@device
def row_products(s, P, u, k, n, partial):
    """s_i = P_i . u for s (k,), P (k, n) flat, u (n,): a few threads a row."""
    me = cuda.threadIdx.x
    lane, i = i32(me % LANES), i32(me // LANES)
    turns = i32(-(-k // (THREADS // LANES)))
    k, n = i32(k), i32(n)
    while turns > 0:
        total = partial.dtype.type(0)
        if i < k:
            at, j = i32(i * n + lane), lane
            while j < n:
                total += P[u32(at)] * u[u32(j)]
                at, j = i32(at + LANES), i32(j + LANES)
        partial[u32(me)] = total
        cuda.syncthreads()
        if lane == 0 and i < k:
            for other in range(1, LANES):
                total += partial[u32(me + other)]
            s[u32(i)] = total
        cuda.syncthreads()
        i, turns = i32(i + THREADS // LANES), i32(turns - 1)


@device
def sum_of_rows(c, w, P, k, n, partial):
    """c = sum_i w_i P_i for c (n,), w (k,), P (k, n) flat: a thread a column, or several with a share of the rows each."""
    me, parts = cuda.threadIdx.x, THREADS // n
    k = i32(k)
    if parts < 2:
        for j in range(me, n, THREADS):
            total = partial.dtype.type(0)
            i, at, step = i32(0), i32(j), i32(n)
            while i < k:
                total += w[u32(i)] * P[u32(at)]
                i, at = i32(i + 1), i32(at + step)
            c[j] = total
    else:
        total = partial.dtype.type(0)
        i, at, step = i32(me // n), i32(me), i32(parts * n)
        if i < parts:
            while i < k:
                total += w[u32(i)] * P[u32(at)]
                i, at = i32(i + parts), i32(at + step)
        partial[u32(me)] = total
        cuda.syncthreads()
        if me < n:
            for other in range(1, parts):
                total += partial[u32(other * n + me)]
            c[u32(me)] = total
    cuda.syncthreads()


@device
def softmax(s, k, partial):
    """s <- softmax(s) in place, the largest score subtracted first; NaN where a score has overflowed to -inf."""
    me = cuda.threadIdx.x
    top = s[0]
    for i in range(me, k, THREADS):
        if s[i] > top:
            top = s[i]
    partial[me] = top
    top = _largest(partial)
    zero = partial.dtype.type(0)
    total = zero
    for i in range(me, k, THREADS):
        s[i] = math.exp(s[i] - top) + zero * s[i]  # NaN where s_i is infinite
        total += s[i]
    partial[me] = total
    total = _sum(partial)
    for i in range(me, k, THREADS):
        s[i] = s[i] / total
    cuda.syncthreads()


@device
def softmax_backward(ds, attn, mean, k):
    """ds_i <- attn_i (dattn_i - mean), where ds holds dattn: attn = softmax(s), backward."""
    for i in range(cuda.threadIdx.x, k, THREADS):
        alone = k == 1  # its softmax is constant, and ds = 0 to the last bit
        ds[i] = attn[i] * (ds[i] - (ds[i] if alone else mean))
    cuda.syncthreads()


@device
def mlp(u, c, M_T, a, n, m, partial):
    """F, and u (m,) = M c: F = a^T relu(u), from M_T = M^T (n, m) flat."""
    sum_of_rows(u, c, M_T, n, m, partial)  # u = M c
    zero = partial.dtype.type(0)
    total = zero
    for i in range(cuda.threadIdx.x, m, THREADS):
        total += a[i] * (zero * u[i] if u[i] <= 0 else u[i])  # F = sum_i a_i relu(u_i); NaN for -inf, and NaN passes
    partial[cuda.threadIdx.x] = total
    return _sum(partial)


@device
def mlp_backward(dc, da, dU, g, u, M, a, n, m, partial):
    """dc (n,), this prompt's share of da (m,) and its du in dU (m,); u is overwritten by du too. M (m, n) flat."""
    zero = partial.dtype.type(0)
    for i in range(cuda.threadIdx.x, m, THREADS):
        off = u[i] <= 0
        da[i] = g * (zero if off else u[i])  # F = a^T relu(u)  =>  da = g relu(u)
        u[i] = zero if off else g * a[i]  #                         du_i = g a_i 1[u_i > 0]
        dU[i] = u[i]
    cuda.syncthreads()
    sum_of_rows(dc, u, M, m, n, partial)  # u = M c  =>  dc = M^T du


@device
def copy(y, x, n):
    """y = x, n entries."""
    j, n = i32(cuda.threadIdx.x), i32(n)
    while j < n:
        y[u32(j)] = x[u32(j)]
        j = i32(j + THREADS)
    cuda.syncthreads()
