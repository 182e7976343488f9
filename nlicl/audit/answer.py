"""What a formula answers on the cases. It is the reader's code: it may raise, return nonsense, crash, or never end."""

import linecache
import math
import os
import re
import sysconfig
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import numpy as np

from ..core.errors import InvalidInput, InvalidValue
from ..core.text import message, one_line
from .forms.returned import array_of, is_one, seen
from .forms.tree import is_dict, is_sequence, is_sparse, items_of, library, look
from .process import CannotLoad, Ended, Garbled, Late, Link, Named, Process, available, own_calls
from .subject import Formula
from .witnesses import Case

__all__ = ["Answer", "attributes", "describe", "first_line", "read", "told"]

LONGEST = 1 << 20  # bytes of an answer, beside the array's
LONGEST_TEXT = 2000  # characters
MESSAGE, CODE = 120, 90  # characters of an exception's message, and of a line of code, that are shown
LARGER = 100  # times the expected size: an array that is larger is not looked at

_SIGNATURE = re.compile(r",? with gufunc signature \S+")  # of NumPy's, which hides what counts behind it
_STANDARD = sysconfig.get_path("stdlib") + os.sep


class Answer:
    """The formula's arrays on the cases, or why there is none.

    Attributes
    ----------
    arrays : dict of int to ndarray
        By number of case.
    problems : dict of int to str
        What is wrong, where there is no array of the right shape.
    shapes : dict of int to (ndarray, tuple)
        Arrays of another shape, with the expected one.
    remark : str
        What else was seen; empty if nothing was.
    """

    def __init__(
        self,
        formula: Formula,
        cases: list[Case],
        call: Callable[[Case], Any],
        timeout: float | None = None,
        elsewhere: Callable[[str, str], Iterable[str]] | None = None,
    ) -> None:
        self.arrays, self.problems, self.shapes = {}, {}, {}

        def shape_of(case: Case) -> tuple[int, ...]:
            return getattr(case.params, formula.wrt).shape

        def answer(case: Case) -> np.ndarray | str:
            return _value(call, case, shape_of(case), elsewhere or (lambda what, name: ()))

        named = formula.function if isinstance(formula.function, Named) else None
        size = LARGER * max(np.prod(shape_of(case), dtype=int) for case in cases)
        values, called = _values(answer, named, cases, timeout, int(size))
        self.remark = f"it calls nlicl's own {', '.join(called)}: that is no derivation" if called else ""
        for number, (case, value) in enumerate(zip(cases, values, strict=True)):
            shape = shape_of(case)
            if isinstance(value, str):
                self.problems[number] = value
            elif value.dtype.itemsize < 4:
                self.problems[number] = f"returns {value.dtype}, too coarse to judge; expected float32 or float64"
            elif value.shape != shape:
                self.shapes[number] = (value, shape)
                given = f"shape {value.shape}" if value.shape else "one number"
                self.problems[number] = f"returns {given}; expected shape {shape}, that of {formula.wrt}"
            else:
                self.arrays[number] = value

    def error(self, name: str, cases: list[Case]) -> str | None:
        """Why the formula has no value of the right shape, with the first draw where; None if it has one everywhere."""
        if not self.problems:
            return None
        first = min(self.problems)
        count = "" if len(self.problems) == len(cases) else f", and {len(self.problems)} of {len(cases)} in all"
        return f"{name} {self.problems[first]}, on draw {first}: {cases[first].label}{count}"


def _values(
    answer: Callable[[Case], np.ndarray | str],
    named: Named | None,
    cases: list[Case],
    timeout: float | None,
    size: int,
) -> tuple[list[np.ndarray | str], list[str]]:
    """An array or a text for each case, and which of nlicl's functions the formula called; with a time limit, from a child."""
    if timeout is None or not available():
        try:
            if named is not None:
                named.function()
        except CannotLoad as error:
            raise InvalidValue(f"{error}.") from None
        return [answer(case) for case in cases], []
    return _values_from_child(answer, named, cases, timeout, size)


def _values_from_child(
    answer: Callable[[Case], np.ndarray | str],
    named: Named | None,
    cases: list[Case],
    timeout: float,
    size: int,
) -> tuple[list[np.ndarray | str], list[str]]:
    def serve(link: Link) -> None:
        try:
            if named is not None:
                named.function()
        except CannotLoad as error:
            link.send({"cannot": str(error)})
            return
        link.send({"loaded": True})
        for number, case in enumerate(cases):
            try:
                with own_calls(number == 0) as calls:
                    value = answer(case)
            except BaseException as error:  # KeyboardInterrupt, raised by the formula itself
                calls, value = [], f"raises {describe(error)}"
            link.send({"value": value, "calls": calls})

    deadline = time.monotonic() + timeout
    values: list[np.ndarray | str] = []
    called: list[str] = []
    loaded: dict[str, Any] = {}
    with Process(serve) as process:
        try:
            loaded = _read_dict(process.receive(deadline, LONGEST))
            for _ in cases if "loaded" in loaded else ():
                said = _read_dict(process.receive(deadline, LONGEST + 16 * size))
                called += [told(name)[:80] for name in _list(said.get("calls"))[:5]]
                values.append(_checked(said.get("value")))
            reason = ""
        except Late:
            reason = f"does not finish within {timeout:g} s"
        except Ended as error:
            reason = str(error)
        except Garbled as error:
            reason = f"spoils its answer: {told(str(error))}"
    if named is not None and "loaded" not in loaded:
        raise InvalidValue(f"{told(loaded['cannot']) if 'cannot' in loaded else f'{named.opening}: it {reason}'}.")
    return values + [reason] * (len(cases) - len(values)), called


def _read_dict(said: Any) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise Garbled("it is of another form")
    return said


def _list(said: Any) -> list[Any]:
    return said if isinstance(said, list) else []


def _checked(value: Any) -> np.ndarray | str:
    """What a child says that the formula returned: a real floating array, or a text."""
    if isinstance(value, str):
        return told(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value
    raise Garbled("it is neither an array nor a text")


def told(text: Any) -> str:
    """A text of the child's, as one line of reasonable length."""
    text = str(text)
    return one_line(text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "...")


def _value(
    call: Callable[[Case], Any], case: Case, shape: tuple[int, ...], elsewhere: Callable[[str, str], Iterable[str]]
) -> np.ndarray | str:
    """What the formula returns, as a floating array; a text if it returns something else, or raises."""
    try:
        with np.errstate(all="ignore"):
            return read(call(case), shape)
    except (Exception, SystemExit) as error:
        return f"raises {describe(error)}{_advice(error, case, elsewhere)}"


def read(found: Any, shape: tuple[int, ...]) -> np.ndarray | str:
    """A copy of an array, floating; a text that says what it is instead. The shape is only what the text expects."""
    expected = f"expected a floating array of shape {shape}"
    if found is None:
        return f"returns None; is a return missing? E{expected[1:]}"
    if is_sparse(found):
        mend = ".to_dense()" if library(found) == "torch" else ".toarray()"
        return f"returns a sparse matrix; {expected}: give {mend}"
    if np.ma.is_masked(found) or (is_sequence(found) and any(map(np.ma.isMaskedArray, items_of(found)))):
        return "returns a masked array; expected one without a mask, as its .filled(value) gives"
    try:
        value = array_of(np.asarray(found) if np.ma.isMaskedArray(found) else found, "returns", "", expected)
    except InvalidInput as error:
        return _parts(found, expected) or str(error).removesuffix(".")
    if value.ndim != len(shape) and (parts := _parts(found, expected)):
        return parts
    if value.size > LARGER * max(math.prod(shape), 1):
        return f"returns shape {value.shape}; {expected}"
    if value.dtype.kind == "c":
        return f"returns {value.dtype} values; {expected}"
    return np.array(value, np.float64 if value.dtype.kind in "biu" else value.dtype, subok=False)


def _parts(found: Any, expected: str) -> str:
    """What a list or tuple of arrays and other things is; empty for one of numbers, and for anything else."""
    items = items_of(found) if is_sequence(found) else []
    arrays = [item for item in items if library(item) and len(item.shape)]
    if items and len(arrays) == len(items):
        shapes = list(dict.fromkeys(tuple(array.shape) for array in arrays))
        named = ", ".join(map(str, shapes[:4])) + (", ..." if len(shapes) > 4 else "")
        return (
            f"returns {look(found)} array{'s' * (len(items) > 1)} of shape{'s' * (len(shapes) > 1)} {named}; {expected}"
        )
    if all(map(is_sequence, items)) or all(map(is_one, items)):
        return ""
    words = ["a number" if is_one(item) else seen(item) for item in items]
    named = f", {', '.join(words[:-1])} and {words[-1]}" if len(items) in (2, 3) else ""
    alone = any(library(item) or is_sequence(item) or is_dict(item) for item in items)
    return f"returns {look(found)}{named}" + (": the gradient alone is expected" if alone else f"; {expected}")


def describe(error: BaseException) -> str:
    """An exception in one line, with the last line of the reader's file that led to it, where there is one."""
    place = _place(error)
    where = f" (line {place[1]} of {os.path.basename(place[0])}{_code_at(*place)})" if place else ""
    text = _SIGNATURE.sub("", first_line(error))
    return f"{type(error).__name__}: {_cut(text, MESSAGE)}{where}"


def _code_at(file: str, line: int) -> str:
    """The text of a line, to stand behind its number; empty where Python does not know it."""
    text = one_line(linecache.getline(file, line).strip())
    return f": `{_cut(text, CODE)}`" if text else ""


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def first_line(error: BaseException) -> str:
    """The first line of an exception's message that is not blank."""
    return next((line for line in message(error).splitlines() if line.strip()), "no message")


def _place(error: BaseException) -> tuple[str, int] | None:
    """File and line of the last frame that is the reader's; failing that, of the last that is not nlicl's; or None."""
    found, best, trace = None, 1, error.__traceback__
    while trace is not None:
        rank = _rank(trace.tb_frame)
        if rank >= best:
            found, best = (trace.tb_frame.f_code.co_filename, trace.tb_lineno), rank
        trace = trace.tb_next
    return found


def _rank(frame: FrameType) -> int:
    """Whose code a frame runs: 0 nlicl's, 1 NumPy's or SciPy's, 2 another installed package's or Python's, 3 the reader's."""
    root = str(frame.f_globals.get("__name__")).partition(".")[0]
    if root in ("nlicl", "numpy", "scipy"):
        return 0 if root == "nlicl" else 1
    file = os.path.abspath(frame.f_code.co_filename)
    installed = {"site-packages", "dist-packages"} & set(file.split(os.sep)) or file.startswith(_STANDARD)
    return 2 if installed or frame.f_code.co_filename.startswith("<frozen") else 3


def _advice(error: BaseException, case: Case, elsewhere: Callable[[str, str], Iterable[str]]) -> str:
    """What params or prompt have, if the formula took them for something else; elsewhere(what, name) says for which
    parameters they have an attribute of that name."""
    text = str(error)
    for what, thing in (("params", case.params), ("prompt", case.each[0])):
        asked = error if isinstance(error, AttributeError) and type(error.obj) is type(thing) else None
        taken = isinstance(error, TypeError) and re.search(rf"\b{type(thing).__name__}\b", text)
        if asked or taken or (what == "params" and "values to unpack" in text):
            others = list(elsewhere(what, asked.name)) if asked and asked.name else []
            hint = f" (with wrt {' or '.join(others)} it has {asked.name})" if asked and others else ""
            return f"; {what} has {', '.join(attributes(thing))}{hint}"
    return "; it is called with (params, prompt)" if isinstance(error, TypeError) and _place(error) is None else ""


def attributes(thing: Any) -> list[str]:
    """The names of an object's public attributes, its methods left out."""
    if hasattr(thing, "_fields"):
        return list(thing._fields)
    of_class = [name for name in dir(type(thing)) if not callable(getattr(type(thing), name))]
    return [name for name in dict.fromkeys([*vars(thing), *of_class]) if not name.startswith("_")]
