"""The backward pass of each layer, its factors marked for the audit. `layers.py` has the equations.

Some slips are made where a layer is computed forward, and go from there into its derivative; they may also be made in the
derivative alone. `_slip` offers both where the two can be told apart.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...audit.mistakes import PLAIN, Mark, Marked
from ...models.gpt2.reference import EPSILON
from .layers import GELU, Attention, LayerNorm, Linear, Softmax, Upstream

__all__ = [
    "MARKED",
    "Heads",
    "Normalised",
    "bias",
    "gelu_forward",
    "gelu_slope",
    "weight",
]

_BOTH, _ALONE = ", in the forward pass too", ", in the backward pass alone"
_SCALE, _CUBE = np.sqrt(2 / np.pi), 0.044715


def _slip(mark: Mark, slot: str, value: Any, wrong: Mapping[str, Any], passes: str, kind: str = "wrong-factor") -> Any:
    """A choice that is made in the forward pass and in the backward pass, or, in the latter, alone; `passes` says where it is.

    "" is a layer whose forward pass is none of the formula's business.
    """
    if not passes:
        return mark.choice(slot, value, kind, wrong)
    value = mark.choice(slot, value, kind, {detail + _BOTH: other for detail, other in wrong.items()})
    if passes == "backward":
        value = mark.choice(slot, value, kind, {detail + _ALONE: other for detail, other in wrong.items()})
    return value


# ---- LayerNorm


class Normalised:
    """xh and r of rows x (T, C), and the gradients of LayerNorm from dy (T, C)."""

    def __init__(self, x: np.ndarray, gamma: np.ndarray, mark: Mark, passes: str = "") -> None:
        self.gamma, self.mark = gamma, mark
        C = x.shape[-1]
        centred = x - x.mean(axis=-1, keepdims=True)
        var = (centred**2).mean(axis=-1, keepdims=True)
        unbiased = "a factor is another one: the unbiased variance, a sum over C - 1, for the biased one"
        var = _slip(mark, "variance", var, {unbiased: lambda: var * C / (C - 1)}, passes)
        outside = "epsilon stands outside of the root, 1/(sqrt(var) + epsilon) for 1/sqrt(var + epsilon)"
        wrong = {
            f"a factor is another one: {outside}": lambda: 1 / (np.sqrt(var) + EPSILON),
            "a term is missing: epsilon, in 1/sqrt(var + epsilon)": lambda: 1 / np.sqrt(var),
        }
        self.r = r = _slip(mark, "epsilon", 1 / np.sqrt(var + EPSILON), wrong, passes)
        self.xh = centred * r

    def dx(self, dy: np.ndarray) -> np.ndarray:
        """r (g - mean(g) - xh mean(g xh)), g = gamma dy."""
        mark, C = self.mark, dy.shape[-1]
        g = mark.factor("gamma in g = gamma dy", np.broadcast_to(self.gamma, dy.shape)) * dy
        mean_g, mean_gxh = g.mean(axis=-1, keepdims=True), (g * self.xh).mean(axis=-1, keepdims=True)
        third = self.xh * mark.other("mean(g xh)", mean_gxh, {"sum(g xh)": lambda: mean_gxh * C})
        third = mark.term("LayerNorm's third term, - xh mean(g xh),", third, slot="third term")
        mean = mark.other("mean(g)", mean_g, {"sum(g)": lambda: mean_g * C})
        mean = mark.term("LayerNorm's mean term, - mean(g),", mean, slot="mean term")
        return mark.factor("r", self.r, {"r^3": lambda: self.r**3}, slot="r of dx") * (g - mean - third)

    def dgamma(self, dy: np.ndarray, x: np.ndarray, mark: Mark) -> np.ndarray:
        """sum_t dy_t xh_t; `mark` is of what is this gradient's alone."""
        others = {"x": lambda: x, "gamma xh": lambda: self.gamma * self.xh}
        return bias(dy * mark.factor("xh", self.xh, others), mark, "t")


# ---- Linear


def weight(dY: np.ndarray, X: np.ndarray, mark: Mark, index: str = "i") -> np.ndarray:
    """dW = dY^T X, with rows dY (n, out) and X (n, in), (out, in)."""
    dW = mark.terms("row", index, dY.T) @ X
    return mark.choice("dW", dW, "transpose", {"X^T dY stands for dW = dY^T X: it is transposed": lambda: X.T @ dY})


def bias(dY: np.ndarray, mark: Mark, index: str = "i") -> np.ndarray:
    """db = sum_i dY_i, (out,), over the rows i."""
    name = f"the sum over {index}"
    wrong = {f"{name}, the rows, is taken along the wrong axis, over the entries of a row": lambda: dY.sum(axis=1)}
    return mark.choice("rows", mark.terms("row", index, dY.T).sum(axis=1), "wrong-factor", wrong)


# ---- Softmax and attention


def attention_weights(S: np.ndarray, causal: bool, mark: Mark, of_scores: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A (..., T, T), and its softmax before a mask that comes too late: the same, unless that slip is made.

    `of_scores` says whether the gradient by the scores is asked for: without it, late masks are all the same.
    """
    T = S.shape[-1]
    every, causally = np.ones((T, T), bool), np.tril(np.ones((T, T), bool))
    A = _softmax(S, causally if causal else every)
    if not causal or not mark.touches("mask"):
        return A, A
    whole, before = _softmax(S, every), np.tril(every, -1)
    before[0, 0] = True
    own = _softmax(S, before)
    first = np.arange(T)[:, None] == 0
    late, off = (
        "a factor is another one: the mask comes after the softmax",
        "the mask is off by one: j < t for j <= t, where",
    )
    wrong: dict[str, Any] = {
        "the causal mask is missing: every token attends to all": whole,
        f"{late}, and rows of A do not sum to 1": whole * causally,
        "the mask is off by one: j <= t + 1 for j <= t": _softmax(S, np.tril(every, 1)),
        f"{off} the first token attends to itself alone": own,
        f"{off} the first token attends to all": np.where(first, whole, own),
        f"{off} the first token attends to all alike": np.where(first, 1 / T, own),
    }
    if of_scores:
        wrong[_LATE_TOO] = whole * causally
    A = mark.choice("mask", A, "wrong-factor", wrong)
    return A, mark.choice("mask", A, "wrong-factor", {_LATE_TOO: whole}) if of_scores else A


_LATE_TOO = "a factor is another one: the mask comes after the softmax, and masked scores have gradients"


def _softmax(S: np.ndarray, seen: np.ndarray) -> np.ndarray:
    exps = np.exp(np.where(seen, S, -np.inf) - np.where(seen, S, -np.inf).max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def softmax_gradient(dA: np.ndarray, A: np.ndarray, before: np.ndarray, mark: Mark) -> np.ndarray:
    """dS_tj = A_tj (dA_tj - sum_r A_tr dA_tr)."""
    mean = (A * dA).sum(axis=-1, keepdims=True)
    seen = mark.choice("mask", np.ones(A.shape), "wrong-factor", {_LATE_TOO: lambda: (A > 0).astype(float)})
    diagonal = {"A_tj (1 - A_tj) dA_tj for A_tj (dA_tj - sum_r A_tr dA_tr)": lambda: A * dA}
    mean = mark.mean_term("sum_r A_tr dA_tr", mean, "dA_tj", diagonal)
    others = {"the plain mean of dA_tr": lambda: dA.mean(axis=-1, keepdims=True)}
    others["sum_r dA_tr"] = lambda: dA.sum(axis=-1, keepdims=True)
    mean = mark.other("sum_r A_tr dA_tr", mean, others, slot="centring")
    return mark.factor("A_tj in dS_tj", before, slot="A_tj") * (dA * seen - mean)


_EXCHANGED = "a factor is another one: q and k stand for each other in the scores, k_t . q_j for q_t . k_j"
_THROUGHOUT = "a factor is another one: q and k stand for each other throughout, k_t . q_j for q_t . k_j"


class Heads:
    """A of queries, keys and values (H, T, D), and the gradients of attention from do (H, T, D)."""

    def __init__(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool, mark: Mark, of_scores: bool = True
    ) -> None:
        self.q, self.k, self.v, self.mark = q, k, v, mark
        S = q @ k.transpose(0, 2, 1)
        wrong = {_EXCHANGED: S.transpose(0, 2, 1)} | ({_THROUGHOUT: S.transpose(0, 2, 1)} if of_scores else {})
        S = mark.choice("exchange", S, "wrong-factor", wrong)
        self.A, self.before = attention_weights(S * self._scale("forward"), causal, mark, of_scores)

    def _scale(self, passes: str) -> Any:
        """1/sqrt(D)."""
        H, _, D = self.q.shape
        for_it = "for 1/sqrt(D), D = C/H"
        wrong = {
            f"a factor is another one: 1/sqrt(C) {for_it}": 1 / np.sqrt(H * D),
            "a factor is absent: the scale 1/sqrt(D)": 1.0,
            f"a factor is doubled: 1/D {for_it}": 1 / D,
            f"a factor is another one: sqrt(D) {for_it}": np.sqrt(D),
        }
        return _slip(self.mark, "scale", 1 / np.sqrt(D), wrong, passes)

    @property
    def o(self) -> np.ndarray:
        return self.A @ self.v

    def dS(self, do: np.ndarray) -> np.ndarray:
        return softmax_gradient(do @ self.v.transpose(0, 2, 1), self.A, self.before, self.mark)

    def dq(self, do: np.ndarray) -> np.ndarray:
        """sum_j dS_tj k_j / sqrt(D)."""
        others = {"q_j": self.q, "v_j": self.v}
        k = self.mark.other("k_j in dq", self.k, others)
        return self._turned(self.dS(do), "dq", "dS k") @ k * self._scale("backward")

    def dk(self, do: np.ndarray) -> np.ndarray:
        """sum_t dS_tj q_t / sqrt(D)."""
        others = {"k_t": self.k, "v_t": self.v}
        q = self.mark.other("q_t in dk", self.q, others)
        return self._turned(self.dS(do), "dk", "dS^T q").transpose(0, 2, 1) @ q * self._scale("backward")

    def dv(self, do: np.ndarray) -> np.ndarray:
        """sum_t A_tj do_t."""
        return self._turned(self.A, "dv", "A^T do").transpose(0, 2, 1) @ do

    def _turned(self, array: np.ndarray, of: str, right: str) -> np.ndarray:
        wrong = right.replace("^T", "") if "^T" in right else right.replace("dS", "dS^T")
        detail = f"a factor is another one: {of} is {wrong}, transposed, for {right}"
        array = self.mark.choice(f"{of} turned", array, "wrong-factor", {detail: array.transpose(0, 2, 1)})
        if of == "dv":
            return array
        return self.mark.choice("exchange", array, "wrong-factor", {_THROUGHOUT: array.transpose(0, 2, 1)})


# ---- GELU


def gelu_forward(u: np.ndarray, mark: Mark) -> np.ndarray:
    """h = u/2 (1 + t)."""
    h = u / 2 * (1 + np.tanh(_SCALE * (u + _CUBE * u**3)))
    return _slip(mark, "gelu", h, {_ERF: lambda: u * _normal(u), _RELU: lambda: np.maximum(u, 0)}, "forward")


_ERF = "a factor is another one: GELU with erf, whose derivative is Phi(u) + u phi(u), for GELU with tanh"
_RELU = "a factor is another one: relu for GELU"


def _normal(u: np.ndarray) -> np.ndarray:
    """The normal distribution function."""
    return (1 + np.vectorize(math.erf, otypes=[float])(u / np.sqrt(2))) / 2


def gelu_slope(u: np.ndarray, mark: Mark, passes: str = "") -> np.ndarray:
    """(1 + t)/2 + u/2 (1 - t^2) sqrt(2/pi) (1 + 3 * 0.044715 u^2)."""
    if not mark.touches("gelu", *_PARTS):
        mark = PLAIN
    missing = {"a term is missing: 0.044715 u^3 in the argument of tanh": lambda: np.tanh(_SCALE * u)}
    t = mark.choice(_PARTS[0], np.tanh(_SCALE * (u + _CUBE * u**3)), "missing-term", missing)
    first = mark.term("GELU's first term, (1 + t)/2,", (1 + t) / 2, slot=_PARTS[1])
    others = {"1 - t": lambda: 1 - t, "t": lambda: t}
    sech = mark.factor("1 - t^2, of tanh,", 1 - t**2, others, slot=_PARTS[2])
    name = "1 + 3 * 0.044715 u^2, the derivative inside of tanh,"
    others = {
        "1 + 0.044715 u^2, without the 3,": lambda: 1 + _CUBE * u**2,
        "1 + 2 * 0.044715 u^2": lambda: 1 + 2 * _CUBE * u**2,
        "1 + 3 * 0.044715 u": lambda: 1 + 3 * _CUBE * u,
    }
    inner = mark.factor(name, 1 + 3 * _CUBE * u**2, others, slot=_PARTS[3])
    scale = mark.factor("sqrt(2/pi) of the derivative inside of tanh", np.full(u.shape, _SCALE), slot=_PARTS[4])
    both = {"a factor is absent: tanh' without the derivative inside of it, sqrt(2/pi) (1 + 3 * 0.044715 u^2)": 1.0}
    second = u / 2 * sech * mark.choice(_PARTS[3], scale * inner, "wrong-factor", both)
    second = mark.term("GELU's second term, u/2 (1 - t^2) ...,", second, slot=_PARTS[5])
    wrong = {_ERF: lambda: _normal(u) + u * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi), _RELU: lambda: (u > 0) * 1.0}
    return _slip(mark, "gelu", first + second, wrong, passes)


_PARTS = ("t", "GELU's first term", "tanh'", "inner", "sqrt(2/pi)", "GELU's second term")


# ---- The layers as subjects


def _dx(params: LayerNorm, prompt: Upstream, mark: Mark = PLAIN) -> np.ndarray:
    return Normalised(params.x, params.gamma, mark).dx(prompt.dy)


def _dgamma(params: LayerNorm, prompt: Upstream, mark: Mark = PLAIN) -> np.ndarray:
    return Normalised(params.x, params.gamma, mark).dgamma(prompt.dy, params.x, mark)


def _dbeta(params: LayerNorm, prompt: Upstream, mark: Mark = PLAIN) -> np.ndarray:
    return bias(prompt.dy, mark, "t")


def _attention(gradient: Callable[[Heads, np.ndarray], np.ndarray]) -> Marked:
    def evaluate(params: Attention, prompt: Upstream, mark: Mark = PLAIN) -> np.ndarray:
        return gradient(Heads(*params, prompt.causal, mark, gradient is not Heads.dv), prompt.dy)

    return evaluate


def _dS(params: Softmax, prompt: Upstream, mark: Mark = PLAIN) -> np.ndarray:
    return softmax_gradient(prompt.dy, *attention_weights(params.S, prompt.causal, mark), mark)


def _du(params: GELU, prompt: Upstream, mark: Mark = PLAIN) -> np.ndarray:
    return prompt.dy * gelu_slope(params.u, mark)


def _dX(params: Linear, prompt: Upstream, mark: Mark = PLAIN) -> np.ndarray:
    return prompt.dy @ mark.matrix("W", params.W, "of the gradient dY")


def _dW(params: Linear, prompt: Upstream, mark: Mark = PLAIN) -> np.ndarray:
    return weight(prompt.dy, params.X, mark)


def _db(params: Linear, prompt: Upstream, mark: Mark = PLAIN) -> np.ndarray:
    return bias(prompt.dy, mark)


MARKED: dict[type, dict[str, Marked]] = {
    LayerNorm: {
        "x": _dx,
        "gamma": _dgamma,
        "beta": _dbeta,
    },
    Softmax: {"S": _dS},
    Attention: {"q": _attention(Heads.dq), "k": _attention(Heads.dk), "v": _attention(Heads.dv)},
    GELU: {"u": _du},
    Linear: {"X": _dX, "W": _dW, "b": _db},
}
"""The marked gradients of each layer, by its parameters."""
