"""Theorems as experiments: what they promise is refused or tested, right data pass, wrong data and wrong models do not."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from of_nlicl import EXPECTED

from nlicl.core.files import to_json
from nlicl.experiments.claims import every
from nlicl.experiments.experiment import Training, execute
from nlicl.experiments.li2024.figures.training import EIGHTEEN, SIX
from nlicl.experiments.li2024.theorems import generalization, identities, mechanism, setting
from nlicl.experiments.li2024.theorems import pruning as theorem_3_7
from nlicl.experiments.registry import theorems as load
from nlicl.experiments.theorem import Condition, Theorem, report
from nlicl.papers import li2024
from nlicl.papers.li2024 import pruning

THEOREMS = load("li2024")
SEEDS = [0, 1]


def options(number, **given):
    return {**THEOREMS[number].options, "quick": False, **given}


# ---------------------------------------------------------------- settings


def test_there_is_one_for_each_numbered_statement():
    assert list(THEOREMS) == ["3.3", "3.4", "3.7", "4.1", "4.3", "4.4", "identities"]
    for number, experiment in THEOREMS.items():
        assert experiment.name == number and len(experiment.title) < 90
        experiment.check(options(number))


@pytest.mark.parametrize("number", THEOREMS)
def test_runs_at_the_defaults_are_those_of_the_figures(number):
    main = Training(li2024.sibling) if number == "3.4" else Training(SIX)
    runs = THEOREMS[number].runs(options(number))
    assert next(iter(runs.values())) == main
    if "many" in runs or "more tasks" in runs:
        assert Training(EIGHTEEN) in runs.values()


def test_T_and_B_come_from_the_theorem():
    default = setting.problem(options("3.3"))
    assert default == li2024.Problem() and default.steps == 400
    assert setting.problem(options("3.3", alpha=0.1)).steps == 400 * 4  # 8^(2/3)
    assert setting.problem(options("3.3", learning_rate=0.5)).steps == 800
    assert setting.problem(options("3.3", steps=77)).steps == 77
    assert setting.problem(options("3.3", eps=0.1)).batch == 256  # above 179.2
    assert setting.problem(options("3.3", eps=0.05)).batch == 717  # 716.7 is the condition
    assert setting.problem(options("3.3", M1=5)).training_tasks == li2024.cyclic_tasks(5)
    assert setting.problem(options("3.4"), li2024.sibling) == li2024.sibling


REFUSED = [
    ("3.3", {"K": -0.1}, "K is -0.1; expected a finite number at least 0"),
    ("3.3", {"K": 0.7}, r"K is 0.7; Theorem 3.3 speaks of kappa ~ U\(-K, K\) with K <= 1/2 in domain \[recalled\]"),
    ("3.3", {"alpha": 0}, r"alpha is 0; expected a finite number in \(0, 1\]"),
    ("3.3", {"alpha": 1.2}, r"alpha is 1.2; expected a finite number in \(0, 1\]"),
    ("3.3", {"M1": 1}, "M1 is 1; expected at least 2"),
    ("3.3", {"M1": 2, "alpha": 1.0}, r"M1 is 2; Theorem 3.3 is about tasks not trained on"),
    ("3.3", {"M1": 8}, r"M1 \+ M2 = 8 \+ 24 patterns do not fit orthogonally into d_X = 30"),
    ("3.3", {"learning_rate": 2.0}, r"learning_rate is 2.0; Theorem 3.3 asks for eta <= 1 \[paper\]"),
    ("3.3", {"eps": 0}, r"eps is 0; expected a finite number in \(0, 1\)"),
    ("3.3", {"eps": "small"}, r"eps is 'small'; expected a number in \(0, 1\)"),
    ("3.3", {"alpha_test": 2}, r"alpha_test, length_test: alpha is 2; expected a finite number in \(0, 1\]"),
    ("3.3", {"alpha_test": 0.1, "length_test": 9}, r"length_test is 9; Theorem 3.3 asks for l_ts >= 1/alpha' = 10"),
    ("3.3", {"length": 2.5}, "length is 2.5; expected an integer"),
    ("3.4", {"S_1": 0.9}, r"S_1 is 0.9; Theorem 3.4 promises a small error for S_1 >= 1 only \[paper\]"),
    ("3.4", {"S_1": (1.2, 0.5)}, "S_1 is 0.5; Theorem 3.4 promises"),
    ("3.4", {"S_1": 1.5}, r"S_1 is 1.5; expected a finite number at most sqrt\(2\) = 1.4142 in absolute value"),
    ("3.4", {"K_test": -1}, r"out of domain \(S_1, K_test, M1_test\): K is -1; expected a finite number at least 0"),
    ("3.4", {"M1_test": 4}, "M1' = 4 ODR patterns need 8 IDR patterns in disjoint pairs; there are 6"),
    ("3.4", {"M1_test": 2}, "alpha_test, length_test: alpha is 0.8 with M1 = 2"),
    ("3.7", {"S_1": 0.5}, "S_1 is 0.5; Theorem 3.7 promises"),
    ("3.7", {"S_1": (1.0, 1.1)}, r"S_1 is \(1.0, 1.1\); expected one number"),
    ("4.3", {"M1": 3, "M2": 20}, "M1 is 3; the tests out of domain need two ODR patterns"),
    ("4.4", {"K": 1.0}, "K is 1.0; the analysis of the mechanism speaks of"),
    ("identities", {"beta": 0}, "beta is 0; expected a finite number greater than 0"),
]  # fmt: skip


@pytest.mark.parametrize(("number", "given", "message"), REFUSED)
def test_wrong_settings_are_refused_with_the_reason(number, given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        next(execute([THEOREMS[number]], [0], options=given, progress=lambda *_: pytest.fail("it began")))


def test_what_the_theorem_allows_is_not_refused():
    THEOREMS["3.3"].check(options("3.3", M1=8, M2=20, alpha=0.3, m=16, K=0.0, length=1, eps=0.5))
    THEOREMS["3.4"].check(options("3.4", S_1=1.0, K_test=3.0, alpha_test=0.05))
    THEOREMS["3.4"].check(options("3.4", M1_test=2, alpha_test=1.0))


# ---------------------------------------------------------------- claims on made-up data


def same(value, count):
    return np.full(count, float(value))


def shares(hinge, few, many):
    """Pruning curves whose hinge is `hinge`(R); with many tasks the first neurons cost nothing."""
    R = np.array(theorem_3_7.SHARES)
    curves = {"ood": hinge(R), "in": hinge(R), "more": np.maximum(hinge(R) - 0.25 * (1 - R), 0)}
    found = {f"{order}, {test}": curve for test, curve in curves.items() for order in theorem_3_7.ORDERS}
    extra = {"whole": few, "without small": few, "as many large": many, "0-1": 0.001, "0-1, last": 0.5}
    for test in curves:
        found |= {f"shares, {test}": R, f"margin, {test}": 1.3 if test == "more" else 1.1}
        found |= {f"{name}, {test}": value for name, value in extra.items()}
    return found


DOMAINS = [(W, domain, name) for W in ("W_Q", "W_K") for domain in ("in", "ood") for name in ("few", "many")]
PARTS = {"share": 0.9, "own": 1.5, "other": 0.8, "irrelevant": 0.1, "label": 0.0}
RIGHT = {
    "3.3": {
        "hinge": 0.003, "hinge, shortest": 0.001, "hinge, independent": 0.004, "hinge, shortest, independent": 0.7,
        "steps": 150.0, "steps, half alpha": 250.0, "both signs": True, "one task missing": 0.09,
        "one label a pattern": 1.0, "one context": 1.0, "few neurons": 0.001, "small batch": 0.002, "tiny batch": 0.5,
    },
    "3.4": {
        "hinge": same(0.002, 5), "hinge, shortest": same(0, 5), "hinge, wide": same(0.003, 5),
        "hinge, below": np.array([0.0003, 0.002, 0.03, 0.25, 0.53]), "error, below": same(0, 5),
        "firing": same(1, 5), "firing, below": same(1, 5), "steps": 180.0,
    },
    "3.7": {
        **shares(lambda R: R, 0.01, 0.2), "large": 0.85, "small over large": 0.18, "large, half m": 0.84,
        "large, double m": 0.86, "gap": 2.0, "small norm": 0.17, "large norm": 0.5, "growth of small": 1.0, "steps": 150.0,
    },
    "4.1": {
        **{f"{W} {part}, {domain}, {name}": value for W, domain, name in DOMAINS for part, value in PARTS.items()},
        **{f"{W} {part}, {domain}, {name}, start": {"own": 0.4}.get(part, value)
           for W, domain, name in DOMAINS for part, value in PARTS.items()},
        "steps": 150.0,
    },
    "4.3": {
        **{f"{test}, {name}": np.array([0.44, 0.95, 0.97]) for test in ("train", "unseen", "ood") for name in ("few", "many")},
        "steps": 150.0,
    },
    "4.4": {
        "lucky": 0.85, "lucky and large": 1.0, "lucky at T/2": 0.85, "lucky at T": 0.85, "feature angle": 0.12,
        "feature angle, worst": 0.3,
        "label angle, W": 0.05, "label angle, U": 0.05, "label over feature": 2.1, "unlucky": 1.0, "unlucky norm": 0.17,
        "lucky norm": 0.34, "steps": 150.0,
        **{f"{name}, {test}": value for test in ("in", "ood") for name, value in {
            "fires": 1.0, "fires for the other label": 0.01, "label of the sum": 1.0, "q of the sum": 0.9, "error": 0.0,
        }.items()},
    },
    "identities": {
        "W_K mu-bar": 1e-15, "mu-bar W_Q": 0.02, "zero block": 0.0, "label columns of W_K": 0.003,
        **{f"{W} at {t}": 1e-15 for W in ("W_Q", "W_K") for t in identities.EARLY}, "W_Q irrelevant": 0.001,
        "W_K irrelevant": 0.001, "balance": 1e-15,
    },
}  # fmt: skip


def assembled(number, wrong=None, **given):
    """The theorem for two seeds of right data, with `wrong` in place of some of the second one's."""
    right = RIGHT[number]
    return THEOREMS[number].assemble(options(number, **given), SEEDS, [right, {**right, **(wrong or {})}])


@pytest.mark.parametrize("number", THEOREMS)
def test_right_data_pass(number):
    theorem = assembled(number)
    assert theorem.ok, [claim.claim for claim in theorem.claims if not claim.holds]
    assert theorem.seeds == SEEDS and not any(condition.holds is False for condition in theorem.conditions)


def test_the_exponent_of_alpha_is_told_beside_the_theorems():
    claims = [generalization.exponent_of_alpha(np.array(p)) for p in ([0.8, 0.82], [0.6, 0.75], [0.8, np.nan])]
    assert [claim.holds for claim in claims] == [True, True, False]
    assert [claim.measured.rpartition(" ")[2] for claim in claims] == ["outside", "inside", "2"]


WRONG = [
    ("3.3", {"hinge": 0.2}, "hinge on unseen tasks, l_ts = 20"),
    ("3.3", {"hinge, shortest": 0.2}, "the same at the shortest l_ts the theorem allows, 2"),
    ("3.3", {"hinge, independent": 0.11}, "independent contexts instead"),
    ("3.3", {"steps": 250.0}, "training steps until hinge < eps"),
    ("3.3", {"steps": np.nan}, "training steps until hinge < eps"),
    ("3.3", {"one task missing": 0.003}, "Condition 3.2 broken, the last task left out"),
    ("3.3", {"one label a pattern": 0.003}, "Condition 3.2 broken, all patterns trained"),
    ("3.3", {"one context": 0.5}, "l_tr = 1: nothing can be learnt"),
    ("3.3", {"small batch": 0.5}, "(ii) is not necessary: B = 8"),
    ("3.3", {"few neurons": 0.5}, "m = 4: hinge at most eps where both signs occur"),
    ("3.3", {"both signs": False}, "m = 4: hinge at most eps where both signs occur"),
    ("3.4", {"hinge": np.array([0, 0, 0, 0, 0.2])}, "hinge out of domain, independent contexts, l_ts = 40"),
    ("3.4", {"hinge, shortest": same(0.2, 5)}, "at the shortest l_ts allowed, 2"),
    ("3.4", {"hinge, wide": same(0.2, 5)}, "kappa' ~ U(-2, 2)"),
    ("3.4", {"firing": same(0.9, 5)}, "lucky neurons stay active"),
    ("3.4", {"hinge, below": np.array([0.0003, 0.002, 0.03, 0.25, 0.3])}, "S_1 = -0.5, not promised"),
    ("3.4", {"hinge, below": np.array([0.0003, 0.002, 0.03, 0.1, 0.53])}, "S_1 = 0, not promised"),
    ("3.4", {"hinge, below": np.array([0.0003, 0.04, 0.03, 0.25, 0.53])}, "the hinge grows as S_1 falls"),
    ("3.4", {"hinge, below": np.array([0.2, 0.002, 0.03, 0.25, 0.53])}, "S_1 >= 1 is not necessary"),
    ("3.4", {"error, below": same(0.01, 5)}, "the 0-1 error does not rise"),
    ("3.7", {"large": 0.4}, "(1) "),
    ("3.7", {"large, half m": 0.4}, "(1) "),
    ("3.7", {"large, double m": 0.49}, "(1) "),
    ("3.7", {"large": 0.55}, "(1) a constant share: means over seeds, m = 32, 64, 128"),
    ("3.7", {"gap": np.nan}, "(1) large and small are apart"),
    ("3.7", {"gap": 1.1}, "(1) large and small are apart"),
    ("3.7", {"growth of small": 2.0}, "(1) small rows are as at the start"),
    ("3.7", {"without small, ood": 0.02}, "(2) removing all small neurons changes the hinge by, out of domain"),
    ("3.7", {"without small, in": 0.02}, "(2) the same on unseen tasks"),
    ("3.7", {"as many large, ood": 0.03}, "(2) as many of the largest instead"),
    ("3.7", {"largest first, ood": 0.6 * np.array(theorem_3_7.SHARES)}, "(3) largest first: hinge - (1 - (1 - R) mean zF), o"),
    ("3.7", {"margin, in": 0.9}, "(3) largest first: hinge - (1 - (1 - R) mean zF), unseen"),
    ("3.7", {"margin, more": 0.9}, "(3) largest first: hinge - (1 - (1 - R) mean zF), 18 training tasks"),
    ("3.7", {"random, ood": 0.2 * np.array(theorem_3_7.SHARES)}, "(3) any order: hinge / R, out of domain"),
    ("3.7", {"random, in": 0.2 * np.array(theorem_3_7.SHARES)}, "(3) any order: hinge / R, unseen tasks"),
    ("3.7", {"random, more": 0.4 * np.array(theorem_3_7.SHARES)}, "(3) any order: hinge / R, 18 training tasks"),
    ("3.7", {"0-1, ood": 0.1}, "0-1 error out of domain"),
    ("4.1", {"W_K share, in, few": 0.7}, "component along the pattern / norm, unseen tasks, 6 tasks"),
    ("4.1", {"W_Q share, ood, many": 0.7}, "component along the pattern / norm, out of domain, S_1 = 1.2, 18 tasks"),
    ("4.1", {"W_Q own, in, few": 0.5}, "growth of the component along the pattern"),
    ("4.1", {"W_K irrelevant, in, few": 0.2}, "growth of what lies on irrelevant patterns"),
    ("4.1", {"W_Q label, in, few": 1e-9}, "part of W_Q p_query on label coordinates"),
    ("4.3", {"train, few": np.array([0.44, 0.9, 0.94])}, "trained tasks, 6 of them, at T"),
    ("4.3", {"unseen, few": np.array([0.44, 0.9, 0.91])}, "unseen tasks, the same model"),
    ("4.3", {"unseen, many": np.array([0.44, 0.9, 0.95])}, "unseen tasks, 18 training tasks"),
    ("4.3", {"ood, many": np.array([0.44, 0.9, 0.95])}, "out of domain, 18 training tasks"),
    ("4.3", {"train, few": np.array([0.44, 0.98, 0.97])}, "1 - attention falls, steps 0, T/2, T: trained tasks, 6"),
    ("4.4", {"lucky": 0.5}, "share of lucky neurons"),
    ("4.4", {"lucky and large": 0.9}, "lucky and 'row above half the median norm' are the same"),
    ("4.4", {"lucky at T/2": 0.7}, "the sets are as large at T/2 as at T"),
    ("4.4", {"feature angle": 0.5}, "angle of the feature part to mu-bar"),
    ("4.4", {"label angle, W": 3.1}, "angle of the label part to +q"),
    ("4.4", {"label angle, U": np.nan}, "angle of the label part to -q"),
    ("4.4", {"label over feature": 0.9}, "the label part is the larger one"),
    ("4.4", {"unlucky": 3.0}, "unlucky neurons are as at the start"),
    ("4.4", {"fires, in": 0.5}, "4.5: lucky neurons fire on this share of prompts of their label"),
    ("4.4", {"fires, ood": 0.5}, "4.5: the same out of domain"),
    ("4.4", {"fires for the other label, in": 0.5}, "4.5: and on this share of the others"),
    ("4.4", {"label of the sum, in": 0.9}, "4.5: the label part of the weighted sum"),
    ("4.4", {"error, in": 0.1}, "4.5: the prediction is wrong, given a match"),
    ("4.4", {"error, ood": 0.1}, "4.5: the same out of domain"),
    ("identities", {"W_K mu-bar": 1e-6}, "1. drift of W_K [mu-bar; 0]"),
    ("identities", {"zero block": 1e-300}, "2. label columns of W_Q"),
    ("identities", {"W_K at 20": -1e-6}, "3. W_K at step 20"),
    ("identities", {"W_Q at 100": 0.1}, "3. W_Q at step 100"),
    ("identities", {"balance": 1e-9}, "4. balance of gradients"),
    ("identities", {"mu-bar W_Q": 0.0}, "not conserved: drift of mu-bar^T W_Q"),
    ("identities", {"label columns of W_K": 0.0}, "not conserved: label columns of W_K"),
]  # fmt: skip


@pytest.mark.parametrize(("number", "wrong", "claim"), WRONG)
def test_wrong_data_of_one_seed_fail_the_claim_they_are_about(number, wrong, claim):
    failed = [found.claim for found in assembled(number, wrong).claims if not found.holds]
    assert failed and all(found.startswith(claim) for found in failed)


def test_every_claim_can_fail():
    """Each claim of each theorem is failed by some case above, or by its twin on other data."""
    twins = ("component along", "1 - attention falls", "3. W_")
    for number in THEOREMS:
        cases = [claim for name, _, claim in WRONG if name == number]
        for claim in assembled(number).claims:
            assert any(claim.claim.startswith((case, *twins)) for case in cases), claim.claim


def test_conditions_say_what_they_come_to_and_leave_constants_undecided():
    rows = {row.condition.split()[0]: row for row in assembled("3.3", eps=0.2).conditions}
    assert rows["(i)"].here == "m = 64; M1^2 log M1 = 64.5" and rows["(i)"].holds is None
    assert rows["(ii)"].here == "B = 256; formula at eps = 0.2: 44.79" and rows["(ii)"].holds is None
    assert rows["Condition"].holds is True and rows["x"].holds is True
    assert rows["(iv)"].here == "T = 400 = 68.1 x 5.87, eta = 1; hinge below eps at step 150: C = 25.5"
    failed = assembled("3.3", {"steps": np.nan}).conditions[-1]
    assert failed.here.endswith("the hinge did not fall below eps in 1 of 2 seeds")


@pytest.mark.parametrize("number", THEOREMS)
def test_statements_and_conditions_carry_marks(number):
    """Nothing passes for the paper's that is not: every statement and condition says where it is from."""
    theorem = assembled(number)
    marks = ("[paper]", "[quoted]", "[recalled]", "[derived]", "[summary]", "[paper:")
    assert any(mark in theorem.statement for mark in marks)
    for condition in theorem.conditions:
        assert any(mark in condition.condition for mark in marks), condition.condition
    if number == "identities":
        assert "[paper]" not in theorem.statement
    assert theorem.statement == theorem.statement.strip() and "  " not in theorem.statement


# ---------------------------------------------------------------- the report


@pytest.mark.parametrize("number", THEOREMS)
def test_reports_fit_a_terminal(number):
    theorem = assembled(number)
    text = report(theorem)
    assert str(theorem) == text and text.isascii()
    assert all(len(line) <= 118 and line == line.rstrip() for line in text.splitlines())
    for part in (
        "condition  ",
        "prediction  ",
        "Settings: ",
        f"{len(theorem.claims)} of {len(theorem.claims)} claims hold",
    ):
        assert part in text
    assert "FAILS" not in text and "NO" not in text.split()
    json.loads(to_json(theorem.to_dict()))


def test_a_report_says_what_does_not_hold():
    theorem = Theorem(
        "Theorem 9.9",
        "Losses are small [derived].",
        {"M1": [6, "summary"], "S_1": [(1.0, 1.25), "set here"]},
        [3, 5],
        [Condition("c", "here", False), Condition("d", "there", None)],
        [every("small", [1.0, 2.0], high=1.5), every("large", [1.0, np.nan], 0)],
        ["a note"],
    )
    text = report(theorem)
    assert not theorem.ok and text.startswith("Theorem 9.9\n===========\n\nLosses are small [derived].\n\n")
    assert [line.split() for line in text.splitlines() if line[:2] in ("c ", "d ")] == [
        ["c", "here", "NO"],
        ["d", "there", "?"],
    ]
    assert text.count("FAILS") == 2 and "- a note" in text and "S_1 (1, 1.25) [set here]" in text
    assert text.endswith("0 of 2 claims hold; 2 seeds: 3, 5.")
    assert "condition" not in report(replace(theorem, conditions=[])).replace("conditions", "")
    json.loads(to_json(replace(theorem, seeds=list(range(10))).to_dict()))
    assert report(replace(theorem, seeds=list(range(10)))).endswith("10 seeds: 0-9.")


def test_a_paper_without_theorems():
    with pytest.raises(ValueError, match=re.escape(f"paper is 'li2025' (did you mean li2024?); {EXPECTED}")):
        load("li2025")


# ---------------------------------------------------------------- training and measuring

TINY = {"M1": 4, "M2": 3, "d_X": 8, "m": 8, "length": 5, "steps": 10, "learning_rate": 1.0}
TESTED = {"alpha_test": 1.0, "length_test": 6}


def tiny(number, seeds):
    given = TINY | {name: value for name, value in TESTED.items() if name in THEOREMS[number].options}
    given |= {"M1_test": 2} if "M1_test" in THEOREMS[number].options else {}
    return next(execute([THEOREMS[number]], seeds, options=given, quick=True))[1]


@pytest.mark.parametrize("number", THEOREMS)
def test_tiny_problems_run_to_a_report(number):
    """Untrained, so most claims fail; but everything is measured, without a warning."""
    theorem = tiny(number, [4])
    assert theorem.ok == (number == "identities") and len(report(theorem)) > 2000
    about_B = [row.here for row in theorem.conditions if row.condition.startswith("(ii)")]
    assert all(here.endswith("(quick run: not met)") for here in about_B)


def test_a_seed_is_measured_alike_alone_and_among_others():
    alone, among = tiny("4.4", [7]).claims, tiny("4.4", [4, 7]).claims
    assert len(alone) == len(among) > 10
    for one, two in zip(alone, among, strict=True):
        np.testing.assert_array_equal(one.values, two.values[1:])


def test_steps_are_counted_to_the_end_of_the_window():
    class Run:
        class history:
            loss = np.r_[np.ones(20), np.zeros(20)]

    assert setting.reached(Run, 0.45) == 26 and np.isnan(setting.reached(Run, -1))
    stop = setting.Below(0.45)
    assert not stop(Run.history.loss[:9] * 0) and not stop(Run.history.loss[:25]) and stop(Run.history.loss[:26])
    problem = li2024.Problem()
    assert setting.level(problem, 0.1) == pytest.approx(0.1 + 2 * 0.6**20)
    assert setting.level(replace(problem, alpha=0.2), 0.1) == pytest.approx(0.1 + 2 * 0.9**20)


def trained(tasks=None):
    """Theorem 3.3's quick run of seed 0, on these training tasks."""
    problem = setting.problem(options("3.3", quick=True))
    return setting.watched({"quick": True}, problem if tasks is None else replace(problem, training_tasks=tasks)).run(0)


@pytest.fixture(scope="module")
def good():
    return trained()


def failed(number, given, run):
    """Claims that fail where every run of the theorem is this one."""
    chosen = options(number, quick=True, **given)
    found = THEOREMS[number].measure(chosen, 0, dict.fromkeys(THEOREMS[number].runs(chosen), run))
    return [claim.claim for claim in THEOREMS[number].assemble(chosen, [0], [found]).claims if not claim.holds]


def test_a_model_trained_with_one_task_missing_is_noticed(good):
    bad = trained(li2024.cyclic_tasks(6)[:-1])
    promised = ("hinge on unseen", "the same at", "independent contexts")
    assert not [claim for claim in failed("3.3", {}, good) if claim.startswith(promised)]
    assert [claim for claim in failed("3.3", {}, bad) if claim.startswith("independent contexts")]
    assert not li2024.condition_3_2(good_tasks := li2024.cyclic_tasks(6), 6) and li2024.condition_3_2(
        good_tasks[:-1], 6
    )


def test_pruning_large_neurons_for_small_ones_is_noticed(good, monkeypatch):
    about = "(2) removing all small neurons"
    assert not [claim for claim in failed("3.7", {}, good) if claim.startswith(about)]
    backwards = pruning.order
    monkeypatch.setattr(pruning, "order", lambda params, how="magnitude": backwards(
        params, {"magnitude": "largest", "largest": "magnitude"}[how]
    ))  # fmt: skip
    assert [claim for claim in failed("3.7", {}, good) if claim.startswith(about)]


def test_an_untrained_model_has_no_mechanism(good):
    start = replace(good, params=li2024.Problem().initialize(seed=0))
    claims = failed("4.4", {}, start)
    assert any(claim.startswith("angle of the feature part") for claim in claims)
    assert any(claim.startswith("4.5: lucky neurons fire") for claim in claims)


def test_the_balance_of_gradients_notices_a_wrong_gradient(monkeypatch):
    problem = li2024.Problem(M1=3, M2=2, d_X=6, d_Y=3, m=8, length=5)
    params, prompts = problem.initialize(seed=1), problem.sample(16, seed=2)
    assert identities.balance(params, prompts) < 1e-12
    right = identities.loss_and_grad

    def wrong(*arguments):
        loss, d = right(*arguments)
        return loss, d._replace(W_K=1.0001 * d.W_K)

    monkeypatch.setattr(identities, "loss_and_grad", wrong)
    assert identities.balance(params, prompts) > 1e-5


def test_parts_of_a_projection_add_up():
    problem = li2024.Problem()
    params = problem.initialize(seed=0)
    prompts = problem.sample(20, seed=1)
    tokens, mu = prompts.dense().tokens[:, -1], problem.mu[prompts.relevant[:, -1]]
    W = params.W_Q + 0.1 * np.random.default_rng(0).standard_normal(params.W_Q.shape)
    for row in range(3):
        parts = mechanism.parts_of(W, tokens[row : row + 1], mu[row : row + 1], problem)
        norm = np.linalg.norm(W @ tokens[row])
        assert norm**2 == pytest.approx(sum(parts[name] ** 2 for name in ("own", "other", "irrelevant", "label")))
    start = mechanism.parts_of(params.W_Q, tokens, mu, problem)
    assert start["own"] == pytest.approx(0.4) and start["other"] == pytest.approx(0, abs=1e-7) and start["label"] == 0


def test_star_tasks_cover_all_patterns_but_not_all_labels():
    runs = generalization.runs_3_3(options("3.3"))
    star = runs["one label a pattern"].problem.training_tasks
    assert {j for task in star for j in task} == set(range(6)) and li2024.condition_3_2(star, 6)
    assert runs["one context"].problem.length == 1 and runs["half alpha"].problem.alpha == 0.4
