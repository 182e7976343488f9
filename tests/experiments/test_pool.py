"""Workers that the system ends: their work is done again, and what is lost all the same is named."""

import os
import signal
import warnings
from functools import partial
from pathlib import Path

import pytest

from nlicl.experiments.claims import Claim
from nlicl.experiments.experiment import Experiment, execute, no_runs
from nlicl.experiments.pool import WorkerLost, workers
from nlicl.experiments.theorem import Theorem


def killed(times, folder, seed):
    """The seed; but the process is ended the first few times that seed 2 is asked for."""
    before = len(list(Path(folder).iterdir()))
    if seed == 2 and before < times:
        (Path(folder) / str(before)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return seed


def measure(options, seed, runs):
    return {"seed": killed(options["times"], options["folder"], seed)}


def assembled(options, seeds, found):
    return Theorem("9", "", {}, seeds, [], [Claim(str([one["seed"] for one in found]), "", "", True)])


def experiment(times, folder):
    return Experiment("9", "", no_runs, measure, assembled, {"times": times, "folder": str(folder)})


@pytest.mark.slow
@pytest.mark.parametrize(("times", "how"), [(1, ""), (2, ", one after the other")])
def test_work_of_a_worker_that_was_ended_is_done_again(times, how, tmp_path):
    said = []
    results = list(execute([experiment(times, tmp_path)], range(4), jobs=2, tell=said.append))
    assert results[0][1].claims[0].claim == "[0, 1, 2, 3]" and len(list(tmp_path.iterdir())) == times
    assert len(said) == 1 and said[0].startswith("a worker process was ended from outside") and "seed 2 of 9" in said[0]
    assert f"done again{how}:" in said[0]


@pytest.mark.slow
def test_what_is_lost_again_and_again_is_named(tmp_path):
    done = []
    with pytest.raises(WorkerLost, match="seed 2 of 9 is lost: a process was ended from outside, and again"):
        list(execute([experiment(9, tmp_path)], range(4), jobs=2, tell=done.append))
    assert len(list(tmp_path.iterdir())) == 3  # not without end


@pytest.mark.slow
def test_without_a_listener_it_is_a_warning(tmp_path):
    with warnings.catch_warnings(record=True) as seen, workers(2) as submit:
        warnings.simplefilter("always")
        calls = [submit(f"call {n}", partial(killed, 1, str(tmp_path)), n) for n in range(3)]
        assert [call() for call in calls] == [0, 1, 2]
    assert [str(warning.message) for warning in seen if "call 2" in str(warning.message)]


@pytest.mark.slow
def test_a_worker_ended_while_nothing_is_asked_of_it(tmp_path):
    with workers(2, tell=lambda text: None) as submit:
        pid = submit("the first", os.getpid)()
        os.kill(pid, signal.SIGKILL)
        assert [call() for call in [submit(f"call {n}", abs, -n) for n in range(20)]] == list(range(20))


def test_the_command_goes_on(tmp_path, run, monkeypatch):
    monkeypatch.setattr("nlicl.experiments.registry.theorems", lambda paper: {"9": experiment(1, tmp_path)})
    status, out, err = run("theorem", "li2024:9", "--seeds", 3, "--jobs", 2)
    assert status == 0 and "Every claim holds." in out
    assert (
        err.startswith("nlicl: a worker process was ended from outside")
        and "seed 2 of 9" in err
        and err.count("\n") == 1
    )


@pytest.mark.slow
def test_the_command_names_what_is_lost(tmp_path, run, monkeypatch):
    monkeypatch.setattr("nlicl.experiments.registry.theorems", lambda paper: {"9": experiment(9, tmp_path)})
    status, out, err = run("theorem", "li2024:9", "--seeds", 3, "--jobs", 2)
    assert (status, out) == (2, "") and err.splitlines()[-1].startswith("nlicl: seed 2 of 9 is lost: ")
    assert err.count("\n") <= 2
