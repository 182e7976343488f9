"""An edit as text: the reader's own lines, in which one expression or statement is another one."""

import ast
import copy
import difflib
from collections.abc import Sequence
from itertools import pairwise, takewhile
from typing import NamedTuple

from .templates import HERE

__all__ = ["Piece", "Spelled", "changes", "filled", "inserted", "left_out", "put_together", "spelled"]

_READABLE = 8, 72  # characters of an expression that says enough by itself, and not too much
_LEAST, _WHOLE = 5, (ast.BinOp, ast.Compare, ast.Call)  # of these that is enough
_LOOSE = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.IfExp, ast.Lambda, ast.Tuple, ast.Starred, ast.Constant)


class Piece(NamedTuple):
    """Words for a stretch of the text: first line, column, last line, column, in bytes, lines from 1; and the words.

    `longer` is by how many characters the text becomes longer or shorter.
    """

    place: tuple[int, int, int, int]
    words: str
    longer: int


class Spelled(NamedTuple):
    """A text after an edit, and the pieces that are new in it."""

    text: str
    pieces: tuple[Piece, ...]

    @property
    def longer(self) -> int:
        """By how many characters it is longer or shorter."""
        return sum(piece.longer for piece in self.pieces)


def filled(template: str, node: ast.expr, numpy: str) -> ast.expr:
    """A template as a tree, with the expression in its place, and NumPy by the name that the file gives it.

    Raises
    ------
    ValueError
        The file has no name for NumPy, and the template needs one.
    """
    tree = ast.parse(template, mode="eval").body
    for one in ast.walk(tree):  # what is new stands at no line of the reader's text
        for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            if hasattr(one, name):
                delattr(one, name)

    class Fill(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.AST:
            if name.id == HERE:
                return node
            if name.id == "np":
                if not numpy:
                    raise ValueError("the file has no name for NumPy")
                return ast.Name(numpy, ast.Load())
            return name

    return Fill().visit(tree)


def spelled(text: str, tree: ast.Module, edits: Sequence[tuple[ast.expr | ast.stmt, ast.AST]]) -> Spelled | None:
    """The text, whose tree is given, with nodes replaced; what is the reader's in them stays as it is written.

    None if no spelling parses to what is meant.
    """
    lines = [line.encode() for line in text.split("\n")]
    begin, end, meant = _around(tree, edits[0][0], {id(node): new for node, new in edits})
    for inside in (False, True):
        for outside in (False, True):
            pieces = []
            for node, new in edits:
                words, before = _words(lines, new, inside), _segment(lines, node)
                if isinstance(new, ast.Tuple) and new.elts and not outside and not before.startswith("("):
                    words = words[1:-1].rstrip(",") + "," * (len(new.elts) == 1)
                elif outside and not isinstance(node, ast.stmt | ast.Tuple):
                    words = f"({words})"
                if "--" in words and "--" not in before:
                    return None
                pieces.append(Piece(_place(node), words, abs(len(_one_line(words)) - len(_one_line(before)))))
            made = put_together(text, pieces)
            if made is None:
                return None
            there = made.split("\n")[begin : end + made.count("\n") - text.count("\n")]
            try:
                if [ast.dump(one) for one in ast.parse("\n".join(there)).body] == meant:
                    return Spelled(made, tuple(pieces))
            except (SyntaxError, ValueError, RecursionError, IndexError):
                continue
    return None


def _around(tree: ast.Module, node: ast.AST, new: dict[int, ast.AST]) -> tuple[int, int, list[str]]:
    """The lines of the file's statement that holds a node, and of those that share them; and what is to stand there."""

    def lines(one: ast.stmt) -> tuple[int, int]:
        first = min([one.lineno, *(other.lineno for other in getattr(one, "decorator_list", []))])
        return first, one.end_lineno or one.lineno

    begin, end = lines(next(one for one in tree.body if any(inside is node for inside in ast.walk(one))))
    for one in (*tree.body, *reversed(tree.body)):
        first, last = lines(one)
        if first <= end and begin <= last:
            begin, end = min(begin, first), max(end, last)
    here = [one for one in tree.body if begin <= lines(one)[0] <= end]
    return begin - 1, end, [ast.dump(_with(one, new)) for one in here]


def put_together(text: str, pieces: Sequence[Piece]) -> str | None:
    """The text with all pieces in it; None if two of them are of the same stretch, or one puts a double minus there."""
    lines = [line.encode() for line in text.split("\n")]
    order = sorted(pieces, key=lambda piece: piece.place, reverse=True)
    for later, earlier in pairwise(order):
        if earlier.place[2:] > later.place[:2]:
            return None
    for (first, start, last, end), words, _ in order:
        head = lines[first - 1][:start]
        tail = lines[last - 1][end:] if last <= len(lines) else b""
        if words.startswith("-") and head.rstrip().endswith(b"-"):
            return None
        lines[first - 1 : last] = (head + words.encode() + tail).split(b"\n")
    return b"\n".join(lines).decode()


def left_out(text: str, node: ast.stmt) -> Spelled | None:
    """The text without a statement that has its lines for itself; None if that is no program."""
    lines = text.split("\n")
    first, last = node.lineno, node.end_lineno or node.lineno
    if last >= len(lines):
        return None
    return _parsed(text, (Piece((first, 0, last + 1, 0), "", len("".join(lines[first - 1 : last]))),))


def inserted(text: str, node: ast.stmt, new: ast.stmt) -> Spelled | None:
    """The text with a statement after one that ends its line."""
    lines = [line.encode() for line in text.split("\n")]
    last, end = node.end_lineno or node.lineno, node.end_col_offset or 0
    if lines[last - 1][end:].split(b"#")[0].strip():
        return None
    words = _words(lines, new, False)
    end = len(lines[last - 1])
    indent = lines[node.lineno - 1][: node.col_offset].decode()
    if indent.strip():
        return None
    return _parsed(text, (Piece((last, end, last, end), f"\n{indent}{words}", len(words)),))


def changes(text: str, other: str) -> list[tuple[int, str, str]]:
    """(line, what stands there, what is to stand there) of each stretch in which two texts differ.

    A stretch of one line is widened to the expression around it, so that it can be read by itself.
    """
    before, after = text.split("\n"), other.split("\n")
    tree = ast.parse(text)
    found = []
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            continue
        if b - a != d - c:
            found.append((a + 1, _one_line(" ".join(before[a:b])), _one_line(" ".join(after[c:d]))))
            continue
        for n, (old, new) in enumerate(zip(before[a:b], after[c:d], strict=True), start=a + 1):
            found.append((n, *_widened(tree, n, old, new)))
    return found


def _widened(tree: ast.Module, line: int, old: str, new: str) -> tuple[str, str]:
    """What differs in a line, and the expression around it if that is short."""
    start = _alike(old, new)
    tail = _alike(old[start:][::-1], new[start:][::-1])
    first, last = len(old[:start].encode()), len(old[: len(old) - tail].encode())
    best: tuple[int, int] | None = None
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.expr) or not node.lineno == node.end_lineno == line or id(node) in called:
            continue
        begin, end = node.col_offset, node.end_col_offset or 0
        least = _LEAST if isinstance(node, _WHOLE) else _READABLE[0]
        around = begin <= first and last <= end and least <= end - begin <= _READABLE[1]
        if around and (best is None or end - begin < best[1] - best[0]):
            best = begin, end
    if best is None:
        return old.strip(), new.strip()
    behind = len(old.encode()) - best[1]
    rest = new.encode()
    return old.encode()[best[0] : best[1]].decode(), rest[best[0] : len(rest) - behind].decode()


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in same)


def _parsed(text: str, pieces: tuple[Piece, ...]) -> Spelled | None:
    made = put_together(text, pieces)
    try:
        ast.parse(made or "(")
    except (SyntaxError, ValueError):
        return None
    return Spelled(made or "", pieces)


def _words(lines: list[bytes], new: ast.AST, brackets: bool) -> str:
    """A new node as text; the reader's own parts in brackets where they need them, if asked."""
    inner: dict[str, ast.AST] = {}
    shape = _with_names(new, inner)
    words = ast.unparse(shape)
    for name, part in inner.items():
        own = _segment(lines, part)
        words = words.replace(name, f"({own})" if brackets and isinstance(part, _LOOSE) else own)
    return words


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


def _with(tree: ast.AST, new: dict[int, ast.AST]) -> ast.AST:
    """A copy of a tree with nodes replaced, by their id."""
    if id(tree) in new:
        return new[id(tree)]
    made = copy.copy(tree)
    for key, value in ast.iter_fields(tree):
        if isinstance(value, list):
            setattr(made, key, [_with(one, new) if isinstance(one, ast.AST) else one for one in value])
        elif isinstance(value, ast.AST):
            setattr(made, key, _with(value, new))
    return made


def _place(node: ast.AST) -> tuple[int, int, int, int]:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]


def _segment(lines: list[bytes], node: ast.AST) -> str:
    first, start, last, end = _place(node)
    if first == last:
        return lines[first - 1][start:end].decode()
    return b"\n".join([lines[first - 1][start:], *lines[first : last - 1], lines[last - 1][:end]]).decode()


def _one_line(text: str) -> str:
    return " ".join(text.split())
