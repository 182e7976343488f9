"""Marks of provenance: where a setting or a statement comes from, in docs, `Problem.settings()`, JSON and `nlicl papers`."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..core.checks import instance
from ..core.describe import short
from ..core.errors import InvalidValue

__all__ = ["MEANINGS", "marked_settings"]

MEANINGS = {
    "paper": "seen in public text of, or by the authors about, the paper",
    "quoted": "words of the paper as a third party quotes them; not read in the paper by us",
    "source": "read in released code",
    "digitised": "read off the authors' published figures",
    "summary": "from a third party's summary of the paper",
    "recalled": "from memory of the paper: plausible; wording and constants not verified",
    "derived": "derived by us and checked numerically",
    "measured": "seen in our own runs",
    "ours": "our choice: the paper's value is unknown, or it is another one",
    "set here": "chosen for this problem, this run or this figure",
}
"""What each mark means. Only "paper" is read by us as the paper's own statement."""


def marked_settings(problem: Any, marks: Mapping[str, str | Mapping[Any, str]]) -> dict[str, list[Any]]:
    """Every field of a problem with where its value comes from, for figures, theorems and `nlicl papers`.

    What `marks` names besides, such as the optimizer that a class of problems has, is listed after the fields.

    Parameters
    ----------
    problem : a paper's Problem
        A dataclass each of whose fields has a default.
    marks : mapping of str to str, or to a mapping of value to str
        For every field where its default comes from, one of `MEANINGS`; or for each of several values where that value comes
        from: {"a_scale": {"2/m": "derived", "1/sqrt(m)": "quoted"}}.

    Returns
    -------
    dict of str to [value, mark]
        The mark is "set here" for a value that `marks` does not know.

    Raises
    ------
    ValueError
        A field that `marks` does not name, or a mark that is none of `MEANINGS`.
    """
    marks = instance("marks", marks, Mapping)
    usual = type(problem)()
    found = {}
    names = [field.name for field in fields(problem)]
    names += [name for name in marks if name not in names and hasattr(type(problem), name)]
    for name in names:
        if name not in marks:
            raise InvalidValue(f"marks does not say where {name} comes from; expected one of {', '.join(MEANINGS)}.")
        value, mark = getattr(problem, name), marks[name]
        known = list(mark.items()) if isinstance(mark, Mapping) else [(getattr(usual, name), mark)]
        unknown = [each for _, each in known if each not in MEANINGS]
        if unknown:
            raise InvalidValue(f"marks says {short(unknown[0])} of {name}; expected one of {', '.join(MEANINGS)}.")
        found[name] = [value, next((each for given, each in known if given == value), "set here")]
    return found
