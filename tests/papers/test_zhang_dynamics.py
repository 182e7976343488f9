"""Zhang et al. 2025, time courses: closed forms against descent and quadrature, conservation, units, drops and plateaus."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlicl.papers.zhang2025 import dynamics, population, reduced
from nlicl.papers.zhang2025.reduced import Merged, Separate

FALLING = np.array([0.4, 0.3, 0.2, 0.1])
LAMBDA = np.diag(FALLING)
A = population.amplitudes(FALLING, 31)
seeds = st.integers(0, 2**32 - 1)


def white(w_0, D, H, seed=0):
    """Balanced merged heads, U_h = v_h I / sqrt(D) with ||v|| = w_0."""
    v = np.random.default_rng(seed).standard_normal(H)
    v *= w_0 / np.linalg.norm(v)
    return Merged(v, v[:, None, None] * np.eye(D) / math.sqrt(D))


def aligned(v_0, d=0, D=4):
    """One head on the d-th axis."""
    k = np.zeros((1, 1, D))
    k[0, 0, d] = v_0
    return Separate(np.array([v_0]), k, k.copy())


# ---- Golden numbers


def test_times_to_half():
    half = [dynamics.aligned_time((a / 2) ** (1 / 3), 0.01, lam, a) for lam, a in zip(FALLING, A, strict=True)]
    assert np.allclose(half, [620.9422897523, 1104.5047086, 2486.8137844, 9956.3300263], rtol=1e-10)
    leading = np.array(half) * FALLING**2 * 0.01
    assert np.all(np.abs(leading - 1) < 0.01), "1/(lambda^2 v_0) in leading order"


def test_an_aligned_head_follows_its_course():
    run = reduced.descend(aligned(0.4), LAMBDA, 31, learning_rate=0.001, steps=10_000, keep=range(0, 10_001, 500))
    v = np.array([weights.v[0] for weights in run.kept])
    t = dynamics.flow_time("separate", np.arange(0, 10_001, 500), 0.001, 31)
    assert np.abs(v - dynamics.aligned_course(t, 0.4, 0.4, A[0])).max() < 1e-3 and v[-1] > 0.9 * A[0] ** (1 / 3)
    assert dynamics.aligned_time((A[0] / 2) ** (1 / 3), 0.05, 0.4, A[0]) == pytest.approx(120.93895, abs=1e-5)


def test_white_merged_heads_follow_sigma():
    run = reduced.descend(white(0.01, 4, 8), np.eye(4), 31, learning_rate=0.0005, steps=6000, keep=[2500, 4000, 6000])
    Mbar = np.array([reduced.effective(weights) for weights in run.kept])
    assert np.allclose(Mbar[:, 0, 0], [0.48167206, 0.85945009, 0.86111056], rtol=0, atol=1e-8)
    assert np.abs(Mbar - Mbar[:, :1, :1] * np.eye(4)).max() < 1e-14
    sigma = dynamics.white_course([2.5, 4, 6], 4, 31, 0.01)
    assert np.allclose(sigma, [0.48327011, 0.85944551, 0.86111055], rtol=0, atol=1e-8)


def test_sigma_of_any_white_covariance_solves_its_equation():
    """Halving the step halves the distance; the limit is the optimum; at 0 it is w_0^2 / sqrt(D)."""
    lam, D, N, w_0 = 0.25, 3, 7, 0.05
    off = []
    for steps in (2000, 4000):
        eta = 30.0 / (2 * steps)
        run = reduced.descend(white(w_0, D, 2), lam * np.eye(D), N, learning_rate=eta, steps=steps, keep=[steps // 2])
        sigma = dynamics.white_course(dynamics.flow_time("merged", steps // 2, eta, N), D, N, w_0, lam)
        off.append(abs(reduced.effective(run.kept[0])[0, 0] - sigma) / sigma)
    assert 1e-5 < off[1] < 2e-2 and off[0] / off[1] == pytest.approx(2, rel=0.05)
    assert dynamics.white_course(0, D, N, w_0, lam) == pytest.approx(w_0**2 / math.sqrt(D))
    assert dynamics.white_course(1e6, D, N, w_0, lam) == population.optimum(lam * np.eye(D), N)[0, 0]


# ---- Closed forms


def test_Pi_is_the_integral_of_its_equation():
    from scipy.integrate import quad

    for low, high in ((0.001, 0.01), (0.1, 0.6), (0.5, 0.999)):
        integral, _ = quad(lambda x: 1 / (x**2 * (1 - x**3)), low, high, epsabs=0, epsrel=1e-13)
        assert dynamics.Pi(high) - dynamics.Pi(low) == pytest.approx(integral, rel=1e-11)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 0.5), st.floats(1.0001, 1.9), st.floats(0.05, 2), st.floats(0.3, 20))
def test_the_course_inverts_the_time(start, growth, eigenvalue, amplitude):
    limit = amplitude ** (1 / 3)
    v_0, v = start * limit, min(start * growth, 0.999) * limit
    t = dynamics.aligned_time(v, v_0, eigenvalue, amplitude)
    assert dynamics.aligned_course(t, v_0, eigenvalue, amplitude) == pytest.approx(v, rel=1e-9)


def test_the_course_at_its_ends():
    t = np.array([[0.0, 1e-9], [1e5, 1e9]])
    v = dynamics.aligned_course(t, 0.01, 0.4, A[0])
    assert v.shape == (2, 2) and v[0, 0] == 0.01 and v[1, 1] == pytest.approx(A[0] ** (1 / 3), rel=1e-14)
    assert v[0, 1] == pytest.approx(0.01, rel=1e-9) and np.all(np.diff(v.ravel()) >= 0)


def test_growth_of_small_merged_weights():
    """m = <Mbar, direction> grows as m_0 e^(2 ||Lambda^2|| t), here over 10 times its start."""
    rng = np.random.default_rng(3)
    weights = Merged(1e-6 * rng.standard_normal(8), 1e-6 * rng.standard_normal((8, 4, 4)))
    rate = dynamics.early_rate(LAMBDA)
    assert rate == pytest.approx(0.188149, abs=5e-7)
    eta, steps = 0.004, 5000
    run = reduced.descend(weights, LAMBDA, 31, learning_rate=eta, steps=steps)
    m = np.sum(reduced.effective(run.weights) * LAMBDA**2) / rate
    t = dynamics.flow_time("merged", steps, eta, 31)
    assert m == pytest.approx(dynamics.early_product(weights, LAMBDA) * math.exp(2 * rate * t), rel=0.02)


def test_the_product_at_a_level():
    m = dynamics.product_at(0.57, LAMBDA, 31)
    direction = LAMBDA @ LAMBDA / np.linalg.norm(LAMBDA @ LAMBDA)
    assert population.loss(m * direction, LAMBDA, 31) == pytest.approx(0.57, rel=1e-12)
    assert population.loss(0.9 * m * direction, LAMBDA, 31) > 0.57
    with pytest.raises(ValueError, match="least loss along"):
        dynamics.product_at(0.136, LAMBDA, 31)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_half_time_of_a_merged_drop(seed):
    """In the code's units, at the paper's settings: within 5%."""
    rng = np.random.default_rng(seed)
    weights = Merged(1e-6 * rng.standard_normal(8), 1e-6 * rng.standard_normal((8, 4, 4)))
    run = reduced.descend(weights, LAMBDA, 31, learning_rate=0.004, steps=400, scale=1.0)
    half = dynamics.merged_half_steps(weights, LAMBDA, 31, level=0.57, learning_rate=0.004, scale=1.0)
    assert int(np.argmax(run.losses < 0.57)) == pytest.approx(half, rel=0.05)


# ---- Conservation, units


@settings(max_examples=10, deadline=None)
@given(seeds, st.booleans())
def test_the_flow_conserves_and_descent_drifts_in_proportion_to_its_step(seed, is_merged):
    """Over one and the same time, a tenth of the step leaves a tenth of the drift."""
    rng = np.random.default_rng(seed)
    draw = rng.standard_normal
    weights = Merged(draw(2), draw((2, 3, 3))) if is_merged else Separate(draw(2), draw((2, 2, 3)), draw((2, 2, 3)))
    weights = type(weights)(*(0.3 * part for part in weights))
    Lambda = np.diag([0.6, 0.3, 0.1])
    before = dynamics.imbalance(weights)
    drifts = []
    for refine in (1, 10):
        run = reduced.descend(weights, Lambda, 5, learning_rate=0.01 / refine, steps=150 * refine)
        after = dynamics.imbalance(run.weights)
        drifts.append({name: np.abs(after[name] - before[name]).max() for name in before})
    for name, drift in drifts[0].items():
        assert drift < 0.02 and drifts[1][name] == pytest.approx(drift / 10, rel=0.1), name
    changed = max(np.abs(a - b).max() for a, b in zip(run.weights, weights, strict=True))
    assert changed > 0.02, "the weights themselves move"


@settings(max_examples=10, deadline=None)
@given(seeds, st.booleans(), st.sampled_from([1.0, 0.3]))
def test_units(seed, is_merged, scale):
    """A run in the code's units is the run in units of beta, at the step that the flow's time says."""
    rng = np.random.default_rng(seed)
    draw, N, eta = rng.standard_normal, 5, 1e-3
    weights = Merged(draw(2), draw((2, 3, 3))) if is_merged else Separate(draw(2), draw((2, 1, 3)), draw((2, 1, 3)))
    Lambda, kind = np.diag([0.6, 0.3, 0.1]), "merged" if is_merged else "separate"
    run = reduced.descend(weights, Lambda, N, learning_rate=eta, steps=20, scale=scale)
    same = dynamics.flow_time(kind, 20, eta, N, scale) / 40
    other = reduced.descend(dynamics.in_units_of_beta(weights, N, scale), Lambda, N, learning_rate=same, steps=20)
    assert np.allclose(run.losses, other.losses, rtol=1e-11)
    assert dynamics.flow_time(kind, 20, eta, N) == pytest.approx(40 * eta)


# ---- Curves


def test_drops_and_plateaus():
    losses = np.concatenate(
        [np.full(200, 1.0), np.linspace(1, 0.6, 11)[1:], np.full(300, 0.6), [0.3], np.full(50, 0.1)]
    )
    levels = [1, 0.6, 0.1, 0.05]
    assert dynamics.drop_steps(losses, levels).tolist()[:2] == [205, 510]
    assert np.isnan(dynamics.drop_steps(losses, levels)[2])
    assert dynamics.flat_stretches(losses) == [(0, 199), (209, 509)]
    assert dynamics.flat_stretches(losses, length=40) == [(0, 199), (209, 509), (511, 560)]
    assert dynamics.flat_stretches(losses, change=0.05) == [(0, 509)]
    assert dynamics.flat_stretches([1.0]) == [] and dynamics.drop_steps([], levels).shape == (3,)


def test_a_run_of_separate_heads_stays_at_golden_losses_only():
    rng = np.random.default_rng(3)
    weights = Separate(*(0.01 * rng.standard_normal(shape) for shape in ((5,), (5, 1, 4), (5, 1, 4))))
    run = reduced.descend(weights, LAMBDA, 31, learning_rate=0.02, steps=6000, scale=1.0)
    golden = population.saddle_losses(LAMBDA, 31)
    stretches = dynamics.flat_stretches(run.losses)
    middles = run.losses[[(first + last) // 2 for first, last in stretches]]
    assert len(stretches) == 4 and np.abs(middles - golden[:4]).max() < 2e-3
    assert np.isfinite(dynamics.drop_steps(run.losses, golden)).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: dynamics.Pi(1.0), "between 0 and 1"),
        (lambda: dynamics.aligned_time(0.5, 2.0, 0.4, 1.0), "v_0 is 2"),
        (lambda: dynamics.aligned_time(0.01, 0.1, 0.4, 1.0), "v is 0.01"),
        (lambda: dynamics.white_course(-1, 4, 31, 0.01), "t is -1"),
        (lambda: dynamics.flow_time("both", 3, 0.1, 31), "kind"),
        (lambda: dynamics.early_product(aligned(0.1), LAMBDA), "merged heads"),
        (lambda: dynamics.merged_half_steps(
            Merged(np.zeros(1), np.zeros((1, 4, 4))), LAMBDA, 31, level=0.57, learning_rate=0.1), "no component"),
        (lambda: dynamics.product_at(1.0, LAMBDA, 31), "below tr Lambda"),
    ],
)  # fmt: skip
def test_what_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
