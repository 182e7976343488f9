"""The one-nearest-neighbour model's table of steps, on the CPU."""

from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import check_finite, packed, real_array
from ...core.describe import kind_of
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_memory
from ...kernels.steps import nearest
from ..model import Step, register
from ..notebook import forward_html
from ..overflow import not_finite
from . import reference
from .prompts import Params, Prompts

__all__ = ["NEAREST", "Forward", "Nearest", "check_fit", "check_loss", "check_params"]

_FEW = 2**20  # numbers that fit into any memory
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class Forward(NamedTuple):
    """What the model computes on a batch.

    Attributes
    ----------
    answer : ndarray (B, K), or (B, 1) for binary labels
        l, the attended labels; the predicted class is its argmax, or its sign.
    attention : ndarray (B, N+1)
        q, the query's own last.
    """

    answer: np.ndarray
    attention: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """(B,): the largest entry of the answer, that of the predicted class; of binary labels the answer itself."""
        return self.answer.max(axis=1)

    @property
    def predicted(self) -> np.ndarray:
        """(B,): the predicted class, from 0; or the label, -1 or +1, of a binary answer, 0 where that is 0."""
        if self.answer.shape[1] == 1:
            return np.sign(self.answer[:, 0]).astype(np.intp)
        return self.answer.argmax(axis=1)

    def _repr_html_(self) -> str | None:
        return forward_html(self)


class _PromptsOnCpu:
    """`Prompts`, through the CPU kernels."""

    def forward(self, params: Any, batch: Any) -> Forward:
        params = _entered(params, batch)
        with np.errstate(all="ignore"):  # overflow is found, and explained, below
            answer, attention = nearest.forward(batch.operands[0], batch.width, params.W)
        if not np.isfinite(answer).all():
            raise not_finite("an answer", params.W.dtype)
        return Forward(answer, attention)

    def loss_and_grad(self, params: Any, batch: Any, loss: str) -> tuple[Any, Params]:
        params = _entered(params, batch)
        check_loss(loss, batch.K)
        with np.errstate(all="ignore"):  # as in forward
            tokens, where = batch.operands
            value, dW = nearest.step(tokens, where, batch.width, params.W, nearest.NAMES[loss], batch.mixture)
            total = np.add.reduce(dW, axis=None)  # finite, as a rule: it has finite terms
        if not isfinite(value):
            raise not_finite("the loss", params.W.dtype)
        if not isfinite(total) and not np.isfinite(dW).all():
            raise not_finite("the gradient of W", params.W.dtype)
        return value, Params(dW)


def _entered(params: Any, batch: Prompts) -> Params:
    """The parameters, checked, for such prompts."""
    params = check_params(params)
    check_fit(params, batch.inputs.shape[2], batch.K)
    if batch.inputs.dtype != params.W.dtype:
        raise InvalidType(
            f"prompts.inputs has dtype {batch.inputs.dtype}, params.W {params.W.dtype}; expected one dtype. Convert one of "
            f"them, for example prompts.cast(numpy.dtype({params.W.dtype.name!r}))."
        )
    numbers = len(batch) * (batch.length + 1) * (batch.size + 1) + 4 * batch.size**2
    if numbers > _FEW:
        check_memory(
            f"{len(batch)} prompts of length {batch.length}, with tokens of {batch.size} numbers: the model holds some "
            f"{numbers} numbers on its way", 8 * numbers, "Lower one of them.",
        )  # fmt: skip
    return params


def check_loss(loss: str, K: int | None) -> None:
    """ValueError for a loss that binary labels do not have."""
    if K is None and loss != "squared":
        raise InvalidValue(f"loss is {loss!r} with binary labels; expected 'squared', or classes: K = 2.")


def check_fit(params: Params, d: int, K: int | None) -> None:
    """ValueError unless W is for inputs of d dimensions and K classes, None for binary labels."""
    E = d + 1 + (1 if K is None else K)
    if len(params.W) != E:
        sizes = f"d = {d} and {'binary labels' if K is None else f'K = {K}'}"
        raise InvalidValue(f"params.W has shape {params.W.shape}; expected ({E}, {E}), as the prompts have {sizes}.")


def check_params(params: Any) -> Params:
    """`params` as a Params with a packed, finite, square W of float32 or float64; a clear error otherwise."""
    if not isinstance(params, Params):
        raise InvalidType(f"params is a {kind_of(params)}; expected nlicl.papers.onenn2024.Params(W).")
    W = params.W
    if type(W) is not np.ndarray or W.dtype not in _DTYPES or W.ndim != 2:
        W = real_array(W, "params.W", "(E, E)")
    if W.dtype not in _DTYPES:
        raise InvalidType(
            f"params.W has dtype {W.dtype}; expected float32 or float64. Convert with .astype(numpy.float64)."
        )
    if W.shape[0] != W.shape[1] or len(W) < 3:
        raise InvalidValue(f"params.W has shape {W.shape}; expected (E, E) with E = d + K + 1, or d + 2.")
    with np.errstate(all="ignore"):
        total = np.add.reduce(W, axis=None)
    if not isfinite(total):
        check_finite(W, "params.W")
    return Params(packed(W))


class Nearest:
    """Softmax attention with the one matrix W, the nearest context's label as target; `reference` is its definition."""

    def __init__(self) -> None:
        self.name = "nearest"
        self.Params = Params
        self.losses = reference.LOSSES
        self.steps: dict[tuple[type, str], Step] = {(Prompts, "cpu"): _PromptsOnCpu()}

    def check_params(self, params: Params) -> None:
        """TypeError, ValueError unless W is square."""
        check_params(params)

    def definition(self, params: Params, prompt: Any, loss: str) -> tuple[Any, np.ndarray]:
        return reference.loss(params, prompt, loss), np.empty(0)  # i* is the data's: no kinks


NEAREST = register(Nearest())
