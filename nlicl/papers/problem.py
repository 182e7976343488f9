"""What the problems of all papers have in common: defaults for training, and where the value of a setting comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np

__all__ = ["BaseProblem", "Seed"]

Seed: TypeAlias = int | Sequence[int]
"""One number or several, each at least 0: (seed, step) names the prompts of a training step."""


@dataclass(frozen=True)
class BaseProblem:
    """The base of every paper's `Problem`, a frozen dataclass each of whose fields has a default.

    A paper's problem adds `loss`, `trained`, `learning_rate`, `batch`, `steps`, `sample`, `initialize` and `observer`. It
    overrides what is not as below.

    Attributes
    ----------
    marks : mapping of str to str
        Where a field's default comes from: "paper", "recalled", "derived" ... A field that it does not name is "ours".
    prompts : {"fresh", "population"}
        What `nlicl.train` trains on: new prompts every step, or the population.
    weight_decay : float
        lambda, 0.
    mask : dict of str to ndarray of bool
        What trains within a parameter. Empty: everything.
    """

    marks: ClassVar[Mapping[str, str]] = {}
    loss: ClassVar[str]
    trained: ClassVar[tuple[str, ...]]
    prompts: ClassVar[str] = "fresh"

    @property
    def weight_decay(self) -> float:
        return 0.0

    @property
    def mask(self) -> dict[str, np.ndarray]:
        return {}

    def schedule(self, t: int) -> float:
        """eta_t / eta_0 at step t: 1."""
        return 1.0

    def settings(self) -> dict[str, list[Any]]:
        """Every field with where its value comes from: name -> [value, mark], "set here" where it is not the default."""
        usual = type(self)()
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: [value, self.marks.get(name, "ours") if value == getattr(usual, name) else "set here"]
            for name, value in given.items()
        }
