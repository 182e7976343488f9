"""The step of `dense` for few prompts: with the four matrices as they are, none of their products made.

    u = W_K^T (W_Q p_query),      s_i = p_i . u,      v = W_V sum_i attn_i p_i,      h = W_O v,      F = a^T relu(h)

Merging costs 3 m_a d^2 + 3 m m_b d multiply-adds a batch, however few its prompts are, and saves most of the products
a prompt needs otherwise. `pays` counts both. The results are those of `dense` but for rounding. In reverse:

    u = W_K^T k   =>   dW_K = k du^T,    dk = W_K du,         k = W_Q p_query   =>   dW_Q = dk p_query^T
    v = W_V c     =>   dW_V = dv c^T,    dc = W_V^T dv,       h = W_O v         =>   dW_O = dh v^T,  dv = W_O^T dh

Derivation and numbers: docs/dense.md.
"""

import numpy as np
from numpy.typing import NDArray

from ..compile import kernel, launch
from ..costs import Costs
from ..layers import attention, mlp
from ..layers import loss as losses
from ..products import add_large_product, map_rows, map_rows_back
from .dense import Gradients, Scores

__all__ = ["costs", "forward", "pays", "step"]

_WORTH_A_THREAD = 1_000_000  # multiply-adds on tokens
_MAX_CHUNKS = 64
_SECOND_READING = 2  # multiply-adds in the time that a number of the tokens takes to come again: measured


def pays(B: int, d: int, m_a: int, m_b: int, m: int, rows: int = 0) -> bool:
    """Whether B prompts of so many tokens take less time with the matrices as they are than with their products.

    Multiply-adds are counted, and that this form reads the tokens twice, the other one once.
    """
    merged = 3 * m_a * d * d + 3 * m * m_b * d + B * (2 * d * d + 3 * m * d)
    return B * (5 * m_a * d + 3 * m_b * d + 3 * m * m_b + _SECOND_READING * rows * d) < merged


def costs(
    B: int, n_keys: int, d: int, m: int, itemsize: int, *, m_a: int | None = None, m_b: int | None = None
) -> Costs:
    """The `Costs` of `step`; m_a = m_b = d where they are not given."""
    m_a, m_b = m_a or d, m_b or d
    prompt = 5 * m_a * d + 3 * m_b * d + 3 * m * m_b  # queries and keys, values, MLP
    prompt += 4 * n_keys * d + n_keys + d + 3 * m  # attention, element by element
    return Costs(
        bytes=itemsize * (B * ((n_keys + 1) * d + 1) + 2 * (2 * m_a * d + m_b * d + m * m_b + m)),
        multiply_adds=B * prompt,
        exponentials=B * n_keys,
        look_ups=0,
    )


def plan(tokens_shape: tuple[int, int, int]) -> int:
    """Into how many chunks prompts are split where their tokens (B, l+1, d) are read: a function of the sizes alone."""
    B, rows, d = tokens_shape
    return max(1, min(B, _MAX_CHUNKS, B * rows * d // _WORTH_A_THREAD))


def forward(tokens: NDArray, n_keys: int, W_Q: NDArray, W_K: NDArray, W_V: NDArray, W_O: NDArray, a: NDArray) -> Scores:
    """Scores F (B,), attention (B, n_keys), contexts C (B, d), pre-activations U (B, m); arguments as in `dense.forward`."""
    F, attn, C, U, *_ = _forward(tokens, n_keys, W_Q, W_K, W_V, W_O, a)
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
    """Mean loss over the batch and its gradients: loss, dW_Q, dW_K, dW_V, dW_O, da; arguments as in `dense.step`."""
    B = len(tokens)
    F, attn, C, U, Q, k, V = _forward(tokens, n_keys, W_Q, W_K, W_V, W_O, a)
    loss, g, active = losses_of(kind, F, labels)
    dW_Q, dW_K, dW_V, dW_O, da = (np.zeros(each.shape, each.dtype) for each in (W_Q, W_K, W_V, W_O, a))
    if len(active) < B:  # the others have no gradient
        g, attn, C, U, Q, k, V = (each[active] for each in (g, attn, C, U, Q, k, V))
    if not len(active):
        return a.dtype.type(loss), dW_Q, dW_K, dW_V, dW_O, da
    dk, dV, dC, du = (np.empty_like(each) for each in (k, V, C, Q))
    mlp.slopes(da, g, U, a)  # F = a^T relu(h); U holds dh now
    map_rows_back(dV, U, W_O)  # h = W_O v   =>  dv = W_O^T dh
    add_large_product(dW_O, U.T, V)  #           dW_O = dh v^T
    add_large_product(dW_V, dV.T, C)  # v = W_V c  =>  dW_V = dv c^T
    map_rows_back(dC, dV, W_V)  #                dc = W_V^T dv
    n_chunks = plan((len(active), *tokens.shape[1:]))
    launch(attend_backward, n_chunks, du, attn, C, dC, tokens, active, n_chunks)
    add_large_product(dW_K, k.T, du)  # u = W_K^T k  =>  dW_K = k du^T
    map_rows(dk, du, W_K)  #                     dk = W_K du
    add_large_product(dW_Q, dk.T, Q)  # k = W_Q p_query  =>  dW_Q = dk p_query^T
    return a.dtype.type(loss), dW_Q, dW_K, dW_V, dW_O, da  # compiled, it is a Python number of double precision


def _forward(
    tokens: NDArray, n_keys: int, W_Q: NDArray, W_K: NDArray, W_V: NDArray, W_O: NDArray, a: NDArray
) -> tuple[NDArray, ...]:
    """What `forward` returns, and the queries Q (B, d), k = W_Q p_query (B, m_a), v = W_V c (B, m_b)."""
    B, _, d = tokens.shape
    dtype = tokens.dtype
    F, attn = np.empty(B, dtype), np.empty((B, n_keys), dtype)
    C, U = np.empty((B, d), dtype), np.empty((B, len(a)), dtype)
    Q = tokens[:, -1].copy()
    k, u, V = np.empty((B, len(W_Q)), dtype), np.empty((B, d), dtype), np.empty((B, len(W_V)), dtype)
    map_rows(k, Q, W_Q)  # k = W_Q p_query
    map_rows_back(u, k, W_K)  # u = W_K^T k
    n_chunks = plan(tokens.shape)
    launch(attend, n_chunks, attn, C, tokens, u, n_chunks)
    map_rows(V, C, W_V)  # v = W_V c
    map_rows(U, V, W_O)  # h = W_O v
    mlp.scores(F, U, a)  # F = a^T relu(h)
    return F, attn, C, U, Q, k, V


@kernel
def losses_of(kind, F, labels):
    """The mean loss, g (B,) = dL/dF of the mean, and the numbers of the prompts that have a gradient."""
    B = F.shape[0]
    g = np.empty_like(F)
    active, found = np.empty(B, np.int64), 0
    total = F.dtype.type(0)
    for n in range(B):
        total += losses.value(kind, F[n], labels[n])
        g[n] = losses.slope(kind, F[n], labels[n]) / B
        if losses.has_gradient(F[n], g[n]):
            active[found] = n
            found += 1
    return total / B, g, active[:found]


@kernel
def attend(first, last, attn, C, tokens, u, n_chunks):
    """attn (B, n_keys), C (B, d) of the prompts in chunks first .. last - 1, from the probes u (B, d)."""
    B = tokens.shape[0]
    for n in range(first * B // n_chunks, last * B // n_chunks):
        attention.forward(attn[n], C[n], tokens[n, : attn.shape[1]], u[n])


@kernel
def attend_backward(first, last, du, attn, C, dC, tokens, active, n_chunks):
    """du (b, d) of the prompts `active` (b,), their part in chunks first .. last - 1, from dC = dL/dC (b, d) and what
    `attend` left of them."""
    b = active.shape[0]
    ds = np.empty(attn.shape[1], attn.dtype)
    for n in range(first * b // n_chunks, last * b // n_chunks):
        attention.backward(du[n], ds, attn[n], C[n], dC[n], tokens[active[n], : attn.shape[1]])
