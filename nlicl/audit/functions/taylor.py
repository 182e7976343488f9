"""How fast the loss leaves its tangent: the exponent of the Taylor remainder."""

import numpy as np

from ..witnesses import taylor_slope
from .examine import Examiner
from .points import scattered, unit
from .sight import Place, norm
from .slopes import along

__all__ = ["taylor"]


def taylor(examiner: Examiner, place: Place, kink: bool) -> tuple[float | None, bool, float]:
    """(exponent of the Taylor remainder at a place, whether it was taken, its linear part relative to the gradient).

    Along one random direction in all arguments. The exponent is fitted on the smallest steps that show more than rounding:
    there the linear part of a wrong gradient dominates.
    """
    if kink or not all(np.isfinite(array).all() for array in place.given):
        return None, False, 0.0
    v = [unit(array) * scattered(examiner.rng, array.shape) for array in place.x]
    for k, project in examiner.projections.items():
        v[k] = project(place.x[k], v[k])
    slope = float(sum(np.sum(given * step) for given, step in zip(place.given, v, strict=True)))
    size = norm(np.array([norm(given * step) for given, step in zip(place.given, v, strict=True)]))
    f = along(examiner.function, place.x, v)
    base = f(0.0)
    steps = 0.03 * 3.0 ** -np.arange(24)
    remainder = abs(np.array([f(t) for t in steps]) - base - steps * slope)
    noise = examiner.differences.noise(place.x) + 4e-16 * steps * abs(slope)
    seen = np.flatnonzero(np.isfinite(remainder) & (remainder > 30 * noise))[-5:]
    found = examiner.differences(place.x, v)
    off = max(0.0, abs(found.middle - slope) - 10 * found.error) if found.known else 0.0
    linear = off / size if size > 0 else 0.0
    return taylor_slope(remainder[seen], noise[seen], steps[seen]), True, linear
