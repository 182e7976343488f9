"""Recurrence: networks, cells, and what is stepped through time."""

import numpy as np
from scipy.special import expit

from .case import Case, Wrong

rng = np.random.default_rng(19)
inputs = rng.standard_normal((5, 2))
wanted = rng.standard_normal((5, 3))
steps = len(inputs)


def run(W, U):
    """States h_0 = 0, h_1 .. h_T."""
    h = [np.zeros(len(W))]
    for x in inputs:
        h.append(np.tanh(W @ h[-1] + U @ x))
    return h


# ---- tanh RNN, squared error of every state


def rnn(W, U):
    h = np.zeros(len(W))
    total = 0.0
    for x, y in zip(inputs, wanted, strict=True):
        h = np.tanh(W @ h + U @ x)
        total = total + 0.5 * np.sum((h - y) ** 2)
    return total


def rnn_gradient(W, U):
    h = run(W, U)
    dW, dU, back = np.zeros_like(W), np.zeros_like(U), np.zeros(len(W))
    for t in range(steps, 0, -1):
        dz = (back + h[t] - wanted[t - 1]) * (1 - h[t] ** 2)
        dW += np.outer(dz, h[t - 1])
        dU += np.outer(dz, inputs[t - 1])
        back = W.T @ dz
    return dW, dU


def rnn_same_state(W, U):
    """dW takes h_t for h_(t-1)."""
    h = run(W, U)
    dW, dU, dh_next = np.zeros_like(W), np.zeros_like(U), np.zeros(3)
    for t in reversed(range(steps)):
        dz = (h[t + 1] - wanted[t] + dh_next) * (1 - h[t + 1] ** 2)
        dW += np.outer(dz, h[t + 1])
        dU += np.outer(dz, inputs[t])
        dh_next = W.T @ dz
    return dW, dU


def rnn_not_transposed(W, U):
    """W is not transposed on the way back."""
    h = run(W, U)
    dW, dU, dh_next = np.zeros_like(W), np.zeros_like(U), np.zeros(3)
    for t in reversed(range(steps)):
        dz = (h[t + 1] - wanted[t] + dh_next) * (1 - h[t + 1] ** 2)
        dW += np.outer(dz, h[t])
        dU += np.outer(dz, inputs[t])
        dh_next = W @ dz
    return dW, dU


def rnn_truncated(W, U):
    """Nothing goes back in time."""
    h = run(W, U)
    dW, dU = np.zeros_like(W), np.zeros_like(U)
    for t in range(steps):
        dz = (h[t + 1] - wanted[t]) * (1 - h[t + 1] ** 2)
        dW += np.outer(dz, h[t])
        dU += np.outer(dz, inputs[t])
    return dW, dU


def rnn_slope(W, U):
    """tanh' is taken at the state before."""
    h = run(W, U)
    dW, dU, dh = np.zeros_like(W), np.zeros_like(U), np.zeros(3)
    for t in reversed(range(steps)):
        dh = dh + h[t + 1] - wanted[t]
        dz = dh * (1 - h[t] ** 2)
        dW += np.outer(dz, h[t])
        dU += np.outer(dz, inputs[t])
        dh = W.T @ dz
    return dW, dU


def rnn_accumulated(W, U):
    """The gradient of the states is added up, not handed on."""
    h = run(W, U)
    dW, dU, dh = np.zeros_like(W), np.zeros_like(U), np.zeros(3)
    for t in reversed(range(steps)):
        dh = dh + h[t + 1] - wanted[t]
        dz = dh * (1 - h[t + 1] ** 2)
        dW += np.outer(dz, h[t])
        dU += np.outer(dz, inputs[t])
        dh += W.T @ dz
    return dW, dU


def rnn_two(W, U):
    """The first step is left out, and the next input is taken in dU."""
    h = run(W, U)
    dW, dU, dh = np.zeros_like(W), np.zeros_like(U), np.zeros(3)
    for t in range(steps - 1, 0, -1):
        dz = (dh + h[t + 1] - wanted[t]) * (1 - h[t + 1] ** 2)
        dW += np.outer(dz, h[t])
        dU += np.outer(dz, inputs[t - 1])
        dh = W.T @ dz
    return dW, dU


def rnn_two_gates(W, U):
    """1 - h for 1 - h^2, and no transposition."""
    h = run(W, U)
    dW, dU, dh = 0 * W, 0 * U, np.zeros(3)
    for t in range(steps)[::-1]:
        dz = (dh + h[t + 1] - wanted[t]) * (1 - h[t + 1])
        dW = dW + np.outer(dz, h[t])
        dU = dU + np.outer(dz, inputs[t])
        dh = W @ dz
    return dW, dU


# ---- One LSTM step: gates i, f, o and candidate g from z = W x, by the cell before, c, and z

G_h, G_c = rng.standard_normal(4), rng.standard_normal(4)


def lstm(z, c):
    i, f, o, g = expit(z[0]), expit(z[1]), expit(z[2]), np.tanh(z[3])
    c_new = f * c + i * g
    return G_h @ (o * np.tanh(c_new)) + G_c @ c_new


def lstm_gradient(z, c):
    i, f, o, g = expit(z[0]), expit(z[1]), expit(z[2]), np.tanh(z[3])
    th = np.tanh(f * c + i * g)
    dc = G_c + G_h * o * (1 - th**2)
    dz = np.stack([dc * g * i * (1 - i), dc * c * f * (1 - f), G_h * th * o * (1 - o), dc * i * (1 - g**2)])
    return dz, dc * f


def lstm_no_cell(z, c):
    """The gradient that comes from the next cell is dropped."""
    i, f, o = expit(z[:3])
    g = np.tanh(z[3])
    th = np.tanh(f * c + i * g)
    dc = G_h * o * (1 - th**2)
    dz = np.stack([dc * g * i * (1 - i), dc * c * f * (1 - f), G_h * th * o * (1 - o), dc * i * (1 - g**2)])
    return dz, dc * f


def lstm_new_cell(z, c):
    """The forget gate's gradient has the new cell for the old one."""
    i, f, o = expit(z[:3])
    g = np.tanh(z[3])
    c_new = f * c + i * g
    th = np.tanh(c_new)
    dc = G_c + G_h * o * (1 - th**2)
    dz = np.zeros_like(z)
    dz[0] = dc * g * i * (1 - i)
    dz[1] = dc * c_new * f * (1 - f)
    dz[2] = G_h * th * o * (1 - o)
    dz[3] = dc * i * (1 - g**2)
    return dz, dc * f


def lstm_candidate(z, c):
    """The candidate's slope is a sigmoid's."""
    i, f, o = expit(z[:3])
    g = np.tanh(z[3])
    th = np.tanh(f * c + i * g)
    dc = G_c + G_h * o * (1 - th**2)
    di, df, do, dg = dc * g, dc * c, G_h * th, dc * i
    dz = np.stack([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * g * (1 - g)])
    return dz, dc * f


def lstm_input_gate(z, c):
    """The cell before gets the input gate, not the forget gate."""
    i, f, o = expit(z[:3])
    g = np.tanh(z[3])
    th = np.tanh(f * c + i * g)
    dc = G_c + G_h * o * (1 - th**2)
    di, df, do, dg = dc * g, dc * c, G_h * th, dc * i
    return np.array([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)]), dc * i


def lstm_two(z, c):
    """The output gate is missing in dc, and the output gate's gradient has the cell without tanh."""
    i, f, o = expit(z[:3])
    g = np.tanh(z[3])
    c_new = f * c + i * g
    dc = G_c + G_h * (1 - np.tanh(c_new) ** 2)
    di, df, do, dg = dc * g, dc * c, G_h * c_new, dc * i
    return np.array([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)]), dc * f


# ---- A GRU-like blend of states, in a loop: h = (1 - s) h + s x, s = sigmoid(a x + b)


def blend(theta):
    a, b = theta
    h = 0.0
    for x in inputs[:, 0]:
        s = 1 / (1 + np.exp(-(a * x + b)))
        h = (1 - s) * h + s * x
    return 0.5 * (h - 1) ** 2


def blend_gradient(theta):
    a, b = theta
    h, dh = 0.0, np.zeros(2)
    for x in inputs[:, 0]:
        s = expit(a * x + b)
        dh = (1 - s) * dh + s * (1 - s) * (x - h) * np.array([x, 1.0])
        h = (1 - s) * h + s * x
    return (h - 1) * dh


def blend_late(theta):
    """The state is updated before its derivative is."""
    a, b = theta
    h, dh = 0.0, np.zeros(2)
    for x in inputs[:, 0]:
        s = expit(a * x + b)
        h = (1 - s) * h + s * x
        dh = (1 - s) * dh + s * (1 - s) * (x - h) * np.array([x, 1.0])
    return (h - 1) * dh


def blend_gate(theta):
    """The gate's own derivative is missing."""
    a, b = theta
    h, dh = 0.0, np.zeros(2)
    for x in inputs[:, 0]:
        s = expit(a * x + b)
        dh = (1 - s) * dh + (x - h) * np.array([x, 1.0])
        h = (1 - s) * h + s * x
    return (h - 1) * dh


def blend_keep(theta):
    """s for 1 - s in front of what came before."""
    a, b = theta
    h, da, db = 0.0, 0.0, 0.0
    for x in inputs[:, 0]:
        s = expit(a * x + b)
        ds = s * (1 - s) * (x - h)
        da, db = s * da + ds * x, s * db + ds
        h = (1 - s) * h + s * x
    return np.array([(h - 1) * da, (h - 1) * db])


def blend_two(theta):
    """h is forgotten in x - h, and the last factor is h."""
    a, b = theta
    h, dh = 0.0, np.zeros(2)
    for x in inputs[:, 0]:
        s = expit(a * x + b)
        dh = (1 - s) * dh + s * (1 - s) * x * np.array([x, 1.0])
        h = (1 - s) * h + s * x
    return h * dh


# ---- Euler steps of a linear equation, by the matrix and the start

dt, goal = 0.1, np.array([0.5, -0.3])


def flow(A, x0):
    x = x0
    for _ in range(6):
        x = x + dt * (A @ x)
    return 0.5 * np.sum((x - goal) ** 2)


def flow_gradient(A, x0):
    xs = [x0]
    for _ in range(6):
        xs.append(xs[-1] + dt * A @ xs[-1])
    lam, dA = xs[-1] - goal, np.zeros_like(A)
    for x in xs[-2::-1]:
        dA += dt * np.outer(lam, x)
        lam = lam + dt * A.T @ lam
    return dA, lam


def flow_no_dt(A, x0):
    """dt is missing in dA."""
    xs = [x0]
    for k in range(6):
        xs.append(xs[k] + dt * A @ xs[k])
    lam, dA = xs[-1] - goal, np.zeros_like(A)
    for k in range(5, -1, -1):
        dA += np.outer(lam, xs[k])
        lam = lam + dt * A.T @ lam
    return dA, lam


def flow_backwards(A, x0):
    """The adjoint runs with a minus sign, as in continuous time."""
    xs = [x0]
    for k in range(6):
        xs.append(xs[k] + dt * A @ xs[k])
    lam, dA = xs[-1] - goal, np.zeros_like(A)
    for k in range(5, -1, -1):
        dA += dt * np.outer(lam, xs[k])
        lam = lam - dt * A.T @ lam
    return dA, lam


def flow_end(A, x0):
    """The state after the step for the one before it."""
    xs = [x0]
    for k in range(6):
        xs.append(xs[k] + dt * A @ xs[k])
    lam, dA = xs[-1] - goal, np.zeros_like(A)
    for k in range(6, 0, -1):
        dA += dt * np.outer(lam, xs[k])
        lam = lam + dt * A.T @ lam
    return dA, lam


def flow_outer(A, x0):
    """The outer product is the wrong way round, and A is not transposed."""
    xs = [x0]
    for k in range(6):
        xs.append(xs[k] + dt * A @ xs[k])
    lam, dA = xs[-1] - goal, np.zeros_like(A)
    for k in reversed(range(6)):
        dA += dt * np.outer(xs[k], lam)
        lam = lam + dt * A @ lam
    return dA, lam


TERM = ("extra-term", "missing-term", "wrong-factor", "term", "formula")

CASES = [
    Case("RNN", rnn, rnn_gradient, (0.7 * rng.standard_normal((3, 3)), rng.standard_normal((3, 2))), [
        Wrong(rnn_same_state, TERM),
        Wrong(rnn_not_transposed, TERM),
        Wrong(rnn_truncated, TERM, hard=True),
        Wrong(rnn_slope, TERM),
        Wrong(rnn_accumulated, TERM),
        Wrong(rnn_two, TERM, 2),
        Wrong(rnn_two_gates, TERM, 2),
    ]),
    Case("LSTM step", lstm, lstm_gradient, (rng.standard_normal((4, 4)), rng.standard_normal(4)), [
        Wrong(lstm_no_cell, TERM),
        Wrong(lstm_new_cell, (*TERM, "entries")),
        Wrong(lstm_candidate, (*TERM, "entries")),
        Wrong(lstm_input_gate, TERM),
        Wrong(lstm_two, TERM, 2),
    ]),
    Case("blended state", blend, blend_gradient, np.array([0.6, -0.4]), [
        Wrong(blend_late, TERM),
        Wrong(blend_gate, TERM),
        Wrong(blend_keep, TERM),
        Wrong(blend_two, TERM, 2),
    ]),
    Case("Euler steps", flow, flow_gradient, (rng.standard_normal((2, 2)), rng.standard_normal(2)), [
        Wrong(flow_no_dt, ("scale",)),
        Wrong(flow_backwards, TERM),
        Wrong(flow_end, TERM),
        Wrong(flow_outer, (*TERM, "transpose"), 2),
    ]),
]  # fmt: skip
