"""Losses of sequences: recurrences, filters, chains of states. T steps, K states."""

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from .registry import draws, loss, normals

__all__ = []


@loss("recurrent net")
def recurrent(rng, dtype, slip):
    T, d, m = draws(rng, (4, 7), (2, 3), (3, 4))
    X, y, A, W, b, v = normals(rng, dtype, (T, d), T, (m, d), (m, m), m, m)
    W = W / np.sqrt(m, dtype=dtype)

    def run(A, W, b):
        h = [np.zeros(m, dtype)]
        for t in range(T):
            h.append(np.tanh(A @ X[t] + W @ h[-1] + b))
        return h

    def loss(A, W, b, v):
        h = run(A, W, b)
        return sum(0.5 * (v @ h[t + 1] - y[t]) ** 2 for t in range(T))

    def gradient(A, W, b, v):
        h = run(A, W, b)
        dA, dW, db, dv = np.zeros_like(A), np.zeros_like(W), np.zeros_like(b), np.zeros_like(v)
        later = np.zeros(m, dtype)
        for t in reversed(range(T)):
            e = v @ h[t + 1] - y[t]
            dv += e * h[t + 1]
            du = (e * v + slip("cut after one step", later, 0)) * slip("tanh's slope forgotten", 1 - h[t + 1] ** 2, 1)
            dA += np.outer(du, X[t])
            dW += np.outer(du, slip("state of the same time", h[t], h[t + 1]))
            db = slip("= for += in b", db, 0 * db) + du
            later = slip("transpose forgotten", W.T, W) @ du
        return dA, dW, db, dv

    return loss, gradient, (A, W, b, v)


@loss("Euler steps")
def euler(rng, dtype, slip):
    """Lotka and Volterra's equations, of which four rates and the start are sought."""
    (T,) = draws(rng, (8, 15))
    rates = rng.uniform(0.5, 1.5, 4).astype(dtype)
    start = rng.uniform(0.5, 1.5, 2).astype(dtype)
    Y = rng.uniform(0.5, 1.5, (T, 2)).astype(dtype)
    dt = 0.1

    def field(rates, u):
        a, b, c, d = rates
        return np.array([a * u[0] - b * u[0] * u[1], d * u[0] * u[1] - c * u[1]])

    def path(rates, start):
        u = [start]
        for _ in range(T):
            u.append(u[-1] + dt * field(rates, u[-1]))
        return u

    def loss(rates, start):
        return 0.5 * sum(np.sum((u - y) ** 2) for u, y in zip(path(rates, start)[1:], Y, strict=True)) / T

    def gradient(rates, start):
        u = path(rates, start)
        a, b, c, d = rates
        by_rates, adjoint = np.zeros(4, dtype), np.zeros(2, dtype)
        for t in reversed(range(T)):
            adjoint = adjoint + (u[t + 1] - Y[t]) / T
            x, y = u[slip("state after the step", t, t + 1)]
            by_field = np.array([
                [x, -x * y, 0, 0],
                [0, 0, slip("sign of the death rate", -y, y), x * y],
            ], dtype)  # fmt: skip
            jacobian = np.array([[a - b * y, -b * x], [slip("cross term forgotten", d * y, 0), d * x - c]], dtype)
            by_rates += slip("dt forgotten", dt, 1) * by_field.T @ adjoint
            adjoint = adjoint + dt * slip("Jacobian not transposed", jacobian.T, jacobian) @ adjoint
        return by_rates, slip("start left out", adjoint, 0 * adjoint)

    return loss, gradient, (rates, start)


@loss("Kalman filter")
def kalman(rng, dtype, slip):
    """A random walk seen through noise; the logarithms of both variances are sought."""
    (T,) = draws(rng, (8, 15))
    y = np.cumsum(rng.standard_normal(T)).astype(dtype)
    theta = (0.3 * rng.standard_normal(2)).astype(dtype)

    def loss(theta):
        q, r = np.exp(theta)
        m, P, total = 0.0, 1.0, 0.0
        for t in range(T):
            P = P + q
            S = P + r
            total = total + 0.5 * (np.log(S) + (y[t] - m) ** 2 / S)
            m, P = m + P / S * (y[t] - m), P * r / S
        return total

    def gradient(theta):
        q, r = np.exp(theta)
        dq, dr = slip("by q for by log q", q, 1) * np.array([1, 0], dtype), r * np.array([0, 1], dtype)
        m, P, dm, dP, total = 0.0, 1.0, 0 * dq, 0 * dq, 0 * dq
        for t in range(T):
            P, dP = P + q, dP + dq
            S, dS = P + r, slip("observation's noise forgotten", dP + dr, dP)
            v, dv = y[t] - m, slip("innovation taken for constant", -dm, 0 * dm)
            total = total + 0.5 * dS / S + slip("2 of the square", 1, 0.5) * v * dv / S
            total = total - slip("variance below taken for constant", 0.5, 0) * v**2 * dS / S**2
            K, dK = P / S, (dP - P / S * dS) / S
            dK = slip("gain taken for constant", dK, 0 * dK)
            m, dm = m + K * v, dm + dK * v + K * dv
            P, dP = P * r / S, (dP * r + P * dr) / S - P * r * dS / S**2
        return total.astype(dtype)

    return loss, gradient, theta


@loss("conditional random field")
def crf(rng, dtype, slip):
    T, d, K = draws(rng, (4, 7), (2, 4), (2, 4))
    X, W, A = normals(rng, dtype, (T, d), (K, d), (K, K))
    y = rng.integers(0, K, T)

    def total(z, axis):
        """The logarithm of a sum of exponentials."""
        top = z.max(axis=axis, keepdims=True)
        return np.log(np.exp(z - top).sum(axis=axis)) + np.squeeze(top, axis)

    def loss(W, A):
        E = X @ W.T
        alpha = E[0]
        for t in range(1, T):
            alpha = total(alpha[:, None] + A, 0) + E[t]
        return total(alpha, 0) - (E[np.arange(T), y].sum() + A[y[:-1], y[1:]].sum())

    def gradient(W, A):
        E = X @ W.T
        alpha, beta = [E[0]], [np.zeros(K, dtype)]
        for t in range(1, T):
            alpha.append(total(alpha[-1][:, None] + A, slip("forward over the wrong axis", 0, 1)) + E[t])
            beta.insert(0, total(A + E[T - t] + beta[0], 1))
        log_z = total(alpha[-1], 0)
        dE = np.exp(np.array(alpha) + slip("backward pass forgotten", np.array(beta), 0) - log_z)
        dE = slip("softmax of each step alone", dE, softmax(E, axis=1))
        dE[np.arange(T), y] -= slip("labels forgotten", 1, 0)
        dA = np.zeros_like(A)
        for t in range(T - 1):
            pair = np.exp(
                alpha[t][:, None] + A + slip("emission forgotten in pairs", E[t + 1], 0) + beta[t + 1] - log_z
            )
            dA += pair
        if slip("-= for repeated transitions", False, True):
            dA[y[:-1], y[1:]] -= 1
        else:
            np.subtract.at(dA, (y[:-1], y[1:]), 1)
        return dE.T @ X, dA

    return loss, gradient, (W, A)


@loss("hidden Markov model")
def hmm(rng, dtype, slip):
    T, K, M = draws(rng, (5, 9), (2, 4), (2, 4))
    start, A, B = normals(rng, dtype, K, (K, K), (K, M))
    y = rng.integers(0, M, T)

    def loss(start, A, B):
        a, b = log_softmax(A, axis=1), log_softmax(B, axis=1)
        f = log_softmax(start) + b[:, y[0]]
        for t in range(1, T):
            f = logsumexp(f[:, None] + a, axis=0) + b[:, y[t]]
        return -logsumexp(f)

    def gradient(start, A, B):
        a, b = log_softmax(A, axis=1), log_softmax(B, axis=1)
        f, g = [log_softmax(start) + b[:, y[0]]], [np.zeros(K, dtype)]
        for t in range(1, T):
            f.append(logsumexp(f[-1][:, None] + a, axis=0) + b[:, y[t]])
            g.insert(0, logsumexp(a + b[:, y[T - t]] + g[0], axis=1))
        f, g = np.array(f), slip("filtered for smoothed", np.array(g), np.zeros((T, K), dtype))
        log_p = logsumexp(f[-1])
        states = np.exp(f + g - log_p)
        pairs = sum(np.exp(f[t][:, None] + a + b[:, y[t + 1]] + g[t + 1] - log_p) for t in range(T - 1))
        seen = np.zeros_like(B)
        for t in range(T - slip("last step forgotten", 0, 1)):
            seen[:, y[t]] += states[t]
        by_start = states[0] - slip("softmax of the start forgotten", softmax(start), 0)
        by_A = pairs - slip("softmax of the rows forgotten", pairs.sum(axis=1, keepdims=True) * softmax(A, axis=1), 0)
        by_B = seen - seen.sum(axis=1, keepdims=True) * softmax(B, axis=slip("softmax of the columns", 1, 0))
        return -by_start, -slip("transitions transposed", by_A, by_A.T), -by_B

    return loss, gradient, (start, A, B)
