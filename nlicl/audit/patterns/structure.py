"""What is true of a wrong gradient where no number turns the expected one into it: what it keeps, and what it loses.

Every statement holds at every point to within the error. None says what was done; each says where to look.
"""

from collections.abc import Callable, Iterator
from math import prod

import numpy as np

from ..comparison import item
from .fit import ENOUGH, Points

__all__ = ["low_rank", "same_everywhere", "structure"]

_FAR = 1e3  # allowed errors by which what does not hold is off
_LISTED = 3
_WIDEST = 100  # rows or columns of a matrix whose rank is found
_WIDE = 20.0  # a ratio of the largest factor to the smallest beyond which a range says nothing
_CHANCE = 8.0  # unrelated factors lie within so many powers of e, half of them of the other sign
_HALF = 2  # times the rank of a difference of low rank is at most the smaller side

Part = Callable[[np.ndarray], np.ndarray]


def same_everywhere(p: Points) -> list[dict[str, str]]:
    """The difference is the same array at every point: a summand without the argument."""
    if len(p) < 2 or not all(known.all() for known in p.known):
        return []
    first, error = p.given[0] - p.expected[0], p.error[0]
    if all((abs(e - p.expected[0]) <= t + error).all() for e, t in zip(p.expected[1:], p.error[1:], strict=True)):
        return []  # nothing changes
    for g, e, t in zip(p.given[1:], p.expected[1:], p.error[1:], strict=True):
        if (abs(g - e - first) > t + error).any():
            return []
    return [
        item(
            "constant-term",
            "given - expected is the same array at every point: what differs does not depend on the argument there, such as a "
            "summand of the data alone, or a sign",
        )
    ]


def low_rank(p: Points) -> list[dict[str, str]]:
    """The difference is a matrix of low rank at every point."""
    if len(p.shape) != 2 or min(p.shape) > _WIDEST or not all(known.all() for known in p.known):
        return []
    ranks = [_rank(g - e, t) for g, e, t in zip(p.given, p.expected, p.error, strict=True)]
    least = min(p.shape)
    if max(ranks) > 1 and _HALF * max(ranks) <= least:
        rank = " or ".join(map(str, sorted({*ranks})))
        return [item("low-rank", f"given - expected has rank {rank} of {least}: a few outer products")]
    return []


def structure(p: Points, name: str) -> list[dict[str, str]]:
    """Which properties of the expected gradient the given one has lost, or which it has and the expected one has not."""
    if not all(known.all() for known in p.known):
        return []
    found = list(_lost(p, name)) or list(_ranks(p))
    if found:
        return [item("structure", "; ".join(found[:_LISTED]))]
    return _range(p)


def _lost(p: Points, name: str) -> Iterator[str]:
    """The properties that one of the two has and the other has not; those that the difference has."""
    said: set[str] = set()
    for text, along, part in _properties(p, name):
        if text in said and not along:
            continue
        values = [
            [_kept(part(array, k), part(t, k, True)) for array in (g, e, g - e)]
            for k, (g, e, t) in enumerate(zip(p.given, p.expected, p.error, strict=True))
        ]
        given, expected, both = ({one[n] for one in values} for n in range(3))
        words = ""
        if expected == {True} and given == {False}:
            words = f"expected has {text}{along}, and given has not"
        elif given == {True} and expected == {False}:
            words = f"given has {text}{along}, and expected has not"
        elif both == {True} and given == expected == {False}:
            words = f"given - expected has {text}{along}: of the two alone neither has"
        if words:
            said.add(text)
            yield words


def _properties(p: Points, name: str) -> Iterator[tuple[str, str, Callable[..., np.ndarray]]]:
    """Words, the axis, and what is zero where the property holds: part(array, k), and part(error, k, True) its error."""
    whole = tuple(range(len(p.shape)))
    axes: list[tuple[str, tuple[int, ...]]] = [
        (f" along axis {a}", (a,)) for a in whole if len(whole) > 1 and p.shape[a] > 1
    ]
    axes += [("", whole)] if prod(p.shape) > 1 else []
    for along, axis in axes:

        def total(array: np.ndarray, k: int, error: bool = False, axis: tuple[int, ...] = axis) -> np.ndarray:
            return np.asarray(array.sum(axis))

        def inner(array: np.ndarray, k: int, error: bool = False, axis: tuple[int, ...] = axis) -> np.ndarray:
            return np.asarray((array * (abs(p.x[k]) if error else p.x[k])).sum(axis))

        yield "the sum 0", along, total
        yield f"<., {name}> = 0", along, inner
    if len(p.shape) == 2 and p.shape[0] == p.shape[1] > 1:
        yield "a symmetric matrix", "", lambda array, k, error=False: array + array.T if error else array - array.T
        yield "an antisymmetric matrix", "", lambda array, k, error=False: array + array.T
        yield "zeros above the diagonal", "", lambda array, k, error=False: np.triu(array, 1)
        yield "zeros below the diagonal", "", lambda array, k, error=False: np.tril(array, -1)


def _kept(value: np.ndarray, error: np.ndarray) -> bool | None:
    """Whether it is zero; None if it is hardly told."""
    if (abs(value) <= error).all():
        return True
    return False if (abs(value) > _FAR * error).any() else None


def _ranks(p: Points) -> Iterator[str]:
    if len(p.shape) != 2 or not 2 <= min(p.shape) <= _WIDEST:
        return
    given, expected = (
        {_rank(array, t) for array, t in zip(arrays, p.error, strict=True)} for arrays in (p.given, p.expected)
    )
    if len(given) == len(expected) == 1 and given != expected:
        yield f"given has rank {given.pop()}, expected rank {expected.pop()}"


def _rank(array: np.ndarray, error: np.ndarray) -> int:
    """The number of singular values above the error of the array."""
    values = np.linalg.svd(array, compute_uv=False)
    return int((values > 4 * np.sqrt((error**2).sum())).sum())


def _range(p: Points) -> list[dict[str, str]]:
    """A factor of its own for each entry, all of one sign and alike in size."""
    low, high = np.inf, -np.inf
    least = min(int(live.sum()) for live in p.alive)
    for g, e, t, live in zip(p.given, p.expected, p.error, p.alive, strict=True):
        if (abs(e) <= 2 * t)[live].any():
            return []
        ratio = (g / np.where(e == 0, 1.0, e))[live]
        low, high = min(low, ratio.min(initial=np.inf)), max(high, ratio.max(initial=-np.inf))
    if not low * high > 0 or not 0 < (width := abs(np.log(low / high))) < np.log(_WIDE):
        return []
    if (least - 1) * np.log10(_CHANCE / width) < ENOUGH:  # of the entries of one point: the points are alike
        return []
    sign = "the sign of expected" if low > 0 else "the sign opposite to expected's"
    return [
        item(
            "structure",
            f"given has {sign} in every entry of every point and is {low:.4g} to {high:.4g} times it, another factor in "
            "each entry, as of a factor within a sum or a small term",
        )
    ]
