"""Sweeps of a paper by name: `nlicl sweep PAPER:NAME`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .laws import Theory
from .run import SEEDS

__all__ = ["NamedSweep"]


@dataclass(frozen=True)
class NamedSweep:
    """A scaling claim of a paper, as a sweep. A paper's module of sweeps holds `SWEEPS`, a dict of name to `NamedSweep`.

    Attributes
    ----------
    name, title : str
        The name is what the command line asks for: PAPER:NAME.
    claim : str
        What the paper, or who else, says of it, with its mark.
    problem : a paper's Problem
    over : dict or list of dict
        As `nlicl.sweep` takes it.
    measure : str, callable or dict
        One measure, as `nlicl.sweep` takes it.
    seeds : int
    training : dict
        Further arguments of `nlicl.train`.
    quick : dict
        What is otherwise in a rough version: "over", "seeds", "training", "problem".
    theory : dict of str to Theory
        Exponents to hold the measured ones against.
    notes : tuple of str
        What a reader should know.
    """

    name: str
    title: str
    claim: str
    problem: Any
    over: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]
    measure: str | Callable[..., Any] | Mapping[str, Any]
    seeds: int = SEEDS
    training: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    theory: Mapping[str, Theory] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def arguments(self, quick: bool = False) -> dict[str, Any]:
        """Arguments of `nlicl.sweep`: problem, over, measure, seeds, training."""
        names = ("problem", "over", "measure", "seeds", "training")
        return {name: self.quick[name] if quick and name in self.quick else getattr(self, name) for name in names}
