"""eta_0 of Bu et al. 2024: as it is given, or as lambda and gamma give it."""

import math
from typing import Any

from ...core.checks import real
from ...core.errors import InvalidValue

__all__ = ["marks_of_rates", "settled_rate"]


class _Derived(float):
    """eta_0 as lambda and gamma give it. A copy with another lambda, by `dataclasses.replace`, derives its own."""


def settled_rate(learning_rate: Any, weight_decay: float, step_offset: float) -> float:
    """eta_0, checked; 2/(lambda gamma) where none is given. ValueError, TypeError where decay would not shrink weights."""
    if learning_rate is None or isinstance(learning_rate, _Derived):
        if weight_decay == 0:
            raise InvalidValue(
                "learning_rate is None with weight_decay = 0: eta_t = 2/(lambda (gamma + t)) has no value. Give one of "
                "them a number greater than 0."
            )
        return _derived(weight_decay, step_offset)
    eta = real("learning_rate", learning_rate, "greater than 0", lambda x: x > 0)
    if weight_decay * eta >= 2:
        raise InvalidValue(
            f"learning_rate is {eta:g} with weight_decay = {weight_decay:g}: decay alone would multiply weights by 1 - lambda "
            f"eta_0 = {1 - weight_decay * eta:g}, which does not shrink them. Expected lambda eta_0 < 2; lower one of them."
        )
    return eta


def marks_of_rates(weight_decay: float, step_offset: float) -> dict[float, str]:
    """The rate that lambda and gamma give is derived; any other is chosen. For `marked_settings`."""
    return {_usual(weight_decay, step_offset): "derived"}


def _usual(weight_decay: float, step_offset: float) -> float:
    """2/(lambda gamma), infinite where there is no such number."""
    product = weight_decay * step_offset
    return 2 / product if product > 0 else math.inf  # it may underflow


def _derived(weight_decay: float, step_offset: float) -> _Derived:
    """eta_0 = 2/(lambda gamma), so that lambda eta_0 = 2/gamma."""
    eta = _usual(weight_decay, step_offset)
    if not 0 < eta < math.inf:
        raise InvalidValue(
            f"weight_decay is {weight_decay:g} and step_offset {step_offset:g}: learning_rate = "
            f"2/(weight_decay * step_offset) comes to {eta:g}. Expected a finite number greater than 0; "
            f"{'raise' if eta else 'lower'} one of them, or give a learning_rate."
        )
    if step_offset <= 1:
        raise InvalidValue(
            f"step_offset is {step_offset:g}: with learning_rate = 2/(lambda gamma) decay alone would multiply "
            f"weights by 1 - lambda eta_0 = {1 - 2 / step_offset:g}, which does not shrink them. Expected a "
            "step_offset above 1, or a learning_rate with lambda eta_0 < 2."
        )
    return _Derived(eta)
