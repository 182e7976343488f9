"""What an expression could be made of: the names there, their simple functions, and numbers that have a name."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Atom", "Coefficient", "arrays", "coefficients", "indexed", "numbers", "scalars"]

_MOST = 16  # arrays
_ENTRIES = 4000
_SAME = 6  # names of one number that are kept


@dataclass(frozen=True)
class Atom:
    """A piece of code and its value.

    Attributes
    ----------
    text : str
    value : ndarray
    cost : float
    counts : bool
        Whether it holds whole numbers, such as counts and indices, which are seldom added to a gradient.
    """

    text: str
    value: np.ndarray
    cost: float = 0.0
    counts: bool = False


def arrays(scope: Mapping[str, Any]) -> list[Atom]:
    """The arrays of a scope, also those that a parameter or a prompt holds, each value once."""
    found: list[Atom] = []
    seen: set[bytes] = set()

    def add(text: str, value: Any, cost: float) -> None:
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fib" or not 0 < value.size <= _ENTRIES:
            return
        if value.ndim == 0:
            return
        key = repr(value.shape).encode() + np.asarray(value, float).tobytes()
        if key not in seen and len(found) < _MOST:
            seen.add(key)
            found.append(Atom(text, np.asarray(value, float), cost, value.dtype.kind == "i"))

    for name, value in scope.items():
        add(name, value, 0.0)
    for name, value in scope.items():
        for field, inner in _fields(value):
            add(f"{name}.{field}", inner, 0.0)
        if isinstance(value, dict):
            for key, inner in list(value.items())[:8]:
                if isinstance(key, str):
                    add(f"{name}[{key!r}]", inner, 0.0)
    return found


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of what an object holds, if it is plain data of the reader's or a prompt."""
    if (
        isinstance(value, (np.ndarray, np.generic, type))
        or callable(value)
        or isinstance(value, (str, int, float, list))
    ):
        return
    names = getattr(value, "_fields", None)
    if names is None and type(value) not in (tuple, dict, list):
        held = list(getattr(value, "__dict__", {}))
        names = held + [n for n in dir(type(value)) if isinstance(getattr(type(value), n, None), property)]
    for name in list(names or ())[:16]:
        if name.startswith("_"):
            continue
        try:
            yield name, getattr(value, name)
        except Exception:
            continue


def numbers(scope: Mapping[str, Any]) -> list[Atom]:
    """Single numbers that have a name in a scope, signs among them."""
    found: list[Atom] = []

    def add(text: str, value: Any) -> None:
        single = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        single = single or (isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "fi")
        if single and value and np.isfinite(value) and len(found) < _MOST:
            found.append(Atom(text, np.asarray(float(value)), 0.0))

    for name, value in scope.items():
        add(name, value)
        for field, inner in _fields(value):
            add(f"{name}.{field}", inner)
    return found


def indexed(scope: Mapping[str, Any], e: np.ndarray, loop: bool) -> list[Atom]:
    """In a loop: arrays at the index that the loop counts, of E's shape or single numbers."""
    if not loop:
        return []
    counters = [(name, int(value)) for name, value in scope.items() if isinstance(value, (int, np.integer))]
    found = []
    for array in arrays(scope):
        for name, index in counters[:4]:
            if not isinstance(index, bool) and 0 <= index < len(array.value):
                value = array.value[index]
                if value.shape in ((), e.shape):
                    found.append(Atom(f"{array.text}[{name}]", value, 0.1))
    return found[: 2 * _MOST]


def scalars(scope: Mapping[str, Any], sized: list[Atom]) -> list[tuple[str, float, float]]:
    """(text, value, cost) of numbers that have a name there, and of sizes of arrays."""
    found: list[tuple[str, float, float]] = []
    counted: dict[float, int] = {}

    def add(text: str, value: Any, cost: float) -> None:
        number = float(value)
        if math.isfinite(number) and abs(number) not in (0.0, 1.0) and counted.get(number, 0) < 3 and len(found) < 40:
            counted[number] = counted.get(number, 0) + 1
            found.append((text, number, cost))

    for name, value in scope.items():
        if (isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)) or (
            isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "fi"
        ):
            add(name, value, 0.1)
        else:
            for field, inner in _fields(value):
                if isinstance(inner, (int, float, np.integer, np.floating)) and not isinstance(inner, bool):
                    add(f"{name}.{field}", inner, 0.1)
    for atom in sized:
        if not atom.text.isidentifier() and "." not in atom.text:
            continue
        for axis, size in enumerate(atom.value.shape):
            add(f"len({atom.text})" if axis == 0 else f"{atom.text}.shape[{axis}]", size, 0.2 + 0.1 * axis)
        if atom.value.ndim > 1:
            add(f"{atom.text}.size", atom.value.size, 0.4)
    flat = [atom for atom in sized if atom.value.ndim == 1 and atom.text.isidentifier()][:3]
    for n, one in enumerate(flat):
        for other in flat[n:]:
            if one.value.shape == other.value.shape:
                add(f"({one.text} @ {other.text})", one.value @ other.value, 0.5)
    return found


@dataclass(frozen=True)
class Coefficient:
    """A number with a name: numerator and denominator as text, empty for 1."""

    value: float
    above: str
    below: str
    cost: float


def coefficients(named: list[tuple[str, float, float]]) -> list[Coefficient]:
    """Positive numbers that a factor may be, of each value the cheapest."""
    plain = [(1.0, "", 0.0), (2.0, "2", 0.1), (3.0, "3", 0.4), (4.0, "4", 0.4)]
    found: dict[float, list[Coefficient]] = {}

    def add(value: float, above: str, below: str, cost: float) -> None:
        if value != 0 and math.isfinite(value):
            found.setdefault(float(f"{abs(value):.10g}"), []).append(Coefficient(abs(value), above, below, cost))

    for a, above, cost_a in plain:
        for b, below, cost_b in plain:
            add(a / b, above, below, cost_a + cost_b)
    named = [one for one in named if 1e-60 < abs(one[1]) < 1e60]  # an array that is not filled yet may hold anything
    for text, value, cost in named:
        value = abs(value)
        for a, above, cost_a in plain:
            product = f"{above} * {text}" if above else text
            add(a * value, product, "", cost + cost_a + 0.2)
            add(a / value, above, text, cost + cost_a + 0.2)
            if above:
                add(value / a, text, above, cost + cost_a + 0.3)
                add(1 / (a * value), "", f"({product})", cost + cost_a + 0.4)
        add(value**2, f"{text} ** 2", "", cost + 0.5)
        add(value**-2.0, "", f"{text} ** 2", cost + 0.4)
        add(value**-3.0, "", f"{text} ** 3", cost + 0.6)
        add(math.sqrt(value), f"np.sqrt({text})", "", cost + 0.5)
        add(1 / math.sqrt(value), "", f"np.sqrt({text})", cost + 0.4)
        if value > 1 and float(value).is_integer():
            add(value - 1, f"({text} - 1)", "", cost + 0.8)
            add(1 / (value - 1), "", f"({text} - 1)", cost + 0.8)
            add(value / (value - 1), text, f"({text} - 1)", cost + 0.9)
            add((value - 1) / value, f"({text} - 1)", text, cost + 0.9)
            add(value + 1, f"({text} + 1)", "", cost + 0.9)
            add(1 / (value + 1), "", f"({text} + 1)", cost + 0.9)
        if 0 < value < 1:
            add(1 - value, f"(1 - {text})", "", cost + 0.6)
            add(1 / (1 - value), "", f"(1 - {text})", cost + 0.7)
        for other, second, cost_o in named:
            if other != text:
                add(value / abs(second), text, other, cost + cost_o + 0.5)
                if other < text:
                    add(value * abs(second), f"{text} * {other}", "", cost + cost_o + 0.5)
                    add(1 / (value * abs(second)), "", f"({text} * {other})", cost + cost_o + 0.6)
    kept = [one for same in found.values() for one in sorted(same, key=lambda one: one.cost)[:_SAME]]
    return sorted(kept, key=lambda one: one.cost)
