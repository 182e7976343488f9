"""The gradients of Zhang et al. 2025, their factors marked for the audit.

dV_h = 2 s e e_{D+1} sum_t a_ht xt_t^T                     a_ht = xt_t^T W_h xt_q, or its softmax
D_h = dW_h = 2 s e sum_t (v_h . xt_t) xt_t xt_q^T          or with a_ht (v_h . xt_t - v_h . m_h)
dK_h = Q_h D_h^T         dQ_h = K_h D_h
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...audit.mistakes import PLAIN, Mark
from ...models.linear_attention.prompts import Params, Prompt
from .reference import Block, Effective, Heads, Population, embedded

__all__ = ["MARKED"]


# ---- Attention, one prompt


def dV(params: Any, prompt: Prompt, mark: Mark = PLAIN) -> np.ndarray:
    """The gradient by V, (H, E, E)."""
    v, W, _, _ = _heads(params)
    keys, a, e = _attended(v, W, prompt, mark)
    query = prompt.query
    a = _weights(a, W, keys, query, prompt, mark) if mark.touches("weights") else a
    x = _labelled(keys, mark)
    a = _summed(a, mark)
    rows = 2 * prompt.scale * e * a @ x
    gradient = np.zeros(embedded(params).V.shape, rows.dtype)
    gradient[:, -1] = rows
    turned = "the gradient's last column is filled in place of its last row"
    whole = "all rows of the gradient are filled, where only the last one acts"
    gradient = mark.choice("place", gradient, "transpose", {turned: lambda: gradient.transpose(0, 2, 1)})
    return mark.choice("place", gradient, "extra-term", {whole: lambda: np.broadcast_to(rows[:, None], gradient.shape)})


def _weights(
    a: np.ndarray, W: np.ndarray, keys: np.ndarray, query: np.ndarray, prompt: Prompt, mark: Mark
) -> np.ndarray:
    """a_ht, as the gradient by V has it."""
    name = "a_ht" if prompt.softmax else "xt_t^T W_h xt_q"
    others = _of_heads(a, "a_t" if prompt.softmax else "xt_t^T W xt_q")
    if prompt.softmax:
        others |= {"the score xt_t^T W_h xt_q": lambda: (W @ query) @ keys.T, "the uniform 1/(N+1)": 1 / len(keys)}
    else:
        others |= {
            "xt_q^T W_h xt_t": lambda: (query @ W) @ keys.T,
            "xt_t^T xt_q": lambda: np.broadcast_to(keys @ query, a.shape),
            "its softmax": lambda: _softmax(a),
        }
    a = mark.factor(name, a, others, slot="weights")
    if prompt.softmax:
        return a
    bare = {
        "the label's row is missing: (x_t, 0)^T W_h xt_q, G without it": lambda: (W @ query)[:, :-1] @ keys[:, :-1].T
    }
    return np.asarray(mark.choice("weights", a, "missing-term", bare))


def _of_heads(values: np.ndarray, name: str) -> dict[str, Any]:
    """What stands there of other heads in the place of each head's own (H, T)."""
    return {
        f"the previous head's {name}": lambda: np.roll(values, 1, axis=0),
        f"the next head's {name}": lambda: np.roll(values, -1, axis=0),
        f"the first head's {name}": lambda: np.broadcast_to(values[:1], values.shape),
        f"the sum over heads of {name}": lambda: np.broadcast_to(values.sum(axis=0), values.shape),
    }


def dW(params: Any, prompt: Prompt, mark: Mark = PLAIN) -> np.ndarray:
    """The gradient by W, (H, E, E)."""
    v, W, _, _ = _heads(params)
    keys, a, e = _attended(v, W, prompt, mark)
    values = _values(v, keys, mark)
    if prompt.softmax:
        mean = (a * values).sum(axis=1, keepdims=True)
        diagonal = {"a_ht (1 - a_ht) v_h . xt_t for a_ht v_h . (xt_t - m_h)": lambda: a * values}
        mean = mark.mean_term("v_h . m_h", mean, "v_h . xt_t", diagonal)
        plain = {"v_h . xt_t less its plain mean": lambda: values.mean(axis=1, keepdims=True)}
        mean = mark.other("v_h . (xt_t - m_h)", mean, plain, slot="centring")
        others = {"the uniform 1/(N+1)": 1 / len(keys)} | _of_heads(a, "a_t")
        values = mark.factor("a_ht", a, others, slot="weights") * (values - mean)
    summands = _summed(values, mark)
    left = _labelled(keys, mark)
    query = prompt.query
    gradient = np.einsum("ht,ti,j->hij", summands, left, query)
    if mark.touches("xt_q"):
        others = {
            "xt_t": lambda: keys,
            "the last context's token": lambda: np.broadcast_to(prompt.tokens[-2], keys.shape),
        }
        right = mark.factor("xt_q", np.broadcast_to(query, keys.shape), others, slot="xt_q")
        gradient = np.einsum("ht,ti,tj->hij", summands, left, right)
    gradient = 2 * prompt.scale * e * gradient
    return mark.choice(
        "outer", gradient, "transpose", {"xt_q xt_t^T for xt_t xt_q^T": lambda: gradient.transpose(0, 2, 1)}
    )


def dK(params: Any, prompt: Prompt, mark: Mark = PLAIN) -> np.ndarray:
    """The gradient by K, (H, R, E)."""
    _, _, K, Q = _heads(params)
    D = dW(params, prompt, mark)
    Q = mark.other("W^Q_h", Q, {"W^K_h": K} | _of_heads(Q, "W^Q"))
    return np.asarray(np.einsum("hri,hji->hrj", Q, D))


def dQ(params: Any, prompt: Prompt, mark: Mark = PLAIN) -> np.ndarray:
    """The gradient by Q, (H, R, E)."""
    _, _, K, Q = _heads(params)
    D = dW(params, prompt, mark)
    K = mark.other("W^K_h", K, {"W^Q_h": Q} | _of_heads(K, "W^K"))
    return np.asarray(np.einsum("hri,hij->hrj", K, D))


def _heads(params: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """v (H, E), W (H, E, E), and K and Q (H, R, E) where there are some."""
    own = embedded(params)
    if isinstance(own, Params):
        return own.V[:, -1], own.W, own.W, own.W
    return own.V[:, -1], np.einsum("hri,hrj->hij", own.K, own.Q), own.K, own.Q


def _attended(v: np.ndarray, W: np.ndarray, prompt: Prompt, mark: Mark) -> tuple[np.ndarray, np.ndarray, Any]:
    """Keys (T, E), the weights a_ht (H, T), and the error e."""
    keys = mark.keys(prompt.tokens, True, "N")
    left = "scores xt_q^T W_h xt_t: the prediction has W^T, too"
    W = mark.choice("scores", W, "wrong-factor", {f"a factor is another one: {left}": lambda: W.transpose(0, 2, 1)})
    scores = (W @ prompt.query) @ keys.T
    a = _softmax(scores) if prompt.softmax else scores
    yhat = prompt.scale * (a * (v @ keys.T)).sum()
    return keys, a, _error(yhat, prompt, mark)


def _error(yhat: Any, prompt: Prompt, mark: Mark) -> Any:
    """yhat - y_query."""
    slot, name = "residual", "yhat - y_query"
    bare = {"the prediction is without s": lambda: yhat / prompt.scale, "0, as if nothing were predicted": 0.0}
    yhat = mark.other("yhat in the residual", yhat, bare, slot=slot)
    error = yhat - mark.minus("the label", "y_query", prompt.z, of="yhat", slot=slot)
    error = mark.factor(f"the residual {name}", error, slot=slot)
    return mark.other(name, error, {f"the sign of {name}": np.sign(error), f"|{name}|": abs(error)}, slot=slot)


def _values(v: np.ndarray, keys: np.ndarray, mark: Mark) -> np.ndarray:
    """v_h . xt_t (H, T)."""
    values, name = v @ keys.T, "v_h . xt_t"
    if not mark.touches("values"):
        return values
    values = mark.factor(name, values, _of_heads(values, "v . xt_t"), slot="values")
    missing = {
        "v_x . x_t is missing: v_h y_t for v_h . xt_t": lambda: v[:, -1:] * keys[:, -1],
        "v_h y_t is missing: v_x . x_t for v_h . xt_t": lambda: v[:, :-1] @ keys[:, :-1].T,
    }
    return mark.choice("values", values, "missing-term", missing)


def _labelled(keys: np.ndarray, mark: Mark) -> np.ndarray:
    """xt_t (T, E), the outer one."""
    is_label = np.arange(keys.shape[1]) == keys.shape[1] - 1
    missing = {
        "the label's row is missing: (x_t, 0) for xt_t, G without it": lambda: keys * ~is_label,
        "the inputs' rows are missing: (0, y_t) for xt_t": lambda: keys * is_label,
    }
    return mark.choice("xt_t", keys, "missing-term", missing)


def _summed(summands: np.ndarray, mark: Mark) -> np.ndarray:
    """The summands (H, T) of the gradient's sum over tokens, whatever the prediction does."""
    total = "the sum over t"
    first, T = "only the first token counts", summands.shape[1]
    missing = {
        f"{total} is missing: {first}": lambda: summands * (np.arange(T) == 0),
        f"the first token is left out of {total}": lambda: summands * (np.arange(T) > 0),
        f"the last context is left out of {total}": lambda: summands * (np.arange(T) != T - 2),
    }
    out = "the query was left out of the gradient's sum, which runs to N, not N+1; the prediction has it"
    summands = mark.choice("token", summands, "query-in-context", {out: lambda: summands * (np.arange(T) < T - 1)})
    return np.asarray(mark.choice("token", summands, "missing-term", missing))


def _softmax(scores: np.ndarray) -> np.ndarray:
    exps = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(exps / exps.sum(axis=-1, keepdims=True))


# ---- The other losses


def dv(params: Heads, prompt: Prompt, mark: Mark = PLAIN) -> np.ndarray:
    """The gradient by v where u = v_x = 0, (H,)."""
    p = _correlation(prompt, mark)
    products = np.array([p @ U @ prompt.x_query for U in params.U])
    e = _error(prompt.scale * params.v @ products, prompt, mark)
    if mark.touches("U_h"):
        others = {
            "x_q^T U_h p": np.array([prompt.x_query @ U @ p for U in params.U]),
            "another head's": np.roll(products, 1),
        }
        products = mark.factor("p^T U_h x_q", products, others, slot="U_h")
    return np.asarray(2 * prompt.scale * e * products)


def dU(params: Heads, prompt: Prompt, mark: Mark = PLAIN) -> np.ndarray:
    """The gradient by U where u = v_x = 0, (H, D, D)."""
    p, x_query = _correlation(prompt, mark), prompt.x_query
    e = _error(prompt.scale * sum(v * (p @ U @ x_query) for v, U in zip(params.v, params.U, strict=True)), prompt, mark)
    v = mark.factor("v_h", params.v, _of_heads(params.v, "v"))
    outer = np.outer(mark.factor("p", p, slot="outer"), mark.factor("x_q", x_query, {"x_N": prompt.X[:, -1]}))
    gradient = 2 * prompt.scale * e * v[:, None, None] * outer
    return mark.choice("outer", gradient, "transpose", {"x_q p^T for p x_q^T": lambda: gradient.transpose(0, 2, 1)})


def _correlation(prompt: Prompt, mark: Mark) -> np.ndarray:
    """p = sum_n y_n x_n (D,)."""
    summands = mark.terms("context", "n", prompt.X * prompt.y)
    plain = {"a factor is absent: y_n in p": lambda: prompt.X}
    return np.asarray(mark.choice("context", summands, "wrong-factor", plain).sum(axis=-1))


def dMbar(weights: Effective, law: Population, mark: Mark = PLAIN) -> np.ndarray:
    """The gradient of the population loss by Mbar, (D, D)."""
    Lambda, N = law.Lambda, law.N
    s_N = 1.0 if law.scale is None else law.scale * N
    square, trace = Lambda @ Lambda, np.trace(Lambda)
    B = square + mark.term("Lambda^2/N in B", square / N) + _trace_term(Lambda, trace, N, mark)
    Mbar = mark.choice("Mbar", weights.Mbar, "transpose", {"Mbar^T for Mbar in B Mbar Lambda": lambda: weights.Mbar.T})
    Mbar = s_N * Mbar
    product = B @ Mbar @ Lambda
    product = mark.other(
        "B Mbar Lambda", product, {"Lambda Mbar B": lambda: Lambda @ Mbar @ B, "B Mbar": lambda: B @ Mbar}
    )
    target = mark.minus("the target's term", "Lambda^2", square, of="B Mbar Lambda", slot="target")
    target = mark.other("Lambda^2, the target's term", target, {"Lambda": Lambda}, slot="target")
    return np.asarray(2 * s_N * (product - target))


def _trace_term(Lambda: np.ndarray, trace: float, N: int, mark: Mark) -> np.ndarray:
    """(tr Lambda/N) Lambda."""
    name = "(tr Lambda/N) Lambda in B"
    term = mark.term(name, trace / N * Lambda)
    term = mark.choice(name, term, "missing-term", {"tr Lambda is missing: Lambda/N in B": Lambda / N})
    return np.asarray(mark.other(name, term, {"(tr Lambda/N) Lambda^2": trace / N * Lambda @ Lambda}, slot=name))


def dW_classifier(params: Block, prompt: Prompt, mark: Mark = PLAIN) -> np.ndarray:
    """The gradient by the classifier's block, (D, D)."""
    W, x_query = params.W_classifier, prompt.x_query
    p = prompt.scale * _correlation(prompt, mark)
    left = "the logit x_q^T W p: it has W^T"
    W = mark.choice("scores", W, "wrong-factor", {f"a factor is another one: {left}": lambda: W.T})
    z = p @ W @ x_query
    sigmoid = 1 / (1 + np.exp(-z)) if z > 0 else np.exp(z) / (1 + np.exp(z))
    others = {"z, without the sigmoid": z, "sigmoid(-z)": 1 - sigmoid, "sigmoid(2z)": 1 / (1 + np.exp(-2 * z))}
    sigmoid = mark.other("sigmoid(z)", sigmoid, others)
    label = mark.minus("the label", "yb", (1 + prompt.z) / 2, of="sigmoid(z)")
    label = mark.other("yb = (1 + y_q)/2", label, {"y_q": prompt.z}, slot="yb")
    right = mark.factor("x_q", x_query, {"x_N": prompt.X[:, -1]})
    gradient = (sigmoid - label) * np.outer(p, right)
    return np.asarray(gradient)


MARKED: dict[str, dict[str, Callable[..., np.ndarray]]] = {
    "merged": {"V": dV, "W": dW},
    "separate": {"V": dV, "K": dK, "Q": dQ},
    "softmax": {"V_softmax": dV, "W_softmax": dW},
    "softmax-separate": {"V_softmax": dV, "K_softmax": dK, "Q_softmax": dQ},
    "reduced": {"v": dv, "U": dU},
    "population": {"Mbar": dMbar},
    "classifier": {"W_classifier": dW_classifier},
}
"""The marked gradients of each loss by each of its parameters."""
