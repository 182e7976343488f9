"""What a formula answers on the cases. It is the reader's code: it may raise, return nonsense, crash, or never end."""

import io
import os
import re
import select
import signal
import struct
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, NoReturn

import numpy as np

from ..core.errors import InvalidInput
from .forms.returned import array_of, is_one, seen
from .forms.tree import is_dict, is_sequence, is_sparse, items_of, library, look
from .subject import Formula
from .witnesses import Case

__all__ = ["Answer", "attributes", "describe", "one_line"]

_STANDARD = sysconfig.get_path("stdlib") + os.sep
_HEAD = struct.Struct("<cq")  # of a message from the child: "a" for an array or "t" for a text, and its length


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

        for number, (case, value) in enumerate(zip(cases, _values(answer, cases, timeout), strict=True)):
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
    answer: Callable[[Case], np.ndarray | str], cases: list[Case], timeout: float | None
) -> list[np.ndarray | str]:
    """An array or a text for each case; with a time limit, from a child process that may be killed."""
    if timeout is None or not hasattr(os, "fork"):
        return [answer(case) for case in cases]
    return _values_from_child(answer, cases, timeout)


def _value(
    call: Callable[[Case], Any], case: Case, shape: tuple[int, ...], elsewhere: Callable[[str, str], Iterable[str]]
) -> np.ndarray | str:
    """What the formula returns, as a floating array; a text if it returns something else, or raises."""
    try:
        with np.errstate(all="ignore"):
            return _read(call(case), shape)
    except (Exception, SystemExit) as error:
        return f"raises {describe(error)}{_advice(error, case, elsewhere)}"


def _read(found: Any, shape: tuple[int, ...]) -> np.ndarray | str:
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
    where = f" (line {place[1]} of {os.path.basename(place[0])})" if place else ""
    text = one_line(error)
    return f"{type(error).__name__}: {text if len(text) <= 90 else text[:87] + '...'}{where}"


def one_line(error: BaseException) -> str:
    """The first line of an exception's message that is not blank."""
    try:
        return next((line for line in str(error).splitlines() if line.strip()), "no message")
    except Exception:  # the reader's own exception, whose text raises
        return "no message"


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


def _values_from_child(
    answer: Callable[[Case], np.ndarray | str], cases: list[Case], timeout: float
) -> list[np.ndarray | str]:
    """The same through a forked child, which sends each value as soon as it has it."""
    for stream in (sys.stdout, sys.stderr):  # or the child would print what waits in their buffers once more
        stream.flush()
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a BLAS's threads in the parent do no harm: the child calls the formula only
        child = os.fork()
    if child == 0:
        _serve(answer, cases, read, write)
    os.close(write)
    try:
        received, in_time = _receive(read, timeout)
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)  # until it is waited for, its number is not another's
        _, status = os.waitpid(child, 0)
    values = list(_parse(received))
    reason = f"does not finish within {timeout:g} s"
    if in_time:
        how = f"by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"with status {os.WEXITSTATUS(status)}"
        reason = f"ends the process {how}"
    return values + [reason] * (len(cases) - len(values))


def _serve(answer: Callable[[Case], np.ndarray | str], cases: list[Case], read: int, write: int) -> NoReturn:
    """The child: never returns."""
    try:
        os.close(read)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with os.fdopen(write, "wb") as pipe:
            for case in cases:
                pipe.write(_message(answer(case)))
                pipe.flush()
        sys.stdout.flush()
    finally:
        os._exit(0)


def _message(value: np.ndarray | str) -> bytes:
    if isinstance(value, str):
        data = value.encode()
        return _HEAD.pack(b"t", len(data)) + data
    file = io.BytesIO()
    np.save(file, value, allow_pickle=False)
    return _HEAD.pack(b"a", file.tell()) + file.getvalue()


def _receive(pipe: int, timeout: float) -> tuple[bytes, bool]:
    """All that comes through a pipe, and whether it ended in time."""
    parts: list[bytes] = []
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        if select.select([pipe], [], [], left)[0]:
            part = os.read(pipe, 1 << 16)
            if not part:
                return b"".join(parts), True
            parts.append(part)
    return b"".join(parts), False


def _parse(data: bytes) -> Iterator[np.ndarray | str]:
    place = 0
    while place + _HEAD.size <= len(data):
        kind, length = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        if place + length > len(data):
            return
        body = data[place : place + length]
        yield body.decode() if kind == b"t" else np.load(io.BytesIO(body), allow_pickle=False)
        place += length
