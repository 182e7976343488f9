"""What an edit does stays in the search's own process: files, connections, memory, time, and the state of the caller.

Each `work` here does what no reader would, in the place of a search, and says how it went. Each gradient has a branch that
only an edit of its condition reaches; it says in a pipe that it got there.
"""

# ruff: noqa: SIM115, NPY002 (nothing is opened here, and it is the old random state that is looked at)

import mmap
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import nlicl
from nlicl.audit.mend.child import limited, searched

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="edits are run where a process can be started")

X = np.array([0.4, -1.2, 0.7])
TOUCHED = []
LIMIT = 1.0
HANDLE = None
PIPE = None
WHAT = None


def children():
    """Processes of this one."""
    return {child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()}


@pytest.fixture(autouse=True)
def nothing_is_left():
    before, descriptors = children(), len(os.listdir("/proc/self/fd"))
    yield
    assert children() == before
    assert len(os.listdir("/proc/self/fd")) == descriptors


def told(work, seconds=3.0):
    """What `work()` returns or raises in a search's process, as text."""

    def run(tell):
        try:
            return {"note": f"did {work()!r}"}
        except Exception as error:
            return {"note": f"{type(error).__name__}: {error}"}

    return searched(run, seconds, None).note


def connect():
    with socket.socket() as made:
        made.connect(("127.0.0.1", 9))


def database(path):
    import sqlite3

    connection = sqlite3.connect(path)
    connection.execute("create table t (x)")


REFUSED = {
    "write": lambda path: (path / "new").write_text("x"),
    "append": lambda path: open(path / "old", "a"),
    "update": lambda path: open(path / "old", "r+"),
    "exclusive": lambda path: open(path / "new", "x"),
    "descriptor": lambda path: os.open(path / "new", os.O_CREAT | os.O_WRONLY),
    "save": lambda path: np.save(path / "new", X),
    "tofile": lambda path: X.tofile(path / "new"),
    "remove": lambda path: os.remove(path / "old"),
    "unlink": lambda path: (path / "old").unlink(),
    "rename": lambda path: os.rename(path / "old", path / "new"),
    "replace": lambda path: os.replace(path / "old", path / "new"),
    "mkdir": lambda path: (path / "new").mkdir(),
    "rmdir": lambda path: (path / "folder").rmdir(),
    "link": lambda path: os.link(path / "old", path / "new"),
    "symlink": lambda path: os.symlink(path / "old", path / "new"),
    "truncate": lambda path: os.truncate(path / "old", 0),
    "chmod": lambda path: os.chmod(path / "old", 0),
    "times": lambda path: os.utime(path / "old", (1, 1)),
    "memmap": lambda path: np.memmap(path / "new", float, "w+", shape=(3,)),
    "database": lambda path: database(path / "new"),
    "attribute": lambda path: os.setxattr(path / "old", "user.x", b"1"),
    "system": lambda path: os.system(f"touch {path / 'new'}"),
    "subprocess": lambda path: subprocess.run(["touch", path / "new"], check=True),
    "exec": lambda path: os.execv("/bin/touch", ["touch", str(path / "new")]),
    "spawn": lambda path: os.posix_spawn("/bin/touch", ["touch", str(path / "new")], {}),
    "fork": lambda path: os.fork(),
    "kill": lambda path: os.kill(os.getppid(), signal.SIGTERM),
    "connect": lambda path: connect(),
    "environment": lambda path: os.putenv("NLICL_TEST", "1"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_changes_something_outside_is_refused(what, tmp_path):
    (tmp_path / "old").write_text("kept")
    (tmp_path / "folder").mkdir()
    before = (tmp_path / "old").stat()
    note = told(lambda: REFUSED[what](tmp_path))
    assert note.startswith("PermissionError: a search for mends "), note
    after = (tmp_path / "old").stat()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "old"]
    assert (tmp_path / "old").read_text() == "kept"
    assert (before.st_mode, before.st_mtime, before.st_nlink) == (after.st_mode, after.st_mtime, after.st_nlink)


def test_reading_is_not_refused(tmp_path):
    (tmp_path / "old").write_text("kept")
    assert told(lambda: (tmp_path / "old").read_text()) == "did 'kept'"
    assert told(lambda: len(np.loadtxt(__file__, dtype=str, delimiter="\0", comments=None)) > 100) == "did True"


def test_a_file_that_is_open_is_not_written(tmp_path):
    with open(tmp_path / "log", "w+") as log:
        log.write("before\n")
        log.flush()

        def write():
            log.write("an edit\n")
            log.flush()

        for attempt in (write, lambda: log.truncate(0), lambda: os.ftruncate(log.fileno(), 0)):
            assert "did" not in told(attempt)
        log.write("after\n")
    assert (tmp_path / "log").read_text() == "before\nafter\n"


def test_reading_an_open_file_moves_nothing_for_the_caller(tmp_path):
    (tmp_path / "data").write_text("0123456789")
    with open(tmp_path / "data", "rb", buffering=0) as data:
        assert data.read(2) == b"01"
        assert told(lambda: data.read(3)) == "did b'234'"
        assert data.read(3) == b"234"


def test_an_open_connection_is_not_written_to():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        assert "did" not in told(lambda: theirs.send(b"an edit"))
        with pytest.raises(BlockingIOError):
            ours.recv(10)
        theirs.send(b"the caller")
        assert ours.recv(20) == b"the caller"


@pytest.mark.parametrize("kind", ["file", "shared"])
def test_memory_of_a_file_or_another_process_is_not_written(kind, tmp_path):
    file = tmp_path / "data"
    data = np.memmap(file, float, "w+", shape=4) if kind == "file" else np.frombuffer(mmap.mmap(-1, 32), float)
    data[:] = 1

    def change():
        data[0] = 2

    assert told(lambda: float(data.sum())) == "did 4.0"
    assert told(change) == "the search ends the process by signal 11"
    assert data.tolist() == [1, 1, 1, 1]


def test_nothing_is_printed(capfd):
    def talk():
        print("an edit prints")
        print("an edit complains", file=sys.stderr)
        os.write(1, b"an edit writes")
        os.write(2, b"an edit writes")
        warnings.warn("an edit warns", stacklevel=1)
        sys.stdout.flush()
        return "all"

    assert told(talk) == "did 'all'"
    assert capfd.readouterr() == ("", "")


def test_memory_ends():
    assert told(lambda: np.ones(10 * 2**30 // 8).sum()).startswith("MemoryError: Unable to allocate 10.0 GiB")

    def much(tell):
        return {"note": str(len([bytearray(2**28) for _ in range(40)]))}

    assert searched(much, 30.0, None).note == "the search took too much memory"


def test_a_call_that_takes_long_is_ended():
    def run(tell):
        for _ in range(3):
            try:
                with limited(0.03):
                    while True:
                        pass
            except BaseException as error:
                tell({"tried": 1})
                assert type(error).__name__ == "Slow"
        with limited(0.03):
            pass
        return {"note": "went on"}

    found = searched(run, 3.0, None)
    assert (found.note, found.tried) == ("went on", 1)


def test_a_search_that_hangs_is_ended_at_its_time():
    def hang(tell):
        tell({"tried": 7})
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        while True:
            pass

    found = searched(hang, 0.2, None)
    assert found.note == "none was found within 0.2 s, among 7 edits" and found.seconds < 1.2


REPAIR = {"changes": [[3, "a", "b"]], "diff": "d", "text": "t", "agrees": "there", "file": "f.py"}


@pytest.mark.parametrize("end", ["raise", "exit", "signal", "hang", "garbage", "nonsense"])
def test_what_was_found_before_the_end_is_kept(end):
    def run(tell):
        tell({"repair": REPAIR})
        tell({"tried": 3})
        if end == "raise":
            raise RuntimeError
        if end == "exit":
            os._exit(3)
        if end == "signal":
            signal.raise_signal(signal.SIGSEGV)
        if end == "garbage":
            tell([1, 2])
        if end == "nonsense":
            tell({"repair": {"changes": 3}})
        while end == "hang":
            pass
        return {}

    found = searched(run, 0.3, None)
    assert [repair.changes[0].after for repair in found.repairs] == ["b"] and found.note == ""


@pytest.mark.parametrize(("end", "note"), [("exit", "the search ends the process"), ("garbage", "the search spoils")])
def test_why_nothing_was_found(end, note):
    def run(tell):
        if end == "exit":
            os._exit(3)
        return tell("x") or {}

    found = searched(run, 1.0, None)
    assert found.repairs == () and found.note.startswith(note)


# ---- gradients with a branch that an edit reaches


def loss(x):
    return np.sum(x**3)


def dangerous(x):
    if LIMIT < 0:
        os.write(PIPE, b"[")
        WHAT()
        os.write(PIPE, b"]")
    u = 2 * x**2
    return u


def forever():
    while True:
        pass


def swallows():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


BAD = {
    "remove": lambda path: os.remove(path / "old"),
    "write": lambda path: (path / "new").write_text("x"),
    "rename": lambda path: os.rename(path / "old", path / "new"),
    "process": lambda path: subprocess.run(["touch", path / "new"], check=True),
    "connection": lambda path: connect(),
    "memory": lambda path: np.ones(10 * 2**30 // 8),
    "loop": lambda path: forever(),
}


def reached(monkeypatch, what, seconds):
    """A search for a mend of `dangerous`: what it finds, and what the branch said."""
    here = sys.modules[__name__]
    ours, theirs = os.pipe()
    try:
        monkeypatch.setattr(here, "PIPE", theirs)
        monkeypatch.setattr(here, "WHAT", what)
        report = nlicl.audit_gradient(loss, dangerous, X, mend=seconds)
        mending = report.searches[0].mending()
        os.write(theirs, b".")
        return mending, os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)


SLOW = ("write", "rename", "connection")


@pytest.mark.parametrize("what", [pytest.param(each, marks=pytest.mark.slow) if each in SLOW else each for each in BAD])
def test_a_dangerous_edit_does_nothing_and_the_search_goes_on(what, tmp_path, monkeypatch, capfd):
    (tmp_path / "old").write_text("kept")
    mending, said = reached(monkeypatch, lambda: BAD[what](tmp_path), 4.0)
    assert "[" in said and "]" not in said  # it got there, and no further
    assert mending.repairs and mending.seconds < 5.0, mending.note
    assert [p.name for p in tmp_path.iterdir()] == ["old"] and (tmp_path / "old").read_text() == "kept"
    assert np.allclose(mending.repairs[0].function(2 * X), 12 * X**2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_an_edit_that_cannot_be_stopped_ends_with_the_time(monkeypatch):
    mending, said = reached(monkeypatch, swallows, 1.0)
    assert "[" in said and mending.seconds < 2.0
    assert mending.repairs or mending.note.startswith("none was found within 1 s")


# ---- the caller's state

STORED = {"calls": 0, "array": np.arange(3.0)}


def counting(x):
    STORED["calls"] += 1
    STORED["array"] += 1
    TOUCHED.append(1)
    np.random.rand()
    random.random()
    return 2 * x**2


def state():
    return (
        repr(np.random.get_state()),
        random.getstate(),
        list(warnings.filters),
        np.geterr(),
        [signal.getsignal(s) for s in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        signal.getitimer(signal.ITIMER_REAL),
        [resource.getrlimit(s) for s in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE)],
        (STORED["calls"], STORED["array"].tolist(), len(TOUCHED)),
        sys.getrecursionlimit(),
        threading.active_count(),
        sorted(globals()),
        os.getcwd(),
        dict(os.environ),
    )


def test_nothing_of_the_caller_changes():
    factor, kept = 2.0, X.copy()

    def inner(x):
        return factor * x**2

    def counted(x):
        counting(x)
        return inner(x)

    function = counted
    report = nlicl.audit_gradient(loss, function, X, mend=3)
    code, cells = function.__code__, [cell.cell_contents for cell in function.__closure__]
    before = state()
    mending = report.searches[0].mending()
    assert mending.repairs, mending.note
    assert state() == before and factor == 2.0 and np.array_equal(X, kept)
    assert function.__code__ is code and [cell.cell_contents for cell in function.__closure__] == cells
    assert np.array_equal(inner(X), 2 * X**2)


def odd_loss(x):
    return np.sum(np.tanh(np.sin(3.1 * x) + 0.7 * x[::-1] ** 3 * np.exp(np.cos(x))))


def unmendable(x):
    return np.cos(37 * x) + 0.123 * x[::-1]


@pytest.mark.parametrize("way", ["signal", "error"])
def test_ctrl_c_leaves_no_process_and_the_search_can_run_again(way):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        interrupted(way)
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted(way):
    report = nlicl.audit_gradient(odd_loss, unmendable, X, mend=5)
    seen = []

    def progress(done, total, text):
        seen.append((done, total, text))
        if way == "signal":
            signal.raise_signal(signal.SIGINT)
        raise OSError("the screen is gone")

    with pytest.raises(KeyboardInterrupt if way == "signal" else OSError):
        report.searches[0].mending(progress)
    assert seen and 0 <= seen[0][0] <= 100 and "edits tried" in seen[0][2]
    assert not report.searches[0].done


def test_no_search_without_a_budget():
    report = nlicl.audit_gradient(odd_loss, unmendable, X, mend=0)
    assert report.searches == [] and report.mended() is None


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.001, 0.05, 0.5, 2.0])
def test_a_search_keeps_to_its_budget(seconds):
    mending = nlicl.audit_gradient(odd_loss, unmendable, X, mend=seconds).searches[0].mending()
    assert mending.seconds < seconds + 1 and mending.repairs == () and mending.note


# ---- what cannot be read


def noisy(x):
    return 2 * x**2 + 1e-3 * np.random.rand(3)


def of_its_process(x):
    return 2 * x**2 + 1e-3 * (os.getpid() % 977)


def test_a_random_gradient_is_not_mended():
    report = nlicl.audit_gradient(loss, noisy, X, mend=2)
    assert report.mended() is None and all("noisy" in each.mending().note for each in report.searches)
    mending = nlicl.audit_gradient(loss, of_its_process, X, mend=2).searches[0].mending()
    assert mending.note == "the source of of_its_process does not give what of_its_process gave"


def test_a_function_without_a_source_is_not_mended():
    scope = {}
    exec("def typed(x):\n    return 2 * x ** 2\n", scope)
    mending = nlicl.audit_gradient(loss, scope["typed"], X, mend=2).searches[0].mending()
    assert mending.repairs == () and mending.note == "the source of typed cannot be read"
    mending = nlicl.audit_gradient(lambda x: np.sum(x**2), np.negative, X, mend=2).searches[0].mending()
    assert mending.repairs == () and mending.note == "the source of negative cannot be read"


def imported(path, text):
    import importlib.util

    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("def g(x):\n    return 5 * x ** 2\n", "the source of g does not give what g gave"),
        ("\n\ndef g(x):\n    return 2 * x ** 2\n", "the source of g is not the one that runs"),
        ("def g(x:\n", "the source of g cannot be parsed"),
        (None, "the source of g cannot be read"),
    ],
)
def test_a_file_that_was_changed_since_is_not_mended(text, note, tmp_path):
    path = tmp_path / "changed.py"
    module = imported(path, "def g(x):\n    return 2 * x ** 2\n")
    os.unlink(path)
    if text is not None:
        path.write_text(text)
    mending = nlicl.audit_gradient(loss, module.g, X, mend=2).searches[0].mending()
    assert mending.repairs == () and mending.note == note
