"""Ctrl-C and SIGTERM as a user of the command line meets them: one line, exit status 130 or 143, and what was done is kept."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from child import ROOT

import nlicl
from nlicl.core.interruption import Interrupted
from nlicl.training import descent

SMALL = ["--set", "M1=4", "--set", "M2=3", "--set", "d_X=8", "--set", "d_Y=3", "--set", "m=7", "--set", "length=5",
         "--set", "batch=6"]  # fmt: skip


STEP_BY_STEP = ["--set", "optimizer=adam"]  # by SGD, compiled code makes many


def interrupted(monkeypatch, at, error):
    """Raise `error` in the step after so many."""
    usual, calls = descent.step_of, []

    def step_of(*arguments):
        calls.append(1)
        if len(calls) > at:
            raise error
        return usual(*arguments)

    monkeypatch.setattr(descent, "step_of", step_of)


def of_numba():
    error = SystemError("CPUDispatcher(<function merge>) returned a result with an exception set")
    error.__cause__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize(
    ("error", "expected"), [(KeyboardInterrupt(), 130), (of_numba(), 130), (Interrupted(signal.SIGTERM), 143)]
)
def test_a_run_that_is_interrupted_says_how_to_go_on(run, monkeypatch, tmp_path, error, expected):
    interrupted(monkeypatch, 3, error)
    status, out, err = run("train", "li2024", *SMALL, *STEP_BY_STEP, "--steps", 9, "--out", tmp_path / "run")
    assert (status, out) == (expected, "")
    assert err == f"nlicl: interrupted; the steps made are stored; continue with --resume {tmp_path / 'run'}\n"
    monkeypatch.undo()
    assert nlicl.load_run(tmp_path / "run").step == 3
    assert run("train", "li2024", "--resume", tmp_path / "run")[0] == 0
    assert nlicl.load_run(tmp_path / "run").step == 9


def test_what_is_not_kept_is_not_said_to_be(run, monkeypatch, tmp_path):
    interrupted(monkeypatch, 3, of_numba())
    assert run("train", "li2024", *SMALL, *STEP_BY_STEP, "--steps", 9) == (130, "", "nlicl: interrupted\n")
    monkeypatch.setattr(
        "nlicl.papers.li2024.Problem.initialize", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    arguments = ("train", "li2024", *SMALL, "--steps", 9, "--out", tmp_path / "run")
    assert run(*arguments) == (130, "", "nlicl: interrupted\n") and not list(tmp_path.iterdir())


def test_any_command_that_compiled_code_breaks_off_is_interrupted(run, monkeypatch):
    monkeypatch.setattr("nlicl.doctor.examine", lambda: (_ for _ in ()).throw(of_numba()))
    assert run("doctor") == (130, "", "nlicl: interrupted\n")


def begun(*arguments):
    """A process of the command line; Ctrl-C is not ignored there, as in a shell's background."""
    return subprocess.Popen(
        [sys.executable, "-m", "nlicl", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.skipif(os.name == "nt", reason="no such signals there")
def test_sigterm_keeps_the_run(tmp_path):
    folder = tmp_path / "run"
    process = begun("train", "li2024", *SMALL, "--steps", 10**6, "--set", "checkpoint=5", "--out", folder)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoint.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert err == f"nlicl: interrupted; the steps made are stored; continue with --resume {folder}\n"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.npz", "history.csv"]


def sees_to_signals(process):
    """Whether a process handles SIGTERM, which Python alone does not."""
    caught = re.search(r"^SigCgt:\t(\w+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    return int(caught[1], 16) >> (signal.SIGTERM - 1) & 1


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no telling when a process sees to its signals")
@pytest.mark.parametrize(
    ("arguments", "times"),
    [(("train", "li2024", *SMALL, "--steps", 10**6, "--set", "checkpoint=5"), 8), (("audit", "li2024", "--draws", 10**4), 3),
     (("theorem", "li2024:3.4", "--seeds", 99, "--jobs", 2), 3)],
    ids=["train", "audit", "theorem"],
)  # fmt: skip
def test_ctrl_c_at_any_moment_is_one_line(arguments, times, tmp_path):
    """From the time when Python itself has started: while nlicl is imported, while it works, while it writes."""
    rng = random.Random(0)
    out = ("--out", tmp_path / "run") if arguments[0] == "train" else ()
    for _ in range(times):
        process = begun(*arguments, *out)
        while not sees_to_signals(process):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 3))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130 and err.startswith("nlicl: interrupted") and err.count("\n") == 1, err
        if (tmp_path / "run").exists():
            assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoint.npz", "history.csv"]
            shutil.rmtree(tmp_path / "run")  # the next one may be interrupted before there is anything to keep


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no such signals there")
@pytest.mark.parametrize("jobs", [(), ("--jobs", 2)], ids=["threads", "processes"])
def test_ctrl_c_in_a_sweep_keeps_what_was_done(jobs, tmp_path):
    folder = tmp_path / "sweep"
    over = (
        "--over",
        "alpha=0.3:1:30",
        "--seeds",
        999,
        "--measure",
        "training_loss",
        "--set",
        "m=8",
        "--set",
        "batch=16",
    )
    process = begun("sweep", "li2024", *over, *jobs, "--out", folder)
    deadline = time.monotonic() + 120
    while not list(folder.glob("records/*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "nlicl: interrupted; finished runs are stored; the same command continues\n"
    kept = len((folder / "table.csv").read_text().splitlines()) - 1
    assert 0 < kept < 999 * 30
