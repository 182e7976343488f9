"""Exit status and reason of an error, or that it is a bug: the one place that knows every exception that is none."""

import errno

from ..core.text import message
from .common import CannotRun
from .lines import culprit
from .screen import OutputLost

__all__ = ["outcome"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # no room on the disk, or no more allowed


def outcome(error: BaseException) -> tuple[int, str] | None:
    """Exit status and reason of an error that is no bug; None for a bug."""
    from ..core.errors import InvalidInput

    if isinstance(error, (CannotRun, InvalidInput)):
        return 2, message(error)
    if isinstance(error, MemoryError):
        return 2, f"there is not enough memory: {message(error) or 'it is used up'}; lower the sizes"
    if isinstance(error, OutputLost):
        return 2, f"the output cannot be written: {message(error)}"
    if isinstance(error, OSError) and error.errno in _FULL:
        return 2, f"the output cannot be written: {error.strerror}"
    if isinstance(error, ImportError) and (error.name or "nlicl").partition(".")[0] != "nlicl":
        text = message(error)
        return 2, f"a library that nlicl needs cannot be imported: {text}. `nlicl doctor` says what is missing"

    from concurrent.futures.process import BrokenProcessPool

    if isinstance(error, BrokenProcessPool) and error.__cause__ is None:
        what = "a process was ended from outside, as the system does where memory runs out"
        return 2, f"{what}; expected it to finish. Give a smaller --jobs, or lower the sizes"

    from ..devices import Unavailable
    from ..experiments.pool import ExecutorLost, WorkerLost
    from ..training.runs import Diverged

    if isinstance(error, (Unavailable, WorkerLost, ExecutorLost)):
        return 2, message(error)
    if isinstance(error, Diverged):
        return 1, message(error)
    theirs = culprit(error)
    if theirs is not None:
        return 2, theirs
    if isinstance(error, SystemExit):
        return 2, f"code that is not nlicl's ended the process, by SystemExit: {message(error)}; expected it to return"
    return None
