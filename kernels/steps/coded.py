"""The step of `dense` on prompts that are sparse codes over a dictionary E: token p = E_r + kappa E_i + sign E_q.

    s_t = (W_K p_t)^T W_Q p_query = code_query^T G code_t,       G = (W_Q E)^T (W_K E)  (K, K)
    F   = a^T relu(W_O sum_t attn_t W_V p_t) = a^T relu(H c),    H = W_O W_V E          (m, K)

A token's code has three entries, so a score is three look-ups in a row of G that is made once a prompt, and the context's
code c takes three additions a token: O(l) a prompt where tokens cost O(l d). Exact for any dictionary, orthogonal or not.
In reverse, with dG and dH summed over the batch:

    G = A^T B,  A = W_Q E,  B = W_K E   =>   dA = B dG^T,  dB = A dG,    dW_Q = dA E^T,  dW_K = dB E^T
    H = W_O V,  V = W_V E               =>   dW_O = dH V^T, dV = W_O^T dH,  dW_V = dV E^T

Legend   K columns of the dictionary, the label embedding q last;   relevant, irrelevant (B, l+1) columns of E;
         kappa (B, l+1);   sign (B, l+1), 0 for the query

Derivation and numbers: docs/coded.md.
"""

import numpy as np
from numpy.typing import NDArray

from .. import atomics
from ..address import apart
from ..compile import kernel, launch
from ..costs import Costs
from ..layers import loss as losses
from ..layers import mlp
from ..layers.code_attention import attend, attend_backward, row_of
from ..memory import empty
from ..partials import add_losses, add_partials, part_of
from ..products import add_product
from ..team import complete, first, following, in_phases
from .dense import Gradients, Scores
from .dictionary import (
    merge,
    merge_scores,
    merge_scores_backward,
    merge_values,
    merge_values_backward,
    tokens_of,
    without_zero_rows,
)

__all__ = ["costs", "forward", "step"]

_BLOCK_BYTES = 32 * 1024  # of attention, of a block's prompts: most of a first-level cache
_WORTH_A_THREAD = 500_000  # multiply-adds: some tens of microseconds
_PARTIALS_SHARE = 0.4  # of the codes' size, at most, goes into the chunks' partial sums ...
_FEW_BYTES = 4 * 2**20  # ... but two chunks are always allowed so many bytes of them
_MAX_CHUNKS = 64


def plan(shape: tuple[int, int], m: int, K: int, itemsize: int) -> tuple[int, int]:
    """(n_chunks, block): into how many chunks a batch is split, and how many prompts are worked on together.

    A function of the sizes alone, so that results do not depend on the machine's threads.
    """
    B, rows = shape
    work = B * (3 * m * K + 2 * K + 20 * rows)
    codes = B * rows * (9 + itemsize)
    n_chunks, partial_bytes = 1, (K * K + m * K + m) * itemsize
    while (
        2 * n_chunks <= min(_MAX_CHUNKS, B)
        and work // (2 * n_chunks) >= _WORTH_A_THREAD // 2
        and (
            2 * n_chunks * partial_bytes <= _PARTIALS_SHARE * codes
            or (n_chunks == 1 and 2 * partial_bytes <= _FEW_BYTES)
        )
    ):
        n_chunks *= 2
    fitting = _BLOCK_BYTES // (rows * itemsize)
    return n_chunks, min(32, max(8, fitting - fitting % 8), -(-B // n_chunks))  # products go by eight rows


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
    support: int | None = None,
) -> Costs:
    """The `Costs` of `step` with a dictionary of K columns, of whose d rows `support` are not zero; all, and m_a = m_b = d,
    where they are not given."""
    m_a, m_b, support = m_a or d, m_b or d, support or d
    parameters = 2 * m_a * d + m_b * d + m * m_b + m
    merged = (4 * m_a + 2 * m_b) * support * K + 3 * m_a * K * K + 3 * m * m_b * K  # merge, forward and backward
    prompt = 3 * m * K  # MLP
    prompt += 9 * n_keys + 3 * K + 3 * m  # element by element
    return Costs(
        bytes=B * (n_keys + 1) * (9 + itemsize) + itemsize * (B + d * K + 2 * parameters),
        multiply_adds=merged + B * prompt,
        exponentials=B * n_keys,
        look_ups=8 * B * n_keys,
    )


def forward(
    E: NDArray,
    relevant: NDArray,
    irrelevant: NDArray,
    kappa: NDArray,
    sign: NDArray,
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
    E : ndarray (d, K)
        The dictionary, the label embedding q its last column. Floating numbers are all of one dtype.
    relevant, irrelevant : ndarray of int32 (B, l+1)
        Columns of E, from 0 to K - 1: they are not checked.
    kappa : ndarray (B, l+1)
    sign : ndarray of int8 (B, l+1)
        -1, 0 or 1; 0 for the query.
    n_keys, W_Q, W_K, W_V, W_O, a
        As in `dense.forward`.

    Returns
    -------
    F, attn, contexts, U : ndarray (B,), (B, n_keys), (B, d), (B, m)
    """
    B = len(relevant)
    support, E, E_T = without_zero_rows(E)
    K, m = E.shape[1], len(a)
    n_chunks, block = plan(relevant.shape, m, K, a.itemsize)
    _, _, G, _, _, H_T = merge(support, E, W_Q, W_K, W_V, W_O)
    F = np.empty(B, a.dtype)
    attn = np.empty((B, n_keys), a.dtype)
    C = np.empty((B, K), a.dtype)
    U = np.empty((B, m), a.dtype)
    launch(forward_chunks, n_chunks, F, attn, C, U, relevant, irrelevant, kappa, sign, G, H_T, a, n_chunks, block)
    return F, attn, tokens_of(C, support, E_T, W_V.shape[1]), U


def step(
    E: NDArray,
    relevant: NDArray,
    irrelevant: NDArray,
    kappa: NDArray,
    sign: NDArray,
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
    support, E, E_T = without_zero_rows(E)
    n_chunks, block = plan(relevant.shape, len(a), E.shape[1], a.itemsize)
    work = np.empty(room(n_chunks, E.shape[1], len(W_Q), W_O.shape), a.dtype)
    grads = [np.empty_like(array) for array in (W_Q, W_K, W_V, W_O, a)]
    codes = (relevant, irrelevant, kappa, sign, labels)
    params = (W_Q, W_K, W_V, W_O, a)
    given = (work, tuple(grads), (support, E, E_T), codes, n_keys, params, kind, n_chunks, block)
    in_phases(take_seat, n_chunks, (E, *codes, *params), *given, small=n_chunks < 4)
    return work[0], *grads


# ---- The step as tasks, in three phases: merged matrices; chunks; gradients


@kernel
def room(n_chunks, K, m_a, shape):
    """How many numbers a step works with: see `take_seat`; shape (m, m_b) of W_O."""
    m, m_b = shape
    return n_chunks * (1 + K * K + m * K + m) + (2 * m_a + m_b + K + 2 * m) * K


@apart
@kernel
def take_seat(seat, calls, state, work, grads, dictionary, codes, n_keys, params, kind, n_chunks, block):
    """Do tasks of a step until none is left or others take long over theirs; seats and calls: `team.together`.

    state counts tasks (`team.new_state`). work (`room`,) begins with the mean loss when all are done;
    the gradients are in grads, of the shapes of params, then. dictionary: support, E, E_T of `without_zero_rows`. codes:
    relevant, irrelevant, kappa, sign, labels.
    """
    if seat < 0:
        return
    seen = atomics.read(calls, 0)
    if seat == 0:
        atomics.enter(calls)
    dW_Q, dW_K, dW_V, dW_O, da = grads
    support, E, E_T = dictionary
    W_Q, W_K, W_V, W_O, a = params
    K, m, m_a, m_b = E.shape[1], W_O.shape[0], W_Q.shape[0], W_O.shape[1]
    loss = work[:n_chunks]
    dGs, end = part_of(work, n_chunks, n_chunks * K, K)
    dHs, end = part_of(work, end, n_chunks * m, K)
    das, end = part_of(work, end, n_chunks, m)
    A, end = part_of(work, end, m_a, K)
    B, end = part_of(work, end, m_a, K)
    V, end = part_of(work, end, m_b, K)
    G, end = part_of(work, end, K, K)
    H, end = part_of(work, end, m, K)
    H_T, end = part_of(work, end, K, m)
    dG, dH = dGs.reshape((n_chunks, K, K)), dHs.reshape((n_chunks, m, K))
    task = first(state, 0)
    while task < 2:
        if task == 0:
            merge_values(V, H, H_T, support, E, W_V, W_O)
        else:
            merge_scores(A, B, G, support, E, W_Q, W_K)
        task = following(state, 0)
    if complete(state, 0, 2):
        chunk = first(state, 1)
        while chunk < n_chunks:
            step_chunks(chunk, chunk + 1, (loss, dG, dH, das), codes, n_keys, G, H, H_T, a, kind, block)
            chunk = following(state, 1)
        if complete(state, 1, n_chunks):
            task = first(state, 2)
            while task < 2:
                if task == 0:
                    merge_values_backward(dW_V, dW_O, add_partials(dH), support, E_T, V, W_O)
                else:
                    merge_scores_backward(dW_Q, dW_K, add_partials(dG), support, E_T, A, B)
                    add_losses(loss, da, das, codes[4].shape[0])
                task = following(state, 2)
            complete(state, 2, 2)
    if seat > 0:
        atomics.await_call(calls, seen)


@kernel
def forward_chunks(first, last, F, attn, C, U, relevant, irrelevant, kappa, sign, G, H_T, a, n_chunks, block):
    """F (B,), attn (B, n_keys), C (B, K), U (B, m) of the prompts in chunks first .. last - 1."""
    B, n_keys = attn.shape
    padded = empty((block, row_of(n_keys)), a.dtype)
    of_label, g, T = (
        empty(block, a.dtype),
        empty((block, G.shape[0]), a.dtype),
        empty((4, G.shape[0]), a.dtype),
    )
    for chunk in range(first, last):
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            hi = min(lo + block, end)
            codes = (relevant[lo:hi], irrelevant[lo:hi], kappa[lo:hi], sign[lo:hi])
            attend(padded[: hi - lo], of_label[: hi - lo], C[lo:hi], g, T, n_keys, codes, G)
            for n in range(lo, hi):
                for t in range(n_keys):
                    attn[n, t] = padded[n - lo, t]
            mlp.forward(U[lo:hi], F[lo:hi], C[lo:hi], H_T, a)


@apart
@kernel
def step_chunks(first, last, sums, given, n_keys, G, H, H_T, a, kind, block):
    """Chunks first .. last - 1: a chunk's sum of losses is its entry of loss (n_chunks,); its share of the mean's gradients
    are its partial sums dG (n_chunks, K, K), dH (n_chunks, m, K), da (n_chunks, m); sums: these four."""
    loss, dG, dH, da = sums
    relevant, irrelevant, kappa, sign, labels = given
    B = labels.shape[0]
    K = G.shape[0]
    m = a.shape[0]
    n_chunks = loss.shape[0]
    attn = empty((block, row_of(n_keys)), a.dtype)
    ds = empty((block, row_of(n_keys)), a.dtype)
    of_label = empty(block, a.dtype)
    g = empty((block, K), a.dtype)
    C = empty((block, K), a.dtype)
    dC = empty((block, K), a.dtype)
    U = empty((block, m), a.dtype)
    F = empty(block, a.dtype)
    slope = empty(block, a.dtype)
    T = empty((4, K), a.dtype)
    rows = (block, relevant.shape[1])
    kept = (
        empty(rows, relevant.dtype),
        empty(rows, irrelevant.dtype),
        empty(rows, kappa.dtype),
        empty(rows, sign.dtype),
    )
    for chunk in range(first, last):
        loss[chunk] = 0
        dG[chunk], dH[chunk], da[chunk] = 0, 0, 0
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            b = min(block, end - lo)
            codes = (relevant[lo : lo + b], irrelevant[lo : lo + b], kappa[lo : lo + b], sign[lo : lo + b])
            attend(attn[:b], of_label[:b], C[:b], g[:b], T, n_keys, codes, G)
            mlp.forward(U[:b], F[:b], C[:b], H_T, a)
            for n in range(b):
                loss[chunk] += losses.value(kind, F[n], labels[lo + n])
                slope[n] = losses.slope(kind, F[n], labels[lo + n]) / B
            some, codes = those_with_slope(slope[:b], attn, C, U, codes, kept)
            if some > 0:
                mlp.backward(da[chunk], dC[:some], slope[:some], U[:some], H, a)
                add_product(dH[chunk], U[:some].T, C[:some])  # u = H c  =>  dH = du c^T
                attend_backward(
                    dG[chunk], g[:some], ds[:some], of_label, attn[:some], C[:some], dC[:some], T, n_keys, codes
                )


@apart
@kernel
def those_with_slope(slope, attn, C, U, codes, kept):
    """How many prompts of a block have a slope other than 0, and their codes. Their rows come first in slope (b,), attn, C, U.

    Of the others, every term of every gradient is 0 x: a prompt whose score, and so its slope, is not finite stays.
    """
    b, some = slope.shape[0], 0
    for n in range(b):
        some += slope[n] != 0
    if some == b:
        return some, codes
    i = 0
    for n in range(b):
        if slope[n] != 0:
            slope[i] = slope[n]
            for t in range(attn.shape[1]):  # loops, for they compile in a fraction of the time that rows take
                attn[i, t] = attn[n, t]
            for j in range(C.shape[1]):
                C[i, j] = C[n, j]
            for j in range(U.shape[1]):
                U[i, j] = U[n, j]
            for t in range(kept[0].shape[1]):
                kept[0][i, t], kept[1][i, t] = codes[0][n, t], codes[1][n, t]
                kept[2][i, t], kept[3][i, t] = codes[2][n, t], codes[3][n, t]
            i += 1
    return some, (kept[0][:some], kept[1][:some], kept[2][:some], kept[3][:some])
