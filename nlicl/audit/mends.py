"""The search for a mend of a paper's formula."""

from collections.abc import Callable

from .bench import Bench
from .mend.found import Mending
from .report import FormulaReport
from .report.search import Progress
from .subject import Formula

__all__ = ["formula_search"]


def formula_search(
    formula: Formula,
    bench: Bench,
    query_attends: bool | None,
    timeout: float | None,
    seconds: float,
    report: FormulaReport,
) -> Callable[[Progress | None], Mending]:
    """The search for a mend of a formula that disagrees on the draws of `bench`; `report` is the audit of it."""
    return lambda progress: Mending(note="there is no search yet")
