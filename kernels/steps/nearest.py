"""The one-nearest-neighbour transformer of Li et al. and Athreya and Wang: softmax attention with one trained matrix W.

    u = W h_0      q_j = softmax_j(h_j . u), j = 0 .. N      c = sum_j q_j h_j      l = the label rows of c

A token is h_j = (x_j, u_j, 0), its label code u_j of width L; the query h_0 = (x_0, 0, 1) is among its own keys. So this is
`attention` with the probe W h_0 and dc = (0; r; 0), r = dloss/dl; rows of W belong to keys, columns to the query. The target
is the code of the context `nearest`, which the data say. Prompts are split into chunks as in `regression`.

    SQUARED        ||l - u||^2 / 2                                           r = l - u
    CROSS_ENTROPY  -log softmax(l)_c                                         r = softmax(l) - e_c
    SQUENTROPY     -log softmax(l)_c + sum_{k != c} l_k^2 / (L-1)            r = softmax(l) - e_c + 2 l_k 1[k != c] / (L-1)
    MIXTURE        (1-m) SQUARED + m CROSS_ENTROPY                           r likewise

Legend   d width of an input;   L width of a label code, 1 for binary labels;   E = d + L + 1;   c the target's class, the one
         positive entry of its code;   m the share of the cross-entropy

Derivation and numbers: docs/onenn2024.md.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..address import apart
from ..compile import kernel, launch
from ..costs import Costs
from ..layers import attention
from ..memory import empty, zeros
from ..partials import add_partials
from ..products import add_product
from . import dense
from .dense import attend, probe

__all__ = ["NAMES", "costs", "forward", "plan", "step", "step_chunks"]

SQUARED, CROSS_ENTROPY, SQUENTROPY, MIXTURE = 0, 1, 2, 3
NAMES = {"squared": SQUARED, "cross-entropy": CROSS_ENTROPY, "squentropy": SQUENTROPY, "mixture": MIXTURE}

_WORTH_A_THREAD = 1_000_000  # multiply-adds: half a millisecond, as in `regression`
_BLOCK = 32  # prompts whose probes are taken together


def costs(B: int, N: int, d: int, L: int, itemsize: int) -> Costs:
    """The `Costs` of `step` for the squared loss. Of h_0 only d + 1 entries are other than 0, and of dc only L."""
    E = d + L + 1
    prompt = 2 * E * (d + 1)  # probe and its outer product
    prompt += (N + 1) * (2 * E + 2 * L)  # scores and du; l and the slopes by attention
    prompt += N + 1 + 2 * L  # element by element
    return Costs(
        bytes=itemsize * (B * (N + 1) * E + 2 * E * E) + 8 * B,
        multiply_adds=B * prompt,
        exponentials=B * (N + 1),
        look_ups=0,
    )


@lru_cache(64)
def plan(shape: tuple[int, int, int], itemsize: int) -> tuple[int, int, int]:
    """(n_chunks, block, n_cached) of tokens (B, N+1, E), as `dense.plan`; a batch that is soon done is one chunk."""
    B, rows, E = shape
    n_chunks, block, n_cached = dense.plan(shape, 0, itemsize)
    if B * 2 * E * (E + 2 * rows) < _WORTH_A_THREAD:
        return 1, min(_BLOCK, B), min(_BLOCK, B, n_cached)
    return n_chunks, block, n_cached


def forward(tokens: NDArray, L: int, W: NDArray) -> tuple[NDArray, NDArray]:
    """Answers of a batch, and the attention that leads to them.

    Parameters
    ----------
    tokens : ndarray (B, N+1, E)
        The query last. All arrays are packed and of one dtype: float32, float64, or complex.
    L : int
        The width of a label code.
    W : ndarray (E, E)

    Returns
    -------
    answer, attn : ndarray (B, L), (B, N+1)
    """
    B, rows, _ = tokens.shape
    n_chunks, block, _ = plan(tokens.shape, tokens.itemsize)
    answer = np.empty((B, L), tokens.dtype)
    attn = np.empty((B, rows), tokens.dtype)
    launch(forward_chunks, n_chunks, answer, attn, tokens, np.ascontiguousarray(W.T), n_chunks, block)
    return answer, attn


def step(tokens: NDArray, nearest: NDArray, L: int, W: NDArray, kind: int, mixture: float) -> tuple[Any, NDArray]:
    """Mean loss over the batch and its gradient: loss, dW (E, E).

    Parameters
    ----------
    nearest : ndarray of int (B,)
        The context whose label is the target, from 0 to N - 1: it is not checked.
    kind : int
        Which loss: a value of `NAMES`; SQUARED where L is 1.
    mixture : float
        m, of MIXTURE.
    tokens, L, W
        As in `forward`. Nothing is checked here: NaN and infinity pass through.
    """
    B, _, E = tokens.shape
    n_chunks, block, n_cached = plan(tokens.shape, tokens.itemsize)
    loss = np.zeros(n_chunks, tokens.dtype)
    dW_T = np.zeros((n_chunks, E, E), tokens.dtype)
    arguments = (loss, dW_T, tokens, nearest, L, np.ascontiguousarray(W.T), kind, mixture, block, n_cached)
    if n_chunks == 1:
        step_chunks(0, 1, *arguments)
        return loss[0] / B, np.ascontiguousarray(dW_T[0].T)
    launch(step_chunks, n_chunks, *arguments)
    return loss.sum() / B, np.ascontiguousarray(add_partials(dW_T).T)


@kernel
def forward_chunks(first, last, answer, attn, tokens, W_T, n_chunks, block):
    """answer (B, L) and attn (B, N+1) of the prompts in chunks first .. last - 1."""
    B, _, E = tokens.shape
    L = answer.shape[1]
    queries = empty((block, E), tokens.dtype)
    probes = empty((block, E), tokens.dtype)
    C = empty((block, E), tokens.dtype)
    for chunk in range(first, last):
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            hi = min(lo + block, end)
            b = hi - lo
            probe(probes[:b], queries[:b], tokens[lo:hi], W_T)  # u = W h_0
            attend(attn[lo:hi], C[:b], tokens[lo:hi], probes[:b])  # c = sum_j q_j h_j
            for n in range(b):
                for k in range(L):
                    answer[lo + n, k] = C[n, E - 1 - L + k]  # l


@apart
@kernel
def step_chunks(first, last, loss, dW_T, tokens, nearest, L, W_T, kind, mixture, block, n_cached):
    """Chunks first .. last - 1: a chunk adds its sum of losses to its entry of loss (n_chunks,), and its share of the mean's
    gradient to its partial sums in dW_T (n_chunks, E, E)."""
    B, rows, E = tokens.shape
    d = E - 1 - L
    n_chunks = loss.shape[0]
    attn = empty((n_cached, rows), tokens.dtype)
    ds = empty(rows, tokens.dtype)
    queries = empty((block, E), tokens.dtype)
    probes = empty((block, E), tokens.dtype)
    C = empty((n_cached, E), tokens.dtype)
    dc = zeros(E, tokens.dtype)
    share = tokens.dtype.type(1) / tokens.dtype.type(B)
    for chunk in range(first, last):
        end = (chunk + 1) * B // n_chunks
        for lo in range(chunk * B // n_chunks, end, block):
            hi = min(lo + block, end)
            b = hi - lo
            probe(probes[:b], queries[:b], tokens[lo:hi], W_T)
            dprobes = probes
            for i in range(0, b, n_cached):  # forward and backward while their tokens are in the cache
                j = min(i + n_cached, b)
                n = j - i
                attend(attn[:n], C[:n], tokens[lo + i : lo + j], probes[i:j])
                for p in range(n):
                    prompt = tokens[lo + i + p]
                    target = prompt[nearest[lo + i + p], d : d + L]
                    loss[chunk] += judge(dc[d : d + L], C[p, d : d + L], target, kind, mixture)
                    for k in range(d, d + L):
                        dc[k] = dc[k] * share  # l = the label rows of c  =>  dc = (0; r; 0)
                    attention.backward(dprobes[i + p], ds, attn[p], C[p], dc, prompt)
            add_product(dW_T[chunk], queries[:b].T, dprobes[:b])  # u = W h_0  =>  dW = du h_0^T


@kernel
def judge(r, l, u, kind, mixture):
    """The loss of the answer l (L,) for the target's code u (L,); r (L,) is filled with dloss/dl."""
    L = l.shape[0]
    zero = l.dtype.type(0)
    squares = zero
    for k in range(L):
        r[k] = l[k] - u[k]
        squares += r[k] * r[k]
    value = squares / 2
    if kind == SQUARED:
        return value
    m = l.dtype.type(mixture) if kind == MIXTURE else l.dtype.type(1)
    top = l[0].real
    for k in range(1, L):
        top = max(top, l[k].real)
    total = zero
    for k in range(L):
        total += np.exp(l[k] - top)
    entropy = np.log(total) + top
    others = zero  # sum_{k != c} l_k^2
    for k in range(L):
        slope = np.exp(l[k] - top) / total
        if u[k].real > 0:
            slope -= 1
            entropy -= l[k]
        elif kind == SQUENTROPY:
            others += l[k] * l[k]
            slope += 2 * l[k] / (L - 1)
        r[k] = (1 - m) * r[k] + m * slope
    if kind == SQUENTROPY:
        entropy += others / (L - 1)
    return (1 - m) * value + m * entropy
