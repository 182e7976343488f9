"""Sources as trees, each read once: many tests look through all of them."""

import ast
import functools


@functools.cache
def tree_of(path):
    """The tree of a file of Python, which nobody changes."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def nodes_of(path):
    """All that is in it, in the order of `ast.walk`."""
    return tuple(ast.walk(tree_of(path)))
