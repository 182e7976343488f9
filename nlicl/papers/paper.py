"""What a paper hands to nlicl: one object, by which it registers itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from types import MappingProxyType
from typing import Any

from ..audit.subject import Formula, Subject
from ..core.describe import kind_of, name_of, short
from ..core.errors import InvalidType
from ..core.registry import PAPERS, check_name

__all__ = ["Paper", "register"]


@dataclass(frozen=True)
class Paper:
    """A paper: its problem, its formulas, and where its figures and theorems are, if it has any.

    A paper's module ends with `PAPER = register(Paper(...))`. docs/adding-a-paper.md shows one from beginning to end.

    Attributes
    ----------
    name : str
        As on the command line: "li2024".
    title : str
        The paper in one line.
    subject : Subject
        What the audit needs to know; its formulas are the paper's.
    Problem : type
        The frozen dataclass of sizes, distribution and training settings.
    Params : type
        The NamedTuple of the model's parameters.
    problems : mapping of str to Problem
        Named settings, the default first: `nlicl train NAME:SETTINGS`. Others than the first may be of another type, of a
        problem with another model: a dataclass that `nlicl.train` takes, each of whose fields has a default.
    notation : mapping of str to str
        The paper's letters for fields of the problem, for errors about unknown settings: {"l": "length"}.
    figures, theorems, sweeps : str
        Module with `FIGURES`, a dict of name to Recipe, module with `THEOREMS`, a dict of number to Experiment, and module
        with `SWEEPS`, a dict of name to NamedSweep. They are imported when they are asked for. An empty text: the paper has
        none.
    """

    name: str
    title: str
    subject: Subject
    Problem: type
    Params: type
    problems: Mapping[str, Any] = field(default_factory=dict)
    notation: Mapping[str, str] = field(default_factory=dict)
    figures: str = ""
    theorems: str = ""
    sweeps: str = ""

    def __post_init__(self) -> None:
        check_name("name", self.name)
        kinds = {
            "title": str,
            "subject": Subject,
            "Problem": type,
            "Params": type,
            "problems": Mapping,
            "notation": Mapping,
        }
        for name, kind in (kinds | {"figures": str, "theorems": str, "sweeps": str}).items():
            given = getattr(self, name)
            if not isinstance(given, kind):
                raise InvalidType(f"{name} of the paper {self.name} is {short(given)}; expected a {kind.__name__}.")
        if not hasattr(self.Params, "_fields"):
            raise InvalidType(
                f"Params of the paper {self.name} is {name_of(self.Params)}; expected a NamedTuple's type."
            )
        if not self.problems:
            try:
                usual = self.Problem()
            except TypeError as error:
                raise InvalidType(
                    f"Problem of the paper {self.name} cannot be made without arguments ({error}); expected `problems`, or "
                    "a default for every field."
                ) from error
            object.__setattr__(self, "problems", {"default": usual})
        for i, (name, problem) in enumerate(self.problems.items()):
            check_name("a key of problems", name)
            if not isinstance(problem, self.Problem) and (i == 0 or not _is_problem(problem)):
                others = ", or a dataclass with initialize and sample" if i else ", the first of them"
                raise InvalidType(
                    f"problems[{name!r}] is {short(problem)}; expected a {name_of(self.Problem)}{others}."
                )

    def kind(self, described: str) -> type | None:
        """The type of problem with this description in checkpoints, "module.Name"; None if the paper has no such."""
        kinds = (self.Problem, *map(type, self.problems.values()))
        return next((kind for kind in kinds if f"{kind.__module__}.{kind.__qualname__}" == described), None)

    @property
    def formulas(self) -> Mapping[str, Formula]:
        """The formulas of all the paper's losses, by name."""
        return MappingProxyType({f.name: f for part in self.subject.every for f in part.formulas.values()})

    def __repr__(self) -> str:
        return f"Paper({self.name!r}, {self.title!r})"


def _is_problem(thing: Any) -> bool:
    """Whether it is a dataclass that draws prompts and initial parameters; `nlicl.train` looks for the rest."""
    methods = (getattr(thing, name, None) for name in ("initialize", "sample"))
    return is_dataclass(thing) and not isinstance(thing, type) and all(map(callable, methods))


def register(paper: Paper) -> Paper:
    """Add a paper to those that `nlicl.papers.load`, the audit and the command line know.

    Parameters
    ----------
    paper : Paper

    Returns
    -------
    Paper
        The same.

    Raises
    ------
    TypeError
        Something else than a Paper.
    ValueError
        Another paper has its name.
    """
    if not isinstance(paper, Paper):
        raise InvalidType(f"paper is a {kind_of(paper)}; expected a nlicl.papers.paper.Paper.")
    return PAPERS.register(paper)
