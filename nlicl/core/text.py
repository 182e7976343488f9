"""Texts of others, fit to be shown: names, sources, messages, whatever a user typed. Needs no NumPy: nor does the doctor."""

import re

__all__ = ["INVISIBLE", "message", "one_line", "visible"]

_ZWJ = "\u200d"  # the zero-width joiner: a family is three emoji and two of these
INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but for newline and tab
    "\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\ud800-\udfff"  # surrogates, which stand alone in a text
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Characters without a look of their own, as the inside of a regular expression's brackets.

They order, join, hide or separate others: Unicode's categories Cc, Cf, Cs, Zl and Zp, and what else has no glyph.
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
    """A text as one line: a space for a newline and what is blank around it, the rest as `visible` has it."""
    return visible(re.sub(r"[ \t]*[\r\n]+[ \t]*", " ", text).replace("\t", " "))


def message(error: BaseException) -> str:
    """What an exception says, whatever its class does when it is asked."""
    try:
        return str(error)
    except BaseException:
        return "its message cannot be read"


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
