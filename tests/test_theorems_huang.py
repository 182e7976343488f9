"""The theorems of the second paper: they hold, their claims can fail, and settings that promise nothing are refused."""

import numpy as np
import pytest

from nlicl.experiment import execute
from nlicl.papers.huang2023 import population, reduced
from nlicl.theorems.huang2023 import THEOREMS, convergence


def result(name, **options):
    return next(execute([THEOREMS[name]], [0, 1], options=options or None, jobs=1))[1]


def measured(name):
    experiment = THEOREMS[name]
    options = {**experiment.options, "quick": False}
    return experiment, options, experiment.measure(options, 0, {})


@pytest.mark.parametrize("name", THEOREMS)
def test_it_holds(name):
    theorem = result(name)
    assert theorem.ok, str(theorem)
    assert all(condition.holds is not False for condition in theorem.conditions)
    assert "[paper]" in theorem.statement and "[recalled]" in theorem.statement
    assert all(mark == "set here" for _, mark in theorem.settings.values())


def test_another_instance():
    theorem = result("imbalanced", K=15, p_1=0.8, length=900, learning_rate=3.0)
    assert theorem.ok, str(theorem)


def test_what_is_measured_is_our_reference():
    _, _, found = measured("imbalanced")
    steps = [found[f"under-represented T_{j}"] for j in range(1, 5)]
    assert steps == [164, 175, 253, 740] and found["dominant T_dom"] == 25
    assert found["under-represented near"] < 740 and found["under-represented exponent T_3"] == pytest.approx(
        2, abs=0.005
    )
    _, _, found = measured("balanced")
    assert (found["balanced T_1"], found["balanced T_2"]) == (116, 368)


def test_the_share_is_that_of_the_scores():
    """A level between the two scores of N = 1 parts prompts with the feature from those without."""
    query = reduced.under_represented(5, 0.4, 3)
    source = population.enumerated([0.4, 0.15, 0.15, 0.15, 0.15], 3)
    weights = (2.0, -1.0, 0.1)
    S = np.tile([-1.0, 2.0, 0.1, 0.1, 0.1], (5, 1)).T
    missed = (1 - population.attention(S, source)[:, 1, 1]) ** 2
    for level in (0.01, 0.05, 0.3):
        exact = source.weights[missed <= level].sum()
        assert 0.01 < exact < 0.99
        assert convergence.share(query, weights, level, 0, 40_000) == pytest.approx(exact, abs=0.012)


WORSE = {
    "balanced T_2": ("over T^*", 1e5),
    "balanced near": ("until L - L^*", np.nan),
    "balanced T_1": ("phase I over", 1e4),
    "balanced loss above floor": ("L - L^* at T_2", 0.02),
    "balanced exponent T_1": ("exponent of T_1", 1.5),
    "balanced share": ("share of prompts", 0.9),
    "balanced loss rises": ("rise of the loss", 1e-3),
    "balanced A falls": ("fall of A_k", 1e-3),
    "balanced sum": ("sum_n B", 1e-3),
    "dominant T_dom": ("dominant query: steps to converge", 1e3),
    "dominant exponent T_dom": ("dominant query: exponent", 0.1),
    "dominant loss above floor": ("L_1 - L_1^* at", 0.02),
    "under-represented T_1": ("the dominant one is first", 20),
    "under-represented T_2": ("shortest of its four phases", 1e3),
    "under-represented T_3": ("length of phase III", 720),
    "under-represented T_4": ("over T_k", 1e5),
    "under-represented loss above floor": ("L_k - L_k^* at", 0.02),
    "under-represented exponent T_1": ("exponent of T_1", 2.1),
    "under-represented exponent T_2": ("exponent of T_2", 1.5),
    "under-represented share": ("under-represented query: share", 0.9),
}


@pytest.mark.parametrize("what", WORSE)
def test_a_claim_fails_where_it_should(what):
    experiment, options, found = measured("balanced" if what.startswith("balanced") else "imbalanced")
    assert experiment.assemble(options, [0], [found]).ok and what in found
    claim, value = WORSE[what]
    claims = experiment.assemble(options, [0], [{**found, what: value}]).claims
    failed = [one.claim for one in claims if not one.holds]
    assert any(claim in one for one in failed), failed


def test_never_is_no_pass():
    """A phase that does not end has the time nan, which no bound holds for."""
    experiment, options, found = measured("imbalanced")
    assert not experiment.assemble(options, [0], [found | {"under-represented T_4": np.nan}]).ok


def test_a_bound_that_is_too_small_is_said():
    """With C = .01 descent is given too few steps, and says so."""
    assert not result("balanced", C=0.01).ok


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("balanced", {"length": 20}, "length is 20: .* at least 180"),
        ("imbalanced", {"length": 200}, "length is 200: .* out of reach or nearly"),
        ("imbalanced", {"p_1": 0.01}, "p_1 is 0.01; expected a finite number between 1/K and 1"),
        ("balanced", {"learning_rate": 1000}, "learning_rate: eta is 1000 .* 6.49/max p = 129.8"),
        ("balanced", {"eps": 0}, "eps is 0"),
        ("balanced", {"C": 0}, "C is 0"),
        ("balanced", {"K": 2}, "K is 2"),
        ("balanced", {"p_1": 0.5}, "balanced has no setting 'p_1'"),
    ],
)
def test_settings_that_promise_nothing_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        result(name, **options)


def test_the_command_line(run, tmp_path):
    status, out, _ = run("theorem", "huang2023:balanced", "--seeds", 1, "--jobs", 1, "--json", tmp_path / "out.json")
    assert status == 0 and "11 of 11 claims hold" in out and (tmp_path / "out.json").exists()
    assert convergence.BALANCED.title in run("papers")[1]
