"""SGD on fresh coded prompts in one call: draw, step, update, look whether all is well, and again.

    W <- W - eta_t ( dL/dW + lambda W ),        the prompts of step t by the key (.., t)

One thread takes it, and no other waits for it: Python's lock is free. What a step computes depends on t and on the parameters
alone, however many steps a call takes.

Legend   n steps;   W_Q, .., a, prompts and M1, M2, K of the law as in `steps.coded` and `sampling`
"""

from enum import IntEnum

import numpy as np

from .compile import kernel
from .memory import empty, empty_like, zeros
from .sampling import draw
from .steps.coded import room, take_seat
from .team import PHASES

__all__ = ["End", "descend"]


class End(IntEnum):
    """Why no further step was made."""

    NONE = 0  # all were
    EXPLODED = 1  # the loss of the last one is larger than it may be
    PARAMETER = 2  # one would not be finite after the step
    LOSS = 3  # it is not finite
    GRADIENT = 4  # and up to GRADIENT + 4: that of W_Q, W_K, W_V, W_O, a is not finite


@kernel
def descend(
    losses,
    etas,
    t,
    trains,
    decay,
    largest,
    kind,
    W_Q,
    W_K,
    W_V,
    W_O,
    a,
    codes,
    entropy,
    law,
    dictionary,
    sizes,
):
    """Make steps t .. t + n - 1, of which the last may be the one that ends it.

    Parameters
    ----------
    losses, etas : (n,)
        The losses are written.
    trains : bool (5,)
        Which of W_Q, W_K, W_V, W_O, a; the others stay.
    decay, largest, kind
        lambda; the loss that is too large; which loss it is.
    codes : tuple of relevant, irrelevant, kappa, sign, labels
        Room for the prompts of a step.
    entropy : uint32
        The words of the key; the last is written.
    law : tuple of pairs, alpha, M1, M2, K
        As in `draw`.
    dictionary : tuple of support, E, E_T
        As `without_zero_rows` makes them.
    sizes : tuple of n_keys, n_chunks, block
        As in `take_seat`.

    Returns
    -------
    made, end, W_Q, W_K, W_V, W_O, a
        How many steps were made, an `End`, and the parameters after them, none of which is written again.
    """
    relevant, irrelevant, kappa, sign, labels = codes
    pairs, alpha, M1, M2, K = law
    n_keys, n_chunks, block = sizes
    dtype = a.dtype.type
    state, calls, work = (
        zeros(2 * PHASES, np.int64),
        zeros(3, np.int64),  # which nobody else looks at
        empty(room(n_chunks, dictionary[1].shape[1], W_Q.shape[0], W_O.shape), a.dtype),
    )
    for i in range(losses.shape[0]):
        entropy[entropy.shape[0] - 1] = t + i
        draw(relevant, irrelevant, kappa, sign, labels, entropy, pairs, alpha, M1, M2, K)
        gradients = empty_like(W_Q), empty_like(W_K), empty_like(W_V), empty_like(W_O), empty_like(a)
        state[:] = 0
        take_seat(
            0, calls, state, work, gradients, dictionary, codes, n_keys, (W_Q, W_K, W_V, W_O, a), kind, n_chunks, block
        )  # fmt: skip
        losses[i] = work[0]
        if not np.isfinite(losses[i]):
            return i, 3, W_Q, W_K, W_V, W_O, a
        dW_Q, dW_K, dW_V, dW_O, da = gradients
        after = flat(dW_Q, dW_K, dW_V, dW_O, da)
        before = flat(W_Q, W_K, W_V, W_O, a)
        for j in range(5):
            if not scaled(after[j], before[j], dtype(etas[i]), dtype(decay)):
                return i, 4 + j, W_Q, W_K, W_V, W_O, a
        for j in range(5):
            if not moved(after[j], before[j], trains[j]):
                return i, 2, W_Q, W_K, W_V, W_O, a
        W_Q, W_K, W_V, W_O, a = dW_Q, dW_K, dW_V, dW_O, da
        if losses[i] > largest:
            return i + 1, 1, W_Q, W_K, W_V, W_O, a
    return losses.shape[0], 0, W_Q, W_K, W_V, W_O, a


@kernel
def flat(W_Q, W_K, W_V, W_O, a):
    """The same numbers, each array as a vector."""
    return W_Q.reshape(-1), W_K.reshape(-1), W_V.reshape(-1), W_O.reshape(-1), a


# The bits are those of NumPy, which rounds after every operation: what a loop has stored, no other makes one operation of with
# its own. 0 x is 0 of every number, and NaN of infinity and NaN.


@kernel
def scaled(gradient, W, eta, decay):
    """gradient <- eta (gradient + lambda W), both (n,). Returns whether the gradient was finite."""
    decayed = zeros(W.shape[0], W.dtype)
    if decay != 0:
        for i in range(W.shape[0]):
            decayed[i] = decay * W[i]
    total = W.dtype.type(0)
    for i in range(W.shape[0]):
        total += gradient[i] * W.dtype.type(0)
        gradient[i] = eta * (gradient[i] + decayed[i])
    return total == 0


@kernel
def moved(step, W, trains):
    """step <- W - step, or W if it does not train, both (n,). Returns whether that is finite."""
    total = W.dtype.type(0)
    for i in range(W.shape[0]):
        new = W[i] - step[i] if trains else W[i]
        total += new * W.dtype.type(0)
        step[i] = new
    return total == 0
