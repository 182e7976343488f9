"""Whether what is asked for fits into this machine's memory: said before it is made, or the system may end the process."""

import os

from .errors import InvalidValue

__all__ = ["check_draw", "check_memory"]

_GiB = 2**30
_ADDRESSABLE = 2**47  # bytes: more than a process can have, where the system does not say what there is


def check_memory(what: str, needed: int, advice: str) -> None:
    """Refuse what is larger than this machine's memory.

    Parameters
    ----------
    what : str
        What it is and where its size comes from: the beginning of the error.
    needed : int
        Bytes.
    advice : str
        What to do: the end of the error.

    Raises
    ------
    ValueError
        `needed` is more than there is.
    """
    there = _memory()
    if needed <= (there or _ADDRESSABLE):
        return
    has = f"there are {there / _GiB:,.0f} GiB of memory" if there else "no machine has that much memory"
    size = needed / _GiB
    raise InvalidValue(f"{what}, {f'{size:,.0f}' if size < 1e9 else f'{size:.1g}'} GiB, and {has}. {advice}")


def check_draw(n: int, length: int, each: int) -> None:
    """ValueError if n prompts with so many contexts do not fit into memory while they are drawn, `each` bytes a token."""
    tokens = n * (length + 1)
    check_memory(
        f"n is {n} with length {length}: drawing holds {each} bytes for each of {tokens} tokens",
        each * tokens,
        "Lower n or length, and draw several times, with other seeds.",
    )


def _memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
