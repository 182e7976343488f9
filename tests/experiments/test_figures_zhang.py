"""Figures of Zhang et al. 2025: claims hold on right made-up data and fail on wrong; descent is that of nlicl.train."""

import copy
import json
import re

import numpy as np
import pytest

from nlicl.core.errors import NotFinite
from nlicl.experiments.experiment import execute
from nlicl.experiments.registry import figures as load
from nlicl.experiments.zhang2025.classifier import first_step
from nlicl.experiments.zhang2025.descent import follow, follow_network
from nlicl.experiments.zhang2025.figures import common, icl_iwl, merged, ode, ranks, separate, softmax
from nlicl.models.linear_attention.statistics import Statistics
from nlicl.papers.provenance import MEANINGS
from nlicl.papers.zhang2025 import dynamics, population, reduced
from nlicl.papers.zhang2025.classifier import Classifier
from nlicl.papers.zhang2025.problem import Problem
from nlicl.training import train

FIGURES = load("zhang2025")
FULL = {"quick": False}
GOLDEN = np.array(common.GOLDEN)


# ---- Made-up data that are right


def landscape():
    return FIGURES["landscape"].measure(FULL, 0, {})


def merged_found():
    names = (merged.ATTENTION, merged.NETWORK, merged.FROZEN, merged.POPULATION)
    found = {f"curve, {name}": np.geomspace(1, 0.136, 300) for name in names}
    found |= {f"half, {name}": 1000.0 for name in names} | {f"end, {name}": 0.13601 for name in names}
    return found | {"law": 980.0, "same": 1e-15, "drops": 1, "inside": 0.2, "rises": -1e-9}


def separate_found():
    found = {}
    drops = {
        "flat": [450.0, 900.0, 1500.0, 5000.0], "per head": [800.0, 2000.0, 4000.0, np.nan],
        "stacked": [2500.0, 6000.0, np.nan, np.nan],
    }  # fmt: skip
    for version, steps in drops.items():
        for name in ("population", "prompts"):
            key = f"{version}, {name}"
            found |= {
                key: np.geomspace(1, 0.136, 400),
                f"{key}: drops": np.array(steps),
                f"{key}: heights": GOLDEN.copy(),
            }
            found[f"{key}: apart"] = 1e-4 if name == "population" else 0.005
    return found


def ode_found():
    found = {}
    for lam in ode.FALLING:
        closed = np.linspace(0, 1, 60)
        found[f"lambda = {lam:g}"] = {
            "t": closed * 100, "v": closed + 4e-4, "closed": closed, "half": 1.0 / (lam**2 * 0.05), "limit": 1.3, "apart": 0.0,
        }  # fmt: skip
    found["lambda = 0.4"]["half"] = ode.HALVES[0.4]
    for tau, off in ((ode.TAU, 1e-3), (ode.TAU / 2, 5e-4)):
        closed = np.linspace(0, 31 / 36, 61)
        v = closed + np.where(np.arange(61) == 30, off, 0)
        found[f"white, step {tau:g}"] = {"t": closed * 6, "v": v, "closed": closed, "apart": 0.0}
    return found


def ranks_found():
    drops = {
        1: [6000.0, 9000.0, 12000, 15000, 20000, np.nan, np.nan, np.nan],
        2: [5000.0, 5100, 8000, 8200, 16000, 17000, np.nan, np.nan],
        4: [5000.0, 5050, 5100, 5200, 18000, 18700, 20000, np.nan],
        8: [5000.0, 5050, 5100, 5200, 5400, 5800, 6900, 14000],
    }
    found = {f"drops {rank}": np.array(steps) for rank, steps in drops.items()}
    found |= {f"losses {rank}": np.geomspace(1, 0.3, 500) for rank in drops}
    return found | {"apart": 1e-4, "golden": 0.9}


def icl_found():
    found, at = {}, np.arange(0, icl_iwl.STEPS + 1, icl_iwl.EVERY)
    for c in icl_iwl.SHARES:
        step, least = icl_iwl.SEEN.get(c, (2000, 0.5))
        found[f"{c:g}, {icl_iwl.TRAINING}"] = np.geomspace(1, 0.136, len(at) - 1)
        found[f"{c:g}, {icl_iwl.IN_WEIGHT}"] = least + np.abs(at - step) / 5000
        found[f"{c:g}, {icl_iwl.IN_CONTEXT}"] = np.linspace(1, 2.3 if c == 0 else 0.2, len(at))
        found[f"{c:g}, half"] = {0.0: 780.0, 1.0: 3000.0}.get(c, 1500.0)
    return found


def softmax_found():
    found = {f"losses {kind}": np.geomspace(1, 0.15, 300) for kind in softmax.KINDS}
    found |= {"pauses merged": np.array([]), "pauses separate": np.array([0.66, 0.4, 0.22])}
    return found | {"first merged": 90.0, "last merged": 190.0, "first separate": 700.0, "last separate": 1800.0}


def classifier_found():
    ours = np.array([[0.717, 0.768, 0.78, 0.778, 0.789], [0.792, 0.844, 0.860, 0.883, 0.920]])
    return {
        "trained": ours,
        "identity": np.array([[0.76, 0.78, 0.785, 0.79, 0.79], [0.816, 0.837, 0.851, 0.878, 0.92]]),
    }


RIGHT = {
    "landscape": landscape, "merged": merged_found, "separate": separate_found, "ode": ode_found, "ranks": ranks_found,
    "icl-iwl": icl_found, "softmax": softmax_found, "classifier": classifier_found,
}  # fmt: skip


def result(name, one):
    return FIGURES[name].result(FULL, [0, 1], [one, one])


@pytest.mark.parametrize("name", RIGHT)
def test_claims_hold_and_say_where_they_are_from(name):
    figure = result(name, RIGHT[name]())
    assert figure.ok, [claim for claim in figure.claims if not claim.holds]
    assert figure.name == f"zhang2025-{name}" and len({one.name for one in figure.series}) == len(figure.series)
    assert {mark for _, mark in figure.settings.values()} <= set(MEANINGS)
    assert (figure.original is None) is (name == "ode")
    about = [claim for claim in figure.claims if claim.about]
    assert bool(about) is (name != "ode")
    for claim in about:
        assert claim.about in ("order", "phases", "value")
    if figure.original is not None:
        marks = set(re.findall(r"\[(\w+)", figure.original.known + figure.original.unknown))
        assert marks and marks <= set(MEANINGS), marks
    for text in figure.notes:
        assert set(re.findall(r"\[(\w+)[\]:]", text)) <= set(MEANINGS), text
    assert figure.comparisons or name in ("ode", "ranks", "softmax"), "numbers of the authors' are known"


def change(*path, to):
    def make(one):
        for key in path[:-1]:
            one = one[key]
        value = to(one[path[-1]]) if callable(to) else to
        one[path[-1]] = value

    return make


def drop(key, index, value):
    return change(key, index, to=value)


WRONG = [
    ("landscape", change("loss", to=lambda x: np.zeros_like(x)), "stationary functions"),
    ("landscape", change("moves", to=lambda x: x + 1e-3), "largest gradient"),
    ("landscape", change("quadratic", to=lambda x: x + 1e-9), "loss of each"),
    ("landscape", change("golden", to=lambda x: population.saddle_losses(np.diag([0.4, 0.3, 0.2, 0.1]), 32)), "L(M_0)"),
    ("landscape", change("eight", to=lambda x: x + 1e-9), "L(M_0) .. L(M_8)"),
    ("merged", change(f"half, {merged.ATTENTION}", to=1200.0), "attention: step at which"),
    ("merged", change(f"half, {merged.ATTENTION}", to=np.nan), "attention: step at which"),
    ("merged", change(f"end, {merged.ATTENTION}", to=0.15), "attention: loss at the end"),
    ("merged", change("drops", to=2), "attention: flat stretches"),
    ("merged", change("inside", to=0.5), "attention: steps from a loss"),
    ("merged", change("law", to=900.0), "population: step"),
    ("merged", change(f"half, {merged.POPULATION}", to=800.0), "attention: that step"),
    ("merged", change("same", to=1e-9), "network: largest"),
    ("merged", change(f"half, {merged.NETWORK}", to=1100.0), "network: steps"),
    ("merged", change("rises", to=1e-9), "attention: largest rise"),
    ("merged", change(f"end, {merged.POPULATION}", to=0.14), "population: loss at the end"),
    ("separate", change("per head, population: apart", to=3e-3), "exact population: loss in the middle"),
    ("separate", change("flat, prompts: apart", to=0.02), "on prompts: the same"),
    ("separate", drop("flat, prompts: drops", 1, 100.0), "drops come one after"),
    ("separate", drop("flat, prompts: heights", 2, 0.39), "on prompts: loss midway between drop 2"),
    ("separate", drop("flat, prompts: drops", 0, 700.0), "on prompts: step of drop 1"),
    ("separate", drop("flat, prompts: drops", 3, np.nan), "on prompts: step of drop 4"),
    ("separate", drop("flat, prompts: drops", 3, np.nan), "on prompts: the fourth drop"),
    ("separate", drop("stacked, prompts: drops", 0, 800.0), "stacked, the repository's"),
    ("separate", drop("stacked, prompts: drops", 3, 9000.0), "stacked: runs that have"),
    ("separate", drop("flat, population: drops", 0, 900.0), "exact population, flat: median"),
    ("ode", change("lambda = 0.2", "v", to=lambda v: v + 2e-3), "aligned head, lambda = 0.2"),
    ("ode", change("lambda = 0.1", "apart", to=1e-9), "aligned heads: k and q"),
    ("ode", change("lambda = 0.4", "half", to=120.95), "aligned head, lambda = 0.4: time"),
    ("ode", change("lambda = 0.1", "half", to=3000.0), "times to half"),
    ("ode", change("white, step 0.001", "v", to=lambda v: v * 1.01), "merged, white"),
    ("ode", change("white, step 0.0005", "v", to=lambda v: v + 1e-3), "merged: distance"),
    ("ode", change("white, step 0.001", "apart", to=1e-9), "merged: Mbar"),
    ("ode", change("white, step 0.0005", "v", -1, to=0.8), "merged: sigma at the end"),
    ("ranks", drop("drops 2", 2, 5200.0), "R = 2: steps from drop 2"),
    ("ranks", drop("drops 4", 4, 5400.0), "R = 4: steps from drop 4"),
    ("ranks", drop("drops 4", 0, 100.0), "R = 4: steps of the first plateau"),
    ("ranks", drop("drops 8", 6, 9000.0), "R = 8: the longest"),
    ("ranks", drop("drops 8", 6, 12000.0), "R = 8: steps of the first"),
    ("ranks", change("drops 1", to=lambda x: 6000.0 + np.arange(8)), "R = 1: the longest"),
    ("ranks", change("apart", to=0.01), "R = 1: loss"),
    ("ranks", change("golden", to=0.4), "R = 1: share"),
    ("icl-iwl", change("0, half", to=1000.0), "c = 0: step"),
    ("icl-iwl", change(f"0, {icl_iwl.IN_CONTEXT}", to=lambda x: x / 2), "c = 0: in-context"),
    ("icl-iwl", change(f"0.6, {icl_iwl.IN_WEIGHT}", to=lambda x: x + 0.1), "c = 0.6: least"),
    ("icl-iwl", change(f"0.8, {icl_iwl.IN_WEIGHT}", to=lambda x: np.roll(x, 20)), "c = 0.8: its step"),
    ("icl-iwl", change(f"0.4, {icl_iwl.IN_CONTEXT}", to=lambda x: x + 0.2), "c = 0.2 and more"),
    ("icl-iwl", change(f"0.4, {icl_iwl.IN_WEIGHT}", to=lambda x: np.minimum.accumulate(x)), "c = 0.2 to 0.8: rise"),
    ("icl-iwl", change("1, half", to=2500.0), "c = 1: step"),
    ("softmax", change("pauses merged", to=np.array([0.6])), "merged: pauses"),
    ("softmax", change("first separate", to=100.0), "separate: steps of the first"),
    ("softmax", change("pauses separate", to=np.array([0.65])), "separate: pauses"),
    ("softmax", change("pauses separate", to=np.array([0.65, 0.5, 0.21])), "separate: loss of a pause"),
    ("classifier", change("trained", to=lambda x: x - np.array([[0.05], [0]])), "test accuracy, mean"),
    ("classifier", change("trained", to=lambda x: x + np.array([[0], [0.02]])), "in-context accuracy, mean"),
    ("classifier", change("identity", to=lambda x: x + 0.05), "test accuracy, W = I"),
    ("classifier", change("identity", to=lambda x: x - 0.06), "test accuracy at d = 10"),
    ("classifier", change("identity", to=lambda x: x - 0.02), "in-context accuracy: how far"),
    ("classifier", change("trained", to=lambda x: x[:, [0, 2, 1, 3, 4]]), "in-context accuracy: growth"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wrong", "claim"), WRONG)
def test_claims_fail_on_what_is_wrong(name, wrong, claim):
    one = copy.deepcopy(RIGHT[name]())
    wrong(one)
    failed = [each.claim for each in result(name, one).claims if not each.holds]
    assert any(text.startswith(claim) for text in failed), failed


@pytest.mark.parametrize("name", RIGHT)
def test_figures_are_drawn_and_written(name, tmp_path):
    pytest.importorskip("matplotlib")
    figure = result(name, RIGHT[name]())
    json_file, _, png = figure.write(tmp_path, FIGURES[name].draw)
    assert png.read_bytes().startswith(b"\x89PNG") and png.stat().st_size > 10_000
    assert json.loads(json_file.read_text())["figure"] == f"zhang2025-{name}"


@pytest.mark.parametrize("name", ["landscape", "icl-iwl", "classifier"])
def test_rough_figures_hold(name):
    [(_, figure)] = execute([FIGURES[name]], [0, 1, 2], quick=True)
    assert figure.ok, [claim for claim in figure.claims if not claim.holds]
    assert figure.options == {"quick": True}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["merged", "separate", "ode", "ranks", "softmax"])
def test_slower_rough_figures_hold(name):
    [(_, figure)] = execute([FIGURES[name]], [0, 1] if name in ("merged", "separate") else [0], quick=True)
    assert figure.ok, [claim for claim in figure.claims if not claim.holds]


# ---- Descent on statistics


@pytest.mark.parametrize(
    "problem",
    [Problem(d=2, length=5, heads=3, init=0.1), Problem(d=3, length=4, heads=2, rank=2, init=0.3, scale=None)],
)
def test_descent_is_that_of_train(problem):
    prompts, start = problem.sample(40, seed=1), problem.initialize(seed=2)
    statistics, tests = Statistics.of(prompts), Statistics.of(problem.sample(30, seed=3))
    run = train(problem, params=start, prompts=statistics, measure=None, steps=40, learning_rate=0.02)
    course = follow(start, statistics, learning_rate=0.02, steps=40, tests={"other": tests}, every=20)
    assert np.allclose(course.losses, run.history.loss, rtol=1e-12)
    assert type(course.params) is type(run.params)
    assert all(np.allclose(a, b, rtol=1e-11, atol=1e-13) for a, b in zip(course.params, run.params, strict=True))
    assert course.at.tolist() == [0, 20, 40]
    for params, found in ((start, course.tests["other"][0]), (run.params, course.tests["other"][-1])):
        other = train(problem, params=params, prompts=tests, measure=None, steps=1, learning_rate=0.02)
        assert found == pytest.approx(other.history.loss[0], rel=1e-10)
    assert np.ptp(course.losses) > 1e-3 and not np.array_equal(start.V, course.params.V)


def test_descent_with_u_and_v_x_kept_is_the_network():
    problem = Problem(d=2, length=5, heads=3, init=0.1)
    prompts, start = problem.sample(40, seed=1), problem.initialize(seed=2)
    v, U = reduced.reduced(start)
    course = follow(start, Statistics.of(prompts), learning_rate=0.01, steps=60, frozen=True)
    network = follow_network(v, U, prompts, learning_rate=0.01, steps=60)
    assert np.allclose(course.losses, network, rtol=1e-11) and np.ptp(network) > 1e-3
    free = follow(start, Statistics.of(prompts), learning_rate=0.01, steps=60)
    assert np.abs(free.losses - network).max() > 1e-6
    kept = Problem(d=2, length=5, heads=2, rank=1, init=0.3)
    ends = follow(kept.initialize(0), Statistics.of(prompts), learning_rate=0.01, steps=20, frozen=True).params
    assert not ends.V[:, -1, :-1].any() and not ends.K[:, :, -1].any()
    with pytest.raises(ValueError, match="expected the same number"):
        follow_network(v[:2], U, prompts, learning_rate=0.01, steps=1)


def test_descent_that_diverges_says_so():
    problem = Problem(d=2, length=5, heads=3, init=1.0)
    with pytest.raises(NotFinite, match="diverges"), np.errstate(all="ignore"):
        follow(problem.initialize(0), problem.population(seed=0), learning_rate=10.0, steps=50)


def test_the_first_step_of_the_classifier():
    problem = Classifier(6, tasks=5, steps=1, learning_rate=0.3)
    prompts = problem.sample(5, seed=1)
    run = train(problem, prompts=prompts, measure=None)
    assert np.allclose(first_step(prompts, 0.3), run.params.W[0, :-1, :-1], rtol=1e-12)


# ---- What curves are looked at for


def test_heights_and_middles():
    losses = np.concatenate([np.full(300, 1.0), np.full(400, 0.6), np.full(100, 0.4), np.full(500, 0.1)])
    assert common.heights(losses, [300, 700, 800, np.nan]).tolist()[0] == 0.6
    assert np.isnan(common.heights(losses, [300, 700, 800, np.nan])[1])
    assert common.heights(losses, [300, 700, 800, np.nan])[2] == 0.1 and np.isnan(
        common.heights(losses, [300, 700, 800, np.nan])[3]
    )
    assert common.middles(losses).tolist() == [1.0, 0.6, 0.1]


def test_pauses():
    steps = np.arange(1200.0)
    smooth = 1 / (1 + np.exp((steps - 500) / 60)) + 0.1
    twice = 0.5 / (1 + np.exp((steps - 300) / 30)) + 0.4 / (1 + np.exp((steps - 700) / 30)) + 0.1
    assert len(softmax.pauses(smooth)) == 0 and softmax.pauses(twice).round(2).tolist() == [0.5]


def test_a_drop_within():
    losses = np.concatenate([np.full(100, 1.0), np.linspace(1, 0.2, 41)])
    assert merged.half(losses) == np.argmax(losses < 0.57) and merged.within_drop(losses) == pytest.approx(
        30 / 106, abs=0.01
    )
    assert np.isnan(merged.half(losses[:50])) and np.isnan(merged.within_drop(losses[:50]))


def test_medians_count_what_is_never_reached():
    found = [{"x": np.array([1.0, np.nan])}, {"x": np.array([3.0, np.nan])}, {"x": np.array([np.nan, 2.0])}]
    assert separate.medians(found, "x").tolist()[0] == 3.0 and np.isnan(separate.medians(found, "x")[1])


def test_what_is_learnt_is_told_from_the_weights():
    one = ranks.problem(1)
    a = population.amplitudes(one.eigenvalues, 31)
    v, k = np.zeros(9), np.zeros((9, 1, 8))
    for h, d in enumerate((0, 2)):
        v[h] = (a[d] / 31) ** (1 / 3)
        k[h, 0] = v[h] * one.axes[:, d]
    at = np.arange(0, 401, 100)
    run = reduced.descend(
        reduced.Separate(v, k, k.copy()), one.Lambda, 31, learning_rate=0.02, steps=400, scale=1.0, keep=at
    )
    sets, losses = ranks.learnt(one, run, at)
    assert sets == [(0, 2)] and losses[0] == pytest.approx(losses[1], abs=1e-12)
    assert dynamics.flat_stretches(run.losses) == [(0, 400)]


def test_claims_of_means():
    assert common.average("x", [1.0, 3.0], 1.9, 2.1).holds and not common.average("x", [1.0, 3.0], 2.1, 3).holds
    assert not common.within("x", [np.nan], 0).holds and "never" in common.within("x", [np.nan, 1.0], 0).measured
    assert not common.within("x", []).holds and not common.close("x", [1.0, 1.2], 1, share=0.1).holds
