"""The papers' figures: computed from our own training runs, drawn beside the papers' curves, claims checked in numbers.

`nlicl.figures.PAPER` holds `FIGURES`, a dict of name to `Recipe`; `nlicl reproduce PAPER[:FIGURE]` makes them.
"""

import importlib

from ..papers import NAMES

__all__ = ["load"]


def load(paper):
    """name -> Recipe of the paper's figures; ValueError for a paper that has none."""
    if paper not in NAMES:
        raise ValueError(f"paper is {paper!r}; expected one of {', '.join(map(repr, NAMES))}.")
    return importlib.import_module(f"{__name__}.{paper}").FIGURES
