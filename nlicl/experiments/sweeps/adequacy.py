"""Is a power law adequate at all? Curvature, a test for lack of fit, and local exponents.

A law that bends is no power law, however small the error of its exponent. Three things are looked at:

curvature       c in log y = ... + p log x + c (log x - mean)^2, for one setting at a time
lack of fit     an F test of the law against a mean of its own for every point of the grid
local exponents the slope from each value of a setting to the next, the other settings being the same

The first two are tests. Together they call about one true power law in twenty inadequate: each is held to 0.05 divided by
their number. "Adequate" says more than that neither found anything: the data must bound the bend, too.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .law_data import Cells
from .likelihood import determined, fit, refits
from .resampling import interval

__all__ = ["Adequacy", "Curvature", "LackOfFit", "LocalExponent", "judge"]

LEVEL = 0.05
"""How often a true power law is called inadequate, at most."""
BEND = (0.25, 0.5)
"""A bend that does not matter: the local exponent changes over the range of x by at most 0.25, or by half of the exponent."""


@dataclass(frozen=True)
class Curvature:
    """How the exponent of one setting changes over its range, by a quadratic term of log x.

    Attributes
    ----------
    value : float
        The coefficient of (log x - mean)^2.
    low, high : float
        Its 95% interval: over seeds, or of the fit where there is one seed.
    change, change_low, change_high : float
        The local exponent at the largest x, less that at the smallest.
    bends : bool
        Whether it is told from 0, by an interval that is wider as there are more tests.
    """

    value: float
    low: float
    high: float
    change: float
    change_low: float
    change_high: float
    bends: bool


@dataclass(frozen=True)
class LackOfFit:
    """The F test of the law against a mean of its own for every point of the grid. It needs replicates, and nothing censored.

    Attributes
    ----------
    F : float
    freedom : (int, int)
    p : float
        The probability of an F as large or larger, if the law holds and the noise is Gaussian and of one size.
    of_seeds : bool
        Every seed may have a law of its own, and what is tested is whether the seeds' mean departs from a law. True where
        every seed was run at enough settings: its randomness is the same at all, and its cells are not independent.
    largest : float
        The factor by which the point farthest from the law is off it, 1 or more.
    """

    F: float
    freedom: tuple[int, int]
    p: float
    of_seeds: bool
    largest: float


@dataclass(frozen=True)
class LocalExponent:
    """The slope of log y between two neighbouring values of a setting.

    Attributes
    ----------
    x_low, x_high : float
    value : float
        The mean over the settings of the other axes.
    low, high : float or None
        The 95% interval over seeds. None: there is one seed.
    settings : int
        Settings of the other axes at which both values were run and reached.
    """

    x_low: float
    x_high: float
    value: float
    low: float | None
    high: float | None
    settings: int


@dataclass(frozen=True)
class Adequacy:
    """Whether a power law is adequate.

    Attributes
    ----------
    adequate : bool or None
        None: it cannot be told.
    verdict : str
        The same in words, with the reason.
    curvature : dict of str to Curvature
        For each setting with at least three values, where the cells determine it.
    lack_of_fit : LackOfFit or None
        None: no replicates, no points beyond what the law has constants, or censored cells.
    local : dict of str to list of LocalExponent
        Of means over seeds; of medians where some cell is censored.
    """

    adequate: bool | None
    verdict: str
    curvature: dict[str, Curvature]
    lack_of_fit: LackOfFit | None
    local: dict[str, list[LocalExponent]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def judge(cells: Cells, exponents: Sequence[float], counts: NDArray[np.float64]) -> Adequacy:
    """Whether a power law is adequate for cells of a sweep.

    Parameters
    ----------
    cells : Cells
    exponents : sequence of float
        Of the law, one for each of `cells.names`.
    counts : ndarray (draws, seeds)
        How often each seed counts in each draw; see `nlicl.experiments.sweeps.resampling`.

    Returns
    -------
    Adequacy
    """
    lack = _lack_of_fit(cells)
    enough = {k: name for k, name in enumerate(cells.names) if len(cells.levels[k]) > 2}
    tests = len(enough) + (lack is not None)
    curvature = {
        name: found for k, name in enough.items() if (found := _curvature(cells, k, tests, counts)) is not None
    }
    local = {name: _local(cells, k, counts) for k, name in enumerate(cells.names)}
    adequate, verdict = _verdict(cells, dict(zip(cells.names, exponents, strict=True)), curvature, lack, local, tests)
    return Adequacy(adequate, verdict, curvature, lack, local)


# ---------------------------------------------------------------- curvature


def _curvature(cells: Cells, k: int, tests: int, counts: NDArray[np.float64]) -> Curvature | None:
    """The quadratic term of the k-th setting; None if the cells do not determine it."""
    from scipy.stats import t

    square = (cells.logs[:, k] - cells.centre[k]) ** 2
    X = np.column_stack([cells.X, square])
    found = fit(X, cells.z, cells.censored)
    if found is None:
        return None
    value, own = float(found.beta[-1]), float(np.sqrt(found.covariance[-1, -1]))
    n_seeds = len(cells.seeds)
    drawn = refits(X, cells.z, cells.censored, cells.seed, counts)[:, -1] if n_seeds > 1 else np.empty(0)

    def ends(level: float) -> tuple[float, float]:
        low, high = interval(value, drawn, n_seeds, level)
        if low is None or high is None:
            half = float(t.isf((1 - level) / 2, found.freedom)) * own
            return value - half, value + half
        return low, high

    low, high = ends(0.95)
    strict_low, strict_high = ends(1 - LEVEL / tests)
    # rounding: without noise the ends are a hair's breadth apart, and 0 may lie just beside them
    span = float(np.ptp(cells.levels[k]))
    rounding = 1e-9 * max(1.0, float(np.ptp(cells.z))) / span**2
    bends = strict_low > rounding or strict_high < -rounding
    return Curvature(value, low, high, 2 * span * value, 2 * span * low, 2 * span * high, bool(bends))


# ---------------------------------------------------------------- lack of fit


def _lack_of_fit(cells: Cells) -> LackOfFit | None:
    """The F test; None where there is nothing to test it against."""
    from scipy.stats import f

    if cells.censored.any():
        return None
    points, point = cells.points
    blocks = [np.flatnonzero(cells.seed == i) for i in range(len(cells.seeds))]
    of_seeds = len(blocks) > 1 and all(len(block) > cells.X.shape[1] and determined(cells.X[block]) for block in blocks)
    if not of_seeds:
        blocks = [np.arange(len(cells.z))]
    own = np.zeros((len(cells.z), len(points) + 1))  # means of points, and z; then what of them is not the blocks' laws
    own[np.arange(len(cells.z)), point] = 1
    own[:, -1] = cells.z - cells.z.mean()
    for block in blocks:
        Q, _ = np.linalg.qr(cells.X[block])
        own[block] -= Q @ (Q.T @ own[block])
    left = own[:, -1]
    means, _, rank, _ = np.linalg.lstsq(own[:, :-1], left, rcond=1e-9)
    freedom = int(rank), len(left) - len(blocks) * cells.X.shape[1] - int(rank)
    if min(freedom) < 1:
        return None
    total, noise = float(left @ left), float(np.sum((left - own[:, :-1] @ means) ** 2))
    size = float(np.sum((cells.z - cells.z.mean()) ** 2)) + len(left) * 1e-9
    off = np.bincount(point, left) / np.bincount(point)
    with np.errstate(over="ignore"):
        largest = float(np.exp(np.abs(off).max()))
    if total <= 1e-20 * size:  # rounding
        return LackOfFit(0.0, freedom, 1.0, of_seeds, 1.0)
    lack = max(total - noise, 0) / freedom[0]
    ratio = lack / (noise / freedom[1]) if noise > 1e-20 * size else np.inf
    return LackOfFit(float(ratio), freedom, float(f.sf(ratio, *freedom)), of_seeds, largest)


# ---------------------------------------------------------------- local exponents


def _local(cells: Cells, k: int, counts: NDArray[np.float64]) -> list[LocalExponent]:
    """The slopes between neighbouring values of the k-th setting."""
    points, point = cells.points
    n_seeds = len(cells.seeds)
    at = _medians if cells.censored.any() else _means
    ones = np.ones((1, n_seeds))
    full = at(cells, point, len(points), ones)[0]
    drawn = at(cells, point, len(points), counts) if n_seeds > 1 else np.empty((0, len(points)))
    others = [tuple(np.delete(each, k)) for each in points]
    found = []
    for (low, x_low), (high, x_high) in pairwise(zip(cells.levels[k], cells.values[k], strict=True)):
        below = {others[i]: i for i in np.flatnonzero(points[:, k] == low)}
        above = {others[i]: i for i in np.flatnonzero(points[:, k] == high)}
        pairs = [(below[each], above[each]) for each in below if each in above]
        pairs = [(i, j) for i, j in pairs if np.isfinite(full[i]) and np.isfinite(full[j])]
        if pairs:
            i, j = np.array(pairs).T
            step = np.log(x_high) - np.log(x_low)
            slopes = (drawn[:, j] - drawn[:, i]).mean(axis=1) / step
            value = float((full[j] - full[i]).mean() / step)
            lower, upper = interval(value, slopes, n_seeds)
            found.append(LocalExponent(float(x_low), float(x_high), value, lower, upper, len(pairs)))
    return found


def _means(cells: Cells, point: NDArray[np.intp], n_points: int, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of log y at each point, in each draw (draws, points); NaN where no cell is left."""
    shape = (len(cells.seeds), n_points)
    place = np.ravel_multi_index((cells.seed, point), shape)
    sums, sizes = (
        np.bincount(place, weights, minlength=shape[0] * shape[1]).reshape(shape) for weights in (cells.z, None)
    )
    with np.errstate(invalid="ignore"):
        return (counts @ sums) / (counts @ sizes)


def _medians(cells: Cells, point: NDArray[np.intp], n_points: int, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of log y at each point, in each draw (draws, points); NaN where it is not known, or no cell is left."""
    found = np.full((len(counts), n_points), np.nan)
    for i in range(n_points):
        here = np.flatnonzero(point == i)
        censored = cells.censored[here]
        z = np.where(censored, np.inf, cells.z[here])
        if censored.any():
            z[z > cells.z[here][censored].min()] = np.inf  # a censored cell may lie below them
        order = np.argsort(z, kind="stable")
        weights = np.cumsum(counts[:, cells.seed[here[order]]], axis=1)
        half = weights[:, -1:] / 2
        with np.errstate(invalid="ignore"):
            middle = (z[order][np.argmax(weights >= half, axis=1)] + z[order][np.argmax(weights > half, axis=1)]) / 2
        middle[(half[:, 0] == 0) | np.isinf(middle)] = np.nan
        found[:, i] = middle
    return found


# ---------------------------------------------------------------- verdict


def _verdict(
    cells: Cells,
    exponents: dict[str, float],
    curvature: dict[str, Curvature],
    lack: LackOfFit | None,
    local: dict[str, list[LocalExponent]],
    tests: int,
) -> tuple[bool | None, str]:
    """Whether a power law is adequate, and the reason in words."""
    bent = [_of_bend(name, found, local[name]) for name, found in curvature.items() if found.bends]
    if bent:
        return False, f"a power law is not adequate: {'; '.join(bent)}."
    if lack is not None and lack.p < LEVEL / tests:
        F = (
            "with no scatter to explain it"
            if np.isinf(lack.F)
            else f"F = {lack.F:.3g} on {lack.freedom[0]} and {lack.freedom[1]}"
        )
        return False, (
            f"a power law is not adequate: means over seeds lie off it by more than their scatter ({F}, p = {lack.p:.2g}), "
            f"the farthest by a factor of {lack.largest:.3g}."
        )
    wide = {name: max(-found.change_low, found.change_high) for name, found in curvature.items()}
    small = [name for name in wide if wide[name] <= max(BEND[0], BEND[1] * abs(exponents[name]))]
    bounds = _and([f"in {name} by at most {max(wide[name], 0.001):.2g}" for name in small])
    changes = f"over its range the local exponent changes {bounds} (95%)"
    if len(small) == len(cells.names):
        return True, f"a power law is adequate: {changes}."
    few = [name for k, name in enumerate(cells.names) if len(cells.levels[k]) < 3]
    unknown = [name for name in cells.names if name not in few and not np.isfinite(wide.get(name, np.inf))]
    may = [f"in {name} by {wide[name]:.2g}" for name in wide if name not in small and name not in unknown]
    reasons = [f"only two values of {_and(few)}"] if few else []
    reasons += [f"too few cells or seeds to bound a bend in {_and(unknown)}"] if unknown else []
    reasons += [f"the local exponent may change {_and(may)} over its range"] if may else []
    found = f" Nothing speaks against it{f', and {changes}' if small else ''}." if tests else ""
    return None, f"it cannot be told whether a power law is adequate: {'; '.join(reasons)}.{found}"


def _of_bend(name: str, found: Curvature, local: list[LocalExponent]) -> str:
    """A bend in words."""
    if len(local) > 1:
        first, last = local[0], local[-1]
        return (
            f"the local exponent in {name} goes from {first.value:.2f} between {first.x_low:.3g} and {first.x_high:.3g} to "
            f"{last.value:.2f} between {last.x_low:.3g} and {last.x_high:.3g}"
        )
    return f"the local exponent in {name} changes by {found.change:+.2f} over its range"


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
