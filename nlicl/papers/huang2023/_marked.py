"""The gradient of one prompt in Huang et al. 2023, its factors marked for the audit.

    dQ = (yhat - y_query) sum_i attn_i (y_i - yhat) x_i x_query^T

c_n is the number of contexts with the feature n: attention on a feature is Attn_n = c_n attn_n.
"""

from typing import Any

import numpy as np

from ...audit.mistakes import PLAIN, Mark
from ...models.overflow import finite
from ...models.regression.prompts import Params, Prompt

__all__ = ["dQ", "scored", "turned"]

_LEFT = "the query stands on the left: scores x_query^T Q x_i, and B is transposed"


def dQ(params: Params, prompt: Prompt, mark: Mark = PLAIN) -> np.ndarray:
    """The gradient by Q, (d, d)."""
    Q, x_query, y_query = params.Q, prompt.x_query, prompt.z
    keys = mark.keys(prompt.tokens, prompt.query_attends, "N")
    X, y = keys[:, :-1], keys[:, -1]
    if not prompt.query_attends:
        every = "c_n in the softmax, which runs over the query's feature even where no context has it"
        features = {f"a factor is absent: {every}": lambda: (prompt.code.V.T, prompt.code.omega)}
        X, y = mark.choice("c_n", (X, y), "wrong-factor", features)
    same = (X[:, None] == X[None]).all(axis=2) if mark.touches("c_n", "centring") else np.eye(len(X))
    c = same.sum(axis=1)
    attn = _attention(finite("a score", X @ scored(Q, mark) @ x_query), c, len(Q), mark)
    yhat = attn @ y

    others = {"the uniform 1/N": 1 / len(y), "attn_1": attn[0], "attn_i (1 - attn_i)": lambda: attn * (1 - attn)}
    weight = mark.factor("attn_i", attn, others) * mark.factor("c_n in Attn_n outside of yhat", c, slot="c_n") / c
    weight = weight * (_labels(y, y_query, mark) - _mean(attn, y, yhat, same, prompt, mark))
    alike = "the sum over i has the contexts with the query's feature alone"
    weight = mark.choice("token", weight, "missing-term", {alike: weight * (X - x_query == 0).all(axis=1)})
    left = mark.other("x_i", X, {"Q x_i": lambda: X @ Q.T, "Q^T x_i": lambda: X @ Q})
    others = {"x_i": X, "x_1": X[0], "Q x_query": lambda: Q @ x_query, "sum_j attn_j x_j": lambda: attn @ X}
    others["the inputs' plain mean"] = lambda: X.mean(axis=0)
    right = mark.other("x_query", np.broadcast_to(x_query, X.shape), others)
    gradient = _residual(y, yhat, y_query, mark) * (left.T * mark.terms("token", "i", weight)) @ right
    added = "the gradient's transpose is added, as if Q were symmetric"
    return turned(mark.choice("sum", gradient, "extra-term", {added: lambda: gradient + gradient.T}), mark)


def scored(Q: np.ndarray, mark: Mark) -> np.ndarray:
    """Q, or S, as the scores take it."""
    half = "x_query^T Q x_i for the scores x_i^T Q x_query, which the rest of the formula does not follow"
    Q = mark.choice("scores", Q, "transpose", {_LEFT: Q.T})
    Q = mark.choice("scores", Q, "wrong-factor", {f"a factor is another one: {half}": Q.T})
    return mark.other("Q in the scores", Q, {"(Q + Q^T)/2": lambda: (Q + Q.T) / 2}, slot="scores")


def turned(gradient: np.ndarray, mark: Mark) -> np.ndarray:
    """The gradient by Q, or S; transposed if the query stands on the left of the scores."""
    return mark.choice("scores", gradient, "transpose", {_LEFT: gradient.T})


def _attention(scores: np.ndarray, c: np.ndarray, d: int, mark: Mark) -> np.ndarray:
    """attn_i (n,)."""
    N = len(scores)
    scale = "a factor is too many: the scores are divided by {}"
    wrong = {
        scale.format("sqrt(d)"): scores / d**0.5,
        scale.format("sqrt(N)"): scores / N**0.5,
        scale.format("N"): scores / N,
    }
    scores = mark.choice("temperature", scores, "wrong-factor", wrong)
    exps = np.exp(scores - scores.max()) * mark.factor("c_n in the softmax over features", c, slot="c_n") / c
    attn, raw, everywhere = exps / exps.sum(), "exp(x_i^T Q x_query)", "attn_i everywhere: {}"
    others: dict[str, Any] = {
        raw: lambda: np.exp(np.minimum(scores, 300)),
        f"{raw}/N": lambda: np.exp(np.minimum(scores, 300)) / N,
    }
    attn = mark.other(everywhere.format("the softmax is not normalised"), attn, others, slot="softmax")
    others = {"x_i^T Q x_query / N": scores / N}
    return mark.other(everywhere.format("attention without a softmax"), attn, others, slot="softmax")


def _labels(y: np.ndarray, y_query: Any, mark: Mark) -> np.ndarray:
    """y_i (n,), less the mean."""
    y = mark.other("y_i - yhat", y, {"1 - yhat": 1.0, "y_query - yhat": y_query}, slot="y_i")
    return mark.choice("y_i", y, "missing-term", {"y_i is missing: - yhat for y_i - yhat": 0.0})


def _mean(attn: np.ndarray, y: np.ndarray, yhat: Any, same: np.ndarray, prompt: Prompt, mark: Mark) -> Any:
    """yhat in y_i - yhat."""
    diagonal = {
        "attn_i (1 - attn_i) y_i for attn_i (y_i - yhat)": attn * y,
        "Attn_n (1 - Attn_n) omega_n for Attn_n (omega_n - yhat)": lambda: (same @ attn) * y,
    }
    yhat = mark.mean_term("yhat", yhat, "y_i", diagonal)
    others = {"y_i less the labels' plain mean": lambda: y.mean(), "y_i - y_query": prompt.z}
    yhat = mark.other("y_i - yhat", yhat, others, slot="centring")
    if prompt.query_attends:  # the query's label is 0: nothing is left out with it
        return yhat
    short = {"the last token is left out of the softmax's mean term": lambda: attn[:-1] @ y[:-1]}
    return mark.choice("centring", yhat, "missing-term", short)


def _residual(y: np.ndarray, yhat: Any, y_query: Any, mark: Mark) -> Any:
    """yhat - y_query."""
    name, slot = "yhat - y_query", "residual"
    plain = {"the labels' plain mean": lambda: y.mean()}
    label = mark.minus("the label", "y_query", y_query, of="yhat", slot=slot)
    residual = mark.other("yhat in the residual", yhat, plain, slot=slot) - label
    missing = {f"the prediction is missing: - y_query for {name}": -y_query}
    residual = mark.choice(slot, mark.factor(f"the residual {name}", residual, slot=slot), "missing-term", missing)
    return mark.other(name, residual, {f"the sign of {name}": np.sign(residual), f"|{name}|": abs(residual)}, slot=slot)
