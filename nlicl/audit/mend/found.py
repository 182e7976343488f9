"""What a search for mends found, as data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DEFAULT_SECONDS", "Change", "Mending", "Repair"]

DEFAULT_SECONDS = 5.0  # a search takes at most so long, unless asked otherwise


@dataclass(frozen=True)
class Change:
    """One edit of the reader's text.

    Attributes
    ----------
    line : int
        Of the file, from 1.
    before, after : str
        The expression that is replaced, and what replaces it, each in one line.
    file : str
        The file's name, without its folder; empty for a function that stands in none.
    """

    line: int
    before: str
    after: str
    file: str = ""


@dataclass(frozen=True)
class Repair:
    """Edits that together make the gradient agree with the loss.

    Attributes
    ----------
    changes : tuple of Change
        In the order of the text; one to three.
    diff : str
        The same as a unified diff of the file.
    text : str
        The file's whole text after it.
    agrees : str
        Where it was tried: "on all 20 draws, and on 200 fresh ones".
    function : callable or None
        The repaired function; None where the code ran in another process only.
    """

    changes: tuple[Change, ...]
    diff: str
    text: str
    agrees: str
    function: Callable[..., Any] | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: line, before and after of the first change; all of them; the diff."""
        first = self.changes[0]
        changes = [vars(change) for change in self.changes]
        same = {"line": first.line, "before": first.before, "after": first.after}
        return {**same, "file": first.file, "changes": changes, "diff": self.diff, "agrees": self.agrees}


@dataclass(frozen=True)
class Mending:
    """All that a search found.

    Attributes
    ----------
    repairs : tuple of Repair
        The best first, at most three.
    others : int
        How many more edits agree.
    tried : int
        How many edits were tried.
    seconds : float
        What the search took.
    note : str
        In a sentence, why there is no repair, or why the search ended early; empty if nothing is to be said.
    """

    repairs: tuple[Repair, ...] = ()
    others: int = 0
    tried: int = 0
    seconds: float = 0.0
    note: str = ""
