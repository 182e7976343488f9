"""One program and one place: what is wanted there, and how an edit is tried in full."""

import ast
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .atoms import Coefficient, arrays, coefficients, scalars
from .program import Function, Program, Unread
from .reading import literals, statement_values
from .spelling import Piece, Spelled, filled, spelled
from .spots import Code, Spot, replaced
from .watch import Hole

if TYPE_CHECKING:
    from .search import Search

__all__ = ["SLACK", "Candidate", "Enough", "Ground", "Seed", "nearer"]

SLACK = 0.6  # edits that cost so much more than the cheapest are no longer of interest
_REFINE = 0.4  # seconds for alternatives after the first
_HELPER = 0.3  # of the cost, on top for an edit of a function that others may call as well
_WHOLE = 0.04  # of the cost, off for an edit of all that a statement sets or returns
_TELLING = 12  # numbers that are not zero: more of them tell no more


@dataclass(frozen=True)
class Candidate:
    """Edits and what they lead to.

    Attributes
    ----------
    edits : tuple of tuple of Piece
        Each edit's pieces, of the text before it.
    text : str
        The file's text after them.
    cost : float
    right : ndarray (places, parts) of bool
    closeness : float
        Of all parts at the first place: 0 is right.
    where : tuple
        Unit and line of every edit.
    """

    edits: tuple[tuple[Piece, ...], ...]
    text: str
    cost: float
    right: np.ndarray
    closeness: float
    where: tuple[Any, ...] = ()

    @property
    def solves(self) -> bool:
        return bool(self.right.all())


@dataclass(frozen=True)
class Seed:
    """An edit that makes nothing right, and after which another one may: the better, the smaller `rank`."""

    rank: tuple[float, ...]
    cost: float
    spot: Spot
    code: Code


class Enough(Exception):
    """Nothing better is to be expected of this level."""


class Ground:
    """A program that is wrong at a place, and edits of it.

    Parameters
    ----------
    search : Search
    state : Candidate
        The edits so far.
    program : Program
        After them.

    Attributes
    ----------
    found : list of Candidate
        Edits that make something right.
    seeds : list of Seed
    """

    def __init__(self, search: "Search", state: Candidate, program: Program) -> None:
        self.search, self.state, self.program, self.task = search, state, program, search.task
        self.found: list[Candidate] = []
        self.seeds: list[Seed] = []
        self.cheapest = np.inf
        self.solved_at: float | None = None
        self.base_right = state.right
        self.first, self.base = self._first_place()
        self.base_close = self.task.closeness(self.first, self.base)
        self.vector = self._joined(self.base)
        expected = self.task.expected[self.first]
        self.wanted = self._joined(expected)
        self.known = ~np.isnan(self.wanted)
        self.wanted = np.where(self.known, self.wanted, 0.0)
        sizes = self.task.scale[self.first]
        self.scale = np.concatenate([np.full(part.size, size) for part, size in zip(expected, sizes, strict=True)])
        self.numpy = next((name for name, value in program.globals.items() if value is np), "")
        self.data = {name: program.globals[name] for name in program.data_names()}
        self._tables: dict[tuple[Any, ...], tuple[np.ndarray, list[Coefficient]]] = {}
        self.literals = literals(program)
        self._statement_values = statement_values(program)

    def _first_place(self) -> tuple[int, list[np.ndarray]]:
        """A place where something is wrong, and what the program gives there.

        Of the places where most is wrong, the smallest at which enough numbers are not zero to tell one edit from another.
        """
        wrong = [p for p in self.task.places if not self.base_right[p].all()] or list(self.task.places)

        def rank(place: int) -> tuple[float, ...]:
            alive = self.task.alive(place)
            return -int((~self.base_right[place]).sum()), -min(alive, _TELLING), self.task.size(place)

        for place in sorted(wrong, key=rank):
            value = self.task.value(self.program.root, place)
            if value is not None and all(np.isfinite(part).all() for part in value):
                return place, value
        raise Unread("the function gives no finite numbers where it is wrong")

    @staticmethod
    def _joined(parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.ravel(part).astype(float) for part in parts])

    def parts(self, vector: np.ndarray) -> list[np.ndarray]:
        parts, start = [], 0
        for part in self.base:
            parts.append(vector[start : start + part.size].reshape(part.shape))
            start += part.size
        return parts

    def result(self, root: Callable[..., Any]) -> np.ndarray | None:
        self.search.tick()
        parts = self.task.value(root, self.first)
        return None if parts is None else self._joined(parts)

    def coefficients(self, hole: Hole) -> tuple[np.ndarray, list[Coefficient]]:
        """Numbers with a name in an expression's scope, by size."""
        names = {**self.data, **hole.scope}
        key = (*scalars(names, arrays(names)), *self.literals)
        if key not in self._tables:
            made = sorted(coefficients(list(key)), key=lambda one: one.value)
            self._tables[key] = (np.array([one.value for one in made]), made)
        return self._tables[key]

    def try_(self, group: list[Hole], code: Code, cost: float) -> None:
        """Run the program with an expression, or all places of a name, replaced, at all places."""
        if cost > self.cheapest + SLACK:
            return
        edits = self.trees(group, code)
        if edits is None:
            return
        number = group[0].unit
        function = self.program.units[number].node
        for old, new in edits:
            function = replaced(function, old, new)
        line = getattr(group[0].statement, "lineno", group[0].node.lineno)
        made = partial(spelled, self.program.text, self.program.tree, edits)
        self.judge(number, function, made, cost, line)

    def trees(self, group: list[Hole], code: Code) -> list[tuple[ast.expr | ast.stmt, ast.AST]] | None:
        """What stands for each expression, as trees; None if it cannot."""
        if not isinstance(code, str):
            return [(hole.node, code) for hole in group]
        try:
            return [(hole.node, filled(code, hole.node, self.numpy)) for hole in group]
        except (ValueError, SyntaxError):
            return None

    def judge(
        self,
        number: int,
        function: Function,
        spell: Callable[[], Spelled | None],
        cost: float,
        line: int,
        whole_only: bool = False,
    ) -> None:
        """Run a changed function of unit `number` at all places; `whole_only`: only what mends all is of interest."""
        self.search.tick()
        if self.solved_at is not None and time.monotonic() > self.solved_at + _REFINE:
            raise Enough
        try:
            built = self.program.build(number, function)
        except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, StopIteration):
            return
        root = self.program.having(number, built)
        try:
            value = self.task.value(root, self.first)
            if value is None:
                return
            close = self.task.closeness(self.first, value)
            if not nearer(close, self.base_close) or (whole_only and any(close)):
                return
            right = self.task.rightness(root, self.first, self.base_right)
        finally:
            self.program.restore(number)
        if right is None or not (right >= self.base_right).all():
            return
        made = spell()
        if made is None:
            return
        whole = _WHOLE if any(piece.place in self._statement_values for piece in made.pieces) else 0.0
        whole -= _HELPER if number else 0.0
        candidate = self._candidate(made, cost - whole, right, float(sum(close)), (number, line))
        self.found.append(candidate)
        if candidate.solves and self.search.steady(candidate.text):
            self.cheapest = min(self.cheapest, cost)
            if self.solved_at is None:
                self.solved_at = time.monotonic()

    def _candidate(
        self, made: Spelled, cost: float, right: np.ndarray, closeness: float, where: tuple[int, int]
    ) -> Candidate:
        total = self.state.cost + cost + 0.004 * made.longer
        edits, places = (*self.state.edits, made.pieces), (*self.state.where, where)
        return Candidate(edits, made.text, total, right, closeness, places)

    def seeded(self, seed: Seed) -> Candidate | None:
        """The state after a seed's edit; None if it cannot be written, or gives nothing."""
        edits = self.trees(seed.spot.holes, seed.code)
        made = None if edits is None else spelled(self.program.text, self.program.tree, edits)
        if made is None:
            return None
        try:
            right = self.task.rightness(self.program.edited(made.text).root)
        except Unread:
            return None
        if right is None:
            return None
        hole = seed.spot.hole
        line = getattr(hole.statement, "lineno", hole.node.lineno)
        return self._candidate(made, seed.cost, right, np.inf, (hole.unit, line))


def nearer(close: list[float], before: list[float]) -> bool:
    """Whether some part is nearer to right, and none is further."""
    return all(a <= b + 1e-9 for a, b in zip(close, before, strict=True)) and any(
        a < b - 1e-9 for a, b in zip(close, before, strict=True)
    )
