"""Which entries of an array are wrong, in words."""

import numpy as np

__all__ = ["where_wrong"]

_LISTED = 6  # entries named one by one
_ORDINARY = ("row", "column")


def where_wrong(wrong: np.ndarray, free: np.ndarray | None = None) -> str:
    """The entries of a mask in plain words: "row 1", "all but the last entry", "the diagonal", "16 of 40 entries".

    Parameters
    ----------
    wrong : bool ndarray
        The entries to describe.
    free : bool ndarray, optional
        Entries that may belong to them or not, because both gradients are zero there or one is unknown. A row counts as
        wrong if all its entries are wrong or free, and at least two and half of them are wrong.

    Returns
    -------
    str
        Words to stand behind "wrong in ".
    """
    wrong = np.asarray(wrong, bool)
    free = np.zeros(wrong.shape, bool) if free is None else np.asarray(free, bool) & ~wrong
    count = int(wrong.sum())
    if count == 0:
        return "no entry"
    if wrong.size == 1:
        return "its only entry"
    if wrong.all() or ((wrong | free).all() and 2 * count >= wrong.size):
        return "every entry"
    if count == 1:
        return _one(wrong)
    right = ~wrong & ~free
    if wrong.ndim == 1:
        return _along(wrong, free)
    return _lines(wrong, free) or _square(wrong, free) or _block(wrong, free) or _listed(wrong, right)


def _matches(wrong: np.ndarray, free: np.ndarray, region: np.ndarray) -> bool:
    """Whether the wrong entries are this region, up to free ones."""
    return bool(not (wrong & ~region).any() and not (region & ~wrong & ~free).any() and 2 * wrong.sum() >= region.sum())


def _one(wrong: np.ndarray) -> str:
    index = [int(i) for i in np.argwhere(wrong)[0]]
    if wrong.ndim == 1 and index[0] in (0, wrong.size - 1):
        return "the first entry" if index[0] == 0 else "the last entry"
    return f"entry {index}"


def _along(wrong: np.ndarray, free: np.ndarray) -> str:
    """The words for an array with one axis."""
    n = wrong.size
    where = np.flatnonzero(wrong)
    region = np.zeros(n, bool)
    for text, part in (
        ("all but the last entry", slice(0, n - 1)),
        ("all but the first entry", slice(1, n)),
        ("every second entry, from 0", slice(0, n, 2)),
        ("every second entry, from 1", slice(1, n, 2)),
        ("the first half", slice(0, n // 2)),
        ("the second half", slice(n // 2, n)),
    ):
        region[:] = False
        region[part] = True
        if n > 3 and where.size > 2 - text.startswith("all") and _matches(wrong, free, region):
            return text
    first, last = int(where[0]), int(where[-1])
    region[:] = False
    region[first : last + 1] = True
    if where.size > 2 and _matches(wrong, free, region):
        return f"entries {first} to {last}"
    return _listed(wrong, ~wrong & ~free)


def _lines(wrong: np.ndarray, free: np.ndarray) -> str:
    """The words if the entries are whole rows or columns; "" if not."""
    for axis in range(wrong.ndim):
        others = tuple(a for a in range(wrong.ndim) if a != axis)
        hit = np.asarray(wrong.any(axis=others))
        if hit.all() or wrong.sum() < 2 * hit.sum():
            continue
        shape = [1] * wrong.ndim
        shape[axis] = -1
        region = np.broadcast_to(hit.reshape(shape), wrong.shape)
        if _matches(wrong, free, region):
            return _named_lines(axis, wrong.ndim, hit)
    return ""


def _named_lines(axis: int, ndim: int, hit: np.ndarray) -> str:
    numbers, n = [int(i) for i in np.flatnonzero(hit)], hit.size
    name = _ORDINARY[axis] if ndim == 2 else "index"
    behind = "" if ndim == 2 else f" of axis {axis}"
    plural = "indices" if name == "index" else name + "s"
    if len(numbers) == 1:
        return f"{name} {numbers[0]}{behind}"
    if len(numbers) == n - 1 and n > 3:
        return f"all {plural}{behind} but {int(np.flatnonzero(~hit)[0])}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 3:
        return f"{plural} {numbers[0]} to {numbers[-1]}{behind}"
    if len(numbers) <= _LISTED:
        return f"{plural} {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}{behind}"
    if 2 * len(numbers) > n and n - len(numbers) <= _LISTED:
        return f"all {plural}{behind} but {', '.join(str(int(i)) for i in np.flatnonzero(~hit))}"
    return f"{len(numbers)} of {n} {plural}{behind}, such as {numbers[0]}, {numbers[1]} and {numbers[2]}"


def _square(wrong: np.ndarray, free: np.ndarray) -> str:
    """The words if the entries are a diagonal or a triangle of a square matrix of three rows or more; "" if not."""
    if wrong.ndim != 2 or wrong.shape[0] != wrong.shape[1] or wrong.shape[0] < 3:
        return ""
    ones = np.ones(wrong.shape, bool)
    for text, region in (
        ("the diagonal", np.eye(len(wrong), dtype=bool)),
        ("every entry off the diagonal", ~np.eye(len(wrong), dtype=bool)),
        ("the upper triangle, without the diagonal", np.triu(ones, 1)),
        ("the lower triangle, without the diagonal", np.tril(ones, -1)),
        ("the upper triangle, with the diagonal", np.triu(ones)),
        ("the lower triangle, with the diagonal", np.tril(ones)),
    ):
        if _matches(wrong, free, region):
            return text
    return ""


def _block(wrong: np.ndarray, free: np.ndarray) -> str:
    """The words if the entries are a block, or lie within a few rows or columns; "" if not."""
    ranges = []
    for axis in range(wrong.ndim):
        hit = np.flatnonzero(wrong.any(axis=tuple(a for a in range(wrong.ndim) if a != axis)))
        ranges.append((int(hit[0]), int(hit[-1])))
    region = np.zeros(wrong.shape, bool)
    region[tuple(slice(low, high + 1) for low, high in ranges)] = True
    count = int(wrong.sum())
    if count > 3 and _matches(wrong, free, region):
        if wrong.ndim == 2:
            return f"rows {ranges[0][0]} to {ranges[0][1]} of columns {ranges[1][0]} to {ranges[1][1]}"
        return f"the block [{', '.join(f'{low}:{high + 1}' for low, high in ranges)}]"
    if count <= 3:
        return ""
    for axis in range(wrong.ndim):
        along = np.asarray(wrong.any(axis=tuple(a for a in range(wrong.ndim) if a != axis)))
        lines = int(along.sum())
        if 3 * lines <= along.size and count >= 3 * lines:
            return (
                f"{count} of the {lines * wrong.size // along.size} entries of {_named_lines(axis, wrong.ndim, along)}"
            )
    return ""


def _listed(wrong: np.ndarray, right: np.ndarray) -> str:
    places = np.argwhere(wrong)
    if right.sum() <= 3 < len(places) and right.any():
        return f"all but {_places(np.argwhere(right))}"
    if len(places) <= _LISTED:
        return _places(places)
    return f"{len(places)} of {wrong.size} entries, such as {_places(places[:3])}"


def _places(places: np.ndarray) -> str:
    if places.shape[1] == 1:
        numbers = [int(i) for i in places[:, 0]]
        return f"entry [{numbers[0]}]" if len(numbers) == 1 else f"entries {numbers}"
    texts = [str([int(i) for i in index]) for index in places]
    return f"entry {texts[0]}" if len(texts) == 1 else f"entries {', '.join(texts[:-1])} and {texts[-1]}"
