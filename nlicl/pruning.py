"""Pruning neurons of the trained model: rows of W_O set to zero, without retraining (Theorem 3.7 of Li et al. 2024).

    F = sum_i a_i relu(u_i),     u_i = W_O(i,.) sum_s W_V p_s attn_s

A zero row has u_i = 0: pruning takes its summand away and changes nothing else. So a whole curve of errors needs one
forward pass; `prune` gives the pruned parameters themselves.
"""

from typing import NamedTuple

import numpy as np

from .model import forward

__all__ = ["ORDERS", "PruningCurve", "curve", "number_removed", "order", "prune", "small_neurons"]

ORDERS = ("magnitude", "largest", "random")


def order(params, how="magnitude", seed=0):
    """The order in which neurons go.

    Parameters
    ----------
    params : Params
    how : {"magnitude", "largest", "random"}
        Smallest ||W_O(i,.)|| first [paper], largest first, or at random.
    seed : int
        Of the random order.

    Returns
    -------
    ndarray of int (m,)
        A permutation of the neurons; ties keep their order.

    Raises
    ------
    ValueError
        Another `how`.
    """
    norm = np.linalg.norm(params.W_O, axis=1)
    if how == "magnitude":
        return np.argsort(norm, kind="stable")
    if how == "largest":
        return np.argsort(-norm, kind="stable")
    if how == "random":
        return np.random.default_rng([3, seed]).permutation(len(norm))
    raise ValueError(f"how is {how!r}; expected one of {', '.join(map(repr, ORDERS))}.")


def number_removed(fraction, m):
    """round(fraction m), halves to the even number: how many of m neurons a pruned fraction in [0, 1] is."""
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction}; expected a share of the neurons, from 0 to 1.")
    return round(fraction * m)


def prune(params, neurons):
    """Parameters with some neurons removed: their rows of W_O are zero.

    Parameters
    ----------
    params : Params
    neurons : array_like of int (k,), or of bool (m,)
        Which; for example `order(params)[:k]`.

    Returns
    -------
    Params
        Copies W_O, shares the rest.
    """
    m = len(params.a)
    neurons = np.asarray(neurons)
    if neurons.dtype.kind == "b":
        if neurons.shape != (m,):
            raise ValueError(f"neurons is a mask of shape {neurons.shape}; expected ({m},), one entry a neuron.")
    elif neurons.size == 0:
        neurons = np.zeros(m, bool)
    elif neurons.dtype.kind not in "iu" or neurons.ndim != 1 or neurons.min() < 0 or neurons.max() >= m:
        raise ValueError(f"neurons is {neurons.tolist()}; expected a list of integers from 0 to m - 1 = {m - 1}.")
    W_O = params.W_O.copy()
    W_O[neurons] = 0
    return params._replace(W_O=W_O)


def small_neurons(params, threshold=0.5):
    """The split of Theorem 3.7: neurons with ||W_O(i,.)|| below `threshold` times the median norm are small.

    The theorem has a constant share of rows of norm Omega(1), the rest smaller [paper; sizes recalled]; half the median
    is where the gap lies in trained models [measured].

    Returns
    -------
    ndarray of bool (m,)
    """
    norm = np.linalg.norm(params.W_O, axis=1)
    return norm < threshold * np.median(norm)


class PruningCurve(NamedTuple):
    """Errors against the number of neurons removed.

    Attributes
    ----------
    removed : ndarray of int (k,)
    hinge : ndarray (k,)
        Mean of max(0, 1 - zF), what the theorems are about.
    error : ndarray (k,)
        Pr[sign F != z]; a score of 0 is an error.
    """

    removed: np.ndarray
    hinge: np.ndarray
    error: np.ndarray


def curve(params, prompts, neurons, counts):
    """Errors after the first k of `neurons` are removed, for each k of `counts`.

    Parameters
    ----------
    params : Params
        Trained.
    prompts : Prompts or CodedPrompts
        Test prompts.
    neurons : array_like of int (m,)
        A permutation, as `order` gives it.
    counts : array_like of int (k,)
        Each from 0 to m.

    Returns
    -------
    PruningCurve
    """
    neurons, counts = np.asarray(neurons), np.asarray(counts)
    m = len(params.a)
    if not np.array_equal(np.sort(neurons), np.arange(m)):
        raise ValueError(f"neurons is no permutation of 0 .. {m - 1}; take it from nlicl.pruning.order(params, ...).")
    if counts.dtype.kind not in "iu" or counts.min() < 0 or counts.max() > m:
        raise ValueError(f"counts is {counts.tolist()}; expected integers from 0 to m = {m}.")
    u = forward(params, prompts).preactivation
    summands = (params.a * np.maximum(u, 0))[:, neurons]
    hinge, error = [], []
    for k in counts:
        margin = prompts.labels * summands[:, k:].sum(axis=1)  # z F without the first k
        hinge.append(np.mean(np.maximum(0, 1 - margin)))
        error.append(np.mean(margin <= 0))
    return PruningCurve(counts, np.array(hinge), np.array(error))
