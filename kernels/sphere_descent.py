"""SGD on fresh prompts on the sphere in one call, for the model of `steps.nearest`: draw, step, update, and again.

    W <- W - eta_t ( dL/dW + lambda W ),        the prompts of step t by the key (.., t)

What a step computes depends on t and on W alone, however many steps a call takes. One thread takes it; Python's lock is free.
"""

import numpy as np

from .address import apart
from .compile import kernel
from .descent import moved, scaled
from .memory import zeros
from .partials import add_partials
from .steps.nearest import step_chunks
from .steps.sphere import draw

__all__ = ["descend", "lay_out"]


@kernel
def descend(losses, etas, t, decay, largest, kind, mixture, W, entropy, room, K, sizes):
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
    room : tuple of inputs (B, N+1, d), classes (B, N), tokens (B, N+1, E), nearest (B,)
        Room for the prompts of a step.
    K
        Classes; 0: binary labels.
    sizes : tuple of n_chunks, block, n_cached
        As `steps.nearest.plan` has them.

    Returns
    -------
    made, end, W
        How many steps were made, an `End` of `descent`, and W after them, which is not written again.
    """
    inputs, classes, tokens, nearest = room
    n_chunks, block, n_cached = sizes
    B, L = tokens.shape[0], max(K, 1)
    for i in range(losses.shape[0]):
        entropy[entropy.shape[0] - 1] = t + i
        draw(inputs, classes, entropy, K)
        lay_out(tokens, nearest, inputs, classes, K)
        loss, dW_T = zeros(n_chunks, np.float64), zeros((n_chunks, W.shape[0], W.shape[0]), np.float64)
        W_T = np.ascontiguousarray(W.T)
        step_chunks(0, n_chunks, loss, dW_T, tokens, nearest, L, W_T, kind, mixture, block, n_cached)
        losses[i] = loss.sum() / B
        if not np.isfinite(losses[i]):
            return i, 3, W
        dW = np.ascontiguousarray(add_partials(dW_T).T)
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
def lay_out(tokens, nearest, inputs, classes, K):
    """Tokens (B, N+1, E) of inputs (B, N+1, d) and classes (B, N), and the first context nearest to the query (B,)."""
    B, rows, d = inputs.shape
    E = tokens.shape[2]
    one, other = (1.0 - 1.0 / K, -1.0 / K) if K > 0 else (0.0, 0.0)
    for n in range(B):
        least = np.inf
        for j in range(rows):
            gap = 0.0
            for k in range(d):
                x = inputs[n, j, k]
                tokens[n, j, k] = x
                gap += (x - inputs[n, rows - 1, k]) ** 2
            for k in range(d, E):
                tokens[n, j, k] = other if j < rows - 1 and k < E - 1 else 0.0
            if j == rows - 1:
                tokens[n, j, E - 1] = 1.0
                continue
            if K > 0:
                tokens[n, j, d + classes[n, j]] = one
            else:
                tokens[n, j, d] = classes[n, j]
            if gap < least:
                least, nearest[n] = gap, j
