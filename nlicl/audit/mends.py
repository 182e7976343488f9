"""The search for a mend of a paper's formula."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from . import kinks
from .answer import read
from .bench import Bench
from .mend.child import LOADING, Slow, Tell, end_of, limit_calls, limited, searched
from .mend.found import Mending
from .mend.propose import propose, with_functions
from .mend.task import Stopped, Task
from .process import CannotLoad, Named
from .report import FormulaReport
from .report.search import Progress
from .subject import Formula
from .verdict import ROUNDING
from .witnesses import EPS, STEP, Case

__all__ = ["formula_search"]

FRESH = 200  # draws that the audit has not seen
_FIT = 1e-9  # of the largest entry: an edit that is right may round otherwise
_ALONG = 1e-7  # of a direction's terms, on fresh draws


def formula_search(
    formula: Formula,
    bench: Bench,
    query_attends: bool | None,
    timeout: float | None,
    seconds: float,
    report: FormulaReport,
) -> Callable[[Progress | None], Mending]:
    """The search for a mend of a formula that disagrees on the draws of `bench`; `report` is the audit of it."""

    def search(progress: Progress | None) -> Mending:
        if report.error is not None and report.verdict == "undetermined":
            return Mending()
        named = formula.function if isinstance(formula.function, Named) else None
        end = end_of(seconds)

        def work(tell: Tell) -> dict[str, Any]:
            try:
                function = formula.function if named is None else named.function()
            except CannotLoad as error:
                return {"note": str(error)}
            return _work(formula, function, bench, query_attends, end if named is None else end_of(seconds), tell)

        mending = searched(work, seconds, progress, min(timeout or 0.0, LOADING) if named else 0.0)
        return mending if named else with_functions(mending, formula.function, ())

    return search


def _work(
    formula: Formula,
    function: Callable[..., Any],
    bench: Bench,
    query_attends: bool | None,
    end: float,
    tell: Tell,
) -> dict[str, Any]:
    """The search itself, in the child."""
    audited, _ = bench.cases(formula, query_attends)
    cases: list[Case] = []
    wrt = formula.wrt
    sizes = [float(abs(case.complex_step(wrt)[0]).max()) for case in audited]
    typical = float(np.median([size for size in sizes if size > 0] or [1.0]))

    def call(mended: Callable[..., Any], place: int) -> list[np.ndarray]:
        return [_array(mended, cases[place], wrt)]

    task = Task(call, [], [], [], [wrt])

    def add(case: Case) -> None:
        """A draw, with what belongs there."""
        wanted, slopes = case.complex_step(wrt)
        size = float(abs(wanted).max())
        off = _FIT * (size or 1e-3 * typical)
        if abs(case.kernel_step(wrt) - wanted).max() > 1e-13 * (size or typical):
            off += ROUNDING * max(case.precise(wrt)[1], EPS * typical)
        try:
            given = _array(function, case, wrt)
        except Exception:
            given = np.full(wanted.shape, np.nan)
        cases.append(case)
        task.expected.append([np.where(kinks.on_kink(case.margins, slopes), np.nan, wanted)])
        task.allowed.append([np.full(wanted.shape, off)])
        task.given.append([given])

    for case in audited:
        add(case)
    task.refresh()
    limit_calls(task, function)
    fresh: list[Case] = []

    def verify(mended: Callable[..., Any], until: float) -> str:
        """Where a mended formula agrees; empty if it does not."""
        if time.monotonic() > until - 0.05:
            raise Stopped
        try:
            with limited(max(until - time.monotonic(), 0.01)):
                if not fresh:
                    more = Bench(bench.subject, FRESH, bench.seed + 1, bench.paper)
                    fresh.extend(more.cases(formula, query_attends)[0])
                told = 0
                for case in fresh:
                    agrees = _agrees(mended, function, case, wrt)
                    if agrees is False:
                        add(case)
                        task.refresh()
                        return ""
                    told += bool(agrees)
                other = replace(formula, function=mended, expected="agree")
                if told < FRESH // 4 or bench.audit(other, query_attends).verdict != "agree":
                    return ""
        except Slow:
            raise Stopped from None
        except Exception:
            return ""
        return f"on all {len(audited)} draws, and on {told} fresh ones"

    return propose(function, (), task, verify, end - time.monotonic(), tell)


def _agrees(mended: Callable[..., Any], function: Callable[..., Any], case: Case, wrt: str) -> bool | None:
    """Whether a formula is right along a direction on a fresh draw; None where a kink or rounding leaves it open.

    It is wrong where it gives no number and the one that was judged does: on a kink, too, such as relu(u) / u.
    """
    given = _array(mended, case, wrt)
    if not np.isfinite(given).all():
        return None if not np.isfinite(_array(function, case, wrt)).all() else False
    if not case.margins.all():
        return None
    rng = np.random.default_rng(given.size)
    v = rng.standard_normal(given.shape)
    slope = float(case.subject.kernel(case.moved(wrt, 1j * STEP * v), case.prompts).imag) / STEP
    terms = given * v
    size = max(float(np.sqrt(np.sum(terms**2))), abs(slope))
    off = abs(float(np.sum(terms)) - slope)
    if off <= _ALONG * size:
        return True
    return None if off <= 1e-11 * max(1.0, abs(case.loss)) else False


def _array(function: Callable[..., Any], case: Case, wrt: str) -> np.ndarray:
    """What a formula gives on a draw, in float64.

    Raises
    ------
    ValueError
        No array; whatever the formula raises.
    """
    found = read(function(case.params, case.each[0]), getattr(case.params, wrt).shape)
    if isinstance(found, str):
        raise ValueError(found)
    return np.asarray(found, float)
