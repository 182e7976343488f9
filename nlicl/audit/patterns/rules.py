"""What a backward pass makes of two arrays of one shape: through a softmax, through a normalisation."""

from collections.abc import Iterator, Sequence

import numpy as np

from .made import Made, fixed

__all__ = ["rules"]

_ONE = 1e-9  # how far a sum may be from 1, or a mean from 0
_NEAR = 0.02  # and a variance from 1: an epsilon may be in it


def rules(bases: Sequence[Made], points: int) -> Iterator[Made]:
    """The standard backward rules, for the arrays to which they may apply.

    Parameters
    ----------
    bases : sequence of Made
        What the function has: an output, and what comes back to it, of the same shape.
    points : int
        How many points there are.
    """
    for out in bases:
        if len(out.shape) not in (1, 2) or out.shape[-1] < 2:
            continue
        arrays = [out.at(k) for k in range(points)]
        backs = [made for made in bases if made.shape == out.shape and made is not out]
        if all(_softmax(array) for array in arrays):
            for back in backs:
                mean = f"sum({out.text} * {back.text})"
                values = [(a * back.at(k)).sum(-1, keepdims=True) for k, a in enumerate(arrays)]
                text = f"{out.bracketed} * ({back.text} - {mean})"
                through = [a * (back.at(k) - m) for k, (a, m) in enumerate(zip(arrays, values, strict=True))]
                yield fixed(text, through, out.cost + back.cost + 0.6)
                yield fixed(
                    f"{out.bracketed} * {mean}",
                    [a * m for a, m in zip(arrays, values, strict=True)],
                    out.cost + back.cost + 0.7,
                )
        for axis in range(len(out.shape)):
            if all(_normalised(array, axis) for array in arrays):
                for back in backs:
                    yield from _through(out, back, arrays, axis)


def _softmax(array: np.ndarray) -> bool:
    return bool((array >= 0).all() and (abs(array.sum(-1) - 1) <= _ONE).all())


def _normalised(array: np.ndarray, axis: int) -> bool:
    near_zero = (abs(array.mean(axis)) <= _ONE).all()
    return bool(near_zero and (abs(array.var(axis) - 1) <= _NEAR).all() and array.shape[axis] > 2)


def _through(out: Made, back: Made, arrays: list[np.ndarray], axis: int) -> Iterator[Made]:
    cost = out.cost + back.cost
    along = f", axis {axis}" if len(out.shape) > 1 else ""
    mean, weighted = f"mean({back.text}{along})", f"{out.bracketed} * mean({back.text} * {out.text}{along})"
    d = [back.at(k) for k in range(len(arrays))]
    means = [a.mean(axis, keepdims=True) for a in d]
    parts = [a * (b * a).mean(axis, keepdims=True) for a, b in zip(arrays, d, strict=True)]
    whole = [b - m - part for b, m, part in zip(d, means, parts, strict=True)]
    yield fixed(f"({back.text} - {mean} - {weighted})", whole, cost + 0.8)
    yield fixed(weighted, parts, cost + 0.7)
    yield fixed(mean, [np.broadcast_to(m, b.shape).copy() for m, b in zip(means, d, strict=True)], cost + 0.7)
