"""The cells of a sweep: settings, each with every seed. They are made one by one: a grid of a million is a few numbers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from ...core.checks import floating, integer
from ...core.describe import short
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_count
from ...training.many import checked_seeds
from ...training.optimizers import Optimizer, named
from ...training.problem import check_problem, is_told, not_stored, numbers_plain
from .cell import Cell

__all__ = ["TRAINING", "Grid", "checked_training", "grid_of"]

TRAINING = (
    "steps",
    "learning_rate",
    "batch",
    "loss",
    "trained",
    "optimizer",
    "weight_decay",
    "schedule",
    "prompts",
    "model",
    "dtype",
    "backend",
    "measure",
)
"""Arguments of `nlicl.train` that a sweep takes: those that are told by plain values."""

_REAL = ("learning_rate", "weight_decay")  # 1 and 1.0 are the same setting
_LARGEST = 10**300

Changes = tuple[tuple[str, Any], ...]


class Grid(Sequence[Cell]):
    """Cells by their number: the seeds of the first setting, then those of the second.

    Attributes
    ----------
    names : tuple of str
        What is swept over.
    seeds : sequence of int
    """

    def __init__(self, axes: Mapping[str, Sequence[Any]], seeds: Sequence[int], cases: Sequence[Changes] = ()) -> None:
        self.names = tuple(axes)
        self.seeds = seeds
        self._axes, self._cases = axes, cases
        self.settings = len(cases) or math.prod(map(len, axes.values()))

    def setting(self, i: int) -> Changes:
        """What differs in setting number i; of a product, the last name changes fastest."""
        if self._cases:
            return self._cases[i]
        found = []
        for name in reversed(self.names):
            i, at = divmod(i, len(self._axes[name]))
            found.append((name, self._axes[name][at]))
        return tuple(reversed(found))

    def __len__(self) -> int:
        return self.settings * len(self.seeds)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        i, seed = divmod(range(len(self))[index], len(self.seeds))
        return Cell(self.setting(i), self.seeds[seed])

    def numbers(self, turn: int) -> Iterator[int]:
        """The numbers of all cells, each once, in an order of its own for each `turn`; the first has them as they stand.

        Processes that share a store take turns of their own, and so seldom the same cell at a time.
        """
        n = len(self)
        start, stride = (0, 1) if turn == 0 else (int(n * (turn * 0.381966 % 1)), max(1, int(n * 0.618034)))
        while math.gcd(stride, n) > 1:
            stride += 1
        return ((start + i * stride) % n for i in range(n))

    def __repr__(self) -> str:
        return f"Grid({self.settings} settings of {', '.join(self.names)}, {len(self.seeds)} seeds)"


def grid_of(problem: Any, over: Any, seeds: Any, bounds: Sequence[str] = ()) -> Grid:
    """The grid that was asked for.

    Parameters
    ----------
    problem : a paper's Problem
    over : dict of name to values, or list of dicts of name to value
        A grid, all combinations of the values; or settings one by one. Names are fields of the problem or arguments of
        `nlicl.train`.
    seeds : int or sequence of int
        That many, from 0; or these.
    bounds : sequence of str
        Further names, of bounds in measures.

    Raises
    ------
    TypeError, ValueError
        An unknown name, no values, a value twice, a value that a store does not hold.
    """
    check_sweepable(problem)
    if isinstance(seeds, (int, np.integer)) and not isinstance(seeds, (bool, np.timedelta64)):
        chosen: Sequence[int] = range(integer("seeds", seeds, 1))
    elif isinstance(seeds, range):
        check_count("seeds", seeds, 0)
        chosen = seeds
    else:
        given = checked_seeds(_listed(seeds))
        chosen = (given,) if isinstance(given, int) else given
    if not len(chosen) or min(chosen[0], chosen[-1]) < 0:
        raise InvalidValue(f"seeds is {short(seeds)}; expected at least one seed, each of at least 0.")
    names: tuple[str, ...]
    for name in bounds:
        if name not in (
            over if isinstance(over, Mapping) else over[0] if isinstance(over, (list, tuple)) and over else ()
        ):
            raise InvalidValue(f"measure has the bound {name}; expected a number, or a name that is swept over.")
    if isinstance(over, Mapping):
        if not over:
            raise InvalidValue("over is empty; expected names with their values, for example {'alpha': [0.4, 0.8]}.")
        return Grid({name: _values(problem, bounds, name, values) for name, values in over.items()}, chosen)
    if not isinstance(over, (list, tuple)) or not all(isinstance(case, Mapping) for case in over):
        raise InvalidType(
            f"over is {short(over)}; expected a dict of names to lists of values, or a list of dicts of names to values."
        )
    if not over or not over[0]:
        raise InvalidValue("over is empty; expected at least one setting, for example {'alpha': 0.4}.")
    names = tuple(over[0])
    cases = []
    for i, case in enumerate(over):
        if set(case) != set(names):
            odd = next(iter(set(case) ^ set(names)))
            has = "has" if odd in case else "lacks"
            raise InvalidValue(
                f"over[{i}] {has} {short(odd)}; expected the names of over[0]: {', '.join(map(str, names))}."
            )
        cases.append(tuple((name, _value(problem, bounds, name, case[name], f"over[{i}][{name!r}]")) for name in names))
    _check_different("over", cases)
    return Grid(dict.fromkeys(names, ()), chosen, cases)


def checked_training(problem: Any, training: Any) -> dict[str, Any]:
    """The arguments of `nlicl.train` for all cells; TypeError or ValueError for a name or a value that is none."""
    if training is None:
        return {}
    if not isinstance(training, Mapping):
        raise InvalidType(f"training is {short(training)}; expected a dict of arguments of nlicl.train, or None.")
    for name in training:
        if name not in TRAINING:
            raise InvalidValue(f"training has no {short(name)}; expected names among {', '.join(TRAINING)}.")
    return {name: _value(problem, (), name, value, f"training[{name!r}]") for name, value in training.items()}


def check_sweepable(problem: Any) -> None:
    """TypeError unless a problem is a dataclass that can be made without arguments, as a paper's Problem is."""
    check_problem(problem)
    if not is_dataclass(problem):
        raise InvalidType(f"problem is {short(problem)}; expected a dataclass, whose fields can be swept over.")
    try:
        type(problem)()  # type: ignore[misc]
    except TypeError as error:
        raise InvalidType(
            f"problem is {short(problem)}; expected a default for each of its fields ({error})."
        ) from None


def _listed(values: Any) -> Any:
    """A list of what is iterated over, where that can be done; an iterator of the caller's may raise anything."""
    if isinstance(values, str):
        return values
    try:
        return list(values)
    except Exception:
        return values


def _values(problem: Any, bounds: Sequence[str], name: Any, values: Any) -> tuple[Any, ...]:
    check_count(f"over[{short(name)}]", values, 200)
    listed = _listed(values)
    if not isinstance(listed, list) or isinstance(values, (bytes, Mapping)):
        raise InvalidType(f"over[{short(name)}] is {short(values)}; expected a list of values, as [{short(values)}].")
    found = tuple(_value(problem, bounds, name, value, f"over[{short(name)}][{i}]") for i, value in enumerate(listed))
    if not found:
        raise InvalidValue(f"over[{short(name)}] is empty; expected at least one value.")
    _check_different(f"over[{short(name)}]", found)
    return found


def _check_different(where: str, values: Sequence[Any]) -> None:
    """InvalidValue if a value stands twice: 1 and 1.0 are the same."""
    seen: list[Any] = []
    try:
        if len(set(values)) == len(values):
            return
    except TypeError:  # a list, which has no hash
        pass
    for value in values:
        if value in seen:
            raise InvalidValue(f"{where} holds {short(value)} twice; expected each once.")
        seen.append(value)


def _value(problem: Any, bounds: Sequence[str], name: Any, value: Any, where: str) -> Any:
    """A value as the cells have it; the name is checked as well."""
    own = [each.name for each in fields(problem) if each.init]
    if name in bounds and name in (*own, *TRAINING):
        raise InvalidValue(
            f"measure has the bound {name}, which is a setting as well; expected another name for the bound."
        )
    if not isinstance(name, str) or name not in (*own, *TRAINING, *bounds):
        near = get_close_matches(str(name), [*own, *TRAINING], 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        instead = " (give seeds)" if name in ("seed", "seeds") else meant
        raise InvalidValue(
            f"over names {short(name)}, which is no setting{instead}; expected a field of the problem, {', '.join(own)}, or "
            f"an argument of nlicl.train, {', '.join(each for each in TRAINING if each not in own)}."
        )
    if name == "dtype" and name not in own:
        return floating(where, value).name
    if name == "optimizer" and isinstance(value, str):
        return named(value, {})
    if isinstance(value, Optimizer) or (name == "schedule" and callable(value) and is_told(value)):
        return value
    plain = numbers_plain(value)
    if isinstance(plain, list):
        plain = tuple(plain)
    odd = not_stored(where, plain)
    if odd is not None:
        raise InvalidType(
            f"{odd[0]} is {short(odd[1])}; expected numbers, text, True, False, None, tuples of them, an optimizer, or a "
            "schedule at the top level of a module."
        )
    if type(plain) is int and abs(plain) > _LARGEST:
        raise InvalidValue(f"{where} is {short(plain)}; expected a number of at most 1e300.")
    usual = next((each.default for each in fields(problem) if each.name == name), None)
    is_real = name in bounds or name in _REAL or isinstance(usual, float)
    return float(plain) if type(plain) is int and is_real else plain
