"""The law of prompts of Li et al. 2024 as codes: which patterns, kappa and label every token has.

| paper                     | here                                                                    |
|---------------------------|-------------------------------------------------------------------------|
| x = mu_j + kappa nu_k, +-q | `relevant` j, `irrelevant` k, `kappa`, `sign`: one entry a token (n, l+1) |
| z                         | +1 where the query carries mu_a, -1 where it carries mu_b (n,)          |
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...kernels import sampling as kernels
from ...kernels.random import words

__all__ = ["SAMPLINGS", "Codes", "draw"]

SAMPLINGS = ("iid", "at-least")


class Codes(NamedTuple):
    """What `CodedPrompts` has beside its dictionary.

    Attributes
    ----------
    relevant, irrelevant : ndarray of int32 (n, l+1)
    kappa : ndarray (n, l+1)
    sign : ndarray of int8 (n, l+1)
        0 for the query, the last.
    labels : ndarray (n,)
        z.
    """

    relevant: np.ndarray
    irrelevant: np.ndarray
    kappa: np.ndarray
    sign: np.ndarray
    labels: np.ndarray


def draw(
    key: Sequence[int],
    n: int,
    length: int,
    alpha: float,
    tasks: np.ndarray,
    M1: int,
    M2: int,
    K: float,
    sampling: str = "iid",
) -> Codes:
    """Draw the codes of n prompts, as `Problem.sample` describes them. Nothing is checked.

    Parameters
    ----------
    key : list of int
        What `numpy.random.default_rng` would start from.
    n, length : int
    alpha : float
    tasks : ndarray of int (T, 2)
        The pairs (a, b) that a prompt's task is one of.
    M1, M2 : int
    K : float
    sampling : {"iid", "at-least"}

    Returns
    -------
    Codes
        kappa and labels in float64.
    """
    shape = (n, length + 1)
    codes = Codes(
        np.empty(shape, np.int32), np.empty(shape, np.int32), np.empty(shape), np.empty(shape, np.int8), np.empty(n)
    )
    if sampling == "iid":
        kernels.draw(*codes, words(key), tasks, float(alpha), M1, M2, float(K))
        return codes
    rng = np.random.default_rng(key)  # which goes on where the kernel would stop
    task = tasks[rng.integers(len(tasks), size=n)]  # (n, 2): a, b
    codes.labels[:] = rng.choice([1, -1], size=n)  # the query carries mu_a (z = +1) or mu_b
    kernels.decode(*codes[:4], rng.random((*shape, 2)), task, codes.labels, float(alpha), M1, M2, float(K))
    matches = math.ceil(alpha * length / 2)
    places = rng.permuted(np.tile(np.arange(length), (n, 1)), axis=1)[:, :matches]
    np.put_along_axis(codes.relevant, places, codes.relevant[:, -1:], axis=1)
    np.put_along_axis(codes.sign, places, codes.labels[:, None].astype(np.int8), axis=1)
    return codes
