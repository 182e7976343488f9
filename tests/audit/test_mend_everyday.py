"""Everyday mistakes, from the wrong gradient to the function that is right: one wrong gradient for each mistake.

What is right is told by differences of the loss at twenty places, of which the search knows nothing.
"""

import numpy as np
import pytest
from mending import right_everywhere, texts_fit

import nlicl

RNG = np.random.default_rng(3)
A, B = RNG.standard_normal((5, 3)), RNG.standard_normal(5)
LABELS = np.sign(RNG.standard_normal(5))
V, W, Q = RNG.standard_normal(4), RNG.standard_normal((3, 4)), RNG.standard_normal((4, 4))
ONE_HOT = np.array([0.0, 1.0, 0.0, 0.0])
POSITIVE = np.array([0.7, 1.9, 0.4, 1.2])
INDEX = np.array([0, 2, 2, 1, 0, 2])
DECAY = 0.37


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


# ---- losses


def squares(w):
    r = A @ w - B
    return 0.5 * np.sum(r**2)


def mean_squares(w):
    r = A @ w - B
    return np.mean(r**2)


def ridge(w):
    return 0.5 * np.sum((A @ w - B) ** 2) + 0.5 * DECAY * np.sum(w**2)


def logistic(w):
    return np.mean(np.log(1 + np.exp(-LABELS * (A @ w))))


def tanh_layer(M):
    return np.sum(np.tanh(M @ V))


def relu_layer(M):
    return np.sum(np.maximum(M @ V, 0) ** 2)


def two_layers(M, a):
    return a @ np.maximum(M @ V, 0)


def log_softmax(z):
    return np.log(np.sum(np.exp(z))) - z @ ONE_HOT


def layer_norm(x):
    c = x - np.mean(x)
    s = np.sqrt(np.mean(c**2) + 1e-5)
    return np.sum(V * c / s)


def bilinear(x, y):
    return x @ W @ y


def form(x, y):
    return x @ Q @ y


def frobenius(X):
    return 0.5 * np.sum((X @ X.T) ** 2)


def rows(X):
    return np.sum(np.exp(-np.sum(X**2, axis=1)))


def normal_likelihood(p):
    return np.sum(0.5 * np.log(p) + V**2 / (2 * p))


def weighted(w):
    weights = np.exp(-np.abs(B))
    return np.sum(weights * (A @ w - B) ** 2)


def chain(x):
    return 0.5 * np.sum((x[1:] - x[:-1]) ** 2)


def embedding(E):
    return 0.5 * np.sum((E[INDEX] - 1.0) ** 2)


def quartic(x):
    return np.sum(x**4) / 4


def column_means(X):
    return np.sum(np.mean(X, axis=0) ** 3)


def smooth(x):
    return np.sum(np.sin(x) * V)


# ---- wrong gradients


def sign(w):
    r = B - A @ w
    return A.T @ r


def sign_of_a_term(w):
    return A.T @ (A @ w - B) - DECAY * w


def transposed(x, y):
    return Q @ y, Q @ x


def order_of_factors(X):
    return 2 * X.T @ X @ X


def outer_order(M):
    h = np.tanh(M @ V)
    return np.outer(V, 1 - h**2)


def factor_dropped(w):
    r = A @ w - B
    return A.T @ r / len(B)


def factor_doubled(w):
    r = A @ w - B
    return 2 * A.T @ r


def another_name(x, y):
    u, v = W @ y, W.T @ x
    return u, v * 0 + u @ W


def another_constant(x):
    return 4 * x**3


def exponent(x):
    return x**2


def another_size(w):
    r = A @ w - B
    return 2 * A.T @ r / len(w)


def comparison(M):
    u = M @ V
    return np.outer(2 * np.maximum(u, 0) * (u < 0), V)


def axis(X):
    e = np.exp(-np.sum(X**2, axis=0))
    return -2 * X * e


def keepdims(X):
    e = np.exp(-np.sum(X**2, axis=1))
    return -2 * X * e


def sum_for_mean(X):
    m = np.sum(X, axis=0)
    return np.ones_like(X) * 3 * m**2 / len(X)


def mean_for_sum(w):
    r = A @ w - B
    return np.mean(A * r[:, None], axis=0)


def index_shifted(x):
    g = np.zeros_like(x)
    for i in range(len(x) - 1):
        g[i] -= x[i + 1] - x[i]
        g[i + 1] += x[i] - x[i]
    return g


def gate_missing(M, a):
    u = M @ V
    return np.outer(a, V), np.maximum(u, 0)


def gate_of_the_wrong_argument(M, a):
    u = M @ V
    return np.outer(a * (a > 0), V), np.maximum(u, 0)


def relu_for_its_indicator(M, a):
    u = M @ V
    r = np.maximum(u, 0)
    return np.outer(a * r, V), r


def not_squared(M):
    h = np.tanh(M @ V)
    return np.outer(1 - h, V)


def label_not_subtracted(z):
    p = np.exp(z - np.max(z))
    p = p / np.sum(p)
    return p


def another_label(z):
    p = np.exp(z - np.max(z))
    p = p / np.sum(p)
    p[0] -= 1
    return p


def mean_not_subtracted(x):
    n = len(x)
    c = x - np.mean(x)
    s = np.sqrt(np.mean(c**2) + 1e-5)
    y = c / s
    return (V - y * np.sum(V * y) / n) / s


def second_mean_not_subtracted(x):
    c = x - np.mean(x)
    s = np.sqrt(np.mean(c**2) + 1e-5)
    return (V - np.mean(V)) / s


def term_missing(p):
    return 0.5 / p


def swapped(x, y):
    return Q.T @ x, Q @ y


def set_for_added(E):
    g = np.zeros_like(E)
    g[INDEX] = E[INDEX] - 1.0
    return g


def added_once(E):
    g = np.zeros_like(E)
    g[INDEX] += E[INDEX] - 1.0
    return g


def loop_bound(w):
    g = np.zeros_like(w)
    for i in range(len(B) - 1):
        g += A[i] * (A[i] @ w - B[i])
    return g


def loop_sets(w):
    g = np.zeros_like(w)
    for i in range(len(B)):
        g = A[i] * (A[i] @ w - B[i])
    return g


def decay_forgotten(w):
    return A.T @ (A @ w - B)


def weights_of_the_loss_missing(w):
    r = A @ w - B
    return 2 * A.T @ r


def label_missing(w):
    m = LABELS * (A @ w)
    return -A.T @ sigmoid(-m) / len(B)


def another_function(x):
    return V * np.sin(x)


def inner_derivative(x):
    return np.cos(x)


def sign_and_factor(w):
    r = A @ w - B
    return -A.T @ r / len(B)


def factor_and_transposed(X):
    return X.T @ X @ X


def both_arguments(M, a):
    u = M @ V
    return np.outer(a, V), u


def sign_and_order(x, y):
    return -Q @ y, Q @ x


def last_term_and_factor(p):
    return 1 / p - V**2 / (2 * p**2)


# (mistake, its loss, where)
VECTOR, MATRIX = (
    np.array([0.4, -1.1, 0.7]),
    np.array([[0.4, -0.8, 0.3, 1.1], [0.9, 0.2, -0.5, -0.7], [1.2, 0.6, 0.1, 0.5]]),
)
SQUARE = MATRIX[:, :3] + np.eye(3)
PAIR = (VECTOR, np.array([0.3, -0.6, 1.2, 0.8]))
LAYERS = (MATRIX + 0.2, np.array([0.7, -1.3, 0.6]))
FOUR = np.array([0.5, -1.4, 0.3, 1.6])
FIRST = [
    (sign, squares, VECTOR),
    (sign_of_a_term, ridge, VECTOR),
    (transposed, form, (FOUR, PAIR[1])),
    (outer_order, tanh_layer, np.vstack([MATRIX, -FOUR])),
    (factor_dropped, mean_squares, VECTOR),
    (factor_doubled, squares, VECTOR),
    (another_name, bilinear, PAIR),
    (another_constant, quartic, FOUR),
    (another_size, mean_squares, VECTOR),
    (comparison, relu_layer, MATRIX),
    (axis, rows, MATRIX),
    (sum_for_mean, column_means, MATRIX),
    (index_shifted, chain, FOUR),
    (gate_missing, two_layers, LAYERS),
    (relu_for_its_indicator, two_layers, LAYERS),
    (not_squared, tanh_layer, MATRIX),
    (another_label, log_softmax, FOUR),
    (swapped, form, (FOUR, PAIR[1])),
    (set_for_added, embedding, SQUARE),
    (added_once, embedding, SQUARE),
    (decay_forgotten, ridge, VECTOR),
    (label_missing, logistic, VECTOR),
    (weights_of_the_loss_missing, weighted, VECTOR),
    (another_function, smooth, FOUR),
]
MORE = [
    (loop_bound, squares, VECTOR),
    (mean_for_sum, squares, VECTOR),
    (exponent, quartic, FOUR),
    (keepdims, rows, SQUARE),
    (order_of_factors, frobenius, SQUARE),
    (gate_of_the_wrong_argument, two_layers, LAYERS),
    (label_not_subtracted, log_softmax, FOUR),
    (mean_not_subtracted, layer_norm, FOUR),
    (second_mean_not_subtracted, layer_norm, FOUR),
    (term_missing, normal_likelihood, POSITIVE),
    (loop_sets, squares, VECTOR),
    (inner_derivative, smooth, FOUR),
    (sign_and_factor, mean_squares, VECTOR),
    (factor_and_transposed, frobenius, SQUARE),
    (both_arguments, two_layers, LAYERS),
    (sign_and_order, form, (FOUR, PAIR[1])),
    (last_term_and_factor, normal_likelihood, POSITIVE),
]


def mended(loss, wrong, x, **settings):
    """The repaired function, held against the loss, and the best repair, held against the text."""
    report = nlicl.audit_gradient(loss, wrong, x, mend=40, **settings)
    assert report.verdict == "disagree"
    repaired = report.mended()
    mending = report.searches[0].mending()
    assert repaired is not None, mending.note
    repairs = mending.repairs
    assert 1 <= len(repairs) <= 3 and mending.tried > 0 and mending.seconds > 0 and mending.note == ""
    assert repairs[0].function is repaired and "fresh" in repairs[0].agrees
    for repair in repairs:
        texts_fit(repair, wrong)
        right_everywhere(loss, repair.function, x)
    return repaired, repairs[0]


@pytest.mark.parametrize(("wrong", "loss", "x"), [pytest.param(*each, id=each[0].__name__) for each in FIRST])
def test_a_mistake_is_mended(wrong, loss, x):
    _, repair = mended(loss, wrong, x)
    assert len(repair.changes) == 1
    first, last = wrong.__code__.co_firstlineno, max(line for *_, line in wrong.__code__.co_lines() if line)
    assert first < repair.changes[0].line <= last


@pytest.mark.slow
@pytest.mark.parametrize(("wrong", "loss", "x"), [pytest.param(*each, id=each[0].__name__) for each in MORE])
def test_a_larger_mistake_is_mended(wrong, loss, x):
    mended(loss, wrong, x)
