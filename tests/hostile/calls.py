"""Public functions, called rightly but for one or two arguments that nobody should give.

An argument is replaced by a value from a list of hostile ones, by a wrong form of the right value, by an index, by a size that
no machine has room for, or by another form of the same value, whose result must be the same to the bit.
"""

import contextlib
import copy
import dataclasses
import math
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from calls import CALLS, Call
from hostile_values import HUGE, INDICES, VALUES, hostile_forms, same_forms

import nlicl
from nlicl.core.errors import InvalidInput

from .outcome import ACCEPTED, LONGEST, REFUSED, WITHIN, Outcome, failed
from .part import generator

__all__ = ["Part"]

_NAMES = sorted(CALLS)
_COSTLY = ("audit_paper", "audit_formula")  # a tenth of their turns
_PROMISED = (InvalidInput, nlicl.Diverged, nlicl.devices.Unavailable)
# Forms that say by their type that they are none: whoever takes one has not looked.
_NEVER = {"text of it", "bytes", "void", "structured", "masked", "list of masked", "datetime", "timedelta", "ragged",
          "a generator", "a dict", "object of texts", "its class"}  # fmt: skip
_TAKES_TIME = ("steps",)  # a number of them, however large, is right
# They hand on what they are given, or look at its type alone: who computes with it checks it.
_PASSED_ON = (
    "nlicl.devices.choose",
    "nlicl.devices.fetch",
    "nlicl.devices.on_device",
    "nlicl.devices.to_host",
    "nlicl.models.model.find",
    "nlicl.models.regression.prompts.Params",
    "nlicl.models.transformer.prompts.Params",
)
_CALLERS = re.compile(r"(loss|gradient|hessian\w*|tangent) raises ")  # an error of the caller's own function, quoted


class _Change(NamedTuple):
    """One argument replaced: its name, what it is now called, how it is made, and whether the value is the same."""

    argument: str
    name: str
    make: Callable[[], Any]
    same: bool
    never: bool


class Part:
    """Case by case: a function, one or two arguments, a value for each."""

    limit = 20.0

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.right: dict[str, Any] = {}
        os.chdir(folder)  # a text may be taken for the name of a file
        tempfile.tempdir = str(folder)  # for the run that the table of calls makes once and keeps
        for name in _NAMES:
            if "load_run" in name or "to_csv" in name:
                CALLS[name].function(**CALLS[name].arguments)
        tempfile.tempdir = None

    def _changes(self, case: int) -> tuple[str, Call, list[_Change]]:
        rng = generator(self.seed, case)
        while True:
            name = _NAMES[rng.integers(len(_NAMES))]
            call = CALLS[name]
            costly = any(word in name for word in _COSTLY)
            if call.arguments and (not costly or rng.random() < 0.1):
                break
        names = list(call.arguments)
        count = min(len(names), 1 + int(rng.random() < 0.25))
        chosen = [names[i] for i in rng.permutation(len(names))[:count]]
        return name, call, [self._change(call, argument, rng) for argument in chosen]

    def _change(self, call: Call, argument: str, rng: np.random.Generator) -> _Change:
        value = call.arguments[argument]
        roll = rng.random()
        if argument in ("index", "prompt") and roll < 0.7:
            key = _one(rng, list(INDICES))
            return _Change(argument, f"index {key}", INDICES[key], False, False)
        if roll < 0.2:
            forms = _listed(same_forms(value))
            if forms:
                key, form = forms[rng.integers(len(forms))]
                return _Change(argument, f"the same as {key}", lambda: form, True, False)
        if roll < 0.55:
            forms = _listed(hostile_forms(value))
            if forms:
                key, form = forms[rng.integers(len(forms))]
                checked_later = isinstance(call.function, type) and issubclass(call.function, tuple)
                never = key.rpartition(": ")[2] in _NEVER and not checked_later
                return _Change(argument, f"a wrong form: {key}", lambda: form, False, never)
        if roll < 0.65 and isinstance(value, (int, float)) and argument not in _TAKES_TIME:
            key = _one(rng, [name for name in HUGE if "broadcast" not in name])  # those take their time, rightly
            return _Change(argument, f"huge: {key}", HUGE[key], False, False)
        key = _one(rng, list(VALUES))
        return _Change(argument, f"value {key}", VALUES[key], False, False)

    def describe(self, case: int) -> str:
        name, _, changes = self._changes(case)
        return f"{name}: " + "; ".join(f"{change.argument} = {change.name}" for change in changes)

    def judge(self, case: int) -> Outcome:
        name, call, changes = self._changes(case)
        with tempfile.TemporaryDirectory() as temporary:
            arguments = {key: _own(value) for key, value in call.arguments.items()}
            arguments |= {change.argument: change.make() for change in changes}
            if "out" in arguments:
                arguments["out"] = temporary
            return self._judged(name, call, arguments, changes)

    def _judged(self, name: str, call: Call, arguments: dict[str, Any], changes: list[_Change]) -> Outcome:
        before = [_frozen(value) for value in arguments.values()]
        given = {change.name for change in changes}
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                found = call.function(**arguments)
        except _PROMISED as error:
            return _said(str(error))
        except AssertionError as error:
            if name.endswith(".assert_gradient"):  # it is there to fail
                return Outcome(REFUSED)
            return failed("bug", f"AssertionError: {str(error)[:600]}\n{_place(error)}")
        except OSError as error:  # of a path: there is none, or it cannot be read
            path = any(change.argument in ("path", "out") for change in changes)
            return Outcome(REFUSED) if path else failed("bug", f"{type(error).__name__}: {error}")
        except IndexError as error:  # as a sequence must, and in words of the library's
            text = str(error)
            own = "__getitem__" in name and not re.search(r"axis|arrays used|only integers", text)
            return _said(text) if own else failed("bug", f"IndexError: {text[:600]}\n{_place(error)}")
        except (ValueError, TypeError) as error:
            return failed("within", f"{type(error).__name__}: {str(error)[:600]}\n{_place(error)}")
        except BaseException as error:
            theirs = any(
                word in form for form in given for word in ("Unwilling", "lambda", "ufunc", "class", "function")
            )
            if theirs and _is_theirs(error):
                return Outcome(REFUSED)  # what the caller's own function raises comes through
            return failed("bug", f"{type(error).__name__}: {str(error)[:600]}\n{_place(error)}")
        after = [_frozen(value) for value in arguments.values()]
        if before != after:
            return failed("silent", "an argument of the caller's was changed")
        own = [each for each in said if "nlicl" not in str(each.message) and "nlicl" in each.filename]
        if own:
            return failed("within", f"a warning: {own[0].category.__name__}: {own[0].message}")
        if any(change.never for change in changes) and name not in _PASSED_ON:
            return failed("silent", f"taken without a word; result {_short(found)}")
        if all(change.same for change in changes) and name not in _PASSED_ON:
            if name not in self.right:
                self.right[name] = _frozen(call.function(**{key: _own(value) for key, value in call.arguments.items()}))
            if _frozen(found) != self.right[name]:
                return failed("silent", f"another result than from the same value in its usual form: {_short(found)}")
        return Outcome(ACCEPTED)


def _listed(forms: Iterator[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The forms, up to one that cannot be made: of a type that looks at its parts."""
    found = []
    with contextlib.suppress(InvalidInput):
        for form in forms:
            found.append(form)
    return found


def _one(rng: np.random.Generator, names: list[str]) -> str:
    return names[rng.integers(len(names))]


def _own(value: Any) -> Any:
    """A copy of the arrays that are given; anything else as it is."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, tuple) and hasattr(value, "_fields") and all(isinstance(part, np.ndarray) for part in value):
        return type(value)._make(map(np.copy, value))
    return value if callable(value) or not isinstance(value, (list, dict, set)) else copy.deepcopy(value)


def _said(text: str) -> Outcome:
    """A refusal: one line of readable length, in words of the library's."""
    if (WITHIN.search(text) and not _CALLERS.match(text)) or "\n" in text or len(text) > LONGEST:
        return failed("within", f"refused, {len(text)} characters: {text[:900]}")
    return Outcome(REFUSED)


def _place(error: BaseException) -> str:
    """The innermost lines that led to it, from the library inwards."""
    lines, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        lines.append(f"{code.co_filename.rpartition('site-packages/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return "\n".join(lines[-6:])


def _is_theirs(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = "" if trace is None else trace.tb_frame.f_code.co_filename
    return "hostile_values" in name or "/tests/" in name or "/nlicl/" not in name


def _frozen(value: Any, depth: int = 6) -> Any:
    """What can be compared of a result, to the bit: numbers and arrays by dtype, shape and bytes, in whatever holds them."""
    if isinstance(value, (np.number, np.bool_)) and value.dtype.kind in "fiub":
        value = value.item() if value.dtype.itemsize <= 8 else float(value)
    if isinstance(value, (np.ndarray, np.generic)) and not isinstance(value, np.ma.MaskedArray):
        array = np.asarray(value)
        if array.dtype.hasobject or array.nbytes > 1 << 20:
            return (str(array.dtype), array.shape)
        little = array.astype(array.dtype.newbyteorder("<")) if array.dtype.kind in "fciu" else array
        return (str(little.dtype), little.shape, little.tobytes())
    if isinstance(value, float):
        return "nan" if math.isnan(value) else float(value).hex()
    if isinstance(value, (bool, int, str, bytes, type(None))):
        return value if type(value) in (bool, int, str, bytes, type(None)) else str(value)
    if depth == 0:
        return type(value).__name__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.name not in ("seconds", "settings")]
        return (type(value).__name__, [(name, _frozen(getattr(value, name), depth - 1)) for name in fields])
    if type(value) in (list, tuple) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return (type(value).__name__, [_frozen(part, depth - 1) for part in value[:1000]])
    if type(value) is dict:
        return [(str(key)[:80], _frozen(part, depth - 1)) for key, part in list(value.items())[:1000]]
    arrays = dict(_arrays_of(value))
    return (type(value).__name__, [(name, _frozen(part, depth - 1)) for name, part in arrays.items()])


def _arrays_of(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of an object of the library's that hold arrays or numbers."""
    if type(value).__module__.startswith("nlicl"):
        for name, part in vars(value).items() if hasattr(value, "__dict__") else ():
            if isinstance(part, (np.ndarray, np.generic, int, float, tuple)):
                yield name, part


def _short(value: Any) -> str:
    try:
        return repr(value)[:300]
    except Exception as error:
        return f"{type(value).__name__}, whose repr raises {type(error).__name__}"
