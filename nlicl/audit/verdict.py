"""From a formula and its cases to a verdict."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..core.errors import InvalidValue
from . import kinks
from .answer import Answer
from .decision import Evidence, decide
from .diagnose import diagnose
from .facts import Judged, plain_facts
from .hand import DrawsInHand
from .report import FormulaReport
from .subject import Formula, Subject
from .witnesses import EPS, Case, taylor_slope

__all__ = ["ROUNDING", "reach"]

# Tolerances on |given - expected|, entry by entry, relative to the larger of |expected| and a thousandth of the largest
# entry: rounding in a right formula reaches 1e-13 of the largest entry; a relative error of 1e-9 must be caught.
TOLERANCE = {np.dtype(np.float64): 1e-10, np.dtype(np.longdouble): 1e-10, np.dtype(np.float32): 3e-4}
LEAST = 1e-3  # of the largest entry: a smaller one is judged as if it were so large
# What a right formula may lose by rounding, in units of the error that is measured on its draw: see Case.precise. On 500
# draws that were saturated on purpose, three right formulas lost up to 10. It counts where an entry is off by more than its
# tolerance, and such a draw is no evidence for the formula.
ROUNDING = 64
# An error of more than this, relative to a typical gradient, is not rounding; in units in the last place.
GROSS = 2.0**26
WITNESSES_AGREE = 1e-11  # between the two complex steps, relative to the largest entry
CERTAIN = 1e-12  # rounding, relative to the largest entry, of a draw that is held against differences: in them it grows by 1/h
DIFFERENCES_AGREE = 1e-5  # of central differences, likewise
EXTENDED_AGREE = 1e-9  # of longdouble differences along a direction, likewise
SLOPE_AT_LEAST = 1.9  # 2 is a right gradient, 1 a wrong one
# Relative error of the negative control, in one entry. Not derived from the tolerances: it is there to notice a wide one.
CONTROL = {np.dtype(np.float64): 1e-6, np.dtype(np.longdouble): 1e-6, np.dtype(np.float32): 3e-3}
_FLOAT64 = np.dtype(np.float64)
_STEPS = 2.0 ** -np.arange(6).astype(np.longdouble)


@np.errstate(all="ignore")  # a formula may return infinities; they are reported, not warned about
def reach(
    formula: Formula,
    cases: list[Case],
    call: Callable[[Case], Any],
    subject: Subject,
    domain_note: str = "",
    timeout: float | None = None,
    elsewhere: Callable[[str, str], Iterable[str]] | None = None,
) -> FormulaReport:
    """The verdict on one formula: hold it against the witnesses on all cases, and say what is wrong.

    Parameters
    ----------
    formula : Formula
    cases : list of Case
    call : callable
        call(case) -> what the formula returns there.
    subject : Subject
    domain_note : str
        What to say of draws that were left out.
    timeout : float, optional
        Seconds for all calls together, in a child process; no limit and no child if not given.
    elsewhere : callable, optional
        elsewhere("params" or "prompt", name) -> the parameters whose formulas are given one with an attribute `name`.

    Returns
    -------
    FormulaReport
    """
    answer = Answer(formula, cases, call, timeout, elsewhere)
    note = "; ".join(filter(None, (domain_note, answer.remark)))
    report = FormulaReport.of(formula, draws=len(cases), note=note)
    report.activity = _activity(cases, subject)
    report.error, report.failed = answer.error(formula.name, cases), sorted(answer.problems)
    hand = DrawsInHand(formula.wrt, answer.arrays, {}, (), dict(answer.problems))
    report.hand = hand
    if not answer.arrays:
        report.verdict = "disagree" if answer.shapes else "undetermined"
        report.diagnosis, report.mistakes = diagnose(formula, cases, answer, subject, ())
        return report

    measured = _Measured(formula.wrt, cases, answer)
    report.witnesses = measured.witnesses()
    if not measured.wrong_draws and _late(report.witnesses, measured.tolerance):
        measured.look_closer()
        report.witnesses = measured.witnesses()
    report.max_relative_error = measured.norm_error
    report.digits = round(float(np.clip(-np.log10(max(measured.norm_error, 1e-300)), 0.0, 17.0)), 1) + 0.0
    report.cosine = measured.cosine
    report.worst = measured.worst | _place(cases[measured.worst["draw"]])
    report.wrong_draws, report.left_out = measured.wrong_draws, measured.lost
    report.wrong_entries = measured.wrong_entries()
    report.taylor, report.heat_map = measured.taylor, measured.heat_map()
    report.control_caught = measured.control_caught()
    hand.expected, hand.wrong = measured.expected, measured.wrong_draws
    hand.remarks |= dict.fromkeys(measured.lost, "left out as evidence, since rounding may explain what is off")
    report.verdict, report.reason = _verdict(measured, answer, report)
    if measured.lost and report.verdict == "agree":
        report.reason = measured.loss
    elif measured.lost and not report.reason:
        report.note = "; ".join(text for text in (domain_note, measured.loss) if text)
    if report.verdict == "disagree":
        telling = {n: array for n, array in answer.arrays.items() if n not in measured.lost}
        judged = Judged(formula.wrt, cases, telling, measured.wrong_draws, subject) if telling else None
        certain = measured.certain
        report.diagnosis, report.mistakes = diagnose(formula, cases, answer, subject, certain, judged)
        report.facts = plain_facts(judged, report.diagnosis) if judged else []
    return report


def _verdict(measured: "_Measured", answer: Answer, report: FormulaReport) -> tuple[str, str]:
    conflict = f"the witnesses disagree among themselves by {measured.conflict:.1e}"
    idle = "the gradient is zero on every draw: nothing was active, so nothing was tested"
    return decide(
        Evidence(
            failed=bool(answer.problems),
            conflict=conflict if measured.conflict > WITNESSES_AGREE else "",
            wrong=bool(measured.wrong_draws),
            idle="" if measured.active else idle,
            doubt="" if measured.told else f"too few draws tell: {measured.loss}",
            late=_late(report.witnesses, measured.tolerance),
            control_caught=report.control_caught,
        )
    )


def _late(witnesses: dict[str, float | None], tolerance: float) -> list[str]:
    """The witnesses that object although every entry agrees."""
    late = [
        name
        for name, value, bound in (
            ("central differences", witnesses["finite_difference"], max(DIFFERENCES_AGREE, tolerance)),
            ("longdouble differences", witnesses["extended"], max(EXTENDED_AGREE, tolerance)),
        )
        if value is not None and not value <= bound
    ]
    slope = witnesses["taylor_slope"]
    if slope is not None and slope < SLOPE_AT_LEAST and tolerance < 1e-8:
        late.append("the Taylor slope")
    return late


def _place(case: Case) -> dict[str, Any]:
    """A draw's label, and the sizes there that are numbers of something."""
    found = case.subject.sizes(case.params, case.each[0])
    sizes = {name: int(size) for name, size in found.items() if name.isidentifier() and int(size) == size}
    return {"label": case.label, "sizes": sizes}


def _activity(cases: list[Case], subject: Subject) -> dict[str, float]:
    shares = [subject.activity(case.params, prompt) for case in cases for prompt in case.each]
    mean = {name: round(float(np.mean([share[name] for share in shares])), 3) for name in sorted(shares[0])}
    margins = np.concatenate([case.margins for case in cases])
    return mean | ({"kink_margin": float(abs(margins[margins != 0]).min())} if margins.any() else {})


class _Measured:
    """Errors of the given arrays against the witnesses.

    Attributes
    ----------
    expected : dict of int to ndarray
        By number of draw, from the complex step; in longdouble where float64 may not be enough.
    rounding : dict of int to float
        What a right formula may be off by, where that was looked at.
    wrong_draws : list of int
        Draws on which some entry is off by more than its tolerance, and by more than rounding explains.
    lost : list of int
        Draws on which some entry is off by more than its tolerance, and rounding explains it: they tell nothing.
    told : bool
        Whether more draws with a gradient tell something than do not.
    """

    def __init__(self, wrt: str, cases: list[Case], answer: Answer) -> None:
        self.wrt, self.cases, self.given = wrt, cases, answer.arrays
        dtype = np.result_type(*{array.dtype for array in self.given.values()})
        self.tolerance, self.control = TOLERANCE.get(dtype, 3e-2), CONTROL.get(dtype, 0.3)
        self.eps = max(float(np.finfo(dtype).eps), EPS)
        self.expected = {n: cases[n].complex_step(wrt)[0] for n in self.given}
        self.rounding: dict[int, float] = {}
        for n, array in self.expected.items():
            if not np.isfinite(array).all():
                raise InvalidValue(
                    f"the loss of {cases[n].subject.name} has no finite gradient by {wrt} on draw {n} ({cases[n].label}); "
                    f"expected one on every draw. Leave such places out of its points."
                )
        self._measure()
        self._look_at([n for n in self.given if self._doubtful(n)])

    def look_closer(self) -> None:
        """What rounding may do, on all draws: a guard objects, and it may be at fault itself."""
        self._look_at([n for n in self.given if n not in self.rounding])

    def _look_at(self, draws: list[int]) -> None:
        for n in draws:
            self.expected[n], error = self.cases[n].precise(self.wrt)
            self.rounding[n] = ROUNDING * max(error, EPS * self.typical)
        self._measure()

    def _doubtful(self, n: int) -> bool:
        """Whether the witnesses differ by as much as tells an entry wrong, or an entry is wrong by what may be rounding."""
        case = self.cases[n]
        if abs(case.kernel_step(self.wrt) - self.expected[n]).max() > TOLERANCE[_FLOAT64] * LEAST * self.scale[n]:
            return True
        large = max(self.typical, self.scale[n], abs(case.loss) / case.size(self.wrt))
        return n in self.wrong_draws and self.errors(n, self.given[n]).max() <= GROSS * self.eps * large

    def _measure(self) -> None:
        sizes = {n: abs(e).max() for n, e in self.expected.items()}
        self.active = any(size > 0 for size in sizes.values())
        self.typical = float(np.median([size for size in sizes.values() if size > 0])) if self.active else 1.0
        self.scale = {n: float(size) if size > 0 else self.typical for n, size in sizes.items()}
        self._compare()
        self.told = sum(size > 0 for n, size in sizes.items() if n not in self.lost) > len(self.lost)

    @property
    def certain(self) -> list[int]:
        """The draws that are held against differences and explained: rounding is small on them."""
        return [n for n in self.shown if self.rounding.get(n, 0.0) <= CERTAIN * self.scale[n]]

    @property
    def shown(self) -> list[int]:
        """The draws that the report's numbers are from: all that tell something."""
        return [n for n in self.given if n not in self.lost] or list(self.given)

    @property
    def loss(self) -> str:
        """What is to be said of the draws that tell nothing."""
        numbers = ", ".join(map(str, self.lost[:6])) + (", ..." if len(self.lost) > 6 else "")
        most = max((self._allowed(n) / self.scale[n] for n in self.lost), default=0.0)
        share = f"{most:.1e} of the largest entry" if most < 1 else "the gradient itself"
        return (
            f"left out as evidence: {len(self.lost)} of {len(self.cases)} draws, {numbers}, where terms of the gradient "
            f"cancel, as behind a saturated softmax: rounding there may reach {share}"
        )

    def errors(self, n: int, given: np.ndarray) -> np.ndarray:
        """|given - expected| of every entry, one-sided on kinks; NaN counts as infinite."""
        case, expected = self.cases[n], self.expected[n]
        with np.errstate(all="ignore"):
            error = abs(given.astype(float) - expected)
        for index in np.argwhere(self.on_kink(n)):
            low, high = case.sides(self.wrt, tuple(index))
            slack = 1e-5 * self.scale[n]  # the sides are taken a little away from the kink
            value = float(given[tuple(index)])
            error[tuple(index)] = max(low - slack - value, value - high - slack, 0.0)
        return np.where(np.isnan(error), np.inf, error)

    def on_kink(self, n: int) -> np.ndarray:
        """Which entries of draw n sit on a kink."""
        return kinks.on_kink(self.cases[n].margins, self.cases[n].complex_step(self.wrt)[1])

    def entry_errors(self, n: int, given: np.ndarray) -> np.ndarray:
        """Errors relative to the entry, or to LEAST of the largest."""
        return self.errors(n, given) / np.maximum(abs(self.expected[n]), LEAST * self.scale[n])

    def wrong(self, n: int, given: np.ndarray) -> np.ndarray:
        """Which entries are off by more than their tolerance, and by more than rounding explains."""
        return (self.entry_errors(n, given) > self.tolerance) & (self.errors(n, given) > self._allowed(n))

    def _allowed(self, n: int) -> float:
        """What a right formula in the given dtype may be off by on draw n; 0 where it was not looked at."""
        return self.rounding.get(n, 0.0) * self.eps / EPS

    def _compare(self) -> None:
        entry_errors = {n: self.entry_errors(n, given) for n, given in self.given.items()}
        off = [n for n, entry in entry_errors.items() if entry.max() > self.tolerance]
        self.wrong_draws = [n for n in off if self.wrong(n, self.given[n]).any()]
        self.lost = [n for n in off if n not in self.wrong_draws]
        self.norm_error, entry_error = 0.0, -1.0
        self.worst: dict[str, Any] = {}
        dot = given_2 = expected_2 = 0.0
        for n in self.shown:
            given, entry = self.given[n], entry_errors[n]
            self.norm_error = max(self.norm_error, float(self.errors(n, given).max() / self.scale[n]))
            index = tuple(int(i) for i in np.unravel_index(np.argmax(entry), entry.shape))
            if entry[index] > entry_error:
                entry_error = float(entry[index])
                self.worst = {"index": list(index), "given": float(given[index]),
                              "expected": float(self.expected[n][index]), "draw": n}  # fmt: skip
            g, e = given.astype(float) / self.scale[n], self.expected[n] / self.scale[n]
            dot, given_2, expected_2 = dot + (g * e).sum(), given_2 + (g * g).sum(), expected_2 + (e * e).sum()
        norm = np.sqrt(given_2 * expected_2)
        self.cosine = float(dot / norm) if norm > 0 and np.isfinite(norm) else None

    @property
    def conflict(self) -> float:
        """Largest difference between the complex step through the definition and through the kernel that is no rounding."""
        apart = {n: float(abs(self.cases[n].kernel_step(self.wrt) - self.expected[n]).max()) for n in self.given}
        return max([d / self.scale[n] for n, d in apart.items() if d > self.rounding.get(n, 0.0)], default=0.0)

    def witnesses(self) -> dict[str, float | None]:
        return {
            "complex_step": self._largest(self._from_kernel, self.shown),
            "complex_step_reference": self._largest(lambda n: self.errors(n, self.given[n]).max(), self.shown),
            "finite_difference": self._largest(self._from_differences, self.certain),
            "extended": self._largest(self._from_extended, self.certain),
            "taylor_slope": self._slope(),
        }

    def _largest(self, error: Callable[[int], float], draws: list[int]) -> float | None:
        values = [error(n) / self.scale[n] for n in draws]
        values = [float(value) for value in values if not np.isnan(value)]
        return max(values) if values else None

    def _from_kernel(self, n: int) -> float:
        """Against the complex step through the kernel, where the entry is not on a kink."""
        case = self.cases[n]
        smooth = ~kinks.on_kink(case.margins, case.complex_step(self.wrt)[1])
        return _largest_finite(abs(self.given[n] - case.kernel_step(self.wrt))[smooth], np.inf)

    def _from_differences(self, n: int) -> float:
        differences = self.cases[n].differences(self.wrt)
        return _largest_finite(abs(self.given[n] - differences)[~np.isnan(differences)], np.inf)

    def _from_extended(self, n: int) -> float:
        v, reach, extended = self.cases[n].direction(self.wrt)
        return abs((self.given[n].astype(float) * v).sum() - extended) / np.linalg.norm(v) if reach > 0 else np.nan

    def _slope(self) -> float | None:
        """One slope from the remainders of all cases, each relative to its case's scale."""
        self.taylor = None
        reaches = [(n, *self.cases[n].direction(self.wrt)[:2]) for n in self.certain]
        # Cases near a kink allow small steps only: leave out the nearest tenth rather than shorten all the others.
        reach = np.quantile([r for _, _, r in reaches if r > 0] or [0.0], 0.1)
        if reach == 0:
            return None
        steps, total, noise = reach * _STEPS, np.zeros(len(_STEPS)), np.zeros(len(_STEPS))
        for n, v, r in reaches:
            if r >= reach and np.isfinite(self.given[n]).all():
                remainder, floor = self.cases[n].remainders(self.wrt, self.given[n], v, steps)
                unit = self.scale[n] * np.linalg.norm(v)
                total, noise = total + remainder / unit, noise + floor / unit
        if not total.any():  # no draw could be used
            return None
        self.taylor = {"steps": steps.astype(float).tolist(), "remainders": total.astype(float).tolist()}
        slope = taylor_slope(total, noise, steps)
        return None if slope is None else round(slope, 3)

    def wrong_entries(self, most: int = 20) -> list[dict[str, Any]]:
        """The worst of the wrong entries."""
        found = []
        for n in self.wrong_draws:
            errors = self.entry_errors(n, self.given[n])
            for index in map(tuple, np.argwhere(self.wrong(n, self.given[n]))):
                place = {"draw": n, "index": [int(i) for i in index]}
                values = {"given": float(self.given[n][index]), "expected": float(self.expected[n][index])}
                found.append((float(errors[index]), place | values))
        return [entry for _, entry in sorted(found, key=lambda pair: -pair[0])[:most]]

    def heat_map(self) -> dict[str, Any]:
        """Errors of every entry on the worst draw, relative to its largest expected entry."""
        n = self.worst["draw"]
        return {"draw": n, "errors": (self.errors(n, self.given[n]) / self.scale[n]).tolist()}

    def control_caught(self) -> bool:
        """Whether the same comparison catches a copy of the formula with its largest entry a little off."""
        telling = self.certain or list(self.given)
        smooth = {n: abs(self.expected[n]) * ~self.on_kink(n) for n in telling}  # on a kink it might pass
        n = max(smooth, key=lambda n: smooth[n].max())
        if not np.isfinite(self.given[n]).all():
            return True
        broken = np.array(self.given[n], float)
        index = np.unravel_index(np.argmax(smooth[n]), broken.shape)
        broken[index] = self.expected[n][index] * (1 + self.control)
        return self.active and bool(self.wrong(n, broken)[index])


def _largest_finite(values: np.ndarray, instead: float) -> float:
    if not len(values):
        return np.nan
    return instead if np.isnan(values).any() else values.max()
