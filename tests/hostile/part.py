"""What every part of the suite is: cases by number, each made from a seed alone, and a judge of them."""

import importlib
from pathlib import Path
from typing import Protocol

import numpy as np

from .outcome import Outcome

__all__ = ["OF_ITSELF", "PARTS", "Part", "generator", "load"]

PARTS = ("calls", "commands", "formulas", "checkpoints", "cache", "kills")
OF_ITSELF = "selfcheck"  # its cases fail, each in one way: whether that is seen


class Part(Protocol):
    """One part. It is made in a process of its own, by Part(seed, folder), where folder is an empty one for its files."""

    limit: float  # seconds that one case may take

    def describe(self, case: int) -> str:
        """The case of that number in a line or a few, as it is shown when it fails."""
        ...

    def judge(self, case: int) -> Outcome:
        """Try the case, and say what it came to."""
        ...


def load(name: str, seed: int, folder: Path) -> Part:
    """The part of that name."""
    part: Part = importlib.import_module(f"{__package__}.{name}").Part(seed, folder)
    return part


def generator(seed: int, case: int) -> np.random.Generator:
    """The random numbers of one case: the same whatever was tried before."""
    return np.random.default_rng([seed, case])
