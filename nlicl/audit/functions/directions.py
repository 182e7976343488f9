"""All entries together, along random directions; and from a direction that is wrong to the entries that are, by halving."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .entries import imprecision, judge_kinks, kinks_together
from .means import Means
from .points import scattered, unit
from .sight import CEILING, SURELY, Place, Sight, norm
from .slopes import Slope, only, tried

__all__ = ["compared", "directions"]

LOCATE = 12  # wrong entries that are searched for by halving
HALVINGS = 400  # slopes for it
PARTINGS = 4000  # slopes that may part the entries on kinks from the others: a sparse argument has many
COARSE_IN_SINGLE = 0.03  # of a derivative along a direction: with an error that is larger, float32's say nothing


@dataclass(frozen=True)
class _Off:
    """A difference along a direction, what is allowed of it, whether that is too much or the direction crosses a kink, and the
    size of what was compared."""

    signed: float
    error: float
    relative: float
    kink: bool
    wrong: bool
    size: float


def directions(
    means: Means, place: Place, k: int, sight: Sight, everything: bool, aside: np.ndarray | None = None
) -> None:
    """The given gradient along random directions, off the kinks; where it is wrong, which entries are."""
    free = np.asarray(np.isfinite(sight.given) if aside is None else np.isfinite(sight.given) & ~aside)
    for index in sight.kinks:
        free[index] = False
    if not free.any() or (sight.wrong & free).any():
        return
    given = np.where(free, sight.given, 0.0)
    sight.unseen = True
    for sizes in weights(means, place, k, given, everything):
        step = np.asarray(scattered(means.rng, sight.x.shape) * sizes * free)
        if k in means.projections:
            step = np.asarray(means.projections[k](sight.x, step))
        if not step.any():
            continue
        found = compared(means, place, k, given, step)
        if found is None:
            continue
        if found.kink:
            known = set(sight.kinks)
            step = without_kinks(means, place, k, sight, step)
            for index in sight.kinks:
                free[index] = False  # of the next direction
            judge_kinks(means, place, k, sight, sight.kinks.keys() - known)
            kinks_together(means, place, k, sight)
            if sight.wrong.any():
                return
            found = compared(means, place, k, given, step) if step.any() else None
            if found is None or found.kink:
                continue
        sight.direction = max(sight.direction or 0.0, found.relative)
        limit = COARSE_IN_SINGLE if means.precision.single else CEILING + 2 * means.precision.relative
        told = found.error <= limit * found.size or found.size <= norm(sight.rounding * step)
        sight.unseen &= not told
        if found.wrong:
            locate(means, place, k, sight, given, step, found)
            return


def weights(means: Means, place: Place, k: int, given: np.ndarray, everything: bool) -> Iterator[np.ndarray]:
    """Sizes of a direction's entries: such that each entry of the gradient counts alike; and as large as the argument."""
    if means.witness(place, k).exact:
        largest = float(np.max(abs(given), initial=0.0))
        yield 1 / np.maximum(abs(given), max(1e-6, means.precision.zero) * largest if largest > 0 else 1.0)
        if everything:
            yield np.ones(given.shape)
    else:
        size = unit(place.x[k])
        yield size
        terms = abs(given) * size
        if everything and terms.any():
            least = float(np.quantile(terms[terms > 0], 0.1))
            yield size * np.minimum(1.0, least / np.where(terms > 0, terms, least))


def compared(
    means: Means, place: Place, k: int, given: np.ndarray, step: np.ndarray, again: bool = True
) -> "_Off | None":
    """What the gradient says along a direction beside what the witness says."""
    slope, _ = tried(means.witness(place, k), place.x, only(place.x, k, step))
    if slope is None:
        return None
    single = means.precision.single
    terms = given * step
    said, size = float(np.sum(terms)), norm(terms)
    error = means.precision.relative * size + means.precision.margin * norm(place.noise[k] * step)
    error += 3 * slope.error + 8 * means.precision.eps * float(np.sum(abs(terms)))
    if not means.sound(place, k):
        error += norm(place.least(k) * step)
    error += norm(means.precision.rounding(float(np.max(abs(given))), place.noise[k]) * step) if single else 0.0
    off = abs(said - slope.middle)
    kink = slope.has_kink(size)
    if again and error < off < CEILING * max(size, abs(slope.middle)) and not kink:
        for nudged in means.nudged_slopes(place, k, only(place.x, k, step)):
            error += means.precision.margin * abs(nudged - slope.middle)
    if again and error < off and not kink:
        error += means.imprecision(place, k, only(place.x, k, step), off)
    largest = max(size, abs(slope.middle), 1e-300)
    return _Off(said - slope.middle, error, off / largest, kink, not kink and off > error, largest)


def without_kinks(means: Means, place: Place, k: int, sight: Sight, step: np.ndarray) -> np.ndarray:
    """The direction without the entries that sit on kinks, found by halving."""
    kept, parts, left = np.zeros(step.shape), [np.flatnonzero(step)], PARTINGS
    while parts and left > 0:
        part = parts.pop()
        left -= 1
        trial = np.zeros(step.shape)
        trial.flat[part] = step.flat[part]
        slope, _ = tried(means.witness(place, k), place.x, only(place.x, k, trial))
        size = norm(sight.given * trial)
        if slope is not None and not slope.has_kink(size):
            kept += trial
        elif len(part) > 1:
            parts += [part[: len(part) // 2], part[len(part) // 2 :]]
        elif slope is not None:
            index = tuple(int(i) for i in np.unravel_index(part[0], step.shape))
            h = step[index]
            ups = sorted((slope.up / h, slope.down / h))
            sight.kinks.setdefault(index, Slope(ups[1], ups[0], slope.error / abs(h), slope.ties))
    if parts:
        sight.unparted = max(sight.unparted, sum(len(part) for part in parts))
    return kept


def locate(
    means: Means, place: Place, k: int, sight: Sight, given: np.ndarray, step: np.ndarray, found: "_Off"
) -> None:
    """The entries to blame for a difference along a direction, by halving."""
    if means.stops_early(place, k, found.relative):
        sight.unconfirmed = found.relative
        return
    if means.witness(place, k).exact and found.relative < CEILING:
        seen = means.differences(place.x, only(place.x, k, step)) if not means.sound(place, k) else None
        unseen = seen is not None and not abs(float(np.sum(given * step)) - seen.middle) > 3 * seen.error
        if means.doubtful(place, k, found.relative) or unseen:
            sight.unconfirmed = found.relative
            return
    parts, left, named = [(np.flatnonzero(step), found.signed)], HALVINGS, 0
    rest = step.copy()  # without the entries that were looked at by themselves
    while parts and left > 0 and named < LOCATE:
        part, off = parts.pop()
        if len(part) == 1:
            index = tuple(int(i) for i in np.unravel_index(part[0], step.shape))
            rest[index] = 0.0
            means.look(place, k, sight, index)
            if not np.isnan(sight.expected[index]):
                named += blame(means, place, k, sight, index)
            continue
        first, second = part[: len(part) // 2], part[len(part) // 2 :]
        trial = np.zeros(step.shape)
        trial.flat[first] = step.flat[first]
        left -= 1
        half = compared(means, place, k, np.where(trial != 0, given, 0.0), trial, again=False)
        if half is None:
            continue
        if abs(off - half.signed) > 2 * found.error:  # what is not in one half is in the other
            parts.append((second, off - half.signed))
        if half.wrong:
            parts.append((first, half.signed))
    if sight.wrong.any():
        return
    if np.any(rest != step):  # entries that are right by themselves: were they all there was?
        left_over = compared(means, place, k, np.where(rest != 0, given, 0.0), rest) if rest.any() else None
        if left_over is not None and left_over.wrong:
            sight.unconfirmed = found.relative
    elif abs(found.signed) > SURELY * found.error:
        sight.spread = found.relative
    else:
        sight.unconfirmed = found.relative


def blame(means: Means, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> bool:
    """Whether an entry that halving has led to is wrong by itself."""
    relative = means.precision.relative * abs(float(sight.expected[index]))
    noise = means.precision.margin * float(place.noise[k][index]) + float(sight.allowed[index])
    off = abs(sight.given[index] - sight.expected[index])
    if max(relative, noise) < off < CEILING * abs(sight.expected[index]) + float(place.least(k)[index]):
        noise += means.wobble(place, k, sight, index)
    if max(relative, noise) < off:
        noise += imprecision(means, place, k, sight, index)
    sight.allowed[index] = max(relative, noise)
    scale = float(np.max(abs(place.given[k]), initial=0.0, where=np.isfinite(place.given[k])))
    rounds = 1024 * means.precision.eps * scale
    if not means.precision.single:
        rounds = float(means.precision.rounding(scale, place.noise[k])[index])
    if sight.allowed[index] < off <= rounds:
        if off > CEILING * abs(sight.expected[index]):
            sight.coarse.append(index)
        sight.allowed[index] = off
    sight.wrong[index] = not off <= sight.allowed[index]
    if sight.wrong[index] and means.too_noisy(place, k):
        low, high = means.quotients(place, k, index)
        if low <= sight.given[index] <= high:
            sight.wrong[index] = False
            sight.coarse.append(index)
            sight.allowed[index] = off
    return bool(sight.wrong[index])
