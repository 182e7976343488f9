"""What a training run of GPT-2 on Li et al. 2024 records as it goes: errors in and out of domain, attention, neurons.

| paper                                                  | here                  |
|--------------------------------------------------------|-----------------------|
| attention mass by layer, Figure 6                      | `attention_mass`      |
| magnitude and angle of neurons by layer, Figure 7      | `neurons`             |

In the one-layer model a neuron is a row of W_O W_V: what the MLP's first layer makes of a token that it gets by attention.
Here that way leads through two LayerNorms and the heads of a block. They are linear but for a factor, 1/sqrt(variance), which
scales a row and does not turn it. So for block l, with P = 1 - (1/C) 1 1^T, which takes the mean off,

    "value"    W_fc diag(gamma_2) P W_o W_v diag(gamma_1) P W_in       from a token, by attention
    "direct"   W_fc diag(gamma_2) P W_in                               from the query itself, by the residual stream

are rows in the space of tokens. This is our choice: the paper does not say how it takes Figure 7. What the blocks below add to
the residual stream is left out. The way by attention is the one-layer model's, so it is what a run records.
"""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...core.arrays import real_array
from ...core.checks import choice, instance, integer, real
from ...core.errors import InvalidValue
from ...core.memory import check_memory
from ...models.front import forward
from ...models.gpt2.prompts import Params, checked_params
from ...models.overflow import finite
from ...models.transformer.prompts import CodedPrompts
from .errors import wrong
from .mechanism import Parts, parts
from .observer import drawn_tests

if TYPE_CHECKING:
    from .gpt2 import GPT2

__all__ = ["GPT2Observer", "attention_mass", "neurons"]

_PATHS = ("value", "direct")


class AttentionMass(NamedTuple):
    """Attention of the query in each layer, the mean over heads and prompts. The three add up to 1.

    Attributes
    ----------
    same : ndarray (L,)
        On contexts that carry the query's relevant pattern.
    other : ndarray (L,)
        On the other contexts.
    query : ndarray (L,)
        On the query itself.
    """

    same: np.ndarray
    other: np.ndarray
    query: np.ndarray


def attention_mass(attention: np.ndarray, codes: CodedPrompts) -> AttentionMass:
    """Where the query attends to.

    Parameters
    ----------
    attention : ndarray (B, L, H, T)
        The last token's, as `nlicl.forward` returns it. T is l + 1, or 2 l + 1 where x and y of a context are tokens of their
        own: then a context has the mass of both.
    codes : CodedPrompts
        The prompts it belongs to, with all their contexts.

    Returns
    -------
    AttentionMass

    Raises
    ------
    TypeError
        Prompts that are not coded: tokens alone do not say which pattern they carry.
    ValueError
        Attention of other prompts, by its shape.
    """
    codes = instance(
        "codes", codes, CodedPrompts, "as problem.codes gives them: they say which pattern a token carries"
    )
    attention = real_array(attention, "attention", "(B, L, H, T)")
    l, (B, _, _, T) = codes.length, attention.shape
    if len(codes) != B or T not in (l + 1, 2 * l + 1):
        raise InvalidValue(
            f"attention has shape {attention.shape}; expected ({len(codes)}, L, H, T) with T = {l + 1} or {2 * l + 1} tokens. "
            "Take it from nlicl.forward(params, problem.prompts_of(codes)).attention."
        )
    by_token = attention.mean(axis=2)  # (B, L, T)
    contexts = by_token[:, :, :-1].reshape(B, -1, l, (T - 1) // l).sum(axis=3)  # (B, L, l): of x and y together
    carries = (codes.relevant[:, :l] == codes.relevant[:, l:])[:, None]
    same, all_contexts = (contexts * carries).sum(axis=2), contexts.sum(axis=2)
    return AttentionMass(same.mean(axis=0), (all_contexts - same).mean(axis=0), by_token[:, :, -1].mean(axis=0))


def neurons(params: Params, mu_bar: np.ndarray, q: np.ndarray, path: str = "value") -> Parts:
    """Magnitudes and directions of each layer's neurons in the space of tokens, as the module's docstring defines their rows.

    Parameters
    ----------
    params : Params
    mu_bar : ndarray (d_X,)
        The average relevant pattern.
    q : ndarray (d_Y,)
        The label embedding, d_X + d_Y = d.
    path : {"value", "direct"}

    Returns
    -------
    Parts
        Arrays (L, M).

    Raises
    ------
    TypeError, ValueError
        Parameters that do not fit together; lengths that do not add up to d; a direction that is zero.
    """
    W = checked_params(params)
    path = choice("path", path, _PATHS)
    L, _, H, D, C = W.W_qkv.shape
    read_in = W.W_in  # (C, d)
    rows = []
    for l in range(L):
        first = _without_mean(W.W_fc[l] * W.gamma_2[l])  # W_fc diag(gamma_2) P
        if path == "value":
            W_v = _without_mean(W.W_qkv[l, 2].reshape(H * D, C) * W.gamma_1[l])  # W_v diag(gamma_1) P, all heads
            first = first @ W.W_o[l] @ W_v
        rows.append(finite("a neuron", first @ read_in))
    return Parts(*(part.reshape(L, -1) for part in parts(np.concatenate(rows), mu_bar, q)))


def _without_mean(rows: np.ndarray) -> np.ndarray:
    """Rows (n, C) times P, which takes the mean of what they are applied to off."""
    return rows - rows.mean(axis=1, keepdims=True)


class GPT2Observer:
    """Measures parameters on test prompts that are drawn once.

    Parameters
    ----------
    problem : GPT2
        In domain.
    n : int
        Prompts for each of the three tests: training tasks, unseen tasks (T without T_tr), out of domain.
    seed : int
        Test prompts of a seed are independent of its training prompts.
    S_1, alpha : float
        Of the out-of-domain test: 1.2 and 0.8, as in the one-layer `Observer`.

    Notes
    -----
    A call with parameters returns a dict. TEST stands for `train`, `unseen` or `ood`; a test that the problem does not
    allow (no unseen task, fewer than four patterns to combine) is absent. LAYER counts from 1.

    | name                                   | what                                                                  |
    |----------------------------------------|-----------------------------------------------------------------------|
    | hinge_TEST, error_TEST                 | at the query: mean hinge loss; Pr[sign F != z], where F = 0 is an error |
    | same_LAYER, other_LAYER, query_LAYER   | attention on training tasks, see `attention_mass`                       |
    | feature, label, feature_angle, label_angle (L, M) | of the neurons by the way of attention, see `neurons`        |
    """

    def __init__(self, problem: "GPT2", n: int = 500, seed: int = 0, *, S_1: float = 1.2, alpha: float = 0.8) -> None:
        from .gpt2 import GPT2  # which has this observer

        self.problem = instance("problem", problem, GPT2)
        S_1 = real("S_1", S_1, "at most sqrt(2) in absolute value", lambda x: abs(x) <= math.sqrt(2))
        alpha = real("alpha", alpha, "in (0, 1], a share of contexts", lambda x: 0 < x <= 1)
        numbers = integer("n", n, 1) * problem.n_tokens(problem.length) * problem.d
        check_memory(
            f"n is {n} with length {problem.length}: up to three tests of {numbers} numbers",
            3 * 12 * numbers,
            "Lower n or length.",
        )
        self.codes = drawn_tests(problem, lambda of: of.codes, n, seed, S_1, alpha)
        self._prompts = {name: problem.prompts_of(codes) for name, codes in self.codes.items()}

    def __call__(self, params: Params) -> dict[str, Any]:
        params = checked_params(params)
        measured: dict[str, Any] = {}
        for name, prompts in self._prompts.items():
            prompts = self._prompts[name] = prompts.cast(params.W_in.dtype)  # a run has one dtype
            out = forward(params, prompts)
            margin = prompts.labels[:, -1] * out.score[:, -1]  # at the query
            measured[f"hinge_{name}"] = finite("the mean of a hinge loss", np.maximum(0, 1 - margin).mean())
            measured[f"error_{name}"] = np.mean(wrong(margin))
            if name == "train":
                mass = attention_mass(out.attention, self.codes[name])
                for kind, by_layer in mass._asdict().items():
                    measured |= {f"{kind}_{layer}": value for layer, value in enumerate(by_layer, start=1)}
        return measured | neurons(params, self.problem.mu_bar, self.problem.q)._asdict()
