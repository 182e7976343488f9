"""The starts from which the one-layer model of Li et al. 2024 is trained for the figures: an option of each of them.

| start        | what                                                                                             |
|--------------|--------------------------------------------------------------------------------------------------|
| `calibrated` | |a_i| = 2/m: departs from the paper's start, fits the published magnitudes [derived]             |
| `stated`     | |a_i| = 1/sqrt(m), the start that the paper states [quoted]                                      |
| `sibling`    | the same |a_i|, patterns of norm 3 as in the authors' later paper [recalled]: Figure 3's analogues |

Claims of orders and phases are the same for every start. Claims about magnitudes have the values of their start.
"""

from typing import Any

from ....core.checks import choice
from ....papers import li2024
from ...experiment import Options

__all__ = ["FROM", "FROM_SIBLING", "check", "check_any", "problem_of", "setting", "titled"]

FROM: dict[str, Any] = {"start": "calibrated"}
"""The option of Figures 2, 4 and 5."""
FROM_SIBLING: dict[str, Any] = {"start": "sibling"}
"""The option of the one-layer analogues of Figure 3."""
_KNOWN = ("calibrated", "stated")
_MARKS = {"calibrated": "derived", "stated": "quoted", "sibling": "recalled"}


def check(options: Options) -> None:
    """InvalidValue or InvalidType for a start other than `calibrated` and `stated`."""
    choice("start", options["start"], _KNOWN)


def check_any(options: Options) -> None:
    """InvalidValue or InvalidType for a start other than `calibrated`, `stated` and `sibling`."""
    choice("start", options["start"], (*_KNOWN, "sibling"))


def problem_of(options: Options) -> li2024.Problem:
    """The problem that is trained."""
    problem = li2024.problems[options["start"]]
    assert isinstance(problem, li2024.Problem)
    return problem


def setting(options: Options) -> dict[str, list[Any]]:
    """The start, as a figure's settings list it."""
    return {"start": [options["start"], _MARKS[options["start"]]]}


def titled(title: str, options: Options, usual: Options = FROM) -> str:
    """A figure's title, which names the start where that is not the usual one."""
    return title if options["start"] == usual["start"] else f"{title}, {options['start']} start"
