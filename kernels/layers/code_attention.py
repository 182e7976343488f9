"""Softmax attention of one query over keys that are codes: forward and backward, of a block of prompts.

    g = code_query^T G,     s_t = g^T code_t,     attn = softmax(s),     c = sum_t attn_t code_t

A token's code has three entries: a column, kappa times another, and the sign times the last. Derivation and numbers:
docs/coded.md.
"""

import numpy as np

from .. import vectors
from ..address import apart
from ..compile import kernel
from .attention import softmax

__all__ = ["attend", "attend_backward", "row_of"]

_TOGETHER = 1024  # tokens that go through a stage of attention, and then the next: see `attend`
_LONG = 64  # tokens: see `scatter`


@kernel
def row_of(n_keys):
    """How long a row of attention is in memory, so that instructions may go by whole registers."""
    return (n_keys + vectors.PADDING - 1) // vectors.PADDING * vectors.PADDING


@apart
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


@apart
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


# With D = (code_1 .. code_l), gather is D^T x and scatter is D w: each the other's transpose. An unsigned index spares the
# question whether it counts from the end.


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
