"""The gradient formulas of Li et al. 2024, literally: sums over neurons i and tokens s of one prompt.

Two sets. The corrected ones are what the library computes. The printed ones stand on the first author's slides (October
2024, backup pages) and are given as printed, errors included: the audit finds those errors. Whether the paper's appendix
prints the same is not verified.

Notation: attn_s is the printed softmax(p_s^T W_K^T W_Q p_query), u_i = W_O(i,.) sum_s (W_V p_s) attn_s,
I_i = 1[u_i > 0], g = -z 1[1 - z F > 0].
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...audit.subject import Formula, Point, Subject, fill
from ...core.seeds import Li2024Uncounted, uncounted
from ...models.front import loss_and_grad
from ...models.overflow import finite
from ...models.transformer import audited
from ...models.transformer.marked import marked
from ...models.transformer.prompts import Params, Prompt, Prompts
from ...models.transformer.reference import forward
from .problem import Problem
from .statement import STATEMENT

__all__ = [
    "TITLE",
    "dW_K",
    "dW_O",
    "dW_Q",
    "dW_V",
    "da",
    "formulas",
    "printed_dW_K",
    "printed_dW_O",
    "printed_dW_Q",
    "printed_dW_V",
    "subject",
]

TITLE = "How Do Nonlinear Transformers Learn and Generalize in In-Context Learning? (Li et al., ICML 2024)"


# ---- Corrected (derived in docs/li2024.md): the sums run over the tokens the query attends to.


def dW_Q(params: Params, prompt: Prompt) -> np.ndarray:
    """g sum_i a_i I_i sum_s (W_O(i,.) W_V p_s) attn_s (W_K p_s - sum_r attn_r W_K p_r) p_query^T, (m_a, d)."""
    _, W_K, W_V, W_O, a = params
    p, p_query = prompt.keys, prompt.query
    g, I, attn = _factors(params, prompt)
    mean = sum(attn[r] * (W_K @ p[:, r]) for r in range(p.shape[1]))  # sum_r attn_r W_K p_r
    total = np.zeros_like(W_K)
    for i in range(len(a)):
        for s in range(p.shape[1]):
            weight = (W_O[i] @ W_V @ p[:, s]) * attn[s]
            total += a[i] * I[i] * weight * np.outer(W_K @ p[:, s] - mean, p_query)
    return g * total


def dW_K(params: Params, prompt: Prompt) -> np.ndarray:
    """g sum_i a_i I_i sum_s (W_O(i,.) W_V p_s) attn_s W_Q p_query (p_s - sum_r attn_r p_r)^T, (m_a, d)."""
    W_Q, _, W_V, W_O, a = params
    p, p_query = prompt.keys, prompt.query
    g, I, attn = _factors(params, prompt)
    mean = sum(attn[r] * p[:, r] for r in range(p.shape[1]))  # sum_r attn_r p_r
    total = np.zeros_like(W_Q)
    for i in range(len(a)):
        for s in range(p.shape[1]):
            weight = (W_O[i] @ W_V @ p[:, s]) * attn[s]
            total += a[i] * I[i] * weight * np.outer(W_Q @ p_query, p[:, s] - mean)
    return g * total


def dW_V(params: Params, prompt: Prompt) -> np.ndarray:
    """g sum_i a_i I_i W_O(i,.)^T sum_s attn_s p_s^T, (m_b, d)."""
    _, _, W_V, W_O, a = params
    p = prompt.keys
    g, I, attn = _factors(params, prompt)
    total = np.zeros_like(W_V)
    for i in range(len(a)):
        for s in range(p.shape[1]):
            total += a[i] * I[i] * attn[s] * np.outer(W_O[i], p[:, s])
    return g * total


def dW_O(params: Params, prompt: Prompt) -> np.ndarray:
    """Row i: g a_i I_i (sum_s attn_s W_V p_s)^T, (m, m_b)."""
    _, _, W_V, W_O, a = params
    p = prompt.keys
    g, I, attn = _factors(params, prompt)
    rows = np.zeros_like(W_O)
    for i in range(len(a)):
        for s in range(p.shape[1]):
            rows[i] += a[i] * I[i] * attn[s] * (W_V @ p[:, s])
    return g * rows


def da(params: Params, prompt: Prompt) -> np.ndarray:
    """g relu(u_i), (m,); the paper's training leaves a fixed."""
    g, I, _ = _factors(params, prompt)
    return g * I * forward(params, prompt).preactivation


def _factors(params: Params, prompt: Prompt) -> tuple[Any, np.ndarray, np.ndarray]:
    """g = -z 1[1 - z F > 0], I_i = 1[u_i > 0] and attn."""
    out = forward(params, prompt)
    return -prompt.z * (1 - prompt.z * out.score > 0), out.preactivation > 0, out.attention


# ---- As printed on the October 2024 slides: sums to l + 1, no hinge indicator, I_i with >=.


def printed_dW_Q(params: Params, prompt: Prompt) -> np.ndarray:
    """(-z) sum_i a_i I_i (W_O(i,.) sum_s (W_V p_s) sm_s (W_K p_s - sum_r sm_r W_K p_r) p_query^T), as printed."""
    _, W_K, W_V, W_O, a = params
    P, p_query = prompt.P, prompt.query
    I, sm = _printed_factors(params, P, p_query)
    mean = sum(sm[r] * (W_K @ P[:, r]) for r in range(P.shape[1]))
    total = np.zeros_like(W_K)
    for i in range(len(a)):
        for s in range(P.shape[1]):
            total += a[i] * I[i] * (W_O[i] @ (W_V @ P[:, s])) * sm[s] * np.outer(W_K @ P[:, s] - mean, p_query)
    return -prompt.z * total


def printed_dW_K(params: Params, prompt: Prompt) -> np.ndarray:
    """(-z) sum_i a_i I_i (W_O(i,.) sum_s (W_V p_s) sm_s W_Q^T p_query (p_s - sum_r sm_r p_r)^T), as printed."""
    W_Q, _, W_V, W_O, a = params
    P, p_query = prompt.P, prompt.query
    I, sm = _printed_factors(params, P, p_query)
    mean = sum(sm[r] * P[:, r] for r in range(P.shape[1]))
    total = np.zeros_like(W_Q)
    for i in range(len(a)):
        for s in range(P.shape[1]):
            total += a[i] * I[i] * (W_O[i] @ (W_V @ P[:, s])) * sm[s] * np.outer(W_Q.T @ p_query, P[:, s] - mean)
    return -prompt.z * total


def printed_dW_V(params: Params, prompt: Prompt) -> np.ndarray:
    """(-z) sum_i a_i I_i W_O(i,.)^T sum_s sm_s p_s^T, as printed."""
    _, _, W_V, W_O, a = params
    P = prompt.P
    I, sm = _printed_factors(params, P, prompt.query)
    total = np.zeros_like(W_V)
    for i in range(len(a)):
        for s in range(P.shape[1]):
            total += a[i] * I[i] * sm[s] * np.outer(W_O[i], P[:, s])
    return -prompt.z * total


def printed_dW_O(params: Params, prompt: Prompt) -> np.ndarray:
    """Row i: (-z) a_i I_i sum_s (W_V p_s) sm_s, as printed (a column there; here stacked as rows)."""
    _, _, W_V, W_O, a = params
    P = prompt.P
    I, sm = _printed_factors(params, P, prompt.query)
    rows = np.zeros_like(W_O)
    for i in range(len(a)):
        for s in range(P.shape[1]):
            rows[i] += a[i] * I[i] * (W_V @ P[:, s]) * sm[s]
    return -prompt.z * rows


def _printed_factors(params: Params, P: np.ndarray, p_query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """I_i = 1[W_O(i,.) sum_s (W_V p_s) sm_s >= 0] and sm_s = softmax_s(p_s^T W_K^T W_Q p_query), s = 1 .. l+1."""
    scores = finite("a score", P.T @ params.W_K.T @ params.W_Q @ p_query)
    exps = np.exp(scores - scores.max())
    sm = exps / exps.sum()
    return finite("a pre-activation", params.W_O @ ((params.W_V @ P) @ sm)) >= 0, sm


_DERIVED = "corrected by nlicl (derived); the model equation is the paper's"
_SLIDES = "October 2024 slides, backup pages"
_NO_HINGE = "the hinge indicator 1[1 - z F > 0] is left out: the slides work where it is 1"
_TRANSPOSE = "W_Q^T p_query stands for W_Q p_query: the same only where W_Q is symmetric; " + _NO_HINGE


def _square(params: Params) -> bool:
    return params.W_Q.shape[0] == params.W_Q.shape[1]


def _formula(name: str, wrt: str, function: Callable[..., np.ndarray], source: str, **more: Any) -> Formula:
    equation = (function.__doc__ or "").split(", as printed")[0].split(", (m")[0].strip().rstrip(".")
    return Formula(function, name, wrt, equation or name, source, **more)


_PRINTED = {"query_attends": True, "expected": "disagree"}

formulas = {
    formula.name: formula
    for formula in (
        _formula("W_Q", "W_Q", dW_Q, _DERIVED),
        _formula("W_K", "W_K", dW_K, _DERIVED),
        _formula("W_V", "W_V", dW_V, _DERIVED),
        _formula("W_O", "W_O", dW_O, _DERIVED),
        _formula("a", "a", da, "derived by nlicl; not on the slides, for the paper's training leaves a fixed"),
        _formula("W_Q_printed", "W_Q", printed_dW_Q, _SLIDES, erratum=_NO_HINGE, **_PRINTED),
        _formula("W_K_printed", "W_K", printed_dW_K, _SLIDES, erratum=_TRANSPOSE, domain="m_a = d", defined=_square,
                 **_PRINTED),
        _formula("W_V_printed", "W_V", printed_dW_V, _SLIDES, erratum=_NO_HINGE, **_PRINTED),
        _formula("W_O_printed", "W_O", printed_dW_O, _SLIDES, erratum=_NO_HINGE, **_PRINTED),
    )
}  # fmt: skip


# ---- What the audit needs besides.


def points(draws: int, seed: int, query_attends: bool) -> list[Point]:
    """Places to judge formulas at: two random ones, the paper's initialisation, a briefly trained point, a pruned neuron."""
    rng = uncounted(Li2024Uncounted.POINTS, seed)
    random = audited.random_points(rng, query_attends)
    first, second = next(random), next(random)
    start, trained = _small_run(rng, seed, query_attends)
    fixed = [first, second, start, trained, audited.pruned_point(rng, query_attends)]
    return fill(fixed, random, draws)


def _small_run(rng: np.random.Generator, seed: int, query_attends: bool) -> tuple[Point, Point]:
    """The paper's own initialisation and a point trained from it, at sizes small enough to difference every entry."""
    problem = Problem(M1=3, M2=2, d_X=6, d_Y=3, m=8, m_b=7, length=5, query_attends=query_attends)
    start = params = problem.initialize(seed=seed)
    for t in range(60):
        _, grads = loss_and_grad(params, problem.sample(32, seed=(seed, t)))
        moved = (w - problem.learning_rate * dw for w, dw in zip(params[:4], grads[:4], strict=True))
        params = Params._make([*moved, params.a])
    prompts = problem.sample(24, seed=(seed, 60)).dense()
    start, params, prompts = _rotated(start, params, prompts, rng)
    scores = np.array([forward(params, prompt).score for prompt in prompts])
    answered = np.argsort(-abs(scores), kind="stable")[:3]  # where neurons are on: few are, after so short a training
    trained = audited.placed("trained for 60 steps", params, prompts[answered])
    initial = Point("the paper's initialisation", start, prompts[:2])
    return initial, trained or initial


def _rotated(
    start: Params, params: Params, prompts: Prompts, rng: np.random.Generator
) -> tuple[Params, Params, Prompts]:
    """The run as it would be with patterns in general position rather than along the axes: no entry is 0 by accident.

    An orthogonal R turns tokens to R p and W_Q, W_K, W_V to W R^T; W_Q and W_K turn by R on the left too, which keeps
    the initial ones symmetric and changes no score.
    """
    R = np.linalg.qr(rng.standard_normal((params.W_Q.shape[1],) * 2))[0]

    def turn(psi: Params) -> Params:
        return psi._replace(W_Q=R @ psi.W_Q @ R.T, W_K=R @ psi.W_K @ R.T, W_V=psi.W_V @ R.T)

    return turn(start), turn(params), type(prompts)(prompts.tokens @ R.T, prompts.labels, prompts.query_attends)


def _sizes(params: Params, prompt: Prompt) -> dict[str, float]:
    """The constants by which a formula may be off; beta is the same on all draws and so fits no better than its value."""
    beta = Problem().beta
    return audited.sizes(params, prompt) | {"beta": beta, "beta^2": beta**2}


subject = Subject(
    name="li2024",
    title=TITLE,
    formulas=formulas,
    points=points,
    definition=audited.definition("hinge"),
    kernel=audited.kernel("hinge"),
    source=audited.source("hinge"),
    gradient=audited.gradient("hinge", times=16),  # as many as are worth merged matrices: the step of a training run
    marked=marked("hinge"),
    sizes=_sizes,
    activity=audited.activity("hinge"),
    rows={"W_O": "neuron", "a": "neuron"},
    conditions=audited.conditions,
    regions=audited.regions,
    on_gpu=audited.on_gpu("hinge"),
    statement=STATEMENT,
)
