"""The front door: which model, which step, which device. Everything else is the step's.

The model is found by the type of the parameters, the step by the kind of prompts and the device in the model's table. Whether
something lies on a GPU is asked here, once.
"""

from typing import Any

from .. import devices
from ..core.describe import kind_of, name_of, short
from ..core.errors import InvalidType, InvalidValue
from .gpt2.steps import GPT2
from .model import Batch, Model, enter
from .regression.steps import REGRESSION
from .transformer.steps import TRANSFORMER

__all__ = ["BUILT_IN", "check_batch", "check_loss", "forward", "loss_and_grad"]

BUILT_IN = (TRANSFORMER, REGRESSION, GPT2)
"""The library's own models. Others are registered by `nlicl.models.model.register`."""


def forward(params: Any, prompts: Any, model: Model | str | None = None, backend: str = "auto") -> Any:
    """Scores and intermediate quantities of the model, for every prompt of a batch.

    Parameters
    ----------
    params : Params
        Parameters of a model, `nlicl.Params` or another type, in float32 or float64.
    prompts : Prompts or CodedPrompts
        Prompts in the same dtype (coded prompts take that of `params`), of any kind that the model takes.
    model : Model or str, optional
        The model, or its name. Default: the model registered for the type of the parameters.
    backend : {"auto", "cpu", "cuda"}
        As in `loss_and_grad`.

    Returns
    -------
    Forward
        In the dtype of the parameters. It has `score` (B,), and the intermediate quantities of the model.

    Raises
    ------
    TypeError, ValueError
        As `loss_and_grad`.
    """
    check_batch(prompts)
    place = devices.choose(backend, params, prompts.arrays)
    _, step = enter(params, prompts, model, place.device)
    out = step.forward(params, prompts)
    return out if place.stays or place.device == "cpu" else devices.to_host(out)


def loss_and_grad(
    params: Any, prompts: Any, loss: str | None = None, model: Model | str | None = None, backend: str = "auto"
) -> tuple[Any, Any]:
    """Mean loss over a batch and its gradient, by the handwritten backward pass.

    Parameters
    ----------
    params : Params
        Of a model: `nlicl.Params`, or another's. float32 or float64.
    prompts : Prompts or CodedPrompts
        Of the same dtype (coded prompts take that of `params`); or another kind of prompts that the model takes.
    loss : {"hinge", "logistic", "squared"}, optional
        max(0, 1 - zF), log(1 + exp(-zF)) or (F - z)^2 / 2; some models have fewer. Default: the loss of the prompts, or the
        model's first loss, which is the hinge for `nlicl.Params`.
    model : Model or str, optional
        The model, or its name; the one that such parameters belong to, if not given.
    backend : {"auto", "cpu", "cuda"}
        The device. "auto" is the GPU if parameters or prompts are there (see `nlicl.to_device`), else the CPU. With "cuda",
        arrays on the host are copied to the GPU, and results are copied back.

    Returns
    -------
    loss : floating scalar
        (1/B) sum_n loss_n.
    grads : Params
        Its derivative with respect to each parameter, including `a`. At a kink of ReLU or hinge it is the derivative of
        the flat side, 0. If parameters or prompts are on the GPU, so are the gradients, with `__cuda_array_interface__`.

    Raises
    ------
    TypeError
        Not parameters or prompts of a model; a dtype other than float32 and float64, or two different ones.
    ValueError
        Shapes that do not fit together, NaN or infinity, an unknown loss or model, a loss or gradient that overflows; a prompt
        that does not fit into a GPU's shared memory.
    nlicl.devices.Unavailable
        backend="cuda" without a GPU, or without the package numba-cuda.
    """
    check_batch(prompts)
    place = devices.choose(backend, params, prompts.arrays)
    found, step = enter(params, prompts, model, place.device)
    value, grads = step.loss_and_grad(params, prompts, check_loss(found, prompts, loss))
    return value, grads if place.stays or place.device == "cpu" else devices.to_host(grads)


def check_loss(model: Model, prompts: Batch, loss: str | None) -> str:
    """The loss that is meant; ValueError for one that the model does not have."""
    if not isinstance(getattr(model, "losses", None), tuple):  # what `Model` asks for beside it takes longer to look at
        raise InvalidType(f"model is a {kind_of(model)}; expected a model.")
    check_batch(prompts)
    if loss is None:
        loss = prompts.loss or model.losses[0]
    if not isinstance(loss, str) or loss not in model.losses:
        known = ", ".join(map(repr, model.losses))
        few = f"{known}, the only loss of the model {model.name}" if len(model.losses) == 1 else f"one of {known}"
        raise InvalidValue(f"loss is {short(loss)}; expected {few}.")
    return str(loss)


def check_batch(prompts: Any) -> None:
    """TypeError, with what to do about it, unless `prompts` is a batch of prompts of some model."""
    if isinstance(prompts, Batch):
        return
    if isinstance(prompts, type):
        given, advice = f"the class {name_of(prompts)}", "Make some of it."
    else:
        given = f"a {kind_of(prompts)}"
        if hasattr(prompts, "tokens") and hasattr(prompts, "z"):
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
