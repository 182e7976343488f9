"""Ordinary losses, as people write them: the derivative along a direction, in float64 and in float32."""

import numpy as np
import pytest
import scipy.special

from nlicl.audit.dual import lift, parts, recording

rng = np.random.default_rng(11)
X, Y, LABELS = rng.standard_normal((8, 5)), rng.standard_normal(8), rng.integers(0, 3, 8)
SIGNS, ONE_HOT = np.where(Y > 0, 1.0, -1.0), np.eye(3)[LABELS]


def log_sum_exp(z, axis=-1):
    top = np.max(z, axis=axis, keepdims=True)
    return np.squeeze(top + np.log(np.sum(np.exp(z - top), axis=axis, keepdims=True)), axis=axis)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def net(W, b, V):
    h = np.maximum(0, X @ W + b)
    z = h @ V
    z -= z.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(1)[:, None]
    return -np.log(p[np.arange(8), LABELS]).mean() + 0.01 * np.sum(W**2)


def multiclass_svm(W):
    scores = X @ W
    margins = np.maximum(0, scores - scores[np.arange(8), LABELS][:, None] + 1)
    margins[np.arange(8), LABELS] = 0
    return margins.sum() / 8


def triplet(E):
    a, p, n = E[:3], E[3:6], E[6:]
    return np.maximum(((a - p) ** 2).sum(1) - np.linalg.norm(a - n, axis=1) + 0.2, 0).sum()


def vae(mu, logvar, W):
    z = mu + np.exp(logvar / 2) * X[:, :3]
    kl = -0.5 * np.sum(1 + logvar - np.square(mu) - np.exp(logvar))
    return kl + np.sum(np.logaddexp(0, z @ W) - (X > 0) * (z @ W))


def gaussian_process(log_length, log_noise):
    d2 = np.sum((X[:, None] / np.exp(log_length) - X[None] / np.exp(log_length)) ** 2, -1)
    L = np.linalg.cholesky(np.exp(-0.5 * d2) + np.exp(log_noise) * np.eye(8))
    a = np.linalg.solve(L.T, np.linalg.solve(L, Y))
    return 0.5 * Y @ a + np.log(np.diag(L)).sum() + 4 * np.log(2 * np.pi)


def layer_norm(g, b):
    x = X * g
    return np.sum(((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * g + b) ** 3)


def attention(Q, K, V):
    s = np.einsum("id,jd->ij", X @ Q, X @ K) / np.sqrt(5)
    s = np.where(np.tril(np.ones((8, 8), bool)), s, -np.inf)
    return np.einsum("ij,jd->", softmax(s), np.tanh(X @ V))


def huber(w):
    r = np.abs(X @ w - Y)
    return np.where(r <= 1, 0.5 * r**2, r - 0.5).mean()


def quantile(w):
    r = Y - X @ w
    return np.mean(np.maximum(0.3 * r, -0.7 * r))


def crf(T, emission):
    alpha = emission[0]
    for t in range(1, len(emission)):
        alpha = np.array([log_sum_exp(alpha + T[:, k]) for k in range(3)]) + emission[t]
    return log_sum_exp(np.stack(list(alpha))) - sum(
        T[LABELS[t - 1], LABELS[t]] + emission[t, LABELS[t]] for t in range(1, 8)
    )


def buffers(W, b):
    u = np.zeros_like(b)
    for i in range(len(b)):
        u[i] = W[i] @ X[0] + b[i]
        if u[i] < 0:
            u[i] *= 0.1
    return np.sum(u**2)


def recurrent(W, U):
    h = np.zeros_like(U[0])
    losses = []
    for x in X:
        h = np.tanh(x @ W + h @ U)
        losses.append(np.sum(h**2))
    return np.mean(losses)


def contrastive(A, B):
    a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (A, B))
    s = a @ b.T / 0.5
    return np.mean(log_sum_exp(s, 1) - np.diag(s)) - np.trace(s) / 8


def in_python(w):
    total = 0.0
    for x, y in zip(X, Y, strict=True):
        z = sum(a * b for a, b in zip(w, x, strict=True))
        total += max(0, 1 - (1 if y > 0 else -1) * z) + abs(z) * 0.1
    return total / len(X)


def matrix(*shape):
    return np.random.default_rng(len(shape) + sum(shape)).standard_normal(shape)


LOSSES = {
    "least squares": (lambda w: np.sum((X @ w - Y) ** 2) / (2 * len(Y)), matrix(5)),
    "logistic": (lambda w: np.mean(np.log1p(np.exp(-SIGNS * (X @ w)))) + 0.1 * np.dot(w, w), matrix(5)),
    "cross entropy": (lambda W: -np.mean(np.sum(ONE_HOT * np.log(softmax(X @ W)), axis=1)), matrix(5, 3)),
    "net": (net, matrix(5, 6), matrix(6), matrix(6, 3)),
    "hinge": (lambda w, b: np.maximum(0, 1 - SIGNS * (X @ w + b)).mean() + 0.5 * w @ w, matrix(5), matrix(1)),
    "multiclass svm": (multiclass_svm, matrix(5, 3)),
    "triplet": (triplet, matrix(9, 4)),
    "vae": (vae, matrix(8, 3), 0.3 * matrix(8, 3), matrix(3, 5)),
    "gaussian process": (gaussian_process, 0.1 * matrix(5), np.array(-1.0)),
    "layer norm": (layer_norm, 1 + 0.1 * matrix(5), matrix(5)),
    "batch norm": (lambda g: np.sum((g * (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5)) ** 4), matrix(5)),
    "attention": (attention, matrix(5, 4), matrix(5, 4), matrix(5, 2)),
    "huber": (huber, matrix(5)),
    "quantile": (quantile, matrix(5)),
    "absolute": (lambda w: np.abs(X @ w - Y).mean(), matrix(5)),
    "crf": (crf, matrix(3, 3), matrix(8, 3)),
    "log determinant": (lambda A: np.linalg.slogdet(A @ A.T + np.eye(4))[1] + np.trace(np.linalg.inv(A @ A.T + np.eye(4))),
                        matrix(4, 4)),
    "cosine": (lambda a, b: 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), matrix(5), matrix(5)[::-1]),
    "contrastive": (contrastive, matrix(8, 4), matrix(8, 4)[::-1]),
    "poisson": (lambda w: np.sum(np.exp(X @ w) - LABELS * (X @ w) + scipy.special.gammaln(LABELS + 1.0)), 0.3 * matrix(5)),
    "gamma": (lambda a: np.sum(scipy.special.gammaln(np.exp(a)) - scipy.special.xlogy(np.exp(a), 2.0)), matrix(5)),
    "probit": (lambda w: -np.sum(scipy.special.log_ndtr(SIGNS * (X @ w))), matrix(5)),
    "elastic net": (lambda w: np.sum((X @ w - Y) ** 2) + np.linalg.norm(w, 1) + np.linalg.norm(w, 2), matrix(5)),
    "trimmed": (lambda w: np.sort((X @ w - Y) ** 2)[:5].sum() + np.median(X @ w), matrix(5)),
    "buffers": (buffers, matrix(4, 5), matrix(4)),
    "recurrent": (recurrent, 0.5 * matrix(5, 3), 0.5 * matrix(3, 3)),
    "convolution": (lambda k: np.sum(np.tanh(np.convolve(Y, k, "same"))), matrix(3)),
    "python": (in_python, matrix(5)),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    loss, *args = LOSSES[name]
    directions = [np.random.default_rng(n).standard_normal(a.shape) for n, a in enumerate(args)]
    with recording() as record:
        value, tangent = parts(loss(*(lift(a, v) for a, v in zip(args, directions, strict=True))))
    assert (record.ties == 0 and not record.changed) or name in ("net", "multiclass svm", "buffers")
    h = min(1e-3, record.crossing / 9)  # no kink on the way, to first order
    assert h > 1e-5
    f = {t: loss(*(a + t * h * v for a, v in zip(args, directions, strict=True))) for t in (-2, -1, 1, 2)}
    want = (8 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12 * h)
    assert value == pytest.approx(loss(*(a.copy() for a in args)), rel=1e-13)
    assert float(tangent) == pytest.approx(want, rel=1e-8, abs=1e-8)

    singles = [(a.astype(np.float32), v.astype(np.float32)) for a, v in zip(args, directions, strict=True)]
    value32, tangent32 = parts(loss(*(lift(a, v) for a, v in singles)))
    assert float(value32) == pytest.approx(float(value), rel=1e-3, abs=1e-3)
    assert float(tangent32) == pytest.approx(want, rel=1e-2, abs=1e-2)
