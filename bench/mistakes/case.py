"""What a case is: a loss, its right gradient, a point, and gradients that are wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Case", "Wrong", "WrongFormula"]


@dataclass(frozen=True)
class Wrong:
    """A wrong gradient.

    Attributes
    ----------
    function : callable
        Its docstring says the mistake.
    kinds : tuple of str
        What a right diagnosis may call it, one of them at least (docs/audit.md, docs/audit-gradient.md).
    mistakes : int
        How many independent mistakes it has.
    hard : bool
        No small edit mends it.
    name, says : str
        Of a function that has no name, or no docstring.
    """

    function: Callable[..., Any]
    kinds: tuple[str, ...]
    mistakes: int = 1
    hard: bool = False
    name: str = ""
    says: str = ""

    def __post_init__(self):
        object.__setattr__(self, "name", self.name or self.function.__name__)
        object.__setattr__(self, "says", self.says or (self.function.__doc__ or "").strip())


@dataclass(frozen=True)
class Case:
    """A loss with its right gradient.

    Attributes
    ----------
    name : str
        Unique.
    loss, right : callable
        `right` returns an array, or a tuple or dict of them as `point` is one.
    point : array, tuple or dict of arrays
        Where it is audited.
    wrong : list of Wrong
    draw : callable or None
        draw(rng) -> a point of other sizes, for losses whose arrays are all arguments.
    """

    name: str
    loss: Callable[..., Any]
    right: Callable[..., Any]
    point: Any
    wrong: list[Wrong]
    draw: Callable[[np.random.Generator], Any] | None = field(default=None)


@dataclass(frozen=True)
class WrongFormula(Wrong):
    """A wrong formula f(params, prompt) of a paper.

    Attributes
    ----------
    paper, wrt : str
        As `nlicl.audit_formula` takes them.
    """

    paper: str = ""
    wrt: str = ""
