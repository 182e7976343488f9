"""The backward pass of each layer of GPT-2, literally: NumPy, a line an equation, beside the definition's forward pass.

Five layers, each a subject of its own: parameters with names of their own, and a scalar to differentiate, the read-off

    loss = sum(c y) + sum(y^2)/2,     y what the layer computes, c fixed and random

so that dy = dloss/dy = c + y. A formula is given dy with the prompt. All formulas are [derived], and none is a quotation.

| layer     | parameters                              | y                                                       |
|-----------|-----------------------------------------|---------------------------------------------------------|
| LayerNorm | x (T, C), gamma, beta (C,)              | gamma xh + beta, xh = (x - mean) r, r = 1/sqrt(var + epsilon) |
| Softmax   | S (T, T)                                | A_tj = exp(S_tj) / sum_j exp(S_tj), j <= t if causal    |
| Attention | q, k, v (H, T, D)                       | o = A v, S_tj = q_t . k_j / sqrt(D)                     |
| GELU      | u (T, M)                                | u/2 (1 + t), t = tanh(sqrt(2/pi) (u + 0.044715 u^3))    |
| Linear    | X (n, in), W (out, in), b (out,)        | X W^T + b                                               |
"""

from typing import Any, NamedTuple

import numpy as np

from ...models.gpt2.reference import EPSILON, gelu, layernorm, softmax

__all__ = [
    "GELU",
    "Attention",
    "LayerNorm",
    "Linear",
    "Softmax",
    "Upstream",
    "attention_backward",
    "gelu_backward",
    "layernorm_backward",
    "linear_backward",
    "output",
    "read_off",
    "softmax_backward",
]


class LayerNorm(NamedTuple):
    """x (T, C), gamma (C,), beta (C,)."""

    x: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray


class Softmax(NamedTuple):
    """S (T, T): scores, a row a query."""

    S: np.ndarray


class Attention(NamedTuple):
    """q, k, v (H, T, D)."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray


class GELU(NamedTuple):
    """u (T, M)."""

    u: np.ndarray


class Linear(NamedTuple):
    """X (n, in), W (out, in), b (out,)."""

    X: np.ndarray
    W: np.ndarray
    b: np.ndarray


class Upstream(NamedTuple):
    """What a layer's formula is given as its prompt.

    Attributes
    ----------
    c : ndarray
        Of the read-off sum(c y) + sum(y^2)/2, of the shape of the output y.
    dy : ndarray
        c + y at the parameters that come with it: the derivative of the loss by y.
    causal : bool
        Whether a token attends to none behind it; for softmax and attention.
    """

    c: np.ndarray
    dy: np.ndarray
    causal: bool = True


def output(params: Any, causal: bool = True) -> np.ndarray:
    """y of a layer, by the definition's lines. `params` is one of the five NamedTuples."""
    if isinstance(params, LayerNorm):
        return layernorm(params.x, params.gamma, params.beta)
    if isinstance(params, Softmax):
        return softmax(params.S, causal)
    if isinstance(params, GELU):
        return gelu(params.u)
    if isinstance(params, Linear):
        return params.X @ params.W.T + params.b
    q, k, v = params
    return softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]), causal) @ v


def read_off(y: np.ndarray, c: np.ndarray) -> Any:
    """sum(c y) + sum(y^2)/2: every entry of y counts, and none as its neighbour does."""
    return (c * y).sum() + (y**2).sum() / 2


# ---- Backward


def layernorm_backward(dy: np.ndarray, x: np.ndarray, gamma: np.ndarray) -> LayerNorm:
    """The gradients by x (T, C), gamma and beta (C,), from dy (T, C)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
    xh = centred * r
    dgamma = (dy * xh).sum(axis=0)  # y = gamma xh + beta  =>  dgamma = sum_t dy_t xh_t
    dbeta = dy.sum(axis=0)  #                                  dbeta = sum_t dy_t
    g = gamma * dy  #                                          g = dxh
    mean_g, mean_gxh = g.mean(axis=-1, keepdims=True), (g * xh).mean(axis=-1, keepdims=True)
    dx = r * (g - mean_g - xh * mean_gxh)  # xh = (x - mean) r  =>  dx = r (g - mean(g) - xh mean(g xh))
    return LayerNorm(dx, dgamma, dbeta)


def softmax_backward(dA: np.ndarray, A: np.ndarray) -> np.ndarray:
    """The gradient by the scores, of the shape (..., T, T) of A and dA; 0 where A is 0, as it is beyond the mask."""
    return A * (
        dA - (A * dA).sum(axis=-1, keepdims=True)
    )  # A = softmax(S)  =>  dS_tj = A_tj (dA_tj - sum_r A_tr dA_tr)


def attention_backward(do: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, A: np.ndarray) -> Attention:
    """The gradients by q, k and v (H, T, D), from do (H, T, D) and A (H, T, T)."""
    D = q.shape[-1]
    dA = do @ v.transpose(0, 2, 1)  # o_t = sum_j A_tj v_j  =>  dA_tj = do_t . v_j
    dv = A.transpose(0, 2, 1) @ do  #                           dv_j = sum_t A_tj do_t
    dS = softmax_backward(dA, A)
    dq = dS @ k / np.sqrt(D)  # S_tj = q_t . k_j / sqrt(D)  =>  dq_t = sum_j dS_tj k_j / sqrt(D)
    dk = dS.transpose(0, 2, 1) @ q / np.sqrt(D)  #              dk_j = sum_t dS_tj q_t / sqrt(D)
    return Attention(dq, dk, dv)


def gelu_backward(dh: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The gradient by u, of the shape of u and dh."""
    t = np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3))
    inner = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * u**2)  # of the argument of tanh
    return dh * (
        (1 + t) / 2 + u / 2 * (1 - t**2) * inner
    )  # h = u/2 (1 + t)  =>  du = dh ((1 + t)/2 + u/2 t'),  t' = (1 - t^2) inner


def linear_backward(dY: np.ndarray, X: np.ndarray, W: np.ndarray) -> Linear:
    """The gradients by X (n, in), W (out, in) and b (out,), from dY (n, out)."""
    dX = dY @ W  # Y = X W^T + b  =>  dX = dY W
    dW = dY.T @ X  #                  dW = dY^T X
    db = dY.sum(axis=0)  #            db = sum_i dY_i
    return Linear(dX, dW, db)
