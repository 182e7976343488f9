"""What a kernel reaches: its code, and all that its code names. By that a cache knows whether what it keeps still holds."""

import dis
import hashlib
import itertools
import sys
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np
from numba.extending import is_jitted

__all__ = ["Names", "digest", "enclosed", "is_known", "names_in"]

_KNOWN = {
    "builtins",
    "math",
    "cmath",
    "numpy",
    "numba",
}  # their meaning goes with numba's version, which numba looks at itself
_NUMBERS = (bool, int, float, complex, str, bytes, type(None), np.dtype)


def is_known(module: str) -> bool:
    """Whether what a module of this name offers is settled by the versions of Python, numba and NumPy: it has no kernels."""
    return module.partition(".")[0] in _KNOWN


class _Unknown(Exception):
    """Something is reached whose meaning cannot be told."""


class Names(NamedTuple):
    """What is named in a function's code, and in that of the functions inside it; each name once, in order."""

    globals: tuple[str, ...]
    attributes: tuple[str, ...]


def names_in(code: CodeType) -> Names:
    """The names in a function's code: those it looks up in its module, and those it looks up in anything else."""
    inside = [names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    named = [i for i in dis.get_instructions(code) if i.opcode in dis.hasname]
    own = Names(
        tuple(i.argval for i in named if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")),
        tuple(i.argval for i in named if i.opname not in ("LOAD_GLOBAL", "LOAD_NAME")),
    )
    return Names(*(tuple(dict.fromkeys(itertools.chain(*lists))) for lists in zip(own, *inside, strict=True)))


def enclosed(function: FunctionType) -> dict[str, Any]:
    """What a function has from the function that it is made in, by name; not what has no value yet."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # the cell is empty
            found[name] = cell.cell_contents
    return found


def digest(kernel: Any, covered: str) -> str | None:
    """SHA-256 of all that decides what a kernel computes, but for the package `covered`, numba and NumPy.

    That is the code of the kernel, of each kernel that it reaches, wherever it is, and every number that they name.

    Parameters
    ----------
    kernel : compiled function
    covered : str
        A package whose changes the caller looks at by another way.

    Returns
    -------
    str or None
        64 hexadecimal digits; None where it cannot be told: something else is named, such as a plain Python function, or a
        kernel's module cannot be imported again by its name. None, too, for a kernel that has a function, compiled or not,
        from the function that it is made in: numba does not know the one of another process again.
    """
    if any(_holds_function(value) for value in enclosed(kernel.py_func).values()):
        return None
    reader = _Reader(covered)
    try:
        reader.kernel(kernel)
    except _Unknown:
        return None
    return reader.hash.hexdigest()


def _holds_function(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(_holds_function, value))
    return is_jitted(value) or isinstance(value, FunctionType)


class _Reader:
    """Reads a kernel and what it reaches into a hash, everything once."""

    def __init__(self, covered: str) -> None:
        self.covered, self.hash, self.seen = covered, hashlib.sha256(), set[Any]()

    def words(self, *words: Any) -> None:
        self.hash.update("".join(f"{word!r}\0" for word in words).encode())

    def kernel(self, kernel: Any) -> None:
        plain = kernel.py_func
        self.words(plain.__module__, plain.__qualname__)
        self.words(*sorted((name, sorted(o) if isinstance(o, set) else o) for name, o in kernel.targetoptions.items()))
        if self.is_covered(plain.__module__) or plain in self.seen:
            return
        self.seen.add(plain)
        module = sys.modules.get(plain.__module__)
        if plain.__module__ == "__main__" or module is None or vars(module) is not plain.__globals__:
            raise _Unknown  # it could not be found again by another process
        if not Path(plain.__code__.co_filename).exists():
            raise _Unknown
        self.code(plain.__code__)
        names = names_in(plain.__code__)
        self.value(plain.__defaults__, names.attributes)
        if len(enclosed(plain)) < len(plain.__code__.co_freevars):
            raise _Unknown
        for value in enclosed(plain).values():
            self.value(value, names.attributes)
        for name in names.globals:
            if name in plain.__globals__:
                self.words(name)
                self.value(plain.__globals__[name], names.attributes)

    def is_covered(self, module: str) -> bool:
        return module == self.covered or module.startswith(self.covered + ".")

    def code(self, code: CodeType) -> None:
        self.words(code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self.code(constant)
            else:
                self.words(constant)

    def value(self, value: Any, attributes: tuple[str, ...]) -> None:
        """Something that is named in code which also names these attributes: of a module, those count."""
        if isinstance(value, _NUMBERS):
            self.words(type(value).__name__, value)
        elif isinstance(value, (np.ndarray, np.generic)):
            self.words(value.dtype.str, value.shape, value.tobytes())
        elif isinstance(value, tuple):
            self.words(type(value).__name__, len(value))
            for item in value:
                self.value(item, attributes)
        elif is_jitted(value):
            self.kernel(value)
        elif isinstance(value, ModuleType):
            self.module(value, attributes)
        else:
            self.known(value)

    def module(self, module: ModuleType, attributes: tuple[str, ...]) -> None:
        known = is_known(module.__name__) or self.is_covered(module.__name__)
        if known or (module, *attributes) in self.seen:
            return
        self.seen.add((module, *attributes))
        for name in attributes:
            if hasattr(module, name):
                self.words(name)
                self.value(getattr(module, name), attributes)

    def known(self, value: Any) -> None:
        """A function or a type of a package whose meaning is settled; anything else is unknown."""
        module, name = getattr(value, "__module__", None) or "builtins", getattr(value, "__name__", None)
        if not isinstance(name, str) or not (is_known(module) or self.is_covered(module)):
            raise _Unknown
        self.words(module, name)
