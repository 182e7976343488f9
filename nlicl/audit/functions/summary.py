"""What was seen of all arguments at all places, as evidence for a verdict, as sentences, and as reports."""

from collections.abc import Sequence

import numpy as np

from ..decision import Evidence, decide
from ..report.gradient import ArgumentReport
from ..witnesses import taylor_slope
from .examine import Examiner
from .function import Function
from .points import by_chance, unit
from .sight import CEILING, Place, Precision, Sight, norm
from .slopes import Witness, along

__all__ = ["CONSTANT", "Summary", "argument_report", "taylor"]

SLOPE_AT_LEAST = 1.9  # 2 is a right gradient, 1 a wrong one
LINEAR = 1e-5  # a linear part of the Taylor remainder, relative to the gradient, that is seen
CONTROL = 3e-3  # of the negative control: its largest entry is off by so much. It notices a tolerance that has become too wide
CONSTANT = "the only one"  # what a place lacks of x if the gradient is the same array everywhere
DRAWN = 2500  # entries of an array whose errors are drawn


class Summary:
    """Everything that was seen.

    Parameters
    ----------
    names : list of str
        Of the arguments.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.places: list[Place] = []
        self.sights: list[list[Sight]] = [[] for _ in names]
        self.witnesses: Sequence[Witness] = ()
        self.diagnoses: list[list[dict[str, str]]] = [[] for _ in names]
        self.slope: float | None = None
        self.taylor_taken = False
        self.linear = 0.0
        self.raises = False  # the gradient, a little off x where the loss has a value

    def add(self, k: int, place: Place, sight: Sight) -> None:
        if not self.places or self.places[-1] is not place:
            self.places.append(place)
        self.sights[k].append(sight)

    @property
    def started(self) -> bool:
        return bool(self.sights[0])

    @property
    def any_kink(self) -> bool:
        return any(sights[0].kinks for sights in self.sights if sights)

    def is_wrong(self, k: int) -> bool:
        return any(sight.is_wrong for sight in self.sights[k] if not sight.lacks)

    @property
    def exact_name(self) -> str:
        return " and ".join(dict.fromkeys(witness.name for witness in self.witnesses))

    def resting(self, k: int) -> str:
        """What x is, in words, where the gradient by argument k is right only there; empty if it does not rest on it."""
        return next((sight.lacks for sight in self.sights[k] if sight.lacks and sight.is_wrong), "")

    # -- evidence

    def of_argument(self, k: int, precision: Precision) -> Evidence:
        """The evidence on one argument."""
        name, sights = self.names[k], self.sights[k]
        if not sights:
            return Evidence(doubt=f"the time limit was over before {name} was judged")
        conflicts = [sight.conflict for sight in sights if sight.conflict is not None]
        text = f"the witnesses disagree among themselves by {max(conflicts, default=0):.0e}, by {name}: is the loss smooth?"
        doubts = [text for sight in sights for text in _doubts(name, sight, precision)]
        lacking = self.resting(k)
        if (lacking == CONSTANT and not sights[0].kinks) or (lacking and by_chance(sights[0].x)):
            doubts.append(_resting(name, lacking))
        if any(sight.only_at_x and sight.general and not sight.lacks for sight in sights):
            doubts.append(
                f"{name} has entries on a kink at x, and a little off the kink the gradient is wrong there: is it right at x "
                "by chance?"
            )
        return Evidence(
            conflict=text if conflicts else "",
            wrong=self.is_wrong(k),
            doubt=next(iter(doubts), ""),
            idle=f"the gradient by {name} is zero" if all(sight.is_zero for sight in sights) else "",
            control_caught=_control(sights[0], precision),
        )

    def evidence(self, precision: Precision) -> Evidence:
        """The evidence on the gradient as a whole."""
        each = [self.of_argument(k, precision) for k in range(len(self.names))]
        judged = [k for k in range(len(each)) if self.sights[k]]
        doubt = next((one.doubt for one in each if one.doubt), "")
        if self.raises and not doubt:
            doubt = "a little off x, where the loss has a value, the gradient raises: it was judged at x alone. points=[] asks for that"
        late = (
            ["the Taylor slope"]
            if self.slope is not None and self.slope < SLOPE_AT_LEAST and self.linear > LINEAR
            else []
        )
        return Evidence(
            conflict=next((one.conflict for one in each if one.conflict), ""),
            wrong=any(one.wrong for one in each),
            doubt=doubt or self.all_on_kinks(judged),
            idle=self.idle(judged),
            late=late,
            control_caught=all(one.control_caught is not False for one in each if not one.idle),
        )

    def all_on_kinks(self, judged: list[int]) -> str:
        """What to say if no entry was tested off a kink, and the middle was not given at each."""
        first = [self.sights[k][0] for k in judged]
        kinks = [(sight, index) for sight in first for index in sight.kinks]
        if not kinks or any(sight.smooth > 0 for sight in first) or all(sight.on_middle for sight in first):
            return ""
        sight, index = kinks[0]
        middle = sight.kinks[index].middle
        return (
            f"every entry of x is on a kink ({len(kinks)} of {len(kinks)}), where conventions differ; your choice is "
            f"{sight.given[index]:g} at {sight.name}{list(index)}, the middle, as sign(0) = 0 has it, is {middle:g}. Move x, "
            "by 1e-3 say"
        )

    def idle(self, judged: list[int]) -> str:
        first = [self.sights[k][0] for k in judged]
        if not first or not all(sight.is_zero for sight in first):
            return ""
        if not any(np.any(sight.given) for sight in first) and not any(sight.scale for sight in first):
            return "the gradient is zero everywhere: nothing was active, so nothing was tested"
        largest = max(max(float(np.max(abs(sight.given))), sight.scale) for sight in first)
        elsewhere = [sight for sights in self.sights for sight in sights[1:]]
        known = any(sight.direction is not None and not sight.is_zero for sight in elsewhere)
        off = "; a little off x it agrees" if known else ""
        return (
            f"the gradient is zero up to rounding at x (its largest entry is {largest:.0e}): x is at a minimum, or the loss "
            f"does not depend on it, as the plain sum of something normalised{off}. Audit at another x, or weight the outputs"
        )

    # -- sentences

    def wrong_reason(self, special: list[str]) -> str:
        parts = []
        for k, name in enumerate(self.names):
            if not self.is_wrong(k):
                continue
            at_x = self.sights[k][0]
            sight = at_x if at_x.is_wrong else next(s for s in self.sights[k] if s.is_wrong and not s.lacks)
            text = f"wrong in {name} ({_count(sight)})"
            if not at_x.is_wrong:
                text += ", right at x but not a little off it"
            if sight.wrong.any():
                with np.errstate(all="ignore"):
                    off = np.max(np.where(sight.wrong, abs(sight.given - sight.expected), 0.0)) / (
                        sight.scale or np.inf
                    )
                text += f", right to {int(-np.log10(off))} digits, not to more" if 0 < off < CEILING else ""
            if self.diagnoses[k]:
                text += f": {self.diagnoses[k][0]['detail']}"
            parts.append(text)
        off_only = all(not sights[0].is_wrong for k, sights in enumerate(self.sights) if self.is_wrong(k))
        if off_only and special:
            parts.append(f"{', '.join(special)}: what is missing does not show there")
        return "; ".join(parts) + ". Loss and gradient contradict each other: either may be at fault"

    def right_reason(self) -> str:
        looked = sum(sights[0].looked for sights in self.sights)
        total = sum(sights[0].x.size for sights in self.sights)
        every = (
            "every entry"
            if looked >= total
            else f"every entry checked ({looked} of {total}; all of them along directions)"
        )
        resting = [(name, self.resting(k)) for k, name in enumerate(self.names)]
        rests = [f"{name} is {what}" for name, what in resting if what and what != CONSTANT]
        if rests:
            return f"{every} agrees with {self.exact_name} where {' and '.join(rests)}, as here; elsewhere it is wrong"
        places = f" at {len(self.places)} points" if len(self.places) > 1 else ""
        return f"{every} agrees with {self.exact_name}{places}"

    def remarks(self, special: list[str]) -> list[str]:
        found = []
        for k, name in enumerate(self.names):
            if not self.sights[k]:
                continue
            sight = self.sights[k][0]
            if sight.looked == sight.x.size and sight.looked and sight.scale == 0 and not sight.blind:
                found.append(f"the loss does not depend on {name} at x")
            if sight.kinks:
                places = ", ".join(str(list(index)) for index in list(sight.kinks)[:4])
                more = ", ..." if len(sight.kinks) > 4 else ""
                found.append(f"{_entries(len(sight.kinks))} of {name} on a kink, judged by both sides: {places}{more}")
            if self.resting(k) not in ("", CONSTANT):
                found.append(_resting(name, self.resting(k)))
            if any(other.lacks == CONSTANT for other in self.sights[k]):
                found.append(f"the gradient by {name} is the same array at every point")
            if any(other.only_at_x for other in self.sights[k]):
                found.append(
                    f"a little off x, off the kink, the gradient by {name} is wrong there: is it written for this x alone?"
                )
            if sight.grouped:
                found.append(f"{sight.grouped} small entries of {name} were tested together, not one by one")
        if len(self.places) == 1 and special:
            found.append(f"{', '.join(special)}: a missing factor would not show there")
        return found

    # -- reports

    def reports(self, function: Function, precision: Precision, x: list[np.ndarray]) -> list[ArgumentReport]:
        """A report on each argument."""
        return [self._report(k, function, precision, x[k].shape) for k in range(len(self.names))]

    def _report(self, k: int, function: Function, precision: Precision, shape: tuple[int, ...]) -> ArgumentReport:
        report = argument_report(self.names[k], function, shape, len(self.places))
        report.points = [place.label for place in self.places] or ["x"]
        report.verdict, report.reason = decide(self.of_argument(k, precision))
        if not self.sights[k]:
            return report
        if report.verdict == "undetermined" and report.reason.endswith(" is zero"):
            report.verdict, report.reason = "agree", "zero, up to rounding"
        witness, sights = self.witnesses[k], self.sights[k]
        report.witness, report.why = witness.name, witness.why
        report.wrong_draws = [n for n, sight in enumerate(sights) if sight.is_wrong and not sight.lacks]
        number = report.wrong_draws[0] if report.wrong_draws else 0
        sight = sights[number]
        report.entries, report.kinks = sight.looked, [list(index) for index in sights[0].kinks]
        report.wrong = int(sight.wrong.sum())
        report.diagnosis = self.diagnoses[k]
        seen = ~np.isnan(sight.expected)
        with np.errstate(all="ignore"):
            off = np.where(seen, abs(sight.given - sight.expected), 0.0)
            off = np.where(np.isfinite(sight.given), off, np.inf)
            scale = sight.scale or 1.0  # absolute where the expected gradient is zero
            error = float(np.max(off) / scale)
            allowed = np.where(seen, sight.allowed, 0.0)
        report.max_relative_error = error if sight.looked else None
        report.digits = round(float(np.clip(-np.log10(max(error, 1e-300)), 0, 17)), 1) + 0.0 if sight.looked else None
        report.tolerance = 0.0 if sight.is_zero else float(np.max(allowed) / scale)
        report.cosine = _cosine(sight, seen)
        report.worst = _worst(sight, off, number)
        report.wrong_entries = _wrong_entries(sight, number)
        key = {"dual numbers": "dual_numbers", "complex step": "complex_step", "differences": "finite_difference"}
        report.witnesses = dict.fromkeys(("dual_numbers", "complex_step", "finite_difference", "direction"))
        report.witnesses["finite_difference"] = sights[0].differences
        report.witnesses[key[witness.name]] = report.max_relative_error
        report.witnesses["direction"] = max((s.direction for s in sights if s.direction is not None), default=None)
        report.control_caught = _control(sights[0], precision)
        if len(shape) in (1, 2) and sight.x.size <= DRAWN and seen.all() and np.isfinite(off).all():
            report.heat_map = {"draw": number, "errors": (off / scale).tolist()}
        return report


def argument_report(name: str, function: Function, shape: tuple[int, ...], draws: int = 1) -> ArgumentReport:
    """An empty report on one argument."""
    size = int(np.prod(shape, dtype=int))
    equation, source, code = f"d {function.name} / d {name}", function.source, function.code
    return ArgumentReport(name, name, equation, source, "agree", None, draws, shape=shape, size=size, code=code)


def taylor(examiner: Examiner, place: Place, kink: bool) -> tuple[float | None, bool, float]:
    """(exponent of the Taylor remainder at a place, whether it was taken, its linear part relative to the gradient).

    Along one random direction in all arguments. The exponent is fitted on the smallest steps that show more than rounding:
    there the linear part of a wrong gradient dominates.
    """
    if kink or not all(np.isfinite(array).all() for array in place.given):
        return None, False, 0.0
    v = [unit(array) * examiner.rng.choice([-1.0, 1.0], array.shape) for array in place.x]
    for k, project in examiner.projections.items():
        v[k] = project(place.x[k], v[k])
    slope = float(sum(np.sum(given * step) for given, step in zip(place.given, v, strict=True)))
    size = norm(np.array([norm(given * step) for given, step in zip(place.given, v, strict=True)]))
    f = along(examiner.function, place.x, v)
    base = f(0.0)
    steps = 0.03 * 3.0 ** -np.arange(24)
    remainder = abs(np.array([f(t) for t in steps]) - base - steps * slope)
    noise = examiner.differences.noise(place.x) + 4e-16 * steps * abs(slope)
    seen = np.flatnonzero(np.isfinite(remainder) & (remainder > 30 * noise))[-5:]
    found = examiner.differences(place.x, v)
    off = max(0.0, abs(found.middle - slope) - 10 * found.error) if found.known else 0.0
    linear = off / size if size > 0 else 0.0
    return taylor_slope(remainder[seen], noise[seen], steps[seen]), True, linear


def _resting(name: str, on: str) -> str:
    """What to say of a gradient that is right where x is of some kind, and wrong elsewhere."""
    if on == CONSTANT:
        return (
            f"the gradient by {name} is the same array at every point, right at x and wrong elsewhere: was it computed "
            "before, for this x alone? Give the function"
        )
    remedy = {"symmetric": "a transposed factor? symmetric= if it always is"}.get(
        on, "a factor that is 1 there? tangent= judges along what keeps it so"
    )
    return f"{name} is right where x is {on}, as it is here, and wrong where it is not: {remedy}"


def _doubts(name: str, sight: Sight, precision: Precision) -> list[str]:
    """Why some entries could not be told right from wrong, the most telling first."""
    found = []
    if sight.disputed:
        found.append(
            f"x lies on a kink of the loss where several pieces meet ({_entries(len(sight.disputed))} of {name}); conventions "
            "differ there. Move x, by 1e-3 say"
        )
    if sight.blind:
        found.append(
            f"{name} has {_entries(sight.blind)} without a derivative: the loss, or its derivative, is NaN near x"
        )
    if sight.direction is None and 0 < sight.looked < sight.x.size and not sight.is_wrong:
        found.append(
            f"{name} was tested in {sight.looked} of its {sight.x.size} entries only: along a direction in all of them the "
            "loss has no derivative"
        )
    if sight.unconfirmed is not None and sight.unconfirmed > CEILING:
        found.append(
            f"{name} differs from the witness along a direction, but not in an entry that was looked at: it is too coarse to "
            "tell"
        )
    elif sight.unconfirmed is not None:
        digits = max(0, int(-np.log10(sight.unconfirmed)))
        found.append(
            f"{name} is right to {digits} digits, not to {-np.log10(precision.relative):.0f}, and the loss is not precise "
            "enough to tell which is better: rounding, an iteration that stops early, constants of few digits. tolerance= "
            "accepts it"
        )
    if sight.coarse:
        index = sight.coarse[0]
        place = f"{name}{list(index)}" if index else name
        rest = f", and {len(sight.coarse) - 1} more" if len(sight.coarse) > 1 else ""
        single = precision.eps > 1e-10
        why = (
            "loss or gradient computes in float32, which has 7 digits; differences of it have 3. Audit in float64 (.double(), "
            "jax_enable_x64)"
            if single
            else "rounding, or noise, of the loss hides the rest"
        )
        found.append(
            f"{place} was tested to {sight.allowed[index]:.1g} only, beside {abs(sight.given[index]):.1g}{rest}: {why}"
        )
    return found


def _control(sight: Sight, precision: Precision) -> bool | None:
    """Whether a copy with its largest entry a little off would be called wrong; None where no entry was looked at."""
    seen = ~np.isnan(sight.expected)
    if sight.is_wrong or not seen.any() or sight.scale == 0:
        return None
    index = np.unravel_index(int(np.argmax(np.where(seen, abs(sight.expected), -1.0))), seen.shape)
    size = abs(float(sight.expected[index]))
    return bool(sight.allowed[index] <= CONTROL * size) if size > 0 else None


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _count(sight: Sight) -> str:
    wrong, looked = int(sight.wrong.sum()), max(sight.looked, int(sight.wrong.sum()))
    if not wrong:
        return "along a direction in all its entries"
    return f"{wrong} of {looked} entries" + (f" looked at, of {sight.x.size}" if looked < sight.x.size else "")


def _cosine(sight: Sight, seen: np.ndarray) -> float | None:
    given, expected = sight.given[seen], sight.expected[seen]
    if not len(given) or not np.isfinite(given).all():
        return None
    norm = float(np.sqrt(np.sum(given**2)) * np.sqrt(np.sum(expected**2)))
    return float(np.sum(given * expected)) / norm if 0 < norm < np.inf else None


def _worst(sight: Sight, off: np.ndarray, number: int) -> dict[str, object] | None:
    if not sight.looked and not sight.wrong.any():
        return None
    with np.errstate(all="ignore"):
        relative = off / np.where(sight.allowed > 0, sight.allowed, 1e-300)
    relative = np.where(
        sight.wrong, np.where(np.isnan(relative), np.inf, relative) + 1.0, np.nan_to_num(relative, nan=-1.0) / 1e300
    )
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(relative)), relative.shape))
    slope = sight.kinks.get(index)
    expected = float(slope.middle if slope else sight.expected[index])
    found: dict[str, object] = {
        "index": list(index),
        "given": float(sight.given[index]),
        "expected": expected,
        "draw": number,
    }
    if slope:
        found["between"] = sorted((slope.up, slope.down))
    return found


def _wrong_entries(sight: Sight, number: int, most: int = 20) -> list[dict[str, object]]:
    """The wrong entries, at most so many, the worst first."""
    found = []
    for index in map(tuple, np.argwhere(sight.wrong)):
        expected = sight.kinks[index].middle if index in sight.kinks else float(sight.expected[index])
        off = abs(float(sight.given[index]) - expected)
        entry = {
            "draw": number,
            "index": [int(i) for i in index],
            "given": float(sight.given[index]),
            "expected": expected,
        }
        found.append((off if off == off else np.inf, entry))
    return [entry for _, entry in sorted(found, key=lambda pair: -pair[0])[:most]]
