"""Regression, classification and generalised linear models. X (n, d) data, w (d,) weights, b (1,) bias."""

import math

import numpy as np
from scipy.special import digamma, expit, gammaln

from .registry import draws, loss, normals

__all__ = []


def data(rng, dtype, *more):
    """X (n, d), y (n,), w (d,) and further normal arrays; n and d are random."""
    n, d = draws(rng, (12, 30), (3, 6))
    return normals(rng, dtype, (n, d), n, d, *more)


def labels(rng, dtype, n):
    return rng.choice([-1.0, 1.0], n).astype(dtype)


@loss("ridge")
def ridge(rng, dtype, slip):
    X, y, w, b = data(rng, dtype, 1)
    n, lam = len(y), 0.1

    def loss(w, b):
        r = X @ w + b - y
        return 0.5 * np.mean(r**2) + 0.5 * lam * np.sum(w**2)

    def gradient(w, b):
        r = X @ w + b - y
        r = slip("y - prediction", r, -r)
        dw = X.T @ r / slip("1/n forgotten in w", n, 1)
        dw = dw + slip("decay not halved in the loss", lam, 2 * lam) * slip("decay forgotten", w, 0 * w)
        db = slip("sum for mean in b", r.mean(keepdims=True), r.sum(keepdims=True))
        return dw, db + slip("decay of the bias", 0 * b, lam * b)

    return loss, gradient, (w, b)


@loss("lasso")
def lasso(rng, dtype, slip):
    X, y, w = data(rng, dtype)
    n, lam = len(y), 0.05

    def loss(w):
        return np.sum((X @ w - y) ** 2) / (2 * n) + lam * np.abs(w).sum()

    def gradient(w):
        r = X @ w - y
        penalty = slip("abs for its sign", np.sign(w), np.abs(w))
        penalty = slip("step for sign", penalty, 1.0 * (w > 0))
        penalty = slip("penalty forgotten", penalty, 0 * penalty)
        return X.T @ r / slip("/2*n for /(2n)", n, 1 / n) + slip("lambda/n", lam, lam / n) * penalty

    return loss, gradient, w


@loss("group lasso")
def group_lasso(rng, dtype, slip):
    n, d, groups = draws(rng, (12, 25), (2, 4), (3, 5))
    X, y, W = normals(rng, dtype, (n, groups * d), n, (groups, d))
    lam = 0.1

    def loss(W):
        r = X @ W.ravel() - y
        return 0.5 * np.mean(r * r) + lam * math.sqrt(d) * np.linalg.norm(W, axis=1).sum()

    def gradient(W):
        r = X @ W.ravel() - y
        norms = np.linalg.norm(W, axis=1, keepdims=True)
        norms = slip("squared norm below", norms, norms**2)
        norms = slip("norm of all", norms, np.linalg.norm(W))
        data_term = X.T @ r / n
        data_term = slip("order of flattening", data_term.reshape(W.shape), data_term.reshape(W.shape, order="F"))
        return data_term + lam * slip("sqrt(d) forgotten", math.sqrt(d), 1) * W / slip("norm forgotten", norms, 1)

    return loss, gradient, W


@loss("logistic regression")
def logistic(rng, dtype, slip):
    X, _, w, b = data(rng, dtype, 1)
    y = labels(rng, dtype, len(X))
    lam = 0.01

    def loss(w, b):
        return np.logaddexp(0, -y * (X @ w + b)).mean() + 0.5 * lam * w @ w

    def gradient(w, b):
        m = y * (X @ w + b)
        s = slip("margin's sign", expit(-m), expit(m))
        s = slip("s (1 - s), as for squares", s, s * (1 - s))
        s = slip("labels of 0 and 1", -y * s, (y > 0) - s)
        s = slip("gate of the hinge", s, -y * (m < 1))
        return X.T @ s / len(y) + slip("lambda forgotten", lam, 0) * w, s.mean(keepdims=True)

    return loss, gradient, (w, b)


@loss("softmax cross-entropy")
def softmax_regression(rng, dtype, slip):
    n, d, K = draws(rng, (10, 20), (3, 5), (3, 5))
    X, W, b = normals(rng, dtype, (n, d), (K, d), K)
    y = rng.integers(0, K, n)

    def loss(W, b):
        z = X @ W.T + b
        z = z - z.max(axis=1, keepdims=True)
        return np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(n), y])

    def gradient(W, b):
        z = X @ W.T + b
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p = slip("softmax over the wrong axis", p / p.sum(axis=1, keepdims=True), p / p.sum(axis=0))
        p = slip("p (1 - p)", p, p * (1 - p))
        p[np.arange(n), y] -= slip("one-hot forgotten", 1, 0)
        p = slip("normaliser forgotten", p, p * np.exp(z).sum(axis=1, keepdims=True))
        return p.T @ X / slip("classes for samples", n, K), slip(
            "mean over the wrong axis", p.mean(axis=0), p.mean() + 0 * b
        )

    return loss, gradient, (W, b)


@loss("hinge")
def hinge(rng, dtype, slip):
    X, _, w, b = data(rng, dtype, 1)
    y = labels(rng, dtype, len(X))
    C = 2.0

    def loss(w, b):
        return 0.5 * w @ w + C * np.maximum(0, 1 - y * (X @ w + b)).mean()

    def gradient(w, b):
        m = y * (X @ w + b)
        on = slip("gate inverted", m < 1, m > 1)
        on = slip("gate at 0", on, m < 0)
        on = slip("gate forgotten", on, True)
        s = -y * on
        s = slip("label forgotten", s, -1.0 * on)
        return w + slip("C forgotten in w", C, 1) * X.T @ s / len(y), C * slip(
            "b by the sum", s.mean(keepdims=True), s.sum(keepdims=True)
        )

    return loss, gradient, (w, b)


@loss("squared hinge")
def squared_hinge(rng, dtype, slip):
    X, _, w = data(rng, dtype)
    y = labels(rng, dtype, len(X))

    def loss(w):
        return np.sum(np.maximum(1 - y * (X @ w), 0) ** 2) + 0.5 * (w**2).sum()

    def gradient(w):
        m = 1 - y * (X @ w)
        gap = slip("maximum forgotten", np.maximum(m, 0), m)
        gap = slip("gate for gap", gap, 1.0 * (m > 0))
        gap = slip("squared gap", gap, gap**2)
        return -slip("2 forgotten", 2, 1) * X.T @ slip("label forgotten", y * gap, gap) + w

    return loss, gradient, w


@loss("Huber")
def huber(rng, dtype, slip):
    X, y, w = data(rng, dtype)
    delta = 1.0 + rng.random()

    def loss(w):
        r = X @ w - y
        return np.where(np.abs(r) <= delta, 0.5 * r**2, delta * (np.abs(r) - 0.5 * delta)).mean()

    def gradient(w):
        r = X @ w - y
        side = slip("negative side's sign", np.sign(r), 1.0)
        side = slip("delta forgotten outside", delta, 1) * side
        s = np.where(slip("gate inverted", np.abs(r) <= delta, np.abs(r) > delta), r, side)
        s = slip("square's alone", s, r)
        s = slip("gate without abs", s, np.where(r <= delta, r, delta))
        return X.T @ s.astype(X.dtype) / len(y)

    return loss, gradient, w


@loss("quantile")
def quantile(rng, dtype, slip):
    X, y, w = data(rng, dtype)
    tau = rng.choice([0.1, 0.2, 0.3, 0.7, 0.8, 0.9]).item()

    def loss(w):
        r = y - X @ w
        return np.mean(np.where(r > 0, tau * r, (tau - 1) * r))

    def gradient(w):
        r = y - X @ w
        s = np.where(r > 0, -tau, 1 - tau)
        s = slip("quantile reversed", s, np.where(r > 0, tau - 1, tau))
        s = slip("sides exchanged", s, np.where(r > 0, 1 - tau, -tau))
        s = slip("absolute error's", s, -0.5 * np.sign(r))
        s = slip("tau for 1 - tau", s, np.where(r > 0, -tau, tau))
        return X.T @ s.astype(X.dtype) / len(y)

    return loss, gradient, w


@loss("Poisson regression")
def poisson(rng, dtype, slip):
    X, _, w = data(rng, dtype)
    w = 0.5 * w
    exposure = (0.5 + rng.random(len(X))).astype(dtype)
    y = rng.poisson(2.0, len(X)).astype(dtype)
    constant = float(gammaln(y + 1).mean())

    def loss(w):
        eta = X @ w + np.log(exposure)
        return (np.exp(eta) - y * eta).mean() + constant

    def gradient(w):
        eta = slip("exposure forgotten", X @ w + np.log(exposure), X @ w)
        rate = slip("link forgotten", np.exp(eta), eta)
        r = slip("counts forgotten", rate - y, rate)
        r = slip("weighted by the rate", r, r * rate)
        r = slip("divided by the rate", r, r / rate)
        return X.T @ r / len(y)

    return loss, gradient, w


@loss("negative binomial")
def negative_binomial(rng, dtype, slip):
    X, _, w = data(rng, dtype)
    w = 0.5 * w
    log_r = np.asarray(0.5 * rng.standard_normal(), dtype)
    y = rng.poisson(3.0, len(X)).astype(dtype)

    def loss(w, log_r):
        mu, r = np.exp(X @ w), np.exp(log_r)
        terms = gammaln(y + r) - gammaln(r) - gammaln(y + 1) + r * np.log(r / (r + mu)) + y * np.log(mu / (r + mu))
        return -terms.mean()

    def gradient(w, log_r):
        mu, r = np.exp(X @ w), np.exp(log_r)
        eta = slip("r for r / (r + mu)", r / (r + mu), r) * (mu - y)
        eta = slip("by mu for by its logarithm", eta, eta / mu)
        by_r = digamma(y + r) - slip("digamma of r forgotten", digamma(r), 0) + np.log(r / (r + mu))
        by_r = by_r + slip("1 - (y + r) / (mu + r) forgotten", 1 - (y + r) / (mu + r), 0)
        return X.T @ eta / len(y), -slip("by r for by log r", r, 1) * by_r.mean()

    return loss, gradient, (w, log_r)


@loss("gamma regression")
def gamma_regression(rng, dtype, slip):
    X, _, w = data(rng, dtype)
    w = 0.5 * w
    log_k = normals(rng, dtype, 1)[0]
    y = rng.gamma(2.0, 1.0, len(X)).astype(dtype) + dtype(0.1)

    def loss(w, log_k):
        mu, k = np.exp(X @ w), np.exp(log_k)
        return np.mean(gammaln(k) - k * np.log(k / mu) - (k - 1) * np.log(y) + k * y / mu)

    def gradient(w, log_k):
        mu, k = np.exp(X @ w), np.exp(log_k)
        eta = slip("shape forgotten", k, 1) * slip("sign of y / mu", 1 - y / mu, 1 + y / mu)
        by_k = digamma(k) - np.log(k / mu) - np.log(y) + y / mu
        by_k = by_k - slip("k log k's second term forgotten", 1, 0)
        by_k = slip("log y forgotten", by_k, by_k + np.log(y))
        return X.T @ eta / len(y), slip("by k for by log k", k, 1) * by_k.mean(keepdims=True)

    return loss, gradient, (w, log_k)


@loss("Cox partial likelihood")
def cox(rng, dtype, slip):
    X, _, w = data(rng, dtype)
    event = rng.random(len(X)) < 0.7
    event[-3:] = [True, False, True]  # samples are sorted by time, the latest first

    def loss(w):
        eta = X @ w
        return -np.sum((eta - np.log(np.cumsum(np.exp(eta))))[event])

    def gradient(w):
        e = np.exp(X @ w)
        e = slip("hazard's exp forgotten", e, np.abs(X @ w))
        at_risk = np.cumsum(e)
        at_risk = slip("risk set reversed", at_risk, np.cumsum(e[::-1])[::-1])
        at_risk = slip("risk set of all", at_risk, e.sum() + 0 * e)
        mean = np.cumsum(e[:, None] * X, axis=0) / at_risk[:, None]
        terms = slip("mean of the risk set forgotten", X - mean, X)
        return -slip("censoring forgotten", terms[event], terms).sum(axis=0)

    return loss, gradient, w


@loss("focal")
def focal(rng, dtype, slip):
    X, _, w = data(rng, dtype)
    y = labels(rng, dtype, len(X))
    gamma = 2.0

    def loss(w):
        p = 1 / (1 + np.exp(-y * (X @ w)))
        return -np.mean((1 - p) ** gamma * np.log(p))

    def gradient(w):
        p = 1 / (1 + np.exp(-y * (X @ w)))
        weight = gamma * (1 - p) ** gamma * p * np.log(p)
        weight = slip("weight taken for constant", weight, 0 * weight)
        weight = slip("gamma forgotten", weight, weight / gamma)
        weight = slip("p forgotten", weight, weight / p)
        entropy = slip("power too low", (1 - p) ** (gamma + 1), (1 - p) ** gamma)
        s = slip("sign between the terms", weight - entropy, weight + entropy)
        return X.T @ slip("label forgotten", y * s, s) / len(y)

    return loss, gradient, w


@loss("conditional value at risk")
def cvar(rng, dtype, slip):
    X, y, w = data(rng, dtype)
    k = len(y) // 3

    def loss(w):
        return np.sort((X @ w - y) ** 2)[-k:].mean()

    def gradient(w):
        r = X @ w - y
        order = np.argsort(slip("sorted by residual", r**2, r))
        worst = slip("the smallest", order[-k:], order[:k])
        worst = slip("one too few", worst, worst[1:])
        worst = slip("all", worst, order)
        return slip("2 forgotten", 2, 1) * X[worst].T @ r[worst] / slip("n for k", k, len(y))

    return loss, gradient, w
