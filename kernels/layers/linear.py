"""A linear layer on rows: forward and backward.

    Y = X W^T + b          X (n, in), W (out, in), b (out,)

Derivation: docs/linear.md.
"""

from ..address import apart
from ..compile import kernel
from ..products import add_product

__all__ = ["backward", "forward"]


@apart
@kernel
def forward(Y, X, W_T, b):
    """Y (n, out) from X (n, in), W_T = W^T (in, out) and b (out,)."""
    for i in range(Y.shape[0]):
        for j in range(Y.shape[1]):
            Y[i, j] = b[j]
    add_product(Y, X, W_T)  # Y = X W^T + b


@apart
@kernel
def backward(dX, dW, db, dY, X, W):
    """dX (n, in); dW (out, in) and db (out,) are added to."""
    add_product(dW, dY.T, X)  # Y = X W^T + b  =>  dW = dY^T X
    for i in range(dY.shape[0]):
        for j in range(dY.shape[1]):
            db[j] += dY[i, j]  #                   db = sum_i dY_i
    dX[:] = 0
    add_product(dX, dY, W)  #                      dX = dY W
