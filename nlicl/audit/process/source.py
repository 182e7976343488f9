"""The reader's files: each is read once, and what is shown of it is what runs.

Python keeps compiled files and compares seconds and sizes, so that a file edited within a second to the same size would run
as it was before. Here a file is compiled from the text that was read, and so is what it imports from its own folder.
"""

import ast
import importlib.util
import inspect
import io
import linecache
import os
import re
import sys
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from ...core.errors import InvalidValue
from ...core.text import message

__all__ = ["CannotLoad", "Named", "Source", "find", "is_readers"]

LARGEST = 16 * 2**20  # bytes of a file
_NO_CODE = re.compile(
    r"#[^\n]*"
    r'|"{3}(?:[^"\\]|\\.|"(?!""))*+"{3}'
    r"|'{3}(?:[^'\\]|\\.|'(?!''))*+'{3}"
    r'|"(?:[^"\\\n]|\\.)*+"'
    r"|'(?:[^'\\\n]|\\.)*+'",
    re.DOTALL,
)  # comments and texts


class CannotLoad(Exception):
    """Why a file has no function of that name, in one line."""


class Source:
    """A Python file, read once.

    Parameters
    ----------
    path : Path
        Of a regular file.
    shown : str
        What the reader calls it.

    Raises
    ------
    ValueError
        It cannot be read, or is too large.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self.path, self.shown = Path(os.path.abspath(path)), shown
        try:
            if self.path.stat().st_size > LARGEST:
                raise InvalidValue(f"{shown} has more than {LARGEST // 2**20} MiB; expected a Python file.")
            self.data = self.path.read_bytes()
        except OSError as error:
            raise InvalidValue(f"{shown}: {error.strerror}; expected a Python file that can be read.") from None
        try:
            self.text = importlib.util.decode_source(self.data)
        except (SyntaxError, UnicodeError, LookupError):  # Python says what is wrong when it is loaded
            self.text = ""
        self._module: ModuleType | None = None

    def text_of(self, name: str) -> str:
        """The lines that define a function, set a name or import it, at the top level; empty if there are none."""
        lines = self.text.split("\n")
        lines = [line + "\n" for line in lines[:-1]] + [lines[-1]] * bool(lines[-1])
        code = _NO_CODE.sub(lambda found: "''" + "\n" * found[0].count("\n"), self.text).split("\n")
        this = re.escape(name)
        begin = re.compile(
            rf"((async\s+)?def\s+{this}\b|class\s+{this}\b|{this}\s*(:[^=]*)?=[^=]|from\s+[\w.]+\s+import\b.*\b{this}\s*(,|\)|$))"
        )
        starts = [number for number, line in enumerate(code) if begin.match(line)]
        if not starts:
            return ""
        start = starts[-1]  # the last one counts
        while start and lines[start - 1].startswith("@"):
            start -= 1
        try:
            return "".join(inspect.getblock(lines[start:]))
        except (SyntaxError, IndentationError, tokenize.TokenError, RecursionError):
            return ""

    def docstring(self, name: str) -> str:
        """The first line of a function's documentation, as it stands in the text; empty if there is none."""
        kinds: list[int] = []
        try:
            for token in tokenize.generate_tokens(io.StringIO(self.text_of(name)).readline):
                if token.type == tokenize.STRING and kinds and kinds[-1] == tokenize.INDENT:
                    text = ast.literal_eval(token.string)
                    return inspect.cleandoc(text).strip().partition("\n")[0] if isinstance(text, str) else ""
                if tokenize.INDENT in kinds:
                    break
                if token.type not in (tokenize.NL, tokenize.COMMENT):
                    kinds.append(token.type)
        except (SyntaxError, tokenize.TokenError, ValueError, RecursionError, MemoryError):
            pass
        return ""

    def load(self, opening: str) -> ModuleType:
        """The module, run when it is first asked for: the reader's code. Its folder is first on the search path from then on.

        Raises
        ------
        CannotLoad
            It raises, or ends the process.
        """
        if self._module is None:
            sys.dont_write_bytecode = True
            _watch_folder(str(self.path.parent))
            name = f"nlicl_reader_{self.path.stem}_{len(sys.modules)}"
            loader = _Fresh(name, str(self.path))
            loader.data = self.data
            spec = importlib.util.spec_from_loader(name, loader)
            assert spec is not None
            module = importlib.util.module_from_spec(spec)
            module.__file__ = str(self.path)
            sys.modules[name] = module  # dataclasses look there for the names in their annotations
            try:
                loader.exec_module(module)
            except BaseException as error:
                raise CannotLoad(f"{opening}: {_said(error)}") from None
            self._module = module
        return self._module


class _Fresh(SourceFileLoader):
    """Compiles a file from its text, whatever compiled file lies beside it; inspect and tracebacks show that text."""

    data: bytes | None = None

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        data = self.get_data(path) if self.data is None else self.data
        code = self.source_to_code(data, path)
        text = importlib.util.decode_source(data)
        linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
        return code


def is_readers(file: str) -> bool:
    """Whether a module that was loaded from this file in this process is one of the reader's."""
    loaders = (getattr(module, "__loader__", None) for module in list(sys.modules.values()))
    return any(isinstance(loader, _Fresh) and loader.path == file for loader in loaders)


def _watch_folder(folder: str) -> None:
    """Let the modules in a folder and below be compiled from their text, and put it first on the search path."""

    def finder(path: str) -> FileFinder:
        installed = {"site-packages", "dist-packages"} & set(path.split(os.sep))
        if installed or os.path.commonpath([os.path.abspath(path), folder]) != folder or not os.path.isdir(path):
            raise ImportError
        return FileFinder(path, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Fresh, SOURCE_SUFFIXES))

    sys.path_hooks.insert(0, finder)
    sys.path_importer_cache.clear()
    sys.path.insert(0, folder)


def _said(error: BaseException) -> str:
    """What a file raised, with its line; Python names that of a file it cannot read itself."""
    from ..answer import describe

    if not isinstance(error, SyntaxError):
        return describe(error)
    lines = message(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


@dataclass(frozen=True)
class Named:
    """A name in a file of the reader's.

    Attributes
    ----------
    source : Source
    name : str
    label : str
        The option and its value, for errors: "--formula appendix.py:grad".
    """

    source: Source
    name: str
    label: str

    @property
    def opening(self) -> str:
        """The beginning of an error of a file that does not import."""
        return f"{self.label}: {self.source.shown} does not import"

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns; runs the file."""
        return self.function()(*arguments)

    def function(self) -> Callable[..., Any]:
        """The function; runs the file.

        Raises
        ------
        CannotLoad
        """
        module = self.source.load(self.opening)
        function = getattr(module, self.name, None)
        if not callable(function):
            offers = [key for key, value in vars(module).items() if callable(value)]
            raise CannotLoad(f"{self.label}: {self.source.shown} has no function {self.name}; it has {_listed(offers)}")
        return function

    def made(self) -> Any:
        """The value, or what it returns if it is a function, which is called without arguments; runs the file.

        Raises
        ------
        CannotLoad
            There is none; it takes arguments, or raises.
        """
        module = self.source.load(self.opening)
        if not hasattr(module, self.name):
            offers = [key for key, value in vars(module).items() if not isinstance(value, ModuleType)]
            raise CannotLoad(f"{self.label}: {self.source.shown} has no {self.name}; it has {_listed(offers)}")
        value = getattr(module, self.name)
        if not callable(value):
            return value
        from ..answer import describe

        try:
            return value()
        except BaseException as error:
            wanted = "expected an array, or a function without arguments that returns one"
            raise CannotLoad(f"{self.label}: {self.name}() raises {describe(error)}; {wanted}") from None


def find(known: dict[Path, Source], option: str, where: str, form: str, example: str, beside: str = "") -> Named:
    """The name that FILE.py:NAME means; nothing of the file is run.

    Parameters
    ----------
    known : dict
        The files read so far; filled.
    option : str
        The option that names it, for errors; empty for an argument without one.
    where : str
        FILE.py:NAME; with `beside`, also a NAME alone.
    form, example : str
        What was expected, "FILE.py:FUNCTION", and an example.
    beside : str
        The file of a NAME alone; empty if there is none.

    Raises
    ------
    ValueError
        There is no such file.
    """
    label = f"{option} {where}".strip()
    file, colon, name = where.rpartition(":")
    if not colon and beside and where and not where.endswith(".py"):
        file, name = beside, where
    if not file or not name:
        raise InvalidValue(f"{label}: expected {form}, for example {example}")
    path = Path(file)
    try:
        there = path.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, a folder that may not be looked into
        raise InvalidValue(f"{label}: {getattr(error, 'strerror', error)}; expected {form}") from None
    if not there:
        raise InvalidValue(f"{label}: there is no file {file}")
    if not file.endswith(tuple(SOURCE_SUFFIXES)):
        raise InvalidValue(f"{label}: {file} is not a Python file; expected {form}")
    path = Path(os.path.abspath(path))
    if path not in known:
        known[path] = Source(path, file)
    return Named(known[path], name, label)


def _listed(names: list[str], most: int = 20) -> str:
    """Names that are not private, sorted; at most so many."""
    shown = sorted(name for name in names if isinstance(name, str) and not name.startswith("_"))
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "") or "none"
