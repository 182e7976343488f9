"""Kinks of a large argument, of equal numbers in order, and of a fine table."""

import numpy as np
import pytest
from verdicts import audit

from nlicl.audit.functions import differences, directions


@pytest.mark.parametrize("n", [100, 2000])
@pytest.mark.parametrize("zeros", [1, 5])
def test_kinks_that_directions_find_are_judged(n, zeros):
    """The lasso. On its kinks a gradient that forgets the data is outside of both derivatives."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        c, w = rng.standard_normal((2, n))
        w[rng.choice(n, zeros, replace=False)] = 0

        def loss(w, c=c):
            return 0.5 * np.sum((w - c) ** 2) + 0.1 * np.abs(w).sum()

        def right(w, c=c):
            return w - c + 0.1 * np.where(w == 0, -np.clip((w - c) / 0.1, -1, 1), np.sign(w))

        def wrong(w, c=c):
            return np.where(w == 0, 0.0, w - c + 0.1 * np.sign(w))

        assert audit(loss, right, w, seed=seed, mend=0).verdict == "agree"
        assert audit(loss, wrong, w, seed=seed, mend=0).verdict == "disagree"


def test_a_sparse_argument_has_many_kinks(monkeypatch):
    rng = np.random.default_rng(0)
    A, y, w = (
        rng.standard_normal((30, 900)),
        rng.standard_normal(30),
        rng.standard_normal(900) * (rng.random(900) < 0.3),
    )

    def loss(w):
        return 0.5 * np.sum((A @ w - y) ** 2) + 0.3 * abs(w).sum()

    def gradient(w, share=1.0):
        return A.T @ (A @ w - y) + 0.3 * share * np.sign(w)

    assert audit(loss, gradient, w, mend=0).verdict == "agree"
    assert audit(loss, lambda w: gradient(w, 0.9), w, mend=0).verdict == "disagree"
    assert audit(loss, lambda w: gradient(w) * (w != 0), w, mend=0).verdict == "disagree"
    monkeypatch.setattr(directions, "PARTINGS", 400)
    few = audit(loss, gradient, w, mend=0)
    assert few.verdict == "undetermined" and "too many entries of w lie on kinks" in few.reason.replace(" x ", " w ")


def test_of_three_equal_numbers_one_parts_two_pairs():
    """argsort's choice is one of many: it is not wrong for sure."""
    c, x = np.array([1.0, -2.0, 0.5, 3.0]), np.array([1.0, 1.0, 1.0, 5.0])

    def gradient(x):
        return c[np.argsort(np.argsort(x, kind="stable"))]

    found = audit(lambda x: c @ np.sort(x), gradient, x, mend=0)
    assert found.verdict == "undetermined" and "several pieces meet" in found.reason
    assert audit(lambda x: c @ np.sort(x), gradient, x + np.array([0, 0.1, 0.3, 0]), mend=0).verdict == "agree"
    two = audit(
        lambda x: c @ np.sort(x), lambda x: gradient(x) + 9 * np.eye(4)[0], np.array([1.0, 1.0, 2.0, 5.0]), mend=0
    )
    assert two.verdict == "disagree"


@pytest.mark.parametrize("rows", [10, 150])
def test_equal_largest_numbers_share_the_derivative(rows):
    """Each of a pair may have all of it, but not both, of a large argument as well."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        c, x = rng.uniform(0.5, 1.5, rows), rng.standard_normal((rows, 4))
        for row in range(rows // 5):
            x[row, rng.choice(4, 2, replace=False)] = 3.0

        def loss(x, c=c):
            return c @ x.max(1)

        def each(x, c=c):
            return c[:, None] * (x == x.max(1, keepdims=True))

        def shared(x, each=each):
            g = each(x)
            return g / (x == x.max(1, keepdims=True)).sum(1, keepdims=True)

        assert audit(loss, shared, x, seed=seed, mend=0).verdict == "agree"
        assert audit(loss, each, x, seed=seed, mend=0).verdict != "agree"


@pytest.mark.parametrize("knots", [5_000, 20_000, 50_000])
def test_a_table_is_not_the_smooth_function_that_it_was_made_of(knots):
    """Long steps see the smooth one, and the kinks between look like rounding."""
    t = np.linspace(-3, 3, knots)
    f = np.sin(2 * t) + 0.3 * t * t
    for seed in range(4):
        rng = np.random.default_rng(seed)
        c, x = rng.standard_normal(5), rng.uniform(-2, 2, 5)

        def smooth(x, c=c):
            return c * (2 * np.cos(2 * x) + 0.6 * x)

        def table(x, c=c):
            k = np.searchsorted(t, x) - 1
            return c * (f[k + 1] - f[k]) / (t[1] - t[0])

        def loss(x, c=c):
            return float(c @ np.interp(np.asarray(x, float), t, f))

        said = audit(loss, smooth, x, seed=seed, mend=0)
        off = float(np.max(abs(smooth(x) - table(x))) / np.max(abs(table(x))))
        assert said.verdict != "agree" or off <= 3 * said.to_dict()["arguments"][0]["tolerance"]
        assert audit(loss, table, x, seed=seed, mend=0).verdict != "disagree"


def test_short_steps_that_agree_are_believed():
    """A zigzag of small height on a line: its slope near 0 is that of its piece."""

    def zigzag(t):
        return t + 0.05 * (abs((t * 4096 + 0.25) % 1 - 0.5) - 0.25) / 4096

    for noise in (1e-9, 1e-7):  # what its kinks were taken for
        found = differences.estimate(zigzag, zigzag(0.0), noise)
        assert not abs(found.up - 1) <= 3 * found.error or found.error > 0.04
    rng = np.random.default_rng(0)
    for _ in range(50):  # rounding is not
        shake = {}

        def rough(t, shake=shake):
            return np.sin(t) + 1e-10 * shake.setdefault(t, rng.uniform(-1, 1))

        found = differences.estimate(rough, rough(0.0), 1e-10)
        assert abs(found.up - 1) <= 3 * found.error < 1e-6
