"""Which single edits leave a difference that one factor somewhere would mend: the first edit of two.

After an edit the result is R, wanted is W. An expression h to which the result answers linearly has the share S of the
result. Another factor at h gives R + c S where the edit is outside of h, and Z + c (R - Z) where it is inside, with
Z = result - S. Both are tried for all edits and all h at once, from numbers that are there already.
"""

import ast
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from .atoms import Coefficient
from .spots import Code, Option, Spot
from .templates import HERE
from .wording import additions, scalings

__all__ = ["Pairs"]

_MOST = 3_000_000  # numbers of results that are kept
_MOST_SEEDS = 60
_MOST_DIRECTIONS = 16
_FIT = 1e-8
_USUAL, _PLAIN = 1.85, 200  # terms that are also edits by themselves, added or subtracted as they are
_TWO = 260  # of them, in pairs
_TERMS = 800  # of one expression, beside a factor elsewhere


class Pairs:
    """Results of single edits, and which of them are the first of two.

    Parameters
    ----------
    vector, wanted, scale : ndarray
        The result as it is, what is wanted, and the sizes of its parts.
    known : ndarray of bool
    """

    def __init__(self, vector: np.ndarray, wanted: np.ndarray, scale: np.ndarray, known: np.ndarray) -> None:
        self._known, self._scale = known, scale
        self._vector, self._wanted = (vector / scale)[known], (wanted / scale)[known]
        self._made: list[tuple[Spot, list[Option], np.ndarray]] = []
        self._terms: list[tuple[Spot, list[tuple[float, str]], np.ndarray]] = []
        self._directions: list[tuple[Spot, np.ndarray, np.ndarray, list[Coefficient]]] = []
        self._kept = 0

    def add(self, spot: Spot, made: list[Option], results: np.ndarray) -> None:
        """Edits of an expression with their results."""
        results = (results / self._scale)[:, self._known]
        if self._kept < _MOST:
            self._kept += results.size
            self._made.append((spot, made, results))

    def add_terms(self, spot: Spot, made: list[tuple[float, str]], values: np.ndarray) -> None:
        """Terms that may be added to an expression, with their values."""
        assert spot.response.matrix is not None
        answers = (values[:_TERMS] @ spot.response.matrix.T / self._scale)[:, self._known]
        if self._kept < _MOST:
            self._kept += answers.size
            self._terms.append((spot, made[:_TERMS], answers))
            usual = [n for n, (cost, _) in enumerate(made[:_TERMS]) if cost <= _USUAL][:_PLAIN]
            for sign, mark in ((1.0, "+"), (-1.0, "-")):
                options = [Option(values[n], [(made[n][0], f"{HERE} {mark} {made[n][1]}")]) for n in usual]
                if options:
                    self._made.append((spot, options, self._vector + sign * answers[usual]))

    def add_direction(self, spot: Spot, table: np.ndarray, named: list[Coefficient]) -> None:
        """The share that an expression has in the result."""
        assert spot.response.matrix is not None
        share = (spot.response.matrix @ spot.value / self._scale)[self._known]
        norm = np.sqrt(share @ share)
        if not norm > 1e-12 or len(self._directions) >= _MOST_DIRECTIONS:
            return
        for _, other, _, _ in self._directions:
            if abs(share @ other) >= (1 - 1e-9) * norm * np.sqrt(other @ other):
                return
        self._directions.append((spot, share, table, named))

    def promising(self) -> list[tuple[tuple[float, ...], float, Spot, Code]]:
        """(rank, cost, spot, what stands there), the best first."""
        found = [*self._factors(), *self._after_edits(), *self._terms_and_factors(), *self._two_terms()]
        found += self._two_edits()
        found += self._turned()
        found.sort(key=lambda one: (one[0], one[1]))
        kept: list[tuple[tuple[float, ...], float, Spot, Code]] = []
        seen: set[tuple[int, str]] = set()
        for one in found:
            key = (id(one[2]), one[3] if isinstance(one[3], str) else ast.dump(one[3]))
            if key not in seen:
                seen.add(key)
                kept.append(one)
        return kept[:_MOST_SEEDS]

    def _named(self, factor: np.ndarray, table: np.ndarray) -> np.ndarray:
        """Which numbers have a name."""
        size = abs(factor)
        at = np.clip(np.searchsorted(table, size), 1, max(len(table) - 1, 1))
        if len(table) < 2:
            return np.zeros(factor.shape, bool)
        nearest = np.minimum(abs(table[at] - size), abs(table[at - 1] - size))
        return np.asarray((nearest <= 1e-7 * size) & (size > 1e-9))

    def _factors(self) -> Iterator[tuple[tuple[float, ...], float, Spot, Code]]:
        """Two or three factors at different expressions."""
        missing = self._wanted - self._vector
        for count in (2, 3):
            for chosen in combinations(self._directions, count):
                matrix = np.array([share for _, share, _, _ in chosen]).T
                if matrix.shape[0] <= count:
                    return
                solution, _, rank, _ = np.linalg.lstsq(matrix, missing, rcond=None)
                if rank < count or abs(matrix @ solution - missing).max() > _FIT * abs(missing).max():
                    continue
                if not all(
                    self._named(np.array([1 + c]), table)[0]
                    for c, (_, _, table, _) in zip(solution, chosen, strict=True)
                ):
                    continue
                spot, _, table, named = chosen[0]
                for code, cost in scalings(1 + float(solution[0]), table, named):
                    yield (1.0 + 0.1 * count, cost), cost, spot, code
                    break

    def _after_edits(self) -> Iterator[tuple[tuple[float, ...], float, Spot, Code]]:
        """An edit, and a factor somewhere."""
        missing = self._wanted - self._vector
        if any(
            abs(missing @ s) >= (1 - 1e-9) * np.sqrt((missing @ missing) * (s @ s)) for _, s, _, _ in self._directions
        ):
            return  # one factor would do here as it is, whatever else is edited: nothing is told
        with np.errstate(all="ignore"):
            for spot, made, results in self._made:
                hopeful = np.zeros(len(made), bool)
                for other, share, table, _ in self._directions:
                    if len(self._wanted) < 3:
                        break
                    rest = self._wanted - results
                    hopeful |= self._parallel(rest, share[None], table, shift=1.0) & (other is not spot)
                    zero = self._vector - share
                    hopeful |= self._parallel((self._wanted - zero)[None], results - zero, table, shift=0.0)
                for n in np.flatnonzero(hopeful):
                    for cost, code in made[n].codes[:2]:
                        yield (1.0, cost), cost, spot, code

    def _two_edits(self) -> Iterator[tuple[tuple[float, ...], float, Spot, Code]]:
        """Two edits in different summands: their changes add up to what is missing."""
        missing = self._wanted - self._vector
        if len(missing) < 4 or not self._made:
            return
        rng = np.random.default_rng(0)
        probe = rng.standard_normal((len(missing), 2))
        every = [
            (spot, option, result)
            for spot, made, results in self._made
            for option, result in zip(made, results, strict=True)
            if option.cost <= 1.7
        ]
        if not every:
            return
        changes = np.array([result for _, _, result in every]) - self._vector
        changes = np.where(np.isfinite(changes), changes, 0.0)
        seen, wanted = changes @ probe, missing @ probe
        size = float(abs(missing).max())
        order = np.argsort(seen[:, 0])
        line = seen[order, 0]
        slack = 1e-8 * size * np.sqrt(len(missing))
        low = np.searchsorted(line, wanted[0] - seen[:, 0] - slack)
        high = np.searchsorted(line, wanted[0] - seen[:, 0] + slack)
        given, told = 0, dict[bytes, int]()
        for i in np.flatnonzero(high > low):
            for j in order[low[i] : min(high[i], low[i] + 20)]:
                if i >= j or abs(seen[i, 1] + seen[j, 1] - wanted[1]) > slack:
                    continue
                (one, first, _), (other, second, _) = every[i], every[j]
                if one is other or abs(changes[i] + changes[j] - missing).max() > 1e-7 * size:
                    continue
                if not changes[i].any() or not changes[j].any():
                    continue
                key = np.round(changes[i] / size, 9).tobytes()
                if told.get(key, 0) >= 2:
                    continue
                told[key] = told.get(key, 0) + 1
                for cost, code in first.codes[:2]:
                    yield (0.9, cost + second.cost), cost, one, code
                given += 1
                if given > 30:
                    return

    def _parallel(self, a: np.ndarray, b: np.ndarray, table: np.ndarray, shift: float) -> np.ndarray:
        """Where a = c b with a number shift + c that has a name."""
        c = (a * b).sum(axis=1) / (b * b).sum(axis=1)
        off = abs(a - c[:, None] * b).max(axis=1)
        fits = (off <= _FIT * abs(a).max(axis=1)) & np.isfinite(c)
        fits[fits] &= self._named(shift + c[fits], table)
        return np.asarray(fits)

    def _terms_and_factors(self) -> Iterator[tuple[tuple[float, ...], float, Spot, Code]]:
        """A term, and a factor somewhere."""
        missing = self._wanted - self._vector
        if len(missing) < 4:
            return
        with np.errstate(all="ignore"):
            for spot, made, answers in self._terms:
                for _, share, table, named in self._directions:
                    unit = share / np.sqrt(share @ share)
                    left = missing - (missing @ unit) * unit
                    across = answers - (answers @ unit)[:, None] * unit
                    c = (across @ left) / (across * across).sum(axis=1)
                    off = abs(left - c[:, None] * across).max(axis=1)
                    fits = (off <= _FIT * abs(missing).max()) & (abs(left).max() > 1e-6 * abs(missing).max())
                    for n in np.flatnonzero(fits & np.isfinite(c)):
                        rest = missing - c[n] * answers[n]
                        factor = 1 + (rest @ share) / (share @ share)
                        if not self._named(np.array([factor]), table)[0]:
                            continue
                        cost, text = made[n]
                        for code, more in additions(text, float(c[n]), table, named):
                            yield (1.0, cost + more), cost + more, spot, code
                            break

    def _two_terms(self) -> Iterator[tuple[tuple[float, ...], float, Spot, Code]]:
        """Two terms at one expression."""
        missing = self._wanted - self._vector
        if len(missing) < 6:
            return
        size = float(abs(missing).max())
        with np.errstate(all="ignore"):
            for spot, made, answers in self._terms:
                norms = np.sqrt((answers * answers).sum(axis=1))
                live = np.flatnonzero((norms > 1e-12) & (np.array([cost for cost, _ in made]) < 1.95))[:_TWO]
                if not len(live) or not self._directions:
                    continue
                units = answers[live] / norms[live, None]
                gram, along = units @ units.T, units @ missing
                apart = 1 - gram**2
                first = (along[:, None] - gram * along) / apart  # of i, beside j
                left = missing @ missing - first * along[:, None] - first.T * along
                rows, columns = np.nonzero((left <= 1e-13 * (missing @ missing)) & (apart > 1e-6))
                _, _, table, named = self._directions[0]
                for i, j in zip(rows, columns, strict=True):
                    c, d = first[i, j] / norms[live[i]], first[j, i] / norms[live[j]]
                    off = abs(missing - c * answers[live[i]] - d * answers[live[j]]).max()
                    if i >= j or off > 1e-7 * size or not self._named(np.array([c, d]), table).all():
                        continue
                    cost, text = made[live[i]]
                    for code, more in additions(text, float(c), table, named):
                        yield (1.2, cost + more), cost + more, spot, code
                        break

    def _turned(self) -> list[tuple[tuple[float, ...], float, Spot, Code]]:
        """Edits that turn the result towards what is wanted."""
        base = self._cosine(self._vector[None])[0]
        found: list[tuple[tuple[float, ...], float, Spot, Code]] = []
        for spot, made, results in self._made:
            gains = self._cosine(results) - base
            for n in np.argsort(-gains)[:6]:
                cost, code = made[n].codes[0]
                if gains[n] > 1e-3 and cost <= 1.7:
                    found.append(((2.0, 0.3 * cost - float(gains[n])), cost, spot, code))
        return found

    def _cosine(self, results: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            norms = np.sqrt((results * results).sum(axis=1) * (self._wanted @ self._wanted))
            return np.nan_to_num(abs(results @ self._wanted) / norms, nan=0.0)
