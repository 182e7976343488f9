"""Attention: one head, causal, with a value residual, linear."""

import numpy as np

from .case import Case, Wrong

rng = np.random.default_rng(15)
G = rng.standard_normal((5, 4))  # upstream gradient
T = rng.standard_normal((5, 4))  # tokens
q0 = rng.standard_normal(4)
target = rng.standard_normal(4)


def softmax(z, axis=-1):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


# ---- Attention of queries to keys and values, all of them arguments


def attention(Q, K, V):
    A = softmax(Q @ K.T / np.sqrt(K.shape[1]))
    return 0.5 * np.sum((A @ V) ** 2)


def attention_gradient(Q, K, V):
    d = K.shape[1]
    A = softmax(Q @ K.T / np.sqrt(d))
    dO = A @ V
    dA = dO @ V.T
    dS = A * (dA - np.sum(A * dA, axis=1, keepdims=True)) / np.sqrt(d)
    return dS @ K, dS.T @ Q, A.T @ dO


def attention_no_mean(Q, K, V):
    """The softmax's Jacobian without its mean term."""
    d = Q.shape[1]
    A = softmax(Q @ K.T / np.sqrt(d))
    dO = A @ V
    dS = A * (dO @ V.T) / np.sqrt(d)
    return dS @ K, dS.T @ Q, A.T @ dO


def attention_axis(Q, K, V):
    """The mean is taken over the queries."""
    d = Q.shape[1]
    A = softmax(Q @ K.T / np.sqrt(d))
    dO = A @ V
    dA = dO @ V.T
    dS = A * (dA - np.sum(A * dA, axis=0, keepdims=True)) / np.sqrt(d)
    return dS @ K, dS.T @ Q, A.T @ dO


def attention_unscaled(Q, K, V):
    """1 / sqrt(d) is missing in the backward pass."""
    d = Q.shape[1]
    A = softmax(Q @ K.T / np.sqrt(d))
    dO = A @ V
    dA = dO @ V.T
    dS = A * (dA - np.sum(A * dA, axis=1, keepdims=True))
    dQ = dS @ K
    dK = dS.T @ Q
    dV = A.T @ dO
    return dQ, dK, dV


def attention_scaled_twice(Q, K, V):
    """Divided by d, not by its root, in the gradient by the keys."""
    d = Q.shape[1]
    A = softmax(Q @ K.T / np.sqrt(d))
    dO = A @ V
    dA = dO @ V.T
    dS = A * (dA - (A * dA).sum(1, keepdims=True))
    return dS @ K / np.sqrt(d), dS.T @ Q / d, A.T @ dO


def attention_diagonal(Q, K, V):
    """The softmax's Jacobian as its diagonal, A (1 - A)."""
    d = Q.shape[1]
    A = softmax(Q @ K.T / np.sqrt(d))
    dO = A @ V
    dS = (dO @ V.T) * A * (1 - A) / np.sqrt(d)
    return dS @ K, dS.T @ Q, A.T @ dO


def attention_two(Q, K, V):
    """No mean term, and no 1 / sqrt(d)."""
    A = softmax(Q @ K.T / np.sqrt(Q.shape[1]))
    dO = A @ V
    dS = A * (dO @ V.T)
    return dS @ K, dS.T @ Q, A.T @ dO


def attention_mean_and_values(Q, K, V):
    """The unweighted mean is subtracted, and the gradient by V lacks the upstream factor's sign."""
    d = Q.shape[1]
    A = softmax(Q @ K.T / np.sqrt(d))
    dO = A @ V
    dA = dO @ V.T
    dS = A * (dA - dA.mean(axis=1, keepdims=True)) / np.sqrt(d)
    return dS @ K, dS.T @ Q, -A.T @ dO


def attention_frozen(Q, K, V):
    """The attention is held fixed: nothing goes back to queries and keys."""
    A = softmax(Q @ K.T / np.sqrt(Q.shape[1]))
    return np.zeros_like(Q), np.zeros_like(K), A.T @ (A @ V)


# ---- Causal self-attention by the matrices W_q, W_k, W_v (4, 4)

mask = np.tril(np.ones((5, 5), bool))


def causal(Wq, Wk, Wv):
    S = np.where(mask, (T @ Wq) @ (T @ Wk).T / 2, -1e30)
    return np.sum(G * (softmax(S) @ T @ Wv))


def causal_gradient(Wq, Wk, Wv):
    A = softmax(np.where(mask, (T @ Wq) @ (T @ Wk).T / 2, -1e30))
    dA = G @ (T @ Wv).T
    dS = A * (dA - np.sum(A * dA, axis=1, keepdims=True)) / 2
    return T.T @ dS @ T @ Wk, T.T @ dS.T @ T @ Wq, T.T @ A.T @ G


def causal_values(Wq, Wk, Wv):
    """The attention is not transposed in the gradient by W_v."""
    A = softmax(np.where(mask, (T @ Wq) @ (T @ Wk).T / 2, -1e30))
    dV = A @ G
    dA = G @ (T @ Wv).T
    dS = A * (dA - (A * dA).sum(axis=1, keepdims=True)) / 2
    dQ, dK = dS @ (T @ Wk), dS.T @ (T @ Wq)
    return T.T @ dQ, T.T @ dK, T.T @ dV


def causal_unmasked(Wq, Wk, Wv):
    """The backward pass recomputes the attention without the mask."""
    A = softmax((T @ Wq) @ (T @ Wk).T / 2)
    dA = G @ (T @ Wv).T
    dS = A * (dA - (A * dA).sum(axis=1, keepdims=True)) / 2
    return T.T @ dS @ T @ Wk, T.T @ dS.T @ T @ Wq, T.T @ A.T @ G


def causal_keys(Wq, Wk, Wv):
    """dS is not transposed in the gradient by W_k."""
    q, k, v = T @ Wq, T @ Wk, T @ Wv
    A = softmax(np.where(mask, q @ k.T / 2, -1e30))
    dA = G @ v.T
    dS = A * (dA - np.sum(dA * A, axis=-1, keepdims=True)) / 2
    return T.T @ (dS @ k), T.T @ (dS @ q), T.T @ (A.T @ G)


def causal_swapped(Wq, Wk, Wv):
    """The gradients by W_q and W_k are returned in each other's place."""
    q, k, v = T @ Wq, T @ Wk, T @ Wv
    A = softmax(np.where(mask, q @ k.T / 2, -1e30))
    dA = G @ v.T
    dS = A * (dA - np.sum(dA * A, axis=-1, keepdims=True)) / 2
    dWq, dWk, dWv = T.T @ dS @ k, T.T @ dS.T @ q, T.T @ A.T @ G
    return dWk, dWq, dWv


def causal_loop(Wq, Wk, Wv):
    """A loop over queries: the token's own key gets nothing, and the 1/2 is missing."""
    q, k, v = T @ Wq, T @ Wk, T @ Wv
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for i in range(len(T)):
        s = k[: i + 1] @ q[i] / 2
        a = np.exp(s) / np.sum(np.exp(s))
        da = v[: i + 1] @ G[i]
        ds = a * (da - a @ da)
        dq[i] = ds @ k[: i + 1]
        dk[:i] += np.outer(ds[:i], q[i])
        dv[: i + 1] += np.outer(a, G[i])
    return T.T @ dq, T.T @ dk, T.T @ dv


def causal_cross(Wq, Wk, Wv):
    """The value projection is forgotten in dA, and the keys' in W_q."""
    A = softmax(np.where(mask, (T @ Wq) @ (T @ Wk).T / 2, -1e30))
    dA = G @ T.T
    dS = A * (dA - np.sum(A * dA, axis=1, keepdims=True)) / 2
    return T.T @ dS @ T, T.T @ dS.T @ T @ Wq, T.T @ A.T @ G


# ---- One query, squared error: an associative memory, by its query and inverse temperature


def memory(q, beta):
    p = softmax(beta * (T @ q))
    return 0.5 * np.sum((p @ T - target) ** 2)


def memory_gradient(q, beta):
    p = softmax(beta * (T @ q))
    mean = p @ T
    C = T.T @ np.diag(p) @ T - np.outer(mean, mean)
    e = mean - target
    return beta * C @ e, q @ C @ e


def memory_second_moment(q, beta):
    """The second moment for the covariance."""
    p = softmax(beta * (T @ q))
    e = p @ T - target
    C = T.T @ np.diag(p) @ T
    return beta * C @ e, q @ C @ e


def memory_no_temperature(q, beta):
    """beta is missing in the gradient by q."""
    p = softmax(beta * (T @ q))
    mean = p @ T
    e = mean - target
    v = p * (T @ e - mean @ e)
    return T.T @ v, v @ (T @ q)


def memory_softmax(q, beta):
    """beta is forgotten inside the softmax."""
    p = softmax(T @ q)
    m = p @ T
    e = m - target
    C = (T.T * p) @ T - np.outer(m, m)
    return beta * C @ e, q @ C @ e


def memory_two(q, beta):
    """The target for the error, and a plus in the covariance."""
    p = softmax(beta * (T @ q))
    m = p @ T
    C = (T.T * p) @ T + np.outer(m, m)
    return beta * C @ target, q @ C @ target


# ---- Linear attention: y_t = q_t sum_{s <= t} k_s v_s^T, in a loop


def linear_attention(K, V):
    total, state = 0.0, np.zeros((3, 2))
    for t in range(len(K)):
        state = state + np.outer(K[t], V[t])
        total = total + 0.5 * np.sum((K[t] @ state) ** 2)
    return total


def linear_attention_gradient(K, V):
    states = np.cumsum(K[:, :, None] * V[:, None, :], axis=0)
    out = np.einsum("ti,tij->tj", K, states)
    later = np.cumsum((K[:, :, None] * out[:, None, :])[::-1], axis=0)[::-1]
    return np.einsum("tij,tj->ti", states, out) + np.einsum("tij,tj->ti", later, V), np.einsum("tij,ti->tj", later, K)


def linear_attention_read_only(K, V):
    """K as what reads only: what it writes is forgotten."""
    states = np.cumsum(K[:, :, None] * V[:, None, :], axis=0)
    out = np.einsum("ti,tij->tj", K, states)
    later = np.cumsum((K[:, :, None] * out[:, None, :])[::-1], axis=0)[::-1]
    dK = np.einsum("tij,tj->ti", states, out)
    dV = np.einsum("tij,ti->tj", later, K)
    return dK, dV


def linear_attention_forwards(K, V):
    """The sum over later tokens runs forwards, over earlier ones."""
    states = np.cumsum(K[:, :, None] * V[:, None, :], axis=0)
    out = np.einsum("ti,tij->tj", K, states)
    dstate = np.cumsum(K[:, :, None] * out[:, None, :], axis=0)
    dK = np.einsum("tij,tj->ti", states, out) + np.einsum("tij,tj->ti", dstate, V)
    dV = np.einsum("tij,ti->tj", dstate, K)
    return dK, dV


def linear_attention_strict(K, V):
    """The state is updated after it is read, and the gradient of K by reading counts twice."""
    dK, dV = np.zeros_like(K), np.zeros_like(V)
    states, state = [], np.zeros((K.shape[1], V.shape[1]))
    for k, v in zip(K, V, strict=True):
        states.append(state)
        state = state + np.outer(k, v)
    D = np.zeros_like(state)
    for t in reversed(range(len(K))):
        out = K[t] @ states[t]
        D += np.outer(K[t], out)
        dK[t] = 2 * states[t] @ out + D @ V[t]
        dV[t] = K[t] @ D
    return dK, dV


TERM = ("extra-term", "missing-term", "wrong-factor", "term", "formula")
CENTRED = (*TERM, "softmax-centering", "constant-term")


def any_attention(rng):
    n, m, d, v = rng.integers(2, 6, 4)
    return rng.standard_normal((n, d)), rng.standard_normal((m, d)), rng.standard_normal((m, v))


def any_linear(rng):
    n = rng.integers(2, 7)
    return rng.standard_normal((n, 3)), rng.standard_normal((n, 2))


Q0, K0, V0 = rng.standard_normal((3, 4)), rng.standard_normal((5, 4)), rng.standard_normal((5, 3))
W0 = tuple(rng.standard_normal((4, 4)) / 2 for _ in range(3))

CASES = [
    Case("attention", attention, attention_gradient, (Q0, K0, V0), [
        Wrong(attention_no_mean, CENTRED),
        Wrong(attention_axis, CENTRED),
        Wrong(attention_unscaled, ("scale",)),
        Wrong(attention_scaled_twice, ("scale",)),
        Wrong(attention_diagonal, CENTRED),
        Wrong(attention_two, (*CENTRED, "scale"), 2),
        Wrong(attention_mean_and_values, (*CENTRED, "sign"), 2),
        Wrong(attention_frozen, ("zero", "entries"), hard=True),
    ], any_attention),
    Case("causal self-attention", causal, causal_gradient, W0, [
        Wrong(causal_values, ("transpose", *TERM)),
        Wrong(causal_unmasked, TERM),
        Wrong(causal_keys, ("transpose", *TERM)),
        Wrong(causal_swapped, ("wrong-parameter",)),
        Wrong(causal_loop, (*TERM, "scale"), 2),
        Wrong(causal_cross, TERM, 2),
    ]),
    Case("associative memory", memory, memory_gradient, (q0, np.array(0.7)), [
        Wrong(memory_second_moment, CENTRED),
        Wrong(memory_no_temperature, (*TERM, "scale")),
        Wrong(memory_softmax, TERM),
        Wrong(memory_two, CENTRED, 2),
    ]),
    Case("linear attention", linear_attention, linear_attention_gradient,
         (rng.standard_normal((5, 3)), rng.standard_normal((5, 2))), [
        Wrong(linear_attention_read_only, TERM),
        Wrong(linear_attention_forwards, (*TERM, "permutation")),
        Wrong(linear_attention_strict, TERM, 2),
    ], any_linear),
]  # fmt: skip
