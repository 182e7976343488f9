"""Classification: logistic and softmax regression, margins, smoothing, weights."""

import numpy as np
from scipy.special import expit, logsumexp

from .case import Case, Wrong

rng = np.random.default_rng(12)
A = rng.standard_normal((10, 4))
s = np.where(rng.random(10) < 0.5, -1.0, 1.0)  # labels -1, +1
t = (s + 1) / 2  # labels 0, 1
labels = rng.integers(0, 3, 10)
Y = np.eye(3)[labels]
N = len(A)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# ---- Logistic regression, labels -1 and +1


def logistic(w):
    return np.mean(np.logaddexp(0, -s * (A @ w)))


def logistic_gradient(w):
    return -A.T @ (s * expit(-s * (A @ w))) / N


def logistic_positive(w):
    """The minus sign of the exponent's derivative is missing."""
    margin = s * (A @ w)
    return A.T @ (s * sigmoid(-margin)) / N


def logistic_other_tail(w):
    """sigmoid(m) for sigmoid(-m)."""
    margin = s * (A @ w)
    return -A.T @ (s * sigmoid(margin)) / N


def logistic_without_label(w):
    """The label in front is missing."""
    return -(A.T @ sigmoid(-s * (A @ w))) / N


def logistic_01_labels(w):
    """sigmoid(z) - y, which is right for labels 0 and 1 only."""
    z = A @ w
    return A.T @ (sigmoid(z) - s) / N


def logistic_sum_of_scores(w):
    """The label inside the sigmoid is missing, and the mean."""
    g = np.zeros(4)
    for a_i, s_i in zip(A, s, strict=True):
        g -= s_i * a_i * sigmoid(-(a_i @ w))
    return g


# ---- Logistic regression, labels 0 and 1, with an intercept and a regulariser of w


def logistic_01(theta):
    z = A @ theta["w"] + theta["b"]
    return np.mean(np.logaddexp(0, z) - t * z) + 0.1 * np.sum(theta["w"] ** 2)


def logistic_01_gradient(theta):
    r = (expit(A @ theta["w"] + theta["b"]) - t) / N
    return {"w": A.T @ r + 0.2 * theta["w"], "b": r.sum()}


def logistic_01_chain(theta):
    """sigmoid' is multiplied in once more."""
    p = sigmoid(A @ theta["w"] + theta["b"])
    r = (p - t) * p * (1 - p) / N
    return {"w": A.T @ r + 0.2 * theta["w"], "b": r.sum()}


def logistic_01_bias_decay(theta):
    """The regulariser is applied to the intercept too."""
    p = sigmoid(A @ theta["w"] + theta["b"])
    grads = {"w": A.T @ (p - t) / N, "b": np.mean(p - t)}
    for key in grads:
        grads[key] = grads[key] + 0.2 * theta[key]
    return grads


def logistic_01_no_intercept(theta):
    """The intercept is left out of the score."""
    w, b = theta["w"], theta["b"]
    r = sigmoid(A @ w) - t
    return {"w": A.T @ r / N + 0.2 * w, "b": r.mean() + 0 * b}


def logistic_01_two(theta):
    """t - p for p - t in w, and the sum for b."""
    p = sigmoid(A @ theta["w"] + theta["b"])
    return {"w": A.T @ (t - p) / N + 0.2 * theta["w"], "b": np.sum(p - t)}


def logistic_01_half(theta):
    """0.1 w for 0.2 w."""
    p = sigmoid(A @ theta["w"] + theta["b"])
    return {"w": (p - t) @ A / N + 0.1 * theta["w"], "b": (p - t).mean()}


# ---- Softmax regression: W (4, 3), b (3,)


def softmax_regression(W, b):
    z = A @ W + b
    return np.mean(logsumexp(z, axis=1) - np.sum(Y * z, axis=1))


def softmax_regression_gradient(W, b):
    dz = (softmax(A @ W + b) - Y) / N
    return A.T @ dz, dz.sum(axis=0)


def softmax_regression_wrong_axis(W, b):
    """The softmax is taken over the samples."""
    z = A @ W + b
    e = np.exp(z)
    p = e / e.sum(axis=0)
    dz = (p - Y) / N
    return A.T @ dz, dz.sum(axis=0)


def softmax_regression_bias_mean(W, b):
    """The gradient by b is averaged twice."""
    dz = (softmax(A @ W + b) - Y) / N
    return A.T @ dz, dz.mean(axis=0)


def softmax_regression_classes(W, b):
    """Divided by the number of classes: len of the wrong array."""
    P = softmax(A @ W + b)
    dz = (P - Y) / len(b)
    return A.T @ dz, dz.sum(axis=0)


def softmax_regression_labels_only(W, b):
    """p - 1 at the label, zero elsewhere."""
    P = softmax(A @ W + b)
    dz = np.zeros_like(P)
    dz[np.arange(N), labels] = P[np.arange(N), labels] - 1
    dz /= N
    return A.T @ dz, dz.sum(axis=0)


def softmax_regression_jacobian(W, b):
    """The softmax's Jacobian as its diagonal only."""
    P = softmax(A @ W + b)
    dP = -Y / P / N
    dz = dP * P * (1 - P)
    return A.T @ dz, dz.sum(axis=0)


def softmax_regression_loop(W, b):
    """= for += in the loop over samples, and no mean."""
    P = softmax(A @ W + b)
    dW, db = np.zeros_like(W), np.zeros_like(b)
    for i in range(N):
        dW = np.outer(A[i], P[i] - Y[i])
        db = db + (P[i] - Y[i])
    return dW, db


def softmax_regression_no_bias(W, b):
    """The scores leave b out; db has the wrong sign."""
    dz = (softmax(A @ W) - Y) / N
    return A.T @ dz, -np.sum(dz, 0)


def softmax_regression_squared(W, b):
    """The gradient of the squared error of the probabilities."""
    P = softmax(A @ W + b)
    dP = 2 * (P - Y) / N
    dz = P * (dP - np.sum(P * dP, axis=1, keepdims=True))
    return A.T @ dz, dz.sum(axis=0)


# ---- Label smoothing

eps = 0.12


def smoothed(Z):
    target = (1 - eps) * Y + eps / 3
    return -np.mean(np.sum(target * (Z - logsumexp(Z, axis=1, keepdims=True)), axis=1))


def smoothed_gradient(Z):
    return (softmax(Z) - (1 - eps) * Y - eps / 3) / N


def smoothed_hard(Z):
    """Smoothing forgotten."""
    return (softmax(Z) - Y) / N


def smoothed_others(Z):
    """eps on each of the other classes, not eps / 3 on all."""
    q = np.where(Y == 1, 1 - eps, eps / 2)
    return (softmax(Z) - q) / N


def smoothed_not_reduced(Z):
    """The label keeps its whole weight: the target sums to 1 + eps."""
    q = Y + eps / 3
    return (softmax(Z) - q) / N


def smoothed_all_entries(Z):
    """The mean is over all entries; eps / 3 has the wrong sign."""
    G = softmax(Z) - (1 - eps) * Y + eps / 3
    return G / Z.size


# ---- Squared hinge with class weights

cost = np.where(s > 0, 2.0, 0.5)


def squared_hinge(w):
    m = np.maximum(0, 1 - s * (A @ w))
    return 0.5 * np.sum(cost * m**2)


def squared_hinge_gradient(w):
    m = np.maximum(0, 1 - s * (A @ w))
    return -A.T @ (cost * s * m)


def squared_hinge_ungated(w):
    """The maximum was forgotten."""
    m = 1 - s * (A @ w)
    return -A.T @ (cost * s * m)


def squared_hinge_indicator(w):
    """The plain hinge's subgradient: an indicator for the margin."""
    m = 1 - s * (A @ w)
    return -A.T @ (cost * s * (m > 0))


def squared_hinge_gate(w):
    """The gate asks for misclassification, not for the margin."""
    z = s * (A @ w)
    return -A.T @ (cost * s * (1 - z) * (z < 0))


def squared_hinge_unweighted(w):
    """No class weights."""
    g = np.zeros_like(w)
    for i in range(N):
        m = max(0, 1 - s[i] * (A[i] @ w))
        g = g - s[i] * m * A[i]
    return g


def squared_hinge_two(w):
    """No class weights, and a factor 2."""
    m = np.maximum(0, 1 - s * (A @ w))
    return -2 * A.T @ (s * m)


# ---- Focal loss of a binary score, gamma = 2


def focal(z):
    p = sigmoid(s * z)
    return np.mean(-((1 - p) ** 2) * np.log(p))


def focal_gradient(z):
    p = sigmoid(s * z)
    return s * ((1 - p) * 2 * p * (1 - p) * np.log(p) - (1 - p) ** 3) / N


def focal_no_product_rule(z):
    """The weight (1 - p)^2 is held fixed."""
    p = sigmoid(s * z)
    return -s * (1 - p) ** 3 / N


def focal_gamma(z):
    """The exponent was not lowered: (1 - p)^2 for 2 (1 - p)."""
    p = sigmoid(s * z)
    dweight = -((1 - p) ** 2)
    dlog = 1 / p
    return s * p * (1 - p) * (-dweight * np.log(p) - (1 - p) ** 2 * dlog) / N


def focal_sign(z):
    """The sign of s is missing: p was taken for a function of z alone."""
    p = sigmoid(s * z)
    return (2 * p * (1 - p) ** 2 * np.log(p) - (1 - p) ** 3) / N


def focal_two(z):
    """A plus between the terms, and no mean."""
    p = sigmoid(s * z)
    q = 1 - p
    return s * (2 * p * q**2 * np.log(p) + q**3)


TERM = ("extra-term", "missing-term", "wrong-factor", "term", "formula")
w0 = np.array([0.6, -0.9, 0.3, 1.2])
W0, b0 = rng.standard_normal((4, 3)), np.array([0.2, -0.5, 0.4])
Z0 = rng.standard_normal((10, 3))

CASES = [
    Case("logistic, labels -1 and 1", logistic, logistic_gradient, w0, [
        Wrong(logistic_positive, ("sign",)),
        Wrong(logistic_other_tail, TERM),
        Wrong(logistic_without_label, TERM),
        Wrong(logistic_01_labels, TERM),
        Wrong(logistic_sum_of_scores, (*TERM, "scale"), 2),
    ]),
    Case("logistic, labels 0 and 1", logistic_01, logistic_01_gradient, {"w": w0, "b": np.array(0.4)}, [
        Wrong(logistic_01_chain, TERM),
        Wrong(logistic_01_bias_decay, TERM),
        Wrong(logistic_01_no_intercept, TERM),
        Wrong(logistic_01_two, (*TERM, "sign", "scale"), 2),
        Wrong(logistic_01_half, TERM),
    ]),
    Case("softmax regression", softmax_regression, softmax_regression_gradient, (W0, b0), [
        Wrong(softmax_regression_wrong_axis, TERM),
        Wrong(softmax_regression_bias_mean, ("scale",)),
        Wrong(softmax_regression_classes, ("scale",)),
        Wrong(softmax_regression_labels_only, (*TERM, "entries")),
        Wrong(softmax_regression_jacobian, (*TERM, "entries", "softmax-centering")),
        Wrong(softmax_regression_loop, (*TERM, "rank-one", "scale"), 2),
        Wrong(softmax_regression_no_bias, (*TERM, "sign"), 2),
        Wrong(softmax_regression_squared, TERM, 2),
    ]),
    Case("label smoothing", smoothed, smoothed_gradient, Z0, [
        Wrong(smoothed_hard, TERM),
        Wrong(smoothed_others, (*TERM, "constant-term")),
        Wrong(smoothed_not_reduced, (*TERM, "entries", "constant-term")),
        Wrong(smoothed_all_entries, (*TERM, "constant-term", "scale"), 2),
    ]),
    Case("squared hinge", squared_hinge, squared_hinge_gradient, w0, [
        Wrong(squared_hinge_ungated, (*TERM, "hinge-gate", "relu-gate")),
        Wrong(squared_hinge_indicator, (*TERM, "hinge-gate", "relu-gate")),
        Wrong(squared_hinge_gate, (*TERM, "hinge-gate", "relu-gate")),
        Wrong(squared_hinge_unweighted, TERM),
        Wrong(squared_hinge_two, (*TERM, "scale"), 2),
    ]),
    Case("focal loss", focal, focal_gradient, rng.standard_normal(10), [
        Wrong(focal_no_product_rule, (*TERM, "entries")),
        Wrong(focal_gamma, TERM),
        Wrong(focal_sign, (*TERM, "entries", "sign")),
        Wrong(focal_two, (*TERM, "scale"), 2),
    ]),
]  # fmt: skip
