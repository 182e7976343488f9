"""Where a paper's figures and theorems are. A paper may have some, and need not."""

import importlib
from collections.abc import Mapping
from dataclasses import replace

from ..papers import load
from .experiment import Experiment, by_name
from .figure import Recipe

__all__ = ["figures", "theorems"]


def figures(paper: str) -> Mapping[str, Recipe]:
    """name -> Recipe of a paper's figures; none if it has none. ValueError for an unknown paper, or a name given twice.

    The recipes are given the paper's name here, so that a figure is called PAPER-NAME whatever its module says.
    """
    found = load(paper)
    recipes = importlib.import_module(found.figures).FIGURES.values() if found.figures else ()
    return by_name(replace(recipe, paper=found.name) for recipe in recipes)


def theorems(paper: str) -> Mapping[str, Experiment]:
    """name -> Experiment of a paper's theorems; none if it has none. ValueError for an unknown paper or a name given twice."""
    module = load(paper).theorems
    return by_name(importlib.import_module(module).THEOREMS.values()) if module else {}
