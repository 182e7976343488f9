"""What attention and neurons have learnt: correct attention, coefficients, products, dead neurons, against naive loops."""

import dataclasses
import math

import naive
import numpy as np
import pytest
from draws import assert_close, seeds
from hypothesis import given
from hypothesis import strategies as st

import nlicl
from nlicl import Params
from nlicl.papers import bu2024
from nlicl.papers.bu2024 import Observer, Problem, mechanism, recursion, shifts, small, theory_case

TINY = Problem(dictionary=6, d_x=9, d_y=7, p_z=0.3, m=5, sigma_xi=0.4)
FIELDS = mechanism.Products._fields


def drawn(problem, seed, m_a=None):
    """Generic parameters: no matrix symmetric, no entry 0."""
    rng = np.random.default_rng(seed)
    start = problem.initialize(m_a=m_a)
    return Params(*(rng.normal(size=array.shape) / 4 for array in start))


def refused(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value), caught.value


# ---------------------------------------------------------------- correct attention


@given(seeds, st.integers(1, 6), st.integers(1, 7))
def test_correct_attention_is_that_on_the_query_s_sign(seed, n, L):
    x = TINY.sample(n, length=L, seed=seed, match="iid")
    attention = nlicl.forward(drawn(TINY, seed), x).attention
    want = []
    for p in range(n):
        total = 0.0
        for l in range(L):
            if x.signs[p, l] == x.signs[p, L]:
                total += attention[p, l]
        want.append(total)
    assert_close(mechanism.correct_attention(attention, x), want, 1e-15)


def test_all_or_nothing():
    x = TINY.sample(200, length=2, seed=1, match="iid")
    attn = mechanism.correct_attention(nlicl.forward(drawn(TINY, 0), x).attention, x)
    same = np.sum(x.signs[:, :2] == x.signs[:, 2:], axis=1)
    assert {0, 1, 2} == set(same)
    assert not attn[same == 0].any() and abs(attn[same == 2] - 1).max() < 1e-15
    assert np.all((attn[same == 1] > 0) & (attn[same == 1] < 1))


@pytest.mark.parametrize(
    ("attention", "prompts", "error", "words"),
    [
        (
            np.ones((3, 4)),
            TINY.sample(3).dense(),
            TypeError,
            ["prompts is a nlicl.papers.bu2024.Prompts; expected a nlicl.papers.bu2024.CodedPrompts"],
        ),
        (np.ones((3, 3)), TINY.sample(3), ValueError, ["attention has shape (3, 3); expected (3, 4) of these prompts"]),
        (np.ones(3), TINY.sample(3), ValueError, ["attention has shape (3,); expected 2 axes, (B, L)"]),
        (np.ones((3, 4), int), TINY.sample(3), TypeError, ["attention has dtype int64"]),
    ],
)
def test_attention_of_no_such_prompts(attention, prompts, error, words):
    refused(lambda: mechanism.correct_attention(attention, prompts), error, words)


# ---------------------------------------------------------------- error and dead neurons


def test_no_score_is_half_an_error():
    assert mechanism.error(np.array([1.0, -2.0, 0.0, -0.0]), np.array([1.0, 1.0, 1.0, -1.0])) == 0.5
    assert mechanism.error(np.zeros(7), np.ones(7)) == 0.5
    assert mechanism.error(np.array([3.0, -3.0]), np.array([1.0, -1.0])) == 0.0
    assert mechanism.error(np.array([3.0, -3.0]), np.array([-1.0, 1.0])) == 1.0
    assert mechanism.error(np.array([math.nan, 1.0]), np.array([1.0, 1.0])) == 0.5  # no answer is no right one
    for score, labels in ((np.ones((2, 1)), np.ones(2)), (np.ones(3), np.ones(2)), (1.0, 1.0)):
        refused(
            lambda s=score, y=labels: mechanism.error(s, y),
            ValueError,
            ["score and labels have shapes", "expected (B,)"],
        )


@given(seeds, st.integers(1, 5), st.integers(1, 6))
def test_a_dead_neuron_is_off_on_every_prompt(seed, B, m):
    h = np.random.default_rng(seed).integers(-2, 3, (B, m)) * 1.0
    dead = 0
    for i in range(m):
        dead += all(h[n, i] <= 0 for n in range(B))
    assert mechanism.dead_neurons(h) == pytest.approx(dead / m, abs=1e-15)
    refused(lambda: mechanism.dead_neurons(h[0]), ValueError, ["preactivation has shape", "(B, m)"])


# ---------------------------------------------------------------- coefficients and products


def rows_of(array):
    """Columns as lists."""
    return naive.numbers(array.T)


@given(seeds, st.integers(1, 3))
def test_coefficients_along_the_idempotents(seed, K1):
    problem = Problem(concepts=K1, dictionary=2 * K1 + 1, d_x=2 * K1 + 2, d_y=2 * K1 + 1, m=4, semantics_seed=seed % 9)
    p, s = drawn(problem, seed), problem.semantics
    found = mechanism.coefficients(p, s)
    W_Q, W_K, W_O = (naive.numbers(W) for W in (p.W_Q[:, : problem.d_x], p.W_K[:, : problem.d_x], p.W_O))
    a, b, c, d = (rows_of(getattr(s, name)) for name in "abcd")
    for k in range(K1):
        for W, alpha, beta in ((W_Q, found.alpha_Q, found.beta_Q), (W_K, found.alpha_K, found.beta_K)):
            assert_close(alpha[k], naive.bilinear(a[k], W, a[k]) / naive.dot(a[k], a[k]), 1e-14)
            assert_close(beta[k], naive.bilinear(b[k], W, b[k]) / naive.dot(b[k], b[k]), 1e-14)
        assert_close(found.alpha_O[:, k], [naive.dot(w, c[k]) for w in W_O], 1e-13)
        assert_close(found.beta_O[:, k], [naive.dot(w, d[k]) for w in W_O], 1e-13)
    assert found.alpha_O.shape == (4, K1) and found.alpha_Q.shape == (K1,)


def test_coefficients_are_the_recursion_s_coordinates():
    """Two writings of one thing: <w_i, c_k> is ||c_k|| o_c, and beta the entry b b^T."""
    p, s = drawn(theory_case, 1), theory_case.semantics
    found = mechanism.coefficients(p, s)
    for k in range(2):
        state = recursion.project(p, s, k)
        assert_close([found.alpha_Q[k], found.beta_Q[k]], np.diag(state.Q), 1e-13)
        assert_close([found.alpha_K[k], found.beta_K[k]], np.diag(state.K), 1e-13)
        assert_close(found.alpha_O[:, k], np.linalg.norm(s.c[:, k]) * state.o_c, 1e-13)
        assert_close(found.beta_O[:, k], np.linalg.norm(s.d[:, k]) * state.o_d, 1e-13)


@pytest.mark.parametrize("change", [{"m_a": 5}, {"m_b": 5}])
def test_coefficients_need_square_blocks(change):
    p = TINY.initialize(**change)
    refused(
        lambda: mechanism.coefficients(p, TINY.semantics), ValueError, ["params has W_Q", "expected (9, 16) and (m, 7)"]
    )


@given(seeds, st.integers(1, 3), st.integers(0, 2), st.integers(0, 3))
def test_products_are_the_largest_of_all_pairs(seed, K1, nus, noise):
    problem = Problem(concepts=K1, dictionary=2 * K1 + nus, d_x=2 * K1 + nus + 1, d_y=2 * K1, m=4)
    rng = np.random.default_rng(seed)
    p, s = drawn(problem, seed), problem.semantics
    xi_x, xi_y = rng.normal(size=(problem.d_x, noise)), rng.normal(size=(problem.d_y, noise))
    found = mechanism.products(p, s, problem.nu, xi_x, xi_y)
    blocks = (p.W_Q[:, : problem.d_x], p.W_K[:, : problem.d_x], p.W_O)
    others = (s.a, s.b, s.c, s.d, problem.nu, xi_x, xi_y)
    want = naive.products(*map(naive.numbers, blocks), *map(rows_of, others))
    assert set(FIELDS) == set(want)
    for name in FIELDS:
        assert type(getattr(found, name)) is float
        assert_close(getattr(found, name), want[name], 1e-12, name)


def test_the_word_matrix_makes_the_scores():
    """x_l^T W x_q, and not W^T: the largest products are the same for both."""
    p, x = drawn(TINY, 3), TINY.sample(1, seed=1)[0]
    W = mechanism.word_matrix(p, 9)
    want = [naive.dot(naive.times(naive.numbers(p.W_K), row), naive.times(naive.numbers(p.W_Q), [*x.x_q, *[0.0] * 7]))
            for row in [[*word, *[0.0] * 7] for word in x.x.T]]  # fmt: skip
    assert_close(x.x.T @ W @ x.x_q, want, 1e-12)


def test_products_at_the_start():
    """sigma_0^2 times the squared norms: 0.0625 and 0.1875 in the reference setting; cross, mixed and nu are 0."""
    problem = Problem()
    observe = Observer(problem, n=50)
    found = observe(problem.initialize())
    assert found["specific"] == pytest.approx(0.0625, rel=1e-12) and found["shared"] == pytest.approx(0.1875, rel=1e-12)
    assert max(found["cross"], found["mixed"], found["nu"]) < 1e-15
    np.testing.assert_allclose([found["alpha_Q"], found["beta_K"]], 0.1, rtol=1e-13)


# ---------------------------------------------------------------- the observer


@pytest.mark.parametrize(
    "problem", [TINY, theory_case, dataclasses.replace(TINY, sigma_xi=0.0)], ids=["noise", "clean", "codes"]
)
def test_the_observer_measures_its_definitions(problem):
    observe, p = Observer(problem, n=40, seed=3), drawn(problem, 5)
    found, x = observe(p), observe.prompts
    assert len(x) == 40
    scores, attention, hidden = [], [], []
    for tokens in x.dense().tokens:
        F, attn, _, h = naive.forward(*map(naive.numbers, p), naive.numbers(tokens))
        scores.append(F), attention.append(attn), hidden.append(h)
    margins = [y * F for y, F in zip(x.labels, scores, strict=True)]
    assert_close(
        found["loss"], sum(naive.loss("logistic", F, y) for F, y in zip(scores, x.labels, strict=True)) / 40, 1e-13
    )
    assert found["error"] == pytest.approx(sum((m < 0) + (m == 0) / 2 for m in margins) / 40, abs=1e-15)
    plus = [sum(attn[l] for l in range(x.length) if x.signs[n, l] == x.labels[n]) for n, attn in enumerate(attention)]
    assert_close(found["attention"], sum(plus) / 40, 1e-13)
    for k in range(problem.concepts):
        of = [plus[n] for n in range(40) if x.concept[n] == k]
        assert_close(found["attention_k"][k], sum(of) / len(of), 1e-13)
    dead = [all(h[i] <= 0 for h in hidden) for i in range(problem.m)]
    assert found["dead"] == pytest.approx(sum(dead) / problem.m) and found["zero"] == sum(F == 0 for F in scores) / 40
    products = mechanism.products(p, problem.semantics, problem.nu, observe.xi_x, observe.xi_y)
    assert {name: found[name] for name in FIELDS} == products._asdict()
    along = mechanism.coefficients(p, problem.semantics)
    for name in ("alpha_Q", "beta_Q", "alpha_K", "beta_K"):
        np.testing.assert_array_equal(found[name], getattr(along, name))
    assert set(found) == {"loss", "error", "attention", "attention_k", "attention_ke", "dead", "zero", *FIELDS, "alpha_Q",
                          "beta_Q", "alpha_K", "beta_K", "R", "X"}  # fmt: skip


def test_dead_neurons_are_chance_and_not_success():
    p = small.initialize()
    found = Observer(small, n=30)(p._replace(W_O=0 * p.W_O))
    assert (found["error"], found["zero"], found["dead"]) == (0.5, 1.0, 1.0)
    assert found["loss"] == pytest.approx(math.log(2), rel=1e-15)


def test_large_margins_have_a_finite_loss():
    p = small.initialize(seed=1)
    observe = Observer(small, n=30)
    with np.errstate(all="raise", under="ignore"):
        found = observe(p._replace(a=1e300 * p.a))
    assert np.isfinite(found["loss"]) and found["loss"] > 1e200


def test_what_an_observer_draws():
    """Test prompts of its seed, which no step of training has; noise vectors as long as noise is; any distribution."""
    one, other = Observer(TINY, n=20, seed=1), Observer(TINY, n=20, seed=1)
    np.testing.assert_array_equal(one.prompts.tokens, other.prompts.tokens)
    np.testing.assert_array_equal(one.xi_x, other.xi_x)
    assert abs(one.xi_x - Observer(TINY, n=20, seed=2).xi_x).max() > 0.1
    for seed in (1, (1, 0), (1, 1)):
        assert abs(one.prompts.tokens - TINY.sample(20, seed=seed).tokens).max() > 0.1
    assert abs(one.xi_x.std() / 0.4 - 1) < 0.1 and one.xi_x.shape == (9, 200) and one.xi_y.shape == (7, 200)
    assert not Observer(theory_case, n=4).xi_x.any()
    assert len(Observer(TINY).prompts) == 2000
    found = {name: Observer(small, n=9, **shift.draw)(small.initialize()) for name, shift in shifts(small).items()}
    assert all(np.isfinite(values["loss"]) for values in found.values())
    assert Observer(small, n=9, length=8).prompts.length == 8
    alone = Observer(TINY, n=9, concept_weights=(1.0, 0.0))(TINY.initialize())
    assert np.isnan(alone["attention_k"][1]) and alone["attention_k"][0] == alone["attention"]
    refused(lambda: Observer(TINY, n=0), ValueError, ["n is 0"])
    refused(lambda: Observer(TINY, seed=-1), ValueError, ["seed is -1"])


def test_parameters_of_other_sizes_are_measured_as_far_as_they_go():
    p = drawn(TINY, 0, m_a=4)
    found = Observer(TINY, n=9)(p)
    assert "alpha_Q" not in found and np.isfinite(found["specific"])


def test_in_single_precision():
    p = Params(*(array.astype(np.float32) for array in drawn(TINY, 2)))
    one, other = Observer(TINY, n=50)(p), Observer(TINY, n=50)(drawn(TINY, 2))
    for name in ("loss", "attention", "specific", "beta_Q", "nu"):
        assert_close(one[name], other[name], 1e-5 * (1 + np.max(other[name])))


def test_the_prediction_names_the_late_concept():
    """Seed 18 of the small setting: by the rule its first concept leaves the saddle after 2000 steps, its second after 400."""
    problem = bu2024.small
    start = problem.initialize(seed=18)
    found = bu2024.predict(problem, start)
    np.testing.assert_allclose(found.step, [2044.3, 393.6], atol=0.1)
    assert found.learns.all()
    state = bu2024.recursion.project(start, problem.semantics, 0)
    R, m_plus, X = bu2024.theory.early_quantities(start.a, state.o_c, state.o_d, problem.sigma_0)
    np.testing.assert_allclose((found.R[0], found.m_plus[0], found.X[0]), (R, m_plus, X), rtol=1e-12)
    history = nlicl.train(problem, seed=18, measure=[0, 600]).history
    late, early = history["attention_k"][-1]
    assert late < 0.7 and early > 0.95
    np.testing.assert_allclose(history["R"][0], found.R, rtol=1e-12)
    np.testing.assert_allclose(history["X"][0], found.X, rtol=1e-12)
    too_much = dataclasses.replace(problem, weight_decay=2 * found.lambda_star.max())
    assert not bu2024.predict(too_much, start).learns.any()


def test_attention_by_concept_and_sign():
    problem, observer = bu2024.small, bu2024.Observer(bu2024.small, n=200)
    params = problem.initialize(seed=3)
    attention = bu2024.mechanism.correct_attention(nlicl.forward(params, observer.prompts).attention, observer.prompts)
    measured = observer(params)
    for k in range(2):
        for i, e in enumerate((1, -1)):
            mine = attention[(observer.prompts.concept == k) & (observer.prompts.signs[:, -1] == e)]
            assert measured["attention_ke"][k, i] == pytest.approx(np.mean(mine), abs=1e-14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W_O": np.ones((20, 3))}, r"params.W_O has shape \(20, 3\); expected \(m, m_b\) with m_b = 6"),
        ({"nu": np.ones(10)}, r"nu has shape \(10,\); expected \(10, n\)"),
        ({"xi_y": np.ones((10, 4))}, r"xi_y has shape \(10, 4\); expected \(6, n\)"),
    ],
)
def test_products_of_other_sizes_are_refused(change, message):
    arrays = {"nu": np.ones((10, 2)), "xi_x": np.ones((10, 4)), "xi_y": np.ones((6, 4))}
    params = small.initialize()
    if "W_O" in change:
        params = params._replace(**change)
    else:
        arrays |= change
    with pytest.raises(ValueError, match=message):
        mechanism.products(params, small.semantics, **arrays)


@pytest.mark.parametrize("d_x", [-3, 0, 17])
def test_words_are_columns(d_x):
    with pytest.raises(ValueError, match=f"d_x is {d_x}; expected 1 to 16"):
        mechanism.word_matrix(small.initialize(), d_x)
