"""What a sweep came to: one row a cell, and what all seeds of a setting say together."""

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.checks import choice, path
from ...core.describe import short
from ...core.errors import InvalidKey, InvalidType, InvalidValue
from ...core.extras import need
from ...core.files import plain, write_whole
from ..notebook import table_html
from ..style import Canvas, settled
from .cell import Record
from .laws import PowerLaw, Theory, fit_power

__all__ = ["Setting", "Table", "has_parquet"]

_NOT_REACHED = "not reached"


class Setting:
    """All seeds of one setting.

    Attributes
    ----------
    over : dict
        The setting.
    records : list of Record
    """

    def __init__(self, over: Mapping[str, Any], records: Sequence[Record]) -> None:
        self.over, self.records = dict(over), list(records)

    def values(self, measure: str) -> NDArray[np.float64]:
        """The numbers of the seeds that came to their end."""
        return np.array([each.values[measure] for each in self.records if each.state == "done"], float)

    @property
    def states(self) -> dict[str, int]:
        """How many cells came to something else than their end, by state."""
        return dict(Counter(each.state for each in self.records if each.state != "done"))

    def median(self, measure: str) -> float:
        """The median over seeds: infinity if half of them did not reach it, NaN if there are none."""
        return _quantile(self.values(measure), 0.5)

    def to_dict(self, measures: Iterable[str]) -> dict[str, Any]:
        """Plain values, for JSON."""
        found = {}
        for name in measures:
            values = self.values(name)
            found[name] = {
                "median": self.median(name),
                "low": _quantile(values, 0.0),
                "high": _quantile(values, 1.0),
                "not_reached": int(np.isposinf(values).sum()),
            }
        return {"over": self.over, "seeds": len(self.records), "states": self.states, "measures": found}


class Table(Sequence[Record]):
    """The records of a sweep, in the order of their settings and seeds.

    `table["seed"]`, `table["alpha"]`, `table["hinge_unseen"]` are columns, arrays of one entry a cell.

    Attributes
    ----------
    names : tuple of str
        What was swept over.
    measures : tuple of str
    """

    __module__ = "nlicl"

    def __init__(self, names: Sequence[str], measures: Sequence[str], records: Iterable[Record]) -> None:
        self.names, self.measures = tuple(names), tuple(measures)
        self._records = sorted(records, key=self._place)

    def _place(self, record: Record) -> tuple[Any, ...]:
        return (*(_order(record.over[name]) for name in self.names), record.seed)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return self.column(index)
        return (
            Table(self.names, self.measures, self._records[index]) if isinstance(index, slice) else self._records[index]
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the CSV: the settings, the seed, the measures, the steps that were made, the state and its reason."""
        return (*self.names, "seed", *self.measures, "steps", "state", "reason")

    def column(self, name: str) -> NDArray[Any]:
        """A column as an array: of numbers, where all its values are numbers.

        Raises
        ------
        KeyError
            There is none of this name.
        """
        if name in self.measures:
            return np.array([each.values[name] for each in self._records], float)
        if name in self.names:
            values = [each.over[name] for each in self._records]
            if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
                return np.array(values)
            found = np.empty(len(values), object)
            found[:] = values
            return found
        if name in ("seed", "steps", "state", "reason"):
            return np.array([getattr(each, name) for each in self._records])
        raise InvalidKey(f"{short(name)} is no column; expected one of {', '.join(map(repr, self.columns))}.")

    @property
    def settings(self) -> list[Setting]:
        """The records by setting, in order."""
        found: dict[Any, list[Record]] = {}
        for each in self._records:
            found.setdefault(tuple(_order(each.over[name]) for name in self.names), []).append(each)
        return [Setting({name: group[0].over[name] for name in self.names}, group) for group in found.values()]

    @property
    def lacking(self) -> list[Record]:
        """The records of cells that did not come to their end."""
        return [each for each in self._records if each.state != "done"]

    @property
    def ok(self) -> bool:
        """Whether every cell came to its end. A number of steps that was not reached is a result."""
        return not self.lacking

    def fit(self, measure: str | None = None, *, theory: Mapping[str, Theory] | None = None) -> PowerLaw:
        """A power law of a measure in everything that was swept over: y = c x_1^p_1 x_2^p_2 ...

        Cells that did not come to their end are left out, and counted. A number of steps that was not reached is taken as
        larger than the steps that were made.

        Parameters
        ----------
        measure : str, optional
            Of several.
        theory : dict of str to Theory, optional
            Exponents to hold beside.

        Raises
        ------
        ValueError
            Several measures, and none is chosen; something swept over is no number greater than 0, or has one value only; too
            few cells.
        """
        chosen = self._chosen(measure)
        y_name = "steps" if chosen.startswith("steps until") else chosen
        return fit_power(*self._points(chosen), theory=theory, y_name=y_name)

    def draw(self, measure: str | None, law: PowerLaw) -> Canvas:
        """A law that was fitted to a measure, as a picture: a figure of matplotlib."""
        from .law_figure import draw

        with settled():
            return draw(law, *self._points(measure), y_label=self._chosen(measure))

    def _chosen(self, measure: str | None) -> str:
        if measure is None and len(self.measures) > 1:
            raise InvalidValue(f"measure is None, and there are several; expected one of {', '.join(self.measures)}.")
        return self.measures[0] if measure is None else choice("measure", measure, self.measures)

    def _points(self, measure: str | None) -> tuple[dict[str, NDArray[Any]], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """x, y, seeds, and the largest y that could have been seen."""
        y, x = self.column(self._chosen(measure)), {}
        for name in self.names:
            x[name] = self.column(name)
            if x[name].dtype.kind not in "iuf":
                raise InvalidType(
                    f"{name} is swept over {short(x[name][0])}; expected numbers, to fit a power law in them."
                )
        return x, y, self.column("seed"), self.column("steps")

    def to_csv(self, to: str | os.PathLike[str]) -> None:
        """Write one row a cell. Infinity, `inf`, is a number of steps that was not reached; `nan` is no value."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(self.columns)
        for each in self._records:
            over = [_in_csv(each.over[name]) for name in self.names]
            rows.writerow(
                [
                    *over,
                    each.seed,
                    *(repr(each.values[name]) for name in self.measures),
                    each.steps,
                    each.state,
                    each.reason,
                ]
            )
        write_whole(path("to", to, "the path of a file"), text.getvalue())

    def to_parquet(self, to: str | os.PathLike[str]) -> None:
        """Write the same as Parquet.

        Raises
        ------
        ModuleNotFoundError
            pyarrow is not installed.
        """
        import pyarrow
        import pyarrow.parquet

        columns = {name: self.column(name).tolist() for name in self.columns}
        for name in (*self.names, "seed"):
            columns[name] = _in_parquet(columns[name])
        whole = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table(columns), whole)
        write_whole(path("to", to, "the path of a file"), whole.getvalue())

    def to_pandas(self) -> Any:
        """The same as a pandas.DataFrame.

        Raises
        ------
        ModuleNotFoundError
            pandas is not installed.
        """
        pandas = need("pandas", "notebook", "table.to_pandas")
        return pandas.DataFrame({name: self.column(name) for name in self.columns})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: every setting with what its seeds say together."""
        return {
            "over": list(self.names),
            "measures": list(self.measures),
            "cells": len(self),
            "settings": [plain(each.to_dict(self.measures)) for each in self.settings],
        }

    def _repr_html_(self) -> str | None:
        return table_html(self)

    def __repr__(self) -> str:
        bad = f", {len(self.lacking)} not done" if self.lacking else ""
        return f"Table({len(self)} cells over {', '.join(self.names)}; {', '.join(self.measures)}{bad})"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, most: int = 60) -> Iterator[str]:
        """The settings as lines: the median over seeds, and in brackets the lowest and the highest."""
        settings = self.settings
        rows = [[*self.names, "seeds", *self.measures, ""]]
        for each in settings[:most]:
            states = ", ".join(f"{count} {state}" for state, count in each.states.items())
            cells = [_of_seeds(each, name) for name in self.measures]
            rows.append([*(_shown(each.over[name]) for name in self.names), str(len(each.records)), *cells, states])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            yield "  ".join(cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False)).rstrip() + (
                f"  {row[-1]}" if row[-1] else ""
            )
        if len(settings) > most:
            yield f"... and {len(settings) - most} more settings; the table has all."


def has_parquet() -> bool:
    """Whether pyarrow is installed."""
    return find_spec("pyarrow") is not None


def _order(value: Any) -> tuple[int, Any]:
    """By which settings are sorted: numbers by size, then all else by its text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value):
        return 0, value
    return 1, repr(value)


def _in_csv(value: Any) -> Any:
    """A setting in a CSV file: a number as Python writes it, a tuple as `(0, 1)`."""
    return value if isinstance(value, (str, int)) else repr(value)


def _in_parquet(values: list[Any]) -> list[Any]:
    """A column as Parquet holds it, of one type: integers, as far as 64 bits hold them; else all of it as text."""
    kinds = {type(value) for value in values}
    if len(kinds) <= 1 and (kinds <= {bool, str, float} or (kinds == {int} and max(map(abs, values)) < 2**63)):
        return values
    return [str(_in_csv(value)) for value in values]


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _quantile(values: NDArray[np.float64], q: float) -> float:
    """A quantile of what may be infinite: of two in the middle the mean, which is infinite if one is."""
    found = np.sort(values[~np.isnan(values)])
    if not len(found):
        return math.nan
    at = q * (len(found) - 1)
    low, high = float(found[math.floor(at)]), float(found[math.ceil(at)])
    return low if low == high else low + (at - math.floor(at)) * (high - low)


def _of_seeds(setting: Setting, measure: str) -> str:
    values = setting.values(measure)
    if not len(values):
        return "-"
    middle, low, high = (_number(_quantile(values, q)) for q in (0.5, 0.0, 1.0))
    return middle if low == high else f"{middle} ({low} to {high})"


def _number(value: float) -> str:
    return _NOT_REACHED if value == math.inf else f"{value:.4g}"
