"""The audit for any NumPy function: a gradient, and products of the Hessian with a vector, against differences.

Nothing is known of the function but its values, so nothing is assumed: whether it may be differentiated by a complex step
is tried and checked; whether an entry sits on a kink is found from its one-sided derivatives; how far a difference can be
trusted is read off its extrapolation.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..core.arrays import as_array
from ..core.errors import InvalidType, InvalidValue
from .differences import extrapolated, one_sided
from .report.gradient import ArgumentReport, GradientReport
from .witnesses import taylor_slope

__all__ = ["GradientReport", "audit_gradient"]

STEP = 1e-40  # of the complex step
EXACT = 1e-10  # tolerance against the complex step, relative to the entry or a thousandth of the largest one
ROUGH = 1e-6  # against differences: the least tolerance, whatever their own error estimate
KINK = 1e-4  # one-sided derivatives that differ by this share of the largest entry are looked at closely
SLOPE_AT_LEAST = 1.9


def audit_gradient(
    loss: Callable[..., Any],
    gradient: Callable[..., Any],
    x: ArrayLike | Sequence[ArrayLike],
    *,
    hessian_vector: Callable[..., Any] | None = None,
    names: Sequence[str] | None = None,
    entries: int = 500,
    seed: int = 0,
) -> GradientReport:
    """Hold a gradient of any NumPy function against independent witnesses.

    Parameters
    ----------
    loss : callable
        loss(x) -> real number; loss(*x) if `x` is a list or tuple of arrays, loss(x) if it is a named tuple.
    gradient : callable
        The same arguments; an array of the shape of `x`, or one for each argument, in their order.
    x : array_like, or a list, tuple or named tuple of them
        Where: floating numbers, finite. A generic point proves more than a symmetric one.
    hessian_vector : callable, optional
        hessian_vector(x, v), or hessian_vector(*x, *v): the Hessian times v, in the form of the gradient.
    names : sequence of str, optional
        What to call the arguments.
    entries : int
        At most so many entries of an argument are checked one by one (chosen by `seed`); all of them are checked
        together along a random direction.
    seed : int

    Returns
    -------
    GradientReport
        `assert nlicl.audit_gradient(...)` in a test; `.check()` raises with the report as message.

    Raises
    ------
    TypeError, ValueError
        Arguments of a wrong form: not floating, not finite, a gradient of another number of arrays or shape, a loss
        that is not one real number.

    Examples
    --------
    >>> import numpy as np, nlicl
    >>> x = np.array([0.3, -1.2, 2.0])
    >>> bool(nlicl.audit_gradient(lambda x: np.sum(np.sin(x) ** 2), lambda x: np.sin(2 * x), x))
    True
    """
    problem = _Problem(loss, gradient, x, names)
    rng = np.random.default_rng(seed)
    given = problem.given
    complex_step = problem.allows_complex_step(rng)
    arguments = [problem.examine(k, given[k], complex_step, entries, rng) for k in range(len(problem.x))]
    smooth = not any(argument.kinks for argument in arguments)
    slope, linear = problem.slope(given, rng) if smooth else (None, 0.0)
    hessian = None
    if hessian_vector is not None:
        hessian = problem.hessian(hessian_vector, rng) if smooth else None
    verdict, reason = _verdict(arguments, given, slope, linear, hessian, complex_step)
    if verdict == "agree" and hessian_vector is not None and hessian is None:
        verdict, reason = (
            "undetermined",
            (
                "the gradient agrees; x sits on a kink of the loss or of its gradient, where there is no Hessian to judge by."
            ),
        )
    return GradientReport(verdict, reason, arguments, slope, hessian)


def _verdict(
    arguments: list[ArgumentReport],
    given: list[np.ndarray],
    slope: float | None,
    linear: float,
    hessian: float | None,
    complex_step: bool,
) -> tuple[str, str]:
    how = "complex step" if complex_step else "extrapolated differences (the complex step does not apply)"
    wrong = [argument for argument in arguments if argument.wrong]
    if wrong:
        return "disagree", "wrong in " + ", ".join(f"{a.name} ({a.wrong} of {a.entries} entries)" for a in wrong) + "."
    if slope is not None and slope < SLOPE_AT_LEAST and linear > ROUGH:
        return "disagree", "entries agree one by one where they were checked, but the Taylor slope does not."
    if hessian is not None and not hessian <= (1e-7 if complex_step else 1e-4):
        return "disagree", "the gradient agrees; the Hessian-vector product does not."
    blurred = [argument.name for argument in arguments if argument.blurred]
    if blurred:
        return (
            "undetermined",
            f"differences of the loss are too coarse for {', '.join(blurred)}: rounding hides the gradient.",
        )
    if not any(np.any(array) for array in given):
        return "undetermined", "the gradient is zero everywhere: nothing was active, so nothing was tested."
    return "agree", f"every entry checked agrees with the {how}."


class _Problem:
    """Loss, gradient and arguments in one form: tuples of arrays."""

    def __init__(
        self, loss: Callable[..., Any], gradient: Callable[..., Any], x: Any, names: Sequence[str] | None
    ) -> None:
        for name, function in (("loss", loss), ("gradient", gradient)):
            if not callable(function):
                raise InvalidType(f"{name} is a {type(function).__name__}; expected a function of x.")
        self._named = type(x) if hasattr(x, "_fields") else None
        several = isinstance(x, (list, tuple))
        self.several = several
        arrays = list(x) if several else [x]
        if not arrays:
            raise InvalidValue("x is empty; expected at least one array.")
        default = x._fields if self._named else [f"x[{k}]" for k in range(len(arrays))] if several else ["x"]
        self.names = list(default if names is None else names)
        if len(self.names) != len(arrays):
            raise InvalidValue(f"names has {len(self.names)} entries; expected {len(arrays)}, one for each array of x.")
        self.x = [self._floating(array, name) for array, name in zip(arrays, self.names, strict=True)]
        self._loss, self._gradient = loss, gradient
        self.base = self.loss(*self.x)
        if np.ndim(self.base) != 0 or np.asarray(self.base).dtype.kind != "f" or not np.isfinite(self.base):
            raise InvalidValue(f"loss returns {self.base!r}; expected one finite real number.")
        self.given = self.gradient(*self.x)

    @staticmethod
    def _floating(array: ArrayLike, name: str) -> np.ndarray:
        array = np.array(as_array(array, name))
        if array.dtype.kind != "f" or array.size == 0:
            raise InvalidType(f"{name} has dtype {array.dtype}, shape {array.shape}; expected floating numbers. Convert it by "
                            ".astype(float).")  # fmt: skip
        if not np.isfinite(array).all():
            raise InvalidValue(f"{name} holds NaN or infinity; expected finite numbers.")
        return array.astype(np.float64)

    def _call(self, function: Callable[..., Any], *arrays: np.ndarray) -> Any:
        if self._named is not None:
            return function(self._named(*arrays))
        return function(*(array.copy() for array in arrays))

    def loss(self, *arrays: np.ndarray) -> Any:
        value = self._call(self._loss, *arrays)
        return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value

    def gradient(self, *arrays: np.ndarray) -> list[np.ndarray]:
        value = self._call(self._gradient, *arrays)
        parts = list(value) if self.several else [value]
        if len(parts) != len(self.x):
            raise InvalidValue(
                f"gradient returns {len(parts)} arrays; expected {len(self.x)}, one for each array of x."
            )
        parts = [as_array(part, f"the gradient by {name}") for part, name in zip(parts, self.names, strict=True)]
        for part, array, name in zip(parts, self.x, self.names, strict=True):
            if part.shape != array.shape:
                raise InvalidValue(f"gradient returns shape {part.shape} for {name}; expected {array.shape}.")
        return parts

    def moved(self, k: int, by: np.ndarray) -> list[np.ndarray]:
        return [array + by if j == k else array for j, array in enumerate(self.x)]

    def along(self, v: list[np.ndarray], t: complex) -> list[np.ndarray]:
        return [array + t * part for array, part in zip(self.x, v, strict=True)]

    def directions(self, rng: np.random.Generator) -> list[np.ndarray]:
        v = [rng.standard_normal(array.shape) for array in self.x]
        norm = np.sqrt(sum((part * part).sum() for part in v))
        return [part / norm for part in v]

    def allows_complex_step(self, rng: np.random.Generator) -> bool:
        """Whether a complex step gives the derivative: it runs, keeps the value, and agrees with a difference.

        Tried at x; a kink near by spoils the difference there, so at two places a little off as well.
        """
        if self._complex_step_works(self.x, rng):
            return True
        off = [[a + 0.05 * abs(a).max() * rng.standard_normal(a.shape) for a in self.x] for _ in range(2)]
        return all(self._complex_step_works(arrays, rng) for arrays in off)

    def _complex_step_works(self, arrays: list[np.ndarray], rng: np.random.Generator) -> bool:
        base = float(self.loss(*arrays))
        for _ in range(2):
            v = self.directions(rng)
            value = self._complex_value([array + 1j * STEP * part for array, part in zip(arrays, v, strict=True)])
            if value is None or abs(value.real - base) > 1e-12 * max(1.0, abs(base)):
                return False

            def f(t: float, v: list[np.ndarray] = v) -> float:
                return self.loss(*(array + t * part for array, part in zip(arrays, v, strict=True)))

            difference, error = extrapolated(f, base)
            if not abs(value.imag / STEP - difference) <= 1e-6 * abs(difference) + 10 * error:
                return False
        return True

    def _complex_value(self, arrays: list[np.ndarray]) -> np.ndarray | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a discarded imaginary part is a warning
                value = np.asarray(self.loss(*arrays))
        except Exception:
            return None
        return value if value.ndim == 0 and value.dtype.kind == "c" and np.isfinite(value) else None

    def examine(
        self, k: int, given: np.ndarray, complex_step: bool, most: int, rng: np.random.Generator
    ) -> ArgumentReport:
        """The report on one argument, entry by entry."""
        x = self.x[k]
        report = ArgumentReport(
            self.names[k], x.shape, "complex step" if complex_step else "differences", min(most, x.size)
        )
        chosen = np.arange(x.size) if x.size <= most else np.sort(rng.choice(x.size, most, replace=False))
        indices = [tuple(int(i) for i in np.unravel_index(n, x.shape)) for n in chosen]
        found = [self._entry(k, index, complex_step) for index in indices]
        noise = self.noise(k, indices, found, rng) if complex_step else 0.0
        scale = max([abs(low) for low, _, _ in found] + [abs(high) for _, high, _ in found] + [1e-300])
        report.blurred = not complex_step and max(error for _, _, error in found) > 1e-2 * scale
        worst = -1.0
        report.max_relative_error = 0.0
        for index, (low, high, error) in zip(indices, found, strict=True):
            value = float(given[index])
            kink = high - low > KINK * scale
            if kink:
                report.kinks.append(list(index))
                off, allowed = max(low - value, value - high, 0.0), KINK * scale
            else:
                off = abs(value - (low + high) / 2)
                floor = max(abs(low), 1e-3 * scale)
                allowed = EXACT * floor + 30 * noise if complex_step else max(ROUGH * floor, 10 * error)
            off = np.inf if np.isnan(off) else off
            report.tolerance = max(report.tolerance, float(allowed / scale))
            report.max_relative_error = max(report.max_relative_error, float(off / scale))
            report.wrong += bool(off > allowed)
            if off / allowed > worst:
                worst = off / allowed
                expected = f"between {low:.9g} and {high:.9g}" if kink else f"{(low + high) / 2:.9g}"
                report.worst = {"index": list(index), "given": value, "expected": expected}
        return report

    def noise(
        self, k: int, indices: list[tuple[int, ...]], found: list[tuple[float, float, float]], rng: np.random.Generator
    ) -> float:
        """Rounding error, of gradient and complex step: how far they move when the arguments do, in their last bits.

        A saturated softmax, say, loses most digits of its small derivatives, in the function as well as in its gradient.
        """
        change = 0.0
        for _ in range(3):
            nudged = [array * (1 + 4e-16 * rng.choice([-1.0, 0.0, 1.0], array.shape)) for array in self.x]
            moved = abs(self.gradient(*nudged)[k] - self.given[k])
            change = max(change, float(np.max(moved, initial=0.0, where=np.isfinite(moved))))
        for index, (low, high, _) in list(zip(indices, found, strict=True))[:50]:
            entry = np.zeros(self.x[k].shape)
            entry[index] = 1.0
            value = self._complex_value([a + 1j * STEP * entry if j == k else a for j, a in enumerate(nudged)])
            if value is not None and low == high:
                change = max(change, abs(float(value.imag / STEP) - low))
        return change

    def _entry(self, k: int, index: tuple[int, ...], complex_step: bool) -> tuple[float, float, float]:
        """(low, high, error): the one-sided derivatives at an entry, equal where the loss is smooth there."""
        entry = np.zeros(self.x[k].shape)
        entry[index] = 1.0

        def f(t: float) -> float:
            return self.loss(*self.moved(k, t * entry))

        h = 1e-7 * max(1.0, abs(self.x[k][index]))
        right, left = (f(h) - self.base) / h, (self.base - f(-h)) / h
        if complex_step:
            value = self._complex_value(self.moved(k, 1j * STEP * entry))
            derivative, error = (float(value.imag / STEP), 0.0) if value is not None else (np.nan, np.nan)
        else:
            derivative, error = extrapolated(f, self.base)
        rounding = 1e-15 * max(1.0, abs(self.base)) / h
        if abs(right - left) > KINK * max(abs(right), abs(left)) + 10 * rounding:
            if complex_step:  # near a kink or on it? the derivatives a few roundings to each side tell
                tiny = 1e-14 * max(1.0, abs(self.x[k][index]))
                up, down = (self._complex_value(self.moved(k, (s * tiny + 1j * STEP) * entry)) for s in (1, -1))
                if up is not None and down is not None and abs(up.imag - down.imag) <= 1e-9 * abs(up.imag):
                    return derivative, derivative, error
            (right, e_right), (left, e_left) = (one_sided(f, self.base, side) for side in (1, -1))
            if abs(right - left) > KINK * max(abs(right), abs(left)) + 10 * (e_right + e_left):
                return min(right, left), max(right, left), max(e_right, e_left)
        return derivative, derivative, error

    def slope(self, given: list[np.ndarray], rng: np.random.Generator) -> tuple[float | None, float]:
        """(exponent of the Taylor remainder, its linear part relative to the gradient), along a random direction.

        The exponent is fitted on the smallest steps that show more than rounding: there the linear part of a wrong
        gradient dominates. A kink near by spoils the exponent, but not the linear part at steps shorter than its distance.
        """
        steps = 1e-2 * 2.0 ** -np.arange(24)
        v = self.directions(rng)
        slope = sum((g.astype(float) * part).sum() for g, part in zip(given, v, strict=True))
        values = np.array([self.loss(*self.along(v, t)) for t in steps], float)
        remainder = abs(values - float(self.base) - steps * slope)
        noise = 4e-16 * (abs(float(self.base)) + steps * abs(slope))
        seen = np.flatnonzero(remainder > 30 * noise)[-8:]
        size = max([abs(slope)] + [float(abs(g).max()) for g in given])
        telling = np.flatnonzero(noise < 1e-6 * steps * size)
        linear = float(remainder[telling[-1]] / (steps[telling[-1]] * size)) if size > 0 and len(telling) else 0.0
        return taylor_slope(remainder[seen], noise[seen], steps[seen]), linear

    def hessian(self, product: Callable[..., Any], rng: np.random.Generator) -> float | None:
        """Largest relative error of H v against the gradient's difference along v; None where the gradient has a kink."""
        worst = 0.0
        for _ in range(3):
            v = self.directions(rng)
            value = product(*self.x, *v) if self._named is None else product(self._named(*self.x), self._named(*v))
            parts = list(value) if self.several else [value]
            for k, part in enumerate(parts):
                part = np.asarray(part, float)
                if part.shape != self.x[k].shape:
                    raise InvalidValue(
                        f"hessian_vector returns shape {part.shape} for {self.names[k]}; expected {self.x[k].shape}."
                    )
                expected = self._gradient_slope(k, v)
                if expected is None:
                    return None
                error = float(abs(part - expected).max() / max(abs(expected).max(), 1e-300))
                worst = max(worst, error if error == error else np.inf)
        return worst

    def _gradient_slope(self, k: int, v: list[np.ndarray]) -> np.ndarray | None:
        """The derivative of a part of the gradient along v; None if it has two, one on each side."""
        h = 1e-5
        above, here, below = (self.gradient(*self.along(v, t))[k].astype(float) for t in (h, 0.0, -h))
        difference = (above - below) / (2 * h)
        bend = abs(above - 2 * here + below).max() / h  # of order h where the gradient is smooth
        if bend > max(1e-2 * abs(difference).max(), 1e-4 * abs(here).max()):
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                exact = self.gradient(*self.along(v, 1j * STEP))[k].imag / STEP
        except Exception:
            exact = None
        if exact is not None and abs(exact - difference).max() <= 1e-4 * max(abs(difference).max(), 1e-300):
            return exact
        return difference
