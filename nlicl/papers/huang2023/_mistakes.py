"""What a wrong formula of one prompt's gradient may have done: the right one with some of its factors replaced.

`slots` names the factor that is replaced, and what stands there.
"""

import numpy as np

from ...audit.subject import Edit


def absent(slot, what, value="absent"):
    return Edit(slot, value, "wrong-factor", f"a factor is absent: {what}")


def doubled(slot, value, what):
    return Edit(slot, value, "wrong-factor", f"a factor is doubled: {what} stands twice")


def other(slot, value, what):
    return Edit(slot, value, "wrong-factor", f"a factor is another one: {what}")


def wrong(slot, value, what):
    return Edit(slot, value, "wrong-factor", what)


def missing(slot, value, what):
    return Edit(slot, value, "missing-term", what)


def extra(slot, value, what):
    return Edit(slot, value, "extra-term", what)


def centring(mean, absent="", added="", diagonal=""):
    """The softmax's mean term in four wrong ways; `mean` is what it subtracts, the others what stands there then."""
    kind, term = "softmax-centering", "the softmax's mean term"
    return [
        Edit("centring", "absent", kind, f"{term}, - {mean}, is missing{absent}"),
        Edit("centring", "added", kind, f"{term} has the wrong sign: {added}"),
        Edit("centring", "diagonal", kind, f"only the diagonal of the softmax's Jacobian is there: {diagonal}"),
        extra("centring", "doubled", f"{term}, - {mean}, is counted twice"),
    ]


def common(query_attends):
    """Mistakes that all three gradients share."""
    terms = ("out", "the query was left out of the sums, which run to N, not N+1")
    if not query_attends:
        terms = ("in", "the query was summed over as if it were a context: N+1 terms")
    left = "the query stands on the left: scores x_query^T Q x_i, and B is transposed"
    half = "x_query^T Q x_i for the scores x_i^T Q x_query, which the rest of the formula does not follow"
    return [
        Edit("query", terms[0], "query-in-context", terms[1]),
        Edit("scores", "transposed", "transpose", left),
        other("scores", "half", half),
        other("scores", "symmetric", "(Q + Q^T)/2 for Q in the scores"),
    ]


def turned(Q, slots):
    """Q, or S, as the scores take it."""
    how = slots.get("scores")
    return Q.T if how in ("transposed", "half") else (Q + Q.T) / 2 if how == "symmetric" else Q


def edited_Q(wrt, slots, params, prompt):
    """res sum_i attn_i (y_i - yhat) x_i x_query^T with res = yhat - y_query, as a product of matrices."""
    Q, tokens, x_query, y_query = params.Q, prompt.tokens, prompt.x_query, prompt.z
    if "contexts" in slots:
        if len(tokens) < 3:
            return None
        tokens = np.delete(tokens, slots["contexts"], axis=0)
    keys = tokens if prompt.query_attends != ("query" in slots) else tokens[:-1]  # the edit turns it around
    X, y = keys[:, :-1], keys[:, -1]
    if slots.get("c_n") == "ignored":
        V, _, y, _ = prompt.code
        X = V.T
    same = (X[:, None] == X[None]).all(axis=2)
    c = same.sum(axis=1)  # c_n of each token's feature
    scores = X @ turned(Q, slots) @ x_query
    scores = scores / {"sqrt(d)": np.sqrt(len(Q)), "sqrt(N)": np.sqrt(len(y)), "N": len(y)}.get(
        slots.get("temperature"), 1
    )
    exps = np.exp(scores - scores.max())
    exps = exps * {"in the softmax": c, "absent": 1 / c}.get(slots.get("c_n"), 1)
    attn = exps / exps.sum()
    if "softmax" in slots:
        attn = {"exp": np.exp(np.minimum(scores, 300)), "exp/N": np.exp(np.minimum(scores, 300)) / len(y),
                "linear": scores / len(y)}[slots["softmax"]]  # fmt: skip
    yhat = attn @ y
    weight = {
        "1/N": np.full_like(attn, 1 / len(attn)),
        "absent": np.ones_like(attn),
        "squared": attn**2,
        "first": np.full_like(attn, attn[0]),
        "1 - attn": attn * (1 - attn),
    }.get(slots.get("attn"), attn)
    weight = weight * {"outside": c, "attn for Attn": 1 / c}.get(slots.get("c_n"), 1)
    centre = {
        "absent": 0.0,
        "added": -yhat,
        "doubled": 2 * yhat,
        "diagonal": attn * y,
        "diagonal of features": (same @ attn) * y,
        "uniform": y.mean(),
        "y_query": y_query,
        "short": attn[:-1] @ y[:-1],
    }.get(slots.get("centring"), yhat)
    label = {"y_query": y_query, "1": 1.0, "absent": 0.0}.get(slots.get("y_i"), y)
    res = {
        "absent": 1.0,
        "squared": (yhat - y_query) ** 2,
        "no label": yhat,
        "no prediction": -y_query,
        "sum": yhat + y_query,
        "sign": np.sign(yhat - y_query),
        "absolute": abs(yhat - y_query),
        "uniform": y.mean() - y_query,
    }.get(slots.get("residual"), yhat - y_query)
    keep = np.ones(len(y))
    if "token" in slots:
        which, times = slots["token"]
        keep[slice(1, None) if which == "rest" else which] *= times
    w = keep * weight * (label - centre)
    left = {"Q": X @ Q.T, "Q^T": X @ Q}.get(slots.get("x_i"), X)
    right = {"x_i": X, "x_1": X[0], "mean": X.mean(axis=0), "attn": attn @ X, "Q": Q @ x_query}.get(
        slots.get("x_query"), x_query
    )
    gradient = res * (left * w[:, None]).T @ np.broadcast_to(right, X.shape)
    gradient = gradient + gradient.T if "sum" in slots else gradient
    return gradient.T if slots.get("scores") == "transposed" else gradient


_CENTRING = centring("yhat", ": y_i for y_i - yhat", "y_i + yhat", "attn_i (1 - attn_i) y_i for attn_i (y_i - yhat)")
_OTHERS = [
    Edit("centring", "diagonal of features", "softmax-centering", "only the diagonal of the softmax's Jacobian is there: "
         "Attn_n (1 - Attn_n) omega_n for Attn_n (omega_n - yhat)"),
    other("centring", "uniform", "y_i less the labels' plain mean for y_i - yhat"),
    other("centring", "y_query", "y_i - y_query for y_i - yhat"),
    absent("residual", "the residual yhat - y_query"),
    doubled("residual", "squared", "the residual yhat - y_query"),
    missing("residual", "no label", "the label is missing: yhat for yhat - y_query"),
    missing("residual", "no prediction", "the prediction is missing: - y_query for yhat - y_query"),
    other("residual", "sum", "yhat + y_query for yhat - y_query"),
    other("residual", "sign", "the sign of yhat - y_query for yhat - y_query"),
    other("residual", "absolute", "|yhat - y_query| for yhat - y_query"),
    other("residual", "uniform", "the labels' plain mean for yhat in the residual"),
    other("y_i", "1", "1 - yhat for y_i - yhat"),
    other("y_i", "y_query", "y_query - yhat for y_i - yhat"),
    missing("y_i", "absent", "y_i is missing: - yhat for y_i - yhat"),
    absent("attn", "attn_i"),
    doubled("attn", "squared", "attn_i"),
    other("attn", "1/N", "the uniform 1/N for attn_i"),
    other("attn", "first", "attn_1 for attn_i"),
    other("attn", "1 - attn", "attn_i (1 - attn_i) for attn_i"),
    other("softmax", "exp", "exp(x_i^T Q x_query) for attn_i everywhere: the softmax is not normalised"),
    other("softmax", "exp/N", "exp(x_i^T Q x_query)/N for attn_i everywhere: the softmax is not normalised"),
    other("softmax", "linear", "x_i^T Q x_query / N for attn_i everywhere: attention without a softmax"),
    absent("c_n", "c_n in the softmax over features"),
    wrong("c_n", "in the softmax", "c_n is used twice, c_n^2 for c_n in the softmax over features"),
    wrong("c_n", "outside", "c_n is used twice: attention on a feature, Attn_n, is multiplied by c_n once more"),
    absent("c_n", "c_n in attention on a feature, attn_n for Attn_n outside of yhat", "attn for Attn"),
    other("x_query", "x_i", "x_i x_i^T for x_i x_query^T"),
    other("x_query", "x_1", "x_1^T for x_query^T"),
    other("x_query", "mean", "the inputs' plain mean for x_query"),
    other("x_query", "attn", "sum_j attn_j x_j for x_query"),
    other("x_query", "Q", "Q x_query for x_query"),
    other("x_i", "Q", "Q x_i for x_i"),
    other("x_i", "Q^T", "Q^T x_i for x_i"),
    wrong("temperature", "sqrt(d)", "a factor is too many: the scores are divided by sqrt(d)"),
    wrong("temperature", "sqrt(N)", "a factor is too many: the scores are divided by sqrt(N)"),
    wrong("temperature", "N", "a factor is too many: the scores are divided by N"),
    extra("sum", "transpose", "the gradient's transpose is added, as if Q were symmetric"),
    missing("contexts", 0, "the first context is left out everywhere, of the softmax too"),
    missing("contexts", -2, "the last context is left out everywhere, of the softmax too"),
    missing("token", ("rest", 0), "the sum over i is missing: only the first token counts"),
    missing("token", (0, 0), "the first token is left out of the sum over i"),
    missing("token", (-1, 0), "the last token is left out of the sum over i"),
    extra("token", (0, 2), "the first token is counted twice in the sum over i"),
    extra("token", (-1, 2), "the last token is counted twice in the sum over i"),
]  # fmt: skip
_MASKED = [  # with the query among the keys, its label is 0 and nothing is left out with it
    missing("centring", "short", "the last token is left out of the softmax's mean term"),
    absent("c_n", "c_n in the softmax, which runs over the query's feature even where no context has it", "ignored"),
]


def edits_Q(wrt, query_attends):
    """The ways in which formulas of Q go wrong, each as a change of one factor."""
    return common(query_attends) + _CENTRING + _OTHERS + ([] if query_attends else _MASKED)
