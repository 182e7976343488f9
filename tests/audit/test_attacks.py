"""Attacks on the audit of any function: wrong gradients that must not agree, right ones that must not disagree."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nlicl import audit_gradient
from nlicl.core.errors import InvalidInput


def not_agree(loss, gradient, x, **settings):
    report = audit_gradient(loss, gradient, x, **settings)
    assert report.verdict != "agree", str(report)
    return report


def not_disagree(loss, gradient, x, **settings):
    report = audit_gradient(loss, gradient, x, **settings)
    assert report.verdict != "disagree", str(report)
    return report


def told(loss, gradient, x, words):
    """Right where x is of a kind, as a gradient on a manifold is, and wrong elsewhere: it may agree if the report says so."""
    report = audit_gradient(loss, gradient, x)
    assert report.verdict != "disagree" and words in report.reason and "elsewhere it is wrong" in report.reason, str(
        report
    )


def squares(x):
    return np.sum(x**2)


# ----- a gradient that never changes, or exists at x alone


def test_a_gradient_without_its_x():
    not_agree(squares, lambda x: 2 * np.ones_like(x), np.ones(4))


def test_an_activation_that_is_stored_once_and_never_again():
    stored = {}

    def gradient(x):
        stored.setdefault("y", np.tanh(x))
        return 2 * stored["y"] * (1 - stored["y"] ** 2)

    not_agree(lambda x: np.sum(np.tanh(x) ** 2), gradient, np.array([0.3, 1.2, -2.0]))


def test_a_gradient_that_is_nan_off_x():
    not_agree(squares, lambda x: np.where(x == 1, 2 * x, np.nan), np.ones(3))


def test_a_gradient_that_raises_off_x():
    def gradient(x):
        if not (x == 1).all():
            raise FloatingPointError("log of a negative number")
        return 2 * x

    not_agree(squares, gradient, np.ones(3))


# ----- kinks at x excuse what is wrong off them
A = np.random.default_rng(1).standard_normal((6, 5))
B = np.arange(1.0, 7.0)
PENALTY = np.array([0.5, 0.5, 0.5, 0.0, 0.0])
SPARSE = np.array([0.0, 0.0, 0.0, 1.0, 2.0])


@pytest.mark.parametrize("factor", [2.0, -1.0, 0.0])
def test_a_lasso_penalty_of_another_factor(factor):
    not_agree(
        lambda x: 0.5 * np.sum((A @ x - B) ** 2) + np.sum(PENALTY * np.abs(x)),
        lambda x: A.T @ (A @ x - B) + factor * PENALTY * np.sign(x),
        SPARSE,
    )


def test_a_leaky_slope_where_the_loss_has_none():
    weight = np.arange(1.0, 6.0)
    not_agree(
        lambda x: np.sum(weight * np.maximum(x, 0)), lambda x: weight * np.where(x > 0, 1.0, -0.7 * np.sign(x)), SPARSE
    )


# ----- neighbours keep norms and sums


def test_a_cosine_without_its_norm_at_a_unit_vector():
    a = np.array([0.3, -1.0, 2.0, 0.7])
    x = np.array([0.5, 0.5, -0.5, 0.5]) * np.array([1.2, 0.8, 1.0, 1.0])
    x = x / np.linalg.norm(x)
    told(lambda x: a @ x / np.linalg.norm(x), lambda x: a - (a @ x) * x, x, "of norm 1")


def test_cosines_of_unit_rows_without_their_norms():
    rng = np.random.default_rng(1)
    x, b = rng.standard_normal((2, 4, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    told(
        lambda x: np.sum(b * x / np.linalg.norm(x, axis=1, keepdims=True)),
        lambda x: b - np.sum(b * x, 1, keepdims=True) * x,
        x,
        "of norm 1",
    )


def test_probabilities_without_their_sum():
    a, p = np.array([0.3, -1.0, 2.0]), np.array([0.2, 0.3, 0.5])
    told(lambda p: np.sum(a * p) / np.sum(p), lambda p: a - np.sum(a * p), p, "of sum 1")


# ----- dual numbers that lose a part of the loss, too small for the check of their value and for one direction


def root(v):
    """The z with z^3 + z = v, by bisection: each step compares, none computes with v."""
    low, high = -3.0, 3.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if middle**3 + middle > v else (middle, high)
    return 0.5 * (low + high)


def test_an_entry_that_acts_through_bisection_alone():
    not_agree(
        lambda x: 1e3 * x[0] ** 2 + 1e-3 * root(x[1]), lambda x: np.array([2e3 * x[0], 0.0]), np.array([1.3, 2.0])
    )


def test_bisection_is_a_small_part_of_an_entry():
    def gradient(x):
        return np.array([2e3 * x[0] + 1 / (3 * root(x[0]) ** 2 + 1), 2 * x[1]])

    not_disagree(lambda x: 1e3 * x[0] ** 2 + root(x[0]) + x[1] ** 2, gradient, np.array([1.3, 2.0]))


def test_a_loss_that_catches_the_refusal_of_dual_numbers():
    def loss(x):
        try:
            penalty = np.sum(np.sinh(np.asarray(x[3:], float)))
        except TypeError:
            penalty = 0.0
        return np.sum(x[:3] ** 2) + 1e-7 * penalty

    not_agree(loss, lambda x: np.concatenate([2 * x[:3], [0, 0]]), np.array([0.3, 1.0, 2.0, 0.5, 0.6]))


# ----- small entries
def test_a_small_entry_beside_a_large_one_with_a_tolerance():
    not_agree(
        lambda x: 1e9 * x[0] ** 2 + x[1] ** 2,
        lambda x: np.array([2e9 * x[0], -2 * x[1]]),
        np.array([1.0, 1.5]),
        tolerance=1e-3,
    )


def test_a_small_entry_of_the_wrong_sign_in_float32():
    not_agree(
        lambda x: x[0] ** 2 * np.float32(1e6) + x[1] ** 2,
        lambda x: np.array([2e6 * x[0], -2 * x[1]], np.float32),
        np.array([1.3, 1.57], np.float32),
    )


@pytest.mark.parametrize("given", [-0.5, 0.0])
def test_an_argument_of_numbers_that_are_tiny(given):
    x = (np.array([0.3, 0.4]), np.array([1e-15, 2e-15]))
    not_agree(
        lambda a, b: 1e3 + np.sum(np.sin(a)) + 0.5 * np.sum(b), lambda a, b: (np.cos(a), np.full_like(b, given)), x
    )


@pytest.mark.parametrize("given", [-1e-9, 0.0])
def test_an_argument_that_differences_cannot_see(given):
    def loss(*x):
        return float(sum(w * np.sum(np.sin(np.asarray(a, float))) for w, a in zip((1e6, 1, 1e-9), x, strict=True)))

    x = tuple(np.random.default_rng(1).standard_normal((3, 5)))
    not_agree(loss, lambda a, b, c: (1e6 * np.cos(a), np.cos(b), given * np.cos(c)), x)


def test_an_entry_just_outside_of_a_slight_kink():
    not_agree(
        lambda x: 100 * x[0] + 1e-4 * abs(x[0]) + x[1] ** 2,
        lambda x: np.array([100.0009, 2 * x[1]]),
        np.array([0.0, 1.5]),
    )


def test_a_transposed_factor_at_a_covariance():
    rng = np.random.default_rng(1)
    m, c = rng.standard_normal((2, 3, 3))
    told(lambda x: np.sum(c * (x @ x)), lambda x: c @ x + x @ c, m @ m.T, "symmetric")


# ----- second derivatives
def test_a_hessian_of_columns_of_all_sizes():
    d = np.array([1e10, 1.0, 1.0])
    not_agree(
        lambda x: 0.5 * np.sum(d * x**2),
        lambda x: d * x,
        np.array([0.3, 1.0, 2.0]),
        hessian=lambda x: np.diag([1e10, -1.0, 5.0]),
    )


def test_small_entries_of_a_product():
    d = np.array([1e10, 1.0, 1.0])
    not_agree(
        lambda x: 0.5 * np.sum(d * x**2),
        lambda x: d * x,
        np.array([0.3, 1.0, 2.0]),
        hessian_vector=lambda x, v: np.array([1e10 * v[0], -v[1], 5 * v[2]]),
    )


def test_a_product_without_its_x():
    not_agree(lambda x: np.sum(x**3) / 6, lambda x: x**2 / 2, np.ones(4), hessian_vector=lambda x, v: v)


def test_one_entry_of_a_long_diagonal():
    def diagonal(x):
        d = 2 * np.cos(2 * x)
        d[500] *= -1
        return d

    x = np.random.default_rng(1).standard_normal(1000)
    not_agree(lambda x: np.sum(np.sin(x) ** 2), lambda x: np.sin(2 * x), x, hessian=diagonal)


# ----- right gradients


def test_a_tangent_beside_kinks():
    a = np.arange(4.0)

    def gradient(x):
        g = np.sign(x) + a
        return g - (g @ x) * x

    not_disagree(
        lambda x: np.sum(np.abs(x)) + a @ x,
        gradient,
        np.array([0.0, 0.6, 0.8, 0.0]),
        tangent=lambda x, v: v - (v @ x) * x,
    )


def test_a_symmetric_matrix_beside_kinks():
    c = np.arange(9.0).reshape(3, 3)
    x = np.array([[1.0, 0.0, 0.5], [0.0, 2.0, 0.3], [0.5, 0.3, 1.0]])
    not_disagree(lambda x: np.sum(np.abs(x)) + np.sum(c * x), lambda x: np.sign(x) + (c + c.T) / 2, x, symmetric="x")


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(lambda new, old: np.max(np.abs(new - old)) < 1e-6, id="max"),
        pytest.param(lambda new, old: np.all(np.abs(new - old) < 1e-6), id="all"),
        pytest.param(np.allclose, id="allclose"),
        pytest.param(lambda new, old: np.sum((new - old) ** 2) < 1e-12, id="square"),
        pytest.param(lambda new, old: np.linalg.norm(new - old) < 1e-6 * np.linalg.norm(new), id="relative"),
    ],
)
def test_the_implicit_gradient_of_a_fixed_point(stop):
    rng = np.random.default_rng(3)
    a = 0.25 * rng.standard_normal((4, 4))

    def point(x, stop):
        old = np.zeros(4)
        for _ in range(1000):
            new = np.tanh(a @ old + x)
            if stop(new, old):
                return new
            old = new
        return old

    def gradient(x):
        z = point(x, lambda new, old: np.max(np.abs(new - old)) < 1e-15)
        d = np.diag(1 - z * z)
        return np.linalg.solve((np.eye(4) - d @ a).T, 2 * z) @ d

    not_disagree(lambda x: np.sum(point(x, stop) ** 2), gradient, rng.standard_normal(4))


@pytest.mark.parametrize("n", [6, 8, 10])
def test_a_quadratic_form_of_an_ill_conditioned_inverse(n):
    """Two ways of computing it differ by more than rounding of x shows; the report says to how many digits they agree."""
    h = 1 / (np.arange(n)[:, None] + np.arange(n) + 1)
    x = np.random.default_rng(5).random(n) + 0.5
    report = audit_gradient(lambda x: x @ np.linalg.inv(h) @ x, lambda x: 2 * np.linalg.solve(h, x), x)
    assert report.verdict != "disagree" or "digits" in report.reason, str(report)


def test_a_median_of_equal_numbers():
    share = np.array([0.0, 0.25, 0.25, 0.25, 0.25, 0.0])
    x = np.array([1.0, 3.0, 3.0, 3.0, 3.0, 6.0])
    not_disagree(lambda x: np.median(x), lambda x: share, x, points=[])


def test_a_kink_in_other_threads():
    def loss(x):
        with ThreadPoolExecutor(2) as pool:
            return sum(pool.map(lambda k: np.sum(np.abs(x[k::2])), range(2)))

    not_disagree(loss, np.sign, np.array([0.0, 0.0, 1.0, -2.0]))


def test_dust_in_x():
    x = np.cos(np.linspace(0, np.pi, 5))
    assert audit_gradient(lambda x: np.sum((x - 3) ** 2), lambda x: 2 * (x - 3), x).verdict == "agree"


# ----- errors
class Named:
    """A callable whose name is no text."""

    def __init__(self, name):
        self.__name__ = name

    def __call__(self, x):
        return squares(x)


@pytest.mark.parametrize("name", [None, 3])
def test_a_name_that_is_no_text(name):
    assert audit_gradient(Named(name), lambda x: 2 * x, np.array([0.3, 0.4])).verdict == "agree"


def test_a_gradient_that_raises_when_it_is_called_again():
    batches = iter([1])

    def gradient(x):
        next(batches)
        return 2 * x

    with pytest.raises(InvalidInput):
        audit_gradient(squares, gradient, np.array([0.3, 0.4]))


def test_a_hessian_of_rows_of_unequal_lengths():
    with pytest.raises(InvalidInput):
        audit_gradient(squares, lambda x: 2 * x, np.array([0.3, 0.4]), hessian=lambda x: [[1, 2], [3]])


@pytest.mark.parametrize("symmetric", [3, None])
def test_symmetric_is_no_name(symmetric):
    with pytest.raises(InvalidInput):
        audit_gradient(squares, lambda x: 2 * x, np.eye(2), symmetric=symmetric)
