"""Where a paper's figures and theorems are. A paper may have some, and need not."""

import importlib
from collections.abc import Mapping

from ..papers import load
from .experiment import Experiment
from .figure import Recipe

__all__ = ["figures", "theorems"]


def figures(paper: str) -> Mapping[str, Recipe]:
    """name -> Recipe of a paper's figures; none if it has none. ValueError for an unknown paper."""
    module = load(paper).figures
    return importlib.import_module(module).FIGURES if module else {}


def theorems(paper: str) -> Mapping[str, Experiment]:
    """number -> Experiment of a paper's theorems; none if it has none. ValueError for an unknown paper."""
    module = load(paper).theorems
    return importlib.import_module(module).THEOREMS if module else {}
