"""The gradient formulas of Huang et al. 2023, literally, and what the audit needs to judge them.

None is a quotation: the content is [derived]; that of the increments alpha and beta has the form of the paper's [recalled].
Three losses, so three subjects, one with parts (see `.reference`). Rows belong to keys, columns to the query.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...audit.subject import Formula, Subject
from ...models.front import loss_and_grad
from ...models.overflow import finite
from ...models.regression.prompts import Params, Prompt
from . import _marked, _marked_means, _points, reference, statement
from .reference import Counted, Population, PopulationWeights, Weights

__all__ = [
    "TITLE",
    "alpha_beta",
    "dQ",
    "dQ_coded",
    "dQ_unmasked",
    "dS_prompt",
    "dS_unmasked",
    "formulas",
    "population_subject",
    "subject",
    "task_averaged_subject",
]

TITLE = "In-Context Convergence of Transformers (Huang, Cheng, Liang, ICML 2024)"


# ---- One prompt, in Q


def dQ(params: Params, prompt: Prompt) -> np.ndarray:
    """(yhat - y_query) sum_i attn_i (y_i - yhat) x_i x_query^T, (d, d)."""
    return _token_form(params.Q, prompt.X, prompt.y, prompt.x_query, prompt.z)


def dQ_unmasked(params: Params, prompt: Prompt) -> np.ndarray:
    """(yhat - y_query) sum_{i <= N+1} attn_i (y_i - yhat) x_i x_query^T, the query among the i, its label 0, (d, d)."""
    return _token_form(params.Q, prompt.P[:-1], prompt.P[-1], prompt.x_query, prompt.z)


def _token_form(Q: np.ndarray, X: np.ndarray, y: np.ndarray, x_query: np.ndarray, y_query: Any) -> np.ndarray:
    attn = _softmax(finite("a score", X.T @ Q @ x_query))
    yhat = sum(attn[i] * y[i] for i in range(len(y)))
    total = sum(attn[i] * (y[i] - yhat) * np.outer(X[:, i], x_query) for i in range(len(y)))
    return (yhat - y_query) * total


def dQ_coded(params: Params, prompt: Prompt) -> np.ndarray:
    """V g v_k^T, g_n = (yhat - omega_k) Attn_n (omega_n - yhat), Attn_n ~ c_n exp(v_n^T Q v_k), (d, d)."""
    V, c, omega, k = prompt.code
    with np.errstate(divide="ignore"):
        Attn = _softmax(finite("a score", V.T @ params.Q @ V[:, k]) + np.log(c))
    yhat = Attn @ omega
    g = (yhat - omega[k]) * Attn * (omega - yhat)
    return np.outer(V @ g, V[:, k])


# ---- One prompt, averaged over its task, in S = V^T Q V


def dS_prompt(weights: Weights, counted: Counted) -> np.ndarray:
    """Column k: a_n (e_n - sum_m a_m e_m), a = softmax_m(S[m,k] + log c_m), e = a - e_k; the other columns are 0, (K, K)."""
    c, k, _ = counted
    with np.errstate(divide="ignore"):
        a = _softmax(weights.S[:, k] + np.log(c))
    e = a - np.eye(len(a))[k]
    gradient = np.zeros_like(weights.S)
    gradient[:, k] = a * (e - a @ e)
    return gradient


def dS_unmasked(weights: Weights, counted: Counted) -> np.ndarray:
    """Column k: a_n (a_n - 1{n=k} - r) - 1{n=k} a_0 r, r = sum_m a_m^2 - a_k, a_0 the query's attention on itself, (K, K)."""
    c, k, _ = counted
    with np.errstate(divide="ignore"):
        scores = np.append(weights.S[:, k] + np.log(c), weights.S[k, k])
    *a, a_0 = _softmax(scores)
    r = sum(a_m**2 for a_m in a) - a[k]
    gradient = np.zeros_like(weights.S)
    for n in range(len(a)):
        gradient[n, k] = a[n] * (a[n] - (n == k) - r) - (n == k) * a_0 * r
    return gradient


# ---- The population, in S


def alpha_beta(weights: PopulationWeights, population: Population) -> np.ndarray:
    """-D, D[k,k] = alpha_k = E 1{x_query=v_k} Attn_k (sum_{m!=k} Attn_m^2 + (1 - Attn_k)^2), D[n,k] = beta_{k,n} = E 1{x_query=v_k} Attn_n (sum_{m!=k} Attn_m^2 - Attn_n - Attn_k (1 - Attn_k)), (K, K)."""  # noqa: E501
    p, N, _ = population
    D = np.zeros_like(weights.AB)
    for c, probability in _counts(p, N):
        for k in range(len(p)):
            with np.errstate(divide="ignore"):
                Attn = _softmax(weights.AB[:, k] + np.log(c))
            others = sum(Attn[m] ** 2 for m in range(len(p)) if m != k)
            for n in range(len(p)):
                if n == k:
                    increment = Attn[k] * (others + (1 - Attn[k]) ** 2)
                else:
                    increment = Attn[n] * (others - Attn[n] - Attn[k] * (1 - Attn[k]))
                D[n, k] += p[k] * probability * increment
    return -D


def _counts(p: np.ndarray, N: int) -> Iterator[tuple[np.ndarray, float]]:
    """All count vectors of N contexts with their multinomial probabilities."""
    for c in itertools.product(range(N + 1), repeat=len(p)):
        if sum(c) == N:
            ways = math.factorial(N) / math.prod(map(math.factorial, c))
            yield np.array(c), ways * np.prod(p ** np.array(c))


def _softmax(scores: np.ndarray) -> np.ndarray:
    exps = np.exp(scores - scores.real.max())
    return exps / exps.sum()


# ---- Registered


def _formula(
    name: str, wrt: str, function: Callable[..., np.ndarray], source: str, query_attends: bool = False
) -> Formula:
    equation = (function.__doc__ or "").split(", (d, d)")[0].split(", (K, K)")[0].strip()
    return Formula(function, name, wrt, equation or name, source, query_attends=query_attends)


_PAPER = "model and loss of Huang, Cheng, Liang 2023 [paper; mask and factor 1/2 recalled], gradient by nlicl [derived]"
_TWIN = "its twin with the query among the keys, not the paper's model [derived]"
_INCREMENTS = "increments of Huang, Cheng, Liang 2023: form [recalled], content [derived]; they are minus the gradient"

formulas = {
    formula.name: formula
    for formula in (
        _formula("Q", "Q", dQ, _PAPER),
        _formula("Q_coded", "Q", dQ_coded, _PAPER),
        _formula("Q_unmasked", "Q", dQ_unmasked, _TWIN, True),
        _formula("S_prompt", "S", dS_prompt, _PAPER),
        _formula("S_unmasked", "S", dS_unmasked, _TWIN, True),
        _formula("alpha_beta", "AB", alpha_beta, _INCREMENTS),
    )
}


def _subject(
    wrt: str, loss: Callable[..., Any], kernel: Callable[..., Any], marked: Callable[..., np.ndarray], **functions: Any
) -> Subject:
    """The subject of one loss, which has no kinks; `kernel(source)` makes the kernel's, or its source's, mean loss."""
    return Subject(
        name="huang2023",
        title=TITLE,
        formulas={name: formula for name, formula in formulas.items() if formula.wrt == wrt},
        definition=lambda params, prompt: (loss(params, prompt), np.empty(0)),
        kernel=kernel(),
        source=kernel(source=True),
        marked={wrt: marked},
        activity=_points.activity(marked),
        **functions,
    )


task_averaged_subject = _subject(
    "S",
    reference.task_averaged_loss,
    _points.task_averaged_kernel,
    _marked_means.dS,
    points=_points.of_counts,
    gradient=_points.task_averaged_gradient,
    statement=statement.TASK_AVERAGED,
    sizes=lambda weights, counted: {"N": counted.counts.sum(), "K": len(weights.S)},
    conditions=_points.counted_conditions,
    regions=_points.counted_regions,
    computed_by="mean over tasks, nlicl.kernels.steps.regression.coded_step with V = I",
)
"""The audit's subject for losses of one prompt averaged over its task: formulas f(weights, counted), parameter S."""

population_subject = _subject(
    "AB",
    reference.population_loss,
    _points.population_kernel,
    _marked_means.dAB,
    points=_points.of_populations,
    gradient=_points.population_gradient,
    statement=statement.POPULATION,
    sizes=lambda weights, law: {"N": law.length, "K": len(law.p)},
    computed_by="nlicl.papers.huang2023.population.increments, times -1",
)
"""The audit's subject for the population loss: formulas f(weights, population), parameter AB."""

subject = _subject(
    "Q",
    reference.loss,
    _points.prompt_kernel,
    _marked.dQ,
    points=_points.of_prompts,
    gradient=lambda params, prompts: loss_and_grad(params, prompts)[1],
    sizes=_points.sizes,
    conditions=_points.conditions,
    statement=statement.PROMPT,
    parts=(task_averaged_subject, population_subject),
)
