"""Densities, distances and factorisations: losses of matrices and embeddings."""

import math

import numpy as np
from scipy.special import expit, logsumexp

from .registry import draws, loss, normals

__all__ = []


@loss("triplet")
def triplet(rng, dtype, slip):
    n, d = draws(rng, (5, 10), (3, 5))
    a, p, q = normals(rng, dtype, *[(n, d)] * 3)
    margin = 0.5

    def loss(a, p, q):
        return np.maximum(np.linalg.norm(a - p, axis=1) - np.linalg.norm(a - q, axis=1) + margin, 0).sum()

    def gradient(a, p, q):
        near, far = np.linalg.norm(a - p, axis=1), np.linalg.norm(a - q, axis=1)
        on = slip("margin forgotten in the gate", near - far + margin > 0, near - far > 0)
        on = slip("gate forgotten", on, True)
        u = (a - p) / slip("squared distances'", near[:, None], 0.5) * np.reshape(on, (-1, 1))
        v = (a - q) / far[:, None] * np.reshape(on, (-1, 1))
        return slip("anchor's second term forgotten", u - v, u), -u, slip("sign of the negative", v, -v)

    return loss, gradient, (a, p, q)


@loss("InfoNCE")
def info_nce(rng, dtype, slip):
    n, d = draws(rng, (4, 8), (3, 5))
    A, B = normals(rng, dtype, (n, d), (n, d))
    log_tau = np.asarray(-0.5 - rng.random(), dtype)

    def normalised(A):
        return A / np.sqrt((A**2).sum(axis=1, keepdims=True))

    def loss(A, B, log_tau):
        s = normalised(A) @ normalised(B).T / np.exp(log_tau)
        return (np.log(np.exp(s).sum(axis=1)) - np.diag(s)).mean()

    def back(A, d):
        """The derivative by A of its normalisation: the part along the direction goes."""
        u = normalised(A)
        d = slip("projection forgotten", d - u * (d * u).sum(axis=1, keepdims=True), d)
        return d / slip("norm forgotten", np.sqrt((A**2).sum(axis=1, keepdims=True)), 1)

    def gradient(A, B, log_tau):
        a, b = normalised(A), normalised(B)
        tau = np.exp(log_tau)
        s = a @ b.T / tau
        p = np.exp(s) / np.exp(s).sum(axis=slip("softmax over columns", 1, 0), keepdims=True)
        ds = (p - slip("positive pairs forgotten", np.eye(n, dtype=dtype), 0)) / n
        by_tau = -slip("by tau for by log tau", 1, 1 / tau) * (ds * s).sum()
        ds = ds / slip("1/tau forgotten", tau, 1)
        return back(A, ds @ b), back(B, slip("transpose forgotten", ds.T, ds) @ a), by_tau

    return loss, gradient, (A, B, log_tau)


@loss("cosine similarity")
def cosine(rng, dtype, slip):
    n, d = draws(rng, (3, 8), (3, 5))
    u, v = normals(rng, dtype, (n, d), (n, d))

    def loss(u, v):
        dot = (u * v).sum(axis=1)
        return np.mean(1 - dot / (np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)))

    def gradient(u, v):
        nu, nv = np.linalg.norm(u, axis=1, keepdims=True), np.linalg.norm(v, axis=1, keepdims=True)
        c = (u * v).sum(axis=1, keepdims=True) / (nu * nv)
        c = slip("norms taken for constant", c, 0 * c)
        du = v / (nu * nv) - c * u / slip("norm not squared", nu**2, nu)
        dv = u / (nu * nv) - c * slip("u for v", v, u) / nv**2
        return slip("sign of u", -du, du) / n, -dv / slip("1/n forgotten in v", n, 1)

    return loss, gradient, (u, v)


@loss("word2vec, negative sampling")
def word2vec(rng, dtype, slip):
    words, d, batch, k = draws(rng, (5, 8), (3, 4), (4, 7), (3, 5))
    U, V = normals(rng, dtype, (words, d), (words, d))
    center, context = rng.integers(0, words, (2, batch))
    negative = rng.integers(0, words, (batch, k))
    negative[:, 1] = negative[:, 0]  # drawn twice
    center[1] = center[0]

    def loss(U, V):
        v = V[center]
        positive = np.sum(U[context] * v, axis=1)
        scores = np.einsum("bkd,bd->bk", U[negative], v)
        return (np.log1p(np.exp(-positive)) + np.log1p(np.exp(scores)).sum(axis=1)).mean()

    def gradient(U, V):
        v, o, q = V[center], U[context], U[negative]
        s = (expit((o * v).sum(axis=1)) - 1)[:, None] / batch
        t = expit(np.einsum("bkd,bd->bk", q, v))[:, :, None] / batch
        t = slip("sign of the negatives", t, -t)
        dU, dV = np.zeros_like(U), np.zeros_like(V)
        np.add.at(dU, context, s * v)
        if slip("+= for repeated negatives", False, True):
            dU[negative] += t * v[:, None]
        else:
            np.add.at(dU, negative, t * v[:, None])
        by_center = slip("negatives forgotten in the centre", s * o + (t * q).sum(axis=1), s * o)
        if slip("+= for repeated centres", False, True):
            dV[center] += by_center
        else:
            np.add.at(dV, center, by_center)
        return dU, dV

    return loss, gradient, (U, V)


@loss("matrix factorisation")
def factorisation(rng, dtype, slip):
    n, m, k = draws(rng, (5, 9), (5, 9), (2, 3))
    R, U, V = normals(rng, dtype, (n, m), (n, k), (m, k))
    seen = rng.random((n, m)) < 0.6
    lam = 0.1

    def loss(U, V):
        E = seen * (U @ V.T - R)
        return 0.5 * np.sum(E * E) + 0.5 * lam * (np.sum(U * U) + np.sum(V * V))

    def gradient(U, V):
        E = slip("mask forgotten", seen, True) * (U @ V.T - R)
        E = slip("ratings forgotten", E, seen * (U @ V.T))
        return (
            slip("2 of the square", 1, 2) * E @ V + slip("decay of U forgotten", lam, 0) * U,
            E.T @ U + lam * slip("decay of V by U's mean", V, V - V.mean(axis=0)),
        )

    return loss, gradient, (U, V)


@loss("tensor factorisation")
def tensor(rng, dtype, slip):
    shape = draws(rng, (3, 5), (3, 5), (3, 5))
    k = 2
    T, A, B, C = normals(rng, dtype, shape, *[(size, k) for size in shape])

    def loss(A, B, C):
        return 0.5 * np.sum((np.einsum("ir,jr,kr->ijk", A, B, C) - T) ** 2)

    def gradient(A, B, C):
        E = np.einsum("ir,jr,kr->ijk", A, B, C) - T
        E = slip("sign of the residual", E, -E)
        return (
            np.einsum("ijk,jr,kr->ir", E, B, slip("C forgotten in A", C, np.ones_like(C))),
            slip("2 in B", 1, 2) * np.einsum("ijk,ir,kr->jr", E, A, C),
            np.einsum("ijk,ir,jr->kr", slip("residual without the data in C", E, E + T), A, B),
        )

    return loss, gradient, (A, B, C)


@loss("Kullback-Leibler of Gaussians")
def kl(rng, dtype, slip):
    (d,) = draws(rng, (3, 8))
    m, s, m0, s0 = normals(rng, dtype, d, d, d, d)

    def loss(m, s):
        return 0.5 * np.sum(s0 - s + (np.exp(s) + (m - m0) ** 2) / np.exp(s0) - 1)

    def gradient(m, s):
        variance = slip("variance of the other forgotten", np.exp(s0), 1)
        dm = slip("1/2 in the mean", 1, 0.5) * slip("other mean forgotten", m - m0, m) / variance
        ds = 0.5 * (
            np.exp(slip("standard deviation for variance", s, 0.5 * s)) / np.exp(s0) - slip("logarithm forgotten", 1, 0)
        )
        return dm, ds

    return loss, gradient, (m, s)


@loss("Gaussian process")
def gaussian_process(rng, dtype, slip):
    (n,) = draws(rng, (8, 14))
    t = np.sort(rng.uniform(0, 4, n)).astype(dtype)
    y = np.sin(2 * t) + 0.1 * normals(rng, dtype, n)[0]
    D = (t[:, None] - t) ** 2
    theta = (np.array([-0.3, 0.1, -1.0]) + 0.3 * rng.standard_normal(3)).astype(dtype)  # log length, amplitude, noise

    def loss(theta):
        length, amplitude, noise = np.exp(theta)
        K = amplitude**2 * np.exp(-0.5 * D / length**2) + noise**2 * np.eye(n, dtype=dtype)
        L = np.linalg.cholesky(K)
        alpha = np.linalg.solve(L.T, np.linalg.solve(L, y))
        return 0.5 * y @ alpha + np.sum(np.log(np.diag(L))) + 0.5 * n * math.log(2 * math.pi)

    def gradient(theta):
        length, amplitude, noise = np.exp(theta)
        k = amplitude**2 * np.exp(-0.5 * D / length**2)
        inverse = np.linalg.inv(k + noise**2 * np.eye(n, dtype=dtype))
        alpha = inverse @ y
        M = slip("sign of the data term", inverse - np.outer(alpha, alpha), inverse + np.outer(alpha, alpha))
        M = slip("determinant forgotten", M, -np.outer(alpha, alpha))
        by = np.array([
            0.5 * np.sum(M * k * D / length ** slip("by l for by log l", 2, 3)),
            slip("1/2 in the amplitude", 1, 0.5) * np.sum(M * k),
            np.trace(M) * slip("variance's derivative by noise", noise**2, noise),
        ])  # fmt: skip
        return by.astype(dtype)

    return loss, gradient, theta


@loss("Gaussian by Cholesky factor")
def gaussian(rng, dtype, slip):
    n, d = draws(rng, (8, 15), (2, 4))
    X, mu, R = normals(rng, dtype, (n, d), d, (d, d))
    R = 0.4 * R

    def factor(R):
        """Lower triangular, its diagonal the exponential of R's."""
        return np.tril(R, -1) + np.diag(np.exp(np.diag(R)))

    def loss(mu, R):
        z = np.linalg.solve(factor(R), (X - mu).T)
        return 0.5 * np.sum(z**2) / n + np.sum(np.diag(R))

    def gradient(mu, R):
        L = factor(R)
        z = np.linalg.solve(L, (X - mu).T)
        a = np.linalg.solve(slip("transpose forgotten in the solve", L.T, L), z)
        dL = -a @ z.T / n
        diagonal = np.diag(dL) * slip("exp of the diagonal forgotten", np.diag(L), 1) + slip(
            "log-determinant forgotten", 1, 0
        )
        dR = slip("upper triangle kept", np.tril(dL, -1), dL - np.diag(np.diag(dL))) + np.diag(diagonal)
        return slip("sign of mu", -1, 1) * a.mean(axis=1), dR.astype(dtype)

    return loss, gradient, (mu, R)


@loss("log-determinant")
def log_determinant(rng, dtype, slip):
    d, k = draws(rng, (3, 5), (3, 5))
    B, Y = normals(rng, dtype, (d, k), (20, d))
    S = Y.T @ Y / 20

    def loss(B):
        K = B @ B.T + 0.5 * np.eye(d, dtype=dtype)
        return np.trace(S @ K) - np.linalg.slogdet(K)[1]

    def gradient(B):
        K = B @ B.T + 0.5 * np.eye(d, dtype=dtype)
        inverse = slip("inverse forgotten", np.linalg.inv(K), K)
        inverse = slip("log forgotten", inverse, np.linalg.det(K) * inverse)
        inverse = slip("diagonal of the inverse", inverse, np.diag(np.diag(inverse)))
        return slip("one side of the product", 2, 1) * slip("sign of the determinant", S - inverse, S + inverse) @ B

    return loss, gradient, B


@loss("Gaussian mixture")
def mixture(rng, dtype, slip):
    n, d, K = draws(rng, (8, 15), (2, 3), (2, 4))
    X, mu, s, weights = normals(rng, dtype, (n, d), (K, d), K, K)
    s = 0.3 * s

    def parts(mu, s, weights):
        square = ((X[:, None] - mu) ** 2).sum(axis=2)
        return square, weights - logsumexp(weights) - 0.5 * square * np.exp(-2 * s) - d * s

    def loss(mu, s, weights):
        return -logsumexp(parts(mu, s, weights)[1], axis=1).mean()

    def gradient(mu, s, weights):
        square, log = parts(mu, s, weights)
        r = np.exp(log - logsumexp(log, axis=slip("normalised over samples", 1, 0), keepdims=True)) / n
        dmu = -(r[:, :, None] * (X[:, None] - mu)).sum(axis=0) * np.exp(-slip("s for 2 s", 2, 1) * s)[:, None]
        ds = -(r * (square * np.exp(-2 * s) - slip("dimension forgotten", d, 1))).sum(axis=0)
        prior = np.exp(weights - logsumexp(weights))
        return slip("sign of mu", dmu, -dmu), ds, slip("prior forgotten", prior, 0) - r.sum(axis=0)

    return loss, gradient, (mu, s, weights)
