"""The audit for any function: a gradient, and second derivatives, against witnesses that derive nothing.

Nothing is known of the function but its values, so nothing is assumed. Whether it is a function at all, the same numbers at
the same place, is tried first. Which witness it takes is tried argument by argument. Whether an entry sits on a kink is seen
from its derivatives to both sides. How precise loss and gradient are is measured. And x may be special, so that places a
little off it are looked at as well.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.checks import integer, real, seconds
from ...core.describe import short
from ...core.errors import InvalidInput, InvalidType, InvalidValue
from ..answer import describe
from ..forms import Arguments
from ..mend.found import Mending
from ..process import CannotLoad, available
from ..report.gradient import GradientReport
from ..report.search import Progress, Search, limit
from .function import Function
from .mends import files_search, gradient_search
from .remote import Broken, Failed, Files, Opened, Remote, opened
from .run import Audit
from .sight import CEILING

__all__ = ["assert_gradient", "audit_files", "audit_gradient"]

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
    mend: float | None = None,
) -> GradientReport:
    """Tell whether a gradient of any function is right, by comparing it with derivatives from the loss alone.

    Parameters
    ----------
    loss : callable
        loss(x) -> one real number; loss(*x) if `x` is a list or tuple of arrays.
    gradient : callable or True
        It takes the same arguments and returns an array of the shape of `x`, or one for each argument in the form of `x`.
        True: `loss` returns (loss, gradient).
    x : array_like; or a list, tuple, named tuple or dict of them, nested or not
        The point: finite floating numbers, NumPy's, torch's or JAX's. A list of numbers is one array. Integers, texts and
        other objects among several arguments are data.
    hessian_vector : callable, optional
        hessian_vector(x, v), or hessian_vector(*x, *v): the Hessian times v, in the form of the gradient. Second derivatives
        are judged at x and at one place near x.
    hessian : callable, optional
        hessian(x): the Hessian with respect to all entries of the arguments in their order, (n, n), dense or sparse. For one
        array x its shape may be x.shape + x.shape. An array of x's shape, or (n,), is the diagonal.
    names : sequence of str, optional
        Names of the arguments.
    wrt : str, int, or a sequence of them, optional
        The arguments whose gradient is judged; the others are data. Default: all floating arrays.
    points : sequence of places, optional
        More places in the form of x, judged entry by entry as x is. Default: two places near x, on opposite sides (5 to 15
        percent away, or less if the loss is not finite there), a third if x is symmetric, of norm 1 or of sum 1, which is not,
        and one more if an entry may be zero but for rounding; judged along directions. `points=[]`: x alone.
    tolerance : float, optional
        The relative error that an entry may have, at most 1e-3. By default it follows from the precision in which loss and
        gradient compute, 1e-10 in float64 and 3e-4 in float32, and from the measured rounding.
    tangent : callable, optional
        tangent(x, v): the projection of v on the directions in which x may move, of one array x. Gradient and derivative are
        compared after it.
    symmetric : str or sequence of str
        Arguments that are symmetric matrices: compared along symmetric directions.
    entries : int
        If an argument has more entries, 64 of them are judged one by one, and all together along random directions. The same
        holds for more than 64 entries if the only witness is differences of the loss.
    timeout : float, optional
        Seconds, checked between calls. The report then contains what was found by then.
    progress : callable, optional
        progress(done, total, argument), called before each argument at each point.
    seed : int
        The seed of directions, samples and neighbours of x, at least 0.
    mend : float, optional
        Seconds that the search for a mend of a gradient that disagrees may take. Default: 5; 0 means no search. It starts
        when the report is printed or written, or `mended()` is called.

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
    entries, seed, tolerance = _settings(entries, seed, tolerance)
    if timeout is not None:
        seconds("timeout", timeout, ", or None for no limit")
    most = limit(mend)
    arguments = Arguments(x, names, wrt, loss=loss)
    function = Function(arguments, loss, gradient, timeout, hessian_vector, hessian)
    audit = Audit(function, tolerance, entries, seed, progress)
    audit.projections = _projections(arguments, tangent, symmetric)
    places = None if points is None else _points(points, names, wrt, loss, arguments)
    report = audit.whole(places)
    called = [function.name, "True" if gradient is True else function.source.partition(" of ")[0], "x", f"seed={seed}"]
    more: dict[str, Any] = {
        "hessian_vector": hessian_vector,
        "hessian": hessian,
        "names": names,
        "wrt": wrt,
        "points": points,
    }
    more |= {"tolerance": tolerance, "tangent": tangent, "symmetric": symmetric or None}
    called += [f"{name}={_named(value)}" for name, value in more.items() if value is not None]
    report.call = f"nlicl.audit_gradient({', '.join(called)})"
    return _with_search(report, most, lambda: gradient_search(audit, places, most))


def _named(value: Any) -> str:
    """A setting as it stands in a call: a text, a number or a list of them; of anything else the dots."""
    plain = isinstance(value, (str, int, float)) or (
        isinstance(value, (list, tuple)) and all(isinstance(item, (str, int)) for item in value)
    )
    return short(value) if plain else "..."


def _with_search(
    report: GradientReport, most: float, search: Callable[[], Callable[[Progress | None], Mending]]
) -> GradientReport:
    """The report with the one search for a mend of all that is wrong: one function returns it."""
    wrong = tuple(k for k, argument in enumerate(report.arguments) if argument.verdict == "disagree")
    if report.verdict == "disagree" and wrong and most:
        report.searches = [Search(wrong, search())]
    return report


def audit_files(
    files: Files,
    *,
    timeout: float,
    names: Sequence[str] | None = None,
    wrt: Sequence[str | int] | None = None,
    tolerance: float | None = None,
    entries: int = 500,
    progress: Callable[[int, int, str], None] | None = None,
    seed: int = 0,
    begun: Callable[[Function], None] = lambda function: None,
    mend: float | None = None,
) -> GradientReport:
    """The same for functions in the reader's files, which run in a process of their own; here, where there is no fork.

    Parameters
    ----------
    files : Files
    timeout : float
        Seconds; also of the files' import, and of each call.
    names, wrt, tolerance, entries, progress, seed, mend
        As in `audit_gradient`.
    begun : callable, optional
        begun(function), called when the files are loaded.

    Raises
    ------
    TypeError, ValueError
        As `audit_gradient`; a file or a name that cannot be had, functions that end the process or never end.
    """
    entries, seed, tolerance = _settings(entries, seed, tolerance)
    most = limit(mend)

    def places(points: Any, arguments: Arguments, loss: Callable[..., Any]) -> list[list[np.ndarray]]:
        return _points(points, names, wrt, loss, arguments)

    def make(late: Callable[[str], None]) -> Opened:
        return opened(files, names, wrt, None if available() else timeout, places, late)

    label = files.loss.label
    if not available():
        try:
            function, points = make(lambda text: None)
        except CannotLoad as error:
            raise InvalidValue(f"{error}.") from None
        begun(function)
        audit = Audit(function, tolerance, entries, seed, progress)
        return _with_search(audit.whole(points), most, lambda: gradient_search(audit, points, most))
    try:
        process, remote = Remote.started(files, timeout, make)
        with process:
            begun(remote)
            audit = Audit(remote, tolerance, entries, seed, progress)
            report = audit.whole(remote.points)
    except (Broken, Failed) as error:
        how = str(error) if isinstance(error, Broken) else f"raises {error.args[1]}"
        raise InvalidValue(
            f"{label}: the loss, the gradient or what they import {how}; expected functions that return."
        ) from None
    if remote.stuck and not audit.summary.started:
        raise InvalidValue(
            f"{label} does not finish within {timeout:g} s, and a call of the loss or of the gradient does not end; expected "
            "calls of fractions of a second. Is there a loop without end?"
        )
    if remote.stuck:
        report.remarks.append("a call of the loss or of the gradient did not end by then")
    if remote.own:
        report.remarks.append(
            f"loss or gradient calls nlicl's own {', '.join(dict.fromkeys(remote.own))}: that is no derivation"
        )
    return _with_search(report, most, lambda: files_search(files, audit, make, timeout, most))


def _settings(entries: int, seed: int, tolerance: float | None) -> tuple[int, int, float | None]:
    """The same, checked."""
    if tolerance is not None:
        tolerance = real("tolerance", tolerance, "greater than 0 and at most 1e-3", lambda t: 0 < t <= CEILING)
    return integer("entries", entries, 1), integer("seed", seed, 0, most=None), tolerance


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
    audit_gradient(loss, gradient, x, **settings).check()


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
        difference = arguments.differs(place)
        if difference:
            raise InvalidValue(f"points[{number}] {difference}.")
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
    if not isinstance(symmetric, (str, list, tuple, set)):
        raise InvalidType(f"symmetric is {short(symmetric)}; expected a name of an argument, or a list of names.")
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
                f"{arguments.names[k]} has {arguments.arrays[k].size} entries; expected at most {MOST_PROJECTED} where "
                "tangent= or symmetric= names it, since each has to be looked at."
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
