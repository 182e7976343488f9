"""The definition: multi-head linear or softmax attention on a matrix of tokens. One prompt, plain NumPy, any dtype.

It shares no code with the kernels and is what everything else is judged by. Where it overflows it raises `NotFinite`.

Source: Zhang, Singh, Latham, Saxe 2025, model [source, description] and loss [source]; see docs/zhang2025.md.
"""

from typing import Any

import numpy as np

from ...core.arrays import fitting
from ...core.checks import choice, instance
from ...core.describe import kind_of
from ...core.errors import InvalidType
from ..overflow import finite
from ..regression.reference import softmax
from .prompts import Params, Prompt, SeparateParams

__all__ = ["SHAPES", "forward", "loss", "merged"]

SHAPES = {
    Params: {"V": "(H, E, E)", "W": "(H, E, E)"},
    SeparateParams: {"V": "(H, E, E)", "K": "(H, R, E)", "Q": "(H, R, E)"},
}
"""The axes of each parameter, by the type of the parameters."""


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def forward(params: Params | SeparateParams, prompt: Prompt) -> tuple[Any, np.ndarray]:
    """The prediction yhat, and the weights a_h of all tokens (H, N+1).

    yhat = s sum_h [W^V_h X a_h]_{D+1}, a_h = X^T W^KQ_h xt_query, or its softmax over all N+1 tokens. With `SeparateParams`,
    W^KQ_h = K_h^T Q_h.
    """
    X = instance("prompt", prompt, Prompt, "prompts[i]").P
    V, W = merged(params, len(X))
    heads = []
    yhat: Any = 0
    for h in range(len(V)):
        a = finite("a score", X.T @ (W[h] @ prompt.query))
        if prompt.softmax:
            a = softmax(a)
        yhat = yhat + (V[h] @ (X @ a))[-1]
        heads.append(a)
    return finite("yhat", prompt.scale * yhat), np.array(heads)


@np.errstate(over="ignore", invalid="ignore")
def loss(params: Params | SeparateParams, prompt: Prompt, loss: str = "squared") -> Any:
    """(yhat - y_query)^2, without 1/2 [source]; or log(1 + exp(-y_query yhat)), "logistic", of the classifier."""
    loss = choice("loss", loss, ("squared", "logistic"))
    yhat, _ = forward(params, prompt)
    if loss == "squared":
        return finite("the loss", (yhat - prompt.z) ** 2)
    t = prompt.z * yhat
    return np.log1p(np.exp(-t)) if t.real > 0 else np.log1p(np.exp(t)) - t


def merged(params: Params | SeparateParams, E: int) -> tuple[np.ndarray, np.ndarray]:
    """W^V and W^KQ (H, E, E) of either kind of parameters for tokens of width E; TypeError, ValueError for anything else."""
    if type(params) not in SHAPES:
        raise InvalidType(f"params is a {kind_of(params)}; expected Params(V, W), or SeparateParams(V, K, Q).")
    given = {f"params.{name}": array for name, array in params._asdict().items()}
    named = dict(zip(given, SHAPES[type(params)].values(), strict=True))
    arrays = fitting(given, named, {"E": (E, "prompt.tokens")}, complex_too=True)
    if isinstance(params, Params):
        return arrays[0], arrays[1]
    V, K, Q = arrays
    return V, np.array([K_h.T @ Q_h for K_h, Q_h in zip(K, Q, strict=True)])
