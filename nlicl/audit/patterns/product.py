"""What is wrong with a Hessian-vector product: in which argument, and what stands there instead."""

from itertools import combinations, product

import numpy as np

from ..comparison import item
from .fit import Points, Seen
from .form import Form, best, factors

__all__ = ["explain_product"]

_TOLERANCE = 1e-6  # of the largest entry of all blocks
_CHANGES = {0.0: "is missing", 2.0: "stands twice", -1.0: "has the wrong sign", 0.5: "is halved"}


def explain_product(
    given: list[np.ndarray],
    expected: list[np.ndarray],
    v: list[np.ndarray],
    names: list[str],
    diagonal: list[np.ndarray] | None = None,
    *,
    error: list[np.ndarray] | None = None,
    blocks: list[list[np.ndarray]] | None = None,
) -> list[dict[str, str]]:
    """What is wrong with a product H v.

    Parameters
    ----------
    given, expected, v : list of ndarray
        The two products and the vector, one array for each argument.
    names : list of str
        The arguments, as the report calls them.
    diagonal : list of ndarray, optional
        The diagonal of H, in the same form.
    error : list of ndarray, optional
        The largest |given - expected| that an entry may have and be right; if not given, 1e-6 of the largest expected entry.
    blocks : list of list of ndarray, optional
        blocks[i][j] = H_ij v_j, with which a missing cross term is named.

    Returns
    -------
    list of dict
        Items {"kind", "detail"}, the most telling first, never empty. The last one has the worst entry.
    """
    given, expected, v = ([np.asarray(array, float) for array in arrays] for arrays in (given, expected, v))
    if error is None:
        largest = max((abs(e).max(initial=0.0) for e in expected), default=0.0)
        error = [np.full(e.shape, _TOLERANCE * largest) for e in expected]
    flat = [
        np.ones(e.shape) if diagonal is None else np.asarray(d, float)
        for e, d in zip(expected, diagonal or expected, strict=True)
    ]
    with np.errstate(all="ignore"):
        parts = [Points([Seen(x, g, e, t, {})]) for x, g, e, t in zip(v, given, expected, error, strict=True)]
        bad = [n for n, part in enumerate(parts) if part.wrong[0].any() or not np.isfinite(part.given[0]).all()]
        if not bad:
            return [item("unknown", "no entry is wrong by more than its error")]
        whole = Points([Seen(_joined(v), _joined(given), _joined(expected), _joined(error), {})])
        found = _told(whole, _joined(flat) if diagonal is not None else None) if len(bad) > 1 or len(parts) == 1 else []
        for n in bad if not found else ():
            told = (
                _cross(parts[n], n, blocks, names, 1)
                or _told(parts[n], flat[n] if diagonal is not None else None)
                or _cross(parts[n], n, blocks, names, 2)
            )
            found += [
                item(one["kind"], f"in the block of {names[n]}: {one['detail']}" if len(names) > 1 else one["detail"])
                for one in told
            ]
    return [*found, _worst(given, expected, error, names, bad)]


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(array) for array in arrays])


def _told(p: Points, diagonal: np.ndarray | None) -> list[dict[str, str]]:
    """What turns the expected product of some arguments into the given one."""
    if (abs(p.given[0]) <= p.error[0])[p.known[0]].all():
        return [item("zero", "given is zero")]
    tried = [
        *list(factors(p))[:1],
        Form(
            "wrong-factor",
            "given = {c} v: the identity times a number",
            lambda k: p.x[k],
            plain="given is v itself",
            cost=0.5,
        ),
        Form(
            "term",
            "given - expected = {c} v: a multiple of the identity (damping, weight decay) that one of them has and the "
            "other has not",
            lambda k: p.x[k],
            lambda k: p.expected[k],
            cost=0.5,
        ),
    ]
    if diagonal is not None and p.shape != (1,):
        alone = diagonal.reshape(p.shape) * p.x[0]
        tried.append(
            Form(
                "missing-term",
                "given = {c} x (the diagonal of H) v: the terms off the diagonal are missing",
                lambda k: alone,
                None,
                lambda k: abs(p.x[k]) * p.relative[k] * abs(diagonal).max(),
                "given agrees with the diagonal of H alone: the cross terms are missing",
            )
        )
    return best(p, tried, {})


def _cross(
    p: Points, i: int, blocks: list[list[np.ndarray]] | None, names: list[str], count: int
) -> list[dict[str, str]]:
    """The `count` terms H_ij v_j that are missing, doubled or of the wrong sign in the block of argument i."""
    if blocks is None:
        return []
    terms = [np.asarray(term, float).reshape(p.shape) for term in blocks[i]]
    alive = [j for j, term in enumerate(terms) if (abs(term) > 4 * p.error[0]).any()]
    rest = (p.given[0] - p.expected[0])[p.known[0]]
    found = []
    for chosen in combinations(alive, count):
        for changed in product(_CHANGES, repeat=count):
            change = np.asarray(sum((c - 1) * terms[j] for c, j in zip(changed, chosen, strict=True)))
            if (abs(rest - change[p.known[0]]) <= 4 * p.error[0][p.known[0]]).all():
                found += [
                    item("missing-term" if c == 0 else "wrong-factor", f"{_term(names, i, j)} {_CHANGES[c]}")
                    for c, j in zip(changed, chosen, strict=True)
                ]
    return found


def _term(names: list[str], i: int, j: int) -> str:
    if i == j:
        return f"the term of {names[i]} with itself"
    return f"the cross term with {names[j]} (the derivative of the gradient by {names[i]} along {names[j]})"


def _worst(
    given: list[np.ndarray], expected: list[np.ndarray], error: list[np.ndarray], names: list[str], bad: list[int]
) -> dict[str, str]:
    """The entry that is most wrong, and which blocks are right."""
    off = [np.where(np.isfinite(given[n]), abs(given[n] - expected[n]), np.inf) for n in bad]
    k = int(np.argmax([(o / np.maximum(error[n], 1e-300)).max() for o, n in zip(off, bad, strict=True)]))
    n = bad[k]
    index = np.unravel_index(int(np.argmax(np.where(np.isnan(off[k]), 0.0, off[k]))), off[k].shape)
    text = f"worst in {names[n]} at {[int(i) for i in index]}: given {given[n][index]:.6g}, expected {expected[n][index]:.6g}"
    right = [name for m, name in enumerate(names) if m not in bad]
    if right:
        text += f". Only the block of {', '.join(names[m] for m in bad)} is wrong; right in {', '.join(right)}"
    return item("entries", text)
