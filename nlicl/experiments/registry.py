"""Where a paper's figures and theorems are: each paper may have some, and need not."""

import importlib

from ..papers import load as load_paper

__all__ = ["figures", "theorems"]


def figures(paper):
    """name -> Recipe of the paper's figures."""
    load_paper(paper)
    return importlib.import_module(f"nlicl.experiments.{paper}.figures").FIGURES


def theorems(paper):
    """number -> Experiment of the paper's theorems."""
    load_paper(paper)
    return importlib.import_module(f"nlicl.experiments.{paper}.theorems").THEOREMS
