"""The gradient of the one-layer transformer on one prompt, its factors marked for the audit.

    dW_Q = g sum_s w_s (W_K p_s - sum_r attn_r W_K p_r) p_query^T,     w_s = attn_s sum_i a_i I_i W_O(i,.) W_V p_s
    dW_K = g sum_s w_s W_Q p_query (p_s - sum_r attn_r p_r)^T
    dW_V = g sum_i a_i I_i W_O(i,.)^T sum_s attn_s p_s^T
    dW_O(i,.) = g a_i I_i (sum_s attn_s W_V p_s)^T,                   da_i = g I_i u_i

with u_i = W_O(i,.) sum_s attn_s W_V p_s, I_i = 1[u_i > 0] and g = dloss/dF. docs/attention.md and docs/mlp.md derive them. The
verbs of `mark` say how a derivation goes wrong; see `nlicl.audit.mistakes`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...audit.mistakes import PLAIN, Mark, Marked
from ..overflow import finite
from .prompts import Params, Prompt

__all__ = ["Layer", "layer", "marked"]


class Layer(NamedTuple):
    """What a gradient is made of: the matrices, and the tokens that are attended to.

    `W_K` is None if W_Q and W_K are one matrix, with scores p_s^T W_Q p_query. `p` (d, l) holds the columns p_s, `values`
    (m_b, l) the columns W_V p_s. `letters` are what the paper calls W_Q, W_K and W_O.
    """

    W_Q: np.ndarray
    W_K: np.ndarray | None
    W_O: np.ndarray
    a: np.ndarray
    p: np.ndarray
    p_query: np.ndarray
    values: np.ndarray
    z: float
    letters: tuple[str, str, str] = ("W_Q", "W_K", "W_O")


def layer(params: Params, prompt: Prompt, mark: Mark) -> Layer:
    """The `Layer` of one prompt."""
    W_Q, W_K, W_V, W_O, a = params
    p = mark.keys(prompt.tokens, prompt.query_attends).T
    return Layer(W_Q, W_K, W_O, a, p, prompt.query, W_V @ p, prompt.z)


def marked(loss: str, layer: Callable[[Any, Any, Mark], Layer] = layer) -> dict[str, Marked]:
    """The gradient of one prompt's loss by W_Q, W_K, W_V, W_O and a, as marked formulas.

    Parameters
    ----------
    loss : {"hinge", "logistic", "squared"}
    layer : callable
        layer(params, prompt, mark) -> Layer, for parameters and prompts of another form.

    Returns
    -------
    dict
        {name: f(params, prompt, mark) -> array}.
    """

    def formula(gradient: Callable[["_Gradients"], np.ndarray]) -> Marked:
        def evaluate(params: Any, prompt: Any, mark: Mark = PLAIN) -> np.ndarray:
            return gradient(_Gradients(layer(params, prompt, mark), loss, mark))

        return evaluate

    every = (_Gradients.W_Q, _Gradients.W_K, _Gradients.W_V, _Gradients.W_O, _Gradients.a)
    return {gradient.__name__: formula(gradient) for gradient in every}


class _Gradients:
    """What all gradients have in common, and the gradients."""

    def __init__(self, x: Layer, loss: str, mark: Mark) -> None:
        self.mark, self.slope = mark, _SLOPES[loss]
        self.x = x = _scored(x, mark)
        probe = x.W_Q @ x.p_query
        scores = finite("a score", x.p.T @ (probe if x.W_K is None else x.W_K.T @ probe))
        exps = np.exp(scores - scores.max())
        self.attn = exps / exps.sum()
        self.u = u = finite("a pre-activation", x.W_O @ (x.values @ self.attn))
        others: dict[str, Any] = {
            "that of the first neuron, I_1 for I_i": lambda: u[0] > 0,
            "relu's value, max(u_i, 0) for 1[u_i > 0]": lambda: np.maximum(u, 0),
            "of another argument, 1[a_i > 0] for 1[u_i > 0]": lambda: x.a > 0,
        }
        self.I = mark.gate("relu-gate", "active neurons", "1[u_i > 0]", u > 0, others)

    def W_Q(self) -> np.ndarray:
        x, keys = self.x, self.w() * self.centred()
        if x.W_K is not None:
            keys = self.mark.matrix(x.letters[1], x.W_K, "p_s", {x.letters[0]: x.W_Q}) @ keys
        return keys @ self.queries().T * self.g()

    def W_K(self) -> np.ndarray:
        x = self.x
        W_Q = self.mark.matrix(x.letters[0], x.W_Q, "p_query", {x.letters[1]: x.W_K})
        return W_Q @ (self.w() * self.queries()) @ self.centred().T * self.g()

    def W_V(self) -> np.ndarray:
        return np.outer(self.omega(), self.x.p @ self.attention()) * self.g()

    def W_O(self) -> np.ndarray:
        return np.outer(self.neurons(), self.x.values @ self.attention()) * self.g()

    def a(self) -> np.ndarray:
        u = self.mark.factor("u_i", self.u, {"a_i u_i": lambda: self.x.a * self.u}, doubled=False)
        return self.I * u * self.g()

    def g(self) -> Any:
        """dloss/dF."""
        return self.slope(self.x.z, self.x.a @ np.maximum(self.u, 0), self.mark)

    def neurons(self) -> np.ndarray:
        """a_i I_i (m,)."""
        a = self.x.a
        others = {"sign(a_i)": lambda: np.sign(a), "|a_i|": lambda: abs(a), "a_1": lambda: a[0]}
        return self.mark.factor("a_i", a, others) * self.mark.terms("neuron", "i", self.I)

    def omega(self) -> np.ndarray:
        """sum_i a_i I_i W_O(i,.) (m_b,)."""
        W_O, name = self.x.W_O, self.x.letters[2]
        return self.neurons() @ self.mark.other(f"{name}(i,.)", W_O, {f"{name}(1,.)": lambda: W_O[0]})

    def attention(self) -> np.ndarray:
        """attn_s (l,), in the sums over s."""
        attn = self.attn
        others = {
            "attn_1": lambda: attn[0],
            "the uniform 1/l": lambda: 1 / len(attn),
            "the softmax of p_s^T p_query": lambda: self.of_tokens(),
        }
        return self.mark.terms("token", "s", self.mark.factor("attn_s", attn, others))

    def of_tokens(self) -> np.ndarray:
        """The attention without the matrices that make its scores (l,)."""
        exps = np.exp((scores := self.x.p.T @ self.x.p_query) - scores.max())
        return np.asarray(exps / exps.sum())

    def w(self) -> np.ndarray:
        """w_s (l,)."""
        return self.attention() * (self.omega() @ self.x.values)

    def centred(self) -> np.ndarray:
        """p_s - sum_r attn_r p_r as columns (d, l)."""
        x, p, attn, mark = self.x, self.x.p, self.attn, self.mark
        diagonal = {"attn_s (1 - attn_s) p_s for attn_s (p_s - sum_r attn_r p_r)": lambda: p * attn}
        mean = mark.mean_term("sum_r attn_r p_r", (p @ attn)[:, None], "", diagonal)
        mean = mark.other(
            "attn_r in the softmax's mean term", mean, {"1/l": lambda: p.mean(axis=1, keepdims=True)}, slot="centring"
        )
        query = "the query is subtracted in place of the softmax's mean term: p_s - p_query for p_s - sum_r attn_r p_r"
        mean = mark.choice("centring", mean, "softmax-centering", {query: lambda: x.p_query[:, None]})
        short = "the last token is left out of the softmax's mean term, the sum over r"
        mean = mark.choice("centring", mean, "missing-term", {short: lambda: p[:, :-1] @ attn[:-1, None]})
        return p - mean

    def queries(self) -> np.ndarray:
        """p_query for each s, as columns (d, l)."""
        p, p_query = self.x.p, self.x.p_query[:, None]
        others = {"p_s": p, "p_1": p[:, :1], "sum_r attn_r p_r": lambda: p @ self.attn[:, None]}
        return self.mark.other("p_query", np.broadcast_to(p_query, p.shape), others)


def _scored(x: Layer, mark: Mark) -> Layer:
    """The layer with the matrices that make the scores."""
    if x.W_K is None:
        return x
    exchanged = "{} and {} stand for each other throughout, in the scores too".format(*x.letters)
    divided = "a factor is another one: the scores are divided by sqrt(m_a)"
    wrong = {
        exchanged: lambda: x._replace(W_Q=x.W_K, W_K=x.W_Q),
        divided: lambda: x._replace(W_Q=x.W_Q / np.sqrt(len(x.W_Q))),
    }
    return mark.choice("scores", x, "wrong-factor", wrong)


def _hinge(z: float, F: Any, mark: Mark) -> Any:
    """g = -z 1[1 - z F > 0]."""
    no_z, no_1 = "1[1 - F > 0], without the label z", "1[-z F > 0], without the margin 1"
    others = {no_z: lambda: 1 - F > 0, no_1: lambda: -z * F > 0}
    active = mark.gate("hinge-gate", "an active hinge", "1[1 - z F > 0]", 1 - z * F > 0, others)
    return -mark.factor("the label z", z, doubled=False) * active


def _logistic(z: float, F: Any, mark: Mark) -> Any:
    """g = -z sigmoid(-z F)."""
    others = {"sigmoid(z F)": lambda: _sigmoid(z * F), "sigmoid(-F)": lambda: _sigmoid(-F)}
    slope = mark.factor("sigmoid(-z F)", _sigmoid(-z * F), others, doubled=False)
    return -mark.factor("the label z", z, doubled=False) * slope


def _squared(z: float, F: Any, mark: Mark) -> Any:
    """g = F - z."""
    return F - mark.minus("the label", "z", z, of="F")


def _sigmoid(t: Any) -> Any:
    return 1 / (1 + np.exp(-t))


_SLOPES = {"hinge": _hinge, "logistic": _logistic, "squared": _squared}
