"""Expressions of the loss, which hold the forward pass as it was meant: what a gradient has left out often stands there."""

import ast
import copy
from typing import Any

import numpy as np

from .atoms import Atom
from .program import Program, Unread
from .task import Task
from .watch import holes, numeric

__all__ = ["loss_atoms"]

_MOST = 24
_LONGEST = 70  # characters of an expression
_DEPTH = 4  # definitions that are put in for names


def loss_atoms(program: Program, task: Task, place: int) -> list[Atom]:
    """Expressions of the loss in terms of its arguments and of names around it, with their values, the shortest first."""
    if task.call_loss is None or not program.fixed:
        return []
    call = task.call_loss
    try:
        loss = Program(program.fixed[0])
        with task.limited():
            found = holes(loss, lambda f: call(f, place))
    except Unread:
        return []
    except Exception:
        return []
    root = loss.units[0].node
    theirs = _arguments(program.units[0].node)
    if theirs is None or len(theirs) != len(_arguments(root) or ()):
        return []
    renamed = dict(zip(_arguments(root) or (), theirs, strict=True))
    definitions = _definitions(root)
    atoms: dict[bytes, Atom] = {}
    for hole in found:
        if hole.unit or hole.visits != 1 or not numeric(hole.value) or isinstance(hole.node, (ast.Name, ast.Constant)):
            continue
        value = np.asarray(hole.value, float)
        if not np.isfinite(value).all() or value.size > 4000:
            continue
        node = _inlined(hole.node, renamed, definitions, program.globals, _DEPTH)
        if node is None:
            continue
        text = ast.unparse(node)
        key = repr(value.shape).encode() + value.tobytes()
        if len(text) <= _LONGEST and (key not in atoms or len(atoms[key].text) > len(text)):
            atoms[key] = Atom(text, value, 0.004 * len(text))
    return sorted(atoms.values(), key=lambda atom: len(atom.text))[:_MOST]


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
    for node in ast.walk(root):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.For)):
            targets = [node.target]
        for target in targets:
            for name in ast.walk(target):
                if not isinstance(name, ast.Name):
                    continue
                if name.id in found or not isinstance(node, ast.Assign) or name is not target:
                    twice.add(name.id)
                else:
                    found[name.id] = node.value
    return {name: value for name, value in found.items() if name not in twice}


def _inlined(
    node: ast.expr, renamed: dict[str, str], definitions: dict[str, ast.expr], around: dict[str, Any], depth: int
) -> ast.expr | None:
    """An expression without names that only the loss has; None if that cannot be."""
    failed = False

    class Put(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.AST:
            nonlocal failed
            if name.id in renamed:
                return ast.Name(renamed[name.id], ast.Load())
            if name.id in definitions:
                inner = None
                if depth:
                    inner = _inlined(definitions[name.id], renamed, definitions, around, depth - 1)
                if inner is None:
                    failed = True
                    return name
                return inner
            if name.id not in around and name.id not in _BUILTINS:
                failed = True
            return name

    made: ast.expr = Put().visit(copy.deepcopy(node))
    return None if failed else made


_BUILTINS = frozenset(("len", "abs", "sum", "max", "min", "float", "int", "range", "round", "pow"))
