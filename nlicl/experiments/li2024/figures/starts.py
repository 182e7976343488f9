"""The starts from which the one-layer model of Li et al. 2024 is trained for the figures: an option of each of them.

| start        | what                                                                                               |
|--------------|----------------------------------------------------------------------------------------------------|
| `calibrated` | |a_i| = 2/m: departs from the paper's start, fits the published magnitudes [derived]               |
| `stated`     | |a_i| = 1/sqrt(m), the start that the paper states [quoted]                                        |
| `sibling`    | the same |a_i|, patterns of norm 3 as in the authors' later paper [recalled]: for Figure 3 alone   |

Claims about orders and phases are the same for every start. Those about magnitudes have the values of their start.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ....core.checks import choice
from ....papers import li2024
from ...experiment import Found, Measured, Options, Runs, Seeds, Training
from ...figure import Figure, Recipe
from ...style import Canvas
from .originals import ORIGINALS

__all__ = ["ANY", "one_layer", "others_notes", "problem_of", "setting", "titled"]

TWO = ("calibrated", "stated")
ANY = ("sibling", *TWO)
_MARKS = {"calibrated": "derived", "stated": "quoted", "sibling": "recalled"}


def one_layer(
    name: str,
    title: str,
    runs: Callable[[Options], Mapping[str, Training]],
    measure: Callable[[Options, int, Runs], Measured],
    assemble: Callable[[Options, Seeds, Found], Figure],
    draw: Callable[[Figure], Canvas],
    starts: tuple[str, ...] = TWO,
) -> Recipe:
    """The recipe of a figure of the one-layer model, with the option `start`; the first of `starts` is its default."""
    check = _check_any if starts == ANY else _check
    return Recipe(
        name, title, runs, measure, assemble, {"start": starts[0]}, check, draw=draw, original=ORIGINALS[name]
    )


def _check(options: Options) -> None:
    """InvalidValue or InvalidType for another start."""
    choice("start", options["start"], TWO)


def _check_any(options: Options) -> None:
    """The same, where `sibling` is a start as well."""
    choice("start", options["start"], ANY)


def problem_of(options: Options) -> li2024.Problem:
    """The problem that is trained."""
    return {"calibrated": li2024.Problem(), "stated": li2024.stated, "sibling": li2024.sibling}[options["start"]]


def setting(options: Options) -> dict[str, list[Any]]:
    """The start, as a figure's settings list it."""
    return {"start": [options["start"], _MARKS[options["start"]]]}


def others_notes(options: Options, usual: str) -> list[str]:
    """What the notes of a figure say first, where its start is not the one that they were written for."""
    if options["start"] == usual:
        return []
    return [
        f"Numbers in the notes below, but for those of these seeds, were measured from the {usual} start [measured]."
    ]


def titled(title: str, options: Options) -> str:
    """A figure's title, with the start that the paper states where that is the one."""
    return f"{title}, from the start that the paper states" if options["start"] == "stated" else title
