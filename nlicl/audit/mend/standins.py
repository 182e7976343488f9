"""What stands for the reader's names and objects where a changed function runs, so that his own stay as they are."""

import ast
import types
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

__all__ = ["Names", "called_at_once", "contents", "like"]


class Names(dict[str, Any]):
    """Names of a file, as they are when they are asked for, but for some that are others.

    Parameters
    ----------
    names : dict
        Of the file.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        super().__init__({name: names[name] for name in ("__name__", "__builtins__") if name in names})
        self.names = names

    def __missing__(self, name: str) -> Any:
        return self.names[name]


class _Quiet:
    """Keeps a class from hearing of one that is made of it, which it may keep a list of."""

    __slots__ = ()

    def __init_subclass__(cls, **given: Any) -> None: ...


def like(owner: Any) -> tuple[type, Any]:
    """A class whose methods can be replaced, and an object of it that holds what the reader's does.

    Raises
    ------
    Exception
        Whatever a class raises that wants more than a name.
    """
    kind = type(owner)
    methods = type(kind.__name__, (_Quiet, kind), {})
    made: Any = object.__new__(methods)
    made.__dict__ = owner.__dict__
    return methods, made


def called_at_once(tree: ast.Module) -> set[str]:
    """Functions that the file calls when it is loaded: what they give is data, of the loss as well."""
    inside = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    calls = (
        one for top in tree.body if not isinstance(top, inside) for one in ast.walk(top) if isinstance(one, ast.Call)
    )
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)}


def contents(cells: Iterable[types.CellType]) -> list[Any]:
    """What closures' cells hold, those passed over in which nothing is yet."""
    found = []
    for cell in cells:
        with suppress(ValueError):
            found.append(cell.cell_contents)
    return found
