"""Values, types and texts of others in a few words, fit to be shown."""

import math
import re
import sys

import numpy as np

__all__ = ["INVISIBLE", "kind_of", "message", "name_of", "one_line", "short", "visible"]

_LONGEST = 80  # characters of a value that an error shows

_ZWJ = "\u200d"  # the zero-width joiner: a family is three emoji and two of these
INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but for newline and tab
    "\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\ud800-\udfff"  # surrogates, which stand alone in a text
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Characters without a look of their own, as the inside of a regular expression's brackets.

They order, join, hide or separate others: Unicode's categories Cc, Cf, Cs, Zl and Zp, and what else has no glyph by definition.
Variation selectors of the first sixteen are none of them: emoji need them.
"""
_HIDDEN = re.compile(f"[{INVISIBLE}]")
_EMOJI = "\u2600-\u27bf\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff"
_JOINED = re.compile(f"(?<=[{_EMOJI}]){_ZWJ}(?=[{_EMOJI}])")


def visible(text: str) -> str:
    r"""A text with its control characters, and those that have no look of their own, as escapes: \x1b, \u202e.

    Letters of any language stay as they are, and so do newlines, tabs and emoji.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        Fit for a terminal, a page and UTF-8.
    """
    if text.isascii() and text.isprintable():  # most are
        return text
    joined = {match.start() for match in _JOINED.finditer(text)} if _ZWJ in text else ()
    return _HIDDEN.sub(lambda found: found[0] if found.start() in joined else _escape(found[0]), text)


def one_line(text: str) -> str:
    """A text as one line, for a terminal: a single space for each run of spaces and newlines, the rest as `visible` has it."""
    return visible(re.sub(r"[ \t\r\n]+", " ", text).strip(" "))


def message(error: BaseException) -> str:
    """What an exception says, whatever its class does when it is asked."""
    try:
        return str(error)
    except BaseException:
        return f"{name_of(type(error))}, whose message cannot be read"


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


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
    """A type's name or module. A metaclass may have replaced either by anything; then it is what the type was made with."""
    try:
        found = getattr(kind, attribute)
        if isinstance(found, str):
            return str(found)
        found = type.__dict__[attribute].__get__(kind)
        return found if isinstance(found, str) else "object"
    except Exception:
        return "object"


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
