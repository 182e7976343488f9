"""The experiment of Huang et al. 2023: its prompts, its full batch, its optimizer; and what a rotation of features changes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nlicl
from nlicl.core.errors import InvalidType, InvalidValue
from nlicl.core.seeds import Part
from nlicl.papers import huang2023
from nlicl.papers.huang2023 import Experiment, Problem, adam
from nlicl.training import SGD, Adam

SMALL = Experiment(K=4, d=12, length=9, prompts=20, steps=12)


def weights(run, problem):
    """S = V^T Q V."""
    return problem.V.T @ run.params.Q @ problem.V


# ---------------------------------------------------------------- the problem


def test_what_is_quoted_of_the_experiment_is_its_default_and_the_rest_is_ours():
    problem = huang2023.problems["experiment"]
    assert (problem.prompts, problem.batch, problem.learning_rate, problem.steps) == (300, None, 0.002, 400)
    assert problem.optimizer == "adam" and type(problem).initialize is Problem.initialize
    marks = {name: mark for name, (_, mark) in problem.settings().items()}
    quoted = {name for name, mark in marks.items() if mark == "quoted"}
    assert quoted == {"prompts", "batch", "learning_rate", "steps", "optimizer"}
    assert {mark for name, mark in marks.items() if name not in quoted} == {"ours"}
    assert dataclasses.replace(problem, prompts=100).settings()["prompts"] == [100, "set here"]


def test_the_named_settings():
    named = {name: each for name, each in huang2023.problems.items() if name.startswith("experiment")}
    assert {name: (each.case, each.features) for name, each in named.items()} == {
        "experiment": ("imbalanced", "dense"),
        "experiment-balanced": ("balanced", "dense"),
        "experiment-one-hot": ("imbalanced", "one-hot"),
        "experiment-one-hot-balanced": ("balanced", "one-hot"),
    }
    assert all(type(each) is Experiment and each.K == 10 and each.prompts == 300 for each in named.values())
    assert Experiment.imbalanced(p_1=0.8) == Experiment(p_1=0.8)
    assert Problem.balanced() == Problem(p_1=None) and Problem.imbalanced() == Problem()


def test_features():
    """The default as it was: unit vectors for d = K, random ones for d > K; and both kinds for any d."""
    np.testing.assert_array_equal(Problem(K=4).V, np.eye(4))
    np.testing.assert_array_equal(Problem(K=4, d=4).V, np.eye(4))
    assert Problem(K=4, d=6).V.tobytes() == Problem(K=4, d=6, features="dense").V.tobytes()
    np.testing.assert_array_equal(Problem(K=4, d=6, features="one-hot").V, np.eye(6)[:, :4])
    for d in (None, 4, 7):
        V = Problem(K=4, d=d, features="dense").V
        np.testing.assert_allclose(V.T @ V, np.eye(4), atol=1e-14)
        assert V.shape == (d or 4, 4) and np.all(V != 0)
    assert np.any(Problem(K=4, d=6).V != Problem(K=4, d=6, V_seed=1).V)
    one, other = (Experiment(features=kind).sample(5, seed=3) for kind in ("one-hot", "dense"))
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.omega, other.omega)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"features": "axes"}, InvalidValue, "features is 'axes'; expected one of 'one-hot', 'dense'"),
        ({"prompts": "all"}, InvalidValue, "prompts is 'all'; expected 'population', 'fresh', or a number of prompts"),
        ({"prompts": None}, InvalidValue, "prompts is None; expected 'population'"),
        ({"prompts": 0}, InvalidValue, "prompts is 0; expected at least 1"),
        ({"prompts": 3.5}, InvalidType, "prompts is 3.5; expected an integer"),
        ({"prompts": True}, InvalidType, "prompts is True"),
        ({"batch": 0}, InvalidValue, "batch is 0; expected at least 1"),
        (
            {"batch": None, "prompts": "fresh"},
            InvalidValue,
            "batch is None with prompts = 'fresh', which never end",
        ),
    ],
)
def test_refusals(given, error, said):
    with pytest.raises(error, match=said):
        Problem(**given)


def test_prompts_may_be_numpy_s_integers():
    problem = Experiment(prompts=np.int64(7))
    assert problem.prompts == 7 and type(problem.prompts) is int


# ---------------------------------------------------------------- training


def test_every_step_takes_the_fixed_set_whole_by_adam():
    """The same as a loop of a few lines."""
    run = nlicl.train(SMALL, seed=5, measure=None)
    assert run.settings["prompts"] == 20 and run.settings["batch"] is None
    assert run.settings["optimizer"] == {"name": "Adam", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
    prompts, params = SMALL.sample(20, seed=(5, Part.TRAINING_SET, 0)), SMALL.initialize()
    m, v, losses = 0, 0, []
    for t in range(1, SMALL.steps + 1):
        loss, grads = nlicl.loss_and_grad(params, prompts)
        losses.append(loss)
        m, v = 0.9 * m + 0.1 * grads.Q, 0.999 * v + 0.001 * grads.Q**2
        step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        params = params._replace(Q=params.Q - 0.002 * step)
    np.testing.assert_allclose(run.history.loss, losses, rtol=1e-12)
    np.testing.assert_allclose(run.params.Q, params.Q, rtol=1e-9, atol=1e-12)


def test_no_batch_is_a_batch_of_all():
    whole = nlicl.train(SMALL, measure=None)
    for batch in (20, 500):
        assert nlicl.train(SMALL, measure=None, batch=batch).params.Q.tobytes() == whole.params.Q.tobytes()
    assert nlicl.train(SMALL, measure=None, batch=7).params.Q.tobytes() != whole.params.Q.tobytes()
    more = nlicl.train(dataclasses.replace(SMALL, prompts=30), measure=None)
    assert more.settings["batch"] is None and more.params.Q.tobytes() != whole.params.Q.tobytes()
    given = SMALL.sample(20, seed=(0, Part.TRAINING_SET, 0))
    assert nlicl.train(SMALL, measure=None, prompts=given).params.Q.tobytes() == whole.params.Q.tobytes()


def test_fresh_prompts_need_a_batch():
    said = "batch is None with prompts = 'fresh'; expected a number of prompts a step, at least 1. Give batch"
    with pytest.raises(InvalidValue, match=said):
        nlicl.train(SMALL, prompts="fresh", measure=None)
    assert nlicl.train(SMALL, prompts="fresh", batch=3, measure=None).settings["batch"] == 3
    assert nlicl.train(SMALL, prompts="population", measure=None).settings["batch"] is None


def test_the_same_seed_has_the_same_bits_and_a_resumed_run_too(tmp_path):
    want = nlicl.train(SMALL, measure=4, seed=2)
    assert nlicl.train(SMALL, measure=4, seed=2).params.Q.tobytes() == want.params.Q.tobytes()
    assert nlicl.train(SMALL, measure=4, seed=3).params.Q.tobytes() != want.params.Q.tobytes()
    nlicl.train(SMALL, steps=5, measure=4, seed=2, out=tmp_path, checkpoint=3)
    got = nlicl.train(SMALL, measure=4, seed=2, out=tmp_path, checkpoint=3, resume=True)
    assert got.params.Q.tobytes() == want.params.Q.tobytes()
    np.testing.assert_array_equal(got.history["loss_k"], want.history["loss_k"])
    with pytest.raises(ValueError, match="prompts is 20 there and 30 here"):
        nlicl.train(dataclasses.replace(SMALL, prompts=30), measure=4, seed=2, out=tmp_path, checkpoint=3, resume=True)


def test_from_the_command_line(tmp_path, capsys):
    from nlicl.cli import main

    assert main(["train", "huang2023:experiment", "--steps", "2", "--out", str(tmp_path / "run")]) == 0
    assert main(["train", "huang2023:experiment", "--steps", "4", "--resume", str(tmp_path / "run")]) == 0
    run = nlicl.load_run(tmp_path / "run")
    assert run.settings["optimizer"]["name"] == "Adam" and run.settings["prompts"] == 300
    assert run.params.Q.tobytes() == nlicl.train(Experiment(), steps=4, measure=None).params.Q.tobytes()
    assert "loss_2" in capsys.readouterr().out


# ---------------------------------------------------------------- rotations of the features


@settings(max_examples=15)
@given(st.integers(2, 6), st.integers(0, 20), st.integers(0, 2**32), st.sampled_from(["imbalanced", "balanced"]))
def test_gradient_descent_does_not_see_the_features_and_adam_does(K, more, seed, case):
    make = getattr(Experiment, case)
    options = {"K": K, "length": 11, "prompts": 25, "steps": 15, "V_seed": seed}
    problems = [make(d=d, features=kind, **options) for d, kind in ((K, "one-hot"), (K + more, "dense"))]
    for optimizer, learning_rate, agree in ((SGD(), 1.0, True), (Adam(), 0.05, False)):
        one, other = (
            weights(nlicl.train(p, seed=seed, optimizer=optimizer, learning_rate=learning_rate, measure=None), p)
            for p in problems
        )
        assert np.allclose(one, other, rtol=0, atol=1e-10) is agree


def test_one_hot_features_are_alike_in_every_dimension():
    """Adam moves nothing where the gradient is 0."""
    runs = [nlicl.train(Experiment(K=4, d=d, features="one-hot", steps=30), measure=None).params.Q for d in (4, 9)]
    assert runs[0].tobytes() == np.ascontiguousarray(runs[1][:4, :4]).tobytes()
    assert not runs[1][4:].any() and not runs[1][:, 4:].any()


# ---------------------------------------------------------------- what Adam can move


@settings(max_examples=60)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60), st.floats(1e-3, 1.0))
def test_no_entry_moves_farther_than_the_bound(gradients, eta):
    blocks, state = {"Q": np.zeros(1)}, Adam(epsilon=0).init({"Q": np.zeros(1)})
    gradients = [g for g in gradients if abs(g) > 1e-3] or [1.0]
    for g in gradients:
        blocks, state = Adam(epsilon=0).update(blocks, {"Q": np.array([g])}, state, eta, 0.0)
    assert abs(blocks["Q"][0]) <= adam.largest_move(eta, len(gradients)) * (1 + 1e-9)


def test_the_bound_is_nearly_reached_by_one_step_and_by_the_worst_gradients():
    assert adam.largest_move(0.002, 1) == pytest.approx(0.002, rel=1e-12)
    assert adam.largest_move(0.002, 0) == 0
    assert adam.largest_move(0.002, 400) == pytest.approx(2.33501, rel=1e-5)
    t = 50  # gradients by which the Cauchy-Schwarz inequality is an equality at step t
    blocks, state = {"Q": np.zeros(1)}, Adam(epsilon=0).init({"Q": np.zeros(1)})
    for s in range(t):
        before = blocks["Q"][0]
        g = np.array([(adam.BETA_2 / adam.BETA_1) ** (s - t)])
        blocks, state = Adam(epsilon=0).update(blocks, {"Q": g}, state, 1.0, 0.0)
    last = adam.largest_move(1.0, t) - adam.largest_move(1.0, t - 1)
    assert abs(blocks["Q"][0] - before) == pytest.approx(last, rel=1e-6)


@settings(max_examples=30)
@given(st.floats(0, 3), st.integers(2, 8), st.integers(1, 40), st.integers(0, 10**6))
def test_attention_in_one_hot_features_is_below_its_bound(move, K, N, seed):
    """Of the population, for weights of at most `move`."""
    rng = np.random.default_rng(seed)
    S = rng.choice([-move, move], size=(K, K))
    np.fill_diagonal(S, move)
    source = huang2023.population.enumerated(np.full(K, 1 / K), min(N, 6))
    a = huang2023.population.attention(S, source)
    own = source.weights @ np.einsum("ikk->ik", a)
    bound = adam.one_hot_attention(1 / K, move)
    assert np.all(own <= bound + 1e-12)
    S = 2 * move * np.eye(K) - move  # where the bound is reached, for N infinite
    a = huang2023.population.attention(S, huang2023.population.infinite(np.full(K, 1 / K)))
    np.testing.assert_allclose(a[0, 0, 0], bound, rtol=1e-12)


def test_growth_while_gradients_keep_their_signs():
    """One step of Adam on the population: 2 eta in one-hot features; about the law in dense ones."""
    for K, d in ((10, 100), (10, 400), (20, 300)):
        for kind, law in (("one-hot", adam.one_hot_gap(0.002, 1)), ("dense", adam.dense_gap(0.002, 1, d, K))):
            problem = Experiment.balanced(K, d=d, features=kind, prompts="population", counts="infinite")
            S = weights(nlicl.train(problem, steps=1, measure=None), problem)
            gap = np.diag(S).mean() - S[~np.eye(K, dtype=bool)].mean()
            low, high = (0.999, 1.001) if kind == "one-hot" else (0.94, 1.0)  # entries are only nearly normal
            assert low < gap / law < high, (K, d, kind)
    with pytest.raises(InvalidValue, match=r"d is 9 with K = 10; expected d >= K"):
        adam.dense_gap(0.002, 1, 9, 10)
