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

from .. import atomics
from ..address import apart
from ..compile import kernel, launch
from ..costs import Costs
from ..layers import attention, mlp
from ..layers import loss as losses
from ..memory import empty, empty_like
from ..partials import add_losses, part_of
from ..products import add_large_product, add_product, cut, is_large, map_block, map_block_back, map_rows, map_rows_back
from ..team import complete, first, following, in_phases
from .dense import Gradients, Scores

__all__ = ["costs", "forward", "pays", "plan", "readers", "room", "step"]

_WORTH_A_THREAD = 700_000  # multiply-adds: some tens of microseconds
_FEWEST = 8  # prompts whose products with a matrix are done together; ones of fewer wait for the matrix
_MAX_CHUNKS = 64
_PARTS, _TILE = 2, 8  # of each gradient, between so many rows
_TASKS = 4 * _PARTS
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


def plan(tokens_shape: tuple[int, int, int], matrices: int) -> int:
    """Into how many chunks prompts (B, l+1, d) are split if the matrices have so many numbers: a function of the sizes alone.

    Each chunk reads all matrices, so that it has many prompts, or long ones.
    """
    B, rows, d = tokens_shape
    tokens, products = 4 * rows * d, 3 * matrices  # multiply-adds a prompt, about
    together = 1 if tokens > products else _FEWEST
    return max(1, min(B // together, _MAX_CHUNKS, B * (tokens + products) // _WORTH_A_THREAD))


def readers(tokens_shape: tuple[int, int, int]) -> int:
    """In how many parts tokens (B, l+1, d) are read side by side where products with the matrices are made one by one."""
    B, rows, d = tokens_shape
    return max(1, min(B, _MAX_CHUNKS, B * rows * d // _WORTH_A_THREAD))


def forward(tokens: NDArray, n_keys: int, W_Q: NDArray, W_K: NDArray, W_V: NDArray, W_O: NDArray, a: NDArray) -> Scores:
    """Scores F (B,), attention (B, n_keys), contexts C (B, d), pre-activations U (B, m); arguments as in `dense.forward`."""
    params, (B, _, d), (m, m_b), m_a = (W_Q, W_K, W_V, W_O, a), tokens.shape, W_O.shape, len(W_Q)
    if _are_large(B, d, m_a, m_b, m):
        F, attn, C, U, *_ = _forward_of_large_matrices(tokens, n_keys, params)
        return F, attn, C, U
    F, attn, C, U = (np.empty((B, *shape), tokens.dtype) for shape in ((), (n_keys,), (d,), (m,)))
    n_chunks = plan(tokens.shape, _numbers(d, m_a, m_b, m))
    launch(forward_chunks, n_chunks, F, attn, C, U, tokens, params, n_chunks)
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
    params, (B, _, d), (m, m_b), m_a = (W_Q, W_K, W_V, W_O, a), tokens.shape, W_O.shape, len(W_Q)
    if _are_large(B, d, m_a, m_b, m):
        return _step_of_large_matrices(tokens, labels, n_keys, params, kind)
    matrices = _numbers(d, m_a, m_b, m)
    n_chunks = plan(tokens.shape, matrices)
    grads = tuple([np.empty_like(each) for each in params])
    active, work = np.empty(n_chunks, np.int64), np.empty(room(n_chunks, B, d, m_a, m_b, m), a.dtype)
    multiply_adds = 4 * tokens.size + 3 * B * matrices
    most = max(n_chunks, min(_PARTS, multiply_adds // (2 * _WORTH_A_THREAD)))
    given = (work, active, grads, tokens, labels, n_keys, params, kind)
    small = multiply_adds < 4 * _WORTH_A_THREAD
    in_phases(take_seat, most, (tokens, labels, *params), *given, phases=2, tasks=_TASKS, small=small)
    return work[0], *grads


def room(n_chunks: int, B: int, d: int, m_a: int, m_b: int, m: int) -> int:
    """How many numbers `take_seat` works with."""
    return n_chunks * (1 + m) + B * (3 * d + 2 * m_a + 2 * m_b + m)


def _numbers(d: int, m_a: int, m_b: int, m: int) -> int:
    """How many numbers the four matrices have."""
    return 2 * m_a * d + m_b * d + m * m_b


def _are_large(B: int, d: int, m_a: int, m_b: int, m: int) -> bool:
    """Whether products of the matrices with all prompts are large enough for threads of their own."""
    return is_large(m_a, d, B) or is_large(m_b, d, B) or is_large(m, m_b, B)


# ---- The step as tasks, in two phases: chunks of prompts; gradients


@apart
@kernel
def take_seat(seat, calls, state, work, active, grads, tokens, labels, n_keys, params, kind):
    """Do tasks of a step until none is left or others take long over theirs; seats and calls: `team.together`.

    state counts tasks (`team.new_state`). work has `room` for what chunks leave for the gradients, and begins with the mean
    loss when all are done; the gradients are in grads, of the shapes of params, then. active (n_chunks,): see `step_chunk`.
    """
    if seat < 0:
        return
    seen = atomics.read(calls, 0)
    if seat == 0:
        atomics.enter(calls)
    W_Q, _, _, W_O, _ = params
    B, d, n_chunks = tokens.shape[0], tokens.shape[2], active.shape[0]
    loss = work[:n_chunks]
    das, end = part_of(work, n_chunks, n_chunks, W_O.shape[0])
    Q, end = part_of(work, end, B, d)
    k, end = part_of(work, end, B, W_Q.shape[0])
    C, end = part_of(work, end, B, d)
    V, end = part_of(work, end, B, W_O.shape[1])
    dh, end = part_of(work, end, B, W_O.shape[0])
    du, end = part_of(work, end, B, d)
    dk, end = part_of(work, end, B, W_Q.shape[0])
    dV, end = part_of(work, end, B, W_O.shape[1])
    rows = (Q, k, C, V, dh, du, dk, dV)
    chunk = first(state, 0)
    while chunk < n_chunks:
        step_chunk(chunk, loss, active, das, rows, tokens, labels, n_keys, params, kind)
        chunk = following(state, 0)
    if complete(state, 0, n_chunks):
        dW_Q, dW_K, dW_V, dW_O, da = grads
        task = first(state, 1)
        while task < _TASKS:
            part = task % _PARTS
            if task // _PARTS == 0:
                put_part(dW_O, dh, V, B, active, part)  # h = W_O v   =>  dW_O = dh v^T
            elif task // _PARTS == 1:
                put_part(dW_K, k, du, B, active, part)  # u = W_K^T k  =>  dW_K = k du^T
            elif task // _PARTS == 2:
                put_part(dW_Q, dk, Q, B, active, part)  # k = W_Q p_query  =>  dW_Q = dk p_query^T
            else:
                put_part(dW_V, dV, C, B, active, part)  # v = W_V c   =>  dW_V = dv c^T
            if task == _TASKS - 1:
                add_losses(loss, da, das, B)
            task = following(state, 1)
        complete(state, 1, _TASKS)
    if seat > 0:
        atomics.await_call(calls, seen)


@apart
@kernel
def step_chunk(chunk, loss, active, das, rows, tokens, labels, n_keys, params, kind):
    """A chunk's sum of losses is its entry of loss (n_chunks,), its share of the mean's da its row of das (n_chunks, m). Rows
    of its prompts that have a gradient come first among its rows, as many as its entry of active (n_chunks,) says: p_query,
    k = W_Q p_query, c, v = W_V c, dh, du, dk, dv."""
    _, W_K, W_V, W_O, a = params
    B, _, d = tokens.shape
    n_chunks = loss.shape[0]
    lo, hi = chunk * B // n_chunks, (chunk + 1) * B // n_chunks
    b = hi - lo
    Q, k, C, V, U, du, dk, dV = rows
    Q, k, C, V, U = Q[lo:hi], k[lo:hi], C[lo:hi], V[lo:hi], U[lo:hi]
    F = empty(b, a.dtype)
    g = empty(b, a.dtype)
    attn = empty((b, n_keys), a.dtype)
    who = empty(b, np.int64)
    block_forward(F, attn, C, U, Q, k, V, tokens[lo:hi], params)
    loss[chunk] = 0
    n = 0  # prompts with a gradient so far
    for p in range(b):
        loss[chunk] += losses.value(kind, F[p], labels[lo + p])
        slope = losses.slope(kind, F[p], labels[lo + p]) / B
        if losses.has_gradient(F[p], slope):
            g[n], who[n] = slope, p
            if n < p:
                move_row(Q, p, n)
                move_row(k, p, n)
                move_row(C, p, n)
                move_row(V, p, n)
                move_row(U, p, n)
            n += 1
    active[chunk] = n
    Q, k, C, V, U, du, dk, dV = Q[:n], k[:n], C[:n], V[:n], U[:n], du[lo : lo + n], dk[lo : lo + n], dV[lo : lo + n]
    dC = empty((n, d), a.dtype)
    ds = empty(n_keys, a.dtype)
    das[chunk] = 0
    mlp.slopes(das[chunk], g[:n], U, a)  # F = a^T relu(h); U holds dh now
    map_block_back(dV, U, W_O)  # h = W_O v  =>  dv = W_O^T dh
    map_block_back(dC, dV, W_V)  # v = W_V c  =>  dc = W_V^T dv
    for p in range(n):
        attention.backward(du[p], ds, attn[who[p]], C[p], dC[p], tokens[lo + who[p], :n_keys])
    map_block(dk, du, W_K)  # u = W_K^T k  =>  dk = W_K du


@apart
@kernel
def block_forward(F, attn, C, U, Q, k, V, tokens, params):
    """F (b,), attn (b, n_keys), C (b, d), U (b, m) of a block of prompts, and on the way their queries Q (b, d),
    k = W_Q p_query (b, m_a), v = W_V c (b, m_b)."""
    W_Q, W_K, W_V, W_O, a = params
    u = empty_like(Q)
    for n in range(Q.shape[0]):
        for j in range(Q.shape[1]):
            Q[n, j] = tokens[n, -1, j]
    map_block(k, Q, W_Q)  # k = W_Q p_query
    map_block_back(u, k, W_K)  # u = W_K^T k
    for n in range(Q.shape[0]):
        attention.forward(attn[n], C[n], tokens[n, : attn.shape[1]], u[n])
    map_block(V, C, W_V)  # v = W_V c
    map_block(U, V, W_O)  # h = W_O v
    mlp.scores(F, U, a)  # F = a^T relu(h)


@kernel
def forward_chunks(first, last, F, attn, C, U, tokens, params, n_chunks):
    """F (B,), attn (B, n_keys), C (B, d), U (B, m) of the prompts in chunks first .. last - 1."""
    W_Q, _, W_V, _, a = params
    B, _, d = tokens.shape
    for chunk in range(first, last):
        lo, hi = chunk * B // n_chunks, (chunk + 1) * B // n_chunks
        Q = empty((hi - lo, d), a.dtype)
        k = empty((hi - lo, W_Q.shape[0]), a.dtype)
        V = empty((hi - lo, W_V.shape[0]), a.dtype)
        block_forward(F[lo:hi], attn[lo:hi], C[lo:hi], U[lo:hi], Q, k, V, tokens[lo:hi], params)


@kernel
def move_row(A, p, n):
    """Row n of A is row p from now on."""
    for j in range(A.shape[1]):  # a loop, for it compiles in a fraction of the time that rows take
        A[n, j] = A[p, j]


@apart
@kernel
def put_part(dW, Y, X, B, active, part):
    """Of dW = sum_n Y_n X_n^T, cut into so many parts between rows, this one; n: the first `active` rows of each chunk."""
    n_chunks = active.shape[0]
    lo, hi = cut(part, dW.shape[0], _PARTS, _TILE), cut(part + 1, dW.shape[0], _PARTS, _TILE)
    dW[lo:hi] = 0
    for chunk in range(n_chunks):
        first = chunk * B // n_chunks
        end = first + active[chunk]
        add_product(dW[lo:hi], Y[first:end].T[lo:hi], X[first:end])


# ---- Of large matrices: the same product by product, each on threads of its own


def _step_of_large_matrices(
    tokens: NDArray, labels: NDArray, n_keys: int, params: tuple[NDArray, ...], kind: int
) -> Gradients:
    """What `take_seat` does."""
    B, (_, W_K, W_V, W_O, a) = len(tokens), params
    F, attn, C, U, Q, k, V = _forward_of_large_matrices(tokens, n_keys, params)
    loss, g, active = losses_of(kind, F, labels)
    dW_Q, dW_K, dW_V, dW_O, da = (np.zeros(each.shape, each.dtype) for each in params)
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
    n_chunks = readers((len(active), *tokens.shape[1:]))
    launch(attend_backward, n_chunks, du, attn, C, dC, tokens, active, n_chunks)
    add_large_product(dW_K, k.T, du)  # u = W_K^T k  =>  dW_K = k du^T
    map_rows(dk, du, W_K)  #                     dk = W_K du
    add_large_product(dW_Q, dk.T, Q)  # k = W_Q p_query  =>  dW_Q = dk p_query^T
    return a.dtype.type(loss), dW_Q, dW_K, dW_V, dW_O, da  # compiled, it is a Python number of double precision


def _forward_of_large_matrices(tokens: NDArray, n_keys: int, params: tuple[NDArray, ...]) -> tuple[NDArray, ...]:
    """What `forward` returns, and the queries Q (B, d), k = W_Q p_query (B, m_a), v = W_V c (B, m_b)."""
    W_Q, W_K, W_V, W_O, a = params
    B, _, d = tokens.shape
    dtype = tokens.dtype
    F, attn = np.empty(B, dtype), np.empty((B, n_keys), dtype)
    C, U = np.empty((B, d), dtype), np.empty((B, len(a)), dtype)
    Q = tokens[:, -1].copy()
    k, u, V = np.empty((B, len(W_Q)), dtype), np.empty((B, d), dtype), np.empty((B, len(W_V)), dtype)
    map_rows(k, Q, W_Q)  # k = W_Q p_query
    map_rows_back(u, k, W_K)  # u = W_K^T k
    n_chunks = readers(tokens.shape)
    launch(attend, n_chunks, attn, C, tokens, u, n_chunks)
    map_rows(V, C, W_V)  # v = W_V c
    map_rows(U, V, W_O)  # h = W_O v
    mlp.scores(F, U, a)  # F = a^T relu(h)
    return F, attn, C, U, Q, k, V


@kernel
def losses_of(kind, F, labels):
    """The mean loss, g (B,) = dL/dF of the mean, and the numbers of the prompts that have a gradient."""
    B = F.shape[0]
    g = empty_like(F)
    active, found = empty(B, np.int64), 0
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
    ds = empty(attn.shape[1], attn.dtype)
    for n in range(first * b // n_chunks, last * b // n_chunks):
        attention.backward(du[n], ds, attn[n], C[n], dC[n], tokens[active[n], : attn.shape[1]])
