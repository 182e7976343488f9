"""Read-out of a row to one number: forward and backward.

    F = w . y + b

Derivation: docs/linear.md.
"""

from ..address import apart
from ..compile import kernel
from ..products import row_products

__all__ = ["backward", "forward"]


@apart
@kernel
def forward(F, Y, w, b):
    """F (n,) from Y (n, C), w (C,) and b (1,)."""
    row_products(F, Y, w)
    for i in range(F.shape[0]):
        F[i] += b[0]  # F = w . y + b


@apart
@kernel
def backward(dY, dw, db, g, Y, w):
    """dY (n, C) from g (n,) = dloss/dF; dw (C,) and db (1,) are added to."""
    for i in range(Y.shape[0]):
        db[0] += g[i]  # F = w . y + b  =>  db = sum g
        for c in range(Y.shape[1]):
            dw[c] += g[i] * Y[i, c]  #      dw = sum g y
            dY[i, c] = g[i] * w[c]  #       dy = g w
