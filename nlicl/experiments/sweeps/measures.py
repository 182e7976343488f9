"""What a sweep measures in each run: named from the run's history, or by a function of the run.

    QUANTITY                            the last value
    QUANTITY at STEP                    as measured after so many steps
    steps until QUANTITY < X            the first step at which it holds; infinity if it never did (also <=, >, >=). X is a
                                        number, or a name that is swept over
    lowest QUANTITY, highest QUANTITY   of all measurements

A quantity is a name of the history, "hinge_unseen"; an entry of an array, "accuracy[0]"; or the mean of the last K values,
"training_loss over 10". `training_loss` is the mean loss of each step's batch, before its update; so is `loss`, where nothing
that is measured has this name.
"""

import hashlib
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.checks import instance, real
from ...core.describe import short
from ...core.errors import InvalidType, InvalidValue
from ...training.problem import Observer, describe, is_told, not_stored
from ...training.runs import History, Run

__all__ = [
    "COLUMNS",
    "HELP",
    "ByFunction",
    "Measure",
    "Named",
    "Quantity",
    "Watch",
    "bounds",
    "ends_early",
    "measures_of",
    "parse",
    "resolved",
]

COLUMNS = ("seed", "state", "reason")  # of the table, beside what is swept over and measured
TRAINING_LOSS = "training_loss"
HELP = "expected for example 'hinge_unseen', 'hinge_unseen at 200' or 'steps until hinge_unseen < 0.1'"
_FORM = re.compile(
    r"(?:(?P<kind>steps\s+until|lowest|highest)\s+)?"
    r"(?P<name>[^\W\d][\w.]*)\s*(?:\[\s*(?P<index>\d{1,9}(?:\s*,\s*\d{1,9})*)\s*\])?"
    r"(?:\s+over\s+(?P<over>\d{1,9}))?"
    r"(?:\s+at\s+(?P<at>\d{1,9})|\s*(?P<sign><=|>=|<|>)\s*(?P<bound>[-+]?[\d.]+(?:[eE][-+]?\d+)?|[^\W\d]\w*))?"
)
_HOLDS: dict[str, Callable[[Any, float], Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


class Measure(Protocol):
    """A number to be found in each run."""

    @property
    def name(self) -> str:
        """The column of the table."""
        ...

    @property
    def described(self) -> Any:
        """What tells it from others in a store: plain values."""
        ...

    def value(self, run: Run) -> float:
        """The number; NaN if there is none, infinity for a number of steps that was not reached."""
        ...


@dataclass(frozen=True)
class Quantity:
    """A sequence of numbers in a history: measurements of one name, or the losses of the steps.

    Attributes
    ----------
    name : str
    index : tuple of int
        The entry, where a measurement is an array.
    over : int
        The mean of so many values in a row, the last ones up to each; fewer are no value.
    """

    name: str
    index: tuple[int, ...] = ()
    over: int = 1

    @property
    def is_of_steps(self) -> bool:
        """Whether it is of the losses of steps, which needs no measurements."""
        return self.name == TRAINING_LOSS

    def means(self, values: Any) -> NDArray[np.floating]:
        """What a sequence of values comes to: the means of `over` in a row (n - over + 1,)."""
        found = np.asarray(values, float)
        if self.over == 1:
            return found
        if len(found) < self.over:
            return found[:0]
        return np.lib.stride_tricks.sliding_window_view(found, self.over).mean(axis=1)

    def entry(self, measured: Mapping[str, Any]) -> Any:
        """Its number in one measurement."""
        return np.asarray(measured[self.name])[self.index]

    def found(self, history: History) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
        """The steps after which there are values, and these."""
        if self.is_of_steps:
            values = self.means(history.loss)
            return np.arange(len(history.loss) - len(values), len(history.loss)) + 1, values
        entry: Any = (slice(None), *self.index)
        values = self.means(history.measured[self.name][entry])
        return history.steps[len(history.steps) - len(values) :], values


def resolved(measures: Sequence[Measure], measured: Mapping[str, Any]) -> tuple[Measure, ...]:
    """The measures with `loss` told apart: by what one measurement of a run looks like.

    Raises
    ------
    ValueError
        A measure names what is not measured, no entry of an array, or one that it does not have.
    """
    found = []
    for each in measures:
        if isinstance(each, Named):
            if each.quantity.name == "loss" and "loss" not in measured:
                each = replace(each, quantity=replace(each.quantity, name=TRAINING_LOSS))
            if not each.quantity.is_of_steps:
                _check_measured(each.quantity, measured)
            elif each.quantity.index:
                raise InvalidValue(f"measure is {short(each.text)}; expected {TRAINING_LOSS}, which is one number.")
        found.append(each)
    return tuple(found)


def _check_measured(quantity: Quantity, measured: Mapping[str, Any]) -> None:
    """InvalidValue unless the quantity is a number among what is measured."""
    known, name = list(measured), short(quantity.name)[1:-1]
    if quantity.name not in known:
        near = get_close_matches(quantity.name, [*known, TRAINING_LOSS], 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise InvalidValue(
            f"measure names {name}, which is not measured{meant}; expected one of {', '.join([*known, TRAINING_LOSS])}."
        )
    shape = np.shape(measured[quantity.name])
    wanted = "".join(f"[{', '.join('0' * len(shape))}]") if shape else "no entry"
    if len(shape) != len(quantity.index):
        raise InvalidValue(
            f"measure names {name}, an array of shape {shape}; expected an entry of it, as {name}{wanted}."
            if shape
            else f"measure names {name}{list(quantity.index)}; expected {name}, which is one number."
        )
    if any(i >= size for i, size in zip(quantity.index, shape, strict=True)):
        raise InvalidValue(f"measure names {name}{list(quantity.index)}; expected an entry of its shape {shape}.")


@dataclass(frozen=True)
class Named:
    """A measure named from the history. See the module's docstring for `kind`: "last", "at", "until", "lowest", "highest".

    Attributes
    ----------
    name, text : str
        The column of the table, and what was asked for.
    kind : str
    quantity : Quantity
    at : int
        The step, of the kind "at".
    sign, bound : str, float or str
        The condition, of the kind "until". A text is the name of what the bound is swept over by.
    """

    name: str
    text: str
    kind: str
    quantity: Quantity
    at: int = 0
    sign: str = ""
    bound: float | str = math.nan

    @property
    def described(self) -> str:
        """The text, in one spelling."""
        q = self.quantity
        index = f"[{','.join(map(str, q.index))}]" if q.index else ""
        text = f"{q.name}{index}{f' over {q.over}' if q.over > 1 else ''}"
        if self.kind == "until":
            return f"steps until {text} {self.sign} {self.bound}"
        return f"{text} at {self.at}" if self.kind == "at" else text if self.kind == "last" else f"{self.kind} {text}"

    def holds(self, values: Any) -> Any:
        """Where the condition holds."""
        assert not isinstance(self.bound, str)
        return _HOLDS[self.sign](values, self.bound)

    def bound_in(self, changes: Mapping[str, Any]) -> "Named":
        """The measure in one setting, which may give its bound. ValueError or TypeError unless that is a number."""
        if not isinstance(self.bound, str):
            return self
        return replace(self, bound=real(self.bound, changes[self.bound], "to compare with", lambda _: True))

    def value(self, run: Run) -> float:
        """See `Measure`."""
        steps, values = self.quantity.found(run.history)
        if self.kind == "until":
            there = np.flatnonzero(self.holds(values))
            return float(steps[there[0]]) if len(there) else math.inf
        if self.kind == "at":
            return float(values[np.searchsorted(steps, self.at)]) if self.at in steps else math.nan
        if not len(values):
            return math.nan
        if self.kind == "last":
            return float(values[-1])
        return float(values.min() if self.kind == "lowest" else values.max())


@dataclass(frozen=True)
class ByFunction:
    """A measure by a function of the run.

    Attributes
    ----------
    name : str
    function : callable
        Run -> a number.
    """

    name: str
    function: Callable[[Run], Any]

    @property
    def described(self) -> dict[str, Any]:
        """Where the function is, what it holds, and a digest of its source: another one of its name is another measure.

        What it calls is not looked at.
        """
        told = describe(self.function)
        kind: Any = self.function
        while isinstance(kind, partial):
            kind = kind.func
        try:
            source = inspect.getsource(kind if hasattr(kind, "__qualname__") else type(kind))
        except (OSError, TypeError):
            source = ""
        found = {"function": told["type"], "source": hashlib.sha256(source.encode()).hexdigest()[:16]}
        return {**found, "fields": told["fields"]} if "fields" in told else found

    @property
    def is_told(self) -> bool:
        """Whether its description tells it from others."""
        told: Any = self.function  # any function is told as a schedule is
        return is_told(told) and not_stored("", describe(told)) is None

    def value(self, run: Run) -> float:
        """See `Measure`. TypeError if the function returns something else than a number."""
        found = self.function(run)
        array = np.asarray(found)
        if array.ndim or array.dtype.kind not in "biuf":
            raise InvalidType(f"the measure {self.name} returns {short(found)}; expected a number.")
        return float(array)


def parse(text: str, name: str = "") -> Named:
    """A measure from its text; ValueError if it is none. The column is called as the text if no name is given."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise InvalidValue(f"measure is {short(text)}; {HELP}.")
    kind = " ".join((found["kind"] or "last").split())
    if (kind == "steps until") != (found["sign"] is not None):
        missing = "a condition, as in 'steps until hinge_unseen < 0.1'" if kind == "steps until" else None
        raise InvalidValue(f"measure is {short(text)}; expected {missing or 'steps until before a condition'}.")
    if found["at"] is not None and kind != "last":
        raise InvalidValue(f"measure is {short(text)}; expected either {kind} or at {found['at']}.")
    over = int(found["over"] or 1)
    if over < 1:
        raise InvalidValue(f"measure is {short(text)}; expected the mean over at least 1 value.")
    bound: float | str = found["bound"] or "nan"
    if (found["bound"] or "").lower() == "nan":
        raise InvalidValue(f"measure is {short(text)}; expected a number to compare with.")
    if bound == "nan" or not str(bound).isidentifier():
        try:
            bound = float(bound)
        except ValueError:
            raise InvalidValue(f"measure is {short(text)}; expected a number for {bound}.") from None
    index = tuple(int(i) for i in (found["index"] or "").split(",") if i.strip())
    return Named(
        name or " ".join(text.split()),
        text,
        "at" if found["at"] else {"steps until": "until"}.get(kind, kind),
        Quantity(found["name"], index, over),
        int(found["at"] or 0),
        found["sign"] or "",
        bound,
    )


def measures_of(given: Any) -> tuple[Measure, ...]:
    """The measures that were asked for: a text, a function, a list of them, or a dict of columns to them.

    Raises
    ------
    TypeError, ValueError
        None of these, none at all, or two of one name.
    """
    if isinstance(given, Mapping):
        pairs = [(instance("a name of measure", name, str), each) for name, each in given.items()]
    elif isinstance(given, (list, tuple)):
        pairs = [("", each) for each in given]
    else:
        pairs = [("", given)]
    found: list[Measure] = []
    for name, each in pairs:
        if isinstance(each, str):
            found.append(parse(each, name))
        elif callable(each):
            found.append(ByFunction(name or getattr(each, "__name__", type(each).__name__), each))
        else:
            raise InvalidType(
                f"measure is {short(each)}; expected a text, a function of the run, a list, or a dict of names to them."
            )
    names = [each.name for each in found]
    if not names:
        raise InvalidValue(f"measure is empty; {HELP}.")
    for name in names:
        if not name or not name.isprintable() or name in (*COLUMNS, "steps"):
            raise InvalidValue(
                f"a measure is called {short(name)}; expected a name that is no other column of the table."
            )
        if names.count(name) > 1:
            raise InvalidValue(f"measure has {short(name)} twice; expected each measure once.")
    return tuple(found)


class Watch:
    """Ends a run as soon as nothing is left to be measured: all its measures are "steps until", and all have come.

    `observe` and `until` are those of `nlicl.train`.
    """

    def __init__(self, measures: Sequence[Measure], observe: Observer | None) -> None:
        self._observe = observe
        self._open = [each for each in measures if isinstance(each, Named)]
        self._seen: list[Mapping[str, Any]] = []

    def observe(self, params: Any) -> Mapping[str, Any]:
        """Measure, and look which conditions hold now."""
        assert self._observe is not None
        measured = self._observe(params)
        self._seen = [*self._seen, measured][-max((each.quantity.over for each in self._open), default=1) :]
        self._open = [each for each in self._open if not self._holds(each)]
        return measured

    def _holds(self, each: Named) -> bool:
        q = each.quantity
        if q.is_of_steps:
            return False
        means = q.means([q.entry(measured) for measured in self._seen])
        return len(means) > 0 and bool(each.holds(means[-1]))

    def until(self, losses: NDArray[np.floating]) -> bool:
        """Whether nothing is left to wait for."""
        for each in list(self._open):
            q = each.quantity
            if q.is_of_steps and len(losses) >= q.over and each.holds(q.means(losses[-q.over :])[-1]):
                self._open.remove(each)
        return not self._open


def bounds(measures: Sequence[Measure]) -> tuple[str, ...]:
    """Names of bounds that are swept over."""
    return tuple(each.bound for each in measures if isinstance(each, Named) and isinstance(each.bound, str))


def ends_early(measures: Sequence[Measure]) -> bool:
    """Whether a run may end before its last step, since all its measures are the first steps at which something holds."""
    return all(isinstance(each, Named) and each.kind == "until" for each in measures)
