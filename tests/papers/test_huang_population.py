"""Huang et al. 2023, population: counts as sources, increments, reductions, phases, bounds; against sums over all prompts."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlicl.papers.huang2023 import Law, population, queries, reduced, theory
from nlicl.papers.huang2023 import phases as phases_of
from nlicl.papers.huang2023.phases import phases

INFINITE = math.inf
MASKED = pytest.mark.parametrize("masked", [True, False])
SKEW = np.array([0.5, 0.3, 0.2])  # equal p cannot show a transposed gradient

# ---------------------------------------------------------------- the slow, obvious twin


def naive_loss_k(S, p, N, k, masked=True):
    """L_k summed over all K^N prompts, and over tasks w = sqrt(d) e_j, whose average is exact: complex S allowed."""
    K = len(p)
    total = 0
    for prompt in product(range(K), repeat=N):
        chance = np.prod([p[m] for m in prompt])
        keys = list(prompt) if masked else [*prompt, k]
        weights = [np.exp(S[m, k]) for m in keys]
        for j in range(K):
            w = np.sqrt(K) * np.eye(K)[j]
            labels = [w[m] for m in prompt] if masked else [*(w[m] for m in prompt), 0]
            yhat = sum(e * y for e, y in zip(weights, labels, strict=True)) / sum(weights)
            total += chance / K * (yhat - w[k]) ** 2 / 2
    return total


def naive_increments(S, p, N, masked=True):
    """Minus the gradient of sum_k p_k L_k, entry by entry, by complex steps."""
    D = np.empty(S.shape)
    for n, k in np.ndindex(S.shape):
        step = S.astype(complex)
        step[n, k] += 1e-30j
        D[n, k] = -p[k] * naive_loss_k(step, p, N, k, masked).imag / 1e-30
    return D


@st.composite
def problems(draw, largest=5, longest=6):
    """p (K,) unequal, N, S (K, K) of scale 0 to 3 without symmetry."""
    K, N = draw(st.integers(2, largest)), draw(st.integers(1, longest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    p = rng.dirichlet(np.full(K, 3.0)) * 0.9 + 0.1 / K
    return p, N, draw(st.sampled_from([0.0, 1.0, 3.0])) * rng.standard_normal((K, K)), rng


def orthonormal(rng, d, K):
    return np.linalg.qr(rng.standard_normal((d, K)))[0]


def sources(p, N):
    return population.enumerated(p, N), population.sampled(p, N, 50, 3), population.infinite(p)


# ---------------------------------------------------------------- population


def test_golden_values():
    source, S = population.enumerated(SKEW, 4), np.zeros((3, 3))
    masked = [[0.0825, -0.0405, -0.0195], [-0.05175, 0.04995, -0.0072], [-0.03075, -0.00945, 0.0267]]
    unmasked = [[0.06848, -0.037056, -0.019904], [-0.042816, 0.0466944, -0.0084864], [-0.025664, -0.0096384, 0.0283904]]
    np.testing.assert_allclose(population.increments(S, SKEW, source), masked, rtol=0, atol=1e-15)
    np.testing.assert_allclose(population.increments(S, SKEW, source, masked=False), unmasked, rtol=0, atol=1e-15)
    np.testing.assert_allclose(population.loss_k(S, source), [0.2675, 0.4675, 0.5675], rtol=1e-14)
    np.testing.assert_allclose(population.loss_k(S, source, masked=False), [0.2712, 0.4312, 0.5112], rtol=1e-14)
    assert population.loss(S, SKEW, source) == pytest.approx(0.5 * 0.2675 + 0.3 * 0.4675 + 0.2 * 0.5675, rel=1e-14)
    for _ in range(30):
        S = S + population.increments(S, SKEW, source)
    np.testing.assert_allclose(np.diag(S), [1.26889, 1.06509, 0.72883], rtol=0, atol=5e-6)
    ends = [population.descend(k, SKEW, source, eta=1, steps=30).points.A[-1] for k in range(3)]
    np.testing.assert_allclose(ends, np.diag(S), rtol=1e-14)


@MASKED
@pytest.mark.parametrize(("K", "N"), [(3, 4), (3, 1), (4, 4), (2, 8)])
def test_enumeration_is_the_sum_over_all_prompts(K, N, masked):
    rng = np.random.default_rng(K * N)
    p, S = rng.dirichlet(np.full(K, 4.0)), 1.5 * rng.standard_normal((K, K))
    source = population.enumerated(p, N)
    assert len(source.counts) == math.comb(N + K - 1, K - 1) and np.all(source.counts.sum(axis=1) == N)
    naive = [naive_loss_k(S, p, N, k, masked) for k in range(K)]
    np.testing.assert_allclose(population.loss_k(S, source, masked), naive, rtol=1e-13)
    D = population.increments(S, p, source, masked)
    np.testing.assert_allclose(D, naive_increments(S, p, N, masked), rtol=1e-11, atol=1e-16)


@given(problems())
def test_weights_of_an_enumeration_are_multinomial(problem):
    p, N, _, _ = problem
    counts, weights = population.enumerated(p, N)
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(weights @ counts, N * p, rtol=1e-13)
    covariance = (counts * weights[:, None]).T @ counts - np.outer(N * p, N * p)
    np.testing.assert_allclose(covariance, N * (np.diag(p) - np.outer(p, p)), rtol=0, atol=1e-12)


@MASKED
@given(problem=problems())
def test_attention_sums_to_one_and_explains_the_loss(masked, problem):
    p, N, S, _ = problem
    for source in sources(p, N):
        a = population.attention(S, source, masked)
        assert a.shape == (len(source.weights), len(p), len(p))
        total = a.sum(axis=1)
        if masked:
            np.testing.assert_allclose(total, 1, rtol=1e-14)
        else:
            assert np.all(total < 1)
        error = ((a - np.eye(len(p))) ** 2).sum(axis=1) / 2
        np.testing.assert_allclose(population.loss_k(S, source, masked), source.weights @ error, rtol=1e-12, atol=1e-16)


@MASKED
@given(problem=problems())
def test_identities_1_2_5(masked, problem):
    """A_k never decreases; columns of D sum to 0; a constant on a column of S changes nothing; bounds on the error."""
    p, N, S, rng = problem
    K = len(p)
    for source in sources(p, N):
        D = population.increments(S, p, source, masked)
        assert np.all(np.diag(D) >= -1e-16)
        np.testing.assert_allclose(D.sum(axis=0), 0, rtol=0, atol=1e-15)
        if masked:
            shifted = S + rng.normal(size=K)
            np.testing.assert_allclose(population.increments(shifted, p, source), D, rtol=0, atol=1e-14)
            a = population.attention(S, source)
            missed = source.weights @ (1 - np.diagonal(a, axis1=1, axis2=2)) ** 2
            L_k = population.loss_k(S, source)
            assert np.all(L_k <= missed + 1e-14) and np.all(L_k >= missed * (1 + 1 / (K - 1)) / 2 - 1e-14)


@given(problems())
def test_identity_3_descent_on_Q_is_descent_on_S(problem):
    p, N, _, rng = problem
    K, d = len(p), len(p) + 3
    source, V, other = population.enumerated(p, N), orthonormal(rng, d, K), orthonormal(rng, K + 1, K)
    Q, turned, S = np.zeros((d, d)), np.zeros((K + 1, K + 1)), np.zeros((K, K))
    for _ in range(8):
        gradient = population.gradient(Q, V, p, source)
        outside = np.eye(d) - V @ V.T
        assert np.abs(outside @ gradient).max() < 1e-15 and np.abs(gradient @ outside).max() < 1e-15
        Q, S = Q - gradient, S + population.increments(S, p, source)
        turned = turned - population.gradient(turned, other, p, source)
    np.testing.assert_allclose(Q, V @ S @ V.T, rtol=0, atol=1e-14)
    np.testing.assert_allclose(other.T @ turned @ other, S, rtol=0, atol=1e-14)


def test_the_gradient_in_Q_is_that_of_the_loss():
    """With the factor p_k, the sign and rows for keys: against complex steps of the summed loss, d > K."""
    rng = np.random.default_rng(5)
    d, K, N = 4, 3, 3
    V, Q = orthonormal(rng, d, K), rng.standard_normal((d, d))
    source = population.enumerated(SKEW, N)
    found = population.gradient(Q, V, SKEW, source)
    for i, j in np.ndindex(d, d):
        step = Q.astype(complex)
        step[i, j] += 1e-30j
        S = V.T @ step @ V
        expected = sum(SKEW[k] * naive_loss_k(S, SKEW, N, k).imag for k in range(K)) / 1e-30
        assert found[i, j] == pytest.approx(expected, rel=1e-11, abs=1e-16)


@given(problems(largest=4, longest=5))
def test_identity_4_equally_likely_features_keep_equal_weights(problem):
    p, N, _, _ = problem
    K = len(p)
    balanced, imbalanced = np.full(K, 1 / K), np.r_[0.5, np.full(K - 1, 0.5 / (K - 1))]
    for p in (balanced, imbalanced):
        source, S = population.enumerated(p, N), np.zeros((K, K))
        for _ in range(15):
            S = S + 2 * population.increments(S, p, source)
        A = np.diag(S)
        if p is balanced:
            np.testing.assert_allclose(S, np.where(np.eye(K) > 0, A[0], -A[0] / (K - 1)), rtol=0, atol=1e-14)
        else:
            np.testing.assert_allclose(S[1:, 0], -A[0] / (K - 1), rtol=0, atol=1e-14)
            for k in range(1, K):
                others = [n for n in range(1, K) if n != k]
                expected = -(A[k] + S[0, k]) / max(K - 2, 1)
                np.testing.assert_allclose(S[others, k], expected, rtol=0, atol=1e-14)


@given(problems())
def test_identities_6_7_at_the_start(problem):
    p, N, _, _ = problem
    K, zero = len(p), np.zeros((len(p), len(p)))
    np.testing.assert_allclose(
        population.loss_k(zero, population.enumerated(p, N)), theory.initial_loss(p, N), rtol=1e-13
    )
    infinite = population.infinite(p)
    np.testing.assert_allclose(population.loss_k(zero, infinite), theory.initial_loss(p, INFINITE), rtol=1e-13)
    for k in range(K):  # as written: ||p - e_k||^2
        literal = (np.sum((p - np.eye(K)[k]) ** 2) + (1 - p @ p) / N) / 2
        assert theory.initial_loss(p, N)[k] == pytest.approx(literal, rel=1e-13)
    D = population.increments(zero, p, infinite)
    for n, k in np.ndindex(K, K):
        others = p @ p - p[k] ** 2
        alpha = p[k] ** 2 * ((1 - p[k]) ** 2 + others)
        beta = p[k] * p[n] * (others - p[n] - p[k] * (1 - p[k]))
        assert D[n, k] == pytest.approx(alpha if n == k else beta, rel=1e-12, abs=1e-16)
    D = population.increments(zero, np.full(K, 1 / K), population.infinite(np.full(K, 1 / K)))
    np.testing.assert_allclose(D, np.where(np.eye(K) > 0, (K - 1) / K**3, -1 / K**3), rtol=1e-12)


@given(problems())
def test_relabelling_the_features_relabels_the_increments(problem):
    p, N, S, rng = problem
    order = rng.permutation(len(p))
    D = population.increments(S, p, population.enumerated(p, N))
    again = population.increments(S[np.ix_(order, order)], p[order], population.enumerated(p[order], N))
    np.testing.assert_allclose(again, D[np.ix_(order, order)], rtol=0, atol=1e-15)


def test_sampled_counts_come_to_the_enumeration():
    S = np.random.default_rng(1).standard_normal((3, 3))
    exact, M = population.enumerated(SKEW, 5), 200_000
    found = population.sampled(SKEW, 5, M, seed=7)
    np.testing.assert_array_equal(found.counts, population.sampled(SKEW, 5, M, seed=7).counts)
    assert not np.array_equal(found.counts, population.sampled(SKEW, 5, M, seed=8).counts)
    difference = population.loss_k(S, found) - population.loss_k(S, exact)
    assert 0 < np.abs(difference).max() < 5 * 0.5 / math.sqrt(M)
    difference = population.increments(S, SKEW, found) - population.increments(S, SKEW, exact)
    assert 0 < np.abs(difference).max() < 5 * 0.15 / math.sqrt(M)


def test_long_prompts_come_to_infinite_ones():
    S = np.random.default_rng(2).standard_normal((3, 3))
    limit = population.increments(S, SKEW, population.infinite(SKEW))
    away = [np.abs(population.increments(S, SKEW, population.enumerated(SKEW, N)) - limit).max() for N in (40, 80, 160)]
    assert away[0] < 0.01 and 1.8 < away[0] / away[1] < 2.2 and 1.9 < away[1] / away[2] < 2.1  # of order 1/N


def test_the_mask_matters_at_order_1_over_N():
    S, away = np.zeros((3, 3)), []
    for N in (4, 80, 160):
        source = population.enumerated(SKEW, N)
        difference = population.increments(S, SKEW, source) - population.increments(S, SKEW, source, masked=False)
        away.append(np.abs(difference).max())
    assert away[0] > 0.014 and 1.9 < away[1] / away[2] < 2.1


@MASKED
def test_extreme_scores_do_no_harm(masked):
    """The largest score may be that of a feature that is absent."""
    source = population.enumerated(SKEW, 3)
    S = np.array([[900.0, -900, 0], [-900, 900, 800], [0, 900, -900]])
    with np.errstate(all="raise", under="ignore"):
        a, L = population.attention(S, source, masked), population.loss_k(S, source, masked)
        D = population.increments(S, SKEW, source, masked)
    assert all(np.isfinite(x).all() for x in (a, L, D))
    if masked:
        np.testing.assert_allclose(a.sum(axis=1), 1, rtol=1e-14)
    near, far = (np.array([[gap, 1.0, 0], [0, 2, 0], [0, -1, 1]]) for gap in (499.0, 501.0))
    for f in (population.loss_k, population.attention):  # the two ways to the softmax agree
        np.testing.assert_allclose(f(near, source, masked), f(far, source, masked), rtol=1e-12, atol=1e-200)
    tiny = population.attention(np.diag([40.0, 0, 0]), population.infinite(SKEW))[0, :, 0]
    assert tiny[1] == pytest.approx(0.6 * math.exp(-40), rel=1e-12)
    missed = population.loss_k(np.diag([40.0, 0, 0]), population.infinite(SKEW))[0]  # 1 - Attn_1 would round to 0
    assert missed == pytest.approx(math.exp(-80) * (1 + 0.6**2 + 0.4**2) / 2, rel=1e-12)


# ---------------------------------------------------------------- reductions


CASES = {
    "balanced": (lambda N: reduced.balanced(4, N), np.full(4, 0.25), 2),
    "dominant": (lambda N: reduced.dominant(4, 0.55, N), np.r_[0.55, np.full(3, 0.15)], 0),
    "under-represented": (lambda N: reduced.under_represented(4, 0.55, N), np.r_[0.55, np.full(3, 0.15)], 2),
}


@pytest.mark.parametrize("N", [1, 5, INFINITE])
@pytest.mark.parametrize("kind", CASES)
def test_the_reduction_is_the_full_system(kind, N):
    make, p, k = CASES[kind]
    few = reduced.descend(make(N), eta=3.0, steps=60)
    source = population.infinite(p) if N == INFINITE else population.enumerated(p, N)
    full = population.descend(k, p, source, eta=3.0, steps=60)
    assert few.kind == full.kind == kind and few.K == full.K and few.eta == full.eta == 3
    np.testing.assert_array_equal(few.tau, full.tau)
    for name in few.points._fields:
        np.testing.assert_allclose(getattr(few, name), getattr(full, name), rtol=0, atol=1e-14, err_msg=name)
    S = np.zeros((4, 4))
    for _ in range(60):
        S = S + 3 * population.increments(S, p, source)
    assert few.A[-1] == pytest.approx(S[k, k], abs=1e-14) and few.B_o[-1] == pytest.approx(S[3, k], abs=1e-14)
    assert np.isnan(few.B_1).all() if kind != "under-represented" else few.B_1[-1] == pytest.approx(S[0, k], abs=1e-14)
    if N != 1:
        assert few.A[-1] > 0.3


@pytest.mark.parametrize(("N", "p"), [(1, 0.3), (7, 0.01), (400, 0.05), (2000, 0.5), (3000, 0.999), (10**6, 0.02)])
def test_binomial_weights(N, p):
    from scipy.stats import binom

    c, weights = queries.binomial(N, p)
    stride = c[1] - c[0] if len(c) > 1 else 1.0
    assert np.all(np.diff(c) == stride) and (stride == 1 or stride <= math.sqrt(N * p * (1 - p)) / 4)
    np.testing.assert_allclose(weights, stride * binom.pmf(c, N, p), rtol=1e-11)
    assert weights.sum() == pytest.approx(1, abs=1e-14) and weights @ c == pytest.approx(N * p, rel=1e-13)
    assert weights @ (c - N * p) ** 2 == pytest.approx(N * p * (1 - p), rel=1e-12)
    assert len(c) == N + 1 or N > 300


def test_a_mean_over_some_counts_is_that_over_all(monkeypatch):
    """Every s-th count stands for all: scores, loss and increments at any weights, to rounding."""
    from scipy.stats import binom

    def every(N, p):
        c = np.arange(N + 1.0)
        weights = binom.pmf(c, N, p)
        return c[weights >= 1e-20], weights[weights >= 1e-20]

    make = [lambda: reduced.balanced(10, 4000), lambda: reduced.under_represented(10, 0.5, 4000)]
    weights = [(0.0, 0.0, 0.0), (1.5, -0.7, 0.01), (4.0, -2.0, -0.1), (30.0, -5.0, -1.0), (-5.0, 5.0, 0.0)]
    few = [(query, [query.point(*w) for w in weights], reduced.floor(query)) for query in (f() for f in make)]
    monkeypatch.setattr(queries, "binomial", every)
    monkeypatch.setattr(reduced, "binomial", every)
    for (query, points, floor), again in zip(few, (f() for f in make), strict=True):
        assert len(again._terms[2]) > 2 * len(query._terms[2])
        for w, point in zip(weights, points, strict=True):
            np.testing.assert_allclose(point, again.point(*w), rtol=1e-8, atol=1e-14)
        assert floor == pytest.approx(reduced.floor(again), rel=1e-9)


def test_the_longest_prompts_are_cheap():
    query = reduced.under_represented(20, 0.5, 10**6)
    assert len(query._terms[2]) < 10_000
    limit = reduced.under_represented(20, 0.5)
    for weights in ((0.0, 0.0, 0.0), (2.0, -1.0, 0.1)):
        np.testing.assert_allclose(query.point(*weights), limit.point(*weights), rtol=2e-4)


def test_reduced_counts_are_trinomial():
    (c_k, c_1, R), spread, weights = reduced.under_represented(6, 0.5, 300)._terms
    assert np.all(c_k + c_1 + R == 300) and weights.sum() == pytest.approx(1, abs=1e-14) and weights.min() > 5e-21
    assert weights @ c_k == pytest.approx(30, rel=1e-12) and weights @ c_1 == pytest.approx(150, rel=1e-12)
    assert weights @ (c_k * c_1) == pytest.approx(300 * 299 * 0.05, rel=1e-12)
    assert weights @ (spread * R**2) == pytest.approx(4 * (300 * 0.1 * 0.9 + 30**2), rel=1e-12)  # E sum c_m^2


def test_a_point_at_extreme_weights_is_finite():
    for N in (3, INFINITE):
        query = reduced.under_represented(5, 0.4, N)
        for weights in ((900.0, -900.0, 0.0), (-900.0, 900.0, 0.0), (0.0, -900.0, 900.0)):
            assert np.isfinite(query.point(*weights)).all()
    whole = reduced.under_represented(5, 0.4, 3)  # the two ways to the softmax agree
    near, far = whole.point(499.0, 0.5, 0.0), whole.point(501.0, 0.5, 0.0)
    np.testing.assert_allclose(near[3:7], far[3:7], rtol=1e-12)


def test_long_prompts_come_to_infinite_ones_in_the_reduction():
    for make in (reduced.balanced, lambda K, N: reduced.under_represented(K, 0.5, N)):
        limit = make(20, INFINITE).point(1.5, -0.7, 0.01)
        away = [np.subtract(make(20, N).point(1.5, -0.7, 0.01), limit)[[3, 5, 6, 7, 9]] for N in (1000, 2000)]
        np.testing.assert_allclose(away[0] / away[1], 2, rtol=0.1)


@settings(max_examples=15)
@given(st.integers(3, 60), st.floats(0.05, 0.95), st.sampled_from([6, 40, INFINITE]), st.floats(0.05, 1.0))
def test_descent_lowers_the_loss_and_keeps_the_zero_sum(K, p_1, N, share):
    for query in (reduced.balanced(K, N), reduced.dominant(K, p_1, N), reduced.under_represented(K, p_1, N)):
        run = reduced.descend(query, eta=share * theory.step_size(query.largest), steps=40)
        assert np.all(np.diff(run.L_k) <= 1e-15) and np.all(np.diff(run.A) >= 0)
        B_1 = run.B_1 if query.p_1 else 0
        np.testing.assert_allclose(run.A + B_1 + query.G * run.B_o, 0, rtol=0, atol=1e-12)
        missed = run.missed
        assert np.all(run.L_k <= missed + 1e-15)
        assert np.all(run.L_k >= missed * (1 + 1 / (K - 1)) / 2 - 1e-15)


@pytest.mark.parametrize("k", range(3))
def test_floors_lie_within_their_bounds(k):
    """On unequal p, at nearly the largest step that is sure to lower the loss."""
    low, high = theory.floor_bounds(SKEW[k], 4, 3)
    expected = {0: (0.0511, 0.0469, 0.0625), 1: (0.2008, 0.1801, 0.2401), 2: (0.3358, 0.3072, 0.4096)}[k]
    run = population.descend(k, SKEW, population.enumerated(SKEW, 4), eta=12, steps=8000)
    np.testing.assert_allclose([run.L_k[-1], low, high], expected, rtol=0, atol=2e-4)
    assert low <= run.L_k[-1] <= high and np.all(np.diff(run.L_k) <= 0)


@pytest.mark.parametrize("kind", CASES)
def test_the_floor_of_a_reduction(kind):
    """Long descent comes to it from above; no weights of a random search lie below it."""
    rng = np.random.default_rng(3)
    for N in (1, 4, 9):
        query = CASES[kind][0](N)
        floor = reduced.floor(query)
        low, high = theory.floor_bounds(query.p_k, N, 4)
        assert low <= floor <= high * (1 + 1e-14)
        found = [query.point(40.0, *weights).L_k for weights in rng.uniform(-6, 6, (300, 2))]
        assert min(found) >= floor * (1 - 1e-12) and min(found) < floor * 1.01
        if N == 4:
            end = reduced.descend(query, eta=1.9 * theory.step_size(query.largest), steps=4000).L_k[-1]
            assert floor < end < floor * 1.01
        assert reduced.floor(CASES[kind][0](INFINITE)) == 0


def test_a_prompt_without_the_feature_sets_the_floor():
    source = population.enumerated(SKEW, 4)
    missing = source.weights[source.counts[:, 1] == 0].sum()
    assert theory.missing_probability(0.3, 4) == pytest.approx(missing, rel=1e-14) == pytest.approx(0.7**4)
    assert theory.floor_bounds(0.3, INFINITE, 3) == (0, 0)


# ---------------------------------------------------------------- flows, phases, reference runs


def same(found, expected, rel=1e-10):
    assert found == pytest.approx(expected, rel=rel)


def close(found, expected, share=0.005):
    """Within 0.5%, and the last digit the reference is given to."""
    digits = max(len(str(value).partition(".")[2]) for value in np.ravel(expected))
    np.testing.assert_allclose(found, expected, rtol=share, atol=0.51 * 10.0**-digits)


BALANCED = {  # K: T_1/K^2, Attn_k(T_1), (T_2 - T_1)/K, A(T_2)
    10: (1.699, 0.589, 55.29, 3.955), 20: (1.442, 0.552, 62.91, 4.885), 100: (1.134, 0.514, 69.61, 6.724),
    1000: (1.020, 0.502, 71.27, 9.095), 10000: (1.003, 0.500, 71.46, 11.406),
}  # fmt: skip
IMBALANCED = {  # p_1, K: T_dom, T_1/K^1.98, T_1/K^2, cross/K^2, T_2/K^2, T_3/K^2, (T_3-T_2)/K^1.5, (T_4-T_3)/K
    (0.5, 20): (129.0, 2.167, 2.041, 1.049, 2.171, 3.136, 4.315, 120.9),
    (0.5, 30): (133.6, 2.045, 1.911, 1.060, 2.172, 2.980, 4.424, 127.9),
    (0.5, 100): (140.1, 1.657, 1.511, 0.953, 2.108, 2.535, 4.269, 138.5),
    (0.5, 1000): (142.7, 1.214, 1.057, 0.764, 2.025, 2.135, 3.476, 142.7),
    (0.5, 10**4): (142.9, 1.067, 0.887, 0.696, 2.005, 2.035, 2.939, 143.0),
    (0.5, 10**8): (143.0, 1.001, 0.692, 0.667, 2.000, 2.000, 2.360, 143.0),
    (0.8, 100): (61.34, 1.061, 0.967, 2.794, 4.133, 6.629, 24.97, 346.6),
    (0.8, 1000): (62.46, 0.360, 0.313, 1.953, 4.521, 5.369, 26.81, 356.8),
    (0.8, 10**4): (62.58, 0.208, 0.173, 1.746, 4.827, 5.090, 26.32, 357.5),
}
STATES = {  # p_1, K: A_k/log K, B_1/log K, Attn_k, Attn_1, L_k at T_1 .. T_4
    (0.5, 100): [(0.217, 0.464, 1, 1.477), (-0.490, -0.546, -0.594, -0.624), (0.0242, 0.0738, 0.494, 0.900),
                 (0.0923, 0.0698, 0.0317, 0.00561), (0.484, 0.435, 0.130, 0.0051)],
    (0.5, 1000): [(0.099, 0.463, 1, 1.320), (-0.490, -0.547, -0.561, -0.568), (0.00191, 0.0234, 0.496, 0.900),
                  (0.0327, 0.0218, 0.0103, 0.00195), (0.499, 0.478, 0.127, 0.0050)],
    (0.8, 100): [(0.027, 0.226, 1, 1.480), (-0.490, -0.784, -0.888, -0.919), (0.00792, 0.0248, 0.490, 0.900),
                 (0.290, 0.0939, 0.0325, 0.00568), (0.537, 0.484, 0.132, 0.0051)],
    (2**0.5 - 1, 10**4): [(0.204, 0.509, 1, 1.239), (-0.490, -0.501, -0.504, -0.506), (0.000647, 0.0107, 0.498, 0.900),
                          (0.00769, 0.00691, 0.00338, 0.000665), (0.499, 0.489, 0.126, 0.0050)],
}  # fmt: skip


@pytest.mark.parametrize("K", BALANCED)
def test_balanced_flow_is_the_closed_form_and_our_reference(K):
    run = reduced.flow(reduced.balanced(K))
    found = phases(run)
    T_1, T_2 = theory.balanced_times(K, 0.01)
    assert found["T_1"].tau == pytest.approx(T_1, rel=1e-10) and found["T_2"].tau == pytest.approx(T_2, rel=1e-10)
    close((T_1 / K**2, found["T_1"].point.Attn_k, (T_2 - T_1) / K, found["T_2"].point.A), BALANCED[K])
    np.testing.assert_allclose(run.A, -(K - 1) * run.B_o, rtol=1e-12)
    u = run.Attn_k / (1 - run.Attn_k)
    np.testing.assert_allclose(theory.target_weight(u[1:], K, 1 / K), run.A[1:], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(theory.flow_time(u, K, 1 / K), run.tau, rtol=1e-9, atol=1e-6)
    same(found["T_1"].point.A, math.log(K))
    same(found["T_2"].point.missed, 0.01)


@pytest.mark.parametrize(("p_1", "K"), IMBALANCED)
def test_imbalanced_flow_is_our_reference(p_1, K):
    dominant = phases(reduced.flow(reduced.dominant(K, p_1)))["T_dom"].tau
    assert dominant == pytest.approx(theory.dominant_time(K, p_1, 0.01), rel=1e-10)
    run = reduced.flow(reduced.under_represented(K, p_1))
    found = phases(run)
    T = {name: moment.tau for name, moment in found.items()}
    assert T["T_1"] < T["T_2"] < T["T_3"] < T["T_4"] and (p_1 == 0.5 or T["T_1"] < T["cross"] < T["T_2"])
    scaled = [T["T_1"] / K**1.98, *(T[name] / K**2 for name in ("T_1", "cross", "T_2", "T_3"))]
    close([dominant, *scaled, (T["T_3"] - T["T_2"]) / K**1.5, (T["T_4"] - T["T_3"]) / K], IMBALANCED[p_1, K])
    np.testing.assert_allclose(run.A + run.B_1 + (K - 2) * run.B_o, 0, rtol=0, atol=1e-12)
    assert np.all(np.diff(run.A) >= 0) and np.all(np.diff(run.B_1) < 0)
    log_K, at = math.log(K), {name: moment.point for name, moment in found.items()}
    same(at["T_1"].B_1, -0.49 * log_K)
    same(at["cross"].alpha, -at["cross"].beta_1, rel=1e-7)
    same(at["T_2"].A - at["T_2"].B_1, 1.01 * log_K)
    same(at["T_3"].A, log_K)
    same(at["T_4"].missed, 0.01, rel=1e-6)  # at K = 1e8 a time has 16 digits, phase IV begins after the sixth


@pytest.mark.parametrize(("p_1", "K"), STATES)
def test_states_at_the_times_are_our_reference(p_1, K):
    found = phases(reduced.flow(reduced.under_represented(K, p_1)))
    points = [found[name].point for name in ("T_1", "T_2", "T_3", "T_4")]
    A, B_1, Attn_k, Attn_1, L_k = STATES[p_1, K]
    log_K = math.log(K)
    np.testing.assert_allclose([[p.A / log_K for p in points], [p.B_1 / log_K for p in points]], [A, B_1], atol=0.0006)
    np.testing.assert_allclose([p.Attn_k for p in points], Attn_k, rtol=0.01)
    np.testing.assert_allclose([p.Attn_1 for p in points], Attn_1, rtol=0.01)
    np.testing.assert_allclose([p.L_k for p in points], L_k, rtol=0.005, atol=0.00006)


def test_the_literal_window_holds_where_it_is_centred():
    """-0.51 log K <= B_{k,1} <= -0.49 log K in phase II at p_1 = sqrt(2) - 1; not at 0.5: the window is asymptotic."""
    K = 10**4
    for p_1, inside in ((2**0.5 - 1, True), (0.5, False)):
        run = reduced.flow(reduced.under_represented(K, p_1))
        T = phases(run)
        during = (run.tau >= T["T_1"].tau) & (run.tau <= T["T_2"].tau)
        B_1 = np.r_[T["T_1"].point.B_1, run.B_1[during], T["T_2"].point.B_1] / math.log(K)
        assert (B_1.min() >= -0.51) == inside and B_1.max() <= -0.49 + 1e-9


def test_T_1_before_T_2_can_fail_at_small_K():
    for p_1, K, ordered in ((0.5, 10, False), (0.5, 15, True), (0.45, 30, False), (0.45, 50, True), (0.42, 100, False)):
        T = phases(reduced.flow(reduced.under_represented(K, p_1)))
        assert (T["T_1"].tau < T["T_2"].tau) == ordered


def test_exponents_from_two_large_sizes():
    expected = {0.5: (0.000, 1.977, 2.000, 2.01, 1.483, 1.000), 0.8: (0.000, 1.968, 2.002, 2.00, 1.488, 1.000)}
    for p_1, slopes in expected.items():
        rows = []
        for K in (10**5, 10**8):
            T = {name: m.tau for name, m in phases(reduced.flow(reduced.under_represented(K, p_1))).items()}
            d = phases(reduced.flow(reduced.dominant(K, p_1)))["T_dom"].tau
            rows.append((d, T["T_1"], T["T_2"], T["T_2"] - T["T_1"], T["T_3"] - T["T_2"], T["T_4"] - T["T_3"]))
        np.testing.assert_allclose(np.diff(np.log(rows), axis=0)[0] / math.log(1000), slopes, rtol=0, atol=0.006)


def test_leading_order_laws():
    K, p_1 = 10**8, 0.5
    run = reduced.flow(reduced.under_represented(K, p_1))
    found = phases(run)
    T = {name: moment.tau for name, moment in found.items()}
    law = theory.leading_times(K, p_1, 0.01)
    for name in ("T_1", "cross", "T_2", "T_3"):
        assert T[name] == pytest.approx(law[name], rel=0.01)
    assert T["T_3"] - T["T_2"] == pytest.approx(law["T_3 - T_2"], rel=0.01)
    assert T["T_4"] - T["T_3"] == pytest.approx(law["T_4 - T_3"], rel=0.01)
    before = run.tau < 0.98 * T["T_2"]
    late = before & (run.tau > 1e4 * K)
    B_1 = theory.dominant_weight_law(run.tau[late], K, p_1)
    np.testing.assert_allclose(run.B_1[late], B_1, rtol=0, atol=0.04)
    np.testing.assert_allclose(run.A[before], theory.target_weight_law(run.tau[before], K, p_1), rtol=0.02, atol=1e-3)
    a = p_1
    window = -0.5 * math.log(K) - 0.5 * math.log(2 * a**2 / (1 - a) ** 2)
    assert abs(found["T_2"].point.B_1 - window) < 0.01
    assert run.L_k[0] == pytest.approx((1 + a**2) / 2, abs=1e-6) and found["T_3"].point.L_k == pytest.approx(
        1 / 8, abs=1e-3
    )
    assert reduced.dominant(K, a).point(0, 0, 0).L_k == pytest.approx((1 - a) ** 2 / 2, abs=1e-6)


EPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


def test_times_against_eps():
    K = 1000
    convergence, dominant = (8.096, 71.27, 567.3, 5198, 50543), (16.32, 142.7, 1134.7, 10397, 101087)
    run, other = reduced.flow(reduced.balanced(K), eps=1e-5), reduced.flow(reduced.dominant(K, 0.5), eps=1e-5)
    for eps, expected, time in zip(EPS, convergence, dominant, strict=True):
        T = phases(run, eps)
        close((T["T_2"].tau - T["T_1"].tau) / K, expected, 0.001)
        close(phases(other, eps)["T_dom"].tau, time, 0.001)


STEPS = {  # N: balanced T_1, T_2; under-represented T_1 .. T_4; dominant T_dom. K = 20, eta = 5
    100: ((121, 760), (170, 183, 273, math.nan), 25),
    200: ((118, 391), (167, 179, 261, 1253), 25),
    400: ((117, 375), (165, 177, 256, 776), 25),
    INFINITE: ((116, 367), (163, 175, 252, 734), 25),
}


@pytest.mark.parametrize("N", STEPS)
def test_descent_is_our_reference(N):
    balanced = reduced.descend(reduced.balanced(20, N), eta=5, steps=1300, eps=0.01)
    dominant = reduced.descend(reduced.dominant(20, 0.5, N), eta=5, steps=1300, eps=0.01)
    rare = reduced.descend(reduced.under_represented(20, 0.5, N), eta=5, steps=1300, eps=0.01)
    steps = {**phases(dominant), **phases(balanced)}
    assert (steps["T_1"].step, steps["T_2"].step) == STEPS[N][0] and steps["T_dom"].step == STEPS[N][2]
    found = phases(rare)
    assert str([found[name].step for name in ("T_1", "T_2", "T_3", "T_4")]) == str([float(n) for n in STEPS[N][1]])
    assert found["T_1"].tau == 5 * found["T_1"].step
    if N == 400:
        starts = [run.L_k[0] for run in (dominant, rare, balanced)]
        np.testing.assert_allclose(starts, (0.1325, 0.6062, 0.4762), rtol=0, atol=6e-5)
        assert all(5.1e-3 < run.L_k[-1] < 5.35e-3 for run in (dominant, rare, balanced))
    if N == 100:
        assert len(rare.tau) == 1301 and all(np.isnan(found["T_4"].point))  # the floor is above eps
        assert theory.missing_probability(0.5 / 19, 100) == pytest.approx(0.0695, abs=5e-5)


def test_descent_comes_to_the_flow():
    query = reduced.under_represented(20, 0.5)
    exact = {name: moment.tau for name, moment in phases(reduced.flow(query)).items()}
    close([exact[f"T_{j}"] / 5 for j in range(1, 5)], (163.2, 173.7, 250.8, 734.3), 0.0005)
    for eta in (5, 1):
        steps = phases(reduced.descend(query, eta=eta, steps=3700))
        for name, time in exact.items():
            assert abs(steps[name].tau / time - 1) < 0.01 and abs(steps[name].tau - time) < 1.5 * eta * (
                1 + time / 1000
            )


def test_a_flow_anywhere_and_in_words():
    run = reduced.flow(reduced.under_represented(50, 0.5))
    middle = (run.tau[20] + run.tau[21]) / 2
    point = run.at(middle)
    assert run.A[20] < point.A < run.A[21] and point.missed <= run.missed[20]
    np.testing.assert_allclose(run.at(run.tau[20]), [values[20] for values in run.points], rtol=1e-9, atol=1e-14)
    assert run.A[0] == run.at(0).A and run.at(run.tau[-1]).missed == pytest.approx(run.missed[-1], rel=1e-9)
    many = run.at([[middle, 0.0], [run.tau[-1], middle]])
    assert many.A.shape == (2, 2) and many.A[1, 1] == many.A[0, 0] == point.A and many.L_k[0, 1] == run.L_k[0]
    assert run.eta is None and "gradient flow" in repr(run) and "under-represented query, K = 50" in repr(run)
    assert "eta = 2" in repr(reduced.descend(reduced.balanced(5), eta=2, steps=3))
    with pytest.raises(AttributeError, match="a Trajectory has no 'C'; it has tau, A, B_1"):
        run.C  # noqa: B018


def test_what_is_reached_at_the_start_has_the_time_0():
    """By the flow, by descent and by the closed form; the flow is then no more than its start."""
    for query, eps, closed in (
        (reduced.dominant(20, 0.5), 0.25, theory.dominant_time(20, 0.5, 0.25)),
        (reduced.dominant(20, 0.9), 0.3, theory.dominant_time(20, 0.9, 0.3)),
        (reduced.balanced(20), 0.95, theory.balanced_times(20, 0.95)[1]),
        (reduced.under_represented(20, 0.5, 2000), 0.97, 0.0),
    ):
        run = reduced.flow(query, eps=eps)
        last = list(phases(run, eps))[-1]
        assert run.tau.tolist() == [0.0] and run.at(0.0) is not None and run.at(0.0).A == 0
        assert phases(run, eps)[last].tau == 0.0 == closed
        assert phases(reduced.descend(query, eta=1, steps=5, eps=eps), eps)[last].step == 0
    assert theory.dominant_time(20, 0.5, 0.2499) > 0 and theory.balanced_times(20, 0.9)[1] > 0


def test_the_closed_form_at_any_eps_and_at_K_2():
    for K, eps in ((2, 0.01), (2, 0.2), (5, 0.3), (20, 0.5), (20, 0.9)):
        found = phases(reduced.flow(reduced.balanced(K), eps=min(eps, 0.01)), eps)
        assert [moment.tau for moment in found.values()] == pytest.approx(theory.balanced_times(K, eps), rel=1e-8)
    run = reduced.flow(reduced.under_represented(10**8, 0.5), eps=0.1)
    for eps in (0.3, 0.5):  # phase IV then ends before A_k = log K
        found, law = phases(run, eps), theory.leading_times(10**8, 0.5, eps)["T_4 - T_3"]
        assert law < 0 and found["T_4"].tau - found["T_3"].tau == pytest.approx(law, rel=1e-3)


def test_a_flow_of_a_very_rare_feature_ends():
    run = reduced.flow(reduced.under_represented(5, 0.99999), eps=0.1)
    assert phases(run, 0.1)["T_4"].tau > 100 * theory.under_represented_bound(5, 0.1)
    run = reduced.flow(reduced.under_represented(10**6, 1 - 1e-8))
    assert run.reached and len(run.tau) < 500  # rounding of 1 - p_1 kept the steps short


@pytest.mark.parametrize("eps", [0.01, 0.1])
def test_the_last_phase_is_right_at_the_largest_K(eps):
    K = reduced.MOST_OF_FLOW
    found = phases(reduced.flow(reduced.under_represented(K, 0.5), eps=eps), eps)
    assert found["T_4"].tau - found["T_3"].tau == pytest.approx(
        theory.leading_times(K, 0.5, eps)["T_4 - T_3"], rel=1e-3
    )


def test_an_integrator_that_gives_up_is_an_error(monkeypatch):
    monkeypatch.setattr(reduced, "MOST_OF_FLOW", 10**16)
    with pytest.raises(ArithmeticError, match=r"the integrator gave up at tau = .* Lower K, or raise eps"):
        reduced.flow(reduced.balanced(10**16))


def test_descents_and_small_eps_have_no_such_limits():
    run = reduced.descend(reduced.under_represented(10**100, 0.5), steps=3)
    assert run.A[-1] > 0 and np.isfinite(run.points).sum() > 0 and run.reached is None
    run = reduced.flow(reduced.dominant(4, 0.5), eps=1e-30)
    assert phases(run, 1e-30)["T_dom"].tau == pytest.approx(theory.dominant_time(4, 0.5, 1e-30), rel=1e-9)


def test_whether_eps_was_reached_is_said():
    query = reduced.under_represented(20, 0.5, 400)
    least = reduced.ATTAINED * theory.missing_probability(query.p_k, 400)
    assert reduced.flow(reduced.balanced(5), eps=0.9).reached is True  # at the start
    for run, reached in (
        (reduced.flow(query, eps=least), True),
        (reduced.flow(query, eps=1e-12, end=1e3), False),
        (reduced.descend(query, eta=5, steps=5, eps=0.01), False),
        (reduced.descend(query, eta=5, steps=1000, eps=0.01), True),
    ):
        assert bool(run.reached) is reached and ("eps not reached" in repr(run)) is not reached
        assert (run.eta is not None) or reached or run.tau[-1] == 1e3


def test_not_reached_is_a_value():
    found = phases(reduced.flow(reduced.under_represented(20, 0.5, 100), end=2e4))
    assert math.isnan(found["T_4"].tau) and math.isnan(found["T_4"].point.A) and found["T_3"].tau < 2e4
    found = phases(reduced.descend(reduced.balanced(20), eta=5, steps=10))
    assert all(math.isnan(moment.tau) and math.isnan(moment.step) for moment in found.values())
    assert phases_of.NEVER.point._fields == found["T_1"].point._fields


# ---------------------------------------------------------------- bounds


def test_bounds_hold_with_constant_10():
    """Each phase, and the whole with constant 1: our runs, eps = 0.01 and 0.1."""
    for K in (20, 30, 100, 1000):
        queries = [make(K, p_1) for p_1 in (0.5, 0.8) for make in (reduced.dominant, reduced.under_represented)]
        for query in (reduced.balanced(K), *queries):
            run = reduced.flow(query)
            for eps in (0.01, 0.1):
                last = 0.0
                for name, bound in theory.phase_bounds(query.kind, K, eps, C=10).items():
                    T = phases(run, eps)[name].tau
                    assert T - last < bound
                    last = T
                if query.kind != "dominant" and eps == 0.01:
                    assert last < theory.under_represented_bound(K, eps)


def test_bounds_are_the_formulas():
    log = math.log
    assert theory.dominant_bound(0.01, eta=5, C=3) == pytest.approx(3 * log(10) / 0.01 / 5)
    expected = 2 * (20**2 * log(20) / 5 + 20 * log(200) / (0.01 * 5))
    assert theory.under_represented_bound(20, 0.01, eta=5, C=2) == pytest.approx(expected)
    bounds = theory.phase_bounds("under-represented", 20, 0.01)
    growth = [20**exponent * log(20) for exponent in (1.98, 2, 1.5)]
    assert list(bounds) == ["T_1", "T_2", "T_3", "T_4"]
    np.testing.assert_allclose(list(bounds.values()), [*growth, 20 * log(200) / 0.01])
    K, found = [10, 100, 1000, 10000], []
    for size in K:
        T_1, T_2 = theory.balanced_times(size, 0.01)
        growth, convergence = theory.phase_bounds("balanced", size, 0.01).values()
        found.append((T_1 / growth, (T_2 - T_1) / convergence))
    np.testing.assert_allclose(np.transpose(found), [(0.74, 0.25, 0.15, 0.11), (0.12, 0.10, 0.08, 0.06)], atol=0.006)


def test_concentration():
    assert theory.concentration_probability(20, 20 * 20**3) == pytest.approx(1 - 3 * math.exp(-20 * 20 / 25))
    assert theory.concentration_probability(20, 20 * 20**3 - 1) == 0
    assert theory.concentration_probability(20, 5 * 20**3, c=2) == theory.concentration_probability(20, 20 * 20**3)
    assert theory.concentration_probability(20, INFINITE) == 1
    K, N = 3, 600
    counts = population.sampled(np.full(K, 1 / K), N, 20_000, 1).counts
    held = np.mean(np.all(abs(counts - N / K) <= N / K, axis=1))
    assert held >= theory.concentration_probability(K, N) > 0.7


def test_the_smoothness_constant_is_that_of_two_classes():
    a = np.linspace(1 / 3, 1, 20001)
    assert np.max(4 * a * (1 - a) ** 2 * (3 * a - 1)) == pytest.approx(0.30812, abs=1e-5)
    assert theory.SMOOTHNESS >= 0.30812
    assert theory.step_size(0.5) == pytest.approx(6.49, abs=0.005)  # 3.24/max p
    assert theory.check_step_size(12.9, 0.5) == 12.9  # below 6.49/max p


# ---------------------------------------------------------------- errors


HALF = np.full(2, 0.5)
FLOW = reduced.flow(reduced.balanced(4))
SOURCE = population.infinite(SKEW)
RARE = reduced.under_represented(20, 0.5, 400)  # (1 - p_k)^N = 2.3e-5
WRONG = [
    (lambda: population.enumerated([0.5, 0.6], 3), "p sums to 1.1; expected 1"),
    (lambda: population.enumerated([1.0], 3), r"p has shape \(1,\); expected \(K,\) with K at least 2"),
    (lambda: population.infinite([1.0, 0.0]), r"p\[1\] is 0; expected a finite number greater than 0, a probability"),
    (lambda: population.infinite([0.5, np.nan]), r"p\[1\] is nan; expected a finite number greater than 0, a probability"),
    (lambda: population.enumerated(HALF, 0), "N is 0; expected at least 1"),
    (lambda: population.enumerated(HALF, 2.5), "N is 2.5; expected an integer"),
    (lambda: population.enumerated(HALF, 171), "N = 171 contexts of K = 2 features have 172 count vectors; expected"),
    (lambda: population.enumerated(np.full(20, 0.05), 40), r"count vectors; expected at most 2000000.*Use sampled\(p"),
    (lambda: population.sampled(HALF, 3, 0), "M is 0; expected at least 1"),
    (lambda: population.loss_k(np.zeros((2, 3)), SOURCE), r"S has shape \(2, 3\); expected \(3, 3\), row key and column"),
    (lambda: population.attention(np.full((3, 3), np.nan), SOURCE), r"S\[0, 0\] is nan; expected a finite number"),
    (lambda: population.loss(np.zeros((3, 3)), HALF, SOURCE), "p has 2 features, source 3; expected the same"),
    (lambda: population.gradient(np.zeros((4, 3)), np.eye(3), SKEW, SOURCE), r"Q has shape \(4, 3\), V \(3, 3\)"),
    (lambda: population.descend(3, SKEW, SOURCE, eta=1, steps=1), "k is 3; expected a feature from 0 to K - 1 = 2"),
    (lambda: population.descend(1, [0.7, 0.3], population.infinite([0.7, 0.3]), eta=1, steps=1), "K is 2 with a dominant"),
    (lambda: population.descend(0, SKEW, SOURCE, eta=20, steps=1), "eta is 20 .*; expected at most 6.49/max p = 12.98"),
    (lambda: reduced.descend(reduced.balanced(4), eta=26, steps=1), "6.49/max p = 25.96: .* 3.24/max p = 12.98"),
    (lambda: reduced.descend(reduced.balanced(4), eta=-1, steps=1), "eta is -1; expected a finite number greater than 0"),
    (lambda: reduced.descend(reduced.balanced(4), steps=1.5), "steps is 1.5; expected an integer"),
    (lambda: reduced.balanced(1), "K is 1; expected at least 2"),
    (lambda: reduced.under_represented(2, 0.5), "K is 2; expected at least 3"),
    (lambda: reduced.dominant(20, 1.0), "p_1 is 1.0; expected a finite number between 0 and 1, a probability"),
    (lambda: reduced.balanced(20, 0), "N is 0; expected at least 1"),
    (lambda: reduced.balanced(20, 10.0), "N is 10.0; expected an integer"),
    (lambda: reduced.balanced(20, -math.inf), "N is -inf; expected an integer"),
    (lambda: reduced.flow(reduced.balanced(4), eps=0), "eps is 0; expected a finite number between 0 and 1"),
    (lambda: reduced.flow(reduced.balanced(4), end=0), "end is 0; expected a finite number above 0"),
    (lambda: phases(reduced.descend(reduced.balanced(4), steps=1), eps=2), "eps is 2; expected a finite number between"),
    (lambda: theory.phase_bounds("rare", 4, 0.1), "kind is 'rare'; expected one of 'balanced', 'dominant', 'under-rep"),
    (lambda: theory.dominant_bound(1.0), "eps is 1.0; expected a finite number between 0 and 1"),
    (lambda: theory.floor_bounds(0, 4, 3), "p_k is 0; expected a finite number between 0 and 1"),
    (lambda: theory.concentration_probability(4, 100, c=0), "c is 0; expected a finite number greater than 0"),
    (lambda: population.enumerated([[0.5, 0.5]], 3), r"p has shape \(1, 2\); expected"),
    (lambda: population.enumerated(["a", "b"], 3), r"p is \['a', 'b'\]; expected an array \(K,\) of numbers"),
    (lambda: population.enumerated([[0.5], [0.5, 0.5]], 3), "p is a list of rows of unequal lengths; expected an array"),
    (lambda: population.sampled(HALF, 3, 5, seed=-1), "seed is -1; expected at least 0"),
    (lambda: population.sampled(HALF, 3, 5, seed=(1, 0.5)), "seed is 0.5; expected an integer"),
    (lambda: population.Source([1.0, 2.0], [1.0]), r"counts has shape \(2,\); expected \(M, K\)"),
    (lambda: population.Source([[1.0]], [1.0]), r"counts has shape \(1, 1\); expected \(M, K\), M >= 1 count vectors"),
    (lambda: population.Source([[1.0, -1.0]], [1.0]), "counts has negative entries, or a row of zeros"),
    (lambda: population.Source([[0, 0], [1, 2]], HALF), "counts has negative entries, or a row of zeros"),
    (lambda: population.Source([[1.0, np.inf]], [1.0]), r"counts\[0, 1\] is inf; expected a finite number"),
    (lambda: population.Source([["1", "2"]], [1.0]), r"counts is \[\['1', '2'\]\]; expected an array \(M, K\) of numbers"),
    (lambda: population.Source([[1, 2]], HALF), r"weights has shape \(2,\); expected \(1,\), one for each row"),
    (lambda: population.Source([[1, 2], [2, 1]], [1.5, -0.5]), "weights goes from -0.5 to 1.5 .* probabilities of sum 1"),
    (lambda: population.Source([[1, 2], [2, 1]], [1.0, 1.0]), "with the sum 2; expected probabilities of sum 1. Divide"),
    (lambda: population.loss_k(np.zeros((3, 3)), (SKEW[None], np.ones(1))), "is a tuple; expected a .*.population.Source, as"),
    (lambda: population.increments(np.zeros((3, 3)), SKEW, None), "source is a NoneType; expected a .*.population.Source"),
    (lambda: population.loss_k([["a"] * 3] * 3, SOURCE), r"S is \[\['a', .*; expected an array \(K, K\) of numbers"),
    (lambda: population.gradient(np.zeros((3, 3)), np.eye(3)[0], SKEW, SOURCE), r"V has shape \(3,\); expected \(d, K\)"),
    (lambda: population.gradient("Q", np.eye(3), SKEW, SOURCE), r"Q is 'Q'; expected an array \(d, d\) of numbers"),
    (lambda: population.descend(0, SKEW, SOURCE, eta=1, steps=1, eps=2), "eps is 2; expected a finite number between 0"),
    (lambda: population.descend(0, SKEW, SOURCE, eta=1, steps=-1), "steps is -1; expected at least 0"),
    (lambda: Law(np.eye(3), HALF, SOURCE), "p has 2 features, source 3; expected the same"),
    (lambda: Law(np.eye(4), SKEW, SOURCE), r"V has shape \(4, 4\); expected \(d, 3\)"),
    (lambda: Law(np.eye(3), SKEW, "counts"), "source is a str; expected a nlicl.papers.huang2023.population.Source"),
    (lambda: reduced.descend(reduced.balanced(4), steps=1, eps=0), "eps is 0; expected a finite number between 0 and 1"),
    (lambda: reduced.descend("balanced", steps=1), "query is a str; expected a .*.Query, as balanced, dominant and"),
    (lambda: reduced.flow(None), "query is a NoneType; expected a nlicl.papers.huang2023.queries.Query"),
    (lambda: reduced.flow(reduced.balanced(10**13)), r"K is 1e\+13; expected at most 10\*\*12 for a flow: its last phase"),
    (lambda: reduced.flow(reduced.under_represented(10**90, 0.5)), r"K is 1e\+90; expected at most 10\*\*12 for a flow"),
    (lambda: reduced.balanced(10**200), r"K is above 2\*\*664; expected at most 10\*\*100: .* Lower K"),
    (lambda: reduced.dominant(10**400, 0.5), r"K is above 2\*\*1328; expected at most 10\*\*100"),
    (lambda: reduced.under_represented(10**5000, 0.5), r"K is above .*; expected at most 10\*\*100"),
    (lambda: reduced.Query("balanced", 4, 0.1, 0.0, 10**400), r"G is above .*; expected at most 10\*\*100"),
    (lambda: reduced.flow(RARE, eps=1e-12), r"eps is 1e-12: .* \(1-p_k\)\^N = 2.33e-05, .* at least 1.02 .* or give end"),
    (lambda: reduced.flow(RARE, eps=2.33e-5), r"eps is 2.33e-05: .* expected eps of at least 1.02 \(1-p_k\)\^N = 2.38e-05"),
    (lambda: reduced.flow(RARE, eps=1e-17, end=1), "eps is 1e-17; expected at least 1e-16 for a flow with N finite"),
    (lambda: reduced.flow(reduced.balanced(4), eps=1e-300), "eps is 1e-300; expected at least 1e-100 .* N infinite"),
    (lambda: reduced.floor(4), "query is a int; expected a nlicl.papers.huang2023.queries.Query"),
    (lambda: reduced.balanced(1e8), "K is 100000000.0; expected an integer"),
    (lambda: reduced.balanced(4, 10**11), "N is 100000000000; expected at most 10000000000, or math.inf"),
    (lambda: reduced.balanced(4).point(math.nan, 0.0, 0.0), "A is nan; expected a finite number"),
    (lambda: reduced.Query("rare", 4, 0.1, 0.0, 3), "kind is 'rare'; expected one of 'balanced', 'dominant', 'under-rep"),
    (lambda: reduced.Query("balanced", 4, 0.1, 0.95, 3), "p_1 is 0.95; expected a finite number from 0 to below 1 - p_k"),
    (lambda: FLOW.at(FLOW.tau[-1] * 1.01), "tau is .*; expected a finite number from 0 to .*, where the trajectory ends"),
    (lambda: FLOW.at(-1.0), "tau is -1.0; expected a finite number from 0 to"),
    (lambda: FLOW.at([0.0, math.nan]), r"tau\[1\] is nan; expected a finite number"),
    (lambda: FLOW.at("end"), "tau is 'end'; expected finite numbers"),
    (lambda: reduced.descend(reduced.balanced(4), steps=1).at(0.0), "gradient descent, which has no points between steps"),
    (lambda: phases(reduced.balanced(4)), "trajectory is a .*.Query; expected a .*.Trajectory, as reduced.flow"),
    (lambda: theory.initial_loss([0.5, 0.6], 4), "p sums to 1.1; expected 1"),
    (lambda: theory.initial_loss([0.5, 0.5], 0), "N is 0; expected at least 1"),
    (lambda: theory.dominant_bound(0.1, eta=0), "eta is 0; expected a finite number greater than 0"),
    (lambda: theory.phase_bounds("balanced", 4, 0.1, eta=-1.0), "eta is -1.0; expected a finite number greater than 0"),
    (lambda: theory.phase_bounds("dominant", 4, 0.1, C=0), "C is 0; expected a finite number greater than 0"),
    (lambda: theory.under_represented_bound(4, 0.1, eta=math.inf), "eta is inf; expected a finite number greater"),
    (lambda: theory.F(0), "u is 0; expected a finite number greater than 0"),
    (lambda: theory.F([1.0, -2.0]), r"u\[1\] is -2; expected a finite number greater than 0"),
    (lambda: theory.F("u"), "u is 'u'; expected finite numbers greater than 0"),
    (lambda: theory.flow_time(0.5, 20, 0.5), "u is 0.5; expected a finite number at least .* = 1, where .* starts"),
    (lambda: theory.target_weight([1.0, 0.01], 20, 0.05), r"u\[1\] is 0.01; expected a finite number at least .* 0.0526316"),
    (lambda: theory.flow_time(2.0, 20, 1.0), "p_k is 1.0; expected a finite number between 0 and 1"),
    (lambda: theory.end_of_growth(1), "K is 1; expected at least 2"),
    (lambda: theory.balanced_times(1, 0.1), "K is 1; expected at least 2"),
    (lambda: theory.dominant_time(20, 0.5, 1), "eps is 1; expected a finite number between 0 and 1"),
    (lambda: theory.dominant_weight_law(-1.0, 20, 0.5), "tau is -1; expected a finite number at least 0"),
    (lambda: theory.target_weight_law(800.0, 20, 0.5), r"tau is 800; expected a finite number from 0 to below .* = 800"),
    (lambda: theory.target_weight_law([0.0, -1.0], 20, 0.5), r"tau\[1\] is -1; expected a finite number from 0 to below"),
    (lambda: theory.target_weight_law(1.0, 20, 1.5), "p_1 is 1.5; expected a finite number between 0 and 1"),
    (lambda: theory.leading_times(2, 0.5, 0.1), "K is 2; expected at least 3"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_errors_say_what_was_given_and_what_was_expected(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_the_order_of_counts_in_memory_changes_no_bit():
    source = population.enumerated([0.4, 0.3, 0.2, 0.1], 6)
    turned = population.Source(np.asfortranarray(source.counts), source.weights)
    S = np.random.default_rng(0).standard_normal((4, 4))
    found = (population.increments(S, [0.4, 0.3, 0.2, 0.1], each) for each in (source, turned))
    np.testing.assert_array_equal(*found)
