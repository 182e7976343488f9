"""Figures of Athreya and Wang: claims hold on right made-up data and fail on wrong ones; a quick run of all of them."""

import copy

import numpy as np
import pytest

from nlicl.experiments.experiment import execute
from nlicl.experiments.onenn2024.figures import common, convergence, losses, perturbed, rates, scaling, shift
from nlicl.experiments.page import page
from nlicl.experiments.registry import figures as load
from nlicl.experiments.style import render
from nlicl.papers.onenn2024 import theory
from nlicl.papers.onenn2024.population import Trajectory

FIGURES = load("onenn2024")
FULL = {"quick": False}


# ---------------------------------------------------------------- right data, made up


def scaling_found():
    expected = np.array([(K - 1) / K for _, _, K in scaling.points()])
    binary = np.column_stack([np.full(22, 0.2), np.full(22, 1e-7)])
    return {"many": np.column_stack([0.2 * expected, np.full(22, 1e-7)]), "binary": binary}


def convergence_found(monkeypatch):
    steps = np.array([0, *convergence.AT, convergence.LATE])

    def population(options, length, K):
        loss = np.linspace(0.3, convergence.TABLE[length], len(steps) - 1)
        return {"steps": steps[1:], "xi1": steps[1:] / 1e4, "xi2": 3 + steps[1:] / 1e5, "loss": loss}

    monkeypatch.setattr(convergence, "population", population)
    found = {}
    for name in convergence.runs(FULL):
        length, K = (int(part.rpartition(" ")[2]) for part in name.split(","))
        grows = np.linspace(0, 1, len(steps))
        found[name] = {
            "steps": steps, "accuracy": 0.9 * grows, "loss": 0.01 * length - 0.1 * grows, "xi1": 10 * grows,
            "xi2": 3 + 6 * grows,
            "separated_accuracy": np.r_[theory.start_accuracy(16, K), np.ones(len(steps) - 1)], "separated_error": 1 - grows,
        }  # fmt: skip
    return {**found, "over the flow": np.ones((3, 3))}


def shift_found():
    steps = np.array([0, 10_000, 20_000, 40_000, 60_000])
    found = {}
    for K, (error, accuracy) in shift.AT_LAST.items():
        accuracies = np.array([0.46, 0.643, 0.801, 0.898, accuracy])
        found[f"K = {K}"] = {
            "steps": steps, "accuracy": accuracies, "logit_error": np.r_[0.6, 0.5, 0.4, 0.3, error],
            "separated_accuracy": np.r_[0.46, 1.0, 1, 1, 1], "separated_error": np.r_[0.6, 0.3, 0.1, 0.03, 0.015],
        }  # fmt: skip
    return found


def losses_found():
    return {
        name: {
            "accuracy": value, "separated_accuracy": 1.0, "logit_error": 0.2,
            "separated_error": losses.LOGIT_ERROR.get(name, 0.02),
        }
        for name, value in losses.REFERENCE.items()
    }  # fmt: skip


def perturbed_found():
    found = {"same bits": True}
    for noise, accuracy in perturbed.ACCURACY.items():
        sums, marks, idle = np.full(9, noise), noise * 8**0.5, np.full(36, noise)
        left = noise * (9 + 0.48 * 8) ** 0.5 if noise < 2 else 0.79 * noise * 106**0.5
        before = {"distance": noise * 106**0.5, "sums": sums, "W_31": marks, "rest": noise * 89**0.5, "idle": idle}
        after = {"distance": left, "sums": sums, "W_31": 0.48**0.5 * marks, "rest": 0.8 * noise, "idle": idle}
        found[f"eps = {noise:g}"] = {"before": before, "after": after, "accuracy": accuracy}
    return found


def law(tau, N, d, sigma, crossed):
    """A trajectory by the laws of large xi1, with its crossing where it is said."""
    A = theory.loss_constant(N, d)
    xi1 = np.asarray(theory.slow_growth(tau, N, d))
    share = theory.LIMIT * (tau / crossed) ** 0.1
    return Trajectory(tau, xi1, xi1 / share, A / xi1)


def rates_found():
    tau = rates.times(FULL)
    run = law(tau, rates.N, rates.D, rates.SIGMA, rates.CROSSED)
    end = theory.ratio(float(run.xi1[-1]), rates.N, rates.D)
    run.xi2[-1] = end * run.xi1[-1]
    near = np.r_[np.linspace(0.99, 1.01, 9) * rates.SMALL_CROSSED, 1e5]
    small = law(near, 3, 5, 28.0, rates.SMALL_CROSSED)
    small.xi2[-1] = small.xi1[-1] / 0.61
    return {"run": run, "small": small, "lemma 9": rates.LEMMA_9}


def right(name, monkeypatch):
    if name == "convergence":
        return convergence_found(monkeypatch)
    makers = {"scaling": scaling_found, "shift": shift_found, "losses": losses_found, "perturbed": perturbed_found}
    return (makers | {"rates": rates_found})[name]()


def failing(name, one):
    figure = FIGURES[name].result(FULL, [0, 1], [one, one])
    return [claim.claim for claim in figure.claims if not claim.holds]


# ---------------------------------------------------------------- claims


@pytest.mark.parametrize("name", FIGURES)
def test_right_data_pass(name, monkeypatch):
    one = right(name, monkeypatch)
    assert failing(name, one) == []
    figure = FIGURES[name].result(FULL, [0, 1], [one, one])
    assert figure.name == f"onenn2024-{name}"
    assert page("onenn2024", "a title", [figure], False).count("| holds |") == len(figure.claims)
    published = [claim for claim in figure.claims if claim.about]
    assert bool(published) == (FIGURES[name].original is not None)
    assert bool(figure.comparisons) == (name in ("scaling", "convergence", "perturbed", "losses"))


def wrong_scaling(one):
    one["many"][2, 0] *= 1.02
    return "L_MC/L_bin at (xi1"


def wrong_start(one):
    one["N = 16, K = 3"]["separated_accuracy"][0] = 1 / 3
    return "separated accuracy at the start"


def wrong_end(one):
    one["N = 64, K = 3"]["separated_accuracy"][-1] = 0.99
    return "accuracy on separated prompts at the end"


def wrong_order(one):
    one["N = 16, K = 3"]["loss"] += 1
    return "the loss at equal steps"


def wrong_flow(one):
    one["over the flow"][1, 0] = 1.03
    return "xi1 over the population's"


def wrong_fall(one):
    one["K = 3"]["separated_error"][-1] = 0.1
    return "separated logit error at the end"


def wrong_accuracy(one):
    one["K = 5"]["accuracy"][-1] = 0.9
    return "uniform logit error and accuracy"


def wrong_published(one):
    one["cross-entropy"]["accuracy"] = 0.94
    return "cross-entropy: uniform accuracy"


def wrong_rise(one):
    one["mixture"]["accuracy"] = 0.89
    return "uniform accuracy at c"


def wrong_idle(one):
    part = one["eps = 2"]["after"]
    part["idle"] = part["idle"] * (1 + 1e-15)
    return "idle blocks, the label's columns"


def wrong_sums(one):
    part = one["eps = 1"]["after"]
    part["sums"] = part["sums"] * (1 + 1e-9)
    return "1_K^T W_21"


def wrong_ratio(one):
    one["eps = 0.1"]["after"]["distance"] *= 2
    return "eps = 0.1: distance after over before"


def wrong_bits(one):
    one["same bits"] = False
    return "noise of 3 in idle blocks only"


def wrong_crossing(one):
    one["run"].xi2[:] *= 1.1
    return "N = 16, d = 8: tau at which xi1 crosses"


def never_crosses(one):
    one["small"].xi2[:] = 3 * one["small"].xi1
    return "N = 3, d = 5, exact: tau of the same"


def wrong_exponent(one):
    one["run"].loss[:] *= (one["run"].tau / 1e5) ** -0.05
    return "exponent of the loss"


WRONG = {
    "scaling": [wrong_scaling],
    "convergence": [wrong_start, wrong_end, wrong_order, wrong_flow],
    "shift": [wrong_fall, wrong_accuracy],
    "losses": [wrong_published, wrong_rise],
    "perturbed": [wrong_idle, wrong_sums, wrong_ratio, wrong_bits],
    "rates": [wrong_crossing, never_crosses, wrong_exponent],
}


@pytest.mark.parametrize(("name", "change"), [(name, change) for name, changes in WRONG.items() for change in changes])
def test_wrong_data_fail(name, change, monkeypatch):
    one = copy.deepcopy(right(name, monkeypatch))
    said = change(one)
    assert any(said in claim for claim in failing(name, one)), failing(name, one)


def test_crossings_lie_between_points():
    tau = np.array([1.0, 10.0, 100.0])
    run = Trajectory(tau, np.array([0.3, 0.4, 0.8]), np.ones(3), np.ones(3))
    found = rates.crossing(run)
    assert 10 < found < 100
    assert np.log10(found) == pytest.approx(1 + (theory.LIMIT - 0.4) / 0.4)
    assert np.isnan(rates.crossing(run._replace(xi1=np.full(3, 0.1))))


def test_the_law_of_the_ratio_has_the_papers_numbers_in_it():
    low, high = perturbed.law_of_ratio()
    assert low < 0.325 < 0.348 < high
    assert perturbed.predicted(perturbed_found()["eps = 1"]) == pytest.approx(0.348, abs=5e-4)


def test_runs_are_shared_between_figures():
    assert shift.runs(FULL)["K = 3"] == convergence.runs(FULL)["N = 16, K = 3"]
    assert convergence.runs(FULL)["N = 64, K = 3"].problem.length == 64
    assert common.training(common.ONE, 1000, {"quick": True}, (100, 900)).measure == (0, 100, 400)


@pytest.mark.slow
def test_a_quick_run_of_all_figures():
    for recipe, figure in execute(list(FIGURES.values()), [0, 1, 2], quick=True):
        assert figure.ok, [claim for claim in figure.claims if not claim.holds]
        assert render(recipe.draw, figure, "png")[:4] == b"\x89PNG"
