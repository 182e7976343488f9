"""LayerNorm on rows: forward and backward.

    y = gamma xhat + beta,      xhat = (x - mean) r,      r = 1/sqrt(var + epsilon),      var = mean((x - mean)^2)

Backward recomputes xhat from x, and from the mean and r of each row, which forward leaves. Derivation: docs/layernorm.md.
"""

import numpy as np

from ..address import apart
from ..compile import kernel

__all__ = ["backward", "forward"]

_EPSILON = 1e-5


@apart
@kernel
def forward(Y, mean, r, X, gamma, beta):
    """Y (n, C), mean (n,), r (n,) from X (n, C), gamma and beta (C,)."""
    n, C = X.shape
    zero = X.dtype.type(0)
    share = X.dtype.type(1 / C)
    for i in range(n):
        total = zero
        for j in range(C):
            total += X[i, j]
        m = total * share
        total = zero
        for j in range(C):
            total += (X[i, j] - m) * (X[i, j] - m)
        s = 1 / np.sqrt(total * share + X.dtype.type(_EPSILON))  # r = 1/sqrt(var + epsilon)
        for j in range(C):
            Y[i, j] = gamma[j] * ((X[i, j] - m) * s) + beta[j]  # y = gamma xhat + beta
        mean[i], r[i] = m, s


@apart
@kernel
def backward(dX, dgamma, dbeta, dY, X, mean, r, gamma):
    """dX (n, C), dgamma and dbeta (C,): all are added to, dX since the residual branch has its share."""
    n, C = X.shape
    zero = X.dtype.type(0)
    share = X.dtype.type(1 / C)
    for i in range(n):
        m, s = mean[i], r[i]
        mean_g, mean_xg = zero, zero
        for j in range(C):
            xhat = (X[i, j] - m) * s
            g = gamma[j] * dY[i, j]
            dgamma[j] += dY[i, j] * xhat  # y = gamma xhat + beta  =>  dgamma = sum dy xhat
            dbeta[j] += dY[i, j]  #                                    dbeta = sum dy
            mean_g += g  #                                             g = dxhat = gamma dy
            mean_xg += xhat * g
        mean_g *= share
        mean_xg *= share
        for j in range(C):
            xhat = (X[i, j] - m) * s
            g = gamma[j] * dY[i, j]
            dX[i, j] += s * (g - mean_g - xhat * mean_xg)  # dx = r (g - mean(g) - xhat mean(xhat g))
