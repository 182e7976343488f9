"""The reader's function as text: read from its file, changed, and built again around the same names and closures."""

import ast
import functools
import inspect
import itertools
import os
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from .standins import Names, called_at_once, contents, like

__all__ = ["Function", "Program", "Unit", "Unread"]

Function = ast.FunctionDef | ast.Lambda
_MOST_HELPERS = 12


class Unread(Exception):
    """Why a function's source cannot be had, in words that follow "no mend: "."""


@dataclass
class Unit:
    """One function of the file that an edit may change.

    Attributes
    ----------
    node : ast.FunctionDef or ast.Lambda
    original : FunctionType
        As it runs.
    place : dict, cell or type
        Where those who call it find it: globals, a closure's cell, a class; None for the root, unless it calls itself.
    name : str
        Its name there.
    order : int
        Which of the file's functions it is, which an edit does not change.
    """

    node: Function
    original: types.FunctionType
    place: Any
    name: str
    order: int


class Program:
    """A function of the reader's, and the functions of the same file that it calls.

    Parameters
    ----------
    function : callable
        A function, a method, a partial, or an object that wraps one.
    fixed : iterable of callable
        Functions that no edit may change, such as the loss; nor what they call.

    Raises
    ------
    Unread
    """

    def __init__(self, function: Callable[..., Any], fixed: Iterable[Callable[..., Any]] = ()) -> None:
        self.fixed = tuple(fixed)
        root, self._bind, self._owner = _unwrapped(function)
        code = root.__code__
        self.path = code.co_filename
        self.text = _text_of(root)
        try:
            self.tree = ast.parse(self.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise Unread(f"the source of {root.__name__} cannot be parsed") from None
        self.functions = [node for node in ast.walk(self.tree) if isinstance(node, Function)]
        self.globals = dict(root.__globals__)
        self._cells: dict[int, types.CellType] = {}
        self.units: list[Unit] = []
        node = _node_of(root, self.functions, self.text)
        self.units.append(Unit(node, root, None, root.__name__, self._order(node)))
        self._add_helpers(root)
        self._methods: type | None = None
        self._build_all()

    def edited(self, text: str) -> "Program":
        """The same with another text of the file, in which the functions come in the same order."""
        other = Program.__new__(Program)
        other.__dict__.update(self.__dict__)
        try:
            other.text, other.tree = text, ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise Unread("the edited text cannot be parsed") from None
        other.functions = [node for node in ast.walk(other.tree) if isinstance(node, Function)]
        if len(other.functions) != len(self.functions):
            raise Unread("the edited text has other functions")
        other.globals, other._cells = dict(self.globals), {}
        other.units = [
            Unit(other.functions[unit.order], unit.original, unit.place, unit.name, unit.order) for unit in self.units
        ]
        other._build_all()
        return other

    @property
    def root(self) -> Callable[..., Any]:
        """The function as the reader calls it, built from the text."""
        return self.bound(self.built[0])

    def bound(self, function: types.FunctionType) -> Callable[..., Any]:
        """A build of the root as the reader calls it: with the object it is a method of, or with given arguments."""
        return self._bind(function, self._stand_in)

    def build(self, number: int, node: Function) -> types.FunctionType:
        """A changed node of unit `number`, compiled."""
        return self._compiled(self.units[number], node)

    def having(self, number: int, function: types.FunctionType) -> Callable[..., Any]:
        """The root, with a changed build of a unit in the place of the unit's own until `restore`."""
        self._put(self.units[number], function)
        return self.bound(function if number == 0 else self.built[0])

    def restore(self, number: int) -> None:
        """Put the unit's own build back in its place."""
        self._put(self.units[number], self.built[number])

    def released(self, before: "Program") -> Callable[..., Any]:
        """The root among the reader's own names; those of helpers stand for others, if one is not as it was `before`."""
        root, names = self.units[0], self.units[0].original.__globals__
        pairs = zip(self.units[1:], before.units[1:], strict=True)
        if root.place is None and all(ast.dump(one.node) == ast.dump(old.node) for one, old in pairs):
            self.units, self.globals = [root], names
        else:
            self.globals = Names(names)
        places = {id(unit.place) for unit in self.units}
        cells = (cell for unit in self.units for cell in unit.original.__closure__ or ())
        self._cells = {id(cell): cell for cell in cells if id(cell) not in places}
        self._build_all()
        return self.root

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """The reader's own functions run the text's code, for all who call them by whatever name, as after a new start."""
        before = [(unit.original, unit.original.__code__) for unit in self.units]
        try:
            for (original, code), built in zip(before, self.built, strict=True):
                if code.co_freevars == built.__code__.co_freevars:
                    original.__code__ = built.__code__
            yield
        finally:
            for original, code in before:
                original.__code__ = code

    def _build_all(self) -> None:
        self._stand_in = self._owner
        if self._owner is not None and any(isinstance(unit.place, type) for unit in self.units):
            try:
                self._methods, self._stand_in = like(self._owner)
            except Exception:  # it has slots, or its class wants more: its methods stay as they are
                self.units = [unit for n, unit in enumerate(self.units) if not (n and isinstance(unit.place, type))]
                self.units[0].place = None if isinstance(self.units[0].place, type) else self.units[0].place
        self.built = [self._compiled(unit, unit.node) for unit in self.units]
        for unit, function in zip(self.units, self.built, strict=True):
            self._put(unit, function)

    def _put(self, unit: Unit, function: types.FunctionType) -> None:
        if isinstance(unit.place, dict):
            self.globals[unit.name] = function
        elif isinstance(unit.place, types.CellType):
            self._cell(unit.place).cell_contents = function
        elif unit.place is not None:
            setattr(self._methods, unit.name, function)

    def _cell(self, cell: types.CellType) -> types.CellType:
        """The cell that stands for one of the reader's, so that his own keeps what it holds."""
        mine = self._cells.get(id(cell))
        if mine is None:
            try:
                mine = types.CellType(cell.cell_contents)
            except ValueError:  # nothing is in it yet
                mine = types.CellType()
            self._cells[id(cell)] = mine
        return mine

    def _compiled(self, unit: Unit, node: Function) -> types.FunctionType:
        original = unit.original
        free = original.__code__.co_freevars
        body: list[ast.stmt] = (
            [ast.Expr(node)] if isinstance(node, ast.Lambda) else [_def(node.name, node.args, node.body)]
        )
        taken = [ast.arg(name) for name in free]
        made: list[ast.AST] = [*body, *taken]
        if inside := _class_of(original):
            body = [ast.ClassDef(inside, [], [], body, [])]
        # what is defined here is for those inside what it was for the original: a name of the file, or of a cell
        bound = [name for name in (inside, getattr(node, "name", "")) if name and name not in free]
        outer_body = [*([ast.Global(sorted(set(bound)))] if bound else []), *body]
        outer = _def("nlicl_closure", ast.arguments([], taken, None, [], [], None, []), outer_body)
        for one in (*made, *outer_body, outer):
            ast.copy_location(one, node)
        module = ast.Module([outer], [])
        code = compile(module, self.path, "exec", dont_inherit=True)
        name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
        for within in ("nlicl_closure", inside, name):
            if within:
                code = next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == within)
        cells = dict(zip(free, original.__closure__ or (), strict=True))
        closure = tuple(self._cell(cells[name]) for name in code.co_freevars)
        built = types.FunctionType(code, self.globals, original.__name__, original.__defaults__, closure)
        built.__kwdefaults__ = original.__kwdefaults__
        built.__doc__, built.__qualname__ = original.__doc__, original.__qualname__
        return built

    # -- helpers of the same file

    def _add_helpers(self, root: types.FunctionType) -> None:
        held = {id(function.__code__) for one in self.fixed for function in self._reached(one)}
        for name in called_at_once(self.tree):
            held.add(id(getattr(root.__globals__.get(name), "__code__", None)))
        held.discard(id(root.__code__))
        found = {id(root.__code__)}
        queue = [root]
        while queue and len(self.units) < _MOST_HELPERS:
            for function, place, name in self._called(queue.pop(0)):
                key = id(function.__code__)
                if function is root:  # it calls itself, or is called by what it calls
                    self.units[0].place, self.units[0].name = place, name
                if key in found or key in held:
                    continue
                found.add(key)
                try:
                    node = _node_of(function, self.functions, self.text)
                except Unread:
                    continue
                self.units.append(Unit(node, function, place, name, self._order(node)))
                queue.append(function)

    def _reached(self, function: Callable[..., Any]) -> Iterator[types.FunctionType]:
        """A function and those of the file that it calls."""
        try:
            first, _, owner = _unwrapped(function)
        except Unread:
            return
        queue, found = [first], {id(first.__code__)}
        while queue:
            one = queue.pop()
            yield one
            for other, _, _ in self._called(one, owner):
                if id(other.__code__) not in found:
                    found.add(id(other.__code__))
                    queue.append(other)

    def _called(self, function: types.FunctionType, owner: Any = None) -> Iterator[tuple[types.FunctionType, Any, str]]:
        """Functions of the file that a function names: (function, where it finds it, by which name)."""
        code, owner = function.__code__, self._owner if owner is None else owner
        names = {name for part in _codes(code) for name in (*part.co_names, *part.co_freevars)}
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        for name in sorted(names):
            held: list[tuple[Any, Any]] = []
            if name in cells:
                with suppress(ValueError):  # nothing is in it yet
                    held.append((cells[name].cell_contents, cells[name]))
            elif name in function.__globals__:
                held.append((function.__globals__[name], function.__globals__))
            if owner is not None:
                held.append((inspect.getattr_static(type(owner), name, None), type(owner)))
            for value, place in held:
                if isinstance(value, types.FunctionType) and value.__code__.co_filename == self.path:
                    yield value, place, name

    def _order(self, node: Function) -> int:
        return next(n for n, other in enumerate(self.functions) if other is node)

    @property
    def file(self) -> str:
        """The file's name without its folder; empty for a cell or a terminal."""
        name = os.path.basename(self.path)
        return "" if name.startswith("<") or "ipykernel" in self.path else name

    def held(self) -> list[Any]:
        """What closures and the method's object hold."""
        cells = [cell for unit in self.units for cell in unit.original.__closure__ or ()]
        return [*getattr(self._owner, "__dict__", {}).values(), *contents(cells)]

    def data_names(self) -> list[str]:
        """Names of arrays and numbers around the functions, which they or the loss use."""
        functions = [unit.original for unit in self.units]
        for one in self.fixed:
            functions += self._reached(one)
        names = {name for function in functions for part in _codes(function.__code__) for name in part.co_names}
        return sorted(name for name in names if name in self.globals and not callable(self.globals[name]))


def _def(name: str, args: ast.arguments, body: list[ast.stmt]) -> ast.FunctionDef:
    made = ast.FunctionDef(name=name, args=args, body=body, decorator_list=[], returns=None)
    vars(made)["type_params"] = []  # which Python 3.12 asks for
    return made


def _class_of(function: types.FunctionType) -> str:
    """The class in whose body a function stands, however deep: it changes names such as __x. Empty if there is none."""
    names = function.__code__.co_qualname.split(".")
    classes = [name for name, below in itertools.pairwise(names) if "<locals>" not in (name, below)]
    return classes[-1] if classes else ""


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and those inside."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _unwrapped(
    function: Callable[..., Any],
) -> tuple[types.FunctionType, Callable[[types.FunctionType, Any], Callable[..., Any]], Any]:
    """(the plain function inside, how to put another one into its place, the object it is a method of)."""
    wraps: list[Callable[[Callable[..., Any], Any], Callable[..., Any]]] = []
    owner: Any = None
    inner: Any = function
    for _ in range(20):
        if isinstance(inner, functools.partial):
            wraps.append(lambda f, obj, p=inner: functools.partial(f, *p.args, **p.keywords))  # type: ignore[misc]
            inner = inner.func
        elif isinstance(inner, np.vectorize):
            wraps.append(lambda f, obj, v=inner: _vectorized(f, v))  # type: ignore[misc]
            inner = inner.pyfunc
        elif isinstance(inner, types.MethodType):
            owner = inner.__self__
            wraps.append(lambda f, obj: types.MethodType(f, obj))
            inner = inner.__func__
        elif isinstance(inner, types.FunctionType):
            if not hasattr(inner, "__wrapped__"):
                break
            inner = inner.__wrapped__
        elif isinstance(getattr(inner, "py_func", None), types.FunctionType):  # numba's
            inner = inner.py_func
        elif callable(getattr(inner, "__wrapped__", None)):  # jax.jit, functools.lru_cache
            inner = inner.__wrapped__
        elif isinstance(inspect.getattr_static(type(inner), "__call__", None), types.FunctionType):
            inner = types.MethodType(type(inner).__call__, inner)
        else:
            break
    if not isinstance(inner, types.FunctionType):
        raise Unread(f"the source of {getattr(function, '__name__', type(function).__name__)} cannot be read")
    wraps.reverse()

    def bind(built: types.FunctionType, obj: Any) -> Callable[..., Any]:
        found: Callable[..., Any] = built
        for wrap in wraps:
            found = wrap(found, obj)
        return found

    return inner, bind, owner


def _vectorized(function: types.FunctionType, like: Any) -> Callable[..., Any]:
    return np.vectorize(function, like.otypes, excluded=like.excluded, cache=like.cache, signature=like.signature)


def _text_of(function: types.FunctionType) -> str:
    try:
        lines, _ = inspect.findsource(function.__code__)
    except (OSError, TypeError, IndexError):
        raise Unread(f"the source of {function.__name__} cannot be read") from None
    return "".join(lines)


def _node_of(function: types.FunctionType, functions: list[Function], text: str) -> Function:
    """The node of a function in its file's tree."""
    code = function.__code__
    found: list[Function] = []
    for node in functions:
        if isinstance(node, ast.Lambda):
            if code.co_name == "<lambda>" and node.lineno <= code.co_firstlineno <= (node.end_lineno or node.lineno):
                found.append(node)
        elif node.name == code.co_name:
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if first == code.co_firstlineno:
                found.append(node)
    if code.co_name == "<lambda>" and found:
        found = _at_position(code, found)
    if len(found) != 1:
        raise Unread(f"the source of {function.__name__} is not the one that runs")
    return found[0]


def _at_position(code: types.CodeType, nodes: list[Function]) -> list[Function]:
    """The lambda whose body holds the code's positions: the innermost."""
    places = [(line, column) for line, _, column, _ in code.co_positions() if line and column]
    held = []
    for node in nodes:
        body = node.body
        assert isinstance(body, ast.expr)
        first, last = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
        if places and all(first <= place <= last for place in places):
            held.append((last, first, node))
    held.sort(key=lambda one: (one[0][0] - one[1][0], one[0][1] - one[1][1]))  # type: ignore[operator]
    return [held[0][2]] if held else []
