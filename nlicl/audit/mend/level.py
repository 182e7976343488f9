"""One more edit of one program: all that is tried, in which order."""

import ast
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .alternatives import alternatives
from .gates import gated
from .ground import Candidate, Enough, Ground, Seed, nearer
from .pairs import Pairs
from .program import Program
from .reading import holds, same_names, siblings
from .spelling import inserted, left_out, spelled
from .spots import Option, Spot, replaced
from .statements import statements
from .watch import Hole, holes
from .wording import additions, scalings

if TYPE_CHECKING:
    from .search import Search

__all__ = ["Level"]

_SLACK = 0.6  # edits that cost so much more than the cheapest are no longer of interest
_USUAL = 1.15  # cost of an edit that everybody's slips explain: nothing better is to be expected
_BANDS = (1.25, 1.65, 9.0)  # of costs, one after the other
_STEPS = 12  # edits that bring progress of one kind and do not mend all: more of them lead no further
_PARTIAL = 30  # terms that mend one part of several


class Level(Ground):
    """All that is tried as one more edit of a program; see `Ground`."""

    def __init__(self, search: "Search", state: Candidate, program: Program) -> None:
        super().__init__(search, state, program)
        self.pairs = Pairs(self.vector, self.wanted, self.scale, self.known)
        self._partial: dict[int, int] = {}
        self._steps_seen: dict[int, int] = {}

    def run(self, quick: bool = False) -> None:
        """Try everything; `quick` leaves out what costs much or is odd."""
        found = holes(self.program, lambda f: self.task.call(f, self.first))
        loss = self.search.forward(self.first)
        spots: list[Spot] = []
        rest = [hole for hole in found if not hole.whole]
        others = siblings(found)

        def looked_at(groups: list[list[Hole]]) -> None:
            for group in groups:
                spot = Spot(self.program, group, self.data, loss, self.result, self.vector, self.search.rng)
                spot.siblings = [one for hole, one in others if not any(holds(hole.node, h.node) for h in group)]
                spots.append(spot)
                if spot.linear and spot.response.answers:
                    self._linear(spot)

        looked_at([[hole] for hole in found if hole.whole])
        self._refine(_USUAL)
        if not quick and _gated_places(self):
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
                        self.try_([spot.hole], code, cost)
            for hole in rest:
                self._rest(hole, below, limit)
            if below == 0.0:
                self._statements()
            self._refine()
            if below == 0.0:
                looked_at(same_names(found))
                self._refine()
            below = limit
        self._pair_up(spots)

    def _refine(self, cheap: float = np.inf) -> None:
        """End the level if it is solved by an edit so cheap."""
        if self.cheapest <= cheap and self.solved_at is not None:
            raise Enough

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
                        self.try_(spot.holes, code, cost)
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
                    self.try_(spot.holes, code, cost)
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
                    self.try_(spot.holes, code, cost + more)
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
            chosen = np.asarray(np.round(solution))
            if not ((chosen == 0) | (chosen == 1)).all() or not 0 < chosen.sum() < len(blocks):
                continue
            if abs(shares @ chosen - missing).max() <= 1e-7 * size:
                group = [hole for hole, here in zip(spot.holes, chosen.tolist(), strict=True) if here]
                for cost, code in option.codes[:2]:
                    self.try_(group, code, cost)

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
            if nearer(self.task.closeness(self.first, self.parts(result)), self.base_close):
                for cost, code in option.codes:
                    self.try_(spot.holes, code, cost)
            made.append(option)
            results.append(result)
        if results:
            self.pairs.add(spot, made, np.array(results))

    def _rest(self, hole: Hole, below: float, limit: float) -> None:
        """An expression that gives no number, or is visited very often: alternatives of the code alone, each run."""
        for cost, node in alternatives(hole, {**self.data, **hole.scope}):
            if below < cost <= limit:
                self.try_([hole], node, cost)

    def _gates(self, found: list[Hole]) -> None:
        """A condition under which all is zero, where it is zero that is expected."""
        wanted = [self.task.all_zero(place) for place in self.task.places]
        for hole, code, cost in gated(self.program, self.task, wanted, found, self.data):
            self.try_([hole], code, cost)

    def _statements(self) -> None:
        for number, unit in enumerate(self.program.units):
            for edit in statements(unit.node, self.numpy):
                if edit.cost > self.cheapest + _SLACK:
                    continue
                if edit.after is not None:
                    both = ast.If(ast.Constant(True), [edit.node, edit.after], [])
                    made = partial(inserted, self.program.text, edit.node, edit.after)
                    self.judge(number, replaced(unit.node, edit.node, both), made, edit.cost, edit.node.lineno)
                    continue
                made = partial(left_out, self.program.text, edit.node)
                if edit.replacement is not None:
                    made = partial(spelled, self.program.text, self.program.tree, [(edit.node, edit.replacement)])
                function = replaced(unit.node, edit.node, edit.replacement)
                self.judge(number, function, made, edit.cost, edit.node.lineno)

    def _pair_up(self, spots: list[Spot]) -> None:
        """Edits after which a factor, somewhere, would do the rest; and those that bring the result's direction nearer."""
        for spot in spots:
            if spot.linear and spot.response.answers:
                self.pairs.add_direction(spot, *self.coefficients(spot.hole))
        self.seeds += [Seed(rank, cost, spot, code) for rank, cost, spot, code in self.pairs.promising()]


def _gated_places(level: Level) -> bool:
    """Whether the gradient is zero wherever it is wrong, or some places are so: a condition may be missing."""
    zero = [p for p in level.task.places if level.task.all_zero(p)]
    return any(not level.base_right[p].all() for p in zero)
