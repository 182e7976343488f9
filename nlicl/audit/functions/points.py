"""Places beside x: a gradient that is right at x and wrong a little off is wrong.

x is often special: weights of one, logarithms of one, a sum with equal weights. There a forgotten factor does not show.
A neighbour keeps what makes x a member of its kind: a symmetric matrix stays symmetric, a unit vector a unit vector,
probabilities sum to 1.
"""

from collections.abc import Callable, Collection

import numpy as np

__all__ = ["is_symmetric", "neighbours", "special", "unit"]

REACH = (0.1, 0.01, 1e-3, 1e-4)  # relative to an entry; shorter where the loss ends before


def neighbours(
    x: list[np.ndarray],
    defined: Callable[[list[np.ndarray]], bool],
    count: int,
    rng: np.random.Generator,
    kept: Collection[int] = (),
) -> list[tuple[list[np.ndarray], bool]]:
    """Places a little off x at which the loss is defined, at most `count`, and whether one is less symmetric than x.

    The last one is, if a matrix of x is symmetric by chance, perhaps: all zero, or a multiple of the identity or of ones; not
    those whose numbers are `kept`, which are symmetric always.
    """
    found: list[tuple[list[np.ndarray], bool]] = []
    plain = [_is_plain(array) and k not in kept for k, array in enumerate(x)]
    for number in range(count):
        breaking = any(plain) and number == count - 1
        steps = [rng.standard_normal(array.shape) for array in x]
        for reach in REACH:
            place = [
                _moved(array, reach * step, not (breaking and by_chance))
                for array, step, by_chance in zip(x, steps, plain, strict=True)
            ]
            if defined(place):
                found.append((place, breaking))
                break
    return found


def is_symmetric(array: np.ndarray) -> bool:
    """Whether an array is a symmetric matrix, larger than one entry."""
    return array.ndim == 2 and array.shape[0] == array.shape[1] > 1 and bool(np.array_equal(array, array.T))


def _is_plain(array: np.ndarray) -> bool:
    """Whether a matrix is symmetric because it is diagonal or constant: as a start, not as a covariance."""
    return is_symmetric(array) and (np.ptp(array) == 0 or bool(np.array_equal(array, np.diag(np.diag(array)))))


def unit(array: np.ndarray) -> np.ndarray:
    """The size of a step at each entry: the entry's own, a typical one where it is zero."""
    typical = float(np.sqrt(np.mean(array * array))) or 1.0
    return np.where(array == 0, typical, abs(array))


def _moved(array: np.ndarray, step: np.ndarray, symmetric: bool) -> np.ndarray:
    moved = (array + unit(array) * np.clip(step, -0.9, 0.9)).astype(array.dtype)
    if symmetric and is_symmetric(array):
        return (np.tril(moved) + np.tril(moved, -1).T).astype(array.dtype)
    for axis in (None, *range(array.ndim)):
        if array.size > 1 and _all_one(np.sum(array * array, axis=axis)) and not _all_one(np.abs(array)):
            return (moved / np.sqrt(np.sum(moved * moved, axis=axis, keepdims=True))).astype(array.dtype)
        if array.size > 1 and (array >= 0).all() and _all_one(np.sum(array, axis=axis)) and not _all_one(array):
            return (moved / np.sum(moved, axis=axis, keepdims=True)).astype(array.dtype)
    return moved


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
