"""One audit of any function, from x to the report."""

from collections.abc import Callable

import numpy as np

from ...core.errors import InvalidInput
from ..decision import decide
from ..patterns import Seen, explain
from ..report.gradient import GradientReport, ProductReport
from .conduct import changed, conduct
from .curvature import judge_hessian
from .digits import eps_of
from .examine import Examiner
from .field import described
from .fresh import far
from .function import Function, OutOfTime
from .points import by_chance, neighbours, special
from .reports import argument_report, report_on
from .sight import Place, Precision, Sight
from .slopes import Differences, chosen
from .summary import CONSTANT, Summary
from .taylor import taylor

__all__ = ["Audit"]

NEIGHBOURS = 2
MOST_LOOKS = 2000  # entries looked at one by one in all; beyond, fewer of each argument
FEWEST_LOOKS = 20
_LASTING = {
    "term",
    "gate",
    "formula",
    "wrong-factor",
    "structure",
    "low-rank",
    "constant-term",
}  # looked at far from x, too
_TRIED = 4  # places far from x, to find one where all is finite


class Audit:
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
        self.names = function.names
        self.rng = np.random.default_rng(seed)
        self.remarks: list[str] = []
        self.known: dict[int, dict[str, np.ndarray]] = {}  # arrays of the function, by place
        self.projections: dict[int, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {}

    def whole(self, points: list[list[np.ndarray]] | None) -> GradientReport:
        """The report on the gradient, and on second derivatives where they are given."""
        report = self.run(points)
        return self.with_hessian(report) if self.function.has_product or self.function.has_matrix else report

    def run(self, points: list[list[np.ndarray]] | None) -> GradientReport:
        """The report on the gradient."""
        with np.errstate(all="ignore"):  # what overflows becomes NaN, and is told
            return self.judged(points)

    def judged(self, points: list[list[np.ndarray]] | None) -> GradientReport:
        x = self.function.arrays
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
            self.precision = Precision.of(eps_of(self.function, x, value, given), self.tolerance)
            self.own_places(x, given, points)
            self.see(behaviour.noise)
            objection = changed(self.function, x, float(value), given)
            if objection:
                return self.without_verdict(objection)
        except OutOfTime:
            if not self.summary.started:
                return self.without_verdict(
                    "the time limit was over before anything was judged; give a longer timeout."
                )
            self.remarks.append("the time limit was over: the report rests on what was found before")
        return self.report()

    def own_places(self, x: list[np.ndarray], given: list[np.ndarray], points: list[list[np.ndarray]] | None) -> None:
        """x and the places beside it, with the gradients there."""
        wide = [array.astype(np.float64) for array in x]
        self.widen = False
        if any(array.dtype != np.float64 for array in x):
            value = self.function.real(x)
            self.widen = abs(self.function.real(wide) - value) <= 1e-3 * (1 + abs(value))
        labels = ["x"]
        self.places = [(x, given)]
        self.chosen_by_user = points is not None
        self.lacks = [""]
        if points is not None:
            beside = [(place, "") for place in points]
        else:
            found = neighbours(x, self.defined, NEIGHBOURS, self.rng, self.projections)
            beside = [place for place in found if self.projected(place[0])]
            if len(beside) < len(found):
                self.remarks.append("a little off x tangent= is no projection: it is judged where it is one")
            if not found:
                self.remarks.append(
                    "there is no place near x where loss and gradient have values: it is judged at x alone"
                )
                pairs = zip(self.names, x, strict=True)
                chance = [f"{name} has zeros and ones" for name, array in pairs if by_chance(array)]
                self.summary.alone = ", ".join(special(self.names, x) or chance)
        for number, (place, lacks) in enumerate(beside):
            there = self.at_users(place, number) if points is not None else self.function.gradient_or_none(place)
            if there is None:
                self.summary.raises = True
                continue
            self.places.append((place, there))
            self.lacks.append(lacks)
            labels.append(f"points[{number}]" if self.chosen_by_user else f"near x ({number + 1})")
        fixed = all(
            np.array_equal(one, other) and np.isfinite(one).all()
            for _, there in self.places[1:]
            for one, other in zip(given, there, strict=True)
        )
        # Right for a linear loss; or an array that was computed before, for this x alone.
        if fixed and not self.chosen_by_user:
            self.lacks[1:] = [CONSTANT] * len(self.lacks[1:])
        self.summary.labels = labels

    def at_users(self, place: list[np.ndarray], number: int) -> list[np.ndarray]:
        """The gradient at a place of the user's; an error names that place."""
        try:
            return self.function.at(place)[1]
        except InvalidInput as error:
            name = f"points[{number}]"
            text = str(error).replace(" at x", f" at {name}").replace("Move x", f"Move {name}")
            raise type(error)(text) from error.__cause__

    def projected(self, place: list[np.ndarray]) -> bool:
        """Whether what projects is a projection there: it may be one on the manifold that x lies on, and that no place beside
        x does."""
        for k, project in self.projections.items():
            v = np.random.default_rng(self.seed).standard_normal(place[k].shape)
            once = project(place[k], v)
            if not np.allclose(project(place[k], once), once, rtol=1e-8, atol=1e-8):
                return False
        return True

    def defined(self, place: list[np.ndarray]) -> bool:
        """Whether the loss has a finite value there, and the gradient too if it has one nearer to x."""
        if not np.isfinite(self.function.real(place)):
            return False
        there = self.function.gradient_or_none(place)
        if there is not None and all(np.isfinite(array).all() for array in there):
            return True
        x = self.places[0][0]
        nearest = [a + 1e-4 * (b - a) for a, b in zip(x, place, strict=True)]
        near = self.function.gradient_or_none(nearest)
        return near is None or not all(np.isfinite(array).all() for array in near)

    def witnessed(self, x: list[np.ndarray]) -> list[np.ndarray]:
        return [array.astype(np.float64) for array in x] if self.widen else x

    def see(self, repeated: float) -> None:
        """Every argument at every place."""
        witnessed = [self.witnessed(x) for x, _ in self.places]
        eps = eps_of(self.function, witnessed[0], self.function.value(witnessed[0]), [])
        differences = Differences(self.function, "", repeated, eps)
        witnesses = chosen(self.function, witnessed, differences, self.rng)
        self.examiner = Examiner(self.function, witnesses, differences, self.precision, self.rng)
        self.examiner.projections = self.projections
        self.summary.witnesses = witnesses
        sizes = [array.size for array in self.places[0][0]]
        planned = sum(min(size, self.entries) if size <= self.entries else 100 for size in sizes)
        most = self.entries if planned <= MOST_LOOKS else max(FEWEST_LOOKS, MOST_LOOKS // len(sizes))
        total = len(sizes) * len(self.places)
        for number, (label, (own, given), x) in enumerate(
            zip(self.summary.labels, self.places, witnessed, strict=True)
        ):
            place = self.examiner.place(label, own, x, given)
            for k, name in enumerate(self.names):
                self.progress(number * len(sizes) + k, total, f"{name} at {label}")
                sight = self.look(place, k, number, most)
                sight.lacks = self.lacks[number]
                self.summary.add(k, place, sight)
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
        if number == 0 or self.chosen_by_user:
            return self.examiner.entries(place, k, most)
        return self.examiner.directions_only(place, k, most, self.summary.sights[k][0].kinks)

    def explain(self) -> None:
        """What is wrong, from the numbers at all places."""
        wrong = [k for k in range(len(self.names)) if self.summary.is_wrong(k)]
        shapes = {self.places[0][0][k].shape for k in wrong}
        alike = [k for k, array in enumerate(self.places[0][0]) if array.shape in shapes]  # one may be another's
        for k in alike:
            for number, place in enumerate(self.summary.places):  # entry by entry now, to tell what is wrong
                looked, size = self.summary.sights[k][number].looked, place.x[k].size
                if looked < min(size, self.most):
                    fresh = self.examiner.entries(place, k, self.most)
                    self.summary.sights[k][number] = _merged(self.summary.sights[k][number], fresh)
        for k in wrong:
            where = [n for n, sight in enumerate(self.summary.sights[k]) if sight.is_wrong and not sight.lacks]
            seen = [self.seen(k, number) for number in where]
            found = explain(self.names[k], seen, self.sizes())
            if not _LASTING.isdisjoint(one["kind"] for one in found):
                found = explain(self.names[k], seen + self.far(k), self.sizes())
            if found[-1]["kind"] in ("unknown", "structure"):
                said = self.described(k, where[0])
                found = found[:-1] + said if said and found[-1]["kind"] == "unknown" else found + said
            self.summary.diagnoses[k] = found

    def far(self, k: int) -> list[Seen]:
        """One argument at a place far from x, so that what is made of many arrays does not fit near x alone; or none."""
        x = self.places[0][0]
        if self.chosen_by_user or self.projections:
            return []
        rng = np.random.default_rng(self.seed)
        try:
            for _ in range(_TRIED):
                own = far(x, rng)
                given = self.function.gradient_or_none(own) if np.isfinite(self.function.real(own)) else None
                if given is not None and all(np.isfinite(array).all() for array in given):
                    sight = self.examiner.entries(
                        self.examiner.place("far", own, self.witnessed(own), given), k, self.most
                    )
                    unknown = {
                        name: (np.full(array.shape, np.nan), array.astype(float))
                        for j, (name, array) in enumerate(zip(self.names, own, strict=True))
                        if j != k
                    }
                    return [self.seen_there(sight, unknown, dict(self.function.held(own)))]
        except OutOfTime:
            pass
        return []

    def described(self, k: int, number: int) -> list[dict[str, str]]:
        """What can be said of the gradient as a function, where it computes in float64."""
        if self.precision.eps > 1e-10:
            return []
        rng = np.random.default_rng(self.seed)
        return described(self.function, self.summary.witnesses[k], self.places[number][0], k, rng)

    def seen(self, k: int, number: int) -> Seen:
        """One argument at one place, with the gradients by the others."""
        sight = self.summary.sights[k][number]
        others = {
            name: (self.summary.sights[j][number].expected, self.summary.sights[j][number].x)
            for j, name in enumerate(self.names)
            if j != k
        }
        return self.seen_there(sight, others, self.held(number))

    def seen_there(
        self, sight: Sight, others: dict[str, tuple[np.ndarray, np.ndarray]], held: dict[str, np.ndarray]
    ) -> Seen:
        """A sight as a diagnosis takes it."""
        expected, allowed = sight.expected.copy(), sight.allowed.copy()
        for index, slope in sight.kinks.items():  # what is between both derivatives is right
            low, high = sorted((slope.up, slope.down))
            expected[index] = min(max(float(sight.given[index]), low), high)
            allowed[index] = 1e-9 * max(abs(slope.up), abs(slope.down)) + 3 * slope.error
        return Seen(sight.x, sight.given, expected, allowed, others, held)

    def held(self, number: int) -> dict[str, np.ndarray]:
        """The arrays that loss and gradient have at one place; none if the time is over."""
        if number not in self.known:
            try:
                self.known[number] = dict(self.function.held(self.places[number][0]))
            except OutOfTime:
                self.known[number] = {}
        return self.known[number]

    def sizes(self) -> dict[str, float]:
        """Sizes by which a gradient may be off."""
        shapes = [(name, array.shape) for name, array in zip(self.names, self.places[0][0], strict=True)]
        found: dict[str, float] = {f"{name}.shape[{axis}]": n for name, shape in shapes for axis, n in enumerate(shape)}
        return {**found, **self.function.closure_sizes}

    def without_verdict(self, reason: str) -> GradientReport:
        arguments = [
            argument_report(name, self.function, array.shape)
            for name, array in zip(self.names, self.function.arrays, strict=True)
        ]
        for argument in arguments:
            argument.verdict = "undetermined"
        remarks, calls = self.all_remarks(), self.function.calls
        return GradientReport(
            self.function.name, self.seed, ["x"], arguments, "undetermined", reason, remarks, calls=calls
        )

    def all_remarks(self) -> list[str]:
        projected = [f"{self.names[k]} is compared along the directions in which it may move" for k in self.projections]
        return [*self.remarks, *projected, *sorted(self.function.altered)]

    def report(self) -> GradientReport:
        """Verdict and reason from all that was seen."""
        x = self.places[0][0]
        arguments = [
            report_on(self.summary, k, self.function, self.precision, array.shape) for k, array in enumerate(x)
        ]
        verdict, reason = decide(self.summary.evidence(self.precision), self.summary.exact_name)
        if verdict == "disagree":
            reason = self.summary.wrong_reason(special(self.names, x))
        elif verdict == "agree":
            reason = self.summary.right_reason()
        return GradientReport(
            self.function.name,
            self.seed,
            [place.label for place in self.summary.places],
            arguments,
            verdict,
            _sentence(reason),
            self.all_remarks() + self.summary.remarks(special(self.names, x)),
            taylor_slope=self.summary.slope,
            taylor_taken=self.summary.taylor_taken,
            calls=self.function.calls,
        )

    def with_hessian(self, report: GradientReport) -> GradientReport:
        """The same report with the verdict on second derivatives."""
        try:
            if not self.summary.started:
                raise OutOfTime
            conflict = self.summary.evidence(self.precision).conflict
            if conflict:
                return report.with_product(ProductReport("undetermined", conflict))
            witnesses, eps = self.summary.witnesses, self.precision.eps
            kept = zip(self.places, self.lacks, strict=True)
            places = [x for (x, _), lacks in kept if lacks in ("", CONSTANT)][:2]
            with np.errstate(all="ignore"):
                found = judge_hessian(self.function, places, report, witnesses, self.rng, eps)
        except OutOfTime:
            found = ProductReport("undetermined", "nothing could be said of the gradient, or the time limit was over")
        return report.with_product(found)


def _merged(sight: Sight, fresh: Sight) -> Sight:
    """A sight entry by entry, with what was found along directions before."""
    fresh.spread = fresh.spread if fresh.spread is not None or fresh.wrong.any() else sight.spread
    found = sight.wrong & ~np.isnan(sight.expected)
    fresh.expected[found], fresh.allowed[found] = sight.expected[found], sight.allowed[found]
    fresh.wrong |= sight.wrong
    fresh.lacks = sight.lacks
    return fresh


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) or not text else text + "."
