"""The audit: a gradient formula held against independent witnesses.

`audit_formula` judges one formula, a paper's or the reader's own. `audit_paper` judges all that a paper has registered, the
library's own gradients, and a negative control. `audit_gradient` judges the gradient of any NumPy function.

The audit knows functions and arrays. A paper hands it a `Subject`, made of `Formula`s and `Point`s; `PLAIN`, `Mark` and
`check_marks` are for formulas whose factors are marked (`nlicl.audit.mistakes`).
"""

import importlib
from typing import TYPE_CHECKING, Any

from .marks import check_marks
from .mistakes import PLAIN, Mark
from .subject import Formula, Point, Statement, Subject, fill

if TYPE_CHECKING:
    from .functions import assert_gradient, audit_gradient
    from .report import AuditReport, FormulaReport
    from .report.gradient import GradientReport
    from .run import audit_formula, audit_paper

__all__ = [
    "PLAIN",
    "AuditReport",
    "Formula",
    "FormulaReport",
    "GradientReport",
    "Mark",
    "Point",
    "Statement",
    "Subject",
    "assert_gradient",
    "audit_formula",
    "audit_gradient",
    "audit_paper",
    "check_marks",
    "fill",
]

# Who trains needs a paper's formulas, and not the audit itself: it is loaded on first use.
_WHERE = {
    "assert_gradient": "functions",
    "audit_gradient": "functions",
    "AuditReport": "report",
    "FormulaReport": "report",
    "GradientReport": "report.gradient",
    "audit_formula": "run",
    "audit_paper": "run",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"module 'nlicl.audit' has no attribute {name!r}; it offers {', '.join(__all__)}")
