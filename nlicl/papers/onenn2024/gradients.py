"""The gradient formulas of Li et al. 2024 and of Athreya and Wang, and what the audit needs to judge them.

The right ones are [derived]. Printed ones are in the text of Athreya and Wang; whether Li et al. have them is not known.
Rows belong to keys, columns to the query, whose token h_0 is one of the keys.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...audit.subject import Formula, Subject
from ...models.nearest import reference as model
from ...models.nearest.prompts import Params, Prompt
from ...models.overflow import finite
from . import _marked, _marked_means, _points, reference, statement
from .reference import Averaged, Cosines, Inputs, Mixture, Squentropy, Traces, Xi

__all__ = [
    "TITLE",
    "dW",
    "dW_cross_entropy",
    "dW_labels",
    "dW_labels_printed",
    "dW_matrix",
    "dW_mixture",
    "dW_squentropy",
    "dtraces",
    "dtraces_printed",
    "dxi",
    "dxi_printed",
    "formulas",
    "labels_subject",
    "mixture_subject",
    "squentropy_subject",
    "subject",
    "traces_subject",
    "xi_subject",
]

TITLE = "One-Layer Transformer Provably Learns One-Nearest Neighbor In Context (Li et al., NeurIPS 2024; Athreya, Wang)"


# ---- One prompt, in W


def dW(params: Params, prompt: Prompt) -> np.ndarray:
    """sum_{j=0..N} q_j <r, v_j - l> h_j h_0^T, r = l - u, (E, E)."""
    l, q = model.forward(params, prompt)
    return _token_form(l, q, l - prompt.target, prompt)


def dW_matrix(params: Params, prompt: Prompt) -> np.ndarray:
    """H (diag(q) - q q^T) V^T r h_0^T, V the label rows of H, r = l - u, (E, E)."""
    l, q = model.forward(params, prompt)
    H, V = prompt.P, prompt.V
    return np.outer(H @ (np.diag(q) - np.outer(q, q)) @ V.T @ (l - prompt.target), prompt.h_0)


def dW_mixture(params: Mixture, prompt: Prompt) -> np.ndarray:
    """The token form, r = (1-c)(l - u) + c (softmax(l) - e_{c*}), (E, E)."""
    l, q = model.forward(Params(params.W_mixture), prompt)
    c = prompt.mixture
    r = (1 - c) * (l - prompt.target) + c * (_softmax(l) - np.eye(len(l))[prompt.c])
    return _token_form(l, q, r, prompt)


def dW_cross_entropy(params: Mixture, prompt: Prompt) -> np.ndarray:
    """The token form, r = softmax(l) - e_{c*}, (E, E)."""
    l, q = model.forward(Params(params.W_mixture), prompt)
    return _token_form(l, q, _softmax(l) - np.eye(len(l))[prompt.c], prompt)


def dW_squentropy(params: Squentropy, prompt: Prompt) -> np.ndarray:
    """The token form, r = softmax(l) - e_{c*} + 2/(K-1) (l_k 1[k != c*])_k, (E, E)."""
    l, q = model.forward(Params(params.W_squentropy), prompt)
    e = np.eye(len(l))[prompt.c]
    return _token_form(l, q, _softmax(l) - e + 2 / (len(l) - 1) * l * (1 - e), prompt)


def _token_form(l: np.ndarray, q: np.ndarray, r: np.ndarray, prompt: Prompt) -> np.ndarray:
    H, V, h_0 = prompt.P, prompt.V, prompt.h_0
    total = sum(q[j] * (r @ (V[:, j] - l)) * np.outer(H[:, j], h_0) for j in range(len(q)))
    return np.asarray(total)


def _softmax(scores: np.ndarray) -> np.ndarray:
    exps = np.exp(finite("a score", scores) - scores.real.max())
    return np.asarray(exps / exps.sum())


# ---- Labels averaged, in W


def dW_labels(weights: Averaged, inputs: Inputs) -> np.ndarray:
    """sum_{j=0..N} gamma_j (x_j, 0, 1[j=0]) h_0^T, gamma_j = kappa q_j (q_j - 1[j=i*] + omega), gamma_0 = kappa q_0 omega, (E, E)."""  # noqa: E501
    H, gamma = _weighted(weights, inputs)
    return np.outer(H @ gamma, H[:, -1])


def dW_labels_printed(weights: Averaged, inputs: Inputs) -> np.ndarray:
    """W_11: sum_{j=1..N} gamma_j x_j x_0^T, with their natural coefficients; the other blocks as in W_labels, (E, E)."""
    H, gamma = _weighted(weights, inputs)
    d = len(inputs.X)
    found = np.outer(H @ gamma, H[:, -1])
    found[:d, :d] = np.outer(inputs.X[:, :-1] @ gamma[:-1], inputs.X[:, -1])
    return found


def _weighted(weights: Averaged, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Columns (x_j, 0, 1[j=0]), and gamma_j, the query's last."""
    W, (d, rows) = weights.W_labels, inputs.X.shape
    H = np.zeros((len(W), rows))
    H[:d], H[-1, -1] = inputs.X, 1
    return H, _gamma(_softmax(H.T @ W @ H[:, -1]), inputs.nearest, inputs.kappa)


def _gamma(q: np.ndarray, nearest: int, kappa: float) -> np.ndarray:
    *context, q_0 = q
    q_near = context[nearest]
    omega = q_near * q_0 + sum(q_j * (q_near - q_j) for q_j in context)
    gamma = [kappa * q_j * (q_j - (j == nearest) + omega) for j, q_j in enumerate(context)]
    return np.array([*gamma, kappa * q_0 * omega])


# ---- Labels averaged, on the family


def dxi(weights: Xi, cosines: Cosines) -> np.ndarray:
    """partial_1 = kappa ( sum_{j<=N} q_j^2 (t_j - tbar) - q_{i*} (t_{i*} - tbar) ), partial_2 = -kappa q_0 omega, (2,)."""
    return np.array(_partials(weights.xi, cosines))


def dxi_printed(weights: Xi, cosines: Cosines) -> np.ndarray:
    """partial_1 as in xi, partial_2 = -kappa q_0 ( q_{i*} - sum_{j<=N} q_j^2 ), (2,)."""
    q, i = _family_attention(weights.xi, cosines), cosines.nearest
    first, _ = _partials(weights.xi, cosines)
    return np.array([first, -cosines.kappa * q[-1] * (q[i] - (q[:-1] ** 2).sum())])


def dtraces(weights: Traces, cosines: Cosines) -> np.ndarray:
    """(partial_1 / d, partial_2): minus the steps of xi1 and xi2 under gradient descent in W, over eta, (2,)."""
    first, second = _partials(_xi_of(weights, cosines), cosines)
    return np.array([first / cosines.d, second])


def dtraces_printed(weights: Traces, cosines: Cosines) -> np.ndarray:
    """(partial_1, partial_2): steps -eta dL/dxi1 and -eta dL/dxi2, (2,)."""
    return np.array(_partials(_xi_of(weights, cosines), cosines))


def _xi_of(weights: Traces, cosines: Cosines) -> np.ndarray:
    return np.array([weights.traces[0] / cosines.d, weights.traces[1]])


def _family_attention(xi: np.ndarray, cosines: Cosines) -> np.ndarray:
    return _softmax(np.append(xi[0] * cosines.t, xi[0] - xi[1]))


def _partials(xi: np.ndarray, cosines: Cosines) -> tuple[float, float]:
    t, q, i = cosines.t, _family_attention(xi, cosines), cosines.nearest
    tbar = q[:-1] @ t + q[-1]
    first = (q[:-1] ** 2 * (t - tbar)).sum() - q[i] * (t[i] - tbar)
    omega = q[i] * q[-1] + (q[:-1] * (q[i] - q[:-1])).sum()
    return cosines.kappa * first, -cosines.kappa * q[-1] * omega


# ---- Registered

_MODEL = "model and loss of Athreya and Wang, (2)-(8) [paper], gradient by nlicl [derived]"
_LOSSES = "losses of the experiments of Athreya and Wang [paper], gradient by nlicl [derived]"
_MEANS = "labels averaged by nlicl [derived]; Athreya and Wang's Lemmas 2 and 4 are this on the family"


def _formula(name: str, wrt: str, function: Callable[..., np.ndarray], source: str, **more: Any) -> Formula:
    equation = (function.__doc__ or "").split(", (E, E)")[0].split(", (2,)")[0].strip()
    return Formula(function, name, wrt, equation or name, source, **more)


formulas = {
    formula.name: formula
    for formula in (
        _formula("W", "W", dW, _MODEL),
        _formula("W_matrix", "W", dW_matrix, _MODEL),
        _formula("W_mixture", "W_mixture", dW_mixture, _LOSSES),
        _formula("W_ce", "W_mixture", dW_cross_entropy, _LOSSES, domain=_points.CROSS_ENTROPY),
        _formula("W_squentropy", "W_squentropy", dW_squentropy, _LOSSES),
        _formula("W_labels", "W_labels", dW_labels, _MEANS),
        _formula(
            "W11_printed",
            "W_labels",
            dW_labels_printed,
            "Athreya and Wang, (10) [paper], with natural coefficients g_i [the reading is ours]",
            erratum="the sum runs over contexts only; the query's own token, gamma_0 x_0 x_0^T, is missing. With other "
            "coefficients, which the text leaves open, the display can be made true: both sides are multiples of I",
            expected="disagree",
        ),
        _formula("xi", "xi", dxi, _MEANS),
        _formula("xi2_printed", "xi", dxi_printed, "Athreya and Wang, (14) [paper], as a derivative by xi2"),
        _formula("xi_step", "traces", dtraces, "the step of gradient descent in W, over -eta [derived]"),
        _formula(
            "xi1_step_printed",
            "traces",
            dtraces_printed,
            "Athreya and Wang, proof of Lemma 6 [paper]",
            erratum="the step of xi1 is -(eta/d) dL/dxi1: W_11 has d entries xi1. Lemma 6 itself, with d/eta on its left "
            "side, agrees with this",
            expected="disagree",
        ),
    )
}


def _subject(wrt: str, **functions: Any) -> Subject:
    """The subject of one loss, which has no kinks."""
    return Subject(
        name="onenn2024",
        title=TITLE,
        formulas={name: formula for name, formula in formulas.items() if formula.wrt == wrt},
        **functions,
    )


def _of_prompts(loss: str, kind: Any, **more: Any) -> Subject:
    wrt = kind._fields[0]
    return _subject(
        wrt,
        points=_points.of_prompts(loss, kind),
        definition=reference.of_loss(loss),
        kernel=_points.prompt_kernel(loss),
        source=_points.prompt_kernel(loss, source=True),
        gradient=_points.prompt_gradient(loss, kind),
        sizes=_points.prompt_sizes,
        conditions=_points.prompt_conditions,
        regions=_points.prompt_regions,
        marked={wrt: _marked.gradient(loss)},
        computed_by=f"mean over a batch, nlicl.loss_and_grad(..., loss={loss!r})[1].W",
        **more,
    )


def _plain(loss: Callable[..., Any]) -> Callable[..., Any]:
    return lambda params, prompt: (loss(params, prompt), np.empty(0))


mixture_subject = _of_prompts("mixture", Mixture, statement=statement.MIXTURE)
"""The audit's subject for the mixture of squared loss and cross-entropy: formulas f(params, prompt), parameter W_mixture."""

squentropy_subject = _of_prompts("squentropy", Squentropy, statement=statement.SQUENTROPY)
"""The audit's subject for squentropy: formulas f(params, prompt), parameter W_squentropy."""

labels_subject = _subject(
    "W_labels",
    points=_points.of_inputs,
    definition=_plain(reference.label_averaged_loss),
    kernel=_points.inputs_kernel(),
    source=_points.inputs_kernel(source=True),
    gradient=_points.inputs_gradient,
    sizes=_points.inputs_sizes,
    marked={"W_labels": _marked_means.dW},
    statement=statement.LABELS,
    computed_by="mean over all label vectors, nlicl.kernels.steps.nearest.step",
)
"""The audit's subject for one set of inputs, labels averaged: formulas f(weights, inputs), parameter W_labels."""

_family = partial(
    _subject,
    definition=_plain(reference.reduced_loss),
    kernel=_points.cosines_kernel(),
    source=_points.cosines_kernel(source=True),
    sizes=_points.family_sizes,
)

xi_subject = _family(
    "xi",
    points=_points.of_cosines(lambda xi1, xi2, d: Xi(np.array([xi1, xi2]))),
    gradient=_points.xi_gradient,
    marked={"xi": _marked_means.dxi},
    statement=statement.XI,
    computed_by="nlicl.papers.onenn2024.population.moments",
)
"""The audit's subject for the closed system: formulas f(weights, cosines), parameter xi."""

traces_subject = _family(
    "traces",
    points=_points.of_cosines(lambda xi1, xi2, d: Traces(np.array([d * xi1, xi2]))),
    gradient=_points.traces_gradient,
    marked={"traces": _marked_means.dtraces},
    statement=statement.TRACES,
    computed_by="nlicl.loss_and_grad on a Law, the entries of W_11's diagonal and minus that of W_33",
)
"""The audit's subject for the steps of gradient descent in W: formulas f(weights, cosines), parameter traces."""

subject = _of_prompts(
    "squared",
    Params,
    statement=statement.SQUARED,
    parts=(mixture_subject, squentropy_subject, labels_subject, xi_subject, traces_subject),
)
