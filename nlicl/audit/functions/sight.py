"""What is seen of one argument at one place, and how precisely it can be seen."""

from dataclasses import dataclass, field

import numpy as np

from .points import unit
from .slopes import Slope, Witness

__all__ = ["CEILING", "SURELY", "Place", "Precision", "Sight", "few", "norm"]

CEILING = 1e-3  # no entry is called right that could be wrong by more
SURELY = 100  # times its error, a difference that differences see is one where halving does not bring it to entries


@dataclass(frozen=True)
class Precision:
    """What a comparison can ask for.

    Attributes
    ----------
    eps : float
        Of the dtype in which loss or gradient compute.
    relative : float
        Tolerance of an entry, relative to it.
    floor : float
        Entries below this share of the largest are held to the tolerance of one of that size.
    """

    eps: float
    relative: float
    floor: float

    @classmethod
    def of(cls, eps: float, tolerance: float | None) -> "Precision":
        single = eps > 1e-10
        if tolerance is not None:
            return cls(eps, tolerance, 1e-5)
        return cls(eps, 3e-4, 1e-3) if single else cls(eps, 1e-10, 0.0)

    @property
    def single(self) -> bool:
        """Whether that is float32's."""
        return self.eps > 1e-10

    @property
    def margin(self) -> float:
        """Times the largest change that nudges make: what rounding may do elsewhere. Of few digits less can be given away."""
        return 4.0 if self.single else 30.0

    def rounding(self, scale: float, noise: np.ndarray) -> np.ndarray:
        """What an entry of a right gradient may be off by although nudges do not show it: a sum of large terms rounds so."""
        if self.single:
            return np.minimum(64 * self.eps * scale, 32 * noise)
        return np.full(noise.shape, 4 * self.eps * scale)

    @property
    def zero(self) -> float:
        """Entries below this share of the largest are rounding."""
        return 1e3 * self.eps


@dataclass
class Place:
    """Where it is judged.

    Attributes
    ----------
    own : list of ndarray
        The arguments in their own dtype, for the gradient.
    x : list of ndarray
        The same for witnesses, in float64 if the loss takes that.
    given, noise : list of ndarray
        What the gradient gave there, and its rounding.
    value : float
        The loss there.
    instead : dict of int to Witness
        By number of argument, who is asked there in place of the witness that was chosen at x.
    """

    label: str
    own: list[np.ndarray]
    x: list[np.ndarray]
    given: list[np.ndarray]
    noise: list[np.ndarray]
    value: float
    instead: dict[int, Witness] = field(default_factory=dict)

    @property
    def largest(self) -> float:
        """The largest entry of the gradient by all arguments."""
        return max(float(np.max(abs(array), initial=0.0, where=np.isfinite(array))) for array in self.given)

    def least(self, k: int) -> np.ndarray:
        """Derivatives by argument k too small to change the loss's last digit when an entry moves by its own size."""
        return np.finfo(float).eps * abs(self.value) / unit(self.x[k])


@dataclass
class Sight:
    """What was seen of one argument at one place. Arrays have the argument's shape.

    Attributes
    ----------
    given, expected, allowed : ndarray
        NaN in `expected` and `allowed` where an entry was not looked at by itself.
    wrong : ndarray of bool
    kinks : dict of index to Slope
        Entries at which the loss has two derivatives, one to each side.
    tied : list of index
        Entries that part several pairs of equal numbers, and have one derivative all the same: a median of equal numbers, say.
    disputed : list of index
        Entries on a kink of several pieces, outside of the two derivatives: conventions differ there.
    coarse : list of index
        Entries whose witness could not tell them from ones that are off by more than CEILING.
    grouped : int
        Coarse entries that were tested together instead.
    blind : int
        Entries at which there is no derivative to be had.
    unparted : int
        Entries that were not told apart from others on kinks: there were too many.
    unconfirmed : float or None
        A difference, relative to its entry, that only one witness sees.
    spread : float or None
        A difference along a direction, relative, that halving does not bring to single entries.
    direction : float or None
        The largest difference along a direction, relative to the root sum of squares of its terms.
    conflict : float or None
        The difference of the witnesses, relative, where they contradict each other.
    looked : int
        Entries looked at one by one.
    rounding : ndarray
        What is nothing but rounding here, entry by entry.
    unseen : bool
        Nothing was compared here: the witness has no derivative along any direction, or too coarse a one.
    only_at_x : bool
        Entries that sit on a kink at x are wrong here, off it.
    lacks : str
        What x is and this place is not, in words: a gradient for such x need not be right here.
    """

    name: str
    x: np.ndarray
    given: np.ndarray
    expected: np.ndarray
    allowed: np.ndarray
    wrong: np.ndarray
    kinks: dict[tuple[int, ...], Slope] = field(default_factory=dict)
    tied: list[tuple[int, ...]] = field(default_factory=list)
    disputed: list[tuple[int, ...]] = field(default_factory=list)
    coarse: list[tuple[int, ...]] = field(default_factory=list)
    grouped: int = 0
    blind: int = 0
    unparted: int = 0
    unconfirmed: float | None = None
    spread: float | None = None
    direction: float | None = None
    conflict: float | None = None
    differences: float | None = None
    looked: int = 0
    rounding: np.ndarray = field(default_factory=lambda: np.zeros(()))
    unseen: bool = False
    only_at_x: bool = False
    lacks: str = ""

    @property
    def scale(self) -> float:
        """The largest derivative that was seen."""
        sides = [max(abs(slope.up), abs(slope.down)) for slope in self.kinks.values()]
        return max([float(np.max(abs(self.expected), initial=0.0, where=~np.isnan(self.expected))), *sides])

    @property
    def is_zero(self) -> bool:
        """Whether both gradients are nothing but rounding here."""
        expected = np.where(np.isnan(self.expected), 0.0, abs(self.expected))
        return bool(np.all(expected <= self.rounding)) and not self.kinks and not self.wrong.any() and self.looked > 0

    @property
    def smooth(self) -> int:
        """Entries that were tested off every kink."""
        return self.looked - len(self.kinks) - self.blind

    @property
    def is_wrong(self) -> bool:
        return bool(self.wrong.any()) or self.spread is not None

    @property
    def on_middle(self) -> bool:
        """Whether on every kink the middle of both derivatives was given, as sign(0) = 0 has it."""
        return all(
            abs(self.given[index] - slope.middle) <= 1e-6 * max(abs(slope.up - slope.down), abs(slope.middle))
            for index, slope in self.kinks.items()
        )


def norm(array: np.ndarray) -> float:
    """The root of the sum of squares, which do not overflow."""
    largest = float(np.max(abs(array), initial=0.0))
    return largest * float(np.sqrt(np.sum((array / largest) ** 2))) if 0 < largest < np.inf else largest


def few(mask: np.ndarray, most: int, size: np.ndarray) -> list[tuple[int, ...]]:
    """The places where a mask is set, those with the largest size first."""
    found = [tuple(int(i) for i in index) for index in np.argwhere(mask)]
    return sorted(found, key=lambda index: -float(np.nan_to_num(size[index], nan=np.inf)))[:most]
