"""The kernel of Adam's and AdamW's update: against the algorithms in NumPy, block by block, and against its own source."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlicl.kernels import adam
from nlicl.kernels.compile import source
from nlicl.training import Adam, AdamW
from nlicl.training.optimizers import OptimizerState

DTYPES = [np.float32, np.float64]
dtypes = st.sampled_from(DTYPES)


def drawn(n, seed, dtype, scale=1.0):
    """theta, m, v, g: v is a mean of squares, and g is as large as `scale` says."""
    rng = np.random.default_rng(seed)
    theta, m, v, g = rng.standard_normal((4, n))
    return [array.astype(dtype) for array in (theta, scale * m, (scale * v) ** 2, scale * g)]


def in_numpy(theta, m, v, g, eta, t, decay, decoupled, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """The papers' algorithms, an array at a time."""
    if not decoupled:
        g = g + decay * theta
    m = beta_1 * m + (1 - beta_1) * g
    v = beta_2 * v + (1 - beta_2) * (g * g)
    direction = (m / (1 - beta_1**t)) / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
    return theta - eta * (direction + decay * theta if decoupled else direction), m, v


def updated(kind, theta, m, v, g, eta, t, decay, **settings):
    state = OptimizerState(t - 1, {"m": {"W": m}, "v": {"W": v}})
    new, after = kind(**settings).update({"W": theta}, {"W": g}, state, eta, decay)
    return new["W"], after.moments["m"]["W"], after.moments["v"]["W"]


@given(
    st.integers(1, 1200), st.integers(0, 2**32 - 1), dtypes, st.sampled_from([Adam, AdamW]), st.sampled_from([0.0, 0.3]),
    st.integers(1, 500), st.sampled_from([1e-3, 1.0, 1e3]),
)  # fmt: skip
def test_it_is_the_algorithm_in_numpy(n, seed, dtype, kind, decay, t, scale):
    """Sizes below, at and above the chunks that it takes. The moments to two roundings, theta to what these make of it."""
    theta, m, v, g = drawn(n, seed, dtype, scale)
    got = updated(kind, theta, m, v, g, 0.01, t, decay)
    want = in_numpy(theta, m, v, g, 0.01, t, decay, kind is AdamW)
    eps = np.finfo(dtype).eps
    gradient = abs(g) + (decay * abs(theta) if kind is Adam else 0)
    for one, other, size in zip(got, want, (None, 0.9 * abs(m) + 0.1 * gradient, v + gradient**2), strict=True):
        assert one.dtype == dtype and one.shape == (n,)
        if size is not None:
            assert (abs(one - other) <= 2 * eps * size).all()
    moved = abs(want[0] - theta) + 0.01 * decay * abs(theta)
    spread = 0.01 * (0.9 * abs(m) + 0.1 * gradient) / (1 - 0.9**t) / np.sqrt(want[2] / (1 - 0.999**t))
    assert (abs(got[0] - want[0]) <= eps * abs(theta) + 8 * eps * (moved + spread)).all()


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", DTYPES)
def test_compiled_code_is_its_source(dtype):
    before = drawn(1100, 3, dtype)
    for numbers in (
        (0.01, 0.3, 0.0, 0.9, 0.1, 0.4, 0.99, 0.01, 0.2, 1e-8),
        (0.1, 0.0, 0.2, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0),
    ):
        scalars = [dtype(x) for x in numbers]
        got, want = np.empty((3, 1100), dtype), np.empty((3, 1100), dtype)
        adam.update(*got, *before, *scalars)
        source(adam.update)(*want, *before, *scalars)
        np.testing.assert_allclose(got, want, rtol=8 * np.finfo(dtype).eps, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_nan_passes_and_stays_where_it_is(kind, dtype):
    theta, m, v, g = drawn(700, 4, dtype)
    clean = updated(kind, theta, m, v, g, 0.01, 2, 0.1)
    for bad in (np.nan, np.inf, -np.inf):
        broken = g.copy()
        broken[[0, 511, 512, 699]] = bad
        got = updated(kind, theta, m, v, broken, 0.01, 2, 0.1)
        for one, other in zip(got, clean, strict=True):
            assert not np.isfinite(one[[0, 511, 512, 699]]).any()
            np.testing.assert_array_equal(np.delete(one, [0, 511, 512, 699]), np.delete(other, [0, 511, 512, 699]))
        assert np.isnan(got[0][[0, 511, 512, 699]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_epsilon_0_by_0_is_nan(dtype):
    zero = np.zeros(5, dtype)
    new, m, v = updated(Adam, zero + 1, zero, zero, zero, 0.1, 1, 0.0, epsilon=0.0)
    assert np.isnan(new).all() and not m.any() and not v.any()
    new, *_ = updated(Adam, zero + 1, zero, zero, zero, 0.1, 1, 0.0)
    np.testing.assert_array_equal(new, 1)


def test_the_order_in_memory_does_not_matter():
    """Blocks come as they are: transposed, read-only, of several axes, a slice of another."""
    theta, m, v, g = (array.reshape(6, 8) for array in drawn(48, 5, np.float64))
    want = updated(Adam, theta, m, v, g, 0.01, 3, 0.1)
    wide = np.zeros((6, 16))
    wide[:, ::2] = theta
    kept = g.copy()
    kept.flags.writeable = False
    got = updated(Adam, wide[:, ::2], np.asfortranarray(m), v, kept, 0.01, 3, 0.1)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.longdouble, complex])
def test_other_dtypes_are_refused(dtype):
    one = np.ones(3, dtype)
    with pytest.raises(TypeError, match=r"params\['W'\] has dtype .*; expected float32 or float64, as in a run"):
        updated(Adam, one, one, one, one, 0.1, 1, 0.0)
