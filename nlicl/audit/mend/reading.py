"""What the text of a program says: its numbers, what its statements set, where a name stands again."""

import ast
from typing import Any

import numpy as np

from .atoms import Atom
from .program import Program
from .watch import Hole

__all__ = ["holds", "literals", "same_names", "siblings", "statement_values"]

_SIBLINGS = 12  # expressions of the function that others may use
_LONGEST = 36  # characters of one


def siblings(found: list[Hole]) -> list[tuple[Hole, Atom]]:
    """Expressions of the root that are arrays and no names, the shortest first: each value once."""
    atoms: dict[bytes, tuple[Hole, Atom]] = {}
    for hole in found:
        if hole.unit or hole.visits != 1 or isinstance(hole.node, (ast.Name, ast.Constant, ast.Attribute)):
            continue
        value = hole.value
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not 0 < value.size <= 2000 or value.ndim > 2:
            continue
        text = ast.unparse(hole.node)
        key = repr(value.shape).encode() + value.tobytes()
        named = any(isinstance(one, np.ndarray) and np.array_equal(one, value) for one in hole.scope.values())
        if len(text) <= _LONGEST and not named and (key not in atoms or len(atoms[key][1].text) > len(text) + 2):
            atoms[key] = (hole, Atom(f"({text})", value, 0.2))
    return sorted(atoms.values(), key=lambda pair: len(pair[1].text))[:_SIBLINGS]


def same_names(found: list[Hole]) -> list[list[Hole]]:
    """All places of a name in a function, and all in one statement, where there are several."""
    groups: dict[tuple[Any, ...], list[Hole]] = {}
    for hole in found:
        if isinstance(hole.node, ast.Name) and hole.whole:
            groups.setdefault((hole.unit, hole.node.id), []).append(hole)
            groups.setdefault((hole.unit, hole.node.id, id(hole.statement)), []).append(hole)
    kept: list[list[Hole]] = []
    for group in groups.values():
        nodes = [id(hole.node) for hole in group]
        if 2 <= len(group) <= 6 and nodes not in [[id(hole.node) for hole in other] for other in kept]:
            kept.append(group)
    return kept


def holds(outer: ast.AST, inner: ast.AST) -> bool:
    """Whether one expression is part of the other, or is it."""
    return any(node is inner for node in ast.walk(outer))


def literals(program: Program) -> list[tuple[str, float, float]]:
    """Numbers that stand in the code, other than small whole ones."""
    found: dict[float, tuple[str, float, float]] = {}
    for unit in program.units:
        for node in ast.walk(unit.node):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, float)
                and node.value not in (0.0, 1.0, 2.0, 0.5)
            ):
                found.setdefault(node.value, (repr(node.value), node.value, 0.1))
    return list(found.values())[:6]


def statement_values(program: Program) -> set[tuple[int, ...]]:
    """Where what statements set or return stands: an edit of the whole of it is read most easily."""
    found: set[tuple[int, ...]] = set()
    for unit in program.units:
        for node in ast.walk(unit.node):
            value = getattr(node, "value", None)
            if isinstance(node, (ast.Assign, ast.AugAssign, ast.Return)) and isinstance(value, ast.expr):
                found.add((value.lineno, value.col_offset, value.end_lineno or 0, value.end_col_offset or 0))
    return found
