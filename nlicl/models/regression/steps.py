"""The regression model's table of steps: for tokens and for counts of features, on the CPU."""

from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import check_finite, packed, real_array
from ...core.describe import kind_of
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_memory
from ...kernels.steps import regression
from ..model import Step, register
from ..notebook import forward_html
from ..overflow import not_finite
from . import reference
from .prompts import CodedPrompts, Params, Prompts

__all__ = ["REGRESSION", "Forward", "Regression", "check_params"]

_FEW = 2**20  # numbers that fit into any memory
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class Forward(NamedTuple):
    """What the model computes on a batch.

    Attributes
    ----------
    score : ndarray (B,)
        yhat, the prediction of y_query.
    attention : ndarray (B, N)
        attn_i on every context ((B, N+1) where the query attends to itself).
    Attn : ndarray (B, K) or None
        Attn_k, the sum of attn_i over the contexts with x_i = v_k; of coded prompts only.
    """

    score: np.ndarray
    attention: np.ndarray
    Attn: np.ndarray | None

    def _repr_html_(self) -> str | None:
        return forward_html(self)


class _OnCpu:
    """A step through CPU kernels. A kind of prompts defines `check`, `run_forward` and `run_step`."""

    def check(self, params: Params, batch: Any) -> None:
        """TypeError, ValueError unless the prompts fit to these parameters."""
        raise NotImplementedError

    def run_forward(self, params: Params, batch: Any) -> Forward:
        raise NotImplementedError

    def run_step(self, params: Params, batch: Any) -> tuple[Any, np.ndarray]:
        """The mean loss, and dQ."""
        raise NotImplementedError

    def forward(self, params: Any, batch: Any) -> Forward:
        params = check_params(params)
        self.check(params, batch)
        with np.errstate(all="ignore"):  # overflow is found, and explained, below
            found = self.run_forward(params, batch)
        if not np.isfinite(found.score).all():
            raise not_finite("a prediction", params.Q.dtype)
        return found

    def loss_and_grad(self, params: Any, batch: Any, loss: str) -> tuple[Any, Params]:
        params = check_params(params)
        self.check(params, batch)
        with np.errstate(all="ignore"):  # as in forward
            value, dQ = self.run_step(params, batch)
        if not np.isfinite(value):
            raise not_finite("the loss", params.Q.dtype)
        if not np.isfinite(dQ).all():
            raise not_finite("the gradient of Q", params.Q.dtype)
        return value, Params(dQ)


class _TokensOnCpu(_OnCpu):
    """`Prompts`."""

    def check(self, params: Params, batch: Any) -> None:
        _check_width(batch.tokens.shape[2] - 1, "tokens", batch.tokens.shape, params)
        if batch.tokens.dtype != params.Q.dtype:
            raise InvalidType(
                f"prompts.tokens has dtype {batch.tokens.dtype}, params.Q {params.Q.dtype}; expected one dtype. Convert one "
                f"of them, for example tokens.astype(numpy.{params.Q.dtype})."
            )

    def run_forward(self, params: Params, batch: Any) -> Forward:
        n_keys = batch.length + batch.query_attends
        _check_room(batch, params, 3 * (len(params.Q) + 1) ** 2 + len(batch) * n_keys)
        score, attention = regression.forward(packed(batch.tokens), n_keys, params.Q)
        return Forward(score, attention, None)

    def run_step(self, params: Params, batch: Any) -> tuple[Any, np.ndarray]:
        n_keys = batch.length + batch.query_attends
        _check_room(batch, params, 4 * (len(params.Q) + 1) ** 2)
        return regression.step(packed(batch.tokens), packed(batch.labels), n_keys, params.Q)


class _CountsOnCpu(_OnCpu):
    """`CodedPrompts`: counts, queries and omega are all that model and loss depend on."""

    def check(self, params: Params, batch: Any) -> None:
        _check_width(batch.V.shape[0], "V", batch.V.shape, params)

    def run_forward(self, params: Params, batch: Any) -> Forward:
        d, K = batch.V.shape
        attends = 3 * len(batch) * batch.length
        _check_room(batch, params, 2 * d * (d + K) + 3 * K**2 + 5 * len(batch) * K + attends)
        score, each, own = regression.coded_forward(*_operands(params, batch))
        attention = np.take_along_axis(each, batch.features[:, : batch.length], axis=1)
        if batch.query_attends:
            attention = np.concatenate([attention, own[:, None]], axis=1)
        return Forward(score, attention, batch.counts.astype(each.dtype) * each)

    def run_step(self, params: Params, batch: Any) -> tuple[Any, np.ndarray]:
        d, K = batch.V.shape
        _check_room(batch, params, 2 * d * (d + K) + 3 * K**2 + len(batch) * (3 * K + batch.length))
        return regression.coded_step(*_operands(params, batch))


def _check_room(batch: Any, params: Params, numbers: int) -> None:
    """ValueError if so many numbers, which a step makes, do not fit into memory."""
    if numbers > _FEW:
        check_memory(
            f"{len(batch)} prompts of length {batch.length}, with d = {len(params.Q)}: the model holds some {numbers} numbers "
            "on its way", 8 * numbers, "Lower one of them.",
        )  # fmt: skip


def _operands(params: Params, batch: CodedPrompts) -> tuple[Any, ...]:
    """What the kernels for counts take, floating numbers in the parameters' dtype."""
    dtype = params.Q.dtype
    V, omega = (packed(array.astype(dtype, copy=False)) for array in (batch.V, batch.omega))
    return batch.counts.astype(dtype), omega, np.ascontiguousarray(batch.query), int(batch.query_attends), V, params.Q


def _check_width(d: int, name: str, shape: tuple[int, ...], params: Params) -> None:
    if params.Q.shape[0] != d:
        raise InvalidValue(
            f"prompts.{name} has shape {shape}, d = {d}; params.Q has shape {params.Q.shape}. Expected Q of shape "
            f"({d}, {d})."
        )


def check_params(params: Any) -> Params:
    """`params` as a Params with a packed, finite, square Q of float32 or float64; a clear error otherwise."""
    if not isinstance(params, Params):
        raise InvalidType(f"params is a {kind_of(params)}; expected nlicl.papers.huang2023.Params(Q).")
    Q = real_array(params.Q, "params.Q", "(d, d)")
    if Q.dtype not in _DTYPES:
        raise InvalidType(
            f"params.Q has dtype {Q.dtype}; expected float32 or float64. Convert with .astype(numpy.float64)."
        )
    if Q.shape[0] != Q.shape[1] or Q.size == 0:
        raise InvalidValue(f"params.Q has shape {Q.shape}; expected (d, d) with d >= 1.")
    check_finite(Q, "params.Q")
    return Params(packed(Q))


class Regression:
    """Softmax attention with the one matrix Q on linear tasks, squared loss; `reference` is its definition."""

    def __init__(self) -> None:
        self.name = "regression"
        self.Params = Params
        self.losses = ("squared",)
        self.steps: dict[tuple[type, str], Step] = {
            (Prompts, "cpu"): _TokensOnCpu(),
            (CodedPrompts, "cpu"): _CountsOnCpu(),
        }

    def check_params(self, params: Params) -> None:
        """TypeError, ValueError unless Q is square."""
        check_params(params)

    def definition(self, params: Params, prompt: Any, loss: str) -> tuple[Any, np.ndarray]:
        return reference.loss(params, prompt), np.empty(0)


REGRESSION = register(Regression())
