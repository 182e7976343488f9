"""GPT-2's table of steps: for tokens, on the CPU."""

from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import check_finite, packed
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_memory
from ...kernels.layers import loss as losses
from ...kernels.products import are_finite
from ...kernels.steps import gpt2
from ..model import Step, register
from ..notebook import forward_html
from ..overflow import not_finite
from . import reference
from .prompts import Params, Prompts, checked_params

__all__ = ["GPT2", "Forward", "Gpt2"]

_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_FEW = 2**20  # numbers that fit into any memory


class Forward(NamedTuple):
    """What the model computes on a batch.

    Attributes
    ----------
    score : ndarray (B, R)
        F at each token that is read; the prediction is its sign.
    attention : ndarray (B, L, H, T)
        A of the last token that is read, by block and head.
    preactivation : ndarray (B, L, M)
        W_fc n + b_fc of the same token.
    """

    score: np.ndarray
    attention: np.ndarray
    preactivation: np.ndarray

    def _repr_html_(self) -> str | None:
        return forward_html(self)


class _TokensOnCpu:
    """`Prompts`, through the CPU kernels."""

    def forward(self, params: Any, batch: Any) -> Forward:
        arrays = _entered(params, batch)
        L, M, _ = arrays.W_fc.shape
        T = batch.tokens.shape[1]
        heads = arrays.W_qkv.shape[2]
        _check_room(batch, arrays, len(batch) * L * (heads * T + M))
        with np.errstate(all="ignore"):  # as in loss_and_grad
            out = Forward(
                *gpt2.forward(packed(batch.tokens), np.array(batch.reads), batch.causal, heads, _operands(arrays))
            )
        if not are_finite(*out):
            _explain_not_finite("a score", batch, arrays)
        return out

    def loss_and_grad(self, params: Any, batch: Any, loss: str) -> tuple[Any, Params]:
        arrays = _entered(params, batch)
        _check_room(batch, arrays, 0)
        tokens, labels, reads = packed(batch.tokens), packed(batch.labels), np.array(batch.reads)
        heads = arrays.W_qkv.shape[2]
        with np.errstate(all="ignore"):  # overflow is found, and explained, below
            value, found = gpt2.step(tokens, labels, reads, batch.causal, heads, _operands(arrays), losses.NAMES[loss])
        if not np.isfinite(value):
            _explain_not_finite("the loss", batch, arrays)
        if not are_finite(*found):
            which = next(name for name, grad in found._asdict().items() if not are_finite(grad))
            _explain_not_finite(f"the gradient of {which}", batch, arrays)
        return value, Params(*(grad.reshape(array.shape) for grad, array in zip(found, arrays, strict=True)))


def _entered(params: Any, batch: Prompts) -> Params:
    """Packed parameters that go with these prompts; a clear error otherwise."""
    arrays = checked_params(params)
    dtypes = {name: array.dtype for name, array in arrays._asdict().items()}
    if len(set(dtypes.values())) > 1 or arrays.W_in.dtype not in _DTYPES:
        name = next((name for name in dtypes if dtypes[name] != dtypes["W_in"]), "W_in")
        raise InvalidType(
            f"params.{name} has dtype {dtypes[name]}, params.W_in {dtypes['W_in']}; expected float32 or float64, the same for "
            "all. Convert with .astype(numpy.float64)."
        )
    if batch.tokens.dtype != arrays.W_in.dtype:
        raise InvalidType(
            f"prompts.tokens has dtype {batch.tokens.dtype}, params {arrays.W_in.dtype}; expected one dtype. Convert one of "
            f"them, for example tokens.astype(numpy.{arrays.W_in.dtype})."
        )
    _, T, d = batch.tokens.shape
    if arrays.W_in.shape[1] != d:
        raise InvalidValue(
            f"prompts.tokens has shape {batch.tokens.shape}, d = {d}; params.W_in has shape {arrays.W_in.shape}. Expected "
            f"W_in of shape (C, {d})."
        )
    if len(arrays.wpe) < T:
        raise InvalidValue(
            f"prompts.tokens has T = {T} tokens; expected at most {len(arrays.wpe)}, the positions in params.wpe. Give "
            "shorter prompts, or parameters with more positions."
        )
    return arrays


def _operands(params: Params) -> gpt2.Parameters:
    """The parameters as the kernels take them: the matrices of all heads as one."""
    L, _, _, _, C = params.W_qkv.shape
    whole = {"W_qkv": params.W_qkv.reshape(L, 3 * C, C), "b_qkv": params.b_qkv.reshape(L, 3 * C)}
    return gpt2.Parameters(*(packed(array) for array in params._replace(**whole)))


def _check_room(batch: Prompts, params: Params, more: int) -> None:
    """ValueError if gradients and what a block of prompts leaves do not fit into memory."""
    B, T, _ = batch.tokens.shape
    L, M, C = params.W_fc.shape
    n_chunks, block = gpt2.plan(batch.tokens.shape)
    row = (L + 2) * (10 * C + 3 * M + params.W_qkv.shape[2] * T)
    numbers = more + (n_chunks + 2) * sum(array.size for array in params) + n_chunks * block * T * row
    if numbers > _FEW:
        check_memory(
            f"{B} prompts of T = {T} tokens, with C = {C}, M = {M} and {L} layers: the model holds some {numbers} numbers on "
            "its way",
            params.W_in.itemsize * numbers,
            "Lower one of them.",
        )


def _explain_not_finite(what: str, batch: Prompts, params: Params) -> None:
    check_finite(batch.tokens, "prompts.tokens")  # changed in place since Prompts checked it
    raise not_finite(what, params.W_in.dtype)


class Gpt2:
    """GPT-2 for prompts of vectors; `reference` is its definition."""

    def __init__(self) -> None:
        self.name = "gpt2"
        self.Params = Params
        self.losses = tuple(losses.NAMES)
        self.steps: dict[tuple[type, str], Step] = {(Prompts, "cpu"): _TokensOnCpu()}

    def check_params(self, params: Params) -> None:
        """TypeError, ValueError unless these parameters fit together."""
        checked_params(params)

    def definition(self, params: Params, prompt: Any, loss: str) -> tuple[Any, np.ndarray]:
        return reference.evaluate(params, prompt, loss)


GPT2 = register(Gpt2())
