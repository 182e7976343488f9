"""Wrong gradients, written by hand in the way people write them, beside their losses and right gradients.

A module is a family. Each wrong gradient is a function of its own, whose docstring says the mistake. `FAMILIES` has the
cases by family. `papers.FORMULAS` has wrong formulas f(params, prompt) of the papers.
"""

from . import (
    attention,
    classification,
    contrastive,
    implicit,
    likelihoods,
    matrices,
    networks,
    normalisation,
    physics,
    recurrent,
    regression,
    tokens,
)
from .case import Case, Wrong

__all__ = ["FAMILIES", "Case", "Wrong"]

MODULES = (
    regression,
    classification,
    likelihoods,
    matrices,
    networks,
    normalisation,
    attention,
    recurrent,
    tokens,
    contrastive,
    physics,
    implicit,
)

FAMILIES: dict[str, list[Case]] = {module.__name__.rpartition(".")[2]: module.CASES for module in MODULES}
