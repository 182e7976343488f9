"""Li et al. 2024: data model, tasks, sampler, initialisation, gradient formulas, identities, constants, a short run."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nlicl
from nlicl import Params, Prompts, loss_and_grad
from nlicl.papers import li2024

NAMES = Params._fields
SMALL = {"M1": 4, "M2": 3, "d_X": 9, "d_Y": 4, "m": 10, "length": 7, "m_b": 8}
default = li2024.Problem()


def rng_of(seed):
    return np.random.default_rng(seed)


# ---- The problem


def test_defaults():
    p = default
    assert (p.M1, p.M2, p.d_X, p.d_Y, p.d, p.m, p.alpha, p.length) == (6, 24, 30, 30, 60, 64, 0.8, 20)
    assert (p.beta, p.K, p.delta, p.xi, p.a_scale, p.learning_rate, p.batch, p.steps) == (
        2,
        0.5,
        0.2,
        0.02,
        "2/m",
        1,
        256,
        400,
    )
    assert p.training_tasks == ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0))
    assert not p.query_attends and p.coefficients is None
    s = li2024.sibling
    assert (s.beta, s.xi, s.a_scale, s.learning_rate, s.steps) == (3, 0.01, "1/sqrt(m)", 0.1, 1000)
    s = li2024.stated
    assert (s.m_a, s.m_b, s.alpha, s.length, s.a_scale) == (60, 60, 0.8, 20, "1/sqrt(m)")
    assert (s.beta, s.delta, s.xi, s.learning_rate, s.steps) == (4, 0.1, 0.01, 0.4, 400)
    assert s.delta * s.beta == p.delta * p.beta  # what Figure 2 (a) shows at epoch 0
    assert li2024.problems["stated"] is s and next(iter(li2024.problems.values())) == p
    with pytest.raises(dataclasses.FrozenInstanceError):
        p.M1 = 7


BAD = [
    ({"M1": 1}, ValueError, ["M1 is 1", "at least 2"]),
    ({"M1": 7}, ValueError, ["M1 + M2 = 7 + 24", "d_X = 30", "at least 31"]),
    ({"M2": 25}, ValueError, ["M1 + M2 = 6 + 25", "lower M2"]),
    ({"M2": 0}, ValueError, ["M2 is 0"]),
    ({"d_X": 29}, ValueError, ["d_X = 29", "at least 30"]),
    ({"d_Y": 0}, ValueError, ["d_Y is 0"]),
    ({"alpha": 0}, ValueError, ["alpha is 0", "(0, 1]"]),
    ({"alpha": 1.0001}, ValueError, ["alpha is 1.0001"]),
    ({"alpha": -0.5}, ValueError, ["alpha is -0.5"]),
    ({"alpha": math.nan}, ValueError, ["alpha is nan", "finite"]),
    ({"alpha": "0.5"}, TypeError, ["alpha is '0.5'", "number"]),
    ({"M1": 2, "alpha": 0.8}, ValueError, ["alpha is 0.8 with M1 = 2", "alpha = 1"]),
    ({"K": -0.1}, ValueError, ["K is -0.1", "at least 0"]),
    ({"K": math.inf}, ValueError, ["K is inf"]),
    ({"beta": 0}, ValueError, ["beta is 0", "greater than 0"]),
    ({"delta": -1}, ValueError, ["delta is -1"]),
    ({"xi": -1e-9}, ValueError, ["xi is -1e-09"]),
    ({"learning_rate": 0}, ValueError, ["learning_rate is 0"]),
    ({"beta": None}, TypeError, ["beta is None"]),
    ({"beta": True}, TypeError, ["beta is True"]),
    ({"M1": 6.0}, TypeError, ["M1 is 6.0", "integer"]),
    ({"length": 0}, ValueError, ["length is 0"]),
    ({"m": 0}, ValueError, ["m is 0"]),
    ({"m_a": 0}, ValueError, ["m_a is 0"]),
    ({"m_b": 2.5}, TypeError, ["m_b is 2.5"]),
    ({"batch": 0}, ValueError, ["batch is 0"]),
    ({"steps": -1}, ValueError, ["steps is -1"]),
    ({"a_scale": "1/m"}, ValueError, ["a_scale is '1/m'", "'2/m', '1/sqrt(m)'"]),
    ({"training_tasks": ((0, 6),)}, ValueError, ["training_tasks holds (0, 6)", "M1 - 1 = 5"]),
    ({"training_tasks": ((1, 1),)}, ValueError, ["training_tasks holds (1, 1)", "a != b"]),
    ({"training_tasks": ((-1, 1),)}, ValueError, ["(-1, 1)"]),
    ({"training_tasks": ((0, 1, 2),)}, ValueError, ["(0, 1, 2)", "pairs"]),
    ({"training_tasks": ((0, 1.0),)}, ValueError, ["(0, 1.0)", "integers"]),
    ({"training_tasks": 5}, TypeError, ["training_tasks is 5", "pairs (a, b) of integers"]),
    ({"M1": 2, "coefficients": ((1, 0), (0, 2)), "alpha": 1}, ValueError, ["rows of norm [1.0, 2.0]", "expected 1"]),
    (
        {"M1": 2, "coefficients": ((1, 0), (0.6, 0.8)), "alpha": 1},
        ValueError,
        ["rows 0 and 1", "cosine 0.6", "orthogonal"],
    ),
    ({"M1": 3, "coefficients": ((1, 0), (0, 1))}, ValueError, ["coefficients has shape (2, 2)", "(3, "]),
    ({"M1": 2, "coefficients": (1, 0), "alpha": 1}, ValueError, ["coefficients has shape (2,)"]),
]


@pytest.mark.parametrize("settings, error, words", BAD, ids=[str(settings) for settings, _, _ in BAD])
def test_settings_that_break_the_data_model(settings, error, words):
    with pytest.raises(error) as caught:
        li2024.Problem(**settings)
    for word in words:
        assert word in str(caught.value)


@given(st.integers(2, 6), st.integers(1, 6), st.integers(0, 3), st.integers(1, 4), st.floats(0.5, 3))
def test_patterns(M1, M2, more, d_Y, beta):
    p = li2024.Problem(M1=M1, M2=M2, d_X=M1 + M2 + more, d_Y=d_Y, beta=beta, alpha=1.0)
    both = np.vstack([p.mu, p.nu])
    assert both.shape == (M1 + M2, p.d_X)
    np.testing.assert_allclose(both @ both.T, beta**2 * np.eye(M1 + M2), atol=1e-12)
    np.testing.assert_allclose(p.mu_bar, sum(p.mu) / M1)
    assert np.linalg.norm(p.q) == 1 and p.q.shape == (d_Y,)
    np.testing.assert_array_equal(p.S_1, np.ones(M1))
    E = p.dictionary
    assert E.shape == (p.d, M1 + M2 + 1)
    np.testing.assert_array_equal(E[: p.d_X, : M1 + M2], both.T)
    np.testing.assert_array_equal(E[p.d_X :, -1], p.q)
    assert not E[p.d_X :, :-1].any() and not E[: p.d_X, -1].any()


@pytest.mark.parametrize("S_1", [-1.0, 0.0, 0.5, 1.0, 1.2, math.sqrt(2)])
def test_out_of_domain_patterns(S_1):
    o = default.out_of_domain(S_1)
    np.testing.assert_allclose(o.S_1, S_1, atol=1e-12)
    np.testing.assert_allclose(o.mu @ o.mu.T, default.beta**2 * np.eye(3), atol=1e-12)
    np.testing.assert_array_equal(o.nu, default.nu)
    np.testing.assert_allclose(o.mu @ o.nu.T, 0)
    c = (S_1 + math.sqrt(max(0, 2 - S_1**2))) / 2
    np.testing.assert_allclose(o.mu[1], c * default.mu[2] + (S_1 - c) * default.mu[3], atol=1e-12)
    assert (o.M1, o.training_tasks, len(o.tasks())) == (3, (), 6)
    assert o.d == default.d


def test_out_of_domain_settings():
    assert default.out_of_domain(K=1.0).K == 1 and default.out_of_domain().K == 0.5
    two = default.out_of_domain(M1=2)
    assert (two.M1, two.alpha) == (2, 1.0)
    own = np.linalg.qr(rng_of(0).standard_normal((6, 4)))[0].T
    o = default.out_of_domain(coefficients=own)
    np.testing.assert_allclose(o.S_1, own.sum(axis=1))
    np.testing.assert_allclose(o.mu, own @ default.mu, atol=1e-12)
    with pytest.raises(ValueError, match=r"S_1 is 1\.5.*sqrt\(2\)"):
        default.out_of_domain(1.5)
    with pytest.raises(ValueError, match=r"S_1 is -1\.42"):
        default.out_of_domain(-1.42)
    with pytest.raises(TypeError, match="S_1 is 'much'"):
        default.out_of_domain("much")
    with pytest.raises(ValueError, match=r"M1' = 4 ODR patterns need 8 IDR patterns.*there are 6.*at most 3"):
        default.out_of_domain(M1=4)
    with pytest.raises(ValueError, match="M1 is 1; expected at least 2"):
        default.out_of_domain(M1=1)
    with pytest.raises(ValueError, match="out of domain already"):
        o.out_of_domain()
    with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \(M1', 6\)"):
        default.out_of_domain(coefficients=np.eye(2, 3))
    with pytest.raises(ValueError, match=r"coefficients has rows of norm"):
        default.out_of_domain(coefficients=2 * np.eye(3, 6))
    with pytest.raises(ValueError, match="K is -1"):
        default.out_of_domain(K=-1)


# ---- Tasks


@pytest.mark.parametrize("M1", range(2, 8))
def test_cyclic_tasks_satisfy_condition_3_2(M1):
    for shifts in range(1, M1):
        tasks = li2024.cyclic_tasks(M1, shifts)
        assert len(tasks) == len(set(tasks)) == shifts * M1
        assert li2024.condition_3_2(tasks, M1) == []
    assert set(li2024.cyclic_tasks(M1, M1 - 1)) == {(a, b) for a in range(M1) for b in range(M1) if a != b}
    with pytest.raises(ValueError, match=f"shifts is {M1}; expected at most M1 - 1 = {M1 - 1}"):
        li2024.cyclic_tasks(M1, M1)
    with pytest.raises(ValueError, match="shifts is 0"):
        li2024.cyclic_tasks(M1, 0)


def test_condition_3_2_says_what_is_off():
    tasks = [(0, 1), (1, 2), (2, 0)]
    assert li2024.condition_3_2(tasks, 3) == []
    assert li2024.condition_3_2([(0, 1), (1, 2), (0, 2)], 3) == [
        "pattern 0 is sent to +1 by 2 tasks; expected |T_tr|/M1 = 1",
        "pattern 2 is sent to +1 by 0 tasks; expected |T_tr|/M1 = 1",
        "pattern 0 is sent to -1 by 0 tasks; expected |T_tr|/M1 = 1",
        "pattern 2 is sent to -1 by 2 tasks; expected |T_tr|/M1 = 1",
    ]
    assert "|T_tr| = 2 is not a positive multiple of M1 = 3" in li2024.condition_3_2(tasks[:2], 3)
    assert li2024.condition_3_2([], 3)[0].startswith("|T_tr| = 0")
    assert len(li2024.condition_3_2(default.tasks("unseen"), 6)) == 0  # the complement of a balanced set is balanced
    with pytest.raises(ValueError, match=r"tasks holds \(0, 3\)"):
        li2024.condition_3_2([(0, 3)], 3)


def test_sets_of_tasks():
    assert len(default.tasks("all")) == 6 * 5
    assert default.tasks("train") == default.training_tasks
    assert set(default.tasks("train")) | set(default.tasks("unseen")) == set(default.tasks("all"))
    assert not set(default.tasks("train")) & set(default.tasks("unseen"))
    assert default.tasks([(0, 5), [2, 1]]) == ((0, 5), (2, 1))
    for which, words in (("seen", "'train', 'unseen', 'all' or a list"), ([], "an empty set"), ([(0, 6)], "(0, 6)")):
        with pytest.raises(ValueError) as caught:
            default.tasks(which)
        assert words in str(caught.value)
    with pytest.raises(ValueError, match=r"empty set: \|T\| = 6, \|T_tr\| = 0"):
        default.out_of_domain().tasks("train")
    full = li2024.Problem(training_tasks=li2024.cyclic_tasks(6, 5))
    with pytest.raises(ValueError, match=r"empty set: \|T\| = 30, \|T_tr\| = 30"):
        full.tasks("unseen")


# ---- The sampler. Seeds are fixed and bounds are five standard deviations: a right sampler passes, whatever the seed.


def within(count, n, probability, sigmas=5):
    return abs(count - n * probability) <= sigmas * math.sqrt(n * probability * (1 - probability)) + 1e-9


@pytest.mark.parametrize("alpha", [0.3, 0.8, 1.0])
def test_frequencies(alpha):
    n, l = 4000, 20
    x = default.sample(n, length=l, alpha=alpha, seed=1, tasks=[(4, 1)])
    contexts = x.relevant[:, :-1]
    for j in range(6):
        expected = alpha / 2 if j in (4, 1) else (1 - alpha) / 4
        assert within((contexts == j).sum(), n * l, expected), j
    assert within((x.labels == 1).sum(), n, 0.5)
    np.testing.assert_array_equal(x.relevant[:, -1], np.where(x.labels == 1, 4, 1))  # z is the query's label
    np.testing.assert_array_equal(x.sign[:, -1], 0)
    signs = x.sign[:, :-1]
    assert (signs[contexts == 4] == 1).all() and (signs[contexts == 1] == -1).all()
    coins = signs[(contexts != 4) & (contexts != 1)]
    assert set(np.unique(coins)) <= {-1, 1}
    assert within((coins == 1).sum(), len(coins), 0.5)
    neighbours = ((contexts[:, :-1] == 4) & (contexts[:, 1:] == 4)).sum()  # independence of places
    assert abs(neighbours - n * (l - 1) * alpha**2 / 4) <= 8 * math.sqrt(n * l * alpha**2 / 4)


@pytest.mark.parametrize("alpha, length", [(0.8, 4), (0.8, 10), (0.6, 6), (0.3, 5)])
def test_no_match_probability(alpha, length):
    n = 20000
    x = default.sample(n, length=length, alpha=alpha, seed=2)
    none = (x.relevant[:, :-1] != x.relevant[:, -1:]).all(axis=1).sum()
    assert li2024.no_match_probability(alpha, length) == (1 - alpha / 2) ** length
    assert within(none, n, li2024.no_match_probability(alpha, length))


def test_irrelevant_parts():
    p = dataclasses.replace(default, K=0.3)
    x = p.sample(3000, seed=3)
    assert abs(x.kappa).max() <= 0.3 and abs(x.kappa).max() > 0.29
    assert abs(x.kappa.mean()) < 5 * 0.3 / math.sqrt(3 * x.kappa.size)
    assert x.kappa.var() == pytest.approx(0.03, rel=0.02)
    assert (x.irrelevant.min(), x.irrelevant.max()) == (6, 29)
    for k in range(6, 30):
        assert within((x.irrelevant == k).sum(), x.irrelevant.size, 1 / 24)
    assert not dataclasses.replace(default, K=0.0).sample(5).kappa.any()


def test_at_least():
    for alpha, length in ((0.8, 20), (0.3, 7), (1.0, 1), (0.8, 6)):
        least = math.ceil(alpha * length / 2)
        x = default.sample(2000, length=length, alpha=alpha, seed=4, sampling="at-least")
        contexts = x.relevant[:, :-1]
        matches = (contexts == x.relevant[:, -1:]).sum(axis=1)
        assert matches.min() == least
        # the rest is independent: a match with probability alpha/2 each
        assert within((matches - least).sum(), 2000 * (length - least), alpha / 2)
        where = (contexts == x.relevant[:, -1:]).sum(axis=0)  # every place alike
        assert all(within(count, 2000, where.mean() / 2000) for count in where)
        same = x.sign[:, :-1][contexts == x.relevant[:, -1:]]
        assert (same == np.repeat(x.labels, matches)).all()


def tasks_of(x):
    """The pair (a, b) of every prompt, from contexts and query, where both show."""
    found = set()
    for n in range(len(x)):
        z = x.labels[n]
        other = [j for j, s in zip(x.relevant[n, :-1], x.sign[n, :-1], strict=True) if s == -z]
        if other:
            pair = (int(x.relevant[n, -1]), int(other[0]))
            found.add(pair if z == 1 else pair[::-1])
    return found


def test_which_tasks_are_drawn():
    full = {"length": 30, "alpha": 1.0}  # alpha = 1: the contexts carry nothing but the task's patterns
    assert tasks_of(default.sample(500, seed=5, **full)) == set(default.training_tasks)
    assert tasks_of(default.sample(500, seed=5, tasks="train", **full)) == set(default.training_tasks)
    assert tasks_of(default.sample(2000, seed=5, tasks="unseen", **full)) == set(default.tasks("unseen"))
    assert tasks_of(default.sample(2000, seed=5, tasks="all", **full)) == set(default.tasks("all"))
    assert tasks_of(default.sample(200, seed=5, tasks=[(5, 2), (0, 3)], **full)) == {(5, 2), (0, 3)}
    x = default.sample(6000, seed=5, **full)  # uniform over the tasks: every pattern is the query as often
    assert all(within((x.relevant[:, -1] == j).sum(), 6000, 1 / 6) for j in range(6))


def test_seeds():
    def same(x, y):
        arrays = ("relevant", "irrelevant", "kappa", "sign", "labels")
        return all(np.array_equal(getattr(x, name), getattr(y, name)) for name in arrays)

    assert same(default.sample(50, seed=7), default.sample(50, seed=7))
    assert same(default.sample(50, seed=(7, 3)), default.sample(50, seed=[7, 3]))
    draws = [default.sample(50, seed=seed) for seed in (7, 8, (7, 0), (7, 1), (8, 1), (1, 7))]
    for i, x in enumerate(draws):
        for y in draws[:i]:
            assert not same(x, y)
    one, other = (default.initialize(seed=3).W_O for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, default.initialize(seed=4).W_O)


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ({"n": 0}, ValueError, "n is 0"),
        ({"n": 2.0}, TypeError, "n is 2.0"),
        ({"n": True}, TypeError, "n is True"),
        ({"length": 0}, ValueError, "length is 0"),
        ({"length": "20"}, TypeError, "length is '20'"),
        ({"alpha": 0.0}, ValueError, "alpha is 0.0"),
        ({"alpha": 2}, ValueError, "alpha is 2"),
        ({"alpha": [0.5]}, TypeError, "alpha is [0.5]"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": 1.5}, TypeError, "seed is 1.5"),
        ({"seed": (1, -2)}, ValueError, "seed is -2"),
        ({"seed": None}, TypeError, "seed is None"),
        ({"tasks": "seen"}, ValueError, "tasks is 'seen'"),
        ({"tasks": [(3, 3)]}, ValueError, "tasks holds (3, 3)"),
        ({"sampling": "some"}, ValueError, "sampling is 'some'; expected one of 'iid', 'at-least'"),
    ],
)
def test_bad_arguments_of_sample(arguments, error, words):
    with pytest.raises(error) as caught:
        default.sample(**({"n": 4} | arguments))
    assert words in str(caught.value)


def test_two_patterns():
    p = li2024.Problem(**(SMALL | {"M1": 2, "alpha": 1.0}))
    x = p.sample(1000, seed=1)
    assert within((x.relevant[:, :-1] == 0).sum(), 7000, 0.5)
    with pytest.raises(ValueError, match=r"alpha is 0\.8 with M1 = 2"):
        p.sample(4, alpha=0.8)


@pytest.mark.parametrize("problem", [default, default.out_of_domain(1.1, K=1.0)], ids=["in", "out"])
def test_dense_is_a_loop_over_the_codes(problem):
    x = problem.sample(5, length=6, seed=8)
    dense = x.dense()
    E = problem.dictionary
    for n in range(5):
        for s in range(7):
            token = E[:, x.relevant[n, s]] + x.kappa[n, s] * E[:, x.irrelevant[n, s]] + x.sign[n, s] * E[:, -1]
            np.testing.assert_allclose(dense.tokens[n, s], token, atol=1e-15)
            assert np.linalg.norm(token[: problem.d_X]) == pytest.approx(2 * math.hypot(1, x.kappa[n, s]))
            assert np.linalg.norm(token[problem.d_X :]) == (s < 6)
    np.testing.assert_array_equal(dense.labels, x.labels)
    np.testing.assert_array_equal(x[3].P, dense[3].P)
    np.testing.assert_array_equal(x[1:4].dense().tokens, dense.tokens[1:4])
    assert dense.tokens.shape == (5, 7, problem.d)
    assert x.dense(np.float32).tokens.dtype == np.float32


def test_out_of_domain_sampling():
    o = default.out_of_domain(1.2, K=1.0)
    x = o.sample(3000, alpha=0.6, seed=9)
    assert set(np.unique(x.relevant)) == {0, 1, 2}
    assert abs(x.kappa).max() > 0.9
    assert tasks_of(o.sample(300, alpha=1.0, seed=9)) == set(o.tasks("all"))
    match = x.relevant[:, :-1] == x.relevant[:, -1:]
    assert within(match.sum(), match.size, 0.3)


def test_query_attends_is_handed_on():
    for attends in (False, True):
        p = li2024.Problem(**SMALL, query_attends=attends)
        x = p.sample(3)
        assert x.query_attends == x.dense().query_attends == x[0].query_attends == attends
        assert nlicl.forward(p.initialize(), x).attention.shape == (3, 7 + attends)


# ---- Initialisation


@pytest.mark.parametrize("m, m_a, m_b", [(None, None, None), (5, 60, 60), (7, 20, 45), (3, 90, 70)])
def test_initial_parameters(m, m_a, m_b):
    params = default.initialize(m, m_a, m_b, seed=1)
    m, m_a, m_b = m or 64, m_a or 60, m_b or 60
    assert [w.shape for w in params] == [(m_a, 60), (m_a, 60), (m_b, 60), (m, m_b), (m,)]
    for name, size, upto in (("W_Q", m_a, 30), ("W_K", m_a, 30), ("W_V", m_b, 60)):
        expected = np.zeros((size, 60))
        for i in range(min(size, upto)):
            expected[i, i] = 0.2
        np.testing.assert_array_equal(getattr(params, name), expected)
    np.testing.assert_array_equal(abs(params.a), 2 / m)
    assert params.W_Q is not params.W_K


def test_initial_scales():
    params = default.initialize(m=4000, seed=2)
    assert params.W_O.std() == pytest.approx(0.02, rel=5 / math.sqrt(2 * params.W_O.size))
    assert abs(params.W_O.mean()) < 5 * 0.02 / math.sqrt(params.W_O.size)
    assert within((params.a > 0).sum(), 4000, 0.5)
    for problem in (li2024.sibling, li2024.stated):
        np.testing.assert_allclose(abs(problem.initialize(m=25).a), 0.2)
    stated = li2024.stated.initialize(seed=2)
    assert [w.shape for w in stated] == [(60, 60), (60, 60), (60, 60), (64, 60), (64,)]
    assert set(stated.a) == {-0.125, 0.125} and stated.W_O.std() == pytest.approx(0.01, rel=0.05)
    assert 0 < li2024.stated.delta <= 0.2
    assert default.initialize(seed=(1, 2)).W_O.shape == (64, 60)
    for arguments, error in (({"m": 0}, ValueError), ({"m_a": 1.5}, TypeError), ({"seed": -1}, ValueError)):
        with pytest.raises(error):
            default.initialize(**arguments)


def test_prompts_and_parameters_of_one_seed_are_independent():
    x = default.sample(100, seed=0)
    W_O = default.initialize(seed=0).W_O
    u = (W_O.ravel()[:2000] / 0.02, x.kappa.ravel()[:2000])
    assert abs(np.corrcoef(*u)[0, 1]) < 5 / math.sqrt(2000)
    raw = np.random.default_rng(0).standard_normal(W_O.shape)  # nor is it the bare seed, which readers use themselves
    assert not np.array_equal(W_O, 0.02 * raw)


def same_pattern_mass(params, x):
    """Attention on the contexts that carry the query's pattern, the mean over prompts."""
    return (nlicl.forward(params, x).attention * (x.relevant[:, :-1] == x.relevant[:, -1:])).sum(axis=1).mean()


@pytest.mark.parametrize("beta, expected", [(1, 0.411), (2, 0.439), (3, 0.486)])
def test_initial_attention(beta, expected):
    p = li2024.Problem(beta=beta)
    x = p.sample(4000, seed=10)
    mass = same_pattern_mass(p.initialize(), x)
    assert mass == pytest.approx(expected, abs=0.005)
    e = math.exp(0.2**2 * beta**2)
    assert mass == pytest.approx(0.4 * e / (0.4 * e + 0.6), abs=0.005)


# ---- Identities


def smaller(seed=0, steps=0, **more):
    """A small problem and parameters after some steps, at the learning rate of the default problem."""
    p = li2024.Problem(**(SMALL | more))
    params = p.initialize(seed=seed)
    for t in range(steps):
        params = step(params, p.sample(32, seed=(seed, t)), p.learning_rate)
    return p, params


def step(params, prompts, rate):
    """Algorithm 1: W_Q, W_K, W_V, W_O at once, a frozen."""
    grads = loss_and_grad(params, prompts)[1]
    return Params(*(w - rate * dw for w, dw in zip(params[:4], grads[:4], strict=True)), params.a)


@pytest.mark.parametrize("attends", [False, True])
def test_W_K_never_moves_along_mu_bar(attends):
    p, params = smaller(query_attends=attends)
    mean = np.concatenate([p.mu_bar, np.zeros(p.d_Y)])
    before = params.W_K @ mean
    for t in range(100):
        x = p.sample(32, seed=(1, t))
        grads = loss_and_grad(params, x)[1]
        assert abs(grads.W_K @ mean).max() <= 1e-14 * max(1e-300, abs(grads.W_K).max()) * 50
        params = step(params, x, 1.0)
    np.testing.assert_allclose(params.W_K @ mean, before, atol=1e-13)
    assert abs(params.W_K - p.initialize().W_K).max() > 1e-2  # it has moved elsewhere
    # Out of domain every token has the component S_1 beta^2 / M1 along mu_bar: nothing moves if all S_1 are the same.
    pairs = p.out_of_domain(0.5, M1=2)
    inside = loss_and_grad(params, pairs.sample(64, seed=2))[1].W_K
    assert abs(inside @ mean).max() < 1e-13 * abs(inside).max()
    uneven = p.out_of_domain(coefficients=[[0.6, 0.8, 0, 0], [0, 0, 0.6, -0.8]])
    outside = loss_and_grad(params, uneven.sample(64, seed=2))[1].W_K
    assert abs(outside @ mean).max() > 1e-3 * abs(outside).max()


def test_label_coordinates_stay_out_of_attention():
    p, params = smaller(steps=100)
    labels = slice(p.d_X, None)
    assert not params.W_Q[:, labels].any()  # the query has no label
    assert not params.W_Q[labels].any() and not params.W_K[labels].any()
    assert params.W_K[: p.d_X, labels].any()
    assert abs(params.W_K[:, labels]).max() < 0.25 * abs(params.W_K).max()


def test_rows_of_the_pattern_block_sum_to_zero():
    p, params = smaller(steps=30)
    dW_K = loss_and_grad(params, p.sample(64, seed=5))[1].W_K
    block = p.mu @ dW_K[: p.d_X, : p.d_X] @ p.mu.T
    assert abs(block.sum(axis=1)).max() <= 1e-13 * abs(block).max()
    off = block[~np.eye(p.M1, dtype=bool)].mean()
    assert off == pytest.approx(-np.diag(block).mean() / (p.M1 - 1))


# ---- Formulas


def complex_step(wrt, params, prompt, h=1e-40):
    """By the definition; the formulas know nothing of it."""
    array = getattr(params, wrt)
    gradient = np.empty(array.shape)
    for index in np.ndindex(array.shape):
        moved = array.astype(complex)
        moved[index] += 1j * h
        gradient[index] = nlicl.models.transformer.reference.loss(params._replace(**{wrt: moved}), prompt).imag / h
    return gradient


def random_case(seed, attends, square=False):
    rng = rng_of(seed)
    d, m_a, m_b, m, l = 4, 4 if square else 3, 5, 6, 5
    shapes = ((m_a, d), (m_a, d), (m_b, d), (m, m_b), (m,))
    params = Params(*(rng.standard_normal(shape) / math.sqrt(shape[-1]) for shape in shapes))
    params = params._replace(a=12 * params.a)  # |zF| on both sides of 1
    return params, Prompts(rng.standard_normal((8, l + 1, d)), rng.choice([-1.0, 1.0], 8), attends)


@pytest.mark.parametrize("attends", [False, True])
@pytest.mark.parametrize("wrt", NAMES)
def test_formulas_are_the_gradients(wrt, attends):
    params, prompts = random_case(11, attends)
    active = 0
    for prompt in prompts:
        formula = li2024.formulas[wrt](params, prompt)
        batch = Prompts(prompt.tokens[None], [prompt.z], attends)
        library = getattr(loss_and_grad(params, batch)[1], wrt)
        exact = complex_step(wrt, params, prompt)
        size = max(1.0, abs(exact).max())
        np.testing.assert_allclose(formula, exact, rtol=0, atol=1e-14 * size)
        np.testing.assert_allclose(library, exact, rtol=0, atol=1e-14 * size)
        active += bool(exact.any())
    assert 0 < active < len(prompts)  # the hinge was active and inactive


def cases_of_the_printed(square=True):
    """(params, prompt) pairs of the l+1 model with whether the hinge is active there."""
    for seed in range(3):
        params, prompts = random_case(20 + seed, True, square)
        for prompt in prompts:
            score = nlicl.models.transformer.reference.forward(params, prompt).score
            yield params, prompt, 1 - prompt.z * score > 0


@pytest.mark.parametrize("wrt", NAMES[:4])
def test_printed_formulas_are_off_where_the_errata_say(wrt):
    printed, corrected = li2024.formulas[f"{wrt}_printed"], li2024.formulas[wrt]
    assert (printed.expected, printed.query_attends) == ("disagree", True)
    assert "slides" in printed.source and "appendix" not in printed.source.replace("backup pages", "")
    seen = set()
    for params, prompt, active in cases_of_the_printed():
        symmetric = params._replace(W_Q=params.W_Q + params.W_Q.T)
        still = 1 - prompt.z * nlicl.models.transformer.reference.forward(symmetric, prompt).score > 0
        if still:  # symmetric W_Q, active hinge, the query attends: no error shows
            right = corrected(symmetric, prompt)
            np.testing.assert_allclose(printed(symmetric, prompt), right, rtol=0, atol=1e-13 * max(1, abs(right).max()))
        mine, right = printed(params, prompt), corrected(params, prompt)
        size = max(abs(right).max(), abs(mine).max())
        if size == 0:
            continue
        off = abs(mine - right).max() / size
        if not active:  # erratum 2
            assert not right.any() and off == 1
        elif wrt == "W_K":  # erratum 1
            assert off > 0.05
        else:
            assert off < 1e-13
        alone = li2024.formulas[wrt](params, dataclasses.replace(prompt, query_attends=False))
        assert abs(mine - alone).max() > 1e-6 * size  # erratum 5: judged against the l model
        seen.add((bool(active), bool(still)))
    assert {active for active, _ in seen} == {True, False} and any(still for _, still in seen)


def test_erratum_4_revives_a_pruned_neuron():
    params, prompts = random_case(30, True)
    W_O = params.W_O.copy()
    W_O[2] = 0
    params = params._replace(W_O=W_O)
    prompt = next(p for p in prompts if 1 - p.z * nlicl.models.transformer.reference.forward(params, p).score > 0)
    assert not li2024.formulas["W_O"](params, prompt)[2].any()
    assert li2024.formulas["W_O_printed"](params, prompt)[2].any()


def test_erratum_1_needs_m_a_equal_to_d():
    params, prompts = random_case(31, True)
    printed = li2024.formulas["W_K_printed"]
    assert not printed.defined(params) and printed.domain == "m_a = d"
    with pytest.raises(ValueError):
        printed(params, prompts[0])


def test_registered_formulas_say_what_they_are():
    assert list(li2024.formulas) == [*NAMES, *(f"{name}_printed" for name in NAMES[:4])]
    for name, formula in li2024.formulas.items():
        assert formula.name == name and formula.wrt == name.removesuffix("_printed")
        assert formula.equation and formula.source
        assert (formula.erratum is None) == (formula.expected == "agree")
        assert name in repr(formula)


# ---- Constants of the theorems


def test_constants():
    assert li2024.number_of_neurons(6) == pytest.approx(64.5, abs=0.01)
    assert li2024.batch_size(6, 0.1) == pytest.approx(100 * math.log(6))
    assert li2024.batch_size(6, 1.0) == pytest.approx(6 * math.log(6))
    assert li2024.context_length(0.8) == 1.25
    assert li2024.no_match_probability(0.6, 6) / 2 == pytest.approx(0.059, abs=5e-4)
    assert li2024.no_match_probability(1.0, 3) == 0.125
    settings = {"M1": 6, "beta": 2.0, "learning_rate": 0.5}
    steps = li2024.number_of_steps(0.8, **settings)
    assert steps == pytest.approx(12 * 0.8 ** (-2 / 3) * 2 ** (-2 / 3) * math.sqrt(math.log(6)))
    assert li2024.number_of_steps(0.1, **settings) / steps == pytest.approx(4)
    assert li2024.number_of_steps(0.8, C=3, **settings) == pytest.approx(3 * steps)


# ---- A short run


def turned(params, R):
    return Params(*(w @ R.T for w in params[:3]), *params[3:])


def test_a_run_reaches_the_measured_values_and_turns_with_the_blocks():
    """The calibrated problem, 300 steps; a second run on rotated tokens and parameters goes the rotated way."""
    p = default
    rng = rng_of(0)
    R = np.zeros((p.d, p.d))
    for block in (slice(None, p.d_X), slice(p.d_X, None)):
        R[block, block] = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    params = p.initialize(seed=0)
    other = turned(params, R)
    for t in range(300):
        x = p.sample(p.batch, seed=(0, t))
        if t < 40:
            dense = x.dense()
            other = step(other, Prompts(dense.tokens @ R.T, dense.labels), p.learning_rate)
        params = step(params, x, p.learning_rate)
        if t == 39:
            for mine, theirs in zip(turned(params, R), other, strict=True):
                np.testing.assert_allclose(mine, theirs, atol=1e-10)
            assert abs(params.W_O - p.initialize(seed=0).W_O).max() > 1e-3
    x = p.sample(2000, seed=1, tasks="unseen")
    out = nlicl.forward(params, x)
    assert 0.002 < loss_and_grad(params, x)[0] < 0.012
    assert (np.sign(out.score) != x.labels).mean() <= 0.002
    assert same_pattern_mass(params, p.sample(2000, seed=1)) == pytest.approx(0.965, abs=0.01)
    assert same_pattern_mass(params, x) == pytest.approx(0.928, abs=0.02)  # tasks it was not trained on
    norms = np.linalg.norm(x.dense().tokens[:, -1] @ params.W_Q.T, axis=1)
    assert norms.mean() == pytest.approx(1.77, abs=0.05)
    ood = p.out_of_domain(1.2).sample(2000, seed=2)
    assert (np.sign(nlicl.forward(params, ood).score) != ood.labels).mean() < 0.005
    assert same_pattern_mass(params, ood) == pytest.approx(0.84, abs=0.03)
