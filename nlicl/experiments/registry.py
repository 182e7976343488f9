"""Where a paper's figures, theorems and sweeps are. A paper may have some, and need not."""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..core.describe import kind_of, short
from ..core.errors import InvalidType, InvalidValue
from ..core.text import message
from ..papers import load
from .experiment import Experiment, by_name
from .figure import Recipe
from .sweeps.named import NamedSweep

__all__ = ["figures", "sweeps", "theorems"]


def figures(paper: str) -> Mapping[str, Recipe]:
    """name -> Recipe of a paper's figures; none if it has none.

    The recipes are given the paper's name here, so that a figure is called PAPER-NAME whatever its module says.

    Raises
    ------
    ValueError, TypeError
        An unknown paper, a name given twice; a module that is not there, or lacks `FIGURES`.
    """
    found = load(paper)
    recipes = _entries(found.name, found.figures, "FIGURES", Recipe)
    return by_name(replace(recipe, paper=found.name) for recipe in recipes)


def theorems(paper: str) -> Mapping[str, Experiment]:
    """name -> Experiment of a paper's theorems; none if it has none. Raises as `figures` does."""
    found = load(paper)
    return by_name(_entries(found.name, found.theorems, "THEOREMS", Experiment))


def sweeps(paper: str) -> Mapping[str, NamedSweep]:
    """name -> NamedSweep of a paper's sweeps; none if it has none. Raises as `figures` does."""
    found = load(paper)
    return by_name(_entries(found.name, found.sweeps, "SWEEPS", NamedSweep))


def _entries(paper: str, module: str, table: str, kind: type) -> list[Any]:
    """The values of a module's table."""
    if not module:
        return []
    try:
        there = getattr(importlib.import_module(module), table)
    except (ImportError, AttributeError) as error:
        raise InvalidValue(f"{table} of the paper {paper} cannot be had from {module}: {message(error)}.") from error
    except BaseException as error:  # somebody else's module: whatever it raises, SystemExit too
        if module.startswith("nlicl.") or isinstance(error, KeyboardInterrupt):
            raise
        reason = f"{kind_of(error)}: {message(error) or 'no message'}"
        raise InvalidValue(f"{table} of the paper {paper} cannot be had from {module}: {reason}.") from error
    entries = list(there.values()) if isinstance(there, Mapping) else [there]
    for entry in entries:
        if not isinstance(entry, kind):
            raise InvalidType(f"{module}.{table} holds {short(entry)}; expected a dict of name to {kind.__name__}.")
    return entries
