"""Places beside x: a gradient that is right at x and wrong a little off is wrong.

x is often special: weights of one, logarithms of one, a sum with equal weights. There a forgotten factor does not show.
A neighbour keeps what makes x a member of its kind: a symmetric matrix stays symmetric, a unit vector a unit vector,
probabilities sum to 1.
"""

from collections.abc import Callable, Collection
from functools import partial

import numpy as np

__all__ = ["by_chance", "kind_of", "like", "neighbours", "scattered", "special", "unit"]

ROUNDED = 16 * float(np.finfo(float).eps)  # an entry below this share of the others' median may be rounding
ROUNDED_AT_LEAST = 1e-18  # and above this one: constants of nature are smaller, and no rounding
REACH = (0.1, 0.01, 1e-3, 1e-4)  # relative to an entry; shorter where the loss ends before


def neighbours(
    x: list[np.ndarray],
    defined: Callable[[list[np.ndarray]], bool],
    count: int,
    rng: np.random.Generator,
    kept: Collection[int] = (),
) -> list[tuple[list[np.ndarray], str]]:
    """Places a little off x, each with what it lacks of x: "" or, in words, what x is and it is not.

    There are at most `count`, each other one opposite to the one before: a loss may be another function to one side of x.
    Where x is of some kind, one more lacks what the others keep: a gradient that is right at no other places may rest on it.
    Where an entry may be zero but for rounding, in one more it is moved as if it were.
    Arguments whose numbers are `kept` keep it everywhere.
    """
    found: list[tuple[list[np.ndarray], str]] = []
    kinds = [kind_of(array) for array in x]
    left = [name if k not in kept else "" for k, (name, _) in enumerate(kinds)]
    steps = [np.zeros(array.shape) for array in x]
    rounded = [rounded_zeros(array) for array in x]
    for number in range(count + any(left) + any(mask.any() for mask in rounded)):
        leave = number == count and any(left)
        far = number >= count and not leave
        opposite = number % 2 == 1 and number < count
        steps = [-step for step in steps] if opposite else [scattered(rng, array.shape) for array in x]
        for reach in REACH:
            place = []
            for array, step, (_, alike), leaves, tiny in zip(x, steps, kinds, left, rounded, strict=True):
                size = np.where(tiny & far, _typical(array), unit(array))
                moved = like(array, array + size * np.clip(reach * step, -0.9, 0.9))
                place.append(moved if leave and leaves else like(array, alike(moved)))
            if defined(place):
                found.append((place, next(filter(None, left)) if leave else ""))
                break
    return found


def scattered(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of random size and sign, none of them small. Of equal sizes a sum may be 0, and so is any multiple of it."""
    return np.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape))


def kind_of(array: np.ndarray) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    """(what makes an array one of its kind, in words; what makes another array one of it). Empty if nothing does."""
    if is_symmetric(array):
        return "symmetric", lambda moved: np.tril(moved) + np.tril(moved, -1).T
    for axis in (None, *range(array.ndim)) if array.size > 1 else ():
        if _all_one(np.sum(array * array, axis=axis)) and not _all_one(np.abs(array)):
            return "of norm 1", partial(_of_norm_one, axis=axis)
        if (array >= 0).all() and _all_one(np.sum(array, axis=axis)) and not _all_one(array):
            return "of sum 1", partial(_of_sum_one, axis=axis)
    return "", lambda moved: moved


def _of_norm_one(moved: np.ndarray, axis: int | None) -> np.ndarray:
    return moved / np.sqrt(np.sum(moved * moved, axis=axis, keepdims=True))


def _of_sum_one(moved: np.ndarray, axis: int | None) -> np.ndarray:
    return moved / np.sum(moved, axis=axis, keepdims=True)


def is_symmetric(array: np.ndarray) -> bool:
    """Whether an array is a symmetric matrix, larger than one entry."""
    return array.ndim == 2 and array.shape[0] == array.shape[1] > 1 and bool(np.array_equal(array, array.T))


def by_chance(array: np.ndarray) -> bool:
    """Whether an array is of its kind as a start or an example may be: a symmetric matrix that is diagonal or constant, which
    no covariance is, or zeros and ones, as a unit vector along an axis."""
    if is_symmetric(array) and (np.ptp(array) == 0 or bool(np.array_equal(array, np.diag(np.diag(array))))):
        return True
    return bool(np.isin(array, (0.0, 1.0, -1.0)).all())


def unit(array: np.ndarray) -> np.ndarray:
    """The size of a step at each entry: the entry's own, a typical one where it is zero, or zero but for rounding."""
    size = np.asarray(abs(array))
    if np.min(size, initial=np.inf) > ROUNDED * np.max(size, initial=0.0):
        return size
    rounded = size == 0
    if (array < 0).any() and (array > 0).any():  # of numbers of one sign a small one may be a probability
        rounded |= rounded_zeros(array)
    return np.where(rounded, _typical(array), size)


def _typical(array: np.ndarray) -> float:
    """The root mean square of several numbers; 1 where that is 0, and of a number by itself."""
    return (float(np.sqrt(np.mean(array * array))) if array.size > 1 else 1.0) or 1.0


def rounded_zeros(array: np.ndarray) -> np.ndarray:
    """Which entries may be zero but for rounding: as sin(pi) is."""
    size = np.asarray(abs(array))
    others = float(np.median(size)) if array.size > 1 else 1.0
    return np.asarray((size > ROUNDED_AT_LEAST * others) & (size <= ROUNDED * others))


def like(array: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values in the dtype of an array, laid out in memory as it is."""
    made = np.empty_like(array)
    made[...] = values
    return made


def _all_one(values: np.ndarray) -> bool:
    return bool(np.all(abs(values - 1) < 1e-6 if values.dtype == np.float32 else abs(values - 1) < 1e-12))


def special(names: list[str], x: list[np.ndarray]) -> list[str]:
    """What is special about x, in words: where a missing factor would not show."""
    found = []
    for name, array in zip(names, x, strict=True):
        if array.size > 1 and np.ptp(array) == 0:
            found.append(f"{name} is constant (all {array.flat[0]:g})")
        elif array.size == 1 and array.flat[0] in (0.0, 1.0):
            found.append(f"{name} is {array.flat[0]:g}")
    return found
