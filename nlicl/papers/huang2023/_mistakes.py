"""What a wrong formula of Huang et al. 2023 may have done: the right gradient with some of its factors replaced."""

from functools import lru_cache

import numpy as np

from ...formula import Edit
from . import population as populations


def edits(wrt, query_attends):
    """The ways in which formulas of this model go wrong, each as a change of one factor."""
    return (_edits_Q if wrt == "Q" else _edits_S)(wrt, query_attends)


def _query(query_attends):
    if query_attends:
        return Edit("query", "out", "query-in-context", "the query was left out of the sums, which run to N, not N+1")
    return Edit("query", "in", "query-in-context", "the query was summed over as if it were a context: N+1 terms")


# ---- One prompt


def edited_Q(wrt, slots, params, prompt):
    """res sum_i attn_i (y_i - yhat) x_i x_query^T with res = yhat - y_query, as a product of matrices; `slots` names the
    factor that is replaced and what stands there."""
    Q, tokens, x_query = params.Q, prompt.tokens, prompt.x_query
    if "contexts" in slots:
        if len(tokens) < 3:
            return None
        tokens = np.delete(tokens, slots["contexts"], axis=0)
    keys = tokens if prompt.query_attends != ("query" in slots) else tokens[:-1]  # the edit turns it around
    X, y = keys[:, :-1], keys[:, -1]
    Q = {"transposed": Q.T, "temperature": Q / np.sqrt(len(Q))}.get(slots.get("scores"), Q)
    scores = X @ Q @ x_query
    exps = np.exp(scores - scores.max())
    same = (X[:, None] == X[None]).all(axis=2).sum(axis=1)  # c_n of each token's feature
    if slots.get("c_n") == "in the softmax":
        exps = exps * same
    attn = exps / exps.sum()
    yhat = attn @ y
    weight = {
        "1/N": np.full_like(attn, 1 / len(attn)),
        "1": np.ones_like(attn),
        "attn^2": attn**2,
        "first": np.full_like(attn, attn[0]),
    }.get(slots.get("attn"), attn)
    if slots.get("c_n") == "outside":
        weight = weight * same
    centre = {
        "absent": 0.0,
        "added": -yhat,
        "doubled": 2 * yhat,
        "uniform": y.mean(),
        "y_query": prompt.z,
        "short": attn[:-1] @ y[:-1],
    }.get(slots.get("centring"), yhat)
    label = {"y_query": prompt.z, "1": 1.0}.get(slots.get("y_i"), y)
    res = {
        "absent": 1.0,
        "squared": (yhat - prompt.z) ** 2,
        "no label": yhat,
        "no prediction": -prompt.z,
        "sign": np.sign(yhat - prompt.z),
        "uniform": y.mean() - prompt.z,
    }.get(slots.get("residual"), yhat - prompt.z)
    keep = np.ones(len(y))
    if "token" in slots:
        which, times = slots["token"]
        keep[slice(1, None) if which == "rest" else which] *= times
    w = keep * weight * (label - centre)
    right = {"x_i": X, "x_1": np.broadcast_to(X[0], X.shape)}.get(slots.get("x_query"))
    gradient = res * (X.T @ (w[:, None] * right) if right is not None else np.outer(X.T @ w, x_query))
    return gradient.T if slots.get("scores") == "transposed" else gradient


def _edits_Q(wrt, query_attends):
    factor = "wrong-factor"
    found = [
        _query(query_attends),
        Edit("centring", "absent", "softmax-centering", "the softmax's mean term is missing: y_i for y_i - yhat"),
        Edit("centring", "added", "softmax-centering", "the softmax's mean term has the wrong sign: y_i + yhat"),
        Edit("centring", "doubled", "extra-term", "the softmax's mean term, - yhat, is counted twice"),
        Edit("centring", "uniform", factor, "a factor is another one: y_i less the labels' plain mean for y_i - yhat"),
        Edit("centring", "y_query", factor, "a factor is another one: y_i - y_query for y_i - yhat"),
        Edit("residual", "absent", factor, "a factor is absent: the residual yhat - y_query"),
        Edit("residual", "squared", factor, "a factor is doubled: the residual yhat - y_query stands twice"),
        Edit("residual", "no label", "missing-term", "the label is missing: yhat for yhat - y_query"),
        Edit("residual", "no prediction", "missing-term", "the prediction is missing: - y_query for yhat - y_query"),
        Edit("residual", "sign", factor, "a factor is another one: the sign of yhat - y_query for yhat - y_query"),
        Edit("residual", "uniform", factor, "a factor is another one: the labels' plain mean for yhat in the residual"),
        Edit("y_i", "1", factor, "a factor is another one: 1 - yhat for y_i - yhat"),
        Edit("y_i", "y_query", factor, "a factor is another one: y_query - yhat for y_i - yhat"),
        Edit("attn", "1", factor, "a factor is absent: attn_i"),
        Edit("attn", "attn^2", factor, "a factor is doubled: attn_i stands twice"),
        Edit("attn", "1/N", factor, "a factor is another one: the uniform 1/N for attn_i"),
        Edit("attn", "first", factor, "a factor is another one: attn_1 for attn_i"),
        Edit(
            "c_n",
            "outside",
            factor,
            "c_n is used twice: attention on a feature, Attn_n, is multiplied by c_n once more",
        ),
        Edit("c_n", "in the softmax", factor, "c_n is used twice: c_n^2 for c_n in the softmax over features"),
        Edit("x_query", "x_i", factor, "a factor is another one: x_i x_i^T for x_i x_query^T"),
        Edit("x_query", "x_1", factor, "a factor is another one: x_1^T for x_query^T"),
        Edit(
            "scores",
            "transposed",
            "transpose",
            "the query stands on the left: scores x_query^T Q x_i, and B is transposed",
        ),
        Edit("scores", "temperature", factor, "a factor is another one: the scores are divided by sqrt(d)"),
        Edit("contexts", 0, "missing-term", "the first context is left out everywhere, of the softmax too"),
        Edit("contexts", -2, "missing-term", "the last context is left out everywhere, of the softmax too"),
        Edit("token", ("rest", 0), "missing-term", "the sum over i is missing: only the first token counts"),
    ]
    if not query_attends:  # the query's label is 0: nothing is left out with it
        found.append(Edit("centring", "short", "missing-term", "the last token is left out of the softmax's mean term"))
    for which, place in ((0, "first"), (-1, "last")):
        found.append(Edit("token", (which, 0), "missing-term", f"the {place} token is left out of the sum over i"))
        found.append(Edit("token", (which, 2), "extra-term", f"the {place} token is counted twice in the sum over i"))
    return found


# ---- Averages


def edited_S(wrt, slots, weights, counted):
    """Column k of the task-averaged gradient, the others 0, with some factors replaced."""
    counts, k, attends = counted
    return _gradient(weights.S, counts[None], np.ones(1), [k], attends, slots)


def edited_AB(wrt, slots, weights, population):
    """p_k times the mean over counts of the same, for every k."""
    p, N, attends = population
    counts, probability = (_mean_counts if "E_c" in slots else _all_counts)(tuple(p.tolist()), N)
    p_k = {"absent": np.ones_like(p), "squared": p**2, "first": np.full_like(p, p[0])}.get(slots.get("p_k"), p)
    if slots.get("p_k") == "p_n":  # of the key
        return p[:, None] * _gradient(weights.AB, counts, probability, range(len(p)), attends, slots)
    return _gradient(weights.AB, counts, probability, range(len(p)), attends, slots) * p_k


@lru_cache(32)
def _all_counts(p, N):
    return tuple(populations.enumerated(np.array(p), N))


def _mean_counts(p, N):
    return N * np.array(p)[None], np.ones(1)


def _gradient(S, counts, probability, queries, attends, slots):
    """Columns `queries` of the mean over count vectors: a_n (e_n - <a, e>) - 1{n=k} a_0 <a, e> with e = a - e_k."""
    K = len(S)
    gradient = np.zeros_like(S)
    power = {"absent": (counts > 0) * 1.0, "in the softmax": counts**2}.get(slots.get("c_n"), counts)
    for k in queries:
        column = S[k] if slots.get("scores") == "transposed" else S[:, k]
        exps = power * np.exp(column - column.max())
        own = np.exp(column[k] - column.max()) if attends != ("query" in slots) else 0.0
        total = exps.sum(axis=1) + own
        a, a_0 = exps / total[:, None], (own / total)[:, None]
        target = np.eye(K)[k]
        e = a - {"absent": 0.0, "doubled": 2.0}.get(slots.get("e_k"), 1.0) * target
        mean = (a * e).sum(axis=1, keepdims=True)
        centre = {"absent": 0.0, "added": -1.0, "doubled": 2.0}.get(slots.get("centring"), 1.0) * mean
        factor = {"absent": 1.0, "squared": a**2, "uniform": 1 / K}.get(slots.get("a_n"), a)
        if slots.get("c_n") == "outside":
            factor = factor * counts
        rows = factor * (e - centre) - ("query term" not in slots) * a_0 * target * mean
        gradient[:, k] = probability @ rows
    return gradient.T if slots.get("scores") == "transposed" else gradient


def _edits_S(wrt, query_attends):
    factor = "wrong-factor"
    found = [
        _query(query_attends),
        Edit("centring", "absent", "softmax-centering", "the softmax's mean term, - sum_m a_m e_m, is missing"),
        Edit("centring", "added", "softmax-centering", "the softmax's mean term has the wrong sign: + sum_m a_m e_m"),
        Edit("centring", "doubled", "extra-term", "the softmax's mean term, - sum_m a_m e_m, is counted twice"),
        Edit("e_k", "absent", "missing-term", "the target is missing: a for e = a - e_k"),
        Edit("e_k", "doubled", "extra-term", "the target is counted twice: a - 2 e_k for e = a - e_k"),
        Edit("a_n", "absent", factor, "a factor is absent: a_n"),
        Edit("a_n", "squared", factor, "a factor is doubled: a_n stands twice"),
        Edit("a_n", "uniform", factor, "a factor is another one: 1/K for a_n"),
        Edit("c_n", "absent", factor, "a factor is absent: c_n in the softmax over features"),
        Edit("c_n", "in the softmax", factor, "c_n is used twice: c_n^2 for c_n in the softmax over features"),
        Edit("c_n", "outside", factor, "c_n is used twice: a_n is multiplied by c_n once more"),
        Edit(
            "scores",
            "transposed",
            "transpose",
            "the query stands on the left: scores x_query^T Q x_i, and B is transposed",
        ),
    ]
    if query_attends:
        found.append(
            Edit("query term", "absent", "missing-term", "the query token's own term, - 1{n=k} a_0 r, is missing")
        )
    if wrt == "AB":
        found += [
            Edit("p_k", "absent", factor, "a factor is absent: p_k, the query's frequency"),
            Edit("p_k", "squared", factor, "a factor is doubled: p_k stands twice"),
            Edit("p_k", "first", factor, "a factor is another one: p_1 for p_k"),
            Edit("p_k", "p_n", factor, "a factor is another one: p_n, the key's frequency, for p_k"),
            Edit("E_c", "mean", factor, "counts are replaced by their means N p_m: N infinite"),
        ]
    return found
