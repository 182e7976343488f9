"""Zhang et al. 2025: data, initialisation, the exact population, what is measured; the classifier."""

import dataclasses
import pickle

import numpy as np
import pytest

import nlicl
from nlicl.papers import zhang2025
from nlicl.papers.zhang2025 import Classifier, Law, Params, Problem, Prompts, SeparateParams, Statistics, accuracies
from nlicl.papers.zhang2025 import population as populations
from nlicl.papers.zhang2025.reference import (
    Block,
    Effective,
    Heads,
    Population,
    embedded,
    every_prompt,
    population_loss,
)
from nlicl.papers.zhang2025.reference import loss as loss_of

SMALL = Problem(d=3, length=6, heads=2, init=0.3, P=60)
CLASSES = Classifier(d=6, length=5, test_length=4, test_tasks=50)


# ---- Data [source]


def test_lambda_has_the_code_s_eigenvalues():
    np.testing.assert_allclose(Problem().eigenvalues, [0.4, 0.3, 0.2, 0.1])
    np.testing.assert_allclose(np.linalg.eigvalsh(Problem().Lambda), [0.1, 0.2, 0.3, 0.4])
    axes = Problem(Lambda_seed=3).axes
    np.testing.assert_allclose(axes.T @ Problem(Lambda_seed=3).Lambda @ axes, np.diag([0.4, 0.3, 0.2, 0.1]), atol=1e-15)
    np.testing.assert_array_equal(Problem(Lambda_seed=None).Lambda, np.diag([0.4, 0.3, 0.2, 0.1]))
    np.testing.assert_array_equal(Problem(covariance="white").Lambda, np.eye(4) / 4)
    assert abs(Problem(Lambda_seed=1).Lambda - Problem(Lambda_seed=2).Lambda).max() > 0.01


def test_inputs_are_centred_and_tasks_whitened():
    prompts = Problem(d=3).sample(50, seed=1)
    x = prompts.tokens[..., :-1]
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-15)
    w = np.array([np.linalg.lstsq(p.X.T, p.y, rcond=None)[0] for p in prompts])
    np.testing.assert_allclose(w.T @ w / 50, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(w.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(prompts.labels, (w * x[:, -1]).sum(axis=1), atol=1e-12)
    assert prompts.length == 31 and prompts.scale == 1.0


def test_inputs_have_the_covariance():
    problem = Problem(d=3, length=4, corrected=False)
    x = problem.sample(20_000, seed=0).tokens[..., :-1].reshape(-1, 3)
    np.testing.assert_allclose(x.T @ x / len(x), problem.Lambda, atol=6 * problem.Lambda.max() / len(x) ** 0.5)


@pytest.mark.parametrize("icl", [0.0, 0.25, 1.0])
def test_prompts_share_one_task(icl):
    problem = Problem(d=3, length=8, covariance="white", icl=icl, task_seed=4)
    prompts = problem.sample(40, seed=2)
    w = problem.shared_task
    assert np.linalg.norm(w) == pytest.approx(3**0.5)
    shared = abs(prompts.labels - prompts.tokens[:, -1, :-1] @ w) < 1e-12
    assert shared.sum() == 40 - 40 * icl and not shared[: int(40 * icl)].any()
    learnt = np.array([np.allclose(p.y, w @ p.X) for p in prompts])  # context labels
    np.testing.assert_array_equal(learnt, shared if icl else np.zeros(40, bool))
    if icl == 0:
        assert abs(prompts.tokens[:, :-1, -1].std() - 1) < 0.2


def test_the_same_seed_gives_the_same_prompts():
    first, again, other = (SMALL.sample(8, seed=seed).tokens for seed in (1, 1, (1, 0)))
    np.testing.assert_array_equal(first, again)
    assert abs(first - other).max() > 0.1


def test_too_few_prompts_cannot_be_corrected():
    with pytest.raises(ValueError, match="n is 4; expected at least 5: inputs are centred over the prompts, and tasks"):
        SMALL.sample(4)
    assert len(dataclasses.replace(SMALL, corrected=False).sample(1)) == 1


# ---- Initialisation [source]


VERSIONS = {"flat": (1, 1), "per head": (1, 1 / 15**0.5), "stacked": (1 / (40 * 25) ** 0.5, 1 / (40 * 15) ** 0.5)}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_scales_of_the_initialisation(version):
    params = Problem(heads=40, rank=3, init=0.5, init_version=version).initialize(seed=1)
    assert isinstance(params, SeparateParams)
    assert not params.V[:, -1, :-1].any() and not params.K[:, :, -1].any()
    values, keys = VERSIONS[version]
    assert params.V[:, :-1].std() == pytest.approx(0.5 * values, rel=0.1)
    assert params.K[:, :, :-1].std() == pytest.approx(0.5 * keys, rel=0.15)
    assert params.Q.std() == pytest.approx(0.5 * keys, rel=0.15)


def test_merged_keys_and_queries_start_where_u_and_v_x_are_0():
    params = Problem(heads=30, init=0.5).initialize(seed=1)
    assert isinstance(params, Params) and not params.V[:, -1, :-1].any() and not params.W[:, -1, :-1].any()
    assert params.W[:, :-1].std() == pytest.approx(0.5, rel=0.1) and params.V[:, -1, -1].all()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"d": 0}, ValueError, "d is 0; expected at least 1"),
        ({"rank": 1.5}, TypeError, "rank is 1.5; expected an integer"),
        ({"softmax": "no"}, TypeError, "softmax is 'no'; expected True or False"),
        ({"scale": -1.0}, ValueError, "scale is -1.0; expected a finite number greater than 0"),
        ({"covariance": "diag"}, ValueError, "covariance is 'diag'; expected one of 'spectrum', 'white'"),
        ({"icl": 1.5}, ValueError, "icl is 1.5; expected a finite number from 0 to 1"),
        ({"init": 0}, ValueError, "init is 0; expected a finite number greater than 0"),
        ({"init_version": "new"}, ValueError, "init_version is 'new'; expected one of 'flat', 'per head', 'stacked'"),
        ({"P": "all"}, ValueError, "P is 'all'; expected 'population', or a number of prompts"),
        ({"P": 5}, ValueError, "P is 5; expected at least 6: inputs are centred"),
        ({"P": 1, "icl": 0.5}, ValueError, "P is 1; expected at least 2: inputs are centred"),
        ({"learning_rate": 1e-320}, ValueError, "learning_rate is 1e-320; expected a finite number greater than 0, from"),
        ({"P": 0}, ValueError, "P is 0; expected at least 1"),
        ({"P": "population", "softmax": True}, ValueError, "P is 'population' with softmax = True"),
        ({"P": "population", "icl": 0.5}, ValueError, "P is 'population' with icl = 0.5"),
        ({"batch": 10}, ValueError, "batch is 10; expected None: linear attention trains on all P prompts at once"),
        ({"learning_rate": 0}, ValueError, "learning_rate is 0; expected a finite number greater than 0"),
    ],
)  # fmt: skip
def test_settings_say_what_is_wrong(settings, error, message):
    with pytest.raises(error, match=message):
        Problem(**settings)


# ---- The population [derived]


def test_the_population_loss_is_the_mean_over_prompts():
    """To P^(-1/2), of value and of gradient, on u = v_x = 0; prompts are not corrected, which would be closer."""
    problem = dataclasses.replace(SMALL, corrected=False, scale=None)
    params = problem.initialize(seed=1)
    params = Params(3 * params.V, 3 * params.W)
    value, grads = nlicl.loss_and_grad(params, Law(problem.Lambda, 6))
    found = [nlicl.loss_and_grad(params, problem.sample(4000, seed=seed)) for seed in range(12)]
    losses = np.array([each for each, _ in found])
    assert abs(losses.mean() - value) < 5 * losses.std() / 12**0.5
    for name in ("V", "W"):
        each = np.array([getattr(one, name) for _, one in found])
        assert (abs(each.mean(axis=0) - getattr(grads, name)) < 5 * each.std(axis=0) / 12**0.5 + 1e-15).all()
        assert abs(each.std(axis=0)).max() > 1e-3  # u and v_x have gradients of that order: the subspace is not kept


def test_the_law_is_the_population_s_formula():
    rng = np.random.default_rng(0)
    Lambda, Mbar = np.diag([0.5, 0.2]) + 0.1, rng.normal(size=(2, 2))
    for scale in (None, 0.4):
        law, own = Law(Lambda, 3, scale), embedded(Effective(Mbar))
        value, grads = nlicl.loss_and_grad(own, law)
        assert value == pytest.approx(populations.loss(Mbar, Lambda, 3, scale), rel=1e-13)
        assert value == pytest.approx(population_loss(Effective(Mbar), Population(Lambda, 3, scale)), rel=1e-12)
        np.testing.assert_allclose(grads.W[0, :2, :2], populations.gradient(Mbar, Lambda, 3, scale), rtol=1e-12)


def test_prompts_that_stand_for_all_have_the_moments():
    """Of a context up to the fourth: E x x^T x x^T = 2 Lambda^2 + tr Lambda Lambda."""
    for D in (2, 3):
        root = np.eye(D) + 0.3 * np.random.default_rng(D).normal(size=(D, D))
        Lambda = root @ root.T
        x, x_query, w, weight = every_prompt(Lambda, 1)
        square = np.einsum("p,pi,pj,pj,pk->ik", weight, x[:, 0], x[:, 0], x[:, 0], x[:, 0])
        np.testing.assert_allclose(square, 2 * Lambda @ Lambda + np.trace(Lambda) * Lambda, rtol=1e-12)
        np.testing.assert_allclose(np.einsum("p,pi,pj->ij", weight, x_query, x_query), Lambda, atol=1e-12)
        np.testing.assert_allclose(np.einsum("p,pi,pj->ij", weight, w, w), np.eye(D), atol=1e-12)
        assert weight.sum() == pytest.approx(1)


def test_a_law_is_no_prompts_and_holds_on_the_subspace():
    law, params = Law(SMALL.Lambda, 6), SMALL.initialize(seed=0)
    assert len(law) == 1 and law.length == 6 and repr(law) == "Law(D=3, N=6)"
    assert pickle.loads(pickle.dumps(law)).N == 6
    with pytest.raises(TypeError, match="no single prompts; expected"):
        law[0]
    with pytest.raises(TypeError, match="no single prompts to predict"):
        nlicl.forward(params, law)
    with pytest.raises(ValueError, match="params have u or v_x other than 0"):
        nlicl.loss_and_grad(Params(params.V + 1, params.W), law)
    with pytest.raises(ValueError, match="loss is 'logistic'"):
        nlicl.loss_and_grad(params, law, "logistic")
    with pytest.raises(ValueError, match=r"expected \(H, 4, 4\), as Lambda is 3 by 3"):
        nlicl.loss_and_grad(Problem().initialize(), law)
    with pytest.raises(ValueError, match="softmax is True; expected linear attention"):
        Problem(softmax=True).population()


def test_on_the_subspace_it_is_a_two_layer_linear_network():
    """Predictions, loss and gradients in v and U, on beta x_query^T, exactly."""
    heads = Heads(np.array([0.5, -1.2]), np.random.default_rng(0).normal(size=(2, 3, 3)))
    prompts = SMALL.sample(20, seed=1)
    params = embedded(heads)
    p = np.einsum("ntd,nt->nd", prompts.tokens[:, :-1, :-1], prompts.tokens[:, :-1, -1])
    x_query = prompts.tokens[:, -1, :-1]
    first = np.einsum("ni,hij,nj->nh", p, heads.U, x_query)
    yhat = first @ heads.v
    np.testing.assert_allclose(nlicl.forward(params, prompts).score, yhat, rtol=1e-11)
    value, grads = nlicl.loss_and_grad(params, prompts)
    error = 2 * (yhat - prompts.labels) / 20
    assert value == pytest.approx((20 * error / 2) @ (20 * error / 2) / 20, rel=1e-12)
    np.testing.assert_allclose(grads.V[:, -1, -1], error @ first, rtol=1e-10)
    np.testing.assert_allclose(grads.W[:, :3, :3], np.einsum("n,h,ni,nj->hij", error, heads.v, p, x_query), rtol=1e-9)


# ---- What is measured


def test_an_observer_measures_the_golden_losses():
    problem = dataclasses.replace(SMALL, scale=None, heads=1)
    golden = populations.saddle_losses(problem.Lambda, 6)
    seen = problem.observer(seed=0)(embedded(Block(populations.optimum(problem.Lambda, 6))))
    assert seen["plateau"] == 3 and seen["distance"] < 1e-15 and seen["population_loss"] == pytest.approx(golden[3])
    np.testing.assert_allclose(seen["learnt"], 1, rtol=1e-12)
    assert seen["v_x"] == seen["u"] == 0 and abs(seen["test_loss"] - golden[3]) < 0.02
    nothing = problem.observer(seed=0)(problem.initialize(seed=0))
    assert nothing["plateau"] == 0 and set(nothing) == set(seen)
    code_units = dataclasses.replace(problem, scale=1.0).observer(seed=0)
    np.testing.assert_allclose(
        code_units(embedded(Block(populations.optimum(problem.Lambda, 6, 1.0))))["Mbar"], seen["Mbar"], rtol=1e-12
    )


def test_an_observer_measures_what_a_problem_has():
    icl = dataclasses.replace(SMALL, icl=0.5)
    seen = icl.observer(seed=0)(icl.initialize(seed=0))
    assert "in_weight_loss" in seen and "population_loss" not in seen
    soft = dataclasses.replace(SMALL, softmax=True, rank=2)
    seen = zhang2025.Observer(soft, n=40)(soft.initialize(seed=0))
    assert "population_loss" not in seen and seen["test_loss"] > 0 and seen["Mbar"].shape == (3, 3)
    with pytest.raises(ValueError, match=r"params.V has shape .*; expected \(H, 4, 4\)"):
        icl.observer(seed=0)(Problem().initialize(seed=0))
    with pytest.raises(TypeError, match="params is none of linear attention's"):
        zhang2025.effective((1, 2))


# ---- The classifier [source; derived]


def test_the_golden_classifier():
    tokens = np.array([[[1, 0.5, 1], [-2, 1, -1], [0.5, -1, 1], [1, 2, 0.0]]])
    prompts, block = Prompts(tokens, [1]), Block(np.array([(0.1, 0.2), (-0.1, 0.3)]))
    assert loss_of(block, prompts[0]) == pytest.approx(0.540305574689408, abs=1e-15)
    value, grads = nlicl.loss_and_grad(embedded(block), prompts, "logistic")
    assert value == pytest.approx(0.540305574689408, abs=1e-15)
    want = [(-0.487001425793966, -0.974002851587932), (0.208714896768843, 0.417429793537685)]
    np.testing.assert_allclose(grads.W[0, :2, :2], want, atol=1e-15)
    np.testing.assert_allclose(zhang2025.formulas["classifier"](block, prompts[0]), want, atol=1e-15)


def test_the_three_hundred_steps_are_one():
    """W = (eta/(2B)) sum over tasks of y_q p x_q^T, and V and u stay; tr W/d and the noise are 0.125."""
    problem = Classifier(d=50, steps=30)
    run = nlicl.train(problem, seed=0, measure=None)
    prompts = problem.sample(50, seed=(0, 1, 0))
    p = np.einsum("ntd,nt->nd", prompts.tokens[:, :-1, :-1], prompts.tokens[:, :-1, -1]) / 40
    W = 0.01 / (2 * 50) * np.einsum("n,ni,nj->ij", prompts.labels, p, prompts.tokens[:, -1, :-1])
    np.testing.assert_allclose(run.params.W[0, :-1, :-1], W, atol=1e-12)
    assert not run.params.W[0, -1].any() and run.params.V[0].sum() == run.params.V[0, -1, -1] == 1
    seen = problem.observer(seed=0)(run.params)
    assert seen["trace"] == pytest.approx(0.125, rel=0.05) and seen["noise"] == pytest.approx(0.125, rel=0.05)
    assert (
        abs(seen["test_accuracy"] - 0.768) < 0.03 and abs(seen["in_context_accuracy"] - 0.844) < 0.01
    )  # d = 50 [seen]


def test_without_a_mean_nothing_can_be_told_and_the_identity_memorises():
    problem = Classifier(d=400, test_length=5, test_tasks=400)
    test, memorised = accuracies(np.eye(400), problem.sample(400, 5, 0, radius=0.0, flip=0.2))
    assert abs(test - 0.5) < 0.08 and memorised > 0.95
    test, _ = accuracies(np.eye(400), problem.sample(400, 19, 0, radius=40.0, flip=0.2))
    assert abs(test - 0.8) < 0.07  # the best: labels are flipped


def test_the_logistic_loss_is_convex_in_the_block():
    prompts = CLASSES.sample(9, seed=0, radius=1.0)
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 6, 6))
    of = lambda W: nlicl.loss_and_grad(embedded(Block(W)), prompts, "logistic")[0]  # noqa: E731
    for share in (0.2, 0.5, 0.9):
        assert of(share * one + (1 - share) * other) < share * of(one) + (1 - share) * of(other)


def test_classes_are_drawn_as_said():
    prompts = Classifier(d=30, length=200).sample(40, seed=1, radius=50.0)
    x, y = prompts.tokens[:, :-1, :-1], prompts.tokens[:, :-1, -1]
    means = np.einsum("ntd,nt->nd", x, y) / 200
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 50, rtol=0.02)
    assert set(np.unique(y)) == {-1, 1} and abs(y.mean()) < 0.06
    flipped = Classifier(d=30, length=200).sample(40, seed=1, radius=50.0, flip=0.2)
    assert (flipped.tokens[:, :-1, -1] != y).mean() == pytest.approx(0.2, abs=0.02)
    assert len(CLASSES.test_prompts(0)) == 50 and CLASSES.test_prompts(0, exponent=0.6).length == 4


def test_the_classifier_says_what_is_wrong():
    for settings, message in (
        ({"d": 0}, "d is 0"), ({"flip": 1.0}, "flip is 1.0; expected a finite number at least 0 and below 1"),
        ({"radius": -1.0}, "radius is -1.0"), ({"tasks": 0}, "tasks is 0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Classifier(**settings)
    with pytest.raises(ValueError, match=r"params.W has shape .*; expected \(1, 7, 7\), as d is 6"):
        CLASSES.observer()(Classifier(d=4).initialize())
    with pytest.raises(ValueError, match=r"W has shape \(2, 2\); expected \(6, 6\)"):
        accuracies(np.eye(2), CLASSES.sample(3))
    with pytest.raises(TypeError, match=r"params is a .*; expected parameters of a loss of zhang2025"):
        embedded((1, 2))
    with pytest.raises(ValueError, match="expected D and N of at most 3"):
        every_prompt(np.eye(4), 2)
    with pytest.raises(ValueError, match=r"weights.Mbar has shape \(3, 3\); expected \(2, 2\)"):
        population_loss(Effective(np.eye(3)), Population(np.eye(2), 1))


def test_statistics_or_the_law_are_what_is_trained_on():
    assert isinstance(SMALL.population(seed=0), Statistics) and SMALL.prompts == "population"
    assert isinstance(dataclasses.replace(SMALL, P="population").population(), Law)
    assert dataclasses.replace(SMALL, softmax=True).prompts == 60
    assert SMALL.trained == ("V", "W") and dataclasses.replace(SMALL, rank=1).trained == ("V", "K", "Q")
