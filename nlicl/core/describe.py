"""Values and types in a few words, for errors."""

import difflib
import math
import sys
from collections.abc import Iterable

import numpy as np

from .text import visible

__all__ = ["kind_of", "meant", "name_of", "short"]

_LONGEST = 80  # characters of a value that an error shows


def kind_of(value: object) -> str:
    """The name of a value's type, as `name_of` has it."""
    return name_of(type(value))


def name_of(kind: type) -> str:
    """The name of a type.

    A type of this library is named as a reader imports it: by the shortest module that offers it. Several papers have a type
    `Prompts`, and the module says which one is meant.
    """
    name, home = _text_of(kind, "__name__"), _text_of(kind, "__module__")
    if not home.startswith("nlicl."):
        return short(name)[1:-1]
    offering = [
        place
        for place, module in list(sys.modules.items())
        if (place == "nlicl" or place.startswith("nlicl."))
        and name in getattr(module, "__all__", ())
        and getattr(module, name, None) is kind
    ]
    return f"{min([*offering, home], key=len)}.{name}"


def _text_of(kind: type, attribute: str) -> str:
    """The name or the module that a type was made with, whatever its metaclass says of it."""
    try:
        found = type.__dict__[attribute].__get__(kind)
    except AttributeError:
        found = None
    return found if isinstance(found, str) else "object"


def meant(given: object, known: Iterable[str]) -> str:
    """Which of the known names an unknown one may have meant, in brackets after a space; nothing if it is like none."""
    if not isinstance(given, str) or len(given) > _LONGEST:
        return ""
    names = list(known)
    close = [name for name in names if name.lower() == given.lower()]
    close += difflib.get_close_matches(given, names, 1, cutoff=0.75)
    return f" (did you mean {close[0]}?)" if close else ""


def short(value: object) -> str:
    """A value as Python writes it, if that is short; otherwise its beginning, its number of digits, or its type."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) and value.bit_length() > 3 * _LONGEST:  # Python itself refuses to write 4,300 digits
        digits = round(value.bit_length() * math.log10(2))
        return f"{'-' * (value < 0)}10**{digits}{' or so' * (abs(value) != 10**digits)}"
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{str(value[: _LONGEST - 20])!r}... ({len(value)} characters)"
    try:
        text = visible(repr(value))
    except Exception:  # it holds an integer that is too long, is nested too deep, or its own __repr__ raises
        text = "\n"
    return text if len(text) <= _LONGEST and "\n" not in text else f"a {kind_of(value)}"
