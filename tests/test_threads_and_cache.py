"""How kernels are launched and kept: the same bits on any number of threads, no stale code, clear words after a fork."""

import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from child import KERNELS, ROOT, python
from draws import LOSSES, Sizes, problem
from nlicl.kernels import _jit, dense

import nlicl
from nlicl import Params

BIG = Sizes(B=300, l=9, d=6, m_a=3, m_b=4, m=7)

HEADER = """
import hashlib, os, sys
import numpy as np, numba, nlicl
def problem(dtype, B=300, l=9, d=6, m_a=3, m_b=4, m=7):
    rng = np.random.default_rng(0)
    n = lambda *shape: rng.normal(size=shape).astype(dtype)
    params = nlicl.Params(n(m_a, d), n(m_a, d), n(m_b, d), n(m, m_b), n(m))
    return params, nlicl.Prompts(n(B, l + 1, d), np.where(n(B) > 0, 1.0, -1.0))
def bits(*results):
    digest = hashlib.sha256()
    for params, prompts in results:
        for loss in ("hinge", "logistic", "squared"):
            value, grads = nlicl.loss_and_grad(params, prompts, loss)
            for array in (value, *grads, *nlicl.forward(params, prompts)):
                digest.update(np.asarray(array).tobytes())
    return digest.hexdigest()
"""

# ---------------------------------------------------------------- threads


@pytest.mark.compiled
def test_any_number_of_threads_gives_the_same_bits():
    """Chunks are made from the sizes alone and added in order. Coded prompts are held to the same."""
    code = (
        HEADER
        + """
p32, x32 = problem(np.float32)
p64, x64 = problem(np.float64)
rng = np.random.default_rng(1)
K, shape = 5, (300, 10)
sign = rng.choice([-1, 1], shape).astype(np.int8); sign[:, -1] = 0
codes = [rng.integers(0, K - 1, shape).astype(np.int32) for _ in range(2)]
coded = nlicl.CodedPrompts(rng.normal(size=(6, K)), *codes, rng.normal(size=shape), sign, rng.choice([-1.0, 1.0], 300))
for threads in map(int, sys.argv[1:]):
    numba.set_num_threads(threads)
    print(bits((p32, x32), (p64, x64), (p64, coded), (p32, coded)))
"""
    )
    assert dense.plan((BIG.B, BIG.l + 1, BIG.d), BIG.m, 8)[0] > 2
    two = python(code, 1, 2, NUMBA_NUM_THREADS="2").split()
    one = python(code, 1, NUMBA_NUM_THREADS="1").split()
    assert len({*one, *two}) == 1


def test_python_threads_may_call_at_once():
    """Each gets its own answer, to the bit."""
    problems = [problem(BIG._replace(B=100 + n), seed=n) for n in range(8)]
    want = [nlicl.loss_and_grad(*one, LOSSES[n % 3]) for n, one in enumerate(problems)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            got = list(pool.map(lambda n: nlicl.loss_and_grad(*problems[n], LOSSES[n % 3]), range(8)))
            for (value, grads), (expected, expected_grads) in zip(got, want, strict=True):
                assert value == expected
                for grad, other in zip(grads, expected_grads, strict=True):
                    np.testing.assert_array_equal(grad, other)


@pytest.mark.compiled
def test_python_threads_under_workqueue():
    """This layer aborts the process when two threads launch at once: one lock around all launches prevents it."""
    code = (
        HEADER
        + """
from concurrent.futures import ThreadPoolExecutor
one = problem(np.float64)
want = bits(one)
with ThreadPoolExecutor(4) as pool:
    print(set(pool.map(lambda _: bits(one), range(24))) == {want}, numba.threading_layer())
"""
    )
    assert python(code, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="2") == "True workqueue"


# ---------------------------------------------------------------- forks

FORK = (
    HEADER
    + """
one = problem(np.float64)
want = bits(one) if "first" in sys.argv else None
if want and numba.threading_layer() != "omp":
    print("another layer")
    sys.exit()
child = os.fork()
if child == 0:
    try:
        print(bits(one))
    except RuntimeError as error:
        print(error)
    sys.stdout.flush()
    os._exit(0)
print(os.waitpid(child, 0)[1], flush=True)
print(bits(one))
"""
)


@pytest.mark.compiled
@pytest.mark.skipif(not hasattr(_jit.os, "fork"), reason="this platform does not fork")
def test_fork_after_a_kernel_is_refused_in_words():
    """OpenMP would kill the child without one. The parent is not affected."""
    out = python(FORK, "first", NUMBA_NUM_THREADS="2", NUMBA_THREADING_LAYER="default")
    if out == "another layer":
        pytest.skip("the threading layer here is not OpenMP")
    error, status, parent = out.splitlines()
    assert error.startswith("nlicl: this process was forked") and "get_context('spawn')" in error
    assert status == "0" and len(parent) == 64


@pytest.mark.compiled
@pytest.mark.skipif(not hasattr(_jit.os, "fork"), reason="this platform does not fork")
def test_fork_before_any_kernel_is_fine():
    child, status, parent = python(FORK, NUMBA_NUM_THREADS="2").splitlines()
    assert child == parent and status == "0"


@pytest.mark.compiled
def test_spawned_workers_are_fine(tmp_path):
    script = (
        HEADER
        + """
import multiprocessing
def work(seed):
    return bits(problem(np.float64))
if __name__ == "__main__":
    want = work(0)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, range(2)) == [want, want])
"""
    )
    path = tmp_path / "script.py"
    path.write_text(script)
    assert python(path) == "True"


# ---------------------------------------------------------------- cache

PROBE = """
import numpy as np, numba
from nlicl.kernels import _jit, attention
attn, c = np.empty(4), np.empty(2)
attention.forward(attn, c, np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 1.0], [1.5, 0.0]]), np.zeros(2))
hits = sum(attention.forward.stats.cache_hits.values())
print(_jit.cache_folder().name, hits, c[0])
"""

TWICE = """

_add_rows = add_rows


@kernel
def add_rows(c, w, P):
    _add_rows(c, w, P)
    _add_rows(c, w, P)
"""


@pytest.mark.compiled
def test_an_edited_callee_is_never_stale(tmp_path):
    """attention.py calls products.py. Numba's own cache looks at the caller's file only: after an edit of
    products.py it would go on returning the old sum."""
    root, cache = tmp_path / "checkout", tmp_path / "cache"
    shutil.copytree(ROOT / "nlicl", root / "nlicl", ignore=shutil.ignore_patterns("__pycache__", "kernels"))
    shutil.copytree(KERNELS, root / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    run = lambda: python(PROBE, root=root, NUMBA_CACHE_DIR=str(cache)).split()  # noqa: E731
    folder, hits, mean = run()
    assert (hits, mean) == ("0", "1.5")
    assert run() == [folder, "1", "1.5"]  # kept, and found again
    with (root / "kernels" / "products.py").open("a") as file:
        file.write(TWICE)
    edited_folder, hits, mean = run()
    assert (hits, mean) == ("0", "3.0")
    assert edited_folder != folder
    assert {path.name for path in cache.iterdir()} >= {folder, edited_folder}


def test_digest_sees_contents_and_names_only(tmp_path):
    copy = tmp_path / "kernels"
    shutil.copytree(KERNELS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    digest = _jit.source_digest(copy)
    assert digest == _jit.source_digest() and len(digest) == 64
    assert _jit.cache_folder() is None or _jit.cache_folder().name == digest[:16]
    (copy / "notes.txt").write_text("no code")
    (copy / "loss.py").touch()
    assert _jit.source_digest(copy) == digest
    for path in sorted(copy.glob("*.py")):
        text = path.read_text()
        path.write_text(text + "\n")
        assert _jit.source_digest(copy) != digest, path.name
        path.write_text(text)
    (copy / "loss.py").rename(copy / "losses.py")
    assert _jit.source_digest(copy) != digest


WHERE = """
import numba
before = numba.config.CACHE_DIR
from nlicl.kernels import _jit
print(_jit.cache_folder()); print(numba.config.CACHE_DIR == before); print(before)
"""


def test_the_users_cache_folder_is_used_and_left_as_set(tmp_path):
    folder, restored, setting = python(WHERE, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    assert folder == str(tmp_path / _jit.source_digest()[:16])
    assert restored == "True" and setting == str(tmp_path)


@pytest.mark.skipif(_jit.sys.platform in ("win32", "darwin"), reason="where caches lie by the custom of Linux")
def test_without_one_it_is_that_of_the_platform(tmp_path):
    quiet = {"unset": ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME"]}
    out = python(WHERE, XDG_CACHE_HOME=str(tmp_path), unset=["NUMBA_CACHE_DIR"]).splitlines()
    assert out[:2] == [str(tmp_path / "nlicl" / _jit.source_digest()[:16]), "True"]
    out = python(WHERE, HOME=str(tmp_path), **quiet).splitlines()
    assert out[:2] == [str(tmp_path / ".cache" / "nlicl" / _jit.source_digest()[:16]), "True"]


def test_an_unwritable_cache_folder_is_one_warning(tmp_path):
    """A folder that cannot be made (its parent is a file: even root cannot) costs compilation, not the work."""
    (tmp_path / "file").write_text("")
    code = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import numpy as np
    from nlicl.kernels import _jit, products
    T = np.empty((2, 3))
    products.transpose(T, np.arange(6.0).reshape(3, 2))
print(T.tolist()); print(_jit.cache_folder()); print(len(caught)); print(caught[0].category.__name__); print(caught[0].message)
"""
    out = python(code, NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache")).splitlines()
    assert out[:4] == ["[[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]", "None", "1", "RuntimeWarning"]
    assert "no writable cache folder" in out[4] and "NUMBA_CACHE_DIR" in out[4]


def test_no_home_is_no_cache(monkeypatch):
    """Path.home() raises RuntimeError where there is no home folder: one more reason to go without a cache."""

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(_jit, "_user_cache", nowhere)
    monkeypatch.setattr(_jit.numba.config, "CACHE_DIR", "")
    with pytest.warns(RuntimeWarning, match="Could not determine home directory"):
        assert _jit._writable_cache() is None


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x"),
        ("linux", {"HOME": "/h"}, "/h/.cache"),
        ("darwin", {"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/h/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local"),
    ],
)
def test_where_caches_lie(monkeypatch, platform, variables, expected):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, setting in variables.items():
        monkeypatch.setenv(name, setting)
    monkeypatch.setattr(_jit.sys, "platform", platform)
    assert _jit._user_cache().as_posix() == expected


# ---------------------------------------------------------------- launching


def test_launch_refuses_in_a_forked_child(monkeypatch):
    p, x = problem(Sizes())
    monkeypatch.setattr(_jit, "_forked_under_omp", True)
    with pytest.raises(RuntimeError, match=r"forked from one .* OpenMP does not survive a fork.*'spawn'"):
        nlicl.loss_and_grad(p, x)


@pytest.mark.parametrize(("layer", "refuse"), [("omp", True), ("tbb", False), ("workqueue", False), (None, False)])
def test_what_a_forked_child_remembers(monkeypatch, layer, refuse):
    """Only OpenMP dies of a fork; and only if a parallel kernel had run, which threading_layer() raises without."""

    def threading_layer():
        if layer is None:
            raise ValueError("Threading layer is not initialized.")
        return layer

    monkeypatch.setattr(_jit.numba, "threading_layer", threading_layer)
    monkeypatch.setattr(_jit, "_forked_under_omp", not refuse)
    old = _jit._lock
    monkeypatch.setattr(_jit, "_lock", old)
    old.acquire()  # as held by a thread of the parent that the child does not have
    try:
        _jit._after_fork()
        assert not _jit._lock.locked()
    finally:
        old.release()
    assert _jit._forked_under_omp is refuse


def test_importing_and_running_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(nlicl.loss_and_grad(*problem(Sizes()))[1], Params)
    assert python("import nlicl.model", PYTHONWARNINGS="error") == ""
