"""What a page shows, held against what its code prints."""

import re

__all__ = ["differs"]

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|\b(?:nan|inf)\b")
NOISE = 1e-12  # a printed number below it is rounding, and stands for "below it"
ROUNDING = 1e-6  # relative, of the others


def differs(got: str, shown: str) -> str | None:
    """How two outputs differ, in words; None if only in the rounding of numbers."""
    printed, expected = ([" ".join(line.split()) for line in text.strip().splitlines()] for text in (got, shown))
    if len(printed) != len(expected):
        return f"{len(expected)} lines shown, {len(printed)} printed"
    for one, other in zip(printed, expected, strict=True):
        if NUMBER.sub("#", one) != NUMBER.sub("#", other) or not all(
            map(_close, NUMBER.findall(one), NUMBER.findall(other))
        ):
            return f"shown is {other!r}, printed {one!r}"
    return None


def _close(one: str, other: str) -> bool:
    x, y = float(one), float(other)
    return one == other or abs(x - y) <= ROUNDING * max(abs(x), abs(y)) or max(abs(x), abs(y)) < NOISE
