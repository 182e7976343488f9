"""A loss and a gradient as the audit calls them: on fresh copies, counted, within a time limit."""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import InvalidInput, InvalidType, InvalidValue
from ..answer import describe
from ..dual import lift, parts, recording
from ..forms import Arguments
from ..scope import around, held, lengths
from ..sources import source_text

__all__ = ["DualValue", "Function", "OutOfTime", "quiet"]

STEP = 1e-40  # of the complex step


class OutOfTime(Exception):
    """The time limit is over."""


class quiet(warnings.catch_warnings):
    """No word of the user's function about places that the audit chose."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        self.errstate = np.errstate(all="ignore")
        self.errstate.__enter__()
        return entered

    def __exit__(self, *error: Any) -> None:
        self.errstate.__exit__(*error)
        super().__exit__(*error)


class DualValue(NamedTuple):
    """What the loss returns for dual numbers, and what was seen on the way (`dual.Record`).

    Attributes
    ----------
    value : NumPy scalar
        The loss.
    slope : float
        Its derivative on the side of the direction.
    ties, decisions, stops : int
        Pairs of equal numbers that the direction parts; comparisons by which the loss decides, and how many times it
        stopped at a small number: see `Record`.
    threshold, condition : float
        The largest small constant that was compared with; the largest condition number of a matrix that was inverted.
    """

    value: Any
    slope: float
    ties: int
    decisions: int
    stops: int
    threshold: float
    condition: float


class Function:
    """Loss and gradient of one list of arrays, and their second derivatives where they are given.

    The audit calls the reader's functions through this class alone, and gets numbers and arrays.

    Parameters
    ----------
    arguments : Arguments
        The forms in which they take and return arrays.
    loss : callable
    gradient : callable, or True if `loss` returns (loss, gradient)
    timeout : float or None
        Seconds from now on after which a call raises OutOfTime instead.
    product, matrix : callable, optional
        hessian_vector(x, v) and hessian(x).
    """

    def __init__(
        self,
        arguments: Arguments,
        loss: Callable[..., Any],
        gradient: Callable[..., Any] | bool,
        timeout: float | None,
        product: Callable[..., Any] | None = None,
        matrix: Callable[..., Any] | None = None,
    ) -> None:
        self._arguments, self._loss, self._gradient = arguments, loss, gradient
        self._product, self._matrix = product, matrix
        self.names, self.arrays = arguments.names, arguments.arrays
        self.has_product, self.has_matrix = product is not None, matrix is not None
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.calls = {"loss": 0, "gradient": 0}
        self.altered: set[str] = set()

    @property
    def _functions(self) -> tuple[Callable[..., Any], ...]:
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
        gradient = self._functions[-1]
        file = _attribute(_attribute(gradient, "__code__"), "co_filename") or ""
        name = getattr(gradient, "__name__", type(gradient).__name__)
        return " of ".join(filter(None, (name, file.rsplit("/", 1)[-1])))

    @property
    def code(self) -> str:
        """The gradient's source text; empty where Python does not know it."""
        return source_text(self._functions[-1])

    @property
    def loss_code(self) -> str:
        """The loss's source text; empty where Python does not know it, or where one function returns both."""
        return source_text(self._loss) if callable(self._gradient) else ""

    @property
    def closure_sizes(self) -> dict[str, int]:
        """Lengths of arrays that loss and gradient know from around them: the number of samples, say."""
        return lengths(around(self._functions))

    def held(self, leaves: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
        """Arrays and numbers that the gradient and the loss have at a place, by name; see `scope.held`."""
        return held(self._functions[::-1], lambda: self.gradient_or_none(leaves) is not None)

    @property
    def returns_both(self) -> bool:
        """Whether one function returns (loss, gradient)."""
        return self._gradient is True

    @property
    def gradient_function(self) -> Callable[..., Any]:
        """The reader's function that returns the gradient."""
        return self._functions[-1]

    @property
    def held_fixed(self) -> tuple[Callable[..., Any], ...]:
        """What a mend of the gradient leaves as it is: the loss, where it is another function."""
        return () if self._gradient is True else (self._loss,)

    def with_gradient(self, gradient: Callable[..., Any]) -> "Function":
        """The same loss with another gradient."""
        return Function(self._arguments, self._loss, gradient, None)

    def with_loss(self, loss: Callable[..., Any]) -> "Function":
        """Another function that returns (loss, gradient)."""
        return Function(self._arguments, loss, True, None)

    def at_sizes(self, leaves: Sequence[np.ndarray]) -> "Function":
        """The same functions at arrays of other sizes; whatever the loss raises there.

        Raises
        ------
        ValueError
            The loss, or the gradient, has no finite value of that form.
        """
        handed, _ = self._arguments.call(lambda *x: x, leaves)
        x = list(handed) if self._arguments.several else handed[0]
        other = Function(Arguments(x, self.names, None, loss=self._loss), self._loss, self._gradient, None)
        if [array.shape for array in other.arrays] != [array.shape for array in leaves]:
            raise InvalidValue("the loss takes other arrays at other sizes.")
        other.at(other.arrays)
        return other

    def returned(self, function: Callable[..., Any], leaves: Sequence[np.ndarray]) -> Any:
        """What another function of the loss's form returns."""
        return self._arguments.call(function, leaves)[0]

    def both(self, leaves: Sequence[np.ndarray]) -> tuple[Any, list[np.ndarray]]:
        """Loss and gradient of a function that returns both."""
        value, gradient = self._arguments.split_pair(self._call("loss", self._loss, leaves))
        return self._arguments.number(value), self._arguments.gradient(gradient)

    def value(self, leaves: Sequence[Any]) -> Any:
        """The loss at these arrays; whatever it raises."""
        return self._value(leaves)

    def _value(self, leaves: Sequence[Any], opened: Callable[[Any], Any] | None = None) -> Any:
        """The loss at real, complex or dual arrays. `opened` is done to what it returns first."""
        returned = self._call("loss", self._loss, leaves)
        if self._gradient is True:
            returned = self._arguments.split_pair(returned)[0]
        return self._arguments.number(returned if opened is None else opened(returned))

    def dual(
        self,
        leaves: Sequence[np.ndarray],
        v: Sequence[np.ndarray],
        carrier: int | None = None,
        conditions: bool = False,
    ) -> DualValue:
        """The loss through dual numbers that carry v, in all arguments or in one of them.

        Raises
        ------
        NotCarried, TypeError
            The loss does not take them; whatever else it raises.
        """
        with recording(float_result=True, conditions=conditions) as record, quiet():
            value = self._value(
                [
                    lift(leaf, step.astype(leaf.dtype)) if carrier in (None, k) else leaf
                    for k, (leaf, step) in enumerate(zip(leaves, v, strict=True))
                ],
                record.returned,
            )
        if record.refused:
            raise TypeError("the loss catches the error of what cannot carry a derivative, and goes another way")
        number, tangent = parts(value)
        slope = 0.0 if tangent is None else float(tangent)
        found = record.ties, record.decisions, record.stops, record.threshold, float(record.condition)
        return DualValue(np.asarray(number)[()], slope, *found)

    def complex_step(self, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray], carrier: int | None = None) -> float:
        """Im f(x + ihv)/h, in all arguments or in one of them; whatever the loss raises."""
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            value = self._value(
                [
                    leaf + 1j * STEP * step if carrier in (None, k) else leaf
                    for k, (leaf, step) in enumerate(zip(leaves, v, strict=True))
                ]
            )
        return float(np.imag(value)) / STEP

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
            return self._arguments.gradient(self._arguments.split_pair(self._call("loss", self._loss, leaves))[1])
        if loss_first:
            self._call("loss", self._loss, leaves)
        return self._arguments.gradient(self._call("gradient", self.gradient_function, leaves))

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

    def pushed(self, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray]) -> tuple[list[np.ndarray], int]:
        """Dual numbers through the gradient: (its derivative to the side of +v, ties).

        Raises
        ------
        TypeError
            They do not go through it; whatever else it raises.
        """
        lifted = [lift(array, part) for array, part in zip(leaves, v, strict=True)]
        with recording() as record, quiet():
            self._value(lifted)
            name, function = ("loss", self._loss) if self._gradient is True else ("gradient", self._gradient)
            assert callable(function)
            returned = self._call(name, function, lifted)
            returned = self._arguments.split_pair(returned)[1] if self._gradient is True else returned
        found = []
        for value, array in zip(self._each(returned), leaves, strict=True):
            tangent = parts(value)[1]
            found.append(np.zeros(array.shape) if tangent is None else np.asarray(tangent, float).reshape(array.shape))
        return found, record.ties

    def _each(self, returned: Any) -> list[Any]:
        """What a gradient returned, part by part; TypeError if it is no plain form."""
        if len(self.names) == 1 and not isinstance(returned, (list, tuple, dict)):
            return [returned]
        if isinstance(returned, dict):
            return [returned[name] for name in self.names]
        if isinstance(returned, (list, tuple)) and len(returned) == len(self.names):
            return list(returned)
        raise TypeError("the gradient's form cannot be read through dual numbers")

    def product(self, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray]) -> list[np.ndarray]:
        """hessian_vector(x, v), an array for each argument.

        Raises
        ------
        TypeError, ValueError
            It raises, or returns something else.
        """
        assert self._product is not None
        try:
            returned, _ = self._arguments.call(self._product, leaves, along=v)
        except Exception as error:
            raise InvalidValue(
                f"hessian_vector raises {describe(error)}; expected hessian_vector(x, v), of several arguments "
                "hessian_vector(*x, *v), to return the Hessian times v. Give hessian= for a matrix."
            ) from error
        try:
            return [array.astype(float) for array in self._arguments.gradient(returned)]
        except InvalidInput as error:
            text = str(error).replace("gradient returns", "hessian_vector returns")
            raise type(error)(
                f"{text} Of several arguments, an array for each; a matrix is given by hessian=."
            ) from None

    def matrix(self, leaves: Sequence[np.ndarray]) -> np.ndarray:
        """hessian(x), dense: a matrix by all entries, or its diagonal; its shape is not looked at.

        Raises
        ------
        TypeError, ValueError
            It raises, or returns no array of real numbers.
        """
        assert self._matrix is not None
        try:
            value, _ = self._arguments.call(self._matrix, leaves)
        except Exception as error:
            raise InvalidValue(
                f"hessian raises {describe(error)} at x; expected hessian(x), a matrix or its diagonal."
            ) from error
        value = value.toarray() if hasattr(value, "toarray") else value
        shapes = [array.shape for array in leaves]
        several = isinstance(value, (list, tuple)) and len(leaves) > 1
        if several and [getattr(part, "shape", None) for part in value] == shapes:
            value = np.concatenate([np.ravel(part) for part in value])
        try:
            given = np.asarray(value)
        except ValueError:
            raise InvalidValue("hessian returns rows of unequal lengths; expected a matrix or its diagonal.") from None
        if given.dtype.kind not in "fiub":
            raise InvalidType(f"hessian returns {given.dtype}; expected real numbers.")
        return given.astype(float)

    def _call(self, name: str, function: Callable[..., Any], leaves: Sequence[Any]) -> Any:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise OutOfTime
        self.calls[name] += 1
        returned, altered = self._arguments.call(function, leaves)
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
