"""How kernels are launched and kept: the same bits on any number of threads, compiled now or loaded, and no stale code."""

import shutil
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import pytest
from child import KERNELS, ROOT, python
from draws import LOSSES, Sizes, problem

import nlicl
from nlicl import Params
from nlicl.core.errors import InvalidValue
from nlicl.kernels import compile
from nlicl.kernels.steps import dense

BIG = Sizes(B=300, l=41, d=33, m_a=17, m_b=19, m=21)  # several chunks; rows of whole vectors and a rest

HEADER = """
import hashlib, os, sys, threading
import numpy as np, nlicl
from nlicl.kernels import compile
from nlicl.kernels.steps import dense
def problem(dtype, B=300, l=41, d=33, m_a=17, m_b=19, m=21):
    rng = np.random.default_rng(0)
    n = lambda *shape: (rng.normal(size=shape) / shape[-1] ** 0.5).astype(dtype)  # no softmax is saturated
    params = nlicl.Params(n(m_a, d), n(m_a, d), n(m_b, d), n(m, m_b), n(m))
    return params, nlicl.Prompts(4 * n(B, l + 1, d), np.where(n(B) > 0, 1.0, -1.0))
def digest(arrays):
    return hashlib.sha256(b"".join(np.asarray(array).tobytes() for array in arrays)).hexdigest()
def forward(one):
    return digest(nlicl.forward(*one))
def step(one):
    results = [nlicl.loss_and_grad(*one, loss) for loss in ("hinge", "logistic", "squared")]
    return digest(array for value, grads in results for array in (value, *grads))
def bits(*problems):
    return " ".join(forward(one) + step(one) for one in problems)
"""

# ---------------------------------------------------------------- the same bits


@pytest.mark.compiled
def test_any_number_of_threads_gives_the_same_bits():
    """Chunks are made from the sizes alone and added in order. Coded prompts are held to the same."""
    code = (
        HEADER
        + """
p32, x32 = problem(np.float32)
p64, x64 = problem(np.float64)
rng = np.random.default_rng(1)
K, shape = 5, (300, 42)
sign = rng.choice([-1, 1], shape).astype(np.int8); sign[:, -1] = 0
codes = [rng.integers(0, K - 1, shape).astype(np.int32) for _ in range(2)]
coded = nlicl.CodedPrompts(rng.normal(size=(33, K)), *codes, rng.normal(size=shape), sign, rng.choice([-1.0, 1.0], 300))
print(compile.THREADS, bits((p32, x32), (p64, x64), (p64, coded), (p32, coded)))
"""
    )
    assert dense.plan((BIG.B, BIG.l + 1, BIG.d), BIG.m, 8)[0] > 2
    found = [python(code, NUMBA_NUM_THREADS=str(threads)).split(maxsplit=1) for threads in (1, 2, 3)]
    assert [threads for threads, _ in found] == ["1", "2", "3"]
    assert len({bits for _, bits in found}) == 1


@pytest.mark.slow
@pytest.mark.compiled
def test_compiled_now_or_loaded_gives_the_same_bits(tmp_path):
    """One process compiles, step first; two load what it left, in either order; this one has met many other kernels.

    A kernel that calls another, not inlined, fails here.
    """
    code = (
        HEADER
        + """
one = problem(np.float64)
found = {name: globals()[name](one) for name in sys.argv[1:]}
stats = dense.step_chunks.stats
print(found["forward"], found["step"], sum(stats.cache_misses.values()))
"""
    )
    run = lambda *order: python(code, *order, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_NUM_THREADS="2").split()  # noqa: E731
    *compiled, missed = run("step", "forward")
    assert missed == "1"
    names = {}
    exec(HEADER, names)
    one = names["problem"](np.float64)
    assert [names["forward"](one), names["step"](one)] == compiled
    assert run("step", "forward") == run("forward", "step") == [*compiled, "0"]


def test_python_threads_may_call_at_once(monkeypatch):
    """Each gets its own answer, to the bit; they share the threads that help, or each begins with making them."""
    monkeypatch.setattr(compile, "THREADS", 3)
    problems = [problem(BIG._replace(B=100 + n), seed=n) for n in range(8)]
    want = [nlicl.loss_and_grad(*one, LOSSES[n % 3]) for n, one in enumerate(problems)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            monkeypatch.setattr(compile, "_helpers", compile._Helpers())
            got = list(pool.map(lambda n: nlicl.loss_and_grad(*problems[n], LOSSES[n % 3]), range(8)))
            for (value, grads), (expected, expected_grads) in zip(got, want, strict=True):
                assert value == expected
                for grad, other in zip(grads, expected_grads, strict=True):
                    np.testing.assert_array_equal(grad, other)


@pytest.mark.compiled
@pytest.mark.skipif(not hasattr(compile.os, "fork"), reason="this platform does not fork")
def test_a_forked_child_computes_the_same():
    """It has none of its parent's threads, and starts its own. Both end as a process usually does."""
    code = (
        HEADER
        + """
one = problem(np.float64)
want = bits(one)
child = os.fork()
if child:
    print("status", os.waitpid(child, 0)[1], flush=True)
print(bits(one) == want, any(thread.name.startswith("nlicl") for thread in threading.enumerate()))
"""
    )
    assert python(code, NUMBA_NUM_THREADS="2").splitlines() == ["True True", "status 0", "True True"]


@pytest.mark.compiled
def test_spawned_workers_compute_the_same(tmp_path):
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
    assert python(path, NUMBA_NUM_THREADS="2") == "True"


@pytest.mark.compiled
def test_the_interpreters_end_is_no_end_of_launching():
    """Once the main thread is through, Python's pools take no more work: a thread that goes on and what `atexit` calls
    do it alone."""
    code = (
        HEADER
        + """
import atexit
one = problem(np.float64)
want = bits(one)
def late():
    threading.main_thread().join()
    print(bits(one) == want)
atexit.register(lambda: print(bits(one) == want))
threading.Thread(target=late).start()
"""
    )
    assert python(code, NUMBA_NUM_THREADS="2").split() == ["True", "True"]


# ---------------------------------------------------------------- cache

PROBE = """
import numpy as np, numba
from nlicl.kernels import compile
from nlicl.kernels.layers import readout
F = np.empty(2)
readout.forward(F, np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([1.0, 0.25]), np.zeros(1))
hits = sum(readout.forward.stats.cache_hits.values())
print(compile.cache_folder().name, hits, F[0])
"""

TWICE = """

_row_products = row_products


@kernel
def row_products(s, P, u):
    _row_products(s, P, u)
    for i in range(s.shape[0]):
        s[i] = 2 * s[i]
"""


@pytest.mark.slow
@pytest.mark.compiled
def test_an_edited_callee_is_never_stale(tmp_path):
    """readout.py calls products.py. Numba's own cache looks at the caller's file only: after an edit of
    products.py it would go on returning the old sum."""
    root, cache = tmp_path / "checkout", tmp_path / "cache"
    shutil.copytree(ROOT / "nlicl", root / "nlicl", ignore=shutil.ignore_patterns("__pycache__", "kernels"))
    shutil.copytree(KERNELS, root / "nlicl" / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    run = lambda: python(PROBE, root=root, NUMBA_CACHE_DIR=str(cache)).split()  # noqa: E731
    folder, hits, mean = run()
    assert (hits, mean) == ("0", "1.5")
    assert run() == [folder, "1", "1.5"]  # kept, and found again
    with (root / "nlicl" / "kernels" / "products.py").open("a") as file:
        file.write(TWICE)
    edited_folder, hits, mean = run()
    assert (hits, mean) == ("0", "3.0")
    assert edited_folder != folder
    assert {path.name for path in cache.iterdir()} >= {folder, edited_folder}


def test_digest_sees_contents_and_names_only(tmp_path):
    copy = tmp_path / "kernels"
    shutil.copytree(KERNELS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    digest = compile.source_digest(copy)
    assert digest == compile.source_digest() and len(digest) == 64
    assert compile.cache_folder() is None or compile.cache_folder().name == digest[:16]
    (copy / "notes.txt").write_text("no code")
    (copy / "layers" / "loss.py").touch()
    assert compile.source_digest(copy) == digest
    paths = sorted(copy.rglob("*.py"))
    assert {"kernels", "layers", "steps", "cuda"} <= {path.parent.name for path in paths}
    for path in paths:
        text = path.read_text()
        path.write_text(text + "\n")
        assert compile.source_digest(copy) != digest, path.name
        path.write_text(text)
    (copy / "layers" / "loss.py").rename(copy / "steps" / "loss.py")
    assert compile.source_digest(copy) != digest


WHERE = """
import numba
before = numba.config.CACHE_DIR
from nlicl.kernels import compile
print(compile.cache_folder()); print(numba.config.CACHE_DIR == before); print(before)
"""


def test_the_users_cache_folder_is_used_and_left_as_set(tmp_path):
    folder, restored, setting = python(WHERE, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    assert folder == str(tmp_path / compile.source_digest()[:16])
    assert restored == "True" and setting == str(tmp_path)


@pytest.mark.skipif(compile.sys.platform in ("win32", "darwin"), reason="where caches lie by the custom of Linux")
def test_without_one_it_is_that_of_the_platform(tmp_path):
    quiet = {"unset": ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME"]}
    out = python(WHERE, XDG_CACHE_HOME=str(tmp_path), unset=["NUMBA_CACHE_DIR"]).splitlines()
    assert out[:2] == [str(tmp_path / "nlicl" / compile.source_digest()[:16]), "True"]
    out = python(WHERE, HOME=str(tmp_path), **quiet).splitlines()
    assert out[:2] == [str(tmp_path / ".cache" / "nlicl" / compile.source_digest()[:16]), "True"]


def test_an_unwritable_cache_folder_is_one_warning(tmp_path):
    """A folder that cannot be made (its parent is a file: even root cannot) costs compilation, not the work."""
    (tmp_path / "file").write_text("")
    code = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import numpy as np
    from nlicl.kernels import compile, products
    T = np.empty((2, 3))
    products.transpose(T, np.arange(6.0).reshape(3, 2))
for shown in (T.tolist(), compile.cache_folder(), len(caught), caught[0].category.__name__, caught[0].message):
    print(shown)
"""
    out = python(code, NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache")).splitlines()
    assert out[:4] == ["[[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]", "None", "1", "RuntimeWarning"]
    assert "no writable cache folder" in out[4] and "NUMBA_CACHE_DIR" in out[4]


def test_no_home_is_no_cache(monkeypatch):
    """Path.home() raises RuntimeError where there is no home folder: one more reason to go without a cache."""

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compile, "_user_cache", nowhere)
    monkeypatch.setattr(compile.numba.config, "CACHE_DIR", "")
    with pytest.warns(RuntimeWarning, match="Could not determine home directory"):
        assert compile._made_cache() is None


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
    monkeypatch.setattr(compile.sys, "platform", platform)
    assert compile._user_cache().as_posix() == expected


# ---------------------------------------------------------------- launching


class Recorder:
    """Stands for a compiled kernel: writes down which chunks were done, and by which thread."""

    def __init__(self, action=lambda first: None):
        self.chunks, self.threads, self.action = [], set(), action

    def __call__(self, first, last, *arguments):
        assert arguments == ("x", 7)
        self.chunks += range(first, last)
        if first < last:
            self.threads.add(threading.current_thread())
            self.action(first)


@pytest.fixture
def recorded(monkeypatch):
    """Recorders are launched as kernels are."""
    monkeypatch.setattr(compile, "is_jitted", lambda function: isinstance(function, Recorder))
    monkeypatch.setattr(compile, "_helpers", compile._Helpers())


@pytest.fixture
def three_threads(monkeypatch, recorded):
    monkeypatch.setattr(compile, "THREADS", 3)


@pytest.mark.parametrize("chunks", [1, 2, 3, 4, 64])
@pytest.mark.parametrize("threads", [1, 2, 3, 5, 70])
def test_every_chunk_is_done_once(monkeypatch, recorded, threads, chunks):
    monkeypatch.setattr(compile, "THREADS", threads)
    recorder = Recorder()
    compile.launch(recorder, chunks, "x", 7)
    assert sorted(recorder.chunks) == list(range(chunks))


def test_ranges_are_done_side_by_side(three_threads):
    """All three meet at a barrier, which one after the other would never pass."""
    barrier = threading.Barrier(3)
    recorder = Recorder(lambda first: barrier.wait(60))
    compile.launch(recorder, 6, "x", 7)
    assert len(recorder.threads) == 3 and sorted(recorder.chunks) == list(range(6))


@pytest.mark.parametrize("n", [1, 2])
def test_a_limit_holds_for_its_own_thread_and_until_it_ends(three_threads, n):
    def most(expected):
        """Every range waits until so many are at work; had it more threads, one would come too late."""
        barrier = threading.Barrier(expected)
        recorder = Recorder(lambda first: barrier.wait(60))
        compile.launch(recorder, 6, "x", 7)
        return len(recorder.threads) == expected and sorted(recorder.chunks) == list(range(6))

    with compile.threads_at_most(n):
        with compile.threads_at_most(3):
            assert most(3)
        assert most(n)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(most, 3).result()
    with pytest.raises(InvalidValue, match="n is 0"), compile.threads_at_most(0):
        pass
    assert most(3)


def test_nobody_waits_for_busy_helpers(three_threads):
    release = threading.Event()
    ended = SimpleQueue()
    compile._helpers.call(lambda: ended.put(release.wait(60)), 2)
    recorder = Recorder()
    compile.launch(recorder, 6, "x", 7)
    assert recorder.threads == {threading.current_thread()} and sorted(recorder.chunks) == list(range(6))
    assert ended.empty()
    release.set()
    assert [ended.get(timeout=60) for _ in range(2)] == [True, True]
    barrier = threading.Barrier(3)
    compile._helpers.call(barrier.wait, 2)  # which they come to once, free again, they have found nothing to do
    barrier.wait(60)
    assert sorted(recorder.chunks) == list(range(6))


def test_no_thread_to_be_had_is_no_error(three_threads, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    recorder = Recorder()
    compile.launch(recorder, 6, "x", 7)
    assert recorder.threads == {threading.current_thread()} and sorted(recorder.chunks) == list(range(6))


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["caller", "helper"])
def test_what_is_raised_is_raised_when_nobody_is_at_work_any_more(three_threads, error, where):
    barrier, caller, ended = threading.Barrier(3), threading.current_thread(), []

    def action(first):
        barrier.wait(60)
        if (threading.current_thread() is caller) == (where == "caller"):
            raise error(where)
        time.sleep(0.05)
        ended.append(first)

    with pytest.raises(error, match=where):
        compile.launch(Recorder(action), 3, "x", 7)
    assert len(ended) == (2 if where == "caller" else 1)


def test_plain_python_stays_in_its_thread(three_threads):
    """There np.errstate and the like hold; threads would only take turns."""
    seen = []
    compile.launch(lambda first, last: seen.append((first, last, threading.current_thread())), 64)
    assert seen == [(0, 64, threading.current_thread())]


def test_a_forked_child_forgets_its_parents_threads(monkeypatch):
    monkeypatch.setattr(compile, "_helpers", busy := compile._Helpers())
    busy.lock.acquire()  # as by a thread that was starting helpers when its process forked
    compile._forget_helpers()
    assert compile._helpers is not busy and compile._helpers.lock.acquire(blocking=False)


def test_importing_and_running_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(nlicl.loss_and_grad(*problem(Sizes()))[1], Params)
    assert python("import nlicl.models.front", PYTHONWARNINGS="error") == ""
