"""The steps of `dense` and `coded` on a GPU, through numba.cuda: the one file that imports it.

Nothing else of the kernels needs this file or imports it. A block of threads takes one prompt: its scores, contexts and, where
they fit, its tokens lie in shared memory, so that tokens are read once from the GPU's memory. In the order of `dense.step`:

    probes   = p_query QK                                    one product for all prompts
    each prompt, forward and backward, a block each:         du_n, c_n, dprobe_n, g_n relu(u_n), loss_n
    dOV      = sum_n du_n c_n^T,  dQK = sum_n p_query dprobe^T,  da = sum_n g_n relu(u_n)     products and sums over prompts

Every sum has a fixed order, settled by sizes alone: prompts are split into ranges, each range is summed by one thread or by a
tree of fixed shape, and the ranges are added in order. There are no atomics, so the bits are the same from run to run.

Arrays are passed to kernels as they lie in memory, row by row in one dimension (`flat`), so that their types do not multiply.
Under NUMBA_ENABLE_CUDASIM=1 the same source runs as plain Python, a thread of Python for each of the GPU's: small blocks then.
All shared memory is asked for at launch, in one piece: what else there is, the simulator may hand out twice.
Derivation and numbers: docs/cuda.md.
"""

import functools
import math
import sys
import threading

import numpy as np
from numba import config, cuda

from ..core.errors import InvalidValue
from . import sampling
from .compile import cache_folder, source
from .layers import loss as losses

SIMULATED = bool(config.ENABLE_CUDASIM)
if SIMULATED:
    sys.setswitchinterval(1e-4)  # seconds; its threads wait for each other by looking again and again
SHARED_BYTES = 48 * 1024  # of a block, on every GPU; numba.cuda offers no way to ask for more
THREADS = 4 if SIMULATED else 128  # of a block; a power of 2
_LANES = 2 if SIMULATED else 8  # threads that share a row
_SIDE = 2 if SIMULATED else 16  # of the square block that makes products, each of its threads a square of
_EACH = 4  # by so many entries
_TILE = _SIDE * _EACH
_DEEP = 4 if SIMULATED else 16  # rows or columns that it reads at a time
_WIDE = 2 if SIMULATED else 32  # columns that a block sums
_TALL = THREADS // _WIDE
_RANGE = 8 if SIMULATED else 512  # prompts to a range, at least
_MOST_RANGES = 256


def _kernel(function):
    """Compile a function for the GPU on first call, and keep it with the CPU's kernels."""
    if SIMULATED:
        return cuda.jit(_quiet(function))
    folder, before = cache_folder(), config.CACHE_DIR
    try:
        config.CACHE_DIR = str(folder or "")
        return cuda.jit(function, cache=folder is not None)
    finally:
        config.CACHE_DIR = before


def _quiet(function):
    """The simulator's NumPy warns of overflow; a GPU does not."""

    @functools.wraps(function)
    def quiet(*arguments):
        with np.errstate(all="ignore"):
            function(*arguments)

    return quiet


def _device(function):
    return cuda.jit(function, device=True)


def _scalar(function):
    """A kernel of real scalars as a function of the GPU: the same source, with `math` in the place of NumPy."""
    plain = source(function)
    plain.__globals__["np"] = math
    return _device(plain)


_value, _slope, _token = map(_scalar, (losses.value, losses.slope, sampling.token))


# ---- What a block does together. All its threads call these, and what they write is there for all when they return.
#
# Inner loops count in 32 bits and index without a sign: of a signed index numba asks whether it counts from the end, and a
# `range` counts in 64 bits. Together that took two thirds of all instructions. A prompt fits into shared memory, so that no
# index within it comes near 2^31.

_i, _u = np.int32, np.uint32


@_device
def _fold(partial, largest):
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


@_device
def _sum(partial):
    return _fold(partial, False)


@_device
def _largest(partial):
    return _fold(partial, True)


@_device
def _dot(x, y, n, partial):
    """x . y of the first n entries."""
    total = partial.dtype.type(0)
    j, n = _i(cuda.threadIdx.x), _i(n)
    while j < n:
        total += x[_u(j)] * y[_u(j)]
        j = _i(j + THREADS)
    partial[cuda.threadIdx.x] = total
    return _sum(partial)


@_device
def _row_products(s, P, u, k, n, partial):
    """s_i = P_i . u for s (k,), P (k, n) flat, u (n,): a few threads a row."""
    me = cuda.threadIdx.x
    lane, i = _i(me % _LANES), _i(me // _LANES)
    turns = _i(-(-k // (THREADS // _LANES)))
    k, n = _i(k), _i(n)
    while turns > 0:
        total = partial.dtype.type(0)
        if i < k:
            at, j = _i(i * n + lane), lane
            while j < n:
                total += P[_u(at)] * u[_u(j)]
                at, j = _i(at + _LANES), _i(j + _LANES)
        partial[_u(me)] = total
        cuda.syncthreads()
        if lane == 0 and i < k:
            for other in range(1, _LANES):
                total += partial[_u(me + other)]
            s[_u(i)] = total
        cuda.syncthreads()
        i, turns = _i(i + THREADS // _LANES), _i(turns - 1)


@_device
def _sum_of_rows(c, w, P, k, n, partial):
    """c = sum_i w_i P_i for c (n,), w (k,), P (k, n) flat: a thread a column, or several with a share of the rows each."""
    me, parts = cuda.threadIdx.x, THREADS // n
    k = _i(k)
    if parts < 2:
        for j in range(me, n, THREADS):
            total = partial.dtype.type(0)
            i, at, step = _i(0), _i(j), _i(n)
            while i < k:
                total += w[_u(i)] * P[_u(at)]
                i, at = _i(i + 1), _i(at + step)
            c[j] = total
    else:
        total = partial.dtype.type(0)
        i, at, step = _i(me // n), _i(me), _i(parts * n)
        if i < parts:
            while i < k:
                total += w[_u(i)] * P[_u(at)]
                i, at = _i(i + parts), _i(at + step)
        partial[_u(me)] = total
        cuda.syncthreads()
        if me < n:
            for other in range(1, parts):
                total += partial[_u(other * n + me)]
            c[_u(me)] = total
    cuda.syncthreads()


@_device
def _softmax(s, k, partial):
    """s <- softmax(s) in place, the largest score subtracted first."""
    me = cuda.threadIdx.x
    top = s[0]
    for i in range(me, k, THREADS):
        if s[i] > top:
            top = s[i]
    partial[me] = top
    top = _largest(partial)
    total = partial.dtype.type(0)
    for i in range(me, k, THREADS):
        s[i] = math.exp(s[i] - top)
        total += s[i]
    partial[me] = total
    total = _sum(partial)
    for i in range(me, k, THREADS):
        s[i] = s[i] / total
    cuda.syncthreads()


@_device
def _centred(ds, attn, mean, k):
    """ds_i <- attn_i (dattn_i - mean), where ds holds dattn: attn = softmax(s), backward."""
    for i in range(cuda.threadIdx.x, k, THREADS):
        alone = k == 1  # its softmax is constant, and ds = 0 to the last bit
        ds[i] = attn[i] * (ds[i] - (ds[i] if alone else mean))
    cuda.syncthreads()


@_device
def _mlp(u, c, M_T, a, n, m, partial):
    """F, and u (m,) = M c: F = a^T relu(u), from M_T = M^T (n, m) flat."""
    _sum_of_rows(u, c, M_T, n, m, partial)  # u = M c
    zero = partial.dtype.type(0)
    total = zero
    for i in range(cuda.threadIdx.x, m, THREADS):
        total += a[i] * (zero if u[i] <= 0 else u[i])  # F = sum_i a_i relu(u_i); NaN passes
    partial[cuda.threadIdx.x] = total
    return _sum(partial)


@_device
def _mlp_backward(dc, da, dU, g, u, M, a, n, m, partial):
    """dc (n,), this prompt's share of da (m,) and its du in dU (m,); u is overwritten by du too. M (m, n) flat."""
    zero = partial.dtype.type(0)
    for i in range(cuda.threadIdx.x, m, THREADS):
        off = u[i] <= 0
        da[i] = g * (zero if off else u[i])  # F = a^T relu(u)  =>  da = g relu(u)
        u[i] = zero if off else g * a[i]  #                         du_i = g a_i 1[u_i > 0]
        dU[i] = u[i]
    cuda.syncthreads()
    _sum_of_rows(dc, u, M, m, n, partial)  # u = M c  =>  dc = M^T du


@_device
def _copy(y, x, n):
    j, n = _i(cuda.threadIdx.x), _i(n)
    while j < n:
        y[_u(j)] = x[_u(j)]
        j = _i(j + THREADS)
    cuda.syncthreads()


# ---- The dense step: tokens (B, l+1, d) flat


@_device
def _attend(attn, c, P, u, keys, d, partial):
    """attn (keys,) and c (d,) from keys P (keys, d) flat and the probe u (d,)."""
    _row_products(attn, P, u, keys, d, partial)  # s_i = p_i . u
    _softmax(attn, keys, partial)  # attn_i = exp(s_i) / sum_r exp(s_r)
    _sum_of_rows(c, attn, P, keys, d, partial)  # c = sum_i attn_i p_i


@_kernel
def _dense_forward(F, attn, C, U, tokens, rows, keys, d, probes, OV_T, a, stage):
    m = a.shape[0]
    shared = cuda.shared.array(0, a.dtype)
    partial, s, rest = shared[:THREADS], shared[THREADS : THREADS + keys], shared[THREADS + keys :]
    c, u = rest[:d], rest[d : d + m]
    n = cuda.blockIdx.x
    P = tokens[n * rows * d : (n * rows + keys) * d]
    if stage:
        _copy(rest[d + m :], P, keys * d)
        P = rest[d + m :]
    _attend(s, c, P, probes[n * d : (n + 1) * d], keys, d, partial)
    score = _mlp(u, c, OV_T, a, d, m, partial)
    _copy(attn[n * keys : (n + 1) * keys], s, keys)
    _copy(C[n * d : (n + 1) * d], c, d)
    _copy(U[n * m : (n + 1) * m], u, m)
    if cuda.threadIdx.x == 0:
        F[n] = score


@_kernel
def _dense_step(each, dU, C, dprobes, tokens, labels, rows, keys, d, probes, OV, OV_T, a, kind, stage):
    """each (B, m+1): a prompt's shares of da and, last, of the mean loss; dU (B, m), C (B, d), dprobes (B, d)."""
    B, m = labels.shape[0], a.shape[0]
    shared = cuda.shared.array(0, a.dtype)
    partial, attn, rest = shared[:THREADS], shared[THREADS : THREADS + keys], shared[THREADS + keys :]
    ds, c, dc, u = rest[:keys], rest[keys : keys + d], rest[keys + d : keys + 2 * d], rest[keys + 2 * d :]
    n = cuda.blockIdx.x
    P = tokens[n * rows * d : (n * rows + keys) * d]
    if stage:
        _copy(u[m:], P, keys * d)
        P = u[m:]
    _copy(dc, probes[n * d :], d)
    _attend(attn, c, P, dc, keys, d, partial)
    F = _mlp(u, c, OV_T, a, d, m, partial)
    if cuda.threadIdx.x == 0:
        each[n * (m + 1) + m] = _value(kind, F, labels[n]) / B
    g = _slope(kind, F, labels[n]) / B
    _mlp_backward(dc, each[n * (m + 1) :], dU[n * m :], a.dtype.type(g), u, OV, a, d, m, partial)
    _copy(C[n * d :], c, d)
    mean = _dot(c, dc, d, partial)  # sum_r attn_r dattn_r = c . dc
    _row_products(ds, P, dc, keys, d, partial)  # c = sum_i attn_i p_i    =>  dattn_i = p_i . dc
    _centred(ds, attn, mean, keys)  #             attn = softmax(s)       =>  ds_i = attn_i (dattn_i - mean)
    _sum_of_rows(c, ds, P, keys, d, partial)  #   s_i = p_i . u           =>  dprobe = sum_i ds_i p_i
    _copy(dprobes[n * d :], c, d)


# ---- The coded step: token = E_r + kappa E_i + sign E_q, as in `coded`; relevant, irrelevant, kappa, sign (B, l+1) flat


@_device
def _read(s, x, relevant, irrelevant, kappa, sign, keys, K):
    """s_t = x^T code_t for s (keys,), x (K,)."""
    for t in range(cuda.threadIdx.x, keys, THREADS):
        s[t] = x[_u(relevant[t])] + kappa[t] * x[_u(irrelevant[t])] + x.dtype.type(sign[t]) * x[K - 1]
    cuda.syncthreads()


@_device
def _coefficient(w, j, first, step, relevant, irrelevant, kappa, sign, keys, K):
    """Entry j of sum_t w_t code_t over the tokens first, first + step, .."""
    total = w.dtype.type(0)
    of_label = j == K - 1
    t, keys, j = _i(first), _i(keys), _i(j)
    while t < keys:
        at = _u(t)
        if relevant[at] == j:
            total += w[at]
        if irrelevant[at] == j:
            total += kappa[at] * w[at]
        if of_label:
            total += w.dtype.type(sign[at]) * w[at]
        t = _i(t + step)
    return total


@_device
def _spread(y, w, relevant, irrelevant, kappa, sign, keys, K, partial):
    """y = sum_t w_t code_t for y (K,), w (keys,). Each thread looks through tokens for its column: additions in order."""
    me = cuda.threadIdx.x
    parts = THREADS // K
    if parts < 2:
        for j in range(me, K, THREADS):
            y[j] = _coefficient(w, j, 0, 1, relevant, irrelevant, kappa, sign, keys, K)
    else:
        part = me // K
        total = partial.dtype.type(0)
        if part < parts:
            total = _coefficient(w, me - part * K, part, parts, relevant, irrelevant, kappa, sign, keys, K)
        partial[me] = total
        cuda.syncthreads()
        if me < K:
            for other in range(1, parts):
                total += partial[other * K + me]
            y[me] = total
    cuda.syncthreads()


@_device
def _attend_codes(attn, c, g, relevant, irrelevant, kappa, sign, last, G, keys, K, partial):
    """attn (keys,), the context's code c (K,) and g (K,), the scores of the dictionary's columns."""
    r, i, k = relevant[last], irrelevant[last], kappa[last]
    for j in range(cuda.threadIdx.x, K, THREADS):
        g[j] = G[r * K + j] + k * G[i * K + j]  # g = code_query^T G; the query carries no label
    cuda.syncthreads()
    _read(attn, g, relevant, irrelevant, kappa, sign, keys, K)  # s_t = g^T code_t
    _softmax(attn, keys, partial)  # attn_t = exp(s_t) / sum_r exp(s_r)
    _spread(c, attn, relevant, irrelevant, kappa, sign, keys, K, partial)  # c = sum_t attn_t code_t


@_kernel
def _coded_forward(F, attn, C, U, relevant, irrelevant, kappa, sign, rows, keys, G, H_T, a, K):
    m = a.shape[0]
    shared = cuda.shared.array(0, a.dtype)
    partial, s, rest = shared[:THREADS], shared[THREADS : THREADS + keys], shared[THREADS + keys :]
    c, g, u = rest[:K], rest[K : 2 * K], rest[2 * K :]
    n = cuda.blockIdx.x
    r, i, k, z = relevant[n * rows :], irrelevant[n * rows :], kappa[n * rows :], sign[n * rows :]
    _attend_codes(s, c, g, r, i, k, z, rows - 1, G, keys, K, partial)
    score = _mlp(u, c, H_T, a, K, m, partial)
    _copy(attn[n * keys :], s, keys)
    _copy(C[n * K :], c, K)
    _copy(U[n * m :], u, m)
    if cuda.threadIdx.x == 0:
        F[n] = score


@_kernel
def _coded_step(each, dU, C, dg, queries, relevant, irrelevant, kappa, sign, labels, rows, keys, G, H, H_T, a, K, kind):
    """each (B, m+1) and dU (B, m) as in `_dense_step`; C, dg and the queries' codes (B, K)."""
    B, m = labels.shape[0], a.shape[0]
    shared = cuda.shared.array(0, a.dtype)
    partial, attn, rest = shared[:THREADS], shared[THREADS : THREADS + keys], shared[THREADS + keys :]
    ds, c, dc, u = rest[:keys], rest[keys : keys + K], rest[keys + K : keys + 2 * K], rest[keys + 2 * K :]
    n = cuda.blockIdx.x
    r, i, k, z = relevant[n * rows :], irrelevant[n * rows :], kappa[n * rows :], sign[n * rows :]
    _attend_codes(attn, c, dc, r, i, k, z, rows - 1, G, keys, K, partial)
    F = _mlp(u, c, H_T, a, K, m, partial)
    if cuda.threadIdx.x == 0:
        each[n * (m + 1) + m] = _value(kind, F, labels[n]) / B
    g = _slope(kind, F, labels[n]) / B
    _mlp_backward(dc, each[n * (m + 1) :], dU[n * m :], a.dtype.type(g), u, H, a, K, m, partial)
    _copy(C[n * K :], c, K)
    mean = _dot(c, dc, K, partial)  # sum_r attn_r dattn_r = c . dc
    _read(ds, dc, r, i, k, z, keys, K)  # c = sum_t attn_t code_t  =>  dattn_t
    _centred(ds, attn, mean, keys)  #     attn = softmax(s)        =>  ds_t = attn_t (dattn_t - mean)
    _spread(c, ds, r, i, k, z, keys, K, partial)  # s_t = g^T code_t  =>  dg = sum_t ds_t code_t
    _copy(dg[n * K :], c, K)
    for j in range(cuda.threadIdx.x, K, THREADS):
        total = a.dtype.type(0)
        if r[rows - 1] == j:
            total += a.dtype.type(1)
        if i[rows - 1] == j:
            total += k[rows - 1]
        queries[n * K + j] = total  # g = code_query^T G  =>  dG = code_query dg^T


# ---- Products and sums over prompts


@_kernel
def _product(C, A, a_row, a_column, B, b_row, b_column, rows, inner, columns, ranges):
    """C (ranges, rows, columns) flat: A B over each range of the inner index, for matrices of any strides.

    A block makes a tile of C, and each of its threads a square of that.
    """
    shared = cuda.shared.array(0, C.dtype)
    left, right = shared[: _DEEP * _TILE], shared[_DEEP * _TILE :]
    mine = cuda.local.array((_EACH, _EACH), C.dtype)
    x, y = cuda.threadIdx.x % _SIDE, cuda.threadIdx.x // _SIDE
    top, edge = cuda.blockIdx.x * _TILE, cuda.blockIdx.y * _TILE
    begin = cuda.blockIdx.z * inner // ranges
    end = (cuda.blockIdx.z + 1) * inner // ranges
    zero = C.dtype.type(0)
    for p in range(_EACH):
        for q in range(_EACH):
            mine[p, q] = zero
    for deep in range(begin, end, _DEEP):
        for e in range(cuda.threadIdx.x, _DEEP * _TILE, _SIDE * _SIDE):
            k, i = e // _TILE, e % _TILE
            inside = deep + k < end
            left[e] = A[(top + i) * a_row + (deep + k) * a_column] if inside and top + i < rows else zero
            right[e] = B[(deep + k) * b_row + (edge + i) * b_column] if inside and edge + i < columns else zero
        cuda.syncthreads()
        for k in range(_DEEP):
            for p in range(_EACH):
                for q in range(_EACH):
                    mine[p, q] += left[_u(k * _TILE + p * _SIDE + y)] * right[_u(k * _TILE + q * _SIDE + x)]
        cuda.syncthreads()
    for p in range(_EACH):
        for q in range(_EACH):
            i, j = top + p * _SIDE + y, edge + q * _SIDE + x
            if i < rows and j < columns:
                C[(cuda.blockIdx.z * rows + i) * columns + j] = mine[p, q]


@_kernel
def _column_sums(sums, X, rows, columns, ranges):
    """sums (ranges, columns) flat: over each range of the rows of X (rows, columns) flat."""
    partial = cuda.shared.array(0, X.dtype)
    x, y = cuda.threadIdx.x % _WIDE, cuda.threadIdx.x // _WIDE
    j = cuda.blockIdx.x * _WIDE + x
    total = X.dtype.type(0)
    if j < columns:
        for i in range(cuda.blockIdx.y * rows // ranges + y, (cuda.blockIdx.y + 1) * rows // ranges, _TALL):
            total += X[i * columns + j]
    partial[cuda.threadIdx.x] = total
    cuda.syncthreads()
    if y == 0 and j < columns:
        for other in range(1, _TALL):
            total += partial[other * _WIDE + x]
        sums[cuda.blockIdx.y * columns + j] = total


def _ranges(n):
    """Into how many ranges n prompts are split: a function of their number alone."""
    return max(1, min(_MOST_RANGES, n // _RANGE))


def _blocks(n, size=THREADS):
    return -(-n // size)


_configuring = threading.Lock()


def _launch(kernel, blocks, *arguments, threads=THREADS, shared=0):
    """Run a kernel on so many blocks, with so many bytes of shared memory. Numba would warn of few blocks: they are as many
    as the problem has work for."""
    with _configuring:
        before, config.CUDA_LOW_OCCUPANCY_WARNINGS = config.CUDA_LOW_OCCUPANCY_WARNINGS, 0
        try:
            ready = kernel[blocks, threads, 0, shared]
        finally:
            config.CUDA_LOW_OCCUPANCY_WARNINGS = before
    ready(*arguments)


def empty(shape, dtype):
    """An array on the GPU; MemoryError if there is no room for it."""
    return _in_memory(lambda: cuda.device_array(shape, dtype), math.prod(np.atleast_1d(shape).tolist()), dtype)


def _in_memory(make, size, dtype):
    for _ in range(2):
        try:
            return make()
        except Exception as error:  # of the driver
            if "OUT_OF_MEMORY" not in str(error):
                raise
            scratch.spare.clear()
    raise MemoryError(f"{size * np.dtype(dtype).itemsize} bytes more do not fit into the GPU's memory")


class _Scratch(threading.local):
    """Room for what a step needs on its way. Each thread keeps that of its last step for the next: to ask the GPU for memory
    and to give it back makes it wait. Kernels run in the order of their launches, so that nothing is overwritten too soon."""

    def __init__(self):
        self.spare, self.used = {}, []

    def __enter__(self):
        self.used = []

    def __exit__(self, *_):
        self.spare = {}  # what this step did not need is let go
        for array in self.used:
            self.spare.setdefault((array.size, array.dtype), []).append(array)
        self.used = []

    def __call__(self, size, dtype):
        found = self.spare.get((size, np.dtype(dtype)))
        self.used.append(found.pop() if found else empty(size, dtype))
        return self.used[-1]


scratch = _Scratch()


class Matrix:
    """A matrix on the GPU: `array` flat, and how far apart its rows and its columns are. `.T` is the same memory."""

    def __init__(self, array, shape, strides=None):
        self.array, self.shape, self.strides = array, shape, strides or (shape[1], 1)

    @property
    def T(self):
        return Matrix(self.array, self.shape[::-1], self.strides[::-1])


def flat(array):
    """An array of any number of axes as one of one, the same memory."""
    return array.reshape(array.size)


def matrix(array):
    return Matrix(flat(array), array.shape)


def product(A, B, out=None, ranges=1):
    """A B as a `Matrix`, in the flat array `out` or in scratch; over so many ranges of the inner index, added in order."""
    (rows, inner), columns = A.shape, B.shape[1]
    dtype = A.array.dtype
    out = scratch(rows * columns, dtype) if out is None else out
    slabs = out if ranges == 1 else scratch(ranges * rows * columns, dtype)
    grid = (_blocks(rows, _TILE), _blocks(columns, _TILE), ranges)
    shape = (rows, inner, columns, ranges)
    room = 2 * _DEEP * _TILE * dtype.itemsize
    _launch(_product, grid, slabs, A.array, *A.strides, B.array, *B.strides, *shape, threads=_SIDE * _SIDE, shared=room)
    if ranges > 1:
        column_sums(out, slabs, ranges, rows * columns)
    return Matrix(out, (rows, columns))


def column_sums(out, X, rows, columns):
    """out (columns,) = the sums over the rows of X (rows, columns) flat, in two steps where there are many."""
    room = THREADS * X.dtype.itemsize
    ranges = _ranges(rows)
    if ranges > 1:
        sums = scratch(ranges * columns, X.dtype)
        _launch(_column_sums, (_blocks(columns, _WIDE), ranges), sums, X, rows, columns, ranges, shared=room)
        X, rows = sums, ranges
    _launch(_column_sums, (_blocks(columns, _WIDE), 1), out, X, rows, columns, 1, shared=room)


# ---- Arrays on the GPU


def trouble(install):
    """Why kernels cannot run here, and what to do about it, such as to `install` something; None if they can."""
    if SIMULATED:
        return None
    try:
        if not cuda.is_available():
            why = cuda.cuda_error()
            if why is None:  # the driver is well: what is missing is the compiler
                return "numba-cuda's compiler cannot be found", install
            mend = "install the driver of an NVIDIA GPU; nvidia-smi lists it, and CUDA_VISIBLE_DEVICES must not hide it"
            return _one_line(why), mend
        cuda.current_context()
    except Exception as error:  # of the driver, or of finding its parts: whatever it is, it is in the way
        return _one_line(error), "see nvidia-smi, and whether another program has taken the GPU"
    try:
        all_finite(empty(1, np.float32))
    except Exception as error:  # of the compiler, or of a driver that is older than what it makes
        return f"a kernel does not run on it ({_one_line(error)})", install
    return None


def _one_line(error):
    return " ".join(str(error).split()).rstrip(" .:")


def device_name():
    """What runs the kernels."""
    if SIMULATED:
        return "numba's simulator"
    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else name


def runtime_version():
    """The version of CUDA that kernels are compiled with."""
    return ".".join(map(str, cuda.runtime.get_version()))


def event():
    """A mark among what the GPU is given to do: `record()` sets it, `a.elapsed_time(b)` is in milliseconds."""
    return cuda.event()


def synchronize():
    """Wait until the GPU has done what it was given to do."""
    cuda.synchronize()


def place(array):
    """An array on the GPU: this one as it lies if it is there, else a copy. ValueError if it is there with gaps."""
    if isinstance(array, np.ndarray):
        whole = np.ascontiguousarray(array).reshape(
            -1
        )  # of an axis of length 1 strides may be anything, and would stay so
        return _in_memory(lambda: cuda.to_device(whole), array.size, array.dtype).reshape(array.shape)
    placed = array if hasattr(array, "copy_to_host") else cuda.as_cuda_array(array)
    if not placed.is_c_contiguous():
        raise InvalidValue(
            f"an array of shape {placed.shape} lies on the GPU transposed or with gaps; expected it row by row, without any. "
            "Give a contiguous copy of it."
        )
    return placed


def converted(array, dtype):
    """The same array, or a copy of it in another dtype."""
    if array.dtype == dtype:
        return array
    out = empty(array.shape, dtype)
    _launch(_convert, _blocks(array.size), flat(out), flat(array))
    return out


def all_finite(*arrays):
    """Whether these arrays hold neither NaN nor infinity."""
    wrong = cuda.to_device(np.zeros(1, np.int32))
    for array in arrays:
        _launch(_finite, _blocks(array.size), wrong, flat(array))
    return wrong.copy_to_host()[0] == 0


# ---- The steps, called from outside


def shared_bytes(keys, width, m, itemsize, stage=False):
    """Bytes of shared memory that a prompt takes; `width` is d, or K of codes; `stage`: with its tokens."""
    return itemsize * (THREADS + 2 * keys + 2 * width + m + (keys * width if stage else 0))


def check_room(keys, width, m, dtype):
    """ValueError if a prompt does not fit into a block's shared memory."""
    needed = shared_bytes(keys, width, m, dtype.itemsize)
    if needed > SHARED_BYTES:
        raise InvalidValue(
            f"prompts of {keys} keys of width {width}, with m = {m} neurons in {dtype}, take {needed} bytes of a GPU's shared "
            f"memory; expected at most {SHARED_BYTES}. Take backend='cpu', and bring what lies on a GPU to the host by "
            "nlicl.to_host."
        )


def _stages(keys, d, m, itemsize):
    return shared_bytes(keys, d, m, itemsize, stage=True) <= SHARED_BYTES


def gradients_of(params):
    """Room for gradients: one flat array, the loss its last entry; and parts of it, flat too: one for each of the parameters,
    and that of the last one, a, with the loss."""
    sizes = [array.size for array in params]
    whole = empty(sum(sizes) + 1, params[0].dtype)
    ends = np.cumsum(sizes).tolist()
    parts = [whole[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    return whole, [*parts, whole[ends[-2] :]]


def dense_forward(tokens, keys, W_Q, W_K, W_V, W_O, a):
    """F (B,), attn (B, keys), C (B, d), U (B, m), as `dense.forward`, on the GPU."""
    B, rows, d = tokens.shape
    m, dtype = a.size, a.dtype
    F, attn, C, U = out = [empty(shape, dtype) for shape in (B, (B, keys), (B, d), (B, m))]
    stage = _stages(keys, d, m, dtype.itemsize)
    with scratch:
        _, _, OV_T, probes = _dense_merge(tokens, W_Q, W_K, W_V, W_O, backward=False)
        arguments = (*map(flat, out), flat(tokens), rows, keys, d, probes.array, OV_T.array, a, stage)
        _launch(_dense_forward, B, *arguments, shared=shared_bytes(keys, d, m, dtype.itemsize, stage))
    return F, attn, C, U


def dense_step(parts, tokens, labels, keys, W_Q, W_K, W_V, W_O, a, kind):
    """The gradients of the mean loss, and the loss, in the parts that `gradients_of` gives."""
    dW_Q, dW_K, dW_V, dW_O, _, da_and_loss = parts
    with scratch:
        B, rows, d = tokens.shape
        m, dtype = a.size, a.dtype
        queries, OV, OV_T, probes = _dense_merge(tokens, W_Q, W_K, W_V, W_O)
        each, dU, C, dprobes = (scratch(B * size, dtype) for size in (m + 1, m, d, d))
        stage = _stages(keys, d, m, dtype.itemsize)
        arguments = (flat(tokens), labels, rows, keys, d, probes.array, OV.array, OV_T.array, a, kind, stage)
        room = shared_bytes(keys, d, m, dtype.itemsize, stage)
        _launch(_dense_step, B, each, dU, C, dprobes, *arguments, shared=room)
        dOV = product(Matrix(dU, (B, m)).T, Matrix(C, (B, d)), ranges=_ranges(B))  # u = OV c  =>  dOV = du c^T
        dQK = product(queries.T, Matrix(dprobes, (B, d)), ranges=_ranges(B))  # s_i = p_query^T QK p_i  =>  dQK
        column_sums(da_and_loss, each, B, m + 1)
        W_Q, W_K, W_V, W_O = map(matrix, (W_Q, W_K, W_V, W_O))
        product(dOV, W_V.T, dW_O)  # OV = W_O W_V    =>  dW_O = dOV W_V^T
        product(W_O.T, dOV, dW_V)  #                     dW_V = W_O^T dOV
        product(W_Q, dQK, dW_K)  #   QK = W_Q^T W_K  =>  dW_K = W_Q dQK
        product(W_K, dQK.T, dW_Q)  #                     dW_Q = W_K dQK^T


def _dense_merge(tokens, W_Q, W_K, W_V, W_O, backward=True):
    """Queries (B, d), OV (m, d) unless only forward, OV^T (d, m) and probes (B, d)."""
    B, rows, d = tokens.shape
    W_Q, W_K, W_V, W_O = map(matrix, (W_Q, W_K, W_V, W_O))
    queries = Matrix(flat(tokens)[(rows - 1) * d :], (B, d), (rows * d, 1))
    OV = product(W_O, W_V) if backward else None
    return queries, OV, product(W_V.T, W_O.T), product(queries, product(W_Q.T, W_K))


def coded_forward(E, relevant, irrelevant, kappa, sign, keys, W_Q, W_K, W_V, W_O, a):
    """F (B,), attn (B, keys), contexts (B, d), U (B, m), as `coded.forward`, on the GPU."""
    B, rows = relevant.shape
    (d, K), m, dtype = E.shape, a.size, a.dtype
    F, attn, contexts, U = (empty(shape, dtype) for shape in (B, (B, keys), (B, d), (B, m)))
    with scratch:
        E, C = matrix(E), scratch(B * K, dtype)
        _, _, G, _, _, H_T = _coded_merge(E, W_Q, W_K, W_V, W_O, backward=False)
        codes = map(flat, (relevant, irrelevant, kappa, sign))
        arguments = (F, flat(attn), C, flat(U), *codes, rows, keys, G.array, H_T.array, a, K)
        _launch(_coded_forward, B, *arguments, shared=shared_bytes(keys, K, m, dtype.itemsize))
        product(Matrix(C, (B, K)), E.T, flat(contexts))  # sum_t attn_t p_t = E c
    return F, attn, contexts, U


def coded_step(parts, E, relevant, irrelevant, kappa, sign, labels, keys, W_Q, W_K, W_V, W_O, a, kind):
    """As `dense_step`, of codes over the dictionary E (d, K)."""
    dW_Q, dW_K, dW_V, dW_O, _, da_and_loss = parts
    with scratch:
        B, rows = relevant.shape
        K, m, dtype = E.shape[1], a.size, a.dtype
        E = matrix(E)
        left, right, G, V, H, H_T = _coded_merge(E, W_Q, W_K, W_V, W_O)
        each, dU, C, dg, queries = (scratch(B * size, dtype) for size in (m + 1, m, K, K, K))
        codes = map(flat, (relevant, irrelevant, kappa, sign))
        arguments = (*codes, labels, rows, keys, G.array, H.array, H_T.array, a, K, kind)
        room = shared_bytes(keys, K, m, dtype.itemsize)
        _launch(_coded_step, B, each, dU, C, dg, queries, *arguments, shared=room)
        dH = product(Matrix(dU, (B, m)).T, Matrix(C, (B, K)), ranges=_ranges(B))  # u = H c  =>  dH = du c^T
        dG = product(Matrix(queries, (B, K)).T, Matrix(dg, (B, K)), ranges=_ranges(B))  # dG = code_query dg^T
        column_sums(da_and_loss, each, B, m + 1)
        W_O = matrix(W_O)
        product(dH, V.T, dW_O)  # H = W_O V   =>  dW_O = dH V^T
        product(product(W_O.T, dH), E.T, dW_V)  # dV = W_O^T dH,  V = W_V E  =>  dW_V = dV E^T
        product(product(left, dG), E.T, dW_K)  #  G = A^T B: dB = A dG,      B = W_K E  =>  dW_K = dB E^T
        product(product(right, dG.T), E.T, dW_Q)  #          dA = B dG^T,    A = W_Q E  =>  dW_Q = dA E^T


def _coded_merge(E, W_Q, W_K, W_V, W_O, backward=True):
    """A = W_Q E, B = W_K E, G = A^T B (K, K), V = W_V E, H = W_O V (m, K) unless only forward, and H^T."""
    W_Q, W_K, W_V, W_O = map(matrix, (W_Q, W_K, W_V, W_O))
    A, B, V = product(W_Q, E), product(W_K, E), product(W_V, E)
    return A, B, product(A.T, B), V, product(W_O, V) if backward else None, product(V.T, W_O.T)


# ---- Training: all parameters in one flat array, updated together; numbers come to the host only when they are fetched


@_kernel
def _descend(new, W, dW, mask, eta, decay, wrong):
    """new = W - eta mask (dW + decay W); wrong[0] = 1 if that, or the gradient, is not finite."""
    i = cuda.grid(1)
    if i < W.shape[0]:
        new[i] = W[i] - eta * (mask[i] * (dW[i] + decay * W[i]))
        if not (math.isfinite(new[i]) and math.isfinite(dW[i])):
            wrong[0] = 1  # whoever writes it, writes the same


@_kernel
def _judge(state, history, t, loss, most, wrong):
    """history[t] = loss. state (2,): how many updates were made; and 0 while all is well, 1 once something is not finite, 2
    once the loss is more than `most` times what it was, or 1."""
    if state[1] == 0:
        history[t] = loss[0]
        first = history[0] if history[0] > 1 else 1.0
        if wrong[0] != 0 or not math.isfinite(loss[0]):
            state[1] = 1
        else:
            state[0] = t + 1
            if loss[0] > most * first:
                state[1] = 2
    wrong[0] = 0


@_kernel
def _commit(W, new, state, t):
    """W = new, unless step t was not made."""
    i = cuda.grid(1)
    if i < W.shape[0] and state[0] == t + 1:
        W[i] = new[i]


@_kernel
def _finite(wrong, x):
    i = cuda.grid(1)
    if i < x.shape[0] and not math.isfinite(x[i]):
        wrong[0] = 1


class Descent:
    """Gradient descent on the GPU. Parameters, losses and whether all is well stay there until they are fetched."""

    def __init__(self, params, masks, decay, history, t, most):
        """Parameters (arrays of one dtype), masks of their shapes, losses (T,) of which those before t are known."""
        self.dtype, self.decay, self.most = params[0].dtype, params[0].dtype.type(decay), most
        self.shapes = [array.shape for array in params]
        self.W, self.mask = (
            cuda.to_device(np.concatenate([np.ravel(array) for array in arrays])) for arrays in (params, masks)
        )
        self.new, self.history = (
            empty(self.W.size, self.dtype),
            cuda.to_device(np.append(history, np.nan)),
        )  # T may be 0
        self.views = self.params(self.W)
        self.gradients, self.parts = gradients_of(params)
        self.loss = self.gradients[self.W.size :]
        self.state, self.wrong = cuda.to_device(np.array([t, 0])), cuda.to_device(np.zeros(1, np.int32))

    def params(self, whole):
        """Its parts, as parameters of their shapes."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes]).tolist()
        return [whole[end - math.prod(s) : end].reshape(*s) for s, end in zip(self.shapes, ends, strict=True)]

    def step(self, t, eta, step, inputs, labels, keys, kind):
        """W <- W - eta mask (dW + decay W), by the gradients of `dense_step` or `coded_step`; nothing comes to the host."""
        step(self.parts, *inputs, labels, keys, *self.views, kind)
        grid = _blocks(self.W.size)
        eta = self.dtype.type(eta)
        _launch(_descend, grid, self.new, self.W, self.gradients, self.mask, eta, self.decay, self.wrong)
        _launch(_judge, 1, self.state, self.history, t, self.loss, self.most, self.wrong, threads=1)
        _launch(_commit, grid, self.W, self.new, self.state, t)

    def well(self):
        """Whether nothing has stopped it so far: 16 bytes come to the host."""
        return self.state.copy_to_host()[1] == 0

    def fetch(self):
        """How many updates were made, 0 or what is wrong (1: not finite, 2: exploded), parameters and losses, on the host."""
        t, wrong = self.state.copy_to_host().tolist()
        return t, wrong, self.params(self.W.copy_to_host()), self.history.copy_to_host()[:-1]


@_kernel
def _convert(y, x):
    i = cuda.grid(1)
    if i < x.shape[0]:
        y[i] = x[i]


# ---- Sampling: `sampling.decode` on the numbers of NumPy's PCG64, each found by itself. 128 bits are four limbs of 32.

_MULTIPLIER_HIGH, _MULTIPLIER_LOW = np.uint64(0x2360ED051FC65DA4), np.uint64(0x4385DF649FCCF645)
_0, _1, _11, _32, _58, _63, _64 = map(np.uint64, (0, 1, 11, 32, 58, 63, 64))
_LIMB = np.uint64(2**32 - 1)


@_device
def _limbs(x, high, low):
    x[0], x[1], x[2], x[3] = low & _LIMB, low >> _32, high & _LIMB, high >> _32


@_device
def _times_plus(x, y, z):
    """x <- x y + z mod 2^128; x may be y or z, or both."""
    out = cuda.local.array(4, np.uint64)
    for i in range(4):
        out[i] = z[i]
    for i in range(4):
        carry = _0
        for j in range(4 - i):
            t = x[i] * y[j] + out[i + j] + carry  # at most 2^64 - 1
            out[i + j] = t & _LIMB
            carry = t >> _32
    for i in range(4):
        x[i] = out[i]


@_device
def _bits(state_high, state_low, increment_high, increment_low, n):
    """The generator's 64 bits number n, from 0: its state after n+1 steps s <- M s + c, shuffled."""
    none, x = cuda.local.array(4, np.uint64), cuda.local.array(4, np.uint64)
    M, c = cuda.local.array(4, np.uint64), cuda.local.array(4, np.uint64)
    _limbs(none, _0, _0)
    _limbs(x, state_high, state_low)
    _limbs(M, _MULTIPLIER_HIGH, _MULTIPLIER_LOW)
    _limbs(c, increment_high, increment_low)
    n += 1
    while n > 0:  # M, c: those of 1, 2, 4, .. steps
        if n % 2 == 1:
            _times_plus(x, M, c)
        _times_plus(c, M, c)
        _times_plus(M, M, none)
        n //= 2
    bits = ((x[3] ^ x[1]) << _32) | (x[2] ^ x[0])
    by = x[3] >> (_58 - _32)
    return (bits >> by) | (bits << ((_64 - by) & _63))


@_device
def _half(state_high, state_low, increment_high, increment_low, n):
    """32 bits number n: of each 64 the lower ones first."""
    bits = _bits(state_high, state_low, increment_high, increment_low, n // 2)
    return bits & _LIMB if n % 2 == 0 else bits >> _32


@_device
def _too_low(product, k):
    """Whether 32 bits times k, as a number below k, are to be thrown away, so that all are as likely (Lemire)."""
    return (product & _LIMB) < ((_LIMB + _1) - k) % k


@_kernel
def _tasks(task, z, again, pairs, state_high, state_low, increment_high, increment_low):
    """task (n, 2) flat and z (n,), as `rng.integers(len(pairs), size=n)` and `rng.choice([1, -1], size=n)` have them, unless a
    number is thrown away: then again[0] = 1."""
    p, n, k = cuda.grid(1), z.shape[0], pairs.shape[0] // 2
    if p < n:
        which, first = 0, 0
        if k > 1:
            product = _half(state_high, state_low, increment_high, increment_low, p) * np.uint64(k)
            which, first = np.int64(product >> _32), n
            if _too_low(product, np.uint64(k)):
                again[0] = 1
        task[2 * p], task[2 * p + 1] = pairs[2 * which], pairs[2 * which + 1]
        high = _half(state_high, state_low, increment_high, increment_low, first + p) >> np.uint64(31)
        z[p] = 1 if high == _0 else -1


@_kernel
def _tasks_in_order(task, used, again, pairs, state_high, state_low, increment_high, increment_low, z):
    """used[0], how many numbers of 64 bits that took; and all of it anew, one by one, if a number was to be thrown away."""
    n, k = z.shape[0], pairs.shape[0] // 2
    if again[0] == 0:
        used[0] = (n + 1) // 2 if k == 1 else n
    else:
        at = 0
        for p in range(n):
            product = _half(state_high, state_low, increment_high, increment_low, at) * np.uint64(k)
            at += 1
            while _too_low(product, np.uint64(k)):
                product = _half(state_high, state_low, increment_high, increment_low, at) * np.uint64(k)
                at += 1
            which = np.int64(product >> _32)
            task[2 * p], task[2 * p + 1] = pairs[2 * which], pairs[2 * which + 1]
        for p in range(n):
            high = _half(state_high, state_low, increment_high, increment_low, at) >> np.uint64(31)
            z[p] = 1 if high == _0 else -1
            at += 1
        used[0] = (at + 1) // 2
        again[0] = 0


@_kernel
def _tokens(relevant, irrelevant, kappa, sign, task, z, used, rows, alpha, M1, M2, K, s_high, s_low, i_high, i_low):
    """Codes (n, l+1) flat, as `sampling.decode` makes them of `rng.random((n, l+1, 2))`."""
    e = cuda.grid(1)
    if e < relevant.shape[0]:
        p, t = e // rows, e % rows
        at = used[0] + 2 * e
        which = (_bits(s_high, s_low, i_high, i_low, at) >> _11) * (1.0 / 2**53)
        rest = (_bits(s_high, s_low, i_high, i_low, at + 1) >> _11) * (1.0 / 2**53)
        relevant[e], irrelevant[e], kappa[e], sign[e] = _token(
            which, rest, task[2 * p], task[2 * p + 1], alpha, M1, M2, K
        )
        if t == rows - 1:  # the query
            relevant[e] = task[2 * p] if z[p] > 0 else task[2 * p + 1]
            sign[e] = 0


class Sampler:
    """Prompts of Li et al.'s law, drawn on the GPU: those that `li2024.Problem.sample` draws, kappa up to rounding."""

    def __init__(self, pairs, n, length, alpha, M1, M2, K, dtype):
        rows = length + 1
        self.pairs = cuda.to_device(np.ascontiguousarray(pairs, np.int32).reshape(-1))
        self.settings = (rows, float(alpha), M1, M2, float(K))
        self.relevant, self.irrelevant = empty((n, rows), np.int32), empty((n, rows), np.int32)
        self.kappa, self.sign, self.labels = empty((n, rows), dtype), empty((n, rows), np.int8), empty(n, dtype)
        self.task, self.used, self.again = (
            empty(2 * n, np.int32),
            empty(1, np.int64),
            cuda.to_device(np.zeros(1, np.int32)),
        )

    def draw(self, key):
        """relevant, irrelevant, kappa, sign, labels of the seed `key`; they are there until the next call."""
        state = np.random.PCG64(np.random.SeedSequence(key)).state["state"]
        words = [np.uint64(w) for value in (state["state"], state["inc"]) for w in (value >> 64, value & (2**64 - 1))]
        n, e = self.labels.size, self.relevant.size
        _launch(_tasks, _blocks(n), self.task, self.labels, self.again, self.pairs, *words)
        _launch(_tasks_in_order, 1, self.task, self.used, self.again, self.pairs, *words, self.labels, threads=1)
        codes = map(flat, (self.relevant, self.irrelevant, self.kappa, self.sign))
        _launch(_tokens, _blocks(e), *codes, self.task, self.labels, self.used, *self.settings, *words)
        return self.relevant, self.irrelevant, self.kappa, self.sign, self.labels
