"""Mistakes that can be made of any right gradient, as functions of x.

Each takes (g, x, again): the parts of the right gradient, the arguments, and the right gradient as a function; it returns
the parts of a wrong one, or None where the mistake does not apply. Whether the result really differs is for the caller to see.
"""

import numpy as np

from .registry import each

__all__ = ["GENERIC", "differs", "wrongs"]

GENERIC = {
    "sign": lambda g, x, again: [-a for a in g],
    "factor 2": lambda g, x, again: [2 * a for a in g],
    "factor 1/2": lambda g, x, again: [a / 2 for a in g],
    "factor n": lambda g, x, again: [a * x[0].size for a in g],
    "factor 1/n": lambda g, x, again: [a / max(2, len(np.atleast_1d(x[0]))) for a in g],
    "factor 1 + 1e-4": lambda g, x, again: [a * (1 + 1e-4) for a in g],
    "first argument zero": lambda g, x, again: [0 * g[0], *g[1:]],
    "last argument zero": lambda g, x, again: [*g[:-1], 0 * g[-1]],
    "last argument's sign": lambda g, x, again: [*g[:-1], -g[-1]],
    "first argument doubled": lambda g, x, again: [2 * g[0], *g[1:]],
    "one row halved": lambda g, x, again: in_largest(
        g, lambda a: a * np.where(np.arange(len(a)) == 1, 0.5, 1).reshape(-1, *[1] * (a.ndim - 1))
    ),
    "one row zero": lambda g, x, again: in_largest(
        g, lambda a: a * np.where(np.arange(len(a)) == len(a) - 1, 0, 1).reshape(-1, *[1] * (a.ndim - 1))
    ),
    "largest entry off by 1 %": lambda g, x, again: in_largest(
        g, lambda a: a * np.where(abs(a) == abs(a).max(), 1.01, 1)
    ),
    "largest entry off by 10 %": lambda g, x, again: in_largest(
        g, lambda a: a * np.where(abs(a) == abs(a).max(), 0.9, 1)
    ),
    "smallest entry's sign": lambda g, x, again: in_largest(g, lambda a: a * np.where(abs(a) == abs(a).min(), -1, 1)),
    "transposed": lambda g, x, again: [a.T if a.ndim == 2 and len(set(a.shape)) == 1 else a for a in g],
    "neighbours of one shape exchanged": lambda g, x, again: swapped(g),
    "decay added": lambda g, x, again: [a + 1e-2 * b for a, b in zip(g, x, strict=True)],
    "mean subtracted": lambda g, x, again: in_largest(g, lambda a: a - a.mean()),
    "reversed": lambda g, x, again: in_largest(g, lambda a: a.ravel()[::-1].reshape(a.shape)),
    "shifted": lambda g, x, again: in_largest(g, lambda a: np.roll(a, 1)),
    "Fortran's order": lambda g, x, again: in_largest(g, lambda a: a.ravel(order="F").reshape(a.shape)),
    "clipped": lambda g, x, again: [np.clip(a, -0.5 * abs(a).max(), 0.5 * abs(a).max()) for a in g],
    "absolute values": lambda g, x, again: [abs(a) for a in g],
    "positive part": lambda g, x, again: [np.maximum(a, 0) for a in g],
    "normalised": lambda g, x, again: [a / (np.sqrt((a * a).sum()) or 1) for a in g],
    "all its mean": lambda g, x, again: in_largest(g, lambda a: 0 * a + a.mean()),
    "stale: of a point before": lambda g, x, again: again([0.9 * a for a in x]),
    "constant added": lambda g, x, again: in_largest(g, lambda a: a + abs(a).max() / 10),
    "rounded to half precision": lambda g, x, again: [a.astype(np.float16).astype(a.dtype) for a in g],
    "lower triangle": lambda g, x, again: [np.tril(a) if a.ndim == 2 else a for a in g],
}


def in_largest(g, change):
    """`change` applied to the largest array of g."""
    k = max(range(len(g)), key=lambda k: g[k].size)
    return [change(a) if j == k and a.ndim else a for j, a in enumerate(g)]


def swapped(g):
    """The first two neighbours of one shape exchanged."""
    g = list(g)
    for k in range(len(g) - 1):
        if g[k].shape == g[k + 1].shape:
            g[k], g[k + 1] = g[k + 1], g[k]
            break
    return g


def parts(value):
    return [np.asarray(a) for a in each(value)]


def differs(given, right, dtype):
    """Whether two gradients differ by more than a share of the largest entry of some argument: 1e-6, in float32 3e-2."""
    share = 1e-6 if dtype == np.float64 else 3e-2
    pairs = zip(parts(given), parts(right), strict=True)
    return any(a.shape == b.shape and abs(a - b).max() > share * abs(b).max() for a, b in pairs)


def wrongs(loss, seed, dtype=np.float64, cast=False):
    """Yield (name, loss, gradient, x) for each mistake of a loss of the zoo that really differs at this seed's point."""
    made, right, x = loss.make(np.random.default_rng(seed), dtype, cast=cast)
    expected = right(*each(x))

    def again(at):
        return parts(right(*at))

    for name, change in GENERIC.items():

        def gradient(*at, change=change):
            g = [a.astype(b.dtype) for a, b in zip(change(again(at), at, again), again(at), strict=True)]
            return tuple(g) if isinstance(x, tuple) else g[0]

        if differs(gradient(*each(x)), expected, dtype):
            yield name, made, gradient, x
    for name in loss.slips():
        made_again, gradient, at = loss.make(np.random.default_rng(seed), dtype, name, cast)
        if differs(gradient(*each(at)), expected, dtype):
            yield name, made_again, gradient, at
