"""The problem of onenn2024: its settings, its prompts, the family of W, the population as something to train on."""

import copy
import pickle

import numpy as np
import pytest
from draws import assert_close, seeds
from hypothesis import given
from hypothesis import strategies as st

import nlicl
from nlicl.papers import onenn2024
from nlicl.papers.onenn2024 import Law, Params, Problem, family, population, problems, reference
from nlicl.papers.onenn2024.observer import Observer, errors
from nlicl.papers.onenn2024.reference import Averaged, Cosines, Inputs, Traces, Xi


def test_settings_say_where_they_come_from():
    assert problems["multiclass"] == Problem()
    usual = Problem().settings()
    assert (
        usual["sigma"] == [3.0, "paper"] and usual["steps"] == [40_000, "paper"] and usual["mixture"] == [0.5, "ours"]
    )
    assert problems["binary"].settings()["learning_rate"] == [0.1, "quoted"]
    assert problems["theorem"].settings()["sigma"] == [48.0, "ours"]
    assert Problem(sigma=4.0).settings()["sigma"] == [4.0, "set here"]
    assert [problem.kappa for problem in (Problem(), Problem(K=None), Problem(K=10))] == [2 / 3, 1, 0.9]
    assert [problem.size for problem in (Problem(), Problem(K=None))] == [12, 10]
    for problem in problems.values():
        problem.settings()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"d": 1}, "d is 1; expected at least 2"),
        ({"length": 0}, "length is 0; expected at least 1"),
        ({"K": 1}, "K is 1; expected at least 2"),
        ({"K": 2.0}, "K is 2.0; expected an integer"),
        ({"sigma": -1.0}, "sigma is -1.0; expected"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; expected"),
        ({"init_noise": np.nan}, "init_noise is nan"),
        ({"noise_in": "some"}, "noise_in is 'some'; expected one of 'all', 'active', 'idle'"),
        ({"loss": "hinge"}, "loss is 'hinge'; expected one of 'squared'"),
        ({"loss": "squentropy", "K": None}, "loss is 'squentropy' with binary labels; expected 'squared', or classes"),
        ({"mixture": 2.0}, "mixture is 2.0; expected a finite number from 0 to 1"),
        ({"prompts": "all"}, "prompts is 'all'; expected 'fresh', 'population', or a number"),
        ({"prompts": 0}, "prompts is 0; expected at least 1"),
        ({"batch": None}, "batch is None with prompts = 'fresh'"),
        (
            {"prompts": "population", "init_noise": 1.0},
            "prompts is 'population' with loss = 'squared' and init_noise = 1",
        ),
        ({"prompts": "population", "loss": "mixture"}, "the population loss is known on the family"),
        (
            {"cosines": "exact"},
            "cosines is 'exact' with d = 8 and length = 16; expected an odd d and a length of at most 4",
        ),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Problem(**change)


# ---- Prompts


@pytest.mark.parametrize("K", [None, 3])
def test_prompts_have_the_law_of_the_papers(K):
    problem = Problem(d=5, length=4, K=K)
    prompts = problem.sample(20_000, seed=1)
    x = prompts.inputs
    n = len(x) * 5
    assert abs((x**2).sum(axis=2) - 1).max() < 3e-15
    assert abs(x.mean(axis=(0, 1))).max() < 5 * np.sqrt(1 / 5 / n)
    assert_close((x[..., :, None] * x[..., None, :]).mean(axis=(0, 1)), np.eye(5) / 5, 5 * 0.2 / np.sqrt(n))
    t = (x[:, :-1] * x[:, -1:]).sum(axis=2)
    assert abs((t**2).mean() - 1 / 5) < 5 * 0.2 / np.sqrt(n)  # E t^2 = 1/d
    assert abs(t.max(axis=1).mean() - 0.465734266) < 5 * 0.35 / np.sqrt(len(x))  # m of N = 4, d = 5 [derived]
    labels, counts = np.unique(prompts.classes, return_counts=True)
    assert labels.tolist() == ([-1, 1] if K is None else [0, 1, 2])
    assert abs(counts / counts.sum() - 1 / len(labels)).max() < 5 * 0.5 / np.sqrt(prompts.classes.size)
    pairs = prompts.classes[:, 0] * 10 + prompts.classes[:, 1]
    assert abs(np.unique(pairs, return_counts=True)[1] / len(pairs) - 1 / len(labels) ** 2).max() < 5 * 0.5 / np.sqrt(
        len(pairs)
    )
    again = problem.sample(20_000, seed=1)
    np.testing.assert_array_equal(again.tokens, prompts.tokens)
    assert not np.array_equal(problem.sample(4, seed=(1, 0)).inputs, problem.sample(4, seed=1).inputs)
    assert problem.sample(3, length=7).length == 7


def test_separated_prompts_are():
    problem = Problem(length=30, d=3)
    prompts = problem.separated(500, delta=0.3, seed=2)
    gaps = ((prompts.inputs[:, :-1] - prompts.inputs[:, -1:]) ** 2).sum(axis=2)
    assert (np.sort(gaps, axis=1)[:, 0] == 0).all() and (np.sort(gaps, axis=1)[:, 1] > 0.3).all()
    assert len(set(prompts.nearest.tolist())) == 30
    usual = problem.sample(500, seed=2)
    kept = (prompts.inputs[:, :-1] == usual.inputs[:, :-1]).all(axis=2)
    turned = (prompts.inputs[:, :-1] == -usual.inputs[:, :-1]).all(axis=2)
    assert (kept | turned).all() and 0 < turned.mean() < 0.5
    np.testing.assert_array_equal(prompts.classes, usual.classes)
    with pytest.raises(ValueError, match="delta is 2; expected a finite number from 0 to below 2"):
        problem.separated(2, delta=2)


# ---- The family


def test_the_start_is_the_papers():
    W = Problem(d=3, K=2, sigma=5.0).initialize().W
    np.testing.assert_array_equal(W, np.diag([0, 0, 0, 0, 0, -5.0]))
    assert Problem(K=None).initialize().W.shape == (10, 10)
    noisy = {where: Problem(init_noise=2.0, noise_in=where).initialize(seed=3).W for where in ("all", "active", "idle")}
    usual = Problem().initialize().W
    idle = noisy["idle"] - usual
    assert not idle[:, :8].any() and not idle[:, -1].any() and idle[:, 8:-1].all()
    active = noisy["active"] - usual
    assert not active[:, 8:-1].any()
    assert_close(noisy["all"] - usual, idle + active, 1e-15)
    assert 1.6 < np.std(noisy["all"] - usual) < 2.4
    assert not np.array_equal(Problem(init_noise=2.0).initialize(seed=4).W, noisy["all"])


@given(st.floats(-3, 3), st.floats(-3, 3), seeds)
def test_a_place_is_a_member_and_what_is_off_it(xi1, xi2, seed):
    rng, K, d = np.random.default_rng(seed), 3, 4
    E = rng.standard_normal((8, 8))
    W = family.member(xi1, xi2, d, K).W
    assert family.place(Params(W), K) == pytest.approx((xi1, xi2, 0, 0, 0), abs=1e-14)
    here = family.place(Params(W + E), K)
    off = W + E - family.member(here.xi1, here.xi2, d, K).W
    assert_close(here.idle, np.linalg.norm(off[:, 4:7]), 1e-13)
    assert_close(np.hypot(here.distance, here.idle), np.linalg.norm(off), 1e-13)
    assert here.sums <= here.distance * (1 + 1e-12)
    assert family.place(Params(np.eye(4)), None).sums == 0
    parts = family.blocks(Params(W + E), K)
    assert sorted(parts) == ["11", "12", "13", "21", "22", "23", "31", "32", "33"] and parts["21"].shape == (3, 4)
    with pytest.raises(ValueError, match="expected \\(E, E\\) with E = d \\+ K \\+ 1"):
        family.blocks(Params(np.eye(4)), 3)


def test_idle_sums_have_no_gradient():
    """1_K^T W_21 and 1_K^T W_23: d + 1 numbers beside the label's columns that never change."""
    problem = Problem(init_noise=1.0)
    (dW,) = nlicl.loss_and_grad(problem.initialize(), problem.sample(50))[1]
    parts = family.blocks(Params(dW), 3)
    assert abs(parts["21"].sum(axis=0)).max() < 1e-15 and abs(parts["23"].sum(axis=0)).max() < 1e-15
    assert abs(parts["21"]).max() > 1e-4
    assert not any(parts[name].any() for name in ("12", "22", "32"))


# ---- Label averages


@pytest.mark.parametrize("K", [None, 2, 3])
def test_label_averages_are_those_of_prompts(K):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3, 4))
    inputs = Inputs(X, K)
    every = reference.labelled(inputs)
    E = 3 + family.width(K) + 1
    W = rng.standard_normal((E, E))
    assert_close(reference.label_averaged_loss(Averaged(W), inputs), nlicl.loss_and_grad(Params(W), every)[0], 1e-14)
    W[3:-1, :3] = W[3:-1, -1] = 0
    q = nlicl.forward(Params(W), every).attention[0]
    S, q_near = (q[:-1] ** 2).sum(), q[inputs.nearest]
    assert_close(
        reference.label_averaged_loss(Averaged(W), inputs), inputs.kappa / 2 * (S - 2 * q_near + 1), 1e-15
    )  # [derived]


def test_reduced_golden_values():
    """One prompt of four cosines at xi = (2, 1), kappa = 1 [derived; by a program of its own]."""
    cosines = Cosines(np.array([0.9, 0.7, -0.2, 0.1]), 3, None)
    assert_close(reference.reduced_loss(Xi(np.array([2.0, 1.0])), cosines), 0.215842889704, 1e-12)
    assert_close(reference.reduced_loss(Traces(np.array([6.0, 1.0])), cosines), 0.215842889704, 1e-12)
    assert_close(onenn2024.formulas["xi"](Xi(np.array([2.0, 1.0])), cosines), [-0.047058613659, -0.029037592623], 1e-12)
    for K in (2, 3, 5):  # K plays no part but in kappa
        other = cosines._replace(K=K)
        assert_close(reference.reduced_loss(Xi(np.array([2.0, 1.0])), other), 0.215842889704 * (K - 1) / K, 1e-12)


@given(st.floats(0, 5), st.floats(0, 5), seeds)
def test_xi2_never_falls_nor_does_d_xi1_and_twice_xi2(xi1, xi2, seed):
    """Prompt by prompt: partial_2 <= 0, and partial_1 + 2 partial_2 <= -kappa (1 + t_{i*}) q_0 omega [derived]."""
    t = np.random.default_rng(seed).uniform(-1, 1, 5)
    first, second = onenn2024.formulas["xi"](Xi(np.array([xi1, xi2])), Cosines(t, 4, 3))
    assert second <= 0
    assert -first - 2 * second >= (1 + t.max()) * -second - 1e-15


def test_the_mean_gradient_over_symmetric_prompts_stays_in_the_family():
    """Inputs x and -x, every label vector: blocks (1,3) and (3,1) vanish. Without -x they do not: labels are no reason."""
    rng, d, K = np.random.default_rng(0), 4, 2
    X = rng.standard_normal((d, 4))
    X /= np.linalg.norm(X, axis=0)
    W = family.member(1.5, 1.0, d, K)

    def gradient(*inputs):
        return np.mean([nlicl.loss_and_grad(W, reference.labelled(Inputs(x, K)))[1].W for x in inputs], axis=0)

    both, one = family.blocks(Params(gradient(X, -X)), K), family.blocks(Params(gradient(X)), K)
    for name in ("13", "31"):
        assert abs(both[name]).max() < 1e-16 < 1e-3 < abs(one[name]).max()
    for name in ("12", "21", "22", "23", "32"):
        assert abs(both[name]).max() < 1e-16
    first, second = np.trace(both["11"]), -both["33"][0, 0]
    t = X[:, :-1].T @ X[:, -1]
    want = population.moments(1.5, 1.0, population.Source(t[None], np.ones(1), d), 0.5)
    assert_close([first, second], [want.partial_1, want.partial_2], 1e-15)


# ---- The population


@pytest.mark.parametrize("K", [None, 3])
def test_the_law_s_gradient_is_the_mean_of_prompts(K):
    problem = Problem(d=5, length=3, K=K, prompts="population", cosines="exact", sigma=1.0)
    law, W = problem.population(), family.member(1.0, 2.0, 5, K)
    value, (dW,) = nlicl.loss_and_grad(W, law)
    rotation = population.exact(3, 5)
    want = population.moments(1.0, 2.0, rotation, problem.kappa)
    assert_close(value, want.loss, 1e-15)
    assert_close(np.trace(dW), want.partial_1 - want.partial_2, 1e-15)
    prompts = problem.sample(40_000, seed=3)
    got, (mean,) = nlicl.loss_and_grad(W, prompts)
    assert abs(got - value) < 5 * 0.4 / np.sqrt(len(prompts))
    assert abs(mean - dW).max() < 5 * 0.15 / np.sqrt(len(prompts))
    single = nlicl.loss_and_grad(Params(W.W.astype(np.float32)), law)
    assert single[1].W.dtype == np.float32 and abs(single[0] - value) < 1e-6
    assert len(law) == 1 and law.length == 3 and "Law(K=" in repr(law)
    for other in (copy.deepcopy(law), pickle.loads(pickle.dumps(law))):
        assert nlicl.loss_and_grad(W, other)[0] == value


def test_the_law_refuses():
    problem = Problem(prompts="population", draws=10)
    law, W = problem.population(seed=1), problem.initialize()
    for call, message in (
        (lambda: nlicl.loss_and_grad(Params(W.W + 1e-6), law), r"lies 1.*e-05 off the family diag\(xi1 I, 0, -xi2\)"),
        (
            lambda: nlicl.loss_and_grad(W, law, "squentropy"),
            "loss is 'squentropy' on the population; expected 'squared'",
        ),
        (
            lambda: nlicl.loss_and_grad(Params(W.W[:9, :9]), law),
            r"expected \(12, 12\), as the prompts have d = 8 and K = 3",
        ),
        (lambda: nlicl.forward(W, law), "a Law has no single prompts to predict"),
        (lambda: law[0], "a Law has no single prompts"),
        (lambda: Law("exact"), "source is a str; expected a nlicl.papers.onenn2024.population.Source"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            call()


# ---- What a run records


def test_an_observer_measures():
    problem = Problem(length=8)
    observe = Observer(problem, n=500, seed=1)
    start = observe(problem.initialize())
    assert list(start)[:5] == ["loss", "accuracy", "logit_error", "separated_accuracy", "separated_error"]
    assert start["xi1"] == 0 and start["xi2"] == 3 and start["distance"] == start["idle"] == 0
    assert 2 * start["loss"] == pytest.approx(start["logit_error"], rel=1e-12)
    far = observe(family.member(300.0, 300.0, 8, 3))
    assert far["separated_accuracy"] == 1 and far["separated_error"] < 1e-4 and far["accuracy"] > 0.97
    single = observe(Params(family.member(3.0, 3.0, 8, 3).W.astype(np.float32)))
    assert abs(single["loss"] - observe(family.member(3.0, 3.0, 8, 3))["loss"]) < 1e-6
    binary = Observer(Problem(K=None), n=300)(family.member(300.0, 300.0, 8, None))
    assert binary["accuracy"] > 0.95
    prompts = problem.sample(50)
    accuracy, error = errors(problem.initialize(), prompts)
    out = nlicl.forward(problem.initialize(), prompts)
    assert accuracy == np.mean(out.answer.argmax(axis=1) == prompts.targets) and error > 0
