"""Expressions of the loss, which hold the forward pass as it was meant: what a gradient has left out often stands there."""

import ast
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .atoms import Atom
from .program import Program
from .task import Task
from .watch import holes, numeric

__all__ = ["Forward", "forward"]

_MOST = 24
_LONGEST = 72  # characters of an expression
_DEPTH = 4  # definitions that are put in for names
_BUILTINS = frozenset(("len", "abs", "sum", "max", "min", "float", "int", "range", "round", "pow"))


@dataclass(frozen=True)
class Forward:
    """The loss at a place, expression by expression.

    Attributes
    ----------
    expressions : list of (ast.expr, ndarray)
    arguments : dict
        The loss's names of its arguments -> the gradient's.
    definitions : dict
        Names that the loss sets once -> what they are.
    values : dict
        The same names -> their values, as bytes.
    around : dict
        Names of the file.
    """

    expressions: list[tuple[ast.expr, np.ndarray]]
    arguments: dict[str, str]
    definitions: dict[str, ast.expr]
    values: dict[str, bytes]
    around: dict[str, Any]

    def atoms(self, scope: Mapping[str, Any]) -> list[Atom]:
        """The expressions as they can be written where these names are, with their values, the shortest first."""
        known = {_key(np.asarray(value, float)): name for name, value in scope.items() if _small(value)}
        found: dict[bytes, Atom] = {}
        for node, value in self.expressions:
            key = _key(value)
            if key in known:
                continue
            made = self._inlined(node, known, _DEPTH)
            if made is None:
                continue
            text = ast.unparse(made)
            if len(text) <= _LONGEST and (key not in found or len(found[key].text) > len(text)):
                found[key] = Atom(text, value, 0.004 * len(text))
        return sorted(found.values(), key=lambda atom: len(atom.text))[:_MOST]

    def _inlined(self, node: ast.expr, known: Mapping[bytes, str], depth: int) -> ast.expr | None:
        """An expression without names that only the loss has; None if that cannot be."""
        failed = False
        forward = self

        class Put(ast.NodeTransformer):
            def visit_Name(self, name: ast.Name) -> ast.AST:
                nonlocal failed
                if name.id in forward.arguments:
                    return ast.Name(forward.arguments[name.id], ast.Load())
                if name.id in forward.values and forward.values[name.id] in known:
                    return ast.Name(known[forward.values[name.id]], ast.Load())
                if name.id in forward.definitions:
                    inner = None
                    if depth:
                        inner = forward._inlined(forward.definitions[name.id], known, depth - 1)
                    if inner is None:
                        failed = True
                        return name
                    return inner
                if name.id not in forward.around and name.id not in _BUILTINS:
                    failed = True
                return name

        made: ast.expr = Put().visit(copy.deepcopy(node))
        return None if failed else made


def forward(program: Program, task: Task, place: int) -> Forward | None:
    """The loss at a place; None where its source cannot be read, or its arguments are not the gradient's."""
    if task.call_loss is None or not program.fixed:
        return None
    call = task.call_loss
    try:
        loss = Program(program.fixed[0])
        found = holes(loss, lambda f: call(f, place))
    except Exception:  # Unread, or what the loss raises where it is looked at
        return None
    root = loss.units[0].node
    mine, theirs = _arguments(root), _arguments(program.units[0].node)
    if mine is None or theirs is None or len(mine) != len(theirs):
        return None
    definitions = _definitions(root)
    expressions, values = [], {}
    for hole in found:
        if hole.unit or hole.visits != 1 or not numeric(hole.value):
            continue
        value = np.asarray(hole.value, float)
        if isinstance(hole.node, ast.Name):
            values[hole.node.id] = _key(value)
        elif not isinstance(hole.node, ast.Constant) and np.isfinite(value).all() and value.size <= 4000:
            expressions.append((hole.node, value))
    return Forward(expressions, dict(zip(mine, theirs, strict=True)), definitions, values, program.globals)


def _key(value: np.ndarray) -> bytes:
    return repr(value.shape).encode() + value.tobytes()


def _small(value: Any) -> bool:
    return numeric(value) and np.size(value) <= 4000


def _arguments(node: Any) -> list[str] | None:
    """The names of a function's plain arguments, a method's own left out; None if it has others."""
    if node.args.vararg or node.args.kwarg:
        return None
    names = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
    return names[1:] if names[:1] == ["self"] else names


def _definitions(root: Any) -> dict[str, ast.expr]:
    """The expressions of names that a function sets once."""
    found: dict[str, ast.expr] = {}
    twice: set[str] = set()

    def put(name: str, value: ast.expr | None) -> None:
        if name in found or value is None:
            twice.add(name)
        else:
            found[name] = value

    for node in ast.walk(root):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                parts = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
                given = node.value.elts if isinstance(node.value, (ast.Tuple, ast.List)) else []
                for n, part in enumerate(parts):
                    if isinstance(part, ast.Name):
                        single = part is target
                        put(part.id, node.value if single else given[n] if len(given) == len(parts) else None)
        elif isinstance(node, (ast.AugAssign, ast.For)):
            for one in ast.walk(node.target):
                if isinstance(one, ast.Name):
                    put(one.id, None)
    return {name: value for name, value in found.items() if name not in twice}
