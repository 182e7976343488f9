"""What may stand for an expression by a slip of the pen: another name, sign, order, axis, index, constant, function.

Each alternative has a cost: 1 is a slip that everybody makes, 2 one that happens, 3 an odd one.
"""

import ast
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import numpy as np

from .watch import Hole, numeric

__all__ = ["alternatives"]

Alternative = tuple[float, ast.expr]

# Functions that are taken for one another; no edit calls another function than one that stands here or in the code.
_GROUPS = (
    ("sum", "mean"),
    ("max", "min"),
    ("amax", "amin"),
    ("argmax", "argmin"),
    ("maximum", "minimum"),
    ("exp", "expm1"),
    ("log", "log1p"),
    ("sin", "cos"),
    ("sinh", "cosh", "tanh"),
    ("tril", "triu"),
    ("dot", "outer", "matmul", "multiply"),
    ("zeros_like", "ones_like"),
    ("zeros", "ones"),
    ("cumsum", "cumprod"),
    ("sum", "prod"),
    ("std", "var"),
    ("abs", "sign"),
    ("sqrt", "square"),
    ("floor", "ceil"),
    ("vstack", "hstack"),
    ("greater", "less", "greater_equal", "less_equal"),
    ("hstack", "concatenate"),
)
_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Gt: (ast.Lt, ast.GtE, ast.LtE),
    ast.Lt: (ast.Gt, ast.LtE, ast.GtE),
    ast.GtE: (ast.LtE, ast.Gt, ast.Lt),
    ast.LtE: (ast.GtE, ast.Lt, ast.Gt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
}
_REDUCING = frozenset(
    ("sum", "mean", "max", "min", "prod", "std", "var", "argmax", "argmin", "norm", "cumsum", "softmax", "logsumexp",
     "any", "all", "log_softmax", "concatenate", "stack", "flip", "roll", "take_along_axis", "squeeze", "expand_dims", "diff")
)  # fmt: skip
_MOST_NAMES = 24


def alternatives(hole: Hole, names: dict[str, Any]) -> Iterator[Alternative]:
    """What may stand for the expression, with costs. `names` are those it could use, with their values there."""
    node = hole.node
    if isinstance(node, ast.Name):
        yield from _names(node, hole, names)
    elif isinstance(node, ast.Attribute):
        yield from _attributes(node, names)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, (int, float)):
            yield from _constants(node.value)
    elif isinstance(node, ast.BinOp):
        yield from _binary(node)
    elif isinstance(node, ast.UnaryOp):
        yield 1.0, node.operand
    elif isinstance(node, ast.Compare):
        yield from _comparisons(node)
    elif isinstance(node, ast.Call):
        yield from _calls(node, hole)
    elif isinstance(node, ast.Subscript):
        yield from _subscripts(node, names)
    elif isinstance(node, ast.IfExp):
        yield 1.2, ast.IfExp(node.test, node.orelse, node.body)
        yield 1.5, node.body
        yield 1.5, node.orelse
    elif isinstance(node, (ast.Tuple, ast.List)):
        if len(node.elts) in (2, 3) and all(isinstance(one, ast.Constant) for one in node.elts):  # axes
            for one in node.elts:
                yield 1.2, one
        for i in range(len(node.elts)):
            for j in range(i):
                parts = list(node.elts)
                parts[i], parts[j] = parts[j], parts[i]
                yield 1.0, type(node)(parts, ast.Load())
    elif isinstance(node, ast.Dict):
        for i in range(len(node.values)):
            for j in range(i):
                values = list(node.values)
                values[i], values[j] = values[j], values[i]
                yield 1.0, ast.Dict(node.keys, values)
    if isinstance(hole.value, (int, np.integer)) and not isinstance(hole.value, (bool, np.bool_)):
        if isinstance(node, ast.Name):
            for shift in (-1, 1):
                yield 1.3, _shifted(node, shift)
        else:
            for name, value in names.items():
                if isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_)):
                    yield 1.4, ast.Name(name, ast.Load())


def _names(node: ast.Name, hole: Hole, names: dict[str, Any]) -> Iterator[Alternative]:
    shape = np.shape(hole.value) if numeric(hole.value) else None
    for name, value in list(names.items())[:_MOST_NAMES]:
        if name == node.id or (type(value) is not type(hole.value) and not (numeric(value) and numeric(hole.value))):
            continue
        if numeric(value):
            same = np.shape(value) == shape
            if (same and not np.array_equal(value, hole.value)) or not same:
                yield 1.1 if same else 1.4, ast.Name(name, ast.Load())
            if value is not None and np.ndim(value) == 2 and np.shape(value)[::-1] == shape:
                yield 1.6, ast.Attribute(ast.Name(name, ast.Load()), "T", ast.Load())
        elif hasattr(value, "__dict__") or isinstance(value, tuple):
            yield 1.6, ast.Name(name, ast.Load())


def _attributes(node: ast.Attribute, names: dict[str, Any]) -> Iterator[Alternative]:
    if node.attr == "T":
        yield 1.0, node.value
        return
    owner = names.get(node.value.id) if isinstance(node.value, ast.Name) else None
    if owner is None:
        return
    fields = getattr(owner, "_fields", None) or [name for name in dir(owner) if not name.startswith("_")]
    for name in list(fields)[:_MOST_NAMES]:
        if name == node.attr:
            continue
        try:
            value = getattr(owner, name)
        except Exception:
            continue
        if numeric(value):
            yield 1.1, ast.Attribute(node.value, name, ast.Load())


def _constants(value: float) -> Iterator[Alternative]:
    near: list[float] = [-value, 2 * value, value / 2, 0, 1, 2, 3, 0.5, value + 1, value - 1, 1 / value if value else 1]
    seen = {value}
    for other in near:
        whole = int(other) if isinstance(value, int) and float(other).is_integer() else other
        if other not in seen:
            seen.add(other)
            yield 1.0 if other in (-value, 2 * value, value / 2) else 1.2, _number(whole)


def _number(value: float) -> ast.expr:
    if value < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.Constant(value)


def _transposed(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Attribute) and node.attr == "T":
        return node.value
    return ast.Attribute(node, "T", ast.Load())


def _binary(node: ast.BinOp) -> Iterator[Alternative]:
    a, b, op = node.left, node.right, type(node.op)

    def made(left: ast.expr, kind: type[ast.operator], right: ast.expr) -> ast.expr:
        return ast.BinOp(left, kind(), right)

    if op is ast.MatMult:
        for cost, left, right in (
            (1.0, _transposed(a), b),
            (1.0, a, _transposed(b)),
            (1.1, b, a),
            (1.2, _transposed(b), a),
            (1.2, b, _transposed(a)),
            (1.3, _transposed(b), _transposed(a)),
            (1.3, _transposed(a), _transposed(b)),
        ):
            yield cost, made(left, op, right)
        yield 1.2, _transposed(node)
        yield 1.5, made(a, ast.Mult, b)
        outer = ast.Attribute(ast.Name("np", ast.Load()), "outer", ast.Load())
        yield 1.5, ast.Call(outer, [a, b], [])
        yield 2.0, a
        yield 2.0, b
    elif op is ast.Mult:
        yield 1.0, a
        yield 1.0, b
        yield 1.2, made(a, ast.Div, b)
        yield 1.4, made(b, ast.Div, a)
        yield 1.4, made(a, ast.Add, b)
        yield 1.6, made(a, ast.Sub, b)
        yield 1.4, made(a, ast.MatMult, b)
        yield 1.4, made(b, ast.MatMult, a)
    elif op is ast.Div:
        yield 1.0, a
        yield 1.0, made(a, ast.Mult, b)
        yield 1.3, made(b, ast.Div, a)
        yield 1.2, made(a, ast.Div, made(b, ast.Pow, ast.Constant(2)))
        yield 1.2, made(a, ast.Div, ast.Call(ast.Attribute(ast.Name("np", ast.Load()), "sqrt", ast.Load()), [b], []))
    elif op in (ast.Add, ast.Sub):
        yield 1.0, made(a, ast.Sub if op is ast.Add else ast.Add, b)
        yield 1.2, a
        yield 1.3, b if op is ast.Add else ast.UnaryOp(ast.USub(), b)
        if op is ast.Sub:
            yield 1.0, made(b, ast.Sub, a)
        yield 1.6, made(a, ast.Mult, b)
        if op is ast.Sub:
            yield 1.1, made(a, ast.Sub, made(b, ast.Pow, ast.Constant(2)))
    elif op is ast.Pow:
        yield 1.0, a
        yield 1.2, made(a, ast.Pow, made(b, ast.Sub, ast.Constant(1)))
        yield 1.2, made(a, ast.Pow, made(b, ast.Add, ast.Constant(1)))
        yield 1.2, made(a, ast.Pow, ast.UnaryOp(ast.USub(), b))
        yield 1.6, made(b, ast.Pow, a)
    elif op in (ast.FloorDiv, ast.Mod):
        yield 1.5, made(a, ast.Div, b)
    yield from _distributed(node)


def _distributed(node: ast.BinOp) -> Iterator[Alternative]:
    """Brackets set elsewhere: (a + b) c for a + b c, and back."""
    a, b, op = node.left, node.right, type(node.op)
    if op in (ast.Add, ast.Sub) and isinstance(b, ast.BinOp) and isinstance(b.op, (ast.Mult, ast.Div, ast.MatMult)):
        yield 1.6, ast.BinOp(ast.BinOp(a, op(), b.left), b.op, b.right)
    if op in (ast.Mult, ast.Div, ast.MatMult) and isinstance(a, ast.BinOp) and isinstance(a.op, (ast.Add, ast.Sub)):
        yield 1.6, ast.BinOp(a.left, a.op, ast.BinOp(a.right, op(), b))
    if op is ast.Mult and isinstance(b, ast.BinOp) and isinstance(b.op, (ast.Add, ast.Sub)):
        yield 1.6, ast.BinOp(ast.BinOp(a, op(), b.left), b.op, b.right)


def _comparisons(node: ast.Compare) -> Iterator[Alternative]:
    if len(node.ops) == 1:
        for kind in _COMPARED.get(type(node.ops[0]), ()):
            yield 1.0, ast.Compare(node.left, [kind()], node.comparators)


def _calls(node: ast.Call, hole: Hole) -> Iterator[Alternative]:
    function, args, keywords = node.func, node.args, node.keywords
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    for group in _GROUPS:
        if name in group:
            for other in group:
                if other != name and isinstance(function, ast.Attribute):
                    renamed = ast.Attribute(function.value, other, ast.Load())
                    yield 1.1, ast.Call(renamed, args, keywords)
    plain = [arg for arg in args if not isinstance(arg, ast.Starred)]
    if 2 <= len(plain) <= 4:
        for i in range(len(plain)):
            for j in range(i):
                parts = list(args)
                parts[i], parts[j] = parts[j], parts[i]
                yield 1.1, ast.Call(function, parts, keywords)
    for n, keyword in enumerate(keywords):
        rest = keywords[:n] + keywords[n + 1 :]
        if keyword.arg in ("axis", "axes"):
            before, behind = keywords[:n], keywords[n + 1 :]
            for axis in (0, 1, -1, -2, 2):
                moved = [*before, ast.keyword("axis", _number(axis)), *behind]
                yield 1.0, ast.Call(function, args, moved)
                if not any(one.arg == "keepdims" for one in keywords) and name in _REDUCING:
                    kept = [*moved, ast.keyword("keepdims", ast.Constant(True))]
                    yield 1.15, ast.Call(function, args, kept)
            yield 1.2, ast.Call(function, args, rest)
            for axes in ((0, 1), (1, 2), (0, 2)):
                both = ast.Tuple([_number(axes[0]), _number(axes[1])], ast.Load())
                yield 1.4, ast.Call(function, args, [*before, ast.keyword("axis", both), *behind])
        elif keyword.arg == "keepdims":
            yield 1.1, ast.Call(function, args, rest)
        elif keyword.arg == "ddof":
            yield 1.0, ast.Call(function, args, rest)
    given = {keyword.arg for keyword in keywords}
    if name in _REDUCING:
        if "axis" not in given:
            for axis in (0, 1, -1, 2):
                yield 1.2, ast.Call(function, args, [*keywords, ast.keyword("axis", _number(axis))])
                kept = [ast.keyword("axis", _number(axis)), ast.keyword("keepdims", ast.Constant(True))]
                yield 1.4, ast.Call(function, args, [*keywords, *kept])
        if "keepdims" not in given:
            yield 1.1, ast.Call(function, args, [*keywords, ast.keyword("keepdims", ast.Constant(True))])
    if args and not isinstance(args[0], ast.Starred):
        yield 1.5, args[0]
    if isinstance(function, ast.Attribute) and not (isinstance(function.value, ast.Name) and function.value.id == "np"):
        yield 1.5, function.value
    if name == "range" and not keywords:
        yield from _ranges(function, args)
    if name in ("maximum", "clip", "relu") and args:
        yield 1.2, ast.Compare(args[0], [ast.Gt()], [ast.Constant(0)])
    if name in ("solve", "inv", "lstsq") and args:
        yield 1.1, ast.Call(function, [_transposed(args[0]), *args[1:]], keywords)
    if name == "reshape":
        yield 1.2, ast.Call(function, args, [*keywords, ast.keyword("order", ast.Constant("F"))])
    if name == "einsum" and args and isinstance(args[0], ast.Constant) and isinstance(args[0].value, str):
        for cost, letters in _einsums(args[0].value):
            yield cost, ast.Call(function, [ast.Constant(letters), *args[1:]], keywords)
    if name == "transpose" and args and isinstance(args[-1], ast.Tuple):
        for order in permutations(args[-1].elts):
            yield 1.2, ast.Call(function, [*args[:-1], ast.Tuple(list(order), ast.Load())], keywords)


def _ranges(function: ast.expr, args: list[ast.expr]) -> Iterator[Alternative]:
    if len(args) == 1:
        yield 1.1, ast.Call(function, [_number(1), args[0]], [])
        yield 1.3, ast.Call(function, [_number(1), _shifted(args[0], 1)], [])
        yield 1.1, ast.Call(function, [_shifted(args[0], -1)], [])
        yield 1.1, ast.Call(function, [_shifted(args[0], 1)], [])
        last = _shifted(args[0], -1)
        yield 1.4, ast.Call(function, [last, _number(-1), _number(-1)], [])
    elif len(args) >= 2:
        yield 1.2, ast.Call(function, [args[1]], [])
        for n, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
            yield 1.1, ast.Call(function, [*args[:n], _shifted(args[n], shift), *args[n + 1 :]], [])


def _einsums(text: str) -> Iterator[tuple[float, str]]:
    """Other letters: an operand's or the result's in another order, one letter for another."""
    inputs, arrow, output = text.replace(" ", "").partition("->")
    parts = [*inputs.split(","), *([output] if arrow else [])]
    letters = sorted(set("".join(parts)) - {"."})
    seen = {text.replace(" ", "")}
    for number, part in enumerate(parts):
        if "." in part:
            continue
        ways = [(1.0, "".join(order)) for order in permutations(part)] if len(part) <= 4 else []
        ways += [(1.2, part[:n] + letter + part[n + 1 :]) for n in range(len(part)) for letter in letters]
        for cost, other in ways:
            every = [*parts[:number], other, *parts[number + 1 :]]
            made = ",".join(every[:-1]) + "->" + every[-1] if arrow else ",".join(every)
            if made not in seen:
                seen.add(made)
                yield cost, made


def _shifted(node: ast.expr, shift: int) -> ast.expr:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return _number(node.value + shift)
    return ast.BinOp(node, ast.Add() if shift > 0 else ast.Sub(), ast.Constant(abs(shift)))


def _subscripts(node: ast.Subscript, names: dict[str, Any]) -> Iterator[Alternative]:
    whole = isinstance(node.slice, ast.Tuple)
    indices = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]

    def made(parts: list[ast.expr]) -> ast.expr:
        index = ast.Tuple(parts, ast.Load()) if whole else parts[0]
        return ast.Subscript(node.value, index, ast.Load())

    for n, index in enumerate(indices):
        for cost, other in _indices(index, names):
            yield cost, made([*indices[:n], other, *indices[n + 1 :]])
    if len(indices) > 1:
        for i in range(len(indices)):
            for j in range(i):
                parts = list(indices)
                parts[i], parts[j] = parts[j], parts[i]
                yield 1.0, made(parts)
    yield 1.4, node.value
    yield 1.6, ast.Subscript(node, ast.Slice(None, None, _number(-1)), ast.Load())


def _indices(index: ast.expr, names: dict[str, Any]) -> Iterator[Alternative]:
    if isinstance(index, ast.Slice):
        for lower, upper in _slices(index):
            yield 1.1, ast.Slice(lower, upper, index.step)
        return
    if isinstance(index, ast.Constant) and index.value is None:
        return
    for shift in (-1, 1):
        yield 1.1, _shifted(index, shift)
    if isinstance(index, ast.BinOp):  # i - 1 for i + 1, i
        yield 1.1, index.left
    if isinstance(index, ast.Constant) and isinstance(index.value, int):
        yield 1.2, _number(-1 if index.value == 0 else 0)
    for name, value in names.items():
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if whole and not (isinstance(index, ast.Name) and index.id == name):
            yield 1.2, ast.Name(name, ast.Load())


def _slices(index: ast.Slice) -> Iterator[tuple[ast.expr | None, ast.expr | None]]:
    lower, upper = index.lower, index.upper
    for low in (None, _number(1)) if lower is None else (None, _shifted(lower, 1), _shifted(lower, -1), lower):
        for high in (None, _number(-1)) if upper is None else (None, _shifted(upper, 1), _shifted(upper, -1), upper):
            if low is not lower or high is not upper:
                yield low, high
