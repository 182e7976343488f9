"""Entry by entry: right, wrong, on a kink, or not to be told."""

from collections.abc import Iterable

import numpy as np

from .means import Means
from .points import unit
from .sight import CEILING, SURELY, Place, Sight, few, norm
from .slopes import Slope, only, tried

__all__ = ["imprecision", "judge", "judge_kinks", "kinks_together", "project"]

TINY = 1e-307  # shares of numbers near the smallest are none


def judge(means: Means, place: Place, k: int, sight: Sight) -> None:
    """Entry by entry: right, wrong, or not to be told."""
    scale, p = sight.scale, means.precision
    seen = np.asarray(~np.isnan(sight.expected))
    with np.errstate(all="ignore"):
        size = np.maximum(abs(sight.expected), p.floor * scale)
        least = place.least(k)
        blur = np.asarray(sight.allowed + p.margin * place.noise[k] + (0.0 if means.sound(place, k) else least))
        sight.allowed[...] = np.maximum(blur, p.relative * size) + TINY
        off = abs(sight.given - sight.expected)
        suspects = seen & ~(off <= sight.allowed) & np.isfinite(sight.given)
        slight = suspects & (off <= np.maximum((1e-2 if p.single else 1e-6) * scale, least))
    for index in few(slight, 50, off):
        sight.allowed[index] += means.wobble(place, k, sight, index)
    rounds = p.rounding(scale, place.noise[k])
    unsteady = the_witness_errs(means, place, k, sight, suspects & ~(off <= sight.allowed), rounds)
    seen &= ~np.isnan(sight.expected)
    blur[unsteady] = off[unsteady]
    slightly = np.asarray(seen & (off > sight.allowed) & (off <= rounds))
    sight.allowed[slightly] = blur[slightly] = off[slightly]
    # Of so few digits a sum may lose some that nudges do not show: it is not wrong, and not right.
    slight_in_single = np.asarray(seen & (off > sight.allowed) & p.single & (off <= 1024 * p.eps * scale))
    sight.allowed[slight_in_single] = blur[slight_in_single] = off[slight_in_single]
    tiny = np.asarray((off <= 4 * p.eps * place.largest) | (place.largest == 0))
    nothing = seen & (sight.given == 0) & tiny & (off <= sight.rounding)
    nothing = np.asarray(nothing & means.sound(place, k))
    sight.allowed[nothing] = off[nothing]  # a zero that is given where a sum of what cancels leaves its rounding
    sight.wrong |= seen & ~(off <= sight.allowed)
    with np.errstate(all="ignore"):
        larger = np.maximum(abs(sight.expected), abs(sight.given))
        coarse = seen & ~sight.wrong & (blur > CEILING * larger)
        # What is rounding beside the largest entry, on both sides, has nothing to be told.
        unseen = larger > CEILING * scale  # by differences, since the entry of x is too small for its step to be one
        unseen |= bool(np.all(larger <= sight.rounding))
        told = (larger > sight.rounding) | (unseen & (not means.sound(place, k)))
        coarse &= ((larger > p.zero * scale) & told) | slight_in_single | (slightly & (not p.single))
        coarse &= ~unsteady
    for index in sight.tied:  # several pieces meet, and what each entry does alone says nothing of them
        if sight.wrong[index]:
            sight.wrong[index] = False
            sight.disputed.append(index)
    confirm(means, place, k, sight)
    judge_kinks(means, place, k, sight, sight.kinks)
    together(means, place, k, sight, coarse)
    sight.coarse += [tuple(int(i) for i in index) for index in np.argwhere(unsteady)]


def judge_kinks(means: Means, place: Place, k: int, sight: Sight, indices: Iterable[tuple[int, ...]]) -> None:
    """Entries on kinks: what is given must lie between the derivatives to both sides, where two pieces meet."""
    for index in indices:
        slope = sight.kinks[index]
        share = 1e-9 if means.sound(place, k) else 1e-5
        slack = share * max(abs(slope.up), abs(slope.down)) + 3 * slope.error
        slack += 4 * means.precision.eps * abs(slope.middle)
        low, high = sorted((slope.up, slope.down))
        if not low - slack <= sight.given[index] <= high + slack and np.isfinite(sight.given[index]):
            if slope.ties in (0, 1):
                sight.wrong[index] = True
            else:
                sight.disputed.append(index)


def the_witness_errs(
    means: Means, place: Place, k: int, sight: Sight, suspects: np.ndarray, rounds: np.ndarray
) -> np.ndarray:
    """Which suspects may be right, since their witness loses digits. An entry beside a kink is taken for one that is on it.

    Three for which there is no such excuse are enough.
    """
    unsteady, off, misses = np.zeros(suspects.shape, bool), abs(sight.given - sight.expected), 0
    for index in few(suspects, 50, off):
        if hidden_kink(means, place, k, sight, index):
            continue
        if off[index] > rounds[index] and off[index] <= sight.allowed[index] + imprecision(
            means, place, k, sight, index
        ):
            unsteady[index] = True
            sight.allowed[index] = off[index]
            continue
        misses += 1
        if misses == 3:
            break
    return unsteady


def hidden_kink(means: Means, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> bool:
    """Whether an entry sits on a kink that an exact witness does not see: by rounding it is a little to one side."""
    if not means.witness(place, k).exact:
        return False
    seen, h = means.differences_by(place, k, index)
    if not seen.known or seen.up == seen.down:
        return False
    sight.kinks[index] = Slope(seen.up / h, seen.down / h, seen.error / h, seen.ties)
    sight.expected[index] = sight.allowed[index] = np.nan
    return True


def imprecision(means: Means, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> float:
    """What the witness of an entry may be off by its own rounding."""
    v, h = means.step(place, k, index)
    return means.imprecision(place, k, v, h * abs(float(sight.given[index] - sight.expected[index]))) / h


def confirm(means: Means, place: Place, k: int, sight: Sight) -> None:
    """Doubt the witness where it may be at fault.

    A slight difference may be that of an iteration which stops early, whose derivative has not arrived; and a complex step is
    as good as differences have confirmed. A large one may be the witness's own error if differences side with the gradient.
    """
    witness = means.witness(place, k)
    if not sight.wrong.any():
        return
    if not witness.exact:
        doubt_noisy(means, place, k, sight)
        return
    off = abs(sight.given - sight.expected)
    with np.errstate(all="ignore"):
        least = 0.0 if means.sound(place, k) else 1e-3 * sight.scale
        relative = off / np.maximum(np.maximum(abs(sight.expected), abs(sight.given)), least)
    worst = few(sight.wrong & ~np.isnan(relative), 3, relative)
    largest = float(np.max(np.nan_to_num(relative[sight.wrong], nan=np.inf)))
    if largest < CEILING:
        if means.doubtful(place, k, largest) or not (
            means.sound(place, k) or any(contradicted(means, place, k, sight, index) for index in worst)
        ):
            sight.unconfirmed = largest
            sight.wrong[...] = False
    elif means.stops_early(place, k, beside := float(np.max(off[sight.wrong])) / max(sight.scale, 1e-300)):
        sight.unconfirmed = beside
        sight.wrong[...] = False
    elif worst and all(confirmed(means, place, k, sight, index) for index in worst):
        sight.conflict = float(relative[worst[0]])


def doubt_noisy(means: Means, place: Place, k: int, sight: Sight) -> None:
    """Differences of a loss with noise take long steps, and average over the kinks in them. What lies between their quotients
    to either side is not wrong for sure."""
    if not means.too_noisy(place, k):
        return
    for index in few(sight.wrong & np.isfinite(sight.given), 64, abs(sight.given - sight.expected)):
        low, high = means.quotients(place, k, index)
        if low <= sight.given[index] <= high:
            sight.wrong[index] = False
            sight.coarse.append(index)
            sight.allowed[index] = max(high - sight.given[index], sight.given[index] - low)


def contradicted(means: Means, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> bool:
    """Whether differences of the loss contradict what was given, too."""
    seen, h = means.differences_by(place, k, index)
    return abs(sight.given[index] * h - seen.middle) > 3 * seen.error


def confirmed(means: Means, place: Place, k: int, sight: Sight, index: tuple[int, ...]) -> bool:
    """Whether differences of the loss side with what was given, and against the witness."""
    seen, h = means.differences_by(place, k, index)
    if not seen.known or seen.up != seen.down:
        return False
    with_given = abs(sight.given[index] * h - seen.middle)
    against = abs(sight.expected[index] * h - seen.middle)
    return with_given <= 10 * seen.error + 1e-6 * abs(seen.middle) and against > 100 * with_given + 100 * seen.error


def together(means: Means, place: Place, k: int, sight: Sight, coarse: np.ndarray) -> None:
    """Entries too small for the witness one by one, along the direction in which they say the loss rises."""
    indices = [tuple(int(i) for i in index) for index in np.argwhere(coarse)]
    if len(indices) > 1 and not np.any(sight.allowed[coarse] > CEILING * sight.scale):
        step = np.where(coarse, np.sign(sight.given) * unit(place.x[k]), 0.0)
        slope, _ = tried(means.witness(place, k), place.x, only(place.x, k, step))
        if slope is not None:
            said = float(np.sum(sight.given * step))
            error = 3 * slope.error + means.precision.margin * norm(place.noise[k] * step)
            error += means.precision.relative * abs(said)
            error += norm(means.precision.rounding(sight.scale, place.noise[k]) * step)
            off = abs(said - slope.middle)
            if off > error:
                error += means.imprecision(place, k, only(place.x, k, step), off)
            if off > error * (1 if means.witness(place, k).exact else SURELY):
                relative = off / abs(said)
                if relative < CEILING and means.doubtful(place, k, relative):
                    sight.unconfirmed = relative
                else:
                    sight.spread = relative
                return
            if off <= error <= CEILING * abs(said):
                sight.grouped = len(indices)
                return
    sight.coarse += indices


def kinks_together(means: Means, place: Place, k: int, sight: Sight) -> None:
    """Entries on kinks along common directions: between both derivatives must lie what the gradient says of each."""
    if len(sight.kinks) < 2 or not means.sound(place, k):  # a complex step takes one branch of a root, say
        return
    mask = np.zeros(sight.x.shape, bool)
    for index in sight.kinks:
        mask[index] = index not in sight.disputed and not sight.wrong[index]
    random = [means.rng.standard_normal(sight.x.shape) for _ in range(5)]
    for direction in (
        *random,
        np.ones(mask.shape),
        -np.ones(mask.shape),
    ):  # equal numbers move together along the last two
        step = direction * mask
        slope, _ = tried(means.witness(place, k), place.x, only(place.x, k, step))
        if slope is None:
            continue
        said = float(np.sum(np.where(mask, sight.given, 0.0) * step))
        low, high = sorted((slope.up, slope.down))
        slack = 1e-6 * float(np.sum(abs(np.where(mask, sight.given, 0.0) * step))) + 1e-6 * (high - low)
        if not low - slack <= said <= high + slack:
            if slope.ties in (0, 1):
                sight.wrong |= mask
            else:
                sight.disputed = list(sight.kinks)
            return


def project(means: Means, place: Place, k: int, sight: Sight) -> None:
    """Keep of gradient and derivative what lies along the directions in which the argument may move."""
    project = means.projections[k]
    if np.isnan(sight.expected).any():  # on a kink, say: no projection of what is not known
        sight.blind = max(sight.blind, int(np.isnan(sight.expected).sum()))
        sight.expected[...] = np.nan
        sight.kinks.clear()
        return
    sight.expected = project(sight.x, sight.expected)
    if np.isfinite(sight.given).all():
        sight.given = project(sight.x, sight.given)
    sight.allowed[...] = float(np.max(sight.allowed))
