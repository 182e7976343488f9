"""A kernel as plain Python: its source, which calls the sources of the kernels that it calls."""

from collections.abc import Callable
from types import CellType, FunctionType, ModuleType
from typing import Any, ParamSpec, TypeVar

from numba.extending import is_jitted

from ..core.describe import short
from ..core.errors import InvalidType, InvalidValue
from .reach import enclosed, is_known, names_in

__all__ = ["source"]

P = ParamSpec("P")
R = TypeVar("R")


def source(function: Callable[P, R]) -> Callable[P, R]:
    """The plain Python function behind a kernel, the kernels it calls replaced by theirs.

    It runs on any NumPy dtype, `numpy.longdouble` included: the audit's oracle of extended precision, and the
    tests' proof that the compiled code is what the source says.

    Parameters
    ----------
    function : function
        A kernel, or a plain function that calls or launches kernels, of any package. Kernels are replaced wherever they are;
        plain functions that reach kernels if they belong to `nlicl.kernels` or to the package of `function`.

    Returns
    -------
    function
        With a module's names of its own: the function given, and its module, stay as they are.

    Raises
    ------
    TypeError
        Neither a kernel nor a function that `def` or `lambda` gives.
    ValueError
        A function inside another one names something of that one which has no value yet.
    """
    plain: Any = getattr(function, "py_func", function)
    if not isinstance(plain, FunctionType):
        raise InvalidType(f"function is {short(function)}; expected a kernel, or a Python function, as def gives.")
    return _Sources(plain.__module__.partition(".")[0]).copy(plain)


class _Sources:
    """Copies of functions that call copies of functions, down to where no kernel is reached."""

    def __init__(self, home: str) -> None:
        self.home, self.done = home, dict[FunctionType, FunctionType]()

    def copy(self, plain: FunctionType) -> Any:
        if plain not in self.done:
            names, cells = dict(plain.__globals__), [CellType() for _ in plain.__closure__ or ()]
            copy = FunctionType(plain.__code__, names, plain.__name__, plain.__defaults__, tuple(cells))
            copy.__kwdefaults__ = plain.__kwdefaults__
            self.done[plain] = copy
            named = names_in(plain.__code__)
            unset = [name for name in plain.__code__.co_freevars if name not in enclosed(plain)]
            if unset:
                raise InvalidValue(
                    f"{plain.__qualname__} names {unset[0]!r}, which has no value yet; expected one. Ask for the source after "
                    "it is assigned."
                )
            for cell, old in zip(cells, plain.__closure__ or (), strict=True):
                cell.cell_contents = self.of(old.cell_contents, named.attributes)
            names |= {name: self.of(names[name], named.attributes) for name in named.globals if name in names}
        return self.done[plain]

    def of(self, value: Any, attributes: tuple[str, ...]) -> Any:
        """What stands for a value in the copy of code that names these attributes: itself, if it reaches no kernel."""
        if is_jitted(value):
            return self.copy(value.py_func)
        if not self.reaches(value, attributes, set()):
            return value
        return self.copy(value) if isinstance(value, FunctionType) else _SourceModule(value, attributes, self)

    def reaches(self, value: Any, attributes: tuple[str, ...], seen: set[Any]) -> bool:
        """Whether a value is a kernel, or names one, as far as plain functions are followed."""
        if is_jitted(value):
            return True
        if isinstance(value, ModuleType) and not is_known(value.__name__):
            inside = [getattr(value, name) for name in attributes if hasattr(value, name)]
        elif isinstance(value, FunctionType) and self.is_followed(value):
            names, attributes = names_in(value.__code__)
            inside = [value.__globals__[name] for name in names if name in value.__globals__]
            inside += enclosed(value).values()
        else:
            return False
        if (value, attributes) in seen:
            return False
        seen.add((value, attributes))
        return any(self.reaches(item, attributes, seen) for item in inside)

    def is_followed(self, function: FunctionType) -> bool:
        module = function.__module__ or ""
        return module.startswith(f"{__package__}.") or module.partition(".")[0] == self.home


class _SourceModule:
    """A module whose kernels are read through `source`: `attention.forward` inside `dense`."""

    def __init__(self, module: ModuleType, attributes: tuple[str, ...], sources: _Sources) -> None:
        self._module, self._attributes, self._sources = module, attributes, sources

    def __getattr__(self, name: str) -> Any:
        return self._sources.of(getattr(self._module, name), self._attributes)
