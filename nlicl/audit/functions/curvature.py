"""Second derivatives: a Hessian, its diagonal, or its products with vectors, held against derivatives of the gradient.

Where the given gradient is right, its own derivative along v is the Hessian times v: by dual numbers through it, else by
differences. Where it is wrong, second derivatives come from the loss alone.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ...core.errors import InvalidInput, InvalidValue
from ..comparison import item
from ..patterns import explain_product
from ..report.gradient import GradientReport, ProductReport
from .differences import Estimate, estimate, noise
from .function import Function, OutOfTime
from .points import scattered, unit
from .slopes import Witness, only, step_length, tried

__all__ = ["judge_hessian"]

CHECKED = 3  # products of dual numbers that are held against differences
VECTORS = 3
COLUMNS = 1000  # of a matrix, or entries of a diagonal, that are looked at
FULL = 200  # entries of all arguments up to which every column is looked at
NO_HESSIAN = "x sits on a kink of the loss or of its gradient, where there is no Hessian to judge by"


def judge_hessian(
    function: Function,
    places: list[list[np.ndarray]],
    report: GradientReport,
    witnesses: Sequence[Witness],
    rng: np.random.Generator,
    eps: float,
) -> ProductReport:
    """The verdict on second derivatives.

    Parameters
    ----------
    places : list of places
        x, and one beside it, where what is right at x by chance is wrong.
    report : GradientReport
        The verdict on the gradient, which decides where second derivatives come from.
    witnesses : sequence of Witness
        Of the loss, one for each argument.

    Returns
    -------
    ProductReport
    """
    if any(argument.kinks for argument in report.arguments):
        return ProductReport("undetermined", NO_HESSIAN)
    right = report.verdict == "agree"
    worst: ProductReport | None = None
    for x in places if right else places[:1]:
        judge = _Judge(function, [array.astype(np.float64) for array in x], witnesses, right, eps)
        given: list[_Products | _Matrix] = [_Products(function, x)] if function.has_product else []
        if function.has_matrix:
            given.append(_Matrix(function, x))
        for found in (judge.of(one, rng) for one in given):
            if worst is None or (worst.verdict == "agree" and (found.verdict == "disagree" or x is places[0])):
                worst = found
    assert worst is not None
    return worst


class _Products:
    """hessian_vector(x, v)."""

    diagonal = False

    def __init__(self, function: Function, x: list[np.ndarray]) -> None:
        self.function, self.x = function, x

    def times(self, v: list[np.ndarray]) -> list[np.ndarray]:
        return self.function.product(self.x, v)


class _Matrix:
    """hessian(x): a matrix by all entries, dense or sparse, or its diagonal."""

    def __init__(self, function: Function, x: list[np.ndarray]) -> None:
        array = function.matrix(x)
        self.shapes = [array.shape for array in x]
        self.sizes = [array.size for array in x]
        n = sum(self.sizes)
        square = (n, n) if len(x) > 1 else (*self.shapes[0], *self.shapes[0])
        self.diagonal = array.shape not in ((n, n), square)
        self.array: np.ndarray = array.reshape(-1) if self.diagonal else array.reshape(n, n)
        if self.diagonal and array.shape != (n,) and not (len(x) == 1 and array.shape == self.shapes[0]):
            raise InvalidValue(f"hessian returns shape {array.shape}; expected {(n, n)}, or {(n,)} for its diagonal.")

    def times(self, v: list[np.ndarray]) -> list[np.ndarray]:
        flat = np.concatenate([np.ravel(part) for part in v])
        return self.split(self.array * flat if self.diagonal else self.array @ flat)

    def split(self, flat: np.ndarray) -> list[np.ndarray]:
        pieces = np.split(flat, np.cumsum(self.sizes)[:-1])
        return [piece.reshape(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]


class _Judge:
    """The expected products."""

    def __init__(
        self, function: Function, x: list[np.ndarray], witnesses: Sequence[Witness], gradient_right: bool, eps: float
    ) -> None:
        self.function, self.x, self.witnesses, self.eps = function, x, witnesses, eps
        self.gradient_right = gradient_right
        self.n = sum(array.size for array in x)
        self.checked, self.contradicted = 0, False  # products of dual numbers, beside differences
        self.witness = "dual numbers through the gradient" if gradient_right else "the loss alone"

    def of(self, given: _Products | _Matrix, rng: np.random.Generator) -> ProductReport:
        """The verdict on one of the two forms."""
        if not self.gradient_right and self.n > FULL:
            return ProductReport(
                "undetermined", f"the gradient is not right, and {self.n} entries are too many to do without it"
            )
        if isinstance(given, _Matrix) and given.diagonal:
            return self.of_diagonal(given, rng)
        report = ProductReport("agree", witness=self.witness)
        for v, sized in self.vectors(given, rng):
            found = self.expected(v)
            if found is None:
                return ProductReport("undetermined", NO_HESSIAN)
            self.compare(report, v, given.times(v), *found, given, [unit(array) for array in self.x] if sized else None)
        report.witness = self.witness
        return report

    def of_diagonal(self, given: _Matrix, rng: np.random.Generator) -> ProductReport:
        """The verdict on a diagonal: all its entries at once. If the Hessian is nothing but a diagonal, one product shows it;
        else each entry takes a product of its own."""
        report = ProductReport("agree", witness=self.witness)
        ones = [np.ones(array.shape) for array in self.x]
        signs = [scattered(rng, array.shape) for array in self.x]
        found = self.expected(signs)
        if found is None:
            return ProductReport("undetermined", NO_HESSIAN)
        expected, error = found
        off = [abs(one - other) for one, other in zip(given.times(signs), expected, strict=True)]
        allowed = [self.allowed(*each) for each in zip(expected, error, map(_alone, expected), strict=True)]
        if all(np.all(one <= most) for one, most in zip(off, allowed, strict=True)):
            largest = [float(np.max(abs(part))) or 1.0 for part in expected]
            report.error = max(float(np.max(one)) / size for one, size in zip(off, largest, strict=True))
            report.witness = self.witness
            return report
        flat_off = np.concatenate([np.ravel(one) for one in off])
        chosen = np.arange(self.n) if self.n <= COLUMNS else np.sort(np.argsort(-flat_off)[:COLUMNS])
        seen, errors = np.full(self.n, np.nan), np.zeros(self.n)
        for k in chosen:
            column = self.expected(given.split(np.eye(1, self.n, int(k))[0]))
            if column is None:
                return ProductReport("undetermined", NO_HESSIAN)
            seen[k], errors[k] = (np.concatenate([np.ravel(part) for part in parts])[k] for parts in column)
        said = given.times(ones)
        known = [np.isfinite(part) for part in given.split(seen)]
        expected = [np.where(mask, part, one) for mask, part, one in zip(known, given.split(seen), said, strict=True)]
        self.compare(report, ones, said, expected, given.split(errors), given, [_alone(part) for part in expected])
        report.witness = self.witness
        if report.verdict == "agree" and len(chosen) < self.n:
            return ProductReport(
                "undetermined",
                f"the Hessian has more than its diagonal, of which {len(chosen)} of {self.n} entries were looked at. Give "
                "hessian_vector, or fewer entries",
                witness=self.witness,
            )
        return report

    def vectors(self, given: _Products | _Matrix, rng: np.random.Generator) -> list[tuple[list[np.ndarray], bool]]:
        """Vectors, each with whether it is of the sizes of x: random ones, also in each argument alone; every unit vector
        where columns are given and few, some of them where they are many."""
        random = [[rng.standard_normal(array.shape) for array in self.x] for _ in range(VECTORS)]
        if len(self.x) > 1:
            random += [only(self.x, k, rng.standard_normal(array.shape)) for k, array in enumerate(self.x)]
        vectors = [(v, False) for v in random[:1]]
        for v in random[1:]:  # of the sizes of x: a block that counts there may be lost in the others elsewhere
            vectors.append(([unit(array) * part for array, part in zip(self.x, v, strict=True)], True))
        if isinstance(given, _Products):
            return vectors
        chosen = range(self.n) if self.n <= COLUMNS else np.sort(rng.choice(self.n, COLUMNS, replace=False))
        return vectors + [(given.split(np.eye(1, self.n, int(k))[0]), False) for k in chosen]

    def compare(
        self,
        report: ProductReport,
        v: list[np.ndarray],
        said: list[np.ndarray],
        expected: list[np.ndarray],
        error: list[np.ndarray],
        given: _Products | _Matrix,
        sizes: list[np.ndarray] | None = None,
    ) -> None:
        """Enter one product's errors into the report; `sizes` are those in which its entries count, all alike by default."""
        for k, name in enumerate(self.function.names):
            scale = float(np.max(abs(expected[k]))) or max(float(np.max(abs(part))) for part in expected) or 1.0
            with np.errstate(all="ignore"):
                off = abs(said[k] - expected[k])
            off = np.where(np.isnan(off), np.inf, off)
            excess = off / self.allowed(expected[k], error[k], 1.0 if sizes is None else sizes[k])
            worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(excess)), excess.shape))
            relative = float(np.max(off) / scale)
            report.error = max(report.error or 0.0, relative)
            if excess[worst] > 1 and report.verdict == "agree":
                report.verdict = "disagree"
                report.worst = {
                    "argument": name,
                    "index": list(worst),
                    "given": float(said[k][worst]),
                    "expected": float(expected[k][worst]),
                }
                diagonal = self.diagonal() if not given.diagonal else None
                names = self.function.names
                bad = [(n, a) for n, a in zip(names, said, strict=True) if not np.isfinite(a).all()]
                if bad:
                    report.diagnosis = [item("entries", f"it returns NaN or infinity by {bad[0][0]}")]
                else:
                    allowed = [self.allowed(e, off) for e, off in zip(expected, error, strict=True)]
                    report.diagnosis = explain_product(
                        said, expected, v, names, diagonal, error=allowed, blocks=self.blocks(v)
                    )
                report.reason = report.diagnosis[0]["detail"]

    def allowed(self, expected: np.ndarray, error: np.ndarray, size: np.ndarray | float = 1.0) -> np.ndarray:
        """What an entry of a right product may be off by; a small one is held to what the largest may be, in units of
        1 / `size`."""
        single = self.eps > 1e-10
        largest = (float(np.max(abs(expected) * size)) or 1.0) / size
        return np.maximum((1e-3 if single else 1e-8) * abs(expected), (1e-3 if single else 1e-12) * largest) + 3 * error

    def diagonal(self) -> list[np.ndarray] | None:
        """The Hessian's diagonal, if it is small."""
        if self.n > FULL:
            return None
        found = [np.zeros(array.shape) for array in self.x]
        for k, array in enumerate(found):
            for index in np.ndindex(array.shape):
                step = np.zeros(array.shape)
                step[index] = 1.0
                column = self.expected(only(self.x, k, step))
                if column is None:
                    return None
                array[index] = column[0][k][index]
        return found

    def blocks(self, v: list[np.ndarray]) -> list[list[np.ndarray]] | None:
        """H_ij v_j for all i, j."""
        if len(v) == 1:
            return None
        columns = [self.expected(only(self.x, j, part)) for j, part in enumerate(v)]
        if any(column is None for column in columns):
            return None
        return [[column[0][i] for column in columns if column is not None] for i in range(len(v))]

    # -- the derivative of the gradient along v, and its error; None on a kink

    def expected(self, v: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
        if not self.gradient_right:
            return self.from_loss(v)
        try:
            up, ties = self.function.pushed(self.x, v)
            down = up if not ties else [-array for array in self.function.pushed(self.x, [-part for part in v])[0]]
        except (InvalidInput, OutOfTime):
            raise
        except Exception:
            return self.from_gradient(v)
        scale = max(float(np.max(abs(array))) for array in up)
        if any(not np.allclose(a, b, rtol=1e-9, atol=1e-9 * scale) for a, b in zip(up, down, strict=True)):
            return None
        if not all(np.isfinite(array).all() for array in up):
            return self.from_gradient(v)
        if self.checked < CHECKED:
            self.checked += 1
            self.contradicted |= self.differ(v, up)
        if self.contradicted:
            return self.from_gradient(v)
        return up, [np.zeros(array.shape) for array in up]

    def differ(self, v: list[np.ndarray], pushed: list[np.ndarray]) -> bool:
        """Whether differences of the gradient say something else than dual numbers through it: one number of all entries.

        A gradient that decides by its values, as a bisection does, hides a derivative from dual numbers.
        """
        rng = np.random.default_rng(0)
        weights = [rng.standard_normal(array.shape) for array in pushed]
        length = step_length(self.x, v)

        def weighted(t: float) -> float:
            given = self.function.gradient_or_none(
                [array + t * length * part for array, part in zip(self.x, v, strict=True)]
            )
            if given is None:
                return np.nan
            return float(sum(np.sum(weight * part) for weight, part in zip(weights, given, strict=True)))

        base = weighted(0.0)
        if length == 0.0 or not np.isfinite(base):
            return False
        found = estimate(weighted, base, noise(weighted, base))
        said = length * float(sum(np.sum(weight * part) for weight, part in zip(weights, pushed, strict=True)))
        size = max(abs(said), abs(found.up))
        sure = found.up == found.down and found.error < 1e-3 * size
        return sure and abs(said - found.up) > 10 * found.error + 1e-5 * size

    def from_gradient(self, v: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
        """Extrapolated differences of the gradient, entry by entry from the same values."""
        self.witness = "differences of the gradient"
        length = step_length(self.x, v)
        if length == 0.0:
            return [np.zeros(array.shape) for array in self.x], [np.zeros(array.shape) for array in self.x]
        kept: dict[float, list[np.ndarray] | None] = {}

        def gradient(t: float) -> list[np.ndarray] | None:
            if t not in kept:
                moved = [array + t * length * part for array, part in zip(self.x, v, strict=True)]
                kept[t] = self.function.gradient_or_none(moved)
            return kept[t]

        def entry(k: int, index: tuple[int, ...]) -> Callable[[float], float]:
            def at(t: float) -> float:
                arrays = gradient(t)
                return np.nan if arrays is None else float(arrays[k][index])

            return at

        found = [np.zeros(array.shape) for array in self.x], [np.zeros(array.shape) for array in self.x]
        for k, array in enumerate(self.x):
            here = gradient(0.0)
            size = 0.0 if here is None else float(np.max(abs(here[k])))
            for index in np.ndindex(array.shape):
                f = entry(k, index)
                one: Estimate = estimate(f, f(0.0), 8 * self.eps * size)
                if one.up != one.down:
                    return None
                found[0][k][index], found[1][k][index] = one.up / length, one.error / length
        return found

    def from_loss(self, v: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
        """Differences along v of the loss's derivative by each entry."""
        self.witness = "the loss alone, since the gradient is not right"
        length = step_length(self.x, v)
        found = [np.zeros(array.shape) for array in self.x], [np.zeros(array.shape) for array in self.x]
        if length == 0.0:
            return found
        for k, array in enumerate(self.x):
            size = unit(array)
            for index in np.ndindex(array.shape):
                step = np.zeros(array.shape)
                step[index] = h = float(size[index])

                def slope(t: float, k: int = k, step: np.ndarray = step) -> float:
                    moved = [array + t * length * part for array, part in zip(self.x, v, strict=True)]
                    one, _ = tried(self.witnesses[k], moved, only(moved, k, step))
                    return np.nan if one is None else one.middle

                exact = self.witnesses[k].exact
                base = slope(0.0)
                one = estimate(slope, base, 0.0 if exact else 1e-10 * abs(base))
                if one.up != one.down:
                    return None
                found[0][k][index], found[1][k][index] = one.up / length / h, one.error / length / h
        return found


def _alone(expected: np.ndarray) -> np.ndarray:
    """Sizes in which every entry is as large as the largest: each is judged by itself."""
    return 1 / np.where(expected == 0, 1.0, abs(expected))
