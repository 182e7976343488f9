"""Attention on codes alone: inputs of its kernels, and what comes out."""

import numpy as np

from nlicl.kernels.compile import source
from nlicl.kernels.layers import code_attention

COMPILED = (code_attention.attend, code_attention.attend_backward)
PLAIN = tuple(source(function) for function in COMPILED)


def attention(b, n_keys, K, dtype, seed):
    """What `attend` and `attend_backward` take, and room for what they give: random prompts, rows G of any size."""
    rng = np.random.default_rng(seed)
    codes = [rng.integers(0, K, (b, n_keys + 1)).astype(np.int32) for _ in range(2)]
    codes += [rng.normal(size=(b, n_keys + 1)).astype(dtype), rng.integers(-1, 2, (b, n_keys + 1)).astype(np.int8)]
    G, dC = (rng.normal(size=shape).astype(dtype) for shape in ((K, K), (b, K)))
    rows = [np.full((b, code_attention.row_of(n_keys)), np.nan, dtype) for _ in range(2)]
    tables = [np.full((b, K), np.nan, dtype) for _ in range(3)]
    return codes, G, dC, rows, tables, np.full(b, np.nan, dtype), np.zeros((K, K), dtype)


def attended(attend, attend_backward, n_keys, codes, G, dC, rows, tables, of_label, dG):
    """attn, C, dG, ds, dg by these two functions, on arrays that stay as they are."""
    (attn, ds), (C, g, dg), of_label, dG = (
        [a.copy() for a in rows],
        [a.copy() for a in tables],
        of_label.copy(),
        dG.copy(),
    )
    with np.errstate(all="ignore"):
        attend(attn, of_label, C, g, np.empty((4, len(G)), G.dtype), n_keys, tuple(codes), G)
        attend_backward(dG, dg, ds, of_label, attn, C, dC, np.empty((4, len(G)), G.dtype), n_keys, tuple(codes))
    return attn[:, :n_keys], C, dG, ds[:, :n_keys], dg
