"""The searches for mends of the gradient of any function."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..mend.found import Mending
from ..report.search import Progress

if TYPE_CHECKING:
    from .remote import Files, Opened
    from .run import Audit

__all__ = ["files_search", "gradient_search"]


def gradient_search(
    audit: "Audit", points: list[list[np.ndarray]] | None, seconds: float
) -> Callable[[Progress | None], Mending]:
    """The search for a mend of a gradient that disagrees; `points` are the user's own places, checked."""
    return lambda progress: Mending(note="there is no search yet")


def files_search(
    files: "Files",
    audit: "Audit",
    make: "Callable[[Callable[[str], None]], Opened]",
    timeout: float,
    seconds: float,
) -> Callable[[Progress | None], Mending]:
    """The same for functions in files. Their process has ended; `Remote.started(files, timeout, make)` starts another."""
    return lambda progress: Mending(note="there is no search yet")
