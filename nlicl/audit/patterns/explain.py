"""What is wrong with a gradient of any function, from the numbers alone: the given array beside the expected one.

Hypotheses are tried in order of complexity. One is reported only if it turns the expected array into the given one on
every known entry at every point, to within the error of the entries, and if chance would hardly do so; see `fit`.
Where several of the same complexity fit, all are listed. Where none fits, the kind is `unknown`.

The kinds are those of the formula audit (`sign`, `scale`, `transpose`, `wrong-parameter`, `wrong-factor`, `entries`,
`extra-term`, `missing-term`, `unknown`) and

==================  ===================================================================================
``zero``            given is zero everywhere
``permutation``     the right numbers at other places: reversed, shifted, flattened in the other order, exchanged
``constant-term``   given - expected is one number, constant along an axis (a mean), or the same at every point
``normal``          given - expected is a multiple of x, another at each point: a gradient on a sphere
``symmetric``       given and expected agree along symmetric directions, or differ as conventions for symmetric matrices do
``stale``           the gradient at another point
``precision``       right to some digits only
``clipped``         expected, cut at a bound
``rank-one``        given - expected is an outer product
``low-rank``        given - expected is a few outer products
``term``            given - expected, or given - c expected, is made of arrays that the function has
``gate``            the same, or a factor, with an indicator of such an array
``formula``         expected is made of arrays that the function has, and given is not
``structure``       one of the two has a property that the other has not
==================  ===================================================================================
"""

from functools import cached_property

import numpy as np

from ..comparison import item
from . import arrays, built, form, places, structure
from .fit import ENOUGH, Fit, Points, Seen, number
from .form import Form, best
from .pool import Pool
from .product import explain_product
from .values import conditions
from .where import where_wrong

__all__ = ["Seen", "explain", "explain_product", "where_wrong"]

_VAGUE = "such as"  # in words that name no pattern
_SHOWN = 6  # factors named one by one
_EVERYWHERE = {"term", "gate", "formula", "structure", "rank-one", "low-rank"}  # what does not say where


def explain(name: str, seen: list[Seen], sizes: dict[str, float]) -> list[dict[str, str]]:
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
    if not np.size(seen[0].x):
        return [item("unknown", f"{name} has no entries")]
    with np.errstate(all="ignore"):
        return _Search(name, seen, sizes).run()


class _Search(Points):
    """The hypotheses, from the simplest."""

    def __init__(self, name: str, seen: list[Seen], sizes: dict[str, float]) -> None:
        super().__init__(seen)
        self.name, self.sizes = name, _constants(self) | sizes

    def run(self) -> list[dict[str, str]]:
        found = self._not_finite()
        if not self.bad:
            return found or [item("unknown", "no entry is wrong by more than its error")]
        stages = (
            self._zero,
            self._whole,
            self._each_point,
            self._times,
            lambda: arrays.cut(self),
            lambda: arrays.imprecise(self),
            self._some_by_rule,
            lambda: arrays.two_terms(self, self.name, self.sizes),
            self._held,
            lambda: arrays.of_row(self),
            self._by_line,
            self._rearranged,
            lambda: arrays.outer(self),
            lambda: structure.low_rank(self),
            self._some,
            self._where_zero,
            lambda: structure.structure(self, self.name),
        )
        for stage in stages:
            items = stage()
            if items:
                return found + items + self._pattern(items)
        return [*found, item("unknown", self._summary())]

    def _pattern(self, items: list[dict[str, str]]) -> list[dict[str, str]]:
        """Where it is wrong, if that is a pattern and was not said."""
        if not {one["kind"] for one in items} <= _EVERYWHERE or any("wrong " in one["detail"] for one in items):
            return []
        words = self._region()
        plain = words and _VAGUE not in words and "others at each" not in words
        return [item("entries", f"wrong {self._only(words)}")] if plain else []

    # -- what needs no number

    def _not_finite(self) -> list[dict[str, str]]:
        bad = [~np.isfinite(given) for given in self.given]
        k = next((k for k, mask in enumerate(bad) if mask.any()), None)
        if k is None:
            return []
        values = sorted({str(float(value)) for value in np.unique(self.given[k][bad[k]])})
        at = f", at {sum(bool(mask.any()) for mask in bad)} of {len(self)} points" if len(self) > 1 else ""
        return [item("entries", f"given is {' or '.join(values)} in {where_wrong(bad[k])}{at}")]

    def _zero(self) -> list[dict[str, str]]:
        if any((abs(g) > t)[known].any() for g, t, known in zip(self.given, self.error, self.known, strict=True)):
            return []
        return [item("zero", f"given is zero{self._everywhere()}; expected is not")]

    def _where_zero(self) -> list[dict[str, str]]:
        if all(
            (abs(e[known]) <= t[known]).all() for e, t, known in zip(self.expected, self.error, self.known, strict=True)
        ):
            return [
                item(
                    "extra-term",
                    f"expected is zero{self._everywhere()}: the loss does not depend on {self.name} there; given is not",
                )
            ]
        return []

    # -- one number for all entries

    def _whole(self) -> list[dict[str, str]]:
        simple = [
            *form.factors(self),
            *places.moved(self),
            *form.of_others(self, self.name),
            *places.stale(self),
            *form.terms(self, self.name),
            *form.projections(self, self.name),
            *places.symmetric(self, self.name),
        ]
        factor = next(form.factors(self)).fit(self)
        if factor is not None and number(float(factor.low[0]), float(factor.high[0]), self.sizes).cost > 1:
            simple += form.of_norms(self, self.name)  # at one point, a norm is a number like any other
        return self._best(simple) or arrays.antisymmetric(self, self.name)

    def _times(self) -> list[dict[str, str]]:
        probes = self.pick(self.probes)  # a few entries decide quickly which of these may fit
        hopes = [
            form.fit(probes) is not None for form in (*form.times(probes, self.name), *form.instead(probes, self.name))
        ]
        tried = [*form.times(self, self.name), *form.instead(self, self.name)]
        return self._best([form for form, hope in zip(tried, hopes, strict=True) if hope] + list(form.of_values(self)))

    @cached_property
    def _pool(self) -> Pool:
        return Pool(self, self.name)

    def _held(self) -> list[dict[str, str]]:
        """What the arrays that the function has tell."""
        steady = structure.same_everywhere(self)
        if not any(self.held):
            return steady
        return built.factors_held(self._pool, self.sizes) or built.terms_held(self._pool, self.sizes) + steady

    def _rearranged(self) -> list[dict[str, str]]:
        if not all(known.all() for known in self.known):  # what an unknown entry was exchanged for is not known either
            return []
        return self._best(list(places.rearranged(self))) or arrays.reordered(self)

    def _best(self, tried: list[Form]) -> list[dict[str, str]]:
        return best(self, tried, self.sizes, self._everywhere())

    def _everywhere(self) -> str:
        if self.count == 1:
            return ", in the only entry that is not zero"
        return ", on every entry" + (" of every point" if len(self) > 1 else "")

    # -- a number for each point, or for each line

    def _each_point(self) -> list[dict[str, str]]:
        """What is added to every entry, or multiplies it, differs from point to point."""
        found = []
        x = self._fit_by("point", self.x)
        if x is not None:
            found.append(
                item(
                    "normal",
                    f"given - expected is {self.name} times a number at every point, from {_span(x)}: "
                    + self._normal(),
                )
            )
        constant = self._fit_by("point", None)
        if constant is not None:
            found.append(
                item(
                    "constant-term",
                    f"given - expected is one number at each point, from {_span(constant)}: " + self._mean(),
                )
            )
        fit = self.fit(lambda k: self.expected[k], by="point", slack=lambda k: self.noise[k])
        if not found and fit is not None and fit.digits >= ENOUGH:
            named = self._best(list(form.of_norms(self, self.name)))
            middle = fit.middle[np.isfinite(fit.middle)] - 1
            if np.all(abs(middle) < 1e-3):
                return [item("precision", f"given is expected times 1 + {middle[0]:.1e}, or so{self._everywhere()}")]
            text = f"given is a number times expected, another number at each point, from {_span(fit)}"
            return named or [item("scale", text)]
        return found

    def _fit_by(self, by: str, direction: list[np.ndarray] | None) -> Fit | None:
        """The fit of given - expected to an array, or to ones, if it is no coincidence."""
        ones = np.ones(self.shape)
        fit = self.fit(lambda k: ones if direction is None else direction[k], lambda k: self.expected[k], by)
        return fit if fit is not None and fit.digits >= ENOUGH else None

    def _normal(self) -> str:
        text = f"a gradient on a sphere? If so, audit loss({self.name} / |{self.name}|)"
        inner = [
            abs((g * x)[m].sum()) <= (t * abs(x))[m].sum()
            for g, x, t, m in zip(self.given, self.x, self.error, self.known, strict=True)
        ]
        return (f"<given, {self.name}> = 0: " if all(inner) else "") + text

    def _mean(self) -> str:
        """What the sums of the two arrays say."""
        given, expected = (
            all(abs(a[m].sum()) <= 2 * t[m].sum() for a, t, m in zip(arrays, self.error, self.known, strict=True))
            for arrays in (self.given, self.expected)
        )
        if given and not expected:
            return (
                "given sums to zero and expected does not. A mean is subtracted in the gradient only, as on a simplex"
            )
        if expected and not given:
            return "expected sums to zero and given does not. A mean is subtracted twice, or not at all"
        return "a mean that one of them has and the other has not?"

    def _by_line(self) -> list[dict[str, str]]:
        """A factor or a term of its own for each row or column."""
        found = []
        ndim = len(self.shape)
        for axis in range(ndim if ndim > 1 else 0):
            line = f"index of axis {axis}" if ndim > 2 else ("row", "column")[axis]
            if self._fit_by(f"{axis} point", None):
                found.append(item("constant-term", f"given - expected is one number within each {line}"))
            if self._fit_by(f"{axis} point", self.x):
                found.append(
                    item(
                        "normal",
                        f"given - expected is {self.name} times a number within each {line}: gradients on spheres?",
                    )
                )
            for by in (str(axis), f"{axis} point"):
                fit = self.fit(lambda k: self.expected[k], by=by, slack=lambda k: self.noise[k])
                if fit is not None and fit.digits >= ENOUGH:
                    found.append(
                        item(
                            "wrong-factor",
                            f"given = expected times a factor for each {line}"
                            + (self._factors(fit, line) if by == str(axis) else ", another at each point"),
                        )
                    )
                    break
        return found

    def _factors(self, fit: Fit, line: str) -> str:
        """The factors of the rows or columns, or what they are."""
        n = len(fit.low)
        i = np.arange(n)
        for text, values in (
            ("i", i),
            ("i + 1", i + 1),
            ("1 / (i + 1)", 1 / (i + 1)),
            ("n - i", n - i),
            ("n - i - 1", n - i - 1),
            ("1 / (n - i)", 1 / (n - i)),
            ("(-1)^i", (-1.0) ** i),
        ):
            if n > 2 and ((fit.low <= values) & (values <= fit.high)).all():
                return f": {text} for {line} i" + (f", n = {n}" if "n" in text else "")
        if n > _SHOWN:
            return f", from {_span(fit)}"
        texts = [
            f"{number(low, high, {}).text} in {line} {k}"
            for k, (low, high) in enumerate(zip(fit.low, fit.high, strict=True))
            if np.isfinite(low) and np.isfinite(high)
        ]
        return f": {', '.join(texts)}"

    # -- wrong in some entries only

    def _region(self) -> str:
        """Where it is wrong; "" if everywhere."""
        if self.bad == self.count:
            return ""
        union = np.any(self.wrong, axis=0)
        free = np.all([~live for live in self.alive], axis=0)
        steady = not any((union & live & ~wrong).any() for live, wrong in zip(self.alive, self.wrong, strict=True))
        where = where_wrong(union, free) if steady else ""
        if not where or _VAGUE in where:
            where = conditions(self, self.name) or self._gates() or where
        return where or f"{self.bad} of {self.count} entries, others at each point"

    def _gates(self) -> str:
        return built.gates(self, self._pool.bases, len(self._pool.bases)) if any(self.held) else ""

    def _only(self, words: str) -> str:
        return f"only in {words}" if 2 * self.bad <= self.count else f"in {words}"

    def _some_by_rule(self) -> list[dict[str, str]]:
        words = self._region()
        if not words:
            return []
        where = self._only(words)
        if all((abs(g) <= t)[w].all() for g, t, w in zip(self.given, self.error, self.wrong, strict=True)):
            return [item("entries", f"wrong {where}; there given is zero")]
        exchanged = self._best(list(places.rearranged(self)))
        if exchanged:
            return exchanged
        part = self.pick(self.wrong)
        there = [*form.factors(part), *form.terms(part, self.name), *form.instead(part, self.name)]
        if self.bad > 1:
            there += form.times(part, self.name)
        return [
            item(one["kind"] if one["kind"].endswith("term") else "entries", f"wrong {where}; there {one['detail']}")
            for one in best(part, there, self.sizes)
        ]

    def _some(self) -> list[dict[str, str]]:
        words = self._region()
        if not words or (2 * self.bad > self.count and (_VAGUE in words or "others at each" in words)):
            return []
        return [item("entries", f"wrong {self._only(words)}")]

    def _summary(self) -> str:
        cosines, ratios = [], []
        for g, e, m in zip(self.given, self.expected, self.known, strict=True):
            norms = np.sqrt((g[m] ** 2).sum()), np.sqrt((e[m] ** 2).sum())
            if min(norms) > 0:
                cosines.append((g[m] / norms[0] * (e[m] / norms[1])).sum())
                ratios.append(norms[0] / norms[1])
        text = "none of the known mistakes gives these numbers"
        if not cosines:
            return f"{text}; one of the two is zero at every point"
        return (
            f"{text}; the cosine of given and expected is {_range(cosines)}, the ratio of their norms {_range(ratios)}"
        )


def _constants(p: Points) -> dict[str, float]:
    """Numbers that the function has, the same at every point."""
    first = {name: array.item() for name, array in p.held[0].items() if array.size == 1}
    return {
        name: float(value)
        for name, value in first.items()
        if all(name in one and one[name].size == 1 and one[name].item() == value for one in p.held)
    }


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"


def _span(fit: Fit) -> str:
    middle = fit.middle[np.isfinite(fit.middle)]
    return f"{middle.min():.8g} to {middle.max():.8g}"
