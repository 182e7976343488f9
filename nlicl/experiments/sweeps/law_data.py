"""What a law is fitted to: cells of a sweep, checked, as logarithms, in one order."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.arrays import as_array
from ...core.checks import LARGEST, integers, numbers, text
from ...core.describe import short
from ...core.errors import InvalidType, InvalidValue
from .likelihood import determined

__all__ = ["Cells", "checked"]

_SAME = 9  # decimals of log x by which two values are the same


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells with a value, sorted, so that no result depends on their order.

    Attributes
    ----------
    names : tuple of str
        Of the settings.
    x, logs : ndarray (n, k)
        x and log x.
    z : ndarray (n,)
        log y, or the log of the limit where y was not reached.
    censored : ndarray (n,) of bool
    seed : ndarray (n,) of int
        Numbers of the seeds in `seeds`.
    seeds : tuple of int
    left_out : int
        Cells without a value.
    """

    names: tuple[str, ...]
    x: NDArray[np.float64]
    logs: NDArray[np.float64]
    z: NDArray[np.float64]
    censored: NDArray[np.bool_]
    seed: NDArray[np.intp]
    seeds: tuple[int, ...]
    left_out: int

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """The mean of log x (k,)."""
        return self.logs.mean(axis=0)

    @cached_property
    def X(self) -> NDArray[np.float64]:
        """A column of ones, and the centred logs (n, 1 + k)."""
        return np.column_stack([np.ones(len(self.z)), self.logs - self.centre])

    @cached_property
    def levels(self) -> list[NDArray[np.float64]]:
        """The different values of each log x, rounded, from low to high."""
        return [np.unique(np.round(column, _SAME)) for column in self.logs.T]

    @cached_property
    def values(self) -> list[NDArray[np.float64]]:
        """The same values of x, as they were given."""
        first = [np.unique(np.round(column, _SAME), return_index=True)[1] for column in self.logs.T]
        return [column[rows] for column, rows in zip(self.x.T, first, strict=True)]

    @cached_property
    def unreached(self) -> dict[str, tuple[float, ...]]:
        """The values of each setting at which every cell is censored, where there are some."""
        found = {}
        for k, name in enumerate(self.names):
            column = np.round(self.logs[:, k], _SAME)
            lost = np.setdiff1d(self.levels[k], column[~self.censored])
            if len(lost):
                found[name] = tuple(self.values[k][np.isin(self.levels[k], lost)].tolist())
        return found

    @cached_property
    def points(self) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """The different settings (points, k) as logs, and the number of each cell's (n,)."""
        found, point = np.unique(np.round(self.logs, _SAME), axis=0, return_inverse=True)
        return found, point.ravel()


def checked(x: Mapping[str, Any], y: Any, seeds: Any, limit: Any) -> Cells:
    """The cells of a sweep. Arguments and errors as of `nlicl.experiments.sweeps.laws.fit_power`."""
    if not isinstance(x, Mapping):
        raise InvalidType(f"x is {short(x)}; expected a dict of names to arrays.")
    if not x:
        raise InvalidValue("x is empty; expected at least one setting that varies, as a dict of names to arrays.")
    names = tuple(text("a name in x", name) for name in x)
    values = _measured(y)
    n = len(values)
    columns = [_of_length(n, f"x[{name!r}]", _positive(f"x[{name!r}]", x[name], "(n,)")) for name in x]
    group = _of_length(n, "seeds", integers("seeds", seeds, 0, LARGEST))
    bounds = np.full(n, np.nan) if limit is None else _limits(limit, n)
    _check_limits(values, bounds, limit is None)
    there = ~np.isnan(values)
    censored = np.isinf(values)
    values_of_x = np.array(columns).T
    logs = np.log(values_of_x)
    z = np.log(np.where(censored, bounds, values))
    order = np.lexsort([z, censored, group, *logs.T[::-1]])
    order = order[there[order]]
    own, number = np.unique(group[order], return_inverse=True)
    cells = Cells(
        names,
        values_of_x[order],
        logs[order],
        z[order],
        censored[order],
        number.ravel(),
        tuple(own.tolist()),
        n - int(there.sum()),
    )
    _check_enough(cells)
    return cells


def _positive(name: str, value: Any, shape: str) -> NDArray[np.float64]:
    return numbers(name, value, "greater than 0", lambda x: x > 0, shape=shape)


def _of_length(n: int, name: str, array: NDArray[Any]) -> NDArray[Any]:
    if len(array) != n:
        raise InvalidValue(f"{name} has {len(array)} entries; expected {n}, one a cell, as y has.")
    return array


def _measured(y: Any) -> NDArray[np.float64]:
    """y as float64: positive, infinity, or NaN."""
    array = as_array(y, "y")
    if array.dtype.kind not in "fiu":
        raise InvalidType(f"y has dtype {short(str(array.dtype))[1:-1]}; expected an array (n,) of numbers.")
    if array.ndim != 1:
        raise InvalidValue(f"y has shape {array.shape}; expected (n,), one number a cell.")
    with np.errstate(over="ignore"):  # of a long double
        values = array.astype(float)
    wrong = np.flatnonzero(values <= 0)
    if len(wrong):
        raise InvalidValue(
            f"y[{wrong[0]}] is {values[wrong[0]]:g}; expected a number greater than 0, inf where it was not reached, "
            "or nan where there is no value: a power law has no other values."
        )
    return values


def _limits(limit: Any, n: int) -> NDArray[np.float64]:
    """The limits of all cells; what cannot be one is looked at where one is needed."""
    array = as_array(limit, "limit")
    if array.dtype.kind not in "fiu":
        raise InvalidType(f"limit has dtype {short(str(array.dtype))[1:-1]}; expected an array (n,) of numbers.")
    if array.ndim == 0:
        array = np.full(n, array)
    if array.ndim != 1:
        raise InvalidValue(f"limit has shape {array.shape}; expected (n,), one number a cell, or one for all.")
    with np.errstate(over="ignore"):  # of a long double
        return _of_length(n, "limit", array.astype(float))


def _check_limits(values: NDArray[np.float64], bounds: NDArray[np.float64], none: bool) -> None:
    for i in np.flatnonzero(np.isinf(values)):
        if not (np.isfinite(bounds[i]) and bounds[i] > 0):
            given = "limit is not given" if none else f"limit[{i}] is {bounds[i]:g}"
            raise InvalidValue(
                f"y[{i}] is inf, not reached, and {given}; expected the largest value that could have been seen there, a "
                "finite number greater than 0."
            )
    beyond = np.flatnonzero(np.isfinite(values) & (values > bounds))
    if len(beyond):
        i = beyond[0]
        raise InvalidValue(
            f"y[{i}] is {values[i]:g}, and limit[{i}] is {bounds[i]:g}; expected no value beyond its limit: give inf "
            "where it was not reached."
        )


def _check_enough(cells: Cells) -> None:
    """InvalidValue unless the cells that were reached determine a law, and one cell more."""
    least = len(cells.names) + 2
    reached = ~cells.censored
    n, r = len(cells.z), int(reached.sum())
    what = (
        f"{r} of {n} cells were reached"
        if r < n
        else f"there {'is 1 cell' if n == 1 else f'are {n} cells'} with a value"
    )
    if r < least:
        raise InvalidValue(
            f"{what}; expected at least {least}, one more than the law has constants: {least - 1} with "
            f"{', '.join(cells.names)}."
        )
    for k, name in enumerate(cells.names):
        for rows, which in ((slice(None), ""), (reached, ", where y was reached,")):
            found = np.unique(np.round(cells.logs[rows, k], _SAME))
            if len(found) < 2:
                raise InvalidValue(
                    f"x[{name!r}]{which} has one value only, {np.exp(found[0]):.4g}; expected at least two different ones: no "
                    "exponent can be told from one."
                )
    for rows, which in ((slice(None), ""), (reached, " where y was reached")):
        if not determined(cells.X[rows]):
            raise InvalidValue(
                f"log x of {' and '.join(cells.names)} are collinear{which}: they vary together, and no exponent of one can "
                "be told from another's; expected settings in which one varies while the others stay."
            )
