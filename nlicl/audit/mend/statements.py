"""What may stand for a statement: += for =, a sum over repeated indices, nothing, or itself and its counterpart."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

from .program import Function

__all__ = ["StatementEdit", "statements"]


@dataclass(frozen=True)
class StatementEdit:
    """A statement, and what stands for it (None: nothing does) or comes after it.

    Attributes
    ----------
    node : ast.stmt
    replacement : ast.stmt or None
    cost : float
    after : ast.stmt or None
        It stays, and this one follows.
    """

    node: ast.stmt
    replacement: ast.stmt | None
    cost: float
    after: ast.stmt | None = None


def statements(function: Function, numpy: str) -> Iterator[StatementEdit]:
    """What may stand for the statements of a function, one at a time."""
    if isinstance(function, ast.Lambda):
        return
    loops = [name.id for one in ast.walk(function) if isinstance(one, ast.For) for name in _names(one.target)]
    for node in ast.walk(function):
        for field in ("body", "orelse"):
            block = getattr(node, field, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                for statement in block:
                    yield from _of(statement, numpy, len(block) > 1)
                    yield from _counterparts(statement, list(dict.fromkeys(loops)))


def _names(target: ast.expr) -> list[ast.Name]:
    return [node for node in ast.walk(target) if isinstance(node, ast.Name)]


def _of(node: ast.stmt, numpy: str, can_go: bool) -> Iterator[StatementEdit]:
    if isinstance(node, ast.AugAssign):
        target = node.target
        yield from _other_orders(node, target)
        if isinstance(target, ast.Subscript) and isinstance(node.op, (ast.Add, ast.Sub)) and numpy:
            way = "add" if isinstance(node.op, ast.Add) else "subtract"
            ufunc = ast.Attribute(ast.Name(numpy, ast.Load()), way, ast.Load())
            call = ast.Call(ast.Attribute(ufunc, "at", ast.Load()), [_read(target.value), target.slice, node.value], [])
            yield StatementEdit(node, ast.Expr(call), 1.0)
        for kind in (ast.Add, ast.Sub):
            if not isinstance(node.op, kind):
                yield StatementEdit(node, ast.AugAssign(target, kind(), node.value), 1.0)
        yield StatementEdit(node, ast.Assign([target], node.value), 1.3)
    elif isinstance(node, ast.Assign) and len(node.targets) == 1:
        place = node.targets[0]
        yield from _other_orders(node, place)
        if isinstance(place, (ast.Subscript, ast.Name)):
            for kind, cost in ((ast.Add, 1.0), (ast.Sub, 1.4)):
                yield StatementEdit(node, ast.AugAssign(place, kind(), node.value), cost)
        if isinstance(place, ast.Subscript) and numpy:
            ufunc = ast.Attribute(ast.Name(numpy, ast.Load()), "add", ast.Load())
            call = ast.Call(ast.Attribute(ufunc, "at", ast.Load()), [_read(place.value), place.slice, node.value], [])
            yield StatementEdit(node, ast.Expr(call), 1.1)
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if can_go and not docstring and isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr, ast.If)):
        yield StatementEdit(node, None, 1.6)


def _counterparts(node: ast.stmt, loops: list[str]) -> Iterator[StatementEdit]:
    """What g[i] += v asks for of the other body of a pair, or of the neighbour: g[j] -= v, g[i - 1] -= v, g[:-1] -= v."""
    if not (isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript)):
        return
    target, index = node.target, node.target.slice
    others: list[ast.expr] = []
    if isinstance(index, ast.Name):
        others += [ast.Name(name, ast.Load()) for name in loops if name != index.id]
        others += [ast.BinOp(ast.Name(index.id, ast.Load()), op(), ast.Constant(1)) for op in (ast.Sub, ast.Add)]
    elif isinstance(index, ast.BinOp) and isinstance(index.left, ast.Name):
        others.append(ast.Name(index.left.id, ast.Load()))
    elif isinstance(index, ast.Slice) and index.step is None:
        if isinstance(index.lower, ast.Constant) and index.upper is None:
            others.append(ast.Slice(None, ast.UnaryOp(ast.USub(), ast.Constant(index.lower.value))))
        elif index.lower is None and isinstance(index.upper, ast.UnaryOp):
            others.append(ast.Slice(index.upper.operand, None))
    for other in others:
        for kind in (ast.Sub, ast.Add):
            place = ast.Subscript(target.value, other, ast.Store())
            yield StatementEdit(node, node, 1.4, ast.AugAssign(place, kind(), node.value))


def _other_orders(node: ast.Assign | ast.AugAssign, target: ast.expr) -> Iterator[StatementEdit]:
    """The same with two indices of its target exchanged: g[j, i] for g[i, j]."""
    if not (isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Tuple)):
        return
    for i in range(len(target.slice.elts)):
        for j in range(i):
            parts = list(target.slice.elts)
            parts[i], parts[j] = parts[j], parts[i]
            place = ast.Subscript(target.value, ast.Tuple(parts, ast.Load()), ast.Store())
            other = copy.copy(node)
            if isinstance(other, ast.Assign):
                other.targets = [place]
            else:
                other.target = place
            for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
                delattr(other, name)
            yield StatementEdit(node, other, 1.0)


def _read(node: ast.expr) -> ast.expr:
    new = copy.copy(node)
    if hasattr(new, "ctx"):
        new.ctx = ast.Load()
    return new
