"""Networks: layers, attention, autoencoders. X (n, d) a batch, W (outputs, inputs) weights."""

import numpy as np

from .registry import draws, loss, normals

__all__ = []


def cross_entropy(scores, y):
    top = scores.max(axis=1, keepdims=True)
    return np.mean(np.log(np.exp(scores - top).sum(axis=1)) - (scores - top)[np.arange(len(y)), y])


def cross_entropy_slope(scores, y):
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return p / len(y)


@loss("ReLU net")
def relu_net(rng, dtype, slip):
    n, d, m, K = draws(rng, (6, 12), (3, 5), (5, 9), (2, 4))
    X, W1, b1, W2, b2 = normals(rng, dtype, (n, d), (m, d), m, (K, m), K)
    W1, b1, W2 = W1 / np.sqrt(d, dtype=dtype), 0.1 * b1, W2 / np.sqrt(m, dtype=dtype)
    y = rng.integers(0, K, n)

    def loss(W1, b1, W2, b2):
        return cross_entropy(np.maximum(X @ W1.T + b1, 0) @ W2.T + b2, y)

    def gradient(W1, b1, W2, b2):
        u = X @ W1.T + b1
        h = np.maximum(u, 0)
        d2 = cross_entropy_slope(h @ W2.T + b2, y)
        on = slip("gate inverted", u > 0, u < 0)
        on = slip("gate forgotten", on, True)
        on = slip("gate by the output's slope", on, d2 @ W2 > 0)
        d1 = d2 @ W2 * on
        return (
            d1.T @ X,
            slip("mean over the batch in b1", d1.sum(axis=0), d1.mean(axis=0)),
            d2.T @ slip("hidden layer before its ReLU", h, u),
            slip("b2 left at zero", d2.sum(axis=0), 0 * b2),
        )

    return loss, gradient, (W1, b1, W2, b2)


@loss("tanh net in loops")
def tanh_net(rng, dtype, slip):
    n, d, m = draws(rng, (3, 6), (2, 4), (3, 5))
    X, y, W, b, v = normals(rng, dtype, (n, d), n, (m, d), m, m)

    def hidden(W, b, x):
        h = np.zeros_like(b)
        for j in range(m):
            h[j] = np.tanh(W[j] @ x + b[j])
        return h

    def loss(W, b, v):
        total = 0.0
        for i in range(n):
            total = total + 0.5 * (v @ hidden(W, b, X[i]) - y[i]) ** 2
        return total / n

    def gradient(W, b, v):
        dW, db, dv = np.zeros_like(W), np.zeros_like(b), np.zeros_like(v)
        for i in range(slip("first sample forgotten", 0, 1), n):
            h = hidden(W, b, X[i])
            e = (v @ h - y[i]) / n
            for j in range(m):
                slope = slip("slope of the sigmoid", 1 - h[j] ** 2, h[j] * (1 - h[j]))
                slope = slip("slope at the output", slope, 1 - np.tanh(h[j]) ** 2)
                dW[j] += e * slip("v forgotten in W", v[j], 1) * slope * X[i]
                db[j] += e * v[j] * slope
                dv[j] = slip("= for +=", dv[j], 0) + e * h[j]
        return dW, db, dv

    return loss, gradient, (W, b, v)


@loss("layer norm")
def layer_norm(rng, dtype, slip):
    n, d, K = draws(rng, (4, 8), (4, 7), (2, 4))
    X, g, b, W = normals(rng, dtype, (n, d), d, d, (K, d))
    y = rng.integers(0, K, n)
    eps = 1e-5

    def loss(X, g, b, W):
        c = X - X.mean(axis=-1, keepdims=True)
        h = c / np.sqrt((c * c).mean(axis=-1, keepdims=True) + eps)
        return cross_entropy((g * h + b) @ W.T, y)

    def gradient(X, g, b, W):
        c = X - X.mean(axis=-1, keepdims=True)
        s = 1 / np.sqrt(X.var(axis=-1, keepdims=True) + eps)
        h = c * s
        z = slip("eps in the square root's result", g * h + b, g * c / (X.std(axis=-1, keepdims=True) + 0.1) + b)
        dz = cross_entropy_slope(z @ W.T, y)
        out = dz @ W
        dh = out * slip("gain forgotten", g, 1)
        mean = slip("mean forgotten", dh.mean(axis=-1, keepdims=True), 0)
        third = h * slip("mean over the batch", (dh * h).mean(axis=-1, keepdims=True), (dh * h).mean(axis=0))
        third = slip("third term forgotten", third, 0)
        return (
            slip("scale forgotten", s, 1) * (dh - mean - third),
            (out * slip("input for normalised input in gain", h, X)).sum(axis=0),
            out.sum(axis=0),
            dz.T @ z,
        )

    return loss, gradient, (X, g, b, W)


@loss("batch norm")
def batch_norm(rng, dtype, slip):
    n, d = draws(rng, (6, 12), (2, 4))
    X, T, g, b = normals(rng, dtype, (n, d), (n, d), d, d)
    eps = 1e-5

    def loss(X, g, b):
        h = (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0) + eps)
        return 0.5 * np.sum((g * h + b - T) ** 2)

    def gradient(X, g, b):
        s = 1 / np.sqrt(X.var(axis=0) + eps)
        h = (X - X.mean(axis=0)) * s
        out = g * h + b - T
        dh = out * g
        mean = slip("mean taken for constant", dh.mean(axis=0), 0)
        third = h * (dh * h).mean(axis=0)
        third = slip("variance taken for constant", third, 0)
        third = slip("sum for mean in the third term", third, n * third)
        dX = slip("standard deviation not inverted", s, 1 / s) * (dh - mean - third)
        return (
            dX,
            slip("gain by the sum alone", (out * h).sum(axis=0), out.sum(axis=0)),
            slip("b by the mean", out.sum(axis=0), out.mean(axis=0)),
        )

    return loss, gradient, (X, g, b)


@loss("attention")
def attention(rng, dtype, slip):
    T, d, k = draws(rng, (4, 7), (3, 5), (2, 4))
    X, Y, Q, K, V = normals(rng, dtype, (T, d), (T, k), (k, d), (k, d), (k, d))
    past = np.tril(np.ones((T, T), bool)) if rng.random() < 0.5 else np.ones((T, T), bool)

    def weights(Q, K):
        s = (X @ Q.T) @ (X @ K.T).T / np.sqrt(k, dtype=dtype)
        s = np.where(past, s, -1e9).astype(s.dtype)
        s = np.exp(s - s.max(axis=1, keepdims=True))
        return s / s.sum(axis=1, keepdims=True)

    def loss(Q, K, V):
        return 0.5 * np.sum((weights(Q, K) @ (X @ V.T) - Y) ** 2)

    def gradient(Q, K, V):
        p, v = weights(Q, K), X @ V.T
        e = p @ v - Y
        dp = e @ v.T
        ds = p * (dp - slip("softmax not centred", (p * dp).sum(axis=1, keepdims=True), 0))
        ds = slip("softmax reduced to p (1 - p)", ds, p * (1 - p) * dp)
        ds = ds / slip("1/sqrt(k) forgotten", np.sqrt(k, dtype=dtype), 1)
        return (
            (ds @ X @ slip("W_Q for W_K", K, Q).T).T @ X,
            (slip("scores not transposed", ds.T, ds) @ X @ Q.T).T @ X,
            (slip("weights not transposed in V", p.T, p) @ e).T @ X,
        )

    return loss, gradient, (Q, K, V)


@loss("variational autoencoder")
def vae(rng, dtype, slip):
    n, d, k = draws(rng, (4, 8), (3, 5), (2, 3))
    X, noise, M, S, D = normals(rng, dtype, (n, d), (n, k), (k, d), (k, d), (d, k))
    M, S = 0.5 * M, 0.3 * S

    def loss(M, S, D):
        m, s = X @ M.T, X @ S.T
        z = m + np.exp(0.5 * s) * noise
        divergence = -0.5 * np.sum(1 + s - m**2 - np.exp(s))
        return (0.5 * np.sum((z @ D.T - X) ** 2) + divergence) / n

    def gradient(M, S, D):
        m, s = X @ M.T, X @ S.T
        spread = np.exp(0.5 * s)
        z = m + spread * noise
        e = (z @ D.T - X) / n
        dz = e @ D
        dm = dz + slip("divergence forgotten in the mean", m / n, 0)
        ds = dz * slip("noise forgotten", noise, 1) * spread * slip("1/2 of the log variance", 0.5, 1)
        ds = ds + slip("sign of the divergence", 0.5, -0.5) * (np.exp(s) - slip("1 of the divergence", 1, 0)) / n
        return dm.T @ X, ds.T @ X, e.T @ slip("mean for sample in the decoder", z, m)

    return loss, gradient, (M, S, D)


@loss("convolution")
def convolution(rng, dtype, slip):
    n, k = draws(rng, (8, 14), (2, 4))
    x, w, v = normals(rng, dtype, n, k, n - k + 1)

    def loss(x, w):
        return v @ np.tanh(np.convolve(x, w, mode="valid"))

    def gradient(x, w):
        u = np.convolve(x, w, mode="valid")
        d = v * slip("tanh's slope forgotten", 1 - np.tanh(u) ** 2, 1)
        dx = np.convolve(d, slip("filter not turned", w[::-1], w), mode="full")
        dx = slip("ends forgotten", dx, np.where(np.arange(n) < k - 1, 0, dx))
        dw = np.correlate(x, d, mode="valid")
        dw = slip("correlation for convolution", dw[::-1], dw)
        return dx, slip("shifted by one", dw, np.roll(dw, 1))

    return loss, gradient, (x, w)
