"""Registers of models and of papers: found by name, imported when they are asked for.

What belongs to the library is a package in its folder. Anything else is declared by the distribution that has it, as an entry
point of the register's group, or registered by hand.
"""

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from .errors import InvalidValue

__all__ = ["MODELS", "PAPERS", "Registry"]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)


class Registry(Generic[T]):
    """Things by name.

    Parameters
    ----------
    what : str
        What they are, for errors: "paper".
    package : str
        The package whose subpackages are the library's own. Importing `package.NAME` + `module` registers one.
    module : str
        The rest of that name: ".steps", or nothing.
    """

    def __init__(self, what: str, package: str, module: str = "") -> None:
        self.what, self.package, self.module = what, package, module
        self._things: dict[str, T] = {}

    def __iter__(self) -> Iterator[T]:
        """Those registered so far, in the order in which they were."""
        return iter(self._things.values())

    def register(self, thing: T) -> T:
        """Add one, and return it; ValueError if another has its name."""
        if self._things.setdefault(thing.name, thing) is not thing:
            raise InvalidValue(f"a {self.what} is called {thing.name!r} already; expected another name.")
        return thing

    def names(self) -> list[str]:
        """All names there are: the library's, those of installed distributions, those registered by hand."""
        return list(dict.fromkeys([*self._own(), *(entry.name for entry in self._entries()), *self._things]))

    def load(self, name: str) -> T:
        """The one of that name.

        Raises
        ------
        ValueError
            None has it; the message says which names there are.
        """
        known = isinstance(name, str) and name in self.names()
        if known and name not in self._things and name in self._own():
            importlib.import_module(f"{self.package}.{name}{self.module}")
        elif known and name not in self._things:
            found = next(entry.load() for entry in self._entries() if entry.name == name)
            self._things.setdefault(name, found)
        if not known:
            raise InvalidValue(f"{self.what} is {name!r}; expected one of {', '.join(map(repr, self.names()))}.")
        return self._things[name]

    def load_declared(self) -> None:
        """Load whatever installed distributions declare, for a search among all that is not the library's own."""
        for entry in self._entries():
            self.load(entry.name)

    def _own(self) -> list[str]:
        folder = importlib.import_module(self.package).__path__
        return sorted(module.name for module in pkgutil.iter_modules(folder) if module.ispkg)

    def _entries(self) -> importlib.metadata.EntryPoints:
        return importlib.metadata.entry_points(group=self.package)


PAPERS: Registry = Registry("paper", "nlicl.papers")
MODELS: Registry = Registry("model", "nlicl.models", ".steps")
