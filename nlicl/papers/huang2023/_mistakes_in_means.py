"""What a wrong formula of a mean over tasks or prompts may have done: the right one with some of its factors replaced.

Two forms of one gradient are at work: a_n (e_n - <a, e>), and the increments alpha_k and beta_{k,n}, which are minus that.
"""

from functools import lru_cache

import numpy as np

from ...audit.subject import Edit
from . import population as populations
from ._mistakes import absent, centring, common, doubled, extra, missing, other, turned, wrong


def edited_S(wrt, slots, weights, counted):
    """Column k of the task-averaged gradient, the others 0."""
    counts, k, attends = counted
    return _columns(weights.S, counts[None], np.ones(1), [k], attends, slots, 1.0)


def edited_AB(wrt, slots, weights, population):
    """p_k times the mean over counts of the same, for every k."""
    p, N, attends = population
    counts, probability = _counts(tuple(p.tolist()), N, slots.get("E_c"))
    beta = ~np.eye(len(p), dtype=bool)
    p_k = {
        "absent": 1.0,
        "squared": p**2,
        "first": p[0],
        "p_n": p[:, None],
        "p_k p_n": p[:, None] * p,
        "absent in beta": np.where(beta, 1.0, p),
        "p_k p_n in beta": np.where(beta, p[:, None] * p, p),
    }.get(slots.get("p_k"), p)
    return _columns(weights.AB, counts, probability, range(len(p)), attends, slots, p_k)


@lru_cache(64)
def _counts(p, N, how):
    """Count vectors and their probabilities."""
    p = np.array(p)
    if how == "of counts":
        return N * p[None], np.ones(1)
    counts, probability = populations.enumerated(p, N + {"N-1": -1, "N+1": 1}.get(how, 0))
    return counts, (p**counts).prod(axis=1) if how == "sequences" else probability


def _columns(S, counts, probability, queries, attends, slots, p_k):
    """p_k times columns `queries` of the mean over counts: a_n (e_n - <a, e>) - 1{n=k} a_0 <a, e> with e = a - e_k."""
    K, scored = len(S), turned(S, slots)
    gradient = np.zeros_like(S)
    for k in queries:
        target = np.eye(K)[k]
        c = {
            "absent": (counts > 0) * 1.0,
            "ignored": np.ones_like(counts),
            "in the softmax": counts**2,
            "query": counts + target,
        }.get(slots.get("c_n"), counts)
        exps = c * np.exp(scored[:, k] - scored[:, k].max())
        own = np.exp(scored[k, k] - scored[:, k].max()) if attends != ("query" in slots) else 0.0
        total = exps.sum(axis=1) + own
        a, a_0, weight = exps / total[:, None], (own / total)[:, None], probability
        if slots.get("E_c") == "of Attn":
            a, a_0, weight = (weight @ a)[None], (weight @ a_0)[None], np.ones(1)
        e = a - {"absent": 0.0, "doubled": 2.0, "added": -1.0}.get(slots.get("e_k"), 1.0) * target
        mean = (a * e).sum(axis=1, keepdims=True)
        centre = {
            "absent": 0.0,
            "added": -mean,
            "doubled": 2 * mean,
            "diagonal": a * e,
            "no target": (a * a).sum(axis=1, keepdims=True),
        }.get(slots.get("centring"), mean)
        factor = {
            "absent": 1.0,
            "squared": a**2,
            "uniform": 1 / K,
            "1 - a_n": a * (1 - a),
            "absent in alpha": np.where(target, 1.0, a),
            "squared in alpha": np.where(target, a**2, a),
            "absent in beta": np.where(target, a, 1.0),
            "a_k in beta": a[:, k : k + 1],
        }.get(slots.get("a_n"), a)
        if slots.get("c_n") == "outside":
            factor = factor * (counts if len(a) == len(counts) else probability @ counts)
        wrong = _added(a, k, slots) if slots.keys() & {"sum", "alpha", "beta"} else 0.0
        rows = factor * (e - centre - wrong) - ("query term" not in slots) * a_0 * target * mean
        signs = {"only alpha": target, "only beta": 1 - target, "-alpha": 1 - 2 * target, "-beta": 2 * target - 1}
        gradient[:, k] = weight @ rows * signs.get(slots.get("rows"), 1.0)
    gradient = gradient * p_k
    return gradient.T if slots.get("scores") == "transposed" else gradient


def _added(a, k, slots):
    """What a mistake adds to the sums in brackets (M, K), of row k, which is alpha_k, and of the others, beta_{k,n}:

    alpha_k = a_k ( sum_{m!=k} a_m^2 + (1 - a_k)^2 ),  beta_{k,n} = a_n ( sum_{m!=k} a_m^2 - a_n - a_k (1 - a_k) ).
    """
    a_k, here = a[:, k : k + 1], np.eye(a.shape[1])[k]
    rest, others = (power.sum(axis=1, keepdims=True) - power[:, k : k + 1] for power in (a, a * a))
    miss, gap = (1 - a_k) ** 2, a_k * (1 - a_k)
    both = {"absent": -others, "negative": -2 * others, "twice": others, "with k": a_k**2, "not squared": rest - others,
            "squared as a whole": rest**2 - others}  # fmt: skip
    alpha = {"no miss": -miss, "miss once": 1 - a_k - miss, "-miss": -2 * miss, "2 miss": miss}
    beta = {
        "no a_n": a, "+a_n": 2 * a, "2 a_n": -a, "a_n^2": a - a * a, "without n": -a * a,
        "no gap": gap, "+gap": 2 * gap, "2 gap": -gap, "a_k": gap - a_k, "a_k^2": gap - a_k**2, "1 - a_k": gap - 1 + a_k,
        "-miss": gap - miss, "+miss": gap + miss, "of n": gap - a * (1 - a),
    }  # fmt: skip
    return (
        both.get(slots.get("sum"), 0.0)
        + here * (both | alpha).get(slots.get("alpha"), 0.0)
        + (1 - here) * (both | beta).get(slots.get("beta"), 0.0)
    )


_NAMES = {
    "S": {"a": "a", "alpha": "row k", "beta": "every row but k"},
    "AB": {"a": "Attn", "alpha": "alpha_k", "beta": "beta_{k,n}"},
}
_CENTRING = [
    *centring("sum_m {a}_m e_m", "", "+ sum_m {a}_m e_m", "{a}_n (1 - {a}_n) e_n"),
    missing(
        "centring", "no target", "the target is missing in the softmax's mean term: sum_m {a}_m^2 for sum_m {a}_m e_m"
    ),
]
_FACTORS = [
    missing("e_k", "absent", "the target is missing: {a} for e = {a} - e_k"),
    extra("e_k", "doubled", "the target is counted twice: {a} - 2 e_k for e = {a} - e_k"),
    other("e_k", "added", "{a} + e_k for e = {a} - e_k"),
    absent("a_n", "{a}_n"),
    doubled("a_n", "squared", "{a}_n"),
    other("a_n", "uniform", "1/K for {a}_n"),
    other("a_n", "1 - a_n", "{a}_n (1 - {a}_n) for {a}_n"),
    absent("a_n", "{a}_k in {alpha}", "absent in alpha"),
    doubled("a_n", "squared in alpha", "{a}_k in {alpha}"),
    absent("a_n", "{a}_n in {beta}", "absent in beta"),
    other("a_n", "a_k in beta", "{a}_k for {a}_n in {beta}"),
    absent("c_n", "c_n in the softmax, which runs over the features that contexts have"),
    absent("c_n", "c_n in the softmax, which runs over all features", "ignored"),
    wrong("c_n", "in the softmax", "c_n is used twice, c_n^2 for c_n in the softmax over features"),
    wrong("c_n", "outside", "c_n is used twice: {a}_n is multiplied by c_n once more"),
]  # fmt: skip
_SUMMANDS = [
    missing("rows", "only alpha", "{beta} is missing: 0 stands there"),
    missing("rows", "only beta", "{alpha} is missing: 0 stands there"),
    Edit("rows", "-alpha", "sign", "{alpha} has the wrong sign"),
    Edit("rows", "-beta", "sign", "{beta} has the wrong sign"),
    *(
        edit
        for slot, where in (("sum", ""), ("alpha", " in {alpha}"), ("beta", " in {beta}"))
        for edit in (
            missing(slot, "absent", "the sum over m != k of {a}_m^2 is missing" + where),
            wrong(slot, "negative", "the sum over m != k of {a}_m^2 has the wrong sign" + where),
            extra(slot, "twice", "the sum over m != k of {a}_m^2 is counted twice" + where),
            extra(slot, "with k", "the sum over m != k of {a}_m^2 includes m = k" + where),
            other(slot, "not squared", "{a}_m for {a}_m^2 in the sum over m != k" + where),
            other(slot, "squared as a whole", "the square of the sum over m != k of {a}_m for the sum of squares" + where),
        )
    ),
    missing("alpha", "no miss", "(1 - {a}_k)^2 is missing in {alpha}"),
    other("alpha", "miss once", "1 - {a}_k for (1 - {a}_k)^2 in {alpha}"),
    wrong("alpha", "-miss", "(1 - {a}_k)^2 has the wrong sign in {alpha}"),
    extra("alpha", "2 miss", "(1 - {a}_k)^2 is counted twice in {alpha}"),
    extra("beta", "2 a_n", "- {a}_n is counted twice in the brackets of {beta}"),
    extra("beta", "2 gap", "- {a}_k (1 - {a}_k) is counted twice in {beta}"),
    missing("beta", "no a_n", "- {a}_n is missing in the brackets of {beta}"),
    wrong("beta", "+a_n", "- {a}_n has the wrong sign in the brackets of {beta}"),
    doubled("beta", "a_n^2", "{a}_n in the brackets of {beta}"),
    missing("beta", "without n", "the sum over m != k of {a}_m^2 leaves out m = n in {beta}"),
    missing("beta", "no gap", "- {a}_k (1 - {a}_k) is missing in {beta}"),
    wrong("beta", "+gap", "- {a}_k (1 - {a}_k) has the wrong sign in {beta}"),
    absent("beta", "1 - {a}_k in - {a}_k (1 - {a}_k) of {beta}", "a_k"),
    absent("beta", "{a}_k in - {a}_k (1 - {a}_k) of {beta}", "1 - a_k"),
    other("beta", "a_k^2", "- {a}_k^2 for - {a}_k (1 - {a}_k) in {beta}"),
    other("beta", "-miss", "- (1 - {a}_k)^2 for - {a}_k (1 - {a}_k) in {beta}"),
    other("beta", "+miss", "+ (1 - {a}_k)^2, as in {alpha}, for - {a}_k (1 - {a}_k) in {beta}"),
    other("beta", "of n", "- {a}_n (1 - {a}_n) for - {a}_k (1 - {a}_k) in {beta}"),
]  # fmt: skip
_MASKED = [
    Edit(
        "c_n", "query", "query-in-context", "the query was counted among the contexts, with its label: c_k + 1 for c_k"
    ),
]
_UNMASKED = [
    missing("query term", "absent", "the query token's own term, - 1{{n=k}} a_0 r, is missing"),
]
_POPULATION = [
    absent("p_k", "p_k, the query's frequency"),
    doubled("p_k", "squared", "p_k"),
    other("p_k", "first", "p_1 for p_k"),
    other("p_k", "p_n", "p_n, the key's frequency, for p_k"),
    other("p_k", "p_k p_n", "p_k p_n for p_k"),
    absent("p_k", "p_k, the query's frequency, in beta_{k,n}", "absent in beta"),
    other("p_k", "p_k p_n in beta", "p_k p_n for p_k in beta_{k,n}"),
    wrong("E_c", "of counts", "counts are replaced by their means N p_m: N infinite"),
    wrong("E_c", "of Attn", "the mean over counts is taken of each Attn_m, not of their products"),
    absent("E_c", "the multinomial coefficient in the mean over counts", "sequences"),
    missing("E_c", "N-1", "a context is left out: the mean is over N - 1 of them"),
    extra("E_c", "N+1", "a context is counted that is not there: the mean is over N + 1 of them"),
]


def edits(wrt, query_attends):
    """The ways in which formulas of S and of AB go wrong, each as a change of one factor."""
    averages = _CENTRING + _FACTORS + _SUMMANDS + (_UNMASKED if query_attends else _MASKED)
    named = [edit._replace(detail=edit.detail.format(**_NAMES[wrt])) for edit in averages]
    return common(query_attends) + named + (_POPULATION if wrt == "AB" else [])
