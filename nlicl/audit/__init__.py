"""The audit: a gradient formula held against independent witnesses.

`audit_formula` judges one formula, a paper's or the reader's own. `audit_paper` judges all that a paper has registered, the
library's own gradients, and a negative control. `audit_gradient` judges the gradient of any NumPy function.

The audit knows functions and arrays. A paper hands it a `Subject`, made of `Formula`s and `Point`s; `PLAIN`, `Mark` and
`check_marks` are for formulas whose factors are marked (`nlicl.audit.mistakes`).
"""

from .functions import assert_gradient, audit_gradient
from .marks import check_marks
from .mistakes import PLAIN, Mark
from .report import AuditReport, FormulaReport
from .report.gradient import GradientReport
from .run import audit_formula, audit_paper
from .subject import Formula, Point, Subject, fill

__all__ = [
    "PLAIN",
    "AuditReport",
    "Formula",
    "FormulaReport",
    "GradientReport",
    "Mark",
    "Point",
    "Subject",
    "assert_gradient",
    "audit_formula",
    "audit_gradient",
    "audit_paper",
    "check_marks",
    "fill",
]
