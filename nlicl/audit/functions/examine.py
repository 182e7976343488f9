"""One argument's gradient at one place, held against a witness: entry by entry, and all entries together.

Along a direction v every entry counts: <given, v> is compared with the derivative of the loss along v. With an exact witness
one direction finds one wrong entry in a hundred thousand, and halving finds which. A direction is taken twice, once with
entries as they are, once with each divided by its size, so that small entries are not lost beside a large one.
"""

from collections.abc import Collection, Sequence

import numpy as np

from . import directions, entries
from .means import Means
from .points import scattered, unit
from .sight import CEILING, Place, Sight, norm
from .slopes import only, tried

__all__ = ["Examiner"]

GUARDED = 16  # entries that are looked at by differences, too, of a loss that decides by its values
LINEAR = 1e-3  # derivatives along directions that do not add up to this share of themselves are rounding
SAMPLE = 64  # entries of a large argument that are looked at one by one


class Examiner(Means):
    """Holds arguments against their witnesses."""

    def entries(self, place: Place, k: int, most: int, also: Sequence[tuple[int, ...]] = ()) -> Sight:
        """All that is seen of argument k: entries one by one, then along directions.

        `also` are entries that were wrong at another place: with some, no directions are needed.
        """
        sight = self.empty(place, k)
        size = sight.x.size
        few = min(most, SAMPLE)
        most = size if k in self.projections else most  # a projection mixes all entries
        if not self.witness(place, k).exact and k not in self.projections:
            most = few  # a difference costs ten times as much
        chosen = np.arange(size) if size <= most else np.sort(self.rng.choice(size, few, replace=False))
        for flat in chosen:
            self.look(place, k, sight, tuple(int(i) for i in np.unravel_index(flat, sight.x.shape)))
        for index in also:
            if np.isnan(sight.expected[index]) and index not in sight.kinks:
                self.look(place, k, sight, index)
        if k in self.projections:
            entries.project(self, place, k, sight)
        entries.judge(self, place, k, sight)
        if also:
            return sight
        entries.kinks_together(self, place, k, sight)
        if sight.looked < sight.x.size or not self.witness(place, k).exact:
            directions.directions(self, place, k, sight, everything=True)
        if not sight.is_wrong:
            self.guard(place, k, sight)
        return sight

    def directions_only(self, place: Place, k: int, most: int, kinks: Collection[tuple[int, ...]]) -> Sight:
        """What is seen of argument k along directions; `kinks` are the entries that sit on a kink at x."""
        sight = self.empty(place, k)
        if not np.isfinite(sight.given).all():
            return self.entries(place, k, most)
        aside = np.zeros(sight.x.shape, bool)
        for index in kinks:
            aside[index] = True
        if k in self.projections:
            return self.entries(place, k, most)
        self.settle(place, k)
        if self.nothing(place, k):
            return sight
        directions.directions(self, place, k, sight, everything=False, aside=aside)
        if kinks and not sight.is_wrong:
            weight = unit(place.x[k]) * scattered(self.rng, aside.shape) * aside
            found = directions.compared(self, place, k, np.where(aside, sight.given, 0.0), weight)
            sight.only_at_x = found is not None and found.wrong
        return sight

    def nothing(self, place: Place, k: int) -> bool:
        """Whether all derivatives by argument k are too small to change the loss's last digit, the given ones as well, and are
        rounding: what dual numbers carry may be exact beside a loss however large."""
        least, step = place.least(k), scattered(self.rng, place.x[k].shape) * unit(place.x[k])
        slope, _ = tried(self.witness(place, k), place.x, only(place.x, k, step))
        if slope is None or abs(slope.middle) > float(np.sum(least * abs(step))):
            return False
        if not np.all(abs(place.given[k]) <= least):
            return False
        if not self.sound(place, k) or slope.middle == 0:
            return True
        part = self.rng.uniform(0.2, 0.8, step.shape)
        found = [
            tried(self.witness(place, k), place.x, only(place.x, k, step * share))[0] for share in (part, 1 - part)
        ]
        added = sum(np.nan if one is None else one.middle for one in found)
        return not abs(added - slope.middle) <= LINEAR * abs(slope.middle)

    def guard(self, place: Place, k: int, sight: Sight) -> None:
        """The witness itself beside differences along one direction, where it is not differences."""
        if not self.witness(place, k).exact:
            return
        if self.witness(place, k).sound and not self.sound(place, k):
            self.guard_entries(place, k, sight)
        step = np.asarray(scattered(self.rng, sight.x.shape) * unit(place.x[k]))
        for index in sight.kinks:
            step[index] = 0.0
        if k in self.projections:
            step = self.projections[k](sight.x, step)
        if not step.any():
            return
        v = only(place.x, k, step)
        mine, _ = tried(self.witness(place, k), place.x, v)
        theirs = self.differences(place.x, v)
        if mine is None or not theirs.known or mine.has_kink(abs(mine.middle)):
            return
        size = max(norm(np.where(np.isnan(sight.given), 0, sight.given) * step), abs(mine.middle))
        if size == 0:
            return
        sight.differences = abs(float(np.sum(sight.given * (step != 0) * step)) - theirs.middle) / size
        off = abs(mine.middle - theirs.middle)
        low, high = sorted((theirs.up, theirs.down))
        if low < high and low - 1e-6 * size <= mine.middle <= high + 1e-6 * size:
            return  # differences see a kink beside x, and the witness is on one side of it
        limit = 1e-2 if self.precision.single else 1e-6
        if theirs.error <= CEILING * size and off > 10 * theirs.error + limit * size:
            sight.conflict = off / size

    def guard_entries(self, place: Place, k: int, sight: Sight) -> None:
        """Some entries by differences too, the smallest first: a loss that decides by its values may hide a derivative."""
        seen = [tuple(int(i) for i in index) for index in np.argwhere(~np.isnan(sight.expected))]
        for index in sorted(seen, key=lambda index: abs(sight.expected[index]))[:GUARDED]:
            theirs, h = self.differences_by(place, k, index)
            off, size = abs(sight.expected[index] * h - theirs.middle), abs(theirs.middle)
            if theirs.known and theirs.error <= CEILING * size and off > 10 * theirs.error + 1e-8 * size:
                sight.conflict = off / size
                return
