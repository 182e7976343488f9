"""Test distributions other than the training one, by name: what `problem.sample` takes to draw from each.

The paper claims success for other prompt lengths, skewed concepts, switched semantic features and unseen combinations of
concepts [paper; conic form: of the authors' follow-up]. What each of them is in detail is our choice, and the ones that fail
are ours too [derived]. For this model prompts succeed where b*^T W b* is large and positive and the readout along d* has the
learnt sign: a* and c* do not matter, d* must be a conic combination of the learnt ones, b* need not [derived]. A new d, and
b_1-b_2 with d_1-d_2, are read with an arbitrary sign: over seeds their error is symmetric about 1/2, and single seeds may have
none [derived].
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...core.checks import boolean, instance, text
from ...core.describe import kind_of
from ...core.errors import InvalidType, InvalidValue
from .problem import Problem
from .semantics import Semantics

__all__ = ["Shift", "shifts"]

_HALF = 1 / math.sqrt(2)


@dataclass(frozen=True, eq=False)
class Shift:
    """A test distribution.

    Attributes
    ----------
    name : str
    about : str
        What it is, in the paper's letters.
    succeeds : bool or None
        Whether a trained model answers right there [derived]; None: neither is claimed.
    draw : dict
        Keyword arguments for `problem.sample`.
    """

    name: str
    about: str
    succeeds: bool | None
    draw: dict[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", text("name", self.name))
        object.__setattr__(self, "about", text("about", self.about))
        if self.succeeds is not None:
            object.__setattr__(self, "succeeds", boolean("succeeds", self.succeeds))
        instance("draw", self.draw, dict)


def shifts(problem: Problem, seed: int = 0) -> dict[str, Shift]:
    """The shifts that a problem of two concepts allows.

    Parameters
    ----------
    problem : Problem
        Of two concepts, with room for new directions: d_x >= K + 2, d_y >= 6. Where signs are balanced, L* = 1 is no shift.
    seed : int
        Of the new directions.

    Returns
    -------
    dict of str to Shift

    Raises
    ------
    TypeError, ValueError
        No problem of this paper; another number of concepts; no room for new directions; a seed that is none.
    """
    if not isinstance(problem, Problem):
        raise InvalidType(f"problem is a {kind_of(problem)}; expected a bu2024.Problem.")
    if problem.concepts != 2:
        raise InvalidValue(
            f"concepts is {problem.concepts}; expected a problem of two: these shifts combine two concepts."
        )
    s = problem.semantics
    lengths = [L for L in (1, 2, 4, 8, 16, 32, 64, 128) if L > 1 or problem.match != "balanced"]  # half of each sign
    both, difference = np.full((2, 1), _HALF), np.array([[_HALF], [-_HALF]])
    conic = {"a": both, "b": both, "c": both, "d": both}
    first, tilted = np.array([[1.0], [0.0]]), math.sqrt(1 - 0.3**2)

    def new(name: str) -> Semantics:
        return replace(s, **{name: problem.unseen(name, seed)})

    rows = [
        *(Shift(f"L* = {L}", f"{L} demonstration" + "s" * (L > 1), True, {"length": L}) for L in lengths),
        Shift("skewed 0.9/0.1", "shared concept 1 with probability 0.9", True, {"concept_weights": (0.9, 0.1)}),
        Shift("skewed 0.99/0.01", "shared concept 1 with probability 0.99", True, {"concept_weights": (0.99, 0.01)}),
        Shift("switched", "(a_2; b_1), labels c_2, d_1", True, {"semantics": s.switched()}),
        Shift("exchanged b", "(a_1; b_2), labels c_1, d_1", True, {"semantics": s.combined(b=np.eye(2)[::-1])}),
        Shift("conic", "(a_1+a_2; b_1+b_2), labels c_1+c_2, d_1+d_2, over sqrt 2", True, {"semantics": s.combined(**conic)}),
        Shift("b_1-b_2", "conic, but b_1-b_2", True, {"semantics": s.combined(**conic | {"b": difference})}),
        Shift("b_1-b_2, d_1-d_2", "conic, but b_1-b_2 and d_1-d_2", False,
              {"semantics": s.combined(**conic | {"b": difference, "d": difference})}),
        Shift("b_1+b_2, d_1", "(a_1; b_1+b_2), labels c_1, d_1", True,
              {"semantics": s.combined(a=first, b=both, c=first, d=first)}),
        Shift("tilted", "0.3 b_1 + 0.954 b_2 with 0.954 d_1 + 0.3 d_2", True,
              {"semantics": s.combined(a=both, b=[[0.3], [tilted]], c=both, d=[[tilted], [0.3]])}),
        Shift("flipped", "labels flipped, d -> -d", False, {"semantics": s.combined(d=-np.eye(2))}),
        *(Shift(f"new {name}", f"new orthogonal {name}", name in "ac", {"semantics": new(name)}) for name in "abcd"),
        *(Shift(f"noise {sigma:g}", f"sigma_xi = {sigma:g} in testing", True if sigma < 1 else None, {"sigma_xi": sigma})
          for sigma in (0.2, 0.5, 1.0)),
    ]  # fmt: skip
    return {row.name: row for row in rows}
