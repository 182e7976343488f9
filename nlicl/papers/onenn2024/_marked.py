"""The gradients by W of one prompt, their factors marked for the audit.

dW = sum_{j=0..N} q_j <r, v_j - l> h_j h_0^T,     v_j the label code of token j, v_0 = 0,     r = dloss/dl
"""

from typing import Any

import numpy as np

from ...audit.mistakes import PLAIN, Mark, Marked
from ...models.nearest.prompts import Prompt
from ...models.overflow import finite

__all__ = ["gradient"]

_OWN = "the query's own token is left out of the gradient's sum, not of the softmax"
_LEFT = "the query stands on the left: scores h_0^T W h_j, and rows of W belong to it"


def gradient(loss: str) -> Marked:
    """The marked gradient of a loss by W, whatever the parameter is called."""

    def dW(params: Any, prompt: Prompt, mark: Mark = PLAIN) -> np.ndarray:
        return _gradient(params[0], prompt, loss, mark)

    return dW


def _gradient(W: np.ndarray, prompt: Prompt, loss: str, mark: Mark) -> np.ndarray:
    d, h_0 = prompt.d, prompt.h_0
    tokens = _coded(prompt, mark)
    keys = mark.keys(tokens, True, "N")
    lift = _lift(prompt, mark)
    V, n = keys[:, d:-1] + lift * (1 - keys[:, -1:]), len(keys)
    q = _attention(finite("a score", keys @ _scored(W, mark) @ h_0), d, mark)
    l = q @ V
    u = tokens[_target(W, prompt, tokens, mark), d:-1] + lift
    r = _residual(l, u, prompt, loss, mark)

    weight = mark.factor("q_j", q, {"the uniform 1/(N+1)": 1 / n, "q_j (1 - q_j)": lambda: q * (1 - q)})
    along = mark.choice("v_j", V @ r, "missing-term", {"v_j is missing: - l for v_j - l": 0.0})
    diagonal = {"q_j (1 - q_j) v_j for q_j (v_j - l)": lambda: q * (V @ r)}
    weight = weight * (along - mark.mean_term("l", l @ r, "v_j", diagonal))
    own = keys[:, -1].any()  # the query is there, and last
    weight = np.append(mark.terms("context", "j", weight[: n - own]), weight[n - own :])
    weight = mark.choice("own", weight, "query-in-context", {_OWN: lambda: np.append(weight[:-1], 0.0)})
    left = mark.other("h_j", keys, {"W h_j": lambda: keys @ W.T, "W^T h_j": lambda: keys @ W})
    others = {"h_j": keys, "sum_j q_j h_j": lambda: q @ keys, "W h_0": lambda: W @ h_0}
    others["x_0, the mark left out,"] = np.append(h_0[:-1], 0.0)
    right = mark.other("h_0", np.broadcast_to(h_0, keys.shape), others)
    found = (left.T * weight) @ right
    added = "the gradient's transpose is added, as if W were symmetric"
    found = mark.choice("sum", found, "extra-term", {added: lambda: found + found.T})
    return mark.choice("scores", found, "transpose", {_LEFT: found.T})


def _coded(prompt: Prompt, mark: Mark) -> np.ndarray:
    """Tokens, the codes of whose labels may be wrong."""
    tokens = prompt.tokens
    if not mark.touches("codes") or prompt.K is None:
        return tokens

    def changed() -> np.ndarray:
        other = np.array(tokens)
        other[:-1, prompt.d : -1] += 1 / prompt.width
        return other

    missing = {"- 1/K is missing in every token: e_c for u_c, in scores, too": changed}
    return mark.choice("codes", tokens, "missing-term", missing)


def _lift(prompt: Prompt, mark: Mark) -> float:
    """What is added to every code in the answer and the target: nothing."""
    missing = {"- 1/K is missing in every code of the answer and the target: e_c for u_c": 1 / (prompt.K or np.inf)}
    return float(mark.choice("codes", 0.0, "missing-term", missing))


def _scored(W: np.ndarray, mark: Mark) -> np.ndarray:
    """W as the scores take it."""
    half = "h_0^T W h_j for the scores h_j^T W h_0, which the rest of the formula does not follow"
    W = mark.choice("scores", W, "transpose", {_LEFT: W.T})
    W = mark.choice("scores", W, "wrong-factor", {f"a factor is another one: {half}": W.T})
    return mark.other("W in the scores", W, {"(W + W^T)/2": lambda: (W + W.T) / 2}, slot="scores")


def _attention(scores: np.ndarray, d: int, mark: Mark) -> np.ndarray:
    """q_j (n,)."""
    roots = {"d": d**0.5, "N+1": len(scores) ** 0.5}
    divided = {f"a factor is too many: the scores are divided by sqrt({n})": scores / root for n, root in roots.items()}
    scores = mark.choice("temperature", scores, "wrong-factor", divided)
    exps = np.exp(scores - scores.max())
    q = exps / exps.sum()
    raw = {"exp(h_j^T W h_0)": lambda: np.exp(np.minimum(scores, 300))}
    q = mark.other("q_j everywhere: the softmax is not normalised", q, raw, slot="softmax")
    alone = {"the query is left out of the softmax's sum, and counts in no other": lambda: _without_query(scores)}
    return mark.choice("softmax", q, "query-in-context", alone)


def _without_query(scores: np.ndarray) -> np.ndarray:
    exps = np.exp(scores - scores.max())
    return exps / exps[:-1].sum()


def _target(W: np.ndarray, prompt: Prompt, tokens: np.ndarray, mark: Mark) -> int:
    """i*, from 0."""
    if not mark.touches("target"):
        return prompt.nearest
    contexts = tokens[:-1]
    name = "i*, the nearest context,"
    others: dict[str, Any] = {}
    others["the context with the largest score"] = lambda: int((contexts @ W @ prompt.h_0).argmax())
    others["the farthest context"] = lambda: int(
        ((contexts[:, : prompt.d] - prompt.h_0[: prompt.d]) ** 2).sum(axis=1).argmax()
    )
    others["the first context"] = 0
    others["the last context"] = len(contexts) - 1
    return int(mark.other(f"{name} in the target", prompt.nearest, others, slot="target"))


def _residual(l: np.ndarray, u: np.ndarray, prompt: Prompt, loss: str, mark: Mark) -> np.ndarray:
    """r = dloss/dl (L,), for the target's code u."""
    if loss == "squared":
        return _straight(l, u, mark)
    e = (u == u.max()).astype(float)
    exps = np.exp(l - l.max())
    soft = mark.other("softmax(l)", exps / exps.sum(), {"exp(l)": np.exp(l), "l": l})
    entropy = soft - mark.minus("the target", "e_c", e, of="softmax(l)")
    if loss == "mixture":
        c = prompt.mixture
        one = mark.other("1 - c", 1 - c, {"c": c, "1": 1.0}, slot="c")
        two = mark.other("c", c, {"1 - c": 1 - c, "1": 1.0}, slot="c of the cross-entropy")
        return one * _straight(l, u, mark) + two * entropy
    K = len(l)
    wrong = {"the sum runs over all k, that of the target too: it is over k != c": np.ones(K)}
    inside = mark.choice("k != c", 1 - e, "extra-term", wrong)
    factors = {"1/(K-1)": 1 / (K - 1), "2/K": 2 / K, "2": 2.0}
    factor = mark.other("2/(K-1)", 2 / (K - 1), factors)
    return entropy + mark.term("2/(K-1) l_k 1[k != c]", factor * l * inside, slot="squares")


def _straight(l: np.ndarray, u: np.ndarray, mark: Mark) -> np.ndarray:
    """l - u."""
    missing = {"the answer is missing: - u for l - u": 0.0}
    answer = mark.choice("u", l, "missing-term", missing)
    return answer - mark.minus("the target", "u", u, of="l", slot="u")
