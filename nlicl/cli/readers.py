"""The reader's own Python files: each is imported once, under a time limit, and may import its neighbours."""

import importlib.util
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from .common import CannotRun

__all__ = ["Expired", "Files", "time_limit"]


class Expired(BaseException):
    """The time limit is over. No Exception, so that no `except Exception` on the way takes it for something else."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what runs inside after so many seconds, by Expired; without limit where there is no such signal."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise Expired

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again every second: a bare `except:` may take the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Files:
    """What the reader's files hold. While this is open, their folders are on the search path.

    Parameters
    ----------
    seconds : float
        The time limit of an import, and of a call by `made`.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.modules: dict[Path, ModuleType] = {}

    def __enter__(self) -> "Files":
        self.path = list(sys.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.path[:] = self.path

    def function(
        self, option: str, where: str, form: str, example: str, beside: str | None = None
    ) -> Callable[..., Any]:
        """The function FILE.py:NAME.

        Parameters
        ----------
        option : str
            The option that names it, for errors; empty for an argument without one.
        where : str
            FILE.py:NAME; with `beside`, also a NAME alone.
        form, example : str
            What was expected, "FILE.py:FUNCTION", and an example.
        beside : str, optional
            The file of a NAME alone.

        Raises
        ------
        CannotRun
            The reason if there is none.
        """
        file, name, module = self._find(option, where, form, example, beside)
        function = getattr(module, name, None)
        if not callable(function):
            offers = [key for key, value in vars(module).items() if callable(value)]
            raise CannotRun(f"{option} {where}: {file} has no function {name}; it has {_listed(offers)}".strip())
        return function

    def made(self, option: str, where: str, form: str, example: str, beside: str | None = None) -> Any:
        """The value FILE.py:NAME, or what it returns if it is a function, which is called without arguments.

        Raises
        ------
        CannotRun
            There is none; it takes arguments, raises, or does not finish.
        """
        file, name, module = self._find(option, where, form, example, beside)
        label = f"{option} {where}".strip()
        if not hasattr(module, name):
            offers = [key for key, value in vars(module).items() if not isinstance(value, ModuleType)]
            raise CannotRun(f"{label}: {file} has no {name}; it has {_listed(offers)}")
        value = getattr(module, name)
        if not callable(value):
            return value
        from ..audit.answer import describe

        try:
            with time_limit(self.seconds):
                return value()
        except Expired:
            raise CannotRun(f"{label}: {name}() does not finish within {self.seconds:g} s") from None
        except (Exception, SystemExit) as error:
            wanted = "expected an array, or a function without arguments that returns one"
            raise CannotRun(f"{label}: {name}() raises {describe(error)}; {wanted}") from None

    def _find(
        self, option: str, where: str, form: str, example: str, beside: str | None
    ) -> tuple[str, str, ModuleType]:
        """(file, name, module); CannotRun with the reason if there are none."""
        label = f"{option} {where}".strip()
        file, colon, name = where.rpartition(":")
        if not colon and beside is not None and where and not where.endswith(".py"):
            file, name = beside, where
        if not file or not name:
            raise CannotRun(f"{label}: expected {form}, for example {example}")
        path = Path(file)
        try:
            there = path.is_file()
        except OSError as error:  # a name that is too long, a folder that may not be looked into
            raise CannotRun(f"{label}: {error.strerror}; expected {form}") from None
        if not there:
            raise CannotRun(f"{label}: there is no file {file}")
        path = path.absolute()
        if path not in self.modules:
            self.modules[path] = self._imported(label, file, path, form)
        return file, name, self.modules[path]

    def _imported(self, label: str, file: str, path: Path, form: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"nlicl_reader_{path.stem}_{len(self.modules)}", path)
        if spec is None or spec.loader is None:
            raise CannotRun(f"{label}: {file} is not a Python file; expected {form}")
        module = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(path.parent))  # it may import its neighbours
        sys.modules[spec.name] = module  # dataclasses look there for the names in their annotations
        try:
            with time_limit(self.seconds):
                spec.loader.exec_module(module)
        except Expired:
            raise CannotRun(f"{label}: {file} does not import: it does not finish within {self.seconds:g} s") from None
        except (Exception, SystemExit) as error:
            text = str(error).splitlines()[0] if str(error) else "no message"
            raise CannotRun(f"{label}: {file} does not import: {type(error).__name__}: {text}") from None
        return module


def _listed(names: list[str], most: int = 20) -> str:
    """Names that are not private, sorted; at most so many."""
    shown = sorted(name for name in names if not name.startswith("_"))
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "") or "none"
