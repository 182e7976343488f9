"""The audit for any function: a gradient, and second derivatives, against witnesses that derive nothing.

Nothing is known of the function but its values, so nothing is assumed. Whether it is a function at all, the same numbers at the
same place, is tried first. Which witness it takes is tried argument by argument. Whether an entry sits on a kink is seen from
its derivatives to both sides. How precise loss and gradient are is measured. And x may be special, so that places a little
off it are looked at as well.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.checks import integer, real, seconds
from ..core.errors import InvalidInput, InvalidType, InvalidValue
from .answer import describe
from .arguments import Arguments
from .curvature import judge_hessian
from .decision import Evidence, decide
from .examine import CEILING, Examiner, Place, Precision, Sight
from .function import Function, OutOfTime, conduct
from .patterns import Seen, explain
from .points import neighbours, special
from .report.gradient import ArgumentReport, GradientReport, ProductReport
from .slopes import Differences, Witness, chosen
from .summary import Summary, argument_report, taylor

__all__ = ["GradientReport", "assert_gradient", "audit_gradient"]

NEIGHBOURS = 2
MOST_LOOKS = 2000  # entries looked at one by one in all; beyond, fewer of each argument
FEWEST_LOOKS = 20
MOST_PROJECTED = 5000  # entries of an argument whose gradient is compared after a projection


def audit_gradient(
    loss: Callable[..., Any],
    gradient: Callable[..., Any] | bool,
    x: Any,
    *,
    hessian_vector: Callable[..., Any] | None = None,
    hessian: Callable[..., Any] | None = None,
    names: Sequence[str] | None = None,
    wrt: str | int | Sequence[str | int] | None = None,
    points: Sequence[Any] | None = None,
    tolerance: float | None = None,
    tangent: Callable[..., Any] | None = None,
    symmetric: str | Sequence[str] = (),
    entries: int = 500,
    timeout: float | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    seed: int = 0,
) -> GradientReport:
    """Hold a gradient of any function against independent witnesses.

    Parameters
    ----------
    loss : callable
        loss(x) -> one real number; loss(*x) if `x` is a list or tuple of arrays.
    gradient : callable or True
        It takes the same arguments and returns an array of the shape of `x`, or one for each argument in the form of `x`.
        True: `loss` returns (loss, gradient).
    x : array_like; or a list, tuple, named tuple or dict of them, nested or not
        Where: finite floating numbers, NumPy's, torch's or JAX's. A list of numbers is one array. Integers, texts and other
        objects among several arguments are data.
    hessian_vector : callable, optional
        hessian_vector(x, v), or hessian_vector(*x, *v): the Hessian times v, in the form of the gradient.
    hessian : callable, optional
        hessian(x): the Hessian by all entries of the arguments in their order, (n, n), dense or sparse; of one array x also of
        shape x.shape + x.shape. An array of x's shape, or (n,), is its diagonal.
    names : sequence of str, optional
        What to call the arguments.
    wrt : str, int, or a sequence of them, optional
        The arguments to judge by; the others are data. All floating arrays if not given.
    points : sequence of places, optional
        More places in the form of x. If not given, two a little off x (10 percent; less where the loss ends before).
        `points=[]`: x alone.
    tolerance : float, optional
        Relative, of an entry, at most 1e-3. If not given, it follows from the precision in which loss and gradient compute,
        1e-10 in float64 and 3e-4 in float32, and from the rounding that is measured.
    tangent : callable, optional
        tangent(x, v): the projection of v on the directions in which x may move, of one array x. Gradient and derivative are
        compared after it.
    symmetric : str or sequence of str
        Arguments that are symmetric matrices: compared along symmetric directions.
    entries : int
        An argument with more entries is judged along directions, in which each entry counts, and 100 of its entries one by one.
    timeout : float, optional
        Seconds. The report then rests on what was found by then.
    progress : callable, optional
        progress(done, total, argument), called before each argument at each point.
    seed : int
        Of directions, samples and neighbours, at least 0.

    Returns
    -------
    GradientReport
        True in a condition if and only if its verdict is "agree". `print` it for the table.

    Raises
    ------
    TypeError, ValueError
        Arguments of a wrong form: nothing to differentiate, a gradient of another form or shape, a loss that is not one
        finite real number at x.

    Examples
    --------
    >>> import numpy as np, nlicl
    >>> x = np.array([0.3, -1.2, 2.0])
    >>> bool(nlicl.audit_gradient(lambda x: np.sum(np.sin(x) ** 2), lambda x: np.sin(2 * x), x))
    True
    """
    _check(loss, gradient, hessian_vector, hessian, tangent, progress)
    entries, seed = integer("entries", entries, 1), integer("seed", seed, 0, most=None)
    if tolerance is not None:
        tolerance = real("tolerance", tolerance, "greater than 0 and at most 1e-3", lambda t: 0 < t <= CEILING)
    if timeout is not None:
        seconds("timeout", timeout, ", or None for no limit")
    arguments = Arguments(x, names, wrt, loss=loss)
    function = Function(arguments, loss, gradient, timeout)
    audit = _Audit(function, tolerance, entries, seed, progress)
    audit.projections = _projections(arguments, tangent, symmetric)
    report = audit.run(None if points is None else _points(points, names, wrt, loss, arguments))
    if hessian_vector is not None or hessian is not None:
        report = audit.with_hessian(report, hessian_vector, hessian)
    return report


def assert_gradient(loss: Callable[..., Any], gradient: Callable[..., Any] | bool, x: Any, **settings: Any) -> None:
    """Fail a test unless `audit_gradient` says "agree".

    Parameters
    ----------
    loss, gradient, x, **settings
        As in `audit_gradient`.

    Raises
    ------
    AssertionError
        With the report as its message: the worst entry, given and expected, the witness and the diagnosis.
    TypeError, ValueError
        As `audit_gradient`.
    """
    __tracebackhide__ = True
    report = audit_gradient(loss, gradient, x, **settings)
    if not report:
        raise AssertionError(str(report))


class _Audit:
    """One audit, from x to the report."""

    def __init__(
        self,
        function: Function,
        tolerance: float | None,
        entries: int,
        seed: int,
        progress: Callable[[int, int, str], None] | None,
    ) -> None:
        self.function, self.tolerance, self.entries, self.seed = function, tolerance, entries, seed
        self.progress = progress or (lambda done, total, name: None)
        self.names = function.arguments.names
        self.rng = np.random.default_rng(seed)
        self.remarks: list[str] = []
        self.projections: dict[int, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {}

    def run(self, points: list[list[np.ndarray]] | None) -> GradientReport:
        """The report on the gradient."""
        with np.errstate(all="ignore"):  # what overflows becomes NaN, and is told
            return self.judged(points)

    def judged(self, points: list[list[np.ndarray]] | None) -> GradientReport:
        x = self.function.arguments.arrays
        self.summary = Summary(self.names)
        try:
            value, given = self.function.at(x)
            behaviour = conduct(self.function, x, float(value), given)
            self.remarks += behaviour.remarks
            if behaviour.objection:
                return self.without_verdict(behaviour.objection + ".")
            if any(np.asarray(array).dtype == np.float16 for array in (value, *given)):
                return self.without_verdict(
                    "loss or gradient computes in float16, which has 3 digits: nothing can be told. Audit in float64."
                )
            self.precision = Precision.of(_eps(value, x, given), self.tolerance)
            self.own_places(x, given, points)
            self.see(behaviour.noise)
        except OutOfTime:
            if not self.summary.started:
                return self.without_verdict(
                    "the time limit was over before anything was judged; give a longer timeout."
                )
            self.remarks.append("the time limit was over: the report rests on what was found before")
            self.summary.unfinished = True
        return self.report()

    def own_places(self, x: list[np.ndarray], given: list[np.ndarray], points: list[list[np.ndarray]] | None) -> None:
        """x and the places beside it, with the gradients there."""
        wide = [array.astype(np.float64) for array in x]
        near = abs(self.function.real(wide) - self.function.real(x)) <= 1e-3 * (1 + abs(self.function.real(x)))
        self.widen = near and any(array.dtype != np.float64 for array in x)
        self.labels = ["x"]
        self.places = [(x, given)]
        chosen_by_user = points is not None
        beside = points if points is not None else neighbours(x, self.defined, NEIGHBOURS, self.rng)
        for number, place in enumerate(beside):
            there = self.function.at(place)[1] if chosen_by_user else self.function.gradient_or_none(place)
            if there is not None:
                self.places.append((place, there))
                self.labels.append(f"points[{number}]" if chosen_by_user else f"near x ({number + 1})")
        fixed = all(
            np.array_equal(one, other, equal_nan=True)
            for _, there in self.places[1:]
            for one, other in zip(given, there, strict=True)
        )
        self.constant = not chosen_by_user and len(self.places) > 1 and fixed
        if self.constant:  # right for a linear loss; or an array that was computed before, for this x alone
            del self.places[1:], self.labels[1:]
            self.remarks.append("the gradient is the same array at every point: judged at x alone")

    def defined(self, place: list[np.ndarray]) -> bool:
        """Whether loss and gradient have finite values there."""
        if not np.isfinite(self.function.real(place)):
            return False
        there = self.function.gradient_or_none(place)
        return there is not None and all(np.isfinite(array).all() for array in there)

    def witnessed(self, x: list[np.ndarray]) -> list[np.ndarray]:
        return [array.astype(np.float64) for array in x] if self.widen else x

    def see(self, repeated: float) -> None:
        """Every argument at every place."""
        witnessed = [self.witnessed(x) for x, _ in self.places]
        differences = Differences(self.function, "", repeated, self.precision.eps)
        witnesses = chosen(self.function, witnessed, differences, self.rng)
        self.examiner = Examiner(self.function, witnesses, differences, self.precision, self.rng)
        self.examiner.projections = self.projections
        self.summary.witnesses = witnesses
        sizes = [array.size for array in self.places[0][0]]
        planned = sum(min(size, self.entries) if size <= self.entries else 100 for size in sizes)
        most = self.entries if planned <= MOST_LOOKS else max(FEWEST_LOOKS, MOST_LOOKS // len(sizes))
        total = len(sizes) * len(self.places)
        for number, (label, (own, given), x) in enumerate(zip(self.labels, self.places, witnessed, strict=True)):
            place = self.examiner.place(label, own, x, given)
            for k, name in enumerate(self.names):
                self.progress(number * len(sizes) + k, total, f"{name} at {label}")
                self.summary.add(k, place, self.look(place, k, number, most))
        self.most = most
        self.summary.slope, self.summary.taylor_taken, self.summary.linear = taylor(
            self.examiner, self.summary.places[0], self.summary.any_kink
        )
        self.explain()

    def look(self, place: Place, k: int, number: int, most: int) -> Sight:
        """One argument at one place."""
        if number and self.summary.sights[k][0].wrong.any():
            wrong = np.argwhere(self.summary.sights[k][0].wrong)[:20]
            return self.examiner.entries(place, k, most, [tuple(int(i) for i in index) for index in wrong])
        if number == 0 or self.labels[number].startswith("points"):
            return self.examiner.entries(place, k, most)
        return self.examiner.directions_only(place, k, most, list(self.summary.sights[k][0].kinks))

    def explain(self) -> None:
        """What is wrong, from the numbers at all places."""
        wrong = [k for k in range(len(self.names)) if self.summary.is_wrong(k)]
        shapes = {self.places[0][0][k].shape for k in wrong}
        alike = [k for k, array in enumerate(self.places[0][0]) if array.shape in shapes]  # one may be another's
        for k in alike:
            for number, place in enumerate(self.summary.places):  # entry by entry now, to tell what is wrong
                if not self.summary.sights[k][number].looked:
                    fresh = self.examiner.entries(place, k, self.most)
                    self.summary.sights[k][number] = _merged(self.summary.sights[k][number], fresh)
        for k in wrong:
            seen = [self.seen(k, number) for number in range(len(self.summary.places))]
            self.summary.diagnoses[k] = explain(self.names[k], seen, self.sizes())

    def seen(self, k: int, number: int) -> Seen:
        """One argument at one place, with the gradients by the others."""
        sight = self.summary.sights[k][number]
        others = {
            name: (self.summary.sights[j][number].expected, self.summary.sights[j][number].x)
            for j, name in enumerate(self.names)
            if j != k
        }
        return Seen(sight.x, sight.given, sight.expected, sight.allowed, others)

    def sizes(self) -> dict[str, int]:
        """Sizes by which a gradient may be off."""
        shapes = [(name, array.shape) for name, array in zip(self.names, self.places[0][0], strict=True)]
        found = {f"{name}.shape[{axis}]": size for name, shape in shapes for axis, size in enumerate(shape)}
        return {**found, **_closure_sizes(self.function)}

    def without_verdict(self, reason: str) -> GradientReport:
        arguments = [
            argument_report(name, self.function, array.shape)
            for name, array in zip(self.names, self.function.arguments.arrays, strict=True)
        ]
        for argument in arguments:
            argument.verdict = "undetermined"
        return GradientReport(
            self.function.name, self.seed, ["x"], arguments, "undetermined", reason, self.all_remarks(), calls=self.function.calls
        )  # fmt: skip

    def all_remarks(self) -> list[str]:
        projected = [f"{self.names[k]} is compared along the directions in which it may move" for k in self.projections]
        return [*self.remarks, *projected, *sorted(self.function.altered)]

    def report(self) -> GradientReport:
        """Verdict and reason from all that was seen."""
        x = self.places[0][0]
        arguments = self.summary.reports(self.function, self.precision, x)
        verdict, reason = decide(self.summary.evidence(self.precision), self.summary.exact_name)
        if verdict == "disagree":
            reason = self.summary.wrong_reason(special(self.names, x))
        elif verdict == "agree":
            reason = self.summary.right_reason()
        return GradientReport(
            self.function.name,
            self.seed,
            self.labels,
            arguments,
            verdict,
            _sentence(reason),
            self.all_remarks() + self.summary.remarks(special(self.names, x)),
            taylor_slope=self.summary.slope,
            taylor_taken=self.summary.taylor_taken,
            calls=self.function.calls,
        )

    def with_hessian(
        self, report: GradientReport, product: Callable[..., Any] | None, matrix: Callable[..., Any] | None
    ) -> GradientReport:
        """The same report with the verdict on second derivatives."""
        try:
            if not self.summary.started:
                raise OutOfTime
            witnesses, eps = self.summary.witnesses, self.precision.eps
            found = judge_hessian(self.function, self.places[0][0], product, matrix, report, witnesses, self.rng, eps)
        except OutOfTime:
            found = ProductReport("undetermined", "nothing could be said of the gradient, or the time limit was over")
        return report.with_product(found)


def _check(loss: Any, gradient: Any, hessian_vector: Any, hessian: Any, tangent: Any, progress: Any) -> None:
    for name, function in (("loss", loss), ("gradient", gradient)):
        if not callable(function) and not (name == "gradient" and function is True):
            also = ", or True if loss returns (loss, gradient)" if name == "gradient" else ""
            raise InvalidType(f"{name} is a {type(function).__name__}; expected a function of x{also}.")
    for name, function in (
        ("hessian_vector", hessian_vector),
        ("hessian", hessian),
        ("tangent", tangent),
        ("progress", progress),
    ):
        if function is not None and not callable(function):
            raise InvalidType(f"{name} is a {type(function).__name__}; expected a function, or None.")


def _points(points: Any, names: Any, wrt: Any, loss: Any, arguments: Arguments) -> list[list[np.ndarray]]:
    """The user's own places, checked: each in the form of x."""
    if isinstance(points, (str, bytes, dict)) or not hasattr(points, "__iter__"):
        raise InvalidType(f"points is a {type(points).__name__}; expected a list of places, each in the form of x.")
    found = []
    for number, point in enumerate(points):
        try:
            place = Arguments(point, names, wrt, loss=loss)
        except InvalidInput as error:
            raise InvalidValue(f"points[{number}]: {error}") from None
        shapes = [array.shape for array in arguments.arrays]
        if [array.shape for array in place.arrays] != shapes:
            raise InvalidValue(
                f"points[{number}] has arrays of shapes {[a.shape for a in place.arrays]}; expected {shapes}."
            )
        found.append([new.astype(old.dtype) for new, old in zip(place.arrays, arguments.arrays, strict=True)])
    return found


def _projections(
    arguments: Arguments, tangent: Callable[..., Any] | None, symmetric: str | Sequence[str]
) -> dict[int, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """By number of argument, what gradient and derivative are projected by before they are compared."""
    wanted = [symmetric] if isinstance(symmetric, str) else list(symmetric)
    found: dict[int, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {}
    for name in wanted:
        if name not in arguments.names:
            raise InvalidValue(f"symmetric names {name!r}; expected some of {', '.join(arguments.names)}.")
        k = arguments.names.index(name)
        array = arguments.arrays[k]
        if array.ndim != 2 or array.shape[0] != array.shape[1] or not np.array_equal(array, array.T):
            raise InvalidValue(f"{name} is no symmetric matrix; expected one, since symmetric= names it.")
        found[k] = lambda x, v: (v + v.T) / 2
    if tangent is not None:
        if len(arguments.names) > 1:
            raise InvalidValue(
                f"tangent is given for {len(arguments.names)} arguments; expected one argument. Name it by wrt=."
            )
        found[0] = _projection(tangent, arguments.arrays[0].astype(float))
    for k in found:
        if arguments.arrays[k].size > MOST_PROJECTED:
            raise InvalidValue(
                f"{arguments.names[k]} has {arguments.arrays[k].size} entries; expected at most {MOST_PROJECTED} where tangent= or "
                "symmetric= names it, since each has to be looked at."
            )
    return found


def _projection(tangent: Callable[..., Any], x: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The user's projection, checked: linear algebra asks that it changes nothing when it is applied again."""

    def project(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        try:
            found = np.asarray(tangent(x.copy(), v.copy()))
        except Exception as error:
            raise InvalidValue(
                f"tangent raises {describe(error)}; expected tangent(x, v) to return a projection of v."
            ) from error
        if found.shape != v.shape or found.dtype.kind not in "fiu" or not np.isfinite(found).all():
            raise InvalidValue(
                f"tangent returns {found.dtype} of shape {found.shape}; expected finite real numbers of shape {v.shape}."
            )
        return found.astype(float)

    v = np.random.default_rng(0).standard_normal(x.shape)
    once = project(x, v)
    if not np.allclose(project(x, once), once, rtol=1e-8, atol=1e-8):
        raise InvalidValue(
            "tangent(x, tangent(x, v)) differs from tangent(x, v); expected a projection, such as v - (x @ v) * x."
        )
    return project


def _eps(value: Any, x: list[np.ndarray], given: list[np.ndarray]) -> float:
    """The precision in which loss and gradient compute: float32's if either shows signs of it."""
    single = np.asarray(value).dtype == np.float32 or any(array.dtype == np.float32 for array in given)
    single = single or _looks_single(np.asarray(value, float).ravel(), 1) or _looks_single(_joined(given), 4)
    return float(np.finfo(np.float32 if single else np.float64).eps)


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel().astype(float) for array in arrays])


def _looks_single(numbers: np.ndarray, least: int) -> bool:
    """Whether all numbers are float32 numbers, and some, at least so many, use its last bits: by chance they do not."""
    numbers = numbers[np.isfinite(numbers) & (numbers != 0)]
    mantissas = np.frexp(numbers)[0]
    return bool((mantissas * 2.0**24 % 1 == 0).all() and (mantissas * 2.0**16 % 1 != 0).sum() >= least)


def _closure_sizes(function: Function) -> dict[str, int]:
    """Lengths of arrays that loss and gradient know from around them: the number of samples, say."""
    found: dict[str, int] = {}
    for one in function.functions:
        inner = inspect.unwrap(one) if callable(one) else one
        try:
            around = inspect.getclosurevars(inner)
        except (TypeError, ValueError):
            continue
        for name, value in {**around.nonlocals, **around.globals}.items():
            if isinstance(value, np.ndarray):
                found.update({f"{name}.shape[{axis}]": size for axis, size in enumerate(value.shape) if size > 1})
    return found


def _merged(sight: Sight, fresh: Sight) -> Sight:
    """A sight entry by entry, with what was found along directions before."""
    fresh.spread = fresh.spread if fresh.spread is not None or fresh.wrong.any() else sight.spread
    found = sight.wrong & ~np.isnan(sight.expected)
    fresh.expected[found], fresh.allowed[found] = sight.expected[found], sight.allowed[found]
    fresh.wrong |= sight.wrong
    return fresh


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) or not text else text + "."
