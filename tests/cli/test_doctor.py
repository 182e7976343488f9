"""`nlicl doctor`: what it finds, and what it says when something is not as it should be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nlicl
from nlicl import doctor
from nlicl.kernels import compile

ROOT = Path(nlicl.__file__).parents[1]


def findings(**environment):
    """What a fresh process finds under these environment variables: {what: (state, the rest of the line)}."""
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c",
         "from nlicl.doctor import examine\nfor f in examine(): print(*f, sep='|')"],
        capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.split("|") for line in done.stdout.splitlines()]
    return {what: (state, " -> ".join(rest)) for state, what, *rest in lines}


def test_here_all_is_well():
    found = doctor.examine()
    assert {finding.what for finding in found} >= {"nlicl", "python", "numpy", "numba", "threads", "cache", "BLAS", "CUDA",
                                                   "gradient"}  # fmt: skip
    assert all(finding.state in ("ok", "note", "PROBLEM") for finding in found)
    assert [finding for finding in found if finding.state == "PROBLEM"] == []
    assert all(finding.fix == "" for finding in found if finding.state == "ok")
    assert nlicl.__version__ in next(finding.found for finding in found if finding.what == "nlicl")


def test_what_is_not_ok_comes_with_a_way_to_mend_it(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    monkeypatch.setattr(compile, "THREADS", 10**6)
    found = [finding for finding in doctor.examine() if finding.state != "ok"]
    assert {"numpy", "numba", "scipy", "threads"} <= {finding.what for finding in found}
    assert all(finding.fix for finding in found)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that not even root can write to")
def test_a_cache_that_cannot_be_written():
    found = findings(NUMBA_CACHE_DIR="/proc/self/no-such-cache", NUMBA_DISABLE_JIT="1")
    state, text = found["cache"]
    assert state == "PROBLEM"
    assert "not kept" in text and "/proc/self/no-such-cache" in text
    assert "set NUMBA_CACHE_DIR to a writable folder" in text
    state, text = found["compiler"]  # the same process, for each costs seconds
    assert state == "note"
    assert "NUMBA_DISABLE_JIT" in text and "unset" in text
    assert found["gradient"][0] == "ok"


@pytest.mark.compiled
def test_a_cache_of_ones_own(tmp_path):
    found = findings(NUMBA_CACHE_DIR=str(tmp_path), NUMBA_DISABLE_JIT="1")
    assert found["cache"][0] == "ok"
    assert str(tmp_path) in found["cache"][1]


def test_too_many_threads(monkeypatch):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    monkeypatch.setattr(compile, "THREADS", cores + 1)
    threads = next(finding for finding in doctor.examine() if finding.what == "threads")
    assert threads.state == "note"
    assert threads.found.startswith(f"{cores + 1} on {cores} cores")
    assert f"NUMBA_NUM_THREADS={cores}" in threads.fix
    monkeypatch.setattr(compile, "THREADS", 1)
    assert next(finding for finding in doctor.examine() if finding.what == "threads").state == "ok"


@pytest.mark.parametrize(
    ("setting", "said"), [("1", "set by NUMBA_NUM_THREADS"), (None, "the default; NUMBA_NUM_THREADS sets it")]
)
def test_where_the_number_of_threads_comes_from(monkeypatch, setting, said):
    if setting is None:
        monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("NUMBA_NUM_THREADS", setting)
    threads = next(finding for finding in doctor.examine() if finding.what == "threads")
    assert threads.found.startswith(f"{compile.THREADS} on ") and said in threads.found


def test_wrong_gradients_are_noticed(monkeypatch):
    from nlicl.models import front

    right = front.loss_and_grad

    def off(params, prompts, **where):
        loss, grads = right(params, prompts, **where)
        return loss, grads._replace(W_K=grads.W_K * (1 + 1e-9))

    monkeypatch.setattr(front, "loss_and_grad", off)
    gradient = next(finding for finding in doctor.examine() if finding.what == "gradient")
    assert gradient.state == "PROBLEM"
    assert "differ by 1.0e-09" in gradient.found
    assert "cache" in gradient.fix
