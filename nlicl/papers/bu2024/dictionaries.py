"""The dictionaries of Bu et al. 2024: orthogonal directions of words and labels, known ones and new ones."""

import numpy as np

from ...core.checks import choice
from ...core.errors import InvalidValue
from ...core.memory import check_memory
from ...core.seeds import Bu2024, generator, orthonormal
from ...models.overflow import finite
from .semantics import Semantics
from .theory import Norms

__all__ = ["draw_directions", "draw_unseen", "stack"]

_ARRAYS = 5  # of the dictionary's size, while directions are made orthogonal


def draw_directions(
    d_x: int, d_y: int, concepts: int, columns: int, norm_x: float, norms: Norms, seed: int
) -> tuple[Semantics, np.ndarray]:
    """Random orthogonal directions: the concepts' a, b, c, d and the irrelevant words nu.

    Equal norms of mu^+ and mu^- make a_k orthogonal to b_k, and ||a||^2 = (1 + kappa)/2 ||u||^2, ||b||^2 = (1 - kappa)/2
    ||u||^2.

    Parameters
    ----------
    d_x, d_y : int
        At least `columns` and 2 K1.
    concepts, columns : int
        K1 and K.
    norm_x : float
        ||u||, the norm of every nu_j.
    norms : Norms
        ||a||, ||b||, ||c||, ||d||.
    seed : int

    Returns
    -------
    semantics : Semantics
    nu : ndarray (d_x, K - 2 K1)

    Raises
    ------
    ValueError
        They do not fit into this machine's memory.
    """
    check_memory(
        f"dictionary is {columns} with d_x = {d_x}: its making holds some {_ARRAYS} arrays of shape ({d_x}, {columns})",
        8 * _ARRAYS * d_x * columns,
        "Lower them.",
    )
    check_memory(
        f"d_y is {d_y} with {concepts} concepts: their making holds some {_ARRAYS} arrays of shape ({d_y}, {2 * concepts})",
        16 * _ARRAYS * d_y * concepts,
        "Lower them.",
    )
    K1 = concepts
    X = orthonormal(Bu2024.WORDS, seed, d_x, columns)
    Y = orthonormal(Bu2024.LABELS, seed, d_y, 2 * K1)
    semantics = Semantics(
        norms.a * X[:, :K1], norms.b * X[:, K1 : 2 * K1], norms.c * Y[:, :K1], norms.d * Y[:, K1 : 2 * K1]
    )
    return semantics, norm_x * X[:, 2 * K1 :]


def stack(semantics: Semantics, nu: np.ndarray) -> np.ndarray:
    """[M; Q] (d_x + d_y, K): mu_1^+, mu_1^-, .. over q_1^+, q_1^-, .., then the nu_j over zeros."""
    d_x, d_y = len(semantics.a), len(semantics.c)
    relevant = 2 * semantics.concepts
    E = np.zeros((d_x + d_y, relevant + nu.shape[1]))
    E[:d_x, :relevant] = semantics.words()
    E[d_x:, :relevant] = semantics.labels()
    E[:d_x, relevant:] = nu
    with np.errstate(over="ignore"):
        finite("a token", np.abs(E).sum(axis=1))  # which no token exceeds
    return E


def draw_unseen(semantics: Semantics, nu: np.ndarray, direction: str, seeds: tuple[int, int]) -> np.ndarray:
    """New directions in the place of a, b, c or d, orthogonal to all words or to all labels, as long as the old ones.

    Parameters
    ----------
    semantics : Semantics
    nu : ndarray (d_x, K - 2 K1)
    direction : {"a", "b", "c", "d"}
    seeds : (int, int)
        Of the dictionary, and of the new directions.

    Returns
    -------
    ndarray (d_x, K1) or (d_y, K1)

    Raises
    ------
    ValueError
        Another name; dimensions with no room for new directions.
    """
    choice("direction", direction, "abcd")
    old = getattr(semantics, direction)
    of_words = direction in ("a", "b")
    taken = np.hstack([semantics.words(), nu]) if of_words else semantics.labels()
    name = "d_x" if of_words else "d_y"
    if len(taken) < taken.shape[1] + semantics.concepts:
        raise InvalidValue(
            f"{name} is {len(taken)}: {taken.shape[1]} directions are taken and {semantics.concepts} new ones asked for. "
            f"Expected {name} >= {taken.shape[1] + semantics.concepts}."
        )
    rng = generator(Bu2024.WORDS if of_words else Bu2024.LABELS, (*seeds, "abcd".index(direction)))
    basis = np.linalg.qr(np.hstack([taken, rng.standard_normal(old.shape)]))[0][:, taken.shape[1] :]
    return basis * np.linalg.norm(old, axis=0)
