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
    """

    name: str
    x: NDArray
    y: NDArray
    low: NDArray | None = None
    high: NDArray | None = None

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
    return Series(name, np.asarray(x, float), found.mean(axis=0), found.min(axis=0), found.max(axis=0))


def read_curves(path: Path | Traversable) -> list[Series]:
    """A paper's own curves of a figure, from a CSV file with the columns series, x, y."""
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    names = dict.fromkeys(row["series"] for row in rows)
    points = {name: [(float(row["x"]), float(row["y"])) for row in rows if row["series"] == name] for name in names}
    return [Series(name, *np.array(points[name]).T) for name in names]


@dataclass(frozen=True)
class Comparison:
    """How far a curve of ours is from one of the paper's, where the two are farthest apart.

    Attributes
    ----------
    series, reference : str
    factor : float
        The larger of ours / theirs and theirs / ours, at the point where it is largest.
    at : float
        That point.
    ours, theirs : float
        The values there.
    """

    series: str
    reference: str
    factor: float
    at: float
    ours: float
    theirs: float


def compare(series: Series, reference: Series) -> Comparison | None:
    """The largest factor between a series and a reference curve, over the points that both have; None if there are none."""
    shared, i, j = np.intersect1d(series.x, reference.x, return_indices=True)
    if not len(shared):
        return None
    ours, theirs = series.y[i], reference.y[j]
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.maximum(ours / theirs, theirs / ours)
    worst = int(np.argmax(np.where(np.isnan(factors), 1, factors)))
    values = (factors[worst], shared[worst], ours[worst], theirs[worst])
    return Comparison(series.name, reference.name, *map(float, values))
