"""Scales, domains, rounding, noise and small dtypes: no false alarm, and no tolerance that hides a mistake.

Situations from public bug reports. Each test is named after its situation; the comment above names the reports that it was met
in. Beside the situation itself stand variations of it.
"""

import numpy as np
import pytest
from scipy.special import digamma, gammaln
from verdicts import NOT_RIGHT, NOT_WRONG, audit, says, verdict

import nlicl

# ---- Scales


# scikit-learn pull 25353: relative errors mean nothing where the gradient is about zero
@pytest.mark.parametrize("factor", [1, 2, -1])
def test_at_a_minimum_nothing_is_judged(factor):
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((30, 5)), rng.standard_normal(30)
    x = np.linalg.lstsq(A, b, rcond=None)[0]
    report = audit(lambda x: 0.5 * np.sum((A @ x - b) ** 2), lambda x: factor * (A.T @ (A @ x - b)), x, points=[])
    assert report.verdict == "undetermined" and says(report, "rounding|minimum|another x"), report
    nearby = verdict(lambda x: 0.5 * np.sum((A @ x - b) ** 2), lambda x: factor * (A.T @ (A @ x - b)), x)
    assert nearby in (NOT_WRONG if factor == 1 else NOT_RIGHT)


def test_at_an_exact_minimum():
    x = np.zeros(4)
    assert verdict(lambda x: np.sum(x**2), lambda x: 2 * x, x) in NOT_WRONG
    assert verdict(lambda x: np.sum(x**2), lambda x: -3 * x, x) in NOT_RIGHT
    assert verdict(lambda x: np.sum(x**2), lambda x: 2 * x + 1, x) == "disagree"


# stan-dev/math issue 1578: negative binomial, alpha 1e10
def test_small_entries_beside_a_huge_one():
    n = 3

    def nll(t):
        a, b = t
        return -(gammaln(n + a) - gammaln(a) + a * np.log(b / (1 + b)) - n * np.log1p(b))

    def gradient(t, off=0.0):
        a, b = t
        return np.array([
            -(digamma(n + a) - digamma(a) + np.log(b / (1 + b)) + off), -(a / (b * (1 + b)) - n / (1 + b))
        ])  # fmt: skip

    x = np.array([1e10, 0.8])
    assert verdict(nll, lambda t: gradient(t, 0.44), x) in NOT_RIGHT
    assert verdict(nll, gradient, x) in NOT_WRONG


@pytest.mark.parametrize("real_only", [False, True])
def test_entries_of_many_scales_in_one_vector(real_only):
    f = lambda t: 1e9 * np.sin(t[0]) + np.sum(np.sin(t[1:]))  # noqa: E731
    loss = (lambda t: float(f(np.real(t)))) if real_only else f
    gradient = lambda t, c: np.concatenate([[1e9 * np.cos(t[0])], c * np.cos(t[1:])])  # noqa: E731
    x = np.array([0.3, 0.5, 1.0])
    assert verdict(loss, lambda t: gradient(t, 2), x) in (NOT_RIGHT if real_only else ("disagree",))
    assert verdict(loss, lambda t: gradient(t, 1), x) in (NOT_WRONG if real_only else ("agree",))
    split = lambda c: lambda a, b: np.split(gradient(np.append(a, b), c), [1])  # noqa: E731
    separate = lambda a, b: loss(np.concatenate([a, b]))  # noqa: E731
    assert verdict(separate, split(2), (x[:1], x[1:])) in NOT_RIGHT
    assert verdict(separate, split(1), (x[:1], x[1:])) in NOT_WRONG


def test_entries_over_twenty_orders_of_magnitude():
    c = 10.0 ** np.arange(-10, 11, 2)
    x = np.random.default_rng(0).random(11) + 0.5
    loss = lambda x: np.sum(c * np.exp(x))  # noqa: E731
    assert verdict(loss, lambda x: c * np.exp(x), x) == "agree"
    for k in (0, 5, 10):
        off = np.where(np.arange(11) == k, 1.01, 1)
        report = audit(loss, lambda x, off=off: off * c * np.exp(x), x)
        if k == 0:  # a part in 1e20 of the largest: a sum of large terms rounds by more
            assert report.verdict == "undetermined" and says(report, r"x\[0\] was tested to"), report
        else:
            assert report.verdict == "disagree" and report.arguments[0].worst["index"] == [k], report


# jax-gcm pull 847, scipy issue 18161: absolute steps on small scales
SMALL = {
    "x/(x+k)": (
        lambda x: np.sum(x / (x + 1e-8)),
        lambda x: 1e-8 / (x + 1e-8) ** 2,
        1e-8 * np.array([1.0, 2.0, 0.5]),
    ),
    "kernel": (
        lambda x: np.exp(-np.sum((x - np.array([1e-4, 0])) ** 2) / 2e-8),
        lambda x: -np.exp(-np.sum((x - [1e-4, 0]) ** 2) / 2e-8) * (x - [1e-4, 0]) / 1e-8,
        np.array([2e-4, 1e-5]),
    ),
    "steep sigmoid": (
        lambda x: np.sum(1 / (1 + np.exp(-1e6 * x))),
        lambda x: (lambda s: 1e6 * s * (1 - s))(1 / (1 + np.exp(-1e6 * x))),
        np.array([1e-6, -2e-6]),
    ),
    "sin(1e4 x), real only": (
        lambda x: float(np.sin(1e4 * np.real(x)).sum()),
        lambda x: 1e4 * np.cos(1e4 * x),
        np.array([0.1, 0.3]),
    ),
    "tiny x, real only": (
        lambda x: float(np.sum(np.real(x) ** 2)),
        lambda x: 2 * x,
        1e-9 * np.array([1.0, -2.0, 0.3]),
    ),
    "huge x": (lambda x: np.sum(np.log1p(x)), lambda x: 1 / (1 + x), 1e15 * np.array([1.0, 2.0])),
    "tiny loss": (lambda x: 1e-200 * np.sum(np.sin(x)), lambda x: 1e-200 * np.cos(x), np.array([0.3, 1.0])),
    "huge loss": (lambda x: 1e200 * np.sum(np.sin(x)), lambda x: 1e200 * np.cos(x), np.array([0.3, 1.0])),
}


@pytest.mark.parametrize("name", SMALL)
def test_smooth_functions_on_scales_of_their_own(name):
    loss, gradient, x = SMALL[name]
    assert verdict(loss, gradient, x) == "agree"
    assert verdict(loss, lambda x: 2 * gradient(x), x) == "disagree"
    assert verdict(loss, lambda x: 1.001 * gradient(x), x) == "disagree"


def test_two_arguments_on_scales_of_their_own():
    loss = lambda a, b: np.cos(1e-6 * a).sum() + np.sin(1e6 * b).sum()  # noqa: E731
    gradient = lambda a, b: (-1e-6 * np.sin(1e-6 * a), 1e6 * np.cos(1e6 * b))  # noqa: E731
    at = (1e6 * np.array([1.0, -0.5]), 1e-6 * np.array([0.3, 1.2, -0.7]))
    assert verdict(loss, gradient, at) == "agree"
    assert verdict(loss, lambda a, b: (2 * gradient(a, b)[0], gradient(a, b)[1]), at) == "disagree"


# scipy pull 18811, elfi pull 177: steps that leave the domain
def test_near_the_edge_of_the_domain():
    with np.errstate(all="ignore"):
        x = np.array([1.0, 0.3, 1e-6])
        assert verdict(lambda x: np.log(x).sum(), lambda x: 1 / x, x) == "agree"
        assert verdict(lambda x: np.log(x).sum(), lambda x: 2 / x, x) == "disagree"
        barrier = lambda x: -np.log(1 - x).sum() - np.log(x).sum()  # noqa: E731
        x = np.array([0.5, 1 - 1e-10])
        assert verdict(barrier, lambda x: 1 / (1 - x) - 1 / x, x) == "agree"
        assert verdict(barrier, lambda x: 1 / (1 - x) + 1 / x, x) == "disagree"


def test_warnings_out_of_the_domain_are_no_errors():
    """Warnings are errors here, as in many test suites; that the audit leaves the domain is not the caller's fault."""
    x = np.array([1.0, 0.3, 1e-6])
    assert verdict(lambda x: np.log(x).sum(), lambda x: 1 / x, x) == "agree"
    assert verdict(lambda x: float(np.log(np.real(x)).sum()), lambda x: 1 / x, x) == "agree"
    assert verdict(lambda x: float(np.sqrt(np.real(x)).sum()), lambda x: 1 / np.sqrt(x), x) == "disagree"


@pytest.mark.parametrize("radius", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("error", [ValueError, FloatingPointError, AssertionError])
def test_a_loss_that_raises_out_of_its_domain(radius, error):
    x0 = np.array([1.0, 2.0])

    def guarded(x):
        if np.any(abs(x - x0) > radius):
            raise error("out of domain")
        return np.sum(x**2)

    assert verdict(guarded, lambda x: 2 * x, x0) == "agree"
    assert verdict(guarded, lambda x: 3 * x, x0) == "disagree"


def test_a_loss_on_the_simplex():
    """Weights that must sum to one, checked with a tolerance: steps along one entry leave it."""
    p = np.array([0.2, 0.3, 0.5])

    def entropy(p):
        if abs(p.sum() - 1) > 1e-6:
            raise ValueError("not a distribution")
        return np.sum(p * np.log(p))

    assert verdict(entropy, lambda p: np.log(p) + 1, p) in NOT_WRONG
    assert verdict(entropy, lambda p: np.log(p) - 1, p) in NOT_RIGHT


# ---- Rounding and noise


# scikit-learn pull 31543: the likelihood of a Gaussian process with little noise
@pytest.mark.parametrize("noise", [1e-2, 1e-4, 1e-6, 1e-8])
def test_an_ill_conditioned_likelihood(noise):
    rng = np.random.default_rng(0)
    X = np.sort(rng.random((40, 1)) * 3, axis=0)
    y, D = np.sin(3 * X[:, 0]), (X - X.T) ** 2
    K = lambda t: np.exp(2 * t[1]) * np.exp(-0.5 * D / np.exp(2 * t[0]))  # noqa: E731

    def loss(t):
        L = np.linalg.cholesky(K(t) + noise * np.eye(40))
        a = np.linalg.solve(L, y)
        return 0.5 * a @ a + np.log(np.diag(L)).sum()

    def gradient(t):
        k = K(t)
        inverse = np.linalg.inv(k + noise * np.eye(40))
        a = inverse @ y
        return np.array([0.5 * np.sum((inverse - np.outer(a, a)) * d) for d in (k * D / np.exp(2 * t[0]), 2 * k)])

    t = np.array([np.log(0.5), 0.2])
    assert verdict(loss, gradient, t) in (("agree",) if noise > 1e-7 else NOT_WRONG)
    assert verdict(loss, lambda t: 2 * gradient(t), t) == "disagree"


# scipy pull 3945, nlopt issue 328, scikit-learn issue 28046
def log_sum_exp(z):
    return np.log(np.exp(z - z.real.max()).sum()) + z.real.max()


ROUNDED = {
    "times near 2024": (
        lambda t: float(np.sin(2 * np.pi * np.real(t)).sum()),
        lambda t: 2 * np.pi * np.cos(2 * np.pi * t),
        np.array([2024.1, 2024.3]),
    ),
    "x near 1e8": (
        lambda x: float(np.sum((np.real(x) - 1e8) ** 2)),
        lambda x: 2 * (x - 1e8),
        np.array([1e8 + 1, 1e8 - 2]),
    ),
    "saturated softmax": (
        lambda z: log_sum_exp(z) - z[0],
        lambda z: np.exp(z - log_sum_exp(z)) - np.eye(4)[0],
        np.array([50.0, 0, -50, 3]),
    ),
    "rounded to 12 digits": (
        lambda x: round(float(np.sum(np.sin(np.real(x)))), 12),
        np.cos,
        np.array([0.3, -1.0, 2.0]),
    ),
    "a constant of 1e6": (lambda x: float(np.sum(np.sin(np.real(x)))) + 1e6, np.cos, np.array([0.3, -1.0, 2.0])),
    "float32 inside": (
        lambda x: float(np.sum(np.sin(np.real(x).astype(np.float32)))),
        np.cos,
        np.array([0.3, -1.0, 2.0]),
    ),
    "one of two terms in float32": (
        lambda x: np.sum(np.sin(x)) + float(np.sum(np.real(x).astype(np.float32) ** 2)),
        lambda x: np.cos(x) + 2 * x,
        np.array([0.3, -1.0, 2.0]),
    ),
    "a difference of large sums": (
        lambda x: 1e5 * float(np.sum(np.exp(np.real(x)))) - (1e5 - 1) * float(np.sum(np.exp(np.real(x)))),
        np.exp,
        np.array([0.3, -1.0, 2.0]),
    ),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_rounding_in_the_loss_is_measured(name):
    loss, gradient, x = ROUNDED[name]
    report = audit(loss, gradient, x)
    assert report.verdict in NOT_WRONG, report
    assert report or says(report, "rounding|noise|digits|smooth|float32"), report
    assert verdict(loss, lambda x: 1.5 * gradient(x), x) in NOT_RIGHT
    assert verdict(loss, lambda x: -gradient(x), x) in NOT_RIGHT


def test_noise_of_a_trillionth_in_the_loss():
    rng = np.random.default_rng(3)
    A, x = rng.standard_normal((4, 5)), rng.standard_normal(5)
    loss = lambda x: np.sum((A @ x) ** 2) + 1e-12 * rng.standard_normal()  # noqa: E731
    assert verdict(loss, lambda x: 2 * A.T @ (A @ x), x) in NOT_WRONG
    assert verdict(loss, lambda x: A.T @ (A @ x), x) in NOT_RIGHT


# ott issue 7, POT pull 605: implicit gradients, an inner solver that has not converged
@pytest.mark.parametrize("tol", [1e-14, 1e-9, 1e-6])
def test_an_inner_solver(tol):
    A = np.random.default_rng(0).standard_normal((4, 4)) * 0.2
    b = np.random.default_rng(1).standard_normal(4)

    def fixed_point(b, tol):
        u = np.zeros(4, b.dtype)
        while True:
            new = np.tanh(A @ u + b)
            if abs(new - u).max() < tol:
                return new
            u = new

    def gradient(b):
        u = fixed_point(b, 1e-14)
        d = 1 - u**2
        return np.linalg.solve((np.eye(4) - d[:, None] * A).T, 2 * u) * d

    loss = lambda b: np.sum(fixed_point(b, tol) ** 2)  # noqa: E731
    report = audit(loss, gradient, b)
    assert report.verdict in (("agree",) if tol == 1e-14 else NOT_WRONG), report
    assert report or says(report, "digits"), report
    assert verdict(loss, gradient, b, tolerance=1e-3) == "agree"
    assert verdict(loss, lambda b: 1.1 * gradient(b), b) == "disagree"
    assert verdict(loss, lambda b: 1.1 * gradient(b), b, tolerance=1e-3) == "disagree"


# Mnemosyne pulls 730, 310: the plain sum of a normalised output
def test_gradients_that_are_zero_by_construction():
    rng = np.random.default_rng(0)
    X, g = rng.standard_normal((6, 3)), 1.5 * np.ones(3)

    def norm(X, g):
        c = X - X.mean(0)
        return np.sum(g * c / np.sqrt((c * c).mean(0)))

    def gradient(X, g):
        s = 1 / X.std(0)
        h, dy = (X - X.mean(0)) * s, np.ones_like(X) * g
        return s * (dy - dy.mean(0) - h * (dy * h).mean(0)), h.sum(0)

    report = audit(norm, gradient, (X, g), names=("X", "gamma"))
    assert report.verdict == "undetermined" and says(report, "zero"), report

    def softmax_sum(z):
        return np.sum(np.exp(z) / np.exp(z).sum())

    def softmax_gradient(z):
        p = np.exp(z) / np.exp(z).sum()
        return p * (1 - p.sum())

    report = audit(softmax_sum, softmax_gradient, rng.standard_normal(5))
    assert report.verdict == "undetermined" and says(report, "zero"), report
    assert verdict(softmax_sum, lambda z: np.exp(z) / np.exp(z).sum(), rng.standard_normal(5)) == "disagree"


def test_one_argument_of_two_has_a_gradient_that_is_zero_by_construction():
    """A constant added to scores does not change their softmax: the bias's gradient is rounding, the weights' is not."""
    rng = np.random.default_rng(0)
    X, w, b, v = rng.standard_normal((6, 3)), rng.standard_normal(3), np.array([0.4]), rng.standard_normal(6)

    def loss(w, b):
        z = X @ w + b
        return v @ (np.exp(z) / np.exp(z).sum())

    def gradient(w, b):
        z = X @ w + b
        p = np.exp(z) / np.exp(z).sum()
        d = p * (v - p @ v)
        return X.T @ d, d.sum(keepdims=True)

    assert verdict(loss, gradient, (w, b)) in NOT_WRONG
    assert verdict(loss, lambda w, b: (gradient(w, b)[0], b), (w, b)) == "disagree"
    assert verdict(loss, lambda w, b: (2 * gradient(w, b)[0], 0 * b), (w, b)) == "disagree"


# ---- Float32


# pytorch issue 5351, jax pull 39821: models in float32
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [10, 200])
def test_a_loss_in_float32(dtype, n):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, 5)).astype(np.float32), rng.standard_normal(n).astype(np.float32)

    def loss(w):
        r = X @ w.astype(np.float32) - y
        return 0.5 * np.sum(r * r)

    gradient = lambda w: X.T @ (X @ w.astype(np.float32) - y)  # noqa: E731
    for seed in range(5):
        w = np.random.default_rng(seed).standard_normal(5).astype(dtype)
        report = audit(loss, gradient, w)
        assert report.verdict in NOT_WRONG and not any(a.kinks for a in report.arguments), report
        assert report or says(report, "float32|digits"), report
        for factor in (2, -1, 0.5):
            assert verdict(loss, lambda w, f=factor: f * gradient(w), w) in NOT_RIGHT


def test_half_precision_is_not_called_wrong():
    x = np.random.default_rng(0).standard_normal(5)
    loss = lambda x: np.sum(np.real(x).astype(np.float16) ** 2)  # noqa: E731
    assert verdict(loss, lambda x: 2 * x, x) in NOT_WRONG
    assert verdict(loss, lambda x: -2 * x, x) in NOT_RIGHT


@pytest.mark.parametrize("rounded", [np.float16, lambda t: np.round(t, 3), lambda t: np.floor(128 * t) / 128])
@pytest.mark.parametrize("others", [1, 3])
def test_half_precision_in_one_term_is_not_called_wrong(rounded, others):
    """Stairs in one argument, or one entry; beside them no noise of the loss is to be measured."""
    rng = np.random.default_rng(0)
    w, A = rng.uniform(0.3, 1, 4), rng.standard_normal((3, others))

    def loss(w, b):
        return float(np.exp(float(rounded(w[0])))) + np.sum(w[1:] ** 3) + np.sum((A @ b) ** 2)

    def gradient(w, b, factor=1.0):
        return np.concatenate([[factor * np.exp(w[0])], 3 * w[1:] ** 2]), 2 * A.T @ (A @ b)

    for seed in range(4):
        b = np.random.default_rng(seed).standard_normal(others)
        assert verdict(loss, gradient, [w, b]) in NOT_WRONG
        for factor in (-1, 0.5, 2):
            assert verdict(loss, lambda w, b, f=factor: gradient(w, b, f), [w, b]) in NOT_RIGHT


def test_a_fast_wave_is_part_of_the_gradient():
    """Its height is a share of 1e-11 of the loss, its slope one of 3e-6 of the gradient."""
    loss = lambda t: float(0.2 * np.real(t) ** 2 + np.sin(1.3 * np.real(t)))  # noqa: E731
    assert verdict(loss, lambda t: 0.4 * t + 1.3 * np.cos(1.3 * t), np.array(1e6)) == "agree"
    assert verdict(loss, lambda t: 0.4 * t, np.array(1e6)) in NOT_RIGHT


# candle pull 1160: GELU's derivative by constants of six digits
def test_a_gradient_that_was_rounded_to_float32():
    rng = np.random.default_rng(0)
    A, x = rng.standard_normal((20, 5)), rng.standard_normal(5)
    loss = lambda x: 0.5 * np.sum((A @ x) ** 2)  # noqa: E731
    assert verdict(loss, lambda x: (A.T @ (A @ x)).astype(np.float32), x) == "agree"
    assert verdict(loss, lambda x: (1.01 * (A.T @ (A @ x))).astype(np.float32), x) == "disagree"


def test_constants_of_six_digits():
    x = np.random.default_rng(0).standard_normal(5)
    gelu = lambda x: np.sum(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))  # noqa: E731

    def rounded(x):
        t = np.tanh(0.797885 * x + 0.0356774 * x**3)
        return 0.5 + (0.398942 * x + 0.0535161 * x**3) * (1 - t**2) + 0.5 * t

    report = audit(gelu, rounded, x)
    assert report.verdict == "disagree" and says(report, r"\b[5-7] digits"), report
    assert verdict(gelu, rounded, x, tolerance=1e-5) == "agree"
    assert verdict(gelu, lambda x: 1.001 * rounded(x), x, tolerance=1e-5) == "disagree"
    assert verdict(gelu, lambda x: 2 * rounded(x), x, tolerance=1e-5) == "disagree"


@pytest.mark.parametrize("tolerance", [-1e-3, 0.1, 2, np.nan, "small"])
def test_no_tolerance_is_wider_than_a_thousandth(tolerance):
    try:
        report = nlicl.audit_gradient(np.sum, lambda x: 1.05 + 0 * x, np.ones(3), tolerance=tolerance)
    except (ValueError, TypeError) as error:
        assert "tolerance" in str(error)
    else:
        assert report.verdict != "agree"
