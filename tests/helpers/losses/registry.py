"""How a loss of the zoo is written down, and how its own mistakes are found.

A builder `build(rng, dtype, slip)` draws data and a point and returns (loss, gradient, x). Its gradient asks
`slip(name, right, wrong)` wherever people make a mistake: the answer is `wrong` for the mistake that is made, else `right`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["LOSSES", "Loss", "draws", "each", "loss", "normals"]

LOSSES = {}


class Slip:
    """slip(name, right, wrong) -> wrong if this mistake is the one to make, else right. It remembers all names asked for."""

    def __init__(self, made=None):
        self.made, self.names = made, {}

    def __call__(self, name, right, wrong):
        self.names[name] = None
        return wrong if name == self.made else right


@dataclass(frozen=True)
class Loss:
    """A loss with its right gradient and the mistakes that are its own."""

    name: str
    build: Callable

    def make(self, rng, dtype=np.float64, slip=None, cast=False):
        """(loss, gradient, x) with data and point in `dtype`; with the mistake `slip` if one is named.

        With `cast` loss and gradient compute in `dtype` whatever they are given, as a framework's float32 model does.
        """
        loss, gradient, x = self.build(rng, dtype, Slip(slip))
        return (casting(loss, dtype), casting(gradient, dtype), x) if cast else (loss, gradient, x)

    def slips(self):
        """The names of the loss's own mistakes."""
        slip = Slip()
        _, gradient, x = self.build(np.random.default_rng(0), np.float64, slip)
        gradient(*each(x))
        return list(slip.names)


def loss(name):
    """Decorator: enter a builder into LOSSES."""

    def enter(build):
        LOSSES[name] = Loss(name, build)
        return build

    return enter


def casting(function, dtype):
    """The function of its arguments in `dtype`."""
    return lambda *x: function(*(np.asarray(a, dtype) for a in x))


def each(x):
    """The arguments as a tuple: of one array where x is an array."""
    return tuple(x) if isinstance(x, tuple) else (x,)


def normals(rng, dtype, *shapes):
    """Standard normal arrays of these shapes."""
    return [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def draws(rng, *ranges):
    """Random sizes, one for each range (least, most)."""
    return [int(rng.integers(low, high + 1)) for low, high in ranges]
