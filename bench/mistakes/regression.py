"""Regression: least squares and what is done to its residuals."""

import numpy as np

from .case import Case, Wrong

rng = np.random.default_rng(11)
X = rng.standard_normal((9, 4))
y = X @ np.array([1.0, -2.0, 0.5, 0.0]) + 0.5 * rng.standard_normal(9)
n, d = X.shape
lam = 0.3


# ---- Ridge


def ridge(w):
    r = X @ w - y
    return 0.5 * np.mean(r**2) + 0.5 * lam * w @ w


def ridge_gradient(w):
    return X.T @ (X @ w - y) / n + lam * w


def ridge_two_lambda(w):
    """The regulariser's half was forgotten: 2 lam w."""
    return X.T @ (X @ w - y) / n + 2 * lam * w


def ridge_sum(w):
    """The mean over samples is missing."""
    residual = X @ w - y
    return X.T @ residual + lam * w


def ridge_over_features(w):
    """Divided by the number of features instead of samples."""
    g = np.zeros(d)
    for i in range(n):
        g += (X[i] @ w - y[i]) * X[i] / len(w)
    return g + lam * w


def ridge_lasso(w):
    """The derivative of an absolute value as regulariser."""
    return X.T @ (X @ w - y) / n + lam * np.sign(w)


def ridge_inside(w):
    """The regulariser is divided by n too."""
    g = X.T @ (X @ w - y)
    g += lam * w
    g /= n
    return g


def ridge_sign_and_two(w):
    """Residual with the wrong sign, and 2 lam w."""
    r = y - X @ w
    return np.dot(X.T, r) / n + 2.0 * lam * w


def ridge_no_mean_no_half(w):
    """No mean, and the regulariser's half forgotten."""
    return X.T @ (X @ w - y) + 2 * lam * w


# ---- Weighted least squares with an intercept

weights = rng.uniform(0.2, 2.0, n)


def weighted(w, b):
    r = X @ w + b - y
    return np.sum(weights * r**2) / np.sum(weights)


def weighted_gradient(w, b):
    r = X @ w + b - y
    s = 2 * weights * r / weights.sum()
    return X.T @ s, s.sum()


def weighted_without_weights(w, b):
    """The gradient by w leaves the weights out."""
    r = X @ w + b - y
    dw = 2 * X.T @ r / weights.sum()
    db = 2 * np.sum(weights * r) / weights.sum()
    return dw, db


def weighted_over_n(w, b):
    """Divided by n instead of by the sum of the weights."""
    r = X @ w + b - y
    total = len(y)
    return 2 * X.T @ (weights * r) / total, 2 * (weights @ r) / total


def weighted_squared(w, b):
    """Weights squared: the square was taken of the weighted residual."""
    wr = weights * (X @ w + b - y)
    grad_w = 2 * X.T @ (weights * wr) / np.sum(weights)
    grad_b = 2 * np.sum(weights * wr) / np.sum(weights)
    return grad_w, grad_b


def weighted_loop(w, b):
    """The intercept is missing in the residual, and the factor 2 in db."""
    dw, db = np.zeros_like(w), 0.0
    for x_i, y_i, c in zip(X, y, weights, strict=True):
        residual = x_i @ w - y_i
        dw = dw + 2 * c * residual * x_i
        db = db + c * residual
    return dw / weights.sum(), db / weights.sum()


def weighted_mean_b(w, b):
    """The gradient by b is a mean over samples, not a sum."""
    s = 2 * weights * (X @ w + b - y) / weights.sum()
    return s @ X, np.mean(s)


# ---- Huber

delta = 0.8


def huber(w):
    r = abs(X @ w - y)
    return np.sum(np.where(r <= delta, 0.5 * r**2, delta * (r - 0.5 * delta)))


def huber_gradient(w):
    r = X @ w - y
    return X.T @ np.clip(r, -delta, delta)


def huber_no_sign(w):
    """Outside, delta without the sign of the residual."""
    r = X @ w - y
    psi = np.where(abs(r) <= delta, r, delta)
    return X.T @ psi


def huber_unit(w):
    """Outside, the sign without delta."""
    r = X @ w - y
    psi = np.where(np.abs(r) <= delta, r, np.sign(r))
    return X.T @ psi


def huber_swapped(w):
    """The comparison is the wrong way round."""
    r = X @ w - y
    psi = np.where(np.abs(r) >= delta, r, delta * np.sign(r))
    return X.T @ psi


def huber_one_sided(w):
    """Compares r, not its absolute value."""
    g = np.zeros(d)
    for i in range(n):
        r = X[i] @ w - y[i]
        if r <= delta:
            g += r * X[i]
        else:
            g += delta * np.sign(r) * X[i]
    return g


def huber_twice_wrong(w):
    """Twice the residual inside, and the sign alone outside."""
    r = X @ w - y
    inside = abs(r) <= delta
    return X.T @ (2 * r * inside + np.sign(r) * ~inside)


# ---- Quantile regression, smoothed by a log-cosh

tau, h = 0.8, 0.4


def quantile(w):
    u = y - X @ w
    return np.mean(tau * u + h * np.logaddexp(0, -u / h))


def quantile_gradient(w):
    u = y - X @ w
    return -X.T @ (tau - 1 / (1 + np.exp(u / h))) / n


def quantile_bandwidth(w):
    """The inner derivative 1 / h is kept, though h cancels it."""
    u = y - X @ w
    s = 1 / (1 + np.exp(u / h))
    return -X.T @ (tau - s / h) / n


def quantile_sigmoid(w):
    """sigmoid(u / h) for sigmoid(-u / h)."""
    u = y - X @ w
    return -(X.T @ (tau - 1 / (1 + np.exp(-u / h)))) / n


def quantile_residual(w):
    """The sign of the inner derivative -X is lost."""
    u = y - X @ w
    return X.T @ (tau - 1 / (1 + np.exp(u / h))) / n


def quantile_other_tail(w):
    """1 - tau for tau, and no mean."""
    u = y - X @ w
    return -X.T @ ((1 - tau) - 1 / (1 + np.exp(u / h)))


# ---- Polynomial fit in a loop: coefficients c_0 .. c_4

t = np.linspace(-1.2, 1.5, 8)
target = np.sin(2 * t)


def polynomial(c):
    fit = sum(c[k] * t**k for k in range(len(c)))
    return np.mean((fit - target) ** 2)


def polynomial_gradient(c):
    fit = sum(c[k] * t**k for k in range(len(c)))
    return np.array([2 * np.mean((fit - target) * t**k) for k in range(len(c))])


def polynomial_from_one(c):
    """The fit misses its constant: the range starts at 1."""
    fit = np.zeros_like(t)
    for k in range(1, len(c)):
        fit += c[k] * t**k
    return np.array([2 * np.mean((fit - target) * t**k) for k in range(len(c))])


def polynomial_derivative(c):
    """k t^(k-1), the derivative by t, for t^k."""
    fit = sum(c[k] * t**k for k in range(len(c)))
    return np.array([2 * np.mean((fit - target) * k * t ** max(k - 1, 0)) for k in range(len(c))])


def polynomial_last(c):
    """The last coefficient's gradient is never written."""
    fit = np.polynomial.polynomial.polyval(t, c)
    g = np.zeros(len(c))
    for k in range(len(c) - 1):
        g[k] = 2 * np.mean((fit - target) * t**k)
    return g


def polynomial_shifted(c):
    """The power is one too high, and the sum is not averaged."""
    r = np.polynomial.polynomial.polyval(t, c) - target
    g = np.zeros(len(c))
    for k in range(len(c)):
        g[k] = 2 * np.sum(r * t ** (k + 1))
    return g


TERM = ("extra-term", "missing-term", "wrong-factor", "term", "formula", "scale")
w0 = np.array([0.7, -1.1, 0.4, 0.9])

CASES = [
    Case("ridge", ridge, ridge_gradient, w0, [
        Wrong(ridge_two_lambda, TERM),
        Wrong(ridge_sum, TERM),
        Wrong(ridge_over_features, TERM),
        Wrong(ridge_lasso, TERM),
        Wrong(ridge_inside, TERM),
        Wrong(ridge_sign_and_two, (*TERM, "sign"), 2),
        Wrong(ridge_no_mean_no_half, TERM, 2),
    ]),
    Case("weighted least squares", weighted, weighted_gradient, (w0, np.array(0.3)), [
        Wrong(weighted_without_weights, TERM),
        Wrong(weighted_over_n, ("scale",)),
        Wrong(weighted_squared, TERM),
        Wrong(weighted_loop, (*TERM, "scale"), 2),
        Wrong(weighted_mean_b, ("scale",)),
    ]),
    Case("Huber", huber, huber_gradient, w0, [
        Wrong(huber_no_sign, TERM),
        Wrong(huber_unit, TERM),
        Wrong(huber_swapped, TERM),
        Wrong(huber_one_sided, TERM),
        Wrong(huber_twice_wrong, TERM, 2),
    ]),
    Case("smoothed quantile", quantile, quantile_gradient, w0, [
        Wrong(quantile_bandwidth, TERM),
        Wrong(quantile_sigmoid, TERM),
        Wrong(quantile_residual, ("sign",)),
        Wrong(quantile_other_tail, TERM, 2),
    ]),
    Case("polynomial fit", polynomial, polynomial_gradient, np.array([0.2, 1.1, -0.4, 0.3, 0.1]), [
        Wrong(polynomial_from_one, TERM),
        Wrong(polynomial_derivative, ("wrong-factor", "permutation")),
        Wrong(polynomial_last, ("entries", "zero")),
        Wrong(polynomial_shifted, ("permutation", "wrong-factor", "scale", "entries"), 2),
    ]),
]  # fmt: skip
