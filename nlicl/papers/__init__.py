"""The papers, one module each. Each has `Problem`, `formulas`, `subject` (what the audit needs) and its constants."""

import importlib

from ..core.errors import InvalidValue

NAMES = ("li2024", "huang2023", "bu2024")


def load(name):
    """The module of the paper called `name`; ValueError, with the names there are, for any other name."""
    if name not in NAMES:
        raise InvalidValue(f"paper is {name!r}; expected one of {', '.join(map(repr, NAMES))}.")
    return importlib.import_module(f"{__name__}.{name}")
