"""Whether what is asked for fits into this machine's memory: said before it is made, or the system may end the process."""

import os

from .errors import InvalidValue

__all__ = ["check_memory"]

_GiB = 2**30


def check_memory(what, needed, advice):
    """ValueError, `what` with its size and then `advice`, if so many bytes as `needed` are more than this machine has."""
    there = _memory()
    if there is not None and needed > there:
        raise InvalidValue(
            f"{what}, {needed / _GiB:,.0f} GiB, and there are {there / _GiB:,.0f} GiB of memory. {advice}"
        )


def _memory():
    """Bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
