"""A figure as data: series with spread, the paper's own curves, claims, notes; and as files: PNG, CSV, JSON.

What is computed and how it is drawn are apart: `Figure` holds numbers, a `Recipe` knows how to compute and to draw them.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from ..core.files import to_json, write_whole
from .experiment import Experiment

__all__ = ["Comparison", "Figure", "Recipe", "Series", "compare", "listed", "no_runs", "read_curves", "spread"]


@dataclass(frozen=True, eq=False)
class Series:
    """One curve: y against x, and where there are several seeds the lowest and the highest of them.

    Attributes
    ----------
    name : str
    x, y : ndarray (k,)
    low, high : ndarray (k,) or None
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def spread(name, x, values):
    """The series of means over seeds of `values` (seeds, k), from the lowest to the highest seed."""
    values = np.asarray(values, float)
    return Series(name, np.asarray(x, float), values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def read_curves(path: Path | Traversable) -> list[Series]:
    """A paper's own curves of a figure, from a CSV file with the columns series, x, y."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = dict.fromkeys(row["series"] for row in rows)
    points = {name: [(float(row["x"]), float(row["y"])) for row in rows if row["series"] == name] for name in names}
    return [Series(name, *np.array(points[name]).T) for name in names]


@dataclass(frozen=True)
class Comparison:
    """Ours against the paper's curve at the paper's points.

    Attributes
    ----------
    series, reference : str
    factor : float
        Largest of ours / theirs and theirs / ours.
    at : float
        Where; `ours` and `theirs` are the values there.
    """

    series: str
    reference: str
    factor: float
    at: float
    ours: float
    theirs: float


def compare(series, reference):
    """The worst factor between a series and a reference curve, at the points both have; None where there is none."""
    shared, i, j = np.intersect1d(series.x, reference.x, return_indices=True)
    if not len(shared):
        return None
    ours, theirs = series.y[i], reference.y[j]
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.maximum(ours / theirs, theirs / ours)
    worst = int(np.argmax(np.where(np.isnan(factors), 1, factors)))
    values = (factors[worst], shared[worst], ours[worst], theirs[worst])
    return Comparison(series.name, reference.name, *map(float, values))


@dataclass(frozen=True, eq=False)
class Figure:
    """The data of one figure.

    Attributes
    ----------
    name, title : str
    settings : dict
        What it was computed with: name -> [value, where the value comes from].
    seeds : list of int
    series : list of Series
        Ours: mean, lowest and highest over seeds.
    claims : list of Claim
    reference : list of Series
        The paper's own curves where they are known, read off its figures.
    comparisons : list of Comparison
        Ours against them. Reported, never a claim: published figures have unknown settings.
    notes : list of str
        What a reader must know: what differs from the paper's figure, and why.
    """

    name: str
    title: str
    settings: dict
    seeds: list
    series: list
    claims: list
    reference: list = field(default_factory=list)
    comparisons: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    @property
    def ok(self):
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)

    def __getitem__(self, name):
        """The series of that name."""
        for series in self.series:
            if series.name == name:
                return series
        raise KeyError(f"{name!r} is no series of {self.name}; there are {', '.join(s.name for s in self.series)}")

    def to_dict(self):
        """Plain values, as in the JSON."""
        curves = {
            "series": [asdict(series) for series in self.series],
            "reference": [asdict(series) for series in self.reference],
        }
        for row in [*curves["series"], *curves["reference"]]:
            row["low"] = row["y"] if row["low"] is None else row["low"]
            row["high"] = row["y"] if row["high"] is None else row["high"]
        return {
            "figure": self.name,
            "title": self.title,
            "settings": self.settings,
            "seeds": list(self.seeds),
            **curves,
            "claims": [asdict(claim) for claim in self.claims],
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "notes": list(self.notes),
        }

    def to_csv(self):
        """All series and reference curves as text: series, x, y, low, high."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["series", "x", "y", "low", "high"])
        for prefix, group in (("", self.series), ("paper: ", self.reference)):
            for series in group:
                low, high = (series.y if end is None else end for end in (series.low, series.high))
                columns = [np.asarray(column, float).tolist() for column in (series.x, series.y, low, high)]
                rows.writerows([prefix + series.name, *row] for row in zip(*columns, strict=True))
        return text.getvalue()

    def write(self, folder, draw, formats=("png",)):
        """Write NAME.json, NAME.csv and a picture for each format into `folder`, each whole or not at all.

        Parameters
        ----------
        folder : path
            Must be there.
        draw : callable
            (Figure) -> matplotlib figure, as `Recipe.draw`.
        formats : sequence of str
            "png", "pdf", "svg".

        Returns
        -------
        list of Path
        """
        from .style import render

        base = Path(folder)
        contents = {"json": to_json(self.to_dict()), "csv": self.to_csv()}
        contents |= {kind: render(draw, self, kind) for kind in formats}
        for suffix, content in contents.items():
            write_whole(base / f"{self.name}.{suffix}", content)
        return [base / f"{self.name}.{suffix}" for suffix in contents]


@dataclass(frozen=True)
class Recipe(Experiment):
    """An experiment whose result is a `Figure`, and how it is drawn: (Figure) -> matplotlib figure."""

    draw: Callable | None = None


def no_runs(options):
    """`runs` of a recipe that needs no training runs, or does them when it measures."""
    return {}


def listed(values):
    """Numbers in a row, in four digits."""
    return ", ".join(f"{value:.4g}" for value in np.ravel(values))
