"""A draw in hand: the parameters, the prompt and both gradients of one draw of an audit.

A report keeps the arrays that a formula gave and the right ones. Parameters and prompts are made anew from the paper, the seed
and the number of draws, which decide them to the last digit. So a pickled report has them too, if its paper is registered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import InvalidValue
from ..core.registry import PAPERS
from .conditions import notable
from .subject import Subject
from .witnesses import Case

__all__ = ["Draw", "DrawsInHand", "PlaceInHand", "PlacesInHand", "Recipe"]


class Draw(NamedTuple):
    """One draw of the audit of a paper's formula.

    Attributes
    ----------
    number : int
    label : str
        What the place is, in words.
    params : NamedTuple of arrays
    prompt : prompt, or a batch of them
        What the formula was given. The library's own gradients are given a batch.
    given, expected : ndarray or None
        What the formula returned, None if that was no array of the right shape, and the right gradient.
    wrong : bool
        Whether some entry is wrong, or there is no array.
    holds : tuple of str
        Conditions that hold here, in words: "the hinge is inactive", "z = -1".
    remark : str
        Why there is no array, or why the draw was left out as evidence; empty in general.
    """

    number: int
    label: str
    params: Any
    prompt: Any
    given: np.ndarray | None
    expected: np.ndarray
    wrong: bool
    holds: tuple[str, ...] = ()
    remark: str = ""

    def __repr__(self) -> str:
        said = _off(self.given, self.expected) if self.wrong else "left out" if self.remark else "right"
        more = [self.label, *self.holds, self.remark]
        return f"Draw({self.number}, {said}: {'; '.join(filter(None, more))})"


class PlaceInHand(NamedTuple):
    """One place of the audit of a gradient, by one argument.

    Attributes
    ----------
    number : int
    label : str
        "x", "near x (1)", "points[0]".
    x : ndarray
        The argument there.
    given, expected : ndarray
        What the gradient returned, and the right one: NaN where an entry was not looked at by itself.
    wrong : bool
        Whether some entry is wrong, or all together along a direction.
    """

    number: int
    label: str
    x: np.ndarray
    given: np.ndarray
    expected: np.ndarray
    wrong: bool

    def __repr__(self) -> str:
        said = _off(self.given, self.expected) if self.wrong else "right"
        return f"PlaceInHand({self.number}, {said}: {self.label})"


def _off(given: np.ndarray | None, expected: np.ndarray) -> str:
    """That it is wrong, and by how much in the worst entry."""
    if given is None:
        return "no array"
    off = abs(np.asarray(given, float) - expected)[~np.isnan(expected)]
    known = off.size and np.isfinite(off).all() and off.max() > 0  # or it is wrong in an entry on a kink
    return f"wrong by {off.max():.2g} in the worst entry" if known else "wrong"


@dataclass(frozen=True)
class Recipe:
    """What decides the draws of an audit.

    Attributes
    ----------
    subject : Subject
    draws, seed : int
    attends : bool
    numbers : tuple of int
        Which of all draws were judged; of all points, if `batched`.
    batched : bool
        Whether all prompts of a point are one draw.
    """

    subject: Subject | None
    draws: int
    seed: int
    attends: bool
    numbers: tuple[int, ...]
    batched: bool = False

    def case(self, number: int) -> Case:
        """The case of that number, made anew."""
        subject = self.subject
        assert subject is not None
        points = subject.points(self.draws, self.seed, self.attends)
        places = [(point, point.prompts) for point in points]
        if not self.batched:
            places = [(point, point.prompts[n : n + 1]) for point in points for n in range(len(point.prompts))]
        point, prompts = places[self.numbers[number]]
        return Case(subject, point.label, point.params, prompts, point.holds)

    def __getstate__(self) -> dict[str, Any]:
        """A subject is stored as the paper that registers it, and its number among the paper's losses."""
        return {**vars(self), "subject": _registered(self.subject)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["subject"] is not None:
            paper, number = state["subject"]
            try:
                state["subject"] = PAPERS.load(paper).subject.every[number]
            except (ValueError, LookupError, AttributeError):  # another process, without that paper
                state["subject"] = None
        self.__dict__.update(state)


def _registered(subject: Subject | None) -> tuple[str, int] | None:
    if subject is None or subject.name not in PAPERS.names():
        return None
    every = PAPERS.load(subject.name).subject.every
    return next(((subject.name, number) for number, part in enumerate(every) if part is subject), None)


@dataclass
class DrawsInHand:
    """The draws of one formula.

    Attributes
    ----------
    wrt : str
    given : mapping of int to ndarray
    expected : mapping of int to ndarray
    wrong : sequence of int
    remarks : dict of int to str
    recipe : Recipe or None
        None where an audit was made by other means than a bench's.
    """

    wrt: str
    given: Mapping[int, np.ndarray]
    expected: Mapping[int, np.ndarray]
    wrong: Sequence[int]
    remarks: dict[int, str] = field(default_factory=dict)
    recipe: Recipe | None = None

    def at(self, number: int) -> Draw:
        """The draw of that number.

        Raises
        ------
        ValueError
            The paper is not registered in this process, so that its parameters and prompts cannot be made.
        """
        if self.recipe is None or self.recipe.subject is None:
            raise InvalidValue(
                "the report comes from another process, and its paper is not registered in this one; expected one of "
                f"{', '.join(PAPERS.names())}. Audit the formula again here."
            )
        case = self.recipe.case(number)
        prompt = case.prompts if self.recipe.batched else case.each[0]
        given = self.given.get(number)
        expected = self.expected[number] if number in self.expected else case.complex_step(self.wrt)[0]
        holds = tuple(notable(case, case.subject))
        wrong = number in self.wrong or given is None
        remark = self.remarks.get(number, "")
        return Draw(number, case.label, case.params, prompt, given, expected, wrong, holds, remark)


@dataclass
class PlacesInHand:
    """The places of one argument."""

    places: list[PlaceInHand]

    def at(self, number: int) -> PlaceInHand:
        """The place of that number."""
        return self.places[number]
