"""What is wrong with whole arrays and takes more than one number to say: cut, rounded, in another order, an outer product."""

import numpy as np

from ..comparison import item
from .fit import ENOUGH, Points, number

__all__ = ["antisymmetric", "cut", "imprecise", "of_row", "outer", "reordered", "two_numbers", "two_terms"]

_DISTINCT = 4  # pairs of values that two numbers must fit
_MANY = 1000


def cut(p: Points) -> list[dict[str, str]]:
    """Entries beyond a bound have the bound's value."""
    top = max(g[m].max(initial=-np.inf) for g, m in zip(p.given, p.known, strict=True))
    bottom = min(g[m].min(initial=np.inf) for g, m in zip(p.given, p.known, strict=True))
    largest = max(top, -bottom)
    for low, high, text in (
        (-largest, largest, f"at +-{largest:.6g}"),
        (-np.inf, top, f"above {top:.6g}"),
        (bottom, np.inf, f"below {bottom:.6g}"),
    ):
        if abs(high) == 0 or abs(low) == 0:
            continue
        misfit = [abs(g - np.clip(e, low, high)) > t for g, e, t in zip(p.given, p.expected, p.error, strict=True)]
        if not any((bad & m).any() for bad, m in zip(misfit, p.known, strict=True)) and p.bad >= 2 and p.bad < p.count:
            digits = sum(np.log10(abs(g[w]) / t[w]).sum() for g, t, w in zip(p.given, p.error, p.wrong, strict=True))
            if digits * (p.bad - 1) / p.bad >= ENOUGH:
                return [item("clipped", f"given is expected cut {text}, in {p.bad} of {p.count} entries")]
    return []


def imprecise(p: Points) -> list[dict[str, str]]:
    """Right to a few digits, as from a narrower type."""
    pairs = [(g[m], e[m], t[m]) for g, e, t, m in zip(p.given, p.expected, p.error, p.known, strict=True)]
    given, expected, error = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    scale, off = abs(expected).max(), abs(given - expected)
    if scale == 0 or p.count < 3:
        return []
    if (given == np.trunc(given)).all() and (expected != np.trunc(expected)).sum() > 2:
        for what, whole in (("cut off to integers", np.trunc), ("rounded to integers", np.rint)):
            near = (whole(expected - error) == given) | (whole(expected + error) == given)
            if near.all():
                return [item("precision", f"given is expected {what}: was it written to an array of integers?")]
    worst = float((off / scale).max())
    for kind, dtype in (("float16", np.float16), ("float32", np.float32)):
        if (given == given.astype(dtype)).all() and worst < 64 * np.finfo(dtype).eps:
            return [
                item(
                    "precision",
                    f"given holds {kind} numbers: it differs from expected by at most {worst:.1g} of its largest entry",
                )
            ]
    if worst < 1e-3 and 2 * p.bad > p.count:
        return [
            item(
                "precision",
                f"given is right to {int(-np.log10(worst))} digits only: it differs from expected by at most "
                f"{worst:.1g} of its largest entry",
            )
        ]
    return []


def antisymmetric(p: Points, name: str) -> list[dict[str, str]]:
    """given + its transpose = expected + its transpose."""
    if len(p.shape) != 2 or p.shape[0] != p.shape[1] or p.shape[0] < 2:
        return []
    digits = 0.0
    for g, e, t, known in zip(p.given, p.expected, p.error, p.known, strict=True):
        both = np.triu(known & known.T)
        if (abs(g + g.T - e - e.T) > t + t.T)[both].any() or not known.all():
            return []
        digits += np.log10(np.maximum(abs(g - e) / t, 1.0))[np.triu(both, 1)].sum()
    detail = f"given + given^T = expected + expected^T: along symmetric directions of {name} the two agree"
    return [item("symmetric", detail)] if digits >= ENOUGH else []


def reordered(p: Points) -> list[dict[str, str]]:
    """The same values at other places, at each point in another order."""
    digits = 0.0
    for g, e, t, known in zip(p.given, p.expected, p.error, p.known, strict=True):
        widest = t.max()
        one, other = np.sort(g, axis=None), np.sort(e, axis=None)
        if not known.all() or (abs(one - other) > widest).any():
            return []
        off = abs(g - e) > t
        nearest = np.abs(g[off][:, None] - e.ravel()[None, :]).min(axis=1, initial=np.inf)
        if off.sum() < 2 or (nearest > t[off]).any():  # each wrong one is another's, to within its own error
            return []
        gaps = np.diff(other)
        digits += np.log10(np.maximum(gaps / widest, 1.0)).sum() if widest > 0 else 0.0
    n = p.given[0].size
    if n > 2 and digits >= ENOUGH + n / 2:
        return [item("permutation", "given has the numbers of expected in another order")]
    return []


def outer(p: Points) -> list[dict[str, str]]:
    if len(p.shape) != 2 or min(p.shape) < 2:
        return []
    digits = 0.0
    sides: list[tuple[int, np.ndarray, np.ndarray]] = []  # point, left and right factor
    for k, (g, e, t, known) in enumerate(zip(p.given, p.expected, p.error, p.known, strict=True)):
        rest = g - e
        if not known.all():
            return []
        i, j = np.unravel_index(np.argmax(abs(rest)), p.shape)
        if rest[i, j] == 0 or not (abs(rest) > t).any():
            continue
        row, column = rest[i] / rest[i, j], rest[:, j] / rest[i, j]
        allowed = t + abs(column)[:, None] * t[i] + abs(row) * t[:, [j]] + abs(np.outer(column, row)) * t[i, j]
        model = np.outer(column, rest[i])
        sides.append((k, column, row))
        if (abs(rest - model) > allowed).any():
            return []
        tells = np.log10(np.maximum(abs(model) / allowed, 1.0))
        tells[i], tells[:, j] = 0.0, 0.0
        digits += tells.sum()
    if digits < ENOUGH:
        return []
    parallel = [_parallel(p, [(k, pair[side]) for k, *pair in sides]) for side in (0, 1)]
    named = [
        f"; the {side} factor is a multiple of {text}"
        for side, text in zip(("left", "right"), parallel, strict=True)
        if text
    ]
    return [item("rank-one", f"given - expected is an outer product (rank one) at every point{''.join(named)}")]


def _parallel(p: Points, vectors: list[tuple[int, np.ndarray]]) -> str:
    """The value of another argument, or its gradient, to which a vector is parallel at every point; "" if there is none."""
    for other in p.others[0]:
        for part, text in ((1, other), (0, f"the gradient with respect to {other}")):
            arrays = [np.asarray(p.others[k][other][part], float).ravel() for k, _ in vectors]
            if all(
                array.size == vector.size and _along(array, vector)
                for array, (_, vector) in zip(arrays, vectors, strict=True)
            ):
                return text
    return _row(p, vectors)


def of_row(p: Points) -> list[dict[str, str]]:
    """The difference is a multiple of one row of a matrix that the function has: one sample, say."""
    if len(p.shape) != 1 or p.shape[0] < 3 or not all(known.all() for known in p.known):
        return []
    rests = [(k, g - e) for k, (g, e) in enumerate(zip(p.given, p.expected, strict=True)) if p.wrong[k].any()]
    found = _row(p, rests)
    if not found:
        return []
    text = f"given - expected is a multiple of {found} at every point, another one at each: that row counts too often, or not"
    return [item("term", text)]


def _row(p: Points, vectors: list[tuple[int, np.ndarray]]) -> str:
    """The row of an array of the function to which a vector is parallel at every point; "" if there is none."""
    for name, first in p.held[0].items():
        if first.ndim != 2 or first.shape[1] != vectors[0][1].size or first.shape[1] < 3:
            continue
        if any(name not in one or one[name].shape != first.shape for one in p.held):
            continue
        fits = np.ones(len(first), bool)
        for k, vector in vectors:
            rows = np.asarray(p.held[k][name], float)
            norms = np.sqrt((rows * rows).sum(1) * (vector @ vector))
            fits &= (norms > 0) & (abs(rows @ vector) > (1 - 1e-9) * norms)
        if fits.sum() == 1:
            return f"row {int(np.flatnonzero(fits)[0])} of {name}"
    return ""


def _along(one: np.ndarray, other: np.ndarray) -> bool:
    norm = np.sqrt((one * one).sum() * (other * other).sum())
    return bool(norm > 0 and abs(one @ other) > (1 - 1e-9) * norm and one.size > 1)


def two_terms(p: Points, name: str, sizes: dict[str, float]) -> list[dict[str, str]]:
    """given = c expected + d another array, with two numbers for all entries and points."""
    others: list[tuple[str, list[np.ndarray]]] = [(name, p.x), ("", [np.ones(p.shape)] * len(p))]
    if len(p.shape) == 2 and p.shape[0] == p.shape[1]:
        others.append(("expected transposed", [e.T for e in p.expected]))
    for other in p.others[0]:
        gradients = [np.asarray(o[other][0], float) for o in p.others]
        if all(gradient.shape == p.shape for gradient in gradients):
            others.append((f"the gradient with respect to {other}", gradients))
    found = []
    for text, arrays in others:
        numbers = two_numbers(p, arrays)
        if numbers is not None:
            (c, c_width), (d, d_width) = numbers
            first = number(c - c_width, c + c_width, sizes)
            second = number(d - d_width, d + d_width, {})
            sign, size = ("-", second.text[1:]) if second.text.startswith("-") else ("+", second.text)
            term = f"{size} {'x ' if ' ' in text else ''}{text}".rstrip()
            found.append(item("scale", f"given = {first.text} times expected {sign} {term}{first.remark()}"))
    return found


def two_numbers(
    p: Points, arrays: list[np.ndarray], spent: float = 0.0
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The numbers c and d of given = c expected + d array, each with its uncertainty; None if none fit.

    `spent` are the digits that went into the choice of the array.
    """
    masks = [known & np.isfinite(array) for known, array in zip(p.known, arrays, strict=True)]
    given, e, other, error, noise = (
        np.concatenate([array[m] for array, m in zip(parts, masks, strict=True)])
        for parts in (p.given, p.expected, arrays, p.error, p.noise)
    )
    if len({*zip(e[:_MANY], other[:_MANY], strict=True)}) < _DISTINCT:  # of a few values, anything can be made
        return None
    probes = np.argsort(abs(e) / error)[:: max(1, e.size // 64)]
    for some in (probes, slice(None)):  # a few entries decide quickly
        design = np.stack([e[some], other[some]], 1) / error[some, None]
        gram = design.T @ design
        if not np.isfinite(gram).all() or np.linalg.cond(gram) > 1e12:
            return None
        c, d = np.linalg.solve(gram, design.T @ (given[some] / error[some]))
        allowed = error[some] + abs(c) * noise[some]
        if (abs(given[some] - c * e[some] - d * other[some]) > 2 * allowed).any():
            return None
    rest, fits = abs(given - c * e), abs(d * other)
    digits = np.sort(np.clip(np.log10(np.maximum(np.minimum(rest, fits) / allowed, 1.0)), 0.0, 15.0))
    own = np.sort(np.clip(np.log10(np.maximum(abs(c * e) / allowed, 1.0)), 0.0, 15.0))
    if min(digits[:-2].sum(), own[:-2].sum()) < ENOUGH + spent:
        return None
    width = 4 * max(1.0, abs(c)) * np.sqrt(np.diag(np.linalg.inv(gram)))
    return (float(c), float(width[0])), (float(d), float(width[1]))
