"""Theorems of Athreya and Wang: conditions, what is found, and claims that fail where the data are wrong."""

import numpy as np
import pytest

from nlicl.core.errors import InvalidInput
from nlicl.experiments.experiment import execute
from nlicl.experiments.onenn2024.theorems import common, errors, geometry, growth, labels
from nlicl.experiments.registry import theorems as load
from nlicl.experiments.theorem import report
from nlicl.papers.onenn2024 import theory

THEOREMS = load("onenn2024")
QUICK = {"quick": True}
SIZES = {"length": 16, "d": 8, "sigma": 48.0, "quick": True}

RIGHT = {  # what measure returns, by a run or made up
    "1": {"rise": -1e-6, "times log": 0.2, "exponent": -0.33},
    "2": {"(16)": 0.0, "(17)": 0.0, "(18)": -1e-9, "(19)": 1e9, "separated": 1.0},
    "lemma-1": {
        "idle": 0.0, "sums": 1e-17, "labels": 1e-18, "13": 0.1, "13 even": 1e-18, "13 uneven": 0.1, "trace": 1e-17,
        "query": -0.79,
    },
    "lemma-2": {"loss": 1e-15, "partial_1": 1e-17, "partial_2": 0.0, "(14)": 0.0, "codes": 0.0, "wrong": 0.67},
    "lemma-8": {"least": 1e-9, "grows": 0.1, "printed": -0.3},
    "lemmas-9-11": {
        "nine below": -1e-5, "nine above": 1e-5, "nine query": 1.0, "ten": -0.005, "ten right": 1.0, "eleven": 0.04,
        "eleven below": -1e-9, "nine from": 19.9,
    },
    "lemma-12": {"crossing": 0.91 * theory.crossing_time(16, 8, 48.0), "end": 1.0, "exact": 10743.0, "descent": 10700.0},
    "lemma-14": {"wrong": 0.0, "4": 0.2, "2": 0.4, "below": 0, "above": 1},
    "lemmas-16-19": {"integral": 2.0, "mean": 0.6, "small": 0.1, "k": 0.94, "a": 0.96, "19": [1.0, 1.0]},
}  # fmt: skip
WRONG = {
    "1": {"rise": 1e-6, "times log": 1.1, "exponent": -0.1},
    "2": {"(16)": 1e-6, "(17)": 0.1, "(18)": 0.1, "(19)": 0.9, "separated": 2.0},
    "lemma-1": {
        "idle": 1e-300, "sums": 1e-9, "labels": 1e-6, "13": 0.0, "13 even": 1e-6, "13 uneven": 0.0, "trace": 1e-6,
        "query": 0.79,
    },
    "lemma-2": {"loss": 1e-6, "partial_1": 1e-6, "partial_2": 1e-6, "(14)": 1e-6, "codes": 1e-6, "wrong": 0.0},
    "lemma-8": {"least": -1e-6, "grows": -0.1, "printed": 0.3},
    "lemmas-9-11": {
        "nine below": 1e-5, "nine above": -1e-5, "nine query": -1.0, "ten": 0.005, "ten right": -1.0, "eleven": 0.0,
        "eleven below": 1e-9, "nine from": 25.0,
    },
    "lemma-12": {"crossing": np.nan, "end": 0.46, "exact": np.nan, "descent": np.nan},
    "lemma-14": {"wrong": 0.01, "4": 1.2, "2": 1.2, "below": 1, "above": 0},
    "lemmas-16-19": {"integral": 1.0, "mean": 0.001, "small": 0.5, "k": 0.3, "a": 0.3, "19": [0.1, 1.0]},
}  # fmt: skip


def result(name, found):
    options = {**THEOREMS[name].options, "quick": True}
    return THEOREMS[name].result(options, [0, 1], [found, found])


def test_every_theorem_has_data():
    assert set(RIGHT) == set(WRONG) == set(THEOREMS)


@pytest.mark.parametrize("name", RIGHT)
def test_right_data_pass_and_each_wrong_number_fails(name):
    theorem = result(name, RIGHT[name])
    assert theorem.ok, [claim for claim in theorem.claims if not claim.holds]
    assert report(theorem).startswith(theorem.name[:20])
    for what, value in WRONG[name].items():
        assert not result(name, {**RIGHT[name], what: value}).ok, what


def test_the_refuted_are_said_to_be():
    assert "refuted numerically, as they restate it" in result("lemma-12", RIGHT["lemma-12"]).name
    assert "(19) refuted numerically" in result("2", RIGHT["2"]).name
    assert "consistent" in result("1", RIGHT["1"]).name
    factor, right = growth.never(16, 8)
    assert factor < 0 < right


def test_conditions_are_evaluated():
    held = {row.condition: row.holds for row in common.sizes(16, 8, 48.0)}
    assert list(held.values()) == [None, True, True, True]
    low = [row.holds for row in common.sizes(16, 8, 3.0)]
    assert low == [None, False, True, False]  # sigma of the experiments
    conditions = THEOREMS["lemma-12"].result({**SIZES, "sigma": 30.0}, [0], [RIGHT["lemma-12"]]).conditions
    assert conditions[-1].holds is False


@pytest.mark.parametrize(("name", "value"), [("d", 3), ("length", 1), ("sigma", -1.0), ("sigma", "large")])
def test_sizes_without_conditions_are_refused(name, value):
    with pytest.raises(InvalidInput, match=f"{name} is {value!r}" if isinstance(value, str) else name):
        THEOREMS["1"].chosen({name: value}, True)


def test_all_labels_are_there():
    inputs = common.random_inputs(0)
    assert inputs.shape == (5, 5)
    prompts = common.all_labels(inputs, 3)
    assert len(prompts) == 3**4 and len({tuple(row) for row in prompts.classes}) == 3**4
    assert set(np.unique(common.all_labels(inputs, None).classes)) == {-1, 1}


def test_cheap_theorems_are_found_to_hold():
    """Lemmas 1, 2, 9 to 11, 14, and Theorem 2, as they are measured."""
    for name, module in (("lemma-1", labels), ("lemma-2", labels), ("lemmas-9-11", growth), ("lemma-14", errors)):
        experiment = THEOREMS[name]
        assert experiment.measure.__module__ == module.__name__
        theorem = experiment.result(QUICK, [5], [experiment.measure(QUICK, 5, {})])
        assert theorem.ok, [claim for claim in theorem.claims if not claim.holds]


@pytest.mark.slow
def test_a_quick_run_of_all_theorems():
    assert geometry.GEOMETRY.name in THEOREMS
    for experiment, theorem in execute(list(THEOREMS.values()), [0, 1, 2], quick=True):
        assert theorem.ok, (experiment.name, [claim for claim in theorem.claims if not claim.holds])
