"""Witnesses: ways to know a derivative without deriving it.

complex step   f'(x) = Im f(x + ih)/h, exact to rounding at h = 1e-40: nothing is subtracted. Through the definition
               and, independently, through the compiled kernel; through the definition in longdouble where float64 rounds
               too much.
differences    (f(x + h) - f(x - h))/2h through the compiled kernel in float64, on a step certified to be kink-free.
extended       fourth-order differences in longdouble through the kernels' Python source, along random directions.
Taylor slope   |f(x + tv) - f(x) - t <g, v>| falls as t^2 if g is the gradient, as t if it is not.
"""

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from . import kinks
from .subject import Subject

__all__ = ["EPS", "STEP", "Case", "taylor_slope"]

LEAST_STEP = 1e-7  # of central differences, relative to the parameter: below it rounding hides the derivative
STEP = 1e-40  # of the complex step: its square vanishes beside 1, its products do not underflow
EPS = float(np.finfo(np.float64).eps)
WIDE = np.clongdouble  # what carries more digits through the definition, where the machine has it
_SHRUNK = (0.9, 0.5, 2.0**-3, 2.0**-6, 2.0**-10, 2.0**-15, 2.0**-20)  # of a parameter: nothing cancels at the last


class Case:
    """One place to judge a formula at: parameters and a batch of prompts (of one, for a per-prompt formula)."""

    def __init__(self, subject: Subject, label: str, params: Any, prompts: Any, holds: tuple[str, ...] = ()) -> None:
        self.subject, self.label, self.params, self.prompts, self.holds = subject, label, params, prompts, holds
        self.each = [prompts[n] for n in range(len(prompts))]
        self.complex_step = lru_cache(None)(self._complex_step)
        self.precise = lru_cache(None)(self._precise)
        self.kernel_step = lru_cache(None)(self._kernel_step)
        self.differences = lru_cache(None)(self._differences)
        self.direction = lru_cache(None)(self._direction)

    def __repr__(self) -> str:
        return f"Case({self.label!r}, {self.params!r}, {self.prompts!r})"

    def evaluate(self, params: Any) -> tuple[Any, np.ndarray]:
        """(mean loss, all margins) by the definition."""
        pairs = [self.subject.definition(params, prompt) for prompt in self.each]
        return sum(loss for loss, _ in pairs) / len(pairs), np.concatenate([margins for _, margins in pairs])

    @cached_property
    def _here(self) -> tuple[Any, np.ndarray]:
        return self.evaluate(self.params)

    @property
    def loss(self) -> float:
        return float(self._here[0])

    @property
    def margins(self) -> np.ndarray:
        return self._here[1]

    def moved(self, wrt: str, by: np.ndarray) -> Any:
        """The parameters with `by` added to one of them, all in one dtype."""
        dtype = np.result_type(by)
        arrays = {name: array.astype(dtype, copy=False) for name, array in self.params._asdict().items()}
        arrays[wrt] = arrays[wrt] + by
        return self.params._replace(**arrays)

    def size(self, wrt: str) -> float:
        """The largest entry of a parameter, the unit for steps; 1 if it is zero."""
        return float(abs(getattr(self.params, wrt)).max()) or 1.0

    def _complex_step(self, wrt: str) -> tuple[np.ndarray, np.ndarray]:
        """Through the definition: gradient, and the margins' derivatives (n, *shape)."""
        shape = getattr(self.params, wrt).shape
        gradient, slopes = np.empty(shape), np.empty((len(self.margins), *shape))
        for index, entry in _entries(shape):
            loss, margins = self.evaluate(self.params._replace(**{wrt: getattr(self.params, wrt) + 1j * STEP * entry}))
            gradient[index], slopes[:, *index] = loss.imag / STEP, margins.imag / STEP
        return gradient, slopes

    def _precise(self, wrt: str) -> tuple[np.ndarray, float]:
        """Gradient by the complex step in longdouble, and the size of the rounding error that float64 makes in it.

        That is the larger of two: the error of the same step in float64, and a unit in the last place of what the gradient
        would be if terms did not cancel. A softmax that is saturated at 1 - p leaves a part 1 - p of them; where the parameter
        is smaller, it is not saturated. Where longdouble is float64, only the second is known.
        """
        rough = self.complex_step(wrt)[0]
        gradient = self._step(wrt, 1.0, WIDE)
        if not (np.isfinite(gradient).all() and np.isfinite(rough).all()):
            return rough, 0.0
        sizes = [abs(self._step(wrt, share, np.complex128)).max() for share in _SHRUNK]
        uncancelled = max([size for size in sizes if np.isfinite(size)], default=0.0)
        error = max(float(abs(gradient - rough).max()), EPS * float(uncancelled))
        return gradient.astype(float), error

    def _step(self, wrt: str, share: float, dtype: type) -> np.ndarray:
        """The complex step through the definition in that dtype, with a parameter of that share of its size."""
        params = self.moved(wrt, (share - 1) * getattr(self.params, wrt).astype(dtype))
        array, step = getattr(params, wrt), dtype(1j) * dtype(STEP)
        gradient = np.empty(array.shape, step.real.dtype)
        for index, entry in _entries(array.shape):
            gradient[index] = self.evaluate(params._replace(**{wrt: array + step * entry}))[0].imag / step.imag
        return gradient

    def _kernel_step(self, wrt: str) -> np.ndarray:
        """Through the compiled kernel."""
        gradient = np.empty(getattr(self.params, wrt).shape)
        for index, entry in _entries(gradient.shape):
            gradient[index] = self.subject.kernel(self.moved(wrt, 1j * STEP * entry), self.prompts).imag / STEP
        return gradient

    def _differences(self, wrt: str) -> np.ndarray:
        """Central differences through the kernel; NaN where no step of at least LEAST_STEP is free of kinks."""
        x, (_, slopes) = getattr(self.params, wrt), self.complex_step(wrt)
        steps = np.minimum(2e-5 * self.size(wrt), kinks.crossing(self.margins, slopes) / 4)
        steps[kinks.on_kink(self.margins, slopes)] = 0
        gradient = np.full(x.shape, np.nan)
        for index, entry in _entries(x.shape):

            def margins_at(t: float, e: np.ndarray = entry) -> np.ndarray:
                return self.evaluate(self.moved(wrt, t * e))[1]

            h = steps[index]
            if h >= LEAST_STEP * self.size(wrt) and kinks.certified(self.margins, margins_at, h):
                above, below = (
                    self.subject.kernel(self.moved(wrt, side * h * entry), self.prompts) for side in (1, -1)
                )
                gradient[index] = (above - below) / (2 * h)
        return gradient

    def sides(self, wrt: str, index: tuple[int, ...], step: float = 1e-7) -> tuple[float, ...]:
        """The two one-sided derivatives at an entry that sits on a kink, by the complex step a little to each side."""
        entry = np.zeros(getattr(self.params, wrt).shape)
        entry[index] = 1
        h = step * self.size(wrt)
        moved = (self.moved(wrt, (side * h + 1j * STEP) * entry) for side in (-1, 1))
        return tuple(sorted(self.evaluate(params)[0].imag / STEP for params in moved))

    def _direction(self, wrt: str) -> tuple[np.ndarray, float, float]:
        """A random direction v, as large as the parameter, how far one may go along it, and the extended derivative there.

        The distance is 0, and the derivative NaN, where a kink is too near.
        """
        rng = np.random.default_rng(getattr(self.params, wrt).shape)
        v = rng.standard_normal(getattr(self.params, wrt).shape)
        v *= self.size(wrt) / abs(v).max()
        slopes = np.tensordot(self.complex_step(wrt)[1], v, v.ndim)
        if kinks.on_kink(self.margins, slopes):
            return v, 0.0, np.nan
        reach = min(1e-3, float(kinks.crossing(self.margins, slopes)) / 8)
        if reach < 1e-7 or not kinks.certified(self.margins, lambda t: self.evaluate(self.moved(wrt, t * v))[1], reach):
            return v, 0.0, np.nan
        return v, reach, self._extended(wrt, v.astype(np.longdouble), min(1e-4, reach / 2))

    def _extended(self, wrt: str, v: np.ndarray, h: float | np.longdouble) -> float:
        """d/dt f(x + tv) in longdouble through the source: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h."""
        h = np.longdouble(h)
        f = [self.subject.source(self.moved(wrt, t * h * v), self.prompts) for t in (1, -1, 2, -2)]
        return float((8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * h))

    def remainders(
        self, wrt: str, given: np.ndarray, v: np.ndarray, steps: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """|f(x + tv) - f(x) - t <given, v>| in longdouble through the definition, and the rounding error in each."""
        given, v = given.astype(np.longdouble), v.astype(np.longdouble)
        slope = (given * v).sum()
        base = self.evaluate(self.moved(wrt, 0 * v))[0]
        values = np.array([self.evaluate(self.moved(wrt, t * v))[0] for t in steps])
        noise = 1e-17 * abs(base) + 1e-14 * steps * np.sqrt((given**2).sum() * (v**2).sum())
        return abs(values - base - steps * slope), noise


def taylor_slope(remainders: np.ndarray, noise: np.ndarray, steps: np.ndarray) -> float | None:
    """The exponent of the remainder, fitted above the rounding error; None where it is all rounding: linear, and right."""
    seen = remainders > 10 * noise
    if seen.sum() < 3:
        return None
    return float(np.polyfit(np.log(steps[seen].astype(float)), np.log(remainders[seen].astype(float)), 1)[0])


def _entries(shape: tuple[int, ...]) -> Iterator[tuple[Any, np.ndarray]]:
    """Pairs (index, array that is 1 there and 0 elsewhere)."""
    for index in np.ndindex(shape):
        entry = np.zeros(shape)
        entry[index] = 1
        yield index, entry
