"""The backward pass of GPT-2 on one prompt, literally, and what the audit needs to judge it.

`backward` is `nlicl.models.gpt2.reference.forward` in reverse order, a line of it for each of the definition's lines, and loss
of the hinge at its end. The layers' own formulas are in `.layers`. All of it is [derived]; nothing is a quotation.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...audit.subject import Formula, Subject
from ...models.gpt2.prompts import Params, Prompt
from ...models.gpt2.reference import gelu, layernorm, softmax
from . import _points, _whole, statement
from ._marked import MARKED
from ._marked_whole import marked
from .layers import (
    GELU,
    Attention,
    LayerNorm,
    Linear,
    Softmax,
    Upstream,
    attention_backward,
    gelu_backward,
    layernorm_backward,
    linear_backward,
    softmax_backward,
)

__all__ = ["TITLE", "backward", "formulas", "layer_subjects", "subject"]

TITLE = "GPT-2 (Radford et al. 2019), a decoder between a linear read-in and a linear read-out"


def backward(params: Params, prompt: Prompt) -> Params:
    """The gradient of the hinge loss of one prompt by all parameters."""
    W, p, reads = params, prompt.tokens, list(prompt.reads)
    T, (L, _, H, D, C), R = len(p), W.W_qkv.shape, len(reads)

    def heads(rows: np.ndarray) -> np.ndarray:  # (H, T, D) from (T, C)
        return rows.reshape(T, H, D).transpose(1, 0, 2)

    # Forward, and what backward needs of it
    x = p @ W.W_in.T + W.b_in + W.wpe[:T]
    saved = []
    for l in range(L):
        n_1 = layernorm(x, W.gamma_1[l], W.beta_1[l])
        q, k, v = np.einsum("shdc,tc->shtd", W.W_qkv[l], n_1) + W.b_qkv[l][:, :, None]
        A = softmax(q @ k.transpose(0, 2, 1) / np.sqrt(D), prompt.causal)
        o = (A @ v).transpose(1, 0, 2).reshape(T, C)
        x_2 = x + o @ W.W_o[l].T + W.b_o[l]
        n_2 = layernorm(x_2, W.gamma_2[l], W.beta_2[l])
        u = n_2 @ W.W_fc[l].T + W.b_fc[l]
        saved.append((x, n_1, q, k, v, A, o, x_2, n_2, u))
        x = x_2 + gelu(u) @ W.W_pr[l].T + W.b_pr[l]
    y = layernorm(x[reads], W.gamma_f, W.beta_f)
    F, z = y @ W.w_out + W.b_out, prompt.z

    # Backward
    d = Params(*map(np.zeros_like, params))
    g = (
        -z * (1 - z * F > 0) / R
    )  # loss = mean_t max(0, 1 - z_t F_t)  =>  g_t = dloss/dF_t = -z_t 1[1 - z_t F_t > 0] / R
    d.w_out[:] = g @ y  # F_t = w_out . y_t + b_out  =>  dw_out = sum_t g_t y_t
    d.b_out[:] = g.sum()  #                              db_out = sum_t g_t
    dy = np.outer(g, W.w_out)  #                         dy_t = g_t w_out
    dx = np.zeros_like(x)
    dx[reads], d.gamma_f[:], d.beta_f[:] = layernorm_backward(dy, x[reads], W.gamma_f)  # y = LN_f(x), where it is read
    for l in reversed(range(L)):
        x, n_1, q, k, v, A, o, x_2, n_2, u = saved[l]
        dh, d.W_pr[l], d.b_pr[l] = linear_backward(dx, gelu(u), W.W_pr[l])  # x <- x_2 + W_pr gelu(u) + b_pr
        du = gelu_backward(dh, u)
        dn, d.W_fc[l], d.b_fc[l] = linear_backward(du, n_2, W.W_fc[l])  # u = W_fc n + b_fc
        through, d.gamma_2[l], d.beta_2[l] = layernorm_backward(dn, x_2, W.gamma_2[l])  # n = LN_2(x_2)
        dx = dx + through  # x_2 stands in both branches
        do, d.W_o[l], d.b_o[l] = linear_backward(dx, o, W.W_o[l])  # x_2 = x + W_o o + b_o
        dq, dk, dv = attention_backward(heads(do), q, k, v, A)
        dqkv = np.array([dq, dk, dv])  # (3, H, T, D)
        d.W_qkv[l] = np.einsum(
            "shtd,tc->shdc", dqkv, n_1
        )  # q_t = W_q n_t + b_q  =>  dW_q = sum_t dq_t n_t^T; so k and v
        d.b_qkv[l] = dqkv.sum(axis=2)  #                                              db_q = sum_t dq_t
        dn = np.einsum(
            "shtd,shdc->tc", dqkv, W.W_qkv[l]
        )  #                          dn_t = W_q^T dq_t + W_k^T dk_t + W_v^T dv_t
        through, d.gamma_1[l], d.beta_1[l] = layernorm_backward(dn, x, W.gamma_1[l])  # n = LN_1(x)
        dx = dx + through  # x stands in both branches
    d.wpe[:T] = dx  # x_t = W_in p_t + b_in + wpe_t  =>  dwpe_t = dx_t
    d.W_in[:], d.b_in[:] = dx.T @ p, dx.sum(axis=0)  #   dW_in = sum_t dx_t p_t^T,  db_in = sum_t dx_t
    return d


_EQUATIONS = {
    "W_in": "sum_t dx_t p_t^T",
    "b_in": "sum_t dx_t",
    "wpe": "Row t: dx_t",
    "gamma_1": "sum_t dn_t xh_t",
    "beta_1": "sum_t dn_t",
    "W_qkv": "sum_t dq_t n_t^T, sum_t dk_t n_t^T, sum_t dv_t n_t^T",
    "b_qkv": "sum_t dq_t, sum_t dk_t, sum_t dv_t",
    "W_o": "sum_t dx_t o_t^T",
    "b_o": "sum_t dx_t",
    "gamma_2": "sum_t dn_t xh_t",
    "beta_2": "sum_t dn_t",
    "W_fc": "sum_t du_t n_t^T",
    "b_fc": "sum_t du_t",
    "W_pr": "sum_t dx_t gelu(u_t)^T",
    "b_pr": "sum_t dx_t",
    "gamma_f": "sum_t g_t w_out xh_t",
    "beta_f": "sum_t g_t w_out",
    "w_out": "sum_t g_t y_t",
    "b_out": "sum_t g_t, g_t = -z_t 1[1 - z_t F_t > 0] / R",
}
_SOURCE = (
    "model of Radford et al. 2019 [source: released code], read-in and read-out of Garg et al. 2022; derived by nlicl"
)


def _of_whole(name: str) -> Callable[[Params, Prompt], np.ndarray]:
    def formula(params: Params, prompt: Prompt) -> np.ndarray:
        return getattr(backward(params, prompt), name)

    return formula


def _of_layer(name: str, function: Callable[[Any, Upstream], Any]) -> Callable[[Any, Upstream], np.ndarray]:
    def formula(params: Any, prompt: Upstream) -> np.ndarray:
        return getattr(function(params, prompt), name)

    return formula


def _layernorm(params: LayerNorm, prompt: Upstream) -> LayerNorm:
    return layernorm_backward(prompt.dy, params.x, params.gamma)


def _softmax(params: Softmax, prompt: Upstream) -> Softmax:
    return Softmax(softmax_backward(prompt.dy, softmax(params.S, prompt.causal)))


def _attention(params: Attention, prompt: Upstream) -> Attention:
    q, k, v = params
    A = softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]), prompt.causal)
    return attention_backward(prompt.dy, q, k, v, A)


def _gelu(params: GELU, prompt: Upstream) -> GELU:
    return GELU(gelu_backward(prompt.dy, params.u))


def _linear(params: Linear, prompt: Upstream) -> Linear:
    return linear_backward(prompt.dy, params.X, params.W)


_LAYERS: dict[type, tuple[Callable[[Any, Upstream], Any], str, dict[str, str]]] = {
    LayerNorm: (
        _layernorm,
        "layernorm",
        {
            "x": "r (g - mean(g) - xh mean(g xh)), g = gamma dy, xh = (x - mean) r, r = 1/sqrt(var + epsilon)",
            "gamma": "sum_t dy_t xh_t",
            "beta": "sum_t dy_t",
        },
    ),
    Softmax: (_softmax, "causal_attention", {"S": "A_tj (dA_tj - sum_r A_tr dA_tr)"}),
    Attention: (
        _attention,
        "causal_attention",
        {
            "q": "sum_j dS_tj k_j / sqrt(D), dS_tj = A_tj (dA_tj - sum_r A_tr dA_tr), dA_tj = do_t . v_j",
            "k": "sum_t dS_tj q_t / sqrt(D), dS_tj = A_tj (dA_tj - sum_r A_tr dA_tr), dA_tj = do_t . v_j",
            "v": "sum_t A_tj do_t",
        },
    ),
    GELU: (
        _gelu,
        "gelu",
        {
            "u": "dh ((1 + t)/2 + u/2 (1 - t^2) sqrt(2/pi) (1 + 3 * 0.044715 u^2)), "
            "t = tanh(sqrt(2/pi) (u + 0.044715 u^3))"
        },
    ),
    Linear: (_linear, "linear", {"X": "dY W", "W": "dY^T X", "b": "sum_i dY_i"}),
}


def _layer_subject(layer: type) -> Subject:
    function, module, equations = _LAYERS[layer]
    source = f"layer of Radford et al. 2019, {layer.__name__}; gradient derived by nlicl"
    return Subject(
        name="gpt2",
        title=TITLE,
        formulas={
            name: Formula(_of_layer(name, function), name, name, text, source) for name, text in equations.items()
        },
        points=_points.layer_points(layer),
        definition=_points.layer_definition,
        kernel=_points.layer_kernel(layer),
        source=_points.layer_kernel(layer, source=True),
        gradient=_points.layer_gradient(layer),
        sizes=_points.layer_sizes,
        conditions=_points.layer_conditions,
        marked=MARKED[layer],
        computed_by=f"nlicl.kernels.layers.{module}.backward, d{{wrt}}",
        statement=statement.LAYERS[layer.__name__],
    )


layer_subjects = {layer.__name__: _layer_subject(layer) for layer in _LAYERS}
"""The subjects of the layers: LayerNorm, Softmax, Attention, GELU, Linear. See `.layers` for their parameters and the loss."""

subject = Subject(
    name="gpt2",
    title=TITLE,
    formulas={name: Formula(_of_whole(name), name, name, text, _SOURCE) for name, text in _EQUATIONS.items()},
    points=_whole.points,
    definition=_whole.definition,
    kernel=_whole.kernel,
    source=_whole.source,
    gradient=_whole.gradient,
    sizes=_whole.sizes,
    conditions=_whole.conditions,
    activity=_whole.activity,
    marked={name: marked(name) for name in Params._fields},
    parts=tuple(layer_subjects.values()),
    statement=statement.WHOLE,
    rows={
        name: "layer"
        for name, value in Params.__annotations__.items()
        if name[-1] in "12" or name[2:] in ("qkv", "o", "fc", "pr")
    },
)
"""The audit's subject for the whole of GPT-2, the hinge loss of one prompt; its parts are the layers."""

formulas = {formula.name: formula for part in subject.every for formula in part.formulas.values()}
"""All formulas by name: those of the 19 parameters, and those of the layers' parameters."""
