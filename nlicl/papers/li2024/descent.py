"""SGD on fresh prompts of Li et al. 2024 in compiled code: the `FreshDescent` of `nlicl.training.problem`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import NotFinite
from ...core.seeds import Li2024, key
from ...kernels import descent as kernels
from ...kernels.descent import End
from ...kernels.layers import loss as losses
from ...kernels.random import words
from ...kernels.steps import coded
from ...models.model import Step
from ...models.overflow import not_finite
from ...models.transformer.checks import check_fit, check_params, packed_params
from ...models.transformer.prompts import CodedPrompts, Params
from ...models.transformer.steps import TRANSFORMER
from .sampling import Codes

if TYPE_CHECKING:
    from .problem import Problem

__all__ = ["FreshDescent", "fresh_descent"]

_WIDE = 5_000_000  # multiply-adds of a step: beyond, what threads gain within it is more than what one call saves
_STEP = TRANSFORMER.steps[CodedPrompts, "cpu"]


class FreshDescent:
    """SGD from any parameters on prompts that `problem.sample(batch, seed=(seed, t))` gives at step t, in one thread.

    Parameters
    ----------
    problem : Problem
    params : Params
        Of the sizes and the dtype that it descends in.
    batch, seed : int
    loss : str
    trained : sequence of str
    """

    def __init__(
        self, problem: "Problem", params: Params, batch: int, seed: int, loss: str, trained: Sequence[str]
    ) -> None:
        self._dtype = dtype = params.a.dtype
        self._trains = np.array([name in trained for name in Params._fields])
        self._kind = losses.NAMES[loss]
        shape = (batch, problem.length + 1)
        room = (np.empty(shape, np.int32), np.empty(shape, np.int32), np.empty(shape, dtype), np.empty(shape, np.int8))
        codes = tuple(Codes(*room, np.empty(batch, dtype)))
        entropy = words(key(Li2024.PROMPTS, (seed, 0)))
        law = (problem._usual_tasks, problem.alpha, problem.M1, problem.M2, problem.K)
        dictionary = coded.without_zero_rows(problem._dictionary.astype(dtype))
        plan = coded.plan(shape, len(params.a), dictionary[1].shape[1], dtype.itemsize)
        sizes = (problem.length + problem.query_attends, *plan)
        self._prompts = (codes, entropy, law, dictionary, sizes)

    def steps(
        self, params: Params, t: int, losses: np.ndarray, etas: np.ndarray, weight_decay: float, largest: float
    ) -> tuple[Params, int, NotFinite | str | None]:
        """Steps t, t + 1, .., as the protocol says."""
        options = (losses, etas, t, self._trains, weight_decay, largest, self._kind)
        with np.errstate(all="ignore"):  # overflow is looked for within
            made, end, *reached = kernels.descend(*options, *params, *self._prompts)
        why: NotFinite | str | None = None
        if end == End.PARAMETER:
            why = "a parameter is not finite after the update"
        elif end == End.LOSS:
            why = not_finite("the loss", self._dtype)
        elif end >= End.GRADIENT:
            why = not_finite(f"the gradient of {Params._fields[end - End.GRADIENT]}", self._dtype)
        return Params(*reached), made, why


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
    if masks or step is not _STEP:
        return None
    check_params(params)
    check_fit(params, "dictionary", problem._dictionary.shape, problem.d)
    (m_a, d), (m, m_b) = params.W_Q.shape, params.W_O.shape
    rows = int(problem._dictionary.any(axis=1).sum())
    work = coded.costs(
        batch,
        problem.length + problem.query_attends,
        d,
        m,
        problem._dictionary.shape[1],
        params.a.itemsize,
        m_a=m_a,
        m_b=m_b,
        support=rows,
    )
    if work.multiply_adds > _WIDE:
        return None
    return FreshDescent(problem, packed_params(params), batch, seed, loss, trained)
