"""The witnesses that a table shows, and what a page says of a formula beside what was found."""

from typing import NamedTuple

from ..subject import Statement

__all__ = ["COLUMNS", "Background", "Column"]


class Column(NamedTuple):
    """A witness in a table: its key in `FormulaReport.witnesses`, its name in the terminal and on a page, and what it is."""

    key: str
    short: str
    long: str
    what: str = ""


COLUMNS = (
    Column(
        "complex_step",
        "cplx kernel",
        "complex step, kernel",
        "The derivative Im f(x + ih)/h with h = 1e-40, through the compiled code of the loss. Nothing is subtracted, so it is "
        "exact to rounding.",
    ),
    Column(
        "complex_step_reference",
        "cplx ref.",
        "complex step, definition",
        "The same through the definition of the loss in plain NumPy, which shares no code with the compiled one.",
    ),
    Column(
        "finite_difference",
        "differences",
        "differences",
        "Central differences (f(x + h) - f(x - h))/2h of the loss, on steps that cross no kink of it: good to 7 digits or so.",
    ),
    Column(
        "extended",
        "extended",
        "extended precision",
        "Differences of fourth order in long double, along one random direction of each input: good to 11 digits or so.",
    ),
    Column(
        "taylor_slope",
        "Taylor",
        "Taylor slope",
        "The exponent with which |f(x + tv) - f(x) - t <g, v>| falls with t: 2 for a right gradient g, 1 for a wrong one; "
        "'linear' where only rounding is left.",
    ),
)


class Background(NamedTuple):
    """What a page says of a formula beside the findings, and data leaves out.

    Attributes
    ----------
    title : str
        The paper's.
    statement : Statement or None
        The model and the loss that it was judged by.
    right : (name, equation, source) or None
        The registered formula of the same gradient that is right, if there is one.
    role : {"own", "formula", "library", "control"}
        Whose it is: a formula that was given, one of all that a paper registers, the library's, or one that is broken on
        purpose.
    loss : str
        The source text of a reader's own loss.
    """

    title: str = ""
    statement: Statement | None = None
    right: tuple[str, str, str] | None = None
    role: str = "own"
    loss: str = ""
