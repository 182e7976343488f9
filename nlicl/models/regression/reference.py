"""The definition: softmax attention that regresses on its contexts' labels. One prompt, plain NumPy, any dtype.

It shares no code with the kernels and is what everything else is judged by. Source: Huang, Cheng, Liang 2023, model and loss
[mask and factor 1/2 recalled]; see docs/huang2023.md.
"""

from typing import Any

import numpy as np

from .prompts import Params, Prompt

__all__ = ["forward", "loss", "softmax"]


def forward(params: Params, prompt: Prompt) -> tuple[Any, np.ndarray]:
    """Prediction yhat and attention attn (N,), or (N+1,) where the query attends to itself.

    attn_i = exp(x_i^T Q x_query) / sum_j exp(x_j^T Q x_query), yhat = sum_i attn_i y_i; the query's own label is 0.
    """
    keys = prompt.keys
    X, y = keys[:-1], keys[-1]
    attn = softmax(X.T @ (params.Q @ prompt.x_query))
    return attn @ y, attn


def loss(params: Params, prompt: Prompt) -> Any:
    """(yhat - y_query)^2 / 2; the factor 1/2 is [recalled]."""
    yhat, _ = forward(params, prompt)
    return (yhat - prompt.z) ** 2 / 2


def softmax(scores: np.ndarray) -> np.ndarray:
    """softmax_i(scores), by the real part's maximum; any shape (n,)."""
    exps = np.exp(scores - scores.real.max())
    return exps / exps.sum()
