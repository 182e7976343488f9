"""The searches for mends of the gradient of any function."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..mend.child import LOADING, Slow, Tell, end_of, limit_calls, limited, searched
from ..mend.found import Mending
from ..mend.propose import propose, with_functions
from ..mend.task import Stopped, Task
from ..report.search import Progress
from .constants import Steady
from .fresh import LEAST, Fresh, far, other_sizes
from .function import Function
from .slopes import Differences, Witness, chosen, only, tried

if TYPE_CHECKING:
    from .remote import Files, Opened
    from .run import Audit

__all__ = ["files_search", "gradient_search"]

FAR = 2  # places far from x at which every entry is known to the search
MOST_ENTRIES = 300  # for that
_LAST = 0.5  # seconds that are left for mends' last trial
_SIZES = 3  # other sizes at which every entry is known to the search
_SHARE = 0.15  # of the time for that
_ROUNDING = 1e-9  # of the largest entry: an edit that is right may round otherwise


def gradient_search(
    audit: "Audit", points: list[list[np.ndarray]] | None, seconds: float
) -> Callable[[Progress | None], Mending]:
    """The search for a mend of a gradient that disagrees; `points` are the user's own places, checked."""

    def search(progress: Progress | None) -> Mending:
        function, end = audit.function, end_of(seconds)

        def work(tell: Tell) -> dict[str, Any]:
            return _Search(function, audit, points, end).run(tell)

        found = searched(work, seconds, progress)
        return with_functions(found, function.gradient_function, function.held_fixed)

    return search


def files_search(
    files: "Files",
    audit: "Audit",
    make: "Callable[[Callable[[str], None]], Opened]",
    timeout: float,
    seconds: float,
) -> Callable[[Progress | None], Mending]:
    """The same for functions in files. Their process has ended: the search loads them in its own."""

    def search(progress: Progress | None) -> Mending:
        def work(tell: Tell) -> dict[str, Any]:
            function, points = make(lambda text: None)
            return _Search(function, audit, points, end_of(seconds)).run(tell)

        return searched(work, seconds, progress, min(timeout, LOADING))

    return search


class _Search:
    """One search for a mend of a gradient: what is known at which places, and how a mend is tried on others."""

    def __init__(self, function: Function, audit: "Audit", points: list[list[np.ndarray]] | None, end: float) -> None:
        function.deadline = None
        self.function, self.audit, self.points, self.end = function, audit, points, end
        self.rng = np.random.default_rng(audit.seed + 1)
        self.both, self.stores = function.returns_both, False
        self.bases: list[Function] = []  # the reader's functions at each place: of its sizes
        self.leaves: list[list[np.ndarray]] = []
        self.calls: dict[tuple[int, int], Function] = {}
        names = [*function.names, *(["loss"] if self.both else [])]
        self.task = Task(self.call, [], [], [], names)
        self.witnesses: dict[int, list[Witness]] = {}
        self.sizes: list[Function] = []

    def run(self, tell: Tell) -> dict[str, Any]:
        """Search, and tell what is found."""
        self.add_audited()
        self.stores = not self.both and self.depends_on_loss()
        if not self.audit.projections and self.function.arrays[0].dtype == np.float64:
            self.add_others()
        self.task.refresh()
        limit_calls(self.task, self.function.gradient_function)
        if not self.both:
            self.task.call_loss = lambda loss, place: self.bases[place].returned(loss, self.leaves[place])
        left = self.end - time.monotonic()
        function = self.function
        other = Steady(function, self.rng, lambda: time.monotonic() > self.end - _LAST)
        steady = None if self.audit.projections else other.holds
        return propose(function.gradient_function, function.held_fixed, self.task, self.verify, left, tell, steady)

    def mended(self, base: Function, gradient: Callable[..., Any]) -> Function:
        """Functions with another gradient."""
        return base.with_loss(gradient) if self.both else base.with_gradient(gradient)

    def call(self, gradient: Callable[..., Any], place: int) -> list[np.ndarray]:
        """The parts that a gradient gives at a place."""
        base, x = self.bases[place], self.leaves[place]
        key = (id(gradient), id(base))
        other = self.calls.get(key)
        if other is None:
            if len(self.calls) > 8:
                self.calls.clear()
            other = self.calls[key] = self.mended(base, gradient)
        if self.both:
            value, parts = other.both(x)
        else:
            parts = other.gradient(x, loss_first=self.stores)
        projections = self.audit.projections
        parts = [projections[k](x[k], part) if k in projections else part for k, part in enumerate(parts)]
        wide = [np.asarray(part, float) for part in parts]
        return [*wide, np.asarray(value, float)] if self.both else wide

    def add(
        self,
        base: Function,
        x: list[np.ndarray],
        given: list[np.ndarray],
        expected: list[np.ndarray],
        allowed: list[np.ndarray],
    ) -> None:
        """A place where it is known what belongs there."""
        given = [np.asarray(array, float) for array in given]
        if self.both:  # the loss is to stay as it is
            value = np.asarray(float(base.real(x)))
            given, expected = [*given, value], [*expected, value]
            allowed = [*allowed, 1e-12 * abs(value)]
        self.bases.append(base)
        self.leaves.append(x)
        self.task.given.append(given)
        self.task.expected.append(expected)
        self.task.allowed.append(allowed)

    def add_audited(self) -> None:
        """The places of the audit that are like x."""
        audit, summary = self.audit, self.audit.summary
        wrong = [summary.is_wrong(k) for k in range(len(self.function.names))]
        for number, (x, given) in enumerate(audit.places):
            if audit.lacks[number] or any(len(sights) <= number for sights in summary.sights):
                continue
            sights = [sights[number] for sights in summary.sights]
            parts = [np.asarray(array, float) for array in given]
            expected, allowed = [], []
            for sight, mine, bad in zip(sights, parts, wrong, strict=True):
                wanted = sight.expected.copy() if bad else mine.copy()
                for index in sight.kinks:
                    wanted[index] = np.nan
                off = np.where(np.isnan(sight.allowed), 0.0, sight.allowed) if bad else np.zeros(mine.shape)
                expected.append(wanted)
                allowed.append(off + _ROUNDING * _largest(wanted))
            shown = [sight.given for sight in sights] if audit.projections else parts
            self.add(self.function, x, shown, expected, allowed)

    def depends_on_loss(self) -> bool:
        """Whether the gradient needs the loss to be called before it."""
        last = self.leaves[-1]
        self.function.real(self.leaves[0])
        try:
            alone = self.function.gradient(last, loss_first=False)
            after = self.function.gradient(last)
        except Exception:
            return True
        return not all(np.array_equal(one, other, equal_nan=True) for one, other in zip(alone, after, strict=True))

    def add_others(self) -> None:
        """Places far from x, and of other sizes."""
        room = time.monotonic() + _SHARE * (self.end - time.monotonic())
        for number, base in enumerate(other_sizes(self.function, self.function.arrays, self.rng)):
            known = len(self.leaves)
            if number < _SIZES and self.add_known(base, [*base.arrays], room) and not self.takes_size(known):
                for places in (self.bases, self.leaves, self.task.given, self.task.expected, self.task.allowed):
                    del places[known:]
                continue
            self.sizes.append(base)
        added = 0
        for _ in range(8):
            added += self.add_known(self.function, far(self.function.arrays, self.rng), room)
            if added == FAR:
                break

    def takes_size(self, place: int) -> bool:
        """Whether the loss looks at all that a place of another size has, and what is right at x is right there.

        A loss that runs to a length of its data takes longer arrays, and leaves out what is new.
        """
        summary = self.audit.summary
        for k, wanted in enumerate(self.task.expected[place][: len(self.function.names)]):
            given, allowed = self.task.given[place][k], self.task.allowed[place][k]
            known = ~np.isnan(wanted)
            if not summary.is_wrong(k) and not (abs(given - wanted) <= allowed)[known].all():
                return False
            before = self.function.arrays[k].shape
            for axis, (size, old) in enumerate(zip(wanted.shape, before, strict=True)):
                if size > old and wanted.any() and not np.take(wanted, size - 1, axis).any():
                    return False
        return True

    def add_known(self, base: Function, place: list[np.ndarray], room: float, fit: float = 1e-8) -> bool:
        """A place with every entry of the gradient, where an exact witness gives it by a time.

        What is right fits to a share `fit` of the largest entry.
        """
        if sum(array.size for array in place) > MOST_ENTRIES or time.monotonic() > room:
            return False
        given, value = base.gradient_or_none(place), base.real(place)
        if given is None or not np.isfinite(value) or not all(np.isfinite(array).all() for array in given):
            return False
        witnesses = self.witnesses_of(base)
        if not witnesses:
            return False
        expected = []
        for k, array in enumerate(place):
            wanted = np.full(array.shape, np.nan)
            for index in np.ndindex(array.shape):
                step = np.zeros(array.shape)
                step[index] = 1.0
                slope, _ = tried(witnesses[k], place, only(place, k, step))
                if slope is not None and not slope.has_kink(abs(slope.middle)):
                    wanted[index] = slope.middle
                if time.monotonic() > room:
                    return False
            expected.append(wanted)
        rounding = 1e-13 * abs(value)
        allowed = [fit * _largest(array) + rounding + np.zeros(array.shape) for array in expected]
        self.add(base, place, given, expected, allowed)
        return True

    def witnesses_of(self, base: Function) -> list[Witness]:
        """Exact witnesses; none if there are no such."""
        if id(base) not in self.witnesses:
            differences = Differences(base, "", 0.0, float(np.finfo(float).eps))
            try:
                found = chosen(base, [base.arrays], differences, self.rng)
            except Exception:
                found = []
            self.witnesses[id(base)] = found if all(witness.exact for witness in found) else []
        return self.witnesses[id(base)]

    def verify(self, gradient: Callable[..., Any], until: float) -> str:
        """Where a mended gradient agrees: on fresh points, and by an audit of its own; empty if it does not."""
        from .run import Audit

        def late() -> bool:
            return time.monotonic() > until - 0.05

        if late():
            raise Stopped
        audit = self.audit
        fresh = Fresh(self.function, self.rng, audit.projections)
        try:
            with limited(max(until - time.monotonic(), 0.01)):
                found = fresh.tried(lambda base: self.mended(base, gradient), self.sizes, late)
                if found is None:
                    self.learn(fresh.failed)
                    return ""
                if found[0] < LEAST:
                    if late():
                        raise Stopped
                    return ""
                judge = Audit(self.mended(self.function, gradient), audit.tolerance, audit.entries, audit.seed, None)
                judge.projections = audit.projections
                report = judge.run(self.points)
                if report.verdict != "agree":
                    return ""
        except Slow:
            raise Stopped from None
        except Exception:
            return ""
        count, sized = found
        more = f", {sized} of them of other sizes" if sized else ""
        where = "at x" if len(report.points) == 1 else f"at all {len(report.points)} points"
        return f"{where}, and at {count + sized} fresh ones{more}"

    def learn(self, failed: tuple[Function, list[np.ndarray], float] | None) -> None:
        """A place at which an edit failed that did the task: from now on it is part of the task."""
        if failed is not None and self.add_known(*failed[:2], self.end, failed[2]):
            self.task.refresh()


def _largest(array: np.ndarray) -> float:
    return float(np.max(abs(array), initial=0.0, where=~np.isnan(array)))
