"""What Li et al. 2024 measure on the trained model: where attention goes, what W_Q and W_K project on, what neurons hold.

Arrays in, arrays out: every function takes parameters and the patterns, labels or prompts to compare them with.

| paper                                    | here                                    |
|------------------------------------------|-----------------------------------------|
| attention on contexts with the query's pattern, Corollary 4.3 | `same_pattern_attention` |
| W_Q p_query, W_K p_i and their part along the pattern, Proposition 4.1 | `projection`    |
| rows of W_O W_V: feature part ~ mu-bar, label part ~ +-q | `neurons`                 |
| W(t), U(t): neurons that answer to one label             | `lucky_neurons`           |
| mu^T W mu in the basis of the patterns                   | `pattern_block`           |
| W_K [mu-bar; 0], which training leaves as it is          | `drift`                   |
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...core.arrays import check_finite, fitting, real_array
from ...core.checks import instance, numbers, real, sound
from ...core.errors import InvalidValue
from ...models.overflow import finite
from ...models.transformer.checks import real_params
from ...models.transformer.prompts import CodedPrompts, Params
from ._lucky import counted_lucky

__all__ = [
    "Neurons",
    "Parts",
    "Projection",
    "drift",
    "lucky_neurons",
    "neurons",
    "parts",
    "pattern_block",
    "projection",
    "same_pattern_attention",
]


@sound
def same_pattern_attention(attention: np.ndarray, prompts: CodedPrompts) -> np.ndarray:
    """Attention on the contexts that carry the query's relevant pattern.

    Parameters
    ----------
    attention : ndarray (B, l) or (B, l+1)
        As `nlicl.forward` returns it. Where the query attends to itself its own share, the last, does not count.
    prompts : CodedPrompts
        The prompts it belongs to.

    Returns
    -------
    ndarray (B,)
        Each from 0 (no such context) to 1.

    Raises
    ------
    TypeError
        Prompts that are not coded: tokens alone do not say which pattern they carry.
    ValueError
        Attention of other prompts, by its shape.
    """
    where = "as problem.sample gives them: they say which pattern a token carries"
    l = instance("prompts", prompts, CodedPrompts, where).length
    attention = real_array(attention, "attention", "(B, l)")
    check_finite(attention, "attention")
    expected = (len(prompts), l + prompts.query_attends)
    if attention.shape != expected:
        raise InvalidValue(
            f"attention has shape {attention.shape}; expected {expected}, (B, {'l+1' if prompts.query_attends else 'l'}) "
            "of these prompts. Take it from nlicl.forward(params, prompts).attention."
        )
    same = prompts.relevant[:, :l] == prompts.relevant[:, l:]
    return np.sum(attention[:, :l] * same, axis=1)


class Projection(NamedTuple):
    """W p: its norm, and its component along the token's pattern (None unless W has as many rows as columns)."""

    norm: np.ndarray
    component: np.ndarray | None


@sound
def projection(W: np.ndarray, tokens: ArrayLike, patterns: ArrayLike) -> Projection:
    """Norm of W p, and [pattern/||pattern||; 0]^T W p, the component along the token's own pattern.

    Parameters
    ----------
    W : ndarray (m_a, d)
        W_Q for queries, W_K for contexts.
    tokens : ndarray (..., d)
    patterns : ndarray (..., d_X)
        The relevant pattern in each token, d_X <= d; none is zero.

    Returns
    -------
    Projection
        Arrays (...,). The component is a dot product of R^{m_a} with R^d: it needs m_a = d.

    Raises
    ------
    ValueError
        Shapes that do not fit together, a pattern that is zero.
    """
    (W,) = fitting({"W": W}, {"W": "(m_a, d)"})
    tokens, patterns = np.asarray(numbers("tokens", tokens)), np.asarray(numbers("patterns", patterns))
    d = W.shape[1]
    if tokens.ndim == 0 or tokens.shape[-1] != d:
        raise InvalidValue(f"tokens has shape {tokens.shape}; expected (..., {d}), as W has shape {W.shape}.")
    if patterns.shape[:-1] != tokens.shape[:-1] or not 0 < patterns.shape[-1] <= d:
        raise InvalidValue(
            f"patterns has shape {patterns.shape}; expected {(*tokens.shape[:-1], 'd_X')} with d_X at most {d}: one pattern "
            "for each token."
        )
    image = tokens @ W.T
    norm = _norm(image)
    if W.shape[0] != d:
        return Projection(norm, None)
    return Projection(norm, np.sum(image[..., : patterns.shape[-1]] * _unit(patterns, "patterns"), axis=-1))


def _norm(vectors: np.ndarray) -> np.ndarray:
    """The norm of each vector (..., n); `NotFinite` where squares overflow: what is divided by it would be 0."""
    return finite("a norm", np.linalg.norm(vectors, axis=-1))


def _unit(vectors: np.ndarray, name: str) -> np.ndarray:
    """Each vector (..., n) over its norm."""
    norms = _norm(vectors)[..., None]
    if not np.all(norms > 0):
        raise InvalidValue(f"{name} holds a zero vector, which has no direction; expected vectors of norm above 0.")
    return vectors / norms


class Neurons(NamedTuple):
    """The rows of W_O and of W_O W_V, one entry a neuron.

    Attributes
    ----------
    norm : ndarray (m,)
        ||W_O(i,.)||, what magnitude pruning goes by.
    feature, label : ndarray (m,)
        Norms of the first d_X and of the last d_Y coordinates of row i of W_O W_V.
    feature_angle, label_angle : ndarray (m,)
        Their angles to mu-bar and to q, in radians from 0 to pi; 0 for a part that vanishes.
    """

    norm: np.ndarray
    feature: np.ndarray
    label: np.ndarray
    feature_angle: np.ndarray
    label_angle: np.ndarray


@sound
def neurons(params: Params, mu_bar: np.ndarray, q: np.ndarray) -> Neurons:
    """Magnitudes and directions of the neurons.

    Parameters
    ----------
    params : Params
    mu_bar : ndarray (d_X,)
        The average relevant pattern.
    q : ndarray (d_Y,)
        The label embedding, d_X + d_Y = d.

    Returns
    -------
    Neurons

    Raises
    ------
    ValueError
        Lengths that do not add up to d, a direction that is zero.
    """
    params = real_params(params)
    rows = params.W_O @ params.W_V
    return Neurons(_norm(params.W_O), *parts(rows, mu_bar, q))


class Parts(NamedTuple):
    """Rows in the space of tokens, taken apart into what they make of x and of y.

    Attributes
    ----------
    feature, label : ndarray (n,)
        Norms of the first d_X and of the last d_Y coordinates.
    feature_angle, label_angle : ndarray (n,)
        Their angles to mu-bar and to q, in radians from 0 to pi; 0 for a part that vanishes.
    """

    feature: np.ndarray
    label: np.ndarray
    feature_angle: np.ndarray
    label_angle: np.ndarray


@sound
def parts(rows: np.ndarray, mu_bar: np.ndarray, q: np.ndarray) -> Parts:
    """Magnitudes and directions of rows in the space of tokens.

    Parameters
    ----------
    rows : ndarray (n, d)
    mu_bar : ndarray (d_X,)
        The average relevant pattern.
    q : ndarray (d_Y,)
        The label embedding.

    Raises
    ------
    ValueError
        Lengths that do not add up to d, a direction that is zero.
    """
    (rows,) = fitting({"rows": rows}, {"rows": "(n, d)"})
    mu_bar, q = fitting({"mu_bar": mu_bar, "q": q}, {"mu_bar": "(d_X,)", "q": "(d_Y,)"})
    if len(mu_bar) + len(q) != rows.shape[1]:
        raise InvalidValue(
            f"mu_bar has shape {mu_bar.shape} and q {q.shape}; expected d_X + d_Y = d = {rows.shape[1]}, the width of a token."
        )
    X, Y = rows[:, : len(mu_bar)], rows[:, len(mu_bar) :]
    to_mu_bar, to_q = _angles(X, _unit(mu_bar, "mu_bar")), _angles(Y, _unit(q, "q"))
    return Parts(_norm(X), _norm(Y), to_mu_bar, to_q)


def _angles(rows: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Angles (m,) of rows (m, n) to a unit vector (n,). By the tangent: a cosine near 1 has lost half of the digits."""
    along = rows @ unit
    across = _norm(rows - np.outer(along, unit))
    return np.arctan2(across, along)


def lucky_neurons(
    params: Params, preactivation: np.ndarray, labels: ArrayLike, share: float = 0.99
) -> tuple[np.ndarray, np.ndarray]:
    """Neurons that answer to one label: W = {a_i > 0, u_i > 0 on nearly all prompts with z = +1}, U = {a_i < 0, ... z = -1}.

    The paper's lucky neurons are those whose I_i is active at the start [paper]; these operational sets are [derived].

    Parameters
    ----------
    params : Params
    preactivation : ndarray (B, m)
        As `nlicl.forward` returns it.
    labels : ndarray (B,)
        -1 and +1, both present.
    share : float in (0, 1]
        What "nearly all" means.

    Returns
    -------
    W, U : ndarray of bool (m,)

    Raises
    ------
    ValueError
        Shapes that do not fit together, labels of one kind only, a share out of range.
    """
    params = real_params(params)
    preactivation = real_array(preactivation, "preactivation", "(B, m)")
    check_finite(preactivation, "preactivation")
    labels = np.asarray(numbers("labels", labels))
    m = len(params.a)
    if preactivation.shape[1] != m or labels.shape != preactivation.shape[:1]:
        raise InvalidValue(
            f"preactivation has shape {preactivation.shape} and labels {labels.shape}; expected (B, m) and (B,) with "
            f"m = {m}, as params.a has shape {params.a.shape}."
        )
    share = real("share", share, "above 0 and at most 1, a share of the prompts", lambda x: 0 < x <= 1)
    on = preactivation > 0
    return counted_lucky(params.a, np.stack([on[labels > 0].sum(axis=0), on[labels < 0].sum(axis=0)]), labels, share)


@sound
def pattern_block(W: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """W in the basis of the patterns: entry (i, j) is mu_i^T W mu_j / (||mu_i|| ||mu_j||), on the first d_X coordinates.

    Parameters
    ----------
    W : ndarray (d, d)
        W_Q or W_K with m_a = d, or a gradient of one.
    patterns : ndarray (M, d_X)
        None of them zero, d_X <= d.

    Returns
    -------
    ndarray (M, M)

    Raises
    ------
    ValueError
        W that is not square, patterns longer than it, a pattern that is zero.
    """
    W, patterns = fitting({"W": W, "patterns": patterns}, {"W": "(rows, d)", "patterns": "(M, d_X)"})
    d_X = patterns.shape[1]
    if W.shape[0] != W.shape[1]:
        raise InvalidValue(
            f"W has shape {W.shape}; expected (d, d): the patterns live in columns and rows alike, m_a = d."
        )
    if d_X > len(W):
        raise InvalidValue(f"patterns has shape {patterns.shape}; expected (M, d_X) with d_X at most d = {len(W)}.")
    unit = _unit(patterns, "patterns")
    return unit @ W[:d_X, :d_X] @ unit.T


@sound
def drift(W: np.ndarray, start: np.ndarray, direction: np.ndarray) -> float:
    """How far W x has moved from where it started, x = [direction; 0]: ||(W - W_0) x|| / ||W_0 x||.

    With direction = mu-bar and W = W_K it stays 0 on in-domain prompts: each token has exactly one pattern [derived].

    Parameters
    ----------
    W, start : ndarray (m_a, d)
        W_K or W_Q, now and at the start.
    direction : ndarray (d_X,)
        d_X <= d.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Shapes that do not fit together, W_0 x = 0.
    """
    shapes = {"W": "(m_a, d)", "direction": "(d_X,)"}
    W, direction = fitting({"W": W, "direction": direction}, shapes)
    (start,) = fitting({"start": start}, {"start": "(m_a, d)"})
    if W.shape != start.shape:
        raise InvalidValue(f"W has shape {W.shape} and start {start.shape}; expected the same matrix at two times.")
    d_X = len(direction)
    if d_X > W.shape[1]:
        raise InvalidValue(
            f"direction has shape {direction.shape}; expected (d_X,) with d_X at most d = {W.shape[1]}, as W has "
            f"shape {W.shape}."
        )
    first = _norm(start[:, :d_X] @ direction)
    if first == 0:
        raise InvalidValue("start maps direction to 0; expected an image to measure the drift by.")
    return float(_norm((W - start)[:, :d_X] @ direction) / first)
