"""The definition: the model and its losses on one prompt, in plain NumPy, a line an equation.

It works in any floating or complex dtype (ReLU and hinge branch on real parts), shares no code with the kernels,
and is what everything else is judged by. Where it overflows it raises `NotFinite`. Sums over i run over the columns of
`prompt.keys`: the contexts, or the contexts and the query where the query attends to itself.

Source: Li et al. 2024, the model equation on the authors' slides (docs/li2024.md, Model); Bu et al. 2024 use the same
forward pass with another loss (docs/bu2024.md).
"""

from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import check_finite, fitting
from ...core.checks import choice, instance
from ...core.errors import NotFinite
from ..overflow import finite
from ..prompt import Prompt
from .prompts import Params

__all__ = ["Forward", "checked", "evaluate", "forward", "logistic", "loss", "margins", "relu"]


class Forward(NamedTuple):
    """What the model computes on one prompt: score F, attention (l,), context (d,), preactivation (m,)."""

    score: Any
    attention: np.ndarray
    context: np.ndarray
    preactivation: np.ndarray


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def forward(params: Params, prompt: Prompt) -> Forward:
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

    Raises
    ------
    NotFinite
        A score, a pre-activation or F that is NaN or infinite.
    """
    params = checked(params, prompt)
    p, p_query = prompt.keys, prompt.query
    try:
        scores = finite("a score", (params.W_K @ p).T @ (params.W_Q @ p_query))  # (W_K p_i)^T W_Q p_query
        exps = np.exp(scores - scores.real.max())
        attn = exps / exps.sum()  # attn(Psi; P, i) = softmax_i(scores)
        u = finite("a pre-activation", params.W_O @ ((params.W_V @ p) @ attn))  # u = W_O sum_i W_V p_i attn_i
        F = finite("F", params.a @ relu(u))  # F = a^T relu(u)
    except NotFinite:
        _fitting(params, prompt)  # an error of its own where an entry is not finite
        raise
    return Forward(F, attn, p @ attn, u)


def checked(params: Params, prompt: Prompt) -> Params:
    """Parameters that `forward` takes with this prompt: arrays of numbers whose shapes go together. TypeError, ValueError
    for any others."""
    if isinstance(params, Params) and isinstance(prompt, Prompt):
        W_Q, W_K, W_V, W_O, a = sizes = [array.shape if type(array) is np.ndarray else () for array in params]
        fits = list(map(len, sizes)) == [2, 2, 2, 2, 1] and W_Q == W_K and W_V[1] == W_Q[1] == prompt.tokens.shape[1]
        kinds = {array.dtype.kind if array.flags.c_contiguous else "" for array in params} if fits else {""}
        if fits and W_O[1] == W_V[0] and a[0] == W_O[0] > 0 and min(W_Q) > 0 < W_V[0] and kinds <= {"f", "c"}:
            return params  # as a rule, in a few microseconds
    return _fitting(params, prompt)


def _fitting(params: Params, prompt: Prompt) -> Params:
    """The same, and finite."""
    instance("params", params, Params)
    d = instance("prompt", prompt, Prompt, "prompts[i]").tokens.shape[1]
    shapes = {"W_Q": "(m_a, d)", "W_K": "(m_a, d)", "W_V": "(m_b, d)", "W_O": "(m, m_b)", "a": "(m,)"}
    given = {f"params.{name}": array for name, array in params._asdict().items()}
    check_finite(prompt.tokens, "prompt.tokens")
    named = dict(zip(given, shapes.values(), strict=True))
    return Params(*fitting(given, named, {"d": (d, "prompt.tokens")}, complex_too=True))


def relu(u: Any) -> Any:
    """max(0, u) by the real part; NaN stays NaN."""
    return np.where(u.real <= 0, 0, u)


def logistic(t: Any) -> Any:
    """log(1 + exp(-t)), without overflow."""
    return np.log1p(np.exp(-t)) if t.real > 0 else np.log1p(np.exp(t)) - t


@np.errstate(over="ignore", invalid="ignore")
def evaluate(params: Params, prompt: Prompt, loss: str = "hinge") -> tuple[Any, np.ndarray]:
    """The loss of one prompt, and its margins: where it has kinks.

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
        The pre-activations u_1 .. u_m and, for the hinge, 1 - zF. The loss is smooth around `params` if none is zero.
    """
    loss = choice("loss", loss, ("hinge", "logistic", "squared"))
    out = forward(params, prompt)
    F, z, u = out.score, prompt.z, out.preactivation
    if loss == "hinge":
        return relu(1 - z * F)[()], np.append(u, 1 - z * F)
    if loss == "logistic":
        return logistic(z * F), u
    return finite("the loss", (F - z) ** 2 / 2), u


def loss(params: Params, prompt: Prompt, loss: str = "hinge") -> Any:
    """The loss of one prompt, as `evaluate`."""
    return evaluate(params, prompt, loss)[0]


def margins(params: Params, prompt: Prompt, loss: str = "hinge") -> np.ndarray:
    """The margins of one prompt, as `evaluate`."""
    return evaluate(params, prompt, loss)[1]
