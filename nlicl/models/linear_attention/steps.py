"""The steps of multi-head linear attention on the CPU, and the model with merged keys and queries."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import fitting, packed
from ...core.describe import kind_of, name_of, short
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_memory
from ...kernels.layers import loss as losses
from ...kernels.products import are_finite
from ...kernels.steps import linear_attention as kernels
from ..model import Step, register
from ..notebook import forward_html
from ..overflow import not_finite
from . import reference
from .prompts import Params, Prompts, SeparateParams
from .statistics import Statistics

__all__ = ["LINEAR_ATTENTION", "Forward", "LinearAttention", "OnCpu", "OnStatistics", "check_params", "checked_result"]

_FEW = 2**20  # numbers that fit into any memory
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class Forward(NamedTuple):
    """What the model computes on a batch.

    Attributes
    ----------
    score : ndarray (B,)
        yhat, the prediction of y_query.
    attention : ndarray (B, H, N+1)
        The weight a_h of every token, the query's last: scores, or their softmax.
    """

    score: np.ndarray
    attention: np.ndarray

    def _repr_html_(self) -> str | None:
        return forward_html(self)


class OnCpu:
    """`Prompts` through CPU kernels, for either kind of parameters."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def forward(self, params: Any, batch: Prompts) -> Forward:
        params = self._checked(params, batch)
        V, W = params if isinstance(params, Params) else (params.V, kernels.merge(params.K, params.Q))
        _check_room(params, batch, len(batch) * len(V) * (batch.length + 1))
        with np.errstate(all="ignore"):  # overflow is found, and explained, below
            found = Forward(*kernels.forward(packed(batch.tokens), batch.s, batch.softmax, last_rows(V), W))
        if not np.isfinite(found.score).all():
            raise not_finite("a prediction", params.V.dtype)
        return found

    def loss_and_grad(self, params: Any, batch: Prompts, loss: str) -> tuple[Any, Any]:
        params = self._checked(params, batch)
        _check_room(params, batch, 4 * sum(array.size for array in params))
        kind, how = losses.NAMES[loss], (batch.s, batch.softmax, last_rows(params.V))
        run: Callable[..., Any] = kernels.step if self.kind is Params else kernels.separate_step
        with np.errstate(all="ignore"):  # as in forward
            value, dv, *others = run(packed(batch.tokens), packed(batch.labels), *how, *params[1:], kind)
        return checked_result(params, value, dv, others)

    def _checked(self, params: Any, batch: Prompts) -> Any:
        params = check_params(params, self.kind)
        E = params.V.shape[1]
        if batch.tokens.shape[2] != E:
            raise InvalidValue(
                f"prompts.tokens has shape {batch.tokens.shape}, E = {batch.tokens.shape[2]}; params.V has shape "
                f"{params.V.shape}. Expected tokens of width {E}."
            )
        if batch.tokens.dtype != params.V.dtype:
            raise InvalidType(
                f"prompts.tokens has dtype {batch.tokens.dtype}, params.V {params.V.dtype}; expected one dtype. Convert one "
                f"of them, for example tokens.astype(numpy.{params.V.dtype})."
            )
        return params


class OnStatistics:
    """`Statistics`, for either kind of parameters: loss and gradient of all prompts, in float64, in the dtype of `params`."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def loss_and_grad(self, params: Any, batch: Statistics, loss: str) -> tuple[Any, Any]:
        params = check_params(params, self.kind)
        if params.V.shape[1] != batch.E:
            raise InvalidValue(
                f"params.V has shape {params.V.shape}; expected (H, {batch.E}, {batch.E}), as the statistics are of tokens of "
                f"width {batch.E}."
            )
        if loss != "squared":
            raise InvalidValue(
                f"loss is {loss!r}; expected 'squared', the loss that depends on these statistics alone."
            )
        V, *others = (array.astype(np.float64) for array in params)
        W = others[0] if self.kind is Params else kernels.merge(*others)
        v = last_rows(V)
        with np.errstate(all="ignore"):  # overflow is found, and explained, below
            value, dm = batch.loss_and_slope(kernels.tensor(v, W))
            dv, dW = kernels.of_tensor(dm, v, W)
            found = [dW] if self.kind is Params else list(kernels.merge_backward(dW, *others))
        dtype = params.V.dtype.type
        return checked_result(params, dtype(value), dv.astype(dtype), [array.astype(dtype) for array in found])

    def forward(self, params: Any, batch: Any) -> Any:
        """There is nothing to predict: TypeError."""
        raise InvalidType(
            "Statistics have no single prompts to predict; expected prompts, as problem.sample(n) draws them."
        )


def last_rows(V: np.ndarray) -> np.ndarray:
    """v_h, the last row of each W^V_h, as (H, E): all of them that acts."""
    return np.ascontiguousarray(V[:, -1])


def checked_result(params: Any, value: Any, dv: np.ndarray, others: list[np.ndarray]) -> tuple[Any, Any]:
    """The loss, and its gradient as parameters; `NotFinite` where it has overflowed."""
    if not np.isfinite(value):
        raise not_finite("the loss", params.V.dtype)
    dV = np.zeros_like(params.V)
    dV[:, -1] = dv
    for name, array in zip(params._fields, (dv, *others), strict=True):
        if not are_finite(np.ascontiguousarray(array)):
            raise not_finite(f"the gradient of {name}", params.V.dtype)
    return value, type(params)(dV, *others)


def check_params(params: Any, kind: type = Params) -> Any:
    """`params` of this kind with packed, finite arrays of float32 or float64 that go together; a clear error otherwise.

    Parameters
    ----------
    params : Params or SeparateParams
    kind : {Params, SeparateParams}
    """
    if kind is not Params and kind is not SeparateParams:
        raise InvalidType(f"kind is {short(kind)}; expected Params or SeparateParams.")
    if _is_plain(params, kind):
        return params  # as a rule, in some microseconds
    shapes = reference.SHAPES[kind]
    if not isinstance(params, kind):
        raise InvalidType(f"params is a {kind_of(params)}; expected a {name_of(kind)}({', '.join(shapes)}).")
    given = {f"params.{name}": array for name, array in params._asdict().items()}
    arrays = fitting(given, dict(zip(given, shapes.values(), strict=True)))
    dtypes = [array.dtype for array in arrays]
    for name, dtype in zip(shapes, dtypes, strict=True):
        if dtype not in _DTYPES or dtype != dtypes[0]:
            other = f"{dtype}, params.V {dtypes[0]}" if dtype in _DTYPES and dtypes[0] in _DTYPES else str(dtype)
            raise InvalidType(
                f"params.{name} has dtype {other}; expected float32 or float64, one for all. Convert with "
                ".astype(numpy.float64)."
            )
    E = arrays[0].shape[1]
    if E < 2:
        raise InvalidValue(f"params.V has shape {arrays[0].shape}; expected (H, E, E) with E = D + 1, at least 2.")
    return kind(*arrays)


def _is_plain(params: Any, kind: type) -> bool:
    """Whether the parameters are packed arrays of numbers, of one dtype and shapes that go together."""
    arrays: tuple[Any, ...] = tuple(params) if type(params) is kind else ()  # type: ignore[arg-type]
    if not arrays or any(type(array) is not np.ndarray or array.ndim != 3 for array in arrays):
        return False
    V, *others = arrays
    H, E = V.shape[0], V.shape[1]
    fits = V.shape == (H, E, E) and E > 1 and H > 0 and V.dtype in _DTYPES and V.flags.c_contiguous
    for array in others:
        fits = fits and array.shape == others[0].shape and array.dtype == V.dtype and array.flags.c_contiguous
    rows = others[0].shape[1]
    fits = fits and others[0].shape == (H, rows, E) and (rows == E if kind is Params else rows > 0)
    return bool(fits and are_finite(*arrays))


def _check_room(params: Any, batch: Prompts, numbers: int) -> None:
    """ValueError if so many numbers, which a step makes, do not fit into memory."""
    if numbers > _FEW:
        check_memory(
            f"{len(batch)} prompts of length {batch.length}, with {len(params.V)} heads of width {params.V.shape[1]}: the "
            f"model holds some {numbers} numbers on its way", 8 * numbers, "Lower one of them.",
        )  # fmt: skip


class LinearAttention:
    """Multi-head linear attention, or softmax attention, with merged keys and queries; `reference` is its definition.

    The squared loss is without 1/2 [source]. The logistic one is that of the classifier.
    """

    def __init__(self) -> None:
        self.name = "linear_attention"
        self.Params = Params
        self.losses = ("squared", "logistic")
        self.steps: dict[tuple[type, str], Step] = {
            (Prompts, "cpu"): OnCpu(Params),
            (Statistics, "cpu"): OnStatistics(Params),
        }

    def check_params(self, params: Params) -> None:
        """TypeError, ValueError unless V and W are (H, E, E)."""
        check_params(params)

    def definition(self, params: Params, prompt: Any, loss: str) -> tuple[Any, np.ndarray]:
        return reference.loss(params, prompt, loss), np.empty(0)


LINEAR_ATTENTION = register(LinearAttention())
