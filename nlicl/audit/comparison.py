"""A given gradient beside another: the same, or the same up to a factor that has a name."""

import numpy as np

from . import kinks
from .subject import Subject
from .witnesses import Case

__all__ = ["FITS", "Comparison", "item", "numbered", "with_factor"]

FITS = 1e-7  # relative to the largest entry: the given array is what the hypothesis says
TELLING = 1e-10  # relative to an entry: it is wrong
_CONSTANTS = {2.0: "2", 0.5: "1/2", 4.0: "4", 0.25: "1/4", 3.0: "3", 1 / 3: "1/3", np.sqrt(2): "sqrt(2)", 1e-1: "1/10"}


class Comparison:
    """The arrays that a formula gives, by number of case, beside the right gradients."""

    def __init__(self, wrt: str, cases: list[Case], given: dict[int, np.ndarray], subject: Subject) -> None:
        self.wrt, self.subject = wrt, subject
        self.numbers = list(given)
        self.cases = [cases[n] for n in given]
        # On a kink, a formula may take either side: what it says there tells nothing of its other entries.
        self.smooth = [~kinks.on_kink(case.margins, case.complex_step(wrt)[1]) for case in self.cases]
        self.given = [
            np.where(smooth, np.asarray(given[n], float), 0.0) for n, smooth in zip(given, self.smooth, strict=True)
        ]
        # A formula may compute in float32: what its rounding hides is neither a misfit nor an error.
        eps = max(np.finfo(np.asarray(array).dtype).eps for array in given.values())
        self.fits, self.telling = max(FITS, 1e3 * eps), max(TELLING, 3e3 * eps if eps > 1e-10 else 0.0)
        sizes = [_size(case, wrt) for case in self.cases]
        typical = float(np.median([size for size in sizes if size > 0] or [1.0]))
        self.scales = [max(size or typical, abs(g).max() if np.isfinite(g).all() else 0.0) for size, g in
                       zip(sizes, self.given, strict=True)]  # fmt: skip

    def close(self, k: int, array: np.ndarray) -> bool:
        """Whether the given array of case number k is this one."""
        return bool(np.all(abs(self.given[k] - array) <= self.fits * max(self.scales[k], 1e-300)))

    def parallel(self, k: int, array: np.ndarray) -> bool:
        """The same, by the given array's own size: noise that is far smaller than the gradient is no multiple of it."""
        return self.close(k, array) and bool(np.all(abs(self.given[k] - array) <= self.fits * abs(self.given[k]).max()))

    def gradients(self, wrt: str) -> list[np.ndarray]:
        """The right gradients by a parameter of the shape of `self.wrt`."""
        return [case.complex_step(wrt)[0] * smooth for case, smooth in zip(self.cases, self.smooth, strict=True)]

    def wrong_entries(self, expected: list[np.ndarray]) -> list[np.ndarray]:
        """Which entries are not the expected ones, on every draw."""
        return [~(abs(g - e) <= self.telling * np.maximum(abs(e), 1e-3 * s))
                for g, e, s in zip(self.given, expected, self.scales, strict=True)]  # fmt: skip

    # -- one factor, everywhere

    def factor(self, candidate: list[np.ndarray], allow_one: bool = False) -> list[dict[str, str]]:
        """Items that say by which factor `given` differs from `candidate`; [] if by none, or by 1 unless allowed."""
        ratios = self.ratios(candidate)
        if ratios is None or np.isnan(ratios).all():
            return []
        return self._name_factor(ratios, allow_one)

    def ratios(self, candidate: list[np.ndarray]) -> np.ndarray | None:
        """given / candidate on every draw, NaN where both are zero; None if they are not parallel on all."""
        ratios = []
        for k, array in enumerate(candidate):
            given, scale = self.given[k], self.scales[k]
            norm = (array * array).sum()
            if norm == 0 or np.sqrt(norm) < 1e-12 * scale:
                if abs(given).max() > self.fits * scale:
                    return None
                ratios.append(np.nan)
                continue
            ratio = (given * array).sum() / norm
            if not self.parallel(k, ratio * array):
                return None
            ratios.append(ratio)
        return np.array(ratios)

    def _name_factor(self, ratios: np.ndarray, allow_one: bool) -> list[dict[str, str]]:
        known, near = ratios[~np.isnan(ratios)], 10 * self.fits
        if np.allclose(known, known[0], rtol=near, atol=0):
            c = known[0]
            if abs(c - 1) < near:
                return [item("scale", "factor 1")] if allow_one else []
            if abs(c + 1) < near:
                return [item("sign", "the given gradient is minus the expected one, on every entry of every draw")]
            name = next(
                (text for value, text in _CONSTANTS.items() if abs(abs(c) - value) < near * value), f"{abs(c):.6g}"
            )
            sign = "-" if c < 0 else ""
            detail = f"the given gradient is {sign}{name} times the expected one, on every entry of every draw"
            return [item("scale", detail + self._also(name, abs(c), near))]
        sizes = self._sizes()
        found = []
        seen = ~np.isnan(ratios)
        for name in sizes[0]:
            value = np.array([size[name] for size in sizes], float)[seen]
            if np.allclose(value, value[0]):  # the same on every draw: it cannot be told from a plain number
                continue
            inverse = f"1/({name})" if "+" in name else f"1/{name}"
            powers = {name: value, inverse: 1 / value}
            if not name.startswith("sqrt"):  # its square has a name of its own
                powers |= {f"{name}^2": value**2, f"1/{name}^2": value**-2}
            for text, power in powers.items():
                for sign, s in (("", 1.0), ("-", -1.0)):
                    if np.allclose(known, s * power, rtol=near, atol=0):
                        found.append(item("scale", f"the given gradient is {sign}{text} times the expected one"))
        return found

    def _sizes(self) -> list[dict[str, float]]:
        """The paper's constants on every draw, and the number B of prompts."""
        return [dict(self.subject.sizes(case.params, case.each[0])) | {"B": len(case.each)} for case in self.cases]

    def _also(self, number: str, c: float, near: float) -> str:
        """Constants that have the value c, or its inverse, on every draw: an explanation as good as the number."""
        sizes = self._sizes()
        names = []
        for name in sizes[0]:
            values = np.array([size[name] for size in sizes], float)
            names += [
                text for text, value in ((name, values), (f"1/{name}", 1 / values)) if np.allclose(value, c, rtol=near)
            ]
        return f"; {number} is also {', '.join(names)}" if names else ""


def _size(case: Case, wrt: str) -> float:
    return abs(case.complex_step(wrt)[0]).max()


def with_factor(factor: list[dict[str, str]]) -> str:
    """The items of `Comparison.factor` in brackets, to go behind another detail; nothing for the factor 1."""
    text = factor[0]["detail"]
    return (
        ""
        if text == "factor 1"
        else f" ({text.replace('the given gradient is ', '').replace(' the expected one', ' it')})"
    )


def item(kind: str, detail: str) -> dict[str, str]:
    """One item of a diagnosis."""
    return {"kind": kind, "detail": detail}


def numbered(explanations: list[list[dict[str, str]]]) -> list[dict[str, str]]:
    """The items of several explanations of the same; those of all but the first say which explanation is theirs."""
    first, *others = explanations or [[]]
    return first + [one | {"explanation": str(n)} for n, items in enumerate(others, 2) for one in items]
