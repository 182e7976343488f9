"""What is right at x alone: factors, one side, the structure of another argument, places that were not reached."""

import time

import numpy as np
import pytest
from verdicts import NOT_RIGHT, NOT_WRONG, audit, says, verdict

import nlicl
from nlicl.audit.functions.points import by_chance, neighbours, scattered

SEEDS = range(6)

# ---- Along directions


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("factor", [2.0, -1.0, 1.001])
def test_a_factor_off_x_is_seen_along_every_direction(n, factor):
    """Along signs divided by the gradient, half of all sums of two terms are 0, and so is any multiple of them."""
    x = np.arange(2.0, 2.0 + n) + 0.1
    right = lambda x: np.sin(x) + x * np.cos(x)  # noqa: E731
    wrong = lambda t: right(t) * (factor if not np.array_equal(t, x) and abs(t - x).max() > 1e-3 else 1.0)  # noqa: E731
    for seed in SEEDS:
        found = audit(lambda x: np.sum(np.sin(x) * x), wrong, x, seed=seed, mend=0).verdict
        assert found == "disagree", seed


def test_sums_of_scattered_numbers_are_not_nothing():
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 10, 1000):
        sizes = [abs(np.sum(scattered(rng, (n,)))) for _ in range(100)]
        assert min(sizes) > 0
        assert np.all(abs(abs(scattered(rng, (n,))) - 1) <= 0.5)


# ---- One side of x

ONE_SIDED = {  # name -> (loss, right gradient, gradient of the piece on one side, x)
    "square of a ReLU": (
        lambda x: np.maximum(x[0], 0) ** 2 + x[1] ** 2,
        lambda x: np.array([2 * max(x[0], 0), 2 * x[1]]),
        lambda x: 2 * x,
        [0.0, 2.0],
    ),
    "square of a ReLU, x of norm 1": (
        lambda x: np.maximum(x[0], 0) ** 2 + x[1] ** 2,
        lambda x: np.array([2 * max(x[0], 0), 2 * x[1]]),
        lambda x: 2 * x,
        [0.0, 1.0],
    ),
    "Huber at its threshold": (
        lambda x: np.sum(np.where(abs(x) < 1, x * x / 2, abs(x) - 0.5)),
        lambda x: np.clip(x, -1, 1),
        lambda x: x.copy(),
        [1.0, 0.3],
    ),
    "cube of an absolute value": (
        lambda x: abs(x[0]) ** 3 + x[1],
        lambda x: np.array([3 * x[0] * abs(x[0]), 1.0]),
        lambda x: np.array([3 * x[0] ** 2, 1.0]),
        [0.0, 0.7],
    ),
    "penalty at its bound": (
        lambda x: np.sum(np.sin(x)) + np.sum(np.maximum(x - 2, 0) ** 2),
        lambda x: np.cos(x) + 2 * np.maximum(x - 2, 0),
        np.cos,
        [2.0, 1.3],
    ),
}


@pytest.mark.parametrize("name", ONE_SIDED)
def test_a_piece_that_begins_at_x_is_seen_by_every_seed(name):
    loss, right, wrong, x = ONE_SIDED[name]
    x = np.array(x)
    for seed in SEEDS:
        assert audit(loss, right, x, seed=seed).verdict in NOT_WRONG, seed
        assert audit(loss, wrong, x, seed=seed, mend=0).verdict in NOT_RIGHT, seed


def test_each_other_place_is_opposite_to_the_one_before():
    x = [np.array([1.0, -2.0, 0.0, 5.0])]
    (first, _), (second, _), (third, _), (fourth, _) = neighbours(x, lambda _: True, 4, np.random.default_rng(0))
    assert np.allclose(first[0] + second[0], 2 * x[0]) and np.allclose(third[0] + fourth[0], 2 * x[0])
    assert not np.allclose(first[0], third[0])
    assert np.min(abs(first[0] - x[0]) / np.where(x[0] == 0, np.sqrt(7.5), abs(x[0]))) > 0.04


# ---- The structure of another argument

C = np.arange(16.0).reshape(4, 4)
W = np.random.default_rng(2).standard_normal((3, 4))


def bilinear(S, W):
    return np.sum(np.sin(W.T @ S @ W) * C)


def transposed(S, W, right=False):
    d = np.cos(W.T @ S @ W) * C
    return W @ d @ W.T, S @ W @ d.T + (S.T if right else S) @ W @ d


@pytest.mark.parametrize("S", [np.eye(3), np.zeros((3, 3)), np.diag([1.0, 2.0, 3.0]), np.ones((3, 3))])
def test_what_rests_on_another_argument_that_is_symmetric_by_chance(S):
    report = audit(bilinear, transposed, (S, W), names=("S", "W"))
    assert report.verdict == "undetermined" and says(report, "gradient by w is right where s is symmetric"), report
    assert verdict(bilinear, lambda S, W: transposed(S, W, True), (S, W)) in NOT_WRONG


def test_what_rests_on_another_argument_that_is_symmetric_is_said_of_it():
    A = np.random.default_rng(3).standard_normal((3, 3))
    report = audit(bilinear, transposed, (A @ A.T, W), names=("S", "W"))
    assert report.verdict == "agree" and "where S is symmetric, as here" in report.reason, report
    assert not says(report, "w is symmetric")


def test_a_unit_vector_along_an_axis_is_one_by_chance():
    loss = lambda u, W: np.sum(np.sin(W @ u)) * (u @ u)  # noqa: E731

    def gradient(u, W):  # the factor |u|^2 is forgotten by W
        return W.T @ np.cos(W @ u) * (u @ u) + 2 * u * np.sum(np.sin(W @ u)), np.outer(np.cos(W @ u), u)

    report = audit(loss, gradient, (np.array([1.0, 0.0, 0.0]), W.T.copy()), names=("u", "W"))
    assert report.verdict == "undetermined" and says(report, "where u is of norm 1"), report
    assert by_chance(np.array([0.0, -1.0])) and not by_chance(np.array([0.6, 0.8]))


# ---- Off a manifold


def frames(x, v):
    return v - x @ (x.T @ v + v.T @ x) / 2


MATRIX = np.random.default_rng(4).standard_normal((6, 6))
MATRIX = MATRIX + MATRIX.T
WEIGHTS = np.diag([1.0, 2.0])


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_projection_that_is_one_on_its_manifold_alone(factor):
    """On matrices of orthonormal columns. No place beside x is one."""
    x, _ = np.linalg.qr(np.random.default_rng(5).standard_normal((6, 2)))
    loss = lambda x: np.trace(x.T @ MATRIX @ x @ WEIGHTS)  # noqa: E731
    report = audit(loss, lambda x: factor * frames(x, 2 * MATRIX @ x @ WEIGHTS), x, tangent=frames)
    assert report.verdict == ("agree" if factor == 1 else "disagree"), report
    assert any("no projection" in remark for remark in report.remarks)


# ---- Places that were not reached


def test_a_time_limit_that_ends_before_all_places_are_judged_leaves_no_verdict():
    slow = [True]

    def loss(x):
        if slow[0] and type(x).__name__ == "Dual" and abs(float(x._value[0]) - 1) > 0.04:  # judged beside x
            time.sleep(3.0)
        return np.sum(x**2)

    report = audit(loss, lambda x: 2 * x**3, np.ones(3), timeout=2.0, mend=0)
    assert report.verdict == "undetermined" and says(report, "1 of 3 places were judged"), report
    assert "near x" not in str(report)  # which was not judged
    slow[0] = False
    assert verdict(loss, lambda x: 2 * x**3, np.ones(3), mend=0) == "disagree"


def test_an_error_at_a_place_of_the_users_names_it():
    with pytest.raises(ValueError, match=r"loss returns .*nan.* at points\[1\]; .* Move points\[1\]"):
        nlicl.audit_gradient(lambda x: np.sqrt(x[0]), lambda x: 0.5 / np.sqrt(x), [4.0], points=[[1.0], [-1.0]])


# ---- Second derivatives that dual numbers do not see


def bisected(x):
    """The t at which t^3 + t = x_0 x_1, by bisection."""
    low, high = -10.0, 10.0
    for _ in range(80):
        t = (low + high) / 2
        low, high = (t, high) if t**3 + t < x[0] * x[1] else (low, t)
    return (low + high) / 2


def envelope(x):
    """min over t of (t^4/4 + t^2/2 - x_0 x_1 t), by its minimiser, and x.x."""
    t = bisected(x)
    return t**4 / 4 + t**2 / 2 - x[0] * x[1] * t + x @ x


def envelope_gradient(x):
    return -bisected(x) * x[::-1] + 2 * x


def envelope_hessian(x, implicit=1.0):
    t = bisected(x)
    slope = x[::-1] / (3 * t**2 + 1)  # of t
    return 2 * np.eye(2) - t * np.array([[0.0, 1.0], [1.0, 0.0]]) - implicit * np.outer(x[::-1], slope)


@pytest.mark.parametrize("form", ["hessian", "hessian_vector"])
def test_a_hessian_behind_a_bisection(form):
    x = np.array([0.9, 1.4])

    def judged(implicit):
        matrix = lambda x: envelope_hessian(x, implicit)  # noqa: E731
        given = matrix if form == "hessian" else lambda x, v: matrix(x) @ v
        return nlicl.audit_gradient(envelope, envelope_gradient, x, mend=0, **{form: given}).hessian.verdict

    assert judged(1.0) in NOT_WRONG
    assert judged(0.0) in NOT_RIGHT


def test_a_hessian_of_a_linear_loss_is_judged_beside_x():
    c = np.array([0.3, -1.0])
    for hessian, expected in ((lambda x: np.diag(x), "disagree"), (lambda x: np.zeros((2, 2)), "agree")):
        report = nlicl.audit_gradient(lambda x: c @ x, lambda x: c.copy(), np.zeros(2), hessian=hessian, mend=0)
        assert report.hessian.verdict == expected


# ---- What is said of constants and penalties


def test_one_number_is_not_called_a_penalty():
    x = np.array([0.2, 0.5, 0.9])
    report = audit(lambda x: np.sum(x * np.log(x)), np.log, x, mend=0)  # the 1 is forgotten
    first = report.arguments[0].diagnosis[0]["detail"]
    assert first.startswith("given - expected = -1, one number"), first


def test_a_penalty_is_called_one():
    x = np.array([0.2, -0.5, 0.9, -1.4])
    report = audit(lambda x: np.sum(np.sin(x)) + 0.3 * np.sum(abs(x)), np.cos, x, mend=0)
    assert says(report, r"-0\.3 sign\(x\): an l1 term"), report


def test_a_penalty_of_another_weight_is_not_said_to_be_in_one_of_the_two_alone():
    x = np.array([0.2, -0.5, 0.9])
    report = audit(lambda x: np.sum(np.sin(x)) + 0.15 * x @ x, lambda x: np.cos(x) + 0.6 * x, x, mend=0)
    assert says(report, "l2 term") and says(report, "or has more of"), report
