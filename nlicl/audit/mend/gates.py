"""A condition that is missing: the gradient is zero where a margin is on the other side, and the code does not look.

The margin is made of names of the code: a number, a product of two vectors, or of one with the positive part of another, times
a sign.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .atoms import arrays, numbers
from .program import Program
from .task import Task
from .templates import HERE
from .watch import Hole, holes

__all__ = ["gated"]

_MOST = 12  # gates that are tried in full


def gated(
    program: Program, task: Task, zero: list[bool], found: list[Hole], data: dict[str, Any]
) -> Iterator[tuple[Hole, str, float]]:
    """(expression, template, cost) with a condition that is false at just the places where all is to be zero.

    `zero` says of each place whether all is zero there; `found` are the program's expressions at one place. The condition is
    set at what the root returns.
    """
    hole = _returned(program, found)
    if hole is None or all(zero) or not any(zero):
        return
    margins: dict[str, list[float]] = {}
    for place in task.places:
        try:
            there = holes(program, lambda f, p=place: task.call(f, p), hole.node)  # type: ignore[misc]
        except Exception:
            return
        if not there:
            return
        for text, value in _margins({**data, **there[0].scope}):
            margins.setdefault(text, []).append(value)
    active = ~np.array(zero)
    given = 0
    for text, values in margins.items():
        if len(values) < len(task.places):
            continue
        for sign, bound, cost in ((">", 0.0, 1.4), ("<", 1.0, 1.4), ("<", 0.0, 1.6), (">", 1.0, 1.6)):
            numbers_there = np.array(values)
            holds = numbers_there > bound if sign == ">" else numbers_there < bound
            if np.array_equal(holds, active):
                given += 1
                yield hole, f"{HERE} * ({text} {sign} {bound:g})", cost + 0.01 * text.count("*")
                if given == _MOST:
                    return


def _returned(program: Program, found: list[Hole]) -> Hole | None:
    """The last expression that the root returns, if it is one array."""
    import ast

    root = program.units[0].node
    if isinstance(root, ast.Lambda):
        values = [root.body]
    else:
        values = [node.value for node in ast.walk(root) if isinstance(node, ast.Return) and node.value is not None]
    returned = [hole for hole in found if any(hole.node is value for value in values) and hole.whole]
    return returned[-1] if returned else None


def _margins(names: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers that may be margins."""
    single = numbers(names)
    signs = [("", 1.0)] + [(one.text, float(one.value)) for one in single]
    flat = [atom for atom in arrays(names) if atom.value.ndim == 1]
    products: list[tuple[str, float]] = [(one.text, float(one.value)) for one in single]
    for v in flat:
        for w in flat:
            if v.value.shape != w.value.shape:
                continue
            if v.text <= w.text:
                products.append((f"({v.text} @ {w.text})", float(v.value @ w.value)))
            products.append((f"({v.text} @ np.maximum({w.text}, 0))", float(v.value @ np.maximum(w.value, 0))))
    for text, value in products:
        for name, sign in signs:
            if name != text:
                yield (f"{name} * {text}" if name else text), sign * value
