"""Derivatives of a function of one number from its values, with an estimate of their error.

Nothing is known of the function but its values. So its rounding is measured, the step is shrunk until it fits, and the error
is read off rows of the extrapolation that agree. Steps are in units that the caller chooses: f(1) is a place as far from
f(0) as one would care to go.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["Estimate", "estimate", "lasting_noise", "looks_rough", "noise"]

LEVELS = 34  # of halved steps, at most
KINK = 1e-4  # one-sided derivatives that differ by this share of the larger one are two
NEAR = 2.0**-20  # the step of a last look
SHARES = (0.31, 0.5, 0.71, 0.83)  # of it, for more of them
PLACES = (-0.25, -0.14, -0.05, 0.07, 0.16, 0.25)  # where a function that keeps its value near 0 is looked at, too
NOISY = 1e-12  # a function whose values have a rounding beyond this share of them
ROUNDING = 4.0  # the error that a value's rounding makes in a quotient, in roundings a step


@dataclass(frozen=True)
class Estimate:
    """The derivative at 0 from the right (`up`) and from the left (`down`), equal where there is one; and its error.

    All are NaN, and the error infinite, where no step gives finite values on both sides.
    """

    up: float
    down: float
    error: float


def estimate(f: Callable[[float], float], base: float, rounding: float, first: float = 0.25) -> Estimate:
    """The derivative of f at 0.

    Parameters
    ----------
    f : callable
        It may raise ArithmeticError or ValueError, or return NaN, where it is not defined.
    base : float
        f(0).
    rounding : float
        Of a value of f, see `noise`.
    first : float
        The longest step.

    Returns
    -------
    Estimate
    """
    rounding = max(rounding, float(np.spacing(abs(base))))
    near = _value(f, NEAR), _value(f, -NEAR)
    if near == (base, base):
        rounding = max(rounding, _stair(f, base))
    while first > NEAR:
        found = _from(f, base, rounding, first)
        if _holds_near(f, near, found, rounding):
            return found
        first /= 64  # steps that are multiples of a period, say, see a function that is not there
    return _from(f, base, rounding, first)


def _stair(f: Callable[[float], float], base: float) -> float:
    """How far a function jumps that keeps its value near 0; 0 of one that leaves it continuously, never, or for one other.

    It rounds what it is given, to float16 or to whole numbers, say. Beside terms without rounding that is no noise that
    `noise` sees.
    """
    if len({base, *(_value(f, place) for place in PLACES)}) < 3:
        return 0.0
    kept, left = NEAR, 2 * NEAR
    while _keeps(f, base, left):
        if left >= max(PLACES):
            return 0.0
        kept, left = left, 2 * left
    far = _off(f, base, left)
    while left - kept > 1e-12 * left:
        middle = (kept + left) / 2
        kept, left = (middle, left) if _keeps(f, base, middle) else (kept, middle)
    jump = _off(f, base, left)
    return jump if jump > max(1e-3 * far, 64 * float(np.spacing(abs(base)))) else 0.0


def _keeps(f: Callable[[float], float], base: float, h: float) -> bool:
    """Whether f is the same at h and at -h."""
    return _value(f, h) == base == _value(f, -h)


def _off(f: Callable[[float], float], base: float, h: float) -> float:
    """How far f is off at h or at -h, where it is defined."""
    return float(np.nan_to_num(max(abs(_value(f, h) - base), abs(_value(f, -h) - base)), nan=0.0))


def _holds_near(f: Callable[[float], float], near: tuple[float, float], found: Estimate, rounding: float) -> bool:
    """Whether a plain difference at a short step is what an estimate promises, from the values at NEAR and at -NEAR; True
    where it cannot tell."""
    middle, jump = (found.up + found.down) / 2, abs(found.up - found.down)
    above, below = near
    if not np.isfinite([middle, above, below]).all() or above == below:
        return True  # a function that sees no step so short, or keeps its last value, says nothing there
    off = abs((above - below) / (2 * NEAR) - middle) - 1e-8 * abs(middle) - jump
    if off > 10 * rounding / NEAR + 10 * found.error:
        return False
    # What was taken for rounding may be the kinks of a fine table: then quotients at short steps agree better than it allows.
    exact = 10 * ROUNDING * float(np.spacing(max(abs(above), abs(below)))) / NEAR
    if off <= exact + 2 * found.error:
        return True
    steps = [share * NEAR for share in SHARES]
    quotients = [(above - below) / (2 * NEAR)] + [(_value(f, h) - _value(f, -h)) / (2 * h) for h in steps]
    return not off > exact + 2 * found.error + 30 * float(np.ptp(quotients))


def _from(f: Callable[[float], float], base: float, rounding: float, first: float) -> Estimate:
    """`estimate` with steps from `first` down."""
    values: list[tuple[float, float, float]] = []  # (h, f(h), f(-h)), from the longest step
    rows = 2 if rounding < NOISY * abs(base) else 4  # with few digits, rows agree by chance more easily
    central, best, error = _Table(4.0, rows), np.nan, np.inf
    for level in range(LEVELS):
        h = first * 2.0**-level
        above, below = _value(f, h), _value(f, -h)
        if not (np.isfinite(above) and np.isfinite(below)):
            values, central, best, error = [], _Table(4.0, rows), np.nan, np.inf  # the domain ends before: begin again
            continue
        values.append((h, above, below))
        value, off = central.add((above - below) / (2 * h), ROUNDING * rounding / h)
        if off < error:
            best, error = value, off
        floor = ROUNDING * rounding / h
        if len(values) > rows and (error <= 4 * floor or error <= 1e-13 * abs(best)):
            break
    if not values:
        return Estimate(np.nan, np.nan, np.inf)
    right, left, doubt = _two_sides(values, base, rounding)
    apart = abs(right - left)
    if _lasts(values, base, right - left) and apart > KINK * max(abs(right), abs(left)) + 10 * doubt:
        return Estimate(right, left, doubt)
    if apart > 3 * doubt:  # a kink too slight, or too near, to be sure of: the derivative is either of the two
        error = max(error, apart)
    return Estimate(best, best, error)


class _Table:
    """Romberg's extrapolation of quotients whose error is a series in powers of h^(log2 factor)."""

    def __init__(self, factor: float, rows: int = 2) -> None:
        self.factor, self.rows = factor, rows
        self.row: list[float] = []
        self.found: list[float] = []

    def add(self, quotient: float, floor: float) -> tuple[float, float]:
        """(best value of the new row, estimate of its error): its neighbours and the rows before must agree with it."""
        new, power = [quotient], self.factor
        for previous in self.row:
            new.append(new[-1] + (new[-1] - previous) / (power - 1))
            power *= self.factor
        best, error = quotient, np.inf
        for k in range(1, len(new)):
            off = max(abs(new[k] - new[k - 1]), abs(new[k] - self.row[k - 1]), floor)
            if off < error:
                best, error = new[k], off
        if len(self.found) >= self.rows - 1:  # an agreement of one pair alone is luck
            error = max(error, *(abs(best - value) for value in self.found[1 - self.rows :]))
        else:
            error = np.inf
        self.row = new[:9]
        self.found.append(best)
        return best, error


def _two_sides(values: list[tuple[float, float, float]], base: float, rounding: float) -> tuple[float, float, float]:
    """(derivative from the right, from the left, error of their difference)."""
    sides = []
    for side in (0, 1):
        table, best, error = _Table(2.0), np.nan, np.inf
        for h, above, below in values:
            quotient = (above - base) / h if side == 0 else (base - below) / h
            value, off = table.add(quotient, 2 * ROUNDING * rounding / h)
            if off < error:
                best, error = value, off
        sides.append((best, error))
    (right, e_right), (left, e_left) = sides
    return right, left, e_right + e_left


def _lasts(values: list[tuple[float, float, float]], base: float, jump: float) -> bool:
    """Whether the slope jumps at the shortest steps, too: a bend, and a kink near by, lose theirs with the step."""
    return all(np.sign((above - 2 * base + below) / h) == np.sign(jump) for h, above, below in values[-3:])


def noise(f: Callable[[float], float], base: float) -> float:
    """How far values of f are off a smooth curve: the rounding that computing f makes.

    Differences of high order of values at equal steps vanish for a smooth function and keep its noise (Moré and Wild,
    SIAM J. Sci. Comput. 33, 2011). Several steps are tried: a function that computes in float32 sees no small one.
    """
    found, before = 0.5 * float(np.spacing(abs(base))), 0.0
    for values in _windows(f, base, 2.0 ** np.arange(-40.0, -9.0, 6.0)):
        found, here = max(found, _grid(values)), _plateau(values)
        if here < 16 * before:  # noise is the same at every step; what a bend leaves grows with it
            found = max(found, min(here, before))
        before = here
    return found


def lasting_noise(f: Callable[[float], float], base: float) -> float:
    """The same of a derivative, which may jump: its noise is what is seen at two steps, as a jump not too near to 0 is not."""
    steps = 2.0 ** np.array([-40.0, -34.0, -28.0, -22.0, -16.0, -13.0, -10.0])
    seen = sorted(max(_grid(values), _plateau(values)) for values in _windows(f, base, steps))
    return max(0.5 * float(np.spacing(abs(base))), *seen[-2:-1], 0.0)


def looks_rough(f: Callable[[float], float], base: float, by: float) -> bool:
    """Whether values of f beside 0 are off a straight line by more than `by`, at some of a few steps: a glance."""
    return any(not abs(_value(f, h) - 2 * base + _value(f, -h)) <= by for h in 2.0 ** np.arange(-28.0, -9.0, 6.0))


def _windows(f: Callable[[float], float], base: float, steps: np.ndarray) -> Iterator[np.ndarray]:
    """Values of f at equal steps to both sides, for each of these steps, as far as they are finite."""
    for h in steps:
        values = np.array([_value(f, k * h) for k in range(-4, 0)] + [base] + [_value(f, k * h) for k in range(1, 5)])
        if not np.isfinite(values).all():
            return
        yield values


def _grid(values: np.ndarray) -> float:
    """Half the distance of values that lie on a grid; 0 of others."""
    distinct = np.unique(values)
    if len(distinct) > 1 and max(len(np.unique(values[:5])), len(np.unique(values[4:]))) < 5:
        return 0.5 * float(np.min(np.diff(distinct)))
    return 0.0


def _plateau(values: np.ndarray) -> float:
    """The noise of values at equal steps: what differences settle at from some order on; 0 if they still fall."""
    if len(np.unique(values)) < 5:
        return 0.0
    estimates, row = [], values
    for order in range(1, 7):
        row = np.diff(row)
        weight = _factorial(order) ** 2 / _factorial(2 * order)
        estimates.append(float(np.sqrt(weight * np.mean(row**2))))
    last = estimates[3:]
    return max(last) if max(last) < 4 * min(last) else 0.0


def _factorial(n: int) -> float:
    return float(np.prod(np.arange(1, n + 1, dtype=float)))


def _value(f: Callable[[float], float], t: float) -> float:
    """f(t), NaN where it is not defined."""
    try:
        return float(f(t))
    except (ArithmeticError, ValueError):
        return np.nan
