"""The draws of one audit, and the audits of single formulas on them."""

import copy
from functools import lru_cache
from typing import Any

import numpy as np

from ..core.checks import integer
from ..core.errors import InvalidValue
from ..core.memory import check_memory
from . import verdict
from .answer import attributes
from .hand import Recipe
from .report import FormulaReport
from .report.columns import Background
from .subject import Formula, Point, Subject
from .witnesses import Case

__all__ = ["Bench"]

LEAST_DRAWS, MOST_DRAWS = 2, 10_000  # every draw is kept, with what the witnesses find there
_DRAW = 30_000  # bytes of a draw, with what is found there


class Bench:
    """The draws of one audit. What witnesses find on them is kept: all formulas of a paper share it.

    Parameters
    ----------
    subject : Subject
        Of one loss.
    draws, seed : int
    paper : Subject, optional
        The subject that `subject` is a part of.
    backend : {"cpu", "cuda"}
        Whose gradients are the library's.
    """

    def __init__(
        self, subject: Subject, draws: int, seed: int, paper: Subject | None = None, backend: str = "cpu"
    ) -> None:
        draws = integer("draws", draws, LEAST_DRAWS)
        if draws > MOST_DRAWS:
            raise InvalidValue(f"draws is {draws}; expected at most {MOST_DRAWS}. Other draws come with another seed.")
        check_memory(
            f"draws is {draws}, and each is kept", _DRAW * draws, "Lower it: other draws come with another seed."
        )
        self.subject, self.draws, self.seed, self.paper = (
            subject,
            draws,
            integer("seed", seed, 0, most=None),
            paper or subject,
        )
        self.through = subject.on_gpu if backend == "cuda" else {"": subject.gradient}
        self._points: dict[bool, list[Point]] = {}
        self._single: dict[bool, list[Case]] = {}
        self._batched: dict[bool, list[Case]] = {}
        self._gradients: dict[tuple[str, int], Any] = {}
        self._others = lru_cache(None)(self._find_others)

    def points(self, attends: bool) -> list[Point]:
        """The places, with the query among the keys or not."""
        if attends not in self._points:
            self._points[attends] = self.subject.points(self.draws, self.seed, attends)
        return self._points[attends]

    def single(self, attends: bool) -> list[Case]:
        """A case for each prompt."""
        if attends not in self._single:
            self._single[attends] = [
                Case(self.subject, point.label, point.params, point.prompts[n : n + 1], point.holds)
                for point in self.points(attends)
                for n in range(len(point.prompts))
            ]
        return self._single[attends]

    def batched(self, attends: bool) -> list[Case]:
        """A case for each point, all its prompts together."""
        if attends not in self._batched:
            self._batched[attends] = [Case(self.subject, *point) for point in self.points(attends)]
        return self._batched[attends]

    def audit(self, formula: Formula, query_attends: bool | None = None, timeout: float | None = None) -> FormulaReport:
        """The report on one per-prompt formula."""
        attends = formula.query_attends if query_attends is None else query_attends
        cases, note = self.cases(formula, query_attends)
        report = verdict.reach(
            formula, cases, lambda case: formula(*_copies(case)), self.subject, note, timeout, self._elsewhere
        )
        report.query_attends = bool(attends)
        every = {id(case): n for n, case in enumerate(self.single(bool(attends)))}
        report.hand.recipe = self._recipe(bool(attends), tuple(every[id(case)] for case in cases))
        report.background = self._background(self._right(formula, bool(attends)))
        return report

    def _recipe(self, attends: bool, numbers: tuple[int, ...], batched: bool = False) -> Recipe:
        return Recipe(self.subject, self.draws, self.seed, attends, numbers, batched)

    def _background(self, right: Formula | None = None, role: str = "own") -> Background:
        """What a page says of a formula beside what is found."""
        known = None if right is None else (right.name, right.equation, right.source)
        return Background(self.paper.title, self.subject.statement, known, role)

    def _right(self, formula: Formula, attends: bool) -> Formula | None:
        """The registered formula of the same gradient that is right everywhere; None if it is the one that is judged."""
        for known in self.subject.formulas.values():
            same = known.wrt == formula.wrt and (known.query_attends is None or known.query_attends == attends)
            if same and known.expected == "agree" and not known.domain:
                return None if known.function is formula.function else known
        return None

    def cases(self, formula: Formula, query_attends: bool | None = None) -> tuple[list[Case], str]:
        """The cases at which a formula is judged, and what is to be said of those that are left out.

        Raises
        ------
        ValueError
            There are none.
        """
        cases, note = self.single(bool(formula.query_attends if query_attends is None else query_attends)), ""
        if formula.defined is not None or formula.domain:
            inside = [case for case in cases if _inside(formula, case)]
            note = f"judged where it is defined, {formula.domain}: {len(inside)} of {len(cases)} draws"
            cases = inside
        if not cases:
            raise InvalidValue(
                f"formula {formula.name} is defined on none of {self.draws} draws ({formula.domain}); use more draws."
            )
        return cases, note

    def audit_library(
        self, wrt: str, query_attends: bool | None = None, name: str | None = None, through: str = ""
    ) -> FormulaReport:
        """The report on the library's own gradient of a batch, through the kernels of that name."""
        equation = self.subject.computed_by.format(wrt=wrt)

        def gradient(params: Any, prompts: Any) -> np.ndarray:
            return getattr(self.through[through](params, prompts), wrt)

        def call(case: Case) -> np.ndarray:
            if (through, id(case)) not in self._gradients:  # of all parameters at once
                self._gradients[through, id(case)] = self.through[through](case.params, case.prompts)
            return getattr(self._gradients[through, id(case)], wrt)

        formula = Formula(gradient, name or f"library {wrt}", wrt, equation, "nlicl's kernels")
        attends = bool(query_attends)
        report = verdict.reach(formula, self.batched(attends), call, self.subject)
        report.query_attends = attends
        report.hand.recipe = self._recipe(attends, tuple(range(report.draws)), batched=True)
        report.background = self._background(role="library")
        return report

    def _elsewhere(self, what: str, name: str) -> list[str]:
        """The other parameters of the paper whose formulas are given "params" or a "prompt" with an attribute `name`."""
        return [wrt for wrt, given in self._others().items() if name in attributes(given[what])]

    def _find_others(self) -> dict[str, dict[str, Any]]:
        found = {}
        for part in self.paper.every:
            if part is not self.subject:
                point = part.points(1, self.seed, False)[0]
                for formula in part.formulas.values():
                    found[formula.wrt] = {"params": point.params, "prompt": point.prompts[0]}
        return found


def _inside(formula: Formula, case: Case) -> bool:
    """Whether a case lies where the formula is defined."""
    return formula.domain in case.holds if formula.defined is None else formula.defined(case.params)


def _copies(case: Case) -> tuple[Any, Any]:
    """Parameters and prompt that a formula may write to without harm."""
    return copy.deepcopy(case.params), copy.deepcopy(case.each[0])
