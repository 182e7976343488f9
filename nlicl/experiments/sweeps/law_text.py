"""A power law as text for a terminal, at most 118 columns."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.text import one_line

if TYPE_CHECKING:
    from .laws import Exponent, PowerLaw

__all__ = ["caveats", "equation", "number", "report"]

WIDTH = 118
_FEW = 5  # seeds, from which on the bootstrap is not rough


def equation(law: "PowerLaw") -> str:
    """The law in one line: "steps = 4.30 alpha^-0.850 beta^-1.98"."""
    factors = [f"{one_line(name)}^{number(each.value)}" for name, each in law.exponents.items()]
    return f"{one_line(law.y_name)} = {' '.join([_constant(law.log_constant.value), *factors])}"


def report(law: "PowerLaw") -> str:
    """The law, its exponents with both intervals beside a theorem's, whether a power law is adequate, and caveats.

    Parameters
    ----------
    law : PowerLaw

    Returns
    -------
    str
        Lines without trailing spaces, no newline at the end.
    """
    counted = f"{_count(law.cells, 'cell')} of {_count(len(law.seeds), 'seed')}"
    scatter = f"noise {number(law.sigma)} in log {one_line(law.y_name)}, a factor of {number(_exp(law.sigma))}"
    parts = [
        _wrapped(equation(law)),
        _exponents(law),
        _wrapped(f"{counted}; {scatter}. {_of_intervals(law)}"),
        _wrapped(law.adequacy.verdict[:1].upper() + law.adequacy.verdict[1:]),
        _local(law),
        [line for each in law.caveats for line in _wrapped(each, "- ", "  ")],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def caveats(law: "PowerLaw") -> list[str]:
    """What a reader must know before the numbers are quoted."""
    found = []
    n_seeds, y = len(law.seeds), one_line(law.y_name)
    if law.censored:
        found.append(
            f"{law.censored} of {law.cells} cells {'was' if law.censored == 1 else 'were'} not reached within their limits: "
            f"treated as censored, {y} being at least that much."
        )
    for name, values in law.unreached.items():
        at = ", ".join(f"{value:.4g}" for value in values)
        found.append(f"No cell was reached at {one_line(name)} = {at}: only a lower bound is known there.")
    if law.left_out:
        found.append(
            f"{_count(law.left_out, 'cell')} without a value {'was' if law.left_out == 1 else 'were'} left out."
        )
    if n_seeds < 2:
        found.append("There is one seed: no interval over seeds. The fit's own takes cells for independent.")
    elif n_seeds < _FEW:
        found.append(f"There are {n_seeds} seeds: the interval over seeds is rough.")
    if law.undetermined:
        found.append(
            f"{law.undetermined} of {law.draws} draws of seeds did not determine a law; they count as infinitely low and as "
            "infinitely high."
        )
    if law.adequacy.adequate is False:
        found.append("The exponents are of a law that does not hold: they depend on the range that was run.")
    return found


def number(value: float) -> str:
    """Three digits: "-0.850", "400", "1.20e-07"; 0 for what is rounding."""
    return f"{value:#.3g}".removesuffix(".") if abs(value) >= 1e-12 else "0"


def _exponents(law: "PowerLaw") -> list[str]:
    """The table of exponents, and of the constant."""
    heads = ("exponent of", "value", "95% over seeds", "95% of the fit", "theory", "inside")
    rows = [
        (
            textwrap.shorten(one_line(name), 30, placeholder="..."),
            number(each.value),
            _interval(each.low, each.high),
            _interval(each.own_low, each.own_high),
            "" if each.theory is None else f"{number(each.theory.exponent)}, {one_line(each.theory.source)}",
            {True: "yes", False: "NO", None: ""}[each.theory_inside],
        )
        for name, each in law.exponents.items()
    ]
    one: Exponent = law.log_constant
    ends = [None if end is None else _constant(end) for end in (one.low, one.high, one.own_low, one.own_high)]
    rows.append(("(constant)", _constant(one.value), _to(*ends[:2]), _to(*ends[2:]), "", ""))
    kept = [0, 1, 2, 3, 4, 5] if any(row[4] for row in rows) else [0, 1, 2, 3]
    return _table([[row[i] for i in kept] for row in (heads, *rows)], wrap=4)


def _local(law: "PowerLaw") -> list[str]:
    """The table of local exponents; nothing where a setting has two values only."""
    heads = ("local exponent in", "from", "to", "value", "95% over seeds", "settings")
    rows = [
        (
            textwrap.shorten(one_line(name), 30, placeholder="..."),
            f"{each.x_low:.4g}",
            f"{each.x_high:.4g}",
            number(each.value),
            _interval(each.low, each.high),
            str(each.settings),
        )
        for name, found in law.adequacy.local.items()
        if len(found) > 1
        for each in found
    ]
    return _table([heads, *rows]) if rows else []


def _of_intervals(law: "PowerLaw") -> str:
    if len(law.seeds) < 2:
        return f"The fit's intervals: Student's t, {_count(law.freedom, 'degree')} of freedom."
    return (
        f"Over seeds: bootstrap of {law.draws} draws, the same seeds at every setting, widened for few seeds. Of the fit: "
        f"Student's t, {_count(law.freedom, 'degree')} of freedom, cells being taken for independent."
    )


def _table(rows: Sequence[Sequence[str]], wrap: int | None = None) -> list[str]:
    """Lines of a table; the column `wrap` is wrapped where all together are too wide."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if wrap is not None and wrap < len(widths):
        others = sum(widths) - widths[wrap] + 2 * (len(widths) - 1)
        widths[wrap] = max(20, min(widths[wrap], WIDTH - others))
    lines = []
    for row in rows:
        cells = [_wrapped(cell, rest="  ", width=width) or [""] for cell, width in zip(row, widths, strict=True)]
        for i in range(max(map(len, cells))):
            parts = (cell[i] if i < len(cell) else "" for cell in cells)
            lines.append("  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
        if row is rows[0]:
            lines.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
    return lines


def _wrapped(text: str, first: str = "", rest: str = "", width: int = WIDTH) -> list[str]:
    return textwrap.wrap(one_line(text), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _interval(low: float | None, high: float | None) -> str:
    return _to(*(None if end is None else number(end) for end in (low, high)))


def _to(*ends: str | None) -> str:
    return "none" if None in ends else " to ".join(str(end) for end in ends)


def _constant(log: float) -> str:
    """exp(log) in three digits, beyond float64, too."""
    if math.isinf(log):
        return "0" if log < 0 else "inf"
    if abs(log) < 600:
        return number(math.exp(log)) if log > -27 else f"{math.exp(log):#.3g}"
    digits, power = f"{10 ** (log / math.log(10) % 1):.2f}", math.floor(log / math.log(10))
    return f"{digits}e{power:+d}" if digits != "10.00" else f"1.00e{power + 1:+d}"


def _exp(log: float) -> float:
    return math.exp(log) if log < 700 else math.inf


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
