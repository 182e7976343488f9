"""The papers' theorems as experiments: condition, prediction, measurement, verdict.

`nlicl.theorems.PAPER` holds `THEOREMS`, a dict of number to `Experiment`; `nlicl theorem PAPER:NUMBER` does them.
"""

import importlib
from dataclasses import asdict, dataclass, field

from ..papers import NAMES

__all__ = ["Condition", "Theorem", "load"]


def load(paper):
    """number -> Experiment of the paper's theorems; ValueError for a paper that has none."""
    if paper not in NAMES:
        raise ValueError(f"paper is {paper!r}; expected one of {', '.join(map(repr, NAMES))}.")
    return importlib.import_module(f"{__name__}.{paper}").THEOREMS


@dataclass(frozen=True)
class Condition:
    """What a theorem asks for, and what the experiment has.

    Attributes
    ----------
    condition : str
        As the theorem states it, with its mark.
    here : str
        What it comes to in the experiment; an unknown constant is 1.
    holds : bool or None
        None where it cannot be decided (an unknown constant).
    """

    condition: str
    here: str
    holds: bool | None


@dataclass(frozen=True)
class Theorem:
    """A theorem tested: its statement, its conditions as they are met here, and claims measured over seeds.

    Attributes
    ----------
    name, statement : str
    settings : dict
    seeds : list of int
    conditions : list of Condition
    claims : list of Claim
    notes : list of str
    """

    name: str
    statement: str
    settings: dict
    seeds: list
    conditions: list
    claims: list
    notes: list = field(default_factory=list)

    @property
    def ok(self):
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)

    def to_dict(self):
        """Plain values, for JSON."""
        return asdict(self)
