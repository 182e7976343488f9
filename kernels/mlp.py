"""ReLU MLP on a block of contexts, output layer fixed or not: forward and backward.

    u = W c,      F = a^T relu(u),      W = W_O W_V  (m, d)

relu'(0) = 0, and relu(NaN) = NaN. Derivation and numbers: docs/mlp.md.
"""

from ._jit import kernel
from .products import add_product


@kernel
def forward(U, F, C, W_T, a):
    """U (b, m), F (b,) from contexts C (b, d), W_T = W^T (d, m) and a (m,)."""
    U[:] = 0
    add_product(U, C, W_T)  # u = W c
    for n in range(U.shape[0]):
        F[n] = 0
        for i in range(U.shape[1]):
            if not U[n, i].real <= 0:  # so written that NaN passes
                F[n] += a[i] * U[n, i]  # F = sum_i a_i relu(u_i)


@kernel
def backward(dW, da, dC, g, U, C, W, a):
    """dC (b, d); dW (m, d) and da (m,) are added to; U (b, m) is overwritten by dU. g (b,) = dL/dF, W (m, d)."""
    for n in range(U.shape[0]):
        for i in range(U.shape[1]):
            if not U[n, i].real <= 0:
                da[i] += g[n] * U[n, i]  # F = a^T relu(u)  =>  da = g relu(u)
                U[n, i] = g[n] * a[i]  #                        du_i = g a_i 1[u_i > 0]
            else:
                U[n, i] = 0
    dC[:] = 0
    add_product(dC, U, W)  # u = W c  =>  dc = W^T du
    add_product(dW, U.T, C)  #            dW = du c^T
