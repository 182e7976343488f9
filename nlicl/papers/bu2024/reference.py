"""The definition in the paper's reduced parametrisation: words score, labels pass, line by line, in plain NumPy.

    attn_l = softmax_l( (W_K^x x_l)^T W_Q^x x_q )      v = sum_l attn_l y_l      h = W_O^y v      F = r^T relu(h)

The same function as in `nlicl.models.transformer.reference` with W_Q = [W_Q^x 0], W_K = [W_K^x 0], W_V = [0 I],
W_O = W_O^y, a = r, which `full` makes. Softmax over the demonstrations, no 1/sqrt(d), no bias [recalled]; logistic loss
[paper]. Any dtype, complex included.
"""

from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import fitting
from ...core.checks import instance
from ...models.overflow import finite
from ...models.prompt import Prompt as AnyPrompt
from ...models.regression.reference import softmax
from ...models.transformer.prompts import Params
from ...models.transformer.reference import logistic, relu
from .prompts import Prompt

__all__ = [
    "Blocks",
    "Forward",
    "Merged",
    "OneConcept",
    "evaluate",
    "evaluate_merged",
    "forward",
    "full",
    "full_merged",
]


class Blocks(NamedTuple):
    """The blocks that train, and r.

    Attributes
    ----------
    W_Qx, W_Kx : ndarray (d_x, d_x)
        W_Q^x and W_K^x.
    W_Oy : ndarray (m, d_y)
    r : ndarray (m,)
    """

    W_Qx: np.ndarray
    W_Kx: np.ndarray
    W_Oy: np.ndarray
    r: np.ndarray


class OneConcept(NamedTuple):
    """The same blocks, where prompts are of one concept without noise and gradients have a closed form."""

    W_Q1: np.ndarray
    W_K1: np.ndarray
    W_O1: np.ndarray
    r: np.ndarray


class Merged(NamedTuple):
    """The model with one bilinear matrix: s_l = p_l^T W_QK p_q; W_QK (d, d), else as in `nlicl.Params`."""

    W_QK: np.ndarray
    W_V: np.ndarray
    W_O: np.ndarray
    a: np.ndarray


class Forward(NamedTuple):
    """Of one prompt: score F, attention attn (L,), label v (d_y,), pre-activations h (m,)."""

    F: complex
    attn: np.ndarray
    v: np.ndarray
    h: np.ndarray


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def forward(blocks: Blocks | OneConcept, prompt: Prompt) -> Forward:
    """The model on one prompt, a `bu2024.Prompt`; `blocks` a `Blocks` or a `OneConcept`."""
    d_x = instance("prompt", prompt, Prompt, "prompts[i]").d_x
    sizes = {"d_x": (d_x, "prompt"), "d_y": (prompt.tokens.shape[1] - d_x, "prompt")}
    W_Qx, W_Kx, W_Oy, r = _checked(blocks, sizes)
    scores = (W_Kx @ prompt.x).T @ (W_Qx @ prompt.x_q)  # (W_K^x x_l)^T W_Q^x x_q
    attn = softmax(scores)
    v = prompt.y @ attn  # v = sum_l attn_l y_l
    h = finite("a pre-activation", W_Oy @ v)
    return Forward(finite("F", r @ relu(h)), attn, v, h)


def evaluate(blocks: Blocks | OneConcept, prompt: Prompt) -> tuple[Any, np.ndarray]:
    """(loss, margins) of one prompt: log(1 + exp(-y F)), and h, whose zeros are the loss's kinks."""
    out = forward(blocks, prompt)
    return logistic(prompt.z * out.F), out.h


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def evaluate_merged(merged: Merged, prompt: AnyPrompt) -> tuple[Any, np.ndarray]:
    """(loss, margins) of one prompt in the merged model, for any `nlicl.Prompt`."""
    W_QK, W_V, W_O, a = _checked_merged(merged, instance("prompt", prompt, AnyPrompt, "prompts[i]").tokens.shape[1])
    p = prompt.keys
    scores = p.T @ (W_QK @ prompt.query)  # s_l = p_l^T W_QK p_q
    h = finite("a pre-activation", W_O @ ((W_V @ p) @ softmax(scores)))
    return logistic(prompt.z * finite("F", a @ relu(h))), h


def full(blocks: Blocks | OneConcept) -> Params:
    """The `Params` of the same function: zero label columns in W_Q and W_K, W_V = [0 I]."""
    W_Qx, W_Kx, W_Oy, r = _checked(blocks, {})
    d_x, d_y = W_Qx.shape[1], W_Oy.shape[1]
    blank = np.zeros((d_x, d_y))
    W_V = np.hstack([np.zeros((d_y, d_x)), np.eye(d_y)]).astype(W_Oy.dtype)
    return Params(np.hstack([W_Qx, blank]), np.hstack([W_Kx, blank]), W_V, W_Oy, r)


def full_merged(merged: Merged) -> Params:
    """The `Params` of the same function: W_Q = W_QK and W_K the identity."""
    W_QK, W_V, W_O, a = _checked_merged(merged)
    return Params(W_QK, np.eye(len(W_QK), dtype=W_QK.dtype), W_V, W_O, a)


# ---- Checks

_SQUARE = ("(d_x, d_x)", "(d_x, d_x)", "(m, d_y)", "(m,)")
_MERGED = ("(d, d)", "(m_b, d)", "(m, m_b)", "(m,)")


def _checked(blocks: Any, sizes: dict[str, tuple[int, str]]) -> tuple[np.ndarray, ...]:
    """The four blocks, of floating or complex numbers, whose shapes go together, and with these sizes."""
    if not isinstance(blocks, OneConcept):
        instance("blocks", blocks, Blocks)
    return _fitting("blocks", blocks, _SQUARE, sizes)


def _checked_merged(merged: Any, d: int | None = None) -> tuple[np.ndarray, ...]:
    sizes = {} if d is None else {"d": (d, "prompt")}
    return _fitting("merged", instance("merged", merged, Merged), _MERGED, sizes)


def _fitting(
    name: str, record: Any, shapes: tuple[str, ...], sizes: dict[str, tuple[int, str]]
) -> tuple[np.ndarray, ...]:
    named = {f"{name}.{field}": array for field, array in record._asdict().items()}
    return tuple(fitting(named, dict(zip(named, shapes, strict=True)), sizes, complex_too=True))
