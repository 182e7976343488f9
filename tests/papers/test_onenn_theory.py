"""Laws, closed forms and bounds of Li et al. 2024: tables, quadratures, sampled cosines; where printed bounds fail."""

import math
from itertools import product

import numpy as np
import pytest

from nlicl.papers.onenn2024 import theory
from nlicl.papers.onenn2024.population import accuracy, exact, flow, moments, sampled

TABLE = {  # (N, d): A, m
    (2, 5): (0.231776616672, 0.257142857143),
    (3, 5): (0.347664925008, 0.385714285714),
    (4, 5): (0.436462459967, 0.465734265734),
    (4, 4): (0.399343908246, 0.520837974022),
    (16, 8): (1.12040674614, 0.599567077896),
    (32, 8): (1.48008488, 0.679286815991),
    (64, 8): (1.91080086, 0.741996729070),
    (16, 16): (1.44895048, 0.433508094547),
    (64, 16): (2.14659650, 0.556181896255),
}


@pytest.mark.parametrize(("N", "d"), TABLE)
def test_constants_of_the_table(N, d):
    A, m = TABLE[N, d]
    assert theory.loss_constant(N, d) == pytest.approx(A, abs=6e-9)
    assert theory.nearest_mean(N, d) == pytest.approx(m, abs=1e-12)


def test_gaps_at_zero_are_rational_where_the_density_is_a_polynomial():
    for N, expected in ((2, 6 / 5), (3, 9 / 5), (4, 2.25974026)):
        assert theory.loss_constant(N, 5) / (math.log(2) - 0.5) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("d", [3, 4, 5, 8, 40])
def test_densities_are_densities(d):
    t = np.cos(np.linspace(0, np.pi, 20_001))[::-1]
    f = theory.density(t, d)
    assert np.trapezoid(f, t) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(
        theory.distribution(t, d)[::1000],
        [np.trapezoid(f[: i + 1], t[: i + 1]) for i in range(0, 20_001, 1000)],
        atol=1e-6,
    )
    assert theory.printed_density_constant(d) / theory.density_constant(d) == 2  # Lemma 16 prints twice the density
    for N in (1, 7):
        g = theory.gap_density(1 - t, N, d)
        assert np.trapezoid(g, t) == pytest.approx(1, abs=1e-6)
        assert np.trapezoid(g * t, t) == pytest.approx(theory.nearest_mean(N, d), abs=1e-6)
    r = np.linspace(0.1, 1.9, 7)
    slope = (theory.gap_survival(r - 1e-6, 7, d) - theory.gap_survival(r + 1e-6, 7, d)) / 2e-6
    np.testing.assert_allclose(slope, theory.gap_density(r, 7, d), rtol=1e-5, atol=1e-8)


def test_sampled_gaps_follow_their_density():
    gaps = 1 - sampled(16, 8, 20_000, 2).cosines[:, 0]
    for r in (0.2, 0.4, 0.6):
        chance = float(theory.gap_survival(r, 16, 8))
        assert np.mean(gaps > r) == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 20_000))


def test_the_nearest_of_many_and_of_high_dimension():
    assert theory.nearest_mean(1, 8) == pytest.approx(0, abs=1e-14)
    assert 0.98 < theory.nearest_mean(10**6, 8) < 1
    assert theory.nearest_mean(2, 10**6) == pytest.approx(1 / math.sqrt(math.pi * 10**6), rel=1e-3)


@pytest.mark.parametrize(("N", "d", "sigma"), [(2, 5, 0.0), (3, 5, 3.0), (4, 3, 1.5)])
def test_closed_forms_at_the_start_are_those_of_the_quadrature(N, d, sigma):
    np.testing.assert_allclose(theory.at_zero(N, d, sigma), moments(0, sigma, exact(N, d, 16)), rtol=1e-12)


def test_the_start_of_the_usual_problem():
    found = theory.at_zero(16, 8, 3)
    np.testing.assert_allclose(found, (0.468750300708, -0.037356100283, -5.995498291e-7), rtol=1e-9)


@pytest.mark.parametrize(("N", "K"), [(1, 5), (2, 2), (5, 2), (5, 3), (4, 4)])
def test_the_accuracy_at_the_start_is_the_share_of_the_commonest_label(N, K):
    every = [max(np.bincount(labels, minlength=K)) / N for labels in product(range(K), repeat=N)]
    assert theory.start_accuracy(N, K) == pytest.approx(np.mean(every), rel=1e-12)
    source = sampled(N, 4, 20_000, 7)
    assert accuracy(0.0, source, K, seed=1) == pytest.approx(np.mean(every), abs=0.02)


# ---------------------------------------------------------------- the long run


def test_the_loss_of_large_xi_is_a_over_xi_1():
    source, A = exact(2, 5, 200), theory.loss_constant(2, 5)
    found = moments(60, 1e3, source)  # no weight on the query
    assert 60 * found.loss == pytest.approx(A, rel=0.03)
    assert -(60**2) * found.partial_1 == pytest.approx(A, rel=0.05)
    far = moments(60, 48, source)  # rho = 0.8
    assert far.loss - found.loss == pytest.approx(float(theory.gap_survival(0.8, 2, 5)) / 2, rel=0.05)
    assert -far.partial_2 == pytest.approx(float(theory.gap_density(0.8, 2, 5)) / 120, rel=0.05)


def test_predicted_ratios():
    found = [theory.ratio(xi1, 16, 8) for xi1 in (157.5, 1e4, 1e6, 1e9)]
    np.testing.assert_allclose(found, [0.962, 1.087, 1.197, 1.326], atol=6e-4)
    assert theory.ratio(1e30, 16, 8) < 2
    for xi1 in (20.0, 1e3):
        rho, A = theory.ratio(xi1, 16, 8), theory.loss_constant(16, 8)
        assert theory.gap_density(rho, 16, 8) == pytest.approx(2 * rho * A / ((8 + rho**2) * xi1), rel=1e-6)


def test_growth_and_crossing_are_those_of_the_flow():
    """Large sigma: xi1 grows like the cube root of time, and comes to 7/15 of xi2 under Lemma 12's own condition."""
    N, d, sigma = 2, 5, 28.0
    assert sigma > theory.sigma_conditions(N, d)["Lemma 12: 3 log(2 N^4 d/a)"]
    predicted = theory.crossing_time(N, d, sigma)
    run = flow(exact(N, d, 64), sigma, [predicted / 1.1, predicted, 1.1 * predicted], tolerance=1e-7)
    share = run.xi1 / run.xi2
    assert share[0] < theory.LIMIT < share[-1]
    np.testing.assert_allclose(run.xi1, theory.slow_growth(run.tau, N, d), rtol=0.03)
    assert theory.slow_growth(0, 16, 8) == 0
    assert theory.slow_growth(1e6, 16, 8, 0.928) == pytest.approx(72.39, abs=0.4)


# ---------------------------------------------------------------- printed conditions and bounds


def test_conditions_of_sigma():
    small, usual = theory.sigma_conditions(3, 5), theory.sigma_conditions(16, 8)
    assert list(small.values())[2] == pytest.approx(27.88, abs=0.01)
    np.testing.assert_allclose(list(usual.values()), [9.704, 1.940, 46.995], atol=1e-3)
    assert theory.a(16, 8) == pytest.approx((32 * math.sqrt(8)) ** -0.4)


def test_the_two_forms_of_lemma_18():
    r = (2 * 16 * theory.printed_density_constant(8)) ** (-2 / 5)
    assert theory.gap_survival(r, 16, 8) == pytest.approx(0.939, abs=1e-3)
    assert theory.gap_survival(theory.a(16, 8), 16, 8) == pytest.approx(0.960, abs=1e-3)


def test_where_printed_bounds_fail():
    source = exact(2, 5, 96)

    def excess(xi1, xi2):
        return -moments(xi1, xi2, source).partial_1 / 5 - theory.lemma_9(xi1, xi2, 2, 5)

    assert excess(19.7, 15 / 7 * 19.7) < 0 < excess(20.0, 15 / 7 * 20.0)  # Lemma 9, from 19.9
    assert excess(32, 3) > 0  # it asks for a fall there
    assert -moments(8, 12, source).partial_1 < theory.lemma_10(8, 12)
    assert moments(8, 12, source).partial_1 == pytest.approx(0.00581, abs=2e-5)
    assert theory.lemma_10(8, 12) == pytest.approx(-0.00067, abs=1e-5)
    assert -moments(32, 3, source).partial_2 < theory.lemma_11(32, 3, 2, 5)
    assert theory.lemma_11(32, 3, 2, 5) == pytest.approx(0.0433, abs=1e-4)
    assert -moments(1, 3, source).partial_2 > theory.lemma_11(1, 3, 2, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.density(1.5, 4), "t is 1.5; expected a finite number between -1 and 1"),
        (lambda: theory.density(0, 2), "d is 2; expected at least 3"),
        (lambda: theory.loss_constant(1, 5), "N is 1; expected at least 2"),
        (lambda: theory.a(4, 3), "d is 3; expected at least 4"),
        (lambda: theory.gap_survival(2.5, 3, 4), "r is 2.5; expected a finite number between 0 and 2"),
        (lambda: theory.ratio(0.5, 3, 5), "xi1 is 0.5; expected a finite number from 1 to 1e30"),
        (lambda: theory.at_zero(3, 5, -1), "sigma is -1; expected a finite number from 0 to 1e6"),
        (lambda: theory.lemma_9(-1, 0, 3, 5), "xi1 is -1; expected a finite number at least 0"),
        (lambda: theory.start_accuracy(101, 3), "N is 101; expected at most 100"),
        (lambda: theory.slow_growth(-1, 3, 5), "tau is -1; expected a finite number at least 0"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
