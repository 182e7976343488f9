"""An edit as text: the reader's own lines, in which one expression or statement is another one."""

import ast
import copy
from typing import NamedTuple

from .templates import HERE

__all__ = ["Spelled", "filled", "spelled", "without_places"]

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
    tree = without_places(ast.parse(template, mode="eval").body)

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


def without_places(tree: ast.expr) -> ast.expr:
    """The same tree, whose nodes are marked as new: they stand at no line of the reader's text."""
    for node in ast.walk(tree):
        for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            if hasattr(node, name):
                delattr(node, name)
    return tree


def spelled(text: str, node: ast.expr | ast.stmt, replacement: ast.AST) -> Spelled | None:
    """The text with a node replaced; parts of the replacement that are the reader's stay as they are written.

    None if no spelling parses to what is meant.
    """
    lines = text.encode().split(b"\n")
    before = _segment(lines, node)
    inner: dict[str, ast.AST] = {}
    shape = _with_names(replacement, inner)
    meant = _dump_replaced(text, node, replacement)
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
            made = _spliced(lines, node, whole)
            try:
                if ast.dump(ast.parse(made)) == meant:
                    return Spelled(made, node.lineno, _one_line(before), _one_line(whole))
            except (SyntaxError, ValueError, RecursionError):
                continue
    return None


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


def _dump_replaced(text: str, node: ast.AST, replacement: ast.AST) -> str:
    """What the text's tree is to be after the edit."""
    place = _place(node)

    class Put(ast.NodeTransformer):
        done = False

        def generic_visit(self, one: ast.AST) -> ast.AST:
            if not self.done and type(one) is type(node) and hasattr(one, "lineno") and _place(one) == place:
                self.done = True
                return replacement
            return super().generic_visit(one)

    return ast.dump(Put().visit(ast.parse(text)))


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
