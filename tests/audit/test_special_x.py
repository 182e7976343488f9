"""Where x is special, a gradient that is right there alone is not called right: on kinks, at one value, in few digits."""

import numpy as np
import pytest
from verdicts import NOT_RIGHT, NOT_WRONG, audit, says, verdict

RNG = np.random.default_rng(5)
X, Y = RNG.standard_normal((20, 4)), RNG.standard_normal(20)
C = np.array([0.3, 0.8, 0.3, -1.3, 0.9])


def least_squares(w):
    return X.T @ (X @ w - Y) / 20


def lasso(w):
    return 0.5 * np.mean((X @ w - Y) ** 2) + np.abs(w).sum()


# name -> (loss, right gradient, gradient with the kink's term forgotten or smoothed, x on kinks in every entry)
ON_KINKS = {
    "lasso": (lasso, lambda w: least_squares(w) + np.sign(w), least_squares, np.zeros(4)),
    "lasso, smoothed": (
        lasso,
        lambda w: least_squares(w) + np.sign(w),
        lambda w: least_squares(w) + np.tanh(w),
        np.zeros(4),
    ),
    "group lasso": (
        lambda w: 0.5 * np.mean((X @ w - Y) ** 2) + 0.7 * np.linalg.norm(w),
        lambda w: least_squares(w) + 0.7 * w / (np.linalg.norm(w) or 1.0),
        least_squares,
        np.zeros(4),
    ),
    "total variation of what is flat": (
        lambda x: np.abs(np.diff(x)).sum() + 0.5 * np.sum((x - 1.3) ** 2),
        lambda x: x - 1.3 - np.diff(np.sign(np.diff(x)), prepend=0, append=0),
        lambda x: x - 1.3,
        np.ones(5),
    ),
    "the larger of equals": (
        lambda x: np.max(x) + 0.5 * x @ x,
        lambda x: x + (x == np.max(x)) / np.sum(x == np.max(x)),
        lambda x: x + 0.5,
        np.ones(2),
    ),
}


@pytest.mark.parametrize("name", ON_KINKS)
def test_a_term_that_is_forgotten_does_not_show_on_its_kink(name):
    loss, right, wrong, x = ON_KINKS[name]
    assert verdict(loss, right, x) in NOT_WRONG
    report = audit(loss, wrong, x)
    assert report.verdict in NOT_RIGHT, report
    assert says(report, "off the kink the gradient is wrong"), report


@pytest.mark.parametrize("lam", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("seed", range(5))
def test_lasso_at_its_start_with_the_penalty_forgotten(lam, seed):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((20, 4)), rng.standard_normal(20)
    loss = lambda w: 0.5 * np.mean((X @ w - y) ** 2) + lam * np.abs(w).sum()  # noqa: E731
    assert verdict(loss, lambda w: X.T @ (X @ w - y) / 20, np.zeros(4)) in NOT_RIGHT


@pytest.mark.parametrize("x", [np.array([0, 1.0, 2.0, -1.0, 0.5]), np.zeros(5)])
def test_a_constant_gradient_beside_a_kink(x):
    loss = lambda x: C @ x + 0.3 * abs(x[0])  # noqa: E731
    first = np.eye(5)[0]
    assert verdict(loss, lambda x: C.copy(), x) in NOT_RIGHT
    assert verdict(loss, lambda x: C + 0.3 * np.sign(x[0]) * first, x) in NOT_WRONG


@pytest.mark.parametrize("kink", [0.0, 0.3])
def test_a_gradient_that_was_computed_once(kink):
    x = np.array([0, 1.0, 2.0, -1.0, 0.5])
    once = C + 2 * x
    report = audit(lambda w: C @ w + w @ w + kink * abs(w[0]), lambda w: once, x)
    assert report.verdict == "undetermined" and says(report, "for this x alone"), report


# ---- Right but at one value


def closed_form(x):
    """The derivative of 1 + x + .. + x^4 = (x^5 - 1) / (x - 1), and 0 at 1, for 0 / 0."""
    with np.errstate(all="ignore"):
        return np.nan_to_num((5 * x**4 * (x - 1) - (x**5 - 1)) / (x - 1) ** 2)


@pytest.mark.parametrize(
    ("loss", "gradient", "right"),
    [
        (
            lambda x: sum((x**k).sum() for k in range(5)),
            closed_form,
            lambda x: sum(k * x ** (k - 1) for k in range(1, 5)),
        ),
        (lambda x: np.sum(x**2), lambda x: np.where(x == 1, 0, 2 * x), lambda x: 2 * x),
        (lambda x: np.sum(x**2), lambda x: np.where(x == 1, 0.1, 2 * x), lambda x: 2 * x),
        (lambda x: np.sum(np.exp(x)), lambda x: np.where(x == 1, 0, np.exp(x)), np.exp),
    ],
)
@pytest.mark.parametrize("x", [[1.0, 0.5, 2.0], [1.0], [1.0, 1.0, 1.0]])
@pytest.mark.parametrize("real_only", [False, True])
def test_a_gradient_with_a_case_of_its_own_at_x(loss, gradient, right, x, real_only):
    x = np.array(x)
    seen = (lambda x: float(loss(np.real(x)))) if real_only else loss
    assert verdict(seen, right, x) in NOT_WRONG
    assert verdict(seen, gradient, x) == "disagree"


# ---- An entry that the loss's digits hide


@pytest.mark.parametrize(("constant", "small"), [(1e6, 1e-8), (1e8, 1e-6), (1e9, 1e-5)])
@pytest.mark.parametrize("factor", [0.0, 1.0, 1.5, -1.0])
def test_an_entry_below_the_resolution_of_differences(constant, small, factor):
    x = np.random.default_rng(2).standard_normal(6) + 2
    weight = np.array([1.0, 2.0, 3.0, small, 1.5, 0.8])
    loss = lambda x: constant + sum(a * np.sin(float(t)) for a, t in zip(weight, x, strict=True))  # noqa: E731
    changed = np.where(np.arange(6) == 3, factor, 1.0)
    report = audit(loss, lambda x: changed * weight * np.cos(x), x)
    assert report.verdict == "undetermined" and says(report, r"x\[3\] was tested to"), report


def test_an_entry_that_the_loss_does_not_depend_on_is_no_doubt():
    x = np.random.default_rng(2).standard_normal(6) + 2
    weight = np.array([1.0, 2.0, 3.0, 0.0, 1.5, 0.8])
    loss = lambda x: 1e6 + sum(a * np.sin(float(t)) for a, t in zip(weight, x, strict=True))  # noqa: E731
    assert verdict(loss, lambda x: weight * np.cos(x), x) == "agree"


# ---- State that changes after a while


@pytest.mark.parametrize("late", ["loss", "gradient"])
def test_what_changes_after_some_calls_has_no_verdict(late):
    calls = {"loss": 0, "gradient": 0}

    def counted(name, function, after):
        def call(x):
            calls[name] += 1
            return function(x) * (1.1 if name == late and calls[name] > after else 1.0)

        return call

    loss, gradient = counted("loss", lambda x: np.sum(np.sin(x)), 40), counted("gradient", np.cos, 25)
    report = audit(loss, gradient, np.array([0.3, -1.2, 2.0]))
    assert report.verdict == "undetermined" and says(report, "state that changes after some calls"), report
