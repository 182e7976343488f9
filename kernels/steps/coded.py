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

from .. import vectors
from ..compile import kernel, launch, threads
from ..costs import Costs
from ..layers import loss as losses
from ..layers import mlp
from ..layers.attention import softmax
from ..products import add_product, transpose
from .dense import Gradients, Scores, add_partials

__all__ = ["costs", "forward", "step"]

_BLOCK_BYTES = 32 * 1024  # of attention, of a block's prompts: most of a first-level cache
_WORTH_A_THREAD = 2_000_000  # multiply-adds: half a millisecond, five times what it takes to wake a thread
_PARTIALS_SHARE = 0.4  # of the codes' size, at most, goes into the chunks' partial sums ...
_FEW_BYTES = 4 * 2**20  # ... but two chunks are always allowed so many bytes of them
_MAX_CHUNKS = 64
_TOGETHER = 1024  # tokens that go through a stage of attention, and then the next: see `attend`
_LONG = 64  # tokens: see `scatter`


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
    K, m = E.shape[1], len(a)
    n_chunks, block = plan(relevant.shape, m, K, a.itemsize)
    codes = (relevant, irrelevant, kappa, sign, labels, n_keys)
    if min(n_chunks, threads()) == 1:
        value, *grads = step_alone(support, E, E_T, *codes, W_Q, W_K, W_V, W_O, a, kind, n_chunks, block)
    else:
        A, B, G, V, H, H_T = merge(support, E, W_Q, W_K, W_V, W_O)
        loss, dG = np.zeros(n_chunks, a.dtype), np.zeros((n_chunks, K, K), a.dtype)
        dH, da = np.zeros((n_chunks, m, K), a.dtype), np.zeros((n_chunks, m), a.dtype)
        launch(step_chunks, n_chunks, loss, dG, dH, da, *codes, G, H, H_T, a, kind, block)
        value, *grads = total(loss, dG, dH, da, len(labels), support, E_T, A, B, V, W_O, W_V.shape[1])
    return a.dtype.type(value), *grads


@kernel
def step_alone(
    support,
    E,
    E_T,
    relevant,
    irrelevant,
    kappa,
    sign,
    labels,
    n_keys,
    W_Q,
    W_K,
    W_V,
    W_O,
    a,
    kind,
    n_chunks,
    block,
):
    """What `step` returns, to the same bits, in the thread that calls, with support, E, E_T of `without_zero_rows` and
    n_chunks, block of `plan`: for kernels that do more than a step."""
    A, B, G, V, H, H_T = merge(support, E, W_Q, W_K, W_V, W_O)
    K, m = E.shape[1], a.shape[0]
    loss, dG = np.zeros(n_chunks, a.dtype), np.zeros((n_chunks, K, K), a.dtype)
    dH, da = np.zeros((n_chunks, m, K), a.dtype), np.zeros((n_chunks, m), a.dtype)
    step_chunks(
        0, n_chunks, loss, dG, dH, da, relevant, irrelevant, kappa, sign, labels, n_keys, G, H, H_T, a, kind, block
    )
    return total(loss, dG, dH, da, labels.shape[0], support, E_T, A, B, V, W_O, W_V.shape[1])


@kernel
def total(loss, dG, dH, da, B, support, E_T, A, K, V, W_O, d):
    """The mean loss and the gradients dW_Q, dW_K, dW_V, dW_O, da from the chunks' sums; A, K, V as `merge` made them."""
    dG_all, dH_all = add_partials(dG), add_partials(dH)
    if are_zero(dG_all) and are_zero(dH_all):
        dW_Q, dW_K = np.zeros((A.shape[0], d), A.dtype), np.zeros((A.shape[0], d), A.dtype)
        dW_V, dW_O = np.zeros((V.shape[0], d), A.dtype), np.zeros_like(W_O)
    else:
        dW_Q, dW_K, dW_V, dW_O = merge_backward(dG_all, dH_all, support, E_T, A, K, V, W_O, d)
    for chunk in range(1, loss.shape[0]):
        loss[0] += loss[chunk]
        for i in range(da.shape[1]):
            da[0, i] += da[chunk, i]
    return loss[0] / B, dW_Q, dW_K, dW_V, dW_O, da[0].copy()


@kernel
def are_zero(X):
    """Whether all of X (r, n) is 0, as after a step whose hinges are all inactive. NaN is not."""
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            if X[i, j] != 0:
                return False
    return True


@kernel
def forward_chunks(first, last, F, attn, C, U, relevant, irrelevant, kappa, sign, G, H_T, a, n_chunks, block):
    """F (B,), attn (B, n_keys), C (B, K), U (B, m) of the prompts in chunks first .. last - 1."""
    B, n_keys = attn.shape
    padded = np.empty((block, row_of(n_keys)), a.dtype)
    of_label, g, T = (
        np.empty(block, a.dtype),
        np.empty((block, G.shape[0]), a.dtype),
        np.empty((4, G.shape[0]), a.dtype),
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


@kernel
def step_chunks(
    first, last, loss, dG, dH, da, relevant, irrelevant, kappa, sign, labels, n_keys, G, H, H_T, a, kind, block
):
    """Chunks first .. last - 1: loss (n_chunks,) gets the sum of a chunk's losses; its share of the mean's gradients is
    added to its partial sums in dG (n_chunks, K, K), dH (n_chunks, m, K), da (n_chunks, m)."""
    B = labels.shape[0]
    K = G.shape[0]
    m = a.shape[0]
    n_chunks = loss.shape[0]
    attn = np.empty((block, row_of(n_keys)), a.dtype)
    ds = np.empty((block, row_of(n_keys)), a.dtype)
    of_label = np.empty(block, a.dtype)
    g = np.empty((block, K), a.dtype)
    C = np.empty((block, K), a.dtype)
    dC = np.empty((block, K), a.dtype)
    U = np.empty((block, m), a.dtype)
    F = np.empty(block, a.dtype)
    slope = np.empty(block, a.dtype)
    T = np.empty((4, K), a.dtype)
    rows = (block, relevant.shape[1])
    kept = (
        np.empty(rows, relevant.dtype),
        np.empty(rows, irrelevant.dtype),
        np.empty(rows, kappa.dtype),
        np.empty(rows, sign.dtype),
    )
    for chunk in range(first, last):
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
            slope[i], attn[i], C[i], U[i] = slope[n], attn[n], C[n], U[n]
            kept[0][i], kept[1][i], kept[2][i], kept[3][i] = codes[0][n], codes[1][n], codes[2][n], codes[3][n]
            i += 1
    return some, (kept[0][:some], kept[1][:some], kept[2][:some], kept[3][:some])


@kernel
def row_of(n_keys):
    """How long a row of attention is in memory, so that instructions may go by whole registers."""
    return (n_keys + vectors.PADDING - 1) // vectors.PADDING * vectors.PADDING


@kernel
def attend(attn, of_label, C, g, T, n_keys, codes, G):
    """attn (b, at least n_keys) and the contexts' codes C (b, K) of a block; g (b, K): scores of the dictionary's columns.

    codes: relevant, irrelevant, kappa, sign (b, l+1). For work: of_label (b,) and T (4, K).

    Some prompts go through a stage, and then through the next. What a stage has stored is out of the processor's hands by
    then, and the next need not wait for it; of long prompts only so many that their tokens stay in a first-level cache.
    """
    relevant, irrelevant, kappa, sign = codes
    for n in range(attn.shape[0]):
        r_n, i_n, k_n = relevant[n, -1], irrelevant[n, -1], kappa[n, -1]
        for j in range(G.shape[0]):
            g[n, j] = G[r_n, j] + k_n * G[i_n, j]  # g = code_query^T G; the query carries no label
    few = max(1, _TOGETHER // attn.shape[1])
    for lo in range(0, attn.shape[0], few):
        hi = min(lo + few, attn.shape[0])
        w, label, r, i, k, s = (
            attn[lo:hi],
            of_label[lo:hi],
            relevant[lo:hi],
            irrelevant[lo:hi],
            kappa[lo:hi],
            sign[lo:hi],
        )
        gather(w, g[lo:hi], n_keys, r, i, k, s)  # s_t = g^T code_t
        if not vectors.softmax_rows(w, label, n_keys, s):
            for n in range(hi - lo):
                softmax(w[n, :n_keys])  # attn_t = exp(s_t) / sum_r exp(s_r)
                label[n] = 0
                for t in range(n_keys):
                    label[n] += w.dtype.type(s[n, t]) * w[n, t]
        scatter(C[lo:hi], T, w, label, n_keys, r, i, k)  # c = sum_t attn_t code_t


@kernel
def attend_backward(dG, dg, ds, of_label, attn, C, dC, T, n_keys, codes):
    """Adds to dG (K, K) from dC = dL/dC (b, K) and what `attend` left in attn and C."""
    relevant, irrelevant, kappa, sign = codes
    few = max(1, _TOGETHER // attn.shape[1])
    for lo in range(0, attn.shape[0], few):
        hi = min(lo + few, attn.shape[0])
        w, label, r, i, k, s = ds[lo:hi], of_label[lo:hi], relevant[lo:hi], irrelevant[lo:hi], kappa[lo:hi], sign[lo:hi]
        gather(w, dC[lo:hi], n_keys, r, i, k, s)  # c = sum_t attn_t code_t =>  dattn_t
        if not vectors.softmax_backward_rows(w, label, attn[lo:hi], C[lo:hi], dC[lo:hi], n_keys, s):
            for n in range(lo, hi):
                mean = dC.dtype.type(0)
                for j in range(C.shape[1]):
                    mean += C[n, j] * dC[n, j]  # sum_r attn_r dattn_r = c . dc
                if n_keys == 1:
                    mean = ds[n, 0]  # one token: its softmax is constant, and ds = 0 to the last bit
                for t in range(n_keys):  # attn = softmax(s)  =>  ds_t = attn_t (dattn_t - sum_r attn_r dattn_r)
                    ds[n, t] = attn[n, t] * (ds[n, t] - mean)
                of_label[n] = 0
                for t in range(n_keys):
                    of_label[n] += ds.dtype.type(sign[n, t]) * ds[n, t]
        scatter(dg[lo:hi], T, w, label, n_keys, r, i, k)  # s_t = g^T code_t  =>  dg
    for n in range(attn.shape[0]):
        r_n, i_n, k_n = relevant[n, -1], irrelevant[n, -1], kappa[n, -1]
        for j in range(dG.shape[0]):
            dG[r_n, j] += dg[n, j]  # g = code_query^T G  =>  dG = code_query dg^T
            dG[i_n, j] += k_n * dg[n, j]


@kernel
def gather(S, X, n_keys, relevant, irrelevant, kappa, sign):
    """s_t = x^T code_t for rows s of S (b, at least n_keys) and x of X (b, K)."""
    if X.shape[1] <= vectors.LONGEST_TABLE and vectors.look_up(S, X, n_keys, relevant, irrelevant, kappa, sign):
        return
    for n in range(S.shape[0]):
        s, x, r, i, k, z = S[n], X[n], relevant[n], irrelevant[n], kappa[n], sign[n]
        for t in range(n_keys):
            s[t] = x[np.uint32(r[t])] + k[t] * x[np.uint32(i[t])] + x.dtype.type(z[t]) * x[-1]


@kernel
def scatter(Y, T, W, of_label, n_keys, relevant, irrelevant, kappa):
    """Rows y = sum_t w_t code_t of Y (b, K) for rows w of W (b, at least n_keys), with sum_t sign_t w_t in of_label (b,).

    Tokens of long prompts take turns at four tables, rows of T (4, K): an addition need not wait for the one before it at the
    same place. For short ones, to add the tables up takes longer.
    """
    if n_keys < _LONG:
        Y[:] = 0
        for n in range(Y.shape[0]):
            y, w, r, i, k = Y[n], W[n], relevant[n], irrelevant[n], kappa[n]
            y[-1] = of_label[n]
            for t in range(n_keys):
                add_code(y, t, w, r, i, k)
        return
    T_0, T_1, T_2, T_3 = T[0], T[1], T[2], T[3]
    whole = n_keys - n_keys % 4
    for n in range(Y.shape[0]):
        y, w, r, i, k = Y[n], W[n], relevant[n], irrelevant[n], kappa[n]
        T[:] = 0
        T_0[-1] = of_label[n]
        for t in range(0, whole, 4):
            add_code(T_0, t, w, r, i, k)
            add_code(T_1, t + 1, w, r, i, k)
            add_code(T_2, t + 2, w, r, i, k)
            add_code(T_3, t + 3, w, r, i, k)
        for t in range(whole, n_keys):
            add_code(T_0, t, w, r, i, k)
        for j in range(y.shape[0]):
            y[j] = (T_0[j] + T_1[j]) + (T_2[j] + T_3[j])


@kernel
def add_code(y, t, w, relevant, irrelevant, kappa):
    """y += w_t code_t, but for the label."""
    y[np.uint32(relevant[t])] += w[t]
    y[np.uint32(irrelevant[t])] += kappa[t] * w[t]


@kernel
def without_zero_rows(E):
    """The support (s,) of tokens, which are the rows of E that are not zero; E[support] (s, K); and its transpose.

    K is filled up to a multiple of eight, which products go by: zero columns, and last the label's column once more.
    Where patterns lie along axes, half of the work of `merge` and `merge_backward` is saved.
    """
    d, columns = E.shape
    support = np.zeros(d, np.int64)
    count = 0
    for i in range(d):
        some = False
        for j in range(columns):
            some = some or E[i, j] != 0
        if some:
            support[count] = i
            count += 1
    support = support[: max(1, count)]  # one of a dictionary of zeros, for there is no matrix of no rows
    K = (columns + 7) // 8 * 8
    wide = np.zeros((support.shape[0], K), E.dtype)
    tall = np.zeros((K, support.shape[0]), E.dtype)
    for i in range(count):
        for j in range(columns):
            wide[i, j] = E[support[i], j]
            tall[j, i] = E[support[i], j]
        wide[i, K - 1] = E[support[i], columns - 1]
        tall[K - 1, i] = E[support[i], columns - 1]
    return support, wide, tall


@kernel
def take_columns(W, support):
    """W[:, support] of W (r, d): the columns that tokens have anything to do with."""
    if support.shape[0] == W.shape[1]:
        return W
    out = np.empty((W.shape[0], support.shape[0]), W.dtype)
    for i in range(W.shape[0]):
        for j in range(support.shape[0]):
            out[i, j] = W[i, support[j]]
    return out


@kernel
def put_columns(X, support, d):
    """W (r, d) with W[:, support] = X (r, s), and zeros elsewhere: `take_columns` in reverse."""
    if support.shape[0] == d:
        return X
    out = np.zeros((X.shape[0], d), X.dtype)
    for i in range(X.shape[0]):
        for j in range(support.shape[0]):
            out[i, support[j]] = X[i, j]
    return out


@kernel
def tokens_of(C, support, E_T, d):
    """Contexts (B, d) from their codes C (B, K): sum_t attn_t p_t = E c."""
    contexts = np.zeros((C.shape[0], support.shape[0]), C.dtype)
    add_product(contexts, C, E_T)
    return put_columns(contexts, support, d)


@kernel
def merge(support, E, W_Q, W_K, W_V, W_O):
    """A = W_Q E, B = W_K E, G = A^T B (K, K), V = W_V E, H = W_O V (m, K) and its transpose."""
    K, m = E.shape[1], W_O.shape[0]
    A, B = np.zeros((W_Q.shape[0], K), E.dtype), np.zeros((W_K.shape[0], K), E.dtype)
    V, H = np.zeros((W_V.shape[0], K), E.dtype), np.zeros((m, K), E.dtype)
    G, H_T = np.zeros((K, K), E.dtype), np.empty((K, m), E.dtype)
    add_product(A, take_columns(W_Q, support), E)
    add_product(B, take_columns(W_K, support), E)
    add_product(G, A.T, B)
    add_product(V, take_columns(W_V, support), E)
    add_product(H, W_O, V)
    transpose(H_T, H)
    return A, B, G, V, H, H_T


@kernel
def merge_backward(dG, dH, support, E_T, A, B, V, W_O, d):
    """dW_Q, dW_K, dW_V, dW_O from dG (K, K) and dH (m, K), and what `merge` made on the way."""
    K, s = E_T.shape
    m_a, m_b = len(A), len(V)
    V_T, dG_T = np.empty((K, m_b), V.dtype), np.empty_like(dG)
    transpose(V_T, V)
    transpose(dG_T, dG)
    dA, dB, dV = np.zeros_like(A), np.zeros_like(B), np.zeros_like(V)
    dW_Q, dW_K = np.zeros((m_a, s), A.dtype), np.zeros((m_a, s), A.dtype)
    dW_V, dW_O = np.zeros((m_b, s), A.dtype), np.zeros_like(W_O)
    add_product(dW_O, dH, V_T)  # H = W_O V   =>  dW_O = dH V^T
    add_product(dV, W_O.T, dH)  #                 dV = W_O^T dH
    add_product(dW_V, dV, E_T)  # V = W_V E   =>  dW_V = dV E^T
    add_product(dB, A, dG)  #     G = A^T B   =>  dB = A dG
    add_product(dA, B, dG_T)  #                   dA = B dG^T
    add_product(dW_K, dB, E_T)  # B = W_K E   =>  dW_K = dB E^T
    add_product(dW_Q, dA, E_T)  # A = W_Q E   =>  dW_Q = dA E^T
    return put_columns(dW_Q, support, d), put_columns(dW_K, support, d), put_columns(dW_V, support, d), dW_O
