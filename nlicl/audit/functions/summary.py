"""What was seen of all arguments at all places, as evidence for a verdict and as sentences."""

from collections.abc import Sequence

import numpy as np

from ..decision import Evidence
from .points import by_chance, kind_of
from .sight import CEILING, Place, Precision, Sight
from .slopes import Witness

__all__ = ["CONSTANT", "Summary", "control"]

SLOPE_AT_LEAST = 1.9  # 2 is a right gradient, 1 a wrong one
LINEAR = 1e-5  # a linear part of the Taylor remainder, relative to the gradient, that is seen
PLAIN = 1e-3  # a linear part that counts against dual numbers, too: differences may err, but not by so much
CONTROL = 3e-3  # of the negative control: its largest entry is off by so much. It notices a tolerance that has become too wide
CONSTANT = "the only one"  # what a place lacks of x if the gradient is the same array everywhere


class Summary:
    """Everything that was seen.

    Parameters
    ----------
    names : list of str
        Of the arguments.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.labels: list[str] = []  # of all places where it is to be judged
        self.places: list[Place] = []
        self.sights: list[list[Sight]] = [[] for _ in names]
        self.witnesses: Sequence[Witness] = ()
        self.diagnoses: list[list[dict[str, str]]] = [[] for _ in names]
        self.slope: float | None = None
        self.taylor_taken = False
        self.linear = 0.0
        self.raises = False  # the gradient, a little off x where the loss has a value
        self.alone = ""  # what x is, in words, where the loss has a value at no place beside it

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
        asked = [*self.witnesses, *(witness for place in self.places for witness in place.instead.values())]
        return " and ".join(dict.fromkeys(witness.name for witness in asked))

    def resting(self, k: int) -> str:
        """What x is, in words, where the gradient by argument k is right only there; empty if it does not rest on it."""
        return next((sight.lacks for sight in self.sights[k] if sight.lacks and sight.is_wrong), "")

    def those(self, k: int, kind: str) -> list[int]:
        """The arguments that are of a kind at x: argument k alone where it is."""
        found = [j for j, sights in enumerate(self.sights) if sights and kind_of(sights[0].x)[0] == kind]
        return [k] if k in found or not found else found

    def whose(self, k: int, kind: str) -> str:
        """Their names."""
        return " and ".join(self.names[j] for j in self.those(k, kind))

    # -- evidence

    def of_argument(self, k: int, precision: Precision) -> Evidence:
        """The evidence on one argument."""
        name, sights = self.names[k], self.sights[k]
        if not sights:
            return Evidence(doubt=f"the time limit was over before {name} was judged")
        conflicts = [sight.conflict for sight in sights if sight.conflict is not None]
        text = f"the witnesses disagree among themselves by {max(conflicts, default=0):.0e}, by {name}: is the loss smooth?"
        doubts = [text for sight in sights for text in _doubts(name, sight, precision)]
        first = sights[0]
        if (
            first.is_zero
            and not self.witnesses[k].sound
            and (np.any(first.given) or np.any(np.nan_to_num(first.expected)))
        ):
            doubts.append(f"derivatives by {name} are too small beside the loss for its differences to see")
        lacking = self.resting(k)
        if lacking == CONSTANT or (lacking and any(by_chance(self.sights[j][0].x) for j in self.those(k, lacking))):
            doubts.append(_resting(name, self.whose(k, lacking), lacking))
        if any(sight.only_at_x and sight.lacks in ("", CONSTANT) for sight in sights):
            doubts.append(
                f"{name} has entries on a kink at x, and a little off the kink the gradient is wrong there: a term that was "
                "forgotten does not show on the kink. Is it right at x by chance, or written for this x alone?"
            )
        return Evidence(
            conflict=text if conflicts else "",
            wrong=self.is_wrong(k),
            doubt=next(iter(doubts), ""),
            idle=f"the gradient by {name} is zero" if all(sight.is_zero for sight in sights) else "",
            control_caught=control(sights[0], precision),
        )

    def evidence(self, precision: Precision) -> Evidence:
        """The evidence on the gradient as a whole."""
        each = [self.of_argument(k, precision) for k in range(len(self.names))]
        judged = [k for k in range(len(each)) if self.sights[k]]
        doubt = next((one.doubt for one in each if one.doubt), "")
        judged_at = min(len(sights) for sights in self.sights)
        if judged_at < len(self.labels) and not doubt:
            doubt = (
                f"the time limit was over when {judged_at} of {len(self.labels)} places were judged. Give a longer timeout, "
                "or points=[] for x alone"
            )
        if self.alone and not doubt:
            doubt = (
                f"{self.alone}, and there is no place near x where the loss has a value: what does not show there is not "
                "found. Give another x, or points="
            )
        if self.raises and not doubt:
            doubt = "a little off x, where the loss has a value, the gradient raises. points=[] asks for x alone"
        bent = self.slope is not None and self.slope < SLOPE_AT_LEAST and self.linear > LINEAR
        late = (
            ["the Taylor slope"]
            if bent and (self.linear > PLAIN or not all(each.sound for each in self.witnesses))
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
                text += f", right to {-np.log10(off):.0f} digits of the largest entry" if 0 < off < CEILING else ""
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
        few = looked < total
        every = f"each of {looked} of {total} entries, and all of them along directions," if few else "every entry"
        agrees = "agrees" if not few else "agree"
        resting = [(self.whose(k, self.resting(k)), self.resting(k)) for k in range(len(self.names))]
        rests = dict.fromkeys(f"{names} is {what}" for names, what in resting if what and what != CONSTANT)
        if rests:
            return (
                f"{every} {agrees} with {self.exact_name} where {' and '.join(rests)}, as here; elsewhere it is wrong"
            )
        places = f" at {len(self.places)} points" if len(self.places) > 1 else ""
        return f"{every} {agrees} with {self.exact_name}{places}"

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
                found.append(_resting(name, self.whose(k, self.resting(k)), self.resting(k)))
            if any(other.lacks == CONSTANT for other in self.sights[k]):
                found.append(f"the gradient by {name} is the same array at every point")
            if sight.grouped:
                found.append(f"{sight.grouped} small entries of {name} were tested together, not one by one")
        if len(self.places) == 1 and special:
            found.append(f"{', '.join(special)}: a missing factor would not show there")
        return found


def _resting(name: str, whose: str, on: str) -> str:
    """What to say of a gradient that is right where an argument, `whose`, is of some kind, and wrong elsewhere."""
    if on == CONSTANT:
        return (
            f"the gradient by {name} is the same array at every point, right at x and wrong elsewhere: was it computed "
            "before, for this x alone? Give the function"
        )
    remedy = {"symmetric": "a transposed factor? symmetric= if it always is"}.get(
        on, "a factor that is 1 there? tangent= judges along what keeps it so"
    )
    given = name if whose == name else f"the gradient by {name}"
    of = "x" if whose == name else whose
    return f"{given} is right where {of} is {on}, as it is here, and wrong where it is not: {remedy}"


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
    if sight.unparted:
        found.append(
            f"too many entries of {name} lie on kinks: {sight.unparted} others could not be told from those. Move x, by 1e-3"
        )
    if sight.direction is None and 0 < sight.looked < sight.x.size and not sight.is_wrong:
        found.append(
            f"{name} was tested in {sight.looked} of its {sight.x.size} entries only: along a direction in all of them the "
            "loss has no derivative"
        )
    if sight.unseen and not sight.lacks and not sight.is_wrong:
        found.append(
            f"nothing could be compared at one of the places by {name}: along no direction has the loss a derivative there "
            "that is precise enough. points= gives other places"
        )
    if sight.unconfirmed is not None and sight.unconfirmed > CEILING:
        found.append(
            f"{name} differs from the witness along a direction, but not in an entry that was looked at: it is too coarse to "
            "tell"
        )
    elif sight.unconfirmed is not None:
        digits = max(0, round(-np.log10(sight.unconfirmed)))
        found.append(
            f"{name} is right to {digits} digits, not to {-np.log10(precision.relative):.0f}, and the loss is not precise "
            "enough to tell which is better: rounding, an iteration that stops early, constants of few digits. tolerance= "
            "accepts it"
        )
    if sight.coarse:
        index = sight.coarse[0]
        place = f"{name}{list(index)}" if index else name
        rest = f", and {len(sight.coarse) - 1} more" if len(sight.coarse) > 1 else ""
        single = precision.single
        why = (
            "loss or gradient has 7 digits, as float32 does; differences of it have 3. Audit in float64 (.double(), "
            "jax_enable_x64)"
            if single
            else "rounding, or noise, of the loss hides the rest"
        )
        found.append(
            f"{place} was tested to {sight.allowed[index]:.1g} only, beside {abs(sight.given[index]):.1g}{rest}: {why}"
        )
    return found


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _count(sight: Sight) -> str:
    wrong, looked = int(sight.wrong.sum()), max(sight.looked, int(sight.wrong.sum()))
    if not wrong:
        return "along a direction in all its entries"
    if sight.x.size == 1:
        return "its only entry"
    return f"{wrong} of {looked} entries" + (f" looked at, of {sight.x.size}" if looked < sight.x.size else "")


def control(sight: Sight, precision: Precision) -> bool | None:
    """Whether a copy with its largest entry a little off would be called wrong; None where no entry was looked at."""
    seen = ~np.isnan(sight.expected)
    if sight.is_wrong or not seen.any() or sight.scale == 0 or sight.is_zero:
        return None
    index = np.unravel_index(int(np.argmax(np.where(seen, abs(sight.expected), -1.0))), seen.shape)
    size = abs(float(sight.expected[index]))
    return bool(sight.allowed[index] <= CONTROL * size) if size > 0 else None
