"""Wrong formulas of Huang et al. 2023 and Bu et al. 2024, and those that papers print: errata, as they are registered."""

# ruff: noqa: RUF059 (a forward pass returns more than a formula uses)

import numpy as np

from nlicl.papers import bu2024, huang2023, li2024

from .case import WrongFormula
from .li2024 import FORMULAS as OF_LI2024


def softmax(scores):
    e = np.exp(scores - scores.max())
    return e / e.sum()


# ---- Huang et al.: Q of one prompt


def Q_uncentred(params, prompt):
    """yhat is not subtracted from the labels."""
    X, y, x_q = prompt.X, prompt.y, prompt.x_query
    attn = softmax(X.T @ params.Q @ x_q)
    yhat = attn @ y
    return (yhat - prompt.z) * np.outer(X @ (attn * y), x_q)


def Q_query_label(params, prompt):
    """The query's label is subtracted, not yhat."""
    X, y, x_q = prompt.X, prompt.y, prompt.x_query
    attn = softmax(X.T @ params.Q @ x_q)
    yhat = attn @ y
    return (yhat - prompt.z) * np.outer(X @ (attn * (y - prompt.z)), x_q)


def Q_transposed(params, prompt):
    """The outer product is the wrong way round."""
    X, y, x_q = prompt.X, prompt.y, prompt.x_query
    attn = softmax(X.T @ params.Q @ x_q)
    yhat = attn @ y
    return (yhat - prompt.z) * np.outer(x_q, X @ (attn * (y - yhat)))


def Q_two(params, prompt):
    """The factor 2 of a square without its half."""
    X, y, x_q = prompt.X, prompt.y, prompt.x_query
    attn = softmax(X.T @ params.Q @ x_q)
    yhat = attn @ y
    total = sum(attn[i] * (y[i] - yhat) * np.outer(X[:, i], x_q) for i in range(len(y)))
    return 2 * (yhat - prompt.z) * total


def Q_scores(params, prompt):
    """The softmax has Q transposed."""
    X, y, x_q = prompt.X, prompt.y, prompt.x_query
    attn = softmax(X.T @ params.Q.T @ x_q)
    yhat = attn @ y
    return (yhat - prompt.z) * np.outer(X @ (attn * (y - yhat)), x_q)


def Q_mean_label(params, prompt):
    """The mean of the labels for yhat, and the residual's sign."""
    X, y, x_q = prompt.X, prompt.y, prompt.x_query
    attn = softmax(X.T @ params.Q @ x_q)
    yhat = attn @ y
    return (prompt.z - yhat) * np.outer(X @ (attn * (y - y.mean())), x_q)


def Q_no_attention(params, prompt):
    """The attention is missing behind the sum, and divided by N."""
    X, y, x_q = prompt.X, prompt.y, prompt.x_query
    yhat = softmax(X.T @ params.Q @ x_q) @ y
    return (yhat - prompt.z) * np.outer(X @ (y - yhat), x_q) / len(y)


# ---- Huang et al.: S, averaged over tasks, and the population


def S_no_square(weights, counted):
    """a for the error a - e_k."""
    c, k = counted.counts, counted.query
    with np.errstate(divide="ignore"):
        a = softmax(weights.S[:, k] + np.log(c))
    gradient = np.zeros_like(weights.S)
    gradient[:, k] = a * (a - a @ a)
    return gradient


def S_row(weights, counted):
    """Written into the row, not the column."""
    c, k = counted.counts, counted.query
    with np.errstate(divide="ignore"):
        a = softmax(weights.S[:, k] + np.log(c))
    e = a.copy()
    e[k] -= 1
    gradient = np.zeros_like(weights.S)
    gradient[k, :] = a * (e - a @ e)
    return gradient


def S_no_counts(weights, counted):
    """How often a feature occurs is forgotten, except that it occurs."""
    c, k = counted.counts, counted.query
    with np.errstate(divide="ignore"):
        a = softmax(weights.S[:, k] + np.log(c > 0))
    e = a - np.eye(len(a))[k]
    gradient = np.zeros_like(weights.S)
    gradient[:, k] = a * (e - a @ e)
    return gradient


def S_uncentred(weights, counted):
    """The mean is not subtracted, and a factor 2."""
    c, k = counted.counts, counted.query
    with np.errstate(divide="ignore"):
        a = softmax(weights.S[:, k] + np.log(c))
    e = a - np.eye(len(a))[k]
    gradient = np.zeros_like(weights.S)
    for n in range(len(a)):
        gradient[n, k] = 2 * a[n] * e[n]
    return gradient


# ---- Bu et al.: all matrices, logistic loss


def logistic(params, prompt):
    """attn, context h, u, g = -y sigmoid(-y F)."""
    P, q = prompt.contexts, prompt.query
    attn = softmax((params.W_K @ P).T @ (params.W_Q @ q))
    h = P @ attn
    u = params.W_O @ params.W_V @ h
    F = params.a @ np.maximum(u, 0)
    return attn, h, u, -prompt.z / (1 + np.exp(prompt.z * F))


def logistic_no_label(params, prompt):
    P, q = prompt.contexts, prompt.query
    attn = softmax((params.W_K @ P).T @ (params.W_Q @ q))
    h = P @ attn
    u = params.W_O @ params.W_V @ h
    F = params.a @ np.maximum(u, 0)
    return attn, h, u, -prompt.z / (1 + np.exp(F))


def bu_W_O_label(params, prompt):
    """The label inside the sigmoid is missing (in the helper)."""
    attn, h, u, g = logistic_no_label(params, prompt)
    return g * np.outer(params.a * (u > 0), params.W_V @ h)


def bu_W_O_gate(params, prompt):
    """The gate is reversed."""
    attn, h, u, g = logistic(params, prompt)
    return g * np.outer(params.a * (u < 0), params.W_V @ h)


def bu_W_V_tail(params, prompt):
    """sigmoid(y F) for sigmoid(-y F)."""
    attn, h, u, g = logistic(params, prompt)
    g = -prompt.z - g
    return g * np.outer(params.W_O.T @ (params.a * (u > 0)), h)


def bu_W_Q_uncentred(params, prompt):
    """phibar is not subtracted."""
    P = prompt.contexts
    attn, h, u, g = logistic(params, prompt)
    phi = (params.a * (u > 0)) @ params.W_O @ params.W_V @ P
    chi = P @ (attn * phi)
    return g * np.outer(params.W_K @ chi, prompt.query)


def bu_W_K_slope(params, prompt):
    """The loss is differentiated once more: sigmoid (1 - sigmoid)."""
    P = prompt.contexts
    attn, h, u, g = logistic(params, prompt)
    phi = (params.a * (u > 0)) @ params.W_O @ params.W_V @ P
    chi = P @ (attn * (phi - attn @ phi))
    return g * (1 - abs(g)) * np.outer(params.W_Q @ prompt.query, chi)


def bu_a_two(params, prompt):
    """No relu, and the label is missing in front."""
    attn, h, u, g = logistic(params, prompt)
    return -abs(g) * u


def bu_W_Q_two(params, prompt):
    """No gate of the neurons, and W_Q for W_K, which fits as they have one shape."""
    P = prompt.contexts
    attn, h, u, g = logistic(params, prompt)
    phi = params.a @ params.W_O @ params.W_V @ P
    chi = P @ (attn * (phi - attn @ phi))
    return g * np.outer(params.W_Q @ chi, prompt.query)


# ---- Bu et al.: the blocks, words and labels apart


def bu_W_Oy_words(blocks, prompt):
    """The attention is of words themselves: W_Q^x and W_K^x are left out."""
    attn = softmax(prompt.x.T @ prompt.x_q)
    v = prompt.y @ softmax((blocks.W_Kx @ prompt.x).T @ (blocks.W_Qx @ prompt.x_q))
    u = blocks.W_Oy @ v
    F = blocks.r @ np.maximum(u, 0)
    g = -prompt.z / (1 + np.exp(prompt.z * F))
    return g * np.outer(blocks.r * (u > 0), prompt.y @ attn)


def bu_W_Qx_transposed(blocks, prompt):
    """W_K^x is transposed."""
    attn = softmax((blocks.W_Kx @ prompt.x).T @ (blocks.W_Qx @ prompt.x_q))
    u = blocks.W_Oy @ prompt.y @ attn
    F = blocks.r @ np.maximum(u, 0)
    phi = (blocks.r * (u > 0)) @ blocks.W_Oy @ prompt.y
    chi = prompt.x @ (attn * (phi - attn @ phi))
    return -prompt.z / (1 + np.exp(prompt.z * F)) * np.outer(blocks.W_Kx.T @ chi, prompt.x_q)


def bu_W_Kx_two(blocks, prompt):
    """W_Q^x is missing, and the sign."""
    attn = softmax((blocks.W_Kx @ prompt.x).T @ (blocks.W_Qx @ prompt.x_q))
    u = blocks.W_Oy @ prompt.y @ attn
    F = blocks.r @ np.maximum(u, 0)
    phi = (blocks.r * (u > 0)) @ blocks.W_Oy @ prompt.y
    chi = prompt.x @ (attn * (phi - attn @ phi))
    return prompt.z / (1 + np.exp(prompt.z * F)) * np.outer(prompt.x_q, chi)


FACTOR = ("wrong-factor", "missing-term", "extra-term", "scale")
GATE = (*FACTOR, "relu-gate", "hinge-gate", "entries", "gate", "formula")
CENTRED = (*FACTOR, "softmax-centering", "query-in-context")


def of(paper, wrt, *cases):
    return [WrongFormula(function, kinds, *more, paper=paper, wrt=wrt) for function, kinds, *more in cases]


PAPERS = {"li2024": li2024, "huang2023": huang2023, "bu2024": bu2024}


def printed(paper):
    """The paper's own formulas that are known to be wrong, as registered."""
    formulas = PAPERS[paper].formulas.values()
    kinds = (*CENTRED, *GATE, "transpose", "shape")
    return [WrongFormula(formula, kinds, 2 if "; " in (formula.erratum or "") else 1, name=formula.name,
                         says=formula.erratum or "", paper=paper, wrt=formula.wrt)
            for formula in formulas if formula.expected == "disagree"]  # fmt: skip


FORMULAS = [
    *OF_LI2024,
    *(wrong for paper in PAPERS for wrong in printed(paper)),
    *of("huang2023", "Q", (Q_uncentred, CENTRED), (Q_query_label, CENTRED), (Q_transposed, ("transpose",)),
        (Q_two, FACTOR), (Q_scores, FACTOR), (Q_mean_label, (*CENTRED, "sign"), 2), (Q_no_attention, FACTOR, 2)),
    *of("huang2023", "S", (S_no_square, FACTOR), (S_row, ("transpose",)), (S_no_counts, FACTOR),
        (S_uncentred, CENTRED, 2)),
    *of("bu2024", "W_O", (bu_W_O_label, FACTOR), (bu_W_O_gate, GATE)),
    *of("bu2024", "W_V", (bu_W_V_tail, FACTOR)),
    *of("bu2024", "W_Q", (bu_W_Q_uncentred, CENTRED), (bu_W_Q_two, GATE, 2)),
    *of("bu2024", "W_K", (bu_W_K_slope, FACTOR)),
    *of("bu2024", "a", (bu_a_two, GATE, 2)),
    *of("bu2024", "W_Oy", (bu_W_Oy_words, FACTOR)),
    *of("bu2024", "W_Qx", (bu_W_Qx_transposed, (*FACTOR, "shape"))),
    *of("bu2024", "W_Kx", (bu_W_Kx_two, (*FACTOR, "sign"), 2)),
]  # fmt: skip
