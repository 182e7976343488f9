"""One look for all figures: a column wide, readable in print and in grey.

Curves differ by lightness, line style and marker at once, so that none of the three is needed alone. The paper's own
curves are thin, hollow and grey.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .series import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
else:
    Axes = Canvas = Any  # matplotlib is imported when something is drawn

__all__ = [
    "COLOURS",
    "FORMATS",
    "MARKERS",
    "PAPER",
    "STYLES",
    "Axes",
    "Canvas",
    "band",
    "curve",
    "legend",
    "legend_below",
    "new",
    "render",
    "settled",
    "theirs",
]

# dark to light, so that they keep their order in grey: near black, blue, vermilion, green, orange, sky
COLOURS = ("#1b1b1b", "#1f4e8c", "#b5402a", "#2f8f6b", "#d08a1d", "#79b4dc")
STYLES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
PAPER = "#8a8a8a"
_DATED = {"png": "Software", "pdf": "CreationDate", "svg": "Date"}  # what in a file changes with time or version
FORMATS = tuple(_DATED)
SETTINGS: Any = {  # matplotlib's rcParams
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "legend.fontsize": 6.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "mathtext.fontset": "cm",
    "pdf.fonttype": 42,
    "svg.hashsalt": "nlicl",
}


def new(columns: int = 1, width: float = 3.5, height: float = 2.7, rows: int = 1, **options: Any) -> tuple[Canvas, Any]:
    """A matplotlib figure without a window, and its axes: one, or an array of them. `width` and `height` are those of one."""
    figure = _kind()(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


@cache
def _kind() -> Any:
    """A figure that a notebook shows, whether pyplot was imported or not."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            out = io.BytesIO()
            self.savefig(out, format="png", dpi=100)
            return out.getvalue()

    return Shown


def curve(
    axes: Axes,
    series: Series,
    i: int,
    *,
    label: str | None = None,
    floor: float | None = None,
    every: int | tuple[int, int] = 1,
) -> None:
    """Draw a series as the i-th curve, with a band from its lowest to its highest seed. `floor` lifts zeros on a log axis."""

    def lift(y: NDArray) -> NDArray:
        return y if floor is None else np.maximum(y, floor)

    k = i % len(COLOURS)
    axes.plot(series.x, lift(series.y), color=COLOURS[k], linestyle=STYLES[k], marker=MARKERS[k], markevery=every,
              label=series.name if label is None else label, zorder=3)  # fmt: skip
    if series.low is not None and series.high is not None:
        band(axes, series.x, lift(series.low), lift(series.high), COLOURS[k])


def band(axes: Axes, x: NDArray, low: NDArray, high: NDArray, colour: str) -> None:
    """The spread over seeds."""
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0, zorder=2)


def theirs(axes: Axes, series: Series, i: int, *, label: str | None = None) -> None:
    """Draw one of the paper's curves: thin and grey, with hollow markers of the shape that our i-th curve has."""
    k = i % len(COLOURS)
    axes.plot(series.x, series.y, color=PAPER, linestyle=":", linewidth=0.8, marker=MARKERS[k], markerfacecolor="none",
              markeredgewidth=0.7, label=f"paper: {series.name}" if label is None else label, zorder=1)  # fmt: skip


def legend(axes: Axes, **options: Any) -> None:
    """A legend without a frame, in small print."""
    axes.legend(**{"handlelength": 2.6, "labelspacing": 0.3, **options})


def legend_below(canvas: Canvas, *panels: Axes, columns: int | None = None, **options: Any) -> None:
    """One legend below all panels, in one row if `columns` is not given. Of entries with one name the first is taken."""
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    options = {"handlelength": 2.6, "ncols": columns or len(entries), **options}
    canvas.legend(list(entries.values()), list(entries), loc="outside lower center", **options)


@contextmanager
def settled() -> Iterator[None]:
    """What is drawn meanwhile has the look of all figures."""
    import matplotlib

    with matplotlib.rc_context(SETTINGS):
        yield


Data = TypeVar("Data")


def render(draw: Callable[[Data], Canvas], data: Data, kind: str) -> bytes:
    """The picture of a figure's data, as bytes of a file of one of `FORMATS`. It is undated: the same data, the same bytes."""
    with settled():
        figure = draw(data)
        out = io.BytesIO()
        figure.savefig(out, format=kind, metadata={_DATED[kind]: None})
    return out.getvalue()
