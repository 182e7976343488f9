"""The family W = diag(xi1 I_d, 0, -xi2) that gradient descent on the population loss stays in [paper], and distances from it.

W has d rows and columns for inputs, then those of the label, and one for the query's mark. Columns of the label are *idle*:
their gradient is 0 for every W and every loss [paper]. So are d + 1 sums, 1_K^T W_21 and 1_K^T W_23: codes are orthogonal to
1_K [derived].
"""

from typing import NamedTuple

import numpy as np

from ...core.arrays import real_array
from ...core.checks import integer, real
from ...core.describe import kind_of
from ...core.errors import InvalidType, InvalidValue
from ...models.nearest.prompts import Params

__all__ = ["Place", "blocks", "member", "place", "width"]


class Place(NamedTuple):
    """Where W is.

    Attributes
    ----------
    xi1, xi2 : float
        The nearest member of the family: the mean of W_11's diagonal, and minus the last entry.
    distance : float
        From that member, in the blocks that enter the scores, all but the label's columns (Frobenius norm).
    idle : float
        The norm of the label's columns.
    sums : float
        The norm of 1_K^T W_21 / sqrt(K) and 1_K^T W_23 / sqrt(K), part of `distance`; 0 for binary labels.
    """

    xi1: float
    xi2: float
    distance: float
    idle: float
    sums: float


def width(K: int | None) -> int:
    """Of a label code: K, or 1 for binary labels, K = None."""
    return 1 if K is None else integer("K", K, 2)


def member(xi1: float, xi2: float, d: int, K: int | None) -> Params:
    """diag(xi1 I_d, 0, -xi2), with E = d + K + 1 rows, or d + 2 for binary labels, K = None."""
    xi1, xi2 = (real(name, value, "of any sign", lambda _: True) for name, value in (("xi1", xi1), ("xi2", xi2)))
    d = integer("d", d, 1)
    return Params(np.diag(np.concatenate([np.full(d, xi1), np.zeros(width(K)), [-xi2]])))


def blocks(params: Params, K: int | None) -> dict[str, np.ndarray]:
    """The nine blocks of W by name: "11", "12" .. "33", rows first; 1 the input's, 2 the label's, 3 the query's mark."""
    if not isinstance(params, Params):
        raise InvalidType(f"params is a {kind_of(params)}; expected nlicl.papers.onenn2024.Params(W).")
    W = real_array(params.W, "params.W", "(E, E)")
    edges = [0, len(W) - 1 - width(K), len(W) - 1, len(W)]
    if edges[1] < 1 or W.shape != (len(W), len(W)):
        raise InvalidValue(f"params.W has shape {W.shape}; expected (E, E) with E = d + K + 1, K = {K}, d >= 1.")
    parts = {str(a): slice(edges[a - 1], edges[a]) for a in (1, 2, 3)}
    return {a + b: W[parts[a], parts[b]] for a in parts for b in parts}


def place(params: Params, K: int | None) -> Place:
    """Where W is, with K classes, or None for binary labels."""
    W = blocks(params, K)
    xi1, xi2 = float(np.trace(W["11"]) / len(W["11"])), float(-W["33"][0, 0])
    off = W | {"11": W["11"] - xi1 * np.eye(len(W["11"])), "33": np.zeros((1, 1))}
    norm = {name: float(np.linalg.norm(block)) for name, block in off.items()}
    distance = float(np.sqrt(sum(norm[name] ** 2 for name in norm if name[1] != "2")))
    idle = float(np.sqrt(sum(norm[name] ** 2 for name in norm if name[1] == "2")))
    sums = 0.0
    if K is not None:
        sums = float(np.linalg.norm(np.concatenate([W["21"].sum(axis=0), W["23"].sum(axis=0)])) / np.sqrt(K))
    return Place(xi1, xi2, distance, idle, sums)
