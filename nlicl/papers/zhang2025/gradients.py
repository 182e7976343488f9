"""The gradient formulas of Zhang et al. 2025, literally, and what the audit needs to judge them.

None is a quotation: the model is [source, description], the gradients are [derived]. There are seven losses, so seven
subjects, one with parts: see `.reference`. v_h is the last row of W^V_h, e = yhat - y_query, G = X X^T over all N+1 tokens,
the query's among them; rows of W^KQ are keys, columns the query.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...audit.subject import Formula, Subject
from ...models.linear_attention.prompts import Params, Prompt
from ...models.linear_attention.reference import forward
from . import _marked, _points, population, reference
from .reference import Block, Effective, Heads, Population, embedded
from .statement import STATEMENTS

__all__ = ["TITLE", "formulas", "subject", "subjects"]

TITLE = "Training Dynamics of In-Context Learning in Linear Attention (Zhang, Singh, Latham, Saxe, ICML 2025)"


# ---- Linear attention, one prompt


def dV(params: Any, prompt: Prompt) -> np.ndarray:
    """2 s e sum_t (xt_t^T W^KQ_h xt_q) e_{D+1} xt_t^T, (H, E, E)."""
    V, W, _, _ = _matrices(params)
    X, s, e = prompt.tokens, prompt.scale, _error(params, prompt)
    gradient = np.zeros_like(V)
    for h in range(len(V)):
        for t in range(len(X)):
            gradient[h, -1] = gradient[h, -1] + 2 * s * e * (X[t] @ W[h] @ X[-1]) * X[t]
    return gradient


def dW(params: Any, prompt: Prompt) -> np.ndarray:
    """2 s e sum_t (v_h . xt_t) xt_t xt_q^T, (H, E, E)."""
    V, _, _, _ = _matrices(params)
    X, s, e = prompt.tokens, prompt.scale, _error(params, prompt)
    return np.array([2 * s * e * sum((V[h, -1] @ x_t) * np.outer(x_t, X[-1]) for x_t in X) for h in range(len(V))])


def dK(params: Any, prompt: Prompt) -> np.ndarray:
    """2 s e sum_t (v_h . xt_t) (W^Q_h xt_q) xt_t^T, (H, R, E)."""
    V, _, _, Q = _matrices(params)
    X, s, e = prompt.tokens, prompt.scale, _error(params, prompt)
    return np.array(
        [2 * s * e * sum((V[h, -1] @ x_t) * np.outer(Q[h] @ X[-1], x_t) for x_t in X) for h in range(len(V))]
    )


def dQ(params: Any, prompt: Prompt) -> np.ndarray:
    """2 s e sum_t (v_h . xt_t) (W^K_h xt_t) xt_q^T, (H, R, E)."""
    V, _, K, _ = _matrices(params)
    X, s, e = prompt.tokens, prompt.scale, _error(params, prompt)
    return np.array(
        [2 * s * e * sum((V[h, -1] @ x_t) * np.outer(K[h] @ x_t, X[-1]) for x_t in X) for h in range(len(V))]
    )


def dV_closed(params: Any, prompt: Prompt) -> np.ndarray:
    """2 s e e_{D+1} (G W^KQ_h xt_q)^T, (H, E, E)."""
    V, W, _, _ = _matrices(params)
    G = prompt.P @ prompt.P.T
    gradient = np.zeros_like(V)
    gradient[:, -1] = 2 * prompt.scale * _error(params, prompt) * (W @ prompt.query) @ G.T
    return gradient


def dW_closed(params: Any, prompt: Prompt) -> np.ndarray:
    """2 s e (G v_h) xt_q^T, (H, E, E)."""
    V, _, _, _ = _matrices(params)
    G = prompt.P @ prompt.P.T
    return 2 * prompt.scale * _error(params, prompt) * np.array([np.outer(G @ V_h[-1], prompt.query) for V_h in V])


def dK_closed(params: Any, prompt: Prompt) -> np.ndarray:
    """2 s e (W^Q_h xt_q) (G v_h)^T, (H, R, E)."""
    V, _, _, Q = _matrices(params)
    G = prompt.P @ prompt.P.T
    each = [np.outer(Q_h @ prompt.query, G @ V_h[-1]) for V_h, Q_h in zip(V, Q, strict=True)]
    return 2 * prompt.scale * _error(params, prompt) * np.array(each)


def dQ_closed(params: Any, prompt: Prompt) -> np.ndarray:
    """2 s e (W^K_h G v_h) xt_q^T, (H, R, E)."""
    V, _, K, _ = _matrices(params)
    G = prompt.P @ prompt.P.T
    each = [np.outer(K_h @ G @ V_h[-1], prompt.query) for V_h, K_h in zip(V, K, strict=True)]
    return 2 * prompt.scale * _error(params, prompt) * np.array(each)


# ---- Softmax attention, one prompt


def dV_softmax(params: Any, prompt: Prompt) -> np.ndarray:
    """2 s e e_{D+1} m_h^T, m_h = sum_t a_ht xt_t, (H, E, E)."""
    V, _, _, _ = _matrices(params)
    yhat, a = forward(embedded(params), prompt)
    gradient = np.zeros_like(V)
    gradient[:, -1] = 2 * prompt.scale * (yhat - prompt.z) * a @ prompt.tokens
    return gradient


def dW_softmax(params: Any, prompt: Prompt) -> np.ndarray:
    """2 s e sum_t a_ht (v_h . (xt_t - m_h)) xt_t xt_q^T, (H, E, E)."""
    V, _, _, _ = _matrices(params)
    X = prompt.tokens
    yhat, a = forward(embedded(params), prompt)
    gradient = []
    for V_h, a_h in zip(V, a, strict=True):
        m_h = a_h @ X
        gradient.append(
            sum(a_t * (V_h[-1] @ (x_t - m_h)) * np.outer(x_t, X[-1]) for a_t, x_t in zip(a_h, X, strict=True))
        )
    return 2 * prompt.scale * (yhat - prompt.z) * np.array(gradient)


def dK_softmax(params: Any, prompt: Prompt) -> np.ndarray:
    """W^Q_h D_h^T, D_h = 2 s e sum_t a_ht (v_h . (xt_t - m_h)) xt_t xt_q^T, (H, R, E)."""
    _, _, _, Q = _matrices(params)
    return np.array([Q_h @ D_h.T for Q_h, D_h in zip(Q, dW_softmax(params, prompt), strict=True)])


def dQ_softmax(params: Any, prompt: Prompt) -> np.ndarray:
    """W^K_h D_h, D_h = 2 s e sum_t a_ht (v_h . (xt_t - m_h)) xt_t xt_q^T, (H, R, E)."""
    _, _, K, _ = _matrices(params)
    return np.array([K_h @ D_h for K_h, D_h in zip(K, dW_softmax(params, prompt), strict=True)])


# ---- The two-layer linear network on beta x_query^T, where u = v_x = 0


def dv_reduced(params: Heads, prompt: Prompt) -> np.ndarray:
    """2 s e p^T U_h x_q, p = sum_n y_n x_n, (H,)."""
    p = prompt.X @ prompt.y
    products = np.array([p @ U_h @ prompt.x_query for U_h in params.U])
    return 2 * prompt.scale * (prompt.scale * (params.v @ products) - prompt.z) * products


def dU_reduced(params: Heads, prompt: Prompt) -> np.ndarray:
    """2 s e v_h p x_q^T, p = sum_n y_n x_n, (H, D, D)."""
    p = prompt.X @ prompt.y
    yhat = prompt.scale * sum(v_h * (p @ U_h @ prompt.x_query) for v_h, U_h in zip(params.v, params.U, strict=True))
    return 2 * prompt.scale * (yhat - prompt.z) * np.array([v_h * np.outer(p, prompt.x_query) for v_h in params.v])


# ---- The population


def dMbar_population(weights: Effective, law: Population) -> np.ndarray:
    """-2 Lambda^2 + 2 B Mbar Lambda, B = (1 + 1/N) Lambda^2 + (tr Lambda / N) Lambda, Mbar in units of beta, (D, D)."""
    s_N, Lambda = population.factor(law.N, law.scale), law.Lambda
    B = (1 + 1 / law.N) * Lambda @ Lambda + np.trace(Lambda) / law.N * Lambda
    return s_N * (-2 * Lambda @ Lambda + 2 * B @ (s_N * weights.Mbar) @ Lambda)


# ---- The classifier


def dW_classifier(params: Block, prompt: Prompt) -> np.ndarray:
    """s (sigmoid(z) - yb) sum_n y_n x_n x_q^T, z = s sum_n y_n x_n^T W x_q, yb = (1 + y_q)/2, (D, D)."""
    p = prompt.scale * sum(y_n * x_n for y_n, x_n in zip(prompt.y, prompt.X.T, strict=True))
    z = p @ params.W_classifier @ prompt.x_query
    sigmoid = 1 / (1 + np.exp(-z)) if z.real > 0 else np.exp(z) / (1 + np.exp(z))
    return (sigmoid - (1 + prompt.z) / 2) * np.outer(p, prompt.x_query)


# ---- What they share


def _matrices(params: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """V, W^KQ, K and Q, the last two as they are given."""
    own = embedded(params)
    if isinstance(own, Params):
        return own.V, own.W, own.W, own.W
    return own.V, np.array([K_h.T @ Q_h for K_h, Q_h in zip(own.K, own.Q, strict=True)]), own.K, own.Q


def _error(params: Any, prompt: Prompt) -> Any:
    """yhat - y_query."""
    return forward(embedded(params), prompt)[0] - prompt.z


# ---- Registered

_MODEL = "model of Zhang et al. 2025 [source, description], gradient by nlicl [derived]"
_REDUCED = "two-layer linear network on cubic features [summary], gradient by nlicl [derived]"
_CLASSIFIER = "Frei and Vardi's classifier [source], gradient by nlicl [derived]"

_TABLE: list[tuple[str, str, str, Callable[..., np.ndarray], str]] = [
    ("merged", "V", "V", dV, _MODEL),
    ("merged", "W", "W", dW, _MODEL),
    ("merged", "V_closed", "V", dV_closed, _MODEL),
    ("merged", "W_closed", "W", dW_closed, _MODEL),
    ("separate", "V_separate", "V", dV, _MODEL),
    ("separate", "K", "K", dK, _MODEL),
    ("separate", "Q", "Q", dQ, _MODEL),
    ("separate", "V_separate_closed", "V", dV_closed, _MODEL),
    ("separate", "K_closed", "K", dK_closed, _MODEL),
    ("separate", "Q_closed", "Q", dQ_closed, _MODEL),
    ("softmax", "V_softmax", "V_softmax", dV_softmax, _MODEL),
    ("softmax", "W_softmax", "W_softmax", dW_softmax, _MODEL),
    ("softmax-separate", "V_softmax_separate", "V_softmax", dV_softmax, _MODEL),
    ("softmax-separate", "K_softmax", "K_softmax", dK_softmax, _MODEL),
    ("softmax-separate", "Q_softmax", "Q_softmax", dQ_softmax, _MODEL),
    ("reduced", "v_reduced", "v", dv_reduced, _REDUCED),
    ("reduced", "U_reduced", "U", dU_reduced, _REDUCED),
    ("population", "Mbar_population", "Mbar", dMbar_population, _REDUCED),
    ("classifier", "classifier", "W_classifier", dW_classifier, _CLASSIFIER),
]


def _formula(name: str, wrt: str, function: Callable[..., np.ndarray], source: str) -> Formula:
    equation = (function.__doc__ or "").rsplit(", (", 1)[0].strip()
    return Formula(function, name, wrt, equation or name, source)


_of_part: dict[str, dict[str, Formula]] = {}
for _part, _name, _wrt, _function, _source in _TABLE:
    _of_part.setdefault(_part, {})[_name] = _formula(_name, _wrt, _function, _source)

formulas = {name: formula for part in _of_part.values() for name, formula in part.items()}
"""All formulas by name."""


def _subject(part: str, computed_by: str, parts: tuple[Subject, ...] = ()) -> Subject:
    """The subject of one loss, which has no kinks."""
    return Subject(
        name="zhang2025",
        title=TITLE,
        formulas=_of_part[part],
        points=_points.POINTS[part],
        definition=_definition_of_population if part == "population" else _definition,
        kernel=_points.mean_loss(),
        source=_points.mean_loss(source=True),
        gradient=_points.gradient,
        sizes=_points.sizes,
        conditions=_points.conditions,
        regions=_points.regions,
        marked=_marked.MARKED[part],
        parts=parts,
        computed_by=computed_by,
        statement=STATEMENTS[part],
    )


def _definition(params: Any, prompt: Prompt) -> tuple[Any, np.ndarray]:
    return reference.loss(params, prompt), np.empty(0)


def _definition_of_population(weights: Effective, law: Population) -> tuple[Any, np.ndarray]:
    return reference.population_loss(weights, law), np.empty(0)


_BATCH = "mean over a batch, nlicl.loss_and_grad(...)[1].{wrt}"
_INSIDE = "mean over a batch, nlicl.loss_and_grad(...)[1], {wrt} of it"

subjects = {
    "separate": _subject("separate", _BATCH),
    "softmax": _subject("softmax", _INSIDE),
    "softmax-separate": _subject("softmax-separate", _INSIDE),
    "reduced": _subject("reduced", _INSIDE),
    "population": _subject(
        "population", "nlicl.papers.zhang2025.law.Law, the gradient of V_h and W_h as that of {wrt}"
    ),
    "classifier": _subject("classifier", _INSIDE),
}
"""The audit's subjects of the other losses: formulas f(params, prompt) with parameters of their own, by name."""

subject = _subject("merged", _BATCH, tuple(subjects.values()))
"""The audit's subject: linear attention with merged keys and queries; the others are its parts."""
