"""Wrong formulas of Li et al. 2024, in the way an appendix or its author's script has them.

P holds the contexts p_1 .. p_l, q is p_query, z the label.
"""

# ruff: noqa: RUF059 (a forward pass returns more than a formula uses)

import numpy as np

from .case import WrongFormula


def attention(params, prompt):
    P, q = prompt.contexts, prompt.query
    scores = (params.W_K @ P).T @ (params.W_Q @ q)
    e = np.exp(scores - np.max(scores))
    return e / e.sum()


def forward(params, prompt):
    attn = attention(params, prompt)
    h = prompt.contexts @ attn
    return attn, h, params.W_O @ params.W_V @ h


def hinge(params, prompt):
    """attn, h = sum_s attn_s p_s, u = W_O W_V h, g = -z 1[1 - z F > 0]."""
    attn = attention(params, prompt)
    h = prompt.contexts @ attn
    u = params.W_O @ params.W_V @ h
    F = params.a @ np.maximum(u, 0)
    g = -prompt.z if 1 - prompt.z * F > 0 else 0.0
    return attn, h, u, g


def hinge_at_zero(params, prompt):
    attn = attention(params, prompt)
    h = prompt.contexts @ attn
    u = params.W_O @ params.W_V @ h
    F = params.a @ np.maximum(u, 0)
    g = -prompt.z * (prompt.z * F > 0)
    return attn, h, u, g


def attention_of_values(params, prompt):
    """Scores between values and the query's W_Q: W_V for W_K needs m_a = m_b, so products of raw tokens stand here."""
    scores = prompt.contexts.T @ prompt.query
    e = np.exp(scores - np.max(scores))
    return e / e.sum()


# ---- a


def a_no_relu(params, prompt):
    """u for relu(u)."""
    attn, h, u, g = hinge(params, prompt)
    return g * u


def a_indicator(params, prompt):
    """The indicator for relu(u)."""
    attn, h, u, g = hinge(params, prompt)
    return g * (u > 0) * np.ones_like(u)


def a_no_hinge(params, prompt):
    """The hinge's indicator is missing."""
    attn, h, u = forward(params, prompt)
    return -prompt.z * np.maximum(u, 0)


def a_with_a(params, prompt):
    """a stands as a factor, and the sign is z."""
    attn, h, u, g = hinge(params, prompt)
    return -g * params.a * np.maximum(u, 0)


# ---- W_O


def W_O_no_a(params, prompt):
    """a_i is missing."""
    attn, h, u, g = hinge(params, prompt)
    return g * np.outer(u > 0, params.W_V @ h)


def W_O_relu(params, prompt):
    """relu(u_i) for its indicator."""
    attn, h, u, g = hinge(params, prompt)
    return g * np.outer(params.a * np.maximum(u, 0), params.W_V @ h)


def W_O_last_token(params, prompt):
    """The sum over contexts ends one early."""
    P = prompt.contexts
    attn, h, u, g = hinge(params, prompt)
    rows = np.zeros_like(params.W_O)
    for i in range(len(params.a)):
        for s in range(P.shape[1] - 1):
            rows[i] += params.a[i] * (u[i] > 0) * attn[s] * (params.W_V @ P[:, s])
    return g * rows


def W_O_mean(params, prompt):
    """The mean over contexts for the attention."""
    P = prompt.contexts
    attn, h, u, g = hinge(params, prompt)
    return g * np.outer(params.a * (u > 0), params.W_V @ P.mean(axis=1))


def W_O_margin(params, prompt):
    """The hinge is taken as active where z F > 0 (in the helper)."""
    attn, h, u, g = hinge_at_zero(params, prompt)
    return g * np.outer(params.a * (u > 0), params.W_V @ h)


def W_O_two(params, prompt):
    """No label, and no gate of the neurons."""
    attn, h, u, g = hinge(params, prompt)
    return -abs(g) * np.outer(params.a, params.W_V @ h)


def W_O_query(params, prompt):
    """The query's value instead of the contexts'."""
    attn, h, u, g = hinge(params, prompt)
    return g * np.outer(params.a * (u > 0), params.W_V @ prompt.query)


# ---- W_V


def W_V_no_gate(params, prompt):
    """The neurons' gate is missing."""
    attn, h, u, g = hinge(params, prompt)
    return g * np.outer(params.W_O.T @ params.a, h)


def W_V_no_attention(params, prompt):
    """The attention is left out: contexts are summed."""
    attn, h, u, g = hinge(params, prompt)
    b = params.a * (u > 0)
    return g * np.outer(params.W_O.T @ b, np.sum(prompt.contexts, axis=1))


def W_V_scores_of_tokens(params, prompt):
    """The attention is of the tokens themselves: W_K and W_Q are left out."""
    attn, h, u, g = hinge(params, prompt)
    attn = attention_of_values(params, prompt)
    return g * np.outer(params.W_O.T @ (params.a * (u > 0)), prompt.contexts @ attn)


def W_V_mean_neurons(params, prompt):
    """A mean over neurons for the sum."""
    attn, h, u, g = hinge(params, prompt)
    m = len(params.a)
    total = np.zeros_like(params.W_V)
    for i in range(m):
        total += params.a[i] * (u[i] > 0) * np.outer(params.W_O[i], h)
    return g * total / m


def W_V_squared_attention(params, prompt):
    """attn_s^2 for attn_s."""
    attn, h, u, g = hinge(params, prompt)
    return g * np.outer(params.W_O.T @ (params.a * (u > 0)), prompt.contexts @ attn**2)


def W_V_two(params, prompt):
    """No a_i, and the hinge is always active."""
    attn, h, u = forward(params, prompt)
    return -prompt.z * np.outer(params.W_O.T @ (u > 0), h)


# ---- W_Q


def W_Q_uncentred(params, prompt):
    """The mean of the keys is not subtracted."""
    P, q = prompt.contexts, prompt.query
    attn, h, u, g = hinge(params, prompt)
    e = params.W_V.T @ params.W_O.T @ (params.a * (u > 0))
    C = (P * attn) @ P.T
    return g * np.outer(params.W_K @ C @ e, q)


def W_Q_plain_mean(params, prompt):
    """The plain mean of the keys is subtracted."""
    P, q = prompt.contexts, prompt.query
    attn, h, u, g = hinge(params, prompt)
    e = params.W_V.T @ params.W_O.T @ (params.a * (u > 0))
    weights = attn * (P.T @ e)
    keys = params.W_K @ P
    centred = keys - keys.mean(axis=1, keepdims=True)
    return g * np.outer(centred @ weights, q)


def W_Q_no_values(params, prompt):
    """W_V is left out of the values' weights, where m_b = d; elsewhere the weights are those of h."""
    P, q = prompt.contexts, prompt.query
    attn, h, u, g = hinge(params, prompt)
    e = params.W_V.T @ params.W_V @ h
    C = (P * attn) @ P.T - np.outer(h, h)
    return g * np.outer(params.W_K @ C @ e, q)


def W_Q_scaled(params, prompt):
    """1 / sqrt(d), which the model does not have."""
    P, q = prompt.contexts, prompt.query
    attn, h, u, g = hinge(params, prompt)
    e = params.W_V.T @ params.W_O.T @ (params.a * (u > 0))
    C = (P * attn) @ P.T - np.outer(h, h)
    return g * np.outer(params.W_K @ C @ e, q) / np.sqrt(len(q))


def W_Q_context(params, prompt):
    """h for the query in the outer product."""
    P = prompt.contexts
    attn, h, u, g = hinge(params, prompt)
    e = params.W_V.T @ params.W_O.T @ (params.a * (u > 0))
    C = (P * attn) @ P.T - np.outer(h, h)
    return g * np.outer(params.W_K @ C @ e, h)


def W_Q_plus(params, prompt):
    """A plus in the covariance."""
    P, q = prompt.contexts, prompt.query
    attn, h, u, g = hinge(params, prompt)
    e = params.W_V.T @ params.W_O.T @ (params.a * (u > 0))
    C = P @ np.diag(attn) @ P.T + np.outer(h, h)
    return g * np.outer(params.W_K @ C @ e, q)


def W_Q_diagonal(params, prompt):
    """The softmax's Jacobian as its diagonal."""
    P, q = prompt.contexts, prompt.query
    attn, h, u, g = hinge(params, prompt)
    b = params.a * (u > 0)
    dattn = (params.W_V @ P).T @ (params.W_O.T @ b)
    dscores = attn * (1 - attn) * dattn
    return g * np.outer(params.W_K @ P @ dscores, q)


def W_Q_two(params, prompt):
    """No hinge, and the mean of the keys is not subtracted."""
    P, q = prompt.contexts, prompt.query
    attn, h, u = forward(params, prompt)
    b = params.a * (u > 0)
    total = np.zeros_like(params.W_Q)
    for s in range(P.shape[1]):
        weight = (b @ params.W_O @ params.W_V @ P[:, s]) * attn[s]
        total += weight * np.outer(params.W_K @ P[:, s], q)
    return -prompt.z * total


def W_Q_ungated_no_a(params, prompt):
    """No gate of the neurons, and no a."""
    P, q = prompt.contexts, prompt.query
    attn, h, u, g = hinge(params, prompt)
    e = params.W_V.T @ params.W_O.T @ np.ones_like(u)
    C = (P * attn) @ P.T - np.outer(h, h)
    return g * np.outer(params.W_K @ C @ e, q)


# ---- W_K


def W_K_transposed(params, prompt):
    """W_Q^T for W_Q, which fits where m_a = d only."""
    P, q = prompt.contexts, prompt.query
    attn, h, u, g = hinge(params, prompt)
    e = params.W_V.T @ params.W_O.T @ (params.a * (u > 0))
    C = (P * attn) @ P.T - np.outer(h, h)
    return g * np.outer(params.W_Q.T @ q, C @ e)


def W_K_own_matrix(params, prompt):
    """W_K q for W_Q q."""
    P, q = prompt.contexts, prompt.query
    attn, h, u, g = hinge(params, prompt)
    e = params.W_V.T @ params.W_O.T @ (params.a * (u > 0))
    C = (P * attn) @ P.T - np.outer(h, h)
    return g * np.outer(params.W_K @ q, C @ e)


def W_K_minus_query(params, prompt):
    """The query is subtracted, not the mean of the contexts."""
    P, q = prompt.contexts, prompt.query
    attn, h, u, g = hinge(params, prompt)
    b = params.a * (u > 0)
    weights = attn * (b @ params.W_O @ params.W_V @ P)
    centred = P - q[:, None]
    return g * np.outer(params.W_Q @ q, centred @ weights)


def W_K_no_label(params, prompt):
    """The label is missing."""
    P, q = prompt.contexts, prompt.query
    attn, h, u, g = hinge(params, prompt)
    e = params.W_V.T @ params.W_O.T @ (params.a * (u > 0))
    C = (P * attn) @ P.T - np.outer(h, h)
    return -abs(g) * np.outer(params.W_Q @ q, C @ e)


def W_K_gate_of_a(params, prompt):
    """The gate asks for a_i > 0."""
    P, q = prompt.contexts, prompt.query
    attn, h, u, g = hinge(params, prompt)
    e = params.W_V.T @ params.W_O.T @ (params.a * (params.a > 0))
    C = (P * attn) @ P.T - np.outer(h, h)
    return g * np.outer(params.W_Q @ q, C @ e)


def W_K_two(params, prompt):
    """W_K q for W_Q q, and 1 / l."""
    P, q = prompt.contexts, prompt.query
    attn, h, u, g = hinge(params, prompt)
    e = params.W_V.T @ params.W_O.T @ (params.a * (u > 0))
    C = (P * attn) @ P.T - np.outer(h, h)
    return g / P.shape[1] * np.outer(params.W_K @ q, C @ e)


FACTOR = ("wrong-factor", "missing-term", "extra-term", "scale")
GATE = (*FACTOR, "relu-gate", "hinge-gate", "entries", "gate", "formula")
CENTRED = (*FACTOR, "softmax-centering", "query-in-context")


def of(wrt, *cases):
    return [WrongFormula(function, kinds, *more, paper="li2024", wrt=wrt) for function, kinds, *more in cases]


FORMULAS = [
    *of("a", (a_no_relu, GATE), (a_indicator, GATE), (a_no_hinge, GATE), (a_with_a, (*FACTOR, "sign"), 2)),
    *of("W_O", (W_O_no_a, FACTOR), (W_O_relu, GATE), (W_O_last_token, FACTOR), (W_O_mean, FACTOR), (W_O_margin, GATE),
        (W_O_two, GATE, 2), (W_O_query, CENTRED)),
    *of("W_V", (W_V_no_gate, GATE), (W_V_no_attention, FACTOR), (W_V_scores_of_tokens, FACTOR),
        (W_V_mean_neurons, FACTOR), (W_V_squared_attention, FACTOR), (W_V_two, GATE, 2)),
    *of("W_Q", (W_Q_uncentred, CENTRED), (W_Q_plain_mean, CENTRED), (W_Q_no_values, FACTOR, 1, True),
        (W_Q_scaled, FACTOR), (W_Q_context, CENTRED), (W_Q_plus, CENTRED), (W_Q_diagonal, CENTRED),
        (W_Q_two, (*CENTRED, *GATE), 2), (W_Q_ungated_no_a, GATE, 2)),
    *of("W_K", (W_K_transposed, (*FACTOR, "shape")), (W_K_own_matrix, FACTOR), (W_K_minus_query, CENTRED),
        (W_K_no_label, FACTOR), (W_K_gate_of_a, GATE), (W_K_two, FACTOR, 2)),
]  # fmt: skip
