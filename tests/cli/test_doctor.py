"""`nlicl doctor`: what it finds, and what it says when something is not as it should be."""

import errno
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nlicl
from nlicl import doctor
from nlicl.kernels import compile, files

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


# ---------------------------------------------------------------- the cache

OWN, OLDER, OTHERS = "0123456789abcdef", "fedcba9876543210", "aaaaaaaaaaaaaaaa"
KERNEL = "nlicl.kernels.f-0000000000000000.nbc"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A cache of three kernels, one of them another package's, beside what is none of nlicl's business; its base."""
    for path in (tmp_path / OWN / KERNEL, tmp_path / OWN / KERNEL.replace("f", "g"), tmp_path / OWN / OTHERS / KERNEL):
        files.write(path, tmp_path, bytes(2**19))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / KERNEL).write_text("not nlicl's")
    (tmp_path / f"{OWN}0").mkdir()
    monkeypatch.setattr(compile, "cache_folder", lambda: tmp_path / OWN)
    monkeypatch.setattr(compile, "cache_base", lambda: tmp_path)
    return tmp_path


def older_version(cache):
    """What nlicl left before, in numba's own format."""
    below = cache / OLDER / f"kernels_{'0' * 40}"
    below.mkdir(parents=True)
    for name in ("f-1.py311.nbi", "f-1.py311.1.nbc", "f-1.py311.2.nbc.tmp.0123456789abcdef"):
        (below / name).write_bytes(bytes(2**19))


def of_the_cache():
    """Findings of the doctor on the cache, by what was looked at."""
    return {finding.what: finding for finding in doctor._cache()}


def test_how_many_files_and_how_large(cache):
    found = of_the_cache()
    assert set(found) == {"cache"} and found["cache"].state == "ok"
    assert found["cache"].found == f"{cache / OWN} (3 files, 1.5 MiB)"


def test_only_folders_of_nlicl_are_called_safe_to_delete(cache):
    older_version(cache)
    older = of_the_cache()["older caches"]
    assert older.state == "ok" and older.found == "1 folder of other versions beside it, 1.5 MiB, safe to delete"


def test_large_old_caches_are_worth_a_note(cache, monkeypatch):
    older_version(cache)
    monkeypatch.setattr(doctor, "_LARGE", 2**20)
    older = of_the_cache()["older caches"]
    assert (older.state, older.fix) == ("note", "nlicl doctor --clear-cache")


def test_damaged_files_are_found(cache):
    whole = (cache / OWN / KERNEL).read_bytes()
    (cache / OWN / KERNEL).write_bytes(whole[:-1] + b"\1")
    (cache / OWN / OTHERS / KERNEL).write_bytes(b"")
    found = of_the_cache()
    assert found["cache"].state == "ok" and found["cached files"].state == "PROBLEM"
    assert found["cached files"].found.startswith("2 of 3 damaged: ")
    for said in (f"{KERNEL}: its checksum does not hold", f"{KERNEL}: it is empty"):
        assert said in found["cached files"].found
    assert "nlicl doctor --clear-cache" in found["cached files"].fix
    assert "cached files" in {finding.what for finding in doctor.examine()}


def test_a_full_disk_is_found(cache, monkeypatch):
    def full(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "try_writing", full)
    found = of_the_cache()["cache"]
    assert found.state == "PROBLEM" and found.found.endswith("cannot be written: No space left on device") and found.fix


def test_clearing_deletes_what_is_nlicls_and_nothing_else(cache, run):
    older_version(cache)
    (cache / OWN / KERNEL).write_bytes(b"damaged")
    (cache / OWN / KERNEL.replace("f", "h")).mkdir()
    (cache / OLDER / "notes.txt").write_text("somebody's")
    (cache / "bbbbbbbbbbbbbbbb").symlink_to(cache / "thesis")
    (cache / OLDER / "0000000000000000").symlink_to(cache / "thesis")
    status, out, err = run("doctor", "--clear-cache")
    assert (status, err) == (0, "")
    first, second = out.splitlines()
    assert re.fullmatch(r"7 files \(2\.5 MiB\) of compiled kernels deleted below .*\.", first)
    assert second == "2 files with names that nlicl does not give left as they are."
    left = {path.relative_to(cache).as_posix() for path in cache.rglob("*")}
    assert left == {"thesis", f"thesis/{KERNEL}", f"{OWN}0", "bbbbbbbbbbbbbbbb", OLDER, f"{OLDER}/notes.txt",
                    f"{OLDER}/0000000000000000"}  # fmt: skip
    assert run("doctor", "--clear-cache")[1].startswith("0 files (0.0 MiB)")


def test_what_cannot_be_deleted_is_said(cache, run, monkeypatch):
    remove = files.remove

    def locked(path):
        if path.parent.name == OTHERS:
            raise PermissionError(errno.EACCES, "Permission denied")
        remove(path)

    monkeypatch.setattr(files, "remove", locked)
    status, out, _ = run("doctor", "--clear-cache")
    assert status == 1 and out.startswith("2 files (1.0 MiB)")
    assert out.splitlines()[1:] == [f"Not deleted: {cache / OWN / OTHERS / KERNEL}: Permission denied"]
    assert [path.name for path in cache.rglob("*.nbc")] == [KERNEL, KERNEL]  # the other is the thesis's


def test_clearing_where_there_is_no_cache(monkeypatch, tmp_path, run):
    (tmp_path / "file").write_text("")
    for base in (tmp_path / "none", tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setattr(compile, "cache_base", lambda base=base: base)
        status, out, _ = run("doctor", "--clear-cache")
        assert status == 0 and out.startswith("0 files (0.0 MiB)")

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compile, "cache_base", nowhere)
    assert run("doctor", "--clear-cache")[:2] == (
        1,
        "The cache cannot be looked at: Could not determine home directory.\n",
    )


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
