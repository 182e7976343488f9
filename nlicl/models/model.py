"""What a model and its prompts must offer, and the register of models.

A model is a definition, which is NumPy and any dtype, and a table of steps: one for each kind of batch on each device. The
type of the parameters says which model is meant. Where several models have the same parameters, the first one registered is
meant unless another is named: `nlicl.loss_and_grad(params, prompts, model="linear-attention")`.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from ..core.describe import kind_of, name_of, short
from ..core.errors import InvalidType, InvalidValue
from ..core.registry import MODELS, check_name
from .notebook import batch_html

__all__ = ["Batch", "Descent", "DeviceStep", "Model", "Step", "enter", "find", "register", "step_of"]


class Batch:
    """Prompts that a model takes together. A batch type inherits from it, and defines what raises NotImplementedError.

    Attributes
    ----------
    loss : str or None
        The loss where none is named; None: the model's first one.
    query_attends : bool
        Whether the query is among the tokens it attends to.
    """

    loss: ClassVar[str | None] = None
    query_attends: bool = False

    @property
    def length(self) -> int:
        """The number of contexts of each prompt."""
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of prompts, at least 1."""
        raise NotImplementedError

    def __getitem__(self, index: Any) -> Any:
        """`batch[i]` is one prompt, as definitions and formulas take it; a slice or a list of numbers gives a batch."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        return (self[n] for n in range(len(self)))

    @property
    def arrays(self) -> Mapping[str, Any]:
        """The arrays that may lie on a GPU, by name; none where the model has no GPU kernels."""
        return {}

    def cast(self, dtype: np.dtype) -> "Batch":
        """The same batch for parameters of this dtype, float32 or float64: itself, unless its numbers have to be of it, too.

        Training asks for it, so that a run in float32 takes what a problem draws in float64.
        """
        return self

    def moved(self, move: Callable[[Any], Any]) -> "Batch":
        """The same batch with every array moved elsewhere by `move`. TypeError where no GPU kernel takes it."""
        raise InvalidType(
            f"a {kind_of(self)} cannot be moved to or from a GPU: its model has no GPU kernels. Take backend='cpu'."
        )

    def __repr__(self) -> str:
        return f"{kind_of(self)}({len(self)} prompts of {self.length} contexts)"

    def _repr_html_(self) -> str | None:
        return batch_html(self)


class Step(Protocol):
    """How one kind of batch goes through a model on one device. Both methods check what they are given.

    A gradient has the shapes of the parameters. Training takes it in their dtype.
    """

    def forward(self, params: Any, batch: Any) -> Any:
        """A NamedTuple with `score` (B,) and whatever leads to it, in the dtype of the parameters."""
        ...

    def loss_and_grad(self, params: Any, batch: Any, loss: str) -> tuple[Any, Any]:
        """The mean loss over the batch, and its gradient as parameters of the same type."""
        ...


class Descent(Protocol):
    """SGD on the CPU that a model does itself, on parameters of its own: for gradients that need not be made.

    A step for the CPU may have a method `descent(params, batch, trained, masks)`. It returns a `Descent` from these
    parameters, or None where the usual way is as good: `loss_and_grad`, and then the update. Training asks for it before the
    first step of a run by SGD, with that step's batch, the names of what trains, and the masks of these.
    """

    def step(self, batch: Any, loss: str, eta: float, weight_decay: float) -> float:
        """One step of SGD. The mean loss before it; `NotFinite`, before anything is changed, if that or a gradient is not."""
        ...

    def params(self) -> Any:
        """The parameters that were reached; what trains as arrays of their own."""
        ...


@runtime_checkable
class DeviceStep(Step, Protocol):
    """A step on a GPU whose kernels a training run launches itself, so that nothing comes to the host between two steps."""

    @property
    def kernel(self) -> Any:
        """The kernels' module. Its `step` takes the gradient's parts, inputs, labels, keys, parameters and a loss's number."""
        ...

    def checked(self, params: Any, batch: Any) -> tuple[Any, Any, Any, int]:
        """Parameters, inputs and labels on the GPU and the number of keys; TypeError, ValueError unless they go together."""
        ...

    def operands(self, batch: Any, dtype: np.dtype) -> tuple[tuple[Any, ...], Any]:
        """The inputs on the GPU as the kernels take them, floating numbers in `dtype`, and the labels."""
        ...

    def number_of(self, loss: str) -> int:
        """The number by which the kernels know a loss."""
        ...


@runtime_checkable
class Model(Protocol):
    """A model: what `nlicl.forward`, `nlicl.loss_and_grad` and `nlicl.train` ask for.

    Attributes
    ----------
    name : str
        Its name in the register.
    Params : type
        A NamedTuple of arrays.
    losses : tuple of str
        The names of its losses, the usual one first.
    steps : dict of (type, str) to Step
        For a batch type and a device, "cpu" or "cuda", the step. A paper adds its own kind of prompts:
        `transformer.steps[CodedPrompts, "cpu"] = ...`.
    """

    @property
    def name(self) -> str: ...

    @property
    def Params(self) -> Any: ...

    @property
    def losses(self) -> tuple[str, ...]: ...

    @property
    def steps(self) -> MutableMapping[tuple[type, str], Step]: ...

    def definition(self, params: Any, prompt: Any, loss: str) -> tuple[Any, np.ndarray]:
        """The loss of one prompt, and its margins: the numbers whose zeros are its kinks. NumPy, of any dtype."""
        ...


def register(model: Model) -> Model:
    """Add a model to the register.

    Parameters
    ----------
    model : Model

    Returns
    -------
    Model
        The same.

    Raises
    ------
    TypeError
        It lacks something that every model has, or its `Params` is no NamedTuple.
    ValueError
        Another model has its name.
    """
    lacking = [name for name in ("name", "Params", "losses", "steps", "definition") if not hasattr(model, name)]
    if lacking or isinstance(model, type):
        given = (
            f"the class {name_of(model)}" if isinstance(model, type) else f"a {kind_of(model)}, and has no {lacking[0]}"
        )
        raise InvalidType(f"model is {given}; expected an object with all that nlicl.models.model.Model says.")
    _check(model)
    if not type(model).__module__.startswith(f"{MODELS.package}."):
        MODELS.load_own()  # the library's models come first: nobody takes their parameters, or their names, from them
    return MODELS.register(model)


def _check(model: Model) -> None:
    """TypeError, ValueError unless what a model has is of the kind that `Model` says."""
    check_name("model.name", model.name)
    if not isinstance(model.Params, type) or not hasattr(model.Params, "_fields"):
        raise InvalidType(f"model.Params is {short(model.Params)}; expected the type of a NamedTuple of arrays.")
    losses = model.losses
    if not isinstance(losses, tuple) or not losses or not all(isinstance(loss, str) for loss in losses):
        raise InvalidType(
            f"model.losses is {short(losses)}; expected a tuple of at least one name, the usual one first."
        )
    if not callable(model.definition):
        raise InvalidType(
            f"model.definition is {short(model.definition)}; expected a function of (params, prompt, loss)."
        )
    entries = list(model.steps.items()) if isinstance(model.steps, Mapping) else [(None, None)]
    for key, step in entries:
        if not isinstance(key, tuple) or len(key) != 2 or not isinstance(key[0], type) or key[1] not in ("cpu", "cuda"):
            raise InvalidType(
                f"model.steps is {short(model.steps)}; expected a dict of (batch type, 'cpu' or 'cuda') to step."
            )
        if not callable(getattr(step, "forward", None)) or not callable(getattr(step, "loss_and_grad", None)):
            raise InvalidType(
                f"model.steps[{name_of(key[0])}, {key[1]!r}] is {short(step)}; expected an object with the methods forward "
                "and loss_and_grad."
            )


def find(params: Any, batch: Any = None, model: "Model | str | None" = None) -> Model:
    """The model that these parameters belong to, and that a batch is for.

    Parameters
    ----------
    params : NamedTuple
        Parameters.
    batch : Batch, optional
        The prompts that go with them, for the error where they do not.
    model : Model or str, optional
        The model, or its name; by the type of the parameters if not given.

    Raises
    ------
    TypeError
        Parameters of no model, or of another one; something that is no model.
    ValueError
        An unknown name.
    """
    if batch is not None and not isinstance(batch, Batch):
        given = f"the class {name_of(batch)}" if isinstance(batch, type) else f"a {kind_of(batch)}"
        raise InvalidType(f"batch is {given}; expected prompts of a model, or None.")
    if model is None:
        MODELS.load_own()
        theirs = [each for each in MODELS if isinstance(params, each.Params)]
        takers = _takers(type(batch))
        fitting = theirs if batch is None or not takers else [each for each in theirs if each in takers]
        if fitting:
            return fitting[0]
        wanted = takers or list(MODELS)
        goes = f", which go with prompts of type {kind_of(batch)}, as given" if takers else ""
    else:
        chosen = MODELS.load(model) if isinstance(model, str) else model
        if not isinstance(chosen, Model) or isinstance(chosen, type):
            raise InvalidType(
                f"model is a {kind_of(model)}; expected a model, or the name of one: {', '.join(MODELS.names())}."
            )
        if isinstance(params, chosen.Params):
            return chosen
        wanted, goes = [chosen], f", the parameters of the model {chosen.name}"
    kinds = dict.fromkeys(each.Params for each in wanted)
    expected = " or ".join(f"{name_of(kind)}({', '.join(kind._fields)})" for kind in kinds)
    raise InvalidType(f"params is a {kind_of(params)}; expected {expected}{goes}.")


def enter(params: Any, batch: Any, model: "Model | str | None", device: str) -> tuple[Model, Step]:
    """The model that is meant, as `find`, and its step for such a batch on a device, as `step_of`."""
    if model is None:
        for found in MODELS:
            if type(params) is found.Params:
                step = _entry(found, type(batch), device)  # as a rule, in a microsecond
                if step is not None:
                    return found, step
                break
    found = find(params, batch, model)
    return found, step_of(found, batch, device)


def step_of(model: Model, batch: Any, device: str) -> Step:
    """The step of a model for such a batch on a device, "cpu" or "cuda".

    Raises
    ------
    TypeError
        No prompts at all, prompts of another model, or a kind of prompts that this device has no kernels for.
    """
    if not isinstance(
        getattr(model, "steps", None), Mapping
    ):  # what `Model` asks for beside it takes longer to look at
        raise InvalidType(f"model is a {kind_of(model)}; expected a model.")
    if not isinstance(device, str) or device not in ("cpu", "cuda"):
        raise InvalidValue(f"device is {short(device)}; expected 'cpu' or 'cuda'.")
    found = _entry(model, type(batch), device)
    if found is not None:
        return found
    here = ", ".join(dict.fromkeys(name_of(kind) for kind, where in model.steps if where == device)) or "none"
    if _takes(model, type(batch)):
        where, fix = "on a GPU", "Take backend='cpu', and bring what lies on a GPU to the host by nlicl.to_host."
        if device == "cpu":
            where, fix = "on the CPU", "Take backend='cuda'."
        raise InvalidType(
            f"prompts is a {kind_of(batch)}, for which the model {model.name} has no kernels {where}; it has them there for "
            f"{here}. {fix}"
        )
    raise InvalidType(f"prompts is a {kind_of(batch)}; expected prompts of the model {model.name}: {here}.")


def _entry(model: Model, kind: type, device: str) -> Step | None:
    """The table's entry for a batch type, or for the nearest type it inherits from."""
    return next((model.steps[each, device] for each in kind.__mro__ if (each, device) in model.steps), None)


def _takes(model: Model, kind: type) -> bool:
    return any(issubclass(kind, known) for known, _ in model.steps)


def _takers(kind: type) -> list[Model]:
    return [model for model in MODELS if _takes(model, kind)]
