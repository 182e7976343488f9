"""Derivatives from values alone: right to the error that they promise, on every scale, with noise, and beside kinks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlicl.audit.functions.differences import estimate, noise

rng = np.random.default_rng(0)
DATA = rng.standard_normal(10_000)
SMOOTH = {  # name -> (f, x, size of a step, f'(x))
    "sine": (np.sin, 0.3, 0.3, np.cos(0.3)),
    "a period of many steps": (lambda t: np.sin(2 * np.pi * t), 2024.1, 2024.1, 2 * np.pi * np.cos(0.2 * np.pi)),
    "fast": (lambda x: np.sin(1e4 * x), 0.1, 0.1, 1e4 * np.cos(1e3)),
    "exponential": (np.exp, 30.0, 30.0, np.exp(30.0)),
    "tiny argument": (np.log, 1e-12, 1e-12, 1e12),
    "edge of the domain": (lambda x: np.log(x) if x > 0 else np.nan, 1e-6, 1.0, 1e6),
    "raises off the domain": (lambda x: 1 / (x > 0.9) * x**2, 1.0, 1.0, 2.0),
    "large constant": (lambda x: x * x + 1e8, 1.0, 1.0, 2.0),
    "linear": (lambda x: 3 * x - 7, 0.5, 0.5, 3.0),
    "constant": (lambda x: 7.0, 0.5, 0.5, 0.0),
    "mean of many absolute values": (lambda x: np.abs(x - DATA).mean(), 0.1, 0.1, np.mean(np.sign(0.1 - DATA))),
    "kink near by": (lambda x: max(x, 0.0), 1e-3, 1.0, 1.0),
    "rounded to 12 digits": (lambda x: round(float(np.sin(x)), 12), 0.3, 0.3, np.cos(0.3)),
    "float32": (lambda x: float(np.sin(np.float32(x)) + np.float32(3)), 0.3, 0.3, np.cos(0.3)),
    "float32 in one term": (lambda x: np.sin(x) + float(np.float32(x) ** 2), 0.3, 0.3, np.cos(0.3) + 0.6),
}


def derived(f, x, size):
    """(estimate of f'(x), its error)."""
    with np.errstate(all="ignore"):
        moved = lambda t: f(x + t * size)  # noqa: E731
        base = float(f(x))
        found = estimate(moved, base, noise(moved, base))
    return found.up / size, found.down / size, found.error / size


@pytest.mark.parametrize("name", SMOOTH)
def test_the_error_is_as_promised(name):
    f, x, size, right = SMOOTH[name]
    up, down, error = derived(f, x, size)
    assert up == down and abs(up - right) <= 3 * error, (up, right, error)
    coarse = 1e-3 if "float32" in name else 1e-6
    assert error <= coarse * max(abs(right), 1.0), error


@given(
    x=st.floats(-3, 3),
    size=st.floats(-8, 8).map(lambda e: 10.0**e),
    degree=st.integers(1, 7),
    height=st.floats(-20, 20).map(lambda e: 10.0**e),
)
@settings(max_examples=150, deadline=None)
def test_polynomials_on_any_scale(x, size, degree, height):
    """f(x) = height (x + size)^degree / size^degree near x size: units change nothing."""
    f = lambda t: height * (1.5 + t) ** degree + height * np.sin(x + t)  # noqa: E731
    found = estimate(f, f(0.0), noise(f, f(0.0)))
    right = height * degree * 1.5 ** (degree - 1) + height * np.cos(x)
    assert found.up == found.down
    assert abs(found.up - right) <= 3 * found.error
    assert found.error <= 1e-8 * height * degree * 1.5**degree


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_a_kink_has_two_sides(scale):
    up, down, _ = derived(lambda x: scale * (abs(x) + np.sin(x)), 0.0, 1.0)
    assert up == pytest.approx(2 * scale, rel=1e-7) and down == pytest.approx(0.0, abs=1e-7 * scale)
    up, down, _ = derived(lambda x: scale * np.exp(max(x, 0.0)), 0.0, 1.0)
    assert up == pytest.approx(scale, rel=1e-6) and down == pytest.approx(0.0, abs=1e-6 * scale)


def test_no_value_no_derivative():
    found = estimate(lambda t: np.nan, 1.0, 1e-16)
    assert np.isnan(found.up) and found.error == np.inf


NOISES = {
    "rounding": (lambda x: 1 + x, 1e-17, 1e-15),
    "added": (lambda x: x**2 + 1e-9 * rng.standard_normal(), 2e-10, 5e-9),
    "float32": (lambda x: float(np.float32(1 + np.sin(x))), 1e-8, 2e-7),
    "float32 in one term": (lambda x: np.sin(x) + float(np.float32(1 + x)), 1e-8, 2e-7),
    "rounded to 6 digits": (lambda x: round(float(np.sin(x)), 6), 1e-7, 2e-6),
    "fast and smooth": (lambda x: np.sin(3e3 * x), 1e-18, 1e-11),
}


@pytest.mark.parametrize("name", NOISES)
def test_noise_is_measured(name):
    f, least, most = NOISES[name]
    moved = lambda t: f(0.7 * (1 + t))  # noqa: E731
    assert least <= noise(moved, moved(0.0)) <= most, noise(moved, moved(0.0))


STAIRS = {  # name -> (f, x, the slope that is meant)
    "of float16": (lambda x: np.exp(float(np.float16(x))), 0.7, np.exp(0.7)),
    "of an argument with three digits": (lambda x: np.sin(round(x, 3)), 0.3, np.cos(0.3)),
    "with three digits": (lambda x: round(float(np.sin(x)), 3), 0.3, np.cos(0.3)),
    "of a quantised weight": (lambda x: (np.floor(128 * x) / 128) ** 2, 0.6, 1.2),
    "of float16, small": (lambda x: 1e-9 * float(np.float16(x)) ** 2, 0.7, 1.4e-9),
}


@pytest.mark.parametrize("name", STAIRS)
def test_stairs_that_no_measured_noise_shows(name):
    """Noise is measured along all arguments together, where smooth terms hide stairs. Their slope is told with an error."""
    f, x, right = STAIRS[name]
    found = estimate(lambda t: f(x + t * x), f(x), 0.0)
    assert found.up == found.down and abs(found.up / x - right) <= 3 * found.error / x, found
    assert 1e-3 * abs(right) < found.error / x < 3 * abs(right), found


@pytest.mark.parametrize("x", [-0.8, -0.3, -0.001])
def test_what_is_flat_without_stairs_has_no_slope(x):
    for f in (lambda t: max(t, 0.0), lambda t: max(t, 0.0) ** 2 + 5.0, lambda t: float(t > 0.0), lambda t: 3.0):
        found = estimate(lambda t: f(x + t), f(x), 0.0)  # noqa: B023
        assert found.up == found.down == 0 and found.error < 1e-6, found


def test_a_fast_wave_of_small_height_is_not_overlooked():
    """Long steps see the parabola alone."""
    x = 1e6
    up, down, error = derived(lambda t: 0.2 * t**2 + np.sin(1.3 * t), x, x)
    right = 0.4 * x + 1.3 * np.cos(1.3 * x)
    assert up == down and abs(up - right) <= 3 * error and error < 1.3 * abs(np.cos(1.3 * x))
