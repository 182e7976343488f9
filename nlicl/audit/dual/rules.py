"""The tables of rules: what each of NumPy's functions does to a tangent."""

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["FUNCTIONS", "METHODS", "UFUNCS", "NotCarried", "name_of", "named", "refusals", "rule"]

UFUNCS: dict[np.ufunc, Callable[..., Any]] = {}  # of the ufunc's inputs
METHODS: dict[tuple[np.ufunc, str], Callable[..., Any]] = {}  # reduce, accumulate, at ...
FUNCTIONS: dict[Any, Callable[..., Any]] = {}  # same arguments as NumPy's function


refusals = [0]  # how often NotCarried was raised, caught or not


class NotCarried(TypeError):
    """The derivative cannot be carried through a function."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        refusals[0] += 1


def name_of(function: Any) -> str:
    """NumPy's name of a function or ufunc, for messages."""
    module = getattr(function, "__module__", None) or ("numpy" if hasattr(np, function.__name__) else "the ufunc")
    return f"{module}.{function.__name__}".replace("the ufunc.", "the ufunc ")


def named(names: str) -> list[Any]:
    """NumPy's functions of these names, those that the installed version has."""
    found = []
    for name in names.split():
        place = np.linalg if name.startswith("linalg.") else np
        if hasattr(place, name.removeprefix("linalg.")):
            found.append(getattr(place, name.removeprefix("linalg.")))
    return found


def rule(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the rule of one or several NumPy functions; a name that this NumPy lacks is given as None."""

    def register(found: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS.update({function: found for function in functions if function is not None})
        return found

    return register
