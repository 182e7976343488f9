"""The search: edits of the reader's text, one at a time, and after each that makes something better, another one.

Every part (an argument's gradient) and every place is judged by itself: an edit that makes one of them right, and none wrong, is
a step, and so is one that leaves a simpler difference, a factor for instance.
"""

import ast
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .alternatives import alternatives
from .atoms import Atom, Coefficient, arrays, coefficients, scalars
from .program import Function, Program, Unread
from .response import Response
from .spelling import Spelled, filled, spelled
from .statements import statements
from .task import Stopped, Task
from .templates import HERE, Made, changes, terms
from .watch import Hole, holes, numeric, with_call

__all__ = ["Candidate", "Search"]

MOST_EDITS = 3
_SEEDS = 4  # states that a second and third edit starts from
_SLACK = 0.6  # edits that cost so much more than the cheapest are no longer of interest
_REFINE = 0.5  # seconds for alternatives after the first


@dataclass(frozen=True)
class Candidate:
    """Edits and what they lead to.

    Attributes
    ----------
    edits : tuple of Spelled
    text : str
        The file's text after them.
    cost : float
    right : ndarray (places, parts) of bool
    closeness : float
        Of all parts at the first place: 0 is right.
    where : tuple
        Unit and statement of the last edit: of one statement, the cheapest edit is kept.
    """

    edits: tuple[Spelled, ...]
    text: str
    cost: float
    right: np.ndarray
    closeness: float
    where: tuple[Any, ...] = ()

    @property
    def solves(self) -> bool:
        return bool(self.right.all())


class Search:
    """All edits of a program that do a task.

    Parameters
    ----------
    program : Program
    task : Task
    deadline : float
        time.monotonic().
    """

    def __init__(self, program: Program, task: Task, deadline: float, told: Callable[[int], None] = lambda n: None) -> None:
        self.task, self.deadline, self.tried = task, deadline, 0
        self.start = program
        self.rng = np.random.default_rng(0)
        self.told = told
        self.found: list[Candidate] = []

    def run(self) -> list[Candidate]:
        """The solutions, the cheapest first."""
        try:
            self._run()
        except Stopped:
            pass
        return sorted((one for one in self.found if one.solves), key=lambda one: one.cost)

    def _run(self) -> None:
        empty = Candidate((), self.start.text, 0.0, self.task.right, np.inf)
        states = [(empty, self.start)]
        for _ in range(MOST_EDITS):
            steps: list[Candidate] = []
            for state, program in states:
                level = _Level(self, state, program)
                try:
                    level.run()
                except _Enough:
                    pass
                finally:
                    self.found += [one for one in level.found if one.solves]
                steps += [one for one in level.found if not one.solves]
            if any(one.solves for one in self.found):
                return
            self.found += self._together(steps)
            if any(one.solves for one in self.found):
                return
            states = []
            for one in _best(steps):
                try:
                    states.append((one, self.start.edited(one.text)))
                except Unread:
                    continue

    def _together(self, steps: list[Candidate]) -> list[Candidate]:
        """Steps that mend different parts, put together in one text."""
        return []

    def tick(self) -> None:
        """Count one edit; stop where the budget is over."""
        self.tried += 1
        if self.tried % 16 == 0:
            self.told(self.tried)
            if time.monotonic() > self.deadline:
                raise Stopped


def _best(steps: list[Candidate]) -> list[Candidate]:
    order = sorted(steps, key=lambda one: (-int(one.right.sum()), one.closeness, one.cost))
    kept: list[Candidate] = []
    for one in order:
        if all(one.where != other.where or one.closeness < other.closeness for other in kept):
            kept.append(one)
        if len(kept) == _SEEDS:
            break
    return kept


class _Level:
    """One more edit of one program."""

    def __init__(self, search: Search, state: Candidate, program: Program) -> None:
        self.search, self.state, self.program, self.task = search, state, program, search.task
        self.found: list[Candidate] = []
        self.first = self._first_place()
        base = self.task.value(program.root, self.first)
        if base is None:
            raise Unread("it gives nothing")
        self.base = base
        self.base_right = self.task.right if not state.edits else state.right
        self.base_close = self.task.closeness(self.first, base)
        self.vector = self._joined(base)
        expected = self.task.expected[self.first]
        self.wanted = self._joined(expected)
        self.known = ~np.isnan(self.wanted)
        self.wanted = np.where(self.known, self.wanted, 0.0)
        self.scale = np.concatenate(
            [np.full(part.size, size) for part, size in zip(expected, self.task.scale[self.first], strict=True)]
        )
        self.numpy = next((name for name, value in program.globals.items() if value is np), "")
        self.data = {name: program.globals[name] for name in program.data_names()}
        self.cheapest = np.inf
        self.solved_at: float | None = None
        self.tables: dict[tuple[Any, ...], tuple[np.ndarray, list[Coefficient]]] = {}

    def _first_place(self) -> int:
        """A place where something is wrong: of those, one where most is wrong, and most is known."""
        right = self.task.right if not self.state.edits else self.state.right
        wrong = [p for p in self.task.places if not right[p].all()]
        return max(wrong or list(self.task.places), key=lambda p: (int((~right[p]).sum()), self._liveness(p)))

    def _liveness(self, place: int) -> int:
        return sum(int(((e != 0) & ~np.isnan(e)).sum()) for e in self.task.expected[place])

    @staticmethod
    def _joined(parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.ravel(part).astype(float) for part in parts])

    def run(self) -> None:
        found = holes(self.program, lambda f: self.task.call(f, self.first))
        self.hole_list = found
        once = [hole for hole in found if hole.visits == 1 and numeric(hole.value)]
        looped = [hole for hole in found if hole.visits > 1 or not numeric(hole.value)]
        responses = []
        for hole in once:
            response = self._response(hole)
            responses.append((hole, response))
            if response is not None and response.answers:
                self._linear(hole, response)
        self._refine()
        for limit in (1.25, 1.65, 9.0):
            for hole, response in responses:
                linear = response is not None and response.matrix is not None
                self._structural(hole, limit, None if linear else response)
            for hole in looped:
                self._structural(hole, limit, None)
            if limit < 1.5:
                self._statements()
            for hole, response in responses:
                if response is None or response.matrix is None:
                    self._nonlinear(hole, limit)
            for hole in looped:
                if numeric(hole.value):
                    self._looped(hole, limit)
            self._refine()

    def _refine(self) -> None:
        """Once something is found, no edit that is dearer by much is looked for."""
        if self.solved_at is not None:
            raise _Enough

    # -- one expression

    def _response(self, hole: Hole) -> Response | None:
        value = np.asarray(hole.value, float)
        node = with_call(self.program.units[hole.unit].node, {0: hole.node}, "nlicl_put")
        function = self.program.build(hole.unit, node)
        stand: list[Any] = [None]

        def put(number: int, given: Any, scope: dict[str, Any]) -> Any:
            return stand[0]

        def run(other: np.ndarray) -> np.ndarray | None:
            self.search.tick()
            stand[0] = np.array(other) if isinstance(hole.value, np.ndarray) else other[()]
            self.program.globals["nlicl_put"] = put
            root = self.program.having(hole.unit, function)
            try:
                parts = self.task.value(root, self.first)
            finally:
                self.program.restore(hole.unit)
                del self.program.globals["nlicl_put"]
            return None if parts is None else self._joined(parts)

        made = Response(run, value, self.vector, self.search.rng)
        made.run = run  # type: ignore[attr-defined]
        return made

    def _names(self, hole: Hole) -> dict[str, Any]:
        return {**self.data, **{k: v for k, v in hole.scope.items() if not k.startswith("nlicl_")}}

    def _linear(self, hole: Hole, response: Response) -> None:
        """All that may stand for an expression to which the result answers linearly."""
        names = self._names(hole)
        e = response.value
        with np.errstate(all="ignore"):
            atoms = arrays(names)
            made = [one for one in changes(e, atoms) if one.value.shape == e.shape and np.isfinite(one.value).all()]
            added = list(terms(e, atoms))
        self.search.tried += len(made) + len(added)
        made = _apart(made, e)
        own = list(self._evaluated(hole, names))
        if made or own:
            everything = [*((one.cost, one.text, one.value) for one in made), *own]
            values = np.array([np.ravel(value) for _, _, value in everything])
            results = response.results(values)
            fits = response.fitting(values, self.wanted, self.scale, self.known)
            steps = self._steps(results) if self.state.cost < 5 else np.zeros(len(everything), bool)
            for (cost, text, _), fit, step in zip(everything, fits, steps, strict=True):
                if fit or step:
                    self._try(hole, text, cost, fit)
        table, named = self._coefficients(hole, names, atoms)
        candidates = [Made(HERE, e, 1.0), *added]
        if not len(table):
            return
        values = np.array([np.ravel(np.broadcast_to(one.value, e.shape)) for one in candidates])
        factors = response.factors(values, self.wanted, self.scale, self.known)
        for n in np.flatnonzero(np.isfinite(factors)):
            factor = float(factors[n])
            one = candidates[n]
            if n == 0:
                self._scaled(hole, 1 + factor, table, named)
                continue
            for coefficient in _near(abs(factor), table, named):
                text = _term(one.text, coefficient, factor < 0)
                self._try(hole, text, one.cost + coefficient.cost, True)

    def _scaled(self, hole: Hole, factor: float, table: np.ndarray, named: list[Coefficient]) -> None:
        if abs(factor) < 1e-9:
            self._try(hole, f"0 * {HERE}", 2.5, True)
        for coefficient in _near(abs(factor), table, named):
            text = HERE
            if coefficient.above:
                text = f"{coefficient.above} * {text}"
            if coefficient.below:
                text = f"{text} / {coefficient.below}"
            self._try(hole, f"-{text}" if factor < 0 else text, 1.0 + coefficient.cost, True)

    def _coefficients(
        self, hole: Hole, names: dict[str, Any], atoms: list[Atom]
    ) -> tuple[np.ndarray, list[Coefficient]]:
        numbers = scalars(names, atoms)
        key = tuple(numbers)
        if key not in self.tables:
            made = sorted(coefficients(numbers), key=lambda one: one.value)
            self.tables[key] = (np.array([one.value for one in made]), made)
        return self.tables[key]

    def _evaluated(self, hole: Hole, names: dict[str, Any]) -> Iterator[tuple[float, ast.expr, np.ndarray]]:
        """Alternatives of the code that have the expression's shape, evaluated where it stands."""
        around = {**self.program.globals, **names}
        e = np.asarray(hole.value, float)
        seen: set[bytes] = {e.tobytes()}
        for cost, node in alternatives(hole, names):
            self.search.tick()
            value = _evaluate(node, around)
            if value is None or value.shape != e.shape or not np.isfinite(value).all():
                continue
            key = value.tobytes()
            if key not in seen:
                seen.add(key)
                yield cost, node, value

    def _steps(self, results: np.ndarray) -> np.ndarray:
        """Which of many results are nearer to what is wanted, in kind."""
        better = np.zeros(len(results), bool)
        worse = np.zeros(len(results), bool)
        start = 0
        for k, part in enumerate(self.base):
            span = slice(start, start + part.size)
            start += part.size
            known = self.known[span]
            scale = self.scale[span][0] if part.size else 1.0
            wanted = self.wanted[span]
            block = results[:, span]
            off = abs(block - wanted) / scale > 1e-8
            off[:, ~known] = False
            right = ~off.any(axis=1)
            if self.base_close[k] == 0:
                worse |= ~right
                continue
            better |= right
            if self.base_close[k] > 1 and part.size > 1:
                with np.errstate(all="ignore"):
                    norms = np.sqrt((block * block).sum(axis=1) * (wanted @ wanted))
                    better |= abs(block @ wanted) >= (1 - 1e-11) * norms
                    better &= norms > 0
            if self.base_close[k] > 2.5:
                before = (abs(self.vector[span] - wanted) / scale > 1e-8).sum()
                better |= off.sum(axis=1) <= 0.5 * before
        return better & ~worse

    def _structural(self, hole: Hole, limit: float, response: Response | None) -> None:
        """Alternatives of the code that have to be run: they change shapes, or stand where the result is not linear."""
        names = self._names(hole)
        lower = {1.25: 0.0, 1.65: 1.25, 9.0: 1.65}[limit]
        around = {**self.program.globals, **names}
        done = response is None and hole.visits == 1 and numeric(hole.value)
        e = np.asarray(hole.value, float) if numeric(hole.value) else None
        for cost, node in alternatives(hole, names):
            if not lower < cost <= limit:
                continue
            if hole.visits == 1 and e is not None:
                value = _evaluate(node, around)
                if value is None or (done and value.shape == e.shape) or np.array_equal(value, e):
                    continue
            self._attempt(hole, node, cost)

    def _nonlinear(self, hole: Hole, limit: float) -> None:
        lower = {1.25: 0.0, 1.65: 1.25, 9.0: 1.65}[limit]
        e = np.asarray(hole.value, float)
        response = self._response_of(hole)
        with np.errstate(all="ignore"):
            for made in changes(e, arrays(self._names(hole))):
                if not lower < made.cost <= limit or not np.isfinite(made.value).all() or np.array_equal(made.value, e):
                    continue
                result = response(made.value)
                if result is None:
                    continue
                if self._better(result):
                    self._try(hole, made.text, made.cost, True)

    def _response_of(self, hole: Hole) -> Callable[[np.ndarray], np.ndarray | None]:
        response = self._response(hole)
        return response.run  # type: ignore[union-attr,attr-defined,no-any-return]

    def _looped(self, hole: Hole, limit: float) -> None:
        lower = {1.25: 0.0, 1.65: 1.25, 9.0: 1.65}[limit]
        e = np.asarray(hole.value, float)
        names = self._names(hole)
        with np.errstate(all="ignore"):
            for made in changes(e, arrays(names)):
                if lower < made.cost <= limit and made.cost < 1.6:
                    self._try(hole, made.text, made.cost, True)
            for text, _, cost in scalars(names, arrays(names)):
                if lower < 1.2 + cost <= limit:
                    self._try(hole, f"{HERE} * {text}", 1.2 + cost, True)
                    self._try(hole, f"{HERE} / {text}", 1.2 + cost, True)
        if limit < 1.5:
            for text in (f"2 * {HERE}", f"{HERE} / 2"):
                self._try(hole, text, 1.1, True)

    def _better(self, vector: np.ndarray) -> bool:
        parts, start = [], 0
        for part in self.base:
            parts.append(vector[start : start + part.size].reshape(part.shape))
            start += part.size
        close = self.task.closeness(self.first, parts)
        return _nearer(close, self.base_close)

    # -- what is tried in full

    def _try(self, hole: Hole, code: str | ast.expr, cost: float, hopeful: bool) -> None:
        if cost > self.cheapest + _SLACK:
            return
        try:
            node = code if isinstance(code, ast.expr) else filled(code, hole.node, self.numpy)
        except (ValueError, SyntaxError):
            return
        self._attempt(hole, node, cost)

    def _attempt(self, hole: Hole, node: ast.expr, cost: float) -> None:
        """Run the program with one expression replaced."""
        if cost > self.cheapest + _SLACK:
            return
        unit = self.program.units[hole.unit].node
        self._judged(hole.unit, _replaced(unit, hole.node, node), hole.node, node, cost, hole.statement)

    def _judged(
        self, number: int, function: Function, old: ast.expr | ast.stmt, new: ast.AST | None, cost: float, where: Any
    ) -> None:
        self.search.tick()
        if self.solved_at is not None and time.monotonic() > self.solved_at + _REFINE:
            raise _Enough
        try:
            built = self.program.build(number, function)
        except (SyntaxError, ValueError, TypeError, KeyError, RecursionError):
            return
        root = self.program.having(number, built)
        try:
            value = self.task.value(root, self.first)
            if value is None:
                return
            close = self.task.closeness(self.first, value)
            if not _nearer(close, self.base_close):
                return
            right = self.task.rightness(root, self.first)
        finally:
            self.program.restore(number)
        if right is None:
            return
        if not (right >= self.base_right).all():
            return
        made = _left_out(self.program.text, old) if new is None else spelled(self.program.text, old, new)
        if made is None:
            return
        total = self.state.cost + cost + 0.004 * abs(len(made.after) - len(made.before))
        edits = (*self.state.edits, made)
        place = (number, getattr(where, "lineno", 0), len(self.state.edits))
        candidate = Candidate(edits, made.text, total, right, float(sum(close)), place)
        self.found.append(candidate)
        if candidate.solves:
            self.cheapest = min(self.cheapest, cost)
            if self.solved_at is None:
                self.solved_at = time.monotonic()

    def _statements(self) -> None:
        for number, unit in enumerate(self.program.units):
            for edit in statements(unit.node, self.numpy):
                function = _replaced(unit.node, edit.node, edit.replacement)
                self._judged(number, function, edit.node, edit.replacement, edit.cost, edit.node)


class _Enough(Exception):
    """Nothing better is to be expected of this level."""


def _nearer(close: list[float], before: list[float]) -> bool:
    """Whether some part is nearer to right, and none is further."""
    return all(a <= b + 1e-9 for a, b in zip(close, before, strict=True)) and any(
        a < b - 1e-9 for a, b in zip(close, before, strict=True)
    )


def _near(value: float, table: np.ndarray, named: list[Coefficient]) -> list[Coefficient]:
    """The numbers with a name that are this one, to seven digits."""
    low, high = np.searchsorted(table, [value * (1 - 1e-7), value * (1 + 1e-7)])
    return sorted(named[low:high], key=lambda one: one.cost)[:3]


def _term(text: str, coefficient: Coefficient, minus: bool) -> str:
    if text == "1":
        inner = coefficient.above or "1"
    else:
        inner = f"{coefficient.above} * {text}" if coefficient.above else text
    if coefficient.below:
        inner = f"{inner} / {coefficient.below}"
    return f"{HERE} {'-' if minus else '+'} {inner}"


def _apart(made: list[Made], e: np.ndarray) -> list[Made]:
    """Those of different values, none of them E's, the cheapest of each."""
    found: dict[bytes, Made] = {np.asarray(e, float).tobytes(): Made("", e, -1.0)}
    for one in made:
        key = np.asarray(one.value, float).tobytes()
        if key not in found or found[key].cost > one.cost:
            found[key] = one
    return [one for one in found.values() if one.cost >= 0]


def _evaluate(node: ast.expr, around: dict[str, Any]) -> np.ndarray | None:
    """An expression's value as an array; None if it has none."""
    tree = ast.Expression(ast.copy_location(node, node))
    try:
        with np.errstate(all="ignore"):
            code = compile(ast.fix_missing_locations(_bare(tree)), "<edit>", "eval")
            value = eval(code, dict(around))
    except BaseException:
        return None
    return np.asarray(value, float) if numeric(value) else None


def _bare(tree: ast.Expression) -> ast.Expression:
    return copy.deepcopy(tree)


def _replaced(function: Function, old: ast.AST, new: ast.AST | None) -> Function:
    """A copy of a function in which one node is another one."""
    def walk(node: ast.AST) -> ast.AST:
        if node is old:
            return ast.Pass() if new is None else copy.deepcopy(new)  # it keeps no place of its own
        made = copy.copy(node)
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                setattr(made, name, [walk(one) if isinstance(one, ast.AST) else one for one in value])
            elif isinstance(value, ast.AST):
                setattr(made, name, walk(value))
        return made

    return ast.fix_missing_locations(walk(function))  # type: ignore[return-value,type-var]


def _left_out(text: str, node: ast.expr | ast.stmt) -> Spelled | None:
    """The text without a statement that has its lines for itself."""
    lines = text.split("\n")
    first, last = node.lineno, node.end_lineno or node.lineno
    before = " ".join(" ".join(lines[first - 1 : last]).split())
    made = "\n".join([*lines[: first - 1], *lines[last:]])
    try:
        ast.parse(made)
    except SyntaxError:
        return None
    return Spelled(made, node.lineno, before, "")
