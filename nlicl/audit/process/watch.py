"""Whether the reader's function calls nlicl's own gradients, or its losses: then it is no derivation of the reader's."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["own_calls"]

_READING = ("prompt", "prompts", "arrays", "describe", "checks")  # modules whose functions only read a prompt
_LOADING = __name__.rpartition(".")[0]  # this room: Python calls it where a function imports a module of the reader's


def _is_ours(module: str) -> bool:
    return module == "nlicl" or module.startswith("nlicl.")


def _caller(frame: FrameType) -> str:
    """The module of the code that made a call, through decorators of Python's and NumPy's."""
    above = frame.f_back
    while above is not None:
        module = str(above.f_globals.get("__name__"))
        if module.partition(".")[0] not in ("contextlib", "functools", "numpy"):
            return module
        above = above.f_back
    return ""


@contextmanager
def own_calls(wanted: bool = True) -> Iterator[list[str]]:
    """The names of nlicl's functions that code from elsewhere calls inside the block, in a list that grows.

    Methods of parameters and prompts are left out. The list stays empty if it is not wanted.
    """
    found: list[str] = []
    if not wanted:
        yield found
        return

    def see(frame: FrameType, event: str, argument: Any) -> None:
        module = str(frame.f_globals.get("__name__"))
        if event != "call" or module.startswith(_LOADING) or not _is_ours(module) or _is_ours(_caller(frame)):
            return
        name = frame.f_code.co_qualname
        if module.rpartition(".")[2] in _READING or frame.f_code.co_name in ("<module>", "__getattr__", "__dir__"):
            return
        if name not in found and len(found) < 5:
            found.append(name)

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        yield found
    finally:
        sys.setprofile(before)
