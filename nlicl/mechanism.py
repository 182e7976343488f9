"""What the papers measure on a one-layer transformer: where attention goes, what W_Q and W_K project on, what neurons hold.

Arrays in, arrays out: every function takes parameters and what it is to compare them with, and knows no paper.

| paper (Li et al. 2024)                   | here                                    |
|------------------------------------------|-----------------------------------------|
| attention on contexts with the query's pattern, Corollary 4.3 | `same_pattern_attention` |
| W_Q p_query, W_K p_i and their part along the pattern, Proposition 4.1 | `projection`    |
| rows of W_O W_V: feature part ~ mu-bar, label part ~ +-q | `neurons`                 |
| W(t), U(t): neurons that answer to one label             | `lucky_neurons`           |
| mu^T W mu in the basis of the patterns                   | `pattern_block`           |
"""

from typing import NamedTuple

import numpy as np

__all__ = ["Neurons", "Projection", "lucky_neurons", "neurons", "pattern_block", "projection", "same_pattern_attention"]


def same_pattern_attention(attention, prompts):
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
    """
    l = prompts.length
    same = prompts.relevant[:, :l] == prompts.relevant[:, l:]
    return np.sum(attention[:, :l] * same, axis=1)


class Projection(NamedTuple):
    """W p: its norm, and its component along the token's pattern (None unless W has as many rows as columns)."""

    norm: np.ndarray
    component: np.ndarray | None


def projection(W, tokens, patterns):
    """Norm of W p, and [pattern/||pattern||; 0]^T W p, the component along the token's own pattern.

    Parameters
    ----------
    W : ndarray (m_a, d)
        W_Q for queries, W_K for contexts.
    tokens : ndarray (..., d)
    patterns : ndarray (..., d_X)
        The relevant pattern in each token, d_X <= d.

    Returns
    -------
    Projection
        Arrays (...,). The component is a dot product of R^{m_a} with R^d: it needs m_a = d.
    """
    image = tokens @ W.T
    norm = np.sqrt(np.sum(image**2, axis=-1))
    if W.shape[0] != W.shape[1]:
        return Projection(norm, None)
    d_X = patterns.shape[-1]
    unit = patterns / np.sqrt(np.sum(patterns**2, axis=-1, keepdims=True))
    return Projection(norm, np.sum(image[..., :d_X] * unit, axis=-1))


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


def neurons(params, mu_bar, q):
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
    """
    rows = params.W_O @ params.W_V
    X, Y = rows[:, : len(mu_bar)], rows[:, len(mu_bar) :]
    norm = np.linalg.norm(params.W_O, axis=1)
    return Neurons(norm, np.linalg.norm(X, axis=1), np.linalg.norm(Y, axis=1), _angles(X, mu_bar), _angles(Y, q))


def _angles(rows, direction):
    """Angles (m,) of rows (m, n) to a direction (n,). By the tangent: a cosine near 1 has lost half of the digits."""
    unit = direction / np.linalg.norm(direction)
    along = rows @ unit
    across = np.linalg.norm(rows - np.outer(along, unit), axis=1)
    return np.arctan2(across, along)


def lucky_neurons(params, preactivation, labels, share=0.99):
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
    """
    on = preactivation > 0
    W = (params.a > 0) & (on[labels > 0].mean(axis=0) >= share)
    U = (params.a < 0) & (on[labels < 0].mean(axis=0) >= share)
    return W, U


def pattern_block(W, patterns):
    """W in the basis of the patterns: entry (i, j) is mu_i^T W mu_j / (||mu_i|| ||mu_j||), on the first d_X coordinates.

    Parameters
    ----------
    W : ndarray (d, d)
        W_Q or W_K with m_a = d, or a gradient of one.
    patterns : ndarray (M, d_X)

    Returns
    -------
    ndarray (M, M)
    """
    d_X = patterns.shape[1]
    unit = patterns / np.linalg.norm(patterns, axis=1, keepdims=True)
    return unit @ W[:d_X, :d_X] @ unit.T
