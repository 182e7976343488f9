"""How a loss and a gradient behave when they are called again.

A verdict means something only if both are functions: the same numbers at the same place, whatever was called before. That is
tried first.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...core.errors import InvalidInput
from .function import Function

__all__ = ["Conduct", "changed", "conduct"]

HARMLESS = 1e-9  # a value that differs by so much from call to call has noise; one that differs by more is random
LEAST_CALLS, MOST_CALLS = 6, 16
PATIENCE = 0.3  # seconds for calls beyond the least


@dataclass
class Conduct:
    """How loss and gradient behave when they are called again.

    Attributes
    ----------
    objection : str
        Why no verdict is possible, in one sentence; empty if they are functions.
    remarks : list of str
        What else was seen.
    noise : float
        The largest difference of two values of the loss at x.
    """

    objection: str = ""
    remarks: list[str] = field(default_factory=list)
    noise: float = 0.0


def conduct(function: Function, x: Sequence[np.ndarray], value: float, given: list[np.ndarray]) -> Conduct:
    """Call both again at x, and gradient after the loss of another place."""
    found = Conduct()
    began = time.monotonic()
    for number in range(MOST_CALLS):
        if number >= LEAST_CALLS and time.monotonic() - began > PATIENCE:
            break
        number_again, again_given = function.at(x)
        again = float(number_again)
        off = abs(again - value)
        if not off <= HARMLESS * max(abs(again), abs(value)):
            found.objection = (
                f"loss(x) gave {value:.9g} and then {again:.9g} at the same x: it is not deterministic, or it has state. Fix "
                "the seed, the mask or the batch"
            )
            return found
        found.noise = max(found.noise, off)
        found.objection = _changed(function, given, again_given)
        if found.objection:
            return found
    if found.noise:
        found.remarks.append(f"loss(x) differs by {found.noise:.0e} from call to call")
    elsewhere = [array + 0.01 * (abs(array) + 1e-3) for array in x]
    if np.isfinite(function.real(elsewhere)):
        try:
            stale = function.gradient(x, loss_first=False)
        except InvalidInput:
            raise
        except Exception:
            stale = given
        if _distance(given, stale) > HARMLESS:
            found.remarks.append(
                "gradient depends on the last call of loss: it stores activations; the audit calls loss(x) before gradient(x)"
            )
            again_given = function.gradient(x)
            if _distance(given, again_given) > HARMLESS:
                found.objection = "gradient(x) changes with what was called before it, even after loss(x): it has state"
    return found


def changed(function: Function, x: Sequence[np.ndarray], value: float, given: list[np.ndarray]) -> str:
    """Why no verdict is possible after all: at the end of an audit one of the two gives something else at x. Else empty."""
    number_again, again_given = function.at(x)
    again, said = float(number_again), "It has state that changes after some calls."
    if not abs(again - value) <= HARMLESS * max(abs(again), abs(value)):
        return f"loss(x) gave {value:.9g} when the audit began and {again:.9g} at its end, at the same x. {said}"
    if _distance(given, again_given) > HARMLESS:
        return f"gradient(x) is another one at the end of the audit than when it began, at the same x. {said}"
    return ""


def _changed(function: Function, given: list[np.ndarray], again: list[np.ndarray]) -> str:
    """What to say of two gradients at the same place."""
    if _distance(given, again) <= HARMLESS:
        return ""
    names = function.names
    k = max(range(len(given)), key=lambda k: _distance(given[k : k + 1], again[k : k + 1]))
    off = np.abs(again[k] - given[k])
    index = np.unravel_index(int(np.argmax(np.where(np.isnan(off), np.inf, off))), off.shape)
    first, second = given[k][index], again[k][index]
    place = names[k] + (f"[{', '.join(str(int(i)) for i in index)}]" if index else "")
    text = f"gradient(x) gave {first:.9g} and then {second:.9g} at the same x, by {place}: "
    if _distance([2.0 * array for array in given], again) < 1e-6:
        return text + "it adds up from call to call. Set its buffer to zero first"
    size = float(abs(second - first) / max(abs(first), abs(second))) if first == first and second == second else np.nan
    return text + f"it differs by {size:.0e} from call to call. It is random, or it has state"


def _distance(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """The largest difference of two lists of arrays, relative to the largest entry of its array; NaN equals NaN."""
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        if not same.all():
            with np.errstate(all="ignore"):
                off = np.abs(np.where(same, 0.0, b - a)) / max(np.max(np.abs(a)), np.max(np.abs(b)), 1e-300)
            worst = max(worst, float(np.max(np.where(np.isnan(off), np.inf, off))))
    return worst
