"""Huang et al. 2023: prompts, problem, sampler, definition, gradient formulas, audit, identities, observer, a short run."""

import dataclasses
import itertools
import math
from functools import lru_cache

import numpy as np
import pytest
from draws import assert_close, seeds
from hypothesis import given
from hypothesis import strategies as st

import nlicl
from nlicl.audit import Formula, audit_formula, audit_paper, check_marks, verdict
from nlicl.audit.bench import Bench
from nlicl.audit.mistakes import Mark, edits
from nlicl.core.errors import NotFinite
from nlicl.kernels.steps import regression
from nlicl.papers import huang2023
from nlicl.papers.huang2023 import CodedPrompts, Params, Problem, Prompts, formulas, population, reference
from nlicl.papers.huang2023.reference import Counted, Population, PopulationWeights, Weights

P3 = (0.5, 0.3, 0.2)


def rng_of(seed):
    return np.random.default_rng(seed)


def drawn(seed, B=4, K=4, N=6, d=6, attends=False, scale=1.0):
    """Coded prompts of unequal features with an orthonormal V, and a random Q."""
    rng = rng_of(seed)
    V = np.linalg.qr(rng.normal(size=(d, K)))[0]
    x = CodedPrompts(V, rng.integers(0, K, (B, N + 1)), rng.normal(size=(B, K)), attends)
    return x, Params(scale * rng.normal(size=(d, d)))


SIZES = {
    "K": st.integers(2, 5),
    "N": st.integers(1, 7),
    "more": st.integers(0, 3),
    "attends": st.booleans(),
    "seed": seeds,
}


# ---- Prompts


def test_prompts_of_both_kinds():
    x, params = drawn(0, B=5)
    assert (len(x), x.length, repr(x)) == (5, 6, "CodedPrompts(B=5, N=6, K=4, d=6)")
    dense = x.dense()
    assert repr(dense) == "Prompts(B=5, N=6, d=6, float64)" and (len(dense), dense.length) == (5, 6)
    assert repr(Prompts(dense.tokens, dense.labels, True)).endswith("float64, query_attends=True)")
    assert repr(CodedPrompts(x.V, x.features, x.omega, True)).endswith("d=6, query_attends=True)")
    for n, prompt in enumerate(dense):
        assert prompt.P.shape == (7, 7) and prompt.contexts.shape == (7, 6) and prompt.query.shape == (7,)
        assert (prompt.X.shape, prompt.y.shape, prompt.x_query.shape) == ((6, 6), (6,), (6,))
        for i in range(6):
            np.testing.assert_array_equal(prompt.X[:, i], x.V[:, x.features[n, i]])
            assert prompt.y[i] == x.omega[n, x.features[n, i]]
        np.testing.assert_array_equal(prompt.x_query, x.V[:, x.query[n]])
        np.testing.assert_array_equal(prompt.query, [*prompt.x_query, 0])
        np.testing.assert_array_equal(prompt.keys, prompt.contexts)
        assert isinstance(prompt.z, float) and prompt.z == x.labels[n] == x.omega[n, x.query[n]]
        np.testing.assert_array_equal(x[n].P, prompt.P)
        np.testing.assert_array_equal(x.counts[n], np.bincount(x.features[n, :-1], minlength=4))
    np.testing.assert_array_equal(x[1:3].dense().tokens, dense[1:3].tokens)
    np.testing.assert_array_equal(x[[4, 0]].features, x.features[[4, 0]])
    np.testing.assert_array_equal(dense[[4, 0]].labels, x.labels[[4, 0]])
    assert len(list(x)) == 5 and x.dense(np.float32).tokens.dtype == np.float32
    attends = Prompts(dense.tokens, dense.labels, True)
    assert attends[0].query_attends and attends[0].keys.shape == (7, 7)
    assert repr(params) == "Params(Q (6, 6), float64)"
    for array in (x.V, x.features, x.omega, x.counts, x.labels, dense.labels):
        assert not array.flags.writeable


@given(seeds, st.integers(1, 9), st.integers(1, 5))
def test_a_prompt_s_code_gives_it_back(seed, N, K):
    x, _ = drawn(seed, B=1, K=K, N=N)
    prompt = x[0]
    V, counts, omega, query = prompt.code
    assert counts.sum() == N and len(set(map(tuple, V.T))) == V.shape[1] == len(counts) == len(omega)
    np.testing.assert_array_equal(V[:, query], prompt.x_query)
    assert omega[query] == prompt.z
    for m in range(len(counts)):
        same = (V[:, m : m + 1] == prompt.X).all(axis=0)
        assert same.sum() == counts[m] and (prompt.y[same] == omega[m]).all()


def test_labels_of_no_function_have_no_code():
    tokens = np.zeros((1, 3, 2))
    tokens[0, :2] = [[1, 2], [1, 3]]
    with pytest.raises(ValueError, match=r"tokens 0 and 1 have the same input and the labels 2\.0 and 3\.0"):
        Prompts(tokens, [0.0])[0].code  # noqa: B018


GOOD = np.zeros((2, 4, 3))
BAD_PROMPTS = [
    ((np.zeros((2, 4), int), [0, 0]), TypeError, ["tokens has dtype int", "floating"]),
    ((np.zeros((2, 4)), [0, 0]), ValueError, ["tokens has shape (2, 4)", "(B, N+1, d+1)"]),
    ((np.zeros((0, 4, 3)), []), ValueError, ["tokens has shape (0, 4, 3)", "B >= 1"]),
    ((np.zeros((2, 1, 3)), [0, 0]), ValueError, ["tokens has shape (2, 1, 3)", "N >= 1"]),
    ((np.zeros((2, 4, 1)), [0, 0]), ValueError, ["tokens has shape (2, 4, 1)", "d >= 1"]),
    ((np.where(np.arange(24).reshape(2, 4, 3) == 23, 1.5, 0), [0, 0]), ValueError,
     ["tokens[1, -1, -1] is 1.5", "no label", "labels"]),
    ((np.where(np.arange(24).reshape(2, 4, 3) == 5, np.nan, 0), [0, 0]), ValueError, ["tokens[0, 1, 2] is nan"]),
    ((GOOD, [0.0]), ValueError, ["labels has shape (1,)", "(2,)", "one label for each prompt"]),
    ((GOOD, ["a", "b"]), TypeError, ["labels is ['a', 'b']", "real numbers"]),
    ((GOOD, [0.0, np.inf]), ValueError, ["labels[1] is inf"]),
]  # fmt: skip


@pytest.mark.parametrize("arguments, error, words", BAD_PROMPTS, ids=lambda value: str(value)[:30])
def test_bad_prompts(arguments, error, words):
    with pytest.raises(error) as caught:
        Prompts(*arguments)
    for word in words:
        assert word in str(caught.value)


V3, F3, O3 = np.eye(3), np.array([[0, 1, 2], [2, 2, 0]]), np.ones((2, 3))
BAD_CODES = [
    ((np.eye(3, dtype=int), F3, O3), TypeError, ["V has dtype int"]),
    ((np.ones(3), F3, O3), ValueError, ["V has shape (3,)", "(d, K)"]),
    ((np.ones((0, 3)), F3, O3), ValueError, ["V has shape (0, 3)"]),
    ((V3 * np.nan, F3, O3), ValueError, ["V[0, 0] is nan"]),
    ((V3, F3 * 1.0, O3), TypeError, ["features has dtype float64", "numpy.int32"]),
    ((V3, F3[0], O3), ValueError, ["features has shape (3,)", "(B, N+1)"]),
    ((V3, F3[:, :1], O3), ValueError, ["features has shape (2, 1)", "N >= 1"]),
    ((V3, F3 + 1, O3), ValueError, ["features holds 1 to 3", "0 to 2"]),
    ((V3, F3 - 1, O3), ValueError, ["features holds -1 to 1"]),
    ((V3, F3, O3[:, :2]), ValueError, ["omega has shape (2, 2)", "(2, 3)"]),
    ((V3, F3, O3[:1]), ValueError, ["omega has shape (1, 3)", "(2, 3)"]),
    ((V3, F3, O3.astype(int)), TypeError, ["omega has dtype int"]),
    ((V3, F3, O3 * np.inf), ValueError, ["omega[0, 0] is inf"]),
]


@pytest.mark.parametrize("arguments, error, words", BAD_CODES, ids=lambda value: str(value)[:30])
def test_bad_codes(arguments, error, words):
    with pytest.raises(error) as caught:
        CodedPrompts(*arguments)
    for word in words:
        assert word in str(caught.value)


# ---- The front door


@given(**SIZES)
def test_codes_and_tokens_agree(K, N, more, attends, seed):
    x, params = drawn(seed, K=K, N=N, d=K + more, attends=attends)
    out, dense = nlicl.forward(params, x), nlicl.forward(params, x.dense())
    assert out.attention.shape == (4, N + attends) and dense.Attn is None
    assert_close(out.score, dense.score, 1e-12)
    assert_close(out.attention, dense.attention, 1e-12)
    assert_close(out.attention.sum(axis=1), np.ones(4), 1e-12)
    for n in range(4):
        for k in range(K):
            where = x.features[n, :N] == k
            assert_close(out.Attn[n, k], out.attention[n, :N][where].sum(), 1e-12)
    one, other = nlicl.loss_and_grad(params, x), nlicl.loss_and_grad(params, x.dense())
    assert isinstance(one[1], Params) and isinstance(other[1], Params)
    assert_close(one[0], other[0], 1e-11)
    assert_close(one[1].Q, other[1].Q, 1e-11)
    want = [reference.loss(params, prompt) for prompt in x]
    assert_close(one[0], np.mean(want), 1e-11)
    for n, prompt in enumerate(x):
        yhat, attn = reference.forward(params, prompt)
        assert_close(out.score[n], yhat, 1e-12)
        assert_close(out.attention[n], attn, 1e-12)
        assert_close(reference.transformer(params, prompt), yhat, 1e-13)


def test_the_dtype_given_is_the_dtype_returned():
    x, params = drawn(0)
    single = Params(params.Q.astype(np.float32))
    for prompts in (x, x.dense(np.float32)):
        out, (value, grads) = nlicl.forward(single, prompts), nlicl.loss_and_grad(single, prompts)
        assert out.score.dtype == out.attention.dtype == value.dtype == grads.Q.dtype == np.float32
        assert_close(grads.Q, nlicl.loss_and_grad(params, x)[1].Q, 1e-5)
    assert nlicl.forward(single, x).Attn.dtype == np.float32
    read_only = Params(params.Q.copy())
    read_only.Q.flags.writeable = False
    assert nlicl.loss_and_grad(read_only, x)[0] == nlicl.loss_and_grad(params, x)[0]
    swapped = Params(params.Q.astype(">f8"))
    assert nlicl.loss_and_grad(swapped, x)[0] == nlicl.loss_and_grad(params, x)[0]


BAD_PARAMS = [
    (np.eye(6), TypeError, ["params is a ndarray", "huang2023.Params(Q)"]),
    (nlicl.Params(*[np.eye(6)] * 5), TypeError, ["params is a nlicl.Params", "huang2023.Params(Q)"]),
    (Params(np.eye(6, dtype=int)), TypeError, ["params.Q has dtype int"]),
    (Params(np.eye(6, dtype=np.float16)), TypeError, ["params.Q has dtype float16", "float32 or float64"]),
    (Params(np.eye(6, dtype=complex)), TypeError, ["params.Q has dtype complex128"]),
    (Params(np.ones(6)), ValueError, ["params.Q has shape (6,)", "(d, d)"]),
    (Params(np.ones((6, 5))), ValueError, ["params.Q has shape (6, 5)", "(d, d)"]),
    (Params(np.eye(5)), ValueError, ["d = 6", "params.Q has shape (5, 5)", "(6, 6)"]),
    (Params(np.full((6, 6), np.nan)), ValueError, ["params.Q[0, 0] is nan"]),
]


@pytest.mark.parametrize("params, error, words", BAD_PARAMS, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("coded", [True, False])
def test_bad_parameters(params, error, words, coded):
    x, _ = drawn(0)
    x = x if coded else x.dense()
    for call in (nlicl.forward, nlicl.loss_and_grad):
        with pytest.raises(error) as caught:
            call(params, x)
        for word in words:
            assert word in str(caught.value)


def test_what_does_not_go_together():
    x, params = drawn(0)
    for loss in ("hinge", "logistic", 2):
        with pytest.raises(ValueError, match="expected 'squared', the only loss of the model regression"):
            nlicl.loss_and_grad(params, x, loss)
    with pytest.raises(TypeError, match=r"prompts\.tokens has dtype float32, params\.Q float64; expected one dtype"):
        nlicl.loss_and_grad(params, x.dense(np.float32))
    huge = CodedPrompts(x.V, x.features, 1e200 * x.omega)
    for prompts in (huge, huge.dense()):
        with pytest.raises(NotFinite, match=r"the loss is not finite .* overflow float64"):
            nlicl.loss_and_grad(params, prompts)
    tall = CodedPrompts(1e160 * x.V, x.features, x.omega)
    with pytest.raises(NotFinite, match="a prediction is not finite"):
        nlicl.forward(params, tall)
    with pytest.raises(NotFinite, match="the gradient of Q is not finite"):  # (X X^T) y is, times x_query, 1e308^1.3
        nlicl.loss_and_grad(Params(0 * params.Q), CodedPrompts(1e155 * x.V, x.features, 1e3 * x.omega))


# ---- The problem


def test_defaults():
    p = Problem()
    assert (p.K, p.length, p.d, p.p, p.p_1, p.learning_rate, p.loss, p.trained) == (
        20,
        400,
        None,
        None,
        0.5,
        5.0,
        "squared",
        ("Q",),
    )
    assert (
        p.frequencies[0] == 0.5 and np.allclose(p.frequencies[1:], 0.5 / 19) and p.frequencies.sum() == pytest.approx(1)
    )
    assert p.learning_rate <= 3.24 / p.frequencies.max()  # the step bound [derived]
    assert list(huang2023.problems)[:2] == ["imbalanced", "balanced"] and huang2023.problems["imbalanced"] == p
    balanced = huang2023.problems["balanced"]
    np.testing.assert_array_equal(balanced.frequencies, np.full(20, 1 / 20))
    assert Problem.balanced(7, length=50) == Problem(K=7, p_1=None, length=50)
    assert Problem.imbalanced(7, 0.8) == Problem(K=7, p_1=0.8)
    assert Problem(K=3, p=P3).p == P3 == Problem(K=3, p=np.array(P3)).p
    with pytest.raises(dataclasses.FrozenInstanceError):
        p.K = 3
    assert set(p.settings()) == {field.name for field in dataclasses.fields(p)} | {"optimizer"}
    marks = {name: mark for name, (_, mark) in p.settings().items()}
    assert marks.pop("prompts") == marks.pop("optimizer") == "paper" and set(marks.values()) == {"ours"}
    assert dataclasses.replace(p, K=10).settings()["K"] == [10, "set here"]


BAD = [
    ({"K": 1}, ValueError, ["K is 1", "at least 2"]),
    ({"K": 3.0}, TypeError, ["K is 3.0", "integer"]),
    ({"length": 0}, ValueError, ["length is 0"]),
    ({"d": 19}, ValueError, ["d is 19 with K = 20", "Expected d >= K"]),
    ({"d": 20.0}, TypeError, ["d is 20.0"]),
    ({"p_1": 0}, ValueError, ["p_1 is 0", "between 0 and 1"]),
    ({"p_1": 1.0}, ValueError, ["p_1 is 1.0"]),
    ({"p_1": "half"}, TypeError, ["p_1 is 'half'"]),
    ({"p": (0.5, 0.5)}, ValueError, ["p has shape (2,)", "K = 20"]),
    ({"p": 0.5}, ValueError, ["p has shape ()"]),
    ({"K": 2, "p": (1.0, 0.0)}, ValueError, ["p[1] is 0.0", "greater than 0"]),
    ({"K": 2, "p": (1.5, -0.5)}, ValueError, ["p[1] is -0.5"]),
    ({"K": 2, "p": (0.5, math.nan)}, ValueError, ["p[1] is nan"]),
    ({"K": 2, "p": (0.5, 0.4)}, ValueError, ["p sums to 0.9", "Divide it by its sum"]),
    ({"K": 2, "p": ("a", "b")}, TypeError, ["p is ('a', 'b')"]),
    ({"V_seed": -1}, ValueError, ["V_seed is -1"]),
    ({"learning_rate": 0}, ValueError, ["learning_rate is 0"]),
    ({"batch": 0}, ValueError, ["batch is 0"]),
    ({"steps": -1}, ValueError, ["steps is -1"]),
]


@pytest.mark.parametrize("settings, error, words", BAD, ids=[str(settings) for settings, _, _ in BAD])
def test_settings_that_break_the_data_model(settings, error, words):
    with pytest.raises(error) as caught:
        Problem(**settings)
    for word in words:
        assert word in str(caught.value)


@given(st.integers(2, 9), st.integers(0, 5), seeds)
def test_features_are_orthonormal(K, more, seed):
    p = Problem(K=K, d=K + more, V_seed=seed)
    assert p.V.shape == (K + more, K)
    assert_close(p.V.T @ p.V, np.eye(K), 1e-13)
    np.testing.assert_array_equal(p.V, Problem(K=K, d=K + more, V_seed=seed).V)
    if more:
        assert not np.array_equal(p.V, Problem(K=K, d=K + more, V_seed=seed + 1).V)
    else:
        np.testing.assert_array_equal(p.V, np.eye(K))


def within(count, n, probability, sigmas=5):
    return abs(count - n * probability) <= sigmas * math.sqrt(n * probability * (1 - probability)) + 1e-9


def test_frequencies_of_samples():
    p = Problem(K=4, p=(0.4, 0.3, 0.2, 0.1), length=30)
    x = p.sample(4000, seed=1)
    for k in range(4):
        assert within((x.features[:, :-1] == k).sum(), 120000, p.p[k])
        assert within((x.query == k).sum(), 4000, p.p[k])
        assert abs(x.omega[:, k].mean()) < 5 / math.sqrt(4000)
    assert_close(np.cov(x.omega.T), np.eye(4), 0.12)
    pairs = (x.features[:, :-2] == 0) & (x.features[:, 1:-1] == 0)  # independent places, and of the query
    assert abs(pairs.mean() - 0.16) < 0.01
    assert abs(((x.query == 0) & (x.features[:, 0] == 0)).mean() - 0.16) < 0.03
    absent = (x.counts[np.arange(4000), x.query] == 0) & (x.query == 3)
    assert within(absent.sum(), (x.query == 3).sum(), 0.9**30)
    np.testing.assert_array_equal(x.counts.sum(axis=1), 30)
    np.testing.assert_array_equal(x.labels, x.omega[np.arange(4000), x.query])


def test_seeds_of_samples():
    p = Problem(K=5, length=9)
    same = lambda x, y: np.array_equal(x.features, y.features) and np.array_equal(x.omega, y.omega)  # noqa: E731
    assert same(p.sample(20, seed=7), p.sample(20, seed=7))
    assert same(p.sample(20, seed=(7, 3)), p.sample(20, seed=[7, 3]))
    found = [p.sample(20, seed=seed) for seed in (7, 8, (7, 0), (7, 1), (1, 7))]
    assert not any(same(x, y) for x, y in itertools.combinations(found, 2))
    assert same(p.sample(20, seed=7), dataclasses.replace(p, d=8).sample(20, seed=7))  # d is irrelevant
    assert p.sample(3, length=4).length == 4
    for arguments, error, words in [
        ({"n": 0}, ValueError, "n is 0"),
        ({"length": 0}, ValueError, "length is 0"),
        ({"length": 2.0}, TypeError, "length is 2.0"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": None}, TypeError, "seed is None"),
    ]:
        with pytest.raises(error, match=words):
            p.sample(**({"n": 4} | arguments))


def test_initialization():
    p = Problem(K=3, d=5, length=8)
    params = p.initialize(seed=3)
    assert isinstance(params, Params) and params.Q.shape == (5, 5) and not params.Q.any()
    out = nlicl.forward(params, p.sample(10))
    np.testing.assert_allclose(out.attention, 1 / 8, rtol=1e-15)
    np.testing.assert_allclose(out.Attn, p.sample(10).counts / 8, rtol=1e-15)
    with pytest.raises(ValueError, match="seed is -1"):
        p.initialize(seed=-1)


# ---- Formulas: golden values and forms


GOLDEN_D = [[0.0825, -0.0405, -0.0195], [-0.05175, 0.04995, -0.0072], [-0.03075, -0.00945, 0.0267]]
GOLDEN_UNMASKED = [
    [0.06848, -0.037056, -0.019904],
    [-0.042816, 0.0466944, -0.0084864],
    [-0.025664, -0.0096384, 0.0283904],
]


def test_golden_values():
    zero, law = np.zeros((3, 3)), Population(np.array(P3), 4)
    assert_close(-formulas["alpha_beta"](PopulationWeights(zero), law), GOLDEN_D, 1e-16)
    for golden, attends in ((GOLDEN_D, False), (GOLDEN_UNMASKED, True)):
        law = law._replace(query_attends=attends)
        gradient = huang2023.population_subject.gradient(PopulationWeights(zero), [law])
        assert_close(-gradient.AB, golden, 1e-16)
        by_kernel = complex_steps(huang2023.population_subject.kernel, PopulationWeights, zero, [law])
        assert_close(-by_kernel, golden, 1e-15)
    losses = {False: (0.2675, 0.4675, 0.5675), True: (0.2712, 0.4312, 0.5112)}
    for attends, L_k in losses.items():
        total = reference.population_loss(PopulationWeights(zero), Population(np.array(P3), 4, attends))
        assert total == pytest.approx(np.dot(P3, L_k), rel=1e-14)


def complex_steps(loss, form, at, prompts):
    found = np.empty(at.shape)
    for index in np.ndindex(at.shape):
        moved = at.astype(complex)
        moved[index] += 1e-40j
        value = loss(form(moved), prompts)
        found[index] = getattr(value, "imag", 0.0) / 1e-40
    return found


def test_golden_descent():
    """30 steps of eta = 1 on Q itself, d > K, by the formula."""
    V = Problem(K=3, d=5).V
    Q, law = np.zeros((5, 5)), Population(np.array(P3), 4)
    for _ in range(30):
        Q = Q - V @ formulas["alpha_beta"](PopulationWeights(V.T @ Q @ V), law) @ V.T
    assert_close(np.diag(V.T @ Q @ V), [1.26889, 1.06509, 0.72883], 5e-6)
    S = V.T @ Q @ V
    assert_close(S.sum(axis=0), np.zeros(3), 1e-14)
    assert_close(V @ S @ V.T, Q, 1e-14)


@given(**SIZES)
def test_forms_of_one_gradient(K, N, more, attends, seed):
    """Token form, matrix form, coded form and kernel, on prompts of features."""
    x, params = drawn(seed, B=1, K=K, N=N, d=K + more, attends=attends)
    prompt = x[0]
    given_ = formulas["Q_unmasked" if attends else "Q"](params, prompt)
    X, y = prompt.keys[:-1], prompt.keys[-1]
    yhat, attn = reference.forward(params, prompt)
    matrix = (yhat - prompt.z) * np.outer(X @ (np.diag(attn) - np.outer(attn, attn)) @ y, prompt.x_query)
    assert_close(given_, matrix, 1e-12)
    assert_close(given_, nlicl.loss_and_grad(params, x)[1].Q, 1e-12)
    if not attends:
        assert_close(given_, formulas["Q_coded"](params, prompt), 1e-12)
    # the query's column only, within the span of the features, and columns that sum to 0
    S_gradient = x.V.T @ given_ @ x.V
    assert_close(x.V @ S_gradient @ x.V.T, given_, 1e-12)
    others = np.arange(K) != x.query[0]
    assert_close(S_gradient[:, others], np.zeros((K, others.sum())), 1e-12)
    assert_close(S_gradient.sum(axis=0), np.zeros(K), 1e-12)


@given(**SIZES)
def test_the_mean_over_tasks_is_the_simplex_form(K, N, more, attends, seed):
    """w = +- sqrt(d) times a unit vector, 2d of them: mean 0, covariance I, exactly."""
    d = K + more
    x, params = drawn(seed, B=1, K=K, N=N, d=d, attends=attends)
    w = math.sqrt(d) * np.concatenate([np.eye(d), -np.eye(d)])
    tasks = CodedPrompts(x.V, np.repeat(x.features, 2 * d, axis=0), w @ x.V, attends)
    S = x.V.T @ params.Q @ x.V
    counted = Counted(x.counts[0], int(x.query[0]), attends)
    value, grads = nlicl.loss_and_grad(params, tasks)
    assert_close(value, reference.task_averaged_loss(Weights(S), counted), 1e-12)
    want = formulas["S_unmasked" if attends else "S_prompt"](Weights(S), counted)
    assert_close(x.V.T @ grads.Q @ x.V, want, 1e-12)
    assert_close(want.sum(axis=0), np.zeros(K), 1e-13)
    # bounds of the error by the attention missed
    if not attends:
        counts = x.counts[0]
        a = counts * np.exp(S[:, counted.query] - S[counts > 0, counted.query].max())
        miss = 1 - (a / a.sum())[counted.query]
        assert (1 + 1 / (K - 1)) / 2 * miss**2 - 1e-12 <= value <= miss**2 + 1e-12


@given(st.integers(2, 4), st.integers(1, 4), st.booleans(), seeds)
def test_the_population_is_the_mean_of_its_prompts(K, N, attends, seed):
    rng = rng_of(seed)
    p, S = rng.dirichlet(np.full(K, 3.0)), rng.normal(size=(K, K))
    law = Population(p, N, attends)
    total, gradient = 0, 0
    for c, probability in zip(*population.enumerated(p, N), strict=True):
        for k in range(K):
            counted = Counted(c.astype(int), k, attends)
            total += p[k] * probability * reference.task_averaged_loss(Weights(S), counted)
            gradient += p[k] * probability * formulas["S_unmasked" if attends else "S_prompt"](Weights(S), counted)
    assert_close(reference.population_loss(PopulationWeights(S), law), total, 1e-13)
    assert_close(huang2023.population_subject.gradient(PopulationWeights(S), [law]).AB, gradient, 1e-13)
    if not attends:
        D = -formulas["alpha_beta"](PopulationWeights(S), law)
        assert_close(D, -gradient, 1e-13)
        assert (np.diag(D) >= 0).all()  # A_k never decreases


# ---- Identities of the gradient


def test_masked_and_unmasked_differ():
    x, params = drawn(1, B=40, N=8)
    other = CodedPrompts(x.V, x.features, x.omega, True)
    assert abs(nlicl.loss_and_grad(params, x)[1].Q - nlicl.loss_and_grad(params, other)[1].Q).max() > 1e-3


@given(seeds, st.integers(2, 5), st.integers(1, 6))
def test_where_masked_gradients_are_zero(seed, K, N):
    """One context, or contexts of one feature: attention on the feature is 1. What is left is rounding."""
    x, params = drawn(seed, B=3, K=K, N=N)
    features = x.features.copy()
    features[:, :-1] = features[:, :1]
    same = CodedPrompts(x.V, features, x.omega)
    assert_close(nlicl.loss_and_grad(params, same)[1].Q, np.zeros((6, 6)), 1e-14)
    assert_close(nlicl.loss_and_grad(params, same.dense())[1].Q, np.zeros((6, 6)), 1e-14)


def test_the_unmasked_gradient_need_not_be_zero_there():
    """A query of another feature takes attention from the contexts'; of the same one, it shares their score."""
    x, params = drawn(0, B=1, K=2, N=3)
    for query, zero in ((1, False), (0, True)):
        unmasked = CodedPrompts(x.V, [[0, 0, 0, query]], x.omega, True)
        assert (abs(nlicl.loss_and_grad(params, unmasked)[1].Q).max() < 1e-14) == zero


@given(**SIZES)
def test_rotations_and_relabelling(K, N, more, attends, seed):
    d = K + more
    x, params = drawn(seed, K=K, N=N, d=d, attends=attends)
    value, grads = nlicl.loss_and_grad(params, x)
    R = np.linalg.qr(rng_of(seed).normal(size=(d, d)))[0]
    turned = nlicl.loss_and_grad(Params(R @ params.Q @ R.T), CodedPrompts(R @ x.V, x.features, x.omega, attends))
    assert_close(turned[0], value, 1e-12)
    assert_close(R.T @ turned[1].Q @ R, grads.Q, 1e-12)
    order = rng_of(seed).permutation(K)
    other = CodedPrompts(x.V[:, order], np.argsort(order)[x.features], x.omega[:, order], attends)
    again = nlicl.loss_and_grad(params, other)
    assert_close(again[0], value, 1e-12)
    assert_close(again[1].Q, grads.Q, 1e-12)
    shifted = params.Q + np.outer(x.V.sum(axis=1), x.V[:, 0])  # a constant added to a column of S changes nothing
    assert_close(nlicl.loss_and_grad(Params(shifted), x)[0], value, 1e-12)


def test_balanced_descent_stays_symmetric_and_imbalanced_does_not():
    for p, symmetric in ((np.full(4, 0.25), True), (np.array([0.4, 0.2, 0.2, 0.2]), False)):
        S = np.zeros((4, 4))
        for _ in range(20):
            S = S - formulas["alpha_beta"](PopulationWeights(S), Population(p, 5))
        assert np.allclose(S, S.T, atol=1e-14) == symmetric
        assert_close(S.sum(axis=0), np.zeros(4), 1e-14)
        if symmetric:  # B = -A/(K-1), one A for all
            off = S[~np.eye(4, dtype=bool)]
            assert_close(np.diag(S), np.full(4, S[0, 0]), 1e-14)
            assert_close(off, np.full(12, -S[0, 0] / 3), 1e-14)
        else:
            assert_close(S[1:, 0], np.full(3, -S[0, 0] / 3), 1e-14)
            assert_close(S[2, 1], S[3, 1], 1e-14)
            assert abs(S[0, 1] - S[2, 1]) > 1e-2


# ---- The audit


@pytest.mark.parametrize("draws, seed", [pytest.param(20, 0, marks=pytest.mark.slow), (6, 1), (2, 2)])
def test_everything_registered_agrees(draws, seed):
    report = audit_paper("huang2023", draws=draws, seed=seed)
    assert report.ok, report
    names = [entry.name for entry in report.formulas]
    assert [name for name in names if name in formulas] == list(formulas)
    libraries = ["library Q", "library Q (query attends)", "library S", "library S (query attends)", "library AB"]
    assert [name for name in names if "library" in name] == libraries
    assert names.count("negative control") == 1 and len(names) == 12
    for entry in report.formulas:
        assert entry.activity == {"gradient_active": 1.0} and entry.draws >= 1
        assert entry.control_caught and not any(math.isnan(value or 0) for value in entry.witnesses.values())


def test_formulas_say_where_they_come_from():
    for formula in formulas.values():
        assert "derived" in formula.source and "[paper]" not in formula.source
        assert len(formula.equation) < 260 and "\n" not in formula.equation
    assert formulas["Q_unmasked"].query_attends and formulas["S_unmasked"].query_attends


def test_a_registered_formula_is_judged_by_its_own_loss():
    for name, formula in formulas.items():
        report = audit_formula(formula, paper="huang2023", draws=3)
        assert (report.formulas[0].name, report.verdict, report.paper) == (name, "agree", "huang2023")
    with pytest.raises(ValueError, match="expected one of 'Q', 'S', 'AB'"):
        audit_formula(lambda params, prompt: 0, paper="huang2023", wrt="W_Q")


def parts_of(prompt, attends=False):
    """X, y, x_query, y_query of the contexts, or of all tokens."""
    keys = prompt.P if attends else prompt.contexts
    return keys[:-1], keys[-1], prompt.x_query, prompt.z


def covariance_form(params, prompt, attends=False):
    X, y, x_query, y_query = parts_of(prompt, attends)
    e = np.exp(X.T @ params.Q @ x_query)
    attn = e / e.sum()
    return attn, attn @ y, X, y, x_query, y_query


def no_mean(params, prompt):
    attn, yhat, X, y, x_query, y_query = covariance_form(params, prompt)
    return (yhat - y_query) * np.outer(X @ (attn * y), x_query)


def no_residual(params, prompt):
    attn, yhat, X, y, x_query, _ = covariance_form(params, prompt)
    return np.outer(X @ (attn * (y - yhat)), x_query)


def Attn_for_attn(params, prompt):
    """Sums over tokens with a feature's attention for a token's: c_n twice."""
    attn, yhat, X, y, x_query, y_query = covariance_form(params, prompt)
    Attn = np.array([attn[(x == X.T).all(axis=1)].sum() for x in X.T])
    return (yhat - y_query) * np.outer(X @ (Attn * (y - yhat)), x_query)


def coded_twice(params, prompt):
    V, c, omega, k = prompt.code
    e = c**2 * np.exp(V.T @ params.Q @ V[:, k])
    Attn = e / e.sum()
    yhat = Attn @ omega
    return np.outer(V @ ((yhat - omega[k]) * Attn * (omega - yhat)), V[:, k])


def B_transposed(params, prompt):
    """As if scores were x_query^T Q x_i: Q^T for Q throughout, and the gradient transposed."""
    return formulas["Q"](Params(params.Q.T), prompt).T


right = formulas["Q"].function
MISTAKES = {
    "x_query x_i^T": (lambda p, x: right(p, x).T, {"transpose"}, "transpose of the gradient"),
    "B_{n,k} for B_{k,n}": (B_transposed, {"transpose"}, "query stands on the left"),
    "y_query - yhat": (lambda p, x: -right(p, x), {"sign"}, "minus the expected one"),
    "no 1/2 in the loss": (lambda p, x: 2 * right(p, x), {"scale"}, "2 times"),
    "a factor N": (lambda p, x: len(x.y) * right(p, x), {"scale"}, "N times"),
    "y_i for y_i - yhat": (no_mean, {"softmax-centering"}, "y_i for y_i - yhat"),
    "unmasked": (formulas["Q_unmasked"].function, {"query-in-context"}, "as if it were a context"),
    "no residual": (no_residual, {"wrong-factor"}, "absent: the residual yhat - y_query"),
    "Attn for attn": (Attn_for_attn, {"wrong-factor"}, "doubled: c_n in Attn_n outside of yhat"),
    "c_n^2": (coded_twice, {"wrong-factor"}, "doubled: c_n in the softmax over features"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_known_mistakes_are_named(name):
    function, kinds, words = MISTAKES[name]
    entry = audit_formula(function, paper="huang2023", wrt="Q").formulas[0]
    assert entry.verdict == "disagree" and {item["kind"] for item in entry.diagnosis} == kinds, entry.diagnosis
    assert words in "; ".join(item["detail"] for item in entry.diagnosis)


def test_the_query_left_out_is_named():
    wrong = Formula(right, "given", "Q", "", "", query_attends=True)
    entry = audit_formula(wrong, paper="huang2023").formulas[0]
    assert [item["kind"] for item in entry.diagnosis] == ["query-in-context"]
    assert "the query was left out" in entry.diagnosis[0]["detail"]


def population_mistake(change):
    """The gradient -D with `change(D, p)` for D."""
    return lambda weights, law: -change(-formulas["alpha_beta"](weights, law), law.p)


POPULATION = {
    "alpha, beta as they stand": (lambda D, p: -D, {"sign"}, "minus"),
    "D[k,n] for D[n,k]": (lambda D, p: D.T, {"transpose"}, "transpose"),
    "no p_k": (lambda D, p: D / p, {"wrong-factor"}, "absent: p_k, the query's frequency"),
    "p_n for p_k": (lambda D, p: D / p * p[:, None], {"wrong-factor"}, "p_n, the key's frequency"),
    "no 1/2 in the loss": (lambda D, p: 2 * D, {"scale"}, "2 times"),
    "only alpha": (lambda D, p: np.diag(np.diag(D)), {"missing-term"}, "beta_{k,n} is missing"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", POPULATION)
def test_mistakes_of_increments_are_named(name):
    change, kinds, words = POPULATION[name]
    entry = audit_formula(population_mistake(change), paper="huang2023", wrt="AB", draws=8).formulas[0]
    assert entry.verdict == "disagree" and {item["kind"] for item in entry.diagnosis} == kinds, entry.diagnosis
    assert words in "; ".join(item["detail"] for item in entry.diagnosis)


SUBJECTS = {"Q": huang2023.subject, "S": huang2023.task_averaged_subject, "AB": huang2023.population_subject}


@lru_cache(None)
def cases(wrt, attends):
    return Bench(SUBJECTS[wrt], 8, 1).single(attends)


@pytest.mark.slow
@pytest.mark.parametrize("wrt", SUBJECTS)
@pytest.mark.parametrize("attends", [False, True])
def test_every_change_of_one_factor_is_named(wrt, attends):
    subject, wrong = SUBJECTS[wrt], []
    marked = subject.marked[wrt]
    forms = edits(marked, [(case.params, case.each[0]) for case in cases(wrt, attends)])
    assert len(forms) >= 50
    for edit in (None, *forms):
        mark = Mark([edit] if edit else [])
        formula = Formula(None, "given", wrt, "", "")
        call = lambda case, mark=mark: marked(case.params, case.each[0], mark)  # noqa: E731
        report = verdict.reach(formula, cases(wrt, attends), call, subject)
        found = [(item["kind"], item["detail"]) for item in report.diagnosis]
        if edit is None:
            assert report.verdict == "agree"
        elif report.verdict != "disagree" or found != [(edit.kind, edit.detail)]:
            wrong.append((edit, report.verdict, found))
    assert not wrong, wrong


@pytest.mark.parametrize("attends", [False, True])
def test_every_wrong_form_is_one_of_its_own(attends):
    assert check_marks(huang2023.subject, 8, 1, attends) == []


def test_where_all_gradients_are_zero_nothing_is_proved():
    """Contexts of one feature: undetermined, and the share of live draws says why."""
    point = huang2023.subject.points(2, 0, False)[0]
    x = point.prompts
    features = np.full_like(x.features, 0)
    features[:, -1] = 1
    dead = point._replace(prompts=CodedPrompts(x.V, features, x.omega))
    subject = dataclasses.replace(huang2023.subject, points=lambda draws, seed, attends: [dead], parts=())
    entry = audit_formula(formulas["Q"], paper=subject, draws=2).formulas[0]
    assert entry.verdict == "undetermined" and entry.activity == {"gradient_active": 0.0}


def test_a_wrong_library_gradient_is_caught(monkeypatch):
    monkeypatch.setattr(regression, "merge_backward", lambda dS_T, V: V @ dS_T @ V.T)  # dS^T for dS
    report = Bench(huang2023.subject, 6, 0).audit_library("Q")
    assert report.verdict == "disagree"


# ---- The observer, and a run


def test_the_observer_measures_what_it_says():
    p = Problem(K=4, d=6, p=(0.4, 0.3, 0.2, 0.1), length=7)
    observer = p.observer(seed=2)
    params = Params(rng_of(0).normal(size=(6, 6)))
    found = observer(params)
    S = p.V.T @ params.Q @ p.V
    assert_close(found["A"], np.diag(S), 1e-13)
    assert_close(found["B_k1"], S[0, 1:], 1e-13)
    assert observer.counts.shape == (1000, 4) and (observer.counts.sum(axis=1) == 7).all()
    want = {name: np.zeros(4) for name in ("Attn_k", "Attn_k1", "miss_k", "loss_k")}
    for c in observer.counts:
        for k in range(4):
            e = c * np.exp(S[:, k])
            a = e / e.sum()
            target = np.eye(4)[k]
            for name, value in {
                "Attn_k": a[k],
                "Attn_k1": a[0],
                "miss_k": (1 - a[k]) ** 2,
                "loss_k": (a - target) @ (a - target) / 2,
            }.items():
                want[name][k] += value / 1000
    for name, values in want.items():
        assert_close(found[name], values[1:] if name == "Attn_k1" else values, 1e-12)
    assert found["population_loss"] == pytest.approx(np.dot(p.p, want["loss_k"]), rel=1e-12)


def test_the_observer_goes_by_blocks(monkeypatch):
    p = Problem(K=3, p=P3, length=5)
    params = Params(rng_of(1).normal(size=(3, 3)))
    whole = p.observer()(params)
    monkeypatch.setattr("nlicl.papers.huang2023.observer._AT_ONCE", 100)
    for name, values in p.observer()(params).items():
        assert_close(values, whole[name], 1e-13)


def test_the_initial_loss():
    """L_k = (||p - e_k||^2 + (1 - ||p||^2)/N) / 2 at Q = 0."""
    p = Problem()
    f = p.frequencies
    exact = np.array([((f - e) @ (f - e) + (1 - f @ f) / 400) / 2 for e in np.eye(20)])
    assert exact[0] == pytest.approx(0.1325, abs=5e-5) and exact[1] == pytest.approx(0.6062, abs=5e-5)
    found = p.observer()(p.initialize())
    assert_close(found["loss_k"], exact, 2e-3)
    value = nlicl.loss_and_grad(p.initialize(), p.sample(20000, seed=1))[0]
    assert value == pytest.approx(f @ exact, abs=0.02)


def test_training_follows_the_population():
    """SGD on prompts, our extra, against gradient descent on the population loss, the paper's."""
    p = Problem(K=3, d=4, p=P3, length=4, learning_rate=1.0, batch=4000)
    run = nlicl.train(p, steps=30, seed=0, measure=10, prompts="fresh")
    assert isinstance(run.params, Params)
    A = np.diag(p.V.T @ run.params.Q @ p.V)
    assert_close(A, [1.26889, 1.06509, 0.72883], 0.05)
    assert list(run.history.steps) == [0, 10, 20, 30]
    assert (np.diff(run.history["population_loss"]) < 0).all() and (np.diff(run.history["A"], axis=0) > 0).all()
    again = nlicl.train(p, steps=30, seed=0, measure=None, prompts="fresh")
    np.testing.assert_array_equal(again.params.Q, run.params.Q)
