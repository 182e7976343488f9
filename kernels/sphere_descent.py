"""SGD on fresh prompts on the sphere in one call, for the model of `steps.nearest`: draw, step, update, and again.

    W <- W - eta_t ( dL/dW + lambda W ),        the prompts of step t by the key (.., t)

What a step computes depends on t and on W alone, however many steps a call takes. One thread takes it; Python's lock is free.

Prompts lie as `steps.sphere` draws them, by tokens, coordinates, prompts, a block of b at a time, and every line below is done
for all prompts of a block. Of a code u_c = e_c - 1/K only the class is kept:

    u = W h_0                       s_j = x_j . u_x + z_c(j),  z_c = u_c - mean u,      s_0 = x_0 . u_x + u_mark
    q = softmax(s)                  l_c = sum_{c(j)=c} q_j - (1 - q_0)/K
    g_j = q_j (r_c(j) - mean r - <r, l>),  g_0 = -q_0 <r, l>
    du_x = sum_{j=0..N} g_j x_j     du_c = sum_{c(j)=c} g_j - (1/K) sum_{j>0} g_j       du_mark = g_0       dW = sum du h_0^T

Binary labels are numbers: z = y u, l = sum_j q_j y_j.
"""

import math

import numpy as np

from .address import apart
from .compile import kernel
from .descent import moved, scaled
from .products import add_product
from .steps.nearest import judge
from .steps.sphere import BLOCK, begin, draw_block, make_room

__all__ = ["descend"]

_TAYLOR = tuple(1 / math.factorial(k) for k in range(14))


@kernel
def descend(losses, etas, t, decay, largest, kind, mixture, W, entropy, B, N, K):
    """Make steps t .. t + n - 1, of which the last may be the one that ends it.

    Parameters
    ----------
    losses, etas : (n,)
        The losses are written.
    decay, largest, kind, mixture
        lambda; the loss that is too large; which loss it is, and its share of cross-entropy.
    W : (E, E)
    entropy : uint32
        The words of the key; the last is written.
    B, N, K
        Prompts a step, contexts, classes; K = 0: binary labels.

    Returns
    -------
    made, end, W
        How many steps were made, an `End` of `descent`, and W after them, which is not written again.
    """
    d = W.shape[0] - 1 - max(K, 1)
    x, classes, room = np.empty((N + 1, d, BLOCK)), np.empty((N, BLOCK), np.int64), make_room(N, d)
    work = np.empty((N + 1 + 2 * W.shape[0] + 8 + 2 * max(K, 1), BLOCK))
    rows = np.empty((BLOCK, W.shape[0]))
    for i in range(losses.shape[0]):
        entropy[entropy.shape[0] - 1] = t + i
        generator = begin(entropy)
        dW = np.zeros_like(W)
        total = 0.0
        for lo in range(0, B, BLOCK):
            draw_block(x, classes, generator, K, room)
            total += block(dW, W, x, classes, K, kind, mixture, min(BLOCK, B - lo), B, work, rows)
        losses[i] = total / B
        if not np.isfinite(losses[i]):
            return i, 3, W
        if not scaled(dW.reshape(-1), W.reshape(-1), etas[i], decay):
            return i, 4, W
        if not moved(dW.reshape(-1), W.reshape(-1), True):
            return i, 2, W
        W = dW
        if losses[i] > largest:
            return i + 1, 1, W
    return losses.shape[0], 0, W


@apart
@kernel
def block(dW, W, x, classes, K, kind, mixture, count, B, work, rows):
    """Add the first `count` prompts' share of the gradient to dW (E, E), and return the sum of their losses.

    x (N+1, d, b), classes (N, b); work and rows are room.
    """
    n_rows, d, b = x.shape
    N, E, L = n_rows - 1, W.shape[0], max(K, 1)
    s, u, du = work[:n_rows], work[n_rows : n_rows + E], work[n_rows + E : n_rows + 2 * E]
    some = work[n_rows + 2 * E :]
    top, best, rest, target, z, l = some[0], some[1], some[2], some[3], some[8 : 8 + L], some[8 + L : 8 + 2 * L]
    x_0 = x[N]
    for e in range(E):  # u = W h_0
        to = u[e]
        for i in range(b):
            to[i] = W[e, E - 1]
        for k in range(d):
            add_scaled(to, W[e, k], x_0[k])
    if K == 0:
        z[0] = u[d]
    else:
        mean_of(rest, u[d : d + K])
        for c in range(K):
            for i in range(b):
                z[c, i] = u[d + c, i] - rest[i]

    for j in range(n_rows):  # scores, and the nearest context's label
        to = s[j]
        to[:] = 0.0
        for k in range(d):
            add_times(to, x[j, k], u[k])
        if j == N:
            for i in range(b):
                to[i] += u[E - 1, i]
            break
        labels = classes[j]
        if K == 0:
            for i in range(b):
                to[i] += z[0, i] * labels[i]
        else:
            for i in range(b):
                to[i] += z[labels[i], i]
        rest[:] = 0.0
        for k in range(d):
            add_times(rest, x[j, k], x_0[k])
        for i in range(b):
            if j == 0 or rest[i] > best[i]:
                best[i], target[i] = rest[i], labels[i]

    top[:] = s[0]
    for j in range(1, n_rows):
        for i in range(b):
            top[i] = max(top[i], s[j, i])
    best[:] = 0.0
    for j in range(n_rows):
        for i in range(b):
            best[i] += 0.0 * s[j, i]  # NaN where a score has overflowed
            s[j, i] -= top[i]
    exponentials(s.reshape(-1))
    for j in range(n_rows):
        for i in range(b):
            best[i] += s[j, i]
    l[:] = 0.0
    for j in range(n_rows):
        for i in range(b):
            s[j, i] = s[j, i] / best[i]  # q
        if j < N:
            gather(l, s[j], classes[j], K)
    centre(l, K)

    loss = answered(z, top, l, target, K, kind, mixture, count, B)  # z <- <r, u_c> for every c, top <- <r, l>
    du[:] = 0.0
    for j in range(n_rows):
        if j == N:
            for i in range(b):
                du[E - 1, i] = -s[j, i] * top[i]
            g = du[E - 1]
        else:
            g, labels = s[j], classes[j]
            if K == 0:
                for i in range(b):
                    g[i] = g[i] * (z[0, i] * labels[i] - top[i])
            else:
                for i in range(b):
                    g[i] = g[i] * (z[labels[i], i] - top[i])
            gather(du[d : d + L], g, labels, K)
        for k in range(d):
            add_times(du[k], g, x[j, k])
    centre(du[d : d + L], K)

    for i in range(b):  # h_0
        for k in range(d):
            rows[i, k] = x_0[k, i]
        for k in range(d, E - 1):
            rows[i, k] = 0.0
        rows[i, E - 1] = 1.0
    add_product(dW, du, rows)
    return loss


@kernel
def add_scaled(y, a, x):
    """y += a x, (b,)."""
    for i in range(y.shape[0]):
        y[i] += a * x[i]


@kernel
def add_times(y, a, x):
    """y += a * x, (b,)."""
    for i in range(y.shape[0]):
        y[i] += a[i] * x[i]


@kernel
def mean_of(mean, x):
    """The mean of the rows of x (K, b)."""
    mean[:] = 0.0
    for c in range(x.shape[0]):
        add_scaled(mean, 1.0 / x.shape[0], x[c])


@kernel
def gather(l, q, labels, K):
    """Add q (b,) to the row of l (K, b) that its label says; of binary labels, with its sign."""
    if K == 0:
        for i in range(q.shape[0]):
            l[0, i] += q[i] * labels[i]
    else:
        for i in range(q.shape[0]):
            l[labels[i], i] += q[i]


@kernel
def centre(l, K):
    """l (K, b) less the mean of its rows, as codes have it: sum_j q_j u_c(j); binary labels stay."""
    if K > 0:
        for i in range(l.shape[1]):
            mean = 0.0
            for c in range(K):
                mean += l[c, i]
            mean /= K
            for c in range(K):
                l[c, i] -= mean


@kernel
def answered(z, along, l, target, K, kind, mixture, count, B):
    """The sum of the losses of the first `count` answers; z (L, b) and along (b,) are filled with <r, u_c> and <r, l>, over B.

    Of the others these are 0.
    """
    L = l.shape[0]
    r, one, code = np.empty(L), np.empty(L), np.empty(L)
    loss = 0.0
    for i in range(l.shape[1]):
        along[i] = 0.0
        if i >= count:
            z[:, i] = 0.0
            continue
        for c in range(L):
            one[c] = l[c, i]
            code[c] = target[i] if K == 0 else (1.0 if c == target[i] else 0.0) - 1.0 / L
        loss += judge(r, one, code, kind, mixture)
        mean = 0.0
        for c in range(L):
            r[c] /= B
            along[i] += r[c] * one[c]
            mean += r[c] / L
        for c in range(L):
            z[c, i] = r[c] if K == 0 else r[c] - mean
    return loss


@kernel
def exponentials(s):
    """exp(s) in place, of numbers up to 0: 2^n times Taylor's polynomial, as `vectors.elementwise` has it."""
    m = np.empty(s.shape[0], np.int64)
    powers = m.view(np.float64)
    for i in range(s.shape[0]):
        x = max(s[i], -708.0)
        n = np.floor(x * (1 / math.log(2)) + 0.5)
        m[i] = (np.int64(np.int32(n)) + 1023) << 52
        r = x - n * 6.93147180369123816490e-01
        r = r - n * 1.90821492927058770002e-10
        y = _TAYLOR[13]
        y = y * r + _TAYLOR[12]
        y = y * r + _TAYLOR[11]
        y = y * r + _TAYLOR[10]
        y = y * r + _TAYLOR[9]
        y = y * r + _TAYLOR[8]
        y = y * r + _TAYLOR[7]
        y = y * r + _TAYLOR[6]
        y = y * r + _TAYLOR[5]
        y = y * r + _TAYLOR[4]
        y = y * r + _TAYLOR[3]
        y = y * r + _TAYLOR[2]
        y = y * r + 1.0
        s[i] = y * r + 1.0
    for i in range(s.shape[0]):
        s[i] = s[i] * powers[i]
