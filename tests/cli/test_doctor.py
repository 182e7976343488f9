"""`nlicl doctor`: what it finds, and what it says when something is not as it should be."""

import os
import re
import subprocess
import sys
import tomllib
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


def test_extras_are_distributions_by_the_names_that_pip_knows():
    """`sklearn` is a module; the distribution is scikit-learn, and was reported missing for years."""
    path = ROOT / "pyproject.toml"
    if not path.exists():
        pytest.skip("installed: there is no pyproject.toml")
    declared = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra, names in doctor.EXTRAS.items():
        assert sorted(names) == sorted(re.match(r"[\w-]+", line)[0] for line in declared[extra])


@pytest.mark.parametrize(("module", "extra"), [("sklearn", "baselines"), ("matplotlib", "plot"), ("pytest", "test")])
def test_an_installed_extra_is_found(module, extra):
    pytest.importorskip(module)
    found = next(finding for finding in doctor.examine() if finding.what == f"extra {extra}")
    assert module.replace("sklearn", "scikit-learn") not in found.found.removeprefix("installed")


def test_a_missing_extra_is_named(monkeypatch):
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "scikit-learn" else known(name))
    found = {finding.what: finding.found for finding in doctor.examine()}
    assert found["extra baselines"] == "without scikit-learn (optional)" and "scikit-learn" in found["extra test"]


@pytest.mark.parametrize("error", [ImportError("no module named llvmlite"), OSError("libllvmlite.so: cannot open")])
def test_a_broken_library_is_a_finding_and_no_traceback(monkeypatch, error):
    """The doctor is asked where something is broken: it must not fall ill itself."""

    def broken():
        raise error
        yield

    monkeypatch.setattr(doctor, "_threads", broken)
    found = doctor.examine()
    threads = next(finding for finding in found if finding.what == "threads")
    assert threads.state == "PROBLEM" and str(error) in threads.found and threads.fix
    assert "gradient" in {finding.what for finding in found}  # the rest is looked at all the same


def test_only_folders_of_nlicl_are_called_safe_to_delete(monkeypatch, tmp_path):
    for name in ("0123456789abcdef", "fedcba9876543210", "thesis", "0123456789abcdef0"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(compile, "cache_folder", lambda: tmp_path / "0123456789abcdef")
    cache = next(finding for finding in doctor.examine() if finding.what == "cache")
    assert "; 1 of other versions beside it, safe to delete" in cache.found


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
