"""Zhang et al. 2025, the population loss and descent on it: golden numbers, saddles, derivatives, the linear network."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlicl.core.errors import NotFinite
from nlicl.papers.zhang2025 import population, reduced
from nlicl.papers.zhang2025.reduced import Merged, Separate

FALLING = np.array([0.4, 0.3, 0.2, 0.1])
LAMBDA = np.diag(FALLING)
N = 31
EIGHT = np.arange(8, 0, -1) / 36
GOLDEN = [1, 0.640579710144927, 0.377372162975116, 0.209804595407548, 0.135995071598025]
GOLDEN_8 = [1, 0.811263318113, 0.648976993326, 0.513012081046, 0.403176480139, 0.319165640030, 0.260453518818,
            0.226009074374, 0.213345675681]  # fmt: skip
seeds = st.integers(0, 2**32 - 1)


def covariance(rng, D):
    Q, _ = np.linalg.qr(rng.standard_normal((D, D)))
    found = (Q * rng.uniform(0.1, 1, D)) @ Q.T
    return (found + found.T) / 2


def merged(rng, H, D):
    return Merged(rng.standard_normal(H), rng.standard_normal((H, D, D)))


def separate(rng, H, R, D):
    return Separate(rng.standard_normal(H), rng.standard_normal((H, R, D)), rng.standard_normal((H, R, D)))


def quadratic(Mbar, Lambda, N, s_N=1.0):
    """L from its definition, by moments of Gaussian inputs; for any dtype."""
    M = s_N * Mbar
    square = (N + 1) / N * Lambda @ Lambda + np.trace(Lambda) / N * Lambda  # E[Lhat^2], by Isserlis
    return np.trace(Lambda) - 2 * np.trace(Lambda @ M @ Lambda) + np.trace(M.T @ square @ M @ Lambda)


# ---- Golden numbers


def test_saddle_losses_of_the_paper():
    """The first five are printed by the authors' notebook, to 8 digits; N is 31, not the number of tokens."""
    assert np.allclose(population.saddle_losses(LAMBDA, N), GOLDEN, rtol=0, atol=1e-14)
    assert np.allclose(population.saddle_losses(np.diag(EIGHT), N), GOLDEN_8, rtol=0, atol=1e-12)
    printed = [1, 0.64057971, 0.37737216, 0.2098046, 0.13599507]
    assert np.allclose(population.saddle_losses(LAMBDA, N), printed, rtol=0, atol=6e-9)
    wrong = population.saddle_losses(LAMBDA, 32)
    assert np.allclose(wrong[1:], [0.639437, 0.375216, 0.206795, 0.132377], rtol=0, atol=1e-6)


def test_descent_of_merged_heads():
    U = np.array([0.1 * np.eye(4) + 0.02, -0.05 * np.eye(4) + 0.01 * np.arange(16).reshape(4, 4) / 16])
    run = reduced.descend(Merged(np.array([0.1, -0.05]), U), LAMBDA, N, learning_rate=0.5, steps=200)
    expected = [0.991386790274698, 0.177499375230830, 0.150459069878989, 0.136844061443904]
    assert np.allclose(run.losses[[0, 50, 100, 200]], expected, rtol=1e-12)
    assert np.allclose(run.weights.v, [2.6965013293929, -1.1543275289277], rtol=1e-12)


def two_heads():
    k = [[[0.3, 0.1, 0.05, 0.02]], [[0.02, 0.25, 0.1, -0.05]]]
    q = [[[0.25, -0.05, 0.1, 0.01]], [[0.05, 0.2, -0.1, 0.1]]]
    return Separate(np.array([0.3, 0.2]), np.array(k), np.array(q))


def test_descent_of_separate_heads_stops_at_the_second_saddle():
    run = reduced.descend(two_heads(), LAMBDA, N, learning_rate=0.1, steps=2000)
    expected = [0.991312235818426, 0.957305828321849, 0.659395168157446, 0.377387954160532, 0.377372164228046]
    assert np.allclose(run.losses[[0, 50, 100, 500, 2000]], expected, rtol=1e-12)
    before, after = (w.v[0] ** 2 - (w.k[0] ** 2).sum() for w in (two_heads(), run.weights))
    assert before == pytest.approx(-0.0129, abs=1e-12) and after == pytest.approx(-0.0129835, abs=5e-8)


# ---- The quadratic


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 5), st.integers(1, 40), st.booleans())
def test_the_loss_and_its_gradient(seed, D, N, code):
    """Against the definition, and its derivative in the direction of each entry, by the complex step."""
    rng = np.random.default_rng(seed)
    Lambda, Mbar = covariance(rng, D), rng.standard_normal((D, D))
    scale, s_N = (1.0, N) if code else (None, 1.0)
    assert population.loss(Mbar, Lambda, N, scale) == pytest.approx(quadratic(Mbar, Lambda, N, s_N), rel=1e-11)
    grad = population.gradient(Mbar, Lambda, N, scale)
    for index in np.ndindex(D, D):
        moved = Mbar.astype(complex)
        moved[index] += 1e-30j
        derivative = quadratic(moved, Lambda, N, s_N).imag / 1e-30
        assert grad[index] == pytest.approx(derivative, rel=1e-9, abs=1e-11 * np.abs(grad).max())


def test_the_second_moment_is_that_of_sampled_prompts():
    rng = np.random.default_rng(0)
    Lambda = covariance(rng, 3)
    x = rng.standard_normal((40_000, 4, 3)) @ np.linalg.cholesky(Lambda).T
    hat = np.einsum("bni,bnj->bij", x, x) / 4
    squares = hat @ hat
    error = squares.std(axis=0) / math.sqrt(len(x))
    assert np.all(np.abs(squares.mean(axis=0) - population.second_moment(Lambda, 4)) < 5 * error)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 5), st.integers(1, 40), st.booleans())
def test_the_optimum(seed, D, N, code):
    rng = np.random.default_rng(seed)
    Lambda, scale = covariance(rng, D), 1.0 if code else None
    best = population.optimum(Lambda, N, scale)
    assert np.abs(population.gradient(best, Lambda, N, scale)).max() < 1e-12 * max(N, 1)
    least = population.least_loss(Lambda, N)
    assert population.loss(best, Lambda, N, scale) == pytest.approx(least, rel=1e-10)
    other = best + 1e-3 * rng.standard_normal((D, D)) * np.abs(best).max()
    assert population.loss(other, Lambda, N, scale) > least


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 6), st.integers(1, 40))
def test_all_fixed_points_are_stationary_for_heads_of_rank_one(seed, D, N):
    """For a head on each learnt component, v, k and q have no gradient; and for a head of zeros beside them."""
    rng = np.random.default_rng(seed)
    Lambda = covariance(rng, D)
    values, vectors = population.spectrum(Lambda)
    a = population.amplitudes(values, N)
    points = population.fixed_points(Lambda, N)
    assert len({point.components for point in points}) == len(points) == 2**D
    for point in points:
        v = np.zeros(D + 1)
        k = np.zeros((D + 1, 1, D))
        for h, d in enumerate(point.components):
            v[h] = a[d] ** (1 / 3)
            k[h, 0] = v[h] * vectors[:, d]
        heads = Separate(v, k, k)
        assert np.allclose(reduced.effective(heads), point.Mbar, atol=1e-12 * a.max())
        grads = reduced.head_gradients(heads, Lambda, N)
        assert max(np.abs(part).max() for part in grads) < 1e-12 * a.max()
        assert population.loss(point.Mbar, Lambda, N) == pytest.approx(point.loss, abs=1e-12)
        largest = list(range(len(point.components))) == list(point.components)
        at = population.saddle_losses(Lambda, N)[len(point.components)]
        assert point.loss == pytest.approx(at, abs=1e-12) if largest else point.loss >= at - 1e-12


def test_the_golden_points_are_stationary():
    for point in population.fixed_points(LAMBDA, N):
        grad = population.gradient(point.Mbar, LAMBDA, N)
        assert np.abs(point.Mbar @ grad).max() < 1e-15 and np.abs(grad @ point.Mbar).max() < 1e-15


def test_many_contexts():
    """N -> infinity: Mbar* -> Lambda^-1, L* -> 0, at the rate 1/N; at infinity they are there."""
    Lambda = covariance(np.random.default_rng(1), 4)
    inverse = np.linalg.inv(Lambda)
    off = [np.abs(population.optimum(Lambda, N) - inverse).max() for N in (10**5, 10**6)]
    left = [population.least_loss(Lambda, N) for N in (10**5, 10**6)]
    assert off[0] / off[1] == pytest.approx(10, rel=1e-3) and left[0] / left[1] == pytest.approx(10, rel=1e-3)
    assert np.allclose(population.optimum(Lambda, math.inf), inverse, rtol=1e-12)
    assert population.least_loss(Lambda, math.inf) == 0
    assert population.least_loss(Lambda, 10**15) == pytest.approx(
        1e-15 * (4 * np.trace(Lambda) + np.trace(Lambda)), rel=1e-9
    )


# ---- Heads


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 3), st.integers(0, 3), st.integers(1, 4), st.booleans())
def test_gradients_by_heads(seed, H, R, D, code):
    """By the complex step, for merged heads (R = 0) and separate ones of any rank."""
    rng = np.random.default_rng(seed)
    Lambda, scale = covariance(rng, D), 1.0 if code else None
    heads = separate(rng, H, R, D) if R else merged(rng, H, D)
    grads = reduced.head_gradients(heads, Lambda, 7, scale)
    assert type(grads) is type(heads)

    def loss_of(parts):
        v, *rest = parts
        M = np.einsum("h,hij->ij", v, rest[0]) if len(rest) == 1 else np.einsum("h,hri,hrj->ij", v, *rest)
        return quadratic(M, Lambda, 7, 7.0 if code else 1.0)

    for at, part in enumerate(heads):
        for index in np.ndindex(part.shape):
            parts = [each.astype(complex) for each in heads]
            parts[at][index] += 1e-30j
            derivative = loss_of(parts).imag / 1e-30
            assert grads[at][index] == pytest.approx(derivative, rel=1e-9, abs=1e-10 * np.abs(grads[at]).max())


@settings(max_examples=10, deadline=None)
@given(seeds, st.integers(0, 2), st.booleans())
def test_descent_takes_the_steps_of_the_gradients(seed, R, code):
    rng = np.random.default_rng(seed)
    Lambda, scale, eta = covariance(rng, 3), 0.25 if code else None, 1e-3
    heads = separate(rng, 2, R, 3) if R else merged(rng, 2, 3)
    run = reduced.descend(heads, Lambda, 5, learning_rate=eta, steps=4, scale=scale, keep=[0, 2, 4])
    now, kept = heads, []
    for t in range(5):
        kept += [now] * (t % 2 == 0)
        assert run.losses[t] == pytest.approx(population.loss(reduced.effective(now), Lambda, 5, scale), rel=1e-10)
        grads = reduced.head_gradients(now, Lambda, 5, scale)
        now = type(now)(*(part - eta * grad for part, grad in zip(now, grads, strict=True)))
    assert len(run.kept) == 3 and run.weights is not heads
    for one, other in zip([*run.kept, run.weights], [*kept, kept[-1]], strict=True):
        assert all(np.allclose(a, b, rtol=1e-11, atol=1e-13) for a, b in zip(one, other, strict=True))


def attention(X, V, W, s):
    """ATTN_M as the paper writes it, the prediction of the last entry; any dtype."""
    out = X + sum(s * V_h @ X @ X.T @ W_h @ X for V_h, W_h in zip(V, W, strict=True))
    return out[-1, -1]


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 4), st.integers(1, 5), st.integers(1, 3))
def test_attention_is_a_linear_network_on_cubic_features(seed, D, length, H):
    """On u = v_x = 0: yhat = <Mbar, beta x_query^T>, a network with first layer vec(U_h) and second v; so are the gradients
    of the squared error in v and U."""
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((length + 1, D)), rng.standard_normal(D)
    X = np.vstack([x.T, np.append(x[:-1] @ w, 0)])
    heads = merged(rng, H, D)
    features = np.outer((x[:-1] * (x[:-1] @ w)[:, None]).mean(axis=0), x[-1]).ravel()
    layer, second = heads.U.reshape(H, -1), heads.v
    network = second @ (layer @ features)

    def yhat(v, U):
        V, W = np.zeros((2, H, D + 1, D + 1), complex)
        V[:, -1, -1], W[:, :D, :D] = v, U
        V[:, :-1], W[:, :, -1] = 3.0, -2.0  # neither acts
        return attention(X, V, W, 1 / length)

    assert yhat(*heads).real == pytest.approx(network, rel=1e-11, abs=1e-12)
    error = network - w @ x[-1]
    by_layer = 2 * error * np.outer(second, features)
    by_second = 2 * error * (layer @ features)
    for h in range(H):
        v = heads.v.astype(complex)
        v[h] += 1e-30j
        derivative = 2 * error * yhat(v, heads.U).imag / 1e-30
        assert derivative == pytest.approx(by_second[h], rel=1e-9, abs=1e-11)
        U = heads.U.astype(complex)
        U.reshape(H, -1)[h, -1] += 1e-30j
        derivative = 2 * error * yhat(heads.v, U).imag / 1e-30
        assert derivative == pytest.approx(by_layer[h, -1], rel=1e-9, abs=1e-11)


def test_the_variables_of_a_full_model():
    from typing import NamedTuple

    class Two(NamedTuple):
        V: np.ndarray
        W: np.ndarray

    class Three(NamedTuple):
        V: np.ndarray
        K: np.ndarray
        Q: np.ndarray

    rng = np.random.default_rng(0)
    V, W, K, Q = (rng.standard_normal((2, n, 4)) for n in (4, 4, 3, 3))
    one, other = reduced.reduced(Two(V, W)), reduced.reduced(Three(V, K, Q))
    assert np.array_equal(one.v, V[:, 3, 3]) and np.array_equal(one.U, W[:, :3, :3])
    assert np.array_equal(other.v, V[:, 3, 3]) and np.array_equal(other.k, K[:, :, :3])
    assert np.array_equal(other.q, Q[:, :, :3])
    with pytest.raises(TypeError, match="expected V, W or V, K, Q"):
        reduced.reduced(one)


# ---- What is refused


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: population.second_moment(LAMBDA, 0), "N is 0"),
        (lambda: population.second_moment(LAMBDA, 2.5), "expected an integer"),
        (lambda: population.second_moment(np.ones((2, 3)), 3), r"shape \(2, 3\)"),
        (lambda: population.second_moment(np.triu(np.ones((2, 2))), 3), "not symmetric"),
        (lambda: population.second_moment(np.diag([1.0, 0.0]), 3), "eigenvalue"),
        (lambda: population.second_moment(np.diag([1e80, 1e80]), 3), "largest entry"),
        (lambda: population.loss(np.eye(3), LAMBDA, 3), "expected the same"),
        (lambda: population.loss(np.eye(4), LAMBDA, math.inf, 1.0), "N infinite"),
        (lambda: population.loss(np.eye(4), LAMBDA, 3, 0.0), "scale is 0"),
        (lambda: population.fixed_points(np.eye(17), 3), r"2\^17 fixed points"),
        (lambda: reduced.effective(Merged(np.ones(2), np.ones((1, 2, 2)))), r"expected \(H, D, D\)"),
        (lambda: reduced.effective(Merged(np.ones(2), np.ones((2, 2, 3)))), r"expected \(H, D, D\)"),
        (lambda: reduced.head_gradients(two_heads(), np.eye(3), 3), "expected the same D"),
        (lambda: reduced.descend(two_heads(), LAMBDA, 3, learning_rate=0.1, steps=3, keep=[4]), "from 0 to 3"),
    ],
)  # fmt: skip
def test_what_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_other_types_are_refused():
    for wrong in (True, "1"):
        with pytest.raises(TypeError, match="scale"):
            population.loss(np.eye(4), LAMBDA, 3, wrong)
    with pytest.raises(TypeError, match="weights"):
        reduced.effective((np.ones(1), np.ones((1, 2, 2))))


def test_divergence_is_said():
    with pytest.raises(NotFinite, match="diverges"):
        reduced.descend(two_heads(), LAMBDA, N, learning_rate=100.0, steps=100)


def test_the_mean_over_prompts_goes_to_the_population():
    """Loss and gradient of v and U of P prompts, in units of the code: off by their standard errors, of order P^(-1/2)."""
    from nlicl.models.front import forward, loss_and_grad
    from nlicl.papers.zhang2025.problem import Problem

    problem = Problem(d=3, length=5, heads=2, init=0.3, corrected=False)
    params, prompts = problem.initialize(seed=1), problem.sample(20_000, seed=2)
    heads = reduced.reduced(params)
    losses = (forward(params, prompts).score - prompts.labels) ** 2
    exact = population.loss(reduced.effective(heads), problem.Lambda, 5, 1.0)
    error = losses.std() / math.sqrt(len(losses))
    assert abs(losses.mean() - exact) < 5 * error and error < 0.05 * exact
    off = []
    for P in (200, 20_000):
        _, grads = loss_and_grad(params, prompts[:P])
        expected = reduced.head_gradients(heads, problem.Lambda, 5, 1.0)
        off.append(np.abs(grads.W[:, :3, :3] - expected.U).max() / np.abs(expected.U).max())
    assert off[1] < 0.1 and off[1] < off[0] / 3
