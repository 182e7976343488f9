"""An edit as text: the reader's own lines, in which one expression or statement is another one."""

import ast
import copy
from typing import NamedTuple

from .templates import HERE

__all__ = ["Spelled", "filled", "left_out", "spelled"]

_LOOSE = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.IfExp, ast.Lambda, ast.Tuple, ast.Starred)


class Spelled(NamedTuple):
    """A text after an edit; the line of the edit, and what stood and stands there."""

    text: str
    line: int
    before: str
    after: str


def filled(template: str, node: ast.expr, numpy: str) -> ast.expr:
    """A template as a tree, with the expression in its place, and NumPy by the name that the file gives it.

    Raises
    ------
    ValueError
        The file has no name for NumPy, and the template needs one.
    """
    tree = _without_places(ast.parse(template, mode="eval").body)

    class Fill(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.AST:
            if name.id == HERE:
                return node
            if name.id == "np":
                if not numpy:
                    raise ValueError("the file has no name for NumPy")
                return ast.Name(numpy, ast.Load())
            return name

    return Fill().visit(tree)  # type: ignore[no-any-return]


def _without_places(tree: ast.expr) -> ast.expr:
    """The same tree, whose nodes are marked as new: they stand at no line of the reader's text."""
    for node in ast.walk(tree):
        for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            if hasattr(node, name):
                delattr(node, name)
    return tree


def spelled(text: str, tree: ast.Module, node: ast.expr | ast.stmt, replacement: ast.AST) -> Spelled | None:
    """The text, whose tree is given, with a node replaced; parts of the replacement that are the reader's stay as they are written.

    None if no spelling parses to what is meant.
    """
    every = text.split("\n")
    top = next(one for one in tree.body if one.lineno <= node.lineno <= (one.end_lineno or one.lineno))
    begin = min([top.lineno, *(one.lineno for one in getattr(top, "decorator_list", []))]) - 1
    end = top.end_lineno or top.lineno
    lines = [line.encode() for line in every]
    before = _segment(lines, node)
    inner: dict[str, ast.AST] = {}
    shape = _with_names(replacement, inner)
    meant = _dump_replaced(top, node, replacement)
    for brackets_inside in (False, True):
        after = ast.unparse(shape)
        for name, part in inner.items():
            words = _segment(lines, part)
            bracketed = f"({words})" if brackets_inside and isinstance(part, _LOOSE) else words
            after = after.replace(name, bracketed)
        for brackets in (False, True):
            whole = f"({after})" if brackets else after
            if brackets and isinstance(node, ast.stmt):
                continue
            if "--" in whole and "--" not in before:
                return None
            made = _spliced(lines, node, whole).split("\n")
            there = made[begin : end + len(made) - len(every)]
            try:
                if ast.dump(ast.parse("\n".join(there)).body[0]) == meant:
                    return Spelled("\n".join(made), node.lineno, _one_line(before), _one_line(whole))
            except (SyntaxError, ValueError, RecursionError, IndexError):
                continue
    return None


def left_out(text: str, node: ast.expr | ast.stmt) -> Spelled | None:
    """The text without a statement that has its lines for itself; None if that is no program."""
    lines = text.split("\n")
    first, last = node.lineno, node.end_lineno or node.lineno
    before = _one_line(" ".join(lines[first - 1 : last]))
    made = "\n".join([*lines[: first - 1], *lines[last:]])
    try:
        ast.parse(made)
    except SyntaxError:
        return None
    return Spelled(made, node.lineno, before, "")


def _with_names(tree: ast.AST, inner: dict[str, ast.AST]) -> ast.AST:
    """A copy in which every part that stands in the reader's text is a name of its own."""
    if hasattr(tree, "lineno") and isinstance(tree, ast.expr):
        name = f"nlicl_part_{len(inner)}_"
        inner[name] = tree
        return ast.Name(name, ast.Load())
    new = copy.copy(tree)
    for key, value in ast.iter_fields(tree):
        if isinstance(value, list):
            setattr(new, key, [_with_names(one, inner) if isinstance(one, ast.AST) else one for one in value])
        elif isinstance(value, ast.AST):
            setattr(new, key, _with_names(value, inner))
    return ast.fix_missing_locations(new)


def _dump_replaced(top: ast.AST, node: ast.AST, replacement: ast.AST) -> str:
    """What the tree of the statement around a node is to be after the edit."""
    return ast.dump(_with(top, node, replacement))


def _with(tree: ast.AST, node: ast.AST, replacement: ast.AST) -> ast.AST:
    if tree is node:
        return replacement
    new = copy.copy(tree)
    for key, value in ast.iter_fields(tree):
        if isinstance(value, list):
            setattr(new, key, [_with(one, node, replacement) if isinstance(one, ast.AST) else one for one in value])
        elif isinstance(value, ast.AST):
            setattr(new, key, _with(value, node, replacement))
    return new


def _place(node: ast.AST) -> tuple[int, int, int | None, int | None]:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]


def _segment(lines: list[bytes], node: ast.AST) -> str:
    first, start, last, end = _place(node)
    assert last is not None and end is not None
    if first == last:
        return lines[first - 1][start:end].decode()
    return b"\n".join([lines[first - 1][start:], *lines[first : last - 1], lines[last - 1][:end]]).decode()


def _spliced(lines: list[bytes], node: ast.AST, words: str) -> str:
    first, start, last, end = _place(node)
    assert last is not None and end is not None
    head, tail = lines[first - 1][:start], lines[last - 1][end:]
    return b"\n".join([*lines[: first - 1], head + words.encode() + tail, *lines[last:]]).decode()


def _one_line(text: str) -> str:
    return " ".join(text.split())
