"""The gradients of means over tasks and prompts in Huang et al. 2023, their factors marked for the audit.

Column k of both is a mean over count vectors c of

    a_n (e_n - sum_m a_m e_m) - 1{n=k} a_0 sum_m a_m e_m,     e = a - e_k,     a_0 the query's attention on itself, or 0.

Where a_0 = 0, it is minus alpha_k in row k and minus beta_{k,n} in the others, times p_k in the population:

    alpha_k = a_k ( sum_{m!=k} a_m^2 + (1 - a_k)^2 ),     beta_{k,n} = a_n ( sum_{m!=k} a_m^2 - a_n - a_k (1 - a_k) )

Mistakes are made in either form; those in the brackets take the place of those in the other.
"""

from functools import lru_cache

import numpy as np

from ...audit.mistakes import PLAIN, Mark
from . import population as populations
from ._marked import scored, turned
from .reference import Counted, Population, PopulationWeights, Weights

__all__ = ["dAB", "dS"]


def dS(weights: Weights, counted: Counted, mark: Mark = PLAIN) -> np.ndarray:
    """The task-averaged gradient: column k, the others 0, (K, K)."""
    counts, k, attends = counted
    S, gradient = scored(weights.S, mark), np.zeros_like(weights.S)
    gradient[:, k] = _Column("a", "row k", "every row but k", mark).mean(S[:, k], k, counts[None], np.ones(1), attends)
    return turned(gradient, mark)


def dAB(weights: PopulationWeights, population: Population, mark: Mark = PLAIN) -> np.ndarray:
    """p_k times the mean over counts, for every k, (K, K)."""
    p, N, attends = population
    counts, chance = _law(tuple(p.tolist()), N, mark)
    S, column = scored(weights.AB, mark), _Column("Attn", "alpha_k", "beta_{k,n}", mark)
    gradient = np.array([column.mean(S[:, k], k, counts, chance, attends) for k in range(len(p))]).T
    return turned(gradient * _frequencies(p, mark), mark)


def _law(p: tuple[float, ...], N: int, mark: Mark) -> tuple[np.ndarray, np.ndarray]:
    """Count vectors (M, K) and their probabilities (M,)."""
    law = counts, _ = _enumerated(p, N)
    missing = {"a context is left out: the mean is over N - 1 of them": lambda: _enumerated(p, N - 1)}
    extra = {"a context is counted that is not there: the mean is over N + 1 of them": lambda: _enumerated(p, N + 1)}
    wrong = {
        "counts are replaced by their means N p_m: N infinite": lambda: (N * np.array(p)[None], np.ones(1)),
        "a factor is absent: the multinomial coefficient in the mean over counts": lambda: (
            counts, (np.array(p) ** counts).prod(axis=1)),
    }  # fmt: skip
    for kind, forms in (("missing-term", missing), ("extra-term", extra), ("wrong-factor", wrong)):
        law = mark.choice("E_c", law, kind, forms)
    return law


@lru_cache(64)
def _enumerated(p: tuple[float, ...], N: int) -> tuple[np.ndarray, np.ndarray]:
    counts, chance = populations.enumerated(np.array(p), N)
    return counts, chance


def _frequencies(p: np.ndarray, mark: Mark) -> np.ndarray:
    """p_k in every entry (n, k)."""
    p_k, p_n, name = np.broadcast_to(p, (len(p), len(p))), p[:, None], "p_k, the query's frequency"
    if not mark.touches("p_k"):
        return p_k
    in_beta = mark.factor(f"{name}, in beta_{{k,n}}", p_k, doubled=False, slot="p_k")
    in_beta = mark.other("p_k in beta_{k,n}", in_beta, {"p_k p_n": lambda: p_k * p_n}, slot="p_k")
    found = mark.factor(name, np.where(np.eye(len(p)), p_k, in_beta), doubled=False, slot="p_k")
    others = {"p_1": p[0], "p_n, the key's frequency,": p_n, "p_k p_n": lambda: p_k * p_n}
    return mark.factor("p_k", found, others, absent=False, slot="p_k")


class _Column:
    """Column k of a mean over counts; `a`, `alpha` and `beta` are what attention, row k and the other rows are called."""

    def __init__(self, a: str, alpha: str, beta: str, mark: Mark) -> None:
        self.names, self.mark = (a, alpha, beta), mark

    def mean(self, scores: np.ndarray, k: int, counts: np.ndarray, chance: np.ndarray, attends: bool) -> np.ndarray:
        """The column (K,), from count vectors (M, K) and their probabilities (M,)."""
        mark, target = self.mark, np.eye(len(scores))[k]
        exps = self.counts(counts, target, attends) * np.exp(scores - scores.max())
        own = np.exp(scores[k] - scores.max()) if mark.attends(attends, "N") else 0.0
        total = exps.sum(axis=1, keepdims=True) + own
        a, a_0 = exps / total, own / total
        if len(counts) > 1:
            each = "the mean over counts is taken of each Attn_m, not of their products"
            means = {each: lambda: ((chance @ a)[None], (chance @ a_0)[None], np.ones(1))}
            a, a_0, chance = mark.choice("E_c", (a, a_0, chance), "wrong-factor", means)
        e = a - mark.minus("the target", "e_k", target, of=self.names[0])
        mean = (a * e).sum(axis=1, keepdims=True)
        inside = e - self.centre(a, e, mean)
        if mark.touches("sum", "alpha", "beta"):
            inside = -self.brackets(a, k, mark)
        rows = self.factor(a, k) * inside
        again = f"c_n is used twice: {self.names[0]}_n is multiplied by c_n once more"
        rows = mark.choice("c_n", rows, "wrong-factor", {again: lambda: rows * counts})
        own_term = a_0 * target * mean
        if attends:
            own_term = mark.term("the query token's own term, - 1{n=k} a_0 r,", own_term, slot="query term")
        return chance @ self.signed(rows - own_term, target)

    def counts(self, counts: np.ndarray, target: np.ndarray, attends: bool) -> np.ndarray:
        """c_n (M, K) in the softmax over features."""
        mark, name = self.mark, "c_n in the softmax, which runs over"
        present = {f"a factor is absent: {name} the features that contexts have": lambda: (counts > 0) * 1.0}
        counts = mark.choice("c_n", counts, "wrong-factor", present)
        counts = mark.factor(f"{name} all features", counts, doubled=False, slot="c_n")
        counts = mark.factor("c_n in the softmax over features", counts, absent=False, slot="c_n")
        query = {"the query was counted among the contexts, with its label: c_k + 1 for c_k": lambda: counts + target}
        return counts if attends else mark.choice("c_n", counts, "query-in-context", query)

    def centre(self, a: np.ndarray, e: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """sum_m a_m e_m (M, 1), where it is subtracted from e_n."""
        mark, A = self.mark, self.names[0]
        mean = mark.mean_term(f"sum_m {A}_m e_m", mean, "", {f"{A}_n (1 - {A}_n) e_n": lambda: a * e})
        alone = f"the target is missing in the softmax's mean term: sum_m {A}_m^2 for sum_m {A}_m e_m"
        return mark.choice("centring", mean, "missing-term", {alone: lambda: (a * a).sum(axis=1, keepdims=True)})

    def factor(self, a: np.ndarray, k: int) -> np.ndarray:
        """a_n (M, K) in front of the brackets."""
        mark, (A, alpha, beta) = self.mark, self.names
        if not mark.touches("a_n"):
            return a
        in_alpha = mark.factor(f"{A}_k in {alpha}", a, slot="a_n")
        in_beta = mark.factor(f"{A}_n in {beta}", a, {f"{A}_k": a[:, k : k + 1]}, doubled=False, slot="a_n")
        both = np.where(np.arange(a.shape[1]) == k, in_alpha, in_beta)
        return mark.factor(f"{A}_n", both, {"1/K": 1 / a.shape[1], f"{A}_n (1 - {A}_n)": a * (1 - a)}, slot="a_n")

    def signed(self, rows: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Rows (M, K), of which one belongs to alpha_k, the others to beta_{k,n}."""
        _, alpha, beta = self.names
        if not self.mark.touches("rows"):
            return rows
        parts = {alpha: target, beta: 1 - target}
        missing = {f"{name} is missing: 0 stands there": rows * (1 - part) for name, part in parts.items()}
        turned = {f"{name} has the wrong sign": rows * (1 - 2 * part) for name, part in parts.items()}
        return self.mark.choice("rows", self.mark.choice("rows", rows, "missing-term", missing), "sign", turned)

    def brackets(self, a: np.ndarray, k: int, mark: Mark) -> np.ndarray:
        """The brackets of alpha_k, in row k, and of beta_{k,n} (M, K)."""
        A, alpha, beta = self.names
        a_k = a[:, k : k + 1]
        squares = self.squares((a * a).sum(axis=1, keepdims=True) - a_k**2, a, a_k, "sum", "", mark)
        miss = mark.term(f"(1 - {A}_k)^2", (1 - a_k) ** 2, f" in {alpha}", slot="alpha")
        miss = mark.other(f"(1 - {A}_k)^2 in {alpha}", miss, {f"1 - {A}_k": 1 - a_k}, slot="alpha")
        in_alpha = self.squares(squares, a, a_k, "alpha", f" in {alpha}", mark) + miss

        a_n = mark.term(f"- {A}_n", a, f" in the brackets of {beta}", slot="beta")
        a_n = mark.factor(f"{A}_n in the brackets of {beta}", a_n, absent=False, slot="beta")
        name, gap = f"- {A}_k (1 - {A}_k)", a_k * (1 - a_k)
        absent = {f"1 - {A}_k": a_k, f"{A}_k": 1 - a_k}
        absent = {f"a factor is absent: {what} in {name} of {beta}": absent[what] for what in absent}
        others = {f"- {A}_k^2": a_k**2, f"- (1 - {A}_k)^2": (1 - a_k) ** 2, f"- {A}_n (1 - {A}_n)": a * (1 - a)}
        others[f"+ (1 - {A}_k)^2, as in {alpha},"] = -((1 - a_k) ** 2)
        gap = mark.choice("beta", mark.term(name, gap, f" in {beta}", slot="beta"), "wrong-factor", absent)
        gap = mark.other(f"{name} in {beta}", np.broadcast_to(gap, a.shape), others, slot="beta")
        without = {f"the sum over m != k of {A}_m^2 leaves out m = n in {beta}": lambda: squares - a * a}
        squares = self.squares(squares, a, a_k, "beta", f" in {beta}", mark)
        in_beta = mark.choice("beta", squares, "missing-term", without) - a_n - gap
        return np.where(np.arange(a.shape[1]) == k, in_alpha, in_beta)

    def squares(
        self, value: np.ndarray, a: np.ndarray, a_k: np.ndarray, slot: str, where: str, mark: Mark
    ) -> np.ndarray:
        """sum_{m!=k} a_m^2 (M, 1)."""
        A = self.names[0]
        name, rest = f"the sum over m != k of {A}_m", a.sum(axis=1, keepdims=True) - a_k
        value = mark.term(f"{name}^2", value, where, slot=slot)
        value = mark.choice(slot, value, "extra-term", {f"{name}^2 includes m = k{where}": lambda: value + a_k**2})
        value = mark.other(f"{A}_m^2 in the sum over m != k{where}", value, {f"{A}_m": rest}, slot=slot)
        return mark.other(f"the sum of squares{where}", value, {f"the square of {name}": rest**2}, slot=slot)
