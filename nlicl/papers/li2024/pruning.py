"""Pruning of the trained model by magnitude: rows of W_O set to zero, without retraining (Theorem 3.7 of Li et al. 2024).

    F = sum_i a_i relu(u_i),     u_i = W_O(i,.) sum_s W_V p_s attn_s

A zero row has u_i = 0: pruning takes its summand away and changes nothing else. So a whole curve of errors needs one
forward pass; `prune` gives the pruned parameters themselves.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...core.arrays import as_array
from ...core.checks import choice, integer, integers, real, sound
from ...core.errors import InvalidValue
from ...core.memory import check_memory
from ...core.seeds import Li2024, Seed, generator
from ...models.front import check_batch, forward
from ...models.overflow import finite
from ...models.transformer.checks import real_params
from ...models.transformer.prompts import CodedPrompts, Params, Prompts
from .errors import wrong

__all__ = ["ORDERS", "PruningCurve", "curve", "number_removed", "order", "prune", "scores", "small_neurons"]

ORDERS = ("magnitude", "largest", "random")


def order(params: Params, how: str = "magnitude", seed: Seed = 0) -> np.ndarray:
    """The order in which neurons go.

    Parameters
    ----------
    params : Params
    how : {"magnitude", "largest", "random"}
        Smallest ||W_O(i,.)|| first [paper], largest first, or at random.
    seed : int or sequence of int
        Of the random order, which depends on it and on the number of neurons alone.

    Returns
    -------
    ndarray of int (m,)
        A permutation of the neurons; ties keep their order.

    Raises
    ------
    ValueError, TypeError
        Another `how`; a seed that is no integer of at least 0.
    """
    norm, how = _norms(params), choice("how", how, ORDERS)
    if how == "magnitude":
        return np.argsort(norm, kind="stable")
    if how == "largest":
        return np.argsort(-norm, kind="stable")
    return generator(Li2024.ORDER, seed).permutation(len(norm))


@sound
def _norms(params: Params) -> np.ndarray:
    """||W_O(i,.)|| (m,)."""
    return finite("the norm of a row of W_O", np.linalg.norm(real_params(params).W_O, axis=1))


def number_removed(fraction: float, m: int) -> int:
    """round(fraction m), halves to the even number: how many of m neurons a pruned fraction in [0, 1] is."""
    return round(
        real("fraction", fraction, "from 0 to 1, a share of the neurons", lambda x: 0 <= x <= 1) * integer("m", m, 0)
    )


def prune(params: Params, neurons: ArrayLike) -> Params:
    """Parameters with some neurons removed: their rows of W_O are zero.

    Parameters
    ----------
    params : Params
    neurons : array_like of int (k,), or of bool (m,)
        Which; for example `order(params)[:k]` or `small_neurons(params)`.

    Returns
    -------
    Params
        W_O is a copy, the rest is shared.

    Raises
    ------
    ValueError
        A mask of another length, a number that is no neuron.
    """
    params = real_params(params)
    m, W_O = len(params.a), np.array(params.W_O)
    neurons = as_array(neurons, "neurons")
    if neurons.dtype.kind == "b":
        if neurons.shape != (m,):
            raise InvalidValue(f"neurons is a mask of shape {neurons.shape}; expected ({m},), one entry a neuron.")
    else:
        neurons = integers("neurons", neurons, 0, m - 1, "m - 1")
    W_O[neurons] = 0
    return params._replace(W_O=W_O)


def small_neurons(params: Params, threshold: float = 0.5) -> np.ndarray:
    """The split of Theorem 3.7: neurons with ||W_O(i,.)|| below `threshold` times the median norm are small.

    The theorem has a constant share of rows of norm Omega(1), the rest smaller [paper; sizes recalled]. In trained models
    of the default problem no row lies from 0.42 to 0.54 of the median [measured, 40 seeds].

    Parameters
    ----------
    params : Params
    threshold : float
        Greater than 0.

    Returns
    -------
    ndarray of bool (m,)
    """
    threshold = real("threshold", threshold, "greater than 0, a factor of the median norm", lambda x: x > 0)
    norm = _norms(params)
    return norm < threshold * np.median(norm)


def scores(params: Params, prompts: Prompts | CodedPrompts, neurons: ArrayLike, counts: ArrayLike) -> np.ndarray:
    """F after the first k of `neurons` are removed, for each k of `counts`: one forward pass for all of them.

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
    ndarray (k, B)
        Exactly 0 where every neuron is removed.

    Raises
    ------
    TypeError, ValueError
        As `nlicl.forward`; neurons that are no permutation, counts out of range.
    """
    return _scores(params, prompts, neurons, counts, 1)


def _scores(
    params: Params, prompts: Prompts | CodedPrompts, neurons: ArrayLike, counts: ArrayLike, arrays: int
) -> np.ndarray:
    """`scores`, of whose size so many arrays are needed in all."""
    a = real_params(params).a
    m = len(a)
    neurons = integers("neurons", neurons, 0, m - 1, "m - 1")
    if not np.array_equal(np.sort(neurons), np.arange(m)):
        raise InvalidValue(
            f"neurons has {len(neurons)} entries, {len(set(neurons.tolist()))} of them different; expected a permutation "
            f"of 0 to m - 1 = {m - 1}. Take it from nlicl.papers.li2024.pruning.order(params, ...)."
        )
    counts = integers("counts", counts, 0, m, "m")
    check_batch(prompts)
    B = len(prompts)
    check_memory(
        f"m is {m}, with {B} prompts and {len(counts)} counts: there is a score for every prompt and number of neurons",
        8 * B * (6 * m + arrays * len(counts)),
        "Give fewer prompts or counts.",
    )
    u = forward(params, prompts).preactivation
    summands = (a * np.maximum(u, 0)).T[neurons]  # a_i relu(u_i), rows in the order they go
    F = np.zeros((m + 1, summands.shape[1]), summands.dtype)
    F[:m] = np.cumsum(summands[::-1], axis=0)[::-1]  # row k: what is left without the first k
    return finite("a score", F[counts])


class PruningCurve(NamedTuple):
    """Errors against the number of neurons removed.

    Attributes
    ----------
    removed : ndarray of int (k,)
    hinge : ndarray (k,)
        Mean of max(0, 1 - zF), what the theorems are about.
    error : ndarray (k,)
        Pr[sign F != z]; a score of 0 is an error, other than as printed: see `nlicl.papers.li2024.wrong`.
    """

    removed: np.ndarray
    hinge: np.ndarray
    error: np.ndarray


def curve(params: Params, prompts: Prompts | CodedPrompts, neurons: ArrayLike, counts: ArrayLike) -> PruningCurve:
    """Errors after the first k of `neurons` are removed, for each k of `counts`.

    Parameters and errors raised as in `scores`.

    Returns
    -------
    PruningCurve
        float64.
    """
    counts = as_array(counts, "counts")
    margin = _scores(params, prompts, neurons, counts, 4) * prompts.labels  # zF
    hinge = np.maximum(0, np.subtract(1, margin, dtype=np.float64)).mean(axis=1)  # 1 - zF in float32 rounds zF away
    return PruningCurve(np.array(counts), hinge, wrong(margin).mean(axis=1))
