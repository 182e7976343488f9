"""Registers of models and of papers: found by name, imported when they are asked for.

What belongs to the library is a package in its folder. Anything else is declared by the distribution that has it, as an entry
point of the register's group, or registered by hand.
"""

import importlib
import importlib.metadata
import pkgutil
import re
import warnings
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from .describe import kind_of, meant, short
from .errors import InvalidType, InvalidValue
from .text import message

__all__ = ["MODELS", "PAPERS", "Registry", "check_name"]


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
        self._subpackages: list[str] = []

    def __iter__(self) -> Iterator[T]:
        """Those registered so far, in the order in which they were."""
        return iter(self._things.values())

    def register(self, thing: T) -> T:
        """Add one, and return it; TypeError if it has no name, ValueError if another has the same."""
        name = getattr(thing, "name", None)
        if not isinstance(name, str) or not name:
            raise InvalidType(
                f"a {self.what} is {short(thing)}, whose name is {short(name)}; expected a text as its name."
            )
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
            self._import(next(entry for entry in self._entries() if entry.name == name))
        if not known:
            known_names = self.names()
            raise InvalidValue(
                f"{self.what} is {short(name)}{meant(name, known_names)}; expected one of {', '.join(map(repr, known_names))}."
            )
        return self._things[name]

    def own(self) -> list[str]:
        """The names of what is the library's own, whether it is loaded yet or not."""
        return list(self._own())

    def load_own(self) -> None:
        """Load all that is the library's own."""
        for name in self._own():
            if name not in self._things:
                importlib.import_module(f"{self.package}.{name}{self.module}")

    def load_declared(self) -> None:
        """Load whatever installed distributions declare, for a search; what cannot be loaded is left out with a warning."""
        for entry in self._entries():
            try:
                self.load(entry.name)
            except InvalidValue as error:
                warnings.warn(str(error), RuntimeWarning, stacklevel=2)

    def _import(self, entry: importlib.metadata.EntryPoint) -> None:
        """Import what an entry point names, which registers itself; ValueError if it does not."""
        where = f"{self.what} {entry.name!r}, declared as {entry.value}" + (
            f" by {entry.dist.name}" if entry.dist else ""
        )
        try:
            entry.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # somebody else's module: whatever it raises, SystemExit too
            reason = (message(error).splitlines() or ["no message"])[0]
            raise InvalidValue(f"{where}, cannot be imported: {kind_of(error)}: {reason}") from error
        if entry.name not in self._things:
            raise InvalidValue(f"{where}, registers none of this name; expected it to end with register(...).")

    def _own(self) -> list[str]:
        if not self._subpackages:
            folder = importlib.import_module(self.package).__path__
            self._subpackages = sorted(module.name for module in pkgutil.iter_modules(folder) if module.ispkg)
        return self._subpackages

    def _entries(self) -> importlib.metadata.EntryPoints:
        return importlib.metadata.entry_points(group=self.package)


def check_name(what: str, name: object) -> None:
    """TypeError, ValueError unless `name` can stand on a command line, before a colon."""
    if not isinstance(name, str):
        raise InvalidType(f"{what} is {short(name)}; expected a text.")
    if not re.fullmatch(r"[\w.-]+", name):
        raise InvalidValue(f"{what} is {name!r}; expected letters, digits, '-', '_' and '.' only, at least one.")


PAPERS: Registry = Registry("paper", "nlicl.papers")
MODELS: Registry = Registry("model", "nlicl.models", ".steps")
