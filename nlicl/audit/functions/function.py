"""A loss and a gradient as the audit calls them: on fresh copies, counted, within a time limit; and how they behave.

A verdict means something only if loss and gradient are functions: the same numbers at the same place, whatever was called
before. That is tried first.
"""

import inspect
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...core.errors import InvalidInput, InvalidValue
from ..answer import describe
from ..forms import Arguments

__all__ = ["Conduct", "Function", "OutOfTime", "conduct"]

HARMLESS = 1e-9  # a value that differs by so much from call to call has noise; one that differs by more is random
LEAST_CALLS, MOST_CALLS = 6, 16
PATIENCE = 0.3  # seconds for calls beyond the least


class OutOfTime(Exception):
    """The time limit is over."""


class Function:
    """Loss and gradient of one list of arrays.

    Parameters
    ----------
    arguments : Arguments
        The forms in which they take and return arrays.
    loss : callable
    gradient : callable, or True if `loss` returns (loss, gradient)
    timeout : float or None
        Seconds from now on after which a call raises OutOfTime instead.
    """

    def __init__(
        self, arguments: Arguments, loss: Callable[..., Any], gradient: Callable[..., Any] | bool, timeout: float | None
    ) -> None:
        self.arguments, self._loss, self._gradient = arguments, loss, gradient
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.calls = {"loss": 0, "gradient": 0}
        self.altered: set[str] = set()

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """Loss and gradient, or the one that returns both."""
        return (self._loss, self._gradient) if callable(self._gradient) else (self._loss,)

    @property
    def name(self) -> str:
        """What to call the loss."""
        name = _attribute(self._loss, "__name__")
        return name if isinstance(name, str) and name.isidentifier() else "loss"

    @property
    def source(self) -> str:
        """Where the gradient stands: its name and file."""
        gradient = self.functions[-1]
        file = _attribute(_attribute(gradient, "__code__"), "co_filename") or ""
        return " of ".join(
            filter(None, (getattr(gradient, "__name__", type(gradient).__name__), file.rsplit("/", 1)[-1]))
        )

    @property
    def code(self) -> str:
        """The gradient's source text; empty where Python does not know it."""
        try:
            return inspect.getsource(self.functions[-1])
        except Exception:  # what Python does not know, or attributes that raise
            return ""

    def value(self, leaves: Sequence[Any], opened: Callable[[Any], Any] | None = None) -> Any:
        """The loss at these arrays, real, complex or dual; whatever it raises. `opened` is done to what it returns first."""
        returned = self._call("loss", self._loss, leaves)
        if self._gradient is True:
            returned = self.arguments.split_pair(returned)[0]
        return self.arguments.number(returned if opened is None else opened(returned))

    def real(self, leaves: Sequence[np.ndarray]) -> float:
        """The loss at a place where it may be undefined: NaN there."""
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = float(self.value(leaves))
        except OutOfTime:
            raise
        except (Exception, SystemExit):
            return np.nan
        return value if np.isfinite(value) else np.nan

    def gradient(self, leaves: Sequence[np.ndarray], loss_first: bool = True) -> list[np.ndarray]:
        """The gradient, an array for each argument; the loss is called first, since it may store what the gradient needs."""
        if self._gradient is True:
            return self.arguments.gradient(self.arguments.split_pair(self._call("loss", self._loss, leaves))[1])
        if loss_first:
            self._call("loss", self._loss, leaves)
        assert callable(self._gradient)
        return self.arguments.gradient(self._call("gradient", self._gradient, leaves))

    def gradient_or_none(self, leaves: Sequence[np.ndarray]) -> list[np.ndarray] | None:
        """The gradient at a place where it may be undefined: None there."""
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.gradient(leaves)
        except OutOfTime:
            raise
        except (Exception, SystemExit):
            return None

    def raw_gradient(self, leaves: Sequence[Any]) -> Any:
        """What the gradient returns on dual or complex arrays, unread; the loss is called first on real ones."""
        if self._gradient is True:
            return self.arguments.split_pair(self._call("loss", self._loss, leaves))[1]
        assert callable(self._gradient)
        return self._call("gradient", self._gradient, leaves)

    def _call(self, name: str, function: Callable[..., Any], leaves: Sequence[Any]) -> Any:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise OutOfTime
        self.calls[name] += 1
        returned, altered = self.arguments.call(function, leaves)
        self.altered |= {f"{name} altered its argument {argument} in place" for argument in altered}
        return returned

    def at(self, leaves: Sequence[np.ndarray]) -> tuple[np.floating[Any], list[np.ndarray]]:
        """Loss and gradient at the place that was asked for: an error in one sentence if there are none.

        Raises
        ------
        ValueError, TypeError
            One of the two raises, or returns something else.
        """
        try:
            value = self.value(leaves)
        except (InvalidInput, OutOfTime):
            raise
        except SystemExit as error:
            raise InvalidValue(
                f"loss ends the process by {describe(error)} at x; expected one finite real number."
            ) from None
        except Exception as error:
            raise InvalidValue(f"loss raises {describe(error)} at x; expected one finite real number.") from error
        if not np.isrealobj(value) or not np.isfinite(value):
            raise InvalidValue(
                f"loss returns {value!r} at x; expected one finite real number. Move x to where it is finite."
            )
        try:
            return value, self.gradient(leaves)
        except (InvalidInput, OutOfTime):
            raise
        except SystemExit as error:
            raise InvalidValue(f"gradient ends the process by {describe(error)} at x; expected an array.") from None
        except Exception as error:
            raise InvalidValue(
                f"gradient raises {describe(error)} at x; expected an array for each argument."
            ) from error


def _attribute(thing: Any, name: str) -> Any:
    """An attribute; None if there is none, or asking for it raises."""
    try:
        return getattr(thing, name, None)
    except Exception:
        return None


@dataclass
class Conduct:
    """How loss and gradient behave when they are called again.

    Attributes
    ----------
    objection : str
        Why no verdict is possible, in one sentence; empty if they are functions.
    remarks : list of str
        What else was seen.
    noise : float
        The largest difference of two values of the loss at x.
    """

    objection: str = ""
    remarks: list[str] = field(default_factory=list)
    noise: float = 0.0


def conduct(function: Function, x: Sequence[np.ndarray], value: float, given: list[np.ndarray]) -> Conduct:
    """Call both again at x, and gradient after the loss of another place."""
    found = Conduct()
    began = time.monotonic()
    for number in range(MOST_CALLS):
        if number >= LEAST_CALLS and time.monotonic() - began > PATIENCE:
            break
        number_again, again_given = function.at(x)
        again = float(number_again)
        off = abs(again - value)
        if not off <= HARMLESS * max(abs(again), abs(value)):
            found.objection = (
                f"loss(x) gave {value:.9g} and then {again:.9g} at the same x: it is not deterministic, or it has state. Fix "
                "the seed, the mask or the batch"
            )
            return found
        found.noise = max(found.noise, off)
        found.objection = _changed(function, given, again_given)
        if found.objection:
            return found
    if found.noise:
        found.remarks.append(f"loss(x) differs by {found.noise:.0e} from call to call")
    elsewhere = [array + 0.01 * (abs(array) + 1e-3) for array in x]
    if np.isfinite(function.real(elsewhere)):
        try:
            stale = function.gradient(x, loss_first=False)
        except InvalidInput:
            raise
        except Exception:
            stale = given
        if _distance(given, stale) > HARMLESS:
            found.remarks.append(
                "gradient depends on the last call of loss: it stores activations; the audit calls loss(x) before gradient(x)"
            )
            again_given = function.gradient(x)
            if _distance(given, again_given) > HARMLESS:
                found.objection = "gradient(x) changes with what was called before it, even after loss(x): it has state"
    return found


def _changed(function: Function, given: list[np.ndarray], again: list[np.ndarray]) -> str:
    """What to say of two gradients at the same place."""
    if _distance(given, again) <= HARMLESS:
        return ""
    names = function.arguments.names
    k = max(range(len(given)), key=lambda k: _distance(given[k : k + 1], again[k : k + 1]))
    off = np.abs(again[k] - given[k])
    index = np.unravel_index(int(np.argmax(np.where(np.isnan(off), np.inf, off))), off.shape)
    first, second = given[k][index], again[k][index]
    place = names[k] + (f"[{', '.join(str(int(i)) for i in index)}]" if index else "")
    text = f"gradient(x) gave {first:.9g} and then {second:.9g} at the same x, by {place}: "
    if _distance([2.0 * array for array in given], again) < 1e-6:
        return text + "it adds up from call to call. Set its buffer to zero first"
    size = float(abs(second - first) / max(abs(first), abs(second))) if first == first and second == second else np.nan
    return text + f"it differs by {size:.0e} from call to call. It is random, or it has state"


def _distance(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """The largest difference of two lists of arrays, relative to the largest entry of its array; NaN equals NaN."""
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        if not same.all():
            with np.errstate(all="ignore"):
                off = np.abs(np.where(same, 0.0, b - a)) / max(np.max(np.abs(a)), np.max(np.abs(b)), 1e-300)
            worst = max(worst, float(np.max(np.where(np.isnan(off), np.inf, off))))
    return worst
