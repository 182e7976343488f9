"""Curves as data: ours with their spread over seeds, a paper's own, and how far apart the two are."""

import csv
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Comparison", "Series", "compare", "read_curves", "spread"]


@dataclass(frozen=True, eq=False)
class Series:
    """One curve: y against x. Over several seeds y is the mean, `low` and `high` are the lowest and the highest seed.

    Attributes
    ----------
    name : str
    x, y : ndarray (k,)
    low, high : ndarray (k,) or None
    each : ndarray (seeds, k) or None
        The curve of every seed.
    """

    name: str
    x: NDArray
    y: NDArray
    low: NDArray | None = None
    high: NDArray | None = None
    each: NDArray | None = None

    def without_ends(self) -> "Series":
        """The curve alone."""
        return Series(self.name, self.x, self.y)

    def above_zero(self) -> "Series":
        """The curve alone, where it is above zero: on a log axis there is no zero."""
        return Series(self.name, self.x, np.where(self.y > 0, self.y, np.nan))

    @property
    def ends(self) -> tuple[NDArray, NDArray]:
        """`low` and `high`. Where there are none it is `y`, twice."""
        return self.y if self.low is None else self.low, self.y if self.high is None else self.high


def spread(name: str, x: ArrayLike, values: ArrayLike) -> Series:
    """The series of `values` (seeds, k): their mean over seeds, the lowest and the highest seed."""
    found = np.asarray(values, float)
    return Series(name, np.asarray(x, float), found.mean(axis=0), found.min(axis=0), found.max(axis=0), found)


def read_curves(path: Path | Traversable) -> list[Series]:
    """A paper's own curves of a figure, from a CSV file with the columns series, x, y."""
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    names = dict.fromkeys(row["series"] for row in rows)
    points = {name: [(float(row["x"]), float(row["y"])) for row in rows if row["series"] == name] for name in names}
    return [Series(name, *np.array(points[name]).T) for name in names]


@dataclass(frozen=True)
class Comparison:
    """How far a curve of ours is from one of the paper's: the factor between them at each point, and where it is largest.

    The factor is the larger of ours / theirs and theirs / ours: 1 where the two are equal, infinite where one of them is zero
    or where their signs differ.

    Attributes
    ----------
    series, reference : str
    factor : float
        The largest.
    at : float
        The point where it is largest.
    ours, theirs : float
        The values there.
    median : float
        The median of the factors at all points.
    points : list of (float, float)
        Each point that both curves have, and the factor there.
    """

    series: str
    reference: str
    factor: float
    at: float
    ours: float
    theirs: float
    median: float
    points: list[tuple[float, float]]


def compare(series: Series, reference: Series) -> Comparison | None:
    """How far a series is from a reference curve, over the points where both have a value; None if there are none."""
    shared, i, j = np.intersect1d(series.x, reference.x, return_indices=True)
    ours, theirs = np.asarray(series.y[i], float), np.asarray(reference.y[j], float)
    there = ~np.isnan(ours) & ~np.isnan(theirs)
    shared, ours, theirs = shared[there], ours[there], theirs[there]
    if not len(shared):
        return None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factors = np.where(np.sign(ours) == np.sign(theirs), np.maximum(ours / theirs, theirs / ours), np.inf)
    factors[ours == theirs] = 1
    worst = int(np.argmax(factors))
    return Comparison(
        series.name,
        reference.name,
        factor=float(factors[worst]),
        at=float(shared[worst]),
        ours=float(ours[worst]),
        theirs=float(theirs[worst]),
        median=float(np.median(factors)),
        points=list(zip(shared.astype(float).tolist(), factors.tolist(), strict=True)),
    )
