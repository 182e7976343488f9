"""The exact population as something to train on, where u = v_x = 0 [derived]."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.arrays import frozen
from ...core.errors import InvalidType, InvalidValue
from ...kernels.steps import linear_attention as kernels
from ...models.linear_attention.prompts import Params, SeparateParams
from ...models.linear_attention.steps import LINEAR_ATTENTION, check_params, checked_result
from ...models.model import Batch
from ...models.separate_attention.steps import SEPARATE_ATTENTION
from . import population

__all__ = ["Law"]


@dataclass(frozen=True, eq=False)
class Law(Batch):
    """All prompts of linear attention at once, for gradient descent on the population loss L(Mbar), exactly.

    What `Problem.population` makes where P is "population". It holds on u = v_x = 0, that is where the last row of each V_h
    is zero but for its last entry, and the last row of each W_h, or the last column of each K_h, is zero. Gradient descent on
    the population stays there.

    Attributes
    ----------
    Lambda : ndarray (D, D)
        Covariance of x, symmetric and positive definite.
    N : int
        Contexts in a prompt.
    scale : float or None
        s; None: 1/N.

    Raises
    ------
    TypeError, ValueError
        Lambda is no covariance; N is below 1; a scale that is not greater than 0.
    """

    Lambda: np.ndarray
    N: int
    scale: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "Lambda", frozen(np.array(population.checked_covariance(self.Lambda))))
        square = self.Lambda @ self.Lambda
        known = {
            "s_N": population.factor(self.N, self.scale),
            "square": square,
            "B": population.second_moment(self.Lambda, self.N),
            "trace": float(np.trace(self.Lambda)),
        }
        object.__setattr__(self, "_known", known)

    def loss_and_slope(self, Mbar: np.ndarray) -> tuple[float, np.ndarray]:
        """L and grad L at an effective matrix, the sum of v_h U_h."""
        s_N, square, B, trace = (self._known[name] for name in ("s_N", "square", "B", "trace"))  # type: ignore[attr-defined]
        scaled = s_N * Mbar
        half = B @ scaled @ self.Lambda - square
        return trace + float((scaled * (half - square)).sum()), 2 * s_N * half

    @property
    def length(self) -> int:
        """N."""
        return self.N

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` make it from: checked arrays, as anybody's."""
        return type(self), (self.Lambda, self.N, self.scale)

    def __getitem__(self, index: Any) -> Any:
        """There are no single prompts in it: TypeError."""
        raise InvalidType("a Law has no single prompts; expected prompts, as problem.sample(n) draws them.")

    def __len__(self) -> int:
        return 1  # there is one, and no part of it can be drawn

    def __repr__(self) -> str:
        return f"Law(D={len(self.Lambda)}, N={self.N})"


class _OnPopulation:
    """The step for a `Law`: L(Mbar) and its gradient through the heads, computed in float64, in the dtype of `params`."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def loss_and_grad(self, params: Any, batch: Law, loss: str) -> tuple[Any, Any]:
        params = check_params(params, self.kind)
        D = len(batch.Lambda)
        if params.V.shape[1] != D + 1:
            raise InvalidValue(
                f"params.V has shape {params.V.shape}; expected (H, {D + 1}, {D + 1}), as Lambda is {D} by {D}."
            )
        if loss != "squared":
            raise InvalidValue(f"loss is {loss!r}; expected 'squared', whose population is known.")
        last = params.W[:, -1, :-1] if self.kind is Params else params.K[:, :, -1]
        if params.V[:, -1, :-1].any() or last.any():
            raise InvalidValue(
                "params have u or v_x other than 0; expected 0, where the population loss is known: V[:, -1, :-1] and "
                + ("W[:, -1, :-1]" if self.kind is Params else "K[:, :, -1]")
                + " are to be zero. Train on a number of prompts."
            )
        v, *others = (array.astype(np.float64) for array in (params.V[:, -1, -1], *params[1:]))
        W = others[0] if self.kind is Params else kernels.merge(*others)
        U = W[:, :D, :D]
        with np.errstate(all="ignore"):  # overflow is found, and explained, below
            value, slope = batch.loss_and_slope((v[:, None, None] * U).sum(axis=0))
            dv, dW = np.zeros((len(v), D + 1)), np.zeros_like(W)
            dv[:, -1] = (U * slope).sum(axis=(1, 2))  # Mbar = sum_h v_h U_h  =>  dv_h = <grad L, U_h>
            dW[:, :D, :D] = v[:, None, None] * slope  #                           dU_h = v_h grad L
            found = [dW] if self.kind is Params else list(kernels.merge_backward(dW, *others))
        dtype = params.V.dtype.type
        return checked_result(params, dtype(value), dv.astype(dtype), [array.astype(dtype) for array in found])

    def forward(self, params: Any, batch: Any) -> Any:
        """There is nothing to predict: TypeError."""
        raise InvalidType("a Law has no single prompts to predict; expected prompts, as problem.sample(n) draws them.")


LINEAR_ATTENTION.steps[Law, "cpu"] = _OnPopulation(Params)
SEPARATE_ATTENTION.steps[Law, "cpu"] = _OnPopulation(SeparateParams)
