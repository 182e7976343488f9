"""The theorems of the second paper: they hold, their claims can fail, and settings that promise nothing are refused."""

import numpy as np
import pytest

from nlicl.experiment import execute
from nlicl.theorems.huang2023 import THEOREMS, convergence


def result(name, **options):
    return next(execute([THEOREMS[name]], [0, 1], options=options or None, jobs=1))[1]


@pytest.mark.parametrize("name", THEOREMS)
def test_it_holds(name):
    theorem = result(name)
    assert theorem.ok, str(theorem)
    assert all(condition.holds is not False for condition in theorem.conditions)
    assert "[paper]" in theorem.statement and "[recalled]" in theorem.statement


def test_another_instance():
    theorem = result("imbalanced", K=15, p_1=0.8, length=900, learning_rate=3.0)
    assert theorem.ok, str(theorem)


WORSE = {
    "balanced T_2": ("over T\\*", 1e4),
    "balanced T_1": ("phase I:", 1e4),
    "balanced loss above floor": ("L - L", 0.02),
    "balanced exponent T_1": ("exponent", 1.5),
    "balanced share": ("share of prompts", 0.9),
    "balanced loss rises": ("rise of the loss", 1e-3),
    "balanced A falls": ("fall of A_k", 1e-3),
    "balanced sum": ("sum_n B", 1e-3),
    "dominant T_dom": ("dominant query: steps", 1e3),
    "T_dom 1000": ("does not depend on K", 1e3),
    "dominant loss above floor": ("L_1 - L_1", 0.02),
    "under-represented T_2": ("four phases", 1e3),
    "under-represented T_4": ("over T_k", 1e5),
    "under-represented loss above floor": ("L_k - L_k", 0.02),
    "under-represented exponent T_1": ("exponent of T_1", 1.5),
    "under-represented exponent T_2": ("exponent of T_2", 1.5),
    "under-represented share": ("under-represented: share", 0.9),
}


@pytest.mark.parametrize("what", WORSE)
def test_a_claim_fails_where_it_should(what):
    name = "balanced" if what.startswith("balanced") else "imbalanced"
    experiment = THEOREMS[name]
    options = {**experiment.options, "quick": False}
    found = experiment.measure(options, 0, {})
    assert experiment.assemble(options, [0], [found]).ok
    claim, value = WORSE[what]
    claims = experiment.assemble(options, [0], [{**found, what: value}]).claims
    failed = [one.claim for one in claims if not one.holds]
    assert any(claim.replace("\\", "") in one for one in failed), failed


def test_never_is_no_pass():
    """A phase that does not end has the time nan, which no bound holds for."""
    experiment = THEOREMS["imbalanced"]
    options = {**experiment.options, "quick": False}
    found = experiment.measure(options, 0, {}) | {"under-represented T_4": np.nan}
    assert not experiment.assemble(options, [0], [found]).ok


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("balanced", {"length": 20}, "length is 20: .* at least 135"),
        ("imbalanced", {"length": 200}, "length is 200: .* out of reach or nearly"),
        ("imbalanced", {"p_1": 0.01}, "p_1 is 0.01; expected a finite number between 1/K and 1"),
        ("balanced", {"learning_rate": 1000}, "learning_rate is 1000; expected .* at most 6.49/max p = 129.8"),
        ("balanced", {"eps": 0}, "eps is 0"),
        ("balanced", {"K": 2}, "K is 2"),
        ("balanced", {"p_1": 0.5}, "balanced has no setting 'p_1'"),
    ],
)
def test_settings_that_promise_nothing_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        result(name, **options)


def test_the_command_line(run, tmp_path):
    status, out, _ = run("theorem", "huang2023:balanced", "--seeds", 1, "--jobs", 1, "--json", tmp_path / "out.json")
    assert status == 0 and "9 of 9 claims hold" in out and (tmp_path / "out.json").exists()
    assert convergence.BALANCED.title in run("papers")[1]
