"""A search for mends that runs when its result is asked for, once."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...core.checks import seconds
from ..mend import found
from ..mend.found import Mending

__all__ = ["Progress", "Search", "limit"]

Progress = Callable[[int, int, str], None]

_LEFT_OUT = "the report was stored or sent elsewhere before the search"


def limit(mend: object) -> float:
    """The seconds that a search may take: `mend`, checked, or the usual ones where it is None.

    Raises
    ------
    TypeError, ValueError
        Not a number of seconds, at least 0.
    """
    return found.DEFAULT_SECONDS if mend is None else seconds("mend", mend, ", or None for the usual limit", zero=True)


class Search:
    """A search for edits that make formulas of a report agree. It runs once, when its result is asked for first.

    A copy is the same search. Pickling keeps what was found, without functions. A search that has not run is dropped, and
    its result says so.

    Parameters
    ----------
    of : tuple of int
        The formulas that it concerns, by their number in the report.
    run : callable
        run(progress) -> Mending; `progress` is a function progress(done, total, text), or None.
    """

    def __init__(self, of: tuple[int, ...], run: Callable[[Progress | None], Mending]) -> None:
        self.of = of
        self._run: Callable[[Progress | None], Mending] | None = run
        self._mending = Mending(note=_LEFT_OUT)
        self._lock = threading.RLock()

    @property
    def done(self) -> bool:
        """Whether it has run."""
        return self._run is None

    def mending(self, progress: Progress | None = None) -> Mending:
        """What it finds. It runs at the first call; one that was interrupted runs again at the next."""
        with self._lock:  # whoever asks meanwhile waits
            if self._run is not None:
                self._mending = self._run(progress)
                self._run = None
        return self._mending

    def moved(self, by: int) -> "Search":
        """The same search in a report where `by` other formulas come before."""
        return Search(tuple(number + by for number in self.of), self.mending)

    def __copy__(self) -> "Search":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Search":
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())

    def __getstate__(self) -> dict[str, Any]:
        repairs = tuple(replace(repair, function=None) for repair in self._mending.repairs)
        return {"of": self.of, "_run": None, "_mending": replace(self._mending, repairs=repairs)}

    def __repr__(self) -> str:
        return f"Search(of={self.of}, {'done' if self.done else 'not run yet'})"
