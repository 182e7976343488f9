"""Softmax attention with several heads over the tokens of one prompt: forward and backward.

    S_tj = q_t . k_j / sqrt(D),      A_tj = softmax_j(S_tj),  j <= t if causal,      o_t = sum_j A_tj v_j

Each head has D consecutive columns of Q, K, V and O. `rows` says at which tokens t the rows of Q, A and O stand: all of them,
or those few of the last block that are read. Numbers of a head are copied together, since the products take packed arrays.
Derivation: docs/causal-attention.md.
"""

import numpy as np

from ..address import apart
from ..compile import kernel
from ..memory import empty
from ..products import add_product
from .attention import softmax

__all__ = ["backward", "forward"]


@apart
@kernel
def forward(O, A, Q, KV, rows, causal):
    """O (R, C) and A (H, R or more, T) from Q (R, C), keys and values KV (T, 2 C), tokens `rows` (R,)."""
    H, (R, C), T = A.shape[0], Q.shape, KV.shape[0]
    D = C // H
    scale = Q.dtype.type(1 / np.sqrt(D))
    q = empty((R, D), Q.dtype)
    o = empty((R, D), Q.dtype)
    k_T = empty((D, T), Q.dtype)
    v = empty((T, D), Q.dtype)
    for h in range(H):
        for i in range(R):
            for c in range(D):
                q[i, c] = Q[i, h * D + c] * scale
        for j in range(T):
            for c in range(D):
                k_T[c, j] = KV[j, h * D + c]
                v[j, c] = KV[j, C + h * D + c]
        attn = A[h, :R]
        attn[:] = 0
        add_product(attn, q, k_T)  # S_tj = q_t . k_j / sqrt(D)
        for i in range(R):
            seen = rows[i] + 1 if causal else T
            softmax(attn[i, :seen])  # A_tj = exp(S_tj) / sum_r exp(S_tr)
            attn[i, seen:] = 0
        o[:] = 0
        add_product(o, attn, v)  # o_t = sum_j A_tj v_j
        for i in range(R):
            for c in range(D):
                O[i, h * D + c] = o[i, c]


@apart
@kernel
def backward(dQ, dKV, dO, A, Q, KV):
    """dQ (R, C) and dKV (T, 2 C) from dO (R, C) and what forward took and left."""
    H, (R, C), T = A.shape[0], Q.shape, KV.shape[0]
    D = C // H
    scale = Q.dtype.type(1 / np.sqrt(D))
    q = empty((R, D), Q.dtype)
    do = empty((R, D), Q.dtype)
    k = empty((T, D), Q.dtype)
    v_T = empty((D, T), Q.dtype)
    dS = empty((R, T), Q.dtype)
    dq = empty((R, D), Q.dtype)
    dk = empty((T, D), Q.dtype)
    dv = empty((T, D), Q.dtype)
    for h in range(H):
        for i in range(R):
            for c in range(D):
                q[i, c] = Q[i, h * D + c]
                do[i, c] = dO[i, h * D + c]
        for j in range(T):
            for c in range(D):
                k[j, c] = KV[j, h * D + c]
                v_T[c, j] = KV[j, C + h * D + c]
        attn = A[h, :R]
        dv[:] = 0
        add_product(dv, attn.T, do)  # o_t = sum_j A_tj v_j  =>  dv_j = sum_t A_tj do_t
        dS[:] = 0
        add_product(dS, do, v_T)  #                              dA_tj = do_t . v_j
        for i in range(R):
            mean = Q.dtype.type(0)
            for j in range(T):
                mean += attn[i, j] * dS[i, j]
            for j in range(T):
                dS[i, j] = (
                    attn[i, j] * (dS[i, j] - mean) * scale
                )  # A = softmax(S)  =>  dS_tj = A_tj (dA_tj - sum_r A_tr dA_tr)
        dq[:] = 0
        add_product(dq, dS, k)  # S_tj = q_t . k_j / sqrt(D)  =>  dq_t = sum_j dS_tj k_j / sqrt(D)
        dk[:] = 0
        add_product(dk, dS.T, q)  #                               dk_j = sum_t dS_tj q_t / sqrt(D)
        for i in range(R):
            for c in range(D):
                dQ[i, h * D + c] = dq[i, c]
        for j in range(T):
            for c in range(D):
                dKV[j, h * D + c] = dk[j, c]
                dKV[j, C + h * D + c] = dv[j, c]
