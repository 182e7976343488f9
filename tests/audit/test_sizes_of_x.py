"""Entries of x, and arguments, of very different sizes; and zeros that rounding has left."""

import numpy as np
import pytest
from verdicts import audit

from nlicl.audit.functions.points import neighbours, rounded_zeros, unit

ROUNDED = [1e-17, 1.2e-16, 1e-15, -3e-16]


def test_a_zero_but_for_rounding_is_moved_as_a_zero():
    x = np.array([0.4, np.sin(np.pi) / 10, -1.1])
    assert unit(x)[1] == unit(np.where(x == x[1], 0.0, x))[1] > 0.1
    kept = np.array([0.4, 1e-17, 1.1])  # a probability, say
    np.testing.assert_array_equal(unit(kept), kept)
    np.testing.assert_array_equal(rounded_zeros(kept), [False, True, False])
    assert (
        rounded_zeros(np.array(np.sin(np.pi)))
        and not rounded_zeros(np.array(0.0))
        and not rounded_zeros(np.array(1e-9))
    )
    places = [place[0][1] for place, _ in neighbours([kept], lambda place: True, 2, np.random.default_rng(0))]
    assert len(places) == 3 and max(abs(place) for place in places[:2]) < 1e-16 < 1e-3 < abs(places[2])
    assert len(neighbours([np.arange(1.0, 4.0)], lambda place: True, 2, np.random.default_rng(0))) == 2


@pytest.mark.parametrize("kind", ["differences", "complex step"])
@pytest.mark.parametrize("value", ROUNDED)
def test_a_wrong_entry_is_found_where_x_is_rounding(kind, value):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        c, x = rng.standard_normal((2, 6))
        k = rng.integers(6)
        x[k] = value

        def loss(x, c=c):
            if kind == "differences":
                return float(np.sum(np.sin(c * np.asarray(x, float)) + c * np.asarray(x, float)))
            if not isinstance(x, np.ndarray):
                raise TypeError  # no dual numbers, as compiled code takes none
            return np.sum(np.sin(c * x) + c * x)

        def right(x, c=c):
            return c * np.cos(c * x) + c

        def wrong(x, right=right, k=k):
            g = right(x)
            g[k] *= 2
            return g

        found = audit(loss, right, x, seed=seed, mend=0)
        assert found.verdict == "agree" and found.arguments[0].witness == kind
        assert audit(loss, wrong, x, seed=seed, mend=0).verdict == "disagree"


@pytest.mark.parametrize("value", [np.sin(np.pi), 1e-17, -2e-16])
def test_a_number_that_is_rounding_is_left_too(value):
    assert audit(lambda x: x * x + 3 * x, lambda x: 2 * x + 3, float(value), mend=0).verdict == "agree"
    assert audit(lambda x: x * x + 3 * x, lambda x: 3.0, float(value), mend=0).verdict != "agree"
    assert audit(lambda x: x**3 + 3 * x, lambda x: 3 + 2 * x, float(value), mend=0).verdict == "disagree"


def test_probabilities_keep_their_sizes():
    p = np.array([0.7, 0.3, 1e-18])
    found = audit(lambda p: float(np.sum(p * np.log(p))), lambda p: np.log(p) + 1, p, mend=0)
    assert found.verdict != "disagree"
    assert audit(lambda p: np.sum(p * np.log(p)), lambda p: np.log(p) + 1, p, mend=0).verdict == "agree"
    assert audit(lambda p: np.sum(p * np.log(p)), lambda p: np.log(p), p, mend=0).verdict == "disagree"


def test_an_entry_that_differences_cannot_see_is_not_agreed_to():
    """Beside the largest entry it is none that nobody needs."""
    x = np.array([0.4, 1e-18, 1.1])
    loss = lambda x: float(np.sum(np.sin(np.asarray(x, float))))  # noqa: E731
    assert audit(loss, lambda x: np.cos(x) * [1, 2, 1], x, mend=0).verdict != "agree"
    assert audit(loss, np.cos, x, mend=0).verdict != "disagree"


# ---- Second derivatives


@pytest.mark.parametrize("power", [2, 4, 6])
def test_a_block_of_the_hessian_is_not_lost_beside_larger_ones(power):
    s = 10.0**power
    a, b = s * np.array([0.7, 1.3, 0.4]), np.array([1.1, 0.6, 0.9]) / s

    def loss(a, b):
        return np.sum((a * b) ** 2 + np.sin(a / s))

    def gradient(a, b):
        return 2 * a * b * b + np.cos(a / s) / s, 2 * a * a * b

    def product(a, b, v, w, sign=-1):
        return (2 * b * b + sign * np.sin(a / s) / s**2) * v + 4 * a * b * w, 4 * a * b * v + 2 * a * a * w

    def joined(f):
        return lambda x, *v: np.concatenate(f(*np.split(x, 2), *(part for one in v for part in np.split(one, 2))))

    def wrong(a, b, v, w):
        return product(a, b, v, w, 1)

    def whole(x):
        return loss(*np.split(x, 2))

    x = np.concatenate([a, b])
    for hessian, verdict in ((product, "agree"), (wrong, "disagree")):
        assert audit(loss, gradient, (a, b), hessian_vector=hessian, mend=0).hessian.verdict == verdict
        one = audit(whole, joined(gradient), x, hessian_vector=joined(hessian), mend=0)
        assert one.hessian.verdict == verdict


@pytest.mark.parametrize("n", [5, 3000])
def test_every_entry_of_a_diagonal_is_seen(n):
    rng = np.random.default_rng(0)
    x, k = rng.standard_normal(n), rng.integers(n)

    def hessian(x, factor=1.0):
        return 12 * x * x * np.where(np.arange(n) == k, factor, 1.0)

    def loss(x):
        return np.sum(x**4)

    right = audit(loss, lambda x: 4 * x**3, x, hessian=hessian, mend=0)
    assert right.verdict == "agree" and right.hessian.verdict == "agree"
    wrong = audit(loss, lambda x: 4 * x**3, x, hessian=lambda x: hessian(x, 2.0), mend=0)
    assert wrong.hessian.verdict == "disagree" and wrong.hessian.worst["index"] == [k]
    assert "2 times" not in wrong.reason  # it is one entry, not all


@pytest.mark.parametrize(("n", "verdict"), [(6, "agree"), (1500, "undetermined")])
def test_a_diagonal_of_a_hessian_that_has_more(n, verdict):
    """One product shows nothing then, and each entry takes one of its own."""
    u = np.random.default_rng(0).standard_normal(n)
    x = np.random.default_rng(1).standard_normal(n)

    def loss(x):
        return np.sum(x**4) + (u @ x) ** 2

    def gradient(x):
        return 4 * x**3 + 2 * (u @ x) * u

    found = audit(loss, gradient, x, hessian=lambda x: 12 * x * x + 2 * u * u, mend=0).hessian
    assert found.verdict == verdict
    assert verdict == "agree" or "1000 of 1500" in found.reason
    assert audit(loss, gradient, x, hessian=lambda x: 12 * x * x, mend=0).hessian.verdict == "disagree"


def test_small_entries_of_a_diagonal_are_seen_beside_large_ones():
    x = np.array([1e-8, 1.0, 30.0])
    wrong = audit(lambda x: np.sum(x**4), lambda x: 4 * x**3, x, hessian=lambda x: 12 * x * x * [2, 1, 1], mend=0)
    assert wrong.hessian.verdict == "disagree" and wrong.hessian.worst["index"] == [0]
    assert (
        audit(lambda x: np.sum(x**4), lambda x: 4 * x**3, x, hessian=lambda x: 12 * x * x, mend=0).hessian.verdict
        == "agree"
    )
