"""How figures, theorems, sweeps and laws look in a notebook: `_repr_html_` of their types."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.markup import Markup, box, curve, details, join, note, number, safely, spark, table
from ..core.text import one_line
from .claims import Claim

if TYPE_CHECKING:
    from .figure import Figure
    from .sweeps.laws import PowerLaw
    from .sweeps.table import Table
    from .theorem import Theorem

__all__ = ["figure_html", "law_html", "table_html", "theorem_html"]

_VERDICTS = {True: ("holds", "#17803f"), False: ("FAILS", "#c62828"), None: ("?", "#a06a00")}


@safely
def figure_html(figure: "Figure") -> str:
    """A figure: its claims with their verdicts, and its curves, each as small as a word."""
    rows = [[one_line(s.name), _range(s.x), _range(s.y), spark(s.x, s.y)] for s in figure.series]
    return box(
        one_line(f"{figure.name}: {figure.title}" if figure.name else figure.title),
        _claims(figure.claims),
        table(["curve", "x, from and to", "y, from and to", ""], rows) if rows else "",
        *(note(one_line(text)) for text in figure.notes),
        note(f"Seeds {number(list(figure.seeds))}. `draw` of the figure's recipe draws it."),
    )


@safely
def theorem_html(theorem: "Theorem") -> str:
    """A theorem put to the test: its statement, its conditions, its claims with their verdicts."""
    words = {True: "yes", False: "NO", None: "?"}
    conditions = [[one_line(c.condition), one_line(c.here), words[c.holds]] for c in theorem.conditions]
    return box(
        one_line(theorem.name),
        note(one_line(theorem.statement)),
        _claims(theorem.claims),
        details("conditions", table(["condition", "here", "holds"], conditions, most=40)) if conditions else "",
        *(note(one_line(text)) for text in theorem.notes),
        note(f"Seeds {number(list(theorem.seeds))}."),
    )


@safely
def table_html(found: "Table") -> str:
    """A sweep: a line a setting with its median over seeds, and a curve where one number is swept over."""
    settings = found.settings
    rows = []
    for each in settings[:61]:
        states = ", ".join(f"{count} {state}" for state, count in each.states.items())
        cells = [_of_seeds(each.values(name)) for name in found.measures]
        rows.append([*(number(each.over[name]) for name in found.names), len(each.records), *cells, states])
    rows += [[]] * max(0, len(settings) - len(rows))
    heads = [*found.names, "seeds", *found.measures, ""]
    lacking = f", {len(found.lacking)} not done" if found.lacking else ""
    title = f"Sweep over {', '.join(map(one_line, found.names))}: {len(settings)} settings, {len(found)} runs{lacking}"
    drawn: Any = ""
    if len(found.names) == 1 and found.column(found.names[0]).dtype.kind in "iuf":
        drawn = _median_curve(found, found.names[0], found.measures[0])
    return box(title, table(heads, rows, most=24), note("Median over seeds, lowest to highest in brackets."), drawn)


@safely
def law_html(law: "PowerLaw") -> str:
    """A power law: its equation, the exponents with their intervals beside a theorem's, and what a reader must know."""
    from .sweeps.law_text import equation

    rows = []
    for name, each in law.exponents.items():
        over_seeds = "one seed" if each.low is None or each.high is None else f"{each.low:.3g} to {each.high:.3g}"
        stated = "" if each.theory is None else f"{each.theory.exponent:.3g}, {one_line(each.theory.source)}"
        inside = {True: "yes", False: "no", None: ""}[each.theory_inside]
        own = f"{each.own_low:.3g} to {each.own_high:.3g}"
        rows.append([one_line(name), f"{each.value:.3g}", over_seeds, own, stated, inside])
    verdict = law.adequacy.verdict
    return box(
        equation(law),
        table(["exponent of", "value", "95% over seeds", "95% of the fit", "theory", "inside"], rows),
        note(verdict[:1].upper() + verdict[1:]),
        *map(note, law.caveats),
    )


def _claims(claims: Iterable[Claim]) -> Markup:
    rows = []
    for claim in claims:
        word, colour = _VERDICTS[claim.holds]
        verdict = Markup(f'<span style="color:{colour};font-weight:bold">{word}</span>')
        rows.append([verdict, one_line(claim.claim), one_line(claim.expected), one_line(claim.measured)])
    return table(["", "claim", "expected", "measured"], rows, most=24)


def _range(values: Any) -> str:
    finite = np.asarray(values, float)[np.isfinite(np.asarray(values, float))]
    return f"{finite[0]:.4g}, {finite[-1]:.4g}" if len(finite) else "none"


def _of_seeds(values: Any) -> str:
    """Median, lowest and highest; infinite is what was not reached."""
    if not len(values):
        return "-"
    with np.errstate(invalid="ignore"):
        found = [float(each) for each in (np.median(values), np.min(values), np.max(values))]
    middle, low, high = ("not reached" if each == np.inf else f"{each:.4g}" for each in found)
    return middle if low == high else f"{middle} ({low} to {high})"


def _median_curve(found: "Table", name: str, measure: str) -> Markup:
    x, values = [], []
    for each in found.settings:
        of_seeds = each.values(measure)
        if len(of_seeds) and np.isfinite(of_seeds).all():
            x.append(float(each.over[name]))
            values.append((np.median(of_seeds), np.min(of_seeds), np.max(of_seeds)))
    if len(x) < 2:
        return Markup("")
    middle, low, high = np.array(values).T
    return join(curve(x, middle, one_line(name), one_line(measure), (low, high), dots=True))
