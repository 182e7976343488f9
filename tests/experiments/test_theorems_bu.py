"""The theorems of the third paper: they hold, their claims can fail, and settings that promise nothing are refused."""

from dataclasses import replace

import numpy as np
import pytest

from nlicl.experiments.bu2024.theorems import THEOREMS, composition, convergence, setting
from nlicl.experiments.experiment import execute
from nlicl.experiments.theorem import report
from nlicl.papers import bu2024

SMALL = {name: getattr(bu2024.small, name) for name in setting.SIZES}


def result(name, seeds=(0, 1), **options):
    return next(execute([THEOREMS[name]], list(seeds), options=options or None, jobs=1))[1]


def test_convergence_holds():
    theorem = result("convergence")
    assert theorem.ok, str(theorem)
    assert all(condition.holds is not False for condition in theorem.conditions)
    assert "[content paper" in theorem.statement and "recalled" in theorem.statement
    assert len(report(theorem)) > 2000


@pytest.mark.slow
def test_composition_holds():
    theorem = result("composition", seeds=[1])
    assert [claim.holds for claim in theorem.claims if claim.holds is not True] == [None, None], str(theorem)


RIGHT = {
    "T": [300.0, 320.0, 280.0],
    "others": [[0.0, 0.96], [0.0, 0.96]],
    "T, eps/4": 340.0,
    "error": 0.0,
    "attention": 0.96,
    "loss at T": 0.65,
    "saddle": 0.0,
    "saddle, error": 0.5,
    "decay": 0.5,
    "escape": np.array([324.0, 440.0]),
    "escape, decay": np.array([np.inf, np.inf]),
}
WRONG = {
    "T": ("there is T*", [np.nan, 320.0, 280.0]),
    "error": ("0-1 error after", 0.06),
    "attention": ("weight then", 0.7),
    "loss at T": ("falls first", 0.2),
    "T, eps/4": ("from eps to eps/4", 700.0),
    "saddle": ("does not move", 1e-3),
    "decay": ("4 lambda*", 0.9),
}


@pytest.mark.parametrize("what", [None, *WRONG, 0, 1])
def test_each_claim_of_convergence_can_fail(what):
    found = dict(RIGHT)
    if isinstance(what, int):
        text = ("no requirement on L", "none on B")[what]
        found["others"] = [[0.5, 0.96] if i == what else [0.0, 0.96] for i in range(2)]
    elif what is not None:
        text, found[what] = WRONG[what]
    options = {**THEOREMS["convergence"].options, "quick": False}
    theorem = convergence.assemble(options, [0, 1], [RIGHT, found])
    failing = [claim.claim for claim in theorem.claims if not claim.holds]
    if what is None:
        assert not failing
    else:
        assert any(text in claim for claim in failing), (text, failing)


def right_answers():
    found = dict.fromkeys(composition.names(), 0.001)
    return found | {
        "home": 0.001, "flipped": 0.999, "new b": 0.45, "new b, attention": 0.53, "new d": 0.5, "b_1-b_2, d_1-d_2": 0.5,
        "bWb": 3.4, "escape": np.array([600.0, 500.0]),
    }  # fmt: skip


@pytest.mark.parametrize("name", [None, "home", "new b, attention", *composition.names()])
def test_each_claim_of_composition_can_fail(name):
    found = right_answers()
    if name is not None:
        found[name] = 0.02
    options = {**THEOREMS["composition"].options, "quick": False}
    worse = found if name in ("new d", "b_1-b_2, d_1-d_2") else right_answers()  # these are claimed of most seeds
    theorem = composition.assemble(options, [0, 1, 2], [right_answers(), worse, found])
    assert theorem.ok == (name is None)


# ---- Late seeds, broken conditions


def assembled(found, seeds=None, **more):
    options = {**THEOREMS["convergence"].options, "quick": False, **more}
    return convergence.assemble(options, seeds or list(range(len(found))), found)


def test_the_rule_is_that_of_the_recursion_and_is_late_for_seed_18():
    steps = setting.escape_steps(bu2024.small, 18)
    assert steps == pytest.approx([2044, 394], abs=1)
    assert np.isinf(setting.escape_steps(bu2024.small, 13)).any()
    assert np.isinf(setting.escape_steps(replace(bu2024.small, sigma_0=0.0), 0)).all()
    assert np.isinf(setting.escape_steps(replace(bu2024.small, match="at-least-one", length=1), 0)).all()
    heavy = replace(bu2024.small, weight_decay=1.0, learning_rate=None)
    assert np.isinf(setting.escape_steps(heavy, 0)).all()


def test_no_claim_is_made_of_a_late_seed_in_a_run():
    theorem = result("convergence", seeds=[18], steps=400)
    verdicts = [claim.holds for claim in theorem.claims]
    assert verdicts[:8] == [None] * 8 and verdicts[8:] == [True, True]
    assert "Late: 18 (step 2044)." in " ".join(theorem.notes) and not theorem.ok


LATE = RIGHT | {
    "T": [np.nan] * 3,
    "error": 0.24,
    "attention": 0.6,
    "loss at T": np.nan,
    "T, eps/4": np.nan,
    "escape": np.array([2044.0, 394.0]),
}


def test_late_seeds_are_listed_and_left_out():
    theorem = assembled([RIGHT, LATE, RIGHT], [4, 18, 5])
    assert theorem.ok, str(theorem)
    assert "each of the 2 early seeds" in theorem.claims[0].expected
    assert len(theorem.claims[0].values) == 2
    assert "early seeds, 2 of 3," in " ".join(theorem.notes) and "18 (step 2044)" in " ".join(theorem.notes)
    row = theorem.conditions[-1]
    assert "1 of 3 seeds late; delta = 0.05, T = 800" in row.here and row.holds is None


def test_seeds_without_a_time_are_named():
    theorem = assembled([RIGHT, RIGHT | {"T": [np.nan, 320.0, 280.0]}, LATE], [4, 7, 18])
    claim = next(claim for claim in theorem.claims if "there is T*" in claim.claim)
    assert claim.holds is False and claim.measured == "300; none for seed 7"


@pytest.mark.parametrize(
    ("late", "n", "verdict"), [(0, 1, None), (0, 10, None), (1, 10, None), (0, 80, True), (7, 30, False)]
)
def test_the_share_of_late_seeds_is_held_against_delta(late, n, verdict):
    escape = np.array([[300.0, 400.0]] * (n - late) + [[2044.0, 400.0]] * late)
    assert setting.late_condition(replace(bu2024.small, steps=800), escape).holds is verdict


@pytest.mark.parametrize("broken", [{"sigma_0": 0.01}, {"weight_decay": 1.0}])
@pytest.mark.parametrize("name", ["error", "attention", "decay"])
def test_under_a_broken_condition_a_claim_that_does_not_hold_is_undetermined(broken, name):
    bad = RIGHT | {name: 0.7 if name != "error" else 0.4}
    theorem = assembled([bad, bad], **broken)
    assert any(row.holds is False for row in theorem.conditions)
    assert [claim.holds for claim in theorem.claims if not claim.holds] == [None]
    assert all(row.holds in (True, False, None) for row in theorem.conditions)
    assert [claim.holds for claim in assembled([bad, bad]).claims if not claim.holds] == [False]


def test_a_control_that_escapes_or_starts_high_is_undetermined():
    bad = RIGHT | {"decay": 0.8}
    escaping = bad | {"escape, decay": np.array([300.0, np.inf])}
    assert assembled([escaping]).claims[-1].holds is None
    assert assembled([bad], steps=10).claims[-1].holds is None  # it starts at 0.67, and has not decayed
    assert assembled([bad]).claims[-1].holds is False


def test_few_steps_leave_no_seed_early():
    bad = RIGHT | {"attention": 0.896}
    theorem = assembled([bad, bad], steps=300)
    assert not any(claim.holds is False for claim in theorem.claims)
    assert theorem.claims[1].measured == "no early seed"


def test_composition_leaves_late_seeds_out_too():
    late = dict.fromkeys(composition.names(), 0.4) | {"home": 0.4, "escape": np.array([900.0, 500.0])}
    options = {**THEOREMS["composition"].options, "quick": False}
    found = [right_answers(), right_answers(), right_answers(), right_answers() | late]
    assert composition.assemble(options, [0, 1, 2, 3], found).ok
    alone = composition.assemble(options, [3], found[3:])
    assert all(claim.holds is None for claim in alone.claims)


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [([], None), ([0.5], None), ([0.5, 0.5, 0.0], True), ([0.0, 0.0, 0.5], None), ([0.0] * 10, False)],
)
def test_what_is_read_by_chance_fails_only_by_more_than_chance(errors, verdict):
    assert composition.seldom_small("", np.array(errors)).holds is verdict


def test_the_measured_step_is_that_from_which_on_it_stays():
    class Run:
        class history:
            steps = np.array([0, 10, 20, 30])
            error = np.array([0.5, 0.01, 0.2, 0.01])

            def __class_getitem__(cls, name):
                return cls.error

    assert convergence.reached(Run, 0.05) == 30 and convergence.reached(Run, 0.6) == 0
    assert np.isnan(convergence.reached(Run, 0.001))


def test_what_breaks_a_condition_is_said():
    conditions = {row.condition.partition(" ")[0]: row.holds for row in setting.conditions(bu2024.Problem())}
    assert conditions == {
        "initialisation": True,
        "lambda": True,
        "gamma": None,
        "noise": None,
        "network": None,
        "a": True,
    }
    broken = replace(bu2024.small, sigma_0=0.1, weight_decay=0.1, step_offset=10.0, learning_rate=None, match="iid")
    assert [row.holds for row in setting.conditions(broken)] == [False, False, False, None, None, False]
    assert setting.conditions(replace(bu2024.small, sigma_xi=0.0))[3].holds


@pytest.mark.parametrize("quick", [False, True])
def test_runs_are_the_variants(quick):
    runs = convergence.runs(SMALL | {"eps": 0.05, "quick": quick})
    problems = {name: run.problem for name, run in runs.items()}
    assert problems["longer"].length == 8 and problems["larger batches"].batch == 16
    assert problems["W_Q = W_K = 0"].sigma_0 == 0
    decay = problems["decay"]
    assert decay.learning_rate == pytest.approx(problems["main"].learning_rate)
    assert decay.weight_decay == pytest.approx(4 * 0.0604, rel=1e-3)
    assert len({hash(run) for run in runs.values()}) == 5  # equal ones would be made once


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("convergence", {"eps": 0.6}, "eps is 0.6; expected a finite number between 0 and 1/2"),
        ("convergence", {"match": "iid"}, "no parameters have an error below 2.-L = 0.0625"),
        ("convergence", {"sigma_0": 0.0}, "sigma_0 is 0: W_Q = W_K = 0 is a saddle"),
        ("convergence", {"weight_decay": 0.0}, "weight_decay is 0.0; expected a finite number greater than 0"),
        ("convergence", {"steps": 5}, "steps is 5; expected at least 10"),
        ("convergence", {"dictionary": 3}, "dictionary is 3"),
        ("composition", {"concepts": 3}, "concepts is 3; expected a problem of two"),
        ("composition", {"d_y": 5}, "d_y is 5"),
        ("composition", {"eps": 0.05, "match": "iid"}, "no parameters have an error below"),
    ],
)
def test_settings_that_promise_nothing_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        result(name, **options)
