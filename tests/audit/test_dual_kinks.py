"""Dual numbers at kinks: the one-sided derivative along the direction, and what the record says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nlicl.audit.dual import lift, parts, recording

TARGET = np.array([1.0, 0.0, 2.0, 1.0, -1.0])


def python_if(x):
    return sum((3 * a if a > 0 else -a if a < -1 else 2 * a) for a in x)


def filled(x):
    u = np.zeros_like(x)
    for n in range(len(x)):
        u[n] = max(x[n], x[n - 1]) if x[n] != 0 else 5 * x[n]
    return u


def masked(x):
    w = x.copy()
    w[w < 0] = 0
    w[w >= 1] *= 2
    return w


PIECEWISE_LINEAR = {
    "abs": np.abs,
    "fabs": np.fabs,
    "relu": lambda x: np.maximum(x, 0),
    "relu by mask": lambda x: x * (x > 0),
    "relu by where": lambda x: np.where(x > 0, x, 0.1 * x),
    "hinge": lambda x: np.maximum(0, 1 - x).sum(),
    "minimum": lambda x: np.minimum(x, TARGET),
    "fmax": lambda x: np.fmax(x, x[::-1]),
    "fmin": lambda x: np.fmin(x, TARGET),
    "quantile loss": lambda x: np.maximum(0.3 * (x - TARGET), -0.7 * (x - TARGET)),
    "max": np.max,
    "min": np.min,
    "max of rows": lambda x: np.max(np.outer([1.0, -1], x), axis=1),
    "ptp": np.ptp,
    "argmax": lambda x: 2 * x[np.argmax(x)],
    "argmin": lambda x: 2 * x[np.argmin(x)] + x[0],
    "sort": np.sort,
    "argsort": lambda x: np.arange(5) @ x[np.argsort(x)],
    "partition": lambda x: np.partition(x, 2)[2],
    "median": np.median,
    "quantile": lambda x: np.quantile(x, [0.1, 0.5, 0.8]),
    "clip": lambda x: np.clip(x, -1, 1),
    "clip method": lambda x: x.clip(0, 1),
    "norm 1": lambda x: np.linalg.norm(x, 1),
    "norm inf": lambda x: np.linalg.norm(x, np.inf),
    "norm -inf": lambda x: np.linalg.norm(x, -np.inf),
    "sign": lambda x: x * np.sign(x),
    "signbit": lambda x: np.where(np.signbit(x + 0.0), -x, 2 * x),
    "copysign": lambda x: np.copysign(x, TARGET) + np.copysign(1.0, TARGET[2] + x) * x,
    "heaviside": lambda x: np.heaviside(x, 0.5) * x,
    "python if": python_if,
    "python max": lambda x: max(x) + min(x),
    "python sorted": lambda x: sorted(x)[1],
    "python abs": lambda x: abs(x[0] - x[1]),
    "filled": filled,
    "masked": masked,
    "select": lambda x: np.select([x > 1, x > 0], [3 * x - 2, x], -x),
    "piecewise": lambda x: np.piecewise(x, [x < 0, x >= 0], [lambda t: -t, lambda t: 2 * t]),
    "cummax": np.maximum.accumulate,
    "maximum.reduce": lambda x: np.maximum.reduce(x),
    "maximum.outer": lambda x: np.maximum.outer(x, x),
    "any": lambda x: x.sum() if np.any(x > 1) else -x.sum(),
    "nonzero": lambda x: 2 * x[np.nonzero(x)].sum() if x.any() else x.sum(),
    "equality": lambda x: np.where(x == TARGET, 7 * (x - TARGET), x - TARGET),
    "ramp": lambda x: np.interp(x, [-1.0, 0, 1, 2], [0.0, 1, 0, 5]),
    "floor": lambda x: np.floor(x) + x,
    "ceil": lambda x: np.ceil(x),
    "trunc": lambda x: np.trunc(x),
    "remainder": lambda x: np.remainder(x, 2.0),
    "remainder by a number that moves": lambda x: np.remainder(TARGET, x + 4),
    "copysign of plain zeros": lambda x: np.copysign(x, np.array([0.0, -0.0, 1, -1, 0])),
    "norm 0": lambda x: np.linalg.norm(x, 0) * 1.0 + x[0],
    "remainder of a negative": lambda x: x % -2.0,
    "nan_to_num": lambda x: np.nan_to_num(np.maximum(x, 0)),
    "searchsorted": lambda x: np.searchsorted(np.array([-1.0, 0, 1]), x) * 1.0 + x,
    "searchsorted right": lambda x: np.searchsorted(np.array([-1.0, 0, 1]), x, side="right") * 1.0 + x,
    "bool": lambda x: 3 * x[0] if x[0] else x[0],
    "object array": lambda x: np.maximum(np.array(x), 0).sum() + np.abs(np.asarray(x)).sum(),
}  # fmt: skip
small = st.integers(-2, 2).map(float)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(arrays(float, 5, elements=small), arrays(float, 5, elements=small))
@pytest.mark.parametrize("name", PIECEWISE_LINEAR)
def test_one_sided_derivative(name, x, v):
    """x + tv is exact, and the function linear, for small t > 0. A jump shows in the value: that of x + tv, t -> 0."""
    f, t = PIECEWISE_LINEAR[name], 2.0**-20
    value, tangent = parts(f(lift(x, v)))
    near, further = np.asarray(f(x + t * v), float), np.asarray(f(x + 2 * t * v), float)
    slope = (further - near) / t
    np.testing.assert_allclose(np.zeros_like(slope) if tangent is None else tangent, slope, atol=1e-9)
    np.testing.assert_allclose(value, near - t * slope, atol=1e-9)


def test_norms_and_spread_at_zero():
    v = np.array([3.0, -4.0])
    for f in (np.linalg.norm, lambda x: np.linalg.norm(x[None], axis=1)[0], lambda x: np.hypot(x[0], x[1])):
        assert parts(f(lift(np.zeros(2), v)))[1] == 5
    assert np.isclose(parts(np.linalg.norm(lift(np.zeros(2), v), 3))[1], np.linalg.norm(v, 3))
    assert parts(np.linalg.norm(lift(np.zeros((2, 1)), v[:, None])))[1] == 5
    assert parts(np.std(lift(np.ones(2), v)))[1] == 3.5


def test_sign_at_zero_is_that_of_the_tangent():
    value, tangent = parts(np.sign(lift(np.zeros(3), np.array([2.0, -1.0, 0.0]))))
    assert value.tolist() == [1, -1, 0] and not tangent.any()


def test_order_of_equal_values_is_that_of_the_tangents():
    a, b = lift(np.ones(3), np.array([1.0, 0, -1])), np.ones(3)
    assert (a > b).tolist() == [True, False, False]
    assert (a >= b).tolist() == [True, True, False]
    assert (b < a).tolist() == [True, False, False]
    assert (a == b).tolist() == [False, True, False]
    assert (a != b).tolist() == [True, False, True]
    assert np.greater(b, a).tolist() == [False, False, True]
    assert (a == None) is False and (a != "a") is True  # noqa: E711


def test_nan_is_in_no_order():
    a = lift(np.array([np.nan]), np.ones(1))
    assert not any(f(a, 0.0)[0] for f in (np.greater, np.less, np.equal, np.greater_equal, np.less_equal))
    assert np.isnan(parts(np.maximum(a, 0))[0]) and np.isnan(parts(np.max(a))[0])
    assert parts(np.fmax(a, 0.0))[0] == 0 and np.isnan(a)[0]


def test_the_record_counts_ties_and_knows_the_nearest_kink():
    x = lift(np.array([0.0, 0.5, -1.0, 3.0]), np.array([1.0, -2.0, 0.5, 1.0]))
    with recording() as record:
        np.maximum(x, 0)
    assert (record.ties, record.crossing, record.scalars) == (1, 0.25, 0)
    for f in (
        np.abs,
        np.sign,
        lambda x: x > 0,
        lambda x: x <= 0,
        lambda x: np.clip(x, 0, 9),
        lambda x: np.where(x, 1, 2),
    ):
        with recording() as record:
            f(x)
        assert (record.ties, record.crossing) == (1, 0.25)
    with recording() as record:
        max(x[1], x[3])
        assert record.scalars == 1 and record.crossing == np.inf
        if x[1]:
            pass
    assert record.scalars == 2 and record.crossing == 0.25
    with recording() as record:
        np.max(x)
    assert record.crossing == np.inf
    with recording() as record:
        np.sort(-x)
    assert np.isclose(record.crossing, 0.5 / 3)  # of 0 and 0.5, which come together at the rate of 3
    y = lift(np.array([1.0, 1.0, 2.0, 4.0, 4.0]), np.array([0.0, 1.0, 2.0, 1.0, 0.0]))
    for f in (np.median, lambda y: np.partition(y, 2), lambda y: np.argpartition(y, 2), lambda y: np.quantile(y, 0.5)):
        with recording() as record:
            f(y)
        assert (record.ties, record.crossing) == (0, 1.0)  # 2 meets 4 - where it is; ties aside do not matter
    with recording() as record:
        np.sort(y)
    assert record.ties == 2
    with recording() as record:
        np.linalg.norm(lift(np.zeros(2), np.ones(2)))
    assert record.ties == 1
    with recording() as record:
        x * 2 + np.exp(x)
    assert (record.ties, record.crossing, record.scalars) == (0, np.inf, 0)


@pytest.mark.parametrize("f", [np.floor, np.ceil, np.trunc, lambda x: x % 1, lambda x: np.remainder(x, 1.0)])
def test_the_record_knows_the_next_whole_number(f):
    for x, v, step in (
        (2.75, 1.0, 0.25),
        (2.75, -1.0, 0.75),
        (5.5, 2.0, 0.25),
        (-1.25, 1.0, 0.25),
        (-1.25, -1.0, 0.75),
    ):
        with recording() as record:
            f(lift(np.array([x]), np.array([v])))
        assert record.crossing == step


def test_records_nest_and_end():
    x = lift(np.zeros(1), np.ones(1))
    with recording() as outer:
        with recording() as inner:
            np.abs(x)
        np.abs(x)
    np.abs(x)
    assert (inner.ties, outer.ties) == (1, 1)


def test_the_record_lists_what_was_written_into():
    x, y = lift(np.zeros(3), np.ones(3)), lift(np.zeros(3), np.ones(3))
    with recording() as record:
        x[1:].reshape(2, 1)[...] = 1
        x[0] += 2.0
        y * 2
    assert len(record.changed) == 1 and record.changed[0] is parts(x)[0]
