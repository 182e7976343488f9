"""A power law and the cells that it was fitted to, drawn: log-log, one panel a setting.

Where a law has several settings, a panel shows all cells at once: those at other values of the remaining settings are moved by
the fitted law to where these have their middle value. If the law holds they lie on one line, and markers tell which are off.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...core.checks import instance, text
from ...core.errors import InvalidValue
from ...core.text import one_line
from ..style import COLOURS, MARKERS, PAPER, Axes, Canvas, band, legend, legend_below, new
from .law_data import Cells, checked
from .law_text import number
from .laws import PowerLaw

__all__ = ["draw"]

_APART = 0.012  # of the width of a panel: groups beside one another
_NOT_REACHED, _MEDIAN, _MEAN = (
    "not reached, at its limit",
    "median, some not reached",
    "mean and standard error",
)


def draw(
    law: PowerLaw,
    x: Mapping[str, ArrayLike],
    y: ArrayLike,
    seeds: ArrayLike,
    limit: ArrayLike | None = None,
    *,
    y_label: str | None = None,
) -> Canvas:
    """Draw a law over the cells that it was fitted to.

    Faint dots are single seeds. A marker is the geometric mean over seeds with its standard error. Where a seed did not reach,
    it is the median, hollow and without an error, if most seeds reached. Triangles that point upwards are
    cells that were not reached, at their limits.

    Parameters
    ----------
    law : PowerLaw
    x, y, seeds, limit
        What `fit_power` was given.
    y_label : str, optional
        The vertical axis; the law's own name of y if not given.

    Returns
    -------
    matplotlib figure

    Raises
    ------
    TypeError, ValueError
        As `fit_power`; settings that are not those of the law.
    """
    instance("law", law, PowerLaw)
    cells = checked(x, y, seeds, limit)
    if set(cells.names) != set(law.exponents):
        raise InvalidValue(f"x has {', '.join(cells.names)}; expected the law's own {', '.join(law.exponents)}.")
    label = one_line(law.y_name if y_label is None else text("y_label", y_label))
    n = len(cells.names)
    canvas, panels = new(n, width=3.5 if n == 1 else 3.1, height=3.0, squeeze=False)
    middle = np.array([_middle(levels) for levels in cells.levels])
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond float64 is not drawn
        for k, axes in enumerate(panels[0]):
            _panel(axes, law, cells, k, middle, label)
    legend_below(canvas, *panels[0], columns=2 if n == 1 else 3)
    return canvas


def _panel(axes: Axes, law: PowerLaw, cells: Cells, k: int, middle: NDArray[np.float64], label: str) -> None:
    """The law against the k-th setting."""
    exponents = np.array([law.exponents[name].value for name in cells.names])
    others = np.arange(len(cells.names)) != k
    z = cells.z - (cells.logs - middle)[:, others] @ exponents[others]
    log_x = cells.logs[:, k]
    span = float(np.ptp(log_x))
    groups, styles = _groups(cells, k)
    shifts = _APART * span * (np.arange(len(groups)) - (len(groups) - 1) / 2)
    for (of_group, name), shift, style in zip(groups, shifts, styles, strict=True):
        reached, lost = of_group & ~cells.censored, of_group & cells.censored
        axes.plot(np.exp(log_x[reached] + shift), np.exp(z[reached]), ".", color=style["color"], alpha=0.25, markersize=2.5,
                  markeredgewidth=0, zorder=2)  # fmt: skip
        if lost.any():
            axes.plot(np.exp(log_x[lost] + shift), np.exp(z[lost]), "^", markerfacecolor="none", alpha=0.7, markersize=4,
                      markeredgecolor=style["color"], markeredgewidth=0.6, zorder=3, label=_NOT_REACHED)  # fmt: skip
        _points(axes, cells, of_group, log_x + shift, z, style, name)
    _line(axes, law, cells, k, middle, log_x)
    axes.set(xscale="log", yscale="log", xlabel=one_line(cells.names[k]), ylabel=_taken(cells, k, middle, label))
    _ticks(axes, cells.values[k])
    if len(groups) > 1:
        _own_legend(axes, [name for _, name in groups])


def _points(
    axes: Axes,
    cells: Cells,
    of_group: NDArray[np.bool_],
    log_x: NDArray[np.float64],
    z: NDArray[np.float64],
    style: dict[str, Any],
    name: str,
) -> None:
    """One marker a setting: the mean over seeds with its standard error, or the median where some seed did not reach."""
    means, medians = [], []
    for point in np.unique(cells.points[1][of_group]):
        rows = of_group & (cells.points[1] == point)
        at, here, censored = log_x[rows][0], z[rows], cells.censored[rows]
        if not censored.any():
            error = here.std(ddof=1) / np.sqrt(len(here)) if len(here) > 1 else 0.0
            means.append((at, here.mean(), here.mean() - error, here.mean() + error))
            continue
        order = np.sort(np.where(censored, np.inf, here))
        median = (order[(len(order) - 1) // 2] + order[len(order) // 2]) / 2
        if np.isfinite(median) and median <= here[censored].min():
            medians.append((at, median))
    if means:
        x, y, low, high = np.exp(np.array(means).T)
        axes.errorbar(x, y, [y - low, high - y], elinewidth=0.9, capsize=0, linestyle="", zorder=5, label=name, **style)
    if medians:
        axes.plot(*np.exp(np.array(medians).T), markerfacecolor="white", markeredgewidth=0.9, linestyle="", zorder=5,
                  label=_MEDIAN, **style)  # fmt: skip


def _line(
    axes: Axes, law: PowerLaw, cells: Cells, k: int, middle: NDArray[np.float64], log_x: NDArray[np.float64]
) -> None:
    """The law, its band, and the theorem's slope through the middle."""
    name = cells.names[k]
    grid = np.linspace(log_x.min(), log_x.max(), 65)
    at: dict[str, Any] = {each: np.exp(middle[i]) for i, each in enumerate(cells.names)}
    at[name] = np.exp(grid)
    found = law.exponents[name]
    rows = law.rows(at)
    line = np.exp(rows @ np.array([law.log_constant.value, *(each.value for each in law.exponents.values())]))
    low, high = law.band(at)
    if np.isfinite(high).all():
        band(axes, at[name], low, high, COLOURS[0])
    ends = (found.own_low, found.own_high) if found.low is None or found.high is None else (found.low, found.high)
    axes.plot(at[name], line, color=COLOURS[0], linewidth=1.1, zorder=4, label="law with its 95% band")
    title = f"exponent {number(found.value)}, 95%: {number(ends[0])} to {number(ends[1])}"
    if found.theory is not None:
        slope = found.theory.exponent
        axes.plot(at[name], line[32] * np.exp(slope * (grid - grid[32])), color=PAPER, linestyle=":", linewidth=1.3, zorder=4,
                  label="slope of the theorem")  # fmt: skip
        title += f"\n{one_line(found.theory.source)}: {number(slope)}"
    axes.set_title(title.replace("-", "−"), fontsize=7, loc="left")


def _groups(cells: Cells, k: int) -> tuple[list[tuple[NDArray[np.bool_], str]], list[dict[str, Any]]]:
    """Cells by the values of the other settings, and how each group looks; all as one if there are more than looks."""
    others = [i for i in range(len(cells.names)) if i != k]
    if len(others) == 1 and len(cells.levels[others[0]]) <= len(MARKERS):
        (i,) = others
        column = np.round(cells.logs[:, i], 9)
        groups = [(column == level, f"{one_line(cells.names[i])} = {np.exp(level):.3g}") for level in cells.levels[i]]
    else:
        groups = [(np.ones(len(cells.z), bool), _MEAN)]
    looks = [{"color": COLOURS[j], "marker": MARKERS[j]} for j in range(len(groups))]
    if len(groups) == 1:
        looks = [{"color": COLOURS[1], "marker": MARKERS[0]}]
    return groups, looks


def _own_legend(axes: Axes, names: list[str]) -> None:
    """The panel's own legend of groups, which the one below all panels then leaves out."""
    handles, labels = axes.get_legend_handles_labels()
    shown = {label: handle for handle, label in zip(handles, labels, strict=True) if label in names}
    legend(axes, handles=list(shown.values()), labels=list(shown), handlelength=1)
    for handle, label in zip(handles, labels, strict=True):
        if label in names:
            handle.set_label("_")
    axes.plot([], [], marker=MARKERS[0], linestyle="", color=PAPER, label=_MEAN)


def _middle(levels: NDArray[np.float64]) -> float:
    """The middle value that was run, so that a label names a setting that is there."""
    return float(levels[len(levels) // 2])


def _taken(cells: Cells, k: int, middle: NDArray[np.float64], label: str) -> str:
    """The label of the vertical axis: where the other settings were taken to."""
    others = [f"{one_line(name)} = {np.exp(middle[i]):.3g}" for i, name in enumerate(cells.names) if i != k]
    lines = [label, f"(moved by the law to {', '.join(others)})"] if others else [label]
    return "\n".join(part for line in lines for part in textwrap.wrap(line, 42))


def _ticks(axes: Axes, values: NDArray[np.float64]) -> None:
    """The values that were run as ticks, if they are few and lie apart; plain numbers up the side."""
    from matplotlib.ticker import LogFormatter

    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.5, 0.6)))
    gaps = np.diff(np.log(values)) / np.log(values[-1] / values[0])
    if len(values) <= 8 and gaps.min() > 0.06:
        axes.set_xticks(values, [f"{value:.3g}" for value in values])
        axes.set_xticks([], minor=True)
