"""Gradient descent on the exact population loss through the heads' own variables, on u = v_x = 0 [derived].

A merged head has v_h and U_h, one of separate keys and queries v_h, k_h and q_h of any rank R:

    Mbar = sum_h v_h U_h,              dv_h = <grad L, U_h>,                 dU_h = v_h grad L
    Mbar = sum_h v_h k_h^T q_h,        dv_h = sum_r k_r^T (grad L) q_r,      dk_h = v_h q_h (grad L)^T,   dq_h = v_h k_h grad L

The subspace u = v_x = 0 is invariant for the population, and only for it: on P prompts u and v_x have gradients of order
P^(-1/2). So a run on prompts differs from this one by its sample.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...core.checks import instance, integer, magnitude, numbers, sound
from ...core.errors import InvalidType, InvalidValue, NotFinite
from ...core.memory import check_memory
from .population import checked_covariance, factor, gradient, second_moment

__all__ = [
    "Descent",
    "Merged",
    "Separate",
    "Weights",
    "checked_weights",
    "descend",
    "effective",
    "head_gradients",
    "reduced",
]

Array = NDArray[np.float64]
_ENTRY = ("from -1e75 to 1e75", lambda x: abs(x) <= 1e75)  # products of three, and squares, are then ordinary doubles


class Merged(NamedTuple):
    """Heads with merged keys and queries: v (H,), the last entry of W^V's last row; U (H, D, D), W^KQ's upper left block."""

    v: Any
    U: Any


class Separate(NamedTuple):
    """Heads with separate keys and queries of rank R: v (H,); k and q (H, R, D), the x parts of W^K and W^Q."""

    v: Any
    k: Any
    q: Any


Weights = Merged | Separate


@dataclass(frozen=True, eq=False)
class Descent:
    """A run of gradient descent.

    Attributes
    ----------
    losses : ndarray (steps + 1,)
        The population loss before each step, and at the end.
    weights : Merged or Separate
        At the end.
    kept : list of Merged or Separate
        The weights at the steps that were asked for, in their order.
    """

    losses: Array
    weights: Weights
    kept: list[Weights]


def reduced(params: Any) -> Weights:
    """The variables of this reduction in parameters of the full model: `Params` with V, W, or with V, K, Q.

    Parameters
    ----------
    params : NamedTuple
        V (H, E, E), and W (H, E, E) or K and Q (H, R, E), with E = D+1.

    Returns
    -------
    Merged or Separate

    Raises
    ------
    TypeError
        Parameters of another model.
    """
    fields = getattr(params, "_fields", ()) if isinstance(params, tuple) else ()
    if tuple(fields) not in (("V", "W"), ("V", "K", "Q")):
        raise InvalidType(
            f"params has the fields {tuple(fields)}; expected V, W or V, K, Q, those of linear attention."
        )
    arrays = [numbers(name, value, shape="(H, _, E)") for name, value in zip(fields, params, strict=True)]
    v = arrays[0][:, -1, -1].copy()
    if len(arrays) == 2:
        return Merged(v, arrays[1][:, :-1, :-1].copy())
    return Separate(v, arrays[1][:, :, :-1].copy(), arrays[2][:, :, :-1].copy())


def effective(weights: Weights) -> Array:
    """Mbar = sum_h v_h U_h, or sum_h v_h k_h^T q_h.

    Parameters
    ----------
    weights : Merged or Separate

    Returns
    -------
    ndarray (D, D)
    """
    weights = checked_weights(weights)
    found = _effective(weights)
    return found


@sound
def head_gradients(weights: Weights, Lambda: ArrayLike, N: float, scale: float | None = None) -> Weights:
    """The population loss's gradients by the heads' variables, in their type.

    Parameters
    ----------
    weights : Merged or Separate
    Lambda : array_like (D, D)
        Covariance of x, symmetric and positive definite.
    N : int or inf
        Contexts in a prompt.
    scale : float, optional
        s: 1/N if not given, 1 in the authors' code.

    Returns
    -------
    Merged or Separate
    """
    weights = checked_weights(weights, checked_covariance(Lambda))
    return _by_heads(weights, gradient(_effective(weights), Lambda, N, scale))


def descend(
    weights: Weights,
    Lambda: ArrayLike,
    N: float,
    *,
    learning_rate: float,
    steps: int,
    scale: float | None = None,
    keep: ArrayLike = (),
) -> Descent:
    """Gradient descent on the exact population loss: theta <- theta - learning_rate dL/dtheta, the full gradient of L.

    Parameters
    ----------
    weights : Merged or Separate
        Where it starts.
    Lambda : array_like (D, D)
        Covariance of x, symmetric and positive definite.
    N : int or inf
        Contexts in a prompt.
    learning_rate : float
        Greater than 0.
    steps : int
    scale : float, optional
        s: 1/N if not given, 1 in the authors' code.
    keep : sequence of int
        Steps, in increasing order, at which the weights are kept; from 0 to `steps`.

    Returns
    -------
    Descent

    Raises
    ------
    ValueError, TypeError
        Arguments out of range, named.
    nlicl.core.errors.NotFinite
        It diverges.
    """
    Lambda = checked_covariance(Lambda)
    weights, s_N = checked_weights(weights, Lambda), factor(N, scale)
    eta = magnitude("learning_rate", learning_rate)
    steps = integer("steps", steps, 0)
    check_memory(f"steps is {steps}: a loss is kept of each", 8 * (steps + 1), "Lower it.")
    wanted = _checked_keep(keep, steps)
    square, B, trace = Lambda @ Lambda, second_moment(Lambda, N), float(np.trace(Lambda))
    losses, kept = np.empty(steps + 1), []
    current: Any = type(weights)(*(part.copy() for part in weights))
    step_of = _merged_step if isinstance(weights, Merged) else _separate_step
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(steps + 1):
            if t in wanted:
                kept.append(type(current)(*(part.copy() for part in current)))
            Mbar = s_N * _effective(current)
            half = B @ Mbar @ Lambda - square  # of grad L in units of beta
            losses[t] = trace + float(np.vdot(Mbar, half)) - float(np.vdot(Mbar, square))
            if not np.isfinite(losses[t]):
                raise NotFinite(
                    f"the population loss is {losses[t]:g} at step {t}: gradient descent diverges. Lower learning_rate "
                    f"({eta:g}), or the weights at the start."
                )
            if t < steps:
                step_of(current, 2 * eta * s_N * half)
    return Descent(losses, current, kept)


# ---- Without checks


def _effective(weights: Weights) -> Array:
    v, *rest = weights
    if isinstance(weights, Merged):
        found: Array = np.tensordot(v, rest[0], 1)
        return found
    k, q = rest
    D = k.shape[-1]
    found = (v[:, None, None] * k).reshape(-1, D).T @ q.reshape(-1, D)
    return found


def _by_heads(weights: Weights, grad: Array) -> Weights:
    """Gradients of the heads' variables from dL/dMbar."""
    v = weights.v
    if isinstance(weights, Merged):
        return Merged(np.tensordot(weights.U, grad, 2), v[:, None, None] * grad)
    k_grad = weights.k @ grad
    by_v = np.einsum("hrd,hrd->h", k_grad, weights.q)
    return Separate(by_v, v[:, None, None] * (weights.q @ grad.T), v[:, None, None] * k_grad)


def _merged_step(weights: Merged, move: Array) -> None:
    """theta -= learning_rate dL/dtheta in place, `move` being learning_rate dL/dMbar."""
    by_v = np.tensordot(weights.U, move, 2)
    weights.U[...] -= weights.v[:, None, None] * move
    weights.v[...] -= by_v


def _separate_step(weights: Separate, move: Array) -> None:
    """The same with separate keys and queries."""
    v, k, q = weights
    k_move = k @ move
    by_v = (k_move * q).sum(axis=(1, 2))
    k -= v[:, None, None] * (q @ move.T)
    q -= v[:, None, None] * k_move
    v -= by_v


# ---- Arguments


def checked_weights(weights: Weights, Lambda: Array | None = None) -> Weights:
    """Weights as float64 arrays; ValueError or TypeError if their shapes do not fit to one another, or to Lambda."""
    if not isinstance(weights, (Merged, Separate)):
        instance("weights", weights, Separate)
    v: Array = numbers("v", weights[0], *_ENTRY, shape="(H,)")
    names = weights._fields[1:]
    rest = [numbers(name, part, *_ENTRY, shape="(H, _, D)") for name, part in zip(names, weights[1:], strict=True)]
    for name, part in zip(names, rest, strict=True):
        if len(part) != len(v) or part.shape != rest[0].shape or not part.size:
            raise InvalidValue(
                f"{name} has shape {part.shape} with v {v.shape} and {names[0]} {rest[0].shape}; expected (H, D, D) for U, "
                "(H, R, D) for k and q alike, and at least one head."
            )
    D = rest[0].shape[2]
    if isinstance(weights, Merged) and rest[0].shape[1] != D:
        raise InvalidValue(f"U has shape {rest[0].shape}; expected (H, D, D).")
    if Lambda is not None and len(Lambda) != D:
        raise InvalidValue(f"{names[0]} has shape {rest[0].shape} with Lambda {Lambda.shape}; expected the same D.")
    return type(weights)(v, *rest)


def _checked_keep(keep: ArrayLike, steps: int) -> frozenset[int]:
    found = numbers("keep", keep, f"from 0 to {steps}, an integer", lambda x: (x >= 0) & (x <= steps) & (x == x // 1))
    return frozenset(np.ravel(found).astype(int).tolist())
