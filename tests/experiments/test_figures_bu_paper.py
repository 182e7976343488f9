"""Figures of Bu et al.'s own problem: claims hold on what is known and fail on what is wrong; predictions, epochs, drawing."""

import json
from dataclasses import replace

import numpy as np
import pytest

from nlicl.core.files import to_json
from nlicl.experiments.bu2024.figures import common, dynamics, ood, paper, paper_ood
from nlicl.experiments.experiment import execute
from nlicl.experiments.registry import figures as load
from nlicl.experiments.stored import figure_of
from nlicl.experiments.style import render
from nlicl.papers import bu2024

FIGURES = load("bu2024")
FULL, QUICK = {"quick": False}, {"quick": True}
SEEDS = list(range(5))
STEPS = np.array(paper.RECORD_LONG)
T = (0, 40, 60, 100, 200, 1000, 10_000)
KNOWN = {  # of one run, at T
    "loss": (0.693, 0.667, 0.62, 0.545, 0.403, 0.116, 0.048), "error": (0.49, 0.0026, 0.001, 0.001, 0.001, 0.0008, 0.0008),
    "attention": (0.615, 0.817, 0.965, 0.995, 0.999, 1.0, 1.0), "specific": (0.25, 0.88, 1.87, 2.87, 3.73, 4.92, 4.54),
    "cross": (0, 0.006, 0.021, 0.13, 0.78, 2.68, 2.33), "mixed": (0, 0.13, 0.06, 0.067, 0.115, 0.174, 0.14),
    "shared": (0.75, 0.738, 0.733, 0.72, 0.688, 0.515, 0.23), "nu": (0, 0.07, 0.115, 0.168, 0.273, 0.385, 0.42),
    "xi": (0.003, 0.0065, 0.012, 0.018, 0.025, 0.034, 0.031), "mlp_specific": (0.134, 0.27, 0.405, 0.72, 1.41, 3.74, 4.72),
    "mlp_complement": (0.196, 0.24, 0.378, 0.722, 1.41, 3.73, 4.72),
    "mlp_noise": (0.012, 0.013, 0.013, 0.0144, 0.021, 0.046, 0.054),
}  # fmt: skip


def run_of(wrong=None):
    found = {name: np.interp(STEPS, T, values) for name, values in KNOWN.items()}
    for (name, step), value in (wrong or {}).items():
        found[name][step == STEPS] = value
    return found


def found_dynamics(wrong=None, attends=(48.0, 44.0)):
    steps = np.arange(0, 1501, dynamics.EVERY)
    default = {name: np.interp(steps, (0, 1500), (values[0], values[-1])) for name, values in KNOWN.items()}
    return {
        "steps": STEPS,
        **run_of(wrong),
        "attends": np.array(attends),
        "predicted": np.array([46.0, 42.0]),
        "default": {"steps": steps, **default},
    }


def found_epochs(wrong=None):
    found = {}
    for name in (*paper.readings(FULL), "fresh"):
        last = paper.readings(FULL)[name][0] * 100 if name != "fresh" else 10_000
        steps = np.array(paper.recorded(last))
        error = np.interp(steps, T, KNOWN["error"])
        if name.startswith("1 step,"):
            error = np.interp(steps, (0, 100), (0.49, 0.3))
        if wrong and name in wrong:
            error = wrong[name] + 0 * steps
        found[name] = {
            "steps": steps,
            "error": error,
            "attention": np.linspace(0.6, 1, len(steps)),
            "loss": 0.7 - error,
        }
        found[name] |= {"training loss": 0.5, "first": paper.first(steps, error <= paper.LEARNT)}
    return found


def found_ood(wrong=None):
    shifts = bu2024.shifts(paper.PAPER)
    ends = {
        "flipped": (0.999, 0.99, 2.0),
        "new b": (0.32, 0.61, 0.9),
        "new d": (0.5, 0.99, 0.9),
        "b_1-b_2, d_1-d_2": (0.5, 0.9, 1),
    }
    final = {name: np.array(ends.get(name, (0.001, 0.998, 0.12))) for name in shifts}
    final |= {name: np.array(values) for name, values in (wrong or {}).items()}
    steps, default = np.array(paper_ood.RECORD), np.arange(0, 1001, 50)
    start = np.array([0.5, 0.6, 0.69])
    return {
        "steps": steps,
        "watched": {name: np.linspace(start, final[name], len(steps)) for name in ood.PANELS},
        "final": final,
        "default": {"steps": default} | {name: np.linspace(start, final[name], len(default)) for name in ood.PANELS},
    }


FOUND = {"paper-dynamics": found_dynamics, "paper-epochs": found_epochs, "paper-ood": found_ood}


def assemble(name, *wrong, options=FULL):
    return FIGURES[name].result(options, SEEDS, [FOUND[name](*wrong) for _ in SEEDS])


def failing(figure):
    return [claim.claim for claim in figure.claims if not claim.holds]


@pytest.mark.parametrize("name", FOUND)
def test_claims_hold_on_what_is_known(name):
    figure = assemble(name)
    assert figure.ok, failing(figure)
    assert common.PAPER_CURVE in figure.notes and common.MARKS in figure.notes
    assert figure.original.name == ("Figure 3" if name == "paper-ood" else "Figure 2")
    assert len({series.name for series in figure.series}) == len(figure.series)
    assert {mark for _, mark in figure.settings.values()} <= {"quoted", "ours", "derived", "set here"}
    assert figure.settings["d_x"] == [1000, "quoted"] and figure.settings["p_z"] == [None, "ours"]


WRONG = [
    ("paper-dynamics", ({("error", 0): 0.2},), "0-1 error at t = 0: chance"),
    ("paper-dynamics", ({("attention", 0): 0.55},), "attn_+ at t = 0"),
    ("paper-dynamics", (dict.fromkeys([("error", int(t)) for t in STEPS], 0.3),), "step of the first 0-1 error"),
    ("paper-dynamics", ({("loss", 40): 0.2},), "loss at that step"),
    ("paper-dynamics", ({("attention", 100): 0.9},), "attn_+ at t = 100"),
    ("paper-dynamics", ({("nu", 400): 9.0},), "over the largest other product"),
    ("paper-dynamics", ({("mlp_noise", 160): 0.5},), "|<w_i, xi>|"),
    ("paper-dynamics", ({("shared", 1000): 0.7},), "decay alone"),
    ("paper-dynamics", (None, (100.0, 44.0)), "over the reduced recursion's"),
    ("paper-dynamics", (None, (np.nan, 44.0)), "over the reduced recursion's"),
    ("paper-epochs", ({"1 step, a set of 16": 0.05},), "not every seed learns"),
    ("paper-epochs", ({"10 steps, a set of 160": 0.05},), "10 steps, a set of 160: it learns"),
    ("paper-epochs", ({"fresh": 0.005},), "first step with an error of at most 1%, fresh"),
    ("paper-ood", ({"L* = 32": (0.02, 1, 0.1)},), "0-1 error, L* = 32"),
    ("paper-ood", ({"switched": (0.3, 1, 0.1)},), "0-1 error, switched"),
    ("paper-ood", ({"flipped": (0.5, 1, 0.1)},), "labels flipped"),
    ("paper-ood", ({"new b": (0.0, 0.99, 0.1)},), "a new orthogonal b"),
]


@pytest.mark.parametrize(("name", "wrong", "claim"), WRONG)
def test_claims_fail_on_what_is_wrong(name, wrong, claim):
    assert any(claim in each for each in failing(assemble(name, *wrong)))


def test_the_paper_s_cases_are_told_from_ours():
    about = {claim.claim.partition(":")[0]: claim.about for claim in assemble("paper-ood").claims}
    assert {name.removeprefix("0-1 error, ") for name, what in about.items() if what} == set(paper_ood.ASKED)
    assert {claim.about for claim in assemble("paper-dynamics").claims} == {"", "order", "phases"}


@pytest.mark.parametrize("name", FOUND)
def test_it_is_drawn(name):
    assert render(FIGURES[name].draw, assemble(name), "png").startswith(b"\x89PNG")


def test_where_a_curve_first_reaches_a_level():
    steps = np.array([0, 10, 20, 40])
    assert paper.crossing(steps, np.array([0.0, 0.5, 1.0, 1.0]), 0.75) == 15
    assert paper.crossing(steps, np.array([0.9, 0.5, 1.0, 1.0]), 0.75) == 0
    assert np.isnan(paper.crossing(steps, np.zeros(4), 0.75))
    assert paper.first(steps, np.array([False, True, False, True])) == 10
    assert np.isnan(paper.first(steps, np.zeros(4, bool)))


def test_an_epoch_is_so_many_steps_of_16_prompts():
    for name, (steps, run) in paper.readings(FULL).items():
        assert run.prompts == steps * paper.PAPER.batch and run.steps == 100 * steps and f"set of {run.prompts}" in name
        assert run.measure[-1] == run.steps
    assert paper.runs_epochs(FULL)["fresh"] == paper.runs_dynamics(FULL)["paper"]  # made once


def test_the_prediction_is_made_from_the_run_s_own_start():
    first, second = (paper.predicted(paper.PAPER, seed) for seed in (0, 1))
    assert first.shape == (2,) and (first != second).all()
    assert ((first > 20) & (first < 100)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUND)
def test_a_quick_run_of_a_small_problem(monkeypatch, name):
    small = replace(paper.PAPER, d_x=150, d_y=40)
    for module in (paper, paper_ood):
        monkeypatch.setattr(module, "PAPER", small)
    monkeypatch.setattr(paper, "PROMPTS_QUICK", 100)
    monkeypatch.setattr(paper_ood, "TESTED_QUICK", 60)
    ((_, figure),) = execute([FIGURES[name]], [0, 1], quick=True)
    assert len(figure.claims) > 5 and figure.seeds == [0, 1]
    assert render(FIGURES[name].draw, figure, "svg")


def test_a_figure_is_read_back_from_its_json():
    """Values of two concepts a seed are one list."""
    for name in FOUND:
        data = json.loads(to_json(assemble(name).to_dict()))
        assert figure_of(data).to_dict()["claims"] == data["claims"]
