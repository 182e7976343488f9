"""Training in onenn2024: compiled runs are the usual ones to the bit; the family, idle blocks, golden values."""

import numpy as np
import pytest
from draws import assert_close

import nlicl
from nlicl.papers import onenn2024
from nlicl.papers.onenn2024 import Problem, family, population, problems
from nlicl.training import Adam
from nlicl.training.runs import Diverged


class Usual(Problem):
    """Draws as the problem does, and takes no steps itself."""

    def sample(self, *arguments, **named):
        return super().sample(*arguments, **named)


@pytest.mark.parametrize(
    "change", [{}, {"K": None}, {"loss": "squentropy", "batch": 33}, {"loss": "mixture", "mixture": 0.3}]
)
def test_a_compiled_run_is_the_usual_one_to_the_bit(change):
    got, want = (
        nlicl.train(kind(length=5, init_noise=0.3, **change), steps=20, seed=3, measure=None, weight_decay=0.01)
        for kind in (Problem, Usual)
    )
    np.testing.assert_array_equal(got.params.W, want.params.W)
    assert_close(got.history.loss, want.history.loss, 1e-15)  # the mean's division may round otherwise


def test_what_a_compiled_run_is_not_for_goes_the_usual_way():
    problem = Problem(length=4)
    run = nlicl.train(problem, dtype=np.float32, steps=3, measure=None)
    assert run.params.W.dtype == np.float32
    assert nlicl.train(problem, steps=3, optimizer=Adam(), measure=None).params.W.shape == (12, 12)
    mask = {"W": np.eye(12, dtype=bool)}
    off = nlicl.train(problem, steps=3, mask=mask, measure=None).params.W
    assert not (off - np.diag(np.diag(off))).any()
    fixed = nlicl.train(Problem(length=4, prompts=20, batch=None), steps=3, measure=None)
    assert fixed.history.loss[2] < fixed.history.loss[0]


def test_where_a_run_goes_wrong_is_said():
    with pytest.raises(Diverged, match="at step 0: a parameter is not finite after the update"):
        nlicl.train(Problem(length=3), steps=5, learning_rate=1.7e308, weight_decay=1e9, measure=None)


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_idle_blocks_never_change(loss):
    """To the bit; and the sums 1_K^T W_21, 1_K^T W_23 up to the rounding of what they are sums of."""
    problem = Problem(init_noise=1.0, loss=loss, length=6)
    start, end = problem.initialize(seed=2), nlicl.train(problem, steps=100, seed=2, measure=None).params
    before, after = family.blocks(start, 3), family.blocks(end, 3)
    for name in ("12", "22", "32"):
        np.testing.assert_array_equal(before[name], after[name])
    for name in ("21", "23"):
        assert abs(after[name] - before[name]).max() > 1e-3
        assert_close(after[name].sum(axis=0), before[name].sum(axis=0), 1e-13)


@pytest.mark.slow
def test_the_population_runs_on_golden_values():
    """N = 3, d = 5, K = 3, sigma = 3, eta = 1 [derived; by a program of its own]: as the reduced recursion, in W."""
    problem = problems["population-exact"]
    run = nlicl.train(problem, measure=10)
    for step, xi1, xi2, loss in (
        (10, 0.165378222393, 3.001785837763, 0.312905698895),
        (50, 0.747477620149, 3.042074150642, 0.249206416194),
        (100, 1.301889425, 3.176903523, 0.202307929),
    ):
        at = list(run.history.steps).index(step)
        tolerance = 1e-11 if step < 100 else 1e-8
        assert_close([run.history["xi1"][at], run.history["xi2"][at]], [xi1, xi2], tolerance)
        assert_close(run.history.loss[step] * 1.5, loss, tolerance)
    assert_close([run.params.W[0, 0], -run.params.W[-1, -1]], [2.042803310, 3.636300056], 2e-8)
    assert family.place(run.params, 3).distance == 0
    path = population.descend(population.exact(3, 5), 3.0, eta=1.0, steps=20, kappa=2 / 3)
    assert_close(run.history["xi1"][2], path.xi1[20], 1e-14)


def test_gradients_of_a_batch_leave_the_family_as_noise_does():
    """Their mean over 400 batches is the population's, in every block, within five standard errors."""
    problem = Problem(d=5, length=3, sigma=1.0)
    W = family.member(1.0, 1.5, 5, 3)
    grads = np.array([nlicl.loss_and_grad(W, problem.sample(64, seed=(5, t)))[1].W for t in range(400)])
    law = onenn2024.Law(population.exact(3, 5), 3)
    want = nlicl.loss_and_grad(W, law)[1].W
    error = grads.std(axis=0) / np.sqrt(len(grads))
    assert (abs(grads.mean(axis=0) - want) <= 5 * error + 1e-15).all()
    assert abs(grads[0] - want).max() > 1e-3


@pytest.mark.slow
def test_a_run_follows_the_population():
    """4000 steps of SGD: xi within 3% of the flow of 5000 fixed prompts, and all that is off the family is noise."""
    problem = Problem(length=8, learning_rate=0.2)
    run = nlicl.train(problem, steps=4000, measure=2000, seed=1)
    path = population.flow(population.sampled(8, 8, 5000), 3.0, [0.2 * 4000 * problem.kappa])
    assert_close([run.history["xi1"][-1], run.history["xi2"][-1]], [path.xi1[0], path.xi2[0]], 0.12)
    assert run.history["separated_accuracy"][-1] > 0.99 and run.history["distance"][-1] < 0.3
