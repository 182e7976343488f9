"""Figures of the experiment of Huang et al. 2023: claims hold on what is measured, and fail on what is wrong."""

import json

import numpy as np
import pytest

from nlicl.experiments.experiment import execute
from nlicl.experiments.huang2023.figures import concentration, experiment, fig2, fig3
from nlicl.experiments.huang2023.figures.experiment import (
    BALANCED,
    DENSE,
    GD,
    GD_ONE_HOT,
    IMBALANCED,
    ONE_HOT,
    POPULATION,
)
from nlicl.experiments.registry import figures as load
from nlicl.papers.huang2023 import Experiment
from nlicl.papers.provenance import MEANINGS

FIGURES = load("huang2023")
QUICK = {"quick": True}
OWN_NAMES = ("fig2", "fig3", "concentration")


def found(name):
    return FIGURES[name].measure(QUICK, 0, {})


def changed(one, case, way, **fields):
    """`one` with fields of one run replaced by what functions make of them."""
    key = f"{case}, {way}"
    return {**one, key: one[key]._replace(**{name: make(getattr(one[key], name)) for name, make in fields.items()})}


def failing(name, one):
    figure = FIGURES[name].result(QUICK, [0, 1], [one, one])
    return [claim.claim for claim in figure.claims if not claim.holds]


@pytest.mark.parametrize("name", ["fig2", "fig3"])
def test_claims_hold_and_say_what_they_are_about(name):
    one = found(name)
    figure = FIGURES[name].result(QUICK, [0, 1], [one, one])
    assert figure.ok, [claim for claim in figure.claims if not claim.holds]
    assert figure.original.name == f"Figure {name[3]}" and "[quoted]" in figure.original.known
    assert all(word in figure.original.unknown for word in ("K", "seeds", "one-hot or dense", "curves"))
    about = {claim.claim: claim.about for claim in figure.claims if claim.about}
    assert {"order", "phases"} == set(about.values())
    assert not any("derived" in claim or "gradient descent" in claim for claim in about), (
        "they test no figure of the paper"
    )
    assert len({series.name for series in figure.series}) == len(figure.series)
    marks = {name: mark for name, (_, mark) in figure.settings.items()}
    assert {"prompts", "learning_rate", "steps", "batch", "optimizer", "law of w"} == {
        n for n in marks if marks[n] == "quoted"
    }
    assert set(marks.values()) <= set(MEANINGS) and marks["K"] == "ours" and marks["features"] == "set here"


def halving_late(error):
    late = error.copy()
    late[:, 0] = error[0, 0] * np.linspace(1, 0.01, len(error))
    return late


def ending_high(error):
    return np.r_[error[:-1], 10 * error[-1:]]


def others_stay(error):
    return np.c_[error[:, :1], np.tile(error[0, 1:], (len(error), 1))]


WRONG = [
    ("fig2", lambda one: changed(one, IMBALANCED, DENSE, error=halving_late), f"imbalanced, {DENSE}: step at which"),
    ("fig2", lambda one: changed(one, IMBALANCED, ONE_HOT, error=lambda e: e[:, ::-1]), f"imbalanced, {ONE_HOT}: step at"),
    ("fig2", lambda one: changed(one, IMBALANCED, POPULATION, error=halving_late), f"imbalanced, {POPULATION}: the others'"),
    ("fig2", lambda one: changed(one, IMBALANCED, DENSE, error=ending_high), f"imbalanced, {DENSE}: the dominant error and"),
    ("fig2", lambda one: changed(one, BALANCED, GD, error=others_stay), f"balanced, {GD}: the others'"),
    ("fig2", lambda one: changed(one, BALANCED, ONE_HOT, error=lambda e: e**9), f"balanced, {ONE_HOT}: the smallest"),
    ("fig2", lambda one: changed(one, BALANCED, GD_ONE_HOT, error=lambda e: e + 2e-9), "gradient descent: largest difference"),
    ("fig2", lambda one: changed(one, BALANCED, ONE_HOT, error=lambda e: one[f"balanced, {DENSE}"].error), "Adam: largest"),
    ("fig3", lambda one: changed(one, BALANCED, DENSE, own=lambda a: 0.9 * a), f"balanced, {DENSE}: attention of every"),
    ("fig3", lambda one: changed(one, IMBALANCED, DENSE, own=lambda a: 0.85 * a), f"imbalanced, {DENSE}: that of the other"),
    ("fig3", lambda one: changed(one, IMBALANCED, DENSE, own=lambda a: 0.85 * a), f"imbalanced, {DENSE}: that of the dom"),
    ("fig3", lambda one: changed(one, IMBALANCED, DENSE, first=lambda a: a + 0.1), f"imbalanced, {DENSE}: their attention"),
    ("fig3", lambda one: changed(one, IMBALANCED, DENSE, own=lambda a: a[:, ::-1]), f"imbalanced, {DENSE}: steps from"),
    ("fig3", lambda one: changed(one, BALANCED, ONE_HOT, own=lambda a: a + 0.15), f"balanced, {ONE_HOT}: attention of every"),
    ("fig3", lambda one: changed(one, IMBALANCED, ONE_HOT, own=lambda a: a + 0.15), f"imbalanced, {ONE_HOT}: that of every"),
    ("fig3", lambda one: changed(one, IMBALANCED, ONE_HOT, largest=lambda q: 2.34), f"{ONE_HOT}: the largest |Q_ij|"),
    ("fig3", lambda one: changed(one, BALANCED, DENSE, A=lambda a: 1.3 * a), f"balanced, {DENSE}: mean A_k at step 20"),
    ("fig3", lambda one: changed(one, BALANCED, ONE_HOT, A=lambda a: 1.06 * a), f"balanced, {ONE_HOT}: mean A_k at step"),
    ("fig3", lambda one: changed(one, BALANCED, POPULATION, own=lambda a: 0.85 * a), f"balanced, {POPULATION}: attention"),
    ("fig3", lambda one: changed(one, IMBALANCED, GD_ONE_HOT, own=lambda a: a + 2e-9), "gradient descent: largest"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wrong", "claim"), WRONG)
def test_claims_fail_on_what_is_wrong(name, wrong, claim):
    failed = failing(name, wrong(found(name)))
    assert any(text.startswith(claim) for text in failed), failed


def test_both_figures_share_their_runs_and_seeds_differ():
    assert found("fig2")["balanced, " + DENSE] is found("fig3")["balanced, " + DENSE]
    one, other = (experiment.curves(BALANCED, ONE_HOT, seed) for seed in (0, 1))
    assert np.any(one.error != other.error)
    assert one.steps[0] == 0 and one.steps[-1] == 400 and one.error.shape == (81, 10)


def test_first_to():
    reached = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0]], bool)
    assert experiment.first_to(reached, np.array([0, 5, 10])).tolist() == [10, 5, np.inf]


def test_each_says_never():
    assert experiment.each("x", [np.inf, 3.0], low=0).measured == "3, or never"
    assert experiment.each("x", [np.inf], low=0).measured == "never"
    assert not experiment.each("x", [1.0, 0.0], low=0).holds and not experiment.each("x", [np.nan], low=0).holds


def fake(ratios=(1.0, 3.0, 10.0), sizes=(5, 10)):
    dense = {(K, 100): np.array([0.4, 0.8, 0.95]) for K in sizes}
    return {"dense": dense, "one-hot": {100: np.array([0.77, 0.66, 0.55, 0.35])}}


@pytest.mark.parametrize(
    ("wrong", "claim"),
    [
        (None, None),
        (lambda one: one["one-hot"][100].__setitem__(2, 0.7), "one-hot, K = 5"),
        (lambda one: one["one-hot"][100].__setitem__(3, 0.55), "one-hot, K of at least 10"),
        (lambda one: one["one-hot"][100].__setitem__(0, 0.91), "one-hot, K = 2 and 3"),
        (lambda one: one["one-hot"][100].__setitem__(3, 0.93), "one-hot: attention over its bound"),
        (lambda one: one["dense"][10, 100].__setitem__(0, 0.7), "dense, d = K"),
        (lambda one: one["dense"][10, 100].__setitem__(2, 0.89), "dense, d = 10 K"),
        (lambda one: one["dense"][5, 100].__setitem__(1, 0.3), "dense: mean attention at step 400 grows"),
        (lambda one: one["dense"][5, 100].__setitem__(0, 0.93), "dense: the first d/K of the grid"),
    ],
)
def test_claims_of_the_map(wrong, claim):
    one = fake()
    if wrong is not None:
        wrong(one)
    failed = failing("concentration", one)
    assert any(text.startswith(claim) for text in failed) if claim else not failed, failed


def test_the_map_measures_what_it_says(monkeypatch):
    """A tiny grid: each number is that of its own run."""
    monkeypatch.setattr(concentration, "grid", lambda options: ((1.0, 3.0), (4, 5), (9,)))
    monkeypatch.setattr(concentration, "SMALL", (2,))
    [(_, figure)] = execute([FIGURES["concentration"]], [3], quick=True)
    assert figure["dense, K = 4, N = 9"].y[1] == concentration.attention(
        Experiment.balanced(4, length=9, d=12, V_seed=3), 3
    )
    one_hot = Experiment.balanced(4, length=9, d=4, features="one-hot")
    assert figure["one-hot, N = 9"].y.tolist()[1] == concentration.attention(one_hot, 3)
    assert figure["one-hot, N = 9"].x.tolist() == [2, 4, 5] and figure.original is None


@pytest.mark.parametrize("name", OWN_NAMES)
def test_figures_are_drawn_and_written(name, tmp_path):
    pytest.importorskip("matplotlib")
    one = fake() if name == "concentration" else found(name)
    figure = FIGURES[name].result(QUICK, [0, 1], [one, one])
    json_file, _, png = figure.write(tmp_path, FIGURES[name].draw)
    assert png.read_bytes().startswith(b"\x89PNG") and png.stat().st_size > 10_000
    stored = json.loads(json_file.read_text())
    assert stored["figure"] == f"huang2023-{name}" and bool(stored["original"]) is (name != "concentration")


def test_the_recipes_are_the_registered_ones():
    for module in (fig2, fig3, concentration):
        [recipe] = module.RECIPES
        assert FIGURES[recipe.name].measure is recipe.measure
