"""GELU by GPT-2's formula with tanh, entry by entry: forward and backward.

    h = u/2 (1 + tanh(y)) = u s,      y = sqrt(2/pi) (u + 0.044715 u^3),      s = (1 + tanh(y))/2 = sigmoid(2 y)

s and 1 - s come from one exponential of a number that is not positive: neither overflows nor cancels, and no tanh is called.
-inf, a number of any sign that has overflowed, gives NaN. Derivation: docs/gelu.md.
"""

import math

import numpy as np

from .. import vectors
from ..address import apart
from ..compile import kernel

__all__ = ["backward", "forward"]

_SCALE, _CUBE = math.sqrt(2 / math.pi), 0.044715


@apart
@kernel
def forward(H, U):
    """H (n, M) from pre-activations U (n, M)."""
    scale, cube = U.dtype.type(_SCALE), U.dtype.type(_CUBE)
    for i in range(U.shape[0]):
        if not vectors.gelu(H[i], U[i]):
            for j in range(U.shape[1]):
                s, _ = sigmoids(U[i, j], scale, cube)
                H[i, j] = U[i, j] * s  # h = u s


@apart
@kernel
def backward(dU, U, dH):
    """dU (n, M) from dH (n, M), which may be the same array, and U as in forward."""
    scale, cube = U.dtype.type(_SCALE), U.dtype.type(_CUBE)
    for i in range(U.shape[0]):
        if not vectors.gelu_backward(dU[i], U[i], dH[i]):
            for j in range(U.shape[1]):
                u = U[i, j]
                s, rest = sigmoids(u, scale, cube)
                slope = s + 2 * u * s * rest * scale * (
                    1 + 3 * cube * u * u
                )  # h = u s  =>  dh/du = s + u 2 s (1 - s) y'
                dU[i, j] = dH[i, j] * slope


@kernel
def sigmoids(u, scale, cube):
    """s = sigmoid(2 y) and 1 - s = sigmoid(-2 y), with y = scale (u + cube u^3)."""
    y = scale * (u + cube * u * u * u)
    if y.real > 0:
        e = np.exp(-2 * y)
        return 1 / (1 + e), e / (1 + e)
    e = np.exp(2 * y)
    return e / (1 + e), 1 / (1 + e)
