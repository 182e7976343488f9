"""The definition: GPT-2 and its losses on one prompt, in plain NumPy, a line an equation.

    x   = W_in p_t + b_in + wpe_t                                           read-in and positions
    in each block:
      n = LN_1(x);   q, k, v = W_qkv n + b_qkv,  for each head
      A_tj = softmax_j(q_t . k_j / sqrt(D)),  j <= t;    o_t = sum_j A_tj v_j,  heads side by side
      x = x + W_o o + b_o
      n = LN_2(x);   x = x + W_pr gelu(W_fc n + b_fc) + b_pr
    F = w_out . LN_f(x_t) + b_out                                           read-out, at the tokens that are read

It works in any floating or complex dtype (hinge and row maximum branch on real parts), shares no code with the kernels, and is
what everything else is judged by. Where it overflows it raises `NotFinite`.

Source: Radford et al. 2019, "Language models are unsupervised multitask learners", the released code; the read-in and the
read-out are those of Garg et al. 2022. docs/gpt2.md.
"""

from typing import Any, NamedTuple

import numpy as np

from ...core.checks import choice, instance
from ...core.errors import InvalidValue
from ..overflow import finite
from ..transformer.reference import logistic, relu
from .prompts import Params, Prompt, checked_params

__all__ = ["EPSILON", "Forward", "checked", "evaluate", "forward", "gelu", "layernorm", "loss", "softmax"]

EPSILON = 1e-5
"""What LayerNorm adds to the variance."""


class Forward(NamedTuple):
    """What the model computes on one prompt.

    Attributes
    ----------
    score : ndarray (R,)
        F at each token that is read.
    attention : ndarray (L, H, T, T)
        A, by layer, head, query t and key j.
    preactivation : ndarray (L, T, M)
        W_fc n + b_fc.
    stream : ndarray (L+1, T, C)
        The residual stream x before each block, and behind the last one.
    """

    score: np.ndarray
    attention: np.ndarray
    preactivation: np.ndarray
    stream: np.ndarray


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def forward(params: Params, prompt: Prompt) -> Forward:
    """F(Psi; P) of GPT-2, as the module's docstring writes it.

    Parameters
    ----------
    params : Params
        Of any floating or complex dtype.
    prompt : Prompt

    Raises
    ------
    TypeError, ValueError
        Parameters and a prompt that do not go together, such as a prompt longer than there are positions.
    NotFinite
        A number on the way that is NaN or infinite.
    """
    W = checked(params, prompt)
    p, T = prompt.tokens, len(prompt.tokens)
    L, _, _, D, C = W.W_qkv.shape
    root = np.sqrt(W.W_in.dtype.type(D))
    x = p @ W.W_in.T + W.b_in + W.wpe[:T]
    stream, attention, preactivation = [x], [], []
    for l in range(L):
        n = layernorm(x, W.gamma_1[l], W.beta_1[l])
        q, k, v = np.einsum("shdc,tc->shtd", W.W_qkv[l], n) + W.b_qkv[l][:, :, None]  # (H, T, D) each
        S = finite("a score", q @ k.transpose(0, 2, 1) / root)  # S_tj = q_t . k_j / sqrt(D)
        A = softmax(S, prompt.causal)
        o = (A @ v).transpose(1, 0, 2).reshape(T, C)  # o_t = sum_j A_tj v_j, heads side by side
        x = x + o @ W.W_o[l].T + W.b_o[l]
        n = layernorm(x, W.gamma_2[l], W.beta_2[l])
        u = n @ W.W_fc[l].T + W.b_fc[l]
        x = x + gelu(u) @ W.W_pr[l].T + W.b_pr[l]
        stream.append(finite("the residual stream", x))
        attention.append(A)
        preactivation.append(u)
    y = layernorm(x[list(prompt.reads)], W.gamma_f, W.beta_f)
    F = finite("F", y @ W.w_out + W.b_out)
    return Forward(F, np.array(attention), np.array(preactivation), np.array(stream))


def checked(params: Params, prompt: Prompt) -> Params:
    """Parameters that `forward` takes with this prompt. TypeError, ValueError for any others."""
    W = checked_params(params, complex_too=True)
    T, d = instance("prompt", prompt, Prompt, "prompts[i]").tokens.shape
    if W.W_in.shape[1] != d:
        raise InvalidValue(f"params.W_in has shape {W.W_in.shape}; expected (C, d) with d = {d}, as prompt.tokens has.")
    if len(W.wpe) < T:
        raise InvalidValue(
            f"prompt.tokens has T = {T} tokens; expected at most {len(W.wpe)}, the positions in params.wpe."
        )
    return W


def layernorm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """LN(x) = gamma (x - mean) / sqrt(var + epsilon) + beta, along the last axis; the variance is the biased one."""
    centred = x - x.mean(axis=-1, keepdims=True)
    var = (centred**2).mean(axis=-1, keepdims=True)
    return gamma * centred / np.sqrt(var + EPSILON) + beta


def softmax(S: np.ndarray, causal: bool) -> np.ndarray:
    """A_tj = exp(S_tj) / sum_j exp(S_tj) along the last axis of (..., T, T), over j <= t if it is causal; 0 beyond."""
    seen = np.tril(np.ones(S.shape[-2:], bool)) if causal else np.ones(S.shape[-2:], bool)
    top = np.where(seen, S.real, -np.inf).max(axis=-1, keepdims=True)
    exps = np.where(seen, np.exp(np.where(seen, S - top, 0)), 0)
    return exps / exps.sum(axis=-1, keepdims=True)


def gelu(u: np.ndarray) -> np.ndarray:
    """u/2 (1 + tanh(sqrt(2/pi) (u + 0.044715 u^3))), GPT-2's approximation of u times the normal distribution function."""
    return u / 2 * (1 + np.tanh(np.sqrt(u.dtype.type(2 / np.pi)) * (u + 0.044715 * u**3)))


@np.errstate(over="ignore", invalid="ignore")
def evaluate(params: Params, prompt: Prompt, loss: str = "hinge") -> tuple[Any, np.ndarray]:
    """The loss of one prompt, the mean over the tokens that are read, and its margins: where it has kinks.

    Parameters
    ----------
    params : Params
    prompt : Prompt
    loss : {"hinge", "logistic", "squared"}
        max(0, 1 - zF), log(1 + exp(-zF)) or (F - z)^2 / 2.

    Returns
    -------
    loss : scalar
    margins : ndarray
        1 - zF for the hinge; none for the others, which are smooth.
    """
    loss = choice("loss", loss, ("hinge", "logistic", "squared"))
    F, z = forward(params, prompt).score, prompt.z
    t = z * F
    if loss == "hinge":
        return relu(1 - t).mean(), 1 - t
    if loss == "logistic":
        return np.mean([logistic(each) for each in t]), np.empty(0)
    return finite("the loss", ((F - z) ** 2 / 2).mean()), np.empty(0)


def loss(params: Params, prompt: Prompt, loss: str = "hinge") -> Any:
    """The loss of one prompt, as `evaluate`."""
    return evaluate(params, prompt, loss)[0]
