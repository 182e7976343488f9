"""Read-in of tokens and their positions: forward and backward.

    x_t = W_in p_t + b_in + wpe_t

A block of prompts is given as rows, T of them a prompt. Tokens are data: they have no gradient. Derivation: docs/linear.md.
"""

from ..address import apart
from ..compile import kernel
from ..products import add_product

__all__ = ["backward", "forward"]


@apart
@kernel
def forward(X, P, W_in_T, b_in, wpe, T):
    """X (n, C) from tokens P (n, d), W_in^T (d, C), b_in (C,) and the positions' wpe (T or more, C)."""
    for i in range(X.shape[0]):
        for c in range(X.shape[1]):
            X[i, c] = b_in[c] + wpe[i % T, c]
    add_product(X, P, W_in_T)  # x_t = W_in p_t + b_in + wpe_t


@apart
@kernel
def backward(dW_in, db_in, dwpe, dX, P, T):
    """dW_in (C, d), db_in (C,) and dwpe (T or more, C) are added to."""
    for i in range(dX.shape[0]):
        for c in range(dX.shape[1]):
            dwpe[i % T, c] += dX[i, c]  # x_t = W_in p_t + b_in + wpe_t  =>  dwpe_t = dx_t, over all prompts
            db_in[c] += dX[i, c]  #                                          db_in = sum_t dx_t
    add_product(dW_in, dX.T, P)  #                                           dW_in = sum_t dx_t p_t^T
