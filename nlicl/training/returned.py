"""What a model's step and an optimizer return, checked once in a run: after `init`, and after the first step.

Both may be a user's own. What is wrong is named here, before it reaches the parameters or a checkpoint.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..core.describe import kind_of, short
from ..core.errors import InvalidType, InvalidValue
from .optimizers import Blocks, Optimizer, OptimizerState

__all__ = ["check_gradients", "check_state", "check_update"]


def check_gradients(grads: Any, params: Any) -> None:
    """The gradient of a step: for each parameter an array of floating numbers of its shape.

    Raises
    ------
    TypeError, ValueError
        It is none; the parameter is named.
    """
    if getattr(grads, "_fields", None) != params._fields:
        raise InvalidType(f"the model's step returns a gradient that is {short(grads)}; expected a {kind_of(params)}.")
    for name, theta in params._asdict().items():
        gradient = getattr(grads, name)
        if not isinstance(gradient, np.ndarray) or gradient.dtype.kind != "f" or gradient.shape != theta.shape:
            raise _error(f"the model's step returns the gradient of {name} as {_look(gradient)}", gradient, theta)


def check_state(optimizer: Optimizer, state: Any, params: Blocks, *, where: str = "init") -> None:
    """What `init` returns for these blocks, or the second thing that `update` does.

    Raises
    ------
    TypeError, ValueError
        It is no `OptimizerState`, or a kind of moments is not an array for each block, of its shape and dtype.
    """
    says = f"{where} of the optimizer {optimizer.name} returns"
    if not isinstance(state, OptimizerState) or not isinstance(state.moments, Mapping):
        raise InvalidType(f"{says} {short(state)} as its state; expected an nlicl.training.OptimizerState.")
    if isinstance(state.updates, bool) or not isinstance(state.updates, (int, np.integer)) or state.updates < 0:
        raise InvalidValue(f"{says} a state with updates {short(state.updates)}; expected an integer, at least 0.")
    for kind, moments in state.moments.items():
        if not isinstance(kind, str) or not kind.isprintable():  # a checkpoint has it in a name
            raise InvalidType(f"{says} moments {short(kind)}; expected their name in printable characters.")
        _check_blocks(f"{says} moments {short(kind)}", moments, params)


def check_update(optimizer: Optimizer, returned: Any, before: Blocks, state: OptimizerState) -> None:
    """What `update` returns for the blocks `before` and the state that it was given.

    Raises
    ------
    TypeError, ValueError
        It is not a dict with the same blocks, each of its shape and dtype, and a state with the same kinds of moments.
    """
    says = f"update of the optimizer {optimizer.name} returns"
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise InvalidType(f"{says} {short(returned)}; expected the new blocks, a dict, and the state.")
    blocks, after = returned
    _check_blocks(f"{says} blocks", blocks, before)
    check_state(optimizer, after, before, where="update")
    if set(after.moments) != set(state.moments):
        raise InvalidValue(f"{says} moments {_names(after.moments)}; expected {_names(state.moments)}, as init does.")


def _check_blocks(says: str, blocks: Any, expected: Blocks) -> None:
    """An array for each expected block and for no other, of its shape and dtype."""
    if not isinstance(blocks, Mapping):
        raise InvalidType(f"{says} as {short(blocks)}; expected a dict with an array for each of {_names(expected)}.")
    if set(blocks) != set(expected):
        raise InvalidValue(f"{says} {_names(blocks)}; expected those that train, {_names(expected)}, and no others.")
    for name, theta in expected.items():
        block = blocks[name]
        if not isinstance(block, np.ndarray) or block.dtype != theta.dtype or block.shape != theta.shape:
            raise _error(f"{says} with {name} as {_look(block)}", block, theta)


def _error(says: str, given: Any, theta: np.ndarray) -> Exception:
    kind = InvalidValue if isinstance(given, np.ndarray) and given.shape != theta.shape else InvalidType
    return kind(f"{says}; expected {_look(theta)}, as the parameter is.")


def _look(value: Any) -> str:
    return f"an array of shape {value.shape} and dtype {value.dtype}" if isinstance(value, np.ndarray) else short(value)


def _names(names: Iterable[Any]) -> str:
    return ", ".join(map(str, names)) or "none"
