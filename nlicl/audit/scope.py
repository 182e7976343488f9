"""The arrays and numbers that a function has: its variables when it returns, and what it knows from around it."""

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

__all__ = ["Scope", "around", "bounded", "held", "lengths", "named"]

MOST = 60  # arrays and numbers
LARGEST = 1 << 15  # entries of an array
ALTOGETHER = 1 << 17  # entries
_NESTED = 12  # parts of a list, dict or object that are looked at


class Scope:
    """What the variables of some functions hold when they return, and those of functions that they call.

    Parameters
    ----------
    functions : sequence of callable
        Of the same name, variables of the earlier ones count.
    folders : sequence of str
        Functions that they call are looked at if they stand in the same file, or below one of these.
    """

    def __init__(self, functions: Sequence[Callable[..., Any]], folders: Sequence[str] = ()) -> None:
        self._own = [code for code in map(_code, functions) if code is not None]
        self._files = {code.co_filename for code in self._own}
        self._folders = tuple(folders)
        self._found: dict[CodeType, dict[str, np.ndarray]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it, functions that return are looked at; not where a profiler runs already."""
        if sys.getprofile() is not None:
            yield
            return
        sys.setprofile(self._event)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "return" or not self._wanted(frame.f_code):
            return
        code = frame.f_code
        if code in self._found or len(self._found) < MOST:
            returned = {} if code in self._own else {f"{code.co_name}()": argument}
            with suppress(Exception):  # of objects that raise when they are looked at: the function must not see it
                self._found[code] = dict(named({**frame.f_locals, **returned}))

    def _wanted(self, code: CodeType) -> bool:
        file = code.co_filename
        near = file in self._files or (self._folders and file.startswith(self._folders))
        return code in self._own or bool(near and code.co_name[0] != "<")

    def own(self) -> dict[str, np.ndarray]:
        """The functions' own variables by name."""
        found: dict[str, np.ndarray] = {}
        for code in self._own:
            found = {**found, **{k: v for k, v in self._found.get(code, {}).items() if k not in found}}
        return found

    def called(self) -> dict[str, np.ndarray]:
        """Those of the functions that they call, the last to return first, and what these return, as "forward()".

        A name that several functions have is written "h of forward".
        """
        others = [(code, arrays) for code, arrays in reversed(self._found.items()) if code not in self._own]
        often = Counter(name for arrays in self._found.values() for name in arrays)
        found = {}
        for code, arrays in others:
            for name, array in arrays.items():
                found[name if often[name] == 1 else f"{name} of {code.co_name}"] = array
        return found


def held(functions: Sequence[Callable[..., Any]], run: Callable[[], bool]) -> list[tuple[str, np.ndarray]]:
    """Arrays and numbers that functions have while `run` calls them, by name; [] if it returns False.

    First their variables when they return, those of earlier functions before those of later ones, then what they know from
    around them, then the variables of functions that they call.
    """
    scope = Scope(functions)
    with scope.watching():
        if not run():
            return []
    found: dict[str, np.ndarray] = {}
    for arrays in (scope.own(), around(functions), scope.called()):
        found |= {name: array for name, array in arrays.items() if name not in found}
    return list(bounded(found).items())


def around(functions: Sequence[Callable[..., Any]]) -> dict[str, np.ndarray]:
    """Arrays and numbers that functions know from around them, by name."""
    found: dict[str, np.ndarray] = {}
    for one in functions:
        try:
            known = inspect.getclosurevars(inspect.unwrap(one))
        except Exception:  # no function of Python's, or attributes that raise
            continue
        for name, array in named({**known.nonlocals, **known.globals}):
            found.setdefault(name, array)
    return found


def lengths(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The lengths of the axes of arrays, by what to call them."""
    return {f"{name}.shape[{axis}]": n for name, array in arrays.items() for axis, n in enumerate(array.shape) if n > 1}


def bounded(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The first of the arrays, as many as are compared."""
    kept: dict[str, np.ndarray] = {}
    left = ALTOGETHER
    for name, array in arrays.items():
        if array.size <= min(left, LARGEST) and len(kept) < MOST:
            kept[name] = array
            left -= array.size
    return kept


def _code(function: Any) -> CodeType | None:
    """The code of a function, of a method, of a partial function or of an object that is called."""
    for _ in range(8):
        if isinstance(function, MethodType):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif hasattr(function, "func") and callable(function.func):
            function = function.func
    if not isinstance(function, FunctionType):
        function = type(function).__dict__.get("__call__")
    return function.__code__ if isinstance(function, FunctionType) else None


def named(values: Mapping[str, Any], depth: int = 2) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays and numbers among values, those within lists, dicts and plain objects too."""
    for name, value in list(values.items()):
        if name == "_" or name.startswith("__"):
            continue
        array = _array(value)
        if array is not None:
            yield name, array
        elif depth:
            yield from named(dict(_parts(name, value)), depth - 1)


def _parts(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, (list, tuple)):
        fields = getattr(value, "_fields", None)
        names = [f"{name}.{field}" for field in fields] if fields else [f"{name}[{i}]" for i in range(len(value))]
        return list(zip(names, value, strict=False))[:_NESTED]
    if isinstance(value, dict):
        return [(f"{name}[{key!r}]", part) for key, part in list(value.items())[:_NESTED] if isinstance(key, str)]
    if isinstance(value, (type, ModuleType, FunctionType, MethodType)):
        return []
    try:
        return [(f"{name}.{key}", part) for key, part in list(vars(value).items())[:_NESTED]]
    except Exception:  # no attributes, or they raise
        return []


def _array(value: Any) -> np.ndarray | None:
    """A copy as an array of real numbers; None if the value is none. Integers stay integers."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (np.ndarray, np.number, int, float)):
        return None
    try:
        array = np.array(value)
        if array.dtype.kind not in "fiub" or array.size > LARGEST or not array.size or not np.isfinite(array).all():
            return None
        return array.astype(np.int64 if array.dtype.kind in "iu" else float)
    except Exception:  # objects that pass for numbers
        return None
