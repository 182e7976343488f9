"""What is wrong with a gradient of any function, from the numbers alone: the given array beside the expected one.

Hypotheses are tried in order of complexity. One is reported only if it turns the expected array into the given one on
every known entry at every point, to within the error of the entries, and if chance would hardly do so; see `pattern_fit`.
Where several of the same complexity fit, all are listed. Where none fits, the kind is `unknown`.

The kinds are those of the formula audit (`sign`, `scale`, `transpose`, `wrong-parameter`, `entries`, `extra-term`,
`missing-term`, `wrong-factor`, `unknown`) and

==================  ===================================================================================
``zero``            given is zero everywhere
``permutation``     the right numbers at other places: reversed, shifted by one, flattened in Fortran's order
``constant-term``   given - expected is one number, or constant along an axis: a mean
``normal``          given - expected is a multiple of x, another at each point: a gradient on a sphere
``symmetric``       given + its transpose is right: x is taken for a symmetric matrix
``stale``           the gradient at another point
``precision``       right to some digits only
``clipped``         expected, cut at a bound
``rank-one``        given - expected is an outer product
==================  ===================================================================================
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from .comparison import item
from .pattern_fit import ENOUGH, Arrays, Number, Points, Seen, number
from .pattern_where import where_wrong

__all__ = ["Seen", "explain", "where_wrong"]

_ALIKE = 0.6  # hypotheses whose complexities differ by less are listed together


@dataclass(frozen=True)
class _Hypothesis:
    """given = base + c direction, with one number c; `text` has a place for c, `plain` is the text for c = 1."""

    kind: str
    text: str
    direction: Arrays
    base: Arrays | None = None
    slack: Arrays | None = None
    plain: str = ""
    cost: float = 0.0
    points: tuple[int, ...] | None = None


def explain(name: str, seen: list[Seen], sizes: dict[str, int]) -> list[dict[str, str]]:
    """What is wrong with the gradient by one argument.

    Parameters
    ----------
    name : str
        The argument, as the report calls it.
    seen : list of Seen
        Its gradients at one or several points. All have the same shape.
    sizes : dict
        Sizes that may be a forgotten factor: what they are -> the size.

    Returns
    -------
    list of dict
        Items {"kind", "detail"}, the most telling first; never empty.
    """
    with np.errstate(all="ignore"):
        return _Search(name, seen, sizes).run()


class _Search(Points):
    """The hypotheses, from the simplest."""

    def __init__(self, name: str, seen: list[Seen], sizes: dict[str, int]) -> None:
        super().__init__(seen)
        self.name, self.sizes = name, sizes
        self.everywhere = ", on every entry" + (" of every point" if len(self) > 1 else " at this point")

    def run(self) -> list[dict[str, str]]:
        found = self._not_finite()
        if not any(wrong.any() for wrong in self.wrong):
            return found or [item("unknown", "no entry is wrong by more than its error")]
        for stage in (self._zero, self._whole, self._some):
            items = stage()
            if items:
                return found + items
        return found + [item("unknown", self._summary())]

    # -- what needs no hypothesis

    def _not_finite(self) -> list[dict[str, str]]:
        bad = [~np.isfinite(given) for given in self.given]
        k = next((k for k, mask in enumerate(bad) if mask.any()), None)
        if k is None:
            return []
        values = {str(float(v)) for v in self.given[k][bad[k]]}
        places = f"at {sum(mask.any() for mask in bad)} of {len(self)} points, " if len(self) > 1 else ""
        return [
            item("entries", f"given is {' or '.join(sorted(values))} in {where_wrong(bad[k])}, {places}".rstrip(", "))
        ]

    def _zero(self) -> list[dict[str, str]]:
        if any(given[known].any() for given, known in zip(self.given, self.known, strict=True)):
            return []
        return [item("zero", f"given is zero{self.everywhere}; expected is not")]

    # -- one number, on all entries

    def _whole(self) -> list[dict[str, str]]:
        return self._best([*self._factors(), *self._moved(), *self._of_others(), *self._terms()])

    def _best(self, hypotheses: list[_Hypothesis], where: list[np.ndarray] | None = None) -> list[dict[str, str]]:
        """The items of the hypotheses that fit, those of the least complexity."""
        found: list[tuple[float, dict[str, str]]] = []
        for h in hypotheses:
            fit = self.fit(h.direction, h.base, where=where, slack=h.slack, points=h.points)
            if fit is None or not np.isfinite(fit.low).all():
                continue
            c = number(float(fit.low[0]), float(fit.high[0]), self.sizes)
            if c.value == 0 or c.worth(fit) < ENOUGH or (c.text == "1" and not h.plain):
                continue
            found.append((h.cost + c.cost + (1.0 if h.plain and c.text != "1" else 0.0), self._say(h, c)))
        least = min((cost for cost, _ in found), default=0.0)
        return [one for cost, one in sorted(found, key=lambda pair: pair[0]) if cost < least + _ALIKE]

    def _say(self, h: _Hypothesis, c: Number) -> dict[str, str]:
        if c.text == "1" and h.plain:
            return item(h.kind, h.plain)
        kind = "sign" if h.kind == "scale" and c.text == "-1" else h.kind
        if kind == "term":
            kind = "missing-term" if c.value < 0 else "extra-term"
        return item(kind, h.text.format(c=c.both()))

    def _e(self, k: int) -> np.ndarray:
        return self.expected[k]

    def _x(self, k: int) -> np.ndarray:
        return self.x[k]

    def _t(self, k: int) -> np.ndarray:
        return self.error[k]

    def _factors(self) -> Iterator[_Hypothesis]:
        yield _Hypothesis("scale", "given = {c} x expected" + self.everywhere, self._e, slack=self._t)

    def _moved(self) -> Iterator[_Hypothesis]:
        """The right numbers at other places."""
        for kind, what, move in _moves(self.shape):
            yield _Hypothesis(
                kind,
                f"given = {{c}} x {what}{self.everywhere}",
                lambda k, move=move: move(self.expected[k]),
                slack=lambda k, move=move: move(self.error[k]),
                plain=f"given is {what}{self.everywhere}",
            )

    def _of_others(self) -> Iterator[_Hypothesis]:
        """The gradient by another argument of the same shape, instead of the right one or added to it."""
        for other in self.others[0]:
            if any(np.shape(others[other][0]) != self.shape for others in self.others):
                continue

            def gradient(k: int, other: str = other) -> np.ndarray:
                return np.asarray(self.others[k][other][0], float)

            def slack(k: int, gradient: Arrays = gradient) -> np.ndarray:
                scale = abs(self.expected[k][self.known[k]]).max(initial=0.0)
                relative = np.median(self.error[k][self.known[k]]) / scale if scale > 0 else 1e-9
                return np.full(self.shape, min(relative, 1e-3) * np.nanmax(abs(gradient(k)), initial=0.0))

            yield _Hypothesis(
                "wrong-parameter",
                f"given = {{c}} x the gradient with respect to {other}{self.everywhere}",
                gradient,
                slack=slack,
                plain=f"{self.name} holds what belongs to {other}: given is the gradient with respect to {other}",
            )
            yield _Hypothesis(
                "term",
                f"given - expected = {{c}} x the gradient with respect to {other}{self.everywhere}",
                gradient,
                self._e,
                slack,
                cost=1.0,
            )

    def _terms(self) -> Iterator[_Hypothesis]:
        """A term that one of the two has and the other has not."""
        yield _Hypothesis(
            "term",
            f"given - expected = lambda {self.name} with lambda = {{c}}{self.everywhere}: an L2 term (weight decay) that "
            "one of loss and gradient has and the other has not",
            self._x, self._e, cost=0.5,
        )  # fmt: skip

    # -- wrong in some entries only

    def _some(self) -> list[dict[str, str]]:
        alive = [known & ~dead for known, dead in zip(self.known, self.dead, strict=True)]
        if not any((live & ~wrong).any() for live, wrong in zip(alive, self.wrong, strict=True)):
            return []
        union = np.any(self.wrong, axis=0)
        free = np.all([~live for live in alive], axis=0)
        where = where_wrong(union, free)
        there = [h for h in [*self._factors(), *self._terms()]]
        items = self._best(there, self.wrong)
        detail = f"wrong in {where} only"
        if items:
            return [item("entries", f"{detail}; there {one['detail']}") for one in items]
        if union.sum() <= (~free).sum() // 2:
            return [item("entries", detail)]
        return []

    def _summary(self) -> str:
        return "none of the known mistakes gives these numbers"


def _moves(shape: tuple[int, ...]) -> Iterator[tuple[str, str, Callable[[np.ndarray], np.ndarray]]]:
    """Kind, words and function of every rearrangement that keeps the shape."""
    ndim = len(shape)
    for axes in permutations(range(ndim)) if 1 < ndim <= 4 else ():
        if axes != tuple(range(ndim)) and tuple(shape[a] for a in axes) == shape and max(shape) > 1:
            what = "expected transposed" + ("" if ndim == 2 else f", axes {axes}")
            yield "transpose", what, lambda array, axes=axes: array.transpose(axes)
