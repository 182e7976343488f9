"""SGD on fresh prompts in compiled code: the `FreshDescent` of `nlicl.training.problem`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import NotFinite
from ...kernels import sphere_descent as kernels
from ...kernels.descent import End
from ...kernels.steps import nearest
from ...models.model import Step
from ...models.nearest.prompts import Params, Prompts
from ...models.nearest.steps import NEAREST, check_fit, check_loss, check_params
from ...models.overflow import not_finite
from .family import width
from .sampling import entropy

if TYPE_CHECKING:
    from .problem import Problem

__all__ = ["FreshDescent", "fresh_descent"]

_WIDE = 5_000_000  # multiply-adds of a step: beyond, what threads gain within it is more than what one call saves
_STEP = NEAREST.steps[Prompts, "cpu"]


class FreshDescent:
    """SGD from any W of float64 on prompts that `problem.sample(batch, seed=(seed, t))` gives at step t, in one thread.

    Parameters
    ----------
    problem : Problem
    batch, seed : int
    loss : str
    """

    def __init__(self, problem: "Problem", batch: int, seed: int, loss: str) -> None:
        self._loss = (nearest.NAMES[loss], problem.mixture)
        rows, d, E = problem.length + 1, problem.d, problem.size
        room = (
            np.empty((batch, rows, d)),
            np.empty((batch, rows - 1), np.int64),
            np.empty((batch, rows, E)),
            np.empty(batch, np.int64),
        )
        self._prompts = (entropy((seed, 0)), room, problem.K or 0, nearest.plan((batch, rows, E), 8))

    def steps(
        self, params: Params, t: int, losses: np.ndarray, etas: np.ndarray, weight_decay: float, largest: float
    ) -> tuple[Params, int, NotFinite | str | None]:
        """Steps t, t + 1, .., as the protocol says."""
        with np.errstate(all="ignore"):  # overflow is looked for within
            made, end, W = kernels.descend(
                losses, etas, t, float(weight_decay), float(largest), *self._loss, params.W, *self._prompts
            )
        why: NotFinite | str | None = None
        if end == End.PARAMETER:
            why = "a parameter is not finite after the update"
        elif end == End.LOSS:
            why = not_finite("the loss", params.W.dtype)
        elif end >= End.GRADIENT:
            why = not_finite("the gradient of W", params.W.dtype)
        return Params(W), made, why


def fresh_descent(
    problem: "Problem",
    params: Any,
    batch: int,
    seed: int,
    loss: str,
    trained: Sequence[str],
    masks: Mapping[str, np.ndarray],
    step: Step,
) -> FreshDescent | None:
    """SGD from these parameters; None where something else is to be trained, or where threads within a step are faster."""
    if masks or step is not _STEP or tuple(trained) != ("W",):
        return None
    params = check_params(params)
    check_fit(params, problem.d, problem.K)
    check_loss(loss, problem.K)
    work = nearest.costs(batch, problem.length, problem.d, width(problem.K), 8)
    if params.W.dtype != np.float64 or work.multiply_adds > _WIDE:
        return None
    return FreshDescent(problem, batch, seed, loss)
