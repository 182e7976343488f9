"""Closed forms and theory of the third paper: every number of docs/bu2024.md, and the equations by which it was found."""

import itertools
import math

import numpy as np
import pytest

import nlicl
from nlicl.models.transformer import reference
from nlicl.papers.bu2024 import recursion, theory
from nlicl.papers.bu2024.closed import closed_form, sigmoid

REFERENCE = theory.norms(5, 5, 0.5, 0.5)  # K1 = 2, m = 50, lambda = 0.002, gamma = 1e4, sigma_0 = 0.1, sigma_1 = 0.01

# ---------------------------------------------------------------- closed forms


def one_concept(seed, n_plus, n_minus, e_q, scale=1.0):
    """Random parameters with zero label columns in W_Q, W_K and W_V = [0 I]; the prompt; the closed form's arguments."""
    rng = np.random.default_rng(seed)
    d_x, d_y, m_a, m = 5, 4, 3, 7
    W_Q, W_K = rng.normal(size=(2, m_a, d_x)) * scale
    W_O, r = rng.normal(size=(m, d_y)), rng.normal(size=m)
    a, b = rng.normal(size=(2, d_x)) / 2
    c, d = rng.normal(size=(2, d_y))
    no_labels = np.zeros((m_a, d_y))
    params = nlicl.Params(
        np.hstack([W_Q, no_labels]),
        np.hstack([W_K, no_labels]),
        np.hstack([np.zeros((d_y, d_x)), np.eye(d_y)]),
        W_O,
        r,
    )
    signs = rng.permutation([e_q] * n_plus + [-e_q] * n_minus)
    rows = [np.append(a + e * b, c + e * d) for e in signs] + [np.append(a + e_q * b, np.zeros(d_y))]
    prompt = nlicl.Prompts(np.array([rows]), [e_q])[0]
    return params, prompt, signs, (W_Q, W_K, W_O, r, a, b, c, d, e_q, n_plus, n_minus)


CASES = [(2, 2, 1), (2, 2, -1), (1, 6, 1), (5, 1, -1), (3, 0, 1), (0, 3, -1), (1, 0, -1)]


@pytest.mark.parametrize("n_plus, n_minus, e_q", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_closed_forms_are_the_definition(seed, n_plus, n_minus, e_q):
    params, prompt, signs, arguments = one_concept(seed, n_plus, n_minus, e_q)
    got, want = closed_form(*arguments), reference.forward(params, prompt)
    attn_plus = want.attention[signs == e_q].sum()
    np.testing.assert_allclose([got.attn_plus, got.attn_minus], [attn_plus, 1 - attn_plus], rtol=0, atol=1e-13)
    np.testing.assert_allclose(got.v, params.W_V @ want.context, rtol=0, atol=1e-13)
    np.testing.assert_allclose(got.preactivation, want.preactivation, rtol=0, atol=1e-12)
    assert got.score == pytest.approx(want.score, rel=1e-12, abs=1e-12)
    for name, grad in (("W_Q", got.dW_Q), ("W_K", got.dW_K)):
        W = getattr(params, name)
        for i, j in np.ndindex(grad.shape):  # complex step: exact to rounding
            moved = W.astype(complex)
            moved[i, j] += 1e-30j
            score = reference.forward(params._replace(**{name: moved}), prompt).score
            assert score.imag / 1e-30 == pytest.approx(grad[i, j], rel=1e-11, abs=1e-12), (name, i, j)


def test_the_closed_forms_are_tested_where_they_are_not_zero():
    norms = [np.linalg.norm(closed_form(*one_concept(seed, 2, 2, e)[3]).dW_Q) for seed in range(3) for e in (1, -1)]
    assert min(norms) > 1e-3


@pytest.mark.parametrize("times", [2, 7])
def test_attention_depends_on_length_through_a_ratio_alone(times):
    *fixed, n_plus, n_minus = one_concept(0, 2, 3, 1)[3]
    one, many = (closed_form(*fixed, factor * n_plus, factor * n_minus) for factor in (1, times))
    for got, want in zip(one, many, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-14)


def test_with_all_signs_equal_both_queries_have_one_score():
    for seed in range(3):
        *fixed, _, _, _ = one_concept(seed, 3, 0, 1)[3]
        assert closed_form(*fixed, 1, 3, 0).score == closed_form(*fixed, -1, 0, 3).score


def test_closed_forms_of_huge_scores():
    forms = [closed_form(*one_concept(0, 2, 2, e_q, scale=1e3)[3]) for e_q in (1, -1)]
    assert {(form.attn_plus, form.attn_minus) for form in forms} <= {(0.0, 1.0), (1.0, 0.0)}
    assert all(np.isfinite(np.concatenate([np.ravel(x) for x in form])).all() for form in forms)


def test_sigmoid():
    np.testing.assert_array_equal(sigmoid(np.array([-1000.0, 0.0, 1000.0])), [0, 0.5, 1])
    assert sigmoid(-50.0) == pytest.approx(math.exp(-50), rel=1e-14)


ARGUMENTS = one_concept(0, 2, 2, 1)[3]
NAMES = ("W_Q", "W_K", "W_O", "r", "a", "b", "c", "d", "e_q", "n_plus", "n_minus")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"W_K": np.ones((3, 6))}, r"W_K has shape \(3, 6\); expected \(m_a, d_x\) with d_x = 5, as W_Q has"),
        ({"r": np.ones(3)}, r"r has shape \(3,\); expected \(m,\) with m = 7, as W_O has"),
        ({"d": np.ones(5)}, r"d has shape \(5,\); expected \(d_y,\) with d_y = 4, as W_O has"),
        ({"a": np.ones((5, 1))}, r"a has shape \(5, 1\); expected 1 axes"),
        ({"b": np.ones(5, int)}, "b has dtype int64; expected a floating dtype"),
        ({"c": np.array([1.0, 2, np.nan, 3])}, r"c\[2\] is nan"),
        ({"e_q": 0}, "e_q is 0; expected the query's sign, -1 or 1"),
        ({"e_q": np.array([1, 1])}, r"e_q is array\(\[1, 1\]\); expected the query's sign, -1 or 1"),
        ({"n_plus": -1}, "n_plus is -1; expected at least 0"),
        ({"n_plus": 0, "n_minus": 0}, "n_plus and n_minus are both 0"),
    ],
)
def test_closed_form_says_what_is_wrong(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        closed_form(**dict(zip(NAMES, ARGUMENTS, strict=True)) | change)


# ---------------------------------------------------------------- geometry and schedule


def test_norms():
    norms = theory.norms(4, 2, 0.5, 0.2)
    np.testing.assert_allclose(np.square(norms), [12, 4, 2.4, 1.6])
    for one, other, length, kappa in ((norms.a, norms.b, 4, 0.5), (norms.c, norms.d, 2, 0.2)):
        assert one**2 + other**2 == pytest.approx(length**2)  # the norm of mu^+- = a +- b, a orthogonal to b
        assert one**2 - other**2 == pytest.approx(kappa * length**2)  # and their inner product


@pytest.mark.parametrize("gamma, T", [(4000, 0), (4000, 1), (2.5, 3), (1e4, 1500)])
def test_pure_decay_telescopes(gamma, T):
    etas = theory.step_sizes(T, 0.01, gamma)
    assert theory.decay(T, gamma) == pytest.approx(np.prod(1 - 0.01 * etas), rel=1e-12)


def test_decay_of_the_reference_setting():
    """a^T W a falls from sigma_0^2 ||a||^2 = 0.1875 to 0.1072 in 1500 steps."""
    start = 0.1**2 * REFERENCE.a**2
    assert start == pytest.approx(0.1875)
    assert start * theory.decay(1500, 1e4) ** 2 == pytest.approx(0.1072, abs=5e-5)


def test_step_sizes():
    assert theory.step_sizes(1, 0.002, 1e4)[0] == pytest.approx(0.1)
    np.testing.assert_allclose(theory.step_sizes(2, [0.1, 0.2], 3), [[2 / 0.3, 2 / 0.6], [2 / 0.4, 2 / 0.8]])


def test_needed_step_offset():
    assert theory.needed_step_offset(theory.norms(4, 4, 0.5, 0.5).c, 0.01, 20, 0.01) == pytest.approx(1.7e3, rel=0.02)
    assert theory.needed_step_offset(REFERENCE.c, 0.002, 50, 0.01) == pytest.approx(4.3e3, rel=0.01)


# ---------------------------------------------------------------- match rules


def counted(length, match):
    """The law of n_+ by going through all signs."""
    law = np.zeros(length + 1)
    for signs in itertools.product((0, 1), repeat=length):
        n_plus = sum(signs)
        if (match == "balanced" and 2 * n_plus != length) or (match == "conditioned" and n_plus == 0):
            continue
        law[max(n_plus, int(match == "at-least-one"))] += 1
    return law / law.sum()


@pytest.mark.parametrize("match", theory.RULES)
@pytest.mark.parametrize("length", [2, 4, 6])
def test_the_law_of_matches(length, match):
    np.testing.assert_allclose(theory.match_law(length, match), counted(length, match), rtol=1e-14)


@pytest.mark.parametrize("length", [1, 2, 4, 9])
def test_at_least_one_puts_the_rest_on_one(length):
    law = theory.match_law(length, "at-least-one")
    assert law[0] == 0 and law[1] == (length + 1) / 2**length
    assert law[2:].tolist() == [math.comb(length, j) / 2**length for j in range(2, length + 1)]


def test_attention_at_the_start():
    product = 0.1**2 * REFERENCE.b**2
    assert product == pytest.approx(0.0625)
    assert theory.initial_attention(4, "at-least-one", product) == pytest.approx(0.5406, abs=5e-5)
    assert theory.initial_attention(4, "conditioned", product) == pytest.approx(0.558, abs=5e-4)
    assert theory.initial_attention(4, "balanced", product) == pytest.approx(sigmoid(2 * product))


@pytest.mark.parametrize("product", [0.3, -0.3, 800.0, -800.0])
def test_attention_is_the_closed_form(product):
    attn_plus, _ = theory.attention_law(3, "iid", product)
    W = np.diag([0.0, 1.0])
    want = [
        closed_form(W, product * W, *map(np.ones, ((1, 1), 1)), *np.eye(2), *np.ones((2, 1)), 1, n, 3 - n).attn_plus
        for n in range(4)
    ]
    np.testing.assert_allclose(attn_plus, want, rtol=1e-13)


@pytest.mark.parametrize("product, between", [(1e308, 1), (-1e308, 0)])
def test_attention_of_huge_products_is_0_or_1(product, between):
    """With none or all that match, attn_+ does not depend on the product."""
    attn_plus, _ = theory.attention_law(4, "iid", product)
    assert attn_plus.tolist() == [0, *3 * [between], 1]
    assert theory.initial_attention(4, "balanced", product) == between


def test_floor():
    np.testing.assert_allclose([theory.floor_error(L) for L in (1, 4)], [0.5, 0.0625])
    # half of the prompts with no match are all that is lost by a model which is right elsewhere: both are 2^-L together
    law = theory.match_law(4, "iid")
    assert law[0] == theory.floor_error(4) and law[4] == law[0]


# ---------------------------------------------------------------- early phase: numbers


def test_factor_and_source_of_the_match_rules():
    factor = {match: theory.early_rate(1, 1, 1, 4, match) / theory.early_rate(1, 1, 1) for match in theory.RULES}
    assert factor == pytest.approx({"balanced": 1, "iid": 0.75, "at-least-one": 0.797, "conditioned": 0.8}, abs=5e-4)
    source = {match: 2 * theory.early_source(1, 1, 1, 1, 4, match) for match in theory.RULES}
    assert source == pytest.approx({"balanced": 0, "iid": 0, "at-least-one": 2**-3 / 4, "conditioned": 1 / 15})


@pytest.mark.parametrize("match, step", [("balanced", 366), ("at-least-one", 383), ("iid", 499), ("conditioned", 328)])
def test_when_the_product_reaches_1_10(match, step):
    k_0 = theory.early_rate(REFERENCE.b, REFERENCE.d, 2, 4, match)
    source = theory.early_source(25, 50, REFERENCE.d, 2, 4, match)
    X_0 = 0.1 * math.sqrt(25) / 50
    _, X = theory.early_flow(0.0, X_0, theory.step_sizes(600, 0.002, 1e4), k_0, 0.002, source)
    product = (np.minimum(X, 1) / X_0 * 0.1 * REFERENCE.b) ** 2
    assert np.argmax(product >= 1.10) == step


def test_the_reference_setting():
    assert theory.lambda_star(0.1, REFERENCE.b, REFERENCE.d, 2, 50) == pytest.approx(0.025, abs=5e-4)
    T_b = theory.escape_time(0.0, 0.01, theory.early_rate(REFERENCE.b, REFERENCE.d, 2))
    assert theory.escape_step(T_b, 0.002, 1e4) == pytest.approx(428, abs=0.5)


def test_escape_time_at_lambda_star_is_the_horizon():
    k_0 = theory.early_rate(1.5, 1.2, 3)
    star = theory.lambda_star(0.05, 1.5, 1.2, 3, 40, m_plus=13)
    X_0 = 0.05 * math.sqrt(13) / 40
    assert theory.escape_time(0.0, X_0, k_0) == pytest.approx(1 / star, rel=1e-14)
    assert theory.succeeds(0.0, X_0, k_0, np.array([0.999, 1.001]) * star).tolist() == [True, False]


def test_escape_time_is_that_of_the_equations():
    R_0, X_0, k_0 = np.array([0.3, 0.1, 0.0999, 0.05, 0.0, -0.05, -0.09]), 0.1, 2.0
    T_b = theory.escape_time(R_0, X_0, k_0)
    step = 2e-3
    _, X = theory.early_flow(R_0, X_0, np.full(20_000, step), k_0)
    np.testing.assert_allclose(np.argmax(X > 1e3, axis=0) * step, T_b, rtol=0.01)
    assert np.all(np.diff(T_b) > 0)
    np.testing.assert_allclose(theory.escape_time([0.1 + 1e-9, 0.1, 0.1 - 1e-9], 0.1, k_0), 5, rtol=1e-7)  # 1/(k_0 R_0)
    assert theory.escape_time(1.0, 1e-200, 1.0) == pytest.approx(math.log(2e200))


def test_what_never_escapes():
    never = theory.escape_time([-0.1, -0.2, 0.1, -1.0], [0.1, 0.1, 0.0, 0.0], 1.0)
    assert np.isinf(never).all() and not theory.succeeds([-0.1, 0.1], [0.1, 0.0], 1.0).any()
    assert theory.succeeds([0.2, -0.0999], 0.1, 1.0).all()
    assert theory.escape_step(np.inf, 0.01, 400) == np.inf == theory.escape_step(100.0, 0.01, 400)


def test_chance_of_failure():
    np.testing.assert_allclose(
        [1 - theory.failure_probability(*sigmas) for sigmas in ((0.05, 0.05), (0.05, 0.1), (0.02, 0.1))],
        [0.841, 0.691, 0.579],
        atol=5e-4,
    )
    for K1, delta in ((1, 0.5), (2, 0.1), (10, 0.01)):
        enough = theory.sufficient_sigma_0(0.3, K1, delta)
        assert enough == pytest.approx(0.3 * math.sqrt(2 * math.log(2 * K1 / delta)))
        assert K1 * theory.failure_probability(enough, 0.3) < delta


def test_chances_of_failure_of_many():
    sigma_0, sigma_1 = np.array([[0.02], [0.05]]), np.array([0.05, 0.1, 1e-9])
    many = theory.failure_probability(sigma_0, sigma_1)
    assert many.tolist() == [[theory.failure_probability(x, y) for y in sigma_1] for x in sigma_0[:, 0]]
    assert theory.failure_probability(1e300, 1e-300) == 0 and isinstance(theory.failure_probability(1, 1), float)


def test_chance_of_failure_is_the_rules():
    state, r = recursion.random_start(40, 0.05, 0.1, range(2000))
    early = theory.early_quantities(r, state.o_c, state.o_d, 0.05)
    failed = 1 - theory.succeeds(early.R, early.X, 1.0).mean()
    assert failed == pytest.approx(theory.failure_probability(0.05, 0.1), abs=0.03)


def test_early_quantities():
    early = theory.early_quantities([0.25, 0.25, -0.25, -0.25], [1, -1, 1, 1], [0.1, 5.0, 0.3, -0.2], 0.6)
    np.testing.assert_allclose(early, [0.0, 3, math.sqrt(3) * 0.6 / 4], atol=1e-17)


# ---------------------------------------------------------------- early phase: against the model


@pytest.mark.parametrize("match", theory.RULES)
def test_drifts_of_the_full_model(match):
    """The mean gradient over every prompt of a rule, at small norms, against dR/dtau and dbeta/dtau."""
    rng = np.random.default_rng(3)
    norms, m, beta = theory.norms(2.0, 3.0, 0.5, 0.3), 9, 3e-2
    a, b = np.diag(norms[:2])
    c, d = np.diag(norms[2:])
    W_O, r = rng.normal(size=(m, 2)) * [1e-3, 1e-5], rng.choice([-1.0, 1.0], m) / m  # active are those with o_c > 0
    W = np.hstack([beta * np.eye(2), np.zeros((2, 2))])
    params = nlicl.Params(W, W, np.hstack([np.zeros((2, 2)), np.eye(2)]), W_O, r)
    drift_R = drift_beta = 0.0
    early = theory.early_quantities(r, W_O[:, 0], W_O[:, 1], beta)
    for e_q, (n_plus, weight) in itertools.product((1, -1), enumerate(theory.match_law(4, match))):
        signs = [e_q] * n_plus + [-e_q] * (4 - n_plus)
        rows = [np.append(a + e * b, c + e * d) for e in signs] + [np.append(a + e_q * b, [0, 0])]
        grads = nlicl.loss_and_grad(params, nlicl.Prompts(np.array([rows]), [e_q]), loss="logistic")[1]
        drift_R -= weight / 2 * (r * (W_O[:, 0] > 0)) @ grads.W_O[:, 1]
        drift_beta -= weight / 2 * (grads.W_Q[1, 1] + grads.W_K[1, 1]) / 2
    k_0 = theory.early_rate(norms.b, norms.d, 1, 4, match)
    source = theory.early_source(int(early.m_plus), m, norms.d, 1, 4, match)
    assert drift_R == pytest.approx(k_0 * early.X**2 + source, rel=0.01)
    assert drift_beta == pytest.approx(k_0 * early.R * beta, rel=0.01)


# K1 = 1, na = nc = 2, nb = nd = 1.5, m = 40. Flow times are those of runs with more and smaller steps.
SIZES = {"concepts": 1, "norm_a": 2.0, "norm_b": 1.5, "norm_c": 2.0, "norm_d": 1.5}
K_0 = theory.early_rate(1.5, 1.5, 1)
M = 40


def drift_of_the_invariant(eta, weight_decay, clear):
    """Largest |change of R^2 - X^2|, with the decay divided out, over R^2 + X^2, run by run, while X < 3 X_0."""
    sigma, steps = 0.005, np.linspace(0, 1500 / eta, 51).astype(int)
    state, r = recursion.random_start(M, sigma, sigma, range(20))
    if clear:  # no neuron is near the edge of being active, so that none crosses it
        state = state._replace(o_c=np.sign(state.o_c) * (sigma + np.abs(state.o_c)))
    setting = recursion.Setting(**SIZES, weight_decay=weight_decay)
    o = recursion.run(state, r, setting, np.full(steps[-1], eta), steps).observed
    decayed = (1 - eta * weight_decay) ** steps[:, None]
    change = theory.invariant(o.R, o.X, decayed) - theory.invariant(o.R[0], o.X[0])
    relative = np.abs(change) * decayed**2 / (o.R**2 + o.X**2)
    return np.where(o.X / o.X[0] < 3, relative, 0).max(axis=0)


@pytest.mark.parametrize("weight_decay", [0.0, 3e-4])
def test_the_invariant(weight_decay):
    """Conserved but for the size of a step. A neuron that stops being active, or starts, changes it."""
    drift = drift_of_the_invariant(0.5, weight_decay, clear=True)
    assert 1e-5 < drift.max() < 5e-4
    np.testing.assert_allclose(drift_of_the_invariant(1.0, weight_decay, clear=True), 2 * drift, rtol=0.05)
    assert drift_of_the_invariant(1.0, weight_decay, clear=False).max() > 0.01


def agreement(o, weight_decay, seeds):
    """Shares of success and of the rule's predictions, and of runs where they agree, a row for each `seeds` runs."""
    rule = theory.succeeds(o.R[0], o.X[0], K_0, weight_decay)
    found = np.stack([o.learned[-1], rule, o.learned[-1] == rule])
    return found.reshape(3, -1, seeds).mean(axis=2)


def test_the_rule_without_weight_decay():
    seeds = 40
    sigma_0, sigma_1 = np.repeat([[0.05, 0.05, 0.02], [0.05, 0.1, 0.1]], seeds, axis=1)
    state, r = recursion.random_start(M, sigma_0, sigma_1, list(range(seeds)) * 3)
    o = recursion.run(state, r, recursion.Setting(**SIZES), np.full(6000, 1.0), [0, 300, 6000]).observed
    success, _, agree = agreement(o, 0.0, seeds)
    # of 200 seeds: 0.810, 0.710, 0.605; 0.790, 0.685, 0.575; 0.980, 0.975, 0.970
    np.testing.assert_allclose(success, [0.81, 0.71, 0.605], atol=3 * 0.5 / seeds**0.5)
    assert np.all(agree >= 0.925), agree
    # a run that fails forgets beta first, attn_+ = 1/2; then it attends to the other sign, and reads it turned around
    failed = ~theory.succeeds(o.R[0], o.X[0], K_0) & ~o.learned[-1]
    assert failed.sum() >= 20
    np.testing.assert_allclose(np.median(o.attn_plus[1, failed]), 0.5, atol=0.01)
    late = (o.attn_plus[-1, failed] < 0.05).all(axis=-1)
    assert late.mean() > 0.9 and np.all(o.margin[-1, failed][late] > 0.5) and np.all(o.R[-1, failed][late] < -0.1)


def test_the_rule_with_weight_decay():
    seeds, scales = 10, [0.25, 0.5, 0.8, 1.0, 1.25, 2.0]
    cells = [(*sigmas, scale) for sigmas in ((0.05, 0.01), (0.05, 0.02), (0.1, 0.02)) for scale in scales]
    sigma_0, sigma_1, scale = np.repeat(cells, seeds, axis=0).T
    weight_decay = scale * theory.lambda_star(sigma_0, 1.5, 1.5, 1, M)
    state, r = recursion.random_start(M, sigma_0, sigma_1, list(range(seeds)) * len(cells))
    setting = recursion.Setting(**SIZES, weight_decay=weight_decay)
    o = recursion.run(state, r, setting, np.full(5000, 1.0)).observed
    success, _, agree = agreement(o, weight_decay, seeds).reshape(3, 3, 6)
    assert np.all(success[:, 0] >= 0.9) and np.all(success[:, 5] == 0)
    assert np.all(np.diff(success, axis=1) <= 0)
    assert agree.mean() >= 0.97 and np.all(agree >= 0.8), agree
    np.testing.assert_allclose(o.attn_plus[-1, ~o.learned[-1]], 0.5, atol=1e-3)  # here beta stays forgotten


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: theory.norms(0, 1, 0.5, 0.5), "norm_x is 0; expected a finite number above 0"),
        (lambda: theory.norms(1, 1, 0.5, 1.0), "kappa_y is 1.0; expected a finite number between 0 and 1"),
        (lambda: theory.step_sizes(10, 0.0, 100), "weight_decay is 0; expected a finite number above 0"),
        (lambda: theory.step_sizes(10.5, 0.1, 100), "steps is 10.5; expected an integer"),
        (lambda: theory.decay(10, 2), "step_offset is 2; expected a finite number above 2"),
        (lambda: theory.decay([1, -1], 10), r"steps\[1\] is -1; expected a finite number of at least 0"),
        (lambda: theory.needed_step_offset(1, 0.1, 0, 0.1), "width is 0; expected at least 1"),
        (lambda: theory.match_law(3, "balanced"), "length is 3 with match 'balanced'; expected an even number"),
        (
            lambda: theory.match_law(4, "all"),
            "match is 'all'; expected one of 'at-least-one', 'balanced', 'iid', 'cond",
        ),
        (lambda: theory.match_law(0, "iid"), "length is 0; expected at least 1"),
        (lambda: theory.initial_attention(4, "iid", math.nan), "product is nan; expected a finite number"),
        (lambda: theory.floor_error(-1), "length is -1; expected at least 1"),
        (lambda: theory.early_rate(1, 1, 1, None, "iid"), "length is None; expected an integer"),
        (lambda: theory.early_source(5, 4, 1, 1, 4, "iid"), "m_plus is 5; expected a finite number from 0 to m = 4"),
        (lambda: theory.early_quantities([1.0], [1.0, 2.0], [1.0], 1), r"shapes \(1,\), \(2,\) and \(1,\)"),
        (lambda: theory.early_quantities([1.0], ["x"], [1.0], 1), r"o_c is \['x'\]; expected finite numbers\."),
        (lambda: theory.early_flow(0, 1, [0.1], 0), "k_0 is 0; expected a finite number above 0"),
        (lambda: theory.early_flow(0, 1, 0.1, 1), r"etas is 0.1; expected one step size a step"),
        (lambda: theory.invariant(1, 1, 0.0), "decayed is 0; expected a finite number above 0"),
        (lambda: theory.escape_time(0.1, -0.1, 1), "X_0 is -0.1; expected a finite number of at least 0"),
        (lambda: theory.succeeds(0.1, 0.1, 1, -1), "weight_decay is -1; expected a finite number of at least 0"),
        (lambda: theory.lambda_star(0, 1, 1, 1, 10), "sigma_0 is 0; expected a finite number above 0"),
        (lambda: theory.failure_probability(1, math.inf), "sigma_1 is inf; expected a finite number above 0"),
        (lambda: theory.failure_probability([1, 0], 1), r"sigma_0\[1\] is 0; expected a finite number above 0"),
        (lambda: theory.sufficient_sigma_0(1, 1, 0), "delta is 0; expected a finite number between 0 and 1"),
        (lambda: theory.escape_step(math.nan, 0.1, 10), "T_b is nan; expected numbers above 0, inf for never"),
    ],
)
def test_errors_name_the_number(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
