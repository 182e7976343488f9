"""What the problems of all papers share: settings that say where their values come from."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

__all__ = ["keep", "marked_settings"]


def keep(problem: Any, name: str, value: Any) -> None:
    """Keep a checked setting of a frozen dataclass; what was given already as a plain number or text stays as it is."""
    if type(getattr(problem, name)) not in (int, float, str, bool):
        object.__setattr__(problem, name, value)


def marked_settings(problem: Any, marks: Mapping[str, str]) -> dict[str, list[Any]]:
    """Every field of a problem with where its value comes from, for figures and theorems.

    Parameters
    ----------
    problem : a paper's Problem
        A dataclass each of whose fields has a default.
    marks : mapping of str to str
        Where a field's default comes from: "paper", "recalled", "derived" ... A field that it does not name is "ours".

    Returns
    -------
    dict of str to [value, mark]
        The mark is "set here" where the value is not the default.
    """
    usual = type(problem)()
    found = {}
    for name in (field.name for field in fields(problem)):
        value = getattr(problem, name)
        found[name] = [value, marks.get(name, "ours") if value == getattr(usual, name) else "set here"]
    return found
