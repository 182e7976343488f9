"""The search: edits of the reader's text, one at a time, and after each that makes something better, another one.

Every part (an argument's gradient) and every place is judged by itself: an edit that makes one of them right, and none wrong,
is a step, and so is one that leaves a simpler difference. Where no edit is a step by itself, those are first after which one
factor, or one other edit, would do the rest, and then those that turn the result towards the truth.
"""

import contextlib
import heapq
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count, islice, product

import numpy as np

from .forward import Forward, forward
from .ground import Candidate, Enough
from .level import Level
from .program import Program, Unread
from .spelling import put_together
from .task import Stopped, Task

__all__ = ["Search"]

MOST_EDITS = 3
_STEPS = 5  # of a level that are followed
_STEP, _WEAK = (
    1.0,
    2.4,
)  # ranks of a step that makes something right or leaves a factor, of any other; seeds: 1.9 and more
_PAIRS = 1.98  # of all pairs of usual slips
_PARTS = 6  # steps of one part that are put together with those of others


_Job = tuple[tuple[float, ...], int, Callable[[], Candidate | None], bool]  # rank, order, what makes the state, quick


class Search:
    """All edits of a program that do a task.

    Parameters
    ----------
    program : Program
    task : Task
    deadline : float
        time.monotonic().
    told : callable
        told(n), now and then: how many edits were tried.
    steady : callable
        steady(text) -> whether a mend holds with other data, too. The search goes on until it has one that does.
    """

    def __init__(
        self,
        program: Program,
        task: Task,
        deadline: float,
        told: Callable[[int], None] = lambda n: None,
        steady: Callable[[str], bool] = lambda text: True,
    ) -> None:
        self.task, self.deadline, self.tried, self.told = task, deadline, 0, told
        self.start, self.steady = program, steady
        self.rng = np.random.default_rng(0)
        self.found: list[Candidate] = []
        self._order = count()
        self._ticks = 0
        self._forward: dict[int, Forward | None] = {}

    def run(self) -> list[Candidate]:
        """The solutions, the cheapest first."""
        with contextlib.suppress(Stopped):
            self._run()
        solutions = [one for one in self.found if one.solves]
        return sorted(solutions, key=lambda one: (len(one.edits), one.cost))

    def forward(self, place: int) -> Forward | None:
        """The loss at a place, whose expressions a gradient may have left out."""
        if place not in self._forward:
            self._forward[place] = forward(self.start, self.task, place)
        return self._forward[place]

    def _run(self) -> None:
        """The best first: steps before seeds, fewer edits before more."""
        empty = Candidate((), self.start.text, 0.0, self.task.right, np.inf)
        queue: list[_Job] = []
        self._put(queue, (0.0,), partial(_itself, empty), False)
        seen: set[str] = set()
        while queue:
            _, _, make, quick = heapq.heappop(queue)
            self.tick()
            state = make()
            if any(one.solves for one in self.found):
                return
            if state is None or len(state.edits) >= MOST_EDITS or state.text in seen:
                continue
            seen.add(state.text)
            try:
                program = self.start.edited(state.text) if state.edits else self.start
                level = Level(self, state, program)
            except Unread:
                continue
            try:
                level.run(quick)
            except Enough:
                pass
            finally:
                self.found += [one for one in level.found if one.solves]
            if any(one.solves for one in level.found):
                return
            steps = _best([one for one in level.found if one.text not in seen])
            if not state.edits:
                self._put(queue, (_PAIRS,), partial(self._two_slips, level), False)
            self._together(state, [one for one in level.found if not one.solves])
            if any(one.solves for one in self.found):
                return
            for one in steps:
                gained = float(one.right.sum() - state.right.sum())
                step = gained > 0 or one.closeness <= self.task.parts
                gained /= max(float((~state.right).sum()), 1.0)
                hope = one.closeness + one.cost - state.cost - 2 * gained
                rank: tuple[float, ...] = ((_STEP if step else _WEAK) + 0.5 * len(state.edits), hope)
                self._put(queue, rank, partial(_itself, one), False)
            for seed in level.seeds:
                rank = (1.0 + seed.rank[0] + 0.5 * len(state.edits), *seed.rank[1:])
                self._put(queue, rank, partial(level.seeded, seed), seed.rank[0] >= 2)

    def _two_slips(self, level: Level) -> None:
        """Two usual slips at once."""
        try:
            level.two_slips()
        except Enough:
            pass
        finally:
            self.found += [one for one in level.found if one.solves]

    def _put(
        self, queue: list[_Job], rank: tuple[float, ...], make: Callable[[], Candidate | None], quick: bool
    ) -> None:
        heapq.heappush(queue, (rank, next(self._order), make, quick))

    def _together(self, state: Candidate, steps: list[Candidate]) -> None:
        """Single edits that each make another part right everywhere, put together in one text."""
        task = self.task
        needed = [int(k) for k in np.flatnonzero(~state.right.all(axis=0))]
        whole: dict[int, list[Candidate]] = {}
        for one in sorted(steps, key=lambda one: one.cost):
            for k in needed:
                if one.right[:, k].all():
                    whole.setdefault(k, []).append(one)
        if len(whole) < max(len(needed), 2):
            return
        for chosen in islice(_choices([whole[k][:_PARTS] for k in sorted(whole)]), 60):
            self.tick()
            if not len(chosen) >= 2 or len(state.edits) + len(chosen) > MOST_EDITS:
                continue
            pieces = [piece for one in chosen for piece in one.edits[-1]]
            text = put_together(state.text, pieces)
            if text is None:
                continue
            try:
                right = task.rightness(self.start.edited(text).root)
            except Unread:
                continue
            if right is not None and right.all():
                edits = (*state.edits, *(one.edits[-1] for one in chosen))
                where = (*state.where, *(one.where[-1] for one in chosen))
                cost = state.cost + sum(one.cost - state.cost for one in chosen)
                self.found.append(Candidate(edits, text, cost, right, 0.0, where))

    def look(self) -> None:
        """Stop where the budget is over."""
        self.told(self.tried)
        if time.monotonic() > self.deadline:
            raise Stopped

    def tick(self) -> None:
        """Count one edit; stop where the budget is over."""
        self.tried += 1
        self._ticks += 1
        if self._ticks % 16 == 0:
            self.look()


def _itself(one: Candidate) -> Candidate:
    return one


def _choices(lists: list[list[Candidate]]) -> Iterable[list[Candidate]]:
    """One of each list, each at most once, the cheapest together first."""
    every = sorted(product(*lists), key=lambda chosen: sum({id(one): one.cost for one in chosen}.values()))
    for chosen in every:
        unique: list[Candidate] = []
        for one in chosen:
            if all(one is not other for other in unique):
                unique.append(one)
        yield unique


def _best(steps: list[Candidate]) -> list[Candidate]:
    """The most hopeful steps, at most two of the same statements."""
    order = sorted(steps, key=lambda one: one.closeness + one.cost - 2 * one.right.mean())
    kept: list[Candidate] = []
    for one in order:
        if sum(one.where == other.where for other in kept) < 2:
            kept.append(one)
        if len(kept) == _STEPS:
            break
    return kept
