"""Checks of single settings: an error names the setting, what was given and what was expected."""

import math

import numpy as np

from .errors import InvalidType, InvalidValue

__all__ = ["integer", "real"]


def integer(name, value, least):
    """`value` as an int of at least `least`; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InvalidType(f"{name} is {value!r}; expected an integer, at least {least}.")
    if value < least:
        raise InvalidValue(f"{name} is {value}; expected at least {least}.")
    return int(value)


def real(name, value, condition, holds):
    """`value` as a finite float with `holds(value)`, which `condition` says in words; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidType(f"{name} is {value!r}; expected a number {condition}.")
    if not (math.isfinite(value) and holds(value)):
        raise InvalidValue(f"{name} is {value}; expected a finite number {condition}.")
    return float(value)
