"""What a run measures on test prompts that are codes: scores, attention on the query's pattern, and which neurons are on.

The forward pass is that of `coded`, a block of prompts at a time. Sums are kept and nothing else of a block: attention and
pre-activations of thousands of prompts would be megabytes, which the system hands out page by page in every measurement.
"""

import numpy as np
from numpy.typing import NDArray

from ..compile import kernel
from ..layers import mlp
from ..layers.code_attention import attend, row_of
from ..memory import empty, zeros
from .coded import plan
from .dictionary import merge, without_zero_rows

__all__ = ["watch"]


def watch(
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
) -> tuple[NDArray, NDArray, NDArray]:
    """Scores and what else is measured, for arguments as of `coded.step`.

    Returns
    -------
    F, same : ndarray (B,)
        Scores; attention on the contexts that carry the query's relevant pattern.
    on : ndarray of int (2, m)
        On how many prompts with label +1, and with label -1, the pre-activation of a neuron is above 0.
    """
    support, E, _ = without_zero_rows(E)
    _, block = plan(relevant.shape, len(a), E.shape[1], a.itemsize)
    return watch_alone(support, E, relevant, irrelevant, kappa, sign, labels, n_keys, W_Q, W_K, W_V, W_O, a, block)


@kernel
def watch_alone(support, E, relevant, irrelevant, kappa, sign, labels, n_keys, W_Q, W_K, W_V, W_O, a, block):
    """What `watch` returns, with support and E of `without_zero_rows` and block of `plan`."""
    _, _, G, _, _, H_T = merge(support, E, W_Q, W_K, W_V, W_O)
    B, l, K, m = relevant.shape[0], relevant.shape[1] - 1, E.shape[1], a.shape[0]
    F, same, on = empty(B, a.dtype), zeros(B, a.dtype), zeros((2, m), np.int64)
    attn, of_label = empty((block, row_of(n_keys)), a.dtype), empty(block, a.dtype)
    g, T = empty((block, K), a.dtype), empty((4, K), a.dtype)
    C, U = empty((block, K), a.dtype), empty((block, m), a.dtype)
    for lo in range(0, B, block):
        hi = min(lo + block, B)
        b = hi - lo
        codes = (relevant[lo:hi], irrelevant[lo:hi], kappa[lo:hi], sign[lo:hi])
        attend(attn[:b], of_label[:b], C[:b], g[:b], T, n_keys, codes, G)
        mlp.forward(U[:b], F[lo:hi], C[:b], H_T, a)
        for n in range(b):
            r = relevant[lo + n]
            for t in range(l):
                same[lo + n] += attn[n, t] if r[t] == r[l] else a.dtype.type(0)
            of = on[0 if labels[lo + n] > 0 else 1]
            for i in range(m):
                of[i] += U[n, i] > 0
    return F, same, on
