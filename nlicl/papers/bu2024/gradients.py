"""The gradient formulas of Bu et al. 2024, literally, and what the audit needs to judge them.

No equation of the paper is known: all formulas are derived from the definition (not the paper's text). With
g = dloss/dF = -y sigmoid(-y F), zeta = r * 1[h > 0], omega = W_O^T zeta, phi_l = omega^T W_V p_l, phibar = sum_l attn_l phi_l:

    chi = sum_l attn_l (phi_l - phibar) p_l,        dF/ds_l = attn_l (phi_l - phibar)

L2 is not part of them: + lambda W for each trained block comes on top, and the mean over the batch. Four losses, so four
subjects, one with parts: all matrices; W_Q and W_K merged; word and label blocks; these on prompts of one concept.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...audit.mistakes import PLAIN, Mark
from ...audit.subject import Formula, Subject
from ...kernels.steps import unmerged
from ...models.transformer import audited
from ...models.transformer.prompts import Params
from ...models.transformer.prompts import Prompt as AnyPrompt
from ...models.transformer.reference import forward
from . import _marked, _points, reference, statement
from .closed import sigmoid
from .prompts import Prompt
from .reference import Blocks, Merged, OneConcept

__all__ = [
    "TITLE",
    "block_subject",
    "dW_K",
    "dW_K1",
    "dW_Kx",
    "dW_O",
    "dW_Oy",
    "dW_Q",
    "dW_Q1",
    "dW_QK",
    "dW_Qx",
    "dW_V",
    "da",
    "formulas",
    "merged_subject",
    "one_concept_subject",
    "subject",
]

TITLE = "Provably Transformers Harness Multi-Concept Word Semantics for Efficient ICL (Bu et al., NeurIPS 2024)"


# ---- All matrices: f(params, prompt), params a `nlicl.Params`


def dW_Q(params: Params, prompt: AnyPrompt) -> np.ndarray:
    """g (W_K chi) p_q^T, (m_a, d)."""
    g, _, chi = _factors(params, prompt)
    return g * np.outer(params.W_K @ chi, prompt.query)


def dW_K(params: Params, prompt: AnyPrompt) -> np.ndarray:
    """g (W_Q p_q) chi^T, (m_a, d)."""
    g, _, chi = _factors(params, prompt)
    return g * np.outer(params.W_Q @ prompt.query, chi)


def dW_V(params: Params, prompt: AnyPrompt) -> np.ndarray:
    """g omega (sum_l attn_l p_l)^T, (m_b, d)."""
    g, zeta, _ = _factors(params, prompt)
    return g * np.outer(params.W_O.T @ zeta, forward(params, prompt).context)


def dW_O(params: Params, prompt: AnyPrompt) -> np.ndarray:
    """g zeta v^T, (m, m_b)."""
    g, zeta, _ = _factors(params, prompt)
    return g * np.outer(zeta, params.W_V @ forward(params, prompt).context)


def da(params: Params, prompt: AnyPrompt) -> np.ndarray:
    """g relu(h), (m,)."""
    g, _, _ = _factors(params, prompt)
    return g * np.maximum(forward(params, prompt).preactivation, 0)


def _factors(params: Params, prompt: AnyPrompt) -> tuple[Any, np.ndarray, np.ndarray]:
    """g, zeta (m,), chi (d,)."""
    out, y, p = forward(params, prompt), prompt.z, prompt.keys
    zeta = params.a * (out.preactivation > 0)
    phi = (params.W_O.T @ zeta) @ params.W_V @ p  # phi_l = omega^T W_V p_l
    phibar = sum(out.attention[l] * phi[l] for l in range(len(phi)))
    chi = sum(out.attention[l] * (phi[l] - phibar) * p[:, l] for l in range(len(phi)))
    return -y * sigmoid(-y * out.score), zeta, chi


# ---- W_Q and W_K as one matrix: f(merged, prompt), merged a `Merged`


def dW_QK(merged: Merged, prompt: AnyPrompt) -> np.ndarray:
    """g chi p_q^T with scores s_l = p_l^T W_QK p_q, (d, d)."""
    g, _, chi = _factors(reference.full_merged(merged), prompt)
    return g * np.outer(chi, prompt.query)


# ---- The blocks that train: f(blocks, prompt), blocks a `Blocks`


def dW_Qx(blocks: Blocks, prompt: Prompt) -> np.ndarray:
    """g (W_K^x chi_x) x_q^T, (d_x, d_x)."""
    g, _, chi_x = _block_factors(blocks, prompt)
    return g * np.outer(blocks.W_Kx @ chi_x, prompt.x_q)


def dW_Kx(blocks: Blocks, prompt: Prompt) -> np.ndarray:
    """g (W_Q^x x_q) chi_x^T, (d_x, d_x)."""
    g, _, chi_x = _block_factors(blocks, prompt)
    return g * np.outer(blocks.W_Qx @ prompt.x_q, chi_x)


def dW_Oy(blocks: Blocks, prompt: Prompt) -> np.ndarray:
    """g zeta v^T with v = sum_l attn_l y_l, (m, d_y)."""
    g, zeta, _ = _block_factors(blocks, prompt)
    return g * np.outer(zeta, reference.forward(blocks, prompt).v)


def _block_factors(blocks: Blocks, prompt: Prompt) -> tuple[Any, np.ndarray, np.ndarray]:
    """g, zeta (m,), chi_x = sum_l attn_l (phi_l - phibar) x_l (d_x,)."""
    out, y_S = reference.forward(blocks, prompt), prompt.z
    zeta = blocks.r * (out.h > 0)
    phi = (blocks.W_Oy.T @ zeta) @ prompt.y  # phi_l = omega^T y_l
    chi_x = sum(out.attn[l] * (phi[l] - out.attn @ phi) * prompt.x[:, l] for l in range(len(phi)))
    return -y_S * sigmoid(-y_S * out.F), zeta, chi_x


# ---- The same on prompts of one concept without noise: f(blocks, prompt), blocks a `OneConcept`


def dW_K1(blocks: OneConcept, prompt: Prompt, mark: Mark = PLAIN) -> np.ndarray:
    """g 4 attn_+ attn_- G (W_Q^x x_q) b_k^T, G = sum_i r_i 1[h_i > 0] <w_i, d_k>, (d_x, d_x)."""
    g, attn_plus, attn_minus, G, x_q, b = _one_concept_factors(blocks, prompt, mark)
    W_Q = mark.matrix("W_Q^x", blocks.W_Q1, "x_q", {"W_K^x": blocks.W_K1})
    return g * 4 * attn_plus * attn_minus * G * np.outer(W_Q @ x_q, b)


def dW_Q1(blocks: OneConcept, prompt: Prompt, mark: Mark = PLAIN) -> np.ndarray:
    """g 4 attn_+ attn_- G (W_K^x b_k) x_q^T, G = sum_i r_i 1[h_i > 0] <w_i, d_k>, (d_x, d_x)."""
    g, attn_plus, attn_minus, G, x_q, b = _one_concept_factors(blocks, prompt, mark)
    W_K = mark.matrix("W_K^x", blocks.W_K1, "b_k", {"W_Q^x": blocks.W_Q1})
    return g * 4 * attn_plus * attn_minus * G * np.outer(W_K @ b, x_q)


def _one_concept_factors(blocks: OneConcept, prompt: Prompt, mark: Mark) -> tuple[Any, ...]:
    """g, attn_+, attn_-, G, x_q (d_x,), b_k (d_x,), marked: these are also the forms that the audit makes mistakes in."""
    out, y_S = reference.forward(blocks, prompt), prompt.z
    same = prompt.signs[:-1] == prompt.signs[-1]
    attn = sum(out.attn[same]), sum(out.attn[~same])
    value = {"relu's value, max(u_i, 0) for 1[u_i > 0]": lambda: np.maximum(out.h, 0)}
    active = mark.gate("relu-gate", "active neurons", "1[u_i > 0]", out.h > 0, value)
    r = mark.factor("r_i in G", blocks.r, doubled=False)
    w_d = mark.other("<w_i, d_k> in G", blocks.W_O1 @ prompt.d, {"<w_i, c_k>": lambda: blocks.W_O1 @ prompt.c})
    G = mark.other("G", sum(r * active * w_d), {"the score F": out.F})
    others = {"sigmoid(z F)": lambda: sigmoid(y_S * out.F), "sigmoid(-F)": lambda: sigmoid(-out.F)}
    slope = mark.factor("sigmoid(-z F)", sigmoid(-y_S * out.F), others, doubled=False)
    y_S = mark.choice(
        "e_q", y_S, "wrong-factor", {"the sign e_q = y_S is there once too often, or once too seldom": 1.0}
    )
    x_q = mark.other("x_q", prompt.x_q, {"b_k": prompt.b, "a_k": prompt.a})
    b = mark.other("b_k", prompt.b, {"a_k": prompt.a, "x_q": prompt.x_q})
    return -y_S * slope, *_attention(*attn, mark), G, x_q, b


def _attention(plus: float, minus: float, mark: Mark) -> tuple[Any, Any]:
    """attn_+ and attn_-, of which one may be missing, or both be something else."""
    wrong = {
        "a factor is absent: attn_-": (plus, 1.0),
        "a factor is absent: attn_+": (1.0, minus),
        "a factor is another one: attn_+^2 for attn_+ attn_-": (plus, plus),
        "a factor is another one: attn_+ - attn_- for attn_+ attn_-": (plus - minus, 1.0),
    }
    return mark.choice("attn", (plus, minus), "wrong-factor", wrong)


# ---- Registered

_SOURCE = "derived from the definition (not the paper's text)"
_FROZEN = _SOURCE + "; frozen in training [recalled]"


def _formula(name: str, function: Callable[..., np.ndarray], source: str = _SOURCE) -> Formula:
    return Formula(function, name, name, (function.__doc__ or "").rpartition(", (")[0].strip() or name, source)


formulas = {
    formula.name: formula
    for formula in (
        _formula("W_Q", dW_Q),
        _formula("W_K", dW_K),
        _formula("W_V", dW_V, _FROZEN),
        _formula("W_O", dW_O),
        _formula("a", da, _FROZEN),
        _formula("W_QK", dW_QK),
        _formula("W_Qx", dW_Qx),
        _formula("W_Kx", dW_Kx),
        _formula("W_Oy", dW_Oy),
        _formula("W_Q1", dW_Q1),
        _formula("W_K1", dW_K1),
    )
}


def _subject(names: tuple[str, ...], parts: tuple[Subject, ...] = (), **functions: Any) -> Subject:
    mine = {name: formulas[name] for name in names}
    return Subject(name="bu2024", title=TITLE, formulas=mine, parts=parts, sizes=_points.sizes, **functions)


merged_subject = _subject(
    ("W_QK",),
    statement=statement.MERGED,
    points=_points.merged,
    definition=reference.evaluate_merged,
    kernel=_points.merged_kernel(),
    source=_points.merged_kernel(source=True),
    gradient=_points.merged_gradient,
    marked=_marked.of_merged,
    activity=_points.activity(reference.evaluate_merged),
    conditions=lambda merged, prompt: audited.conditions(reference.full_merged(merged), prompt),
    computed_by="mean over a batch, nlicl.loss_and_grad with W_K = I, its gradient of W_Q",
)
"""The audit's subject for the model with one bilinear matrix: formulas f(merged, prompt), parameter W_QK."""

block_subject = _subject(
    ("W_Qx", "W_Kx", "W_Oy"),
    statement=statement.BLOCKS,
    points=_points.blocks,
    definition=reference.evaluate,
    kernel=_points.block_kernel(),
    source=_points.block_kernel(source=True),
    gradient=_points.block_gradient(reference.Blocks),
    marked=_marked.of_blocks,
    activity=_points.activity(reference.evaluate),
    rows={"W_Oy": "neuron"},
    regions=lambda blocks, prompt: audited.of_neurons(reference.forward(blocks, prompt).h, blocks, "W_Oy", "r"),
    conditions=_points.conditions,
    computed_by="mean over a batch, nlicl.loss_and_grad, its block of words or labels",
)
"""The audit's subject for the blocks that train: formulas f(blocks, prompt), parameters W_Qx, W_Kx, W_Oy."""

one_concept_subject = _subject(
    ("W_Q1", "W_K1"),
    statement=statement.ONE_CONCEPT,
    points=_points.one_concept,
    definition=reference.evaluate,
    kernel=_points.block_kernel(),
    source=_points.block_kernel(source=True),
    gradient=_points.block_gradient(reference.OneConcept),
    marked={"W_Q1": dW_Q1, "W_K1": dW_K1},
    activity=_points.activity(reference.evaluate),
    conditions=_points.conditions,
    computed_by="mean over a batch, nlicl.loss_and_grad on codes, its block of words",
)
"""The audit's subject for prompts of one concept without noise: formulas f(blocks, prompt), parameters W_Q1, W_K1."""

subject = _subject(
    ("W_Q", "W_K", "W_V", "W_O", "a"),
    statement=statement.FULL,
    parts=(merged_subject, block_subject, one_concept_subject),
    points=_points.all_matrices,
    definition=audited.definition("logistic"),
    kernel=audited.kernel("logistic", unmerged.forward),
    source=audited.source("logistic", unmerged.forward),
    gradient=audited.gradient("logistic"),
    marked=_marked.of_all,
    activity=audited.activity("logistic"),
    rows={"W_O": "neuron", "a": "neuron"},
    conditions=audited.conditions,
    regions=audited.regions,
    on_gpu=audited.on_gpu("logistic"),
)
