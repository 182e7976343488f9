"""The papers, one package each; and the register of them.

A paper of this library is a package in this folder. Any other paper is found where its distribution declares it,

    [project.entry-points."nlicl.papers"]
    toy = "toy:PAPER"

or is registered by hand: `nlicl.papers.register(PAPER)`.
"""

from ..core.registry import PAPERS
from .paper import Paper, register

__all__ = ["Paper", "load", "names", "register"]

load, names = PAPERS.load, PAPERS.names
