"""The searches for mends of the gradient of any function."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..mend.child import Slow, Tell, limited, searched
from ..mend.found import Mending
from ..mend.program import Program, Unread
from ..mend.propose import propose
from ..mend.task import Stopped, Task
from ..report.search import Progress
from .fresh import LEAST, Fresh, far
from .function import Function, OutOfTime
from .slopes import Differences, chosen, only, tried

if TYPE_CHECKING:
    from .remote import Files, Opened
    from .run import Audit

__all__ = ["files_search", "gradient_search"]

FAR = 2  # places far from x at which every entry is known to the search
MOST_ENTRIES = 300  # for that
_ROUNDING = 1e-9  # of the largest entry: an edit that is right may round otherwise


def gradient_search(
    audit: "Audit", points: list[list[np.ndarray]] | None, seconds: float
) -> Callable[[Progress | None], Mending]:
    """The search for a mend of a gradient that disagrees; `points` are the user's own places, checked."""

    def search(progress: Progress | None) -> Mending:
        function = audit.function

        def work(tell: Tell) -> dict[str, Any]:
            return _work(function, audit, points, seconds, tell)

        return _with_functions(searched(work, seconds, progress), function)

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
            return _work(function, audit, points, seconds, tell)

        return searched(work, seconds + min(timeout, 10.0), progress)

    return search


def _with_functions(mending: Mending, function: Function) -> Mending:
    """The same, each repair with the function that it gives."""
    from dataclasses import replace

    if not mending.repairs:
        return mending
    try:
        program = Program(function.gradient_function, function.held_fixed)
    except Unread:
        return mending
    repairs = []
    for repair in mending.repairs:
        try:
            repairs.append(replace(repair, function=program.edited(repair.text).root))
        except Unread:
            repairs.append(repair)
    return replace(mending, repairs=tuple(repairs))


def _work(
    function: Function, audit: "Audit", points: list[list[np.ndarray]] | None, seconds: float, tell: Tell
) -> dict[str, Any]:
    """The search itself, in the child."""
    from .run import Audit

    end = time.monotonic() + seconds
    function.deadline = None
    rng = np.random.default_rng(audit.seed + 1)
    both = function.returns_both
    calls: dict[int, Function] = {}

    def with_gradient(base: Function, mended: Callable[..., Any]) -> Function:
        return base.with_loss(mended) if both else base.with_gradient(mended)

    task = _task(function, audit, rng, end)
    places = task.leaves

    def call(mended: Callable[..., Any], place: int) -> list[np.ndarray]:
        other = calls.get(id(mended))
        if other is None:
            calls.clear()
            other = calls[id(mended)] = with_gradient(function, mended)
        x = places[place]
        if both:
            value, parts = other.both(x)
        else:
            parts = other.gradient(x, loss_first=task.stores)
        parts = [
            audit.projections[k](x[k], part) if k in audit.projections else part for k, part in enumerate(parts)
        ]
        parts = [np.asarray(part, float) for part in parts]
        return [*parts, np.asarray(value, float)] if both else parts

    made = Task(call, task.expected, task.allowed, task.given, task.names)
    began = time.monotonic()
    made.value(function.gradient_function, 0)
    once = time.monotonic() - began
    made.limited = lambda: limited(0.05 + 20 * once)
    if not both:
        made.call_loss = lambda loss, place: function.returned(loss, places[place])

    def verify(mended: Callable[..., Any], until: float) -> str:
        if time.monotonic() > until:
            raise Stopped
        try:
            with limited(max(until - time.monotonic(), 0.01)):
                judge = Audit(with_gradient(function, mended), audit.tolerance, audit.entries, audit.seed, None)
                judge.projections = audit.projections
                report = judge.run(points)
                if report.verdict != "agree":
                    return ""
                fresh = Fresh(function, rng, audit.projections)
                found = fresh.tried(lambda base: with_gradient(base, mended), lambda: time.monotonic() > until - 0.1)
        except Slow:
            raise Stopped from None
        except (OutOfTime, Exception):
            return ""
        if found is None or found[0] < LEAST:
            return ""
        count, sized = found
        more = f", {sized} of them of other sizes" if sized else ""
        where = "at x" if len(report.points) == 1 else f"at all {len(report.points)} points"
        return f"{where}, and at {count + sized} fresh ones{more}"

    return propose(function.gradient_function, function.held_fixed, made, verify, end - time.monotonic(), tell)


class _Known:
    """What the audit and the witnesses know, place by place."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.leaves: list[list[np.ndarray]] = []
        self.expected: list[list[np.ndarray]] = []
        self.allowed: list[list[np.ndarray]] = []
        self.given: list[list[np.ndarray]] = []
        self.stores = False

    def add(self, x: list[np.ndarray], given: list[np.ndarray], expected: list[np.ndarray], allowed: list[np.ndarray]) -> None:
        self.leaves.append(x)
        self.given.append([np.asarray(array, float) for array in given])
        self.expected.append(expected)
        self.allowed.append(allowed)


def _task(function: Function, audit: "Audit", rng: np.random.Generator, end: float) -> _Known:
    """The places of the audit that are like x, and some far from it."""
    summary, known = audit.summary, _Known([*function.names, *(["loss"] if function.returns_both else [])])
    wrong = [summary.is_wrong(k) for k in range(len(function.names))]
    for number, (x, given) in enumerate(audit.places):
        if audit.lacks[number] or any(len(sights) <= number for sights in summary.sights):
            continue
        sights = [sights[number] for sights in summary.sights]
        parts = [np.asarray(array, float) for array in given]
        expected, allowed = [], []
        for sight, mine, bad in zip(sights, parts, wrong, strict=True):
            mine = sight.given if bad else mine
            wanted = sight.expected.copy() if bad else mine.copy()
            for index in sight.kinks:
                wanted[index] = np.nan
            off = np.where(np.isnan(sight.allowed), 0.0, sight.allowed) if bad else np.zeros(mine.shape)
            expected.append(wanted)
            allowed.append(off + _ROUNDING * _largest(wanted))
        known.add(x, [sight.given for sight in sights] if audit.projections else given, expected, allowed)
    known.stores = _depends_on_loss(function, known)
    if not audit.projections and sum(array.size for array in function.arrays) <= MOST_ENTRIES:
        _add_far(function, known, rng, end)
    if function.returns_both:
        for x, given, expected, allowed in zip(known.leaves, known.given, known.expected, known.allowed, strict=True):
            value = np.asarray(float(function.real(x)))
            given.append(value)
            expected.append(value)
            allowed.append(1e-12 * abs(value))
    return known


def _add_far(function: Function, known: _Known, rng: np.random.Generator, end: float) -> None:
    """Places far from x, with every entry of the gradient, where an exact witness gives it quickly."""
    x = [array.astype(float) if array.dtype != np.float64 else array for array in function.arrays]
    if any(array.dtype != np.float64 for array in function.arrays):
        return
    differences = Differences(function, "", 0.0, float(np.finfo(float).eps))
    try:
        witnesses = chosen(function, [x], differences, rng)
    except Exception:
        return
    if not all(witness.exact for witness in witnesses):
        return
    began, room = time.monotonic(), 0.15 * (end - time.monotonic())
    tries = 0
    added = 0
    while added < FAR and tries < 8 and time.monotonic() < began + room:
        tries += 1
        place = far(x, rng)
        given = function.gradient_or_none(place)
        value = function.real(place)
        if given is None or not np.isfinite(value) or not all(np.isfinite(array).all() for array in given):
            continue
        expected = []
        for k, array in enumerate(place):
            wanted = np.full(array.shape, np.nan)
            for index in np.ndindex(array.shape):
                step = np.zeros(array.shape)
                step[index] = 1.0
                slope, _ = tried(witnesses[k], place, only(place, k, step))
                if slope is not None and not slope.has_kink(abs(slope.middle)):
                    wanted[index] = slope.middle
            expected.append(wanted)
            if time.monotonic() > began + room:
                return
        rounding = 1e-13 * abs(value)
        allowed = [1e-8 * _largest(array) + rounding + np.zeros(array.shape) for array in expected]
        known.add(place, given, expected, allowed)
        added += 1


def _depends_on_loss(function: Function, known: _Known) -> bool:
    """Whether the gradient needs the loss to be called before it."""
    if function.returns_both or not known.leaves:
        return False
    last = known.leaves[-1]
    function.real(known.leaves[0])
    try:
        alone = function.gradient(last, loss_first=False)
    except Exception:
        return True
    return not all(
        np.array_equal(one, other, equal_nan=True) for one, other in zip(alone, function.gradient(last), strict=True)
    )


def _largest(array: np.ndarray) -> float:
    return float(np.max(abs(array), initial=0.0, where=~np.isnan(array)))
