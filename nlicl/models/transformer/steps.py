"""The transformer's table of steps: for each kind of prompts and each device, the kernels that take them.

A step checks what it is given, calls one kernel, and explains what overflows. A paper with prompts of its own adds a step for
them: a subclass of `OnCpu` that says which kernel takes them and what it takes (`nlicl/papers/bu2024/steps.py`).
"""

import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ... import devices
from ...core.arrays import check_finite, packed
from ...core.memory import check_memory
from ...kernels.layers import loss as losses
from ...kernels.products import are_finite
from ...kernels.steps import coded, dense, unmerged
from ...kernels.steps.watched import watch
from ..model import Step, register
from ..notebook import forward_html
from ..overflow import not_finite
from . import reference
from .checks import check_all_finite, check_dtype, check_fit, check_params, check_tokens_fit, packed_params
from .prompts import CodedPrompts, Params, Prompts, packed_codes

__all__ = ["TRANSFORMER", "Forward", "OnCpu", "OnGpu", "TokensOnGpu", "Transformer", "measured"]


class Forward(NamedTuple):
    """What the model computes on a batch.

    Attributes
    ----------
    score : ndarray (B,)
        F; the prediction is its sign.
    attention : ndarray (B, l)
        attn_i, over the tokens attended to ((B, l+1) where the query attends to itself).
    context : ndarray (B, d)
        sum_i attn_i p_i.
    preactivation : ndarray (B, m)
        u = W_O W_V context.
    """

    score: np.ndarray
    attention: np.ndarray
    context: np.ndarray
    preactivation: np.ndarray

    def _repr_html_(self) -> str | None:
        return forward_html(self)


_FEW = 2**20  # numbers that fit into any memory


def _n_keys(batch: Any) -> int:
    """How many tokens the query attends to: l, or l+1 with itself."""
    return batch.length + bool(batch.query_attends)


# ---- On the CPU


class OnCpu:
    """A step through CPU kernels. For a kind of prompts, define `check` and `operands`."""

    def check(self, params: Params, batch: Any) -> None:
        """TypeError, ValueError unless the prompts fit to these parameters."""
        raise NotImplementedError

    def operands(self, params: Params, batch: Any) -> tuple[ModuleType, tuple[np.ndarray, ...], np.ndarray]:
        """The kernels' module for these prompts, the prompts as it takes them, and their labels."""
        raise NotImplementedError

    def _checked(self, params: Any, batch: Any) -> Params:
        arrays = packed_params(params)
        check_dtype(arrays)
        self.check(arrays, batch)
        check_all_finite(arrays)
        return arrays

    def forward(self, params: Any, batch: Any) -> Forward:
        arrays = self._checked(params, batch)
        with np.errstate(all="ignore"):  # as in loss_and_grad
            kernel, inputs, _ = self.operands(arrays, batch)
            _check_room(kernel, inputs, arrays, batch, len(batch))
            out = Forward(*kernel.forward(*inputs, _n_keys(batch), *arrays))
        if not are_finite(out.score):  # nor is it where attention or a pre-activation is not
            _explain_not_finite("a score", batch, arrays.W_Q.dtype)
        if not are_finite(out.context):  # which codes do without
            _explain_not_finite("a context", batch, arrays.W_Q.dtype)
        return out

    def loss_and_grad(self, params: Any, batch: Any, loss: str) -> tuple[Any, Params]:
        arrays = self._checked(params, batch)
        with np.errstate(all="ignore"):  # overflow is found, and explained, below
            kernel, inputs, labels = self.operands(arrays, batch)
            _check_room(kernel, inputs, arrays, batch, len(batch) if kernel is unmerged else 0)
            value, *grads = kernel.step(*inputs, labels, _n_keys(batch), *arrays, losses.NAMES[loss])
        if not math.isfinite(value):
            _explain_not_finite("the loss", batch, arrays.W_Q.dtype)
        if not are_finite(*grads):  # an infinite score may well have loss 0, but no gradient
            _explain_not_finite(f"the gradient of {_first_not_finite(grads, are_finite)}", batch, arrays.W_Q.dtype)
        return value, Params(*grads)


def measured(params: Params, prompts: CodedPrompts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a run measures of codes on the CPU: scores (B,), attention on the query's pattern (B,), and on how many prompts of
    either label a neuron is on (2, m). Errors as of `forward`."""
    step = _CodesOnCpu()
    arrays = step._checked(params, prompts)
    with np.errstate(all="ignore"):  # as in loss_and_grad
        E, relevant, irrelevant, kappa, sign, labels = packed_codes(prompts, arrays.W_Q.dtype)
        _check_room(coded, (E,), arrays, prompts, 0)
        found = watch(E, relevant, irrelevant, kappa, sign, labels, _n_keys(prompts), *arrays)
    if not are_finite(found[0]):
        _explain_not_finite("a score", prompts, arrays.W_Q.dtype)
    return found


def _check_room(kernel: ModuleType, inputs: tuple[np.ndarray, ...], params: Params, batch: Any, rows: int) -> None:
    """ValueError if what a kernel makes does not fit into memory: merged matrices, gradients, `rows` prompts' scores."""
    m_a, d = params.W_Q.shape
    m, m_b = params.W_O.shape
    width = 0 if kernel is unmerged else inputs[0].shape[-1]  # of the merged matrices: d, or columns of the dictionary
    numbers = width * (3 * width + 4 * m_a + 3 * m_b + 4 * m) + (2 * m_a + m_b) * d + m * m_b
    numbers += rows * (_n_keys(batch) + 2 * d + width + m)
    if kernel is unmerged:
        numbers += rows * (6 * d + 2 * (m + m_a + m_b))
    if numbers > _FEW:
        check_memory(
            f"{len(batch)} prompts of length {batch.length}, with m_a = {m_a}, m_b = {m_b}, m = {m} and d = {d}: "
            f"the model holds some {numbers} numbers on its way",
            params.W_Q.itemsize * numbers,
            "Lower one of them.",
        )


class _TokensOnCpu(OnCpu):
    """`Prompts`: through merged matrices, or through the four as they are where prompts are few."""

    def check(self, params: Params, batch: Any) -> None:
        check_tokens_fit(params, batch.tokens)

    def operands(self, params: Params, batch: Any) -> tuple[ModuleType, tuple[np.ndarray, ...], np.ndarray]:
        m_a, d = params.W_Q.shape
        few = unmerged.pays(len(batch), d, m_a, len(params.W_V), len(params.a), batch.length + 1)
        return unmerged if few else dense, (packed(batch.tokens),), packed(batch.labels)


class _CodesOnCpu(OnCpu):
    """`CodedPrompts`."""

    def check(self, params: Params, batch: Any) -> None:
        check_fit(params, "dictionary", batch.dictionary.shape, batch.dictionary.shape[0])

    def operands(self, params: Params, batch: Any) -> tuple[ModuleType, tuple[np.ndarray, ...], np.ndarray]:
        *inputs, labels = packed_codes(batch, params.W_Q.dtype)
        return coded, tuple(inputs), labels


# ---- On a GPU


class OnGpu:
    """A step through GPU kernels. For a kind of prompts, define `kernel`, `check` and `operands`.

    Parameters and prompts may lie on the host or on the GPU; what comes out lies on the GPU.
    """

    @property
    def kernel(self) -> Any:
        """The kernels' module, with `forward` and `step`."""
        raise NotImplementedError

    def check(self, params: Params, batch: Any) -> None:
        """TypeError, ValueError unless the prompts fit to these parameters."""
        raise NotImplementedError

    def operands(self, batch: Any, dtype: np.dtype) -> tuple[tuple[Any, ...], Any]:
        """The prompts on the GPU as the kernels take them, floating numbers in `dtype`, and their labels."""
        raise NotImplementedError

    def number_of(self, loss: str) -> int:
        """The number by which the kernels know a loss."""
        return losses.NAMES[loss]

    def checked(self, params: Any, batch: Any) -> tuple[Params, tuple[Any, ...], Any, int]:
        """Parameters, prompts and labels on the GPU, and the number of keys: checked, and copied where need be."""
        kernels = devices.kernels()
        there = [name for name, array in params._asdict().items() if devices.on_device(array)]
        host = check_params(params._replace(**{name: devices.shape_of(getattr(params, name)) for name in there}))
        check_dtype(host)
        self.check(host, batch)
        placed = {name: getattr(params if name in there else host, name) for name in Params._fields}
        arrays = Params(*(devices.place(array) for array in placed.values()))
        if there and not kernels.all_finite(*(getattr(arrays, name) for name in there)):
            for name in there:
                devices.check_finite(getattr(arrays, name), f"params.{name}")  # says which, and where
        inputs, labels = self.operands(batch, arrays.a.dtype)
        width = tuple(inputs[0].shape)[-1]  # d of tokens, K of a dictionary
        kernels.check_room(_n_keys(batch), width, arrays.a.size, arrays.a.dtype)
        return arrays, inputs, labels, _n_keys(batch)

    def forward(self, params: Any, batch: Any) -> Forward:
        arrays, inputs, _, n_keys = self.checked(params, batch)
        out = Forward(*self.kernel.forward(*inputs, n_keys, *arrays))
        for what, array in (("a score", out.score), ("a context", out.context)):
            if not devices.kernels().all_finite(array):
                _explain_not_finite(what, batch, arrays.W_Q.dtype)
        return out

    def loss_and_grad(self, params: Any, batch: Any, loss: str) -> tuple[Any, Params]:
        kernels = devices.kernels()
        arrays, inputs, labels, n_keys = self.checked(params, batch)
        whole, parts = kernels.gradients_of(arrays)
        self.kernel.step(parts, *inputs, labels, n_keys, *arrays, self.number_of(loss))
        value = whole[whole.size - 1 :].copy_to_host()[0]
        if not np.isfinite(value):
            _explain_not_finite("the loss", batch, whole.dtype)
        if not kernels.all_finite(whole):  # the loss, its last entry, may well be
            which = _first_not_finite(parts[:5], kernels.all_finite)
            _explain_not_finite(f"the gradient of {which}", batch, whole.dtype)
        return value, Params(*(part.reshape(*array.shape) for part, array in zip(parts[:5], arrays, strict=True)))


class TokensOnGpu(OnGpu):
    """`Prompts`, and whatever has a method `dense(dtype)` that gives them: codes that only the CPU has a kernel for."""

    @property
    def kernel(self) -> Any:
        return devices.kernels().dense

    def check(self, params: Params, batch: Any) -> None:
        if isinstance(batch, Prompts):
            check_tokens_fit(params, batch.tokens)

    def operands(self, batch: Any, dtype: np.dtype) -> tuple[tuple[Any, ...], Any]:
        batch = batch if isinstance(batch, Prompts) else batch.dense(dtype)
        return (devices.place(batch.tokens),), devices.place(batch.labels)


class _CodesOnGpu(OnGpu):
    """`CodedPrompts`."""

    @property
    def kernel(self) -> Any:
        return devices.kernels().coded

    def check(self, params: Params, batch: Any) -> None:
        check_fit(params, "dictionary", batch.dictionary.shape, batch.dictionary.shape[0])

    def operands(self, batch: Any, dtype: np.dtype) -> tuple[tuple[Any, ...], Any]:
        cuda = devices.kernels()
        placed = map(devices.place, batch.arrays.values())
        *inputs, labels = (cuda.converted(array, dtype) if array.dtype.kind == "f" else array for array in placed)
        return tuple(inputs), labels


# ---- What overflows


def _first_not_finite(grads: Any, are_finite: Any) -> str:
    return next(name for name, grad in zip(Params._fields, grads, strict=True) if not are_finite(grad))


def _explain_not_finite(what: str, batch: Any, dtype: np.dtype) -> None:
    if isinstance(batch, Prompts) and isinstance(batch.tokens, np.ndarray):
        check_finite(batch.tokens, "prompts.tokens")  # changed in place since Prompts checked it
    raise not_finite(what, dtype)


# ---- The model


class Transformer:
    """The one-layer transformer F(Psi; P) = a^T relu(W_O sum_i W_V p_i attn_i); `reference` is its definition."""

    def __init__(self) -> None:
        self.name = "transformer"
        self.Params = Params
        self.losses = tuple(losses.NAMES)  # the hinge where none is named
        self.steps: dict[tuple[type, str], Step] = {
            (Prompts, "cpu"): _TokensOnCpu(),
            (CodedPrompts, "cpu"): _CodesOnCpu(),
            (Prompts, "cuda"): TokensOnGpu(),
            (CodedPrompts, "cuda"): _CodesOnGpu(),
        }

    def check_params(self, params: Params) -> None:
        """TypeError, ValueError unless these parameters fit together."""
        check_params(params)

    def definition(self, params: Params, prompt: Any, loss: str) -> tuple[Any, np.ndarray]:
        return reference.evaluate(params, prompt, loss)


TRANSFORMER = register(Transformer())
