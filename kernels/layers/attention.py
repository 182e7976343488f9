"""Softmax attention of one query over its keys, in probe form: forward and backward.

    s_i = p_i . u,      attn = softmax(s),      c = sum_i attn_i p_i,           u = W_K^T W_Q p_query

Only the query attends, so neither keys W_K p_i nor values W_V p_i are ever built: the tokens are read as they
lie. Derivation and numbers: docs/attention.md.
"""

import numpy as np

from .. import vectors
from ..compile import kernel
from ..products import add_rows, row_products

__all__ = ["backward", "forward", "softmax"]

_TILE = 32  # tokens that stay in a first-level cache; a multiple of the eight rows that products take at a time


@kernel
def forward(attn, c, keys, u):
    """attn (n_keys,), c (d,) from keys (n_keys, d) and the probe u (d,)."""
    if not vectors.attend(attn, c, keys, u):
        row_products(attn, keys, u)  # s_i = p_i . u
        softmax(attn)  # attn_i = exp(s_i) / sum_r exp(s_r)
        c[:] = 0
        add_rows(c, attn, keys)  # c = sum_i attn_i p_i


@kernel
def backward(du, ds, attn, c, dc, keys):
    """du (d,) and, on the way, ds (n_keys,), from dc = dL/dc (d,) and what forward left in attn and c."""
    if vectors.attend_backward(du, ds, attn, c, dc, keys):
        return
    mean = dc.dtype.type(0)
    for j in range(c.shape[0]):
        mean += c[j] * dc[j]  # sum_r attn_r dattn_r = c . dc
    du[:] = 0
    # Nothing below needs all tokens at once. Tile by tile, their second reading is from the first-level cache.
    for lo in range(0, ds.shape[0], _TILE):
        hi = min(lo + _TILE, ds.shape[0])
        row_products(ds[lo:hi], keys[lo:hi], dc)  # c = sum_i attn_i p_i     =>  dattn_i = p_i . dc
        if ds.shape[0] == 1:
            mean = ds[0]  # one token: its softmax is constant, and ds = 0 to the last bit
        for i in range(lo, hi):
            ds[i] = attn[i] * (ds[i] - mean)  # attn = softmax(s)  =>  ds_i = attn_i (dattn_i - sum_r attn_r dattn_r)
        add_rows(du, ds[lo:hi], keys[lo:hi])  # s_i = p_i . u            =>  du = sum_i ds_i p_i


@kernel
def softmax(s):
    """s <- softmax(s) in place. The largest real part is subtracted first: no score, however large, overflows.

    All are NaN where a score is -inf, a number of any sign that has overflowed: exp would make it 0, as if it were small.
    """
    if vectors.softmax(s):
        return
    top = s[0].real
    for i in range(1, s.shape[0]):
        if s[i].real > top:
            top = s[i].real
    zero = s.dtype.type(0)
    total = zero
    for i in range(s.shape[0]):
        s[i] = np.exp(s[i] - top) + zero * s[i]  # NaN where s_i is infinite
        total += s[i]
    for i in range(s.shape[0]):
        s[i] = s[i] / total
