"""Derivatives of a function of one number from its values, with an estimate of their error.

Nothing is known of the function but its values, so its rounding is measured, the step is shrunk until it fits, and the error is
read off two rows of the extrapolation that agree. Steps are in units that the caller chooses: f(1) is a place as far from f(0)
as one would care to go.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Estimate", "estimate", "noise"]

LEVELS = 34  # of halved steps, at most
KINK = 1e-4  # one-sided derivatives that differ by this share of the larger one are two
NEAR = 2.0**-20  # the step of a last look
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
    while first > NEAR:
        found = _from(f, base, rounding, first)
        if _holds_near(f, found, rounding):
            return found
        first /= 64  # steps that are multiples of a period, say, see a function that is not there
    return _from(f, base, rounding, first)


def _holds_near(f: Callable[[float], float], found: Estimate, rounding: float) -> bool:
    """Whether a plain difference at a short step is what an estimate promises; True where it cannot tell."""
    middle, jump = (found.up + found.down) / 2, abs(found.up - found.down)
    above, below = _value(f, NEAR), _value(f, -NEAR)
    if not np.isfinite([middle, above, below]).all():
        return True
    off = abs((above - below) / (2 * NEAR) - middle)
    return off <= 10 * rounding / NEAR + 1e-5 * abs(middle) + 10 * found.error + jump


def _from(f: Callable[[float], float], base: float, rounding: float, first: float) -> Estimate:
    """`estimate` with steps from `first` down."""
    values: list[tuple[float, float, float]] = []  # (h, f(h), f(-h)), from the longest step
    central, best, error = _Table(4.0), np.nan, np.inf
    for level in range(LEVELS):
        h = first * 2.0**-level
        above, below = _value(f, h), _value(f, -h)
        if not (np.isfinite(above) and np.isfinite(below)):
            values, central, best, error = [], _Table(4.0), np.nan, np.inf  # the domain ends before: begin again
            continue
        values.append((h, above, below))
        value, off = central.add((above - below) / (2 * h), ROUNDING * rounding / h)
        if off < error:
            best, error = value, off
        floor = ROUNDING * rounding / h
        if len(values) > 2 and (error <= 4 * floor or error <= 1e-13 * abs(best)):
            break
    if not values:
        return Estimate(np.nan, np.nan, np.inf)
    sides = _two_sides(values, base, rounding)
    if sides is not None:
        return sides
    return Estimate(best, best, error)


class _Table:
    """Romberg's extrapolation of quotients whose error is a series in powers of h^(log2 factor)."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.row: list[float] = []
        self.last: float | None = None

    def add(self, quotient: float, floor: float) -> tuple[float, float]:
        """(best value of the new row, estimate of its error): two neighbours and the row before must agree with it."""
        new, power = [quotient], self.factor
        for previous in self.row:
            new.append(new[-1] + (new[-1] - previous) / (power - 1))
            power *= self.factor
        best, error = quotient, np.inf
        for k in range(1, len(new)):
            off = max(abs(new[k] - new[k - 1]), abs(new[k] - self.row[k - 1]), floor)
            if off < error:
                best, error = new[k], off
        if self.last is not None:
            error = max(error, abs(best - self.last))  # an agreement of one pair alone is luck
        else:
            error = np.inf
        self.row, self.last = new[:9], best
        return best, error


def _two_sides(values: list[tuple[float, float, float]], base: float, rounding: float) -> Estimate | None:
    """Both one-sided derivatives, if they differ: on a kink."""
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
    error = e_right + e_left
    if not np.isfinite(error):
        return None
    # A kink keeps its jump at every step; a bend, and a kink near by, lose theirs with it.
    jumps = [(above - 2 * base + below) / h for h, above, below in values[-3:]]
    lasting = all(np.sign(jump) == np.sign(right - left) for jump in jumps)
    size = max(abs(right), abs(left))
    if lasting and abs(right - left) > KINK * size + 10 * error:
        return Estimate(right, left, error)
    return None


def noise(f: Callable[[float], float], base: float) -> float:
    """How far values of f are off a smooth curve: the rounding that computing f makes.

    Differences of high order of values at equal steps vanish for a smooth function and keep its noise (Moré and Wild,
    SIAM J. Sci. Comput. 33, 2011). The step grows until the values differ: a function that computes in float32 sees no
    smaller one.
    """
    least = 0.5 * float(np.spacing(abs(base)))
    h = 2.0**-40
    while h < 1e-2:
        values = np.array([base] + [_value(f, k * h) for k in range(1, 9)])
        if not np.isfinite(values).all():
            return least
        if len(np.unique(values)) >= 5:
            break
        h *= 32
    else:
        return least
    found, row = [], values
    for order in range(1, 7):
        row = np.diff(row)
        weight = _factorial(order) ** 2 / _factorial(2 * order)
        found.append(float(np.sqrt(weight * np.mean(row**2))))
    # From some order on the estimates settle at the noise; before, they fall with the function's own differences.
    settled = min(max(found[k : k + 3]) for k in range(len(found) - 2))
    return max(settled, least)


def _factorial(n: int) -> float:
    return float(np.prod(np.arange(1, n + 1, dtype=float)))


def _value(f: Callable[[float], float], t: float) -> float:
    """f(t), NaN where it is not defined."""
    try:
        return float(f(t))
    except (ArithmeticError, ValueError):
        return np.nan
