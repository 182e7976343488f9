"""Networks of two layers, gates, adapters, embeddings, convolutions."""

import numpy as np

from .case import Case, Wrong

rng = np.random.default_rng(17)
X = rng.standard_normal((8, 5))
Y = rng.standard_normal((8, 2))
n = len(X)


# ---- relu network, squared error


def relu_net(W1, b1, W2):
    H = np.maximum(X @ W1 + b1, 0)
    return 0.5 * np.sum((H @ W2 - Y) ** 2) / n


def relu_net_gradient(W1, b1, W2):
    Z = X @ W1 + b1
    H = np.maximum(Z, 0)
    E = (H @ W2 - Y) / n
    dZ = (E @ W2.T) * (Z > 0)
    return X.T @ dZ, dZ.sum(axis=0), H.T @ E


def relu_net_ungated(W1, b1, W2):
    """The gate is missing."""
    H = np.maximum(X @ W1 + b1, 0)
    E = (H @ W2 - Y) / n
    dH = E @ W2.T
    return X.T @ dH, dH.sum(axis=0), H.T @ E


def relu_net_value(W1, b1, W2):
    """relu's value for its indicator."""
    Z = X @ W1 + b1
    H = np.maximum(Z, 0)
    E = (H @ W2 - Y) / n
    dZ = (E @ W2.T) * H
    return X.T @ dZ, dZ.sum(axis=0), H.T @ E


def relu_net_gate_of_gradient(W1, b1, W2):
    """The gate is of the gradient, not of the pre-activation."""
    Z = X @ W1 + b1
    H = np.maximum(Z, 0)
    E = (H @ W2 - Y) / n
    dH = E @ W2.T
    dZ = dH * (dH > 0)
    return X.T @ dZ, dZ.sum(axis=0), H.T @ E


def relu_net_bias(W1, b1, W2):
    """The bias is forgotten in the forward pass that the gradient repeats."""
    Z = X @ W1
    H = np.maximum(Z, 0)
    E = (H @ W2 - Y) / n
    dZ = (E @ W2.T) * (Z > 0)
    return X.T @ dZ, dZ.sum(axis=0), H.T @ E


def relu_net_inputs(W1, b1, W2):
    """W2's gradient takes the pre-activation."""
    Z = X @ W1 + b1
    A = np.where(Z > 0, Z, 0.0)
    E = (A @ W2 - Y) / n
    delta = np.where(Z > 0, E @ W2.T, 0.0)
    grads = [X.T @ delta, np.sum(delta, axis=0), Z.T @ E]
    return tuple(grads)


def relu_net_buffer(W1, b1, W2):
    """The gate is applied in place to dH after b1's gradient was taken."""
    Z = X @ W1 + b1
    H = np.maximum(Z, 0)
    E = (H @ W2 - Y) / n
    dZ = E @ W2.T
    db1 = dZ.sum(axis=0)
    dZ[Z <= 0] = 0
    return X.T @ dZ, db1, H.T @ E


def relu_net_two(W1, b1, W2):
    """The gate is reversed, and b1's gradient is a mean."""
    Z = X @ W1 + b1
    H = np.maximum(Z, 0)
    E = (H @ W2 - Y) / n
    dZ = (E @ W2.T) * (Z < 0)
    return X.T @ dZ, dZ.mean(axis=0), H.T @ E


# ---- tanh network with helpers, a sum over samples


def tanh_prime_of_value(h):
    return 1 - h**2


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def tanh_net(W, v):
    return 0.5 * np.sum((np.tanh(X @ W) @ v - Y[:, 0]) ** 2)


def tanh_net_gradient(W, v):
    H = np.tanh(X @ W)
    e = H @ v - Y[:, 0]
    return X.T @ (e[:, None] * v * (1 - H**2)), H.T @ e


def slope(h):
    return 1 - h


def sech(z):
    return 1 / np.cosh(z)


def tanh_net_first_power(W, v):
    """tanh' is 1 - h (in the helper)."""
    H = np.tanh(X @ W)
    e = H @ v - Y[:, 0]
    return X.T @ (np.outer(e, v) * slope(H)), H.T @ e


def tanh_net_of_input(W, v):
    """The helper wants tanh's value, and gets its argument."""
    Z = X @ W
    e = np.tanh(Z) @ v - Y[:, 0]
    return X.T @ (np.outer(e, v) * tanh_prime_of_value(Z)), np.tanh(Z).T @ e


def tanh_net_sech(W, v):
    """sech for its square (in the helper)."""
    Z = X @ W
    e = np.tanh(Z) @ v - Y[:, 0]
    return X.T @ (np.outer(e, v) * sech(Z)), np.tanh(Z).T @ e


def tanh_net_no_chain(W, v):
    """tanh's derivative is forgotten."""
    H = np.tanh(X @ W)
    e = H @ v - Y[:, 0]
    return X.T @ np.outer(e, v), H.T @ e


def tanh_net_sigmoid(W, v):
    """The sigmoid's derivative, h (1 - h)."""
    H = np.tanh(X @ W)
    e = H @ v - Y[:, 0]
    D = np.empty_like(H)
    for j in range(H.shape[1]):
        D[:, j] = e * v[j] * H[:, j] * (1 - H[:, j])
    return X.T @ D, H.T @ e


def tanh_net_two(W, v):
    """v is forgotten on the way back, and the residual has the wrong sign in v's gradient."""
    H = np.tanh(X @ W)
    e = H @ v - Y[:, 0]
    return X.T @ (e[:, None] * (1 - H**2)), H.T @ (Y[:, 0] - H @ v)


# ---- Autoencoder with tied weights


def tied(W):
    return 0.5 * np.mean(np.sum((sigmoid(X @ W) @ W.T - X) ** 2, axis=1))


def tied_gradient(W):
    H = sigmoid(X @ W)
    E = (H @ W.T - X) / n
    return X.T @ ((E @ W) * H * (1 - H)) + E.T @ H


def tied_encoder_only(W):
    """The decoder's share is missing."""
    H = sigmoid(X @ W)
    E = (H @ W.T - X) / n
    return X.T @ (E @ W * H * (1 - H))


def tied_decoder_only(W):
    """The encoder's share is missing."""
    H = sigmoid(X @ W)
    E = (H @ W.T - X) / n
    return E.T @ H


def tied_input(W):
    """sigmoid' of the pre-activation as if that were the value."""
    Z = X @ W
    H = sigmoid(Z)
    E = (H @ W.T - X) / n
    dZ = (E @ W) * Z * (1 - Z)
    return X.T @ dZ + E.T @ H


def tied_two(W):
    """(1 - H) alone for H (1 - H), and one of the shares is not averaged."""
    H = sigmoid(X @ W)
    E = H @ W.T - X
    return X.T @ ((E @ W) * (1 - H)) / n + E.T @ H


# ---- A gated unit: (X A) * sigmoid(X B), dict of parameters


def gated(p):
    return np.sum(Y * ((X @ p["A"]) * sigmoid(X @ p["B"])))


def gated_gradient(p):
    value, gate = X @ p["A"], sigmoid(X @ p["B"])
    return {"A": X.T @ (Y * gate), "B": X.T @ (Y * value * gate * (1 - gate))}


def gated_swish(p):
    """B's gradient is of z sigmoid(z)."""
    value, z = X @ p["A"], X @ p["B"]
    gate = sigmoid(z)
    dz = Y * value * (gate + z * gate * (1 - gate))
    return {"A": X.T @ (Y * gate), "B": X.T @ dz}


def gated_ungated(p):
    """A's gradient without the gate."""
    u = X @ p["A"]
    s = sigmoid(X @ p["B"])
    grads = {"A": X.T @ Y}
    grads["B"] = X.T @ (Y * u * s * (1 - s))
    return grads


def gated_value(p):
    """The value is missing in B's gradient."""
    s = sigmoid(X @ p["B"])
    return {"A": X.T @ (Y * s), "B": X.T @ (Y * s * (1 - s))}


def gated_two(p):
    """The gate's derivative is s, and A's gradient has the gate of A."""
    u, s = X @ p["A"], sigmoid(X @ p["B"])
    return {"A": X.T @ (Y * sigmoid(u)), "B": X.T @ (Y * u * s)}


# ---- Low-rank adapter: W0 + (alpha / r) B A

W_frozen = rng.standard_normal((5, 2))
alpha = 4.0


def adapter(A, B):
    W = W_frozen + alpha / A.shape[1] * A @ B
    return 0.5 * np.sum((X @ W - Y) ** 2)


def adapter_gradient(A, B):
    c = alpha / A.shape[1]
    dW = X.T @ (X @ (W_frozen + c * A @ B) - Y)
    return c * dW @ B.T, c * A.T @ dW


def adapter_no_scale(A, B):
    """alpha / r is missing in the backward pass."""
    c = alpha / A.shape[1]
    dW = X.T @ (X @ (W_frozen + c * A @ B) - Y)
    return dW @ B.T, A.T @ dW


def adapter_no_base(A, B):
    """The frozen weights are left out of the residual."""
    c = alpha / A.shape[1]
    R = c * X @ A @ B - Y
    return c * X.T @ R @ B.T, c * (X @ A).T @ R


def adapter_alpha(A, B):
    """alpha for alpha / r, in A's gradient."""
    R = X @ W_frozen + alpha / A.shape[1] * X @ A @ B - Y
    dA = alpha * X.T @ R @ B.T
    dB = alpha / A.shape[1] * A.T @ X.T @ R
    return dA, dB


def adapter_two(A, B):
    """The scale is missing in the forward pass and in the backward pass."""
    dW = X.T @ (X @ (W_frozen + A @ B) - Y)
    return dW @ B.T, A.T @ dW


TERM = ("extra-term", "missing-term", "wrong-factor", "term", "formula")
GATE = (*TERM, "relu-gate", "entries", "gate", "formula")
W1, b1, W2 = 0.6 * rng.standard_normal((5, 3)), rng.standard_normal(3) / 3, rng.standard_normal((3, 2))
v0 = rng.standard_normal(3)
A0, B0 = 0.5 * rng.standard_normal((5, 3)), 0.5 * rng.standard_normal((3, 2))
P0 = {"A": rng.standard_normal((5, 2)) / 2, "B": rng.standard_normal((5, 2)) / 2}


def any_width(rng):
    m = rng.integers(2, 7)
    return rng.standard_normal((5, m)), rng.standard_normal(m)


def any_net(rng):
    m = rng.integers(2, 7)
    return rng.standard_normal((5, m)), rng.standard_normal(m), rng.standard_normal((m, 2))


def any_rank(rng):
    r = rng.integers(1, 5)
    return rng.standard_normal((5, r)), rng.standard_normal((r, 2))


CASES = [
    Case("relu network", relu_net, relu_net_gradient, (W1, b1, W2), [
        Wrong(relu_net_ungated, GATE),
        Wrong(relu_net_value, GATE),
        Wrong(relu_net_gate_of_gradient, GATE),
        Wrong(relu_net_bias, GATE),
        Wrong(relu_net_inputs, GATE),
        Wrong(relu_net_buffer, GATE),
        Wrong(relu_net_two, (*GATE, "scale"), 2),
    ], any_net),
    Case("tanh network", tanh_net, tanh_net_gradient, (W1, v0), [
        Wrong(tanh_net_first_power, TERM),
        Wrong(tanh_net_of_input, TERM),
        Wrong(tanh_net_sech, TERM),
        Wrong(tanh_net_no_chain, TERM),
        Wrong(tanh_net_sigmoid, TERM),
        Wrong(tanh_net_two, (*TERM, "scale", "sign"), 2),
    ], any_width),
    Case("tied autoencoder", tied, tied_gradient, W1, [
        Wrong(tied_encoder_only, TERM),
        Wrong(tied_decoder_only, TERM),
        Wrong(tied_input, TERM),
        Wrong(tied_two, TERM, 2),
    ]),
    Case("gated unit", gated, gated_gradient, P0, [
        Wrong(gated_swish, TERM),
        Wrong(gated_ungated, TERM),
        Wrong(gated_value, TERM),
        Wrong(gated_two, TERM, 2),
    ]),
    Case("low-rank adapter", adapter, adapter_gradient, (A0, B0), [
        Wrong(adapter_no_scale, ("scale",)),
        Wrong(adapter_no_base, TERM),
        Wrong(adapter_alpha, ("scale",)),
        Wrong(adapter_two, TERM, 2),
    ], any_rank),
]  # fmt: skip
