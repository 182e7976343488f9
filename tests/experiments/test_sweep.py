"""`nlicl.sweep` from end to end: the same table whoever makes the runs, in whatever order, resumed or not."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import nlicl
from nlicl.experiments.sweeps import run as runs
from nlicl.experiments.sweeps.store import Store
from nlicl.papers import li2024

SMALL = li2024.Problem(m=8, batch=16, steps=40, length=8, learning_rate=3.0, xi=0.1)
OVER = {"alpha": [1.0, 0.5], "learning_rate": [1e9, 3.0]}
MEASURE = ["steps until hinge_unseen < 0.99", "steps until training_loss over 3 < 0.99"]
ARGUMENTS = {"seeds": 3, "measure": MEASURE, "training": {"measure": 4}}


def table(**more):
    return nlicl.sweep(SMALL, OVER, **{**ARGUMENTS, **more})


@pytest.fixture(scope="module")
def reference():
    """The table, made in this process by one thread."""
    with ThreadPoolExecutor(1) as pool:
        return table(executor=pool)


def csv(found, folder):
    found.to_csv(folder / "check.csv")
    text = (folder / "check.csv").read_text()
    (folder / "check.csv").unlink()
    return text


def test_the_table(reference):
    assert (
        len(reference) == 12 and reference.names == ("alpha", "learning_rate") and reference.measures == tuple(MEASURE)
    )
    assert reference["alpha"].tolist() == [0.5] * 6 + [1.0] * 6 and reference["seed"].tolist() == [0, 1, 2] * 4
    diverged = reference["learning_rate"] == 1e9
    assert set(reference["state"][diverged]) == {"diverged"} and not reference.ok
    assert set(reference["state"][~diverged]) == {"done"} and np.isnan(reference[MEASURE[0]][diverged]).all()
    assert (reference[MEASURE[0]][~diverged] % 4 == 0).all()
    alone = nlicl.train(replace(SMALL, alpha=0.5), seed=1, measure=4).history
    assert reference[MEASURE[0]][1] == alone.steps[alone["hinge_unseen"] < 0.99][0]


def test_all_threads_and_any_grouping_come_to_the_same(reference, tmp_path):
    assert csv(table(), tmp_path) == csv(reference, tmp_path)
    one_by_one = nlicl.sweep(
        SMALL, [{"alpha": a, "learning_rate": r} for r in (3.0, 1e9) for a in (0.5, 1.0)], **ARGUMENTS
    )
    assert csv(one_by_one, tmp_path) == csv(reference, tmp_path)


def test_the_store_holds_the_same_table_and_makes_nothing_twice(reference, tmp_path, monkeypatch):
    found = table(out=tmp_path / "store")
    assert csv(found, tmp_path) == csv(reference, tmp_path) == (tmp_path / "store" / "table.csv").read_text()
    assert sorted(os.listdir(tmp_path / "store"))[:2] == ["records", "sweep.json"]
    assert [name for name in os.listdir(tmp_path / "store") if name.endswith(".csv")] == ["table.csv"]
    monkeypatch.setattr(runs, "opened", lambda *args, **options: pytest.fail("a run was made again"))
    assert csv(table(out=tmp_path / "store"), tmp_path) == csv(reference, tmp_path)
    assert len(table(out=tmp_path / "store", seeds=[2])) == 4  # what is asked for; the table in the folder has all
    assert (tmp_path / "store" / "table.csv").read_text() == csv(reference, tmp_path)


def test_a_sweep_grows(reference, tmp_path):
    nlicl.sweep(SMALL, {"alpha": [0.5], "learning_rate": [3.0]}, **ARGUMENTS, out=tmp_path / "store")
    made = []
    found = table(out=tmp_path / "store", progress=lambda done, total, text: made.append((done, total)))
    assert made[0] == (3, 12) and made[-1] == (12, 12)
    assert csv(found, tmp_path) == csv(reference, tmp_path)
    wider = nlicl.sweep(
        SMALL, {"alpha": [0.5, 1.0], "learning_rate": [3.0], "beta": [1.0, 2.0]}, **ARGUMENTS, out=tmp_path / "store"
    )
    assert len(wider) == 12
    whole = (tmp_path / "store" / "table.csv").read_text().splitlines()
    assert len(whole) == 1 + 12 + 6 and whole[0].startswith("alpha,learning_rate,beta,seed")  # beta was 2 before


def test_what_is_lost_of_a_store_is_made_again(reference, tmp_path):
    store = tmp_path / "store"
    table(out=store)
    whole = (store / "table.csv").read_text()
    for path in sorted((store / "records").iterdir())[::2]:
        path.unlink()
    (store / "table.csv").unlink()
    table(out=store)
    assert (store / "table.csv").read_text() == whole == csv(reference, tmp_path)


def test_an_interruption_keeps_what_was_done(reference, tmp_path):
    def interrupt(done, total, text):
        if done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table(out=tmp_path / "store", progress=interrupt)
    kept = len(Store.shown(tmp_path / "store").records())
    assert 2 <= kept < 12
    lines = (tmp_path / "store" / "table.csv").read_text().splitlines()
    assert len(lines) == 1 + kept and set(lines) <= set(csv(reference, tmp_path).splitlines())
    assert csv(table(out=tmp_path / "store"), tmp_path) == csv(reference, tmp_path)


def test_a_cell_that_failed_is_made_again(tmp_path, monkeypatch):
    from nlicl.experiments.sweeps import cell

    def no_memory(*args, **options):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(cell, "make_plan", no_memory)
        found = table(out=tmp_path / "store")
    assert {each.state for each in found} == {"failed"} and found[0].reason.startswith("MemoryError")
    assert {each.state for each in table(out=tmp_path / "store")} == {"done", "diverged"}


def test_two_sweeps_into_one_folder_at_once(reference, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(table, out=tmp_path / "store") for _ in range(2)]
    for each in both:
        assert csv(each.result(), tmp_path) == csv(reference, tmp_path)
    assert (tmp_path / "store" / "table.csv").read_text() == csv(reference, tmp_path)


def last_loss(run):
    return run.history.loss[-1]


def test_functions_measure_and_are_told_apart_in_a_store(tmp_path):
    found = nlicl.sweep(SMALL, {"alpha": [0.5]}, seeds=1, measure=last_loss, out=tmp_path)
    assert found["last_loss"] == nlicl.sweep(SMALL, {"alpha": [0.5]}, seeds=1, measure="training_loss")["training_loss"]
    with pytest.raises(
        TypeError, match="which a store does not tell from others; expected a function at the top level"
    ):
        nlicl.sweep(SMALL, {"alpha": [0.5]}, seeds=1, measure=lambda run: 1.0, out=tmp_path / "other")
    with pytest.raises(ValueError, match="the store of another sweep: the measure last_loss"):
        nlicl.sweep(SMALL, {"alpha": [0.5]}, seeds=1, measure="training_loss", out=tmp_path)


def test_a_bound_is_swept_over():
    found = nlicl.sweep(
        SMALL, {"eps": [0.999, 0.9]}, seeds=2, measure="steps until hinge_unseen < eps", training={"measure": 1}
    )
    assert found["eps"].tolist() == [0.9, 0.9, 0.999, 0.999]
    slow, fast = found.settings
    assert (slow.values(found.measures[0]) > fast.values(found.measures[0])).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"over": {"alpha": [2.0, 3.0]}}, "every setting is refused|alpha is 2.0"),
        ({"measure": "hinge"}, "measure names hinge, which is not measured"),
        ({"measure": "hinge_unseen at 41"}, "expected a step of at most 40"),
        ({"measure": "hinge_unseen", "training": {"measure": None}}, "expected it to be left out"),
        ({"training": {"alpha": 3}}, "training has no 'alpha'"),
        ({"over": {"steps": [3]}, "training": {"steps": 4}}, "training gives steps, which is swept over"),
        ({"measure": "steps until hinge_unseen < eps"}, "measure has the bound eps; expected a number, or a name"),
        ({"measure": "steps until hinge_unseen < alpha", "over": {"alpha": [1.0]}}, "which is a setting as well"),
        ({"jobs": 0}, "jobs is 0"),
        ({"jobs": 2, "executor": "local"}, "jobs and executor are both given"),
        ({"threads": 0}, "threads is 0"),
        ({"progress": 3}, "progress is 3; expected a function"),
        ({"executor": 3}, r"executor is 3; expected an object with submit\(f, \*args\)"),
        ({"out": ""}, "out is ''; expected the path of a folder"),
    ],
)
def test_what_cannot_be_swept_is_refused(arguments, said):
    over = arguments.pop("over", {"alpha": [0.5]})
    with pytest.raises((ValueError, TypeError), match=said):
        nlicl.sweep(SMALL, over, **{"seeds": 1, "measure": "training_loss", **arguments})


def test_out_is_no_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="which is a file"):
        table(out=tmp_path / "file")


def test_a_law_of_a_table():
    found = nlicl.sweep(
        replace(SMALL, steps=200),
        {"alpha": [0.3, 0.5, 0.7, 1.0]},
        seeds=3,
        measure="steps until training_loss over 5 < 0.8",
    )
    law = found.fit()
    assert -3 < law.exponents["alpha"].value < 0
    with pytest.raises(ValueError, match="expected one of"):
        found.fit("T")
    both = nlicl.sweep(SMALL, {"loss": ["hinge", "logistic"]}, seeds=1, measure=["training_loss", "hinge_unseen"])
    with pytest.raises(ValueError, match="measure is None, and there are several"):
        both.fit()
    with pytest.raises(TypeError, match="loss is swept over 'hinge'; expected numbers"):
        both.fit("hinge_unseen")


# ---- Killed


@pytest.mark.slow
def test_after_twenty_kills_at_random_the_table_is_the_same(tmp_path):
    command = [
        *(
            sys.executable,
            "-m",
            "nlicl",
            "sweep",
            "li2024",
            "--over",
            "alpha=0.3:1:24",
            "--seeds",
            "10",
            "--steps",
            "40",
        ),
        *("--set", "m=8", "--set", "batch=16", "--set", "learning_rate=3.0", "--set", "xi=0.1"),
        *("--measure", "steps until hinge_unseen < 0.9", "--set", "measure=4"),
    ]
    whole = subprocess.run([*command, "--out", str(tmp_path / "whole")], capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr
    rng = random.Random(0)
    killed = 0
    for number in range(20):
        jobs = ["--jobs", "2"] if number % 3 == 2 else []
        child = subprocess.Popen([*command, *jobs, "--out", str(tmp_path / "killed")], stdout=subprocess.DEVNULL)
        store = tmp_path / "killed" / "records"
        end = time.monotonic() + 60
        before = len(list(store.glob("*.jsonl"))) if store.is_dir() else 0
        while time.monotonic() < end and child.poll() is None:  # as soon as it has kept something more, or a bit later
            if store.is_dir() and len(list(store.glob("*.jsonl"))) > before:
                break
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
    last = subprocess.run([*command, "--out", str(tmp_path / "killed")], capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert killed > 5
    assert (tmp_path / "killed" / "table.csv").read_bytes() == (tmp_path / "whole" / "table.csv").read_bytes()
    assert math.isfinite(float((tmp_path / "whole" / "table.csv").read_text().splitlines()[1].split(",")[2]))
