"""What was seen of an argument, as a report on it."""

import numpy as np

from ..decision import decide
from ..facts import NAMELESS
from ..hand import PlaceInHand, PlacesInHand
from ..report.columns import Background
from ..report.gradient import ArgumentReport
from .function import Function
from .sight import Precision, Sight
from .summary import CONSTANT, Summary, control

__all__ = ["argument_report", "report_on"]

DRAWN = 2500  # entries of an array whose errors are drawn


def argument_report(name: str, function: Function, shape: tuple[int, ...], draws: int = 1) -> ArgumentReport:
    """An empty report on one argument."""
    size = int(np.prod(shape, dtype=int))
    equation, source, code = f"d {function.name} / d {name}", function.source, function.code
    background = Background(loss=function.loss_code)
    return ArgumentReport(
        name, name, equation, source, "agree", None, draws, shape=shape, size=size, code=code, background=background
    )


def report_on(
    summary: Summary, k: int, function: Function, precision: Precision, shape: tuple[int, ...]
) -> ArgumentReport:
    """The report on argument k."""
    report = argument_report(summary.names[k], function, shape, len(summary.places))
    report.points = [place.label for place in summary.places] or ["x"]
    evidence = summary.of_argument(k, precision)
    report.verdict, report.reason = decide(evidence)
    if not summary.sights[k]:
        return report
    if evidence.idle and report.reason == evidence.idle:
        report.verdict, report.reason = "agree", "zero, up to rounding"
    witness, sights = summary.witnesses[k], summary.sights[k]
    labels = enumerate(zip(report.points, sights, strict=False))
    report.hand = PlacesInHand(
        [PlaceInHand(n, label, s.x, s.given, s.expected, bool(s.is_wrong)) for n, (label, s) in labels]
    )
    report.witness, report.why = witness.name, witness.why
    report.wrong_draws = [n for n, sight in enumerate(sights) if sight.is_wrong and not sight.lacks]
    on = summary.resting(k)
    if report.verdict == "agree" and on not in ("", CONSTANT):
        report.rests_on = on
        report.elsewhere = [n for n, sight in enumerate(sights) if sight.is_wrong and sight.lacks]
    number = report.wrong_draws[0] if report.wrong_draws else 0
    sight = sights[number]
    report.entries, report.kinks = sight.looked, [list(index) for index in sights[0].kinks]
    report.wrong = int(sight.wrong.sum())
    report.diagnosis = summary.diagnoses[k]
    report.mistakes = int(any(item["kind"] not in NAMELESS for item in report.diagnosis))
    seen = ~np.isnan(sight.expected)
    with np.errstate(all="ignore"):
        off = np.where(seen, abs(sight.given - sight.expected), 0.0)
        for index, slope in sight.kinks.items():
            low, high = sorted((slope.up, slope.down))
            off[index] = max(low - sight.given[index], sight.given[index] - high, 0.0)
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
    report.control_caught = control(sights[0], precision)
    if len(shape) in (1, 2) and sight.x.size <= DRAWN and seen.all() and np.isfinite(off).all():
        report.heat_map = {"draw": number, "errors": (off / scale).tolist()}
    return report


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
    return _entry(sight, index, number)


def _entry(sight: Sight, index: tuple[int, ...], number: int) -> dict[str, object]:
    """An entry with what was given and expected; on a kink the middle of both derivatives, and what lies between them."""
    slope = sight.kinks.get(index)
    expected = float(slope.middle if slope else sight.expected[index])
    place: dict[str, object] = {"draw": number, "index": list(index)}
    place |= {"given": float(sight.given[index]), "expected": expected}
    return place | ({"between": sorted((slope.up, slope.down))} if slope else {})


def _wrong_entries(sight: Sight, number: int, most: int = 20) -> list[dict[str, object]]:
    """The wrong entries, at most so many, the worst first."""
    wrong = [tuple(int(i) for i in index) for index in np.argwhere(sight.wrong)]
    entries = [_entry(sight, index, number) for index in wrong]
    off = [abs(float(entry["given"]) - float(entry["expected"])) for entry in entries]  # type: ignore[arg-type]
    order = sorted(range(len(entries)), key=lambda n: -np.inf if np.isnan(off[n]) else -off[n])
    return [entries[n] for n in order[:most]]
