"""Losses that lose digits, and numbers that look as if they had few: no false alarm, and no tolerance that hides a mistake."""

import math

import numpy as np
import pytest
from mpmath import mp
from scipy import special
from verdicts import NOT_RIGHT, NOT_WRONG, audit, says, verdict

from nlicl.audit.dual.array import lift, parts
from nlicl.audit.functions.differences import lasting_noise

# ---- Whole numbers look like float32's


@pytest.mark.parametrize("lam", [0.01, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_loss_whose_value_is_a_whole_number_computes_in_float64(lam, seed):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((50, 3)), rng.integers(100, 300, 50).astype(float)
    loss = lambda w: 0.5 * np.sum((X @ w - y) ** 2) + 0.5 * lam * w @ w  # noqa: E731
    assert verdict(loss, lambda w: X.T @ (X @ w - y), np.zeros(3)) == "disagree"
    assert verdict(loss, lambda w: X.T @ (X @ w - y) + lam * w, np.zeros(3)) == "agree"


@pytest.mark.parametrize(
    ("loss", "gradient", "x"),
    [
        (lambda x: np.sum(x**3), lambda x: 3 * x**2, [31.0, 42.0, 54.0]),
        (lambda x: 0.5 * x @ x * (1 + 1 / 8192), lambda x: x * (1 + 1 / 8192), [1.0, 2.0, 3.0, -1.0]),
        (lambda x: np.sum(x**4), lambda x: 4 * x**3, [71.0, 43.0, 54.0, 39.0, 57.0]),  # the gradient looks so, too
        (lambda x: np.array([70001.0, 70003.0, 90001.0, 90005.0]) @ x, None, [1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_whole_numbers_do_not_widen_the_tolerance(loss, gradient, x):
    x = np.array(x)
    gradient = gradient or (lambda x: np.array([70001.0, 70003.0, 90001.0, 90005.0]))
    assert verdict(loss, gradient, x) == "agree"
    assert verdict(loss, lambda x: gradient(x) + 1.0, x) == "disagree"
    assert verdict(loss, lambda x: 1.0001 * gradient(x), x) == "disagree"


def test_what_computes_in_float32_is_still_known():
    single = lambda x: float(np.sum(np.sin(x.astype(np.float32)) ** 2))  # noqa: E731
    gradient = lambda x: np.sin(2 * x.astype(np.float32)).astype(float)  # noqa: E731
    x = np.array([0.3, -1.2, 2.0, 0.7, 1.1])
    assert verdict(single, gradient, x) in NOT_WRONG
    assert verdict(single, lambda x: 1.01 * gradient(x), x) == "disagree"


def test_a_small_part_in_float32_is_no_mistake():
    rng = np.random.default_rng(7)
    A, x = rng.standard_normal((6, 6)), rng.standard_normal(6)
    single = A.astype(np.float32)

    def part(z):
        return np.sum(np.tanh(single @ z.astype(np.float32)).astype(float) ** 2)

    def slope(z):
        t = np.tanh(A @ z)
        return A.T @ (2 * t * (1 - t * t))

    loss = lambda x, z: 1e4 + 1e-3 * part(z) + np.sum(x**2)  # noqa: E731
    assert verdict(loss, lambda x, z: (2 * x, 1e-3 * slope(z)), (x + 3, x + 0.1)) in NOT_WRONG
    assert verdict(loss, lambda x, z: (2 * x, 1.001e-3 * slope(z)), (x + 3, x + 0.1)) in NOT_RIGHT


# ---- Losses that cancel: what is carried through them loses digits, too


@pytest.mark.parametrize(
    ("loss", "slope", "x"),
    [
        *[(lambda x: (np.exp(x) - 1) / x, lambda x: 0.5 + x / 3 + x * x / 8, x) for x in (1e-4, 1e-5, 1e-6, 1e-7)],
        (lambda x: np.expm1(x) / x, lambda x: 0.5 + x / 3, 1e-7),
        *[(lambda x: (1 - np.cos(x)) / x**2, lambda x: -x / 12 + x**3 / 180, x) for x in (1e-3, 1e-5)],
        *[(lambda x: np.sqrt(x * x + 1) - x, lambda x: -1 / (2 * x * x), x) for x in (1e4, 1e6)],
    ],
)
def test_an_exact_gradient_of_a_loss_that_cancels(loss, slope, x):
    for places in (np.array([x]), x * np.array([1.0, 1.3, 0.7, 2.0])):
        report = audit(lambda x: loss(x).sum(), slope, places)
        assert report.verdict in NOT_WRONG, report
        assert verdict(lambda x: loss(x).sum(), lambda x: 3 * slope(x), places, mend=0) in NOT_RIGHT


def test_the_noise_of_a_derivative_that_jumps_is_none():
    for at in (1e-2, 1e-3, -6e-4):
        assert lasting_noise(lambda t: float(t > at), float(at < 0)) < 1e-15  # noqa: B023
    rounded = lambda t: 1.0 + t + 1e-7 * math.sin(1e15 * t)  # noqa: E731
    assert 1e-8 < lasting_noise(rounded, rounded(0.0)) < 1e-6


# ---- Saturation


@pytest.mark.parametrize("z", [25.0, 40.0, 60.0, 500.0, 1e4])
def test_what_is_saturated_is_not_called_wrong(z):
    x = np.array([z, 1.3 * z])
    exact = lambda x: (lambda e: 4 * e / (1 + e) ** 2)(np.exp(-2 * np.abs(x)))  # noqa: E731
    for gradient in (exact, lambda x: 1 - np.tanh(x) ** 2):
        assert verdict(lambda x: np.sum(np.tanh(x)), gradient, x) in NOT_WRONG
    beside = np.array([z, 0.3])
    assert verdict(lambda x: np.sum(np.tanh(x)), exact, beside) == "agree"
    assert verdict(lambda x: np.sum(np.tanh(x)), lambda x: 2 * exact(x), beside) == "disagree"


@pytest.mark.parametrize("z", [1.0, 5.0, 10.0, 12.0])
def test_a_gradient_that_loses_digits_itself(z):
    for factor in (1.0, 1.3, 0.7):
        x = factor * np.array([z, 0.9 * z])
        assert verdict(lambda x: np.sum(np.tanh(x)), lambda x: 1 - np.tanh(x) ** 2, x) in NOT_WRONG
        assert verdict(lambda x: np.sum(np.logaddexp(0, -x)), lambda x: special.expit(x) - 1, x) in NOT_WRONG
        assert (
            verdict(lambda x: np.sum(np.logaddexp(0, -x)), lambda x: 2 * special.expit(x) - 2, x, mend=0) in NOT_RIGHT
        )


@pytest.mark.parametrize("seed", range(5))
def test_a_saturated_layer(seed):
    rng = np.random.default_rng(seed)
    W, v, x = rng.standard_normal((4, 4)), rng.standard_normal(4), 1e4 * rng.standard_normal(4)
    assert verdict(lambda x: v @ np.tanh(W @ x), lambda x: W.T @ (v * (1 - np.tanh(W @ x) ** 2)), x) == "undetermined"


# ---- Functions of whole numbers, and fast waves


@pytest.mark.parametrize("seed", range(12))
def test_a_loss_of_whole_numbers_has_no_slope(seed):
    rng = np.random.default_rng(seed)
    A, x = rng.standard_normal((5, 5)), rng.standard_normal(5)
    assert verdict(lambda x: int(x @ A @ x), lambda x: 0 * x, x) == "undetermined"


@pytest.mark.parametrize("seed", [3, 17, 26])
def test_waves_that_differences_do_not_see(seed):
    rng = np.random.default_rng(seed)
    W, v, x = rng.standard_normal((4, 5)), rng.standard_normal(4), 1e4 * rng.standard_normal(5)
    lam = 10 ** rng.uniform(-4, 0)
    loss = lambda x: v @ np.sin(W @ x) + 0.5 * lam * x @ x  # noqa: E731
    assert verdict(loss, lambda x: W.T @ (v * np.cos(W @ x)) + lam * x, x) in NOT_WRONG
    assert verdict(loss, lambda x: lam * x, x) in NOT_RIGHT


# ---- Rules that would cancel, beside 40 digits


def scaled_bessel(nu):
    return lambda x: mp.exp(-abs(x)) * mp.besseli(nu, x)


FUNCTIONS = {
    "sinc": (np.sinc, lambda x: mp.sin(mp.pi * x) / (mp.pi * x)),
    "tanh": (np.tanh, mp.tanh),
    "erfcx": (special.erfcx, lambda x: mp.exp(x * x) * mp.erfc(x)),
    "dawsn": (special.dawsn, lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x)),
    "i0e": (special.i0e, scaled_bessel(0)),
    "i1e": (special.i1e, scaled_bessel(1)),
    "log_ndtr": (special.log_ndtr, lambda x: mp.log(mp.ncdf(x))),
}
SOME = [1e-9, 1e-6, 1e-3, 0.0999, 0.1001, 0.7, 5.0, 29.9, 30.1, 1e3, 1e4, -1e-4, -0.7, -8.0, -29.9, -30.1, -300.0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_that_differences_of_equals_would_spoil(name):
    function, exact = FUNCTIONS[name]
    for x in SOME:
        with mp.workdps(40):
            right = mp.diff(exact, mp.mpf(x))
        if not 1e-300 < abs(right) < 1e300 or (name == "log_ndtr" and x > 8):
            continue
        with np.errstate(all="ignore"):
            _, slope = parts(function(lift(np.array([x]), np.ones(1))))
        assert abs(slope[0] / right - 1) < 2e-12 * max(1.0, min(abs(x), 30.0)), (x, slope, right)


def test_what_a_tolerance_in_digits_is_called():
    x = np.random.default_rng(1).standard_normal(6) + 3e4
    report = audit(lambda x: np.mean(x**2) - np.mean(x) ** 2, lambda x: 2.0002 * (x - x.mean()) / 6, x)
    assert report.verdict in NOT_RIGHT and not says(report, "float32"), report
