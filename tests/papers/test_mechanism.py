"""What is measured of attention, projections and neurons, against literal definitions; the observer, prompt by prompt."""

import dataclasses

import draws
import mpmath
import numpy as np
import pytest
from draws import Sizes
from hypothesis import given
from hypothesis import strategies as st

import nlicl
from nlicl import Params, forward, loss_and_grad
from nlicl.models.transformer import reference
from nlicl.papers import li2024
from nlicl.papers.li2024 import mechanism

SMALL = {"M1": 4, "M2": 3, "d_X": 9, "d_Y": 4, "m": 10, "length": 7}
default = li2024.Problem()
dtypes = st.sampled_from([np.float32, np.float64])
problems = st.builds(
    lambda attends, alpha: li2024.Problem(**SMALL, query_attends=attends, alpha=alpha), st.booleans(), st.floats(0.1, 1)
)


def params_of(problem, seed=0, dtype=np.float64, m_a=None, scale=0.5):
    size = Sizes(d=problem.d, m_a=m_a or problem.d, m_b=problem.d, m=problem.m)
    return draws.params(size, seed, dtype, scale)


# ---- Attention on contexts with the query's pattern


@given(problems, draws.seeds, dtypes)
def test_attention_mass_is_the_sum_over_matching_contexts(problem, seed, dtype):
    """In the l+1 model the query's own share counts for nothing: it is no context."""
    prompts = problem.sample(20, seed=seed)
    attention = forward(params_of(problem, seed, dtype), prompts).attention
    assert attention.shape == (20, problem.length + problem.query_attends)
    mass = mechanism.same_pattern_attention(attention, prompts)
    assert mass.shape == (20,) and np.all(mass >= 0) and np.all(mass <= 1 + 8 * np.finfo(dtype).eps)
    for n in range(20):
        matching = [i for i in range(problem.length) if prompts.relevant[n, i] == prompts.relevant[n, -1]]
        assert np.isclose(mass[n], sum(attention[n, i] for i in matching), rtol=8 * np.finfo(dtype).eps, atol=0)
        assert matching or mass[n] == 0
        if problem.query_attends:
            assert mass[n] <= 1 - attention[n, -1] + 8 * np.finfo(dtype).eps


@given(problems, draws.seeds)
def test_attention_mass_is_one_where_every_context_has_the_query_s_pattern(problem, seed):
    prompts = problem.sample(10, seed=seed)
    prompts = dataclasses.replace(prompts, relevant=np.repeat(prompts.relevant[:, -1:], problem.length + 1, axis=1))
    attention = forward(params_of(problem, seed), prompts).attention
    own = attention[:, -1] if problem.query_attends else 0
    np.testing.assert_allclose(mechanism.same_pattern_attention(attention, prompts), 1 - own, rtol=0, atol=1e-14)


def test_uniform_attention_counts_contexts():
    prompts = default.sample(50, seed=0)
    same = np.sum(prompts.relevant[:, :-1] == prompts.relevant[:, -1:], axis=1)
    mass = mechanism.same_pattern_attention(np.full((50, 20), 1 / 20), prompts)
    np.testing.assert_allclose(mass, same / 20, rtol=1e-15)


# ---- Projections


@given(draws.seeds, st.floats(0.01, 5), st.floats(0.5, 3), dtypes)
def test_a_multiple_of_the_identity_projects_as_it_should(seed, delta, beta, dtype):
    """W = delta I: norm delta beta sqrt(1 + kappa^2), component delta beta, on tokens without a label."""
    problem = li2024.Problem(**SMALL, beta=beta)
    codes = problem.sample(5, seed=seed)
    W = (delta * np.eye(problem.d)).astype(dtype)
    queries = codes.dense(dtype).tokens[:, -1]
    found = mechanism.projection(W, queries, problem.mu[codes.relevant[:, -1]])
    tolerance = 8 * np.finfo(dtype).eps * delta * beta
    kappa = codes.kappa[:, -1]
    np.testing.assert_allclose(found.norm, delta * beta * np.sqrt(1 + kappa**2), rtol=0, atol=2 * tolerance)
    np.testing.assert_allclose(found.component, delta * beta, rtol=0, atol=tolerance)


def test_the_paper_s_start():
    """delta beta = 0.4, and labels do not enter: contexts and queries alike."""
    params, codes = default.initialize(seed=0), default.sample(20, seed=0)
    found = mechanism.projection(params.W_K, codes.dense().tokens, default.mu[codes.relevant])
    assert found.norm.shape == found.component.shape == (20, 21)
    np.testing.assert_allclose(found.component, 0.4, rtol=1e-14)
    np.testing.assert_allclose(found.norm, 0.4 * np.sqrt(1 + codes.kappa**2), rtol=1e-14)


@given(draws.seeds, st.integers(1, 6), st.integers(2, 6), st.data())
def test_projection_by_definition(seed, m_a, d, data):
    d_X = data.draw(st.integers(1, d))
    rng = np.random.default_rng(seed)
    W, tokens, patterns = rng.normal(size=(m_a, d)), rng.normal(size=(3, 2, d)), rng.normal(size=(3, 2, d_X))
    found = mechanism.projection(W, tokens, patterns)
    assert (found.component is None) == (m_a != d)
    for i in np.ndindex(3, 2):
        image = [sum(W[r, j] * tokens[i][j] for j in range(d)) for r in range(m_a)]
        assert np.isclose(found.norm[i], sum(x * x for x in image) ** 0.5, rtol=1e-13)
        if m_a == d:
            length = sum(x * x for x in patterns[i]) ** 0.5
            along = sum(patterns[i][j] * image[j] for j in range(d_X)) / length
            assert np.isclose(found.component[i], along, rtol=0, atol=1e-13 * found.norm[i] + 1e-300)


@given(draws.seeds)
def test_a_component_is_no_longer_than_the_vector_and_ignores_the_pattern_s_length(seed):
    problem = li2024.Problem(**SMALL)
    codes = problem.sample(10, seed=seed)
    W, tokens = params_of(problem, seed).W_Q, codes.dense().tokens
    patterns = problem.mu[codes.relevant]
    found = mechanism.projection(W, tokens, patterns)
    assert np.all(abs(found.component) <= found.norm * (1 + 1e-14))
    np.testing.assert_allclose(mechanism.projection(W, tokens, 7 * patterns).component, found.component, rtol=1e-12)


# ---- Neurons


def only(rows, d_X):
    """Parameters whose W_O W_V is `rows`, exactly."""
    m, d = rows.shape
    return Params(np.eye(d), np.eye(d), np.eye(d), rows, np.ones(m))


def exact_angle(x, y):
    """Between two vectors of doubles, with 50 digits."""
    with mpmath.workdps(50):
        x, y = [mpmath.mpf(v) for v in x.tolist()], [mpmath.mpf(v) for v in y.tolist()]
        lengths = mpmath.sqrt(mpmath.fdot(x, x) * mpmath.fdot(y, y))
        return mpmath.acos(mpmath.fdot(x, y) / lengths)


@given(draws.seeds, st.integers(2, 8), st.floats(-14, 0), st.booleans(), st.integers(-8, 8))
def test_angles_are_exact_near_0_and_pi(seed, n, exponent, opposite, scale):
    """To a few eps, where the arc cosine in double precision is off by up to 1e-8."""
    rng = np.random.default_rng(seed)
    direction, other = rng.normal(size=(2, n))
    across = other - (other @ direction) / (direction @ direction) * direction
    row = direction / np.linalg.norm(direction) + 10.0**exponent * across / np.linalg.norm(across)
    row *= 10.0**scale * (-1 if opposite else 1)
    for part in ("feature_angle", "label_angle"):
        rows = np.concatenate([row, [1.0]] if part == "feature_angle" else [[1.0], row])[None]
        mu_bar, q = (direction, np.ones(1)) if part == "feature_angle" else (np.ones(1), direction)
        found = getattr(mechanism.neurons(only(rows, len(mu_bar)), mu_bar, q), part)[0]
        assert abs(found - float(exact_angle(row, direction))) < 4e-15


@given(draws.seeds, st.integers(-30, 30), st.integers(-30, 30))
def test_angles_do_not_depend_on_lengths(seed, of_rows, of_directions):
    problem = li2024.Problem(**SMALL)
    params, grow, stretch = params_of(problem, seed), 2.0**of_rows, 2.0**of_directions
    one = mechanism.neurons(params, problem.mu_bar, problem.q)
    other = mechanism.neurons(params._replace(W_O=grow * params.W_O), stretch * problem.mu_bar, stretch * problem.q)
    for angle in ("feature_angle", "label_angle"):
        np.testing.assert_allclose(getattr(other, angle), getattr(one, angle), rtol=0, atol=1e-15)
        assert np.all((getattr(one, angle) >= 0) & (getattr(one, angle) <= np.pi))
    for size in ("norm", "feature", "label"):
        np.testing.assert_allclose(getattr(other, size), grow * getattr(one, size), rtol=1e-14)


@given(draws.seeds)
def test_turning_the_label_round_turns_its_angle_round(seed):
    problem = li2024.Problem(**SMALL)
    params = params_of(problem, seed)
    one, other = (mechanism.neurons(params, problem.mu_bar, q) for q in (problem.q, -problem.q))
    np.testing.assert_allclose(one.label_angle + other.label_angle, np.pi, rtol=0, atol=1e-15)


def test_neurons_by_hand():
    rows = np.array([[3.0, 0, 0, 2], [0, 4, 0, -1], [-1, 0, 5, 0], [0, 0, 0, 0]])
    found = mechanism.neurons(only(rows, 2), np.array([2.0, 0]), np.array([0.0, 3.0]))
    half = np.pi / 2
    np.testing.assert_allclose(found.norm, [np.sqrt(13), np.sqrt(17), np.sqrt(26), 0])
    np.testing.assert_allclose(found.feature, [3, 4, 1, 0])
    np.testing.assert_allclose(found.label, [2, 1, 5, 0])
    np.testing.assert_allclose(found.feature_angle, [0, half, np.pi, 0])  # 0 for a part that vanishes
    np.testing.assert_allclose(found.label_angle, [0, np.pi, half, 0])


def test_parts_are_those_of_the_product():
    """W_O W_V and not W_O: at the start it is delta W_O, then it is not."""
    params = default.initialize(seed=0)
    found = mechanism.neurons(params, default.mu_bar, default.q)
    np.testing.assert_allclose(found.feature**2 + found.label**2, (0.2 * found.norm) ** 2, rtol=1e-12)
    np.testing.assert_allclose(found.norm, np.linalg.norm(params.W_O, axis=1), rtol=1e-15)


# ---- Lucky neurons


@given(draws.seeds, st.floats(0.01, 1), dtypes)
def test_lucky_neurons_by_definition(seed, share, dtype):
    rng = np.random.default_rng(seed)
    params = draws.params(Sizes(m=12), seed, dtype)
    u = (rng.normal(size=(40, 12)) + rng.normal(size=12) * 2).astype(dtype)
    labels = rng.choice([-1.0, 1.0], 40)
    labels[:2] = 1, -1
    W, U = mechanism.lucky_neurons(params, u, labels, share)
    for i in range(12):
        for found, sign in ((W, 1), (U, -1)):
            active = [u[n, i] > 0 for n in range(40) if labels[n] == sign]
            assert found[i] == (np.sign(params.a[i]) == sign and np.mean(active) >= share)
    assert not np.any(W & U)


def test_nearly_all_prompts_are_99_of_100():
    params = Params(*[np.eye(2)] * 4, np.array([1.0, -1.0]))
    u, labels = np.ones((200, 2)), np.repeat([1.0, -1.0], 100)
    u[:1] = u[100:101] = -1
    assert [sets.tolist() for sets in mechanism.lucky_neurons(params, u, labels)] == [[True, False], [False, True]]
    u[:2, 0] = u[100:102, 1] = -1
    assert not np.any(mechanism.lucky_neurons(params, u, labels))


def test_a_neuron_at_its_kink_is_not_active():
    params = Params(*[np.eye(2)] * 4, np.array([1.0, -1.0]))
    W, U = mechanism.lucky_neurons(params, np.zeros((2, 2)), np.array([1.0, -1.0]))
    assert not W.any() and not U.any()
    W, U = mechanism.lucky_neurons(params, np.array([[1.0, -1.0], [-1.0, 1.0]]), np.array([1.0, -1.0]), share=1)
    assert W.tolist() == [True, False] and U.tolist() == [False, True]


# ---- The basis of the patterns


@given(st.floats(0.01, 5), st.floats(0.5, 3))
def test_the_block_of_the_identity_is_the_identity(delta, beta):
    problem = li2024.Problem(**SMALL, beta=beta)
    block = mechanism.pattern_block(delta * np.eye(problem.d), problem.mu)
    np.testing.assert_allclose(block, delta * np.eye(4), rtol=1e-14, atol=1e-15 * delta)


@given(draws.seeds)
def test_the_block_by_definition(seed):
    rng = np.random.default_rng(seed)
    W, patterns = rng.normal(size=(5, 5)), rng.normal(size=(3, 4))
    block = mechanism.pattern_block(W, patterns)
    for i, j in np.ndindex(3, 3):
        x, y = (np.append(patterns[k] / np.sqrt(patterns[k] @ patterns[k]), 0) for k in (i, j))
        assert np.isclose(block[i, j], x @ W @ y, rtol=1e-12, atol=1e-13)


@given(draws.seeds)
def test_rows_of_the_gradient_s_block_sum_to_zero(seed):
    """Every token has exactly one pattern, so C [mu-bar; 0] = 0: identity of dW_K in the basis of the patterns."""
    problem = li2024.Problem(**SMALL)
    params = params_of(problem, seed)
    _, grads = loss_and_grad(params, problem.sample(20, seed=seed))
    block = mechanism.pattern_block(grads.W_K, problem.mu)
    np.testing.assert_allclose(block.sum(axis=1), 0, atol=1e-13 * (abs(block).max() + 1e-300))
    moved = params.W_K - 3.0 * grads.W_K
    assert mechanism.drift(moved, params.W_K, problem.mu_bar) < 1e-13


def test_training_leaves_the_average_pattern_of_W_K_where_it_is():
    problem = li2024.Problem(**SMALL, batch=32, learning_rate=5.0)
    start = problem.initialize(seed=0)
    run = nlicl.train(problem, steps=30, seed=0, measure=None)
    assert np.linalg.norm(run.params.W_K - start.W_K) > 1e-6
    assert mechanism.drift(run.params.W_K, start.W_K, problem.mu_bar) < 1e-13
    assert mechanism.drift(run.params.W_K, start.W_K, problem.mu[0]) > 1e-8
    assert mechanism.drift(1.5 * start.W_K, start.W_K, problem.mu[1]) == pytest.approx(0.5)


# ---- The observer, a prompt at a time, by the definition of the model


def measured_by_hand(problem, params, n, seed):
    """What `Observer` says it measures, with loops and nlicl.models.transformer.reference alone."""
    ood = problem.out_of_domain(S_1=1.2, M1=2)
    tests = {
        "train": problem.sample(n, seed=(seed, 0, 0), tasks="train"),
        "unseen": problem.sample(n, seed=(seed, 0, 1), tasks="unseen"),
        "ood": ood.sample(n, alpha=1.0, seed=(seed, 0, 2)),
    }
    found = {}
    for name, codes in tests.items():
        hinge, wrong, mass, on = [], [], [], {1.0: [], -1.0: []}
        for k, prompt in enumerate(codes.dense()):
            out = reference.forward(params, prompt)
            hinge.append(reference.loss(params, prompt))
            wrong.append(np.sign(out.score) != prompt.z)
            same = [codes.relevant[k, i] == codes.relevant[k, -1] for i in range(codes.length)]
            mass.append(sum(out.attention[i] for i in range(codes.length) if same[i]))
            on[prompt.z].append(out.preactivation > 0)
        found |= {f"hinge_{name}": np.mean(hinge), f"error_{name}": np.mean(wrong), f"attention_{name}": np.mean(mass)}
        if name == "train":
            active = {z: np.mean(rows, axis=0) >= 0.99 for z, rows in on.items()}
            found["lucky_positive"] = sum((params.a > 0) & active[1.0])
            found["lucky_negative"] = sum((params.a < 0) & active[-1.0])
    codes, X = tests["train"], slice(0, problem.d_X)
    for name, W, places in (("query", params.W_Q, [codes.length]), ("key", params.W_K, range(codes.length))):
        norms, components = [], []
        for k, prompt in enumerate(codes.dense()):
            for i in places:
                image = W @ prompt.tokens[i]
                pattern = problem.mu[codes.relevant[k, i]] / problem.beta
                norms.append(np.sqrt(image @ image))
                if len(image) == problem.d:
                    components.append(pattern @ image[X])
        found[f"{name}_norm"] = np.mean(norms)
        if components:
            found[f"{name}_component"] = np.mean(components)
    rows = params.W_O @ params.W_V
    found["norm"] = np.sqrt((params.W_O**2).sum(axis=1))
    found["feature"], found["label"] = (
        np.sqrt((rows[:, X] ** 2).sum(axis=1)),
        np.sqrt((rows[:, X.stop :] ** 2).sum(axis=1)),
    )
    found["feature_angle"] = np.arccos(rows[:, X] @ problem.mu_bar / found["feature"] / np.linalg.norm(problem.mu_bar))
    found["label_angle"] = np.arccos(rows[:, X.stop :] @ problem.q / found["label"])
    return found


@pytest.mark.parametrize("attends", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m_a", [13, 6])
def test_the_observer_measures_what_it_says(dtype, attends, m_a):
    problem = li2024.Problem(**SMALL, query_attends=attends)
    params = params_of(problem, 3, dtype, m_a=m_a)
    got = li2024.Observer(problem, n=60, seed=8)(params)
    want = measured_by_hand(problem, Params(*(array.astype(float) for array in params)), n=60, seed=8)
    assert got.keys() == want.keys()
    assert ("query_component" in got) == (m_a == problem.d)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-12 if dtype == np.float64 else 3e-6, err_msg=name)
    assert got["hinge_train"] > 0 and 0 < got["error_train"] < 1 and 0 < got["attention_ood"] < 1  # nothing is trivial


def test_the_observer_leaves_out_what_there_is_not():
    def names(problem):
        found = problem.observer()(problem.initialize())
        return {name.partition("_")[2] for name in found if "hinge" in name}

    assert names(li2024.Problem(**SMALL)) == {"train", "unseen", "ood"}
    assert names(li2024.Problem(**SMALL | {"M1": 3})) == {"train", "unseen"}
    assert names(li2024.Problem(**SMALL | {"M1": 2}, alpha=1)) == {"train"}


def test_observers_of_a_seed_are_equal_and_of_two_are_not():
    problem = li2024.Problem(**SMALL)
    params = params_of(problem, 1)
    one, same, other = (problem.observer(seed=s)(params) for s in (1, 1, 2))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert one["hinge_train"] != other["hinge_train"]


# ---- What can go wrong

PROBLEM = li2024.Problem(**SMALL)
CODES, PARAMS = PROBLEM.sample(5), params_of(PROBLEM)
OUT = forward(PARAMS, CODES)
W, MU = PARAMS.W_Q, PROBLEM.mu
BAD = [
    (lambda: mechanism.same_pattern_attention(OUT.attention, CODES.dense()), TypeError, ["prompts is a nlicl.Prompts"]),
    (lambda: mechanism.same_pattern_attention(OUT.attention[:3], CODES), ValueError, ["attention has shape (3, 7)", "(5, 7)"]),
    (lambda: mechanism.same_pattern_attention(OUT.attention[:, 1:], CODES), ValueError, ["(5, 6)", "(5, 7)", "(B, l)"]),
    (lambda: mechanism.same_pattern_attention(OUT.attention, dataclasses.replace(CODES, query_attends=True)), ValueError,
     ["(5, 7)", "(5, 8)", "(B, l+1)"]),
    (lambda: mechanism.same_pattern_attention(OUT.attention[0], CODES), ValueError, ["attention has shape (7,)", "2 axes"]),
    (lambda: mechanism.projection(W, np.ones((2, 5)), MU[:2]), ValueError, ["tokens has shape (2, 5)", "13"]),
    (lambda: mechanism.projection(W, np.ones((2, 13)), MU), ValueError, ["patterns has shape (4, 9)", "(2, 'd_X')"]),
    (lambda: mechanism.projection(W, np.ones((4, 13)), np.ones((4, 14))), ValueError, ["patterns", "at most 13"]),
    (lambda: mechanism.projection(W, np.ones((4, 13)), 0 * MU), ValueError, ["patterns holds a zero vector"]),
    (lambda: mechanism.projection(W[0], np.ones((4, 13)), MU), ValueError, ["W has shape (13,)", "(m_a, d)"]),
    (lambda: mechanism.neurons(PARAMS, PROBLEM.mu_bar[1:], PROBLEM.q), ValueError, ["mu_bar has shape (8,)", "d = 13"]),
    (lambda: mechanism.neurons(PARAMS, PROBLEM.mu_bar, np.ones(5)), ValueError, ["q (5,)", "d_X + d_Y = d = 13"]),
    (lambda: mechanism.neurons(PARAMS, 0 * PROBLEM.mu_bar, PROBLEM.q), ValueError, ["mu_bar holds a zero vector"]),
    (lambda: mechanism.neurons(PARAMS, PROBLEM.mu, PROBLEM.q), ValueError, ["mu_bar has shape (4, 9)", "(d_X,)"]),
    (lambda: mechanism.lucky_neurons(PARAMS, OUT.preactivation[:, 1:], CODES.labels), ValueError, ["(5, 9)", "m = 10"]),
    (lambda: mechanism.lucky_neurons(PARAMS, OUT.preactivation, CODES.labels[1:]), ValueError, ["labels (4,)", "(B,)"]),
    (lambda: mechanism.lucky_neurons(PARAMS, OUT.preactivation, np.ones(5)), ValueError, ["labels holds [1.0] only", "both"]),
    (lambda: mechanism.lucky_neurons(PARAMS, OUT.preactivation, CODES.labels, 0), ValueError, ["share is 0"]),
    (lambda: mechanism.lucky_neurons(PARAMS, OUT.preactivation, CODES.labels, 1.01), ValueError, ["share is 1.01", "most 1"]),
    (lambda: mechanism.pattern_block(W[:5], MU), ValueError, ["W has shape (5, 13)", "(d, d)"]),
    (lambda: mechanism.pattern_block(W[:5, :5], MU), ValueError, ["patterns has shape (4, 9)", "d = 5"]),
    (lambda: mechanism.pattern_block(W, 0 * MU), ValueError, ["patterns holds a zero vector"]),
    (lambda: mechanism.pattern_block(W, MU[0]), ValueError, ["patterns has shape (9,)", "(M, d_X)"]),
    (lambda: mechanism.drift(W, W[:, 1:], MU[0]), ValueError, ["W has shape (13, 13)", "start (13, 12)"]),
    (lambda: mechanism.drift(W, W, np.ones(14)), ValueError, ["direction has shape (14,)", "at most d = 13"]),
    (lambda: mechanism.drift(W, 0 * W, MU[0]), ValueError, ["start maps direction to 0"]),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "words"), BAD)
def test_errors_say_what_was_given_and_what_was_expected(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
