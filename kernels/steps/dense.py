"""The model of Li et al. and Bu et al. on arbitrary prompts: scores, and one fused training step.

    s_i = (W_K p_i)^T W_Q p_query = p_query^T QK p_i,          QK = W_Q^T W_K  (d, d)
    F   = a^T relu(W_O sum_i attn_i W_V p_i) = a^T relu(OV c), OV = W_O W_V    (m, d)

The two products are merged once a step; a prompt then costs four passes over its tokens and five products of
size d^2 or m d, done by the block of prompts. In reverse, with dQK and dOV summed over the batch:

    QK = W_Q^T W_K   =>   dW_Q = W_K dQK^T,   dW_K = W_Q dQK
    OV = W_O W_V     =>   dW_O = dOV W_V^T,   dW_V = W_O^T dOV

Prompts are split into chunks, by their sizes alone and never by the number of threads. Each chunk has partial sums of
its own for the gradients, and these are added in order: the same bits on any number of threads.
Derivation and numbers: docs/dense.md.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import atomics
from ..address import apart
from ..compile import kernel, launch
from ..costs import Costs
from ..layers import attention, mlp
from ..layers import loss as losses
from ..memory import empty
from ..partials import add_losses, add_partials, part_of
from ..products import add_large_product, add_product, is_large, transpose, transposed
from ..team import complete, first, following, in_phases

__all__ = ["Gradients", "Scores", "attend", "costs", "forward", "plan", "probe", "step"]

Scores = tuple[NDArray, NDArray, NDArray, NDArray]  # F, attn, C, U
Gradients = tuple[Any, NDArray, NDArray, NDArray, NDArray, NDArray]  # loss, dW_Q, dW_K, dW_V, dW_O, da

_MAX_BLOCK = 32  # prompts whose small products are done together
_WORTH_A_THREAD = 700_000  # multiply-adds: some tens of microseconds
_CACHED_BYTES = 512 * 1024  # of tokens, read by forward and again by backward: a share of a second-level cache
_FEWEST = 4  # prompts, even where they are long: a product with fewer rows waits for the matrix
_PARTIALS_SHARE = 0.03  # of the prompts' size, at most, goes into partial sums ...
_FEW_CHUNKS, _FEW_BYTES = 4, 4 * 2**20  # ... but so many chunks are always allowed so many bytes of them
_MAX_CHUNKS = 64


def plan(tokens_shape: tuple[int, int, int], m: int, itemsize: int) -> tuple[int, int, int]:
    """(n_chunks, block, n_cached): how a batch of tokens (B, l+1, d) is split up.

    A chunk's prompts are taken `block` at a time; of a block, `n_cached` at a time go through forward and backward while
    their tokens are in a cache. All three are functions of the sizes alone, so that results do not depend on threads.
    """
    B, rows, d = tokens_shape
    n_chunks, partial_bytes = 1, (d * d + m * d + m) * itemsize
    work = B * (2 * d * d + 4 * rows * d + 3 * m * d)
    while 2 * n_chunks <= min(_MAX_CHUNKS, B) and (
        2 * n_chunks * partial_bytes <= _PARTIALS_SHARE * B * rows * d * itemsize
        or (
            2 * n_chunks <= _FEW_CHUNKS
            and 2 * n_chunks * partial_bytes <= _FEW_BYTES
            and work // (2 * n_chunks) >= _WORTH_A_THREAD
        )
    ):
        n_chunks *= 2
    block = min(_MAX_BLOCK, -(-B // n_chunks))
    n_cached = max(_FEWEST, _CACHED_BYTES // (rows * d * itemsize))
    n_cached -= n_cached % 8 if n_cached > 8 else 0  # products go by eight rows
    return n_chunks, block, min(block, n_cached)


def costs(
    B: int, n_keys: int, d: int, m: int, itemsize: int, *, m_a: int | None = None, m_b: int | None = None
) -> Costs:
    """The `Costs` of `step`; m_a = m_b = d where they are not given."""
    m_a, m_b = m_a or d, m_b or d
    parameters = 2 * m_a * d + m_b * d + m * m_b + m
    merged = 3 * m_a * d * d + 3 * m * m_b * d  # merge, forward and backward
    prompt = 2 * d * d + 4 * n_keys * d + 3 * m * d  # probe and its outer product, attention, MLP
    prompt += n_keys + d + 3 * m  # element by element
    return Costs(
        bytes=itemsize * (B * ((n_keys + 1) * d + 1) + 2 * parameters),
        multiply_adds=merged + B * prompt,
        exponentials=B * n_keys,
        look_ups=0,
    )


def forward(tokens: NDArray, n_keys: int, W_Q: NDArray, W_K: NDArray, W_V: NDArray, W_O: NDArray, a: NDArray) -> Scores:
    """Scores of a batch, and what leads to them.

    Parameters
    ----------
    tokens : ndarray (B, l+1, d)
        The query last. All arrays are packed and of one dtype: float32, float64, or complex.
    n_keys : int
        The first `n_keys` tokens are attended to: l, or l+1 with the query.
    W_Q, W_K, W_V, W_O, a : ndarray (m_a, d), (m_a, d), (m_b, d), (m, m_b), (m,)

    Returns
    -------
    F, attn, C, U : ndarray (B,), (B, n_keys), (B, d), (B, m)
        Scores, attention, contexts, pre-activations.
    """
    B, _, d = tokens.shape
    m = len(a)
    n_chunks, block, n_cached = plan(tokens.shape, m, tokens.itemsize)
    QK, OV, OV_T = (np.empty(shape, tokens.dtype) for shape in ((d, d), (m, d), (d, m)))
    merge(QK, OV, OV_T, W_Q, W_K, W_V, W_O)
    F = np.empty(B, tokens.dtype)
    attn = np.empty((B, n_keys), tokens.dtype)
    C = np.empty((B, d), tokens.dtype)
    U = np.empty((B, m), tokens.dtype)
    launch(forward_chunks, n_chunks, F, attn, C, U, tokens, QK, OV_T, a, n_chunks, block, n_cached)
    return F, attn, C, U


def step(
    tokens: NDArray,
    labels: NDArray,
    n_keys: int,
    W_Q: NDArray,
    W_K: NDArray,
    W_V: NDArray,
    W_O: NDArray,
    a: NDArray,
    kind: int,
) -> Gradients:
    """Mean loss over the batch and its gradients.

    Parameters
    ----------
    labels : ndarray (B,)
        z.
    kind : int
        Which loss: a value of `layers.loss.NAMES`.
    tokens, n_keys, W_Q, W_K, W_V, W_O, a
        As in `forward`. Nothing is checked here: NaN and infinity pass through.

    Returns
    -------
    loss, dW_Q, dW_K, dW_V, dW_O, da
        A number and arrays of the parameters' shapes, of their dtype.
    """
    (_, _, d), (m, m_b) = tokens.shape, W_O.shape
    sizes = plan(tokens.shape, m, tokens.itemsize)
    params = (W_Q, W_K, W_V, W_O, a)
    grads = tuple([np.empty_like(each) for each in params])
    if is_large(len(W_Q), d, d) or is_large(m, m_b, d):
        work = np.empty(sizes[0], tokens.dtype)
        _step_of_large_matrices(work, grads, tokens, labels, n_keys, params, kind, sizes)
    else:
        work = np.empty(sizes[0] * (1 + d * d + m * d + m) + (d + 2 * m + m_b) * d, tokens.dtype)
        given = (work, grads, tokens, labels, n_keys, params, kind, sizes)
        in_phases(take_seat, sizes[0], (tokens, labels, *params), *given, small=sizes[0] < 4)
    return work[0], *grads


def _step_of_large_matrices(
    work: NDArray,
    grads: tuple[NDArray, ...],
    tokens: NDArray,
    labels: NDArray,
    n_keys: int,
    params: tuple[NDArray, ...],
    kind: int,
    sizes: tuple[int, int, int],
) -> None:
    """What `take_seat` does, with products that are large enough for threads of their own; work (n_chunks,)."""
    W_Q, W_K, W_V, W_O, a = params
    dW_Q, dW_K, dW_V, dW_O, da = grads
    (_, _, d), m, (n_chunks, *blocks) = tokens.shape, len(a), sizes
    QK, OV, OV_T = (np.empty(shape, a.dtype) for shape in ((d, d), (m, d), (d, m)))
    dQK, dOV, das = (np.empty((n_chunks, *shape), a.dtype) for shape in ((d, d), (m, d), (m,)))
    merge(QK, OV, OV_T, W_Q, W_K, W_V, W_O)
    launch(
        step_chunks, n_chunks, work[:n_chunks], dQK, dOV, das, tokens, labels, n_keys, QK, OV, OV_T, a, kind, *blocks
    )  # fmt: skip
    merge_backward(dW_Q, dW_K, dW_V, dW_O, add_partials(dQK), add_partials(dOV), W_Q, W_K, W_V, W_O)
    add_losses(work[:n_chunks], da, das, len(tokens))


@kernel
def forward_chunks(first, last, F, attn, C, U, tokens, QK, OV_T, a, n_chunks, block, n_cached):
    """F (B,), attn (B, n_keys), C (B, d), U (B, m) of the prompts in chunks first .. last - 1."""
    B, _, d = tokens.shape
    Q = empty((block, d), tokens.dtype)
    probes = empty((block, d), tokens.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            hi = min(lo + block, end)
            probe(probes[: hi - lo], Q[: hi - lo], tokens[lo:hi], QK)
            for i in range(lo, hi, n_cached):
                j = min(i + n_cached, hi)
                attend(attn[i:j], C[i:j], tokens[i:j], probes[i - lo : j - lo])
                mlp.forward(U[i:j], F[i:j], C[i:j], OV_T, a)


# ---- The step as tasks, in three phases: merged matrices; chunks; gradients


@apart
@kernel
def take_seat(seat, calls, state, work, grads, tokens, labels, n_keys, params, kind, sizes):
    """Do tasks of a step until none is left or others take long over theirs; seats and calls: `team.together`.

    state counts tasks (`team.new_state`). work has room for the arrays below, and begins with the mean loss when all are done;
    the gradients are in grads, of the shapes of params, then. sizes: n_chunks, block, n_cached of `plan`.
    """
    if seat < 0:
        return
    seen = atomics.read(calls, 0)
    if seat == 0:
        atomics.enter(calls)
    dW_Q, dW_K, dW_V, dW_O, da = grads
    W_Q, W_K, W_V, W_O, a = params
    n_chunks, block, n_cached = sizes
    d, m, m_b = tokens.shape[2], W_O.shape[0], W_O.shape[1]
    loss = work[:n_chunks]
    dQKs, end = part_of(work, n_chunks, n_chunks * d, d)
    dOVs, end = part_of(work, end, n_chunks * m, d)
    das, end = part_of(work, end, n_chunks, m)
    QK, end = part_of(work, end, d, d)
    OV, end = part_of(work, end, m, d)
    OV_T, end = part_of(work, end, d, m)
    W_V_T, end = part_of(work, end, d, m_b)
    dQKs, dOVs = dQKs.reshape((n_chunks, d, d)), dOVs.reshape((n_chunks, m, d))
    task = first(state, 0)
    while task < 2:
        if task == 0:
            put_product(QK, W_Q.T, W_K)
        else:
            put_product(OV, W_O, W_V)
            transpose(OV_T, OV)
            transpose(W_V_T, W_V)
        task = following(state, 0)
    if complete(state, 0, 2):
        chunk = first(state, 1)
        while chunk < n_chunks:
            step_chunks(
                chunk, chunk + 1, loss, dQKs, dOVs, das, tokens, labels, n_keys, QK, OV, OV_T, a, kind, block, n_cached
            )  # fmt: skip
            chunk = following(state, 1)
        if complete(state, 1, n_chunks):
            task = first(state, 2)
            while task < 2:
                if task == 0:
                    dOV = add_partials(dOVs)
                    put_product(dW_O, dOV, W_V_T)  # OV = W_O W_V    =>  dW_O = dOV W_V^T
                    put_product(dW_V, W_O.T, dOV)  #                     dW_V = W_O^T dOV
                else:
                    dQK, dQK_T = add_partials(dQKs), QK  # which is not needed any more
                    transpose(dQK_T, dQK)
                    put_product(dW_K, W_Q, dQK)  #   QK = W_Q^T W_K  =>  dW_K = W_Q dQK
                    put_product(dW_Q, W_K, dQK_T)  #                     dW_Q = W_K dQK^T
                    add_losses(loss, da, das, tokens.shape[0])
                task = following(state, 2)
            complete(state, 2, 2)
    if seat > 0:
        atomics.await_call(calls, seen)


@kernel
def put_product(C, A, B):
    """C = A B."""
    C[:] = 0
    add_product(C, A, B)


@apart
@kernel
def step_chunks(first, last, loss, dQK, dOV, da, tokens, labels, n_keys, QK, OV, OV_T, a, kind, block, n_cached):
    """Chunks first .. last - 1: a chunk's sum of losses is its entry of loss (n_chunks,); its share of the mean's gradients
    are its partial sums dQK (n_chunks, d, d), dOV (n_chunks, m, d), da (n_chunks, m)."""
    B, _, d = tokens.shape
    m = a.shape[0]
    n_chunks = loss.shape[0]
    attn = empty((n_cached, n_keys), tokens.dtype)
    ds = empty(n_keys, tokens.dtype)
    dC = empty((n_cached, d), tokens.dtype)
    F = empty(n_cached, tokens.dtype)
    g = empty(n_cached, tokens.dtype)
    who = empty(n_cached, np.int64)  # prompts with a gradient
    Q = empty((block, d), tokens.dtype)
    probes = empty((block, d), tokens.dtype)
    C = empty((block, d), tokens.dtype)
    U = empty((block, m), tokens.dtype)
    for chunk in range(first, last):
        loss[chunk] = 0
        dQK[chunk], dOV[chunk], da[chunk] = 0, 0, 0
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            hi = min(lo + block, end)
            b = hi - lo
            probe(probes[:b], Q[:b], tokens[lo:hi], QK)
            dprobes = probes
            active = 0  # rows of Q, C, U and dprobes that the block has so far: prompts with a gradient, close together
            for i in range(0, b, n_cached):  # forward and backward while their tokens are in the cache
                j = min(i + n_cached, b)
                n = j - i
                attend(attn[:n], C[i:j], tokens[lo + i : lo + j], probes[i:j])
                mlp.forward(U[i:j], F[:n], C[i:j], OV_T, a)
                first_active, k = active, 0
                for p in range(n):
                    loss[chunk] += losses.value(kind, F[p], labels[lo + i + p])
                    slope = losses.slope(kind, F[p], labels[lo + i + p]) / B
                    if losses.has_gradient(F[p], slope):
                        g[k], who[k] = slope, i + p
                        if active < i + p:
                            for c in range(d):  # loops, for they compile in a fraction of the time that rows take
                                Q[active, c], C[active, c] = Q[i + p, c], C[i + p, c]
                            for c in range(m):
                                U[active, c] = U[i + p, c]
                        active, k = active + 1, k + 1
                mlp.backward(da[chunk], dC[:k], g[:k], U[first_active:active], OV, a)
                for p in range(k):
                    row, prompt = first_active + p, who[p]
                    keys = tokens[lo + prompt, :n_keys]
                    attention.backward(dprobes[row], ds, attn[prompt - i], C[row], dC[p], keys)
            add_product(dOV[chunk], U[:active].T, C[:active])  # u = OV c  =>  dOV = du c^T
            add_product(dQK[chunk], Q[:active].T, dprobes[:active])  # s_i = p_query^T QK p_i  =>  dQK = p_query du^T


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
    """attn (b, n_keys) and C (b, d) of a block of prompts."""
    for n in range(tokens.shape[0]):
        attention.forward(attn[n], C[n], tokens[n, : attn.shape[1]], probes[n])


def merge(QK: NDArray, OV: NDArray, OV_T: NDArray, W_Q: NDArray, W_K: NDArray, W_V: NDArray, W_O: NDArray) -> None:
    """QK = W_Q^T W_K (d, d), OV = W_O W_V (m, d) and its transpose."""
    QK[:], OV[:] = 0, 0
    add_large_product(QK, W_Q.T, W_K)
    add_large_product(OV, W_O, W_V)
    transpose(OV_T, OV)


def merge_backward(
    dW_Q: NDArray,
    dW_K: NDArray,
    dW_V: NDArray,
    dW_O: NDArray,
    dQK: NDArray,
    dOV: NDArray,
    W_Q: NDArray,
    W_K: NDArray,
    W_V: NDArray,
    W_O: NDArray,
) -> None:
    """dW_Q, dW_K, dW_V, dW_O from dQK (d, d) and dOV (m, d)."""
    dW_Q[:], dW_K[:], dW_V[:], dW_O[:] = 0, 0, 0, 0
    dQK_T, W_V_T = transposed(dQK), transposed(W_V)
    add_large_product(dW_O, dOV, W_V_T)  # OV = W_O W_V    =>  dW_O = dOV W_V^T
    add_large_product(dW_V, W_O.T, dOV)  #                     dW_V = W_O^T dOV
    add_large_product(dW_K, W_Q, dQK)  #   QK = W_Q^T W_K  =>  dW_K = W_Q dQK
    add_large_product(dW_Q, W_K, dQK_T)  #                     dW_Q = W_K dQK^T
