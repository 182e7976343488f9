"""A theorem as an experiment's result: condition, prediction, measurement, verdict; and as text.

A paper's module of theorems holds `THEOREMS`, a dict of name to `Experiment`. `nlicl theorem PAPER:NAME` does one of them.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..core.text import one_line
from .claims import Claim, all_hold
from .experiment import Seeds
from .notebook import theorem_html
from .settings import Settings

__all__ = ["Condition", "Theorem", "report"]

WIDTH = 118


@dataclass(frozen=True)
class Condition:
    """A condition of a theorem, and whether the experiment meets it.

    Attributes
    ----------
    condition : str
        As the theorem states it, with its mark.
    here : str
        Its value in the experiment. An unknown constant is taken as 1.
    holds : bool or None
        None: it cannot be decided, because a constant is unknown.
    """

    condition: str
    here: str
    holds: bool | None


@dataclass(frozen=True)
class Theorem:
    """A theorem put to the test: its statement, its conditions, and claims measured over seeds.

    Attributes
    ----------
    name, statement : str
    settings : dict
        What it was tested with: name -> [value, where the value comes from].
    seeds : list of int
    conditions : list of Condition
    claims : list of Claim
        One whose `holds` is None is undetermined: the theorem does not promise it at these settings.
    notes : list of str
    """

    name: str
    statement: str
    settings: Settings
    seeds: Seeds
    conditions: list[Condition]
    claims: list[Claim]
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every claim holds; one that is undetermined does not."""
        return all_hold(self.claims)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return report(self)

    def _repr_html_(self) -> str | None:
        return theorem_html(self)


def report(theorem: Theorem) -> str:
    """A theorem as text for a terminal, at most 118 columns: statement, conditions, claims, notes, settings.

    Parameters
    ----------
    theorem : Theorem

    Returns
    -------
    str
        Lines without trailing spaces, no newline at the end.
    """
    states = {True: "yes", False: "NO", None: "?"}
    seeds = theorem.seeds
    conditions = [(c.condition, c.here, states[c.holds]) for c in theorem.conditions]
    claims = [(f"{c.claim}: {c.expected}", c.measured, c.verdict) for c in theorem.claims]
    held, undetermined = (sum(claim.holds is state for claim in theorem.claims) for state in (True, None))
    also = f", {undetermined} {'is' if undetermined == 1 else 'are'} undetermined (?)" if undetermined else ""
    settings = ", ".join(f"{name} {_value(value)} [{mark}]" for name, (value, mark) in theorem.settings.items())
    name = one_line(theorem.name)
    parts = [
        [name, "=" * len(name)],
        _wrapped(theorem.statement),
        _table(("condition", "here", "holds"), conditions),
        _table(("prediction", "measured", "verdict"), claims),
        [line for note in theorem.notes for line in _wrapped(note, "- ", "  ")],
        _wrapped(settings, "Settings: ", "  "),
        [
            f"{held} of {len(theorem.claims)} claims hold{also}; {len(seeds)} seed{'s' * (len(seeds) != 1)}: {_runs(seeds)}."
        ],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _wrapped(text: str, first: str = "", rest: str = "", width: int = WIDTH) -> list[str]:
    return textwrap.wrap(one_line(text), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The lines of a table of three columns, its cells wrapped. Without rows there is no table."""
    if not rows:
        return []
    widths = (62, WIDTH - 62 - 7 - 2 * 2, 7)
    lines = []
    for row in (heads, *rows):
        cells = [
            _wrapped(cell, rest="  " * (i < 2), width=width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for i in range(max(map(len, cells))):
            parts = (cell[i] if i < len(cell) else "" for cell in cells)
            lines.append("  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
        if row is heads:
            lines.append("-" * WIDTH)
    return lines


def _value(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(_value, value)) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _runs(seeds: Seeds) -> str:
    """Seeds in words: 0-9 for a range, otherwise all of them."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ", ".join(map(str, seeds))
