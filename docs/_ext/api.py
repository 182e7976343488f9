"""The reference of Python: a page for every package, with what its modules list in `__all__`, from docstrings.

A name that several modules offer is documented where it is offered under the shortest name; the others link there.
"""

import functools
import importlib
import inspect
import pkgutil
import re
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import docstrings
from jinja2 import FileSystemLoader
from jinja2.sandbox import SandboxedEnvironment
from made import clear, write
from numpydoc import docscrape_sphinx
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

ROOMS = {
    "For every day": {
        "nlicl": [],
        "nlicl.audit": ["nlicl.audit.subject"],
        "nlicl.training": ["nlicl.training.*"],
        "nlicl.devices": [],
    },
    "Papers": {"nlicl.papers": ["nlicl.papers.*"]},
    "Models": {"nlicl.models": ["nlicl.models.*"]},
    "Figures, theorems, sweeps": {"nlicl.experiments": ["nlicl.experiments.*"]},
    "Kernels": {"nlicl.kernels": ["nlicl.kernels.*"]},
    "What all of them use": {"nlicl.core": ["nlicl.core.errors", "nlicl.core.arrays", "nlicl.core.checks"]},
}
"""What is public, by rooms: the package of a page, and modules on it. `.*`: all that lie in the package; packages among these
have pages of their own. Of experiments, what is of one paper is left out: its figures and theorems have pages already."""


class Thing(NamedTuple):
    """A public name: where it is documented, and what it is."""

    name: str
    value: Any

    @property
    def kind(self) -> str:
        if isinstance(self.value, types.GenericAlias):
            return "data"
        if inspect.isclass(self.value):
            return "class"
        return "function" if callable(self.value) and hasattr(self.value, "__name__") else "data"

    @property
    def about(self) -> str:
        """Its first sentence; of a constant that of the text below it, since its docstring is that of its type."""
        if self.kind != "data":
            return first_sentence(self.value.__doc__)
        module, _, name = self.name.rpartition(".")
        return first_sentence("\n".join(data_docs(importlib.import_module(module), name, self.value)))


def pages_of(package: str, patterns: Iterable[str]) -> dict[str, list[str]]:
    """The pages of a package, each with its modules."""
    from nlicl import papers

    found = {package: [package]}
    for pattern in patterns:
        if not pattern.endswith(".*"):
            found[package].append(pattern)
            continue
        for each in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            below = each.name.removeprefix(f"{package}.").split(".")
            of_one_paper = package == "nlicl.experiments" and below[0] in papers.names()
            if "._" not in each.name and not of_one_paper:
                own_page = len(below) > 1 or each.ispkg
                found.setdefault(f"{package}.{below[0]}" if own_page else package, []).append(each.name)
    return found


class Library:
    """All that is public: rooms, their pages, the modules of these, and for each module its names.

    Attributes
    ----------
    rooms : dict of str to dict of str to list of str
        Title of a room -> name of a page -> modules on it.
    offered : dict of str to dict of str to Thing
        Module -> what its `__all__` lists, by name.
    places : dict
        `key` of something -> the name under which it is documented.
    """

    def __init__(self) -> None:
        self.rooms: dict[str, dict[str, list[str]]] = {
            room: {page: names for package, rest in packages.items() for page, names in pages_of(package, rest).items()}
            for room, packages in ROOMS.items()
        }
        modules = [name for pages in self.rooms.values() for names in pages.values() for name in names]
        self.offered: dict[str, dict[str, Thing]] = {name: {} for name in modules}
        self.places: dict[Any, str] = {}
        for name in sorted(modules, key=lambda name: (name.count("."), name)):
            module = importlib.import_module(name)
            for public in getattr(module, "__all__", ()):
                value = getattr(module, public)
                if not inspect.ismodule(value) and not public.startswith("__"):
                    place = self.places.setdefault(key(public, value), f"{name}.{public}")
                    self.offered[name][public] = Thing(place, value)
        self.names = {thing.name for things in self.offered.values() for thing in things.values()}

    def own(self, module: str) -> dict[str, Thing]:
        """What is documented at this module."""
        return {name: thing for name, thing in self.offered[module].items() if thing.name == f"{module}.{name}"}


def key(name: str, value: Any) -> Any:
    """What is the same thing under two names: a class or a function; of data the name counts as well."""
    return id(value) if inspect.isclass(value) or callable(value) else (name, id(value))


def first_sentence(doc: str | None) -> str:
    paragraph = " ".join((inspect.cleandoc(doc or "").split("\n\n") or [""])[0].split())
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", paragraph)[0]


def data_docs(module: types.ModuleType, name: str, value: Any) -> list[str]:
    """The text below a constant, in the module that sets it."""
    folder = module.__name__ if hasattr(module, "__path__") else module.__name__.rpartition(".")[0]
    near = [found for each, found in sorted(sys.modules.items()) if each.startswith(f"{folder}.")]
    for found in (module, *near):
        if getattr(found, name, None) is value and re.search(
            rf"^{name}\b[^\n=]*=", inspect.getsource(found), re.MULTILINE
        ):
            return ModuleAnalyzer.for_module(found.__name__).find_attr_docs().get(("", name), [])
    return []


def shown(value: Any) -> str:
    """The value of a constant, if it is short."""
    text = repr(value)
    return text if len(text) <= 60 and " at 0x" not in text and "\n" not in text else ""


# ---- Pages


INTRODUCTION = """\
# Python

Every public name, from its docstring. What is public of a module is what its `__all__` lists.
"""


def pages(library: Library) -> dict[str, str]:
    """All pages, by their names in docs/reference."""
    found, lines = {}, [INTRODUCTION]
    for room, of_room in library.rooms.items():
        rows, names = [], []
        for name, modules in of_room.items():
            if any(map(library.own, modules)):
                found[f"api/{name}.rst"] = page(library, name, modules)
                about = first_sentence(importlib.import_module(name).__doc__)
                rows.append(f"| [{name}](api/{name}.rst) | {about} |")
                names.append(name)
        lines += [f"## {room}", "", "| package | |", "|---|---|", *rows, ""]
        entries = "\n".join(f"api/{name}" for name in names)
        lines += [f"```{{toctree}}\n:hidden:\n:caption: {room}\n\n{entries}\n```\n"]
    return {"python.md": "\n".join(lines), **found}


def page(library: Library, package: str, modules: list[str]) -> str:
    """The page of a package, as reStructuredText: its own names, then each module under a heading."""
    lines: list[str] = []
    for name in modules:
        if name == package or library.own(name):
            lines += [name, ("=" if name == package else "-") * len(name), "", *section(library, name)]
    return "\n".join(lines)


def section(library: Library, name: str) -> Iterator[str]:
    """A module: its docstring, a table of its names, and the docstrings of those that are documented here."""
    yield from [f".. automodule:: {name}", ""]
    if library.offered[name]:
        yield from [".. list-table::", "    :widths: auto", "    :class: nlicl-names", ""]
    for public, thing in library.offered[name].items():
        find = finder(library, thing.value, name)
        yield f"    * - :py:obj:`{public} <{thing.name}>`"
        yield f"      - {docstrings.text(thing.about, find)}"
    yield ""
    for public, thing in library.own(name).items():
        if thing.kind == "data":
            value = shown(thing.value)
            docs = data_docs(importlib.import_module(name), public, thing.value)
            yield from [f".. py:data:: {public}", f"    :module: {name}", *([f"    :value: {value}"] * bool(value)), ""]
            yield from (f"    {line}" for line in docstrings.converted(docs, finder(library, thing.value, name)))
        else:
            yield f".. auto{thing.kind}:: {thing.name}"
            if thing.kind == "class":
                yield from ["    :members:", *inherited(library, thing.value)]
        yield ""


def inherited(library: Library, kind: type) -> list[str]:
    """The option by which members of bases that are not public are shown; those of others are on their own pages."""
    others = [
        base for base in kind.__mro__[1:] if id(base) in library.places or base.__module__.split(".")[0] != "nlicl"
    ]
    private = [base for base in kind.__mro__[1:] if base not in others]
    return [f"    :inherited-members: {', '.join(base.__name__ for base in others)}"] if private else []


# ---- Links

NUMPY = "https://numpy.org/doc/stable/reference/generated/numpy."
ELSEWHERE = {
    "ndarray": f"{NUMPY}ndarray.html",
    "array_like": "https://numpy.org/doc/stable/glossary.html#term-array_like",
    "Generator": "https://numpy.org/doc/stable/reference/random/generator.html#numpy.random.Generator",
    "SeedSequence": "https://numpy.org/doc/stable/reference/random/bit_generators/generated/numpy.random.SeedSequence.html",
}


def finder(library: Library, value: Any, module: str) -> docstrings.Find:
    """What names in the docstring of `value` link to; `module` is where it is documented."""
    own = getattr(value, "__module__", None)
    scopes = [value] if inspect.isclass(value) else []
    scopes += [sys.modules[name] for name in (own, module) if name in sys.modules]

    def find(name: str) -> str | None:
        if name in ELSEWHERE:
            return ELSEWHERE[name]
        if re.fullmatch(r"np\.\w+", name) and callable(getattr(importlib.import_module("numpy"), name[3:], None)):
            return f"{NUMPY}{name[3:]}.html"
        if not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", name):
            return None
        if name in library.names or (name in library.offered and library.own(name)):
            return name
        first, *rest = name.split(".")
        for scope in scopes:
            target = place(library, scope, [first, *rest])
            if target:
                return target
        return None

    return find


def place(library: Library, scope: Any, names: list[str]) -> str | None:
    """The full name under which scope.names is documented."""
    holder, value = None, scope
    for name in names:
        if not hasattr(value, name):
            return None
        holder, value = value, inspect.getattr_static(value, name) if inspect.isclass(value) else getattr(value, name)
    if inspect.isclass(holder):
        for base in holder.__mro__:
            if names[-1] in vars(base) and id(base) in library.places:
                documented = not names[-1].startswith("_") and getattr(value, "__doc__", None)
                field = isinstance(value, types.MemberDescriptorType) or type(value).__name__ == "_tuplegetter"
                kinds = (property, classmethod, staticmethod, types.FunctionType)
                return (
                    f"{library.places[id(base)]}.{names[-1]}"
                    if documented and not field and isinstance(value, kinds)
                    else None
                )
        return None
    if inspect.ismodule(value):
        return value.__name__ if value.__name__ in library.offered and library.own(value.__name__) else None
    return library.places.get(key(names[-1], value))


# ---- Sphinx


@functools.cache
def library() -> Library:
    """All that is public, read once a build."""
    return Library()


def make(app: Sphinx) -> None:
    found = pages(library())
    write("reference", found)
    clear("reference/api", {name.removeprefix("api/"): text for name, text in found.items()})


def on_docstring(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Before numpydoc reads it."""
    owner = value
    if what in ("method", "property", "attribute"):
        owner = resolve(name.rpartition(".")[0])
    lines[:] = docstrings.converted(lines, finder(library(), owner, module_of(app, name)))


def resolve(name: str) -> Any:
    """What a full name names."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if (module := sys.modules.get(".".join(parts[:length]))) is not None:
            value: Any = module
            for part in parts[length:]:
                value = getattr(value, part)
            return value
    raise KeyError(name)


def module_of(app: Sphinx, name: str) -> str:
    parts = name.split(".")
    return next(".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in sys.modules)


def on_member(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Fields of named tuples have no text of their own."""
    return True if type(value).__name__ == "_tuplegetter" else None


@functools.cache
def environment() -> SandboxedEnvironment:
    """Of numpydoc's template, which numpydoc itself would read and compile anew for every docstring."""
    return SandboxedEnvironment(loader=FileSystemLoader(Path(docscrape_sphinx.__file__).parent / "templates"))


def setup(app: Sphinx) -> dict[str, bool]:
    docscrape_sphinx.SandboxedEnvironment = lambda loader: environment()
    app.connect("builder-inited", make)
    app.connect("autodoc-process-docstring", on_docstring, priority=100)
    app.connect("autodoc-skip-member", on_member)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
