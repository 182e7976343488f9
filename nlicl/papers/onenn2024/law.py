"""The population as something to train on: its loss and gradient at a W of the family, in the place of a batch's [derived]."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.checks import instance
from ...core.errors import InvalidType, InvalidValue
from ...models.model import Batch
from ...models.nearest.prompts import Params
from ...models.nearest.steps import NEAREST, check_fit, check_params
from .family import place, width
from .population import Source, moments

__all__ = ["Law"]


@dataclass(frozen=True, eq=False)
class Law(Batch):
    """All prompts at once, for gradient descent on the population's squared loss from a W of the family.

    There the loss is a function of (xi1, xi2), and its gradient by W is (partial_1/d) I in W_11, -partial_2 in W_33 and 0
    elsewhere: gradient descent stays in the family. What `Problem.population` makes.

    Attributes
    ----------
    source : Source
        The law of the cosines of contexts and query.
    K : int or None
        Classes; None: binary labels.

    Raises
    ------
    TypeError, ValueError
        Something that is no `Source`, K below 2.
    """

    source: Source
    K: int | None = None

    query_attends = True

    def __post_init__(self) -> None:
        instance("source", self.source, Source, "as population.exact and population.sampled make it")
        width(self.K)

    @property
    def length(self) -> int:
        """N, the number of contexts."""
        return self.source.cosines.shape[1]

    @property
    def kappa(self) -> float:
        """(K-1)/K, or 1 for binary labels."""
        return 1.0 if self.K is None else (self.K - 1) / self.K

    def __getitem__(self, index: Any) -> Any:
        """There are no single prompts in it: TypeError."""
        raise InvalidType("a Law has no single prompts; expected prompts, as problem.sample(n) draws them.")

    def __len__(self) -> int:
        return 1  # there is one, and no part of it can be drawn

    def __repr__(self) -> str:
        return f"Law(K={self.K}, {self.source!r})"


class _OnPopulation:
    """The step for a `Law`, computed in float64, in the dtype of `params`."""

    def loss_and_grad(self, params: Any, batch: Law, loss: str) -> tuple[Any, Params]:
        params = check_params(params)
        d = batch.source.d
        check_fit(params, d, batch.K)
        if loss != "squared":
            raise InvalidValue(
                f"loss is {loss!r} on the population; expected 'squared', whose labels are averaged exactly."
            )
        W = params.W
        here = place(Params(W.astype(float)), batch.K)
        off = float(np.hypot(here.distance, here.idle))
        if off > 8 * len(W) * float(np.finfo(W.dtype).eps) * max(1.0, float(abs(W).max())):
            raise InvalidValue(
                f"params.W lies {off:.3g} off the family diag(xi1 I, 0, -xi2), where alone the population loss is known; "
                "expected a W of it, as problem.initialize() gives with init_noise = 0. Or train on prompts='fresh'."
            )
        value, partial_1, partial_2 = moments(here.xi1, here.xi2, batch.source, batch.kappa)
        dW = np.zeros(W.shape, W.dtype)
        dW[np.arange(d), np.arange(d)] = partial_1 / d
        dW[-1, -1] = -partial_2
        return W.dtype.type(value), Params(dW)

    def forward(self, params: Any, batch: Law) -> Any:
        """There is nothing to predict: TypeError."""
        raise InvalidType("a Law has no single prompts to predict; expected prompts, as problem.sample(n) draws them.")


NEAREST.steps[Law, "cpu"] = _OnPopulation()
