"""The definition: the model and its losses on one prompt, in plain NumPy, a line an equation.

It works in any floating or complex dtype (ReLU and hinge branch on real parts), shares no code with the kernels,
and is what everything else is judged by. Sums over i run over the columns of `prompt.keys`: the contexts, or the
contexts and the query where the query attends to itself.

Source: Li et al. 2024, the model of Section 4 of our specification as seen in the authors' slides; Bu et al. 2024
use the same forward pass with another loss.
"""

from typing import NamedTuple

import numpy as np

__all__ = ["Forward", "forward", "loss", "margins"]


class Forward(NamedTuple):
    """What the model computes on one prompt: score F, attention (l,), context (d,), preactivation (m,)."""

    score: complex
    attention: np.ndarray
    context: np.ndarray
    preactivation: np.ndarray


def forward(params, prompt):
    """F(Psi; P) = a^T relu(W_O sum_i W_V p_i attn(Psi; P, i)).

    Parameters
    ----------
    params : Params
        Of any floating or complex dtype.
    prompt : Prompt
        One prompt, columns p_i = prompt.keys[:, i].

    Returns
    -------
    Forward
        In the dtype NumPy's promotion gives.
    """
    p, p_query = prompt.keys, prompt.query
    scores = (params.W_K @ p).T @ (params.W_Q @ p_query)  # (W_K p_i)^T W_Q p_query
    exps = np.exp(scores - scores.real.max())
    attn = exps / exps.sum()  # attn(Psi; P, i) = softmax_i(scores)
    u = params.W_O @ ((params.W_V @ p) @ attn)  # u = W_O sum_i W_V p_i attn_i
    F = params.a @ relu(u)  # F = a^T relu(u)
    return Forward(F, attn, p @ attn, u)


def relu(u):
    """max(0, u) by the real part; NaN stays NaN."""
    return np.where(u.real <= 0, 0, u)


def loss(params, prompt, loss="hinge"):
    """The loss of one prompt: "hinge" max(0, 1 - zF), "logistic" log(1 + exp(-zF)), "squared" (F - z)^2 / 2."""
    F, z = forward(params, prompt).score, prompt.z
    if loss == "hinge":
        return relu(1 - z * F)[()]
    if loss == "logistic":
        t = z * F
        return np.log1p(np.exp(-t)) if t.real > 0 else np.log1p(np.exp(t)) - t
    if loss == "squared":
        return (F - z) ** 2 / 2
    raise ValueError(f"loss is {loss!r}; expected 'hinge', 'logistic' or 'squared'.")


def margins(params, prompt, loss="hinge"):
    """Where the loss has kinks: it is smooth around `params` if and only if none of these numbers is zero.

    Returns
    -------
    ndarray (m + 1,) for the hinge: the pre-activations u_1 .. u_m, then 1 - zF; (m,), without the last, for the others.
    """
    out = forward(params, prompt)
    return np.append(out.preactivation, 1 - prompt.z * out.score) if loss == "hinge" else out.preactivation
