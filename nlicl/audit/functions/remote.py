"""The audit of a function in the reader's files: they run in a child, the judge does not.

The child makes a `Function` and calls its methods when it is asked to. `Remote` is the parent's: it has the same methods,
asks, and reads numbers and arrays.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import InvalidType, InvalidValue
from ...core.memory import shared_memory
from ..answer import describe, first_line, told
from ..forms import Arguments
from ..process import CannotLoad, Ended, Garbled, Late, Link, Named, Process, own_calls
from ..scope import bounded
from .function import DualValue, Function, OutOfTime

__all__ = ["Broken", "Failed", "Files", "Opened", "Remote", "opened"]

GRACE = 1.0  # seconds beyond the limit for the call that is under way; one that takes longer is taken for endless
LONGEST = 1 << 22  # bytes of an answer, beside its arrays'


class Broken(BaseException):
    """The child has ended, or answers what is no answer. No Exception, so that the judge does not take it for the loss's."""


class Failed(Exception):
    """What the reader's code raised: the first line of its message, and all that is to be said of it."""

    def __str__(self) -> str:
        return str(self.args[0])


class Files(NamedTuple):
    """What the reader's files have, by name. None: it is not given; for `gradient`: the loss returns it, too."""

    loss: Named
    gradient: Named | None
    x: Named
    points: Named | None = None
    product: Named | None = None
    matrix: Named | None = None


class Opened(NamedTuple):
    """What the files hold, loaded."""

    function: Function
    points: list[list[np.ndarray]] | None


def opened(
    files: Files,
    names: Sequence[str] | None,
    wrt: Sequence[str | int] | None,
    timeout: float | None,
    places: Callable[[Any, Arguments, Callable[..., Any]], list[list[np.ndarray]]],
    late: Callable[[str], None] = lambda text: None,
) -> Opened:
    """Load the files and make a `Function` of them: it runs the reader's code.

    Parameters
    ----------
    files : Files
    names, wrt, timeout
        As in `audit_gradient`.
    places : callable
        places(points, arguments, loss) -> the points' arrays, checked.
    late : callable
        late(text), called before a step with what is to be said if it does not end.

    Raises
    ------
    CannotLoad, InvalidInput
        What stands in the files does not do.
    """

    def function(named: Named | None) -> Callable[..., Any] | None:
        if named is None:
            return None
        late(f"{named.opening}: it does not finish")
        return named.function()

    def made(named: Named) -> Any:
        late(f"{named.opening}: it does not finish")
        named.source.load(named.opening)
        late(f"{named.label}: {named.name}() does not finish")
        return named.made()

    loss = function(files.loss)
    assert loss is not None
    product, matrix = function(files.product), function(files.matrix)
    points = None if files.points is None else made(files.points)
    gradient = function(files.gradient) or True
    x = made(files.x)
    late("")
    arguments = Arguments(x, names, wrt, loss=loss)
    found = None if points is None else places(points, arguments, loss)
    return Opened(Function(arguments, loss, gradient, timeout, product, matrix), found)


def _served(make: Callable[[Callable[[str], None]], Opened]) -> Callable[[Link], None]:
    """What the child does."""

    def serve(link: Link) -> None:
        with np.errstate(all="ignore"):
            try:
                function, points = make(lambda text: link.send({"late": text}))
                link.send({"found": _description(function, points)})
            except BaseException as error:
                link.send(_raised(error))
                return
            first = True
            while True:
                try:
                    method, arguments = link.receive()
                except EOFError:
                    return
                try:
                    with own_calls(first and method == "at") as calls:
                        found = getattr(function, method)(*arguments)
                    first = first and method != "at"
                    link.send(
                        {"found": found, "calls": function.calls, "altered": sorted(function.altered), "own": calls}
                    )
                except BaseException as error:
                    link.send(_raised(error))

    return serve


def _description(function: Function, points: list[list[np.ndarray]] | None) -> dict[str, Any]:
    own = {"names": function.names, "arrays": function.arrays, "points": points}
    about = {"name": function.name, "source": function.source, "code": function.code[: LONGEST // 8]}
    return {**own, **about, "sizes": function.closure_sizes}


def _raised(error: BaseException) -> dict[str, Any]:
    if isinstance(error, CannotLoad):
        return {"error": "CannotLoad", "text": str(error)}
    for kind in (InvalidValue, InvalidType, OutOfTime):
        if isinstance(error, kind):
            return {"error": kind.__name__, "text": str(error)}
    return {"error": type(error).__name__, "text": describe(error), "short": first_line(error)}


class Remote(Function):
    """A `Function` in a child.

    Parameters
    ----------
    process : Process
        It runs `_served`.
    files : Files
    timeout : float
        Seconds from now on.

    Raises
    ------
    InvalidInput
        What stands in the files does not do.
    Broken
        The child ends.
    """

    def __init__(self, process: Process, files: Files, timeout: float) -> None:
        self._process = process
        self.deadline = self._until = time.monotonic() + timeout
        self.timeout = timeout
        self.calls: dict[str, int] = {"loss": 0, "gradient": 0}
        self.altered: set[str] = set()
        self.own: list[str] = []
        self.stuck = False  # a call has not ended in time
        self._sizes = 0
        self.has_product, self.has_matrix = files.product is not None, files.matrix is not None
        said = self._first(files.loss.label)
        try:
            self.names = [told(name) for name in said["names"]]
            self.arrays = [_array(array) for array in said["arrays"]]
            self.points = None if said["points"] is None else [self._gradients(point) for point in said["points"]]
            self._about = {key: str(said[key])[: LONGEST // 8] for key in ("name", "source", "code")}
            self._closure = {str(key)[:100]: _count(size) for key, size in said["sizes"].items()}
        except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise Broken(f"spoils its answer: {first_line(error)}") from None
        shapes = [array.shape for array in self.arrays]
        every = [self.arrays, *(self.points or [])]
        if not shapes or len(self.names) != len(shapes) or any([a.shape for a in part] != shapes for part in every):
            raise Broken("spoils its answer: its names, arrays and points do not go together")
        if not all(array.size and np.isfinite(array).all() for part in every for array in part):
            raise Broken("spoils its answer: x or a point is empty, or not finite")
        shown = files.gradient or files.loss
        self._about["code"] = shown.source.text_of(shown.name) or self._about["code"]
        self._about["loss"] = files.loss.source.text_of(files.loss.name) if files.gradient else ""
        self._sizes = sum(array.size for array in self.arrays)

    @classmethod
    def started(
        cls, files: Files, timeout: float, make: Callable[[Callable[[str], None]], Opened]
    ) -> "tuple[Process, Remote]":
        """A child that has loaded the files; the caller ends the process."""
        process = Process(_served(make))
        try:
            return process, cls(process, files, timeout)
        except BaseException:
            process.end()
            raise

    @property
    def name(self) -> str:
        return self._about["name"]

    @property
    def source(self) -> str:
        return self._about["source"]

    @property
    def code(self) -> str:
        return self._about["code"]

    @property
    def loss_code(self) -> str:
        return self._about["loss"]

    @property
    def closure_sizes(self) -> dict[str, int]:
        return self._closure

    def _first(self, label: str) -> dict[str, Any]:
        """What the child says of the files."""
        late = f"{label} does not finish"
        while True:
            try:
                said = self._received(self._until)
            except Late:
                raise InvalidValue(f"{late} within {self.timeout:g} s.") from None
            if "late" not in said:
                return self._unwrapped(said)
            if time.monotonic() > self._until:
                raise InvalidValue(f"{late} within {self.timeout:g} s.")
            late = told(said["late"]) or f"{label} does not finish"

    def _received(self, deadline: float) -> dict[str, Any]:
        try:
            said = self._process.receive(deadline, self._most())
        except Ended as error:
            raise Broken(str(error)) from None
        except Garbled as error:
            raise Broken(f"spoils its answer: {told(error)}") from None
        if not isinstance(said, dict):
            raise Broken("spoils its answer: it is of another form")
        return said

    def _most(self) -> int:
        """Bytes of an answer: arrays as large as x, and a Hessian."""
        n = self._sizes
        return LONGEST + 64 * n + (16 * n * n if self.has_matrix else 0) if n else shared_memory() // 4

    def _unwrapped(self, said: dict[str, Any]) -> Any:
        if "error" not in said:
            return said.get("found")
        text = told(said.get("text"))
        short = told(said.get("short"))
        kinds: dict[str, type[Exception]] = {
            "InvalidValue": InvalidValue, "CannotLoad": InvalidValue, "InvalidType": InvalidType, "OutOfTime": OutOfTime,
        }  # fmt: skip
        kind = kinds.get(str(said["error"]))
        if kind is None:
            raise Failed(short, text)
        raise kind(text)

    def _ask(self, method: str, *arguments: Any) -> Any:
        if self.stuck or time.monotonic() > self._until:
            raise OutOfTime
        try:
            self._process.send([method, list(arguments)], self._until + GRACE)
            said = self._received(self._until + GRACE)
        except Late:
            self.stuck = True
            raise OutOfTime from None
        except Ended as error:
            raise Broken(str(error)) from None
        if isinstance(said.get("calls"), dict):
            self.calls = {name: _count(said["calls"].get(name, 0)) for name in ("loss", "gradient")}
            self.altered = {told(text) for text in _list(said.get("altered"))[:20]}
            self.own += [told(name)[:80] for name in _list(said.get("own"))[:5]]
        return self._unwrapped(said)

    def _gradients(self, said: Any) -> list[np.ndarray]:
        """Arrays of the arguments' shapes."""
        if not isinstance(said, list) or [getattr(array, "shape", None) for array in said] != [
            array.shape for array in self.arrays
        ]:
            raise Broken("spoils its answer: it has other arrays")
        return [_array(array) for array in said]

    def value(self, leaves: Sequence[np.ndarray]) -> Any:
        return _number(self._ask("value", list(leaves)))

    def real(self, leaves: Sequence[np.ndarray]) -> float:
        return _real(self._ask("real", list(leaves)))

    def at(self, leaves: Sequence[np.ndarray]) -> tuple[np.floating[Any], list[np.ndarray]]:
        value, gradient = _pair(self._ask("at", list(leaves)))
        number = _number(value)
        if not np.isrealobj(number) or not np.isfinite(number):
            raise Broken("spoils its answer: the loss is no finite number")
        return number, self._gradients(gradient)

    def gradient(self, leaves: Sequence[np.ndarray], loss_first: bool = True) -> list[np.ndarray]:
        return self._gradients(self._ask("gradient", list(leaves), bool(loss_first)))

    def gradient_or_none(self, leaves: Sequence[np.ndarray]) -> list[np.ndarray] | None:
        said = self._ask("gradient_or_none", list(leaves))
        return None if said is None else self._gradients(said)

    def dual(
        self,
        leaves: Sequence[np.ndarray],
        v: Sequence[np.ndarray],
        carrier: int | None = None,
        conditions: bool = False,
    ) -> DualValue:
        said = self._ask("dual", list(leaves), list(v), carrier, conditions)
        try:
            value, slope, ties, decisions, stops, threshold, condition = said
            counts = _count(ties), _count(decisions), _count(stops)
            return DualValue(_number(value), _real(slope), *counts, _real(threshold), _real(condition))
        except (TypeError, ValueError, OverflowError):
            raise Broken("spoils its answer: it is no dual number") from None

    def complex_step(self, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray], carrier: int | None = None) -> float:
        return _real(self._ask("complex_step", list(leaves), list(v), carrier))

    def held(self, leaves: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
        try:
            said = [_pair(pair) for pair in _list(self._ask("held", list(leaves)))]
        except Failed:
            return []
        arrays = [
            (told(name)[:100], array) for name, array in said if getattr(array, "dtype", None) in (float, np.int64)
        ]
        return list(bounded({name: array for name, array in arrays if np.isfinite(array).all()}).items())

    def pushed(self, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray]) -> tuple[list[np.ndarray], int]:
        arrays, ties = _pair(self._ask("pushed", list(leaves), list(v)))
        return self._gradients(arrays), _count(ties)

    def product(self, leaves: Sequence[np.ndarray], v: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self._gradients(self._ask("product", list(leaves), list(v)))

    def matrix(self, leaves: Sequence[np.ndarray]) -> np.ndarray:
        return _array(self._ask("matrix", list(leaves)))


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise Broken("spoils its answer: it has no array where one belongs")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise Broken("spoils its answer: it has no number where one belongs")
    if isinstance(value, int):
        if abs(value) >= 1 << 1023:
            raise Broken("spoils its answer: it has an integer that no float holds")
        return float(value)
    return value


def _real(value: Any) -> float:
    number = _number(value)
    if isinstance(number, np.complexfloating):
        raise Broken("spoils its answer: it has a complex number where a real one belongs")
    return float(number)


def _count(value: Any) -> int:
    number = _real(value)
    if not 0 <= number < 1 << 53:
        raise Broken("spoils its answer: it has no count where one belongs")
    return int(number)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _pair(value: Any) -> tuple[Any, Any]:
    if not isinstance(value, list) or len(value) != 2:
        raise Broken("spoils its answer: it is of another form")
    return value[0], value[1]
