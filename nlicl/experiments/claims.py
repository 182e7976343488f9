"""Claims: a statement, what it expects, what was measured over seeds, and whether it holds."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.checks import choice

__all__ = [
    "ABOUT",
    "Claim",
    "all_hold",
    "every",
    "fact",
    "if_promised",
    "interval",
    "located",
    "mean_within",
    "published",
]

ABOUT = ("order", "phases", "value")
_VERDICTS = {True: "holds", False: "FAILS", None: "?"}


@dataclass(frozen=True)
class Claim:
    """A statement: what it expects, what was measured, and whether it holds.

    Attributes
    ----------
    claim, expected, measured : str
    holds : bool or None
        None: undetermined. Either nothing was measured to decide it by, or it does not hold and nothing promises it at these
        settings.
    values : list of float
        What was measured. In a claim about seeds it is one value a seed.
    about : {"", "order", "phases", "value"}
        What of the paper's own figure or text it tests: an order of curves; phases; a value, which may be that something is
        small or large. Nothing, if it is empty.
    """

    claim: str
    expected: str
    measured: str
    holds: bool | None
    values: list[float] = field(default_factory=list, repr=False)
    about: str = field(default="", repr=False)

    @property
    def verdict(self) -> str:
        """`holds` as it is printed: "holds", "FAILS", or "?" for undetermined."""
        return _VERDICTS[self.holds]


def all_hold(claims: Iterable[Claim]) -> bool:
    """Whether every claim holds. One that is undetermined does not."""
    return all(claim.holds is True for claim in claims)


def every(claim: str, values: ArrayLike, low: float = -np.inf, high: float = np.inf) -> Claim:
    """A claim about every seed: each value lies from `low` to `high`. A claim that fails says in how many."""
    found = np.asarray(values, float)
    inside = (found >= low) & (found <= high)
    told = _spread(found) if inside.all() else f"{_spread(found)}; so in {inside.sum()} of {inside.size}"
    return Claim(claim, f"{_range(low, high)} for every seed", told, bool(inside.all()), found.ravel().tolist())


def mean_within(claim: str, values: ArrayLike, low: float = -np.inf, high: float = np.inf) -> Claim:
    """A claim about the mean over seeds: its 95% interval lies from `low` to `high`. It takes at least two seeds."""
    found = np.asarray(values, float)
    mean, lowest, highest = interval(found)
    holds = bool(lowest >= low and highest <= high)
    measured = f"{mean:.4g} (95% interval {lowest:.4g} to {highest:.4g})"
    return Claim(claim, f"mean {_range(low, high)}", measured, holds, found.tolist())


def fact(claim: str, holds: bool | np.bool, measured: str, expected: str, values: ArrayLike = ()) -> Claim:
    """A claim of any other form."""
    return Claim(claim, expected, measured, bool(holds), np.asarray(values, float).ravel().tolist())


def if_promised(claim: Claim, promised: bool) -> Claim:
    """The same claim, but undetermined if it does not hold and nothing promises it."""
    return claim if claim.holds or promised else replace(claim, holds=None)


def published(claim: Claim, about: str) -> Claim:
    """The same claim, as one that tests the paper's own figure or text: its "order", "phases" or a "value" of it."""
    return replace(claim, about=choice("about", about, ABOUT))


def located(claim: Claim, value: float, name: str) -> Claim:
    """The same claim, which also says where a value lies among those of the seeds: `name` tells whose value it is.

    Nothing is added if a seed has no value.
    """
    if np.isnan(claim.values).any():
        return claim
    low, high, seeds = min(claim.values), max(claim.values), len(claim.values)
    where = (
        f"above all {seeds} seeds"
        if value > high
        else f"below all {seeds} seeds"
        if value < low
        else "within this range"
    )
    return replace(claim, measured=f"{claim.measured}; {name} lies {where}")


def interval(values: ArrayLike) -> tuple[float, float, float]:
    """The mean of values (seeds,), and the ends of its 95% interval by Student's t.

    The interval of a single value is the whole line.
    """
    from scipy.stats import t

    found = np.asarray(values, float)
    mean, n = float(found.mean()), len(found)
    if n < 2:
        return mean, -np.inf, np.inf
    half = float(t.ppf(0.975, n - 1) * found.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def _range(low: float, high: float) -> str:
    if np.isinf(low):
        return f"at most {high:.4g}"
    return f"at least {low:.4g}" if np.isinf(high) else f"{low:.4g} to {high:.4g}"


def _spread(values: NDArray[np.float64]) -> str:
    if np.isnan(values).any():
        return f"not reached in {np.isnan(values).sum()} of {values.size}"
    low, high = values.min(), values.max()
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}, mean {values.mean():.4g}"
