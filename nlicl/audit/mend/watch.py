"""The reader's functions run once with every expression looked at: what each gives, and which names it could use."""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .program import Function, Program

__all__ = ["Hole", "holes", "numeric", "with_call"]

_LARGEST = 100_000  # entries of an array that is kept as it was
_VISITS = 48  # of one expression that are kept
_ROOM = 1 << 28  # bytes for all copies; after that the first visit alone is kept, as it is


@dataclass
class Hole:
    """One expression of the reader's, which something else may stand for.

    Attributes
    ----------
    unit : int
        Of the program.
    node : ast.expr
    statement : ast.stmt or None
        The statement it stands in.
    values : list
        What it gave, visit by visit, arrays as copies; the first ones.
    scopes : list of dict
        The names there at these visits, with copies of their values.
    visits : int
    """

    unit: int
    node: ast.expr
    statement: ast.stmt | None
    values: list[Any] = field(default_factory=list)
    scopes: list[dict[str, Any]] = field(default_factory=list)
    visits: int = 0

    @property
    def value(self) -> Any:
        """What it gave at the first visit."""
        return self.values[0]

    @property
    def scope(self) -> dict[str, Any]:
        """The names there at the first visit."""
        return self.scopes[0]

    @property
    def whole(self) -> bool:
        """Whether all visits are kept, and gave numbers."""
        return self.visits == len(self.values) and all(map(numeric, self.values))


def numeric(value: Any) -> bool:
    """Whether a value is a number, or a real array of numbers that is not too large."""
    if isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
        return True
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.size <= _LARGEST


def with_call(function: Function, targets: dict[int, ast.expr], name: str) -> Function:
    """A copy of a function in which each target, by id of its node, is name(number, target, locals())."""

    class Wrap(ast.NodeTransformer):
        def generic_visit(self, node: ast.AST) -> ast.AST:
            number = numbers.get(id(node))
            node = super().generic_visit(shallow(node))
            if number is None:
                return node
            scope = ast.Call(ast.Name("locals", ast.Load()), [], [])
            call = ast.Call(ast.Name(name, ast.Load()), [ast.Constant(number), node, scope], [])  # type: ignore[list-item]
            return ast.copy_location(call, node)

    numbers = {id(node): number for number, node in targets.items()}

    def shallow(node: ast.AST) -> ast.AST:
        new = copy.copy(node)
        for key, value in ast.iter_fields(node):
            if isinstance(value, list):
                setattr(new, key, list(value))
        return new

    made = Wrap().visit(function)
    return ast.fix_missing_locations(made)


def holes(program: Program, run: Callable[[Callable[..., Any]], Any], only: ast.expr | None = None) -> list[Hole]:
    """Every expression of the program that was evaluated, in the order of the text, with what it gave.

    Parameters
    ----------
    program : Program
    run : callable
        run(function) calls the root at a place.
    only : ast.expr, optional
        The one expression of the root that is looked at.
    """
    found: list[Hole] = []
    if only is not None:
        found.append(Hole(0, only, None))
    for number, unit in enumerate(program.units if only is None else ()):
        for node, statement in _expressions(unit.node):
            found.append(Hole(number, node, statement))

    def see(number: int, value: Any, scope: dict[str, Any]) -> Any:
        hole = found[number]
        hole.visits += 1
        if hole.visits == 1 or (hole.visits <= _VISITS and copies.room > 0):
            hole.values.append(copies.of(value))
            hole.scopes.append({name: copies.of(one) for name, one in scope.items() if not name.startswith("nlicl_")})
        return value

    copies = _Copies()

    program.globals["nlicl_see"] = see
    try:
        for number, unit in enumerate(program.units if only is None else program.units[:1]):
            targets = {n: hole.node for n, hole in enumerate(found) if hole.unit == number}
            watching = program.build(number, with_call(unit.node, targets, "nlicl_see"))
            root = program.having(number, watching)
            try:
                run(root)
            finally:
                program.restore(number)
    finally:
        del program.globals["nlicl_see"]
    return [hole for hole in found if hole.visits]


class _Copies:
    """Copies of arrays that may change later, as long as there is room."""

    def __init__(self) -> None:
        self.room = _ROOM

    def of(self, value: Any) -> Any:
        """A copy; the value itself if it is no array, is very large, or there is no room."""
        if isinstance(value, np.ndarray) and value.size <= _LARGEST and self.room > 0:
            self.room -= value.nbytes
            return value.copy()
        if isinstance(value, list):
            return [self.of(one) for one in value[:200]]
        return value


def _expressions(function: Function) -> Iterator[tuple[ast.expr, ast.stmt | None]]:
    """Expressions that are read for their value, with their statement."""
    body = [function.body] if isinstance(function.body, ast.expr) else function.body
    for part in body:
        yield from _inside(part, part if isinstance(part, ast.stmt) else None)


def _inside(node: ast.AST, statement: ast.stmt | None) -> Iterator[tuple[ast.expr, ast.stmt | None]]:
    if isinstance(node, ast.stmt):
        statement = node
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        parts: list[ast.AST] = list(node.body) if isinstance(node, ast.FunctionDef) else []
        for part in parts:
            yield from _inside(part, statement)
        return
    if isinstance(node, ast.Lambda):
        yield from _inside(node.body, statement)
        return
    if isinstance(node, ast.expr) and _has_value(node):
        yield node, statement
    for name, child in ast.iter_fields(node):
        for part in child if isinstance(child, list) else [child]:
            if isinstance(part, ast.pattern):
                continue
            if not isinstance(part, ast.AST) or name in ("annotation", "returns", "target", "targets", "func"):
                if name == "func" and isinstance(part, ast.Attribute):
                    yield from _inside(part.value, statement)
                if name in ("target", "targets") and isinstance(part, ast.Subscript):
                    yield from _inside(part.slice, statement)
                continue
            yield from _inside(part, statement)


def _has_value(node: ast.expr) -> bool:
    if isinstance(node, (ast.Slice, ast.Starred, ast.JoinedStr, ast.FormattedValue)):
        return False
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
    return isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
