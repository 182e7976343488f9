"""The front door: what is given is checked here, once, and then one kernel is called.

The model is that of Li et al. 2024 and Bu et al. 2024 (`nlicl.models.transformer.reference` defines it); its kernels are in
`nlicl.kernels.steps.dense`, for tokens, and `nlicl.kernels.steps.coded`, for prompts that are codes; both have twins for a GPU in
`nlicl.kernels.cuda`. Prompts of a paper with another model
have `forward(params)` and `loss_and_grad(params, loss)` of their own, and are asked. `takes` of a class of prompts is the type
of the parameters that go with them.
"""

from typing import NamedTuple

import numpy as np

from .. import devices
from ..core.arrays import check_finite, kind_of, name_of, packed, real_array
from ..core.errors import InvalidType, InvalidValue, NotFinite
from ..devices import on_device
from ..kernels.layers import loss as losses
from ..kernels.products import are_finite
from ..kernels.steps import coded, dense, unmerged
from .transformer.prompts import CodedPrompts, Params, Prompt, Prompts

__all__ = ["Forward", "NotFinite", "Params", "Prompt", "Prompts", "forward", "loss_and_grad"]


_SHAPES = {"W_Q": "(m_a, d)", "W_K": "(m_a, d)", "W_V": "(m_b, d)", "W_O": "(m, m_b)", "a": "(m,)"}
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


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


def forward(params, prompts, backend="auto"):
    """Scores and what leads to them, for every prompt of a batch.

    Parameters
    ----------
    params : Params
        float32 or float64.
    prompts : Prompts or CodedPrompts
        Of the same dtype (coded prompts take that of `params`); or those of a paper with another model, with its `Params`.
    backend : {"auto", "cpu", "cuda"}
        As in `loss_and_grad`.

    Returns
    -------
    Forward
        In the dtype given. Another model's has `score` and `attention`, and what else there is.

    Raises
    ------
    TypeError, ValueError
        As `loss_and_grad`.
    """
    _check_pair(params, prompts)
    if devices.choose(backend, params, prompts) == "cuda":
        return _forward_on_gpu(params, prompts)
    if hasattr(prompts, "loss_and_grad"):
        return prompts.forward(params)
    arrays, kernel, inputs, _, keys = _checked(params, prompts)
    with np.errstate(all="ignore"):  # as in loss_and_grad
        out = Forward(*kernel.forward(*inputs, keys, *arrays))
    if not np.isfinite(out.score).all():
        _explain_not_finite("a score", prompts, arrays.W_Q.dtype)
    return out


def loss_and_grad(params, prompts, loss=None, backend="auto"):
    """Mean loss over a batch and its gradient, by the handwritten backward pass.

    Parameters
    ----------
    params : Params
        float32 or float64.
    prompts : Prompts or CodedPrompts
        Of the same dtype (coded prompts take that of `params`); or those of a paper with another model, with its `Params`.
    loss : {"hinge", "logistic", "squared"}, optional
        max(0, 1 - zF), log(1 + exp(-zF)) or (F - z)^2 / 2. The hinge if not given, or another model's own loss.
    backend : {"auto", "cpu", "cuda"}
        Where to compute: on a GPU through CUDA; on the CPU; or, "auto", on the GPU if parameters or prompts lie there (see
        `nlicl.to_device`) and on the CPU if not. Arrays of the host are copied to the GPU and what comes out is copied back.

    Returns
    -------
    loss : floating scalar
        (1/B) sum_n loss_n.
    grads : Params
        Its derivative with respect to each parameter, `a` included; at a kink of ReLU or hinge the derivative of the
        flat side, 0. On the GPU, as arrays with `__cuda_array_interface__`, if parameters or prompts lie there.

    Raises
    ------
    TypeError
        Not a Params, Prompts or CodedPrompts; a dtype other than float32 and float64, or two different ones.
    ValueError
        Shapes that do not fit together, NaN or infinity, an unknown loss, a loss or gradient that overflows; a prompt that
        does not fit into a GPU's shared memory.
    nlicl.devices.Unavailable
        backend="cuda" without a GPU, or without the package numba-cuda.
    """
    _check_pair(params, prompts)
    on_gpu = devices.choose(backend, params, prompts) == "cuda"
    if on_gpu:
        _check_has_gpu_kernel(prompts)
    if hasattr(prompts, "loss_and_grad"):
        return prompts.loss_and_grad(params) if loss is None else prompts.loss_and_grad(params, loss)
    loss = getattr(prompts, "loss", "hinge") if loss is None else loss
    kind = kind_of_loss(loss)
    if on_gpu:
        return _loss_and_grad_on_gpu(params, prompts, kind)
    arrays, kernel, inputs, labels, keys = _checked(params, prompts)
    with np.errstate(all="ignore"):  # overflow is found, and explained, below
        value, *grads = kernel.step(*inputs, labels, keys, *arrays, kind)
    if not np.isfinite(value):
        _explain_not_finite("the loss", prompts, arrays.W_Q.dtype)
    if not are_finite(*grads):  # an infinite score may well have loss 0, but no gradient
        _explain_not_finite(f"the gradient of {_first_not_finite(grads, are_finite)}", prompts, arrays.W_Q.dtype)
    return value, Params(*grads)


# ---- The same on a GPU


def _forward_on_gpu(params, prompts):
    _check_has_gpu_kernel(prompts)
    cuda = devices.kernels()
    arrays, kernel, inputs, _, keys = placed(params, prompts)
    out = Forward(*getattr(cuda, f"{kernel}_forward")(*inputs, keys, *arrays))
    if not cuda.all_finite(out.score):
        _explain_not_finite("a score", prompts, arrays.W_Q.dtype)
    return out if devices.any_there(params, prompts) else devices.to_host(out)


def _loss_and_grad_on_gpu(params, prompts, kind):
    cuda = devices.kernels()
    arrays, kernel, inputs, labels, keys = placed(params, prompts)
    whole, parts = cuda.gradients_of(arrays)
    getattr(cuda, f"{kernel}_step")(parts, *inputs, labels, keys, *arrays, kind)
    value = whole[whole.size - 1 :].copy_to_host()[0]
    if not np.isfinite(value):
        _explain_not_finite("the loss", prompts, whole.dtype)
    if not cuda.all_finite(whole):  # the loss, its last entry, may well be
        _explain_not_finite(f"the gradient of {_first_not_finite(parts[:5], cuda.all_finite)}", prompts, whole.dtype)
    grads = Params(*(part.reshape(*array.shape) for part, array in zip(parts[:5], arrays, strict=True)))
    return value, grads if devices.any_there(params, prompts) else devices.to_host(grads)


def placed(params, prompts):
    """Parameters and prompts, checked, on the GPU as its kernels want them: `_checked` for these, copied where need be.

    Returns parameters, and what `inputs_on_gpu` returns.
    """
    if not isinstance(prompts, (Prompts, CodedPrompts)):
        prompts = prompts.dense(devices.fetch(params.W_Q).dtype)  # codes that only the CPU has a kernel for
    there = {f"params.{name}": array for name, array in params._asdict().items() if on_device(array)}
    checked = check_params(Params(*(devices.shape_of(array) if on_device(array) else array for array in params)))
    _check_fit(checked, prompts)
    arrays = Params(*(devices.place(a if on_device(a) else b) for a, b in zip(params, checked, strict=True)))
    if there and not devices.kernels().all_finite(*map(devices.place, there.values())):
        for name, array in there.items():
            devices.check_finite(array, name)  # says which, and where
    kernel, inputs, labels, keys = inputs_on_gpu(prompts, arrays.a.dtype)
    width = tuple(inputs[0].shape)[-1]  # d of tokens, K of a dictionary
    devices.kernels().check_room(keys, width, arrays.a.size, arrays.a.dtype)
    return arrays, kernel, inputs, labels, keys


def inputs_on_gpu(prompts, dtype):
    """The kernel for such prompts, "dense" or "coded", the prompts on the GPU as it takes them, labels, and number of keys."""
    cuda = devices.kernels()
    keys = prompts.length + bool(prompts.query_attends)
    if isinstance(prompts, Prompts):
        return "dense", [devices.place(prompts.tokens)], devices.place(prompts.labels), keys
    *inputs, labels = (
        cuda.converted(devices.place(array), dtype) if array.dtype.kind == "f" else devices.place(array)
        for array in prompts._arrays
    )
    return "coded", inputs, labels, keys


def _check_has_gpu_kernel(prompts):
    if hasattr(prompts, "loss_and_grad"):
        raise InvalidType(
            f"prompts is a {kind_of(prompts)}, for whose model there are no GPU kernels; expected prompts of Li et al. or Bu "
            "et al. Take backend='cpu', and bring what lies on a GPU to the host by nlicl.to_host."
        )


def _first_not_finite(grads, are_finite):
    return next(name for name, grad in zip(Params._fields, grads, strict=True) if not are_finite(grad))


def kind_of_loss(loss):
    """The number that kernels know a loss by; ValueError for an unknown one."""
    if not isinstance(loss, str) or loss not in losses.NAMES:
        raise InvalidValue(f"loss is {loss!r}; expected one of {', '.join(map(repr, losses.NAMES))}.")
    return losses.NAMES[loss]


def check_batch(prompts):
    """TypeError, with what to do about it, unless `prompts` is a batch of prompts of some model."""
    if isinstance(prompts, type):
        given, advice = f"the class {name_of(prompts)}", "Make some of it."
    elif (
        isinstance(prompts, (Prompts, CodedPrompts)) or hasattr(prompts, "kernel") or hasattr(prompts, "loss_and_grad")
    ):
        return
    else:
        given = f"a {kind_of(prompts)}"
        if isinstance(prompts, Prompt):
            advice = "That is a single one: take a batch of one from where it came from, prompts[i : i + 1]."
        elif hasattr(prompts, "sample"):
            advice = "Draw them from it: problem.sample(256)."
        elif hasattr(prompts, "_fields"):
            advice = "The parameters come first, then the prompts."
        else:
            advice = "Arrays make them as nlicl.Prompts(tokens, labels)."
    raise InvalidType(
        f"prompts is {given}; expected nlicl.Prompts, nlicl.CodedPrompts, or a batch of a paper with another model. {advice}"
    )


def _check_pair(params, prompts):
    """TypeError unless `prompts` is a batch and `params` are parameters of its model."""
    check_batch(prompts)
    takes = getattr(prompts, "takes", None)  # the population in the place of prompts says nothing, and checks by itself
    if takes is not None and not isinstance(params, takes):
        raise InvalidType(
            f"params is a {kind_of(params)}; expected {name_of(takes)}({', '.join(takes._fields)}), which go with prompts of "
            f"type {kind_of(prompts)}, as given."
        )


def _checked(params, prompts):
    """Arrays as the kernels want them: of one dtype, contiguous, fitting together. The only validation there is.

    Returns parameters, the kernel for such prompts, the prompts as it takes them, labels, and the number of keys.
    """
    arrays = params if _is_ready(params) else Params(*map(packed, check_params(params)))
    _check_fit(arrays, prompts)
    if not are_finite(*arrays):
        check_params(params)  # says which, and where
    if not isinstance(prompts, Prompts):  # codes, with a kernel of their own or that of Li et al.
        kernel, (*inputs, labels) = getattr(prompts, "kernel", coded), prompts.packed(arrays.W_Q.dtype)
    else:
        kernel, inputs, labels = dense, [packed(prompts.tokens)], packed(prompts.labels)
        if unmerged.pays(len(prompts), *arrays.W_Q.shape[::-1], len(arrays.W_V), len(arrays.a)):
            kernel = unmerged
    return arrays, kernel, inputs, labels, prompts.length + bool(prompts.query_attends)


def _check_fit(arrays, prompts):
    """TypeError, ValueError unless kernels take these parameters, and the prompts are of their dtype and width."""
    dtype = arrays.W_Q.dtype
    if dtype not in _DTYPES:
        raise InvalidType(
            f"params has dtype {dtype}; expected float32 or float64. Convert with .astype(numpy.float64)."
        )
    if not isinstance(prompts, Prompts):
        name, shape, d = "dictionary", prompts.dictionary.shape, prompts.dictionary.shape[0]
    else:
        name, shape, d = "tokens", prompts.tokens.shape, prompts.tokens.shape[2]
        if prompts.tokens.dtype != dtype:
            raise InvalidType(
                f"prompts.tokens has dtype {prompts.tokens.dtype}, params {dtype}; expected one dtype. "
                f"Convert one of them, for example tokens.astype(numpy.{dtype})."
            )
    if d != arrays.W_Q.shape[1]:
        raise InvalidValue(
            f"prompts.{name} has shape {shape}, width d = {d}; params.W_Q has shape "
            f"{arrays.W_Q.shape}, d = {arrays.W_Q.shape[1]}. Expected the same d in both."
        )


def _is_ready(params):
    """Whether `params` is what kernels take, but for NaN and infinity: the usual case, settled in microseconds."""
    if not isinstance(params, Params):
        return False
    W_Q, W_K, W_V, W_O, a = params
    dtype = getattr(W_Q, "dtype", None)
    return (
        dtype in _DTYPES
        and all(type(array) is np.ndarray and array.dtype == dtype and array.flags.carray for array in params)
        and W_Q.ndim == W_V.ndim == W_O.ndim == 2
        and W_Q.shape == W_K.shape
        and W_V.shape[1:] == W_Q.shape[1:]
        and W_O.shape[1:] == W_V.shape[:1]
        and a.shape == W_O.shape[:1]
        and min(W_Q.size, W_V.size, W_O.size) > 0
    )


def check_params(params):
    """`params` as a Params of floating (or complex) arrays of one dtype that fit together; a clear error otherwise."""
    if not isinstance(params, Params):
        raise InvalidType(f"params is a {kind_of(params)}; expected nlicl.Params(W_Q, W_K, W_V, W_O, a).")
    arrays = Params(
        *(real_array(getattr(params, k), f"params.{k}", shape, complex_too=True) for k, shape in _SHAPES.items())
    )
    for name, array in arrays._asdict().items():
        if array.dtype != arrays.W_Q.dtype:
            raise InvalidType(
                f"params.{name} has dtype {array.dtype}, params.W_Q {arrays.W_Q.dtype}; expected one dtype for all. "
                f"Convert with .astype(numpy.{arrays.W_Q.dtype})."
            )
        if array.size == 0:
            raise InvalidValue(
                f"params.{name} has shape {array.shape}; expected {_SHAPES[name]} with every size at least 1."
            )
    sizes = {}  # letter -> (size, who said so first)
    for name, array in arrays._asdict().items():
        for letter, size in zip(_letters(_SHAPES[name]), array.shape, strict=True):
            known, who = sizes.setdefault(letter, (size, name))
            if known != size:
                raise InvalidValue(
                    f"params.{name} has shape {array.shape}; expected {_SHAPES[name]} with {letter} = {known}, "
                    f"as in params.{who} of shape {getattr(arrays, who).shape}, {_SHAPES[who]}."
                )
    for name, array in arrays._asdict().items():
        check_finite(array, f"params.{name}")
    return arrays


def _letters(shape):
    return [letter.strip() for letter in shape.strip("()").split(",") if letter.strip()]


def _explain_not_finite(what, prompts, dtype):
    if isinstance(prompts, Prompts):
        check_finite(prompts.tokens, "prompts.tokens")  # changed in place since Prompts checked it
    raise NotFinite(
        f"{what} is not finite although parameters and prompts are: products of them overflow {dtype}. "
        "Scale parameters or prompts down" + (", or use float64." if dtype == np.float32 else ".")
    )
