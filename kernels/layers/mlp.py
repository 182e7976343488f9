"""ReLU MLP on a block of contexts, output layer fixed or not: forward and backward.

    u = W c,      F = a^T relu(u),      W = W_O W_V  (m, d)

relu'(0) = 0, relu(NaN) = NaN and, since -inf is a number of any sign that has overflowed, relu(-inf) = NaN: it must not pass
for an inactive neuron. Derivation and numbers: docs/mlp.md.

Signs of pre-activations are as good as random: a jump at each would be guessed wrongly half of the time. ReLU is
therefore written as a choice between two values that are both at hand, which compiles to vector selects.
"""

from ..address import apart
from ..compile import kernel
from ..products import add_product

__all__ = ["backward", "forward", "scores", "slopes"]


@apart
@kernel
def forward(U, F, C, W_T, a):
    """U (b, m), F (b,) from contexts C (b, d), W_T = W^T (d, m) and a (m,)."""
    U[:] = 0
    add_product(U, C, W_T)  # u = W c
    scores(F, U, a)


@kernel
def scores(F, U, a):
    """F (b,) from pre-activations U (b, m) and a (m,)."""
    zero = a.dtype.type(0)
    for n in range(U.shape[0]):
        score = zero
        for i in range(U.shape[1]):
            u = U[n, i]
            score += a[i] * (zero * u if u.real <= 0 else u)  # F = sum_i a_i relu(u_i); NaN for -inf, and NaN passes
        F[n] = score


@kernel
def slopes(da, g, U, a):
    """da (m,) is added to; U (b, m) is overwritten by dU."""
    zero = a.dtype.type(0)
    for n in range(U.shape[0]):
        slope = g[n]
        for i in range(U.shape[1]):
            u = U[n, i]
            off = u.real <= 0
            da[i] += slope * (zero if off else u)  # F = a^T relu(u)  =>  da = g relu(u)
            U[n, i] = zero if off else slope * a[i]  #                    du_i = g a_i 1[u_i > 0]


@apart
@kernel
def backward(da, dC, g, U, W, a):
    """dC (b, d); da (m,) is added to; U (b, m) is overwritten by dU. g (b,) = dL/dF, W (m, d).

    What is left, dW += dU^T C, needs nobody's result but this: the caller does it, for more prompts at once.
    """
    slopes(da, g, U, a)
    dC[:] = 0
    add_product(dC, U, W)  # u = W c  =>  dc = W^T du
