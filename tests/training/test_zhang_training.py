"""nlicl.train on linear attention: on statistics and on prompts, from saddle to saddle, resumed, on the command line."""

import dataclasses

import numpy as np
import pytest

import nlicl
from nlicl.cli import main
from nlicl.papers.zhang2025 import Classifier, Params, Problem, SeparateParams, population, problems

SMALL = Problem(d=3, length=6, heads=2, init=0.1, P=60, learning_rate=0.01, steps=30)
LAMBDA = np.diag([0.4, 0.3, 0.2, 0.1])


@pytest.mark.parametrize("rank", [None, 2])
def test_statistics_train_as_the_prompts_do(rank):
    problem = dataclasses.replace(SMALL, rank=rank)
    fast = nlicl.train(problem, measure=None)
    slow = nlicl.train(problem, measure=None, prompts=60)
    assert fast.settings["prompts"] == "population" and slow.settings["prompts"] == 60
    np.testing.assert_allclose(fast.history.loss, slow.history.loss, rtol=1e-11)
    for one, other in zip(fast.params, slow.params, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("changes", [{}, {"rank": 1}, {"P": "population"}, {"softmax": True}])
def test_a_resumed_run_has_the_same_bits(changes, tmp_path):
    problem = dataclasses.replace(SMALL, **changes)
    want = nlicl.train(problem, steps=12, measure=5, out=tmp_path / "whole")
    nlicl.train(problem, steps=5, measure=5, out=tmp_path / "run")
    got = nlicl.train(problem, steps=12, measure=5, out=tmp_path / "run", resume=True)
    for one, other in zip(got.params, want.params, strict=True):
        assert one.tobytes() == other.tobytes()


def merged_start():
    V, W = np.zeros((2, 2, 5, 5))
    V[:, -1, -1] = 0.1, -0.05
    W[0, :4, :4] = 0.1 * np.eye(4) + 0.02
    W[1, :4, :4] = -0.05 * np.eye(4) + 0.01 * np.arange(16).reshape(4, 4) / 16
    return Params(V, W)


def separate_start():
    V, K, Q = np.zeros((2, 5, 5)), np.zeros((2, 1, 5)), np.zeros((2, 1, 5))
    V[:, -1, -1] = 0.3, 0.2
    K[:, 0, :4] = (0.3, 0.1, 0.05, 0.02), (0.02, 0.25, 0.1, -0.05)
    Q[:, 0, :4] = (0.25, -0.05, 0.1, 0.01), (0.05, 0.2, -0.1, 0.1)
    return SeparateParams(V, K, Q)


GOLDEN = {
    "merged": (merged_start(), 0.5, {
        0: 0.991386790274698, 50: 0.177499375230830, 100: 0.150459069878989, 200: 0.136844061443904}),
    "separate": (separate_start(), 0.1, {
        0: 0.991312235818426, 50: 0.957305828321849, 100: 0.659395168157446, 500: 0.377387954160532, 2000: 0.377372164228046}),
}  # fmt: skip


@pytest.mark.parametrize("which", GOLDEN)
def test_the_golden_runs_on_the_population(which):
    """[derived] Two separate heads stop where two components are learnt, at L(M_2)."""
    start, rate, want = GOLDEN[which]
    problem = Problem(Lambda_seed=None, heads=2, rank=None if which == "merged" else 1, scale=None, P="population")
    run = nlicl.train(problem, params=start, learning_rate=rate, steps=max(want) + 1, measure=[0, max(want)])
    np.testing.assert_allclose(run.history.loss[list(want)], list(want.values()), rtol=0, atol=2e-14)
    assert run.history["u"][-1] == run.history["v_x"][-1] == 0
    if which == "separate":
        assert run.history["plateau"][-1] == 2 and run.history["distance"][-1] < 2e-9
        one, two = (Q @ Q.T for Q in (run.params.K[:, 0], run.params.Q[:, 0]))
        before = [Q @ Q.T for Q in (start.K[:, 0], start.Q[:, 0])]
        drift = np.diag(one - two) - np.diag(before[0] - before[1])  # K_h K_h^T - Q_h Q_h^T: conserved by the flow
        assert abs(drift).max() < 0.1**2 and abs(drift).max() > 1e-9


def test_steps_of_gradient_flow_conserve_what_they_should():
    """||v_h||^2 - ||K_h||^2 in the full model, on any data, to first order in the step."""
    problem = dataclasses.replace(SMALL, rank=2, init=0.5, steps=100)
    kept = lambda p: (p.V[:, -1] ** 2).sum(axis=1) - (p.K**2).sum(axis=(1, 2))  # noqa: E731
    drifts = []
    for rate in (1e-3, 5e-4):
        run = nlicl.train(problem, learning_rate=rate, steps=int(0.1 / rate), measure=None)
        drifts.append(abs(kept(run.params) - kept(problem.initialize(seed=0))).max())
    assert 0 < drifts[0] < 0.02 and drifts[1] / drifts[0] == pytest.approx(0.5, abs=0.1)


def test_separate_heads_go_from_saddle_to_saddle():
    """On the population every loss that stays is a golden one."""
    problem = dataclasses.replace(problems["separate"], P="population", init=0.05, steps=1500)
    history = nlicl.train(problem, seed=1, measure=100).history
    golden = population.saddle_losses(problem.Lambda, 31)
    still = abs(np.diff(history["population_loss"])) < 2e-3
    assert still.sum() > 5 and (history["distance"][1:][still] < 0.01).all()
    assert len(set(history["plateau"][1:][still])) >= 2
    assert history.loss[0] == pytest.approx(golden[0], abs=1e-3)


def test_float32_trains():
    run = nlicl.train(SMALL, dtype=np.float32, measure=10)
    want = nlicl.train(SMALL, measure=10)
    assert run.params.W.dtype == np.float32
    np.testing.assert_allclose(run.history.loss, want.history.loss, rtol=1e-4)


def test_softmax_trains_on_batches():
    problem = dataclasses.replace(SMALL, softmax=True, batch=20)
    run = nlicl.train(problem, measure=15)
    assert run.settings["prompts"] == 60 and run.settings["batch"] == 20 and run.history["test_loss"][-1] > 0


def test_what_does_not_act_stays_as_it_is():
    run = nlicl.train(SMALL, measure=None)
    start = SMALL.initialize(seed=0)
    np.testing.assert_array_equal(run.params.V[:, :-1], start.V[:, :-1])
    np.testing.assert_array_equal(run.params.W[:, :, -1], start.W[:, :, -1])
    assert abs(run.params.V[:, -1] - start.V[:, -1]).min() > 0


def test_the_classifier_trains_its_block_only():
    run = nlicl.train(Classifier(d=5, tasks=8, steps=3, test_tasks=20), measure=1, learning_rate=0.1)
    assert run.params.W[0, :-1, :-1].all() and not run.params.W[0, -1].any() and not run.params.W[0, :, -1].any()
    assert set(run.history.measured) == {"test_accuracy", "in_context_accuracy", "trace", "noise"}


# ---- The command line


def test_the_command_line_trains(capsys):
    for name in ("zhang2025", "zhang2025:separate"):
        assert main(["train", name, "--steps", "5", "--set", "P=200", "--set", "measure=5"]) == 0
    assert "population_loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("D=5", "d"), ("N=5", "length"), ("H=2", "heads"), ("R=1", "rank"), ("lr=1", "learning_rate"), ("epochs=3", "steps"),
        ("c=0.5", "icl"),
    ],
)  # fmt: skip
def test_the_paper_s_letters_are_explained(option, words, capsys):
    letter = option.partition("=")[0]
    assert main(["train", "zhang2025", "--set", option]) != 0
    error = capsys.readouterr().err
    assert f"--set {letter}: no such setting" in error and words in error.partition("; there are")[0], error


def test_bad_settings_are_named(capsys):
    for option, words in (("rank=0", "rank is 0; expected at least 1"), ("icl=2", "icl is 2"), ("P=none", "P is ")):
        assert main(["train", "zhang2025", "--set", option]) != 0
        assert words in capsys.readouterr().err
