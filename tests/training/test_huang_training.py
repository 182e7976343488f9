"""nlicl.train on the second paper: gradient descent on the population loss, and SGD on prompts."""

import dataclasses

import numpy as np
import pytest

import nlicl
from nlicl.papers import huang2023, li2024
from nlicl.papers.huang2023 import Observer, Params, Problem, observer, population

SMALL = Problem(K=3, length=4, p=(0.5, 0.3, 0.2), counts="enumerated", learning_rate=1.0, steps=30)


def test_the_golden_values_after_thirty_steps():
    run = nlicl.train(SMALL, measure=None)
    np.testing.assert_allclose(np.diag(run.params.Q), [1.26889, 1.06509, 0.72883], atol=5e-6)
    np.testing.assert_allclose(run.params.Q.sum(axis=0), 0, atol=1e-15)  # A_k + sum_n B_{k,n} stays 0
    assert run.settings["prompts"] == "population"
    assert np.all(np.diff(run.history.loss) < 0)


def test_features_may_lie_anywhere():
    """Q = V S V^T with the S of unit vectors: d and the rotation are irrelevant."""
    S = nlicl.train(SMALL, measure=None).params.Q
    turned = Problem(K=3, length=4, p=SMALL.p, d=5, counts="enumerated", learning_rate=1.0, steps=30)
    Q = nlicl.train(turned, measure=None).params.Q
    np.testing.assert_allclose(Q, turned.V @ S @ turned.V.T, atol=1e-14)


def test_prompts_give_the_population_s_gradient_on_average():
    problem = Problem(K=3, length=4, p=(0.5, 0.3, 0.2), counts="enumerated")
    params = Params(np.random.default_rng(0).normal(size=(3, 3)))
    value, grads = nlicl.loss_and_grad(params, problem.population())
    parts = [nlicl.loss_and_grad(params, problem.sample(4000, seed=s)) for s in range(50)]
    losses, slopes = np.array([part[0] for part in parts]), np.array([part[1].Q for part in parts])
    assert abs(losses.mean() - value) < 4 * losses.std() / 7
    assert np.all(abs(slopes.mean(axis=0) - grads.Q) < 4.5 * slopes.std(axis=0) / 7)


def test_sgd_on_prompts_goes_the_same_way():
    problem = Problem(K=4, length=50, p_1=None, learning_rate=4.0, batch=4000, steps=60)
    whole = nlicl.train(problem, measure=20).history
    fresh = nlicl.train(problem, measure=20, prompts="fresh")
    assert fresh.settings["prompts"] == "fresh"
    np.testing.assert_allclose(fresh.history["A"], whole["A"], atol=0.1)
    assert whole["A"][-1].min() > 1


@pytest.mark.parametrize("prompts", ["population", "fresh", 100])
def test_a_resumed_run_has_the_same_bits(prompts, tmp_path):
    options = {"prompts": prompts, "measure": 5, "out": tmp_path / "run"}
    problem = Problem(K=4, length=9, draws=20, batch=16)
    want = nlicl.train(problem, steps=20, **{**options, "out": tmp_path / "whole"})
    nlicl.train(problem, steps=9, **options)
    got = nlicl.train(problem, steps=20, resume=True, **options)
    assert got.params.Q.tobytes() == want.params.Q.tobytes()
    np.testing.assert_array_equal(got.history["loss_k"][-1], want.history["loss_k"][-1])


def test_the_population_has_no_batches():
    with pytest.raises(
        ValueError, match=r"batch is 10 with prompts = 'population'.* Leave it out, or train on prompts='fresh'"
    ):
        nlicl.train(SMALL, batch=10)
    assert nlicl.train(SMALL, measure=None, steps=1).settings["batch"] is None
    assert nlicl.train(SMALL, measure=None, steps=1, batch=10, prompts="fresh").settings["batch"] == 10


def test_steps_beyond_descent_are_refused_on_the_population_only():
    """6.49/max p, as the theory's check has it; on prompts the bound says nothing."""
    for problem, options in ((SMALL, {"learning_rate": 13.0}), (dataclasses.replace(SMALL, learning_rate=13.0), {})):
        with pytest.raises(
            ValueError, match=r"learning_rate is 13 with max p = 0.5; expected at most .* prompts='fresh'"
        ):
            nlicl.train(problem, **options)
        nlicl.train(problem, measure=None, steps=1, prompts="fresh", **options)
    nlicl.train(SMALL, measure=None, steps=1, learning_rate=12.9)


def test_float32():
    run = nlicl.train(SMALL, measure=None, dtype=np.float32)
    assert run.params.Q.dtype == np.float32
    np.testing.assert_allclose(run.params.Q, nlicl.train(SMALL, measure=None).params.Q, atol=1e-5)


def test_which_case_a_problem_is():
    for problem in (Problem.balanced(), Problem(K=2), Problem(K=5, p_1=0.2), Problem(K=2, p=(0.5, 0.5))):
        assert problem.case == "balanced"
    for problem in (Problem(), Problem(K=5, p_1=0.21), Problem(K=2, p=(0.4, 0.6))):
        assert problem.case == "imbalanced"


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 400.0])
def test_the_observer_measures_its_definition(scale, monkeypatch):
    """Attention of every query on every count vector; by matrix products, and from all scores where weights spread widely."""
    monkeypatch.setattr(observer, "_AT_ONCE", 5 * 4**2)  # several blocks
    problem = Problem(K=4, length=6, d=5)
    observe = Observer(problem, n=13, seed=2)
    Q = Params(scale * np.random.default_rng(3).normal(size=(5, 5)))
    S = problem.V.T @ Q.Q @ problem.V
    a = population.attention(S, population.Source(observe.counts, np.full(13, 1 / 13)))  # (n, feature, query)
    own = np.einsum("ikk->ik", a)
    errors = a - np.eye(4)
    want = {
        "A": np.diag(S), "B_k1": S[0, 1:], "Attn_k": own.mean(axis=0), "Attn_k1": a[:, 0, 1:].mean(axis=0),
        "miss_k": ((1 - own) ** 2).mean(axis=0), "loss_k": (errors**2).sum(axis=1).mean(axis=0) / 2,
    }  # fmt: skip
    want |= {"population_loss": problem.frequencies @ want["loss_k"], "A_1": S[0, 0], "Attn_1": want["Attn_k"][0]}
    want |= {"loss_1": want["loss_k"][0], "loss_2": want["loss_k"][1]}
    want |= {"A_2": S[1, 1], "B_21": S[0, 1], "Attn_2": want["Attn_k"][1], "Attn_21": a[:, 0, 1].mean()}
    got = observe(Q)
    assert set(got) == set(want)
    for name, values in want.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-12, atol=1e-14, err_msg=name)


def test_what_is_missed_is_measured_without_cancellation():
    """(1 - Attn_k)^2 far below the rounding of Attn_k."""
    observe = Problem.balanced(K=3, length=60).observer()
    found = observe(Params(50 * np.eye(3)))
    assert np.all(found["Attn_k"] == 1) and np.all((found["miss_k"] > 1e-45) & (found["miss_k"] < 1e-40))
    arrays = {"A", "B_k1", "Attn_k", "Attn_k1", "miss_k", "loss_k"}
    assert set(found) == arrays | {"A_1", "Attn_1", "loss_1", "population_loss"}


def test_the_sources_of_counts():
    p = np.array(SMALL.p)
    Q = np.random.default_rng(1).normal(size=(3, 3))
    for counts, source in (("enumerated", population.enumerated(p, 4)), ("infinite", population.infinite(p))):
        law = Problem(K=3, length=4, p=SMALL.p, counts=counts).population()
        value, grads = nlicl.loss_and_grad(Params(Q), law)
        assert value == pytest.approx(population.loss(Q, p, source), rel=1e-15)
        np.testing.assert_allclose(grads.Q, population.gradient(Q, np.eye(3), p, source), rtol=1e-14)
        assert len(law) == 1
    one, other = (Problem(draws=7).population(seed=s).source.counts for s in (0, (0, 0)))
    assert one.shape == (7, 20) and one.sum(axis=1).tolist() == [400] * 7
    assert (one != other).any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Problem(counts="all"), ValueError, "counts is 'all'; expected one of 'sampled', 'infinite', 'enumerated'"),
        (lambda: Problem(draws=0), ValueError, "draws is 0"),
        (lambda: Problem(K=5, p_1=0.01), ValueError, r"p_1 is 0.01 with K = 5: the first .* Expected at least 1/K = 0.2; or"),
        (lambda: Problem(K=10**6).initialize(), ValueError, "89,407 GiB, and there are 16 GiB of .*huang2023.reduced"),
        (lambda: Problem(K=10**6).V, ValueError, "the features are 1000000 by 1000000 numbers"),
        (lambda: Problem().observer()(np.eye(20)), TypeError, r"params is a ndarray; expected nlicl.papers.huang2023.Par"),
        (lambda: Problem().observer()(Params(np.eye(3))), ValueError, r"params.Q has shape \(3, 3\); expected \(20, 20\), as"),
        (lambda: nlicl.train(SMALL, params=Params(np.eye(4))), ValueError, r"params.Q has shape \(4, 4\); expected \(3, 3\)"),
        (lambda: nlicl.train(SMALL, params=nlicl.Params(*[np.eye(3)] * 5)), TypeError,
         r"params is a nlicl.Params; expected a nlicl.papers.huang2023.Params\(Q\), as problem.initialize"),
        (lambda: nlicl.train(SMALL, prompts=li2024.Problem().sample(3)), TypeError,
         "prompts is a nlicl.CodedPrompts; expected prompts of the model regression: nlicl.papers.huang2023.Prompts, nlicl"),
        (lambda: nlicl.forward(Params(np.eye(20)), Problem().population()), TypeError, "no single prompts to predict"),
        (lambda: nlicl.loss_and_grad(Params(np.eye(3)), Problem().population()), ValueError, r"expected \(20, 20\)"),
        (lambda: nlicl.loss_and_grad(Params(np.eye(20)), Problem().population(), "hinge"), ValueError, "loss is 'hinge'"),
        (lambda: nlicl.loss_and_grad(Params(np.eye(20)), Problem().sample(2), np.ones(2)), ValueError, r"loss is array"),
        (lambda: nlicl.loss_and_grad(np.eye(20), Problem().population()), TypeError, "params is a ndarray"),
        (lambda: nlicl.loss_and_grad(Params(np.full((20, 20), np.nan)), Problem().population()), ValueError, "nan"),
    ],
)  # fmt: skip
def test_errors(call, error, message, monkeypatch):
    monkeypatch.setattr("nlicl.core.memory._memory", lambda: 16 * 2**30)
    monkeypatch.setattr("nlicl.core.memory._limits", lambda root: iter(()))
    with pytest.raises(error, match=message):
        call()


def test_the_command_line(run, tmp_path):
    folder = tmp_path / "run"
    options = ("huang2023:balanced", "--set", "K=4", "--set", "counts=infinite", "--out", folder)
    status, out, _ = run("train", *options, "--steps", 20)
    assert status == 0 and "population_loss" in out
    status, out, _ = run("train", "huang2023", "--resume", folder, "--steps", 40)
    assert status == 0 and "40" in out
    kept = nlicl.load_run(folder)
    assert isinstance(kept.params, huang2023.Params)
    assert kept.step == 40 and kept.settings["prompts"] == "population"
    status, _, err = run("train", "huang2023", "--set", "counts=some")
    assert status == 2 and "counts is 'some'" in err
