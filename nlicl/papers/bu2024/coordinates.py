"""One concept of Bu et al. 2024 in coordinates: the state of the reduced recursion, its starts, and its part of a full model.

Orthonormal coordinates of span(a, b) and span(c, d): 2 x 2 blocks Q, K of W_Q^x, W_K^x, and o_c = W_O^y c/||c||, o_d = W_O^y
d/||d||. Every array has any leading axes, one entry a run.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...core.arrays import as_array
from ...core.checks import integer, sound
from ...core.describe import kind_of, short
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_count, check_memory
from ...models.transformer.checks import real_params
from ...models.transformer.prompts import Params
from .semantics import Semantics
from .theory.checks import Numbers, finite, not_negative

__all__ = ["State", "project", "random_start", "start"]

_DRAWN = 96  # bytes of a neuron, while it is drawn


class State(NamedTuple):
    """One concept, in coordinates.

    Attributes
    ----------
    o_c, o_d : ndarray (..., m)
    Q, K : ndarray (..., 2, 2)
        Index 0 is a/||a||, index 1 is b/||b||.
    """

    o_c: np.ndarray
    o_d: np.ndarray
    Q: np.ndarray
    K: np.ndarray


def start(o_c: np.ndarray, o_d: np.ndarray, sigma_0: Numbers) -> State:
    """The state with Q = K = sigma_0 I [recalled].

    Parameters
    ----------
    o_c, o_d : array_like (..., m)
    sigma_0 : float or array_like (...)

    Returns
    -------
    State
    """
    o_c, o_d = finite("o_c", o_c), finite("o_d", o_d)
    if np.ndim(o_c) == 0 or np.shape(o_c) != np.shape(o_d):
        raise InvalidValue(
            f"o_c and o_d have shapes {np.shape(o_c)} and {np.shape(o_d)}; expected (..., m), both the same."
        )
    sigma_0 = _each_run("sigma_0", finite("sigma_0", sigma_0), o_c.shape[:-1])
    block = np.multiply.outer(sigma_0, np.eye(2))
    return State(o_c, o_d, block, block.copy())


def _each_run(name: str, numbers: Numbers, shape: tuple[int, ...]) -> np.ndarray:
    """`numbers` broadcast to one a run."""
    try:
        return np.broadcast_to(numbers, shape)
    except ValueError:
        raise InvalidValue(f"{name} has shape {np.shape(numbers)}; expected a number, or one a run, {shape}.") from None


def random_start(width: int, sigma_0: Numbers, sigma_1: Numbers, seeds: Sequence[int]) -> tuple[State, np.ndarray]:
    """One run a seed from the random start of training: r_i = +-1/m, entries of W_O normal [recalled].

    Parameters
    ----------
    width : int
        m.
    sigma_0, sigma_1 : float or array_like (runs,)
        W_Q^x = W_K^x = sigma_0 I; standard deviation of the entries of W_O, hence of o_c and o_d.
    seeds : sequence of int, of length runs

    Returns
    -------
    State
    r : ndarray (runs, m)
    """
    width = integer("width", width, 1)
    check_count("seeds", seeds, _DRAWN)
    if not isinstance(seeds, (list, tuple, range)):
        array = as_array(seeds, "seeds")
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise InvalidType(
                f"seeds is {short(array[()])}; expected a sequence of integers, one a run, for example range(3)."
            )
        seeds = array.tolist()
    sigma_1 = _each_run("sigma_1", not_negative("sigma_1", sigma_1), (len(seeds),))
    check_memory(
        f"width is {width}, of {len(seeds)} runs: the start and its drawing hold {_DRAWN} bytes for each neuron",
        _DRAWN * len(seeds) * width,
        "Lower it.",
    )
    drawn = np.empty((3, len(seeds), width))
    for i, seed in enumerate(seeds):
        rng = np.random.default_rng(integer("seeds", seed, 0, most=None))
        drawn[0, i] = rng.choice([-1.0, 1.0], width) / width
        drawn[1:, i] = rng.standard_normal((2, width))
    o_c, o_d = drawn[1:] * sigma_1[:, None]
    return start(o_c, o_d, sigma_0), drawn[0]


@sound
def project(params: Params, semantics: Semantics, k: int) -> State:
    """The coordinates of one concept of the full model.

    Parameters
    ----------
    params : Params
        W_Q, W_K (d_x, d), word columns first; W_O (m, d_y) acting on labels.
    semantics
        Has arrays a, b (d_x, K1) and c, d (d_y, K1); a_k is orthogonal to b_k, c_k to d_k.
    k : int
        The concept, from 0.

    Returns
    -------
    State

    Raises
    ------
    TypeError, ValueError
        Parameters of another kind or shape; a concept that is not there.
    """
    params = real_params(params)
    try:
        directions = {name: getattr(semantics, name) for name in "abcd"}
    except Exception:
        raise InvalidType(
            f"semantics is a {kind_of(semantics)}; expected directions a, b, c, d: problem.semantics."
        ) from None
    semantics = Semantics(**directions)
    d_x, concepts = semantics.a.shape
    k = integer("k", k, 0)
    if k >= concepts:
        raise InvalidValue(f"k is {k}; expected a concept, 0 to {concepts - 1}.")
    d_y = len(semantics.c)
    if len(params.W_Q) != d_x or params.W_Q.shape != params.W_K.shape or params.W_O.shape[1] != d_y:
        raise InvalidValue(
            f"W_Q, W_K and W_O have shapes {params.W_Q.shape}, {params.W_K.shape} and {params.W_O.shape}; expected "
            f"({d_x}, d), ({d_x}, d) and (m, {d_y}): attention of m_a = d_x rows, labels as values."
        )
    x_basis, y_basis = (
        np.stack([_unit(name, getattr(semantics, name)[:, k]) for name in pair], axis=1) for pair in ("ab", "cd")
    )
    Q, K = (x_basis.T @ W[:, :d_x] @ x_basis for W in (params.W_Q, params.W_K))
    o_c, o_d = (params.W_O @ y_basis).T.copy()
    return State(o_c, o_d, Q, K)


def _unit(name: str, direction: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(direction)
    if not np.isfinite(norm) or norm < 1e-150:  # squares overflow, or vanish
        largest = np.max(np.abs(direction), initial=0.0)
        if not largest > 0:
            raise InvalidValue(
                f"semantics.{name} has a column of norm 0, which has no direction; expected norms above 0."
            )
        direction = direction / largest
        norm = np.linalg.norm(direction)
    return direction / norm
