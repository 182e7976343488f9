"""The smallest edit of the reader's own code that makes a wrong gradient agree with its loss."""

from .found import DEFAULT_SECONDS, Change, Mending, Repair

__all__ = ["DEFAULT_SECONDS", "Change", "Mending", "Repair"]
