"""Experiments: claims say what they mean, runs are shared, and neither seeds nor processes change a result."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from child import ROOT, python
from hypothesis import given
from hypothesis import strategies as st

from nlicl.core.errors import InvalidInput, InvalidType, InvalidValue
from nlicl.experiments.claims import all_hold, every, fact, if_promised, interval, located, mean_within
from nlicl.experiments.experiment import Experiment, Training, by_name, execute, no_runs
from nlicl.papers import li2024

SMALL = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, steps=8, learning_rate=0.7)


# ---------------------------------------------------------------- claims


def test_a_claim_about_every_seed():
    claim = every("it is small", [0.1, 0.2, 0.3], high=0.3)
    assert claim.holds and claim.expected == "at most 0.3 for every seed" and claim.values == [0.1, 0.2, 0.3]
    assert claim.measured == "0.1 to 0.3, mean 0.2"
    assert not every("it is small", [0.1, 0.31], high=0.3).holds
    assert not every("it is large", [0.1, 0.31], low=0.2).holds
    assert every("it is large", [0.5], low=0.2).expected == "at least 0.2 for every seed"
    assert not every("it is a number", [np.nan, 0.1], high=1).holds


def test_a_claim_about_the_mean():
    """Its whole 95% interval must lie inside: one seed proves nothing."""
    values = [0.9, 1.0, 1.1]
    mean, low, high = interval(values)
    assert mean == pytest.approx(1) and (low, high) == pytest.approx(
        (1 - 4.3027 * 0.1 / 3**0.5, 1 + 4.3027 * 0.1 / 3**0.5), rel=1e-4
    )
    assert mean_within("one", values, 0.7, 1.3).holds
    assert not mean_within("one", values, 0.8, 1.3).holds and not mean_within("one", values, 0.7, 1.2).holds
    assert not mean_within("one", [1.0], 0, 2).holds
    assert interval([3.0]) == (3.0, -np.inf, np.inf)
    assert mean_within("exactly", [1.0, 1.0], 1, 1).holds
    assert not fact("so it is", False, "no", "yes").holds


def test_a_claim_about_every_seed_says_in_how_many_it_fails_to_hold():
    assert every("one", [1.0, 2.0, 3.0], high=2).measured == "1 to 3, mean 2; so in 2 of 3"
    assert every("one", [1.0, np.nan]).measured == "not reached in 1 of 2; so in 1 of 2"
    assert every("one", [1.0, 2.0, 3.0], high=3).measured == "1 to 3, mean 2"


WHERE = [(0.5, "below all 3 seeds"), (4, "above all 3 seeds"), (2.5, "within this range")]


@pytest.mark.parametrize(("value", "where"), WHERE)
def test_a_claim_says_where_a_value_lies(value, where):
    claim = located(every("one", [1.0, 2.0, 3.0]), value, "theirs")
    assert claim.measured == f"1 to 3, mean 2; theirs lies {where}" and claim.holds
    assert located(every("one", [1.0, np.nan]), value, "theirs").measured.endswith("in 1 of 2")


def test_what_does_not_hold_and_is_not_promised_is_undetermined():
    good, bad = every("it is small", [0.1], high=1), every("it is small", [2.0], high=1)
    assert if_promised(good, False) is good and if_promised(bad, True) is bad
    unknown = if_promised(bad, False)
    assert unknown.holds is None and unknown.measured == bad.measured
    assert if_promised(unknown, False) == unknown
    assert [claim.verdict for claim in (good, bad, unknown)] == ["holds", "FAILS", "?"]
    assert all_hold([good, good]) and not all_hold([good, bad]) and not all_hold([good, unknown])


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6), st.floats(-5, 5))
def test_intervals_shift_with_their_values(values, shift):
    moved = interval(np.array(values) + shift)
    np.testing.assert_allclose(moved, np.array(interval(values)) + shift, atol=1e-9)


# ---------------------------------------------------------------- execution


def runs(options):
    return {"small": Training(replace(SMALL, alpha=options["alpha"]), steps=4 if options["quick"] else 8)}


def measure(options, seed, runs):
    return {"seed": seed, "last": runs["small"].history.loss[-1], "process": os.getpid()}


def assemble(options, seeds, found):
    assert [one["seed"] for one in found] == seeds
    return [one["last"] for one in found], {one["process"] for one in found}, options


def refuse(options):
    if options["alpha"] > 1:
        raise ValueError(f"alpha is {options['alpha']}; the theorem speaks of shares.")


ONE = Experiment("one", "the first", runs, measure, assemble, {"alpha": 0.8}, refuse)
TWO = Experiment("two", "the second", runs, measure, assemble, {"alpha": 0.8})


def test_runs_are_made_once_and_results_come_one_by_one():
    told = []
    results = execute([ONE, TWO], [0, 3], progress=lambda *line: told.append(line))
    first, (losses, processes, options) = next(results)
    assert first is ONE and options == {"alpha": 0.8, "quick": False} and processes == {os.getpid()}
    assert losses == [Training(SMALL).run(seed).history.loss[-1] for seed in (0, 3)]
    before = len(told)
    second, (again, _, _) = next(results)
    assert second is TWO and again == losses
    assert [text for _, _, text in told[before:]] == ["two", *["two: measuring"] * 2]  # nothing is trained again
    assert told[-1][:2] == (6, 6)


def test_quick_and_options_reach_the_experiment():
    [(_, (losses, _, options))] = execute([ONE], [1], quick=True, options={"alpha": 0.5})
    assert options == {"alpha": 0.5, "quick": True}
    assert losses == [Training(replace(SMALL, alpha=0.5), steps=4).run(1).history.loss[-1]]


def test_processes_do_not_change_results():
    environment = dict(os.environ)
    [(_, (alone, _, _))] = execute([ONE], [0, 1, 2])
    [(_, (shared, processes, _))] = execute([ONE], [0, 1, 2], jobs=2)
    assert shared == alone and os.getpid() not in processes
    assert dict(os.environ) == environment


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 1}, "one has no setting 'beta'; it has alpha"),
        ({"alpha": 2}, "alpha is 2; the theorem speaks of shares"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(options, message):
    with pytest.raises(ValueError, match=message):
        next(execute([ONE], [0], options=options, progress=lambda *_: pytest.fail("it began")))


def picky(options, seed, runs):
    raise InvalidValue(f"eps is {seed}; expected more.")


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_refused_while_measuring_keeps_its_type(jobs):
    """In a worker, too: a bug has another type, and is shown in another way."""
    with pytest.raises(InvalidValue, match=r"^eps is 3; expected more\.$"):
        list(execute([Experiment("picky", "refuses", no_runs, picky, assemble)], [3], jobs=jobs))


def test_two_experiments_of_one_name_are_refused():
    assert by_name([ONE, TWO, ONE]) == {"one": ONE, "two": TWO}
    with pytest.raises(InvalidValue, match="two experiments are called 'one'; expected another name for one of them"):
        by_name([ONE, TWO, replace(TWO, name="one")])


class Unhashable:
    """An optimizer with `__eq__` and no hash."""

    name, settings, init, update = "o", dict, dict, dict

    def __eq__(self, other):
        return True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"jobs": 0}, r"^jobs is 0; expected at least 1"),
        ({"jobs": -1}, r"^jobs is -1; expected at least 1"),
        ({"jobs": "2"}, r"^jobs is '2'; expected an integer"),
        ({"jobs": 1.5}, r"^jobs is 1.5; expected an integer"),
        ({"seeds": None}, r"^seeds is None; expected a list of integers"),
        ({"seeds": 5}, r"^seeds is 5; expected a list of integers"),
        ({"seeds": []}, r"^seeds is empty; expected at least one"),
        ({"seeds": [0, -1]}, r"^seed is -1; expected at least 0"),
        ({"options": 5}, r"^options is 5; expected a dict"),
        ({"experiments": 5}, r"^experiments is 5; expected a list of Experiment"),
        ({"experiments": [5]}, r"^experiments holds a int; expected Experiment"),
    ],
)
def test_arguments_of_another_kind_are_refused_before_any_work(arguments, message):
    given = {"experiments": [ONE], "seeds": [0], "progress": lambda *_: pytest.fail("it began")} | arguments
    with pytest.raises(InvalidInput, match=message):
        next(execute(**given))


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([1], r"^runs of the experiment e returns \[1\]; expected a dict of names to Training"),
        (None, r"^runs of the experiment e returns None; expected a dict"),
        ({"r": 5}, r"^runs of the experiment e says that 'r' is 5; expected a Training"),
        ({"r": Training(SMALL, measure=[1])}, r"names 'r', a Training with a field that has no hash .*'list'"),
        ({"r": Training(SMALL, optimizer=Unhashable())}, r"has no hash .*'Unhashable'"),
        (
            {"r": Training(SMALL, model="zz")},
            r"^model is 'zz'; expected one of 'gpt2', .*'regression', .*'transformer'",
        ),
    ],
)
def test_runs_that_are_none_are_refused_before_any_work(runs, message):
    experiment = Experiment("e", "e", lambda options: runs, measure, assemble)
    with pytest.raises(InvalidInput, match=message):
        next(execute([experiment], [0], progress=lambda *_: pytest.fail("it began")))


def test_what_cannot_be_sent_is_refused_before_any_work():
    """And with one process it need not be sent."""
    local = Experiment("e", "e", no_runs, lambda options, seed, runs: {"seed": seed}, lambda o, s, found: found)
    assert [found for _, found in execute([local], [7])] == [[{"seed": 7}]]
    until = replace(ONE, runs=lambda options: {"r": Training(SMALL, until=lambda run: True)}, check=None)
    for experiment, message in (
        (local, r"^measure of the experiment e is"),
        (until, r"^the run 'r' of the experiment one"),
    ):
        with pytest.raises(InvalidType, match=message + r".*cannot be sent to another process .*Or take jobs=1\."):
            next(execute([experiment], [0], jobs=2, progress=lambda *_: pytest.fail("it began")))


BY_HAND = """
from nlicl.models.model import register
from nlicl.models.transformer.steps import TRANSFORMER

class Twin:
    Params, losses, steps, definition = TRANSFORMER.Params, TRANSFORMER.losses, TRANSFORMER.steps, TRANSFORMER.definition
    name = "twin"
"""
USES = """
import sys
from nlicl.core.errors import InvalidValue
from nlicl.experiments.experiment import Experiment, Training, execute
from nlicl.papers import li2024
sys.path.insert(0, sys.argv[1])
import by_hand, measures

def main():
    if "twin" not in [model.name for model in by_hand.MODELS]:
        by_hand.register(by_hand.Twin())
    problem = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, steps=8, learning_rate=0.7)
    runs = lambda options: {"r": Training(problem, steps=3, measure=None, model="twin")}
    experiment = Experiment("e", "e", runs, measures.measure, lambda options, seeds, found: found)
    try:
        one, two = (list(execute([experiment], [0, 1], jobs=jobs)) for jobs in (1, 2))
        print(one == two, len(two[0][1]))
    except InvalidValue as error:
        print(error)

if __name__ == "__main__":
    main()
"""
MEASURES = """
def measure(options, seed, runs):
    return {"last": runs["r"].history.loss[-1]}
"""


@pytest.mark.slow
@pytest.mark.parametrize("registers", [True, False])
def test_a_model_registered_by_hand_is_known_in_other_processes(tmp_path, registers):
    """Where the module of its class registers it; otherwise one sentence says what to do."""
    end = "register(Twin())\n" if registers else ""
    (tmp_path / "by_hand.py").write_text(BY_HAND + "from nlicl.core.registry import MODELS\n" + end)
    (tmp_path / "measures.py").write_text(MEASURES)
    text = python(USES, str(tmp_path))
    if registers:
        assert text == "True 2"
    else:
        assert (
            text.startswith("model 'twin' was registered by hand") and "entry point of the group 'nlicl.models'" in text
        )


SLOW = """
import os, signal, time
from nlicl.experiments.experiment import Experiment, execute

def runs(options):
    return {}

def measure(options, seed, runs):
    os.write(1, b"%d " % os.getpid())
    time.sleep(300)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    list(execute([Experiment("slow", "slow", runs, measure, max)], [0, 1, 2], jobs=2))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_no_worker_outlives_the_work(tmp_path, name):
    """The signal reaches the parent alone, while its workers are busy for minutes."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    text = b""
    while text.count(b" ") < 2:
        chunk = os.read(parent.stdout.fileno(), 100)
        assert chunk, "it ended early"
        text += chunk
    parent.send_signal(getattr(signal, name))
    assert parent.wait(timeout=30) != 0
    parent.stdout.close()
    workers, deadline = [Path("/proc") / pid.decode() for pid in text.split()], time.monotonic() + 30
    while any(map(running, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(running, workers))


def running(process):
    """Whether it is there and no zombie, which an init process may leave for a while."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
