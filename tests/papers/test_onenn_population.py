"""The two-parameter system of Li et al. 2024: golden values, all label vectors as a witness, identities, dynamics."""

import pickle
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlicl.papers.onenn2024 import population
from nlicl.papers.onenn2024.population import Source, descend, exact, flow, moments, sampled

# ---------------------------------------------------------------- the slow, obvious twin


def naive_loss(xi1, xi2, t, K):
    """1/2 ||l - u_{c*}||^2, averaged over all K^N label vectors; complex xi1, xi2 allowed."""
    e = [np.exp(xi1 * each) for each in t]
    q = np.array(e) / (sum(e) + np.exp(xi1 - xi2))
    u, near = np.eye(K) - 1 / K, int(np.argmax(t))
    total = 0
    for labels in product(range(K), repeat=len(t)):
        error = sum(q[j] * u[c] for j, c in enumerate(labels)) - u[labels[near]]
        total += np.sum(error * error) / 2
    return total / K ** len(t)


def naive_moments(xi1, xi2, t, K):
    step = 1e-30j
    value = naive_loss(xi1, xi2, t, K)
    return value, naive_loss(xi1 + step, xi2, t, K).imag / 1e-30, naive_loss(xi1, xi2 + step, t, K).imag / 1e-30


@st.composite
def places(draw):
    """xi1 >= 0, xi2, and a row of cosines."""
    N = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.0, 1e-3, 1.0, 10.0]))
    return scale * rng.random(), scale * rng.random() + draw(st.sampled_from([0.0, 3.0, 40.0])), rng.uniform(-1, 1, N)


def one_row(t, d=5):
    return Source([t], [1.0], d)


def terms(xi1, xi2, t):
    """q_j (N,), q_0, i* and gamma'_j (N,), gamma'_0, as the label-averaged gradient in the scores has them."""
    e = np.exp(np.r_[xi1 * t, xi1 - xi2] - xi1)
    q, q_0 = e[:-1] / e.sum(), e[-1] / e.sum()
    near = int(np.argmax(t))
    omega = q[near] * q_0 + np.sum(q * (q[near] - q))
    return q, q_0, near, q * (q - (np.arange(len(t)) == near) + omega), q_0 * omega, omega


# ---------------------------------------------------------------- loss and derivatives

GOLDEN = {  # (N, d): at (0, 3), (1, 2), (2, 5), (4, 3), by an independent quadrature
    (2, 5): (
        (0.250147487638, -0.125160759647, -0.000287810651), (0.168588880999, -0.044432482875, -0.021172324079),
        (0.100605935402, -0.033258493358, -0.002677244835), (0.183989162462, 0.054665677472, -0.071722654499),
    ),
    (3, 5): (
        (0.333377749679, -0.126385147226, -0.0000873825175), (0.234122533958, -0.072859112009, -0.012307476624),
        (0.153744360652, -0.051259558726, -0.001796988092), (0.164254211850, 0.028903171186, -0.055647926740),
    ),
    (4, 5): (
        (0.375018892035, -0.114964841754, -0.0000373195622), (0.276281541494, -0.081211078303, -0.008311568756),
        (0.191848774225, -0.060684392309, -0.001316726464), (0.162605976960, 0.009960613668, -0.042777485177),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("N", "d"), GOLDEN)
def test_the_population_has_its_golden_values(N, d):
    source = exact(N, d, {2: 40, 3: 40, 4: 20}[N])
    for xi, expected in zip(((0, 3), (1, 2), (2, 5), (4, 3)), GOLDEN[N, d], strict=True):
        np.testing.assert_allclose(moments(*xi, source), expected, rtol=0, atol=2e-11 if N < 4 else 1e-9)


def test_one_prompt_has_its_golden_values():
    found = moments(2, 1, one_row([0.9, 0.7, -0.2, 0.1]))
    np.testing.assert_allclose(found, (0.215842889704, -0.047058613659, -0.029037592623), rtol=0, atol=1e-12)


@given(place=places(), K=st.integers(2, 3))
def test_loss_and_derivatives_are_those_of_all_label_vectors(place, K):
    xi1, xi2, t = place
    t = t[:4]
    kappa = (K - 1) / K
    np.testing.assert_allclose(
        moments(xi1, xi2, one_row(t), kappa), naive_moments(xi1, xi2, t, K), rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(
        moments(-xi1, xi2, one_row(t), kappa)[0], naive_loss(-xi1, xi2, t, K), rtol=1e-12, atol=1e-15
    )


def test_sources_are_means_over_their_rows():
    t, weights = np.array([[0.9, 0.1], [-0.5, 0.3], [0.2, 0.1]]), np.array([0.2, 0.5, 0.3])
    each = [moments(1.3, 0.4, one_row(row)) for row in t]
    np.testing.assert_allclose(moments(1.3, 0.4, Source(t, weights, 3)), weights @ np.array(each), rtol=1e-14)
    many = sampled(2, 3, 3 * population.BLOCK // 2, 5)
    halves = [Source(part, np.full(len(part), 1 / len(part)), 3) for part in np.array_split(many.cosines, 2)]
    mean = np.mean([moments(2, 1, half) for half in halves], axis=0)
    np.testing.assert_allclose(moments(2, 1, many), mean, rtol=1e-13)


@given(place=places())
def test_identities_of_the_averaged_gradient(place):
    xi1, xi2, t = place
    q, q_0, near, gamma, gamma_0, omega = terms(xi1, xi2, t)
    loss, partial_1, partial_2 = moments(xi1, xi2, one_row(t))
    near_gap, gaps = 1 - t[near], t[near] - t
    tight = {"rtol": 1e-12, "atol": 1e-16}
    assert omega >= q[near] * q_0 * (1 - 1e-12) >= 0  # xi2 never falls
    assert partial_2 <= 0
    np.testing.assert_allclose(gamma.sum() + gamma_0, 0, atol=1e-15)
    np.testing.assert_allclose(partial_1, gamma @ t + gamma_0, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(partial_2, -q_0 * omega, **tight)
    # -partial_1 - 2 partial_2 is a sum of terms that are not negative but for the nearest's own
    both = -partial_1 - 2 * partial_2
    np.testing.assert_allclose(both, -gamma @ (1 + t), rtol=1e-11, atol=1e-15)
    assert both >= (1 + t[near]) * q_0 * omega - 1e-15
    # xi1 falls through the query's own weight only
    np.testing.assert_allclose(-partial_1, (q * (q + omega)) @ gaps - q_0 * omega * near_gap, **tight)
    np.testing.assert_allclose(loss, (np.sum(q**2) - 2 * q[near] + 1) / 2, rtol=1e-11, atol=1e-15)


def test_nothing_cancels_where_the_query_has_hardly_any_weight():
    """At xi2 = 47 the query's share is e^-47, and q_{i*} - sum q_j^2 would be rounding."""
    source = one_row([0.5, 0.2, 0.1])
    w = 1 / 3
    np.testing.assert_allclose(moments(0, 47, source).partial_2, -np.exp(-94) * w**3, rtol=1e-14)
    assert -moments(1e-9, 47, source).partial_2 > 0


def test_no_score_is_too_large():
    source = one_row([0.5, 0.2, -0.9])
    for xi in ((1e4, 1e3), (1e4, 3e4), (-1e4, 2.0), (1e200, 1e-3), (0, 1e300)):
        found = moments(*xi, source)
        assert np.isfinite(found).all() and 0 <= found.loss <= 1


def test_classes_only_rescale():
    source = sampled(4, 6, 100, 1)
    for K in (2, 3, 7):
        kappa = (K - 1) / K
        np.testing.assert_allclose(moments(2, 1, source, kappa), kappa * np.array(moments(2, 1, source)), rtol=1e-15)


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize("d", [3, 4, 8])
def test_sampled_cosines_are_those_of_the_sphere(d):
    t = sampled(3, d, 20_000, 4).cosines
    every, M = t.ravel(), t.size
    assert abs(every.mean()) < 5 / np.sqrt(M * d)
    assert np.mean(every**2) == pytest.approx(1 / d, rel=5 * np.sqrt(2 / M) * 1.2)
    assert np.mean(every**4) == pytest.approx(3 / (d * (d + 2)), rel=0.05)
    x = np.random.default_rng(1).standard_normal((20_000, d))
    first = np.sort(x[:, 0] / np.linalg.norm(x, axis=1))
    assert np.abs(first - np.sort(every)[1::3]).max() < 0.05  # quantiles of both
    assert np.all(t[:, :1] >= t)
    np.testing.assert_array_equal(sampled(3, d, 10, 4).cosines, sampled(3, d, 10, 4).cosines)
    assert not np.array_equal(sampled(3, d, 10, 4).cosines, sampled(3, d, 10, 5).cosines)


def test_the_quadrature_has_the_moments_of_the_sphere():
    source = exact(3, 7, 20)
    t, w = source.cosines, source.weights
    for power, expected in ((1, 0), (2, 1 / 7), (4, 3 / 63)):
        assert w @ (t**power).mean(axis=1) == pytest.approx(expected, abs=1e-14)
    assert np.all(t[:, :1] >= t)
    assert len(exact(1, 3).cosines) == 64


def test_sources_keep_the_nearest_first():
    given = np.array([[0.1, 0.9, -1.0], [0.3, 0.3, 0.2]])
    source = Source(given, [0.5, 0.5], 4)
    np.testing.assert_array_equal(source.cosines, [[0.9, 0.1, -1.0], [0.3, 0.3, 0.2]])
    np.testing.assert_array_equal(given[0], [0.1, 0.9, -1.0])
    assert not source.cosines.flags.writeable
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.cosines, source.cosines)
    assert repr(again) == "Source(N=3, d=4, 2 rows of cosines)"


# ---------------------------------------------------------------- accuracy and dynamics


def test_accuracy_is_that_of_random_labels():
    source = sampled(16, 8, 20_000, 0)
    assert population.accuracy(1e4, source, 3) == 1
    for K in (3, 10):
        start = population.accuracy(0, source, K)  # the mode of N labels
        assert 1 / K < start < 0.75
    assert population.accuracy(6.55, source, 3) == pytest.approx(0.898, abs=0.01)
    t, weights = np.array([[0.9, 0.8]] * 4000), np.full(4000, 1 / 4000)
    assert population.accuracy(1.0, Source(t, weights, 3), 2, seed=3) == 1  # the nearer of two always wins


def test_gradient_descent_has_its_golden_values():
    run = descend(exact(3, 5, 24), 3, eta=1, steps=50, kappa=2 / 3, every=40)
    assert list(run.tau / (2 / 3)) == pytest.approx([0, 40, 50])
    found = descend(exact(3, 5, 24), 3, eta=1, steps=10, kappa=2 / 3)
    np.testing.assert_allclose([found.xi1[-1], found.xi2[-1]], [0.165378222393, 3.001785837763], rtol=0, atol=1e-11)
    np.testing.assert_allclose([run.xi1[-1], run.xi2[-1]], [0.747477620149, 3.042074150642], rtol=0, atol=1e-11)
    np.testing.assert_allclose([found.loss[-1], run.loss[-1]], [0.312905698895, 0.249206416194], rtol=0, atol=1e-11)
    assert len(found.tau) == 11


def test_the_flow_is_gradient_descent_of_small_steps():
    source = exact(2, 5, 24)
    run = flow(source, 3, [0.0, 1.0, 20.0], tolerance=1e-11)
    assert run.xi1[0] == 0 and run.xi2[0] == pytest.approx(3, rel=1e-15)
    errors = []
    for eta in (0.2, 0.1):
        end = descend(source, 3, eta=eta, steps=round(20 / eta), every=1000)
        errors.append(np.abs([end.xi1[-1] - run.xi1[-1], end.xi2[-1] - run.xi2[-1]]).max())
    assert errors[1] < 2e-3
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.2)  # first order in eta
    np.testing.assert_allclose(flow(source, 3, [0.0]), [[0], [0], [3], [moments(0, 3, source).loss]])


def test_the_flow_has_the_trajectory_of_the_usual_problem():
    """K = 3, eta = 0.05: steps to 1e4, by another program on other prompts, to half a per cent."""
    steps = np.array([1e3, 1e4])
    run = flow(sampled(16, 8, 8000, 1), 3, steps * 0.05 * 2 / 3, tolerance=1e-6)
    np.testing.assert_allclose(run.xi1, [0.158, 1.84], rtol=0.02)
    np.testing.assert_allclose(run.xi2, [3.000, 3.108], rtol=0.003)
    np.testing.assert_allclose(run.loss * 2 / 3, [0.3085, 0.2577], rtol=0.01)


# ---------------------------------------------------------------- errors

SOURCE = one_row([0.5, 0.2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact(5, 5), "N is 5; expected at most 4 for a quadrature. Use sampled"),
        (lambda: exact(2, 6), "d is 6; expected an odd number for a quadrature"),
        (lambda: exact(4, 5, 3000), "points is 3000: the quadrature has points.N nodes"),
        (lambda: Source([[0.1, 1.2]], [1.0], 3), r"cosines\[0, 1\] is 1.2; expected a finite number between -1 and 1"),
        (lambda: Source([[0.1]], [0.5, 0.5], 3), r"cosines has shape \(1, 1\), weights \(2,\); expected"),
        (lambda: Source([[0.1]], [0.9], 3), "weights sums to 0.9; expected 1"),
        (lambda: moments(np.nan, 0, SOURCE), "xi1 is nan; expected a finite number of any sign"),
        (lambda: moments(0, 0, SOURCE, 1.5), "kappa is 1.5; expected a finite number above 0 and at most 1"),
        (lambda: descend(SOURCE, -1, eta=1, steps=1), "sigma is -1; expected a finite number at least 0"),
        (lambda: flow(SOURCE, 1, [1.0, 1.0]), "tau has 2 times that do not increase"),
        (lambda: flow(SOURCE, 1, [1.0], tolerance=1), "tolerance is 1; expected a finite number from 1e-12 to 0.01"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_source_is_asked_for():
    with pytest.raises(
        TypeError,
        match=r"source is a list; expected a .*Source, as exact and sampled make it",
    ):
        moments(0, 0, [[0.5]])
