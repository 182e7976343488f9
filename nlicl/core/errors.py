"""Errors of their own for what a caller gave: whatever else is raised is a bug of nlicl.

Each is the ValueError or TypeError that it says, so that callers need not know of them.
"""

__all__ = ["InvalidIndex", "InvalidInput", "InvalidKey", "InvalidType", "InvalidValue", "NotFinite"]


class InvalidInput(Exception):
    """What was given is refused; the message names it, says what was expected, and how to mend it."""


class InvalidValue(InvalidInput, ValueError):
    """A value, a shape or a name that is none of those expected."""


class InvalidType(InvalidInput, TypeError):
    """A type or dtype that is none of those expected."""


class InvalidIndex(InvalidValue, IndexError):
    """A number of something that is not there. It is an IndexError, by which Python ends a loop over numbers."""


class InvalidKey(InvalidValue, KeyError):
    """A name of something that is not there. It is a KeyError, as of a dict."""

    __str__ = Exception.__str__  # a KeyError writes its message in quotes


class NotFinite(InvalidValue):
    """The loss or a gradient overflows although parameters and prompts are finite."""
