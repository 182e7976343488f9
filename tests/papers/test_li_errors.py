"""The classification error of Li et al.: a tie is an error here and none as printed. It matters where all neurons are off."""

import numpy as np
import pytest

import nlicl
from nlicl.core.errors import InvalidInput
from nlicl.papers import li2024
from nlicl.papers.li2024 import pruning

STARTS = {"calibrated": li2024.Problem(), "stated": li2024.stated, "sibling": li2024.sibling}


def test_a_tie_is_the_difference():
    margin = np.array([[-1.0, 0.0], [-0.0, 2.0]])
    assert li2024.wrong(margin).tolist() == [[True, True], [True, False]]
    assert li2024.wrong(margin, ties=False).tolist() == [[True, False], [False, False]]
    assert li2024.wrong(margin.astype(np.float32)).dtype == bool


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"margin": [np.nan]}, "margin"), ({"margin": "x"}, "margin"), ({"margin": 1.0, "ties": 1}, "ties")],
)
def test_what_is_refused(arguments, said):
    with pytest.raises(InvalidInput, match=rf"^{said}(\[0\])? is"):
        li2024.wrong(**arguments)


@pytest.mark.parametrize("start", STARTS)
def test_both_definitions_agree_on_a_trained_model(start):
    problem = STARTS[start]
    params = nlicl.train(problem, seed=0, measure=None).params
    for tested in (problem, problem.out_of_domain()):
        prompts = tested.sample(4000, length=4, seed=(0, 1), tasks="unseen" if tested is problem else None)
        margin = prompts.labels * nlicl.forward(params, prompts).score
        assert 0.05 < li2024.wrong(margin).mean() < 0.3
        np.testing.assert_array_equal(li2024.wrong(margin), li2024.wrong(margin, ties=False))


@pytest.mark.parametrize("start", STARTS)
def test_they_differ_where_all_neurons_are_off(start):
    problem = STARTS[start]
    params = pruning.prune(problem.initialize(), np.arange(problem.m))
    prompts = problem.sample(50)
    margin = prompts.labels * nlicl.forward(params, prompts).score
    assert li2024.wrong(margin).all() and not li2024.wrong(margin, ties=False).any()
    for measured in (
        problem.observer()(params)["error_train"],
        pruning.curve(params, prompts, range(64), [0]).error[0],
    ):
        assert measured == 1


@pytest.mark.parametrize("c", [4.0, 0.5])
def test_a_smaller_a_is_a_slower_w_o(c):
    """(W_O, a) -> (c W_O, a / c) leaves F; a step of SGD at rate eta is one where W_O has the rate c^2 eta."""
    problem, eta = li2024.stated, 0.7
    params, prompts = problem.initialize(seed=3), problem.sample(64, seed=4)
    scaled = params._replace(W_O=c * params.W_O, a=params.a / c)
    np.testing.assert_allclose(nlicl.forward(scaled, prompts).score, nlicl.forward(params, prompts).score, rtol=1e-12)
    grads, other = (nlicl.loss_and_grad(p, prompts)[1] for p in (params, scaled))
    for name in ("W_Q", "W_K", "W_V"):
        np.testing.assert_allclose(getattr(other, name), getattr(grads, name), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(scaled.W_O - eta * other.W_O, c * (params.W_O - eta / c**2 * grads.W_O), rtol=1e-9)
