"""What a sweep is over, as the command line says it: `alpha=0.2:1:8`, `beta=1,2,3`, a CSV file of settings."""

import ast
import csv
import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .common import CannotRun, meant
from .problems import optimizer_named

__all__ = ["cases", "over"]

_MOST = 1_000_000  # values of one name
_MOST_BYTES = 100 * 2**20  # of a file of settings
_SPACINGS = ("linear", "log")


def over(pairs: Iterable[str], problem: Any, notation: Mapping[str, str], known: Iterable[str]) -> dict[str, list[Any]]:
    """The options --over NAME=VALUES as a dict of names to values.

    Raises
    ------
    CannotRun
        No NAME=VALUES, a name that is none of the `known` ones, a name twice, a range that is none.
    """
    found: dict[str, list[Any]] = {}
    known = list(known)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise CannotRun(
                f"--over {pair[:80]}: expected NAME=VALUES, for example --over alpha=0.2:1:8 or --over beta=1,2,3"
            )
        if name in found:
            raise CannotRun(f"--over {name} is given twice; expected all of its values in one")
        if name not in known:
            instead = " (give --seeds)" if name in ("seed", "seeds") else meant(name, known, notation)
            raise CannotRun(f"--over {name}: no such setting{instead}; there are {', '.join(known)}")
        found[name] = _values(name, text, _is_integer(problem, name))
    return found


def cases(path: Path) -> list[dict[str, Any]]:
    """The settings of a CSV file: a line of names, then a setting in each line.

    Raises
    ------
    CannotRun
        It cannot be read, or is no such file.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CannotRun(f"--cases {path}: is larger than 100 MiB; expected fewer settings")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CannotRun(f"--cases {path}: {error.strerror}; expected a CSV file that can be read") from None
    except ValueError:
        raise CannotRun(f"--cases {path}: is no text in UTF-8; expected a CSV file") from None
    try:
        rows = [row for row in csv.reader(text.splitlines(), strict=True) if row]
    except csv.Error as error:
        raise CannotRun(
            f"--cases {path}: {error}; expected a CSV file: a line of names, then a setting in each line"
        ) from None
    if len(rows) < 2:
        raise CannotRun(f"--cases {path}: holds no settings; expected a line of names, then a setting in each line")
    names = [name.strip() for name in rows[0]]
    if len(set(names)) < len(names) or not all(names):
        raise CannotRun(f"--cases {path}: the first line is {', '.join(names)[:80]}; expected different names")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise CannotRun(
                f"--cases {path}: setting {number - 1} has {len(row)} values; expected {len(names)}, as the names"
            )
    return [{name: _literal(name, text.strip()) for name, text in zip(names, row, strict=True)} for row in rows[1:]]


def _values(name: str, text: str, integers: bool) -> list[Any]:
    """The values of one name: LOW:HIGH:COUNT, LOW:HIGH:COUNT:log, or a list."""
    parts = text.split(":")
    if len(parts) in (3, 4) and not text.startswith(("(", "[", "'", '"')):
        return _range(name, text, parts, integers)
    if not text.strip():
        raise CannotRun(f"--over {name}=: has no values; expected for example --over {name}=1,2,3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = ast.literal_eval(f"[{text}]")
        except Exception:  # texts, that stand without quotes
            found = [_literal(name, part.strip()) for part in text.split(",")]
    return [optimizer_named(value) if name == "optimizer" and isinstance(value, str) else value for value in found]


def _range(name: str, text: str, parts: list[str], integers: bool) -> list[Any]:
    wanted = "expected LOW:HIGH:COUNT, or LOW:HIGH:COUNT:log for equal factors"
    try:
        low, high, count = float(parts[0]), float(parts[1]), int(parts[2])
    except ValueError:
        raise CannotRun(f"--over {name}={text[:80]}: {wanted}") from None
    spacing = parts[3] if len(parts) == 4 else "linear"
    if spacing not in _SPACINGS or not (math.isfinite(low) and math.isfinite(high)):
        raise CannotRun(f"--over {name}={text[:80]}: {wanted}")
    if not 1 <= count <= _MOST or (count > 1 and low == high):
        raise CannotRun(f"--over {name}={text[:80]}: {wanted}, with a count from 1 to {_MOST}, and different ends")
    if spacing == "log" and min(low, high) <= 0:
        raise CannotRun(f"--over {name}={text[:80]}: expected ends greater than 0 for equal factors")
    import numpy as np

    values = np.geomspace(low, high, count) if spacing == "log" else np.linspace(low, high, count)
    if not integers:
        return [float(value) for value in _rounded(values)]
    return list(dict.fromkeys(int(value) for value in np.rint(values)))


def _rounded(values: Any) -> Any:
    """The values without what rounding has left in the sixteenth digit: 0.3 for 0.30000000000000004."""
    return [float(f"{value:.15g}") for value in values]


def _is_integer(problem: Any, name: str) -> bool:
    """Whether a setting is an integer, by what it is now."""
    usual = getattr(problem, name, None)
    return isinstance(usual, int) and not isinstance(usual, bool)


def _literal(name: str, text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.literal_eval(text)
        except Exception:
            return optimizer_named(text) if name == "optimizer" else text
