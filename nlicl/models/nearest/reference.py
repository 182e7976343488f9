"""The definition: softmax attention with one matrix that answers with its contexts' labels. One prompt, NumPy, any dtype.

It shares no code with the kernels and is what everything else is judged by. Where it overflows it raises `NotFinite`.

Source: Athreya and Wang, equations (2)-(8), which restate Li et al. 2024 for binary labels [paper]; see docs/onenn2024.md.
"""

from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import check_finite, real_array
from ...core.checks import choice, instance
from ...core.errors import InvalidValue, NotFinite
from ..overflow import finite
from .prompts import Params, Prompt

__all__ = ["LOSSES", "Out", "forward", "loss"]

LOSSES = ("squared", "cross-entropy", "squentropy", "mixture")
"""The losses, the papers' first; binary labels have the first only."""


class Out(NamedTuple):
    """l (K,), or (1,), and q (N+1,), the query's last."""

    answer: np.ndarray
    attention: np.ndarray


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def forward(params: Params, prompt: Prompt) -> Out:
    """q = softmax(H^T W h_0) over all N+1 tokens, l = the label rows of H q."""
    W = instance("params", params, Params).W
    E = instance("prompt", prompt, Prompt, "prompts[i]").tokens.shape[1]
    if type(W) is not np.ndarray or W.dtype.kind not in "fc" or W.shape != (E, E):
        W = real_array(W, "params.W", "(E, E)", complex_too=True)
        if W.shape != (E, E):
            raise InvalidValue(
                f"params.W has shape {W.shape}; expected ({E}, {E}), as a token of the prompt has E = {E}."
            )
    if not W.flags.c_contiguous:
        W = np.ascontiguousarray(W)  # products of the same numbers in another order round otherwise
    H = prompt.P
    try:
        scores = finite("a score", H.T @ (W @ H[:, -1]))
        exps = np.exp(scores - scores.real.max())
        q = exps / exps.sum()
        return Out(finite("the answer", prompt.V @ q), q)
    except NotFinite:
        check_finite(W, "params.W")  # an error of its own where an entry is not finite
        check_finite(prompt.tokens, "prompt.tokens")
        raise


@np.errstate(over="ignore", invalid="ignore")
def loss(params: Params, prompt: Prompt, loss: str = "squared") -> Any:
    """Of one prompt: ||l - u||^2 / 2, u the code of the nearest context, or (l - y)^2 / 2; or another loss of `LOSSES`."""
    loss = choice("loss", loss, LOSSES)
    l = forward(params, prompt).answer
    u = prompt.target
    square = ((l - u) ** 2).sum() / 2
    if loss == "squared":
        return finite("the loss", square)
    if prompt.K is None:
        raise InvalidValue(f"loss is {loss!r} with binary labels; expected 'squared', or prompts with classes, K=2.")
    c, top = prompt.c, l.real.max()
    entropy = np.log(np.exp(l - top).sum()) + top - l[c]
    if loss == "cross-entropy":
        return finite("the loss", entropy)
    if loss == "squentropy":
        others = [l[k] ** 2 for k in range(prompt.K) if k != c]
        return finite("the loss", entropy + sum(others) / (prompt.K - 1))
    return finite("the loss", (1 - prompt.mixture) * square + prompt.mixture * entropy)
