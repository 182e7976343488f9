"""One more edit of one program: all that is tried, and what each leads to."""

import ast
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .alternatives import alternatives
from .atoms import Atom, Coefficient, arrays, coefficients, scalars
from .gates import gated
from .pairs import Pairs
from .program import Function, Program, Unread
from .spelling import Piece, Spelled, filled, inserted, left_out, spelled
from .spots import Code, Option, Spot, replaced
from .statements import statements
from .templates import HERE
from .watch import Hole, holes

if TYPE_CHECKING:
    from .search import Search

__all__ = ["Candidate", "Enough", "Level", "Seed"]

_SLACK = 0.6  # edits that cost so much more than the cheapest are no longer of interest
_REFINE = 0.4  # seconds for alternatives after the first
_USUAL = 1.15  # cost of an edit that everybody's slips explain: nothing better is to be expected
_BANDS = (1.25, 1.65, 9.0)  # of costs, one after the other
_HELPER = 0.3  # of the cost, on top for an edit of a function that others may call as well
_STEPS = 12  # edits that bring progress of one kind and do not mend all: more of them lead no further
_PARTIAL = 30  # terms that mend one part of several
_WHOLE = 0.04  # of the cost, off for an edit of all that a statement sets or returns
_TELLING = 12  # numbers that are not zero: more of them tell no more
_NAMES = 6  # of one number that are tried
_SIBLINGS = 8  # expressions of the function that others may use
_LONGEST = 36  # characters of one


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


class Level:
    """One more edit of one program.

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
        self.pairs = Pairs(self.vector, self.wanted, self.scale, self.known)
        self.literals = _literals(program)
        self._partial: dict[int, int] = {}
        self._steps_seen: dict[int, int] = {}
        self._statement_values = _statement_values(program)

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

    def _parts(self, vector: np.ndarray) -> list[np.ndarray]:
        parts, start = [], 0
        for part in self.base:
            parts.append(vector[start : start + part.size].reshape(part.shape))
            start += part.size
        return parts

    def _result(self, root: Callable[..., Any]) -> np.ndarray | None:
        self.search.tick()
        parts = self.task.value(root, self.first)
        return None if parts is None else self._joined(parts)

    # -- the order of things

    def run(self, quick: bool = False) -> None:
        """Try everything; `quick` leaves out what costs much or is odd."""
        found = holes(self.program, lambda f: self.task.call(f, self.first))
        loss = self.search.forward(self.first)
        spots: list[Spot] = []
        rest = [hole for hole in found if not hole.whole]
        siblings = self._siblings(found)

        def looked_at(groups: list[list[Hole]]) -> None:
            for group in groups:
                spot = Spot(self.program, group, self.data, loss, self._result, self.vector, self.search.rng)
                spot.siblings = [one for hole, one in siblings if not any(_holds(hole.node, h.node) for h in group)]
                spots.append(spot)
                if spot.linear and spot.response.answers:
                    self._linear(spot)

        looked_at([[hole] for hole in found if hole.whole])
        self._refine(_USUAL)
        if not quick and gated_places(self):
            self._gates(found)
            self._refine(_USUAL)
        below = 0.0
        for limit in _BANDS[:1] if quick else _BANDS:
            for spot in spots:
                if not spot.linear:
                    self._nonlinear(spot, below, limit)
            for spot in spots:
                for cost, code in spot.others():
                    if below < cost <= min(limit, self.cheapest + _SLACK):
                        self._try([spot.hole], code, cost)
            for hole in rest:
                self._rest(hole, below, limit)
            if below == 0.0:
                self._statements()
            self._refine()
            if below == 0.0:
                looked_at(_same_names(found))
                self._refine()
            below = limit
        self._pair_up(spots)

    def _siblings(self, found: list[Hole]) -> list[tuple[Hole, Atom]]:
        """Expressions of the root that are arrays and no names, the shortest first: each value once."""
        atoms: dict[bytes, tuple[Hole, Atom]] = {}
        for hole in found:
            if hole.unit or hole.visits != 1 or isinstance(hole.node, (ast.Name, ast.Constant)):
                continue
            value = hole.value
            if (
                not isinstance(value, np.ndarray)
                or value.dtype.kind != "f"
                or not 0 < value.size <= 2000
                or value.ndim > 2
            ):
                continue
            text = ast.unparse(hole.node)
            key = repr(value.shape).encode() + value.tobytes()
            named = any(isinstance(one, np.ndarray) and np.array_equal(one, value) for one in hole.scope.values())
            if len(text) <= _LONGEST and not named and (key not in atoms or len(atoms[key][1].text) > len(text) + 2):
                atoms[key] = (hole, Atom(f"({text})", value, 0.2))
        return sorted(atoms.values(), key=lambda pair: len(pair[1].text))[:_SIBLINGS]

    def _refine(self, cheap: float = np.inf) -> None:
        """End the level if it is solved by an edit so cheap."""
        if self.cheapest <= cheap and self.solved_at is not None:
            raise Enough

    # -- expressions

    def _linear(self, spot: Spot) -> None:
        """All that may stand for an expression to which the result answers linearly."""
        response = spot.response
        options = spot.options()
        self.search.tried += sum(len(option.codes) for option in options)
        if options:
            values = np.array([option.value for option in options])
            results = response.results(values)
            off = abs(results - self.wanted)[:, self.known] / self.scale[self.known]
            fits = off.max(axis=1, initial=0.0) <= 1e-7
            steps = self._steps(results)
            for n in np.argsort([option.cost for option in options], kind="stable"):
                self._steps_seen[int(steps[n])] = seen = self._steps_seen.get(int(steps[n]), 0) + bool(steps[n])
                if fits[n] or (steps[n] and seen <= _STEPS):
                    for cost, code in options[n].codes[: None if fits[n] else 2]:
                        self._try(spot.holes, code, cost)
            if len(spot.holes) > 1:
                self._some_places(spot, options, values)
                return
            self.pairs.add(spot, options, results)
        if len(spot.holes) > 1:
            return
        table, named = self.coefficients(spot.hole)
        terms = spot.terms()
        self.search.tried += len(terms)
        added = np.array([value for _, _, value in terms]) if terms else np.zeros((0, spot.value.size))
        for number, among in enumerate(self._targets()):
            if number and self._partial.get(number, 0) > _PARTIAL:
                continue
            factor = response.factors(spot.value[None], self.wanted, self.scale, among)[0]
            if np.isfinite(factor):
                for code, cost in scalings(1 + factor, table, named):
                    self._try(spot.holes, code, cost)
                continue  # a term would be a longer way to say it
            if not terms:
                continue
            factors = response.factors(added, self.wanted, self.scale, among)
            for n in np.flatnonzero(np.isfinite(factors)):
                cost, text, _ = terms[n]
                self._partial[number] = self._partial.get(number, 0) + 1
                if number and self._partial[number] > _PARTIAL:
                    break
                for code, more in additions(str(text), float(factors[n]), table, named):
                    self._try(spot.holes, code, cost + more)
        if terms:
            self.pairs.add_terms(spot, [(cost, str(text)) for cost, text, _ in terms], added)

    def _targets(self) -> list[np.ndarray]:
        """Entries that are to become right: of all parts, and of each part that is wrong beside those that are right."""
        wrong = [k for k, close in enumerate(self.base_close) if close > 0]
        found = [self.known]
        starts = np.cumsum([0, *(part.size for part in self.base)])
        for k in wrong if len(wrong) > 1 else ():
            among = self.known.copy()
            for other in wrong:
                if other != k:
                    among[starts[other] : starts[other + 1]] = False
            if among[starts[k] : starts[k + 1]].sum() > 1:
                found.append(among)
        return found

    def _some_places(self, spot: Spot, options: list[Option], values: np.ndarray) -> None:
        """A name that is another one in some of its places: in which, least squares tell."""
        matrix = spot.response.matrix
        assert matrix is not None
        missing = ((self.wanted - self.vector) / self.scale)[self.known]
        blocks = spot.blocks()
        if len(missing) <= len(blocks) or not missing.any():
            return
        size = float(abs(missing).max())
        for option, value in zip(options, values, strict=True):
            change = value - spot.value
            columns = [(matrix[:, block] @ change[block] / self.scale)[self.known] for block in blocks]
            shares = np.array(columns).T
            solution, _, _, _ = np.linalg.lstsq(shares, missing, rcond=None)
            chosen = np.round(solution)
            if not ((chosen == 0) | (chosen == 1)).all() or not 0 < chosen.sum() < len(blocks):
                continue
            if abs(shares @ chosen - missing).max() <= 1e-7 * size:
                group = [hole for hole, here in zip(spot.holes, chosen, strict=True) if here]
                for cost, code in option.codes[:2]:
                    self._try(group, code, cost)

    def coefficients(self, hole: Hole) -> tuple[np.ndarray, list[Coefficient]]:
        """Numbers with a name in an expression's scope, by size."""
        names = {**self.data, **hole.scope}
        key = (*scalars(names, arrays(names)), *self.literals)
        if key not in self._tables:
            made = sorted(coefficients(list(key)), key=lambda one: one.value)
            self._tables[key] = (np.array([one.value for one in made]), made)
        return self._tables[key]

    def _steps(self, results: np.ndarray) -> np.ndarray:
        """Which of many results are nearer to what is wanted, and how: 0 not, else a number for each kind of progress."""
        kinds, worse = np.zeros(len(results), int), np.zeros(len(results), bool)
        start = 0
        for k, part in enumerate(self.base):
            span = slice(start, start + part.size)
            start += part.size
            if not part.size:
                continue
            known, scale, wanted = self.known[span], self.scale[span][0], self.wanted[span]
            block = results[:, span]
            off = abs(block - wanted) / scale > 1e-8
            off[:, ~known] = False
            right = ~off.any(axis=1)
            if self.base_close[k] == 0:
                worse |= ~right
                continue
            here = np.where(right, 3, 0)
            if self.base_close[k] > 1 and part.size > 1 and known.all():
                with np.errstate(all="ignore"):
                    norms = np.sqrt((block * block).sum(axis=1) * (wanted @ wanted))
                    parallel = (abs(block @ wanted) >= (1 - 1e-11) * norms) & (norms > 0)
                here = np.where(parallel & (here == 0), 2, here)
            if self.base_close[k] > 2.5:
                before = (abs(self.vector[span] - wanted) / scale > 1e-8)[known].sum()
                here = np.where((off.sum(axis=1) <= 0.5 * before) & (here == 0), 1, here)
            kinds = 4 * kinds + here
        return np.where(worse, 0, kinds)

    def _nonlinear(self, spot: Spot, below: float, limit: float) -> None:
        """What may stand for an expression to which the result answers in another way: each is run."""
        made: list[Option] = []
        results: list[np.ndarray] = []
        for option in spot.options():
            if not below < option.cost <= min(limit, self.cheapest + _SLACK):
                continue
            result = spot.run(option.value)
            if result is None or not np.isfinite(result).all():
                continue
            if nearer(self.task.closeness(self.first, self._parts(result)), self.base_close):
                for cost, code in option.codes:
                    self._try(spot.holes, code, cost)
            made.append(option)
            results.append(result)
        if results:
            self.pairs.add(spot, made, np.array(results))

    def _rest(self, hole: Hole, below: float, limit: float) -> None:
        """An expression that gives no number, or is visited very often: alternatives of the code alone, each run."""
        for cost, node in alternatives(hole, {**self.data, **hole.scope}):
            if below < cost <= limit:
                self._try([hole], node, cost)

    def _gates(self, found: list[Hole]) -> None:
        """A condition under which all is zero, where it is zero that is expected."""
        wanted = [self.task.all_zero(place) for place in self.task.places]
        for hole, code, cost in gated(self.program, self.task, wanted, found, self.data):
            self._try([hole], code, cost)

    def _statements(self) -> None:
        for number, unit in enumerate(self.program.units):
            for edit in statements(unit.node, self.numpy):
                if edit.cost > self.cheapest + _SLACK:
                    continue
                if edit.after is not None:
                    both = ast.If(ast.Constant(True), [edit.node, edit.after], [])
                    made = partial(inserted, self.program.text, edit.node, edit.after)
                    self._judge(number, replaced(unit.node, edit.node, both), made, edit.cost, edit.node.lineno)
                    continue
                made = partial(left_out, self.program.text, edit.node)
                if edit.replacement is not None:
                    made = partial(spelled, self.program.text, self.program.tree, [(edit.node, edit.replacement)])
                function = replaced(unit.node, edit.node, edit.replacement)
                self._judge(number, function, made, edit.cost, edit.node.lineno)

    def _pair_up(self, spots: list[Spot]) -> None:
        """Edits after which a factor, somewhere, would do the rest; and those that bring the result's direction nearer."""
        for spot in spots:
            if spot.linear and spot.response.answers:
                self.pairs.add_direction(spot, *self.coefficients(spot.hole))
        self.seeds += [Seed(rank, cost, spot, code) for rank, cost, spot, code in self.pairs.promising()]

    # -- what is tried in full

    def _try(self, group: list[Hole], code: Code, cost: float) -> None:
        """Run the program with an expression, or all places of a name, replaced, at all places."""
        if cost > self.cheapest + _SLACK:
            return
        edits = self._trees(group, code)
        if edits is None:
            return
        number = group[0].unit
        function = self.program.units[number].node
        for old, new in edits:
            function = replaced(function, old, new)
        line = getattr(group[0].statement, "lineno", group[0].node.lineno)
        made = partial(spelled, self.program.text, self.program.tree, edits)
        self._judge(number, function, made, cost, line)

    def _trees(self, group: list[Hole], code: Code) -> list[tuple[ast.expr | ast.stmt, ast.AST]] | None:
        """What stands for each expression, as trees; None if it cannot."""
        if not isinstance(code, str):
            return [(hole.node, code) for hole in group]
        try:
            return [(hole.node, filled(code, hole.node, self.numpy)) for hole in group]
        except (ValueError, SyntaxError):
            return None

    def _judge(
        self, number: int, function: Function, spell: Callable[[], Spelled | None], cost: float, line: int
    ) -> None:
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
            if not nearer(close, self.base_close):
                return
            right = self.task.rightness(root, self.first, self.base_right)
        finally:
            self.program.restore(number)
        if right is None or not (right >= self.base_right).all():
            return
        made = spell()
        if made is None:
            return
        whole = _WHOLE if any(piece.before in self._statement_values for piece in made.pieces) else 0.0
        whole -= _HELPER if number else 0.0
        candidate = self._candidate(made, cost - whole, right, float(sum(close)), (number, line))
        self.found.append(candidate)
        if candidate.solves:
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
        edits = self._trees(seed.spot.holes, seed.code)
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


def _same_names(found: list[Hole]) -> list[list[Hole]]:
    """All places of a name in a function, and all in one statement, where there are several."""
    groups: dict[tuple[Any, ...], list[Hole]] = {}
    for hole in found:
        if isinstance(hole.node, ast.Name) and hole.whole:
            groups.setdefault((hole.unit, hole.node.id), []).append(hole)
            groups.setdefault((hole.unit, hole.node.id, id(hole.statement)), []).append(hole)
    kept: list[list[Hole]] = []
    for group in groups.values():
        nodes = [id(hole.node) for hole in group]
        if 2 <= len(group) <= 6 and nodes not in [[id(hole.node) for hole in other] for other in kept]:
            kept.append(group)
    return kept


def _holds(outer: ast.AST, inner: ast.AST) -> bool:
    """Whether one expression is part of the other, or is it."""
    return any(node is inner for node in ast.walk(outer))


def _statement_values(program: Program) -> set[str]:
    """What statements set or return, as text: an edit of the whole of it is read most easily."""
    found = set()
    for unit in program.units:
        for node in ast.walk(unit.node):
            value = getattr(node, "value", None)
            if isinstance(node, (ast.Assign, ast.AugAssign, ast.Return)) and isinstance(value, ast.expr):
                found.add(" ".join((ast.get_source_segment(program.text, value) or "").split()))
    return found


def _literals(program: Program) -> list[tuple[str, float, float]]:
    """Numbers that stand in the code, other than small whole ones."""
    found: dict[float, tuple[str, float, float]] = {}
    for unit in program.units:
        for node in ast.walk(unit.node):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, float)
                and node.value not in (0.0, 1.0, 2.0, 0.5)
            ):
                found.setdefault(node.value, (repr(node.value), node.value, 0.1))
    return list(found.values())[:6]


def gated_places(level: Level) -> bool:
    """Whether the gradient is zero wherever it is wrong, or some places are so: a condition may be missing."""
    zero = [p for p in level.task.places if level.task.all_zero(p)]
    return any(not level.base_right[p].all() for p in zero)


def nearer(close: list[float], before: list[float]) -> bool:
    """Whether some part is nearer to right, and none is further."""
    return all(a <= b + 1e-9 for a, b in zip(close, before, strict=True)) and any(
        a < b - 1e-9 for a, b in zip(close, before, strict=True)
    )


def _near(value: float, table: np.ndarray, named: list[Coefficient]) -> list[Coefficient]:
    """The numbers with a name that are this one, to seven digits."""
    low, high = np.searchsorted(table, [value * (1 - 1e-7), value * (1 + 1e-7)])
    return sorted(named[low:high], key=lambda one: one.cost)[:_NAMES]


def scalings(factor: float, table: np.ndarray, named: list[Coefficient]) -> Iterator[tuple[str, float]]:
    """An expression times a number, as one writes it: (template, cost)."""
    if abs(factor) < 1e-9:
        yield f"0 * {HERE}", 2.5
    for number in _near(abs(factor), table, named):
        text = f"{number.above} * {HERE}" if number.above else HERE
        text = f"{text} / {number.below}" if number.below else text
        if text != HERE or factor < 0:
            yield (f"-{text}" if factor < 0 else text), 1.0 + number.cost


def additions(text: str, factor: float, table: np.ndarray, named: list[Coefficient]) -> Iterator[tuple[str, float]]:
    """An expression plus a number times a term, as one writes it: (template, further cost)."""
    sign = "-" if factor < 0 else "+"
    for number in _near(abs(factor), table, named):
        if text == "1":
            inner = number.above or "1"
        else:
            inner = f"{number.above} * {text}" if number.above else text
        inner = f"{inner} / {number.below}" if number.below else inner
        yield f"{HERE} {sign} {inner}", number.cost
