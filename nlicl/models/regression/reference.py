"""The definition: softmax attention that regresses on its contexts' labels. One prompt, plain NumPy, any dtype.

It shares no code with the kernels and is what everything else is judged by. Where it overflows it raises `NotFinite`.

Source: Huang, Cheng, Liang 2023, model and loss [mask and factor 1/2 recalled]; see docs/huang2023.md.
"""

from typing import Any

import numpy as np

from ...core.arrays import check_finite, real_array
from ...core.checks import instance
from ...core.errors import InvalidValue, NotFinite
from ..overflow import finite
from .prompts import Params, Prompt

__all__ = ["forward", "loss", "softmax"]


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def forward(params: Params, prompt: Prompt) -> tuple[Any, np.ndarray]:
    """Prediction yhat and attention attn (N,), or (N+1,) where the query attends to itself.

    attn_i = exp(x_i^T Q x_query) / sum_j exp(x_j^T Q x_query), yhat = sum_i attn_i y_i; the query's own label is 0.
    """
    Q = instance("params", params, Params).Q
    d = instance("prompt", prompt, Prompt, "prompts[i]").tokens.shape[1] - 1
    if type(Q) is not np.ndarray or Q.dtype.kind not in "fc" or Q.shape != (d, d):
        Q = real_array(Q, "params.Q", "(d, d)", complex_too=True)
        if Q.shape != (d, d) or not d:
            raise InvalidValue(f"params.Q has shape {Q.shape}; expected ({d}, {d}), as prompt.tokens has d = {d}.")
    if not Q.flags.c_contiguous:
        Q = np.ascontiguousarray(Q)  # products of the same numbers in another order round otherwise
    keys = prompt.keys
    X, y = keys[:-1], keys[-1]
    try:
        attn = softmax(X.T @ (Q @ prompt.x_query))
        return finite("yhat", attn @ y), attn
    except NotFinite:
        check_finite(Q, "params.Q")  # an error of its own where an entry is not finite
        check_finite(prompt.tokens, "prompt.tokens")
        raise


@np.errstate(over="ignore", invalid="ignore")
def loss(params: Params, prompt: Prompt) -> Any:
    """(yhat - y_query)^2 / 2; the factor 1/2 is [recalled]."""
    yhat, _ = forward(params, prompt)
    return finite("the loss", (yhat - prompt.z) ** 2 / 2)


def softmax(scores: np.ndarray) -> np.ndarray:
    """softmax_i(scores), by the real part's maximum; any shape (n,). `NotFinite` where a score has overflowed."""
    exps = np.exp(finite("a score", scores) - scores.real.max())
    return exps / exps.sum()
