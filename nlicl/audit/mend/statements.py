"""What may stand for a statement: += for =, a sum over repeated indices, one that is left out, two in the other order."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

from .program import Function

__all__ = ["StatementEdit", "statements"]


@dataclass(frozen=True)
class StatementEdit:
    """A statement, and what stands for it; None if nothing does."""

    node: ast.stmt
    replacement: ast.stmt | None
    cost: float


def statements(function: Function, numpy: str) -> Iterator[StatementEdit]:
    """What may stand for the statements of a function, one at a time."""
    if isinstance(function, ast.Lambda):
        return
    for node in ast.walk(function):
        for name in ("body", "orelse"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                for statement in block:
                    yield from _of(statement, numpy, len(block) > 1)


def _of(node: ast.stmt, numpy: str, can_go: bool) -> Iterator[StatementEdit]:
    if isinstance(node, ast.AugAssign):
        target = node.target
        if isinstance(target, ast.Subscript) and isinstance(node.op, (ast.Add, ast.Sub)) and numpy:
            way = "add" if isinstance(node.op, ast.Add) else "subtract"
            ufunc = ast.Attribute(ast.Name(numpy, ast.Load()), way, ast.Load())
            call = ast.Call(ast.Attribute(ufunc, "at", ast.Load()), [target.value, target.slice, node.value], [])
            yield StatementEdit(node, ast.Expr(call), 1.0)
        for kind in (ast.Add, ast.Sub):
            if not isinstance(node.op, kind):
                yield StatementEdit(node, ast.AugAssign(target, kind(), node.value), 1.0)
        yield StatementEdit(node, ast.Assign([target], node.value), 1.3)
    elif isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        if isinstance(target, (ast.Subscript, ast.Name)):
            for kind, cost in ((ast.Add, 1.0), (ast.Sub, 1.4)):
                yield StatementEdit(node, ast.AugAssign(target, kind(), node.value), cost)
        if isinstance(target, ast.Subscript) and numpy:
            ufunc = ast.Attribute(ast.Name(numpy, ast.Load()), "add", ast.Load())
            call = ast.Call(ast.Attribute(ufunc, "at", ast.Load()), [_read(target.value), target.slice, node.value], [])
            yield StatementEdit(node, ast.Expr(call), 1.1)
    if can_go and isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr, ast.If)):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield StatementEdit(node, None, 1.6)


def _read(node: ast.expr) -> ast.expr:
    new = copy.copy(node)
    if hasattr(new, "ctx"):
        new.ctx = ast.Load()
    return new
