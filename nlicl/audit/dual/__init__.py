"""Dual numbers: arrays that carry a directional derivative through NumPy's functions, exactly, or say that they cannot.

    value, tangent = parts(loss(lift(x, v)))

calls an ordinary NumPy loss with x + eps v in place of x. `tangent` is the exact one-sided derivative of the loss along v. A
function without a rule raises `NotCarried`; no tangent is lost without a word.
"""

from . import asks, dispatch, kinks, linear_algebra, methods, operators, order, products, structure, sums, ufuncs  # noqa: F401
from .array import Dual, lift, parts
from .record import Record, recording
from .rules import NotCarried

__all__ = ["Dual", "NotCarried", "Record", "lift", "parts", "recording"]
