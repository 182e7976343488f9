"""Losses that hold a solution: of linear equations, fixed points, eigenvalues; and shortcuts that no small edit mends."""

import numpy as np

from .case import Case, Wrong

rng = np.random.default_rng(22)
X = rng.standard_normal((12, 4))
y = rng.standard_normal(12)
X_val = rng.standard_normal((7, 4))
y_val = rng.standard_normal(7)
H = rng.standard_normal((4, 4)) / 4
inputs = rng.standard_normal(4)


# ---- Validation loss of ridge regression, by the log of each feature's penalty


def ridge_solution(rho):
    return np.linalg.solve(X.T @ X + np.diag(np.exp(rho)), X.T @ y)


def validation(rho):
    return 0.5 * np.sum((X_val @ ridge_solution(rho) - y_val) ** 2)


def validation_gradient(rho):
    K = X.T @ X + np.diag(np.exp(rho))
    w = np.linalg.solve(K, X.T @ y)
    adjoint = np.linalg.solve(K, X_val.T @ (X_val @ w - y_val))
    return -np.exp(rho) * w * adjoint


def validation_no_exponent(rho):
    """The derivative of exp is missing."""
    K = X.T @ X + np.diag(np.exp(rho))
    w = np.linalg.solve(K, X.T @ y)
    adjoint = np.linalg.solve(K, X_val.T @ (X_val @ w - y_val))
    return -w * adjoint


def validation_no_adjoint(rho):
    """The system is not solved for the adjoint."""
    K = X.T @ X + np.diag(np.exp(rho))
    w = np.linalg.solve(K, X.T @ y)
    g = X_val.T @ (X_val @ w - y_val)
    return -np.exp(rho) * w * g


def validation_training(rho):
    """The adjoint's right side is of the training data."""
    K = X.T @ X + np.diag(np.exp(rho))
    w = np.linalg.solve(K, X.T @ y)
    adjoint = np.linalg.solve(K, X.T @ (X @ w - y))
    return -np.exp(rho) * w * adjoint


def validation_two(rho):
    """The sign of the inverse's derivative, and the solution squared."""
    K = X.T @ X + np.diag(np.exp(rho))
    w = np.linalg.solve(K, X.T @ y)
    adjoint = np.linalg.solve(K, X_val.T @ (X_val @ w - y_val))
    return np.exp(rho) * w**2 * adjoint


def validation_training_loss(rho):
    """The derivative of the penalty at the solution, as if that were held fixed."""
    w = ridge_solution(rho)
    return 0.5 * np.exp(rho) * w**2


# ---- A fixed point z = tanh(H z + b), squared norm, by b


def fixed_point(b):
    z = 0 * b
    for _ in range(60):
        z = np.tanh(H @ z + b)
    return z


def equilibrium(b):
    return 0.5 * np.sum((fixed_point(b) - inputs) ** 2)


def equilibrium_gradient(b):
    z = fixed_point(b)
    D = np.diag(1 - z**2)
    return D @ np.linalg.solve(np.eye(4) - H.T @ D, z - inputs)


def equilibrium_not_transposed(b):
    """H is not transposed in the adjoint's equation."""
    z = fixed_point(b)
    D = np.diag(1 - z**2)
    return D @ np.linalg.solve(np.eye(4) - H @ D, z - inputs)


def equilibrium_order(b):
    """The slopes are not applied to the adjoint's solution."""
    z = fixed_point(b)
    D = np.diag(1 - z**2)
    return np.linalg.solve(np.eye(4) - H.T @ D, z - inputs)


def equilibrium_slope(b):
    """1 - z for 1 - z^2, and a plus in the matrix."""
    z = fixed_point(b)
    D = np.diag(1 - z)
    return D @ np.linalg.solve(np.eye(4) + H.T @ D, z - inputs)


def equilibrium_one_step(b):
    """One step of the iteration is differentiated, not the fixed point."""
    z = fixed_point(b)
    return (1 - z**2) * (z - inputs)


# ---- The largest eigenvalue of a symmetric part, by all entries of A


def largest(A):
    return np.linalg.eigvalsh((A + A.T) / 2)[-1]


def largest_gradient(A):
    v = np.linalg.eigh((A + A.T) / 2)[1][:, -1]
    return np.outer(v, v)


def largest_smallest(A):
    """The first eigenvector, which is the smallest eigenvalue's."""
    _, V = np.linalg.eigh((A + A.T) / 2)
    v = V[:, 0]
    return np.outer(v, v)


def largest_row(A):
    """A row of V for a column."""
    V = np.linalg.eigh((A + A.T) / 2)[1]
    v = V[-1]
    return np.outer(v, v)


def largest_times_value(A):
    """The eigenvalue stands as a factor: the matrix's part, not its derivative."""
    values, V = np.linalg.eigh((A + A.T) / 2)
    return values[-1] * np.outer(V[:, -1], V[:, -1])


def largest_power(A):
    """Three steps of the power iteration stand for the eigenvector."""
    S = (A + A.T) / 2
    v = np.ones(len(A))
    for _ in range(3):
        v = S @ v
        v = v / np.linalg.norm(v)
    return np.outer(v, v)


# ---- Two losses whose gradient is taken of something else


def relaxed(z):
    p = np.exp(z - z.max()) / np.sum(np.exp(z - z.max()))
    return 0.5 * np.sum((H @ p - inputs) ** 2) + 0.1 * np.sum(z**2)


def relaxed_gradient(z):
    p = np.exp(z - z.max()) / np.sum(np.exp(z - z.max()))
    g = H.T @ (H @ p - inputs)
    return p * (g - p @ g) + 0.2 * z


def relaxed_straight_through(z):
    """The softmax passes gradients as they are."""
    p = np.exp(z - z.max()) / np.sum(np.exp(z - z.max()))
    return H.T @ (H @ p - inputs) + 0.2 * z


def relaxed_hard(z):
    """One-hot forward, straight-through backward, no regulariser."""
    p = np.zeros_like(z)
    p[np.argmax(z)] = 1
    return H.T @ (H @ p - inputs)


def relaxed_uncentred(z):
    """The mean term is missing, and the regulariser has 0.1."""
    e = np.exp(z - z.max())
    p = e / e.sum()
    g = H.T @ (H @ p - inputs)
    return p * g + 0.1 * z


def soft_rank(x):
    return np.sum(1 / (1 + np.exp(-(x[:, None] - x) / 0.5)) * np.arange(4))


def soft_rank_gradient(x):
    s = 1 / (1 + np.exp(-(x[:, None] - x) / 0.5))
    slopes = s * (1 - s) / 0.5 * np.arange(4)
    return slopes.sum(axis=1) - slopes.sum(axis=0)


def soft_rank_rows(x):
    """x_j's share is forgotten."""
    s = 1 / (1 + np.exp(-(x[:, None] - x) / 0.5))
    slopes = s * (1 - s) / 0.5 * np.arange(4)
    return slopes.sum(axis=1)


def soft_rank_width(x):
    """Multiplied by the width, not divided."""
    s = 1 / (1 + np.exp(-(x[:, None] - x) / 0.5))
    slopes = s * (1 - s) * 0.5 * np.arange(4)
    return slopes.sum(axis=1) - slopes.sum(axis=0)


def soft_rank_differences(x):
    """Differences with a coarse step."""
    step = 0.05
    base = soft_rank(x)
    return np.array([(soft_rank(x + step * e) - base) / step for e in np.eye(4)])


def soft_rank_two(x):
    """The width is forgotten outside, and rows are summed for columns and columns for rows."""
    s = 1 / (1 + np.exp(-(x[:, None] - x) / 0.5))
    slopes = s * (1 - s) * np.arange(4)
    return slopes.sum(axis=0) - slopes.sum(axis=1)


TERM = ("extra-term", "missing-term", "wrong-factor", "term", "formula")

CASES = [
    Case("validation loss", validation, validation_gradient, np.array([0.3, -0.5, 0.8, 0.1]), [
        Wrong(validation_no_exponent, TERM),
        Wrong(validation_no_adjoint, TERM),
        Wrong(validation_training, TERM),
        Wrong(validation_two, (*TERM, "sign"), 2),
        Wrong(validation_training_loss, TERM, hard=True),
    ]),
    Case("fixed point", equilibrium, equilibrium_gradient, rng.standard_normal(4), [
        Wrong(equilibrium_not_transposed, TERM),
        Wrong(equilibrium_order, TERM),
        Wrong(equilibrium_slope, TERM, 2),
        Wrong(equilibrium_one_step, TERM, hard=True),
    ]),
    Case("largest eigenvalue", largest, largest_gradient, rng.standard_normal((4, 4)), [
        Wrong(largest_smallest, TERM),
        Wrong(largest_row, TERM),
        Wrong(largest_times_value, (*TERM, "scale")),
        Wrong(largest_power, (*TERM, "precision"), hard=True),
    ]),
    Case("relaxed choice", relaxed, relaxed_gradient, rng.standard_normal(4), [
        Wrong(relaxed_straight_through, (*TERM, "softmax-centering")),
        Wrong(relaxed_hard, TERM, 2, hard=True),
        Wrong(relaxed_uncentred, (*TERM, "softmax-centering"), 2),
    ]),
    Case("soft ranks", soft_rank, soft_rank_gradient, rng.standard_normal(4), [
        Wrong(soft_rank_rows, (*TERM, "entries")),
        Wrong(soft_rank_width, ("scale",)),
        Wrong(soft_rank_differences, (*TERM, "precision"), hard=True),
        Wrong(soft_rank_two, ("scale", "sign"), 2),
    ]),
]  # fmt: skip
