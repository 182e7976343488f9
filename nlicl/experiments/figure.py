"""A figure as data: series, the paper's own curves, claims, notes; and as files: PNG, CSV, JSON.

`Figure` holds numbers. A `Recipe` computes them, gives the figure its name, and draws it.
"""

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..core.checks import choice, path
from ..core.describe import short
from ..core.errors import InvalidType
from ..core.files import to_json, write_whole
from ..core.text import one_line
from .claims import Claim, all_hold
from .experiment import Experiment, Found, Options, Seeds
from .notebook import figure_html
from .series import Comparison, Series
from .settings import Settings
from .style import FORMATS, Canvas, render

__all__ = ["FORMAT", "Figure", "Original", "Recipe"]

FORMAT = 1
"""Of the JSON. It changes when a later nlicl cannot read what an earlier one wrote."""


@dataclass(frozen=True)
class Original:
    """The paper's figure that ours stands beside.

    Attributes
    ----------
    name : str
        "Figure 2 (a)".
    known : str
        What is known of it, each item with its mark (see `nlicl.papers.provenance`).
    unknown : str
        What is not known of it, and what was taken in its place.
    """

    name: str
    known: str
    unknown: str


@dataclass(frozen=True, eq=False)
class Figure:
    """The data of one figure.

    Attributes
    ----------
    title : str
    settings : dict
        What it was computed with: name -> [value, where the value comes from].
    seeds : list of int
    series : list of Series
        Our curves: mean, lowest and highest over seeds.
    claims : list of Claim
    reference : list of Series
        The paper's own curves where they are known, read off its figures.
    comparisons : list of Comparison
        Our curves against them. They are reported and never claimed: published figures have unknown settings.
    notes : list of str
        What a reader must know, above all what differs from the paper's figure, and why.
    name : str
        PAPER-FIGURE, the name of its files. `Recipe.result` gives it: what computes a figure leaves it empty.
    original : Original, optional
        The paper's figure that it stands beside. `Recipe.result` gives it.
    options : dict
        What it was asked for that is not the recipe's default: {"quick": True}. `Recipe.result` gives it.
    """

    title: str
    settings: Settings
    seeds: Seeds
    series: list[Series]
    claims: list[Claim]
    reference: list[Series] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    name: str = ""
    original: Original | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every claim holds."""
        return all_hold(self.claims)

    def __getitem__(self, name: str) -> Series:
        """The series of that name."""
        for series in self.series:
            if series.name == name:
                return series
        there = ", ".join(series.name for series in self.series)
        raise KeyError(f"{name!r} is no series of {self.name or repr(self.title)}; there are {there}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in the JSON."""
        return {
            "format": FORMAT,
            "nlicl": __version__,
            "figure": self.name,
            "title": self.title,
            "original": None if self.original is None else asdict(self.original),
            "options": self.options,
            "settings": self.settings,
            "seeds": list(self.seeds),
            "series": [_plain(series) for series in self.series],
            "reference": [_plain(series) for series in self.reference],
            "claims": [asdict(claim) for claim in self.claims],
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """All series and reference curves as text: series, x, y, low, high, and each seed's value where it is known."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["series", "x", "y", "low", "high", *(f"seed {seed}" for seed in self.seeds)])
        for prefix, group in (("", self.series), ("paper: ", self.reference)):
            for series in group:
                every = () if series.each is None or len(series.each) != len(self.seeds) else tuple(series.each)
                columns = [np.asarray(column, float).tolist() for column in (series.x, series.y, *series.ends, *every)]
                unknown = [""] * (len(self.seeds) - len(every))
                rows.writerows([one_line(prefix + series.name), *row, *unknown] for row in zip(*columns, strict=True))
        return text.getvalue()

    def __repr__(self) -> str:
        held = sum(claim.holds is True for claim in self.claims)
        return (
            f"Figure({self.name or self.title!r}, {len(self.series)} series, {held} of {len(self.claims)} claims hold)"
        )

    def _repr_html_(self) -> str | None:
        return figure_html(self)

    def write(
        self, folder: str | PathLike[str], draw: Callable[["Figure"], Canvas], formats: Iterable[str] = ("png",)
    ) -> list[Path]:
        """Write NAME.json, NAME.csv and a picture for each format into `folder`, each whole or not at all.

        Parameters
        ----------
        folder : path
            Must be there.
        draw : callable
            (Figure) -> matplotlib figure, as `Recipe.draw`.
        formats : sequence of str
            Of `FORMATS`: "png", "pdf", "svg".

        Returns
        -------
        list of Path

        Raises
        ------
        TypeError, ValueError
            No path, or another format: before anything is drawn.
        """
        base = path("folder", folder, "the path of a folder")
        if not isinstance(formats, Iterable):
            raise InvalidType(f"formats is {short(formats)}; expected a list of {', '.join(map(repr, FORMATS))}.")
        formats = [choice("formats", kind, FORMATS) for kind in formats]
        contents: dict[str, str | bytes] = {"json": to_json(self.to_dict()), "csv": self.to_csv()}
        contents |= {kind: render(draw, self, kind) for kind in formats}
        for suffix, content in contents.items():
            write_whole(base / f"{self.name}.{suffix}", content)
        return [base / f"{self.name}.{suffix}" for suffix in contents]


def _plain(series: Series) -> dict[str, Any]:
    low, high = series.ends
    of_seeds: Any = [] if series.each is None else series.each
    return {"name": series.name, "x": series.x, "y": series.y, "low": low, "high": high, "each": of_seeds}


@dataclass(frozen=True)
class Recipe(Experiment):
    """An experiment whose result is a `Figure`, and how to draw it.

    Attributes
    ----------
    draw : callable
        (Figure) -> matplotlib figure.
    paper : str
        The paper's name. `nlicl.experiments.registry.figures` fills it in: a module of figures leaves it empty.
    original : Original, optional
        The paper's figure that this one stands beside; None: the paper has no such figure.
    """

    draw: Callable[[Figure], Canvas] = field(kw_only=True)
    paper: str = field(default="", kw_only=True)
    original: Original | None = field(default=None, kw_only=True)

    def result(self, options: Options, seeds: Seeds, found: Found) -> Figure:
        """The figure, called PAPER-NAME by the paper's and the recipe's names."""
        figure: Figure = self.assemble(options, seeds, found)
        name = f"{self.paper}-{self.name}" if self.paper else self.name
        usual = {**self.options, "quick": False}
        asked = {key: value for key, value in options.items() if value != usual.get(key)}
        return replace(figure, name=name, original=self.original, options=asked)
