"""Results that `nlicl reproduce` stored: a figure's JSON, checked, as a `Figure` again."""

import json
from collections.abc import Mapping
from contextlib import suppress
from os import PathLike
from typing import Any

import numpy as np

from ..core.checks import path as checked_path
from ..core.describe import short
from ..core.errors import InvalidValue
from .claims import ABOUT, Claim
from .figure import FORMAT, Figure, Original
from .series import Comparison, Series

__all__ = ["figure_of", "read", "without_curves"]

_AGAIN = "Make it again by nlicl reproduce"


def read(path: str | PathLike[str]) -> dict[str, Any]:
    """The JSON of a figure, read from a file.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict
        As `Figure.to_dict` gives it. `figure_of` can read it.

    Raises
    ------
    ValueError
        The file cannot be read, is damaged, is not a figure's, or has the format of another nlicl; with its name.
    """
    path = checked_path("path", path, "the path of a file")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read: {error.strerror or error}; expected a file that can.") from None
    except (ValueError, RecursionError):  # ValueError: no UTF-8, no JSON, an integer of too many digits
        raise InvalidValue(f"{path} is damaged: it is no JSON. {_AGAIN}.") from None
    if not isinstance(data, dict) or not isinstance(data.get("figure"), str):
        raise InvalidValue(f"{path} is no figure of nlicl reproduce; expected one. Move it to another folder.")
    if type(data.get("format")) is not int or data["format"] != FORMAT:
        given = short(data["format"]) if "format" in data else "none"
        raise InvalidValue(f"{path} has format {given}; this nlicl reads {FORMAT}. {_AGAIN}.")
    try:
        figure_of(data)
    except InvalidValue as error:
        raise InvalidValue(f"{path} is damaged: {error} {_AGAIN}.") from None
    return data


def without_curves(data: Mapping[str, Any]) -> dict[str, Any]:
    """A figure's JSON without its curves, which are nearly all of it: claims, comparisons and settings stay."""
    return {**data, "series": [], "reference": []}


def figure_of(data: Mapping[str, Any]) -> Figure:
    """The figure that a JSON is of: what `Figure.to_dict` gave.

    Raises
    ------
    ValueError
        It is of another form; the message says where.
    """
    original = data.get("original")
    settings = _of(data, "settings", dict)
    for name, pair in settings.items():
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], str):
            raise InvalidValue(f"settings[{name!r}] is {short(pair)}, expected [value, mark].")
    seeds = _of(data, "seeds", list)
    if not all(type(seed) is int for seed in seeds):
        raise InvalidValue(f"seeds is {short(seeds)}, expected integers.")
    notes = _of(data, "notes", list)
    if not all(isinstance(note, str) for note in notes):
        raise InvalidValue("notes holds something else than texts.")
    return Figure(
        title=_of(data, "title", str),
        settings=settings,
        seeds=seeds,
        series=[_series(row) for row in _rows(data, "series")],
        claims=[_claim(row) for row in _rows(data, "claims")],
        reference=[_series(row) for row in _rows(data, "reference")],
        comparisons=[_comparison(row) for row in _rows(data, "comparisons")],
        notes=notes,
        name=_of(data, "figure", str),
        original=None if original is None else _original(original),
        options=_of(data, "options", dict),
    )


def _claim(row: Mapping[str, Any]) -> Claim:
    texts = {key: _of(row, key, str) for key in ("claim", "expected", "measured", "about")}
    holds = row.get("holds", 0)
    if holds is not None and not isinstance(holds, bool):
        raise InvalidValue(f"holds of a claim is {short(holds)}, expected true, false or null.")
    if texts["about"] not in ("", *ABOUT):
        raise InvalidValue(f"about of a claim is {short(texts['about'])}, expected {', '.join(ABOUT)} or nothing.")
    return Claim(**texts, holds=holds, values=_numbers(row, "values"))


def _comparison(row: Mapping[str, Any]) -> Comparison:
    points = _of(row, "points", list)
    if not points or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise InvalidValue("points of a comparison are no pairs, or there are none.")
    numbers = {key: _number(key, row.get(key)) for key in ("factor", "at", "ours", "theirs", "median")}
    pairs = [(_number("points", x), _number("points", factor)) for x, factor in points]
    return Comparison(_of(row, "series", str), _of(row, "reference", str), **numbers, points=pairs)


def _series(row: Mapping[str, Any]) -> Series:
    columns = [np.array(_numbers(row, key)) for key in ("x", "y", "low", "high")]
    if len({len(column) for column in columns}) > 1:
        raise InvalidValue("x, y, low and high of a curve have not one length.")
    every = row.get("each", [])  # what an earlier nlicl has stored lacks it
    if not isinstance(every, list) or not all(isinstance(one, list) for one in every):
        raise InvalidValue("each of a curve is no list of lists.")
    of_seeds = [[_number("each", value) for value in one] for one in every]
    if any(len(one) != len(columns[0]) for one in of_seeds):
        raise InvalidValue("x and the curves of the seeds have not one length.")
    x, y, low, high = columns
    return Series(_of(row, "name", str), x, y, low, high, np.array(of_seeds) if of_seeds else None)


def _original(row: Any) -> Original:
    if not isinstance(row, dict):
        raise InvalidValue(f"original is {short(row)}, expected an object or null.")
    return Original(*(_of(row, key, str) for key in ("name", "known", "unknown")))


def _rows(data: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    rows = _of(data, key, list)
    if not all(isinstance(row, dict) for row in rows):
        raise InvalidValue(f"{key} holds something else than objects.")
    return rows


def _of(data: Mapping[str, Any], key: str, kind: type) -> Any:
    """What stands under a key; InvalidValue unless it is there and of that kind."""
    if key not in data:
        raise InvalidValue(f"{key} is missing.")
    if not isinstance(data[key], kind):
        raise InvalidValue(f"{key} is {short(data[key])}, expected {'text' if kind is str else kind.__name__}.")
    return data[key]


def _numbers(row: Mapping[str, Any], key: str) -> list[float]:
    return [_number(key, value) for value in _of(row, key, list)]


def _number(key: str, value: Any) -> float:
    """A number of the JSON, which writes NaN and infinities as text."""
    if type(value) in (int, float) or value in ("nan", "inf", "-inf"):
        with suppress(OverflowError):  # an integer of 400 digits
            return float(value)
    raise InvalidValue(f"{key} is {short(value)}, expected a number.")
