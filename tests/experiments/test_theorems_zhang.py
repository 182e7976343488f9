"""Statements of Zhang et al. 2025 as experiments: verdicts on what is right and wrong, settings refused."""

import re

import numpy as np
import pytest

from nlicl.experiments.experiment import execute
from nlicl.experiments.registry import theorems
from nlicl.experiments.theorem import report
from nlicl.papers.provenance import MEANINGS

THEOREMS = theorems("zhang2025")

RIGHT = {
    "saddles": {
        "points": 16, "gradient": 1e-16, "loss": 1e-16, "golden": 1e-16, "sizes": 0.0, "plateaus": 4,
        "apart": 1e-4, "grown": True, "rises": -1e-9, "fewer": 1e-15,
    },
    "merged": {
        "zero": 1e-16, "zero loss": 1e-16, "best": 1e-15, "best loss": 1e-16, "between": 0.02, "half": 1.02, "abrupt": 0.23,
        "plateaus": 0, "end": 1e-7, "rises": -1e-9,
    },
    "time-courses": {
        "merged off 1": 0.001, "merged off 0.5": 0.0005, "merged shape 1": 0.0, "merged end 1": 0.99, "separate off 1": 0.002,
        "separate off 0.5": 0.001, "separate shape 1": 1e-16, "separate end 1": 0.97, "separate half 1": 0.999,
    },
    "conservation": {
        "merged": 1e-16, "value": 1e-16, "ranks": 1e-16, "softmax value": 0.6, "softmax ranks": 1e-16, "drift merged": 0.002,
        "order merged": 0.1, "drift value": 0.01, "order value": 0.1, "drift ranks": 0.004, "order ranks": 0.1,
    },
    "classifier": {
        "diagonal": 1.001, "rest": 1.03, "same": 1e-16, "left": 1e-100, "trace": 1.0, "noise": 1.01,
        "convex": -30.0, "blind": 0.5, "memory": 1.0,
    },
}  # fmt: skip


def assembled(name, one, **options):
    experiment = THEOREMS[name]
    return experiment.assemble(experiment.chosen(options, False), [0, 1], [one, one])


@pytest.mark.parametrize("name", RIGHT)
def test_claims_hold_on_right_data(name):
    found = assembled(name, RIGHT[name])
    assert all(claim.holds for claim in found.claims), [claim for claim in found.claims if not claim.holds]
    marks = set(re.findall(r"\[(\w+)", found.statement))
    assert marks and marks <= set(MEANINGS)
    assert all(re.search(r"\[\w+", condition.condition) for condition in found.conditions)
    assert f"{len(found.claims)} of {len(found.claims)} claims hold" in report(found)


WRONG = [
    ("saddles", "points", 15), ("saddles", "gradient", 1e-6), ("saddles", "loss", 1e-6), ("saddles", "golden", 1e-6),
    ("saddles", "sizes", -0.1), ("saddles", "plateaus", 1), ("saddles", "apart", 0.1), ("saddles", "grown", False),
    ("saddles", "rises", 0.1), ("saddles", "fewer", 0.1),
    ("merged", "zero", 1e-6), ("merged", "zero loss", 1e-6), ("merged", "best", 1e-6), ("merged", "best loss", 1e-6),
    ("merged", "between", 0.0), ("merged", "half", 1.2), ("merged", "abrupt", 2.0), ("merged", "plateaus", 1),
    ("merged", "end", 0.1), ("merged", "rises", 0.1), ("merged", "half", np.nan),
    ("time-courses", "merged off 1", 0.02), ("time-courses", "merged off 0.5", 0.001),
    ("time-courses", "merged shape 1", 0.1),
    ("time-courses", "merged end 1", 0.5), ("time-courses", "separate off 1", 0.02),
    ("time-courses", "separate off 0.5", 0.002),
    ("time-courses", "separate shape 1", 0.1), ("time-courses", "separate end 1", 1.1),
    ("time-courses", "separate half 1", 1.1),
    ("conservation", "merged", 1e-6), ("conservation", "value", 1e-6), ("conservation", "ranks", 1e-6),
    ("conservation", "softmax value", 0.0), ("conservation", "softmax ranks", 1e-6), ("conservation", "drift merged", 0.9),
    ("conservation", "order merged", 0.3), ("conservation", "order value", 1.0), ("conservation", "order ranks", 0.01),
    ("conservation", "drift value", 0.9), ("conservation", "drift ranks", 0.9),
    ("classifier", "diagonal", 2.0), ("classifier", "rest", 5.0), ("classifier", "same", 1e-6), ("classifier", "left", 0.1),
    ("classifier", "trace", 1.2), ("classifier", "noise", 1.2), ("classifier", "convex", 1.0), ("classifier", "blind", 0.9),
]  # fmt: skip


@pytest.mark.parametrize(("name", "key", "value"), WRONG)
def test_claims_fail_on_what_is_wrong(name, key, value):
    failed = [claim for claim in assembled(name, RIGHT[name] | {key: value}).claims if not claim.holds]
    assert len(failed) == 1 + (key in ("merged off 1", "separate off 1") or (name, key) == ("saddles", "plateaus"))


def test_every_number_that_is_measured_is_claimed():
    assert {(name, key) for name, one in RIGHT.items() for key in one} - {(name, key) for name, key, _ in WRONG} == {
        ("classifier", "memory")
    }


def test_claims_depend_on_settings():
    large = assembled("classifier", RIGHT["classifier"] | {"memory": 0.5}, d=120)
    assert [claim.claim for claim in large.claims if not claim.holds] == [
        "W = I memorises 4 contexts with flipped labels: in-context accuracy"
    ]
    slower = assembled("classifier", RIGHT["classifier"] | {"left": 0.3, "same": 1.0}, learning_rate=1e-6)
    assert all(claim.holds for claim in slower.claims) and not any("(b)" in claim.claim for claim in slower.claims)
    few = assembled("saddles", RIGHT["saddles"], heads=2)
    assert [condition.holds for condition in few.conditions] == [True, True, False, None]
    assert len(assembled("merged", RIGHT["merged"], D=1).claims) == len(assembled("merged", RIGHT["merged"]).claims) - 1


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("saddles", {"init": 1e-5}, "Raise init"), ("saddles", {"D": 13}, "D is 13"), ("saddles", {"init": 0.0}, "init is 0"),
        ("merged", {"init": 0.1}, "small weights"), ("merged", {"learning_rate": 1e-9}, "Raise learning_rate"),
        ("time-courses", {"v_0": 5.0}, "v_0 is 5"), ("time-courses", {"w_0": 3.0}, "Lower it"),
        ("time-courses", {"step": 1e-7}, "Raise step"), ("time-courses", {"step": 0.5}, "step is 0.5"),
        ("conservation", {"rank": 0}, "rank is 0"), ("conservation", {"learning_rate": 1.0}, "learning_rate is 1"),
        ("classifier", {"d": 1}, "d is 1"), ("classifier", {"learning_rate": 1e9}, "learning_rate"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(name, options, says):
    with pytest.raises(ValueError, match=says):
        THEOREMS[name].chosen(options, False)


@pytest.mark.parametrize("name", ["merged", "conservation"])
def test_rough_runs_hold(name):
    [(_, found)] = execute([THEOREMS[name]], [0], quick=True)
    assert all(claim.holds for claim in found.claims), report(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["saddles", "time-courses", "classifier"])
def test_slower_rough_runs_hold(name):
    [(_, found)] = execute([THEOREMS[name]], [0, 1], quick=True)
    assert all(claim.holds for claim in found.claims), report(found)


def test_a_measurement_has_what_is_claimed():
    """Names of what is measured are those of the data made up above."""
    for name in ("merged", "conservation"):
        experiment = THEOREMS[name]
        assert set(experiment.measure(experiment.chosen(None, True), 1, {})) == set(RIGHT[name])
