"""The population as something to train on: its loss and gradient in the place of a batch's. All is [derived]."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.arrays import frozen
from ...core.checks import numbers
from ...core.errors import InvalidType, InvalidValue
from ...models.model import Batch
from ...models.regression.prompts import Params
from ...models.regression.steps import REGRESSION, check_params
from . import population

__all__ = ["Law"]


@dataclass(frozen=True, eq=False)
class Law(Batch):
    """All prompts at once: every task vector, and counts as a source has them; for gradient descent on the population loss.

    What `Problem.population` makes. With sampled counts, a problem's default, it is an approximation of the population: the
    mean over 500 count vectors, drawn once from the seed. Counts `"infinite"` and `"enumerated"` are exact.

    Attributes
    ----------
    V : ndarray (d, K)
        Features.
    p : ndarray (K,)
        Their frequencies, of the query.
    source : population.Source
        The law of the contexts' counts.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, frequencies that are no probabilities, something that is no `Source`.
    """

    V: np.ndarray
    p: np.ndarray
    source: population.Source

    def __post_init__(self) -> None:
        object.__setattr__(self, "V", frozen(numbers("V", self.V, shape="(d, K)")))
        object.__setattr__(self, "p", frozen(population.check_law(self.p, self.source)))
        if self.V.shape[1] != len(self.p):
            raise InvalidValue(
                f"V has shape {self.V.shape}; expected (d, {len(self.p)}), the columns being the features of p."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` make it from: checked arrays, as anybody's."""
        return type(self), (self.V, self.p, self.source)

    def __getitem__(self, index: Any) -> Any:
        """There are no single prompts in it: TypeError."""
        raise InvalidType("a Law has no single prompts; expected prompts, as problem.sample(n) draws them.")

    def __len__(self) -> int:
        return 1  # there is one, and no part of it can be drawn

    def __repr__(self) -> str:
        d, K = self.V.shape
        return f"Law(K={K}, d={d}, {len(self.source.counts)} count vectors)"


class _OnPopulation:
    """The step for a `Law`: L(Q) and its gradient -V D V^T, computed in float64, in the dtype of `params`."""

    def loss_and_grad(self, params: Any, batch: Law, loss: str) -> tuple[Any, Params]:
        params = check_params(params)
        d = len(batch.V)
        if params.Q.shape != (d, d):
            raise InvalidValue(
                f"params.Q has shape {params.Q.shape}; expected ({d}, {d}), as the features have d = {d}."
            )
        S = batch.V.T @ params.Q.astype(float) @ batch.V
        value, D = population.loss_and_increments(S, batch.p, batch.source)
        dtype = params.Q.dtype.type
        return dtype(value), Params((-batch.V @ D @ batch.V.T).astype(dtype))

    def forward(self, params: Any, batch: Law) -> Any:
        """There is nothing to predict: TypeError."""
        raise InvalidType("a Law has no single prompts to predict; expected prompts, as problem.sample(n) draws them.")


REGRESSION.steps[Law, "cpu"] = _OnPopulation()
