"""Losses: the compiled scalar functions against their twins, their own slopes, and the edges of their domains."""

import math

import naive
import numpy as np
import pytest
from draws import LOSSES, losses
from hypothesis import assume, given
from hypothesis import strategies as st

from nlicl.kernels.layers.loss import HINGE, LOGISTIC, NAMES, slope, value

labels = st.sampled_from([-1.0, 1.0])
scores = st.floats(-30, 30)
dtypes = st.sampled_from([np.float32, np.float64, np.complex128])


@given(losses, scores, labels, dtypes)
def test_value_and_slope_are_their_definitions(loss, F, z, dtype):
    """The twin's log(1 + exp(-zF)) rounds 1 + exp(-zF), hence an absolute tolerance of a few eps."""
    F = dtype(F)
    got, want = value(NAMES[loss], F, dtype(z)), naive.loss(loss, F.item(), z)
    eps = np.finfo(dtype).eps
    assert abs(got - want) <= 4 * eps * max(1, abs(want))
    assert abs(slope(NAMES[loss], F, dtype(z)) - naive.slope(loss, F.item(), z)) <= 8 * eps * max(1, abs(F))


@given(losses, scores, labels)
def test_slope_is_the_derivative(loss, F, z):
    """Complex step: no difference is taken, so only rounding is left."""
    assume(loss != "hinge" or abs(1 - z * F) > 1e-12)
    h = 1e-100
    witness = value(NAMES[loss], F + 1j * h, complex(z)).imag / h
    assert math.isclose(slope(NAMES[loss], F, z), witness, rel_tol=1e-14, abs_tol=1e-16)


@given(losses, scores, labels)
def test_a_loss_of_class_labels_sees_only_zF(loss, F, z):
    assert value(NAMES[loss], F, z) == value(NAMES[loss], z * F, 1.0)
    assert slope(NAMES[loss], F, z) == z * slope(NAMES[loss], z * F, 1.0)


@given(losses, st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), labels)
def test_losses_are_convex(loss, F, G, z):
    """A convex function lies above its tangents: L(G) >= L(F) + L'(F) (G - F); at the hinge's kink as well."""
    kind = NAMES[loss]
    tangent = value(kind, F, z) + slope(kind, F, z) * (G - F)
    assert value(kind, G, z) >= tangent - 1e-15 * (1 + abs(F) + abs(G)) ** 2


def test_squared_loss_takes_any_label():
    assert value(NAMES["squared"], 2.0, -3.5) == 15.125
    assert slope(NAMES["squared"], 2.0, -3.5) == 5.5


@pytest.mark.parametrize("z", [-1.0, 1.0])
def test_hinge_at_and_around_its_kink(z):
    below, above = np.nextafter(1.0, 0.0), np.nextafter(1.0, 2.0)
    assert value(HINGE, z * below, z) == 1 - below and slope(HINGE, z * below, z) == -z
    assert value(HINGE, z, z) == 0 and slope(HINGE, z, z) == 0
    assert value(HINGE, z * above, z) == 0 and slope(HINGE, z * above, z) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logistic_at_large_scores(dtype):
    """No overflow on either side: |zF| - or 0 - is reached exactly, and so is the slope."""
    for t in [1e3, 1e6, 1e30, np.finfo(dtype).max]:
        t = dtype(t)
        with np.errstate(over="ignore"):  # exp(1e30) is infinite, on purpose: only interpreted code would warn
            assert value(LOGISTIC, -t, dtype(1)) == t and slope(LOGISTIC, -t, dtype(1)) == -1
            assert value(LOGISTIC, t, dtype(1)) == 0 and slope(LOGISTIC, t, dtype(1)) == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_nan_scores_give_nan_losses(loss):
    assert np.isnan(value(NAMES[loss], np.nan, 1.0))


@pytest.mark.parametrize("loss", LOSSES)
def test_real_scores_have_real_losses_and_complex_ones_keep_their_derivative(loss):
    for F in (-2.0, 0.0, 2.0):
        for function in (value, slope):
            real, carrier = function(NAMES[loss], F, 1.0), function(NAMES[loss], F + 1e-100j, 1 + 0j)
            assert np.isrealobj(real) and np.iscomplexobj(carrier)
            assert carrier.real == pytest.approx(real, rel=1e-15)
