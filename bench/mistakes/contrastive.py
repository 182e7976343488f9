"""Losses of pairs: InfoNCE, triplets, ranking, distillation, preferences."""

import numpy as np
from scipy.special import expit, logsumexp

from .case import Case, Wrong

rng = np.random.default_rng(20)
tau = 0.7


def softmax(z, axis):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


# ---- InfoNCE of two views, rows a_i and b_i; tau the temperature


def info_nce(a, b):
    s = a @ b.T / tau
    return np.mean(logsumexp(s, axis=1) - np.diag(s))


def info_nce_gradient(a, b):
    D = (softmax(a @ b.T / tau, 1) - np.eye(len(a))) / (tau * len(a))
    return D @ b, D.T @ a


def info_nce_no_temperature(a, b):
    """1 / tau is missing on the way back."""
    P = softmax(a @ b.T / tau, axis=1)
    D = (P - np.eye(len(a))) / len(a)
    return D @ b, D.T @ a


def info_nce_times_temperature(a, b):
    """Multiplied by tau, not divided."""
    P = softmax(a @ b.T / tau, axis=1)
    D = tau * (P - np.eye(len(a))) / len(a)
    return D @ b, D.T @ a


def info_nce_columns(a, b):
    """The softmax is over the other view."""
    P = softmax(a @ b.T / tau, axis=0)
    D = (P - np.eye(len(a))) / (tau * len(a))
    return D @ b, D.T @ a


def info_nce_positive(a, b):
    """The positive pair alone."""
    P = softmax(a @ b.T / tau, axis=1)
    w = (np.diag(P) - 1) / (tau * len(a))
    return w[:, None] * b, w[:, None] * a


def info_nce_not_transposed(a, b):
    """D is not transposed for the second view."""
    P = softmax(a @ b.T / tau, axis=1)
    n = len(a)
    D = (P - np.eye(n)) / (n * tau)
    return D @ b, D @ a


def info_nce_two(a, b):
    """The temperature is missing inside the softmax, and the mean."""
    D = softmax(a @ b.T, axis=1) - np.eye(len(a))
    return D @ b / tau, D.T @ a / tau


def info_nce_negatives(a, b):
    """Negatives only, with the temperature squared."""
    P = softmax(a @ b.T / tau, axis=1)
    np.fill_diagonal(P, 0)
    D = P / (tau**2 * len(a))
    return D @ b, D.T @ a


# ---- The same with rows of length 1, by one view


B_fixed = rng.standard_normal((5, 3))
B_fixed /= np.linalg.norm(B_fixed, axis=1, keepdims=True)


def normalised(x):
    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    s = u @ B_fixed.T / tau
    return np.mean(logsumexp(s, axis=1) - np.diag(s))


def normalised_gradient(x):
    size = np.linalg.norm(x, axis=1, keepdims=True)
    u = x / size
    du = (softmax(u @ B_fixed.T / tau, 1) - np.eye(5)) @ B_fixed / (5 * tau)
    return (du - u * np.sum(u * du, axis=1, keepdims=True)) / size


def normalised_no_projection(x):
    """The projection is missing."""
    size = np.linalg.norm(x, axis=1, keepdims=True)
    u = x / size
    du = (softmax(u @ B_fixed.T / tau, axis=1) - np.eye(5)) @ B_fixed / (5 * tau)
    return du / size


def normalised_all(x):
    """The projection takes the inner product of the whole matrices."""
    size = np.linalg.norm(x, axis=1, keepdims=True)
    u = x / size
    du = (softmax(u @ B_fixed.T / tau, axis=1) - np.eye(5)) @ B_fixed / (5 * tau)
    return (du - u * np.sum(u * du)) / size


def normalised_with_x(x):
    """x for its direction in the projection."""
    size = np.linalg.norm(x, axis=1, keepdims=True)
    u = x / size
    du = (softmax(u @ B_fixed.T / tau, axis=1) - np.eye(5)) @ B_fixed / (5 * tau)
    return (du - x * np.sum(x * du, axis=1, keepdims=True)) / size


def normalised_two(x):
    """No projection, and multiplied by the length."""
    size = np.linalg.norm(x, axis=1, keepdims=True)
    P = softmax((x / size) @ B_fixed.T / tau, axis=1)
    return size * ((P - np.eye(5)) @ B_fixed) / (5 * tau)


# ---- Triplet loss: anchor, positive, negative, one each a row


def triplet(a, p, n):
    return np.sum(np.maximum(0, 1 + np.sum((a - p) ** 2, axis=1) - np.sum((a - n) ** 2, axis=1)))


def triplet_gradient(a, p, n):
    on = (1 + np.sum((a - p) ** 2, axis=1) > np.sum((a - n) ** 2, axis=1))[:, None]
    return 2 * on * (n - p), 2 * on * (p - a), 2 * on * (a - n)


def triplet_ungated(a, p, n):
    """Satisfied triplets count too."""
    return 2 * (n - p), 2 * (p - a), 2 * (a - n)


def triplet_margin(a, p, n):
    """The margin is forgotten in the gate."""
    on = (np.sum((a - p) ** 2, axis=1) > np.sum((a - n) ** 2, axis=1))[:, None]
    return 2 * on * (n - p), 2 * on * (p - a), 2 * on * (a - n)


def triplet_value(a, p, n):
    """The hinge's value for its indicator."""
    v = np.maximum(0, 1 + np.sum((a - p) ** 2, axis=1) - np.sum((a - n) ** 2, axis=1))[:, None]
    return 2 * v * (n - p), 2 * v * (p - a), 2 * v * (a - n)


def triplet_anchor(a, p, n):
    """The anchor's gradient is that of the positive term alone."""
    on = 1 + np.sum((a - p) ** 2, axis=1) - np.sum((a - n) ** 2, axis=1) > 0
    ga, gp, gn = np.zeros_like(a), np.zeros_like(p), np.zeros_like(n)
    ga[on] = 2 * (a - p)[on]
    gp[on] = -2 * (a - p)[on]
    gn[on] = 2 * (a - n)[on]
    return ga, gp, gn


def triplet_two(a, p, n):
    """No factor 2, and the negative's sign."""
    on = (1 + np.sum((a - p) ** 2, axis=1) - np.sum((a - n) ** 2, axis=1) > 0)[:, None]
    return on * (n - p), on * (p - a), on * (n - a)


# ---- Distillation at temperature T: T^2 KL(teacher, student), over a batch

teacher = rng.standard_normal((4, 3))
T = 2.5


def distillation(z):
    q = softmax(teacher / T, 1)
    logp = z / T - logsumexp(z / T, axis=1, keepdims=True)
    return T**2 * np.mean(np.sum(q * (np.log(q) - logp), axis=1))


def distillation_gradient(z):
    return T * (softmax(z / T, 1) - softmax(teacher / T, 1)) / len(z)


def distillation_squared(z):
    """T^2 is kept: the inner 1 / T is forgotten."""
    p, q = softmax(z / T, axis=1), softmax(teacher / T, axis=1)
    return T**2 * (p - q) / len(z)


def distillation_teacher(z):
    """The teacher without temperature."""
    p, q = softmax(z / T, axis=1), softmax(teacher, axis=1)
    return T * (p - q) / len(z)


def distillation_axis(z):
    """Both softmaxes are over the batch."""
    p, q = softmax(z / T, axis=0), softmax(teacher / T, axis=0)
    return T * (p - q) / len(z)


def distillation_two(z):
    """Divided by T, and the student without temperature."""
    p, q = softmax(z, axis=1), softmax(teacher / T, axis=1)
    return (p - q) / T / len(z)


# ---- Preferences: chosen over rejected scores against a reference

reference = rng.standard_normal((2, 6))
strength = 0.4


def preference(chosen, rejected):
    m = strength * ((chosen - reference[0]) - (rejected - reference[1]))
    return np.mean(np.logaddexp(0, -m))


def preference_gradient(chosen, rejected):
    m = strength * (chosen - reference[0] - rejected + reference[1])
    g = -strength * expit(-m) / len(m)
    return g, -g


def preference_no_strength(chosen, rejected):
    """The strength is missing outside."""
    m = strength * (chosen - reference[0] - rejected + reference[1])
    g = -expit(-m) / len(m)
    return g, -g


def preference_same_sign(chosen, rejected):
    """The rejected score has the chosen one's sign."""
    m = strength * (chosen - reference[0] - rejected + reference[1])
    g = -strength * expit(-m) / len(m)
    return g, g


def preference_reference(chosen, rejected):
    """The reference's sign at the rejected score."""
    m = strength * ((chosen - reference[0]) - (rejected + reference[1]))
    g = -strength * expit(-m) / len(m)
    return g, -g


def preference_two(chosen, rejected):
    """expit(m), and no mean."""
    m = strength * (chosen - reference[0] - rejected + reference[1])
    g = -strength * expit(m)
    return g, -g


TERM = ("extra-term", "missing-term", "wrong-factor", "term", "formula")


def any_views(rng):
    n, d = rng.integers(2, 6, 2)
    return rng.standard_normal((n, d)), rng.standard_normal((n, d))


def any_triplets(rng):
    return tuple(rng.standard_normal((3, rng.integers(2, 9), 1)) * rng.standard_normal(3))


CASES = [
    Case("InfoNCE", info_nce, info_nce_gradient, (rng.standard_normal((5, 3)), rng.standard_normal((5, 3))), [
        Wrong(info_nce_no_temperature, ("scale",)),
        Wrong(info_nce_times_temperature, ("scale",)),
        Wrong(info_nce_columns, TERM),
        Wrong(info_nce_positive, TERM),
        Wrong(info_nce_not_transposed, ("transpose", *TERM)),
        Wrong(info_nce_two, (*TERM, "scale"), 2),
        Wrong(info_nce_negatives, (*TERM, "scale"), 2),
    ], any_views),
    Case("InfoNCE, rows of length 1", normalised, normalised_gradient, rng.standard_normal((5, 3)), [
        Wrong(normalised_no_projection, (*TERM, "normal")),
        Wrong(normalised_all, (*TERM, "normal")),
        Wrong(normalised_with_x, (*TERM, "normal")),
        Wrong(normalised_two, (*TERM, "normal"), 2),
    ]),
    Case("triplets", triplet, triplet_gradient, tuple(0.5 * rng.standard_normal((3, 6, 4))), [
        Wrong(triplet_ungated, (*TERM, "hinge-gate", "relu-gate", "entries")),
        Wrong(triplet_margin, (*TERM, "hinge-gate", "relu-gate", "entries")),
        Wrong(triplet_value, (*TERM, "hinge-gate", "relu-gate", "entries")),
        Wrong(triplet_anchor, (*TERM, "sign", "wrong-parameter")),
        Wrong(triplet_two, ("scale", "sign"), 2),
    ], any_triplets),
    Case("distillation", distillation, distillation_gradient, rng.standard_normal((4, 3)), [
        Wrong(distillation_squared, ("scale",)),
        Wrong(distillation_teacher, TERM),
        Wrong(distillation_axis, TERM),
        Wrong(distillation_two, TERM, 2),
    ]),
    Case("preferences", preference, preference_gradient, (rng.standard_normal(6), rng.standard_normal(6)), [
        Wrong(preference_no_strength, ("scale",)),
        Wrong(preference_same_sign, ("sign", "wrong-parameter")),
        Wrong(preference_reference, TERM),
        Wrong(preference_two, (*TERM, "scale"), 2),
    ]),
]  # fmt: skip
