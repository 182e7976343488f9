"""What the figures of Zhang et al. 2025 share: the authors' printed and drawn numbers, notes, claims about values.

Numbers are the authors' where their mark is [source], printed by their notebook, or [digitised], read by eye off the pictures
that are stored in it, to 50 steps and 0.01.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....papers.zhang2025 import dynamics
from ...claims import Claim, fact
from ...series import Comparison, Series, compare
from ...summary import listed, span

__all__ = [
    "DETERMINISTIC",
    "DRAWN",
    "GOLDEN",
    "HALF",
    "SEEDS",
    "N",
    "close",
    "comparisons",
    "curve",
    "heights",
    "middles",
    "thinned",
    "within",
]

N = 31
HALF = 0.57
"""The loss by which a merged drop is timed: half way between the first and the last, 1 and 0.136."""
GOLDEN = (1.0, 0.64057971, 0.37737216, 0.2098046, 0.13599507)
"""Losses with the m largest components learnt, D = 4, N = 31, as the authors' notebook prints them [source]."""

SEEDS = "Seeds are ours: no draw of ours can be one of the authors'."
DRAWN = "[digitised] here is by eye, off pictures stored in the authors' notebook: to 50 steps and 0.01."
DETERMINISTIC = "Nothing is drawn at random: every seed gives the same."


def curve(name: str, x: ArrayLike, y: ArrayLike) -> Series:
    """A series of numbers without spread."""
    return Series(name, np.asarray(x, float), np.asarray(y, float))


def within(
    claim: str, values: ArrayLike, low: float = -np.inf, high: float = np.inf, *, who: str = "for every seed"
) -> Claim:
    """A claim: every value lies from `low` to `high`. NaN stands for never, and does not. `who` says whose values they are."""
    found = np.asarray(values, float)
    holds = bool(found.size and np.all((found >= low) & (found <= high)))
    never = int(np.isnan(found).sum())
    measured = span(found) + (f", or never: {never} of {found.size}" if never else "")
    expected = f"at most {high:.4g}" if np.isinf(low) else f"at least {low:.4g}" if np.isinf(high) else ""
    return fact(claim, holds, measured, f"{expected or f'{low:.4g} to {high:.4g}'} {who}", found)


def average(claim: str, values: ArrayLike, low: float = -np.inf, high: float = np.inf) -> Claim:
    """A claim: the mean over seeds lies from `low` to `high`."""
    found = np.asarray(values, float)
    mean = float(found.mean()) if found.size else np.nan
    return fact(claim, low <= mean <= high, f"{mean:.4g}", f"mean over seeds {low:.4g} to {high:.4g}", found)


def close(claim: str, values: ArrayLike, expected: ArrayLike, slack: float = 0.0, *, share: float = 0.0) -> Claim:
    """A claim: each value is the expected one, up to `slack` or a share of it, whichever is larger."""
    found, aim = np.broadcast_arrays(np.asarray(values, float), np.asarray(expected, float))
    allowed = np.maximum(slack, share * np.abs(aim))
    holds = bool(found.size and np.all(np.abs(found - aim) <= allowed))
    off = f" +-{100 * share:g}%" if share else f" +-{slack:g}"
    shown = listed(found) if found.size <= 6 else f"off by at most {np.max(np.abs(found - aim)):.3g}"
    return fact(claim, holds, shown, listed(np.unique(aim)[::-1] if found.size > 6 else aim) + off, found)


def comparisons(series: Iterable[Series], reference: Iterable[Series]) -> list[Comparison]:
    """Our curves beside the authors' of the same name."""
    theirs = {one.name: one for one in reference}
    found = (compare(one, theirs[one.name]) for one in series if one.name in theirs)
    return [one for one in found if one is not None]


def middles(losses: NDArray, **how: Any) -> NDArray:
    """The loss in the middle of each flat stretch, see `dynamics.flat_stretches`."""
    return losses[[(first + last) // 2 for first, last in dynamics.flat_stretches(losses, **how)]]


def heights(losses: NDArray, drops: Sequence[float]) -> NDArray:
    """The loss midway between each drop and the next, and at the end after the last: as many as drops, nan where none is.

    A plateau of fewer than 200 steps is none: its height is nan.
    """
    found = np.full(len(drops), np.nan)
    there = [int(drop) for drop in drops if np.isfinite(drop)]
    for m, (drop, following) in enumerate(zip(there, [*there[1:], len(losses) - 1], strict=True)):
        if following - drop >= 200:
            found[m] = losses[-1] if m == len(drops) - 1 else losses[(drop + following) // 2]
    return found


def thinned(steps: int, points: int = 300) -> NDArray[np.intp]:
    """Steps at which a curve of so many steps is stored: evenly spaced, both ends among them."""
    return np.unique(np.linspace(0, steps - 1, points).round().astype(np.intp))
