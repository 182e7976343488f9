"""The files of compiled kernels: damaged in any way they are noticed before they are used, and no trouble stops the work."""

import errno
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from child import ROOT, python
from damage import CONTENTS as WAYS
from damage import Canary, damage, damage_some, generator

from nlicl.kernels import cache, compile, files
from nlicl.kernels.cache import KernelCache

FOLDER, KERNEL = "0123456789abcdef", "nlicl.kernels.f-0000000000000000.nbc"
CONTENTS = np.random.default_rng(0).bytes(5000)

# ---------------------------------------------------------------- files


@pytest.fixture
def base(tmp_path):
    """A folder with the file of one kernel, and others beside it."""
    for name in (KERNEL, KERNEL.replace("f", "g"), KERNEL.replace("f", "h")):
        files.write(tmp_path / FOLDER / name, tmp_path, CONTENTS + name.encode())
    return tmp_path


def outcome(path, base):
    """The contents, None, or "damaged" or "unread"."""
    try:
        return files.read(path, base)
    except files.Damaged as reason:
        assert str(reason) and len(str(reason)) < 100
        return "damaged"
    except OSError:
        return "unread"


def test_what_is_written_is_read(base):
    assert outcome(base / FOLDER / KERNEL, base) == CONTENTS + KERNEL.encode()
    assert outcome(base / FOLDER / "none", base) is None and outcome(base / KERNEL / "below", base) is None
    assert len(list((base / FOLDER).iterdir())) == 3
    files.write(base / FOLDER / KERNEL, base, b"")
    assert outcome(base / FOLDER / KERNEL, base) == b""


@pytest.mark.parametrize("seed", range(100))
def test_whatever_is_done_to_a_file_is_noticed(base, seed):
    path, sign = base / FOLDER / KERNEL, base / "canary"
    before = path.read_bytes()
    what = damage(path, generator(seed), sign)
    found = outcome(path, base)
    if path.is_file() and path.read_bytes() == before:  # without permissions, which root does not need
        assert found == CONTENTS + KERNEL.encode() or found == "unread"
    else:
        assert found in (None, "damaged"), what
        assert found == "damaged" or not path.exists(), what
    assert not sign.exists()


def test_the_corruptor_does_every_damage_it_has(base):
    """Otherwise the test above would pass on less."""
    done = set()
    for seed in range(300):
        files.write(base / FOLDER / KERNEL.replace("f", str(seed)), base, CONTENTS)
        done.add(damage(base / FOLDER / KERNEL.replace("f", str(seed)), generator(seed), base / "canary").split()[1])
    assert done >= {
        "emptied",
        "cut",
        "bits",
        "byte",
        "replaced",
        "appended",
        "swapped",
        "without",
        "deleted",
        "a",
        "bytes",
    }


def test_a_file_is_bound_to_its_place(base, tmp_path_factory):
    """To its name and its folder, below the base; the whole cache may be moved."""
    elsewhere = base / "fedcba9876543210" / KERNEL
    elsewhere.parent.mkdir()
    elsewhere.write_bytes((base / FOLDER / KERNEL).read_bytes())
    assert outcome(elsewhere, base) == "damaged"
    moved = tmp_path_factory.mktemp("moved") / "cache"
    base.rename(moved)
    assert outcome(moved / FOLDER / KERNEL, moved) == CONTENTS + KERNEL.encode()


@pytest.mark.parametrize("failing", ["fsencode", "replace"])
def test_a_file_that_cannot_be_written_leaves_nothing(base, monkeypatch, failing):
    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, failing, full)
    before = sorted((base / FOLDER).iterdir())
    with pytest.raises(OSError, match="No space left"):
        files.write(base / FOLDER / KERNEL.replace("f", "k"), base, CONTENTS)
    assert sorted((base / FOLDER).iterdir()) == before


def test_what_a_killed_process_has_left_is_swept_up(base):
    old, young, foreign = (base / FOLDER / f".{name}.tmp" for name in ("a" * 32, "b" * 32, "notes"))
    for path in (old, young, foreign):
        path.write_bytes(b"half")
    for path in (old, foreign):
        os.utime(path, (time.time() - 7200,) * 2)
    files.write(base / FOLDER / KERNEL, base, CONTENTS)
    assert not old.exists() and young.exists() and foreign.exists()


# ---------------------------------------------------------------- a kernel's cache

pytestmark = pytest.mark.compiled


def twice(x):
    return 2 * x


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """compiled() is a fresh `twice`, kept in `tmp_path`: as it would be in a fresh process."""
    monkeypatch.setattr(cache, "_said", set())

    def make(**options):
        found = numba.njit(twice, **options)
        found._cache = KernelCache(twice, tmp_path / FOLDER, tmp_path)
        return found

    return make


def hits(function):
    return sum(function.stats.cache_hits.values())


def quietly(function, argument=3.0):
    """Call it; a warning would be an error. How often it was found in the cache."""
    assert function(argument) == 2 * argument
    return hits(function)


def test_it_is_kept_for_each_type(compiled, tmp_path):
    assert quietly(compiled()) == 0 and quietly(compiled()) == 1
    assert quietly(compiled(), 3) == 0 and quietly(compiled(), 3) == 1
    assert compiled().stats.cache_path == str(tmp_path / FOLDER)
    assert len(files.kept(tmp_path / FOLDER)) == 2 == len(list((tmp_path / FOLDER).iterdir()))


def test_what_numba_compiles_otherwise_is_kept_apart(compiled, monkeypatch):
    assert quietly(compiled()) == 0
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", 1)
    assert quietly(compiled()) == 0 and quietly(compiled()) == 1
    monkeypatch.setattr(numba, "__version__", "0.0")
    assert quietly(compiled()) == 0


@pytest.mark.parametrize("seed", range(len(WAYS)), ids=[way.__name__ for way in WAYS])
def test_damage_is_one_line_and_compiled_anew(compiled, tmp_path, seed):
    quietly(compiled())
    (path,) = files.kept(tmp_path / FOLDER)
    WAYS[seed](path, generator(seed), tmp_path / "canary")
    damaged = path.read_bytes()
    with pytest.warns(RuntimeWarning) as caught:
        assert compiled()(3.0) == 6.0
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "\n" not in text and len(text) < 400
    assert path.name in text and "is damaged: " in text and text.endswith("It is deleted; its kernel is compiled anew.")
    assert not (tmp_path / "canary").exists()
    assert quietly(compiled()) == 1  # kept again
    path.write_bytes(damaged)
    assert quietly(compiled()) == 0  # the second time it is not said again


def test_a_whole_file_that_numba_does_not_load_is_damaged(compiled, tmp_path):
    quietly(compiled())
    (path,) = files.kept(tmp_path / FOLDER)
    for contents in (b"", b"no pickle", pickle.dumps(1), pickle.dumps((None, ())), files.read(path, tmp_path)[:-20]):
        cache._said.clear()
        files.write(path, tmp_path, contents)
        if contents == pickle.dumps((None, ())):  # of another kernel: numba does not see it
            assert quietly(compiled()) == 0
        else:
            with pytest.warns(RuntimeWarning, match="numba does not load it"):
                assert compiled()(3.0) == 6.0
        assert quietly(compiled()) == 1


def test_unverified_bytes_are_never_unpickled(compiled, tmp_path):
    quietly(compiled())
    (path,) = files.kept(tmp_path / FOLDER)
    path.write_bytes(path.read_bytes()[: files._HEADER.size] + pickle.dumps(Canary(tmp_path / "canary")))
    with pytest.warns(RuntimeWarning, match="damaged"):
        compiled()(3.0)
    assert not (tmp_path / "canary").exists()
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()  # so it would have been seen


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_cache_that_cannot_be_written_is_one_line(compiled, monkeypatch, code):
    def fail(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.warns(RuntimeWarning) as caught:
        assert compiled()(3.0) == 6.0
        assert compiled()(3) == 6
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    assert os.strerror(code) in str(caught[0].message) and "NUMBA_CACHE_DIR" in str(caught[0].message)


def test_a_warm_cache_may_be_one_to_read_only(compiled, tmp_path, monkeypatch):
    quietly(compiled())

    def fail(*arguments, **keywords):
        raise OSError(errno.EROFS, "Read-only file system")

    for writing in ("replace", "mkdir", "unlink"):
        monkeypatch.setattr(files.os, writing, fail)
    monkeypatch.setattr(compile, "cache_base", lambda: tmp_path)
    monkeypatch.setattr(compile, "source_digest", lambda: FOLDER)
    assert compile._made_cache() == tmp_path / FOLDER
    assert quietly(compiled()) == 1
    with pytest.warns(RuntimeWarning, match="cannot be kept in .*: Read-only file system"):
        assert compiled()(3) == 6


def test_a_file_that_cannot_be_read_is_left_alone(compiled, tmp_path, monkeypatch):
    """Too many open files, say: the next process may read it."""
    quietly(compiled())
    (path,) = files.kept(tmp_path / FOLDER)

    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "open", fail)
        with pytest.warns(RuntimeWarning, match="cannot be read: Input/output error"):
            assert compiled()(3.0) == 6.0
    assert path.is_file() and quietly(compiled()) == 1


def test_damage_that_cannot_be_deleted_is_said(compiled, tmp_path, monkeypatch):
    quietly(compiled())
    (path,) = files.kept(tmp_path / FOLDER)
    path.write_bytes(b"")

    def fail(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files, "remove", fail)
    with pytest.warns(RuntimeWarning, match=r"it is empty\. It cannot be deleted \(Permission denied\); its kernel"):
        assert compiled()(3.0) == 6.0


def test_the_folder_may_vanish_at_any_time(compiled, tmp_path):
    quietly(compiled())
    for path in files.kept(tmp_path / FOLDER):
        path.unlink()
    (tmp_path / FOLDER).rmdir()
    assert quietly(compiled()) == 0 and quietly(compiled()) == 1


def test_recompiling_forgets_what_is_kept(compiled, tmp_path):
    function = compiled()
    quietly(function)
    (path,) = files.kept(tmp_path / FOLDER)
    path.write_bytes(b"")
    function.recompile()  # reads nothing
    assert quietly(compiled()) == 1


def test_threads_that_meet_one_damaged_file(compiled, tmp_path):
    quietly(compiled())
    (path,) = files.kept(tmp_path / FOLDER)
    path.write_bytes(b"")
    found, answers = compiled(), []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        workers = [threading.Thread(target=lambda: answers.append(found(3.0))) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert answers == [6.0] * 4 and len(caught) == 1


def test_names_of_files_are_short_and_plain(tmp_path):
    def odd():
        pass

    odd.__qualname__ = "ü" * 300 + "/<locals>.\n" + "f" * 300
    odd.__module__ = "../x"
    compiled = numba.njit(twice)
    compiled(1.0)
    name, _ = KernelCache(odd, tmp_path, tmp_path)._place(
        (numba.float64,), compiled.overloads[(numba.float64,)].codegen
    )
    assert name.parent == tmp_path and len(name.name) < 100 and name.name.isascii() and name.name.isprintable()
    assert files._KERNEL.fullmatch(name.name)


def test_a_kernel_by_the_address_of_an_argument_is_not_kept(tmp_path):
    @numba.njit
    def half(x):
        return x / 2

    def call(function, x):
        return function(x)

    compiled = numba.njit(call)
    compiled._cache = KernelCache(call, tmp_path / FOLDER, tmp_path)
    assert compiled(half, 3.0) == 1.5 and not (tmp_path / FOLDER).exists()


# ---------------------------------------------------------------- processes

SMALL = """
import numpy as np
from nlicl.kernels import compile, products
T = np.empty((2, 3))
products.transpose(T, np.arange(6.0).reshape(3, 2))
c = np.zeros(2)
products.add_rows(c, np.ones(3), np.ones((3, 2)))
hits = [sum(f.stats.cache_hits.values()) for f in (products.transpose, products.add_rows)]
print(T.tolist() == [[0, 2, 4], [1, 3, 5]], c.tolist() == [3, 3], *hits)
"""


def process(cache_, code=SMALL, **environment):
    """What a process prints, and what it says on standard error, line by line."""
    out = python("import sys; sys.stderr = sys.stdout\n" + code, NUMBA_CACHE_DIR=str(cache_), **environment)
    *said, last = out.splitlines()
    return last, said


@pytest.mark.slow
def test_odd_folders_and_a_full_disk(tmp_path):
    """A name with spaces, letters, a line break and bytes that are none; relative; then all damaged, on a full disk."""
    name = os.fsdecode(b"a b/\xc3\xbc\n\xff")
    where = tmp_path / name
    code = f"import os; os.chdir({str(tmp_path)!r})\n" + SMALL
    assert process(name, code) == ("True True 0 0", [])
    assert process(where) == ("True True 1 1", [])
    for path in where.rglob("*.nbc"):
        path.write_bytes(b"")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    last, said = process(where, limit + SMALL)
    assert last == "True True 0 0" and len(said) == 2
    assert "is damaged: it is empty. It is deleted" in said[0]
    assert "compiled kernels cannot be kept" in said[1] and "File too large" in said[1]
    assert [path for path in where.rglob("*") if path.is_file()] == []


def a_file(path):
    path.write_text("")


def a_link_to_itself(path):
    path.symlink_to(path)


def nothing(path):
    pass


@pytest.mark.parametrize(
    ("place", "more"),
    [
        (a_file, ""),
        (a_file, "/in"),
        (a_link_to_itself, ""),
        (nothing, "/" + "x" * 300),
        (nothing, "/\n\x1b[1m/" + "x/" * 3000),
    ],
)
def test_where_no_folder_can_be_there_is_no_cache(tmp_path, monkeypatch, place, more):
    place(tmp_path / "place")
    monkeypatch.setattr(compile.numba.config, "CACHE_DIR", f"{tmp_path}/place{more}")
    with pytest.warns(RuntimeWarning, match="no writable cache folder") as caught:
        assert compile._made_cache() is None
    assert len(caught) == 1 and str(caught[0].message).isprintable() and len(str(caught[0].message)) < 400


def test_a_relative_folder_is_that_of_the_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compile.numba.config, "CACHE_DIR", "some where")
    assert compile._made_cache() == tmp_path / "some where" / compile.source_digest()[:16]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a way to end a process at once")
def test_a_process_that_is_killed_while_it_writes_and_two_cold_ones_at_once(tmp_path):
    kill = "lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    killed = f"import os, signal\nfrom nlicl.kernels import files\nfiles.os.replace = {kill}\n"
    python(killed + SMALL, NUMBA_CACHE_DIR=str(tmp_path), expect=-signal.SIGKILL)
    assert len(list(tmp_path.rglob(".*.tmp"))) == 1 and not list(tmp_path.rglob("*.nbc"))
    with ThreadPoolExecutor(2) as pool:
        for last, said in pool.map(lambda _: process(tmp_path), range(2)):
            assert last.startswith("True True") and said == []
    assert process(tmp_path) == ("True True 1 1", [])


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A warm cache, and what the command prints."""
    where = tmp_path_factory.mktemp("warm")
    return where, command(where)[0]


def command(where):
    """Standard output and the lines on standard error of a small command, which ends with 0."""
    done = subprocess.run(
        [sys.executable, "-m", "nlicl", "train", "li2024", "--steps", "0"],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(where)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_a_command_on_a_damaged_cache(warm, tmp_path, seed):
    """The same numbers and at most one line; the second time none."""
    where, expected = warm
    shutil.copytree(where, tmp_path / "cache")
    what = damage_some(tmp_path / "cache", "*.nbc", generator("command", seed), tmp_path / "canary")
    out, said = command(tmp_path / "cache")
    assert out == expected and len(said) <= 1, what
    assert not (tmp_path / "canary").exists(), what
    assert all("RuntimeWarning: nlicl.kernels." in line for line in said)
    assert command(tmp_path / "cache") == (expected, [])


OTHER = """
from nlicl.kernels.compile import kernel
@kernel
def thrice(x):
    return 3 * x
"""


@pytest.mark.slow
def test_kernels_of_other_packages_are_kept_in_the_same_way(tmp_path):
    (tmp_path / "other_kernels.py").write_text(OTHER)
    where, path = tmp_path / "cache", os.pathsep.join([str(ROOT), str(tmp_path)])
    code = "from other_kernels import thrice; print(thrice(2.0), sum(thrice.stats.cache_hits.values()))"
    assert process(where, code, PYTHONPATH=path) == ("6.0 0", [])
    assert process(where, code, PYTHONPATH=path) == ("6.0 1", [])
    (kept,) = where.rglob("other_kernels.thrice-*.nbc")
    kept.write_bytes(kept.read_bytes()[:-1])
    last, said = process(where, code, PYTHONPATH=path)
    assert last == "6.0 0" and len(said) == 1 and "damaged" in said[0]
    assert process(where, code, PYTHONPATH=path) == ("6.0 1", [])


def test_the_users_own_setting_is_put_back(tmp_path):
    from numba.core import config

    from nlicl.kernels.compile import cached_in

    before = config.CACHE_DIR
    with pytest.raises(KeyError), cached_in(tmp_path):
        assert str(tmp_path) == config.CACHE_DIR
        raise KeyError
    assert before == config.CACHE_DIR


def test_what_the_system_refuses_is_said(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "read", refused)
    assert files.trouble(tmp_path / "a.nbc", tmp_path) == "Permission denied"
    assert files._size(tmp_path / "none") == 0
    monkeypatch.setattr(Path, "iterdir", refused)
    assert list(files._walk(tmp_path)) == [(tmp_path, "closed")]
