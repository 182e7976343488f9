"""One more edit of one program: all that is tried, in which order."""

import ast
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .alternatives import alternatives
from .atoms import Atom
from .gates import gated
from .ground import SLACK, Candidate, Enough, Ground, Seed, nearer
from .pairs import Pairs
from .program import Program
from .reading import holds, same_names, siblings
from .spelling import inserted, left_out, spelled
from .spots import Code, Option, Spot, replaced
from .statements import statements
from .watch import Hole, holes
from .wording import additions, scalings

if TYPE_CHECKING:
    from .search import Search

__all__ = ["Level"]

_USUAL = 1.15  # cost of an edit that everybody's slips explain: nothing better is to be expected
_SLIP, _SLIPS = 1.0, 56  # cost of slips that are tried in pairs, and how many of them
_QUICKLY = 0.012  # seconds for a response: where it takes longer, the expression's slips are run one by one first
_CHEAP = 1.5  # of one after which no dearer kind is tried
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
        self._parts_of_code: list[tuple[Hole, Atom]] = []
        self._spots: list[Spot] = []

    def run(self, quick: bool = False) -> None:
        """Try everything, the usual slips first; `quick` leaves out what costs much or is odd."""
        found = holes(self.program, lambda f: self.task.call(f, self.first))
        whole = [hole for hole in found if hole.whole]
        self._parts_of_code = siblings(found)
        spots = self._spots = [self._spot([hole]) for hole in whole]
        rest = [hole for hole in found if not hole.whole]
        self._statements()
        self._refine(_USUAL)
        each = self._time_of_a_run()
        quickly = [spot for spot in spots if spot.value.size * each <= _QUICKLY]  # the response takes so long
        slowly = [spot for spot in spots if spot.value.size * each > _QUICKLY]
        for spot in quickly:
            if spot.linear and spot.response.answers:
                self._fitting(spot, spot.slips())
        self._refine(_USUAL)
        slips = [(spot, spot.slips()) for spot in spots if spot in slowly or not spot.linear]
        self._others(spots, rest, 0.0, _BANDS[0])
        for spot, options in slips:
            self._run_each(spot, options, 0.0, _BANDS[0])
        self._refine(_USUAL)
        linear = [spot for spot in spots if spot.linear and spot.response.answers]
        nonlinear = [spot for spot in spots if not spot.linear]
        for spot in linear:
            self._scaled(spot)
        for spot in linear:
            self._fitting(spot, spot.templates())
        self._refine(_CHEAP)
        if not quick and _gated_places(self):
            self._gates(found)
            self._refine(_CHEAP)
        for group in same_names(found):
            spot = self._spot(group)
            if not spot.linear:
                nonlinear.append(spot)
                slips.append((spot, spot.slips()))
                self._run_each(spot, slips[-1][1], 0.0, _BANDS[0])
            elif spot.response.answers:
                self._in_some_places(spot)
        self._refine(_CHEAP)
        templates = [(spot, spot.templates()) for spot in nonlinear]
        for spot, options in templates:
            self._run_each(spot, options, 0.0, _BANDS[0])
        self._refine(_CHEAP)
        for spot in linear:
            self._terms(spot)
        self._refine()
        for below, limit in zip(_BANDS, _BANDS[1:] if not quick else (), strict=False):
            for spot, options in (*slips, *templates):
                self._run_each(spot, options, below, limit)
            self._others(spots, rest, below, limit)
            self._refine()
        self._pair_up(linear)

    def _time_of_a_run(self) -> float:
        """Seconds that the program takes at the first place."""
        began = time.perf_counter()
        self.result(self.program.root)
        return time.perf_counter() - began

    def two_slips(self) -> None:
        """Two usual slips at once, of which neither shows by itself: every pair is run."""
        slips: list[tuple[float, Hole, Code]] = []
        for spot in self._spots:
            usual = [option.codes[0] for option in spot.slips() if option.cost <= _SLIP]
            usual += [(cost, code) for cost, code in spot.others if cost <= _SLIP and not isinstance(code, str)]
            slips += [(cost, spot.hole, code) for cost, code in usual]
        slips = sorted(slips, key=lambda one: one[0])[:_SLIPS]
        for n, (cost, hole, code) in enumerate(slips):
            first = self.trees([hole], code)
            if first is None:
                continue
            function = replaced(self.program.units[hole.unit].node, *first[0])
            for other_cost, other, other_code in slips[n + 1 :]:
                apart = (
                    hole.unit == other.unit and not holds(hole.node, other.node) and not holds(other.node, hole.node)
                )
                second = self.trees([other], other_code) if apart else None
                if second is None:
                    continue
                spell = partial(spelled, self.program.text, self.program.tree, [*first, *second])
                line = getattr(other.statement, "lineno", other.node.lineno)
                self.judge(hole.unit, replaced(function, *second[0]), spell, cost + other_cost, line, whole_only=True)

    def _spot(self, group: list[Hole]) -> Spot:
        loss = self.search.forward(self.first)
        spot = Spot(self.program, group, self.data, loss, self.result, self.vector, self.search.rng)
        outer = [one for hole, one in self._parts_of_code if not any(holds(hole.node, h.node) for h in group)]
        spot.siblings = outer
        return spot

    def _refine(self, cheap: float = np.inf) -> None:
        """End the level if it is solved by an edit so cheap."""
        if self.cheapest <= cheap and self.solved_at is not None:
            raise Enough

    def _fitting(self, spot: Spot, options: list[Option]) -> None:
        """Of what may stand for an expression to which the result answers linearly, what mends it or brings it nearer."""
        self.search.tried += sum(len(option.codes) for option in options)
        if not options:
            return
        results = spot.response.results(np.array([option.value for option in options]))
        off = abs(results - self.wanted)[:, self.known] / self.scale[self.known]
        fits = off.max(axis=1, initial=0.0) <= 1e-7
        steps = self._steps(results)
        for n in np.argsort([option.cost for option in options], kind="stable"):
            self._steps_seen[int(steps[n])] = seen = self._steps_seen.get(int(steps[n]), 0) + bool(steps[n])
            if fits[n] or (steps[n] and seen <= _STEPS):
                for cost, code in options[n].codes[: None if fits[n] else 2]:
                    self.try_(spot.holes, code, cost)
        self.pairs.add(spot, options, results)
        self.search.look()

    def _in_some_places(self, spot: Spot) -> None:
        """A name that is another one, in all its places or in some."""
        options = [*spot.slips(), *spot.templates()]
        if options:
            self._fitting(spot, options)
            self._some_places(spot, options, np.array([option.value for option in options]))

    def _scaled(self, spot: Spot) -> None:
        """A factor at an expression."""
        table, named = self.coefficients(spot.hole)
        for among in self._targets():
            factor = spot.response.factors(spot.value[None], self.wanted, self.scale, among)[0]
            if np.isfinite(factor):
                for code, cost in scalings(1 + factor, table, named):
                    self.try_(spot.holes, code, cost)

    def _terms(self, spot: Spot) -> None:
        """A term that is added to an expression, with a factor."""
        terms = spot.terms()
        self.search.tried += len(terms)
        if not terms:
            return
        response, (table, named) = spot.response, self.coefficients(spot.hole)
        added = np.array([value for _, _, value in terms])
        for number, among in enumerate(self._targets()):
            if np.isfinite(response.factors(spot.value[None], self.wanted, self.scale, among)[0]):
                continue  # a factor alone does it: a term would be a longer way to say so
            factors = response.factors(added, self.wanted, self.scale, among)
            for n in np.flatnonzero(np.isfinite(factors)):
                cost, text, _ = terms[n]
                self._partial[number] = self._partial.get(number, 0) + 1
                if number and self._partial[number] > _PARTIAL:
                    break
                for code, more in additions(str(text), float(factors[n]), table, named):
                    self.try_(spot.holes, code, cost + more)
        self.pairs.add_terms(spot, [(cost, str(text)) for cost, text, _ in terms], added)
        self.search.look()

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

    def _run_each(self, spot: Spot, options: list[Option], below: float, limit: float) -> None:
        """What may stand for an expression to which the result answers in another way: each is run."""
        made: list[Option] = []
        results: list[np.ndarray] = []
        for option in options:
            if not below < option.cost <= min(limit, self.cheapest + SLACK):
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

    def _others(self, spots: list[Spot], rest: list[Hole], below: float, limit: float) -> None:
        """What changes shapes, or stands where no number is: each is run."""
        for spot in spots:
            for cost, code in spot.others:
                if below < cost <= min(limit, self.cheapest + SLACK):
                    self.try_([spot.hole], code, cost)
        for hole in rest:
            self._rest(hole, below, limit)

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
                if edit.cost > self.cheapest + SLACK:
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

    def _pair_up(self, linear: list[Spot]) -> None:
        """Edits after which a factor, somewhere, would do the rest; and those that bring the result's direction nearer."""
        for spot in linear:
            self.pairs.add_direction(spot, *self.coefficients(spot.hole))
        self.seeds += [Seed(rank, cost, spot, code) for rank, cost, spot, code in self.pairs.promising()]


def _gated_places(level: Level) -> bool:
    """Whether the gradient is zero wherever it is wrong, or some places are so: a condition may be missing."""
    zero = [p for p in level.task.places if level.task.all_zero(p)]
    return any(not level.base_right[p].all() for p in zero)
